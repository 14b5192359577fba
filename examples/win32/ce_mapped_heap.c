/* SPDX-License-Identifier: MIT */
/*
 * CeHeapCreate with an allocator on a mapping with no file underneath: reserving creates the mapping and maps a view
 * of the whole; committing touches the pages, and decommitting does nothing; releasing closes view and mapping. The
 * user word of a reservation is the handle of its mapping, which fits in a DWORD.
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>

static int mappings, commits, decommits;

static LPVOID WINAPI get(LPVOID address, DWORD bytes, DWORD action, LPDWORD user)
{
    if (action == MEM_RESERVE) {
        HANDLE mapping = CreateFileMapping(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, bytes, NULL);
        LPVOID view = mapping != NULL ? MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0) : NULL;
        if (view == NULL) {
            CloseHandle(mapping);
            return NULL;
        }
        *user = (DWORD)(ULONG_PTR)mapping;
        mappings++;
        return view;
    }
    for (DWORD at = 0; at < bytes; at += 4096)
        (void)((volatile BYTE *)address)[at];
    commits++;
    return address;
}

static BOOL WINAPI put(LPVOID address, DWORD bytes, DWORD action, DWORD user)
{
    (void)bytes;
    if (action == MEM_DECOMMIT) {
        decommits++;
        return TRUE;
    }
    mappings--;
    return UnmapViewOfFile(address) && CloseHandle((HANDLE)(ULONG_PTR)user);
}

/* Is a block zero that lies where others were written to, in pages that were decommitted in name only? */
static int zeroed_again(HANDLE heap, SIZE_T bytes)
{
    BYTE *block = HeapAlloc(heap, 0, bytes);
    if (block == NULL)
        return 0;
    memset(block, 0xa5, bytes);
    HeapFree(heap, 0, block);
    HeapCompact(heap, 0);
    block = HeapAlloc(heap, HEAP_ZERO_MEMORY, bytes);
    for (SIZE_T i = 0; block != NULL && i < bytes; i++)
        if (block[i] != 0)
            return 0;
    return block != NULL && HeapFree(heap, 0, block);
}

int main(void)
{
    HANDLE heap = CeHeapCreate(0, 64 << 10, 16 << 20, get, put);
    if (heap == NULL) {
        fprintf(stderr, "CeHeapCreate: error %u\n", GetLastError());
        return 1;
    }
    int right = mappings == 1;
    for (SIZE_T bytes = 24; bytes <= 8 << 20; bytes *= 3)
        right &= zeroed_again(heap, bytes);

    char *blocks[1000];
    for (int i = 0; i < 1000; i++) {
        blocks[i] = HeapAlloc(heap, 0, 32);
        if (blocks[i] == NULL)
            return 1;
        snprintf(blocks[i], 32, "block %d", i);
    }
    int number = 0;
    right &= sscanf(blocks[999], "block %d", &number) == 1 && number == 999;
    MEMORY_BASIC_INFORMATION info;
    VirtualQuery(blocks[0], &info, sizeof info);
    right &= info.Type == MEM_MAPPED; /* a view, and no private memory */
    right &= HeapValidate(heap, 0, NULL);
    right &= HeapDestroy(heap) && mappings == 0;
    printf("%d commits, %d decommits, %s\n", commits, decommits, right ? "all as it should be" : "NOT as it should be");
    return !right;
}
