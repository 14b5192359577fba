/* SPDX-License-Identifier: MIT */
/* stat, map and check of a section without a heap in it: there is nothing to tell but what of it is committed. */
#include "section.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "text.h"

cairn_section *tool_open_section(const struct tool_args *args, const char *name)
{
    cairn_options options = {.directory = args->dir, .flags = CAIRN_READ_ONLY};
    cairn_section *section;

    return cairn_section_open(&section, name, &options) == 0 ? section : NULL;
}

struct runs {
    uint64_t bytes_max;
    uint64_t committed; /* bytes in all runs */
    uint64_t longest;
    uint64_t count;
};

/* Visits the runs that are committed, and counts them. */
static int walk(const cairn_section *section, void (*visit)(uint64_t offset, uint64_t bytes, void *arg), void *arg,
                struct runs *ret_runs)
{
    struct runs runs = {.bytes_max = cairn_section_bytes_max(section)};

    for (uint64_t at = 0, run; at < runs.bytes_max; at += run) {
        int state = cairn_section_query(section, at, &run);

        if (state < 0)
            return state;
        if (state == 0)
            continue;
        runs.count++;
        runs.committed += run;
        if (run > runs.longest)
            runs.longest = run;
        if (visit)
            visit(at, run, arg);
    }
    *ret_runs = runs;
    return 0;
}

static void print_run_json(uint64_t offset, uint64_t bytes, void *arg)
{
    const char **separator = arg;

    printf("%s{\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", *separator, offset, bytes);
    *separator = ",\n";
}

static void print_sizes(const char *name, const struct runs *runs)
{
    text_name(stdout, name);
    printf(": a section of at most %s, %s committed in %s run%s", text_bytes(runs->bytes_max).text,
           text_bytes(runs->committed).text, text_count(runs->count).text, text_plural(runs->count));
    if (runs->count > 1)
        printf(", the longest %s", text_bytes(runs->longest).text);
    putchar('\n');
}

static int print_json(const char *schema, const char *name, const cairn_section *section)
{
    struct runs runs;
    const char *separator = "";

    if (walk(section, NULL, NULL, &runs) < 0)
        return tool_fail_heap();
    printf("{\"schema\":\"%s\",\"name\":", schema);
    text_json(stdout, name);
    printf(",\n\"section\":true,\"bytes_committed\":%" PRIu64 ",\"bytes_max\":%" PRIu64 ",\n\"runs\":[", runs.committed,
           runs.bytes_max);
    if (walk(section, print_run_json, &separator, &runs) < 0)
        return tool_fail_heap();
    puts("]}");
    return TOOL_FINE;
}

int section_stat(const struct tool_args *args, const char *name, const cairn_section *section)
{
    struct runs runs;

    if (args->json)
        return print_json("cairn.stat/1", name, section);
    if (walk(section, NULL, NULL, &runs) < 0)
        return tool_fail_heap();
    print_sizes(name, &runs);
    return TOOL_FINE;
}

/* ---------------------------------------------------------------- the picture */

enum { CELLS_MAX = 4096 };

struct cells {
    uint64_t bytes_each;
    uint64_t committed[CELLS_MAX];
};

static void paint(uint64_t offset, uint64_t bytes, void *arg)
{
    struct cells *cells = arg;

    while (bytes > 0) {
        uint64_t cell = offset / cells->bytes_each;
        uint64_t here = (cell + 1) * cells->bytes_each - offset;

        if (here > bytes)
            here = bytes;
        cells->committed[cell] += here;
        offset += here;
        bytes -= here;
    }
}

int section_map(const struct tool_args *args, const char *name, const cairn_section *section)
{
    static struct cells cells;
    struct runs runs;
    int columns, lines;

    if (args->json)
        return print_json("cairn.map/1", name, section);
    if (args->svg)
        return tool_fail("%s: a section has no picture as SVG", name);
    text_terminal_size(&columns, &lines);
    columns = columns > 80 ? 64 : 32;
    lines = lines > 16 ? lines - 8 : 8;
    if (lines > CELLS_MAX / 64)
        lines = CELLS_MAX / 64;
    uint64_t count = (uint64_t)columns * (uint64_t)lines;
    uint64_t bytes_max = cairn_section_bytes_max(section);
    cells.bytes_each = 4096; /* the smallest power of two of which so many cells are enough */
    while (bytes_max > cells.bytes_each * count)
        cells.bytes_each *= 2;
    if (walk(section, paint, &cells, &runs) < 0)
        return tool_fail_heap();
    print_sizes(name, &runs);
    for (uint64_t i = 0; i * cells.bytes_each < bytes_max; i++) {
        uint64_t whole = bytes_max - i * cells.bytes_each;

        if (whole > cells.bytes_each)
            whole = cells.bytes_each;
        if (i % (uint64_t)columns == 0)
            printf("\n%12" PRIx64 " ", i * cells.bytes_each);
        putchar(cells.committed[i] == 0 ? '.' : cells.committed[i] < whole ? '+' : '#');
    }
    printf("\n\n%s a cell: # committed, + in part, . not\n", text_bytes(cells.bytes_each).text);
    return TOOL_FINE;
}

/* Its header was checked when it was opened; what is left is that each of its bytes has a state. */
int section_check(const struct tool_args *args, const char *name, const cairn_section *section)
{
    struct runs runs;
    int r = walk(section, NULL, NULL, &runs);

    if (args->json) {
        fputs("{\"schema\":\"cairn.check/1\",\"name\":", stdout);
        text_json(stdout, name);
        fputs(",\"findings\":[", stdout);
        if (r < 0) {
            putchar('\n');
            text_json(stdout, cairn_last_error());
        }
        printf("],\"count\":%d,\"section\":true}\n", r < 0);
    } else {
        text_name(stdout, name);
        puts(r < 0 ? ": damaged" : ": a section, sound");
    }
    return r < 0 ? TOOL_FAILED : TOOL_FINE;
}
