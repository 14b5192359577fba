/* SPDX-License-Identifier: MIT */
#include "core/inspect.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/checked.h"

static void require_open(const struct cairn_heap *heap, const char *call)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, call);
}

/* ---------------------------------------------------------------- walk */

struct walk {
    struct cairn_heap *heap;
    cairn_span_fn *span;
    cairn_block_fn *block;
    void *arg;
};

static cairn_span_kind kind_of(const struct core_span *span, uint32_t heap)
{
    switch (span->state) {
    case UNIT_FREE:
        return CAIRN_SPAN_FREE;
    case UNIT_SLAB:
        return span->heap == heap ? CAIRN_SPAN_SLAB : CAIRN_SPAN_OTHER;
    case UNIT_ORPHAN:
        return span->heap == heap ? CAIRN_SPAN_ORPHAN : CAIRN_SPAN_OTHER;
    case UNIT_LARGE:
        return span->heap == heap ? CAIRN_SPAN_LARGE : CAIRN_SPAN_OTHER;
    default:
        return CAIRN_SPAN_BUSY;
    }
}

static int visit_span(const struct core_span *span, void *arg)
{
    const struct walk *walk = arg;
    if (walk->span == NULL)
        return 0;
    const struct section *section = walk->heap->core.section;
    cairn_span told = {
        .kind = kind_of(span, walk->heap->core.number),
        .owner = span->state == UNIT_SLAB ? span->owner : 0,
        .address = section_unit(section, span->unit),
        .bytes = (uint64_t)span->units << section->unit_shift,
        .block_bytes = span->block_bytes,
        .blocks = span->blocks,
        .blocks_live = span->blocks_live,
    };
    if (walk->heap->checked != NULL)
        checked_show_span(walk->heap, &told);
    return walk->span(&told, walk->arg);
}

static int visit_block(void *block, uint64_t bytes, void *arg)
{
    const struct walk *walk = arg;
    if (walk->heap->checked != NULL && !checked_show(walk->heap, &block, &bytes))
        return 0;
    if (walk->heap->published != NULL && heap_is_retired(walk->heap, block))
        return 0;
    return walk->block(block, bytes, walk->arg);
}

CAIRN_API int cairn_walk(struct cairn_heap *heap, cairn_span_fn *span, cairn_block_fn *block, void *arg)
{
    require_open(heap, "walk");
    struct walk walk = {.heap = heap, .span = span, .block = block, .arg = arg};
    return core_walk(heap->core.section, heap->core.number, 0, visit_span, block != NULL ? visit_block : NULL, &walk);
}

int heap_spans_from(struct cairn_heap *heap, uint64_t offset, cairn_span_fn *span, void *arg)
{
    const struct section *section = heap->core.section;
    struct walk walk = {.heap = heap, .span = span, .arg = arg};
    uint64_t unit = offset >> section->unit_shift;
    return unit > UINT32_MAX ? 0 : core_walk(section, heap->core.number, (uint32_t)unit, visit_span, NULL, &walk);
}

CAIRN_API int cairn_committed(struct cairn_heap *heap, const void *address, uint64_t *ret_run)
{
    require_open(heap, "committed");
    const struct section *section = heap->core.section;
    uint64_t offset = (uintptr_t)address - (uintptr_t)section->base;
    if (offset >= section->bytes_max)
        return error_set(-EINVAL, "%p lies outside of the heap's section", address);
    return section_committed(section, offset, ret_run);
}

/* ---------------------------------------------------------------- check */

struct check {
    cairn_report_fn *report;
    void *arg;
};

static void tell(void *arg, const char *format, ...) PRINTF_LIKE(2, 3);

static void tell(void *arg, const char *format, ...)
{
    const struct check *check = arg;
    char text[300];
    if (check->report == NULL)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    check->report(text, check->arg);
}

CAIRN_API int cairn_check(struct cairn_heap *heap, cairn_report_fn *report, void *arg)
{
    require_open(heap, "check");
    if (heap_is_the_parents(heap))
        return cairn_last_errno();
    struct check check = {.report = report, .arg = arg};
    int found = (int)core_check(heap->core.section, false, tell, &check);
    return heap->checked != NULL ? found + checked_check(heap, report, arg) : found;
}

/* ---------------------------------------------------------------- statistics */

struct counting {
    const struct section *section;
    uint32_t heap;
    cairn_stats stats;
};

static int count_span(const struct core_span *span, void *arg)
{
    struct counting *counting = arg;
    cairn_stats *stats = &counting->stats;
    uint64_t bytes = (uint64_t)span->units << counting->section->unit_shift;
    if (span->state == UNIT_FREE) {
        stats->bytes_free += bytes;
        stats->bytes_free_run = max_u64(stats->bytes_free_run, bytes);
    }
    if (span->heap != counting->heap || span->header == NULL)
        return 0;
    stats->blocks_live += span->blocks_live;
    stats->bytes_live += span->blocks_live * span->block_bytes;
    stats->slabs += span->state != UNIT_LARGE;
    stats->large += span->state == UNIT_LARGE;
    stats->orphans += span->state == UNIT_ORPHAN;
    return 0;
}

static uint64_t count_live_owners(const struct section *section)
{
    uint64_t count = 0;
    uint32_t end = load_acquire(&section->image->owners_end);
    for (uint32_t number = 1; number <= end && number <= section->owners_max; number++)
        count += record_state_of(load_acquire(&section_owner(section, number)->word)) == RECORD_LIVE;
    return count;
}

