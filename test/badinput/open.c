/* SPDX-License-Identifier: MIT */
/* What opening refuses besides a wrong header: heaps that never were or are no more, refs to children, options. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cairn_publish.h"
#include "section/layout.h"
#include "support/workspace.h"

static const char name[] = "heap";
static struct section_image header;

static int open_it(uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    return open_and_close(name, &options);
}

static void require_reason(const char *word)
{
    if (strstr(cairn_last_error(), word) == NULL)
        broken(__FILE__, __LINE__, "the reason does not say \"%s\": %s", word, cairn_last_error());
}

/* ---------------------------------------------------------------- the heap's record */

static uint64_t record_of_the_heap(void)
{
    return header.heaps_offset + offsetof(struct heap_image, word);
}

static void require_refused_with(uint64_t record, int error, const char *reason)
{
    write_file_at(name, record_of_the_heap(), &record, sizeof record);
    REFUSED(error, open_it(0));
    REQUIRE_EQUAL(open_it(CAIRN_READ_ONLY), error);
    require_reason(reason);
}

static void a_section_whose_heap_never_was_or_is_no_more_is_told_apart(void)
{
    uint64_t good;
    cairn_heap_close(create_shared(name, 0));
    read_file_at(name, 0, &header, sizeof header);
    read_file_at(name, record_of_the_heap(), &good, sizeof good);
    REQUIRE(record_state_of(good) == RECORD_LIVE);
    require_refused_with(record_word(RECORD_FREE, 0, 0), -EUCLEAN, "never");
    require_refused_with(record_word(RECORD_FREE, 0, record_generation_of(good) + 1), -ESTALE, "destroyed");
    require_refused_with(record_word(RECORD_PENDING, 0, 0), -ESTALE, "destroyed");
    write_file_at(name, record_of_the_heap(), &good, sizeof good);
    REQUIRE_CALL(open_it(0) == 0);
}

static void a_destroyed_heap_in_a_memory_file_stays_destroyed(void)
{
    cairn_heap *heap, *again = untouched;
    int file;
    REQUIRE_CALL(cairn_heap_create_fd(&heap, &file, NULL) == 0);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    REFUSED(-ESTALE, cairn_heap_open_fd(&again, file, NULL));
    REFUSED(-ESTALE, cairn_heap_open_fd(&again, file, &(cairn_options){.flags = CAIRN_READ_ONLY}));
    REQUIRE(again == untouched);
    close(file);
}

/* ---------------------------------------------------------------- views that a process has already */

