/* SPDX-License-Identifier: MIT */
/* thread_exit: the end of a thread. By itself, because libcairn-malloc.so has another (src/malloc/thread.c). */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <errno.h>
#include <pthread.h>

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
