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

/* What this process has of a section. */
struct view {
    struct section section;
    struct view *next;
    uint32_t handles;
    char label[CAIRN_NAME_MAX + 20];
};

/* A handle: one opened read-only stays so beside another that writes through the same view. */
struct cairn_section {
    struct view *view;
    bool read_only;
};

static struct view *open_views; /* those with a file; process_lock */

static int out_of_range(const struct cairn_section *section)
{
    return error_set(-EINVAL, "%s: the range is not in its %llu bytes", section->view->label,
                     (unsigned long long)section->view->section.units_bytes);
}

static bool is_in_range(const struct cairn_section *section, uint64_t offset, uint64_t bytes)
{
    uint64_t units_bytes = section->view->section.units_bytes;
    return offset <= units_bytes && bytes <= units_bytes - offset;
}

/* ---------------------------------------------------------------- creating and opening */

static struct view *new_view(const char *name)
{
    struct view *view = pool_get(sizeof *view);
    if (view == NULL)
        return NULL;
    if (name == NULL)
        name = "anonymous section";
    memcpy(view->label, name, strlen(name) + 1); /* checked to fit */
    return view;
}

static void end_view(struct view *view)
{
    section_close(&view->section);
    pool_give(view, sizeof *view);
}

static struct cairn_section *new_handle(struct view *view, bool read_only)
{
    struct cairn_section *section = pool_get(sizeof *section);
    if (section == NULL)
        return NULL;
    *section = (struct cairn_section){.view = view, .read_only = read_only};
    view->handles++;
    return section;
}

/* One use of a name, or of none. */
struct section_call {
    struct cairn_section *section; /* the result */
    const char *name;
    const char *directory;
    const struct cairn_options *options;
    struct section_params params;
    struct view *view; /* while it is made */
    int file;
};

static int map_at(uint64_t address, void *arg)
{
    struct section_call *call = arg;
    call->params.address = address;
    return section_create_file(&call->view->section, call->file, &call->params);
}

static int map_new(struct section_call *call)
{
    if (call->name == NULL)
        return section_create_anonymous(&call->view->section, &call->params);
    struct section_image planned;
    int error = section_plan(&planned, &call->params);
    if (error == 0)
        error = heap_file_create(call->options, call->directory, &call->file);
    if (error < 0)
        return error;
    error = address_choose(call->directory, call->name, planned.bytes_max, NULL, map_at, call);
    if (error < 0)
        file_close(call->file);
    return error;
}

/* Under the lock, so that nobody here opens the name before its view is known. */
static int publish(struct section_call *call)
{
    struct view *view = call->view;
    mutex_lock(&process_lock);
    int error = file_publish(view->section.file, call->directory, call->name);
    if (error == 0) {
        view->next = open_views;
        open_views = view;
    }
    mutex_unlock(&process_lock);
    return error;
}

/* All of it exists before it has a name. */
static int complete(struct section_call *call)
{
    struct view *view = call->view;
    view->section.commit_step_shift = 0; /* what is told as committed is what was asked for */
    uint64_t bytes_start = call->options->bytes_start;
    int error = section_commit(&view->section, view->section.units_offset, bytes_start);
    if (error == 0 && call->name == NULL && bytes_start != 0) /* of a file it is there already */
        error = section_populate(&view->section, view->section.units_offset, bytes_start);
    call->section = error == 0 ? new_handle(view, false) : NULL;
    if (call->section == NULL)
        return error < 0 ? error : -ENOMEM;
    error = call->name != NULL ? publish(call) : 0;
    if (error < 0)
        pool_give(call->section, sizeof *call->section);
    return error;
}

static int watch(void)
{
    mutex_lock(&process_lock);
    int error = process_watch();
    mutex_unlock(&process_lock);
    return error;
}

static int create(struct section_call *call)
{
    int error = watch();
    call->view = error == 0 ? new_view(call->name) : NULL;
    if (call->view == NULL)
        return error < 0 ? error : -ENOMEM;
    error = map_new(call);
    if (error < 0) {
        pool_give(call->view, sizeof *call->view);
        return error;
    }
    error = complete(call);
    if (error < 0)
        end_view(call->view);
    return error;
}

static int create_it(void *arg)
{
    struct section_call *call = arg;
    int error = create(call);
    if (error < 0 && call->name == NULL)
        return error_set(error, "a section cannot be made: %s", cairn_strerror(error));
    return error < 0
               ? error_set(error, "%s: cannot be made in %s: %s", call->name, call->directory, cairn_strerror(error))
               : 0;
}

