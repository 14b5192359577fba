/* SPDX-License-Identifier: MIT */
/*
 * Structured exceptions for memory: raised ones and faults, filters that run before anything is unwound. Faults are in
 * functions of their own, where every compiler that knows these words guards them; what is only so here is in
 * test_exception_cairn.c.
 */
#include <windows.h>

#include <pthread.h>
#include <stdbool.h>
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

static int look_elsewhere(void)
{
    return guarded_read(nowhere) == -2 ? EXCEPTION_CONTINUE_EXECUTION : EXCEPTION_EXECUTE_HANDLER;
}

START_TEST(execution_continues_after_a_filter_that_faulted_itself)
{
    char *base = VirtualAlloc(NULL, 65536, MEM_RESERVE, PAGE_READWRITE);
    for (volatile int i = 0; i < 10; i++) {
        __try {
            ck_assert_int_eq(load(base + i * 4096), 0);
            mark('b');
        } __except (VirtualAlloc(base + i * 4096, 1, MEM_COMMIT, PAGE_READWRITE), look_elsewhere()) {
            mark('X');
        }
    }
    ck_assert_str_eq(trail, "bbbbbbbbbb");
    ck_assert(VirtualFree(base, 0, MEM_RELEASE));
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

static volatile bool is_to_fault;

/* Elsewhere it may be asked about its own fault, too. */
static int filter_that_faults_once(void)
{
    if (is_to_fault) {
        is_to_fault = false;
        store_nowhere();
    }
    return EXCEPTION_CONTINUE_SEARCH;
}

START_TEST(a_filter_that_faults_is_caught_farther_out)
{
    for (volatile int i = 0; i < 20; i++) {
        is_to_fault = true;
        __try {
            __try {
                __try {
                    RaiseException(1, 0, 0, NULL);
                } __finally {
                    mark(AbnormalTermination() ? 't' : 'X');
                }
            } __except (filter_that_faults_once()) {
                mark('X');
            }
        } __except (GetExceptionCode() == EXCEPTION_ACCESS_VIOLATION) {
            mark('h');
        }
    }
    ck_assert_uint_eq(strlen(trail), 40);
    ck_assert_int_eq(strncmp(trail, "thth", 4), 0);
}
END_TEST

static void clean_up(char letter)
{
    __try {
        store_nowhere();
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        mark(letter);
    }
}

START_TEST(a_termination_block_handles_an_exception_of_its_own)
{
    __try {
        __try {
            __try {
                RaiseException(1, 0, 0, NULL);
            } __finally {
                clean_up('a');
                __try {
                    RaiseException(2, 0, 0, NULL);
                } __except (EXCEPTION_EXECUTE_HANDLER) {
                    mark('b');
                }
            }
        } __finally {
            clean_up('c');
        }
    } __except (GetExceptionCode() == 1) {
        clean_up('d');
        mark('h');
    }
    ck_assert_str_eq(trail, "abcdh");
}
END_TEST

START_TEST(a_termination_block_may_raise_to_the_next)
{
    volatile DWORD code = 0;
    __try {
        __try {
            __try {
                RaiseException(1, 0, 0, NULL);
            } __finally {
                RaiseException(2, 0, 0, NULL);
            }
        } __finally {
            mark('t');
        }
    } __except (code = GetExceptionCode(), EXCEPTION_EXECUTE_HANDLER) {
        mark('h');
    }
    ck_assert_str_eq(trail, "th");
    ck_assert_uint_eq(code, 2);
}
END_TEST

/* What is counted in a frame between the guard and the fault. */
struct growth {
    char *volatile base;
    volatile int pages;
};
static struct growth *volatile growth;

static int count_and_commit(EXCEPTION_POINTERS *pointers)
{
    EXCEPTION_RECORD *record = pointers->ExceptionRecord;
    char *address = (char *)record->ExceptionInformation[1];
    if (record->ExceptionCode != EXCEPTION_ACCESS_VIOLATION || address - growth->base != growth->pages * 65536)
        return EXCEPTION_CONTINUE_SEARCH;
    growth->pages++;
    return VirtualAlloc(address, 1, MEM_COMMIT, PAGE_READWRITE) != NULL ? EXCEPTION_CONTINUE_EXECUTION
                                                                        : EXCEPTION_EXECUTE_HANDLER;
}

__attribute__((noinline)) static void store(char *address)
{
    *(volatile char *)address = 1;
}

__attribute__((noinline)) static int grow(char *base)
{
    struct growth here;
    here.base = base;
    here.pages = 0;
    growth = &here;
    for (int i = 0; i < 16; i++)
        store(base + (size_t)i * 65536);
    growth = NULL;
    return here.pages;
}

START_TEST(a_filter_has_the_frames_between_guard_and_fault)
{
    char *base = VirtualAlloc(NULL, 1 << 20, MEM_RESERVE, PAGE_READWRITE);
    volatile int pages = 0;
    __try {
        pages = grow(base);
    } __except (count_and_commit(GetExceptionInformation())) {
        mark('X');
    }
    ck_assert_int_eq(pages, 16);
    ck_assert_str_eq(trail, "");
    ck_assert(VirtualFree(base, 0, MEM_RELEASE));
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
    volatile int result = 0;
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

enum way { WAY_END, WAY_LEAVE, WAY_BREAK, WAY_CONTINUE, WAY_RETURN, WAY_GOTO };

struct leaving {
    enum way way;
    int result;
    const char *trail;
};

static void leave_each_way(int (*go)(enum way way), const struct leaving *ways, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        begin();
        int result = go(ways[i].way);
        ck_assert_int_eq(result, ways[i].result);
        ck_assert_str_eq(trail, ways[i].trail);
    }
}

/* Leaves the inner of two blocks, in a loop, in some way; returns how often it went round, or 100 from within. */
static int go(enum way way)
{
    volatile int round = 0;
    while (round < 3) {
        round = round + 1;
        __try {
            __try {
                if (way == WAY_LEAVE)
                    __leave;
                if (way == WAY_BREAK)
                    break;
                if (way == WAY_CONTINUE)
                    continue;
                if (way == WAY_RETURN)
                    return 100 + round;
                if (way == WAY_GOTO)
                    goto out;
                mark('e');
            } __finally {
                mark(AbnormalTermination() ? 'A' : 'n');
            }
            mark('o');
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            mark('X');
        }
        mark('l');
    }
    mark('w');
out:
    return round;
}

START_TEST(a_termination_block_runs_however_its_block_is_left)
{
    static const struct leaving ways[] = {
        {WAY_END, 3, "enolenolenolw"}, {WAY_LEAVE, 3, "nolnolnolw"}, {WAY_BREAK, 1, "Aw"},
        {WAY_CONTINUE, 3, "AAAw"},     {WAY_RETURN, 101, "A"},       {WAY_GOTO, 1, "A"},
    };
    leave_each_way(go, ways, COUNT(ways));
    begin();
    __try { /* no guard of before is in the way */
        RaiseException(3, 0, 0, NULL);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        mark('h');
    }
    ck_assert_str_eq(trail, "h");
}
END_TEST

/* The same of a handler, whose block raises. */
static int handle_by(enum way way)
{
    volatile int round = 0;
    while (round < 3) {
        round = round + 1;
        __try {
            __try {
                RaiseException(1, 0, 0, NULL);
            } __except (EXCEPTION_EXECUTE_HANDLER) {
                if (way == WAY_LEAVE)
                    __leave; /* the outer block */
                if (way == WAY_BREAK)
                    break;
                if (way == WAY_CONTINUE)
                    continue;
                if (way == WAY_RETURN)
                    return 100 + round;
                if (way == WAY_GOTO)
                    goto out;
                mark('e');
            }
            mark('o');
        } __finally {
            mark(AbnormalTermination() ? 'A' : 'n');
        }
        mark('l');
    }
    mark('w');
out:
    return round;
}

START_TEST(a_handler_is_left_as_any_block)
{
    static const struct leaving ways[] = {
        {WAY_END, 3, "eonleonleonlw"}, {WAY_LEAVE, 3, "nlnlnlw"}, {WAY_BREAK, 1, "Aw"},
        {WAY_CONTINUE, 3, "AAAw"},     {WAY_RETURN, 101, "A"},    {WAY_GOTO, 1, "A"},
    };
    leave_each_way(handle_by, ways, COUNT(ways));
}
END_TEST

/* One statement: the else is that of the if before it. */
static void guard_if(bool is_so)
{
    if (is_so) // clang-format off
        __try {
            mark('b');
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            mark('X');
        }
    else // clang-format on
        mark('e');
}

static void guard_in_switch(int which)
{
    switch (which) {
    case 1:
        __try {
            RaiseException(1, 0, 0, NULL);
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            mark('1');
            break;
        }
        mark('X');
        break;
    default:
        __try {
            mark('d');
            break;
        } __finally {
            mark('t');
        }
        mark('X');
    }
}

START_TEST(a_guarded_statement_is_one_statement)
{
    guard_if(true);
    guard_if(false);
    guard_in_switch(1);
    guard_in_switch(2);
    ck_assert_str_eq(trail, "be1dt");
}
END_TEST

static int use_stack(volatile char *outer, int depth)
{
    volatile char room[1000] = {0};
    room[depth % 1000] = (char)depth;
    return depth < 0 ? 0 : use_stack(room, depth + 1) + room[depth % 1000] + outer[0];
}

static void *overflow(void *arg)
{
    volatile char outer[1] = {0};
    memset(&noted, 0, sizeof noted);
    __try {
        __try {
            (void)use_stack(outer, 1);
            mark('X');
        } __finally {
            mark('t');
        }
    } __except (take(GetExceptionInformation())) {
        mark('h');
    }
    return noted.ExceptionCode == EXCEPTION_STACK_OVERFLOW ? NULL : arg;
}

START_TEST(a_stack_that_overflows_is_an_exception)
{
    ck_assert_ptr_null(overflow(trail));
    ck_assert_str_eq(trail, "th");
}
END_TEST

START_TEST(each_threads_stack_is_watched)
{
    pthread_t thread;
    void *failed;
    ck_assert_int_eq(pthread_create(&thread, NULL, overflow, trail), 0);
    ck_assert_int_eq(pthread_join(thread, &failed), 0);
    ck_assert_ptr_null(failed);
    ck_assert_str_eq(trail, "th");
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
    tcase_add_test(tests, execution_continues_after_a_filter_that_faulted_itself);
    tcase_add_test(tests, memory_is_committed_at_the_fault);
    tcase_add_test(tests, a_filter_may_fault_itself);
    tcase_add_test(tests, a_filter_that_faults_is_caught_farther_out);
    tcase_add_test(tests, a_filter_has_the_frames_between_guard_and_fault);
    tcase_add_test(tests, a_termination_block_handles_an_exception_of_its_own);
    tcase_add_test(tests, a_termination_block_may_raise_to_the_next);
    tcase_add_test(tests, a_handler_may_raise_to_the_next);
    tcase_add_test(tests, a_block_is_left_from_within_loops);
    tcase_add_test(tests, a_termination_block_runs_however_its_block_is_left);
    tcase_add_test(tests, a_handler_is_left_as_any_block);
    tcase_add_test(tests, a_guarded_statement_is_one_statement);
    tcase_add_test(tests, a_stack_that_overflows_is_an_exception);
    tcase_add_test(tests, each_threads_stack_is_watched);
    tcase_add_test(tests, heaps_raise_what_they_cannot_give);
    tcase_add_test(tests, no_heap_raises_an_access_violation);
    tcase_add_test(tests, each_thread_has_its_own);
    return suite_run(suite);
}
