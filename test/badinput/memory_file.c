/* SPDX-License-Identifier: MIT */
/* Descriptors that lead to no heap, to one that cannot be trusted to stay, or to one that was written by somebody else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "section/layout.h"
#include "support/random.h"
#include "support/workspace.h"

#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4U
#endif

enum { HEAP_BYTES = 2 << 20 };

static int open_it(int fd, uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    cairn_heap *heap = untouched;
    int error = cairn_heap_open_fd(&heap, fd, &options);
    REQUIRE((error == 0) == (heap != untouched));
    if (error == 0)
        cairn_heap_close(heap);
    return error;
}

static void refused(int fd, int error)
{
    REFUSED(error, open_it(fd, 0));
    REFUSED(error, open_it(fd, CAIRN_READ_ONLY));
}

static int make(void)
{
    int fd;
    cairn_heap *heap;
    cairn_options options = {.size = sizeof options, .bytes_max = HEAP_BYTES};
    REQUIRE_CALL(cairn_heap_create_fd(&heap, &fd, &options) == 0);
    char *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL && cairn_alloc(heap, 300000) != NULL && cairn_root_set(heap, "root", block) == 0);
    cairn_heap_close(heap);
    return fd;
}

/* A copy that may be written, so long, with these seals. */
static int copy_of(int fd, size_t bytes, int seals)
{
    static unsigned char page[1 << 16];
    int copy = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    REQUIRE(copy >= 0 && fchmod(copy, 0600) == 0 && ftruncate(copy, (off_t)bytes) == 0);
    for (size_t at = 0; at < bytes; at += sizeof page) {
        ssize_t count = pread(fd, page, sizeof page, (off_t)at);
        for (ssize_t i = 0; i < count; i++) { /* what is zero stays a hole */
            if (page[i] == 0)
                continue;
            REQUIRE(pwrite(copy, page, (size_t)count, (off_t)at) == count);
            break;
        }
    }
    REQUIRE(fcntl(copy, F_ADD_SEALS, seals) == 0);
    return copy;
}

static void what_is_no_sealed_memory_file_is_refused(void)
{
    int fd = make(), ends[2];
    refused(-1, -EBADF);
    refused(12345, -EBADF);
    int path_only = open("/dev/shm", O_PATH | O_CLOEXEC);
    refused(path_only, -EBADF);
    close(path_only);
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    REFUSED(-EOPNOTSUPP, open_it(ends[0], CAIRN_READ_ONLY));
    REFUSED(-EACCES, open_it(ends[1], CAIRN_READ_ONLY));
    close(ends[0]);
    close(ends[1]);

    cairn_heap_close(create_shared("named", HEAP_BYTES));
    int named = open(workspace_path("named"), O_RDWR | O_CLOEXEC);
    refused(named, -EPERM); /* which others may cut off: by its name they know what they do */
    close(named);
    int huge = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
    if (huge >= 0)
        refused(huge, -EOPNOTSUPP);
    close(huge);

    int unsealed = copy_of(fd, HEAP_BYTES, 0);
    refused(unsealed, -EPERM);
    REQUIRE(fcntl(unsealed, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL) == 0);
    refused(unsealed, -EPERM);
    close(unsealed);
    int unwritable = copy_of(fd, HEAP_BYTES, F_SEAL_SHRINK | F_SEAL_WRITE);
    REFUSED(-EPERM, open_it(unwritable, 0));
    REQUIRE_CALL(open_it(unwritable, CAIRN_READ_ONLY) == 0);
    close(unwritable);
    int good = copy_of(fd, HEAP_BYTES, F_SEAL_SHRINK);
    REQUIRE_CALL(open_it(good, 0) == 0 && open_it(good, CAIRN_READ_ONLY) == 0);
    REQUIRE(fchmod(good, 0666) == 0);
    refused(good, -EPERM);
    close(good);
    close(fd);
}

