/* SPDX-License-Identifier: MIT */
#include "win32/win32.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static cairn_heap *own;

static void make_own(void)
{
    if (cairn_heap_create(&own, NULL) < 0)
        own = NULL;
    /* A fork waits until nobody is in the tables, so that the child finds them whole. */
    (void)pthread_atfork(face_lock, face_unlock, face_unlock);
}

cairn_heap *own_heap(void)
{
    (void)pthread_once(&once, make_own);
    if (own == NULL)
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    return own;
}

void face_lock(void)
{
    (void)pthread_mutex_lock(&lock);
}

void face_unlock(void)
{
    (void)pthread_mutex_unlock(&lock);
}
