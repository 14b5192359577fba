/* SPDX-License-Identifier: MIT */
#include "win32/system.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "win32/win32.h"

size_t system_page_bytes(void)
{
    static atomic_u64 known;
    size_t bytes = load_relaxed(&known);
    if (bytes == 0) {
        bytes = (size_t)sysconf(_SC_PAGESIZE);
        store_relaxed(&known, bytes);
    }
    return bytes;
}

uint64_t system_memory_bytes(void)
{
    struct sysinfo info;
    if (sysinfo(&info) < 0)
        return UINT64_MAX;
    return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

static int result(int outcome)
{
    return outcome < 0 ? -errno : 0;
}

/* ---------------------------------------------------------------- memory */

static int prot_of(uint32_t protection)
{
    switch (protection & 0xff) {
    case PAGE_READONLY:
        return PROT_READ;
    case PAGE_READWRITE:
    case PAGE_WRITECOPY:
        return PROT_READ | PROT_WRITE;
    case PAGE_EXECUTE:
        return PROT_EXEC;
    case PAGE_EXECUTE_READ:
        return PROT_READ | PROT_EXEC;
    case PAGE_EXECUTE_READWRITE:
    case PAGE_EXECUTE_WRITECOPY:
        return PROT_READ | PROT_WRITE | PROT_EXEC;
    default:
        return PROT_NONE;
    }
}

void *system_reserve(void *at, size_t bytes)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (at != NULL) {
        void *got = mmap(at, bytes, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
        if (got == MAP_FAILED)
            return NULL;
        if (got == at)
            return got;
        (void)munmap(got, bytes); /* a kernel that does not know the flag takes it as a hint */
        return NULL;
    }
    size_t wider = bytes + GRANULARITY;
    if (wider < bytes)
        return NULL;
    unsigned char *got = mmap(NULL, wider, PROT_NONE, flags, -1, 0);
    if (got == MAP_FAILED)
        return NULL;
    size_t before = round_up((uintptr_t)got, GRANULARITY) - (uintptr_t)got;
    if (before != 0)
        (void)munmap(got, before);
    if (before != GRANULARITY)
        (void)munmap(got + before + bytes, GRANULARITY - before);
    return got + before;
}

void system_release(void *address, size_t bytes)
{
    (void)munmap(address, bytes);
}

int system_protect(void *address, size_t bytes, uint32_t protection)
{
    return result(mprotect(address, bytes, prot_of(protection)));
}

int system_decommit(void *address, size_t bytes)
{
    void *got = mmap(address, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return got == MAP_FAILED ? -errno : 0;
}

int system_discard(void *address, size_t bytes)
{
    return result(madvise(address, bytes, MADV_DONTNEED));
}

int system_map_file(void *at, size_t bytes, int file, uint64_t offset, uint32_t protection, bool private_copy)
{
    int flags = (private_copy ? MAP_PRIVATE : MAP_SHARED) | MAP_FIXED;
    return mmap(at, bytes, prot_of(protection), flags, file, (off_t)offset) == MAP_FAILED ? -errno : 0;
}

int system_flush(void *address, size_t bytes)
{
    return result(msync(address, bytes, MS_SYNC));
}

/* ---------------------------------------------------------------- files */

int system_file_keep(int file)
{
    int own = fcntl(file, F_DUPFD_CLOEXEC, 0);
    return own < 0 ? -errno : own;
}

void system_file_close(int file)
{
    (void)close(file);
}

int system_file_size(int file, uint64_t *ret_bytes, bool *ret_may_read, bool *ret_may_write)
{
    struct stat status;
    int mode = fcntl(file, F_GETFL);
    if (mode < 0 || fstat(file, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode) && !S_ISCHR(status.st_mode))
        return -EBADF;
    *ret_bytes = (uint64_t)status.st_size;
    *ret_may_read = (mode & O_ACCMODE) != O_WRONLY;
    *ret_may_write = (mode & O_ACCMODE) == O_RDWR;
    return 0;
}

int system_file_extend(int file, uint64_t bytes)
{
    return result(ftruncate(file, (off_t)bytes));
}

/* ---------------------------------------------------------------- the system's table */

static uint32_t protection_of(const char *text)
{
    bool writes = text[1] == 'w';
    if (text[2] == 'x')
        return writes ? PAGE_EXECUTE_READWRITE : text[0] == 'r' ? PAGE_EXECUTE_READ : PAGE_EXECUTE;
    return writes ? PAGE_READWRITE : text[0] == 'r' ? PAGE_READONLY : PAGE_NOACCESS;
}

int system_region_at(uintptr_t address, struct system_region *ret_region)
{
    FILE *table = fopen("/proc/self/maps", "re");
    if (table == NULL)
        return -errno;
    struct system_region region = {.first = 0, .end = UINTPTR_MAX, .is_free = true, .protection = PAGE_NOACCESS};
    char line[4200];
    while (fgets(line, sizeof line, table) != NULL) {
        unsigned long first, end, inode;
        char access[5];
        int path = 0;
        if (sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu %n", &first, &end, access, &inode, &path) < 4)
            continue;
        if (address < first) { /* in the hole before it */
            region.end = first;
            break;
        }
        if (address < end) {
            region = (struct system_region){
                .first = first,
                .end = end,
                .is_private = inode == 0,
                .is_image = inode != 0 && access[3] == 'p',
                .protection = protection_of(access),
            };
            break;
        }
        region.first = end;
    }
    (void)fclose(table);
    *ret_region = region;
    return 0;
}
