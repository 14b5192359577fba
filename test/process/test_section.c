/* SPDX-License-Identifier: MIT */
/*
 * Sections by themselves, as their users see them: growable memory under a name that several processes have open, views
 * of parts of it, and what is really taken.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/random.h"
#include "support/workspace.h"

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))

static cairn_section *const no_section = (cairn_section *)0x10;

static int create(cairn_section **ret_section, const char *name, uint64_t bytes_max, uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .name = name, .bytes_max = bytes_max, .flags = flags};
    return cairn_section_create(ret_section, &options);
}

static cairn_section *make(const char *name, uint64_t bytes_max)
{
    cairn_section *section;
    if (create(&section, name, bytes_max, 0) < 0)
        broken(__FILE__, __LINE__, "create: %s", cairn_last_error());
    return section;
}

static int open_as(cairn_section **ret_section, const char *name, uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    return cairn_section_open(ret_section, name, &options);
}

static cairn_section *open_it(const char *name, uint64_t flags)
{
    cairn_section *section;
    if (open_as(&section, name, flags) < 0)
        broken(__FILE__, __LINE__, "open: %s", cairn_last_error());
    return section;
}

static int try_open(const char *name, uint64_t flags)
{
    cairn_section *section = no_section;
    int error = open_as(&section, name, flags);
    if (error == 0)
        cairn_section_close(section);
    else
        REQUIRE(section == no_section);
    return error;
}

static unsigned char *bytes_of(cairn_section *section)
{
    return cairn_section_address(section);
}

static void commit(cairn_section *section, uint64_t offset, uint64_t bytes)
{
    REQUIRE_CALL(cairn_section_commit(section, offset, bytes) == 0);
}

static uint64_t run_of(cairn_section *section, uint64_t offset, int state)
{
    uint64_t run = 0;
    REQUIRE_EQUAL(cairn_section_query(section, offset, &run), state);
    REQUIRE_EQUAL(cairn_section_query(section, offset, NULL), state);
    return run;
}

static uint64_t bytes_taken(const char *name)
{
    struct stat status;
    REQUIRE(stat(workspace_path(name), &status) == 0);
    return (uint64_t)status.st_blocks * 512;
}

static void require_all(const unsigned char *bytes, size_t count, unsigned char value)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != value)
            broken(__FILE__, __LINE__, "byte %zu is %u instead of %u", i, bytes[i], value);
    }
}

/* ---------------------------------------------------------------- faults */

struct touch {
    volatile unsigned char *byte;
    bool write;
};

static void touch(void *arg)
{
    const struct touch *touch = arg;
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would make something else of it */
    if (touch->write)
        *touch->byte = 1;
    else
        (void)*touch->byte;
}

static void require_fault(void *byte, bool write)
{
    struct touch arg = {.byte = byte, .write = write};
    finish_by(start(touch, &arg), SIGSEGV);
}

/* ---------------------------------------------------------------- growth */

/* A peer with the argument "r" only reads, one with "w" commits too. */
static int run_grower(const char *argument)
{
    bool reads = argument[0] == 'r';
    cairn_section *section = open_it("grown", reads ? CAIRN_READ_ONLY : 0);
    unsigned char *bytes = bytes_of(section);
    REQUIRE_EQUAL(run_of(section, 0, 0), 64 * MIB);
    tell('o');
    REQUIRE(hear() == 'c');
    REQUIRE_EQUAL(run_of(section, 0, 1), reads ? 10 * MIB : MIB);
    REQUIRE_EQUAL(run_of(section, reads ? 10 * MIB : MIB, 0), reads ? 54 * MIB : 63 * MIB);
    void *address;
    memcpy(&address, bytes, sizeof address);
    REQUIRE(address == bytes); /* one address in all processes */
    require_all(bytes + sizeof address, MIB - sizeof address, 0x5a);
    if (reads) {
        require_all(bytes + MIB, 9 * MIB, 0xa5); /* through the view that it has had from the start */
    } else {
        commit(section, MIB, 9 * MIB);
        memset(bytes + MIB, 0xa5, 9 * MIB);
    }
    tell('d');
    REQUIRE_EQUAL(hear(), -1);
    cairn_section_close(section);
    return 0;
}

static void what_one_process_commits_all_can_use(void)
{
    cairn_section *section = make("grown", 64 * MIB);
    struct peer reader = peer_start("grow", "r"), writer = peer_start("grow", "w");
    peer_hear(&reader, 'o');
    peer_hear(&writer, 'o');
    unsigned char *bytes = bytes_of(section);
    commit(section, 0, MIB);
    require_all(bytes, MIB, 0);
    memset(bytes, 0x5a, MIB);
    memcpy(bytes, &(void *){bytes}, sizeof(void *));
    peer_tell(&writer, 'c');
    peer_hear(&writer, 'd');
    require_all(bytes + MIB, 9 * MIB, 0xa5);
    peer_tell(&reader, 'c');
    peer_hear(&reader, 'd');
    peer_finish(&reader);
    peer_finish(&writer);
    cairn_section_close(section);
}

