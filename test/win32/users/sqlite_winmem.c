/* SPDX-License-Identifier: MIT */
/*
 * SQLite's own methods: winmem.c is what os_win.c has for SQLITE_WIN32_MALLOC, cut out of it when this is compiled.
 * What stands before it here is what the rest of SQLite would give it.
 */
#include <assert.h>
#include <stdint.h>

#include "require.h"
#include "sqlite.h"

typedef uint32_t u32;
typedef UINT *LPUINT; /* of mmsystem.h */

#define SQLITE_WIN32_MALLOC
#define SQLITE_WIN32_MALLOC_VALIDATE
#define SQLITE_WIN32_HEAP_FLAGS heap_flags
#define SQLITE_OS_WINCE 0
#define SQLITE_OS_WINRT 0
#define SQLITE_DEFAULT_PAGE_SIZE 4096
#define SQLITE_DEFAULT_CACHE_SIZE (-2000)
#define SQLITE_NOMEM_BKPT SQLITE_NOMEM
/* Mutexes of Windows can be entered twice, as sqlite3_win32_reset_heap does, those of pthread cannot; nobody else is
 * here when it is called. */
#define MUTEX_LOGIC(code)
#define sqlite3_mutex_enter(mutex)
#define sqlite3_mutex_leave(mutex)
#define sqlite3GlobalConfig ((struct { int nHeap; }){0}) /* a heap that grows */

#define osHeapCreate HeapCreate
#define osHeapDestroy HeapDestroy
#define osHeapAlloc HeapAlloc
#define osHeapReAlloc HeapReAlloc
#define osHeapFree HeapFree
#define osHeapSize HeapSize
#define osHeapCompact HeapCompact
#define osHeapValidate validate_now_and_then
#define osGetLastError GetLastError

static BOOL validate_now_and_then(HANDLE heap, DWORD flags, LPCVOID block)
{
    static unsigned long count;
    return count++ % VALIDATE_EACH != 0 || HeapValidate(heap, flags, block);
}

/* The library calls a function of this name, which would find this one. */
#define sqlite3MemSetDefault methods_set_default
void sqlite3MemSetDefault(void);

#include "winmem.c"

const char *const methods_are = "os_win.c";

HANDLE methods_heap(void)
{
    return winMemGetHeap();
}
