/* SPDX-License-Identifier: MIT */
/* What a heap server holds and for whom, and running one. */
#include "picture.h"
#include "text.h"
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static cairn_client_options options_of(const struct tool_args *args)
{
    return (cairn_client_options){.socket = args->socket};
}

/* ---------------------------------------------------------------- clients */

struct seen_client {
    cairn_server_client client;
    char heap[CAIRN_CLIENT_NAME_MAX + 1];
};

struct clients {
    struct seen_client *seen;
    size_t count, room;
};

static int collect_client(const cairn_server_client *client, void *arg)
{
    struct clients *clients = arg;

    if (clients->count == clients->room) {
        size_t room = clients->room ? 2 * clients->room : 16;
        struct seen_client *seen = realloc(clients->seen, room * sizeof *seen);

        if (!seen)
            return tool_fail("no memory for the list of clients");
        clients->seen = seen;
        clients->room = room;
    }
    struct seen_client *seen = &clients->seen[clients->count++];

    *seen = (struct seen_client){.client = *client};
    if (client->heap)
        snprintf(seen->heap, sizeof seen->heap, "%s", client->heap);
    return 0;
}

static void print_quota_json(const char *name, const cairn_server_quota *quota)
{
    printf(",\"%s\":{\"clients\":%" PRIu64 ",\"sections\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"blocks\":%" PRIu64 "}",
           name, quota->clients, quota->sections, quota->bytes, quota->blocks);
}

static void print_clients_json(const struct clients *clients)
{
    fputs("{\"schema\":\"cairn.clients/1\",\"clients\":[", stdout);
    for (size_t i = 0; i < clients->count; i++) {
        const cairn_server_client *client = &clients->seen[i].client;

        printf("%s\n{\"number\":%" PRIu32 ",\"user\":%" PRIu32 ",\"process\":%" PRIu32 ",\"heap\":", i > 0 ? "," : "",
               client->number, client->user, client->process);
        if (client->heap)
            text_json(stdout, clients->seen[i].heap);
        else
            fputs("null", stdout);
        printf(",\"section\":\"0x%" PRIxPTR "\",\"section_bytes\":%" PRIu64 ",\"blocks\":%" PRIu64,
               (uintptr_t)client->section, client->section_bytes, client->blocks);
        print_quota_json("user_has", &client->user_has);
        print_quota_json("user_max", &client->user_max);
        putchar('}');
    }
    puts("]}");
}

static void print_of(const char *has, const char *most)
{
    printf("  %10s of %-10s", has, most);
}

/* Each user once, at the first of its clients. */
static void print_users(const struct clients *clients)
{
    printf("\n%10s  %13s%11s  %13s%11s  %13s%11s  %13s\n", "USER", "CLIENTS", "", "SECTIONS", "", "BYTES", "",
           "BLOCKS");
    for (size_t i = 0; i < clients->count; i++) {
        const cairn_server_client *client = &clients->seen[i].client;
        size_t first = 0;

        while (clients->seen[first].client.user != client->user)
            first++;
        if (first != i)
            continue;
        printf("%10" PRIu32, client->user);
        print_of(text_count(client->user_has.clients).text, text_count(client->user_max.clients).text);
        print_of(text_count(client->user_has.sections).text, text_count(client->user_max.sections).text);
        print_of(text_bytes(client->user_has.bytes).text, text_bytes(client->user_max.bytes).text);
        print_of(text_count(client->user_has.blocks).text, text_count(client->user_max.blocks).text);
        putchar('\n');
    }
}

static void print_clients(const struct clients *clients)
{
    if (clients->count == 0) {
        if (text_is_terminal())
            puts("no clients");
        return;
    }
    printf("%10s  %10s  %10s  %10s  %10s  %s\n", "CLIENT", "USER", "PROCESS", "SECTION", "BLOCKS", "HEAP");
    for (size_t i = 0; i < clients->count; i++) {
        const cairn_server_client *client = &clients->seen[i].client;

        printf("%10" PRIu32 "  %10" PRIu32 "  %10" PRIu32 "  %10s  %10s  ", client->number, client->user,
               client->process, client->section ? text_bytes(client->section_bytes).text : "-",
               text_count(client->blocks).text);
        text_name(stdout, client->heap ? clients->seen[i].heap : "-");
        putchar('\n');
    }
    print_users(clients);
}

