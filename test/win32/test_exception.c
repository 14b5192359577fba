/* SPDX-License-Identifier: MIT */
/*
 * Structured exceptions for memory: raised ones and faults, filters that run before anything is unwound. Faults are in
 * functions of their own, where every compiler that knows these words guards them; what is only so here is in
 * test_exception_cairn.c.
 */
#include <windows.h>

#include <pthread.h>
#include <string.h>

#include "claims.h"

static volatile char *volatile nowhere = (char *)64; /* no address of a block */
static char trail[64];

static void mark(char letter)
{
    size_t length = strlen(trail);
    ck_assert_uint_lt(length, sizeof trail - 1);
    trail[length] = letter;
}

static void begin(void)
{
    memset(trail, 0, sizeof trail);
}

__attribute__((noinline)) static void store_nowhere(void)
{
    *nowhere = 1;
}

__attribute__((noinline)) static int load(const volatile char *address)
{
    return (unsigned char)*address;
}

/* A filter that takes what it is told, and notes it. */
static EXCEPTION_RECORD noted;

static int take(EXCEPTION_POINTERS *pointers)
{
    noted = *pointers->ExceptionRecord;
    return EXCEPTION_EXECUTE_HANDLER;
}

START_TEST(without_an_exception_nothing_happens)
{
    __try {
        mark('b');
    } __except (mark('f'), EXCEPTION_EXECUTE_HANDLER) {
        mark('h');
    }
    __try {
        mark('b');
    } __finally {
        mark(AbnormalTermination() ? 'A' : 'n');
    }
    ck_assert_str_eq(trail, "bbn");
}
END_TEST

START_TEST(a_fault_is_told_with_its_address)
{
    __try {
        store_nowhere();
    } __except (take(GetExceptionInformation())) {
        mark('h');
    }
    ck_assert_str_eq(trail, "h");
    ck_assert_uint_eq(noted.ExceptionCode, EXCEPTION_ACCESS_VIOLATION);
    ck_assert_uint_eq(noted.NumberParameters, 2);
    ck_assert_uint_eq(noted.ExceptionInformation[1], (ULONG_PTR)nowhere);
#if defined(__x86_64__)
    ck_assert_uint_eq(noted.ExceptionInformation[0], 1);
#endif
}
END_TEST

START_TEST(a_handler_is_told_the_code)
{
    volatile DWORD code = 0;
    __try {
        store_nowhere();
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        code = GetExceptionCode();
    }
    ck_assert_uint_eq(code, EXCEPTION_ACCESS_VIOLATION);
}
END_TEST

static int guarded_read(const volatile char *address)
{
    volatile int seen = -1;
    __try {
        seen = load(address);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        seen = -2;
    }
    return seen;
}

START_TEST(faults_are_caught_again_and_again)
{
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(guarded_read(nowhere), -2);
    ck_assert_int_eq(guarded_read("a"), 'a');
}
END_TEST

static void raise_in_depth(int depth)
{
    volatile char room[200];
    room[0] = (char)depth;
    if (depth > 0) {
        raise_in_depth(depth - 1);
    } else {
        ULONG_PTR arguments[] = {11, 22};
        RaiseException(0xE0001234, 0, 2, arguments);
        mark('r');
    }
    ck_assert_int_eq(room[0], (char)depth);
}

static int look(EXCEPTION_POINTERS *pointers, int answer)
{
    volatile char deep[4000]; /* overwrites what lies below the guard */
    for (size_t i = 0; i < sizeof deep; i++)
        deep[i] = 0x5a;
    mark('f');
    ck_assert_uint_eq(pointers->ExceptionRecord->ExceptionCode, 0xE0001234);
    ck_assert_uint_eq(pointers->ExceptionRecord->NumberParameters, 2);
    ck_assert_uint_eq(pointers->ExceptionRecord->ExceptionInformation[1], 22);
    return answer;
}

