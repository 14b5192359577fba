/* SPDX-License-Identifier: MIT */
/* Memory that is not what it is said to be: callbacks that lie, ranges that are another heap's, files with holes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/workspace.h"

/* ---------------------------------------------------------------- callbacks */

struct supply {
    unsigned char filler;
    unsigned char *give; /* what reserve returns, over and over */
    cairn_heap *from;    /* or a block of this heap */
    int commit_result;
    int decommit_result;
    int releases;
};

static void *supply_reserve(void *arg, size_t bytes)
{
    struct supply *supply = arg;
    return supply->from != NULL ? cairn_aligned_alloc(supply->from, 4096, bytes) : supply->give;
}

static int supply_commit(void *arg, void *address, size_t bytes)
{
    (void)address, (void)bytes;
    return ((struct supply *)arg)->commit_result;
}

static int supply_decommit(void *arg, void *address, size_t bytes)
{
    (void)address, (void)bytes;
    return ((struct supply *)arg)->decommit_result;
}

static void supply_release(void *arg, void *address, size_t bytes)
{
    (void)bytes;
    struct supply *supply = arg;
    supply->releases++;
    if (supply->from != NULL)
        cairn_free(supply->from, address);
}

static int create_by(struct supply *supply, uint64_t bytes_max, cairn_heap **ret_heap)
{
    cairn_memory calls = {.reserve = supply_reserve,
                          .commit = supply_commit,
                          .decommit = supply_decommit,
                          .release = supply_release,
                          .arg = supply};
    cairn_options options = {.size = sizeof options, .calls = &calls, .bytes_max = bytes_max};
    return cairn_heap_create(ret_heap, &options);
}

static unsigned char *get_pages(size_t bytes)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(pages != MAP_FAILED);
    return pages;
}

static void use(cairn_heap *heap)
{
    void *blocks[50];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        REQUIRE_CALL((blocks[i] = cairn_alloc(heap, 1000)) != NULL);
        memset(blocks[i], (int)i, 1000);
    }
    for (size_t i = 0; i < COUNT(blocks); i++) {
        REQUIRE(((unsigned char *)blocks[i])[999] == i);
        cairn_free(heap, blocks[i]);
    }
    REQUIRE_SOUND(heap);
}

/* The second would write its bookkeeping over the first. */
static void memory_that_is_another_heaps_is_refused(void)
{
    struct supply supply = {.give = get_pages(4 * MIB)};
    cairn_heap *first, *second = untouched;
    REQUIRE_CALL(create_by(&supply, MIB, &first) == 0);
    void *block = cairn_alloc(first, 100);
    REQUIRE_CALL(block != NULL);
    memset(block, 7, 100);
    REFUSED(-EINVAL, create_by(&supply, MIB, &second));
    supply.give += MIB / 2; /* its end and something behind it */
    REFUSED(-EINVAL, create_by(&supply, MIB, &second));
    supply.give -= MIB / 2;
    REFUSED(-EINVAL, create_by(&supply, 2 * MIB, &second)); /* all of it */
    REQUIRE_EQUAL(supply.releases, 0); /* it belongs to the first, and was not given back under it */

    cairn_options options = {.size = sizeof options, .memory = supply.give, .bytes_max = MIB};
    REFUSED(-EINVAL, cairn_heap_create(&second, &options));
    options.memory = supply.give + MIB - 4096;
    REFUSED(-EINVAL, cairn_heap_create(&second, &options));
    cairn_heap *shared = create_shared("heap", 64 * MIB);
    options.memory = (void *)(uintptr_t)stats_of(shared).address;
    REFUSED(-EINVAL, cairn_heap_create(&second, &options));
    cairn_heap_close(shared);
    REQUIRE(second == untouched);

    for (int i = 0; i < 100; i++)
        REQUIRE(((unsigned char *)block)[i] == 7);
    use(first);
    options.memory = supply.give + MIB; /* right behind it is free */
    REQUIRE_CALL(cairn_heap_create(&second, &options) == 0);
    use(second);
    use(first);
    cairn_heap_close(second);
    cairn_heap_close(first);
    REQUIRE_EQUAL(supply.releases, 1);
    memset(supply.give, 0, MIB);                        /* as commit promises */
    REQUIRE_CALL(create_by(&supply, MIB, &first) == 0); /* and after that the memory is free for the next */
    use(first);
    cairn_heap_close(first);
}

