/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "api/names.h"
#include "api/process.h"

#define SHARED_BYTES_DEFAULT (UINT64_C(16) << 30)
#define SHARED_BYTES_MIN (UINT64_C(256) << 10)
#define SHARED_HEAP 1 /* number of the heap that a shared section is made for */

/* ---------------------------------------------------------------- options */

/* Copies what the caller's version of the structure has; the rest is zero, the default. */
static int options_get(struct cairn_options *ret_options, const struct cairn_options *options)
{
    *ret_options = (struct cairn_options){0};
    if (options == NULL)
        return 0;
    size_t size = options->size != 0 ? options->size : sizeof *options;
    if (size < sizeof options->size || size > sizeof *options || size % sizeof(uint64_t) != 0)
        return error_set(-EINVAL, "options of %zu bytes: no version of the structure had that size", size);
    memcpy(ret_options, options, size);
    if ((ret_options->flags & ~(CAIRN_OPEN_OR_CREATE | CAIRN_READ_ONLY)) != 0)
        return error_set(-EINVAL, "unknown flags in options");
    if ((ret_options->mode & ~0777u) != 0 || (ret_options->mode & 02) != 0)
        return error_set(-EINVAL, "mode %o: only permission bits, and not writable by everyone", ret_options->mode);
    return 0;
}

/* ---------------------------------------------------------------- private heaps */

static int create_private(struct cairn_heap **ret_heap, const struct cairn_options *options)
{
    struct attachment *attachment;
    uint32_t number;
    mutex_lock(&process_lock);
    struct cairn_heap *heap = NULL;
    int error = process_section(&attachment);
    if (error == 0)
        error = heap_claim(&attachment->section, 0, options->bytes_max, &number);
    if (error == 0) {
        heap = handle_take();
        if (heap == NULL) {
            store_release(&section_heap(&attachment->section, number)->word, 0);
            error = -ENOMEM;
        }
    }
    if (heap != NULL) {
        heap_view_init(&heap->core, &attachment->section, number);
        heap->attachment = attachment;
        heap->read_only = false;
    }
    mutex_unlock(&process_lock);
    if (error < 0)
        return error_set(error == -ENOSPC ? -ENOMEM : error, "a private heap cannot be made: %s",
                         error == -ENOSPC ? "too many are alive" : cairn_strerror(error));
    *ret_heap = heap;
    return 0;
}

static void close_private(struct cairn_heap *heap)
{
    struct attachment *attachment = heap->attachment;
    struct thread_owner *owner = thread_owner_get(attachment);
    if (owner == NULL)
        return; /* no memory for a record: the heap stays, and nothing is damaged */
    uint32_t number = heap->core.number;
    roots_drop(attachment, owner->core.number, number);
    heap_end(&owner->core, &heap->core);
    thread_drop_heap(attachment, number);
    mutex_lock(&process_lock);
    handle_give(heap);
    mutex_unlock(&process_lock);
}

/* ---------------------------------------------------------------- attachments to shared sections */

static struct attachment *new_attachment(const char *name, const char *directory)
{
    struct attachment *attachment = pool_get(sizeof *attachment);
    if (attachment == NULL)
        return NULL;
    attachment->is_shared = true;
    memcpy(attachment->name, name, strlen(name) + 1); /* both were checked to fit */
    memcpy(attachment->directory, directory, strlen(directory) + 1);
    return attachment;
}

static void link_attachment(struct attachment *attachment)
{
    attachment->next = process_attachments;
    process_attachments = attachment;
}

/* Leaves the section: its owners, its process record, its lock, its view. */
static void end_attachment(struct attachment *attachment)
{
    threads_leave(attachment);
    if (attachment->process != 0) {
        struct process_image *image = section_process(&attachment->section, attachment->process);
        uint64_t generation = record_generation_of(load_relaxed(&image->word)) + 1;
        store_release(&image->word, record_word(RECORD_FREE, 0, 0, generation));
        liveness_give(&attachment->liveness);
    }
    section_close(&attachment->section);
    pool_give(attachment, sizeof *attachment);
}

