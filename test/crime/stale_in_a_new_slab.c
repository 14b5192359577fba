/* expect: ^cairn: private heap [0-9]+: (double free of 0x|free of 0x.*: a block from before the heap was reset) */
/* SPDX-License-Identifier: MIT */
/* Its slab serves the heap anew, and its place is free there. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    void *block = NULL;
    for (int i = 0; i < 30; i++) {
        block = cairn_alloc(heap, 100);
        REQUIRE_CALL(block != NULL);
    }
    REQUIRE_CALL(cairn_heap_reset(heap) == 0 && cairn_alloc(heap, 100) != NULL);
    cairn_free(heap, block);
    return 0;
}
