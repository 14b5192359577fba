/* SPDX-License-Identifier: MIT */
/*
 * Random operations against a simple model. What one thread does is replayed exactly from its seed (CAIRN_SEED);
 * several threads do the same things each, in another order. CAIRN_ROUNDS multiplies how long it takes.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cairn.h"
#include "support/lent.h"
#include "support/model.h"
#include "support/random.h"
#include "support/suite.h"

/* ================================================================ core: several owners, played by one thread */

enum {
    ACTORS = 4,
    HEAPS = 2,
    SLOTS = 32,
};

static struct lent lent;
static struct core_heap heaps[HEAPS];
static struct core_owner owners[ACTORS];
static struct model models[HEAPS]; /* what is live in each heap */
static void **slots[HEAPS];        /* pointers in a block of the heap, for alloc_to and free_from */
static uint32_t actors;
static struct random random_core;

static uint64_t below(uint64_t limit)
{
    return random_below(&random_core, limit);
}

static void join_in(uint32_t who)
{
    owners[who] = (struct core_owner){0};
    if (owner_claim(&owners[who], &lent.section, &test_memory, 0, who) < 0)
        ck_abort_msg("no record for owner %u", who);
}

/* An actor of this owner in a heap; its bins are made when they are needed. */
static struct actor actor_of(uint32_t who, uint32_t heap)
{
    return (struct actor){.core = owners[who], .bins = owner_bins(&owners[who], &heaps[heap]), .heap = &heaps[heap]};
}

static void add_block(uint32_t heap, void *block, size_t size)
{
    if (!model_add(&models[heap], block, size))
        ck_abort_msg("%p of %zu bytes", block, size);
}

/* Takes a block from the model that no slot names. */
static bool pick(uint32_t heap, struct model_block *ret_block)
{
    if (models[heap].count < 2)
        return false;
    size_t index = below(models[heap].count);
    unsigned char *address = models[heap].blocks[index].address;
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (slots[heap][i] == address)
            return false;
    }
    if (address == (unsigned char *)slots[heap])
        return false;
    if (!model_take(&models[heap], index, ret_block))
        ck_abort_msg("%p of %zu bytes has changed", (void *)address, ret_block->size);
    return true;
}

static void core_allocates(struct actor *actor, uint32_t heap)
{
    size_t size = random_size(&random_core, lent.section.units_bytes / 12);
    size_t alignment = (size_t)16 << below(9);
    void *block;
    switch (below(4)) {
    case 0:
        block = core_alloc_zeroed(actor->bins, actor->heap, size, &actor->error);
        if (block != NULL && !bytes_are_zero(block, size))
            ck_abort_msg("%p of %zu bytes", block, size);
        break;
    case 1:
        block = core_alloc_aligned(actor->bins, actor->heap, alignment, size, &actor->error);
        if ((uintptr_t)block % alignment != 0)
            ck_abort_msg("%p of alignment %zu", block, alignment);
        break;
    default:
        block = actor_alloc(actor, size);
    }
    if (block != NULL)
        add_block(heap, block, size);
}

static void core_frees(struct actor *actor, uint32_t heap)
{
    struct model_block block;
    if (!pick(heap, &block))
        return;
    enum core_crime crime = actor_free(actor, block.address);
    if (crime != CRIME_NONE)
        ck_abort_msg("%p of %zu bytes: crime %d", (void *)block.address, block.size, crime);
    /* Once more is a crime, and told, unless somebody else has it again. */
    if (below(8) == 0 && actor_free(actor, block.address) == CRIME_NONE)
        ck_abort_msg("%p of %zu bytes was freed twice", (void *)block.address, block.size);
}

static void core_resizes(struct actor *actor, uint32_t heap)
{
    struct model_block block;
    if (!pick(heap, &block))
        return;
    struct core_place place = core_find(actor->heap, block.address);
    size_t size = block.size;
    if (unit_state_of(place.word) == UNIT_LARGE) {
        size_t wanted = below(lent.section.units_bytes / 8) + lent.heap.slab_max + 1;
        if (core_resize_large(actor->bins, actor->heap, &place, wanted))
            size = wanted;
        if (!pattern_holds_part(block.address, block.size, min_u64(size, block.size), block.seed))
            ck_abort_msg("%p changed while it was resized", (void *)block.address);
    }
    add_block(heap, block.address, size);
}

