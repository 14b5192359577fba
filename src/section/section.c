/* SPDX-License-Identifier: MIT */
#include "section/section.h"

#include <errno.h>
#include <string.h>

#include "section/backing.h"

/*
 * Where the tables lie. Shared and private sections give each table pages of its own, committed when first used, so a
 * table sized for the largest section costs address space and nothing else.
 */

/* The bits of the pages that hold the bits lie in the first of those pages: so much a section may have at most. */
#define BYTES_LIMIT (UINT64_C(1) << 42)

/*
 * The largest unit that leaves 512 of them. With 256 a bounded heap of 1 MiB is refused sooner: each class has its own
 * part-filled slab, and a slab has whole units.
 */
static uint32_t unit_shift_for(uint64_t bytes_max)
{
    uint32_t log2 = bit_highest(bytes_max);
    if (log2 < UNIT_SHIFT_MIN + 9)
        return UNIT_SHIFT_MIN;
    return log2 - 9 < UNIT_SHIFT_MAX ? log2 - 9 : UNIT_SHIFT_MAX;
}

/* Room for a slab's header and a pair of words for each 64 blocks of the smallest size. */
static uint32_t span_stride_for(uint32_t unit_shift)
{
    uint32_t stride = (uint32_t)sizeof(struct span_image) + (1u << unit_shift) / 64;
    /* A stride that is a power of two would make all headers fight for the same sets of the cache. */
    return is_power_of_two(stride) ? stride + 16 : stride;
}

_Static_assert(!((SPAN_STRIDE_MAX & (SPAN_STRIDE_MAX - 1)) == 0), "the largest stride is not a power of two");

/* A section by itself, without an allocator: it has bits and the user's bytes. */
static bool is_raw(const struct section_image *header)
{
    return header->span_stride == 0;
}

enum roots_place { ROOTS_AMONG_TABLES, ROOTS_LAST };

uint64_t section_public_offset(const struct section_image *header)
{
    return header->roots_offset - (UINT64_C(1) << header->page_shift);
}

/* Lays out the tables for a number of units and returns where the units part ends. */
static uint64_t lay_out(struct section_image *header, uint64_t alignment, uint64_t commit_bytes, enum roots_place roots)
{
    uint64_t roots_bytes = (uint64_t)header->roots_max * sizeof(struct root_image);
    uint64_t at = align_up(sizeof(struct section_image), 64);
    header->commit_offset = commit_bytes != 0 ? align_up(at, alignment) : 0;
    at = commit_bytes != 0 ? header->commit_offset + commit_bytes : at;
    header->processes_offset = at = align_up(at, alignment);
    at += (uint64_t)header->processes_max * sizeof(struct process_image);
    header->owners_offset = at = align_up(at, alignment);
    at += (uint64_t)header->owners_max * sizeof(struct owner_image);
    header->heaps_offset = at = align_up(at, alignment);
    at += (uint64_t)header->heaps_max * sizeof(struct heap_image);
    if (roots == ROOTS_AMONG_TABLES) {
        header->roots_offset = at = align_up(at, alignment);
        at += roots_bytes;
    }
    header->unit_words_offset = at = align_up(at, alignment);
    at += is_raw(header) ? 0 : (uint64_t)header->units_max * sizeof(uint64_t);
    header->spans_offset = at = align_up(at, alignment);
    at += (uint64_t)header->units_max * header->span_stride;
    if (roots == ROOTS_LAST) {
        uint64_t page = UINT64_C(1) << header->page_shift;
        header->roots_offset = at = align_up(at, page) + page;
        at += roots_bytes;
    }
    header->units_offset = align_up(at, max_u64(alignment, UINT64_C(1) << header->unit_shift));
    return header->units_offset + ((uint64_t)header->units_max << header->unit_shift);
}

