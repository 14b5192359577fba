/* SPDX-License-Identifier: MIT */
/*
 * Heaps: a handle is a record that names a heap of cairn, with exact sizes and, unless it is created without
 * serialization, a lock that stops it. The fast paths look at the handle, and at one word of the record, which tells
 * whether there is more to look at.
 */
#include <string.h>

#include "win32/share.h"
#include "win32/system.h"
#include "win32/win32.h"

#define DESKTOP_BLOCK_MAX ((size_t)0xff000 - 1)
#define PAGE_BLOCK_MAX ((size_t)0x7fff8 - 1)   /* what the HeapAlloc page tells */
#define HEAP_BYTES_MAX ((size_t)1 << 42)       /* cairn's limit */
#define EXECUTABLE_BYTES_MAX ((size_t)1 << 30) /* of one that grows: what cairn reserves */
#define DEAD_KEPT 1024                         /* so many records of destroyed heaps are not reused yet */

#define RECORDS_AT_ONCE ((size_t)256) /* become writable */

uintptr_t records = NO_RECORDS;
static size_t records_made;                      /* face_lock */
static struct heap *heaps, **heaps_end = &heaps; /* by age, without the process heap; face_lock */
static uint64_t last_age;
static struct heap *dead, **dead_end = &dead;
static size_t dead_count;
static struct heap *process_heap;
static atomic_u32 personality = CAIRN_DESKTOP;

/* ---------------------------------------------------------------- memory that comes from elsewhere */

static void *ce_reserve(void *arg, size_t bytes)
{
    struct heap *heap = arg;
    if (heap->wide_alloc != NULL)
        return heap->wide_alloc(NULL, bytes, MEM_RESERVE, &heap->wide_user);
    return heap->ce_alloc(NULL, (DWORD)bytes, MEM_RESERVE, &heap->ce_user);
}

static int ce_commit(void *arg, void *address, size_t bytes)
{
    struct heap *heap = arg;
    void *got = heap->wide_alloc != NULL ? heap->wide_alloc(address, bytes, MEM_COMMIT, &heap->wide_user)
                                         : heap->ce_alloc(address, (DWORD)bytes, MEM_COMMIT, &heap->ce_user);
    return got != NULL ? 0 : -ENOMEM;
}

static int ce_decommit(void *arg, void *address, size_t bytes)
{
    struct heap *heap = arg;
    BOOL gone = heap->wide_free != NULL ? heap->wide_free(address, bytes, MEM_DECOMMIT, heap->wide_user)
                                        : heap->ce_free(address, (DWORD)bytes, MEM_DECOMMIT, heap->ce_user);
    return gone ? 0 : -EOPNOTSUPP;
}

static void ce_release(void *arg, void *address, size_t bytes)
{
    struct heap *heap = arg;
    (void)bytes;
    if (heap->wide_free != NULL)
        (void)heap->wide_free(address, 0, MEM_RELEASE, heap->wide_user);
    else
        (void)heap->ce_free(address, 0, MEM_RELEASE, heap->ce_user);
}

static void *executable_reserve(void *arg, size_t bytes)
{
    (void)arg;
    return system_reserve(NULL, bytes);
}

static int executable_commit(void *arg, void *address, size_t bytes)
{
    (void)arg;
    return system_protect(address, bytes, PAGE_EXECUTE_READWRITE);
}

static int executable_decommit(void *arg, void *address, size_t bytes)
{
    (void)arg;
    return system_decommit(address, bytes);
}

static void executable_release(void *arg, void *address, size_t bytes)
{
    (void)arg;
    system_release(address, bytes);
}

static const cairn_memory executable_memory = {
    .reserve = executable_reserve,
    .commit = executable_commit,
    .decommit = executable_decommit,
    .release = executable_release,
};

/* ---------------------------------------------------------------- records */

static void __attribute__((constructor)) make_records(void)
{
    const size_t bytes = RECORDS_MAX * sizeof(struct heap);
    void *range = system_reserve(NULL, bytes);
    if (range == NULL)
        return;
    if (system_protect(range, bytes, PAGE_READONLY) == 0)
        records = (uintptr_t)range;
    else
        system_release(range, bytes);
}

