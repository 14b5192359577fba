/* SPDX-License-Identifier: MIT */
#include "core/inspect.h"

#include "core/slab.h"

static bool has_header(enum unit_state state)
{
    return state == UNIT_SLAB || state == UNIT_ORPHAN || state == UNIT_LARGE;
}

/* ---------------------------------------------------------------- walking */

static uint32_t free_run(const struct section *section, uint32_t unit, uint32_t end)
{
    uint32_t first = unit;
    while (unit < end && unit_state_of(load_relaxed(&section->unit_words[unit])) == UNIT_FREE)
        unit++;
    return unit - first;
}

/* Reads a span's header into *span; false when its numbers are impossible. */
static bool read_header(const struct section *section, struct core_span *span)
{
    uint32_t end = section_units_end(section); /* it may have grown since the walk began */
    const struct span_image *header = section_span(section, span->unit);
    span->header = header;
    span->serial = load_acquire(&header->serial);
    span->units = load_acquire(&header->span_units);
    if (span->units == 0 || span->units > end - span->unit)
        return false;
    uint64_t span_bytes = (uint64_t)span->units << section->unit_shift;
    if (span->state == UNIT_LARGE) {
        span->blocks = 1;
        span->blocks_live = 1;
        span->block_bytes = load_relaxed(&header->large_bytes);
        return span->block_bytes != 0 && span->block_bytes <= span_bytes;
    }
    span->blocks = load_relaxed(&header->blocks);
    span->block_bytes = load_relaxed(&header->block_bytes);
    if (span->block_bytes < 16 || span->blocks == 0 || span->blocks > SLAB_BLOCKS_MAX ||
        span->blocks * span->block_bytes > span_bytes || load_relaxed(&header->ready) > span->blocks ||
        load_relaxed(&header->elsewhere_at) != slab_words_max(section, span->units))
        return false;
    span->blocks_live = slab_live(header);
    return true;
}

static int walk_blocks(const struct section *section, const struct core_span *span, core_block_fn *block, void *arg)
{
    unsigned char *first = section_unit(section, span->unit);
    if (span->state == UNIT_LARGE)
        return block(first, span->block_bytes, arg);
    for (uint32_t k = 0; k < (span->blocks + 63) / 64; k++) {
        for (uint64_t live = slab_live_word(span->header, k); live != 0; live &= live - 1) {
            int result = block(first + (k * 64 + bit_lowest(live)) * span->block_bytes, span->block_bytes, arg);
            if (result != 0)
                return result;
        }
    }
    return 0;
}

int core_walk(const struct section *section, uint32_t heap, uint32_t from, core_span_fn *span_visit,
              core_block_fn *block, void *arg)
{
    uint32_t end = section_units_end(section);
    for (uint32_t unit = from; unit < end;) {
        uint64_t word = load_acquire(&section->unit_words[unit]);
        struct core_span span = {
            .state = unit_state_of(word),
            .unit = unit,
            .units = 1,
            .heap = unit_heap_of(word),
            .owner = unit_owner_of(word),
        };
        if (span.state == UNIT_FREE) {
            span.heap = 0;
            span.owner = 0;
            span.units = free_run(section, unit, end);
            if (span.units == 0)
                continue; /* it was taken just now */
        } else if (has_header(span.state) && !read_header(section, &span)) {
            span.units = 1; /* being changed just now, or damaged: core_check tells which */
            span.header = NULL;
            span.blocks = span.blocks_live = 0;
            span.state = UNIT_TAKEN;
        }
        int result = span_visit != NULL ? span_visit(&span, arg) : 0;
        if (result == 0 && block != NULL && span.heap == heap && span.blocks_live != 0)
            result = walk_blocks(section, &span, block, arg);
        if (result != 0)
            return result;
        unit += span.units;
    }
    return 0;
}

/* ---------------------------------------------------------------- checking */

struct check {
    const struct section *section;
    core_report_fn *report;
    void *arg;
    uint32_t end;
    uint32_t findings;
    bool exact;
};

#define FIND(check, ...) ((check)->findings++, (check)->report((check)->arg, __VA_ARGS__))

static bool is_committed(const struct section *section, const void *address, uint64_t bytes)
{
    return section_range_committed(section, section_offset(section, address), bytes);
}

/* Whether what was read of a span's header is of one span: none ended and another began there meanwhile. */
static bool is_same(const struct check *check, const struct core_span *span, uint64_t word)
{
    atomic_thread_fence(memory_order_acquire); /* with the fence in span_begin */
    return load_relaxed(&span->header->serial) == span->serial &&
           load_acquire(&check->section->unit_words[span->unit]) == word;
}

