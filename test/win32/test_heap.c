/* SPDX-License-Identifier: MIT */
/* The heap calls, each promise and each error of docs/win32.md. What cairn adds is in test_heap_cairn.c. */
#include <windows.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "claims.h"
#include "one_heap.h"

/* ---------------------------------------------------------------- types */

START_TEST(the_types_have_the_sizes_of_64_bit_windows)
{
    ck_assert_uint_eq(sizeof(DWORD), 4);
    ck_assert_uint_eq(sizeof(LONG), 4);
    ck_assert_uint_eq(sizeof(ULONG), 4);
    ck_assert_uint_eq(sizeof(WCHAR), 2);
    ck_assert_uint_eq(sizeof(SIZE_T), 8);
    ck_assert_uint_eq(sizeof(BOOL), 4);
    ck_assert_uint_eq(sizeof(PROCESS_HEAP_ENTRY), 40);
    ck_assert_uint_eq(sizeof(MEMORY_BASIC_INFORMATION), 48);
    ck_assert_uint_eq(sizeof(SYSTEM_INFO), 48);
    ck_assert_uint_eq(sizeof(HEAP_SUMMARY), 40);
    ck_assert((DWORD)-1 > 0 && (LONG)-1 < 0);
}
END_TEST

static _Atomic int stage;

static void *other_error(void *arg)
{
    (void)arg;
    DWORD first = GetLastError();
    SetLastError(7);
    stage = 1;
    while (stage != 2)
        sched_yield();
    return (void *)(uintptr_t)(first != NO_ERROR);
}

START_TEST(the_last_error_is_of_the_thread)
{
    pthread_t thread;
    void *seen;
    ck_assert_int_eq(pthread_create(&thread, NULL, other_error, NULL), 0);
    SetLastError(99);
    while (stage != 1)
        ;
    ck_assert_uint_eq(GetLastError(), 99);
    stage = 2;
    ck_assert_int_eq(pthread_join(thread, &seen), 0);
    ck_assert_ptr_null(seen);
}
END_TEST

/* ---------------------------------------------------------------- HeapCreate, HeapDestroy */

START_TEST(an_initial_size_that_is_not_there_is_no_heap)
{
    ck_error(HeapCreate(0, SIZE_MAX, 0), NULL, ERROR_NOT_ENOUGH_MEMORY);
    ck_error(HeapCreate(0, (SIZE_T)1 << 62, 0), NULL, ERROR_NOT_ENOUGH_MEMORY);
    ck_error(HeapCreate(0, 0, (SIZE_T)1 << 62), NULL, ERROR_NOT_ENOUGH_MEMORY);
}
END_TEST

START_TEST(an_initial_size_above_the_maximum_is_refused)
{
    ck_error(HeapCreate(0, 0x20000, 0x10000), NULL, ERROR_INVALID_PARAMETER);
    HANDLE equal = HeapCreate(0, 0x10000, 0x10000);
    ck_assert_ptr_nonnull(equal);
    ck_assert(HeapDestroy(equal));
}
END_TEST

