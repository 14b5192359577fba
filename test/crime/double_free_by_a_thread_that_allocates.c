/* expect: ^cairn: private heap [0-9]+: double free of 0x[0-9a-f]*: a block of [0-9]+ bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
/* By a thread that has blocks of its own in the heap: it looks blocks of others up on a shorter way. */
#include <pthread.h>

#include "support/workspace.h"

static cairn_heap *heap;
static char *block;

static void *free_it(void *arg)
{
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    cairn_free(heap, block);
    cairn_free(heap, block);
    return arg;
}

int main(void)
{
    heap = create_private(0);
    block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, free_it, NULL) == 0 && pthread_join(thread, NULL) == 0);
    return 0;
}
