/* SPDX-License-Identifier: MIT */
#include "section/section.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/platform.h"
#include "section/backing.h"
#include "support/model.h"
#include "support/random.h"
#include "support/suite.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)
/* In the window that is free in every kind of program, sanitizers too. */
#define FREE_ADDRESS UINT64_C(0x552000000000)

/* ================================================================ planning */

/* The rule of the design: 16 from 64 MiB on; below, the largest that leaves 512 units, and not below 10. */
static uint32_t expected_unit_shift(uint64_t bytes_max)
{
    if (bytes_max >= 64 * MIB)
        return 16;
    uint32_t shift = 16;
    while (shift > 10 && bytes_max >> shift < 512)
        shift--;
    return shift;
}

struct range {
    uint64_t begin;
    uint64_t end;
};

static bool tables_are_in_order(const struct section_image *header)
{
    bool has_bits = header->commit_offset != 0;
    uint64_t commit_bytes = has_bits ? (header->bytes_max >> header->page_shift) / 8 + 8 : 0;
    const struct range ranges[] = {
        {0, sizeof *header},
        {header->commit_offset, header->commit_offset + commit_bytes},
        {header->processes_offset,
         header->processes_offset + (uint64_t)header->processes_max * sizeof(struct process_image)},
        {header->owners_offset, header->owners_offset + (uint64_t)header->owners_max * sizeof(struct owner_image)},
        {header->heaps_offset, header->heaps_offset + (uint64_t)header->heaps_max * sizeof(struct heap_image)},
        {header->roots_offset, header->roots_offset + (uint64_t)header->roots_max * sizeof(struct root_image)},
        {header->unit_words_offset, header->unit_words_offset + (uint64_t)header->units_max * sizeof(uint64_t)},
        {header->spans_offset, header->spans_offset + (uint64_t)header->units_max * header->span_stride},
        {header->units_offset, header->units_offset + ((uint64_t)header->units_max << header->unit_shift)},
    };
    uint64_t before = 0;
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        if (ranges[i].begin == ranges[i].end)
            continue;
        if (ranges[i].begin < before || ranges[i].begin % 64 != 0)
            return false;
        before = ranges[i].end;
    }
    return before <= header->bytes_max && header->units_offset % (UINT64_C(1) << header->unit_shift) == 0;
}

static void check_geometry(const struct section_image *header, const struct section_params *params)
{
    uint64_t alignment = params->packed ? 64 : UINT64_C(1) << header->page_shift;
    uint64_t end = header->units_offset + ((uint64_t)header->units_max << header->unit_shift);
    ck_assert(tables_are_in_order(header));
    ck_assert_uint_ge(header->units_max, 1);
    ck_assert_uint_eq(header->owners_offset % alignment, 0);
    ck_assert_uint_eq(header->units_offset % alignment, 0);
    if (params->committed)
        ck_assert_uint_eq(header->commit_offset, 0);

    /* No unit more would fit, but for what the tables lose to alignment. */
    if (header->units_max < UNITS_LIMIT) {
        uint64_t unit = UINT64_C(1) << header->unit_shift;
        uint64_t slack = 3 * (alignment > unit ? alignment : unit) + header->span_stride + 8;
        ck_assert_msg(header->bytes_max - end <= slack, "%llu of %llu bytes are not used",
                      (unsigned long long)(header->bytes_max - end), (unsigned long long)header->bytes_max);
    }
    const char *reason = "none";
    int error = section_header_check(header, header->bytes_max, &reason);
    ck_assert_msg(error == 0, "a plan of %llu bytes, pages of 2^%u: %d: %s", (unsigned long long)header->bytes_max,
                  header->page_shift, error, reason);
}

/* Sizes around each power of two from 8 KiB to 1 TiB. */
static uint64_t size_of_step(uint64_t step)
{
    static const int64_t around[] = {-65536, -4096, 0, 4096, 65536 + 12288};
    int64_t size = (int64_t)(8 * KIB << step / COUNT_OF(around)) + around[step % COUNT_OF(around)];
    return size > 0 ? (uint64_t)size : 8 * KIB;
}

START_TEST(a_plan_uses_all_of_its_bytes_without_overlap)
{
    uint32_t page_shift = 12 + 2 * (uint32_t)(_i / 2);
    bool tight = _i % 2 != 0;
    uint64_t made = 0;
    for (uint64_t step = 0; size_of_step(step) <= TIB; step++) {
        struct section_params params = {
            .bytes_max = size_of_step(step), .page_shift = page_shift, .packed = tight, .committed = tight};
        struct section_image header;
        memset(&header, 0x77, sizeof header);
        int error = section_plan(&header, &params);
        if (error == -ENOSPC && params.bytes_max <= 16 * MIB)
            continue;
        ck_assert_msg(error == 0, "%llu bytes: %d", (unsigned long long)params.bytes_max, error);
        ck_assert_uint_eq(header.bytes_max, params.bytes_max);
        ck_assert_uint_eq(header.page_shift, page_shift);
        check_geometry(&header, &params);
        made++;
    }
    ck_assert_uint_ge(made, 60);
}
END_TEST

START_TEST(the_unit_follows_from_the_size)
{
    for (uint64_t step = 0; size_of_step(step) <= TIB; step++) {
        struct section_params params = {.bytes_max = size_of_step(step),
                                        .owners_max = 2,
                                        .roots_max = UINT32_MAX,
                                        .packed = true,
                                        .committed = true};
        struct section_image header;
        int error = section_plan(&header, &params);
        ck_assert_msg(error == 0, "%llu bytes: %d", (unsigned long long)params.bytes_max, error);
        ck_assert_msg(header.unit_shift == expected_unit_shift(params.bytes_max), "%llu bytes: unit shift %u, not %u",
                      (unsigned long long)params.bytes_max, header.unit_shift, expected_unit_shift(params.bytes_max));
    }
}
END_TEST

