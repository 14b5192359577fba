/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64];
static pid_t owner;

static void remove_directory(void)
{
    char path[400];
    struct dirent *entry;
    DIR *stream = getpid() == owner ? opendir(directory) : NULL;
    if (stream == NULL)
        return;
    while ((entry = readdir(stream)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        unlink(path);
    }
    closedir(stream);
    rmdir(directory);
}

const char *fuzz_directory(void)
{
    if (directory[0] == '\0') {
        strcpy(directory, "/dev/shm/cairn-fuzz-XXXXXX");
        if (mkdtemp(directory) == NULL)
            abort();
        owner = getpid();
        atexit(remove_directory);
    }
    return directory;
}

/* Is killed with blocks, a child of its own, and a root half in use. */
static void leave_in_the_middle(void)
{
    cairn_heap *heap, *child;
    cairn_options options = {.directory = fuzz_directory()};
    if (cairn_heap_open(&heap, "good", &options) < 0)
        _exit(1);
    if (cairn_heap_create(&child, &(cairn_options){.parent = heap, .name = "bound", .flags = CAIRN_BOUND}) < 0)
        _exit(1);
    for (size_t i = 0; i < 200; i++)
        if (cairn_alloc(i % 2 == 0 ? heap : child, i * 37 % 3000) == NULL)
            _exit(1);
    if (cairn_alloc(heap, 40000) == NULL)
        _exit(1);
    raise(SIGKILL);
}

void fuzz_make_good(void)
{
    cairn_heap *heap, *child;
    cairn_options options = {.name = "good", .directory = fuzz_directory(), .bytes_max = 2 << 20};
    (void)cairn_heap_unlink("good", options.directory);
    REQUIRE(cairn_heap_create(&heap, &options) == 0);
    REQUIRE(cairn_heap_create(&child, &(cairn_options){.parent = heap, .name = "child"}) == 0);
    for (size_t i = 0; i < 300; i++) {
        void *block = cairn_alloc(i % 3 == 0 ? child : heap, i * i % 2500);
        REQUIRE(block != NULL);
        if (i % 5 == 0)
            cairn_free(i % 3 == 0 ? child : heap, block);
        if (i % 50 == 1) {
            char name[16];
            snprintf(name, sizeof name, "root %zu", i);
            REQUIRE(cairn_root_set(i % 3 == 0 ? child : heap, name, block) == 0);
        }
    }
    REQUIRE(cairn_alloc(heap, 100000) != NULL);
    cairn_heap_close(child);
    cairn_heap_close(heap);

    pid_t process = fork();
    if (process == 0)
        leave_in_the_middle();
    int status;
    REQUIRE(process > 0 && waitpid(process, &status, 0) == process);
    REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void read_finding(const char *finding, void *arg)
{
    size_t *bytes = arg;
    *bytes += strlen(finding);
}

static int read_span(const cairn_span *span, void *arg)
{
    uint64_t *count = arg;
    *count += span->bytes != 0;
    return 0;
}

static int read_block(void *block, size_t bytes, void *arg)
{
    uint64_t *count = arg;
    *count += block != NULL && bytes != 0;
    return 0;
}

static int read_class(const cairn_class *blocks, void *arg)
{
    uint64_t *count = arg;
    *count += blocks->spans;
    return 0;
}

static int read_root(const char *name, void *block, void *arg)
{
    size_t *bytes = arg;
    (void)block;
    *bytes += strlen(name);
    return 0;
}

void fuzz_look(cairn_heap *heap)
{
    uint64_t count = 0;
    size_t bytes = 0;
    cairn_stats stats = {.size = sizeof stats};
    (void)cairn_check(heap, read_finding, &bytes);
    (void)cairn_walk(heap, read_span, read_block, &count);
    (void)cairn_class_walk(heap, read_class, &count);
    (void)cairn_root_walk(heap, read_root, &bytes);
    (void)cairn_root_get(heap, "root 1");
    REQUIRE(cairn_stats_get(heap, &stats) == 0);
}