/* The next that was never used; NULL when there is none, or no memory for it. Under face_lock. */
static struct heap *record_next(void)
{
    if (records == NO_RECORDS || records_made == RECORDS_MAX)
        return NULL;
    struct heap *heap = (struct heap *)records + records_made;
    if (records_made % RECORDS_AT_ONCE == 0 && system_protect(heap, RECORDS_AT_ONCE * sizeof *heap, PAGE_READWRITE) < 0)
        return NULL;
    records_made++;
    return heap;
}

/* A late call with a dead handle must find a dead record, so the oldest are reused first, and those late. */
struct heap *record_new(void)
{
    if (own_heap() == NULL)
        return NULL;
    face_lock();
    struct heap *heap = dead_count > DEAD_KEPT ? NULL : record_next();
    if (heap == NULL && dead != NULL) {
        heap = dead;
        dead = heap->next;
        dead_count--;
    }
    face_unlock();
    if (heap == NULL)
        return fail_null(ERROR_NOT_ENOUGH_MEMORY);
    memset(heap, 0, sizeof *heap);
    return heap;
}

void record_give(struct heap *heap)
{
    store_relaxed(&heap->quick_below, 0);
    heap->magic = 0;
    heap->next = NULL;
    face_lock();
    if (dead == NULL)
        dead_end = &dead;
    *dead_end = heap;
    dead_end = &heap->next;
    dead_count++;
    face_unlock();
}

void heap_make_quick(struct heap *heap)
{
    if (heap->magic == HEAP_MAGIC && (heap->flags & HEAP_GENERATE_EXCEPTIONS) == 0)
        store_relaxed(&heap->quick_below, heap->block_max);
}

static void enter_list(struct heap *heap)
{
    heap->magic = heap->publisher != NULL ? SHARED_MAGIC : HEAP_MAGIC;
    heap_make_quick(heap);
    face_lock();
    heap->age = ++last_age;
    heap->next = NULL;
    *heaps_end = heap;
    heaps_end = &heap->next;
    face_unlock();
}

static void leave_list(struct heap *heap)
{
    face_lock();
    for (struct heap **link = &heaps; *link != NULL; link = &(*link)->next)
        if (*link == heap) {
            *link = heap->next;
            if (heaps_end == &heap->next)
                heaps_end = link;
            break;
        }
    face_unlock();
    walk_forget(heap);
}

/* ---------------------------------------------------------------- creating and ending */

static size_t block_max_of(DWORD rules, bool fixed)
{
    if (!fixed || rules == CAIRN_UNLIMITED)
        return SIZE_MAX;
    return rules == CAIRN_DESKTOP ? DESKTOP_BLOCK_MAX : PAGE_BLOCK_MAX;
}

/* Before NULL is returned: so the fast path has nothing to do behind the call. */
static int note_failure(cairn_heap *heap, size_t bytes, int error, void *arg)
{
    (void)heap, (void)bytes, (void)error, (void)arg;
    SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    return 0;
}

static BOOL make_cairn(struct heap *heap, size_t start, size_t max, const cairn_memory *calls)
{
    bool checked = (heap->flags & (HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED)) != 0;
    cairn_options options = {
        .size = sizeof options,
        .flags = CAIRN_EXACT_SIZES | (heap->flags & HEAP_NO_SERIALIZE ? CAIRN_UNSERIALIZED : CAIRN_LOCKABLE) |
                 (max != 0 && heap->ce_alloc == NULL && heap->wide_alloc == NULL ? CAIRN_STAYS_COMMITTED : 0),
        .bytes_start = start,
        .bytes_max = max,
        .calls = calls,
        .checked = checked,
        .on_failure = note_failure,
    };
    int error = cairn_heap_create(&heap->cairn, &options);
    return error == 0 ? TRUE : fail(error_of(error));
}

#define NEVER_SHARED (HEAP_CREATE_ENABLE_EXECUTE | HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED)