START_TEST(a_fixed_heap_has_its_maximum_and_no_more)
{
    HANDLE fixed = HeapCreate(0, 0x1000, 0x10000);
    ck_assert_ptr_nonnull(fixed);
    ck_error(HeapAlloc(fixed, 0, 0x10000), NULL, ERROR_NOT_ENOUGH_MEMORY); /* bookkeeping comes out of it */
    size_t got = 0;
    while (HeapAlloc(fixed, 0, 1000) != NULL)
        got += 1000;
    ck_assert_uint_eq(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
    ck_assert_uint_gt(got, 0x8000);
    ck_assert_uint_lt(got, 0x10000);
    ck_assert(HeapValidate(fixed, 0, NULL));
    ck_assert(HeapDestroy(fixed));
    HANDLE tiny = HeapCreate(0, 0, 1);
    ck_assert_ptr_nonnull(HeapAlloc(tiny, 0, 16));
    ck_assert(HeapDestroy(tiny));
}
END_TEST

START_TEST(a_fixed_heap_has_a_largest_block)
{
    HANDLE fixed = HeapCreate(0, 0, 2 << 20);
    ck_assert_ptr_nonnull(HeapAlloc(fixed, 0, 0x80000));
    ck_error(HeapAlloc(fixed, 0, 0x100000), NULL, ERROR_NOT_ENOUGH_MEMORY);
    void *block = HeapAlloc(fixed, 0, 100);
    ck_error(HeapReAlloc(fixed, 0, block, 0x100000), NULL, ERROR_NOT_ENOUGH_MEMORY);
    ck_assert_uint_eq(HeapSize(fixed, 0, block), 100);
    ck_assert(HeapDestroy(fixed));
}
END_TEST

START_TEST(no_heap_is_refused)
{
    int data = 0;
    ck_error(HeapDestroy(NULL), FALSE, ERROR_INVALID_HANDLE);
    ck_error(HeapAlloc(NULL, 0, 1), NULL, ERROR_INVALID_HANDLE);
    ck_error(HeapReAlloc(NULL, 0, &data, 1), NULL, ERROR_INVALID_HANDLE);
    ck_error(HeapFree(NULL, 0, &data), FALSE, ERROR_INVALID_HANDLE);
    ck_error(HeapSize(NULL, 0, &data), (SIZE_T)-1, ERROR_INVALID_HANDLE);
    ck_error(HeapValidate(NULL, 0, NULL), FALSE, NOTHING);
    ck_error(HeapCompact(NULL, 0), 0, ERROR_INVALID_HANDLE);
    ck_error(HeapLock(NULL), FALSE, ERROR_INVALID_HANDLE);
    ck_error(HeapUnlock(NULL), FALSE, ERROR_INVALID_HANDLE);
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    ck_error(HeapWalk(NULL, &entry), FALSE, ERROR_INVALID_HANDLE);
    ck_error(HeapDestroy(GetProcessHeap()), FALSE, ERROR_INVALID_HANDLE);
}
END_TEST

/* ---------------------------------------------------------------- blocks */

START_TEST(a_block_has_exactly_the_size_that_was_asked_for)
{
    static const SIZE_T sizes[] = {0, 1, 5, 15, 16, 17, 100, 1000, 4095, 4096, 40000, 1 << 20, (64 << 20) + 3};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *block = HeapAlloc(heap, HEAP_ZERO_MEMORY, sizes[i]);
        ck_assert_ptr_nonnull(block);
        ck_assert_uint_eq((uintptr_t)block % 16, 0);
        ck_assert_uint_eq(HeapSize(heap, 0, block), sizes[i]);
        for (SIZE_T at = 0; at < sizes[i]; at += 1 + at / 4)
            ck_assert_uint_eq(block[at], 0);
        ck_assert(HeapFree(heap, 0, block));
    }
    void *empty = HeapAlloc(heap, 0, 0), *other = HeapAlloc(heap, 0, 0);
    ck_assert_ptr_nonnull(empty);
    ck_assert_ptr_ne(empty, other);
}
END_TEST

START_TEST(what_cannot_be_had_is_null)
{
    ck_error(HeapAlloc(heap, 0, ~(SIZE_T)0), NULL, ERROR_NOT_ENOUGH_MEMORY);
    void *block = HeapAlloc(heap, 0, 10);
    ck_error(HeapReAlloc(heap, 0, block, ~(SIZE_T)0), NULL, ERROR_NOT_ENOUGH_MEMORY);
    ck_assert_uint_eq(HeapSize(heap, 0, block), 10);
    ck_error(HeapReAlloc(heap, 0, NULL, 10), NULL, NO_ERROR);
    ck_error(HeapReAlloc(heap, HEAP_ZERO_MEMORY, NULL, 0), NULL, NO_ERROR);
}
END_TEST

START_TEST(a_block_keeps_its_bytes_when_it_is_resized)
{
    static const SIZE_T sizes[] = {1, 100, 50, 3000, 100000, 90000, 20, 2 << 20, 0, 77};
    unsigned char *block = HeapAlloc(heap, 0, 0);
    SIZE_T old = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        block = HeapReAlloc(heap, HEAP_ZERO_MEMORY, block, sizes[i]);
        ck_assert_ptr_nonnull(block);
        ck_assert_uint_eq(HeapSize(heap, 0, block), sizes[i]);
        SIZE_T wrong = 0;
        for (SIZE_T at = 0; at < sizes[i]; at++)
            wrong += block[at] != (at < old ? 0xa5 : 0);
        ck_assert_uint_eq(wrong, 0);
        memset(block, 0xa5, sizes[i]);
        old = sizes[i];
    }
}
END_TEST