START_TEST(the_smallest_lent_section_is_8_kib)
{
    static _Alignas(64) unsigned char array[8 * KIB];
    struct section_params params = {.bytes_max = sizeof array, .owners_max = 1, .roots_max = UINT32_MAX};
    struct section section;
    ck_assert_int_eq(section_create_lent(&section, array, &params), 0);
    ck_assert_uint_ge(section.units_max, 2);
    section_close(&section);
    params.bytes_max = sizeof(struct section_image) + 64;
    ck_assert_int_eq(section_create_lent(&section, array, &params), -ENOSPC);
}
END_TEST

START_TEST(a_plan_that_contradicts_itself_is_refused)
{
    const struct section_params wrong[] = {
        {.bytes_max = MIB, .unit_shift = 9},
        {.bytes_max = MIB, .unit_shift = 17},
        {.bytes_max = MIB, .page_shift = 11},
        {.bytes_max = MIB, .page_shift = 17},
        {.bytes_max = MIB, .processes_max = PROCESSES_LIMIT + 1},
        {.bytes_max = MIB, .owners_max = OWNERS_LIMIT + 1},
        {.bytes_max = MIB, .heaps_max = HEAPS_LIMIT + 1},
        {.bytes_max = MIB, .roots_max = ROOTS_LIMIT + 1},
        {.bytes_max = (UINT64_C(1) << 46) + 1},
        {.bytes_max = UINT64_MAX},
    };
    struct section_image header, untouched;
    memset(&untouched, 0x77, sizeof untouched);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        header = untouched;
        ck_assert_msg(section_plan(&header, &wrong[i]) == -EINVAL, "number %zu", i);
        ck_assert_mem_eq(&header, &untouched, sizeof header);
    }
    for (uint64_t bytes = 0; bytes < 64 * KIB; bytes += 509) {
        struct section_params small = {.bytes_max = bytes};
        ck_assert_int_eq(section_plan(&header, &small), -ENOSPC);
        ck_assert_mem_eq(&header, &untouched, sizeof header);
    }
}
END_TEST

/* ================================================================ the header */

