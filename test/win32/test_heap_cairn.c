/* SPDX-License-Identifier: MIT */
/* What cairn adds to the heap calls, and what can only be seen from outside: both interfaces on one heap, limits of the
 * process, personalities, heaps in memory of the caller's. */
#include <windows.h>

#include <cairn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "claims.h"
#include "one_heap.h"

START_TEST(the_initial_size_is_committed)
{
    HANDLE sized = HeapCreate(0, 8 << 20, 0);
    cairn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(cairn_stats_get(cairn_win32_heap(sized), &stats), 0);
    ck_assert_uint_ge(stats.bytes_committed, 8 << 20);
    ck_assert(HeapDestroy(sized));
    sized = HeapCreate(0, 1 << 20, 4 << 20);
    ck_assert_int_eq(cairn_stats_get(cairn_win32_heap(sized), &stats), 0);
    ck_assert_uint_ge(stats.bytes_committed, 1 << 20);
    ck_assert_uint_lt(stats.bytes_committed, 2 << 20);
    ck_assert_uint_eq(stats.bytes_max, 4 << 20);
    ck_assert(HeapDestroy(sized));
}
END_TEST

START_TEST(more_than_the_process_may_have_is_no_heap)
{
    if (UNDER_SANITIZER) /* which needs address space without bounds */
        return;
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = (rlim_t)4 << 30;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    ck_error(HeapCreate(0, (SIZE_T)1 << 46, 0), NULL, ERROR_NOT_ENOUGH_MEMORY);
    ck_error(HeapCreate(0, 0, (SIZE_T)64 << 30), NULL, ERROR_NOT_ENOUGH_MEMORY);
}
END_TEST

static size_t largest(DWORD personality, SIZE_T maximum)
{
    HANDLE fixed = CairnHeapCreate(personality, 0, 0, maximum);
    ck_assert_ptr_nonnull(fixed);
    size_t low = 1, high = maximum; /* low is had, high is not */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        void *block = HeapAlloc(fixed, 0, middle);
        ck_assert(HeapFree(fixed, 0, block));
        if (block != NULL)
            low = middle;
        else
            high = middle;
    }
    ck_assert(HeapDestroy(fixed));
    return low;
}

START_TEST(a_fixed_heap_has_the_largest_block_of_its_rules)
{
    ck_assert_uint_eq(largest(CAIRN_DESKTOP, 4 << 20), 0xff000 - 1);
    ck_assert_uint_eq(largest(CAIRN_DESKTOP_7FFF8, 4 << 20), 0x7fff8 - 1);
    ck_assert_uint_eq(largest(CAIRN_ERTOS, 4 << 20), 0x7fff8 - 1);
    ck_assert_uint_gt(largest(CAIRN_UNLIMITED, 4 << 20), 3 << 20);
}
END_TEST

START_TEST(ertos_ignores_the_initial_size_and_has_two_flags)
{
    ck_assert_uint_eq(CairnSetPersonality(CAIRN_ERTOS), CAIRN_DESKTOP);
    HANDLE rtos = HeapCreate(0, SIZE_MAX / 4, 0x100000); /* more than there is: not looked at */
    ck_assert_ptr_nonnull(rtos);
    ck_assert_ptr_nonnull(HeapAlloc(rtos, 0, 1000));
    ck_assert(HeapDestroy(rtos));
    DWORD flags[] = {HEAP_GENERATE_EXCEPTIONS, HEAP_NO_SERIALIZE, HEAP_GENERATE_EXCEPTIONS | HEAP_NO_SERIALIZE};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        rtos = HeapCreate(flags[i], 0, 0);
        ck_assert_ptr_nonnull(rtos);
        ck_assert_ptr_nonnull(HeapAlloc(rtos, 0, 0x100000)); /* one that grows has no limit */
        ck_assert(HeapDestroy(rtos));
    }
    ck_error(HeapCreate(HEAP_CREATE_ALIGN_16, 0, 0), NULL, ERROR_INVALID_PARAMETER);
    ck_assert_uint_eq(CairnSetPersonality(17), (DWORD)-1);
    ck_assert_uint_eq(CairnSetPersonality(CAIRN_DESKTOP), CAIRN_ERTOS);
    ck_error(CairnHeapCreate(17, 0, 0, 0), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CairnHeapCreate(CAIRN_ERTOS, HEAP_ZERO_MEMORY, 0, 0), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CairnSetPersonality(17), (DWORD)-1, NOTHING);
}
END_TEST