int command_clients(const struct tool_args *args)
{
    if (args->metrics)
        return server_metrics(args);

    cairn_client_options options = options_of(args);
    struct clients clients = {0};
    int r = cairn_server_client_walk(&options, collect_client, &clients);

    if (r < 0)
        tool_fail_heap();
    else if (r == 0 && args->json)
        print_clients_json(&clients);
    else if (r == 0)
        print_clients(&clients);
    free(clients.seen);
    return r == 0 ? TOOL_FINE : TOOL_FAILED;
}

/* ---------------------------------------------------------------- ls */

struct printing {
    const struct tool_args *args;
    const char *separator;
};

static void print_heap_json(const cairn_server_heap *heap)
{
    fputs("{\"name\":", stdout);
    text_json(stdout, heap->name);
    printf(",\"user\":%" PRIu32 ",\"access_count\":%" PRIu32 ",\"everyone\":%s,\"clients\":%" PRIu64
           ",\"sections\":%" PRIu64 ",\"section_bytes\":%" PRIu64 ",\"roots\":%" PRIu64 ",\"blocks_live\":%" PRIu64
           ",\"bytes_live\":%" PRIu64 ",\"blocks_kept\":%" PRIu64,
           heap->user, heap->access_count, heap->everyone ? "true" : "false", heap->clients, heap->sections,
           heap->section_bytes, heap->roots, heap->blocks, heap->bytes_live, heap->blocks_kept);
    if (heap->shared)
        printf(",\"shared\":{\"address\":\"0x%" PRIxPTR "\",\"bytes\":%" PRIu64 ",\"bytes_taken\":%" PRIu64 "}",
               (uintptr_t)heap->shared_address, heap->shared_bytes, heap->shared_bytes_taken);
}

static int print_heap(const cairn_server_heap *heap, void *arg)
{
    struct printing *printing = arg;

    if (printing->args->json) {
        printf("%s\n", printing->separator);
        print_heap_json(heap);
        putchar('}');
        printing->separator = ",";
        return 0;
    }
    if (!*printing->separator)
        printf("%10s  %10s  %10s  %10s  %10s  %s\n", "SECTIONS", "LIVE", "BLOCKS", "CLIENTS", "USER", "NAME");
    printing->separator = ",";
    if (heap->shared) /* of what is in it the server knows nothing */
        printf("%10s  %10s  %10s  %10s  %10" PRIu32 "  ", text_bytes(heap->shared_bytes).text, "-", "-", "-",
               heap->user);
    else
        printf("%10s  %10s  %10s  %10s  %10" PRIu32 "  ", text_bytes(heap->section_bytes).text,
               text_bytes(heap->bytes_live).text, text_count(heap->blocks).text, text_count(heap->clients).text,
               heap->user);
    text_name(stdout, heap->name);
    if (heap->shared)
        printf(" (shared, %s taken)", text_bytes(heap->shared_bytes_taken).text);
    putchar('\n');
    return 0;
}

int server_ls(const struct tool_args *args)
{
    cairn_client_options options = options_of(args);
    struct printing printing = {args, ""};

    if (args->json)
        fputs("{\"schema\":\"cairn.server.ls/1\",\"heaps\":[", stdout);
    if (cairn_server_heap_walk(&options, print_heap, &printing) < 0)
        return tool_fail_heap();
    if (args->json)
        puts("]}");
    else if (!*printing.separator && text_is_terminal())
        puts("no heaps");
    return TOOL_FINE;
}

/* ---------------------------------------------------------------- stat */

struct search {
    const char *name;
    cairn_server_heap heap;
};

static int find_heap(const cairn_server_heap *heap, void *arg)
{
    struct search *search = arg;

    if (strcmp(heap->name, search->name) != 0)
        return 0;
    search->heap = *heap;
    search->heap.name = search->name;
    return 1;
}

