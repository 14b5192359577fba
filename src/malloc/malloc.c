/* SPDX-License-Identifier: MIT */
/*
 * The calls of C and POSIX. Where those leave a choice this is glibc's: malloc(0) is a block, realloc(p, 0) frees, a
 * memalign rounds its alignment up. A section is far smaller than PTRDIFF_MAX, so what is larger finds no memory.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "malloc/malloc.h"
#include "platform/platform.h"

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* ---------------------------------------------------------------- malloc, calloc, free */

static COLD void *malloc_slowly(size_t size)
{
    cairn_heap *heap = malloc_call_begin();
    void *block = heap != NULL ? cairn_alloc(heap, size) : NULL;
    malloc_call_end();
    return block != NULL ? block : no_memory();
}

EXPORTED void *malloc(size_t size)
{
    cairn_heap *heap = malloc_self.home;
    if (LIKELY(heap != NULL)) {
        void *block = cairn_alloc(heap, size);
        if (LIKELY(block != NULL))
            return block;
        return no_memory();
    }
    return malloc_slowly(size);
}

EXPORTED void *calloc(size_t count, size_t bytes)
{
    size_t size;
    if (__builtin_mul_overflow(count, bytes, &size))
        return no_memory();
    cairn_heap *heap = malloc_call_begin();
    void *block = heap != NULL ? cairn_zalloc(heap, size) : NULL;
    malloc_call_end();
    return block != NULL ? block : no_memory();
}

/* What is no block of the heap: NULL, a wide block, or a crime, which the heap names. */
static COLD void free_slowly(void *block)
{
    if (block == NULL || (may_be_wide(block) && wide_free(block)))
        return;
    cairn_heap *heap = malloc_call_begin();
    if (heap != NULL) /* NULL: no block has ever been given out, and there is no heap to say so */
        cairn_free(heap, block);
    malloc_call_end();
}

EXPORTED void free(void *block)
{
    cairn_heap *heap = malloc_self.home;
    if (UNLIKELY(may_be_wide(block)) || UNLIKELY(heap == NULL))
        free_slowly(block);
    else
        cairn_free(heap, block);
}

/* ---------------------------------------------------------------- realloc */

static void *realloc_wide(void *block, size_t size, size_t bytes)
{
    if (size <= bytes && size > bytes / 2)
        return block;
    void *moved = malloc(size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, min_u64(size, bytes));
    (void)wide_free(block);
    return moved;
}

EXPORTED void *realloc(void *block, size_t size)
{
    if (block == NULL)
        return malloc(size);
    if (size == 0) {
        free(block);
        return NULL;
    }
    size_t bytes_wide = may_be_wide(block) ? wide_size(block) : 0;
    if (bytes_wide != 0)
        return realloc_wide(block, size, bytes_wide);
    cairn_heap *heap = malloc_call_begin();
    void *moved = heap != NULL ? cairn_realloc(heap, block, size) : NULL;
    malloc_call_end();
    return moved != NULL ? moved : no_memory();
}

EXPORTED void *reallocarray(void *block, size_t count, size_t bytes)
{
    size_t size;
    if (__builtin_mul_overflow(count, bytes, &size))
        return no_memory();
    return realloc(block, size);
}

/* ---------------------------------------------------------------- alignment */

/* alignment is a power of two. NULL without errno. */
static void *alloc_aligned(size_t alignment, size_t size)
{
    if (alignment > CAIRN_ALIGNMENT_MAX)
        return wide_alloc(alignment, size);
    cairn_heap *heap = malloc_call_begin();
    void *block = heap != NULL ? cairn_aligned_alloc(heap, alignment, size) : NULL;
    malloc_call_end();
    return block;
}

EXPORTED int posix_memalign(void **ret_block, size_t alignment, size_t size)
{
    if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int saved_errno = errno;
    void *block = alloc_aligned(alignment, size);
    errno = saved_errno;
    if (block == NULL)
        return ENOMEM;
    *ret_block = block;
    return 0;
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size)
{
    if (!is_power_of_two(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    void *block = alloc_aligned(alignment, size);
    return block != NULL ? block : no_memory();
}

EXPORTED void *memalign(size_t alignment, size_t size)
{
    if (alignment > SIZE_MAX / 2 + 1) {
        errno = EINVAL;
        return NULL;
    }
    if (alignment < CAIRN_ALIGNMENT)
        alignment = CAIRN_ALIGNMENT;
    return aligned_alloc((size_t)1 << (bit_highest(alignment - 1) + 1), size);
}

EXPORTED void *valloc(size_t size)
{
    return aligned_alloc(platform_page_size(), size);
}

EXPORTED void *pvalloc(size_t size)
{
    size_t page = platform_page_size();
    if (size > PTRDIFF_MAX - page)
        return no_memory();
    return aligned_alloc(page, align_up(size, page));
}

/* ---------------------------------------------------------------- size */

static COLD size_t size_slowly(void *block)
{
    size_t bytes_wide = block != NULL && may_be_wide(block) ? wide_size(block) : 0;
    cairn_heap *heap = malloc_heap_made();
    return bytes_wide != 0 || heap == NULL ? bytes_wide : cairn_size(heap, block);
}

/* As short as the others: some programs ask for the size of each block that they allocate and free. */
EXPORTED size_t malloc_usable_size(void *block)
{
    cairn_heap *heap = malloc_self.home;
    if (UNLIKELY(may_be_wide(block)) || UNLIKELY(heap == NULL))
        return size_slowly(block);
    return cairn_size(heap, block);
}
