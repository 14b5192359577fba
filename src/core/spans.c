/* SPDX-License-Identifier: MIT */
/*
 * Spans. The unit words are the truth; unit_hint says where a search begins.
 *
 *     taking three units          freeing them
 *     |F  |F  |F  |               |L  |T  |T  |
 *     |K  |F  |F  |               |Fr |T  |T  |  <- CAS of the head: commits the free
 *     |K  |K  |K  |               |Fr |F  |F  |
 *     |K  |T  |T  |               |F  |F  |F  |  the head last
 *     |L  |T  |T  |  <- the head's store: commits the span
 *
 * K TAKEN, T TAIL, L LARGE or SLAB, Fr FREEING, F FREE. Killed before the committing store of a take, recovery frees the
 * TAILs whose head is still K, then the Ks; killed after that of a free, recovery goes on freeing. A TAIL never outlives
 * its head.
 */
#include "core/spans.h"

#include <errno.h>

/* ---------------------------------------------------------------- the limit of a heap */

static int charge(struct section *section, struct heap_image *image, uint64_t bytes)
{
    uint64_t charged = fetch_add_relaxed(&image->bytes_charged, bytes) + bytes;
    if (image->bytes_max != 0 && charged > image->bytes_max) {
        fetch_sub_relaxed(&image->bytes_charged, bytes);
        return -EDQUOT;
    }
    if (charged > load_relaxed(&image->bytes_peak))
        store_relaxed(&image->bytes_peak, charged);
    fetch_add_relaxed(&section->image->bytes_in_spans, bytes);
    return 0;
}

static void uncharge(struct section *section, uint32_t heap, uint64_t bytes)
{
    if (heap == 0 || heap > section->heaps_max)
        return; /* units that were taken to be decommitted are charged to nobody */
    fetch_sub_relaxed(&section->image->bytes_in_spans, bytes);
    fetch_sub_relaxed(&section_heap(section, heap)->bytes_charged, bytes);
}

/* ---------------------------------------------------------------- finding a run */

/* The hint may only rise from the value that a search began with: a free below it in the meantime keeps it low. */
static void raise_hint(struct section *section, uint32_t seen, uint32_t to)
{
    if (to > seen)
        (void)cas_acq_rel(&section->image->unit_hint, &seen, to);
}

static void lower_hint(struct section *section, uint32_t to)
{
    uint32_t seen = load_relaxed(&section->image->unit_hint);
    while (to < seen && !cas_acq_rel(&section->image->unit_hint, &seen, to))
        ;
}

static uint32_t align_unit(const struct section *section, uint32_t unit, uint64_t alignment_bytes)
{
    if (alignment_bytes <= UINT64_C(1) << section->unit_shift)
        return unit;
    uint64_t address = (uintptr_t)section_unit(section, unit);
    return unit + (uint32_t)((align_up(address, alignment_bytes) - address) >> section->unit_shift);
}

/* Looks for a run of FREE units in [from, end). Returns its first unit; or `end` when there is none, and then
 * *ret_tail is where the FREE units that reach up to end begin. */
static uint32_t find_run(const struct section *section, uint32_t from, uint32_t end, uint32_t units,
                         uint64_t alignment_bytes, uint32_t *ret_tail)
{
    uint32_t start = align_unit(section, from, alignment_bytes);
    for (uint32_t unit = start; unit < end; unit++) {
        if (unit_state_of(load_relaxed(&section->unit_words[unit])) != UNIT_FREE) {
            start = align_unit(section, unit + 1, alignment_bytes);
            unit = start - 1;
            continue;
        }
        if (unit + 1 - start == units)
            return start;
    }
    *ret_tail = start;
    return end;
}

/* Makes the words of all units below end readable. */
static int extend_units(struct section *section, uint32_t end)
{
    uint32_t begin = section_units_end(section);
    if (end <= begin)
        return 0;
    return section_commit_record(section, &section->unit_words[begin], (end - begin) * sizeof(uint64_t),
                                 &section->image->units_end, end - 1);
}

