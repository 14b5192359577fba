/* expect: ^cairn: private heap [0-9]+: double free of 0x[0-9a-f]*: a block of 16 bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
/* A block of no bytes is a block. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    void *block = cairn_alloc(heap, 0);
    REQUIRE_CALL(block != NULL);
    cairn_free(heap, block);
    cairn_free(heap, block);
    return 0;
}
