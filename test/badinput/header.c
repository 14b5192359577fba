/* SPDX-License-Identifier: MIT */
/* Headers that are wrong: by damage, by another version or build, or by someone who means it and sums them up again. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "section/layout.h"
#include "section/section.h"
#include "support/workspace.h"

static const char name[] = "heap";
static struct section_image good;

static void read_header(struct section_image *ret_header)
{
    read_file_at(name, 0, ret_header, sizeof *ret_header);
}

static void write_header(const struct section_image *header)
{
    write_file_at(name, 0, header, sizeof *header);
}

static void sum_up(struct section_image *header)
{
    const unsigned char *bytes = (const unsigned char *)header;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < offsetof(struct section_image, checksum); i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    header->checksum = hash;
}

static void make_heap(void)
{
    cairn_heap *heap = create_shared(name, 0);
    char *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL && cairn_alloc(heap, 300000) != NULL);
    strcpy(block, "something");
    REQUIRE_CALL(cairn_root_set(heap, "root", block) == 0);
    cairn_heap_close(heap);
    read_header(&good);
    struct section_image summed = good;
    sum_up(&summed);
    REQUIRE(summed.checksum == good.checksum); /* the sum that this test computes is the library's */
}

static int open_it(uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    return open_and_close(name, &options);
}

static void refused(int error)
{
    REFUSED(error, open_it(0));
    REFUSED(error, open_it(CAIRN_READ_ONLY));
}

static void refused_with(const struct section_image *header, int error)
{
    write_header(header);
    refused(error);
    write_header(&good);
    REQUIRE_CALL(open_it(0) == 0); /* as it was; opening changes the counts behind the sum */
    read_header(&good);
}

/* ---------------------------------------------------------------- the fields */

enum field_kind {
    IDENTITY,  /* another value is another format */
    STRUCTURE, /* a value that contradicts the others is damage */
    FREE_TEXT, /* any value is legal */
};

static const struct field {
    const char *name;
    size_t offset;
    size_t bytes;
    enum field_kind kind;
} fields[] = {
#define FIELD(member, kind)                                                                                            \
    {                                                                                                                  \
#member, offsetof(struct section_image, member), sizeof good.member, kind                                      \
    }
    FIELD(magic, IDENTITY),          FIELD(byte_order, IDENTITY),
    FIELD(version, IDENTITY),        FIELD(fingerprint, IDENTITY),
    FIELD(instance, FREE_TEXT),      FIELD(address, STRUCTURE),
    FIELD(bytes_max, STRUCTURE),     FIELD(units_offset, STRUCTURE),
    FIELD(unit_shift, STRUCTURE),    FIELD(page_shift, STRUCTURE),
    FIELD(units_max, STRUCTURE),     FIELD(span_stride, STRUCTURE),
    FIELD(processes_max, STRUCTURE), FIELD(owners_max, STRUCTURE),
    FIELD(heaps_max, STRUCTURE),     FIELD(roots_max, STRUCTURE),
    FIELD(commit_offset, STRUCTURE), FIELD(processes_offset, STRUCTURE),
    FIELD(owners_offset, STRUCTURE), FIELD(heaps_offset, STRUCTURE),
    FIELD(roots_offset, STRUCTURE),  FIELD(unit_words_offset, STRUCTURE),
    FIELD(spans_offset, STRUCTURE),  FIELD(created_at, FREE_TEXT),
    FIELD(reserved, FREE_TEXT),
};

static void every_field_is_covered(void)
{
    size_t end = 0;
    for (size_t i = 0; i < COUNT(fields); i++) {
        REQUIRE_EQUAL(fields[i].offset, end);
        end += fields[i].bytes;
    }
    REQUIRE_EQUAL(end, offsetof(struct section_image, checksum));
}

