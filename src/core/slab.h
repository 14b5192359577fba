/* SPDX-License-Identifier: MIT */
/* slab: what can be done to one slab. Used by core and recovery; nothing here knows bins. */
#ifndef CAIRN_CORE_SLAB_H
#define CAIRN_CORE_SLAB_H

#include "core/core.h"

/* How many live words the header places of a span have room for; as many for elsewhere stand behind them. */
ALWAYS_INLINE uint32_t slab_words_max(const struct section *section, uint32_t span_units)
{
    uint64_t bytes = (uint64_t)span_units * section->span_stride - sizeof(struct span_image);
    return (uint32_t)min_u64(bytes / (2 * sizeof(uint64_t)), SPAN_WORDS_MAX);
}

/*
 * How many live words a slab of so many blocks uses. One more than there are blocks, where there is room: an address
 * behind the last block is looked up, too, and is not live.
 */
ALWAYS_INLINE uint32_t slab_words(const struct section *section, const struct slab_geometry *geometry)
{
    uint32_t words = geometry->blocks / 64 + 1;
    return (uint32_t)min_u64(words, slab_words_max(section, geometry->span_units));
}

/* offset * this >> 32 is the index of the block that the offset lies in. */
ALWAYS_INLINE uint32_t slab_reciprocal(uint32_t block_bytes)
{
    return (uint32_t)(((UINT64_C(1) << 32) + block_bytes - 1) / block_bytes);
}

/* From the header to the last word that a slab uses. */
ALWAYS_INLINE uint64_t slab_header_bytes(const struct section *section, const struct slab_geometry *geometry)
{
    uint64_t words = slab_words_max(section, geometry->span_units) + slab_words(section, geometry);
    return sizeof(struct span_image) + words * sizeof(uint64_t);
}

/* Makes the header of a span that is TAKEN into that of a slab without any block ready. */
void slab_init(const struct section *section, struct span_image *slab, uint32_t size_class,
               const struct slab_geometry *geometry);

/* Makes all blocks that are ready free. */
void slab_clear(struct span_image *slab);

/* Where the slack of a block stands, in a slab of a heap with exact sizes. */
ALWAYS_INLINE unsigned char *slab_slack(unsigned char *first_block, const struct span_image *slab, uint32_t index)
{
    uint32_t block_bytes = load_relaxed(&slab->block_bytes);
    return first_block + (size_t)load_relaxed(&slab->blocks) * block_bytes + (size_t)index * slack_width(block_bytes);
}

/* How many words hold ready blocks. */
ALWAYS_INLINE uint32_t slab_words_ready(const struct span_image *slab)
{
    uint32_t words = (load_relaxed(&slab->ready) + 63) / 64;
    return words <= SPAN_WORDS_MAX ? words : SPAN_WORDS_MAX;
}

/* Of the owner: frees what was freed elsewhere, but for blocks that a hand names. Returns how many. */
uint32_t slab_drain(const struct section *section, uint32_t unit, struct span_image *slab);

/* The bits of a word whose blocks are ready. */
ALWAYS_INLINE uint64_t ready_bits(uint32_t ready, uint32_t word)
{
    return ready <= word * 64 ? 0 : bits_below(ready - word * 64);
}

/* Of the owner: finds a word with free blocks, and returns them, and its number; 0 when none has. */
ALWAYS_INLINE uint64_t slab_find_free(struct span_image *slab, uint32_t *ret_word)
{
    const atomic_u64 *live = span_live(slab);
    uint32_t count = slab_words_ready(slab);
    uint32_t k = slab->word_cursor;
    for (uint32_t tried = 0; tried < count; tried++, k++) {
        if (k >= count)
            k = 0;
        uint64_t free = ~load_relaxed(&live[k]);
        if (LIKELY(free == 0))
            continue;
        free &= ready_bits(load_relaxed(&slab->ready), k);
        free &= ~load_acquire(&span_elsewhere(slab)[k]); /* of one who is being found out freeing twice */
        if (free == 0)
            continue;
        slab->word_cursor = (uint16_t)k;
        *ret_word = k;
        return free;
    }
    return 0;
}

/* Of the owner, whose number is by: makes more blocks ready, a word's worth or a page's. 0: all were before; negative:
 * no memory. */
int slab_extend(struct section *section, uint32_t by, uint32_t unit, struct span_image *slab);

/* Whether the unit's header can be a slab's: what came from a file is believed no sooner. */
bool slab_is_sound(const struct section *section, uint32_t unit);

/* Whether a sound slab is one of a heap whose sizes are exact, or are not. */
bool slab_fits(const struct section *section, uint32_t unit, bool exact);

/* Of the owner or the recoverer of a dead one: brings the bits into the state that an adopter may start from. */
void slab_normalise(struct span_image *slab);

/* The last step of an owner that leaves, or of its recovery: the slab, whose word this is, becomes an orphan. */
void slab_make_orphan(struct section *section, uint32_t unit, uint64_t word);

/* Blocks whose live bit is set, also where others freed them and the owner does not know yet. */
uint32_t slab_taken(struct span_image *slab);

/* Blocks that are out; a view that may be a moment old. */
uint32_t slab_live(const struct span_image *slab);
ALWAYS_INLINE uint64_t slab_live_word(const struct span_image *slab, uint32_t word)
{
    const atomic_u64 *live = (const atomic_u64 *)(const void *)(slab + 1);
    /* A drain clears live first: whoever finds the bit gone from elsewhere finds it gone from live. */
    uint64_t gone = load_acquire(&live[word + load_relaxed(&slab->elsewhere_at)]);
    return load_acquire(&live[word]) & ~gone;
}

#endif
