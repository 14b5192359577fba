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
};

static struct scene scene;

static void make_slab(struct section *section, struct core_heap *heap, uint32_t size)
{
    actor_begin(&scene.owner, section, heap);
    actor_begin(&scene.other, section, heap);
    struct slab_geometry geometry = slab_geometry_of(class_of(size), section->unit_shift, false);
    struct span_taken span;
    ck_assert_int_eq(span_take(&scene.owner.core, heap, geometry.span_units, 1, &span), 0);
    scene.unit = span.unit;
    scene.slab = section_span(section, span.unit);
    uint64_t words = (geometry.blocks + 63) / 64;
    ck_assert_int_eq(section_commit(section, section_offset(section, scene.slab), sizeof *scene.slab + words * 16), 0);
    ck_assert_int_eq(section_commit(section, section_offset(section, section_unit(section, span.unit)), size), 0);
    slab_init(scene.slab, class_of(size), &geometry);
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
    while (slab_extend(&scene.lent.section, scene.unit, scene.slab) > 0)
        ;
    ck_assert_uint_eq(load_relaxed(&scene.slab->ready), load_relaxed(&scene.slab->blocks));
}

static unsigned char *block_at(uint32_t index)
{
    return section_unit(&scene.lent.section, scene.unit) + (size_t)index * load_relaxed(&scene.slab->block_bytes);
}

static struct word_image *word_of(uint32_t index)
{
    return &span_words(scene.slab)[index / 64];
}

static uint64_t bit_of(uint32_t index)
{
    return UINT64_C(1) << index % 64;
}

static bool is_live(uint32_t index)
{
    return (slab_live_word(scene.slab, index / 64) & bit_of(index)) != 0;
}

/* Allocates the lowest block of the claim, as a bin would. */
static uint32_t take_block(void)
{
    uint64_t claim = load_relaxed(&scene.slab->claim);
    ck_assert_uint_ne(claim, 0);
    store_relaxed(&scene.slab->claim, claim & (claim - 1));
    return (uint32_t)(load_relaxed(&scene.slab->claim_index) & CLAIM_WORD_MASK) * 64 + bit_lowest(claim);
}

static void free_elsewhere(uint32_t index)
{
    fetch_or_acq_rel(&word_of(index)->elsewhere, bit_of(index));
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
    ck_assert_int_eq(slab_take_word(scene.slab), -1);
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
    while (slab_extend(&scene.lent.section, scene.unit, scene.slab) > 0) {
        ck_assert_uint_gt(load_relaxed(&scene.slab->ready), ready);
        ready = load_relaxed(&scene.slab->ready);
        ck_assert_uint_eq(slab_live(scene.slab), 0);
        ck_assert_uint_eq(slab_taken(scene.slab), 0);
        ck_assert_uint_eq(findings(&scene.lent.section), 0);
    }
    ck_assert_uint_eq(ready, load_relaxed(&scene.slab->blocks));
    ck_assert_int_eq(slab_extend(&scene.lent.section, scene.unit, scene.slab), 0);
    end();
}
END_TEST

START_TEST(extending_forgets_what_lay_in_the_words_before)
{
    begin(16, 64);
    memset(span_words(scene.slab), 0xff, 16 * sizeof(struct word_image));
    ck_assert_int_gt(slab_extend(&scene.lent.section, scene.unit, scene.slab), 0);
    ck_assert_uint_eq(slab_drain(&scene.lent.section, scene.unit, scene.slab), 0);
    extend_all();
    ck_assert_uint_eq(slab_taken(scene.slab), 0);
    ck_assert_uint_eq(slab_drain(&scene.lent.section, scene.unit, scene.slab), 0);
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
    ck_assert_int_gt(slab_extend(&section, scene.unit, scene.slab), 0);
    ck_assert_uint_le(section_count_committed(&section) - before, align_up(block_bytes, 4096) + 4096);
    do {
        unsigned char *first = section_unit(&section, scene.unit);
        memset(first, 0xcc, (size_t)load_relaxed(&scene.slab->ready) * block_bytes);
        ck_assert_uint_eq(findings(&section), 0);
    } while (slab_extend(&section, scene.unit, scene.slab) > 0);
    ck_assert_uint_eq(load_relaxed(&scene.slab->ready), load_relaxed(&scene.slab->blocks));
    ck_assert_uint_eq(slab_taken(scene.slab), 0);
    actor_die(&scene.owner);
    actor_die(&scene.other);
    section_close(&section);
}
END_TEST

