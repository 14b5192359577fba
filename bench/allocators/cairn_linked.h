/* SPDX-License-Identifier: MIT */
/*
 * A shared heap by the calls that lose nothing when the process is killed: each block is linked as it is allocated, and
 * unlinked as it is freed. Which block is freed is the oldest, whatever the case asks: as many as it asks for.
 */
#include "scratch.h"

#include <cairn.h>

#define HEAP_CAN (HEAP_FREES | HEAP_VARIANT)
#define HEAP_ERROR cairn_last_error()

enum { LINKS = 128 };

struct links {
    cairn_heap *heap;
    void **blocks; /* in the heap */
    unsigned allocated, freed;
};

static inline const char *heap_version(void)
{
    return cairn_version();
}

static inline void *heap_create(void)
{
    struct links *links = pages(sizeof *links);
    cairn_options options = {.name = "bench", .directory = scratch_directory()};
    if (cairn_heap_create(&links->heap, &options) < 0 || cairn_heap_unlink("bench", scratch_directory()) < 0)
        return NULL;
    links->blocks = cairn_zalloc(links->heap, LINKS * sizeof(void *));
    return links->blocks == NULL ? NULL : links;
}

static inline void heap_destroy(void *heap)
{
    cairn_heap_close(((struct links *)heap)->heap);
}

static inline void *heap_alloc(void *heap, size_t size)
{
    struct links *links = heap;
    void **link = &links->blocks[links->allocated++ % LINKS];
    return cairn_alloc_to(links->heap, size, link) < 0 ? NULL : *link;
}

static inline void heap_free(void *heap, void *block)
{
    struct links *links = heap;
    (void)block;
    cairn_free_from(links->heap, &links->blocks[links->freed++ % LINKS]);
}
