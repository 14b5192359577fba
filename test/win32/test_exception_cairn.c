/* SPDX-License-Identifier: MIT */
/* Structured exceptions and signals: what no filter takes goes on to the program's own handlers, or ends it. A fault
 * stands in the guarded block itself. */
#include <windows.h>

#include <cairn.h>
#include <errno.h>
#include <signal.h>

#include "claims.h"

static volatile char *volatile nowhere = (char *)64; /* no address of a block */

START_TEST(a_fault_in_the_block_itself_is_caught)
{
    for (volatile int i = 0; i < 10; i++) {
        volatile DWORD code = 0;
        volatile ULONG_PTR address = 0;
        __try {
            *nowhere = 1;
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            code = GetExceptionCode();
            address = GetExceptionInformation()->ExceptionRecord->ExceptionInformation[1];
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
    return suite_run(suite);
}
