/* SPDX-License-Identifier: MIT */
/* Heaps that are made, filled and destroyed as a whole. */
#include "cases.h"
#include "heap.h"

#define BLOCK 64
#define HEAPS 10000
#define BLOCKS_PER_HEAP 10
#define FRESH 1000000
#define LIFE_MAX 100000

/* Where an allocator cannot destroy a heap with its blocks, its user frees them one by one. */
static void end_heap(void *heap, void **blocks, int count)
{
    if (!HEAP_HAS(HEAP_DESTROYS))
        for (int i = 0; i < count; i++)
            heap_free(heap, blocks[i]);
    heap_destroy(heap);
}

struct life {
    int count;
    void **blocks;
};

static void live(void *state, long count)
{
    struct life *life = state;
    for (long i = 0; i < count; i++) {
        void *heap = new_heap();
        for (int k = 0; k < life->count; k++) {
            life->blocks[k] = new_block(heap, sizes[(i + k) % SIZES]);
            *(volatile char *)life->blocks[k] = 1;
        }
        end_heap(heap, life->blocks, life->count);
    }
}

static void live_with(int count, double operations)
{
    struct life life = {count, pages(LIFE_MAX * sizeof(void *))};
    repeat("cpu", live, &life, operations);
}

void case_life_10(void)
{
    live_with(10, 1);
}

void case_life_1000(void)
{
    live_with(1000, 1000);
}

void case_life_100000(void)
{
    live_with(100000, 100000);
}

static void fill_each(void **heaps)
{
    for (int i = 0; i < HEAPS; i++)
        for (int k = 0; k < BLOCKS_PER_HEAP; k++)
            for (char *block = new_block(heaps[i], BLOCK), *byte = block; byte < block + BLOCK; byte++)
                *byte = 1;
}

void case_many(void)
{
    void **heaps = pages(HEAPS * sizeof *heaps);
    double before = resident(), before_space = address_space();

    heaps[0] = new_heap(); /* may set up what all the others share */
    double first_space = address_space();
    struct watch watch = start();
    for (int i = 1; i < HEAPS; i++)
        heaps[i] = new_heap();
    emit("create", "ns", stop(watch).cpu / (HEAPS - 1));

    watch = start();
    fill_each(heaps);
    emit("first", "ns", stop(watch).cpu / HEAPS);
    emit("resident", "KiB", (resident() - before) / HEAPS / 1024);
    emit("space", "KiB", (address_space() - before_space) / HEAPS / 1024);
    emit("more", "KiB", (address_space() - first_space) / (HEAPS - 1) / 1024);

    watch = start();
    for (int i = 0; i < HEAPS; i++)
        heap_destroy(heaps[i]);
    emit("destroy", "ns", stop(watch).cpu / HEAPS);
    emit("left", "MiB", (resident() - before) / MIB);
}

void case_fresh(void)
{
    void **blocks = pages(FRESH * sizeof *blocks);
    double before = HEAP_HAS(HEAP_MEASURES) ? 0 : resident();
    void *heap = new_heap();

    struct watch watch = start();
    for (int i = 0; i < FRESH; i++) {
        blocks[i] = new_block(heap, BLOCK);
        *(volatile char *)blocks[i] = 1;
    }
    emit("cpu", "ns", stop(watch).cpu / FRESH);
    emit("memory", "B", (heap_footprint(heap) - before) / FRESH);

    watch = start();
    end_heap(heap, blocks, FRESH);
    emit("destroy", "ns", stop(watch).cpu / FRESH);
}
