/* SPDX-License-Identifier: MIT */
#include "demo.h"

#include <string.h>

size_t tree_path(const struct node *node, char *path, size_t room)
{
    size_t length = 0, at;

    for (const struct node *n = node; n->parent; n = n->parent)
        length += n->name_bytes + (n->parent->parent ? 1u : 0u);
    if (length + 1 > room)
        return length;

    /* From the end to the front: the way up is the only one that a node knows. */
    at = length;
    path[at] = '\0';
    for (const struct node *n = node; n->parent; n = n->parent) {
        at -= n->name_bytes;
        memcpy(path + at, n->name, n->name_bytes);
        if (n->parent->parent)
            path[--at] = '/';
    }
    return length;
}
