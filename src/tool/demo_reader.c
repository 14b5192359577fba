/* SPDX-License-Identifier: MIT */
/*
 * A reader of the demo: attached read-only before anything is in the heap, it searches the tree over and over while it
 * grows, and distrusts all of it: what is not as the indexer promised is counted as a read error.
 *
 * The temporaries of a query, the paths that it found, live in a private heap that is reset after the query.
 */
#include "demo.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long a reader rests between two queries: the indexer is to have a processor whenever it can use one. */
#define REST_MS 2

struct reader {
    struct player player;
    cairn_heap *scratch;
    const struct index *index; /* NULL: nothing is indexed yet */
    uint64_t low, high;        /* where pointers may lead */
    uint64_t reset_count;
};

/* ---------------------------------------------------------------- following and verifying */

static void read_error(struct reader *reader, const char *text)
{
    if (reader->player.report.read_errors++ == 0)
        snprintf(reader->player.report.text, sizeof reader->player.report.text, "%s", text);
}

/* Returns where a pointer leads, NULL when it is NULL or leads out of the heap: then it must not be followed. */
static const void *follow(struct reader *reader, const void *pointer)
{
    uint64_t address = (uint64_t)(uintptr_t)pointer;

    if (!pointer)
        return NULL;
    if (address < reader->low || address >= reader->high || address % CAIRN_ALIGNMENT != 0) {
        read_error(reader, "a pointer leads out of the heap");
        return NULL;
    }
    reader->player.report.pointers++;
    return pointer;
}

static const struct node *first_child(struct reader *reader, const struct node *node)
{
    const struct folder *folder = follow(reader, node->folder);

    /* Pairs with the release store in publish() of the indexer. */
    return folder ? follow(reader, atomic_load_explicit(&folder->first, memory_order_acquire)) : NULL;
}

static bool name_is_well_formed(const struct node *node)
{
    return node->name_bytes >= 1 && node->name_bytes <= NAME_MAX &&
           strnlen(node->name, NAME_MAX + 1) == node->name_bytes && !memchr(node->name, '/', node->name_bytes);
}

/* Compares a node with what the indexer promised. Returns false when the walk cannot go on from it. */
static bool verify(struct reader *reader, const struct node *node, const struct node *parent,
                   const struct node *previous)
{
    if (!name_is_well_formed(node)) {
        read_error(reader, "a name is malformed");
        return false;
    }
    if (previous && strcmp(previous->name, node->name) >= 0)
        read_error(reader, "two names are out of order");
    if (node->parent != parent) {
        read_error(reader, "a node's parent is another than the node it was reached from");
        return false;
    }
    return true;
}

/*
 * Calls visit for every node but the root, until it returns false. Returns how many nodes it met. The walk needs no
 * memory of its own: the way back is in the nodes.
 */
static uint64_t walk(struct reader *reader, bool (*visit)(struct reader *reader, const struct node *node, void *arg),
                     void *arg)
{
    const struct node *root = follow(reader, reader->index->root), *parent = root, *previous = NULL;
    const struct node *node = root ? first_child(reader, root) : NULL;
    uint64_t met = 0;

    while (node) {
        const struct node *child;

        if (!verify(reader, node, parent, previous) || !visit(reader, node, arg))
            return met;
        if (++met % 4096 == 0) {
            player_progress(&reader->player);
            /* Damaged pointers may lead in a circle. */
            if (met > atomic_load_explicit(&reader->index->names, memory_order_acquire)) {
                read_error(reader, "there are more nodes than names");
                return met;
            }
        }

        child = first_child(reader, node);
        if (child) {
            parent = node;
            previous = NULL;
            node = child;
            continue;
        }
        previous = node;
        node = follow(reader, node->next);
        while (!node && parent != root) {
            previous = parent;
            node = follow(reader, parent->next);
            parent = follow(reader, parent->parent);
            if (!parent)
                return met;
        }
    }
    return met;
}

/* ---------------------------------------------------------------- queries */

struct hit {
    struct hit *next;
    char path[];
};

struct query {
    const char *word;
    size_t word_bytes;
    struct hit *hits;
    bool no_memory;
};

/* The path of a node in a block of the private heap, NULL when that is full; `before` bytes in front are left free. */
static char *keep_path(struct reader *reader, const struct node *node, size_t before)
{
    char path[4096], *block;
    size_t length = tree_path(node, path, sizeof path);

    for (const struct node *n = node; n->parent; n = n->parent)
        reader->player.report.pointers++;
    block = cairn_alloc(reader->scratch, before + length + 1);
    if (!block)
        return NULL;
    reader->player.report.temporaries++;
    if (length < sizeof path)
        memcpy(block + before, path, length + 1);
    else
        tree_path(node, block + before, length + 1);
    return block;
}

static bool match(struct reader *reader, const struct node *node, void *arg)
{
    struct query *query = arg;
    struct hit *hit;

    if (!memmem(node->name, node->name_bytes, query->word, query->word_bytes))
        return true;
    hit = (struct hit *)keep_path(reader, node, offsetof(struct hit, path));
    if (!hit) {
        query->no_memory = true;
        return false;
    }
    hit->next = query->hits;
    query->hits = hit;
    return true;
}