static void core_links(struct actor *actor, uint32_t heap)
{
    void **slot = &slots[heap][below(SLOTS)];
    uint64_t ref = section_ref(&lent.section, slot);
    if (*slot == NULL) {
        size_t size = random_size(&random_core, lent.section.units_bytes / 12);
        void *block = core_alloc_to(actor->bins, actor->heap, size, slot, ref, &actor->error);
        if (block != *slot || (block != NULL && !bytes_are_zero(block, size)))
            ck_abort_msg("%p of %zu bytes in %p", block, size, *slot);
        if (block != NULL)
            add_block(heap, block, size);
        return;
    }
    struct model_block block;
    if (!model_take(&models[heap], model_find(&models[heap], *slot), &block))
        ck_abort_msg("%p of %zu bytes has changed", *slot, block.size);
    enum core_crime crime = core_free_from(actor->bins, actor->heap, slot, ref);
    if (crime != CRIME_NONE || *slot != NULL)
        ck_abort_msg("%p: crime %d, left %p", (void *)block.address, crime, *slot);
}

/* An owner goes, in order or not, and another comes. */
static void core_changes_owner(uint32_t who)
{
    uint32_t number = owners[who].number;
    bool in_order = below(2) != 0;
    if (in_order)
        owner_leave(&owners[who]);
    owner_forget(&owners[who]);
    uint32_t by = (who + 1) % actors;
    struct actor recoverer = {.core = owners[by]};
    if (!in_order && !actor_recover(&lent.section, actors > 1 ? &recoverer : NULL, number))
        ck_abort_msg("owner %u was not recovered", number);
    join_in(who);
}

static void core_checks(void)
{
    ck_assert_uint_eq(findings(&lent.section), 0);
    for (uint32_t heap = 0; heap < HEAPS; heap++)
        ck_assert(holds_exactly(&lent.section, heaps[heap].number, &models[heap]));
}

START_TEST(several_owners_in_lent_memory_do_as_the_model_says)
{
    static const uint32_t unit_shifts[] = {10, 12, 16};
    uint32_t unit_shift = unit_shifts[_i / 4];
    actors = 1 + (uint32_t)_i % 4;
    char name[80];
    snprintf(name, sizeof name, "random core, units of 2^%u, %u owners", unit_shift, actors);
    random_core = random_begin(random_seed(name, 1 + (uint64_t)_i));

    lent_create(&lent, unit_shift, 120, 0);
    heaps[0] = lent.heap;
    lent_heap(&heaps[1], &lent.section, 0);
    for (uint32_t who = 0; who < actors; who++)
        join_in(who);
    for (uint32_t heap = 0; heap < HEAPS; heap++) {
        struct actor actor = actor_of(0, heap);
        slots[heap] = core_alloc_zeroed(actor.bins, actor.heap, SLOTS * sizeof(void *), &actor.error);
        add_block(heap, slots[heap], 0); /* its contents are the slots */
    }

    uint64_t rounds = random_rounds(unit_shift == 16 ? 15000 : 8000);
    for (uint64_t round = 0; round < rounds; round++) {
        uint32_t who = (uint32_t)below(actors), heap = (uint32_t)below(HEAPS);
        struct actor actor = actor_of(who, heap);
        /* Waves: mostly allocating until much is full, then mostly freeing. */
        bool filling = round / 1500 % 2 == 0;
        uint64_t action = below(100);
        if (action < (filling ? 50 : 25))
            core_allocates(&actor, heap);
        else if (action < 80)
            core_frees(&actor, heap);
        else if (action < 90)
            core_links(&actor, heap);
        else if (action < 98)
            core_resizes(&actor, heap);
        else if (action == 98 && below(4) == 0)
            core_changes_owner(who);
        else if (action == 99 && below(4) == 0)
            core_trim(actor.bins, actor.heap);
        if (round % 1000 == 0)
            core_checks();
    }
    core_checks();

    for (uint32_t heap = 0; heap < HEAPS; heap++) {
        ck_assert(model_holds(&models[heap]));
        while (models[heap].count != 0) {
            struct model_block block;
            struct actor actor = actor_of((uint32_t)below(actors), heap);
            (void)model_take(&models[heap], below(models[heap].count), &block);
            if (actor_free(&actor, block.address) != CRIME_NONE)
                ck_abort_msg("%p of %zu bytes", (void *)block.address, block.size);
        }
    }
    core_checks();
    for (uint32_t who = 0; who < actors; who++)
        owner_leave(&owners[who]);
    struct actor last;
    actor_begin(&last, &lent.section, &heaps[0]);
    core_trim(last.bins, &heaps[0]);
    last.bins = owner_bins(&last.core, &heaps[1]);
    core_trim(last.bins, &heaps[1]);
    ck_assert_uint_eq(bytes_in_spans(&lent.section), 0);
    ck_assert_uint_eq(findings(&lent.section), 0);
    owner_forget(&last.core);
    for (uint32_t who = 0; who < actors; who++)
        owner_forget(&owners[who]);
    model_end(&models[0]);
    model_end(&models[1]);
    lent_end(&lent);
}
END_TEST

