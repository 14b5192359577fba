/* SPDX-License-Identifier: MIT */
/* Each public call, as its text in cairn.h promises it: private heaps and shared ones alike. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/workspace.h"

/* ---------------------------------------------------------------- a heap of each kind */

enum kind { PRIVATE, SHARED, SMALL_SHARED, KINDS };

static cairn_heap *make(enum kind kind)
{
    if (kind == PRIVATE)
        return create_private(0);
    return create_shared("heap", kind == SMALL_SHARED ? 16 * MIB : 0);
}

static void end(cairn_heap *heap)
{
    ck_assert_int_eq(cairn_check(heap, NULL, NULL), 0);
    bool is_shared = stats_of(heap).shared;
    cairn_heap_close(heap);
    if (is_shared)
        ck_assert_int_eq(cairn_heap_unlink("heap", NULL), 0);
}

static void *must(void *block)
{
    if (block == NULL)
        ck_abort_msg("NULL: %s", cairn_last_error());
    return block;
}

/* So that blocks are told apart by what is in them. */
static void sign(void *block, size_t bytes, unsigned seed)
{
    unsigned char *to = block;
    for (size_t i = 0; i < bytes; i++)
        to[i] = (unsigned char)(seed + i * 31);
}

static bool is_signed(const void *block, size_t bytes, unsigned seed)
{
    const unsigned char *from = block;
    for (size_t i = 0; i < bytes; i++) {
        if (from[i] != (unsigned char)(seed + i * 31))
            return false;
    }
    return true;
}

static bool is_zero(const void *block, size_t bytes)
{
    const unsigned char *from = block;
    for (size_t i = 0; i < bytes; i++) {
        if (from[i] != 0)
            return false;
    }
    return true;
}

static const size_t some_sizes[] = {
    0,     1,     7,     15,    16,    17,    31,     32,     100,    255,    256,    257,    511,     512,   513,
    1000,  1023,  1024,  1025,  2047,  2048,  4095,   4096,   4097,   8191,   8192,   10000,  16384,   20000, 32767,
    32768, 32769, 40000, 65535, 65536, 65537, 100000, 131072, 200000, 262144, 262145, 500000, 1048577,
};

/* ---------------------------------------------------------------- blocks */

START_TEST(a_block_has_at_least_the_size_asked_for)
{
    cairn_heap *heap = make((enum kind)_i);
    void *blocks[COUNT(some_sizes)];
    for (size_t i = 0; i < COUNT(some_sizes); i++) {
        blocks[i] = must(cairn_alloc(heap, some_sizes[i]));
        ck_assert_uint_ge(cairn_size(heap, blocks[i]), some_sizes[i]);
        ck_assert_uint_ge(cairn_size(heap, blocks[i]), 16);
        ck_assert_uint_eq((uintptr_t)blocks[i] % CAIRN_ALIGNMENT, 0);
        sign(blocks[i], cairn_size(heap, blocks[i]), (unsigned)i); /* all of it may be used */
    }
    for (size_t i = 0; i < COUNT(some_sizes); i++)
        ck_assert(is_signed(blocks[i], cairn_size(heap, blocks[i]), (unsigned)i));
    ck_assert_uint_eq(blocks_live(heap), COUNT(some_sizes));
    for (size_t i = 0; i < COUNT(some_sizes); i++)
        cairn_free(heap, blocks[i]);
    ck_assert_uint_eq(blocks_live(heap), 0);
    ck_assert_uint_eq(cairn_size(heap, NULL), 0);
    cairn_free(heap, NULL);
    end(heap);
}
END_TEST

START_TEST(blocks_of_no_bytes_are_distinct)
{
    enum { MANY = 3000 };
    static uintptr_t seen[MANY];
    cairn_heap *heap = make((enum kind)_i);
    for (int i = 0; i < MANY; i++) {
        seen[i] = (uintptr_t)must(i % 2 == 0 ? cairn_alloc(heap, 0) : cairn_zalloc(heap, 0));
        for (int k = 0; k < i; k += 1 + i / 50)
            ck_assert_uint_ne(seen[i], seen[k]);
    }
    ck_assert_uint_eq(blocks_live(heap), MANY);
    for (int i = 0; i < MANY; i++)
        cairn_free(heap, (void *)seen[i]);
    end(heap);
}
END_TEST

START_TEST(zalloc_zeroes_reused_memory)
{
    cairn_heap *heap = make((enum kind)_i);
    for (int round = 0; round < 3; round++) {
        void *blocks[COUNT(some_sizes)];
        for (size_t i = 0; i < COUNT(some_sizes); i++) {
            blocks[i] = must(cairn_zalloc(heap, some_sizes[i]));
            ck_assert(is_zero(blocks[i], some_sizes[i]));
            memset(blocks[i], 0xff, cairn_size(heap, blocks[i]));
        }
        for (size_t i = 0; i < COUNT(some_sizes); i++)
            cairn_free(heap, blocks[i]);
        if (round == 1)
            ck_assert_int_ge(cairn_trim(heap), 0); /* memory that comes back from the system is told apart */
    }
    end(heap);
}
END_TEST