static int print_section(const cairn_server_section *section, void *arg)
{
    struct printing *printing = arg;

    if (printing->args->json) {
        printf("%s\n{\"address\":\"0x%" PRIxPTR "\",\"bytes\":%" PRIu64 ",\"user\":%" PRIu32 ",\"client\":%" PRIu32
               ",\"blocks_live\":%" PRIu64 ",\"bytes_live\":%" PRIu64 "}",
               printing->separator, (uintptr_t)section->address, section->bytes, section->user, section->client,
               section->blocks, section->bytes_live);
    } else {
        printf("%-11s %p  %s of user %" PRIu32 ", ", *printing->separator ? "" : "sections", section->address,
               text_bytes(section->bytes).text, section->user);
        if (section->client)
            printf("client %" PRIu32, section->client);
        else
            fputs("whose client has left", stdout);
        printf(": %s in %s block%s\n", text_bytes(section->bytes_live).text, text_count(section->blocks).text,
               text_plural(section->blocks));
    }
    printing->separator = ",";
    return 0;
}

static int print_root(const cairn_server_root *root, void *arg)
{
    struct printing *printing = arg;

    if (printing->args->json) {
        printf("%s\n{\"name\":", printing->separator);
        text_json(stdout, root->name);
        printf(",\"address\":\"0x%" PRIxPTR "\",\"bytes\":%" PRIu64 ",\"client\":%" PRIu32 "}", (uintptr_t)root->block,
               root->size, root->client);
    } else {
        printf("%-11s ", *printing->separator ? "" : "roots");
        text_name(stdout, root->name);
        printf(" -> %p, %s of ", root->block, text_bytes(root->size).text);
        if (root->client)
            printf("client %" PRIu32 "'s\n", root->client);
        else
            puts("the heap's");
    }
    printing->separator = ",";
    return 0;
}

static void print_heap_text(const cairn_server_heap *heap)
{
    text_name(stdout, heap->name);
    printf("\nlive        %s in %s block%s, of which %s %s the heap's own\n", text_bytes(heap->bytes_live).text,
           text_count(heap->blocks).text, text_plural(heap->blocks), text_count(heap->blocks_kept).text,
           heap->blocks_kept == 1 ? "is" : "are");
    printf("clients     %s; %s section%s of %s\n", text_count(heap->clients).text, text_count(heap->sections).text,
           text_plural(heap->sections), text_bytes(heap->section_bytes).text);
    printf("access      made by user %" PRIu32 "; %" PRIu32 " entr%s in its list%s\n", heap->user, heap->access_count,
           heap->access_count == 1 ? "y" : "ies", heap->everyone ? "; everyone may read" : "");
}

int server_stat(const struct tool_args *args)
{
    cairn_client_options options = options_of(args);
    struct search search = {.name = args->operands[0]};
    struct printing printing = {args, ""};
    int r = cairn_server_heap_walk(&options, find_heap, &search);

    if (r < 0)
        return tool_fail_heap();
    if (r == 0)
        return tool_fail("%s: the server has no such heap", search.name);
    if (search.heap.shared)
        return heap_stat(args, search.name);
    if (args->json) {
        fputs("{\"schema\":\"cairn.server.stat/1\",\"heap\":", stdout);
        print_heap_json(&search.heap);
        fputs("},\"sections\":[", stdout);
    } else {
        print_heap_text(&search.heap);
    }
    r = cairn_server_section_walk(&options, search.name, print_section, &printing);
    if (r == 0 && args->json)
        fputs("],\"roots\":[", stdout);
    printing.separator = "";
    if (r == 0)
        r = cairn_server_root_walk(&options, search.name, print_root, &printing);
    if (r < 0)
        return tool_fail_heap();
    if (args->json)
        puts("]}");
    else if (!*printing.separator)
        puts("roots       none");
    return TOOL_FINE;
}

/* ---------------------------------------------------------------- map */

enum { LINES_OF_SECTION = 8 };

struct mapping {
    const struct tool_args *args;
    cairn_client_options options;
    const char *name;
    uint64_t sections;
};

