/* SPDX-License-Identifier: MIT */
/*
 * What the cases see of an allocator. Each program is compiled with one adapter, ALLOCATOR_HEADER, whose functions are
 * inline: the loops call the allocator as a user's program would, and nothing stands between.
 *
 * An adapter defines HEAP_CAN, some of the bits below, and
 *
 *     const char *heap_version(void);
 *     void *heap_create(void);                    the handle, also where it means nothing
 *     void heap_destroy(void *heap);              with every block in it, if HEAP_DESTROYS
 *     void *heap_alloc(void *heap, size_t size);
 *     void heap_free(void *heap, void *block);    does nothing, unless HEAP_FREES
 *     void *heap_realloc(void *heap, void *block, size_t size);    if HEAP_REALLOCATES
 *
 * and if HEAP_NAMED
 *
 *     void *heap_create_named(void);              under a name that is this program's own
 *     void *heap_open_named(bool read_only);
 *     void heap_close_named(void *heap);          leaves it to the others
 *     void heap_unlink_named(void);
 *     void heap_publish(void *heap, void *block); so that it can be found by
 *     void *heap_find(void *heap);
 *
 * and if HEAP_MEASURES
 *
 *     double heap_footprint(void *heap);          bytes of memory that the whole heap takes from the system
 */
#ifndef BENCH_HEAP_H
#define BENCH_HEAP_H

#include "measure.h"

#include <stdbool.h>
#include <stddef.h>

#define HEAP_FREES 1               /* a block that is freed is used again */
#define HEAP_HANDLES 2             /* there can be many heaps; otherwise one, the process's own */
#define HEAP_DESTROYS 4            /* heap_destroy ends all blocks of the heap */
#define HEAP_REALLOCATES 8         /* blocks can grow */
#define HEAP_FREES_ANYWHERE 16     /* any thread may free a block */
#define HEAP_ALLOCATES_ANYWHERE 32 /* any thread may allocate from any heap */
#define HEAP_SHARED 64             /* lies in memory that processes share */
#define HEAP_NAMED 128             /* other processes can open it by a name */
#define HEAP_GROWS 256             /* is not limited to a few MiB */
#define HEAP_SEARCHES 512          /* in a list of all blocks: cannot be asked to hold very many */
#define HEAP_MEASURES 1024         /* tells what it takes from the system */
#define HEAP_SAME_ADDRESS 2048     /* pointers are good in every process that opened it */
#define HEAP_LARGE 4096            /* has blocks of any size */
#define HEAP_PRETENDS 8192         /* is no allocator, only what a loop costs without one */
#define HEAP_VARIANT 16384         /* of another heap here: only the family pair measures it */

#include ALLOCATOR_HEADER

#ifndef HEAP_ERROR
#define HEAP_ERROR "" /* or an expression that tells why the last call has failed */
#endif

#define HEAP_HAS(bits) ((HEAP_CAN & (bits)) == (bits))

#if !HEAP_HAS(HEAP_REALLOCATES)
static inline void *heap_realloc(void *heap, void *block, size_t size)
{
    (void)heap, (void)block, (void)size;
    return NULL;
}
#endif

#if !HEAP_HAS(HEAP_NAMED)
static inline void *heap_create_named(void)
{
    return NULL;
}
static inline void *heap_open_named(bool read_only)
{
    (void)read_only;
    return NULL;
}
static inline void heap_close_named(void *heap)
{
    (void)heap;
}
static inline void heap_unlink_named(void)
{
}
static inline void heap_publish(void *heap, void *block)
{
    (void)heap, (void)block;
}
static inline void *heap_find(void *heap)
{
    (void)heap;
    return NULL;
}
#endif

#if !HEAP_HAS(HEAP_MEASURES)
static inline double heap_footprint(void *heap)
{
    (void)heap;
    return resident();
}
#endif

/* A heap that must be there, and a block that must. */
static inline void *new_heap(void)
{
    void *heap = heap_create();
    if (!heap)
        fail("no heap is to be had: %s", HEAP_ERROR);
    return heap;
}

static inline void *new_block(void *heap, size_t size)
{
    void *block = heap_alloc(heap, size);
    if (__builtin_expect(!block, 0))
        fail("no block of %zu bytes is to be had: %s", size, HEAP_ERROR);
    return block;
}

#endif
