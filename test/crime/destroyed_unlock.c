/* expect: ^cairn: unlock with the handle 0x[0-9a-f]* of a closed heap$ */
/* SPDX-License-Identifier: MIT */
/* It was locked when it ended. */
#include "support/workspace.h"

int main(void)
{
    cairn_options options = {.size = sizeof options, .flags = CAIRN_LOCKABLE};
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
    REQUIRE_CALL(cairn_heap_lock(heap) == 0);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    return cairn_heap_unlock(heap);
}
