/* SPDX-License-Identifier: MIT */
/*
 * The map as one SVG file that needs nothing else: a title, a line of numbers, a legend, the cells with a tooltip each,
 * and below them two small charts that answer the usual questions: "how large may my next block be?" (free runs by
 * size) and "where is the waste?" (slabs by block size, with the part that is live).
 *
 * Colours are classes, so that a dark page is one media query. Viewers that know no media queries show the light one.
 */
#include "picture.h"
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 64
#define ROWS_MAX 32
#define PITCH 15 /* of a cell, its gap included */
#define CELL 14
#define MARGIN 32
#define AXIS 92
#define WIDTH (2 * MARGIN + AXIS + COLUMNS * PITCH)
#define MAP_TOP 142
#define CHART_HEIGHT 110
#define CHART_GAP 48
#define CHART_WIDTH ((WIDTH - 2 * MARGIN - CHART_GAP) / 2)

static const char style[] =
    "<style>\n"
    "text{font-family:system-ui,-apple-system,\"Segoe UI\",\"DejaVu Sans\",sans-serif;font-size:13px;fill:#1f2328}\n"
    ".title{font-size:22px;font-weight:600}.soft{fill:#59636e}.small{font-size:11px}\n"
    ".axis{font-family:ui-monospace,\"DejaVu Sans Mono\",monospace;font-size:11px;fill:#59636e;text-anchor:end}\n"
    ".mid{text-anchor:middle}.page{fill:#fff}.line{stroke:#d1d9e0}\n"
    ".t1{fill:#e6eaef}.t2{fill:#d3ece8}.t3{fill:#86cbc2}.t4{fill:#3fa397}.t5{fill:#14756a}\n"
    ".t6{fill:#e6dcf3}.t7{fill:#c4aee4}.t8{fill:#9d78d3}.t9{fill:#6b43a6}\n"
    ".t10{fill:#ef9f36}.t11{fill:#e9cf3a}.t12{fill:#dd8aac}\n"
    ".cell:hover{stroke:#1f2328;stroke-width:1.5}\n"
    "@media "
    "(prefers-color-scheme:dark){text{fill:#e6edf3}.soft,.axis{fill:#9198a1}.page{fill:#0d1117}.line{stroke:#3d444d}\n"
    ".t1{fill:#21262d}.t2{fill:#123a36}.t3{fill:#1c6b62}.t4{fill:#2c9a8d}.t5{fill:#56d6c6}\n"
    ".t6{fill:#2f2344}.t7{fill:#553b7f}.t8{fill:#8560bd}.t9{fill:#b999ea}\n"
    ".t10{fill:#e08e25}.t11{fill:#d9c035}.t12{fill:#c9769a}.cell:hover{stroke:#e6edf3}}\n"
    "</style>\n";

static void draw_header(FILE *file, const char *name, const struct picture *picture)
{
    const cairn_stats *stats = &picture->stats;

    fprintf(file, "<text class=\"title\" x=\"%d\" y=\"46\">", MARGIN);
    text_xml(file, name);
    fputs("</text>\n", file);
    fprintf(file,
            "<text x=\"%d\" y=\"74\">%s used in %s block%s \302\267 %s committed \302\267 %s free in %s run%s, largest "
            "%s \302\267 "
            "fragmentation %.2f</text>\n",
            MARGIN, text_bytes(stats->bytes_live).text, text_count(stats->blocks_live).text,
            text_plural(stats->blocks_live), text_bytes(stats->bytes_committed).text,
            text_bytes(picture->free_bytes).text, text_count(picture->free_runs).text, text_plural(picture->free_runs),
            text_bytes(picture->free_run_largest).text, picture_fragmentation(picture));
}

static void draw_legend(FILE *file, uint64_t address, uint64_t cell_bytes)
{
    int x = MARGIN;

    for (size_t i = 0; i < picture_legend_count; i++) {
        const struct legend_entry *entry = &picture_legend[i];

        for (int n = 0; n < entry->shades; n++, x += CELL + 1)
            fprintf(file, "<rect class=\"t%d\" x=\"%d\" y=\"94\" width=\"%d\" height=\"%d\" rx=\"2\"/>",
                    (int)entry->first + n, x, CELL, CELL);
        fprintf(file, "<text class=\"soft\" x=\"%d\" y=\"106\">%s</text>\n", x + 6, entry->text);
        /* How wide the text is depends on the reader's font: leave room by the number of its letters. */
        x += 30 + 7 * (int)strlen(entry->text);
    }
    if (cell_bytes)
        fprintf(file,
                "<text class=\"soft small\" x=\"%d\" y=\"130\">from 0x%" PRIx64 "; one cell is %s, one row %s</text>\n",
                MARGIN + AXIS, address, text_bytes(cell_bytes).text, text_bytes(cell_bytes * COLUMNS).text);
}

