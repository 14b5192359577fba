/* expect: ^cairn: private heap [0-9]+: double free of 0x[0-9a-f]*: a block of [0-9]+ bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
/* With its last block the slab may be given back. */
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
    cairn_free(heap, blocks[4999]);
    return 0;
}
