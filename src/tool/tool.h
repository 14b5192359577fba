/* SPDX-License-Identifier: MIT */
/*
 * The commands of cairn(1). The tool knows the library by its public header only: what it cannot tell, the API lacks.
 *
 * A command is one file with one function cairn_COMMAND. main.c reads the options, so that a command begins with
 * arguments that are known to be well formed, and ends with one of three exit codes.
 */
#ifndef CAIRN_TOOL_H
#define CAIRN_TOOL_H

#include <cairn.h>
#include <cairn_client.h>
#include <stdbool.h>

enum tool_exit {
    TOOL_FINE = 0,
    TOOL_FAILED = 1, /* the heap is damaged, or what was asked for could not be done */
    TOOL_USAGE = 2
};

struct tool_args {
    const char *dir;    /* where the names live; NULL: the library's default */
    bool server;        /* look at what a server holds */
    const char *socket; /* of which; NULL: of the usual one */
    const char *config; /* of the server that is to be run; NULL: none */
    bool json;
    bool metrics;
    bool svg;
    const char *svg_file; /* NULL: standard output */
    bool keep;
    unsigned readers;
    unsigned kills;
    char **operands;
    int operand_count;
};

int command_ls(const struct tool_args *args);
int command_stat(const struct tool_args *args);
int command_map(const struct tool_args *args);
int command_check(const struct tool_args *args);
int command_rm(const struct tool_args *args);
int command_demo(const struct tool_args *args);
int command_clients(const struct tool_args *args);
int command_serve(const struct tool_args *args);

/* clients --metrics. */
int server_metrics(const struct tool_args *args);

/* ls, stat and map with --server. */
int server_ls(const struct tool_args *args);
int server_stat(const struct tool_args *args);
int server_map(const struct tool_args *args);

/* stat and map of a heap that can be attached to, shared or a server's. */
int heap_stat(const struct tool_args *args, const char *name);
int heap_map(const struct tool_args *args, const char *name);

/* map.c: what both kinds of map have. */
struct picture;
void map_print_spans_json(const struct picture *picture);
void map_print_picture(const struct picture *picture, int lines_max);
int map_write_svg(const struct tool_args *args, const char *name, const struct picture *picture);

/* The other processes of the demo, which only the demo starts. */
int command_demo_indexer(const struct tool_args *args);
int command_demo_reader(const struct tool_args *args);
int command_demo_copier(const struct tool_args *args);
int command_demo_walker(const struct tool_args *args);

/* Prints "cairn: " and the message as one line on standard error; returns TOOL_FAILED, to be returned in turn. */
int tool_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same for the library's last failure, which it has already put into a sentence. */
int tool_fail_heap(void);

/* Whether there is something by that name that is a heap, or claims to be one. */
bool tool_has_heap(const struct tool_args *args, const char *name);

/* Attaches to a heap, in the directory or at the server, without the right to write. flags: more of cairn_heap_open's.
 */
int tool_try_open(const struct tool_args *args, const char *name, unsigned flags, cairn_heap **ret_heap);

/* The same; on failure says why and returns NULL. */
cairn_heap *tool_open(const struct tool_args *args, const char *name);

#endif