START_TEST(termination_blocks_run_between_filter_and_handler)
{
    __try {
        __try {
            __try {
                raise_in_depth(3);
                mark('X');
            } __except (look(GetExceptionInformation(), EXCEPTION_CONTINUE_SEARCH)) {
                mark('X');
            }
        } __finally {
            mark(AbnormalTermination() ? 'A' : 'X');
        }
        mark('X');
    } __except (look(GetExceptionInformation(), EXCEPTION_EXECUTE_HANDLER)) {
        mark('h');
    }
    ck_assert_str_eq(trail, "ffAh");
}
END_TEST

START_TEST(execution_continues_where_the_filter_says_so)
{
    __try {
        raise_in_depth(20); /* checks its frames on the way back */
        mark('b');
    } __except (look(GetExceptionInformation(), EXCEPTION_CONTINUE_EXECUTION)) {
        mark('X');
    }
    ck_assert_str_eq(trail, "frb");
}
END_TEST

static unsigned char *growing;
static volatile int commits;

static int commit_page(EXCEPTION_POINTERS *pointers)
{
    EXCEPTION_RECORD *record = pointers->ExceptionRecord;
    unsigned char *address = (unsigned char *)record->ExceptionInformation[1];
    if (record->ExceptionCode != EXCEPTION_ACCESS_VIOLATION || address < growing || address >= growing + (1 << 20))
        return EXCEPTION_CONTINUE_SEARCH;
    commits++;
    return VirtualAlloc(address, 1, MEM_COMMIT, PAGE_READWRITE) != NULL ? EXCEPTION_CONTINUE_EXECUTION
                                                                        : EXCEPTION_EXECUTE_HANDLER;
}

__attribute__((noinline)) static unsigned sum_of(unsigned n)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < n; i++) {
        growing[i] = (unsigned char)i;
        sum += growing[i] + i;
    }
    return sum;
}

START_TEST(memory_is_committed_at_the_fault)
{
    growing = VirtualAlloc(NULL, 1 << 20, MEM_RESERVE, PAGE_READWRITE);
    volatile unsigned sum = 0;
    unsigned wanted = 0;
    for (unsigned i = 0; i < 1 << 20; i++)
        wanted += (unsigned char)i + i;
    __try {
        sum = sum_of(1 << 20);
    } __except (commit_page(GetExceptionInformation())) {
        mark('X');
    }
    ck_assert_uint_eq(sum, wanted);
    SYSTEM_INFO system;
    GetSystemInfo(&system);
    ck_assert_int_eq(commits, (1 << 20) / (int)system.dwPageSize);
    ck_assert(VirtualFree(growing, 0, MEM_RELEASE));
}
END_TEST

static int filter_that_faults(void)
{
    volatile int result = EXCEPTION_CONTINUE_SEARCH;
    __try {
        store_nowhere();
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        mark('i');
        result = EXCEPTION_EXECUTE_HANDLER;
    }
    return result;
}

START_TEST(a_filter_may_fault_itself)
{
    for (volatile int i = 0; i < 20; i++) {
        __try {
            store_nowhere();
        } __except (filter_that_faults()) {
            mark('h');
        }
    }
    ck_assert_uint_eq(strlen(trail), 40);
    ck_assert_int_eq(strncmp(trail, "ihih", 4), 0);
}
END_TEST

START_TEST(a_handler_may_raise_to_the_next)
{
    __try {
        __try {
            RaiseException(1, 0, 0, NULL);
        } __except (mark((char)('0' + GetExceptionCode())), EXCEPTION_EXECUTE_HANDLER) {
            RaiseException(2, 0, 0, NULL);
        }
    } __except (mark((char)('0' + GetExceptionCode())), EXCEPTION_EXECUTE_HANDLER) {
        mark('h');
    }
    ck_assert_str_eq(trail, "12h");
}
END_TEST

static int leave_early(int when)
{
    int result = 0;
    __try {
        result = 1;
        for (int i = 0; i < 10; i++) {
            for (int j = 0; j < 10; j++)
                if (i * 10 + j == when)
                    __leave;
            result++;
        }
        result = 100;
    } __finally {
        mark(AbnormalTermination() ? 'X' : 'n');
    }
    return result;
}

