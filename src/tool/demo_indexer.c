/* SPDX-License-Identifier: MIT */
/* The only process of the demo that changes the heap: reads a directory and builds the tree of its names. */
#include "demo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct nodes {
    struct node **nodes;
    size_t count, room;
};

struct indexer {
    struct player player;
    struct index *index;
    int root_fd;
    struct nodes pending;  /* directories that wait to be read, the next one last */
    struct nodes children; /* of the directory that is being read */
    char *path;            /* of that directory; scratch */
    size_t path_room;
};

static bool push(struct nodes *list, struct node *node)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 256;
        struct node **nodes = realloc(list->nodes, room * sizeof(struct node *));

        if (!nodes)
            return false;
        list->nodes = nodes;
        list->room = room;
    }
    list->nodes[list->count++] = node;
    return true;
}

/*
 * Opens the directory of a node. A path may be longer than the PATH_MAX that one call takes: then it is opened in
 * pieces. Returns -1 with errno.
 */
static int open_folder(struct indexer *indexer, const struct node *node)
{
    size_t length = tree_path(node, indexer->path, indexer->path_room);
    int at = indexer->root_fd, fd;
    char *rest;

    if (length + 1 > indexer->path_room) {
        char *path = realloc(indexer->path, 2 * (length + 1));

        if (!path)
            return -1;
        indexer->path = path;
        indexer->path_room = 2 * (length + 1);
        tree_path(node, indexer->path, indexer->path_room);
    }

    for (rest = indexer->path; strlen(rest) >= PATH_MAX; at = fd) {
        char *cut = rest + PATH_MAX - 1;

        while (*cut != '/') /* there is one: a name is shorter than PATH_MAX */
            cut--;
        *cut = '\0';
        fd = openat(at, rest, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (at != indexer->root_fd)
            close(at);
        if (fd < 0)
            return -1;
        rest = cut + 1;
    }
    fd = openat(at, *rest ? rest : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (at != indexer->root_fd)
        close(at);
    return fd;
}

static int64_t change_time(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return 0;
    return (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

static bool is_directory(int folder_fd, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_DIR;
    return fstatat(folder_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* Builds a node that nobody sees yet. Returns NULL when the heap has no room. */
static struct node *make_node(struct indexer *indexer, struct node *parent, const char *name, bool is_folder)
{
    size_t name_bytes = strlen(name);
    struct node *node = cairn_alloc(indexer->player.heap, node_bytes(name_bytes));

    if (!node)
        return NULL;
    *node = (struct node){.parent = parent, .name_bytes = (uint16_t)name_bytes};
    memcpy(node->name, name, name_bytes + 1);
    if (is_folder) {
        node->folder = cairn_zalloc(indexer->player.heap, sizeof *node->folder);
        if (!node->folder)
            return NULL;
    }
    return node;
}

static int by_name(const void *left, const void *right)
{
    return strcmp((*(struct node *const *)left)->name, (*(struct node *const *)right)->name);
}

/* Links the children in order, and shows them all to the readers with one store. */
static void publish(struct indexer *indexer, struct folder *folder)
{
    struct nodes *children = &indexer->children;
    struct node *first = NULL;

    if (children->count == 0)
        return;
    qsort(children->nodes, children->count, sizeof(struct node *), by_name);
    for (size_t i = children->count; i-- > 0; first = children->nodes[i])
        children->nodes[i]->next = first;

    atomic_fetch_add_explicit(&indexer->index->names, children->count, memory_order_relaxed);
    atomic_store_explicit(&folder->first, first, memory_order_release);
}

static int read_folder(struct indexer *indexer, struct node *folder_node)
{
    struct report *report = &indexer->player.report;
    int fd = open_folder(indexer, folder_node);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    report->folders++;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        report->unreadable++; /* it stays in the tree as a name without children, as find(1) has it */
        return 0;
    }
    folder_node->folder->changed_ns = change_time(fd);

    indexer->children.count = 0;
    while (errno = 0, (entry = readdir(dir))) {
        struct node *node;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        node = make_node(indexer, folder_node, entry->d_name, is_directory(fd, entry));
        if (!node) {
            closedir(dir);
            return player_fail(&indexer->player, "%s", cairn_last_error());
        }
        if (!push(&indexer->children, node) || (node->folder && !push(&indexer->pending, node))) {
            closedir(dir);
            return player_fail(&indexer->player, "no memory for the list of directories to read");
        }
        report->names++;
        if (report->names % 1024 == 0)
            player_progress(&indexer->player);
    }
    if (errno != 0)
        report->unreadable++;
    closedir(dir);

    publish(indexer, folder_node->folder);
    player_progress(&indexer->player);
    return 0;
}

/* The node that follows in a walk over the whole tree; NULL at its end. */
static struct node *next_node(struct node *node)
{
    struct node *first = node->folder ? atomic_load_explicit(&node->folder->first, memory_order_relaxed) : NULL;

    if (first)
        return first;
    while (node && !node->next)
        node = node->parent;
    return node ? node->next : NULL;
}

/* ---------------------------------------------------------------- going on where another was killed */

/* Every block that the tree leads to. */
struct reachable {
    cairn_heap *heap;
    const void **blocks;
    size_t count, room;
    uint64_t bytes;
};

static bool reach(struct reachable *reachable, const void *block)
{
    if (reachable->count == reachable->room) {
        size_t room = reachable->room ? 2 * reachable->room : 4096;
        const void **blocks = realloc(reachable->blocks, room * sizeof *blocks);

        if (!blocks)
            return false;
        reachable->blocks = blocks;
        reachable->room = room;
    }
    reachable->bytes += cairn_size(reachable->heap, block);
    reachable->blocks[reachable->count++] = block;
    return true;
}

static int by_address(const void *left, const void *right)
{
    uintptr_t a = *(const uintptr_t *)left, b = *(const uintptr_t *)right;

    return a < b ? -1 : a > b;
}

static bool reach_all(struct reachable *reachable, const struct index *index)
{
    if (!reach(reachable, index))
        return false;
    for (struct node *node = index->root; node; node = next_node(node))
        if (!reach(reachable, node) || (node->folder && !reach(reachable, node->folder)))
            return false;
    qsort(reachable->blocks, reachable->count, sizeof *reachable->blocks, by_address);
    return true;
}

static bool is_reachable(void *block, size_t bytes, void *arg)
{
    const struct reachable *reachable = arg;

    (void)bytes;
    return reachable->count > 0 &&
           bsearch(&block, reachable->blocks, reachable->count, sizeof *reachable->blocks, by_address);
}

/* What is live in the heap, and nothing leads to. */
static uint64_t lost_bytes(const struct reachable *reachable)
{
    cairn_stats stats = {.size = sizeof stats};

    return cairn_stats_get(reachable->heap, &stats) < 0 || stats.bytes_live < reachable->bytes
               ? UINT64_MAX
               : stats.bytes_live - reachable->bytes;
}

/*
 * Frees what the one before had allocated and not linked, and finds what is still to be read: a directory without
 * children may have been read, and then it is read once more.
 */
static int take_over(struct indexer *indexer)
{
    cairn_heap *heap = indexer->player.heap;
    struct report *report = &indexer->player.report;
    struct reachable reachable = {.heap = heap};
    int reaped;

    indexer->index = cairn_root_get(heap, DEMO_ROOT);
    if (indexer->index && !reach_all(&reachable, indexer->index)) {
        free(reachable.blocks);
        return player_fail(&indexer->player, "no memory for a list of blocks");
    }
    reaped = cairn_reap(heap, is_reachable, &reachable);
    report->lost_bytes = lost_bytes(&reachable);
    free(reachable.blocks);
    if (reaped < 0)
        return player_fail(&indexer->player, "%s", cairn_last_error());
    report->reaped = (uint64_t)reaped;
    player_report(&indexer->player, REPORT_PROGRESS, 0);
    if (!indexer->index)
        return 0;

    for (struct node *node = indexer->index->root; node; node = next_node(node)) {
        bool is_read = node->folder && atomic_load_explicit(&node->folder->first, memory_order_relaxed);

        report->names += node->parent != NULL;
        report->folders += is_read;
        if (node->folder && !is_read && !push(&indexer->pending, node))
            return player_fail(&indexer->player, "no memory for the list of directories to read");
    }
    atomic_store_explicit(&indexer->index->names, report->names, memory_order_relaxed);
    return 0;
}

/* ---------------------------------------------------------------- the whole */

static int begin(struct indexer *indexer)
{
    cairn_heap *heap = indexer->player.heap;

    indexer->index = cairn_zalloc(heap, sizeof *indexer->index);
    if (!indexer->index)
        return player_fail(&indexer->player, "%s", cairn_last_error());
    indexer->index->root = make_node(indexer, NULL, "", true);
    if (!indexer->index->root || cairn_root_set(heap, DEMO_ROOT, indexer->index) < 0)
        return player_fail(&indexer->player, "%s", cairn_last_error());

    /* From here on the readers see the tree, and see it grow. */
    if (!push(&indexer->pending, indexer->index->root))
        return player_fail(&indexer->player, "no memory for the list of directories to read");
    return 0;
}

/* Weighs what is live against what the whole tree leads to. */
static int weigh_what_is_lost(struct indexer *indexer)
{
    struct reachable reachable = {.heap = indexer->player.heap};
    bool reached = reach_all(&reachable, indexer->index);

    indexer->player.report.lost_bytes = lost_bytes(&reachable);
    free(reachable.blocks);
    return reached ? 0 : player_fail(&indexer->player, "no memory for a list of blocks");
}

static int build(struct indexer *indexer)
{
    int r = take_over(indexer);

    if (r == 0 && !indexer->index)
        r = begin(indexer);
    while (r == 0 && indexer->pending.count > 0)
        r = read_folder(indexer, indexer->pending.nodes[--indexer->pending.count]);
    if (r == 0)
        atomic_store_explicit(&indexer->index->complete, 1, memory_order_release);
    return r == 0 ? weigh_what_is_lost(indexer) : r;
}

/* Asks each directory again when it was changed. One that has gone, or can no longer be read, counts as well. */
static uint64_t count_changed(struct indexer *indexer)
{
    uint64_t changed = 0;

    for (struct node *node = indexer->index->root; node; node = next_node(node)) {
        int fd;

        if (!node->folder || node->folder->changed_ns == 0)
            continue;
        fd = open_folder(indexer, node);
        changed += fd < 0 || change_time(fd) != node->folder->changed_ns;
        if (fd >= 0)
            close(fd);
        player_progress(&indexer->player);
    }
    return changed;
}

int command_demo_indexer(const struct tool_args *args)
{
    struct indexer indexer = {0};
    enum demo_order order;
    int r;

    if (!player_enter(&indexer.player, args, 0))
        return TOOL_FAILED;
    indexer.root_fd = open(indexer.player.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (indexer.root_fd < 0)
        return player_fail(&indexer.player, "%s: %s", indexer.player.directory, strerror(errno));

    r = build(&indexer);
    if (r != 0)
        return r;
    player_report(&indexer.player, REPORT_DONE, ORDER_INDEX);

    /* Stays attached until the stage has measured, so that the sums speak of everybody. */
    while ((order = player_order(-1)) != ORDER_END) {
        if (order != ORDER_CHANGED)
            continue;
        indexer.player.report.folders_changed = count_changed(&indexer);
        player_report(&indexer.player, REPORT_DONE, ORDER_CHANGED);
    }
    cairn_heap_close(indexer.player.heap);
    close(indexer.root_fd);
    free(indexer.pending.nodes);
    free(indexer.children.nodes);
    free(indexer.path);
    player_report(&indexer.player, REPORT_DONE, ORDER_END);
    return TOOL_FINE;
}
