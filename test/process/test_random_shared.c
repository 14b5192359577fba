/* SPDX-License-Identifier: MIT */
/*
 * Four processes at random on one shared heap, two of them forked, two started anew and attached by name. Each holds a
 * table of blocks, in the heap; blocks change hands through mailboxes, in the heap as well. Now and then a process ends
 * without closing and is replaced by another, which goes on with the table. CAIRN_SEED replays what each process does,
 * though not how their steps mix; CAIRN_ROUNDS multiplies how long it takes.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cairn.h"
#include "support/model.h"
#include "support/random.h"

enum {
    WORKERS = 4,
    TABLE = 400,
    MAILBOXES = 64,
    LARGEST = 200000,
    GONE_WITHOUT_CLOSING = 3,
};

/* What every block begins with; the pattern follows. */
struct content {
    uint64_t size; /* of all of it */
    uint64_t seed;
};

struct table {
    void *blocks[TABLE]; /* written by the worker of this number alone */
};

struct control {
    _Atomic(void *) mailboxes[MAILBOXES];
    _Atomic uint64_t rounds_done[WORKERS];
    _Atomic uint64_t seeds;
    void *tables[WORKERS];
};

static cairn_heap *heap;
static struct control *control;
static struct table *table;
static struct random random_worker;
static char directory[128];
static pid_t children[WORKERS];
static const char name[] = "random";

/* ---------------------------------------------------------------- checking */

#define FAIL(...) fail(__LINE__, __VA_ARGS__)

