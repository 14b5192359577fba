/* SPDX-License-Identifier: MIT */
/* Heaps whose cairn_size is what was asked for, and private heaps that one thread at a time uses. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "support/random.h"
#include "support/suite.h"
#include "support/workspace.h"

enum kind { PRIVATE, BOUNDED, LARGE_BOUNDED, SHARED, SMALL_SHARED, LENT, UNSERIALIZED, LOCKABLE, CHILD, KINDS };

static void *lent;
static cairn_heap *parent;

static cairn_heap *make(enum kind kind)
{
    cairn_options options = {.size = sizeof options, .flags = CAIRN_EXACT_SIZES};
    if (kind == BOUNDED)
        options.bytes_max = 8 * MIB;
    if (kind == LARGE_BOUNDED)
        options.bytes_max = 200 * MIB;
    if (kind == SHARED || kind == SMALL_SHARED)
        options.name = "heap";
    if (kind == SMALL_SHARED)
        options.bytes_max = 16 * MIB;
    if (kind == LENT) {
        options.bytes_max = 8 * MIB;
        options.memory = lent = aligned_alloc(MIB, options.bytes_max);
        memset(lent, 0xa5, options.bytes_max);
    }
    if (kind == UNSERIALIZED)
        options.flags |= CAIRN_UNSERIALIZED;
    if (kind == LOCKABLE)
        options.flags |= CAIRN_LOCKABLE;
    if (kind == CHILD)
        options.parent = parent = create_private(0);
    cairn_heap *heap;
    if (cairn_heap_create(&heap, &options) < 0)
        ck_abort_msg("create: %s", cairn_last_error());
    return heap;
}

static void end(cairn_heap *heap)
{
    REQUIRE_SOUND(heap);
    bool shared = stats_of(heap).shared != 0;
    cairn_heap_close(heap);
    if (shared)
        ck_assert_int_eq(cairn_heap_unlink("heap", NULL), 0);
    if (parent != NULL)
        ck_assert_int_eq(cairn_heap_destroy(parent), 0);
    parent = NULL;
    free(lent);
    lent = NULL;
}

static bool are_all(const unsigned char *bytes, unsigned char value, size_t count)
{
    return count == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, count - 1) == 0);
}

/* The block is exactly so large, and may be written to its last byte without harm to anybody's size. */
#define REQUIRE_SIZE(heap, block, size)                                                                                \
    do {                                                                                                               \
        REQUIRE_CALL((block) != NULL);                                                                                 \
        REQUIRE_EQUAL(cairn_size(heap, block), size);                                                                  \
    } while (0)

/* ---------------------------------------------------------------- exact sizes */

enum { SIZE_LAST = 70000, KEPT = 64 };

/* The next size: each one where classes are near each other, fewer above. */
static size_t after(size_t size)
{
    return size < 2100 ? size + 1 : size + 1 + size % 61;
}

START_TEST(a_block_has_exactly_the_size_asked_for)
{
    cairn_heap *heap = make((enum kind)_i);
    unsigned char *kept[KEPT] = {NULL};
    size_t sizes[KEPT] = {0};
    size_t turn = 0;
    for (size_t size = 0; size <= SIZE_LAST; size = after(size), turn++) {
        size_t slot = turn % KEPT;
        if (kept[slot] != NULL) {
            REQUIRE_SIZE(heap, kept[slot], sizes[slot]);
            REQUIRE(are_all(kept[slot], (unsigned char)slot, sizes[slot]));
            cairn_free(heap, kept[slot]);
        }
        static const size_t alignments[] = {16, 32, 64, 256, 4096};
        void *dest = NULL;
        if (turn % 4 == 0)
            kept[slot] = cairn_alloc(heap, size);
        else if (turn % 4 == 1)
            kept[slot] = cairn_zalloc(heap, size);
        else if (turn % 4 == 2)
            kept[slot] = cairn_aligned_alloc(heap, alignments[turn / 4 % COUNT(alignments)], size);
        else if (stats_of(heap).shared == 0 && cairn_alloc_to(heap, size, &dest) == 0)
            kept[slot] = dest;
        else
            kept[slot] = cairn_alloc(heap, size);
        REQUIRE_SIZE(heap, kept[slot], size);
        REQUIRE(turn % 4 != 1 || are_all(kept[slot], 0, size));
        REQUIRE(dest == NULL || are_all(kept[slot], 0, size));
        memset(kept[slot], (int)slot, size);
        sizes[slot] = size;
    }
    for (size_t slot = 0; slot < KEPT; slot++) {
        REQUIRE_SIZE(heap, kept[slot], sizes[slot]);
        cairn_free(heap, kept[slot]);
    }
    ck_assert_uint_eq(blocks_live(heap), 0);
    end(heap);
}
END_TEST