/* ================================================================ private heaps: threads and the public calls */

enum {
    THREADS_MAX = 4,
    PRIVATE_HEAPS = 3,
    MAILBOX = 64,
    LARGEST = 300000,
};

struct letter {
    struct model_block block;
    uint32_t heap;
};

static cairn_heap *private_heaps[PRIVATE_HEAPS];
static pthread_mutex_t mailbox_lock = PTHREAD_MUTEX_INITIALIZER;
static struct letter mailbox[MAILBOX];
static uint32_t letters;

struct worker {
    pthread_t thread;
    struct random random;
    struct model models[PRIVATE_HEAPS]; /* the blocks that this thread has now */
    uint64_t rounds;
    const char *wrong; /* what it found; a thread of a test must not fail by itself */
};

#define WRONG(worker, ...)                                                                                             \
    do {                                                                                                               \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fputc('\n', stderr);                                                                                           \
        (worker)->wrong = #__VA_ARGS__;                                                                                \
        return;                                                                                                        \
    } while (0)

static void keep(struct worker *worker, uint32_t heap, void *block, size_t size)
{
    size_t usable = cairn_size(private_heaps[heap], block);
    if ((uintptr_t)block % CAIRN_ALIGNMENT != 0 || usable < size)
        WRONG(worker, "%p: %zu bytes usable of %zu", block, usable, size);
    if (!model_add(&worker->models[heap], block, size))
        WRONG(worker, "%p overlaps", block);
}

static void thread_allocates(struct worker *worker, uint32_t heap)
{
    size_t size = random_size(&worker->random, LARGEST);
    uint32_t shift = 4 + (uint32_t)random_below(&worker->random, random_below(&worker->random, 8) == 0 ? 17 : 8);
    void *block = NULL;
    switch (random_below(&worker->random, 6)) {
    case 0:
        block = cairn_zalloc(private_heaps[heap], size);
        if (block != NULL && !bytes_are_zero(block, size))
            WRONG(worker, "%p of %zu bytes is not zero", block, size);
        break;
    case 1:
        block = cairn_aligned_alloc(private_heaps[heap], (size_t)1 << shift, size);
        if ((uintptr_t)block % ((size_t)1 << shift) != 0)
            WRONG(worker, "%p is not aligned to %zu", block, (size_t)1 << shift);
        break;
    case 2:
        if (cairn_alloc_to(private_heaps[heap], size, &block) < 0)
            block = NULL;
        if (block != NULL && !bytes_are_zero(block, size))
            WRONG(worker, "%p of %zu bytes is not zero", block, size);
        break;
    default:
        block = cairn_alloc(private_heaps[heap], size);
    }
    if (block == NULL)
        WRONG(worker, "%zu bytes: %s", size, cairn_last_error());
    keep(worker, heap, block, size);
}

