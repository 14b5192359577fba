/* expect: ^cairn: private heap [0-9]+: (double free of 0x|free of 0x.*: a block from before the heap was reset) */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    void *block = cairn_alloc(heap, 300000);
    REQUIRE_CALL(block != NULL);
    REQUIRE_CALL(cairn_heap_reset(heap) == 0);
    cairn_free(heap, block);
    return 0;
}