/* ---------------------------------------------------------------- claims */

START_TEST(a_word_is_claimed_whole_and_given_back_whole)
{
    begin(16, 64);
    extend_all();
    uint32_t blocks = load_relaxed(&scene.slab->blocks);
    ck_assert_int_eq(slab_take_word(scene.slab), 0);
    ck_assert_uint_eq(load_relaxed(&scene.slab->claim), ~UINT64_C(0));
    ck_assert_uint_eq(load_relaxed(&word_of(0)->free), 0);
    ck_assert_uint_eq(slab_live(scene.slab), 0);
    ck_assert_uint_eq(slab_taken(scene.slab), 64);
    ck_assert_uint_eq(findings(&scene.lent.section), 0);
    for (uint32_t i = 0; i < 10; i++)
        ck_assert_uint_eq(take_block(), i);
    ck_assert_uint_eq(slab_live(scene.slab), 10);
    slab_unclaim(scene.slab);
    ck_assert_uint_eq(load_relaxed(&scene.slab->claim), 0);
    ck_assert_uint_eq(slab_live(scene.slab), 10);
    ck_assert_uint_eq(slab_taken(scene.slab), 10);
    slab_unclaim(scene.slab);
    ck_assert_uint_eq(slab_taken(scene.slab), 10);
    ck_assert_uint_eq(blocks, 1024);
    end();
}
END_TEST

START_TEST(each_claim_has_a_number_of_its_own)
{
    begin(12, 64); /* a single word */
    extend_all();
    uint64_t before = load_relaxed(&scene.slab->claim_index);
    for (uint32_t i = 0; i < 1000; i++) {
        ck_assert_int_eq(slab_take_word(scene.slab), 0);
        uint64_t index = load_relaxed(&scene.slab->claim_index);
        ck_assert_uint_eq(index & CLAIM_WORD_MASK, 0);
        ck_assert_uint_gt(index, before);
        before = index;
        slab_unclaim(scene.slab);
    }
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
        int32_t k = slab_take_word(scene.slab);
        ck_assert_int_ge(k, 0);
        seen |= 1u << k;
        while (load_relaxed(&scene.slab->claim) != 0)
            take_block();
    }
    ck_assert_uint_eq(seen, 0xffff);
    scene.slab->word_cursor = UINT16_MAX;
    ck_assert_int_eq(slab_take_word(scene.slab), -1);
    ck_assert_uint_eq(slab_live(scene.slab), 1024);
    fetch_or_acq_rel(&word_of(700)->free, bit_of(700));
    ck_assert_int_eq(slab_take_word(scene.slab), 700 / 64);
    ck_assert_uint_eq(take_block(), 700);
    end();
}
END_TEST

/* ---------------------------------------------------------------- drains */

static void take_everything(void)
{
    extend_all();
    while (slab_take_word(scene.slab) >= 0) {
        while (load_relaxed(&scene.slab->claim) != 0)
            take_block();
    }
    ck_assert_uint_eq(slab_live(scene.slab), load_relaxed(&scene.slab->blocks));
}

START_TEST(a_drain_moves_what_was_freed_elsewhere)
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
        ck_assert_uint_eq(load_relaxed(&word_of(freed[i])->elsewhere), 0);
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
    ck_assert_uint_eq(load_relaxed(&word_of(60)->elsewhere) | load_relaxed(&word_of(64)->elsewhere),
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
        fetch_and_acq_rel(&word_of(5)->free, ~bit_of(5));
        free_elsewhere(5);
    }
    store_relaxed(&scene.other.core.image->hand, 0);
    end();
}
END_TEST

/* ---------------------------------------------------------------- what a dead owner may leave */

enum torn {
    CLAIM_AND_FREE,      /* claim set, free not yet cleared */
    CLAIM_PARTLY_FREED,  /* the claim is in use, and blocks of its word were freed */
    INDEX_WITHOUT_CLAIM, /* claim_index stored, claim not yet */
    FREE_AND_ELSEWHERE,  /* drained and not yet cleared */
    BEYOND_READY,        /* extended, ready not yet stored */
    UNCLAIMED_TWICE,     /* put back, claim not yet cleared */
    TORN_STATES,
};

