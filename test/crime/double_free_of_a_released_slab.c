/* expect: ^cairn: private heap [0-9]+: double free of 0x[0-9a-f]*: a block  */
/* SPDX-License-Identifier: MIT */
/* Its slab was emptied and given back long ago. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    void *blocks[5000];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = cairn_alloc(heap, 100);
        REQUIRE_CALL(blocks[i] != NULL);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        cairn_free(heap, blocks[i]);
    REQUIRE_CALL(cairn_trim(heap) >= 0);
    cairn_free(heap, blocks[0]);
    return 0;
}
