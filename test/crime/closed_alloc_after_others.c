/* expect: ^cairn: alloc with the handle 0x[0-9a-f]* of a closed heap$ */
/* SPDX-License-Identifier: MIT */
/* Many others were opened and closed since. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    cairn_heap_close(heap);
    for (int i = 0; i < 100; i++)
        cairn_heap_close(create_private(0));
    return cairn_alloc(heap, 100) == NULL;
}
