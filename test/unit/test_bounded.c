/* SPDX-License-Identifier: MIT */
/* Heaps with a limit: how much they take, where it comes from, and what they do when it is used up. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/random.h"
#include "support/suite.h"
#include "support/workspace.h"

static cairn_heap *create(const cairn_options *options)
{
    cairn_heap *heap;
    if (cairn_heap_create(&heap, options) < 0)
        ck_abort_msg("create: %s", cairn_last_error());
    return heap;
}

static void end(cairn_heap *heap)
{
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static bool are_all(const unsigned char *bytes, unsigned char value, size_t count)
{
    return count == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, count - 1) == 0);
}

static uint64_t round_to_page(uint64_t bytes)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

/* A line of /proc/self/status, in bytes; read without memory of the C library's, which would be counted too. */
static uint64_t status_bytes(const char *key)
{
    char text[8192];
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = file >= 0 ? read(file, text, sizeof text - 1) : -1;
    close(file);
    ck_assert_int_gt(length, 0);
    text[length] = '\0';
    const char *line = strstr(text, key);
    ck_assert_ptr_nonnull(line);
    return strtoull(line + strlen(key), NULL, 10) * KIB;
}

/* How many bytes of [first, first + bytes) are mapped. */
static uint64_t mapped_bytes(uint64_t first, uint64_t bytes)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    ck_assert_ptr_nonnull(maps);
    char line[4096];
    uint64_t sum = 0;
    while (fgets(line, sizeof line, maps) != NULL) {
        char *after;
        uint64_t from = strtoull(line, &after, 16);
        uint64_t to = strtoull(after + 1, NULL, 16);
        from = from > first ? from : first;
        to = to < first + bytes ? to : first + bytes;
        sum += from < to ? to - from : 0;
    }
    fclose(maps);
    return sum;
}

/* ---------------------------------------------------------------- one range */

static const uint64_t limits[] = {
    8 * KIB,    12 * KIB, 16 * KIB, 40 * KIB, 64 * KIB, 100 * KIB, 256 * KIB, 300 * KIB,
    1000 * KIB, 1 * MIB,  3 * MIB,  10 * MIB, 32 * MIB, 63 * MIB,  64 * MIB,  100 * MIB,
};

enum { MOST_BLOCKS = 1 << 18 };
static void *blocks[MOST_BLOCKS];

/* Allocates until it is refused, larger blocks in larger heaps; every byte is written. Returns how many. */
static size_t fill(cairn_heap *heap, uint64_t first, uint64_t bytes, struct random *random)
{
    size_t count = 0;
    size_t size_max = bytes / 16;
    while (count < MOST_BLOCKS) {
        size_t size = random_size(random, size_max) + bytes / 8192;
        size = size < size_max ? size : size_max;
        unsigned char *block = cairn_alloc(heap, size);
        if (block == NULL && size <= 16)
            break;
        if (block == NULL) {
            REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
            size_max = size - 1;
            continue;
        }
        size = cairn_size(heap, block);
        REQUIRE((uintptr_t)block >= first && (uintptr_t)block + size <= first + bytes);
        memset(block, (int)count, size);
        blocks[count++] = block;
    }
    return count;
}

START_TEST(a_bounded_heap_is_one_range_of_its_limit)
{
    uint64_t limit = limits[_i];
    cairn_heap *heap = create_private(limit);
    struct random random = random_begin(limit);
    cairn_stats stats = stats_of(heap);
    ck_assert_uint_eq(stats.bytes_max, limit);
    ck_assert_uint_eq(stats.bytes_reserved, limit);
    ck_assert_uint_eq(mapped_bytes(stats.address, limit), limit);
    for (int round = 0; round < (limit <= 10 * MIB ? 2 : 1); round++) {
        size_t count = fill(heap, stats.address, limit, &random);
        ck_assert_uint_ge(count, 1);
        ck_assert_uint_eq(blocks_live(heap), count);
        ck_assert_uint_le(stats_of(heap).bytes_committed, limit);
        REQUIRE_SOUND(heap);
        for (size_t i = 0; i < count; i++) {
            REQUIRE(*(unsigned char *)blocks[i] == (unsigned char)i);
            cairn_free(heap, blocks[i]);
        }
        ck_assert_uint_eq(blocks_live(heap), 0);
    }
    end(heap);
    ck_assert_uint_eq(mapped_bytes(stats.address, limit), 0);
}
END_TEST

START_TEST(a_limit_is_exact_to_a_page)
{
    static const uint64_t odd[] = {8 * KIB, 8 * KIB + 1, 12345, 100001, 1000001, 3333333, 70000001};
    for (size_t i = 0; i < COUNT(odd); i++) {
        cairn_heap *heap = create_private(odd[i]);
        ck_assert_uint_eq(stats_of(heap).bytes_reserved, round_to_page(odd[i]));
        ck_assert_uint_eq(mapped_bytes(stats_of(heap).address, round_to_page(odd[i])), round_to_page(odd[i]));
        end(heap);
    }
}
END_TEST

/* What remains is a handle and a record of each: bins, rings, and headers of spans go with the heaps. */
START_TEST(of_many_heaps_that_ended_little_is_left)
{
    enum { HEAPS = 2000 };
    static cairn_heap *heaps[HEAPS];
    if (UNDER_SANITIZER)
        return; /* its own memory for ours is counted, too */
    cairn_heap_close(create_private(0));
    uint64_t before = status_bytes("VmRSS:");
    for (size_t i = 0; i < HEAPS; i++) {
        heaps[i] = create_private(0);
        char *block = cairn_alloc(heaps[i], 64);
        ck_assert_ptr_nonnull(block);
        *block = 1;
    }
    ck_assert_uint_ge(status_bytes("VmRSS:") - before, HEAPS * 6 * KIB);
    for (size_t i = 0; i < HEAPS; i++)
        cairn_heap_close(heaps[i]);
    ck_assert_uint_le(status_bytes("VmRSS:") - before, HEAPS * KIB);
}
END_TEST

/* Address space that was taken to align the range goes back; so does all of it at the end. */
START_TEST(nothing_but_the_limit_is_taken_and_all_of_it_given_back)
{
    if (UNDER_SANITIZER)
        return;                   /* a sanitizer maps as it likes */
    for (int i = 0; i < 3; i++) { /* memory for handles, and for what a thread needs, is taken once */
        cairn_heap *heap = create_private(8 * KIB);
        cairn_free(heap, cairn_alloc(heap, 100));
        cairn_heap_close(heap);
    }
    for (size_t i = 0; i < COUNT(limits); i++) {
        uint64_t before = status_bytes("VmSize:");
        cairn_heap *heap = create_private(limits[i]);
        ck_assert_uint_eq(status_bytes("VmSize:") - before, limits[i]);
        cairn_free(heap, cairn_alloc(heap, 100));
        ck_assert_uint_eq(status_bytes("VmSize:") - before, limits[i]);
        end(heap);
        ck_assert_uint_eq(status_bytes("VmSize:"), before);
    }
}
END_TEST

