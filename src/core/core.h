/* SPDX-License-Identifier: MIT */
/*
 * core: allocation inside one section for an owner that it is given. No system calls, no globals, no thread-locals.
 *
 * Dictionary. A *bin* is a thread's own view of one heap's slabs of one class: the slab that it allocates from now and
 * a ring of others that may have free blocks. A *claim* is the word of free blocks that it hands out next; it lies in
 * the bin, so a thread that is killed has claimed nothing. Bins are hints; the truth is in the image:
 *
 *     live[k]       a bit for each block that is out         stored by the slab's owner alone
 *     elsewhere[k]  a bit for each that others have freed    others set it, the owner clears it
 *
 *     claim      = ~live[k] & ~elsewhere[k], of the blocks that are ready
 *     frees_left = blocks live or claimed, while the slab stands in a bin; 1 while it does not
 *
 * so one decrement on each local free finds both moments at which the owner must act: a full slab got a free block, or
 * a slab got empty.
 *
 * Each operation commits with one store:
 *
 *     alloc             live[k] with the block's bit
 *     local free        live[k] without it
 *     free elsewhere    elsewhere[k] fetch_or the bit        between hand = block and hand = 0
 *     drain             live[k] &= ~r, then elsewhere[k] &= ~r    r: the bits that no hand names
 *     extend            ready = n
 *
 * A bit may stand in elsewhere and not in live, between the two stores of a drain, and for no longer than until the end
 * of the owner's recovery.
 */
#ifndef CAIRN_CORE_CORE_H
#define CAIRN_CORE_CORE_H

#include "core/classes.h"
#include "section/section.h"

/* Memory of this process for bins and rings. get returns zeroed memory or NULL. */
struct core_memory {
    void *(*get)(size_t bytes);
    void (*give)(void *memory, size_t bytes);
};

enum span_listed {
    SPAN_UNLISTED = 0, /* in no bin: full when its owner last looked */
    SPAN_LISTED = 1,   /* in a ring */
    SPAN_CURRENT = 2,  /* a bin allocates from it */
};

/* All zero: no slab. */
struct bin {
    uint64_t claim;           /* blocks of the word that are free, and this bin's to hand out */
    atomic_u64 *live;         /* the word that is claimed */
    unsigned char *word_base; /* address of its block 0 */
    uint32_t block_bytes;     /* 0: the bin has no slab */
    uint32_t unit;            /* head unit of the slab */
};

struct ring {
    uint32_t *units; /* capacity is a power of two, or 0 */
    uint32_t capacity;
    uint32_t first;
    uint32_t count;
};

/* One owner's bins for one heap. */
struct bins {
    atomic_u64 check; /* life of the heap and key of the handle they were made for, see core_heap */
    uint64_t word;    /* unit word of a slab that is mine and of this heap */
    uint64_t record;  /* the heap's record word: another one is another heap of that number */
    struct core_owner *owner;
    struct ring *rings; /* CLASS_COUNT of them; NULL until the first is needed */
    uint32_t *slacks; /* where sizes are exact: bytes from each bin's word_base to the slack of that block; else NULL */
    struct bins *next; /* of the same bucket */
    uint32_t heap;
    uint32_t index; /* of the handle they were last made current for: where they stand in their thread's table */
    struct bin bin[CLASS_COUNT];
};

/* A slab that ended with its heap, of which this owner knows the unit and the header's serial. A hint. */
struct ended_slab {
    uint64_t serial; /* 0: none */
    uint32_t unit;
};

/* One thread's place in one section. */
struct core_owner {
    struct section *section;
    struct owner_image *image;
    const struct core_memory *memory;
    uint32_t number;
    uint32_t process;
    uint32_t scan_cursor; /* where the rotating look for frees without news goes on */
    uint32_t orphan_cursor;
    bool is_reaping;        /* between two of core_reap_next: adopts no orphan that was not offered yet */
    atomic_u32 busy;        /* in a call on a lockable heap */
    uint32_t destroys_seen; /* of the image's count: another value means that this owner may hold what is dead */
    struct bins **buckets;  /* bins by the heap's number; a power of two of them, NULL until there are bins */
    uint32_t buckets_count;
    uint32_t bins_count;
    struct bins *spare; /* dropped ones, for the next heaps */
    uint32_t spare_count;
    struct ended_slab ended[CLASS_COUNT]; /* the last of each class, for the next heap that needs one */
};

