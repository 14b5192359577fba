/* SPDX-License-Identifier: MIT */
/* A program for Windows: a heap of its own, measured by its size, that ends as one. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

int main(void)
{
    HANDLE heap = HeapCreate(0, 1 << 20, 0); /* its success means that the first MiB is there */
    if (heap == NULL) {
        fprintf(stderr, "HeapCreate: error %u\n", GetLastError());
        return 1;
    }
    char *text = HeapAlloc(heap, HEAP_ZERO_MEMORY, 13);
    if (text == NULL)
        return 1;
    strcpy(text, "Hello, heap!");
    printf("%s (%zu bytes)\n", text, HeapSize(heap, 0, text));

    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    HeapLock(heap);
    while (HeapWalk(heap, &entry))
        if (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY)
            printf("a block of %u bytes at %p\n", entry.cbData, entry.lpData);
    HeapUnlock(heap);
    return HeapDestroy(heap) ? 0 : 1;
}
