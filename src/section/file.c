/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "platform/platform.h"
#include "section/backing.h"

/*
 * An application may have closed every descriptor (closefrom) and opened a file of its own under our number: then the
 * number is not ours to grow, and growth fails instead of damaging that file.
 */
bool section_file_is_ours(const struct section *section)
{
    struct file_status status;
    return file_status_get(section->file, &status) == 0 && status.device == section->device &&
           status.inode == section->inode;
}

/* The marks grow after the file: too short it is only when it was so before and after they were read. */
bool section_file_is_whole(const struct section *section)
{
    struct file_status status;
    uint64_t bytes = 0; /* before the marks were read */
    while (file_status_get(section->file, &status) == 0 && status.bytes > bytes) {
        bytes = status.bytes;
        if (section_committed_end(section, bytes) <= bytes)
            return section_marks_are_sound(section, bytes, file_next_data);
    }
    return false;
}

/*
 * What a heap grows by is filled soon: its pages are put into place at once, which takes less than half of what a fault
 * for each of them does. More than a step is one block's, whose owner may leave most of it untouched.
 */
#define PREFAULT_BYTES_MAX (UINT64_C(1) << 20)

static int commit(struct section *section, uint64_t offset, uint64_t bytes)
{
    if (!section_file_is_ours(section))
        return -EBADF;
    int error = file_commit(section->file, offset, bytes);
    if (error == 0 && bytes <= PREFAULT_BYTES_MAX)
        memory_prefault(section->base + offset, bytes);
    return error;
}

static int decommit(struct section *section, uint64_t offset, uint64_t bytes)
{
    return file_decommit(section->base + offset, bytes);
}

static void close_file(struct section *section)
{
    memory_release(section->base, section->bytes_max);
    if (section_file_is_ours(section))
        file_close(section->file);
    section->file = -1;
}

static const struct backing file_backing = {
    .commit = commit,
    .decommit = decommit,
    .close = close_file,
    .starts_zero = true,
};

static int map(struct section *ret_section, int file, const struct section_image *header, bool read_only)
{
    struct file_status status;
    int error = file_status_get(file, &status);
    if (error < 0)
        return error;
    void *base;
    error = file_map(&base, file, header->address, header->bytes_max, read_only);
    if (error < 0)
        return error;
    *ret_section = (struct section){
        .backing = &file_backing,
        .file = file,
        .device = status.device,
        .inode = status.inode,
        .read_only = read_only,
        .commit_step_shift = COMMIT_STEP_GROWING,
    };
    section_view_init(ret_section, base, header);
    return 0;
}

int section_create_file(struct section *ret_section, int file, const struct section_params *params)
{
    struct section_image header;
    int error = section_plan(&header, params);
    if (error < 0)
        return error;
    struct section section;
    error = map(&section, file, &header, false);
    if (error < 0)
        return error;
    error = section_image_init(&section, &header);
    if (error < 0) {
        memory_release(section.base, section.bytes_max);
        return error;
    }
    *ret_section = section;
    return 0;
}

int section_open_file(struct section *ret_section, int file, const struct section_image *header, bool read_only)
{
    return map(ret_section, file, header, read_only);
}
