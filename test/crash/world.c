/* SPDX-License-Identifier: MIT */
/*
 * The ledger and the calls. A slot announces a call, makes it, fills what it got, enters it in a record, and strikes
 * the call out: killed anywhere, it leaves enough to tell what the heap may hold.
 */
#include "crash.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "section/layout.h"

/* ---------------------------------------------------------------- contents */

/* Blocks are filled to the last byte that was asked for; no two words of one block are equal. */
static uint64_t word_of(uint64_t sign, size_t offset)
{
    return (sign + offset) * UINT64_C(0x9e3779b97f4a7c15);
}

static void fill(unsigned char *block, size_t size, uint64_t sign)
{
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = word_of(sign, i);
        memcpy(block + i, &word, size - i < 8 ? size - i : 8);
    }
}

static bool holds(const unsigned char *block, size_t size, uint64_t sign)
{
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = word_of(sign, i);
        if (memcmp(block + i, &word, size - i < 8 ? size - i : 8) != 0)
            return false;
    }
    return true;
}

static void require_zero(const unsigned char *block, size_t size, const char *call)
{
    for (size_t i = 0; i < size; i++)
        if (block[i] != 0)
            fail("%s: byte %zu of %zu is not zero", call, i, size);
}

static void require_holds(const struct record *record)
{
    if (!holds(record->address, record->size, record->sign))
        fail("the block %p of %zu bytes was overwritten", (void *)record->address, record->size);
}

/* ---------------------------------------------------------------- beginning and ending */

struct world *world_new(void)
{
    return shared_memory(sizeof(struct world));
}

void world_delete(struct world *world)
{
    munmap(world, sizeof *world);
}

static cairn_options options_of(const struct world *world)
{
    return (cairn_options){
        .name = world->name, .bytes_max = world->bytes_max, .bytes_start = world->bytes_start, .flags = world->flags};
}

static void create_heap(void *arg)
{
    const struct world *world = arg;
    cairn_heap *heap;
    cairn_options options = options_of(world);
    if (cairn_heap_create(&heap, &options) < 0)
        fail("create: %s", cairn_last_error());
    cairn_heap_close(heap);
}

void world_name(struct world *world, const char *name, uint64_t bytes_max)
{
    snprintf(world->name, sizeof world->name, "%s", name);
    world->bytes_max = bytes_max;
    world->size_max = bytes_max / 64;
}

void world_begin(struct world *world, const char *name, uint64_t bytes_max)
{
    world_name(world, name, bytes_max);
    require_end(process_end(process_start(create_heap, world), 10), "the creator");
}

static const char *name_of(const char *what, uint32_t number, uint32_t index)
{
    static _Thread_local char name[32];
    snprintf(name, sizeof name, "%s-%u-%u", what, number, index);
    return name;
}

static int open_child(cairn_heap **ret_child, const struct world *world, uint32_t number, uint32_t i, cairn_heap *heap)
{
    cairn_heap *parent = heap;
    bool nested = i == 1 && world->slots[number].nested;
    if (nested && cairn_heap_open_child(&parent, heap, name_of("child", number, 0)) < 0)
        return cairn_last_errno();
    int error = cairn_heap_open_child(ret_child, parent, name_of("child", number, i));
    if (nested)
        cairn_heap_close(parent);
    return error;
}

static void open_children(struct actor *actor)
{
    for (uint32_t i = 0; i < CHILDREN; i++) {
        if (actor->slot->children[i] != CHILD_NONE &&
            open_child(&actor->children[i], actor->world, actor->number, i, actor->heap) < 0)
            fail("child %u of slot %u: %s", i, actor->number, cairn_last_error());
    }
}

static struct actor *me;

/* The library has named a crime: tell in which call. */
static void on_abort(int number)
{
    const struct call *call = &me->slot->call;
    const struct record *old = &me->world->records[call->old];
    signal(number, SIG_DFL);
    fail("slot %u: misuse in %s of heap %u, block %p of %zu bytes (record %u, holder %u, heap %u)", me->number,
         call_name(call->kind), call->heap, (void *)old->address, old->size, call->old, old->holder, old->heap);
}

static void begin(struct actor *actor, struct world *world, uint32_t number, cairn_heap *heap)
{
    *actor = (struct actor){.world = world, .number = number, .slot = &world->slots[number], .heap = heap};
    me = actor;
    signal(SIGABRT, on_abort);
    if (actor->slot->anchor == NULL) {
        struct anchor *anchor = cairn_zalloc(actor->heap, sizeof *anchor);
        if (anchor == NULL || cairn_root_set(actor->heap, name_of("anchor", number, 0), anchor) < 0)
            fail("anchor: %s", cairn_last_error());
        actor->slot->anchor = anchor;
    }
    open_children(actor);
}

void actor_begin(struct actor *actor, struct world *world, uint32_t number)
{
    cairn_heap *heap;
    if (cairn_heap_open(&heap, world->name, NULL) < 0)
        fail("open: %s", cairn_last_error());
    begin(actor, world, number, heap);
}

void actor_inherit(struct actor *actor, const struct actor *parent, uint32_t number)
{
    for (uint32_t i = 0; i < CHILDREN; i++)
        cairn_heap_close(parent->children[i]); /* this process's copies: with them its close would not be the last */
    begin(actor, parent->world, number, parent->heap);
}

static void drop_child(struct world *world, uint32_t number, uint32_t child);

/* What was bound to a process is gone when it has closed the heap, and so is what was in that. */
static void forget_bound(struct actor *actor)
{
    struct slot *slot = actor->slot;
    bool whole = slot->nested && slot->children[0] == CHILD_BOUND;
    for (uint32_t i = 0; i < CHILDREN; i++) {
        if (slot->children[i] != CHILD_BOUND && !(i == 1 && whole))
            continue;
        drop_child(actor->world, actor->number, i);
        slot->children[i] = CHILD_NONE;
    }
}

void actor_end(struct actor *actor)
{
    if (actor->slot->locked && cairn_unlock(actor->heap, &actor->slot->anchor->mutex) < 0)
        fail("unlock: %s", cairn_last_error());
    actor->slot->locked = false;
    for (uint32_t i = 0; i < CHILDREN; i++)
        cairn_heap_close(actor->children[i]);
    cairn_heap_close(actor->heap);
    forget_bound(actor);
}

/* ---------------------------------------------------------------- choosing */

uint64_t calls_without;

const char *call_name(uint32_t kind)
{
    static const char *const names[] = {
        [CALL_NONE] = "no call",
        [CALL_ALLOC] = "alloc",
        [CALL_ZALLOC] = "zalloc",
        [CALL_ALIGNED] = "aligned_alloc",
        [CALL_REALLOC] = "realloc",
        [CALL_EXPAND] = "expand",
        [CALL_FREE] = "free",
        [CALL_ALLOC_TO] = "alloc_to",
        [CALL_FREE_FROM] = "free_from",
        [CALL_ROOT_SET] = "root_set",
        [CALL_CHILD_CREATE] = "create of a child",
        [CALL_CHILD_RESET] = "reset of a child",
        [CALL_CHILD_DESTROY] = "destroy of a child",
        [CALL_CHILD_REOPEN] = "close and open of a child",
        [CALL_TRIM] = "trim",
        [CALL_RECOVER] = "recover",
        [CALL_LOCK] = "lock",
        [CALL_TRYLOCK] = "trylock",
        [CALL_UNLOCK] = "unlock",
        [CALL_REOPEN] = "close and open",
        [CALL_THREAD] = "the end of a thread",
        [CALL_LOOK] = "check, walk and stats_get",
        [CALL_REAP] = "reap",
        [CALL_ERRAND] = "the calls of another thread",
        [CALL_OPEN] = "open",
        [CALL_CREATE] = "create",
        [CALL_DESTROY] = "destroy",
    };
    return kind < COUNT(names) ? names[kind] : "?";
}

