/* SPDX-License-Identifier: MIT */
/*
 * Heaps on a disk. There is no log, so a heap that was open when the system went down is refused; one that was closed
 * in order is not. A loss of power is played: the file gets another boot's number, and pages of two moments.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "section/layout.h"
#include "support/random.h"
#include "support/workspace.h"

static char disk[200];

/* In the directory that the test runs in, which is the build's; the workspace of the others lies in memory. */
static void enter_disk(void)
{
    char *here = getcwd(NULL, 0);
    snprintf(disk, sizeof disk, "%s/disk-XXXXXX", here);
    free(here);
    if (mkdtemp(disk) == NULL)
        broken(__FILE__, __LINE__, "%s: %s", disk, strerror(errno));
}

static void empty_disk(void)
{
    DIR *stream = opendir(disk);
    struct dirent *entry;
    while (stream != NULL && (entry = readdir(stream)) != NULL)
        unlinkat(dirfd(stream), entry->d_name, 0);
    if (stream != NULL)
        closedir(stream);
}

static void use_disk(void)
{
    struct statfs status;
    REQUIRE(statfs(disk, &status) == 0);
    uint32_t type = (uint32_t)status.f_type;
    if (type != 0xEF53U && type != 0x58465342U)
        skip("%s is on no ext4 and no xfs, but on a file system of type %#x", disk, type);
    empty_disk();
    setenv("CAIRN_DIR", disk, 1);
}

static const char *path_of(const char *name)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", disk, name);
    return path;
}

/* ---------------------------------------------------------------- the header, from outside */

static struct section_image header_of(const char *name)
{
    struct section_image header;
    int file = open(path_of(name), O_RDONLY | O_CLOEXEC);
    REQUIRE(file >= 0 && pread(file, &header, sizeof header, 0) == sizeof header);
    close(file);
    return header;
}

static bool is_clean(const char *name)
{
    struct section_image header = header_of(name);
    uint64_t clean = atomic_load(&header.clean);
    return clean != 0 && clean == atomic_load(&header.attaches) + 1;
}

static void write_header(const char *name, const struct section_image *header)
{
    int file = open(path_of(name), O_WRONLY | O_CLOEXEC);
    REQUIRE(file >= 0 && pwrite(file, header, sizeof *header, 0) == sizeof *header);
    close(file);
}

/* Another boot's number may differ from this one's in either half alone. */
static void reboot(struct section_image *header)
{
    static uint32_t times;
    atomic_fetch_xor(&header->boot_id[times++ % 2], UINT64_C(0x1234567));
}

/* The system goes down and comes up again, with the file as it is. */
static void lose_power(const char *name)
{
    struct section_image header = header_of(name);
    reboot(&header);
    write_header(name, &header);
}

static int open_as(const char *name, uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    cairn_heap *heap = untouched;
    int error = cairn_heap_open(&heap, name, &options);
    if (error == 0)
        cairn_heap_close(heap);
    else
        REQUIRE(heap == untouched);
    return error;
}

static int open_or_create(const char *name)
{
    cairn_options options = {.size = sizeof options, .name = name, .flags = CAIRN_OPEN_OR_CREATE};
    cairn_heap *heap = untouched;
    int error = cairn_heap_create(&heap, &options);
    if (error == 0)
        cairn_heap_close(heap);
    return error;
}

static void require_refused(const char *name)
{
    REFUSED(-EUCLEAN, open_as(name, 0));
    REFUSED(-EUCLEAN, open_as(name, CAIRN_READ_ONLY));
    REFUSED(-EUCLEAN, open_or_create(name));
}

/* ---------------------------------------------------------------- closed in order */

static void the_last_to_close_it_marks_it_clean(void)
{
    use_disk();
    cairn_heap *heap = create_shared("heap", 64 * MIB);
    REQUIRE(!is_clean("heap"));
    struct peer peer = peer_start("hold", "heap");
    peer_hear(&peer, 'o');
    void *block = cairn_alloc(heap, 1000);
    REQUIRE_CALL(block != NULL && cairn_root_set(heap, "block", block) == 0);
    memset(block, 3, 1000);
    cairn_heap_close(heap);
    REQUIRE(!is_clean("heap"));
    peer_finish(&peer);
    REQUIRE(is_clean("heap"));

    REQUIRE_EQUAL(open_as("heap", CAIRN_READ_ONLY), 0); /* which changes nothing */
    REQUIRE(is_clean("heap"));
    lose_power("heap"); /* closed before, so nothing was lost */
    heap = open_shared("heap", CAIRN_READ_ONLY);
    REQUIRE_EQUAL(((unsigned char *)cairn_root_get(heap, "block"))[999], 3);
    cairn_heap_close(heap);
    heap = open_shared("heap", 0);
    REQUIRE(!is_clean("heap"));
    struct section_image before = header_of("heap");
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    REQUIRE(is_clean("heap"));
    REQUIRE_EQUAL(open_as("heap", 0), 0);
    struct section_image after = header_of("heap"); /* it is this boot's again */
    REQUIRE_EQUAL(atomic_load(&before.boot_id[0]), atomic_load(&after.boot_id[0]));
    REQUIRE_EQUAL(atomic_load(&before.boot_id[1]), atomic_load(&after.boot_id[1]));
    REQUIRE(is_clean("heap"));
}

