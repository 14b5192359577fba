/* SPDX-License-Identifier: MIT */
/*
 * One owner dies, another recovers it. First in states that are made by hand after the pictures in core; then in every
 * state that an operation really goes through, one machine instruction after the other.
 */
#include "recovery/recovery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/inspect.h"
#include "core/slab.h"
#include "core/spans.h"
#include "support/lent.h"
#include "support/random.h"
#include "support/steps.h"
#include "support/suite.h"

static const uint32_t shifts[] = {10, 12, 16};
#define SHIFT (shifts[_i])

#define UNITS (unit_shift == 10 ? 80u : 48u)

static struct lent lent;
static struct actor a, b, c; /* a dies */
static struct model model;
static struct random numbers;

/* ================================================================ a world to die in */

static void *add(void *block, size_t size)
{
    if (block == NULL || !model_add(&model, block, size))
        ck_abort_msg("block %p of %zu bytes", block, size);
    return block;
}

static void *alloc(struct actor *actor, size_t size)
{
    return add(actor_alloc(actor, size), size);
}

/* Takes a block out of the model, for the test to do something to it; its contents must be as they were. */
static void *take_out(void *block)
{
    struct model_block taken;
    if (!model_take(&model, model_find(&model, block), &taken))
        ck_abort_msg("block %p has changed", block);
    return block;
}

static void free_block(struct actor *actor, void *block)
{
    enum core_crime crime = actor_free(actor, take_out(block));
    if (crime != CRIME_NONE)
        ck_abort_msg("block %p: crime %d", block, crime);
}

static struct core_place find(const void *block)
{
    return core_find(&lent.heap, block);
}

static uint64_t ref_of(const void *address)
{
    return section_ref(&lent.section, address);
}

/* Both owners have slabs of several classes with blocks live, free, and freed elsewhere; and large blocks. */
static void begin(uint32_t unit_shift)
{
    static const size_t sizes[] = {16, 64, 64, 64, 200};
    lent_create(&lent, unit_shift, UNITS, 0);
    actor_begin(&a, &lent.section, &lent.heap);
    actor_begin(&b, &lent.section, &lent.heap);
    numbers = random_begin(unit_shift * 77);
    for (uint32_t i = 0; i < 160; i++)
        alloc(i % 3 == 0 ? &b : &a, sizes[random_below(&numbers, COUNT_OF(sizes))]);
    alloc(&a, 5u << unit_shift); /* 4 units are cut from slabs yet */
    alloc(&b, 6u << unit_shift);
    alloc(&a, lent.heap.slab_max);
    for (uint32_t i = 0; i < 50; i++) {
        struct model_block *block = &model.blocks[random_below(&numbers, model.count)];
        if (block->size < 1000)
            free_block(random_below(&numbers, 2) != 0 ? &a : &b, block->address);
    }
    ck_assert_uint_eq(findings(&lent.section), 0);
}

static void end(void)
{
    owner_forget(&a.core);
    owner_forget(&b.core);
    owner_forget(&c.core);
    model_end(&model);
    lent_end(&lent);
}

static void check(void)
{
    ck_assert_uint_eq(findings(&lent.section), 0);
    ck_assert(model_holds(&model));
    ck_assert(holds_exactly(&lent.section, lent.heap.number, &model));
}

/* A newcomer gets all that is free, nothing that is live, and in the end everything comes back. */
static void use_up_and_give_back(void)
{
    actor_begin(&c, &lent.section, &lent.heap);
    for (uint32_t refused = 0; refused < 20;) {
        size_t size = random_size(&numbers, 4u << lent.section.unit_shift);
        void *block = actor_alloc(&c, size);
        if (block != NULL)
            add(block, size);
        else
            refused++;
    }
    check();
    while (model.count != 0)
        free_block(model.count % 2 != 0 ? &b : &c, model.blocks[random_below(&numbers, model.count)].address);
    actor_leave(&b);
    core_trim(c.bins, &lent.heap);
    ck_assert_uint_eq(findings(&lent.section), 0);
    ck_assert_uint_eq(bytes_in_spans(&lent.section), 0);
    ck_assert_uint_eq(load_relaxed(&lent.heap.image->bytes_charged), 0);
}

/* The first owner is dead: the second recovers it; and again, as if it had been killed before its last store. */
static void recover(void)
{
    uint32_t dead = a.core.number;
    struct owner_image *record = section_owner(&lent.section, dead);
    uint64_t word = load_relaxed(&record->word);
    actor_die(&a);
    ck_assert(actor_recover(&lent.section, &b, dead));
    check();
    unsigned char *once = malloc(lent.bytes);
    memcpy(once, lent.section.base, lent.bytes);
    store_relaxed(&record->word, record_word(RECORD_LIVE, 0, record_generation_of(word)));
    ck_assert(actor_recover(&lent.section, &b, dead));
    if (memcmp(once, lent.section.base, lent.bytes) != 0)
        ck_abort_msg("the second recovery changed something");
    ck_assert(!actor_recover(&lent.section, &b, dead)); /* nobody is left to be recovered */
    if (memcmp(once, lent.section.base, lent.bytes) != 0)
        ck_abort_msg("a recovery of nobody changed something");
    free(once);
    ck_assert_int_eq(record_state_of(load_relaxed(&record->word)), RECORD_FREE);
    ck_assert_uint_eq(record_generation_of(load_relaxed(&record->word)), record_generation_of(word) + 1);
    use_up_and_give_back();
}

/* ================================================================ by hand: slabs */

/* Calls tear for each slab of the first owner until it says that it has torn one. */
static void tear_slabs(bool (*tear)(struct span_image *slab))
{
    uint32_t torn = 0;
    for (uint32_t unit = 0; unit < section_units_end(&lent.section); unit++) {
        if (load_relaxed(&lent.section.unit_words[unit]) == a.bins->word)
            torn += tear(section_span(&lent.section, unit));
    }
    ck_assert_uint_gt(torn, 0);
}

