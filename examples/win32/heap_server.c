/* SPDX-License-Identifier: MIT */
/*
 * A heap of two processes. One process, the heap server, makes all allocations and frees, in a heap that CeHeapCreate
 * puts into a named mapping. The others open the mapping by its name and map a view; they ask the server for blocks and
 * get places in the mapping, which are the same for all wherever their views lie.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <windows.h>

#define NAME "heap_server_example"
#define HEAP_BYTES (4u << 20)
#define BLOCKS 1000

enum { ALLOCATE, FREE, END };

struct request {
    int what;
    DWORD bytes; /* ALLOCATE */
    DWORD place; /* FREE */
};

/* ---------------------------------------------------------------- the server */

static BYTE *base;

static LPVOID WINAPI get(LPVOID address, DWORD bytes, DWORD action, LPDWORD user)
{
    if (action == MEM_COMMIT)
        return VirtualAlloc(address, bytes, MEM_COMMIT, PAGE_READWRITE); /* for the other processes, too */
    HANDLE mapping = CreateFileMapping(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE | SEC_RESERVE, 0, bytes, NAME);
    if (mapping == NULL || GetLastError() == ERROR_ALREADY_EXISTS)
        return NULL;
    base = MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0);
    *user = (DWORD)(ULONG_PTR)mapping;
    return base;
}

static BOOL WINAPI put(LPVOID address, DWORD bytes, DWORD action, DWORD user)
{
    (void)bytes;
    if (action == MEM_DECOMMIT)
        return FALSE; /* a view's pages stay */
    return UnmapViewOfFile(address) && CloseHandle((HANDLE)(ULONG_PTR)user);
}

/* Place 0 is the mapping's first byte, which is no block. */
static int serve(int line)
{
    struct request request;
    HANDLE heap = CeHeapCreate(0, 0, HEAP_BYTES, get, put);
    DWORD place = heap != NULL;
    int live = 0;
    if (write(line, &place, sizeof place) != sizeof place || heap == NULL)
        return 1;
    while (read(line, &request, sizeof request) == sizeof request && request.what != END) {
        if (request.what == ALLOCATE) {
            BYTE *block = HeapAlloc(heap, HEAP_ZERO_MEMORY, request.bytes);
            live += block != NULL;
            place = block != NULL ? (DWORD)(block - base) : 0;
        } else {
            /* What a client says is not believed. */
            BYTE *block = base + request.place;
            place = request.place < HEAP_BYTES && HeapValidate(heap, 0, block) && HeapFree(heap, 0, block);
            live -= (int)place;
        }
        if (write(line, &place, sizeof place) != sizeof place)
            return 1;
    }
    int sound = HeapValidate(heap, 0, NULL) && HeapDestroy(heap);
    return live == 0 && sound ? 0 : 2;
}

/* ---------------------------------------------------------------- a client */

static int line_to_server;

static DWORD ask(int what, DWORD bytes, DWORD place)
{
    struct request request = {what, bytes, place};
    DWORD answer = 0;
    if (write(line_to_server, &request, sizeof request) != sizeof request ||
        read(line_to_server, &answer, sizeof answer) != sizeof answer)
        return 0;
    return answer;
}

static int use(void)
{
    static DWORD places[BLOCKS];
    DWORD answer = 0;
    if (read(line_to_server, &answer, sizeof answer) != sizeof answer || !answer)
        return 0;
    HANDLE mapping = OpenFileMapping(FILE_MAP_WRITE, FALSE, NAME);
    BYTE *view = mapping != NULL ? MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0) : NULL;
    if (view == NULL)
        return 0;

    int right = 1;
    for (int i = 0; i < BLOCKS; i++) {
        places[i] = ask(ALLOCATE, 64, 0);
        right &= places[i] != 0 && view[places[i]] == 0;
        if (places[i] != 0)
            snprintf((char *)view + places[i], 64, "number %d", i);
    }
    right &= ask(ALLOCATE, HEAP_BYTES, 0) == 0; /* more than there is */
    right &= ask(FREE, 0, places[0] + 16) == 0; /* no block */
    right &= ask(FREE, 0, 0xfffffff0u) == 0;    /* nowhere */
    for (int i = 0; i < BLOCKS; i++) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "number %d", i);
        right &= strcmp((char *)view + places[i], wanted) == 0 && ask(FREE, 0, places[i]) == 1;
    }
    right &= ask(FREE, 0, places[0]) == 0; /* freed before */
    return UnmapViewOfFile(view) && CloseHandle(mapping) && right;
}

int main(void)
{
    int lines[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, lines) < 0)
        return 1;
    pid_t server = fork();
    if (server < 0)
        return 1;
    if (server == 0) {
        close(lines[1]); /* so that the server ends with its last client */
        _exit(serve(lines[0]));
    }
    close(lines[0]);
    line_to_server = lines[1];
    int right = use();
    struct request end = {.what = END};
    (void)!write(line_to_server, &end, sizeof end);
    int status = -1;
    waitpid(server, &status, 0);
    HANDLE gone = OpenFileMapping(FILE_MAP_READ, FALSE, NAME);
    right &= status == 0 && gone == NULL && GetLastError() == ERROR_FILE_NOT_FOUND;
    printf("%d blocks went from the server to the client and back: %s\n", BLOCKS,
           right ? "all as it should be" : "NOT as it should be");
    return !right;
}