START_TEST(in_place_only_never_moves)
{
    unsigned char *block = HeapAlloc(heap, 0, 100);
    memset(block, 1, 100);
    ck_assert_ptr_eq(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY | HEAP_ZERO_MEMORY, block, 108), block);
    ck_assert_uint_eq(HeapSize(heap, 0, block), 108);
    ck_assert_uint_eq(block[99], 1);
    ck_assert_uint_eq(block[107], 0);
    ck_error(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 1 << 20), NULL, ERROR_NOT_ENOUGH_MEMORY);
    ck_assert_uint_eq(HeapSize(heap, 0, block), 108);
    ck_assert_ptr_eq(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 108), block);
    ck_assert_ptr_eq(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 0), block);
    ck_assert_uint_eq(HeapSize(heap, 0, block), 0);
    ck_assert(HeapFree(heap, 0, block));
}
END_TEST

START_TEST(in_place_a_block_shrinks_and_grows_back)
{
    static const SIZE_T sizes[] = {100, 200, 2048, 5000, 30000, 40000, 300000, 3000000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        SIZE_T whole = sizes[i], part = whole < 2048 ? whole / 2 : whole / 5;
        unsigned char *block = HeapAlloc(heap, 0, whole);
        memset(block, 7, whole);
        ck_assert_ptr_eq(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, part), block);
        ck_assert_uint_eq(HeapSize(heap, 0, block), part);
        ck_assert_uint_eq(block[part - 1], 7);
        ck_assert_ptr_eq(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY | HEAP_ZERO_MEMORY, block, whole), block);
        ck_assert_uint_eq(HeapSize(heap, 0, block), whole);
        ck_assert_uint_eq(block[part - 1], 7);
        SIZE_T zeroes = part;
        while (zeroes < whole && block[zeroes] == 0)
            zeroes++;
        ck_assert_uint_eq(zeroes, whole);
        ck_assert(HeapValidate(heap, 0, NULL));
        ck_assert(HeapFree(heap, 0, block));
    }
    void *small = HeapAlloc(heap, 0, 1000);
    ck_error(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, small, 10), NULL, ERROR_NOT_ENOUGH_MEMORY);
    ck_assert_uint_eq(HeapSize(heap, 0, small), 1000);
    ck_assert(HeapFree(heap, 0, small));
}
END_TEST

START_TEST(null_is_freed)
{
    ck_error(HeapFree(heap, 0, NULL), TRUE, NOTHING);
    ck_error(HeapFree(NULL, 0, NULL), TRUE, NOTHING);
}
END_TEST

START_TEST(null_has_no_size)
{
    ck_error(HeapSize(heap, 0, NULL), (SIZE_T)-1, ERROR_INVALID_PARAMETER);
}
END_TEST

START_TEST(validate_knows_live_blocks)
{
    static const SIZE_T sizes[] = {0, 24, 3000, 500000, 80 << 20};
    HANDLE other = HeapCreate(0, 0, 0x100000);
    SetLastError(NOTHING);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *block = HeapAlloc(heap, 0, sizes[i]);
        ck_assert(HeapValidate(heap, 0, block));
        ck_assert(!HeapValidate(other, 0, block));
        ck_assert(!HeapValidate(heap, 0, block + 16));
        ck_assert(HeapFree(heap, 0, block));
        ck_assert(!HeapValidate(heap, 0, block));
    }
    static int fixed_address;
    ck_assert(!HeapValidate(heap, 0, &fixed_address));
    ck_assert(!HeapValidate(heap, 0, (void *)0xdeadbe00));
    ck_assert_uint_eq(GetLastError(), NOTHING);
    ck_assert(HeapDestroy(other));
}
END_TEST

