/* expect: ^cairn: heap "crime": free of 0x[0-9a-f]*: a foreign pointer, not memory of this heap$ */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_nameless("crime");
    int local = 0;
    cairn_free(heap, &local);
    return 0;
}
