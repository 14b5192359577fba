/* SPDX-License-Identifier: MIT */
#include "calls.h"

#include <windows.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct calls calls;

/* Programs have threads. */
#define COUNT(name) ((void)__atomic_fetch_add(&calls.name, 1, __ATOMIC_RELAXED))

#define WRAP(type, name, failure, parameters, arguments)                                                               \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        type result = __real_##name arguments;                                                                         \
        COUNT(name);                                                                                                   \
        if (result == (type)(failure))                                                                                 \
            COUNT(failed);                                                                                             \
        return result;                                                                                                 \
    }

WRAP(HANDLE, HeapCreate, NULL, (DWORD options, SIZE_T initial, SIZE_T maximum), (options, initial, maximum))
WRAP(BOOL, HeapDestroy, FALSE, (HANDLE heap), (heap))
WRAP(LPVOID, HeapAlloc, NULL, (HANDLE heap, DWORD flags, SIZE_T bytes), (heap, flags, bytes))
WRAP(BOOL, HeapFree, FALSE, (HANDLE heap, DWORD flags, LPVOID block), (heap, flags, block))
WRAP(SIZE_T, HeapSize, -1, (HANDLE heap, DWORD flags, LPCVOID block), (heap, flags, block))
WRAP(BOOL, HeapValidate, FALSE, (HANDLE heap, DWORD flags, LPCVOID block), (heap, flags, block))
WRAP(SIZE_T, HeapCompact, -1, (HANDLE heap, DWORD flags), (heap, flags))
WRAP(HANDLE, GetProcessHeap, NULL, (void), ())
WRAP(LPVOID, VirtualAlloc, NULL, (LPVOID address, SIZE_T bytes, DWORD type, DWORD protect),
     (address, bytes, type, protect))
WRAP(BOOL, VirtualFree, FALSE, (LPVOID address, SIZE_T bytes, DWORD type), (address, bytes, type))
WRAP(HANDLE, CreateFileMappingA, NULL,
     (HANDLE file, LPSECURITY_ATTRIBUTES attributes, DWORD protect, DWORD high, DWORD low, LPCSTR name),
     (file, attributes, protect, high, low, name))
WRAP(LPVOID, MapViewOfFile, NULL, (HANDLE section, DWORD access, DWORD high, DWORD low, SIZE_T bytes),
     (section, access, high, low, bytes))
WRAP(BOOL, UnmapViewOfFile, FALSE, (LPCVOID view), (view))

LPVOID __real_HeapReAlloc(HANDLE heap, DWORD flags, LPVOID block, SIZE_T bytes);
LPVOID __wrap_HeapReAlloc(HANDLE heap, DWORD flags, LPVOID block, SIZE_T bytes);

LPVOID __wrap_HeapReAlloc(HANDLE heap, DWORD flags, LPVOID block, SIZE_T bytes)
{
    LPVOID result = __real_HeapReAlloc(heap, flags, block, bytes);
    COUNT(HeapReAlloc);
    if (result == NULL && (flags & HEAP_REALLOC_IN_PLACE_ONLY))
        COUNT(not_in_place);
    else if (result == NULL)
        COUNT(failed);
    return result;
}

void calls_reset(void)
{
    memset(&calls, 0, sizeof calls);
}

void calls_print(const char *who)
{
    printf("%s:", who);
#define PRINT(name)                                                                                                    \
    if (calls.name != 0)                                                                                               \
        printf(" %lu " #name ",", calls.name);
    FOR_EACH_CALL(PRINT)
#undef PRINT
    if (calls.not_in_place != 0)
        printf(" %lu found no room in place,", calls.not_in_place);
    printf(" %lu failed\n", calls.failed);
}
