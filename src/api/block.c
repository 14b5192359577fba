/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "api/checked.h"

/* ---------------------------------------------------------------- reasons */

static void alloc_failed(struct cairn_heap *heap, size_t size, int error)
{
    char label[LABEL_BYTES];
    heap_label(heap, label, sizeof label);
    const struct section *section = &heap->attachment->section;
    unsigned long long wanted = size;
    if (error == -EDQUOT) {
        const struct heap_image *limited = heap_limited(section, heap->core.image);
        error_set(-ENOMEM, "%s: %llu more bytes would exceed its limit of %llu", label, wanted,
                  limited == NULL ? 0 : (unsigned long long)load_relaxed(&limited->bytes_max));
    } else if (error == -ENOSPC) {
        error_set(-ENOMEM, "%s: no run of free units for %llu bytes in its %llu KiB", label, wanted,
                  (unsigned long long)(section->units_bytes >> 10));
    } else if (error == -EINVAL) {
        error_set(-EINVAL, "%s: its memory is not aligned enough for that", label);
    } else if (error == -EBADF) {
        error_set(-ENOMEM, "%s: cannot grow: the application closed the heap's descriptor", label);
    } else {
        uint64_t bytes, bytes_free;
        if (error != -ENOMEM)
            error_set(-ENOMEM, "%s: cannot commit %llu more bytes: %s", label, wanted, cairn_strerror(error));
        else if (heap->attachment->is_shared && directory_space(heap->attachment->directory, &bytes, &bytes_free) == 0)
            error_set(-ENOMEM, "%s: cannot commit %llu more bytes: %s has %llu KiB free of %llu KiB", label, wanted,
                      heap->attachment->directory, (unsigned long long)(bytes_free >> 10),
                      (unsigned long long)(bytes >> 10));
        else
            error_set(-ENOMEM, "%s: the system refuses %llu more bytes", label, wanted);
    }
}

/* ---------------------------------------------------------------- slow paths */

/* Of a published heap what is live is counted: a part of it is what its readers may hold back. */
static void note_published(struct cairn_heap *heap, struct bins *bins, const void *block, uint64_t bytes_before)
{
    if (heap->published != NULL && block != NULL)
        heap->published->grown(heap->published, bins, core_find(&heap->core, block).bytes_granted - bytes_before);
}

/* Asks the program, which is told the last error. */
static bool program_makes_room(struct cairn_heap *heap, size_t size)
{
    return heap->on_failure != NULL &&
           heap->on_failure(heap, size, cairn_last_errno(), heap->on_failure_arg) == CAIRN_RETRY;
}

/* As call_begin; the program is asked for room for the thread's record, too. */
static struct bins *begin_allocation(struct cairn_heap *heap, size_t size, const char *call)
{
    struct bins *bins;
    do
        bins = call_begin(heap, call);
    while (bins == NULL && (cairn_last_errno() == -ENOMEM || cairn_last_errno() == -EAGAIN) &&
           program_makes_room(heap, size));
    return bins;
}

typedef void *alloc_fn(struct bins *bins, struct core_heap *heap, size_t alignment, size_t size, int *ret_error);

/*
 * Recovers the dead, and then asks the program, for memory; true when it is worth trying again. No lock is held and the
 * owner's hand is empty, so the program's callback may use the heap, or leave by longjmp.
 */
static bool make_room(struct cairn_heap *heap, size_t size, int error, bool *recovered)
{
    if (!*recovered) {
        *recovered = true;
        struct thread_owner *owner = heap->one != NULL ? heap->one : thread_owner_get(heap->attachment);
        mutex_lock(&process_lock);
        uint32_t found = owner != NULL ? attachment_recover(heap->attachment, owner->core.number) : 0;
        mutex_unlock(&process_lock);
        if (found != 0)
            return true;
    }
    if (heap->published != NULL) {
        struct bins *bins = call_begin(heap, "alloc");
        bool made = bins != NULL && heap->published->make_room(heap->published, bins);
        if (bins != NULL)
            call_end(heap, bins);
        if (made)
            return true;
    }
    alloc_failed(heap, size, error);
    return program_makes_room(heap, size);
}

