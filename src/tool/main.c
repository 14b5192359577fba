/* SPDX-License-Identifier: MIT */
#include "tool.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which options a command accepts. */
enum {
    TAKES_DIR = 1 << 0,
    TAKES_JSON = 1 << 1,
    TAKES_SVG = 1 << 2,
    TAKES_READERS = 1 << 3,
    TAKES_KEEP = 1 << 4,
    TAKES_KILLS = 1 << 5,
    TAKES_SERVER = 1 << 6,
    TAKES_CONFIG = 1 << 7,
    TAKES_METRICS = 1 << 8,
    TAKES_HELP = 1 << 9 /* every command does */
};

#define READERS_DEFAULT 4
#define READERS_MAX 64
#define KILLS_MAX 1000

struct command {
    const char *name;
    const char *synopsis;
    const char *summary; /* NULL: not for people to call */
    int (*run)(const struct tool_args *args);
    unsigned takes;
    int operands_min, operands_max;
};

static const struct command commands[] = {
    {"ls", "", "list the shared heaps", command_ls, TAKES_DIR | TAKES_SERVER | TAKES_JSON, 0, 0},
    {"stat", "NAME", "tell the numbers of a heap", command_stat, TAKES_DIR | TAKES_SERVER | TAKES_JSON, 1, 1},
    {"map", "NAME", "draw what lies where in a heap", command_map, TAKES_DIR | TAKES_SERVER | TAKES_JSON | TAKES_SVG, 1,
     1},
    {"check", "NAME", "check every structure of a heap", command_check, TAKES_DIR | TAKES_SERVER | TAKES_JSON, 1, 1},
    {"rm", "NAME...", "remove the names of heaps", command_rm, TAKES_DIR | TAKES_SERVER, 1, INT_MAX},
    {"clients", "", "list the clients of a heap server", command_clients, TAKES_SERVER | TAKES_JSON | TAKES_METRICS, 0,
     0},
    {"serve", "[SOCKET]", "run a heap server, cairnd, until it is interrupted", command_serve, TAKES_CONFIG, 0, 1},
    {"demo", "[DIRECTORY]", "index a directory for several processes, and measure", command_demo,
     TAKES_DIR | TAKES_READERS | TAKES_KILLS | TAKES_KEEP, 0, 1},
    {"demo-indexer", "NAME DIRECTORY", NULL, command_demo_indexer, TAKES_DIR, 2, 2},
    {"demo-reader", "NAME DIRECTORY", NULL, command_demo_reader, TAKES_DIR, 2, 2},
    {"demo-copier", "NAME DIRECTORY", NULL, command_demo_copier, TAKES_DIR, 2, 2},
    {"demo-walker", "NAME DIRECTORY", NULL, command_demo_walker, TAKES_DIR, 2, 2},
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static const struct {
    unsigned takes;
    struct option option;
    const char *help;
} option_table[] = {
    {TAKES_DIR,
     {"dir", required_argument, NULL, 'd'},
     "  -d, --dir=DIR     where the names live (default: $CAIRN_DIR, "
     "else your directory in /dev/shm)"},
    {TAKES_SERVER,
     {"server", optional_argument, NULL, 'S'},
     "      --server[=SOCKET]  what a heap server holds, of that socket (default: /run/cairnd/cairnd.sock)"},
    {TAKES_CONFIG,
     {"config", required_argument, NULL, 'c'},
     "  -c, --config=FILE  the server's configuration, see cairnd(8)"},
    {TAKES_JSON, {"json", no_argument, NULL, 'j'}, "  -j, --json        print JSON"},
    {TAKES_METRICS, {"metrics", no_argument, NULL, 'm'}, "  -m, --metrics     print what there is as OpenMetrics text"},
    {TAKES_SVG, {"svg", optional_argument, NULL, 's'}, "      --svg[=FILE]  write the picture as SVG"},
    {TAKES_READERS,
     {"readers", required_argument, NULL, 'r'},
     "  -r, --readers=N   how many processes search (default 4)"},
    {TAKES_KILLS,
     {"kills", required_argument, NULL, 'K'},
     "  -K, --kills=N     how often the process that indexes is killed (default 0)"},
    {TAKES_KEEP, {"keep", no_argument, NULL, 'k'}, "  -k, --keep        leave the heap, to look at it afterwards"},
    {TAKES_HELP, {"help", no_argument, NULL, 'h'}, "  -h, --help        print this text"},
};

#define OPTION_COUNT (sizeof option_table / sizeof option_table[0])

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void print_help(void)
{
    puts("usage: cairn COMMAND [OPTION...] [NAME]\n"
         "\n"
         "Looks at shared heaps of the cairn library. Heaps are attached read-only: looking changes nothing.\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (commands[i].summary)
            printf("  %-7s %-12s %s\n", commands[i].name, commands[i].synopsis, commands[i].summary);
    puts("\n"
         "  cairn COMMAND --help   the options of a command\n"
         "  cairn --version        the version\n"
         "\n"
         "Exit code: 0 fine, 1 a heap is damaged or the command failed, 2 wrong usage.");
}

static void print_command_help(const struct command *command)
{
    printf("usage: cairn %s [OPTION...]%s%s\n", command->name, *command->synopsis ? " " : "", command->synopsis);
    if (command->summary)
        printf("\n%c%s.\n", command->summary[0] - 'a' + 'A', command->summary + 1);
    putchar('\n');
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (option_table[i].takes & (command->takes | TAKES_HELP))
            puts(option_table[i].help);
}

static int usage(const struct command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int usage(const struct command *command, const char *format, ...)
{
    va_list args;

    fputs("cairn: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nTry 'cairn %s%s--help'.\n", command ? command->name : "", command ? " " : "");
    return TOOL_USAGE;
}

static bool parse_number(const char *text, unsigned least, unsigned most, unsigned *ret_number)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || number < least || number > most)
        return false;
    *ret_number = (unsigned)number;
    return true;
}

/* Reads what follows the command's name. Returns -1 when the command is to run, else the exit code. */
static int parse(const struct command *command, int argc, char **argv, struct tool_args *ret_args)
{
    struct tool_args args = {.readers = READERS_DEFAULT};
    struct option accepted[OPTION_COUNT + 1] = {{0}};
    char letters[2 * OPTION_COUNT + 2] = ":"; /* ':' first: a missing argument is told from an unknown option */
    size_t count = 0, letter_count = 1;
    int letter;

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (!(option_table[i].takes & (command->takes | TAKES_HELP)))
            continue;
        accepted[count++] = option_table[i].option;
        if (option_table[i].option.has_arg == optional_argument)
            continue; /* --svg: has no letter, for "-s FILE" would not mean what it says */
        letters[letter_count++] = (char)option_table[i].option.val;
        if (option_table[i].option.has_arg == required_argument)
            letters[letter_count++] = ':';
    }

    opterr = 0;
    while ((letter = getopt_long(argc, argv, letters, accepted, NULL)) != -1) {
        switch (letter) {
        case 'd':
            args.dir = optarg;
            break;
        case 'S':
            args.server = true;
            args.socket = optarg;
            break;
        case 'c':
            args.config = optarg;
            break;
        case 'j':
            args.json = true;
            break;
        case 'm':
            args.metrics = true;
            break;
        case 's':
            args.svg = true;
            args.svg_file = optarg;
            break;
        case 'r':
            if (!parse_number(optarg, 1, READERS_MAX, &args.readers))
                return usage(command, "--readers takes a number from 1 to %d, not '%s'", READERS_MAX, optarg);
            break;
        case 'K':
            if (!parse_number(optarg, 0, KILLS_MAX, &args.kills))
                return usage(command, "--kills takes a number from 0 to %d, not '%s'", KILLS_MAX, optarg);
            break;
        case 'k':
            args.keep = true;
            break;
        case 'h':
            print_command_help(command);
            return TOOL_FINE;
        case ':':
            return usage(command, "%s: option '%s' needs an argument", command->name, argv[optind - 1]);
        default:
            return usage(command, "%s: unknown option '%s'", command->name, argv[optind - 1]);
        }
    }

    args.operands = argv + optind;
    args.operand_count = argc - optind;
    if (args.operand_count < command->operands_min)
        return usage(command, "%s: which heap? A name is missing", command->name);
    if (args.operand_count > command->operands_max)
        return usage(command, "%s: '%s' is one argument too many", command->name, args.operands[command->operands_max]);
    if (args.server && args.dir)
        return usage(command, "%s: --server and --dir exclude each other", command->name);
    if (args.metrics && args.json)
        return usage(command, "%s: --metrics and --json exclude each other", command->name);
    if (args.svg && args.json)
        return usage(command, "%s: --svg and --json exclude each other", command->name);
    *ret_args = args;
    return -1;
}

