/* SPDX-License-Identifier: MIT */
#include "core/slab.h"

#include <string.h>

#include "core/spans.h"
#include "support/lent.h"
#include "support/suite.h"

/* A slab that nobody's bins know: its owner is the test. */
struct scene {
    struct lent lent;
    struct actor owner;
    struct actor other;
    struct span_image *slab;
    uint32_t unit;
    uint64_t claim; /* as a bin has them */
    uint32_t claim_word;
};

static struct scene scene;

static void make_slab(struct section *section, struct core_heap *heap, uint32_t size)
{
    actor_begin(&scene.owner, section, heap);
    actor_begin(&scene.other, section, heap);
    struct slab_geometry geometry = slab_geometry_of(class_of(size), section->unit_shift, false);
    struct span_taken span;
    ck_assert_int_eq(span_take(&scene.owner.core, heap, load_relaxed(&heap->life_made), geometry.span_units, 1, &span),
                     0);
    scene.unit = span.unit;
    scene.slab = section_span(section, span.unit);
    scene.claim = 0;
    uint64_t header_bytes = slab_header_bytes(section, &geometry);
    ck_assert_int_eq(section_commit(section, section_offset(section, scene.slab), header_bytes), 0);
    ck_assert_int_eq(section_commit(section, section_offset(section, section_unit(section, span.unit)), size), 0);
    memset(scene.slab, 0xff, header_bytes); /* whatever lay there before */
    slab_init(section, scene.slab, class_of(size), &geometry);
    span_publish(&scene.owner.core, &span, scene.owner.bins->word);
}

static void begin(uint32_t unit_shift, uint32_t size)
{
    lent_create(&scene.lent, unit_shift, 32, 0);
    make_slab(&scene.lent.section, &scene.lent.heap, size);
}

static void end(void)
{
    ck_assert_uint_eq(findings(&scene.lent.section), 0);
    actor_die(&scene.owner);
    actor_die(&scene.other);
    lent_end(&scene.lent);
}

static void extend_all(void)
{
    while (slab_extend(&scene.lent.section, 1, scene.unit, scene.slab) > 0)
        ;
    ck_assert_uint_eq(load_relaxed(&scene.slab->ready), load_relaxed(&scene.slab->blocks));
}

static unsigned char *block_at(uint32_t index)
{
    return section_unit(&scene.lent.section, scene.unit) + (size_t)index * load_relaxed(&scene.slab->block_bytes);
}

static atomic_u64 *live_of(uint32_t index)
{
    return &span_live(scene.slab)[index / 64];
}

static atomic_u64 *elsewhere_of(uint32_t index)
{
    return &span_elsewhere(scene.slab)[index / 64];
}

static uint64_t bit_of(uint32_t index)
{
    return UINT64_C(1) << index % 64;
}

static bool is_live(uint32_t index)
{
    return (slab_live_word(scene.slab, index / 64) & bit_of(index)) != 0;
}

static bool claim(void)
{
    scene.claim = slab_find_free(scene.slab, &scene.claim_word);
    return scene.claim != 0;
}

/* Allocates the lowest block of the claim, as a bin would. */
static uint32_t take_block(void)
{
    ck_assert_uint_ne(scene.claim, 0);
    uint32_t index = scene.claim_word * 64 + bit_lowest(scene.claim);
    scene.claim &= scene.claim - 1;
    ck_assert(!is_live(index));
    fetch_or_acq_rel(live_of(index), bit_of(index));
    return index;
}

static void free_elsewhere(uint32_t index)
{
    fetch_or_acq_rel(elsewhere_of(index), bit_of(index));
}

static void name_in_hand(struct actor *actor, uint32_t index)
{
    uint64_t ref = section_ref(&scene.lent.section, block_at(index));
    store_relaxed(&actor->core.image->hand, (uint64_t)HAND_FREE << HAND_OP_SHIFT | ref);
}

/* ---------------------------------------------------------------- readiness */

START_TEST(a_new_slab_has_no_block_ready)
{
    begin(16, 64);
    ck_assert_uint_eq(load_relaxed(&scene.slab->ready), 0);
    ck_assert_uint_eq(slab_live(scene.slab), 0);
    ck_assert_uint_eq(slab_taken(scene.slab), 0);
    ck_assert(!claim());
    end();
}
END_TEST

