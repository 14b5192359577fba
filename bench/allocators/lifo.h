/* SPDX-License-Identifier: MIT */
/*
 * A floor: for each size a list whose newest block is taken again, and a word before each block that says its size. No
 * thread, no second heap, no check: what any allocator must do at the least.
 */
#define HEAP_CAN (HEAP_FREES | HEAP_HANDLES | HEAP_DESTROYS)

#include "bump.h"

static inline void *heap_alloc(void *heap, size_t size)
{
    struct bump *bump = heap;
    size_t class = (size + 15) / 16;
    void **block = bump->free[class];
    if (__builtin_expect(block != NULL, 1)) {
        bump->free[class] = *block;
        return block;
    }
    size_t *header = bump_alloc(heap, (class + 1) * 16);
    if (!header)
        return NULL;
    *header = class;
    return header + 2;
}

static inline void heap_free(void *heap, void *block)
{
    struct bump *bump = heap;
    size_t class = ((size_t *)block)[-2];
    *(void **)block = bump->free[class];
    bump->free[class] = block;
}
