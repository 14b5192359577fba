/* SPDX-License-Identifier: MIT */
/*
 * layout: the bytes of a section as every process, this build's and the next one's, sees them.
 *
 * Dictionary. A *section* is a growable block of address space in two parts: *meta*, which is ours, and *units*, which
 * hold the user's bytes. A *unit* is the smallest piece that the unit map counts, 2^unit_shift bytes. A *span* is a run
 * of units; a *slab* is a span cut into equal *blocks*; a *large* block is a span by itself. An *owner* is one thread
 * of one process that allocates from the section. A *ref* is an offset from the section's first byte: equal in every
 * process, 0 for none. Nothing in an image is a pointer.
 *
 *     section     = meta, units
 *     meta        = header, commit bits, processes, owners, heaps, roots, unit words, slab headers
 *     unit        = (address - units) >> unit_shift
 *     live blocks of a slab  =  bits of live[0..n) without those of elsewhere[0..n)
 *
 * Truth lives in arrays of single words. A change that takes more than one store names its taker in the word that it
 * takes, or in the owner's hand, before it begins; each has exactly one store that commits it. Whatever is marked
 * "hint" may be wrong or lost and is rebuilt from the truth.
 *
 * All zero is a valid state of every table: fresh committed memory needs no initialisation.
 */
#ifndef CAIRN_SECTION_LAYOUT_H
#define CAIRN_SECTION_LAYOUT_H

#include "base/base.h"

#define IMAGE_VERSION 3u
#define IMAGE_BYTE_ORDER 0x01020304u
/* Bytes 8f 'c' 'a' 'i' 'r' 'n' 1a 0a: no text file begins like this. */
#define IMAGE_MAGIC UINT64_C(0x0a1a6e726961638f)

enum {
    UNIT_SHIFT_MIN = 10,
    UNIT_SHIFT_MAX = 16,
    SPAN_STRIDE_MAX = 64 + (1 << UNIT_SHIFT_MAX) / 64, /* of units of the largest size: header and words */
    SPAN_WORDS_MAX = 64,                               /* live words of a slab, and as many for elsewhere */
    UNITS_LIMIT = 1 << 24,                             /* a TAIL names its head in 24 bits */
    OWNERS_LIMIT = 65534,                              /* 16 bits without 0 (nobody) and 0xffff (the heap itself) */
    HEAPS_LIMIT = (1 << 20) - 1,                       /* 20 bits without 0 (no heap) */
    ROOTS_LIMIT = 1024,
    PROCESSES_LIMIT = 4096,
    ROOT_NAME_BYTES = 48,
    NEWS_WORDS = 64, /* one bit per unit, modulo 4096 */
};

/*
 * Unit word: the truth about who has what.
 *
 *     bits    field
 *     63..60  state
 *     59..44  owner: the taker while TAKEN, FREEING or TAIL; the owning thread of a SLAB; of LARGE the thread that got
 *             it, 0 when that has left or died; 0 for ORPHAN
 *     43..24  heap
 *     23..0   life of the heap (SLAB, ORPHAN, LARGE, TAKEN, FREEING); number of the head unit (TAIL);
 *             FREE: UNIT_FREE_USED, UNIT_FREE_RETURNED
 *
 *     FREE -> TAKEN     one CAS by the taker, unit by unit in ascending order
 *     TAKEN -> TAIL     plain stores by the taker, all but the head
 *     TAKEN -> SLAB, LARGE   the head's store: commits the span
 *     SLAB -> ORPHAN    the owner leaves, or recovery; ORPHAN -> SLAB by the adopter's CAS
 *     LARGE -> LARGE without owner   a CAS when the owner leaves, or by recovery
 *     LARGE, SLAB -> FREEING   one CAS: commits the end of the span; a second free of a large block fails here
 *     TAIL -> FREE      then the head, last: FREEING -> FREE
 *     KEPT -> TAKEN     as FREE -> TAKEN, by an owner of that heap
 *
 * A word equals SLAB|me|my heap|its life exactly when the block is mine, local, and in the right heap as it lives now:
 * one comparison decides the fast path of free.
 */
enum unit_state {
    UNIT_FREE = 0,
    UNIT_TAKEN = 1,
    UNIT_SLAB = 2,
    UNIT_ORPHAN = 3,
    UNIT_LARGE = 4,
    UNIT_TAIL = 5,
    UNIT_FREEING = 6,
    UNIT_KEPT = 7, /* free, committed, and only this heap's to take: its bytes_start; charged to it already */
};

