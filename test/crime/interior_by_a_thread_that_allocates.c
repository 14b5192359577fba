/* expect: ^cairn: private heap [0-9]+: free of 0x[0-9a-f]*: an interior pointer, 16 bytes into the block */
/* SPDX-License-Identifier: MIT */
/* By a thread that has blocks of its own in the heap, and of a block of another's. */
#include <pthread.h>

#include "support/workspace.h"

static cairn_heap *heap;
static char *block;

static void *free_it(void *arg)
{
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    cairn_free(heap, block + 16);
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