static bool drain_without_clearing(struct span_image *slab)
{
    bool any = false;
    for (uint32_t k = 0; k < slab_words_ready(slab); k++) {
        uint64_t elsewhere = load_relaxed(&span_elsewhere(slab)[k]);
        any = any || elsewhere != 0;
        store_relaxed(&span_live(slab)[k], load_relaxed(&span_live(slab)[k]) & ~elsewhere);
    }
    return any;
}

static bool take_back_ready(struct span_image *slab)
{
    bool any = false;
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t last = load_relaxed(&slab->ready) - 1;
        if (last == 0 || (load_relaxed(&span_live(slab)[last / 64]) >> last % 64 & 1) != 0)
            break;
        store_relaxed(&slab->ready, last);
        any = true;
    }
    return any;
}

START_TEST(an_owner_that_died_between_two_calls_leaves_orphans)
{
    begin(SHIFT);
    recover();
    end();
}
END_TEST

START_TEST(a_bit_in_elsewhere_that_is_not_live_is_no_block)
{
    begin(SHIFT);
    tear_slabs(drain_without_clearing);
    recover();
    end();
}
END_TEST

START_TEST(blocks_that_were_not_ready_yet_are_free)
{
    begin(SHIFT);
    tear_slabs(take_back_ready);
    recover();
    end();
}
END_TEST

START_TEST(an_orphan_that_was_counted_and_is_none_yet_does_no_harm)
{
    begin(SHIFT);
    store_relaxed(&lent.heap.image->orphans, load_relaxed(&lent.heap.image->orphans) + 1);
    recover();
    end();
}
END_TEST

/* ================================================================ by hand: spans */

START_TEST(units_that_were_taken_and_not_published_are_free_again)
{
    begin(SHIFT);
    struct span_taken span;
    ck_assert_int_eq(span_take(&a.core, &lent.heap, load_relaxed(&lent.heap.life_made), 3, 1, &span), 0);
    recover();
    end();
}
END_TEST

START_TEST(tails_of_a_head_that_was_not_published_are_free_again)
{
    begin(SHIFT);
    struct span_taken span;
    ck_assert_int_eq(span_take(&a.core, &lent.heap, load_relaxed(&lent.heap.life_made), 4, 1, &span), 0);
    for (uint32_t i = 1; i < 3; i++) /* the last is not a tail yet */
        store_relaxed(&lent.section.unit_words[span.unit + i],
                      unit_word(UNIT_TAIL, a.core.number, lent.heap.number, span.unit));
    recover();
    end();
}
END_TEST

START_TEST(units_that_were_charged_and_not_yet_taken_are_not_counted)
{
    begin(SHIFT);
    struct span_taken span;
    ck_assert_int_eq(span_take(&a.core, &lent.heap, load_relaxed(&lent.heap.life_made), 4, 1, &span), 0);
    for (uint32_t i = 2; i < 4; i++)
        store_relaxed(&lent.section.unit_words[span.unit + i], 0);
    store_relaxed(&a.core.image->charging, lent.heap.number); /* it says so itself */
    recover();
    end();
}
END_TEST

static void *large_block(void)
{
    for (size_t i = 0; i < model.count; i++) {
        if (model.blocks[i].size == 5u << lent.section.unit_shift)
            return model.blocks[i].address;
    }
    ck_abort_msg("no large block");
}

START_TEST(a_span_that_was_not_yet_longer_is_as_it_was)
{
    begin(SHIFT);
    void *block = actor_alloc(&a, 9u << SHIFT); /* so that there is room behind it */
    struct core_place place = find(block);
    ck_assert(core_resize_large(a.bins, &lent.heap, &place, 5u << SHIFT));
    add(block, 5u << SHIFT);
    ck_assert(span_extend(&a.core, &lent.heap, place.unit, 5, 8));
    store_relaxed(&place.span->span_units, 5);
    store_relaxed(&lent.section.unit_words[place.unit + 7],
                  unit_word(UNIT_TAKEN, a.core.number, lent.heap.number, unit_low_of(place.word)));
    recover();
    end();
}
END_TEST

START_TEST(a_span_whose_end_has_begun_ends)
{
    /* 0: nothing freed; 1, 2: so many of its tails freed; 3: and one of them taken by another. */
    for (uint32_t tails = 0; tails < 4; tails++) {
        begin(SHIFT);
        unsigned char *block = alloc(&a, 5u << SHIFT);
        struct core_place place = find(block);
        take_out(block);
        store_relaxed(&lent.section.unit_words[place.unit],
                      unit_word(UNIT_FREEING, a.core.number, lent.heap.number, unit_low_of(place.word)));
        if (tails != 0)
            span_free_tails(&lent.section, a.core.number, place.unit, place.unit + 5 - tails, place.unit + 5);
        while (tails == 3 && unit_state_of(load_relaxed(&lent.section.unit_words[place.unit + 2])) == UNIT_FREE)
            alloc(&b, 1u << SHIFT >> 2);
        recover();
        end();
    }
}
END_TEST

START_TEST(a_slab_whose_release_has_begun_is_released)
{
    begin(SHIFT);
    unsigned char *block = alloc(&a, lent.heap.slab_max);
    struct core_place place = find(block);
    for (size_t i = model.count; i-- > 0;) {
        if (find(model.blocks[i].address).unit == place.unit)
            free_block(&a, model.blocks[i].address);
    }
    store_relaxed(&lent.section.unit_words[place.unit],
                  unit_word(UNIT_FREEING, a.core.number, lent.heap.number, unit_low_of(place.word)));
    recover();
    ck_assert_int_ne(find(block).crime, CRIME_NONE);
    end();
}
END_TEST