static struct record *record_free(struct actor *actor)
{
    struct record *range = &actor->world->records[actor->number * BLOCKS_PER_SLOT];
    for (uint32_t i = 0; i < BLOCKS_PER_SLOT; i++) {
        if (atomic_load(&range[i].holder) == 0)
            return &range[i];
    }
    return NULL;
}

static struct record *record_held(struct actor *actor)
{
    uint32_t count = COUNT(actor->world->records);
    uint32_t at = (uint32_t)random_below(&actor->slot->random, count);
    for (uint32_t i = 0; i < count; i++) {
        struct record *record = &actor->world->records[(at + i) % count];
        if (atomic_load(&record->holder) == actor->number + 1)
            return record;
    }
    return NULL;
}

/* Half of the resizes are of a block that is rather large. */
static struct record *record_to_resize(struct actor *actor, struct record *held)
{
    struct record *largest = held;
    for (uint64_t more = random_below(&actor->slot->random, 2) * 16; more > 0; more--) {
        struct record *other = record_held(actor);
        if (other->size > largest->size)
            largest = other;
    }
    return largest;
}

static size_t choose_size(struct actor *actor)
{
    /* Mostly a few classes, so that slabs fill up, empty, and change hands. */
    static const size_t usual[] = {16, 48, 48, 200, 200, 1000, 5000};
    struct random *random = &actor->slot->random;
    uint64_t choice = random_below(random, 100);
    if (choice < 65 && !actor->world->is_wide)
        return usual[random_below(random, COUNT(usual))];
    if (choice < 85)
        return random_size(random, actor->world->is_wide ? actor->world->bytes_max / 16 : actor->world->size_max);
    if (actor->world->has_peers) /* of many, and all are filled: few that are spans by themselves */
        return random_size(random, choice < 97 ? actor->world->size_max : 150000);
    return random_size(random, choice < 99 ? actor->world->bytes_max / 16 : actor->world->bytes_max / 3);
}

static void choose_child(struct actor *actor, struct call *call)
{
    struct random *random = &actor->slot->random;
    uint64_t bytes_max = actor->world->bytes_max;
    call->flags =
        (random_below(random, 3) == 0 ? CAIRN_BOUND : 0) | (random_below(random, 3) == 0 ? CAIRN_EXACT_SIZES : 0);
    if (actor->world->is_visited) /* who would wait until it is gone waits for one who stands still */
        call->flags &= ~(uint64_t)CAIRN_BOUND;
    call->nested = call->index == 1 && actor->slot->children[0] != CHILD_NONE && random_below(random, 2) == 0;
    if (random_below(random, 3) == 0) /* some that are soon refused */
        call->bytes_max = bytes_max / 64 + random_below(random, bytes_max / 16);
    if (random_below(random, 3) == 0)
        call->bytes_start = random_below(random, call->bytes_max != 0 ? call->bytes_max : bytes_max / 16);
}

static bool choose(struct actor *actor, struct call *call)
{
    static const uint8_t weights[CALL_KINDS] = {
        [CALL_ALLOC] = 26,       [CALL_ZALLOC] = 4,       [CALL_ALIGNED] = 4,     [CALL_REALLOC] = 8,
        [CALL_EXPAND] = 3,       [CALL_FREE] = 22,        [CALL_ALLOC_TO] = 8,    [CALL_FREE_FROM] = 7,
        [CALL_ROOT_SET] = 3,     [CALL_CHILD_CREATE] = 3, [CALL_CHILD_RESET] = 2, [CALL_CHILD_DESTROY] = 2,
        [CALL_CHILD_REOPEN] = 1, [CALL_TRIM] = 2,         [CALL_RECOVER] = 1,     [CALL_LOCK] = 1,
        [CALL_TRYLOCK] = 1,      [CALL_UNLOCK] = 3,       [CALL_REOPEN] = 1,      [CALL_THREAD] = 1,
        [CALL_LOOK] = 1,         [CALL_REAP] = 1,         [CALL_ERRAND] = 2,
    };
    const struct slot *slot = actor->slot;
    struct random *random = &actor->slot->random;
    uint64_t at = random_below(random, 107);
    uint32_t kind = 0;
    while (at >= weights[kind])
        at -= weights[kind++];
    if (actor->evenly)
        kind = 1 + (uint32_t)random_below(random, CALL_KINDS - 1);
    struct record *free_record = record_free(actor), *held = record_held(actor);
    if (free_record == NULL && kind <= CALL_REALLOC)
        kind = CALL_FREE;
    if (held == NULL && (kind == CALL_FREE || kind == CALL_REALLOC || kind == CALL_EXPAND))
        kind = CALL_ALLOC;
    if (free_record == NULL && kind <= CALL_REALLOC)
        return false; /* all of its records were given to others, and it was given none: no place for a block */
    if ((calls_without >> kind & 1) != 0)
        return false;
    *call = (struct call){.kind = kind, .size = choose_size(actor)};
    call->record = free_record != NULL ? (uint32_t)(free_record - actor->world->records) : 0;
    call->old = held != NULL ? (uint32_t)(held - actor->world->records) : 0;
    if (kind == CALL_REALLOC || kind == CALL_EXPAND) {
        held = record_to_resize(actor, held);
        call->old = (uint32_t)(held - actor->world->records);
        if (random_below(random, 2) == 0)
            call->size = held->size / 4 + 1 + (size_t)random_below(random, 2 * held->size + 1); /* near what it has */
        else if (random_below(random, 3) == 0)
            call->size =
                held->size / 4 + (size_t)random_below(random, held->size / 4 + 1); /* so short that it shrinks */
    }
    if (kind == CALL_REALLOC || kind == CALL_EXPAND || kind == CALL_FREE)
        call->heap = held->heap;
    else if ((kind <= CALL_ALIGNED || kind == CALL_TRIM || kind == CALL_LOOK || kind == CALL_REAP) &&
             random_below(random, 4) == 0) {
        call->heap = 1 + (uint32_t)random_below(random, CHILDREN);
        if (slot->children[call->heap - 1] == CHILD_NONE)
            call->heap = 0;
    }
    call->alignment = (size_t)16 << random_below(random, random_below(random, 8) == 0 ? 17 : 9);
    switch (kind) {
    case CALL_ALLOC_TO:
    case CALL_FREE_FROM:
        call->index = (uint32_t)random_below(random, LINKS);
        call->size = random_size(random, actor->world->size_max);
        return (slot->links[call->index].block == NULL) == (kind == CALL_ALLOC_TO);
    case CALL_ROOT_SET:
        call->index = (uint32_t)random_below(random, ROOTS);
        call->value = held == NULL || held->heap != 0 || random_below(random, 2) == 0 ? NULL : held->address;
        return true;
    case CALL_CHILD_CREATE:
    case CALL_CHILD_RESET:
    case CALL_CHILD_DESTROY:
    case CALL_CHILD_REOPEN:
        call->index = (uint32_t)random_below(random, CHILDREN);
        if (kind == CALL_CHILD_CREATE)
            choose_child(actor, call);
        return (slot->children[call->index] == CHILD_NONE) == (kind == CALL_CHILD_CREATE);
    case CALL_LOCK:
    case CALL_TRYLOCK:
        return !slot->locked;
    case CALL_UNLOCK:
        return slot->locked;
    case CALL_REOPEN:
        return !slot->locked;
    case CALL_ERRAND: /* a thread that gets no record frees nothing */
        return !actor->world->is_limited;
    case CALL_REAP: /* others have blocks that no ledger tells of yet */
        return !actor->world->has_peers && !actor->world->is_visited;
    default:
        return true;
    }
}

