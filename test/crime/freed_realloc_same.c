/* expect: ^cairn: private heap [0-9]+: realloc of 0x[0-9a-f]*: a block of [0-9]+ bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    cairn_free(heap, block);
    return cairn_realloc(heap, block, 100) == NULL;
}
