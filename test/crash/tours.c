/* SPDX-License-Identifier: MIT */
/*
 * Tours: calls in an order in which chance seldom makes them, in heaps that are made for it. What they get ready runs
 * freely; what they are for is stepped, and each state of it recovered and verified as all others.
 */
#include "crash.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

static void freely(struct actor *actor)
{
    actor->mode = FREE_RUNNING;
}

static void stepped(struct actor *actor)
{
    actor->mode = TRACED;
}

static struct record *get(struct actor *actor, uint32_t heap, enum call_kind kind, size_t size)
{
    return actor_make(actor, heap, kind, NULL, size, 64 << 10);
}

static void change(struct actor *actor, enum call_kind kind, struct record *record, size_t size)
{
    if (record != NULL && atomic_load(&record->holder) == actor->number + 1)
        (void)actor_make(actor, 0, kind, record, size, 0);
}

static void drop(struct actor *actor, struct record *record)
{
    change(actor, CALL_FREE, record, 0);
}

static void call(struct actor *actor, enum call_kind kind, uint32_t heap)
{
    actor_call(actor, (struct call){.kind = kind, .heap = heap});
}

/* The next block that it holds, from *at on; NULL: there is none. */
static struct record *next_held(struct actor *actor, uint32_t *at)
{
    for (; *at < COUNT(actor->world->records); ++*at) {
        if (atomic_load(&actor->world->records[*at].holder) == actor->number + 1)
            return &actor->world->records[(*at)++];
    }
    return NULL;
}

/* ---------------------------------------------------------------- large blocks, and memory that is given back */

static void large_blocks(struct actor *actor)
{
    size_t most = actor->world->bytes_max;
    stepped(actor);
    struct record *large = get(actor, 0, CALL_ALLOC, most / 8);
    struct record *shorter = large != NULL ? actor_make(actor, 0, CALL_REALLOC, large, most / 20, 0) : NULL;
    change(actor, CALL_EXPAND, shorter, most / 10);
    drop(actor, shorter);
    struct record *several[6];
    for (size_t i = 0; i < COUNT(several); i++)
        several[i] = get(actor, 0, i % 2 == 0 ? CALL_ZALLOC : CALL_ALIGNED, most / 7);
    for (size_t i = 0; i < COUNT(several); i++)
        drop(actor, several[i]);
    freely(actor);
    for (uint32_t i = 0; i < BLOCKS_PER_SLOT / 2; i++) /* several slabs of a class */
        (void)get(actor, 0, CALL_ALLOC, most / 256);
    stepped(actor);
    call(actor, CALL_REOPEN, 0);
    call(actor, CALL_TRIM, 0);
}

/* More than is retained: a free of one settles what others have left, too. */
static void memory_settles(struct actor *actor)
{
    enum { SPANS = 60, SPAN = 150000, FREELY = 26, MORE = 2 }; /* of these little more than 5 MiB is free then */
    struct record *spans[SPANS], *wide[2];
    freely(actor);
    for (size_t i = 0; i < SPANS; i++)
        spans[i] = get(actor, 0, CALL_ALLOC, SPAN);
    for (size_t i = 0; i < COUNT(wide); i++)
        wide[i] = get(actor, 0, CALL_ALLOC, 1100000);
    for (size_t i = 0; i < FREELY; i++)
        drop(actor, spans[i * 2]);
    stepped(actor);
    change(actor, CALL_EXPAND, spans[1], 190000);
    change(actor, CALL_EXPAND, spans[3], 300000);
    for (size_t i = FREELY; i < FREELY + MORE; i++)
        drop(actor, spans[i * 2]);
    change(actor, CALL_REALLOC, wide[0], 100000);
    drop(actor, wide[1]);
    drop(actor, spans[FREELY * 2 + 1]);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE, .bytes_start = 1 << 20});
    (void)get(actor, 1, CALL_ALLOC, 200);
    (void)get(actor, 1, CALL_ALLOC, 300000);
    call(actor, CALL_CHILD_DESTROY, 0);
}

/* ---------------------------------------------------------------- slabs that fill up and empty */

static void peer_of_some_sizes(struct actor *actor)
{
    static const size_t sizes[] = {48, 48, 48, 200, 1000, 15000, 30000};
    for (uint32_t i = 0; i < 70; i++)
        (void)get(actor, 0, CALL_ALLOC, sizes[i % COUNT(sizes)]);
}

static void frees_of_a_neighbours_blocks(struct actor *actor)
{
    stepped(actor);
    (void)get(actor, 0, CALL_ALLOC, 48); /* its own are at hand */
    uint32_t at = 0;
    struct record *record;
    for (uint32_t count = 0; (record = next_held(actor, &at)) != NULL; count++) {
        if (count > 30)
            freely(actor);
        drop(actor, record);
    }
    stepped(actor);
    call(actor, CALL_TRIM, 0);
}

/* Several slabs of a class, full; then empty in a row: one is kept, the others go. */
static void slabs_empty(struct actor *actor)
{
    static const size_t sizes[] = {15000, 30000, 1000, 2500};
    struct record *records[40];
    for (size_t s = 0; s < COUNT(sizes); s++) {
        size_t count = sizes[s] < 5000 ? COUNT(records) : 17;
        freely(actor);
        for (size_t i = 0; i < count; i++)
            records[i] = get(actor, 0, CALL_ALLOC, sizes[s]);
        if (sizes[s] >= 5000)
            stepped(actor);
        for (size_t i = 0; i < count; i++) {
            if (i + 6 > count)
                stepped(actor);
            drop(actor, records[i]);
        }
        stepped(actor);
        drop(actor, get(actor, 0, CALL_ALLOC, sizes[s]));
        drop(actor, get(actor, 0, CALL_ALIGNED, sizes[s]));
        drop(actor, get(actor, 0, CALL_ZALLOC, sizes[s]));
    }
}

/* More slabs of a class than a ring begins with. */
static void many_slabs(struct actor *actor)
{
    struct record *records[76];
    freely(actor);
    for (size_t i = 0; i < COUNT(records); i++)
        records[i] = get(actor, 0, CALL_ALLOC, 15000);
    for (size_t i = 0; i < COUNT(records); i += 4) {
        if (i > 56)
            stepped(actor);
        drop(actor, records[i]);
    }
    for (size_t i = 0; i < 6; i++)
        (void)get(actor, 0, CALL_ALLOC, 15000);
    freely(actor);
    for (size_t i = 0; i < COUNT(records); i++)
        drop(actor, i % 4 != 0 ? records[i] : NULL);
    stepped(actor);
    call(actor, CALL_TRIM, 0);
}