/* What is no block is the heap's to hand out: a part of its free memory, a block that was freed, two that are
 * neighbours. */
static void memory_that_is_no_block_is_refused(void)
{
    cairn_heap *heaps[] = {create_private(0), create_private(64 * MIB), create_shared("heap", 256 * MIB)};
    for (size_t i = 0; i < COUNT(heaps); i++) {
        unsigned char *large = cairn_alloc(heaps[i], MIB), *small = cairn_alloc(heaps[i], 16000);
        REQUIRE_CALL(large != NULL && small != NULL && cairn_alloc(heaps[i], 16000) != NULL);
        cairn_heap *inner = untouched;
        cairn_options options = {.size = sizeof options, .memory = large + 4096, .bytes_max = MIB - 4096};
        REQUIRE_CALL(cairn_heap_create(&inner, &options) == 0);
        cairn_heap_close(inner);
        inner = untouched;
        options.bytes_max = MIB;
        REFUSED(-EINVAL, cairn_heap_create(&inner, &options));
        cairn_free(heaps[i], large);
        options.bytes_max = 64 * KIB;
        REFUSED(-EINVAL, cairn_heap_create(&inner, &options));
        options.memory = (unsigned char *)(((uintptr_t)small + 4095) & ~(uintptr_t)4095);
        options.bytes_max = 8192;
        REQUIRE_CALL(cairn_heap_create(&inner, &options) == 0);
        cairn_heap_close(inner);
        inner = untouched;
        options.bytes_max = 20480;
        REFUSED(-EINVAL, cairn_heap_create(&inner, &options));
        cairn_free(heaps[i], small);
        options.bytes_max = 8192;
        REFUSED(-EINVAL, cairn_heap_create(&inner, &options));
        REQUIRE_SOUND(heaps[i]);
        cairn_heap_close(heaps[i]);
    }
}

/* reserve and release may use another heap, also for its first time in this thread. */
static void a_heap_may_lie_in_a_block_of_another(void)
{
    cairn_heap *outer[] = {create_private(0), create_private(64 * MIB), create_shared("heap", 256 * MIB)};
    for (size_t i = 0; i < COUNT(outer); i++) {
        struct supply supply = {.from = outer[i]};
        cairn_heap *inner, *innermost;
        REQUIRE_CALL(create_by(&supply, 8 * MIB, &inner) == 0);
        use(inner);
        struct supply within = {.from = inner};
        REQUIRE_CALL(create_by(&within, MIB, &innermost) == 0);
        use(innermost);
        cairn_heap_close(innermost);
        REQUIRE_EQUAL(within.releases, 1);
        REQUIRE_EQUAL(blocks_live(inner), 0);
        use(inner);
        cairn_heap_close(inner);
        REQUIRE_EQUAL(supply.releases, 1);
        REQUIRE_EQUAL(blocks_live(outer[i]), 0);
        REQUIRE_SOUND(outer[i]);
        cairn_heap_close(outer[i]);
    }
}

