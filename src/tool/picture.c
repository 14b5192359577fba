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

/* Takes what was collected, with the result of that, and measures it. */
static int finish(struct picture *picture, const struct collection *collection, int r)
{
    picture->spans = collection->spans;
    picture->span_count = collection->count;
    if (collection->no_memory)
        r = -ENOMEM;
    if (r == 0)
        r = measure_classes(picture);
    if (r < 0) {
        picture_release(picture);
        return r;
    }

    picture->address = picture->stats.units_address;
    if (picture->span_count > 0) {
        const cairn_span *last = &picture->spans[picture->span_count - 1];

        picture->address = (uint64_t)(uintptr_t)picture->spans[0].address;
        picture->bytes = (uint64_t)(uintptr_t)last->address + last->bytes - picture->address;
    }
    measure_free(picture);
    return 0;
}

int picture_take(cairn_heap *heap, struct picture *ret_picture)
{
    struct picture picture = {.heap = heap, .stats.size = sizeof picture.stats};
    struct collection collection = {0};
    int r;

    r = cairn_walk(heap, collect, NULL, &collection);
    if (r == 0)
        r = cairn_stats_get(heap, &picture.stats);
    r = finish(&picture, &collection, r);
    if (r == 0)
        *ret_picture = picture;
    return r;
}

int picture_take_section(const cairn_client_options *options, const char *heap, const cairn_server_section *section,
                         struct picture *ret_picture)
{
    struct picture picture = {.stats = {.bytes_live = section->bytes_live,
                                        .blocks_live = section->blocks,
                                        .bytes_committed = section->bytes,
                                        .unit_bytes = section->unit_bytes,
                                        .units_address = (uint64_t)(uintptr_t)section->address}};
    struct collection collection = {0};
    int r = cairn_server_span_walk(options, heap, section->address, collect, &collection);

