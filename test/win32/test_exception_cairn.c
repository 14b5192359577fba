/* SPDX-License-Identifier: MIT */
/* Structured exceptions and signals: what no filter takes goes on to the program's own handlers, or ends it. A fault
 * stands in the guarded block itself. */
#include <windows.h>

#include <cairn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>

#include "claims.h"

static volatile char *volatile nowhere = (char *)64; /* no address of a block */

START_TEST(a_fault_in_the_block_itself_is_caught)
{
    for (volatile int i = 0; i < 10; i++) {
        volatile DWORD code = 0;
        volatile ULONG_PTR address = 0;
        __try {
            *nowhere = 1;
        } __except (address = GetExceptionInformation()->ExceptionRecord->ExceptionInformation[1],
                    EXCEPTION_EXECUTE_HANDLER) {
            code = GetExceptionCode();
        }
        ck_assert_uint_eq(code, EXCEPTION_ACCESS_VIOLATION);
        ck_assert_uint_eq(address, (ULONG_PTR)nowhere);
    }
}
END_TEST

static void guard(void)
{
    char byte;
    ck_assert_int_eq(cairn_guard_copy(&byte, (const void *)(uintptr_t)nowhere, 1), -EFAULT);
}

/* A filter that needs a stack of its own: it overwrites what lies below the block. */
__attribute__((noinline)) static int overwrite(void)
{
    volatile char deep[20000];
    for (size_t i = 0; i < sizeof deep; i++)
        deep[i] = 0x5a;
    return EXCEPTION_EXECUTE_HANDLER;
}

static void block(void)
{
    volatile DWORD code = 0;
    __try {
        *nowhere = 1;
    } __except (overwrite()) {
        code = GetExceptionCode();
    }
    ck_assert_uint_eq(code, EXCEPTION_ACCESS_VIOLATION);
}

/* Whichever had the process's handler first. */
START_TEST(a_guard_and_a_block_take_turns)
{
    for (int i = 0; i < 20; i++) {
        if (i > 0 || _i == 0)
            guard();
        block();
    }
}
END_TEST

static int status_of(void (*part)(void))
{
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        part();
        _exit(3);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

static void raise_unguarded(void)
{
    (void)signal(SIGABRT, SIG_DFL);
    RaiseException(STATUS_NO_MEMORY, 0, 0, NULL);
}

static void raise_refused(void)
{
    (void)signal(SIGABRT, SIG_DFL);
    __try {
        RaiseException(STATUS_NO_MEMORY, 0, 0, NULL);
    } __except (EXCEPTION_CONTINUE_SEARCH) {
        _exit(4);
    }
}

static void raise_noncontinuable(void)
{
    (void)signal(SIGABRT, SIG_DFL);
    __try {
        RaiseException(1, EXCEPTION_NONCONTINUABLE, 0, NULL);
    } __except (EXCEPTION_CONTINUE_EXECUTION) {
        _exit(4);
    }
}

static void fault_refused(void)
{
    (void)signal(SIGSEGV, SIG_DFL);
    __try {
        *nowhere = 1;
    } __except (EXCEPTION_CONTINUE_SEARCH) {
        _exit(4);
    }
}

static void sent_and_ignored(void)
{
    (void)signal(SIGSEGV, SIG_IGN);
    __try {
        (void)raise(SIGSEGV);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        _exit(4);
    }
    _exit(5);
}

static void own_handler(int number)
{
    _exit(number == SIGSEGV ? 77 : 1);
}

static void fault_with_a_handler(void)
{
    (void)signal(SIGSEGV, own_handler);
    __try {
        (void)signal(SIGUSR1, SIG_IGN);
    } __finally {
    }
    *nowhere = 1; /* outside of any guard */
}

START_TEST(what_nobody_takes_goes_on_to_the_program)
{
    int status = status_of(raise_unguarded);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = status_of(raise_refused);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = status_of(raise_noncontinuable);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = status_of(fault_refused);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    status = status_of(sent_and_ignored);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 5);
    status = status_of(fault_with_a_handler);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 77);
}
END_TEST

/* ---------------------------------------------------------------- a handler of the program's that does not return */

static sigjmp_buf before_fault;

static void leave_handler(int number)
{
    siglongjmp(before_fault, number);
}

static int commit(EXCEPTION_POINTERS *pointers)
{
    void *address = (void *)pointers->ExceptionRecord->ExceptionInformation[1];
    (void)overwrite();
    return VirtualAlloc(address, 1, MEM_COMMIT, PAGE_READWRITE) != NULL ? EXCEPTION_CONTINUE_EXECUTION
                                                                        : EXCEPTION_EXECUTE_HANDLER;
}