static const struct {
    uint32_t unit_shift;
    uint32_t size;
} shapes[] = {{10, 16}, {10, 48}, {10, 4096}, {12, 16},  {12, 1000},
              {13, 80}, {16, 16}, {16, 64},   {16, 112}, {16, 32768}};

START_TEST(extending_makes_every_block_ready_once)
{
    begin(shapes[_i].unit_shift, shapes[_i].size);
    uint32_t ready = 0;
    while (slab_extend(&scene.lent.section, 1, scene.unit, scene.slab) > 0) {
        ck_assert_uint_gt(load_relaxed(&scene.slab->ready), ready);
        ready = load_relaxed(&scene.slab->ready);
        ck_assert_uint_eq(slab_live(scene.slab), 0);
        ck_assert_uint_eq(slab_taken(scene.slab), 0);
        ck_assert_uint_eq(findings(&scene.lent.section), 0);
    }
    ck_assert_uint_eq(ready, load_relaxed(&scene.slab->blocks));
    ck_assert_int_eq(slab_extend(&scene.lent.section, 1, scene.unit, scene.slab), 0);
    end();
}
END_TEST

/* Where memory is committed by the page, no block is ready that is not. */
START_TEST(extending_commits_page_by_page)
{
    struct section_params params = {.bytes_max = UINT64_C(4) << 20, .owners_max = 4, .unit_shift = 16};
    struct section section;
    ck_assert_int_eq(section_create_anonymous(&section, &params), 0);
    section.commit_step_shift = 12; /* as shared sections do */
    struct core_heap heap;
    lent_heap(&heap, &section, 0);
    make_slab(&section, &heap, shapes[_i].size);
    uint32_t block_bytes = load_relaxed(&scene.slab->block_bytes);
    uint64_t before = section_count_committed(&section);
    ck_assert_int_gt(slab_extend(&section, 1, scene.unit, scene.slab), 0);
    ck_assert_uint_le(section_count_committed(&section) - before, align_up(block_bytes, 4096) + 4096);
    do {
        unsigned char *first = section_unit(&section, scene.unit);
        memset(first, 0xcc, (size_t)load_relaxed(&scene.slab->ready) * block_bytes);
        ck_assert_uint_eq(findings(&section), 0);
    } while (slab_extend(&section, 1, scene.unit, scene.slab) > 0);
    ck_assert_uint_eq(load_relaxed(&scene.slab->ready), load_relaxed(&scene.slab->blocks));
    ck_assert_uint_eq(slab_taken(scene.slab), 0);
    actor_die(&scene.owner);
    actor_die(&scene.other);
    section_close(&section);
}
END_TEST

/* ---------------------------------------------------------------- claims */

START_TEST(a_claim_is_of_the_free_blocks_of_a_word_and_changes_nothing)
{
    begin(16, 64);
    extend_all();
    ck_assert(claim());
    ck_assert_uint_eq(scene.claim, ~UINT64_C(0));
    ck_assert_uint_eq(scene.claim_word, 0);
    ck_assert_uint_eq(slab_taken(scene.slab), 0);
    for (uint32_t i = 0; i < 10; i++)
        ck_assert_uint_eq(take_block(), i);
    ck_assert_uint_eq(slab_live(scene.slab), 10);
    ck_assert_uint_eq(slab_taken(scene.slab), 10);
    ck_assert(claim());
    ck_assert_uint_eq(scene.claim, ~bits_below(10));
    ck_assert_uint_eq(load_relaxed(&scene.slab->blocks), 1024);
    end();
}
END_TEST

START_TEST(what_was_freed_elsewhere_is_claimed_after_a_drain_alone)
{
    begin(12, 64); /* a single word */
    extend_all();
    ck_assert(claim());
    while (scene.claim != 0)
        take_block();
    free_elsewhere(7);
    ck_assert(!claim());
    ck_assert_uint_eq(slab_drain(&scene.lent.section, scene.unit, scene.slab), 1);
    ck_assert(claim());
    ck_assert_uint_eq(scene.claim, bit_of(7));
    /* One who frees a block twice sets its bit for a moment, and his hand names it: it is not claimed meanwhile. */
    free_elsewhere(7);
    ck_assert(!claim());
    fetch_and_acq_rel(elsewhere_of(7), ~bit_of(7));
    ck_assert(claim());
    end();
}
END_TEST

