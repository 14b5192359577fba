/* expect: ^cairn: heap "crime": free of 0x[0-9a-f]*: a wild pointer, nothing was ever allocated there$ */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_nameless("crime");
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    cairn_stats stats = stats_of(heap);
    cairn_free(heap, (void *)(uintptr_t)(stats.units_address + stats.bytes_reserved / 4));
    return 0;
}