#define UNIT_LIFE_MASK UINT64_C(0xffffff)
#define UNIT_HEAP_SHIFT 24
#define UNIT_HEAP_BITS 20
#define UNIT_HEAP_MASK UINT64_C(0xfffff)
#define UNIT_OWNER_SHIFT 44
#define UNIT_OWNER_MASK UINT64_C(0xffff)
#define UNIT_STATE_SHIFT 60
#define UNIT_FREE_USED UINT64_C(1)     /* FREE only: the bytes may be other than zero */
#define UNIT_FREE_RETURNED UINT64_C(2) /* FREE only: there were blocks here once; the memory was given back */

ALWAYS_INLINE uint64_t unit_word(enum unit_state state, uint32_t owner, uint32_t heap, uint64_t life_or_head)
{
    return (uint64_t)state << UNIT_STATE_SHIFT | (uint64_t)owner << UNIT_OWNER_SHIFT |
           (uint64_t)heap << UNIT_HEAP_SHIFT | (life_or_head & UNIT_LIFE_MASK);
}

ALWAYS_INLINE enum unit_state unit_state_of(uint64_t word)
{
    return (enum unit_state)(word >> UNIT_STATE_SHIFT);
}

ALWAYS_INLINE uint32_t unit_owner_of(uint64_t word)
{
    return (uint32_t)(word >> UNIT_OWNER_SHIFT & UNIT_OWNER_MASK);
}

ALWAYS_INLINE uint32_t unit_heap_of(uint64_t word)
{
    return (uint32_t)(word >> UNIT_HEAP_SHIFT & UNIT_HEAP_MASK);
}

/* The word without its owner. */
ALWAYS_INLINE uint64_t unit_disowned(uint64_t word)
{
    return word & ~(UNIT_OWNER_MASK << UNIT_OWNER_SHIFT);
}

/* The life of the heap, or of a TAIL the number of its head unit. */
ALWAYS_INLINE uint32_t unit_low_of(uint64_t word)
{
    return (uint32_t)(word & UNIT_LIFE_MASK);
}

/*
 * Header of a span, at index `head unit` of the slab-header area. Behind a slab's header follow its words, a bit for
 * each block: first the live words, and from word elsewhere_at on those for frees from elsewhere. The two lie apart
 * because the owner alone writes the first, and everybody the second. They run on into the header places of the span's
 * further units, which the span owns.
 *
 *     live          written by the owner only: set when it hands the block out, cleared when the block is free
 *     elsewhere     set by others with one fetch_or; cleared by the owner's drain, after the live bit
 */
struct span_image {
    atomic_u32 reciprocal;  /* (2^32 + block_bytes - 1) / block_bytes: offset * reciprocal >> 32 is the index */
    uint32_t frees_left;    /* hint of the owner: local frees until it must look at this slab */
    atomic_u32 block_bytes; /* constant while the span lives, as are reciprocal, blocks and elsewhere_at */
    atomic_u32 blocks;
    atomic_u32 ready;        /* blocks [ready, blocks) were never handed out: their memory may not be committed */
    atomic_u32 span_units;   /* how many units the span has */
    atomic_u32 elsewhere_at; /* number of the first word for frees from elsewhere */
    atomic_u8 listed;        /* hint of the owner: where the slab stands in its bin, enum span_listed */
    atomic_u8 size_class;    /* constant while the span lives */
    uint16_t word_cursor;    /* hint of the owner: where the last search for a word ended */
    atomic_u64 serial;       /* tells one span that began here from the next: discards << 32 | a count */
    atomic_u64 large_bytes;  /* LARGE: usable bytes; written before the head's word */
    atomic_u64 exact_bytes;  /* LARGE in a heap with exact sizes: the bytes that were asked for */
    uint64_t huge_bytes;     /* hint, outlives the span: for so many bytes from here huge pages were asked for */
};

/*
 * Owner record: one thread of one process. Written by that thread, by those that send it news, and by its recoverer.
 *
 * word: bits 63..60 state, 59..44 process, 27..0 generation. The generation grows when the record becomes FREE again,
 * which is after everything that named it is gone. The dead are recovered under the kernel's lock on their process's
 * byte, so no state of the record says who is at it.
 *
 * hand: bits 63..60 what the owner is doing, 59..0 the ref of the block it does it to; 0 for nothing. It is stored
 * before the first store of the change, the operands before it, and cleared after the store that commits and before the
 * block's memory can be another's.
 */
