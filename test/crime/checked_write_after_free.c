/* expect: ^cairn: private heap [0-9]+: write after free of 0x[0-9a-f]*: byte 32 of a freed block of 64 */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_options options = {.size = sizeof options, .checked = true};
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
    unsigned char *volatile block = cairn_alloc(heap, 64);
    REQUIRE_CALL(block != NULL);
    cairn_free(heap, block);
    block[32] = 0x41;
    for (int i = 0; i < 300; i++)
        REQUIRE_CALL(cairn_alloc(heap, 64) != NULL);
    return 0;
}
