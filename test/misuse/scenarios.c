/* SPDX-License-Identifier: MIT */
/*
 * The table of docs/misuse.md, measured: each scenario runs RUNS times in a process of its own, in each kind of heap.
 *
 *     A  ended by abort, with a line that names the heap, the pointer and the crime
 *     S  ended by SIGSEGV or SIGBUS
 *     -  went on, and nobody was told
 *     !  went on, and harm was shown
 *     +  went on, and rightly so: there is no harm to be done
 *
 * What docs/misuse.md calls seen must be seen in every run, and of the 22 that count at least SEEN_WHEN_CHECKED in a
 * checked heap; the rest is told and not required. Below the table stands what checking takes, on this machine and in
 * this build.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/workspace.h"

enum { RUNS = 20, HARM = 3, FINE = 4, SEEN_WHEN_CHECKED = 18 };
enum kind { PRIVATE, BOUNDED, SHARED, CHECKED, CHECKED_BOUNDED, KINDS };
static const char *const kind_names[KINDS] = {"private", "bounded", "shared", "checked", "checked, bounded"};

static bool is_checked(enum kind kind)
{
    return kind == CHECKED || kind == CHECKED_BOUNDED;
}

static cairn_heap *make_heap(enum kind kind)
{
    if (kind == SHARED)
        return create_nameless("misuse");
    cairn_options options = {
        .size = sizeof options,
        .bytes_max = kind == BOUNDED || kind == CHECKED_BOUNDED ? 64 * MIB : 0,
        .checked = is_checked(kind),
    };
    cairn_heap *heap;
    if (cairn_heap_create(&heap, &options) < 0)
        broken(__FILE__, __LINE__, "no heap: %s", cairn_last_error());
    return heap;
}

static enum kind kind_now;

/* A second heap beside the scenario's: private, and checked as that is. */
static cairn_heap *make_other(void)
{
    return make_heap(is_checked(kind_now) ? CHECKED : PRIVATE);
}

/* So that the compiler neither sees what is done to a block nor warns of it. */
static void *hidden(void *block)
{
    __asm__ volatile("" : "+r"(block));
    return block;
}

static unsigned char *get(cairn_heap *heap, size_t size)
{
    unsigned char *block = hidden(cairn_alloc(heap, size));
    if (block == NULL)
        _exit(1);
    return block;
}

/* A program goes on after its mistake: blocks come and go, and the heap ends. */
static void live_on(cairn_heap *heap, size_t size)
{
    unsigned char *blocks[300];
    for (size_t i = 0; i < COUNT(blocks); i++)
        blocks[i] = get(heap, size);
    for (size_t i = 0; i < COUNT(blocks); i++)
        cairn_free(heap, blocks[i]);
}

/* ---------------------------------------------------------------- wrong frees */

static void freed_twice(cairn_heap *heap)
{
    void *a = get(heap, 64);
    cairn_free(heap, a);
    cairn_free(heap, a);
}

static void freed_twice_with_one_between(cairn_heap *heap)
{
    void *a = get(heap, 64), *b = get(heap, 64);
    cairn_free(heap, a);
    cairn_free(heap, b);
    cairn_free(heap, a);
}

static void freed_twice_with_many_between(cairn_heap *heap)
{
    void *blocks[201];
    for (size_t i = 0; i < COUNT(blocks); i++)
        blocks[i] = get(heap, 64);
    for (size_t i = 0; i < COUNT(blocks); i++)
        cairn_free(heap, blocks[i]);
    cairn_free(heap, blocks[0]);
}

static void large_freed_twice(cairn_heap *heap)
{
    void *a = get(heap, MIB);
    cairn_free(heap, a);
    cairn_free(heap, a);
}

struct job {
    cairn_heap *heap;
    void *block;
};

static void *free_elsewhere(void *arg)
{
    const struct job *job = arg;
    cairn_free(job->heap, job->block);
    return NULL;
}

static void freed_elsewhere_and_here(cairn_heap *heap)
{
    struct job job = {heap, get(heap, 64)};
    pthread_t thread;
    if (pthread_create(&thread, NULL, free_elsewhere, &job) != 0 || pthread_join(thread, NULL) != 0)
        _exit(1);
    cairn_free(heap, job.block);
}