/* A slab with several words: the free block is in one that the search has passed. */
static void many_small(struct actor *actor)
{
    struct record *records[150];
    freely(actor);
    for (size_t i = 0; i < COUNT(records); i++)
        records[i] = get(actor, 0, CALL_ALLOC, 16);
    for (size_t i = 0; i < COUNT(records); i += 9)
        drop(actor, records[i]);
    stepped(actor);
    for (size_t i = 0; i < COUNT(records); i += 9)
        records[i] = get(actor, 0, CALL_ALLOC, 16);
    /* A slab of a heap that no ledger tells of, filled to its last block. */
    enum { BLOCKS = 128 };
    static void *blocks[BLOCKS];
    cairn_heap *child = NULL;
    cairn_options options = {.name = "small", .parent = actor->heap, .flags = CAIRN_BOUND};
    if (cairn_heap_create(&child, &options) < 0)
        return;
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = cairn_alloc(child, 16);
    actor_step(actor, true);
    cairn_free(child, blocks[5]);
    blocks[5] = cairn_alloc(child, 16);
    cairn_free(child, blocks[5]);
    cairn_free(child, blocks[BLOCKS / 2 + 5]);
    blocks[5] = cairn_alloc(child, 16);
    blocks[BLOCKS / 2 + 5] = cairn_alloc(child, 16);
    actor_step(actor, false);
}

/* Alignments and sizes of all kinds; sizes that change where a block stays; links to large blocks. */
static void alignments(struct actor *actor)
{
    static const size_t sizes[] = {1, 700, 2100, 9000, 30000};
    stepped(actor);
    for (size_t alignment = 16; alignment <= 64 << 10; alignment *= 2)
        for (size_t i = 0; i < COUNT(sizes); i++)
            drop(actor, actor_make(actor, 0, CALL_ALIGNED, NULL, sizes[i], alignment));
    struct record *records[] = {get(actor, 0, CALL_ALLOC, 2900), get(actor, 0, CALL_ALLOC, 9000),
                                get(actor, 0, CALL_ALLOC, 100001)};
    for (size_t i = 0; i < COUNT(records); i++) {
        change(actor, CALL_EXPAND, records[i], records[i] != NULL ? records[i]->size + 9 : 0);
        struct record *shorter =
            records[i] != NULL ? actor_make(actor, 0, CALL_REALLOC, records[i], records[i]->size - 300, 0) : NULL;
        drop(actor, shorter);
    }
    if (actor->slot->links[0].block != NULL)
        actor_call(actor, (struct call){.kind = CALL_FREE_FROM});
    actor_call(actor, (struct call){.kind = CALL_ALLOC_TO, .size = actor->world->bytes_max / 40});
    if (actor->slot->links[0].block != NULL)
        actor_call(actor, (struct call){.kind = CALL_FREE_FROM});
    (void)get(actor, 0, CALL_ALLOC, actor->world->bytes_max + 1);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE, .bytes_start = actor->world->bytes_max});
}

/* Blocks of more than what is given back at once, freed while more is free than is retained; more than once around. */
static void wide_blocks(struct actor *actor)
{
    struct record *wide[9];
    for (uint32_t turn = 0; turn < 3; turn++) {
        freely(actor);
        for (size_t i = 0; i < COUNT(wide); i++)
            wide[i] = get(actor, 0, CALL_ALLOC, 1300000 + turn * 100000);
        for (size_t i = 0; i < COUNT(wide); i++) {
            if (i >= 4)
                stepped(actor);
            drop(actor, wide[i]);
        }
    }
    struct record *spans[100];
    freely(actor);
    for (size_t i = 0; i < COUNT(spans); i++)
        spans[i] = get(actor, 0, CALL_ALLOC, 200000);
    for (size_t i = 0; i < COUNT(spans); i++) {
        if (i > 50)
            stepped(actor);
        drop(actor, spans[i]);
    }
}

/* ---------------------------------------------------------------- refusals */

/* Each way to ask for memory, where there is little or none. */
static void ask_for_all(struct actor *actor, uint32_t heap)
{
    static const size_t sizes[] = {16, 100, 300, 1500, 7000};
    static const enum call_kind kinds[] = {CALL_ALLOC, CALL_ZALLOC, CALL_ALIGNED};
    for (size_t s = 0; s < COUNT(sizes); s++) {
        for (size_t k = 0; k < COUNT(kinds); k++) {
            struct record *record = actor_make(actor, heap, kinds[k], NULL, sizes[s], (size_t)16 << 2 * s);
            if (k == 0)
                drop(actor, record);
        }
    }
}

/* Blocks of several classes, some free: what is asked for later may be cut from those. */
static void leave_larger(struct actor *actor, uint32_t heap)
{
    static const size_t sizes[] = {64, 240, 512, 1024, 2048};
    struct record *records[COUNT(sizes)][2];
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (size_t i = 0; i < 2; i++)
            records[s][i] = get(actor, heap, CALL_ALLOC, sizes[s]);
    for (size_t s = 0; s < COUNT(sizes); s++)
        drop(actor, records[s][0]);
}

static void fill_up(struct actor *actor, uint32_t heap)
{
    size_t unit = actor->world->bytes_max / 512;
    for (size_t size = 16 * unit; size >= unit; size /= 2)
        while (get(actor, heap, CALL_ALLOC, size) != NULL)
            ;
}

static void full_heap(struct actor *actor)
{
    freely(actor);
    struct record *large = get(actor, 0, CALL_ALLOC, actor->world->bytes_max / 16);
    leave_larger(actor, 0);
    fill_up(actor, 0);
    stepped(actor); /* a refusal has looked everywhere: each takes long */
    (void)get(actor, 0, CALL_ALLOC, 16);
    (void)get(actor, 0, CALL_ALLOC, 300);
    (void)get(actor, 0, CALL_ZALLOC, 1500);
    (void)actor_make(actor, 0, CALL_ALIGNED, NULL, 100, 128);
    (void)get(actor, 0, CALL_ALLOC, 7000);
    change(actor, CALL_EXPAND, large, actor->world->bytes_max / 8);
    for (uint32_t i = 0; i < LINKS; i += 3)
        if (actor->slot->links[i].block == NULL)
            actor_call(actor, (struct call){.kind = CALL_ALLOC_TO, .index = i, .size = (size_t)40 << i});
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE, .bytes_start = actor->world->bytes_max / 4});
    /* The slab in use is empty at last: its units are all that is left for another class. */
    freely(actor);
    struct record *last[40];
    size_t count = 0;
    while (count < COUNT(last) && (last[count] = get(actor, 0, CALL_ALLOC, 400)) != NULL)
        count++;
    while (count-- > 0)
        drop(actor, last[count]);
    stepped(actor);
    (void)get(actor, 0, CALL_ALLOC, 900);
    drop(actor, large);
    ask_for_all(actor, 0);
}

/* A child has a limit, and one in it has none of its own. */
static void limit_of_a_parent(struct actor *actor)
{
    size_t most = actor->world->bytes_max;
    stepped(actor);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE, .bytes_max = most / 16, .flags = actor->world->flags});
    actor_call(actor,
               (struct call){.kind = CALL_CHILD_CREATE, .index = 1, .nested = true, .flags = actor->world->flags});
    freely(actor);
    struct record *large = get(actor, 2, CALL_ALLOC, most / 64);
    leave_larger(actor, 2);
    fill_up(actor, 2);
    stepped(actor);
    ask_for_all(actor, 2);
    change(actor, CALL_EXPAND, large, most / 32);
    change(actor, CALL_REALLOC, large, most / 30);
    (void)get(actor, 2, CALL_ZALLOC, most / 20);
    drop(actor, large);
    (void)get(actor, 2, CALL_ALLOC, most / 60);
    call(actor, CALL_TRIM, 2);
    actor_call(actor, (struct call){.kind = CALL_CHILD_DESTROY, .index = 1});
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE, .index = 1, .nested = true, .bytes_start = most / 4});
    if (actor->slot->children[1] == CHILD_NONE)
        actor_call(actor,
                   (struct call){.kind = CALL_CHILD_CREATE, .index = 1, .nested = true, .bytes_start = most / 128});
    call(actor, CALL_CHILD_RESET, 0);
    call(actor, CALL_CHILD_DESTROY, 0);
}