/* sharing is looked at for HEAP_SHARED_READONLY alone. */
static HANDLE create(DWORD rules, DWORD options, SIZE_T initial, SIZE_T maximum, const struct sharing *sharing)
{
    const size_t page = system_page_bytes();
    if (rules > CAIRN_UNLIMITED)
        return fail_null(ERROR_INVALID_PARAMETER);
    if (rules == CAIRN_ERTOS) {
        if ((options & ~(HEAP_GENERATE_EXCEPTIONS | HEAP_NO_SERIALIZE)) != 0)
            return fail_null(ERROR_INVALID_PARAMETER);
        initial = 0;
    }
    if (options & HEAP_SHARED_READONLY) {
        if (options & NEVER_SHARED)
            return fail_null(ERROR_INVALID_PARAMETER);
        options &= ~HEAP_NO_SERIALIZE; /* readers come and go, and take turns with whoever allocates */
    }
    if (initial > HEAP_BYTES_MAX || maximum > HEAP_BYTES_MAX ||
        ((options & HEAP_CREATE_ENABLE_EXECUTE) && maximum == 0 && initial > EXECUTABLE_BYTES_MAX))
        return fail_null(ERROR_NOT_ENOUGH_MEMORY);
    size_t start = initial == 0 ? page : round_up(initial, page);
    size_t max = round_up(maximum, page);
    if (max != 0 && start > max)
        return fail_null(ERROR_INVALID_PARAMETER);
    if (max != 0 && max < 2 * page)
        max = 2 * page; /* one page of bookkeeping at least */

    struct heap *heap = record_new();
    if (heap == NULL)
        return NULL;
    heap->flags = options;
    heap->fixed = max != 0;
    heap->block_max = block_max_of(rules, heap->fixed);
    BOOL made = options & HEAP_SHARED_READONLY
                    ? share_create(heap, start, max, sharing)
                    : make_cairn(heap, start, max, options & HEAP_CREATE_ENABLE_EXECUTE ? &executable_memory : NULL);
    if (!made) {
        record_give(heap);
        return NULL;
    }
    enter_list(heap);
    return heap;
}

static const struct sharing unnamed;

CAIRN_WIN32_API HANDLE WINAPI HeapCreate(DWORD flOptions, SIZE_T dwInitialSize, SIZE_T dwMaximumSize)
{
    return create(load_relaxed(&personality), flOptions, dwInitialSize, dwMaximumSize, &unnamed);
}

CAIRN_WIN32_API HANDLE WINAPI CairnHeapCreate(DWORD Personality, DWORD flOptions, SIZE_T dwInitialSize,
                                              SIZE_T dwMaximumSize)
{
    return create(Personality, flOptions, dwInitialSize, dwMaximumSize, &unnamed);
}

CAIRN_WIN32_API HANDLE WINAPI CairnSharedHeapCreate(LPCSTR lpName, DWORD flOptions, SIZE_T dwInitialSize,
                                                    SIZE_T dwMaximumSize, const CAIRN_HEAP_READERS *lpReaders)
{
    const struct sharing sharing = {.name = lpName, .readers = lpReaders};
    return create(load_relaxed(&personality), flOptions | HEAP_SHARED_READONLY, dwInitialSize, dwMaximumSize, &sharing);
}

CAIRN_WIN32_API DWORD WINAPI CairnSetPersonality(DWORD Personality)
{
    if (Personality > CAIRN_UNLIMITED)
        return (DWORD)-1;
    return exchange_relaxed(&personality, Personality);
}

static HANDLE ce_create(struct heap *heap, DWORD options, size_t initial, size_t maximum)
{
    heap->flags = options;
    heap->block_max = SIZE_MAX;
    heap->fixed = true;
    size_t page = system_page_bytes();
    const cairn_memory calls = {
        .reserve = ce_reserve, .commit = ce_commit, .decommit = ce_decommit, .release = ce_release, .arg = heap};
    size_t max = maximum == 0 ? 0 : round_up(maximum, page);
    if (max != 0 && max < 2 * page)
        max = 2 * page;
    if (!make_cairn(heap, round_up(initial, page), max, &calls)) {
        record_give(heap);
        return NULL;
    }
    enter_list(heap);
    return heap;
}