START_TEST(all_words_are_found_whatever_the_cursor_says)
{
    begin(16, 64);
    extend_all();
    scene.slab->word_cursor = 9;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 16; i++) {
        ck_assert(claim());
        seen |= 1u << scene.claim_word;
        while (scene.claim != 0)
            take_block();
    }
    ck_assert_uint_eq(seen, 0xffff);
    scene.slab->word_cursor = UINT16_MAX;
    ck_assert(!claim());
    ck_assert_uint_eq(slab_live(scene.slab), 1024);
    fetch_and_acq_rel(live_of(700), ~bit_of(700));
    ck_assert(claim());
    ck_assert_uint_eq(take_block(), 700);
    end();
}
END_TEST

/* ---------------------------------------------------------------- drains */

static void take_everything(void)
{
    extend_all();
    while (claim()) {
        while (scene.claim != 0)
            take_block();
    }
    ck_assert_uint_eq(slab_live(scene.slab), load_relaxed(&scene.slab->blocks));
}

START_TEST(a_drain_frees_what_was_freed_elsewhere)
{
    begin(16, 64);
    take_everything();
    const uint32_t freed[] = {0, 1, 63, 64, 500, 1023};
    for (uint32_t i = 0; i < COUNT_OF(freed); i++)
        free_elsewhere(freed[i]);
    ck_assert_uint_eq(slab_live(scene.slab), 1024 - COUNT_OF(freed));
    ck_assert_uint_eq(slab_taken(scene.slab), 1024);
    ck_assert_uint_eq(slab_drain(&scene.lent.section, scene.unit, scene.slab), COUNT_OF(freed));
    ck_assert_uint_eq(slab_live(scene.slab), 1024 - COUNT_OF(freed));
    ck_assert_uint_eq(slab_taken(scene.slab), 1024 - COUNT_OF(freed));
    for (uint32_t i = 0; i < COUNT_OF(freed); i++) {
        ck_assert_uint_eq(load_relaxed(elsewhere_of(freed[i])), 0);
        ck_assert(!is_live(freed[i]));
    }
    ck_assert_uint_eq(slab_drain(&scene.lent.section, scene.unit, scene.slab), 0);
    end();
}
END_TEST

START_TEST(a_drain_leaves_what_a_hand_names)
{
    begin(16, 64);
    take_everything();
    for (uint32_t i = 60; i < 70; i++)
        free_elsewhere(i);
    name_in_hand(&scene.other, (uint32_t)_i);
    uint32_t named = _i >= 60 && _i < 70;
    ck_assert_uint_eq(slab_drain(&scene.lent.section, scene.unit, scene.slab), 10 - named);
    ck_assert_uint_eq(load_relaxed(elsewhere_of(60)) | load_relaxed(elsewhere_of(64)),
                      named ? bit_of((uint32_t)_i) : 0);
    ck_assert_uint_eq(slab_live(scene.slab), 1024 - 10);
    store_relaxed(&scene.other.core.image->hand, 0);
    ck_assert_uint_eq(slab_drain(&scene.lent.section, scene.unit, scene.slab), named);
    end();
}
END_TEST

START_TEST(the_owners_own_hand_is_a_hand)
{
    begin(10, 100);
    take_everything();
    free_elsewhere(3);
    name_in_hand(&scene.owner, 3);
    ck_assert_uint_eq(slab_drain(&scene.lent.section, scene.unit, scene.slab), 0);
    store_relaxed(&scene.owner.core.image->hand, 0);
    ck_assert_uint_eq(slab_drain(&scene.lent.section, scene.unit, scene.slab), 1);
    end();
}
END_TEST

START_TEST(hands_in_other_slabs_and_outside_of_units_do_not_matter)
{
    begin(12, 64);
    take_everything();
    free_elsewhere(5);
    const uint64_t refs[] = {1, section_ref(&scene.lent.section, block_at(0)) - 64,
                             section_ref(&scene.lent.section, block_at(64)), HAND_REF_MASK};
    for (size_t i = 0; i < COUNT_OF(refs); i++) {
        store_relaxed(&scene.other.core.image->hand, (uint64_t)HAND_FREE << HAND_OP_SHIFT | refs[i]);
        ck_assert_uint_eq(slab_drain(&scene.lent.section, scene.unit, scene.slab), 1);
        fetch_or_acq_rel(live_of(5), bit_of(5));
        free_elsewhere(5);
    }
    store_relaxed(&scene.other.core.image->hand, 0);
    end();
}
END_TEST