static void free_of_the_inside(cairn_heap *heap)
{
    cairn_free(heap, get(heap, 64) + 16);
}

static void free_misaligned(cairn_heap *heap)
{
    cairn_free(heap, get(heap, 64) + 1);
}

static void free_of_the_stack(cairn_heap *heap)
{
    _Alignas(16) unsigned char on_stack[64] = {0};
    (void)get(heap, 64);
    cairn_free(heap, hidden(on_stack));
}

static void free_of_a_mapping(cairn_heap *heap)
{
    unsigned char *mapping = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)get(heap, 64);
    cairn_free(heap, mapping + 4096);
}

static void free_inside_a_large_block(cairn_heap *heap)
{
    cairn_free(heap, get(heap, MIB) + 4096);
}

/* ---------------------------------------------------------------- writes outside */

static void overflow(cairn_heap *heap, size_t size, size_t from, size_t bytes, int value)
{
    unsigned char *before = get(heap, size), *block = get(heap, size), *behind = get(heap, size);
    memset(block + from, value, bytes);
    cairn_free(heap, before);
    cairn_free(heap, block);
    cairn_free(heap, behind);
    live_on(heap, size < MIB ? size : 100);
}

static void off_by_one(cairn_heap *heap)
{
    overflow(heap, 56, 56, 1, 0);
}

static void overflow_of_16(cairn_heap *heap)
{
    overflow(heap, 56, 56, 16, 0x41);
}

static void overflow_of_64_kib(cairn_heap *heap)
{
    overflow(heap, 56, 56, 64 * KIB, 0x41);
}

static void one_byte_behind_a_large_block(cairn_heap *heap)
{
    unsigned char *block = get(heap, MIB);
    block[cairn_size(heap, block)] = 0x41;
    cairn_free(heap, block);
    live_on(heap, 100);
}

static void underflow_of_16(cairn_heap *heap)
{
    unsigned char *before = get(heap, 56), *block = get(heap, 56);
    memset((unsigned char *)hidden(block - 16), 0x41, 16);
    cairn_free(heap, block);
    cairn_free(heap, before);
    live_on(heap, 56);
}

/* ---------------------------------------------------------------- use after free */

static void write_after_free(cairn_heap *heap, size_t from, size_t rounds)
{
    unsigned char *block = get(heap, 64), *keep = get(heap, 64);
    cairn_free(heap, block);
    memset((unsigned char *)hidden(block) + from, 0x41, 16);
    for (size_t i = 0; i < rounds; i++)
        live_on(heap, 64);
    cairn_free(heap, keep);
}

static void write_to_the_first_bytes(cairn_heap *heap)
{
    write_after_free(heap, 0, 1);
}

static void write_to_later_bytes(cairn_heap *heap)
{
    write_after_free(heap, 32, 1);
}

static void write_to_the_first_bytes_long(cairn_heap *heap)
{
    write_after_free(heap, 0, 170);
}

static void write_to_a_freed_large_block(cairn_heap *heap)
{
    unsigned char *block = get(heap, MIB);
    memset(block, 1, MIB);
    cairn_free(heap, block);
    ((unsigned char *)hidden(block))[1000] = 0x41;
    live_on(heap, 100);
}

static void stale_secret(cairn_heap *heap)
{
    static const char secret[] = "a secret of sixty-four bytes";
    unsigned char *block = get(heap, 64);
    memcpy(block + 16, secret, sizeof secret);
    cairn_free(heap, block);
    for (size_t i = 0; i < 5000; i++) {
        if (memcmp(get(heap, 64) + 16, secret, sizeof secret) == 0)
            _exit(HARM);
    }
    _exit(FINE);
}