/* A child has a part of its limit set aside, and asks for more in a row than is left of that: there, and elsewhere. */
static void limit_and_start(struct actor *actor)
{
    size_t unit = actor->world->bytes_max / 512;
    stepped(actor);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE, .bytes_start = 12 * unit, .bytes_max = 20 * unit});
    (void)get(actor, 0, CALL_ALLOC, 9 * unit); /* stands behind it */
    struct record *first = get(actor, 1, CALL_ALLOC, 5 * unit);
    (void)get(actor, 1, CALL_ALLOC, 10 * unit);
    (void)get(actor, 1, CALL_ALLOC, 3 * unit);
    drop(actor, first);
    (void)get(actor, 1, CALL_ALLOC, 4 * unit);
    ask_for_all(actor, 1);
    call(actor, CALL_CHILD_RESET, 0);
    ask_for_all(actor, 1);
    call(actor, CALL_CHILD_DESTROY, 0);
}

/* The file system is full: slabs cannot be extended, spans not be committed, nor records. */
static void full_file_system(struct actor *actor)
{
    freely(actor);
    struct record *large = get(actor, 0, CALL_ALLOC, actor->world->bytes_max / 32);
    leave_larger(actor, 0);
    (void)get(actor, 0, CALL_ALLOC, 16);
    (void)get(actor, 0, CALL_ALLOC, 1500);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE});
    world_limit_growth(actor->world, 0);
    for (uint32_t i = 0; i < 30; i++)
        (void)get(actor, 0, CALL_ALLOC, 3000);
    stepped(actor);
    for (uint32_t i = 0; i < 12; i++)
        (void)get(actor, 0, CALL_ALLOC, (size_t)600 << i % 3);
    change(actor, CALL_EXPAND, large, actor->world->bytes_max / 16);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE, .index = 1, .bytes_start = actor->world->bytes_max / 4});
    (void)get(actor, 0, CALL_ZALLOC, actor->world->bytes_max / 8);
    ask_for_all(actor, 1);
}

/* The system has no memory left: no header, no page, no table grows. Blocks of other classes are all there is. */
static void refused_memory(struct actor *actor)
{
    freely(actor);
    leave_larger(actor, 0);
    struct record *largest = get(actor, 0, CALL_ALLOC, 32000);
    struct record *large = get(actor, 0, CALL_ALLOC, actor->world->bytes_max / 32);
    world_refuse_memory(actor->world);
    stepped(actor);
    change(actor, CALL_EXPAND, large, actor->world->bytes_max / 16);
    ask_for_all(actor, 0);
    for (uint32_t i = 0; i < 4; i++)
        (void)get(actor, 0, CALL_ALLOC, 32000);
    drop(actor, largest);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE, .bytes_start = actor->world->bytes_max / 4});
    drop(actor, large);
    call(actor, CALL_TRIM, 0);
}

/* Where the words of the units reach into another page, and there is no memory for that. */
static void refused_words(struct actor *actor)
{
    freely(actor);
    cairn_heap *child = NULL;
    cairn_options options = {.name = "wide", .parent = actor->heap, .flags = CAIRN_BOUND}; /* no ledger's */
    if (cairn_heap_create(&child, &options) < 0 || cairn_alloc(child, 31 << 20) == NULL)
        return;
    void *small = cairn_alloc(child, 100);
    world_refuse_memory(actor->world);
    stepped(actor);
    (void)get(actor, 0, CALL_ALLOC, 4 << 20);
    actor_step(actor, true);
    void *refused = cairn_alloc(child, 4 << 20);
    actor_step(actor, false);
    if (small == NULL || refused != NULL)
        return;
}

/* Small tables: four heaps. */
static void few_heaps(struct actor *actor)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    cairn_heap *heaps[COUNT(names)];
    uint32_t count = 0;
    cairn_options options = {.name = names[0], .parent = actor->heap, .flags = CAIRN_BOUND}; /* no ledger's */
    freely(actor);
    while (count < COUNT(heaps) && cairn_heap_create(&heaps[count], &options) == 0)
        options.name = names[++count % COUNT(names)];
    stepped(actor);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE});
    for (uint32_t i = 0; i < count; i++) {
        cairn_heap *child = NULL;
        options.parent = heaps[i];
        actor_step(actor, true);
        (void)cairn_heap_create(&child, &options);
        actor_step(actor, false);
    }
    freely(actor);
    for (uint32_t i = 0; i < count; i++)
        (void)cairn_heap_destroy(heaps[i]);
    stepped(actor);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE});
}

/* Without memory for the process's own tables: bins, rings, handles. */
static void refused_own_memory(struct actor *actor)
{
    enum { HEAPS = 60, HANDLES = 9000 };
    static cairn_heap *heaps[HEAPS], *handles[HANDLES];
    void *blocks[HEAPS][9];
    uint32_t count = 0, handle = 0;
    freely(actor);
    for (; count < HEAPS; count++) {
        char name[16];
        snprintf(name, sizeof name, "many-%u", count);
        cairn_options options = {.name = name, .parent = actor->heap, .flags = CAIRN_BOUND}; /* no ledger's */
        if (cairn_heap_create(&heaps[count], &options) < 0)
            break;
    }
    world_refuse_own_memory();
    while (handle < HANDLES && cairn_heap_open_child(&handles[handle], actor->heap, "many-0") == 0)
        handle++;
    stepped(actor);
    actor_step(actor, true);
    cairn_heap *child = NULL;
    cairn_options options = {.name = "more", .parent = actor->heap, .flags = CAIRN_BOUND};
    (void)cairn_heap_create(&child, &options);
    actor_step(actor, false);
    freely(actor);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < count; i++) {
        memset(blocks[i], 0, sizeof blocks[i]);
        if (refused > 0 && refused < 3)
            actor_step(actor, true);
        for (uint32_t k = 0; k < 9; k++)
            blocks[i][k] = k == 0 || blocks[i][0] != NULL ? cairn_alloc(heaps[i], 1000) : NULL;
        if (refused > 0 && refused < 3)
            actor_step(actor, false);
        refused += blocks[i][0] == NULL;
        actor->mode = refused > 0 ? TRACED : FREE_RUNNING;
    }
    /* A full slab gets a free block: there is no ring for it. */
    for (uint32_t i = 0; i < count; i++) {
        actor->mode = i < 4 || (i % 8 == 0) ? TRACED : FREE_RUNNING;
        actor_step(actor, true);
        cairn_free(heaps[i], blocks[i][0]);
        actor_step(actor, false);
    }
}

/* More threads than there are records for. */
static struct {
    pthread_mutex_t gate;
    struct actor *actor;
    atomic_uint there;
} crowd = {.gate = PTHREAD_MUTEX_INITIALIZER};