START_TEST(eight_kibibytes_hold_blocks)
{
    cairn_heap *heap = create_private(8 * KIB);
    size_t count = 0;
    while ((blocks[count] = cairn_alloc(heap, 100)) != NULL)
        memset(blocks[count++], 0x5a, 100);
    ck_assert_uint_ge(count, 8);
    cairn_free(heap, blocks[0]);
    ck_assert_ptr_nonnull(cairn_zalloc(heap, 100));
    ck_assert_ptr_null(cairn_zalloc(heap, 8 * KIB));
    end(heap);
}
END_TEST

START_TEST(every_call_works_in_a_bounded_heap)
{
    cairn_heap *heap = create_private(limits[_i]);
    unsigned char *block = cairn_zalloc(heap, 60);
    ck_assert_ptr_nonnull(block);
    ck_assert(are_all(block, 0, 60));
    memset(block, 7, 60);
    block = cairn_realloc(heap, block, 300);
    ck_assert(block != NULL && block[59] == 7);
    ck_assert_uint_eq(cairn_ref_of(heap, block) != 0, true);
    ck_assert_ptr_eq(cairn_at(heap, cairn_ref_of(heap, block)), block);
    cairn_free(heap, block);
    block = cairn_aligned_alloc(heap, 64, 64);
    ck_assert(block != NULL && (uintptr_t)block % 64 == 0);
    cairn_free(heap, block);
    void *dest = NULL;
    ck_assert_int_eq(cairn_alloc_to(heap, 40, &dest), 0);
    ck_assert_ptr_nonnull(dest);
    ck_assert_int_eq(cairn_free_from(heap, &dest), 0);
    ck_assert_ptr_null(dest);
    ck_assert_ptr_nonnull(cairn_alloc(heap, 40));
    ck_assert_int_eq(cairn_heap_reset(heap), 0);
    ck_assert_uint_eq(blocks_live(heap), 0);
    ck_assert_ptr_nonnull(cairn_alloc(heap, 40));
    ck_assert_int_ge(cairn_trim(heap), 0);
    ck_assert_int_eq(cairn_recover(heap), 0);
    end(heap);
}
END_TEST

/* From 256 KiB on there is room for a table of them. */
START_TEST(a_bounded_heap_has_roots)
{
    if (limits[_i] < 256 * KIB)
        return;
    cairn_heap *heap = create_private(limits[_i]);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    REQUIRE_CALL(cairn_root_set(heap, "first", block) == 0);
    ck_assert_ptr_eq(cairn_root_get(heap, "first"), block);
    REQUIRE_CALL(cairn_root_set(heap, "first", NULL) == 0);
    ck_assert_ptr_null(cairn_root_get(heap, "first"));
    end(heap);
}
END_TEST

/* ---------------------------------------------------------------- memory that is there at once */

static bool counts_memory(void)
{
    return !(UNDER_TSAN + UNDER_ASAN); /* a sanitizer's own memory comes and goes */
}

START_TEST(a_bounded_heap_starts_with_its_memory)
{
    static const uint64_t starts[] = {4 * KIB, 100 * KIB, 1 * MIB, 32 * MIB};
    cairn_heap_close(create_private(8 * KIB));
    for (size_t i = 0; i < COUNT(starts); i++) {
        for (int same = 0; same < 2; same++) {
            uint64_t max = same != 0 && starts[i] >= 8 * KIB ? starts[i] : 2 * starts[i] + 64 * KIB;
            cairn_options options = {.size = sizeof options, .bytes_max = max, .bytes_start = starts[i]};
            uint64_t before = status_bytes("VmRSS:");
            cairn_heap *heap = create(&options);
            uint64_t after = status_bytes("VmRSS:");
            if (counts_memory() && after - before + 64 * KIB < starts[i])
                ck_abort_msg("bytes_start %llu gives %llu resident", (unsigned long long)starts[i],
                             (unsigned long long)(after - before));
            static unsigned char resident[32 * MIB / 4096];
            ck_assert_int_eq(mincore((void *)(uintptr_t)stats_of(heap).address, starts[i], resident), 0);
            for (uint64_t page = 0; page < starts[i] / 4096; page++)
                REQUIRE((resident[page] & 1) != 0);
            ck_assert_uint_ge(stats_of(heap).bytes_committed, starts[i]);
            end(heap);
        }
    }
}
END_TEST

static void *promise(void *arg, size_t bytes)
{
    (void)arg;
    void *range = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return range != MAP_FAILED ? range : NULL;
}

static int promise_more(void *arg, void *address, size_t bytes)
{
    (void)arg, (void)address, (void)bytes;
    return 0;
}

static void release_promised(void *arg, void *address, size_t bytes)
{
    (void)arg;
    (void)munmap(address, bytes);
}

/* Nothing is filled to find that out: that would take more than the two seconds of a processor. */
static void start_with_more_than_there_is(void)
{
    static const cairn_memory calls = {.reserve = promise, .commit = promise_more, .release = release_promised};
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * 4096 * 4, most = UINT64_C(2) << 40; /* a heap has 4 TiB */
    bytes = bytes < most ? bytes : most;
    REQUIRE(setrlimit(RLIMIT_CPU, &(struct rlimit){.rlim_cur = 2, .rlim_max = 3}) == 0);
    for (int by_calls = 0; by_calls < 2; by_calls++) {
        cairn_options options = {.size = sizeof options,
                                 .bytes_max = bytes + bytes / 2,
                                 .bytes_start = bytes,
                                 .calls = by_calls ? &calls : NULL};
        cairn_heap *heap = NULL;
        REFUSED(-ENOMEM, cairn_heap_create(&heap, &options));
    }
}