/* Any bit of the constant part, with the sum as it was. */
static void a_changed_bit_is_damage(void)
{
    make_heap();
    for (size_t i = 0; i < COUNT(fields); i++) {
        for (size_t byte = 0; byte<fields[i].bytes; byte += fields[i].bytes> 16 ? 9 : 1) {
            struct section_image bad = good;
            ((unsigned char *)&bad)[fields[i].offset + byte] ^= (unsigned char)(1u << (i + byte) % 8);
            refused_with(&bad, fields[i].kind == IDENTITY ? -EPROTO : -EUCLEAN);
        }
    }
    for (size_t byte = 0; byte < sizeof good.checksum; byte++) {
        struct section_image bad = good;
        bad.checksum ^= UINT64_C(1) << byte * 9;
        refused_with(&bad, -EUCLEAN);
    }
}

static void another_format_is_told_by_name(void)
{
    static const struct {
        const char *what;
        const char *told;
    } rows[] = {{"order", "byte order"}, {"swapped", "byte order"}, {"version", "version"}, {"build", "build"}};
    make_heap();
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct section_image bad = good;
        switch (i) {
        case 0:
            bad.byte_order = 0x04030201;
            break;
        case 1:
            bad.magic = __builtin_bswap64(bad.magic);
            bad.byte_order = __builtin_bswap32(bad.byte_order);
            break;
        case 2:
            bad.version++;
            break;
        default:
            bad.fingerprint++;
            break;
        }
        sum_up(&bad);
        refused_with(&bad, -EPROTO);
        write_header(&bad);
        REQUIRE_EQUAL(open_it(0), -EPROTO);
        if (strstr(cairn_last_error(), rows[i].told) == NULL)
            broken(__FILE__, __LINE__, "%s: the reason does not name it: %s", rows[i].what, cairn_last_error());
        write_header(&good);
    }
}

static void set_field(struct section_image *header, const struct field *field, uint64_t value)
{
    unsigned char *to = (unsigned char *)header + field->offset;
    if (field->bytes == 4)
        *(uint32_t *)(void *)to = (uint32_t)value;
    else
        *(uint64_t *)(void *)to = value;
}

static uint64_t get_field(const struct section_image *header, const struct field *field)
{
    const unsigned char *from = (const unsigned char *)header + field->offset;
    return field->bytes == 4 ? *(const uint32_t *)(const void *)from : *(const uint64_t *)(const void *)from;
}

/* Tells of each header that is not refused as it should be, so that one run shows them all. */
static bool is_refused(const struct field *field, const struct section_image *bad, int wanted)
{
    write_header(bad);
    int error = open_it(CAIRN_READ_ONLY);
    if (error != wanted)
        fprintf(stderr, "%s = %#llx (was %#llx) with a right sum: %d (%s)\n", field->name,
                (unsigned long long)get_field(bad, field), (unsigned long long)get_field(&good, field), error,
                error < 0 ? cairn_last_error() : "opened");
    else
        refused_with(bad, wanted);
    write_header(&good);
    return error == wanted;
}

/* With a right sum: what is impossible by itself or beside the other fields is still seen. */
static void an_impossible_value_is_damage_even_with_a_right_sum(void)
{
    int accepted = 0;
    make_heap();
    for (size_t i = 0; i < COUNT(fields); i++) {
        const struct field *field = &fields[i];
        if (field->kind == FREE_TEXT)
            continue;
        bool may_be_none = field->offset == offsetof(struct section_image, processes_max) ||
                           field->offset == offsetof(struct section_image, roots_max);
        uint64_t was = get_field(&good, field);
        uint64_t all = field->bytes == 4 ? UINT32_MAX : UINT64_MAX;
        uint64_t values[] = {0, 1, all, all / 2, all / 2 + 1, was ^ (all / 2 + 1)};
        for (size_t v = may_be_none; v < COUNT(values); v++) {
            bool is_count = strstr(field->name, "_max") != NULL && field->bytes == 4;
            if (values[v] == was || (is_count && values[v] == 1))
                continue;
            struct section_image bad = good;
            set_field(&bad, field, values[v]);
            sum_up(&bad);
            accepted += !is_refused(field, &bad, field->kind == IDENTITY ? -EPROTO : -EUCLEAN);
        }
    }
    REQUIRE_EQUAL(accepted, 0);
}