START_TEST(alignments_up_to_a_mebibyte_are_kept)
{
    cairn_heap *heap = make((enum kind)_i);
    static const size_t sizes[] = {0, 1, 16, 100, 1000, 5000, 40000, 100000};
    void *blocks[32 * COUNT(sizes)];
    size_t count = 0;
    for (size_t alignment = 1; alignment <= CAIRN_ALIGNMENT_MAX; alignment *= 2) {
        for (size_t i = 0; i < COUNT(sizes); i++) {
            void *block = cairn_aligned_alloc(heap, alignment, sizes[i]);
            if (block == NULL && _i == SMALL_SHARED && cairn_last_errno() == -ENOMEM)
                continue; /* a small heap may have no place that is so aligned */
            must(block);
            ck_assert_uint_eq((uintptr_t)block % alignment, 0);
            ck_assert_uint_eq((uintptr_t)block % CAIRN_ALIGNMENT, 0);
            ck_assert_uint_ge(cairn_size(heap, block), sizes[i]);
            sign(block, sizes[i], (unsigned)count);
            blocks[count++] = block;
        }
    }
    size_t n = 0;
    ck_assert_uint_gt(count, 100);
    for (size_t alignment = 1; _i != SMALL_SHARED && alignment <= CAIRN_ALIGNMENT_MAX; alignment *= 2) {
        for (size_t i = 0; i < COUNT(sizes); i++, n++)
            ck_assert(is_signed(blocks[n], sizes[i], (unsigned)n));
    }
    while (count > 0)
        cairn_free(heap, blocks[--count]);
    end(heap);
}
END_TEST

START_TEST(realloc_keeps_the_contents_up_to_the_smaller_size)
{
    cairn_heap *heap = make((enum kind)_i);
    for (size_t from = 0; from < COUNT(some_sizes); from++) {
        for (size_t to = 0; to < COUNT(some_sizes); to++) {
            size_t before = some_sizes[from], after = some_sizes[to];
            unsigned char *block = must(cairn_alloc(heap, before));
            sign(block, before, (unsigned)from);
            block = must(cairn_realloc(heap, block, after));
            ck_assert_uint_ge(cairn_size(heap, block), after);
            ck_assert_uint_eq((uintptr_t)block % CAIRN_ALIGNMENT, 0);
            ck_assert(is_signed(block, before < after ? before : after, (unsigned)from));
            memset(block, 0, after);
            cairn_free(heap, block);
        }
    }
    ck_assert_uint_eq(blocks_live(heap), 0);
    void *block = must(cairn_realloc(heap, NULL, 100)); /* as alloc */
    block = must(cairn_realloc(heap, block, 0));        /* never a free */
    ck_assert_uint_eq(blocks_live(heap), 1);
    ck_assert_uint_ge(cairn_size(heap, block), 16);
    cairn_free(heap, block);
    end(heap);
}
END_TEST

START_TEST(a_block_grows_and_shrinks_among_others_without_harm)
{
    enum { BLOCKS = 20 };
    cairn_heap *heap = make((enum kind)_i);
    void *blocks[BLOCKS];
    size_t sizes[BLOCKS];
    uint64_t seed = 12345;
    for (unsigned i = 0; i < BLOCKS; i++) {
        sizes[i] = 100 * i;
        blocks[i] = must(cairn_alloc(heap, sizes[i]));
        sign(blocks[i], sizes[i], i);
    }
    for (int round = 0; round < 2000; round++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        unsigned i = (unsigned)(seed >> 33) % BLOCKS;
        size_t size = (size_t)(seed >> 40) % ((seed >> 20) % 4 == 0 ? 400000 : 3000);
        blocks[i] = must(cairn_realloc(heap, blocks[i], size));
        ck_assert(is_signed(blocks[i], size < sizes[i] ? size : sizes[i], i));
        sizes[i] = size;
        sign(blocks[i], size, i);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        ck_assert(is_signed(blocks[i], sizes[i], i));
        cairn_free(heap, blocks[i]);
    }
    end(heap);
}
END_TEST

START_TEST(expand_grows_in_place_or_not_at_all)
{
    cairn_heap *heap = make((enum kind)_i);
    unsigned char *small = must(cairn_alloc(heap, 100));
    size_t usable = cairn_size(heap, small);
    ck_assert(cairn_expand(heap, small, usable));
    ck_assert(cairn_expand(heap, small, 1)); /* never smaller */
    ck_assert_uint_eq(cairn_size(heap, small), usable);
    ck_assert(!cairn_expand(heap, small, usable + 1));
    ck_assert_uint_eq(cairn_size(heap, small), usable);
    ck_assert(!cairn_expand(heap, NULL, 100));

    unsigned char *large = must(cairn_alloc(heap, 300000));
    sign(large, 300000, 1);
    if (cairn_expand(heap, large, 600000)) {
        ck_assert_uint_ge(cairn_size(heap, large), 600000);
        sign(large, 600000, 1);
    }
    size_t before = cairn_size(heap, large);
    void *wall = must(cairn_alloc(heap, 300000));
    while (cairn_expand(heap, large, cairn_size(heap, large) + 1) && cairn_size(heap, large) < 8 * MIB)
        ck_assert_uint_gt(cairn_size(heap, large), before); /* until something is in the way */
    ck_assert(is_signed(large, before < 600000 ? 300000 : 600000, 1));
    ck_assert(cairn_expand(heap, large, 1));
    ck_assert_uint_ge(cairn_size(heap, large), before);
    cairn_free(heap, large);
    cairn_free(heap, wall);
    cairn_free(heap, small);
    ck_assert_uint_eq(blocks_live(heap), 0);
    end(heap);
}
END_TEST

