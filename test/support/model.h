/* SPDX-License-Identifier: MIT */
/*
 * model: what a heap should hold, kept the simple way: a sorted table of blocks, each filled with a pattern of its own.
 * Calls that find something wrong print it and return false.
 */
#ifndef CAIRN_TEST_MODEL_H
#define CAIRN_TEST_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model_block {
    unsigned char *address;
    size_t size;
    uint64_t seed;
};

struct model {
    struct model_block *blocks; /* by address */
    size_t count;
    size_t capacity;
    uint64_t next_seed;
};

/* Short contents are written whole; of long ones both ends and a word in each 4 KiB. */
void pattern_fill(void *block, size_t size, uint64_t seed);
bool pattern_holds(const void *block, size_t size, uint64_t seed);

/* Checks the first `kept` bytes of a block that was filled at a size that was perhaps another. */
bool pattern_holds_part(const void *block, size_t filled, size_t kept, uint64_t seed);

bool bytes_are_zero(const void *block, size_t size);

/* Adds a block and fills it; false when it overlaps another. Blocks are at least one byte for the model. */
bool model_add(struct model *model, void *block, size_t size);

/* Takes the block at an index out; false when its contents have changed. */
bool model_take(struct model *model, size_t index, struct model_block *ret_block);

/* The index of a block, model->count when there is none. */
size_t model_find(const struct model *model, const void *block);

/* Whether all contents are as they were. */
bool model_holds(const struct model *model);

void model_end(struct model *model);

#endif
