/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "section/backing.h"

static int commit(struct section *section, uint64_t offset, uint64_t bytes)
{
    (void)section, (void)offset, (void)bytes;
    return 0;
}

static int decommit(struct section *section, uint64_t offset, uint64_t bytes)
{
    (void)section, (void)offset, (void)bytes;
    return -EOPNOTSUPP;
}

static void close_lent(struct section *section)
{
    (void)section;
}

/* The caller's bytes: nothing to give back, and nothing known about what they hold. */
static const struct backing lent = {
    .commit = commit,
    .decommit = decommit,
    .close = close_lent,
    .starts_zero = false,
};

int section_create_lent(struct section *ret_section, void *memory, const struct section_params *params)
{
    struct section_params packed = *params;
    packed.packed = true;
    packed.committed = true;
    struct section_image header;
    int error = section_plan(&header, &packed);
    if (error < 0)
        return error;
    if ((uintptr_t)memory % 64 != 0)
        return -EINVAL;

    struct section section = {.backing = &lent, .file = -1};
    memset(memory, 0, header.units_offset);
    section_view_init(&section, memory, &header);
    error = section_image_init(&section, &header);
    if (error < 0)
        return error;
    *ret_section = section;
    return 0;
}

int section_open_lent(struct section *ret_section, void *memory, uint64_t bytes)
{
    struct section_image header;
    if ((uintptr_t)memory % 64 != 0 || bytes < sizeof header)
        return -EINVAL;
    memcpy(&header, memory, sizeof header);
    int error = section_header_check(&header, bytes, NULL);
    if (error < 0)
        return error;
    if (header.bytes_max > bytes || header.commit_offset != 0)
        return -EUCLEAN;

    struct section section = {.backing = &lent, .file = -1};
    section_view_init(&section, memory, &header);
    *ret_section = section;
    return 0;
}