static void draw_tooltip(FILE *file, const struct cell *cell)
{
    const cairn_span *span = cell->span;

    fprintf(file, "<title>0x%" PRIx64 ", %s", cell->address, text_bytes(cell->bytes).text);
    if (!span) {
        fputs("</title>", file);
        return;
    }
    if (cell->bytes_slab > 0)
        fprintf(file, "\n%s of it in live blocks of slabs", text_bytes(cell->bytes_live).text);
    if (cell->spans > 1)
        fprintf(file, "\n%" PRIu32 " spans, %s free; the largest:", cell->spans, text_bytes(cell->bytes_free).text);
    fprintf(file, "\n%s at 0x%" PRIxPTR ", %s", picture_kind_name(span->kind), (uintptr_t)span->address,
            text_bytes(span->bytes).text);
    if (span->kind == CAIRN_SPAN_SLAB || span->kind == CAIRN_SPAN_ORPHAN)
        fprintf(file, "\n%s of %s blocks of %s live", text_count(span->blocks_live).text, text_count(span->blocks).text,
                text_bytes(span->block_bytes).text);
    else if (span->kind == CAIRN_SPAN_LARGE)
        fprintf(file, "\none block, %s usable", text_bytes(span->block_bytes).text);
    if (span->kind == CAIRN_SPAN_SLAB && span->owner)
        fprintf(file, "\nowner %" PRIu32, span->owner);
    fputs("</title>", file);
}

static void draw_cells(FILE *file, const struct picture *picture, const struct cell *cells, size_t count)
{
    for (size_t c = 0; c < count; c++) {
        int x = MARGIN + AXIS + (int)(c % COLUMNS) * PITCH, y = MAP_TOP + (int)(c / COLUMNS) * PITCH;

        if (c % COLUMNS == 0)
            fprintf(file, "<text class=\"axis\" x=\"%d\" y=\"%d\">+%s</text>\n", MARGIN + AXIS - 10, y + CELL - 3,
                    text_bytes(cells[c].address - picture->address).text);
        fprintf(file, "<rect class=\"cell t%d\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"2\">",
                (int)cells[c].tone, x, y, CELL, CELL);
        draw_tooltip(file, &cells[c]);
        fputs("</rect>\n", file);
    }
}

static void draw_frame(FILE *file, int x, int y, const char *title)
{
    fprintf(file, "<text x=\"%d\" y=\"%d\">%s</text>\n", x, y, title);
    fprintf(file, "<line class=\"line\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", x, y + CHART_HEIGHT + 12,
            x + CHART_WIDTH, y + CHART_HEIGHT + 12);
}

/* A bar of a chart whose axis is at y; live is the part of it that is painted strong. */
static void draw_bar(FILE *file, int x, int y, int width, double share, double live, enum tone weak, enum tone strong)
{
    double height = share * (CHART_HEIGHT - 24);

    if (share > 0 && height < 2)
        height = 2;
    fprintf(file, "<rect class=\"t%d\" x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\"/>", (int)weak, x, y - height,
            width, height);
    if (live > 0)
        fprintf(file, "<rect class=\"t%d\" x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\"/>", (int)strong, x,
                y - height * live, width, height * live);
}

