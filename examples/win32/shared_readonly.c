/* SPDX-License-Identifier: MIT */
/*
 * HEAP_SHARED_READONLY, as Windows CE has it: a server allocates and writes, its clients read at the same addresses,
 * and what they store faults. The heap's name goes to the client by its command line or, as here, in memory that both
 * have already; so does the pointer to the first block.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <windows.h>

struct price {
    struct price *next;
    DWORD cents;
    char what[20];
};

struct offer { /* what the server tells its client */
    char heap[100];
    struct price *first;
};

static int client(const struct offer *offer)
{
    HANDLE heap = CairnSharedHeapOpen(offer->heap, NULL, 0);
    if (heap == NULL) {
        fprintf(stderr, "CairnSharedHeapOpen: error %u\n", GetLastError());
        return 1;
    }
    for (const struct price *price = offer->first; price != NULL; price = price->next)
        printf("%-8s %u.%02u\n", price->what, price->cents / 100, price->cents % 100);

    struct price *cheaper = offer->first;
    volatile int refused = 0;
    if (HeapAlloc(heap, 0, 1) == NULL && GetLastError() == ERROR_ACCESS_DENIED)
        refused++;
    __try {
        if (cheaper != NULL)
            cheaper->cents = 1;
    } __except (GetExceptionCode() == EXCEPTION_ACCESS_VIOLATION ? EXCEPTION_EXECUTE_HANDLER
                                                                 : EXCEPTION_CONTINUE_SEARCH) {
        refused++;
    }
    printf("the client may allocate and write: %s\n", refused == 2 ? "no" : "YES");
    return HeapDestroy(heap) && refused == 2 ? 0 : 1;
}

static struct price *sell(HANDLE heap, struct price *next, const char *what, DWORD cents)
{
    struct price *price = HeapAlloc(heap, HEAP_ZERO_MEMORY, sizeof *price);
    if (price == NULL)
        return NULL;
    price->next = next;
    price->cents = cents;
    strncpy(price->what, what, sizeof price->what - 1);
    return price;
}

int main(void)
{
    int go[2], status = 1;
    struct offer *offer = mmap(NULL, sizeof *offer, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (offer == MAP_FAILED || pipe(go) < 0)
        return 1;
    pid_t child = fork();
    if (child == 0) {
        char word;
        close(go[1]);
        return read(go[0], &word, 1) == 1 ? client(offer) : 1;
    }
    HANDLE heap = HeapCreate(HEAP_SHARED_READONLY, 0, 0);
    if (heap == NULL || CairnSharedHeapName(heap, offer->heap, sizeof offer->heap) == 0) {
        fprintf(stderr, "HeapCreate: error %u\n", GetLastError());
        return 1;
    }
    offer->first = sell(heap, sell(heap, NULL, "bread", 420), "milk", 129);
    if (child < 0 || write(go[1], "g", 1) != 1 || waitpid(child, &status, 0) != child)
        return 1;
    return offer->first->cents == 129 && HeapDestroy(heap) && status == 0 ? 0 : 1;
}
