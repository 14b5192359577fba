/* SPDX-License-Identifier: MIT */
/*
 * A heap of HeapCreate, with exact sizes and a lock. With WIN32_NATIVE the calls on it are those of cairn.h: so the two
 * programs differ in nothing but what HeapAlloc and HeapFree add (bench/win32). With WIN32_ZERO blocks are zero.
 */
#include <windows.h>

#include <cairn.h>

#ifdef WIN32_ZERO
#define WIN32_FLAGS HEAP_ZERO_MEMORY
#define WIN32_ALLOC cairn_zalloc
#else
#define WIN32_FLAGS 0
#define WIN32_ALLOC cairn_alloc
#endif

#define HEAP_CAN (HEAP_FREES | HEAP_HANDLES | HEAP_DESTROYS)

static inline const char *heap_version(void)
{
    return cairn_version();
}

static inline void *heap_create(void)
{
    HANDLE heap = HeapCreate(0, 0, 0);
#ifdef WIN32_NATIVE
    return cairn_win32_heap(heap);
#else
    return heap;
#endif
}

static inline void heap_destroy(void *heap)
{
#ifdef WIN32_NATIVE
    (void)heap; /* only HeapDestroy ends it: with the program */
#else
    (void)HeapDestroy(heap);
#endif
}

static inline void *heap_alloc(void *heap, size_t size)
{
#ifdef WIN32_NATIVE
    return WIN32_ALLOC(heap, size);
#else
    return HeapAlloc(heap, WIN32_FLAGS, size);
#endif
}

static inline void heap_free(void *heap, void *block)
{
#ifdef WIN32_NATIVE
    cairn_free(heap, block);
#else
    (void)HeapFree(heap, 0, block);
#endif
}
