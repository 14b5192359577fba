/* expect: ^cairn: private heap [0-9]+: free of 0x[0-9a-f]*: an interior pointer, [0-9]+ bytes into the block */
/* SPDX-License-Identifier: MIT */
/* Each pointer into a slab of several units, except where a block begins. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    unsigned char *block = cairn_alloc(heap, 30000);
    REQUIRE_CALL(block != NULL);
    unsigned char *second = cairn_alloc(heap, 30000);
    REQUIRE_CALL(second != NULL);
    cairn_free(heap, second + 29999);
    return 0;
}
