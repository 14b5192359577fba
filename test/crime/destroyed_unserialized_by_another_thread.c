/* expect: ^cairn: alloc with the handle 0x[0-9a-f]* of a closed heap$ */
/* SPDX-License-Identifier: MIT */
/* This thread used it; another ended it. */
#include <pthread.h>

#include "support/workspace.h"

static cairn_heap *heap;

static void *destroy_it(void *arg)
{
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    return arg;
}

int main(void)
{
    cairn_options options = {.size = sizeof options, .flags = CAIRN_UNSERIALIZED};
    REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, destroy_it, NULL) == 0 && pthread_join(thread, NULL) == 0);
    return cairn_alloc(heap, 100) == NULL;
}