/* Takes each unit by a CAS that names the taker; false when somebody else was faster, and then none is taken. */
static bool take_all(struct section *section, uint32_t unit, uint32_t units, uint64_t taken_word, bool *ret_is_zero)
{
    bool is_zero = section->backing->starts_zero;
    for (uint32_t i = 0; i < units; i++) {
        uint64_t seen = load_relaxed(&section->unit_words[unit + i]);
        if (unit_state_of(seen) == UNIT_FREE && cas_acq_rel(&section->unit_words[unit + i], &seen, taken_word)) {
            is_zero = is_zero && (seen & UNIT_FREE_USED) == 0;
            continue;
        }
        while (i-- > 0)
            store_release(&section->unit_words[unit + i], UNIT_FREE_USED);
        return false;
    }
    *ret_is_zero = is_zero;
    return true;
}

int span_take(struct core_owner *owner, const struct core_heap *heap, uint32_t units, uint64_t alignment_bytes,
              struct span_taken *ret_span)
{
    struct section *section = owner->section;
    struct section_image *image = section->image;
    uint64_t bytes = (uint64_t)units << section->unit_shift;
    int error = charge(section, heap->image, bytes);
    if (error < 0)
        return error;

    uint64_t taken_word = unit_word(UNIT_TAKEN, owner->number, heap->number, load_relaxed(heap->life));
    bool searched_all = false;
    for (;;) {
        uint32_t hint = load_relaxed(&image->unit_hint);
        uint32_t from = searched_all ? 0 : hint;
        uint32_t end = section_units_end(section);
        uint32_t tail = end;
        uint32_t unit = find_run(section, from < end ? from : end, end, units, alignment_bytes, &tail);
        if (unit == end) {
            /* The hint can be too high (it is only a hint): look everywhere now and then, and before giving up. */
            bool no_room = tail > section->units_max || units > section->units_max - tail;
            if (!searched_all && (no_room || end % 1024 == 0)) {
                searched_all = true;
                continue;
            }
            if (no_room) {
                uncharge(section, heap->number, bytes);
                return -ENOSPC;
            }
            error = extend_units(section, tail + units);
            if (error < 0) {
                uncharge(section, heap->number, bytes);
                return error;
            }
            unit = tail;
        }

        bool is_zero;
        if (!take_all(section, unit, units, taken_word, &is_zero))
            continue;
        if (units == 1 && alignment_bytes <= UINT64_C(1) << section->unit_shift && !searched_all)
            raise_hint(section, hint, unit + 1);
        *ret_span = (struct span_taken){.unit = unit, .units = units, .is_zero = is_zero};
        return 0;
    }
}

void span_put_back(struct core_owner *owner, const struct core_heap *heap, const struct span_taken *span)
{
    struct section *section = owner->section;
    uint64_t free_word = span->is_zero ? 0 : UNIT_FREE_USED;
    for (uint32_t i = span->units; i-- > 0;)
        store_release(&section->unit_words[span->unit + i], free_word);
    lower_hint(section, span->unit);
    uncharge(section, heap->number, (uint64_t)span->units << section->unit_shift);
}

static void note_extent(struct heap_image *image, uint32_t first, uint32_t end)
{
    uint32_t low = ~load_relaxed(&image->units_low); /* stored inverted: 0 is "none" */
    while (first < low) {
        uint32_t stored = ~low;
        if (cas_acq_rel(&image->units_low, &stored, ~first))
            break;
        low = ~stored;
    }
    uint32_t high = load_relaxed(&image->units_high);
    while (end > high && !cas_acq_rel(&image->units_high, &high, end))
        ;
}