/* The tables lie one behind the other; one that was moved onto its neighbour, or out of its place, is damage. */
static void tables_that_overlap_are_damage(void)
{
    static const struct field tables[] = {
        FIELD(commit_offset, STRUCTURE), FIELD(processes_offset, STRUCTURE), FIELD(owners_offset, STRUCTURE),
        FIELD(heaps_offset, STRUCTURE),  FIELD(roots_offset, STRUCTURE),     FIELD(unit_words_offset, STRUCTURE),
        FIELD(spans_offset, STRUCTURE),  FIELD(units_offset, STRUCTURE),
    };
    int accepted = 0;
    make_heap();
    for (size_t i = 0; i < COUNT(tables); i++) {
        uint64_t was = get_field(&good, &tables[i]);
        uint64_t neighbour = get_field(&good, &tables[i == 0 ? 1 : i - 1]);
        uint64_t values[] = {was + 1, was + 64, was - 64, was + 4096, was - 4096, neighbour};
        for (size_t v = 0; v < COUNT(values); v++) {
            struct section_image bad = good;
            set_field(&bad, &tables[i], values[v]);
            sum_up(&bad);
            accepted += !is_refused(&tables[i], &bad, -EUCLEAN);
        }
    }
    REQUIRE_EQUAL(accepted, 0);
}

static void what_is_for_people_may_be_anything(void)
{
    make_heap();
    for (size_t i = 0; i < COUNT(fields); i++) {
        if (fields[i].kind != FREE_TEXT)
            continue;
        struct section_image other = good;
        memset((unsigned char *)&other + fields[i].offset, 0xa5, fields[i].bytes);
        sum_up(&other);
        write_header(&other);
        if (open_it(0) != 0 && fields[i].offset != offsetof(struct section_image, reserved))
            broken(__FILE__, __LINE__, "%s: %s", fields[i].name, cairn_last_error());
        write_header(&good);
    }
}

/* What changes has no sum, but it has limits. */
static void counts_beyond_their_tables_are_damage(void)
{
    make_heap();
    for (int i = 0; i < 7; i++) {
        struct section_image bad = good;
        switch (i) {
        case 6: /* there is always the heap that it was made for */
            atomic_store(&bad.heaps_end, 0);
            break;
        case 0:
            atomic_store(&bad.units_end, bad.units_max + 1);
            break;
        case 1:
            atomic_store(&bad.owners_end, bad.owners_max + 1);
            break;
        case 2:
            atomic_store(&bad.processes_end, UINT32_MAX);
            break;
        case 3:
            atomic_store(&bad.heaps_end, bad.heaps_max + 1);
            break;
        case 4:
            atomic_store(&bad.roots_end, bad.roots_max + 1);
            break;
        default:
            atomic_store(&bad.damaged, 1);
            break;
        }
        refused_with(&bad, -EUCLEAN);
    }
}

/* Headers that are in order, of sections that lie in no file: nobody could be alive there, or nowhere, or all is
 * committed. */
static void a_header_of_a_section_without_a_file_is_damage(void)
{
    make_heap();
    const struct section_params usual = {.bytes_max = good.bytes_max,
                                         .address = good.address,
                                         .processes_max = good.processes_max,
                                         .owners_max = good.owners_max,
                                         .heaps_max = good.heaps_max,
                                         .roots_max = good.roots_max};
    struct section_params of[] = {usual, usual, usual};
    of[0].processes_max = 0;
    of[1].address = 0;
    of[2].committed = of[2].packed = true;
    for (size_t i = 0; i < COUNT(of); i++) {
        struct section_image bad;
        const char *reason = "";
        REQUIRE(section_plan(&bad, &of[i]) == 0);
        atomic_store(&bad.heaps_end, 1);
        REQUIRE(section_header_check(&bad, bad.bytes_max, &reason) == 0); /* not by its own fault */
        refused_with(&bad, -EUCLEAN);
    }
}

