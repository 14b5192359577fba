/* SPDX-License-Identifier: MIT */
/*
 * Forks. Whoever registers first is called last before a fork and first after it, and a program's own handlers may
 * allocate: so the heap must be the first of all, or a handler would wait for a lock that its own thread holds. The
 * heap itself is made by the first allocation, and constructors of libraries that allocate nothing may come before
 * that. So places are registered by a constructor that the linker's -z initfirst puts before all others; the heap fills
 * them in. Where a C library does not know that order it is a constructor like the others.
 *
 * No lock: the first allocation comes before the second thread.
 */
#include <errno.h>
#include <pthread.h>

#include "malloc/malloc.h"
#include "platform/platform.h"

static void (*on_before)(void), (*on_parent)(void), (*on_child)(void);
static bool is_registered;
static bool has_begun; /* a heap that is made within a fork, by another handler, has not seen it begin */

static void before_fork(void)
{
    has_begun = on_before != NULL;
    if (has_begun)
        on_before();
}

static void parent_after_fork(void)
{
    if (has_begun)
        on_parent();
}

static void child_after_fork(void)
{
    if (has_begun)
        on_child();
}

__attribute__((constructor)) static void take_places(void)
{
    if (!is_registered)
        is_registered = pthread_atfork(before_fork, parent_after_fork, child_after_fork) == 0;
}

/* platform's contract; libcairn.so has it from src/platform/linux/fork.c. */
int process_on_fork(void (*before)(void), void (*parent)(void), void (*child)(void))
{
    take_places();
    if (!is_registered)
        return -ENOMEM;
    on_before = before;
    on_parent = parent;
    on_child = child;
    return 0;
}
