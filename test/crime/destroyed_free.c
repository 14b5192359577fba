/* expect: ^cairn: free with the handle 0x[0-9a-f]* of a closed heap$ */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    cairn_free(heap, block);
    return 0;
}
