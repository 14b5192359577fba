/* SPDX-License-Identifier: MIT */
#include "tool.h"

/* Every name is tried: one that cannot be removed does not keep the others. */
int command_rm(const struct tool_args *args)
{
    int code = TOOL_FINE;

    for (int i = 0; i < args->operand_count; i++)
        if (cairn_heap_unlink(args->operands[i], args->dir) < 0)
            code = tool_fail_heap();
    return code;
}
