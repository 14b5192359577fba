/* expect: ^cairn: heap "crime": double free of 0x[0-9a-f]* */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_nameless("crime");
    void **dest = cairn_zalloc(heap, sizeof *dest);
    REQUIRE_CALL(dest != NULL && cairn_alloc_to(heap, 300000, dest) == 0);
    cairn_free(heap, *dest);
    return cairn_free_from(heap, dest);
}
