/* SPDX-License-Identifier: MIT */
/* What C17, POSIX and, where those leave a choice, glibc say about each call. */
#include <check.h>
#include <errno.h>
#include <malloc.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include "malloc/preloaded.h"

static const size_t too_much[] = {SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1, (size_t)PTRDIFF_MAX};

static size_t any(size_t value) /* the compiler warns of sizes that it sees to be impossible */
{
    __asm__("" : "+r"(value));
    return value;
}

static int is_all(const unsigned char *bytes, size_t size, unsigned char value)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != value)
            return 0;
    }
    return 1;
}

START_TEST(malloc_of_nothing_gives_blocks_of_their_own)
{
    void *block[100];
    for (int i = 0; i < 100; i++) {
        block[i] = malloc(any(0));
        ck_assert_ptr_nonnull(block[i]);
        for (int k = 0; k < i; k++)
            ck_assert_ptr_ne(block[i], block[k]);
    }
    for (int i = 0; i < 100; i++)
        free(block[i]);
}
END_TEST

START_TEST(every_block_is_aligned_for_every_type_and_holds_its_bytes)
{
    for (size_t size = 1; size < 100000; size += size / 7 + 1) {
        unsigned char *one = malloc(any(size));
        unsigned char *two = malloc(any(size));
        ck_assert(one != NULL && two != NULL);
        ck_assert_uint_eq((uintptr_t)one % alignof(max_align_t), 0);
        ck_assert_uint_eq((uintptr_t)one % 16, 0);
        memset(one, 1, size);
        memset(two, 2, size);
        ck_assert(is_all(one, size, 1) && is_all(two, size, 2));
        free(one);
        free(two);
    }
}
END_TEST

START_TEST(more_than_ptrdiff_max_is_enomem)
{
    for (size_t i = 0; i < sizeof too_much / sizeof *too_much; i++) {
        errno = 0;
        ck_assert_ptr_null(hidden(malloc(any(too_much[i]))));
        ck_assert_int_eq(errno, ENOMEM);
        errno = 0;
        ck_assert_ptr_null(hidden(calloc(1, any(too_much[i]))));
        ck_assert_int_eq(errno, ENOMEM);
        errno = 0;
        ck_assert_ptr_null(hidden(realloc(NULL, any(too_much[i]))));
        ck_assert_int_eq(errno, ENOMEM);
        errno = 0;
        ck_assert_ptr_null(hidden(aligned_alloc(64, any(too_much[i]))));
        ck_assert_int_eq(errno, ENOMEM);
        errno = 0;
        ck_assert_ptr_null(hidden(aligned_alloc((size_t)4 << 20, any(too_much[i]))));
        ck_assert_int_eq(errno, ENOMEM);
        errno = 0;
        ck_assert_ptr_null(hidden(pvalloc(any(too_much[i]))));
        ck_assert_int_eq(errno, ENOMEM);
        void *kept = &errno;
        ck_assert_int_eq(posix_memalign(&kept, 64, any(too_much[i])), ENOMEM);
        ck_assert_ptr_eq(kept, &errno);
    }
}
END_TEST

START_TEST(calloc_is_zero_also_where_memory_was_used_before)
{
    for (size_t size = 1; size < (size_t)8 << 20; size = size * 3 + 1) {
        for (int again = 0; again < 3; again++) {
            unsigned char *block = calloc(size, 1);
            ck_assert_ptr_nonnull(block);
            ck_assert(is_all(block, size, 0));
            memset(block, 0xa5, malloc_usable_size(block));
            free(block);
        }
    }
}
END_TEST

START_TEST(a_product_that_overflows_is_enomem)
{
    errno = 0;
    ck_assert_ptr_null(hidden(calloc(any(SIZE_MAX / 2 + 2), 2)));
    ck_assert_int_eq(errno, ENOMEM);
    void *block = malloc(10);
    errno = 0;
    ck_assert_ptr_null(hidden(reallocarray(hidden(block), any(SIZE_MAX / 16 + 2), 16)));
    ck_assert_int_eq(errno, ENOMEM);
    free(block);
}
END_TEST