static void a_section_is_there_when_all_have_closed_it(void)
{
    cairn_section *section = make("kept", 10 * MIB + 1);
    REQUIRE_EQUAL(cairn_section_bytes_max(section), 10 * MIB + PAGE);
    commit(section, 5 * MIB, 1);
    memset(bytes_of(section) + 5 * MIB, 7, PAGE);
    void *address = bytes_of(section);
    REQUIRE((uintptr_t)address % PAGE == 0);
    cairn_section_close(section);
    cairn_section_close(NULL);

    section = open_it("kept", 0);
    REQUIRE(cairn_section_address(section) == address);
    REQUIRE_EQUAL(cairn_section_bytes_max(section), 10 * MIB + PAGE);
    REQUIRE_EQUAL(run_of(section, 0, 0), 5 * MIB);
    REQUIRE_EQUAL(run_of(section, 5 * MIB, 1), PAGE);
    REQUIRE_EQUAL(run_of(section, 5 * MIB + PAGE, 0), 5 * MIB);
    REQUIRE_EQUAL(run_of(section, 5 * MIB + 100, 1), PAGE - 100);
    require_all(bytes_of(section) + 5 * MIB, PAGE, 7);
    cairn_section_close(section);
}

static void a_name_goes_and_the_views_stay(void)
{
    cairn_section *old = make("name", MIB);
    commit(old, 0, MIB);
    memset(bytes_of(old), 1, MIB);
    REQUIRE_CALL(cairn_section_unlink("name", NULL) == 0);
    REQUIRE_EQUAL(workspace_entries(), 0);
    REFUSED(-ENOENT, try_open("name", 0));
    REFUSED(-ENOENT, cairn_section_unlink("name", NULL));
    commit(old, 0, MIB);
    cairn_section *new = make("name", MIB);
    REQUIRE(bytes_of(new) != bytes_of(old));
    REQUIRE_EQUAL(run_of(new, 0, 0), MIB);
    require_all(bytes_of(old), MIB, 1);
    cairn_section_close(old);
    cairn_section_close(new);
}

/* ---------------------------------------------------------------- committed, page by page */

enum { ROUNDS = 400 };

/* Every operation against a plain array that tells of each page whether it is committed, and its byte. */
static void follow_the_model(cairn_section *section, uint64_t seed)
{
    struct random random = random_begin(seed);
    uint64_t pages = cairn_section_bytes_max(section) / PAGE;
    static unsigned char committed[200000], contents[200000];
    memset(committed, 0, sizeof committed);
    memset(contents, 0, sizeof contents);
    REQUIRE(pages <= sizeof committed);
    unsigned char *bytes = bytes_of(section);
    for (int round = 0; round < ROUNDS; round++) {
        /* Mostly around a few places, so that the ranges meet. */
        uint64_t first = random_below(&random, 4) * pages / 4 + random_below(&random, 40);
        uint64_t count = 1 + random_below(&random, 20);
        if (random_below(&random, 10) == 0)
            count = random_below(&random, pages);
        first = first < pages ? first : pages - 1;
        count = first + count <= pages ? count : pages - first;
        uint64_t offset = first * PAGE, size = count * PAGE;
        if (random_below(&random, 2) == 0) {
            commit(section, offset + random_below(&random, PAGE), size - PAGE + 1);
            for (uint64_t page = first; page < first + count; page++) {
                if (committed[page] == 0)
                    contents[page] = 0;
                committed[page] = 1;
            }
        } else {
            /* A page that the range has only a part of stays. */
            uint64_t cut = count > 1 ? random_below(&random, PAGE) : 0;
            REQUIRE_CALL(cairn_section_decommit(section, offset + cut, size - cut) == 0);
            memset(committed + first + (cut != 0), 0, count - (cut != 0));
        }
        for (uint64_t page = first; page < first + count && page < first + 20; page++) {
            if (committed[page] == 0)
                continue;
            if (bytes[page * PAGE] != contents[page] || bytes[page * PAGE + PAGE - 1] != contents[page])
                broken(__FILE__, __LINE__, "round %d, page %llu: %u, %u instead of %u", round, (unsigned long long)page,
                       bytes[page * PAGE], bytes[page * PAGE + PAGE - 1], contents[page]);
            contents[page] = (unsigned char)(1 + random_below(&random, 255));
            memset(bytes + page * PAGE, contents[page], PAGE);
        }
        for (uint64_t page = 0; page < pages;) {
            uint64_t end = page + 1;
            while (end < pages && committed[end] == committed[page])
                end++;
            uint64_t in_run = page + random_below(&random, end - page);
            REQUIRE_EQUAL(run_of(section, page * PAGE, committed[page]), (end - page) * PAGE);
            REQUIRE_EQUAL(run_of(section, in_run * PAGE, committed[page]), (end - in_run) * PAGE);
            page = end;
        }
    }
}

