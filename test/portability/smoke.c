/* SPDX-License-Identifier: MIT */
/*
 * One program without a test library, for machines and C libraries on which only the library itself is built: heaps of
 * each kind, and the core in a plain array, which needs no operating system at all. Prints a line for each; exit status
 * 1 when one does not hold. "smoke --private" leaves the shared heap out, for emulators that lack what it needs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cairn.h"
#include "core/core.h"
#include "core/inspect.h"

static const char *part;

static _Noreturn void fail(int line, const char *what)
{
    printf("FAILED  %s: line %d: not true: %s (%s)\n", part, line, what, cairn_last_error());
    fflush(stdout);
    _exit(1);
}

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fail(__LINE__, #condition);                                                                                \
    } while (0)

enum { BLOCKS = 500 };

/* Every block keeps its bytes while others come and go. */
static void work_in(cairn_heap *heap)
{
    unsigned char *blocks[BLOCKS];
    size_t sizes[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        sizes[i] = 1 + i * i * 13 % 3000;
        blocks[i] = cairn_alloc(heap, sizes[i]);
        REQUIRE(blocks[i] != NULL && (uintptr_t)blocks[i] % CAIRN_ALIGNMENT == 0);
        REQUIRE(cairn_size(heap, blocks[i]) >= sizes[i]);
        memset(blocks[i], (int)(i & 0xff), sizes[i]);
    }
    for (size_t i = 0; i < BLOCKS; i += 3) {
        cairn_free(heap, blocks[i]);
        sizes[i] = 1 + i * 7;
        blocks[i] = cairn_alloc(heap, sizes[i]);
        REQUIRE(blocks[i] != NULL);
        memset(blocks[i], (int)(i & 0xff), sizes[i]);
    }
    REQUIRE(cairn_check(heap, NULL, NULL) == 0);
    for (size_t i = 0; i < BLOCKS; i++) {
        for (size_t k = 0; k < sizes[i]; k++)
            REQUIRE(blocks[i][k] == (i & 0xff));
        cairn_free(heap, blocks[i]);
    }
}

static void *work_beside(void *heap)
{
    work_in(heap);
    return NULL;
}