void actor_turn(struct actor *actor)
{
    struct call call;
    while (!choose(actor, &call))
        ;
    actor_call(actor, call);
}

/* ---------------------------------------------------------------- calling */

static const struct section_image *image_of(cairn_heap *heap);

static void ask_for_steps(struct actor *actor, bool on)
{
#if defined(__x86_64__)
    if (actor->mode == TRACED) {
        atomic_store(&actor->world->stepping, on);
        __asm__ volatile("int3" ::: "memory");
    } else if (actor->mode == TRAPPED && on) {
        const struct section_image *image = image_of(actor->heap);
        trap_begin((void *)(uintptr_t)image, image->units_offset, actor->slot->anchor); /* NOLINT */
    } else if (actor->mode == TRAPPED) {
        trap_end();
    }
#endif
}

void actor_step(struct actor *actor, bool on)
{
    ask_for_steps(actor, on);
}

void actor_meet(struct actor *actor, struct appointment appointment)
{
    struct world *world = actor->world;
    if (appointment.act != NULL) {
        world->ordered = appointment.act;
        world->orders++;
    }
    world->appointment = appointment;
    world->appointments++;
}

void actor_serve(struct actor *actor)
{
    struct world *world = actor->world;
    uint32_t seen = world->done;
    while (true) {
        actor->mode = TRACED;
        ask_for_steps(actor, true); /* stands here until it is asked */
        ask_for_steps(actor, false);
        if (world->orders == seen)
            continue;
        seen = world->orders;
        world->ordered(actor);
        world->done = seen;
    }
}

/* Tables that are full are no error; one that is said to be and is not would be. */
static void require_full(cairn_heap *heap);

static void enter(struct actor *actor, const struct call *call, void *block)
{
    if (block == NULL) {
        if (cairn_last_errno() != -ENOMEM)
            fail("call %u of %zu bytes: %s", call->kind, call->size, cairn_last_error());
        return;
    }
    bool exact = call->heap == 0 ? (actor->world->flags & CAIRN_EXACT_SIZES) != 0 : actor->slot->exact[call->heap - 1];
    size_t granted = cairn_size(call->heap == 0 ? actor->heap : actor->children[call->heap - 1], block);
    if (exact ? granted != call->size : granted < call->size)
        fail("%s: the size of a block of %zu bytes is %zu", call_name(call->kind), call->size, granted);
    struct record *record = &actor->world->records[call->record];
    record->address = block;
    record->size = call->size;
    record->heap = call->heap;
    record->sign = random_next(&actor->slot->random);
    fill(block, call->size, record->sign);
    atomic_store(&record->holder, actor->number + 1);
}

static void drop_child(struct world *world, uint32_t number, uint32_t child)
{
    for (uint32_t i = 0; i < COUNT(world->records); i++) {
        struct record *record = &world->records[i];
        if (atomic_load(&record->holder) == number + 1 && record->heap == child + 1)
            atomic_store(&record->holder, 0);
    }
}

/* The thread's end is what is stepped. */
static void *thread_run(void *arg)
{
    struct actor *actor = arg;
    void *blocks[4];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = cairn_alloc(actor->heap, 48 << i);
        if (blocks[i] != NULL)
            fill(blocks[i], 48u << i, i);
    }
    for (size_t i = 0; i < COUNT(blocks); i++) {
        if (blocks[i] != NULL && !holds(blocks[i], 48u << i, i))
            fail("a thread's block was overwritten");
        cairn_free(actor->heap, blocks[i]);
    }
    ask_for_steps(actor, true);
    return NULL;
}

static void *errand_run(void *arg)
{
    struct actor *actor = arg;
    int mode = (int)actor->mode;
    actor->mode = FREE_RUNNING;
    for (uint64_t turns = 1 + random_below(&actor->slot->random, 24); turns > 0; turns--) {
        struct call call;
        struct record *held;
        if (choose(actor, &call) && (call.kind == CALL_FREE || (call.kind == CALL_ALLOC && turns % 4 == 0)))
            actor_call(actor, call);
        else if ((held = record_held(actor)) != NULL)
            actor_call(
                actor,
                (struct call){.kind = CALL_FREE, .heap = held->heap, .old = (uint32_t)(held - actor->world->records)});
    }
    actor->mode = mode;
    return NULL;
}

/* What reap is to keep: all that some ledger tells of. */
static bool is_known(void *block, size_t bytes, void *arg)
{
    const struct world *world = arg;
    (void)bytes;
    for (uint32_t i = 0; i < COUNT(world->records); i++) {
        if (atomic_load(&world->records[i].holder) != 0 && world->records[i].address == block)
            return true;
    }
    for (uint32_t s = 0; s < SLOTS; s++) {
        const struct slot *slot = &world->slots[s];
        if (slot->anchor == block)
            return true;
        for (uint32_t i = 0; slot->anchor != NULL && i < LINKS; i++)
            if (slot->anchor->links[i] == block)
                return true;
    }
    return false;
}

static void run_thread(struct actor *actor, void *(*run)(void *arg))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, actor) != 0)
        fail("no thread");
    pthread_join(thread, NULL);
    atomic_store(&actor->world->stepping, 0);
}

void actor_thread(struct actor *actor, void *(*run)(void *actor))
{
    run_thread(actor, run);
}

static int pass_span(const cairn_span *span, void *arg)
{
    (void)span, (void)arg;
    return 0;
}

static int pass_block(void *block, size_t bytes, void *arg)
{
    (void)block, (void)bytes, (void)arg;
    return 0;
}

static int stop_at_block(void *block, size_t bytes, void *arg)
{
    (void)block, (void)bytes, (void)arg;
    return 1;
}

static void look(cairn_heap *heap, bool has_peers)
{
    cairn_stats stats = {.size = sizeof stats};
    if (cairn_check(heap, NULL, NULL) != 0 && !has_peers)
        fail("check finds something");
    if (cairn_walk(heap, pass_span, pass_block, NULL) != 0 || cairn_stats_get(heap, &stats) < 0)
        fail("walk or stats_get: %s", cairn_last_error());
    if (cairn_walk(heap, NULL, stop_at_block, NULL) < 0)
        fail("walk: %s", cairn_last_error());
}

static void require(int result, const char *call)
{
    if (result < 0)
        fail("%s: %s", call, cairn_last_error());
}

/* Another may be recovering what this process left when it closed the heap: a call of recover does not wait for that.
 */