START_TEST(alloc_to_links_and_free_from_unlinks)
{
    cairn_heap *heap = make((enum kind)_i);
    static const size_t sizes[] = {0, 1, 100, 5000, 40000, 300000};
    void **dest = must(cairn_zalloc(heap, sizeof *dest));
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT(sizes); i++) {
            ck_assert_int_eq(cairn_alloc_to(heap, sizes[i], dest), 0);
            ck_assert_ptr_nonnull(*dest);
            ck_assert(is_zero(*dest, sizes[i]));
            ck_assert_uint_eq(blocks_live(heap), 2);
            memset(*dest, 0xff, cairn_size(heap, *dest));
            ck_assert_int_eq(cairn_free_from(heap, dest), 0);
            ck_assert_ptr_null(*dest);
            ck_assert_uint_eq(blocks_live(heap), 1);
            ck_assert_int_eq(cairn_free_from(heap, dest), 0); /* NULL already */
        }
    }
    cairn_free(heap, dest);
    end(heap);
}
END_TEST

/* ---------------------------------------------------------------- heaps */

START_TEST(a_private_heaps_limit_holds_and_lets_go)
{
    for (int round = 0; round < 3; round++) {
        cairn_heap *heap = create_private(4 * MIB);
        static void *blocks[100000];
        size_t sizes[] = {100, 5000, 300000};
        ck_assert_uint_eq(stats_of(heap).bytes_max, 4 * MIB);
        for (int again = 0; again < 3; again++) {
            size_t count = 0;
            while (count < COUNT(blocks) && (blocks[count] = cairn_alloc(heap, sizes[round])) != NULL)
                count++;
            ck_assert_int_eq(cairn_last_errno(), -ENOMEM);
            ck_assert_uint_gt(count * sizes[round], 2 * MIB);
            ck_assert_uint_le(count * sizes[round], 4 * MIB);
            ck_assert_uint_le(stats_of(heap).bytes_committed, 4 * MIB);
            ck_assert_uint_le(stats_of(heap).bytes_committed_peak, 4 * MIB);
            while (count > 0)
                cairn_free(heap, blocks[--count]);
        }
        void *large = must(cairn_alloc(heap, 3 * MIB)); /* what was freed in one size is there for another */
        ck_assert_ptr_null(cairn_alloc(heap, 2 * MIB));
        cairn_heap *other = create_private(0); /* nobody else's limit */
        must(cairn_alloc(other, 2 * MIB));
        cairn_heap_close(other);
        cairn_free(heap, large);
        end(heap);
    }
}
END_TEST

struct class_sum {
    uint64_t bytes_live, blocks_live, slabs, large, last;
    int calls, stop_after;
};

static int add_class(const cairn_class *blocks, void *arg)
{
    struct class_sum *sum = arg;
    bool is_large = blocks->block_bytes == 0;
    ck_assert(sum->large == 0); /* the last */
    ck_assert(is_large || blocks->block_bytes > sum->last);
    ck_assert(is_large || blocks->bytes_live == blocks->blocks_live * blocks->block_bytes);
    ck_assert_uint_le(blocks->blocks_live, blocks->blocks);
    ck_assert_uint_le(blocks->blocks * blocks->block_bytes, blocks->span_bytes);
    ck_assert_uint_le(blocks->bytes_live, blocks->span_bytes);
    ck_assert_uint_ge(blocks->spans, 1);
    sum->last = blocks->block_bytes;
    sum->bytes_live += blocks->bytes_live;
    sum->blocks_live += blocks->blocks_live;
    *(is_large ? &sum->large : &sum->slabs) += blocks->spans;
    return ++sum->calls == sum->stop_after ? 7 : 0;
}

static int find_class(const cairn_class *blocks, void *arg)
{
    cairn_class *wanted = arg;
    if (blocks->block_bytes != wanted->block_bytes)
        return 0;
    *wanted = *blocks;
    return 1;
}