CAIRN_WIN32_API HANDLE WINAPI CeHeapCreate(DWORD flOptions, DWORD dwInitialSize, DWORD dwMaximumSize,
                                           PFN_AllocHeapMem pfnAlloc, PFN_FreeHeapMem pfnFree)
{
    if (pfnAlloc == NULL || pfnFree == NULL || (flOptions & ~HEAP_NO_SERIALIZE) != 0 ||
        dwMaximumSize > (DWORD)-1 - 65536)
        return fail_null(ERROR_INVALID_PARAMETER);
    struct heap *heap = record_new();
    if (heap == NULL)
        return NULL;
    heap->ce_alloc = pfnAlloc;
    heap->ce_free = pfnFree;
    return ce_create(heap, flOptions, dwInitialSize, dwMaximumSize);
}

CAIRN_WIN32_API HANDLE WINAPI CairnCeHeapCreate(DWORD flOptions, SIZE_T dwInitialSize, SIZE_T dwMaximumSize,
                                                PFN_CairnAllocHeapMem pfnAlloc, PFN_CairnFreeHeapMem pfnFree)
{
    if (pfnAlloc == NULL || pfnFree == NULL || (flOptions & ~HEAP_NO_SERIALIZE) != 0 ||
        dwMaximumSize > HEAP_BYTES_MAX || dwInitialSize > HEAP_BYTES_MAX)
        return fail_null(ERROR_INVALID_PARAMETER);
    struct heap *heap = record_new();
    if (heap == NULL)
        return NULL;
    heap->wide_alloc = pfnAlloc;
    heap->wide_free = pfnFree;
    return ce_create(heap, flOptions, dwInitialSize, dwMaximumSize);
}

CAIRN_WIN32_API BOOL WINAPI HeapDestroy(HANDLE hHeap)
{
    struct heap *heap = record_of(hHeap);
    bool is_shared = heap != NULL && (heap->magic == SHARED_MAGIC || heap->magic == READER_MAGIC);
    if (heap == NULL || heap == process_heap || (!is_shared && heap->magic != HEAP_MAGIC))
        return fail(ERROR_INVALID_HANDLE);
    leave_list(heap);
    store_relaxed(&heap->quick_below, 0);
    heap->magic = 0;
    if (is_shared)
        share_end(heap);
    else
        cairn_heap_close(heap->cairn);
    record_give(heap);
    return TRUE;
}

static void make_process_heap(void)
{
    struct heap *heap = record_new();
    if (heap == NULL)
        return;
    heap->block_max = SIZE_MAX;
    if (make_cairn(heap, 0, 0, NULL)) {
        heap->magic = HEAP_MAGIC;
        heap_make_quick(heap);
        process_heap = heap;
    } else {
        record_give(heap);
    }
}

CAIRN_WIN32_API HANDLE WINAPI GetProcessHeap(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_process_heap);
    if (process_heap == NULL)
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    return process_heap;
}

enum { HANDLES_AT_ONCE = 128 };

/* The heaps that are younger than *age, which becomes that of the last. The caller's own list may have no memory behind
 * it, so it is written without the lock. */
static DWORD list_heaps(HANDLE *ret_handles, uint64_t *age)
{
    DWORD count = 0;
    face_lock();
    for (struct heap *heap = heaps; heap != NULL && count < HANDLES_AT_ONCE; heap = heap->next)
        if (heap->age > *age)
            ret_handles[count++] = heap;
    if (count != 0)
        *age = ((struct heap *)ret_handles[count - 1])->age;
    face_unlock();
    return count;
}

CAIRN_WIN32_API DWORD WINAPI GetProcessHeaps(DWORD NumberOfHeaps, PHANDLE ProcessHeaps)
{
    if (NumberOfHeaps != 0 && ProcessHeaps == NULL)
        return (DWORD)fail(ERROR_NOACCESS);
    HANDLE first = GetProcessHeap();
    if (first == NULL)
        return 0;
    DWORD count = 0;
    if (count++ < NumberOfHeaps)
        ProcessHeaps[0] = first;
    uint64_t age = 0;
    HANDLE some[HANDLES_AT_ONCE];
    for (DWORD told = HANDLES_AT_ONCE; told == HANDLES_AT_ONCE; count += told) {
        told = list_heaps(some, &age);
        for (DWORD i = 0; i < told && count + i < NumberOfHeaps; i++)
            ProcessHeaps[count + i] = some[i];
    }
    return count;
}