/* What it keeps on its stack is there after the faults. */
__attribute__((noinline)) static int store_pages(volatile char *base)
{
    volatile int kept[20];
    for (int i = 0; i < 20; i++)
        kept[i] = i;
    for (size_t i = 0; i < 16; i++)
        base[i * 4096] = 1;
    int sum = 0;
    for (int i = 0; i < 20; i++)
        sum += kept[i];
    return sum;
}

static int store_guarded(void)
{
    volatile int sum = 0;
    char *base = VirtualAlloc(NULL, 65536, MEM_RESERVE, PAGE_READWRITE);
    __try {
        sum = store_pages(base);
    } __except (commit(GetExceptionInformation())) {
        sum = -1;
    }
    ck_assert(VirtualFree(base, 0, MEM_RELEASE));
    return sum;
}

START_TEST(a_handler_of_the_programs_may_leave_by_a_jump)
{
    (void)signal(SIGSEGV, leave_handler);
    ck_assert_int_eq(store_guarded(), 190);
    for (volatile int i = 0; i < 10; i++) {
        if (sigsetjmp(before_fault, 1) == 0) {
            *nowhere = 1;
            ck_abort_msg("no fault");
        }
        ck_assert_int_eq(store_guarded(), 190);
        block();
    }
}
END_TEST

static volatile int times_asked;

static int always_fault(void)
{
    times_asked++;
    *nowhere = 1;
    return EXCEPTION_EXECUTE_HANDLER;
}

