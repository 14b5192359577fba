/* SPDX-License-Identifier: MIT */
/* Sizes that no heap has and alignments that are none. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "support/workspace.h"

/* Not constants: the compiler must not know that they are too much. */
static volatile size_t sizes[] = {
    SIZE_MAX,
    SIZE_MAX - 1,
    SIZE_MAX - 15,
    SIZE_MAX - 16,
    SIZE_MAX - 4095,
    SIZE_MAX - 65535,
    SIZE_MAX - 65536,
    SIZE_MAX - MIB,
    SIZE_MAX - GIB,
    SIZE_MAX / 2,
    SIZE_MAX / 2 + 1,
    (size_t)1 << 48,
    ((size_t)1 << 48) - 1,
    ((size_t)UINT32_MAX << 16) + 1, /* wraps to few units where units are counted in 32 bits */
    ((size_t)1 << 48) + ((size_t)1 << 16),
};

static void sizes_near_the_largest(cairn_heap *heap)
{
    unsigned char *small = cairn_alloc(heap, 1000);
    unsigned char *large = cairn_alloc(heap, 200000);
    REQUIRE_CALL(small != NULL && large != NULL);
    memset(small, 0x11, 1000);
    memset(large, 0x22, 200000);
    uint64_t live = blocks_live(heap);
    size_t small_bytes = cairn_size(heap, small), large_bytes = cairn_size(heap, large);
    void *linked = NULL;
    void **dest = cairn_zalloc(heap, sizeof *dest);
    REQUIRE_CALL(dest != NULL);
    (void)linked;

    for (size_t i = 0; i < COUNT(sizes); i++) {
        REFUSED_NULL(-ENOMEM, cairn_alloc(heap, sizes[i]));
        REFUSED_NULL(-ENOMEM, cairn_zalloc(heap, sizes[i]));
        REFUSED_NULL(-ENOMEM, cairn_realloc(heap, NULL, sizes[i]));
        REFUSED_NULL(-ENOMEM, cairn_realloc(heap, small, sizes[i]));
        REFUSED_NULL(-ENOMEM, cairn_realloc(heap, large, sizes[i]));
        REFUSED(-ENOMEM, cairn_alloc_to(heap, sizes[i], dest));
        REQUIRE(*dest == NULL);
        for (size_t alignment = 1; alignment <= CAIRN_ALIGNMENT_MAX; alignment *= 4)
            REFUSED_NULL(-ENOMEM, cairn_aligned_alloc(heap, alignment, sizes[i]));
        REQUIRE(!cairn_expand(heap, small, sizes[i]));
        REQUIRE(!cairn_expand(heap, large, sizes[i]));
        REQUIRE(!cairn_expand(heap, NULL, sizes[i]));
    }
    REQUIRE_EQUAL(cairn_size(heap, small), small_bytes);
    REQUIRE_EQUAL(cairn_size(heap, large), large_bytes);
    for (size_t i = 0; i < 1000; i++)
        REQUIRE(small[i] == 0x11);
    for (size_t i = 0; i < 200000; i++)
        REQUIRE(large[i] == 0x22);
    REQUIRE_EQUAL(blocks_live(heap), live + 1);
    cairn_free(heap, dest);
    cairn_free(heap, small);
    cairn_free(heap, large);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_SOUND(heap);
}

static void a_private_heap_refuses_sizes_near_the_largest(void)
{
    cairn_heap *heap = create_private(0);
    sizes_near_the_largest(heap);
    cairn_heap_close(heap);
}

static void a_shared_heap_refuses_sizes_near_the_largest(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    sizes_near_the_largest(heap);
    cairn_heap_close(heap);
}

static void a_small_shared_heap_refuses_sizes_near_the_largest(void)
{
    cairn_heap *heap = create_shared("heap", MIB);
    sizes_near_the_largest(heap);
    cairn_heap_close(heap);
}

static void a_limited_private_heap_refuses_sizes_near_the_largest(void)
{
    cairn_heap *heap = create_private(MIB);
    sizes_near_the_largest(heap);
    REFUSED_NULL(-ENOMEM, cairn_alloc(heap, 2 * MIB));
    cairn_heap_close(heap);
}

static void what_is_no_alignment_is_refused(void)
{
    static const size_t alignments[] = {
        0,
        3,
        5,
        6,
        7,
        9,
        12,
        24,
        48,
        100,
        4095,
        4097,
        CAIRN_ALIGNMENT_MAX - 1,
        CAIRN_ALIGNMENT_MAX + 1,
        CAIRN_ALIGNMENT_MAX * 2,
        (size_t)1 << 32,
        (size_t)1 << 63,
        SIZE_MAX,
        SIZE_MAX - 15,
    };
    cairn_heap *heaps[] = {create_private(0), create_shared("heap", 0)};
    for (size_t h = 0; h < COUNT(heaps); h++) {
        for (size_t i = 0; i < COUNT(alignments); i++) {
            REFUSED_NULL(-EINVAL, cairn_aligned_alloc(heaps[h], alignments[i], 100));
            REFUSED_NULL(-EINVAL, cairn_aligned_alloc(heaps[h], alignments[i], 0));
            REFUSED_NULL(-EINVAL, cairn_aligned_alloc(heaps[h], alignments[i], sizes[0]));
        }
        REQUIRE_EQUAL(blocks_live(heaps[h]), 0);
        cairn_heap_close(heaps[h]);
    }
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_private_heap_refuses_sizes_near_the_largest),
        CLAIM(a_shared_heap_refuses_sizes_near_the_largest),
        CLAIM(a_small_shared_heap_refuses_sizes_near_the_largest),
        CLAIM(a_limited_private_heap_refuses_sizes_near_the_largest),
        CLAIM(what_is_no_alignment_is_refused),
    };
    return run_claims(claims, COUNT(claims), 20);
}
