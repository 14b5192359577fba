/* expect: ^cairn: private heap [0-9]+: double free of 0x[0-9a-f]*: a block of [0-9]+ bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
/* Freed by another thread first: the bit is in elsewhere. */
#include <pthread.h>

#include "support/workspace.h"

static cairn_heap *heap;
static void *block;

static void *free_it(void *arg)
{
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
    cairn_free(heap, block);
    return 0;
}
