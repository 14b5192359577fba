/* SPDX-License-Identifier: MIT */
/* A floor: a pointer that is moved through chunks of malloc's, and never back. Nothing can allocate with less. */
#include <malloc.h>
#include <stdlib.h>

#ifndef HEAP_CAN
#define HEAP_CAN (HEAP_HANDLES | HEAP_DESTROYS)
#define heap_alloc bump_alloc
#endif

#define CHUNK_BYTES 65536

struct chunk {
    struct chunk *next;
    max_align_t bytes[];
};

struct bump {
    char *cursor, *end;
    struct chunk *chunks;
    void *free[1024 / 16 + 1]; /* for lifo.h */
};

static inline const char *heap_version(void)
{
    return "floor";
}

/* Chunks that were freed are used again: without this glibc gives them back, and each new heap would take page faults.
 */
__attribute__((constructor)) static void keep_chunks(void)
{
    mallopt(M_TRIM_THRESHOLD, 2000000000);
}

static inline void *heap_create(void)
{
    return calloc(1, sizeof(struct bump));
}

static inline void heap_destroy(void *heap)
{
    struct bump *bump = heap;
    for (struct chunk *chunk = bump->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(bump);
}

static NOINLINE bool add_chunk(struct bump *bump)
{
    struct chunk *chunk = malloc(CHUNK_BYTES);
    if (!chunk)
        return false;
    chunk->next = bump->chunks;
    bump->chunks = chunk;
    bump->cursor = (char *)chunk->bytes;
    bump->end = (char *)chunk + CHUNK_BYTES;
    return true;
}

static inline void *bump_alloc(void *heap, size_t size)
{
    struct bump *bump = heap;
    size = (size + 15) & ~(size_t)15;
    if (__builtin_expect((size_t)(bump->end - bump->cursor) < size, 0) && !add_chunk(bump))
        return NULL;
    void *block = bump->cursor;
    bump->cursor += size;
    return block;
}

#ifdef heap_alloc
static inline void heap_free(void *heap, void *block)
{
    (void)heap, (void)block;
}
#endif