static void one_that_is_too_short_is_refused(void)
{
    int fd = make();
    static const size_t lengths[] = {1, 511, 512, 4096, MIB, HEAP_BYTES - 4096, HEAP_BYTES - 1};
    int empty = copy_of(fd, 0, F_SEAL_SHRINK);
    refused(empty, -EPROTO);
    close(empty);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        int copy = copy_of(fd, lengths[i], F_SEAL_SHRINK);
        REFUSED_EITHER(-EUCLEAN, -EPROTO, open_it(copy, 0));
        REFUSED_EITHER(-EUCLEAN, -EPROTO, open_it(copy, CAIRN_READ_ONLY));
        close(copy);
    }
    close(fd);
}

/* Whatever is written there: it is refused or opened, and looked at, and nothing faults. */
static void one_that_was_changed_is_refused_or_can_be_looked_at(void)
{
    int fd = make();
    struct random random = random_begin(random_seed("changes", 1));
    uint64_t rounds = random_rounds(100);
    uint64_t refusals = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        int copy = copy_of(fd, HEAP_BYTES, F_SEAL_SHRINK);
        uint64_t word = random_below(&random, 2) == 0 ? ~UINT64_C(0) : random_next(&random);
        size_t most = random_below(&random, 2) == 0 ? sizeof(struct section_image) : HEAP_BYTES;
        off_t at = (off_t)(random_below(&random, most / 8) * 8);
        REQUIRE(pwrite(copy, &word, sizeof word, at) == sizeof word);
        cairn_options options = {.size = sizeof options, .flags = CAIRN_READ_ONLY};
        cairn_heap *heap;
        if (cairn_heap_open_fd(&heap, copy, &options) == 0) {
            cairn_stats stats = {.size = sizeof stats};
            (void)cairn_stats_get(heap, &stats);
            (void)cairn_check(heap, NULL, NULL);
            (void)cairn_root_get(heap, "root");
            cairn_heap_close(heap);
        } else {
            refusals++;
        }
        close(copy);
    }
    REQUIRE(refusals > rounds / 10 && refusals < rounds);
    close(fd);
}

static void options_that_do_not_fit_are_refused(void)
{
    static const uint64_t flags[] = {CAIRN_OPEN_OR_CREATE, CAIRN_READ_ONLY, CAIRN_UNSERIALIZED, CAIRN_LOCKABLE,
                                     CAIRN_BOUND,          CAIRN_ANY_OWNER, CAIRN_RELOCATE};
    cairn_access many[65] = {0};
    cairn_options good = {.size = sizeof good, .bytes_max = HEAP_BYTES}, directory = good, small = good, large = good,
                  name = good, checked = good, memory = good, start = good, list = good;
    int fd = 77;
    cairn_heap *heap = untouched;
    directory.directory = workspace_directory();
    small.bytes_max = 4096;
    large.bytes_max = UINT64_C(1) << 50;
    name.name = "a/b";
    checked.checked = 1;
    memory.memory = many;
    start.bytes_start = HEAP_BYTES + 1;
    list.access = many;
    list.access_count = 65;
    const cairn_options *all[] = {&directory, &small, &large, &name, &checked, &memory, &start, &list};
    for (size_t i = 0; i < COUNT(all); i++)
        REFUSED(-EINVAL, cairn_heap_create_fd(&heap, &fd, all[i]));
    for (size_t i = 0; i < COUNT(flags); i++) {
        cairn_options flagged = good;
        flagged.flags = flags[i];
        REFUSED(-EINVAL, cairn_heap_create_fd(&heap, &fd, &flagged));
    }
    REFUSED(-EINVAL, cairn_heap_create_fd(&heap, NULL, &good));
    REQUIRE(fd == 77 && heap == untouched);
    REQUIRE_CALL(cairn_heap_create_fd(NULL, &fd, &good) == 0);
    REFUSED(-EINVAL, cairn_heap_open_fd(NULL, fd, NULL));
    REFUSED(-EINVAL, open_it(fd, CAIRN_OPEN_OR_CREATE));
    REFUSED(-EINVAL, open_it(fd, CAIRN_DAMAGED_TOO));
    REFUSED(-EINVAL, cairn_heap_open_fd(&heap, fd, &name));
    close(fd);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(what_is_no_sealed_memory_file_is_refused),
        CLAIM(one_that_is_too_short_is_refused),
        CLAIM(one_that_was_changed_is_refused_or_can_be_looked_at),
        CLAIM(options_that_do_not_fit_are_refused),
    };
    return run_claims(claims, COUNT(claims), 60);
}
