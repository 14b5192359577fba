/* SPDX-License-Identifier: MIT */
/* A file system without room. Needs root, for a small tmpfs in a mount namespace of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/workspace.h"

static void caught(int signal)
{
    static const char text[] = "a full file system became a signal\n";
    (void)!write(2, text, sizeof text - 1);
    (void)signal;
    _exit(1);
}

static char small[512];

/* The namespace ends with this process, and the mount with it. */
static void mount_small(size_t kib)
{
    static bool has_namespace;
    if (!has_namespace) {
        if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
            skip("needs root and a mount namespace, for a file system that is full");
        /* Under chroot the root is no mount point, and what would be mounted could be seen outside. */
        if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            skip("needs a root directory that is a mount point, for a private mount");
        snprintf(small, sizeof small, "%s", workspace_path("small"));
        REQUIRE(mkdir(small, 0700) == 0);
        static const int signals[] = {SIGBUS, SIGSEGV, SIGXFSZ, SIGPIPE};
        for (size_t i = 0; i < COUNT(signals); i++)
            signal(signals[i], caught);
        has_namespace = true;
    }
    char size[64];
    snprintf(size, sizeof size, "size=%zuk,mode=0700", kib);
    if (mount("tmpfs", small, "tmpfs", 0, size) < 0)
        skip("no tmpfs can be mounted: %s", strerror(errno));
    setenv("CAIRN_DIR", small, 1);
}

static void unmount_small(void)
{
    REQUIRE(umount(small) == 0); /* and nothing holds on to it */
}

struct block {
    unsigned char *bytes;
    size_t size;
};

static struct block blocks[200000];
static size_t block_count;

static unsigned char sign_of(size_t i)
{
    return (unsigned char)(i * 7 + 1);
}

static void fill(cairn_heap *heap, size_t size)
{
    for (;;) {
        unsigned char *bytes = cairn_alloc(heap, size);
        if (bytes == NULL)
            return;
        REQUIRE(block_count < COUNT(blocks));
        memset(bytes, sign_of(block_count), size);
        blocks[block_count++] = (struct block){bytes, size};
    }
}

static void require_intact(void)
{
    for (size_t i = 0; i < block_count; i++) {
        for (size_t k = 0; k < blocks[i].size; k++) {
            if (blocks[i].bytes[k] != sign_of(i))
                broken(__FILE__, __LINE__, "byte %zu of block %zu changed", k, i);
        }
    }
}

static void free_all(cairn_heap *heap)
{
    while (block_count > 0)
        cairn_free(heap, blocks[--block_count].bytes);
}

static void require_it_says_full(void)
{
    REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
    if (strstr(cairn_last_error(), small) == NULL || strstr(cairn_last_error(), "free") == NULL)
        broken(__FILE__, __LINE__, "the reason does not tell that it is full: %s", cairn_last_error());
}

static void a_full_file_system_is_null_and_a_reason(void)
{
    static const size_t sizes[] = {16, 100, 1000, 5000, 30000, 70000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        mount_small(1024);
        cairn_heap *heap = create_shared("heap", 0);
        /* At first by this size, then by smaller ones to the last byte. */
        fill(heap, sizes[i]);
        require_it_says_full();
        REQUIRE(block_count > 0);
        size_t first_count = block_count;
        for (size_t size = sizes[i] / 2; size >= 16; size /= 2)
            fill(heap, size);
        require_intact();
        REQUIRE_SOUND(heap);
        REQUIRE_EQUAL(blocks_live(heap), block_count);

        /* The other calls that need memory. */
        REFUSED_NULL(-ENOMEM, cairn_zalloc(heap, 100000));
        REFUSED_NULL(-ENOMEM, cairn_aligned_alloc(heap, 65536, 100000));
        REFUSED_NULL(-ENOMEM, cairn_realloc(heap, blocks[0].bytes, 900000));
        REQUIRE(!cairn_expand(heap, blocks[0].bytes, 900000));
        REFUSED(-ENOMEM, cairn_alloc_to(heap, 900000, (void **)(void *)blocks[0].bytes));
        require_intact();

        free_all(heap);
        REQUIRE_EQUAL(blocks_live(heap), 0);
        fill(heap, sizes[i]);
        require_it_says_full();
        if (block_count * 10 < first_count * 9)
            broken(__FILE__, __LINE__, "%zu blocks of %zu bytes at first, %zu the second time", first_count, sizes[i],
                   block_count);
        require_intact();
        free_all(heap);
        REQUIRE_CALL(cairn_trim(heap) >= 0);
        fill(heap, 5000);
        REQUIRE(block_count * 5000 > 256 * KIB);
        require_intact();
        free_all(heap);
        REQUIRE_SOUND(heap);
        cairn_heap_close(heap);
        REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
        unmount_small();
    }
}