/* What is bound to the last ends with whoever comes next, after a loss of power, too. */
static void a_bound_child_does_not_keep_it_open(void)
{
    use_disk();
    for (int others = 0; others < 2; others++) {
        cairn_heap *heap = create_shared("heap", 64 * MIB), *child, *again;
        struct peer peer;
        if (others != 0) {
            peer = peer_start("hold", "heap");
            peer_hear(&peer, 'o');
        }
        cairn_options options = {.size = sizeof options, .name = "child", .parent = heap, .flags = CAIRN_BOUND};
        REQUIRE_CALL(cairn_heap_create(&child, &options) == 0);
        REQUIRE_CALL(cairn_alloc(child, 100000) != NULL);
        cairn_heap_close(child);
        cairn_heap_close(heap);
        if (others != 0) {
            REQUIRE(!is_clean("heap"));
            peer_finish(&peer);
        }
        REQUIRE(is_clean("heap"));
        lose_power("heap");
        heap = open_shared("heap", 0);
        REQUIRE_EQUAL(cairn_heap_open_child(&again, heap, "child"), -ENOENT);
        REQUIRE_SOUND(heap);
        cairn_heap_close(heap);
        REQUIRE(is_clean("heap"));
        REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
    }
}

static int run_holder(const char *name)
{
    cairn_heap *heap = open_shared(name, 0);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    tell('o');
    REQUIRE_EQUAL(hear(), -1);
    cairn_heap_close(heap);
    return 0;
}

static void a_heap_that_was_open_is_refused_after_a_loss_of_power(void)
{
    use_disk();
    cairn_heap *heap = create_shared("heap", 64 * MIB);
    REQUIRE_CALL(cairn_alloc(heap, 1000) != NULL);
    struct peer peer = peer_start("hold", "heap");
    peer_hear(&peer, 'o');
    cairn_heap_close(heap);
    kill(peer.pid, SIGKILL);
    finish_by(peer.pid, SIGKILL);
    REQUIRE(!is_clean("heap"));
    struct section_image header = header_of("heap");
    reboot(&header);
    write_header("heap", &header);
    require_refused("heap");
    atomic_store(&header.clean, atomic_load(&header.attaches)); /* a mark that came late: somebody joined since */
    write_header("heap", &header);
    require_refused("heap");
    atomic_store(&header.clean, UINT64_MAX);
    write_header("heap", &header);
    require_refused("heap");
    REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
}

/* A process that dies is no loss of power: all that it stored is in the file. */
static void a_killed_process_does_no_harm_on_a_disk_either(void)
{
    use_disk();
    cairn_heap_close(create_shared("heap", 64 * MIB));
    struct peer peer = peer_start("hold", "heap");
    peer_hear(&peer, 'o');
    kill(peer.pid, SIGKILL);
    finish_by(peer.pid, SIGKILL);
    REQUIRE(!is_clean("heap"));
    cairn_heap *heap = open_shared("heap", 0);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_EQUAL(stats_of(heap).blocks_live, 1);
    REQUIRE_SOUND(heap);

    /* And one that died while the last had it open does not keep that one from closing it in order. */
    struct peer second = peer_start("hold", "heap");
    peer_hear(&second, 'o');
    kill(second.pid, SIGKILL);
    finish_by(second.pid, SIGKILL);
    cairn_heap_close(heap);
    REQUIRE(is_clean("heap"));
    lose_power("heap");
    REQUIRE_EQUAL(open_as("heap", 0), 0);
}

struct forking {
    cairn_heap *heap;
    _Atomic uint32_t closed;
    _Atomic uint32_t joined;
};

static void join_late(void *arg)
{
    struct forking *forking = arg;
    wait_for(&forking->closed, 1);
    REQUIRE_CALL(cairn_alloc(forking->heap, 100) != NULL); /* its first call: from now on it is one of the heap's */
    advance(&forking->joined);
    wait_for(&forking->closed, 2);
    cairn_heap_close(forking->heap);
}