static void await_bound(struct actor *actor)
{
    uint64_t began = now();
    require(cairn_recover(actor->heap), "recover");
    for (uint32_t i = 0; i < CHILDREN; i++) {
        cairn_heap *child;
        while (actor->slot->children[i] == CHILD_BOUND &&
               open_child(&child, actor->world, actor->number, i, actor->heap) == 0) {
            cairn_heap_close(child);
            atomic_store(&actor->slot->awaits, 1);
            require(cairn_recover(actor->heap), "recover");
            if (atomic_load(&actor->world->stopped) != 0) /* perhaps that one, which holds the lock of the dead */
                began = now();
            if (now() - began > UINT64_C(10000000000))
                fail("child %u of slot %u lives, and who made it has closed the heap", i, actor->number);
        }
    }
    atomic_store(&actor->slot->awaits, 0);
}

void actor_call(struct actor *actor, struct call call)
{
    struct slot *slot = actor->slot;
    struct world *world = actor->world;
    struct record *old = &world->records[call.old];
    cairn_heap *heap = call.heap == 0 ? actor->heap : actor->children[call.heap - 1];
    void *block = NULL;
    int result = 0;
    if (call.kind == CALL_REALLOC || call.kind == CALL_EXPAND || call.kind == CALL_FREE)
        require_holds(old);
    if (call.kind == CALL_FREE_FROM) {
        struct record linked = {.address = slot->links[call.index].block,
                                .size = slot->links[call.index].size,
                                .sign = slot->links[call.index].sign};
        require_holds(&linked);
    }

    uint32_t kind = call.kind;
    if (kind == CALL_ERRAND) {
        run_thread(actor, errand_run);
        atomic_fetch_add(&slot->calls, 1); /* it may have had nothing to do */
        return;
    }
    if (kind == CALL_CHILD_CREATE) {
        slot->exact[call.index] = (call.flags & CAIRN_EXACT_SIZES) != 0;
        slot->nested = call.index == 1 ? call.nested : slot->nested;
    }
    slot->call.flags = call.flags;
    slot->call.index = call.index;
    slot->call.heap = call.heap;
    slot->call.record = call.record;
    slot->call.old = call.old;
    slot->call.old_sign = old->sign;
    slot->call.size = call.size;
    slot->call.alignment = call.alignment;
    slot->call.value = call.value;
    atomic_store(&slot->call.kind, kind);
    atomic_store(&slot->begun, now());
    if (kind != CALL_THREAD)
        ask_for_steps(actor, true);
    switch (kind) {
    case CALL_ALLOC:
        block = cairn_alloc(heap, call.size);
        break;
    case CALL_ZALLOC:
        block = cairn_zalloc(heap, call.size);
        break;
    case CALL_ALIGNED:
        block = cairn_aligned_alloc(heap, call.alignment, call.size);
        break;
    case CALL_REALLOC:
        block = cairn_realloc(heap, old->address, call.size);
        break;
    case CALL_EXPAND:
        (void)cairn_expand(heap, old->address, call.size);
        break;
    case CALL_FREE:
        cairn_free(heap, old->address);
        break;
    case CALL_ALLOC_TO:
        result = cairn_alloc_to(actor->heap, call.size, &slot->anchor->links[call.index]);
        break;
    case CALL_FREE_FROM:
        result = cairn_free_from(actor->heap, &slot->anchor->links[call.index]);
        break;
    case CALL_ROOT_SET:
        result = cairn_root_set(actor->heap, name_of("root", actor->number, call.index), call.value);
        break;
    case CALL_CHILD_CREATE: {
        cairn_options options = {.name = name_of("child", actor->number, call.index),
                                 .parent = call.nested ? actor->children[0] : actor->heap,
                                 .flags = call.flags,
                                 .bytes_max = call.bytes_max,
                                 .bytes_start = call.bytes_start};
        result = cairn_heap_create(&actor->children[call.index], &options);
        break;
    }
    case CALL_CHILD_RESET:
        result = cairn_heap_reset(actor->children[call.index]);
        break;
    case CALL_CHILD_DESTROY:
        result = cairn_heap_destroy(actor->children[call.index]);
        break;
    case CALL_CHILD_REOPEN:
        cairn_heap_close(actor->children[call.index]);
        result = cairn_heap_open_child(&actor->children[call.index],
                                       call.index == 1 && slot->nested ? actor->children[0] : actor->heap,
                                       name_of("child", actor->number, call.index));
        break;
    case CALL_TRIM:
        result = (int)(cairn_trim(heap) >> 40);
        break;
    case CALL_RECOVER:
        result = cairn_recover(heap);
        break;
    case CALL_LOCK:
        result = cairn_lock(heap, &slot->anchor->mutex);
        break;
    case CALL_TRYLOCK:
        result = cairn_trylock(heap, &slot->anchor->mutex);
        break;
    case CALL_UNLOCK:
        result = cairn_unlock(heap, &slot->anchor->mutex);
        break;
    case CALL_REOPEN:
        if (actor->mode == TRAPPED)
            trap_end(); /* the view goes, and comes back unprotected */
        for (uint32_t i = 0; i < CHILDREN; i++)
            cairn_heap_close(actor->children[i]);
        cairn_heap_close(actor->heap);
        result = cairn_heap_open(&actor->heap, world->name, NULL);
        memset(actor->children, 0, sizeof actor->children);
        break;
    case CALL_THREAD:
        run_thread(actor, thread_run);
        break;
    case CALL_REAP:
        result = cairn_reap(heap, is_known, world);
        break;
    case CALL_LOOK:
        look(heap, world->has_peers || world->is_visited);
        break;
    case CALL_OPEN:
        result = cairn_heap_open(&actor->heap, world->name, NULL);
        break;
    case CALL_CREATE: {
        cairn_options options = options_of(world);
        result = cairn_heap_create(&actor->heap, &options);
        break;
    }
    case CALL_DESTROY:
        result = cairn_heap_destroy(actor->heap);
        break;
    default:
        break;
    }
    if (kind != CALL_REOPEN || actor->mode != TRAPPED)
        ask_for_steps(actor, false);
    uint64_t took = now() - atomic_load(&slot->begun);
    raise_to(&slot->slowest, took);
    if (actor->mode == FREE_RUNNING)
        slot->latencies[64 - __builtin_clzll(took | 1)]++;
    atomic_store(&slot->begun, 0);

    switch (kind) {
    case CALL_ZALLOC:
        if (block != NULL)
            require_zero(block, call.size, "zalloc");
        enter(actor, &call, block);
        break;
    case CALL_ALIGNED:
        if (block != NULL && (uintptr_t)block % call.alignment != 0)
            fail("aligned_alloc: %p is not aligned to %zu", block, call.alignment);
        enter(actor, &call, block);
        break;
    case CALL_ALLOC:
        enter(actor, &call, block);
        break;
    case CALL_REALLOC:
        if (block != NULL && !holds(block, call.size < old->size ? call.size : old->size, old->sign))
            fail("realloc: the contents were not kept");
        enter(actor, &call, block);
        if (block != NULL)
            atomic_store(&old->holder, 0);
        break;
    case CALL_FREE:
        atomic_store(&old->holder, 0);
        break;
    case CALL_ALLOC_TO: {
        if (result < 0) {
            if (result != -ENOMEM)
                fail("alloc_to: %s", cairn_last_error());
            break;
        }
        struct link *link = &slot->links[call.index];
        block = slot->anchor->links[call.index];
        require_zero(block, call.size, "alloc_to");
        link->size = call.size;
        link->sign = random_next(&slot->random);
        fill(block, call.size, link->sign);
        link->block = block;
        break;
    }
    case CALL_FREE_FROM:
        require(result, "free_from");
        slot->links[call.index].block = NULL;
        break;
    case CALL_ROOT_SET:
        if (result < 0 && result != -ENOSPC && !(result == -ENOMEM && world->is_limited))
            require(result, "root_set");
        if (result == 0)
            slot->roots[call.index] = call.value;
        break;
    case CALL_CHILD_CREATE:
        if (result < 0 && result != -ENOMEM && result != -ENOSPC)
            require(result, "create of a child");
        if (result == -ENOSPC && !world->has_peers && !world->is_visited)
            require_full(actor->heap);
        if (result == 0)
            slot->children[call.index] = (call.flags & CAIRN_BOUND) != 0 ? CHILD_BOUND : CHILD_LIVE;
        break;
    case CALL_CHILD_RESET:
        if (result < 0 && result != -EBUSY)
            require(result, "reset");
        if (result == 0)
            drop_child(world, actor->number, call.index);
        break;
    case CALL_CHILD_DESTROY:
        if (result == -EBUSY && call.index == 0 && slot->nested && slot->children[1] != CHILD_NONE)
            break; /* it has one itself */
        require(result, "destroy of a child");
        actor->children[call.index] = NULL;
        drop_child(world, actor->number, call.index);
        slot->children[call.index] = CHILD_NONE;
        break;
    case CALL_LOCK:
    case CALL_TRYLOCK:
        require(result, "lock");
        slot->locked = true;
        break;
    case CALL_UNLOCK:
        require(result, "unlock");
        slot->locked = false;
        break;
    case CALL_REOPEN:
        require(result, "open");
        await_bound(actor);
        forget_bound(actor);
        open_children(actor);
        break;
    default:
        require(result, "call");
        break;
    }
    atomic_store(&slot->call.kind, CALL_NONE);
    atomic_fetch_add(&slot->calls, 1);
}