/* ---------------------------------------------------------------- what a dead owner may leave */

enum torn {
    BETWEEN_CALLS,
    DRAINED_NOT_CLEARED, /* live bits cleared, and those in elsewhere not yet */
    FREED_ELSEWHERE,     /* by others, and not drained: they stay free */
    FREED_TWICE,         /* one who was killed being found out: a bit in elsewhere of a block that is not live */
    TORN_STATES,
};

/* Leaves the slab torn; blocks 0 to 9 and 64 to 69 are live whatever happens. */
static void tear(enum torn torn)
{
    struct span_image *slab = scene.slab;
    for (uint32_t i = 0; i < 2; i++)
        ck_assert_int_gt(slab_extend(&scene.lent.section, 1, scene.unit, slab), 0);
    slab->word_cursor = 1;
    ck_assert(claim());
    for (uint32_t i = 0; i < 6; i++)
        take_block();
    slab->word_cursor = 0;
    ck_assert(claim());
    for (uint32_t i = 0; i < 10; i++)
        take_block();
    switch (torn) {
    case DRAINED_NOT_CLEARED:
        take_block(), take_block();
        free_elsewhere(10);
        free_elsewhere(11);
        fetch_and_acq_rel(live_of(10), ~bit_of(10));
        fetch_and_acq_rel(live_of(11), ~bit_of(11));
        break;
    case FREED_ELSEWHERE:
        take_block(), take_block();
        free_elsewhere(10);
        free_elsewhere(11);
        break;
    case FREED_TWICE:
        free_elsewhere(20);
        break;
    case BETWEEN_CALLS:
    case TORN_STATES:
        break;
    }
}

START_TEST(a_torn_slab_is_brought_in_order_and_no_block_is_lost_or_doubled)
{
    begin(16, 64);
    tear((enum torn)_i);
    slab_normalise(scene.slab);
    ck_assert_uint_eq(findings(&scene.lent.section), 0);
    for (uint32_t i = 0; i < load_relaxed(&scene.slab->ready); i++)
        ck_assert_msg(is_live(i) == (i < 10 || (i >= 64 && i < 70)), "block %u", i);
    unsigned char once[SPAN_STRIDE_MAX];
    memcpy(once, scene.slab, sizeof once);
    slab_normalise(scene.slab);
    ck_assert_mem_eq(once, scene.slab, sizeof once);

    /* An adopter goes on from there and gets every other block once. */
    slab_drain(&scene.lent.section, scene.unit, scene.slab);
    bool got[1024] = {false};
    uint32_t count = 0;
    do {
        while (claim()) {
            while (scene.claim != 0) {
                uint32_t index = take_block();
                ck_assert_msg(!got[index] && !(index < 10 || (index >= 64 && index < 70)), "block %u", index);
                got[index] = true;
                count++;
            }
        }
    } while (slab_extend(&scene.lent.section, 1, scene.unit, scene.slab) > 0);
    ck_assert_uint_eq(count, 1024 - 16);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slab");
    TCase *ready = suite_case(suite, "ready", 10);
    tcase_add_test(ready, a_new_slab_has_no_block_ready);
    tcase_add_loop_test(ready, extending_makes_every_block_ready_once, 0, (int)COUNT_OF(shapes));
    tcase_add_loop_test(ready, extending_commits_page_by_page, 0, (int)COUNT_OF(shapes));

    TCase *claims = suite_case(suite, "claims", 10);
    tcase_add_test(claims, a_claim_is_of_the_free_blocks_of_a_word_and_changes_nothing);
    tcase_add_test(claims, what_was_freed_elsewhere_is_claimed_after_a_drain_alone);
    tcase_add_test(claims, all_words_are_found_whatever_the_cursor_says);

    TCase *drains = suite_case(suite, "drains", 10);
    tcase_add_test(drains, a_drain_frees_what_was_freed_elsewhere);
    tcase_add_loop_test(drains, a_drain_leaves_what_a_hand_names, 58, 72);
    tcase_add_test(drains, the_owners_own_hand_is_a_hand);
    tcase_add_test(drains, hands_in_other_slabs_and_outside_of_units_do_not_matter);

    TCase *torn = suite_case(suite, "torn", 10);
    tcase_add_loop_test(torn, a_torn_slab_is_brought_in_order_and_no_block_is_lost_or_doubled, 0, TORN_STATES);
    return suite_run(suite);
}
