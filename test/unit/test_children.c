/* SPDX-License-Identifier: MIT */
/* Private heaps that are parts of others, and very many heaps. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support/random.h"
#include "support/suite.h"
#include "support/workspace.h"

static cairn_heap *create_child(cairn_heap *parent, uint64_t bytes_max)
{
    cairn_options options = {.size = sizeof options, .parent = parent, .bytes_max = bytes_max};
    cairn_heap *heap;
    if (cairn_heap_create(&heap, &options) < 0)
        broken(__FILE__, __LINE__, "create: %s", cairn_last_error());
    return heap;
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

static uint64_t taken(cairn_heap *heap)
{
    return stats_of(heap).bytes_committed;
}

/* ---------------------------------------------------------------- limits */

START_TEST(the_limits_of_child_and_parent_both_hold)
{
    static const size_t sizes[] = {100, 5000, 60000, 1000000};
    size_t size = sizes[_i];
    cairn_heap *root = create_private(0), *middle = create_child(root, 16 * MIB);
    cairn_heap *narrow = create_child(middle, 4 * MIB), *wide = create_child(middle, 0);

    uint64_t bytes = fill(narrow, size); /* its own limit */
    ck_assert_uint_le(taken(narrow), 4 * MIB);
    ck_assert_uint_ge(bytes, 3 * MIB);
    ck_assert_uint_eq(taken(middle), taken(narrow));

    bytes = fill(wide, size); /* its parent's */
    ck_assert_uint_le(taken(middle), 16 * MIB);
    ck_assert_uint_ge(bytes, 10 * MIB);
    ck_assert_uint_eq(taken(middle), taken(narrow) + taken(wide));
    ck_assert_uint_ge(taken(root), taken(middle));
    ck_assert_ptr_null(cairn_alloc(middle, size * 2 + 200000)); /* it has nothing left for itself */

    ck_assert_ptr_nonnull(cairn_alloc(root, size)); /* the root has no limit */
    REQUIRE_SOUND(root);

    /* What one gives back is the other's to take. */
    ck_assert_int_eq(cairn_heap_reset(narrow), 0);
    ck_assert_uint_ge(fill(wide, size), 2 * MIB);
    ck_assert_uint_le(taken(middle), 16 * MIB);
    ck_assert_int_eq(cairn_heap_destroy(wide), 0);
    ck_assert_uint_le(taken(middle), 4 * MIB);
    ck_assert_uint_ge(fill(middle, size), 10 * MIB);
    ck_assert_uint_le(taken(middle), 16 * MIB);
    REQUIRE_SOUND(root);

    ck_assert_int_eq(cairn_heap_destroy(middle), -EBUSY);
    ck_assert_int_eq(cairn_heap_destroy(narrow), 0);
    ck_assert_int_eq(cairn_heap_destroy(middle), 0);
    ck_assert_int_eq(cairn_heap_destroy(root), 0);
}
END_TEST

/* A limit that a child sets above its parent's gives no more. */
START_TEST(a_child_gets_no_more_than_its_parent)
{
    cairn_heap *root = create_private(0), *middle = create_child(root, 2 * MIB),
               *child = create_child(middle, 64 * MIB);
    fill(child, 1000);
    ck_assert_uint_le(taken(child), 2 * MIB);
    cairn_options options = {.size = sizeof options, .parent = middle, .bytes_max = MIB, .bytes_start = MIB};
    cairn_heap *none = untouched;
    REFUSED(-ENOMEM, cairn_heap_create(&none, &options)); /* all of it is in use */
    ck_assert_ptr_eq(none, untouched);
    ck_assert_int_eq(cairn_heap_reset(child), 0);
    ck_assert_int_eq(cairn_heap_create(&none, &options), 0);
    ck_assert_uint_eq(taken(none), MIB); /* charged at once, to both */
    ck_assert_uint_eq(taken(middle), MIB);
    ck_assert_uint_le(fill(child, 1000), MIB);
    ck_assert_uint_ge(fill(none, 1000), MIB * 3 / 4);
    ck_assert_uint_eq(taken(none), MIB);
    REQUIRE_SOUND(root);
    ck_assert_int_eq(cairn_heap_destroy(none), 0);
    ck_assert_int_eq(cairn_heap_destroy(child), 0);
    ck_assert_uint_eq(taken(middle), 0);
    ck_assert_int_eq(cairn_heap_destroy(middle), 0);
    ck_assert_int_eq(cairn_heap_destroy(root), 0);
}
END_TEST

