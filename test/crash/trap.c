/* SPDX-License-Identifier: MIT */
/*
 * Stops at every store into the bookkeeping, without a tracer: the pages are write-protected, a store faults, its page
 * is opened for this one instruction, and the trap flag stops behind it. Instructions between two such stores run at
 * full speed; they cannot change the image. What a system call does to the file is seen at the next store.
 *
 * That no store is missed is checked by the trials that step with a tracer and compare the image after each
 * instruction.
 */
#include "crash.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)

enum { PAGE = 4096, TRAP_FLAG = 0x100 };

static struct {
    unsigned char *meta, *anchor; /* of whole pages */
    size_t meta_bytes;
    unsigned char *open[2]; /* pages that the store in progress touches */
    int ask, answer;
} trap;

static bool is_protected(const unsigned char *address)
{
    return (address >= trap.meta && address < trap.meta + trap.meta_bytes) ||
           (address >= trap.anchor && address < trap.anchor + PAGE);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    ucontext_t *registers = context;
    unsigned char *page = (unsigned char *)((uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1)); /* NOLINT */
    if (!is_protected(page) || trap.open[1] != NULL) {
        signal(number, SIG_DFL); /* a fault of the program's own */
        return;
    }
    trap.open[trap.open[0] != NULL] = page;
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
    registers->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_trap(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    ucontext_t *registers = context;
    char byte = 0;
    registers->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    for (size_t i = 0; i < COUNT(trap.open) && trap.open[i] != NULL; i++) {
        mprotect(trap.open[i], PAGE, PROT_READ);
        trap.open[i] = NULL;
    }
    if (write(trap.ask, &byte, 1) != 1 || read(trap.answer, &byte, 1) != 1)
        _exit(1); /* whom we asked is gone */
}

void trap_install(int ask, int answer)
{
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    struct sigaction step = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &fault, NULL);
    sigaction(SIGTRAP, &step, NULL);
    trap.ask = ask;
    trap.answer = answer;
}

void trap_begin(void *meta, size_t meta_bytes, void *anchor)
{
    trap.meta = meta;
    trap.meta_bytes = meta_bytes;
    trap.anchor = (unsigned char *)((uintptr_t)anchor & ~(uintptr_t)(PAGE - 1)); /* NOLINT(performance-no-int-to-ptr) */
    mprotect(trap.meta, trap.meta_bytes, PROT_READ);
    mprotect(trap.anchor, PAGE, PROT_READ);
}

void trap_end(void)
{
    mprotect(trap.meta, trap.meta_bytes, PROT_READ | PROT_WRITE);
    mprotect(trap.anchor, PAGE, PROT_READ | PROT_WRITE);
}

#endif