/* As section.c computes it: a writer who means it can do so, too. */
static uint64_t checksum_of(const struct section_image *header)
{
    const unsigned char *bytes = (const unsigned char *)header;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < offsetof(struct section_image, checksum); i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

struct field {
    const char *name;
    size_t offset;
    size_t bytes;
};

#define FIELD(member)                                                                                                  \
    {                                                                                                                  \
#member, offsetof(struct section_image, member), sizeof((struct section_image *)0)->member                     \
    }

static const struct field fields[] = {
    FIELD(magic),        FIELD(byte_order),        FIELD(version),          FIELD(fingerprint),   FIELD(instance),
    FIELD(address),      FIELD(bytes_max),         FIELD(units_offset),     FIELD(unit_shift),    FIELD(page_shift),
    FIELD(units_max),    FIELD(span_stride),       FIELD(processes_max),    FIELD(owners_max),    FIELD(heaps_max),
    FIELD(roots_max),    FIELD(commit_offset),     FIELD(processes_offset), FIELD(owners_offset), FIELD(heaps_offset),
    FIELD(roots_offset), FIELD(unit_words_offset), FIELD(spans_offset),     FIELD(created_at),
};

/* What a check should say: other builds by name, and possible is exactly what section_plan would have made. */
static int expected_error(const struct section_image *header)
{
    struct section_image sound, planned;
    struct section_params params = {
        .bytes_max = header->bytes_max,
        .address = header->address,
        .unit_shift = header->unit_shift,
        .page_shift = header->page_shift,
        .processes_max = header->processes_max,
        .owners_max = header->owners_max,
        .heaps_max = header->heaps_max,
        .roots_max = header->roots_max == 0 ? UINT32_MAX : header->roots_max,
        .instance = header->instance,
        .created_at = header->created_at,
        .packed = header->commit_offset == 0,
        .committed = header->commit_offset == 0,
    };
    ck_assert_int_eq(section_plan(&sound, &(struct section_params){.bytes_max = 16 * MIB}), 0);
    if (header->magic != sound.magic || header->byte_order != sound.byte_order || header->version != sound.version ||
        header->fingerprint != sound.fingerprint)
        return -EPROTO;
    if (header->unit_shift == 0 || header->page_shift == 0 || header->page_shift > 16 || header->owners_max == 0 ||
        header->heaps_max == 0 || header->roots_max == UINT32_MAX ||
        header->address % (UINT64_C(1) << header->page_shift) != 0 || header->address > UINT64_C(1) << 46 ||
        section_plan(&planned, &params) < 0)
        return -EUCLEAN;
    return memcmp(header, &planned, offsetof(struct section_image, checksum)) == 0 ? 0 : -EUCLEAN;
}

static struct section_image sound_header(bool tight)
{
    struct section_params params = {.bytes_max = 16 * MIB,
                                    .processes_max = 64,
                                    .owners_max = 100,
                                    .heaps_max = 8,
                                    .roots_max = 64,
                                    .packed = tight,
                                    .committed = tight};
    struct section_image header;
    ck_assert_int_eq(section_plan(&header, &params), 0);
    ck_assert_int_eq(section_header_check(&header, 16 * MIB, NULL), 0);
    return header;
}

START_TEST(every_byte_of_the_constant_part_is_guarded)
{
    struct section_image sound = sound_header(_i != 0);
    size_t end = offsetof(struct section_image, checksum) + sizeof sound.checksum;
    for (size_t byte = 0; byte < end; byte++) {
        for (uint32_t bit = 0; bit < 8; bit++) {
            struct section_image header = sound;
            ((unsigned char *)&header)[byte] ^= (unsigned char)(1u << bit);
            int wanted = byte < offsetof(struct section_image, instance) ? -EPROTO : -EUCLEAN;
            const char *reason = NULL;
            int error = section_header_check(&header, 16 * MIB, &reason);
            if (error != wanted || reason == NULL || reason[0] == '\0')
                ck_abort_msg("byte %zu bit %u: %d", byte, bit, error);
        }
    }
}
END_TEST

/* What a hostile writer could try: a field at an edge, a bit away, or far out, and the checksum made to fit. */
static uint64_t wrong_value(uint64_t right, uint32_t attempt, bool *ret_more)
{
    static const uint64_t others[] = {0, 1, 63, 64, UINT64_C(1) << 31, UINT32_MAX, UINT64_C(1) << 46, UINT64_MAX};
    *ret_more = true;
    if (attempt < 64)
        return right ^ UINT64_C(1) << attempt;
    if (attempt < 64 + COUNT_OF(others))
        return others[attempt - 64];
    *ret_more = false;
    return right + (attempt % 2 != 0 ? 64 : -UINT64_C(64));
}

START_TEST(no_field_can_be_wrong_by_itself_even_with_a_fitting_checksum)
{
    const struct field *field = &fields[_i / 2];
    struct section_image sound = sound_header(_i % 2 != 0);
    size_t width = field->bytes < 8 ? field->bytes : 8;
    uint64_t right = 0;
    memcpy(&right, (const unsigned char *)&sound + field->offset, width);
    bool more = true;
    for (uint32_t attempt = 0; more; attempt++) {
        struct section_image header = sound;
        uint64_t wrong = wrong_value(right, attempt, &more);
        memcpy((unsigned char *)&header + field->offset, &wrong, width);
        if (memcmp(&header, &sound, sizeof sound) == 0)
            continue;
        header.checksum = checksum_of(&header);
        int error = section_header_check(&header, UINT64_MAX, NULL);
        /* A section may have fewer units than there is room for, if its tables are in order. */
        bool fewer = strcmp(field->name, "units_max") == 0 || strcmp(field->name, "bytes_max") == 0;
        if (error != expected_error(&header) && !(fewer && error == 0 && tables_are_in_order(&header)))
            ck_abort_msg("%s is %#llx instead of %#llx: %d, not %d", field->name, (unsigned long long)wrong,
                         (unsigned long long)right, error, expected_error(&header));
    }
}
END_TEST

/* A section by itself has none of the tables: a header that has some of them is neither. */
START_TEST(a_header_has_all_the_tables_or_none)
{
    struct section_image raw;
    struct section_params params = {.bytes_max = 16 * MIB, .raw = true};
    ck_assert_int_eq(section_plan(&raw, &params), 0);
    ck_assert_int_eq(section_header_check(&raw, UINT64_MAX, NULL), 0);
    static const size_t counts[] = {
        offsetof(struct section_image, owners_max), offsetof(struct section_image, heaps_max),
        offsetof(struct section_image, processes_max), offsetof(struct section_image, roots_max)};
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        struct section_image header = raw;
        const uint32_t one = 1;
        memcpy((unsigned char *)&header + counts[i], &one, sizeof one);
        header.checksum = checksum_of(&header);
        ck_assert_int_eq(section_header_check(&header, UINT64_MAX, NULL), -EUCLEAN);
    }
    struct section_image strided = raw, bitless = raw, sound = sound_header(false);
    strided.span_stride = sound.span_stride;
    strided.checksum = checksum_of(&strided);
    ck_assert_int_eq(section_header_check(&strided, UINT64_MAX, NULL), -EUCLEAN);
    bitless.commit_offset = 0;
    bitless.checksum = checksum_of(&bitless);
    ck_assert_int_eq(section_header_check(&bitless, UINT64_MAX, NULL), -EUCLEAN);
}
END_TEST

START_TEST(a_section_of_as_many_units_as_there_can_be_is_sound)
{
    struct section_image header;
    struct section_params params = {.bytes_max = ((uint64_t)UNITS_LIMIT << UNIT_SHIFT_MIN) * 2,
                                    .unit_shift = UNIT_SHIFT_MIN,
                                    .processes_max = 64,
                                    .owners_max = 100,
                                    .heaps_max = 8,
                                    .roots_max = 64};
    ck_assert_int_eq(section_plan(&header, &params), 0);
    ck_assert_uint_eq(header.units_max, UNITS_LIMIT);
    ck_assert_int_eq(section_header_check(&header, UINT64_MAX, NULL), 0);
    header.units_max--; /* fewer than there is room for */
    header.checksum = checksum_of(&header);
    ck_assert_int_eq(section_header_check(&header, UINT64_MAX, NULL), -EUCLEAN);
}
END_TEST

static uint64_t no_data(int file, uint64_t from)
{
    (void)file, (void)from;
    return UINT64_MAX;
}

static uint64_t all_data(int file, uint64_t from)
{
    (void)file;
    return from;
}

/* Marks that take two pages: what the second page says counts when its mark stands in the first, or when it has bytes.
 */
