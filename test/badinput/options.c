/* SPDX-License-Identifier: MIT */
/* Options that contradict themselves or come from another time. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "support/workspace.h"

static int create(const cairn_options *options)
{
    cairn_heap *heap = untouched;
    int error = cairn_heap_create(&heap, options);
    REQUIRE(error == 0 || heap == untouched);
    if (error == 0)
        cairn_heap_close(heap);
    return error;
}

static int open_with(const cairn_options *options)
{
    cairn_heap *heap = untouched;
    int error = cairn_heap_open(&heap, "heap", options);
    REQUIRE(error == 0 || heap == untouched);
    if (error == 0)
        cairn_heap_close(heap);
    return error;
}

static void a_size_that_no_version_had_is_refused(void)
{
    static const size_t sizes[] = {
        1, 4, sizeof(size_t) - 1, sizeof(cairn_options) + 1, sizeof(cairn_options) + 8, 4096, SIZE_MAX,
    };
    cairn_heap_close(create_shared("heap", 0));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        cairn_options options = {.size = sizes[i]};
        REFUSED(-EINVAL, create(&options));
        REFUSED(-EINVAL, open_with(&options));
        options.name = "other";
        REFUSED(-EINVAL, create(&options));
    }
}

/* Half a pointer is no name and no directory. */
static void a_size_that_ends_inside_a_member_is_refused(void)
{
    static const size_t sizes[] = {
        offsetof(cairn_options, name) + 1,      offsetof(cairn_options, name) + 4,
        offsetof(cairn_options, directory) + 4, offsetof(cairn_options, directory) + 7,
        offsetof(cairn_options, flags) + 1,
    };
    cairn_heap_close(create_shared("heap", 0));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        cairn_options options = {.size = sizes[i], .name = "other", .directory = workspace_directory()};
        REFUSED(-EINVAL, create(&options));
        REFUSED(-EINVAL, open_with(&options));
    }
}

static void unknown_flags_are_refused(void)
{
    cairn_heap_close(create_shared("heap", 0));
    const uint64_t known = CAIRN_OPEN_OR_CREATE | CAIRN_READ_ONLY | CAIRN_UNSERIALIZED | CAIRN_LOCKABLE |
                           CAIRN_EXACT_SIZES | CAIRN_BOUND | CAIRN_ANY_OWNER | CAIRN_RELOCATE | CAIRN_DAMAGED_TOO |
                           CAIRN_STAYS_COMMITTED;
    for (unsigned bit = 0; bit < 64; bit++) {
        if ((known >> bit & 1) != 0)
            continue;
        cairn_options options = {.size = sizeof options, .flags = UINT64_C(1) << bit};
        REFUSED(-EINVAL, create(&options));
        REFUSED(-EINVAL, open_with(&options));
        options.name = "other";
        REFUSED(-EINVAL, create(&options));
    }
}

static void what_is_reserved_is_zero(void)
{
    cairn_heap_close(create_shared("heap", 0));
    cairn_options options = {.size = sizeof options, .reserved = 1};
    REFUSED(-EINVAL, create(&options));
    REFUSED(-EINVAL, open_with(&options));
    options.name = "other";
    REFUSED(-EINVAL, create(&options));
}

static void flags_of_another_call_are_refused(void)
{
    cairn_heap_close(create_shared("heap", 0));
    cairn_options options = {.size = sizeof options, .name = "other", .flags = CAIRN_READ_ONLY};
    REFUSED(-EINVAL, create(&options));
    options.flags = CAIRN_READ_ONLY | CAIRN_OPEN_OR_CREATE;
    REFUSED(-EINVAL, create(&options));
    options.flags = CAIRN_OPEN_OR_CREATE;
    REFUSED(-EINVAL, open_with(&options));
    options.name = NULL;
    REFUSED(-EINVAL, create(&options));
}

static void a_mode_that_lets_everyone_write_or_is_none_is_refused(void)
{
    static const uint32_t modes[] = {0602, 0666, 0777, 02, 01600, 04700, 02770, 010600, UINT32_MAX};
    for (size_t i = 0; i < COUNT(modes); i++) {
        cairn_options options = {.size = sizeof options, .name = "other", .mode = modes[i]};
        REFUSED(-EINVAL, create(&options));
    }
    cairn_options options = {.size = sizeof options, .name = "other", .mode = 0644};
    REQUIRE_CALL(create(&options) == 0);
    struct stat status;
    REQUIRE(stat(workspace_path("other"), &status) == 0 && (status.st_mode & 07777) == 0644);
}

static void a_limit_below_the_smallest_heap_is_refused(void)
{
    static const uint64_t limits[] = {1, 4096, 65536, 256 * KIB - 1};
    for (size_t i = 0; i < COUNT(limits); i++) {
        cairn_options options = {.size = sizeof options, .name = "other", .bytes_max = limits[i]};
        REFUSED(-EINVAL, create(&options));
    }
    cairn_options too_small = {.size = sizeof too_small, .bytes_max = 8 * KIB - 1};
    REFUSED(-EINVAL, create(&too_small));
    too_small.bytes_max = 1;
    REFUSED(-EINVAL, create(&too_small));
    cairn_heap *heap = create_shared("smallest", 256 * KIB);
    void *block = cairn_alloc(heap, 1000);
    REQUIRE_CALL(block != NULL);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void a_limit_beyond_the_address_space_is_refused(void)
{
    static const uint64_t limits[] = {UINT64_C(1) << 47, UINT64_C(1) << 63, UINT64_MAX - 4096, UINT64_MAX};
    for (size_t i = 0; i < COUNT(limits); i++) {
        cairn_options options = {.size = sizeof options, .name = "other", .bytes_max = limits[i]};
        REFUSED_EITHER(-EINVAL, -EADDRINUSE, create(&options));
    }
}

static void a_heap_needs_a_variable(void)
{
    cairn_heap_close(create_shared("heap", 0));
    cairn_options options = {.size = sizeof options, .name = "other"};
    REFUSED(-EINVAL, cairn_heap_create(NULL, NULL));
    REFUSED(-EINVAL, cairn_heap_create(NULL, &options));
    REFUSED(-EINVAL, cairn_heap_open(NULL, "heap", NULL));
}

static void statistics_of_another_time_are_refused(void)
{
    static const size_t sizes[] = {1, sizeof(size_t) - 1, sizeof(cairn_stats) + 1, SIZE_MAX};
    cairn_heap *heap = create_private(0);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        cairn_stats stats, before;
        memset(&stats, 0x5a, sizeof stats);
        stats.size = sizes[i];
        before = stats;
        REFUSED(-EINVAL, cairn_stats_get(heap, &stats));
        REQUIRE(memcmp(&stats, &before, sizeof stats) == 0);
    }
    cairn_heap_close(heap);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_size_that_no_version_had_is_refused),
        CLAIM(a_size_that_ends_inside_a_member_is_refused),
        CLAIM(unknown_flags_are_refused),
        CLAIM(what_is_reserved_is_zero),
        CLAIM(flags_of_another_call_are_refused),
        CLAIM(a_mode_that_lets_everyone_write_or_is_none_is_refused),
        CLAIM(a_limit_below_the_smallest_heap_is_refused),
        CLAIM(a_limit_beyond_the_address_space_is_refused),
        CLAIM(a_heap_needs_a_variable),
        CLAIM(statistics_of_another_time_are_refused),
    };
    return run_claims(claims, COUNT(claims), 10);
}
