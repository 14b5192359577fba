/* SPDX-License-Identifier: MIT */
/* cairn_reap: what the dead had allocated and nothing leads to. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/workspace.h"

enum { MOST = 3000 };

/* What processes tell each other, outside of any heap. */
struct told {
    _Atomic uint32_t ready;
    uint32_t linked, lost;
    void *blocks[MOST];
};

struct cell {
    struct cell *next;
    uint64_t sign;
};

static struct told *told;

/* Is killed with blocks of many sizes, of which it has linked every third. */
static void allocate_and_link_some(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    struct cell **list = cairn_root_get(heap, "list");
    for (uint32_t i = 0; i < MOST; i++) {
        size_t bytes = i % 100 == 0 ? 100000 : sizeof(struct cell) + i % 700;
        struct cell *cell = cairn_alloc(heap, bytes);
        REQUIRE_CALL(cell != NULL);
        *cell = (struct cell){.next = *list, .sign = i};
        told->blocks[i] = cell;
        if (i % 3 != 0) {
            told->lost++;
            continue;
        }
        *list = cell;
        told->linked++;
    }
    advance(&told->ready);
    pause();
}

static int by_address(const void *a, const void *b)
{
    uintptr_t left = *(const uintptr_t *)a, right = *(const uintptr_t *)b;
    return (left > right) - (left < right);
}

/* What the list leads to, in order. */
struct known {
    cairn_heap *heap;
    uintptr_t blocks[2 * MOST + 2];
    size_t count;
    size_t offered;
    bool allocates;
};

static void know(struct known *known, const void *block)
{
    known->blocks[known->count++] = (uintptr_t)block;
}

static void know_list(struct known *known, struct cell **list)
{
    know(known, list);
    for (const struct cell *cell = *list; cell != NULL; cell = cell->next)
        know(known, cell);
    qsort(known->blocks, known->count, sizeof known->blocks[0], by_address);
}

static bool keep_known(void *block, size_t bytes, void *arg)
{
    struct known *known = arg;
    uintptr_t address = (uintptr_t)block;
    known->offered++;
    REQUIRE(bytes >= sizeof(struct cell));
    if (known->allocates) { /* no call is under way: the heap may be used */
        void *own = cairn_alloc(known->heap, bytes % 5000);
        REQUIRE_CALL(own != NULL);
        cairn_free(known->heap, own);
    }
    return bsearch(&address, known->blocks, known->count, sizeof address, by_address) != NULL;
}

static struct cell **make_list(cairn_heap *heap)
{
    struct cell **list = cairn_zalloc(heap, sizeof *list);
    REQUIRE_CALL(list != NULL && cairn_root_set(heap, "list", list) == 0);
    return list;
}

static void kill_one_that_has_linked_some(void)
{
    *told = (struct told){0};
    pid_t child = start(allocate_and_link_some, NULL);
    wait_for(&told->ready, 1);
    kill(child, SIGKILL);
    finish_by(child, SIGKILL);
}