START_TEST(marks_are_looked_at_as_far_as_the_file_goes)
{
    struct section_image header;
    struct section section = {0};
    ck_assert(section_marks_are_sound(&section, 0, no_data)); /* one that is committed for ever */
    struct section_params params = {.bytes_max = 256 * MIB, .processes_max = 4, .owners_max = 4, .roots_max = 4};
    ck_assert_int_eq(section_plan(&header, &params), 0);
    uint64_t page = UINT64_C(1) << header.page_shift;
    ck_assert_uint_ge(header.processes_offset, header.commit_offset + 2 * page);
    unsigned char *base = aligned_alloc(page, header.units_offset);
    ck_assert_ptr_nonnull(base);
    memset(base, 0, header.units_offset);
    memcpy(base, &header, sizeof header);
    section_view_init(&section, base, &header);
    uint64_t first = header.commit_offset >> header.page_shift, whole = header.units_offset;
    ck_assert(!section_marks_are_sound(&section, whole, no_data)); /* not even the first page of them is marked */
    store_relaxed(&section.commit_bits[first / 64], UINT64_C(1) << first % 64);
    ck_assert(section_marks_are_sound(&section, whole, no_data));
    ck_assert(section_marks_are_sound(&section, whole, all_data)); /* zeros are as good as a hole */
    base[header.commit_offset + page + 8] = 1;
    ck_assert(section_marks_are_sound(&section, whole, no_data)); /* the file system says that nothing is there */
    ck_assert(!section_marks_are_sound(&section, whole, all_data));
    ck_assert(section_marks_are_sound(&section, header.commit_offset + page, all_data)); /* it ends before that */
    store_relaxed(&section.commit_bits[(first + 1) / 64],
                  load_relaxed(&section.commit_bits[(first + 1) / 64]) | UINT64_C(1) << (first + 1) % 64);
    ck_assert(section_marks_are_sound(&section, whole, all_data));
    free(base);
}
END_TEST

START_TEST(a_header_of_the_other_byte_order_is_told_by_name)
{
    struct section_image header = sound_header(false);
    header.magic = __builtin_bswap64(header.magic);
    const char *reason = "";
    ck_assert_int_eq(section_header_check(&header, 16 * MIB, &reason), -EPROTO);
    ck_assert_ptr_nonnull(strstr(reason, "byte order"));
}
END_TEST

START_TEST(a_file_that_ends_before_its_commit_bits_is_refused)
{
    struct section_image header = sound_header(false);
    for (uint64_t bytes = 0; bytes <= header.commit_offset; bytes += 256)
        ck_assert_int_eq(section_header_check(&header, bytes, NULL), -EUCLEAN);
    ck_assert_int_eq(section_header_check(&header, header.commit_offset + 4096, NULL), 0);
}
END_TEST

START_TEST(a_lent_section_is_not_opened_in_less_memory_than_it_has)
{
    static _Alignas(64) unsigned char array[64 * KIB + 64];
    struct section_params params = {.bytes_max = 64 * KIB, .owners_max = 2, .roots_max = UINT32_MAX};
    struct section section;
    ck_assert_int_eq(section_create_lent(&section, array, &params), 0);
    section_close(&section);
    ck_assert_int_eq(section_open_lent(&section, array, 64 * KIB - 1), -EUCLEAN);
    ck_assert_int_eq(section_open_lent(&section, array, sizeof(struct section_image) - 1), -EINVAL);
    ck_assert_int_eq(section_open_lent(&section, array + 8, 64 * KIB), -EINVAL);
    ck_assert_int_eq(section_create_lent(&section, array + 8, &params), -EINVAL);
    ck_assert_int_eq(section_open_lent(&section, array, 64 * KIB), 0);
    section_close(&section);
}
END_TEST

/* ================================================================ memory */

enum backing_kind {
    ANONYMOUS,
    MEMFD,
    NAMED,
    LENT,
    KINDS,
};

static char directory[128];
static _Alignas(64) unsigned char lent_array[8 * MIB];

static void setup(void)
{
    const char *other = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "/dev/shm/cairn-test-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        snprintf(directory, sizeof directory, "%s/cairn-test-XXXXXX", other != NULL ? other : "/tmp");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        fprintf(stderr, "test_section: no /dev/shm, using %s\n", directory);
    }
}

/* Outside of the tests, so that one that fails leaves nothing behind either. */
static void teardown(void)
{
    (void)file_unlink(directory, "section");
    if (rmdir(directory) < 0)
        fprintf(stderr, "test_section: %s: %s\n", directory, strerror(errno));
}

/* What a test before has left when it failed. */
static void clear_directory(void)
{
    (void)file_unlink(directory, "section");
}

static void check_directory(void)
{
    ck_assert_int_eq(file_unlink(directory, "section"), -ENOENT);
}

static int named_file(const char *name)
{
    int file;
    int error = file_create_unnamed(&file, directory, 0600);
    ck_assert_msg(error == 0, "%s: %s", directory, strerror(-error));
    ck_assert_int_eq(file_publish(file, directory, name), 0);
    return file;
}

static struct section make_section(enum backing_kind kind, uint64_t bytes_max)
{
    struct section_params params = {
        .bytes_max = bytes_max,
        .page_shift = kind == LENT ? 0 : bit_highest(platform_page_size()),
        .processes_max = 4,
        .owners_max = 16,
        .roots_max = 16,
    };
    struct section section;
    int file, error = -EINVAL;
    switch (kind) {
    case ANONYMOUS:
        error = section_create_anonymous(&section, &params);
        break;
    case MEMFD:
        ck_assert_int_eq(file_create_anonymous(&file, "test"), 0);
        error = section_create_file(&section, file, &params);
        break;
    case NAMED:
        error = section_create_file(&section, named_file("section"), &params);
        break;
    case LENT:
        ck_assert_uint_le(bytes_max, sizeof lent_array);
        error = section_create_lent(&section, lent_array, &params);
        break;
    case KINDS:
        break;
    }
    ck_assert_msg(error == 0, "%s", strerror(-error));
    ck_assert_uint_eq(section.bytes_max, bytes_max);
    return section;
}

static void end_section(struct section *section, enum backing_kind kind)
{
    ck_assert_uint_eq(section_count_committed(section), load_relaxed(&section->image->bytes_committed));
    section_close(section);
    if (kind == NAMED)
        ck_assert_int_eq(file_unlink(directory, "section"), 0);
}

