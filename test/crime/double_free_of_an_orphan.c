/* expect: ^cairn: private heap [0-9]+: double free of 0x[0-9a-f]*: a block of [0-9]+ bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
/* The thread that allocated it has ended. */
#include <pthread.h>

#include "support/workspace.h"

static cairn_heap *heap;
static void *block;

static void *allocate(void *arg)
{
    block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL && cairn_alloc(heap, 100) != NULL);
    return arg;
}

int main(void)
{
    heap = create_private(0);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, allocate, NULL) == 0 && pthread_join(thread, NULL) == 0);
    cairn_free(heap, block);
    cairn_free(heap, block);
    return 0;
}