/* Maps an opened file, which is closed on failure. */
static int map_opened(struct section_call *call, const struct section_image *header, bool read_only)
{
    struct view *view = new_view(call->name);
    int error = view == NULL ? -ENOMEM : section_open_file(&view->section, call->file, header, read_only);
    if (error < 0) {
        file_close(call->file);
        if (view != NULL)
            pool_give(view, sizeof *view);
        (void)error_set(error, "%s: cannot be mapped at %#llx: %s", call->name, (unsigned long long)header->address,
                        cairn_strerror(error));
        return error;
    }
    if (!section_file_is_whole(&view->section)) {
        end_view(view);
        (void)error_set(-EUCLEAN, "%s: damaged: the file is shorter than what is committed", call->name);
        return -EUCLEAN;
    }
    view->section.commit_step_shift = 0;
    view->next = open_views;
    open_views = view;
    call->view = view;
    return 0;
}

static void unlink_view(const struct view *view)
{
    struct view **link = &open_views;
    while (*link != NULL && *link != view)
        link = &(*link)->next;
    if (*link != NULL)
        *link = view->next;
}

static int open_locked(struct section_call *call)
{
    bool read_only = (call->options->flags & CAIRN_READ_ONLY) != 0;
    struct section_image header;
    struct file_status status;
    int error = process_watch();
    if (error < 0)
        return error_set(error, "%s: forks cannot be watched: %s", call->name, cairn_strerror(error));
    error = heap_file_open(call->directory, call->name, call->options->flags, &call->file, &status, &header);
    if (error < 0)
        return error;
    if (header.heaps_max != 0) {
        file_close(call->file);
        return error_set(-EPROTO, "%s: a heap, not a section by itself", call->name);
    }
    call->view = open_views;
    while (call->view != NULL &&
           (call->view->section.device != status.device || call->view->section.inode != status.inode))
        call->view = call->view->next;
    if (call->view != NULL)
        file_close(call->file);
    else
        error = map_opened(call, &header, read_only);
    if (error < 0)
        return error;
    if (call->view->section.read_only && !read_only)
        return error_set(-EBUSY, "%s: open read-only in this process already", call->name);
    call->section = new_handle(call->view, read_only);
    if (call->section != NULL)
        return 0;
    if (call->view->handles == 0) {
        unlink_view(call->view);
        end_view(call->view);
    }
    return error_set(-ENOMEM, "%s: no memory for its bookkeeping", call->name);
}

static int open_it(void *arg)
{
    struct section_call *call = arg;
    mutex_lock(&process_lock);
    int error = open_locked(call);
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
    if (ret_section == NULL || wanted.bytes_max == 0 || (wanted.flags & ~CAIRN_OPEN_OR_CREATE) != 0)
        return error_set(-EINVAL, "a section needs a bytes_max, and a variable to be stored to");
    if (wanted.name == NULL && (wanted.flags != 0 || wanted.directory != NULL || wanted.mode != 0 ||
                                wanted.group != 0 || wanted.access_count != 0))
        return error_set(-EINVAL, "an anonymous section has no name to be opened by");
    uint64_t page = platform_page_size();
    struct section_call call = {
        .name = wanted.name,
        .directory = directory,
        .options = &wanted,
        .params =
            {
                .raw = true,
                .bytes_max = align_up(wanted.bytes_max, page),
                .page_shift = bit_highest(page),
                .created_at = time_now(),
            },
    };
    random_fill(&call.params.instance, sizeof call.params.instance);
    if (wanted.name != NULL) {
        error = name_check(wanted.name);
        if (error == 0)
            error = directory_get(wanted.directory, true, directory, NULL);
        if (error < 0)
            return error;
    }
    error = name_create(wanted.flags, open_it, create_it, &call);
    if (error == 0)
        *ret_section = call.section;
    return error;
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
    struct section_call call = {.name = name, .directory = directory, .options = &wanted};
    error = open_it(&call);
    if (error == 0)
        *ret_section = call.section;
    return error;
}

CAIRN_API void cairn_section_close(struct cairn_section *section)
{
    if (section == NULL)
        return;
    struct view *view = section->view;
    mutex_lock(&process_lock);
    if (--view->handles == 0) {
        unlink_view(view);
        end_view(view);
    }
    mutex_unlock(&process_lock);
    pool_give(section, sizeof *section);
}

CAIRN_API int cairn_section_unlink(const char *name, const char *directory)
{
    return cairn_heap_unlink(name, directory);
}

