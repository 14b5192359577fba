/* expect: ^cairn: private heap [0-9]+: double free of 0x[0-9a-f]*: a block of [0-9]+ bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
/* A slab of this class has several units; the block lies in the last. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    void *block = NULL;
    for (int i = 0; i < 4; i++) {
        block = cairn_alloc(heap, 30000);
        REQUIRE_CALL(block != NULL);
    }
    cairn_free(heap, block);
    cairn_free(heap, block);
    return 0;
}