START_TEST(checked_heaps_notice_an_overrun)
{
    HANDLE checked = HeapCreate(HEAP_TAIL_CHECKING_ENABLED, 0, 0);
    char *volatile block = HeapAlloc(checked, 0, 24);
    void *other = HeapAlloc(checked, 0, 24);
    ck_assert(HeapValidate(checked, 0, NULL));
    char kept = block[24];
    block[24] = (char)(kept + 1);
    ck_assert(!HeapValidate(checked, 0, NULL));
    ck_error(HeapValidate(checked, 0, block), FALSE, NOTHING);
    ck_error(HeapValidate(checked, 0, other), TRUE, NOTHING);
    block[24] = kept;
    ck_assert(HeapValidate(checked, 0, NULL));
    ck_assert(HeapValidate(checked, 0, block));
    ck_assert(HeapDestroy(checked));
}
END_TEST

START_TEST(executable_heaps_run)
{
#if defined(__x86_64__)
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov eax, 42; ret */
#elif defined(__aarch64__)
    static const uint32_t code[] = {0x52800540, 0xd65f03c0};
#else
    static const unsigned char code[1];
    return;
#endif
    for (SIZE_T maximum = 0; maximum <= 0x100000; maximum += 0x100000) {
        HANDLE runs = HeapCreate(HEAP_CREATE_ENABLE_EXECUTE, 0, maximum);
        ck_assert_ptr_nonnull(runs);
        void *block = HeapAlloc(runs, 0, sizeof code);
        memcpy(block, code, sizeof code);
        __builtin___clear_cache(block, (char *)block + sizeof code);
        int (*run)(void);
        memcpy(&run, &block, sizeof run);
        ck_assert_int_eq(run(), 42);
        ck_assert(HeapDestroy(runs));
    }
}
END_TEST

/* ---------------------------------------------------------------- locks, walks, lists */

static void *allocate_beside(void *arg)
{
    stage = 1;
    void *block = HeapAlloc(arg, 0, 100);
    stage = 2;
    return block;
}

START_TEST(a_locked_heap_stops_other_threads)
{
    ck_error(HeapUnlock(heap), FALSE, ERROR_NOT_LOCKED);
    ck_assert(HeapLock(heap));
    ck_assert(HeapLock(heap));
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, allocate_beside, heap), 0);
    while (stage != 1)
        sched_yield();
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    int busy = 0;
    for (int turn = 0; turn < 20; turn++) { /* it has time enough to be wrong */
        for (entry.lpData = NULL; HeapWalk(heap, &entry);)
            busy += (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
        sched_yield();
    }
    ck_assert_int_eq(busy, 0);
    ck_assert_int_eq(stage, 1);
    ck_assert(HeapUnlock(heap));
    ck_assert_int_eq(stage, 1);
    ck_assert(HeapUnlock(heap));
    void *block;
    ck_assert_int_eq(pthread_join(thread, &block), 0);
    ck_assert_ptr_nonnull(block);
    HANDLE unserialized = HeapCreate(HEAP_NO_SERIALIZE, 0, 0);
    ck_assert(HeapUnlock(unserialized) && HeapLock(unserialized));
    ck_assert(HeapDestroy(unserialized));
}
END_TEST

struct counted {
    int regions, busy, free, tails, late;
    SIZE_T busy_bytes, free_bytes;
};

static struct counted count(HANDLE walked, void **blocks, int wanted)
{
    struct counted counted = {0};
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    int found = 0;
    const void *last = NULL;
    bool large = false;
    while (HeapWalk(walked, &entry)) {
        if (entry.wFlags & PROCESS_HEAP_REGION) {
            ck_assert_ptr_eq(entry.lpData, walked);
            ck_assert_int_eq(counted.busy + counted.free, 0);
            counted.regions++;
            continue;
        }
        if (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) {
            ck_assert_uint_eq(entry.cbData, HeapSize(walked, 0, entry.lpData));
            counted.busy++;
            counted.busy_bytes += entry.cbData;
            for (int i = 0; i < wanted; i++)
                found += entry.lpData == blocks[i];
        }
        if (entry.cbData >= 0xff000 && (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY))
            large = true;
        counted.late += large;
        if (!large && last != NULL)
            ck_assert(entry.lpData > last);
        last = entry.lpData;
        counted.tails += (entry.wFlags & PROCESS_HEAP_UNCOMMITTED_RANGE) != 0;
        counted.free += entry.wFlags == 0;
        counted.free_bytes += entry.wFlags == 0 ? entry.cbData : 0;
    }
    ck_assert_uint_eq(GetLastError(), ERROR_NO_MORE_ITEMS);
    ck_assert_int_eq(found, wanted);
    return counted;
}

