/* expect: ^cairn: private heap [0-9]+: free of 0x[0-9a-f]*: an interior pointer, 100000 bytes into the block */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    unsigned char *block = cairn_alloc(heap, 500000);
    REQUIRE_CALL(block != NULL);
    cairn_free(heap, block + 100000);
    return 0;
}
