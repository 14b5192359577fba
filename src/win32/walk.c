/* SPDX-License-Identifier: MIT */
/*
 * HeapWalk: one entry per call, from a list that is noted at the first call. The caller's structure names the entry it
 * is at, so that walks may be given up and run side by side; a list that a change has made stale is noted anew, and
 * the walk goes on behind the address it had come to.
 */
#include "win32/win32.h"

#define LAST_BYTES 0xff000 /* blocks of that size and more come last */

/* Over the lists of all heaps. Taken with a heap stopped; under it nothing waits. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

enum { ORDERED, LAST };

struct entry {
    unsigned char *address;
    uint64_t bytes;
    uint32_t overhead;
    uint16_t flags;
    uint16_t order;
};

struct walk {
    size_t count;
    size_t room;
    struct entry *entries;
};

/* While a list is noted. */
struct noting {
    struct heap *heap;
    struct walk *walk;
    cairn_span span;      /* the one whose blocks are told now */
    unsigned char *next;  /* in a slab: behind the last block told */
    unsigned char *end;   /* of the slab's blocks */
    unsigned char *upper; /* behind all spans */
};

static int note(struct noting *noting, unsigned char *address, uint64_t bytes, uint64_t room, uint16_t flags)
{
    struct walk *walk = noting->walk;
    if (walk->count == walk->room) {
        size_t more = walk->room == 0 ? 256 : 2 * walk->room;
        struct entry *entries = cairn_realloc(own_heap(), walk->entries, more * sizeof *entries);
        if (entries == NULL)
            return -ENOMEM;
        walk->entries = entries;
        walk->room = more;
    }
    walk->entries[walk->count++] = (struct entry){
        .address = address,
        .bytes = bytes,
        .overhead = (uint32_t)(room - bytes > 255 ? 255 : room - bytes),
        .flags = flags,
        .order = flags == PROCESS_HEAP_ENTRY_BUSY && bytes >= LAST_BYTES ? LAST : ORDERED,
    };
    return 0;
}

/* What holds no block: free where it is committed. What is not is told of a heap that has all its addresses. */
static int note_free(struct noting *noting, unsigned char *from, uint64_t bytes)
{
    int error = 0;
    uint64_t run;
    for (uint64_t done = 0; error == 0 && done < bytes; done += run) {
        int committed = cairn_committed(noting->heap->cairn, from + done, &run);
        if (committed < 0)
            return committed;
        run = min_u64(run, bytes - done);
        if (committed || noting->heap->fixed)
            error = note(noting, from + done, run, run, committed ? 0 : PROCESS_HEAP_UNCOMMITTED_RANGE);
    }
    return error;
}

/* What is free between two blocks of a slab, or behind the last. */
static int note_gap(struct noting *noting, unsigned char *until)
{
    if (noting->next == NULL || until <= noting->next)
        return 0;
    return note_free(noting, noting->next, (uint64_t)(until - noting->next));
}

static int visit_span(const cairn_span *span, void *arg)
{
    struct noting *noting = arg;
    int error = note_gap(noting, noting->end);
    noting->span = *span;
    noting->next = noting->end = NULL;
    noting->upper = (unsigned char *)span->address + span->bytes;
    if (error == 0 && span->kind == CAIRN_SPAN_FREE && noting->heap->fixed)
        return note_free(noting, span->address, span->bytes);
    if (span->kind == CAIRN_SPAN_SLAB || span->kind == CAIRN_SPAN_ORPHAN) {
        noting->next = span->address;
        noting->end = noting->next + span->blocks * span->block_bytes;
    }
    return error;
}

static int visit_block(void *block, size_t bytes, void *arg)
{
    struct noting *noting = arg;
    (void)bytes;
    int error = note_gap(noting, block);
    uint64_t room = noting->span.block_bytes;
    uint64_t asked = cairn_size(noting->heap->cairn, block);
    if (noting->next != NULL)
        noting->next = (unsigned char *)block + room;
    return error != 0 ? error : note(noting, block, asked, room > asked ? room : asked, PROCESS_HEAP_ENTRY_BUSY);
}

/* Large blocks go behind the rest; each part stays in the order of its addresses. */
static int put_in_order(struct walk *walk)
{
    if (walk->count == 0)
        return 0;
    struct entry *ordered = cairn_alloc(own_heap(), walk->count * sizeof *ordered);
    if (ordered == NULL)
        return -ENOMEM;
    size_t count = 0;
    for (int order = ORDERED; order <= LAST; order++)
        for (size_t i = 0; i < walk->count; i++)
            if (walk->entries[i].order == order)
                ordered[count++] = walk->entries[i];
    cairn_free(own_heap(), walk->entries);
    walk->entries = ordered;
    walk->room = walk->count;
    return 0;
}

static void walk_end(struct heap *heap)
{
    store_relaxed(&heap->walk_is, WALK_NONE);
    heap_make_quick(heap);
    if (heap->walk != NULL) {
        cairn_free(own_heap(), heap->walk->entries);
        cairn_free(own_heap(), heap->walk);
        heap->walk = NULL;
    }
}

void walk_forget(struct heap *heap)
{
    (void)pthread_mutex_lock(&lock);
    walk_end(heap);
    (void)pthread_mutex_unlock(&lock);
}

/* What no span ever was made of. */
static int note_rest(struct noting *noting, const cairn_stats *stats)
{
    unsigned char *from = noting->upper != NULL ? noting->upper : (unsigned char *)(uintptr_t)stats->units_address;
    uint64_t end = stats->address + stats->bytes_reserved;
    return (uintptr_t)from < end ? note_free(noting, from, end - (uintptr_t)from) : 0;
}