static alloc_fn zeroed;

/* Allocates, and before it gives up tries what can be done about it. */
static NOINLINE void *alloc_slowly(struct cairn_heap *heap, size_t alignment, size_t size, alloc_fn *alloc,
                                   const char *call)
{
    bool recovered = false;
    for (;;) {
        struct bins *bins = begin_allocation(heap, size, call);
        if (bins == NULL)
            return NULL;
        int error = -ENOMEM;
        void *block = heap->checked != NULL ? checked_alloc(heap, bins, alignment, size, alloc == zeroed, &error)
                                            : alloc(bins, &heap->core, alignment, size, &error);
        note_published(heap, bins, block, 0);
        call_end(heap, bins);
        if (block == NULL && error == -EAGAIN)
            continue; /* another process reset the heap, or tried to: begin again, and wait for it */
        if (block != NULL || !make_room(heap, size, error, &recovered))
            return block;
    }
}

static void *plain(struct bins *bins, struct core_heap *heap, size_t alignment, size_t size, int *ret_error)
{
    (void)alignment;
    return core_alloc(bins, heap, size, ret_error);
}

static void *zeroed(struct bins *bins, struct core_heap *heap, size_t alignment, size_t size, int *ret_error)
{
    (void)alignment;
    return core_alloc_zeroed(bins, heap, size, ret_error);
}

/* Whether another process destroyed the shared heap since the handle was made. */
static bool is_destroyed(const struct cairn_heap *heap)
{
    return heap->attachment->is_shared && load_acquire(&heap->core.image->word) != heap->core.word_made;
}

/* Reports the crime, unless another process has destroyed the heap: then there is none. */
static COLD void free_failed(struct cairn_heap *heap, const void *block, enum core_crime crime)
{
    if (is_destroyed(heap))
        error_set(-ESTALE, "%s: was destroyed", heap->attachment->name);
    else
        crime_report(heap, "free", block, crime);
}

static enum core_crime free_block(struct cairn_heap *heap, struct bins *bins, void *block)
{
    if (heap->published != NULL)
        return heap->published->free(heap->published, bins, block);
    return heap->checked != NULL ? checked_free(heap, bins, block, "free") : core_free(bins, &heap->core, block);
}

static COLD void free_slowly(struct cairn_heap *heap, void *block)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "free");
    if (block == NULL)
        return;
    struct bins *bins;
    enum core_crime crime;
    for (;;) {
        bins = call_begin(heap, "free");
        if (bins == NULL)
            return; /* read-only, destroyed, or no memory for a record: the reason is told */
        crime = free_block(heap, bins, block);
        if (crime != CRIME_DESTROYED || is_destroyed(heap))
            break;
        call_end(heap, bins); /* another process tried a reset just now: begin again, and wait for it */
    }
    call_end(heap, bins); /* first: who is told of a crime may leave by longjmp */
    if (crime != CRIME_NONE)
        free_failed(heap, block, crime);
}

bool heap_is_retired(struct cairn_heap *heap, const void *block)
{
    heap_lock_take(&heap->lock);
    bool is = heap->published->is_retired(heap->published, block);
    heap_lock_give(&heap->lock);
    return is;
}

/* A reset of a shared heap moves the handle on: here of who only looks, in check_life of thread.c of who changes it. */
static void follow_reset(struct cairn_heap *heap)
{
    uint64_t life = load_acquire(heap->core.life);
    if (UNLIKELY(life != load_relaxed(&heap->core.life_made)) && heap->attachment->is_shared &&
        !life_is_stopped(life) && !is_destroyed(heap))
        store_relaxed(&heap->core.life_made, (uint32_t)life);
}

/*
 * Finds a live block, or names the crime. In a heap that another process destroyed there are no blocks, and whose its
 * memory is by now proves nothing: false, with the reason.
 */