static void poisoned_list(cairn_heap *heap)
{
    _Alignas(16) unsigned char on_stack[64] = {0};
    unsigned char *block = get(heap, 64), *keep = get(heap, 64);
    void *target = hidden(on_stack);
    cairn_free(heap, block);
    for (size_t at = 0; at < 64; at += sizeof target)
        memcpy((unsigned char *)hidden(block) + at, &target, sizeof target);
    for (size_t i = 0; i < 5000; i++) {
        if (get(heap, 64) == on_stack)
            _exit(HARM);
    }
    cairn_free(heap, keep);
    _exit(FINE); /* no list is there to be poisoned */
}

static void realloc_of_freed(cairn_heap *heap)
{
    void *block = get(heap, 64);
    cairn_free(heap, block);
    (void)!cairn_realloc(heap, hidden(block), 200);
}

static void impossible_sizes(cairn_heap *heap)
{
    volatile size_t sizes[] = {(size_t)-64, (size_t)-1, SIZE_MAX / 2, (size_t)1 << 46};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        if (cairn_alloc(heap, sizes[i]) != NULL || cairn_zalloc(heap, sizes[i]) != NULL ||
            cairn_aligned_alloc(heap, CAIRN_ALIGNMENT_MAX, sizes[i]) != NULL)
            _exit(HARM);
    }
    _exit(FINE);
}

static void size_of_freed(cairn_heap *heap)
{
    void *block = get(heap, 64);
    cairn_free(heap, block);
    (void)cairn_size(heap, hidden(block));
}

static void write_to_a_block_of_0_bytes(cairn_heap *heap)
{
    unsigned char *block = get(heap, 0);
    block[0] = 0x41;
    cairn_free(heap, block);
    live_on(heap, 0);
}

static void same_address_again(cairn_heap *heap)
{
    unsigned char *block = get(heap, 64), *keep = get(heap, 64);
    cairn_free(heap, block);
    for (size_t i = 0; i < 100; i++) {
        if (get(heap, 64) == block)
            _exit(HARM);
    }
    cairn_free(heap, keep);
    _exit(FINE);
}

static void neighbours_are_foreseeable(cairn_heap *heap)
{
    size_t adjacent = 0;
    unsigned char *last = get(heap, 64);
    for (size_t i = 0; i < 64; i++) {
        unsigned char *block = get(heap, 64);
        adjacent += block == last + 64 || block + 64 == last;
        last = block;
    }
    _exit(adjacent * 4 >= 64 * 3 ? HARM : FINE);
}

/* ---------------------------------------------------------------- heaps */

static void free_in_the_wrong_heap(cairn_heap *heap)
{
    cairn_heap *other = make_other();
    (void)get(other, 64);
    cairn_free(other, get(heap, 64));
}

static void call_on_a_closed_heap(cairn_heap *heap)
{
    cairn_heap *other = make_other();
    (void)heap;
    cairn_heap_close(other);
    (void)!cairn_alloc(other, 64);
}

static void closed_twice(cairn_heap *heap)
{
    cairn_heap *other = make_other();
    (void)heap;
    cairn_heap_close(other);
    cairn_heap_close(other);
}

static void block_of_a_closed_heap(cairn_heap *heap)
{
    cairn_heap *other = make_other();
    void *block = get(other, 64);
    (void)get(heap, 64);
    cairn_heap_close(other);
    cairn_free(heap, block);
}

static void realloc_across_heaps(cairn_heap *heap)
{
    cairn_heap *other = make_other();
    (void)get(other, 64);
    (void)!cairn_realloc(other, get(heap, 64), 200);
}

static void block_from_before_a_reset(cairn_heap *heap)
{
    void *block = get(heap, 64);
    if (cairn_heap_reset(heap) < 0)
        _exit(1);
    cairn_free(heap, hidden(block));
}

/* ---------------------------------------------------------------- the table */

