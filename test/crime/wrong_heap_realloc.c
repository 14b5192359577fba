/* expect: ^cairn: private heap [0-9]+: realloc of 0x[0-9a-f]*: wrong heap */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    cairn_heap *other = create_private(0);
    void *block = cairn_alloc(other, 100);
    REQUIRE_CALL(block != NULL);
    if (cairn_realloc(heap, block, 200) != NULL)
        return 1;
    return 0;
}
