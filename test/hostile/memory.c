/* SPDX-License-Identifier: MIT */
/* memory: attacks on memory that may only be read, and on who holds it; the same for both scenes. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hostile/hostile.h"
#include "support/intruder.h"
#include "support/workspace.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

struct target target;

static long map_for_writing(int file)
{
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        return -errno;
    munmap(mapped, 4096);
    return 0;
}

static long write_to_memory_file(const char *path, uintptr_t place, unsigned char byte)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return -errno;
    long result = result_of(pwrite(file, &byte, 1, (off_t)place));
    close(file);
    return result;
}

static int reopen(const char *of, int file)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/fd/%d", of, file);
    int opened = open(path, O_RDWR | O_CLOEXEC);
    return opened < 0 ? -errno : opened;
}

/* ---------------------------------------------------------------- by what was given */

#define NEEDS_TARGET()                                                                                                 \
    do {                                                                                                               \
        if (target.file < 0)                                                                                           \
            return NO_MEANS;                                                                                           \
    } while (0)

long memory_mprotect(void)
{
    NEEDS_TARGET();
    return result_of(mprotect(target.view, 4096, PROT_READ | PROT_WRITE));
}

long memory_mmap(void)
{
    NEEDS_TARGET();
    return map_for_writing(target.file);
}

long memory_pwrite(void)
{
    NEEDS_TARGET();
    return result_of(pwrite(target.file, "x", 1, 0));
}

long memory_truncate(void)
{
    NEEDS_TARGET();
    long shorter = result_of(ftruncate(target.file, 0));
    long longer = result_of(ftruncate(target.file, (off_t)target.bytes * 2));
    REQUIRE_EQUAL(longer, shorter);
    return shorter;
}

long memory_punch(void)
{
    NEEDS_TARGET();
    return result_of(fallocate(target.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20));
}

long memory_remove(void)
{
    NEEDS_TARGET();
    return result_of(madvise(target.view, target.bytes, MADV_REMOVE));
}

long memory_self(void)
{
    NEEDS_TARGET();
    return write_to_memory_file("/proc/self/mem", (uintptr_t)target.view, 'x');
}

long memory_reopen(void)
{
    NEEDS_TARGET();
    int file = reopen("self", target.file);
    if (file < 0)
        return file;
    close(file);
    return 0;
}

long memory_chmod(void)
{
    NEEDS_TARGET();
    long result = result_of(fchmod(target.file, 0600));
    (void)fchmod(target.file, 0400);
    return result;
}

/* ---------------------------------------------------------------- by what can be made of it */

/* Gets the memory file for writing, if there is a way; or an error. */
static int take_writable(void)
{
    (void)fchmod(target.file, 0600);
    int file = reopen("self", target.file);
    (void)fchmod(target.file, 0400);
    return file;
}

long memory_chmod_reopen(void)
{
    NEEDS_TARGET();
    int file = take_writable();
    if (file < 0)
        return file;
    close(file);
    return 0;
}

static long with_writable(long (*run)(int file))
{
    int file = target.file < 0 ? -1 : take_writable();
    if (file < 0)
        return NO_MEANS;
    long result = run(file);
    close(file);
    return result;
}

static long write_one(int file)
{
    return result_of(pwrite(file, "x", 1, 0));
}

static long cut(int file)
{
    return result_of(ftruncate(file, 0));
}

static long punch(int file)
{
    return result_of(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20));
}

static long seal(int file)
{
    return result_of(fcntl(file, F_ADD_SEALS, F_SEAL_GROW));
}

static long grow(int file)
{
    struct stat before, after;
    REQUIRE(fstat(file, &before) == 0);
    long result = result_of(fallocate(file, 0, before.st_size, 1 << 20));
    REQUIRE(fstat(file, &after) == 0);
    REQUIRE_EQUAL(after.st_size, before.st_size + (result == 0 ? 1 << 20 : 0));
    return result;
}

long memory_writable_mmap(void)
{
    return with_writable(map_for_writing);
}

long memory_writable_pwrite(void)
{
    return with_writable(write_one);
}

long memory_writable_truncate(void)
{
    return with_writable(cut);
}

long memory_writable_punch(void)
{
    return with_writable(punch);
}

long memory_writable_seal(void)
{
    return with_writable(seal);
}

long memory_writable_grow(void)
{
    return with_writable(grow);
}

/* ---------------------------------------------------------------- by what the server has */

/* Whether all that was got is a file that nothing can be done with. */
static long is_sealed(int file)
{
    if (file < 0)
        return file;
    bool is = map_for_writing(file) == -EPERM && write_one(file) == -EPERM && cut(file) == -EPERM &&
              punch(file) == -EPERM && seal(file) == -EPERM;
    close(file);
    return is ? SEALED : 0;
}

long memory_open_theirs(void)
{
    char of[16];
    snprintf(of, sizeof of, "%d", board->holder);
    if (target.file >= 0)
        (void)fchmod(target.file, 0600);
    long result = is_sealed(reopen(of, board->file_there));
    if (target.file >= 0)
        (void)fchmod(target.file, 0400);
    return result;
}

long memory_take_theirs(void)
{
    int pidfd = (int)syscall(SYS_pidfd_open, board->holder, 0);
    if (pidfd < 0)
        return -errno;
    int taken = (int)syscall(SYS_pidfd_getfd, pidfd, board->file_there, 0);
    int error = errno;
    close(pidfd);
    return is_sealed(taken < 0 ? -error : taken);
}

/* Who can, writes what is there already, which changes nothing. */
long memory_their_memory(void)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/mem", board->holder);
    return write_to_memory_file(path, board->place_there, board->byte_there);
}

long memory_their_vm(void)
{
    struct iovec from = {.iov_base = &board->byte_there, .iov_len = 1};
    struct iovec to = {.iov_base = (void *)board->place_there, .iov_len = 1};
    return result_of(process_vm_writev(board->holder, &from, 1, &to, 1, 0));
}

long memory_trace(void)
{
    return result_of(ptrace(PTRACE_SEIZE, board->holder, NULL, NULL)); /* ends with this process */
}

long memory_read_holes(void)
{
    NEEDS_TARGET();
    struct stat before, after;
    REQUIRE(fstat(target.file, &before) == 0);
    size_t end = target.bytes < 16 * MIB ? target.bytes : 16 * MIB;
    for (size_t i = 0; i < end; i += 4096)
        (void)*(const volatile unsigned char *)(target.view + i);
    REQUIRE(fstat(target.file, &after) == 0);
    return after.st_blocks > before.st_blocks ? 0 : NO_HOLE;
}

long memory_signal(void)
{
    return result_of(kill(board->holder, 0));
}

long rename_socket(const char *name)
{
    const char *from = workspace_path(name), *to = workspace_path("stolen");
    long result = result_of(rename(from, to));
    if (result == 0)
        REQUIRE(rename(to, from) == 0);
    return result;
}
