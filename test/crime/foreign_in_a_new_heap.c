/* expect: ^cairn: heap "crime": free of 0x[0-9a-f]*: a foreign pointer, not memory of this heap$ */
/* SPDX-License-Identifier: MIT */
/* The very first call with the handle. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_nameless("crime");
    static int here;
    cairn_free(heap, &here);
    return 0;
}
