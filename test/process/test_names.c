/* SPDX-License-Identifier: MIT */
/* Names: that there is one heap to a name, whole or not there, and that they can be listed. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/random.h"
#include "support/workspace.h"

/* ---------------------------------------------------------------- open or create */

enum { RACERS = 8, ROUNDS = 200 };

struct race {
    _Atomic uint32_t started;
    _Atomic uint32_t opened;
    _Atomic uint32_t may_close;
    _Atomic uint32_t closed;
    _Atomic uint32_t next; /* the round that may begin */
    _Atomic uint32_t attempts;
};

static void run_racer(void *arg)
{
    struct race *race = arg;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        advance(&race->started);
        wait_for(&race->next, round + 1);
        cairn_options options = {
            .size = sizeof options, .name = "raced", .bytes_max = 64 * MIB, .flags = CAIRN_OPEN_OR_CREATE};
        cairn_heap *heap;
        if (cairn_heap_create(&heap, &options) < 0)
            broken(__FILE__, __LINE__, "round %u: %s", round, cairn_last_error());
        unsigned char *block = cairn_alloc(heap, 1000);
        REQUIRE_CALL(block != NULL);
        memset(block, 1, 1000);
        advance(&race->opened);
        wait_for(&race->may_close, round + 1);
        cairn_heap_close(heap);
        advance(&race->closed);
    }
}

static void eight_processes_make_one_heap_at_a_time(void)
{
    struct race *race = shared_memory(sizeof *race);
    pid_t racers[RACERS];
    for (int i = 0; i < RACERS; i++)
        racers[i] = start(run_racer, race);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        wait_for(&race->started, (round + 1) * RACERS);
        advance(&race->next);
        wait_for(&race->opened, (round + 1) * RACERS);
        REQUIRE_EQUAL(workspace_entries(), 1);
        cairn_heap *heap = open_shared("raced", 0);
        cairn_stats stats = stats_of(heap);
        REQUIRE_EQUAL(stats.attaches, RACERS + 1); /* all of them have this one */
        REQUIRE_EQUAL(stats.processes, RACERS + 1);
        REQUIRE_EQUAL(stats.blocks_live, RACERS);
        REQUIRE_SOUND(heap);
        cairn_heap_close(heap);
        advance(&race->may_close);
        wait_for(&race->closed, (round + 1) * RACERS);
        REQUIRE_CALL(cairn_heap_unlink("raced", NULL) == 0);
        REQUIRE_EQUAL(workspace_entries(), 0);
    }
    for (int i = 0; i < RACERS; i++)
        finish(racers[i]);
}

static void create_and_unlink(void *arg)
{
    const uint32_t *number = arg;
    for (int i = 0; i < 300; i++) {
        cairn_options options = {
            .size = sizeof options, .name = "raced", .bytes_max = MIB, .flags = *number % 2 ? CAIRN_OPEN_OR_CREATE : 0};
        cairn_heap *heap;
        int error = cairn_heap_create(&heap, &options);
        if (error < 0 && error != -EEXIST)
            broken(__FILE__, __LINE__, "create: %s", cairn_last_error());
        if (error == -EEXIST) {
            error = cairn_heap_open(&heap, "raced", NULL);
            if (error < 0 && error != -ENOENT)
                broken(__FILE__, __LINE__, "open: %s", cairn_last_error());
        }
        if (error == 0) {
            REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
            REQUIRE_SOUND(heap);
            cairn_heap_close(heap);
        }
        error = cairn_heap_unlink("raced", NULL);
        if (error < 0 && error != -ENOENT)
            broken(__FILE__, __LINE__, "unlink: %s", cairn_last_error());
    }
}