static void a_query_tells_what_was_committed(void)
{
    uint64_t seed = random_seed("section", 20);
    cairn_section *small = make("small", 1000 * PAGE);
    follow_the_model(small, seed);
    cairn_section_close(small);
    cairn_section *anonymous = make(NULL, 1000 * PAGE);
    follow_the_model(anonymous, seed + 1);
    cairn_section_close(anonymous);
    cairn_section *large = make("large", 100000 * PAGE); /* the bits of its pages have several pages themselves */
    follow_the_model(large, seed + 2);
    cairn_section_close(large);
}

/* Also where all of a page of bits before it is not there, and where its own bit is the first of its page. */
static void the_first_committed_page_is_found_wherever_it_is(void)
{
    for (uint64_t page = 65500; page < 65540; page++) {
        cairn_section *section = make("first", 100000 * PAGE);
        commit(section, page * PAGE, PAGE);
        REQUIRE_EQUAL(run_of(section, 0, 0), page * PAGE);
        REQUIRE_EQUAL(run_of(section, page * PAGE, 1), PAGE);
        REQUIRE_EQUAL(run_of(section, (page + 1) * PAGE, 0), (100000 - page - 1) * PAGE);
        cairn_section_close(section);
        REQUIRE_EQUAL(try_open("first", 0), 0);
        REQUIRE_CALL(cairn_section_unlink("first", NULL) == 0);
    }
}

static void committed_memory_is_taken_and_a_hole_is_given_back(void)
{
    cairn_section *section = make("taken", 64 * MIB);
    commit(section, 0, PAGE);
    uint64_t before = bytes_taken("taken");
    commit(section, MIB, 8 * MIB);
    REQUIRE_EQUAL(bytes_taken("taken") - before, 8 * MIB);
    unsigned char *bytes = bytes_of(section);
    memset(bytes + MIB, 3, 8 * MIB);
    REQUIRE_EQUAL(bytes_taken("taken") - before, 8 * MIB); /* touching takes no more */
    commit(section, MIB, 8 * MIB);
    REQUIRE_EQUAL(bytes_taken("taken") - before, 8 * MIB);

    REQUIRE_CALL(cairn_section_decommit(section, 3 * MIB + 1, 2 * MIB) == 0); /* a page less: its ends are partial */
    REQUIRE_EQUAL(bytes_taken("taken") - before, 6 * MIB + PAGE);
    REQUIRE_EQUAL(run_of(section, MIB, 1), 2 * MIB + PAGE);
    REQUIRE_EQUAL(run_of(section, 3 * MIB + PAGE, 0), 2 * MIB - PAGE);
    REQUIRE_EQUAL(run_of(section, 5 * MIB, 1), 4 * MIB);
    require_all(bytes + MIB, 2 * MIB + PAGE, 3);
    require_all(bytes + 5 * MIB, 4 * MIB, 3);
    commit(section, 2 * MIB, 4 * MIB);
    require_all(bytes + 3 * MIB + PAGE, 2 * MIB - PAGE, 0);
    require_all(bytes + MIB, 2 * MIB + PAGE, 3);
    REQUIRE_EQUAL(bytes_taken("taken") - before, 8 * MIB);
    cairn_section_close(section);
}

static void private_memory_that_is_not_committed_faults(void)
{
    cairn_section *section = make(NULL, 64 * MIB);
    unsigned char *bytes = bytes_of(section);
    require_fault(bytes, false);
    commit(section, MIB, MIB);
    memset(bytes + MIB, 1, MIB);
    require_fault(bytes + MIB - 1, true);
    require_fault(bytes + 2 * MIB, false);
    REQUIRE_CALL(cairn_section_decommit(section, MIB, PAGE) == 0);
    require_fault(bytes + MIB, false);
    require_all(bytes + MIB + PAGE, MIB - PAGE, 1);
    cairn_section_close(section);
}

static void after_a_reset_the_memory_is_still_there(void)
{
    for (int named = 0; named < 2; named++) {
        cairn_section *section = make(named ? "reset" : NULL, 64 * MIB);
        unsigned char *bytes = bytes_of(section);
        commit(section, 0, MIB);
        memset(bytes, 9, MIB);
        uint64_t before = named ? bytes_taken("reset") : 0;
        REQUIRE_CALL(cairn_section_reset(section, 100, 10 * PAGE) == 0);
        REQUIRE_EQUAL(run_of(section, 0, 1), MIB);
        REQUIRE_EQUAL(named ? bytes_taken("reset") : 0, before);
        require_all(bytes, PAGE, 9); /* only whole pages */
        require_all(bytes + 10 * PAGE, MIB - 10 * PAGE, 9);
        for (size_t i = PAGE; i < 10 * PAGE; i++)
            REQUIRE(bytes[i] == 0 || bytes[i] == 9);
        memset(bytes, 4, MIB);
        require_all(bytes, MIB, 4);
        REFUSED(-EINVAL, cairn_section_reset(section, 0, MIB + PAGE)); /* the last page is not committed */
        require_all(bytes, MIB, 4);
        REQUIRE_CALL(cairn_section_reset(section, MIB, 0) == 0);
        cairn_section_close(section);
    }
}