static void a_child_that_joins_after_its_parent_left_has_it_open(void)
{
    use_disk();
    struct forking *forking = shared_memory(sizeof *forking);
    forking->heap = create_shared("heap", 64 * MIB);
    pid_t child = start(join_late, forking);
    cairn_heap_close(forking->heap);
    REQUIRE(is_clean("heap"));
    advance(&forking->closed);
    wait_for(&forking->joined, 1);
    REQUIRE(!is_clean("heap"));
    advance(&forking->closed);
    finish(child);
    REQUIRE(is_clean("heap"));
}

enum { COMERS = 4, VISITS = 40 };

static void come_and_go(void *arg)
{
    (void)arg;
    for (int i = 0; i < VISITS; i++) {
        cairn_heap *heap = open_shared("heap", 0);
        for (int k = 0; k < 30; k++) { /* however slowly another one is leaving */
            cairn_free(heap, cairn_alloc(heap, 1000));
            if (is_clean("heap"))
                broken(__FILE__, __LINE__, "visit %d: marked as clean while it is open here", i);
        }
        cairn_heap_close(heap);
    }
}

static void what_somebody_has_open_is_never_clean(void)
{
    use_disk();
    cairn_heap_close(create_shared("heap", 64 * MIB));
    pid_t children[COMERS];
    for (int i = 0; i < COMERS; i++)
        children[i] = start(come_and_go, NULL);
    for (int i = 0; i < COMERS; i++)
        finish(children[i]);
    REQUIRE(is_clean("heap"));
    lose_power("heap");
    cairn_heap *heap = open_shared("heap", 0);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

/* ---------------------------------------------------------------- pages of two moments */

enum { PAGE_BYTES = 4096, MIXES = 200 };

struct copy {
    unsigned char *bytes;
    size_t size;
};

static struct copy read_copy(const char *name)
{
    int file = open(path_of(name), O_RDONLY | O_CLOEXEC);
    struct stat status;
    REQUIRE(file >= 0 && fstat(file, &status) == 0);
    struct copy copy = {.size = (size_t)status.st_size};
    copy.bytes = malloc(copy.size);
    REQUIRE(copy.bytes != NULL);
    REQUIRE_EQUAL(pread(file, copy.bytes, copy.size, 0), copy.size);
    close(file);
    return copy;
}

static void write_mix(const char *name, const struct copy *old, const struct copy *new, struct random *random)
{
    size_t size = random_below(random, 4) == 0 ? old->size : new->size;
    uint64_t of_old = random_below(random, 17);
    unsigned char *mix = malloc(size);
    REQUIRE(mix != NULL);
    for (size_t at = 0; at < size; at += PAGE_BYTES) {
        const struct copy *from = random_below(random, 16) < of_old ? old : new;
        if (at + PAGE_BYTES > from->size) /* the other one had not been that long, or had not got there */
            memset(mix + at, 0, PAGE_BYTES);
        else
            memcpy(mix + at, from->bytes + at, PAGE_BYTES);
    }
    int file = open(path_of(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(file >= 0 && ftruncate(file, (off_t)size) == 0);
    REQUIRE_EQUAL(write(file, mix, size), size);
    close(file);
    free(mix);
    lose_power(name);
}

static int see_span(const cairn_span *span, void *arg)
{
    *(uint64_t *)arg += span->bytes;
    return 0;
}

static int see_block(void *block, size_t bytes, void *arg)
{
    (void)block;
    *(uint64_t *)arg += bytes;
    return 0;
}

static int see_root(const char *name, void *block, void *arg)
{
    (void)block;
    *(uint64_t *)arg += strlen(name);
    return 0;
}

/* Refused, or looked at in every way; a mix that kills or hangs does so to this claim's process, and the seed is told.
 */
static void look_at_mix(uint64_t flags, bool may_open)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    cairn_heap *heap = untouched;
    int error = cairn_heap_open(&heap, "mix", &options);
    if (error < 0) {
        REQUIRE_EQUAL(error, -EUCLEAN);
        REQUIRE(heap == untouched && strchr(cairn_last_error(), ' ') != NULL);
        return;
    }
    REQUIRE(may_open);
    uint64_t sum = 0;
    stats_of(heap);
    (void)cairn_root_walk(heap, see_root, &sum);
    (void)cairn_walk(heap, see_span, see_block, &sum);
    (void)cairn_check(heap, NULL, NULL); /* what it finds is told, and that may be much */
    cairn_heap_close(heap);
}

/* Changes much: blocks of all sizes, roots, and the bytes in them. */
static void change_heap(cairn_heap *heap, struct random *random)
{
    static void *blocks[300];
    for (size_t i = 0; i < 4 * COUNT(blocks); i++) {
        void **place = &blocks[random_below(random, COUNT(blocks))];
        if (*place != NULL) {
            cairn_free(heap, *place);
            *place = NULL;
        } else {
            size_t size = random_size(random, 3000);
            REQUIRE_CALL((*place = cairn_alloc(heap, size)) != NULL);
            memset(*place, (int)random_below(random, 256), size);
        }
    }
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "root-%llu", (unsigned long long)random_below(random, 100));
        REQUIRE_CALL(cairn_root_set(heap, name, blocks[random_below(random, COUNT(blocks))]) == 0);
    }
}

