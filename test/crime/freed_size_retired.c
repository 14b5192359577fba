/* expect: ^cairn: heap "crime": size of 0x[0-9a-f]*: a block of [0-9]+ bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
#include "cairn_publish.h"
#include "support/workspace.h"

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
    return cairn_size(heap, block) == 0;
}