START_TEST(blocks_are_counted_by_their_sizes)
{
    cairn_heap *heap = make((enum kind)_i);
    cairn_class none = {.block_bytes = 112};
    ck_assert_int_eq(cairn_class_walk(heap, find_class, &none), 0); /* no span, no call */
    void *blocks[300], *large = must(cairn_alloc(heap, 100000));
    for (size_t i = 0; i < COUNT(blocks); i++)
        blocks[i] = must(cairn_alloc(heap, i % 3 == 0 ? 100 : 1000));
    for (size_t i = 0; i < COUNT(blocks); i += 2)
        cairn_free(heap, blocks[i]);

    cairn_class small = {.block_bytes = cairn_size(heap, blocks[3])}, huge = {0};
    ck_assert_int_eq(cairn_class_walk(heap, find_class, &small), 1);
    ck_assert_uint_eq(small.blocks_live, 50);
    ck_assert_int_eq(cairn_class_walk(heap, find_class, &huge), 1);
    ck_assert_uint_eq(huge.spans, 1);
    ck_assert_uint_eq(huge.bytes_live, cairn_size(heap, large));

    struct class_sum sum = {0}, two = {.stop_after = 2};
    ck_assert_int_eq(cairn_class_walk(heap, add_class, &sum), 0);
    cairn_stats stats = stats_of(heap);
    ck_assert_uint_eq(sum.bytes_live, stats.bytes_live);
    ck_assert_uint_eq(sum.blocks_live, stats.blocks_live);
    ck_assert_uint_eq(sum.slabs, stats.slabs);
    ck_assert_uint_eq(sum.large, stats.large);
    ck_assert_int_eq(sum.calls, 3);
    ck_assert_int_eq(cairn_class_walk(heap, add_class, &two), 7);
    ck_assert_int_eq(two.calls, 2);
    end(heap);
}
END_TEST

START_TEST(reset_frees_every_block_and_keeps_heap_and_limit)
{
    cairn_heap *heap = create_private(8 * MIB);
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < 1000; i++)
            sign(must(cairn_alloc(heap, 1000)), 1000, 1);
        sign(must(cairn_alloc(heap, MIB)), MIB, 1);
        ck_assert_uint_eq(blocks_live(heap), round == 0 ? 1001 : 1002);
        ck_assert_int_eq(cairn_heap_reset(heap), 0);
        ck_assert_uint_eq(blocks_live(heap), 0);
        ck_assert_uint_eq(stats_of(heap).bytes_live, 0);
        ck_assert_uint_eq(stats_of(heap).bytes_max, 8 * MIB);
        ck_assert_int_eq(cairn_check(heap, NULL, NULL), 0);
        ck_assert(is_zero(must(cairn_zalloc(heap, 50000)), 50000));
    }
    end(heap);
}
END_TEST

static void *use_a_heap(void *arg)
{
    cairn_heap *heap = arg;
    for (int i = 0; i < 1000; i++)
        sign(must(cairn_alloc(heap, 500)), 500, 1);
    return NULL;
}

START_TEST(a_shared_heap_is_reset_by_who_alone_holds_it)
{
    cairn_heap *heap = create_shared("heap", 0);
    ck_assert_int_eq(cairn_root_set(heap, "root", must(cairn_alloc(heap, 100))), 0);
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < 1000; i++)
            sign(must(cairn_alloc(heap, i * 3)), i * 3, 1);
        ck_assert_int_eq(cairn_heap_reset(heap), 0);
        ck_assert_uint_eq(blocks_live(heap), 0);
        ck_assert_int_eq(cairn_check(heap, NULL, NULL), 0);
    }
    end(heap);
}
END_TEST

/* A handle that has only looked so far, or may not do more, finds the blocks of after a reset by another. */
START_TEST(a_reset_moves_each_handle_on)
{
    cairn_heap *heap = create_shared("heap", 0);
    cairn_heap *other;
    cairn_options options = {.size = sizeof options, .flags = _i == 0 ? 0 : CAIRN_READ_ONLY};
    ck_assert_int_eq(cairn_heap_open(&other, "heap", &options), 0);
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(cairn_heap_reset(heap), 0);
        unsigned char *small = must(cairn_alloc(heap, 100)), *large = must(cairn_alloc(heap, 100000));
        ck_assert(cairn_is_block(other, small) && cairn_is_block(other, large));
        ck_assert_uint_eq(cairn_size(other, small), cairn_size(heap, small));
        ck_assert_uint_eq(cairn_size(other, large), cairn_size(heap, large));
    }
    cairn_heap_close(other);
    end(heap);
}
END_TEST

START_TEST(reset_frees_what_other_threads_allocated)
{
    cairn_heap *heap = create_private(0);
    for (int round = 0; round < 5; round++) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, use_a_heap, heap), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        use_a_heap(heap);
        ck_assert_uint_eq(blocks_live(heap), 2000);
        ck_assert_int_eq(cairn_heap_reset(heap), 0);
        ck_assert_uint_eq(blocks_live(heap), 0);
    }
    end(heap);
}
END_TEST

START_TEST(close_ends_a_heap_with_blocks_in_it)
{
    uint64_t first = 0;
    for (int round = 0; round < 200; round++) {
        cairn_heap *heap = create_private(0);
        use_a_heap(heap);
        must(cairn_alloc(heap, 2 * MIB));
        uint64_t used = stats_of(heap).units_address;
        ck_assert(first == 0 || first == used);
        first = used;
        ck_assert_uint_lt(stats_of(heap).bytes_committed, 4 * MIB);
        if (round == 199) /* what ended heaps held is used again */
            ck_assert_uint_lt(stats_of(heap).bytes_free, 64 * MIB);
        cairn_heap_close(heap);
    }
    cairn_heap_close(NULL);
}
END_TEST

