/* SPDX-License-Identifier: MIT */
/* fork: what is called around a fork. By itself, because libcairn-malloc.so has another (src/malloc/fork.c). */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <pthread.h>

int process_on_fork(void (*before)(void), void (*parent)(void), void (*child)(void))
{
    return -pthread_atfork(before, parent, child);
}
