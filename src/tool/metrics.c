/* SPDX-License-Identifier: MIT */
/*
 * What a heap server has, as OpenMetrics text, version 1.0. All samples of a family stand together, so what is told of
 * users and heaps is collected first.
 */
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct users {
    cairn_server_client *seen; /* each user once */
    size_t count;
};

struct heaps {
    cairn_server_heap *seen;
    size_t count;
};

static void *one_more(void *array, size_t count, size_t bytes)
{
    return (count & (count - 1)) == 0 ? realloc(array, (count ? 2 * count : 1) * bytes) : array;
}

static int collect_user(const cairn_server_client *client, void *arg)
{
    struct users *users = arg;

    for (size_t i = 0; i < users->count; i++)
        if (users->seen[i].user == client->user)
            return 0;
    cairn_server_client *seen = one_more(users->seen, users->count, sizeof *seen);

    if (!seen)
        return tool_fail("no memory for the list of users");
    users->seen = seen;
    seen[users->count++] = *client;
    return 0;
}

static int collect_heap(const cairn_server_heap *heap, void *arg)
{
    struct heaps *heaps = arg;
    cairn_server_heap *seen = one_more(heaps->seen, heaps->count, sizeof *seen);
    char *name = strdup(heap->name);

    if (seen)
        heaps->seen = seen;
    if (!seen || !name) {
        free(name);
        return tool_fail("no memory for the list of heaps");
    }
    seen[heaps->count] = *heap;
    seen[heaps->count++].name = name;
    return 0;
}

static void print_family(const char *name, const char *type, const char *help)
{
    printf("# TYPE %s %s\n# HELP %s %s\n", name, type, name, help);
}

static void print_server(const cairn_server_info *info)
{
    const struct {
        const char *name, *help;
        uint64_t count;
    } counters[] = {
        {"cairn_server_connections", "Connections that came.", info->connections},
        {"cairn_server_connections_refused", "Connections that were not let in.", info->connections_refused},
        {"cairn_server_clients_dropped", "Clients whose connection the server ended.", info->clients_dropped},
        {"cairn_server_requests", "Requests that were answered.", info->requests},
        {"cairn_server_requests_refused", "Requests that were answered by an error.", info->requests_refused},
    };

    print_family("cairn_server_uptime_seconds", "gauge", "How long the server has been there.");
    printf("cairn_server_uptime_seconds %.3f\n", (double)info->milliseconds / 1000);
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        print_family(counters[i].name, "counter", counters[i].help);
        printf("%s_total %" PRIu64 "\n", counters[i].name, counters[i].count);
    }
}

static uint64_t number_at(const void *structure, size_t offset)
{
    uint64_t number;

    memcpy(&number, (const char *)structure + offset, sizeof number);
    return number;
}

/* Each number of a quota, as what a user has and as what it may have. */
static void print_users(const struct users *users)
{
    static const struct {
        const char *name, *help;
        size_t offset;
    } gauges[] = {
        {"clients", "Connections of a user", offsetof(cairn_server_quota, clients)},
        {"sections", "Sections and shared heaps of a user", offsetof(cairn_server_quota, sections)},
        {"bytes", "Bytes of the sections and shared heaps of a user", offsetof(cairn_server_quota, bytes)},
        {"blocks", "Blocks in the sections of a user", offsetof(cairn_server_quota, blocks)},
    };

    for (size_t i = 0; i < 2 * sizeof gauges / sizeof gauges[0]; i++) {
        bool is_most = i % 2 != 0;
        char name[60], help[100];

        snprintf(name, sizeof name, "cairn_user_%s%s", gauges[i / 2].name, is_most ? "_max" : "");
        snprintf(help, sizeof help, "%s%s.", gauges[i / 2].help, is_most ? ", at most" : "");
        print_family(name, "gauge", help);
        for (size_t k = 0; k < users->count; k++)
            printf("%s{user=\"%" PRIu32 "\"} %" PRIu64 "\n", name, users->seen[k].user,
                   number_at(is_most ? &users->seen[k].user_max : &users->seen[k].user_has, gauges[i / 2].offset));
    }
}

/* The names of heaps are printable. */
static void print_label(const char *name)
{
    for (; *name; name++) {
        if (*name == '"' || *name == '\\')
            putchar('\\');
        putchar(*name);
    }
}

static void print_heaps(const struct heaps *heaps)
{
    static const struct {
        const char *name, *help;
        size_t offset;
        bool of_shared; /* else of heaps of clients */
    } gauges[] = {
        {"cairn_heap_clients", "Clients that have a heap open.", offsetof(cairn_server_heap, clients), false},
        {"cairn_heap_sections", "Sections of a heap.", offsetof(cairn_server_heap, sections), false},
        {"cairn_heap_section_bytes", "Bytes of the sections of a heap.", offsetof(cairn_server_heap, section_bytes),
         false},
        {"cairn_heap_roots", "Roots of a heap.", offsetof(cairn_server_heap, roots), false},
        {"cairn_heap_blocks", "Blocks of a heap.", offsetof(cairn_server_heap, blocks), false},
        {"cairn_heap_live_bytes", "Bytes in the blocks of a heap.", offsetof(cairn_server_heap, bytes_live), false},
        {"cairn_heap_kept_blocks", "Blocks that are the heap's own.", offsetof(cairn_server_heap, blocks_kept), false},
        {"cairn_shared_heap_bytes", "Bytes that a shared heap may have.", offsetof(cairn_server_heap, shared_bytes),
         true},
        {"cairn_shared_heap_taken_bytes", "Memory that a shared heap takes.",
         offsetof(cairn_server_heap, shared_bytes_taken), true},
    };

    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++) {
        print_family(gauges[i].name, "gauge", gauges[i].help);
        for (size_t k = 0; k < heaps->count; k++) {
            if (heaps->seen[k].shared != gauges[i].of_shared)
                continue;
            printf("%s{heap=\"", gauges[i].name);
            print_label(heaps->seen[k].name);
            printf("\"} %" PRIu64 "\n", number_at(&heaps->seen[k], gauges[i].offset));
        }
    }
}

int server_metrics(const struct tool_args *args)
{
    cairn_client_options options = {.socket = args->socket};
    cairn_server_info info = {.size = sizeof info};
    struct users users = {0};
    struct heaps heaps = {0};
    int r = cairn_server_info_get(&options, &info);

    if (r == 0)
        r = cairn_server_client_walk(&options, collect_user, &users);
    if (r == 0)
        r = cairn_server_heap_walk(&options, collect_heap, &heaps);
    if (r < 0)
        tool_fail_heap();
    if (r == 0) {
        print_server(&info);
        print_users(&users);
        print_heaps(&heaps);
        puts("# EOF");
    }
    for (size_t i = 0; i < heaps.count; i++)
        free((char *)(uintptr_t)heaps.seen[i].name);
    free(heaps.seen);
    free(users.seen);
    return r == 0 ? TOOL_FINE : TOOL_FAILED;
}
