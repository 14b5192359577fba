/* SPDX-License-Identifier: MIT */
/*
 * HEAP_SHARED_READONLY: a published heap (cairn_publish.h). Its creator's handle leads to a heap as any other; the
 * handle of who opened it, to a view. Both records have a word of their own in place of HEAP_MAGIC: so the fast paths
 * look at one word as ever, and who may not write is turned away where a handle that is none is.
 */
#include "win32/share.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cairn_publish.h"
#include "win32/name.h"
#include "win32/system.h"

#define SOCKET_SUFFIX ".sock"
#define BYTES_MIN ((size_t)1 << 20) /* of a published heap */

static struct heap *created; /* face_lock */
static atomic_u32 forks;     /* a record with another number is the parent's */

/* ---------------------------------------------------------------- handles */

struct heap *share_of(struct heap *heap)
{
    return heap->magic == SHARED_MAGIC && heap->forks == load_relaxed(&forks) ? heap : NULL;
}

DWORD refusal_of(HANDLE handle)
{
    const struct heap *heap = record_of(handle);
    bool may_not_write = heap != NULL && (heap->magic == SHARED_MAGIC || heap->magic == READER_MAGIC);
    return may_not_write ? ERROR_ACCESS_DENIED : ERROR_INVALID_HANDLE;
}

/* ---------------------------------------------------------------- the end of the process */

/* Readers see the end by themselves; the name must not stay. Other threads may be in the heap, so it is not closed. */
static void __attribute__((destructor)) end_names(void)
{
    face_lock();
    for (const struct heap *heap = created; heap != NULL; heap = heap->next_created)
        if (heap->forks == load_relaxed(&forks))
            (void)unlink(heap->path);
    created = NULL;
    face_unlock();
}

static void count_fork(void)
{
    (void)fetch_add_relaxed(&forks, 1);
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, count_fork);
}

/* ---------------------------------------------------------------- creating */

static DWORD error_of_publishing(int error)
{
    switch (-error) {
    case EADDRINUSE: /* the name's creator lives */
        return ERROR_ALREADY_EXISTS;
    case EEXIST: /* the name is of something else */
        return ERROR_INVALID_HANDLE;
    default:
        return error_of(error);
    }
}

static BOOL take_readers(cairn_publish_options *options, const CAIRN_HEAP_READERS *readers)
{
    if (readers == NULL)
        return TRUE;
    if (readers->cb != sizeof *readers || (readers->dwFlags & ~CAIRN_EVERYONE) != 0)
        return fail(ERROR_INVALID_PARAMETER);
    options->directory = readers->lpDirectory;
    options->users = readers->lpUsers;
    options->users_count = readers->nUsers;
    options->groups = readers->lpGroups;
    options->groups_count = readers->nGroups;
    if (readers->dwFlags & CAIRN_EVERYONE)
        options->flags |= CAIRN_PUBLISH_EVERYONE;
    return TRUE;
}

/* Where the name lies, also when the program goes to another directory. */
static DWORD remember_path(struct heap *heap, const char *directory, const char *name)
{
    char standard[PATH_BYTES], absolute[PATH_MAX];
    if (directory == NULL) {
        DWORD error = name_directory(standard);
        if (error != NO_ERROR)
            return error;
        directory = standard;
    }
    if (realpath(directory, absolute) != NULL)
        directory = absolute;
    size_t bytes = strlen(directory) + strlen(name) + sizeof "/" SOCKET_SUFFIX;
    heap->path = cairn_alloc(own_heap(), bytes);
    if (heap->path == NULL)
        return ERROR_NOT_ENOUGH_MEMORY;
    snprintf(heap->path, bytes, "%s/%s" SOCKET_SUFFIX, directory, name);
    return NO_ERROR;
}

/*
 * What is committed of published memory stays: so a block as large as what lacks is all that is needed, and is freed.
 * Where the start is the whole heap a part of it is left to the bookkeeping, which commits it as it needs it.
 */
static int commit_start(cairn_heap *heap, size_t bytes)
{
    cairn_stats stats = {.size = sizeof stats};
    int error = cairn_stats_get(heap, &stats);
    if (error < 0 || bytes <= stats.bytes_committed)
        return error;
    size_t wanted = round_up(bytes - stats.bytes_committed, stats.unit_bytes);
    size_t most = (stats.bytes_reserved - (stats.units_address - stats.address)) / stats.unit_bytes * stats.unit_bytes;
    void *block = cairn_alloc(heap, wanted < most ? wanted : most);
    cairn_free(heap, block);
    return block != NULL ? 0 : -ENOMEM;
}

static int publish(struct heap *heap, const char *name, const cairn_publish_options *options, size_t start)
{
    int error = cairn_publish(&heap->publisher, name, options);
    if (error < 0)
        return error;
    heap->cairn = cairn_publisher_heap(heap->publisher);
    error = commit_start(heap->cairn, start);
    if (error == 0)
        error = cairn_publisher_start_thread(heap->publisher);
    if (error < 0)
        cairn_publisher_close(heap->publisher);
    return error;
}

