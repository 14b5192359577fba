/* expect: ^cairn: heap "crime": free of 0x[0-9a-f]*: a foreign pointer */
/* SPDX-License-Identifier: MIT */
/* The heap's own bookkeeping is no block. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_nameless("crime");
    cairn_free(heap, (void *)(uintptr_t)stats_of(heap).address);
    return 0;
}