static void use_and_leave(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    require_intact(); /* at the same address */
    for (size_t i = 0; i < block_count; i += 2)
        cairn_free(heap, blocks[i].bytes);
    REQUIRE_CALL(cairn_alloc(heap, blocks[0].size) != NULL);
}

/* Attaching needs a record in tables that are committed by the page: it works, or it is refused with the reason. */
static void a_full_heap_can_be_attached_and_emptied(void)
{
    mount_small(1024);
    cairn_heap *heap = create_shared("heap", 0);
    for (size_t size = 65536; size >= 16; size /= 2)
        fill(heap, size);
    cairn_heap_close(heap);
    finish(start(use_and_leave, NULL));
    heap = open_shared("heap", 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    heap = open_shared("heap", CAIRN_READ_ONLY);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    unmount_small();
}

/* A tmpfs of no size is one without a limit: the smallest has a page, and that is taken here. */
static void mount_of_size(size_t kib)
{
    mount_small(kib == 0 ? 4 : kib);
    if (kib > 0)
        return;
    int file = open(workspace_path("small/all"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    REQUIRE(file >= 0 && posix_fallocate(file, 0, 4096) == 0);
    REQUIRE(posix_fallocate(file, 4096, 4096) == ENOSPC);
    close(file);
}

/* Opened again there, by another process: full as it is, it may be refused, and is used when it is not. */
static void use_again(void *arg)
{
    const char *name = arg;
    cairn_heap *heap = untouched;
    if (cairn_heap_open(&heap, name, NULL) < 0) {
        REQUIRE(heap == untouched);
        require_it_says_full();
        return;
    }
    REQUIRE_SOUND(heap);
    void *block = cairn_alloc(heap, 100);
    if (block == NULL)
        REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
    cairn_free(heap, block);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

/* Each size between nothing and enough. */
static void a_heap_is_created_whole_or_not_at_all(void)
{
    static const uint64_t limits[] = {0, 256 * KIB, MIB, 64 * MIB};
    size_t smallest = 0;
    for (size_t l = 0; l < COUNT(limits); l++) {
        bool fitted = false;
        for (size_t kib = 0; kib <= 1024; kib += 4) {
            mount_of_size(kib);
            cairn_options options = {.size = sizeof options, .name = "heap", .bytes_max = limits[l]};
            cairn_heap *heap = untouched;
            char *before = look_around();
            int error = cairn_heap_create(&heap, &options);
            if (error < 0) {
                REQUIRE(heap == untouched);
                if (error != -ENOMEM)
                    broken(__FILE__, __LINE__, "%zu KiB: %d (%s)", kib, error, cairn_last_error());
                REQUIRE_EQUAL(cairn_last_errno(), error);
                REQUIRE(strchr(cairn_last_error(), ' ') != NULL);
                require_unchanged(__FILE__, __LINE__, "create", before);
                REQUIRE(access(workspace_path("small/heap"), F_OK) < 0);
                REQUIRE(!fitted); /* what fits into less fits into more */
            } else {
                free(before);
                smallest = fitted || l != 0 ? smallest : kib;
                fitted = true;
                /* It may have no room for a block, and then it says so. */
                fill(heap, 1000);
                if (limits[l] == 0 || limits[l] == 64 * MIB) /* where the heap's own limit is as near, it may be that */
                    require_it_says_full();
                else
                    REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
                require_intact();
                finish(start(use_again, (char[]){"heap"}));
                free_all(heap);
                REQUIRE_SOUND(heap);
                cairn_heap_close(heap);
                REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
            }
            unmount_small();
        }
        REQUIRE(fitted);
    }
    printf("        a heap needs %zu KiB at least\n", smallest);
}

static void roots_need_room_too(void)
{
    mount_small(1024);
    cairn_heap *heap = create_shared("heap", 0);
    for (size_t size = 65536; size >= 16; size /= 2)
        fill(heap, size);
    int error = 0, count = 0;
    char root[32];
    while (error == 0 && count < 200) {
        snprintf(root, sizeof root, "root-%d", count++);
        error = cairn_root_set(heap, root, blocks[0].bytes);
    }
    REQUIRE(error == 0 || error == -ENOMEM);
    if (error < 0) {
        REQUIRE_EQUAL(cairn_last_errno(), error);
        REQUIRE(cairn_root_get(heap, root) == NULL);
    }
    require_intact();
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    unmount_small();
}

/* ---------------------------------------------------------------- a competitor */

struct contest {
    _Atomic uint32_t filled;  /* how often it has taken all there is, */
    _Atomic uint32_t emptied; /* and given it back */
    _Atomic uint32_t over;
};

/* Takes what is left of the file system, and gives it back, as fast as it can. */
static void compete(void *arg)
{
    struct contest *contest = arg;
    int file = open(workspace_path("small/competitor"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    REQUIRE(file >= 0);
    while (atomic_load(&contest->over) == 0) {
        off_t bytes = 0;
        while (posix_fallocate(file, bytes, 4096) == 0)
            bytes += 4096;
        advance(&contest->filled);
        REQUIRE(ftruncate(file, 0) == 0);
        advance(&contest->emptied);
    }
    close(file);
    REQUIRE(unlink(workspace_path("small/competitor")) == 0);
}

/* Heaps are created, filled, given back and destroyed beside it: each call does as it says or has its reason. */
static void a_competitor_that_fills_and_frees_harms_nothing(void)
{
    struct contest *contest = shared_memory(sizeof *contest);
    mount_small(1024);
    pid_t competitor = start(compete, contest);
    wait_for(&contest->emptied, 1);
    uint32_t created = 0, refused = 0, blocks_refused = 0, blocks_got = 0;
    for (uint32_t round = 0; round < 300 || atomic_load(&contest->filled) < 100 || blocks_refused == 0; round++) {
        cairn_options options = {.size = sizeof options, .name = "heap", .bytes_max = round % 2 == 0 ? 0 : 64 * MIB};
        cairn_heap *heap = untouched;
        if (cairn_heap_create(&heap, &options) < 0) {
            REQUIRE(heap == untouched);
            REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
            REQUIRE(access(workspace_path("small/heap"), F_OK) < 0);
            refused++;
            continue;
        }
        created++;
        static const size_t sizes[] = {100, 3000, 40000, 150000};
        for (uint32_t turn = 0; turn < 40; turn++) {
            size_t size = sizes[(round + turn) % COUNT(sizes)];
            unsigned char *bytes = cairn_zalloc(heap, size);
            if (bytes == NULL) {
                REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
                blocks_refused++;
                /* A thread whose first call this is may find no room for its record. */
                REQUIRE_CALL(turn % 8 != 0 || cairn_trim(heap) >= 0 || cairn_last_errno() == -ENOMEM);
                continue;
            }
            blocks_got++;
            memset(bytes, sign_of(block_count), size); /* it is there, whatever the competitor takes */
            blocks[block_count++] = (struct block){bytes, size};
            if (turn % 3 == 2) {
                require_intact();
                block_count--;
                cairn_free(heap, blocks[block_count].bytes);
            }
        }
        require_intact();
        free_all(heap);
        REQUIRE_SOUND(heap);
        REQUIRE_EQUAL(blocks_live(heap), 0);
        cairn_heap_close(heap);
        REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
    }
    atomic_store(&contest->over, 1);
    finish(competitor);
    REQUIRE(created > 0 && blocks_got > 0);
    printf(
        "        %u heaps created and %u refused, %u blocks allocated and %u refused, while all was taken %u times\n",
        created, refused, blocks_got, blocks_refused, atomic_load(&contest->filled));
    cairn_heap *heap = create_shared("heap", 0); /* and when it has gone everything is as before */
    fill(heap, 5000);
    REQUIRE(block_count * 5000 > 512 * KIB);
    require_intact();
    free_all(heap);
    cairn_heap_close(heap);
    REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
    unmount_small();
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_full_file_system_is_null_and_a_reason),         CLAIM(a_full_heap_can_be_attached_and_emptied),
        CLAIM(a_heap_is_created_whole_or_not_at_all),           CLAIM(roots_need_room_too),
        CLAIM(a_competitor_that_fills_and_frees_harms_nothing),
    };
    return run_claims(claims, COUNT(claims), 60);
}