static void print_map_json(const struct mapping *mapping, const cairn_server_section *section,
                           const struct picture *picture)
{
    printf("%s\n{\"address\":\"0x%" PRIxPTR "\",\"bytes\":%" PRIu64 ",\"unit_bytes\":%" PRIu64 ",\"client\":%" PRIu32
           ",\n",
           mapping->sections > 0 ? "," : "", (uintptr_t)section->address, section->bytes, section->unit_bytes,
           section->client);
    map_print_spans_json(picture);
    putchar('}');
}

static void print_map(const struct mapping *mapping, const cairn_server_section *section, const struct picture *picture)
{
    text_name(stdout, mapping->name);
    if (section->client)
        printf(", section of client %" PRIu32, section->client);
    else
        fputs(", section whose client has left", stdout);
    printf(": %s used in %s block%s, of %s\n", text_bytes(section->bytes_live).text, text_count(section->blocks).text,
           text_plural(section->blocks), text_bytes(section->bytes).text);
    map_print_picture(picture, LINES_OF_SECTION);
}

static int map_section(const cairn_server_section *section, void *arg)
{
    struct mapping *mapping = arg;
    struct picture picture;
    int code = 0;
    int r = picture_take_section(&mapping->options, mapping->name, section, &picture);

    if (r < 0)
        return r == -ENOMEM ? tool_fail("no memory for the picture") : tool_fail_heap();
    if (mapping->args->json)
        print_map_json(mapping, section, &picture);
    else if (mapping->args->svg && mapping->sections == 0)
        code = map_write_svg(mapping->args, mapping->name, &picture);
    else if (mapping->args->svg)
        code = tool_fail("%s: --svg draws one section, and the heap has several: this is the first", mapping->name);
    else
        print_map(mapping, section, &picture);
    picture_release(&picture);
    mapping->sections++;
    return code;
}

int server_map(const struct tool_args *args)
{
    struct mapping mapping = {.args = args, .options = options_of(args), .name = args->operands[0]};
    struct search search = {.name = mapping.name};
    int columns, lines;

    if (cairn_server_heap_walk(&mapping.options, find_heap, &search) > 0 && search.heap.shared)
        return heap_map(args, search.name);

    if (args->json) {
        fputs("{\"schema\":\"cairn.server.map/1\",\"name\":", stdout);
        text_json(stdout, mapping.name);
        fputs(",\"sections\":[", stdout);
    }
    int r = cairn_server_section_walk(&mapping.options, mapping.name, map_section, &mapping);

    if (r != 0)
        return r < 0 ? tool_fail_heap() : r;
    text_terminal_size(&columns, &lines);
    if (args->json)
        puts("]}");
    else if (mapping.sections == 0)
        puts("no sections");
    else if (!args->svg)
        map_draw_legend(stdout, columns);
    return TOOL_FINE;
}

/* ---------------------------------------------------------------- serve */

/* The server is beside this program where it was built, and in sbin where it is installed. */
static void run_server(char *const *arguments)
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - sizeof "/../sbin/cairnd");

    if (length > 0) {
        program[length] = '\0';
        *strrchr(program, '/') = '\0';
        length = (ssize_t)strlen(program);
        strcpy(program + length, "/cairnd");
        execv(program, arguments);
        strcpy(program + length, "/../sbin/cairnd");
        execv(program, arguments);
    }
    execvp("cairnd", arguments);
}

int command_serve(const struct tool_args *args)
{
    char path[PATH_MAX];
    const char *arguments[6] = {"cairnd"};
    int count = 1;

    if (args->config) {
        arguments[count++] = "--config";
        arguments[count++] = args->config;
    }
    if (args->operand_count > 0) {
        const char *socket = args->operands[0];

        if (*socket != '/') {
            char directory[PATH_MAX];

            if (!getcwd(directory, sizeof directory))
                return tool_fail("the working directory: %s", strerror(errno));
            if ((size_t)snprintf(path, sizeof path, "%s/%s", directory, socket) >= sizeof path)
                return tool_fail("%s: too long for a socket", socket);
            socket = path;
        }
        arguments[count++] = "--socket";
        arguments[count++] = socket;
    }
    run_server((char *const *)(uintptr_t)arguments);
    return tool_fail("cairnd cannot be run: %s", strerror(errno));
}