START_TEST(units_taken_to_be_decommitted_are_free_again)
{
    begin(SHIFT);
    free_block(&a, large_block());
    uint32_t unit = 0;
    while (load_relaxed(&lent.section.unit_words[unit]) != UNIT_FREE_USED)
        unit++;
    store_relaxed(&lent.section.unit_words[unit], unit_word(UNIT_TAKEN, a.core.number, 0, 0));
    recover();
    end();
}
END_TEST

/* ================================================================ by hand: memory that is given back */

enum { RUN_BYTES = 64 * 1024 };

static struct run {
    struct section section;
    struct core_heap heap;
    uint32_t first, end; /* free units, used and committed, whole pages */
    uint64_t offset;
} run;

static void begin_run(uint32_t unit_shift)
{
    struct section_params params = {.bytes_max = UINT64_C(4) << 20, .owners_max = 4, .unit_shift = unit_shift};
    ck_assert_int_eq(section_create_anonymous(&run.section, &params), 0);
    lent_heap(&run.heap, &run.section, 0);
    actor_begin(&a, &run.section, &run.heap);
    actor_begin(&b, &run.section, &run.heap);
    struct span_taken span;
    ck_assert_int_eq(
        span_take(&b.core, &run.heap, load_relaxed(&run.heap.life_made), RUN_BYTES >> unit_shift, 4096, &span), 0);
    run.first = span.unit;
    run.end = span.unit + span.units;
    run.offset = section_offset(&run.section, section_unit(&run.section, span.unit));
    ck_assert_int_eq(span_commit(&run.section, b.core.number, run.offset, RUN_BYTES), 0);
    memset(section_unit(&run.section, span.unit), 0x5a, RUN_BYTES);
    span.is_zero = false;
    span_put_back(&b.core, &run.heap, &span);
}

static void end_run(void)
{
    ck_assert_uint_eq(section_count_committed(&run.section), load_relaxed(&run.section.image->bytes_committed));
    owner_forget(&a.core);
    owner_forget(&b.core);
    section_close(&run.section);
}

/* An owner commits the run's last page, and what is behind it. */
static void name_last_page(struct actor *actor, bool begins)
{
    uint64_t end = (run.offset + RUN_BYTES) >> run.section.page_shift;
    store_relaxed(&actor->core.image->widening, begins ? (end - 1) << 32 | (end + 1) : 0);
}

static bool run_is_marked(void)
{
    uint64_t pages;
    bool marked = section_committed(&run.section, run.offset, &pages);
    ck_assert_uint_ge(pages, RUN_BYTES); /* all of it, or none */
    return marked;
}

static bool run_is_there(void)
{
    const unsigned char *bytes = section_unit(&run.section, run.first);
    return bytes[0] == 0x5a && bytes[RUN_BYTES - 1] == 0x5a;
}

/* a has taken the run to give its memory back, and dies. */
static void die_giving_back(void)
{
    for (uint32_t unit = run.first; unit < run.end; unit++)
        store_relaxed(&run.section.unit_words[unit], unit_word(UNIT_TAKEN, a.core.number, 0, 0));
    uint32_t dead = a.core.number;
    actor_die(&a);
    ck_assert(actor_recover(&run.section, &b, dead));
    for (uint32_t unit = run.first; unit < run.end; unit++)
        ck_assert_int_eq(unit_state_of(load_relaxed(&run.section.unit_words[unit])), UNIT_FREE);
}

START_TEST(memory_that_may_be_gone_is_given_back_and_unmarked)
{
    begin_run(SHIFT);
    die_giving_back();
    ck_assert(!run_is_marked());
    end_run();
}
END_TEST

START_TEST(memory_that_may_be_gone_beside_one_who_commits_is_unmarked_and_stays)
{
    begin_run(SHIFT);
    name_last_page(&b, true);
    die_giving_back();
    ck_assert(!run_is_marked());
    ck_assert(run_is_there());
    end_run();
}
END_TEST

START_TEST(memory_where_somebody_commits_is_not_given_back)
{
    begin_run(SHIFT);
    name_last_page(&a, true);
    ck_assert_uint_eq(span_decommit(&b.core, run.first, run.end), 0);
    ck_assert(run_is_marked());
    ck_assert(run_is_there());
    name_last_page(&a, false);
    ck_assert_uint_eq(span_decommit(&b.core, run.first, run.end), RUN_BYTES);
    ck_assert(!run_is_marked());
    end_run();
}
END_TEST

/* ================================================================ by hand: hands */

static void set_hand(enum hand_op op, const void *block, const void *dest)
{
    store_relaxed(&a.core.image->hand_dest, dest != NULL ? ref_of(dest) : 0);
    store_relaxed(&a.core.image->hand, (uint64_t)op << HAND_OP_SHIFT | ref_of(block));
}

static void *small_of(const struct actor *actor)
{
    for (size_t i = 0; i < model.count; i++) {
        if (model.blocks[i].size == 64 && find(model.blocks[i].address).word == actor->bins->word)
            return model.blocks[i].address;
    }
    ck_abort_msg("no block of 64 bytes");
}

static void set_elsewhere(const void *block)
{
    struct core_place place = find(block);
    fetch_or_acq_rel(&span_elsewhere(place.span)[place.index / 64], UINT64_C(1) << place.index % 64);
}

START_TEST(a_free_that_its_hand_names_is_finished)
{
    for (uint32_t with_bit = 0; with_bit < 2; with_bit++) {
        begin(SHIFT);
        void *block = take_out(small_of(&b));
        if (with_bit != 0)
            set_elsewhere(block);
        set_hand(HAND_FREE, block, NULL);
        recover();
        end();
    }
}
END_TEST