enum record_state {
    RECORD_FREE = 0,
    RECORD_LIVE = 1,
    RECORD_PENDING = 2,
};

enum hand_op {
    HAND_NOTHING = 0,
    HAND_FREE = 1,      /* sets the block's bit in elsewhere */
    HAND_ALLOC_TO = 2,  /* takes the block, zeroes it, stores it at hand_dest */
    HAND_FREE_FROM = 3, /* clears hand_dest, then frees the block */
    HAND_RESET = 4,     /* a heap is stopped: hand_life is what to restore */
    HAND_RESIZE = 5,    /* changes a large block's size in place: until then nobody sweeps its span */
};

#define HAND_OP_SHIFT 60
#define HAND_REF_MASK ((UINT64_C(1) << HAND_OP_SHIFT) - 1)

struct owner_image {
    atomic_u64 word;
    uint32_t thread_id; /* for people; never used to decide anything */
    uint32_t reserved;
    atomic_u64 charging; /* heap whose counter and units are being changed; not 0: one may be ahead of the other */
    atomic_u64 has_news; /* hint: not 0 when some word of news is not */
    atomic_u64 recount;  /* of the dead: heap whose counter is to be made right, RECOUNT_ALL, or 0 */
    atomic_u64 widening; /* pages that are being committed, also units of others: first << 32 | end; 0: none */
    uint64_t reserved2[2];
    atomic_u64 hand;       /* a line of its own: others read it in their drains */
    atomic_u64 hand_dest;  /* ref of the pointer to store (shared), or its address (private) */
    atomic_u64 hand_count; /* ALLOC_TO of a large block: its span's serial */
    atomic_u64
        hand_life; /* heap << 32 | the life in which the hand names something: a hand of an earlier life is void */
    uint64_t reserved3[4];
    atomic_u64 news[NEWS_WORDS]; /* hint: slabs of this owner that got frees from elsewhere */
};

#define RECOUNT_ALL UINT64_C(0xffffffff)

#define RECORD_STATE_SHIFT 60
#define RECORD_PROCESS_SHIFT 44
#define RECORD_GENERATION_MASK UINT64_C(0xfffffff)

ALWAYS_INLINE uint64_t record_word(enum record_state state, uint32_t process, uint64_t generation)
{
    return (uint64_t)state << RECORD_STATE_SHIFT | (uint64_t)process << RECORD_PROCESS_SHIFT |
           (generation & RECORD_GENERATION_MASK);
}

ALWAYS_INLINE enum record_state record_state_of(uint64_t word)
{
    return (enum record_state)(word >> RECORD_STATE_SHIFT);
}

ALWAYS_INLINE uint32_t record_process_of(uint64_t word)
{
    return (uint32_t)(word >> RECORD_PROCESS_SHIFT & 0xffff);
}

ALWAYS_INLINE uint64_t record_generation_of(uint64_t word)
{
    return word & RECORD_GENERATION_MASK;
}

/*
 * Process record: one attached process, alive as long as the kernel holds its lock on byte LIVENESS_OFFSET + number of
 * the section's file. word as in the owner record; the rest is for people.
 */
#define LIVENESS_OFFSET (UINT64_C(1) << 62)

struct process_image {
    atomic_u64 word;
    uint32_t process_id;
    uint32_t reserved;
    uint64_t reserved2[6];
};

/*
 * Heap record. life is below 2^24 and changes whenever the heap is reset or destroyed; it stands in the unit words of
 * the heap's spans and in every thread's bins, and what is stale is recognised by it. While the heap is stopped life is
 * the number of the owner that stopped it, above those 24 bits (0 for a private heap's lock): so it fits nothing, and
 * the recovery of one that stopped it never starts a heap that another has stopped since.
 *
 * word: as in the owner record; process is the creator, whose generation lets a bound heap die with it.
 */