static void *one_of_a_crowd(void *arg)
{
    void *block = cairn_alloc(crowd.actor->heap, 48);
    (void)arg;
    cairn_free(crowd.actor->heap, block);
    atomic_fetch_add(&crowd.there, 1);
    pthread_mutex_lock(&crowd.gate);
    pthread_mutex_unlock(&crowd.gate);
    return NULL;
}

static void *too_many(void *arg)
{
    struct actor *actor = arg;
    actor_step(actor, true);
    void *block = cairn_alloc(actor->heap, 48);
    cairn_free(actor->heap, block);
    actor_step(actor, false);
    return NULL;
}

static void crowded(struct actor *actor)
{
    pthread_t threads[16];
    uint32_t count = 0;
    freely(actor);
    crowd.actor = actor;
    pthread_mutex_lock(&crowd.gate);
    while (count < COUNT(threads) && pthread_create(&threads[count], NULL, one_of_a_crowd, NULL) == 0)
        count++;
    while (atomic_load(&crowd.there) < count)
        sched_yield();
    stepped(actor);
    atomic_fetch_add(&actor->world->lost_max, 1);
    actor_thread(actor, too_many);
    freely(actor);
    pthread_mutex_unlock(&crowd.gate);
    while (count-- > 0)
        pthread_join(threads[count], NULL);
}

/* Tables that are full, and free again from below. */
static void many_heaps(struct actor *actor)
{
    enum { TRIES = 400 };
    static cairn_heap *heaps[TRIES];
    uint32_t count = 0;
    for (; count < TRIES; count++) {
        char name[16];
        snprintf(name, sizeof name, "many-%u", count);
        cairn_options options = {.name = name, .parent = actor->heap, .flags = CAIRN_BOUND}; /* no ledger's */
        if (cairn_heap_create(&heaps[count], &options) < 0)
            break;
    }
    stepped(actor);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE});
    for (uint32_t i = 0; i < count && i < 20; i++) { /* a thread that uses more heaps than its table has places */
        atomic_fetch_add(&actor->world->lost_max, 1);
        if (i > 12)
            actor_step(actor, true);
        void *block = cairn_alloc(heaps[i], 100);
        if (i > 12)
            actor_step(actor, false);
        if (block != NULL)
            world_add_maybe(actor->world, block);
    }
    freely(actor);
    for (uint32_t i = 0; i < count; i++)
        (void)cairn_heap_destroy(heaps[i]);
    if (actor->slot->children[0] != CHILD_NONE)
        return;
    stepped(actor);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE});
}

/* ---------------------------------------------------------------- threads that come and go */

/* Leaves slabs of several classes in each heap, full, half full and empty. */
static void *thread_of_many_slabs(void *arg)
{
    struct actor *actor = arg;
    struct record *records[60];
    static const size_t sizes[] = {2000, 48, 3000, 900};
    freely(actor);
    for (uint32_t i = 0; i < COUNT(records); i++)
        records[i] = get(actor, i % 3, CALL_ALLOC, sizes[i / 3 % COUNT(sizes)]);
    for (uint32_t i = 0; i < COUNT(records); i++)
        if (i % 12 < 3 || i % 4 == 1)
            drop(actor, records[i]);
    stepped(actor);
    actor_step(actor, true);
    return NULL;
}

static void threads(struct actor *actor)
{
    freely(actor);
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE, .flags = actor->world->flags});
    actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE, .index = 1, .flags = actor->world->flags});
    actor_thread(actor, thread_of_many_slabs);
    stepped(actor);
    for (uint32_t heap = 0; heap <= CHILDREN; heap++) {
        (void)get(actor, heap, CALL_ALLOC, 2000);
        (void)get(actor, heap, CALL_ALLOC, 900);
        call(actor, CALL_REAP, heap);
    }
    uint32_t at = 0;
    struct record *record;
    for (uint32_t i = 0; i < 8 && (record = next_held(actor, &at)) != NULL; i++)
        drop(actor, record);
    call(actor, CALL_TRIM, 0);
    actor_call(actor, (struct call){.kind = CALL_CHILD_RESET, .index = 0});
    actor_thread(actor, thread_of_many_slabs);
    actor_call(actor, (struct call){.kind = CALL_CHILD_DESTROY, .index = 0});
    call(actor, CALL_TRIM, 0);
}

/* ---------------------------------------------------------------- with another in the middle of a call */

static void resets_its_child(struct actor *actor)
{
    if (actor->slot->children[0] == CHILD_NONE)
        call(actor, CALL_CHILD_CREATE, 0);
    (void)get(actor, 1, CALL_ALLOC, 200);
    call(actor, CALL_CHILD_RESET, 0);
}

static void destroys_its_child(struct actor *actor)
{
    if (actor->slot->children[0] == CHILD_NONE)
        actor_call(actor, (struct call){.kind = CALL_CHILD_CREATE, .bytes_start = actor->world->bytes_max / 64});
    (void)get(actor, 1, CALL_ALLOC, 5000);
    call(actor, CALL_CHILD_DESTROY, 0);
}

static void has_large_blocks(struct actor *actor)
{
    struct record *record = get(actor, 0, CALL_ALLOC, actor->world->bytes_max / 20);
    change(actor, CALL_EXPAND, record, actor->world->bytes_max / 12);
    struct record *shorter = record != NULL ? actor_make(actor, 0, CALL_REALLOC, record, 9000, 0) : NULL;
    drop(actor, shorter);
    call(actor, CALL_TRIM, 0);
}

static void frees_what_it_is_given(struct actor *actor)
{
    uint32_t at = 0;
    struct record *record = next_held(actor, &at);
    if (record != NULL)
        drop(actor, record);
    else
        call(actor, CALL_RECOVER, 0);
}

/* Slabs that others free blocks of while they fill up, empty, and go. */
static void gives_its_blocks_away(struct actor *actor)
{
    stepped(actor);
    for (uint32_t i = 0; i < 16; i++) {
        for (uint32_t k = 0; k < 3; k++)
            (void)get(actor, 0, CALL_ALLOC, i % 4 < 2 ? 3000 : 15000);
        actor_give(actor, 1);
        actor_give(actor, 1);
        uint32_t at = 0;
        drop(actor, next_held(actor, &at));
        if (i % 5 == 4)
            call(actor, CALL_TRIM, 0);
    }
    call(actor, CALL_TRIM, 0);
}

static void guest(struct actor *actor)
{
    stepped(actor);
    for (uint32_t i = 0; i < 6; i++) {
        call(actor, CALL_LOOK, 0);
        actor_guest(actor, 1);
    }
    actor_leave(actor);
}

static void beside_large_blocks(struct actor *actor)
{
    stepped(actor);
    for (uint32_t i = 0; i < 4; i++) {
        has_large_blocks(actor);
        call(actor, CALL_LOOK, 0);
    }
    call(actor, CALL_RECOVER, 0);
}

/* ---------------------------------------------------------------- by appointment */

/*
 * A heap that no ledger tells of, bound to who made it: where it died there is nothing of it left to be told. Each
 * process has its own handle.
 */
static cairn_heap *part, *inner;

static void make_part(struct actor *actor, cairn_options options)
{
    freely(actor);
    options.name = "part";
    options.parent = actor->heap;
    options.flags |= CAIRN_BOUND;
    if (cairn_heap_create(&part, &options) < 0)
        part = NULL;
}

