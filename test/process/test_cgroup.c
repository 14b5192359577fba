/* SPDX-License-Identifier: MIT */
/*
 * A memory cgroup has no errors, it kills: in the middle of a commit, for that is where memory is taken. Needs root,
 * for a group of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/workspace.h"

enum { ROUNDS = 8, LINKS = 64, LIMIT = 16 << 20, HEAP_BYTES = 256 << 20 };

/* ---------------------------------------------------------------- the group */

static const char *const roots[] = {"/sys/fs/cgroup/memory",
                                    "/sys/fs/cgroup"}; /* of the first version, of the second */
static char group[200];
static bool is_first_version;
static pid_t program; /* after which it is named, so that it is found when a claim has failed */

static bool write_to(const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", group, name);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    bool written = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);
    if (file >= 0)
        close(file);
    return written;
}

static void group_name(const char *root)
{
    snprintf(group, sizeof group, "%s/cairn-test-%d", root, (int)program);
}

/* Below the root of the hierarchy and not below our own: that may be somebody's who wants to remove it. */
static bool group_make(void)
{
    char bytes[30];
    snprintf(bytes, sizeof bytes, "%d", LIMIT);
    for (size_t i = 0; i < COUNT(roots); i++) {
        is_first_version = i == 0;
        group_name(roots[i]);
        if (mkdir(group, 0700) < 0)
            continue;
        if (write_to(is_first_version ? "memory.limit_in_bytes" : "memory.max", bytes)) {
            /* What is swapped out is not killed for. */
            (void)(is_first_version ? write_to("memory.memsw.limit_in_bytes", bytes)
                                    : write_to("memory.swap.max", "0"));
            return true;
        }
        rmdir(group);
    }
    return false;
}