static void what_nothing_leads_to_is_freed(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    struct cell **list = make_list(heap);
    kill_one_that_has_linked_some();
    REQUIRE_EQUAL(told->linked + told->lost, MOST);
    REQUIRE_EQUAL(blocks_live(heap), MOST + 1);

    static struct known known;
    known = (struct known){.heap = heap, .allocates = true};
    know_list(&known, list);
    REQUIRE_EQUAL(cairn_reap(heap, keep_known, &known), (int)told->lost);
    REQUIRE_EQUAL(known.offered, MOST);
    REQUIRE_EQUAL(blocks_live(heap), told->linked + 1);
    REQUIRE_SOUND(heap);
    for (const struct cell *cell = *list; cell != NULL; cell = cell->next)
        REQUIRE_EQUAL(cell->sign % 3, 0);

    /* What was kept is ours now, and is not offered again. */
    known.offered = 0;
    REQUIRE_EQUAL(cairn_reap(heap, keep_known, &known), 0);
    REQUIRE_EQUAL(known.offered, 0);
    struct cell *next;
    for (struct cell *cell = *list; cell != NULL; cell = next) {
        next = cell->next;
        cairn_free(heap, cell);
    }
    cairn_free(heap, list);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static bool refuse_all(void *block, size_t bytes, void *arg)
{
    (void)block, (void)bytes;
    size_t *offered = arg;
    (*offered)++;
    return false;
}

static void live_on(void *arg)
{
    _Atomic uint32_t *steps = arg;
    cairn_heap *heap = open_shared("heap", 0);
    unsigned char *small = cairn_alloc(heap, 100), *large = cairn_alloc(heap, 100000);
    REQUIRE_CALL(small != NULL && large != NULL);
    memset(small, 0x5a, 100);
    memset(large, 0x5a, 100000);
    advance(steps);
    wait_for(steps, 2);
    for (int i = 0; i < 100; i++)
        REQUIRE(small[i] == 0x5a && large[i * 1000] == 0x5a);
    cairn_free(heap, small);
    cairn_free(heap, large);
    cairn_heap_close(heap);
}

static void what_the_living_hold_is_not_offered(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    (void)make_list(heap);
    _Atomic uint32_t *steps = shared_memory(sizeof *steps);
    pid_t living = start(live_on, steps);
    wait_for(steps, 1);
    kill_one_that_has_linked_some();
    void *own = cairn_alloc(heap, 100), *own_large = cairn_alloc(heap, 200000);
    size_t offered = 0;
    REQUIRE_EQUAL(cairn_reap(heap, refuse_all, &offered), MOST);
    REQUIRE_EQUAL(offered, MOST);
    REQUIRE_EQUAL(blocks_live(heap), 5); /* the list's head, ours, and those of the living */
    advance(steps);
    finish(living);
    REQUIRE_EQUAL(blocks_live(heap), 3);
    cairn_free(heap, own);
    cairn_free(heap, own_large);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

/* A reaper that is killed leaves the rest to the next. */
static bool stop_half_way(void *block, size_t bytes, void *arg)
{
    (void)block, (void)bytes, (void)arg;
    if (++told->linked == MOST / 2)
        raise(SIGKILL);
    return false;
}

static void reap_and_die(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    (void)cairn_reap(heap, stop_half_way, NULL);
}

static void a_reaper_that_is_killed_is_followed_by_the_next(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    (void)make_list(heap);
    kill_one_that_has_linked_some();
    told->linked = 0;
    finish_by(start(reap_and_die, NULL), SIGKILL);
    REQUIRE_SOUND(heap);
    size_t offered = 0;
    REQUIRE_EQUAL(cairn_reap(heap, refuse_all, &offered), MOST - (MOST / 2 - 1));
    REQUIRE_EQUAL(blocks_live(heap), 1);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void a_child_is_reaped_by_itself(void)
{
    cairn_heap *heap = create_shared("heap", 0), *child;
    (void)make_list(heap);
    REQUIRE_CALL(cairn_heap_create(&child, &(cairn_options){.parent = heap, .name = "child"}) == 0);
    kill_one_that_has_linked_some();
    size_t offered = 0;
    REQUIRE_EQUAL(cairn_reap(child, refuse_all, &offered), 0);
    REQUIRE_EQUAL(offered, 0);
    REQUIRE_EQUAL(blocks_live(heap), MOST + 1);
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    cairn_heap_close(heap);
}

static void bad_calls_are_refused(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    REFUSED(-EINVAL, cairn_reap(heap, NULL, NULL));
    cairn_heap_close(heap);
    size_t offered = 0;
    cairn_heap *reader = open_shared("heap", CAIRN_READ_ONLY);
    REFUSED(-EROFS, cairn_reap(reader, refuse_all, &offered));
    cairn_heap_close(reader);
    REQUIRE_EQUAL(offered, 0);
}

int main(void)
{
    told = shared_memory(sizeof *told);
    static const struct claim claims[] = {
        CLAIM(what_nothing_leads_to_is_freed),
        CLAIM(what_the_living_hold_is_not_offered),
        CLAIM(a_reaper_that_is_killed_is_followed_by_the_next),
        CLAIM(a_child_is_reaped_by_itself),
        CLAIM(bad_calls_are_refused),
    };
    return run_claims(claims, COUNT(claims), 20);
}
