/* SPDX-License-Identifier: MIT */
/*
 * Sections by themselves: the section floor with names and reasons. A named one is the same kind of file as a heap's,
 * with commit bits in front of the user's bytes and no tables; each process has one full view of it, shared by its
 * handles.
 */
#include <errno.h>
#include <string.h>

#include "api/names.h"
#include "api/process.h"

struct cairn_section {
    struct section section;
    struct cairn_section *next;
    uint32_t handles; /* how often it is open in this process */
    char label[CAIRN_NAME_MAX + 20];
};

static struct cairn_section *open_sections; /* those with a file; process_lock */

static int out_of_range(const struct cairn_section *section)
{
    return error_set(-EINVAL, "%s: the range is not in its %llu bytes", section->label,
                     (unsigned long long)section->section.units_bytes);
}

static bool is_in_range(const struct cairn_section *section, uint64_t offset, uint64_t bytes)
{
    return offset <= section->section.units_bytes && bytes <= section->section.units_bytes - offset;
}

static struct cairn_section *new_section(const char *name)
{
    struct cairn_section *section = pool_get(sizeof *section);
    if (section == NULL)
        return NULL;
    section->handles = 1;
    if (name == NULL)
        name = "anonymous section";
    memcpy(section->label, name, strlen(name) + 1); /* checked to fit */
    return section;
}

/* ---------------------------------------------------------------- creating and opening */

static int create_anonymous(struct cairn_section **ret_section, const struct section_params *params)
{
    struct cairn_section *section = new_section(NULL);
    if (section == NULL)
        return -ENOMEM;
    int error = section_create_anonymous(&section->section, params);
    if (error < 0) {
        pool_give(section, sizeof *section);
        return error;
    }
    section->section.commit_step_shift = 0; /* what is told as committed is what was asked for */
    *ret_section = section;
    return 0;
}

struct section_creation {
    struct cairn_section *section;
    struct section_params params;
    int file;
};

static int create_at(uint64_t address, void *arg)
{
    struct section_creation *creation = arg;
    creation->params.address = address;
    return section_create_file(&creation->section->section, creation->file, &creation->params);
}

static void link_section(struct cairn_section *section)
{
    section->section.commit_step_shift = 0;
    section->next = open_sections;
    open_sections = section;
}

static int create_named(struct cairn_section **ret_section, const struct cairn_options *options, const char *directory,
                        const struct section_params *params)
{
    struct section_creation creation = {.section = new_section(options->name), .params = *params};
    if (creation.section == NULL)
        return -ENOMEM;
    int error = file_create_unnamed(&creation.file, directory, options->mode != 0 ? options->mode : 0600);
    if (error < 0) {
        pool_give(creation.section, sizeof *creation.section);
        return error;
    }
    struct section_image planned;
    error = section_plan(&planned, params);
    if (error == 0)
        error = address_choose(directory, options->name, planned.bytes_max, create_at, &creation);
    if (error < 0) {
        file_close(creation.file);
        pool_give(creation.section, sizeof *creation.section);
        return error;
    }
    if (options->bytes_start != 0)
        error =
            section_commit(&creation.section->section, creation.section->section.units_offset, options->bytes_start);
    if (error == 0)
        error = file_publish(creation.section->section.file, directory, options->name);
    if (error < 0) {
        section_close(&creation.section->section);
        pool_give(creation.section, sizeof *creation.section);
        return error;
    }
    mutex_lock(&process_lock);
    link_section(creation.section);
    mutex_unlock(&process_lock);
    *ret_section = creation.section;
    return 0;
}

static int open_locked(struct cairn_section **ret_section, const char *name, const char *directory, uint64_t flags)
{
    bool read_only = (flags & CAIRN_READ_ONLY) != 0;
    int file;
    struct section_image header;
    struct file_status status;
    int error = heap_file_open(directory, name, flags, &file, &header);
    if (error < 0)
        return error;
    error = file_status_get(file, &status);
    if (error == 0 && header.heaps_max != 0)
        error = error_set(-EPROTO, "%s: a heap, not a section by itself", name);
    struct cairn_section *section = open_sections;
    while (section != NULL && (section->section.device != status.device || section->section.inode != status.inode))
        section = section->next;
    if (error == 0 && section != NULL) {
        file_close(file);
        if (section->section.read_only && !read_only)
            return error_set(-EBUSY, "%s: open read-only in this process already", name);
        section->handles++;
        *ret_section = section;
        return 0;
    }
    section = error == 0 ? new_section(name) : NULL;
    if (section != NULL)
        error = section_open_file(&section->section, file, &header, read_only);
    else if (error == 0)
        error = -ENOMEM;
    if (section == NULL || error < 0) {
        file_close(file);
        if (section != NULL)
            pool_give(section, sizeof *section);
        return error_set(error, "%s: cannot be opened: %s", name, cairn_strerror(error));
    }
    link_section(section);
    *ret_section = section;
    return 0;
}