static bool find_live(struct cairn_heap *heap, const void *block, const char *call, struct core_place *ret_place)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, call);
    if (heap_is_the_parents(heap))
        return false;
    follow_reset(heap);
    *ret_place = heap->checked != NULL ? checked_look(heap, block, call) : core_find(&heap->core, block);
    if (heap->published != NULL && ret_place->crime == CRIME_NONE && heap_is_retired(heap, block))
        ret_place->crime = CRIME_FREED;
    if (is_destroyed(heap)) {
        error_set(-ESTALE, "%s: was destroyed", heap->attachment->name);
        return false;
    }
    if (ret_place->crime != CRIME_NONE)
        crime_report(heap, call, block, ret_place->crime);
    return true;
}

/* ---------------------------------------------------------------- the calls */

/* Whether this thread used the heap last, of that check, and it still lives as it did then. */
ALWAYS_INLINE bool is_last(uint64_t check)
{
    return LIKELY(word_is(&thread_last.check, check));
}

/* The same of a lockable or exact heap. */
ALWAYS_INLINE bool is_guarded_last(uint64_t check)
{
    return word_is(&thread_last.check_guarded, check);
}

/* The bin for a size that is looked up, of the heap that this thread used last. */
ALWAYS_INLINE struct bin *last_bin(size_t size)
{
    return bins_bin(thread_last.bins, class_table[(size + 15) / 16]);
}

/* One of the two is the heap's check, the other UINT64_MAX, which no heap has: so one comparison tells the path. */
ALWAYS_INLINE struct bins *set_last(struct bins *bins, uint64_t check, uint64_t check_guarded)
{
    store_relaxed(&thread_last.check, check);
    store_relaxed(&thread_last.check_guarded, check_guarded);
    thread_last.word = bins->word;
    thread_last.bins = bins;
    return bins;
}

/* Makes a heap the one that this thread used last; NULL when its bins are not current, or not for the fast paths. */
ALWAYS_INLINE struct bins *make_last(const struct cairn_heap *heap)
{
    struct bins *bins = thread_bins(heap);
    uint64_t check = heap_check(&heap->core);
    if (UNLIKELY(check != load_relaxed(&bins->check)))
        return NULL;
    return set_last(bins, check, UINT64_MAX);
}

/*
 * Makes a guarded heap the one that this thread used last; NULL when stray writes are looked for there. The bins of a
 * heap whose calls take turns stand in no thread's table.
 */
static struct bins *make_guarded_last(const struct cairn_heap *heap)
{
    struct bins *bins = thread_bins(heap);
    uint64_t check = heap_check(&heap->core);
    if ((check ^ GUARDED) != load_relaxed(&bins->check) || heap->checked != NULL)
        return NULL;
    thread_last.owner = bins->owner;
    return set_last(bins, UINT64_MAX, check);
}

/*
 * From here to end_guarded a guarded heap, whose check just now fitted the bins, is not stopped: either this sees that
 * it was, or who stopped it sees that this thread is busy (call.c tells why). False when it was.
 */
ALWAYS_INLINE bool begin_guarded(const struct cairn_heap *heap, struct core_owner *owner, uint64_t check)
{
    store_relaxed(&owner->busy, 1);
    atomic_signal_fence(memory_order_seq_cst);
    uint64_t life = load_acquire(heap->core.life); /* what the holder of the lock did is done */
    return LIKELY((life ^ heap->core.key) == check);
}

ALWAYS_INLINE void end_guarded(struct core_owner *owner)
{
    store_release(&owner->busy, 0);
}

/* Ends what begin_guarded began, and takes the slow path. */
static NOINLINE void *alloc_unguarded(struct cairn_heap *heap, size_t size, struct core_owner *owner)
{
    end_guarded(owner);
    return alloc_slowly(heap, 0, size, plain, "alloc");
}

/* Of the heap that this thread used last, which is guarded, and whose check is given. */
ALWAYS_INLINE void *alloc_guarded(struct cairn_heap *heap, size_t size, uint64_t check)
{
    struct bins *bins = thread_last.bins;
    if (UNLIKELY(size > CLASS_TABLE_MAX))
        return alloc_slowly(heap, 0, size, plain, "alloc");
    uint32_t size_class = class_table[(size + 15) / 16];
    struct bin *bin = bins_bin(bins, size_class);
    struct core_owner *owner = thread_last.owner;
    if (UNLIKELY(!begin_guarded(heap, owner, check)) || UNLIKELY(bin->claim == 0))
        return alloc_unguarded(heap, size, owner);
    void *block = core_alloc_looked_up(bins, bin, size_class, size);
    end_guarded(owner);
    return block;
}

