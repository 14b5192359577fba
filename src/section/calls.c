/* SPDX-License-Identifier: MIT */
/* A section whose memory the caller gets: from a file, a device, another heap. */
#include <errno.h>

#include "platform/platform.h"
#include "section/backing.h"

/*
 * Promised is 0 or a negative errno value: what else it means nobody knows. Values by which the core tells itself
 * something would be believed: -EAGAIN is "begin again", for ever. From a caller they say that there is no memory.
 */
static int commit(struct section *section, uint64_t offset, uint64_t bytes)
{
    enum { ERRNO_MAX = 4095 };
    int error = section->call_commit(section->call_arg, section->base + offset, bytes);
    if (error > 0 || error < -ERRNO_MAX)
        return -EIO;
    bool means_more = error == -EAGAIN || error == -EBADF || error == -EDQUOT || error == -EINVAL || error == -ENOSPC;
    return means_more ? -ENOMEM : error;
}

static int decommit(struct section *section, uint64_t offset, uint64_t bytes)
{
    if (section->call_decommit == NULL)
        return -EOPNOTSUPP;
    int error = section->call_decommit(section->call_arg, section->base + offset, bytes);
    return error > 0 ? -EOPNOTSUPP : error;
}

/* Committed by a call may mean no more than allowed. */
static int populate(struct section *section, uint64_t offset, uint64_t bytes)
{
    return memory_populate(section->base + offset, bytes);
}

static void close_calls(struct section *section)
{
    if (section->call_release != NULL)
        section->call_release(section->call_arg, section->base, section->bytes_max);
}

/* What a caller's commit returns is promised to be zero, but a promise is no proof: zalloc clears it itself. */
static const struct backing calls = {
    .commit = commit,
    .decommit = decommit,
    .close = close_calls,
    .populate = populate,
    .starts_zero = false,
};

int section_create_calls(struct section *ret_section, void *base,
                         int (*call_commit)(void *arg, void *address, size_t bytes),
                         int (*call_decommit)(void *arg, void *address, size_t bytes),
                         void (*call_release)(void *arg, void *address, size_t bytes), void *arg,
                         const struct section_params *params)
{
    struct section_image header;
    int error = section_plan(&header, params);
    if (error < 0) {
        if (call_release != NULL)
            call_release(arg, base, params->bytes_max);
        return error;
    }
    struct section section = {
        .backing = &calls,
        .file = -1,
        .call_commit = call_commit,
        .call_decommit = call_decommit,
        .call_release = call_release,
        .call_arg = arg,
    };
    section_view_init(&section, base, &header);
    error = (uintptr_t)base % (UINT64_C(1) << header.page_shift) != 0 ? -EINVAL : 0;
    if (error == 0)
        error = section_image_init(&section, &header);
    if (error < 0) {
        close_calls(&section);
        return error;
    }
    *ret_section = section;
    return 0;
}
