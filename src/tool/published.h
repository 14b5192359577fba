/* SPDX-License-Identifier: MIT */
/* published: what the commands say of a published heap, which they see as a reader does. */
#ifndef CAIRN_TOOL_PUBLISHED_H
#define CAIRN_TOOL_PUBLISHED_H

#include "tool.h"

#include <cairn_publish.h>

/* Becomes a reader for a moment. Returns 0, or why it cannot be one. */
int published_look(const struct tool_args *args, const char *name, cairn_reader_info *ret_info);

/* "for everyone", "for its user", "for its user, 2 users and 1 group" */
struct published_access {
    char text[64];
};
struct published_access published_access(const cairn_reader_info *info);

/* The members of a JSON object, without braces. */
void published_json(const cairn_reader_info *info);

/*
 * Whether a name that is not there as a heap is one under which something is published, or was; what, cairn_last_error
 * or *ret_info tells, which is filled when that is 0.
 */
bool published_is(const struct tool_args *args, const char *name, int *ret_error, cairn_reader_info *ret_info);

/* stat, and what map and check say instead. Returns an exit code. */
int published_stat(const struct tool_args *args, const char *name, int error, const cairn_reader_info *info);
int published_refuse(const char *name, int error, const char *what);

#endif