/* Of each class more blocks than a word of a slab has bits, freed and allocated again in another order. */
START_TEST(many_blocks_of_a_class_have_each_their_size)
{
    enum { MANY = 300 };
    cairn_heap *heap = make((enum kind)_i);
    static const size_t largest[] = {16, 112, 1024, 1280, 4096, 8192};
    unsigned char *blocks[MANY];
    for (size_t c = 0; c < COUNT(largest); c++) {
        size_t count = largest[c] < 4096 ? MANY : 40;
        for (size_t round = 0; round < 3; round++) {
            for (size_t i = 0; i < count; i++) {
                if (round != 0 && i % 3 != round)
                    continue;
                if (round != 0)
                    cairn_free(heap, blocks[i]);
                blocks[i] = cairn_alloc(heap, largest[c] - (i + round) % 16);
                REQUIRE_CALL(blocks[i] != NULL);
                memset(blocks[i], (int)i, largest[c] - (i + round) % 16);
            }
        }
        for (size_t i = 0; i < count; i++) {
            size_t round = i % 3;
            REQUIRE_SIZE(heap, blocks[i], largest[c] - (i + round) % 16);
            REQUIRE(are_all(blocks[i], (unsigned char)i, largest[c] - (i + round) % 16));
        }
        for (size_t i = 0; i < count; i++)
            cairn_free(heap, blocks[i * 7 % count]);
    }
    end(heap);
}
END_TEST

START_TEST(an_aligned_block_has_exactly_the_size_asked_for)
{
    cairn_heap *heap = make((enum kind)_i);
    for (size_t alignment = 16; alignment <= 64 * KIB; alignment *= 2) {
        for (size_t size = 0; size <= SIZE_LAST; size = size * 3 / 2 + 1) {
            unsigned char *block = cairn_aligned_alloc(heap, alignment, size);
            REQUIRE_SIZE(heap, block, size);
            REQUIRE((uintptr_t)block % alignment == 0);
            memset(block, 1, size);
            cairn_free(heap, block);
        }
    }
    end(heap);
}
END_TEST

START_TEST(alloc_to_gives_exactly_the_size_asked_for)
{
    cairn_heap *heap = make((enum kind)_i);
    void **dest = cairn_zalloc(heap, sizeof *dest);
    REQUIRE_CALL(dest != NULL);
    for (size_t size = 0; size <= SIZE_LAST; size += 1 + size / 7) {
        REQUIRE_CALL(cairn_alloc_to(heap, size, dest) == 0);
        REQUIRE_SIZE(heap, *dest, size);
        REQUIRE(are_all(*dest, 0, size));
        memset(*dest, 0xff, size);
        REQUIRE_CALL(cairn_free_from(heap, dest) == 0);
    }
    cairn_free(heap, dest);
    end(heap);
}
END_TEST