/* A record without its lock is a process that died; read-only views have no right to ask, and count the records. */
static uint64_t count_live_processes(const struct attachment *attachment)
{
    const struct section *section = &attachment->section;
    uint64_t count = 0;
    uint32_t end = load_acquire(&section->image->processes_end);
    for (uint32_t number = 1; number <= end && number <= section->processes_max; number++) {
        if (record_state_of(load_acquire(&section_process(section, number)->word)) == RECORD_LIVE &&
            (number == attachment->process || liveness_probe(section->file, LIVENESS_OFFSET + number) != 0))
            count++;
    }
    return count;
}

CAIRN_API int cairn_stats_get(struct cairn_heap *heap, cairn_stats *ret_stats)
{
    require_open(heap, "stats_get");
    size_t size = structure_size("statistics", ret_stats->size, sizeof *ret_stats);
    if (size == 0)
        return -EINVAL;

    const struct attachment *attachment = heap->attachment;
    const struct section *section = heap->core.section;
    const struct section_image *image = section->image;
    const struct heap_image *record = heap->core.image;
    bool is_shared = attachment->is_shared;
    bool has_own_section = !attachment->is_process_section && record->parent == 0;
    struct counting counting = {
        .section = section,
        .heap = heap->core.number,
        .stats =
            {
                .size = ret_stats->size,
                .bytes_committed = load_relaxed(has_own_section ? &image->bytes_committed : &record->bytes_charged),
                .bytes_committed_peak = load_relaxed(has_own_section ? &image->bytes_peak : &record->bytes_peak),
                .bytes_reserved = section->bytes_max,
                .bytes_max = has_own_section ? section->bytes_max : record->bytes_max,
                .growths = load_relaxed(&image->growths),
                .owners = count_live_owners(section),
                .processes = is_shared ? count_live_processes(attachment) : 1,
                .attaches = load_relaxed(&image->attaches),
                .unit_bytes = UINT64_C(1) << section->unit_shift,
                .address = (uintptr_t)section->base,
                .units_address = (uintptr_t)section->units,
                .read_only = heap->read_only,
                .shared = is_shared,
            },
    };
    core_walk(section, heap->core.number, 0, count_span, NULL, &counting);
    if (heap->checked != NULL)
        checked_count(heap, &counting.stats.blocks_live, &counting.stats.bytes_live);
    memcpy(ret_stats, &counting.stats, size);
    return 0;
}

/* ---------------------------------------------------------------- classes */

struct class_counting {
    const struct section *section;
    uint32_t heap;
    cairn_class classes[CLASS_COUNT + 1]; /* the last is that of large blocks */
};

static int count_span_of_class(const struct core_span *span, void *arg)
{
    struct class_counting *counting = arg;
    if (span->heap != counting->heap || span->header == NULL)
        return 0;
    bool is_large = span->state == UNIT_LARGE;
    if (!is_large && span->block_bytes > CLASS_BYTES_MAX)
        return 0; /* written by nobody who knows the classes: cairn_check tells */
    cairn_class *blocks = &counting->classes[is_large ? CLASS_COUNT : class_of(span->block_bytes)];
    blocks->block_bytes = is_large ? 0 : span->block_bytes;
    blocks->bytes_live += span->blocks_live * span->block_bytes;
    blocks->blocks_live += span->blocks_live;
    blocks->blocks += span->blocks;
    blocks->spans++;
    blocks->span_bytes += (uint64_t)span->units << counting->section->unit_shift;
    return 0;
}

CAIRN_API int cairn_class_walk(struct cairn_heap *heap, cairn_class_fn *visit, void *arg)
{
    require_open(heap, "class_walk");
    struct class_counting counting = {.section = heap->core.section, .heap = heap->core.number};
    core_walk(heap->core.section, heap->core.number, 0, count_span_of_class, NULL, &counting);
    for (uint32_t c = 0; c <= CLASS_COUNT; c++) {
        int result = counting.classes[c].spans != 0 ? visit(&counting.classes[c], arg) : 0;
        if (result != 0)
            return result;
    }
    return 0;
}

/* ---------------------------------------------------------------- upkeep */

CAIRN_API int64_t cairn_trim(struct cairn_heap *heap)
{
    struct bins *bins = call_begin(heap, "trim");
    if (bins == NULL)
        return cairn_last_errno();
    if (heap->checked != NULL)
        checked_trim(heap, bins);
    uint64_t bytes = core_trim(bins, &heap->core);
    call_end(heap, bins);
    return (int64_t)bytes;
}

CAIRN_API int cairn_recover(struct cairn_heap *heap)
{
    struct bins *bins = call_begin(heap, "recover");
    if (bins == NULL)
        return cairn_last_errno();
    uint32_t by = bins->owner->number;
    call_end(heap, bins);
    mutex_lock(&process_lock);
    uint32_t recovered = attachment_recover(heap->attachment, by);
    mutex_unlock(&process_lock);
    bins = call_begin(heap, "recover");
    if (bins != NULL) {
        owner_sweep(bins->owner);
        call_end(heap, bins);
    }
    if (load_relaxed(&heap->attachment->section.image->damaged) != 0)
        return error_set(-EUCLEAN, "the header of a dead process's span is impossible: who opens this heap is refused");
    return (int)recovered;
}