START_TEST(destroying_takes_the_blocks_along)
{
    cairn_stats stats = {.size = sizeof stats};
    for (int i = 0; i < 3000; i++) { /* more than records of the dead are kept */
        HANDLE one = HeapCreate(0, 0, 0);
        ck_assert_ptr_nonnull(HeapAlloc(one, 0, 100000));
        ck_assert(HeapDestroy(one));
    }
    ck_assert_int_eq(cairn_stats_get(cairn_win32_heap(heap), &stats), 0);
    ck_assert_uint_lt(stats.bytes_committed, 100 << 20);
}
END_TEST

START_TEST(a_double_free_ends_the_program)
{
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        void *block = HeapAlloc(heap, 0, 10);
        HeapFree(heap, 0, block);
        HeapFree(heap, 0, block);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

START_TEST(the_two_interfaces_mix)
{
    cairn_heap *cairn = cairn_win32_heap(heap);
    void *ours = cairn_alloc(cairn, 33);
    ck_assert(HeapValidate(heap, 0, ours));
    ck_assert_uint_eq(HeapSize(heap, 0, ours), 33);
    ck_assert(HeapFree(heap, 0, ours));
    void *theirs = HeapAlloc(heap, 0, 44);
    ck_assert_uint_eq(cairn_size(cairn, theirs), 44);
    cairn_free(cairn, theirs);
    ck_error(cairn_win32_heap(NULL), NULL, ERROR_INVALID_HANDLE);
}
END_TEST

START_TEST(compacting_gives_memory_back)
{
    void *large = HeapAlloc(heap, 0, 8 << 20);
    memset(large, 1, 8 << 20);
    ck_assert(HeapFree(heap, 0, large));
    (void)HeapCompact(heap, 0);
    cairn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(cairn_stats_get(cairn_win32_heap(heap), &stats), 0);
    ck_assert_uint_lt(stats.bytes_committed, 4 << 20);
}
END_TEST

static void refuse(HANDLE none)
{
    int data = 0;
    ck_error(HeapDestroy(none), FALSE, ERROR_INVALID_HANDLE);
    ck_error(HeapAlloc(none, 0, 1), NULL, ERROR_INVALID_HANDLE);
    ck_error(HeapReAlloc(none, 0, &data, 1), NULL, ERROR_INVALID_HANDLE);
    ck_error(HeapFree(none, 0, &data), FALSE, ERROR_INVALID_HANDLE);
    ck_error(HeapSize(none, 0, &data), (SIZE_T)-1, ERROR_INVALID_HANDLE);
    ck_error(HeapValidate(none, 0, NULL), FALSE, NOTHING);
    ck_error(HeapCompact(none, 0), 0, ERROR_INVALID_HANDLE);
    ck_error(HeapLock(none), FALSE, ERROR_INVALID_HANDLE);
    ck_error(HeapUnlock(none), FALSE, ERROR_INVALID_HANDLE);
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    ck_error(HeapWalk(none, &entry), FALSE, ERROR_INVALID_HANDLE);
}

/* No number is one but those that were given out; and none is looked behind. */
START_TEST(a_handle_that_is_none_is_refused)
{
    HANDLE gone = HeapCreate(0, 0, 0);
    ck_assert_ptr_nonnull(HeapAlloc(gone, 0, 1)); /* it is the last that is used */
    ck_assert(HeapDestroy(gone));
    refuse(gone);
    uintptr_t here = (uintptr_t)heap;
    void *hole = VirtualAlloc(NULL, 65536, MEM_RESERVE, PAGE_NOACCESS);
    HANDLE wrong[] = {gone,
                      (HANDLE)4,
                      INVALID_HANDLE_VALUE,
                      hole,
                      GetCurrentProcess(),
                      &here,
                      (HANDLE)0x10000,
                      (HANDLE)0x7fff12340000,
                      (HANDLE)0x8000000000000000,
                      (HANDLE)0xffffffffffffff00,
                      (HANDLE)(here + 1),
                      (HANDLE)(here + 8),
                      (HANDLE)(here + 16),
                      (HANDLE)(here + 128),
                      (HANDLE)(here - 256),
                      (HANDLE)(here + 256),
                      (HANDLE)(here + (16 << 20)),
                      (HANDLE)(here + (40 << 20)),
                      (HANDLE)(here - (40 << 20)),
                      cairn_win32_heap(heap)};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        refuse(wrong[i]);
        ck_error(CloseHandle(wrong[i]), wrong[i] == GetCurrentProcess(),
                 wrong[i] == GetCurrentProcess() ? NOTHING : ERROR_INVALID_HANDLE);
    }
    ck_assert(VirtualFree(hole, 0, MEM_RELEASE));
}
END_TEST