START_TEST(realloc_keeps_what_fits)
{
    unsigned char *block = NULL;
    size_t before = 0;
    for (size_t size = 1; size < (size_t)64 << 20; size = size * 2 + 5) {
        block = realloc(block, size);
        ck_assert_ptr_nonnull(block);
        ck_assert(is_all(block, before, 7));
        memset(block, 7, size);
        before = size;
    }
    for (size_t size = before; size > 0; size /= 3) {
        block = realloc(block, size);
        ck_assert_ptr_nonnull(block);
        ck_assert(is_all(block, size, 7));
    }
    block = reallocarray(block, 100, 100);
    ck_assert_ptr_nonnull(block);
    free(block);
}
END_TEST

START_TEST(realloc_to_nothing_frees)
{
    for (int i = 0; i < 1000; i++) {
        void *block = malloc((size_t)1 << 20);
        ck_assert_ptr_nonnull(block);
        ck_assert_ptr_null(hidden(realloc(block, any(0))));
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    ck_assert_int_lt(usage.ru_maxrss, 200 << 10); /* KiB */
    void *block = hidden(realloc(NULL, any(0)));
    ck_assert_ptr_nonnull(block);
    free(block);
}
END_TEST

START_TEST(a_realloc_that_fails_leaves_the_block)
{
    unsigned char *block = malloc(1000);
    memset(block, 3, 1000);
    errno = 0;
    ck_assert_ptr_null(hidden(realloc(hidden(block), any(PTRDIFF_MAX))));
    ck_assert_int_eq(errno, ENOMEM);
    ck_assert(is_all(block, 1000, 3));
    free(block);
}
END_TEST

START_TEST(every_power_of_two_is_an_alignment)
{
    for (size_t alignment = 1; alignment <= (size_t)64 << 20; alignment *= 2) {
        for (size_t size = 1; size < 3 * alignment && size < (size_t)9 << 20; size = size * 5 + 3) {
            void *block[4] = {memalign(alignment, size), aligned_alloc(alignment, size), NULL, NULL};
            size_t at_least = alignment < sizeof(void *) ? sizeof(void *) : alignment;
            ck_assert_int_eq(posix_memalign(&block[2], at_least, size), 0);
            block[3] = memalign(alignment, 1);
            for (int i = 0; i < 4; i++) {
                ck_assert_ptr_nonnull(block[i]);
                ck_assert_uint_eq((uintptr_t)block[i] % alignment, 0);
                ck_assert_uint_ge(malloc_usable_size(block[i]), i == 3 ? 1 : size);
                memset(block[i], i, i == 3 ? 1 : size);
            }
            unsigned char *moved = realloc(block[1], 2 * size);
            ck_assert_ptr_nonnull(moved);
            ck_assert(is_all(moved, size, 1));
            ck_assert(is_all(block[0], size, 0) && is_all(block[2], size, 2));
            free(block[0]);
            free(moved);
            free(block[2]);
            free(block[3]);
        }
    }
}
END_TEST

START_TEST(many_blocks_of_great_alignment)
{
    enum { COUNT = 300 };
    static void *block[COUNT];
    for (int again = 0; again < 3; again++) {
        for (int i = 0; i < COUNT; i++) {
            block[i] = aligned_alloc((size_t)2 << 20, 5000);
            ck_assert_ptr_nonnull(block[i]);
            memset(block[i], i, 5000);
        }
        for (int i = 0; i < COUNT; i++) {
            ck_assert(is_all(block[i], 5000, (unsigned char)i));
            free(block[i]);
        }
    }
}
END_TEST

START_TEST(what_is_no_alignment_is_einval)
{
    void *kept = &errno;
    static const size_t wrong[] = {0, 1, 4, 7, 24, 3 * sizeof(void *)};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        errno = 0;
        ck_assert_int_eq(posix_memalign(&kept, wrong[i], 10), EINVAL);
        ck_assert_ptr_eq(kept, &errno);
        ck_assert_int_eq(errno, 0);
    }
    errno = 0;
    ck_assert_ptr_null(hidden(memalign(any(SIZE_MAX), 1)));
    ck_assert_int_eq(errno, EINVAL);
    void *block = memalign(any(48), 100); /* rounded up to 64 */
    ck_assert_ptr_nonnull(block);
    ck_assert_uint_eq((uintptr_t)block % 64, 0);
    free(block);
    ck_assert_int_eq(posix_memalign(&block, sizeof(void *), 0), 0);
    free(block);
}
END_TEST

