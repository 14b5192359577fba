/* SPDX-License-Identifier: MIT */
/*
 * Where a heap lies: the address that is taken, views elsewhere, the directory, and the descriptor that the application
 * closes.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/workspace.h"

/* ---------------------------------------------------------------- an address that is taken */

/* Stored in the heap by refs, as a heap has to that may lie elsewhere. */
struct entry {
    cairn_ref next;
    cairn_ref self;
    uint64_t number;
};

enum { ENTRIES = 500 };

struct place {
    uint64_t address;
    uint64_t bytes;
    uint64_t taken_from; /* of the bytes, what is taken in the other process */
    uint64_t taken_bytes;
    uint64_t flags;
    _Atomic uint32_t ready;
};

static struct place *make_heap(void)
{
    struct place *place = shared_memory(sizeof *place);
    cairn_heap *heap = create_shared("heap", 256 * MIB);
    cairn_ref next = 0;
    for (uint64_t i = ENTRIES; i > 0; i--) {
        struct entry *entry = cairn_alloc(heap, i % 50 == 0 ? 100000 : sizeof *entry);
        REQUIRE_CALL(entry != NULL);
        *entry = (struct entry){.next = next, .self = cairn_ref_of(heap, entry), .number = i};
        next = entry->self;
    }
    REQUIRE_CALL(cairn_root_set(heap, "entries", cairn_at(heap, next)) == 0);
    cairn_stats stats = stats_of(heap);
    place->address = stats.address;
    place->bytes = stats.bytes_reserved;
    cairn_heap_close(heap);
    return place;
}

static void take_address(const struct place *place)
{
    void *wanted = (void *)(uintptr_t)(place->address + place->taken_from);
    void *taken = mmap(wanted, place->taken_bytes, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    REQUIRE(taken == wanted);
}

static int open_as(cairn_heap **ret_heap, uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    return cairn_heap_open(ret_heap, "heap", &options);
}

static int try_open(uint64_t flags)
{
    cairn_heap *heap = untouched;
    int error = open_as(&heap, flags);
    if (error == 0)
        cairn_heap_close(heap);
    else
        REQUIRE(heap == untouched);
    return error;
}

static void follow(cairn_heap *heap)
{
    const struct entry *entry = cairn_root_get(heap, "entries");
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        REQUIRE(entry != NULL);
        REQUIRE_EQUAL(entry->number, i);
        REQUIRE_EQUAL(cairn_ref_of(heap, entry), entry->self);
        REQUIRE(cairn_at(heap, entry->self) == entry);
        REQUIRE(cairn_size(heap, entry) >= sizeof *entry);
        entry = cairn_at(heap, entry->next);
    }
    REQUIRE(entry == NULL);
}

static void require_refused(void *arg)
{
    take_address(arg);
    REFUSED(-EADDRINUSE, try_open(0));
    REFUSED(-EADDRINUSE, try_open(CAIRN_READ_ONLY));
    cairn_options options = {.size = sizeof options, .name = "heap", .flags = CAIRN_OPEN_OR_CREATE};
    cairn_heap *heap = untouched;
    REFUSED(-EADDRINUSE, cairn_heap_create(&heap, &options));
    REQUIRE(heap == untouched);
}

static void a_taken_address_is_told(void)
{
    struct place *place = make_heap();
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t places[][2] = {
        {0, page}, {0, place->bytes}, {place->bytes - page, page}, {place->bytes / 2 / page * page, page}};
    for (size_t i = 0; i < COUNT(places); i++) {
        place->taken_from = places[i][0];
        place->taken_bytes = places[i][1];
        finish(start(require_refused, place));
    }
    REQUIRE_EQUAL(try_open(0), 0);
}

/* ---------------------------------------------------------------- elsewhere */

