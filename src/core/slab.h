/* SPDX-License-Identifier: MIT */
/* slab: what can be done to one slab. Used by core and recovery; nothing here knows bins. */
#ifndef CAIRN_CORE_SLAB_H
#define CAIRN_CORE_SLAB_H

#include "core/core.h"

/* Makes the header of a span that is TAKEN into that of a slab without any block ready. */
void slab_init(struct span_image *slab, uint32_t size_class, const struct slab_geometry *geometry);

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
    return words <= SLAB_WORDS_MAX ? words : SLAB_WORDS_MAX;
}

/* Of the owner: moves what was freed elsewhere to free, but for blocks that a hand names. Returns how many. */
uint32_t slab_drain(const struct section *section, uint32_t unit, struct span_image *slab);

/* Of the owner, while the claim is empty: claims a word that has free blocks; returns its index, -1 when none has. */
int32_t slab_take_word(struct span_image *slab);

/*
 * Of the owner: puts more blocks into free, of a word's worth or a page's. 0: all were ready before; negative: no
 * memory.
 */
int slab_extend(struct section *section, uint32_t unit, struct span_image *slab);

/* Of the owner: puts the claim back into free. */
void slab_unclaim(struct span_image *slab);

/* Of the owner or the recoverer of a dead one: brings the bits into the state that an adopter may start from. */
void slab_normalise(struct span_image *slab);

/* The last step of an owner that leaves, or of its recovery: the slab, whose word this is, becomes an orphan. */
void slab_make_orphan(struct section *section, uint32_t unit, uint64_t word);

/* Blocks that are ready and have no bit in free; exact for the owner. */
uint32_t slab_taken(const struct span_image *slab);

/* Blocks that are allocated: in none of free, claim, elsewhere; a view that may be a moment old. */
uint32_t slab_live(const struct span_image *slab);
uint64_t slab_live_word(const struct span_image *slab, uint32_t word);

#endif