static int open_named(struct cairn_section **ret_section, const char *name, const char *directory, uint64_t flags)
{
    mutex_lock(&process_lock);
    int error = open_locked(ret_section, name, directory, flags);
    mutex_unlock(&process_lock);
    return error;
}

CAIRN_API int cairn_section_create(struct cairn_section **ret_section, const struct cairn_options *options)
{
    struct cairn_options wanted;
    char directory[DIRECTORY_BYTES];
    int error = options_get(&wanted, options);
    if (error < 0)
        return error;
    if (ret_section == NULL || wanted.bytes_max == 0 || wanted.bytes_start > wanted.bytes_max ||
        (wanted.flags & ~CAIRN_OPEN_OR_CREATE) != 0)
        return error_set(-EINVAL, "a section needs a bytes_max, and a variable to be stored to");
    uint64_t page = platform_page_size();
    struct section_params params = {
        .raw = true,
        .bytes_max = align_up(wanted.bytes_max, page),
        .page_shift = bit_highest(page),
        .created_at = time_now(),
    };
    random_fill(&params.instance, sizeof params.instance);
    if (wanted.name == NULL) {
        error = create_anonymous(ret_section, &params);
        if (error == 0 && wanted.bytes_start != 0) {
            error = cairn_section_commit(*ret_section, 0, wanted.bytes_start);
            if (error < 0)
                cairn_section_close(*ret_section);
        }
        return error < 0 ? error_set(error, "a section cannot be made: %s", cairn_strerror(error)) : 0;
    }
    error = name_check(wanted.name);
    if (error == 0)
        error = directory_get(wanted.directory, true, directory, NULL);
    if (error < 0)
        return error;
    for (uint32_t attempt = 0; attempt < 1000; attempt++) {
        if ((wanted.flags & CAIRN_OPEN_OR_CREATE) != 0) {
            error = open_named(ret_section, wanted.name, directory, 0);
            if (error != -ENOENT)
                return error;
        }
        error = create_named(ret_section, &wanted, directory, &params);
        if (error != -EEXIST || (wanted.flags & CAIRN_OPEN_OR_CREATE) == 0)
            break;
    }
    return error < 0 ? error_set(error, "%s: cannot be made in %s: %s", wanted.name, directory, cairn_strerror(error))
                     : 0;
}

CAIRN_API int cairn_section_open(struct cairn_section **ret_section, const char *name,
                                 const struct cairn_options *options)
{
    struct cairn_options wanted;
    char directory[DIRECTORY_BYTES];
    int error = options_get(&wanted, options);
    if (error == 0)
        error = name_check(name);
    if (error == 0)
        error = directory_get(wanted.directory, false, directory, NULL);
    if (error < 0)
        return error;
    if (ret_section == NULL || (wanted.flags & ~(CAIRN_READ_ONLY | CAIRN_ANY_OWNER)) != 0)
        return error_set(-EINVAL, "opening never creates, and needs a variable to store to");
    return open_named(ret_section, name, directory, wanted.flags);
}

CAIRN_API void cairn_section_close(struct cairn_section *section)
{
    if (section == NULL)
        return;
    mutex_lock(&process_lock);
    bool last = --section->handles == 0;
    struct cairn_section **link = &open_sections;
    while (last && *link != NULL && *link != section)
        link = &(*link)->next;
    if (last && *link != NULL)
        *link = section->next;
    mutex_unlock(&process_lock);
    if (!last)
        return;
    section_close(&section->section);
    pool_give(section, sizeof *section);
}

CAIRN_API int cairn_section_unlink(const char *name, const char *directory)
{
    return cairn_heap_unlink(name, directory);
}

CAIRN_API void *cairn_section_address(const struct cairn_section *section)
{
    return section->section.units;
}

CAIRN_API uint64_t cairn_section_bytes_max(const struct cairn_section *section)
{
    return section->section.units_bytes;
}

/* ---------------------------------------------------------------- memory */

static int check_change(const struct cairn_section *section, uint64_t offset, uint64_t bytes)
{
    if (section->section.read_only)
        return error_set(-EROFS, "%s: open read-only", section->label);
    return is_in_range(section, offset, bytes) ? 0 : out_of_range(section);
}

