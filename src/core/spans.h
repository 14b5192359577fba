/* SPDX-License-Identifier: MIT */
/* spans: taking and giving back runs of units. Used by core and recovery. */
#ifndef CAIRN_CORE_SPANS_H
#define CAIRN_CORE_SPANS_H

#include "core/core.h"

/* A span that is being built: its units are TAKEN by the owner. */
struct span_taken {
    uint32_t unit;
    uint32_t units;
    bool is_zero; /* every byte of it reads as zero once committed */
};

/*
 * Charges the heap and takes `units` consecutive FREE units for it, as it is in that life, the first at a multiple of
 * alignment_bytes. life is that of the bins which the span is for: another thread may have moved the handle on since.
 * -EDQUOT: the heap's limit; -ENOSPC: the section has no such run; -ENOMEM: no memory for the unit words; -EAGAIN: the
 * heap is in another life.
 */
int span_take(struct core_owner *owner, const struct core_heap *heap, uint32_t life, uint32_t units,
              uint64_t alignment_bytes, struct span_taken *ret_span);

/*
 * Whether a heap is not in that life any more, to be asked behind a store that names the unit for it: either this sees
 * that the heap was stopped, or who stopped it sees the unit. (Stopped by a private heap's lock it is its holder's.)
 */
ALWAYS_INLINE bool span_is_late(const struct section *section, uint32_t heap, uint64_t life)
{
    fence_behind_change(); /* the CAS that took the unit */
    uint64_t now = load_relaxed(&section_heap(section, heap)->life);
    return now != life && now != LIFE_LOCKED;
}

/*
 * Commits memory of a span that is by's, widened to the section's step: also over units that are others'. by's record
 * names those pages meanwhile, so that nobody gives the memory back between it and its mark.
 */
int span_commit(struct section *section, uint32_t by, uint64_t offset, uint64_t bytes);

/* Makes memory and marks of units agree, whose memory somebody was killed giving back. */
void span_settle_memory(struct section *section, uint32_t unit, uint32_t units);

/* Takes that one unit, if it is FREE and was used; false when it is not, or the heap may not have it. */
bool span_take_unit(struct core_owner *owner, const struct core_heap *heap, uint32_t life, uint32_t unit,
                    struct span_taken *ret_span);

/* Makes a span that is TAKEN the heap's to take again: KEPT. */
void span_set_aside(struct core_owner *owner, const struct core_heap *heap, const struct span_taken *span);

/* Gives a span that is TAKEN back as it was. */
void span_put_back(struct core_owner *owner, const struct core_heap *heap, const struct span_taken *span);

/* Turns a taken span into a live one: tails, then the head's word, which commits it. The header is complete before. */
void span_publish(struct core_owner *owner, const struct span_taken *span, uint64_t head_word);

/*
 * Lengthens a live span in place, if the units behind it are free: TAKEN, TAIL, then the store of span_units in the
 * header commits. Killed before, recovery finds TAILs outside their head's span and frees them.
 */
bool span_extend(struct core_owner *owner, const struct core_heap *heap, uint32_t head, uint32_t units,
                 uint32_t units_new);

/*
 * Frees the units of a span whose head the owner has made FREEING: tails first, the head last. Uncharges the heap. by
 * is the number of the owner in whose name it is done, here and below.
 */
void span_free(struct section *section, uint32_t by, uint32_t unit, uint32_t units, uint32_t heap);

/*
 * The same for several spans of a heap, which is uncharged once, in the end. In between, heads that the owner has made
 * FREEING, and single units that are its own, are freed; killed there, it leaves a heap that is charged too much, and
 * recovery counts it again. lowest is the first unit of all that were freed.
 */
void span_free_begin(struct section *section, uint32_t by, uint32_t heap);
void span_free_units(struct section *section, uint32_t unit, uint32_t units);
void span_free_end(struct section *section, uint32_t by, uint32_t heap, uint32_t lowest, uint64_t units);

/*
 * Shortens a live span in place: the units that are to go are renamed to this owner's TAILs, then the store of
 * span_units commits, then they are freed. Killed in between, recovery finds TAILs of the dead that their head does not
 * reach.
 */
void span_shorten(struct core_owner *owner, uint32_t heap, uint32_t head, uint32_t units, uint32_t units_new);

/* Frees one unit from exactly that word, and uncharges its heap; false when it was another word by then. */
bool span_free_unit(struct section *section, uint32_t by, uint32_t unit, uint64_t word);

/* Frees the TAILs of head in [first, end), where its span does not reach any more; those of others are left alone. */
void span_free_tails(struct section *section, uint32_t by, uint32_t head, uint32_t first, uint32_t end);

/* Whether a heap is whole, or a part of it, however far down; 0 stands for all heaps. */
bool heap_is_part_of(const struct section *section, uint32_t heap, uint32_t whole);

/*
 * Counts what a heap and its parents have, or (RECOUNT_ALL) every heap, after an owner was killed while the counter and
 * the units differed. False when others worked all the while: then the counters stay, too high, never too low.
 */
bool span_recount(struct section *section, uint64_t heap);

/* Makes words for the units behind the last one over which commits were widened, so that their memory can be given
 * back.
 */
void span_reach_committed(struct section *section);

/* Gives the memory of free units in [first, end) back, when they can be taken meanwhile; returns the bytes. */
uint64_t span_decommit(struct core_owner *owner, uint32_t first, uint32_t end);

#endif
