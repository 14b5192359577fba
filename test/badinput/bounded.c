/* SPDX-License-Identifier: MIT */
/* Options of heaps with a limit, a start, lent memory, calls, a parent: what contradicts itself or asks for too much.
 */
#include <errno.h>
#include <stdlib.h>

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

static void a_bounded_heap_below_8_kib_is_refused(void)
{
    static const uint64_t limits[] = {1, 16, 4095, 4096, 4097, 8 * KIB - 1};
    for (size_t i = 0; i < COUNT(limits); i++) {
        cairn_options options = {.size = sizeof options, .bytes_max = limits[i]};
        REFUSED(-EINVAL, create(&options));
        options.flags = CAIRN_UNSERIALIZED;
        REFUSED(-EINVAL, create(&options));
    }
    cairn_options options = {.size = sizeof options, .bytes_max = 8 * KIB};
    REQUIRE_CALL(create(&options) == 0);
}

static void a_bounded_heap_beyond_the_address_space_is_refused(void)
{
    static const uint64_t limits[] = {
        UINT64_C(1) << 47, UINT64_C(1) << 63, UINT64_MAX - 4096, UINT64_MAX - 4095, UINT64_MAX - 1, UINT64_MAX,
    };
    for (size_t i = 0; i < COUNT(limits); i++) {
        cairn_options options = {.size = sizeof options, .bytes_max = limits[i]};
        REFUSED_EITHER(-EINVAL, -ENOMEM, create(&options));
        options.bytes_start = 1;
        REFUSED_EITHER(-EINVAL, -ENOMEM, create(&options));
    }
}

static void a_start_above_the_limit_is_refused(void)
{
    static unsigned char memory[64 * 1024] __attribute__((aligned(64)));
    cairn_options options = {.size = sizeof options, .bytes_max = MIB, .bytes_start = MIB + 1};
    REFUSED(-EINVAL, create(&options));
    options.name = "heap";
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){
        .size = sizeof options, .memory = memory, .bytes_max = sizeof memory, .bytes_start = sizeof memory + 1};
    REFUSED(-EINVAL, create(&options));
    cairn_heap *parent = create_private(0);
    options = (cairn_options){.size = sizeof options, .parent = parent, .bytes_max = MIB, .bytes_start = 2 * MIB};
    REFUSED(-EINVAL, create(&options));
    REQUIRE_EQUAL(blocks_live(parent), 0);
    REQUIRE_SOUND(parent);
    cairn_heap_close(parent);
}

/* More than any system has. */
static void a_start_that_is_not_to_be_had_is_refused(void)
{
    cairn_options options = {.size = sizeof options, .bytes_start = UINT64_C(1) << 45};
    cairn_heap *heap = create_private(0);
    REFUSED(-ENOMEM, create(&options));
    options.bytes_start = UINT64_MAX;
    REFUSED(-ENOMEM, create(&options));
    REQUIRE_EQUAL(workspace_entries(), 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void lent_memory_must_be_aligned_and_large_enough(void)
{
    static unsigned char memory[64 * 1024] __attribute__((aligned(64)));
    for (size_t shift = 1; shift < 64; shift++) {
        cairn_options options = {.size = sizeof options, .memory = memory + shift, .bytes_max = 32 * KIB};
        REFUSED(-EINVAL, create(&options));
    }
    static const uint64_t sizes[] = {0, 1, 64, 4095};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        cairn_options options = {.size = sizeof options, .memory = memory, .bytes_max = sizes[i]};
        REFUSED(-EINVAL, create(&options));
    }
    for (size_t i = 0; i < sizeof memory; i++)
        REQUIRE(memory[i] == 0); /* it was not touched */
}

static void *give_nothing(void *arg, size_t bytes)
{
    (void)arg, (void)bytes;
    return NULL;
}

static int do_nothing(void *arg, void *address, size_t bytes)
{
    (void)arg, (void)address, (void)bytes;
    return 0;
}

static void calls_must_reserve_and_commit_and_come_alone(void)
{
    static unsigned char memory[64 * 1024] __attribute__((aligned(64)));
    cairn_memory calls = {.reserve = give_nothing};
    cairn_options options = {.size = sizeof options, .calls = &calls, .bytes_max = MIB};
    REFUSED(-EINVAL, create(&options));
    calls = (cairn_memory){.commit = do_nothing};
    REFUSED(-EINVAL, create(&options));
    calls = (cairn_memory){.commit = do_nothing, .reserve = give_nothing};
    REFUSED(-ENOMEM, create(&options));
    options.memory = memory;
    options.bytes_max = sizeof memory;
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .calls = &calls, .bytes_max = 4096};
    REFUSED(-EINVAL, create(&options));
}

