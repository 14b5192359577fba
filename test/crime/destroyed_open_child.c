/* expect: ^cairn: open_child with the handle 0x[0-9a-f]* of a closed heap$ */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_nameless("crime"), *child;
    cairn_heap_close(heap);
    return cairn_heap_open_child(&child, heap, "child");
}
