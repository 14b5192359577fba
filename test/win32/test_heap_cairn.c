/* SPDX-License-Identifier: MIT */
/* What cairn adds to the heap calls, and what can only be seen from outside: both interfaces on one heap, limits of the
 * process, personalities, heaps in memory of the caller's. */
#include <windows.h>

#include <cairn.h>
#include <signal.h>
#include <string.h>
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

START_TEST(a_handle_that_is_none_is_refused)
{
    HANDLE gone = HeapCreate(0, 0, 0);
    ck_assert(HeapDestroy(gone));
    HANDLE wrong[] = {gone, (HANDLE)4, INVALID_HANDLE_VALUE};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refuse(wrong[i]);
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
    tcase_add_test(tests, a_walk_goes_on_when_its_block_is_freed);
    tcase_add_test(tests, a_ce_heap_lives_in_memory_of_the_callers);
    tcase_add_test(tests, the_wide_user_word_holds_a_pointer);
    return suite_run(suite);
}