START_TEST(a_walk_tells_every_block_once)
{
    enum { BLOCKS = 500 };
    void *blocks[BLOCKS];
    SIZE_T bytes = 0;
    for (int i = 0; i < BLOCKS; i++) {
        SIZE_T size = i == 17 ? 0x100000 : (SIZE_T)(i * 37 % 5000);
        blocks[i] = HeapAlloc(heap, 0, size);
        bytes += size;
    }
    struct counted counted = count(heap, blocks, BLOCKS);
    ck_assert_int_eq(counted.regions, 1);
    ck_assert_int_eq(counted.busy, BLOCKS);
    ck_assert_uint_eq(counted.busy_bytes, bytes);
    ck_assert_int_eq(counted.late, 1);
    ck_assert_int_eq(counted.tails, 0);
    ck_assert_int_gt(counted.free, 0);
    for (int i = 0; i < BLOCKS; i += 2)
        ck_assert(HeapFree(heap, 0, blocks[i]));
    ck_assert_int_eq(count(heap, NULL, 0).busy, BLOCKS / 2);

    HANDLE fixed = HeapCreate(0, 0, 0x100000);
    void *block = HeapAlloc(fixed, 0, 100);
    counted = count(fixed, &block, 1);
    ck_assert_int_eq(counted.busy, 1);
    ck_assert_int_eq(counted.tails, 1);
    ck_assert(HeapDestroy(fixed));
}
END_TEST

START_TEST(a_walk_does_not_tell_what_was_freed_meanwhile)
{
    void *blocks[100];
    for (int i = 0; i < 100; i++)
        blocks[i] = HeapAlloc(heap, 0, 40);
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    ck_assert(HeapWalk(heap, &entry) && (entry.wFlags & PROCESS_HEAP_REGION));
    for (int i = 0; i < 100; i++)
        ck_assert(HeapFree(heap, 0, blocks[i]));
    while (HeapWalk(heap, &entry))
        ck_assert(!(entry.wFlags & PROCESS_HEAP_ENTRY_BUSY));
}
END_TEST

