/* SPDX-License-Identifier: MIT */
/* malloc and free, whoever provides them: the program is linked with glibc alone, jemalloc, tcmalloc or mimalloc. */
#include MALLOC_HEADER

#include <stdlib.h>

#define TEXT(macro) TEXT_OF(macro)
#define TEXT_OF(words) #words

#define HEAP_CAN                                                                                                       \
    (HEAP_FREES | HEAP_REALLOCATES | HEAP_FREES_ANYWHERE | HEAP_ALLOCATES_ANYWHERE | HEAP_GROWS | HEAP_LARGE)

static inline const char *heap_version(void)
{
    return MALLOC_VERSION; /* an expression of that header */
}

static inline void *heap_create(void)
{
    static char process;
    return &process;
}

static inline void heap_destroy(void *heap)
{
    (void)heap;
}

static inline void *heap_alloc(void *heap, size_t size)
{
    (void)heap;
    return malloc(size);
}

static inline void heap_free(void *heap, void *block)
{
    (void)heap;
    free(block);
}

static inline void *heap_realloc(void *heap, void *block, size_t size)
{
    (void)heap;
    return realloc(block, size);
}
