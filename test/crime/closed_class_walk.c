/* expect: ^cairn: class_walk with the handle 0x[0-9a-f]* of a closed heap$ */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    cairn_heap_close(heap);
    return cairn_class_walk(heap, NULL, NULL);
}
