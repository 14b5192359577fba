/* SPDX-License-Identifier: MIT */
/* The shortest paths: a block is taken and given back at once, from one heap or from many in turn. */
#include "cases.h"
#include "heap.h"

#define BLOCK 64
#define BATCH 100
#define HEAPS_MAX 256

static void use(void *block)
{
    *(volatile char *)block = 1;
    KEEP(block);
}

/* Some blocks stay, so that a pair never empties the heap and fills it again. */
static void *heap_in_use(void)
{
    void *heap = new_heap();
    for (int i = 0; i < 8; i++)
        use(new_block(heap, BLOCK));
    return heap;
}

static void pairs(void *heap, long count)
{
    for (long i = 0; i < count; i++) {
        void *block = heap_alloc(heap, BLOCK);
        use(block);
        heap_free(heap, block);
    }
}

void case_pair(void)
{
    repeat("cpu", pairs, heap_in_use(), 1);
}

static void batches(void *heap, long count)
{
    void *blocks[BATCH];
    for (long i = 0; i < count; i++) {
        for (int k = 0; k < BATCH; k++) {
            blocks[k] = heap_alloc(heap, BLOCK);
            use(blocks[k]);
        }
        for (int k = 0; k < BATCH; k++)
            heap_free(heap, blocks[k]);
    }
}

void case_batch(void)
{
    repeat("cpu", batches, heap_in_use(), BATCH);
}

struct ring {
    void *heaps[HEAPS_MAX];
    int count; /* a power of two */
};

static void pairs_in_turn(void *state, long count)
{
    struct ring *ring = state;
    for (long i = 0; i < count; i++) {
        void *heap = ring->heaps[i & (ring->count - 1)];
        void *block = heap_alloc(heap, BLOCK);
        use(block);
        heap_free(heap, block);
    }
}

static void rotate(int heap_count)
{
    struct ring *ring = pages(sizeof *ring);
    ring->count = heap_count;
    for (int i = 0; i < heap_count; i++)
        ring->heaps[i] = heap_in_use();
    repeat("cpu", pairs_in_turn, ring, 1);
}

void case_rotate_1(void)
{
    rotate(1);
}

void case_rotate_2(void)
{
    rotate(2);
}

void case_rotate_16(void)
{
    rotate(16);
}

void case_rotate_256(void)
{
    rotate(256);
}