START_TEST(a_list_of_hundreds_of_heaps_is_in_their_order)
{
    enum { HEAPS = 500 };
    static HANDLE made[HEAPS], list[HEAPS + 8];
    for (int i = 0; i < HEAPS; i++)
        made[i] = HeapCreate(0, 0, 0);
    const DWORD count = GetProcessHeaps(HEAPS + 8, list);
    ck_assert_uint_eq(count, HEAPS + 2); /* the process heap, and the one of each claim */
    ck_assert_ptr_eq(list[0], GetProcessHeap());
    ck_assert_ptr_eq(list[1], heap);
    ck_assert_int_eq(memcmp(list + 2, made, sizeof made), 0);
    memset(list, 0, sizeof list);
    ck_assert_uint_eq(GetProcessHeaps(300, list), count);
    ck_assert_ptr_eq(list[299], made[297]);
    ck_assert_ptr_null(list[300]);
    for (int i = 0; i < HEAPS; i++)
        ck_assert(HeapDestroy(made[i]));
    ck_assert_uint_eq(GetProcessHeaps(0, NULL), 2);
}
END_TEST

struct crowd {
    HANDLE heap;
    pthread_barrier_t all;
    atomic_int refused, told;
};

static void *crowd_allocates(void *arg)
{
    struct crowd *crowd = arg;
    void *block = HeapAlloc(crowd->heap, 0, 100);
    SetLastError(NOTHING);
    if (block == NULL && (block = HeapAlloc(crowd->heap, 0, 100)) == NULL) { /* by now it is the heap used last */
        crowd->refused++;
        crowd->told += GetLastError() == ERROR_NOT_ENOUGH_MEMORY;
    }
    (void)pthread_barrier_wait(&crowd->all);
    return (void *)(uintptr_t)!HeapFree(crowd->heap, 0, block);
}

/* A large fixed heap has records for 256 threads. */
START_TEST(a_thread_too_many_is_told_so)
{
    enum { THREADS = 270 };
    static struct crowd crowd;
    pthread_t threads[THREADS];
    crowd.heap = HeapCreate(0, 0, 80 << 20);
    ck_assert_int_eq(pthread_barrier_init(&crowd.all, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, crowd_allocates, &crowd), 0);
    for (int i = 0; i < THREADS; i++) {
        void *said;
        ck_assert_int_eq(pthread_join(threads[i], &said), 0);
        ck_assert_ptr_null(said);
    }
    ck_assert_int_gt(crowd.refused, 0);
    ck_assert_int_eq(crowd.told, crowd.refused);
    ck_assert_int_eq(pthread_barrier_destroy(&crowd.all), 0);
    ck_assert(HeapDestroy(crowd.heap));
}
END_TEST

/* ---------------------------------------------------------------- fixed heaps */

