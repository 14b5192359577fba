/* SPDX-License-Identifier: MIT */
/* memory: address space and private memory. */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Since Linux 5.18; unknown to older C libraries. */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* Since Linux 5.14. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define RESERVE_ALIGNMENT ((size_t)2 << 20)

size_t platform_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static int map_private(void **ret_address, size_t bytes, int protection, int flags)
{
    void *address = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (address == MAP_FAILED)
        return errno == EAGAIN ? -ENOMEM : -errno; /* EAGAIN: beyond what a process under mlockall may lock */
    *ret_address = address;
    return 0;
}

/* Without access and not read-write: where the system counts every promise, only memory that can be written counts. */
int memory_reserve(void **ret_address, size_t bytes)
{
    /* More than needed, so that an aligned part is in it; what is before and behind goes back. */
    size_t wanted = bytes + RESERVE_ALIGNMENT;
    void *address = NULL;
    if (wanted < bytes || map_private(&address, wanted, PROT_NONE, MAP_NORESERVE) < 0)
        return -ENOMEM; /* valgrind says EINVAL to what it has no room for */
    unsigned char *first = address;
    unsigned char *aligned = first + (align_up((uintptr_t)first, RESERVE_ALIGNMENT) - (uintptr_t)first);
    size_t before = (size_t)(aligned - first);
    if (before != 0)
        (void)munmap(first, before);
    if (RESERVE_ALIGNMENT - before != 0)
        (void)munmap(aligned + bytes, RESERVE_ALIGNMENT - before);
    *ret_address = aligned;
    return 0;
}

/* By syscall: ThreadSanitizer's mmap ends the program at an address that it does not like. */
int memory_reserve_at(void *address, size_t bytes)
{
    long result = syscall(SYS_mmap, (long)(uintptr_t)address, bytes, (long)PROT_NONE,
                          (long)(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE), -1L, 0L);
    if (result == -1)
        return errno == EEXIST ? -EADDRINUSE : -errno;
    if ((uintptr_t)result != (uintptr_t)address) { /* where the flag is unknown the address is a wish */
        (void)munmap((void *)(uintptr_t)result, bytes);
        return -EADDRINUSE;
    }
    return 0;
}

int memory_not_for_children(void *address, size_t bytes)
{
    if (madvise(address, bytes, MADV_DONTFORK) == 0)
        return 0;
    return errno == EINVAL ? -EOPNOTSUPP : -errno;
}

int memory_reserve_again(void *address, size_t bytes)
{
    void *mapped = mmap(address, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return mapped == MAP_FAILED ? -errno : 0;
}

int memory_commit(void *address, size_t bytes)
{
    return mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;
}

/* What there is before others must die: available memory, and free swap. UINT64_MAX: the system does not tell. */
static uint64_t bytes_available(void)
{
    static const char *const names[] = {"MemAvailable:", "SwapFree:"};
    char text[4096];
    int file = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0)
        (void)close(file);
    if (length <= 0)
        return UINT64_MAX;
    text[length] = '\0';
    uint64_t kilobytes = 0;
    for (int i = 0; i < 2; i++) {
        const char *found = strstr(text, names[i]);
        if (found == NULL)
            return UINT64_MAX;
        kilobytes += strtoull(found + strlen(names[i]), NULL, 10);
    }
    return kilobytes << 10;
}

/* MADV_POPULATE_WRITE is of Linux 5.14; before, each page is touched, which may end in the OOM killer like any touch.
 */
int memory_populate(void *address, size_t bytes)
{
    enum { BYTES_AT_LEAST = 64 << 20 }; /* less is not worth a look */
    if (bytes >= BYTES_AT_LEAST && bytes > bytes_available())
        return -ENOMEM; /* where the system promises what it does not have, the OOM killer would answer */
    if (madvise(address, bytes, MADV_POPULATE_WRITE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -ENOMEM;
    size_t page = platform_page_size();
    for (size_t offset = 0; offset < bytes; offset += page) {
        volatile unsigned char *byte = (unsigned char *)address + offset;
        *byte = *byte; /* a write of what is there already: the range may be in use */
    }
    return 0;
}

/* These may fail in a call that succeeds, and free(3) must leave errno alone. */
void memory_prefault(void *address, size_t bytes)
{
    int saved_errno = errno;
    (void)madvise(address, bytes, MADV_POPULATE_WRITE);
    errno = saved_errno;
}

void memory_advise_huge(void *address, size_t bytes)
{
    int saved_errno = errno;
    (void)madvise(address, bytes, MADV_HUGEPAGE);
    errno = saved_errno;
}

int memory_decommit(void *address, size_t bytes)
{
    int saved_errno = errno;
    int error = 0;
    if (madvise(address, bytes, MADV_DONTNEED) != 0)
        error = -errno;
    /* EINVAL: the program locks its memory (mlockall), and means memory to stay, not freed memory to be kept. */
    if (error == -EINVAL)
        error = madvise(address, bytes, MADV_DONTNEED_LOCKED) == 0 ? 0 : -errno;
    errno = saved_errno;
    return error;
}

int memory_seal(void *address, size_t bytes)
{
    return mprotect(address, bytes, PROT_NONE) == 0 ? 0 : -errno;
}

int memory_unseal(void *address, size_t bytes)
{
    return mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;
}

void memory_release(void *address, size_t bytes)
{
    if (address != NULL)
        (void)munmap(address, bytes);
}

int memory_get(void **ret_address, size_t bytes)
{
    return map_private(ret_address, bytes, PROT_READ | PROT_WRITE, 0);
}