static void a_heap_is_whole_or_not_there(void)
{
    pid_t children[4];
    uint32_t numbers[4];
    for (uint32_t i = 0; i < COUNT(children); i++) {
        numbers[i] = i;
        children[i] = start(create_and_unlink, &numbers[i]);
    }
    for (size_t i = 0; i < COUNT(children); i++)
        finish(children[i]);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

static void create_for_ever(void *arg)
{
    _Atomic uint32_t *begun = arg;
    for (int i = 0;; i++) {
        char name[32];
        snprintf(name, sizeof name, "killed-%d", i);
        cairn_heap_close(create_shared(name, 0));
        REQUIRE_CALL(cairn_heap_unlink(name, NULL) == 0);
        advance(begun);
    }
}

/* Killed anywhere in creation: there is a whole heap under the name, or nothing at all. */
static void a_killed_creator_leaves_a_heap_or_nothing(void)
{
    void *memory = shared_memory(sizeof(_Atomic uint32_t));
    _Atomic uint32_t *begun = memory;
    int left = 0;
    for (uint32_t round = 0; round < 60; round++) {
        atomic_store(begun, 0);
        pid_t child = start(create_for_ever, memory);
        wait_for(begun, round % 7 + 1);
        for (volatile uint32_t spin = 0; spin < round * 3000; spin++)
            ;
        kill(child, SIGKILL);
        finish_by(child, SIGKILL);
        for (uint32_t i = atomic_load(begun), end = i + 2; i < end; i++) {
            char name[32];
            snprintf(name, sizeof name, "killed-%u", i);
            if (access(workspace_path(name), F_OK) < 0)
                continue;
            left++;
            cairn_heap *heap = open_shared(name, 0);
            REQUIRE_CALL(cairn_alloc(heap, 1000) != NULL);
            REQUIRE_EQUAL(stats_of(heap).processes, 1);
            REQUIRE_SOUND(heap);
            cairn_heap_close(heap);
            REQUIRE_CALL(cairn_heap_unlink(name, NULL) == 0);
        }
        REQUIRE_EQUAL(workspace_entries(), 0);
    }
    printf("        %d of 60 left a heap\n", left);
}

/* ---------------------------------------------------------------- listing */

struct list {
    char names[64][CAIRN_NAME_MAX + 1];
    int count;
    int stop_at;
};

static int add_name(const char *name, void *arg)
{
    struct list *list = arg;
    REQUIRE(list->count < 64);
    snprintf(list->names[list->count++], sizeof list->names[0], "%s", name);
    return list->count == list->stop_at ? 5 : 0;
}

static bool has_name(const struct list *list, const char *name)
{
    int times = 0;
    for (int i = 0; i < list->count; i++)
        times += strcmp(list->names[i], name) == 0;
    REQUIRE(times <= 1);
    return times == 1;
}

static int refuse_name(const char *name, void *arg)
{
    (void)name, (void)arg;
    return -ENOENT;
}

/* What visit returns is the program's, and not taken for an error of the call's. */
static void a_visit_ends_the_list_by_any_number(void)
{
    cairn_heap_close(create_shared("heap", MIB));
    REFUSED(-EINVAL, cairn_heap_unlink("", NULL));
    REQUIRE_EQUAL(cairn_heap_names(NULL, refuse_name, NULL), -ENOENT);
    REQUIRE_EQUAL(cairn_last_errno(), -EINVAL); /* the last call that failed */
}

/* A directory that is named from where the process was then. */
static void a_destroyed_heap_loses_its_name_wherever_the_process_went(void)
{
    REQUIRE(chdir(workspace_directory()) == 0 && mkdir("below", 0700) == 0);
    cairn_options options = {.size = sizeof options, .name = "heap", .directory = "below", .bytes_max = MIB};
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
    REQUIRE(chdir("/") == 0);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    REQUIRE(access(workspace_path("below/heap"), F_OK) < 0 && errno == ENOENT);
    REQUIRE(rmdir(workspace_path("below")) == 0);
}

static void every_heap_in_a_directory_is_listed_and_nothing_else(void)
{
    static struct list list;
    REQUIRE_EQUAL(cairn_heap_names(NULL, add_name, &list), 0);
    REQUIRE_EQUAL(list.count, 0);
    char name[32];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "heap %d", i);
        cairn_heap_close(create_shared(name, MIB));
    }
    /* What is there besides. */
    REQUIRE(mkdir(workspace_path("directory"), 0700) == 0);
    REQUIRE(mkfifo(workspace_path("fifo"), 0600) == 0);
    REQUIRE(symlink("heap 1", workspace_path("link")) == 0);
    int text = open(workspace_path("text"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(text >= 0 && write(text, "no heap\n", 8) == 8 && close(text) == 0);

    list.count = 0;
    REQUIRE_EQUAL(cairn_heap_names(NULL, add_name, &list), 0);
    REQUIRE_EQUAL(list.count, 20);
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "heap %d", i);
        REQUIRE(has_name(&list, name));
    }
    list = (struct list){.stop_at = 7};
    REQUIRE_EQUAL(cairn_heap_names(workspace_directory(), add_name, &list), 5);
    REQUIRE_EQUAL(list.count, 7);

    REQUIRE_CALL(cairn_heap_unlink("heap 3", NULL) == 0);
    list = (struct list){0};
    REQUIRE_EQUAL(cairn_heap_names(NULL, add_name, &list), 0);
    REQUIRE(list.count == 19 && !has_name(&list, "heap 3"));
}