CAIRN_WIN32_API cairn_heap *cairn_win32_heap(HANDLE hHeap)
{
    struct heap *heap = heap_of(hHeap);
    return heap != NULL ? heap->cairn : fail_null(refusal_of(hHeap));
}

/* ---------------------------------------------------------------- blocks */

static void *refuse(const struct heap *heap, DWORD flags)
{
    if ((flags | heap->flags) & HEAP_GENERATE_EXCEPTIONS)
        RaiseException(STATUS_NO_MEMORY, 0, 0, NULL);
    return fail_null(ERROR_NOT_ENOUGH_MEMORY);
}

static void *refuse_handle(HANDLE handle, DWORD flags)
{
    if (flags & HEAP_GENERATE_EXCEPTIONS)
        RaiseException(STATUS_ACCESS_VIOLATION, 0, 0, NULL);
    return fail_null(refusal_of(handle));
}

/* What a walker has noted is not true any more. */
static void note_change(struct heap *heap)
{
    if (load_relaxed(&heap->walk_is) != WALK_FRESH)
        return;
    store_relaxed(&heap->walk_is, WALK_STALE);
    heap_make_quick(heap);
}

/* The record that this thread used last: its handle need not be looked at again, for a record stays one. */
static const struct heap no_record;
static _Thread_local const void *last_record = &no_record;

/* Whether nothing has to be looked at but a block's size, which is below that. */
ALWAYS_INLINE bool is_quick(HANDLE handle, size_t bytes)
{
    return LIKELY(handle == last_record) && LIKELY(bytes < load_relaxed(&((const struct heap *)handle)->quick_below));
}

static NOINLINE void *alloc_slowly(HANDLE handle, DWORD flags, size_t bytes)
{
    struct heap *heap = heap_of(handle);
    if (heap == NULL)
        return refuse_handle(handle, flags);
    last_record = heap;
    note_change(heap);
    if (bytes > heap->block_max)
        return refuse(heap, flags);
    void *block = flags & HEAP_ZERO_MEMORY ? cairn_zalloc(heap->cairn, bytes) : cairn_alloc(heap->cairn, bytes);
    return LIKELY(block != NULL) ? block : refuse(heap, flags);
}

static NOINLINE void *alloc_otherwise(HANDLE handle, DWORD flags, size_t bytes)
{
    if (!is_quick(handle, bytes) || (flags & ~(HEAP_NO_SERIALIZE | HEAP_ZERO_MEMORY)) != 0)
        return alloc_slowly(handle, flags, bytes);
    return cairn_zalloc(((const struct heap *)handle)->cairn, bytes);
}

CAIRN_WIN32_API LPVOID WINAPI HeapAlloc(HANDLE hHeap, DWORD dwFlags, SIZE_T dwBytes)
{
    if (!is_quick(hHeap, dwBytes) || (dwFlags & ~HEAP_NO_SERIALIZE) != 0)
        return alloc_otherwise(hHeap, dwFlags, dwBytes);
    return cairn_alloc(((const struct heap *)hHeap)->cairn, dwBytes); /* see note_failure */
}

/* Without moving. Of a small block cairn cannot tell that it is much smaller than it was made. */
static void *resize_in_place(struct heap *heap, DWORD flags, void *block, size_t old, size_t bytes)
{
    bool done = bytes > old ? cairn_expand(heap->cairn, block, bytes) : cairn_shrink(heap->cairn, block, bytes);
    return done ? block : refuse(heap, flags);
}

CAIRN_WIN32_API LPVOID WINAPI HeapReAlloc(HANDLE hHeap, DWORD dwFlags, LPVOID lpMem, SIZE_T dwBytes)
{
    struct heap *heap = heap_of(hHeap);
    if (heap == NULL)
        return refuse_handle(hHeap, dwFlags);
    if (lpMem == NULL)
        return fail_null(NO_ERROR);
    note_change(heap);
    size_t old = cairn_size(heap->cairn, lpMem);
    if (dwBytes > heap->block_max)
        return refuse(heap, dwFlags);
    unsigned char *block;
    if (dwFlags & HEAP_REALLOC_IN_PLACE_ONLY)
        block = resize_in_place(heap, dwFlags, lpMem, old, dwBytes);
    else if ((block = cairn_realloc(heap->cairn, lpMem, dwBytes)) == NULL)
        return refuse(heap, dwFlags);
    if (block != NULL && (dwFlags & HEAP_ZERO_MEMORY) && dwBytes > old)
        memset(block + old, 0, dwBytes - old);
    return block;
}

