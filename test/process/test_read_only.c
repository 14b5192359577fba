/* SPDX-License-Identifier: MIT */
/* Readers: they see everything, change nothing, take nothing, and the MMU holds them to it. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/workspace.h"

struct item {
    struct item *next;
    char text[100];
};

static void fill_heap(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    struct item *list = NULL;
    for (int i = 0; i < 3000; i++) {
        struct item *item = cairn_alloc(heap, i % 100 == 0 ? 100000 : sizeof *item);
        REQUIRE_CALL(item != NULL);
        item->next = list;
        snprintf(item->text, sizeof item->text, "item %d", i);
        list = item;
        cairn_free(heap, cairn_alloc(heap, 500)); /* there are free blocks too */
    }
    REQUIRE_CALL(cairn_root_set(heap, "list", list) == 0);
    cairn_heap_close(heap);
}

static int see_root(const char *name, void *block, void *arg)
{
    REQUIRE(strcmp(name, "list") == 0 && block != NULL);
    ++*(int *)arg;
    return 0;
}

static int see_span(const cairn_span *span, void *arg)
{
    (void)span;
    ++*(int *)arg;
    return 0;
}

static int see_block(void *block, size_t bytes, void *arg)
{
    volatile unsigned char *at = block;
    (void)at[0];
    (void)at[bytes - 1];
    ++*(int *)arg;
    return 0;
}

/* Everything that a reader may do. */
static void look_at_everything(void)
{
    cairn_heap *heap = open_shared("heap", CAIRN_READ_ONLY);
    int items = 0, roots = 0, seen = 0;
    for (const struct item *item = cairn_root_get(heap, "list"); item != NULL; item = item->next, items++) {
        REQUIRE(strncmp(item->text, "item ", 5) == 0);
        REQUIRE(cairn_size(heap, item) >= sizeof *item);
        REQUIRE(cairn_at(heap, cairn_ref_of(heap, item)) == item);
    }
    REQUIRE_EQUAL(items, 3000);
    REQUIRE_EQUAL(cairn_root_walk(heap, see_root, &roots), 0);
    REQUIRE_EQUAL(roots, 1);
    REQUIRE_EQUAL(cairn_walk(heap, see_span, see_block, &seen), 0);
    REQUIRE(seen > 3000);
    cairn_stats stats = stats_of(heap);
    REQUIRE_EQUAL(stats.blocks_live, 3000);
    REQUIRE_EQUAL(stats.read_only, 1);
    REQUIRE_SOUND(heap);
    REQUIRE(cairn_alloc(heap, 100) == NULL && cairn_last_errno() == -EROFS);
    cairn_heap_close(heap);
}