/* One process's view of a heap; what the fast paths need stands here, side by side. */
struct core_heap {
    const atomic_u64 *life; /* in the heap's image; the image's life is below 2^24 */
    uint64_t key;           /* number of this handle << 24: life ^ key is unique in this process; 0: closed */
    uint32_t index;         /* of the handle, in each thread's table of bins */
    uint32_t number;        /* in the section */
    unsigned char *units;
    atomic_u64 *unit_words;
    unsigned char *spans;
    atomic_u64 local_end; /* units below are looked up by core_free_local; 0, or this process's copy of units_end,
                             refreshed on slow paths: it only grows */
    uint64_t span_stride;
    uint64_t guard; /* GUARDED keeps this heap's bins from ever fitting on the fast paths; else 0 */
    uint32_t slab_max;
    atomic_u32 life_made; /* the life that this handle is for; a reset by another process moves it on */
    uint64_t word_made;   /* the heap's record then: another generation means that the heap was destroyed */
    bool exact;           /* sizes are exact */
    struct section *section;
    struct heap_image *image;
};

#define GUARDED (UINT64_C(1) << 63)

/* What was found wrong with a pointer that was handed in. */
enum core_crime {
    CRIME_NONE = 0,
    CRIME_FOREIGN,     /* outside the section's units */
    CRIME_UNALLOCATED, /* in memory that holds no block */
    CRIME_INTERIOR,    /* inside a block, not at its beginning */
    CRIME_FREED,       /* a block that is free already */
    CRIME_WRONG_HEAP,  /* a block of another heap of this section */
    CRIME_STALE,       /* a block of an earlier life of the heap */
    CRIME_DESTROYED,   /* no crime: another process destroyed the heap in this moment */
};

/* Where a pointer leads. */
struct core_place {
    enum core_crime crime;
    uint32_t unit; /* head unit of the span */
    uint32_t heap;
    uint64_t word; /* unit word of the head */
    struct span_image *span;
    uint32_t index; /* of the block in its slab */
    uint64_t bytes; /* usable; exactly what was asked for where sizes are exact */
    uint64_t bytes_granted;
    void *block; /* the block that the pointer lies in, when there is one */
};

ALWAYS_INLINE atomic_u64 *span_live(struct span_image *span)
{
    return (atomic_u64 *)(void *)(span + 1);
}

/* The words for frees from elsewhere. */
ALWAYS_INLINE atomic_u64 *span_elsewhere(struct span_image *span)
{
    return span_live(span) + load_relaxed(&span->elsewhere_at);
}

/*
 * Begins a new span's header: whoever reads any of it, and then finds the serial unchanged, has read nothing of it. One
 * that was discarded since the last span goes on with numbers that no span here had before.
 */
ALWAYS_INLINE uint64_t span_begin(const struct section *section, struct span_image *span)
{
    uint64_t serial = load_relaxed(&span->serial) + 1;
    if (serial == 1)
        serial += load_relaxed(&section->image->discards) << 32;
    store_relaxed(&span->serial, serial);
    atomic_thread_fence(memory_order_release); /* with the fence in is_same of inspect.c */
    return serial;
}

/* Counts a local free; true when the owner must look at the slab. */
ALWAYS_INLINE bool slab_count_free(struct span_image *slab)
{
    return --slab->frees_left == 0;
}

/* What the check of its bins must be. */
ALWAYS_INLINE uint64_t heap_check(const struct core_heap *heap)
{
    return load_relaxed(heap->life) ^ heap->key;
}

ALWAYS_INLINE bool bins_are_current(const struct bins *bins, const struct core_heap *heap)
{
    return heap_check(heap) == load_relaxed(&bins->check);
}

/* As bins_are_current for a heap whose fast paths are guarded. */
ALWAYS_INLINE bool bins_are_guarded(const struct bins *bins, const struct core_heap *heap)
{
    return (heap_check(heap) ^ GUARDED) == load_relaxed(&bins->check);
}