static _Noreturn void fail(int line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static _Noreturn void fail(int line, const char *format, ...)
{
    char text[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "test_random_shared:%d: process %d: %s\n", line, (int)getpid(), text);
    _exit(1);
}

static void print_finding(const char *finding, void *arg)
{
    (void)arg;
    fprintf(stderr, "finding: %s\n", finding);
}

static cairn_stats stats_now(void)
{
    cairn_stats stats = {.size = sizeof stats};
    if (cairn_stats_get(heap, &stats) < 0)
        FAIL("stats: %s", cairn_last_error());
    return stats;
}

/* ---------------------------------------------------------------- blocks */

static void fill_block(void *block, size_t size)
{
    struct content *content = block;
    *content = (struct content){.size = size, .seed = atomic_fetch_add(&control->seeds, 1)};
    pattern_fill(content + 1, size - sizeof *content, content->seed);
}

static void verify_block(void *block)
{
    struct content *content = block;
    if (content->size < sizeof *content || content->size > cairn_size(heap, block) ||
        !pattern_holds(content + 1, content->size - sizeof *content, content->seed))
        FAIL("block %p has changed: %llu bytes, seed %llu", block, (unsigned long long)content->size,
             (unsigned long long)content->seed);
}

static size_t random_block_size(void)
{
    size_t size = random_size(&random_worker, LARGEST);
    return size < sizeof(struct content) ? sizeof(struct content) : size;
}

static void allocate(void **place)
{
    size_t size = random_block_size();
    size_t alignment = (size_t)1 << (4 + random_below(&random_worker, 9));
    void *block = NULL;
    switch (random_below(&random_worker, 5)) {
    case 0:
        if (cairn_alloc_to(heap, size, place) == 0)
            block = *place;
        if (block != NULL && !bytes_are_zero(block, size))
            FAIL("%p of %zu bytes is not zero", block, size);
        break;
    case 1:
        block = cairn_zalloc(heap, size);
        if (block != NULL && !bytes_are_zero(block, size))
            FAIL("%p of %zu bytes is not zero", block, size);
        break;
    case 2:
        block = cairn_aligned_alloc(heap, alignment, size);
        if ((uintptr_t)block % alignment != 0)
            FAIL("%p is not aligned to %zu", block, alignment);
        break;
    default:
        block = cairn_alloc(heap, size);
    }
    if (block == NULL)
        FAIL("%zu bytes: %s", size, cairn_last_error());
    fill_block(block, size);
    *place = block;
}

static void release(void **place)
{
    verify_block(*place);
    if (random_below(&random_worker, 2) == 0) {
        if (cairn_free_from(heap, place) < 0 || *place != NULL)
            FAIL("free_from: %s", cairn_last_error());
        return;
    }
    cairn_free(heap, *place);
    *place = NULL;
}

static void resize(void **place)
{
    struct content before = *(struct content *)*place;
    verify_block(*place);
    size_t size = random_block_size();
    void *moved = cairn_realloc(heap, *place, size);
    if (moved == NULL)
        FAIL("realloc to %zu: %s", size, cairn_last_error());
    size_t kept = (before.size < size ? before.size : size) - sizeof before;
    if (!pattern_holds_part((struct content *)moved + 1, before.size - sizeof before, kept, before.seed))
        FAIL("%p changed while it was resized", moved);
    fill_block(moved, size);
    *place = moved;
}

/* Leaves the block in a mailbox and takes what was there; either may be nothing. */
static void swap(void **place)
{
    uint64_t box = random_below(&random_worker, MAILBOXES);
    *place = atomic_exchange(&control->mailboxes[box], *place);
    if (*place != NULL)
        verify_block(*place);
}

/* ---------------------------------------------------------------- a worker */

static int work(uint32_t number, uint64_t seed, uint64_t rounds)
{
    control = cairn_root_get(heap, "control");
    if (control == NULL)
        FAIL("no control block");
    table = control->tables[number];
    uint64_t done = atomic_load(&control->rounds_done[number]);
    random_worker = random_begin(seed + number * 1000003 + done);
    for (uint32_t i = 0; i < TABLE; i++) {
        if (table->blocks[i] != NULL)
            verify_block(table->blocks[i]); /* what one before this one has left */
    }
    for (; done < rounds; done++) {
        atomic_store(&control->rounds_done[number], done + 1);
        void **place = &table->blocks[random_below(&random_worker, TABLE)];
        uint64_t action = random_below(&random_worker, 100);
        if (action < 25)
            swap(place);
        else if (*place == NULL)
            allocate(place);
        else if (action < 40)
            resize(place);
        else
            release(place);
        if (random_below(&random_worker, 1500) == 0)
            _exit(GONE_WITHOUT_CLOSING);
        if (random_below(&random_worker, 3000) == 0 && cairn_trim(heap) < 0)
            FAIL("trim: %s", cairn_last_error());
        if (random_below(&random_worker, 5000) == 0 && cairn_check(heap, print_finding, NULL) != 0)
            FAIL("the heap is not sound beside running allocation");
    }
    cairn_heap_close(heap);
    return 0;
}

static int worker_main(char **arguments)
{
    cairn_options options = {.directory = arguments[0]};
    if (cairn_heap_open(&heap, name, &options) < 0)
        FAIL("open: %s", cairn_last_error());
    return work((uint32_t)strtoul(arguments[1], NULL, 10), strtoull(arguments[2], NULL, 10),
                strtoull(arguments[3], NULL, 10));
}

/* ---------------------------------------------------------------- the parent */

static void start(uint32_t number, bool anew, uint64_t seed, uint64_t rounds)
{
    fflush(NULL);
    pid_t parent = getpid();
    children[number] = fork();
    if (children[number] < 0)
        FAIL("fork: %s", strerror(errno));
    if (children[number] != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    if (!anew)
        _exit(work(number, seed, rounds));
    char number_text[24], seed_text[24], rounds_text[24];
    snprintf(number_text, sizeof number_text, "%u", number);
    snprintf(seed_text, sizeof seed_text, "%llu", (unsigned long long)seed);
    snprintf(rounds_text, sizeof rounds_text, "%llu", (unsigned long long)rounds);
    execl("/proc/self/exe", "worker", "--worker", directory, number_text, seed_text, rounds_text, (char *)NULL);
    _exit(1);
}

static void make_directory(void)
{
    const char *other = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "/dev/shm/cairn-test-XXXXXX");
    if (mkdtemp(directory) != NULL)
        return;
    snprintf(directory, sizeof directory, "%s/cairn-test-XXXXXX", other != NULL ? other : "/tmp");
    if (mkdtemp(directory) == NULL)
        FAIL("no directory for the heap: %s", strerror(errno));
}

static void make_heap(void)
{
    cairn_options options = {.name = name, .directory = directory, .bytes_max = UINT64_C(1) << 30};
    if (cairn_heap_create(&heap, &options) < 0)
        FAIL("create: %s", cairn_last_error());
    uint64_t committed = stats_now().bytes_committed;
    if (committed > 256 << 10)
        FAIL("a new heap takes %llu bytes", (unsigned long long)committed);
    control = cairn_zalloc(heap, sizeof *control);
    if (control == NULL || cairn_root_set(heap, "control", control) < 0)
        FAIL("control: %s", cairn_last_error());
    for (uint32_t i = 0; i < WORKERS; i++) {
        if (cairn_alloc_to(heap, sizeof(struct table), &control->tables[i]) < 0)
            FAIL("table: %s", cairn_last_error());
    }
}

/* Runs the workers to their end; returns how many ended without closing. */
static uint32_t run_workers(uint64_t seed, uint64_t rounds)
{
    uint32_t running = WORKERS, replaced = 0;
    for (uint32_t i = 0; i < WORKERS; i++)
        start(i, i % 2 != 0, seed, rounds);
    while (running != 0) {
        int status;
        pid_t child = wait(&status);
        uint32_t number = 0;
        while (number < WORKERS && children[number] != child)
            number++;
        if (child < 0 || number == WORKERS)
            FAIL("wait: %s", strerror(errno));
        if (WIFEXITED(status) && WEXITSTATUS(status) == GONE_WITHOUT_CLOSING) {
            replaced++;
            start(number, replaced % 2 != 0, seed, rounds);
        } else if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            running--;
        } else {
            FAIL("worker %u ended with status %#x", number, (unsigned)status);
        }
    }
    return replaced;
}

