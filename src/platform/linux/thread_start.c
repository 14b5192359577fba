/* SPDX-License-Identifier: MIT */
/* thread_start: threads of our own. */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <pthread.h>
#include <signal.h>

/* Without signals: a handler of the program's must not find itself on a thread that it knows nothing of. */
int thread_start(uintptr_t *ret_thread, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_t thread;
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = -pthread_create(&thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        *ret_thread = (uintptr_t)thread;
    return error;
}

void thread_join(uintptr_t thread)
{
    (void)pthread_join((pthread_t)thread, NULL);
}
