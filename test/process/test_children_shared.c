/* SPDX-License-Identifier: MIT */
/* Heaps that are parts of a shared one, in several processes. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/random.h"
#include "support/workspace.h"

static int try_child(cairn_heap **ret_heap, cairn_heap *parent, const char *name, uint64_t bytes_max, uint64_t flags)
{
    cairn_options options = {
        .size = sizeof options, .name = name, .parent = parent, .bytes_max = bytes_max, .flags = flags};
    return cairn_heap_create(ret_heap, &options);
}

static cairn_heap *create_child(cairn_heap *parent, const char *name, uint64_t bytes_max, uint64_t flags)
{
    cairn_heap *heap;
    REQUIRE_CALL(try_child(&heap, parent, name, bytes_max, flags) == 0);
    return heap;
}

static cairn_heap *open_child(cairn_heap *parent, const char *name)
{
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_open_child(&heap, parent, name) == 0);
    return heap;
}

static bool has_child(cairn_heap *parent, const char *name)
{
    cairn_heap *heap = untouched;
    int error = cairn_heap_open_child(&heap, parent, name);
    REQUIRE((error == 0 && heap != untouched) || (error == -ENOENT && heap == untouched));
    if (error == 0)
        cairn_heap_close(heap);
    return error == 0;
}

static uint64_t fill(cairn_heap *heap, size_t size)
{
    uint64_t bytes = 0;
    void *block;
    while ((block = cairn_alloc(heap, size)) != NULL)
        bytes += cairn_size(heap, block);
    REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
    return bytes;
}

static uint64_t taken(cairn_heap *child)
{
    return stats_of(child).bytes_committed;
}

/* How much a fresh child of the heap can get: all that its relatives have not. */
static uint64_t room_in(cairn_heap *parent)
{
    cairn_heap *probe = create_child(parent, "probe", 0, 0);
    uint64_t bytes = fill(probe, 60000);
    REQUIRE_CALL(cairn_heap_destroy(probe) == 0);
    return bytes;
}

/* ---------------------------------------------------------------- one process */