START_TEST(a_free_in_an_orphan_that_its_hand_names_is_finished)
{
    for (uint32_t with_bit = 0; with_bit < 2; with_bit++) {
        begin(SHIFT);
        void *block = take_out(small_of(&b));
        actor_leave(&b);
        if (with_bit != 0)
            set_elsewhere(block);
        set_hand(HAND_FREE, block, NULL);
        actor_begin(&b, &lent.section, &lent.heap);
        recover();
        end();
    }
}
END_TEST

/* A place for a pointer in a block that lives on. */
static void **make_dest(void)
{
    void **dest = actor_alloc(&b, 64);
    memset(dest, 0, 64);
    return dest;
}

/* The holder stays out of the model while pointers are in it. */
static void keep_dest(void **dest)
{
    add(dest, 64);
}

START_TEST(a_block_that_was_taken_and_not_linked_is_free_again)
{
    for (uint32_t large = 0; large < 2; large++) {
        begin(SHIFT);
        void **dest = make_dest();
        *dest = dest;
        void *block = actor_alloc(&a, large != 0 ? 5u << SHIFT : 64);
        set_hand(HAND_ALLOC_TO, block, dest);
        uint32_t dead = a.core.number;
        actor_die(&a);
        ck_assert(actor_recover(&lent.section, &b, dead));
        ck_assert_ptr_eq(*dest, dest);
        keep_dest(dest);
        check();
        use_up_and_give_back();
        end();
    }
}
END_TEST

START_TEST(a_block_that_was_linked_stays)
{
    for (uint32_t large = 0; large < 2; large++) {
        begin(SHIFT);
        void **dest = make_dest();
        size_t size = large != 0 ? 5u << SHIFT : 64;
        void *block = actor_alloc(&a, size);
        *dest = block;
        set_hand(HAND_ALLOC_TO, block, dest);
        uint32_t dead = a.core.number;
        actor_die(&a);
        ck_assert(actor_recover(&lent.section, &b, dead));
        ck_assert_ptr_eq(*dest, block);
        keep_dest(dest);
        add(block, size);
        check();
        use_up_and_give_back();
        end();
    }
}
END_TEST

START_TEST(a_block_in_a_hand_that_was_not_yet_taken_stays_free)
{
    begin(SHIFT);
    void **dest = make_dest();
    keep_dest(dest);
    struct bin *bin = &a.bins->bin[class_of(64)];
    while (bin->claim == 0)
        alloc(&a, 64);
    void *next = bin->word_base + (size_t)bit_lowest(bin->claim) * bin->block_bytes;
    set_hand(HAND_ALLOC_TO, next, dest);
    recover();
    end();
}
END_TEST

START_TEST(a_block_that_was_to_be_unlinked_is_unlinked_and_free)
{
    /* 0, 1: *dest not yet cleared; 2, 3: cleared; 4, 5: and freed. Odd ones: a block of another owner. */
    for (uint32_t at = 0; at < 6; at++) {
        begin(SHIFT);
        void **dest = make_dest();
        void *block = take_out(small_of(at % 2 != 0 ? &b : &a));
        *dest = at < 2 ? block : NULL;
        set_hand(HAND_FREE_FROM, block, dest);
        struct core_place place = find(block);
        if (at == 4)
            fetch_and_acq_rel(&span_live(place.span)[place.index / 64], ~(UINT64_C(1) << place.index % 64));
        if (at == 5)
            set_elsewhere(block);
        uint32_t dead = a.core.number;
        actor_die(&a);
        ck_assert(actor_recover(&lent.section, &b, dead));
        ck_assert_ptr_null(*dest);
        keep_dest(dest);
        check();
        use_up_and_give_back();
        end();
    }
}
END_TEST

START_TEST(a_large_block_that_was_to_be_unlinked_is_unlinked_and_free)
{
    for (uint32_t at = 0; at < 3; at++) {
        begin(SHIFT);
        void **dest = make_dest();
        void *block = take_out(large_block());
        struct core_place place = find(block);
        *dest = at == 0 ? block : NULL;
        set_hand(HAND_FREE_FROM, block, dest);
        if (at == 2)
            store_relaxed(&lent.section.unit_words[place.unit],
                          unit_word(UNIT_FREEING, a.core.number, lent.heap.number, unit_low_of(place.word)));
        uint32_t dead = a.core.number;
        actor_die(&a);
        ck_assert(actor_recover(&lent.section, &b, dead));
        ck_assert_ptr_null(*dest);
        keep_dest(dest);
        check();
        use_up_and_give_back();
        end();
    }
}
END_TEST

START_TEST(a_block_that_had_begun_to_shrink_is_short_or_long)
{
    for (uint32_t at = 0; at < 3; at++) {
        begin(SHIFT);
        unsigned char *block = alloc(&a, 6u << SHIFT);
        struct core_place place = find(block);
        model.blocks[model_find(&model, block)].size = 2u << SHIFT;
        pattern_fill(block, 2u << SHIFT, model.blocks[model_find(&model, block)].seed);
        store_relaxed(&place.span->large_bytes, UINT64_C(2) << SHIFT);
        if (at >= 1)
            store_relaxed(&place.span->span_units, 2);
        if (at >= 2)
            span_free_tails(&lent.section, a.core.number, place.unit, place.unit + 4, place.unit + 6);
        recover();
        end();
    }
}
END_TEST

/* ================================================================ who recovers */

START_TEST(a_lock_of_the_dead_is_let_go)
{
    begin(SHIFT);
    store_relaxed(&lent.section.image->lock, (uint64_t)a.core.number << 32 | 5);
    recover();
    ck_assert_uint_ne(load_relaxed(&lent.section.image->lock) >> 32, 1);
    end();
}
END_TEST

/* ================================================================ every state that really is */

