/* SPDX-License-Identifier: MIT */
/* OSSP mm: shared memory that children inherit, of 64 MiB at most. */
#include <mm.h>

#include <stdio.h>

#define HEAP_CAN (HEAP_FREES | HEAP_SHARED | HEAP_SEARCHES)

#define MEMORY_BYTES ((size_t)32 << 20)

static inline const char *heap_version(void)
{
    static char text[32];
    int version = mm_lib_version(); /* 0x104202 is 1.4.2 */
    snprintf(text, sizeof text, "%d.%d.%d", version >> 20, version >> 12 & 0xff, version & 0xff);
    return text;
}

static inline void *heap_create(void)
{
    return mm_create(MEMORY_BYTES, NULL);
}

static inline void heap_destroy(void *heap)
{
    mm_destroy(heap);
}

static inline void *heap_alloc(void *heap, size_t size)
{
    return mm_malloc(heap, size);
}

static inline void heap_free(void *heap, void *block)
{
    mm_free(heap, block);
}