static NOINLINE BOOL free_otherwise(HANDLE handle, void *block)
{
    if (block == NULL)
        return TRUE;
    struct heap *heap = heap_of(handle);
    if (heap == NULL)
        return fail(refusal_of(handle));
    last_record = heap;
    note_change(heap);
    cairn_free(heap->cairn, block);
    return TRUE;
}

CAIRN_WIN32_API BOOL WINAPI HeapFree(HANDLE hHeap, DWORD dwFlags, LPVOID lpMem)
{
    (void)dwFlags;
    if (!is_quick(hHeap, 0))
        return free_otherwise(hHeap, lpMem);
    cairn_free(((const struct heap *)hHeap)->cairn, lpMem);
    return TRUE;
}

CAIRN_WIN32_API SIZE_T WINAPI HeapSize(HANDLE hHeap, DWORD dwFlags, LPCVOID lpMem)
{
    (void)dwFlags;
    struct heap *heap = heap_of(hHeap);
    if (heap == NULL || lpMem == NULL) {
        SetLastError(heap == NULL ? refusal_of(hHeap) : ERROR_INVALID_PARAMETER);
        return (SIZE_T)-1;
    }
    return cairn_size(heap->cairn, lpMem);
}

/* ---------------------------------------------------------------- the heap as a whole */

CAIRN_WIN32_API BOOL WINAPI HeapValidate(HANDLE hHeap, DWORD dwFlags, LPCVOID lpMem)
{
    (void)dwFlags;
    struct heap *heap = heap_of(hHeap);
    if (heap == NULL)
        return FALSE;
    if (lpMem != NULL)
        return cairn_is_block(heap->cairn, lpMem);
    heap_stop(heap);
    BOOL sound = cairn_check(heap->cairn, NULL, NULL) == 0;
    heap_go_on(heap);
    return sound;
}

static int largest_free(const cairn_class *blocks, void *arg)
{
    SIZE_T *largest = arg;
    if (blocks->block_bytes > *largest && blocks->blocks > blocks->blocks_live)
        *largest = blocks->block_bytes;
    return 0;
}

CAIRN_WIN32_API SIZE_T WINAPI HeapCompact(HANDLE hHeap, DWORD dwFlags)
{
    (void)dwFlags;
    struct heap *heap = heap_of(hHeap);
    if (heap == NULL)
        return (SIZE_T)fail(refusal_of(hHeap));
    note_change(heap);
    SIZE_T largest = 0;
    int64_t given = cairn_trim(heap->cairn);
    int error = given < 0 ? (int)given : cairn_class_walk(heap->cairn, largest_free, &largest);
    if (error < 0 || largest == 0)
        return (SIZE_T)fail(error < 0 ? error_of(error) : NO_ERROR);
    return largest;
}

CAIRN_WIN32_API BOOL WINAPI HeapLock(HANDLE hHeap)
{
    struct heap *heap = heap_of(hHeap);
    if (heap == NULL)
        return fail(refusal_of(hHeap));
    if (heap->flags & HEAP_NO_SERIALIZE)
        return TRUE;
    int error = cairn_heap_lock(heap->cairn);
    return error == 0 ? TRUE : fail(error_of(error));
}

CAIRN_WIN32_API BOOL WINAPI HeapUnlock(HANDLE hHeap)
{
    struct heap *heap = heap_of(hHeap);
    if (heap == NULL)
        return fail(refusal_of(hHeap));
    if (heap->flags & HEAP_NO_SERIALIZE)
        return TRUE;
    int error = cairn_heap_unlock(heap->cairn);
    return error == 0 ? TRUE : fail(error == -EPERM ? ERROR_NOT_LOCKED : error_of(error));
}

