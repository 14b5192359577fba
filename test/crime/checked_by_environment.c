/* expect: ^cairn: private heap [0-9]+: overrun of 0x[0-9a-f]*: byte 56 of a block of 56 bytes */
/* SPDX-License-Identifier: MIT */
/* A program that knows nothing of checked heaps; the variable has no effect on a shared one. */
#include <stdlib.h>

#include "support/workspace.h"

int main(void)
{
    REQUIRE(setenv("CAIRN_CHECKED", "1", 1) == 0);
    cairn_heap *shared = create_nameless("checked"), *heap = create_private(0);
    unsigned char *volatile block = cairn_alloc(shared, 56);
    REQUIRE_CALL(block != NULL && cairn_size(shared, block) == 64);
    block[56] = 0;
    cairn_free(shared, block);
    cairn_heap_close(shared);
    block = cairn_alloc(heap, 56);
    REQUIRE_CALL(block != NULL);
    block[56] = 0;
    cairn_heap_close(heap);
    return 0;
}