START_TEST(pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *one = valloc(10);
    void *two = pvalloc(page + 1);
    ck_assert(one != NULL && two != NULL);
    ck_assert_uint_eq((uintptr_t)one % page + (uintptr_t)two % page, 0);
    ck_assert_uint_ge(malloc_usable_size(two), 2 * page);
    free(one);
    free(two);
}
END_TEST

START_TEST(all_usable_bytes_are_the_callers)
{
    ck_assert_uint_eq(malloc_usable_size(NULL), 0);
    for (size_t size = 0; size < 200000; size += size / 5 + 1) {
        unsigned char *one = malloc(any(size));
        unsigned char *two = malloc(any(size));
        size_t usable = malloc_usable_size(one);
        ck_assert_uint_ge(usable, size);
        memset(two, 2, malloc_usable_size(two));
        memset(one, 1, usable);
        ck_assert(is_all(two, malloc_usable_size(two), 2));
        free(two);
        one = realloc(one, usable + 1);
        ck_assert(is_all(one, usable, 1));
        free(one);
    }
}
END_TEST

START_TEST(success_leaves_errno_alone)
{
    errno = 4711;
    free(NULL);
    for (size_t size = 1; size < (size_t)1 << 28; size *= 3) {
        void *block = malloc(size);
        block = realloc(block, 2 * size);
        free(hidden(block));
        free(hidden(calloc(1, size)));
        ck_assert_int_eq(errno, 4711);
    }
}
END_TEST

START_TEST(where_memory_ends_calls_fail_and_the_rest_goes_on)
{
    enum { BLOCK = 1 << 20, COUNT = 1000 };
    static void *block[COUNT];
    struct rlimit limit = {.rlim_cur = (rlim_t)200 << 20, .rlim_max = (rlim_t)200 << 20};
    ck_assert_int_eq(setrlimit(RLIMIT_DATA, &limit), 0);
    int count = 0;
    errno = 0;
    while (count < COUNT && (block[count] = malloc(BLOCK)) != NULL)
        memset(block[count++], 1, BLOCK);
    ck_assert_int_lt(count, 250);
    ck_assert_int_gt(count, 50);
    ck_assert_int_eq(errno, ENOMEM);
    ck_assert_ptr_null(hidden(realloc(block[0], (size_t)300 << 20)));
    ck_assert_int_eq(errno, ENOMEM);
    ck_assert(is_all(block[0], BLOCK, 1));
    void *wide;
    ck_assert_int_eq(posix_memalign(&wide, (size_t)4 << 20, (size_t)300 << 20), ENOMEM);
    for (int i = 0; i < count; i++)
        free(block[i]);
    void *again = malloc(BLOCK);
    ck_assert_ptr_nonnull(again);
    free(again);
}
END_TEST

int main(int argc, char **argv)
{
    require_preload(argc, argv);
    Suite *suite = suite_create("malloc");
    TCase *tests = tcase_create("standard");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, malloc_of_nothing_gives_blocks_of_their_own);
    tcase_add_test(tests, every_block_is_aligned_for_every_type_and_holds_its_bytes);
    tcase_add_test(tests, more_than_ptrdiff_max_is_enomem);
    tcase_add_test(tests, calloc_is_zero_also_where_memory_was_used_before);
    tcase_add_test(tests, a_product_that_overflows_is_enomem);
    tcase_add_test(tests, realloc_keeps_what_fits);
    tcase_add_test(tests, realloc_to_nothing_frees);
    tcase_add_test(tests, a_realloc_that_fails_leaves_the_block);
    tcase_add_test(tests, every_power_of_two_is_an_alignment);
    tcase_add_test(tests, many_blocks_of_great_alignment);
    tcase_add_test(tests, what_is_no_alignment_is_einval);
    tcase_add_test(tests, pages);
    tcase_add_test(tests, all_usable_bytes_are_the_callers);
    tcase_add_test(tests, success_leaves_errno_alone);
    tcase_add_test(tests, where_memory_ends_calls_fail_and_the_rest_goes_on);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