static void draw_runs_chart(FILE *file, const struct picture *picture, int x, int y)
{
    int first = -1, last = 0, pitch;
    uint64_t most = 1;

    for (int n = 0; n < PICTURE_RUN_SIZES; n++) {
        if (picture->runs_by_size[n] == 0)
            continue;
        first = first < 0 ? n : first;
        last = n;
        most = picture->runs_by_size[n] > most ? picture->runs_by_size[n] : most;
    }
    draw_frame(file, x, y, "Free runs by size: how large may the next block be?");
    if (first < 0) {
        fprintf(
            file,
            "<text class=\"soft small\" x=\"%d\" y=\"%d\">none below the highest used address: the next one grows the "
            "heap</text>\n",
            x, y + 28);
        return;
    }
    pitch = CHART_WIDTH / (last - first + 1);
    pitch = pitch > 72 ? 72 : pitch;
    for (int n = first; n <= last; n++) {
        int left = x + (n - first) * pitch, axis = y + CHART_HEIGHT + 12;
        double share = (double)picture->runs_by_size[n] / (double)most;

        fprintf(file, "<g><title>%s free run%s from %s to below %s</title>", text_count(picture->runs_by_size[n]).text,
                text_plural(picture->runs_by_size[n]), text_bytes(UINT64_C(1) << n).text,
                text_bytes(UINT64_C(2) << n).text);
        draw_bar(file, left + 2, axis, pitch - 4, share, 0, TONE_SLAB_MOST, TONE_SLAB_FULL);
        if (picture->runs_by_size[n])
            fprintf(file, "<text class=\"small mid\" x=\"%d\" y=\"%.1f\">%s</text>", left + pitch / 2,
                    axis - share * (CHART_HEIGHT - 24) - 5, text_count(picture->runs_by_size[n]).text);
        fprintf(file, "<text class=\"small soft mid\" x=\"%d\" y=\"%d\">%s</text></g>\n", left + pitch / 2, axis + 15,
                text_bytes(UINT64_C(1) << n).text);
    }
}

static void draw_classes_chart(FILE *file, const struct picture *picture, int x, int y)
{
    int pitch, label_every;
    uint64_t most = 1;

    draw_frame(file, x, y, "Slabs by block size: room, and the part that is live");
    if (picture->class_count == 0) {
        fprintf(file, "<text class=\"soft small\" x=\"%d\" y=\"%d\">none</text>\n", x, y + 28);
        return;
    }
    for (size_t i = 0; i < picture->class_count; i++) {
        uint64_t room = picture->classes[i].blocks * picture->classes[i].block_bytes;

        most = room > most ? room : most;
    }
    pitch = CHART_WIDTH / (int)picture->class_count;
    pitch = pitch > 72 ? 72 : pitch < 3 ? 3 : pitch;
    label_every = (56 + pitch - 1) / pitch;
    for (size_t i = 0; i < picture->class_count; i++) {
        const struct picture_class *class = &picture->classes[i];
        int left = x + (int)i * pitch, axis = y + CHART_HEIGHT + 12;
        double room = (double)(class->blocks * class->block_bytes);

        fprintf(file, "<g><title>blocks of %s: %s of %s live in %s slab%s</title>", text_bytes(class->block_bytes).text,
                text_count(class->blocks_live).text, text_count(class->blocks).text, text_count(class->slabs).text,
                text_plural(class->slabs));
        draw_bar(file, left + 1, axis, pitch > 4 ? pitch - 2 : pitch, room / (double)most,
                 class->blocks ? (double)class->blocks_live / (double)class->blocks : 0, TONE_SLAB_EMPTY,
                 TONE_SLAB_FULL);
        if (i % (size_t)label_every == 0)
            fprintf(file, "<text class=\"small soft mid\" x=\"%d\" y=\"%d\">%s</text>", left + pitch / 2, axis + 15,
                    text_bytes(class->block_bytes).text);
        fputs("</g>\n", file);
    }
}

void map_draw_svg(FILE *file, const char *name, const struct picture *picture)
{
    uint64_t cell_bytes = 0;
    struct cell *cells = NULL;
    size_t count = picture_cells(picture, COLUMNS * ROWS_MAX, &cell_bytes, &cells);
    int rows = count > 0 ? (int)((count + COLUMNS - 1) / COLUMNS) : 1;
    int charts_top = MAP_TOP + rows * PITCH + 44, height = charts_top + CHART_HEIGHT + 12 + 20 + MARGIN;

    fprintf(
        file,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
        WIDTH, height, WIDTH, height);
    fputs("<title>Map of the cairn heap ", file);
    text_xml(file, name);
    fputs("</title>\n", file);
    fputs(style, file);
    fprintf(file, "<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", WIDTH, height);
    draw_header(file, name, picture);
    draw_legend(file, picture->address, cell_bytes);
    if (count > 0)
        draw_cells(file, picture, cells, count);
    else
        fprintf(file, "<text class=\"soft\" x=\"%d\" y=\"%d\">nothing has been allocated yet</text>\n", MARGIN,
                MAP_TOP + CELL);
    draw_runs_chart(file, picture, MARGIN, charts_top);
    draw_classes_chart(file, picture, MARGIN + CHART_WIDTH + CHART_GAP, charts_top);
    fputs("</svg>\n", file);
    free(cells);
}