static NOINLINE void notice_guarded(struct bins *bins, void *block)
{
    core_slab_noticed(bins, block);
    end_guarded(bins->owner);
}

/* As alloc_unguarded. */
static NOINLINE void free_unguarded(struct cairn_heap *heap, void *block, struct core_owner *owner)
{
    end_guarded(owner);
    free_slowly(heap, block);
}

/* As alloc_guarded. */
ALWAYS_INLINE void free_guarded(struct cairn_heap *heap, void *block, uint64_t check)
{
    bool noticed;
    struct core_owner *owner = thread_last.owner;
    if (UNLIKELY(!begin_guarded(heap, owner, check)) ||
        UNLIKELY(!core_free_local(&heap->core, thread_last.word, block, &noticed)))
        free_unguarded(heap, block, owner);
    else if (UNLIKELY(noticed))
        notice_guarded(thread_last.bins, block);
    else
        end_guarded(owner);
}

/* Of a bin whose claim is empty, of the heap that this thread used last. */
static NOINLINE void *alloc_next(struct cairn_heap *heap, size_t size, struct bin *bin)
{
    if (core_claim_next(thread_last.bins, bin))
        return core_alloc_claimed(bin);
    int error;
    void *block = core_alloc(thread_last.bins, &heap->core, size, &error);
    return block != NULL ? block : alloc_slowly(heap, 0, size, plain, "alloc");
}

/* By itself, for it is as short as it must be to go from one heap to the next. */
static NOINLINE void *alloc_otherwise(struct cairn_heap *heap, size_t size, uint64_t check)
{
    struct bins *bins = make_last(heap);
    if (bins == NULL && make_guarded_last(heap) != NULL)
        return alloc_guarded(heap, size, check);
    if (UNLIKELY(bins == NULL) || UNLIKELY(size > CLASS_TABLE_MAX))
        return alloc_slowly(heap, 0, size, plain, "alloc");
    struct bin *bin = last_bin(size);
    return LIKELY(bin->claim != 0) ? core_alloc_claimed(bin) : alloc_next(heap, size, bin);
}

CAIRN_API void *cairn_alloc(struct cairn_heap *heap, size_t size)
{
    probe_alloc(heap, size);
    uint64_t check = heap_check(&heap->core);
    if (UNLIKELY(!is_last(check)))
        return is_guarded_last(check) ? alloc_guarded(heap, size, check) : alloc_otherwise(heap, size, check);
    if (UNLIKELY(size > CLASS_TABLE_MAX))
        return alloc_slowly(heap, 0, size, plain, "alloc");
    struct bin *bin = last_bin(size);
    return LIKELY(bin->claim != 0) ? core_alloc_claimed(bin) : alloc_next(heap, size, bin);
}

/* Of another owner's slab, or none of the usual. */
static NOINLINE void free_not_local(struct cairn_heap *heap, struct bins *bins, void *block)
{
    enum core_crime crime;
    if (!core_free_other(bins, &heap->core, block, &crime)) {
        if (!core_free_mine(bins, &heap->core, block))
            free_slowly(heap, block);
    } else if (UNLIKELY(crime != CRIME_NONE)) {
        free_failed(heap, block, crime);
    }
}

static NOINLINE void free_otherwise(struct cairn_heap *heap, void *block, uint64_t check)
{
    bool noticed;
    struct bins *bins = make_last(heap);
    if (bins == NULL && make_guarded_last(heap) != NULL)
        free_guarded(heap, block, check);
    else if (bins == NULL)
        free_slowly(heap, block);
    else if (!core_free_local(&heap->core, bins->word, block, &noticed))
        free_not_local(heap, bins, block);
    else if (noticed)
        core_slab_noticed(bins, block);
}