static void check_bits(struct check *check, const struct core_span *span, uint64_t word)
{
    const struct span_image *slab = span->header;
    const atomic_u64 *live = (const atomic_u64 *)(const void *)(slab + 1);
    const atomic_u64 *elsewhere = live + load_relaxed(&slab->elsewhere_at);
    bool steady = check->exact || span->state == UNIT_ORPHAN;
    for (uint32_t k = 0; steady && k < (span->blocks + 63) / 64; k++) {
        uint64_t freed = load_acquire(&elsewhere[k]) & ~load_acquire(&live[k]);
        if (freed != 0 && is_same(check, span, word))
            FIND(check, "unit %u: word %u: blocks %#llx were freed elsewhere and are not live", span->unit, k,
                 (unsigned long long)freed);
        uint64_t beyond = load_acquire(&live[k]) & ~ready_bits(load_acquire(&slab->ready), k);
        if (beyond != 0 && is_same(check, span, word))
            FIND(check, "unit %u: word %u: blocks %#llx are live and were never ready", span->unit, k,
                 (unsigned long long)beyond);
    }
}

static void check_span(struct check *check, struct core_span *span, uint64_t word)
{
    const struct section *section = check->section;
    if (!is_committed(section, section_span(section, span->unit), sizeof(struct span_image))) {
        FIND(check, "unit %u: its header is not committed", span->unit);
        span->units = 1;
        return;
    }
    /* A header is complete before its word: one that is read again after the word and still impossible is no accident
     * of a span that ended and another that began in the same place. */
    bool possible = read_header(section, span);
    for (uint32_t again = 0; !(possible && is_same(check, span, word)) && again < 10; again++) {
        if (load_acquire(&section->unit_words[span->unit]) != word)
            break;
        possible = read_header(section, span);
    }
    if (!possible) {
        if (is_same(check, span, word))
            FIND(check, "unit %u: impossible header: %u units, %u blocks of %llu bytes", span->unit, span->units,
                 span->blocks, (unsigned long long)span->block_bytes);
        span->units = 1;
        return;
    }
    uint32_t heap = span->heap;
    /* Spans of a heap that was destroyed wait for those who hold them. */
    if (heap == 0 || heap > load_acquire(&section->image->heaps_end) || heap > section->heaps_max ||
        (record_state_of(load_acquire(&section_heap(section, heap)->word)) == RECORD_FREE &&
         load_acquire(&section_heap(section, heap)->life) == unit_low_of(word)))
        FIND(check, "unit %u: belongs to heap %u, which does not exist", span->unit, heap);
    if (span->state == UNIT_SLAB && (span->owner == 0 || span->owner > load_acquire(&section->image->owners_end)))
        FIND(check, "unit %u: owned by %u, who does not exist", span->unit, span->owner);
    for (uint32_t i = 1; i < span->units; i++) {
        uint64_t tail = load_acquire(&section->unit_words[span->unit + i]);
        if ((unit_state_of(tail) != UNIT_TAIL || unit_low_of(tail) != span->unit) && is_same(check, span, word) &&
            load_acquire(&span->header->span_units) > i)
            FIND(check, "unit %u: is not the tail of the span at unit %u", span->unit + i, span->unit);
    }

    uint64_t used = span->block_bytes;
    if (span->state != UNIT_LARGE) {
        bool fits = slab_is_sound(section, span->unit);
        if (!fits && is_same(check, span, word))
            FIND(check, "unit %u: %u blocks of %llu bytes in %u units do not fit class %u", span->unit, span->blocks,
                 (unsigned long long)span->block_bytes, span->units, load_relaxed(&span->header->size_class));
        if (fits)
            check_bits(check, span, word);
        used *= load_acquire(&span->header->ready);
    }
    for (uint32_t again = 0; again < 10 && !is_committed(section, section_unit(section, span->unit), used); again++) {
        /* Read again: it may have ended, and another may have begun in its place. */
        if (!is_same(check, span, word))
            return;
        used = span->block_bytes * (span->state == UNIT_LARGE ? 1 : load_acquire(&span->header->ready));
    }
    if (!is_committed(section, section_unit(section, span->unit), used) && is_same(check, span, word))
        FIND(check, "unit %u: holds blocks in memory that is not committed", span->unit);
}

static void check_tail(struct check *check, uint32_t unit, uint64_t word)
{
    const struct section *section = check->section;
    uint32_t head = unit_low_of(word);
    uint64_t head_word = head < unit ? load_acquire(&section->unit_words[head]) : 0;
    enum unit_state state = unit_state_of(head_word);
    bool valid =
        head < unit && (state == UNIT_TAKEN || state == UNIT_FREEING ||
                        (has_header(state) && unit - head < load_acquire(&section_span(section, head)->span_units)));
    if (!valid && check->exact)
        FIND(check, "unit %u: the tail of a span that does not reach it", unit);
}