START_TEST(a_new_section_is_small_and_zero)
{
    struct section section = make_section((enum backing_kind)_i, 8 * MIB);
    ck_assert_uint_eq(section_header_check(section.image, section.bytes_max, NULL), 0);
    if (_i != LENT) {
        uint64_t page = platform_page_size();
        ck_assert_uint_le(section_count_committed(&section), _i == ANONYMOUS ? MIB : 4 * page);
        ck_assert(section_committed(&section, 0, NULL));
        ck_assert(!section_committed(&section, section.units_offset, NULL));
    }
    ck_assert_uint_eq(load_relaxed(&section.image->units_end), 0);
    ck_assert_int_eq(section_commit(&section, 0, section.units_offset), 0);
    for (uint64_t i = sizeof(struct section_image); i < section.units_offset; i++) {
        if (section.commit_bits != NULL && i >= section_offset(&section, section.commit_bits) &&
            i < section_offset(&section, section.processes))
            continue;
        if (section.base[i] != 0)
            ck_abort_msg("byte %llu", (unsigned long long)i);
    }
    end_section(&section, (enum backing_kind)_i);
}
END_TEST

/* Touches the first and the last byte of every page in a range. */
static void touch(struct section *section, uint64_t offset, uint64_t bytes, unsigned char value)
{
    for (uint64_t at = offset; at < offset + bytes; at = align_down(at + 4096, 4096))
        section->base[at] = value;
    section->base[offset + bytes - 1] = value;
}

enum { PAGES_MAX = 4096 };

/* Every page of the model is committed in the section; of a file, no others in the units part. */
static void compare_pages(const struct section *section, const bool committed[PAGES_MAX], bool exactly)
{
    uint64_t page = UINT64_C(1) << section->page_shift;
    for (uint64_t i = 0; i < section->bytes_max / page; i++) {
        bool marked = section_committed(section, i * page, NULL);
        if (committed[i] ? !marked : marked && exactly && i * page >= section->units_offset)
            ck_abort_msg("page %llu is %smarked", (unsigned long long)i, marked ? "" : "not ");
    }
}

/* The runs that the section tells cover it, and alternate. */
static void check_runs(const struct section *section)
{
    bool before = false;
    for (uint64_t at = 0; at < section->bytes_max;) {
        uint64_t run = 0;
        bool committed = section_committed(section, at, &run);
        ck_assert_uint_gt(run, 0);
        ck_assert(at == 0 || committed != before);
        before = committed;
        at += run;
        ck_assert_uint_le(at, section->bytes_max);
    }
}

START_TEST(what_is_committed_can_be_touched_and_what_is_decommitted_is_zero_again)
{
    enum backing_kind kind = (enum backing_kind)(_i % KINDS);
    struct section section = make_section(kind, 8 * MIB);
    bool exactly = _i >= KINDS;
    if (exactly)
        section.commit_step_shift = 0; /* no more than is asked for */
    struct random random = random_begin(random_seed("test_section", 1));
    static bool committed[PAGES_MAX];
    memset(committed, 0, sizeof committed);
    uint64_t page = UINT64_C(1) << section.page_shift;
    for (uint64_t round = 0; round < random_rounds(300); round++) {
        uint64_t offset = section.units_offset + random_below(&random, section.units_bytes);
        uint64_t bytes = 1 + random_below(&random, random_below(&random, 4) == 0 ? MIB : 5 * page);
        bytes = min_u64(bytes, section.units_offset + section.units_bytes - offset);
        if (random_below(&random, 3) != 0) {
            ck_assert_int_eq(section_commit(&section, offset, bytes), 0);
            touch(&section, offset, bytes, 0xee);
            for (uint64_t i = offset / page; i <= (offset + bytes - 1) / page; i++)
                committed[i] = true;
            uint64_t run = 0;
            ck_assert(section_committed(&section, offset, &run));
            ck_assert_uint_ge(run, bytes);
        } else {
            uint64_t first = align_up(offset, page), end = align_down(offset + bytes, page), run = 0;
            bool all = first >= end || (section_committed(&section, first, &run) && run >= end - first);
            int error = section_decommit(&section, offset, bytes);
            ck_assert_int_eq(error, kind == LENT ? -EOPNOTSUPP : 0);
            if (error == -EOPNOTSUPP || first >= end)
                continue;
            for (uint64_t i = first / page; i < end / page; i++) {
                committed[i] = false;
                if (section_committed(&section, i * page, NULL))
                    ck_abort_msg("page %llu is still marked", (unsigned long long)i);
            }
            if (random_below(&random, 2) == 0) {
                ck_assert_int_eq(section_commit(&section, first, end - first), 0);
                if (all)
                    ck_assert(bytes_are_zero(section.base + first, end - first));
                for (uint64_t i = first / page; i < end / page; i++)
                    committed[i] = true;
            }
        }
        if (kind != LENT)
            ck_assert_uint_eq(section_count_committed(&section), load_relaxed(&section.image->bytes_committed));
    }
    compare_pages(&section, committed, exactly && kind != LENT);
    check_runs(&section);
    ck_assert_uint_ge(load_relaxed(&section.image->bytes_peak), load_relaxed(&section.image->bytes_committed));
    end_section(&section, kind);
}
END_TEST

START_TEST(committed_memory_of_a_file_is_really_allocated)
{
    enum backing_kind kind = (enum backing_kind)_i;
    struct section section = make_section(kind, 8 * MIB);
    ck_assert_int_eq(section_commit(&section, section.units_offset + 3 * MIB, MIB), 0);
    struct stat status;
    ck_assert_int_eq(fstat(section.file, &status), 0);
    ck_assert_uint_ge((uint64_t)status.st_blocks * 512, section_count_committed(&section));
    ck_assert_int_eq(section_decommit(&section, section.units_offset + 3 * MIB, MIB), 0);
    ck_assert_int_eq(fstat(section.file, &status), 0);
    ck_assert_uint_lt((uint64_t)status.st_blocks * 512, section_count_committed(&section) + 64 * KIB);
    end_section(&section, kind);
}
END_TEST