static uint64_t committed_of(HANDLE fixed)
{
    HEAP_SUMMARY summary = {.cb = sizeof summary};
    ck_assert(HeapSummary(fixed, 0, &summary));
    return summary.cbCommitted;
}

static void come_and_go(HANDLE fixed)
{
    static void *blocks[300];
    for (size_t i = 0; i < COUNT(blocks); i++)
        blocks[i] = HeapAlloc(fixed, 0, i % 3 == 0 ? 200000 : 3000);
    for (size_t i = 0; i < COUNT(blocks); i++)
        ck_assert(HeapFree(fixed, 0, blocks[i]));
}

START_TEST(committed_pages_of_a_fixed_heap_stay_until_it_is_compacted)
{
    static const DWORD kinds[] = {0, HEAP_NO_SERIALIZE, HEAP_CREATE_ENABLE_EXECUTE, HEAP_TAIL_CHECKING_ENABLED};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        HANDLE fixed = HeapCreate(kinds[i], 9 << 20, 64 << 20);
        ck_assert_uint_ge(committed_of(fixed), 9 << 20);
        come_and_go(fixed);
        uint64_t most = committed_of(fixed);
        ck_assert_uint_ge(most, 15 << 20);
        come_and_go(fixed);
        ck_assert_uint_ge(committed_of(fixed), most);
        (void)HeapCompact(fixed, 0);
        ck_assert_uint_lt(committed_of(fixed), most / 2);
        ck_assert(HeapDestroy(fixed));
    }
}
END_TEST

/* Whether a range is all committed, or all not. */
static bool is_all(HANDLE fixed, const void *from, uint64_t bytes, int committed)
{
    uint64_t run = 0;
    return cairn_committed(cairn_win32_heap(fixed), from, &run) == committed && run >= bytes;
}

/* What the bits say of a range. */
static uint64_t uncommitted_in(HANDLE fixed, uint64_t from, uint64_t end)
{
    uint64_t sum = 0, run = 0;
    for (uint64_t at = from; at < end; at += run) {
        bool is_not = cairn_committed(cairn_win32_heap(fixed), (void *)(uintptr_t)at, &run) == 0;
        run = run < end - at ? run : end - at;
        sum += is_not ? run : 0;
    }
    return sum;
}

static void walk_exactly(HANDLE fixed, int busy)
{
    cairn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(cairn_stats_get(cairn_win32_heap(fixed), &stats), 0);
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    ck_assert(HeapWalk(fixed, &entry));
    ck_assert_uint_eq(entry.Region.dwCommittedSize, stats.bytes_committed);
    ck_assert_uint_eq(entry.Region.dwCommittedSize + entry.Region.dwUnCommittedSize, stats.bytes_reserved);
    uint64_t behind = stats.units_address, uncommitted = 0;
    const uint64_t end = stats.address + stats.bytes_reserved;
    while (HeapWalk(fixed, &entry)) {
        uint64_t at = (uintptr_t)entry.lpData;
        ck_assert_uint_ge(at, behind);
        ck_assert_uint_le(at + entry.cbData, end);
        ck_assert_uint_lt(at - behind, 65536); /* the rest of a block's last unit, or of a slab, is nobody else's */
        uncommitted += uncommitted_in(fixed, behind, at);
        behind = at + entry.cbData;
        if (entry.wFlags == PROCESS_HEAP_ENTRY_BUSY) {
            busy--;
            ck_assert(is_all(fixed, entry.lpData, entry.cbData, 1));
        } else {
            ck_assert(is_all(fixed, entry.lpData, entry.cbData, entry.wFlags == 0));
            uncommitted += entry.wFlags == 0 ? 0 : entry.cbData;
        }
    }
    ck_assert_int_eq(busy, 0);
    ck_assert_uint_lt(end - behind, 65536);
    ck_assert_uint_eq(uncommitted + uncommitted_in(fixed, behind, end),
                      uncommitted_in(fixed, stats.units_address, end));
}