static void thread_frees(struct worker *worker, uint32_t heap)
{
    struct model *model = &worker->models[heap];
    struct model_block block;
    if (model->count == 0)
        return;
    if (!model_take(model, random_below(&worker->random, model->count), &block))
        WRONG(worker, "%p of %zu bytes has changed", (void *)block.address, block.size);
    void *place = block.address;
    if (random_below(&worker->random, 4) != 0)
        cairn_free(private_heaps[heap], place);
    else if (cairn_free_from(private_heaps[heap], &place) < 0 || place != NULL)
        WRONG(worker, "free_from: %s", cairn_last_error());
}

static void thread_resizes(struct worker *worker, uint32_t heap)
{
    struct model *model = &worker->models[heap];
    struct model_block block;
    if (model->count == 0)
        return;
    if (!model_take(model, random_below(&worker->random, model->count), &block))
        WRONG(worker, "%p of %zu bytes has changed", (void *)block.address, block.size);
    size_t size = random_size(&worker->random, LARGEST);
    if (random_below(&worker->random, 3) == 0) {
        if (cairn_expand(private_heaps[heap], block.address, size) && size > block.size)
            block.size = size;
        keep(worker, heap, block.address, block.size);
        return;
    }
    void *moved = cairn_realloc(private_heaps[heap], block.address, size);
    if (moved == NULL)
        WRONG(worker, "realloc to %zu: %s", size, cairn_last_error());
    if (!pattern_holds_part(moved, block.size, min_u64(size, block.size), block.seed))
        WRONG(worker, "%p changed while it was resized", moved);
    keep(worker, heap, moved, size);
}

/* Swaps a block of its own for one that another thread has left. */
static void thread_passes(struct worker *worker, uint32_t heap)
{
    struct letter sent = {.heap = heap}, received = {0};
    struct model *model = &worker->models[heap];
    if (model->count == 0)
        return;
    if (!model_take(model, random_below(&worker->random, model->count), &sent.block))
        WRONG(worker, "%p of %zu bytes has changed", (void *)sent.block.address, sent.block.size);
    pthread_mutex_lock(&mailbox_lock);
    if (letters == MAILBOX) {
        uint32_t index = (uint32_t)random_below(&worker->random, MAILBOX);
        received = mailbox[index];
        mailbox[index] = sent;
    } else {
        mailbox[letters++] = sent;
    }
    pthread_mutex_unlock(&mailbox_lock);
    if (received.block.address == NULL)
        return;
    if (!pattern_holds(received.block.address, received.block.size, received.block.seed))
        WRONG(worker, "%p changed on its way", (void *)received.block.address);
    if (random_below(&worker->random, 2) == 0)
        cairn_free(private_heaps[received.heap], received.block.address);
    else
        keep(worker, received.heap, received.block.address, received.block.size);
}

/* A heap of its own, that ends with blocks in it. */
static void thread_has_a_heap(struct worker *worker)
{
    cairn_heap *heap;
    struct model model = {0};
    if (cairn_heap_create(&heap, NULL) < 0)
        WRONG(worker, "create: %s", cairn_last_error());
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 40; i++) {
            size_t size = random_size(&worker->random, LARGEST);
            void *block = cairn_alloc(heap, size);
            if (block == NULL || !model_add(&model, block, size))
                WRONG(worker, "%p of %zu bytes: %s", block, size, cairn_last_error());
        }
        if (!model_holds(&model))
            WRONG(worker, "contents of a heap of its own");
        model.count = 0;
        if (round == 0 && cairn_heap_reset(heap) < 0)
            WRONG(worker, "reset: %s", cairn_last_error());
    }
    model_end(&model);
    cairn_heap_close(heap);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    for (uint64_t round = 0; round < worker->rounds && worker->wrong == NULL; round++) {
        uint32_t heap = (uint32_t)random_below(&worker->random, PRIVATE_HEAPS);
        uint64_t action = random_below(&worker->random, 100);
        bool filling = worker->models[heap].count < 300 + round / 500 % 3 * 300;
        if (action < (filling ? 50 : 20))
            thread_allocates(worker, heap);
        else if (action < 70)
            thread_frees(worker, heap);
        else if (action < 82)
            thread_resizes(worker, heap);
        else if (action < 98)
            thread_passes(worker, heap);
        else if (action == 98 && random_below(&worker->random, 10) == 0)
            thread_has_a_heap(worker);
        else if (action == 99 && random_below(&worker->random, 10) == 0 && cairn_trim(private_heaps[heap]) < 0)
            worker->wrong = "trim";
    }
    return NULL;
}