CAIRN_WIN32_API BOOL WINAPI HeapSummary(HANDLE hHeap, DWORD dwFlags, LPHEAP_SUMMARY lpSummary)
{
    struct heap *heap = heap_of(hHeap);
    if (heap == NULL)
        return fail(refusal_of(hHeap));
    if (dwFlags != 0 || lpSummary == NULL || lpSummary->cb != sizeof *lpSummary)
        return fail(ERROR_INVALID_PARAMETER);
    cairn_stats stats = {.size = sizeof stats};
    int error = cairn_stats_get(heap->cairn, &stats);
    if (error < 0)
        return fail(error_of(error));
    lpSummary->cbAllocated = stats.bytes_live;
    lpSummary->cbCommitted = stats.bytes_committed;
    lpSummary->cbReserved = stats.bytes_reserved;
    lpSummary->cbMaxReserve = stats.bytes_max != 0 ? stats.bytes_max : stats.bytes_reserved;
    return TRUE;
}

/* ---------------------------------------------------------------- information */

static BOOL set_compatibility(struct heap *heap, HANDLE handle, const ULONG *value, size_t bytes)
{
    if (heap == NULL)
        return fail(refusal_of(handle));
    if (value == NULL || bytes < sizeof *value)
        return fail(ERROR_INSUFFICIENT_BUFFER);
    if (heap->flags & HEAP_NO_SERIALIZE)
        return fail(ERROR_INVALID_PARAMETER);
    if (*value == heap->compatibility)
        return TRUE;
    if (heap->compatibility == 2 || *value != 2)
        return fail(heap->compatibility == 2 ? ERROR_GEN_FAILURE : ERROR_INVALID_PARAMETER);
    heap->compatibility = 2;
    return TRUE;
}

static BOOL optimize(struct heap *heap, HANDLE handle, const HEAP_OPTIMIZE_RESOURCES_INFORMATION *how, size_t bytes)
{
    if (how == NULL || bytes < sizeof *how || how->Version != HEAP_OPTIMIZE_RESOURCES_CURRENT_VERSION ||
        how->Flags != 0)
        return fail(ERROR_INVALID_PARAMETER);
    if (handle == NULL) /* of other heaps nobody knows here that they stay while they are looked at */
        heap = GetProcessHeap();
    if (heap == NULL)
        return fail(refusal_of(handle));
    (void)cairn_trim(heap->cairn);
    return TRUE;
}

CAIRN_WIN32_API BOOL WINAPI HeapSetInformation(HANDLE HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                                               PVOID HeapInformation, SIZE_T HeapInformationLength)
{
    struct heap *heap = heap_of(HeapHandle);
    switch (HeapInformationClass) {
    case HeapCompatibilityInformation:
        return set_compatibility(heap, HeapHandle, HeapInformation, HeapInformationLength);
    case HeapEnableTerminationOnCorruption:
        return HeapInformation == NULL && HeapInformationLength == 0 ? TRUE : fail(ERROR_INVALID_PARAMETER);
    case HeapOptimizeResources:
        return optimize(heap, HeapHandle, HeapInformation, HeapInformationLength);
    default:
        return fail(ERROR_INVALID_PARAMETER);
    }
}

CAIRN_WIN32_API BOOL WINAPI HeapQueryInformation(HANDLE HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                                                 PVOID HeapInformation, SIZE_T HeapInformationLength,
                                                 PSIZE_T ReturnLength)
{
    struct heap *heap = heap_of(HeapHandle);
    if (HeapInformationClass != HeapCompatibilityInformation)
        return fail(ERROR_INVALID_PARAMETER);
    if (heap == NULL)
        return fail(refusal_of(HeapHandle) == ERROR_ACCESS_DENIED ? ERROR_ACCESS_DENIED : ERROR_NOACCESS);
    if (ReturnLength != NULL)
        *ReturnLength = sizeof(ULONG);
    if (HeapInformation == NULL || HeapInformationLength < sizeof(ULONG))
        return fail(ERROR_INSUFFICIENT_BUFFER);
    memcpy(HeapInformation, &heap->compatibility, sizeof(ULONG));
    return TRUE;
}