START_TEST(a_walk_of_a_fixed_heap_tells_what_is_committed)
{
    static const struct {
        SIZE_T initial, maximum;
    } sizes[] = {{0, 8192}, {0, 65536}, {0, 0x80000}, {1 << 20, 8 << 20}, {4 << 20, 4 << 20}, {0, 100 << 20}};
    static void *blocks[100];
    for (size_t i = 0; i < COUNT(sizes); i++) {
        HANDLE fixed = HeapCreate(0, sizes[i].initial, sizes[i].maximum);
        walk_exactly(fixed, 0);
        int count = 0;
        while (count < 100 && (blocks[count] = HeapAlloc(fixed, 0, count % 2 == 0 ? 60000 : 700)) != NULL)
            count++;
        walk_exactly(fixed, count);
        int left = count;
        for (int at = 0; at < count; at++)
            if (at % 5 != 0 && HeapFree(fixed, 0, blocks[at]))
                left--;
        walk_exactly(fixed, left);
        (void)HeapCompact(fixed, 0);
        walk_exactly(fixed, left);
        ck_assert(HeapDestroy(fixed));
    }
}
END_TEST

static bool is_resident(HANDLE made, SIZE_T bytes)
{
    cairn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(cairn_stats_get(cairn_win32_heap(made), &stats), 0);
    unsigned char pages[4096];
    ck_assert_int_eq(mincore((void *)(uintptr_t)stats.address, bytes, pages), 0);
    for (SIZE_T page = 0; page < bytes / 4096; page++)
        if ((pages[page] & 1) == 0)
            return false;
    return true;
}

START_TEST(the_initial_size_is_populated)
{
    static const DWORD kinds[] = {0, HEAP_NO_SERIALIZE, HEAP_CREATE_ENABLE_EXECUTE, HEAP_TAIL_CHECKING_ENABLED};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        HANDLE fixed = HeapCreate(kinds[i], 8 << 20, 16 << 20);
        ck_assert(is_resident(fixed, 8 << 20));
        ck_assert(HeapDestroy(fixed));
    }
    HANDLE grows = HeapCreate(HEAP_CREATE_ENABLE_EXECUTE, 8 << 20, 0);
    ck_assert(is_resident(grows, 8 << 20));
    ck_assert(HeapDestroy(grows));
}
END_TEST

/* In another process, which has two seconds of a processor: that is too little to fill memory. */
static int more_than_there_is(void)
{
    SIZE_T bytes = (SIZE_T)sysconf(_SC_PHYS_PAGES) * 4096 * 4;
    static const DWORD kinds[] = {0, HEAP_CREATE_ENABLE_EXECUTE};
    const struct rlimit seconds = {.rlim_cur = 2, .rlim_max = 3};
    if (setrlimit(RLIMIT_CPU, &seconds) < 0)
        return 3;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        SetLastError(NOTHING);
        if (HeapCreate(kinds[i], bytes, bytes + bytes / 2) != NULL || GetLastError() != ERROR_NOT_ENOUGH_MEMORY)
            return 1;
        if (HeapCreate(kinds[i], bytes, 0) != NULL || GetLastError() != ERROR_NOT_ENOUGH_MEMORY)
            return 2;
    }
    return 0;
}

START_TEST(an_initial_size_that_the_machine_does_not_have_is_refused)
{
    if (UNDER_TSAN) /* which has memory of its own for all that is reserved */
        return;
    elsewhere(more_than_there_is);
}
END_TEST

START_TEST(a_spoilt_checked_heap_is_not_walked)
{
    HANDLE checked = HeapCreate(HEAP_TAIL_CHECKING_ENABLED, 0, 0);
    char *volatile block = HeapAlloc(checked, 0, 24);
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    block[24]++;
    ck_error(HeapWalk(checked, &entry), FALSE, ERROR_INVALID_PARAMETER);
    block[24]--;
    ck_assert(HeapWalk(checked, &entry));
    ck_assert(HeapDestroy(checked));
}
END_TEST

