/* expect: ^cairn: alloc with the handle 0x[0-9a-f]* of a closed heap$ */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    workspace_enter();
    cairn_heap *heap = create_shared("crime", 0);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    workspace_leave();
    return cairn_alloc(heap, 100) == NULL;
}