static void unlink_attachment(struct attachment *attachment)
{
    struct attachment **link = &process_attachments;
    while (*link != attachment)
        link = &(*link)->next;
    *link = attachment->next;
}

static struct attachment *find_attachment(uint64_t device, uint64_t inode)
{
    struct attachment *attachment = process_attachments;
    while (attachment != NULL &&
           !(attachment->is_shared && attachment->section.device == device && attachment->section.inode == inode))
        attachment = attachment->next;
    return attachment;
}

static int handle_for(struct attachment *attachment, bool read_only, struct cairn_heap **ret_heap)
{
    struct cairn_heap *heap = handle_take();
    if (heap == NULL)
        return -ENOMEM;
    heap_view_init(&heap->core, &attachment->section, SHARED_HEAP);
    heap->attachment = attachment;
    heap->read_only = read_only;
    attachment->handles++;
    *ret_heap = heap;
    return 0;
}

/* ---------------------------------------------------------------- creating a shared heap */

struct creation {
    struct attachment *attachment;
    struct section_params params;
    int file;
};

static int create_at(uint64_t address, void *arg)
{
    struct creation *creation = arg;
    creation->params.address = address;
    return section_create_file(&creation->attachment->section, creation->file, &creation->params);
}

static int create_named(struct cairn_heap **ret_heap, const struct cairn_options *options, const char *directory)
{
    const char *name = options->name;
    struct attachment *attachment = new_attachment(name, directory);
    if (attachment == NULL)
        return error_set(-ENOMEM, "%s: no memory for its bookkeeping", name);
    struct creation creation = {
        .attachment = attachment,
        .params =
            {
                .bytes_max = options->bytes_max != 0 ? options->bytes_max : SHARED_BYTES_DEFAULT,
                .page_shift = bit_highest(platform_page_size()),
                .processes_max = PROCESSES_LIMIT,
                .created_at = time_now(),
            },
    };
    struct section_params *params = &creation.params;
    params->bytes_max = align_down(params->bytes_max, platform_page_size());
    if (params->bytes_max < UINT64_C(64) << 20) {
        /* Small heaps have small tables. */
        params->processes_max = 64;
        params->owners_max = 256;
        params->roots_max = 64;
    }
    random_fill(&params->instance, sizeof params->instance);
    boot_id_get(params->boot_id);

    int error = file_create_unnamed(&creation.file, directory, options->mode != 0 ? options->mode : 0600);
    if (error < 0) {
        pool_give(attachment, sizeof *attachment);
        return error_set(error, "%s: no file can be made in %s: %s", name, directory, cairn_strerror(error));
    }
    error = address_choose(directory, name, params->bytes_max, create_at, &creation);
    if (error < 0) {
        file_close(creation.file);
        pool_give(attachment, sizeof *attachment);
        uint64_t bytes = 0, bytes_free = 0;
        if (error == -ENOMEM)
            (void)directory_space(directory, &bytes, &bytes_free);
        if (bytes != 0)
            return error_set(error, "%s: cannot commit its first pages or map %llu MiB: %s has %llu KiB free of %llu KiB",
                             name, (unsigned long long)(params->bytes_max >> 20), directory,
                             (unsigned long long)(bytes_free >> 10), (unsigned long long)(bytes >> 10));
        return error_set(error == -ENOSPC ? -EINVAL : error, "%s: cannot be made: %s", name,
                         error == -ENOSPC ? "its limit is too small" : cairn_strerror(error));
    }

    /* All of it exists before it has a name. */
    uint32_t number = 0;
    error = attachment_join(attachment);
    if (error == 0)
        error = heap_claim(&attachment->section, attachment->process, 0, &number);
    if (error == 0)
        error = handle_for(attachment, false, ret_heap);
    if (error < 0) {
        end_attachment(attachment);
        return error_set(error, "%s: cannot be made: %s", name, cairn_strerror(error));
    }
    error = file_publish(attachment->section.file, directory, name);
    if (error < 0) {
        handle_give(*ret_heap);
        end_attachment(attachment);
        return error_set(error, "%s: cannot be named in %s: %s", name, directory, cairn_strerror(error));
    }
    link_attachment(attachment);
    return 0;
}