/* ---------------------------------------------------------------- what became of the dead's call */

void world_add_maybe(struct world *world, void *block)
{
    uint32_t at = atomic_fetch_add(&world->maybe_count, 1);
    if (at >= ODDITIES)
        fail("too many kills without a count");
    world->maybe[at] = block;
}

void actor_exhaust(struct actor *actor)
{
    for (uint32_t refused = 0; refused < 3;) {
        struct record *record = record_free(actor);
        if (record == NULL)
            return;
        actor_call(actor, (struct call){.kind = CALL_ALLOC,
                                        .size = choose_size(actor),
                                        .record = (uint32_t)(record - actor->world->records)});
        refused += atomic_load(&record->holder) == 0;
    }
}

struct record *actor_make(struct actor *actor, uint32_t heap, enum call_kind kind, struct record *old, size_t size,
                          size_t alignment)
{
    struct record *records = actor->world->records;
    struct record *record = kind == CALL_FREE || kind == CALL_EXPAND ? old : record_free(actor);
    if (record == NULL || (heap != 0 && actor->slot->children[heap - 1] == CHILD_NONE))
        return NULL;
    actor_call(actor, (struct call){.kind = kind,
                                    .heap = old != NULL ? old->heap : heap,
                                    .size = size,
                                    .alignment = alignment,
                                    .record = (uint32_t)(record - records),
                                    .old = old != NULL ? (uint32_t)(old - records) : 0});
    return kind == CALL_FREE || atomic_load(&record->holder) == 0 ? NULL : record;
}

void actor_give(struct actor *actor, uint32_t to)
{
    struct record *record = record_held(actor);
    if (record != NULL && record->heap == 0)
        atomic_store(&record->holder, to + 1);
}

/* In the heap of another the ledger has no say: what is allocated there may live or not. */
static void *guest_alloc(struct actor *actor, cairn_heap *child, void *old, size_t size)
{
    atomic_fetch_add(&actor->world->lost_max, 1); /* killed in the call, it knows no address */
    actor_step(actor, true);
    void *block = cairn_realloc(child, old, size);
    actor_step(actor, false);
    if (block != NULL)
        world_add_maybe(actor->world, block);
    atomic_fetch_sub(&actor->world->lost_max, 1);
    return block;
}

void actor_guest(struct actor *actor, uint32_t host)
{
    static const size_t sizes[] = {48, 1000, 20000, 100000};
    cairn_heap *child = NULL;
    if (actor->world->meeting != NULL) {
        bool tries = random_below(&actor->slot->random, 2) == 0;
        actor_step(actor, true);
        int result =
            tries ? cairn_trylock(actor->heap, actor->world->meeting) : cairn_lock(actor->heap, actor->world->meeting);
        if (result >= 0)
            require(cairn_unlock(actor->heap, actor->world->meeting), "unlock");
        actor_step(actor, false);
        if (result < 0 && result != -EBUSY)
            require(result, "lock");
    }
    actor_step(actor, true);
    int error = cairn_heap_open_child(&child, actor->heap, name_of("child", host, 0));
    actor_step(actor, false);
    if (error < 0)
        return; /* there is none at this moment */
    void *blocks[COUNT(sizes)];
    for (size_t i = 0; i < COUNT(sizes); i++)
        blocks[i] = guest_alloc(actor, child, NULL, sizes[i]);
    if (blocks[3] != NULL) {
        void *longer = guest_alloc(actor, child, blocks[3], 200000);
        blocks[3] = longer != NULL ? longer : blocks[3];
    }
    actor_step(actor, true);
    for (size_t i = random_below(&actor->slot->random, 4) == 0; i < COUNT(sizes); i++)
        cairn_free(child, blocks[i]); /* nobody can reset the heap meanwhile, but destroy it */
    cairn_heap_close(child);
    actor_step(actor, false);
}

void actor_leave(struct actor *actor)
{
    for (uint32_t i = 0; i < CHILDREN; i++)
        cairn_heap_close(actor->children[i]);
    actor_step(actor, true);
    cairn_heap_close(actor->heap);
    actor_step(actor, false);
}

void actor_litter(struct actor *actor)
{
    for (uint32_t i = 0; i < 8; i++) {
        void *block = cairn_alloc(actor->heap, choose_size(actor));
        if (block != NULL)
            world_add_maybe(actor->world, block);
    }
}

struct counting {
    struct live {
        unsigned char *address;
        size_t bytes;
        bool known;
    } blocks[SLOTS * (BLOCKS_PER_SLOT + LINKS + 1) + 1000];
    uint32_t count;
};

static int see_block(void *block, size_t bytes, void *arg)
{
    struct counting *counting = arg;
    if (counting->count == COUNT(counting->blocks))
        fail("more live blocks than there can be");
    counting->blocks[counting->count++] = (struct live){.address = block, .bytes = bytes};
    return 0;
}

static uint32_t blocks_of_child(const struct world *world, uint32_t number, uint32_t child)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < COUNT(world->records); i++)
        count += atomic_load(&world->records[i].holder) == number + 1 && world->records[i].heap == child + 1;
    return count;
}

static struct counting *counting_of(cairn_heap *heap)
{
    static struct counting counting;
    counting.count = 0;
    cairn_walk(heap, pass_span, see_block, &counting);
    return &counting;
}