/* A count that is possible, but leads behind the end of the file: what is there cannot be read without SIGBUS. */
static void counts_beyond_the_file_are_damage(void)
{
    make_heap();
    struct stat status;
    REQUIRE(stat(workspace_path(name), &status) == 0);
    struct section_image bad = good;
    atomic_store(&bad.units_end, bad.units_max);
    if ((uint64_t)status.st_size < bad.unit_words_offset + (uint64_t)bad.units_max * 8)
        refused_with(&bad, -EUCLEAN);
    REQUIRE(truncate(workspace_path(name), (off_t)(good.unit_words_offset + 1)) == 0);
    REFUSED(-EUCLEAN, open_it(0));
    REFUSED(-EUCLEAN, open_it(CAIRN_READ_ONLY));
}

static void change_byte(uint64_t offset, unsigned char xor)
{
    unsigned char byte;
    read_file_at(name, offset, &byte, 1);
    byte ^= xor;
    write_file_at(name, offset, &byte, 1);
}

/* Marks come into force with the mark of the page that they stand on: those of a page without one are looked at, too.
 */
static void marks_on_a_page_that_is_not_marked_are_damage(void)
{
    make_heap();
    uint64_t page_bytes = UINT64_C(1) << good.page_shift;
    unsigned char mark = (unsigned char)(1u << good.commit_offset / page_bytes);
    change_byte(good.commit_offset, mark);
    refused(-EUCLEAN);
    change_byte(good.commit_offset, mark);

    /* The last page of marks: of memory that this heap is far from. */
    uint64_t page = (good.commit_offset + good.bytes_max / page_bytes / 8 - 1) / page_bytes;
    change_byte(page * page_bytes + 100, 8);
    refused(-EUCLEAN);
    change_byte(page * page_bytes + 100, 8); /* now there is a page of zeros in the place of a hole */
    REQUIRE_CALL(open_it(0) == 0 && open_it(CAIRN_READ_ONLY) == 0);
}

static void die_with_a_slab(void *arg)
{
    (void)arg;
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_open(&heap, name, NULL) == 0);
    REQUIRE_CALL(cairn_alloc(heap, 40) != NULL);
    raise(SIGKILL);
}

/* The first slab in that state: its unit's number, from the words in the file. */
static uint64_t find_slab(enum unit_state state)
{
    int file = open(workspace_path(name), O_RDONLY | O_CLOEXEC);
    uint64_t word, unit = 0;
    do {
        REQUIRE(unit < atomic_load(&good.units_end));
        REQUIRE(pread(file, &word, sizeof word, (off_t)(good.unit_words_offset + unit++ * sizeof word)) == sizeof word);
    } while (unit_state_of(word) != state);
    close(file);
    return unit - 1;
}

static void count_finding(const char *finding, void *arg)
{
    *(int *)arg += strstr(finding, "unit ") != NULL;
}

/* Whoever recovers the dead believes no header: the heap is marked, refused from then on, and can be looked at. */
static void a_dead_owners_impossible_slab_is_damage(void)
{
    static const size_t places[] = {
        offsetof(struct span_image, reciprocal) + 1, offsetof(struct span_image, block_bytes) + 1,
        offsetof(struct span_image, blocks) + 3,     offsetof(struct span_image, ready) + 2,
        offsetof(struct span_image, span_units) + 1, offsetof(struct span_image, elsewhere_at) + 3,
        offsetof(struct span_image, size_class),
    };
    for (size_t i = 0; i < COUNT(places); i++) {
        make_heap();
        finish_by(start(die_with_a_slab, NULL), SIGKILL);
        read_header(&good);
        change_byte(good.spans_offset + find_slab(UNIT_SLAB) * good.span_stride + places[i], 0x40);
        REQUIRE_CALL(open_it(CAIRN_READ_ONLY) == 0); /* a reader recovers nobody */
        REFUSED(-EUCLEAN, open_it(0));
        refused(-EUCLEAN);
        REFUSED(-EINVAL, open_it(CAIRN_DAMAGED_TOO));
        cairn_options options = {.flags = CAIRN_READ_ONLY | CAIRN_DAMAGED_TOO};
        cairn_heap *heap;
        int findings = 0;
        REQUIRE_CALL(cairn_heap_open(&heap, name, &options) == 0);
        REQUIRE(cairn_check(heap, count_finding, &findings) >= 2 && findings >= 2);
        cairn_heap_close(heap);
        REQUIRE_CALL(cairn_heap_unlink(name, NULL) == 0);
    }
}

