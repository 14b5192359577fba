/* SPDX-License-Identifier: MIT */
/*
 * The Win32 face: a user of cairn.h, and of the system where cairn has no call for what Windows promises (protections,
 * files of the caller's, signals); that is all in system.h.
 */
#ifndef WIN32_WIN32_H
#define WIN32_WIN32_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"
#include "cairn.h"
#include "cairn/win32/windows.h"

#define GRANULARITY ((size_t)65536)
#define ADDRESSES_END ((uintptr_t)1 << 47) /* of a process of 64-bit Windows */

static inline size_t round_up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

/* error.c: the last error that belongs to a negative errno value of cairn's; setting it and failing. */
DWORD error_of(int error);
BOOL fail(DWORD error);
void *fail_null(DWORD error);

/* start.c: the heap of the face's own records; NULL, with the last error set, when there is no memory. It exists from
 * the first call on. The lock is over all tables of the face: handles, heaps, regions. Order: this, then cairn's. */
cairn_heap *own_heap(void);
void face_lock(void);
void face_unlock(void);

/* heap.c */
#define HEAP_MAGIC UINT64_C(0x77696e3332686561)
#define SHARED_MAGIC UINT64_C(0x77696e3332736861) /* share.c: created here */
#define READER_MAGIC UINT64_C(0x77696e3332726561) /* opened here; there is no heap of cairn */
struct walk;

struct heap {
    uint64_t magic; /* one of the three; anything else: destroyed */
    cairn_heap *cairn;
    size_t block_max;    /* larger blocks are refused */
    DWORD flags;         /* as created */
    atomic_u32 walk_is;  /* WALK_..., set to stale by every change */
    struct walk *walk;   /* the lock of walk.c */
    struct heap *next;   /* by age; face_lock */
    ULONG compatibility; /* 0 or 2 */
    bool fixed;
    /* CeHeapCreate */
    PFN_AllocHeapMem ce_alloc;
    PFN_FreeHeapMem ce_free;
    DWORD ce_user;
    PFN_CairnAllocHeapMem wide_alloc;
    PFN_CairnFreeHeapMem wide_free;
    ULONG_PTR wide_user;
    /* HEAP_SHARED_READONLY */
    struct cairn_publisher *publisher;
    struct cairn_reader *reader;
    char *path; /* of the socket by which readers come */
    uint32_t forks;
    struct heap *next_created;
};

enum { WALK_NONE, WALK_FRESH, WALK_STALE };

struct heap *record_new(void); /* zeroed; sets the last error */
void record_give(struct heap *heap);

/* What may be a record: a handle's memory stays after its heap. INVALID_HANDLE_VALUE is odd. */
static inline struct heap *record_of(HANDLE handle)
{
    bool is_none = (uintptr_t)handle < 65536 || (uintptr_t)handle % 16 != 0;
    return UNLIKELY(is_none) ? NULL : handle;
}

/* share.c: the record of a heap that is published, if this process may write it. */
struct heap *share_of(struct heap *heap);

/* Returns the heap of a handle; NULL, and sets no error, when it is none that this process may write. */
static inline struct heap *heap_of(HANDLE handle)
{
    struct heap *heap = record_of(handle);
    if (UNLIKELY(heap == NULL))
        return NULL;
    return LIKELY(heap->magic == HEAP_MAGIC) ? heap : share_of(heap);
}

/* share.c: why there is no heap of a handle: ERROR_ACCESS_DENIED for one that others write. */
DWORD refusal_of(HANDLE handle);

/* Stops a heap that can be stopped. */
static inline void heap_stop(struct heap *heap)
{
    if ((heap->flags & HEAP_NO_SERIALIZE) == 0)
        (void)cairn_heap_lock(heap->cairn);
}

static inline void heap_go_on(struct heap *heap)
{
    if ((heap->flags & HEAP_NO_SERIALIZE) == 0)
        (void)cairn_heap_unlock(heap->cairn);
}

/* walk.c: forgets what was noted for HeapWalk. */
void walk_forget(struct heap *heap);

#endif
