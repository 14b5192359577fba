/* expect: ^cairn: private heap [0-9]+: size of 0x[0-9a-f]*: an interior pointer, 16 bytes */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    unsigned char *block = cairn_alloc(heap, 1000);
    REQUIRE_CALL(block != NULL);
    return cairn_size(heap, block + 16) == 0;
}
