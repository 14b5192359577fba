/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/checked.h"
#include "api/names.h"

#define HEAP_BYTES_MAX (UINT64_C(1) << 42) /* the section's limit */
#define ACCESS_MAX 64
#define SHARED_BYTES_MIN (UINT64_C(256) << 10)
#define SHARED_BYTES_LEAST (UINT64_C(1) << 30) /* of what a heap gets whose creator did not say */

/* ---------------------------------------------------------------- options */

/* Copies what the caller's version of the structure has; the rest is zero, the default. */
int options_get(struct cairn_options *ret_options, const struct cairn_options *options)
{
    *ret_options = (struct cairn_options){0};
    if (options == NULL)
        return 0;
    size_t size = structure_size("options", options->size, sizeof *options);
    if (size == 0)
        return -EINVAL;
    memcpy(ret_options, options, size);
    if (ret_options->checked > 1)
        return error_set(-EINVAL, "checked is 0 or 1");
    uint64_t known = CAIRN_OPEN_OR_CREATE | CAIRN_READ_ONLY | CAIRN_UNSERIALIZED | CAIRN_LOCKABLE | CAIRN_EXACT_SIZES |
                     CAIRN_BOUND | CAIRN_ANY_OWNER | CAIRN_RELOCATE | CAIRN_DAMAGED_TOO | CAIRN_STAYS_COMMITTED;
    if ((ret_options->flags & ~known) != 0 || ret_options->reserved != 0)
        return error_set(-EINVAL, "unknown flags in options");
    if (ret_options->access_count > ACCESS_MAX)
        return error_set(-EINVAL, "an access list of %u entries", ret_options->access_count);
    if (ret_options->bytes_max != 0 && ret_options->bytes_start > ret_options->bytes_max)
        return error_set(-EINVAL, "bytes_start is above bytes_max");
    if ((ret_options->mode & ~0777u) != 0 || (ret_options->mode & 02) != 0)
        return error_set(-EINVAL, "mode %o: only permission bits, and not writable by everyone", ret_options->mode);
    return 0;
}

/* ---------------------------------------------------------------- private heaps */

#define BOUNDED_BYTES_MIN (UINT64_C(8) << 10)
#define LENT_BYTES_MIN (UINT64_C(4) << 10)
#define CALLS_BYTES_DEFAULT (UINT64_C(1) << 30)
#define UNITS_FOR_THREADS 1024 /* in fewer units than this all threads allocate by one owner */

static uint64_t heap_options_of(uint64_t flags)
{
    return ((flags & CAIRN_EXACT_SIZES) != 0 ? HEAP_EXACT_SIZES : 0) |
           ((flags & CAIRN_LOCKABLE) != 0 ? HEAP_LOCKABLE : 0) | ((flags & CAIRN_BOUND) != 0 ? HEAP_BOUND : 0);
}

/* A handle for a heap record; process_lock is held. */
static struct cairn_heap *handle_for(struct attachment *attachment, uint32_t number,
                                     const struct cairn_options *options)
{
    struct cairn_heap *heap = handle_take();
    if (heap == NULL)
        return NULL;
    heap_view_init(&heap->core, &attachment->section, number);
    heap->attachment = attachment;
    heap->on_failure = options->on_failure;
    heap->on_failure_arg = options->on_failure_arg;
    attachment->handles++;
    return heap;
}

/* Decides how threads share the heap; false when there is no owner record for a heap that wants its own. */
static bool set_mode(struct cairn_heap *heap, const struct cairn_options *options)
{
    heap->lockable = (options->flags & CAIRN_LOCKABLE) != 0;
    if ((options->flags & CAIRN_UNSERIALIZED) != 0)
        heap->mode = MODE_UNSERIALIZED;
    else if (!heap->attachment->is_process_section && !heap->attachment->is_shared &&
             heap->core.section->units_max < UNITS_FOR_THREADS)
        heap->mode = MODE_LOCKED;
    else if (heap->lockable && barrier_process_ready() < 0)
        heap->mode = MODE_LOCKED;
    if (heap->mode == MODE_LOCKED)
        heap->core.guard = GUARDED;
    if (heap->mode != MODE_THREADS)
        heap->one = one_owner_new(heap->attachment);
    return heap->mode == MODE_THREADS || heap->one != NULL;
}

/* Whether a range lies in one live block of some heap of a section. */
static bool is_in_a_block(struct section *section, const void *memory, uint64_t bytes)
{
    struct core_heap any = {.section = section};
    struct core_place place = core_find(&any, memory);
    if (place.block == NULL)
        return false;
    any.number = place.heap;
    store_relaxed(&any.life_made, unit_low_of(place.word));
    uint64_t before = (uint64_t)((const unsigned char *)memory - (const unsigned char *)place.block);
    return core_find(&any, place.block).crime == CRIME_NONE && before <= place.bytes_granted &&
           bytes <= place.bytes_granted - before;
}

/*
 * Whether memory that the caller got for a new heap is another's. A block of another heap may well be lent; what
 * reaches beyond the blocks, or is that heap's own range once more, is an error of whoever got it.
 */
static bool is_of_another(const void *memory, uint64_t bytes)
{
    uintptr_t begin = (uintptr_t)memory;
    bool is = false;
    mutex_lock(&process_lock);
    for (struct attachment *a = process_attachments; a != NULL && !is; a = a->next) {
        uintptr_t base = (uintptr_t)a->section.base;
        bool meets = begin < base + a->section.bytes_max && base < begin + bytes;
        is = meets && !is_in_a_block(&a->section, memory, bytes);
    }
    mutex_unlock(&process_lock);
    return is;
}

static int reserve_by_calls(const struct cairn_memory *calls, uint64_t bytes, void **ret_base)
{
    if (calls->reserve == NULL || calls->commit == NULL)
        return -EINVAL;
    void *base = calls->reserve(calls->arg, bytes);
    if (base == NULL)
        return -ENOMEM;
    if (is_of_another(base, bytes))
        return -EINVAL; /* not released: it has an owner */
    *ret_base = base;
    return 0;
}