static void options_of_private_heaps_are_refused_for_shared_ones(void)
{
    static unsigned char memory[64 * 1024] __attribute__((aligned(64)));
    static const cairn_memory calls = {.commit = do_nothing, .reserve = give_nothing};
    cairn_options options = {.size = sizeof options, .name = "heap", .flags = CAIRN_UNSERIALIZED};
    REFUSED(-EINVAL, create(&options));
    options.flags = CAIRN_LOCKABLE;
    REFUSED(-EINVAL, create(&options));
    options.flags = CAIRN_BOUND;
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .name = "heap", .memory = memory, .bytes_max = sizeof memory};
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .name = "heap", .calls = &calls};
    REFUSED(-EINVAL, create(&options));
}

static void options_of_shared_heaps_are_refused_for_private_ones(void)
{
    cairn_options options = {.size = sizeof options, .flags = CAIRN_BOUND};
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .flags = CAIRN_OPEN_OR_CREATE, .bytes_max = MIB};
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .directory = workspace_directory()};
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .mode = 0600};
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .group = 1};
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .access = &(cairn_access){.id = 1}, .access_count = 1};
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .flags = CAIRN_RELOCATE};
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .flags = CAIRN_ANY_OWNER, .bytes_max = MIB};
    REFUSED(-EINVAL, create(&options));
}

/* Its file is its parent's. */
static void options_of_files_are_refused_for_children(void)
{
    cairn_heap *parent = create_shared("parent", 0);
    cairn_options options = {.size = sizeof options, .name = "child", .parent = parent, .mode = 0640};
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .name = "child", .parent = parent, .group = 1};
    REFUSED(-EINVAL, create(&options));
    options = (cairn_options){.size = sizeof options, .name = "child", .parent = parent, .directory = "/tmp"};
    REFUSED(-EINVAL, create(&options));
    cairn_heap_close(parent);
}

static void a_child_takes_no_memory_of_its_own(void)
{
    static unsigned char memory[64 * 1024] __attribute__((aligned(64)));
    static const cairn_memory calls = {.commit = do_nothing, .reserve = give_nothing};
    cairn_heap *parents[] = {create_private(0), create_shared("parent", 0)};
    for (size_t i = 0; i < COUNT(parents); i++) {
        const char *name = i == 1 ? "child" : NULL;
        cairn_options options = {
            .size = sizeof options, .name = name, .parent = parents[i], .memory = memory, .bytes_max = sizeof memory};
        REFUSED(-EINVAL, create(&options));
        options = (cairn_options){.size = sizeof options, .name = name, .parent = parents[i], .calls = &calls};
        REFUSED(-EINVAL, create(&options));
        REQUIRE_CALL(cairn_heap_destroy(parents[i]) == 0); /* no child was left behind */
    }
}

static void a_child_of_a_private_heap_has_no_name(void)
{
    cairn_heap *parent = create_private(0);
    cairn_options options = {.size = sizeof options, .name = "child", .parent = parent};
    REFUSED(-EINVAL, create(&options));
    REQUIRE_EQUAL(workspace_entries(), 0);
    cairn_heap *heap = untouched;
    REFUSED(-ENOENT, cairn_heap_open_child(&heap, parent, "child"));
    REQUIRE(heap == untouched);
    REQUIRE_CALL(cairn_heap_destroy(parent) == 0);
}

static void a_child_of_a_shared_heap_needs_a_good_name(void)
{
    static const char *const bad[] = {"", "/", "a/b", ".", "..", ".hidden"};
    char long_name[CAIRN_NAME_MAX + 2] = {0};
    cairn_heap *parent = create_shared("parent", 0);
    cairn_heap *heap = untouched;
    for (size_t i = 0; i < COUNT(bad); i++) {
        cairn_options options = {.size = sizeof options, .name = bad[i], .parent = parent};
        REFUSED(-EINVAL, create(&options));
        REFUSED(-EINVAL, cairn_heap_open_child(&heap, parent, bad[i]));
    }
    cairn_options options = {.size = sizeof options, .parent = parent};
    REFUSED(-EINVAL, create(&options));
    REFUSED(-EINVAL, cairn_heap_open_child(&heap, parent, NULL));
    for (size_t i = 0; i <= CAIRN_NAME_MAX; i++)
        long_name[i] = 'a';
    options.name = long_name;
    REFUSED(-ENAMETOOLONG, create(&options));
    long_name[CAIRN_ROOT_NAME_MAX + 1] = '\0';
    REFUSED(-ENAMETOOLONG, create(&options));
    long_name[CAIRN_ROOT_NAME_MAX] = '\0';
    REQUIRE_CALL(create(&options) == 0);
    REQUIRE(heap == untouched);
    cairn_heap_close(parent);
}