START_TEST(two_walks_do_not_disturb_each_other)
{
    for (int i = 0; i < 50; i++)
        ck_assert_ptr_nonnull(HeapAlloc(heap, 0, 40));
    PROCESS_HEAP_ENTRY outer = {.lpData = NULL};
    int busy = 0;
    while (HeapWalk(heap, &outer)) {
        busy += (outer.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
        ck_assert_int_eq(count(heap, NULL, 0).busy, 50);
    }
    ck_assert_int_eq(busy, 50);
}
END_TEST

START_TEST(compacting_tells_the_largest_free_block)
{
    ck_error(HeapCompact(heap, 0), 0, NO_ERROR);
    void *block = HeapAlloc(heap, 0, 1000);
    ck_assert_ptr_nonnull(HeapAlloc(heap, 0, 1000));
    ck_assert(HeapFree(heap, 0, block));
    ck_assert_uint_ge(HeapCompact(heap, 0), 1000);
    void *large = HeapAlloc(heap, 0, 8 << 20);
    memset(large, 1, 8 << 20);
    ck_assert(HeapFree(heap, 0, large));
    ck_assert_uint_gt(HeapCompact(heap, 0), 0);
}
END_TEST

START_TEST(the_process_has_a_list_of_its_heaps)
{
    HANDLE list[16];
    const DWORD before = GetProcessHeaps(0, NULL); /* the C library may have one, too */
    ck_assert_uint_ge(before, 2);
    ck_assert_uint_le(before, 8);
    ck_assert_uint_eq(GetProcessHeaps(16, list), before);
    ck_assert_ptr_eq(list[0], GetProcessHeap());
    ck_assert_ptr_eq(list[before - 1], heap);
    HANDLE more = HeapCreate(0, 0, 0), most = HeapCreate(0, 0, 0);
    ck_assert_uint_eq(GetProcessHeaps(16, list), before + 2);
    ck_assert_ptr_eq(list[before], more);
    ck_assert_ptr_eq(list[before + 1], most);
    list[1] = NULL;
    ck_assert_uint_eq(GetProcessHeaps(1, list), before + 2);
    ck_assert_ptr_null(list[1]);
    ck_assert(HeapDestroy(most) && HeapDestroy(more));
    most = HeapCreate(0, 0, 0);
    ck_assert_uint_eq(GetProcessHeaps(16, list), before + 1);
    ck_assert_ptr_eq(list[before], most);
    ck_assert(HeapDestroy(most));
}
END_TEST

START_TEST(the_list_of_heaps_wants_a_place)
{
    ck_error(GetProcessHeaps(3, NULL), 0, ERROR_NOACCESS);
}
END_TEST

START_TEST(information_is_set_and_told)
{
    ULONG value = 77;
    SIZE_T told = 0;
    ck_assert(HeapQueryInformation(heap, HeapCompatibilityInformation, &value, sizeof value, &told));
    ck_assert_uint_eq(value, 0);
    ck_assert_uint_eq(told, sizeof value);
    ck_error(HeapQueryInformation(heap, HeapCompatibilityInformation, &value, 2, &told), FALSE,
             ERROR_INSUFFICIENT_BUFFER);
    ck_error(HeapQueryInformation(NULL, HeapCompatibilityInformation, &value, 4, NULL), FALSE, ERROR_NOACCESS);
    ck_error(HeapQueryInformation(heap, (HEAP_INFORMATION_CLASS)9, &value, 4, NULL), FALSE, ERROR_INVALID_PARAMETER);
    value = 2;
    ck_assert(HeapSetInformation(heap, HeapCompatibilityInformation, &value, sizeof value));
    value = 0;
    ck_error(HeapSetInformation(heap, HeapCompatibilityInformation, &value, sizeof value), FALSE, ERROR_GEN_FAILURE);
    ULONG large[3];
    ck_assert(HeapQueryInformation(heap, HeapCompatibilityInformation, large, sizeof large, NULL));
    ck_assert_uint_eq(large[0], 2);
    HANDLE unserialized = HeapCreate(HEAP_NO_SERIALIZE, 0, 0);
    value = 2;
    ck_error(HeapSetInformation(unserialized, HeapCompatibilityInformation, &value, 4), FALSE, ERROR_INVALID_PARAMETER);
    ck_assert(HeapDestroy(unserialized));
    ck_assert(HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, NULL, 0));
    ck_error(HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, &value, 4), FALSE, ERROR_INVALID_PARAMETER);
    HEAP_OPTIMIZE_RESOURCES_INFORMATION how = {.Version = 1};
    ck_assert(HeapSetInformation(NULL, HeapOptimizeResources, &how, sizeof how));
    ck_assert(HeapSetInformation(heap, HeapOptimizeResources, &how, sizeof how));
    how.Version = 2;
    ck_error(HeapSetInformation(heap, HeapOptimizeResources, &how, sizeof how), FALSE, ERROR_INVALID_PARAMETER);
}
END_TEST

START_TEST(information_has_its_errors)
{
    ULONG value = 2;
    ck_error(HeapSetInformation(NULL, HeapCompatibilityInformation, &value, sizeof value), FALSE, ERROR_INVALID_HANDLE);
    ck_error(HeapSetInformation(heap, HeapCompatibilityInformation, &value, 2), FALSE, ERROR_INSUFFICIENT_BUFFER);
    ck_error(HeapSetInformation(heap, HeapCompatibilityInformation, NULL, 4), FALSE, ERROR_INSUFFICIENT_BUFFER);
    ck_error(HeapSetInformation(heap, (HEAP_INFORMATION_CLASS)9, &value, sizeof value), FALSE, ERROR_INVALID_PARAMETER);
    value = 7;
    ck_error(HeapSetInformation(heap, HeapCompatibilityInformation, &value, sizeof value), FALSE,
             ERROR_INVALID_PARAMETER);
    ck_error(HeapQueryInformation(heap, HeapCompatibilityInformation, NULL, 0, NULL), FALSE, ERROR_INSUFFICIENT_BUFFER);
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    while (HeapWalk(heap, &entry))
        ;
    ck_assert_uint_eq(GetLastError(), ERROR_NO_MORE_ITEMS);
}
END_TEST