/* Where a guest may have allocated since a reset: that took all that the ledger knows, or nothing. */
static bool has_all(const struct world *world, uint32_t number, uint32_t child, const struct counting *counting)
{
    for (uint32_t i = 0; i < COUNT(world->records); i++) {
        const struct record *record = &world->records[i];
        bool found = atomic_load(&record->holder) != number + 1 || record->heap != child + 1;
        for (uint32_t k = 0; k < counting->count && !found; k++)
            found = counting->blocks[k].address == record->address && counting->blocks[k].bytes >= record->size &&
                    holds(record->address, record->size, record->sign);
        if (!found)
            return false;
    }
    return true;
}

static void settle_child(struct world *world, uint32_t number, uint32_t i, uint32_t kind, cairn_heap *heap)
{
    struct slot *slot = &world->slots[number];
    bool concerned = slot->call.index == i;
    cairn_heap *child;
    int error = open_child(&child, world, number, i, heap);
    bool bound = slot->children[i] == CHILD_BOUND ||
                 (concerned && kind == CALL_CHILD_CREATE && (slot->call.flags & CAIRN_BOUND) != 0);
    bool went_with_parent = i == 1 && slot->nested && slot->children[0] == CHILD_NONE;
    if (error < 0 && error != -ENOENT)
        fail("child %u of slot %u: %s", i, number, cairn_last_error());
    if (bound && error == 0)
        fail("child %u of slot %u lives, and was bound to a process that is dead", i, number);
    if (error < 0 && slot->children[i] == CHILD_LIVE && !(concerned && kind == CALL_CHILD_DESTROY) && !went_with_parent)
        fail("child %u of slot %u is lost", i, number);
    if (error == 0 && slot->children[i] == CHILD_NONE && !(concerned && kind == CALL_CHILD_CREATE))
        fail("child %u of slot %u should not be there", i, number);
    slot->children[i] = error == 0 ? CHILD_LIVE : CHILD_NONE;
    if (error < 0) {
        drop_child(world, number, i);
        return;
    }
    bool is_reset =
        counting_of(child)->count == 0 || (world->is_visited && !has_all(world, number, i, counting_of(child)));
    if (concerned && kind == CALL_CHILD_RESET && is_reset)
        drop_child(world, number, i);
    /* All or nothing; beside what the ledger knows there may be blocks of those who died before. */
    uint32_t holds_now = counting_of(child)->count, known = blocks_of_child(world, number, i);
    if (concerned && (kind == CALL_CHILD_RESET || kind == CALL_CHILD_DESTROY) &&
        (holds_now < known || holds_now > known + atomic_load(&world->lost_max) + atomic_load(&world->maybe_count)))
        fail("child %u of slot %u holds %u blocks of %u", i, number, holds_now, known);
    cairn_heap_close(child);
}

static void settle_lock(struct slot *slot, uint32_t kind, cairn_heap *heap)
{
    int result = cairn_trylock(heap, &slot->anchor->mutex);
    bool changing = kind == CALL_LOCK || kind == CALL_TRYLOCK || kind == CALL_UNLOCK;
    if (result < 0)
        fail("the lock of the dead: %s", cairn_last_error());
    if (!changing && result != (int)slot->locked)
        fail("the lock of the dead: trylock gives %d, it was %s", result, slot->locked ? "held" : "free");
    require(cairn_unlock(heap, &slot->anchor->mutex), "unlock");
    slot->locked = false;
}

void slot_settle(struct world *world, uint32_t number, cairn_heap *heap)
{
    struct slot *slot = &world->slots[number];
    struct call *call = &slot->call;
    uint32_t kind = atomic_load(&call->kind);
    struct record *record = &world->records[call->record], *old = &world->records[call->old];
    bool entered = atomic_load(&record->holder) == number + 1;
    bool has_old = atomic_load(&old->holder) == number + 1 && old->sign == call->old_sign;
    if (slot->anchor == NULL)
        return;
    if (kind == CALL_ALLOC || kind == CALL_ZALLOC || kind == CALL_ALIGNED || kind == CALL_REALLOC) {
        if (!entered)
            atomic_fetch_add(&world->lost_max, 1);
        if (kind == CALL_REALLOC && has_old) {
            if (!entered)
                world_add_maybe(world, old->address);
            atomic_store(&old->holder, 0);
        }
    }
    if (kind == CALL_FREE && has_old) {
        world_add_maybe(world, old->address);
        atomic_store(&old->holder, 0);
    }
    if (kind == CALL_THREAD)
        atomic_fetch_add(&world->lost_max, 4); /* not stepped; killed in it, its blocks are nobody's */
    if (kind == CALL_ALLOC_TO || kind == CALL_FREE_FROM) {
        struct link *link = &slot->links[call->index];
        void *block = slot->anchor->links[call->index];
        if (kind == CALL_ALLOC_TO && block != NULL) {
            link->size = call->size;
            link->sign = random_next(&slot->random);
            fill(block, call->size, link->sign);
        } else if (kind == CALL_FREE_FROM && block != NULL && block != link->block) {
            fail("free_from: another block stands at the destination");
        }
        link->block = block;
    }
    if (kind == CALL_ROOT_SET) {
        void *value = cairn_root_get(heap, name_of("root", number, call->index));
        if (value != slot->roots[call->index] && value != call->value)
            fail("root %u of slot %u names neither the old block nor the new", call->index, number);
        slot->roots[call->index] = value;
    }
    for (uint32_t i = 0; i < ROOTS; i++) {
        if (cairn_root_get(heap, name_of("root", number, i)) != slot->roots[i])
            fail("root %u of slot %u has changed", i, number);
    }
    for (uint32_t i = 0; i < CHILDREN; i++)
        settle_child(world, number, i, kind, heap);
    settle_lock(slot, kind, heap);
    if (cairn_root_get(heap, name_of("anchor", number, 0)) != slot->anchor)
        fail("the anchor of slot %u is lost", number);
    atomic_store(&call->kind, CALL_NONE);
    atomic_store(&slot->begun, 0);
    atomic_store(&slot->awaits, 0);
}

/* ---------------------------------------------------------------- counting */

static int by_address(const void *a, const void *b)
{
    uintptr_t left = (uintptr_t)((const struct live *)a)->address, right = (uintptr_t)((const struct live *)b)->address;
    return left < right ? -1 : left > right;
}

static void know(struct counting *counting, const void *block, size_t size, const char *what)
{
    struct live key = {.address = (unsigned char *)(uintptr_t)block};
    struct live *live = bsearch(&key, counting->blocks, counting->count, sizeof key, by_address);
    if (live == NULL)
        fail("%s %p of %zu bytes is lost", what, block, size);
    if (live->known)
        fail("%s %p of %zu bytes was handed out twice", what, block, size);
    if (live->bytes < size)
        fail("%s %p has %zu bytes, not %zu", what, block, live->bytes, size);
    live->known = true;
}

static bool is_maybe(const struct world *world, const void *block)
{
    for (uint32_t i = 0; i < atomic_load(&world->maybe_count); i++) {
        if (world->maybe[i] == block)
            return true;
    }
    return false;
}

static void report(const char *finding, void *arg)
{
    char *text = arg;
    if (text[0] == '\0')
        snprintf(text, 200, "%s", finding);
}

static void require_sound(cairn_heap *heap, const char *when)
{
    char text[200] = "";
    int findings = cairn_check(heap, report, text);
    if (findings != 0)
        fail("%s: %d findings: %s", when, findings, text);
}