/* ---------------------------------------------------------------- refusals */

static void set_limit(int what, rlim_t value)
{
    struct rlimit limit;
    REQUIRE(getrlimit(what, &limit) == 0);
    limit.rlim_cur = value;
    REQUIRE(setrlimit(what, &limit) == 0);
}

static void a_refused_commit_marks_nothing(void)
{
    cairn_section *section = make("limited", 64 * MIB);
    unsigned char *bytes = bytes_of(section);
    commit(section, 4 * PAGE, PAGE);
    memset(bytes + 4 * PAGE, 1, PAGE);
    struct stat status;
    REQUIRE(stat(workspace_path("limited"), &status) == 0);
    signal(SIGXFSZ, SIG_DFL);
    set_limit(RLIMIT_FSIZE, (rlim_t)status.st_size + 10 * PAGE);
    REFUSED(-ENOMEM, cairn_section_commit(section, 0, 100 * PAGE)); /* of which the first pages would have fitted */
    REQUIRE_EQUAL(run_of(section, 0, 0), 4 * PAGE);
    REQUIRE_EQUAL(run_of(section, 4 * PAGE, 1), PAGE);
    REQUIRE_EQUAL(run_of(section, 5 * PAGE, 0), 64 * MIB - 5 * PAGE);
    require_all(bytes + 4 * PAGE, PAGE, 1);
    commit(section, 0, 10 * PAGE);
    require_all(bytes, 4 * PAGE, 0);
    require_all(bytes + 4 * PAGE, PAGE, 1);
    require_all(bytes + 5 * PAGE, 5 * PAGE, 0);
    cairn_section_close(section);
}

static void a_start_that_is_not_to_be_had_leaves_nothing(void)
{
    cairn_options options = {
        .size = sizeof options, .name = "start", .bytes_max = 64 * MIB, .bytes_start = 3 * PAGE - 1};
    cairn_section *section;
    REQUIRE_CALL(cairn_section_create(&section, &options) == 0);
    REQUIRE_EQUAL(run_of(section, 0, 1), 3 * PAGE);
    require_all(bytes_of(section), 3 * PAGE, 0);
    cairn_section_close(section);
    REQUIRE_CALL(cairn_section_unlink("start", NULL) == 0);
    options.name = NULL;
    REQUIRE_CALL(cairn_section_create(&section, &options) == 0);
    REQUIRE_EQUAL(run_of(section, 0, 1), 3 * PAGE);
    unsigned char is_there[4] = {0};
    REQUIRE(mincore(bytes_of(section), 4 * PAGE, is_there) == 0);
    REQUIRE((is_there[0] & is_there[1] & is_there[2] & 1) == 1 && (is_there[3] & 1) == 0);
    cairn_section_close(section);

    options.bytes_start = 65 * MIB;
    section = no_section;
    REFUSED(-EINVAL, cairn_section_create(&section, &options));
    options.bytes_start = 32 * MIB;
    options.name = "start";
    set_limit(RLIMIT_FSIZE, 16 * MIB);
    REFUSED(-ENOMEM, cairn_section_create(&section, &options));
    REQUIRE_EQUAL(workspace_entries(), 0);
    if (!UNDER_SANITIZER) {
        set_limit(RLIMIT_DATA, 16 * MIB);
        options.name = NULL;
        REFUSED(-ENOMEM, cairn_section_create(&section, &options));
    }
    REQUIRE(section == no_section);
}

