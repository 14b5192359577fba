/* expect: ^cairn: heap "crime": size of 0x[0-9a-f]*: a block of [0-9]+ bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
/* A handle that may only read sees it as well. */
#include "support/workspace.h"

int main(void)
{
    workspace_enter();
    cairn_heap *heap = create_shared("crime", 0);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    cairn_free(heap, block);
    cairn_heap_close(heap);
    heap = open_shared("crime", CAIRN_READ_ONLY);
    workspace_leave();
    return cairn_size(heap, block) == 0;
}
