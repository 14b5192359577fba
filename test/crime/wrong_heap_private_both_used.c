/* expect: ^cairn: private heap [0-9]+: free of 0x[0-9a-f]*: wrong heap, the block belongs to  */
/* SPDX-License-Identifier: MIT */
/* Both heaps have slabs of the class. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    cairn_heap *other = create_private(0);
    void *block = cairn_alloc(other, 100);
    REQUIRE_CALL(block != NULL);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    cairn_free(heap, block);
    return 0;
}