START_TEST(a_commit_outside_of_the_section_is_refused)
{
    struct section section = make_section((enum backing_kind)_i, 8 * MIB);
    uint64_t before = section_count_committed(&section);
    ck_assert_int_eq(section_commit(&section, 8 * MIB, 1), -EINVAL);
    ck_assert_int_eq(section_commit(&section, 8 * MIB - 1, 2), -EINVAL);
    ck_assert_int_eq(section_commit(&section, 4096, UINT64_MAX - 100), -EINVAL);
    ck_assert_int_eq(section_commit(&section, UINT64_MAX - 100, 4096), -EINVAL);
    ck_assert_int_eq(section_commit(&section, 8 * MIB, 0), 0);
    ck_assert_uint_eq(section_count_committed(&section), before);
    end_section(&section, (enum backing_kind)_i);
}
END_TEST

START_TEST(all_of_a_section_of_any_size_can_be_committed)
{
    enum backing_kind kind = (enum backing_kind)(_i % KINDS);
    uint64_t bytes_max = 8 * MIB - (uint64_t)(_i / KINDS) * 1000 * 64;
    if (kind != LENT)
        bytes_max = align_down(bytes_max, platform_page_size());
    struct section section = make_section(kind, bytes_max);
    ck_assert_int_eq(section_commit(&section, section.units_offset, section.units_bytes), 0);
    touch(&section, section.units_offset, section.units_bytes, 0x55);
    uint64_t run = 0;
    ck_assert(section_committed(&section, section.units_offset, &run));
    ck_assert_uint_ge(run, section.units_bytes);
    ck_assert_int_eq(section_commit(&section, 0, section.bytes_max), 0);
    ck_assert(section_committed(&section, 0, &run));
    ck_assert_uint_eq(run, section.bytes_max);
    ck_assert_uint_eq(section_count_committed(&section), section.bytes_max);
    end_section(&section, kind);
}
END_TEST

START_TEST(the_table_of_records_grows_to_the_highest_that_was_asked_for)
{
    struct section section = make_section((enum backing_kind)_i, 8 * MIB);
    const uint32_t wanted[] = {3, 1, 10, 0, 10, 15};
    uint32_t highest = 0;
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        struct owner_image *record = &section.owners[wanted[i]];
        ck_assert_int_eq(
            section_commit_records(&section, record, sizeof *record, &section.image->owners_end, wanted[i], wanted[i]),
            0);
        highest = wanted[i] > highest ? wanted[i] : highest;
        ck_assert_uint_eq(load_relaxed(&section.image->owners_end), highest + 1);
        store_relaxed(&record->hand, 1);
    }
    end_section(&section, (enum backing_kind)_i);
}
END_TEST

/* ---------------------------------------------------------------- memory that is refused */

static int refusals_after; /* how many calls still succeed */
static const struct backing *real_backing;

static int reluctant_commit(struct section *section, uint64_t offset, uint64_t bytes)
{
    return refusals_after-- > 0 ? real_backing->commit(section, offset, bytes) : -ENOMEM;
}

static int reluctant_decommit(struct section *section, uint64_t offset, uint64_t bytes)
{
    (void)section, (void)offset, (void)bytes;
    return -EOPNOTSUPP;
}

static struct backing reluctant_to(struct section *section)
{
    real_backing = section->backing;
    struct backing backing = *section->backing;
    backing.commit = reluctant_commit;
    backing.decommit = reluctant_decommit;
    return backing;
}

START_TEST(what_the_system_refused_is_not_marked)
{
    enum backing_kind kind = (enum backing_kind)_i;
    for (int calls = 0; calls < 4; calls++) {
        struct section section = make_section(kind, 8 * MIB);
        /* Holes, so that one commit takes several calls of the backing. */
        uint64_t begin = section.units_offset;
        ck_assert_int_eq(section_commit(&section, begin + MIB, MIB), 0);
        ck_assert_int_eq(section_commit(&section, begin + 3 * MIB, MIB), 0);
        struct backing reluctant = reluctant_to(&section);
        section.backing = &reluctant;
        refusals_after = calls;
        int error = section_commit(&section, begin, 5 * MIB);
        section.backing = real_backing;
        ck_assert(error == -ENOMEM || calls >= (kind == ANONYMOUS ? 1 : 3)); /* of anonymous memory more at once */
        ck_assert_uint_eq(section_count_committed(&section), load_relaxed(&section.image->bytes_committed));
        for (uint64_t at = 0; at < section.bytes_max; at += 4096) {
            if (section_committed(&section, at, NULL) && at >= begin)
                section.base[at] = 1; /* marked, so it must be there: no signal */
        }
        ck_assert_int_eq(section_commit(&section, begin, 5 * MIB), 0);
        touch(&section, begin, 5 * MIB, 1);
        end_section(&section, kind);
    }
}
END_TEST

