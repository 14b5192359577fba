/* SPDX-License-Identifier: MIT */
/* A heap grows from next to nothing to a gibibyte while others are attached, and none of them attaches again. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "support/workspace.h"

/* A list through every block, so that whoever follows it has touched all the memory that came. */
struct link {
    struct link *next;
    uint64_t number;
    uint64_t bytes;
    uint64_t sum; /* of number, bytes and the last byte's place */
};

struct progress {
    struct link *first;
    struct link *last;
    uint64_t count;
    uint64_t bytes;
};

static void add_link(cairn_heap *heap, struct progress *progress, size_t bytes)
{
    struct link *link = cairn_alloc(heap, bytes);
    REQUIRE_CALL(link != NULL);
    uint64_t number = progress->count;
    *link = (struct link){.number = number, .bytes = bytes, .sum = number ^ bytes};
    ((unsigned char *)link)[bytes - 1] = (unsigned char)(bytes > sizeof *link ? number : 0);
    if (progress->last != NULL)
        progress->last->next = link;
    else
        progress->first = link;
    progress->last = link;
    progress->count++;
    progress->bytes += bytes;
}

static size_t size_of_link(uint64_t number)
{
    return number % 16 == 0 ? 500000 : number % 3 == 0 ? 20000 : 1000 + number % 700;
}

static uint64_t bytes_of_file(void)
{
    struct stat status;
    REQUIRE(stat(workspace_path("heap"), &status) == 0);
    return (uint64_t)status.st_blocks * 512;
}

static void grow(uint64_t target)
{
    cairn_heap *heap = create_shared("heap", 4 * GIB);
    struct progress *progress = cairn_zalloc(heap, sizeof *progress);
    REQUIRE_CALL(progress != NULL && cairn_root_set(heap, "progress", progress) == 0);

    struct peer reader = peer_start("read", NULL), writer = peer_start("write", NULL);
    peer_hear(&reader, 'r');
    peer_hear(&writer, 'r');
    if (stats_of(heap).bytes_committed > 256 * KIB || bytes_of_file() > 256 * KIB)
        broken(__FILE__, __LINE__, "at first %llu bytes committed, %llu taken by the file",
               (unsigned long long)stats_of(heap).bytes_committed, (unsigned long long)bytes_of_file());

    uint64_t step = target / 8;
    for (uint64_t goal = step; goal <= target; goal += step) {
        while (progress->bytes < goal)
            add_link(heap, progress, size_of_link(progress->count));
        peer_tell(&writer, 'a'); /* adds some of its own */
        peer_hear(&writer, 'k');
        peer_tell(&reader, 'f'); /* follows all of it */
        peer_hear(&reader, 'k');
    }
    cairn_stats stats = stats_of(heap);
    REQUIRE(stats.bytes_committed >= target && bytes_of_file() >= target);
    REQUIRE(stats.bytes_committed < target + target / 4);
    if (bytes_of_file() < stats.bytes_committed || bytes_of_file() > stats.bytes_committed + 2 * MIB)
        broken(__FILE__, __LINE__, "%llu bytes committed, %llu taken by the file",
               (unsigned long long)stats.bytes_committed, (unsigned long long)bytes_of_file());
    REQUIRE_EQUAL(stats.attaches, 2); /* this process and the writer, once each */
    REQUIRE_EQUAL(stats.processes, 2);
    REQUIRE(stats.growths > 0 && stats.bytes_committed_peak >= stats.bytes_committed);
    REQUIRE_SOUND(heap);
    peer_finish(&reader);
    peer_finish(&writer);

    /* And all of it goes back. */
    for (struct link *link = progress->first, *next; link != NULL; link = next) {
        next = link->next;
        cairn_free(heap, link);
    }
    REQUIRE_CALL(cairn_trim(heap) >= 0);
    REQUIRE_EQUAL(blocks_live(heap), 1);
    if (bytes_of_file() > target / 16)
        broken(__FILE__, __LINE__, "%llu bytes are left of %llu", (unsigned long long)bytes_of_file(),
               (unsigned long long)target);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void read_all(void)
{
    cairn_heap *heap = open_shared("heap", CAIRN_READ_ONLY);
    const struct progress *progress = cairn_root_get(heap, "progress");
    tell('r');
    while (hear() == 'f') {
        uint64_t count = 0, bytes = 0;
        for (const struct link *link = progress->first; link != NULL; link = link->next) {
            REQUIRE(link->number == count && link->sum == (link->number ^ link->bytes));
            if (link->bytes > sizeof *link)
                REQUIRE(((const unsigned char *)link)[link->bytes - 1] == (unsigned char)link->number);
            count++;
            bytes += link->bytes;
        }
        REQUIRE(count == progress->count && bytes == progress->bytes);
        REQUIRE(stats_of(heap).bytes_live >= bytes);
        tell('k');
    }
    cairn_heap_close(heap);
}

static void write_some(void)
{
    cairn_heap *heap = open_shared("heap", 0);
    struct progress *progress = cairn_root_get(heap, "progress");
    tell('r');
    while (hear() == 'a') {
        for (int i = 0; i < 100; i++)
            add_link(heap, progress, size_of_link(progress->count));
        tell('k');
    }
    cairn_heap_close(heap);
}

static void a_heap_grows_under_its_readers_and_writers(void)
{
    struct statvfs space;
    REQUIRE(statvfs(workspace_directory(), &space) == 0);
    uint64_t bytes_free = (uint64_t)space.f_bavail * space.f_frsize;
    uint64_t target = bytes_free >= 2 * GIB ? GIB : 256 * MIB;
    if (bytes_free < 320 * MIB)
        skip("%s has %llu MiB free; this needs 320", workspace_directory(), (unsigned long long)bytes_free >> 20);
    printf("        to %llu MiB\n", (unsigned long long)(target >> 20));
    grow(target);
}

/* Where the system can: from Linux 5.14 on. */
static bool can_prefault(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    bool can = madvise(page, 4096, 23 /* MADV_POPULATE_WRITE */) == 0;
    munmap(page, 4096);
    return can;
}

/* Whether this process can touch it without a fault. */
static bool is_mapped(const void *address)
{
    uint64_t page = 0;
    int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    REQUIRE(map >= 0 &&
            pread(map, &page, sizeof page, (off_t)((uintptr_t)address / 4096 * sizeof page)) == sizeof page);
    close(map);
    return page >> 63 != 0;
}

static void what_a_heap_grows_by_is_mapped_at_once(void)
{
    enum { BLOCK = 4000, BLOCKS = 4 * MIB / BLOCK };
    if (!can_prefault())
        skip("the system cannot map a range at once");
    cairn_heap *heap = create_shared("heap", GIB);
    int unmapped = 0;
    for (int i = 0; i < BLOCKS; i++) {
        unsigned char *block = cairn_alloc(heap, BLOCK);
        REQUIRE_CALL(block != NULL);
        unmapped += !is_mapped(block + BLOCK - 1);
        memset(block, 1, BLOCK);
    }
    if (unmapped > BLOCKS / 8)
        broken(__FILE__, __LINE__, "%d of %d blocks were still to be mapped", unmapped, BLOCKS);
    cairn_heap_close(heap);
    REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "read") == 0)
        read_all();
    else if (count > 1)
        write_some();
    else {
        static const struct claim claims[] = {CLAIM(a_heap_grows_under_its_readers_and_writers),
                                              CLAIM(what_a_heap_grows_by_is_mapped_at_once)};
        return run_claims(claims, COUNT(claims), 40);
    }
    return 0;
}
