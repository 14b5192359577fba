/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "api/process.h"

/* ---------------------------------------------------------------- reasons */

static void alloc_failed(struct cairn_heap *heap, size_t size, int error)
{
    char label[CAIRN_NAME_MAX + 40];
    heap_label(heap, label, sizeof label);
    const struct section *section = &heap->attachment->section;
    unsigned long long wanted = size;
    if (error == -EDQUOT) {
        error_set(-ENOMEM, "%s: %llu more bytes would exceed its limit of %llu", label, wanted,
                  (unsigned long long)heap->core.image->bytes_max);
    } else if (error == -ENOSPC) {
        error_set(-ENOMEM, "%s: no run of free units for %llu bytes in its %llu MiB", label, wanted,
                  (unsigned long long)(section->units_bytes >> 20));
    } else if (error == -EBADF) {
        error_set(-ENOMEM, "%s: cannot grow: the application closed the heap's descriptor", label);
    } else {
        uint64_t bytes, bytes_free;
        if (heap->attachment->is_shared && directory_space(heap->attachment->directory, &bytes, &bytes_free) == 0)
            error_set(-ENOMEM, "%s: cannot commit %llu more bytes: %s has %llu KiB free of %llu KiB", label, wanted,
                      heap->attachment->directory, (unsigned long long)(bytes_free >> 10),
                      (unsigned long long)(bytes >> 10));
        else
            error_set(-ENOMEM, "%s: the system refuses %llu more bytes", label, wanted);
    }
}

/* ---------------------------------------------------------------- slow paths */

typedef void *alloc_fn(struct bins *bins, struct core_heap *heap, size_t alignment, size_t size, int *ret_error);

/* Attaches the thread, allocates, and before it gives up recovers the dead and tries once more. */
static void *alloc_slowly(struct cairn_heap *heap, size_t alignment, size_t size, alloc_fn *alloc, const char *call)
{
    struct bins *bins = thread_bins(heap);
    if (!bins_are_current(bins, &heap->core)) {
        bins = thread_attach(heap, call);
        if (bins == NULL)
            return NULL;
    }
    int error = -ENOMEM;
    void *block = alloc(bins, &heap->core, alignment, size, &error);
    if (block != NULL)
        return block;
    mutex_lock(&process_lock);
    uint32_t recovered = attachment_recover(heap->attachment, bins->owner->number);
    mutex_unlock(&process_lock);
    if (recovered != 0)
        block = alloc(bins, &heap->core, alignment, size, &error);
    if (block == NULL)
        alloc_failed(heap, size, error);
    return block;
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

static COLD void *alloc_plain_slowly(struct cairn_heap *heap, size_t size)
{
    return alloc_slowly(heap, 0, size, plain, "alloc");
}

static COLD void free_slowly(struct cairn_heap *heap, void *block)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "free");
    if (block == NULL)
        return;
    struct bins *bins = thread_bins(heap);
    if (!bins_are_current(bins, &heap->core)) {
        bins = thread_attach(heap, "free");
        if (bins == NULL) {
            /* Read-only, or no memory for a record: the block stays allocated, and the reason is told. */
            return;
        }
    }
    enum core_crime crime = core_free(bins, &heap->core, block);
    if (crime != CRIME_NONE)
        crime_report(heap, "free", block, crime);
}

/* Finds a live block, or names the crime. */
static struct core_place find_live(struct cairn_heap *heap, const void *block, const char *call)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, call);
    struct core_place place = core_find(&heap->core, block);
    if (place.crime != CRIME_NONE)
        crime_report(heap, call, block, place.crime);
    return place;
}

/* ---------------------------------------------------------------- the calls */

CAIRN_API void *cairn_alloc(struct cairn_heap *heap, size_t size)
{
    struct bins *bins = thread_bins(heap);
    if (LIKELY(size <= CLASS_TABLE_MAX) && LIKELY(bins_are_current(bins, &heap->core))) {
        void *block = core_alloc_claimed(&bins->bin[class_table[(size + 15) / 16]]);
        if (LIKELY(block != NULL))
            return block;
    }
    return alloc_plain_slowly(heap, size);
}

CAIRN_API void cairn_free(struct cairn_heap *heap, void *block)
{
    struct bins *bins = thread_bins(heap);
    bool noticed;
    if (LIKELY(bins_are_current(bins, &heap->core)) &&
        LIKELY(core_free_local(&heap->core, bins, block, &noticed))) {
        if (UNLIKELY(noticed))
            core_slab_noticed(bins, block);
        return;
    }
    free_slowly(heap, block);
}