/* ---------------------------------------------------------------- ends */

START_TEST(a_heap_with_children_is_not_destroyed)
{
    cairn_heap *root = create_private(0), *child = create_child(root, 0), *grandchild = create_child(child, 0);
    void *block = cairn_alloc(child, 100);
    memset(block, 7, 100);
    REFUSED(-EBUSY, cairn_heap_destroy(root));
    REFUSED(-EBUSY, cairn_heap_destroy(child));
    ck_assert_uint_eq(((unsigned char *)block)[99], 7); /* nothing happened to it */
    ck_assert_uint_eq(cairn_size(child, block) >= 100, true);
    ck_assert_int_eq(cairn_heap_destroy(grandchild), 0);
    ck_assert_int_eq(cairn_heap_destroy(child), 0);
    ck_assert_int_eq(cairn_heap_destroy(root), 0);
}
END_TEST

/* Children outlive a parent that is closed; no heap that comes later is taken for it. */
START_TEST(a_closed_parent_has_no_successor)
{
    cairn_heap *parent = create_private(0), *child = create_child(parent, 0);
    cairn_heap_close(parent);
    cairn_heap *next = create_private(0), *nexts = create_child(next, 0);
    void *block = cairn_alloc(child, MIB);
    REQUIRE_CALL(block != NULL);
    ck_assert_uint_eq(taken(next), 0);
    cairn_free(child, block);
    ck_assert_int_eq(cairn_heap_destroy(nexts), 0);
    ck_assert_int_eq(cairn_heap_destroy(next), 0);
    ck_assert_int_eq(cairn_heap_destroy(child), 0);
}
END_TEST

/* A reset frees the heap's own blocks and those of no part of it. */
START_TEST(a_reset_is_of_one_heap)
{
    cairn_heap *root = create_private(0), *child = create_child(root, 0), *grandchild = create_child(child, 0);
    cairn_heap *heaps[] = {root, child, grandchild};
    unsigned char *blocks[3][100];
    for (int reset = 0; reset < 3; reset++) {
        for (int h = 0; h < 3; h++) {
            for (int i = 0; i < 100; i++) {
                blocks[h][i] = cairn_alloc(heaps[h], (size_t)(1 + i * i * 10));
                REQUIRE_CALL(blocks[h][i] != NULL);
                memset(blocks[h][i], h, (size_t)(1 + i * i * 10));
            }
        }
        ck_assert_int_eq(cairn_heap_reset(heaps[reset]), 0);
        for (int h = 0; h < 3; h++) {
            ck_assert_uint_eq(blocks_live(heaps[h]), h == reset ? 0 : 100);
            for (int i = 0; i < 100 && h != reset; i++) {
                REQUIRE(blocks[h][i][i * i * 10] == h);
                cairn_free(heaps[h], blocks[h][i]);
            }
        }
        REQUIRE_SOUND(root);
    }
    for (int h = 2; h >= 0; h--)
        ck_assert_int_eq(cairn_heap_destroy(heaps[h]), 0);
}
END_TEST

START_TEST(the_end_of_a_child_gives_its_memory_back)
{
    cairn_heap *root = create_private(0);
    void *kept = cairn_alloc(root, 100);
    ck_assert_ptr_nonnull(kept);
    uint64_t before = taken(root);
    for (int round = 0; round < 50; round++) {
        cairn_heap *child = create_child(root, 0);
        for (int i = 0; i < 200; i++)
            REQUIRE_CALL(cairn_alloc(child, (size_t)(1 + i * 300)) != NULL);
        ck_assert_uint_gt(taken(root), before + 5 * MIB);
        if (round % 3 == 0) {
            ck_assert_int_eq(cairn_heap_reset(child), 0);
            ck_assert_uint_eq(taken(root), before);
            ck_assert_ptr_nonnull(cairn_alloc(child, 100));
        }
        if (round % 2 == 0)
            cairn_heap_close(child); /* of a private heap: the same */
        else
            ck_assert_int_eq(cairn_heap_destroy(child), 0);
        ck_assert_uint_eq(taken(root), before);
    }
    REQUIRE_SOUND(root);
    ck_assert_int_eq(cairn_heap_destroy(root), 0);
}
END_TEST