static void use_elsewhere(void *arg)
{
    const struct place *place = arg;
    take_address(place);
    cairn_heap *heap;
    REQUIRE_CALL(open_as(&heap, CAIRN_RELOCATE) == 0);
    REQUIRE(stats_of(heap).address != place->address);
    follow(heap);
    REQUIRE_SOUND(heap);
    REFUSED(-EADDRINUSE, try_open(0)); /* also by a second handle: it would follow pointers */
    REFUSED(-EADDRINUSE, try_open(CAIRN_READ_ONLY));
    REQUIRE_EQUAL(try_open(CAIRN_RELOCATE), 0);

    /* Blocks come and go as everywhere, and are aligned here. */
    void *blocks[200];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        size_t alignment = (size_t)16 << i % 17;
        blocks[i] = cairn_aligned_alloc(heap, alignment, i % 20 == 0 ? 200000 : 1 + i * 7);
        REQUIRE_CALL(blocks[i] != NULL);
        if ((uintptr_t)blocks[i] % alignment != 0)
            broken(__FILE__, __LINE__, "%p is not aligned to %zu", blocks[i], alignment);
        memset(blocks[i], 1, 1 + i * 7);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        cairn_free(heap, blocks[i]);

    struct entry *mine = cairn_alloc(heap, sizeof *mine);
    REQUIRE_CALL(mine != NULL && cairn_root_set(heap, "mine", mine) == 0);
    *mine = (struct entry){.self = cairn_ref_of(heap, mine), .number = 4711};
    void **pointer = cairn_zalloc(heap, sizeof *pointer);
    REQUIRE_CALL(pointer != NULL);
    REFUSED(-EINVAL, cairn_alloc_to(heap, 100, pointer));
    REQUIRE(strstr(cairn_last_error(), "relocated") != NULL && *pointer == NULL);
    *pointer = mine;
    REFUSED(-EINVAL, cairn_free_from(heap, pointer));
    REQUIRE(strstr(cairn_last_error(), "relocated") != NULL && *pointer == mine);
    cairn_free(heap, pointer);

    /* What the creator allocated may be freed here. */
    struct entry *first = cairn_root_get(heap, "entries");
    struct entry *second = cairn_at(heap, first->next);
    first->next = second->next;
    cairn_free(heap, second);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void a_heap_lies_elsewhere_when_it_may(void)
{
    struct place *place = make_heap();
    place->taken_bytes = place->bytes;
    cairn_heap *heap = open_shared("heap", 0);
    uint64_t before = blocks_live(heap);
    cairn_heap_close(heap);
    finish(start(use_elsewhere, place));

    heap = open_shared("heap", 0);
    struct entry *mine = cairn_root_get(heap, "mine");
    REQUIRE(mine != NULL && mine->number == 4711);
    REQUIRE_EQUAL(cairn_ref_of(heap, mine), mine->self);
    REQUIRE_EQUAL(blocks_live(heap), before); /* one more, one less */
    const struct entry *first = cairn_root_get(heap, "entries");
    REQUIRE_EQUAL(((const struct entry *)cairn_at(heap, first->next))->number, 3);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void write_a_byte(void *arg)
{
    signal(SIGSEGV, SIG_DFL);
    *(volatile unsigned char *)arg = 1;
}

static void read_elsewhere(void *arg)
{
    take_address(arg);
    cairn_heap *heap;
    REQUIRE_CALL(open_as(&heap, CAIRN_RELOCATE | CAIRN_READ_ONLY) == 0);
    follow(heap);
    REQUIRE_SOUND(heap);
    REFUSED_NULL(-EROFS, cairn_alloc(heap, 1));
    finish_by(start(write_a_byte, cairn_root_get(heap, "entries")), SIGSEGV);
    cairn_heap_close(heap);
}

static void a_reader_lies_elsewhere_too(void)
{
    struct place *place = make_heap();
    place->taken_bytes = place->bytes;
    finish(start(read_elsewhere, place));
}

static void die_elsewhere(void *arg)
{
    struct place *place = arg;
    take_address(place);
    cairn_heap *heap;
    REQUIRE_CALL(open_as(&heap, CAIRN_RELOCATE) == 0);
    for (uint64_t i = 0;; i++) {
        void *blocks[8];
        for (size_t k = 0; k < COUNT(blocks); k++)
            REQUIRE_CALL((blocks[k] = cairn_alloc(heap, 1 + i % 5000)) != NULL);
        for (size_t k = 0; k < COUNT(blocks); k++)
            cairn_free(heap, blocks[k]);
        if (i == 20)
            advance(&place->ready);
    }
}

static void who_dies_elsewhere_is_recovered(void)
{
    struct place *place = make_heap();
    place->taken_bytes = place->bytes;
    cairn_heap *heap = open_shared("heap", 0);
    uint64_t before = blocks_live(heap);
    cairn_heap_close(heap);
    for (uint32_t round = 0; round < 20; round++) {
        pid_t child = start(die_elsewhere, place);
        wait_for(&place->ready, round + 1);
        kill(child, SIGKILL);
        finish_by(child, SIGKILL);
    }
    heap = open_shared("heap", 0);
    REQUIRE_CALL(cairn_recover(heap) >= 0);
    follow(heap);
    uint64_t lost = blocks_live(heap) - before; /* what each held when it was killed stays allocated */
    REQUIRE(lost <= 20 * 8);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

/* Where the address is free the heap lies there, whatever was allowed. */
static void a_free_address_is_taken_even_so(void)
{
    struct place *place = make_heap();
    cairn_heap *heap;
    REQUIRE_CALL(open_as(&heap, CAIRN_RELOCATE) == 0);
    REQUIRE_EQUAL(stats_of(heap).address, place->address);
    void **pointer = cairn_zalloc(heap, sizeof *pointer);
    REQUIRE_CALL(pointer != NULL && cairn_alloc_to(heap, 100, pointer) == 0 && *pointer != NULL);
    REQUIRE_CALL(cairn_free_from(heap, pointer) == 0 && *pointer == NULL);
    REQUIRE_EQUAL(try_open(0), 0);
    cairn_heap_close(heap);
}

/* ---------------------------------------------------------------- the directory */

static bool exists(const char *directory, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

static void names_live_where_they_are_told_to(void)
{
    char first[300], second[300];
    snprintf(first, sizeof first, "%s", workspace_path("first"));
    snprintf(second, sizeof second, "%s", workspace_path("second"));
    REQUIRE(mkdir(first, 0700) == 0 && mkdir(second, 0700) == 0);
    setenv("CAIRN_DIR", first, 1);
    cairn_heap *other = create_shared("name", 0); /* stays open, so that the next one finds another address */
    REQUIRE(exists(first, "name") && !exists(second, "name"));

    cairn_options options = {
        .size = sizeof options, .name = "name", .directory = second}; /* which is before CAIRN_DIR */
    cairn_heap *heap = untouched;
    REFUSED(-ENOENT, cairn_heap_open(&heap, "name", &options));
    REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
    REQUIRE(exists(second, "name"));
    REQUIRE(stats_of(heap).address != stats_of(other).address);
    REQUIRE_CALL(cairn_alloc(other, 10) != NULL);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    cairn_heap_close(other);
    other = open_shared("name", 0);
    REQUIRE_EQUAL(blocks_live(other), 1);
    cairn_heap_close(other);
    cairn_heap_close(heap);

    setenv("CAIRN_DIR", second, 1); /* it is read at each call */
    REQUIRE_CALL(cairn_heap_unlink("name", NULL) == 0);
    REQUIRE(exists(first, "name") && !exists(second, "name"));
    REFUSED(-ENOENT, try_open(0));
    REQUIRE_CALL(cairn_heap_unlink("name", first) == 0);
}

/* ---------------------------------------------------------------- descriptors that the application closes */

struct closing {
    _Atomic uint32_t closed;
    _Atomic uint32_t grown;
    _Atomic uint32_t checked;
};

static void close_and_go_on(void *arg)
{
    struct closing *closing = arg;
    cairn_heap *heap = open_shared("heap", 0);
    struct own_files own;
    unsigned char *before = cairn_alloc(heap, 1000);
    REQUIRE_CALL(before != NULL && cairn_root_set(heap, "before", before) == 0);
    memset(before, 1, 1000);
    close_all_and_open_own(&own);

    /* What is committed can be used; the heap does not grow, and says why. */
    size_t count = 0;
    static void *blocks[100000];
    while (count < COUNT(blocks) && (blocks[count] = cairn_alloc(heap, 10000)) != NULL)
        memset(blocks[count++], 2, 10000);
    REQUIRE(count < COUNT(blocks));
    REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
    REQUIRE(strstr(cairn_last_error(), "descriptor") != NULL);
    REFUSED_NULL(-ENOMEM, cairn_alloc(heap, 100 * MIB));
    REQUIRE(strstr(cairn_last_error(), "descriptor") != NULL);
    require_own_unharmed(&own);
    while (count > 0)
        cairn_free(heap, blocks[--count]);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_recover(heap) == 0);

    advance(&closing->closed);
    wait_for(&closing->grown, 1);
    unsigned char *grown = cairn_root_get(heap, "grown"); /* others grow it, and this view sees it */
    REQUIRE(grown != NULL && grown[0] == 7 && grown[64 * MIB - 1] == 7);
    grown[0] = 8;
    cairn_free(heap, before);
    REQUIRE_CALL(cairn_trim(heap) >= 0);
    require_own_unharmed(&own);
    cairn_heap *again = open_shared("heap", 0);
    REQUIRE(cairn_root_get(again, "grown") == grown);
    cairn_heap_close(again);
    require_own_unharmed(&own);
    cairn_heap_close(heap);
    require_own_unharmed(&own);
    cairn_heap *other = open_shared("heap", 0); /* and anew with a descriptor of its own */
    void *block = cairn_alloc(other, 100 * MIB);
    REQUIRE_CALL(block != NULL);
    cairn_free(other, block);
    cairn_heap_close(other);
    require_own_unharmed(&own);
    advance(&closing->checked);
}

static void closing_every_descriptor_harms_nothing(void)
{
    struct closing *closing = shared_memory(sizeof *closing);
    cairn_heap *heap = create_shared("heap", 512 * MIB);
    cairn_heap_close(heap);
    pid_t child = start(close_and_go_on, closing);
    wait_for(&closing->closed, 1);
    heap = open_shared("heap", 0);
    REQUIRE_EQUAL(cairn_recover(heap), 0); /* it is alive, as everybody can tell */
    REQUIRE_EQUAL(stats_of(heap).processes, 2);
    unsigned char *grown = cairn_alloc(heap, 64 * MIB);
    REQUIRE_CALL(grown != NULL && cairn_root_set(heap, "grown", grown) == 0);
    memset(grown, 7, 64 * MIB);
    advance(&closing->grown);
    finish(child);
    REQUIRE_EQUAL(atomic_load(&closing->checked), 1);
    REQUIRE_EQUAL(grown[0], 8);
    REQUIRE_SOUND(heap);
    REQUIRE_EQUAL(blocks_live(heap), 1);
    cairn_heap_close(heap);
}

static void close_and_be_killed(void *arg)
{
    struct closing *closing = arg;
    cairn_heap *heap = open_shared("heap", 0);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    struct own_files own;
    close_all_and_open_own(&own);
    advance(&closing->closed);
    wait_for(&closing->grown, 1);
}

static void who_closed_its_descriptors_is_recovered_all_the_same(void)
{
    struct closing *closing = shared_memory(sizeof *closing);
    cairn_heap *heap = create_shared("heap", 512 * MIB);
    cairn_heap_close(heap);
    pid_t child = start(close_and_be_killed, closing);
    wait_for(&closing->closed, 1);
    heap = open_shared("heap", 0);
    REQUIRE_EQUAL(stats_of(heap).processes, 2);
    kill(child, SIGKILL);
    finish_by(child, SIGKILL);
    REQUIRE_EQUAL(cairn_recover(heap), 1);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void use_section(void *arg)
{
    (void)arg;
    cairn_section *section;
    cairn_options options = {.size = sizeof options, .name = "section", .bytes_max = 64 * MIB, .bytes_start = MIB};
    REQUIRE_CALL(cairn_section_create(&section, &options) == 0);
    struct own_files own;
    close_all_and_open_own(&own);
    memset(cairn_section_address(section), 1, MIB);
    REQUIRE_CALL(cairn_section_commit(section, 0, MIB) == 0); /* it is there already */
    REFUSED(-EBADF, cairn_section_commit(section, 0, 2 * MIB));
    REQUIRE_EQUAL(cairn_section_query(section, MIB, NULL), 0);
    void *view = NULL;
    REFUSED(-EBADF, cairn_section_map(section, 0, 4 * MIB, NULL, &view));
    REQUIRE_CALL(cairn_section_decommit(section, 0, MIB) == 0);
    require_own_unharmed(&own);
    cairn_section_close(section);
    require_own_unharmed(&own);
}

static void closing_every_descriptor_of_a_section_harms_nothing(void)
{
    finish(start(use_section, NULL));
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_taken_address_is_told),
        CLAIM(a_heap_lies_elsewhere_when_it_may),
        CLAIM(a_reader_lies_elsewhere_too),
        CLAIM(who_dies_elsewhere_is_recovered),
        CLAIM(a_free_address_is_taken_even_so),
        CLAIM(names_live_where_they_are_told_to),
        CLAIM(closing_every_descriptor_harms_nothing),
        CLAIM(who_closed_its_descriptors_is_recovered_all_the_same),
        CLAIM(closing_every_descriptor_of_a_section_harms_nothing),
    };
    return run_claims(claims, COUNT(claims), 30);
}
