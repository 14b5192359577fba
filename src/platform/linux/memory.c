/* SPDX-License-Identifier: MIT */
/* memory: address space and private memory. */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Since Linux 5.18; unknown to older C libraries. */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

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
    return map_private(ret_address, bytes, PROT_NONE, MAP_NORESERVE);
}

int memory_commit(void *address, size_t bytes)
{
    return mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;
}

int memory_decommit(void *address, size_t bytes)
{
    if (madvise(address, bytes, MADV_DONTNEED) == 0)
        return 0;
    /* EINVAL: the program locks its memory (mlockall), and means memory to stay, not freed memory to be kept. */
    if (errno == EINVAL && madvise(address, bytes, MADV_DONTNEED_LOCKED) == 0)
        return 0;
    return -errno;
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

/* RLIMIT_AS counts whole reservations, so one that took what it may would leave the program nothing for its own malloc.
 */
size_t memory_reservation_limit(size_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return bytes;
    return min_u64(bytes, align_down(limit.rlim_cur / 8, platform_page_size()));
}
