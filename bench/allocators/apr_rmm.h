/* SPDX-License-Identifier: MIT */
/* Apache's relocatable memory: offsets instead of pointers, and a lock between processes. */
#include <apr_general.h>
#include <apr_rmm.h>
#include <apr_shm.h>
#include <apu_version.h>

#define HEAP_CAN (HEAP_FREES | HEAP_SHARED | HEAP_SEARCHES)

#define MEMORY_BYTES ((size_t)64 << 20)

static inline const char *heap_version(void)
{
    return APU_VERSION_STRING;
}

static inline void *heap_create(void)
{
    apr_pool_t *pool;
    apr_shm_t *memory;
    apr_rmm_t *heap;
    static apr_anylock_t lock = {.type = apr_anylock_procmutex};
    if (apr_initialize() != APR_SUCCESS || apr_pool_create(&pool, NULL) != APR_SUCCESS)
        return NULL;
    if (apr_proc_mutex_create(&lock.lock.pm, NULL, APR_LOCK_PROC_PTHREAD, pool) != APR_SUCCESS)
        return NULL;
    if (apr_shm_create(&memory, MEMORY_BYTES, NULL, pool) != APR_SUCCESS)
        return NULL;
    if (apr_rmm_init(&heap, &lock, apr_shm_baseaddr_get(memory), MEMORY_BYTES, pool) != APR_SUCCESS)
        return NULL;
    return heap;
}

static inline void heap_destroy(void *heap)
{
    apr_rmm_destroy(heap);
}

static inline void *heap_alloc(void *heap, size_t size)
{
    apr_rmm_off_t offset = apr_rmm_malloc(heap, size);
    return offset ? apr_rmm_addr_get(heap, offset) : NULL;
}

static inline void heap_free(void *heap, void *block)
{
    apr_rmm_free(heap, apr_rmm_offset_get(heap, block));
}