START_TEST(a_walk_goes_on_when_its_block_is_freed)
{
    for (int i = 0; i < 1000; i++)
        ck_assert_ptr_nonnull(HeapAlloc(heap, 0, 16 + (SIZE_T)i % 300));
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    int freed = 0;
    while (HeapWalk(heap, &entry))
        if (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY)
            freed += HeapFree(heap, 0, entry.lpData);
    ck_assert_int_eq(freed, 1000);
    cairn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(cairn_stats_get(cairn_win32_heap(heap), &stats), 0);
    ck_assert_uint_eq(stats.bytes_live, 0);
    ck_error(HeapWalk(heap, NULL), FALSE, ERROR_INVALID_PARAMETER);
}
END_TEST

static atomic_bool walks_are_over;

static void *walk_on(void *arg)
{
    while (!walks_are_over) {
        PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
        while (HeapWalk(arg, &entry))
            ;
    }
    return NULL;
}

/* Whatever the parent's other thread was at. */
START_TEST(a_child_walks_while_its_parent_does)
{
    pthread_t thread;
    HANDLE other = HeapCreate(0, 0, 1 << 20);
    for (int i = 0; i < 50; i++)
        ck_assert_ptr_nonnull(HeapAlloc(heap, 0, 100));
    ck_assert_int_eq(pthread_create(&thread, NULL, walk_on, heap), 0);
    for (int turn = 0; turn < 100; turn++) {
        pid_t child = fork();
        if (child == 0) {
            (void)alarm(20);
            int busy = 0;
            PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
            while (HeapWalk(heap, &entry))
                busy += entry.wFlags == PROCESS_HEAP_ENTRY_BUSY;
            entry.lpData = NULL;
            _exit(busy == 50 && HeapWalk(other, &entry) ? 0 : 1);
        }
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
    }
    walks_are_over = true;
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert(HeapDestroy(other));
}
END_TEST

/* ---------------------------------------------------------------- CeHeapCreate */

static struct {
    unsigned char *base;
    size_t reserved, committed;
    int reserves, releases;
    size_t limit;
} ce;

static LPVOID WINAPI ce_get(LPVOID address, DWORD bytes, DWORD action, LPDWORD user)
{
    if (action == MEM_RESERVE) {
        ce.reserves++;
        ce.reserved = bytes;
        *user = 0xabcd;
        return ce.base = VirtualAlloc(NULL, bytes, MEM_RESERVE, PAGE_READWRITE);
    }
    ck_assert_uint_eq(action, MEM_COMMIT);
    ck_assert_uint_eq(*user, 0xabcd);
    if (ce.limit != 0 && ce.committed + bytes > ce.limit)
        return NULL;
    ce.committed += bytes;
    return VirtualAlloc(address, bytes, MEM_COMMIT, PAGE_READWRITE);
}

static BOOL WINAPI ce_put(LPVOID address, DWORD bytes, DWORD action, DWORD user)
{
    ck_assert_uint_eq(user, 0xabcd);
    if (action == MEM_RELEASE) {
        ck_assert_uint_eq(bytes, 0);
        ck_assert_ptr_eq(address, ce.base);
        ce.releases++;
    } else {
        ck_assert_uint_eq(action, MEM_DECOMMIT);
        ce.committed -= bytes;
    }
    return VirtualFree(address, bytes, action);
}