/* What may be different from the model when the caller was killed. */
enum doubt {
    NO_DOUBT,    /* the same blocks are live */
    ONE_MORE,    /* one block more may be live: it was lost */
    IS_LINKED,   /* one block more is live exactly when *dest names it */
    IS_FREED,    /* the subject may be live or not */
    IS_UNLINKED, /* the subject is live exactly when *dest names it */
};

static void *subject;
static void **dest;
static size_t new_size;

struct operation {
    const char *name;
    void (*prepare)(void);
    void (*call)(void *arg);
    enum doubt doubt;
};

static void call_alloc(void *arg)
{
    (void)arg;
    subject = core_alloc(a.bins, &lent.heap, new_size, &a.error);
}

static void call_free(void *arg)
{
    (void)arg;
    actor_free(&a, subject);
}

static void call_resize(void *arg)
{
    (void)arg;
    struct core_place place = find(subject);
    core_resize_large(a.bins, &lent.heap, &place, new_size);
}

static void call_alloc_to(void *arg)
{
    (void)arg;
    subject = core_alloc_to(a.bins, &lent.heap, new_size, dest, ref_of(dest), &a.error);
}

static void call_free_from(void *arg)
{
    (void)arg;
    core_free_from(a.bins, &lent.heap, dest, ref_of(dest));
}

static void call_trim(void *arg)
{
    (void)arg;
    core_trim(a.bins, &lent.heap);
}

static void call_leave(void *arg)
{
    (void)arg;
    owner_leave(&a.core);
}

static void call_recovery(void *arg)
{
    (void)arg;
    actor_recover(&lent.section, &b, a.core.number);
}

static void a_small_block(void)
{
    new_size = 64;
    while (a.bins->bin[class_of(64)].claim == 0)
        alloc(&a, 64);
}

static void a_claim(void)
{
    new_size = 64;
    while (a.bins->bin[class_of(64)].claim != 0)
        alloc(&a, 64);
}

static void a_new_class(void)
{
    new_size = 120;
}

static void a_wide_slab(void)
{
    new_size = lent.heap.slab_max - lent.heap.slab_max / 4;
}

static void a_large_block(void)
{
    new_size = 7u << lent.section.unit_shift;
}

/* One class is full but for what others have freed, or left. */
static void fill_class(struct actor *actor, size_t size)
{
    for (uint32_t i = 0; i < 200; i++) {
        void *block = actor_alloc(actor, size);
        if (block == NULL)
            break;
        add(block, size);
    }
}

static void frees_from_elsewhere(void)
{
    a_claim();
    for (size_t i = model.count; i-- > 0;) {
        if (model.blocks[i].size == 64 && find(model.blocks[i].address).word == a.bins->word && i % 3 != 0)
            free_block(&b, model.blocks[i].address);
    }
}

static void an_orphan_to_adopt(void)
{
    actor_begin(&c, &lent.section, &lent.heap);
    fill_class(&c, 250);
    for (size_t i = model.count; i-- > 0;) {
        if (model.blocks[i].size == 250 && i % 2 != 0)
            free_block(&c, model.blocks[i].address);
    }
    actor_leave(&c);
    new_size = 250;
}

static void a_local_block(void)
{
    subject = take_out(small_of(&a));
}

static void a_block_of_the_other(void)
{
    subject = take_out(small_of(&b));
}

static void a_block_of_an_orphan(void)
{
    actor_begin(&c, &lent.section, &lent.heap);
    subject = actor_alloc(&c, 64);
    actor_leave(&c);
}

/* The last live block of a slab that is not the only one in its ring. */
static void the_last_block_of_a_slab(void)
{
    for (uint32_t i = 0; i < 40; i++)
        alloc(&a, 300);
    size_t left = 0;
    uint32_t first = UINT32_MAX;
    for (size_t i = model.count; i-- > 0;) {
        if (model.blocks[i].size != 300)
            continue;
        struct core_place place = find(model.blocks[i].address);
        if (place.span->listed == SPAN_CURRENT)
            continue;
        if (first == UINT32_MAX)
            first = place.unit;
        if (place.unit == first && left == 0) {
            left++;
            subject = model.blocks[i].address;
        } else if (place.unit == first || place.index % 2 == 0) {
            free_block(&a, model.blocks[i].address);
        }
    }
    ck_assert_uint_ne(left, 0);
    take_out(subject);
}

static void a_large_subject(void)
{
    subject = take_out(large_block());
}

static void a_large_block_to_grow(void)
{
    subject = actor_alloc(&a, 9u << lent.section.unit_shift);
    struct core_place place = find(subject);
    ck_assert(core_resize_large(a.bins, &lent.heap, &place, 5u << lent.section.unit_shift));
    add(subject, 5u << lent.section.unit_shift);
    new_size = 8u << lent.section.unit_shift;
}

static void a_large_block_to_shrink(void)
{
    subject = alloc(&a, 8u << lent.section.unit_shift);
    new_size = 3u << lent.section.unit_shift;
    size_t index = model_find(&model, subject);
    model.blocks[index].size = new_size;
    pattern_fill(subject, new_size, model.blocks[index].seed);
}

static void empty_slabs(void)
{
    the_last_block_of_a_slab();
    actor_free(&a, subject);
    for (size_t i = model.count; i-- > 0;) {
        if (model.blocks[i].size == 64)
            free_block(i % 2 != 0 ? &a : &b, model.blocks[i].address);
    }
}

/* The dead one was about to link a block: its recoverer is watched. */
static void a_death(void)
{
    tear_slabs(drain_without_clearing);
    subject = actor_alloc(&a, 5u << lent.section.unit_shift);
    set_hand(HAND_ALLOC_TO, subject, dest);
    struct span_taken span;
    ck_assert_int_eq(span_take(&a.core, &lent.heap, load_relaxed(&lent.heap.life_made), 3, 1, &span), 0);
    store_relaxed(&lent.section.unit_words[span.unit + 1],
                  unit_word(UNIT_TAIL, a.core.number, lent.heap.number, span.unit));
}

