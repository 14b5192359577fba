/* SPDX-License-Identifier: MIT */
/*
 * What the map shows, before it is drawn: the spans of a heap in address order, facts about the free ones, and cells,
 * pieces of the address space of equal size with one tone each.
 *
 *     free_bytes = sum of the free runs        fragmentation = 1 - free_run_largest / free_bytes, 0 when nothing is
 * free
 */
#ifndef CAIRN_TOOL_PICTURE_H
#define CAIRN_TOOL_PICTURE_H

#include <cairn.h>
#include <cairn_client.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * How a cell is painted: by what most of its bytes are, and where they are slabs, by how much of them is live. A slab
 * without an owner has colours of its own: in a heap that nobody is attached to, every slab is one.
 */
enum tone {
    TONE_NONE, /* past the end: not painted */
    TONE_FREE,
    TONE_SLAB_EMPTY,
    TONE_SLAB_THIRD, /* up to a third is live */
    TONE_SLAB_MOST,
    TONE_SLAB_FULL, /* more than two thirds */
    TONE_ORPHAN_EMPTY,
    TONE_ORPHAN_THIRD,
    TONE_ORPHAN_MOST,
    TONE_ORPHAN_FULL,
    TONE_LARGE,
    TONE_BUSY,
    TONE_OTHER,
    TONE_COUNT
};

struct cell {
    enum tone tone;
    uint32_t spans;
    uint64_t address, bytes; /* all have equal bytes, but for the last */
    uint64_t bytes_free;     /* in free spans */
    uint64_t bytes_slab;     /* in slabs, owned or not */
    uint64_t bytes_live;     /* of those, in live blocks */
    const cairn_span *span;  /* the one with the most bytes in it */
};

/* The slabs of one block size. */
struct picture_class {
    uint64_t block_bytes;
    uint64_t slabs, blocks, blocks_live;
};

#define PICTURE_RUN_SIZES 48 /* counts of free runs by power of two; a run is below 2^48 bytes */

struct picture {
    cairn_heap *heap; /* the caller's: to be open while cells are cut; NULL: a section of a server's */
    cairn_stats stats;
    cairn_span *spans;
    size_t span_count;
    uint64_t address, bytes; /* from the first unit to the end of the last span */
    uint64_t free_bytes, free_runs, free_run_largest;
    uint64_t runs_by_size[PICTURE_RUN_SIZES]; /* [n]: of 2^n bytes and more, below 2^(n+1) */
    struct picture_class *classes;            /* ascending */
    size_t class_count;
};

/* Reads a heap. Returns 0 or a negative errno, with the reason in cairn_last_error() unless it is -ENOMEM. */
int picture_take(cairn_heap *heap, struct picture *ret_picture);
/* Reads one section of a heap that a server holds. */
int picture_take_section(const cairn_client_options *options, const char *heap, const cairn_server_section *section,
                         struct picture *ret_picture);
void picture_release(struct picture *picture);

double picture_fragmentation(const struct picture *picture);

/*
 * Cuts the picture into at most cells_max cells of a power of two bytes. A cell may be smaller than a unit: then the
 * heap is asked where its live blocks lie. Returns how many cells there are; *ret_cells belongs to the caller. Returns
 * 0 for an empty heap, or when there is no memory.
 */
size_t picture_cells(const struct picture *picture, size_t cells_max, uint64_t *ret_cell_bytes,
                     struct cell **ret_cells);

const char *picture_kind_name(cairn_span_kind kind); /* one word, as in the JSON */

/* The legend has an entry per kind; a kind that has shades shows them in order, from empty to full. */
struct legend_entry {
    const char *text;
    enum tone first;
    int shades;
};
extern const struct legend_entry picture_legend[];
extern const size_t picture_legend_count;

/* Draws rows of cells on a terminal, each with the address it begins at; returns how many lines it took. */
int map_draw_rows(FILE *file, const struct picture *picture, int columns, int lines_max);
void map_draw_legend(FILE *file, int columns);

/* Writes a whole SVG document. */
void map_draw_svg(FILE *file, const char *name, const struct picture *picture);

#endif