static void private_heap(void)
{
    cairn_heap *heap;
    REQUIRE(cairn_heap_create(&heap, NULL) == 0);
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        REQUIRE(pthread_create(&threads[i], NULL, work_beside, heap) == 0);
    work_in(heap);
    for (size_t i = 0; i < 3; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    void *aligned = cairn_aligned_alloc(heap, 65536, 100);
    REQUIRE(aligned != NULL && (uintptr_t)aligned % 65536 == 0);
    void *large = cairn_alloc(heap, 5000000);
    REQUIRE(large != NULL);
    memset(large, 1, 5000000);
    REQUIRE(cairn_heap_reset(heap) == 0);
    cairn_stats stats = {.size = sizeof stats};
    REQUIRE(cairn_stats_get(heap, &stats) == 0 && stats.blocks_live == 0);
    REQUIRE(cairn_check(heap, NULL, NULL) == 0);
    cairn_heap_close(heap);
}

static void bounded_heap(void)
{
    cairn_heap *heap;
    cairn_options options = {.size = sizeof options, .bytes_max = 4 << 20, .bytes_start = 1 << 20};
    REQUIRE(cairn_heap_create(&heap, &options) == 0);
    work_in(heap);
    REQUIRE(cairn_alloc(heap, 5 << 20) == NULL && cairn_last_errno() == -ENOMEM);
    work_in(heap);
    cairn_heap_close(heap);
}

static void lent_heap(void)
{
    static _Alignas(64) unsigned char memory[2 << 20];
    cairn_heap *heap;
    cairn_options options = {.size = sizeof options, .bytes_max = sizeof memory, .memory = memory};
    memset(memory, 0xa5, sizeof memory); /* whatever lay there */
    REQUIRE(cairn_heap_create(&heap, &options) == 0);
    unsigned char *block = cairn_alloc(heap, 100);
    REQUIRE(block >= memory && block < memory + sizeof memory);
    work_in(heap);
    cairn_heap_close(heap);
}

static void shared_heap(void)
{
    cairn_heap *heap;
    char name[64];
    snprintf(name, sizeof name, "smoke-%d", (int)getpid());
    cairn_options options = {.size = sizeof options, .name = name, .bytes_max = 64 << 20};
    REQUIRE(cairn_heap_create(&heap, &options) == 0);
    char *text = cairn_alloc(heap, 100);
    REQUIRE(text != NULL);
    snprintf(text, 100, "%s", "before");
    REQUIRE(cairn_root_set(heap, "text", text) == 0);
    pid_t child = fork();
    if (child == 0) {
        work_in(heap);
        snprintf(text, 100, "%s", "after");
        _exit(0);
    }
    work_in(heap);
    int status = -1;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    REQUIRE(cairn_root_get(heap, "text") == text && strcmp(text, "after") == 0);
    REQUIRE(cairn_check(heap, NULL, NULL) == 0);
    cairn_heap_close(heap);

    options = (cairn_options){.size = sizeof options, .flags = CAIRN_READ_ONLY};
    REQUIRE(cairn_heap_open(&heap, name, &options) == 0);
    REQUIRE(cairn_root_get(heap, "text") == text && strcmp(text, "after") == 0); /* the address is the heap's */
    REQUIRE(cairn_alloc(heap, 1) == NULL && cairn_last_errno() == -EROFS);
    cairn_heap_close(heap);
    REQUIRE(cairn_heap_unlink(name, NULL) == 0);
}

static void *get(size_t bytes)
{
    return calloc(1, bytes);
}

static void give(void *memory, size_t bytes)
{
    (void)bytes;
    free(memory);
}

static void core_in_an_array(void)
{
    static const struct core_memory memory = {.get = get, .give = give};
    static _Alignas(4096) unsigned char array[1 << 20];
    struct section_params params = {.bytes_max = sizeof array, .owners_max = 4, .heaps_max = 2, .packed = true};
    struct heap_params heap_params = {0};
    struct section section;
    struct core_heap heap = {0};
    struct core_owner owner;
    uint32_t number;
    REQUIRE(section_create_lent(&section, array, &params) == 0);
    REQUIRE(heap_claim(&section, &heap_params, &number) == 0);
    heap_view_init(&heap, &section, number);
    heap.key = UINT64_C(1) << 24;
    REQUIRE(owner_claim(&owner, &section, &memory, 0, 1) == 0);
    struct bins *bins = owner_bins(&owner, &heap);
    REQUIRE(bins != NULL);
    void *blocks[BLOCKS];
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            int error;
            blocks[i] = core_alloc(bins, &heap, 1 + i * 3, &error);
            REQUIRE(blocks[i] != NULL);
            memset(blocks[i], 0xff, 1 + i * 3);
        }
        REQUIRE(core_check(&section, true, NULL, NULL) == 0);
        for (size_t i = 0; i < BLOCKS; i++)
            REQUIRE(core_free(bins, &heap, blocks[i]) == CRIME_NONE);
        REQUIRE(core_free(bins, &heap, blocks[0]) != CRIME_NONE);
    }
    owner_leave(&owner);
    owner_forget(&owner);
    section_close(&section);
}

int main(int argc, char **argv)
{
#if defined(__SANITIZE_THREAD__)
    setenv("CAIRN_ADDRESS", "0x550000000000", 1);
#endif
    bool shared = argc < 2 || strcmp(argv[1], "--private") != 0;
    const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {
        {"the core in an array", core_in_an_array},
        {"a private heap", private_heap},
        {"a bounded heap", bounded_heap},
        {"a heap in lent memory", lent_heap},
        {"a shared heap", shared ? shared_heap : NULL},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        part = parts[i].name;
        if (parts[i].run != NULL)
            parts[i].run();
        printf("%s %s\n", parts[i].run != NULL ? "ok     " : "left out", part);
    }
    printf("pages of %ld bytes, pointers of %zu\n", sysconf(_SC_PAGESIZE), sizeof(void *));
    return 0;
}