/* Which heap a block belongs to is asked of the walk: one heap at a time, with the records of it. */
static uint32_t count_one(struct world *world, cairn_heap *heap, int number, uint32_t child)
{
    struct counting *counting = counting_of(heap);
    qsort(counting->blocks, counting->count, sizeof counting->blocks[0], by_address);
    for (uint32_t i = 1; i < counting->count; i++) {
        if (counting->blocks[i - 1].address + counting->blocks[i - 1].bytes > counting->blocks[i].address)
            fail("the blocks %p and %p overlap", (void *)counting->blocks[i - 1].address,
                 (void *)counting->blocks[i].address);
    }
    for (uint32_t i = 0; i < COUNT(world->records); i++) {
        const struct record *record = &world->records[i];
        uint32_t holder = atomic_load(&record->holder);
        if (holder == 0 || record->heap != child || (number >= 0 && holder != (uint32_t)number + 1))
            continue;
        know(counting, record->address, record->size, "the block");
        require_holds(record);
    }
    for (uint32_t s = 0; number < 0 && s < SLOTS; s++) {
        const struct slot *slot = &world->slots[s];
        if (slot->anchor == NULL)
            continue;
        know(counting, slot->anchor, sizeof *slot->anchor, "the anchor");
        for (uint32_t i = 0; i < LINKS; i++) {
            if (slot->links[i].block != slot->anchor->links[i])
                fail("link %u of slot %u has changed", i, s);
            if (slot->links[i].block == NULL)
                continue;
            struct record linked = {
                .address = slot->links[i].block, .size = slot->links[i].size, .sign = slot->links[i].sign};
            know(counting, linked.address, linked.size, "the linked block");
            require_holds(&linked);
        }
    }
    uint32_t lost = 0;
    for (uint32_t i = 0; i < counting->count; i++) {
        if (counting->blocks[i].known)
            continue;
        lost += !is_maybe(world, counting->blocks[i].address);
        cairn_free(heap, counting->blocks[i].address);
    }
    return lost;
}

uint32_t world_count(struct world *world, cairn_heap *heap)
{
    require_sound(heap, "count");
    uint32_t lost = count_one(world, heap, -1, 0);
    for (uint32_t s = 0; s < SLOTS; s++) {
        for (uint32_t i = 0; i < CHILDREN; i++) {
            if (world->slots[s].children[i] == CHILD_NONE)
                continue;
            cairn_heap *child;
            require(open_child(&child, world, s, i, heap), "open of a child");
            lost += count_one(world, child, (int)s, i + 1);
            cairn_heap_close(child);
        }
    }
    if (lost > atomic_load(&world->lost_max))
        fail("%u blocks leaked, where %u may be lost", lost, atomic_load(&world->lost_max));
    atomic_store(&world->lost_max, 0);
    atomic_store(&world->maybe_count, 0);
    return lost;
}

/* ---------------------------------------------------------------- emptying */

static void empty_slot(struct world *world, uint32_t number, cairn_heap *heap)
{
    struct slot *slot = &world->slots[number];
    if (slot->anchor == NULL)
        return;
    for (uint32_t i = CHILDREN; i-- > 0;) { /* a nested one before its parent */
        if (slot->children[i] == CHILD_NONE)
            continue;
        cairn_heap *child;
        require(open_child(&child, world, number, i, heap), "open of a child");
        require(cairn_heap_destroy(child), "destroy of a child");
        drop_child(world, number, i);
        slot->children[i] = CHILD_NONE;
    }
    for (uint32_t i = 0; i < LINKS; i++) {
        require(cairn_free_from(heap, &slot->anchor->links[i]), "free_from");
        slot->links[i].block = NULL;
    }
    for (uint32_t i = 0; i < ROOTS; i++) {
        require(cairn_root_set(heap, name_of("root", number, i), NULL), "root_set");
        slot->roots[i] = NULL;
    }
    require(cairn_root_set(heap, name_of("anchor", number, 0), NULL), "root_set");
    cairn_free(heap, slot->anchor);
    slot->anchor = NULL;
}

static const struct section_image *image_of(cairn_heap *heap)
{
    cairn_stats stats = {.size = sizeof stats};
    require(cairn_stats_get(heap, &stats), "stats_get");
    return (const struct section_image *)(uintptr_t)stats.address; /* NOLINT(performance-no-int-to-ptr) */
}

#define TABLE(image, type, offset) ((const type *)(const void *)((const unsigned char *)(image) + (image)->offset))

uint64_t heap_committed(cairn_heap *heap)
{
    const struct section_image *image = image_of(heap);
    const uint64_t *bits = TABLE(image, uint64_t, commit_offset); /* as in is_committed of trace.c */
    uint64_t bytes = image->units_offset;
    for (uint64_t page = image->units_offset >> image->page_shift; page < image->bytes_max >> image->page_shift; page++)
        bytes += (bits[page / 64] >> page % 64 & 1) << image->page_shift;
    return bytes;
}

void heap_fill_once(cairn_heap *heap)
{
    enum { BLOCK = 1000 };
    void *first = NULL, *block;
    while ((block = cairn_alloc(heap, BLOCK)) != NULL) {
        memcpy(block, &first, sizeof first);
        first = block;
    }
    for (; first != NULL; first = block) {
        memcpy(&block, first, sizeof block);
        cairn_free(heap, first);
    }
    if (cairn_trim(heap) < 0)
        fail("trim: %s", cairn_last_error());
}

uint32_t heap_records_of(cairn_heap *heap, pid_t process)
{
    uint32_t count = 0;
    const struct section_image *image = image_of(heap);
    for (uint32_t i = 0; i < image->processes_end; i++) {
        const struct process_image *record = &TABLE(image, struct process_image, processes_offset)[i];
        count += record->word >> RECORD_STATE_SHIFT != RECORD_FREE && record->process_id == (uint32_t)process;
    }
    return count;
}

bool heap_roots_are_held_by(cairn_heap *heap, pid_t process)
{
    const struct section_image *image = image_of(heap);
    uint64_t owner = image->lock >> 32;
    if (owner == 0)
        return false;
    uint32_t number = record_process_of(TABLE(image, struct owner_image, owners_offset)[owner - 1].word);
    return number != 0 &&
           TABLE(image, struct process_image, processes_offset)[number - 1].process_id == (uint32_t)process;
}

static uint32_t heaps_used(const struct section_image *image)
{
    uint32_t heaps = 0;
    for (uint32_t i = 0; i < image->heaps_end; i++)
        heaps += TABLE(image, struct heap_image, heaps_offset)[i].word >> RECORD_STATE_SHIFT != RECORD_FREE;
    return heaps;
}

/* Names of children that are no more do not count: their entries can be had. */
static uint32_t roots_used(const struct section_image *image)
{
    uint32_t roots = 0;
    for (uint32_t i = 0; i < image->roots_end; i++) {
        const struct root_image *root = &TABLE(image, struct root_image, roots_offset)[i];
        uint32_t number = (uint32_t)(root->ref & UNIT_HEAP_MASK);
        bool is_heap = (root->ref & ROOT_IS_HEAP) != 0;
        uint64_t word = is_heap ? TABLE(image, struct heap_image, heaps_offset)[number - 1].word : 0;
        bool is_over = is_heap && (word >> RECORD_STATE_SHIFT != RECORD_LIVE ||
                                   record_generation_of(word) != (root->ref & ~ROOT_IS_HEAP) >> UNIT_HEAP_BITS);
        roots += root->word >> RECORD_STATE_SHIFT == RECORD_LIVE && !is_over;
    }
    return roots;
}