static const struct scenario {
    const char *number;
    const char *what;
    void (*run)(cairn_heap *heap);
    bool counts;              /* among the 22 */
    char promised[KINDS + 1]; /* of each kind of heap; '*' is A or S, '?' nothing */
} scenarios[] = {
    {"1", "free(a); free(a)", freed_twice, true, "AAAAA"},
    {"2", "free(a); free(b); free(a)", freed_twice_with_one_between, true, "AAAAA"},
    {"3", "double free after 200 others", freed_twice_with_many_between, true, "AAAAA"},
    {"4", "double free of 1 MiB", large_freed_twice, true, "AAAAA"},
    {"5", "freed by another thread, then here", freed_elsewhere_and_here, true, "AAAAA"},
    {"6", "free(a + 16)", free_of_the_inside, true, "AAAAA"},
    {"7", "free(a + 1)", free_misaligned, true, "AAAAA"},
    {"8", "free of the stack", free_of_the_stack, true, "AAAAA"},
    {"9", "free inside somebody's mapping", free_of_a_mapping, true, "AAAAA"},
    {"10", "free inside a block of 1 MiB", free_inside_a_large_block, true, "AAAAA"},
    {"11", "a zero at a[56] of alloc(56)", off_by_one, true, "???AA"},
    {"12", "16 bytes behind alloc(56)", overflow_of_16, true, "???AA"},
    {"13", "64 KiB behind alloc(56)", overflow_of_64_kib, true, "???**"},
    {"14", "1 byte behind the usable size of 1 MiB", one_byte_behind_a_large_block, true, "???SS"},
    {"15", "16 bytes before a block", underflow_of_16, true, "???AA"},
    {"16", "write to the first 16 bytes of a freed block", write_to_the_first_bytes, true, "???AA"},
    {"16b", "the same, and 51,000 allocations later", write_to_the_first_bytes_long, false, "???AA"},
    {"17", "write to bytes 32 to 47 of a freed block", write_to_later_bytes, true, "???AA"},
    {"18", "write to a freed block of 1 MiB", write_to_a_freed_large_block, true, "???SS"},
    {"19", "a secret of a freed block is read again", stale_secret, false, "???++"},
    {"20", "pointers in a freed block lead to the stack", poisoned_list, true, "+++AA"},
    {"21", "realloc of a freed block", realloc_of_freed, true, "AAAAA"},
    {"22", "impossible sizes and alignments", impossible_sizes, false, "+++++"},
    {"23", "size of a freed block", size_of_freed, true, "AAAAA"},
    {"24", "write to a block of 0 bytes", write_to_a_block_of_0_bytes, true, "???AA"},
    {"25", "the address comes back within 100 allocations", same_address_again, false, "???++"},
    {"26", "3 of 4 blocks in a row are neighbours", neighbours_are_foreseeable, false, "?????"},
    {"27", "free in the wrong heap", free_in_the_wrong_heap, false, "AAAAA"},
    {"28", "call on a closed heap", call_on_a_closed_heap, false, "AAAAA"},
    {"29", "heap closed twice", closed_twice, false, "AAAAA"},
    {"30", "block of a closed heap", block_of_a_closed_heap, false, "AAAAA"},
    {"31", "realloc in another heap", realloc_across_heaps, false, "AAAAA"},
    {"32", "block from before a reset", block_from_before_a_reset, false, "AAAAA"},
};

static char verdict_of(int status, const char *said)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strncmp(said, "cairn: ", 7) == 0)
        return 'A';
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS))
        return 'S';
    if (WIFEXITED(status) && WEXITSTATUS(status) == HARM)
        return '!';
    if (WIFEXITED(status) && WEXITSTATUS(status) == FINE)
        return '+';
    if (status != 0)
        broken(__FILE__, __LINE__, "ended with status %#x, having said: %s", (unsigned)status, said);
    return '-';
}

static char run_once(const struct scenario *scenario, enum kind kind)
{
    int line[2];
    if (pipe2(line, O_CLOEXEC) < 0)
        broken(__FILE__, __LINE__, "no pipe");
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        signal(SIGSEGV, SIG_DFL);
        dup2(line[1], 2);
        kind_now = kind;
        cairn_heap *heap = make_heap(kind);
        scenario->run(heap);
        cairn_heap_close(heap);
        _exit(0);
    }
    close(line[1]);
    char said[600] = "";
    size_t length = 0;
    ssize_t count;
    while (length < sizeof said - 1 && (count = read(line[0], said + length, sizeof said - 1 - length)) > 0)
        length += (size_t)count;
    close(line[0]);
    int status;
    if (waitpid(child, &status, 0) != child)
        broken(__FILE__, __LINE__, "no child");
    return verdict_of(status, said);
}

