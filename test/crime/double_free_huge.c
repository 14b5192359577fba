/* expect: ^cairn: private heap [0-9]+: double free of 0x[0-9a-f]*: a block  */
/* SPDX-License-Identifier: MIT */
/* So large that its memory went back to the system. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    void *block = cairn_alloc(heap, 64 * MIB);
    REQUIRE_CALL(block != NULL);
    cairn_free(heap, block);
    cairn_free(heap, block);
    return 0;
}