CAIRN_API void *cairn_zalloc(struct cairn_heap *heap, size_t size)
{
    struct bins *bins = thread_bins(heap);
    if (LIKELY(size <= CLASS_TABLE_MAX) && LIKELY(bins_are_current(bins, &heap->core))) {
        void *block = core_alloc_claimed(&bins->bin[class_table[(size + 15) / 16]]);
        if (LIKELY(block != NULL))
            return memset(block, 0, size);
    }
    return alloc_slowly(heap, 0, size, zeroed, "zalloc");
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
    struct bins *bins = thread_bins(heap);
    if (!bins_are_current(bins, &heap->core))
        bins = thread_attach(heap, "realloc");
    return bins != NULL && core_resize_large(bins, &heap->core, place, size);
}

/* A block may stay where it is when it fits and is not much too large. */
static bool fits(const struct core_place *place, size_t size)
{
    return size <= place->bytes && size > place->bytes / 2;
}

CAIRN_API void *cairn_realloc(struct cairn_heap *heap, void *block, size_t size)
{
    if (block == NULL)
        return cairn_alloc(heap, size);
    struct core_place place = find_live(heap, block, "realloc");
    if (fits(&place, size) && !heap->read_only)
        return block;
    if (unit_state_of(place.word) == UNIT_LARGE && size > heap->core.slab_max && resize_large(heap, &place, size))
        return block;

    void *moved = cairn_alloc(heap, size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, min_u64(size, place.bytes));
    cairn_free(heap, block);
    return moved;
}

CAIRN_API bool cairn_expand(struct cairn_heap *heap, void *block, size_t size)
{
    if (block == NULL)
        return false;
    struct core_place place = find_live(heap, block, "expand");
    if (size <= place.bytes)
        return true;
    return unit_state_of(place.word) == UNIT_LARGE && resize_large(heap, &place, size);
}

CAIRN_API size_t cairn_size(struct cairn_heap *heap, const void *block)
{
    if (block == NULL)
        return 0;
    return find_live(heap, block, "size").bytes;
}

/* ---------------------------------------------------------------- one step */

/* Names dest for the hand: its ref, 0 for a place outside the section, which only a private heap may use. */
static int dest_ref_get(struct cairn_heap *heap, void **dest, uint64_t *ret_ref)
{
    const struct section *section = &heap->attachment->section;
    bool inside = section_holds_units(section, dest);
    if (dest == NULL || (uintptr_t)dest % sizeof *dest != 0 || (!inside && heap->attachment->is_shared))
        return error_set(-EINVAL, "dest %p is not a pointer in this heap", (void *)dest);
    *ret_ref = inside ? section_ref(section, dest) : 0;
    return 0;
}

CAIRN_API int cairn_alloc_to(struct cairn_heap *heap, size_t size, void **dest)
{
    struct bins *bins = thread_bins(heap);
    if (!bins_are_current(bins, &heap->core))
        bins = thread_attach(heap, "alloc_to");
    if (bins == NULL)
        return cairn_last_errno();
    uint64_t dest_ref = 0;
    int error = dest_ref_get(heap, dest, &dest_ref);
    if (error < 0)
        return error;
    error = -ENOMEM;
    if (core_alloc_to(bins, &heap->core, size, dest, dest_ref, &error) != NULL)
        return 0;
    mutex_lock(&process_lock);
    uint32_t recovered = attachment_recover(heap->attachment, bins->owner->number);
    mutex_unlock(&process_lock);
    if (recovered != 0 && core_alloc_to(bins, &heap->core, size, dest, dest_ref, &error) != NULL)
        return 0;
    alloc_failed(heap, size, error);
    return cairn_last_errno();
}

CAIRN_API int cairn_free_from(struct cairn_heap *heap, void **dest)
{
    struct bins *bins = thread_bins(heap);
    if (!bins_are_current(bins, &heap->core))
        bins = thread_attach(heap, "free_from");
    if (bins == NULL)
        return cairn_last_errno();
    uint64_t dest_ref = 0;
    int error = dest_ref_get(heap, dest, &dest_ref);
    if (error < 0)
        return error;
    void *block = *dest;
    if (block == NULL)
        return 0;
    enum core_crime crime = core_free_from(bins, &heap->core, dest, dest_ref);
    if (crime != CRIME_NONE)
        crime_report(heap, "free_from", block, crime);
    return 0;
}