START_TEST(thousands_of_heaps_live_at_once)
{
    enum { HEAPS = UNDER_TSAN ? 1000 : 10000 };
    static cairn_heap *heaps[HEAPS];
    static void *blocks[HEAPS];
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < HEAPS; i++) {
            heaps[i] = create_private(0);
            blocks[i] = must(cairn_alloc(heaps[i], 40));
            sign(blocks[i], 40, i);
        }
        for (unsigned i = 0; i < HEAPS; i += 7)
            sign(must(cairn_alloc(heaps[i], 20)), 20, i);
        for (unsigned i = 0; i < HEAPS; i++) {
            ck_assert(is_signed(blocks[i], 40, i));
            if (i % 100 == 0)
                ck_assert_uint_eq(blocks_live(heaps[i]), i % 7 == 0 ? 2 : 1);
            cairn_free(heaps[i], blocks[i]);
        }
        ck_assert_int_eq(cairn_check(heaps[0], NULL, NULL), 0);
        for (unsigned i = 0; i < HEAPS; i++)
            cairn_heap_close(heaps[i]);
    }
}
END_TEST

START_TEST(two_handles_of_one_name_are_one_heap)
{
    cairn_heap *first = create_shared("heap", 0);
    cairn_heap *second = open_shared("heap", 0);
    ck_assert_ptr_ne(first, second);
    ck_assert_uint_eq(stats_of(first).address, stats_of(second).address);
    ck_assert_uint_eq(stats_of(first).processes, 1);
    ck_assert_uint_eq(stats_of(first).attaches, 1);
    void *block = must(cairn_alloc(first, 100));
    void *other = must(cairn_alloc(second, 100));
    cairn_free(second, block);
    cairn_heap_close(first);
    cairn_free(second, other);
    ck_assert_uint_eq(blocks_live(second), 0);
    end(second);
}
END_TEST

START_TEST(open_or_create_opens_what_is_there)
{
    cairn_options options = {.size = sizeof options, .name = "heap", .flags = CAIRN_OPEN_OR_CREATE};
    cairn_heap *first, *second;
    ck_assert_int_eq(cairn_heap_create(&first, &options), 0);
    ck_assert_int_eq(cairn_root_set(first, "root", must(cairn_alloc(first, 100))), 0);
    cairn_heap_close(first);
    options.bytes_max = 64 * MIB; /* of no meaning for a heap that is there */
    ck_assert_int_eq(cairn_heap_create(&second, &options), 0);
    ck_assert_ptr_nonnull(cairn_root_get(second, "root"));
    ck_assert_uint_gt(stats_of(second).bytes_max, 64 * MIB);
    end(second);
}
END_TEST

/* The first member says how much of the structure the program knows. */
START_TEST(options_of_an_older_program_work)
{
    cairn_heap *heap;
    cairn_options options = {
        .size = offsetof(cairn_options, flags), .name = "heap", .bytes_max = MIB, .flags = ~UINT64_C(0)};
    ck_assert_int_eq(cairn_heap_create(&heap, &options), 0); /* flags is not looked at */
    ck_assert_uint_eq(stats_of(heap).bytes_max, MIB);
    ck_assert_uint_eq(stats_of(heap).shared, 1);
    end(heap);
    options.size = offsetof(cairn_options, name);
    ck_assert_int_eq(cairn_heap_create(&heap, &options), 0);
    ck_assert_uint_eq(stats_of(heap).shared, 0);
    end(heap);
    ck_assert_int_eq(cairn_heap_create(&heap, &(cairn_options){0}), 0);
    end(heap);
    ck_assert_int_eq(cairn_heap_create(&heap, NULL), 0);

    cairn_stats stats;
    memset(&stats, 0x5a, sizeof stats);
    stats.size = offsetof(cairn_stats, bytes_committed);
    ck_assert_int_eq(cairn_stats_get(heap, &stats), 0);
    ck_assert_uint_eq(stats.blocks_live, 0);
    ck_assert_uint_eq(stats.bytes_committed, UINT64_C(0x5a5a5a5a5a5a5a5a)); /* not the program's */
    end(heap);
}
END_TEST

/* ---------------------------------------------------------------- refs and roots */

START_TEST(a_ref_leads_back_to_its_address)
{
    cairn_heap *heap = make((enum kind)_i);
    unsigned char *small = must(cairn_alloc(heap, 100)), *large = must(cairn_alloc(heap, 300000));
    ck_assert_ptr_eq(cairn_at(heap, cairn_ref_of(heap, small)), small);
    ck_assert_ptr_eq(cairn_at(heap, cairn_ref_of(heap, large)), large);
    ck_assert_ptr_eq(cairn_at(heap, cairn_ref_of(heap, large + 12345)), large + 12345);
    ck_assert_uint_ne(cairn_ref_of(heap, small), 0);
    ck_assert_uint_ne(cairn_ref_of(heap, small), cairn_ref_of(heap, large));
    ck_assert_uint_eq(cairn_ref_of(heap, NULL), 0);
    ck_assert_ptr_null(cairn_at(heap, 0));
    end(heap);
}
END_TEST

struct roots_seen {
    int count;
    int stop_at;
    void *block;
};

