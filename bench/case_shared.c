/* SPDX-License-Identifier: MIT */
/* Shared memory that grows, and that others attach to. */
#include "cases.h"
#include "heap.h"
#include "team.h"

#include <string.h>

#define FILL ((size_t)1 << 30)
#define BLOCK 1000
#define ATTACHES 15

static void *fill(void *heap)
{
    void *block = NULL;
    for (size_t filled = 0; filled < FILL; filled += BLOCK) {
        block = new_block(heap, BLOCK);
        memset(block, 1, BLOCK);
    }
    return block;
}

void case_fill(void)
{
    void *heap = new_heap();
    struct watch watch = start();
    fill(heap);
    watch = stop(watch);
    emit("cpu", "ms", watch.cpu / 1e6);
    emit("cpu.wall", "ms", watch.wall / 1e6);
    emit("memory", "x", heap_footprint(heap) / FILL);
    heap_destroy(heap);
}

static void fill_named(void *unused)
{
    (void)unused;
    void *heap = heap_create_named();
    if (!heap)
        fail("no named heap is to be had: %s", HEAP_ERROR);
    heap_publish(heap, fill(heap));
    heap_close_named(heap);
}

/* In a process of its own each time, which pays for all that it has not yet touched. */
static void attach_once(void *work)
{
    bool read_only = *(bool *)work;
    struct watch watch = start();
    void *heap = heap_open_named(read_only);
    watch = stop(watch);
    if (!heap)
        fail("the heap cannot be opened: %s", HEAP_ERROR);
    char *block = heap_find(heap);
    if (!block || block[BLOCK - 1] != 1)
        fail("the heap has not the block that was left in it");
    emit(read_only ? "read" : "write", "us", watch.wall / 1e3);
    heap_close_named(heap);
}

void case_attach(void)
{
    bool good = in_child(fill_named, NULL);
    for (int i = 0; good && i < ATTACHES; i++)
        good = in_child(attach_once, &(bool){false}) && in_child(attach_once, &(bool){true});
    heap_unlink_named();
    if (!good)
        fail("a process could not fill the heap or attach to it");
}

void case_smallest(void)
{
    void *heap = new_heap();
    memset(new_block(heap, 64), 1, 64);
    emit("memory", "KiB", heap_footprint(heap) / 1024);
    heap_destroy(heap);
}