int main(int argc, char **argv)
{
    const struct command *command;
    struct tool_args args;
    int code;

    /* Only the character set matters: numbers and sort order must not depend on where the tool is run. */
    setlocale(LC_CTYPE, "");

    if (argc < 2)
        return usage(NULL, "a command is missing");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help();
        code = TOOL_FINE;
    } else if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("cairn %s\n", cairn_version());
        code = TOOL_FINE;
    } else {
        command = find_command(argv[1]);
        if (!command)
            return usage(NULL, "unknown command '%s'", argv[1]);
        code = parse(command, argc - 1, argv + 1, &args);
        if (code < 0)
            code = command->run(&args);
    }

    /* A full disk shows only now; a report that is cut off must not look like a whole one. */
    if (fflush(stdout) != 0 || ferror(stdout))
        return tool_fail("standard output cannot be written");
    return code;
}

int tool_fail(const char *format, ...)
{
    va_list args;

    fputs("cairn: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return TOOL_FAILED;
}

int tool_fail_heap(void)
{
    return tool_fail("%s", cairn_last_error());
}

bool tool_has_heap(const struct tool_args *args, const char *name)
{
    cairn_options options = {.directory = args->dir, .flags = CAIRN_READ_ONLY};
    cairn_heap *heap;

    if (args->server)
        return true;
    int r = cairn_heap_open(&heap, name, &options);

    if (r == 0)
        cairn_heap_close(heap);
    return r != -ENOENT;
}

int tool_try_open(const struct tool_args *args, const char *name, unsigned flags, cairn_heap **ret_heap)
{
    cairn_options options = {.directory = args->dir, .flags = CAIRN_READ_ONLY | flags};
    cairn_client_options at_server = {.socket = args->socket, .flags = CAIRN_CLIENT_READ_ONLY | CAIRN_CLIENT_ANY_OWNER};

    return args->server ? cairn_client_shared_open(ret_heap, name, &at_server)
                        : cairn_heap_open(ret_heap, name, &options);
}

cairn_heap *tool_open(const struct tool_args *args, const char *name)
{
    cairn_heap *heap;

    if (tool_try_open(args, name, 0, &heap) < 0) {
        tool_fail_heap();
        return NULL;
    }
    return heap;
}