static void print_finding(const char *finding, void *arg)
{
    (void)arg;
    fprintf(stderr, "finding: %s\n", finding);
}

static void check_private_heaps(uint64_t blocks_live)
{
    uint64_t live = 0;
    for (uint32_t heap = 0; heap < PRIVATE_HEAPS; heap++) {
        cairn_stats stats = {.size = sizeof stats};
        ck_assert_int_eq(cairn_check(private_heaps[heap], print_finding, NULL), 0);
        ck_assert_int_eq(cairn_stats_get(private_heaps[heap], &stats), 0);
        live += stats.blocks_live;
    }
    ck_assert_uint_eq(live, blocks_live);
}

START_TEST(threads_in_private_heaps_do_as_the_model_says)
{
    static const uint32_t thread_counts[] = {1, 1, 2, THREADS_MAX};
    uint32_t threads = thread_counts[_i];
    static struct worker workers[THREADS_MAX];
    char name[80];
    snprintf(name, sizeof name, "random private, %u threads", threads);
    uint64_t seed = random_seed(name, 100 + (uint64_t)_i);
    for (uint32_t heap = 0; heap < PRIVATE_HEAPS; heap++)
        ck_assert_int_eq(cairn_heap_create(&private_heaps[heap], NULL), 0);

    for (uint32_t t = 0; t < threads; t++) {
        workers[t].random = random_begin(seed * 1000 + t);
        workers[t].rounds = random_rounds(30000) / threads;
        for (uint32_t heap = 0; heap < PRIVATE_HEAPS; heap++)
            workers[t].models[heap].next_seed = (uint64_t)t << 32;
        if (threads == 1)
            work(&workers[t]);
        else
            ck_assert_int_eq(pthread_create(&workers[t].thread, NULL, work, &workers[t]), 0);
    }
    uint64_t live = 0;
    for (uint32_t t = 0; t < threads; t++) {
        if (threads != 1)
            ck_assert_int_eq(pthread_join(workers[t].thread, NULL), 0);
        if (workers[t].wrong != NULL)
            ck_abort_msg("thread %u: %s", t, workers[t].wrong);
    }
    for (uint32_t t = 0; t < threads; t++) {
        for (uint32_t heap = 0; heap < PRIVATE_HEAPS; heap++) {
            ck_assert(model_holds(&workers[t].models[heap]));
            live += workers[t].models[heap].count;
        }
    }
    check_private_heaps(live + letters);

    /* This thread frees it all, what the dead threads left as well. */
    while (letters != 0) {
        letters--;
        cairn_free(private_heaps[mailbox[letters].heap], mailbox[letters].block.address);
    }
    for (uint32_t t = 0; t < threads; t++) {
        for (uint32_t heap = 0; heap < PRIVATE_HEAPS; heap++) {
            struct model *model = &workers[t].models[heap];
            for (size_t i = 0; i < model->count; i++)
                cairn_free(private_heaps[heap], model->blocks[i].address);
            model_end(model);
        }
    }
    check_private_heaps(0);
    for (uint32_t heap = 0; heap < PRIVATE_HEAPS; heap++) {
        ck_assert_int_ge(cairn_trim(private_heaps[heap]), 0);
        cairn_stats stats = {.size = sizeof stats};
        ck_assert_int_eq(cairn_stats_get(private_heaps[heap], &stats), 0);
        ck_assert_uint_eq(stats.slabs, 0);
        ck_assert_uint_eq(stats.large, 0);
    }
    check_private_heaps(0);
    for (uint32_t heap = 0; heap < PRIVATE_HEAPS; heap++)
        cairn_heap_close(private_heaps[heap]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("random");
    double seconds = 60.0 * (double)random_rounds(1);
    TCase *core = suite_case(suite, "core", seconds);
    tcase_add_loop_test(core, several_owners_in_lent_memory_do_as_the_model_says, 0, 12);
    TCase *private = suite_case(suite, "private", seconds);
    tcase_add_loop_test(private, threads_in_private_heaps_do_as_the_model_says, 0, 4);
    return suite_run(suite);
}
