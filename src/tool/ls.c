/* SPDX-License-Identifier: MIT */
#include "published.h"
#include "text.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum entry_kind { HEAP, SECTION, PUBLISHED };

struct entry {
    char name[CAIRN_NAME_MAX + 1];
    enum entry_kind kind;
    const char *state;
    char reason[256];  /* why it could not be opened; "" when it was */
    cairn_stats stats; /* of a section bytes_committed and bytes_max alone */
    cairn_reader_info published;
};

struct listing {
    struct entry *entries;
    size_t count, room;
    enum entry_kind kind; /* of those that are collected now */
    bool no_memory;
};

/* The state of a heap that could not be attached, in one word. */
static const char *state_of_error(int error)
{
    switch (error) {
    case -EUCLEAN:
        return "damaged";
    case -EACCES:
    case -EPERM:
    case -ELOOP:
        return "denied";
    case -EPROTO:
        return "foreign";
    case -EADDRINUSE:
        return "blocked"; /* something else lies at its address in this process */
    case -ECONNREFUSED:
        return "ended";
    case -EAGAIN:
        return "full"; /* it has all the readers that it lets in */
    case -ETIMEDOUT:
        return "silent";
    default:
        return "unknown";
    }
}

static int collect(const char *name, void *arg)
{
    struct listing *listing = arg;

    if (listing->count == listing->room) {
        size_t room = listing->room ? 2 * listing->room : 16;
        struct entry *entries = realloc(listing->entries, room * sizeof *entries);

        if (!entries) {
            listing->no_memory = true;
            return 1;
        }
        listing->entries = entries;
        listing->room = room;
    }
    listing->entries[listing->count] = (struct entry){0};
    snprintf(listing->entries[listing->count].name, sizeof listing->entries->name, "%s", name);
    listing->entries[listing->count].kind = listing->kind;
    listing->count++;
    return 0;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const struct entry *)left)->name, ((const struct entry *)right)->name);
}

static int look_into_section(struct entry *entry, const cairn_options *options)
{
    cairn_section *section;
    int r = cairn_section_open(&section, entry->name, options);

    if (r < 0)
        return r;
    entry->stats.bytes_max = cairn_section_bytes_max(section);
    for (uint64_t at = 0, run; r >= 0 && at < entry->stats.bytes_max; at += run) {
        r = cairn_section_query(section, at, &run);
        if (r == 1)
            entry->stats.bytes_committed += run;
    }
    cairn_section_close(section);
    return r < 0 ? r : 0;
}

static int look_into_heap(struct entry *entry, const cairn_options *options)
{
    cairn_heap *heap;
    int r = cairn_heap_open(&heap, entry->name, options);

    if (r == 0) {
        entry->stats.size = sizeof entry->stats;
        r = cairn_stats_get(heap, &entry->stats);
        cairn_heap_close(heap);
    }
    return r;
}

static int look_into(struct entry *entry, const struct tool_args *args)
{
    cairn_options options = {.directory = args->dir, .flags = CAIRN_READ_ONLY};

    switch (entry->kind) {
    case SECTION:
        return look_into_section(entry, &options);
    case PUBLISHED:
        return published_look(args, entry->name, &entry->published);
    default:
        return look_into_heap(entry, &options);
    }
}

static const char *state_of(const struct entry *entry)
{
    if (entry->kind == HEAP)
        return entry->stats.processes > 0 ? "active" : "idle";
    return entry->kind == SECTION ? "section" : "published";
}

/* Looks into one heap or section. Returns false when it went away since its name was read. */
static bool look(struct entry *entry, const struct tool_args *args)
{
    int r = look_into(entry, args);

    if (r == 0) {
        entry->state = state_of(entry);
        return true;
    }
    entry->state = state_of_error(r);
    snprintf(entry->reason, sizeof entry->reason, "%s", cairn_last_error());
    return r != -ENOENT;
}

