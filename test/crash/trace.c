/* SPDX-License-Identifier: MIT */
/*
 * Processes, stepped or not, and the image as it changes under them.
 *
 * Why single steps are exhaustive for a kill: SIGKILL takes a process between two instructions, and memory stays
 * coherent. So the states that it can leave are the prefixes of its instructions; no order of stores but the
 * program's has to be tried.
 */
#include "crash.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "section/layout.h"

enum { PAGE = 4096, RET = 0xc3 };

static const struct section_image *header_of(const struct image *image)
{
    return (const struct section_image *)(const void *)image->view;
}

/* ---------------------------------------------------------------- processes */

void *shared_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        fail("no memory");
    return memory;
}

uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

pid_t process_start(void (*run)(void *arg), void *arg)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t process = fork();
    if (process < 0)
        fail("fork: %s", strerror(errno));
    if (process != 0)
        return process;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    if (getppid() != parent)
        _exit(1);
    run(arg);
    _exit(0);
}

bool process_runs_on(pid_t process, unsigned seconds)
{
    int handle = (int)syscall(SYS_pidfd_open, process, 0);
    struct pollfd ready = {.fd = handle, .events = POLLIN};
    bool runs = handle >= 0 && poll(&ready, 1, (int)seconds * 1000) == 0;
    close(handle);
    return runs;
}

int process_end(pid_t process, unsigned seconds)
{
    int status = -1;
    if (process_runs_on(process, seconds))
        process_kill(process);
    else
        waitpid(process, &status, 0);
    return status;
}

void process_kill(pid_t process)
{
    kill(process, SIGKILL);
    waitpid(process, NULL, __WALL);
}

void require_end(int status, const char *who)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    if (fail_text[0] != '\0')
        fail("%s", fail_text);
    if (status == -1)
        fail("%s hangs", who);
    fail("%s ended with %s %d", who, WIFSIGNALED(status) ? "signal" : "status",
         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* ---------------------------------------------------------------- stepping */

static unsigned threads; /* other ones, that run meanwhile */

/* Whom a tracer has in hand: one thread steps at a time; the others of its process run. */
static pid_t next_stop(pid_t process, int *status)
{
    for (;;) {
        pid_t stopped = waitpid(-1, status, __WALL);
        if (stopped < 0)
            fail("waitpid: %s", strerror(errno));
        if (WIFEXITED(*status) || WIFSIGNALED(*status)) {
            if (stopped == process)
                return stopped;
            require_end(*status, "a process"); /* a thread that has ended, or one that should not have */
            threads -= threads > 0;
            continue;
        }
        int event = *status >> 16;
        if (event != 0 || WSTOPSIG(*status) == SIGSTOP) { /* a thread has begun */
            threads += event != 0;
            ptrace(PTRACE_CONT, stopped, NULL, NULL);
            continue;
        }
        if (WSTOPSIG(*status) == SIGTRAP)
            return stopped;
        ptrace(PTRACE_CONT, stopped, NULL, (void *)(uintptr_t)WSTOPSIG(*status)); /* NOLINT */
    }
}

struct traced_run {
    void (*run)(void *arg);
    void *arg;
};

static void run_traced(void *arg)
{
    struct traced_run *traced = arg;
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGTRAP);
    traced->run(traced->arg);
}

pid_t traced_start(void (*run)(void *arg), void *arg)
{
    struct traced_run traced = {.run = run, .arg = arg};
    pid_t process = process_start(run_traced, &traced);
    int status;
    if (waitpid(process, &status, __WALL) != process || !WIFSTOPPED(status))
        fail("the process to be traced did not start");
    ptrace(PTRACE_SETOPTIONS, process, NULL, (void *)(PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL)); /* NOLINT */
    return process;
}

static pid_t stepping; /* the thread at whose int3 we are */
static pid_t leader;
static bool was_in_library, is_watched;
static bool has_returned; /* the last step left a function: what lies on the stack then is no way back */

static void let_go(void)
{
    stops_end();
    leader = 0;
}

