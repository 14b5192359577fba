/* SPDX-License-Identifier: MIT */
/* section: what the commands say of a section without a heap in it. */
#ifndef CAIRN_TOOL_SECTION_H
#define CAIRN_TOOL_SECTION_H

#include "tool.h"

/* Opens a section without the right to write; NULL, and says nothing, when the name is not that of one. */
cairn_section *tool_open_section(const struct tool_args *args, const char *name);

int section_stat(const struct tool_args *args, const char *name, const cairn_section *section);
int section_map(const struct tool_args *args, const char *name, const cairn_section *section);
int section_check(const struct tool_args *args, const char *name, const cairn_section *section);

#endif