static void limits_of_child_and_parent_both_hold(void)
{
    cairn_heap *heap = create_shared("heap", 40 * MIB);
    cairn_heap *narrow = create_child(heap, "narrow", 4 * MIB, 0), *wide = create_child(heap, "wide", 0, 0);
    REQUIRE(fill(narrow, 3000) >= 3 * MIB);
    REQUIRE(taken(narrow) <= 4 * MIB);
    cairn_heap *inner = create_child(wide, "inner", 8 * MIB, 0);
    REQUIRE(fill(inner, 60000) >= 7 * MIB);
    REQUIRE(taken(inner) <= 8 * MIB);
    cairn_heap *innermost = create_child(inner, "innermost", 0, 0); /* by whose limit it is refused, the reason tells */
    REQUIRE(cairn_alloc(innermost, 1 * MIB) == NULL);
    REQUIRE(strstr(cairn_last_error(), "heap \"innermost\" in \"heap\": ") != NULL);
    REQUIRE(strstr(cairn_last_error(), "limit of 8388608") != NULL);
    REQUIRE_CALL(cairn_heap_destroy(innermost) == 0);
    REQUIRE(fill(wide, 20000) >= 15 * MIB); /* all that the section has */
    REQUIRE(cairn_alloc(heap, 200000) == NULL);
    REQUIRE_SOUND(heap);
    REFUSED(-EBUSY, cairn_heap_destroy(heap));
    REFUSED(-EBUSY, cairn_heap_destroy(wide));
    REQUIRE_CALL(cairn_heap_destroy(inner) == 0);
    REQUIRE(fill(narrow, 3000) == 0);
    REQUIRE(fill(wide, 20000) >= 6 * MIB);
    REQUIRE_CALL(cairn_heap_destroy(wide) == 0);
    REQUIRE(cairn_alloc(heap, 20 * MIB) != NULL);
    REQUIRE_CALL(cairn_heap_destroy(narrow) == 0);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

static void names_are_taken_until_the_end(void)
{
    cairn_heap *heap = create_shared("heap", 0), *other = create_shared("other", 0), *none = untouched;
    REFUSED(-ENOENT, cairn_heap_open_child(&none, heap, "child"));
    cairn_heap *child = create_child(heap, "child", 0, 0);
    REFUSED(-EEXIST, try_child(&none, heap, "child", 0, 0));
    REFUSED(-ENOENT, cairn_heap_open_child(&none, other, "child")); /* names are its parent's */
    REQUIRE(none == untouched);
    cairn_heap *same = create_child(other, "child", 0, 0), *grandchild = create_child(child, "child", 0, 0);
    cairn_heap *opened = open_child(heap, "child");
    void *block = cairn_alloc(opened, 100);
    REQUIRE(block != NULL && cairn_size(child, block) >= 100);
    cairn_free(child, block);
    cairn_heap_close(opened);
    REQUIRE(has_child(heap, "child")); /* closing is not destroying */
    REQUIRE_CALL(cairn_heap_destroy(grandchild) == 0);
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    REFUSED(-ENOENT, cairn_heap_open_child(&none, heap, "child"));
    child = create_child(heap, "child", 0, 0);
    REQUIRE_EQUAL(blocks_live(child), 0);
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    REQUIRE_CALL(cairn_heap_destroy(same) == 0);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(other) == 0);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

/* A child's name stands among the roots, but it is no block, and neither displaces the other. */
static int count_root(const char *name, void *block, void *arg)
{
    int *count = arg;
    REQUIRE(strcmp(name, "root") == 0 && block != NULL);
    ++*count;
    return 0;
}

static void a_child_is_no_root_and_a_root_is_no_child(void)
{
    cairn_heap *heap = create_shared("heap", 0), *none = untouched;
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(cairn_root_set(heap, "root", block) == 0);
    cairn_heap *child = create_child(heap, "child", 0, 0);
    REQUIRE(cairn_root_get(heap, "child") == NULL);
    int count = 0;
    REQUIRE_EQUAL(cairn_root_walk(heap, count_root, &count), 0);
    REQUIRE_EQUAL(count, 1);
    REFUSED(-ENOENT, cairn_heap_open_child(&none, heap, "root"));
    REFUSED(-EEXIST, try_child(&none, heap, "root", 0, 0));
    REQUIRE(cairn_root_get(heap, "root") == block);
    REQUIRE(cairn_root_set(heap, "child", block) < 0);
    REQUIRE(cairn_root_set(heap, "child", NULL) < 0 || has_child(heap, "child"));
    REQUIRE(has_child(heap, "child"));
    REQUIRE_CALL(cairn_root_set(child, "root", cairn_alloc(child, 10)) == 0); /* its own are its own */
    REQUIRE(cairn_root_get(heap, "root") == block);
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    child = create_child(heap, "child", 0, 0);
    REQUIRE(cairn_root_get(child, "root") == NULL);
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

static void the_end_of_a_child_gives_its_memory_back(void)
{
    cairn_heap *heap = create_shared("heap", 32 * MIB);
    uint64_t room = room_in(heap);
    REQUIRE(room >= 27 * MIB);
    for (int round = 0; round < 20; round++) {
        cairn_heap *child = create_child(heap, "child", 0, 0);
        REQUIRE(fill(child, (size_t)(round % 2 == 0 ? 500 : 60000)) >= 25 * MIB);
        if (round % 3 == 0) {
            REQUIRE_CALL(cairn_heap_reset(child) == 0);
            REQUIRE_EQUAL(blocks_live(child), 0);
            REQUIRE(room_in(heap) >= room);
            REQUIRE(fill(child, 100) >= 25 * MIB);
        }
        REQUIRE_CALL(cairn_heap_destroy(child) == 0);
        REQUIRE(room_in(heap) >= room);
    }
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

static void a_child_starts_with_its_memory(void)
{
    cairn_heap *heap = create_shared("heap", 64 * MIB);
    uint64_t before = stats_of(heap).bytes_committed;
    cairn_options options = {
        .size = sizeof options, .name = "child", .parent = heap, .bytes_max = 16 * MIB, .bytes_start = 8 * MIB};
    cairn_heap *child, *none = untouched;
    REQUIRE_CALL(cairn_heap_create(&child, &options) == 0);
    REQUIRE(stats_of(heap).bytes_committed >= before + 8 * MIB);
    REQUIRE(taken(child) >= 8 * MIB);
    fill(heap, 60000); /* others take all the rest */
    REQUIRE(fill(child, 60000) >= 7 * MIB);
    options.name = "another";
    REFUSED(-ENOMEM, cairn_heap_create(&none, &options));
    REQUIRE(none == untouched && !has_child(heap, "another"));
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

static void sizes_in_a_child_may_be_exact(void)
{
    cairn_heap *heap = create_shared("heap", 0), *child = create_child(heap, "child", 0, CAIRN_EXACT_SIZES);
    cairn_heap *opened = open_child(heap, "child");
    for (size_t size = 0; size < 70000; size += 1 + size / 3) {
        void *block = cairn_alloc(size % 2 == 0 ? child : opened, size);
        REQUIRE_CALL(block != NULL);
        REQUIRE_EQUAL(cairn_size(child, block), size);
        REQUIRE_EQUAL(cairn_size(opened, block), size);
        cairn_free(opened, block);
    }
    cairn_heap_close(opened);
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

/* ---------------------------------------------------------------- several processes */

struct list {
    struct list *next;
    int number;
};

static void add_to_child(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0), *child = open_child(heap, "child");
    struct list *list = cairn_root_get(child, "list");
    for (int i = 0; i < 100; i++) {
        struct list *node = cairn_alloc(child, sizeof *node);
        REQUIRE_CALL(node != NULL);
        *node = (struct list){.next = list, .number = list->number + 1};
        list = node;
    }
    REQUIRE_CALL(cairn_root_set(child, "list", list) == 0);
    cairn_heap_close(child);
    cairn_heap_close(heap);
}

static void another_process_opens_a_child(void)
{
    cairn_heap *heap = create_shared("heap", 0), *child = create_child(heap, "child", 0, 0);
    struct list *list = cairn_zalloc(child, sizeof *list);
    REQUIRE_CALL(cairn_root_set(child, "list", list) == 0);
    for (int i = 0; i < 3; i++)
        finish(start(add_to_child, NULL));
    REQUIRE_EQUAL(((struct list *)cairn_root_get(child, "list"))->number, 300);
    REQUIRE_EQUAL(blocks_live(child), 301);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    for (struct list *node = cairn_root_get(child, "list"); node != NULL;) {
        struct list *next = node->next;
        cairn_free(child, node);
        node = next;
    }
    REQUIRE_EQUAL(blocks_live(child), 0);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

static void read_child(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", CAIRN_READ_ONLY), *child = open_child(heap, "child"), *none = untouched;
    REQUIRE(strcmp(cairn_root_get(child, "text"), "text") == 0);
    REFUSED_NULL(-EROFS, cairn_alloc(child, 10));
    REFUSED(-EROFS, cairn_heap_reset(child));
    REFUSED(-EROFS, cairn_heap_destroy(child));
    REFUSED(-EROFS, try_child(&none, heap, "other", 0, 0));
    cairn_heap_close(child);
    cairn_heap_close(heap);
}

static void a_reader_opens_a_child_to_read(void)
{
    cairn_heap *heap = create_shared("heap", 0), *child = create_child(heap, "child", 0, 0);
    char *text = cairn_alloc(child, 10);
    memcpy(text, "text", 5);
    REQUIRE_CALL(cairn_root_set(child, "text", text) == 0);
    /* Without our writable view, which a fork would inherit. */
    cairn_heap_close(child);
    cairn_heap_close(heap);
    finish(start(read_child, NULL));
    heap = open_shared("heap", 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

/* All at once ask for the same name: one gets it. */
struct race {
    _Atomic uint32_t round;
    _Atomic uint32_t tried;
    _Atomic uint32_t ended;
    _Atomic uint32_t won;
};

enum { RACERS = 4 };
static struct race *race;
static uint64_t races;

static void run_race(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    for (uint32_t round = 1; round <= races; round++) {
        wait_for(&race->round, round);
        cairn_heap *child = untouched;
        int error = try_child(&child, heap, "child", 0, 0);
        REQUIRE(error == 0 || error == -EEXIST);
        if (error == 0)
            atomic_fetch_add(&race->won, 1);
        advance(&race->tried);
        wait_for(&race->tried, round * RACERS);
        if (error == 0)
            REQUIRE_CALL(cairn_heap_destroy(child) == 0);
        advance(&race->ended);
    }
    cairn_heap_close(heap);
}

static void a_name_is_given_to_one_of_those_who_ask_at_once(void)
{
    races = random_rounds(300);
    race = shared_memory(sizeof *race);
    cairn_heap *heap = create_shared("heap", 64 * MIB);
    pid_t racers[RACERS];
    for (int i = 0; i < RACERS; i++)
        racers[i] = start(run_race, NULL);
    for (uint32_t round = 1; round <= races; round++) {
        atomic_store(&race->won, 0);
        advance(&race->round);
        wait_for(&race->ended, round * RACERS);
        if (atomic_load(&race->won) != 1)
            broken(__FILE__, __LINE__, "round %u: %u of %d got the name", round, atomic_load(&race->won), RACERS);
        REQUIRE(!has_child(heap, "child"));
    }
    for (int i = 0; i < RACERS; i++)
        finish(racers[i]);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0); /* no child is left behind without a name */
}

/* ---------------------------------------------------------------- bound to a process */

static _Atomic uint32_t *signals;

static void make_bound_and_wait(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    cairn_heap *bound = create_child(heap, "bound", 0, CAIRN_BOUND), *free = create_child(heap, "free", 0, 0);
    REQUIRE(fill(bound, 60000) > 20 * MIB);
    REQUIRE_CALL(cairn_heap_reset(bound) == 0);
    for (int i = 0; i < 5000; i++)
        REQUIRE_CALL(cairn_alloc(bound, (size_t)i) != NULL);
    REQUIRE_CALL(cairn_alloc(free, 1000) != NULL);
    advance(signals);
    wait_for(signals, 1000); /* to be killed */
}

static void a_bound_child_dies_with_its_process(void)
{
    cairn_heap *heap = create_shared("heap", 40 * MIB);
    signals = shared_memory(sizeof *signals);
    uint64_t room = room_in(heap);
    for (uint32_t round = 1; round <= 10; round++) {
        pid_t maker = start(make_bound_and_wait, NULL);
        wait_for(signals, round);
        REQUIRE_EQUAL(cairn_recover(heap), 0);
        cairn_heap *bound = open_child(heap, "bound"), *free = open_child(heap, "free");
        REQUIRE_EQUAL(blocks_live(bound), 5000);
        void *mine = cairn_alloc(bound, 100);
        REQUIRE_CALL(mine != NULL);
        kill(maker, SIGKILL);
        finish_by(maker, SIGKILL);
        REQUIRE(cairn_recover(heap) > 0);
        REFUSED_NULL(-ESTALE, cairn_alloc(bound, 100));
        cairn_heap_close(bound);
        REQUIRE(!has_child(heap, "bound"));
        REQUIRE_EQUAL(blocks_live(free), 1); /* the other outlives its maker */
        REQUIRE_CALL(cairn_alloc(free, 100) != NULL);
        REQUIRE_CALL(cairn_heap_destroy(free) == 0);
        REQUIRE(room_in(heap) >= room);
        REQUIRE_SOUND(heap);
    }
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

static void make_bound_and_go(void *arg)
{
    const int *way = arg;
    cairn_heap *heap = open_shared("heap", 0);
    cairn_heap *bound = create_child(heap, "bound", 0, CAIRN_BOUND);
    REQUIRE_CALL(cairn_alloc(bound, 100000) != NULL && cairn_alloc(bound, 10) != NULL);
    if (*way >= 1)
        cairn_heap_close(bound);
    if (*way >= 2)
        cairn_heap_close(heap);
}

/* With children of its own, and theirs; all are somebody's slabs and large blocks. */
static void make_bound_family_and_wait(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0), *bound = create_child(heap, "bound", 0, CAIRN_BOUND);
    cairn_heap *child = create_child(bound, "child", 0, 0), *grandchild = create_child(child, "grandchild", 0, 0);
    cairn_heap *all[] = {bound, child, grandchild};
    for (size_t i = 0; i < COUNT(all); i++)
        REQUIRE_CALL(cairn_alloc(all[i], 100) != NULL && cairn_alloc(all[i], MIB) != NULL);
    advance(signals);
    wait_for(signals, 1000); /* to be killed */
}

static void a_bound_child_takes_its_children_with_it(void)
{
    cairn_heap *heap = create_shared("heap", 40 * MIB);
    signals = shared_memory(sizeof *signals);
    uint64_t room = room_in(heap);
    for (uint32_t round = 1; round <= 10; round++) {
        pid_t maker = start(make_bound_family_and_wait, NULL);
        wait_for(signals, round);
        cairn_heap *bound = open_child(heap, "bound"), *child = open_child(bound, "child");
        cairn_heap *grandchild = open_child(child, "grandchild");
        /* What others make in it, or allocate, ends with it as well. */
        cairn_heap *ours = create_child(grandchild, "ours", 0, 0);
        REQUIRE_CALL(cairn_alloc(grandchild, 100) != NULL && cairn_alloc(ours, 100) != NULL);
        REFUSED(-EBUSY, cairn_heap_destroy(bound));
        kill(maker, SIGKILL);
        finish_by(maker, SIGKILL);
        REQUIRE(cairn_recover(heap) > 0);
        cairn_heap *all[] = {ours, grandchild, child, bound};
        for (size_t i = 0; i < COUNT(all); i++) {
            REFUSED_NULL(-ESTALE, cairn_alloc(all[i], 100));
            cairn_heap_close(all[i]);
        }
        REQUIRE(!has_child(heap, "bound"));
        REQUIRE(room_in(heap) >= room);
        REQUIRE_SOUND(heap);
    }
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

/* Makes and ends children of a heap that is a child itself, as fast as it can, until it is killed. */
static void raise_children(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0), *parent = open_child(heap, "parent");
    for (;;) {
        cairn_heap *child;
        int error = try_child(&child, parent, "mortal", 0, 0);
        REQUIRE(error == 0 || error == -EEXIST);
        if (error == -EEXIST && cairn_heap_open_child(&child, parent, "mortal") < 0)
            continue;
        REQUIRE_CALL(cairn_heap_destroy(child) == 0);
        advance(signals);
    }
}

/* However often others are killed making and ending children, ours is one, and afterwards there is none. */
static void kills_do_not_change_how_many_children_a_heap_has(void)
{
    cairn_heap *heap = create_shared("heap", 40 * MIB), *parent = create_child(heap, "parent", 0, 0);
    cairn_heap *ours = create_child(parent, "ours", 0, 0);
    signals = shared_memory(sizeof *signals);
    struct random random = random_begin(random_seed("children", 51));
    for (uint64_t kills = random_rounds(60); kills-- > 0;) {
        pid_t worker = start(raise_children, NULL);
        wait_for(signals, atomic_load(signals) + 1 + (uint32_t)random_below(&random, 3));
        for (uint64_t spin = random_below(&random, 3000); spin-- > 0;)
            atomic_load(signals);
        kill(worker, SIGKILL);
        finish_by(worker, SIGKILL);
        REQUIRE(cairn_recover(heap) >= 0);
        REFUSED(-EBUSY, cairn_heap_destroy(parent));
    }
    REQUIRE_CALL(cairn_heap_destroy(ours) == 0);
    cairn_heap *left;
    if (cairn_heap_open_child(&left, parent, "mortal") == 0)
        REQUIRE_CALL(cairn_heap_destroy(left) == 0);
    REQUIRE_CALL(cairn_heap_destroy(parent) == 0); /* none is left, with a name or without */
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

/* However it ends: without a word, with its child closed, or with everything closed. */
static void a_bound_child_ends_with_a_process_that_exits(void)
{
    cairn_heap *heap = create_shared("heap", 40 * MIB);
    uint64_t room = room_in(heap);
    for (int way = 0; way < 3; way++) {
        finish(start(make_bound_and_go, &way));
        REQUIRE(cairn_recover(heap) >= 0);
        if (has_child(heap, "bound"))
            broken(__FILE__, __LINE__, "way %d: the bound child is still there", way);
        REQUIRE(room_in(heap) >= room);
    }
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

/* One that comes and goes, by the records that others had before. */
static void come_and_go(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0), *other;
    if (try_child(&other, heap, "other", 0, CAIRN_BOUND) == 0)
        REQUIRE_CALL(cairn_alloc(other, 100) != NULL);
}

static void a_bound_child_lives_as_long_as_its_process(void)
{
    cairn_heap *heap = create_shared("heap", 0), *bound = create_child(heap, "bound", 0, CAIRN_BOUND);
    void *block = cairn_alloc(bound, 100);
    REQUIRE_CALL(block != NULL);
    for (int i = 0; i < 10; i++) {
        finish(start(come_and_go, NULL));
        REQUIRE(cairn_recover(heap) >= 0);
        REQUIRE(has_child(heap, "bound") && !has_child(heap, "other"));
        REQUIRE(cairn_size(bound, block) >= 100);
    }
    cairn_free(bound, block);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(bound) == 0);
    cairn_heap_close(heap);
}

/* ---------------------------------------------------------------- handles of what was destroyed */

static void use_stale(cairn_heap *heap, void *block, bool is_child)
{
    REFUSED_NULL(-ESTALE, cairn_alloc(heap, 100));
    REFUSED_NULL(-ESTALE, cairn_alloc(heap, 100000));
    REFUSED_NULL(-ESTALE, cairn_zalloc(heap, 100));
    REFUSED_NULL(-ESTALE, cairn_aligned_alloc(heap, 4096, 100));
    REFUSED_NULL(-ESTALE, cairn_realloc(heap, NULL, 100));
    REFUSED(-ESTALE, cairn_alloc_to(heap, 100, block));
    REFUSED(-ESTALE, cairn_free_from(heap, block));
    REFUSED_VOID(-ESTALE, cairn_free(heap, block));
    REFUSED_VOID(-ESTALE, cairn_free(heap, block)); /* once more: it was not freed, so it is no crime */
    REFUSED(-ESTALE, cairn_root_set(heap, "root", NULL));
    REFUSED(-ESTALE, (int)cairn_trim(heap));
    REFUSED(-ESTALE, cairn_recover(heap));
    REFUSED(-ESTALE, cairn_heap_reset(heap));
    cairn_heap *none = untouched;
    REFUSED(-ESTALE, try_child(&none, heap, "name", 0, 0));
    REQUIRE(none == untouched);
    (void)cairn_root_get(heap, "root");
    (void)stats_of(heap);
    REQUIRE_SOUND(heap);
    if (!is_child)
        REQUIRE(*(unsigned char *)block == 0x5a); /* what they read does not fault */
}

static void meet(const char *name, bool is_child)
{
    cairn_heap *heap = open_shared("heap", 0), *used = heap;
    if (is_child)
        used = open_child(heap, name);
    void *block = cairn_alloc(used, 200), *large = cairn_alloc(used, 200000);
    REQUIRE_CALL(block != NULL && large != NULL);
    memset(block, 0x5a, 200);
    memset(large, 0x5a, 200000);
    tell('r');
    REQUIRE(hear() == 'd'); /* destroyed now */
    use_stale(used, block, is_child);
    use_stale(used, large, is_child);
    int error = cairn_heap_destroy(used); /* closes the handle nevertheless */
    REQUIRE_EQUAL(error, -ESTALE);
    if (is_child) {
        void *again = cairn_alloc(heap, 100); /* its relatives go on */
        REQUIRE_CALL(again != NULL);
        cairn_free(heap, again);
        cairn_heap_close(heap);
    }
    tell('k');
    REQUIRE(hear() == -1);
}

static void handles_of_a_destroyed_child_are_stale(void)
{
    cairn_heap *heap = create_shared("heap", 40 * MIB);
    uint64_t room = room_in(heap);
    cairn_heap *child = create_child(heap, "child", 0, 0);
    struct peer peers[3];
    for (size_t i = 0; i < COUNT(peers); i++) {
        peers[i] = peer_start("meet_child", NULL);
        peer_hear(&peers[i], 'r');
    }
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    REQUIRE(!has_child(heap, "child"));
    for (size_t i = 0; i < COUNT(peers); i++) {
        peer_tell(&peers[i], 'd');
        peer_hear(&peers[i], 'k');
    }
    REQUIRE(room_in(heap) >= room); /* their slabs came back with their next call */
    for (size_t i = 0; i < COUNT(peers); i++)
        peer_finish(&peers[i]);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

static void handles_of_a_destroyed_heap_are_stale(void)
{
    cairn_heap *heap = create_shared("heap", 40 * MIB), *none = untouched;
    struct peer peers[3];
    for (size_t i = 0; i < COUNT(peers); i++) {
        peers[i] = peer_start("meet_heap", NULL);
        peer_hear(&peers[i], 'r');
    }
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    REQUIRE_EQUAL(workspace_entries(), 0);
    REFUSED(-ENOENT, cairn_heap_open(&none, "heap", NULL));
    heap = create_shared("heap", 40 * MIB); /* the name is free at once */
    for (size_t i = 0; i < COUNT(peers); i++) {
        peer_tell(&peers[i], 'd');
        peer_hear(&peers[i], 'k');
        peer_finish(&peers[i]);
    }
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_EQUAL(stats_of(heap).attaches, 1);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

/* In one process: two handles of one child. */
static void the_other_handle_of_a_destroyed_child_is_stale(void)
{
    cairn_heap *heap = create_shared("heap", 0), *child = create_child(heap, "child", 0, 0);
    cairn_heap *other = open_child(heap, "child");
    void *block = cairn_alloc(other, 200);
    REQUIRE_CALL(block != NULL);
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    use_stale(other, block, true);
    child = create_child(heap, "child", 0, 0);
    void *again = cairn_alloc(child, 200); /* perhaps at the same place: it is no concern of the old handle */
    REQUIRE_CALL(again != NULL);
    REFUSED_VOID(-ESTALE, cairn_free(other, again));
    REFUSED_NULL(-ESTALE, cairn_alloc(other, 200));
    REQUIRE_EQUAL(blocks_live(child), 1);
    cairn_heap_close(other);
    REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

int main(int count, char **arguments)
{
    if (count > 1) {
        bool is_child = strcmp(arguments[1], "meet_child") == 0;
        meet("child", is_child);
        return 0;
    }
    static const struct claim claims[] = {
        CLAIM(limits_of_child_and_parent_both_hold),
        CLAIM(names_are_taken_until_the_end),
        CLAIM(a_child_is_no_root_and_a_root_is_no_child),
        CLAIM(the_end_of_a_child_gives_its_memory_back),
        CLAIM(a_child_starts_with_its_memory),
        CLAIM(sizes_in_a_child_may_be_exact),
        CLAIM(another_process_opens_a_child),
        CLAIM(a_reader_opens_a_child_to_read),
        CLAIM(a_name_is_given_to_one_of_those_who_ask_at_once),
        CLAIM(a_bound_child_dies_with_its_process),
        CLAIM(a_bound_child_takes_its_children_with_it),
        CLAIM(kills_do_not_change_how_many_children_a_heap_has),
        CLAIM(a_bound_child_ends_with_a_process_that_exits),
        CLAIM(a_bound_child_lives_as_long_as_its_process),
        CLAIM(handles_of_a_destroyed_child_are_stale),
        CLAIM(handles_of_a_destroyed_heap_are_stale),
        CLAIM(the_other_handle_of_a_destroyed_child_is_stale),
    };
    return run_claims(claims, COUNT(claims), 20);
}