static void take_in_hand(pid_t process)
{
    if (leader == process)
        return;
    leader = stepping = process;
    threads = 0;
}

bool traced_resume(pid_t *process)
{
    take_in_hand(*process);
    stops_clear(leader);
    was_in_library = is_watched = false;
    ptrace(PTRACE_CONT, stepping, NULL, NULL);
    int status;
    pid_t stopped = next_stop(leader, &status);
    if (WIFSTOPPED(status)) {
        stepping = stopped;
        return true;
    }
    let_go();
    require_end(status, "the traced process");
    return false;
}

static bool is_in_library(uintptr_t at)
{
    return at >= library_begin && at < library_end;
}

/*
 * The C library works for cairn between two of cairn's instructions: it makes one system call, or fills memory. Unless
 * that is what we look at, it is run in one go. Asked when it has been called and nothing of it was executed.
 */
static bool runs_in_one_go(pid_t thread, const struct image *image)
{
    struct user_regs_struct registers;
    ptrace(PTRACE_GETREGS, thread, NULL, &registers);
    uintptr_t back = (uintptr_t)ptrace(PTRACE_PEEKDATA, thread, registers.rsp, NULL);
    uintptr_t meta = image->view != NULL ? header_of(image)->address : 0;
    return is_in_library(back) && (registers.rdi < meta || registers.rdi - meta >= image->meta_bytes);
}

/* Whether what was left the library for returns to it. */
static bool is_call_from_library(void)
{
    uintptr_t sp = (uintptr_t)ptrace(PTRACE_PEEKUSER, stepping, offsetof(struct user_regs_struct, rsp), NULL);
    return is_in_library((uintptr_t)ptrace(PTRACE_PEEKDATA, stepping, sp, NULL));
}

/* Up to an int3 in the place of the instruction that it returns to. */
static bool step_over_call(const struct image *image)
{
    if (!runs_in_one_go(stepping, image))
        return false;
    uintptr_t sp = (uintptr_t)ptrace(PTRACE_PEEKUSER, stepping, offsetof(struct user_regs_struct, rsp), NULL);
    uintptr_t back = (uintptr_t)ptrace(PTRACE_PEEKDATA, stepping, sp, NULL);
    long instruction = ptrace(PTRACE_PEEKTEXT, stepping, back, NULL);
    ptrace(PTRACE_POKETEXT, stepping, back, instruction - (instruction & 0xff) + 0xcc);
    ptrace(PTRACE_CONT, stepping, NULL, NULL);
    int status;
    pid_t stopped = next_stop(leader, &status);
    if (stopped != stepping || !WIFSTOPPED(status))
        fail("a call of the C library did not come back");
    ptrace(PTRACE_POKETEXT, stepping, back, instruction);
    ptrace(PTRACE_POKEUSER, stepping, offsetof(struct user_regs_struct, rip), back);
    return true;
}

/*
 * Whether an x86-64 instruction writes to no memory but the stack, as far as its first bytes tell: most do not, and
 * after those the image need not be looked at. Unknown ones may write. (Intel 64 and IA-32 Architectures Software
 * Developer's Manual, volume 2, appendix A.)
 */
