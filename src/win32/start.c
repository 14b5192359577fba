/* SPDX-License-Identifier: MIT */
#include <signal.h>

#include "win32/section.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static cairn_heap *own;

/* The child finds the tables whole. */
static void before_fork(void)
{
    sections_before_fork();
    face_lock();
    walk_before_fork();
}

static void after_fork_in_parent(void)
{
    walk_after_fork();
    face_unlock();
    sections_after_fork(false);
}

static void after_fork_in_child(void)
{
    walk_after_fork();
    face_unlock();
    sections_after_fork(true);
}

static void make_own(void)
{
    if (cairn_heap_create(&own, NULL) < 0)
        own = NULL;
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

cairn_heap *own_heap(void)
{
    (void)pthread_once(&once, make_own);
    if (own == NULL)
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    return own;
}

/* A signal may come between any two steps: so it is more than 0 from before the lock is taken until behind its end. */
static _Thread_local volatile sig_atomic_t in_face;

void face_lock(void)
{
    in_face++;
    (void)pthread_mutex_lock(&lock);
}

void face_unlock(void)
{
    (void)pthread_mutex_unlock(&lock);
    in_face--;
}

bool face_is_locked_here(void)
{
    return in_face != 0;
}
