/* SPDX-License-Identifier: MIT */
/* Processes that end without a word, and those that go on. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/workspace.h"

struct keep {
    struct keep *next;
    uint64_t sign;
};

static void leave_without_closing(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    struct keep *list = NULL;
    for (uint64_t i = 0; i < 1000; i++) {
        struct keep *keep = cairn_alloc(heap, sizeof *keep);
        REQUIRE_CALL(keep != NULL);
        *keep = (struct keep){.next = list, .sign = i};
        list = keep;
    }
    REQUIRE_CALL(cairn_root_set(heap, "list", list) == 0);
    REQUIRE_EQUAL(stats_of(heap).owners, 1);
    _exit(0); /* as a program that never heard of close */
}

static void an_exit_without_close_is_recovered_by_the_next(void)
{
    cairn_heap_close(create_shared("heap", 0));
    finish(start(leave_without_closing, NULL));

    cairn_heap *reader = open_shared("heap", CAIRN_READ_ONLY); /* sees its record; recovers nothing */
    REQUIRE_EQUAL(stats_of(reader).owners, 1);
    REQUIRE_EQUAL(blocks_live(reader), 1000);
    REQUIRE_SOUND(reader);
    cairn_heap_close(reader);

    cairn_heap *heap = open_shared("heap", 0);
    cairn_stats stats = stats_of(heap);
    REQUIRE_EQUAL(stats.processes, 1);
    REQUIRE_EQUAL(stats.owners, 1);         /* only ours */
    REQUIRE_EQUAL(stats.blocks_live, 1000); /* "blocks already returned stay live" */
    REQUIRE(stats.orphans > 0);
    REQUIRE_EQUAL(cairn_recover(heap), 0); /* done already */
    REQUIRE_SOUND(heap);

    /* Its slabs are ours to use and to empty. */
    struct keep *list = cairn_root_get(heap, "list");
    uint64_t committed = stats.bytes_committed;
    for (uint64_t i = 1000; i-- > 0;) {
        struct keep *next = list->next;
        REQUIRE_EQUAL(list->sign, i);
        cairn_free(heap, list);
        list = next;
    }
    for (int i = 0; i < 1000; i++)
        REQUIRE_CALL(cairn_alloc(heap, sizeof *list) != NULL);
    REQUIRE(stats_of(heap).bytes_committed <= committed + 256 * KIB);
    REQUIRE_EQUAL(blocks_live(heap), 1000);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

/* ---------------------------------------------------------------- killed at work */

enum { SLOTS = 500, ROUNDS = 20 };

struct table {
    _Atomic uint64_t slots[SLOTS];
    _Atomic uint32_t turns[2]; /* of the one that goes on, of the one that will be killed */
    void *linked[2];
};

struct cell {
    uint64_t bytes;
    uint64_t sign;
    unsigned char filled[];
};

static cairn_heap *heap;
static struct table *table;

static void trade(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    uint64_t bytes = sizeof(struct cell) + (*seed >> 40) % ((*seed >> 10) % 40 == 0 ? 150000 : 900);
    struct cell *cell = cairn_alloc(heap, bytes);
    REQUIRE_CALL(cell != NULL);
    *cell = (struct cell){.bytes = bytes, .sign = *seed};
    memset(cell->filled, (int)(*seed & 0xff), bytes - sizeof *cell);
    cell = (struct cell *)(uintptr_t)atomic_exchange(&table->slots[(*seed >> 20) % SLOTS], (uint64_t)(uintptr_t)cell);
    if (cell == NULL)
        return;
    for (uint64_t i = 0; i < cell->bytes - sizeof *cell; i += 89)
        REQUIRE(cell->filled[i] == (cell->sign & 0xff));
    cairn_free(heap, cell);
}

static void trade_for_ever(void *arg)
{
    const int *who = arg;
    cairn_heap *inherited = heap;
    if (*who == 1) { /* half of them attach by themselves, half use what they inherited */
        heap = open_shared("heap", 0);
        (void)inherited;
    }
    uint64_t seed = (uint64_t)getpid();
    for (;;) {
        trade(&seed);
        void **dest = &table->linked[*who];
        REQUIRE_CALL(cairn_alloc_to(heap, seed % 3000, dest) == 0);
        REQUIRE_CALL(cairn_free_from(heap, dest) == 0);
        if ((seed >> 33) % 8 ==
            0) { /* in no place: killed behind the realloc, that would name the block it has freed */
            void *block = cairn_realloc(heap, cairn_alloc(heap, seed % 3000), (seed >> 40) % 100000);
            REQUIRE_CALL(block != NULL);
            cairn_free(heap, block);
        }
        if ((seed >> 25) % 512 == 0)
            cairn_trim(heap);
        advance(&table->turns[*who]);
    }
}

static uint64_t count_slots(void)
{
    uint64_t count = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        const struct cell *cell = (const struct cell *)(uintptr_t)atomic_load(&table->slots[i]);
        if (cell == NULL)
            continue;
        for (uint64_t k = 0; k < cell->bytes - sizeof *cell; k++)
            REQUIRE(cell->filled[k] == (cell->sign & 0xff));
        REQUIRE(cairn_size(heap, cell) >= cell->bytes);
        count++;
    }
    return count;
}

