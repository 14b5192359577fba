/* SPDX-License-Identifier: MIT */
#include "picture.h"
#include "published.h"
#include "section.h"
#include "text.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void map_print_spans_json(const struct picture *picture)
{
    fputs("\"spans\":[", stdout);
    for (size_t i = 0; i < picture->span_count; i++) {
        const cairn_span *span = &picture->spans[i];

        printf("%s\n{\"kind\":\"%s\",\"address\":\"0x%" PRIxPTR "\",\"bytes\":%" PRIu64, i > 0 ? "," : "",
               picture_kind_name(span->kind), (uintptr_t)span->address, span->bytes);
        if (span->kind != CAIRN_SPAN_FREE)
            printf(",\"owner\":%" PRIu32 ",\"block_bytes\":%" PRIu64 ",\"blocks\":%" PRIu32 ",\"blocks_live\":%" PRIu32,
                   span->owner, span->block_bytes, span->blocks, span->blocks_live);
        putchar('}');
    }
    putchar(']');
}

static void print_json(const char *name, const struct picture *picture)
{
    fputs("{\"schema\":\"cairn.map/1\",\"name\":", stdout);
    text_json(stdout, name);
    printf(",\n\"address\":\"0x%" PRIx64 "\",\"bytes\":%" PRIu64 ",\"unit_bytes\":%" PRIu64 ",\n\"bytes_live\":%" PRIu64
           ",\"blocks_live\":%" PRIu64 ",\"bytes_committed\":%" PRIu64 ",\n\"free_bytes\":%" PRIu64
           ",\"free_runs\":%" PRIu64 ",\"free_run_largest\":%" PRIu64 ",\"fragmentation\":%.4f,\n",
           picture->address, picture->bytes, picture->stats.unit_bytes, picture->stats.bytes_live,
           picture->stats.blocks_live, picture->stats.bytes_committed, picture->free_bytes, picture->free_runs,
           picture->free_run_largest, picture_fragmentation(picture));
    map_print_spans_json(picture);
    puts("}");
}

/* The free runs, and rows of cells. */
void map_print_picture(const struct picture *picture, int lines_max)
{
    int columns, lines;

    text_terminal_size(&columns, &lines);
    printf("%s free in %s run%s, largest %s, fragmentation %.2f\n\n", text_bytes(picture->free_bytes).text,
           text_count(picture->free_runs).text, text_plural(picture->free_runs),
           text_bytes(picture->free_run_largest).text, picture_fragmentation(picture));
    map_draw_rows(stdout, picture, columns, lines_max);
    putchar('\n');
}

static void print_terminal(const char *name, const struct picture *picture)
{
    int columns, lines;

    text_terminal_size(&columns, &lines);
    text_name(stdout, name);
    printf(": %s used in %s block%s, %s committed\n", text_bytes(picture->stats.bytes_live).text,
           text_count(picture->stats.blocks_live).text, text_plural(picture->stats.blocks_live),
           text_bytes(picture->stats.bytes_committed).text);
    map_print_picture(picture, lines > 16 ? lines - 8 : 8);
    map_draw_legend(stdout, columns);
}

int map_write_svg(const struct tool_args *args, const char *name, const struct picture *picture)
{
    FILE *file = stdout;
    bool failed;

    if (args->svg_file) {
        file = fopen(args->svg_file, "we");
        if (!file)
            return tool_fail("%s: %s", args->svg_file, strerror(errno));
    }
    map_draw_svg(file, name, picture);
    if (!args->svg_file)
        return TOOL_FINE; /* main looks after standard output */
    failed = ferror(file);
    if (fclose(file) != 0 || failed)
        return tool_fail("%s: cannot be written", args->svg_file);
    return TOOL_FINE;
}

int command_map(const struct tool_args *args)
{
    if (args->server)
        return server_map(args);

    const char *name = args->operands[0];
    cairn_section *section = tool_open_section(args, name);

    if (section) {
        int said = section_map(args, name, section);

        cairn_section_close(section);
        return said;
    }
    return heap_map(args, name);
}

int heap_map(const struct tool_args *args, const char *name)
{
    struct picture picture;
    cairn_reader_info info;
    int code = TOOL_FINE;
    int r;

    if (!tool_has_heap(args, name) && published_is(args, name, &r, &info))
        return published_refuse(name, r, "drawn");
    cairn_heap *heap = tool_open(args, name);

    if (!heap)
        return TOOL_FAILED;
    r = picture_take(heap, &picture);
    if (r < 0) {
        code = r == -ENOMEM ? tool_fail("no memory for the picture") : tool_fail_heap();
        cairn_heap_close(heap);
        return code;
    }

    if (args->json)
        print_json(name, &picture);
    else if (args->svg)
        code = map_write_svg(args, name, &picture);
    else
        print_terminal(name, &picture);
    picture_release(&picture);
    cairn_heap_close(heap);
    return code;
}