/* Two files may have the same number where they lie on two file systems; private heaps have none. */
static void a_heap_is_found_again_among_all_that_a_process_has(void)
{
    static _Alignas(65536) char lent[1 << 20];
    char other[128];
    struct stat here, there;
    snprintf(other, sizeof other, "%s/cairn-test-XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    REQUIRE(mkdtemp(other) != NULL && stat(other, &there) == 0 && stat(workspace_directory(), &here) == 0);
    cairn_heap *private_heap, *in_lent, *elsewhere, *again;
    cairn_publisher *publisher;
    REQUIRE_CALL(cairn_heap_create(&private_heap, NULL) == 0);
    REQUIRE_CALL(cairn_heap_create(&in_lent, &(cairn_options){.memory = lent, .bytes_max = sizeof lent}) == 0);
    cairn_heap_close(create_shared("third", 0));
    REQUIRE_CALL(cairn_publish(&publisher, "published", NULL) == 0);
    cairn_heap *heap = create_shared(name, 0), *second = create_shared("second", 0);
    cairn_options options = {.name = name, .directory = other};
    REQUIRE_CALL(cairn_heap_create(&elsewhere, &options) == 0);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(cairn_root_set(heap, "root", block) == 0);

    REQUIRE_CALL(cairn_heap_open(&again, name, NULL) == 0);
    REQUIRE(cairn_root_get(again, "root") == block);
    cairn_heap_close(again);
    options.name = NULL;
    REQUIRE_CALL(cairn_heap_open(&again, name, &options) == 0);
    REQUIRE(cairn_root_get(again, "root") == NULL);
    cairn_heap_close(again);

    cairn_heap_close(open_shared("third", 0));

    cairn_heap_close(elsewhere);
    REQUIRE(cairn_heap_unlink(name, other) == 0 && rmdir(other) == 0);
    cairn_heap_close(heap);
    cairn_heap_close(second);
    cairn_publisher_close(publisher);
    cairn_heap_close(in_lent);
    cairn_heap_close(private_heap);
    if (here.st_dev == there.st_dev)
        skip("%s and %s are one file system", workspace_directory(), other);
}

/* ---------------------------------------------------------------- children */

static int open_child(cairn_heap *heap, const char *child)
{
    cairn_heap *opened = untouched;
    int error = cairn_heap_open_child(&opened, heap, child);
    REQUIRE((error == 0) == (opened != untouched));
    if (error == 0)
        cairn_heap_close(opened);
    return error;
}

static void end_well(const char *line, void *arg)
{
    (void)arg;
    REQUIRE(strstr(line, "open_child") != NULL && strstr(line, "closed") != NULL);
    _exit(0);
}

static void open_child_of_a_closed_heap(void *heap)
{
    cairn_heap_close(heap);
    cairn_misuse_set(end_well, NULL);
    (void)open_child(heap, "child");
    _exit(1);
}

static void a_child_that_is_none_is_refused(void)
{
    cairn_heap *heap = create_shared(name, 0), *private_heap = create_private(0);
    REQUIRE_CALL(cairn_root_set(heap, "block", cairn_alloc(heap, 100)) == 0);
    REFUSED(-ENOENT, open_child(heap, "none"));
    REFUSED(-ENOENT, open_child(heap, "block"));
    REFUSED(-ENOENT, open_child(private_heap, "child"));
    REFUSED(-EINVAL, open_child(heap, ""));
    REFUSED(-EINVAL, open_child(heap, "a/b"));
    REFUSED(-EINVAL, open_child(heap, NULL));
    finish(start(open_child_of_a_closed_heap, heap));
    cairn_heap_close(private_heap);
    cairn_heap_close(heap);
}

/* What stands in the file is not believed: a root may say that it names a heap of any number. */
static void a_root_that_names_an_impossible_heap_is_no_child(void)
{
    cairn_heap *heap = create_shared(name, 0), *child;
    REQUIRE_CALL(cairn_heap_create(&child, &(cairn_options){.parent = heap, .name = "child"}) == 0);
    cairn_heap_close(child);
    read_file_at(name, 0, &header, sizeof header);
    uint64_t place = header.roots_offset, good;
    struct root_image root;
    for (read_file_at(name, place, &root, sizeof root); strcmp(root.name, "child") != 0;
         read_file_at(name, place, &root, sizeof root)) {
        place += sizeof root;
        REQUIRE(place < header.roots_offset + header.roots_max * sizeof root);
    }
    place += offsetof(struct root_image, ref);
    read_file_at(name, place, &good, sizeof good);
    REQUIRE((good & ROOT_IS_HEAP) != 0 && open_child(heap, "child") == 0);
    uint64_t number = good & UNIT_HEAP_MASK, rest = good - number;
    const uint64_t bad[] = {
        rest,                                        /* number 0 */
        rest | (atomic_load(&header.heaps_end) + 1), /* one that was never used */
        rest | (header.heaps_max + 1),               /* none in the table */
        rest | UNIT_HEAP_MASK,                       /* nor this */
        ROOT_IS_HEAP | 1,                            /* the parent's */
        good + (UINT64_C(1) << UNIT_HEAP_BITS),      /* another generation */
        good & ~ROOT_IS_HEAP,                        /* a block's */
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        write_file_at(name, place, &bad[i], sizeof bad[i]);
        REFUSED(-ENOENT, open_child(heap, "child"));
    }
    write_file_at(name, place, &good, sizeof good);
    REQUIRE_CALL(open_child(heap, "child") == 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

/* ---------------------------------------------------------------- options */

static void options_that_opening_does_not_have_are_refused(void)
{
    cairn_heap *heap, *opened = untouched;
    int file;
    cairn_heap_close(create_shared(name, 0));
    REQUIRE_CALL(cairn_heap_create_fd(&heap, &file, NULL) == 0);
    const cairn_options bad[] = {
        {.checked = 1}, {.flags = CAIRN_OPEN_OR_CREATE}, {.flags = CAIRN_DAMAGED_TOO}, {.size = 3}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        REFUSED(-EINVAL, cairn_heap_open(&opened, name, &bad[i]));
        REFUSED(-EINVAL, cairn_heap_open_fd(&opened, file, &bad[i]));
    }
    REFUSED(-EINVAL, cairn_heap_open(NULL, name, NULL));
    REFUSED(-EINVAL, cairn_heap_open_fd(NULL, file, NULL));
    REFUSED(-EINVAL, cairn_heap_open_fd(&opened, file, &(cairn_options){.name = "a/b"}));
    REQUIRE(opened == untouched);
    cairn_heap_close(heap);
    close(file);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_section_whose_heap_never_was_or_is_no_more_is_told_apart),
        CLAIM(a_destroyed_heap_in_a_memory_file_stays_destroyed),
        CLAIM(a_heap_is_found_again_among_all_that_a_process_has),
        CLAIM(a_child_that_is_none_is_refused),
        CLAIM(a_root_that_names_an_impossible_heap_is_no_child),
        CLAIM(options_that_opening_does_not_have_are_refused),
    };
    return run_claims(claims, COUNT(claims), 20);
}