static const struct operation operations[] = {
    {"alloc from a claim", a_small_block, call_alloc, ONE_MORE},
    {"alloc without a claim", a_claim, call_alloc, ONE_MORE},
    {"alloc of a new class", a_new_class, call_alloc, ONE_MORE},
    {"alloc of a wide slab", a_wide_slab, call_alloc, ONE_MORE},
    {"alloc of a large block", a_large_block, call_alloc, ONE_MORE},
    {"alloc after frees from elsewhere", frees_from_elsewhere, call_alloc, ONE_MORE},
    {"alloc by adoption", an_orphan_to_adopt, call_alloc, ONE_MORE},
    {"free here", a_local_block, call_free, IS_FREED},
    {"free elsewhere", a_block_of_the_other, call_free, IS_FREED},
    {"free in an orphan", a_block_of_an_orphan, call_free, IS_FREED},
    {"free and release", the_last_block_of_a_slab, call_free, IS_FREED},
    {"free of a large block", a_large_subject, call_free, IS_FREED},
    {"grow", a_large_block_to_grow, call_resize, NO_DOUBT},
    {"shrink", a_large_block_to_shrink, call_resize, NO_DOUBT},
    {"alloc_to from a claim", a_small_block, call_alloc_to, IS_LINKED},
    {"alloc_to of a new class", a_new_class, call_alloc_to, IS_LINKED},
    {"alloc_to of a large block", a_large_block, call_alloc_to, IS_LINKED},
    {"free_from here", a_local_block, call_free_from, IS_UNLINKED},
    {"free_from elsewhere", a_block_of_the_other, call_free_from, IS_UNLINKED},
    {"free_from and release", the_last_block_of_a_slab, call_free_from, IS_UNLINKED},
    {"free_from of a large block", a_large_subject, call_free_from, IS_UNLINKED},
    {"trim", empty_slabs, call_trim, NO_DOUBT},
    {"leave", empty_slabs, call_leave, NO_DOUBT},
    {"recovery", a_death, call_recovery, NO_DOUBT},
};

/* What the others do before anybody notices the death. */
enum meanwhile {
    NOTHING,
    OTHERS_ALLOCATE,
    OTHERS_FREE,
    MEANWHILES,
};

struct survey {
    const struct model *more;
    void *extra; /* a live block that nobody knows */
    size_t extras;
    size_t known;
    bool freed_by_others;
};

static int look_at_block(void *block, uint64_t bytes, void *arg)
{
    (void)bytes;
    struct survey *survey = arg;
    if (model_find(&model, block) != model.count || model_find(survey->more, block) != survey->more->count ||
        block == dest) {
        survey->known++;
    } else {
        survey->extra = block;
        survey->extras++;
    }
    return 0;
}

/* Allocates as long as there is a block of any class. */
static void fill_up(struct actor *actor, struct model *more, enum meanwhile meanwhile)
{
    struct random sizes = random_begin(3);
    uint32_t size_class = class_of(lent.heap.slab_max) + 1, refused = 0;
    while (size_class != 0) {
        size_t size = refused < 10 ? random_size(&sizes, 6u << lent.section.unit_shift) : class_bytes(size_class - 1);
        void *block = actor_alloc(actor, size);
        size_t index = model_find(&model, block);
        bool was_live = index != model.count && !(meanwhile == OTHERS_FREE && index % 2 == 0);
        if (block == NULL && refused < 10)
            refused++;
        else if (block == NULL)
            size_class--;
        else if (was_live || !model_add(more, block, size))
            ck_abort_msg("%p was live and is allocated again", block);
    }
}

/* A state is good when nothing is lost in it and nothing doubled, and all of it comes back. */
static void judge(const struct operation *operation, enum meanwhile meanwhile, uint32_t dead, uint32_t idle)
{
    struct model more = {0};
    struct actor d;
    size_t freed = 0;
    actor_begin(&d, &lent.section, &lent.heap);
    if (meanwhile == OTHERS_ALLOCATE)
        fill_up(&d, &more, meanwhile);
    for (size_t i = 0; meanwhile == OTHERS_FREE && i < model.count; i += 2, freed++)
        ck_assert_int_eq(actor_free(&d, model.blocks[i].address), CRIME_NONE);

    bool was_live = record_state_of(load_relaxed(&section_owner(&lent.section, dead)->word)) != RECORD_FREE;
    ck_assert(actor_recover(&lent.section, &d, dead) == was_live);
    ck_assert_uint_eq(findings(&lent.section), 0);

    struct survey survey = {.more = &more};
    (void)core_walk(&lent.section, lent.heap.number, 0, NULL, look_at_block, &survey);
    ck_assert_uint_eq(survey.known + freed, model.count + more.count + 1);
    ck_assert_uint_le(survey.extras, operation->doubt == NO_DOUBT ? 0 : 1);
    if (operation->doubt == IS_LINKED)
        ck_assert_ptr_eq(survey.extra, *dest);
    if (operation->doubt == IS_FREED || operation->doubt == IS_UNLINKED)
        ck_assert(survey.extra == NULL || survey.extra == subject);
    if (operation->doubt == IS_UNLINKED)
        ck_assert_ptr_eq(survey.extra, *dest);

    if (meanwhile != OTHERS_ALLOCATE)
        fill_up(&d, &more, meanwhile);
    ck_assert(model_holds(&more));
    for (size_t i = 0; i < model.count; i++) {
        bool is_freed = meanwhile == OTHERS_FREE && i % 2 == 0;
        if (!is_freed && !pattern_holds(model.blocks[i].address, model.blocks[i].size, model.blocks[i].seed))
            ck_abort_msg("%p has changed", (void *)model.blocks[i].address);
    }

    /* Everybody else dies, too. */
    ck_assert(actor_recover(&lent.section, &d, idle));
    ck_assert_uint_eq(findings(&lent.section), 0);
    for (size_t i = 0; i < model.count; i++) {
        if (meanwhile != OTHERS_FREE || i % 2 != 0)
            ck_assert_int_eq(actor_free(&d, model.blocks[i].address), CRIME_NONE);
    }
    for (size_t i = 0; i < more.count; i++)
        ck_assert_int_eq(actor_free(&d, more.blocks[i].address), CRIME_NONE);
    if (survey.extra != NULL)
        ck_assert_int_eq(actor_free(&d, survey.extra), CRIME_NONE);
    ck_assert_int_eq(actor_free(&d, dest), CRIME_NONE);
    core_trim(d.bins, &lent.heap);
    ck_assert_uint_eq(findings(&lent.section), 0);
    ck_assert_uint_eq(bytes_in_spans(&lent.section), 0);
    owner_forget(&d.core);
    model_end(&more);
}