/* ---------------------------------------------------------------- opening a shared heap */

static int open_named(struct cairn_heap **ret_heap, const char *name, const char *directory, bool read_only)
{
    int file;
    struct section_image header;
    int error = heap_file_open(directory, name, read_only, &file, &header);
    if (error < 0)
        return error;

    struct file_status status;
    error = file_status_get(file, &status);
    struct attachment *attachment = error == 0 ? find_attachment(status.device, status.inode) : NULL;
    if (attachment != NULL) {
        file_close(file);
        if (!read_only && attachment->section.read_only)
            return error_set(-EBUSY, "%s: attached read-only in this process already", name);
        error = handle_for(attachment, read_only, ret_heap);
        return error < 0 ? error_set(error, "%s: cannot be opened: %s", name, cairn_strerror(error)) : 0;
    }

    attachment = new_attachment(name, directory);
    if (attachment == NULL || error < 0) {
        file_close(file);
        if (attachment != NULL)
            pool_give(attachment, sizeof *attachment);
        return error_set(error < 0 ? error : -ENOMEM, "%s: no memory for its bookkeeping", name);
    }
    error = section_open_file(&attachment->section, file, &header, read_only);
    if (error < 0) {
        file_close(file);
        pool_give(attachment, sizeof *attachment);
        return error_set(error, "%s: cannot be mapped at %#llx: %s", name, (unsigned long long)header.address,
                         cairn_strerror(error));
    }
    if (!read_only)
        error = attachment_join(attachment);
    if (error == 0)
        error = handle_for(attachment, read_only, ret_heap);
    if (error < 0) {
        end_attachment(attachment);
        return error_set(error, "%s: cannot be attached: %s", name, cairn_strerror(error));
    }
    link_attachment(attachment);
    return 0;
}

/* Whoever comes repairs what the dead left. Not being able to is no reason to refuse: the heap is valid as it is. */
static void recover_at_attach(struct cairn_heap *heap)
{
    if (heap->read_only)
        return;
    struct thread_owner *owner = thread_owner_get(heap->attachment);
    if (owner == NULL)
        return;
    mutex_lock(&process_lock);
    attachment_recover(heap->attachment, owner->core.number);
    mutex_unlock(&process_lock);
}

static int open_checked(struct cairn_heap **ret_heap, const char *name, const char *directory, bool read_only)
{
    struct cairn_heap *heap;
    mutex_lock(&process_lock);
    int error = open_named(&heap, name, directory, read_only);
    mutex_unlock(&process_lock);
    if (error < 0)
        return error;
    recover_at_attach(heap);
    *ret_heap = heap;
    return 0;
}

static int create_shared(struct cairn_heap **ret_heap, const struct cairn_options *options)
{
    char directory[DIRECTORY_BYTES];
    int error = name_check(options->name);
    if (error == 0)
        error = directory_get(options->directory, true, directory, NULL);
    if (error < 0)
        return error;
    if (options->bytes_max != 0 && options->bytes_max < SHARED_BYTES_MIN)
        return error_set(-EINVAL, "%s: a shared heap's limit is %llu KiB at least", options->name,
                         (unsigned long long)(SHARED_BYTES_MIN >> 10));

    /* Somebody may create it or remove it between the two attempts; each round one of them makes progress. */
    for (uint32_t attempt = 0; attempt < 1000; attempt++) {
        struct cairn_heap *heap = NULL;
        if ((options->flags & CAIRN_OPEN_OR_CREATE) != 0) {
            error = open_checked(ret_heap, options->name, directory, false);
            if (error != -ENOENT)
                return error;
        }
        mutex_lock(&process_lock);
        error = create_named(&heap, options, directory);
        mutex_unlock(&process_lock);
        if (error == 0)
            *ret_heap = heap;
        if (error != -EEXIST || (options->flags & CAIRN_OPEN_OR_CREATE) == 0)
            return error;
    }
    return error;
}

/* ---------------------------------------------------------------- the calls */