/* ---------------------------------------------------------------- fast paths */

/* &bins->bin[size_class], in the words in which compilers compute it once. */
ALWAYS_INLINE struct bin *bins_bin(struct bins *bins, uint32_t size_class)
{
    return (struct bin *)(void *)((char *)bins->bin + size_class * sizeof(struct bin));
}

/* Takes the lowest block of a claim that is not 0. The store to live commits the allocation. */
ALWAYS_INLINE void *core_alloc_claimed(struct bin *bin)
{
    uint64_t claim = bin->claim;
    uint64_t rest = claim & (claim - 1);
    bin->claim = rest;
    word_set_own(bin->live, claim ^ rest);
    return bin->word_base + (uint32_t)bit_lowest_wide(claim) * bin->block_bytes; /* below 64 times 32 KiB */
}

/*
 * As core_alloc_claimed, of a class that is looked up; where sizes are exact, what was not asked for is recorded as
 * slab_slack tells. A hint for cairn_size, so it may come behind the store that commits.
 */
ALWAYS_INLINE void *core_alloc_looked_up(const struct bins *bins, struct bin *bin, uint32_t size_class, size_t size)
{
    _Static_assert(SLACK_WIDE > CLASS_TABLE_MAX, "the slack of these is one byte");
    const uint32_t *slacks = bins->slacks;
    size_t bit = (size_t)bit_lowest_wide(bin->claim);
    unsigned char *block = core_alloc_claimed(bin);
    if (slacks != NULL)
        bin->word_base[slacks[size_class] + bit] = (unsigned char)(bin->block_bytes - (uint32_t)size);
    return block;
}

/* A block that core_find_local found, and the live word as it is without it. */
struct core_local {
    struct span_image *slab;
    atomic_u64 *word;
    uint64_t rest;
};

/*
 * Finds a live block of a slab whose unit word is my_word, in its head unit; false when it is anything else, or a
 * crime. Only for units of the largest size: the view of a heap with smaller ones has local_end 0, and core_free and
 * core_find do the same with variables for constants.
 */
ALWAYS_INLINE bool core_find_local(const struct core_heap *heap, uint64_t my_word, const void *block,
                                   struct core_local *ret)
{
    uint64_t offset = (uint64_t)((const unsigned char *)block - heap->units);
    uint64_t unit = offset >> UNIT_SHIFT_MAX;
    if (UNLIKELY(!word_is_above(&heap->local_end, unit)) || UNLIKELY(!word_is(&heap->unit_words[unit], my_word)))
        return false;

    /* offset * reciprocal: the high half is the index, and the low half is below the reciprocal exactly at the
     * beginning of a block (Lemire, Kaser, Kurz: Faster remainder by direct computation, 2019). Behind the last block
     * begins none that is live: those bits are 0. */
    struct span_image *slab = (struct span_image *)(void *)(heap->spans + unit * heap->span_stride);
    uint64_t reciprocal = load_relaxed(&slab->reciprocal);
    uint64_t product = (offset & bits_below(UNIT_SHIFT_MAX)) * reciprocal;
    if (UNLIKELY((uint32_t)product >= (uint32_t)reciprocal))
        return false;
    uint64_t index = product >> 32;
    atomic_u64 *word = &span_live(slab)[index / 64];
    uint64_t live = load_relaxed(word);
    if (UNLIKELY(!bit_take(&live, index)) || UNLIKELY(!word_is(word + SPAN_WORDS_MAX, 0)))
        return false; /* freed already; or others have freed blocks nearby, which perhaps are this one */
    *ret = (struct core_local){.slab = slab, .word = word, .rest = live};
    return true;
}

/* Frees a block that core_find_local finds; false: nothing has changed. *ret_noticed tells that the owner must look at
 * the slab. */
ALWAYS_INLINE bool core_free_local(const struct core_heap *heap, uint64_t my_word, const void *block, bool *ret_noticed)
{
    struct core_local local;
    if (!core_find_local(heap, my_word, block, &local))
        return false;
    store_relaxed(local.word, local.rest);
    *ret_noticed = slab_count_free(local.slab);
    return true;
}

