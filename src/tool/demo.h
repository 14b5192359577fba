/* SPDX-License-Identifier: MIT */
/*
 * The demo: an index of a directory as a tree of plain C pointers in a shared heap, built by one process while others
 * search it.
 *
 *     the stage      the process that was called: makes the heap, starts the others, measures, prints (demo.c)
 *     the indexer    attached for writing: reads the directory, builds the tree (demo_indexer.c)
 *     the readers    attached read-only before anything is indexed: search without pause and verify (demo_reader.c)
 *     the copier     builds the same tree once more with malloc, to weigh it (demo_copier.c)
 *     the walker     lists the directory without any of our code: runs find(1) (demo_walker.c)
 *
 * All but the stage are this program, executed afresh so that each has an address space layout of its own. Each has one
 * socket to the stage. The stage sends orders of one byte; the others answer with reports, each a whole packet. A
 * process whose socket ends was left alone, or has died: that is how each side notices, without signals or pid files.
 */
#ifndef CAIRN_TOOL_DEMO_H
#define CAIRN_TOOL_DEMO_H

#include "tool.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---------------------------------------------------------------- the tree, as it lies in the heap */

#define DEMO_ROOT "index"

/*
 * Building is safe beside reading because nothing that can be reached ever changes, but for `first`: the children of a
 * folder are all built and linked before one release store to `first` publishes them. A reader loads `first` with
 * acquire, and so sees either no children or all of them, whole.
 */
struct node {
    struct node *parent;
    struct node *next;     /* sibling, in byte order of the names */
    struct folder *folder; /* NULL: not a directory */
    uint16_t name_bytes;
    char name[]; /* with terminator */
};

struct folder {
    _Atomic(struct node *) first;
    int64_t changed_ns; /* when the directory was changed last, taken before it was read; 0: it could not be read */
};

struct index {
    struct node *root;      /* the directory itself; its name is "" */
    _Atomic uint64_t names; /* counted before they are published: a reader never meets more than this */
    _Atomic uint32_t complete;
};

/* How large the block of a node is. A short name still fills the structure, padding included. */
static inline size_t node_bytes(size_t name_bytes)
{
    size_t bytes = offsetof(struct node, name) + name_bytes + 1;

    return bytes < sizeof(struct node) ? sizeof(struct node) : bytes;
}

/* Writes the path of a node below the root, "usr/lib", and returns its length; with room for less, only the length. */
size_t tree_path(const struct node *node, char *path, size_t room);

/* ---------------------------------------------------------------- reports and orders */

#define DEMO_CONTROL_FD 3 /* the socket to the stage */
#define DEMO_LIST_FD 4    /* reader 1 and walker: where the list of names goes */
#define DEMO_RESETS_KEPT 2048

enum demo_order {
    ORDER_INDEX = 'i',   /* indexer: given with its start; one that succeeds another goes on where that was killed */
    ORDER_CHANGED = 'c', /* indexer: count the directories that have changed since */
    ORDER_WRITE = 'w',   /* reader: try to write into the heap */
    ORDER_LIST = 'l',    /* reader: write the sorted names; walker: given with its start */
    ORDER_COPY = 'm',    /* copier: given with its start */
    ORDER_END = 'q'      /* send the last report and exit */
};

enum demo_report_kind {
    REPORT_HELLO = 1, /* attached, at work */
    REPORT_PROGRESS,
    REPORT_DONE, /* the order `order` is carried out */
    REPORT_FAILED
};

struct report {
    uint32_t kind;
    uint32_t order;
    uint64_t heap_address, text_address;
    uint32_t heap_opens;  /* how often this process has called cairn_heap_open */
    int32_t write_status; /* reader: as from waitpid(2), of the process that tried to write; -1: not tried */

    uint64_t names, folders, unreadable; /* indexer; walker: names */
    uint64_t folders_changed;            /* indexer */
    uint64_t reaped, lost_bytes;         /* indexer that succeeds a killed one */
    uint64_t private_bytes;              /* copier */

    uint64_t pointers, queries, temporaries, resets, read_errors; /* reader */
    uint64_t queries_complete; /* reader: that began after the index was complete, and met every name */

    char text[232]; /* the failure, or a reader's first read error */
    uint32_t reset_count;
    uint32_t reset_ns[DEMO_RESETS_KEPT]; /* sent with the last report only */
};

/* ---------------------------------------------------------------- the side of the others: demo_player.c */

struct player {
    cairn_heap *heap;
    const char *directory; /* that is indexed */
    struct report report;  /* kept up to date; sent by player_report */
    uint64_t reported_ns;
};