/* "A20", or "A19 -1" where the runs differ. */
static bool tell_cell(const struct scenario *scenario, enum kind kind, char cell[40])
{
    static const char verdicts[] = "AS-!+";
    int count[sizeof verdicts - 1] = {0};
    for (int run = 0; run < RUNS; run++)
        count[strchr(verdicts, run_once(scenario, kind)) - verdicts]++;
    size_t at = 0;
    for (size_t v = 0; v < COUNT(count); v++) {
        if (count[v] > 0)
            at += (size_t)snprintf(cell + at, 40 - at, "%s%c%d", at > 0 ? " " : "", verdicts[v], count[v]);
    }
    char promised = scenario->promised[kind];
    if (promised == '*')
        return count[0] + count[1] == RUNS;
    return promised == '?' || count[strchr(verdicts, promised) - verdicts] == RUNS;
}

/* CPU time of an allocation and a free of 64 bytes in nanoseconds: the best of many short samples. */
static double pair_ns(enum kind kind)
{
    enum { SAMPLES = 200, PAIRS = 2000 };
    cairn_heap *heap = make_heap(kind);
    double best = 1e9;
    for (int sample = 0; sample < SAMPLES; sample++) {
        struct timespec begin, end;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
        for (int i = 0; i < PAIRS; i++)
            cairn_free(heap, get(heap, 64));
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        double ns = (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
        best = ns / PAIRS < best ? ns / PAIRS : best;
    }
    cairn_heap_close(heap);
    return best;
}

static void tell_row(const char *number, const char *what, char cells[KINDS][40], const char *remark)
{
    printf("| %s | %s |", number, what);
    for (int kind = 0; kind < KINDS; kind++)
        printf(" %s |", cells[kind]);
    printf("%s\n", remark);
}

static void tell_numbers(const char *what, const double numbers[KINDS])
{
    char cells[KINDS][40];
    for (int kind = 0; kind < KINDS; kind++)
        snprintf(cells[kind], sizeof cells[kind], "%.0f", numbers[kind]);
    tell_row("", what, cells, "");
}

static void the_table_holds(void)
{
    bool holds = true;
    double seen[KINDS] = {0}, harmless[KINDS] = {0}, ns[KINDS];
    char cells[KINDS][40];
    for (int kind = 0; kind < KINDS; kind++)
        snprintf(cells[kind], sizeof cells[kind], "%s", kind_names[kind]);
    tell_row("#", "scenario", cells, "\n|---|---|---|---|---|---|---|");
    for (size_t i = 0; i < COUNT(scenarios); i++) {
        bool kept = true;
        for (int kind = 0; kind < KINDS; kind++) {
            kept = tell_cell(&scenarios[i], (enum kind)kind, cells[kind]) && kept;
            seen[kind] += scenarios[i].counts && strpbrk(cells[kind], "-!+") == NULL;
            harmless[kind] += scenarios[i].counts && strpbrk(cells[kind], "-!AS") == NULL;
        }
        tell_row(scenarios[i].number, scenarios[i].what, cells, kept ? "" : "    <- not as promised");
        holds = holds && kept;
    }
    tell_numbers("of 22, seen in every run", seen);
    tell_numbers("of 22, harmless in every run", harmless);
    for (int kind = 0; kind < KINDS; kind++)
        ns[kind] = pair_ns((enum kind)kind);
    tell_numbers("alloc and free of 64 bytes, ns", ns);
    REQUIRE(holds);
    REQUIRE(seen[CHECKED] >= SEEN_WHEN_CHECKED && seen[CHECKED_BOUNDED] >= SEEN_WHEN_CHECKED);
}

int main(void)
{
    static const struct claim claims[] = {CLAIM(the_table_holds)};
    if (UNDER_SANITIZER) {
        printf("SKIPPED: a sanitizer would see the crimes first\n");
        return 77;
    }
    return run_claims(claims, COUNT(claims), 290);
}
