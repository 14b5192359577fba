/* SPDX-License-Identifier: MIT */
/* thread: threads of this process and how they wait for each other. */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From linux/futex.h, which not every C library comes with. Private: not shared with other processes, and cheaper. */
#define FUTEX_WAIT_PRIVATE 128L
#define FUTEX_WAKE_PRIVATE 129L

static _Thread_local uint32_t own_id; /* 0: not asked yet */

uint32_t thread_id(void)
{
    if (own_id == 0)
        own_id = (uint32_t)syscall(SYS_gettid);
    return own_id;
}

void thread_is_another(void)
{
    own_id = 0;
}

void thread_yield(void)
{
    sched_yield();
}

/* ---------------------------------------------------------------- mutex */

/*
 * Drepper, "Futexes are tricky", the second mutex. Zero is free, so a static one needs no initialisation, and unlike
 * a C library's mutex it is known not to allocate: it is used inside malloc. Whoever has waited takes the lock as
 * "held and waited for": there may be others, and the price of being wrong is one wake that nobody needs.
 */
void mutex_lock(struct mutex *mutex)
{
    uint32_t state = 0;
    if (cas_acq_rel(&mutex->state, &state, 1))
        return;
    int saved_errno = errno;
    while (atomic_exchange_explicit(&mutex->state, 2, memory_order_acquire) != 0)
        syscall(SYS_futex, &mutex->state, FUTEX_WAIT_PRIVATE, 2L, NULL, NULL, 0L);
    errno = saved_errno;
}

void mutex_unlock(struct mutex *mutex)
{
    if (atomic_exchange_explicit(&mutex->state, 0, memory_order_release) != 2)
        return;
    int saved_errno = errno;
    syscall(SYS_futex, &mutex->state, FUTEX_WAKE_PRIVATE, 1L, NULL, NULL, 0L);
    errno = saved_errno;
}