static int return_early(void)
{
    __try {
        return 5;
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        mark('X');
    }
    return 6;
}

START_TEST(a_block_is_left_from_within_loops)
{
    ck_assert_int_eq(leave_early(35), 4);
    ck_assert_int_eq(leave_early(1000), 100);
    ck_assert_str_eq(trail, "nn");
    ck_assert_int_eq(return_early(), 5);
    __try { /* no guard of before is in the way */
        RaiseException(3, 0, 0, NULL);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        mark('h');
    }
    ck_assert_str_eq(trail, "nnh");
}
END_TEST

static void raise_by(HANDLE heap, DWORD flags, SIZE_T bytes)
{
    memset(&noted, 0, sizeof noted);
    __try {
        (void)HeapAlloc(heap, flags, bytes);
        mark('X');
    } __except (take(GetExceptionInformation())) {
        mark('h');
    }
}

START_TEST(heaps_raise_what_they_cannot_give)
{
    HANDLE heap = HeapCreate(HEAP_GENERATE_EXCEPTIONS, 0, 0x100000), quiet = HeapCreate(0, 0, 0x100000);
    raise_by(heap, 0, 0x200000);
    ck_assert_uint_eq(noted.ExceptionCode, STATUS_NO_MEMORY);
    ck_assert_uint_eq(noted.NumberParameters, 0);
    raise_by(quiet, HEAP_GENERATE_EXCEPTIONS, 0x200000);
    ck_assert_uint_eq(noted.ExceptionCode, STATUS_NO_MEMORY);
    ck_assert_str_eq(trail, "hh");
    ck_assert_ptr_null(HeapAlloc(quiet, 0, 0x200000));
    ck_assert(HeapDestroy(heap) && HeapDestroy(quiet));
}
END_TEST

START_TEST(no_heap_raises_an_access_violation)
{
    raise_by(NULL, HEAP_GENERATE_EXCEPTIONS, 1);
    ck_assert_uint_eq(noted.ExceptionCode, STATUS_ACCESS_VIOLATION);
    ck_assert_str_eq(trail, "h");
}
END_TEST

static void *fault_in_thread(void *arg)
{
    for (int i = 0; i < 500; i++)
        if (guarded_read(nowhere) != -2)
            return arg;
    return NULL;
}

START_TEST(each_thread_has_its_own)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, fault_in_thread, trail), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
}
END_TEST

int main(void)
{
    if (UNDER_TSAN) {
        /* It counts signal handlers in and out, and a handler that is left by a jump stays counted; its own handler
         * cannot be entered anew. */
        puts("ThreadSanitizer does not know handlers that are left by a jump: no exceptions under it");
        return 77;
    }
    Suite *suite = suite_create("win32 exceptions");
    TCase *tests = suite_case(suite, "exceptions", 60);
    tcase_add_checked_fixture(tests, begin, NULL);
    tcase_add_test(tests, without_an_exception_nothing_happens);
    tcase_add_test(tests, a_fault_is_told_with_its_address);
    tcase_add_test(tests, a_handler_is_told_the_code);
    tcase_add_test(tests, faults_are_caught_again_and_again);
    tcase_add_test(tests, termination_blocks_run_between_filter_and_handler);
    tcase_add_test(tests, execution_continues_where_the_filter_says_so);
    tcase_add_test(tests, memory_is_committed_at_the_fault);
    tcase_add_test(tests, a_filter_may_fault_itself);
    tcase_add_test(tests, a_handler_may_raise_to_the_next);
    tcase_add_test(tests, a_block_is_left_from_within_loops);
    tcase_add_test(tests, heaps_raise_what_they_cannot_give);
    tcase_add_test(tests, no_heap_raises_an_access_violation);
    tcase_add_test(tests, each_thread_has_its_own);
    return suite_run(suite);
}