CAIRN_API void cairn_free(struct cairn_heap *heap, void *block)
{
    probe_free(heap, block);
    bool noticed;
    uint64_t check = heap_check(&heap->core);
    if (UNLIKELY(!is_last(check))) {
        if (is_guarded_last(check))
            free_guarded(heap, block, check);
        else
            free_otherwise(heap, block, check);
    } else if (UNLIKELY(!core_free_local(&heap->core, thread_last.word, block, &noticed)))
        free_not_local(heap, thread_last.bins, block);
    else if (UNLIKELY(noticed))
        core_slab_noticed(thread_last.bins, block);
}

/* As alloc_guarded; NULL: by the slow path. */
static void *zalloc_guarded(const struct cairn_heap *heap, size_t size, uint64_t check)
{
    if (UNLIKELY(size > CLASS_TABLE_MAX))
        return NULL;
    uint32_t size_class = class_table[(size + 15) / 16];
    struct bin *bin = bins_bin(thread_last.bins, size_class);
    struct core_owner *owner = thread_last.owner;
    void *block = NULL;
    if (begin_guarded(heap, owner, check) && LIKELY(bin->claim != 0))
        block = core_alloc_looked_up(thread_last.bins, bin, size_class, size);
    end_guarded(owner);
    return block != NULL ? memset(block, 0, class_bytes(size_class)) : NULL;
}

static NOINLINE void *zalloc_otherwise(struct cairn_heap *heap, size_t size)
{
    uint64_t check = heap_check(&heap->core);
    void *block = NULL;
    if (is_guarded_last(check) || (make_last(heap) == NULL && make_guarded_last(heap) != NULL))
        block = zalloc_guarded(heap, size, check);
    /* A plain heap is the last one from here on; this once it goes the slow way. */
    return LIKELY(block != NULL) ? block : alloc_slowly(heap, 0, size, zeroed, "zalloc");
}

CAIRN_API void *cairn_zalloc(struct cairn_heap *heap, size_t size)
{
    if (is_last(heap_check(&heap->core)) && LIKELY(size <= CLASS_TABLE_MAX)) {
        struct bin *bin = last_bin(size);
        if (LIKELY(bin->claim != 0))
            return memset(core_alloc_claimed(bin), 0, bin->block_bytes);
    }
    return zalloc_otherwise(heap, size);
}

CAIRN_API void *cairn_aligned_alloc(struct cairn_heap *heap, size_t alignment, size_t size)
{
    if (!is_power_of_two(alignment) || alignment > CAIRN_ALIGNMENT_MAX) {
        error_set(-EINVAL, "an alignment of %zu is not a power of two up to %u", alignment, CAIRN_ALIGNMENT_MAX);
        return NULL;
    }
    if (alignment <= CAIRN_ALIGNMENT)
        return cairn_alloc(heap, size);
    return alloc_slowly(heap, alignment, size, core_alloc_aligned, "aligned_alloc");
}

static bool resize_large(struct cairn_heap *heap, const struct core_place *place, size_t size)
{
    struct bins *bins = call_begin(heap, "realloc");
    if (bins == NULL)
        return false;
    bool done = core_resize_large(bins, &heap->core, place, size);
    if (done)
        note_published(heap, bins, place->block, place->bytes_granted);
    call_end(heap, bins);
    return done;
}

/* Records the size of a block that stays where it is; false, with the reason, when nothing was changed. */
static bool note_size(struct cairn_heap *heap, const struct core_place *place, size_t size, const char *call)
{
    if (heap->checked == NULL && !heap->core.exact)
        return true;
    /* Who holds the heap's lock sees no size change. */
    struct bins *bins = heap->lockable ? call_begin(heap, call) : NULL;
    if (heap->lockable && bins == NULL)
        return false;
    if (heap->checked != NULL)
        checked_note_size(heap, place->block, size);
    else
        core_note_size(&heap->core, place, size);
    if (bins != NULL)
        call_end(heap, bins);
    return true;
}

