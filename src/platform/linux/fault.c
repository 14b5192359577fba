/* SPDX-License-Identifier: MIT */
/*
 * fault: a touch of memory that is not there becomes a result. The kernel tells of it by a signal, SIGSEGV or SIGBUS;
 * its handler leaves the guarded function by a jump. The handler is the process's, and stands from the first guard on;
 * what is not guarded it hands to the one that stood there before.
 */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include "base/handler.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

struct guard {
    struct guard *outer;
    sigjmp_buf place;
    struct fault fault;
};

static _Thread_local struct guard *innermost;
static struct mutex install_lock;
static atomic_u32 is_installed;
static struct sigaction before_segv, before_bus;

static bool is_write(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (context->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#else
    (void)context;
    return false;
#endif
}

static void handle(int number, siginfo_t *info, void *arg)
{
    const ucontext_t *context = arg;
    struct guard *guard = innermost;
    if (guard == NULL || info->si_code <= 0) { /* nothing is guarded, or the signal was sent */
        handler_hand_on(number == SIGBUS ? &before_bus : &before_segv, number, info, arg);
        return;
    }
    guard->fault = (struct fault){.address = info->si_addr, .signal = number, .is_write = is_write(context)};
    innermost = guard->outer;
    /* Such a stack for signals is put back by the return from a handler, which there is none of. */
    if ((unsigned)context->uc_stack.ss_flags & SS_AUTODISARM)
        (void)sigaltstack(&context->uc_stack, NULL);
    siglongjmp(guard->place, 1);
}

static void install(void)
{
    mutex_lock(&install_lock);
    if (!load_relaxed(&is_installed)) {
        struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
        action.sa_sigaction = handle;
        (void)sigemptyset(&action.sa_mask);
        (void)sigaction(SIGSEGV, &action, &before_segv);
        (void)sigaction(SIGBUS, &action, &before_bus);
        store_release(&is_installed, 1);
    }
    mutex_unlock(&install_lock);
}

/* When the library is unloaded; handlers that came later and hand on to this one are their owners' affair. */
__attribute__((destructor)) static void uninstall(void)
{
    if (!load_relaxed(&is_installed))
        return;
    const struct {
        int number;
        const struct sigaction *before;
    } all[] = {{SIGSEGV, &before_segv}, {SIGBUS, &before_bus}};
    for (int i = 0; i < 2; i++) {
        struct sigaction now;
        if (sigaction(all[i].number, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == handle)
            (void)sigaction(all[i].number, all[i].before, NULL);
    }
}

bool fault_guarded(void (*function)(void *arg), void *arg, struct fault *ret_fault)
{
    if (!load_acquire(&is_installed))
        install();
    struct guard guard = {.outer = innermost};
    if (sigsetjmp(guard.place, 0) != 0) { /* the handler does not block its signal: there is no mask to put back */
        *ret_fault = guard.fault;
        return false;
    }
    /* The compiler knows of no handler that would look at this. */
    atomic_signal_fence(memory_order_seq_cst);
    innermost = &guard;
    atomic_signal_fence(memory_order_seq_cst);
    function(arg);
    atomic_signal_fence(memory_order_seq_cst);
    innermost = guard.outer;
    return true;
}