/* Leaves the slab torn; blocks 0 to 9 and 64 to 69 are live whatever happens. */
static void tear(enum torn torn)
{
    struct span_image *slab = scene.slab;
    for (uint32_t i = 0; i < 2; i++)
        ck_assert_int_gt(slab_extend(&scene.lent.section, scene.unit, slab), 0);
    slab->word_cursor = 1;
    ck_assert_int_eq(slab_take_word(slab), 1);
    for (uint32_t i = 0; i < 6; i++)
        take_block();
    slab_unclaim(slab);
    ck_assert_int_eq(slab_take_word(slab), 1);
    slab_unclaim(slab);
    slab->word_cursor = 0;
    ck_assert_int_eq(slab_take_word(slab), 0);
    for (uint32_t i = 0; i < 10; i++)
        take_block();
    uint64_t claim = load_relaxed(&slab->claim);
    switch (torn) {
    case CLAIM_AND_FREE:
        store_relaxed(&word_of(0)->free, claim);
        break;
    case CLAIM_PARTLY_FREED:
        take_block(), take_block();
        store_relaxed(&word_of(0)->free, bit_of(10));
        free_elsewhere(11);
        break;
    case INDEX_WITHOUT_CLAIM:
        slab_unclaim(slab);
        store_relaxed(&slab->claim_index, load_relaxed(&slab->claim_index) + CLAIM_COUNT_ONE + 1);
        break;
    case FREE_AND_ELSEWHERE:
        take_block(), take_block();
        free_elsewhere(10);
        free_elsewhere(11);
        store_relaxed(&word_of(0)->free, bit_of(10) | bit_of(11));
        break;
    case BEYOND_READY:
        store_relaxed(&slab->ready, 100);
        break;
    case UNCLAIMED_TWICE:
        store_relaxed(&word_of(0)->free, load_relaxed(&word_of(0)->free) | claim);
        break;
    case TORN_STATES:
        break;
    }
}

START_TEST(a_torn_slab_is_brought_in_order_and_no_block_is_lost_or_doubled)
{
    begin(16, 64);
    tear((enum torn)_i);
    slab_normalise(scene.slab);
    ck_assert_uint_eq(load_relaxed(&scene.slab->claim), 0);
    ck_assert_uint_eq(findings(&scene.lent.section), 0);
    for (uint32_t i = 0; i < load_relaxed(&scene.slab->ready); i++)
        ck_assert_msg(is_live(i) == (i < 10 || (i >= 64 && i < 70)), "block %u", i);
    unsigned char once[sizeof(struct span_image) + 16 * sizeof(struct word_image)];
    memcpy(once, scene.slab, sizeof once);
    slab_normalise(scene.slab);
    ck_assert_mem_eq(once, scene.slab, sizeof once);

    /* An adopter goes on from there and gets every other block once. */
    slab_drain(&scene.lent.section, scene.unit, scene.slab);
    bool got[1024] = {false};
    uint32_t count = 0;
    do {
        while (slab_take_word(scene.slab) >= 0) {
            while (load_relaxed(&scene.slab->claim) != 0) {
                uint32_t index = take_block();
                ck_assert_msg(!got[index] && !(index < 10 || (index >= 64 && index < 70)), "block %u", index);
                got[index] = true;
                count++;
            }
        }
    } while (slab_extend(&scene.lent.section, scene.unit, scene.slab) > 0);
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
    tcase_add_test(ready, extending_forgets_what_lay_in_the_words_before);
    tcase_add_loop_test(ready, extending_commits_page_by_page, 0, (int)COUNT_OF(shapes));

    TCase *claims = suite_case(suite, "claims", 10);
    tcase_add_test(claims, a_word_is_claimed_whole_and_given_back_whole);
    tcase_add_test(claims, each_claim_has_a_number_of_its_own);
    tcase_add_test(claims, all_words_are_found_whatever_the_cursor_says);

    TCase *drains = suite_case(suite, "drains", 10);
    tcase_add_test(drains, a_drain_moves_what_was_freed_elsewhere);
    tcase_add_loop_test(drains, a_drain_leaves_what_a_hand_names, 58, 72);
    tcase_add_test(drains, the_owners_own_hand_is_a_hand);
    tcase_add_test(drains, hands_in_other_slabs_and_outside_of_units_do_not_matter);

    TCase *torn = suite_case(suite, "torn", 10);
    tcase_add_loop_test(torn, a_torn_slab_is_brought_in_order_and_no_block_is_lost_or_doubled, 0, TORN_STATES);
    return suite_run(suite);
}
