/* SPDX-License-Identifier: MIT */
/*
 * Structured exceptions for memory.
 *
 * Each guard is a frame in the function that guards; a thread's frames are a chain, the innermost first. An exception
 * is dispatched below the place where it happened, on the same stack, and so are its filters: to ask one, the
 * dispatcher goes to the mark of the guard with its own stack pointer. The frame pointer is the guarding function's, so
 * the filter has its variables, and nothing of the frames between is touched.
 *
 *      high   | function that guards    | <- frame pointer of the filter
 *             | what it called          |
 *     fault > |-------------------------|
 *             | what the signal brought |
 *             | dispatch                |
 *      low    | what the filter calls   | <- its stack pointer
 *
 * So exceptions in filters, in termination blocks and in handlers are nothing special: all that a dispatch knows is in
 * its own frame, on the stack and on the chain (ASKING). What an exception in a filter is not shown to are the guard
 * that is being asked and those within it; but it unwinds them.
 *
 * RaiseException dispatches in its caller's stack. A fault arrives by a signal on the alternate stack, because its own
 * may be at its end. The handler goes back to the stack of the fault before it asks anybody, with a copy of all that is
 * on the alternate one; so that is free for the next fault, and for a handler that never returns. To go on at the fault
 * the copy is put back, and the handler returns. Where a stack has no room left, the thread has a reserve.
 *
 * When a filter takes the exception, the frames within it are unwound by jumps from one to the next outer one; each
 * carries the target on. Nothing of the stack below is needed any more then.
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
#include "win32/jump.h"
#include "win32/win32.h"

#define PAGE_BYTES ((size_t)65536) /* no system has larger ones */
#define SIGNAL_BYTES ((size_t)128 << 10)
#define RESERVE_BYTES ((size_t)128 << 10)
#define ROOM ((size_t)24 << 10)     /* that a dispatch wants of a stack */
#define GAP_BYTES ((size_t)1 << 20) /* that the system keeps free below the first thread's stack */
#define RED_ZONE 128
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif
#define NOTES ((size_t)1 << 14)
#define LINKS ((size_t)1 << 17)
#define ARRIVAL 0 /* the site of what is told first: why control is at the mark */

/* What a handler or a termination block is told; site says which one of the function whose frame is base. */
struct note {
    void *base;
    unsigned site;
    struct cairn_seh_final final;
};

/* A frame of the chain, as it was entered. */
struct link {
    struct cairn_seh_frame *frame;
    const void *base;
    uintptr_t stack; /* of the call that entered it, less what is the same for all */
};

struct memory {
    unsigned char guard[PAGE_BYTES];
    unsigned char signals[SIGNAL_BYTES];
    unsigned char other_guard[PAGE_BYTES];
    unsigned char reserve[RESERVE_BYTES];
    struct note notes[NOTES];
    struct link links[LINKS];
};

struct thread {
    struct cairn_seh_frame *top;
    struct memory *memory; /* NULL: this thread has had no guard */
    stack_t before;        /* alternate stack */
    uintptr_t low, high;   /* its stack; both 0 when the system does not tell */
    size_t gap;            /* below the stack, where nothing is */
    size_t notes_end;      /* notes[0 ... notes_end) modulo NOTES */
    size_t links_end;      /* links[0 ... links_end) */
};

static _Thread_local struct thread self;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static struct sigaction before_segv, before_bus;
static bool (*_Atomic hole_handler)(uintptr_t address, bool writes);

/* Ends the program with one line. */
static void die(const char *line) __attribute__((noreturn));
static void die(const char *line)
{
    (void)!write(STDERR_FILENO, line, strlen(line));
    abort();
}

/* ---------------------------------------------------------------- threads */

