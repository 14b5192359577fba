/* SPDX-License-Identifier: MIT */
/* Threads that share heaps, free each other's blocks, and come and go. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "support/workspace.h"

enum { THREADS = 8, SLOTS = 1000 };

struct cell {
    uint64_t bytes;
    uint64_t sign;
    unsigned char filled[];
};

static cairn_heap *heap;
static _Atomic uint64_t slots[SLOTS];
static int turns;

static struct cell *make_cell(uint64_t seed)
{
    uint64_t bytes = sizeof(struct cell) + (seed >> 40) % ((seed >> 10) % 100 == 0 ? 100000 : 600);
    struct cell *cell = cairn_alloc(heap, bytes);
    REQUIRE_CALL(cell != NULL);
    *cell = (struct cell){.bytes = bytes, .sign = seed};
    memset(cell->filled, (int)(seed & 0xff), bytes - sizeof *cell);
    return cell;
}

static void end_cell(struct cell *cell)
{
    for (uint64_t i = 0; i < cell->bytes - sizeof *cell; i += 67)
        REQUIRE(cell->filled[i] == (cell->sign & 0xff));
    cairn_free(heap, cell);
}

static void *trade(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int i = 0; i < turns; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        struct cell *cell = make_cell(seed);
        cell = (struct cell *)(uintptr_t)atomic_exchange(&slots[(seed >> 20) % SLOTS], (uint64_t)(uintptr_t)cell);
        if (cell != NULL)
            end_cell(cell);
    }
    return NULL;
}

static void run_threads(void *(*run)(void *), unsigned count)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < count; i++)
        REQUIRE(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0);
    for (unsigned i = 0; i < count; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
}

static void empty_slots(void)
{
    for (size_t i = 0; i < SLOTS; i++) {
        struct cell *cell = (struct cell *)(uintptr_t)atomic_exchange(&slots[i], 0);
        if (cell != NULL)
            end_cell(cell);
    }
}

static void trade_in(cairn_heap *in)
{
    heap = in;
    turns = UNDER_TSAN ? 5000 : 50000;
    run_threads(trade, THREADS);
    REQUIRE(blocks_live(heap) > SLOTS / 2 && blocks_live(heap) <= SLOTS);
    REQUIRE_SOUND(heap);
    empty_slots();
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_EQUAL(stats_of(heap).owners, 1); /* the others have left */
    REQUIRE_CALL(cairn_trim(heap) >= 0);
    REQUIRE_EQUAL(stats_of(heap).orphans, 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void eight_threads_free_each_others_blocks_in_a_private_heap(void)
{
    trade_in(create_private(0));
}

static void eight_threads_free_each_others_blocks_in_a_shared_heap(void)
{
    trade_in(create_shared("heap", 0));
}

static void eight_threads_share_a_small_heap(void)
{
    trade_in(create_shared("heap", 48 * MIB));
}

/* ---------------------------------------------------------------- short threads */

/*
 * Each leaves some blocks behind, which a later one frees: the heap must not grow by what threads leave. How much it
 * has depends on how many of them met, and may stay so for long; but four have no more than four slabs of each class.
 */
static void threads_come_and_go(cairn_heap *in)
{
    enum { ROUNDS = 100, BYTES_MOST = 32 * MIB };
    heap = in;
    turns = UNDER_TSAN ? 300 : 3000;
    for (int round = 0; round < ROUNDS; round++) {
        run_threads(trade, 4);
        uint64_t committed = stats_of(heap).bytes_committed;
        if (committed > BYTES_MOST)
            broken(__FILE__, __LINE__, "round %d: %llu bytes committed", round, (unsigned long long)committed);
        REQUIRE(stats_of(heap).owners <= 1);
        REQUIRE(blocks_live(heap) <= SLOTS);
    }
    REQUIRE_SOUND(heap);
    empty_slots();
    REQUIRE_EQUAL(blocks_live(heap), 0);
    cairn_heap_close(heap);
}

static void what_short_threads_leave_is_adopted_in_a_private_heap(void)
{
    threads_come_and_go(create_private(0));
}

static void what_short_threads_leave_is_adopted_in_a_shared_heap(void)
{
    threads_come_and_go(create_shared("heap", 0));
}

/* ---------------------------------------------------------------- one makes, another frees */

enum { BATCH = 1000, BATCHES = 100 };

static void *batch[2][BATCH];
static _Atomic uint32_t made;
static _Atomic uint32_t freed;

static void *make_batches(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < BATCHES; i++) {
        wait_for(&freed, i < 2 ? 0 : i - 1);
        for (size_t k = 0; k < BATCH; k++) {
            batch[i % 2][k] = cairn_alloc(heap, 200);
            REQUIRE_CALL(batch[i % 2][k] != NULL);
            memset(batch[i % 2][k], (int)i, 200);
        }
        advance(&made);
    }
    return NULL;
}

