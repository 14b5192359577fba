/* SPDX-License-Identifier: MIT */
/*
 * Weighs what sharing saves: builds the tree again, node by node, with malloc(3), as each process would have to if it
 * could not share it. The copy is real, and the kernel says how large it is.
 */
#include "demo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct node *copy_node(struct player *player, const struct node *from, struct node *parent);

/* Takes a copy down node by node, as such a process would have to: a shared heap ends as one. */
static void free_node(struct node *node)
{
    struct node *child = node->folder ? atomic_load_explicit(&node->folder->first, memory_order_relaxed) : NULL;

    while (child) {
        struct node *next = child->next;

        free_node(child);
        child = next;
    }
    free(node->folder);
    free(node);
}

static bool copy_children(struct player *player, const struct folder *from, struct node *to)
{
    struct node *last = NULL;

    for (const struct node *child = atomic_load_explicit(&from->first, memory_order_acquire); child;
         child = child->next) {
        struct node *copy = copy_node(player, child, to);

        if (!copy)
            return false;
        if (last)
            last->next = copy;
        else
            atomic_store_explicit(&to->folder->first, copy, memory_order_relaxed);
        last = copy;
        if (++player->report.names % 4096 == 0)
            player_progress(player);
    }
    return true;
}

/* Returns NULL when there is no memory. */
static struct node *copy_node(struct player *player, const struct node *from, struct node *parent)
{
    struct node *node = malloc(node_bytes(from->name_bytes));

    if (!node)
        return NULL;
    memcpy(node, from, offsetof(struct node, name) + from->name_bytes + 1);
    node->parent = parent;
    node->next = NULL;
    if (!from->folder)
        return node;

    node->folder = calloc(1, sizeof *node->folder);
    if (!node->folder || !copy_children(player, from->folder, node)) {
        free_node(node);
        return NULL;
    }
    node->folder->changed_ns = from->folder->changed_ns;
    return node;
}

int command_demo_copier(const struct tool_args *args)
{
    struct player player;
    const struct index *index;
    struct node *copy;
    uint64_t before = 0, after = 0;
    bool measured;

    if (!player_enter(&player, args, CAIRN_READ_ONLY))
        return TOOL_FAILED;
    index = cairn_root_get(player.heap, DEMO_ROOT);
    if (!index)
        return player_fail(&player, "the heap has no root '%s'", DEMO_ROOT);

    measured = kernel_anonymous(&before);
    copy = copy_node(&player, index->root, NULL);
    if (!copy)
        return player_fail(&player, "no memory for a private copy");
    measured = measured && kernel_anonymous(&after);
    free_node(copy);
    if (!measured)
        return player_fail(&player, "/proc/self/smaps does not tell how much memory is private");

    player.report.private_bytes = after > before ? after - before : 0;
    player_report(&player, REPORT_DONE, ORDER_COPY);
    while (player_order(-1) != ORDER_END)
        ;
    cairn_heap_close(player.heap);
    player_report(&player, REPORT_DONE, ORDER_END);
    return TOOL_FINE;
}