static void others_go_on_when_one_is_killed(void)
{
    heap = create_shared("heap", 0);
    table = cairn_zalloc(heap, sizeof *table);
    REQUIRE_CALL(table != NULL && cairn_root_set(heap, "table", table) == 0);
    uint64_t lost = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        int goes_on = 0, is_killed = 1;
        atomic_store(&table->turns[0], 0);
        atomic_store(&table->turns[1], 0);
        pid_t other = start(trade_for_ever, &goes_on);
        pid_t victim = start(trade_for_ever, &is_killed);
        wait_for(&table->turns[0], 50);
        wait_for(&table->turns[1], 50 + round * 10);
        kill(victim, SIGKILL);
        finish_by(victim, SIGKILL);

        uint32_t turns = atomic_load(&table->turns[0]);
        wait_for(&table->turns[0], turns + 200); /* without anybody's help */
        uint64_t seed = round;
        for (int i = 0; i < 500; i++)
            trade(&seed);
        REQUIRE_EQUAL(cairn_recover(heap), 1);
        REQUIRE_EQUAL(cairn_recover(heap), 0);
        REQUIRE_EQUAL(stats_of(heap).processes, 2);
        wait_for(&table->turns[0], turns + 400);

        kill(other, SIGKILL);
        finish_by(other, SIGKILL);
        REQUIRE_EQUAL(cairn_recover(heap), 1);
        REQUIRE_EQUAL(stats_of(heap).processes, 1);
        REQUIRE_EQUAL(stats_of(heap).owners, 1);
        REQUIRE_SOUND(heap);

        /* Lost is at most what the two held in their hands: a block not yet put into the table, or just taken out. */
        for (int i = 0; i < 2; i++)
            REQUIRE_CALL(cairn_free_from(heap, &table->linked[i]) == 0);
        uint64_t reachable = count_slots() + 1;
        uint64_t live = blocks_live(heap);
        REQUIRE(live >= reachable);
        uint64_t gone = live - reachable - lost;
        if (live - reachable > lost + 4)
            broken(__FILE__, __LINE__, "round %u: %llu blocks are lost", round, (unsigned long long)gone);
        lost = live - reachable;
    }
    printf("        %llu blocks lost by %d deaths\n", (unsigned long long)lost, 2 * ROUNDS);
    for (size_t i = 0; i < SLOTS; i++)
        cairn_free(heap, (void *)(uintptr_t)atomic_load(&table->slots[i]));
    REQUIRE_EQUAL(blocks_live(heap), 1 + lost);
    REQUIRE_CALL(cairn_trim(heap) >= 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void die_with_all(void *arg)
{
    (void)arg;
    cairn_heap *own = open_shared("heap", 0);
    for (int i = 0; i < 100; i++)
        REQUIRE_CALL(cairn_alloc(own, 5000) != NULL);
    raise(SIGKILL);
}

static void a_heap_whose_processes_are_all_dead_is_valid(void)
{
    cairn_heap_close(create_shared("heap", 0));
    for (int round = 0; round < 10; round++) {
        pid_t children[3];
        for (size_t i = 0; i < COUNT(children); i++)
            children[i] = start(die_with_all, NULL);
        for (size_t i = 0; i < COUNT(children); i++)
            finish_by(children[i], SIGKILL);
        cairn_heap *later = open_shared("heap", 0);
        REQUIRE_EQUAL(blocks_live(later), 300 * (round + 1));
        REQUIRE_EQUAL(stats_of(later).processes, 1);
        REQUIRE_EQUAL(stats_of(later).owners, 1);
        REQUIRE_SOUND(later);
        cairn_heap_close(later);
    }
}

static void hold_memory(void *arg)
{
    _Atomic uint32_t *ready = arg;
    cairn_heap *own = open_shared("small", 0);
    while (cairn_alloc(own, 3000) != NULL)
        ;
    cairn_heap *second = open_shared("small", 0);
    REQUIRE(second != NULL);
    advance(ready);
    pause();
}

/* What the dead held in slabs without a live block comes back before a call fails for lack of memory. */
static void memory_of_the_dead_is_found_before_a_call_fails(void)
{
    cairn_heap *small = create_shared("small", 2 * MIB);
    void *memory = shared_memory(4096);
    pid_t child = start(hold_memory, memory);
    wait_for(memory, 1);
    REQUIRE(cairn_alloc(small, 3000) == NULL); /* it holds all of it */
    kill(child, SIGKILL);
    finish_by(child, SIGKILL);
    uint64_t live = blocks_live(small);
    REQUIRE(live > 300);
    REQUIRE_EQUAL(cairn_recover(small), 1);
    REQUIRE_EQUAL(blocks_live(small), live);
    REQUIRE_EQUAL(stats_of(small).owners, 1);
    REQUIRE_SOUND(small);
    cairn_heap_close(small);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(an_exit_without_close_is_recovered_by_the_next),
        CLAIM(others_go_on_when_one_is_killed),
        CLAIM(a_heap_whose_processes_are_all_dead_is_valid),
        CLAIM(memory_of_the_dead_is_found_before_a_call_fails),
    };
    return run_claims(claims, COUNT(claims), 30);
}