/* The visitor's; without steps. */
static bool see_part(struct actor *actor)
{
    cairn_heap_close(part);
    part = NULL;
    return cairn_heap_open_child(&part, actor->heap, "part") == 0;
}

/* The handle is closed by that, if only by one who was faster. */
static void destroy(cairn_heap **heap)
{
    int error = *heap != NULL ? cairn_heap_destroy(*heap) : 0;
    if (error == 0 || error == -ESTALE)
        *heap = NULL;
}

static void end_part(struct actor *actor)
{
    freely(actor);
    if (see_part(actor) && cairn_heap_open_child(&inner, part, "inner") == 0)
        destroy(&inner);
    destroy(&part);
}

enum { IN_USE = 8 }; /* of the places that both know */

/*
 * A block that was got beside another's reset is one of the life that is now: who stopped the heap finds it held, or
 * who asked for it begins again. One of an earlier life is a crime to free.
 */
static void use_up(struct actor *actor)
{
    void *block = actor->world->shared[IN_USE];
    actor->world->shared[IN_USE] = NULL;
    if (part == NULL || block == NULL)
        return;
    memset(block, 1, 100);
    cairn_free(part, block);
}

/* What was arranged has happened, or will not; and the visitor is in no call, so that nobody waits for it. */
static bool was_met(struct actor *actor)
{
    bool met = actor->world->appointment.when == MOMENT_NEVER;
    actor->world->appointment.when = MOMENT_NEVER;
    stepped(actor);
    if (met) {
        actor_meet(actor, (struct appointment){.when = MOMENT_NOW, .until = MOMENT_END});
        actor_step(actor, true);
        (void)cairn_last_errno();
        actor_step(actor, false);
    }
    freely(actor);
    use_up(actor);
    return met;
}

/* The call that an act consists of, in heaps without a ledger. */
static void allocs(struct actor *actor, cairn_heap *heap, size_t size, uint32_t place)
{
    stepped(actor);
    actor_step(actor, true);
    void *block = heap != NULL ? cairn_alloc(heap, size) : NULL;
    actor_step(actor, false);
    actor->world->shared[place] = block;
}

static void frees(struct actor *actor, cairn_heap *heap, uint32_t place)
{
    void *block = actor->world->shared[place];
    actor->world->shared[place] = NULL;
    stepped(actor);
    actor_step(actor, true);
    if (heap != NULL)
        cairn_free(heap, block);
    actor_step(actor, false);
}

static void allocs_small(struct actor *actor)
{
    if (see_part(actor))
        allocs(actor, part, 100, 0);
}

static void allocs_large(struct actor *actor)
{
    if (see_part(actor))
        allocs(actor, part, actor->world->bytes_max / 110, 1);
}

static void allocs_of_a_size(struct actor *actor)
{
    static const size_t sizes[] = {100, 300, 1000, 3000, 7000};
    static uint32_t turn;
    if (see_part(actor))
        allocs(actor, part, sizes[turn++ % COUNT(sizes)], 7);
}

static void opens_and_frees(struct actor *actor)
{
    if (see_part(actor))
        frees(actor, part, 0);
}

static void resets_part(struct actor *actor)
{
    if (!see_part(actor))
        return;
    stepped(actor);
    actor_step(actor, true);
    (void)cairn_heap_reset(part);
    actor_step(actor, false);
}

static void destroys_part(struct actor *actor)
{
    if (!see_part(actor))
        return;
    stepped(actor);
    actor_step(actor, true);
    destroy(&part);
    actor_step(actor, false);
}

static void makes_inner(struct actor *actor)
{
    if (!see_part(actor))
        return;
    cairn_options options = {.name = "inner", .parent = part};
    stepped(actor);
    actor_step(actor, true);
    if (cairn_heap_create(&inner, &options) < 0)
        inner = NULL;
    void *block = inner != NULL ? cairn_alloc(inner, 300) : NULL;
    actor_step(actor, false);
    (void)block;
}

static void trims(struct actor *actor)
{
    stepped(actor);
    call(actor, CALL_TRIM, 0);
}

static void recovers(struct actor *actor)
{
    stepped(actor);
    call(actor, CALL_RECOVER, 0);
}

static void takes_and_returns(struct actor *actor)
{
    size_t most = actor->world->bytes_max;
    freely(actor);
    drop(actor, get(actor, 0, CALL_ALLOC, most / 6));
    trims(actor);
}

static void has_a_large_block(struct actor *actor)
{
    stepped(actor);
    drop(actor, get(actor, 0, CALL_ALLOC, actor->world->bytes_max / 40));
}

static void leaves(struct actor *actor)
{
    cairn_heap_close(part);
    part = NULL;
    stepped(actor);
    call(actor, CALL_REOPEN, 0);
}

/* Slabs of some classes, half empty, which become orphans. */
static void leaves_slabs(struct actor *actor)
{
    static const size_t sizes[] = {100, 1000, 3000};
    struct record *records[12];
    freely(actor);
    for (size_t i = 0; i < COUNT(records); i++)
        records[i] = get(actor, 0, CALL_ALLOC, sizes[i % COUNT(sizes)]);
    for (size_t i = 0; i < COUNT(records) / 2; i++)
        drop(actor, records[i]);
    leaves(actor);
}

typedef void step_fn(struct actor *actor);

/* Makes the second call between the parts of the first: before each instruction of it with a lock prefix, in turn. */
static void race(struct actor *actor, step_fn *prepare, step_fn *mine, step_fn *theirs, enum moment until,
                 uint32_t locks_max)
{
    for (uint32_t nth = 1; nth <= locks_max; nth++) {
        freely(actor);
        prepare(actor);
        actor_meet(actor, (struct appointment){.when = MOMENT_LOCK, .nth = nth, .act = theirs, .until = until});
        mine(actor);
        if (!was_met(actor))
            return;
    }
}

/* Once, at a moment that the image tells. */
static void meet_at(struct actor *actor, step_fn *mine, enum moment when, step_fn *theirs, enum moment until)
{
    actor_meet(actor, (struct appointment){.when = when, .act = theirs, .until = until});
    mine(actor);
    (void)was_met(actor);
}

static void new_part(struct actor *actor)
{
    end_part(actor);
    make_part(actor, (cairn_options){.bytes_start = actor->world->bytes_max / 128});
}

static void bare_part(struct actor *actor)
{
    end_part(actor);
    make_part(actor, (cairn_options){0});
}

static void some_part(struct actor *actor)
{
    if (part == NULL)
        new_part(actor);
}

static void my_small(struct actor *actor)
{
    allocs(actor, part, 100, 2);
}

static void my_large(struct actor *actor)
{
    allocs(actor, part, actor->world->bytes_max / 110, 3);
}

static void my_small_in_use(struct actor *actor)
{
    allocs(actor, part, 100, IN_USE);
}

static void my_large_in_use(struct actor *actor)
{
    allocs(actor, part, actor->world->bytes_max / 110, IN_USE);
}

static void my_reset(struct actor *actor)
{
    stepped(actor);
    actor_step(actor, true);
    if (part != NULL)
        (void)cairn_heap_reset(part);
    actor_step(actor, false);
}

static void my_destroy(struct actor *actor)
{
    stepped(actor);
    actor_step(actor, true);
    destroy(&part);
    actor_step(actor, false);
}