/* A section for one private heap: exactly bytes_max in one range, bookkeeping included. */
static int own_section(struct attachment *attachment, const struct cairn_options *options)
{
    uint64_t page = platform_page_size();
    uint64_t bytes = options->bytes_max != 0 ? options->bytes_max : CALLS_BYTES_DEFAULT;
    if (options->memory == NULL)
        bytes = align_up(bytes, page);
    bool small = bytes < UINT64_C(64) << 20;
    struct section_params params = {
        .bytes_max = bytes,
        .page_shift = bit_highest(page),
        .owners_max = small ? 1 : 256,
        .heaps_max = small ? 1 : 256,
        .roots_max = small ? bytes < UINT64_C(256) << 10 ? UINT32_MAX : 16 : 64,
        .packed = true,
    };
    if (options->memory != NULL)
        return is_of_another(options->memory, bytes)
                   ? -EINVAL
                   : section_create_lent(&attachment->section, options->memory, &params);
    if (options->calls == NULL) {
        attachment->is_anonymous = true;
        return section_create_anonymous(&attachment->section, &params);
    }
    void *base = NULL;
    int error = reserve_by_calls(options->calls, bytes, &base);
    return error < 0
               ? error
               : section_create_calls(&attachment->section, base, options->calls->commit, options->calls->decommit,
                                      options->calls->release, options->calls->arg, &params);
}

static void link_attachment(struct attachment *attachment);
static void unlink_attachment(struct attachment *attachment);
static void leave_attachment(struct attachment *attachment);
static void close_attachment(struct attachment *attachment);

/* The records that are claimed under process_lock: no callback of the caller's may run there. */
static int commit_first_records(struct section *section)
{
    int error = section_commit(section, section_offset(section, section->heaps), sizeof *section->heaps);
    return error < 0 ? error
                     : section_commit(section, section_offset(section, section->owners), sizeof *section->owners);
}

/* Without process_lock: the caller's memory may come from another heap. */
static int new_own_attachment(const struct cairn_options *options, struct attachment **ret_attachment)
{
    mutex_lock(&process_lock);
    int error = process_watch();
    mutex_unlock(&process_lock);
    if (error < 0)
        return error;
    struct attachment *attachment = pool_get(sizeof *attachment);
    if (attachment == NULL)
        return -ENOMEM;
    error = own_section(attachment, options);
    if (error == 0) {
        error = commit_first_records(&attachment->section);
        if (error < 0)
            section_close(&attachment->section);
    }
    if (error < 0) {
        pool_give(attachment, sizeof *attachment);
        return error;
    }
    if ((options->flags & CAIRN_STAYS_COMMITTED) != 0)
        store_relaxed(&attachment->section.image->bytes_retained, RETAINED_ALL);
    mutex_lock(&process_lock);
    link_attachment(attachment);
    mutex_unlock(&process_lock);
    *ret_attachment = attachment;
    return 0;
}

/* Gives the handle of a private heap up; process_lock is held. */
static void drop_handle(struct cairn_heap *heap)
{
    struct attachment *attachment = heap->attachment;
    struct thread_owner *one = heap->one;
    if (heap->checked != NULL)
        checked_end(heap);
    handle_give(heap);
    attachment->handles--;
    if (one != NULL && attachment->is_process_section)
        owner_leave(&one->core);
    if (one != NULL)
        one_owner_end(one);
}

/* Takes a private section that nobody has a handle of out of the tables, to be closed without process_lock. */
static struct attachment *unlink_unused(struct attachment *attachment)
{
    if (attachment->is_process_section || attachment->handles != 0)
        return NULL;
    unlink_attachment(attachment);
    leave_attachment(attachment);
    return attachment;
}

static int make_private(struct attachment *attachment, const struct cairn_options *options, uint32_t parent,
                        struct cairn_heap **ret_heap)
{
    bool own = !attachment->is_process_section && parent == 0;
    struct heap_params params = {
        .process = attachment->process,
        .parent = parent,
        .options = heap_options_of(options->flags),
        .bytes_max = own ? 0 : options->bytes_max,
    };
    uint32_t number;
    int error = heap_claim(&attachment->section, &params, &number);
    if (error < 0)
        return error;
    struct cairn_heap *heap = handle_for(attachment, number, options);
    if (heap == NULL) {
        heap_give_back(&attachment->section, number);
        return -ENOMEM;
    }
    bool is_checked = !attachment->is_shared && checked_is_wanted(options);
    if (!set_mode(heap, options) || (is_checked && !checked_begin(heap))) {
        heap_give_back(&attachment->section, number);
        drop_handle(heap);
        return -ENOMEM;
    }
    *ret_heap = heap;
    return 0;
}

/* Commits bytes_start, before the caller is told of success. */
static int commit_start(struct cairn_heap *heap, const struct cairn_options *options)
{
    struct section *section = &heap->attachment->section;
    if (options->bytes_start == 0)
        return 0;
    if (!heap->attachment->is_process_section && !heap->attachment->is_shared && options->parent == NULL) {
        int error = section_commit(section, 0, min_u64(options->bytes_start, section->bytes_max));
        return error < 0 ? error : section_populate(section, 0, min_u64(options->bytes_start, section->bytes_max));
    }
    struct bins *bins = call_begin(heap, "create");
    if (bins == NULL)
        return cairn_last_errno();
    /* Of a shared heap's start the bookkeeping is a part: what of it is committed counts, and near bytes_max all of it.
     */
    uint64_t bytes_start = options->bytes_start;
    bool whole = heap->attachment->is_shared && heap->core.number == MAIN_HEAP;
    if (whole) {
        bytes_start -= min_u64(bytes_start, load_relaxed(&section->image->bytes_committed));
        bytes_start = min_u64(bytes_start, section->units_bytes);
    }
    int error = heap_keep(bins->owner, &heap->core, bytes_start);
    const struct {
        uint64_t from, to;
    } rest[] = {{0, section->units_offset}, /* and behind the last unit, where less than one is left and of no use */
                {section->units_offset + section->units_bytes, section->bytes_max}};
    for (int i = 0; i < 2 && whole && error == 0; i++) {
        if (load_relaxed(&section->image->bytes_committed) < options->bytes_start)
            error = section_commit(section, rest[i].from, rest[i].to - rest[i].from);
    }
    call_end(heap, bins);
    return error == -EAGAIN ? commit_start(heap, options) : error; /* another process reset it: begin again */
}

static int create_private(struct cairn_heap **ret_heap, const struct cairn_options *options)
{
    struct cairn_options wanted = *options;
    struct attachment *attachment = NULL, *unused = NULL;
    struct cairn_heap *heap = NULL;
    int error = 0;
    uint32_t parent = 0;
    bool own = wanted.parent == NULL && (wanted.bytes_max != 0 || wanted.memory != NULL || wanted.calls != NULL);
    if (own)
        error = new_own_attachment(&wanted, &attachment);
    mutex_lock(&process_lock);
    if (wanted.parent != NULL) {
        attachment = wanted.parent->attachment;
        parent = wanted.parent->core.number;
    } else if (!own) {
        error = process_section(&attachment);
    }
    if (error == 0)
        error = make_private(attachment, &wanted, parent, &heap);
    if (error < 0 && attachment != NULL)
        unused = unlink_unused(attachment);
    mutex_unlock(&process_lock);
    if (unused != NULL)
        close_attachment(unused);
    if (heap != NULL) {
        error = commit_start(heap, &wanted);
        if (error < 0)
            cairn_heap_close(heap);
    }
    if (error < 0)
        return error_set(error == -ENOSPC || error == -EDQUOT || error == -EAGAIN ? -ENOMEM : error,
                         "a private heap cannot be made: %s", cairn_strerror(error));
    *ret_heap = heap;
    return 0;
}