/* How many it has killed. */
static unsigned long group_kills(void)
{
    char path[300], line[100];
    unsigned long kills = 0;
    snprintf(path, sizeof path, "%s/%s", group, is_first_version ? "memory.oom_control" : "memory.events");
    FILE *file = fopen(path, "re");
    REQUIRE(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        (void)sscanf(line, "oom_kill %lu", &kills);
    fclose(file);
    return kills;
}

/* Whoever is dead may be in it a moment longer. */
static bool group_remove(void)
{
    int error = 0;
    while (rmdir(group) < 0 && (error = errno) == EBUSY)
        sched_yield();
    return error == 0 || error == EBUSY;
}

/* ---------------------------------------------------------------- who is killed */

struct table {
    void *links[LINKS];
    _Atomic uint32_t turns[2]; /* of the one in the group, and of one beside it */
};

static void join(void)
{
    char process[20];
    snprintf(process, sizeof process, "%d", (int)getpid());
    if (!write_to("cgroup.procs", process))
        broken(__FILE__, __LINE__, "%s: cannot be joined: %s", group, strerror(errno));
}

/*
 * All it takes is in places that lose nothing: a heap bound to it, and blocks that are linked as they are allocated.
 * Which of the two is large, and so takes the last of the group's memory, changes from round to round.
 */
static void take_all_there_is(void *arg)
{
    const uint32_t *round = arg;
    join();
    cairn_heap *heap = open_shared("heap", 0), *bound;
    struct table *table = cairn_root_get(heap, "table");
    REQUIRE_CALL(cairn_heap_create(&bound, &(cairn_options){.parent = heap, .name = "bound", .flags = CAIRN_BOUND}) ==
                 0);
    static const size_t sizes[] = {100, 3000, 20000, 200000, 3000000};
    for (uint32_t i = 0;; i++) {
        size_t size = sizes[(i + *round) % COUNT(sizes)];
        void **link = &table->links[i % LINKS];
        if (*link != NULL)
            REQUIRE_CALL(cairn_free_from(heap, link) == 0);
        bool links_large = *round % 2 == 0; /* the heap is larger than the group */
        REQUIRE_CALL(cairn_alloc_to(heap, links_large ? size : size % 50000, link) == 0);
        unsigned char *bytes = cairn_alloc(bound, links_large ? size % 50000 : size);
        REQUIRE_CALL(bytes != NULL);
        memset(bytes, 1, links_large ? size % 50000 : size);
        advance(&table->turns[0]);
    }
}

static void go_on_beside_it(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    struct table *table = cairn_root_get(heap, "table");
    for (size_t i = 0;; i++) {
        void *block = cairn_alloc(heap, i % 5000);
        REQUIRE_CALL(block != NULL);
        memset(block, 2, i % 5000);
        cairn_free(heap, block);
        advance(&table->turns[1]);
    }
}

/* Nobody else is there, so nothing is in the middle of anything. */
static int see_span(const cairn_span *span, void *arg)
{
    (void)arg;
    return span->kind == CAIRN_SPAN_BUSY;
}

static void a_memory_cgroup_kills_and_the_heap_is_whole(void)
{
    if (!group_make())
        skip("needs a memory cgroup of its own, which takes root and a writable hierarchy");
    cairn_heap *heap = create_shared("heap", HEAP_BYTES);
    struct table *table = cairn_zalloc(heap, sizeof *table);
    REQUIRE_CALL(table != NULL && cairn_root_set(heap, "table", table) == 0);
    uint64_t before = stats_of(heap).bytes_committed;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        pid_t beside = start(go_on_beside_it, NULL);
        wait_for(&table->turns[1], 1);
        pid_t victim = start(take_all_there_is, &round);
        finish_by(victim, SIGKILL);
        REQUIRE_EQUAL(group_kills(), round + 1); /* and by nobody else */
        wait_for(&table->turns[1], atomic_load(&table->turns[1]) + 100);
        REQUIRE(cairn_recover(heap) >= 0);
        kill(beside, SIGKILL);
        finish_by(beside, SIGKILL);
        REQUIRE(cairn_recover(heap) >= 0);
        REQUIRE_EQUAL(stats_of(heap).processes, 1);
        REQUIRE_EQUAL(cairn_walk(heap, see_span, NULL, NULL), 0);
        REQUIRE_SOUND(heap);

        cairn_heap *bound = untouched;
        REFUSED(-ENOENT, cairn_heap_open_child(&bound, heap, "bound"));
        uint64_t linked = 0;
        for (size_t i = 0; i < LINKS; i++)
            linked += table->links[i] != NULL;
        /* One more may be lost for each round: the other one was killed with a block of its own. */
        uint64_t live = blocks_live(heap);
        REQUIRE(live >= 1 + linked && live <= 1 + linked + round + 1);
        for (size_t i = 0; i < LINKS; i++)
            REQUIRE_CALL(cairn_free_from(heap, &table->links[i]) == 0);
        REQUIRE_CALL(cairn_trim(heap) >= 0); /* the group's memory goes back to it */
        REQUIRE_SOUND(heap);
        uint64_t more = stats_of(heap).bytes_committed - before;
        if (more > 2 * MIB) /* what is left are slabs of a few small blocks, and bookkeeping */
            broken(__FILE__, __LINE__, "round %u: %llu bytes more are committed", round, (unsigned long long)more);
        atomic_store(&table->turns[1], 0);
    }
    REQUIRE(atomic_load(&table->turns[0]) > ROUNDS);
    printf("        killed %d times by the group, after %u turns\n", ROUNDS, atomic_load(&table->turns[0]));
    void *large = cairn_alloc(heap, 2 * (size_t)LIMIT); /* more than the group has */
    REQUIRE_CALL(large != NULL);
    memset(large, 3, 2 * (size_t)LIMIT);
    cairn_free(heap, large);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    REQUIRE(group_remove());
}

int main(void)
{
    static const struct claim claims[] = {CLAIM(a_memory_cgroup_kills_and_the_heap_is_whole)};
    program = getpid();
    int status = run_claims(claims, COUNT(claims), 30);
    for (size_t i = 0; i < COUNT(roots) && status != 0; i++) {
        group_name(roots[i]);
        (void)group_remove();
    }
    return status;
}
