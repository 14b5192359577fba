/* expect: ^cairn: private heap [0-9]+: free of 0x[0-9a-f]*: a foreign pointer, not memory of this heap$ */
/* SPDX-License-Identifier: MIT */
/* Its section is gone: nobody's memory. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0), *bounded = create_private(MIB);
    void *block = cairn_alloc(bounded, 100);
    REQUIRE_CALL(block != NULL && cairn_alloc(heap, 100) != NULL);
    REQUIRE_CALL(cairn_heap_destroy(bounded) == 0);
    cairn_free(heap, block);
    return 0;
}