/* Frees all that the heap has; nobody else is in a call with it. */
static int clear_private(struct cairn_heap *heap, bool end)
{
    struct attachment *attachment = heap->attachment;
    struct thread_owner *owner = heap->one != NULL ? heap->one : thread_owner_get(attachment);
    if (owner == NULL)
        return cairn_last_errno();
    if (heap->checked != NULL && checked_clear(heap, end ? "close" : "reset") < 0)
        return error_set(-ENOMEM, "the system refuses to give access to its pages back");
    uint32_t number = heap->core.number;
    if (end)
        roots_drop(attachment, &owner->core, number);
    /* A thread that ends gives its slabs up under the same lock: it finds them either before or after. */
    mutex_lock(&process_lock);
    if (end)
        heap_end(&owner->core, &heap->core);
    else
        heap_clear(&owner->core, &heap->core);
    mutex_unlock(&process_lock);
    if (end)
        thread_drop_heap(attachment, heap);
    return 0;
}

static void close_private(struct cairn_heap *heap)
{
    if (clear_private(heap, true) < 0)
        return; /* no memory for a record: the heap stays, and nothing is damaged */
    mutex_lock(&process_lock);
    struct attachment *attachment = heap->attachment;
    drop_handle(heap);
    struct attachment *unused = unlink_unused(attachment);
    mutex_unlock(&process_lock);
    if (unused != NULL)
        close_attachment(unused);
}

/* ---------------------------------------------------------------- published heaps */

/* Who is at what readers see is one thread at a time: each call takes the heap's lock, and works with its one owner. */
static int make_published(struct attachment *attachment, uint64_t flags, struct publication *published,
                          struct cairn_heap **ret_heap)
{
    struct heap_params params = {.options = heap_options_of(flags)};
    struct cairn_options none = {0};
    uint32_t number;
    int error = heap_claim(&attachment->section, &params, &number);
    if (error < 0)
        return error;
    struct cairn_heap *heap = handle_for(attachment, number, &none);
    if (heap == NULL)
        return -ENOMEM;
    heap->one = one_owner_new(attachment);
    if (heap->one == NULL) {
        drop_handle(heap);
        return -ENOMEM;
    }
    heap->mode = MODE_LOCKED;
    heap->lockable = (flags & CAIRN_LOCKABLE) != 0;
    heap->core.guard = GUARDED;
    heap->published = published;
    *ret_heap = heap;
    return 0;
}

int published_heap_new(struct cairn_heap **ret_heap, const struct section *section, const char *name, uint64_t flags,
                       struct publication *published)
{
    struct attachment *attachment = pool_get(sizeof *attachment);
    if (attachment == NULL)
        return -ENOMEM;
    attachment->section = *section;
    attachment->is_published = true;
    attachment->forks = process_forks();
    memcpy(attachment->name, name, strlen(name) + 1); /* was checked to fit */
    mutex_lock(&process_lock);
    int error = process_watch();
    if (error == 0)
        error = commit_first_records(&attachment->section);
    if (error == 0)
        error = make_published(attachment, flags, published, ret_heap);
    if (error == 0)
        link_attachment(attachment);
    mutex_unlock(&process_lock);
    if (error < 0)
        pool_give(attachment, sizeof *attachment);
    return error;
}

void published_heap_end(struct cairn_heap *heap)
{
    mutex_lock(&process_lock);
    struct attachment *attachment = heap->attachment;
    drop_handle(heap);
    struct attachment *unused = unlink_unused(attachment);
    mutex_unlock(&process_lock);
    if (unused != NULL)
        close_attachment(unused);
}

bool heap_is_the_parents(const struct cairn_heap *heap)
{
    if (heap->published == NULL || heap->attachment->forks == process_forks())
        return false;
    error_set(-EROFS, "%s: published by the process from which this one was forked, and by no other",
              heap->attachment->name);
    return true;
}

/* Its handle ends with its publisher. */
static int check_not_published(const struct cairn_heap *heap, const char *call)
{
    return heap->published == NULL ? 0
                                   : error_set(-EINVAL, "%s: %s of a published heap: cairn_publisher_close ends it",
                                               heap->attachment->name, call);
}

