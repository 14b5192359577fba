/* SPDX-License-Identifier: MIT */
#include "core/core.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/inspect.h"
#include "support/lent.h"
#include "support/random.h"
#include "support/suite.h"

/* Each test runs with units of 1, 4 and 64 KiB. */
static const uint32_t shifts[] = {10, 12, 16};
#define SHIFT (shifts[_i])
/* Small blocks, but not too many of them to a section. */
#define SMALL ((size_t)(SHIFT == 16 ? 640 : 64))

enum { UNITS = 40 };

static struct lent lent;
static struct actor a, b, c;
static struct model model;
static struct random numbers;

static void begin(uint32_t unit_shift)
{
    lent_create(&lent, unit_shift, UNITS, 0);
    actor_begin(&a, &lent.section, &lent.heap);
    actor_begin(&b, &lent.section, &lent.heap);
    numbers = random_begin(unit_shift);
}

static void end(void)
{
    ck_assert_uint_eq(findings(&lent.section), 0);
    owner_forget(&a.core);
    owner_forget(&b.core);
    owner_forget(&c.core);
    model_end(&model);
    lent_end(&lent);
}

static void add(void *block, size_t size)
{
    if (block == NULL || (uintptr_t)block % 16 != 0 || !model_add(&model, block, size))
        ck_abort_msg("block %p of %zu bytes", block, size);
}

static void *alloc(struct actor *actor, size_t size)
{
    void *block = actor_alloc(actor, size);
    if (block != NULL)
        add(block, size);
    return block;
}

static void free_at(struct actor *actor, size_t index)
{
    struct model_block taken;
    bool held = model_take(&model, index, &taken);
    enum core_crime crime = actor_free(actor, taken.address);
    if (!held || crime != CRIME_NONE)
        ck_abort_msg("block %p of %zu bytes: crime %d", (void *)taken.address, taken.size, crime);
}

static void free_block(struct actor *actor, void *block)
{
    free_at(actor, model_find(&model, block));
}

/* Allocates blocks of one size until there is no more; returns how many. */
static size_t fill_with(struct actor *actor, size_t size)
{
    size_t count = 0;
    while (alloc(actor, size) != NULL)
        count++;
    ck_assert_int_eq(actor->error, -ENOSPC);
    return count;
}

static size_t fill_randomly(struct actor *actor)
{
    size_t count = 0;
    uint32_t refused = 0;
    while (refused < 20) {
        if (alloc(actor, random_size(&numbers, lent.section.units_bytes / 4)) != NULL)
            count++;
        else
            refused++;
    }
    return count;
}

static void free_all(struct actor *first, struct actor *second)
{
    while (model.count != 0)
        free_at(random_below(&numbers, 2) != 0 ? first : second, random_below(&numbers, model.count));
}

static void check(void)
{
    ck_assert_uint_eq(findings(&lent.section), 0);
    ck_assert(model_holds(&model));
    ck_assert(holds_exactly(&lent.section, lent.heap.number, &model));
}

/* Nothing is allocated: everything comes back. */
static void check_all_comes_back(void)
{
    check();
    core_trim(a.bins, &lent.heap);
    if (b.bins != NULL)
        core_trim(b.bins, &lent.heap);
    core_trim(a.bins, &lent.heap);
    ck_assert_uint_eq(bytes_in_spans(&lent.section), 0);
    ck_assert_uint_eq(load_relaxed(&lent.heap.image->bytes_charged), 0);
    ck_assert_uint_eq(findings(&lent.section), 0);
}

static struct core_place find(const void *block)
{
    return core_find(&lent.heap, block);
}

static uint64_t hand_of(const struct actor *actor)
{
    return load_relaxed(&actor->core.image->hand);
}

/* ---------------------------------------------------------------- blocks */

START_TEST(blocks_are_distinct_until_the_section_is_full_and_all_of_it_comes_back)
{
    begin(SHIFT);
    size_t first = 0;
    for (uint32_t round = 0; round < 3; round++) {
        numbers = random_begin(7);
        size_t count = fill_randomly(&a);
        ck_assert_uint_gt(count, UNITS / 2);
        ck_assert_int_eq(a.error, -ENOSPC);
        check();
        if (round == 0)
            first = count;
        ck_assert_uint_eq(count, first);
        free_all(&a, &a);
        check_all_comes_back();
    }
    end();
}
END_TEST

START_TEST(blocks_of_every_class_use_the_section_to_its_last_slab)
{
    begin(SHIFT);
    for (uint32_t size_class = 0; class_bytes(size_class) <= class_slab_max(SHIFT); size_class++) {
        struct slab_geometry geometry = slab_geometry_of(size_class, SHIFT, false);
        size_t expected = (size_t)(lent.section.units_max / geometry.span_units) * geometry.blocks;
        size_t count = 0;
        void *last = NULL, *block;
        while ((block = actor_alloc(&a, class_bytes(size_class))) != NULL) {
            /* Linked through the blocks, for the model is slow. */
            memcpy(block, &last, sizeof last);
            last = block;
            count++;
        }
        /* Or more: what is left at the end may hold a few blocks, too. */
        ck_assert_msg(count >= expected, "class %u: %zu blocks, not %zu", size_class, count, expected);
        ck_assert_uint_eq(findings(&lent.section), 0);
        while (last != NULL) {
            block = last;
            memcpy(&last, block, sizeof last);
            if (actor_free(&a, block) != CRIME_NONE)
                ck_abort_msg("class %u", size_class);
        }
        core_trim(a.bins, &lent.heap);
        ck_assert_uint_eq(bytes_in_spans(&lent.section), 0);
    }
    end();
}
END_TEST