/* Attaches to the heap that the arguments name and says hello. On failure reports it and returns false. */
bool player_enter(struct player *player, const struct tool_args *args, uint64_t open_flags);

void player_report(struct player *player, enum demo_report_kind kind, enum demo_order order);

/* Sends a report when the last is a while ago; cheap enough to be called from any loop. */
void player_progress(struct player *player);

/* Reports a failure, with a text as printf makes it; returns TOOL_FAILED. */
int player_fail(struct player *player, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Waits up to milliseconds (-1: for ever) for an order. Returns it, 0 for none, or ORDER_END when the stage is gone. */
enum demo_order player_order(int milliseconds);

uint64_t demo_now_ns(void);

/* The address of a function that every process of the demo has: differs where the kernel has laid them out unlike. */
uint64_t demo_text_address(void);

/* ---------------------------------------------------------------- the stage's view of them: demo_crew.c */

#define CREW_MAX (64 + 4) /* readers, indexer, copier, and a walker for each of two walks */

struct member {
    const char *role;
    unsigned number; /* from 1, of a reader; else 0 */
    pid_t pid;
    int control;
    bool gone;            /* has ended, and is reaped */
    bool dismissed;       /* may end */
    int status;           /* from waitpid(2), once gone */
    struct report report; /* the last one; kind 0: none yet */
    uint32_t done;        /* the order that was carried out last */
    uint64_t silent_ns;   /* how long it has not reported, while the stage was awake */
};

struct crew {
    struct member members[CREW_MAX];
    unsigned count;
};

/* Starts `cairn demo-ROLE`. list_fd is -1 for none. Returns NULL with errno. */
struct member *crew_start(struct crew *crew, const struct tool_args *args, const char *role, unsigned number,
                          const char *heap_name, const char *directory, int list_fd);

/* Ends a member by SIGKILL and waits for its end; then another is started in its place. false: with errno. */
void crew_kill(struct member *member);
bool crew_replace(struct member *member, const struct tool_args *args, const char *heap_name, const char *directory);

void crew_order(struct member *member, enum demo_order order);

/* Receives reports for up to milliseconds; reaps who has ended. */
void crew_listen(struct crew *crew, int milliseconds);

/* Tells what is wrong with the crew in a sentence, "" when nothing is: somebody failed, died, or is silent for long. */
void crew_trouble(const struct crew *crew, char *ret_text, size_t room);

/* Ends those who are left, by their pids, and reaps them. */
void crew_end(struct crew *crew);

/* ---------------------------------------------------------------- names: demo_names.c */

/* A growing list of strings. They belong to whoever made them. */
struct name_list {
    char **names;
    size_t count, room;
};

bool name_list_add(struct name_list *list, char *name);

/* Sorts in byte order and writes the names to a file, each with its terminator. Returns 0 or a negative errno. */
int name_list_write(struct name_list *list, int fd);

/* An empty file without a name, for a list. Returns a descriptor above those that are handed on, or -1 with errno. */
int names_file(void);

struct digest {
    char hex[65];
};

/* Lets sha256sum(1) read the file. Returns 0 or a negative errno. */
int names_digest(int fd, struct digest *ret_digest);

/* Prints the first few names that stand in only one of two sorted lists. */
void names_print_difference(int heap_fd, int walk_fd, const char *walked_by);

/* ---------------------------------------------------------------- what the kernel knows: demo_kernel.c */

/* Sums Pss over the mappings of a process in a range of addresses. Returns false when the kernel does not tell. */
bool kernel_range_pss(pid_t pid, uint64_t address, uint64_t bytes, uint64_t *ret_bytes);

/* Memory of this process that it shares with nobody and no file has. */
bool kernel_anonymous(uint64_t *ret_bytes);

/* The path of the file that is mapped at an address in this process. */
bool kernel_mapped_file(uint64_t address, char *ret_path, size_t room);

/* ---------------------------------------------------------------- the show: demo_screen.c */

struct screen {
    const char *heap_name, *directory, *now;
    cairn_heap *heap;
    struct crew *crew;
    const struct member *indexer; /* NULL: not started */
    cairn_stats first;            /* the numbers of the heap as it was made */
    uint64_t began_ns;
    bool live;

    int lines; /* of the frame that stands there */
    uint64_t drawn_ns, rated_ns, rated_names, rated_pointers;
    double names_per_s, pointers_per_s;
    uint64_t steps[10]; /* committed bytes after each growth that was seen */
    unsigned step_count;
};

void screen_begin(struct screen *screen);
void screen_draw(struct screen *screen, bool at_once);
void screen_end(struct screen *screen);

#endif