static void check_records(struct check *check)
{
    const struct section *section = check->section;
    uint32_t owners_end = load_acquire(&section->image->owners_end);
    for (uint32_t number = 1; number <= owners_end && number <= section->owners_max; number++) {
        const struct owner_image *owner = section_owner(section, number);
        uint64_t word = load_acquire(&owner->word);
        if (record_state_of(word) > RECORD_PENDING)
            FIND(check, "owner %u: impossible state", number);
        if (record_process_of(word) > section->processes_max)
            FIND(check, "owner %u: of process %u, which cannot be", number, record_process_of(word));
        if (record_state_of(word) == RECORD_FREE && load_acquire(&owner->hand) != 0 &&
            load_acquire(&owner->word) == word)
            FIND(check, "owner %u: a record that is free has something in its hand", number);
    }
    uint32_t heaps_end = load_acquire(&section->image->heaps_end);
    bool is_shared = section->processes_max != 0; /* a private one is stopped by its lock */
    for (uint32_t number = 1; is_shared && number <= heaps_end && number <= section->heaps_max; number++) {
        bool stopped = record_state_of(load_acquire(&section_heap(section, number)->word)) == RECORD_LIVE;
        for (uint32_t again = 0; stopped && again < 10; again++)
            stopped = heap_is_stopped_by_nobody(section, number);
        if (stopped)
            FIND(check, "heap %u: says that it is being reset, and nobody is at it", number);
    }
    for (uint32_t i = 0; i < load_acquire(&section->image->roots_end) && i < section->roots_max; i++) {
        const struct root_image *root = &section->roots[i];
        uint64_t ref = load_acquire(&root->ref);
        if (load_acquire(&root->word) >> RECORD_STATE_SHIFT == RECORD_LIVE && (ref & ROOT_IS_HEAP) == 0 &&
            (ref < section->units_offset || ref - section->units_offset >= section->units_bytes))
            FIND(check, "root %u: leads outside the units", i);
    }
}

/* What is only counted: right when nobody works and nobody died. */
static void check_counts(struct check *check, uint64_t bytes_in_spans)
{
    const struct section *section = check->section;
    if (!check->exact)
        return;
    uint64_t counted = load_relaxed(&section->image->bytes_in_spans);
    if (counted != bytes_in_spans)
        FIND(check, "spans have %llu bytes and are counted as %llu", (unsigned long long)bytes_in_spans,
             (unsigned long long)counted);
    uint64_t committed = section_count_committed(section);
    if (section->commit_bits != NULL && committed != load_relaxed(&section->image->bytes_committed))
        FIND(check, "%llu bytes are committed and counted as %llu", (unsigned long long)committed,
             (unsigned long long)load_relaxed(&section->image->bytes_committed));
}

static void report_nothing(void *arg, const char *format, ...)
{
    (void)arg, (void)format;
}

uint32_t core_check(const struct section *section, bool exact, core_report_fn *report, void *arg)
{
    struct check check = {
        .section = section,
        .report = report != NULL ? report : report_nothing,
        .arg = arg,
        .end = section_units_end(section),
        .exact = exact,
    };
    uint64_t bytes_in_spans = 0;
    uint64_t damaged = load_relaxed(&section->image->damaged);
    if ((damaged & DAMAGED_LIFE) != 0)
        FIND(&check, "marked as damaged: heap %llu says that it is being reset, and nobody is at it",
             (unsigned long long)(damaged & ~DAMAGED_LIFE));
    else if (damaged != 0)
        FIND(&check, "marked as damaged: who recovered the dead found the header of unit %llu impossible",
             (unsigned long long)damaged - 1);
    for (uint32_t unit = 0; unit < check.end;) {
        uint64_t word = load_acquire(&section->unit_words[unit]);
        struct core_span span = {
            .state = unit_state_of(word),
            .unit = unit,
            .units = 1,
            .heap = unit_heap_of(word),
            .owner = unit_owner_of(word),
        };
        if (span.state > UNIT_KEPT || (span.state == UNIT_FREE && (word & ~(UNIT_FREE_USED | UNIT_FREE_RETURNED)) != 0))
            FIND(&check, "unit %u: impossible word %#llx", unit, (unsigned long long)word);
        else if (has_header(span.state))
            check_span(&check, &span, word);
        else if (span.state == UNIT_TAIL)
            check_tail(&check, unit, word);
        else if (span.state != UNIT_FREE && span.state != UNIT_KEPT && exact)
            FIND(&check, "unit %u: being changed by owner %u, who is not at it", unit, span.owner);
        if (span.state != UNIT_FREE)
            bytes_in_spans += (uint64_t)span.units << section->unit_shift;
        unit += span.units;
    }
    check_records(&check);
    check_counts(&check, bytes_in_spans);
    return check.findings;
}