static void print_json_list(const struct listing *listing, enum entry_kind kind)
{
    const char *separator = "";

    for (size_t i = 0; i < listing->count; i++) {
        const struct entry *entry = &listing->entries[i];

        if (entry->kind != kind)
            continue;
        printf("%s\n{\"name\":", separator);
        text_json(stdout, entry->name);
        printf(",\"state\":\"%s\"", entry->state);
        if (*entry->reason) {
            fputs(",\"reason\":", stdout);
            text_json(stdout, entry->reason);
        } else if (kind == PUBLISHED) {
            putchar(',');
            published_json(&entry->published);
        } else if (kind == SECTION) {
            printf(",\"bytes_committed\":%" PRIu64 ",\"bytes_max\":%" PRIu64, entry->stats.bytes_committed,
                   entry->stats.bytes_max);
        } else {
            printf(",\"bytes_committed\":%" PRIu64 ",\"bytes_live\":%" PRIu64 ",\"blocks_live\":%" PRIu64
                   ",\"processes\":%" PRIu64,
                   entry->stats.bytes_committed, entry->stats.bytes_live, entry->stats.blocks_live,
                   entry->stats.processes);
        }
        putchar('}');
        separator = ",";
    }
}

static void print_json(const struct listing *listing)
{
    fputs("{\"schema\":\"cairn.ls/1\",\"heaps\":[", stdout);
    print_json_list(listing, HEAP);
    fputs("],\"sections\":[", stdout);
    print_json_list(listing, SECTION);
    fputs("],\"published\":[", stdout);
    print_json_list(listing, PUBLISHED);
    puts("]}");
}

static void print_table(const struct listing *listing)
{
    int widest = 4;

    if (listing->count == 0) {
        if (text_is_terminal())
            puts("no shared heaps");
        return;
    }
    for (size_t i = 0; i < listing->count; i++) {
        int width = text_name(NULL, listing->entries[i].name);

        widest = width > widest ? width : widest;
    }
    printf("%-*s  %10s  %10s  %9s  %s\n", widest, "NAME", "COMMITTED", "LIVE", "PROCESSES", "STATE");
    for (size_t i = 0; i < listing->count; i++) {
        const struct entry *entry = &listing->entries[i];
        int width = text_name(stdout, entry->name);

        if (*entry->reason)
            printf("%*s  %10s  %10s  %9s  %s: ", widest - width, "", "-", "-", "-", entry->state);
        else if (entry->kind == PUBLISHED)
            printf("%*s  %10s  %10s  %9s  %s %s by user %" PRIu32 ", generation %016" PRIx64, widest - width, "",
                   text_bytes(entry->published.bytes).text, "-", "-", entry->state,
                   published_access(&entry->published).text, entry->published.user, entry->published.generation);
        else if (entry->kind == SECTION)
            printf("%*s  %10s  %10s  %9s  %s of %s", widest - width, "", text_bytes(entry->stats.bytes_committed).text,
                   "-", "-", entry->state, text_bytes(entry->stats.bytes_max).text);
        else
            printf("%*s  %10s  %10s  %9" PRIu64 "  %s", widest - width, "",
                   text_bytes(entry->stats.bytes_committed).text, text_bytes(entry->stats.bytes_live).text,
                   entry->stats.processes, entry->state);
        text_name(stdout, entry->reason);
        putchar('\n');
    }
}

int command_ls(const struct tool_args *args)
{
    if (args->server)
        return server_ls(args);

    struct listing listing = {0};
    int code = TOOL_FINE;
    size_t kept = 0;

    int r = cairn_heap_names(args->dir, collect, &listing);

    listing.kind = SECTION;
    if (r == 0)
        r = cairn_section_names(args->dir, collect, &listing);
    listing.kind = PUBLISHED;
    if (r == 0)
        r = cairn_publish_names(args->dir, collect, &listing);
    if (r < 0) {
        free(listing.entries);
        return tool_fail_heap();
    }
    if (listing.no_memory) {
        free(listing.entries);
        return tool_fail("no memory for the list of names");
    }

    /* The heaps are opened one after the other, never two at once: two of unlike origin may want the same address. */
    for (size_t i = 0; i < listing.count; i++)
        if (look(&listing.entries[i], args))
            listing.entries[kept++] = listing.entries[i];
    listing.count = kept;
    if (listing.count > 0)
        qsort(listing.entries, listing.count, sizeof *listing.entries, by_name);

    if (args->json)
        print_json(&listing);
    else
        print_table(&listing);

    for (size_t i = 0; i < listing.count; i++)
        if (strcmp(listing.entries[i].state, "damaged") == 0)
            code = TOOL_FAILED;
    free(listing.entries);
    return code;
}
