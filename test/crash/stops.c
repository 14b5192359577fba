/* SPDX-License-Identifier: MIT */
/*
 * Steps by int3. A trap after one instruction (TF) costs a virtual machine a turn through its host, an int3 does not:
 * it is five times as fast. So while a process runs in the library each instruction there is an int3, but for the one
 * that it executes next. Wherever that leads, it stops at the next instruction of the library, and what the C library
 * does in between is one step.
 */
#include "crash.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INT3 = 0xcc, RET = 0xc3 };

static unsigned char *stops;           /* the library's code with an int3 in each instruction; NULL: not known */
static uintptr_t code_begin, code_end; /* of what is there */
static uintptr_t plt_begin, plt_end;   /* of the jumps to the C library */

static pid_t stopped_process; /* whose code is full of them; 0: nobody's */
static int memory = -1;       /* of the process that was stepped last */
static pid_t memory_of;

static const unsigned char *bytes_at(uintptr_t at)
{
    return (const unsigned char *)at; /* NOLINT(performance-no-int-to-ptr): our own copy, mapped at the same place */
}

/* Tells where each instruction of the library begins. */
static void read_disassembly(const char *library, void (*each)(uintptr_t at, bool is_plt))
{
    char line[400];
    bool is_plt = false;
    snprintf(line, sizeof line, "objdump -d --no-show-raw-insn '%s' 2>/dev/null", library);
    FILE *disassembly = popen(line, "r"); /* NOLINT(cert-env33-c) */
    while (disassembly != NULL && fgets(line, sizeof line, disassembly) != NULL) {
        unsigned long offset;
        char colon;
        if (strncmp(line, "Disassembly of section ", 23) == 0)
            is_plt = strncmp(line + 23, ".plt", 4) == 0;
        else if (line[0] == ' ' && sscanf(line, " %lx%c", &offset, &colon) == 2 && colon == ':')
            each(library_begin + offset, is_plt);
    }
    if (disassembly != NULL)
        pclose(disassembly);
}

static void note_bounds(uintptr_t at, bool is_plt)
{
    if (code_begin == 0)
        code_begin = at;
    code_end = at + 1;
    if (is_plt && plt_begin == 0)
        plt_begin = at;
    if (is_plt)
        plt_end = at + 1;
}

static void note_stop(uintptr_t at, bool is_plt)
{
    (void)is_plt;
    stops[at - code_begin] = INT3;
}

bool stops_load(const char *library)
{
    read_disassembly(library, note_bounds);
    if (code_begin == 0)
        return false;
    stops = malloc(code_end - code_begin);
    if (stops == NULL)
        return false;
    memcpy(stops, bytes_at(code_begin), code_end - code_begin);
    read_disassembly(library, note_stop);
    return true;
}

static bool is_stop(uintptr_t at)
{
    return at >= code_begin && at < code_end && stops[at - code_begin] == INT3;
}

static bool write_code(uintptr_t at, const unsigned char *bytes, size_t count)
{
    return pwrite(memory, bytes, count, (off_t)at) == (ssize_t)count;
}

void stops_clear(pid_t process)
{
    if (stopped_process != process)
        return;
    stopped_process = 0;
    if (!write_code(code_begin, bytes_at(code_begin), code_end - code_begin))
        fail("the code of the stepped process cannot be written");
}

void stops_end(void)
{
    if (memory >= 0)
        close(memory);
    memory = -1;
    memory_of = stopped_process = 0;
}

/* False: there is no way to write there, and steps are traps. */
static bool set(pid_t process)
{
    if (stopped_process == process)
        return true;
    if (memory_of != process) {
        char path[40];
        snprintf(path, sizeof path, "/proc/%d/mem", (int)process);
        stops_end();
        memory = open(path, O_RDWR | O_CLOEXEC);
        memory_of = process;
    }
    if (!write_code(code_begin, stops, code_end - code_begin))
        return false;
    stopped_process = process;
    return true;
}

/*
 * Whether the instruction can be executed with all others int3: not one that repeats itself, for it is a step each
 * time; nor one that goes to where there are none and does not come back, or whose way there is to be looked at.
 */
static bool can_run(pid_t thread, uintptr_t at, runs_in_one_go_fn *runs_in_one_go, const struct image *image)
{
    if (!is_stop(at))
        return false;
    const unsigned char *code = bytes_at(at);
    bool repeats = code[0] == 0xf2 || code[0] == 0xf3;
    unsigned op = code[repeats];
    if (repeats && (op & 0xf0) == 0x40)
        op = code[2];
    if (repeats && (op & 0xf0) == 0xa0)
        return false;
    if (op == RET)
        return is_stop((uintptr_t)ptrace(PTRACE_PEEKDATA, thread,
                                         ptrace(PTRACE_PEEKUSER, thread, offsetof(struct user_regs_struct, rsp), NULL),
                                         NULL));
    return at < plt_begin || at >= plt_end || runs_in_one_go(thread, image);
}

/* Executes what is at `at`, and stops at the next int3: ours, or the process's own. */
static void run(pid_t process, pid_t thread, uintptr_t at, int *status)
{
    static const unsigned char int3 = INT3;
    bool is_ours = is_stop(at);
    if (is_ours && !write_code(at, bytes_at(at), 1))
        fail("the code of the stepped process cannot be written");
    ptrace(PTRACE_CONT, thread, NULL, NULL);
    if (waitpid(thread, status, __WALL) != thread || !WIFSTOPPED(*status))
        return;
    if (is_ours && !write_code(at, &int3, 1))
        fail("the code of the stepped process cannot be written");
    uintptr_t stop = (uintptr_t)ptrace(PTRACE_PEEKUSER, thread, offsetof(struct user_regs_struct, rip), NULL) - 1;
    bool stopped_by_us = *status >> 8 == SIGTRAP && is_stop(stop); /* and by no clone either */
    if (stopped_by_us)
        ptrace(PTRACE_POKEUSER, thread, offsetof(struct user_regs_struct, rip), stop);
    else
        stops_clear(process);
}

bool stops_step(pid_t process, pid_t thread, uintptr_t at, runs_in_one_go_fn *runs_in_one_go, const struct image *image,
                int *status)
{
    if (stops == NULL || (at >= code_begin && at < code_end && !can_run(thread, at, runs_in_one_go, image)) ||
        !set(process)) {
        stops_clear(process);
        return false;
    }
    run(process, thread, at, status);
    return true;
}
