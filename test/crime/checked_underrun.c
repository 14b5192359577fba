/* expect: ^cairn: private heap [0-9]+: underrun of 0x[0-9a-f]*: byte -1 of a block of 56 bytes */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_options options = {.size = sizeof options, .checked = true};
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
    unsigned char *volatile block = cairn_alloc(heap, 56);
    REQUIRE_CALL(block != NULL);
    block[-1] = 0x41;
    cairn_free(heap, block);
    return 0;
}