/* A block may stay where it is when it fits and is not much too large. */
static bool fits(const struct cairn_heap *heap, const struct core_place *place, size_t size)
{
    if (size > place->bytes_granted || size <= place->bytes_granted / 2)
        return false;
    bool is_slab = unit_state_of(place->word) != UNIT_LARGE;
    return !heap->core.exact || !is_slab || place->bytes_granted - size <= UINT8_MAX || place->bytes_granted >= 2048;
}

/*
 * How large a block is in a slab of this thread's, of the heap that it used last; 0: it is none, or not so simple.
 * Exact and checked heaps are never is_last, so what is granted is the size.
 */
ALWAYS_INLINE uint32_t last_size(const struct cairn_heap *heap, const void *block)
{
    return is_last(heap_check(&heap->core)) ? core_size_local(&heap->core, thread_last.word, block) : 0;
}

static void *move(struct cairn_heap *heap, void *block, size_t size, uint64_t bytes)
{
    void *moved = cairn_alloc(heap, size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, min_u64(size, bytes));
    cairn_free(heap, block);
    return moved;
}

static NOINLINE void *realloc_otherwise(struct cairn_heap *heap, void *block, size_t size)
{
    if (block == NULL)
        return cairn_alloc(heap, size);
    struct core_place place;
    if (!find_live(heap, block, "realloc", &place))
        return NULL;
    if (fits(heap, &place, size) && !heap->read_only)
        return note_size(heap, &place, size, "realloc") ? block : NULL;
    /* Where there are readers a block becomes no smaller under them: they may be at its end. */
    bool may_resize = heap->published == NULL || size > place.bytes_granted;
    if (unit_state_of(place.word) == UNIT_LARGE && size > heap->core.slab_max && may_resize &&
        resize_large(heap, &place, size))
        return block;
    return move(heap, block, size, place.bytes);
}

CAIRN_API void *cairn_realloc(struct cairn_heap *heap, void *block, size_t size)
{
    uint32_t bytes = last_size(heap, block);
    if (UNLIKELY(bytes == 0))
        return realloc_otherwise(heap, block, size);
    /* As fits, where sizes are not exact. */
    return size <= bytes && size > bytes / 2 ? block : move(heap, block, size, bytes);
}

CAIRN_API bool cairn_expand(struct cairn_heap *heap, void *block, size_t size)
{
    if (block == NULL)
        return false;
    struct core_place place;
    if (!find_live(heap, block, "expand", &place))
        return false;
    if (size <= place.bytes)
        return true;
    if (heap->read_only) {
        error_set(-EROFS, "%s: attached read-only", heap->attachment->name);
        return false;
    }
    if (size <= place.bytes_granted)
        return note_size(heap, &place, size, "expand");
    return unit_state_of(place.word) == UNIT_LARGE && resize_large(heap, &place, size);
}

/* What is given back of a large block is whole units, and it stays a large one. */
static bool shrink_large(struct cairn_heap *heap, const struct core_place *place, size_t size)
{
    size_t least = heap->core.slab_max + 1;
    if (place->bytes_granted > least && !resize_large(heap, place, max_u64(size, least)))
        return false;
    return size >= least || note_size(heap, place, size, "shrink");
}

CAIRN_API bool cairn_shrink(struct cairn_heap *heap, void *block, size_t size)
{
    if (block == NULL)
        return false;
    struct core_place place;
    if (!find_live(heap, block, "shrink", &place) || size > place.bytes)
        return false;
    if (heap->read_only) {
        error_set(-EROFS, "%s: attached read-only", heap->attachment->name);
        return false;
    }
    if (size == place.bytes)
        return true;
    if (heap->published != NULL) /* readers may be at its end */
        return false;
    if (heap->checked != NULL)
        return fits(heap, &place, size) && note_size(heap, &place, size, "shrink");
    if (!heap->core.exact)
        return false;
    if (unit_state_of(place.word) == UNIT_LARGE)
        return shrink_large(heap, &place, size);
    /* As far as the slack can be told. */
    return (place.bytes_granted - size <= UINT8_MAX || place.bytes_granted >= 2048) &&
           note_size(heap, &place, size, "shrink");
}