static int reset_published(struct cairn_heap *heap)
{
    struct bins *bins = call_begin(heap, "reset");
    if (bins == NULL)
        return cairn_last_errno();
    roots_drop(heap->attachment, bins->owner, heap->core.number);
    heap->published->reset(heap->published);
    int error = clear_private(heap, false);
    call_end(heap, bins);
    return error;
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

/* Whether a heap of the section is to live no longer than this process. */
static bool has_bound(const struct attachment *attachment)
{
    const struct section *section = &attachment->section;
    uint64_t word = load_relaxed(&section_process(section, attachment->process)->word);
    uint32_t end = load_acquire(&section->image->heaps_end);
    for (uint32_t number = 1; number <= end && number <= section->heaps_max; number++) {
        const struct heap_image *heap = section_heap(section, number);
        if (record_state_of(load_acquire(&heap->word)) == RECORD_LIVE && (heap->options & HEAP_BOUND) != 0 &&
            record_process_of(heap->word) == attachment->process &&
            heap->creator_generation == record_generation_of(word))
            return true;
    }
    return false;
}

/* Leaves the section: its owners, its process record, its lock; process_lock is held. */
static void leave_attachment(struct attachment *attachment)
{
    /* On a disk the dead are no reason to leave it marked as open for ever. */
    if (attachment->process != 0 && file_is_durable(attachment->section.file))
        attachment_recover(attachment, 0);
    threads_leave(attachment);
    if (attachment->process != 0) {
        struct process_image *image = section_process(&attachment->section, attachment->process);
        uint64_t generation = record_generation_of(load_relaxed(&image->word)) + 1;
        /* With what is bound to it, it leaves as one that died: whoever comes next ends that. */
        if (!has_bound(attachment))
            store_release(&image->word, record_word(RECORD_FREE, 0, generation));
        section_mark_clean(&attachment->section, attachment->process);
        liveness_give(&attachment->liveness);
    }
}

static void close_attachment(struct attachment *attachment)
{
    section_close(&attachment->section);
    pool_give(attachment, sizeof *attachment);
}

static void end_attachment(struct attachment *attachment)
{
    leave_attachment(attachment);
    close_attachment(attachment);
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

/* ---------------------------------------------------------------- creating a shared heap */

static void close_shared(struct cairn_heap *heap);

struct creation {
    struct attachment *attachment;
    struct section_params params;
    const struct heap_neighbours *neighbours; /* NULL: none are known */
    int file;
};

static int create_at(uint64_t address, void *arg)
{
    struct creation *creation = arg;
    creation->params.address = address;
    return section_create_file(&creation->attachment->section, creation->file, &creation->params);
}

static int make_section(struct creation *creation, const struct cairn_options *options, const char *directory)
{
    struct section_params *params = &creation->params;
    bool in_memory = directory[0] == '\0';
    int error = in_memory ? memory_file_create(options, params->bytes_max, &creation->file)
                          : heap_file_create(options, directory, &creation->file);
    if (error < 0 && in_memory)
        return error_set(error, "%s: no memory file can be made: %s", options->name, cairn_strerror(error));
    if (error < 0)
        return error_set(error, "%s: no file can be made in %s: %s", options->name, directory, cairn_strerror(error));
    char drawn[20]; /* a memory file's name is nobody's own */
    snprintf(drawn, sizeof drawn, "%016llx", (unsigned long long)params->instance);
    error = address_choose(directory, in_memory ? drawn : options->name, params->bytes_max, creation->neighbours,
                           create_at, creation);
    if (error == 0)
        return 0;
    file_close(creation->file);
    uint64_t bytes = 0, bytes_free = 0;
    if (error == -ENOMEM)
        (void)directory_space(directory, &bytes, &bytes_free);
    if (bytes != 0)
        return error_set(error, "%s: cannot commit its first pages or map %llu MiB: %s has %llu KiB free of %llu KiB",
                         options->name, (unsigned long long)(params->bytes_max >> 20), directory,
                         (unsigned long long)(bytes_free >> 10), (unsigned long long)(bytes >> 10));
    return error_set(error == -ENOSPC ? -EINVAL : error, "%s: cannot be made: %s", options->name,
                     error == -ENOSPC ? "its limit is too small" : cairn_strerror(error));
}

static struct section_params params_for(uint64_t bytes_max)
{
    struct section_params params = {
        .bytes_max = align_down(bytes_max, platform_page_size()),
        .page_shift = bit_highest(platform_page_size()),
        .processes_max = PROCESSES_LIMIT,
        .heaps_max = 1 << 16,
        .created_at = time_now(),
    };
    if (params.bytes_max < UINT64_C(64) << 20) {
        /* Small heaps have small tables: a record for each 16 KiB, and they follow each other by cache lines. */
        uint32_t records = (uint32_t)(params.bytes_max >> 14);
        params.processes_max = params.owners_max = records < 256 ? records : 256;
        params.heaps_max = params.roots_max = params.processes_max / 4 < 64 ? params.processes_max / 4 : 64;
        params.packed = true;
    }
    random_fill(&params.instance, sizeof params.instance);
    return params;
}

/* Makes a heap that has no name yet; process_lock is held. */
static int make_nameless(struct cairn_heap **ret_heap, const struct cairn_options *options, const char *directory,
                         const struct heap_neighbours *neighbours)
{
    const char *name = options->name;
    struct attachment *attachment = new_attachment(name, directory);
    if (attachment == NULL)
        return error_set(-ENOMEM, "%s: no memory for its bookkeeping", name);
    struct creation creation = {.attachment = attachment, .neighbours = neighbours};
    int error = -ENOMEM;
    uint64_t bytes_max = options->bytes_max != 0 ? options->bytes_max : SHARED_BYTES_DEFAULT;
    for (;;) {
        creation.params = params_for(bytes_max);
        error = make_section(&creation, options, directory);
        /* Nobody asked for that much, so where address space is limited (ulimit -v) it may be less. */
        if (error != -ENOMEM || options->bytes_max != 0 || bytes_max <= SHARED_BYTES_LEAST ||
            bytes_max / 4 < options->bytes_start)
            break;
        bytes_max /= 4;
    }
    if (error < 0) {
        pool_give(attachment, sizeof *attachment);
        return error;
    }

    uint32_t number = 0;
    struct cairn_heap *heap = NULL;
    error = attachment_join(attachment);
    struct heap_params heap_params = {
        .process = attachment->process,
        .options = heap_options_of(options->flags),
    };
    if (error == 0)
        error = heap_claim(&attachment->section, &heap_params, &number);
    if (error == 0)
        heap = handle_for(attachment, number, options);
    if (heap == NULL) {
        error = error < 0 ? error : -ENOMEM;
        end_attachment(attachment);
        return error_set(error, "%s: cannot be made: %s", name, cairn_strerror(error));
    }
    link_attachment(attachment);
    *ret_heap = heap;
    return 0;
}

/* Makes it, and its bytes_start: all of it exists before it has a name. */
static int make_started(struct cairn_heap **ret_heap, const struct cairn_options *options, const char *directory,
                        const struct heap_neighbours *neighbours)
{
    struct cairn_heap *heap = NULL;
    mutex_lock(&process_lock);
    int error = make_nameless(&heap, options, directory, neighbours);
    mutex_unlock(&process_lock);
    if (heap == NULL)
        return error;
    if (commit_start(heap, options) < 0) {
        error = error_set(-ENOMEM, "%s: its bytes_start cannot be committed", options->name);
        close_shared(heap);
        return error;
    }
    *ret_heap = heap;
    return 0;
}

static int create_named(struct cairn_heap **ret_heap, const struct cairn_options *options, const char *directory)
{
    struct cairn_heap *heap = NULL;
    int error = make_started(&heap, options, directory, NULL);
    if (heap == NULL)
        return error;
    error = file_publish(heap->attachment->section.file, directory, options->name);
    if (error < 0) {
        error_set(error, "%s: cannot be named in %s: %s", options->name, directory, cairn_strerror(error));
        close_shared(heap);
        return error;
    }
    *ret_heap = heap;
    return 0;
}

int heap_make_memory(struct cairn_heap **ret_heap, int *ret_file, uint64_t *ret_address,
                     const struct cairn_options *options, const struct heap_neighbours *neighbours)
{
    struct cairn_heap *heap = NULL;
    int file = -1;
    int error = make_started(&heap, options, "", neighbours);
    if (heap == NULL)
        return error;
    error = file_reopen(&file, heap->attachment->section.file);
    if (error < 0)
        error_set(error, "%s: no second descriptor: %s", options->name, cairn_strerror(error));
    uint64_t address = heap->attachment->section.address;
    if (error < 0 || ret_heap == NULL)
        close_shared(heap);
    if (error < 0)
        return error;
    if (ret_address != NULL)
        *ret_address = address;
    if (ret_heap != NULL)
        *ret_heap = heap;
    *ret_file = file;
    return 0;
}

/* ---------------------------------------------------------------- opening a shared heap */

static bool is_relocated(const struct section *section)
{
    return section->address != (uintptr_t)section->base;
}

/*
 * Whoever destroys a heap removes its name first, but who has it open by then comes too late, and another name may lead
 * there still. -ENOENT: nobody can come again; -ESTALE: by that name all will find what this one does.
 */
static int check_not_destroyed(const struct cairn_heap *heap, uint64_t flags)
{
    const struct attachment *attachment = heap->attachment;
    struct file_status status;
    if (record_state_of(heap->core.word_made) == RECORD_LIVE || (flags & CAIRN_DAMAGED_TOO) != 0)
        return 0;
    if (record_generation_of(heap->core.word_made) == 0 && record_state_of(heap->core.word_made) == RECORD_FREE)
        return error_set(-EUCLEAN, "%s: damaged: there never was a heap in it", attachment->name);
    bool has_name = attachment->directory[0] == '\0' ||
                    (file_status_get(attachment->section.file, &status) == 0 && status.links != 0);
    return error_set(has_name ? -ESTALE : -ENOENT, "%s: was destroyed", attachment->name);
}

/* Another handle on a view that this process has already. */
static int open_again(struct cairn_heap **ret_heap, struct attachment *attachment, const struct cairn_options *options)
{
    const char *name = attachment->name;
    bool read_only = (options->flags & CAIRN_READ_ONLY) != 0;
    if (!read_only && attachment->section.read_only)
        return error_set(-EBUSY, "%s: attached read-only in this process already", name);
    if (is_relocated(&attachment->section) && (options->flags & CAIRN_RELOCATE) == 0)
        return error_set(-EADDRINUSE, "%s: attached in this process already, but not at its address", name);
    struct cairn_heap *heap = handle_for(attachment, MAIN_HEAP, options);
    if (heap == NULL)
        return error_set(-ENOMEM, "%s: no memory for its bookkeeping", name);
    int error = check_not_destroyed(heap, options->flags);
    if (error < 0) {
        attachment->handles--;
        handle_give(heap);
        return error;
    }
    heap->read_only = read_only;
    *ret_heap = heap;
    return 0;
}

static int map_section(struct section *ret_section, int file, const struct section_image *header, uint64_t flags)
{
    bool read_only = (flags & CAIRN_READ_ONLY) != 0;
    int error = section_open_file(ret_section, file, header, read_only);
    if (error == -EADDRINUSE && (flags & CAIRN_RELOCATE) != 0) {
        struct section_image anywhere = *header;
        anywhere.address = 0;
        error = section_open_file(ret_section, file, &anywhere, read_only);
        if (error == 0)
            ret_section->address = header->address;
    }
    return error;
}

/* By its name in a directory; or, where that is empty, by a descriptor. */
static int open_named(struct cairn_heap **ret_heap, const char *name, const char *directory, int descriptor,
                      const struct cairn_options *options)
{
    int file;
    struct file_status status;
    struct section_image header;
    int error = directory[0] == '\0' ? memory_file_take(descriptor, name, options->flags, &file, &status, &header)
                                     : heap_file_open(directory, name, options->flags, &file, &status, &header);
    if (error < 0)
        return error;
    if (header.heaps_max == 0) {
        file_close(file);
        return error_set(-EPROTO, "%s: a section without a heap in it", name);
    }
    struct attachment *attachment = find_attachment(status.device, status.inode);
    if (attachment != NULL) {
        file_close(file);
        return open_again(ret_heap, attachment, options);
    }

    attachment = new_attachment(name, directory);
    if (attachment == NULL) {
        file_close(file);
        return error_set(-ENOMEM, "%s: no memory for its bookkeeping", name);
    }
    error = map_section(&attachment->section, file, &header, options->flags);
    if (error < 0) {
        file_close(file);
        pool_give(attachment, sizeof *attachment);
        return error_set(error, "%s: cannot be mapped at %#llx: %s", name, (unsigned long long)header.address,
                         cairn_strerror(error));
    }
    if (!section_file_is_whole(&attachment->section))
        error = -EUCLEAN;
    else if (!attachment->section.read_only)
        error = attachment_join(attachment);
    struct cairn_heap *heap = error == 0 ? handle_for(attachment, MAIN_HEAP, options) : NULL;
    if (heap == NULL) {
        error = error < 0 ? error : -ENOMEM;
        end_attachment(attachment);
        return error_set(error, "%s: cannot be attached: %s", name,
                         error == -EUCLEAN ? "damaged: the file is shorter than what is committed"
                                           : cairn_strerror(error));
    }
    error = check_not_destroyed(heap, options->flags);
    if (error < 0) {
        handle_give(heap);
        end_attachment(attachment);
        return error;
    }
    heap->read_only = attachment->section.read_only;
    *ret_heap = heap;
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

static int open_checked(struct cairn_heap **ret_heap, const char *name, const char *directory, int descriptor,
                        const struct cairn_options *options)
{
    struct cairn_heap *heap = NULL;
    mutex_lock(&process_lock);
    int error = open_named(&heap, name, directory, descriptor, options);
    mutex_unlock(&process_lock);
    if (heap == NULL)
        return error;
    recover_at_attach(heap);
    if (load_relaxed(&heap->attachment->section.image->damaged) != 0 && (options->flags & CAIRN_DAMAGED_TOO) == 0) {
        close_shared(heap);
        return error_set(-EUCLEAN, "%s: damaged: the header of a dead process's span is impossible", name);
    }
    *ret_heap = heap;
    return 0;
}

struct shared_call {
    struct cairn_heap *heap;
    const struct cairn_options *options;
    const char *directory;
};

static int open_it(void *arg)
{
    struct shared_call *call = arg;
    return open_checked(&call->heap, call->options->name, call->directory, -1, call->options);
}

static int create_it(void *arg)
{
    struct shared_call *call = arg;
    return create_named(&call->heap, call->options, call->directory);
}

static int check_shared_limits(const struct cairn_options *options)
{
    if (options->bytes_max != 0 && options->bytes_max < SHARED_BYTES_MIN)
        return error_set(-EINVAL, "%s: a shared heap's limit is %llu KiB at least", options->name,
                         (unsigned long long)(SHARED_BYTES_MIN >> 10));
    if (options->bytes_max > HEAP_BYTES_MAX)
        return error_set(-EINVAL, "%s: a heap has %llu GiB at most", options->name,
                         (unsigned long long)(HEAP_BYTES_MAX >> 30));
    if (options->bytes_max == 0 && options->bytes_start > SHARED_BYTES_DEFAULT)
        return error_set(-EINVAL, "%s: bytes_start is above the %llu GiB that a heap without bytes_max has",
                         options->name, (unsigned long long)(SHARED_BYTES_DEFAULT >> 30));
    return 0;
}

static int create_shared(struct cairn_heap **ret_heap, const struct cairn_options *options)
{
    char directory[DIRECTORY_BYTES];
    int error = name_check(options->name);
    if (error == 0)
        error = directory_get(options->directory, true, directory, NULL);
    if (error == 0)
        error = check_shared_limits(options);
    if (error < 0)
        return error;
    struct shared_call call = {.options = options, .directory = directory};
    error = name_create(options->flags, open_it, create_it, &call);
    if (error == 0)
        *ret_heap = call.heap;
    return error;
}

/* ---------------------------------------------------------------- children of shared heaps */

/*
 * A child is found by a root of its parent whose ref has the highest bit set: the rest is the child's number and, above
 * it, the generation of its record, so that a root that outlived its heap is known for what it is.
 */
static uint64_t child_ref(uint32_t number, uint64_t record)
{
    return ROOT_IS_HEAP | record_generation_of(record) << UNIT_HEAP_BITS | number;
}

static bool child_of_ref(const struct section *section, uint64_t ref, uint32_t *ret_number)
{
    uint32_t number = (uint32_t)(ref & UNIT_HEAP_MASK);
    if ((ref & ROOT_IS_HEAP) == 0 || number <= MAIN_HEAP || number > section->heaps_max ||
        number > load_acquire(&section->image->heaps_end))
        return false;
    uint64_t record = load_acquire(&section_heap(section, number)->word);
    *ret_number = number;
    return record_state_of(record) == RECORD_LIVE && child_ref(number, record) == ref;
}

bool root_is_taken(const struct section *section, uint64_t ref)
{
    uint32_t number;
    return (ref & ROOT_IS_HEAP) == 0 || child_of_ref(section, ref, &number);
}

/* Whether the heap still is what the handle was made for. */
static int check_alive(struct cairn_heap *heap)
{
    if (load_acquire(&heap->core.image->word) == heap->core.word_made)
        return 0;
    return error_set(-ESTALE, "%s: was destroyed already", heap->attachment->name);
}

static int destroy_child(struct cairn_heap *heap);

/* Ends a child that did not get its name; the reason that was set stays. */
static void end_unnamed_child(struct cairn_heap *heap)
{
    (void)destroy_child(heap);
    close_shared(heap);
}

static int create_child(struct cairn_heap **ret_heap, const struct cairn_options *options)
{
    struct cairn_heap *parent = options->parent;
    struct attachment *attachment = parent->attachment;
    const char *name = options->name;
    uint64_t ref;
    int error = name_check(name);
    if (error == 0 && strlen(name) > CAIRN_ROOT_NAME_MAX)
        error = error_set(-ENAMETOOLONG, "a child's name may have %d bytes at most", CAIRN_ROOT_NAME_MAX);
    if (error < 0)
        return error;
    struct bins *bins = call_begin(parent, "create");
    if (bins == NULL)
        return cairn_last_errno();
    call_end(parent, bins);
    if (root_find(parent, name, &ref) && root_is_taken(&attachment->section, ref))
        return error_set(-EEXIST, "%s: the heap has a child or a root of that name", name);

    /* Bound to this process until it has its name: killed before, nobody could find it, and recovery ends it. */
    struct cairn_options unnamed = *options;
    unnamed.flags |= CAIRN_BOUND;
    struct cairn_heap *heap = NULL;
    mutex_lock(&process_lock);
    error = make_private(attachment, &unnamed, parent->core.number, &heap);
    mutex_unlock(&process_lock);
    if (heap == NULL)
        return error_set(error == -ENOSPC ? -ENOMEM : error, "%s: cannot be made: %s", name, cairn_strerror(error));
    memcpy(heap->name, name, strlen(name) + 1);
    error = commit_start(heap, options);
    if (error < 0)
        error_set(error = -ENOMEM, "%s: its bytes_start cannot be committed", name);
    else
        error = root_store_new(parent, name, child_ref(heap->core.number, heap->core.word_made));
    if (error == 0)
        error = check_alive(parent); /* destroyed meanwhile: it may have missed this one */
    if (error < 0) {
        end_unnamed_child(heap);
        return error;
    }
    if ((options->flags & CAIRN_BOUND) == 0)
        fetch_and_acq_rel(&heap->core.image->options, ~(uint64_t)HEAP_BOUND);
    *ret_heap = heap;
    return 0;
}

CAIRN_API int cairn_heap_open_child(struct cairn_heap **ret_heap, struct cairn_heap *parent, const char *name)
{
    if (parent->state != HEAP_OPEN)
        crime_closed(parent, "open_child");
    uint64_t ref;
    uint32_t number;
    int error = name_check(name);
    if (error < 0)
        return error;
    if (!parent->attachment->is_shared || !root_find(parent, name, &ref) ||
        !child_of_ref(&parent->attachment->section, ref, &number))
        return error_set(-ENOENT, "%s: the heap has no child of that name", name);
    struct cairn_options none = {0};
    mutex_lock(&process_lock);
    struct cairn_heap *heap = handle_for(parent->attachment, number, &none);
    mutex_unlock(&process_lock);
    if (heap == NULL)
        return error_set(-ENOMEM, "%s: no memory for its bookkeeping", name);
    heap->read_only = parent->read_only;
    memcpy(heap->name, name, strlen(name) + 1);
    *ret_heap = heap;
    return 0;
}

/* ---------------------------------------------------------------- the calls */

/* Whether an option is of a file's, besides its name. */
static bool names_a_file(const struct cairn_options *wanted)
{
    return wanted->directory != NULL || wanted->mode != 0 || wanted->group != 0 || wanted->access_count != 0;
}

static int check_private(const struct cairn_options *wanted)
{
    if ((wanted->flags & (CAIRN_OPEN_OR_CREATE | CAIRN_BOUND | CAIRN_ANY_OWNER | CAIRN_RELOCATE)) != 0 ||
        names_a_file(wanted))
        return error_set(-EINVAL, "a private heap has no name to be opened by");
    bool has_own_memory = wanted->bytes_max != 0 || wanted->memory != NULL || wanted->calls != NULL;
    if ((wanted->flags & CAIRN_STAYS_COMMITTED) != 0 && (wanted->parent != NULL || !has_own_memory))
        return error_set(-EINVAL, "what stays committed is the memory of a heap that has its own");
    if (wanted->parent != NULL && (wanted->memory != NULL || wanted->calls != NULL))
        return error_set(-EINVAL, "a child takes its parent's memory");
    if (wanted->parent != NULL && (wanted->parent->mode != MODE_THREADS || wanted->parent->lockable))
        return error_set(-EINVAL, "a heap with a lock or an owner of its own has no children");
    if (wanted->memory != NULL && (wanted->calls != NULL || (uintptr_t)wanted->memory % 64 != 0))
        return error_set(-EINVAL, "memory must be aligned to 64 bytes, and not come with calls");
    if (wanted->calls != NULL && wanted->bytes_max == 0 && wanted->bytes_start > CALLS_BYTES_DEFAULT)
        return error_set(-EINVAL, "bytes_start is above the bytes that are reserved by default");
    uint64_t least = wanted->memory != NULL ? LENT_BYTES_MIN : BOUNDED_BYTES_MIN;
    if (wanted->parent == NULL && (wanted->bytes_max != 0 || wanted->memory != NULL) && wanted->bytes_max < least)
        return error_set(-EINVAL, "a bounded heap has %llu bytes at least", (unsigned long long)least);
    if (wanted->parent == NULL && wanted->bytes_max > HEAP_BYTES_MAX)
        return error_set(-EINVAL, "a heap has %llu GiB at most", (unsigned long long)(HEAP_BYTES_MAX >> 30));
    return 0;
}

CAIRN_API int cairn_heap_create(struct cairn_heap **ret_heap, const struct cairn_options *options)
{
    struct cairn_options wanted;
    int error = options_get(&wanted, options);
    if (error < 0)
        return error;
    if (ret_heap == NULL || (wanted.flags & (CAIRN_READ_ONLY | CAIRN_DAMAGED_TOO)) != 0)
        return error_set(-EINVAL, "a heap is created for writing, and into a variable");
    if (wanted.checked != 0 && (wanted.name != NULL || (wanted.parent != NULL && wanted.parent->attachment->is_shared)))
        return error_set(-EINVAL, "only private heaps are checked");
    if (wanted.parent != NULL && wanted.parent->state != HEAP_OPEN)
        crime_closed(wanted.parent, "create");
    if (wanted.parent != NULL && wanted.parent->attachment->is_shared) {
        if (wanted.memory != NULL || wanted.calls != NULL || names_a_file(&wanted) ||
            (wanted.flags & ~(CAIRN_EXACT_SIZES | CAIRN_BOUND)) != 0)
            return error_set(-EINVAL, "a child takes its parent's memory and is opened by its parent");
        struct cairn_heap *heap = NULL;
        error = create_child(&heap, &wanted);
        if (error == 0)
            *ret_heap = heap;
        return error;
    }
    if (wanted.name != NULL) {
        if ((wanted.flags & (CAIRN_UNSERIALIZED | CAIRN_LOCKABLE | CAIRN_BOUND | CAIRN_STAYS_COMMITTED)) != 0 ||
            wanted.memory != NULL || wanted.calls != NULL || wanted.parent != NULL)
            return error_set(-EINVAL, "%s: an option of private heaps, for a shared one", wanted.name);
        return create_shared(ret_heap, &wanted);
    }
    error = check_private(&wanted);
    return error < 0 ? error : create_private(ret_heap, &wanted);
}

static int check_opening(struct cairn_heap *const *ret_heap, const struct cairn_options *wanted)
{
    if (wanted->checked != 0)
        return error_set(-EINVAL, "only private heaps are checked");
    uint64_t possible = CAIRN_READ_ONLY | CAIRN_ANY_OWNER | CAIRN_RELOCATE | CAIRN_DAMAGED_TOO;
    if (ret_heap == NULL || (wanted->flags & ~possible) != 0)
        return error_set(-EINVAL, "opening never creates, and needs a variable to store to");
    if ((wanted->flags & CAIRN_DAMAGED_TOO) != 0 && (wanted->flags & CAIRN_READ_ONLY) == 0)
        return error_set(-EINVAL, "what is damaged can only be looked at: CAIRN_DAMAGED_TOO needs CAIRN_READ_ONLY");
    return 0;
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
    if (error == 0)
        error = check_opening(ret_heap, &wanted);
    return error != 0 ? error : open_checked(ret_heap, name, directory, -1, &wanted);
}

/* What a memory file is called in sentences, and in /proc. */
static int label_check(struct cairn_options *wanted)
{
    if (wanted->name == NULL)
        wanted->name = "memory file";
    return name_check(wanted->name);
}

CAIRN_API int cairn_heap_create_fd(struct cairn_heap **ret_heap, int *ret_fd, const struct cairn_options *options)
{
    struct cairn_options wanted;
    int error = options_get(&wanted, options);
    if (error == 0)
        error = label_check(&wanted);
    if (error != 0)
        return error;
    if (ret_fd == NULL || (wanted.flags & ~CAIRN_EXACT_SIZES) != 0 || wanted.directory != NULL ||
        wanted.parent != NULL || wanted.memory != NULL || wanted.calls != NULL || wanted.checked != 0)
        return error_set(-EINVAL, "%s: an option that a heap in a memory file does not have", wanted.name);
    error = check_shared_limits(&wanted);
    return error < 0 ? error : heap_make_memory(ret_heap, ret_fd, NULL, &wanted, NULL);
}

CAIRN_API int cairn_heap_open_fd(struct cairn_heap **ret_heap, int fd, const struct cairn_options *options)
{
    struct cairn_options wanted;
    int error = options_get(&wanted, options);
    if (error == 0)
        error = label_check(&wanted);
    if (error == 0)
        error = check_opening(ret_heap, &wanted);
    return error != 0 ? error : open_checked(ret_heap, wanted.name, "", fd, &wanted);
}

static void close_shared(struct cairn_heap *heap)
{
    struct attachment *attachment = heap->attachment;
    mutex_lock(&process_lock);
    handle_give(heap);
    if (--attachment->handles == 0) {
        unlink_attachment(attachment);
        end_attachment(attachment);
    }
    mutex_unlock(&process_lock);
}

CAIRN_API void cairn_heap_close(struct cairn_heap *heap)
{
    if (heap == NULL)
        return;
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "close");
    if (check_not_published(heap, "close") < 0)
        return;
    if (heap->attachment->is_shared)
        close_shared(heap);
    else
        close_private(heap);
}

/* Ending a heap that other processes work in needs a barrier in them. */
static int require_barrier(const struct cairn_heap *heap)
{
    if (barrier_system_ready() == 0)
        return 0;
    return error_set(-EOPNOTSUPP, "%s: the system has no membarrier(2), which this needs", heap->attachment->name);
}

static int destroy_child(struct cairn_heap *heap)
{
    int error = require_barrier(heap);
    if (error < 0)
        return error;
    struct thread_owner *owner = thread_owner_get(heap->attachment);
    if (owner == NULL)
        return cairn_last_errno();
    struct section *section = &heap->attachment->section;
    uint32_t number = heap->core.number;
    uint32_t process = heap->attachment->process;
    mutex_lock(&process_lock);
    bool killed = heap_kill(section, process, number, heap->core.word_made);
    if (killed) {
        do {
            barrier_system();
        } while (heap_kill_parts(section, process)); /* a child that was made while we looked for children */
        attachment_recover(heap->attachment, owner->core.number); /* a dead one's hand may name a block of it */
        heap_sweep_killed(section, owner->core.number, process, number);
    }
    mutex_unlock(&process_lock);
    return killed ? 0 : error_set(-ESTALE, "%s: was destroyed already", heap->name);
}

CAIRN_API int cairn_heap_destroy(struct cairn_heap *heap)
{
    if (heap == NULL)
        return 0;
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "destroy");
    int published = check_not_published(heap, "destroy");
    if (published < 0)
        return published;
    struct attachment *attachment = heap->attachment;
    if (heap_has_children(heap->core.section, heap->core.number))
        return error_set(-EBUSY, "the heap has children");
    if (!attachment->is_shared) {
        close_private(heap);
        return 0;
    }
    if (heap->read_only)
        return error_set(-EROFS, "%s: attached read-only", attachment->name);
    int error = check_alive(heap);
    if (error == 0 && heap->core.number != MAIN_HEAP) {
        error = destroy_child(heap);
        if (error < 0 && error != -ESTALE)
            return error;
    } else if (error == 0) {
        error = heap_file_unlink(attachment);
        if (error < 0)
            return error_set(error, "%s: its name cannot be removed: %s", attachment->name, cairn_strerror(error));
        (void)heap_kill(&attachment->section, attachment->process, MAIN_HEAP, heap->core.word_made);
    }
    close_shared(heap);
    return error;
}

/* A heap that another thread has stopped is not reset under it. */
static int reset_private(struct cairn_heap *heap)
{
    int error = heap->lockable ? cairn_heap_lock(heap) : 0;
    if (error < 0)
        return error;
    error = clear_private(heap, false);
    if (heap->lockable)
        (void)cairn_heap_unlock(heap);
    return error;
}

static int reset_shared(struct cairn_heap *heap)
{
    struct thread_owner *owner = thread_owner_get(heap->attachment);
    if (owner == NULL)
        return cairn_last_errno();
    int error = check_alive(heap);
    if (error == 0)
        error = require_barrier(heap);
    if (error < 0)
        return error;
    struct bins *bins = call_begin(heap, "reset"); /* moves the handle on to the life that is now */
    if (bins == NULL)
        return cairn_last_errno();
    call_end(heap, bins);
    mutex_lock(&process_lock);
    attachment_recover(heap->attachment, owner->core.number);
    bool done = heap_reset_begin(&owner->core, &heap->core);
    if (done) {
        barrier_system();
        done = heap_reset_finish(&owner->core, &heap->core);
    }
    mutex_unlock(&process_lock);
    return done ? 0 : error_set(-EBUSY, "%s: others hold memory of it", heap->attachment->name);
}

CAIRN_API int cairn_heap_reset(struct cairn_heap *heap)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "reset");
    if (heap->read_only)
        return error_set(-EROFS, "%s: attached read-only", heap->attachment->name);
    if (heap->published != NULL)
        return reset_published(heap);
    return heap->attachment->is_shared ? reset_shared(heap) : reset_private(heap);
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
    struct file_status status = {0};
    uint64_t magic = 0;
    error = file_open(&file, resolved, name, true);
    if (error < 0 && !is_no_file(error))
        return error_set(error, "%s: cannot be opened in %s: %s", name, resolved, cairn_strerror(error));
    int read = -ENODATA;
    if (error == 0) {
        (void)file_status_get(file, &status);
        read = file_read_at(file, 0, &magic, sizeof magic);
        file_close(file);
    }
    if (!status.is_regular)
        return error_set(-EPERM, "%s: not a regular file, so it is not removed", name);
    if (read < 0 && read != -ENODATA)
        return error_set(read, "%s: cannot be read: %s", name, cairn_strerror(read));
    if (read < 0 || magic != IMAGE_MAGIC)
        return error_set(-EPROTO, "%s: not a cairn heap, so it is not removed", name);
    error = file_unlink(resolved, name);
    if (error < 0)
        return error_set(error, "%s: cannot be removed: %s", name, cairn_strerror(error));
    return 0;
}