START_TEST(whoever_is_killed_at_any_instruction_can_be_recovered)
{
    const struct operation *operation = &operations[_i / 2];
    if (!steps_are_possible()) {
        fprintf(stderr, "test_recovery: SKIPPED %s: this program cannot be run step by step\n", operation->name);
        return;
    }
    begin(_i % 2 != 0 ? 12 : 10);
    dest = make_dest();
    operation->prepare();
    if (operation->doubt == IS_UNLINKED)
        *dest = subject;
    struct steps steps;
    steps_run(&steps, lent.section.base, lent.bytes, lent.section.units_offset, dest, operation->call, NULL);
    printf("%s: %zu instructions, %zu states\n", operation->name, steps.instructions, steps.count);
    ck_assert_uint_gt(steps.count, 0);
    uint32_t dead = a.core.number, idle = b.core.number;
    for (size_t i = 0; i <= steps.count; i++) {
        for (enum meanwhile meanwhile = NOTHING; meanwhile < MEANWHILES; meanwhile++) {
            if (_i % 2 != 0 && meanwhile != i % MEANWHILES)
                continue; /* the larger section: one of them for each state, in turn */
            steps_restore(&steps, i, lent.section.base);
            judge(operation, meanwhile, dead, idle);
        }
    }
    steps_end(&steps);
    end();
}
END_TEST

/* ================================================================ heaps and their parts */

/*
 * Heap 1 has heap 2 as its child; process 1 makes or ends others and dies, process 2 lives, and process 3 dies as it
 * recovers process 1. Each has the owner of its number.
 */
enum { DEAD = 1, LIVING = 2, RECOVERER = 3, PARENT = 1, CHILD = 2 };

struct family {
    unsigned char *array;
    uint64_t bytes;
    struct section section;
    uint32_t made; /* number of the heap that the call is about */
    struct core_owner living;
};

static struct family family;

static bool seize(void *arg, uint32_t process)
{
    const uint32_t *by = arg;
    return process == DEAD || (process == RECOVERER && *by != RECOVERER);
}

static void let_go(void *arg)
{
    (void)arg;
}

static void recover_family(uint32_t by)
{
    struct recovery recovery = {
        .section = &family.section, .by = by, .seize = seize, .let_go = let_go, .barrier = let_go, .arg = &by};
    (void)recovery_of_dead(&recovery);
}

static uint32_t claim_heap(uint32_t process, uint32_t parent, uint64_t options)
{
    struct heap_params params = {.process = process, .parent = parent, .options = options};
    uint32_t number = 0;
    if (heap_claim(&family.section, &params, &number) < 0)
        ck_abort_msg("no heap record");
    return number;
}

static enum record_state heap_state(uint32_t number)
{
    return record_state_of(load_relaxed(&section_heap(&family.section, number)->word));
}

static void end_heap_of(uint32_t process, uint32_t number)
{
    if (!heap_kill(&family.section, process, number, load_relaxed(&section_heap(&family.section, number)->word)))
        return;
    while (heap_kill_parts(&family.section, process))
        ;
    heap_sweep_killed(&family.section, process, process, number);
}

static void make_family(void)
{
    struct section_params params = {
        .bytes_max = 128 << 10, .owners_max = 4, .heaps_max = 8, .processes_max = 4, .roots_max = 4};
    family = (struct family){.bytes = params.bytes_max, .array = aligned_alloc(1 << 16, params.bytes_max)};
    ck_assert_int_eq(section_create_lent(&family.section, family.array, &params), 0);
    for (uint32_t process = DEAD; process <= RECOVERER; process++) {
        struct core_owner owner;
        store_relaxed(&section_process(&family.section, process)->word, record_word(RECORD_LIVE, 0, 1));
        store_relaxed(&family.section.image->processes_end, process);
        ck_assert_int_eq(owner_claim(&owner, &family.section, &test_memory, process, 1), 0);
        ck_assert_uint_eq(owner.number, process);
        if (process == LIVING)
            family.living = owner;
    }
    ck_assert_uint_eq(claim_heap(LIVING, 0, 0), PARENT);
    ck_assert_uint_eq(claim_heap(LIVING, PARENT, 0), CHILD);
    /* A record that tells another parent than the next heap of its number has. */
    uint32_t before = claim_heap(LIVING, CHILD, 0);
    end_heap_of(LIVING, before);
    ck_assert_uint_eq(before, CHILD + 1);
}

/* However far the dead had come: its heaps are gone, the child is the parent's only one, and without it there is none.
 */