START_TEST(a_summary_tells_the_sizes)
{
    HANDLE fixed = HeapCreate(0, 0, 0x100000);
    ck_assert_ptr_nonnull(HeapAlloc(fixed, 0, 5000));
    HEAP_SUMMARY summary = {.cb = sizeof summary};
    ck_assert(HeapSummary(fixed, 0, &summary));
    ck_assert_uint_ge(summary.cbAllocated, 5000);
    ck_assert_uint_ge(summary.cbCommitted, summary.cbAllocated);
    ck_assert_uint_eq(summary.cbMaxReserve, 0x100000);
    summary.cb = 3;
    ck_error(HeapSummary(fixed, 0, &summary), FALSE, ERROR_INVALID_PARAMETER);
    ck_error(HeapSummary(fixed, 1, &summary), FALSE, ERROR_INVALID_PARAMETER);
    ck_error(HeapSummary(NULL, 0, &summary), FALSE, ERROR_INVALID_HANDLE);
    ck_assert(HeapDestroy(fixed));
}
END_TEST

static void *churn(void *arg)
{
    void *blocks[64] = {NULL};
    unsigned state = (unsigned)(uintptr_t)&blocks;
    for (int i = 0; i < 20000; i++) {
        state = state * 1664525 + 1013904223;
        void **block = &blocks[state >> 26];
        if (*block != NULL && !HeapFree(arg, 0, *block))
            return arg;
        *block = HeapAlloc(arg, 0, state >> 20 & 1023);
        if (*block == NULL || HeapSize(arg, 0, *block) != (state >> 20 & 1023))
            return &stage;
    }
    for (int i = 0; i < 64; i++)
        if (!HeapFree(arg, 0, blocks[i]))
            return arg;
    return NULL;
}

START_TEST(walks_and_locks_run_beside_allocation)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, heap), 0);
    for (int turn = 0; turn < 20; turn++) {
        ck_assert(HeapLock(heap));
        (void)count(heap, NULL, 0);
        ck_assert(HeapUnlock(heap));
        ck_assert(HeapValidate(heap, 0, NULL));
    }
    for (int i = 0; i < 3; i++) {
        void *said;
        ck_assert_int_eq(pthread_join(threads[i], &said), 0);
        ck_assert_ptr_null(said);
    }
    ck_assert_int_eq(count(heap, NULL, 0).busy, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("win32 heaps");
    TCase *tests = suite_case(suite, "heaps", 60);
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, the_types_have_the_sizes_of_64_bit_windows);
    tcase_add_test(tests, the_last_error_is_of_the_thread);
    tcase_add_test(tests, an_initial_size_that_is_not_there_is_no_heap);
    tcase_add_test(tests, an_initial_size_above_the_maximum_is_refused);
    tcase_add_test(tests, a_fixed_heap_has_its_maximum_and_no_more);
    tcase_add_test(tests, a_fixed_heap_has_a_largest_block);
    tcase_add_test(tests, no_heap_is_refused);
    tcase_add_test(tests, a_block_has_exactly_the_size_that_was_asked_for);
    tcase_add_test(tests, what_cannot_be_had_is_null);
    tcase_add_test(tests, a_block_keeps_its_bytes_when_it_is_resized);
    tcase_add_test(tests, in_place_only_never_moves);
    tcase_add_test(tests, in_place_a_block_shrinks_and_grows_back);
    tcase_add_test(tests, null_is_freed);
    tcase_add_test(tests, null_has_no_size);
    tcase_add_test(tests, validate_knows_live_blocks);
    tcase_add_test(tests, checked_heaps_notice_an_overrun);
    tcase_add_test(tests, executable_heaps_run);
    tcase_add_test(tests, a_locked_heap_stops_other_threads);
    tcase_add_test(tests, a_walk_tells_every_block_once);
    tcase_add_test(tests, a_walk_does_not_tell_what_was_freed_meanwhile);
    tcase_add_test(tests, two_walks_do_not_disturb_each_other);
    tcase_add_test(tests, compacting_tells_the_largest_free_block);
    tcase_add_test(tests, the_process_has_a_list_of_its_heaps);
    tcase_add_test(tests, the_list_of_heaps_wants_a_place);
    tcase_add_test(tests, information_is_set_and_told);
    tcase_add_test(tests, information_has_its_errors);
    tcase_add_test(tests, a_summary_tells_the_sizes);
    tcase_add_test(tests, walks_and_locks_run_beside_allocation);
    return suite_run(suite);
}
