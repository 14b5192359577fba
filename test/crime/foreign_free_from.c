/* expect: ^cairn: heap "crime": free_from of 0x[0-9a-f]*: a foreign pointer */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_nameless("crime");
    int local = 0;
    void **dest = cairn_alloc(heap, sizeof *dest);
    REQUIRE_CALL(dest != NULL);
    *dest = &local;
    if (cairn_free_from(heap, dest) != 0)
        return 1;
    return 0;
}