static int count_root(const char *root, void *block, void *arg)
{
    (void)root;
    (void)block;
    ++*(int *)arg;
    return 0;
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

static void look_at_it(void *arg)
{
    (void)arg;
    cairn_options options = {.size = sizeof options, .flags = CAIRN_READ_ONLY};
    cairn_heap *heap;
    if (cairn_heap_open(&heap, name, &options) < 0)
        return;
    int roots = 0;
    uint64_t bytes = 0;
    stats_of(heap);
    cairn_root_walk(heap, count_root, &roots);
    cairn_walk(heap, see_span, see_block, &bytes);
    cairn_check(heap, NULL, NULL);
    cairn_heap_close(heap);
}

/* The file is shorter than it was: a header that is right is no promise for what follows. */
/* Stopped for a reset that nobody is at: those who would wait for its end are told. */
static void a_heap_that_nobody_stopped_is_damage(void)
{
    static const uint64_t lives[] = {
        0, /* by an owner that cannot be, one who left, one beyond the table, one beyond every table; a life too large
            */
        UINT64_C(1) << UNIT_HEAP_SHIFT,
        UINT64_C(1) << UNIT_HEAP_SHIFT | 5,
        UINT64_C(0xffff) << UNIT_HEAP_SHIFT,
        UINT64_C(1) << 63,
    };
    for (size_t i = 0; i < COUNT(lives); i++) {
        make_heap();
        write_file_at(name, good.heaps_offset + offsetof(struct heap_image, life), &lives[i], sizeof lives[i]);
        cairn_heap *heap;
        REQUIRE_CALL(cairn_heap_open(&heap, name, NULL) == 0);
        REQUIRE(cairn_check(heap, NULL, NULL) == 1);
        REQUIRE(cairn_alloc(heap, 10) == NULL && cairn_last_errno() == -EUCLEAN);
        REQUIRE(strstr(cairn_last_error(), "being reset") != NULL);
        REQUIRE(cairn_check(heap, NULL, NULL) == 2);
        cairn_heap_close(heap);
        REFUSED(-EUCLEAN, open_it(0));
        REFUSED(-EUCLEAN, open_it(CAIRN_READ_ONLY));
        REQUIRE_CALL(open_it(CAIRN_READ_ONLY | CAIRN_DAMAGED_TOO) == 0);
        REQUIRE_CALL(cairn_heap_unlink(name, NULL) == 0);
    }
}

static void a_lock_that_nobody_holds_is_taken(void)
{
    static const uint64_t locks[] = {UINT64_C(1) << 32 | 99, UINT64_C(0xffff) << 32, UINT64_MAX, 5};
    make_heap();
    for (size_t i = 0; i < COUNT(locks); i++) {
        write_file_at(name, offsetof(struct section_image, lock), &locks[i], sizeof locks[i]);
        cairn_heap *heap;
        REQUIRE_CALL(cairn_heap_open(&heap, name, NULL) == 0);
        REQUIRE_CALL(cairn_root_set(heap, "another", cairn_root_get(heap, "root")) == 0);
        cairn_heap_close(heap);
    }
}

/* Whoever would adopt it marks the heap, and allocates elsewhere. */
static void an_orphans_impossible_header_is_damage(void)
{
    static const size_t places[] = {offsetof(struct span_image, ready) + 3,
                                    offsetof(struct span_image, elsewhere_at) + 3};
    for (size_t i = 0; i < COUNT(places); i++) {
        make_heap();
        change_byte(good.spans_offset + find_slab(UNIT_ORPHAN) * good.span_stride + places[i], 0x40);
        cairn_heap *heap;
        REQUIRE_CALL(cairn_heap_open(&heap, name, NULL) == 0);
        for (int k = 0; k < 1000; k++)
            REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
        cairn_heap_close(heap);
        refused(-EUCLEAN);
        REQUIRE_CALL(cairn_heap_unlink(name, NULL) == 0);
    }
}

/* A heap whose slabs have no room for exact sizes says that it has exact sizes. */
static void a_heap_that_is_made_exact_is_damage(void)
{
    make_heap();
    change_byte(good.heaps_offset + offsetof(struct heap_image, options), HEAP_EXACT_SIZES);
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_open(&heap, name, NULL) == 0);
    char *root = cairn_root_get(heap, "root");
    REQUIRE_EQUAL(cairn_size(heap, root), 112); /* where it would stand there is no memory */
    REQUIRE_CALL(cairn_realloc(heap, root, 105) == root);
    for (int k = 0; k < 1000; k++)
        REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    cairn_heap_close(heap);
    refused(-EUCLEAN);
    REQUIRE_CALL(cairn_heap_unlink(name, NULL) == 0);
}