/* Up, down, a little and much: the size is the new one, and the contents stay. */
START_TEST(realloc_expand_and_shrink_keep_sizes_exact)
{
    cairn_heap *heap = make((enum kind)_i);
    struct random random = random_begin(random_seed("exact", 5));
    enum { SLOTS = 40 };
    unsigned char *slots[SLOTS];
    size_t sizes[SLOTS];
    for (size_t i = 0; i < SLOTS; i++) {
        sizes[i] = 1 + random_size(&random, SIZE_LAST);
        slots[i] = cairn_realloc(heap, NULL, sizes[i]);
        REQUIRE_SIZE(heap, slots[i], sizes[i]);
        memset(slots[i], (int)i, sizes[i]);
    }
    for (int turn = 0; turn < 8000; turn++) {
        size_t i = random_below(&random, SLOTS);
        size_t size = random_below(&random, 3) == 0 ? sizes[i] + random_below(&random, 32) - sizes[i] % 16
                                                    : random_size(&random, SIZE_LAST);
        if (random_below(&random, 3) == 0) {
            bool grown = cairn_expand(heap, slots[i], size);
            REQUIRE(grown || size > sizes[i]);
            if (grown && size > sizes[i]) {
                memset(slots[i] + sizes[i], (int)i, size - sizes[i]);
                sizes[i] = size;
            }
            REQUIRE_SIZE(heap, slots[i], sizes[i]); /* never smaller, and as before when it failed */
            continue;
        }
        if (random_below(&random, 3) == 0) {
            bool shrunk = cairn_shrink(heap, slots[i], size);
            REQUIRE(shrunk == (size <= sizes[i]) || (!shrunk && sizes[i] < 2048));
            if (shrunk)
                sizes[i] = size;
            REQUIRE_SIZE(heap, slots[i], sizes[i]);
            REQUIRE(are_all(slots[i], (unsigned char)i, sizes[i]));
            continue;
        }
        unsigned char *moved = cairn_realloc(heap, slots[i], size);
        REQUIRE_SIZE(heap, moved, size);
        REQUIRE(are_all(moved, (unsigned char)i, size < sizes[i] ? size : sizes[i]));
        memset(moved, (int)i, size);
        slots[i] = moved;
        sizes[i] = size;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        REQUIRE_SIZE(heap, slots[i], sizes[i]);
        cairn_free(heap, slots[i]);
    }
    ck_assert_uint_eq(blocks_live(heap), 0);
    end(heap);
}
END_TEST

/* Sizes are told by whoever asks, of whichever thread's block. */
struct hand_over {
    cairn_heap *heap;
    void *blocks[2000];
};

static void *look_and_free(void *arg)
{
    struct hand_over *over = arg;
    for (size_t i = 0; i < COUNT(over->blocks); i++) {
        REQUIRE_SIZE(over->heap, over->blocks[i], i * 2);
        cairn_free(over->heap, over->blocks[i]);
    }
    return NULL;
}

START_TEST(a_large_block_that_shrinks_gives_memory_back)
{
    cairn_heap *heap = make((enum kind)_i);
    unsigned char *block = cairn_alloc(heap, 4 * MIB);
    memset(block, 1, 4 * MIB);
    uint64_t before = stats_of(heap).bytes_live;
    ck_assert(cairn_shrink(heap, block, 100));
    REQUIRE_SIZE(heap, block, 100);
    ck_assert(are_all(block, 1, 100));
    ck_assert_uint_lt(stats_of(heap).bytes_live, before / 8);
    cairn_free(heap, block);
    end(heap);
}
END_TEST

START_TEST(heaps_without_exact_sizes_do_not_shrink_blocks)
{
    cairn_heap *heap = create_private(0);
    size_t sizes[] = {100, 3000, 100000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *block = cairn_alloc(heap, sizes[i]);
        size_t usable = cairn_size(heap, block);
        ck_assert(cairn_shrink(heap, block, usable)); /* which it has */
        ck_assert(!cairn_shrink(heap, block, sizes[i] - 50));
        ck_assert_uint_eq(cairn_size(heap, block), usable);
        cairn_free(heap, block);
    }
    ck_assert(!cairn_shrink(heap, NULL, 0));
    cairn_heap_close(heap);

    cairn_options options = {.size = sizeof options, .checked = true};
    ck_assert_int_eq(cairn_heap_create(&heap, &options), 0);
    void *block = cairn_alloc(heap, 1000);
    ck_assert(cairn_shrink(heap, block, 900));
    ck_assert_uint_eq(cairn_size(heap, block), 900);
    ck_assert(!cairn_shrink(heap, block, 10));
    ck_assert_uint_eq(cairn_size(heap, block), 900);
    REQUIRE_SOUND(heap);
    cairn_free(heap, block);
    cairn_heap_close(heap);
}
END_TEST

START_TEST(another_thread_sees_exact_sizes)
{
    static struct hand_over over;
    over.heap = make((enum kind)_i);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT(over.blocks); i++) {
            REQUIRE_CALL((over.blocks[i] = cairn_alloc(over.heap, i * 2)) != NULL);
            memset(over.blocks[i], 0xff, i * 2);
        }
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, look_and_free, &over), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_uint_eq(blocks_live(over.heap), 0);
    }
    end(over.heap);
}
END_TEST

