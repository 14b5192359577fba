/* SPDX-License-Identifier: MIT */
#include "published.h"
#include "section.h"
#include "text.h"
#include "tool.h"

#include <errno.h>
#include <stdio.h>

struct findings {
    bool json;
    unsigned count;
};

static void print_finding(const char *finding, void *arg)
{
    struct findings *findings = arg;

    if (findings->json) {
        printf("%s\n", findings->count > 0 ? "," : "");
        text_json(stdout, finding);
    } else {
        text_name(stdout, finding);
        putchar('\n');
    }
    findings->count++;
}

/* Of what is no shared heap: true when it was dealt with, *ret_said is what to return. */
static bool is_something_else(const struct tool_args *args, const char *name, int *ret_said)
{
    cairn_reader_info info;
    int r;

    if (args->server)
        return false;
    cairn_section *section = tool_open_section(args, name);

    if (section) {
        *ret_said = section_check(args, name, section);
        cairn_section_close(section);
        return true;
    }
    if (tool_has_heap(args, name) || !published_is(args, name, &r, &info))
        return false;
    *ret_said = published_refuse(name, r, "checked");
    return true;
}

int command_check(const struct tool_args *args)
{
    const char *name = args->operands[0];
    struct findings findings = {.json = args->json};
    cairn_stats stats = {.size = sizeof stats};
    cairn_heap *heap;
    int r;

    if (is_something_else(args, name, &r))
        return r;
    /* A heap that is too damaged to be opened is a finding; one that is not there or not ours is a failure to check. */
    r = tool_try_open(args, name, CAIRN_DAMAGED_TOO, &heap);
    if (r < 0 && r != -EUCLEAN)
        return tool_fail_heap();

    if (args->json) {
        fputs("{\"schema\":\"cairn.check/1\",\"name\":", stdout);
        text_json(stdout, name);
        fputs(",\"findings\":[", stdout);
    }
    if (r < 0) {
        print_finding(cairn_last_error(), &findings);
    } else {
        if (cairn_stats_get(heap, &stats) < 0)
            stats = (cairn_stats){0};
        r = cairn_check(heap, print_finding, &findings);
        if (r < 0)
            print_finding(cairn_last_error(), &findings);
        cairn_heap_close(heap);
    }

    if (args->json) {
        printf("],\"count\":%u,\"processes\":%llu}\n", findings.count, (unsigned long long)stats.processes);
    } else {
        text_name(stdout, name);
        if (findings.count > 0)
            printf(": %u finding%s\n", findings.count, text_plural(findings.count));
        else if (stats.processes > 0)
            printf(": sound, as far as can be seen while %llu process%s may be at work in it\n",
                   (unsigned long long)stats.processes, stats.processes == 1 ? "" : "es");
        else
            puts(": sound");
    }
    return findings.count > 0 ? TOOL_FAILED : TOOL_FINE;
}