static void flags_of_other_heaps_are_refused_for_children(void)
{
    static const uint64_t flags[] = {CAIRN_UNSERIALIZED, CAIRN_LOCKABLE, CAIRN_OPEN_OR_CREATE, CAIRN_READ_ONLY};
    cairn_heap *parent = create_shared("parent", 0);
    for (size_t i = 0; i < COUNT(flags); i++) {
        cairn_options options = {.size = sizeof options, .name = "child", .parent = parent, .flags = flags[i]};
        REFUSED(-EINVAL, create(&options));
    }
    cairn_heap_close(parent);
    cairn_heap *reader = open_shared("parent", CAIRN_READ_ONLY);
    cairn_options options = {.size = sizeof options, .name = "child", .parent = reader};
    REFUSED(-EROFS, create(&options));
    REFUSED(-EROFS, cairn_heap_reset(reader));
    REFUSED(-EROFS, cairn_heap_destroy(reader));
    cairn_heap_close(reader);
}

/* A heap that one thread at a time may use, or that can be stopped, has no parts that others use. */
static void heaps_with_a_lock_or_one_owner_have_no_children(void)
{
    static const uint64_t flags[] = {CAIRN_UNSERIALIZED, CAIRN_LOCKABLE};
    for (size_t i = 0; i < COUNT(flags); i++) {
        cairn_heap *parent;
        cairn_options options = {.size = sizeof options, .flags = flags[i]};
        REQUIRE_CALL(cairn_heap_create(&parent, &options) == 0);
        cairn_options child = {.size = sizeof child, .parent = parent};
        REFUSED(-EINVAL, create(&child));
        REQUIRE_CALL(cairn_heap_destroy(parent) == 0);
    }
}

static void locks_of_heaps_that_have_none_are_refused(void)
{
    cairn_heap *heap = create_private(0);
    REFUSED(-EINVAL, cairn_heap_lock(heap));
    REFUSED(-EINVAL, cairn_heap_unlock(heap));
    cairn_heap_close(heap);
    heap = create_private(MIB);
    REFUSED(-EINVAL, cairn_heap_lock(heap));
    REFUSED(-EINVAL, cairn_heap_unlock(heap));
    cairn_heap_close(heap);
    heap = create_shared("heap", 0);
    REFUSED(-EINVAL, cairn_heap_lock(heap));
    REFUSED(-EINVAL, cairn_heap_unlock(heap));
    cairn_options options = {.size = sizeof options, .flags = CAIRN_LOCKABLE};
    cairn_heap *lockable;
    REQUIRE_CALL(cairn_heap_create(&lockable, &options) == 0);
    REFUSED(-EPERM, cairn_heap_unlock(lockable));
    cairn_heap_close(lockable);
    cairn_heap_close(heap);
}

static void a_mutex_outside_its_heap_is_refused(void)
{
    static cairn_mutex outside;
    cairn_heap *heap = create_shared("heap", 0), *private = create_private(0);
    cairn_mutex *inside = cairn_zalloc(heap, sizeof *inside), *of_private = cairn_zalloc(private, sizeof *of_private);
    cairn_mutex *const bad[] = {NULL, &outside, of_private, (cairn_mutex *)((char *)inside + 4)};
    for (size_t i = 0; i < COUNT(bad); i++) {
        REFUSED(-EINVAL, cairn_lock(heap, bad[i]));
        REFUSED(-EINVAL, cairn_trylock(heap, bad[i]));
        REFUSED(-EINVAL, cairn_unlock(heap, bad[i]));
    }
    REFUSED(-EINVAL, cairn_lock(private, of_private));
    REQUIRE_EQUAL(outside.word | of_private->word | inside->word, 0);
    REFUSED(-EPERM, cairn_unlock(heap, inside));
    REQUIRE_CALL(cairn_root_set(heap, "mutex", inside) == 0);
    cairn_heap_close(heap);
    heap = open_shared("heap", CAIRN_READ_ONLY);
    inside = cairn_root_get(heap, "mutex");
    REFUSED(-EROFS, cairn_lock(heap, inside));
    REFUSED(-EROFS, cairn_trylock(heap, inside));
    REFUSED(-EROFS, cairn_unlock(heap, inside));
    cairn_heap_close(heap);
    cairn_heap_close(private);
}