struct names_walk {
    const char *directory;
    bool of_sections; /* without a heap in them */
    cairn_name_fn *visit;
    void *arg;
    int result; /* of visit */
};

/* What is damaged counts as a heap. */
static int visit_name(const char *name, void *arg)
{
    struct names_walk *walk = arg;
    int file;
    struct section_image header = {0};
    if (name[0] == '.' || file_open(&file, walk->directory, name, true) < 0)
        return 0;
    int read = file_read_at(file, 0, &header.magic, sizeof header.magic);
    bool is_ours = read == 0 && header.magic == IMAGE_MAGIC;
    bool is_section = is_ours && file_read_at(file, 0, &header, sizeof header) == 0 &&
                      section_header_check(&header, ~UINT64_C(0), NULL) == 0 && header.heaps_max == 0;
    file_close(file);
    if (is_ours && is_section == walk->of_sections)
        walk->result = walk->visit(name, walk->arg);
    return walk->result;
}

static int walk_names(const char *directory, bool of_sections, cairn_name_fn *visit, void *arg)
{
    char resolved[DIRECTORY_BYTES];
    bool is_default;
    int error = directory_get(directory, false, resolved, &is_default);
    if (error < 0)
        return error;
    struct names_walk walk = {.directory = resolved, .of_sections = of_sections, .visit = visit, .arg = arg};
    int result = directory_walk(resolved, visit_name, &walk);
    if (walk.result != 0)
        return walk.result; /* the program's own, also where it looks like an error */
    if (result == -ENOENT && is_default)
        return 0;
    if (result < 0)
        return error_set(result, "%s: cannot be read: %s", resolved, cairn_strerror(result));
    return result;
}

CAIRN_API int cairn_heap_names(const char *directory, cairn_name_fn *visit, void *arg)
{
    return walk_names(directory, false, visit, arg);
}

CAIRN_API int cairn_section_names(const char *directory, cairn_name_fn *visit, void *arg)
{
    return walk_names(directory, true, visit, arg);
}
