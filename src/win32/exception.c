/* SPDX-License-Identifier: MIT */
/*
 * Structured exceptions for memory.
 *
 * Each guard is a frame on the stack of the function that guards; a thread's frames are a list, the innermost first. An
 * exception is dispatched on a stack of its own: the alternate signal stack. To ask a filter, the dispatcher jumps into
 * the guarding function, at the stack pointer of its guard. The filter's calls then overwrite what lies below: the
 * frames between the guard and the fault, which EXCEPTION_CONTINUE_EXECUTION wants back. So that piece of the stack is
 * saved before and put back after.
 *
 *      high   | function that guards |
 *     guard > |----------------------|  <- saved from here ...
 *             | what it called       |
 *     fault > |----------------------|  <- ... to here (and the red zone below)
 *             | free: the filter may |
 *      low    | go as deep as it likes
 *
 * RaiseException comes the same way: it sends its thread the signal that faults raise, with a record in hand.
 * When a filter takes the exception, the frames within it are unwound by jumps from one to the next outer; nothing of
 * the stack below is needed any more then.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/handler.h"
#include "win32/exception.h"
#include "win32/win32.h"

#define STACK_BYTES ((size_t)128 << 10)
#define DEPTH_MAX 8 /* exceptions in filters in filters */
#define RED_ZONE 128
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

/* One dispatch, in the frame of the signal handler. */
struct dispatch {
    struct dispatch *outer;
    jmp_buf place; /* where a filter's answer goes */
    int answer;
};

struct thread {
    struct cairn_seh_frame *top;
    struct cairn_seh_frame *target; /* while unwinding: who handles */
    struct dispatch *dispatch;      /* that waits for a filter */
    EXCEPTION_RECORD raised;        /* by RaiseException */
    bool is_raised;                 /* raised is on its way to the handler */
    bool is_ready;                  /* this thread has its stacks */
    unsigned depth;                 /* dispatches under way */
    unsigned char *stacks;          /* DEPTH_MAX of them */
};

static _Thread_local struct thread self;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static struct sigaction before_segv, before_bus;
static bool (*_Atomic hole_handler)(uintptr_t address, bool writes);

/* ---------------------------------------------------------------- stacks */

static void arm(unsigned depth)
{
    const stack_t stack = {
        .ss_sp = self.stacks + depth * STACK_BYTES, .ss_size = STACK_BYTES, .ss_flags = (int)SS_AUTODISARM};
    (void)sigaltstack(&stack, NULL);
}

static void end_thread(void *stacks)
{
    const stack_t none = {.ss_flags = SS_DISABLE};
    (void)sigaltstack(&none, NULL);
    (void)munmap(stacks, DEPTH_MAX * STACK_BYTES);
    self.is_ready = false;
}

static void handle(int number, siginfo_t *info, void *arg);

static void install(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    action.sa_sigaction = handle;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGSEGV, &action, &before_segv);
    (void)sigaction(SIGBUS, &action, &before_bus);
    (void)pthread_key_create(&key, end_thread);
}

static bool make_ready(void)
{
    (void)pthread_once(&once, install);
    if (self.is_ready)
        return true;
    void *stacks = mmap(NULL, DEPTH_MAX * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stacks == MAP_FAILED)
        return false;
    self.stacks = stacks;
    self.is_ready = true;
    (void)pthread_setspecific(key, stacks);
    arm(0);
    return true;
}

void exception_watch_holes(bool (*handler)(uintptr_t address, bool writes))
{
    (void)pthread_once(&once, install);
    store_release(&hole_handler, handler);
}

/* ---------------------------------------------------------------- frames */

CAIRN_WIN32_API void cairn_seh_enter(struct cairn_seh_frame *frame)
{
    if (!make_ready()) {
        static const char text[] = "cairn-win32: no memory for the stack of exceptions\n";
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        abort();
    }
    frame->pointers = (EXCEPTION_POINTERS){.ExceptionRecord = &frame->record, .ContextRecord = &frame->context};
    frame->outer = self.top;
    frame->phase = CAIRN_SEH_BODY;
    self.top = frame;
}

static void leave(struct cairn_seh_frame *frame)
{
    if (self.top == frame)
        self.top = frame->outer;
}

