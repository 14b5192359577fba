/* SPDX-License-Identifier: MIT */
#include "support/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WHOLE_MAX = 8192,
    EDGE = 2048,
    STRIDE = 4096,
};

/* ---------------------------------------------------------------- patterns */

static unsigned char pattern_byte(size_t offset, uint64_t seed)
{
    return (unsigned char)((offset * 31 + seed * 167 + (offset >> 8)) ^ seed >> 7);
}

static void fill_range(unsigned char *block, size_t from, size_t to, uint64_t seed)
{
    for (size_t i = from; i < to; i++)
        block[i] = pattern_byte(i, seed);
}

static bool range_holds(const unsigned char *block, size_t from, size_t to, uint64_t seed)
{
    for (size_t i = from; i < to; i++) {
        if (block[i] != pattern_byte(i, seed)) {
            fprintf(stderr, "block %p: byte %zu is %#x, not %#x of seed %llu\n", (const void *)block, i, block[i],
                    pattern_byte(i, seed), (unsigned long long)seed);
            return false;
        }
    }
    return true;
}

void pattern_fill(void *block, size_t size, uint64_t seed)
{
    if (size <= WHOLE_MAX) {
        fill_range(block, 0, size, seed);
        return;
    }
    fill_range(block, 0, EDGE, seed);
    for (size_t at = STRIDE; at + 8 <= size; at += STRIDE)
        fill_range(block, at, at + 8, seed);
    fill_range(block, size - EDGE, size, seed);
}

bool pattern_holds_part(const void *block, size_t filled, size_t kept, uint64_t seed)
{
    if (filled <= WHOLE_MAX)
        return range_holds(block, 0, kept, seed);
    if (!range_holds(block, 0, kept < EDGE ? kept : EDGE, seed))
        return false;
    for (size_t at = STRIDE; at + 8 <= filled && at + 8 <= kept; at += STRIDE) {
        if (!range_holds(block, at, at + 8, seed))
            return false;
    }
    return kept <= filled - EDGE || range_holds(block, filled - EDGE, kept, seed);
}

bool pattern_holds(const void *block, size_t size, uint64_t seed)
{
    return pattern_holds_part(block, size, size, seed);
}

bool bytes_are_zero(const void *block, size_t size)
{
    const unsigned char *bytes = block;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            fprintf(stderr, "block %p: byte %zu of %zu is %#x, not zero\n", block, i, size, bytes[i]);
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- the table */

/* The first index whose block lies at or above an address. */
static size_t lower_bound(const struct model *model, const unsigned char *address)
{
    size_t low = 0, high = model->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (model->blocks[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static size_t extent(const struct model_block *block)
{
    return block->size != 0 ? block->size : 1;
}

static bool overlap(const struct model_block *low, const struct model_block *high)
{
    if (low->address + extent(low) <= high->address)
        return false;
    fprintf(stderr, "blocks overlap: %p of %zu bytes and %p of %zu\n", (void *)low->address, low->size,
            (void *)high->address, high->size);
    return true;
}

bool model_add(struct model *model, void *block, size_t size)
{
    if (model->count == model->capacity) {
        model->capacity = model->capacity != 0 ? model->capacity * 2 : 256;
        model->blocks = realloc(model->blocks, model->capacity * sizeof *model->blocks);
        if (model->blocks == NULL)
            abort();
    }
    struct model_block added = {.address = block, .size = size, .seed = ++model->next_seed};
    size_t at = lower_bound(model, added.address);
    if ((at > 0 && overlap(&model->blocks[at - 1], &added)) ||
        (at < model->count && overlap(&added, &model->blocks[at])))
        return false;
    memmove(&model->blocks[at + 1], &model->blocks[at], (model->count - at) * sizeof added);
    model->blocks[at] = added;
    model->count++;
    pattern_fill(block, size, added.seed);
    return true;
}

bool model_take(struct model *model, size_t index, struct model_block *ret_block)
{
    struct model_block taken = model->blocks[index];
    model->count--;
    memmove(&model->blocks[index], &model->blocks[index + 1], (model->count - index) * sizeof taken);
    *ret_block = taken;
    return pattern_holds(taken.address, taken.size, taken.seed);
}

size_t model_find(const struct model *model, const void *block)
{
    size_t at = lower_bound(model, block);
    return at < model->count && model->blocks[at].address == block ? at : model->count;
}

bool model_holds(const struct model *model)
{
    for (size_t i = 0; i < model->count; i++) {
        if (!pattern_holds(model->blocks[i].address, model->blocks[i].size, model->blocks[i].seed))
            return false;
    }
    return true;
}

void model_end(struct model *model)
{
    free(model->blocks);
    *model = (struct model){0};
}
