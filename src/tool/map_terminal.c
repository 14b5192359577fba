/* SPDX-License-Identifier: MIT */
/*
 * The map on a terminal. In colour each character is an upper half block with two colours, so that a line shows two
 * rows of cells. Without colour a character is one cell, and its shape says what the colour would.
 */
#include "picture.h"
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define AXIS_COLUMNS 15 /* "0x400000000000 " */

static const struct {
    short colour; /* of the 256 that terminals agree on */
    const char *block;
    char letter; /* where the character set has no block elements */
} looks[TONE_COUNT] = {
    [TONE_NONE] = {-1, " ", ' '},
    [TONE_FREE] = {240, "\xc2\xb7", '.'},            /* middle dot */
    [TONE_SLAB_EMPTY] = {23, "\xe2\x96\x91", '0'},   /* light shade */
    [TONE_SLAB_THIRD] = {30, "\xe2\x96\x92", '1'},   /* medium shade */
    [TONE_SLAB_MOST] = {37, "\xe2\x96\x93", '2'},    /* dark shade */
    [TONE_SLAB_FULL] = {80, "\xe2\x96\x88", '3'},    /* full block */
    [TONE_ORPHAN_EMPTY] = {54, "\xe2\x96\x91", '0'}, /* without colour, how full it is matters more than whose */
    [TONE_ORPHAN_THIRD] = {97, "\xe2\x96\x92", '1'},
    [TONE_ORPHAN_MOST] = {140, "\xe2\x96\x93", '2'},
    [TONE_ORPHAN_FULL] = {183, "\xe2\x96\x88", '3'},
    [TONE_LARGE] = {214, "L", 'L'},
    [TONE_BUSY] = {228, "?", '?'},
    [TONE_OTHER] = {175, "x", 'x'},
};

static void set_colour(FILE *file, bool background, short colour)
{
    if (colour >= 0)
        fprintf(file, "\033[%d;5;%dm", background ? 48 : 38, colour);
    else
        fprintf(file, "\033[%dm", background ? 49 : 39);
}

/* A power of two, so that each line begins at a round address. */
static size_t cells_per_row(int columns)
{
    size_t cells = 16;

    while (cells * 2 + AXIS_COLUMNS <= (size_t)(columns > 0 ? columns : 0) && cells < 256)
        cells *= 2;
    return cells;
}

static void draw_colour_line(FILE *file, const struct cell *cells, size_t count, size_t first, size_t width)
{
    short upper_now = -2, lower_now = -2;

    for (size_t c = first; c < first + width && c < count; c++) {
        short upper = looks[cells[c].tone].colour;
        short lower = c + width < count ? looks[cells[c + width].tone].colour : -1;

        if (upper != upper_now)
            set_colour(file, false, upper);
        if (lower != lower_now)
            set_colour(file, true, lower);
        fputs("\xe2\x96\x80", file); /* upper half block */
        upper_now = upper;
        lower_now = lower;
    }
    fputs("\033[0m", file);
}

static void draw_plain_line(FILE *file, const struct cell *cells, size_t count, size_t first, size_t width)
{
    bool blocks = text_has_blocks();

    for (size_t c = first; c < first + width && c < count; c++) {
        if (blocks)
            fputs(looks[cells[c].tone].block, file);
        else
            fputc(looks[cells[c].tone].letter, file);
    }
}

int map_draw_rows(FILE *file, const struct picture *picture, int columns, int lines_max)
{
    bool colour = text_has_colour() && text_has_blocks();
    size_t width = cells_per_row(columns), step = colour ? 2 * width : width;
    struct cell *cells;
    uint64_t cell_bytes;
    size_t count = picture_cells(picture, (size_t)lines_max * step, &cell_bytes, &cells);
    const char *end = text_is_terminal() ? "\033[K\n" : "\n";
    int lines = 0;

    if (count == 0) {
        fprintf(file, "nothing has been allocated yet%s", end);
        return 1;
    }
    for (size_t first = 0; first < count; first += step, lines++) {
        fprintf(file, "0x%012" PRIx64 " ", cells[first].address);
        if (colour)
            draw_colour_line(file, cells, count, first, width);
        else
            draw_plain_line(file, cells, count, first, width);
        fputs(end, file);
    }
    fprintf(file, "%*s 1 cell = %s, 1 line = %s%s", AXIS_COLUMNS - 1, "", text_bytes(cell_bytes).text,
            text_bytes(cell_bytes * step).text, end);
    free(cells);
    return lines + 1;
}

/* Draws an entry of the legend; returns how many columns it took. */
static int draw_entry(FILE *file, const struct legend_entry *entry, bool colour)
{
    int shades = entry->shades > 1 || !colour ? entry->shades : 2; /* one colour needs more room to be seen */

    for (int n = 0; n < shades; n++) {
        enum tone tone = entry->shades > 1 ? entry->first + (enum tone)n : entry->first;

        if (colour) {
            set_colour(file, false, looks[tone].colour);
            fputs("\xe2\x96\x88", file); /* full block */
        } else if (text_has_blocks()) {
            fputs(looks[tone].block, file);
        } else {
            fputc(looks[tone].letter, file);
        }
    }
    fprintf(file, "%s %s", colour ? "\033[0m" : "", entry->text);
    return shades + 1 + (int)strlen(entry->text);
}

void map_draw_legend(FILE *file, int columns)
{
    bool colour = text_has_colour() && text_has_blocks();
    int column = 0;

    for (size_t i = 0; i < picture_legend_count; i++) {
        const struct legend_entry *entry = &picture_legend[i];

        if (!colour && entry->first == TONE_ORPHAN_EMPTY)
            continue; /* looks like any other slab */
        if (column > 0 && column + 3 + entry->shades + 2 + (int)strlen(entry->text) > columns) {
            fputc('\n', file);
            column = 0;
        } else if (column > 0) {
            column += fprintf(file, "   ");
        }
        column += draw_entry(file, entry, colour);
    }
    fputc('\n', file);
}
