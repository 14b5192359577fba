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
 * K TAKEN, T TAIL, L LARGE or SLAB, Fr FREEING, F FREE. KEPT, which is not drawn, is FREE for one heap alone. Killed
 * before the committing store of a take, recovery frees the TAILs whose head is still K, then the Ks; killed after that
 * of a free, recovery goes on freeing. A TAIL never outlives its head.
 */
#include "core/spans.h"

#include <errno.h>

/* ---------------------------------------------------------------- the limit of a heap */

/* credit: what is charged already for units that the heap has set aside, and may be about to take. */
static int charge_one(struct heap_image *image, uint64_t bytes, uint64_t credit)
{
    uint64_t charged = fetch_add_relaxed(&image->bytes_charged, bytes) + bytes;
    if (image->bytes_max != 0 && charged > image->bytes_max + credit) {
        fetch_sub_relaxed(&image->bytes_charged, bytes);
        return -EDQUOT;
    }
    if (charged > load_relaxed(&image->bytes_peak))
        store_relaxed(&image->bytes_peak, charged);
    return 0;
}

static uint32_t parent_of(const struct section *section, uint32_t heap)
{
    uint32_t parent = section_heap(section, heap)->parent;
    return parent < heap ? parent : 0; /* a parent is older: a number that says otherwise is damage, not a loop */
}

static void uncharge_up_to(struct section *section, uint32_t heap, uint32_t last, uint64_t bytes)
{
    while (heap != last) {
        /* The parent is read first: a record without charges may become another heap's at once. */
        uint32_t parent = parent_of(section, heap);
        fetch_sub_relaxed(&section_heap(section, heap)->bytes_charged, bytes);
        heap = parent;
    }
}

/*
 * While a heap's counter and its units differ, the owner at work says so: what it is killed in is counted again. The
 * count of charges tells a recount that somebody worked beside it.
 */
static void begin_charging(struct section *section, uint32_t by, uint32_t heap)
{
    store_relaxed(&section_owner(section, by)->charging, heap);
    atomic_thread_fence(memory_order_release); /* a recount that sees any of the change sees this, or the count */
}

static void end_charging(struct section *section, uint32_t by)
{
    fetch_add_relaxed(&section->image->charges, 1);
    store_release(&section_owner(section, by)->charging, 0);
}

/* Charges the heap and all that it is a part of, or none of them. */
static int charge(struct section *section, uint32_t heap, uint64_t bytes, uint64_t credit)
{
    for (uint32_t h = heap; h != 0; h = parent_of(section, h)) {
        int error = charge_one(section_heap(section, h), bytes, credit);
        if (error < 0) {
            uncharge_up_to(section, heap, h, bytes);
            return error;
        }
    }
    fetch_add_relaxed(&section->image->bytes_in_spans, bytes);
    return 0;
}

