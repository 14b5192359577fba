/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "platform/platform.h"
#include "section/backing.h"

/* Steps of 1 MiB keep the section few mappings (65,530 are allowed) and the system calls rare. */
#define COMMIT_STEP_SHIFT 20

static int commit(struct section *section, uint64_t offset, uint64_t bytes)
{
    return memory_commit(section->base + offset, bytes);
}

/* A section by itself promises that a touch of what is not committed faults; for a heap that would be many mappings. */
static int decommit(struct section *section, uint64_t offset, uint64_t bytes)
{
    if (section->span_stride == 0)
        return memory_reserve_again(section->base + offset, bytes) == 0 ? 0 : -EOPNOTSUPP;
    return memory_decommit(section->base + offset, bytes);
}

static void discard(struct section *section, uint64_t offset, uint64_t bytes)
{
    (void)memory_decommit(section->base + offset, bytes);
}

static int populate(struct section *section, uint64_t offset, uint64_t bytes)
{
    return memory_populate(section->base + offset, bytes);
}

static void advise_huge(struct section *section, uint64_t offset, uint64_t bytes)
{
    memory_advise_huge(section->base + offset, bytes);
}

static void close_anonymous(struct section *section)
{
    memory_release(section->base, section->bytes_max);
}

static const struct backing anonymous = {
    .commit = commit,
    .decommit = decommit,
    .close = close_anonymous,
    .discard = discard,
    .populate = populate,
    .advise_huge = advise_huge,
    .starts_zero = true,
};

int section_create_anonymous(struct section *ret_section, const struct section_params *params)
{
    struct section_image header;
    int error = section_plan(&header, params);
    if (error < 0)
        return error;

    void *base;
    error = memory_reserve(&base, header.bytes_max);
    if (error < 0)
        return error;
    struct section section = {.backing = &anonymous, .file = -1};
    section.commit_step_shift = params->packed ? 0 : COMMIT_STEP_SHIFT;
    section_view_init(&section, base, &header);

    error = section_image_init(&section, &header);
    if (error < 0) {
        memory_release(base, header.bytes_max);
        return error;
    }
    *ret_section = section;
    return 0;
}
