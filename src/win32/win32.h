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
#define ADDRESSES_END ((uintptr_t)1 << 47)               /* of a process of 64-bit Windows */
#define ADDRESSES_USED_END (ADDRESSES_END - GRANULARITY) /* behind the last that a program may have */

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

/* Whether this thread has the lock or is about to: in a signal handler, which must not wait for it then. */
bool face_is_locked_here(void);

/* heap.c */
#define HEAP_MAGIC UINT64_C(0x77696e3332686561)
#define SHARED_MAGIC UINT64_C(0x77696e3332736861) /* share.c: created here */
#define READER_MAGIC UINT64_C(0x77696e3332726561) /* opened here; there is no heap of cairn */
struct walk;

#define RECORD_BYTES 256

/* What a handle of a heap is the address of. */
struct heap {
    _Alignas(RECORD_BYTES) cairn_heap *cairn;
    atomic_u64 quick_below; /* smaller blocks are allocated without a further look, and any are freed; 0: none. So it is
                               while the heap is dead, published, raises exceptions, or is walked */
    uint64_t magic;         /* one of the three; anything else: destroyed */
    size_t block_max;       /* larger blocks are refused */
    DWORD flags;            /* as created */
    atomic_u32 walk_is;     /* WALK_..., set to stale by every change */
    struct walk *walk;      /* the lock of walk.c */
    struct heap *next;      /* by age; face_lock */
    uint64_t age;           /* grows along the list */
    ULONG compatibility;    /* 0 or 2 */
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

_Static_assert(sizeof(struct heap) == RECORD_BYTES, "records follow each other by a power of two");

enum { WALK_NONE, WALK_FRESH, WALK_STALE };

struct heap *record_new(void); /* zeroed; sets the last error */
void record_give(struct heap *heap);

/* All records lie in one range, all of which can be read: so a number tells by itself whether it may be a heap's. */
#define RECORDS_MAX ((size_t)1 << 17)
#define NO_RECORDS (1 - RECORDS_MAX * RECORD_BYTES) /* in the kernel's half, and not aligned */
extern uintptr_t records;

/* Whether there is a record at a handle: of a heap that lives, of a dead one, or one that was not used yet. */
static inline bool is_record(HANDLE handle)
{
    /* The number of the record, in its upper bits what is no multiple of a record's size. */
    _Static_assert(RECORD_BYTES == 1 << 8, "the shifts");
    uint64_t offset = (uintptr_t)handle - records;
    return LIKELY((offset >> 8 | offset << 56) < RECORDS_MAX);
}

/* NULL for what was never given out. */
static inline struct heap *record_of(HANDLE handle)
{
    return is_record(handle) ? handle : NULL;
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

/* From now on, or again, the fast paths serve the heap. */
void heap_make_quick(struct heap *heap);

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

/* A fork waits until nobody notes or tells. Behind face_lock. */
void walk_before_fork(void);
void walk_after_fork(void);

#endif