struct heap_image {
    atomic_u64 life; /* a line that all readers share and that hardly ever changes */
    atomic_u64 word;
    atomic_u64 options;   /* enum heap_option, constant while the heap lives but for HEAP_BOUND */
    atomic_u64 bytes_max; /* limit of bytes_charged; 0: none */
    uint64_t reserved5;
    atomic_u64 creator_generation;
    atomic_u32 parent; /* number of the heap that it is charged to as well; 0: none */
    uint32_t reserved;
    uint64_t reserved2;
    atomic_u64 bytes_charged; /* bytes of the heap's spans; charged before they are taken, uncharged after
                                 they are FREE: a kill leaves it too high, and recovery counts again */
    atomic_u64 bytes_peak;    /* hint: the largest bytes_charged so far */
    atomic_u64 lock;          /* futex word of the heap's own lock: owner, generation */
    atomic_u32 had_children;  /* not 0 once the heap had a child; which it has now, their records tell */
    atomic_u32 orphans;       /* hint: how many slabs of the heap are ORPHAN */
    atomic_u32 units_low;     /* hint: no unit of the heap is below; ~0 when never used (stored inverted, so 0) */
    atomic_u32 units_high;    /* hint: no unit of the heap is at or above */
    atomic_u64 bytes_kept;    /* hint: in its KEPT units */
    atomic_u32 kept_hint;     /* hint: where the last of them were set aside */
    uint32_t reserved3;
    uint64_t reserved4;
};

/* A bit that no handle's key has: so the check of a stopped heap (core.h) is that of no other. */
#define LIFE_STOPPED (UINT64_C(1) << 62)

/* life, while an owner resets the heap: who does, and the life that it was in. */
ALWAYS_INLINE uint64_t life_stopped_by(uint32_t owner, uint32_t life)
{
    return LIFE_STOPPED | (uint64_t)owner << UNIT_HEAP_SHIFT | life;
}

#define LIFE_LOCKED UINT64_C(0) /* of a private heap, while a thread holds its lock */

ALWAYS_INLINE bool life_is_stopped(uint64_t life)
{
    return life == LIFE_LOCKED || life > UNIT_LIFE_MASK;
}

#define DAMAGED_LIFE (UINT64_C(1) << 32)

enum heap_option {
    HEAP_EXACT_SIZES = 1,
    HEAP_LOCKABLE = 2,
    HEAP_BOUND = 8, /* destroyed when its creator dies; every child is until it has a name */
};

/*
 * Root: a named entry. word: bits 63..60 record_state, 59..40 heap, 39..24 owner (PENDING), 23..0 a count that changes
 * with every new use of the entry, so that a reader knows whether the name it compared belongs to the ref it read.
 */
struct root_image {
    atomic_u64 word;
    char name[ROOT_NAME_BYTES];
    atomic_u64 ref;
};

#define ROOT_HEAP_SHIFT 40
#define ROOT_OWNER_SHIFT 24
#define ROOT_IS_HEAP (UINT64_C(1) << 63) /* in ref: the root names a child heap, see api/heap.c */
#define ROOT_COUNT_MASK UINT64_C(0xffffff)

#define RETAINED_ALL (UINT64_MAX / 2)

/*
 * The header, first in meta. What stands above the checksum is constant from creation and covered by it; an opener
 * reads it with pread, checks it, and only then maps.
 */
struct section_image {
    uint64_t magic;
    uint32_t byte_order;
    uint32_t version;
    uint64_t fingerprint;  /* of this file's sizes and offsets: unlike builds refuse each other */
    uint64_t instance;     /* random: tells two sections of one name apart */
    uint64_t address;      /* where every view begins; 0: anywhere (private and lent) */
    uint64_t bytes_max;    /* of the whole section: view, file, commit limit */
    uint64_t units_offset; /* where the units part begins; the meta part ends there or before */
    uint32_t unit_shift;
    uint32_t page_shift; /* of commit bits: the page size of the creator's system */
    uint32_t units_max;
    uint32_t span_stride; /* bytes from one unit's header place to the next */
    uint32_t processes_max;
    uint32_t owners_max;
    uint32_t heaps_max;
    uint32_t roots_max;
    uint64_t commit_offset; /* offsets of the tables from the section's first byte */
    uint64_t processes_offset;
    uint64_t owners_offset;
    uint64_t heaps_offset;
    uint64_t roots_offset;
    uint64_t unit_words_offset;
    uint64_t spans_offset;
    uint64_t created_at; /* seconds since 1970, for people */
    uint64_t reserved[12];
    uint64_t checksum; /* of everything above */

