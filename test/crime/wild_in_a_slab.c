/* expect: ^cairn: private heap [0-9]+: (free of 0x[0-9a-f]*: a wild pointer|double free of) */
/* SPDX-License-Identifier: MIT */
/* A place in a slab that was never handed out. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    unsigned char *block = cairn_alloc(heap, 16);
    REQUIRE_CALL(block != NULL);
    cairn_free(heap, block + 32768);
    return 0;
}