static NOINLINE size_t size_otherwise(struct cairn_heap *heap, const void *block)
{
    if (block == NULL)
        return 0;
    struct core_place place;
    return find_live(heap, block, "size", &place) ? place.bytes : 0;
}

CAIRN_API size_t cairn_size(struct cairn_heap *heap, const void *block)
{
    uint32_t bytes = last_size(heap, block);
    return LIKELY(bytes != 0) ? bytes : size_otherwise(heap, block);
}

CAIRN_API bool cairn_is_block(struct cairn_heap *heap, const void *address)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "is_block");
    if (address == NULL || heap_is_the_parents(heap) || is_destroyed(heap))
        return false;
    if (heap->checked != NULL)
        return checked_is_sound(heap, address);
    follow_reset(heap);
    return core_find(&heap->core, address).crime == CRIME_NONE &&
           !(heap->published != NULL && heap_is_retired(heap, address));
}

/* ---------------------------------------------------------------- one step */

/* Names dest for the hand: its ref, 0 for a place outside the section, which only a private heap may use. */
static int dest_ref_get(struct cairn_heap *heap, void **dest, uint64_t *ret_ref)
{
    const struct section *section = &heap->attachment->section;
    bool inside = section_holds_units(section, dest);
    if (section->address != 0 && section->address != (uintptr_t)section->base)
        return error_set(-EINVAL, "%s: a pointer stored in a relocated view means nothing to others",
                         heap->attachment->name);
    if (dest == NULL || (uintptr_t)dest % sizeof *dest != 0 || (!inside && heap->attachment->is_shared))
        return error_set(-EINVAL, "dest %p is not a pointer in this heap", (void *)dest);
    *ret_ref = inside ? section_ref(section, dest) : 0;
    return 0;
}

CAIRN_API int cairn_alloc_to(struct cairn_heap *heap, size_t size, void **dest)
{
    bool recovered = false;
    for (;;) {
        struct bins *bins = begin_allocation(heap, size, "alloc_to");
        if (bins == NULL)
            return cairn_last_errno();
        uint64_t dest_ref = 0;
        int error = dest_ref_get(heap, dest, &dest_ref);
        void *block = NULL;
        if (error == 0 && heap->checked != NULL)
            block = checked_alloc_to(heap, bins, size, dest, &error);
        else if (error == 0)
            block = core_alloc_to(bins, &heap->core, size, dest, dest_ref, &error);
        note_published(heap, bins, block, 0);
        call_end(heap, bins);
        if (block != NULL)
            return 0;
        if (error == -EINVAL)
            return error;
        if (error == -EAGAIN)
            continue;
        if (!make_room(heap, size, error, &recovered))
            return cairn_last_errno();
    }
}

CAIRN_API int cairn_free_from(struct cairn_heap *heap, void **dest)
{
    struct bins *bins = call_begin(heap, "free_from");
    if (bins == NULL)
        return cairn_last_errno();
    uint64_t dest_ref = 0;
    int error = dest_ref_get(heap, dest, &dest_ref);
    void *block = error < 0 ? NULL : *dest;
    enum core_crime crime = CRIME_NONE;
    if (block != NULL && heap->checked != NULL) {
        crime = checked_free_from(heap, bins, dest);
    } else if (block != NULL && heap->published != NULL) {
        __atomic_store_n(dest, NULL, __ATOMIC_RELEASE); /* from here on no reader comes to it */
        crime = heap->published->free(heap->published, bins, block);
    } else if (block != NULL) {
        crime = core_free_from(bins, &heap->core, dest, dest_ref);
    }
    if (crime == CRIME_DESTROYED && !is_destroyed(heap)) {
        call_end(heap, bins); /* another process tried a reset just now: begin again, and wait for it */
        return cairn_free_from(heap, dest);
    }
    call_end(heap, bins); /* first: who is told of a crime may leave by longjmp */
    if (crime != CRIME_NONE && is_destroyed(heap))
        error = error_set(-ESTALE, "%s: was destroyed", heap->attachment->name);
    else if (crime != CRIME_NONE)
        crime_report(heap, "free_from", block, crime);
    return error;
}