static bool only_reads(const unsigned char *code)
{
    static const unsigned char prefixes[] = {0x2e, 0x3e, 0x64, 0x65, 0x66, 0xf2, 0xf3};
    while (memchr(prefixes, *code, sizeof prefixes) != NULL)
        code++;
    unsigned rex = (*code & 0xf0) == 0x40 ? *code++ : 0;
    unsigned op = *code++;
    bool two_bytes = op == 0x0f;
    if (two_bytes)
        op = *code++;
    /* Where there is a ModRM byte: a register, or a place on the stack. */
    bool of_register = *code >> 6 == 3 || ((*code & 7) == 4 && code[1] == 0x24 && (rex & 3) == 0);
    unsigned extension = *code >> 3 & 7;
    if (two_bytes) /* cmovcc, jcc; nop, bt, imul, movzx, bsf, bsr, movsx; setcc */
        return (op & 0xf0) == 0x40 || (op & 0xf0) == 0x80 || op == 0x1f || op == 0xa3 || op == 0xaf || op == 0xb6 ||
               op == 0xb7 || (op >= 0xbc && op <= 0xbf) ||
               (((op & 0xf0) == 0x90 || op == 0x11 || op == 0x29 || op == 0x7f) && of_register); /* movups, movdqa */
    if (op < 0x40) /* add, or, adc, sbb, and, sub, xor, cmp */
        return (op & 7) >= 2 ? (op & 7) <= 5 : op >= 0x38 || of_register;
    if (op == 0x80 || op == 0x81 || op == 0x83)
        return of_register || extension == 7;
    if (op == 0xf6 || op == 0xf7)
        return of_register || (extension != 2 && extension != 3); /* not, neg */
    if (op == 0xff)
        return extension == 6 || (of_register && extension < 2); /* call and jmp may lead to the C library */
    if (op == 0x88 || op == 0x89 || op == 0xc6 || op == 0xc7 || op == 0xc0 || op == 0xc1 || (op >= 0xd0 && op <= 0xd3))
        return of_register;
    return (op & 0xf0) == 0x50 || (op & 0xf0) == 0x70 || (op & 0xf0) == 0xb0 || op == 0x63 || op == 0x84 ||
           op == 0x85 || op == 0x8a || op == 0x8b || op == 0x8d || op == 0x90 || op == 0xa8 || op == 0xa9 ||
           op == 0xc3 || op == 0xe8 || op == 0xe9 || op == 0xeb;
}

bool traced_may_have_written;

bool traced_step(pid_t process, const struct world *world, const struct image *image)
{
    traced_may_have_written = true;
    take_in_hand(process);
    uintptr_t at = (uintptr_t)ptrace(PTRACE_PEEKUSER, stepping, offsetof(struct user_regs_struct, rip), NULL);
    bool leaves = was_in_library && !is_in_library(at) && !has_returned;
    was_in_library = is_in_library(at);
    has_returned = was_in_library && *(const unsigned char *)at == RET; /* NOLINT(performance-no-int-to-ptr) */
    if (was_in_library && at - library_begin < REACHED_MAX)
        atomic_store_explicit(&ledger->reached[at - library_begin], 1, memory_order_relaxed);
    /* What it called to change the image is watched; when it has come back to its caller there is nothing to watch. */
    is_watched = leaves ? is_call_from_library() : is_watched && !was_in_library;
    int status;
    if (threads == 0 && !is_watched && stops_step(leader, stepping, at, runs_in_one_go, image, &status)) {
        traced_may_have_written = !was_in_library || !only_reads((const unsigned char *)at); /* NOLINT */
        threads += status >> 8 == (SIGTRAP | PTRACE_EVENT_CLONE << 8);
    } else if (leaves && step_over_call(image)) {
        was_in_library = true;
        return true;
    } else {
        traced_may_have_written = !was_in_library || !only_reads((const unsigned char *)at); /* NOLINT */
        ptrace(PTRACE_SINGLESTEP, stepping, NULL, NULL);
        if (waitpid(stepping, &status, __WALL) != stepping)
            fail("waitpid: %s", strerror(errno));
    }
    if (!WIFSTOPPED(status)) {
        if (stepping == leader) {
            let_go();
            require_end(status, "the stepped process");
        }
        stepping = leader; /* the thread has ended */
        threads -= threads > 0;
        return false;
    }
    if (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP)
        fail("the stepped process got signal %d", WSTOPSIG(status));
    return atomic_load(&world->stepping) != 0;
}

bool traced_can_wait(pid_t process)
{
    take_in_hand(process);
    uintptr_t at = (uintptr_t)ptrace(PTRACE_PEEKUSER, stepping, offsetof(struct user_regs_struct, rip), NULL);
    return threads == 0 && stepping == process && is_in_library(at);
}

