/* SPDX-License-Identifier: MIT */
/* Methods of our own, with the calls that SQLite makes on Windows, in their order; sqlite_winmem.c has SQLite's. */
#include "require.h"
#include "sqlite.h"

#define HEAP_INIT_SIZE ((SIZE_T)8 << 20)

const char *const methods_are = "methods of ours";
static HANDLE heap;

static void validate(const void *block)
{
    static unsigned long count;
    if (count++ % VALIDATE_EACH == 0)
        REQUIRE(HeapValidate(heap, heap_flags, block));
}

static void *mem_malloc(int bytes)
{
    validate(NULL);
    return HeapAlloc(heap, heap_flags, (SIZE_T)bytes);
}

static void mem_free(void *prior)
{
    if (prior == NULL)
        return;
    validate(prior);
    REQUIRE(HeapFree(heap, heap_flags, prior));
}

static void *mem_realloc(void *prior, int bytes)
{
    validate(prior);
    if (prior == NULL)
        return mem_malloc(bytes);
    return HeapReAlloc(heap, heap_flags, prior, (SIZE_T)bytes);
}

static int mem_size(void *prior)
{
    return prior != NULL ? (int)HeapSize(heap, heap_flags, prior) : 0;
}

static int mem_roundup(int bytes)
{
    return bytes; /* HeapSize is exact, so SQLite's account is, too */
}

static int mem_init(void *data)
{
    (void)data;
    heap = HeapCreate(heap_flags, HEAP_INIT_SIZE, 0);
    return heap != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

static void mem_shutdown(void *data)
{
    (void)data;
    if (heap == NULL)
        return;
    REQUIRE(HeapValidate(heap, heap_flags, NULL));
    REQUIRE(HeapDestroy(heap));
    heap = NULL;
}

const sqlite3_mem_methods *sqlite3MemGetWin32(void)
{
    static const sqlite3_mem_methods methods = {mem_malloc,  mem_free, mem_realloc,  mem_size,
                                                mem_roundup, mem_init, mem_shutdown, NULL};
    return &methods;
}

int sqlite3_win32_reset_heap(void)
{
    mem_shutdown(NULL);
    return mem_init(NULL);
}

HANDLE methods_heap(void)
{
    return heap;
}