static void my_longer(struct actor *actor)
{
    stepped(actor);
    actor_step(actor, true);
    if (part != NULL && actor->world->shared[3] != NULL)
        (void)cairn_expand(part, actor->world->shared[3], actor->world->bytes_max / 20);
    actor_step(actor, false);
}

static void my_free_of_its_small(struct actor *actor)
{
    frees(actor, part, 0);
}

static void my_free_from(struct actor *actor)
{
    void **place = actor->world->shared[4];
    stepped(actor);
    actor_step(actor, true);
    if (part != NULL && place != NULL && *place != NULL)
        (void)cairn_free_from(part, place);
    actor_step(actor, false);
}

/* It allocates, and where it stands is told by a block of the same heap. */
static void allocs_to(struct actor *actor, size_t size)
{
    actor->world->shared[4] = NULL;
    if (!see_part(actor))
        return;
    void **place = cairn_zalloc(part, sizeof *place);
    stepped(actor);
    actor_step(actor, true);
    if (place != NULL && cairn_alloc_to(part, size, place) == 0)
        actor->world->shared[4] = place;
    actor_step(actor, false);
}

static void allocs_small_to(struct actor *actor)
{
    allocs_to(actor, 100);
}

static void allocs_large_to(struct actor *actor)
{
    allocs_to(actor, actor->world->bytes_max / 40);
}

/* The visitor does something between two calls. */
static void have(struct actor *actor, step_fn *theirs)
{
    stepped(actor);
    actor_meet(actor, (struct appointment){.when = MOMENT_NOW, .act = theirs, .until = MOMENT_END});
    actor_step(actor, true);
    (void)cairn_last_errno();
    actor_step(actor, false);
    freely(actor);
}

static void its_small_in_new_part(struct actor *actor)
{
    new_part(actor);
    have(actor, allocs_small);
}

static void large_in_new_part(struct actor *actor)
{
    new_part(actor);
    if (part != NULL)
        actor->world->shared[3] = cairn_alloc(part, actor->world->bytes_max / 110);
}

static void its_small_to_in_new_part(struct actor *actor)
{
    new_part(actor);
    have(actor, allocs_small_to);
}

static void its_large_to_in_new_part(struct actor *actor)
{
    new_part(actor);
    have(actor, allocs_large_to);
}

/* Two that end, reset or fill a heap at once. */
static void at_once(struct actor *actor)
{
    enum { LOCKS = 14 };
    race(actor, new_part, my_destroy, destroys_part, MOMENT_END, LOCKS);
    race(actor, new_part, my_destroy, resets_part, MOMENT_END, LOCKS);
    race(actor, new_part, my_destroy, resets_part, MOMENT_STOPPED, LOCKS);
    race(actor, new_part, my_destroy, makes_inner, MOMENT_END, LOCKS);
    race(actor, some_part, my_reset, resets_part, MOMENT_END, LOCKS);
    race(actor, new_part, my_reset, destroys_part, MOMENT_END, LOCKS);
    race(actor, new_part, my_large, allocs_large, MOMENT_END, LOCKS);
    race(actor, some_part, my_large_in_use, resets_part, MOMENT_STOPPED, LOCKS);
    race(actor, bare_part, my_large_in_use, resets_part, MOMENT_END, LOCKS);
    end_part(actor);
}

/* What a call has in its hand, of a heap that another ends or stops. */
static void in_the_hand(struct actor *actor)
{
    its_small_in_new_part(actor);
    meet_at(actor, my_free_of_its_small, MOMENT_HAND, destroys_part, MOMENT_END);
    its_small_in_new_part(actor);
    meet_at(actor, my_free_of_its_small, MOMENT_HAND, destroys_part, MOMENT_KILLED);
    its_small_to_in_new_part(actor);
    my_free_from(actor); /* elsewhere, and nobody comes */
    its_large_to_in_new_part(actor);
    my_free_from(actor);
    its_small_to_in_new_part(actor);
    meet_at(actor, my_free_from, MOMENT_HAND, destroys_part, MOMENT_END);
    its_large_to_in_new_part(actor);
    meet_at(actor, my_free_from, MOMENT_HAND, leaves, MOMENT_END);
    large_in_new_part(actor);
    meet_at(actor, my_longer, MOMENT_HAND, destroys_part, MOMENT_END);
    large_in_new_part(actor);
    meet_at(actor, my_longer, MOMENT_HAND, resets_part, MOMENT_STOPPED);
    new_part(actor);
    meet_at(actor, my_large_in_use, MOMENT_TAKEN, resets_part, MOMENT_STOPPED);
    new_part(actor);
    meet_at(actor, my_small_in_use, MOMENT_TAKEN, resets_part, MOMENT_STOPPED);
    new_part(actor);
    meet_at(actor, my_small_in_use, MOMENT_NOW, resets_part, MOMENT_STOPPED); /* waits until it goes on */
    /* It frees, and dies of that when the heap is another: what it had in its hand is somebody else's. */
    new_part(actor);
    my_small(actor);
    actor->world->shared[0] = actor->world->shared[2];
    actor_meet(actor, (struct appointment){.when = MOMENT_NOW, .act = opens_and_frees, .until = MOMENT_HAND});
    stepped(actor);
    actor_step(actor, true);
    (void)cairn_last_errno();
    actor_step(actor, false);
    actor_meet(actor, (struct appointment){.when = MOMENT_STOPPED, .until = MOMENT_NOW, .dies = true});
    my_reset(actor);
    stepped(actor);
    call(actor, CALL_RECOVER, 0);
    (void)was_met(actor);
    end_part(actor);
}

/* One dies in the middle, and another recovers what it left, beside this one. */
static void die_at(struct actor *actor, step_fn *theirs, enum moment until, step_fn *mine, enum moment when)
{
    actor_meet(actor,
               (struct appointment){.when = when, .act = theirs, .until = until, .dies = true, .successor = recovers});
    mine(actor);
    (void)was_met(actor);
}

static void my_recovery(struct actor *actor)
{
    stepped(actor);
    call(actor, CALL_RECOVER, 0);
}

static void *thread_of_orphans(void *arg)
{
    struct actor *actor = arg;
    if (part == NULL)
        return NULL;
    actor->world->shared[5] = cairn_alloc(part, 100);
    actor->world->shared[6] = cairn_alloc(part, 1000);
    return NULL;
}

/* In it two slabs are nobody's. */
static void part_of_orphans(struct actor *actor)
{
    new_part(actor);
    actor_thread(actor, thread_of_orphans);
}

/* And one of them is empty. */
static void part_of_an_empty_orphan(struct actor *actor)
{
    part_of_orphans(actor);
    if (part != NULL)
        cairn_free(part, actor->world->shared[5]);
}

static void allocs_and_leaves(struct actor *actor)
{
    allocs_small(actor);
    leaves(actor);
}

static void my_trim(struct actor *actor)
{
    stepped(actor);
    actor_step(actor, true);
    if (part != NULL)
        (void)cairn_trim(part);
    actor_step(actor, false);
}

static void my_other(struct actor *actor)
{
    allocs(actor, part, 3000, 2);
}

