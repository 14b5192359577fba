/* expect: ^cairn: heap "crime": double free of 0x[0-9a-f]*: a block of [0-9]+ bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
#include "cairn_publish.h"
#include "support/workspace.h"

/* The first free only puts the block aside, as long as a reader could be at it: it is no less free for that. */
int main(void)
{
    cairn_publisher *publisher;
    workspace_enter();
    int result = cairn_publish(&publisher, "crime", NULL);
    workspace_leave();
    REQUIRE_CALL(result == 0);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    cairn_free(heap, block);
    cairn_free(heap, block);
    return 0;
}