/* What a large heap sets aside in order to have huge pages is charged to it: one with a limit sets nothing aside. */
START_TEST(a_limit_is_the_childs_to_the_last_unit)
{
    enum { LIMIT = 16 << 20, BLOCK = 1400, BLOCKS = (10 << 20) / BLOCK };
    static void *blocks[BLOCKS];
    cairn_heap *root = create_private(0);
    cairn_heap *middle = create_child(root, _i == 0 ? 0 : LIMIT); /* its own limit, or its parent's */
    cairn_heap *child = create_child(middle, _i == 0 ? LIMIT : 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < BLOCKS; i++)
            REQUIRE_CALL((blocks[i] = cairn_alloc(child, BLOCK)) != NULL);
        void *between = cairn_alloc(root, 3 * MIB); /* else what is set aside is the beginning of what is asked next */
        void *large = cairn_alloc(child, LIMIT - taken(child));
        REQUIRE_CALL(large != NULL);
        cairn_free(child, large);
        for (int i = 0; i < BLOCKS; i++)
            cairn_free(child, blocks[i]);
        REQUIRE(cairn_trim(child) >= 0);
        large = cairn_alloc(child, LIMIT);
        REQUIRE_CALL(large != NULL);
        cairn_free(child, large);
        cairn_free(root, between);
    }
    REQUIRE_SOUND(child);
    cairn_heap_close(child);
    cairn_heap_close(middle);
    cairn_heap_close(root);
}
END_TEST

START_TEST(heaps_nest_deeply)
{
    enum { DEPTH = 200 };
    cairn_heap *heaps[DEPTH];
    heaps[0] = create_private(0);
    for (int i = 1; i < DEPTH; i++)
        heaps[i] = create_child(heaps[i - 1], i == 100 ? MIB : 0);
    void *block = cairn_alloc(heaps[DEPTH - 1], 100000);
    ck_assert_ptr_nonnull(block);
    uint64_t bytes = taken(heaps[DEPTH - 1]);
    for (int i = 0; i < DEPTH; i++)
        ck_assert_uint_eq(taken(heaps[i]), bytes); /* charged to each */
    ck_assert_ptr_null(cairn_alloc(heaps[DEPTH - 1], 2 * MIB));
    ck_assert_ptr_nonnull(cairn_alloc(heaps[99], 2 * MIB)); /* above the limit there is none */
    REQUIRE_SOUND(heaps[0]);
    for (int i = DEPTH - 1; i >= 0; i--)
        ck_assert_int_eq(cairn_heap_destroy(heaps[i]), 0);
}
END_TEST

/* Its own section is its parent's. */
START_TEST(a_bounded_heap_has_children)
{
    cairn_heap *parent = create_private(100 * MIB);
    cairn_stats stats = stats_of(parent);
    cairn_heap *child = create_child(parent, 20 * MIB);
    ck_assert_uint_ge(fill(child, 50000), 15 * MIB);
    ck_assert_uint_le(taken(child), 20 * MIB);
    uintptr_t block = (uintptr_t)cairn_alloc(child, 16);
    ck_assert(block == 0 || (block >= stats.address && block < stats.address + 100 * MIB));
    ck_assert_uint_ge(fill(parent, 50000), 60 * MIB);
    REQUIRE_SOUND(parent);
    REFUSED(-EBUSY, cairn_heap_destroy(parent));
    ck_assert_int_eq(cairn_heap_destroy(child), 0);
    ck_assert_uint_ge(fill(parent, 50000), 15 * MIB);
    ck_assert_int_eq(cairn_heap_destroy(parent), 0);
}
END_TEST

/* ---------------------------------------------------------------- threads */

enum { WORKERS = 4 };

struct family {
    cairn_heap *middle;
    uint64_t seed;
};