/* A pipeline: all frees are from elsewhere, and the maker lives on them. */
static void a_makers_memory_comes_back_from_the_one_who_frees(void)
{
    heap = create_private(0);
    pthread_t maker;
    uint64_t bound = 0;
    REQUIRE(pthread_create(&maker, NULL, make_batches, NULL) == 0);
    for (uint32_t i = 0; i < BATCHES; i++) {
        wait_for(&made, i + 1);
        for (size_t k = 0; k < BATCH; k++) {
            REQUIRE(*(unsigned char *)batch[i % 2][k] == (unsigned char)i);
            cairn_free(heap, batch[i % 2][k]);
        }
        uint64_t committed = stats_of(heap).bytes_committed;
        if (i < 10)
            bound = committed > bound ? committed : bound;
        else
            REQUIRE(committed <= 2 * bound);
        advance(&freed);
    }
    REQUIRE(pthread_join(maker, NULL) == 0);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

/* ---------------------------------------------------------------- many heaps, many threads */

static void *live_alone(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < (UNDER_TSAN ? 100 : 500); i++) {
        cairn_heap *own = create_private(0);
        for (int k = 0; k < 50; k++) {
            unsigned char *block = cairn_zalloc(own, seed % 3000);
            REQUIRE_CALL(block != NULL);
            memset(block, 1, seed % 3000);
            seed = seed * 1103515245 + 12345;
        }
        if (i % 2 == 0)
            REQUIRE_CALL(cairn_heap_reset(own) == 0);
        REQUIRE(cairn_alloc(own, 100) != NULL);
        cairn_heap_close(own);
    }
    return NULL;
}

static void threads_make_and_end_heaps_of_their_own(void)
{
    run_threads(live_alone, THREADS);
    cairn_heap *later = create_private(0);
    REQUIRE_EQUAL(blocks_live(later), 0);
    REQUIRE_SOUND(later);
    cairn_heap_close(later);
}

static void *set_roots(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    char name[16] = "root-";
    name[5] = (char)('a' + number);
    for (int i = 0; i < (UNDER_TSAN ? 500 : 5000); i++) {
        void *block = cairn_alloc(heap, 50);
        REQUIRE_CALL(block != NULL && cairn_root_set(heap, name, block) == 0);
        REQUIRE(cairn_root_get(heap, name) == block);
        void *common = cairn_root_get(heap, "common");
        REQUIRE(common != NULL);
        if (i % 100 == 0)
            REQUIRE_CALL(cairn_root_set(heap, "common", block) == 0);
        else
            cairn_free(heap, block);
        REQUIRE_CALL(cairn_root_set(heap, name, NULL) == 0);
        REQUIRE(cairn_root_get(heap, name) == NULL);
    }
    return NULL;
}

static void threads_set_roots_at_once(void)
{
    heap = create_shared("heap", 0);
    REQUIRE_CALL(cairn_root_set(heap, "common", cairn_alloc(heap, 10)) == 0);
    run_threads(set_roots, THREADS);
    REQUIRE(cairn_root_get(heap, "common") != NULL);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(eight_threads_free_each_others_blocks_in_a_private_heap),
        CLAIM(eight_threads_free_each_others_blocks_in_a_shared_heap),
        CLAIM(eight_threads_share_a_small_heap),
        CLAIM(what_short_threads_leave_is_adopted_in_a_private_heap),
        CLAIM(what_short_threads_leave_is_adopted_in_a_shared_heap),
        CLAIM(a_makers_memory_comes_back_from_the_one_who_frees),
        CLAIM(threads_make_and_end_heaps_of_their_own),
        CLAIM(threads_set_roots_at_once),
    };
    return run_claims(claims, COUNT(claims), 30);
}
