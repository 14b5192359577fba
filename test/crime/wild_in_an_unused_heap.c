/* expect: ^cairn: heap "crime": free of 0x[0-9a-f]*: a wild pointer, nothing was ever allocated there$ */
/* SPDX-License-Identifier: MIT */
/* Nothing was ever allocated from it at all. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_nameless("crime");
    cairn_free(heap, (void *)(uintptr_t)stats_of(heap).units_address);
    return 0;
}
