/* SPDX-License-Identifier: MIT */
/* barrier: membarrier(2), and waiting on a word that other processes see. */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* From linux/membarrier.h and linux/futex.h, which not every C library comes with. */
#define MEMBARRIER_GLOBAL_EXPEDITED (1L << 1)
#define MEMBARRIER_REGISTER_GLOBAL_EXPEDITED (1L << 2)
#define MEMBARRIER_PRIVATE_EXPEDITED (1L << 3)
#define MEMBARRIER_REGISTER_PRIVATE_EXPEDITED (1L << 4)
#define FUTEX_WAIT 0L
#define FUTEX_WAKE 1L

static int membarrier(long command)
{
    return syscall(SYS_membarrier, command, 0L, 0L) == 0 ? 0 : -errno;
}

int barrier_process_ready(void)
{
    return membarrier(MEMBARRIER_REGISTER_PRIVATE_EXPEDITED) == 0 ? 0 : -EOPNOTSUPP;
}

void barrier_process(void)
{
    (void)membarrier(MEMBARRIER_PRIVATE_EXPEDITED);
}

int barrier_system_ready(void)
{
    return membarrier(MEMBARRIER_REGISTER_GLOBAL_EXPEDITED) == 0 ? 0 : -EOPNOTSUPP;
}

void barrier_system(void)
{
    (void)membarrier(MEMBARRIER_GLOBAL_EXPEDITED);
}

void word_wait(const void *word, uint32_t seen, uint32_t milliseconds)
{
    struct timespec timeout = {.tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    int saved_errno = errno;
    (void)syscall(SYS_futex, word, FUTEX_WAIT, seen, &timeout, NULL, 0L);
    errno = saved_errno;
}

static void wake(const void *word, long count)
{
    int saved_errno = errno;
    (void)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0L);
    errno = saved_errno;
}

void word_wake(const void *word)
{
    wake(word, 1);
}

void word_wake_all(const void *word)
{
    wake(word, INT_MAX);
}