START_TEST(a_size_fits_its_block_and_is_told_by_it)
{
    begin(SHIFT);
    for (size_t size = 0; size < 3 * lent.heap.slab_max; size += size < 300 ? 1 : size / 7) {
        void *block = alloc(&a, size);
        ck_assert_ptr_nonnull(block);
        struct core_place place = find(block);
        ck_assert_int_eq(place.crime, CRIME_NONE);
        ck_assert_ptr_eq(place.block, block);
        ck_assert_uint_ge(place.bytes, size);
        memset(block, 0x5a, place.bytes);
        void *neighbour = alloc(&a, size);
        ck_assert(neighbour == NULL || (unsigned char *)block + place.bytes <= (unsigned char *)neighbour ||
                  (unsigned char *)neighbour + place.bytes <= (unsigned char *)block);
        pattern_fill(block, size, model.blocks[model_find(&model, block)].seed);
        free_all(&a, &a);
    }
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(a_zeroed_block_is_zero_to_its_last_usable_byte)
{
    begin(SHIFT);
    for (uint32_t round = 0; round < 2; round++) {
        /* First over the 0xa5 that a new array holds, then over what the first round wrote. */
        for (size_t size = 1; size < 2 * lent.heap.slab_max; size += 1 + size / 5) {
            void *block = core_alloc_zeroed(a.bins, &lent.heap, size, &a.error);
            ck_assert_ptr_nonnull(block);
            size_t usable = find(block).bytes;
            ck_assert_msg(bytes_are_zero(block, size), "size %zu", size);
            ck_assert_msg(bytes_are_zero(block, usable), "size %zu, usable %zu", size, usable);
            memset(block, 0xff, usable);
            ck_assert_int_eq(actor_free(&a, block), CRIME_NONE);
        }
    }
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(an_aligned_block_is_aligned_or_none)
{
    begin(SHIFT);
    /* The array begins at a multiple of 64 KiB; a copy of it begins elsewhere. */
    struct lent copy;
    lent_copy(&copy, &lent, 4096 + 64);
    struct actor there;
    actor_begin(&there, &copy.section, &copy.heap);
    for (size_t alignment = 16; alignment <= 1 << 20; alignment *= 2) {
        for (size_t size = 1; size <= 20000; size = size * 5 + 3) {
            void *block = core_alloc_aligned(a.bins, &lent.heap, alignment, size, &a.error);
            if (block != NULL)
                add(block, size);
            ck_assert_msg((uintptr_t)block % alignment == 0, "%p of alignment %zu", block, alignment);
            if (alignment <= UINT64_C(1) << SHIFT && lent.section.units_bytes > 4 * size)
                ck_assert_msg(block != NULL, "%zu bytes of alignment %zu", size, alignment);
            void *elsewhere = core_alloc_aligned(there.bins, &copy.heap, alignment, size, &there.error);
            ck_assert_msg((uintptr_t)elsewhere % alignment == 0, "%p of alignment %zu, units of %u at %p", elsewhere,
                          alignment, 1u << SHIFT, (void *)copy.section.units);
            if (elsewhere != NULL) {
                ck_assert_uint_ge(core_find(&copy.heap, elsewhere).bytes, size);
                ck_assert_int_eq(actor_free(&there, elsewhere), CRIME_NONE);
            }
            free_all(&a, &a);
        }
    }
    ck_assert_uint_eq(findings(&copy.section), 0);
    owner_forget(&there.core);
    lent_end(&copy);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(an_aligned_block_is_aligned_when_its_class_is_used_up)
{
    begin(SHIFT);
    for (uint32_t size_class = 0; class_bytes(size_class) <= lent.heap.slab_max / 2; size_class++)
        (void)alloc(&a, class_bytes(size_class)); /* so that slabs of other classes have free blocks */
    for (size_t alignment = 1024; alignment >= 32; alignment /= 2) {
        void *block;
        while ((block = core_alloc_aligned(a.bins, &lent.heap, alignment, alignment, &a.error)) != NULL) {
            if ((uintptr_t)block % alignment != 0)
                ck_abort_msg("%p of alignment %zu", block, alignment);
            add(block, alignment);
        }
    }
    free_all(&a, &b);
    check_all_comes_back();
    end();
}
END_TEST

/* The system puts a reservation at any page, so several of odd sizes begin at several. */
START_TEST(every_alignment_can_be_had_wherever_a_section_lies)
{
    struct section sections[4];
    for (size_t i = 0; i < COUNT_OF(sections); i++) {
        struct section_params params = {.bytes_max = (UINT64_C(16) << 20) + i * 5 * 4096, .owners_max = 4};
        ck_assert_int_eq(section_create_anonymous(&sections[i], &params), 0);
        struct core_heap heap;
        lent_heap(&heap, &sections[i], 0);
        struct actor actor;
        actor_begin(&actor, &sections[i], &heap);
        for (size_t alignment = 16; alignment <= 1 << 20; alignment *= 2) {
            void *block = core_alloc_aligned(actor.bins, &heap, alignment, _i == 0 ? 0 : 100, &actor.error);
            ck_assert_msg(block != NULL && (uintptr_t)block % alignment == 0, "%p of alignment %zu, units at %p", block,
                          alignment, (void *)sections[i].units);
            ck_assert_int_eq(core_find(&heap, block).crime, CRIME_NONE);
            ck_assert_int_eq(actor_free(&actor, block), CRIME_NONE);
        }
        ck_assert_uint_eq(findings(&sections[i]), 0);
        actor_leave(&actor);
    }
    for (size_t i = 0; i < COUNT_OF(sections); i++)
        section_close(&sections[i]);
}
END_TEST

static void *no_more(size_t bytes)
{
    (void)bytes;
    return NULL;
}

START_TEST(without_memory_for_rings_nothing_is_lost)
{
    begin(SHIFT);
    size_t count = fill_with(&a, SMALL);
    struct core_memory poor = {.get = no_more, .give = test_memory.give};
    a.core.memory = &poor;
    for (uint32_t round = 0; round < 3; round++) {
        free_all(&a, &a);
        check();
        ck_assert_uint_eq(fill_with(&a, SMALL), count);
        check();
        free_all(&b, &b);
        ck_assert_uint_eq(fill_with(&a, SMALL), count);
    }
    free_all(&a, &b);
    check_all_comes_back();
    a.core.memory = &test_memory;
    end();
}
END_TEST

/* ---------------------------------------------------------------- several owners */

START_TEST(a_block_freed_elsewhere_returns_to_its_owner)
{
    begin(SHIFT);
    size_t count = fill_with(&a, SMALL);
    ck_assert_ptr_null(actor_alloc(&b, SMALL));
    free_all(&b, &b);
    check();
    ck_assert_uint_eq(hand_of(&b), 0);
    ck_assert_ptr_null(actor_alloc(&b, SMALL)); /* still the first one's */
    ck_assert_uint_eq(fill_with(&a, SMALL), count);
    check();
    free_all(&a, &b);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(a_block_freed_elsewhere_is_found_when_its_news_is_lost)
{
    begin(SHIFT);
    size_t count = fill_with(&a, SMALL);
    free_all(&b, &b);
    for (uint32_t w = 0; w < NEWS_WORDS; w++)
        store_relaxed(&a.core.image->news[w], 0);
    ck_assert_uint_eq(fill_with(&a, SMALL), count);
    free_all(&a, &a);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(one_block_freed_elsewhere_is_enough)
{
    begin(SHIFT);
    fill_with(&a, SMALL);
    for (uint32_t round = 0; round < 200; round++) {
        void *block = model.blocks[random_below(&numbers, model.count)].address;
        free_block(&b, block);
        ck_assert_ptr_eq(alloc(&a, SMALL), block);
        ck_assert_ptr_null(alloc(&a, SMALL));
    }
    check();
    free_all(&a, &b);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(a_block_in_a_hand_is_not_allocated)
{
    begin(SHIFT);
    size_t count = fill_with(&a, SMALL);
    void *named = model.blocks[model.count / 2].address;
    free_all(&b, &b);
    store_relaxed(&b.core.image->hand, (uint64_t)HAND_FREE << HAND_OP_SHIFT | section_ref(&lent.section, named));
    ck_assert_uint_eq(fill_with(&a, SMALL), count - 1);
    ck_assert_uint_eq(model_find(&model, named), model.count);
    core_trim(a.bins, &lent.heap);
    ck_assert_ptr_null(alloc(&a, SMALL));
    store_relaxed(&b.core.image->hand, 0);
    ck_assert_ptr_eq(alloc(&a, SMALL), named);
    free_all(&a, &b);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(a_slab_with_a_block_in_a_hand_is_not_released)
{
    begin(SHIFT);
    fill_with(&a, SMALL);
    void *named = model.blocks[model.count / 2].address;
    uint32_t unit = find(named).unit;
    free_all(&b, &b);
    store_relaxed(&b.core.image->hand, (uint64_t)HAND_FREE << HAND_OP_SHIFT | section_ref(&lent.section, named));
    core_trim(a.bins, &lent.heap);
    ck_assert_int_eq(unit_state_of(load_relaxed(&lent.section.unit_words[unit])), UNIT_SLAB);
    ck_assert_uint_eq(bytes_in_spans(&lent.section),
                      (uint64_t)slab_geometry_of(class_of(SMALL), SHIFT, false).span_units << SHIFT);
    actor_leave(&a); /* nor when its owner leaves */
    ck_assert_int_eq(unit_state_of(load_relaxed(&lent.section.unit_words[unit])), UNIT_ORPHAN);
    store_relaxed(&b.core.image->hand, 0);
    core_trim(b.bins, &lent.heap);
    ck_assert_uint_eq(bytes_in_spans(&lent.section), 0);
    actor_begin(&a, &lent.section, &lent.heap);
    end();
}
END_TEST

START_TEST(what_one_owner_leaves_another_adopts)
{
    begin(SHIFT);
    size_t count = fill_with(&a, SMALL);
    size_t freed = 0;
    for (size_t i = count; i-- > 0;) {
        if (random_below(&numbers, 3) == 0) {
            free_at(random_below(&numbers, 2) != 0 ? &a : &b, i);
            freed++;
        }
    }
    ck_assert_ptr_null(actor_alloc(&b, SMALL));
    actor_leave(&a);
    check();
    for (size_t i = model.count; i-- > count - freed - 50;) { /* some more, now of orphans */
        free_at(&b, i);
        freed++;
    }
    check();
    ck_assert_uint_eq(fill_with(&b, SMALL), freed);
    check();
    free_all(&b, &b);
    actor_begin(&a, &lent.section, &lent.heap);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(an_owner_that_leaves_with_nothing_live_leaves_nothing)
{
    begin(SHIFT);
    fill_randomly(&a);
    free_all(&a, &b);
    actor_leave(&a);
    ck_assert_uint_eq(bytes_in_spans(&lent.section), 0);
    actor_begin(&a, &lent.section, &lent.heap);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(an_orphan_that_got_empty_makes_room_for_a_large_block)
{
    begin(SHIFT);
    fill_with(&a, SMALL);
    actor_leave(&a);
    free_all(&b, &b);
    check();
    size_t half = lent.section.units_bytes / 2;
    ck_assert_ptr_nonnull(alloc(&b, half));
    check();
    free_all(&b, &b);
    actor_begin(&a, &lent.section, &lent.heap);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(an_orphan_of_another_class_makes_room_when_it_is_empty)
{
    begin(SHIFT);
    fill_with(&a, SMALL);
    actor_leave(&a);
    free_all(&b, &b);
    ck_assert_ptr_nonnull(alloc(&b, 500));
    free_all(&b, &b);
    actor_begin(&a, &lent.section, &lent.heap);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(an_owners_number_is_used_again_and_its_record_has_another_generation)
{
    begin(SHIFT);
    uint32_t number = a.core.number;
    uint64_t word = load_relaxed(&a.core.image->word);
    alloc(&a, 100);
    actor_leave(&a);
    ck_assert_int_eq(record_state_of(load_relaxed(&lent.section.owners[number - 1].word)), RECORD_FREE);
    actor_begin(&a, &lent.section, &lent.heap);
    ck_assert_uint_eq(a.core.number, number);
    ck_assert_uint_eq(record_generation_of(load_relaxed(&a.core.image->word)), record_generation_of(word) + 1);
    /* What the first bearer of the number left is an orphan, not this one's. */
    uint64_t unit = load_relaxed(&lent.section.unit_words[find(model.blocks[0].address).unit]);
    ck_assert_int_eq(unit_state_of(unit), UNIT_ORPHAN);
    free_all(&a, &a);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(no_more_owners_than_records)
{
    begin(SHIFT);
    struct core_owner owners[8];
    for (uint32_t i = 2; i < lent.section.owners_max; i++)
        ck_assert_int_eq(owner_claim(&owners[i], &lent.section, &test_memory, 0, 1), 0);
    ck_assert_int_eq(owner_claim(&owners[0], &lent.section, &test_memory, 0, 1), -EAGAIN);
    owner_leave(&owners[5]);
    uint32_t number = owners[5].number;
    ck_assert_int_eq(owner_claim(&owners[0], &lent.section, &test_memory, 0, 1), 0);
    ck_assert_uint_eq(owners[0].number, number);
    end();
}
END_TEST

/* ---------------------------------------------------------------- large blocks */

START_TEST(a_large_block_grows_and_shrinks_where_it_is)
{
    begin(SHIFT);
    size_t unit = (size_t)1 << SHIFT;
    unsigned char *block = actor_alloc(&a, 5 * unit);
    ck_assert_ptr_nonnull(block);
    pattern_fill(block, 5 * unit, 1);
    const size_t sizes[] = {7 * unit, 7 * unit + 1, 20 * unit, 6 * unit, 5 * unit, 30 * unit, 5 * unit - 1, 5 * unit};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct core_place place = find(block);
        ck_assert_int_eq(place.crime, CRIME_NONE);
        ck_assert(core_resize_large(a.bins, &lent.heap, &place, sizes[i]));
        place = find(block);
        ck_assert_uint_ge(place.bytes, sizes[i]);
        ck_assert_uint_lt(place.bytes, sizes[i] + unit);
        ck_assert_uint_eq(bytes_in_spans(&lent.section), align_up(sizes[i], unit));
        ck_assert_uint_eq(load_relaxed(&lent.heap.image->bytes_charged), align_up(sizes[i], unit));
        ck_assert(pattern_holds_part(block, 5 * unit, 5 * unit - 1, 1));
        ck_assert_uint_eq(hand_of(&a), 0);
        ck_assert_uint_eq(findings(&lent.section), 0);
    }
    ck_assert_int_eq(actor_free(&b, block), CRIME_NONE);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(a_large_block_does_not_grow_into_others_or_beyond_the_section)
{
    begin(SHIFT);
    size_t unit = (size_t)1 << SHIFT;
    void *low = alloc(&a, 5 * unit);
    void *high = alloc(&a, 5 * unit);
    ck_assert_ptr_eq(high, (unsigned char *)low + 5 * unit);
    struct core_place place = find(low);
    ck_assert(!core_resize_large(a.bins, &lent.heap, &place, 6 * unit));
    ck_assert_uint_eq(find(low).bytes, 5 * unit);
    place = find(high);
    ck_assert(!core_resize_large(a.bins, &lent.heap, &place, lent.section.units_bytes));
    ck_assert(!core_resize_large(a.bins, &lent.heap, &place, SIZE_MAX));
    ck_assert_uint_eq(find(high).bytes, 5 * unit);
    check();

    /* What a block gives up others can take. */
    ck_assert(core_resize_large(a.bins, &lent.heap, &place, 5 * unit));
    place = find(low);
    ck_assert(core_resize_large(a.bins, &lent.heap, &place, 4 * unit + 1));
    ck_assert_uint_eq(find(low).bytes, 5 * unit);
    model.blocks[0].size = 4 * unit;
    pattern_fill(low, 4 * unit, model.blocks[0].seed);
    ck_assert(core_resize_large(a.bins, &lent.heap, &place, 4 * unit));
    ck_assert_uint_eq(find(low).bytes, 4 * unit);
    unsigned char *between = alloc(&b, 16);
    ck_assert_ptr_eq(between, (unsigned char *)low + 4 * unit);
    place = find(low);
    ck_assert(!core_resize_large(a.bins, &lent.heap, &place, 5 * unit));
    check();
    free_all(&a, &b);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(growing_keeps_to_the_limit)
{
    begin(SHIFT);
    size_t unit = (size_t)1 << SHIFT;
    struct core_heap limited;
    lent_heap(&limited, &lent.section, 8 * unit);
    actor_begin(&c, &lent.section, &limited);
    void *block = actor_alloc(&c, 6 * unit);
    ck_assert_ptr_nonnull(block);
    struct core_place place = core_find(&limited, block);
    ck_assert(!core_resize_large(c.bins, &limited, &place, 9 * unit));
    ck_assert_uint_eq(load_relaxed(&limited.image->bytes_charged), 6 * unit);
    ck_assert(core_resize_large(c.bins, &limited, &place, 8 * unit));
    ck_assert_ptr_null(actor_alloc(&c, 1));
    ck_assert_int_eq(c.error, -EDQUOT);
    ck_assert_int_eq(actor_free(&c, block), CRIME_NONE);
    ck_assert_uint_eq(load_relaxed(&limited.image->bytes_charged), 0);
    end();
}
END_TEST

/* ---------------------------------------------------------------- one step */

START_TEST(alloc_to_links_a_zero_block_and_free_from_takes_it_back)
{
    begin(SHIFT);
    void **holder = actor_alloc(&a, 64);
    ck_assert_ptr_nonnull(holder);
    uint64_t dest_ref = section_ref(&lent.section, holder);
    for (size_t size = 1; size < 4 * lent.heap.slab_max; size = size * 2 + 1) {
        void *old = holder;
        holder[0] = old;
        void *block = core_alloc_to(a.bins, &lent.heap, size, &holder[0], dest_ref, &a.error);
        ck_assert_ptr_nonnull(block);
        ck_assert_ptr_eq(holder[0], block);
        ck_assert_uint_eq(hand_of(&a), 0);
        ck_assert(bytes_are_zero(block, size));
        memset(block, 0xee, find(block).bytes);
        struct actor *other = size % 4 == 3 ? &a : &b;
        ck_assert_int_eq(core_free_from(other->bins, &lent.heap, &holder[0], dest_ref), CRIME_NONE);
        ck_assert_ptr_null(holder[0]);
        ck_assert_uint_eq(hand_of(other), 0);
        ck_assert_int_ne(find(block).crime, CRIME_NONE);
        ck_assert_uint_eq(findings(&lent.section), 0);
    }
    ck_assert_int_eq(actor_free(&b, holder), CRIME_NONE);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(alloc_to_that_fails_leaves_everything_as_it_was)
{
    begin(SHIFT);
    void **holder = alloc(&a, 64);
    fill_with(&a, SMALL);
    while (alloc(&a, lent.heap.slab_max) != NULL)
        ;
    holder[0] = &model;
    ck_assert_ptr_null(
        core_alloc_to(a.bins, &lent.heap, SMALL, &holder[0], section_ref(&lent.section, holder), &a.error));
    ck_assert_int_eq(a.error, -ENOSPC);
    ck_assert_ptr_eq(holder[0], &model);
    ck_assert_uint_eq(hand_of(&a), 0);
    size_t large = lent.heap.slab_max + 1;
    ck_assert_ptr_null(
        core_alloc_to(a.bins, &lent.heap, large, &holder[0], section_ref(&lent.section, holder), &a.error));
    ck_assert_ptr_eq(holder[0], &model);
    ck_assert_uint_eq(hand_of(&a), 0);
    pattern_fill(holder, 64, model.blocks[model_find(&model, holder)].seed);
    free_all(&a, &b);
    check_all_comes_back();
    end();
}
END_TEST

/*
 * What a thread that leaves does to the words of its large blocks, at any moment of their frees: each is freed once,
 * and no free is taken for a second one. The two take turns, which a busy machine makes slow: then there are fewer.
 */
enum { DISOWNED = 20000, DISOWNING_SECONDS = 4 };
static _Atomic uint32_t disown_round, disown_ready;
static _Atomic uint32_t disown_unit;
static uint64_t disowned;

static void *disown_what_is_freed(void *arg)
{
    (void)arg;
    uint32_t seen = 0;
    for (;;) {
        uint32_t round = atomic_load_explicit(&disown_round, memory_order_acquire);
        if (round == seen) {
            sched_yield();
            continue;
        }
        seen = round;
        if (seen == UINT32_MAX)
            break;
        atomic_u64 *at = &lent.section.unit_words[atomic_load_explicit(&disown_unit, memory_order_relaxed)];
        uint64_t word = load_relaxed(at);
        atomic_store_explicit(&disown_ready, round, memory_order_release);
        for (uint32_t spin = round % 997; spin-- > 0;)
            atomic_load_explicit(&disown_round, memory_order_relaxed);
        if (unit_state_of(word) == UNIT_LARGE)
            disowned += cas_acq_rel(at, &word, unit_disowned(word));
    }
    return NULL;
}

START_TEST(a_large_block_is_freed_while_its_thread_leaves)
{
    pthread_t thread;
    begin(SHIFT);
    ck_assert_int_eq(pthread_create(&thread, NULL, disown_what_is_freed, NULL), 0);
    disowned = 0;
    time_t deadline = time(NULL) + DISOWNING_SECONDS;
    uint32_t round = 0;
    while (round < DISOWNED && (round < 100 || time(NULL) < deadline)) {
        round++;
        unsigned char *block = actor_alloc(&a, lent.heap.slab_max + 1);
        ck_assert_ptr_nonnull(block);
        atomic_store_explicit(&disown_unit, (uint32_t)((block - lent.section.units) >> lent.section.unit_shift),
                              memory_order_relaxed);
        atomic_store_explicit(&disown_round, round, memory_order_release);
        while (atomic_load_explicit(&disown_ready, memory_order_acquire) != round)
            sched_yield();
        enum core_crime crime = actor_free(&b, block);
        if (crime != CRIME_NONE)
            ck_abort_msg("round %u: crime %d", round, crime);
    }
    atomic_store_explicit(&disown_round, UINT32_MAX, memory_order_release);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    printf("%u large blocks, of which %llu lost their owner before they were free\n", round,
           (unsigned long long)disowned);
    ck_assert_uint_eq(bytes_in_spans(&lent.section), 0);
    end();
}
END_TEST

/* ---------------------------------------------------------------- several heaps */

START_TEST(a_limit_holds_and_is_told_from_a_full_section)
{
    begin(SHIFT);
    size_t unit = (size_t)1 << SHIFT;
    struct core_heap limited;
    lent_heap(&limited, &lent.section, 10 * unit);
    actor_begin(&c, &lent.section, &limited);
    for (uint32_t round = 0; round < 3; round++) {
        void *blocks[4096];
        size_t count = 0;
        size_t sizes[] = {unit / 8, unit / 4, 5 * unit};
        while (count < COUNT_OF(blocks) && (blocks[count] = actor_alloc(&c, sizes[round])) != NULL)
            count++;
        ck_assert_int_eq(c.error, -EDQUOT);
        ck_assert_uint_ge(count * sizes[round], 8 * unit);
        ck_assert_uint_le(load_relaxed(&limited.image->bytes_charged), 10 * unit);
        ck_assert_ptr_nonnull(alloc(&a, sizes[round])); /* the other heap has no limit */
        ck_assert_uint_eq(findings(&lent.section), 0);
        while (count-- > 0)
            ck_assert_int_eq(actor_free(&c, blocks[count]), CRIME_NONE);
    }
    core_trim(c.bins, &limited);
    ck_assert_uint_eq(load_relaxed(&limited.image->bytes_charged), 0);
    ck_assert_uint_le(load_relaxed(&limited.image->bytes_peak), 10 * unit);
    free_all(&a, &a);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(clearing_a_heap_frees_its_blocks_and_no_others)
{
    begin(SHIFT);
    struct core_heap other;
    lent_heap(&other, &lent.section, 0);
    actor_begin(&c, &lent.section, &other);
    struct bins *bins_of_b = owner_bins(&b.core, &other);
    for (uint32_t round = 0; round < 3; round++) {
        unsigned char *some[12] = {0};
        for (uint32_t i = 0; i < COUNT_OF(some); i++) {
            int error;
            size_t size = random_size(&numbers, 3u << SHIFT);
            if (alloc(&a, 100) == NULL)
                break;
            some[i] = i % 2 != 0 ? actor_alloc(&c, size) : core_alloc(bins_of_b, &other, size, &error);
            if (some[i] != NULL)
                memset(some[i], 0x11, size);
        }
        heap_clear(&c.core, &other);
        check();
        for (uint32_t i = 0; i < COUNT_OF(some); i++) {
            if (some[i] != NULL)
                ck_assert_int_ne(core_find(&other, some[i]).crime, CRIME_NONE);
        }
        ck_assert_uint_eq(load_relaxed(&other.image->bytes_charged), 0);
        ck_assert(!bins_are_current(c.bins, &other));
        ck_assert(!bins_are_current(bins_of_b, &other));
        c.bins = owner_bins(&c.core, &other);
        bins_of_b = owner_bins(&b.core, &other);
        ck_assert(bins_are_current(c.bins, &other));
    }
    free_all(&a, &b);
    check_all_comes_back();
    end();
}
END_TEST

/* A handle is moved on by any thread of its process: also beside one that is about to take a span. */
START_TEST(bins_of_an_earlier_life_get_no_span)
{
    begin(SHIFT);
    struct core_heap heap;
    lent_heap(&heap, &lent.section, 0);
    struct core_heap of_another = heap;
    const size_t sizes[] = {100, lent.heap.slab_max + 1};
    for (uint32_t i = 0; i < COUNT_OF(sizes); i++) {
        struct bins *bins = owner_bins(&a.core, &heap);
        ck_assert(heap_reset_begin(&b.core, &of_another) && heap_reset_finish(&b.core, &of_another));
        store_relaxed(&heap.life_made, load_relaxed(&of_another.life_made));
        int error = 0;
        ck_assert_ptr_null(core_alloc(bins, &heap, sizes[i], &error));
        ck_assert_int_eq(error, -EAGAIN);
        ck_assert_uint_eq(bytes_in_spans(&lent.section), 0);
        bins = owner_bins(&a.core, &heap);
        void *block = core_alloc(bins, &heap, sizes[i], &error);
        ck_assert_ptr_nonnull(block);
        ck_assert_int_eq(core_find(&heap, block).crime, CRIME_NONE);
        ck_assert_int_eq(core_free(bins, &heap, block), CRIME_NONE);
        core_trim(bins, &heap);
    }
    heap_end(&a.core, &heap);
    check_all_comes_back();
    end();
}
END_TEST

/* A reset that is refused leaves the blocks: also for who opened the heap in the moment in which it was stopped. */
/* Beside this one a thread has a handle of another heap, with the key that makes a stopped one's check the likest. */
START_TEST(a_stopped_heap_is_taken_for_no_other)
{
    begin(SHIFT);
    struct core_heap heap, other;
    lent_heap(&heap, &lent.section, 0);
    lent_heap(&other, &lent.section, 0);
    ck_assert_uint_eq(load_relaxed(heap.life), load_relaxed(other.life));
    other.key = heap.key ^ (uint64_t)b.core.number << UNIT_HEAP_SHIFT;
    ck_assert(heap_reset_begin(&b.core, &heap));
    ck_assert_uint_ne(heap_check(&heap), heap_check(&other));
    ck_assert_uint_ne(heap_check(&heap), heap_check(&other) ^ GUARDED);
    ck_assert(heap_reset_finish(&b.core, &heap));
    heap_end(&a.core, &heap);
    heap_end(&a.core, &other);
    end();
}
END_TEST

/* Whoever recovers one who was killed at it ends it again; its units are still told from those of a living one. */
START_TEST(a_heap_is_ended_while_it_is_stopped_as_often_as_one_likes)
{
    begin(SHIFT);
    for (int turn = 0; turn < 4; turn++) {
        struct core_heap heap;
        lent_heap(&heap, &lent.section, 0);
        ck_assert_int_eq(heap_keep(&a.core, &heap, UINT64_C(4) << lent.section.unit_shift), 0);
        ck_assert(heap_reset_begin(&a.core, &heap));
        ck_assert(heap_kill(&lent.section, 0, heap.number, heap.word_made));
        for (int again = 0; again < turn; again++)
            ck_assert(heap_kill(&lent.section, 0, heap.number, load_relaxed(&heap.image->word)));
        ck_assert(!heap_reset_finish(&a.core, &heap));
        heap_sweep(&lent.section, a.core.number, heap.number);
        ck_assert_uint_eq(load_relaxed(&heap.image->bytes_charged), 0);
    }
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(a_handle_made_while_the_heap_is_stopped_takes_no_block_for_stale)
{
    begin(SHIFT);
    struct core_heap heap, made_meanwhile;
    lent_heap(&heap, &lent.section, 0);
    int error = 0;
    void *block = core_alloc(owner_bins(&a.core, &heap), &heap, 100, &error);
    ck_assert_ptr_nonnull(block);
    struct core_heap of_another = heap;
    ck_assert(heap_reset_begin(&b.core, &of_another));
    heap_view_init(&made_meanwhile, &lent.section, heap.number);
    ck_assert_int_eq(core_find(&made_meanwhile, block).crime, CRIME_NONE);
    ck_assert(!heap_reset_finish(&b.core, &of_another));
    ck_assert_int_eq(core_find(&made_meanwhile, block).crime, CRIME_NONE);
    ck_assert_int_eq(core_free(owner_bins(&a.core, &heap), &heap, block), CRIME_NONE);
    heap_end(&a.core, &heap);
    end();
}
END_TEST

START_TEST(a_heap_that_ended_makes_place_for_another)
{
    begin(SHIFT);
    uint32_t numbers_seen = 0;
    for (uint32_t round = 0; round < 20; round++) {
        struct core_heap other;
        lent_heap(&other, &lent.section, 0);
        numbers_seen |= 1u << other.number;
        struct bins *bins = owner_bins(&a.core, &other);
        int error;
        void *block = core_alloc(bins, &other, 200, &error);
        ck_assert_ptr_nonnull(block);
        ck_assert_ptr_nonnull(core_alloc(bins, &other, lent.heap.slab_max + 1, &error));
        heap_end(&a.core, &other);
        ck_assert_uint_eq(bytes_in_spans(&lent.section), 0);
        ck_assert_uint_eq(findings(&lent.section), 0);
        if (round % 2 == 0)
            owner_bins_drop(&a.core, other.number);
    }
    ck_assert_uint_le((uint32_t)__builtin_popcount(numbers_seen), 3);
    check_all_comes_back();
    end();
}
END_TEST

/* The slabs of a heap that ended serve the next one: all blocks are free, and none is two heaps'. */
START_TEST(a_heap_goes_on_with_the_slabs_of_one_that_ended)
{
    begin(SHIFT);
    uint32_t again = 0;
    unsigned char *before = NULL;
    for (uint32_t round = 0; round < 50; round++) {
        uint64_t others = bytes_in_spans(&lent.section);
        struct core_heap other;
        lent_heap(&other, &lent.section, 0);
        struct bins *bins = owner_bins(&a.core, &other);
        size_t count = random_below(&numbers, 100) + 1;
        unsigned char *lowest = NULL;
        for (size_t i = 0; i < count; i++) {
            int error;
            unsigned char *block = core_alloc(bins, &other, 64, &error);
            ck_assert_ptr_nonnull(block);
            add(block, 64);
            lowest = lowest == NULL || block < lowest ? block : lowest;
        }
        again += lowest == before;
        before = lowest;
        if (round % 3 == 0) /* what is free already stays so, and what others free comes back */
            for (size_t i = 0; i < count; i += 2) {
                struct model_block taken;
                ck_assert(model_take(&model, random_below(&numbers, model.count), &taken));
                ck_assert_int_eq(core_free(round % 2 ? bins : owner_bins(&b.core, &other), &other, taken.address),
                                 CRIME_NONE);
            }
        ck_assert_uint_eq(findings(&lent.section), 0);
        ck_assert(holds_exactly(&lent.section, other.number, &model));
        heap_end(&a.core, &other);
        ck_assert_uint_eq(bytes_in_spans(&lent.section), others);
        ck_assert_uint_eq(findings(&lent.section), 0);
        model_end(&model);
        if (round % 5 == 4) { /* something else was in its place meanwhile, of another class or larger than a slab */
            alloc(&a, round % 2 ? 64 : lent.heap.slab_max + 1);
            free_all(&a, &a);
        }
    }
    ck_assert_uint_ge(again, 20);
    check_all_comes_back();
    end();
}
END_TEST

/* ---------------------------------------------------------------- crimes */

static unsigned char *image_before;

static void remember_image(void)
{
    image_before = realloc(image_before, lent.bytes);
    memcpy(image_before, lent.section.base, lent.bytes);
}

/* The crime is told by its name, both ways in, and not a byte of the section has changed. */
static void commit_crime(struct actor *actor, void *block, enum core_crime expected, const char *what)
{
    remember_image();
    enum core_crime crime = actor_free(actor, block);
    ck_assert_msg(crime == expected, "%s: crime %d, not %d", what, crime, expected);
    if (memcmp(image_before, lent.section.base, lent.bytes) != 0)
        ck_abort_msg("%s: the section has changed", what);
    void *dest = block;
    crime = core_free_from(actor->bins, actor->heap, &dest, 0);
    ck_assert_msg(crime == expected, "%s by free_from: crime %d, not %d", what, crime, expected);
    ck_assert_msg(dest == block, "%s by free_from: the pointer has changed", what);
    if (memcmp(image_before, lent.section.base, lent.bytes) != 0)
        ck_abort_msg("%s by free_from: the section has changed", what);
}

START_TEST(a_crime_is_told_and_changes_nothing)
{
    begin(SHIFT);
    size_t unit = (size_t)1 << SHIFT;
    struct core_heap other;
    lent_heap(&other, &lent.section, 0);
    actor_begin(&c, &lent.section, &other);
    unsigned char *block = alloc(&a, 64), *second = alloc(&a, 64), *third = alloc(&a, 64);
    unsigned char *wide = alloc(&a, lent.heap.slab_max), *wide2 = alloc(&a, lent.heap.slab_max);
    unsigned char *large = alloc(&a, 5 * unit), *large2 = alloc(&a, 5 * unit);
    ck_assert_ptr_nonnull(large2);
    unsigned char *theirs = actor_alloc(&c, 64);
    /* Writes to a local variable's hand_dest would be a change of the section; its value is 0 as in private heaps. */
    store_relaxed(&a.core.image->hand_dest, 0);
    store_relaxed(&b.core.image->hand_dest, 0);

    int on_the_stack;
    for (uint32_t i = 0; i < 2; i++) {
        struct actor *actor = i == 0 ? &a : &b;
        commit_crime(actor, NULL, CRIME_FOREIGN, "NULL");
        commit_crime(actor, &on_the_stack, CRIME_FOREIGN, "a local variable");
        commit_crime(actor, lent.section.units - 16, CRIME_FOREIGN, "before the units");
        commit_crime(actor, lent.section.units + lent.section.units_bytes, CRIME_FOREIGN, "behind the units");
        commit_crime(actor, (void *)(uintptr_t)-16, CRIME_FOREIGN, "the end of memory");
        commit_crime(actor, lent.section.base, CRIME_FOREIGN, "the header");
        commit_crime(actor, block + 1, CRIME_INTERIOR, "one byte into a block");
        commit_crime(actor, block + 16, CRIME_INTERIOR, "16 bytes into a block");
        commit_crime(actor, wide + 512, CRIME_INTERIOR, "inside a block of a wide slab");
        commit_crime(actor, large + 16, CRIME_INTERIOR, "inside a large block");
        commit_crime(actor, large + 4 * unit + 8, CRIME_INTERIOR, "in the tail of a large block");
        commit_crime(actor, section_unit(&lent.section, lent.section.units_max - 1), CRIME_UNALLOCATED,
                     "an unused unit");
        commit_crime(actor, theirs, CRIME_WRONG_HEAP, "a block of another heap");
        commit_crime(actor, theirs + 8, CRIME_WRONG_HEAP, "inside a block of another heap");
    }

    free_block(&a, block);
    commit_crime(&a, block, CRIME_FREED, "freed here, freed here");
    commit_crime(&b, block, CRIME_FREED, "freed here, freed elsewhere");
    free_block(&b, second);
    commit_crime(&a, second, CRIME_FREED, "freed elsewhere, freed here");
    commit_crime(&b, second, CRIME_FREED, "freed elsewhere, freed elsewhere");
    free_block(&b, wide);
    commit_crime(&a, wide, CRIME_FREED, "of a wide slab, freed elsewhere");
    free_block(&a, wide2);
    commit_crime(&b, wide2, CRIME_FREED, "of a wide slab, freed here");
    free_block(&a, large);
    commit_crime(&a, large, CRIME_FREED, "a large block twice");
    commit_crime(&b, large + unit, CRIME_FREED, "inside what was a large block");
    free_block(&b, large2);
    commit_crime(&a, large2, CRIME_FREED, "a large block twice, freed elsewhere");

    actor_leave(&a);
    commit_crime(&b, block, CRIME_FREED, "in an orphan, freed before");
    free_block(&b, third);
    commit_crime(&b, third, CRIME_FREED, "in an orphan, freed elsewhere");
    core_trim(b.bins, &lent.heap);
    commit_crime(&b, third, CRIME_FREED, "in a slab that was released");

    actor_begin(&a, &lent.section, &lent.heap);
    ck_assert_int_eq(actor_free(&c, theirs), CRIME_NONE);
    core_trim(c.bins, &other);
    free(image_before);
    check_all_comes_back();
    end();
}
END_TEST

START_TEST(freeing_each_address_of_a_section_frees_nothing_but_the_live_blocks)
{
    begin(SHIFT);
    /* Sparse, so that many addresses are of all kinds; only the first units, for it is one call for each address. */
    for (uint32_t i = 0; i < 60; i++)
        ck_assert_ptr_nonnull(alloc(&a, random_size(&numbers, 300)));
    for (uint32_t i = 0; i < 30; i++)
        free_at(&a, random_below(&numbers, model.count));
    size_t live = model.count;
    unsigned char *from = lent.section.units;
    unsigned char *to = from + min_u64(lent.section.units_bytes, 20000);
    uint32_t freed = 0;
    for (unsigned char *address = from; address < to; address++) {
        struct core_place place = find(address);
        bool is_live = model_find(&model, address) != model.count;
        if ((place.crime == CRIME_NONE) != is_live)
            ck_abort_msg("%p is %slive: crime %d", (void *)address, is_live ? "" : "not ", place.crime);
        if (!is_live && actor_free(address < from + 10000 ? &a : &b, address) == CRIME_NONE)
            ck_abort_msg("%p was freed and is not live", (void *)address);
        freed += is_live;
    }
    ck_assert_uint_gt(freed, 0);
    ck_assert_uint_eq(model.count, live);
    check();
    free_all(&a, &b);
    check_all_comes_back();
    end();
}
END_TEST

/* ---------------------------------------------------------------- the same bytes at another address */

START_TEST(a_section_goes_on_at_another_address)
{
    static const size_t places[] = {0, 4096, 3 * 4096, 64};
    begin(SHIFT);
    fill_randomly(&a);
    for (size_t i = model.count; i-- > 0;) {
        if (random_below(&numbers, 2) != 0)
            free_at(random_below(&numbers, 2) != 0 ? &a : &b, i);
    }
    fill_randomly(&b);
    for (size_t i = model.count; i-- > 0;) {
        if (random_below(&numbers, 3) == 0)
            free_at(random_below(&numbers, 2) != 0 ? &a : &b, i);
    }
    check();
    for (size_t place = 0; place < COUNT_OF(places); place++) {
        struct lent moved;
        lent_copy(&moved, &lent, places[place]);
        for (size_t i = 0; i < model.count; i++) {
            uint64_t ref = section_ref(&lent.section, model.blocks[i].address);
            model.blocks[i].address = section_at(&moved.section, ref);
        }
        uint32_t old[] = {a.core.number, b.core.number};
        actor_die(&a);
        actor_die(&b);
        memset(lent.array, 0xdd, lent.bytes); /* whoever still looks there finds nothing */
        lent_end(&lent);
        lent = moved;
        lent_heap_view(&lent.heap, &lent.section, moved.heap.number);
        actor_begin(&a, &lent.section, &lent.heap);
        ck_assert(actor_recover(&lent.section, &a, old[0]));
        ck_assert(actor_recover(&lent.section, &a, old[1]));
        actor_begin(&b, &lent.section, &lent.heap);
        check();
        fill_randomly(&a);
        check();
        for (size_t i = model.count; i-- > 0;) {
            if (random_below(&numbers, 2) == 0)
                free_at(random_below(&numbers, 2) != 0 ? &a : &b, i);
        }
        check();
    }
    free_all(&a, &b);
    check_all_comes_back();
    end();
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
    return suite_case(suite, name, 30);
}

#define ADD(tests, test) tcase_add_loop_test(tests, test, 0, (int)COUNT_OF(shifts))

int main(void)
{
    Suite *suite = suite_create("core");
    TCase *blocks = add_case(suite, "blocks");
    ADD(blocks, blocks_are_distinct_until_the_section_is_full_and_all_of_it_comes_back);
    ADD(blocks, blocks_of_every_class_use_the_section_to_its_last_slab);
    ADD(blocks, a_size_fits_its_block_and_is_told_by_it);
    ADD(blocks, a_zeroed_block_is_zero_to_its_last_usable_byte);
    ADD(blocks, an_aligned_block_is_aligned_or_none);
    ADD(blocks, an_aligned_block_is_aligned_when_its_class_is_used_up);
    tcase_add_loop_test(blocks, every_alignment_can_be_had_wherever_a_section_lies, 0, 2);
    ADD(blocks, without_memory_for_rings_nothing_is_lost);

    TCase *owners = add_case(suite, "several owners");
    ADD(owners, a_block_freed_elsewhere_returns_to_its_owner);
    ADD(owners, a_block_freed_elsewhere_is_found_when_its_news_is_lost);
    ADD(owners, one_block_freed_elsewhere_is_enough);
    ADD(owners, a_block_in_a_hand_is_not_allocated);
    ADD(owners, a_slab_with_a_block_in_a_hand_is_not_released);
    ADD(owners, what_one_owner_leaves_another_adopts);
    ADD(owners, an_owner_that_leaves_with_nothing_live_leaves_nothing);
    ADD(owners, an_orphan_that_got_empty_makes_room_for_a_large_block);
    ADD(owners, an_orphan_of_another_class_makes_room_when_it_is_empty);
    ADD(owners, an_owners_number_is_used_again_and_its_record_has_another_generation);
    ADD(owners, no_more_owners_than_records);

    TCase *large = add_case(suite, "large blocks");
    ADD(large, a_large_block_grows_and_shrinks_where_it_is);
    ADD(large, a_large_block_does_not_grow_into_others_or_beyond_the_section);
    ADD(large, growing_keeps_to_the_limit);
    ADD(large, a_large_block_is_freed_while_its_thread_leaves);

    TCase *one_step = add_case(suite, "one step");
    ADD(one_step, alloc_to_links_a_zero_block_and_free_from_takes_it_back);
    ADD(one_step, alloc_to_that_fails_leaves_everything_as_it_was);

    TCase *heaps = add_case(suite, "several heaps");
    ADD(heaps, a_limit_holds_and_is_told_from_a_full_section);
    ADD(heaps, clearing_a_heap_frees_its_blocks_and_no_others);
    ADD(heaps, bins_of_an_earlier_life_get_no_span);
    ADD(heaps, a_stopped_heap_is_taken_for_no_other);
    ADD(heaps, a_heap_is_ended_while_it_is_stopped_as_often_as_one_likes);
    ADD(heaps, a_handle_made_while_the_heap_is_stopped_takes_no_block_for_stale);
    ADD(heaps, a_heap_that_ended_makes_place_for_another);
    ADD(heaps, a_heap_goes_on_with_the_slabs_of_one_that_ended);

    TCase *crimes = add_case(suite, "crimes");
    ADD(crimes, a_crime_is_told_and_changes_nothing);
    ADD(crimes, freeing_each_address_of_a_section_frees_nothing_but_the_live_blocks);

    TCase *addresses = add_case(suite, "addresses");
    ADD(addresses, a_section_goes_on_at_another_address);
    return suite_run(suite);
}