START_TEST(memory_that_cannot_be_given_back_stays_and_nothing_else_is_marked)
{
    enum backing_kind kind = (enum backing_kind)_i;
    struct section section = make_section(kind, 8 * MIB);
    uint64_t begin = section.units_offset;
    ck_assert_int_eq(section_commit(&section, begin + MIB, 8192), 0);
    memset(section.base + begin + MIB, 0x44, 8192);
    uint64_t committed = section_count_committed(&section);
    bool before[2 * KIB];
    for (uint64_t i = 0; i < 8 * MIB / 4096; i++)
        before[i] = section_committed(&section, i * 4096, NULL);
    struct backing reluctant = reluctant_to(&section);
    section.backing = &reluctant;
    ck_assert_int_eq(section_decommit(&section, begin, 4 * MIB), -EOPNOTSUPP);
    section.backing = real_backing;
    ck_assert_uint_eq(section.base[begin + MIB + 8191], 0x44);
    for (uint64_t i = 0; i < 8 * MIB / 4096; i++) {
        if (section_committed(&section, i * 4096, NULL) != before[i])
            ck_abort_msg("page %llu: now %s", (unsigned long long)i, before[i] ? "not committed" : "committed");
    }
    ck_assert_uint_eq(section_count_committed(&section), committed);
    end_section(&section, kind);
}
END_TEST

/* Runs work in a child whose directory is a new tmpfs of 1 MiB; 77 when that is not allowed. */
static int on_a_small_tmpfs(void (*work)(void))
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", directory, "tmpfs", 0, "size=1m") < 0)
            _exit(77);
        work();
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status), "the child ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

#define EXPECT(condition)                                                                                              \
    ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), _exit(1)))

static void fill_the_file_system(void)
{
    int file;
    EXPECT(file_create_unnamed(&file, directory, 0600) == 0);
    struct section_params params = {
        .bytes_max = 8 * MIB, .page_shift = bit_highest(platform_page_size()), .owners_max = 16, .roots_max = 16};
    struct section section;
    EXPECT(section_create_file(&section, file, &params) == 0);
    EXPECT(section_commit(&section, section.units_offset, 4 * MIB) == -ENOMEM);
    uint64_t page = platform_page_size();
    uint64_t got = 0;
    int error = 0;
    for (uint64_t at = section.units_offset; at < section.bytes_max && error == 0; at += 5 * page) {
        error = section_commit(&section, at, 3 * page);
        for (uint64_t i = 0; i < 3 && error == 0; i++)
            section.base[at + i * page] = 1;
        got += error == 0 ? 3 * page : 0;
    }
    EXPECT(error == -ENOMEM);
    EXPECT(got >= 256 * KIB);
    EXPECT(section_count_committed(&section) == load_relaxed(&section.image->bytes_committed));
    EXPECT(section_count_committed(&section) <= MIB);
    for (uint64_t at = 0; at < section.bytes_max; at += page) {
        if (section_committed(&section, at, NULL) && at >= section.units_offset)
            section.base[at] = 2;
    }
    /* What is given back can be had again. */
    EXPECT(section_decommit(&section, section.units_offset, 100 * page) == 0);
    EXPECT(section_commit(&section, section.units_offset + 200 * page, 20 * page) == 0);
    section.base[section.units_offset + 219 * page] = 1;
    section_close(&section);
}

START_TEST(a_full_file_system_is_no_memory_and_no_signal)
{
    int status = on_a_small_tmpfs(fill_the_file_system);
    if (status == 77)
        fprintf(stderr, "test_section: SKIPPED %s: not allowed to mount a tmpfs\n", __func__);
    else
        ck_assert_int_eq(status, 0);
}
END_TEST

/* ---------------------------------------------------------------- several views */

/* Waits for the other side's word, and says our own; a side that died closes the pipe. */
static void say(int pipe_end)
{
    EXPECT(write(pipe_end, "", 1) == 1);
}

static void hear(int pipe_end)
{
    char word;
    EXPECT(read(pipe_end, &word, 1) == 1);
}

static void open_again_and_work(int from_parent, int to_parent, uint64_t inherited_bytes)
{
    /* Another process has no mapping of it: let go of the inherited one, and open by name. */
    memory_release((void *)(uintptr_t)FREE_ADDRESS, inherited_bytes);
    int file;
    struct section_image header;
    struct section section;
    struct file_status status;
    EXPECT(file_open(&file, directory, "section", false) == 0);
    EXPECT(file_status_get(file, &status) == 0);
    EXPECT(file_read_at(file, 0, &header, sizeof header) == 0);
    EXPECT(section_header_check(&header, status.bytes, NULL) == 0);
    EXPECT(header.address == FREE_ADDRESS);
    EXPECT(section_open_file(&section, file, &header, false) == 0);
    EXPECT(section.base == (unsigned char *)(uintptr_t)FREE_ADDRESS);
    say(to_parent);

    hear(from_parent); /* the parent has grown it */
    uint64_t at = section.units_offset + 2 * MIB;
    EXPECT(section_committed(&section, at, NULL));
    EXPECT(section.base[at] == 0x11 && section.base[at + MIB - 1] == 0x11);
    EXPECT(section_count_committed(&section) == load_relaxed(&section.image->bytes_committed));
    EXPECT(section_commit(&section, at + 2 * MIB, MIB) == 0);
    touch(&section, at + 2 * MIB, MIB, 0x22);
    say(to_parent);

    hear(from_parent); /* the parent has given the first part back, and taken it again */
    EXPECT(section.base[at] == 0);
    section_close(&section);
}