    atomic_u64 bytes_committed; /* hint: what the commit bits count */
    atomic_u64 bytes_peak;      /* hint */
    atomic_u64 bytes_in_spans;  /* in units that are not FREE; counted as bytes_charged is */
    atomic_u64 charges;         /* grows with every change of such a count */
    atomic_u64 bytes_retained;  /* hint: free memory that is not given back, above 4 MiB: grows with each regret; from
                                   RETAINED_ALL on none is, but when it is asked for */
    atomic_u32 settle_cursor;   /* hint: where giving back goes on */
    uint32_t reserved6;
    atomic_u64 growths;       /* hint: how often memory was committed */
    atomic_u64 attaches;      /* how often a process became one of the section's */
    atomic_u64 damaged;       /* 1 + the unit whose span header contradicts itself, or DAMAGED_LIFE | the heap that
                                 nobody is resetting and that says so; 0: none. The section is refused */
    atomic_u64 clean;         /* attaches + 1: closed in order by the last process (disk files), see api/names.h */
    atomic_u64 lock;          /* rare global changes: owner << 32 | its generation */
    atomic_u32 units_end;     /* unit words below are committed; grows only */
    atomic_u32 unit_hint;     /* hint: no FREE unit is below */
    atomic_u32 processes_end; /* records below are committed; grow only */
    atomic_u32 owners_end;
    atomic_u32 heaps_end;
    atomic_u32 roots_end;
    atomic_u32 heap_hint;  /* hint: no FREE heap record has a lower number */
    atomic_u32 destroys;   /* how often a heap of the section was destroyed: owners look for what is left of it */
    atomic_u64 boot_id[2]; /* of the system that last had it open: another one and no clean mark is a power loss */
    atomic_u64 recount;    /* grows when a recount was given up because others worked; back to 0 by one that was not */
    atomic_u64 discards;   /* how often headers of free units were made zero again: see span_begin */
    uint64_t reserved2[13];
};

_Static_assert(sizeof(struct span_image) == 64, "a span header is one cache line");
_Static_assert(sizeof(struct owner_image) == 640, "two lines and the news");
_Static_assert(offsetof(struct owner_image, hand) == 64, "the hand has a line of its own");
_Static_assert(offsetof(struct owner_image, news) == 128, "news behind the hand");
_Static_assert(sizeof(struct process_image) == 64, "a line");
_Static_assert(sizeof(struct heap_image) == 128, "two lines");
_Static_assert(offsetof(struct heap_image, bytes_charged) == 64, "what changes is apart from what is only read");
_Static_assert(sizeof(struct root_image) == 64, "a line");
_Static_assert(offsetof(struct section_image, checksum) == 248, "the constant part");
_Static_assert(offsetof(struct section_image, bytes_committed) == 256, "what changes follows the constant part");
_Static_assert(sizeof(struct section_image) == 512, "the header");
_Static_assert(HAND_RESIZE < 16 && RECORD_PENDING < 16 && UNIT_KEPT < 16, "states have 4 bits");

/* Mixes the sizes and offsets above; a change of any of them changes it without a change of IMAGE_VERSION. */
#define FINGERPRINT_MIX(hash, value) (((hash) ^ (uint64_t)(value)) * UINT64_C(0x100000001b3))
ALWAYS_INLINE uint64_t image_fingerprint(void)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    hash = FINGERPRINT_MIX(hash, IMAGE_VERSION);
    hash = FINGERPRINT_MIX(hash, sizeof(struct section_image));
    hash = FINGERPRINT_MIX(hash, sizeof(struct span_image));
    hash = FINGERPRINT_MIX(hash, sizeof(struct owner_image));
    hash = FINGERPRINT_MIX(hash, sizeof(struct process_image));
    hash = FINGERPRINT_MIX(hash, sizeof(struct heap_image));
    hash = FINGERPRINT_MIX(hash, sizeof(struct root_image));
    hash = FINGERPRINT_MIX(hash, offsetof(struct section_image, units_end));
    hash = FINGERPRINT_MIX(hash, offsetof(struct span_image, ready));
    hash = FINGERPRINT_MIX(hash, offsetof(struct span_image, serial));
    hash = FINGERPRINT_MIX(hash, offsetof(struct span_image, large_bytes));
    hash = FINGERPRINT_MIX(hash, offsetof(struct owner_image, hand));
    hash = FINGERPRINT_MIX(hash, offsetof(struct heap_image, orphans));
    hash = FINGERPRINT_MIX(hash, UNIT_STATE_SHIFT << 16 | UNIT_OWNER_SHIFT << 8 | UNIT_HEAP_SHIFT);
    hash = FINGERPRINT_MIX(hash, NEWS_WORDS);
    hash = FINGERPRINT_MIX(hash, offsetof(struct owner_image, widening));
    return hash;
}

#endif