static void heaps_of_many_names_lie_apart(void)
{
    enum { HEAPS = 30 };
    static cairn_heap *heaps[HEAPS];
    uint64_t begins[HEAPS], ends[HEAPS];
    char name[32];
    for (int i = 0; i < HEAPS; i++) {
        snprintf(name, sizeof name, "apart-%d", i);
        heaps[i] = create_shared(name, i % 2 == 0 ? 2 * GIB : 64 * MIB);
        cairn_stats stats = stats_of(heaps[i]);
        begins[i] = stats.address;
        ends[i] = stats.address + stats.bytes_reserved;
        for (int k = 0; k < i; k++)
            REQUIRE(ends[i] <= begins[k] || ends[k] <= begins[i]);
        if (i % 3 == 0) { /* also those that nobody has open now */
            cairn_heap_close(heaps[i]);
            heaps[i] = NULL;
        }
    }
    for (int i = 0; i < HEAPS; i++) { /* so all of them can be open at once */
        snprintf(name, sizeof name, "apart-%d", i);
        if (heaps[i] == NULL)
            heaps[i] = open_shared(name, 0);
    }
    for (int i = 0; i < HEAPS; i++)
        cairn_heap_close(heaps[i]);
}

/* Renamed, a heap loses no name when it is destroyed: what that leads to is no heap any more. */
static void a_destroyed_heap_is_not_opened_by_any_name(void)
{
    for (int others = 0; others < 2; others++) {
        cairn_heap *heap = create_shared("one", MIB);
        cairn_heap *other = others != 0 ? open_shared("one", 0) : NULL;
        cairn_heap *late;
        REQUIRE(rename(workspace_path("one"), workspace_path("two")) == 0);
        REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
        REQUIRE_EQUAL(cairn_heap_open(&late, "two", NULL), -ESTALE);
        cairn_options options = {.size = sizeof options, .name = "two", .flags = CAIRN_OPEN_OR_CREATE};
        REQUIRE_EQUAL(cairn_heap_create(&late, &options), -ESTALE);
        options.flags = CAIRN_READ_ONLY;
        REQUIRE_EQUAL(cairn_heap_open(&late, "two", &options), -ESTALE);
        options.flags |= CAIRN_DAMAGED_TOO; /* to be looked at */
        REQUIRE_CALL(cairn_heap_open(&late, "two", &options) == 0);
        cairn_heap_close(late);
        cairn_heap_close(other);
        REQUIRE_EQUAL(cairn_heap_open(&late, "two", NULL), -ESTALE);
        REQUIRE_CALL(cairn_heap_unlink("two", NULL) == 0);
    }
}

/* One makes it and destroys it, another opens it whenever it can: once destroyed, no block is had from it. */
struct endings {
    _Atomic uint32_t begun, destroyed;
    _Atomic uint32_t over;
};

static void open_and_use(void *arg)
{
    struct endings *endings = arg;
    while (atomic_load(&endings->over) == 0) {
        cairn_heap *heap;
        uint32_t before = atomic_load(&endings->begun);
        if (cairn_heap_open(&heap, "brief", NULL) < 0) {
            int error = cairn_last_errno();
            REQUIRE(error == -ENOENT || error == -ESTALE);
            continue;
        }
        while (atomic_load(&endings->destroyed) < before && atomic_load(&endings->over) == 0)
            sched_yield();
        bool is_over = atomic_load(&endings->begun) == before && atomic_load(&endings->destroyed) == before;
        void *block = cairn_alloc(heap, 100);
        REQUIRE(!is_over || before == 0 || block == NULL);
        cairn_heap_close(heap);
    }
}

static void who_opens_a_heap_in_its_last_moment_gets_nothing(void)
{
    struct endings *endings = shared_memory(sizeof *endings);
    pid_t other = start(open_and_use, endings);
    for (uint64_t rounds = random_rounds(20000); rounds > 0; rounds--) {
        cairn_heap *heap;
        cairn_options options = {.size = sizeof options, .name = "brief", .bytes_max = MIB};
        atomic_fetch_add(&endings->begun, 1);
        REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
        REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
        atomic_fetch_add(&endings->destroyed, 1);
    }
    atomic_store(&endings->over, 1);
    finish(other);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(eight_processes_make_one_heap_at_a_time),
        CLAIM(a_heap_is_whole_or_not_there),
        CLAIM(a_killed_creator_leaves_a_heap_or_nothing),
        CLAIM(a_visit_ends_the_list_by_any_number),
        CLAIM(a_destroyed_heap_loses_its_name_wherever_the_process_went),
        CLAIM(every_heap_in_a_directory_is_listed_and_nothing_else),
        CLAIM(heaps_of_many_names_lie_apart),
        CLAIM(a_destroyed_heap_is_not_opened_by_any_name),
        CLAIM(who_opens_a_heap_in_its_last_moment_gets_nothing),
    };
    return run_claims(claims, COUNT(claims), 30);
}
