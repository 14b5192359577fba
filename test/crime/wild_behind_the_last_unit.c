/* expect: ^cairn: heap "crime": free of 0x[0-9a-f]*: a wild pointer, nothing was ever allocated there$ */
/* SPDX-License-Identifier: MIT */
/* The unit after the last that was ever used. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_nameless("crime");
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    cairn_stats stats = stats_of(heap);
    cairn_free(heap, (unsigned char *)block + stats.unit_bytes * 3);
    return 0;
}
