/* expect: ^cairn: private heap [0-9]+: (double free|free) of 0x[0-9a-f]*: */
/* SPDX-License-Identifier: MIT */
/* A child's blocks end with it; they were never its parent's. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0), *child;
    cairn_options options = {.size = sizeof options, .parent = heap};
    REQUIRE_CALL(cairn_heap_create(&child, &options) == 0);
    void *block = cairn_alloc(child, 100);
    REQUIRE_CALL(block != NULL && cairn_alloc(heap, 100) != NULL);
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    cairn_free(heap, block);
    return 0;
}