bool traced_is_at_lock(void)
{
    enum { LOCK = 0xf0 };
    uintptr_t at = (uintptr_t)ptrace(PTRACE_PEEKUSER, stepping, offsetof(struct user_regs_struct, rip), NULL);
    return is_in_library(at) && *(const unsigned char *)at == LOCK; /* NOLINT: our own copy, mapped at the same place */
}

void traced_kill(pid_t process)
{
    kill(process, SIGKILL);
    int status;
    for (pid_t ended = 0; ended != process;) { /* its other threads end first, and are ours to wait for, too */
        ended = waitpid(-1, &status, __WALL);
        if (ended < 0)
            fail("waitpid: %s", strerror(errno));
        if (WIFSTOPPED(status))
            ended = 0;
        else if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            require_end(status, "a process");
    }
    let_go();
}

/* ---------------------------------------------------------------- the image */

/* Of the sizes used here, the first page of commit bits tells of all pages. */
static bool is_committed(const struct image *image, size_t offset)
{
    const uint64_t *bits = (const uint64_t *)(const void *)(image->view + header_of(image)->commit_offset);
    size_t page = offset / PAGE;
    return (bits[page / 64] >> page % 64 & 1) != 0;
}

bool image_open(struct image *image, const char *path)
{
    *image = (struct image){.file = open(path, O_RDONLY | O_CLOEXEC)};
    if (image->file < 0)
        return false;
    struct section_image header;
    if (pread(image->file, &header, sizeof header, 0) != sizeof header)
        fail("%s: too short", path);
    image->view_bytes = header.bytes_max;
    image->meta_bytes = header.units_offset;
    image->view = mmap(NULL, image->view_bytes, PROT_READ, MAP_SHARED, image->file, 0);
    image->last =
        mmap(NULL, image->meta_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    image->page_hashes = calloc(image->meta_bytes / PAGE + 1, sizeof *image->page_hashes);
    if (image->view == MAP_FAILED || image->last == MAP_FAILED || image->page_hashes == NULL)
        fail("no memory");
    return true;
}

void image_close(struct image *image)
{
    munmap((void *)(uintptr_t)image->view, image->view_bytes); /* NOLINT(performance-no-int-to-ptr) */
    munmap(image->last, image->meta_bytes);
    free(image->page_hashes);
    close(image->file);
    *image = (struct image){0};
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 32;
}

/* Random numbers, times and process ids make no state of their own. */
static uint64_t hash_page(const struct image *image, size_t offset)
{
    const struct section_image *header = header_of(image);
    const unsigned char *bytes = image->view + offset;
    unsigned char page[PAGE];
    uint64_t any = 0, hash = offset;
    if (offset == 0) {
        memcpy(page, bytes, PAGE);
        struct section_image *masked = (struct section_image *)(void *)page;
        masked->instance = masked->address = masked->created_at = masked->checksum = 0;
        masked->attaches = 0;
        masked->boot_id[0] = masked->boot_id[1] = 0;
        bytes = page;
    } else if (offset >= header->processes_offset && offset < header->heaps_offset) {
        memcpy(page, bytes, PAGE);
        size_t table = offset >= header->owners_offset ? header->owners_offset : header->processes_offset;
        size_t stride = offset >= header->owners_offset ? sizeof(struct owner_image) : sizeof(struct process_image);
        size_t field = offset >= header->owners_offset ? offsetof(struct owner_image, thread_id)
                                                       : offsetof(struct process_image, process_id);
        for (size_t at = table + (offset - table) / stride * stride + field; at < offset + PAGE; at += stride)
            if (at >= offset)
                memset(page + (at - offset), 0, 4);
        bytes = page;
    }
    for (size_t i = 0; i < PAGE; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, 8);
        any |= word;
        hash = mix(hash, word);
    }
    return any == 0 ? offset + 1 : hash; /* 0 is a page that is not committed */
}

