/* SPDX-License-Identifier: MIT */
#include "tool.h"

/* Every name is tried: one that cannot be removed does not keep the others. */
int command_rm(const struct tool_args *args)
{
    cairn_client_options options = {.socket = args->socket};
    int code = TOOL_FINE;

    for (int i = 0; i < args->operand_count; i++) {
        const char *name = args->operands[i];
        int r = args->server ? cairn_client_shared_drop(name, &options) : cairn_heap_unlink(name, args->dir);

        if (r < 0)
            code = tool_fail_heap();
    }
    return code;
}