static int find_size(void *block, size_t bytes, void *arg)
{
    void **sought = arg;
    if (block != sought[0])
        return 0;
    sought[1] = (void *)(uintptr_t)bytes;
    return 1;
}

START_TEST(another_handle_of_a_shared_heap_sees_exact_sizes)
{
    cairn_heap *heap = make(SHARED), *other = open_shared("heap", 0);
    void *block = cairn_alloc(other, 777);
    REQUIRE_SIZE(other, block, 777);
    REQUIRE_SIZE(heap, block, 777);
    void *sought[2] = {block, NULL};
    ck_assert_int_eq(cairn_walk(heap, NULL, find_size, sought), 1);
    ck_assert_uint_ge((uintptr_t)sought[1], 777);
    cairn_free(heap, block);
    cairn_heap_close(other);
    end(heap);
}
END_TEST

/* ---------------------------------------------------------------- one thread at a time */

enum { TURNS = 40, WORKERS = 4, LIVE = 300 };

struct relay {
    cairn_heap *heap;
    _Atomic uint32_t turn;
    unsigned char *blocks[LIVE];
    size_t sizes[LIVE];
};

struct runner {
    struct relay *relay;
    uint32_t number;
};

static void *run_in_turn(void *arg)
{
    const struct runner *me = arg;
    struct relay *relay = me->relay;
    struct random random = random_begin(me->number);
    for (uint32_t turn = me->number; turn < TURNS; turn += WORKERS) {
        wait_for(&relay->turn, turn);
        for (int i = 0; i < 500; i++) {
            size_t slot = random_below(&random, LIVE);
            if (relay->blocks[slot] != NULL) {
                REQUIRE(are_all(relay->blocks[slot], (unsigned char)slot, relay->sizes[slot]));
                cairn_free(relay->heap, relay->blocks[slot]);
            }
            relay->sizes[slot] = random_size(&random, 100000);
            relay->blocks[slot] = cairn_alloc(relay->heap, relay->sizes[slot]);
            REQUIRE_CALL(relay->blocks[slot] != NULL);
            memset(relay->blocks[slot], (int)slot, relay->sizes[slot]);
        }
        advance(&relay->turn);
    }
    return NULL;
}

static void relay_through(cairn_heap *heap)
{
    static struct relay relay;
    relay = (struct relay){.heap = heap};
    pthread_t threads[WORKERS];
    struct runner runners[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++) {
        runners[i] = (struct runner){.relay = &relay, .number = i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_in_turn, &runners[i]), 0);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    REQUIRE_SOUND(heap);
    for (size_t i = 0; i < LIVE; i++)
        cairn_free(heap, relay.blocks[i]);
    ck_assert_uint_eq(blocks_live(heap), 0);
}

START_TEST(an_unserialized_heap_serves_threads_in_turn)
{
    static const uint64_t bounds[] = {0, 64 * MIB, 300 * MIB};
    cairn_options options = {.size = sizeof options, .flags = CAIRN_UNSERIALIZED, .bytes_max = bounds[_i]};
    for (int round = 0; round < 3; round++) {
        cairn_heap *heap;
        REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
        relay_through(heap);
        ck_assert_uint_le(stats_of(heap).owners, 1 + (bounds[_i] == 0) * 8u);
        end(heap);
    }
}
END_TEST

/*
 * Threads that used an unserialized heap go on when it is closed, and use others: nothing of it may be mistaken for
 * theirs. Two threads are at the later heap at once, so that one that took the other's place would be found out.
 */
struct aftermath {
    cairn_heap *heap;
    cairn_heap *later;
    _Atomic uint32_t step;
};

static void churn(cairn_heap *heap, uint64_t seed)
{
    struct random random = random_begin(seed);
    unsigned char *mine[50] = {NULL};
    for (int i = 0; i < 3000; i++) {
        size_t slot = random_below(&random, COUNT(mine));
        if (mine[slot] != NULL) {
            REQUIRE(are_all(mine[slot], (unsigned char)(seed + slot), 48));
            cairn_free(heap, mine[slot]);
        }
        REQUIRE_CALL((mine[slot] = cairn_alloc(heap, 48)) != NULL);
        memset(mine[slot], (int)(seed + slot), 48);
    }
    for (size_t slot = 0; slot < COUNT(mine); slot++)
        cairn_free(heap, mine[slot]);
}