START_TEST(a_ce_heap_lives_in_memory_of_the_callers)
{
    ck_error(CeHeapCreate(0, 0, 0, NULL, ce_put), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CeHeapCreate(0, 0, 0, ce_get, NULL), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CeHeapCreate(HEAP_ZERO_MEMORY, 0, 0, ce_get, ce_put), NULL, ERROR_INVALID_PARAMETER);
    HANDLE mine = CeHeapCreate(0, 0x10000, 0x400000, ce_get, ce_put);
    ck_assert_ptr_nonnull(mine);
    ck_assert_int_eq(ce.reserves, 1);
    ck_assert_uint_ge(ce.committed, 0x10000);
    ck_assert_uint_lt(ce.committed, 0x200000);
    unsigned char *block = HeapAlloc(mine, HEAP_ZERO_MEMORY, 0x200000);
    ck_assert(block >= ce.base && block + 0x200000 <= ce.base + ce.reserved);
    ck_assert_uint_ge(ce.committed, 0x200000);
    memset(block, 1, 0x200000);
    ck_assert(HeapFree(mine, 0, block));
    (void)HeapCompact(mine, 0);
    ck_assert_uint_lt(ce.committed, 0x200000);
    ck_assert(HeapDestroy(mine));
    ck_assert_int_eq(ce.releases, 1);
    ce.limit = ce.committed + 0x40000;
    mine = CeHeapCreate(0, 0, 0x400000, ce_get, ce_put);
    ck_error(HeapAlloc(mine, 0, 0x100000), NULL, ERROR_NOT_ENOUGH_MEMORY);
    ck_assert_ptr_nonnull(HeapAlloc(mine, 0, 0x8000));
    ck_assert(HeapDestroy(mine));
}
END_TEST

struct mine {
    int calls;
};

static LPVOID WINAPI wide_get(LPVOID address, SIZE_T bytes, DWORD action, ULONG_PTR *user)
{
    static struct mine mine;
    if (action == MEM_RESERVE)
        *user = (ULONG_PTR)&mine;
    ((struct mine *)*user)->calls++;
    return VirtualAlloc(address, bytes, action, PAGE_READWRITE);
}

static struct mine *released;

static BOOL WINAPI wide_put(LPVOID address, SIZE_T bytes, DWORD action, ULONG_PTR user)
{
    released = (struct mine *)user;
    return VirtualFree(address, bytes, action);
}

START_TEST(the_wide_user_word_holds_a_pointer)
{
    HANDLE mine = CairnCeHeapCreate(HEAP_NO_SERIALIZE, 0, (SIZE_T)8 << 30, wide_get, wide_put);
    ck_assert_ptr_nonnull(mine);
    ck_assert_ptr_nonnull(HeapAlloc(mine, 0, 100));
    ck_assert(HeapDestroy(mine));
    ck_assert_ptr_nonnull(released);
    ck_assert_int_ge(released->calls, 2);
    ck_error(CairnCeHeapCreate(0, 0, 0, NULL, wide_put), NULL, ERROR_INVALID_PARAMETER);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("win32 heaps of cairn");
    TCase *tests = suite_case(suite, "heaps", 60);
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, the_initial_size_is_committed);
    tcase_add_test(tests, more_than_the_process_may_have_is_no_heap);
    tcase_add_test(tests, a_fixed_heap_has_the_largest_block_of_its_rules);
    tcase_add_test(tests, ertos_ignores_the_initial_size_and_has_two_flags);
    tcase_add_test(tests, destroying_takes_the_blocks_along);
    tcase_add_test(tests, a_double_free_ends_the_program);
    tcase_add_test(tests, the_two_interfaces_mix);
    tcase_add_test(tests, compacting_gives_memory_back);
    tcase_add_test(tests, a_handle_that_is_none_is_refused);
    tcase_add_test(tests, a_list_of_hundreds_of_heaps_is_in_their_order);
    tcase_add_test(tests, a_thread_too_many_is_told_so);
    tcase_add_test(tests, committed_pages_of_a_fixed_heap_stay_until_it_is_compacted);
    tcase_add_test(tests, a_walk_of_a_fixed_heap_tells_what_is_committed);
    tcase_add_test(tests, the_initial_size_is_populated);
    tcase_add_test(tests, an_initial_size_that_the_machine_does_not_have_is_refused);
    tcase_add_test(tests, a_spoilt_checked_heap_is_not_walked);
    tcase_add_test(tests, a_walk_goes_on_when_its_block_is_freed);
    tcase_add_test(tests, a_child_walks_while_its_parent_does);
    tcase_add_test(tests, a_ce_heap_lives_in_memory_of_the_callers);
    tcase_add_test(tests, the_wide_user_word_holds_a_pointer);
    return suite_run(suite);
}
