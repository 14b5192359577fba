/* expect: ^cairn: heap "crime": free of 0x[0-9a-f]*: wrong heap, the block belongs to a private heap$ */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_nameless("crime");
    cairn_heap *other = create_private(0);
    void *block = cairn_alloc(other, 100);
    REQUIRE_CALL(block != NULL);
    cairn_free(heap, block);
    return 0;
}
