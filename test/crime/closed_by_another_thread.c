/* expect: ^cairn: alloc with the handle 0x[0-9a-f]* of a closed heap$ */
/* SPDX-License-Identifier: MIT */
/* The thread used the heap before; another closed it meanwhile. */
#include <pthread.h>

#include "support/workspace.h"

static cairn_heap *heap;

static void *close_it(void *arg)
{
    cairn_heap_close(heap);
    return arg;
}

int main(void)
{
    heap = create_private(0);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, close_it, NULL) == 0 && pthread_join(thread, NULL) == 0);
    return cairn_alloc(heap, 100) == NULL;
}