static int see_root(const char *name, void *block, void *arg)
{
    struct roots_seen *seen = arg;
    ck_assert_int_eq(strncmp(name, "root", 4), 0);
    ck_assert_ptr_eq(block, seen->block);
    return ++seen->count == seen->stop_at ? 42 : 0;
}

START_TEST(a_root_names_a_block_until_it_is_removed)
{
    cairn_heap *heap = make((enum kind)_i);
    void *first = must(cairn_alloc(heap, 100)), *second = must(cairn_alloc(heap, 300000));
    ck_assert_ptr_null(cairn_root_get(heap, "root"));
    ck_assert_int_eq(cairn_root_set(heap, "root", first), 0);
    ck_assert_ptr_eq(cairn_root_get(heap, "root"), first);
    ck_assert_int_eq(cairn_root_set(heap, "root", second), 0);
    ck_assert_ptr_eq(cairn_root_get(heap, "root"), second);
    ck_assert_ptr_null(cairn_root_get(heap, "roo"));
    ck_assert_ptr_null(cairn_root_get(heap, "root2"));
    ck_assert_int_eq(cairn_root_set(heap, "root2", second), 0);
    ck_assert_int_eq(cairn_root_set(heap, "root3", second), 0);

    struct roots_seen seen = {.block = second};
    ck_assert_int_eq(cairn_root_walk(heap, see_root, &seen), 0);
    ck_assert_int_eq(seen.count, 3);
    seen = (struct roots_seen){.block = second, .stop_at = 2};
    ck_assert_int_eq(cairn_root_walk(heap, see_root, &seen), 42);
    ck_assert_int_eq(seen.count, 2);

    ck_assert_int_eq(cairn_root_set(heap, "root", NULL), 0);
    ck_assert_ptr_null(cairn_root_get(heap, "root"));
    ck_assert_ptr_eq(cairn_root_get(heap, "root2"), second);
    for (int i = 0; i < 5000; i++) { /* entries are used again */
        ck_assert_int_eq(cairn_root_set(heap, "root", first), 0);
        ck_assert_int_eq(cairn_root_set(heap, "root", NULL), 0);
    }
    end(heap);
}
END_TEST

START_TEST(private_heaps_have_roots_of_their_own)
{
    cairn_heap *first = create_private(0), *second = create_private(0);
    void *block = must(cairn_alloc(first, 100));
    ck_assert_int_eq(cairn_root_set(first, "root", block), 0);
    ck_assert_ptr_null(cairn_root_get(second, "root"));
    ck_assert_int_eq(cairn_heap_reset(first), 0); /* "Roots and the handle stay." */
    ck_assert_ptr_eq(cairn_root_get(first, "root"), block);
    end(first);
    for (int i = 0; i < 300; i++) { /* its number and its handle come again; its roots do not */
        cairn_heap *later = create_private(0);
        ck_assert_ptr_null(cairn_root_get(later, "root"));
        cairn_heap_close(later);
    }
    end(second);
}
END_TEST

/* ---------------------------------------------------------------- looking */

struct seen {
    void **blocks;
    size_t count;
    size_t capacity;
    uint64_t bytes;
    uint64_t spans;
    uint64_t live_in_spans;
    uint64_t slabs;
    uint64_t large;
    unsigned char *end;
    int stop_at;
};

static int see_span(const cairn_span *span, void *arg)
{
    struct seen *seen = arg;
    ck_assert((unsigned char *)span->address >= seen->end); /* in address order, without overlap */
    seen->end = (unsigned char *)span->address + span->bytes;
    seen->spans++;
    if (span->kind == CAIRN_SPAN_SLAB || span->kind == CAIRN_SPAN_ORPHAN || span->kind == CAIRN_SPAN_LARGE) {
        ck_assert_uint_le(span->blocks_live, span->blocks);
        seen->live_in_spans += span->blocks_live;
        seen->large += span->kind == CAIRN_SPAN_LARGE;
        seen->slabs += span->kind != CAIRN_SPAN_LARGE;
    }
    return 0;
}

static int see_block(void *block, size_t bytes, void *arg)
{
    struct seen *seen = arg;
    ck_assert_uint_lt(seen->count, seen->capacity);
    seen->blocks[seen->count++] = block;
    seen->bytes += bytes;
    return (int)seen->count == seen->stop_at ? -7 : 0;
}

static int by_address(const void *a, const void *b)
{
    uintptr_t left = *(const uintptr_t *)a, right = *(const uintptr_t *)b;
    return left < right ? -1 : left > right;
}