static void each_call_tells_what_it_refuses(void)
{
    cairn_section *section = no_section;
    REFUSED(-EINVAL, cairn_section_create(&section, NULL));
    REFUSED(-EINVAL, create(&section, "name", 0, 0));
    REFUSED(-EINVAL, create(NULL, "name", MIB, 0));
    REFUSED(-EINVAL, create(&section, NULL, UINT64_MAX, 0));
    REFUSED(-EINVAL, create(&section, "name", UINT64_MAX / 2, 0));
    REFUSED(-EINVAL, create(&section, "name", MIB, CAIRN_READ_ONLY));
    REFUSED(-EINVAL, create(&section, NULL, MIB, CAIRN_OPEN_OR_CREATE));
    REFUSED(-EINVAL, create(&section, ".name", MIB, 0));
    REFUSED(-EINVAL, create(&section, "a/b", MIB, 0));
    REFUSED(-EINVAL, create(&section, "", MIB, 0));
    static char long_name[CAIRN_NAME_MAX + 2];
    memset(long_name, 'n', CAIRN_NAME_MAX + 1);
    REFUSED(-ENAMETOOLONG, create(&section, long_name, MIB, 0));
    REFUSED(-ENAMETOOLONG, open_as(&section, long_name, 0));
    REFUSED(-ENAMETOOLONG, cairn_section_unlink(long_name, NULL));
    REFUSED(-ENOENT, open_as(&section, "nowhere", 0));
    REFUSED(-EINVAL, open_as(&section, "nowhere", CAIRN_OPEN_OR_CREATE));
    REFUSED(-EINVAL, cairn_section_unlink("", NULL));
    REFUSED(-ENOENT, cairn_section_unlink("nowhere", NULL));
    REQUIRE(mkdir(workspace_path("directory"), 0700) == 0);
    REFUSED(-EPERM, open_as(&section, "directory", 0));
    REFUSED(-EPERM, cairn_section_unlink("directory", NULL));
    REQUIRE(section == no_section && rmdir(workspace_path("directory")) == 0);

    section = make("name", MIB);
    cairn_section *other = no_section;
    REFUSED(-EEXIST, create(&other, "name", MIB, 0));
    REFUSED(-EINVAL, open_as(NULL, "name", 0));
    uint64_t run = 77;
    REFUSED(-EINVAL, cairn_section_query(section, MIB, &run));
    REFUSED(-EINVAL, cairn_section_query(section, UINT64_MAX, &run));
    REQUIRE_EQUAL(run, 77);
    REFUSED(-EINVAL, cairn_section_commit(section, MIB, 1));
    REFUSED(-EINVAL, cairn_section_commit(section, 0, MIB + 1));
    REFUSED(-EINVAL, cairn_section_commit(section, PAGE, UINT64_MAX));
    REFUSED(-EINVAL, cairn_section_commit(section, UINT64_MAX, 2));
    REFUSED(-EINVAL, cairn_section_decommit(section, 0, MIB + 1));
    REFUSED(-EINVAL, cairn_section_decommit(section, UINT64_MAX, 2));
    REFUSED(-EINVAL, cairn_section_reset(section, 0, MIB + 1));
    REFUSED(-EINVAL, cairn_section_reset(section, UINT64_MAX, 2));
    REFUSED(-EINVAL, cairn_section_reset(section, 0, 1));
    REQUIRE_EQUAL(run_of(section, 0, 0), MIB);
    REQUIRE_EQUAL(cairn_section_commit(section, MIB, 0), 0);
    REQUIRE_EQUAL(cairn_section_decommit(section, 0, MIB), 0); /* what is not committed is left alone */

    void *view = (void *)0x10;
    REFUSED(-EINVAL, cairn_section_map(section, 0, 0, NULL, &view));
    REFUSED(-EINVAL, cairn_section_map(section, 1, PAGE, NULL, &view));
    REFUSED(-EINVAL, cairn_section_map(section, 0, PAGE + 1, NULL, &view));
    REFUSED(-EINVAL, cairn_section_map(section, PAGE, MIB, NULL, &view));
    REFUSED(-EINVAL, cairn_section_map(section, 0, PAGE, (void *)(uintptr_t)17, &view));
    REFUSED(-EINVAL, cairn_section_map(section, 0, PAGE, NULL, NULL));
    other = make(NULL, MIB);
    REFUSED(-EOPNOTSUPP, cairn_section_map(other, 0, PAGE, NULL, &view));
    cairn_section_close(other);
    REFUSED(-EINVAL, cairn_section_unmap(NULL, PAGE, false));
    REFUSED(-EINVAL, cairn_section_unmap((void *)(uintptr_t)PAGE, 0, false));
    REFUSED(-EINVAL, cairn_section_unmap((void *)(uintptr_t)PAGE, PAGE - 1, true));
    REFUSED(-EINVAL, cairn_range_reserve(0, &view));
    REFUSED(-EINVAL, cairn_range_reserve(PAGE + 1, &view));
    REFUSED(-EINVAL, cairn_range_reserve(PAGE, NULL));
    REFUSED(-ENOMEM, cairn_range_reserve(UINT64_C(1) << 62, &view));
    REFUSED(-EINVAL, cairn_range_release(NULL, PAGE));
    REFUSED(-EINVAL, cairn_range_release((void *)(uintptr_t)PAGE, 1));
    REQUIRE(view == (void *)0x10);
    cairn_section_close(section);
}

static int never(const char *name, void *arg)
{
    (void)arg;
    broken(__FILE__, __LINE__, "%s is told as a heap", name);
}

static int try_heap(const char *name)
{
    cairn_heap *heap = untouched;
    int error = cairn_heap_open(&heap, name, NULL);
    REQUIRE(error < 0 && heap == untouched);
    return error;
}

static void a_section_is_no_heap_and_a_heap_is_no_section(void)
{
    cairn_section_close(make("section", MIB));
    REQUIRE_EQUAL(cairn_heap_names(NULL, never, NULL), 0);
    REFUSED(-EPROTO, try_heap("section"));
    cairn_heap_close(create_shared("heap", 0));
    REFUSED(-EPROTO, try_open("heap", 0));
    REFUSED(-EPROTO, try_open("heap", CAIRN_READ_ONLY));
}

/* ---------------------------------------------------------------- reading only */