CAIRN_API int cairn_heap_create(struct cairn_heap **ret_heap, const struct cairn_options *options)
{
    struct cairn_options wanted;
    int error = options_get(&wanted, options);
    if (error < 0)
        return error;
    if (ret_heap == NULL || (wanted.flags & CAIRN_READ_ONLY) != 0)
        return error_set(-EINVAL, "a heap is created for writing, and into a variable");
    if (wanted.name != NULL)
        return create_shared(ret_heap, &wanted);
    if ((wanted.flags & CAIRN_OPEN_OR_CREATE) != 0 || wanted.directory != NULL)
        return error_set(-EINVAL, "a private heap has no name to be opened by");
    return create_private(ret_heap, &wanted);
}

CAIRN_API int cairn_heap_open(struct cairn_heap **ret_heap, const char *name, const struct cairn_options *options)
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
    if (ret_heap == NULL || (wanted.flags & CAIRN_OPEN_OR_CREATE) != 0)
        return error_set(-EINVAL, "opening never creates, and needs a variable to store to");
    return open_checked(ret_heap, name, directory, (wanted.flags & CAIRN_READ_ONLY) != 0);
}

CAIRN_API void cairn_heap_close(struct cairn_heap *heap)
{
    if (heap == NULL)
        return;
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "close");
    struct attachment *attachment = heap->attachment;
    if (!attachment->is_shared) {
        close_private(heap);
        return;
    }
    mutex_lock(&process_lock);
    handle_give(heap);
    if (--attachment->handles == 0) {
        unlink_attachment(attachment);
        end_attachment(attachment);
    }
    mutex_unlock(&process_lock);
}

CAIRN_API int cairn_heap_reset(struct cairn_heap *heap)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "reset");
    if (heap->attachment->is_shared)
        return error_set(-EOPNOTSUPP, "%s: a shared heap cannot be reset", heap->attachment->name);
    struct thread_owner *owner = thread_owner_get(heap->attachment);
    if (owner == NULL)
        return cairn_last_errno();
    heap_clear(&owner->core, &heap->core);
    return 0;
}

CAIRN_API int cairn_heap_unlink(const char *name, const char *directory)
{
    char resolved[DIRECTORY_BYTES];
    int error = name_check(name);
    if (error == 0)
        error = directory_get(directory, false, resolved, NULL);
    if (error < 0)
        return error;

    int file;
    uint64_t magic = 0;
    error = file_open(&file, resolved, name, true);
    if (is_no_file(error))
        return error_set(-EPERM, "%s: not a regular file, so it is not removed", name);
    if (error < 0)
        return error_set(error, "%s: cannot be opened in %s: %s", name, resolved, cairn_strerror(error));
    int read = file_read_at(file, 0, &magic, sizeof magic);
    file_close(file);
    if (read < 0 || magic != IMAGE_MAGIC)
        return error_set(-EPROTO, "%s: not a cairn heap, so it is not removed", name);
    error = file_unlink(resolved, name);
    if (error < 0)
        return error_set(error, "%s: cannot be removed: %s", name, cairn_strerror(error));
    return 0;
}

struct names_walk {
    const char *directory;
    cairn_name_fn *visit;
    void *arg;
};

static int visit_name(const char *name, void *arg)
{
    const struct names_walk *walk = arg;
    int file;
    uint64_t magic = 0;
    if (name[0] == '.' || file_open(&file, walk->directory, name, true) < 0)
        return 0;
    int read = file_read_at(file, 0, &magic, sizeof magic);
    file_close(file);
    return read == 0 && magic == IMAGE_MAGIC ? walk->visit(name, walk->arg) : 0;
}

CAIRN_API int cairn_heap_names(const char *directory, cairn_name_fn *visit, void *arg)
{
    char resolved[DIRECTORY_BYTES];
    bool is_default;
    int error = directory_get(directory, false, resolved, &is_default);
    if (error < 0)
        return error;
    struct names_walk walk = {.directory = resolved, .visit = visit, .arg = arg};
    int result = directory_walk(resolved, visit_name, &walk);
    if (result == -ENOENT && is_default)
        return 0;
    if (result < 0)
        return error_set(result, "%s: cannot be read: %s", resolved, cairn_strerror(result));
    return result;
}