/* It stands where its slab is counted as an orphan, and is none yet. */
static void part_of_an_orphan_to_be(struct actor *actor)
{
    bare_part(actor);
    stepped(actor);
    actor_meet(actor, (struct appointment){.when = MOMENT_NOW, .act = allocs_and_leaves, .until = MOMENT_ORPHANING});
    actor_step(actor, true);
    (void)cairn_last_errno();
    actor_step(actor, false);
    freely(actor);
}

static void orphans_at_once(struct actor *actor)
{
    enum { LOCKS = 10 };
    race(actor, part_of_orphans, my_small, allocs_small, MOMENT_END, LOCKS);
    race(actor, part_of_orphans, my_small_in_use, resets_part, MOMENT_END, LOCKS);
    race(actor, part_of_an_empty_orphan, my_other, allocs_and_leaves, MOMENT_END, LOCKS);
    race(actor, part_of_an_orphan_to_be, my_trim, NULL, MOMENT_END, LOCKS);
    part_of_orphans(actor);
    meet_at(actor, my_small_in_use, MOMENT_ADOPTED, resets_part, MOMENT_STOPPED);
    part_of_an_empty_orphan(actor);
    meet_at(actor, my_other, MOMENT_ADOPTED, resets_part, MOMENT_STOPPED);
    part_of_an_orphan_to_be(actor);
    my_trim(actor);
    (void)was_met(actor);
    have(actor, NULL);
    /* Killed between the slab and its first block: an orphan in which none is ready. */
    bare_part(actor);
    die_at(actor, allocs_small, MOMENT_BORN, my_trim, MOMENT_NOW);
    my_trim(actor);
    /* Of a heap that another has ended. */
    bare_part(actor);
    my_small(actor);
    my_large(actor);
    have(actor, destroys_part);
    leaves(actor);
    end_part(actor);
}

/* More than is set aside: the units behind, which another takes. */
static void my_wide(struct actor *actor)
{
    allocs(actor, part, actor->world->bytes_max / 512 * 7, 3);
}

static void kept_part(struct actor *actor)
{
    end_part(actor);
    make_part(actor, (cairn_options){.bytes_start = actor->world->bytes_max / 512 * 4});
}

static void makes_inner_and_resets(struct actor *actor)
{
    if (!see_part(actor))
        return;
    cairn_options options = {.name = "inner", .parent = part};
    cairn_heap_close(inner);
    inner = NULL;
    if (cairn_heap_create(&inner, &options) < 0)
        return;
    stepped(actor);
    actor_step(actor, true);
    (void)cairn_heap_reset(inner);
    actor_step(actor, false);
}

static void my_trim_of_all(struct actor *actor)
{
    stepped(actor);
    call(actor, CALL_TRIM, 0);
}

static void bare_part_and_free_memory(struct actor *actor)
{
    bare_part(actor);
    drop(actor, get(actor, 0, CALL_ALLOC, actor->world->bytes_max / 10));
}

static void more_at_once(struct actor *actor)
{
    enum { LOCKS = 24 };
    race(actor, kept_part, my_wide, has_a_large_block, MOMENT_TAKEN, LOCKS);
    race(actor, bare_part, my_large, allocs_large, MOMENT_END, LOCKS);
    race(actor, large_in_new_part, my_longer, allocs_large, MOMENT_END, LOCKS);
    race(actor, new_part, my_destroy, makes_inner_and_resets, MOMENT_STOPPED, LOCKS);
    race(actor, bare_part_and_free_memory, my_trim_of_all, allocs_of_a_size, MOMENT_END, LOCKS);
    for (uint32_t i = 0; i < 5; i++) {
        bare_part_and_free_memory(actor);
        meet_at(actor, my_trim_of_all, MOMENT_RETURNING, allocs_of_a_size, MOMENT_END);
    }
    end_part(actor);
}

/* A slab of this process's, full, and blocks of it that another frees: told, not told yet, and in its hand. */
static void full_slab(struct actor *actor, size_t size, uint32_t count, uint32_t which)
{
    bare_part(actor);
    for (uint32_t i = 0; part != NULL && i < count; i++) {
        void *block = cairn_alloc(part, size);
        if (i == which)
            actor->world->shared[0] = block;
        if (i == which + 1)
            actor->world->shared[5] = block;
    }
}

/* By a handle that it has used already: what is stepped is the free alone. */
static void frees_at_once(struct actor *actor)
{
    if (!see_part(actor) || cairn_alloc(part, 300) == NULL)
        return;
    frees(actor, part, 0);
}

static void frees_the_other(struct actor *actor)
{
    if (see_part(actor))
        frees(actor, part, 5);
}

static void news(struct actor *actor)
{
    enum { TINY = 16, TINIES = 300 };
    full_slab(actor, TINY, TINIES, 100);
    have(actor, opens_and_frees);
    for (uint32_t i = 0; i < 3; i++) {
        stepped(actor);
        actor_step(actor, true);
        for (uint32_t k = 0; part != NULL && k < 90; k++)
            (void)!cairn_alloc(part, TINY);
        actor_step(actor, false);
    }
    full_slab(actor, 7000, 5, 1);
    actor_meet(actor, (struct appointment){.when = MOMENT_NOW, .act = frees_at_once, .until = MOMENT_FREED});
    for (uint32_t i = 0; i < 5; i++)
        allocs(actor, part, 7000, 2);
    (void)was_met(actor);
    have(actor, NULL);
    full_slab(actor, TINY, TINIES, 100);
    actor_meet(actor, (struct appointment){.when = MOMENT_NOW, .act = frees_at_once, .until = MOMENT_FREED});
    stepped(actor);
    actor_step(actor, true);
    for (uint32_t k = 0; part != NULL && k < 90; k++)
        (void)!cairn_alloc(part, TINY);
    actor_step(actor, false);
    (void)was_met(actor);
    have(actor, NULL);
    full_slab(actor, 1000, 5, 1);
    have(actor, frees_the_other);
    actor_meet(actor, (struct appointment){.when = MOMENT_NOW, .act = opens_and_frees, .until = MOMENT_HAND});
    my_trim(actor);
    (void)was_met(actor);
    have(actor, NULL);
    /* A hand that is set when the unit is another slab's already. */
    for (uint32_t nth = 60; nth < 400; nth += 16) {
        bare_part(actor);
        my_small(actor);
        actor->world->shared[0] = actor->world->shared[2];
        actor_meet(actor, (struct appointment){
                              .when = MOMENT_NOW, .act = frees_at_once, .until = MOMENT_STEP, .until_nth = nth});
        stepped(actor);
        actor_step(actor, true);
        (void)cairn_last_errno();
        actor_step(actor, false);
        freely(actor);
        destroy(&part);
        make_part(actor, (cairn_options){0});
        void *block = part != NULL ? cairn_alloc(part, 100) : NULL;
        if (block != NULL)
            cairn_free(part, block);
        actor_meet(actor, (struct appointment){.when = MOMENT_NOW, .until = MOMENT_HAND, .dies = nth / 16 % 4 == 0});
        my_trim(actor);
        (void)was_met(actor);
        my_recovery(actor);
        have(actor, NULL);
    }
    end_part(actor);
}

static void gives_all_back(struct actor *actor)
{
    frees(actor, part, 0);
    stepped(actor);
    actor_step(actor, true);
    if (part != NULL)
        (void)cairn_trim(part);
    actor_step(actor, false);
}

