/* SPDX-License-Identifier: MIT */
#include "support/steps.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { STATES_MAX = 4096 };

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)

#define TRAP_FLAG 0x100

static struct steps *steps;
static const unsigned char *memory;
static size_t watched;
static void *const *also;
static volatile sig_atomic_t stop;

static unsigned char *state(const struct steps *s, size_t index)
{
    return s->states + index * s->bytes;
}

static void keep(void)
{
    if (steps->count + 1 >= STATES_MAX) {
        fputs("steps: more states than expected\n", stderr);
        abort();
    }
    steps->count++;
    memcpy(state(steps, steps->count), memory, steps->bytes);
}

static void keep_what_changed(size_t instruction)
{
    steps->instructions = instruction;
    const unsigned char *last = state(steps, steps->count);
    bool changed = memcmp(last, memory, watched) != 0;
    if (!changed && also != NULL)
        changed = memcmp(last + ((const unsigned char *)also - memory), also, sizeof *also) != 0;
    if (changed)
        keep();
}

static void (*each_step)(size_t instruction);
static size_t instructions;

static void on_trap(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    ucontext_t *registers = context;
    if (stop)
        registers->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    else
        each_step(++instructions);
}

bool steps_are_possible(void)
{
    return true;
}

size_t steps_call(void (*call)(void *arg), void *arg, void (*each)(size_t instruction))
{
    each_step = each;
    instructions = 0;
    stop = 0;
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO}, before;
    sigemptyset(&action.sa_mask);
    sigaction(SIGTRAP, &action, &before);
    /* Around the red zone. */
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\tpushfq\n\torq %0, (%%rsp)\n\tpopfq\n\tleaq 128(%%rsp), %%rsp"
                     :
                     : "i"(TRAP_FLAG)
                     : "cc", "memory");
    call(arg);
    stop = 1;
    __asm__ volatile("nop\n\tnop" ::: "memory");
    sigaction(SIGTRAP, &before, NULL);
    return instructions;
}

void steps_run(struct steps *ret_steps, void *watched_memory, size_t bytes, size_t watched_bytes,
               void *const *watched_word, void (*call)(void *arg), void *arg)
{
    *ret_steps = (struct steps){.bytes = bytes, .mapped = bytes * STATES_MAX};
    ret_steps->states =
        mmap(NULL, ret_steps->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ret_steps->states == MAP_FAILED)
        abort();
    steps = ret_steps;
    memory = watched_memory;
    watched = watched_bytes;
    also = watched_word;
    memcpy(state(steps, 0), memory, bytes);
    steps_call(call, arg, keep_what_changed);
}

void steps_restore(const struct steps *s, size_t index, void *to)
{
    memcpy(to, state(s, index), s->bytes);
}

void steps_end(struct steps *s)
{
    munmap(s->states, s->mapped);
    *s = (struct steps){0};
}

#else

bool steps_are_possible(void)
{
    return false;
}

size_t steps_call(void (*call)(void *arg), void *arg, void (*each)(size_t instruction))
{
    (void)each;
    call(arg);
    return 0;
}

void steps_run(struct steps *ret_steps, void *watched_memory, size_t bytes, size_t watched_bytes,
               void *const *watched_word, void (*call)(void *arg), void *arg)
{
    (void)watched_memory, (void)bytes, (void)watched_bytes, (void)watched_word;
    *ret_steps = (struct steps){0};
    call(arg);
}

void steps_restore(const struct steps *s, size_t index, void *to)
{
    (void)s, (void)index, (void)to;
}

void steps_end(struct steps *s)
{
    (void)s;
}

#endif