bool span_extend(struct core_owner *owner, const struct core_heap *heap, uint32_t head, uint32_t units, uint32_t units_new)
{
    struct section *section = owner->section;
    struct span_image *span = section_span(section, head);
    uint32_t added = units_new - units;
    if (units_new > section->units_max - head || charge(section, heap->image, (uint64_t)added << section->unit_shift) < 0)
        return false;
    struct span_taken tail = {.unit = head + units, .units = added, .is_zero = false};
    uint64_t taken_word = unit_word(UNIT_TAKEN, owner->number, heap->number, load_relaxed(heap->life));
    if (extend_units(section, head + units_new) < 0 ||
        !take_all(section, tail.unit, added, taken_word, &tail.is_zero)) {
        uncharge(section, heap->number, (uint64_t)added << section->unit_shift);
        return false;
    }
    uint64_t offset = section_offset(section, section_unit(section, tail.unit));
    if (section_commit(section, offset, (uint64_t)added << section->unit_shift) < 0) {
        span_put_back(owner, heap, &tail);
        return false;
    }
    note_extent(heap->image, tail.unit, tail.unit + added);
    uint64_t tail_word = unit_word(UNIT_TAIL, owner->number, heap->number, head);
    for (uint32_t i = 0; i < added; i++)
        store_release(&section->unit_words[tail.unit + i], tail_word);
    step();
    store_release(&span->span_units, units_new);
    return true;
}

void span_publish(struct core_owner *owner, const struct span_taken *span, uint64_t head_word)
{
    struct section *section = owner->section;
    uint32_t heap = unit_heap_of(head_word);
    note_extent(section_heap(section, heap), span->unit, span->unit + span->units);
    uint64_t tail_word = unit_word(UNIT_TAIL, owner->number, heap, span->unit);
    for (uint32_t i = 1; i < span->units; i++)
        store_release(&section->unit_words[span->unit + i], tail_word);
    step();
    store_release(&section->unit_words[span->unit], head_word);
}

/* ---------------------------------------------------------------- giving back */

static void free_units(struct section *section, uint32_t first, uint32_t end)
{
    for (uint32_t unit = end; unit-- > first;) {
        store_release(&section->unit_words[unit], UNIT_FREE_USED);
        step();
    }
    lower_hint(section, first);
}

void span_free(struct section *section, uint32_t unit, uint32_t units, uint32_t heap)
{
    uncharge(section, heap, (uint64_t)units << section->unit_shift);
    free_units(section, unit, unit + units);
}

void span_free_tails(struct section *section, uint32_t first, uint32_t end, uint32_t heap)
{
    uncharge(section, heap, (uint64_t)(end - first) << section->unit_shift);
    free_units(section, first, end);
}

uint64_t span_decommit(struct core_owner *owner, uint32_t first, uint32_t end)
{
    struct section *section = owner->section;
    uint64_t taken_word = unit_word(UNIT_TAKEN, owner->number, 0, 0);
    uint64_t before = load_relaxed(&section->image->bytes_committed);
    for (uint32_t unit = first; unit < end;) {
        /* Take as long a run as is free and used; nobody can get it while its memory goes away. */
        uint32_t run_end = unit;
        while (run_end < end) {
            uint64_t seen = load_relaxed(&section->unit_words[run_end]);
            if (seen != UNIT_FREE_USED || !cas_acq_rel(&section->unit_words[run_end], &seen, taken_word))
                break;
            run_end++;
        }
        if (run_end == unit) {
            unit++;
            continue;
        }
        /* Units smaller than a page share it with neighbours: only whole pages go, and then not all of it is zero. */
        uint64_t offset = section->units_offset + ((uint64_t)unit << section->unit_shift);
        uint64_t bytes = (uint64_t)(run_end - unit) << section->unit_shift;
        uint64_t page = UINT64_C(1) << section->page_shift;
        bool whole = offset % page == 0 && bytes % page == 0;
        bool gone = section_decommit(section, offset, bytes) == 0 && whole;
        for (uint32_t u = run_end; u-- > unit;)
            store_release(&section->unit_words[u], gone ? 0 : UNIT_FREE_USED);
        lower_hint(section, unit);
        unit = run_end;
    }
    uint64_t after = load_relaxed(&section->image->bytes_committed);
    return before > after ? before - after : 0;
}