void walk_before_fork(void)
{
    (void)pthread_mutex_lock(&lock);
}

void walk_after_fork(void)
{
    (void)pthread_mutex_unlock(&lock);
}

/* Under the lock, with the heap stopped. */
static int walk_begin(struct heap *heap)
{
    walk_end(heap);
    const DWORD checks = HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED;
    if ((heap->flags & checks) != 0 && cairn_check(heap->cairn, NULL, NULL) != 0)
        return -EINVAL; /* a walk of cairn's would end the program where it meets a stray write */
    heap->walk = cairn_zalloc(own_heap(), sizeof *heap->walk);
    if (heap->walk == NULL)
        return -ENOMEM;
    struct noting noting = {.heap = heap, .walk = heap->walk};
    int error = cairn_walk(heap->cairn, visit_span, visit_block, &noting);
    if (error == 0)
        error = note_gap(&noting, noting.end);
    cairn_stats stats = {.size = sizeof stats};
    if (error == 0)
        error = cairn_stats_get(heap->cairn, &stats);
    if (error == 0 && heap->fixed)
        error = note_rest(&noting, &stats);
    if (error == 0)
        error = put_in_order(heap->walk);
    if (error != 0) {
        walk_end(heap);
        return error;
    }
    store_relaxed(&heap->quick_below, 0); /* so every change comes by, to tell that it was */
    store_relaxed(&heap->walk_is, WALK_FRESH);
    return 0;
}

static DWORD clip(uint64_t bytes)
{
    return bytes > UINT32_MAX ? UINT32_MAX : (DWORD)bytes;
}

/* The first entry: the heap's whole range. */
static int tell_region(struct heap *heap, PROCESS_HEAP_ENTRY *entry)
{
    cairn_stats stats = {.size = sizeof stats};
    int error = cairn_stats_get(heap->cairn, &stats);
    if (error < 0)
        return error;
    const struct walk *walk = heap->walk;
    uint64_t whole = heap->fixed ? stats.bytes_reserved : stats.bytes_committed;
    *entry = (PROCESS_HEAP_ENTRY){.lpData = heap, .wFlags = PROCESS_HEAP_REGION};
    entry->cbData = clip(whole);
    entry->Region.dwCommittedSize = clip(stats.bytes_committed);
    entry->Region.dwUnCommittedSize = clip(whole - stats.bytes_committed);
    for (size_t i = 0; i < walk->count && walk->entries[i].order == ORDERED; i++) {
        if (walk->entries[i].flags == PROCESS_HEAP_UNCOMMITTED_RANGE)
            continue;
        if (entry->Region.lpFirstBlock == NULL)
            entry->Region.lpFirstBlock = walk->entries[i].address;
        entry->Region.lpLastBlock = walk->entries[i].address + walk->entries[i].bytes;
    }
    return 0;
}

/* Where the walk is: the index behind the entry that the caller's structure tells. */
static size_t next_index(const struct walk *walk, const PROCESS_HEAP_ENTRY *entry)
{
    if (entry->wFlags & PROCESS_HEAP_REGION)
        return 0;
    size_t index = entry->Block.dwReserved[0];
    uint16_t order = (uint16_t)entry->Block.dwReserved[1];
    const unsigned char *address = entry->lpData;
    if (index < walk->count && walk->entries[index].order == order && walk->entries[index].address == address)
        return index + 1;
    size_t low = 0; /* all below are not behind it */
    for (size_t high = walk->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        const struct entry *at = &walk->entries[middle];
        if (at->order > order || (at->order == order && at->address > address))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int tell_next(struct heap *heap, PROCESS_HEAP_ENTRY *entry)
{
    if (load_relaxed(&heap->walk_is) != WALK_FRESH || entry->lpData == NULL) {
        int error = walk_begin(heap);
        if (error != 0)
            return error;
    }
    if (entry->lpData == NULL)
        return tell_region(heap, entry);
    size_t index = next_index(heap->walk, entry);
    if (index >= heap->walk->count) {
        walk_end(heap);
        return -ENOENT;
    }
    const struct entry *found = &heap->walk->entries[index];
    *entry = (PROCESS_HEAP_ENTRY){.lpData = found->address, .cbData = clip(found->bytes), .wFlags = found->flags};
    entry->cbOverhead = (BYTE)found->overhead;
    entry->Block.dwReserved[0] = (DWORD)index;
    entry->Block.dwReserved[1] = found->order;
    return 0;
}

CAIRN_WIN32_API BOOL WINAPI HeapWalk(HANDLE hHeap, LPPROCESS_HEAP_ENTRY lpEntry)
{
    struct heap *heap = heap_of(hHeap);
    if (heap == NULL)
        return fail(refusal_of(hHeap));
    if (lpEntry == NULL || own_heap() == NULL)
        return fail(ERROR_INVALID_PARAMETER);
    PROCESS_HEAP_ENTRY entry = *lpEntry; /* the caller's may have no memory behind it: not under the locks */
    heap_stop(heap);
    (void)pthread_mutex_lock(&lock);
    int error = tell_next(heap, &entry);
    (void)pthread_mutex_unlock(&lock);
    heap_go_on(heap);
    if (error == 0) {
        *lpEntry = entry;
        return TRUE;
    }
    return fail(error == -ENOENT ? ERROR_NO_MORE_ITEMS : error_of(error));
}
