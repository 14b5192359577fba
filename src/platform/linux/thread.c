/* SPDX-License-Identifier: MIT */
/* thread: threads of this process and how they wait for each other. */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <errno.h>
#include <pthread.h>
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

/* ---------------------------------------------------------------- the end of a thread */

/* One key for the whole process, made at first use. */
static struct mutex exit_mutex;
static atomic_u32 exit_key_made;
static pthread_key_t exit_key;
static void (*exit_leave)(void *arg);

static int make_key(void (*leave)(void *arg))
{
    int error = 0;
    mutex_lock(&exit_mutex);
    if (load_relaxed(&exit_key_made) == 0) {
        error = -pthread_key_create(&exit_key, leave);
        exit_leave = leave;
        store_release(&exit_key_made, error == 0); /* with load_acquire in thread_on_exit */
    }
    mutex_unlock(&exit_mutex);
    return error;
}

/*
 * What C++ destructors of thread-local objects are registered by, where the C library has it: it counts a reference on
 * this library until the thread has ended, so that a dlclose does not unmap what the thread will call.
 */
extern int __cxa_thread_atexit_impl(void (*leave)(void *arg), void *arg, void *library) __attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

static _Thread_local struct {
    void (*leave)(void *arg); /* NULL: nothing is registered for this thread */
    void *arg;
} at_exit;

static void leave_once(void *unused)
{
    (void)unused;
    void (*leave)(void *arg) = at_exit.leave;
    at_exit.leave = NULL;
    leave(at_exit.arg);
}

int thread_on_exit(void (*leave)(void *arg), void *arg)
{
    if (__cxa_thread_atexit_impl != NULL) {
        if (at_exit.leave == NULL && __cxa_thread_atexit_impl(leave_once, NULL, &__dso_handle) != 0)
            return -ENOMEM;
        at_exit.leave = leave;
        at_exit.arg = arg;
        return 0;
    }
    int error = load_acquire(&exit_key_made) != 0 ? 0 : make_key(leave);
    if (error < 0)
        return error;
    ASSERT(exit_leave == leave);
    return -pthread_setspecific(exit_key, arg);
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