/* How large a block is that core_find_local finds; 0: it finds none. */
ALWAYS_INLINE uint32_t core_size_local(const struct core_heap *heap, uint64_t my_word, const void *block)
{
    struct core_local local;
    return core_find_local(heap, my_word, block, &local) ? load_relaxed(&local.slab->block_bytes) : 0;
}

/* ---------------------------------------------------------------- owners */

/* Claims a record for a thread; *ret_owner is zeroed by the caller. -EAGAIN: all records are taken. */
int owner_claim(struct core_owner *ret_owner, struct section *section, const struct core_memory *memory,
                uint32_t process, uint32_t thread_id);

/* Whether that owner, of that generation, is a living process's, as far as the records tell: false stays false. */
bool owner_is_there(const struct section *section, uint64_t number, uint64_t generation);

/* Leaves in order: slabs become orphans, or free units when they are empty, and the record can be claimed again. */
void owner_leave(struct core_owner *owner);

/* Gives the owner's bins of all heaps back to memory; the image is not touched. */
void owner_forget(struct core_owner *owner);

/* Finds or makes the owner's bins for a heap, or makes stale ones current. NULL: no memory. */
struct bins *owner_bins(struct core_owner *owner, const struct core_heap *heap);

/* Takes the owner's bins for a heap out of its table; they serve the next heap that it needs some for. */
void owner_bins_drop(struct core_owner *owner, uint32_t heap);

/* ---------------------------------------------------------------- heaps */

/* What a heap record is made with. */
struct heap_params {
    uint32_t process; /* of the creator; 0 for private sections */
    uint32_t parent;  /* 0: none */
    uint64_t options; /* enum heap_option */
    uint64_t bytes_max;
};

/* Takes a free heap record. -ENOSPC: all are taken. */
int heap_claim(struct section *section, const struct heap_params *params, uint32_t *ret_number);

/* Gives a record back in which nothing was allocated yet. */
void heap_give_back(struct section *section, uint32_t number);

/* Sets units of bytes_start aside for the heap, committed and populated. Errors as of core_alloc. */
int heap_keep(struct core_owner *owner, struct core_heap *heap, uint64_t bytes_start);

/* Fills the view of a heap. */
void heap_view_init(struct core_heap *ret_heap, struct section *section, uint32_t number);

/*
 * Frees all spans of a private heap, whoever owns them, and changes its life; one that its lock has stopped stays
 * stopped, and life_made tells in which life it is to go on. Requires that no other call on the heap is running.
 * heap_end also gives the record back.
 */
void heap_clear(struct core_owner *owner, struct core_heap *heap);
void heap_end(struct core_owner *owner, struct core_heap *heap);

/*
 * Ends a heap of a section that others work in, by an owner of that process: the first half changes its life, so that
 * no call that begins afterwards finds it; the caller then lets a barrier pass through all processes and recovers the
 * dead; the second half frees the record and what nobody living holds. Living owners give up their slabs on their next
 * slow path.
 */
bool heap_kill(struct section *section, uint32_t process, uint32_t number, uint64_t record);
void heap_sweep(struct section *section, uint32_t by, uint32_t number);

/* The heap itself or the nearest that it is charged to, which has a limit; NULL: none has. */
const struct heap_image *heap_limited(const struct section *section, const struct heap_image *heap);

/* Whether a heap is the parent of others. */
bool heap_has_children(const struct section *section, uint32_t number);

/*
 * A heap ends with its parts. After the barrier that follows heap_kill, heap_kill_parts kills what is a part of any
 * heap that this process killed; it is called again after a barrier until it finds none, for a child may just have been
 * made. Then heap_sweep_killed sweeps all that the process killed of a heap (0: of all), parts before their parents: so
 * whoever goes on after a kill still finds them by their parent.
 */
bool heap_kill_parts(struct section *section, uint32_t process);
void heap_sweep_killed(struct section *section, uint32_t by, uint32_t process, uint32_t whole);

/*
 * Resets a heap of a section that others work in. begin stops it (calls that begin now wait) and names the owner's
 * hand; after a barrier finish looks whether others hold any of it: then false, and it goes on as before; else the
 * store of its next life frees every block.
 */