static void *use_before_and_after(void *arg)
{
    struct aftermath *aftermath = arg;
    wait_for(&aftermath->step, 1);
    cairn_free(aftermath->heap, cairn_alloc(aftermath->heap, 48));
    advance(&aftermath->step); /* 2: the heap is the other's again */
    wait_for(&aftermath->step, 3);
    churn(aftermath->later, 100);
    return NULL;
}

START_TEST(nothing_of_a_closed_unserialized_heap_is_used_again)
{
    for (int round = 0; round < 200; round++) {
        struct aftermath aftermath = {0};
        cairn_options options = {.size = sizeof options, .flags = CAIRN_UNSERIALIZED};
        REQUIRE_CALL(cairn_heap_create(&aftermath.heap, &options) == 0);
        cairn_free(aftermath.heap, cairn_alloc(aftermath.heap, 48));
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, use_before_and_after, &aftermath) == 0);
        advance(&aftermath.step);
        wait_for(&aftermath.step, 2);
        cairn_heap_close(aftermath.heap);
        aftermath.later = create_private(0);
        cairn_free(aftermath.later, cairn_alloc(aftermath.later, 48));
        advance(&aftermath.step);
        churn(aftermath.later, 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        ck_assert_uint_eq(blocks_live(aftermath.later), 0);
        end(aftermath.later);
    }
}
END_TEST

static void *use_alone(void *heap)
{
    churn(heap, 50);
    return NULL;
}

START_TEST(who_made_unserialized_heaps_makes_more_while_others_have_them)
{
    enum { HEAPS = 40 }; /* more than the maker's thread has room for at first */
    cairn_heap *heaps[HEAPS];
    pthread_t threads[HEAPS];
    cairn_options options = {.size = sizeof options, .flags = CAIRN_UNSERIALIZED};
    for (int i = 0; i < HEAPS; i++) {
        REQUIRE_CALL(cairn_heap_create(&heaps[i], &options) == 0);
        cairn_free(heaps[i], cairn_alloc(heaps[i], 48));
        REQUIRE(pthread_create(&threads[i], NULL, use_alone, heaps[i]) == 0);
    }
    for (int i = 0; i < HEAPS; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
        end(heaps[i]);
    }
}
END_TEST

static void clean_up(void)
{
    (void)cairn_heap_unlink("heap", NULL); /* of a test that failed */
}

int main(void)
{
    TCase *exact = tcase_create("exact");
    tcase_add_loop_test(exact, a_block_has_exactly_the_size_asked_for, 0, KINDS);
    tcase_add_loop_test(exact, many_blocks_of_a_class_have_each_their_size, 0, KINDS);
    tcase_add_loop_test(exact, an_aligned_block_has_exactly_the_size_asked_for, 0, KINDS);
    tcase_add_loop_test(exact, alloc_to_gives_exactly_the_size_asked_for, 0, KINDS);
    tcase_add_loop_test(exact, realloc_expand_and_shrink_keep_sizes_exact, 0, KINDS);
    tcase_add_loop_test(exact, a_large_block_that_shrinks_gives_memory_back, 0, KINDS);
    tcase_add_test(exact, heaps_without_exact_sizes_do_not_shrink_blocks);
    tcase_add_loop_test(exact, another_thread_sees_exact_sizes, 0, KINDS);
    tcase_add_test(exact, another_handle_of_a_shared_heap_sees_exact_sizes);

    TCase *unserialized = tcase_create("unserialized");
    tcase_add_loop_test(unserialized, an_unserialized_heap_serves_threads_in_turn, 0, 3);
    tcase_add_test(unserialized, nothing_of_a_closed_unserialized_heap_is_used_again);
    tcase_add_test(unserialized, who_made_unserialized_heaps_makes_more_while_others_have_them);

    TCase *cases[] = {exact, unserialized};
    Suite *suite = suite_create("exact");
    for (size_t i = 0; i < COUNT(cases); i++) {
        tcase_add_unchecked_fixture(cases[i], workspace_enter, workspace_leave);
        tcase_add_checked_fixture(cases[i], clean_up, NULL);
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(suite, cases[i]);
    }
    return suite_run(suite);
}