CAIRN_API void *cairn_section_address(const struct cairn_section *section)
{
    return section->view->section.units;
}

CAIRN_API uint64_t cairn_section_bytes_max(const struct cairn_section *section)
{
    return section->view->section.units_bytes;
}

/* ---------------------------------------------------------------- memory */

static int check_change(const struct cairn_section *section, uint64_t offset, uint64_t bytes)
{
    if (section->read_only)
        return error_set(-EROFS, "%s: open read-only", section->view->label);
    return is_in_range(section, offset, bytes) ? 0 : out_of_range(section);
}

CAIRN_API int cairn_section_commit(struct cairn_section *section, uint64_t offset, uint64_t bytes)
{
    int error = check_change(section, offset, bytes);
    if (error < 0)
        return error;
    error = section_commit(&section->view->section, section->view->section.units_offset + offset, bytes);
    return error < 0 ? error_set(error, "%s: %llu bytes cannot be committed: %s", section->view->label,
                                 (unsigned long long)bytes, cairn_strerror(error))
                     : 0;
}

CAIRN_API int cairn_section_decommit(struct cairn_section *section, uint64_t offset, uint64_t bytes)
{
    int error = check_change(section, offset, bytes);
    if (error < 0)
        return error;
    error = section_decommit(&section->view->section, section->view->section.units_offset + offset, bytes);
    return error < 0
               ? error_set(error, "%s: memory cannot be given back: %s", section->view->label, cairn_strerror(error))
               : 0;
}

/* No call of the system says "contents not wanted" of shared memory; for private memory one does, and it reads as zero.
 */
CAIRN_API int cairn_section_reset(struct cairn_section *section, uint64_t offset, uint64_t bytes)
{
    int error = check_change(section, offset, bytes);
    if (error < 0)
        return error;
    uint64_t from = section->view->section.units_offset + offset;
    if (!section_range_committed(&section->view->section, from, bytes))
        return error_set(-EINVAL, "%s: the range is not all committed", section->view->label);
    uint64_t page = UINT64_C(1) << section->view->section.page_shift;
    uint64_t first = align_up(from, page);
    uint64_t end = align_down(from + bytes, page);
    if (section->view->section.file < 0 && first < end)
        (void)memory_decommit(section->view->section.base + first, end - first);
    return 0;
}

CAIRN_API int cairn_section_query(const struct cairn_section *section, uint64_t offset, uint64_t *ret_run)
{
    if (offset >= section->view->section.units_bytes)
        return out_of_range(section);
    uint64_t run;
    bool committed = section_committed(&section->view->section, section->view->section.units_offset + offset, &run);
    if (ret_run != NULL)
        *ret_run = min_u64(run, section->view->section.units_bytes - offset);
    return committed;
}

/* ---------------------------------------------------------------- views of parts */

CAIRN_API int cairn_section_map(struct cairn_section *section, uint64_t offset, uint64_t bytes, void *at,
                                void **ret_view)
{
    const struct view *of = section->view;
    uint64_t page = platform_page_size();
    if (of->section.file < 0)
        return error_set(-EOPNOTSUPP, "%s: only a named section can be mapped again", of->label);
    if (!is_in_range(section, offset, bytes) || bytes == 0 || offset % page != 0 || bytes % page != 0 ||
        (uintptr_t)at % page != 0 || ret_view == NULL)
        return error_set(-EINVAL, "%s: a view is of whole pages in its %llu bytes", of->label,
                         (unsigned long long)of->section.units_bytes);
    if (!section_file_is_ours(&of->section))
        return error_set(-EBADF, "%s: the application closed its descriptor", of->label);
    uint64_t from = of->section.units_offset + offset;
    void *view = at;
    int error = at != NULL ? file_map_over(at, of->section.file, from, bytes, section->read_only)
                           : file_map_part(&view, of->section.file, from, bytes, section->read_only);
    if (error < 0)
        return error_set(error, "%s: cannot be mapped: %s", of->label, cairn_strerror(error));
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
    if (!in_range) {
        memory_release(view, bytes);
        return 0;
    }
    error = memory_reserve_again(view, bytes);
    return error < 0 ? error_set(error, "a view cannot be ended: %s", cairn_strerror(error)) : 0;
}

CAIRN_API int cairn_range_reserve(uint64_t bytes, void **ret_range)
{
    if (bytes == 0 || bytes % platform_page_size() != 0 || ret_range == NULL)
        return error_set(-EINVAL, "a range has whole pages, and needs a variable to be stored to");
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
