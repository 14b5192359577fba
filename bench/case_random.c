/* SPDX-License-Identifier: MIT */
/* A heap that holds many blocks of many sizes, of which one at random is exchanged for another, again and again. */
#include "cases.h"
#include "heap.h"

#include <string.h>

#define AGING 10 /* exchanges per block before anything is measured */

struct working_set {
    void *heap;
    void **blocks;
    uint16_t *lengths;
    uint32_t count;
    uint64_t seed;
};

static void exchange(void *state, long count)
{
    struct working_set *set = state;
    uint64_t seed = set->seed;
    for (long i = 0; i < count; i++) {
        uint64_t random = next_random(&seed);
        uint32_t slot = (uint32_t)random % set->count;
        heap_free(set->heap, set->blocks[slot]);
        set->lengths[slot] = (uint16_t)random_size(random);
        set->blocks[slot] = new_block(set->heap, set->lengths[slot]);
        *(uint64_t *)set->blocks[slot] = random;
    }
    set->seed = seed;
}

/* Returns how many bytes the blocks were asked to hold. */
static double touch_all(struct working_set *set)
{
    double bytes = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        memset(set->blocks[i], 1, set->lengths[i]);
        bytes += set->lengths[i];
    }
    return bytes;
}

static void emit_memory(const char *metric, struct working_set *set, double before)
{
    double live = touch_all(set);
    emit(metric, "x", (heap_footprint(set->heap) - before) / live);
}

static void random_exchange(uint32_t count)
{
    struct working_set set = {.count = count, .seed = 42};
    set.blocks = pages(count * sizeof *set.blocks);
    set.lengths = pages(count * sizeof *set.lengths);
    memset(set.blocks, 0, count * sizeof *set.blocks); /* our tables are not the heap's weight */
    memset(set.lengths, 0, count * sizeof *set.lengths);
    double before = HEAP_HAS(HEAP_MEASURES) ? 0 : resident();
    set.heap = new_heap();
    for (uint32_t i = 0; i < count; i++) {
        set.lengths[i] = (uint16_t)random_size(next_random(&set.seed));
        set.blocks[i] = new_block(set.heap, set.lengths[i]);
    }
    emit_memory("new", &set, before);
    exchange(&set, (long)count * AGING);
    emit_memory("aged", &set, before);
    repeat("cpu", exchange, &set, 1);
}

void case_random(void)
{
    random_exchange(100000);
}

void case_random_small(void)
{
    random_exchange(10000);
}
