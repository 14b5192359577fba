/* expect: ^cairn: private heap [0-9]+: free of 0x[0-9a-f]*: an interior pointer, 1 bytes into the block */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    unsigned char *block = cairn_alloc(heap, 1000);
    REQUIRE_CALL(block != NULL);
    cairn_free(heap, block + 1);
    return 0;
}