static void judge_family(void)
{
    recover_family(LIVING);
    owner_sweep(&family.living); /* what a heap had whose record is free already goes with anybody's next slow call */
    ck_assert_int_eq(record_state_of(load_relaxed(&section_process(&family.section, DEAD)->word)), RECORD_FREE);
    for (uint32_t number = CHILD + 1; number <= family.section.heaps_max; number++) {
        if (number <= load_relaxed(&family.section.image->heaps_end))
            ck_assert_int_eq(heap_state(number), RECORD_FREE);
    }
    ck_assert(heap_has_children(&family.section, PARENT));
    ck_assert(!heap_has_children(&family.section, CHILD));
    end_heap_of(LIVING, CHILD);
    ck_assert(!heap_has_children(&family.section, PARENT));
    ck_assert_uint_eq(findings(&family.section), 0);
    ck_assert_uint_eq(bytes_in_spans(&family.section), 0);
    ck_assert_uint_eq(load_relaxed(&section_heap(&family.section, PARENT)->bytes_charged), 0);
}

static void make_child(void *arg)
{
    (void)arg;
    (void)claim_heap(DEAD, PARENT, HEAP_BOUND);
}

static void end_child(void *arg)
{
    (void)arg;
    end_heap_of(DEAD, family.made);
}

static void recover_all(void *arg)
{
    (void)arg;
    recover_family(RECOVERER);
}

/*
 * A bound heap of the dead with a child of the living in it, which has one, too; each with memory, in use and set
 * aside.
 */
static void make_bound(void)
{
    family.made = claim_heap(DEAD, PARENT, HEAP_BOUND);
    uint32_t line[] = {family.made, 0, 0};
    for (size_t i = 1; i < COUNT_OF(line); i++)
        line[i] = claim_heap(LIVING, line[i - 1], 0);
    for (size_t i = 0; i < COUNT_OF(line); i++) {
        struct core_heap heap = {0};
        struct actor actor;
        heap_view_init(&heap, &family.section, line[i]);
        heap.key = (uint64_t)line[i] << 24;
        actor_begin(&actor, &family.section, &heap);
        ck_assert_ptr_nonnull(actor_alloc(&actor, 100));
        ck_assert_ptr_nonnull(actor_alloc(&actor, 3u << family.section.unit_shift));
        ck_assert_int_eq(heap_keep(&actor.core, &heap, 2u << family.section.unit_shift), 0);
        actor_leave(&actor);
    }
}

START_TEST(a_kill_does_not_change_which_heaps_there_are)
{
    static const struct {
        const char *name;
        void (*call)(void *arg);
    } calls[] = {{"make", make_child}, {"end", end_child}, {"recover", recover_all}};
    if (!steps_are_possible()) {
        fprintf(stderr, "test_recovery: SKIPPED heaps: this program cannot be run step by step\n");
        return;
    }
    make_family();
    if (_i > 0)
        make_bound();
    struct steps steps;
    steps_run(&steps, family.section.base, family.bytes, family.section.units_offset, NULL, calls[_i].call, NULL);
    printf("%s: %zu instructions, %zu states\n", calls[_i].name, steps.instructions, steps.count);
    ck_assert_uint_gt(steps.count, 0);
    for (size_t i = 0; i <= steps.count; i++) {
        steps_restore(&steps, i, family.section.base);
        judge_family();
    }
    steps_end(&steps);
    section_close(&family.section);
    free(family.array);
}
END_TEST

#define ADD(tests, test) tcase_add_loop_test(tests, test, 0, (int)COUNT_OF(shifts))

int main(void)
{
    Suite *suite = suite_create("recovery");
    TCase *slabs = suite_case(suite, "slabs", 10);
    ADD(slabs, an_owner_that_died_between_two_calls_leaves_orphans);
    ADD(slabs, a_bit_in_elsewhere_that_is_not_live_is_no_block);
    ADD(slabs, blocks_that_were_not_ready_yet_are_free);
    ADD(slabs, an_orphan_that_was_counted_and_is_none_yet_does_no_harm);

    TCase *spans = suite_case(suite, "spans", 10);
    ADD(spans, units_that_were_taken_and_not_published_are_free_again);
    ADD(spans, tails_of_a_head_that_was_not_published_are_free_again);
    ADD(spans, units_that_were_charged_and_not_yet_taken_are_not_counted);
    ADD(spans, a_span_that_was_not_yet_longer_is_as_it_was);
    ADD(spans, a_span_whose_end_has_begun_ends);
    ADD(spans, a_slab_whose_release_has_begun_is_released);
    ADD(spans, units_taken_to_be_decommitted_are_free_again);
    ADD(spans, memory_that_may_be_gone_is_given_back_and_unmarked);
    ADD(spans, memory_that_may_be_gone_beside_one_who_commits_is_unmarked_and_stays);
    ADD(spans, memory_where_somebody_commits_is_not_given_back);

    TCase *hands = suite_case(suite, "hands", 10);
    ADD(hands, a_free_that_its_hand_names_is_finished);
    ADD(hands, a_free_in_an_orphan_that_its_hand_names_is_finished);
    ADD(hands, a_block_that_was_taken_and_not_linked_is_free_again);
    ADD(hands, a_block_that_was_linked_stays);
    ADD(hands, a_block_in_a_hand_that_was_not_yet_taken_stays_free);
    ADD(hands, a_block_that_was_to_be_unlinked_is_unlinked_and_free);
    ADD(hands, a_large_block_that_was_to_be_unlinked_is_unlinked_and_free);
    ADD(hands, a_block_that_had_begun_to_shrink_is_short_or_long);

    TCase *recoverers = suite_case(suite, "recoverers", 10);
    ADD(recoverers, a_lock_of_the_dead_is_let_go);

    TCase *steps = suite_case(suite, "every instruction", 60);
    tcase_add_loop_test(steps, whoever_is_killed_at_any_instruction_can_be_recovered, 0, 2 * (int)COUNT_OF(operations));
    tcase_add_loop_test(steps, a_kill_does_not_change_which_heaps_there_are, 0, 3);
    return suite_run(suite);
}