/* old_open, new_open: whether the heap was open at the two moments. */
static void try_mixes(bool old_open, bool new_open, uint64_t usual_seed)
{
    use_disk();
    uint64_t seed = random_seed("mixes", usual_seed);
    struct random random = random_begin(seed);
    cairn_heap *heap = create_shared("heap", 4 * MIB);
    change_heap(heap, &random);
    if (!old_open)
        cairn_heap_close(heap);
    struct copy old = read_copy("heap");
    if (!old_open)
        heap = open_shared("heap", 0);
    change_heap(heap, &random);
    if (!new_open)
        cairn_heap_close(heap);
    struct copy new = read_copy("heap");
    if (new_open)
        cairn_heap_close(heap); /* its address has to be free for the mixes */
    struct section_image old_header, new_header;
    memcpy(&old_header, old.bytes, sizeof old_header);
    memcpy(&new_header, new.bytes, sizeof new_header);
    REQUIRE((atomic_load(&old_header.clean) == atomic_load(&old_header.attaches) + 1) == !old_open);
    REQUIRE((atomic_load(&new_header.clean) == atomic_load(&new_header.attaches) + 1) == !new_open);

    int opened = 0;
    uint64_t rounds = random_rounds(MIXES);
    for (uint64_t i = 0; i < rounds; i++) {
        write_mix("mix", &old, &new, &random);
        bool clean = is_clean("mix");
        look_at_mix(CAIRN_READ_ONLY, clean);
        if (!clean || i % 4 == 0) /* writers sync, which takes its time */
            look_at_mix(0, clean);
        opened += clean;
    }
    REQUIRE(old_open && new_open ? opened == 0 : opened > 0);
    printf("        %d of %llu had the header of a heap that was closed in order\n", opened,
           (unsigned long long)rounds);
    free(old.bytes);
    free(new.bytes);
}

static void a_mix_of_two_open_moments_is_refused(void)
{
    try_mixes(true, true, 1);
}

/* The disk kept its word about the mark that was written first, or it did not: then what opens must not kill. */
static void a_mix_with_a_closed_moment_kills_nobody(void)
{
    try_mixes(false, true, 2);
}

static void a_mix_of_two_closed_moments_kills_nobody(void)
{
    try_mixes(false, false, 3);
}

/* ---------------------------------------------------------------- a section by itself */

/* Nothing is promised but what the file system promises: it has no mark, so it opens. */
static void a_section_on_a_disk_is_as_the_file_system_left_it(void)
{
    use_disk();
    cairn_options options = {.size = sizeof options, .name = "section", .bytes_max = MIB, .bytes_start = MIB};
    cairn_section *section;
    REQUIRE_CALL(cairn_section_create(&section, &options) == 0);
    memset(cairn_section_address(section), 5, MIB);
    struct stat status;
    REQUIRE(stat(path_of("section"), &status) == 0);
    REQUIRE(status.st_blocks * 512 >= (off_t)MIB);
    REQUIRE_CALL(cairn_section_decommit(section, 0, MIB / 2) == 0);
    REQUIRE_CALL(cairn_section_commit(section, 0, MIB) == 0);
    const unsigned char *bytes = cairn_section_address(section);
    for (size_t i = 0; i < MIB; i++)
        REQUIRE_EQUAL(bytes[i], i < MIB / 2 ? 0 : 5);
    cairn_section_close(section);
    lose_power("section");
    REQUIRE_CALL(cairn_section_open(&section, "section", NULL) == 0);
    cairn_section_close(section);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "hold") == 0)
        return run_holder(argv[2]);
    enter_disk();
    static const struct claim claims[] = {
        CLAIM(the_last_to_close_it_marks_it_clean),
        CLAIM(a_bound_child_does_not_keep_it_open),
        CLAIM(a_heap_that_was_open_is_refused_after_a_loss_of_power),
        CLAIM(a_killed_process_does_no_harm_on_a_disk_either),
        CLAIM(a_child_that_joins_after_its_parent_left_has_it_open),
        CLAIM(what_somebody_has_open_is_never_clean),
        CLAIM(a_mix_of_two_open_moments_is_refused),
        CLAIM(a_mix_with_a_closed_moment_kills_nobody),
        CLAIM(a_mix_of_two_closed_moments_kills_nobody),
        CLAIM(a_section_on_a_disk_is_as_the_file_system_left_it),
    };
    int status = run_claims(claims, COUNT(claims), 40);
    empty_disk();
    rmdir(disk);
    return status;
}