START_TEST(walk_tells_exactly_the_live_blocks_and_statistics_agree)
{
    enum { MANY = 5000 };
    static void *blocks[MANY], *told[MANY + 1];
    cairn_heap *heap = make((enum kind)_i);
    cairn_heap *neighbour = create_private(0); /* of the same section where heap is private */
    uint64_t bytes = 0;
    size_t live = 0;
    for (size_t i = 0; i < MANY; i++) {
        blocks[i] = must(cairn_alloc(heap, i % 500 == 0 ? 100000 : i % 50 == 0 ? 20000 : i % 300));
        must(cairn_alloc(neighbour, 100));
    }
    for (size_t i = 0; i < MANY; i++) {
        if (i % 3 == 0)
            cairn_free(heap, blocks[i]);
        else
            blocks[live++] = blocks[i];
    }
    for (size_t i = 0; i < live; i++)
        bytes += cairn_size(heap, blocks[i]);

    struct seen seen = {.blocks = told, .capacity = MANY};
    ck_assert_int_eq(cairn_walk(heap, see_span, see_block, &seen), 0);
    ck_assert_uint_eq(seen.count, live);
    ck_assert_uint_eq(seen.live_in_spans, live);
    ck_assert_uint_eq(seen.bytes, bytes);
    qsort(blocks, live, sizeof blocks[0], by_address);
    for (size_t i = 0; i < live; i++)
        ck_assert_ptr_eq(told[i], blocks[i]); /* in address order */

    cairn_stats stats = stats_of(heap);
    ck_assert_uint_eq(stats.blocks_live, live);
    ck_assert_uint_eq(stats.bytes_live, bytes);
    ck_assert_uint_eq(stats.slabs, seen.slabs);
    ck_assert_uint_eq(stats.large, seen.large);
    ck_assert_uint_eq(stats.orphans, 0);
    ck_assert_uint_eq(stats.processes, 1);
    ck_assert_uint_ge(stats.bytes_committed, bytes);
    ck_assert_uint_ge(stats.bytes_committed_peak, stats.bytes_committed);
    ck_assert_uint_ge(stats.bytes_free, stats.bytes_free_run);
    ck_assert_uint_eq(stats.read_only, 0);
    ck_assert_uint_eq(stats.shared, _i != PRIVATE);

    seen = (struct seen){.blocks = told, .capacity = MANY, .stop_at = 10};
    ck_assert_int_eq(cairn_walk(heap, see_span, see_block, &seen), -7);
    ck_assert_uint_eq(seen.count, 10);
    seen = (struct seen){.blocks = told, .capacity = MANY};
    ck_assert_int_eq(cairn_walk(heap, see_span, NULL, &seen), 0);
    ck_assert_uint_eq(seen.count, 0);
    ck_assert_uint_gt(seen.spans, 0);

    for (size_t i = 0; i < live; i++)
        cairn_free(heap, blocks[i]);
    ck_assert_uint_eq(stats_of(heap).blocks_live, 0);
    ck_assert_uint_eq(stats_of(heap).bytes_live, 0);
    end(neighbour);
    end(heap);
}
END_TEST

START_TEST(any_address_is_told_to_be_a_block_or_none)
{
    static const size_t sizes[] = {0, 16, 100, 3000, 40000, 300000, 2000000};
    cairn_heap *heap = make((enum kind)_i), *other = create_private(0);
    int local;
    const void *wild[] = {NULL,         &local,
                          "text",       (void *)1,
                          (void *)4096, (void *)(UINTPTR_MAX - 15),
                          heap,         (void *)(uintptr_t)stats_of(heap).address};
    for (size_t i = 0; i < COUNT(wild); i++)
        ck_assert(!cairn_is_block(heap, wild[i]));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        unsigned char *block = cairn_alloc(heap, sizes[i]);
        ck_assert_ptr_nonnull(block);
        ck_assert(cairn_is_block(heap, block));
        ck_assert(!cairn_is_block(heap, block + 1));
        ck_assert(!cairn_is_block(heap, block + 16));
        ck_assert(!cairn_is_block(other, block));
        cairn_free(heap, block);
        ck_assert(!cairn_is_block(heap, block));
    }
    cairn_heap_close(other);
    end(heap);
}
END_TEST

START_TEST(trim_gives_memory_back)
{
    cairn_heap *heap = make((enum kind)_i);
    enum { MANY = 2000 };
    static void *blocks[MANY];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < MANY; i++) {
            blocks[i] = must(cairn_alloc(heap, 4000));
            memset(blocks[i], 1, 4000);
        }
        uint64_t full = stats_of(heap).bytes_committed;
        ck_assert_uint_ge(full, UINT64_C(4000) * MANY);
        for (size_t i = 0; i < MANY; i++)
            cairn_free(heap, blocks[i]);
        int64_t given = cairn_trim(heap);
        ck_assert_int_ge(given, 6 * MIB); /* most of the eight */
        uint64_t trimmed = stats_of(heap).bytes_committed;
        ck_assert_uint_le(trimmed, full - 6 * MIB);
        cairn_stats stats = stats_of(heap);
        if (stats.shared != 0) /* nor what commits were widened to: the bookkeeping alone is left */
            ck_assert_uint_le(trimmed, stats.units_address - stats.address);
        ck_assert_int_eq(cairn_trim(heap), 0); /* nothing is left to give */
        ck_assert(is_zero(must(cairn_zalloc(heap, 100000)), 100000));
        cairn_trim(heap);
    }
    end(heap);
}
END_TEST

/* ---------------------------------------------------------------- errors */

