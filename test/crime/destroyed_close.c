/* expect: ^cairn: close with the handle 0x[0-9a-f]* of a closed heap$ */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    cairn_heap_close(heap);
    return 0;
}