/* A positive result means nothing that was promised: it is no success. */
static void a_commit_that_returns_nonsense_has_failed(void)
{
    struct supply supply = {.give = get_pages(4 * MIB), .commit_result = 1};
    cairn_heap *heap = untouched;
    REFUSED(-EIO, create_by(&supply, 4 * MIB, &heap));
    REQUIRE(heap == untouched);
    REQUIRE_EQUAL(supply.releases, 1);
    supply.commit_result = -EIO;
    REFUSED(-EIO, create_by(&supply, 4 * MIB, &heap));
    REQUIRE_EQUAL(supply.releases, 2);
    supply.commit_result = 0;
    REQUIRE_CALL(create_by(&supply, 4 * MIB, &heap) == 0);
    void *block = cairn_alloc(heap, 1000);
    REQUIRE_CALL(block != NULL);
    supply.commit_result = 17;
    REQUIRE(cairn_alloc(heap, 2 * MIB) == NULL && cairn_last_errno() < 0);
    supply.commit_result = 0;
    void *large = cairn_alloc(heap, 2 * MIB);
    REQUIRE_CALL(large != NULL);
    memset(large, 1, 2 * MIB);
    supply.decommit_result = 17;
    cairn_free(heap, large);
    REQUIRE_EQUAL(cairn_trim(heap), 0); /* nothing was given back */
    use(heap);
    cairn_free(heap, block);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

/* Whatever a commit refuses with: the call fails, once, and says so. */
static void a_commit_may_refuse_by_any_name(void)
{
    static const int results[] = {-EAGAIN, -EBADF, -EDQUOT, -EINVAL, -ENOSPC, -ENOMEM, -ESTALE, -4096, INT_MIN, 1};
    struct supply supply = {.give = get_pages(4 * MIB)};
    cairn_heap *heap;
    REQUIRE_CALL(create_by(&supply, 4 * MIB, &heap) == 0);
    for (size_t i = 0; i < COUNT(results); i++) {
        void *block = NULL;
        supply.commit_result = results[i];
        REFUSED(-ENOMEM, cairn_alloc_to(heap, 2 * MIB, &block));
        REQUIRE(block == NULL && cairn_alloc(heap, 2 * MIB) == NULL && cairn_last_errno() == -ENOMEM);
        REQUIRE(strstr(cairn_last_error(), "descriptor") == NULL && strstr(cairn_last_error(), "limit") == NULL);
    }
    supply.commit_result = 0;
    use(heap);
    cairn_heap_close(heap);
}

static int commit_garbage(void *arg, void *address, size_t bytes)
{
    REQUIRE(mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0);
    memset(address, ((struct supply *)arg)->filler, bytes);
    return 0;
}

/* Where its tables grow into garbage the call is refused, and what there was is sound. */
static void a_commit_that_gives_garbage_later_is_refused(void)
{
    enum { LARGE = 200 };
    static void *blocks[LARGE];
    struct supply supply = {.give = get_pages(512 * MIB)};
    REQUIRE(mprotect(supply.give, 512 * MIB, PROT_NONE) == 0);
    cairn_memory calls = {
        .reserve = supply_reserve, .commit = commit_garbage, .release = supply_release, .arg = &supply};
    cairn_options options = {.size = sizeof options, .calls = &calls, .bytes_max = 512 * MIB};
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
    REQUIRE_CALL((blocks[0] = cairn_alloc(heap, 2 * MIB)) != NULL);
    supply.filler = 0x11;
    size_t count = 1;
    while (count < LARGE && (blocks[count] = cairn_alloc(heap, 2 * MIB)) != NULL)
        count++;
    REQUIRE(count > 1 && count < LARGE); /* a page holds the words of 512 units, which are 32 MiB */
    REQUIRE(strstr(cairn_last_error(), cairn_strerror(-EIO)) != NULL);
    REQUIRE_SOUND(heap);
    for (size_t i = 0; i < count; i++)
        cairn_free(heap, blocks[i]);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

/* The heap may not come to be, or have no memory; it believes nothing that it finds there. */
static void a_commit_that_gives_garbage_kills_nobody(void)
{
    static const unsigned char fillers[] = {0xaa, 0x01, 0x10, 0x11, 0x70, 0xff, 0x80};
    for (uint64_t bytes = 64 * KIB; bytes <= 512 * MIB; bytes *= 2) {
        for (size_t i = 0; i < COUNT(fillers); i++) {
            struct supply supply = {.give = get_pages(bytes), .filler = fillers[i]};
            REQUIRE(mprotect(supply.give, bytes, PROT_NONE) == 0);
            cairn_memory calls = {
                .reserve = supply_reserve, .commit = commit_garbage, .release = supply_release, .arg = &supply};
            cairn_options options = {.size = sizeof options, .calls = &calls, .bytes_max = bytes};
            cairn_heap *heap = untouched;
            if (cairn_heap_create(&heap, &options) < 0) {
                REQUIRE(heap == untouched && supply.releases == 1);
                REQUIRE(cairn_last_errno() == -EIO || cairn_last_errno() == -ENOMEM);
            } else {
                void *blocks[100];
                for (size_t k = 0; k < COUNT(blocks); k++) {
                    if ((blocks[k] = cairn_zalloc(heap, k * k * 10)) != NULL)
                        REQUIRE(((unsigned char *)blocks[k])[k * k * 5] == 0);
                }
                (void)cairn_root_set(heap, "root", blocks[1]);
                for (size_t k = 0; k < COUNT(blocks); k++)
                    cairn_free(heap, blocks[k]);
                (void)cairn_check(heap, NULL, NULL);
                cairn_heap_close(heap);
            }
            munmap(supply.give, bytes);
        }
    }
}

/* ---------------------------------------------------------------- files with holes */

static void look_at_sparse(void *arg)
{
    cairn_options options = {.size = sizeof options, .flags = *(const uint64_t *)arg};
    cairn_heap *heap = untouched;
    int error = cairn_heap_open(&heap, "sparse", &options);
    if (error < 0) {
        REQUIRE(error == -EUCLEAN && heap == untouched);
        return;
    }
    (void)cairn_check(heap, NULL, NULL);
    cairn_stats stats = {.size = sizeof stats};
    (void)cairn_stats_get(heap, &stats);
    void *block = cairn_alloc(heap, 100); /* from a heap that is none any more: an error, no crash */
    if (block != NULL)
        memset(block, 1, 100);
    cairn_heap_close(heap);
}

/* A header, and behind it nothing but a length. */
static void a_sparse_file_kills_nobody(void)
{
    static const uint64_t limits[] = {MIB, 64 * MIB, 4 * GIB};
    for (size_t i = 0; i < COUNT(limits); i++) {
        cairn_heap *heap = create_shared("heap", limits[i]);
        REQUIRE_CALL(cairn_alloc(heap, 10000) != NULL);
        cairn_heap_close(heap);
        struct stat status;
        REQUIRE(stat(workspace_path("heap"), &status) == 0);
        static unsigned char bytes[64 * KIB];
        for (size_t kept = 512; kept <= sizeof bytes; kept *= 2) {
            int from = open(workspace_path("heap"), O_RDONLY | O_CLOEXEC);
            int to = open(workspace_path("sparse"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
            REQUIRE(from >= 0 && to >= 0);
            ssize_t count = read(from, bytes, kept);
            REQUIRE(count > 0 && write(to, bytes, (size_t)count) == count && ftruncate(to, status.st_size) == 0);
            close(from);
            close(to);
            const uint64_t flags[] = {CAIRN_READ_ONLY, 0};
            for (size_t k = 0; k < COUNT(flags); k++)
                finish(start(look_at_sparse, &(uint64_t){flags[k]}));
        }
        REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
    }
}

static int try_open(uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    cairn_heap *heap = untouched;
    int error = cairn_heap_open(&heap, "heap", &options);
    if (error == 0)
        cairn_heap_close(heap);
    return error;
}

/* What is committed has to be in the file, or a touch of it would be SIGBUS. */
static void a_file_that_ends_before_what_is_committed_is_damaged(void)
{
    static const uint64_t limits[] = {MIB, 64 * MIB, 4 * GIB};
    for (size_t i = 0; i < COUNT(limits); i++) {
        cairn_heap *heap = create_shared("heap", limits[i]);
        REQUIRE_CALL(cairn_alloc(heap, 300000) != NULL);
        cairn_heap_close(heap);
        REQUIRE_EQUAL(try_open(0), 0);
        struct stat status;
        REQUIRE(stat(workspace_path("heap"), &status) == 0);
        REQUIRE(truncate(workspace_path("heap"), status.st_size - 1) == 0);
        REFUSED(-EUCLEAN, try_open(0));
        REFUSED(-EUCLEAN, try_open(CAIRN_READ_ONLY));
        REQUIRE(truncate(workspace_path("heap"), status.st_size + 4096) == 0); /* longer is no harm */
        REQUIRE_EQUAL(try_open(0), 0);
        REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
    }
}

/* ---------------------------------------------------------------- limited address space */

static uint64_t wanted_bytes(rlim_t limit, uint64_t bytes_max, uint64_t bytes_start)
{
    struct rlimit old;
    REQUIRE(getrlimit(RLIMIT_AS, &old) == 0);
    REQUIRE(setrlimit(RLIMIT_AS, &(struct rlimit){.rlim_cur = limit, .rlim_max = old.rlim_max}) == 0);
    cairn_options options = {
        .size = sizeof options, .name = "heap", .bytes_max = bytes_max, .bytes_start = bytes_start};
    cairn_heap *heap = untouched;
    int error = cairn_heap_create(&heap, &options);
    uint64_t reserved = 0;
    if (error == 0) {
        REQUIRE(stats_of(heap).bytes_committed >= bytes_start);
        reserved = stats_of(heap).bytes_reserved;
        use(heap);
        cairn_heap_close(heap);
        REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
    } else {
        REQUIRE_EQUAL(error, -ENOMEM);
        REQUIRE(heap == untouched && strchr(cairn_last_error(), ' ') != NULL && workspace_entries() == 0);
    }
    REQUIRE(setrlimit(RLIMIT_AS, &old) == 0);
    return reserved;
}

static uint64_t wanted_bytes_max(rlim_t limit, uint64_t bytes_max)
{
    return wanted_bytes(limit, bytes_max, 0);
}

static void a_heap_of_no_said_size_is_smaller_where_address_space_is(void)
{
    if (UNDER_SANITIZER)
        skip("a sanitizer needs all the address space");
    REQUIRE_EQUAL(wanted_bytes_max(RLIM_INFINITY, 0), 16 * GIB);
    REQUIRE_EQUAL(wanted_bytes_max(20 * GIB, 0), 16 * GIB);
    REQUIRE_EQUAL(wanted_bytes_max(12 * GIB, 0), 4 * GIB);
    REQUIRE_EQUAL(wanted_bytes_max(2 * GIB, 0), GIB);
    REQUIRE_EQUAL(wanted_bytes_max(GIB, 0), 0);
    REQUIRE_EQUAL(wanted_bytes_max(12 * GIB, 16 * GIB), 0); /* what was asked for is not made less */
}

/* A heap that is made smaller has room for its start all the same, or is not made. */
static void a_start_is_there_whatever_the_heap_has_for_its_size(void)
{
    cairn_options options = {.size = sizeof options, .name = "heap", .bytes_start = 16 * GIB + 1};
    cairn_heap *heap = untouched;
    REFUSED(-EINVAL, cairn_heap_create(&heap, &options));
    REQUIRE(heap == untouched);
    if (UNDER_SANITIZER)
        skip("a sanitizer needs all the address space");
    REQUIRE_EQUAL(wanted_bytes(2 * GIB, 0, 100 * MIB), GIB);
    REQUIRE_EQUAL(wanted_bytes(2 * GIB, 0, GIB + 1), 0);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(memory_that_is_another_heaps_is_refused),
        CLAIM(memory_that_is_no_block_is_refused),
        CLAIM(a_heap_may_lie_in_a_block_of_another),
        CLAIM(a_commit_that_returns_nonsense_has_failed),
        CLAIM(a_commit_may_refuse_by_any_name),
        CLAIM(a_commit_that_gives_garbage_kills_nobody),
        CLAIM(a_commit_that_gives_garbage_later_is_refused),
        CLAIM(a_sparse_file_kills_nobody),
        CLAIM(a_file_that_ends_before_what_is_committed_is_damaged),
        CLAIM(a_heap_of_no_said_size_is_smaller_where_address_space_is),
        CLAIM(a_start_is_there_whatever_the_heap_has_for_its_size),
    };
    return run_claims(claims, COUNT(claims), 20);
}