/* Runs the termination blocks from the innermost frame up to the one that handles, then its handler. */
static void unwind(void) __attribute__((noreturn));
static void unwind(void)
{
    struct cairn_seh_frame *frame = self.top;
    self.top = frame->outer;
    frame->phase = frame == self.target ? CAIRN_SEH_HANDLE : CAIRN_SEH_UNWIND;
    _longjmp(frame->place, 1);
}

CAIRN_WIN32_API BOOL cairn_seh_again(struct cairn_seh_frame *frame)
{
    switch (frame->phase) {
    case CAIRN_SEH_FRESH:
        return TRUE;
    case CAIRN_SEH_BODY:
        leave(frame);
        frame->phase = CAIRN_SEH_LEFT;
        return TRUE;
    case CAIRN_SEH_UNWIND:
        unwind();
    default:
        return FALSE;
    }
}

CAIRN_WIN32_API void cairn_seh_end(struct cairn_seh_frame *frame)
{
    if (frame->phase == CAIRN_SEH_BODY)
        leave(frame);
}

CAIRN_WIN32_API void cairn_seh_decide(struct cairn_seh_frame *frame, int answer)
{
    (void)frame;
    self.dispatch->answer = answer;
    _longjmp(self.dispatch->place, 1);
}

/* ---------------------------------------------------------------- dispatching */

static uintptr_t stack_pointer(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    return (uintptr_t)context->uc_mcontext.sp;
#else
    (void)context;
    return 0;
#endif
}

static uintptr_t program_counter(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)context->uc_mcontext.pc;
#else
    (void)context;
    return 0;
#endif
}

/* 0 a read, 1 a write, 8 an instruction; 0 where the system does not tell. */
static ULONG_PTR kind_of_access(const ucontext_t *context)
{
#if defined(__x86_64__)
    unsigned long error = (unsigned long)context->uc_mcontext.gregs[REG_ERR];
    return error & 16 ? 8 : error & 2 ? 1 : 0;
#else
    (void)context;
    return 0;
#endif
}

static void describe_fault(EXCEPTION_RECORD *record, int number, const siginfo_t *info, const ucontext_t *context)
{
    *record = (EXCEPTION_RECORD){
        .ExceptionCode = number == SIGBUS ? STATUS_IN_PAGE_ERROR : STATUS_ACCESS_VIOLATION,
        .ExceptionAddress = (PVOID)program_counter(context),
        .NumberParameters = 2,
        .ExceptionInformation = {kind_of_access(context), (ULONG_PTR)info->si_addr},
    };
}

/* Asks one frame's filter. On the handler's own stack, as is all that is local here. */
static int ask(struct cairn_seh_frame *frame, const EXCEPTION_RECORD *record, void *context)
{
    struct dispatch dispatch = {.outer = self.dispatch};
    struct cairn_seh_frame *const top = self.top;
    self.dispatch = &dispatch;
    frame->record = *record;
    frame->context = (CONTEXT){.CairnContext = context};
    frame->phase = CAIRN_SEH_FILTER;
    self.top = frame->outer; /* exceptions in the filter are for others */
    if (_setjmp(dispatch.place) == 0)
        _longjmp(frame->place, 1);
    self.top = top;
    self.dispatch = dispatch.outer;
    frame->phase = CAIRN_SEH_BODY;
    return dispatch.answer;
}

/* The stack between the fault and the outermost guard. */
struct saved {
    void *copy;
    uintptr_t from;
    size_t bytes;
};

/* A stack has places that AddressSanitizer lets nobody touch, also not memcpy. */
__attribute__((no_sanitize("address"))) static void copy_stack(void *to, const void *from, size_t bytes)
{
    volatile unsigned char *t = to;
    const volatile unsigned char *f = from;
    while (bytes-- > 0)
        *t++ = *f++;
}