static void a_reader_cannot_write(void)
{
    cairn_section *writer = make("read", MIB);
    commit(writer, 0, 2 * PAGE);
    bytes_of(writer)[0] = 5;
    cairn_section_close(writer);

    cairn_section *reader = open_it("read", CAIRN_READ_ONLY);
    unsigned char *bytes = bytes_of(reader);
    REQUIRE_EQUAL(bytes[0], 5);
    require_fault(bytes, true);
    void *view;
    REQUIRE_CALL(cairn_section_map(reader, 0, PAGE, NULL, &view) == 0);
    REQUIRE_EQUAL(*(unsigned char *)view, 5);
    require_fault(view, true);
    REQUIRE_CALL(cairn_section_unmap(view, PAGE, false) == 0);
    REFUSED(-EROFS, cairn_section_commit(reader, 0, PAGE));
    REFUSED(-EROFS, cairn_section_decommit(reader, 0, PAGE));
    REFUSED(-EROFS, cairn_section_reset(reader, 0, PAGE));
    REFUSED(-EBUSY, try_open("read", 0));
    REQUIRE_EQUAL(try_open("read", CAIRN_READ_ONLY), 0);
    REQUIRE_EQUAL(run_of(reader, 0, 1), 2 * PAGE);
    cairn_section_close(reader);
}

/* Both have one view. That the reader's handle refuses is what the caller asked for. */
static void a_reading_handle_stays_one_beside_a_writing_one(void)
{
    cairn_section *writer = make("both", MIB);
    cairn_section *reader = open_it("both", CAIRN_READ_ONLY);
    REQUIRE(bytes_of(reader) == bytes_of(writer));
    REFUSED(-EROFS, cairn_section_commit(reader, 0, PAGE));
    commit(writer, 0, PAGE);
    bytes_of(writer)[0] = 1;
    REFUSED(-EROFS, cairn_section_decommit(reader, 0, PAGE));
    void *view;
    REQUIRE_CALL(cairn_section_map(reader, 0, PAGE, NULL, &view) == 0);
    require_fault(view, true);
    REQUIRE_CALL(cairn_section_unmap(view, PAGE, false) == 0);
    cairn_section_close(writer);
    REQUIRE_EQUAL(bytes_of(reader)[0], 1); /* the view ends with the last handle */
    cairn_section_close(reader);
    REQUIRE_EQUAL(try_open("both", 0), 0);
}

/* ---------------------------------------------------------------- views of parts */

static void a_part_is_mapped_and_then_a_larger_one(void)
{
    cairn_section *section = make("parts", 64 * MIB);
    commit(section, 0, 4 * MIB);
    unsigned char *bytes = bytes_of(section);
    for (size_t i = 0; i < 4 * MIB; i += PAGE)
        memcpy(bytes + i, &i, sizeof i);
    void *small, *large;
    REQUIRE_CALL(cairn_section_map(section, MIB, 4 * PAGE, NULL, &small) == 0);
    REQUIRE_CALL(cairn_section_map(section, MIB, 8 * MIB, NULL, &large) == 0);
    for (size_t i = 0; i < 4 * PAGE; i += PAGE)
        REQUIRE(memcmp((char *)small + i, &(size_t){MIB + i}, sizeof i) == 0);
    for (size_t i = 0; i < 3 * MIB; i += PAGE)
        REQUIRE(memcmp((char *)large + i, &(size_t){MIB + i}, sizeof i) == 0);
    REQUIRE_CALL(cairn_section_unmap(small, 4 * PAGE, false) == 0);
    commit(section, 4 * MIB, 5 * MIB); /* the view is larger than the file was */
    memset((char *)large + 3 * MIB, 8, 5 * MIB);
    require_all(bytes + 4 * MIB, 5 * MIB, 8);
    cairn_section_close(section);
    require_all((unsigned char *)large + 3 * MIB, 5 * MIB, 8); /* a view of a part stays */
    REQUIRE_CALL(cairn_section_unmap(large, 8 * MIB, false) == 0);
}

enum { SECTIONS = 3 };

/* Columns of a table, say: each has 1 MiB of a range, and all have equally many rows. */
static void sections_side_by_side_grow_and_shrink_together(void)
{
    cairn_section *sections[SECTIONS];
    void *range = NULL;
    REQUIRE_CALL(cairn_range_reserve(SECTIONS * MIB, &range) == 0);
    unsigned char *base = range;
    require_fault(base, false);
    for (int i = 0; i < SECTIONS; i++) {
        char name[32];
        snprintf(name, sizeof name, "column-%d", i);
        sections[i] = make(name, MIB);
    }
    static const size_t sizes[] = {1, 4, 5, 64, 200, 64, 3, 0, 17, 0};
    size_t before = 0;
    for (size_t step = 0; step < COUNT(sizes); step++) {
        size_t size = sizes[step] * PAGE;
        for (int i = 0; i < SECTIONS; i++) {
            unsigned char *column = base + (size_t)i * MIB;
            void *view = NULL;
            if (size > before) { /* a larger view replaces the smaller in one step */
                commit(sections[i], 0, size);
                REQUIRE_CALL(cairn_section_map(sections[i], 0, size, column, &view) == 0);
                REQUIRE(view == column);
                require_all(column + before, size - before, 0);
                memset(column + before, i + 1, size - before);
            } else {
                REQUIRE_CALL(cairn_section_unmap(column + size, before - size, true) == 0);
                REQUIRE_CALL(cairn_section_decommit(sections[i], size, before - size) == 0);
            }
            require_all(column, size, (unsigned char)(i + 1));
            require_all(bytes_of(sections[i]), size, (unsigned char)(i + 1));
            require_fault(column + size, false);
        }
        before = size;
    }
    for (int i = 0; i < SECTIONS; i++)
        cairn_section_close(sections[i]);
    REQUIRE_CALL(cairn_range_release(range, SECTIONS * MIB) == 0);
    char *around = look_around();
    REQUIRE(strstr(around, "view ") == NULL);
    free(around);
}