bool image_changed(struct image *image, const struct anchor *anchor)
{
    bool changed = false;
    for (size_t offset = 0; offset < image->meta_bytes; offset += PAGE) {
        uint64_t *hash = &image->page_hashes[offset / PAGE], before = *hash;
        if (!is_committed(image, offset)) { /* a page that is not committed has no contents that matter */
            *hash = 0;
        } else if (before == 0 || memcmp(image->view + offset, image->last + offset, PAGE) != 0) {
            memcpy(image->last + offset, image->view + offset, PAGE);
            *hash = hash_page(image, offset);
        }
        changed = changed || *hash != before;
        image->hash ^= *hash ^ before;
    }
    if (anchor != NULL) {
        size_t at = (uintptr_t)anchor - header_of(image)->address;
        uint64_t hash = 1;
        for (size_t i = 0; i < sizeof *anchor; i += 8) {
            uint64_t word;
            memcpy(&word, image->view + at + i, 8);
            hash = mix(hash, word > header_of(image)->address ? word - header_of(image)->address : word);
        }
        changed = changed || hash != image->anchor_hash;
        image->hash ^= hash ^ image->anchor_hash;
        image->anchor_hash = hash;
    }
    return changed;
}

enum unfinished image_unfinished(const struct image *image, pid_t thread)
{
    const struct section_image *header = header_of(image);
    enum unfinished found = UNFINISHED_NOTHING;
    for (uint32_t i = 0; i < header->owners_end; i++) {
        size_t at = header->owners_offset + i * sizeof(struct owner_image);
        const struct owner_image *owner = (const struct owner_image *)(const void *)(image->view + at);
        if (!is_committed(image, at) || !is_committed(image, at + sizeof *owner - 1) ||
            (thread != 0 && owner->thread_id != (uint32_t)thread))
            continue;
        if (owner->hand != 0)
            return UNFINISHED_HAND;
        if (owner->charging != 0)
            found = UNFINISHED_CHARGE;
    }
    return found;
}

#define TABLE(image, type, offset) ((const type *)(const void *)((image)->view + header_of(image)->offset))

/* 0: the thread has none. */
static uint32_t owner_of(const struct image *image, pid_t thread)
{
    const struct section_image *header = header_of(image);
    const struct owner_image *owners = TABLE(image, struct owner_image, owners_offset);
    for (uint32_t i = 0; i < header->owners_end; i++) {
        if (owners[i].thread_id == (uint32_t)thread && owners[i].word >> RECORD_STATE_SHIFT != RECORD_FREE)
            return i + 1;
    }
    return 0;
}

/* Whether an owner has units in that state, for a heap or for none. */
static bool has_units(const struct image *image, enum unit_state state, uint32_t owner, bool of_heap)
{
    const atomic_u64 *words = TABLE(image, atomic_u64, unit_words_offset);
    for (uint32_t unit = 0; unit < header_of(image)->units_end; unit++) {
        uint64_t word = words[unit];
        if (unit_state_of(word) == state && unit_owner_of(word) == owner && (unit_heap_of(word) != 0) == of_heap)
            return true;
    }
    return false;
}

/* Of a heap, or (0) of all. */
static uint32_t orphans_of(const struct image *image, uint32_t heap)
{
    const atomic_u64 *words = TABLE(image, atomic_u64, unit_words_offset);
    uint32_t count = 0;
    for (uint32_t unit = 0; unit < header_of(image)->units_end; unit++)
        count += unit_state_of(words[unit]) == UNIT_ORPHAN && (heap == 0 || unit_heap_of(words[unit]) == heap);
    return count;
}

uint32_t image_orphans(const struct image *image)
{
    return orphans_of(image, 0);
}

/* Whether a heap counts more than it has. */
static bool any_counts_more_orphans(const struct image *image)
{
    const struct heap_image *heaps = TABLE(image, struct heap_image, heaps_offset);
    for (uint32_t i = 0; i < header_of(image)->heaps_end; i++) {
        if (heaps[i].word >> RECORD_STATE_SHIFT == RECORD_LIVE && heaps[i].orphans > orphans_of(image, i + 1))
            return true;
    }
    return false;
}

