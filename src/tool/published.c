/* SPDX-License-Identifier: MIT */
/* stat of a published heap. Its bookkeeping is its publisher's private memory, so there is nothing to be drawn or
 * checked. */
#include "published.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "text.h"

enum { TIMEOUT_MS = 1000 }; /* a publisher that does not dispatch does not answer */

int published_look(const struct tool_args *args, const char *name, cairn_reader_info *ret_info)
{
    cairn_reader_options options = {.directory = args->dir, .flags = CAIRN_READER_ANY_OWNER, .timeout_ms = TIMEOUT_MS};
    cairn_reader *reader;
    int r = cairn_reader_open(&reader, name, &options);

    if (r < 0)
        return r;
    *ret_info = (cairn_reader_info){.size = sizeof *ret_info};
    r = cairn_reader_info_get(reader, ret_info);
    cairn_reader_close(reader);
    return r;
}

bool published_is(const struct tool_args *args, const char *name, int *ret_error, cairn_reader_info *ret_info)
{
    *ret_error = published_look(args, name, ret_info);
    return *ret_error != -ENOENT && *ret_error != -EINVAL && *ret_error != -ENAMETOOLONG;
}

struct published_access published_access(const cairn_reader_info *info)
{
    struct published_access access;

    if (info->everyone)
        snprintf(access.text, sizeof access.text, "for everyone");
    else if (info->users_count == 0 && info->groups_count == 0)
        snprintf(access.text, sizeof access.text, "for its user");
    else
        snprintf(access.text, sizeof access.text, "for its user, %" PRIu32 " user%s and %" PRIu32 " group%s",
                 info->users_count, text_plural(info->users_count), info->groups_count,
                 text_plural(info->groups_count));
    return access;
}

void published_json(const cairn_reader_info *info)
{
    printf("\"bytes\":%" PRIu64 ",\"bytes_max\":%" PRIu64 ",\"generation\":\"%016" PRIx64 "\",\"version\":%" PRIu32
           ",\"user\":%" PRIu32 ",\"process\":%" PRIu32 ",\"everyone\":%s,\"users_count\":%" PRIu32
           ",\"groups_count\":%" PRIu32 ",\"readers_max\":%" PRIu32,
           info->bytes, info->bytes_max, info->generation, info->version, info->user, info->process,
           info->everyone ? "true" : "false", info->users_count, info->groups_count, info->readers_max);
}

int published_stat(const struct tool_args *args, const char *name, int error, const cairn_reader_info *info)
{
    if (error < 0)
        return tool_fail_heap();
    if (args->json) {
        fputs("{\"schema\":\"cairn.published/1\",\"name\":", stdout);
        text_json(stdout, name);
        printf(",\n\"address\":\"0x%" PRIx64 "\",\"units_address\":\"0x%" PRIx64 "\",\"created_at\":%" PRIu64 ",\n",
               info->address, info->units_address, info->created_at);
        published_json(info);
        puts("}");
        return TOOL_FINE;
    }
    text_name(stdout, name);
    printf("\npublished   by process %" PRIu32 " of user %" PRIu32 ", %s; %" PRIu32 " reader%s at most\n",
           info->process, info->user, published_access(info).text, info->readers_max, text_plural(info->readers_max));
    printf("generation  %016" PRIx64 ", version %" PRIu32 " of its roots\n", info->generation, info->version);
    printf("committed   %s of at most %s\n", text_bytes(info->bytes).text, text_bytes(info->bytes_max).text);
    printf("address     0x%" PRIx64 "; blocks from 0x%" PRIx64 "\n", info->address, info->units_address);
    return TOOL_FINE;
}

int published_refuse(const char *name, int error, const char *what)
{
    if (error < 0)
        return tool_fail_heap();
    return tool_fail("%s: published, and what lies where in it its publisher alone knows: it cannot be %s", name, what);
}