static void uncharge(struct section *section, uint32_t heap, uint64_t bytes)
{
    if (heap == 0 || heap > section->heaps_max)
        return; /* units that were taken to be decommitted are charged to nobody */
    fetch_sub_relaxed(&section->image->bytes_in_spans, bytes);
    uncharge_up_to(section, heap, 0, bytes);
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

static bool is_over_limit(const struct section *section, uint32_t heap)
{
    for (; heap != 0; heap = parent_of(section, heap)) {
        const struct heap_image *image = section_heap(section, heap);
        if (image->bytes_max != 0 && load_relaxed(&image->bytes_charged) > image->bytes_max)
            return true;
    }
    return false;
}

static uint32_t align_unit(const struct section *section, uint32_t unit, uint64_t alignment_bytes)
{
    if (alignment_bytes <= UINT64_C(1) << section->unit_shift)
        return unit;
    uint64_t address = (uintptr_t)section_unit(section, unit);
    return unit + (uint32_t)((align_up(address, alignment_bytes) - address) >> section->unit_shift);
}

/* FREE, or KEPT for this heap in this life. */
static bool is_available(uint64_t word, uint64_t kept_word)
{
    return unit_state_of(word) == UNIT_FREE || word == kept_word;
}

/* Looks for a run of available units in [from, end). Returns its first unit; or `end` when there is none, and then
 * *ret_tail is where the FREE units that reach up to end begin. */
static uint32_t find_run(const struct section *section, uint32_t from, uint32_t end, uint32_t units,
                         uint64_t alignment_bytes, uint64_t kept_word, uint32_t *ret_tail)
{
    uint32_t start = align_unit(section, from, alignment_bytes);
    for (uint32_t unit = start; unit < end; unit++) {
        if (!is_available(load_relaxed(&section->unit_words[unit]), kept_word)) {
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
    return section_commit_records(section, &section->unit_words[begin], (end - begin) * sizeof(uint64_t),
                                  &section->image->units_end, begin, end - 1);
}

/* Units that were set aside are charged as what they become: their own charge ends. */
static void drop_kept(struct section *section, uint32_t heap, uint64_t bytes)
{
    uncharge(section, heap, bytes);
    fetch_sub_relaxed(&section_heap(section, heap)->bytes_kept, bytes);
}

/* Takes each unit by a CAS that names the taker; false when somebody else was faster, and then none is taken. */
static bool take_all(struct section *section, uint32_t unit, uint32_t units, uint64_t taken_word, bool *ret_is_zero)
{
    uint64_t kept_word = unit_word(UNIT_KEPT, 0, unit_heap_of(taken_word), unit_low_of(taken_word));
    uint64_t kept_units = 0;
    uint64_t regretted = 0;
    bool is_zero = section->backing->starts_zero;
    for (uint32_t i = 0; i < units; i++) {
        uint64_t seen = load_relaxed(&section->unit_words[unit + i]);
        if (is_available(seen, kept_word) && cas_acq_rel(&section->unit_words[unit + i], &seen, taken_word)) {
            is_zero = is_zero && unit_state_of(seen) == UNIT_FREE && (seen & UNIT_FREE_USED) == 0;
            kept_units += seen == kept_word;
            regretted += seen == UNIT_FREE_RETURNED;
            continue;
        }
        /* What was set aside for the heap stays so where it was all of that; of a mixture nobody knows which it was. */
        bool all_kept = kept_units == i;
        while (i-- > 0)
            store_release(&section->unit_words[unit + i], all_kept ? kept_word : UNIT_FREE_USED);
        lower_hint(section, unit);
        if (kept_units != 0 && !all_kept)
            drop_kept(section, unit_heap_of(taken_word), kept_units << section->unit_shift);
        return false;
    }
    if (kept_units != 0)
        drop_kept(section, unit_heap_of(taken_word), kept_units << section->unit_shift);
    /* Memory that was given back is wanted again: next time more of it is retained. */
    if (regretted != 0)
        fetch_add_relaxed(&section->image->bytes_retained, regretted << section->unit_shift);
    *ret_is_zero = is_zero;
    return true;
}

static int take_charged(struct core_owner *owner, const struct core_heap *heap, uint32_t life, uint32_t units,
                        uint64_t alignment_bytes, struct span_taken *ret_span)
{
    struct section *section = owner->section;
    struct section_image *image = section->image;
    uint64_t bytes = (uint64_t)units << section->unit_shift;
    uint64_t credit = min_u64(bytes, load_relaxed(&heap->image->bytes_kept));
    int error = charge(section, heap->number, bytes, credit);
    if (error < 0)
        return error;

    uint64_t taken_word = unit_word(UNIT_TAKEN, owner->number, heap->number, life);
    uint64_t kept_word = unit_word(UNIT_KEPT, 0, heap->number, life);
    bool searched_all = false;
    for (;;) {
        uint32_t hint = load_relaxed(&image->unit_hint);
        uint32_t from = searched_all ? 0 : hint;
        if (load_relaxed(&heap->image->bytes_kept) != 0 && !searched_all)
            from = load_relaxed(&heap->image->kept_hint); /* its own units come first, wherever the hint stands */
        uint32_t end = section_units_end(section);
        uint32_t tail = end;
        uint32_t unit = find_run(section, from < end ? from : end, end, units, alignment_bytes, kept_word, &tail);
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
        if (credit != 0 && is_over_limit(section, heap->number)) {
            /* The credit was for other units than those that were found. */
            for (uint32_t i = units; i-- > 0;)
                store_release(&section->unit_words[unit + i], UNIT_FREE_USED);
            lower_hint(section, unit);
            uncharge(section, heap->number, bytes);
            return -EDQUOT;
        }
        if (units == 1 && from == hint && alignment_bytes <= UINT64_C(1) << section->unit_shift)
            raise_hint(section, hint, unit + 1);
        *ret_span = (struct span_taken){.unit = unit, .units = units, .is_zero = is_zero};
        return 0;
    }
}

int span_take(struct core_owner *owner, const struct core_heap *heap, uint32_t life, uint32_t units,
              uint64_t alignment_bytes, struct span_taken *ret_span)
{
    begin_charging(owner->section, owner->number, heap->number);
    int error = take_charged(owner, heap, life, units, alignment_bytes, ret_span);
    end_charging(owner->section, owner->number);
    if (error == 0 && span_is_late(owner->section, heap->number, life)) {
        span_put_back(owner, heap, ret_span);
        return -EAGAIN;
    }
    return error;
}

bool span_take_unit(struct core_owner *owner, const struct core_heap *heap, uint32_t life, uint32_t unit,
                    struct span_taken *ret_span)
{
    struct section *section = owner->section;
    uint64_t bytes = UINT64_C(1) << section->unit_shift;
    uint64_t seen = UNIT_FREE_USED;
    uint64_t taken_word = unit_word(UNIT_TAKEN, owner->number, heap->number, life);
    *ret_span = (struct span_taken){.unit = unit, .units = 1};
    begin_charging(section, owner->number, heap->number);
    bool taken = charge(section, heap->number, bytes, 0) == 0;
    if (taken && !cas_acq_rel(&section->unit_words[unit], &seen, taken_word)) {
        uncharge(section, heap->number, bytes);
        taken = false;
    }
    end_charging(section, owner->number);
    if (taken && span_is_late(section, heap->number, life)) {
        span_put_back(owner, heap, ret_span);
        return false;
    }
    return taken;
}

/* By the eight units, so that it changes seldom. */
static void note_extent(struct heap_image *image, uint32_t first, uint32_t end)
{
    first = (uint32_t)align_down(first, 8);
    end = (uint32_t)align_up(end, 8);
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

void span_set_aside(struct core_owner *owner, const struct core_heap *heap, const struct span_taken *span)
{
    uint64_t kept_word = unit_word(UNIT_KEPT, 0, heap->number, load_relaxed(&heap->life_made));
    note_extent(heap->image, span->unit, span->unit + span->units);
    fetch_add_relaxed(&heap->image->bytes_kept, (uint64_t)span->units << owner->section->unit_shift);
    store_relaxed(&heap->image->kept_hint, span->unit);
    for (uint32_t i = span->units; i-- > 0;)
        store_release(&owner->section->unit_words[span->unit + i], kept_word);
}

void span_put_back(struct core_owner *owner, const struct core_heap *heap, const struct span_taken *span)
{
    struct section *section = owner->section;
    uint64_t free_word = span->is_zero ? 0 : UNIT_FREE_USED;
    begin_charging(section, owner->number, heap->number);
    for (uint32_t i = span->units; i-- > 0;)
        store_release(&section->unit_words[span->unit + i], free_word);
    lower_hint(section, span->unit);
    uncharge(section, heap->number, (uint64_t)span->units << section->unit_shift);
    end_charging(section, owner->number);
}

/* Charges and takes the units behind a span. */
static bool take_behind(struct core_owner *owner, const struct core_heap *heap, struct span_taken *span)
{
    struct section *section = owner->section;
    uint64_t bytes = (uint64_t)span->units << section->unit_shift;
    uint64_t taken_word = unit_word(UNIT_TAKEN, owner->number, heap->number, load_relaxed(&heap->life_made));
    bool taken = false;
    begin_charging(section, owner->number, heap->number);
    if (charge(section, heap->number, bytes, 0) == 0) {
        taken = extend_units(section, span->unit + span->units) == 0 &&
                take_all(section, span->unit, span->units, taken_word, &span->is_zero);
        if (!taken)
            uncharge(section, heap->number, bytes);
    }
    end_charging(section, owner->number);
    return taken;
}

bool span_extend(struct core_owner *owner, const struct core_heap *heap, uint32_t head, uint32_t units,
                 uint32_t units_new)
{
    struct section *section = owner->section;
    struct span_image *span = section_span(section, head);
    uint32_t added = units_new - units;
    struct span_taken tail = {.unit = head + units, .units = added, .is_zero = false};
    if (units_new > section->units_max - head || !take_behind(owner, heap, &tail))
        return false;
    uint64_t offset = section_offset(section, section_unit(section, tail.unit));
    if (span_commit(section, owner->number, offset, (uint64_t)added << section->unit_shift) < 0) {
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

void span_free_begin(struct section *section, uint32_t by, uint32_t heap)
{
    begin_charging(section, by, heap);
}

void span_free_units(struct section *section, uint32_t unit, uint32_t units)
{
    for (uint32_t u = unit + units; u-- > unit;) {
        store_release(&section->unit_words[u], UNIT_FREE_USED);
        step();
    }
}

void span_free_end(struct section *section, uint32_t by, uint32_t heap, uint32_t lowest, uint64_t units)
{
    if (units != 0) {
        lower_hint(section, lowest);
        uncharge(section, heap, units << section->unit_shift);
    }
    end_charging(section, by);
}

void span_free(struct section *section, uint32_t by, uint32_t unit, uint32_t units, uint32_t heap)
{
    span_free_begin(section, by, heap);
    span_free_units(section, unit, units);
    /* Afterwards: killed in between, the heap is charged too much, never too little. */
    span_free_end(section, by, heap, unit, units);
}

bool span_free_unit(struct section *section, uint32_t by, uint32_t unit, uint64_t word)
{
    begin_charging(section, by, unit_heap_of(word));
    bool freed = cas_acq_rel(&section->unit_words[unit], &word, UNIT_FREE_USED);
    if (freed) {
        lower_hint(section, unit);
        uncharge(section, unit_heap_of(word), UINT64_C(1) << section->unit_shift);
    }
    end_charging(section, by);
    return freed;
}

void span_free_tails(struct section *section, uint32_t by, uint32_t head, uint32_t first, uint32_t end)
{
    for (uint32_t unit = end; unit-- > first;) {
        uint64_t word = load_acquire(&section->unit_words[unit]);
        if (unit_state_of(word) == UNIT_TAIL && unit_low_of(word) == head)
            span_free_unit(section, by, unit, word);
        step();
    }
}

/*
 *     commit     names pages;   fence;   clear bits?  memory;   bits;   no name
 *     decommit   takes units;   set bits?   fence;   names?   memory goes;   clear bits
 *
 * A bit that a commit finds clear and this finds set was set in between by another: so this finds the name. Bits that
 * are set later are left alone: one of two that commit may have set it, and this look too early for the other's name.
 */
static bool is_being_widened(const struct section *section, uint64_t first, uint64_t end)
{
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t owners_end = load_acquire(&section->image->owners_end);
    for (uint32_t number = 1; number <= owners_end && number <= section->owners_max; number++) {
        uint64_t named = load_acquire(&section_owner(section, number)->widening);
        if (named >> 32 < end && (named & UINT32_MAX) > first)
            return true;
    }
    return false;
}

int span_commit(struct section *section, uint32_t by, uint64_t offset, uint64_t bytes)
{
    atomic_u64 *widening = &section_owner(section, by)->widening;
    uint64_t first, end;
    if (!section_widen(section, offset, bytes, &first, &end))
        return 0;
    store_relaxed(widening, first << 32 | end);
    atomic_thread_fence(memory_order_seq_cst);
    int error = section_commit_pages(section, offset, bytes, first, end);
    store_release(widening, 0);
    return error;
}

/* Gives back the memory of units that were taken for that: the whole pages. -EBUSY: somebody commits there. */
static int give_back(struct section *section, uint32_t unit, uint32_t units, bool settles)
{
    if (section->commit_bits == NULL)
        return -EOPNOTSUPP;
    uint64_t page_bytes = UINT64_C(1) << section->page_shift;
    uint64_t offset = section_offset(section, section_unit(section, unit));
    uint64_t page = align_up(offset, page_bytes) >> section->page_shift;
    uint64_t end = (offset + ((uint64_t)units << section->unit_shift)) >> section->page_shift;
    uint64_t run_end;
    int error = 0;
    for (; error == 0 && section_next_pages(section, &page, end, &run_end); page = run_end) {
        if (!is_being_widened(section, page, run_end))
            error = section_decommit_pages(section, page, run_end);
        else if (settles)
            section_unmark_pages(section, page, run_end);
        else
            error = -EBUSY;
    }
    return error;
}

/* Beside one who commits there the memory stays, unmarked: what that marks, it has asked for since. */
void span_settle_memory(struct section *section, uint32_t unit, uint32_t units)
{
    (void)give_back(section, unit, units, true);
}

/* Takes a unit that is free, whether it has memory or not, for a moment. */
static bool take_free(struct section *section, uint32_t unit, uint64_t taken_word, uint64_t *ret_word)
{
    *ret_word = load_relaxed(&section->unit_words[unit]);
    return unit_state_of(*ret_word) == UNIT_FREE && cas_acq_rel(&section->unit_words[unit], ret_word, taken_word);
}

/* Whether a unit is free and has memory: used ones, and those over which a commit of their neighbours was widened. */
static bool is_free_memory(const struct section *section, uint32_t unit, uint64_t word)
{
    if (unit_state_of(word) != UNIT_FREE)
        return false;
    return (word & UNIT_FREE_USED) != 0 ||
           (section->unit_shift >= section->page_shift &&
            section_any_committed(section, section_offset(section, section_unit(section, unit)),
                                  UINT64_C(1) << section->unit_shift));
}

/*
 * The headers of units that this owner has taken become zero, by whole pages, and with them those of free neighbours
 * that share a page with theirs: these are taken meanwhile.
 */
static void discard_headers(const struct core_owner *owner, uint32_t first, uint32_t end, uint64_t taken_word)
{
    enum { NEIGHBOURS = 4 }; /* as many units of the largest size have their headers in a page */
    struct section *section = owner->section;
    if (section->backing->discard == NULL)
        return;
    uint64_t page = UINT64_C(1) << section->page_shift;
    uint64_t from = align_down(section_offset(section, section_span(section, first)), page);
    uint64_t to = align_up(section_offset(section, section_span(section, end)), page);
    uint32_t units_end = section_units_end(section);
    uint64_t before[NEIGHBOURS], behind[NEIGHBOURS];
    uint32_t low = first, high = end;
    while (low > 0 && first - low < NEIGHBOURS && section_offset(section, section_span(section, low)) > from &&
           take_free(section, low - 1, taken_word, &before[first - low]))
        low--;
    while (high < units_end && high - end < NEIGHBOURS && section_offset(section, section_span(section, high)) < to &&
           take_free(section, high, taken_word, &behind[high - end]))
        high++;

    from = align_up(section_offset(section, section_span(section, low)), page);
    to = align_down(section_offset(section, section_span(section, high)), page);
    fetch_add_relaxed(&section->image->discards, 1); /* before: whoever takes a unit afterwards counts from there */
    if (from < to)
        section->backing->discard(section, from, to - from);
    for (uint32_t unit = low; unit < first; unit++)
        store_release(&section->unit_words[unit], before[first - 1 - unit]);
    for (uint32_t unit = high; unit-- > end;)
        store_release(&section->unit_words[unit], behind[unit - end]);
    if (low < first)
        lower_hint(section, low);
}

uint64_t span_decommit(struct core_owner *owner, uint32_t first, uint32_t end)
{
    struct section *section = owner->section;
    uint64_t taken_word = unit_word(UNIT_TAKEN, owner->number, 0, 0);
    uint64_t before = load_relaxed(&section->image->bytes_committed);
    for (uint32_t unit = first; unit < end;) {
        /* Take as long a run as is free and has memory; nobody can get it while its memory goes away. */
        uint32_t run_end = unit;
        while (run_end < end) {
            uint64_t seen = load_relaxed(&section->unit_words[run_end]);
            if (!is_free_memory(section, run_end, seen) ||
                !cas_acq_rel(&section->unit_words[run_end], &seen, taken_word))
                break;
            run_end++;
        }
        if (run_end == unit) {
            unit++;
            continue;
        }
        /* Units smaller than a page share it with neighbours: only whole pages go, and then not all of it is zero. Nor
         * is it where a page was not committed: somebody was killed giving it back. */
        uint64_t offset = section->units_offset + ((uint64_t)unit << section->unit_shift);
        uint64_t bytes = (uint64_t)(run_end - unit) << section->unit_shift;
        uint64_t page = UINT64_C(1) << section->page_shift;
        bool whole = offset % page == 0 && bytes % page == 0 && section_range_committed(section, offset, bytes);
        bool gone = give_back(section, unit, run_end - unit, false) == 0 && whole;
        discard_headers(owner, unit, run_end, taken_word);
        for (uint32_t u = run_end; u-- > unit;)
            store_release(&section->unit_words[u], gone ? UNIT_FREE_RETURNED : UNIT_FREE_USED);
        lower_hint(section, unit);
        unit = run_end;
    }
    uint64_t after = load_relaxed(&section->image->bytes_committed);
    return before > after ? before - after : 0;
}

void span_reach_committed(struct section *section)
{
    uint32_t end = section_units_end(section);
    while (end < section->units_max && section->unit_shift >= section->page_shift &&
           section_any_committed(section, section_offset(section, section_unit(section, end)),
                                 UINT64_C(1) << section->unit_shift))
        end++;
    (void)extend_units(section, end);
}

void span_shorten(struct core_owner *owner, uint32_t heap, uint32_t head, uint32_t units, uint32_t units_new)
{
    struct section *section = owner->section;
    uint64_t tail_word = unit_word(UNIT_TAIL, owner->number, heap, head);
    for (uint32_t i = units_new; i < units; i++)
        store_release(&section->unit_words[head + i], tail_word);
    step();
    store_release(&section_span(section, head)->span_units, units_new);
    step();
    span_free_tails(section, owner->number, head, head + units_new, head + units);
}

/* ---------------------------------------------------------------- counting again */

bool heap_is_part_of(const struct section *section, uint32_t heap, uint32_t whole)
{
    while (heap != 0 && heap <= section->heaps_max && heap != whole)
        heap = parent_of(section, heap);
    return heap == whole;
}

static bool somebody_is_charging(const struct section *section)
{
    uint32_t end = load_acquire(&section->image->owners_end);
    for (uint32_t number = 1; number <= end && number <= section->owners_max; number++) {
        if (load_acquire(&section_owner(section, number)->charging) != 0)
            return true;
    }
    return false;
}

/* Counts the units of a heap, or (0) of all, in one pass. */
static uint64_t count_units(const struct section *section, uint32_t heap)
{
    uint64_t units = 0;
    uint32_t end = section_units_end(section);
    for (uint32_t unit = 0; unit < end; unit++) {
        uint64_t word = load_acquire(&section->unit_words[unit]);
        if (unit_state_of(word) != UNIT_FREE && unit_heap_of(word) != 0 &&
            heap_is_part_of(section, unit_heap_of(word), heap))
            units++;
    }
    return units << section->unit_shift;
}

/* True when the counter was right or is now; false when somebody worked beside the count. */
static bool recount_one(struct section *section, atomic_u64 *counter, uint32_t heap)
{
    uint64_t charges = load_acquire(&section->image->charges);
    uint64_t counted = load_acquire(counter);
    atomic_thread_fence(memory_order_seq_cst); /* with the fence in begin_charging */
    if (somebody_is_charging(section))
        return false;
    uint64_t bytes = count_units(section, heap);
    atomic_thread_fence(memory_order_seq_cst);
    if (somebody_is_charging(section) || load_acquire(&section->image->charges) != charges)
        return false;
    return counted == bytes || cas_acq_rel(counter, &counted, bytes);
}

static bool recount(struct section *section, atomic_u64 *counter, uint32_t heap)
{
    enum { ATTEMPTS = 16 };
    for (uint32_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (recount_one(section, counter, heap))
            return true;
    }
    return false;
}

bool span_recount(struct section *section, uint64_t heap)
{
    bool done = recount(section, &section->image->bytes_in_spans, 0);
    if (heap != RECOUNT_ALL) {
        for (uint32_t h = heap <= section->heaps_max ? (uint32_t)heap : 0; h != 0; h = parent_of(section, h))
            done = recount(section, &section_heap(section, h)->bytes_charged, h) && done;
        return done;
    }
    uint32_t end = load_acquire(&section->image->heaps_end);
    for (uint32_t h = 1; h <= end && h <= section->heaps_max && done; h++) {
        if (load_relaxed(&section_heap(section, h)->bytes_charged) != 0)
            done = recount(section, &section_heap(section, h)->bytes_charged, h);
    }
    return done;
}