static bool save(struct saved *saved, const ucontext_t *context)
{
    uintptr_t upto = 0;
    for (const struct cairn_seh_frame *frame = self.top; frame != NULL; frame = frame->outer)
        if ((uintptr_t)frame->stack > upto)
            upto = (uintptr_t)frame->stack;
    *saved = (struct saved){.from = stack_pointer(context) - RED_ZONE};
    if (upto <= saved->from)
        return true;
    saved->bytes = upto - saved->from;
    saved->copy = mmap(NULL, saved->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (saved->copy == MAP_FAILED)
        return false;
    copy_stack(saved->copy, (void *)saved->from, saved->bytes);
    return true;
}

static void drop(const struct saved *saved)
{
    if (saved->bytes != 0)
        (void)munmap(saved->copy, saved->bytes);
}

/* What a filter left on the stack of the frames within it goes; what it changed in its own frame and outside stays. */
static void put_back(const struct saved *saved, const struct cairn_seh_frame *frame)
{
    if (saved->copy != NULL && (uintptr_t)frame->stack > saved->from)
        copy_stack((void *)saved->from, saved->copy, (uintptr_t)frame->stack - saved->from);
}

/* Returns true to go on where the exception was, false when nobody takes it; does not return when a handler does. */
static bool dispatch(const EXCEPTION_RECORD *record, ucontext_t *context, bool is_fault)
{
    struct saved saved;
    if (self.top == NULL || self.depth + 1 >= DEPTH_MAX || !save(&saved, context))
        return false;
    unsigned depth = self.depth++;
    arm(self.depth); /* filters run on the thread's own stack, and may fault */
    bool goes_on = false;
    for (struct cairn_seh_frame *frame = self.top; frame != NULL && !goes_on; frame = frame->outer) {
        int answer = ask(frame, record, is_fault ? context : NULL);
        if (answer > 0) {
            drop(&saved);
            self.depth = depth;
            arm(depth);
            self.target = frame;
            unwind();
        }
        put_back(&saved, frame);
        goes_on = answer < 0;
    }
    drop(&saved);
    self.depth = depth; /* the return from the signal arms the stack of before */
    return goes_on;
}

static void handle(int number, siginfo_t *info, void *arg)
{
    int error = errno;
    ucontext_t *context = arg;
    EXCEPTION_RECORD record;
    if (self.is_raised) {
        self.is_raised = false;
        record = self.raised;
        self.is_raised = !dispatch(&record, context, false); /* still: nobody took it */
        errno = error;
        return;
    }
    describe_fault(&record, number, info, context);
    bool (*holes)(uintptr_t, bool) = load_acquire(&hole_handler);
    bool is_fault = info->si_code > 0;
    if (is_fault && holes != NULL && holes((uintptr_t)info->si_addr, record.ExceptionInformation[0] == 1)) {
        errno = error;
        return;
    }
    if (!is_fault || !dispatch(&record, context, true))
        handler_hand_on(number == SIGBUS ? &before_bus : &before_segv, number, info, context);
    errno = error;
}

/* ---------------------------------------------------------------- raising */

static void die_of(DWORD code) __attribute__((noreturn));
static void die_of(DWORD code)
{
    char text[80];
    int length = snprintf(text, sizeof text, "cairn-win32: unhandled exception 0x%08X\n", code);
    (void)!write(STDERR_FILENO, text, (size_t)length);
    abort();
}

CAIRN_WIN32_API void WINAPI RaiseException(DWORD dwExceptionCode, DWORD dwExceptionFlags, DWORD nNumberOfArguments,
                                           const ULONG_PTR *lpArguments)
{
    if (self.top == NULL || !self.is_ready)
        die_of(dwExceptionCode);
    EXCEPTION_RECORD record = {
        .ExceptionCode = dwExceptionCode,
        .ExceptionFlags = dwExceptionFlags & EXCEPTION_NONCONTINUABLE,
        .ExceptionAddress = __builtin_return_address(0),
    };
    if (lpArguments != NULL) {
        record.NumberParameters =
            nNumberOfArguments < EXCEPTION_MAXIMUM_PARAMETERS ? nNumberOfArguments : EXCEPTION_MAXIMUM_PARAMETERS;
        memcpy(record.ExceptionInformation, lpArguments, record.NumberParameters * sizeof *lpArguments);
    }
    sigset_t segv, blocked;
    (void)sigemptyset(&segv);
    (void)sigaddset(&segv, SIGSEGV);
    (void)pthread_sigmask(SIG_UNBLOCK, &segv, &blocked);
    self.raised = record;
    self.is_raised = true;
    /* The C library promises the compiler that pthread_kill calls nothing here; it is wrong about signals. */
    __asm__ volatile("" ::: "memory");
    (void)pthread_kill(pthread_self(), SIGSEGV);
    __asm__ volatile("" ::: "memory");
    (void)pthread_sigmask(SIG_SETMASK, &blocked, NULL);
    bool nobody = self.is_raised;
    self.is_raised = false;
    if (nobody || (dwExceptionFlags & EXCEPTION_NONCONTINUABLE))
        die_of(dwExceptionCode);
}