START_TEST(a_filter_is_not_asked_about_its_own_fault)
{
    volatile DWORD code = 0;
    __try {
        __try {
            RaiseException(1, 0, 0, NULL);
        } __except (always_fault()) {
            ck_abort_msg("it has not answered");
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        code = GetExceptionCode();
    }
    ck_assert_uint_eq(code, EXCEPTION_ACCESS_VIOLATION);
    ck_assert_int_eq(times_asked, 1);
}
END_TEST

/* ---------------------------------------------------------------- overflowing stacks */

__attribute__((noinline)) static int use_stack(volatile char *outer, int depth)
{
    volatile char room[1000] = {0};
    room[depth % 1000] = (char)depth;
    return depth < 0 ? 0 : use_stack(room, depth + 1) + room[depth % 1000] + outer[0];
}

static void *in_thread(void *(*function)(void *arg), size_t stack_bytes)
{
    pthread_t thread;
    pthread_attr_t attributes;
    void *result;
    ck_assert_int_eq(pthread_attr_init(&attributes), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&attributes, stack_bytes), 0);
    ck_assert_int_eq(pthread_create(&thread, &attributes, function, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_int_eq(pthread_attr_destroy(&attributes), 0);
    return result;
}

/* A filter may use stack of its own, and faults there are exceptions, too. */
static int is_overflow(EXCEPTION_POINTERS *pointers)
{
    volatile char room[64 << 10];
    room[0] = 1;
    block();
    return room[0] == 1 && pointers->ExceptionRecord->ExceptionCode == EXCEPTION_STACK_OVERFLOW;
}

static void *overflow_often(void *unused)
{
    (void)unused;
    volatile char outer[1] = {0};
    volatile intptr_t count = 0;
    for (volatile int i = 0; i < 20; i++) {
        __try {
            (void)use_stack(outer, 1);
        } __except (is_overflow(GetExceptionInformation())) {
            count = count + (GetExceptionCode() == EXCEPTION_STACK_OVERFLOW);
        }
        block();
    }
    return (void *)count;
}

START_TEST(a_stack_overflows_again_and_again)
{
    ck_assert_ptr_eq(overflow_often(NULL), (void *)20);
    ck_assert_ptr_eq(in_thread(overflow_often, 256 << 10), (void *)20);
    ck_assert_ptr_eq(in_thread(overflow_often, 8 << 20), (void *)20);
}
END_TEST

static void *overflow_refused(void *unused)
{
    (void)unused;
    volatile char outer[1] = {0};
    __try {
        (void)use_stack(outer, 1);
    } __except (EXCEPTION_CONTINUE_SEARCH) {
        _exit(4);
    }
    return NULL;
}

static void *overflow_unguarded(void *unused)
{
    (void)unused;
    volatile char outer[1] = {0};
    block();
    (void)use_stack(outer, 1);
    return NULL;
}

/* The filter overflows what is kept for it. */
static int overflow_more(void)
{
    volatile char outer[1] = {0};
    return use_stack(outer, 1);
}

static void *overflow_in_filter(void *unused)
{
    (void)unused;
    volatile char outer[1] = {0};
    __try {
        (void)use_stack(outer, 1);
    } __except (overflow_more()) {
        _exit(4);
    }
    return NULL;
}

START_TEST(an_overflow_that_nobody_takes_ends_the_process_soon)
{
    void *(*const ways[])(void *) = {overflow_refused, overflow_unguarded, overflow_in_filter};
    for (size_t i = 0; i < 2 * COUNT(ways); i++) {
        pid_t child = fork();
        if (child == 0) {
            close(STDERR_FILENO);
            (void)signal(SIGSEGV, SIG_DFL);
            _exit(i % 2 == 0 ? (ways[i / 2](NULL), 3) : (in_thread(ways[i / 2], 1 << 20), 3));
        }
        int status;
        struct rusage usage;
        ck_assert_int_eq(wait4(child, &status, 0, &usage), child);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
        if (!UNDER_SANITIZER)
            ck_assert_int_lt(usage.ru_maxrss, 64 << 10); /* KiB */
    }
}
END_TEST

static void ignore(int number)
{
    (void)number;
}

/* Raises a signal where the stack has no room for it. */
__attribute__((noinline)) static int raise_at_the_end(const char *low)
{
    volatile char room[64];
    room[0] = 1;
    if ((uintptr_t)room - (uintptr_t)low > 1200)
        return raise_at_the_end(low) + room[0];
    return raise(SIGUSR1);
}

static void *signal_without_room(void *unused)
{
    (void)unused;
    volatile intptr_t code = 0;
    (void)raise(SIGUSR1); /* the function is found now, which takes stack */
    pthread_attr_t attributes;
    void *low;
    size_t bytes;
    ck_assert_int_eq(pthread_getattr_np(pthread_self(), &attributes), 0);
    ck_assert_int_eq(pthread_attr_getstack(&attributes, &low, &bytes), 0);
    ck_assert_int_eq(pthread_attr_destroy(&attributes), 0);
    __try {
        (void)raise_at_the_end(low);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        code = GetExceptionCode();
    }
    return (void *)code;
}

START_TEST(a_signal_without_room_overflows_the_stack)
{
    (void)signal(SIGUSR1, ignore);
    ck_assert_ptr_eq(in_thread(signal_without_room, 256 << 10), (void *)(uintptr_t)EXCEPTION_STACK_OVERFLOW);
}
END_TEST

/* ---------------------------------------------------------------- stacks of the program's own */

START_TEST(a_signal_stack_of_the_programs_own_will_do)
{
    static char memory[128 << 10];
    stack_t before, own = {.ss_sp = memory, .ss_size = sizeof memory, .ss_flags = _i == 0 ? 0 : (int)(1U << 31)};
    block();
    ck_assert_int_eq(sigaltstack(&own, &before), 0);
    ck_assert_ptr_eq(overflow_often(NULL), (void *)20);
    ck_assert_int_eq(store_guarded(), 190);
    ck_assert_int_eq(sigaltstack(&before, NULL), 0);
}
END_TEST

static ucontext_t starting, other;
static volatile int other_result;

static void on_other_stack(void)
{
    volatile char outer[1] = {0};
    other_result = store_guarded();
    block();
    __try {
        (void)use_stack(outer, 1);
    } __except (GetExceptionCode() == EXCEPTION_ACCESS_VIOLATION) {
        other_result = other_result + 1000;
    }
}

START_TEST(blocks_are_guarded_on_a_stack_that_the_program_switched_to)
{
    enum { GUARD = 65536, BYTES = 1 << 20 };
    char *stack = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(stack, MAP_FAILED);
    ck_assert_int_eq(mprotect(stack, GUARD, PROT_NONE), 0);
    block();
    ck_assert_int_eq(getcontext(&other), 0);
    other.uc_stack = (stack_t){.ss_sp = stack + GUARD, .ss_size = BYTES - GUARD};
    other.uc_link = &starting;
    makecontext(&other, on_other_stack, 0);
    ck_assert_int_eq(swapcontext(&starting, &other), 0);
    ck_assert_int_eq(other_result, 1190);
    block();
    ck_assert_int_eq(munmap(stack, BYTES), 0);
}
END_TEST

/* ---------------------------------------------------------------- what a handler is told */

static int raise_in(int depth)
{
    volatile int wrong = 0;
    __try {
        RaiseException((DWORD)depth, 0, 0, NULL);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        __try {
            wrong = wrong + (GetExceptionCode() != (DWORD)depth); /* of the handler that is around */
            RaiseException(1000, 0, 0, NULL);
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            wrong = wrong + (GetExceptionCode() != 1000);
        }
        if (depth > 1)
            wrong = wrong + raise_in(depth - 1);
        wrong = wrong + (GetExceptionCode() != (DWORD)depth);
    }
    return wrong;
}

START_TEST(each_handler_has_its_own_code)
{
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(raise_in(UNDER_SANITIZER ? 100 : 2000), 0);
}
END_TEST

/* Its guard is asked about another one in between. */
START_TEST(a_handler_has_the_code_of_what_it_took)
{
    volatile DWORD code = 0;
    __try {
        __try {
            RaiseException(4, 0, 0, NULL);
        } __finally {
            RaiseException(2, 0, 0, NULL);
        }
    } __except (GetExceptionCode() == 4 ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_EXECUTION) {
        code = GetExceptionCode();
    }
    ck_assert_uint_eq(code, 4);
}
END_TEST

/* ---------------------------------------------------------------- guards that a longjmp left */

static jmp_buf outside;

static void jump_out(int depth)
{
    __try {
        if (depth > 0)
            jump_out(depth - 1);
        else
            longjmp(outside, 1);
    } __finally {
        ck_abort_msg("a termination block ran");
    }
}

START_TEST(a_guard_that_was_left_by_longjmp_is_none)
{
    for (volatile int i = 0; i < 10; i++) {
        volatile DWORD code = 0;
        if (setjmp(outside) == 0)
            jump_out(i);
        __try {
            RaiseException(5, 0, 0, NULL);
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            code = GetExceptionCode();
        }
        ck_assert_uint_eq(code, 5);
        __try {
            if (setjmp(outside) == 0)
                jump_out(i);
            __try {
                code = 0;
            } __finally {
                RaiseException(6, 0, 0, NULL);
            }
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            code = GetExceptionCode();
        }
        ck_assert_uint_eq(code, 6);
    }
}
END_TEST

static int asked_wrongly, times_to_leave;

static int ask_wrongly(void)
{
    asked_wrongly++;
    return EXCEPTION_EXECUTE_HANDLER;
}

/* The function that is left is the one that goes on: its next blocks lie where the left ones lay. */
static void leave_own_blocks(void)
{
    volatile BOOL entered = FALSE;
    for (; times_to_leave > 0; times_to_leave--)
        if (setjmp(outside) == 0) {
            __try {
                longjmp(outside, 1);
            } __except (ask_wrongly()) {
            }
        }
    __try {
        if (setjmp(outside) == 0) {
            __try {
                __try {
                    longjmp(outside, 1);
                } __except (ask_wrongly()) {
                }
            } __finally {
                asked_wrongly++;
            }
        }
        __try {
            entered = TRUE;
        } __except (ask_wrongly()) {
        }
        RaiseException(9, 0, 0, NULL);
    } __except (GetExceptionCode() == 9 ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_SEARCH) {
        asked_wrongly += !entered;
    }
}

/* The same place on the stack again, but not the same stack pointer. */
static void leave_while_the_stack_grows(void)
{
    for (; times_to_leave > 0; times_to_leave--) {
        volatile char *room = alloca(100);
        room[0] = 1;
        if (setjmp(outside) == 0) {
            __try {
                if (times_to_leave == 1)
                    RaiseException(8, 0, 0, NULL);
                longjmp(outside, 1);
            } __except (EXCEPTION_CONTINUE_SEARCH) {
            }
        }
    }
}

START_TEST(a_function_may_leave_its_own_blocks_by_longjmp)
{
    for (volatile int times = 0; times < 4; times++) {
        volatile DWORD code = 0;
        __try {
            times_to_leave = times;
            leave_own_blocks();
            RaiseException(7, 0, 0, NULL);
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            code = GetExceptionCode();
        }
        ck_assert_uint_eq(code, 7);
        __try {
            times_to_leave = times;
            leave_while_the_stack_grows();
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            code = GetExceptionCode();
        }
        ck_assert_uint_eq(code, times > 0 ? 8 : 7);
    }
    ck_assert_int_eq(asked_wrongly, 0);
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
    Suite *suite = suite_create("win32 exceptions and signals");
    TCase *tests = suite_case(suite, "exceptions", 60);
    tcase_add_test(tests, a_fault_in_the_block_itself_is_caught);
    tcase_add_loop_test(tests, a_guard_and_a_block_take_turns, 0, 2);
    tcase_add_test(tests, what_nobody_takes_goes_on_to_the_program);
    tcase_add_test(tests, a_handler_of_the_programs_may_leave_by_a_jump);
    tcase_add_test(tests, a_filter_is_not_asked_about_its_own_fault);
    tcase_add_test(tests, a_stack_overflows_again_and_again);
    tcase_add_test(tests, an_overflow_that_nobody_takes_ends_the_process_soon);
    tcase_add_test(tests, a_signal_without_room_overflows_the_stack);
    tcase_add_loop_test(tests, a_signal_stack_of_the_programs_own_will_do, 0, 2);
    tcase_add_test(tests, blocks_are_guarded_on_a_stack_that_the_program_switched_to);
    tcase_add_test(tests, each_handler_has_its_own_code);
    tcase_add_test(tests, a_handler_has_the_code_of_what_it_took);
    tcase_add_test(tests, a_guard_that_was_left_by_longjmp_is_none);
    tcase_add_test(tests, a_function_may_leave_its_own_blocks_by_longjmp);
    return suite_run(suite);
}