static uint64_t header_checksum(const struct section_image *header)
{
    const unsigned char *bytes = (const unsigned char *)header;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < offsetof(struct section_image, checksum); i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* The user's bytes are whole pages as long as those can be counted. */
static int plan_raw(struct section_image *ret_header, const struct section_params *params)
{
    struct section_image header = {
        .magic = IMAGE_MAGIC,
        .byte_order = IMAGE_BYTE_ORDER,
        .version = IMAGE_VERSION,
        .fingerprint = image_fingerprint(),
        .instance = params->instance,
        .created_at = params->created_at,
        .address = params->address,
        .page_shift = params->page_shift != 0 ? params->page_shift : 12,
    };
    if (header.page_shift < 12 || header.page_shift > 16 || params->bytes_max == 0 ||
        params->bytes_max > BYTES_LIMIT / 2)
        return -EINVAL;
    header.unit_shift = params->bytes_max >> header.page_shift <= UNITS_LIMIT ? header.page_shift : UNIT_SHIFT_MAX;
    uint64_t unit_bytes = UINT64_C(1) << header.unit_shift;
    if (params->bytes_max > (uint64_t)UNITS_LIMIT << header.unit_shift)
        return -EINVAL;
    header.units_max = (uint32_t)(align_up(params->bytes_max, unit_bytes) >> header.unit_shift);
    /* The bits count themselves, so their number follows from the whole, which follows from their number. */
    do {
        uint64_t commit_bytes = (header.bytes_max >> header.page_shift) / 8 + 8;
        uint64_t end = lay_out(&header, UINT64_C(1) << header.page_shift, commit_bytes, ROOTS_AMONG_TABLES);
        if (end == header.bytes_max)
            break;
        header.bytes_max = end;
    } while (true);
    header.checksum = header_checksum(&header);
    *ret_header = header;
    return 0;
}

int section_plan(struct section_image *ret_header, const struct section_params *params)
{
    if (params->raw)
        return plan_raw(ret_header, params);
    struct section_image header = {
        .magic = IMAGE_MAGIC,
        .byte_order = IMAGE_BYTE_ORDER,
        .version = IMAGE_VERSION,
        .fingerprint = image_fingerprint(),
        .address = params->address,
        .bytes_max = params->bytes_max,
        .unit_shift = params->unit_shift != 0 ? params->unit_shift : unit_shift_for(params->bytes_max | 1),
        .page_shift = params->page_shift != 0 ? params->page_shift : 12,
        .processes_max = params->processes_max,
        .heaps_max = params->heaps_max != 0 ? params->heaps_max : 1,
        .instance = params->instance,
        .created_at = params->created_at,
        .roots_max = params->roots_max == UINT32_MAX ? 0
                     : params->roots_max != 0        ? params->roots_max
                                                     : ROOTS_LIMIT,
    };
    if (header.unit_shift < UNIT_SHIFT_MIN || header.unit_shift > UNIT_SHIFT_MAX || header.page_shift < 12 ||
        header.page_shift > 16 || header.processes_max > PROCESSES_LIMIT || header.heaps_max > HEAPS_LIMIT ||
        header.roots_max > ROOTS_LIMIT || params->owners_max > OWNERS_LIMIT || params->bytes_max > BYTES_LIMIT)
        return -EINVAL;
    header.span_stride = span_stride_for(header.unit_shift);

    uint64_t alignment = params->packed ? 64 : UINT64_C(1) << header.page_shift;
    enum roots_place roots = params->public_last ? ROOTS_LAST : ROOTS_AMONG_TABLES;
    uint64_t commit_bytes = params->committed ? 0 : (params->bytes_max >> header.page_shift) / 8 + 8;
    uint64_t units = min_u64(params->bytes_max >> header.unit_shift, UNITS_LIMIT);
    header.owners_max =
        params->owners_max != 0 ? params->owners_max : (uint32_t)max_u64(64, min_u64(units, OWNERS_LIMIT));

    /* The bookkeeping grows with the units, so begin with too many and take off what does not fit. */
    for (;;) {
        header.units_max = (uint32_t)units;
        uint64_t end = lay_out(&header, alignment, commit_bytes, roots);
        if (units == 0)
            return -ENOSPC;
        if (end <= params->bytes_max)
            break;
        uint64_t excess_units =
            (end - params->bytes_max) / ((UINT64_C(1) << header.unit_shift) + header.span_stride + 8);
        units -= min_u64(units, max_u64(excess_units, 1));
    }
    /* And what the estimate took too many goes back: the layout is the largest that fits, which header_check relies on.
     */
    while (units < UNITS_LIMIT) {
        struct section_image more = header;
        more.units_max++;
        if (lay_out(&more, alignment, commit_bytes, roots) > params->bytes_max)
            break;
        header = more;
        units++;
    }
    header.checksum = header_checksum(&header);
    *ret_header = header;
    return 0;
}

/* ---------------------------------------------------------------- checking what another could have written */

int section_header_check(const struct section_image *header, uint64_t bytes, const char **ret_reason)
{
    const char *ignored;
    const char **reason = ret_reason != NULL ? ret_reason : &ignored;

    if (header->magic != IMAGE_MAGIC) {
        bool swapped = header->magic == __builtin_bswap64(IMAGE_MAGIC);
        *reason = swapped ? "made on a machine of the other byte order" : "not a cairn heap";
        return -EPROTO;
    }
    if (header->byte_order != IMAGE_BYTE_ORDER) {
        *reason = "made on a machine of another byte order";
        return -EPROTO;
    }
    if (header->version != IMAGE_VERSION) {
        *reason = "made by another version of cairn";
        return -EPROTO;
    }
    if (header->fingerprint != image_fingerprint()) {
        *reason = "made by a build of cairn with another layout";
        return -EPROTO;
    }
    *reason = "damaged: the header's checksum is wrong";
    if (header->checksum != header_checksum(header))
        return -EUCLEAN;

    /* The checksum holds, so what follows guards against a writer who meant it. */
    *reason = "damaged: the header contradicts itself";
    if (header->unit_shift < UNIT_SHIFT_MIN || header->unit_shift > UNIT_SHIFT_MAX || header->page_shift < 12 ||
        header->page_shift > 16 || header->units_max == 0 || header->units_max > UNITS_LIMIT ||
        header->processes_max > PROCESSES_LIMIT || header->owners_max > OWNERS_LIMIT ||
        header->heaps_max > HEAPS_LIMIT || header->roots_max > ROOTS_LIMIT || header->bytes_max > BYTES_LIMIT)
        return -EUCLEAN;
    bool has_tables =
        header->owners_max != 0 && header->heaps_max != 0 && header->span_stride == span_stride_for(header->unit_shift);
    bool has_none = header->owners_max == 0 && header->heaps_max == 0 && header->processes_max == 0 &&
                    header->roots_max == 0 && is_raw(header) && header->commit_offset != 0;
    if (!has_tables && !has_none)
        return -EUCLEAN;
    /* Where the tables lie follows from the counts: nothing else is believed. */
    bool has_bits = header->commit_offset != 0;
    uint64_t commit_bytes = has_bits ? (header->bytes_max >> header->page_shift) / 8 + 8 : 0;
    bool laid_out = false;
    for (uint32_t packed = 0; packed < 2 && !laid_out; packed++) {
        struct section_image again = *header;
        uint64_t alignment = packed != 0 ? 64 : UINT64_C(1) << header->page_shift;
        uint64_t end = lay_out(&again, alignment, commit_bytes, ROOTS_AMONG_TABLES);
        struct section_image more = *header;
        more.units_max++;
        bool full = more.units_max > UNITS_LIMIT ||
                    lay_out(&more, alignment, commit_bytes, ROOTS_AMONG_TABLES) > header->bytes_max;
        laid_out =
            full && end <= header->bytes_max && memcmp(&again, header, offsetof(struct section_image, checksum)) == 0;
    }
    uint64_t last = UINT64_C(1) << 47;
    if (!laid_out || header->address % (UINT64_C(1) << header->page_shift) != 0 || header->address > last ||
        header->bytes_max > last - header->address)
        return -EUCLEAN;
    *reason = "damaged: the file is shorter than its header says";
    if (bytes < sizeof(struct section_image) || (commit_bytes != 0 && bytes <= header->commit_offset))
        return -EUCLEAN;
    *reason = "";
    return 0;
}

/* ---------------------------------------------------------------- views */

void section_view_init(struct section *section, void *base, const struct section_image *header)
{
    unsigned char *bytes = base;
    section->base = bytes;
    section->image = base;
    section->units = bytes + header->units_offset;
    section->commit_bits = header->commit_offset != 0 ? (atomic_u64 *)(void *)(bytes + header->commit_offset) : NULL;
    section->processes = (struct process_image *)(void *)(bytes + header->processes_offset);
    section->owners = (struct owner_image *)(void *)(bytes + header->owners_offset);
    section->heaps = (struct heap_image *)(void *)(bytes + header->heaps_offset);
    section->roots = (struct root_image *)(void *)(bytes + header->roots_offset);
    section->unit_words = (atomic_u64 *)(void *)(bytes + header->unit_words_offset);
    section->spans = bytes + header->spans_offset;
    section->bytes_max = header->bytes_max;
    section->units_offset = header->units_offset;
    section->units_bytes = (uint64_t)header->units_max << header->unit_shift;
    section->address = header->address;
    section->unit_shift = header->unit_shift;
    section->page_shift = header->page_shift;
    section->units_max = header->units_max;
    section->span_stride = header->span_stride;
    section->processes_max = header->processes_max;
    section->owners_max = header->owners_max;
    section->heaps_max = header->heaps_max;
    section->roots_max = header->roots_max;
}

int section_image_init(struct section *section, const struct section_image *header)
{
    uint64_t page = UINT64_C(1) << section->page_shift;
    uint64_t first = section->bytes_max; /* without bits all of it is there */
    if (section->commit_bits != NULL) {
        /* The header's page and the first page of bits, which covers itself: the two that the bits cannot help with. */
        first = align_up(header->commit_offset + 1, page);
        int error = section->backing->commit(section, 0, first);
        if (error < 0)
            return error;
        if (!section->backing->starts_zero)
            memset(section->base, 0, first);
        for (uint64_t offset = 0; offset < first; offset += page) {
            uint64_t index = offset >> section->page_shift;
            fetch_or_acq_rel(&section->commit_bits[index / 64], UINT64_C(1) << index % 64);
        }
    }
    store_relaxed(&section->image->bytes_committed, first);
    store_relaxed(&section->image->bytes_peak, first);
    memcpy(section->image, header, offsetof(struct section_image, bytes_committed));
    return 0;
}

void section_close(struct section *section)
{
    if (section->base == NULL)
        return;
    section->backing->close(section);
    section->base = NULL;
}

/* ---------------------------------------------------------------- committing */

static bool page_bit(const struct section *section, uint64_t page)
{
    return (load_acquire(&section->commit_bits[page / 64]) >> page % 64 & 1) != 0;
}

/* The number of the page that holds a page's bit. */
static uint64_t bits_page_of(const struct section *section, uint64_t page)
{
    return (section_offset(section, section->commit_bits) + page / 8) >> section->page_shift;
}

/* The number of the first page that has its bit behind a page of bits. */
static uint64_t page_behind_bits(const struct section *section, uint64_t bits_page)
{
    return (((bits_page + 1) << section->page_shift) - section_offset(section, section->commit_bits)) * 8;
}

/* Like page_bit, for a page whose bit may itself lie in memory that is not committed. */
static bool page_is_committed(const struct section *section, uint64_t page)
{
    uint64_t bits_page = bits_page_of(section, page);
    return page_bit(section, bits_page) && page_bit(section, page);
}

/* The first page of [first, end) that is not committed; end when all are. */
static uint64_t first_uncommitted(const struct section *section, uint64_t first, uint64_t end)
{
    for (uint64_t page = first; page < end;) {
        if (!page_bit(section, bits_page_of(section, page)))
            return page;
        /* The rest of its word of bits, all on one page of bits. */
        uint64_t missing = ~load_acquire(&section->commit_bits[page / 64]) >> page % 64;
        if (missing != 0)
            return min_u64(page + bit_lowest(missing), end);
        page = align_down(page, 64) + 64;
    }
    return end;
}

static void mark_committed(struct section *section, uint64_t first, uint64_t end)
{
    uint64_t added = 0;
    for (uint64_t page = first; page < end;) {
        uint64_t in_word = page % 64;
        uint64_t count = min_u64(64 - in_word, end - page);
        uint64_t bits = bits_below((uint32_t)count) << in_word;
        added += bit_count(bits & ~fetch_or_acq_rel(&section->commit_bits[page / 64], bits));
        page += count;
    }
    uint64_t bytes = added << section->page_shift;
    uint64_t committed = fetch_add_relaxed(&section->image->bytes_committed, bytes) + bytes;
    if (committed > load_relaxed(&section->image->bytes_peak))
        store_relaxed(&section->image->bytes_peak, committed);
}

/*
 * Commits pages [first, end) of a section by itself: all of the memory before any of the marks, so that a refusal
 * leaves none. That what is marked between them stays so is its user's promise.
 */
static int commit_at_once(struct section *section, uint64_t first, uint64_t end)
{
    while (first < end && page_bit(section, first))
        first++;
    while (first < end && page_bit(section, end - 1))
        end--;
    if (first == end)
        return 0;
    int error = section->backing->commit(section, first << section->page_shift, (end - first) << section->page_shift);
    if (error < 0)
        return error;
    mark_committed(section, first, end);
    fetch_add_relaxed(&section->image->growths, 1);
    return 0;
}

/* Commits pages [first, end), whose bits lie in committed memory. */
static int commit_pages(struct section *section, uint64_t first, uint64_t end)
{
    if (section->span_stride == 0)
        return commit_at_once(section, first, end);
    for (uint64_t page = first; page < end;) {
        if (page_bit(section, page)) {
            page++;
            continue;
        }
        uint64_t run_end = page + 1;
        while (run_end < end && !page_bit(section, run_end))
            run_end++;
        int error =
            section->backing->commit(section, page << section->page_shift, (run_end - page) << section->page_shift);
        if (error < 0)
            return error;
        mark_committed(section, page, run_end);
        fetch_add_relaxed(&section->image->growths, 1);
        page = run_end;
    }
    return 0;
}

/*
 * A section whose memory is really taken by committing it grows by a thirty-second of what it has, from a page to 1
 * MiB: a small one stays small, and a large one is not made of single pages.
 */
static uint32_t commit_step_shift(const struct section *section)
{
    if (section->commit_step_shift != COMMIT_STEP_GROWING)
        return section->commit_step_shift;
    uint32_t part = bit_highest(load_relaxed(&section->image->bytes_committed) | 1);
    return part < 25 ? part - min_u64(part, 5) : 20;
}

/* First the pages of the bits; the bits of those lie in the first page of bits, committed at creation. */
static int commit_with_bits(struct section *section, uint64_t first, uint64_t end)
{
    int error = commit_pages(section, bits_page_of(section, first), bits_page_of(section, end - 1) + 1);
    return error < 0 ? error : commit_pages(section, first, end);
}

/* The pages of a range from the first on that is not committed; false when all are. */
static bool missing_pages(const struct section *section, uint64_t offset, uint64_t bytes, uint64_t *ret_first,
                          uint64_t *ret_end)
{
    uint64_t page_bytes = UINT64_C(1) << section->page_shift;
    *ret_end = (offset + bytes + page_bytes - 1) >> section->page_shift;
    *ret_first = first_uncommitted(section, offset >> section->page_shift, *ret_end);
    return *ret_first != *ret_end;
}

/* Widens pages to the commit step, within their part of the section. */
static void widen(const struct section *section, uint64_t *first, uint64_t *end)
{
    uint32_t shift = commit_step_shift(section);
    if (shift <= section->page_shift)
        return;
    uint64_t page_bytes = UINT64_C(1) << section->page_shift;
    uint64_t step_bytes = UINT64_C(1) << shift;
    uint64_t from = *first << section->page_shift;
    bool in_units = from >= section->units_offset;
    uint64_t low = in_units ? section->units_offset : 0;
    uint64_t high = in_units ? section->units_offset + section->units_bytes : section->units_offset;
    from = max_u64(align_down(from, step_bytes), low);
    uint64_t to = min_u64(align_up(*end << section->page_shift, step_bytes), high);
    *first = from >> section->page_shift;
    *end = max_u64(*end, (to + page_bytes - 1) >> section->page_shift);
}

bool section_widen(const struct section *section, uint64_t offset, uint64_t bytes, uint64_t *ret_first,
                   uint64_t *ret_end)
{
    if (section->commit_bits == NULL || bytes == 0 || !missing_pages(section, offset, bytes, ret_first, ret_end))
        return false;
    widen(section, ret_first, ret_end);
    return true;
}

int section_commit_pages(struct section *section, uint64_t offset, uint64_t bytes, uint64_t first, uint64_t end)
{
    int error = commit_with_bits(section, first, end);
    uint64_t needed_first, needed_end;
    if (error == -ENOMEM && missing_pages(section, offset, bytes, &needed_first, &needed_end) &&
        (first != needed_first || end != needed_end))
        error = commit_with_bits(section, needed_first, needed_end); /* near the end there may be room for that alone */
    return error;
}

int section_commit(struct section *section, uint64_t offset, uint64_t bytes)
{
    if (section->commit_bits == NULL || bytes == 0)
        return 0;
    if (offset > section->bytes_max || bytes > section->bytes_max - offset)
        return -EINVAL;
    uint64_t first, end;
    if (!missing_pages(section, offset, bytes, &first, &end))
        return 0;
    if (offset < section->units_offset)
        widen(section, &first, &end);
    probe_grow(section->image, (end - first) << section->page_shift);
    return section_commit_pages(section, offset, bytes, first, end);
}

static void clear_bits(struct section *section, uint64_t first, uint64_t end)
{
    for (uint64_t page = first; page < end;) {
        uint64_t count = min_u64(64 - page % 64, end - page);
        fetch_and_acq_rel(&section->commit_bits[page / 64], ~(bits_below((uint32_t)count) << page % 64));
        page += count;
    }
    fetch_sub_relaxed(&section->image->bytes_committed, (end - first) << section->page_shift);
}

/*
 * Gives the memory of pages [first, end) back, all of which are marked, and unmarks them.
 *
 * In a section with units they are unmarked last: as long as they are marked, nobody else's commit, widened to its
 * step, commits and marks them anew just before their memory goes away. Killed in between, recovery finds the units
 * TAKEN by nobody's heap, and gives them back once more. A section by itself has nobody to recover it, so there they
 * are unmarked first; its user sees to it that nobody commits the same pages meanwhile.
 */
int section_decommit_pages(struct section *section, uint64_t first, uint64_t end)
{
    uint64_t offset = first << section->page_shift;
    uint64_t bytes = (end - first) << section->page_shift;
    bool unmark_first = section->span_stride == 0;
    if (unmark_first)
        clear_bits(section, first, end);
    step();
    int error = section->backing->decommit(section, offset, bytes);
    if (error == 0 && !unmark_first)
        clear_bits(section, first, end);
    if (error < 0 && unmark_first)
        mark_committed(section, first, end);
    return error;
}

void section_unmark_pages(struct section *section, uint64_t first, uint64_t end)
{
    clear_bits(section, first, end);
}

bool section_next_pages(const struct section *section, uint64_t *first, uint64_t end, uint64_t *ret_end)
{
    for (; *first < end; (*first)++) {
        *ret_end = first_uncommitted(section, *first, end);
        if (*ret_end != *first)
            return true;
    }
    return false;
}

int section_decommit(struct section *section, uint64_t offset, uint64_t bytes)
{
    if (section->commit_bits == NULL)
        return -EOPNOTSUPP;
    uint64_t page_bytes = UINT64_C(1) << section->page_shift;
    uint64_t first = (offset + page_bytes - 1) >> section->page_shift;
    uint64_t end = (offset + bytes) >> section->page_shift;
    uint64_t run_end;
    int error = 0;
    for (; error == 0 && section_next_pages(section, &first, end, &run_end); first = run_end)
        error = section_decommit_pages(section, first, run_end);
    return error;
}

bool section_range_committed(const struct section *section, uint64_t offset, uint64_t bytes)
{
    if (offset > section->bytes_max || bytes > section->bytes_max - offset)
        return false;
    uint64_t page_bytes = UINT64_C(1) << section->page_shift;
    uint64_t end = (offset + bytes + page_bytes - 1) >> section->page_shift;
    return section->commit_bits == NULL || first_uncommitted(section, offset >> section->page_shift, end) == end;
}

int section_populate(struct section *section, uint64_t offset, uint64_t bytes)
{
    return section->backing->populate != NULL ? section->backing->populate(section, offset, bytes) : 0;
}

/* Where the run of pages from `page` on ends that are all committed, or all not; by words, for a TiB has many pages. */
static uint64_t end_of_run(const struct section *section, uint64_t page, uint64_t pages, bool committed)
{
    while (page < pages) {
        uint64_t bits_page = bits_page_of(section, page);
        if (!page_bit(section, bits_page)) {
            if (committed)
                return page;
            page = page_behind_bits(section, bits_page);
            continue;
        }
        uint64_t word = load_acquire(&section->commit_bits[page / 64]);
        uint64_t others = (committed ? ~word : word) >> page % 64;
        if (others != 0)
            return min_u64(page + bit_lowest(others), pages);
        page = align_down(page, 64) + 64;
    }
    return pages;
}

bool section_any_committed(const struct section *section, uint64_t offset, uint64_t bytes)
{
    uint64_t end = (offset + bytes + (UINT64_C(1) << section->page_shift) - 1) >> section->page_shift;
    return section->commit_bits != NULL && end_of_run(section, offset >> section->page_shift, end, false) < end;
}

bool section_committed(const struct section *section, uint64_t offset, uint64_t *ret_run)
{
    uint64_t pages = section->bytes_max >> section->page_shift;
    uint64_t page = offset >> section->page_shift;
    bool committed = section->commit_bits == NULL || (page < pages && page_is_committed(section, page));
    if (ret_run == NULL)
        return committed;

    if (section->commit_bits == NULL) {
        *ret_run = section->bytes_max - offset;
        return true;
    }
    uint64_t end = end_of_run(section, page, pages, committed);
    *ret_run = min_u64(end << section->page_shift, section->bytes_max) - offset;
    return committed;
}

uint64_t section_count_committed(const struct section *section)
{
    if (section->commit_bits == NULL)
        return section->bytes_max;
    uint64_t pages = section->bytes_max >> section->page_shift;
    uint64_t bits_per_page = UINT64_C(8) << section->page_shift;
    uint64_t count = 0;
    for (uint64_t page = 0; page < pages;) {
        uint64_t bits_page = bits_page_of(section, page);
        if (!page_bit(section, bits_page)) {
            /* Nothing that has its bits in this page is committed: on to the first that has them in the next. */
            page = max_u64(page_behind_bits(section, bits_page), page + min_u64(bits_per_page, 64));
            continue;
        }
        count += bit_count(load_relaxed(&section->commit_bits[page / 64]));
        page += 64;
    }
    return count << section->page_shift;
}

uint64_t section_committed_end(const struct section *section, uint64_t bytes)
{
    uint64_t page = section->bytes_max >> section->page_shift;
    while (section->commit_bits != NULL && page > 0) {
        uint64_t bits_page = bits_page_of(section, page - 1);
        uint64_t bits_end = (bits_page + 1) << section->page_shift;
        if (!page_bit(section, bits_page)) { /* down to those that have their bits in the page before */
            uint64_t begin = section_offset(section, section->commit_bits);
            page = bits_page << section->page_shift > begin ? ((bits_page << section->page_shift) - begin) * 8 : 0;
            continue;
        }
        if (bits_end > align_up(bytes, UINT64_C(1) << section->page_shift))
            return bits_end;
        uint64_t word =
            load_acquire(&section->commit_bits[(page - 1) / 64]) & bits_below((uint32_t)((page - 1) % 64) + 1);
        if (word != 0)
            return (align_down(page - 1, 64) + bit_highest(word) + 1) << section->page_shift;
        page = align_down(page - 1, 64);
    }
    return 0;
}

static bool is_zero_or_marked(const struct section *section, uint64_t bits_page)
{
    uint64_t begin = (bits_page << section->page_shift) / sizeof(uint64_t);
    const uint64_t *words = (const uint64_t *)(const void *)section->base;
    for (uint64_t i = begin; i < begin + (UINT64_C(1) << section->page_shift) / sizeof(uint64_t); i++)
        if (__atomic_load_n(&words[i], __ATOMIC_ACQUIRE) != 0)
            return page_bit(section, bits_page); /* it may have been committed just now */
    return true;
}

bool section_marks_are_sound(const struct section *section, uint64_t bytes, uint64_t (*next_data)(int, uint64_t))
{
    if (section->commit_bits == NULL)
        return true;
    uint64_t page = bits_page_of(section, 0);
    uint64_t last = bits_page_of(section, (section->bytes_max >> section->page_shift) - 1);
    if (!page_bit(section, page))
        return false;
    while (++page <= last && page << section->page_shift < bytes) {
        if (page_bit(section, page))
            continue;
        uint64_t data = next_data(section->file, page << section->page_shift) >> section->page_shift;
        if (data == page && !is_zero_or_marked(section, page))
            return false;
        page = max_u64(page, min_u64(data, last + 1) - 1);
    }
    return true;
}

static bool are_zero(const atomic_u64 *words, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof *words; i++) {
        if (load_relaxed(&words[i]) != 0)
            return false;
    }
    return true;
}

int section_commit_records(struct section *section, const void *records, size_t bytes, atomic_u32 *end, uint32_t first,
                           uint32_t last)
{
    int error = section_commit(section, section_offset(section, records), bytes);
    if (error < 0)
        return error;
    /* Nobody has written to what lies behind the end: what is there is what came from the caller. */
    if (!section->backing->starts_zero && !are_zero(records, bytes) && load_acquire(end) <= first)
        return -EIO;
    uint32_t seen = load_relaxed(end);
    while (seen <= last && !cas_acq_rel(end, &seen, last + 1))
        ;
    return 0;
}