static int forget_temporaries(struct reader *reader)
{
    struct report *report = &reader->player.report;
    uint64_t began = demo_now_ns(), took;

    if (cairn_heap_reset(reader->scratch) < 0)
        return player_fail(&reader->player, "%s", cairn_last_error());
    took = demo_now_ns() - began;

    /* The last ones are kept, in a ring. */
    report->reset_ns[report->resets++ % DEMO_RESETS_KEPT] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    report->reset_count = report->resets < DEMO_RESETS_KEPT ? (uint32_t)report->resets : DEMO_RESETS_KEPT;
    return 0;
}

static int run_query(struct reader *reader, unsigned number)
{
    static const char *const words[] = {"lib",   "python", ".so", "conf", "read", "x",
                                        "image", "test",   ".h",  "man",  "2",    "linux"};
    struct query query = {.word = words[number % (sizeof words / sizeof words[0])]};
    struct report *report = &reader->player.report;
    bool complete = atomic_load_explicit(&reader->index->complete, memory_order_acquire);
    uint64_t met;

    query.word_bytes = strlen(query.word);
    met = walk(reader, match, &query);
    if (query.no_memory)
        return player_fail(&reader->player, "%s", cairn_last_error());
    report->queries++;
    if (complete) {
        if (met == atomic_load_explicit(&reader->index->names, memory_order_relaxed))
            report->queries_complete++;
        else
            read_error(reader, "the tree is complete, but a walk over it met too few names");
    }
    return forget_temporaries(reader);
}

/* ---------------------------------------------------------------- orders */

/*
 * Lets a child of this process store into the heap, and keeps what became of it. It stores what is there already:
 * should the store be possible, against all that the demo claims, it does no harm.
 */
static void try_to_write(struct reader *reader)
{
    volatile struct index *index = (volatile struct index *)(uintptr_t)reader->index;
    int status = 0;
    pid_t pid = fork();

    if (pid < 0)
        return;
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); /* the death is wanted; nobody needs its core file */
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        index->root = index->root;
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    reader->player.report.write_status = status;
}

struct listing {
    struct name_list list;
    size_t prefix_bytes;
    bool no_memory;
};

static bool add_name(struct reader *reader, const struct node *node, void *arg)
{
    struct listing *listing = arg;
    char *path = keep_path(reader, node, listing->prefix_bytes);

    if (path) {
        memcpy(path, reader->player.directory, listing->prefix_bytes);
        path[listing->prefix_bytes - 1] = '/';
    }
    if (!path || !name_list_add(&listing->list, path)) {
        listing->no_memory = true;
        return false;
    }
    return true;
}

/* Writes every path, from the root of the file system on, as find(1) prints it. */
static int list_names(struct reader *reader)
{
    size_t directory_bytes = strlen(reader->player.directory);
    struct listing listing = {.prefix_bytes = directory_bytes + 1};
    int r;

    if (strcmp(reader->player.directory, "/") == 0)
        listing.prefix_bytes = 1;
    walk(reader, add_name, &listing);
    r = listing.no_memory ? -ENOMEM : name_list_write(&listing.list, DEMO_LIST_FD);
    free(listing.list.names);
    if (r < 0)
        return player_fail(&reader->player, "the list of names cannot be written: %s", strerror(-r));
    r = forget_temporaries(reader);
    if (r == 0)
        player_report(&reader->player, REPORT_DONE, ORDER_LIST);
    return r;
}

int command_demo_reader(const struct tool_args *args)
{
    struct reader reader = {0};
    cairn_stats stats = {.size = sizeof stats};
    enum demo_order received, order = 0;
    int r = 0;

    (void)!nice(10); /* a courtesy to the indexer */
    if (!player_enter(&reader.player, args, CAIRN_READ_ONLY))
        return TOOL_FAILED;
    if (cairn_stats_get(reader.player.heap, &stats) < 0 || cairn_heap_create(&reader.scratch, NULL) < 0)
        return player_fail(&reader.player, "%s", cairn_last_error());
    reader.low = stats.address;
    reader.high = stats.address + stats.bytes_reserved;

    for (unsigned number = (unsigned)getpid(); r == 0; number++) {
        if (!reader.index)
            reader.index = follow(&reader, cairn_root_get(reader.player.heap, DEMO_ROOT));
        if (reader.index)
            r = run_query(&reader, number);
        player_progress(&reader.player);

        received = player_order(REST_MS);
        if (received == ORDER_END)
            break;
        order = received ? received : order;
        if (!reader.index)
            continue; /* an order waits until there is an index */
        if (order == ORDER_WRITE) {
            try_to_write(&reader);
            player_report(&reader.player, REPORT_DONE, ORDER_WRITE);
        } else if (order == ORDER_LIST && r == 0) {
            r = list_names(&reader);
        }
        order = 0;
    }
    if (r != 0)
        return r;
    cairn_heap_close(reader.scratch);
    cairn_heap_close(reader.player.heap);
    player_report(&reader.player, REPORT_DONE, ORDER_END);
    return TOOL_FINE;
}
