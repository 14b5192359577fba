/* SPDX-License-Identifier: MIT */
/*
 * A section of which a part is published: what readers see lies in a memory file that nobody else can ever write, and
 * the bookkeeping in front of it in private memory, where it cannot be read.
 *
 * The file has no holes: a reader who reads one would make the file take memory. So a commit takes all from the file's
 * end to its own, and what lies between is there before anybody asks for it; and nothing is given back, which the
 * seals forbid anyway.
 */
#include <errno.h>

#include "platform/platform.h"
#include "section/backing.h"

static int commit_file(struct section *section, uint64_t end)
{
    if (end <= section->published_bytes)
        return 0;
    if (!section_file_is_ours(section))
        return -EBADF;
    int error = file_commit(section->file, section->published_bytes, end - section->published_bytes);
    if (error < 0)
        return error;
    section->published_bytes = end;
    if (section->public_image != NULL)
        store_release(&section->public_image->bytes, end);
    return 0;
}

static int commit(struct section *section, uint64_t offset, uint64_t bytes)
{
    uint64_t end = offset + bytes;
    if (offset < section->public_offset) {
        int error = memory_commit(section->base + offset, min_u64(end, section->public_offset) - offset);
        if (error < 0)
            return error;
    }
    return end > section->public_offset ? commit_file(section, end - section->public_offset) : 0;
}

static int decommit(struct section *section, uint64_t offset, uint64_t bytes)
{
    (void)section, (void)offset, (void)bytes;
    return -EOPNOTSUPP;
}

static void close_published(struct section *section)
{
    memory_release(section->base, section->public_is_parents ? section->public_offset : section->bytes_max);
    if (section_file_is_ours(section))
        file_close(section->file);
    section->file = -1;
}

static const struct backing published = {
    .commit = commit,
    .decommit = decommit,
    .close = close_published,
    .starts_zero = true,
};

/* Once for ever, and before anybody has the file: views from now on can only read, and it gets no shorter. */
static int map_and_seal(struct section *section, const struct section_image *header)
{
    uint64_t view_bytes = header->bytes_max - section->public_offset;
    unsigned char *view = section->base + section->public_offset;
    int error = file_map_over(view, section->file, 0, view_bytes, false);
    if (error == 0)
        error = memory_not_for_children(view, view_bytes);
    if (error == 0)
        error = file_seal(section->file, 0400, FILE_SEAL_FUTURE_WRITE | FILE_SEAL_SHRINK | FILE_SEAL_SEAL);
    return error;
}

static void write_public_image(struct section *section, const struct section_image *header, uint32_t readers_max)
{
    struct public_image *image = (struct public_image *)(void *)(section->base + section->public_offset);
    image->magic = PUBLIC_MAGIC;
    image->byte_order = IMAGE_BYTE_ORDER;
    image->version = PUBLIC_VERSION;
    image->fingerprint = public_fingerprint();
    image->instance = header->instance;
    image->address = (uintptr_t)image;
    image->bytes_max = header->bytes_max - section->public_offset;
    image->public_offset = section->public_offset;
    image->roots_offset = header->roots_offset - section->public_offset;
    image->units_offset = header->units_offset - section->public_offset;
    image->roots_max = header->roots_max;
    image->readers_max = readers_max;
    image->created_at = header->created_at;
    image->checksum = public_checksum(image);
    store_relaxed(&image->epoch, 1);
    store_release(&image->bytes, section->published_bytes);
    section->public_image = image;
}

int section_create_published(struct section *ret_section, int file, const struct section_params *params,
                             uint32_t readers_max)
{
    struct section_image header;
    struct section_params wanted = *params;
    wanted.public_last = true;
    int error = section_plan(&header, &wanted);
    if (error < 0)
        return error;
    struct file_status status;
    error = file_status_get(file, &status);
    if (error < 0)
        return error;
    void *base = (void *)(uintptr_t)params->address;
    error = memory_reserve_at(base, header.bytes_max);
    if (error < 0)
        return error;
    struct section section = {
        .backing = &published,
        .file = file,
        .device = status.device,
        .inode = status.inode,
        .public_offset = section_public_offset(&header),
        .commit_step_shift = COMMIT_STEP_GROWING,
    };
    section_view_init(&section, base, &header);
    error = map_and_seal(&section, &header);
    if (error == 0)
        error = section_image_init(&section, &header);
    if (error == 0)
        error = section_commit(&section, section.public_offset, header.units_offset - section.public_offset);
    if (error < 0) {
        memory_release(base, header.bytes_max);
        return error;
    }
    write_public_image(&section, &header, readers_max);
    /* Nothing can be given back, so nobody need look for what could be. */
    store_relaxed(&section.image->bytes_retained, RETAINED_ALL);
    *ret_section = section;
    return 0;
}
