/* SPDX-License-Identifier: MIT */
/* mimalloc's heaps, which it calls by a handle as cairn does. Only the thread that made one may allocate from it. */
#include <mimalloc.h>

#include <stdio.h>

#define HEAP_CAN                                                                                                       \
    (HEAP_FREES | HEAP_HANDLES | HEAP_DESTROYS | HEAP_REALLOCATES | HEAP_FREES_ANYWHERE | HEAP_GROWS | HEAP_LARGE)

static inline const char *heap_version(void)
{
    static char text[32];
    int version = mi_version(); /* 209 is 2.0.9 */
    snprintf(text, sizeof text, "%d.%d.%d", version / 100, version / 10 % 10, version % 10);
    return text;
}

static inline void *heap_create(void)
{
    return mi_heap_new();
}

static inline void heap_destroy(void *heap)
{
    mi_heap_destroy(heap);
}

static inline void *heap_alloc(void *heap, size_t size)
{
    return mi_heap_malloc(heap, size);
}

static inline void heap_free(void *heap, void *block)
{
    (void)heap;
    mi_free(block);
}

static inline void *heap_realloc(void *heap, void *block, size_t size)
{
    return mi_heap_realloc(heap, block, size);
}
