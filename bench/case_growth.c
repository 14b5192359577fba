/* SPDX-License-Identifier: MIT */
/* Large blocks: one that grows from 16 bytes to 64 MiB and is filled on the way, and some that come and go. */
#include "cases.h"
#include "heap.h"

#include <string.h>

#define LARGEST ((size_t)64 << 20)
#define PAGE 4096

static size_t larger(size_t size, double factor)
{
    size_t wanted = (size_t)(size * factor);
    if (wanted < size + 8)
        wanted = size + 8;
    return wanted < LARGEST ? wanted : LARGEST;
}

static void grow(double factor)
{
    void *heap = new_heap();
    struct watch watch = start();
    size_t size = 16;
    char *block = new_block(heap, size);
    memset(block, 1, size);
    while (size < LARGEST) {
        size_t wanted = larger(size, factor);
        block = heap_realloc(heap, block, wanted);
        if (!block)
            fail("the block cannot grow to %zu bytes", wanted);
        memset(block + size, 1, wanted - size);
        size = wanted;
    }
    watch = stop(watch);
    emit("cpu", "ms", watch.cpu / 1e6);
    emit("cpu.wall", "ms", watch.wall / 1e6);
    heap_free(heap, block);
    heap_destroy(heap);
}

void case_double(void)
{
    grow(2);
}

void case_tenth(void)
{
    grow(1.1);
}

struct large {
    void *heap;
    size_t size;
};

static void come_and_go(void *state, long count)
{
    struct large *large = state;
    for (long i = 0; i < count; i++) {
        char *block = new_block(large->heap, large->size);
        for (size_t at = 0; at < large->size; at += PAGE)
            *(volatile char *)(block + at) = 1;
        heap_free(large->heap, block);
    }
}

static void come_and_go_with(size_t mib)
{
    struct large large = {new_heap(), mib << 20};
    repeat("cpu", come_and_go, &large, 1);
}

void case_large_1(void)
{
    come_and_go_with(1);
}

void case_large_4(void)
{
    come_and_go_with(4);
}

void case_large_64(void)
{
    come_and_go_with(64);
}