static void end_thread(void *memory)
{
    (void)sigaltstack(&self.before, NULL);
    (void)munmap(memory, sizeof(struct memory));
    self.memory = NULL; /* another key's destructor may have a block */
    self.top = NULL;
    self.notes_end = self.links_end = 0;
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

static void learn_stack(void)
{
    pthread_attr_t attributes;
    void *low;
    size_t bytes, guard = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return;
    if (pthread_attr_getstack(&attributes, &low, &bytes) == 0) {
        (void)pthread_attr_getguardsize(&attributes, &guard);
        self.low = (uintptr_t)low;
        self.high = self.low + bytes;
        self.gap = getpid() == gettid() ? GAP_BYTES : guard;
    }
    (void)pthread_attr_destroy(&attributes);
}

static bool make_ready(void)
{
    (void)pthread_once(&once, install);
    struct memory *memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    (void)mprotect(memory->guard, sizeof memory->guard, PROT_NONE);
    (void)mprotect(memory->other_guard, sizeof memory->other_guard, PROT_NONE);
    learn_stack();
    self.memory = memory;
    (void)pthread_setspecific(key, memory);
    const stack_t stack = {.ss_sp = memory->signals, .ss_size = sizeof memory->signals};
    (void)sigaltstack(&stack, &self.before);
    return true;
}

void exception_watch_holes(bool (*handler)(uintptr_t address, bool writes))
{
    (void)pthread_once(&once, install);
    store_release(&hole_handler, handler);
}

static bool is_in(uintptr_t address, const void *from, size_t bytes)
{
    return address - (uintptr_t)from < bytes;
}

static bool is_in_reserve(uintptr_t address)
{
    return is_in(address, self.memory->reserve, sizeof self.memory->reserve);
}

/* Whether the function of an older frame has gone, as a newer one lies above it on the same stack: a longjmp left it.
 */
static bool is_gone(const void *older, const void *newer)
{
    uintptr_t old = (uintptr_t)older, new = (uintptr_t)newer;
    bool are_on_one_stack =
        (is_in(old, (void *)self.low, self.high - self.low) && is_in(new, (void *)self.low, self.high - self.low)) ||
        (is_in_reserve(old) && is_in_reserve(new));
    return are_on_one_stack && old < new;
}

/* ---------------------------------------------------------------- links */

/*
 * What is known of each frame on the chain lies here, too, in the same order. For a frame that a longjmp left may have
 * been written over, by the next guard of its function or by anything else; nothing is read of it any more. So links
 * tell which frames those are, and which is the next one outside of them:
 *  - those whose function has gone;
 *  - of the same function, those that are not around the new block: within a block the stack pointer is lower than in
 *    front of it, by the room that each takes;
 *  - one at the place of the new frame.
 */
static bool was_left(const struct link *older, const struct link *newer)
{
    return older->base != newer->base || older->stack <= newer->stack || older->frame == newer->frame;
}

/* How many links there are up to the top of the chain; links behind it are of frames that have ended. When a signal
 * came as a frame was entered, that has none yet: all. */
static size_t count_links(void)
{
    size_t count = self.links_end;
    while (count > 0 && self.memory->links[count - 1].frame != self.top)
        count--;
    return count > 0 || self.top == NULL ? count : self.links_end;
}

/* Makes the frame of new the top of the chain, without what longjmps left. */
static void push(const struct link *new)
{
    struct link *links = self.memory->links;
    size_t count = count_links(), stay = count;
    bool is_known = count == 0 || links[count - 1].frame == self.top;
    for (size_t i = count; is_known && i > 0; i--) {
        const struct link *link = &links[i - 1];
        if (link->base != new->base && !is_gone(link->base, new->base))
            break;
        if (was_left(link, new))
            stay = i - 1;
    }
    if (stay == LINKS)
        die("cairn-win32: too many guarded blocks within each other\n");
    new->frame->outer = stay == count ? self.top : stay > 0 ? links[stay - 1].frame : NULL;
    self.top = new->frame;
    __asm__ volatile("" : : : "memory"); /* a signal that comes between finds a frame without a link */
    links[stay] = *new;
    self.links_end = stay + 1;
}

/* ---------------------------------------------------------------- notes */

/*
 * The note for what is told to a function; what others left behind that have returned is forgotten. The notes of one
 * function are side by side, and last when it runs. A signal may come between any two steps, and note something, too.
 */
static struct note *note_for(void *base, unsigned site)
{
    size_t end = self.notes_end;
    while (end > 0 && is_gone(self.memory->notes[(end - 1) % NOTES].base, base))
        end--;
    size_t at = end;
    while (at > 0 && self.memory->notes[(at - 1) % NOTES].base == base)
        if (self.memory->notes[--at % NOTES].site == site) {
            self.notes_end = end;
            return &self.memory->notes[at % NOTES];
        }
    self.notes_end = end + 1;
    struct note *note = &self.memory->notes[end % NOTES];
    note->base = base;
    note->site = site;
    return note;
}

static const struct note *note_of(const void *base, unsigned site)
{
    for (size_t i = self.notes_end; i > 0 && i + NOTES > self.notes_end; i--) {
        const struct note *note = &self.memory->notes[(i - 1) % NOTES];
        if (note->base == base && note->site == site)
            return note;
    }
    die("cairn-win32: too many handlers within each other\n"); /* so many notes have come since */
}

/* ---------------------------------------------------------------- guards */

/* Makes frame the innermost guard; tells where its first mark belongs. */
CAIRN_WIN32_API NOINLINE struct cairn_seh_place *cairn_seh_enter(struct cairn_seh_frame *frame, void *base)
{
    if (UNLIKELY(self.memory == NULL) && !make_ready())
        die("cairn-win32: no memory for the stack of exceptions\n");
    frame->base = base;
    frame->one = 1;
    frame->phase = CAIRN_SEH_BODY;
    push(&(struct link){frame, base, (uintptr_t)__builtin_frame_address(0)});
    return &frame->place;
}

CAIRN_WIN32_API struct cairn_seh_frame *cairn_seh_entered(void)
{
    return self.top;
}

static struct note *note_arrival(const struct cairn_seh_frame *frame, int phase)
{
    struct note *note = note_for(frame->base, ARRIVAL);
    note->final.phase = phase;
    note->final.has_run = FALSE;
    return note;
}

/* The end of a guarded block with a termination block, which comes next. */
CAIRN_WIN32_API void cairn_seh_finish(struct cairn_seh_frame *frame)
{
    frame->phase = CAIRN_SEH_LEFT;
    (void)note_arrival(frame, CAIRN_SEH_LEFT);
}

/* The end of cairn_seh_end, which is called when a guarded block is left. */
void seh_left(struct cairn_seh_frame *frame) __attribute__((visibility("hidden")));
void seh_left(struct cairn_seh_frame *frame)
{
    self.top = frame->outer;
    if (frame->phase == CAIRN_SEH_LEFT)
        return;
    note_arrival(frame, CAIRN_SEH_ABANDONED)->final.back = frame->back;
    jump_back_at(&frame->place, &frame->back);
}

/* AddressSanitizer forgets what it knows of frames that are left by a jump. From the reserve it would not find them. */
void __asan_handle_no_return(void) __attribute__((weak));
void __asan_unpoison_memory_region(const volatile void *from, size_t bytes) __attribute__((weak));

static void forget_frames(void)
{
    if (__asan_handle_no_return == NULL || __asan_unpoison_memory_region == NULL)
        return;
    __asan_handle_no_return();
    if (is_in_reserve((uintptr_t)__builtin_frame_address(0))) {
        __asan_unpoison_memory_region((void *)self.low, self.high - self.low);
        __asan_unpoison_memory_region(self.memory->reserve, sizeof self.memory->reserve);
    }
}

/* Runs the termination blocks from the innermost frame up to target, then its handler. */
static void unwind(struct cairn_seh_frame *target, DWORD code) __attribute__((noreturn));
static void unwind(struct cairn_seh_frame *target, DWORD code)
{
    struct cairn_seh_frame *frame;
    do {
        frame = self.top;
        self.top = frame->outer;
    } while (frame->phase == CAIRN_SEH_ASKING);
    struct cairn_seh_final *final = &note_arrival(frame, frame == target ? CAIRN_SEH_HANDLE : CAIRN_SEH_UNWIND)->final;
    final->target = target;
    final->code = code; /* carried along: until then the target may be asked about others */
    forget_frames();
    jump_back(&frame->place);
}

/* What comes after a block that was left before its end has run. */
static void go_on(struct cairn_seh_final final)
{
    if (final.phase == CAIRN_SEH_UNWIND)
        unwind(final.target, final.code);
    if (final.phase == CAIRN_SEH_ABANDONED)
        jump_back(&final.back);
}

/* Returns site to run the handler; else this guard has nothing to do. */
CAIRN_WIN32_API unsigned cairn_seh_handle(void *base, unsigned site)
{
    const struct note *arrival = note_of(base, ARRIVAL);
    DWORD code = arrival->final.code;
    go_on(arrival->final);
    note_for(base, site)->final.code = code;
    return site;
}

CAIRN_WIN32_API struct cairn_seh_final cairn_seh_final(void *base)
{
    return note_of(base, ARRIVAL)->final;
}

CAIRN_WIN32_API BOOL cairn_seh_again(struct cairn_seh_final *final)
{
    if (final->has_run)
        go_on(*final);
    final->has_run = !final->has_run;
    return final->has_run;
}

CAIRN_WIN32_API DWORD cairn_seh_code(uintptr_t at, void *base)
{
    bool is_filter = at > UINT32_MAX;
    return is_filter ? ((struct cairn_seh_frame *)at)->pointers->ExceptionRecord->ExceptionCode
                     : note_of(base, (unsigned)at)->final.code;
}

/* ---------------------------------------------------------------- dispatching */

static int ask(struct cairn_seh_frame *asking, struct cairn_seh_frame *frame, EXCEPTION_POINTERS *pointers)
{
    frame->pointers = pointers;
    frame->phase = CAIRN_SEH_FILTER;
    frame->asks = asking;
    asking->asks = frame;
    if (cairn_seh_mark(&asking->back) == 0)
        jump_below(&frame->asked);
    asking->asks = NULL;
    frame->phase = CAIRN_SEH_BODY;
    return asking->answer;
}

CAIRN_WIN32_API void cairn_seh_decide(struct cairn_seh_frame *frame, int answer)
{
    struct cairn_seh_frame *asking = frame->asks;
    asking->answer = answer;
    self.top = asking;
    jump_back(&asking->back);
}

/* Returns true to go on where the exception was, below which no guard is alive; false when nobody takes it. Does not
 * return when a handler does. */
static bool dispatch(EXCEPTION_POINTERS *pointers, const void *where)
{
    struct cairn_seh_frame asking = {.phase = CAIRN_SEH_ASKING, .base = __builtin_frame_address(0)};
    push(&(struct link){&asking, where, 0});
    bool goes_on = false;
    for (struct cairn_seh_frame *frame = asking.outer; frame != NULL && !goes_on; frame = frame->outer) {
        if (frame->phase == CAIRN_SEH_ASKING) {
            if (frame->asks != NULL)
                frame = frame->asks;
            continue;
        }
        int answer = ask(&asking, frame, pointers);
        if (answer > 0)
            unwind(frame, pointers->ExceptionRecord->ExceptionCode);
        goes_on = answer < 0;
    }
    self.top = asking.outer;
    return goes_on;
}

/* ---------------------------------------------------------------- faults */

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

/* A fault that is dispatched on another stack than the handler's. It lies at the end of that stack. */
struct move {
    struct cairn_seh_place back; /* in the handler */
    const void *where;           /* the fault was */
    EXCEPTION_RECORD record;
    CONTEXT context;
    unsigned char *from; /* the handler's stack, as far as it is used: copied, and put back */
    size_t bytes;
    stack_t stack; /* the same, as the system was told of it */
    bool goes_on;
    _Alignas(64) unsigned char copy[];
};

/* A stack has places that AddressSanitizer lets nobody touch, also not memcpy. */
__attribute__((no_sanitize("address"))) static void copy_stack(void *to, const void *from, size_t bytes)
{
    volatile uint64_t *t = to;
    const volatile uint64_t *f = from;
    for (size_t i = 0; i < bytes / sizeof *t; i++)
        t[i] = f[i];
}

static void put_back(void *arg)
{
    struct move *move = arg;
    copy_stack(move->from, move->copy, move->bytes);
    jump_back(&move->back);
}

static void dispatch_moved(void *arg)
{
    struct move *move = arg;
    EXCEPTION_POINTERS pointers = {&move->record, &move->context};
    if ((unsigned)move->stack.ss_flags & SS_AUTODISARM) /* such a one of the program's is for one signal at a time */
        (void)sigaltstack(&move->stack, NULL);
    move->goes_on = dispatch(&pointers, move->where);
    /* On the alternate stack again, and in the part of it that is below the one to be put back: there a signal that
     * comes now finds itself on it, and goes below, too. */
    jump_onto(move->from - JUMP_MARGIN, put_back, move);
}

/* Dispatches on the stack that ends at end; the handler is on one that ends at stack_end. */
__attribute__((noinline)) static bool dispatch_at(uintptr_t end, const EXCEPTION_RECORD *record, ucontext_t *context,
                                                  uintptr_t stack_end)
{
    uintptr_t from = ((uintptr_t)__builtin_frame_address(0) - JUMP_MARGIN) & ~(uintptr_t)63;
    size_t bytes = (stack_end & ~(uintptr_t)63) - from;
    struct move *const move = (struct move *)((end - bytes - sizeof *move) & ~(uintptr_t)63);
    if (cairn_seh_mark(&move->back) == 0) {
        move->record = *record;
        move->where = (void *)stack_pointer(context);
        move->from = (unsigned char *)from;
        move->bytes = bytes;
        move->stack = context->uc_stack;
        move->context = (CONTEXT){.CairnContext = move->copy + ((uintptr_t)context - from)};
        copy_stack(move->copy, move->from, bytes);
        jump_onto(move, dispatch_moved, move);
    }
    return move->goes_on;
}

/* How far the stack goes on below an address. */
static size_t room_below(uintptr_t address)
{
    uintptr_t reserve = (uintptr_t)self.memory->reserve;
    if (is_in_reserve(address))
        return address - reserve;
    size_t beyond = self.gap + PAGE_BYTES; /* where a stack pointer may be that has left it */
    if (is_in(address, (void *)(self.low - beyond), self.high - self.low + beyond))
        return address > self.low ? address - self.low : 0;
    return SIZE_MAX; /* a stack that the program switched to */
}

static bool dispatch_fault(EXCEPTION_RECORD *record, const siginfo_t *info, ucontext_t *context)
{
    uintptr_t fault = stack_pointer(context), here = (uintptr_t)__builtin_frame_address(0);
    if (self.top == NULL)
        return false;
    /* The system raises the latter where a stack has no room for what another signal would bring. */
    if (is_in((uintptr_t)info->si_addr, (void *)(self.low - self.gap), self.gap) ||
        (info->si_code == SI_KERNEL && room_below(fault) < ROOM))
        record->ExceptionCode = STATUS_STACK_OVERFLOW;
    const stack_t *stack = &context->uc_stack;
    bool is_on_it = is_in(here, stack->ss_sp, stack->ss_size), was_on_it = is_in(fault, stack->ss_sp, stack->ss_size);
    if (!is_on_it || was_on_it) { /* the handler is below the fault */
        CONTEXT own = {.CairnContext = context};
        EXCEPTION_POINTERS pointers = {record, &own};
        return dispatch(&pointers, (void *)fault);
    }
    uintptr_t end = fault - RED_ZONE;
    if (room_below(end) < ROOM) {
        if (is_in_reserve(end))
            return false;
        end = (uintptr_t)(self.memory->reserve + sizeof self.memory->reserve);
    }
    return dispatch_at(end, record, context, (uintptr_t)stack->ss_sp + stack->ss_size);
}

static void handle(int number, siginfo_t *info, void *arg)
{
    int error = errno;
    ucontext_t *context = arg;
    EXCEPTION_RECORD record;
    describe_fault(&record, number, info, context);
    bool (*holes)(uintptr_t, bool) = load_acquire(&hole_handler);
    bool is_fault = info->si_code > 0;
    bool goes_on = is_fault && holes != NULL && holes((uintptr_t)info->si_addr, record.ExceptionInformation[0] == 1);
    if (!goes_on && (!is_fault || !dispatch_fault(&record, info, context)))
        handler_hand_on(number == SIGBUS ? &before_bus : &before_segv, number, info, context);
    errno = error;
}

/* ---------------------------------------------------------------- raising */

static void die_of(DWORD code) __attribute__((noreturn));
static void die_of(DWORD code)
{
    char text[80];
    (void)snprintf(text, sizeof text, "cairn-win32: unhandled exception 0x%08X\n", code);
    die(text);
}

CAIRN_WIN32_API void WINAPI RaiseException(DWORD dwExceptionCode, DWORD dwExceptionFlags, DWORD nNumberOfArguments,
                                           const ULONG_PTR *lpArguments)
{
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
    CONTEXT context = {.CairnContext = NULL};
    EXCEPTION_POINTERS pointers = {&record, &context};
    const void *callers = (void **)__builtin_frame_address(0) + 2; /* behind the return address */
    bool goes_on = self.top != NULL && dispatch(&pointers, callers);
    if (!goes_on || (dwExceptionFlags & EXCEPTION_NONCONTINUABLE))
        die_of(dwExceptionCode);
}
