/* expect: ^cairn: create with the handle 0x[0-9a-f]* of a closed heap$ */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0), *child;
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    cairn_options options = {.size = sizeof options, .parent = heap};
    return cairn_heap_create(&child, &options);
}
