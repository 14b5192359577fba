/* SPDX-License-Identifier: MIT */
#include "picture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct collection {
    cairn_span *spans;
    size_t count, room;
    bool no_memory;
};

static int collect(const cairn_span *span, void *arg)
{
    struct collection *collection = arg;

    if (collection->count == collection->room) {
        size_t room = collection->room ? 2 * collection->room : 256;
        cairn_span *spans = realloc(collection->spans, room * sizeof *spans);

        if (!spans) {
            collection->no_memory = true;
            return 1;
        }
        collection->spans = spans;
        collection->room = room;
    }
    collection->spans[collection->count++] = *span;
    return 0;
}

static void end_free_run(struct picture *picture, uint64_t *run)
{
    unsigned size = 0;

    if (*run == 0)
        return;
    while (size + 1 < PICTURE_RUN_SIZES && *run >> (size + 1))
        size++;
    picture->runs_by_size[size]++;
    picture->free_runs++;
    picture->free_bytes += *run;
    if (*run > picture->free_run_largest)
        picture->free_run_largest = *run;
    *run = 0;
}

/* Free spans that touch are one run, however the heap keeps them. */
static void measure_free(struct picture *picture)
{
    uint64_t run = 0, end = 0;

    for (size_t i = 0; i < picture->span_count; i++) {
        const cairn_span *span = &picture->spans[i];

        if (span->kind != CAIRN_SPAN_FREE || (uint64_t)(uintptr_t)span->address != end)
            end_free_run(picture, &run);
        if (span->kind == CAIRN_SPAN_FREE)
            run += span->bytes;
        end = (uint64_t)(uintptr_t)span->address + span->bytes;
    }
    end_free_run(picture, &run);
}

static int by_block_bytes(const void *left, const void *right)
{
    uint64_t a = ((const struct picture_class *)left)->block_bytes,
             b = ((const struct picture_class *)right)->block_bytes;

    return a < b ? -1 : a > b;
}

static bool is_slab(const cairn_span *span)
{
    return span->kind == CAIRN_SPAN_SLAB || span->kind == CAIRN_SPAN_ORPHAN;
}

static int measure_classes(struct picture *picture)
{
    size_t kept = 0;

    if (picture->span_count == 0)
        return 0;
    picture->classes = calloc(picture->span_count, sizeof *picture->classes);
    if (!picture->classes)
        return -ENOMEM;
    for (size_t i = 0; i < picture->span_count; i++) {
        const cairn_span *span = &picture->spans[i];

        if (is_slab(span))
            picture->classes[picture->class_count++] = (struct picture_class){
                .block_bytes = span->block_bytes, .slabs = 1, .blocks = span->blocks, .blocks_live = span->blocks_live};
    }

    /* One entry per slab so far; sort them, and fold neighbours of one size. */
    qsort(picture->classes, picture->class_count, sizeof *picture->classes, by_block_bytes);
    for (size_t i = 0; i < picture->class_count; i++) {
        struct picture_class *class = &picture->classes[i];

        if (kept > 0 && picture->classes[kept - 1].block_bytes == class->block_bytes) {
            picture->classes[kept - 1].slabs++;
            picture->classes[kept - 1].blocks += class->blocks;
            picture->classes[kept - 1].blocks_live += class->blocks_live;
        } else {
            picture->classes[kept++] = *class;
        }
    }
    picture->class_count = kept;
    return 0;
}

int picture_take(cairn_heap *heap, struct picture *ret_picture)
{
    struct picture picture = {.stats.size = sizeof picture.stats};
    struct collection collection = {0};
    int r;

    r = cairn_walk(heap, collect, NULL, &collection);
    picture.spans = collection.spans;
    picture.span_count = collection.count;
    if (collection.no_memory)
        r = -ENOMEM;
    if (r == 0)
        r = cairn_stats_get(heap, &picture.stats);
    if (r == 0)
        r = measure_classes(&picture);
    if (r < 0) {
        picture_release(&picture);
        return r;
    }

    picture.address = picture.stats.units_address;
    if (picture.span_count > 0) {
        const cairn_span *last = &picture.spans[picture.span_count - 1];

        picture.address = (uint64_t)(uintptr_t)picture.spans[0].address;
        picture.bytes = (uint64_t)(uintptr_t)last->address + last->bytes - picture.address;
    }
    measure_free(&picture);
    *ret_picture = picture;
    return 0;
}

void picture_release(struct picture *picture)
{
    free(picture->spans);
    free(picture->classes);
    *picture = (struct picture){0};
}

double picture_fragmentation(const struct picture *picture)
{
    return picture->free_bytes ? 1 - (double)picture->free_run_largest / (double)picture->free_bytes : 0;
}

