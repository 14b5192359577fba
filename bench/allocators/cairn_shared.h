/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <cairn.h>

#define HEAP_CAN                                                                                                       \
    (HEAP_FREES | HEAP_DESTROYS | HEAP_REALLOCATES | HEAP_FREES_ANYWHERE | HEAP_ALLOCATES_ANYWHERE | HEAP_SHARED |     \
     HEAP_NAMED | HEAP_SAME_ADDRESS | HEAP_GROWS | HEAP_LARGE | HEAP_MEASURES)

#define HEAP_NAME "bench"
#define ROOT_NAME "block"

#define HEAP_ERROR cairn_last_error()

static inline const char *heap_version(void)
{
    return cairn_version();
}

static inline void *heap_create_named(void)
{
    cairn_heap *heap;
    cairn_options options = {.name = HEAP_NAME, .directory = scratch_directory()};
    return cairn_heap_create(&heap, &options) < 0 ? NULL : heap;
}

static inline void *heap_open_named(bool read_only)
{
    cairn_heap *heap;
    cairn_options options = {.directory = scratch_directory(), .flags = read_only ? CAIRN_READ_ONLY : 0};
    return cairn_heap_open(&heap, HEAP_NAME, &options) < 0 ? NULL : heap;
}

static inline void heap_close_named(void *heap)
{
    cairn_heap_close(heap);
}

static inline void heap_unlink_named(void)
{
    cairn_heap_unlink(HEAP_NAME, scratch_directory());
}

static inline void *heap_create(void)
{
    return heap_create_named();
}

static inline void heap_destroy(void *heap)
{
    heap_unlink_named();
    cairn_heap_close(heap);
}

static inline void heap_publish(void *heap, void *block)
{
    cairn_root_set(heap, ROOT_NAME, block);
}

static inline void *heap_find(void *heap)
{
    return cairn_root_get(heap, ROOT_NAME);
}

static inline double heap_footprint(void *heap)
{
    (void)heap;
    return scratch_footprint(scratch_directory(), HEAP_NAME); /* what the system says, not what the library says */
}

static inline void *heap_alloc(void *heap, size_t size)
{
    return cairn_alloc(heap, size);
}

static inline void heap_free(void *heap, void *block)
{
    cairn_free(heap, block);
}

static inline void *heap_realloc(void *heap, void *block, size_t size)
{
    return cairn_realloc(heap, block, size);
}
