/* expect: ^cairn: heap "crime": double free of 0x[0-9a-f]*: a block  */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

static cairn_heap *heap;
static void *block;

static void free_it(void *arg)
{
    (void)arg;
    cairn_free(heap, block);
}

int main(void)
{
    heap = create_nameless("crime");
    block = cairn_alloc(heap, 200000);
    REQUIRE_CALL(block != NULL);
    finish(start(free_it, NULL));
    cairn_free(heap, block);
    return 0;
}
