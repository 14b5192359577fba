/* SPDX-License-Identifier: MIT */
/*
 * CeHeapCreate with an allocator that reserves 2 MiB and more, and commits what is asked for. Is there more
 * fragmentation, does it get slower after running for a while? ce_reserve_more [OPERATIONS] lets a heap run, and tells
 * after each tenth what is committed and how fast it is, and at the end whether a block of half of the heap is to be
 * had again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <windows.h>

#define RESERVED_LEAST (2u << 20)
#define SLOTS 2048

static SIZE_T reserved, committed, committed_most;

static LPVOID WINAPI get(LPVOID address, DWORD bytes, DWORD action, LPDWORD user)
{
    (void)user;
    if (action == MEM_RESERVE) {
        reserved = bytes < RESERVED_LEAST ? RESERVED_LEAST : bytes;
        return VirtualAlloc(NULL, reserved, MEM_RESERVE, PAGE_NOACCESS);
    }
    if (VirtualAlloc(address, bytes, MEM_COMMIT, PAGE_READWRITE) == NULL)
        return NULL;
    committed += bytes;
    if (committed > committed_most)
        committed_most = committed;
    return address;
}

static BOOL WINAPI put(LPVOID address, DWORD bytes, DWORD action, DWORD user)
{
    (void)user;
    if (action == MEM_RELEASE)
        return VirtualFree(address, 0, MEM_RELEASE);
    committed -= bytes;
    return VirtualFree(address, bytes, MEM_DECOMMIT);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static unsigned random_next(unsigned *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

int main(int count, char **arguments)
{
    static BYTE *blocks[SLOTS];
    static SIZE_T sizes[SLOTS];
    long operations = count > 1 ? strtol(arguments[1], NULL, 10) : 10000000;
    unsigned state = 2463534242u;
    int right = 1;
    HANDLE heap = CeHeapCreate(0, 0, 1800u << 10, get, put);
    if (heap == NULL) {
        fprintf(stderr, "CeHeapCreate: error %u\n", GetLastError());
        return 1;
    }
    right &= reserved == RESERVED_LEAST;
    printf("%zu KiB reserved, %zu KiB committed at the start\n", reserved >> 10, committed >> 10);

    SIZE_T live = 0;
    long refused = 0;
    for (int tenth = 1; tenth <= 10; tenth++) {
        double start = seconds();
        for (long i = 0; i < operations / 10; i++) {
            unsigned slot = random_next(&state) % SLOTS;
            if (blocks[slot] != NULL) {
                right &= blocks[slot][0] == (BYTE)slot && blocks[slot][sizes[slot] - 1] == (BYTE)slot;
                HeapFree(heap, 0, blocks[slot]);
                live -= sizes[slot];
                blocks[slot] = NULL;
                continue;
            }
            /* Mostly small, and some of pages. */
            sizes[slot] = 1 + random_next(&state) % (random_next(&state) % 64 == 0 ? 8192 : 500);
            blocks[slot] = HeapAlloc(heap, 0, sizes[slot]);
            refused += blocks[slot] == NULL;
            if (blocks[slot] != NULL) {
                blocks[slot][0] = blocks[slot][sizes[slot] - 1] = (BYTE)slot;
                live += sizes[slot];
            }
        }
        printf("%3d %%: %5zu KiB live, %5zu KiB committed, %.1f million operations a second\n", 10 * tenth, live >> 10,
               committed >> 10, (double)operations / 10e6 / (seconds() - start));
        right &= committed <= reserved && HeapValidate(heap, 0, NULL);
    }
    for (int slot = 0; slot < SLOTS; slot++)
        HeapFree(heap, 0, blocks[slot]);
    HeapCompact(heap, 0);
    printf("at most %zu KiB committed, %ld refused; %zu KiB committed when all is free\n", committed_most >> 10,
           refused, committed >> 10);
    right &= refused == 0 && committed < committed_most;
    void *half = HeapAlloc(heap, 0, 900u << 10);
    right &= half != NULL && HeapFree(heap, 0, half);
    right &= HeapDestroy(heap);
    puts(right ? "all as it should be" : "NOT as it should be");
    return !right;
}