static void check_heap(const char *when)
{
    if (cairn_recover(heap) < 0)
        FAIL("%s: recover: %s", when, cairn_last_error());
    int findings = cairn_check(heap, print_finding, NULL);
    if (findings != 0)
        FAIL("%s: %d findings", when, findings);
    if (cairn_recover(heap) != 0)
        FAIL("%s: there is somebody left to recover", when);
    cairn_stats stats = stats_now();
    if (stats.processes != 1)
        FAIL("%s: %llu processes", when, (unsigned long long)stats.processes);
}

static void free_everything(uint64_t *ret_blocks)
{
    uint64_t blocks = 0;
    for (uint32_t i = 0; i < MAILBOXES; i++) {
        void *block = atomic_exchange(&control->mailboxes[i], NULL);
        if (block == NULL)
            continue;
        verify_block(block);
        cairn_free(heap, block);
        blocks++;
    }
    for (uint32_t w = 0; w < WORKERS; w++) {
        table = control->tables[w];
        for (uint32_t i = 0; i < TABLE; i++) {
            if (table->blocks[i] != NULL) {
                release(&table->blocks[i]);
                blocks++;
            }
        }
        if (cairn_free_from(heap, &control->tables[w]) < 0)
            FAIL("table: %s", cairn_last_error());
    }
    if (cairn_root_set(heap, "control", NULL) < 0)
        FAIL("root: %s", cairn_last_error());
    cairn_free(heap, control);
    *ret_blocks = blocks;
}

/* Works in a child, so that whatever happens there the parent can clean up. */
static int conduct(void)
{
    uint64_t seed = random_seed("test_random_shared", 1);
    uint64_t rounds = random_rounds(15000);
    make_heap();
    uint32_t replaced = run_workers(seed, rounds);
    check_heap("after the workers");
    uint64_t live = stats_now().blocks_live, blocks;
    free_everything(&blocks);
    if (live != blocks + WORKERS + 1)
        FAIL("%llu blocks were live, and %llu known", (unsigned long long)live,
             (unsigned long long)blocks + WORKERS + 1);
    check_heap("after all frees");
    if (cairn_trim(heap) < 0)
        FAIL("trim: %s", cairn_last_error());
    check_heap("after the trim");
    cairn_stats stats = stats_now();
    printf("%u processes ended without closing; %llu blocks at the end, %llu growths to %llu KiB; now %llu KiB\n",
           replaced, (unsigned long long)live, (unsigned long long)stats.growths,
           (unsigned long long)stats.bytes_committed_peak >> 10, (unsigned long long)stats.bytes_committed >> 10);
    if (stats.blocks_live != 0 || stats.bytes_live != 0 || stats.slabs != 0 || stats.large != 0 || stats.orphans != 0)
        FAIL("left: %llu blocks, %llu slabs, %llu large, %llu orphans", (unsigned long long)stats.blocks_live,
             (unsigned long long)stats.slabs, (unsigned long long)stats.large, (unsigned long long)stats.orphans);
    if (replaced == 0 || stats.growths < 10)
        FAIL("the test has not tested what it should");
    cairn_heap_close(heap);
    if (cairn_heap_unlink(name, directory) < 0)
        FAIL("unlink: %s", cairn_last_error());
    fflush(NULL);
    return 0;
}

int main(int count, char **arguments)
{
    if (count == 6 && strcmp(arguments[1], "--worker") == 0)
        return worker_main(arguments + 2);
#if defined(__SANITIZE_THREAD__)
    setenv("CAIRN_ADDRESS", "0x550000000000", 1); /* the one window that is free there */
#endif
    make_directory();
    int status = 1;
    pid_t conductor = fork();
    if (conductor == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(conduct());
    }
    if (conductor < 0 || waitpid(conductor, &status, 0) != conductor)
        status = 1;
    if (status != 0)
        (void)cairn_heap_unlink(name, directory);
    if (rmdir(directory) < 0) {
        fprintf(stderr, "test_random_shared: %s: %s\n", directory, strerror(errno));
        status = 1;
    }
    return status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