/* More blocks are said to be ready than there is memory for. */
static void a_slab_that_was_not_committed_is_damage(void)
{
    make_heap();
    uint64_t at = good.spans_offset + find_slab(UNIT_ORPHAN) * good.span_stride;
    struct span_image slab;
    read_file_at(name, at, &slab, sizeof slab);
    store_relaxed(&slab.ready, load_relaxed(&slab.blocks));
    write_file_at(name, at, &slab, sizeof slab);
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_open(&heap, name, NULL) == 0);
    for (int k = 0; k < 1000; k++)
        memset(cairn_alloc(heap, 100), 1, 100);
    cairn_heap_close(heap);
    refused(-EUCLEAN);
    REQUIRE_CALL(cairn_heap_unlink(name, NULL) == 0);
}

static void a_shortened_file_never_kills_its_reader(void)
{
    make_heap();
    struct stat status;
    REQUIRE(stat(workspace_path(name), &status) == 0);
    for (int i = 0; i < 40; i++) {
        off_t bytes = status.st_size - (off_t)(status.st_size / 40) * i;
        REQUIRE(truncate(workspace_path(name), bytes) == 0);
        finish(start(look_at_it, NULL));
    }
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(every_field_is_covered),
        CLAIM(a_changed_bit_is_damage),
        CLAIM(another_format_is_told_by_name),
        CLAIM(an_impossible_value_is_damage_even_with_a_right_sum),
        CLAIM(tables_that_overlap_are_damage),
        CLAIM(what_is_for_people_may_be_anything),
        CLAIM(counts_beyond_their_tables_are_damage),
        CLAIM(a_header_of_a_section_without_a_file_is_damage),
        CLAIM(counts_beyond_the_file_are_damage),
        CLAIM(marks_on_a_page_that_is_not_marked_are_damage),
        CLAIM(a_dead_owners_impossible_slab_is_damage),
        CLAIM(a_heap_that_nobody_stopped_is_damage),
        CLAIM(a_lock_that_nobody_holds_is_taken),
        CLAIM(an_orphans_impossible_header_is_damage),
        CLAIM(a_heap_that_is_made_exact_is_damage),
        CLAIM(a_slab_that_was_not_committed_is_damage),
        CLAIM(a_shortened_file_never_kills_its_reader),
    };
    return run_claims(claims, COUNT(claims), 20);
}