static void goes_and_comes(struct actor *actor)
{
    gives_all_back(actor);
    allocs(actor, part, 1000, 0);
}

/* Another's slab goes, and another begins in its place, while it is looked at. */
static void looks(struct actor *actor)
{
    enum { FIRST = 60, LAST = 700, BY = 11 };
    uint32_t turn = 0;
    bare_part(actor);
    for (uint32_t nth = FIRST + (uint32_t)random_below(&actor->slot->random, BY); nth < LAST; nth += BY, turn++) {
        have(actor, allocs_small);
        actor_meet(actor, (struct appointment){.when = MOMENT_STEP,
                                               .nth = nth,
                                               .act = turn % 3 == 0 ? gives_all_back : goes_and_comes,
                                               .until = turn % 3 == 1 ? MOMENT_HALF : MOMENT_END});
        stepped(actor);
        actor_step(actor, true);
        (void)cairn_check(actor->heap, NULL, NULL);
        actor_step(actor, false);
        if (!was_met(actor))
            break;
        have(actor, gives_all_back);
    }
    end_part(actor);
}

static void frees_from(struct actor *actor)
{
    my_free_from(actor);
}

static void dead_in_the_middle(struct actor *actor)
{
    freely(actor);
    new_part(actor);
    die_at(actor, takes_and_returns, MOMENT_RETURNING, my_recovery, MOMENT_NOW);
    die_at(actor, takes_and_returns, MOMENT_RETURNING, has_a_large_block, MOMENT_WIDENING);
    die_at(actor, has_a_large_block, MOMENT_CHARGE, has_a_large_block, MOMENT_CHARGE); /* who cannot count */
    my_recovery(actor);                                                                /* now it can */
    die_at(actor, allocs_large, MOMENT_CHARGE, my_large, MOMENT_CHARGE);
    my_recovery(actor);
    die_at(actor, makes_inner, MOMENT_CHARGE, my_recovery, MOMENT_NOW);
    new_part(actor);
    have(actor, allocs_large_to);
    die_at(actor, frees_from, MOMENT_FREEING, my_recovery, MOMENT_NOW);
    end_part(actor);
    /* Gives memory back that this one has named, to commit it. */
    freely(actor);
    (void)get(actor, 0, CALL_ALLOC, actor->world->bytes_max / 3);
    for (uint32_t i = 0; i < 3; i++)
        die_at(actor, takes_and_returns, MOMENT_RETURNING, has_a_large_block, MOMENT_WIDENING);
    /* A count of orphans that is too high: nobody finds so many. */
    actor_meet(actor,
               (struct appointment){.when = MOMENT_NOW, .act = leaves_slabs, .until = MOMENT_ORPHANING, .dies = true});
    my_recovery(actor);
    (void)was_met(actor);
    stepped(actor);
    ask_for_all(actor, 0);
    freely(actor);
    fill_up(actor, 0);
    stepped(actor);
    ask_for_all(actor, 0);
}

#define MIB (UINT64_C(1) << 20)

const struct tour tours[] = {
    /* In turn with those that were made for two at work: a quick run comes to the first of them. */
    {"large blocks", 4 * MIB, 0, NULL, large_blocks, NULL},
    {"in the hand", MIB, 0, NULL, in_the_hand, actor_serve},
    {"frees of a neighbour's blocks", 32 * MIB, 0, peer_of_some_sizes, frees_of_a_neighbours_blocks, NULL},
    {"orphans at once", MIB, 0, NULL, orphans_at_once, actor_serve},
    {"slabs empty", 32 * MIB, 0, NULL, slabs_empty, NULL},
    {"few heaps", MIB / 4, 0, NULL, few_heaps, NULL},
    {"a parent's limit", 4 * MIB, 0, NULL, limit_of_a_parent, NULL},
    {"refused memory of its own", 4 * MIB, 0, NULL, refused_own_memory, NULL},
    {"memory settles", 32 * MIB, 0, NULL, memory_settles, NULL},
    {"dead in the middle", 4 * MIB, 0, NULL, dead_in_the_middle, actor_serve},
    {"a full heap", MIB / 4, 0, NULL, full_heap, NULL},
    {"many small blocks", MIB, 0, NULL, many_small, NULL},
    {"threads", 4 * MIB, 0, NULL, threads, NULL},
    {"news", MIB, 0, NULL, news, actor_serve},
    {"a limit, and a part set aside", 4 * MIB, 0, NULL, limit_and_start, NULL},
    {"a crowd", MIB / 4, 0, NULL, crowded, NULL},
    {"many heaps", 4 * MIB, 0, NULL, many_heaps, NULL},
    {"more at once", MIB, 0, NULL, more_at_once, actor_serve},
    {"a full file system", 4 * MIB, 0, NULL, full_file_system, NULL},
    {"many slabs", 32 * MIB, 0, NULL, many_slabs, NULL},
    {"a full file system, with exact sizes", 4 * MIB, CAIRN_EXACT_SIZES, NULL, full_file_system, NULL},
    {"looks", MIB, 0, NULL, looks, actor_serve},
    {"slabs empty, with exact sizes", 4 * MIB, CAIRN_EXACT_SIZES, NULL, slabs_empty, NULL},
    {"wide blocks", 32 * MIB, 0, NULL, wide_blocks, NULL},
    {"a parent's limit, with exact sizes", 4 * MIB, CAIRN_EXACT_SIZES, NULL, limit_of_a_parent, NULL},
    {"alignments", 32 * MIB, 0, NULL, alignments, NULL},
    {"a full heap, with exact sizes", MIB / 4, CAIRN_EXACT_SIZES, NULL, full_heap, NULL},
    {"in the hand, in a roomy heap", 32 * MIB, 0, NULL, in_the_hand, actor_serve},
    {"threads, with exact sizes", 4 * MIB, CAIRN_EXACT_SIZES, NULL, threads, NULL},
    {"refused memory", 32 * MIB, 0, NULL, refused_memory, NULL},
    {"frees of a neighbour's blocks, with exact sizes", 32 * MIB, CAIRN_EXACT_SIZES, peer_of_some_sizes,
     frees_of_a_neighbours_blocks, NULL},
    {"two at once", MIB, 0, NULL, at_once, actor_serve},
    {"a heap that another resets", MIB, 0, NULL, guest, resets_its_child},
    {"alignments, with exact sizes", 32 * MIB, CAIRN_EXACT_SIZES, NULL, alignments, NULL},
    {"a heap that another destroys", MIB, 0, NULL, guest, destroys_its_child},
    {"refused words", 128 * MIB, 0, NULL, refused_words, NULL},
    {"blocks that another frees", MIB, 0, NULL, gives_its_blocks_away, frees_what_it_is_given},
    {"alignments, in small units", MIB, 0, NULL, alignments, NULL},
    {"blocks that another frees, in a roomy heap", 32 * MIB, 0, NULL, gives_its_blocks_away, frees_what_it_is_given},
    {"alignments, in small units, with exact sizes", MIB, CAIRN_EXACT_SIZES, NULL, alignments, NULL},
    {"beside another's large blocks", MIB, 0, NULL, beside_large_blocks, has_large_blocks},
};
const size_t tours_count = COUNT(tours);