    r = finish(&picture, &collection, r);
    if (r == 0)
        *ret_picture = picture;
    return r;
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

/* The smallest cell: finer than the smallest blocks that are common shows nothing more. */
#define CELL_BYTES_MIN 64

/* A slab's tone begins as empty; what is live in it is known when all spans and blocks have been added. */
static enum tone tone_of_span(const cairn_span *span)
{
    switch (span->kind) {
    case CAIRN_SPAN_FREE:
        return TONE_FREE;
    case CAIRN_SPAN_SLAB:
        return TONE_SLAB_EMPTY;
    case CAIRN_SPAN_ORPHAN:
        return TONE_ORPHAN_EMPTY;
    case CAIRN_SPAN_LARGE:
        return TONE_LARGE;
    case CAIRN_SPAN_BUSY:
        return TONE_BUSY;
    case CAIRN_SPAN_OTHER:
        break;
    }
    return TONE_OTHER;
}

static enum tone shade(enum tone empty, uint64_t bytes_slab, uint64_t bytes_live)
{
    if (bytes_live == 0)
        return empty;
    if (3 * bytes_live <= bytes_slab)
        return empty + 1;
    return 3 * bytes_live <= 2 * bytes_slab ? empty + 2 : empty + 3;
}

struct cutting {
    const struct picture *picture;
    struct cell *cells;
    size_t count;
    uint64_t cell_bytes;
    uint64_t *bytes; /* [cell * TONE_COUNT + tone]: how much of a cell has which tone */
    bool by_blocks;  /* cells are smaller than units: what is live is told block by block */
};

/* Calls of add_... for each cell that a range of addresses touches, with the bytes of it that lie in the cell. */
typedef void add_fn(struct cutting *cutting, size_t cell, uint64_t bytes, const cairn_span *span);

static void add_range(struct cutting *cutting, const void *address, uint64_t bytes, add_fn *add, const cairn_span *span)
{
    uint64_t begin = (uint64_t)(uintptr_t)address - cutting->picture->address, end = begin + bytes;

    /* The heap may have changed since its extent was read: what lies outside is not drawn. */
    for (uint64_t c = begin / cutting->cell_bytes; c < cutting->count && c * cutting->cell_bytes < end; c++) {
        uint64_t cell_begin = c * cutting->cell_bytes, cell_end = cell_begin + cutting->cell_bytes;
        uint64_t from = begin > cell_begin ? begin : cell_begin, to = end < cell_end ? end : cell_end;

        add(cutting, (size_t)c, to - from, span);
    }
}

/* The tone with the most bytes wins, so that a cell of a hundred slabs and one free unit looks like slabs. */
static void add_span(struct cutting *cutting, size_t c, uint64_t bytes, const cairn_span *span)
{
    struct cell *cell = &cutting->cells[c];
    uint64_t *of_tone = &cutting->bytes[c * TONE_COUNT + tone_of_span(span)];

    cell->spans++;
    if (span->kind == CAIRN_SPAN_FREE)
        cell->bytes_free += bytes;
    if (is_slab(span)) {
        cell->bytes_slab += bytes;
        if (!cutting->by_blocks && span->bytes > 0)
            cell->bytes_live += span->blocks_live * span->block_bytes * bytes / span->bytes;
    }
    *of_tone += bytes;
    if (*of_tone >= cutting->bytes[c * TONE_COUNT + cell->tone]) {
        cell->tone = tone_of_span(span);
        cell->span = span;
    }
}

static void add_live(struct cutting *cutting, size_t c, uint64_t bytes, const cairn_span *span)
{
    (void)span;
    cutting->cells[c].bytes_live += bytes;
}

static int add_block(void *block, size_t bytes, void *arg)
{
    add_range(arg, block, bytes, add_live, NULL);
    return 0;
}

static int pass_span(const cairn_span *span, void *arg)
{
    (void)span;
    (void)arg;
    return 0;
}

static bool fill_cells(struct cutting *cutting)
{
    const struct picture *picture = cutting->picture;

    for (size_t i = 0; i < picture->span_count; i++)
        add_range(cutting, picture->spans[i].address, picture->spans[i].bytes, add_span, &picture->spans[i]);
    if (cutting->by_blocks && cairn_walk(picture->heap, pass_span, add_block, cutting) < 0)
        return false;

    for (size_t c = 0; c < cutting->count; c++) {
        struct cell *cell = &cutting->cells[c];

        cell->address = picture->address + c * cutting->cell_bytes;
        cell->bytes = c + 1 < cutting->count ? cutting->cell_bytes : picture->bytes - c * cutting->cell_bytes;
        if (cell->tone == TONE_SLAB_EMPTY || cell->tone == TONE_ORPHAN_EMPTY)
            cell->tone = shade(cell->tone, cell->bytes_slab, cell->bytes_live);
    }
    return true;
}

size_t picture_cells(const struct picture *picture, size_t cells_max, uint64_t *ret_cell_bytes, struct cell **ret_cells)
{
    struct cutting cutting = {.picture = picture, .cell_bytes = CELL_BYTES_MIN};
    bool filled = false;

    if (picture->bytes == 0 || cells_max == 0)
        return 0;
    while ((picture->bytes + cutting.cell_bytes - 1) / cutting.cell_bytes > cells_max)
        cutting.cell_bytes *= 2;
    cutting.count = (size_t)((picture->bytes + cutting.cell_bytes - 1) / cutting.cell_bytes);
    cutting.by_blocks = picture->heap && cutting.cell_bytes < picture->stats.unit_bytes;

    cutting.cells = calloc(cutting.count, sizeof *cutting.cells);
    cutting.bytes = calloc(cutting.count * TONE_COUNT, sizeof *cutting.bytes);
    if (cutting.cells && cutting.bytes)
        filled = fill_cells(&cutting);
    free(cutting.bytes);
    if (!filled) {
        free(cutting.cells);
        return 0;
    }
    *ret_cell_bytes = cutting.cell_bytes;
    *ret_cells = cutting.cells;
    return cutting.count;
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

const struct legend_entry picture_legend[] = {
    {"free", TONE_FREE, 1},
    {"slab, from empty to full", TONE_SLAB_EMPTY, 4},
    {"slab without an owner", TONE_ORPHAN_EMPTY, 4},
    {"large block", TONE_LARGE, 1},
    {"changing hands", TONE_BUSY, 1},
    {"other heap", TONE_OTHER, 1},
};
const size_t picture_legend_count = sizeof picture_legend / sizeof picture_legend[0];