static void a_range_is_given_back_with_its_views(void)
{
    cairn_section *section = make("ranged", MIB);
    commit(section, 0, MIB);
    void *range, *view;
    REQUIRE_CALL(cairn_range_reserve(4 * MIB, &range) == 0);
    REQUIRE_CALL(cairn_section_map(section, 0, MIB, (char *)range + MIB, &view) == 0);
    REQUIRE_CALL(cairn_section_map(section, 0, MIB, (char *)range + 3 * MIB, &view) == 0);
    cairn_section_close(section);
    REQUIRE_CALL(cairn_range_release(range, 4 * MIB) == 0);
    require_fault((char *)range + MIB, false);
    char *around = look_around();
    REQUIRE(strstr(around, "view ") == NULL);
    free(around);
}

/* ---------------------------------------------------------------- many processes */

enum { RACERS = 6, RACES = 60 };

struct race {
    _Atomic uint32_t ready;
    _Atomic uint32_t go;
    _Atomic uint32_t done;
};

static void run_racer(void *arg)
{
    struct race *race = arg;
    for (uint32_t round = 1; round <= RACES; round++) {
        advance(&race->ready);
        wait_for(&race->go, round);
        cairn_section *section;
        REQUIRE_CALL(create(&section, "raced", MIB, CAIRN_OPEN_OR_CREATE) == 0);
        commit(section, 0, 8 * PAGE);
        atomic_fetch_add((_Atomic uint32_t *)cairn_section_address(section), 1);
        cairn_section_close(section);
        advance(&race->done);
    }
}

static void those_who_open_or_create_at_once_have_one_section(void)
{
    struct race *race = shared_memory(sizeof *race);
    pid_t racers[RACERS];
    for (int i = 0; i < RACERS; i++)
        racers[i] = start(run_racer, race);
    for (uint32_t round = 1; round <= RACES; round++) {
        wait_for(&race->ready, round * RACERS);
        advance(&race->go);
        wait_for(&race->done, round * RACERS);
        REQUIRE_EQUAL(workspace_entries(), 1);
        cairn_section *section = open_it("raced", CAIRN_READ_ONLY);
        REQUIRE_EQUAL(*(_Atomic uint32_t *)cairn_section_address(section), RACERS);
        REQUIRE_EQUAL(run_of(section, 0, 1), 8 * PAGE);
        cairn_section_close(section);
        REQUIRE_CALL(cairn_section_unlink("raced", NULL) == 0);
    }
    for (int i = 0; i < RACERS; i++)
        finish(racers[i]);
}

static void commit_in_the_child(void *arg)
{
    cairn_section *section = arg;
    REQUIRE_EQUAL(bytes_of(section)[0], 1);
    commit(section, MIB, MIB);
    memset(bytes_of(section) + MIB, 2, MIB);
    cairn_section *again = open_it("forked", 0);
    REQUIRE(bytes_of(again) == bytes_of(section));
    cairn_section_close(again);
    cairn_section_close(section);
}

static void a_forked_child_has_the_section_too(void)
{
    cairn_section *section = make("forked", 64 * MIB);
    commit(section, 0, PAGE);
    bytes_of(section)[0] = 1;
    finish(start(commit_in_the_child, section));
    REQUIRE_EQUAL(run_of(section, MIB, 1), MIB);
    require_all(bytes_of(section) + MIB, MIB, 2);
    cairn_section_close(section);
}

struct churn {
    _Atomic uint32_t rounds;
};

static void churn_for_ever(void *arg)
{
    struct churn *churn = arg;
    cairn_section *section = open_it("churned", 0);
    unsigned char *bytes = bytes_of(section);
    for (uint64_t i = 0;; i++) {
        uint64_t offset = i * 37 % 500 * PAGE, size = (1 + i % 9) * PAGE;
        commit(section, offset, size);
        require_all(bytes + offset, size, 0);
        memset(bytes + offset, 6, size);
        REQUIRE_CALL(cairn_section_decommit(section, offset, size) == 0);
        advance(&churn->rounds);
    }
}