bool heap_reset_begin(struct core_owner *owner, struct core_heap *heap);
bool heap_reset_finish(struct core_owner *owner, struct core_heap *heap);

/*
 * Whether a heap says that it is stopped, and whom it names is not resetting it. Resets of others can make it seem so
 * once, when this thread is put aside in the middle of two of them; a heap of which it is true again and again, and
 * after the dead were recovered, was written by something else.
 */
bool heap_is_stopped_by_nobody(const struct section *section, uint32_t number);

/* Finds the owner's bins for a heap of any life; NULL when it has none. */
struct bins *owner_find_bins(const struct core_owner *owner, uint32_t heap);

/* Gives up this owner's slabs of heaps that were destroyed since it last looked. */
void owner_sweep(struct core_owner *owner);

/* ---------------------------------------------------------------- blocks */

/*
 * Each returns NULL with *ret_error: -ENOMEM the system refuses memory, -ENOSPC the section is full, -EDQUOT the heap's
 * limit, -EAGAIN the heap was stopped or reset since the call began: begin again with bins that are current. core_alloc
 * tries everything short of recovering the dead.
 */
void *core_alloc(struct bins *bins, struct core_heap *heap, size_t size, int *ret_error);
void *core_alloc_aligned(struct bins *bins, struct core_heap *heap, size_t alignment, size_t size, int *ret_error);

/* Goes on, when the bin's claim is empty, with what its slab has free, as far as that is known; false: nothing. */
bool core_claim_next(struct bins *bins, struct bin *bin);

/* As core_alloc, and the block is zero. */
void *core_alloc_zeroed(struct bins *bins, struct core_heap *heap, size_t size, int *ret_error);

/* Allocates, zeroes, stores the address at dest; dest_ref names dest in the owner's hand. */
void *core_alloc_to(struct bins *bins, struct core_heap *heap, size_t size, void **dest, uint64_t dest_ref,
                    int *ret_error);

/* Frees any block of the heap, whoever owns its slab; tells the crime and changes nothing when it is none. */
enum core_crime core_free(struct bins *bins, struct core_heap *heap, void *block);

/*
 * As core_free for what core_free_local left, when it lies in the first unit of another owner's slab of this heap, in
 * units of the largest size; false when it does not, or is no block: then nothing has changed.
 */
bool core_free_other(struct bins *bins, const struct core_heap *heap, const void *block, enum core_crime *ret_crime);

/*
 * As core_free for what core_free_local left, when it is a block of this owner's own slab, in units of any size and in
 * any unit of the slab; false when it is not: then nothing has changed.
 */
bool core_free_mine(struct bins *bins, const struct core_heap *heap, const void *block);

/* As core_free, with *dest = NULL in between. */
enum core_crime core_free_from(struct bins *bins, struct core_heap *heap, void **dest, uint64_t dest_ref);

/* What remains to be done after core_free_local noticed the slab of a block. */
void core_slab_noticed(struct bins *bins, const void *block);

/* Finds where a pointer leads; changes nothing. */
struct core_place core_find(const struct core_heap *heap, const void *block);

/* Of a heap with exact sizes: records a new size of a block that stays where it is. */
void core_note_size(const struct core_heap *heap, const struct core_place *place, size_t size);

/* Changes a large block's size in place; false when there is no room behind it. */
bool core_resize_large(struct bins *bins, struct core_heap *heap, const struct core_place *place, size_t size);

/* The live blocks of a span that had no owner. */
struct core_reaped {
    unsigned char *first;
    uint64_t block_bytes;
    uint32_t words;
    uint64_t live[SPAN_WORDS_MAX];
};

/*
 * Makes the next span of the heap that has no owner this owner's, from *unit on, which moves behind it, and tells which
 * of its blocks are live; false when there is none.
 */
bool core_reap_next(struct bins *bins, uint32_t *unit, struct core_reaped *ret_reaped);

/* Gives memory that holds no block back; returns the bytes. */
uint64_t core_trim(struct bins *bins, struct core_heap *heap);

#endif
