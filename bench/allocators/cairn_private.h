/* SPDX-License-Identifier: MIT */
#include <cairn.h>

/* FLAGS, when it is defined, makes a variant of the heap, of which only the shortest paths are measured. */
#ifdef FLAGS
#define HEAP_CAN (HEAP_FREES | HEAP_HANDLES | HEAP_REALLOCATES | HEAP_VARIANT)
#else
#define FLAGS 0
#define HEAP_CAN                                                                                                       \
    (HEAP_FREES | HEAP_HANDLES | HEAP_DESTROYS | HEAP_REALLOCATES | HEAP_FREES_ANYWHERE | HEAP_ALLOCATES_ANYWHERE |    \
     HEAP_GROWS | HEAP_LARGE)
#endif

#define HEAP_ERROR cairn_last_error()

static inline const char *heap_version(void)
{
    return cairn_version();
}

static inline void *heap_create(void)
{
    cairn_heap *heap;
    cairn_options options = {.flags = FLAGS};
    return cairn_heap_create(&heap, &options) < 0 ? NULL : heap;
}

static inline void heap_destroy(void *heap)
{
    cairn_heap_close(heap);
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