/* Killed while it commits or gives back: what is marked is there, and what is not can be committed. */
static void a_killed_process_leaves_what_is_true(void)
{
    struct churn *churn = shared_memory(sizeof *churn);
    cairn_section *section = make("churned", 512 * PAGE);
    unsigned char *bytes = bytes_of(section);
    for (uint32_t round = 0; round < 60; round++) {
        atomic_store(&churn->rounds, 0);
        pid_t child = start(churn_for_ever, churn);
        wait_for(&churn->rounds, 1 + round % 13);
        for (volatile uint32_t spin = 0; spin < round * 500; spin++)
            ;
        kill(child, SIGKILL);
        finish_by(child, SIGKILL);
        /* Touched without a commit, and the file takes nothing for it: a page that is marked is there. */
        for (uint64_t offset = 0; offset < 512 * PAGE;) {
            uint64_t run;
            if (cairn_section_query(section, offset, &run) == 1) {
                uint64_t before = bytes_taken("churned");
                memset(bytes + offset, 1, run);
                REQUIRE_EQUAL(bytes_taken("churned"), before);
            }
            offset += run;
        }
        commit(section, 0, 512 * PAGE);
        memset(bytes, 1, 512 * PAGE);
        REQUIRE_CALL(cairn_section_decommit(section, 0, 512 * PAGE) == 0);
        REQUIRE_EQUAL(run_of(section, 0, 0), 512 * PAGE);
    }
    cairn_section_close(section);
}

/* ---------------------------------------------------------------- files that are short */

static void look_at_it(void *arg)
{
    (void)arg;
    cairn_section *section;
    if (open_as(&section, "short", CAIRN_READ_ONLY) < 0) {
        REQUIRE(cairn_last_errno() == -EUCLEAN || cairn_last_errno() == -EPROTO);
        return;
    }
    uint64_t pages = cairn_section_bytes_max(section) / PAGE, sum = 0;
    for (uint64_t page = 0; page < pages; page++) {
        uint64_t run;
        if (cairn_section_query(section, page * PAGE, &run) == 1)
            sum += bytes_of(section)[page * PAGE];
    }
    REQUIRE(sum == 0 || sum == 3);
    cairn_section_close(section);
}

static void a_shortened_section_is_damaged(void)
{
    cairn_section *section = make("short", 100000 * PAGE);
    static const uint64_t places[] = {0, 40000, 90000};
    for (size_t i = 0; i < COUNT(places); i++) {
        commit(section, places[i] * PAGE, PAGE);
        bytes_of(section)[places[i] * PAGE] = 1;
    }
    cairn_section_close(section);
    REQUIRE_EQUAL(try_open("short", 0), 0);
    struct stat status;
    REQUIRE(stat(workspace_path("short"), &status) == 0);
    REQUIRE(truncate(workspace_path("short"), status.st_size - 1) == 0);
    REFUSED(-EUCLEAN, try_open("short", 0));
    REFUSED(-EUCLEAN, try_open("short", CAIRN_READ_ONLY));
    for (int i = 1; i < 60; i++) {
        REQUIRE(truncate(workspace_path("short"), status.st_size - status.st_size / 60 * i) == 0);
        REFUSED(-EUCLEAN, try_open("short", 0));
        finish(start(look_at_it, NULL));
    }
    for (off_t bytes = 10 * (off_t)PAGE; bytes >= 0; bytes -= 512) {
        REQUIRE(truncate(workspace_path("short"), bytes) == 0);
        finish(start(look_at_it, NULL));
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "grow") == 0)
        return run_grower(argv[2]);
    static const struct claim claims[] = {
        CLAIM(what_one_process_commits_all_can_use),
        CLAIM(a_section_is_there_when_all_have_closed_it),
        CLAIM(a_name_goes_and_the_views_stay),
        CLAIM(a_query_tells_what_was_committed),
        CLAIM(the_first_committed_page_is_found_wherever_it_is),
        CLAIM(committed_memory_is_taken_and_a_hole_is_given_back),
        CLAIM(private_memory_that_is_not_committed_faults),
        CLAIM(after_a_reset_the_memory_is_still_there),
        CLAIM(a_refused_commit_marks_nothing),
        CLAIM(a_start_that_is_not_to_be_had_leaves_nothing),
        CLAIM(each_call_tells_what_it_refuses),
        CLAIM(a_section_is_no_heap_and_a_heap_is_no_section),
        CLAIM(a_reader_cannot_write),
        CLAIM(a_reading_handle_stays_one_beside_a_writing_one),
        CLAIM(a_part_is_mapped_and_then_a_larger_one),
        CLAIM(sections_side_by_side_grow_and_shrink_together),
        CLAIM(a_range_is_given_back_with_its_views),
        CLAIM(those_who_open_or_create_at_once_have_one_section),
        CLAIM(a_forked_child_has_the_section_too),
        CLAIM(a_killed_process_leaves_what_is_true),
        CLAIM(a_shortened_section_is_damaged),
    };
    return run_claims(claims, COUNT(claims), 30);
}