static void *raise_children(void *arg)
{
    const struct family *family = arg;
    struct random random = random_begin(family->seed);
    cairn_heap *children[8] = {NULL};
    for (uint64_t round = 0; round < random_rounds(UNDER_TSAN ? 300 : 2000); round++) {
        size_t i = random_below(&random, COUNT(children));
        if (children[i] == NULL) {
            children[i] = create_child(family->middle, random_below(&random, 3) == 0 ? MIB : 0);
            continue;
        }
        for (int k = 0; k < 20; k++) {
            unsigned char *block = cairn_alloc(children[i], 1 + random_size(&random, 100000));
            if (block != NULL)
                *block = 1;
            else
                REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
        }
        uint64_t what = random_below(&random, 4);
        if (what == 0)
            REQUIRE_CALL(cairn_heap_reset(children[i]) == 0);
        if (what == 1) {
            REQUIRE_CALL(cairn_heap_destroy(children[i]) == 0);
            children[i] = NULL;
        }
    }
    for (size_t i = 0; i < COUNT(children); i++)
        REQUIRE_CALL(cairn_heap_destroy(children[i]) == 0);
    return NULL;
}

START_TEST(threads_raise_children_of_one_parent)
{
    cairn_heap *root = create_private(0), *middle = create_child(root, 32 * MIB);
    pthread_t threads[WORKERS];
    struct family families[WORKERS];
    uint64_t seed = random_seed("children", 11);
    for (uint64_t i = 0; i < WORKERS; i++) {
        families[i] = (struct family){.middle = middle, .seed = seed + i};
        REQUIRE(pthread_create(&threads[i], NULL, raise_children, &families[i]) == 0);
    }
    for (int i = 0; i < WORKERS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    ck_assert_uint_eq(taken(middle), 0);
    ck_assert_uint_eq(taken(root), 0);
    REQUIRE_SOUND(root);
    ck_assert_int_eq(cairn_heap_destroy(middle), 0);
    ck_assert_int_eq(cairn_heap_destroy(root), 0);
}
END_TEST

/* ---------------------------------------------------------------- very many */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

START_TEST(a_hundred_thousand_heaps_live_at_once)
{
    uint64_t many = UNDER_SANITIZER ? 5000 : 100000;
    cairn_heap **heaps = malloc(many * sizeof *heaps);
    unsigned char **blocks = malloc(many * sizeof *blocks);
    ck_assert(heaps != NULL && blocks != NULL);
    double began = seconds();
    for (uint64_t i = 0; i < many; i++) {
        heaps[i] = create_private(0);
        REQUIRE_CALL((blocks[i] = cairn_alloc(heaps[i], 100)) != NULL);
        memset(blocks[i], (int)i, 100);
    }
    double made = seconds();
    for (uint64_t i = 0; i < many; i++) {
        REQUIRE(blocks[i][0] == (unsigned char)i && blocks[i][99] == (unsigned char)i);
        if (i % 3 == 0)
            cairn_free(heaps[i], blocks[i]);
    }
    double used = seconds();
    REQUIRE_SOUND(heaps[many / 2]);
    double checked = seconds();
    for (uint64_t i = 0; i < many; i++)
        cairn_heap_close(heaps[i]);
    printf("%llu heaps: made in %.2f s, used in %.2f s, checked in %.2f s, closed in %.2f s\n",
           (unsigned long long)many, made - began, used - made, checked - used, seconds() - checked);
    free(heaps);
    free(blocks);
    cairn_heap *heap = create_private(0);
    ck_assert_ptr_nonnull(cairn_alloc(heap, 100));
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("children");
    tcase_add_loop_test(tests, the_limits_of_child_and_parent_both_hold, 0, 4);
    tcase_add_test(tests, a_child_gets_no_more_than_its_parent);
    tcase_add_test(tests, a_heap_with_children_is_not_destroyed);
    tcase_add_test(tests, a_closed_parent_has_no_successor);
    tcase_add_test(tests, a_reset_is_of_one_heap);
    tcase_add_test(tests, the_end_of_a_child_gives_its_memory_back);
    tcase_add_loop_test(tests, a_limit_is_the_childs_to_the_last_unit, 0, 2);
    tcase_add_test(tests, heaps_nest_deeply);
    tcase_add_test(tests, a_bounded_heap_has_children);
    tcase_add_test(tests, threads_raise_children_of_one_parent);
    tcase_add_test(tests, a_hundred_thousand_heaps_live_at_once);
    tcase_add_unchecked_fixture(tests, workspace_enter, workspace_leave);
    tcase_set_timeout(tests, UNDER_SANITIZER ? 150 : 60);
    Suite *suite = suite_create("children");
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