START_TEST(memory_committed_in_one_process_can_be_used_in_all)
{
    struct section_params params = {.bytes_max = 8 * MIB,
                                    .address = FREE_ADDRESS,
                                    .page_shift = bit_highest(platform_page_size()),
                                    .owners_max = 16,
                                    .roots_max = 16};
    struct section section;
    ck_assert_int_eq(section_create_file(&section, named_file("section"), &params), 0);
    int to_child[2], to_parent[2];
    ck_assert_int_eq(pipe2(to_child, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(to_parent, O_CLOEXEC), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        close(to_child[1]);
        close(to_parent[0]);
        open_again_and_work(to_child[0], to_parent[1], section.bytes_max);
        _exit(0);
    }
    close(to_child[0]);
    close(to_parent[1]);

    hear(to_parent[0]);
    uint64_t at = section.units_offset + 2 * MIB;
    ck_assert_int_eq(section_commit(&section, at, MIB), 0);
    touch(&section, at, MIB, 0x11);
    say(to_child[1]);

    hear(to_parent[0]);
    ck_assert(section_committed(&section, at + 3 * MIB - 1, NULL));
    ck_assert_uint_eq(section.base[at + 3 * MIB - 1], 0x22);
    ck_assert_int_eq(section_decommit(&section, at, MIB), 0);
    ck_assert_int_eq(section_commit(&section, at, MIB), 0);
    say(to_child[1]);

    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(to_child[1]);
    close(to_parent[0]);
    end_section(&section, NAMED);
}
END_TEST

START_TEST(a_view_for_reading_cannot_be_written)
{
    struct section section = make_section(NAMED, 8 * MIB);
    ck_assert_int_eq(section_commit(&section, section.units_offset, 4096), 0);
    section.base[section.units_offset] = 0x33;
    int file;
    struct section_image header;
    ck_assert_int_eq(file_open(&file, directory, "section", true), 0);
    ck_assert_int_eq(file_read_at(file, 0, &header, sizeof header), 0);
    struct section view;
    ck_assert_int_eq(section_open_file(&view, file, &header, true), 0);
    ck_assert_ptr_ne(view.base, section.base);
    ck_assert_uint_eq(view.base[section.units_offset], 0x33);
    ck_assert_uint_eq(section_count_committed(&view), section_count_committed(&section));
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would tell a story first */
        view.base[section.units_offset] = 0x34;
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    section_close(&view);
    end_section(&section, NAMED);
}
END_TEST

START_TEST(a_descriptor_that_became_another_file_is_not_grown)
{
    struct section section = make_section(MEMFD, 8 * MIB);
    int number = section.file;
    int others = file_create_anonymous(&others, "theirs") == 0 ? others : -1;
    ck_assert_int_ge(others, 0);
    ck_assert_int_eq(dup2(others, number), number);
    ck_assert_int_eq(section_commit(&section, section.units_offset, 4096), -EBADF);
    struct stat status;
    ck_assert_int_eq(fstat(others, &status), 0);
    ck_assert_int_eq(status.st_size, 0);
    section_close(&section);
    ck_assert_int_eq(fcntl(number, F_GETFD) >= 0, 1); /* and not closed either */
    close(number);
    close(others);
}
END_TEST

/* ================================================================ all of it */

int main(void)
{
    Suite *suite = suite_create("section");
    TCase *plan = suite_case(suite, "plan", 20);
    tcase_add_loop_test(plan, a_plan_uses_all_of_its_bytes_without_overlap, 0, 6);
    tcase_add_test(plan, the_unit_follows_from_the_size);
    tcase_add_test(plan, the_smallest_lent_section_is_8_kib);
    tcase_add_test(plan, a_plan_that_contradicts_itself_is_refused);

    TCase *header = suite_case(suite, "header", 20);
    tcase_add_loop_test(header, every_byte_of_the_constant_part_is_guarded, 0, 2);
    tcase_add_loop_test(header, no_field_can_be_wrong_by_itself_even_with_a_fitting_checksum, 0,
                        2 * (int)COUNT_OF(fields));
    tcase_add_test(header, a_header_has_all_the_tables_or_none);
    tcase_add_test(header, a_section_of_as_many_units_as_there_can_be_is_sound);
    tcase_add_test(header, marks_are_looked_at_as_far_as_the_file_goes);
    tcase_add_test(header, a_header_of_the_other_byte_order_is_told_by_name);
    tcase_add_test(header, a_file_that_ends_before_its_commit_bits_is_refused);
    tcase_add_test(header, a_lent_section_is_not_opened_in_less_memory_than_it_has);

    TCase *memory = suite_case(suite, "memory", 30);
    tcase_add_unchecked_fixture(memory, setup, teardown);
    tcase_add_checked_fixture(memory, clear_directory, check_directory);
    tcase_add_loop_test(memory, a_new_section_is_small_and_zero, 0, KINDS);
    tcase_add_loop_test(memory, what_is_committed_can_be_touched_and_what_is_decommitted_is_zero_again, 0, 2 * KINDS);
    tcase_add_loop_test(memory, a_commit_outside_of_the_section_is_refused, 0, LENT);
    tcase_add_loop_test(memory, all_of_a_section_of_any_size_can_be_committed, 0, 5 * KINDS);
    tcase_add_loop_test(memory, the_table_of_records_grows_to_the_highest_that_was_asked_for, 0, KINDS);
    tcase_add_loop_test(memory, what_the_system_refused_is_not_marked, 0, LENT);
    tcase_add_loop_test(memory, memory_that_cannot_be_given_back_stays_and_nothing_else_is_marked, 0, LENT);

    TCase *views = suite_case(suite, "views", 30);
    tcase_add_unchecked_fixture(views, setup, teardown);
    tcase_add_checked_fixture(views, clear_directory, check_directory);
    tcase_add_test(views, a_view_for_reading_cannot_be_written);
    tcase_add_test(views, a_descriptor_that_became_another_file_is_not_grown);

    TCase *kernel = suite_case(suite, "what the kernel does with memory", 30);
    tcase_set_tags(kernel, "kernel");
    tcase_add_unchecked_fixture(kernel, setup, teardown);
    tcase_add_checked_fixture(kernel, clear_directory, check_directory);
    tcase_add_loop_test(kernel, committed_memory_of_a_file_is_really_allocated, MEMFD, NAMED + 1);
    tcase_add_test(kernel, a_full_file_system_is_no_memory_and_no_signal);
    tcase_add_test(kernel, memory_committed_in_one_process_can_be_used_in_all);
    return suite_run(suite);
}