static void *fail_otherwise(void *arg)
{
    ck_assert_str_eq(cairn_last_error(), "");
    ck_assert_int_eq(cairn_last_errno(), 0);
    ck_assert_int_eq(cairn_heap_unlink("missing", NULL), -ENOENT);
    ck_assert_ptr_nonnull(strstr(cairn_last_error(), "missing"));
    ck_assert_int_eq(cairn_last_errno(), -ENOENT);
    return arg;
}

START_TEST(the_last_error_is_each_threads_own)
{
    cairn_heap *heap = create_private(0);
    ck_assert_ptr_null(cairn_aligned_alloc(heap, 3, 100));
    char reason[300];
    snprintf(reason, sizeof reason, "%s", cairn_last_error());
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_otherwise, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_str_eq(cairn_last_error(), reason);
    ck_assert_int_eq(cairn_last_errno(), -EINVAL);
    cairn_free(heap, must(cairn_alloc(heap, 100))); /* success leaves it alone */
    ck_assert_str_eq(cairn_last_error(), reason);
    end(heap);
}
END_TEST

START_TEST(every_error_has_a_text)
{
    for (int error = -4200; error <= 4200; error++) {
        ck_assert_ptr_nonnull(cairn_strerror(error));
        ck_assert_uint_gt(strlen(cairn_strerror(error)), 3);
        ck_assert_str_eq(cairn_strerror(error), cairn_strerror(-error));
    }
    ck_assert_ptr_nonnull(cairn_strerror(INT32_MIN));
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", CAIRN_VERSION_MAJOR, CAIRN_VERSION_MINOR, CAIRN_VERSION_PATCH);
    ck_assert_str_eq(cairn_version(), version);
}
END_TEST

/* ---------------------------------------------------------------- all of them */

/* The directory is the program's, so that it goes away whatever a test does. */

static char *before;

static void look_first(void)
{
    (void)cairn_heap_unlink("heap", NULL); /* of a test that failed */
    before = look_around();
}

static void look_again(void)
{
    require_unchanged(__FILE__, __LINE__, "the test", before);
}

int main(void)
{
    TCase *blocks = tcase_create("blocks");
    tcase_add_loop_test(blocks, a_block_has_at_least_the_size_asked_for, 0, KINDS);
    tcase_add_loop_test(blocks, blocks_of_no_bytes_are_distinct, 0, KINDS);
    tcase_add_loop_test(blocks, zalloc_zeroes_reused_memory, 0, KINDS);
    tcase_add_loop_test(blocks, alignments_up_to_a_mebibyte_are_kept, 0, KINDS);
    tcase_add_loop_test(blocks, realloc_keeps_the_contents_up_to_the_smaller_size, 0, KINDS);
    tcase_add_loop_test(blocks, a_block_grows_and_shrinks_among_others_without_harm, 0, KINDS);
    tcase_add_loop_test(blocks, expand_grows_in_place_or_not_at_all, 0, KINDS);
    tcase_add_loop_test(blocks, alloc_to_links_and_free_from_unlinks, 0, KINDS);

    TCase *heaps = tcase_create("heaps");
    tcase_add_test(heaps, a_private_heaps_limit_holds_and_lets_go);
    tcase_add_loop_test(heaps, blocks_are_counted_by_their_sizes, 0, KINDS);
    tcase_add_test(heaps, reset_frees_every_block_and_keeps_heap_and_limit);
    tcase_add_test(heaps, a_shared_heap_is_reset_by_who_alone_holds_it);
    tcase_add_loop_test(heaps, a_reset_moves_each_handle_on, 0, 2);
    tcase_add_test(heaps, reset_frees_what_other_threads_allocated);
    tcase_add_test(heaps, close_ends_a_heap_with_blocks_in_it);
    tcase_add_test(heaps, thousands_of_heaps_live_at_once);
    tcase_add_test(heaps, two_handles_of_one_name_are_one_heap);
    tcase_add_test(heaps, open_or_create_opens_what_is_there);
    tcase_add_test(heaps, options_of_an_older_program_work);

    TCase *looking = tcase_create("looking");
    tcase_add_loop_test(looking, a_ref_leads_back_to_its_address, 0, KINDS);
    tcase_add_loop_test(looking, a_root_names_a_block_until_it_is_removed, 0, KINDS);
    tcase_add_test(looking, private_heaps_have_roots_of_their_own);
    tcase_add_loop_test(looking, walk_tells_exactly_the_live_blocks_and_statistics_agree, 0, KINDS);
    tcase_add_loop_test(looking, any_address_is_told_to_be_a_block_or_none, 0, KINDS);
    tcase_add_test(looking, the_last_error_is_each_threads_own);
    tcase_add_test(looking, every_error_has_a_text);

    TCase *giving_back = tcase_create("giving back");
    tcase_set_tags(giving_back, "kernel");
    tcase_add_loop_test(giving_back, trim_gives_memory_back, 0, KINDS);

    TCase *cases[] = {blocks, heaps, looking, giving_back};
    Suite *suite = suite_create("api");
    for (size_t i = 0; i < COUNT(cases); i++) {
        tcase_add_unchecked_fixture(cases[i], workspace_enter, workspace_leave);
        tcase_add_checked_fixture(cases[i], look_first, look_again);
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(suite, cases[i]);
    }
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