static void a_reader_changes_nothing(void)
{
    fill_heap();
    const char *path = workspace_path("heap");
    uint64_t hash = hash_of_file(path);
    struct stat before, after;
    REQUIRE(stat(path, &before) == 0);
    char *around = look_around();
    for (int i = 0; i < 5; i++)
        look_at_everything();
    require_unchanged(__FILE__, __LINE__, "a reader", around);
    REQUIRE(stat(path, &after) == 0);
    REQUIRE_EQUAL(after.st_blocks, before.st_blocks);
    REQUIRE_EQUAL(after.st_size, before.st_size);
    REQUIRE_EQUAL(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
    REQUIRE_EQUAL(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    REQUIRE(hash_of_file(path) == hash);
}

static cairn_heap *reader;

static void write_to_block(void *arg)
{
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would make something else of it */
    struct item *list = cairn_root_get(reader, "list");
    (void)arg;
    list->text[0] = 'x';
}

static void write_to_header(void *arg)
{
    (void)arg;
    signal(SIGSEGV, SIG_DFL);
    *(volatile unsigned char *)(uintptr_t)stats_of(reader).address = 0;
}

static void make_writable(void *arg)
{
    (void)arg;
    cairn_stats stats = stats_of(reader);
    REQUIRE(mprotect((void *)(uintptr_t)stats.address, 4096, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
}

static void the_mmu_refuses_a_readers_writes(void)
{
    fill_heap();
    uint64_t hash = hash_of_file(workspace_path("heap"));
    reader = open_shared("heap", CAIRN_READ_ONLY);
    finish_by(start(write_to_block, NULL), SIGSEGV);
    finish_by(start(write_to_header, NULL), SIGSEGV);
    finish(start(make_writable, NULL)); /* the descriptor is open for reading only */
    cairn_heap_close(reader);
    REQUIRE(hash_of_file(workspace_path("heap")) == hash);
}

/* Whether anybody holds any lock on the file: a lock on all of it meets every other. */
static bool is_locked(const char *path)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    REQUIRE(file >= 0);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    REQUIRE(fcntl(file, F_OFD_GETLK, &lock) == 0);
    bool locked = lock.l_type != F_UNLCK || flock(file, LOCK_EX | LOCK_NB) < 0;
    close(file);
    return locked;
}

static void a_reader_takes_no_lock(void)
{
    fill_heap();
    reader = open_shared("heap", CAIRN_READ_ONLY);
    REQUIRE(!is_locked(workspace_path("heap")));
    REQUIRE_EQUAL(stats_of(reader).processes, 0);
    REQUIRE_SOUND(reader);
    REQUIRE(!is_locked(workspace_path("heap")));
    cairn_heap_close(reader);
    cairn_heap *writer = open_shared("heap", 0);
    REQUIRE(is_locked(workspace_path("heap"))); /* so the question is a good one */
    cairn_heap_close(writer);
    REQUIRE(!is_locked(workspace_path("heap")));
}

static void read_as_another(void *arg)
{
    (void)arg;
    REQUIRE(setgroups(1, (gid_t[]){1001}) == 0 && setgid(1001) == 0 && setuid(1001) == 0);
    look_at_everything();
    cairn_heap *heap = untouched;
    REFUSED(-EACCES, cairn_heap_open(&heap, "heap", NULL));
}

static void another_user_reads_what_root_lets_it(void)
{
    if (geteuid() != 0)
        skip("needs root, to become another user");
    fill_heap();
    REQUIRE(chown(workspace_path("heap"), 0, 1001) == 0 && chmod(workspace_path("heap"), 0440) == 0);
    REQUIRE(chmod(workspace_directory(), 0755) == 0);
    uint64_t hash = hash_of_file(workspace_path("heap"));
    finish(start(read_as_another, NULL));
    REQUIRE(hash_of_file(workspace_path("heap")) == hash);
}

/* ---------------------------------------------------------------- beside a writer */

static void write_for_ever(void *arg)
{
    _Atomic uint32_t *turns = arg;
    cairn_heap *heap = open_shared("heap", 0);
    void *held[200] = {0};
    uint64_t seed = 5;
    for (;;) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        void **place = &held[(seed >> 20) % COUNT(held)];
        cairn_free(heap, *place);
        size_t bytes = (seed >> 40) % ((seed >> 10) % 50 == 0 ? 2000000 : 2000);
        *place = cairn_alloc(heap, bytes);
        REQUIRE_CALL(*place != NULL);
        memset(*place, 1, bytes);
        if ((seed >> 32) % 1000 == 0)
            cairn_trim(heap);
        atomic_fetch_add(turns, 1);
    }
}

/* Walks beside allocation, growth and shrinking: a view that may be a moment old, but always mapped memory. */
static void a_reader_walks_beside_a_writer(void)
{
    fill_heap();
    void *memory = shared_memory(4096);
    _Atomic uint32_t *turns = memory;
    pid_t writer = start(write_for_ever, memory);
    reader = open_shared("heap", CAIRN_READ_ONLY);
    uint32_t walks = 0, turns_wanted = UNDER_TSAN ? 10000 : 50000;
    while (atomic_load(turns) < turns_wanted || walks < 100) {
        int seen = 0;
        REQUIRE_EQUAL(cairn_walk(reader, see_span, see_block, &seen), 0);
        REQUIRE(seen >= 3000);
        stats_of(reader);
        int items = 0;
        for (const struct item *item = cairn_root_get(reader, "list"); item != NULL; item = item->next)
            items++;
        REQUIRE_EQUAL(items, 3000);
        REQUIRE_SOUND(reader); /* "only reports what cannot be explained by a change in progress" */
        walks++;
    }
    kill(writer, SIGKILL);
    finish_by(writer, SIGKILL);
    cairn_heap_close(reader);
    printf("        %u walks\n", walks);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_reader_changes_nothing),       CLAIM(the_mmu_refuses_a_readers_writes),
        CLAIM(a_reader_takes_no_lock),         CLAIM(another_user_reads_what_root_lets_it),
        CLAIM(a_reader_walks_beside_a_writer),
    };
    return run_claims(claims, COUNT(claims), 60);
}
