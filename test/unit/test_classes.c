/* SPDX-License-Identifier: MIT */
#include "core/classes.h"

#include "core/slab.h"
#include "support/suite.h"

/* ---------------------------------------------------------------- sizes */

START_TEST(every_size_has_the_smallest_class_that_holds_it)
{
    uint32_t before = 0;
    for (size_t size = 0; size <= CLASS_BYTES_MAX; size++) {
        uint32_t size_class = class_of(size);
        ck_assert_uint_lt(size_class, CLASS_COUNT);
        ck_assert_uint_ge(size_class, before);
        ck_assert_uint_le(size_class - before, 1);
        ck_assert_uint_ge(class_bytes(size_class), size);
        if (size_class > 0)
            ck_assert_uint_lt(class_bytes(size_class - 1), size);
        before = size_class;
    }
    ck_assert_uint_eq(before, CLASS_COUNT - 1);
}
END_TEST

START_TEST(at_most_an_eighth_of_a_block_is_lost_to_rounding)
{
    for (size_t size = 1; size <= CLASS_BYTES_MAX; size++) {
        uint32_t bytes = class_bytes(class_of(size));
        ck_assert_msg(bytes - size <= size / 8 + 15, "%zu bytes in a block of %u", size, bytes);
    }
}
END_TEST

START_TEST(the_table_says_what_the_formula_computes)
{
    for (size_t size = 0; size <= CLASS_TABLE_MAX; size++)
        ck_assert_msg(class_table[(size + 15) / 16] == class_compute(size), "size %zu", size);
}
END_TEST

START_TEST(blocks_of_classes_grow_in_multiples_of_the_alignment)
{
    for (uint32_t c = 0; c < CLASS_COUNT; c++) {
        ck_assert_uint_eq(class_bytes(c) % 16, 0);
        ck_assert_uint_eq(class_of(class_bytes(c)), c);
        if (c > 0)
            ck_assert_uint_gt(class_bytes(c), class_bytes(c - 1));
    }
    ck_assert_uint_eq(class_bytes(0), 16);
    ck_assert_uint_eq(class_bytes(CLASS_COUNT - 1), CLASS_BYTES_MAX);
}
END_TEST

/* ---------------------------------------------------------------- geometry, for each unit shift */

/* The classes that are cut from slabs at this unit size. */
static uint32_t slab_classes(uint32_t unit_shift)
{
    return class_of(class_slab_max(unit_shift)) + 1;
}

START_TEST(a_slab_holds_its_blocks_and_wastes_at_most_an_eighth)
{
    uint32_t unit_shift = (uint32_t)_i;
    for (uint32_t c = 0; c < slab_classes(unit_shift); c++) {
        struct slab_geometry geometry = slab_geometry_of(c, unit_shift, false);
        uint64_t bytes = (uint64_t)geometry.span_units << unit_shift;
        uint64_t used = (uint64_t)geometry.blocks * geometry.block_bytes;
        ck_assert_uint_eq(geometry.block_bytes, class_bytes(c));
        ck_assert_uint_le(used, bytes);
        ck_assert_uint_le((bytes - used) * 8, bytes);
        ck_assert_uint_ge(geometry.blocks, geometry.block_bytes > UINT64_C(1) << unit_shift ? 2 : 4);
        ck_assert_uint_le(geometry.blocks, SLAB_BLOCKS_MAX);
    }
}
END_TEST

START_TEST(the_words_of_a_slab_fit_into_the_header_places_of_its_units)
{
    uint32_t unit_shift = (uint32_t)_i;
    struct section_image header;
    struct section_params params = {.bytes_max = UINT64_C(64) << 20, .unit_shift = unit_shift};
    ck_assert_int_eq(section_plan(&header, &params), 0);
    ck_assert_uint_eq(header.span_stride % 16, 0);
    ck_assert(!is_power_of_two(header.span_stride));
    for (uint32_t c = 0; c < slab_classes(unit_shift); c++) {
        struct slab_geometry geometry = slab_geometry_of(c, unit_shift, false);
        uint64_t words = (geometry.blocks + 63) / 64;
        uint64_t needed = sizeof(struct span_image) + words * 2 * sizeof(uint64_t);
        ck_assert_msg(needed <= (uint64_t)header.span_stride * geometry.span_units,
                      "class %u: %u blocks need %llu bytes and have %u times %u", c, geometry.blocks,
                      (unsigned long long)needed, geometry.span_units, header.span_stride);
        ck_assert_uint_le(words, SPAN_WORDS_MAX);
    }
}
END_TEST

START_TEST(the_reciprocal_divides_every_offset_exactly)
{
    uint32_t unit_shift = (uint32_t)_i;
    for (uint32_t c = 0; c < slab_classes(unit_shift); c++) {
        struct slab_geometry geometry = slab_geometry_of(c, unit_shift, false);
        struct section_image image = {0};
        struct section section = {.image = &image, .span_stride = SPAN_STRIDE_MAX};
        unsigned char places[8 * SPAN_STRIDE_MAX] __attribute__((aligned(64))) = {0};
        struct span_image *slab = (struct span_image *)(void *)places;
        slab_init(&section, slab, c, &geometry);
        uint32_t reciprocal = load_relaxed(&slab->reciprocal);
        uint32_t bytes = geometry.span_units << unit_shift;
        uint32_t index = 0, inside = 0; /* counted, not divided */
        for (uint32_t offset = 0; offset < bytes; offset++) {
            uint64_t product = (uint64_t)offset * reciprocal;
            if (product >> 32 != index)
                ck_abort_msg("class %u: offset %u is in block %u, not %llu", c, offset, index,
                             (unsigned long long)(product >> 32));
            /* Of slabs in one unit: how core_free_local tells the beginning of a block. */
            if (geometry.span_units == 1 && ((uint32_t)product < reciprocal) != (inside == 0))
                ck_abort_msg("class %u: offset %u is taken for %s", c, offset,
                             inside == 0 ? "the inside of a block" : "the beginning of a block");
            if (++inside == geometry.block_bytes) {
                inside = 0;
                index++;
            }
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("classes");
    TCase *sizes = suite_case(suite, "sizes", 10);
    tcase_add_test(sizes, every_size_has_the_smallest_class_that_holds_it);
    tcase_add_test(sizes, at_most_an_eighth_of_a_block_is_lost_to_rounding);
    tcase_add_test(sizes, the_table_says_what_the_formula_computes);
    tcase_add_test(sizes, blocks_of_classes_grow_in_multiples_of_the_alignment);

    TCase *geometry = suite_case(suite, "geometry", 20);
    int end = UNIT_SHIFT_MAX + 1;
    tcase_add_loop_test(geometry, a_slab_holds_its_blocks_and_wastes_at_most_an_eighth, UNIT_SHIFT_MIN, end);
    tcase_add_loop_test(geometry, the_words_of_a_slab_fit_into_the_header_places_of_its_units, UNIT_SHIFT_MIN, end);
    tcase_add_loop_test(geometry, the_reciprocal_divides_every_offset_exactly, UNIT_SHIFT_MIN, end);
    return suite_run(suite);
}
