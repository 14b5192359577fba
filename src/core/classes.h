/* SPDX-License-Identifier: MIT */
/*
 * Size classes: steps of 16 bytes to 256, then eight to each doubling, up to 32 KiB; at most an eighth of a block is
 * lost to rounding. A class's slab geometry follows from its block size and the section's unit size alone.
 */
#ifndef CAIRN_CORE_CLASSES_H
#define CAIRN_CORE_CLASSES_H

#include "base/base.h"

enum {
    CLASS_COUNT = 72,
    CLASS_BYTES_MAX = 32 << 10,
    CLASS_LINEAR_MAX = 256, /* steps of 16 up to here */
    CLASS_TABLE_MAX = 1024, /* sizes up to here are looked up */
    SLAB_BLOCKS_MAX = 4096, /* 64 KiB of 16 bytes */
};

/* Class of (size + 15) / 16, for sizes up to CLASS_TABLE_MAX. */
extern const uint8_t class_table[CLASS_TABLE_MAX / 16 + 1];

ALWAYS_INLINE uint32_t class_compute(size_t size)
{
    if (size <= CLASS_LINEAR_MAX)
        return size <= 16 ? 0 : (uint32_t)((size + 15) / 16 - 1);
    uint32_t log2 = bit_highest(size - 1); /* at least 8 */
    return 16 + (log2 - 8) * 8 + (uint32_t)((size - 1) >> (log2 - 3) & 7);
}

/* The class of a size of at most CLASS_BYTES_MAX. */
ALWAYS_INLINE uint32_t class_of(size_t size)
{
    return size <= CLASS_TABLE_MAX ? class_table[(size + 15) / 16] : class_compute(size);
}

ALWAYS_INLINE uint32_t class_bytes(uint32_t size_class)
{
    if (size_class < 16)
        return (size_class + 1) * 16;
    uint32_t log2 = 8 + (size_class - 16) / 8;
    return (8 + (size_class - 16) % 8 + 1) << (log2 - 3);
}

/* The largest size that is cut from slabs; above it a block is a span by itself. */
ALWAYS_INLINE size_t class_slab_max(uint32_t unit_shift)
{
    return min_u64(CLASS_BYTES_MAX, UINT64_C(4) << unit_shift);
}

struct slab_geometry {
    uint32_t block_bytes;
    uint32_t span_units;
    uint32_t blocks;
};

/*
 * Where sizes are exact, each block's slack (granted minus requested bytes) stands behind the slab's last block, in
 * this many bytes.
 */
#define SLACK_WIDE 2048
ALWAYS_INLINE uint32_t slack_width(uint32_t block_bytes)
{
    return block_bytes < SLACK_WIDE ? 1 : 2;
}

/*
 * At least four blocks to a slab (two of those that are larger than a unit). Units of the largest size: as few as leave
 * at most an eighth of the slab unused, since blocks in the first unit are freed fastest. Smaller units are of small
 * sections, where room matters: as few of up to eight as leave at most a thirty-second unused, or else those that leave
 * least.
 */
ALWAYS_INLINE struct slab_geometry slab_geometry_of(uint32_t size_class, uint32_t unit_shift, bool exact)
{
    uint32_t block_bytes = class_bytes(size_class);
    uint32_t unit_bytes = 1u << unit_shift;
    uint32_t blocks_min = block_bytes > unit_bytes ? 2 : 4;
    uint32_t each = block_bytes + (exact ? slack_width(block_bytes) : 0);
    uint32_t allowed = unit_shift == 16 ? 8 : 32; /* one part in so many may be unused */
    struct slab_geometry best = {0};
    uint64_t least = UINT64_MAX; /* unused bytes of the best, for each unit of a million */
    for (uint32_t units = 1; units <= 8 || best.blocks == 0; units++) {
        uint32_t bytes = units << unit_shift;
        uint32_t blocks = bytes / each;
        uint64_t unused = bytes - blocks * each;
        bool little = unused * allowed <= bytes; /* then the search ends: it is less than what was too much before */
        uint64_t share = little && units == 1 ? 0 : (unused << 20) / units; /* the first is compared with nothing */
        if (blocks < blocks_min || share >= least)
            continue;
        least = share;
        best = (struct slab_geometry){.block_bytes = block_bytes, .span_units = units, .blocks = blocks};
        if (little)
            break;
    }
    return best;
}

#endif