/* HeapCreate gives no name: this one nobody has, and CairnSharedHeapName tells it. */
static const char *make_name(char name[CAIRN_NAME_MAX + 1])
{
    static atomic_u32 counter;
    snprintf(name, CAIRN_NAME_MAX + 1, "win32.heap.%ld.%u", (long)getpid(), (unsigned)fetch_add_relaxed(&counter, 1));
    return name;
}

BOOL share_create(struct heap *heap, size_t start, size_t max, const struct sharing *sharing)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, watch_forks);
    char made[CAIRN_NAME_MAX + 1];
    const char *name = sharing->name != NULL ? sharing->name : make_name(made);
    cairn_publish_options options = {
        .size = sizeof options,
        .bytes_max = max != 0 && max < BYTES_MIN ? BYTES_MIN : max,
        .flags = CAIRN_PUBLISH_EXACT_SIZES | CAIRN_PUBLISH_LOCKABLE,
    };
    if (!take_readers(&options, sharing->readers))
        return FALSE;
    int error = publish(heap, name, &options, start);
    if (error < 0)
        return fail(error_of_publishing(error));
    DWORD failure = remember_path(heap, options.directory, name);
    if (failure != NO_ERROR) {
        cairn_publisher_close(heap->publisher);
        return fail(failure);
    }
    heap->forks = load_relaxed(&forks);
    face_lock();
    heap->next_created = created;
    created = heap;
    face_unlock();
    return TRUE;
}

/* ---------------------------------------------------------------- opening */

static DWORD error_of_opening(int error)
{
    switch (-error) {
    case ECONNREFUSED: /* its creator has ended */
        return ERROR_FILE_NOT_FOUND;
    case EAGAIN:
    case ETIMEDOUT:
        return ERROR_BUSY;
    default:
        return error_of(error);
    }
}

CAIRN_WIN32_API HANDLE WINAPI CairnSharedHeapOpen(LPCSTR lpName, LPCSTR lpDirectory, DWORD dwFlags)
{
    if (lpName == NULL || (dwFlags & ~CAIRN_ANY_CREATOR) != 0)
        return fail_null(ERROR_INVALID_PARAMETER);
    struct heap *heap = record_new();
    if (heap == NULL)
        return NULL;
    cairn_reader_options options = {
        .size = sizeof options,
        .directory = lpDirectory,
        .flags = dwFlags & CAIRN_ANY_CREATOR ? CAIRN_READER_ANY_OWNER : 0,
    };
    int error = cairn_reader_open(&heap->reader, lpName, &options);
    DWORD failure = error < 0 ? error_of_opening(error) : remember_path(heap, lpDirectory, lpName);
    if (failure != NO_ERROR) {
        cairn_reader_close(heap->reader);
        record_give(heap);
        return fail_null(failure);
    }
    heap->magic = READER_MAGIC;
    return heap;
}

/* ---------------------------------------------------------------- ending */

static void leave_created(struct heap *heap)
{
    face_lock();
    struct heap **link = &created;
    while (*link != NULL && *link != heap)
        link = &(*link)->next_created;
    if (*link != NULL)
        *link = heap->next_created;
    face_unlock();
}

void share_end(struct heap *heap)
{
    if (heap->publisher != NULL) {
        leave_created(heap);
        bool is_mine = heap->forks == load_relaxed(&forks);
        while (is_mine && cairn_heap_unlock(heap->cairn) == 0) /* the publisher's thread may wait for it */
            ;
        cairn_publisher_close(heap->publisher);
    }
    cairn_reader_close(heap->reader);
    cairn_free(own_heap(), heap->path);
}

/* ---------------------------------------------------------------- what it is */

CAIRN_WIN32_API DWORD WINAPI CairnSharedHeapName(HANDLE hHeap, LPSTR lpName, DWORD nSize)
{
    const struct heap *heap = record_of(hHeap);
    if (heap == NULL || (heap->magic != SHARED_MAGIC && heap->magic != READER_MAGIC))
        return (DWORD)fail(ERROR_INVALID_HANDLE);
    const char *name = strrchr(heap->path, '/') + 1;
    size_t length = strlen(name) - strlen(SOCKET_SUFFIX);
    if (lpName == NULL || nSize <= length)
        return (DWORD)fail(ERROR_INSUFFICIENT_BUFFER);
    memcpy(lpName, name, length);
    lpName[length] = '\0';
    return (DWORD)length;
}

CAIRN_WIN32_API cairn_publisher *cairn_win32_publisher(HANDLE hHeap)
{
    struct heap *heap = heap_of(hHeap);
    if (heap == NULL || heap->publisher == NULL)
        return fail_null(heap == NULL ? refusal_of(hHeap) : ERROR_INVALID_HANDLE);
    return heap->publisher;
}

CAIRN_WIN32_API cairn_reader *cairn_win32_reader(HANDLE hHeap)
{
    struct heap *heap = record_of(hHeap);
    return heap != NULL && heap->magic == READER_MAGIC ? heap->reader : fail_null(ERROR_INVALID_HANDLE);
}