static void require_full(cairn_heap *heap)
{
    const struct section_image *image = image_of(heap);
    if (heaps_used(image) < image->heaps_max && roots_used(image) < image->roots_max)
        fail("create of a child: no room, with %u of %u heaps and %u of %u roots", heaps_used(image), image->heaps_max,
             roots_used(image), image->roots_max);
}

/* What the heap was promised when it was created, and has not used. */
static bool is_set_aside(const struct section_image *image, uint64_t word)
{
    const struct heap_image *record = TABLE(image, struct heap_image, heaps_offset);
    return word == unit_word(UNIT_KEPT, 0, 1, record->life) && record->bytes_kept != 0;
}

static int see_used_span(const cairn_span *span, void *arg)
{
    const struct section_image *image = arg;
    uint64_t unit = ((uintptr_t)span->address - image->address - image->units_offset) >> image->unit_shift;
    uint64_t word = TABLE(image, atomic_u64, unit_words_offset)[unit];
    if (is_set_aside(image, word))
        return 0;
    if (span->kind != CAIRN_SPAN_FREE && (span->blocks_live != 0 || span->kind == CAIRN_SPAN_BUSY ||
                                          span->kind == CAIRN_SPAN_LARGE || span->kind == CAIRN_SPAN_OTHER))
        fail("an empty heap has a span of kind %d at unit %llu, %#llx, with %u blocks; its heap has word %#llx, life "
             "%llx",
             (int)span->kind, (unsigned long long)unit, (unsigned long long)word, span->blocks_live,
             (unsigned long long)TABLE(image, struct heap_image, heaps_offset)[unit_heap_of(word) - 1].word,
             (unsigned long long)TABLE(image, struct heap_image, heaps_offset)[unit_heap_of(word) - 1].life);
    return 0;
}

/* After a trim not even an empty slab is left. */
static void require_units_free(const struct section_image *image)
{
    uint64_t set_aside = 0;
    for (uint32_t i = 0; i < image->units_end; i++) {
        uint64_t word = TABLE(image, atomic_u64, unit_words_offset)[i];
        if (is_set_aside(image, word))
            set_aside += UINT64_C(1) << image->unit_shift;
        if (unit_state_of(word) == UNIT_FREE || is_set_aside(image, word))
            continue;
        const struct heap_image *record = &TABLE(image, struct heap_image, heaps_offset)[unit_heap_of(word) - 1];
        fail("unit %u of an empty heap is in state %u: %#llx; the heap %u has word %#llx, life %llu", i,
             unit_state_of(word), (unsigned long long)word, unit_heap_of(word), (unsigned long long)record->word,
             (unsigned long long)record->life);
    }
    if (image->bytes_in_spans != set_aside)
        fail("an empty heap counts %llu bytes in spans, and %llu are set aside",
             (unsigned long long)image->bytes_in_spans, (unsigned long long)set_aside);
    for (uint32_t i = 0; i < image->heaps_end; i++) {
        uint64_t charged = TABLE(image, struct heap_image, heaps_offset)[i].bytes_charged;
        if (charged != (i == 0 ? set_aside : 0))
            fail("heap %u is empty and is charged %llu bytes", i + 1, (unsigned long long)charged);
    }
}

/* Nothing but this process, its thread, and the heap itself may be left. */
static void require_empty(cairn_heap *heap, bool trimmed)
{
    const struct section_image *image = image_of(heap);
    cairn_walk(heap, see_used_span, NULL, (void *)(uintptr_t)image);
    if (trimmed)
        require_units_free(image);
    uint32_t processes = 0, owners = 0, heaps = heaps_used(image), roots = roots_used(image);
    for (uint32_t i = 0; i < image->processes_end; i++)
        processes += TABLE(image, struct process_image, processes_offset)[i].word >> RECORD_STATE_SHIFT != RECORD_FREE;
    for (uint32_t i = 0; i < image->owners_end; i++)
        owners += TABLE(image, struct owner_image, owners_offset)[i].word >> RECORD_STATE_SHIFT != RECORD_FREE;
    if (processes != 1 || owners != 1 || heaps != 1 || roots != 0 || image->lock != 0)
        fail("an empty heap has %u processes, %u owners, %u heaps, %u roots, lock %#llx", processes, owners, heaps,
             roots, (unsigned long long)image->lock);
}

void world_empty(struct world *world, cairn_heap *heap, bool trim)
{
    for (uint32_t s = 0; s < SLOTS; s++)
        empty_slot(world, s, heap);
    for (uint32_t i = 0; i < COUNT(world->records); i++) {
        struct record *record = &world->records[i];
        if (atomic_exchange(&record->holder, 0) != 0)
            cairn_free(heap, record->address);
    }
    if (trim && cairn_trim(heap) < 0)
        fail("trim: %s", cairn_last_error());
    require_sound(heap, "emptied");
    require_empty(heap, trim);
}

/* A newcomer's use of what is left. */
static void use(cairn_heap *heap)
{
    static const size_t sizes[] = {16, 48, 200, 1000, 20000};
    unsigned char *blocks[COUNT(sizes)];
    for (size_t i = 0; i < COUNT(sizes); i++) {
        blocks[i] = cairn_alloc(heap, sizes[i]);
        if (blocks[i] != NULL)
            fill(blocks[i], sizes[i], i);
    }
    for (size_t i = 0; i < COUNT(sizes); i++) {
        if (blocks[i] != NULL && !holds(blocks[i], sizes[i], i))
            fail("use after recovery: a block of %zu bytes was overwritten", sizes[i]);
        cairn_free(heap, blocks[i]);
    }
}

/* The bookkeeping as it is now, in `copy`; returns whether it is as it was there. */
static bool meta_is_as(const struct section_image *image, unsigned char *copy)
{
    enum { PAGE = 4096 };
    const uint64_t *bits = TABLE(image, uint64_t, commit_offset);
    bool same = true;
    for (size_t page = 0; page < image->units_offset / PAGE; page++) {
        const unsigned char *now_there = (const unsigned char *)image + page * PAGE;
        if ((bits[page / 64] >> page % 64 & 1) == 0 || memcmp(copy + page * PAGE, now_there, PAGE) == 0)
            continue;
        memcpy(copy + page * PAGE, now_there, PAGE);
        same = false;
    }
    return same;
}

uint32_t world_verify(struct world *world, const char *name)
{
    static unsigned char *copy;
    static uint32_t turn;
    if (copy == NULL)
        copy = shared_memory(64 << 20);
    cairn_heap *heap;
    if (cairn_heap_open(&heap, name, NULL) < 0)
        fail("open: %s", cairn_last_error());
    require(cairn_recover(heap), "recover");

    const struct section_image *image = image_of(heap);
    (void)meta_is_as(image, copy);
    if (cairn_recover(heap) != 0)
        fail("the second recovery found something to do");
    if (!meta_is_as(image, copy))
        fail("the second recovery changed something");

    for (uint32_t s = 0; s < SLOTS; s++)
        slot_settle(world, s, heap);
    uint32_t lost = world_count(world, heap);
    use(heap);
    lost += world_count(world, heap);
    world_empty(world, heap, turn++ % 4 == 0);
    cairn_heap_close(heap);
    return lost;
}
