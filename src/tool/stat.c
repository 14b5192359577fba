/* SPDX-License-Identifier: MIT */
#include "published.h"
#include "section.h"
#include "text.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The members of cairn_stats by their names in the header, which are also their names in the JSON. */
static const struct {
    const char *name;
    size_t offset;
} members[] = {
#define MEMBER(name)                                                                                                   \
    {                                                                                                                  \
#name, offsetof(cairn_stats, name)                                                                             \
    }
    MEMBER(bytes_live),     MEMBER(blocks_live), MEMBER(bytes_committed), MEMBER(bytes_committed_peak),
    MEMBER(bytes_reserved), MEMBER(bytes_max),   MEMBER(bytes_free),      MEMBER(bytes_free_run),
    MEMBER(growths),        MEMBER(slabs),       MEMBER(large),           MEMBER(orphans),
    MEMBER(owners),         MEMBER(processes),   MEMBER(attaches),        MEMBER(unit_bytes),
#undef MEMBER
};

struct root_list {
    const char *separator;
    unsigned count;
};

static int print_root_json(const char *name, void *block, void *arg)
{
    struct root_list *list = arg;

    printf("%s{\"name\":", list->separator);
    text_json(stdout, name);
    printf(",\"address\":\"0x%" PRIxPTR "\"}", (uintptr_t)block);
    list->separator = ",";
    return 0;
}

static int print_root(const char *name, void *block, void *arg)
{
    struct root_list *list = arg;

    printf("%-11s ", list->count++ == 0 ? "roots" : "");
    text_name(stdout, name);
    printf(" -> %p\n", block);
    return 0;
}

static int print_class_json(const cairn_class *blocks, void *arg)
{
    const char **separator = arg;

    printf("%s{\"block_bytes\":%" PRIu64 ",\"bytes_live\":%" PRIu64 ",\"blocks_live\":%" PRIu64 ",\"blocks\":%" PRIu64
           ",\"spans\":%" PRIu64 ",\"span_bytes\":%" PRIu64 "}",
           *separator, blocks->block_bytes, blocks->bytes_live, blocks->blocks_live, blocks->blocks, blocks->spans,
           blocks->span_bytes);
    *separator = ",\n";
    return 0;
}

/* What is live beside what the spans take tells where memory lies in free blocks. */
static int print_class(const cairn_class *blocks, void *arg)
{
    bool *first = arg;

    if (*first)
        printf("%-11s %10s %12s %12s %10s %10s\n", "classes", "block", "live blocks", "live", "spans", "in spans");
    *first = false;
    printf("%-11s %10s %12s %12s %10s %10s\n", "", blocks->block_bytes ? text_bytes(blocks->block_bytes).text : "large",
           text_count(blocks->blocks_live).text, text_bytes(blocks->bytes_live).text, text_count(blocks->spans).text,
           text_bytes(blocks->span_bytes).text);
    return 0;
}

/* 1 - longest free run / all that is free, in thousandths: 0 when one block could have it all. */
static unsigned external_fragmentation(const cairn_stats *stats)
{
    if (!stats->bytes_free)
        return 0;
    return (unsigned)(1000 - (double)stats->bytes_free_run / (double)stats->bytes_free * 1000 + 0.5);
}

static void print_json(const char *name, cairn_heap *heap, const cairn_stats *stats)
{
    struct root_list list = {.separator = ""};

    fputs("{\"schema\":\"cairn.stat/1\",\"name\":", stdout);
    text_json(stdout, name);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        uint64_t value;

        memcpy(&value, (const char *)stats + members[i].offset, sizeof value);
        printf(",\n\"%s\":%" PRIu64, members[i].name, value);
    }
    unsigned thousandths = external_fragmentation(stats);
    const char *separator = "";
    printf(",\n\"external_fragmentation\":%u.%03u,\n\"classes\":[", thousandths / 1000, thousandths % 1000);
    cairn_class_walk(heap, print_class_json, &separator);
    putchar(']');
    /* Addresses are text: a JSON number need not hold 64 bits. */
    printf(",\n\"address\":\"0x%" PRIx64 "\",\n\"units_address\":\"0x%" PRIx64 "\",\n\"roots\":[", stats->address,
           stats->units_address);
    cairn_root_walk(heap, print_root_json, &list);
    puts("]}");
}

static void print_text(const char *name, cairn_heap *heap, const cairn_stats *stats)
{
    struct root_list list = {0};

    text_name(stdout, name);
    putchar('\n');
    printf("live        %s in %s block%s\n", text_bytes(stats->bytes_live).text, text_count(stats->blocks_live).text,
           text_plural(stats->blocks_live));
    printf("committed   %s", text_bytes(stats->bytes_committed).text);
    if (stats->bytes_max)
        printf(" of at most %s", text_bytes(stats->bytes_max).text);
    printf(", peak %s, after %s growth step%s\n", text_bytes(stats->bytes_committed_peak).text,
           text_count(stats->growths).text, text_plural(stats->growths));
    unsigned thousandths = external_fragmentation(stats);
    printf("free        %s in whole units, longest run %s: external fragmentation %u.%u %%\n",
           text_bytes(stats->bytes_free).text, text_bytes(stats->bytes_free_run).text, thousandths / 10,
           thousandths % 10);
    printf("slabs       %s, of which %s without an owner; %s large block%s\n", text_count(stats->slabs).text,
           text_count(stats->orphans).text, text_count(stats->large).text, text_plural(stats->large));
    printf("processes   %" PRIu64 " attached for writing now, %s ever; %" PRIu64 " thread%s own%s memory\n",
           stats->processes, text_count(stats->attaches).text, stats->owners, text_plural(stats->owners),
           stats->owners == 1 ? "s" : "");
    printf("address     0x%" PRIx64 ", %s reserved; blocks from 0x%" PRIx64 " in units of %s\n", stats->address,
           text_bytes(stats->bytes_reserved).text, stats->units_address, text_bytes(stats->unit_bytes).text);
    bool first = true;
    cairn_class_walk(heap, print_class, &first);
    cairn_root_walk(heap, print_root, &list);
    if (list.count == 0)
        puts("roots       none");
}

int command_stat(const struct tool_args *args)
{
    if (args->server)
        return server_stat(args);

    const char *name = args->operands[0];
    cairn_section *section = tool_open_section(args, name);

    if (section) {
        int said = section_stat(args, name, section);

        cairn_section_close(section);
        return said;
    }
    return heap_stat(args, name);
}

int heap_stat(const struct tool_args *args, const char *name)
{
    cairn_stats stats = {.size = sizeof stats};
    cairn_reader_info info;
    int error;
    int code = TOOL_FINE;

    if (!tool_has_heap(args, name) && published_is(args, name, &error, &info))
        return published_stat(args, name, error, &info);
    cairn_heap *heap = tool_open(args, name);

    if (!heap)
        return TOOL_FAILED;
    if (cairn_stats_get(heap, &stats) < 0)
        code = tool_fail_heap();
    else if (args->json)
        print_json(name, heap, &stats);
    else
        print_text(name, heap, &stats);
    cairn_heap_close(heap);
    return code;
}