START_TEST(a_start_that_the_machine_does_not_have_is_refused)
{
    if (UNDER_TSAN) /* which has memory of its own for all that is reserved */
        return;
    pid_t child = fork();
    if (child == 0) {
        start_with_more_than_there_is();
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

static void come_and_go(cairn_heap *heap)
{
    void *coming[60];
    for (size_t i = 0; i < COUNT(coming); i++) {
        coming[i] = cairn_alloc(heap, i % 2 == 0 ? 500 * KIB : 20 * KIB);
        ck_assert_ptr_nonnull(coming[i]);
    }
    for (size_t i = 0; i < COUNT(coming); i++)
        cairn_free(heap, coming[i]);
}

/* What the bits say, page by page. */
static uint64_t committed_pages(cairn_heap *heap)
{
    cairn_stats stats = stats_of(heap);
    uint64_t sum = 0, run = 0;
    for (uint64_t at = 0; at < stats.bytes_reserved; at += run) {
        int committed = cairn_committed(heap, (void *)(uintptr_t)(stats.address + at), &run);
        ck_assert_int_ge(committed, 0);
        ck_assert_uint_gt(run, 0);
        sum += committed ? run : 0;
    }
    return sum;
}

START_TEST(what_stays_committed_is_given_back_when_it_is_asked_for)
{
    for (int stays = 0; stays < 2; stays++) {
        cairn_options options = {.size = sizeof options,
                                 .bytes_max = 40 * MIB,
                                 .bytes_start = 12 * MIB,
                                 .flags = stays ? CAIRN_STAYS_COMMITTED : 0};
        cairn_heap *heap = create(&options);
        come_and_go(heap);
        uint64_t committed = stats_of(heap).bytes_committed;
        ck_assert_uint_eq(committed, committed_pages(heap));
        if (stays)
            ck_assert_uint_ge(committed, 15 * MIB);
        else
            ck_assert_uint_lt(committed, 12 * MIB);
        come_and_go(heap);
        ck_assert(stats_of(heap).bytes_committed >= committed || !stays);
        ck_assert_int_gt(cairn_trim(heap), 0);
        ck_assert_uint_lt(stats_of(heap).bytes_committed, 2 * MIB);
        ck_assert_uint_eq(stats_of(heap).bytes_committed, committed_pages(heap));
        REFUSED(-EINVAL, cairn_committed(heap, &options, NULL));
        end(heap);
    }
}
END_TEST

/* Committed is not yet touched: it takes no memory here. */
START_TEST(gibibytes_stay_committed_too)
{
    cairn_options options = {.size = sizeof options, .bytes_max = 4 * GIB, .flags = CAIRN_STAYS_COMMITTED};
    cairn_heap *heap = create(&options);
    void *block = cairn_alloc(heap, 2 * GIB);
    ck_assert_ptr_nonnull(block);
    cairn_free(heap, block);
    ck_assert_uint_ge(stats_of(heap).bytes_committed, 2 * GIB);
    ck_assert_int_ge(cairn_trim(heap), (int64_t)(2 * GIB));
    end(heap);
}
END_TEST

START_TEST(only_memory_of_its_own_stays_committed)
{
    cairn_heap *heap = NULL, *parent = create_private(0);
    cairn_options options = {.size = sizeof options, .flags = CAIRN_STAYS_COMMITTED};
    REFUSED(-EINVAL, cairn_heap_create(&heap, &options));
    options.parent = parent;
    options.bytes_max = MIB;
    REFUSED(-EINVAL, cairn_heap_create(&heap, &options));
    options.parent = NULL;
    options.name = "heap";
    REFUSED(-EINVAL, cairn_heap_create(&heap, &options));
    REFUSED(-EINVAL, cairn_heap_open(&heap, "heap", &(cairn_options){.flags = CAIRN_STAYS_COMMITTED}));
    ck_assert_ptr_null(heap);
    end(parent);
}
END_TEST

START_TEST(a_growing_heap_starts_with_its_memory)
{
    enum { START = 8 << 20 };
    cairn_heap_close(create_private(0)); /* the process's section is there already */
    cairn_options options = {.size = sizeof options, .bytes_start = START};
    uint64_t resident_before = status_bytes("VmRSS:");
    cairn_heap *heap = create(&options);
    uint64_t resident_after = status_bytes("VmRSS:");
    if (counts_memory() && resident_after - resident_before + 64 * KIB < START)
        ck_abort_msg("bytes_start %d gives %llu resident", START,
                     (unsigned long long)(resident_after - resident_before));
    cairn_stats stats = stats_of(heap);
    ck_assert_uint_ge(stats.bytes_committed, START);
    ck_assert_uint_eq(stats.blocks_live, 0);

    /* All of it can be used, and the heap takes no more for it. */
    uint64_t growths = stats.growths;
    for (uint64_t used = 0; used < START; used += 128 * KIB) {
        unsigned char resident[128 * KIB / 4096];
        void *block = cairn_alloc(heap, 128 * KIB);
        ck_assert_ptr_nonnull(block);
        ck_assert_int_eq(mincore(block, 128 * KIB, resident), 0); /* before it is touched */
        for (size_t page = 0; page < COUNT(resident); page++)
            REQUIRE((resident[page] & 1) != 0);
    }
    stats = stats_of(heap);
    ck_assert_uint_le(stats.bytes_committed, START + 64 * KIB);
    ck_assert_uint_le(stats.growths, growths + 1); /* headers */
    ck_assert_ptr_nonnull(cairn_alloc(heap, MIB)); /* and it grows on */
    end(heap);
}
END_TEST

/* What a heap keeps for its start is nobody else's, and comes back when the heap is reset or ends. */
START_TEST(what_a_heap_starts_with_is_its_own)
{
    cairn_options part = {.size = sizeof part, .bytes_start = 4 * MIB};
    for (int round = 0; round < 20; round++) {
        cairn_heap *heap = create(&part), *other = create_private(0);
        uint64_t used = 0;
        for (int i = 0; i < 100; i++)
            ck_assert_ptr_nonnull(cairn_alloc(other, 100 * KIB));
        void *block;
        for (; used < 4 * MIB - 64 * KIB; used += 64 * KIB)
            ck_assert_ptr_nonnull(block = cairn_alloc(heap, 64 * KIB));
        cairn_free(heap, block);
        if (round % 2 == 0)
            ck_assert_int_eq(cairn_heap_reset(heap), 0);
        cairn_heap_close(heap);
        end(other);
    }
    cairn_heap *heap = create_private(0);
    ck_assert_uint_lt(stats_of(heap).bytes_free, 40 * MIB); /* none of the rounds kept it */
    end(heap);
}
END_TEST

START_TEST(a_shared_heap_starts_with_its_memory)
{
    static const uint64_t starts[] = {4 * KIB, 100 * KIB, 1 * MIB, 32 * MIB};
    for (size_t i = 0; i < COUNT(starts); i++) {
        cairn_options options = {.size = sizeof options, .name = "heap", .bytes_start = starts[i]};
        for (int round = 0; round < 2; round++) {
            options.bytes_max = round == 0 ? 0 : starts[i] * 2 + MIB;
            cairn_heap *heap = create(&options);
            struct stat status;
            ck_assert_int_eq(stat(workspace_path("heap"), &status), 0);
            ck_assert_uint_ge((uint64_t)status.st_blocks * 512, starts[i]);
            ck_assert_uint_ge(stats_of(heap).bytes_committed, starts[i]);
            uint64_t growths = stats_of(heap).growths;
            for (uint64_t used = 0; used + 64 * KIB <= starts[i]; used += 64 * KIB)
                ck_assert_ptr_nonnull(cairn_alloc(heap, 64 * KIB));
            ck_assert_uint_le(stats_of(heap).growths, growths + 8);
            REQUIRE_SOUND(heap);
            ck_assert_int_eq(cairn_heap_destroy(heap), 0);
            ck_assert_int_eq(workspace_entries(), 0);
        }
    }
}
END_TEST

/* The bookkeeping is a part of bytes_start and bytes_max alike. */
START_TEST(a_shared_heap_may_start_with_all_that_it_may_have)
{
    for (uint64_t bytes = 256 * KIB; bytes <= 128 * MIB; bytes += bytes / 3 / (4 * KIB) * (4 * KIB)) {
        cairn_options options = {.size = sizeof options, .name = "heap", .bytes_max = bytes, .bytes_start = bytes};
        cairn_heap *heap = create(&options);
        struct stat status;
        ck_assert_int_eq(stat(workspace_path("heap"), &status), 0);
        ck_assert_uint_ge((uint64_t)status.st_blocks * 512, bytes);
        ck_assert_uint_le((uint64_t)status.st_blocks * 512, bytes);
        REQUIRE_SOUND(heap);
        ck_assert_int_eq(cairn_heap_destroy(heap), 0);
    }
}
END_TEST

/* A private heap, and a shared one. */
START_TEST(a_tebibyte_reserved_costs_no_page_tables)
{
    cairn_options options = {.size = sizeof options, .bytes_max = (uint64_t)1 << 40, .name = _i != 0 ? "heap" : NULL};
    cairn_heap *small = _i != 0 ? create_shared("small", 0) : create_private(64 * MIB);
    cairn_heap_close(small);
    uint64_t before = status_bytes("VmPTE:");
    cairn_heap *heap;
    if (cairn_heap_create(&heap, &options) < 0) {
        int error = cairn_last_errno(); /* a sanitizer leaves no such range in the window of shared heaps */
        ck_assert(error == -ENOMEM || (UNDER_SANITIZER && error == -EADDRINUSE));
        printf("1 TiB is refused here: %s\n", cairn_last_error());
        return;
    }
    ck_assert_uint_eq(stats_of(heap).bytes_reserved, options.bytes_max);
    ck_assert_ptr_nonnull(cairn_alloc(heap, 100));
    uint64_t after = status_bytes("VmPTE:");
    printf("1 TiB reserved: %llu bytes of page tables more\n", (unsigned long long)(after - before));
    if (counts_memory())
        ck_assert_uint_le(after - before, 64 * KIB);
    end(heap);
}
END_TEST

/* ---------------------------------------------------------------- when it is full */

enum { CROWD = 8, CROWD_BLOCKS = 20000 };

struct crowd {
    cairn_heap *heap;
    _Atomic int64_t live;
    _Atomic int64_t live_at_refusal;
};

struct one_of_crowd {
    struct crowd *crowd;
    uint64_t seed;
    size_t count;
    void *blocks[CROWD_BLOCKS];
};

/* Allocates twice for each free, until somebody is refused; what is live then is told by the first. */
static void *crowd_in(void *arg)
{
    struct one_of_crowd *me = arg;
    struct crowd *crowd = me->crowd;
    struct random random = random_begin(me->seed);
    while (atomic_load(&crowd->live_at_refusal) == 0 && me->count < CROWD_BLOCKS) {
        if (me->count > 0 && random_below(&random, 3) == 0) {
            size_t i = random_below(&random, me->count);
            int64_t bytes = (int64_t)cairn_size(crowd->heap, me->blocks[i]);
            cairn_free(crowd->heap, me->blocks[i]);
            atomic_fetch_sub(&crowd->live, bytes);
            me->blocks[i] = me->blocks[--me->count];
            continue;
        }
        void *block = cairn_alloc(crowd->heap, 16 + random_below(&random, 885));
        if (block == NULL) {
            int64_t none = 0;
            int64_t live = atomic_load(&crowd->live);
            atomic_compare_exchange_strong(&crowd->live_at_refusal, &none, live);
            break;
        }
        atomic_fetch_add(&crowd->live, (int64_t)cairn_size(crowd->heap, block));
        me->blocks[me->count++] = block;
    }
    return NULL;
}

START_TEST(eight_threads_are_refused_only_when_it_is_full)
{
    static struct one_of_crowd all[CROWD];
    uint64_t seed = random_seed("bounded", 1);
    int64_t least = (int64_t)MIB;
    for (int round = 0; round < 10; round++) {
        struct crowd crowd = {.heap = create_private(MIB)};
        pthread_t threads[CROWD];
        for (int i = 0; i < CROWD; i++) {
            all[i] = (struct one_of_crowd){.crowd = &crowd, .seed = seed + (uint64_t)(round * CROWD + i)};
            ck_assert_int_eq(pthread_create(&threads[i], NULL, crowd_in, &all[i]), 0);
        }
        for (int i = 0; i < CROWD; i++)
            ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        int64_t live = atomic_load(&crowd.live_at_refusal);
        least = live < least ? live : least;
        if (live < (int64_t)(MIB * 85 / 100))
            ck_abort_msg("refused with %lld of %llu bytes live", (long long)live, (unsigned long long)MIB);
        REQUIRE_SOUND(crowd.heap);
        for (int i = 0; i < CROWD; i++) {
            while (all[i].count > 0)
                cairn_free(crowd.heap, all[i].blocks[--all[i].count]);
        }
        ck_assert_uint_eq(blocks_live(crowd.heap), 0);
        end(crowd.heap);
    }
    printf("8 threads on 1 MiB: refused with %lld %% live, or more\n", (long long)least * 100 / (long long)MIB);
}
END_TEST

/* Holes of 100 bytes serve nobody who wants 8000. */
START_TEST(a_fragmented_heap_gives_large_blocks_or_grows)
{
    static const uint64_t bounds[] = {0, 4 * MIB, 64 * MIB};
    for (size_t b = 0; b < COUNT(bounds); b++) {
        cairn_heap *heap = create_private(bounds[b]);
        enum { MANY = 20000 };
        for (size_t i = 0; i < MANY; i++)
            REQUIRE_CALL((blocks[i] = cairn_alloc(heap, 100)) != NULL);
        for (size_t i = 0; i < MANY; i += 2)
            cairn_free(heap, blocks[i]);
        uint64_t committed = stats_of(heap).bytes_committed;
        void *large = cairn_alloc(heap, 8000);
        ck_assert_ptr_nonnull(large);
        ck_assert_uint_le(stats_of(heap).bytes_committed, committed + 256 * KIB);
        for (size_t i = 0; i < MANY; i += 2)
            REQUIRE_CALL((blocks[i] = cairn_alloc(heap, 100)) != NULL); /* the holes serve these */
        ck_assert_uint_le(stats_of(heap).bytes_committed, committed + 256 * KIB);
        for (size_t i = 0; i < MANY; i++)
            cairn_free(heap, blocks[i]);
        cairn_free(heap, large);
        end(heap);
    }

    /* Full of them, it says so; and when they go, so does the refusal. */
    cairn_heap *heap = create_private(MIB);
    size_t count = 0;
    while ((blocks[count] = cairn_alloc(heap, 100)) != NULL)
        count++;
    for (size_t i = 0; i < count; i += 2)
        cairn_free(heap, blocks[i]);
    ck_assert_ptr_null(cairn_alloc(heap, 8000));
    ck_assert_int_eq(cairn_last_errno(), -ENOMEM);
    for (size_t i = 1; i < count; i += 2)
        cairn_free(heap, blocks[i]);
    ck_assert_ptr_nonnull(cairn_alloc(heap, 8000));
    end(heap);
}
END_TEST

/* Whatever its class's slabs take: where all but a unit or a few are taken, these serve each request of half of them.
 */
START_TEST(the_last_free_units_serve_any_request_of_half_of_them)
{
    static const uint64_t bounds[] = {4 * MIB, 64 * MIB}; /* of small units and large ones */
    cairn_heap *heap = create_private(bounds[_i]);
    size_t unit = stats_of(heap).unit_bytes, count = 0;
    while ((blocks[count] = cairn_alloc(heap, 5 * unit)) != NULL)
        count++;
    while ((blocks[count] = cairn_alloc(heap, unit)) != NULL)
        count++;
    uint64_t run;
    do
        cairn_free(heap, blocks[--count]);
    while ((run = stats_of(heap).bytes_free_run) < unit);
    ck_assert_uint_le(run, 8 * unit); /* no slab is longer */
    for (size_t size = 16; size <= run / 2; size += 16) {
        void *block = cairn_alloc(heap, size);
        if (block == NULL)
            ck_abort_msg("%zu bytes are refused while %llu are free in one run", size,
                         (unsigned long long)stats_of(heap).bytes_free_run);
        cairn_free(heap, block);
    }
    while (count > 0)
        cairn_free(heap, blocks[--count]);
    end(heap);
}
END_TEST

/* The oldest goes until the next fits. */
START_TEST(a_cache_is_not_refused_while_twice_the_request_is_free)
{
    enum { CACHE = 1 << 16 };
    static void *cache[CACHE];
    struct random random = random_begin(random_seed("cache", 7));
    uint64_t turns = 5000 + random_rounds(15000); /* the heap has room for 2000: they all go and come ten times */
    size_t first = 0, next = 0;
    uint64_t evicted = 0;
    cairn_heap *heap = create_private(64 * MIB);
    for (uint64_t turn = 0; turn < turns; turn++) {
        size_t size =
            random_below(&random, 20) == 0 ? 20000 + random_below(&random, 400000) : 200 + random_below(&random, 20000);
        void *block;
        while ((block = cairn_alloc(heap, size)) == NULL) {
            uint64_t run = stats_of(heap).bytes_free_run;
            if (run >= 2 * size)
                ck_abort_msg("turn %llu: %zu bytes are refused while %llu are free in one run",
                             (unsigned long long)turn, size, (unsigned long long)run);
            REQUIRE(first < next);
            cairn_free(heap, cache[first++ % CACHE]);
            evicted++;
        }
        memset(block, 1, size < 64 ? size : 64);
        if (next - first == CACHE)
            cairn_free(heap, cache[first++ % CACHE]);
        cache[next++ % CACHE] = block;
    }
    printf("cache: %llu turns, %llu evicted\n", (unsigned long long)turns, (unsigned long long)evicted);
    ck_assert_uint_gt(evicted, turns / 2);
    REQUIRE_SOUND(heap);
    while (first < next)
        cairn_free(heap, cache[first++ % CACHE]);
    end(heap);
}
END_TEST

/* ---------------------------------------------------------------- memory of the caller's */

/* Whatever it holds before, wherever it begins by 64 bytes. */
START_TEST(a_heap_lives_in_memory_that_is_lent)
{
    static const uint64_t sizes[] = {4 * KIB, 8 * KIB, 10000, 64 * KIB + 64, 1 * MIB, 5 * MIB, 70 * MIB};
    static const size_t shifts[] = {0, 64, 4096, 64 * 33, 64 * 1023};
    for (size_t s = 0; s < COUNT(sizes); s++) {
        for (size_t shift = 0; shift < (sizes[s] <= 5 * MIB ? COUNT(shifts) : 2); shift++) {
            uint64_t bytes = sizes[s];
            unsigned char *memory = aligned_alloc(64 * KIB, (bytes + 3 * 64 * KIB) / (64 * KIB) * (64 * KIB));
            ck_assert_ptr_nonnull(memory);
            unsigned char *lent = memory + shifts[shift];
            memset(memory, 0xa5, bytes + shifts[shift] + 64);
            cairn_options options = {.size = sizeof options, .memory = lent, .bytes_max = bytes};
            cairn_heap *heap = create(&options);
            size_t count = 0;
            for (size_t size = 16; size < bytes / 8 && count < 1000; size += 16 + size / 4, count++) {
                unsigned char *block = count % 2 == 0 ? cairn_zalloc(heap, size) : cairn_alloc(heap, size);
                if (block == NULL)
                    break;
                size_t usable = cairn_size(heap, block);
                ck_assert(block >= lent && block + usable <= lent + bytes);
                ck_assert(count % 2 != 0 || are_all(block, 0, size));
                memset(block, 0xff, usable);
                blocks[count] = block;
            }
            ck_assert_uint_ge(count, 1);
            ck_assert_uint_eq(stats_of(heap).bytes_committed, stats_of(heap).bytes_reserved); /* all was there before */
            for (size_t i = 0; i < count; i++)
                cairn_free(heap, blocks[i]);
            unsigned char *again = cairn_zalloc(heap, 100); /* of memory that was used before */
            ck_assert(again != NULL && are_all(again, 0, 100));
            void *dest = NULL;
            ck_assert_int_eq(cairn_alloc_to(heap, 60, &dest), 0);
            ck_assert(are_all(dest, 0, 60));
            ck_assert_int_eq(cairn_trim(heap) >= 0, true);
            end(heap);
            ck_assert(are_all(memory, 0xa5, shifts[shift])); /* nothing before it */
            ck_assert(are_all(lent + bytes, 0xa5, 64));      /* and nothing behind */
            free(memory);
        }
    }
}
END_TEST

/* One after the other, and one in a block of another. */
START_TEST(lent_memory_can_be_a_block_of_another_heap)
{
    cairn_heap *outer = create_private(0);
    void *memory = cairn_aligned_alloc(outer, 64, MIB);
    ck_assert_ptr_nonnull(memory);
    for (int round = 0; round < 50; round++) {
        cairn_options options = {.size = sizeof options, .memory = memory, .bytes_max = MIB};
        cairn_heap *inner = create(&options);
        size_t count = 0;
        while ((blocks[count] = cairn_alloc(inner, 1000)) != NULL)
            count++;
        ck_assert_uint_ge(count, 850);
        if (round % 2 == 0)
            end(inner);
        else
            ck_assert_int_eq(cairn_heap_destroy(inner), 0);
    }
    cairn_free(outer, memory);
    end(outer);
}
END_TEST

/* ---------------------------------------------------------------- memory by calls */

struct supply {
    void *base;
    size_t reserved;
    int reserves, commits, decommits, releases;
    int64_t committed;
    int64_t commits_left; /* negative: no end */
    size_t shift;         /* what reserve lies by */
};

static void *supply_reserve(void *arg, size_t bytes)
{
    struct supply *supply = arg;
    supply->reserves++;
    REQUIRE(supply->base == NULL);
    void *base = mmap(NULL, bytes + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    supply->base = base;
    supply->reserved = bytes;
    return (unsigned char *)base + supply->shift;
}

static void *supply_nothing(void *arg, size_t bytes)
{
    (void)bytes;
    struct supply *supply = arg;
    supply->reserves++;
    return NULL;
}

static void require_inside(const struct supply *supply, const void *address, size_t bytes)
{
    uintptr_t first = (uintptr_t)supply->base;
    REQUIRE((uintptr_t)address >= first && (uintptr_t)address + bytes <= first + supply->reserved);
    REQUIRE((uintptr_t)address % 4096 == 0 && bytes % 4096 == 0 && bytes > 0);
}

static int supply_commit(void *arg, void *address, size_t bytes)
{
    struct supply *supply = arg;
    require_inside(supply, address, bytes);
    if (supply->commits_left == 0)
        return -ENOMEM;
    supply->commits_left -= supply->commits_left > 0;
    supply->commits++;
    supply->committed += (int64_t)bytes;
    return mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;
}

static int supply_decommit(void *arg, void *address, size_t bytes)
{
    struct supply *supply = arg;
    require_inside(supply, address, bytes);
    supply->decommits++;
    supply->committed -= (int64_t)bytes;
    madvise(address, bytes, MADV_DONTNEED);
    return mprotect(address, bytes, PROT_NONE) == 0 ? 0 : -errno;
}

static int supply_keep(void *arg, void *address, size_t bytes)
{
    struct supply *supply = arg;
    require_inside(supply, address, bytes);
    supply->decommits++;
    return -EOPNOTSUPP;
}

static void supply_release(void *arg, void *address, size_t bytes)
{
    struct supply *supply = arg;
    REQUIRE(address == (unsigned char *)supply->base + supply->shift && bytes == supply->reserved);
    supply->releases++;
    munmap(supply->base, supply->reserved + 4096);
    supply->base = NULL;
}

static cairn_memory calls_of(struct supply *supply)
{
    return (cairn_memory){.reserve = supply_reserve,
                          .commit = supply_commit,
                          .decommit = supply_decommit,
                          .release = supply_release,
                          .arg = supply};
}

static const uint64_t supply_limits[] = {0, 8 * KIB, 100001, 2 * MIB, 40 * MIB, 200 * MIB};

START_TEST(a_heap_gets_its_memory_by_calls)
{
    struct supply supply = {.commits_left = -1};
    cairn_memory calls = calls_of(&supply);
    uint64_t limit = supply_limits[_i];
    cairn_options options = {.size = sizeof options, .calls = &calls, .bytes_max = limit};
    cairn_heap *heap = create(&options);
    memset(&calls, 0, sizeof calls); /* the heap has what it needs of it */
    ck_assert_int_eq(supply.reserves, 1);
    ck_assert_uint_eq(supply.reserved, limit == 0 ? GIB : round_to_page(limit));
    ck_assert_uint_eq((uint64_t)supply.committed, stats_of(heap).bytes_committed);

    size_t count = 0;
    uint64_t bytes = 0;
    for (size_t size = 16; count < 1000 && bytes < 20 * MIB; size = size % 300000 + 16 + size / 3, count++) {
        if ((blocks[count] = cairn_zalloc(heap, size)) == NULL)
            break;
        ck_assert(are_all(blocks[count], 0, size));
        memset(blocks[count], 0xff, size);
        bytes += size;
        ck_assert_uint_eq((uint64_t)supply.committed, stats_of(heap).bytes_committed);
    }
    ck_assert_uint_ge(count, 1);
    ck_assert_int_ge(supply.commits, 1);
    REQUIRE_SOUND(heap);
    for (size_t i = 0; i < count; i++)
        cairn_free(heap, blocks[i]);
    int64_t before = supply.committed;
    int64_t given = cairn_trim(heap);
    ck_assert_int_eq(before - supply.committed, given);
    ck_assert_uint_eq((uint64_t)supply.committed, stats_of(heap).bytes_committed);
    if (bytes > 2 * MIB)
        ck_assert_int_ge(given, (int64_t)MIB);
    unsigned char *block = cairn_zalloc(heap, 200);
    ck_assert(block != NULL && are_all(block, 0, 200));
    end(heap);
    ck_assert_int_eq(supply.releases, 1);
    ck_assert_ptr_null(supply.base);
}
END_TEST

START_TEST(a_heap_that_can_give_nothing_back_keeps_it)
{
    for (int null = 0; null < 2; null++) {
        struct supply supply = {.commits_left = -1};
        cairn_memory calls = calls_of(&supply);
        calls.decommit = null != 0 ? NULL : supply_keep;
        cairn_options options = {.size = sizeof options, .calls = &calls, .bytes_max = 8 * MIB};
        cairn_heap *heap = create(&options);
        for (int round = 0; round < 3; round++) {
            size_t count = 0;
            while (count < 100 && (blocks[count] = cairn_zalloc(heap, 50000)) != NULL) {
                ck_assert(are_all(blocks[count], 0, 50000));
                memset(blocks[count++], 0xff, 50000);
            }
            ck_assert_uint_eq(count, 100);
            while (count > 0)
                cairn_free(heap, blocks[--count]);
            uint64_t committed = stats_of(heap).bytes_committed;
            ck_assert_int_eq(cairn_trim(heap), 0);
            ck_assert_uint_eq(stats_of(heap).bytes_committed, committed);
            ck_assert_int_eq(supply.committed, (int64_t)committed);
            REQUIRE_SOUND(heap);
        }
        end(heap);
    }
}
END_TEST

START_TEST(a_release_that_is_null_is_not_called)
{
    struct supply supply = {.commits_left = -1};
    cairn_memory calls = calls_of(&supply);
    calls.release = NULL;
    cairn_options options = {.size = sizeof options, .calls = &calls, .bytes_max = MIB};
    cairn_heap *heap = create(&options);
    ck_assert_ptr_nonnull(cairn_alloc(heap, 1000));
    end(heap);
    ck_assert_ptr_nonnull(supply.base);
    supply_release(&supply, supply.base, supply.reserved);
}
END_TEST

/* Once, a few times, for ever: NULL, and the heap is as it was. */
START_TEST(a_refused_commit_is_null_and_no_harm)
{
    for (int64_t left = 0; left < 40; left++) {
        struct supply supply = {.commits_left = left};
        cairn_memory calls = calls_of(&supply);
        cairn_options options = {.size = sizeof options, .calls = &calls, .bytes_max = 4 * MIB};
        cairn_heap *heap = untouched;
        if (cairn_heap_create(&heap, &options) < 0) {
            ck_assert_ptr_eq(heap, untouched);
            ck_assert_int_eq(cairn_last_errno(), -ENOMEM);
            ck_assert_ptr_null(supply.base); /* released again */
            ck_assert_int_eq(supply.releases, supply.reserves);
            continue;
        }
        size_t count = 0;
        static const size_t sizes[] = {100, 5000, 300000, 70000, 16, 1000};
        while (count < 30 && (blocks[count] = cairn_alloc(heap, sizes[count % COUNT(sizes)])) != NULL) {
            memset(blocks[count], 0x77, sizes[count % COUNT(sizes)]);
            count++;
        }
        if (count < 30) {
            ck_assert_int_eq(cairn_last_errno(), -ENOMEM);
            ck_assert_ptr_null(cairn_alloc(heap, 400000));
            ck_assert_ptr_null(cairn_zalloc(heap, 400000));
            void *dest = NULL;
            ck_assert_int_eq(cairn_alloc_to(heap, 400000, &dest), -ENOMEM);
            ck_assert_ptr_null(dest);
        }
        ck_assert_uint_eq(blocks_live(heap), count);
        REQUIRE_SOUND(heap);
        ck_assert_int_eq(supply.committed, (int64_t)stats_of(heap).bytes_committed);
        supply.commits_left = -1; /* later there is memory again */
        void *block = cairn_alloc(heap, 400000);
        ck_assert_ptr_nonnull(block);
        memset(block, 0x78, 400000);
        cairn_free(heap, block);
        for (size_t i = 0; i < count; i++) {
            ck_assert_uint_eq(*(unsigned char *)blocks[i], 0x77);
            cairn_free(heap, blocks[i]);
        }
        end(heap);
        ck_assert_int_eq(supply.releases, 1);
    }
}
END_TEST

static int give_more(cairn_heap *heap, size_t size, int error, void *arg)
{
    struct supply *supply = arg;
    (void)heap, (void)size;
    REQUIRE_EQUAL(error, -ENOMEM);
    supply->commits_left = -1;
    return CAIRN_RETRY;
}

struct guests {
    struct supply *supply;
    cairn_heap *heap;
    size_t left;
    bool links;
};

static void *come(void *arg)
{
    struct guests *me = arg;
    void *block = NULL;
    me->supply->commits_left = 0;
    if (me->links)
        (void)cairn_alloc_to(me->heap, 100, &block);
    else
        block = cairn_alloc(me->heap, 100);
    REQUIRE_CALL(block != NULL);
    pthread_t next; /* comes while this one is still there */
    if (--me->left > 0)
        REQUIRE(pthread_create(&next, NULL, come, me) == 0 && pthread_join(next, NULL) == 0);
    return NULL;
}

/* A thread's record takes memory, too. */
START_TEST(a_program_is_asked_for_room_for_a_new_thread)
{
    struct supply supply = {.commits_left = -1};
    cairn_memory calls = calls_of(&supply);
    cairn_options options = {.size = sizeof options,
                             .calls = &calls,
                             .bytes_max = 256 * MIB,
                             .on_failure = give_more,
                             .on_failure_arg = &supply};
    cairn_heap *heap = create(&options);
    struct guests all = {.supply = &supply, .heap = heap, .left = 60, .links = _i == 1};
    come(&all);
    end(heap);
}
END_TEST

/* A section that grows where one page after the other is refused once. */
START_TEST(a_commit_that_is_refused_now_and_then_loses_nothing)
{
    struct supply supply = {.commits_left = -1};
    cairn_memory calls = calls_of(&supply);
    cairn_options options = {.size = sizeof options, .calls = &calls, .bytes_max = 16 * MIB};
    cairn_heap *heap = create(&options);
    struct random random = random_begin(random_seed("refused", 3));
    size_t count = 0;
    uint64_t refused = 0;
    for (int turn = 0; turn < 20000; turn++) {
        supply.commits_left = (int64_t)random_below(&random, 3);
        if (count > 0 && (count == 2000 || random_below(&random, 5) < 2)) {
            size_t i = random_below(&random, count);
            REQUIRE(*(unsigned char *)blocks[i] == 0x66);
            cairn_free(heap, blocks[i]);
            blocks[i] = blocks[--count];
        } else {
            unsigned char *block = cairn_alloc(heap, 1 + random_size(&random, 100000));
            refused += block == NULL;
            if (block != NULL) {
                *block = 0x66;
                blocks[count++] = block;
            }
        }
        if (turn % 500 == 0) {
            cairn_trim(heap);
            REQUIRE_SOUND(heap);
            ck_assert_int_eq(supply.committed, (int64_t)stats_of(heap).bytes_committed);
        }
    }
    ck_assert_uint_gt(refused, 0);
    ck_assert_uint_eq(blocks_live(heap), count);
    end(heap);
}
END_TEST

START_TEST(a_reserve_that_lies_or_refuses_is_told)
{
    struct supply supply = {.commits_left = -1, .shift = 64};
    cairn_memory calls = calls_of(&supply);
    cairn_options options = {.size = sizeof options, .calls = &calls, .bytes_max = MIB};
    cairn_heap *heap = untouched;
    REFUSED(-EINVAL, cairn_heap_create(&heap, &options));
    ck_assert_int_eq(supply.releases, 1); /* whatever it was, it is released */
    ck_assert_int_eq(supply.commits, 0);
    supply.shift = 0;
    calls.reserve = supply_nothing;
    REFUSED(-ENOMEM, cairn_heap_create(&heap, &options));
    ck_assert_int_eq(supply.releases, 1);
    ck_assert_ptr_eq(heap, untouched);
}
END_TEST

START_TEST(bytes_start_is_committed_by_calls)
{
    struct supply supply = {.commits_left = -1};
    cairn_memory calls = calls_of(&supply);
    cairn_options options = {.size = sizeof options, .calls = &calls, .bytes_max = 4 * MIB, .bytes_start = 2 * MIB};
    cairn_heap *heap = create(&options);
    ck_assert_int_ge(supply.committed, (int64_t)(2 * MIB));
    end(heap);
    supply = (struct supply){.commits_left = 1}; /* not enough for both */
    heap = untouched;
    REFUSED(-ENOMEM, cairn_heap_create(&heap, &options));
    ck_assert_ptr_eq(heap, untouched);
    ck_assert_int_eq(supply.releases, 1);
    ck_assert_ptr_null(supply.base);
}
END_TEST

/*
 * Lives of one heap, each with blocks of a few sizes in another order: what stood in a unit before is not taken for
 * what stands there now. 1 and 24 MiB have units of 2 and 32 KiB, in which the words of a slab lie over the headers of
 * others.
 */
START_TEST(what_a_life_left_is_not_taken_for_the_next_ones)
{
    enum { LIVES = 20000, BLOCKS = 40 };
    static const uint64_t bounds[] = {MIB / 4, MIB, 24 * MIB, 200 * MIB};
    static const uint16_t sizes[] = {16, 32, 48, 64, 112, 176, 256, 500, 1600, 3000};
    struct random random = random_begin(random_seed("lives", 1 + (uint64_t)_i));
    cairn_heap *heap = create(&(cairn_options){.bytes_max = bounds[_i]});
    for (uint64_t life = 0; life < random_rounds(LIVES); life++) {
        struct {
            unsigned char *block;
            uint32_t size;
        } all[BLOCKS];
        uint64_t count = 1 + random_below(&random, random_below(&random, 10) == 0 ? BLOCKS : 6);
        uint64_t kinds[2] = {random_below(&random, COUNT(sizes)), random_below(&random, COUNT(sizes))};
        for (uint64_t i = 0; i < count; i++) {
            all[i].size = sizes[kinds[random_below(&random, 2)]];
            all[i].block = cairn_alloc(heap, all[i].size);
            ck_assert_ptr_nonnull(all[i].block);
            memset(all[i].block, (int)i + 1, all[i].size);
        }
        for (uint64_t i = 0; i < count; i++) {
            ck_assert(are_all(all[i].block, (unsigned char)(i + 1), all[i].size));
            if (random_below(&random, 2) == 0)
                cairn_free(heap, all[i].block);
        }
        REQUIRE_CALL(cairn_heap_reset(heap) == 0);
    }
    end(heap);
}
END_TEST

int main(void)
{
    TCase *range = tcase_create("range");
    tcase_add_loop_test(range, a_bounded_heap_is_one_range_of_its_limit, 0, COUNT(limits));
    tcase_add_test(range, a_limit_is_exact_to_a_page);
    tcase_add_test(range, eight_kibibytes_hold_blocks);
    tcase_add_loop_test(range, every_call_works_in_a_bounded_heap, 0, COUNT(limits));
    tcase_add_loop_test(range, a_bounded_heap_has_roots, 0, COUNT(limits));
    tcase_add_loop_test(range, what_a_life_left_is_not_taken_for_the_next_ones, 0, 4);

    TCase *start_memory = tcase_create("start");
    tcase_add_test(start_memory, what_a_heap_starts_with_is_its_own);
    tcase_add_test(start_memory, a_shared_heap_starts_with_its_memory);
    tcase_add_test(start_memory, a_shared_heap_may_start_with_all_that_it_may_have);

    tcase_add_test(start_memory, what_stays_committed_is_given_back_when_it_is_asked_for);
    tcase_add_test(start_memory, gibibytes_stay_committed_too);
    tcase_add_test(start_memory, only_memory_of_its_own_stays_committed);

    TCase *resident = tcase_create("what the kernel says is resident");
    tcase_set_tags(resident, "kernel");
    tcase_add_test(resident, nothing_but_the_limit_is_taken_and_all_of_it_given_back);
    tcase_add_test(resident, of_many_heaps_that_ended_little_is_left);
    tcase_add_test(resident, a_bounded_heap_starts_with_its_memory);
    tcase_add_test(resident, a_start_that_the_machine_does_not_have_is_refused);
    tcase_add_test(resident, a_growing_heap_starts_with_its_memory);
    tcase_add_loop_test(resident, a_tebibyte_reserved_costs_no_page_tables, 0, 2);

    TCase *full = tcase_create("full");
    tcase_add_test(full, eight_threads_are_refused_only_when_it_is_full);
    tcase_add_test(full, a_fragmented_heap_gives_large_blocks_or_grows);
    tcase_add_test(full, a_cache_is_not_refused_while_twice_the_request_is_free);
    tcase_add_loop_test(full, the_last_free_units_serve_any_request_of_half_of_them, 0, 2);

    TCase *lent = tcase_create("lent");
    tcase_add_test(lent, a_heap_lives_in_memory_that_is_lent);
    tcase_add_test(lent, lent_memory_can_be_a_block_of_another_heap);
    tcase_add_loop_test(lent, a_heap_gets_its_memory_by_calls, 0, COUNT(supply_limits));
    tcase_add_test(lent, a_heap_that_can_give_nothing_back_keeps_it);
    tcase_add_test(lent, a_release_that_is_null_is_not_called);
    tcase_add_test(lent, a_refused_commit_is_null_and_no_harm);
    tcase_add_test(lent, a_commit_that_is_refused_now_and_then_loses_nothing);
    tcase_add_loop_test(lent, a_program_is_asked_for_room_for_a_new_thread, 0, 2);
    tcase_add_test(lent, a_reserve_that_lies_or_refuses_is_told);
    tcase_add_test(lent, bytes_start_is_committed_by_calls);

    TCase *cases[] = {range, start_memory, resident, full, lent};
    Suite *suite = suite_create("bounded");
    for (size_t i = 0; i < COUNT(cases); i++) {
        tcase_add_unchecked_fixture(cases[i], workspace_enter, workspace_leave);
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(suite, cases[i]);
    }
    return suite_run(suite);
}