/* A unit of that state and owner whose header says that no block is ready. */
static bool any_is_unready(const struct image *image, enum unit_state state, uint32_t owner)
{
    const struct section_image *header = header_of(image);
    const atomic_u64 *words = TABLE(image, atomic_u64, unit_words_offset);
    for (uint32_t unit = 0; unit < header->units_end; unit++) {
        if (unit_state_of(words[unit]) != state || unit_owner_of(words[unit]) != owner)
            continue;
        const unsigned char *at = image->view + header->spans_offset + (size_t)unit * header->span_stride;
        const struct span_image *span = (const struct span_image *)(const void *)at;
        if (is_committed(image, (size_t)(at - image->view)) && span->serial != 0 && span->ready == 0)
            return true;
    }
    return false;
}

/* Whether the bit is set of the block that a hand names, in a slab. */
static bool is_freed(const struct image *image, uint64_t hand)
{
    const struct section_image *header = header_of(image);
    uint64_t inside = (hand & HAND_REF_MASK) - header->units_offset;
    uint64_t unit = inside >> header->unit_shift;
    if (hand == 0 || unit >= header->units_end)
        return false;
    uint64_t word = TABLE(image, atomic_u64, unit_words_offset)[unit];
    unit = unit_state_of(word) == UNIT_TAIL ? unit_low_of(word) : unit;
    const unsigned char *at = image->view + header->spans_offset + (size_t)unit * header->span_stride;
    const struct span_image *span = (const struct span_image *)(const void *)at;
    uint64_t index = (inside - (unit << header->unit_shift)) * span->reciprocal >> 32;
    const atomic_u64 *elsewhere = (const atomic_u64 *)(const void *)(span + 1) + span->elsewhere_at;
    return index < span->ready && (elsewhere[index / 64] >> index % 64 & 1) != 0;
}

bool image_is_moment(const struct image *image, pid_t thread, enum moment moment)
{
    const struct section_image *header = header_of(image);
    const struct heap_image *heaps = TABLE(image, struct heap_image, heaps_offset);
    uint32_t number = owner_of(image, thread);
    if (number == 0)
        return false;
    const struct owner_image *owner = &TABLE(image, struct owner_image, owners_offset)[number - 1];
    switch (moment) {
    case MOMENT_HAND:
        return owner->hand != 0;
    case MOMENT_FREED:
        return is_freed(image, owner->hand);
    case MOMENT_CHARGE:
        return owner->charging != 0;
    case MOMENT_WIDENING:
        return owner->widening != 0;
    case MOMENT_TAKEN:
        return has_units(image, UNIT_TAKEN, number, true);
    case MOMENT_RETURNING:
        return has_units(image, UNIT_TAKEN, number, false);
    case MOMENT_FREEING:
        return has_units(image, UNIT_FREEING, number, true);
    case MOMENT_STOPPED:
    case MOMENT_KILLED:
        for (uint32_t i = 0; i < header->heaps_end; i++) {
            if (moment == MOMENT_STOPPED
                    ? heaps[i].life >> UNIT_HEAP_SHIFT == life_stopped_by(number, 0) >> UNIT_HEAP_SHIFT
                    : heaps[i].word >> RECORD_STATE_SHIFT == RECORD_PENDING)
                return true;
        }
        return false;
    case MOMENT_HALF:
        return any_is_unready(image, UNIT_TAKEN, number);
    case MOMENT_BORN:
        return any_is_unready(image, UNIT_SLAB, number);
    case MOMENT_ORPHANING:
        return any_counts_more_orphans(image);
    default:
        return false;
    }
}

/* Only where there is data: the rest is zero, committed or not. */
void image_copy(const struct image *image, int to)
{
    struct stat status;
    fstat(image->file, &status);
    if (ftruncate(to, 0) < 0 || ftruncate(to, status.st_size) < 0)
        fail("ftruncate: %s", strerror(errno));
    for (off_t at = 0, end; (at = lseek(image->file, at, SEEK_DATA)) >= 0; at = end) {
        end = lseek(image->file, at, SEEK_HOLE);
        if (pwrite(to, image->view + at, (size_t)(end - at), at) != end - at)
            fail("pwrite: %s", strerror(errno));
    }
}