static enum tone tone_of_span(const cairn_span *span)
{
    static const enum tone tones[] = {
        [CAIRN_SPAN_FREE] = TONE_FREE, [CAIRN_SPAN_ORPHAN] = TONE_ORPHAN, [CAIRN_SPAN_LARGE] = TONE_LARGE,
        [CAIRN_SPAN_BUSY] = TONE_BUSY, [CAIRN_SPAN_OTHER] = TONE_OTHER,   [CAIRN_SPAN_SLAB] = TONE_SLAB_FULL,
    };

    return (size_t)span->kind < sizeof tones / sizeof tones[0] ? tones[span->kind] : TONE_OTHER;
}

static enum tone slab_tone(uint64_t blocks, uint64_t blocks_live)
{
    double fill = blocks ? (double)blocks_live / (double)blocks : 0;

    return fill <= 0.25   ? TONE_SLAB_QUARTER
           : fill <= 0.5  ? TONE_SLAB_HALF
           : fill <= 0.75 ? TONE_SLAB_MOST
                          : TONE_SLAB_FULL;
}

/*
 * Adds the spans to the cells that they touch. bytes[cell * TONE_COUNT + tone] gathers how much of a cell has which
 * tone; the largest wins, so that a cell of a hundred slabs and one free unit looks like slabs.
 */
static void fill_cells(const struct picture *picture, uint64_t cell_bytes, struct cell *cells, size_t count,
                       uint64_t *bytes)
{
    for (size_t i = 0; i < picture->span_count; i++) {
        const cairn_span *span = &picture->spans[i];
        uint64_t start = (uint64_t)(uintptr_t)span->address - picture->address, end = start + span->bytes;

        for (uint64_t c = start / cell_bytes; c < count && c * cell_bytes < end; c++) {
            struct cell *cell = &cells[c];
            uint64_t from = start > c * cell_bytes ? start : c * cell_bytes;
            uint64_t to = end < (c + 1) * cell_bytes ? end : (c + 1) * cell_bytes;
            uint64_t *of_tone = &bytes[c * TONE_COUNT + tone_of_span(span)];

            *of_tone += to - from;
            if (span->kind == CAIRN_SPAN_FREE)
                cell->bytes_free += to - from;
            if (span->kind != CAIRN_SPAN_FREE && span->kind != CAIRN_SPAN_BUSY) {
                cell->blocks += span->blocks;
                cell->blocks_live += span->blocks_live;
            }
            cell->spans++;
            if (*of_tone >= bytes[c * TONE_COUNT + cell->tone]) {
                cell->tone = tone_of_span(span);
                cell->span = span;
            }
        }
    }
}

size_t picture_cells(const struct picture *picture, size_t cells_max, uint64_t *ret_cell_bytes, struct cell **ret_cells)
{
    uint64_t cell_bytes = picture->stats.unit_bytes ? picture->stats.unit_bytes : 1, *bytes;
    struct cell *cells;
    size_t count;

    if (picture->bytes == 0 || cells_max == 0)
        return 0;
    while ((picture->bytes + cell_bytes - 1) / cell_bytes > cells_max)
        cell_bytes *= 2;
    count = (size_t)((picture->bytes + cell_bytes - 1) / cell_bytes);

    cells = calloc(count, sizeof *cells);
    bytes = calloc(count * TONE_COUNT, sizeof *bytes);
    if (!cells || !bytes) {
        free(cells);
        free(bytes);
        return 0;
    }
    fill_cells(picture, cell_bytes, cells, count, bytes);
    free(bytes);

    for (size_t c = 0; c < count; c++) {
        cells[c].address = picture->address + c * cell_bytes;
        cells[c].bytes = c + 1 < count ? cell_bytes : picture->bytes - c * cell_bytes;
        if (cells[c].tone == TONE_SLAB_FULL)
            cells[c].tone = slab_tone(cells[c].blocks, cells[c].blocks_live);
    }
    *ret_cell_bytes = cell_bytes;
    *ret_cells = cells;
    return count;
}

const char *picture_kind_name(cairn_span_kind kind)
{
    switch (kind) {
    case CAIRN_SPAN_FREE:
        return "free";
    case CAIRN_SPAN_SLAB:
        return "slab";
    case CAIRN_SPAN_ORPHAN:
        return "orphan";
    case CAIRN_SPAN_LARGE:
        return "large";
    case CAIRN_SPAN_BUSY:
        return "busy";
    case CAIRN_SPAN_OTHER:
        break;
    }
    return "other";
}

const char *picture_tone_name(enum tone tone)
{
    static const char *const names[TONE_COUNT] = {
        [TONE_NONE] = "",
        [TONE_FREE] = "free",
        [TONE_SLAB_QUARTER] = "slab, up to 25 % live",
        [TONE_SLAB_HALF] = "50 %",
        [TONE_SLAB_MOST] = "75 %",
        [TONE_SLAB_FULL] = "100 %",
        [TONE_LARGE] = "large block",
        [TONE_ORPHAN] = "slab without owner",
        [TONE_BUSY] = "changing hands",
        [TONE_OTHER] = "other heap",
    };

    return names[tone];
}
