/* SPDX-License-Identifier: MIT */
/*
 * A library that watches forks before anybody has allocated: of all handlers its own are the last before a fork and the
 * first after it, as far as those of the allocator are not; and they allocate, in threads that never have.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

int early_forks(void);

static int forks;

static void allocates(void)
{
    for (size_t size = 1; size < 50000; size = size * 5 / 4 + 7) {
        void *block = malloc(size);
        void *aligned = aligned_alloc(256, size);
        if (block == NULL || aligned == NULL)
            abort();
        memset(block, 1, size);
        memset(aligned, 2, size);
        free(block);
        free(aligned);
    }
    forks++;
}

__attribute__((constructor(101))) static void watch(void)
{
    if (pthread_atfork(allocates, allocates, allocates) != 0)
        abort();
}

/* How often a handler was called. */
int early_forks(void)
{
    return forks;
}