/*
 * A program built earlier hands in a shorter structure, which ends where its version ended: whatever lies behind is
 * none of the library's business.
 */
struct options_of_0_1 {
    size_t size;
    const char *name;
    const char *directory;
    uint64_t bytes_max;
    uint64_t flags;
    uint32_t mode;
    uint32_t reserved;
};

_Static_assert(sizeof(struct options_of_0_1) == 48, "as it was");

static void options_of_version_0_1_mean_what_they_meant(void)
{
    /* What follows in memory would be refused, or crash, if it were taken for members. */
    struct {
        struct options_of_0_1 options;
        unsigned char behind[sizeof(cairn_options)];
    } old = {.options = {.size = sizeof old.options}};
    for (size_t i = 0; i < sizeof old.behind; i++)
        old.behind[i] = 0x11;
    const cairn_options *options = (const cairn_options *)(const void *)&old.options;

    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_create(&heap, options) == 0);
    REQUIRE_EQUAL(stats_of(heap).shared, 0);
    REQUIRE(cairn_alloc(heap, 100) != NULL && cairn_alloc(heap, (size_t)1 << 46) == NULL); /* no callback to ask */
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);

    old.options.bytes_max = MIB;
    REQUIRE_CALL(cairn_heap_create(&heap, options) == 0);
    REQUIRE_EQUAL(stats_of(heap).bytes_max, MIB);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);

    old.options = (struct options_of_0_1){
        .size = sizeof old.options, .name = "old", .directory = workspace_directory(), .mode = 0640};
    REQUIRE_CALL(cairn_heap_create(&heap, options) == 0);
    REQUIRE(stats_of(heap).shared == 1 && cairn_alloc(heap, 100) != NULL);
    cairn_heap_close(heap);
    REQUIRE_CALL(cairn_heap_open(&heap, "old", options) == 0);
    REQUIRE_EQUAL(blocks_live(heap), 1);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

/* Each length by words is some version's; what it has not is the default. */
static void options_of_each_length_work(void)
{
    for (size_t bytes = sizeof(size_t); bytes <= sizeof(cairn_options); bytes += sizeof(uint64_t)) {
        cairn_options *options = malloc(bytes); /* a sanitizer sees what is read behind it */
        REQUIRE(options != NULL);
        for (size_t i = 0; i < bytes; i++)
            ((unsigned char *)options)[i] = 0;
        options->size = bytes;
        cairn_heap *heap;
        REQUIRE_CALL(cairn_heap_create(&heap, options) == 0);
        REQUIRE(stats_of(heap).shared == 0 && cairn_alloc(heap, 100) != NULL);
        REQUIRE_SOUND(heap);
        cairn_heap_close(heap);
        if (bytes > offsetof(cairn_options, name)) {
            options->name = "heap";
            REQUIRE_CALL(cairn_heap_create(&heap, options) == 0);
            REQUIRE(stats_of(heap).shared == 1 && cairn_alloc(heap, 100) != NULL);
            REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
        }
        free(options);
    }
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_bounded_heap_below_8_kib_is_refused),
        CLAIM(a_bounded_heap_beyond_the_address_space_is_refused),
        CLAIM(a_start_above_the_limit_is_refused),
        CLAIM(a_start_that_is_not_to_be_had_is_refused),
        CLAIM(lent_memory_must_be_aligned_and_large_enough),
        CLAIM(calls_must_reserve_and_commit_and_come_alone),
        CLAIM(options_of_private_heaps_are_refused_for_shared_ones),
        CLAIM(options_of_shared_heaps_are_refused_for_private_ones),
        CLAIM(options_of_files_are_refused_for_children),
        CLAIM(a_child_takes_no_memory_of_its_own),
        CLAIM(a_child_of_a_private_heap_has_no_name),
        CLAIM(a_child_of_a_shared_heap_needs_a_good_name),
        CLAIM(flags_of_other_heaps_are_refused_for_children),
        CLAIM(heaps_with_a_lock_or_one_owner_have_no_children),
        CLAIM(locks_of_heaps_that_have_none_are_refused),
        CLAIM(a_mutex_outside_its_heap_is_refused),
        CLAIM(options_of_version_0_1_mean_what_they_meant),
        CLAIM(options_of_each_length_work),
    };
    return run_claims(claims, COUNT(claims), 10);
}