CAIRN_API int cairn_section_commit(struct cairn_section *section, uint64_t offset, uint64_t bytes)
{
    int error = check_change(section, offset, bytes);
    if (error < 0)
        return error;
    error = section_commit(&section->section, section->section.units_offset + offset, bytes);
    return error < 0 ? error_set(error, "%s: %llu bytes cannot be committed: %s", section->label,
                                 (unsigned long long)bytes, cairn_strerror(error))
                     : 0;
}

CAIRN_API int cairn_section_decommit(struct cairn_section *section, uint64_t offset, uint64_t bytes)
{
    int error = check_change(section, offset, bytes);
    if (error < 0)
        return error;
    error = section_decommit(&section->section, section->section.units_offset + offset, bytes);
    return error < 0 ? error_set(error, "%s: memory cannot be given back: %s", section->label, cairn_strerror(error))
                     : 0;
}

/* No call of the system says "contents not wanted" of shared memory; for private memory one does, and it reads as zero.
 */
CAIRN_API int cairn_section_reset(struct cairn_section *section, uint64_t offset, uint64_t bytes)
{
    int error = check_change(section, offset, bytes);
    if (error < 0)
        return error;
    uint64_t from = section->section.units_offset + offset;
    if (!section_range_committed(&section->section, from, bytes))
        return error_set(-EINVAL, "%s: the range is not all committed", section->label);
    uint64_t page = UINT64_C(1) << section->section.page_shift;
    uint64_t first = align_up(from, page);
    uint64_t end = align_down(from + bytes, page);
    if (section->section.file < 0 && first < end)
        (void)memory_decommit(section->section.base + first, end - first);
    return 0;
}

CAIRN_API int cairn_section_query(const struct cairn_section *section, uint64_t offset, uint64_t *ret_run)
{
    if (offset >= section->section.units_bytes)
        return out_of_range(section);
    uint64_t run;
    bool committed = section_committed(&section->section, section->section.units_offset + offset, &run);
    if (ret_run != NULL)
        *ret_run = min_u64(run, section->section.units_bytes - offset);
    return committed;
}

/* ---------------------------------------------------------------- views of parts */

CAIRN_API int cairn_section_map(struct cairn_section *section, uint64_t offset, uint64_t bytes, void *at,
                                void **ret_view)
{
    uint64_t page = platform_page_size();
    if (section->section.file < 0)
        return error_set(-EOPNOTSUPP, "%s: only a named section can be mapped again", section->label);
    if (!is_in_range(section, offset, bytes) || bytes == 0 || offset % page != 0 || bytes % page != 0 ||
        (uintptr_t)at % page != 0)
        return error_set(-EINVAL, "%s: a view is of whole pages in its %llu bytes", section->label,
                         (unsigned long long)section->section.units_bytes);
    if (!section_file_is_ours(&section->section))
        return error_set(-EBADF, "%s: the application closed its descriptor", section->label);
    uint64_t from = section->section.units_offset + offset;
    void *view = at;
    int error = at != NULL ? file_map_over(at, section->section.file, from, bytes, section->section.read_only)
                           : file_map_part(&view, section->section.file, from, bytes, section->section.read_only);
    if (error < 0)
        return error_set(error, "%s: cannot be mapped: %s", section->label, cairn_strerror(error));
    *ret_view = view;
    return 0;
}

static int check_view(const void *view, uint64_t bytes)
{
    uint64_t page = platform_page_size();
    if (view == NULL || bytes == 0 || (uintptr_t)view % page != 0 || bytes % page != 0)
        return error_set(-EINVAL, "a view is of whole pages");
    return 0;
}

CAIRN_API int cairn_section_unmap(void *view, uint64_t bytes, bool in_range)
{
    int error = check_view(view, bytes);
    if (error < 0)
        return error;
    if (in_range)
        return memory_reserve_again(view, bytes);
    memory_release(view, bytes);
    return 0;
}

CAIRN_API int cairn_range_reserve(uint64_t bytes, void **ret_range)
{
    if (bytes == 0 || bytes % platform_page_size() != 0)
        return error_set(-EINVAL, "a range has whole pages");
    int error = memory_reserve(ret_range, bytes);
    return error < 0 ? error_set(error, "a range of %llu bytes cannot be reserved", (unsigned long long)bytes) : 0;
}

CAIRN_API int cairn_range_release(void *range, uint64_t bytes)
{
    int error = check_view(range, bytes);
    if (error == 0)
        memory_release(range, bytes);
    return error;
}
