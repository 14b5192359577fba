/* SPDX-License-Identifier: MIT */
#include "core/core.h"

#include <errno.h>
#include <string.h>

#include "core/slab.h"
#include "core/spans.h"

/* A private heap that its lock has stopped is not destroyed: the holder may free. */
static bool is_lockable(const struct core_heap *heap)
{
    return (heap->image->options & HEAP_LOCKABLE) != 0;
}

/* ================================================================ exact sizes */

/* Of any slab; NULL where there is no memory for it, in a file that was damaged. */
static unsigned char *find_slack(const struct section *section, uint32_t unit, const struct span_image *slab,
                                 uint32_t index)
{
    unsigned char *at = slab_slack(section_unit(section, unit), slab, index);
    return section_range_committed(section, section_offset(section, at), slack_width(load_relaxed(&slab->block_bytes)))
               ? at
               : NULL;
}

static uint64_t get_exact(const struct section *section, uint32_t unit, const struct span_image *slab, uint32_t index)
{
    uint32_t block_bytes = load_relaxed(&slab->block_bytes);
    const unsigned char *at = find_slack(section, unit, slab, index);
    if (at == NULL)
        return block_bytes;
    uint32_t slack = slack_width(block_bytes) == 2 ? at[0] | (uint32_t)at[1] << 8 : at[0];
    return slack <= block_bytes ? block_bytes - slack : 0;
}

static void slack_store(unsigned char *at, uint32_t block_bytes, size_t size)
{
    uint32_t slack = block_bytes - (uint32_t)size;
    at[0] = (unsigned char)slack;
    if (slack_width(block_bytes) == 2)
        at[1] = (unsigned char)(slack >> 8);
}

/* As core_alloc_looked_up, of a bin of any class. */
static void *alloc_sized(const struct bins *bins, struct bin *bin, size_t size)
{
    size_t bit = bit_lowest(bin->claim);
    void *block = core_alloc_claimed(bin);
    if (bins->slacks != NULL) {
        unsigned char *first = bin->word_base + bins->slacks[bin - bins->bin];
        slack_store(first + bit * slack_width(bin->block_bytes), bin->block_bytes, size);
    }
    return block;
}

/* Lets core_free_local reach the units that have come since. */
static void refresh(struct core_heap *heap)
{
    if (heap->section->unit_shift == UNIT_SHIFT_MAX)
        store_relaxed(&heap->local_end, section_units_end(heap->section));
}

/* ================================================================ bins */

static void bins_reset(struct bins *bins, const struct core_heap *heap)
{
    memset(bins->bin, 0, sizeof bins->bin);
    for (uint32_t c = 0; bins->rings != NULL && c < CLASS_COUNT; c++)
        bins->rings[c].count = 0;
    bins->heap = heap->number;
}

/* Never 0, which is no life. */
static uint32_t next_life(uint32_t life)
{
    uint32_t next = (life + 1) & UNIT_LIFE_MASK;
    return next != 0 ? next : 1;
}

/* Of the heap, when they were made current. */
static uint32_t bins_life(const struct bins *bins)
{
    return unit_low_of(bins->word);
}

struct bins *owner_find_bins(const struct core_owner *owner, uint32_t heap)
{
    if (owner->buckets_count == 0)
        return NULL;
    struct bins *bins = owner->buckets[heap & (owner->buckets_count - 1)];
    while (bins != NULL && bins->heap != heap)
        bins = bins->next;
    return bins;
}

/* Makes room for one more, so that chains stay short; an owner with a long chain still works. */
static bool grow_buckets(struct core_owner *owner)
{
    if (owner->bins_count < owner->buckets_count)
        return true;
    uint32_t count = owner->buckets_count != 0 ? owner->buckets_count * 2 : 16;
    struct bins **buckets = owner->memory->get(count * sizeof(struct bins *));
    if (buckets == NULL)
        return owner->buckets_count != 0;
    for (uint32_t b = 0; b < owner->buckets_count; b++) {
        while (owner->buckets[b] != NULL) {
            struct bins *bins = owner->buckets[b];
            owner->buckets[b] = bins->next;
            bins->next = buckets[bins->heap & (count - 1)];
            buckets[bins->heap & (count - 1)] = bins;
        }
    }
    if (owner->buckets_count != 0)
        owner->memory->give(owner->buckets, owner->buckets_count * sizeof(struct bins *));
    owner->buckets = buckets;
    owner->buckets_count = count;
    return true;
}

#define SPARE_MAX 8 /* for heaps that come and go; of more, the memory is given back */

/* Bins that were dropped, or new ones. */
static struct bins *take_spare(struct core_owner *owner)
{
    struct bins *bins = owner->spare;
    if (bins == NULL)
        return owner->memory->get(sizeof *bins);
    owner->spare = bins->next;
    owner->spare_count--;
    return bins;
}

#define SLACKS_BYTES (CLASS_COUNT * sizeof(uint32_t))

static void give_slacks(const struct core_memory *memory, struct bins *bins)
{
    if (bins->slacks != NULL)
        memory->give(bins->slacks, SLACKS_BYTES);
    bins->slacks = NULL;
}

/* False: no memory. */
static bool fit_slacks(const struct core_memory *memory, struct bins *bins, bool exact)
{
    if (!exact)
        give_slacks(memory, bins);
    else if (bins->slacks == NULL)
        bins->slacks = memory->get(SLACKS_BYTES);
    return !exact || bins->slacks != NULL;
}

struct bins *owner_bins(struct core_owner *owner, const struct core_heap *heap)
{
    uint32_t life = load_relaxed(&heap->life_made); /* once: another thread may move it on */
    uint64_t word = unit_word(UNIT_SLAB, owner->number, heap->number, life);
    struct bins *bins = owner_find_bins(owner, heap->number);
    if (bins == NULL) {
        bins = grow_buckets(owner) ? take_spare(owner) : NULL;
        if (bins == NULL)
            return NULL;
        bins->owner = owner;
        bins_reset(bins, heap);
        struct bins **bucket = &owner->buckets[heap->number & (owner->buckets_count - 1)];
        bins->next = *bucket;
        *bucket = bins;
        owner->bins_count++;
    } else if (bins->word != word || bins->record != heap->word_made) {
        bins_reset(bins, heap); /* an earlier life: its slabs are not this owner's any more */
    }
    if (!fit_slacks(owner->memory, bins, heap->exact))
        return NULL; /* bins that fit no heap yet */
    bins->word = word;
    bins->record = heap->word_made;
    store_relaxed(&bins->check, life ^ heap->key ^ heap->guard);
    return bins;
}

static void empty_bins(const struct core_memory *memory, struct bins *bins)
{
    give_slacks(memory, bins);
    for (uint32_t c = 0; bins->rings != NULL && c < CLASS_COUNT; c++) {
        if (bins->rings[c].capacity != 0)
            memory->give(bins->rings[c].units, bins->rings[c].capacity * sizeof(uint32_t));
    }
    if (bins->rings != NULL)
        memory->give(bins->rings, CLASS_COUNT * sizeof(struct ring));
    bins->rings = NULL;
    store_relaxed(&bins->check, UINT64_MAX); /* fits no heap, should a table still lead here */
}

static void give_bins(const struct core_memory *memory, struct bins *bins)
{
    empty_bins(memory, bins);
    memory->give(bins, sizeof *bins);
}

void owner_bins_drop(struct core_owner *owner, uint32_t heap)
{
    if (owner->buckets_count == 0)
        return;
    struct bins **link = &owner->buckets[heap & (owner->buckets_count - 1)];
    while (*link != NULL && (*link)->heap != heap)
        link = &(*link)->next;
    struct bins *bins = *link;
    if (bins == NULL)
        return;
    *link = bins->next;
    owner->bins_count--;
    if (owner->spare_count == SPARE_MAX) {
        give_bins(owner->memory, bins);
        return;
    }
    empty_bins(owner->memory, bins);
    bins->next = owner->spare;
    owner->spare = bins;
    owner->spare_count++;
}

void owner_forget(struct core_owner *owner)
{
    for (uint32_t b = 0; b < owner->buckets_count; b++) {
        while (owner->buckets[b] != NULL) {
            struct bins *bins = owner->buckets[b];
            owner->buckets[b] = bins->next;
            give_bins(owner->memory, bins);
        }
    }
    while (owner->spare != NULL) {
        struct bins *bins = owner->spare;
        owner->spare = bins->next;
        give_bins(owner->memory, bins);
    }
    if (owner->buckets_count != 0)
        owner->memory->give(owner->buckets, owner->buckets_count * sizeof(struct bins *));
    owner->buckets = NULL;
    owner->buckets_count = owner->bins_count = owner->spare_count = 0;
}

/* ---------------------------------------------------------------- rings */

/* Appends a slab; when there is no memory for a longer ring the slab stays unlisted, and the rotating look finds it. */
static bool ring_push(struct bins *bins, uint32_t size_class, uint32_t unit)
{
    const struct core_memory *memory = bins->owner->memory;
    if (bins->rings == NULL) {
        bins->rings = memory->get(CLASS_COUNT * sizeof(struct ring));
        if (bins->rings == NULL)
            return false;
    }
    struct ring *ring = &bins->rings[size_class];
    if (ring->count == ring->capacity) {
        uint32_t capacity = ring->capacity != 0 ? ring->capacity * 2 : 16;
        uint32_t *units = memory->get(capacity * sizeof(uint32_t));
        if (units == NULL)
            return false;
        for (uint32_t i = 0; i < ring->count; i++)
            units[i] = ring->units[(ring->first + i) & (ring->capacity - 1)];
        if (ring->capacity != 0)
            memory->give(ring->units, ring->capacity * sizeof(uint32_t));
        *ring = (struct ring){.units = units, .capacity = capacity, .count = ring->count};
    }
    ring->units[(ring->first + ring->count++) & (ring->capacity - 1)] = unit;
    return true;
}

static uint32_t ring_pop(struct ring *ring)
{
    uint32_t unit = ring->units[ring->first];
    ring->first = (ring->first + 1) & (ring->capacity - 1);
    ring->count--;
    return unit;
}

static bool slab_is_mine(const struct bins *bins, uint32_t unit)
{
    const struct section *section = bins->owner->section;
    return unit < section_units_end(section) && load_relaxed(&section->unit_words[unit]) == bins->word;
}

static void list_slab(struct bins *bins, uint32_t unit, struct span_image *slab)
{
    if (!ring_push(bins, load_relaxed(&slab->size_class), unit)) {
        slab->frees_left = 1;
        return;
    }
    store_relaxed(&slab->listed, SPAN_LISTED);
    slab->frees_left = slab_taken(slab);
}

/* ================================================================ slabs of an owner */

/* Whether some owner's hand names a block in the span: then it is not given back now. */
static bool is_in_a_hand(const struct section *section, uint32_t unit, uint32_t units)
{
    uint64_t first_ref = section_ref(section, section_unit(section, unit));
    uint64_t bytes = (uint64_t)units << section->unit_shift;
    uint32_t end = load_acquire(&section->image->owners_end);
    for (uint32_t number = 1; number <= end && number <= section->owners_max; number++) {
        uint64_t hand = load_acquire(&section_owner(section, number)->hand);
        if (hand != 0 && (hand & HAND_REF_MASK) - first_ref < bytes)
            return true;
    }
    return false;
}

/* Not while a hand names a block of it: a second free that is being found out still looks at the slab. */
static bool release_slab(struct core_owner *owner, uint32_t unit, struct span_image *slab)
{
    struct section *section = owner->section;
    if (is_in_a_hand(section, unit, load_relaxed(&slab->span_units)))
        return false;
    uint64_t word = load_relaxed(&section->unit_words[unit]);
    uint64_t freeing = unit_word(UNIT_FREEING, owner->number, unit_heap_of(word), unit_low_of(word));
    if (unit_state_of(word) != UNIT_SLAB || unit_owner_of(word) != owner->number ||
        !cas_acq_rel(&section->unit_words[unit], &word, freeing))
        return false; /* its private heap ended just now, by another thread's call */
    store_relaxed(&slab->listed, SPAN_UNLISTED);
    span_free(section, owner->number, unit, load_relaxed(&slab->span_units), unit_heap_of(word));
    return true;
}

static struct span_image *bin_slab(const struct bin *bin, const struct core_owner *owner)
{
    return section_span(owner->section, bin->unit);
}

/* Makes a slab, whose frees_left is right, the one that a bin allocates from. */
static void use_slab(struct bin *bin, uint32_t unit, struct span_image *slab)
{
    *bin = (struct bin){.unit = unit, .block_bytes = load_relaxed(&slab->block_bytes)};
    store_relaxed(&slab->listed, SPAN_CURRENT);
}

bool core_claim_next(struct bins *bins, struct bin *bin)
{
    if (bin->block_bytes == 0)
        return false;
    struct span_image *slab = bin_slab(bin, bins->owner);
    if (slab->frees_left >= load_relaxed(&slab->ready))
        return false; /* all are out: no need to look at each word */
    uint32_t k = 0;
    uint64_t free = slab_find_free(slab, &k);
    if (free == 0)
        return false;
    slab->frees_left += bit_count(free);
    bin->claim = free;
    bin->live = &span_live(slab)[k];
    unsigned char *first_block = section_unit(bins->owner->section, bin->unit);
    bin->word_base = first_block + (size_t)k * 64 * bin->block_bytes;
    if (bins->slacks != NULL)
        bins->slacks[bin - bins->bin] = (uint32_t)(slab_slack(first_block, slab, k * 64) - bin->word_base);
    return true;
}

/* Claims a word of the bin's slab: drains second, extends last. 0: nothing is free in it; negative: no memory. */
static int claim_word(struct bins *bins, struct bin *bin)
{
    if (core_claim_next(bins, bin))
        return 1;
    struct section *section = bins->owner->section;
    struct span_image *slab = bin_slab(bin, bins->owner);
    uint32_t drained = slab_drain(section, bin->unit, slab);
    slab->frees_left -= drained;
    if (drained == 0) {
        int extended = slab_extend(section, bins->owner->number, bin->unit, slab);
        if (extended <= 0)
            return extended;
        slab->word_cursor = (uint16_t)((load_relaxed(&slab->ready) - 1) / 64);
    }
    return core_claim_next(bins, bin);
}

static void stop_using(struct bins *bins, struct bin *bin, bool keep_listed)
{
    struct span_image *slab = bin_slab(bin, bins->owner);
    store_relaxed(&slab->listed, SPAN_UNLISTED);
    slab->frees_left = 1;
    if (keep_listed)
        list_slab(bins, bin->unit, slab);
    *bin = (struct bin){0};
}

/* Goes on with the bin's slab or one from its ring; false when none of them has a free block. */
static bool claim_from_ring(struct bins *bins, uint32_t size_class, int *ret_error)
{
    struct bin *bin = &bins->bin[size_class];
    struct core_owner *owner = bins->owner;
    uint32_t left = bins->rings != NULL ? bins->rings[size_class].count : 0;
    for (;;) {
        if (bin->block_bytes != 0) {
            int claimed = claim_word(bins, bin);
            if (claimed > 0)
                return true;
            if (claimed < 0)
                *ret_error = claimed;
            stop_using(bins, bin, claimed < 0);
        }
        if (left == 0)
            return false;
        left--;
        uint32_t unit = ring_pop(&bins->rings[size_class]);
        struct span_image *slab = section_span(owner->section, unit);
        if (slab_is_mine(bins, unit) && load_relaxed(&slab->size_class) == size_class &&
            load_relaxed(&slab->listed) == SPAN_LISTED)
            use_slab(bin, unit, slab);
    }
}

/* Acts on what frees_left told: a slab got a free block, or got empty. */
static void notice_slab(struct bins *bins, uint32_t unit, struct span_image *slab)
{
    struct core_owner *owner = bins->owner;
    if (load_relaxed(&slab->listed) == SPAN_UNLISTED) {
        list_slab(bins, unit, slab);
        if (load_relaxed(&slab->listed) != SPAN_LISTED || slab->frees_left != 0)
            return;
    }
    /* Empty. One that is in use, or the ring's only one, is kept for the next allocations. */
    if (load_relaxed(&slab->listed) == SPAN_CURRENT || bins->rings[load_relaxed(&slab->size_class)].count <= 1)
        return;
    uint32_t taken = slab_taken(slab); /* frees_left is a hint: what is given away is counted */
    if (taken != 0)
        slab->frees_left = taken;
    else
        (void)release_slab(owner, unit, slab); /* if not, it goes on as listed, and empty */
}

void core_slab_noticed(struct bins *bins, const void *block)
{
    const struct section *section = bins->owner->section;
    uint32_t unit = (uint32_t)((uint64_t)((const unsigned char *)block - section->units) >> section->unit_shift);
    notice_slab(bins, unit, section_span(section, unit));
}

/* ---------------------------------------------------------------- frees from elsewhere */

/*
 * Lists the slab at a unit when it is this owner's and this heap's, unlisted, and others have freed blocks of it. Slabs
 * of its other heaps are not touched: a private heap may be ended by a thread that is in no other call on it.
 */
static void look_at_unit(struct bins *bins, uint32_t unit)
{
    struct section *section = bins->owner->section;
    struct span_image *slab = section_span(section, unit);
    if (load_acquire(&section->unit_words[unit]) != bins->word || load_relaxed(&slab->listed) != SPAN_UNLISTED)
        return;
    const atomic_u64 *elsewhere = span_elsewhere(slab);
    uint32_t count = slab_words_ready(slab);
    bool any = slab_taken(slab) < load_relaxed(&slab->ready);
    for (uint32_t k = 0; k < count && !any; k++)
        any = load_relaxed(&elsewhere[k]) != 0;
    if (any)
        list_slab(bins, unit, slab);
}

/* Looks at the units that a bit of news stands for; true when one of them is a slab of another heap of this owner. */
static bool look_at_news(struct bins *bins, uint32_t first)
{
    const struct section *section = bins->owner->section;
    uint32_t end = section_units_end(section);
    bool of_others = false;
    for (uint32_t unit = first; unit < end; unit += NEWS_WORDS * 64) {
        uint64_t word = load_relaxed(&section->unit_words[unit]);
        if (word == bins->word)
            look_at_unit(bins, unit);
        else
            of_others = of_others || (unit_state_of(word) == UNIT_SLAB && unit_owner_of(word) == bins->owner->number);
    }
    return of_others;
}

/* Lists the slabs of this heap that others sent news about; true when there was any news. */
static bool take_news(struct bins *bins)
{
    struct owner_image *image = bins->owner->image;
    bool any = false;
    /* Cleared before the words are looked at, and set after one was: so none is passed over. */
    if (load_relaxed(&image->has_news) == 0 || atomic_exchange(&image->has_news, 0) == 0)
        return false;
    for (uint32_t w = 0; w < NEWS_WORDS; w++) {
        if (load_relaxed(&image->news[w]) == 0)
            continue;
        uint64_t bits = atomic_exchange_explicit(&image->news[w], 0, memory_order_acq_rel);
        uint64_t kept = 0;
        any = true;
        for (; bits != 0; bits &= bits - 1) {
            if (look_at_news(bins, w * 64 + bit_lowest(bits)))
                kept |= bits & -bits;
        }
        if (kept != 0) {
            fetch_or_acq_rel(&image->news[w], kept);
            store_relaxed(&image->has_news, 1);
        }
    }
    return any;
}

/* News is a hint that can be lost: look at some units in rotation. Where no other owner ever was there is none. */
static void look_around(struct bins *bins, uint32_t units)
{
    struct core_owner *owner = bins->owner;
    uint32_t end = section_units_end(owner->section);
    if (load_relaxed(&owner->section->image->owners_end) == 1)
        return;
    for (uint32_t i = 0; i < units && i < end; i++) {
        if (owner->scan_cursor >= end)
            owner->scan_cursor = 0;
        look_at_unit(bins, owner->scan_cursor++);
    }
}

/* ---------------------------------------------------------------- orphans */

static bool slab_looks_empty(const struct span_image *slab)
{
    return slab_live(slab) == 0;
}

/*
 * A kill can leave the count too high: none was there in a whole turn. But one may become an orphan meanwhile: either
 * this looks again after its store, and finds it, or whoever makes it finds the count at 0 after its own.
 */
static void reset_orphans(struct section *section, struct heap_image *heap, uint64_t orphan_word, uint32_t counted)
{
    if (counted == 0 || !cas_acq_rel(&heap->orphans, &counted, 0))
        return;
    atomic_thread_fence(memory_order_seq_cst); /* with the fence in slab_make_orphan */
    uint32_t end = section_units_end(section);
    for (uint32_t unit = 0; unit < end; unit++) {
        if (load_relaxed(&section->unit_words[unit]) == orphan_word)
            fetch_add_relaxed(&heap->orphans, 1);
    }
}

/*
 * Makes an orphan this owner's; false when another was faster, or the heap was reset meanwhile. One with an impossible
 * header marks the heap as damaged, and stays.
 */
static bool take_orphan(struct bins *bins, uint32_t unit)
{
    struct section *section = bins->owner->section;
    struct heap_image *heap = section_heap(section, bins->heap);
    uint64_t expected = unit_word(UNIT_ORPHAN, 0, bins->heap, unit_low_of(bins->word));
    if (!cas_acq_rel(&section->unit_words[unit], &expected, bins->word))
        return false;
    uint32_t counted = load_relaxed(&heap->orphans);
    while (counted != 0 && !cas_acq_rel(&heap->orphans, &counted, counted - 1))
        ;
    bool is_sound = slab_is_sound(section, unit); /* now nobody else changes it */
    bool fits = is_sound && slab_fits(section, unit, (load_acquire(&heap->options) & HEAP_EXACT_SIZES) != 0);
    if (is_sound && span_is_late(section, bins->heap, bins_life(bins))) {
        slab_make_orphan(section, unit, bins->word); /* and whose options those were is not known */
        return false;
    }
    if (!fits) {
        store_release(&section->image->damaged, UINT64_C(1) + unit);
        store_release(&section->unit_words[unit], expected);
        return false;
    }
    struct span_image *slab = section_span(section, unit);
    slab_normalise(slab); /* it is ours now; its bits were brought in order before it became an orphan */
    slab_drain(section, unit, slab);
    return true;
}

/*
 * Adopts an orphan of the heap: one of the class with free blocks, to use; or any that is empty, to free its units.
 * Looks at no more than `units` unit words. True when the bin has a slab to claim from now.
 */
static bool adopt(struct bins *bins, uint32_t size_class, uint32_t units)
{
    struct core_owner *owner = bins->owner;
    struct section *section = owner->section;
    struct heap_image *heap = section_heap(section, bins->heap);
    uint64_t orphan_word = unit_word(UNIT_ORPHAN, 0, bins->heap, unit_low_of(bins->word));
    uint32_t end = section_units_end(section);
    uint32_t counted = load_acquire(&heap->orphans);
    bool any = false;
    if (owner->is_reaping)
        return false;                   /* they are to be offered first */
    bool is_last_resort = units >= end; /* then the count, a hint, is not believed: it can be too low */
    for (uint32_t i = 0; i < units && i < end && (is_last_resort || load_relaxed(&heap->orphans) != 0); i++) {
        if (owner->orphan_cursor >= end)
            owner->orphan_cursor = 0;
        uint32_t unit = owner->orphan_cursor++;
        if (load_acquire(&section->unit_words[unit]) != orphan_word)
            continue;
        any = true;
        struct span_image *slab = section_span(section, unit);
        bool fits = size_class < CLASS_COUNT && load_relaxed(&slab->size_class) == size_class;
        bool sound = slab_is_sound(section, unit); /* only then can its bits be looked at */
        bool useful = sound && fits && slab_live(slab) < load_relaxed(&slab->blocks);
        if (sound && !useful && !slab_looks_empty(slab))
            continue;
        if (!take_orphan(bins, unit))
            continue;
        fits = size_class < CLASS_COUNT && load_relaxed(&slab->size_class) == size_class;
        if (fits) {
            slab->frees_left = slab_taken(slab);
            use_slab(&bins->bin[size_class], unit, slab);
            return true;
        }
        if (slab_taken(slab) != 0 || !release_slab(owner, unit, slab))
            list_slab(bins, unit, slab); /* it was taken by others in between; now it is ours like any other */
    }
    if (!any && is_last_resort)
        reset_orphans(section, heap, orphan_word, counted);
    return false;
}

bool core_reap_next(struct bins *bins, uint32_t *unit, struct core_reaped *ret_reaped)
{
    struct core_owner *owner = bins->owner;
    struct section *section = owner->section;
    uint32_t life = bins_life(bins);
    uint64_t orphan_word = unit_word(UNIT_ORPHAN, 0, bins->heap, life);
    uint64_t large_word = unit_word(UNIT_LARGE, 0, bins->heap, life);
    uint32_t end = section_units_end(section);
    while (*unit < end) {
        uint32_t at = (*unit)++;
        owner->is_reaping = true;
        uint64_t word = load_acquire(&section->unit_words[at]);
        struct span_image *span = section_span(section, at);
        *ret_reaped = (struct core_reaped){.first = section_unit(section, at)};
        if (word == orphan_word && take_orphan(bins, at)) {
            ret_reaped->block_bytes = load_relaxed(&span->block_bytes);
            ret_reaped->words = slab_words_ready(span);
            for (uint32_t k = 0; k < ret_reaped->words; k++)
                ret_reaped->live[k] = slab_live_word(span, k);
            if (slab_taken(span) != 0 || !release_slab(owner, at, span))
                list_slab(bins, at, span);
            return true;
        }
        uint64_t mine = unit_word(UNIT_LARGE, owner->number, bins->heap, life);
        if (word == large_word && cas_acq_rel(&section->unit_words[at], &word, mine)) {
            ret_reaped->block_bytes = load_relaxed(&span->large_bytes);
            ret_reaped->words = 1;
            ret_reaped->live[0] = 1;
            return true;
        }
    }
    owner->is_reaping = false;
    return false;
}

static void orphan_slab(struct core_owner *owner, uint32_t unit, uint64_t word)
{
    struct section *section = owner->section;
    struct span_image *slab = section_span(section, unit);
    slab_drain(section, unit, slab);
    if (slab_taken(slab) == 0 && release_slab(owner, unit, slab))
        return;
    slab_make_orphan(section, unit, word);
}

/* ---------------------------------------------------------------- new slabs */

/* Commits what a span's header needs and its first bytes, or all of them. */
static int commit_span(struct core_owner *owner, uint32_t unit, uint64_t header_bytes, uint64_t bytes)
{
    struct section *section = owner->section;
    int error = section_commit(section, section_offset(section, section_span(section, unit)), header_bytes);
    if (error < 0)
        return error;
    return span_commit(section, owner->number, section_offset(section, section_unit(section, unit)), bytes);
}

#define HUGE_BYTES (UINT64_C(2) << 20)
#define SMALL_HEAP_BYTES (UINT64_C(16) << 20) /* below, a huge page for each heap would be most of what it takes */

/*
 * A private heap that has outgrown a small one takes its units by the huge page, set aside for it alone: heaps that
 * stay small keep to small pages, and many of them cost what they use. What is set aside is charged, and nobody else's:
 * a heap with a limit would be refused while it has that.
 */
static void keep_huge(struct core_owner *owner, struct core_heap *heap)
{
    struct section *section = owner->section;
    if (section->backing->advise_huge == NULL || section->unit_shift != UNIT_SHIFT_MAX ||
        load_relaxed(&heap->image->bytes_kept) != 0 || load_relaxed(&heap->image->bytes_charged) < SMALL_HEAP_BYTES ||
        heap_limited(section, heap->image) != NULL)
        return;
    struct span_taken span;
    uint32_t life = load_relaxed(&heap->life_made);
    if (span_take(owner, heap, life, (uint32_t)(HUGE_BYTES >> UNIT_SHIFT_MAX), HUGE_BYTES, &span) < 0)
        return;
    uint64_t offset = section_offset(section, section_unit(section, span.unit));
    if (span_commit(section, owner->number, offset, HUGE_BYTES) < 0) {
        span_put_back(owner, heap, &span);
        return;
    }
    section->backing->advise_huge(section, offset, HUGE_BYTES);
    span_set_aside(owner, heap, &span);
}

/*
 * A heap ends: its slabs are as they must be for the next one, but for their bits. Not in sections with smaller units,
 * where the words of a slab of several units run on into the headers of those behind, and may leave a serial as it was.
 */
static void note_ended(struct core_owner *owner, uint32_t unit, uint64_t word, bool exact)
{
    const struct span_image *slab = section_span(owner->section, unit);
    if (unit_state_of(word) != UNIT_SLAB || unit_owner_of(word) != owner->number || exact || /* else it has no header */
        owner->section->unit_shift != UNIT_SHIFT_MAX)
        return;
    uint32_t size_class = load_relaxed(&slab->size_class);
    if (load_relaxed(&slab->span_units) == 1 && load_relaxed(&slab->ready) != 0 && size_class < CLASS_COUNT)
        owner->ended[size_class] = (struct ended_slab){.serial = load_relaxed(&slab->serial), .unit = unit};
}

/*
 * Makes a slab of the class that ended with another heap this heap's, and claims blocks of it; false when there is
 * none. That its unit was not another span's since then, its serial tells; that its memory is still there, the marks.
 */
static bool reuse_slab(struct bins *bins, struct core_heap *heap, uint32_t size_class)
{
    struct core_owner *owner = bins->owner;
    struct section *section = owner->section;
    struct ended_slab ended = owner->ended[size_class];
    struct span_taken span;
    if (ended.serial == 0 || heap->exact || load_relaxed(&heap->image->bytes_kept) != 0)
        return false;
    owner->ended[size_class].serial = 0;
    if (!span_take_unit(owner, heap, bins_life(bins), ended.unit, &span))
        return false;
    struct span_image *slab = section_span(section, ended.unit);
    uint64_t bytes = (uint64_t)load_relaxed(&slab->ready) * load_relaxed(&slab->block_bytes);
    if (load_relaxed(&slab->serial) != ended.serial ||
        !section_range_committed(section, section_offset(section, section_unit(section, ended.unit)), bytes)) {
        span_put_back(owner, heap, &span);
        return false;
    }
    (void)span_begin(section, slab);
    slab_clear(slab);
    span_publish(owner, &span, bins->word);
    refresh(heap);
    struct bin *bin = &bins->bin[size_class];
    slab->frees_left = 0;
    use_slab(bin, ended.unit, slab);
    return core_claim_next(bins, bin);
}

static int create_slab(struct bins *bins, struct core_heap *heap, uint32_t size_class)
{
    struct core_owner *owner = bins->owner;
    struct section *section = owner->section;
    keep_huge(owner, heap);
    struct slab_geometry geometry = slab_geometry_of(size_class, section->unit_shift, heap->exact);
    struct span_taken span;
    int error = span_take(owner, heap, bins_life(bins), geometry.span_units, 1, &span);
    if (error < 0)
        return error;
    /* The first block alone: slab_extend commits the rest as it is used, by pages or by what the section's step is. */
    error = commit_span(owner, span.unit, slab_header_bytes(section, &geometry), geometry.block_bytes);
    if (error == 0 && heap->exact) {
        uint64_t slack_offset = section_offset(section, section_unit(section, span.unit)) +
                                (uint64_t)geometry.blocks * geometry.block_bytes;
        error = span_commit(section, owner->number, slack_offset,
                            (uint64_t)geometry.blocks * slack_width(geometry.block_bytes));
    }
    if (error < 0) {
        span_put_back(owner, heap, &span);
        return error;
    }
    struct span_image *slab = section_span(section, span.unit);
    slab_init(section, slab, size_class, &geometry);
    span_publish(owner, &span, bins->word);
    refresh(heap);
    slab->frees_left = 0;
    use_slab(&bins->bin[size_class], span.unit, slab);
    return 0;
}

/* Frees this owner's empty slabs of the heap, whatever their class; returns how many. */
static uint32_t release_empty(struct bins *bins)
{
    struct core_owner *owner = bins->owner;
    struct section *section = owner->section;
    uint32_t end = section_units_end(section);
    uint32_t released = 0;
    for (uint32_t unit = 0; unit < end; unit++) {
        if (load_relaxed(&section->unit_words[unit]) != bins->word)
            continue;
        struct span_image *slab = section_span(section, unit);
        slab_drain(section, unit, slab);
        if (load_relaxed(&slab->listed) == SPAN_CURRENT) {
            struct bin *bin = &bins->bin[load_relaxed(&slab->size_class)];
            bin->claim = 0;
            if (slab_taken(slab) != 0) {
                slab->frees_left = slab_taken(slab);
                continue;
            }
            stop_using(bins, bin, true);
        } else if (slab_taken(slab) != 0) {
            if (load_relaxed(&slab->listed) == SPAN_UNLISTED)
                look_at_unit(bins, unit);
            else
                slab->frees_left = slab_taken(slab);
            continue;
        }
        released += release_slab(owner, unit, slab);
    }
    return released;
}

/* Whether claim_from_ring has any slab to look at. */
ALWAYS_INLINE bool has_listed(const struct bins *bins, uint32_t size_class)
{
    return bins->bin[size_class].block_bytes != 0 || (bins->rings != NULL && bins->rings[size_class].count != 0);
}

/* Finds a word to claim for a class, from the nearest place to the farthest. */
static int refill(struct bins *bins, struct core_heap *heap, uint32_t size_class)
{
    struct core_owner *owner = bins->owner;
    int error = 0;
    int refused = 0;
    if (owner->destroys_seen != load_relaxed(&owner->section->image->destroys))
        owner_sweep(owner);
    if (has_listed(bins, size_class) && claim_from_ring(bins, size_class, &refused))
        return 0;
    if (take_news(bins) && claim_from_ring(bins, size_class, &refused))
        return 0;
    look_around(bins, 32);
    if (has_listed(bins, size_class) && claim_from_ring(bins, size_class, &refused))
        return 0;
    if (load_relaxed(&heap->image->orphans) != 0 && adopt(bins, size_class, 512) &&
        claim_from_ring(bins, size_class, &refused))
        return 0;
    if (reuse_slab(bins, heap, size_class))
        return 0;
    error = create_slab(bins, heap, size_class);
    if (error == -EAGAIN || (error == 0 && claim_from_ring(bins, size_class, &refused)))
        return error;
    if (error == -ENOMEM)
        refused = error;

    /* No memory: everything that is this owner's or nobody's, before the caller is refused. */
    look_around(bins, UINT32_MAX);
    if (claim_from_ring(bins, size_class, &refused))
        return 0;
    while (adopt(bins, size_class, UINT32_MAX)) {
        if (claim_from_ring(bins, size_class, &refused))
            return 0;
    }
    owner_sweep(owner);
    (void)release_empty(bins);
    error = create_slab(bins, heap, size_class);
    if (error == -EAGAIN || (error == 0 && claim_from_ring(bins, size_class, &refused)))
        return error;
    return refused == -ENOMEM || error == 0 ? -ENOMEM : error; /* what the system refused is the reason */
}

/*
 * When there is no memory for another slab: a larger block that a slab of this owner has free, so aligned; where sizes
 * are exact, as far as the slack can be told.
 */
static struct bin *borrow(struct bins *bins, struct core_heap *heap, uint32_t size_class, size_t alignment, size_t size)
{
    for (uint32_t c = size_class + 1; c < CLASS_COUNT && class_bytes(c) <= heap->slab_max; c++) {
        int refused = 0;
        bool told =
            !heap->exact || class_bytes(c) - size <= (slack_width(class_bytes(c)) == 1 ? UINT8_MAX : UINT16_MAX);
        if (told && class_bytes(c) % alignment == 0 && (bins->bin[c].claim != 0 || claim_from_ring(bins, c, &refused)))
            return &bins->bin[c];
    }
    return NULL;
}

static void *alloc_small(struct bins *bins, struct core_heap *heap, uint32_t size_class, size_t alignment, size_t size,
                         int *ret_error)
{
    struct bin *bin = &bins->bin[size_class];
    if (bin->claim == 0) {
        int error = refill(bins, heap, size_class);
        if (error < 0)
            bin = error != -EAGAIN ? borrow(bins, heap, size_class, alignment, size) : NULL;
        if (bin == NULL) {
            *ret_error = error;
            return NULL;
        }
    }
    return alloc_sized(bins, bin, size);
}

/* ================================================================ large blocks */

static uint64_t large_units(const struct section *section, uint64_t bytes)
{
    return (bytes + (UINT64_C(1) << section->unit_shift) - 1) >> section->unit_shift;
}

/* Usable bytes of a large block: whole pages where memory is committed by the page. */
static uint64_t large_bytes(const struct section *section, uint64_t size)
{
    uint64_t step =
        section->commit_bits != NULL ? UINT64_C(1) << section->page_shift : UINT64_C(1) << section->unit_shift;
    return align_up(size, min_u64(step, UINT64_C(1) << section->unit_shift));
}

/* Others' drains read the hand; what orders it before the change for them is the atomic operation that follows it. */
static void set_hand(struct core_owner *owner, enum hand_op op, uint64_t ref, const struct core_heap *heap)
{
    store_relaxed(&owner->image->hand_life, (uint64_t)heap->number << 32 | load_relaxed(&heap->life_made));
    step();
    store_relaxed(&owner->image->hand, (uint64_t)op << HAND_OP_SHIFT | ref);
    step();
}

static void clear_hand(struct core_owner *owner)
{
    step();
    store_release(&owner->image->hand, 0);
}

/* op is what the hand says from before the block exists, HAND_NOTHING for a plain allocation. */
static void *alloc_large(struct bins *bins, struct core_heap *heap, uint64_t size, uint64_t alignment, enum hand_op op,
                         bool *ret_is_zero, int *ret_error)
{
    struct core_owner *owner = bins->owner;
    struct section *section = owner->section;
    if (size > section->units_bytes) {
        *ret_error = -ENOSPC;
        return NULL;
    }
    uint64_t bytes = large_bytes(section, size != 0 ? size : 1);
    bool huge = section->backing->advise_huge != NULL && bytes >= HUGE_BYTES;
    uint32_t life = bins_life(bins);
    struct span_taken span;
    int error = -ENOSPC;
    if (huge && alignment < HUGE_BYTES)
        error = span_take(owner, heap, life, (uint32_t)large_units(section, bytes), HUGE_BYTES, &span);
    if (error < 0 && error != -EAGAIN) {
        error = span_take(owner, heap, life, (uint32_t)large_units(section, bytes), alignment, &span);
        huge = huge && alignment >= HUGE_BYTES;
    }
    if (error < 0 && error != -EAGAIN) {
        owner_sweep(owner);
        (void)release_empty(bins);
        adopt(bins, CLASS_COUNT, UINT32_MAX);
        error = span_take(owner, heap, life, (uint32_t)large_units(section, bytes), alignment, &span);
    }
    if (error < 0) {
        *ret_error = error;
        return NULL;
    }
    error = commit_span(owner, span.unit, sizeof(struct span_image), bytes);
    if (error < 0) {
        span_put_back(owner, heap, &span);
        *ret_error = error;
        return NULL;
    }

    struct span_image *header = section_span(section, span.unit);
    uint64_t huge_bytes = align_down(bytes, HUGE_BYTES);
    if (huge && header->huge_bytes < huge_bytes) {
        section->backing->advise_huge(section, section_offset(section, section_unit(section, span.unit)), huge_bytes);
        header->huge_bytes = huge_bytes;
    }
    uint64_t serial = span_begin(section, header);
    store_relaxed(&header->ready, 0);
    store_relaxed(&header->blocks, 0);
    store_relaxed(&header->block_bytes, 0);
    store_relaxed(&header->span_units, span.units);
    store_relaxed(&header->large_bytes, bytes);
    store_relaxed(&header->exact_bytes, size);
    store_relaxed(&owner->image->hand_count, serial);
    if (op != HAND_NOTHING)
        set_hand(owner, op, section_ref(section, section_unit(section, span.unit)), heap);
    span_publish(owner, &span, unit_word(UNIT_LARGE, owner->number, heap->number, life));
    refresh(heap);
    *ret_is_zero = span.is_zero;
    return section_unit(section, span.unit);
}

#define RETAINED_ALWAYS (UINT64_C(4) << 20)
#define RETAINED_MAX (UINT64_C(1) << 30)

/*
 * Gives free memory back when more is committed and free than is retained: 4 MiB, and what was wanted again after it
 * had been given back. So a heap that ends leaves little, and one that comes and goes pays for its pages but once or
 * twice.
 */
static void settle(struct core_owner *owner, uint32_t first, uint32_t end)
{
    enum { UNITS_AT_ONCE = 256, BYTES_AT_LEAST = 1 << 20 }; /* not a system call for each small span */
    struct section *section = owner->section;
    struct section_image *image = section->image;
    uint64_t in_spans = load_relaxed(&image->bytes_in_spans);
    uint64_t committed = load_relaxed(&image->bytes_committed);
    uint64_t wanted_again = load_relaxed(&image->bytes_retained);
    uint64_t retained = RETAINED_ALWAYS + min_u64(wanted_again, RETAINED_MAX);
    if (section->commit_bits == NULL || committed < in_spans + retained + BYTES_AT_LEAST ||
        wanted_again >= RETAINED_ALL)
        return;
    if ((uint64_t)(end - first) << section->unit_shift >= BYTES_AT_LEAST)
        span_decommit(owner, first, end);
    /* Spans of a few units add up, and their neighbours are given back together. */
    uint32_t cursor = load_relaxed(&image->settle_cursor);
    uint32_t units_end = section_units_end(section);
    if (cursor >= units_end)
        cursor = 0;
    uint32_t stop = units_end - cursor > UNITS_AT_ONCE ? cursor + UNITS_AT_ONCE : units_end;
    if (load_relaxed(&image->bytes_committed) > in_spans + retained + BYTES_AT_LEAST) {
        span_decommit(owner, cursor, stop);
        store_relaxed(&image->settle_cursor, stop);
    }
}

/* The CAS commits; the hand, if it named the block, is cleared before the units can be another's. */
static enum core_crime free_large(struct core_owner *owner, const struct core_place *place)
{
    struct section *section = owner->section;
    uint64_t expected = place->word;
    uint64_t freeing = unit_word(UNIT_FREEING, owner->number, place->heap, unit_low_of(place->word));
    while (!cas_acq_rel(&section->unit_words[place->unit], &expected, freeing)) {
        if (expected != unit_disowned(place->word))
            return CRIME_FREED; /* else the thread that got it has left in this moment: it is the same block */
    }
    clear_hand(owner);
    uint32_t units = load_relaxed(&place->span->span_units);
    if (units > section_units_end(section) - place->unit)
        units = 1; /* damaged by another writer; check reports it */
    span_free(section, owner->number, place->unit, units, place->heap);
    settle(owner, place->unit, place->unit + units);
    return CRIME_NONE;
}

void core_note_size(const struct core_heap *heap, const struct core_place *place, size_t size)
{
    if (unit_state_of(place->word) == UNIT_LARGE) {
        store_relaxed(&place->span->exact_bytes, size);
        return;
    }
    unsigned char *at = find_slack(heap->section, place->unit, place->span, place->index);
    if (at != NULL)
        slack_store(at, load_relaxed(&place->span->block_bytes), size);
}

static bool resize_in_place(struct bins *bins, struct core_heap *heap, const struct core_place *place, size_t size)
{
    struct core_owner *owner = bins->owner;
    struct section *section = owner->section;
    struct span_image *span = place->span;
    if (size > section->units_bytes)
        return false;
    uint64_t bytes = large_bytes(section, size);
    uint32_t units = load_relaxed(&span->span_units);
    uint32_t units_new = (uint32_t)large_units(section, bytes);

    if (units_new > units && !span_extend(owner, heap, place->unit, units, units_new))
        return false;
    if (units_new >= units) {
        uint64_t offset = section_offset(section, section_unit(section, place->unit));
        if (span_commit(section, owner->number, offset, bytes) < 0)
            return false;
        store_relaxed(&span->large_bytes, bytes);
        store_relaxed(&span->exact_bytes, size);
        refresh(heap);
        return true;
    }
    store_relaxed(&span->large_bytes, bytes);
    store_relaxed(&span->exact_bytes, size);
    span_shorten(owner, place->heap, place->unit, units, units_new);
    settle(owner, place->unit + units_new, place->unit + units);
    return true;
}

bool core_resize_large(struct bins *bins, struct core_heap *heap, const struct core_place *place, size_t size)
{
    struct core_owner *owner = bins->owner;
    set_hand(owner, HAND_RESIZE, section_ref(owner->section, place->block), heap);
    atomic_thread_fence(memory_order_seq_cst); /* whoever destroys the heap sees the hand, or this sees the new life */
    bool same = load_acquire(&owner->section->unit_words[place->unit]) == place->word &&
                (load_relaxed(heap->life) == load_relaxed(&heap->life_made) || is_lockable(heap));
    bool done = same && resize_in_place(bins, heap, place, size);
    clear_hand(owner);
    return done;
}

/* ================================================================ alloc */

void *core_alloc(struct bins *bins, struct core_heap *heap, size_t size, int *ret_error)
{
    bool is_zero;
    if (size > heap->slab_max)
        return alloc_large(bins, heap, size, 1, HAND_NOTHING, &is_zero, ret_error);
    void *block = alloc_small(bins, heap, class_of(size), 1, size, ret_error);
    /* A slab of several units needs them in a row; for one block fewer may do. */
    if (block == NULL && *ret_error != -EAGAIN &&
        slab_geometry_of(class_of(size), heap->section->unit_shift, heap->exact).span_units > 1)
        block = alloc_large(bins, heap, size, 1, HAND_NOTHING, &is_zero, ret_error);
    return block;
}

void *core_alloc_zeroed(struct bins *bins, struct core_heap *heap, size_t size, int *ret_error)
{
    bool is_zero = false;
    void *block = size <= heap->slab_max ? core_alloc(bins, heap, size, ret_error)
                                         : alloc_large(bins, heap, size, 1, HAND_NOTHING, &is_zero, ret_error);
    if (block != NULL && !is_zero)
        memset(block, 0, core_find(heap, block).bytes_granted);
    return block;
}

void *core_alloc_aligned(struct bins *bins, struct core_heap *heap, size_t alignment, size_t size, int *ret_error)
{
    /* A class whose block size is a multiple of the alignment, if slabs themselves begin so aligned. */
    const struct section *section = heap->section;
    uint64_t slab_alignment = (uintptr_t)section->units | UINT64_C(1) << section->unit_shift;
    if ((uintptr_t)section->units % min_u64(alignment, UINT64_C(1) << section->unit_shift) != 0) {
        *ret_error = -EINVAL; /* memory of the caller's that is less aligned itself */
        return NULL;
    }
    size_t at_least = size > alignment ? size : alignment;
    if (at_least <= heap->slab_max && alignment <= (slab_alignment & -slab_alignment)) {
        uint32_t size_class = class_of(at_least);
        while (size_class < CLASS_COUNT && class_bytes(size_class) % alignment != 0)
            size_class++;
        bool told = !heap->exact || class_bytes(size_class % CLASS_COUNT) >= 2048 ||
                    class_bytes(size_class % CLASS_COUNT) - size <= UINT8_MAX;
        if (size_class < CLASS_COUNT && class_bytes(size_class) <= heap->slab_max && told)
            return alloc_small(bins, heap, size_class, alignment, size, ret_error);
    }
    bool is_zero;
    return alloc_large(bins, heap, size, alignment, HAND_NOTHING, &is_zero, ret_error);
}

/*
 *     hand   0        A,b    A,b    A,b    A,b    0
 *     live   0        0      1      1      1
 *     *dest  old      old    old    old    b      <- commits
 *     bytes                         zero
 */
void *core_alloc_to(struct bins *bins, struct core_heap *heap, size_t size, void **dest, uint64_t dest_ref,
                    int *ret_error)
{
    struct core_owner *owner = bins->owner;
    struct section *section = owner->section;
    store_relaxed(&owner->image->hand_dest, dest_ref);
    void *block;
    if (size <= heap->slab_max) {
        struct bin *bin = &bins->bin[class_of(size)];
        if (bin->claim == 0) {
            int error = refill(bins, heap, class_of(size));
            if (error < 0) {
                *ret_error = error;
                return NULL;
            }
        }
        block = bin->word_base + (size_t)bit_lowest(bin->claim) * bin->block_bytes;
        set_hand(owner, HAND_ALLOC_TO, section_ref(section, block), heap);
        alloc_sized(bins, bin, size);
        step();
        memset(block, 0, bin->block_bytes);
    } else {
        bool is_zero;
        block = alloc_large(bins, heap, size, 1, HAND_ALLOC_TO, &is_zero, ret_error);
        if (block == NULL)
            return NULL;
        if (!is_zero)
            memset(block, 0, large_bytes(section, size));
    }
    step();
    __atomic_store_n(dest, block, __ATOMIC_RELEASE);
    clear_hand(owner);
    return block;
}

/* ================================================================ free */

struct core_place core_find(const struct core_heap *heap, const void *block)
{
    const struct section *section = heap->section;
    uint32_t life_made = load_relaxed(&heap->life_made);
    struct core_place place = {.crime = CRIME_FOREIGN};
    if (!section_holds_units(section, block))
        return place;
    uint32_t unit = (uint32_t)((uint64_t)((const unsigned char *)block - section->units) >> section->unit_shift);
    place.crime = CRIME_UNALLOCATED;
    if (unit >= section_units_end(section))
        return place;

    uint64_t word = load_acquire(&section->unit_words[unit]);
    if (unit_state_of(word) == UNIT_TAIL) {
        unit = unit_low_of(word);
        if (unit >= section_units_end(section))
            return place;
        word = load_acquire(&section->unit_words[unit]);
    }
    enum unit_state state = unit_state_of(word);
    place.unit = unit;
    place.word = word;
    place.heap = unit_heap_of(word);
    place.span = section_span(section, unit);
    if (state == UNIT_FREE && word != 0)
        place.crime = CRIME_FREED; /* there was something here once */
    if (state != UNIT_SLAB && state != UNIT_ORPHAN && state != UNIT_LARGE)
        return place;

    uint64_t inside = (uint64_t)((const unsigned char *)block - section_unit(section, unit));
    if (state == UNIT_LARGE) {
        place.block = section_unit(section, unit);
        place.bytes_granted = load_relaxed(&place.span->large_bytes);
        place.bytes = heap->exact ? load_relaxed(&place.span->exact_bytes) : place.bytes_granted;
        place.crime = inside != 0 ? CRIME_INTERIOR : CRIME_NONE;
    } else {
        uint32_t block_bytes = load_relaxed(&place.span->block_bytes);
        uint32_t index = (uint32_t)(inside * load_relaxed(&place.span->reciprocal) >> 32);
        uint32_t ready = load_acquire(&place.span->ready);
        place.index = index;
        place.bytes = place.bytes_granted = block_bytes;
        if (index >= ready || index >= SLAB_BLOCKS_MAX)
            return place;
        if (heap->exact && place.heap == heap->number)
            place.bytes = get_exact(section, unit, place.span, index);
        place.block = section_unit(section, unit) + (size_t)index * block_bytes;
        if ((uint64_t)index * block_bytes != inside)
            place.crime = CRIME_INTERIOR;
        else
            place.crime = (slab_live_word(place.span, index / 64) >> index % 64 & 1) != 0 ? CRIME_NONE : CRIME_FREED;
    }
    if (place.heap != heap->number)
        place.crime = CRIME_WRONG_HEAP;
    else if (place.crime == CRIME_NONE && unit_low_of(word) != life_made)
        place.crime = CRIME_STALE;
    return place;
}

/* A block of this owner's own slab that was looked up by core_find. */
static void free_own(struct bins *bins, const struct core_place *place)
{
    atomic_u64 *word = &span_live(place->span)[place->index / 64];
    store_relaxed(word, load_relaxed(word) & ~(UINT64_C(1) << place->index % 64));
    clear_hand(bins->owner); /* before the slab can be given back and be another's */
    if (slab_count_free(place->span))
        notice_slab(bins, place->unit, place->span);
}

bool core_free_mine(struct bins *bins, const struct core_heap *heap, const void *block)
{
    const struct section *section = heap->section;
    uint64_t offset = (uint64_t)((const unsigned char *)block - heap->units);
    uint64_t unit = offset >> section->unit_shift;
    uint32_t units_end = section_units_end(section);
    if (unit >= units_end)
        return false;
    uint64_t word = load_relaxed(&heap->unit_words[unit]);
    if (unit_state_of(word) == UNIT_TAIL) {
        unit = unit_low_of(word);
        word = unit < units_end ? load_relaxed(&heap->unit_words[unit]) : 0;
    }
    if (word != bins->word)
        return false;

    struct span_image *slab = (struct span_image *)(void *)(heap->spans + unit * heap->span_stride);
    uint64_t inside = offset - (unit << section->unit_shift);
    uint64_t index = inside * load_relaxed(&slab->reciprocal) >> 32;
    if (index * load_relaxed(&slab->block_bytes) != inside || index >= load_relaxed(&slab->ready) ||
        index >= SLAB_BLOCKS_MAX)
        return false;
    atomic_u64 *live = &span_live(slab)[index / 64];
    uint64_t rest = load_relaxed(live);
    if (!bit_take(&rest, index) || load_relaxed(live + load_relaxed(&slab->elsewhere_at)) != 0)
        return false; /* as in core_free_local */
    store_relaxed(live, rest);
    if (slab_count_free(slab))
        notice_slab(bins, (uint32_t)unit, slab);
    return true;
}

/*
 * The fetch_or commits. While the hand names the block no drain takes it, so the slab can neither be released nor the
 * block be handed out again before the hand is cleared: until then this thread may look at the slab, afterwards not.
 */
ALWAYS_INLINE enum core_crime free_elsewhere(struct core_owner *owner, const struct core_place *place)
{
    struct section *section = owner->section;
    atomic_u64 *elsewhere = &span_elsewhere(place->span)[place->index / 64];
    uint64_t bit = UINT64_C(1) << place->index % 64;
    uint64_t before = fetch_or_acq_rel(elsewhere, bit);
    if ((before & bit) != 0)
        return CRIME_FREED;
    if ((load_acquire(&span_live(place->span)[place->index / 64]) & bit) == 0) {
        /* Freed, and drained, since it was looked at. It cannot be out again: this bit keeps it from every claim. */
        fetch_and_acq_rel(elsewhere, ~bit);
        return CRIME_FREED;
    }

    uint32_t receiver = unit_owner_of(place->word);
    if (unit_state_of(place->word) == UNIT_SLAB && receiver != 0 && receiver <= section->owners_max) {
        struct owner_image *image = section_owner(section, receiver);
        atomic_u64 *news = &image->news[place->unit / 64 % NEWS_WORDS];
        uint64_t news_bit = UINT64_C(1) << place->unit % 64;
        if ((load_relaxed(news) & news_bit) == 0)
            atomic_fetch_or(news, news_bit);
        if (load_relaxed(&image->has_news) == 0)
            store_relaxed(&image->has_news, 1);
    }
    return CRIME_NONE;
}

enum core_crime core_free(struct bins *bins, struct core_heap *heap, void *block)
{
    struct core_owner *owner = bins->owner;
    struct core_place place = core_find(heap, block);
    if (place.crime != CRIME_NONE)
        return place.crime;
    refresh(heap);
    if (unit_state_of(place.word) == UNIT_LARGE)
        return free_large(owner, &place);
    if (place.word == bins->word) {
        free_own(bins, &place);
        return CRIME_NONE;
    }
    set_hand(owner, HAND_FREE, section_ref(owner->section, block), heap);
    /* The heap may have been destroyed since the bins were looked at: whoever destroys it reads the hands after a
     * barrier that follows its store to life, so either it sees this hand, or this load sees its store. */
    enum core_crime crime = load_relaxed(heap->life) != load_relaxed(&heap->life_made) && !is_lockable(heap)
                                ? CRIME_DESTROYED
                                : free_elsewhere(owner, &place);
    clear_hand(owner);
    return crime;
}

bool core_free_other(struct bins *bins, const struct core_heap *heap, const void *block, enum core_crime *ret_crime)
{
    uint64_t offset = (uint64_t)((const unsigned char *)block - heap->units);
    uint64_t unit = offset >> UNIT_SHIFT_MAX;
    if (!word_is_above(&heap->local_end, unit))
        return false;
    struct core_place place = {
        .unit = (uint32_t)unit,
        .word = load_acquire(&heap->unit_words[unit]),
        .span = (struct span_image *)(void *)(heap->spans + unit * heap->span_stride),
    };
    if (unit_disowned(place.word ^ bins->word) != 0 || place.word == bins->word)
        return false;
    uint64_t reciprocal = load_relaxed(&place.span->reciprocal);
    uint64_t product = (offset & bits_below(UNIT_SHIFT_MAX)) * reciprocal;
    place.index = (uint32_t)(product >> 32);
    if ((uint32_t)product >= (uint32_t)reciprocal || place.index >= load_acquire(&place.span->ready) ||
        place.index >= SLAB_BLOCKS_MAX || (slab_live_word(place.span, place.index / 64) >> place.index % 64 & 1) == 0)
        return false;
    struct core_owner *owner = bins->owner;
    set_hand(owner, HAND_FREE, section_ref(owner->section, block), heap);
    bool lives = load_relaxed(heap->life) == unit_low_of(bins->word); /* with a barrier, as in core_free */
    if (lives)
        *ret_crime = free_elsewhere(owner, &place);
    clear_hand(owner);
    return lives;
}

/* As alloc_to backwards: the store to *dest comes first, so that nobody finds a freed block there. */
enum core_crime core_free_from(struct bins *bins, struct core_heap *heap, void **dest, uint64_t dest_ref)
{
    struct core_owner *owner = bins->owner;
    void *block = *dest;
    struct core_place place = core_find(heap, block);
    if (place.crime != CRIME_NONE)
        return place.crime;
    store_relaxed(&owner->image->hand_dest, dest_ref);
    set_hand(owner, HAND_FREE_FROM, section_ref(owner->section, block), heap);
    if (load_relaxed(heap->life) != load_relaxed(&heap->life_made) && !is_lockable(heap)) {
        clear_hand(owner); /* as in core_free */
        return CRIME_DESTROYED;
    }
    __atomic_store_n(dest, NULL, __ATOMIC_RELEASE);
    step();
    enum core_crime crime = CRIME_NONE;
    if (unit_state_of(place.word) == UNIT_LARGE)
        crime = free_large(owner, &place);
    else if (place.word == bins->word)
        free_own(bins, &place);
    else
        crime = free_elsewhere(owner, &place);
    clear_hand(owner);
    return crime;
}

uint64_t core_trim(struct bins *bins, struct core_heap *heap)
{
    (void)heap;
    take_news(bins);
    owner_sweep(bins->owner);
    (void)release_empty(bins);
    adopt(bins, CLASS_COUNT, UINT32_MAX);
    span_reach_committed(bins->owner->section);
    return span_decommit(bins->owner, 0, section_units_end(bins->owner->section));
}

/* ================================================================ spans of heaps that were destroyed */

/*
 * Whether a span belongs to a life of its heap that is over, and everybody knows: a heap that is stopped, or that is
 * being destroyed and whose barrier may not have passed (PENDING), is not dead yet.
 */
static bool is_dead(const struct section *section, uint64_t word)
{
    uint32_t heap = unit_heap_of(word);
    if (heap == 0 || heap > section->heaps_max)
        return false;
    const struct heap_image *image = section_heap(section, heap);
    uint64_t life = load_acquire(&image->life);
    return !life_is_stopped(life) && life != unit_low_of(word) &&
           record_state_of(load_acquire(&image->word)) != RECORD_PENDING;
}

/* Frees a span of a dead heap that is this owner's or nobody's; one CAS decides between two that sweep. */
static void sweep_span(struct section *section, uint32_t by, uint32_t unit, uint64_t word)
{
    uint32_t units = load_relaxed(&section_span(section, unit)->span_units);
    if (units == 0 || units > section_units_end(section) - unit || is_in_a_hand(section, unit, units))
        return;
    uint64_t freeing = unit_word(UNIT_FREEING, by, unit_heap_of(word), unit_low_of(word));
    if (cas_acq_rel(&section->unit_words[unit], &word, freeing))
        span_free(section, by, unit, units, unit_heap_of(word));
}

/* The same of whatever stands at a unit; who destroyed the heap may have been killed before it came to that. */
static void sweep_unit(struct section *section, uint32_t by, uint32_t unit, uint64_t word)
{
    enum unit_state state = unit_state_of(word);
    bool mine = state == UNIT_SLAB && unit_owner_of(word) == by;
    if (!(mine || state == UNIT_ORPHAN || state == UNIT_LARGE || state == UNIT_KEPT) || !is_dead(section, word))
        return;
    if (state == UNIT_KEPT)
        (void)span_free_unit(section, by, unit, word);
    else
        sweep_span(section, by, unit, word);
}

/* ================================================================ owners */

int owner_claim(struct core_owner *ret_owner, struct section *section, const struct core_memory *memory,
                uint32_t process, uint32_t thread_id)
{
    uint32_t number = 1;
    for (;; number++) {
        if (number > section->owners_max)
            return -EAGAIN;
        struct owner_image *image = section_owner(section, number);
        if (number > load_acquire(&section->image->owners_end)) {
            int error = section_commit_records(section, image, sizeof *image, &section->image->owners_end, number - 1,
                                               number - 1);
            if (error < 0)
                return error;
        }
        uint64_t seen = load_acquire(&image->word);
        if (record_state_of(seen) == RECORD_FREE &&
            cas_acq_rel(&image->word, &seen, record_word(RECORD_LIVE, process, record_generation_of(seen))))
            break;
    }
    *ret_owner = (struct core_owner){
        .section = section,
        .image = section_owner(section, number),
        .memory = memory,
        .number = number,
        .process = process,
        .destroys_seen = load_acquire(&section->image->destroys),
    };
    ret_owner->image->thread_id = thread_id;
    return 0;
}

/* A slab of a heap that was destroyed is nobody's to adopt. */
static void give_up_span(struct core_owner *owner, uint32_t unit, uint64_t word)
{
    atomic_u64 *unit_at = &owner->section->unit_words[unit];
    if (is_dead(owner->section, word))
        sweep_span(owner->section, owner->number, unit, word);
    if (unit_state_of(word) == UNIT_LARGE)
        (void)cas_acq_rel(unit_at, &word, unit_disowned(word));
    else if (load_relaxed(unit_at) == word && !slab_is_sound(owner->section, unit))
        store_release(&owner->section->image->damaged, UINT64_C(1) + unit); /* in a changed file: it stays as it is */
    else if (load_relaxed(unit_at) == word)
        orphan_slab(owner, unit, word);
}

bool owner_is_there(const struct section *section, uint64_t number, uint64_t generation)
{
    if (number == 0 || number > section->owners_max || number > load_acquire(&section->image->owners_end))
        return false;
    uint64_t word = load_acquire(&section_owner(section, (uint32_t)number)->word);
    if (record_state_of(word) != RECORD_LIVE || record_generation_of(word) != generation)
        return false;
    uint32_t process = record_process_of(word);
    return section->processes_max == 0 || /* a private section has no processes */
           (process != 0 && process <= section->processes_max &&
            process <= load_acquire(&section->image->processes_end) &&
            record_state_of(load_acquire(&section_process(section, process)->word)) == RECORD_LIVE);
}

void owner_leave(struct core_owner *owner)
{
    struct section *section = owner->section;
    uint32_t end = section_units_end(section);
    for (uint32_t unit = 0; unit < end; unit++) {
        uint64_t word = load_relaxed(&section->unit_words[unit]);
        bool is_span = unit_state_of(word) == UNIT_SLAB || unit_state_of(word) == UNIT_LARGE;
        if (is_span && unit_owner_of(word) == owner->number)
            give_up_span(owner, unit, word);
    }
    store_relaxed(&owner->image->hand, 0);
    for (uint32_t w = 0; w < NEWS_WORDS; w++)
        store_relaxed(&owner->image->news[w], 0);
    uint64_t generation = record_generation_of(load_relaxed(&owner->image->word)) + 1;
    store_release(&owner->image->word, record_word(RECORD_FREE, 0, generation));
}

/* ================================================================ heaps */

static int claim_heap_from(struct section *section, uint32_t first, const struct heap_params *params,
                           uint32_t *ret_number)
{
    for (uint32_t number = first; number <= section->heaps_max; number++) {
        struct heap_image *image = section_heap(section, number);
        if (number > load_acquire(&section->image->heaps_end)) {
            int error = section_commit_records(section, image, sizeof *image, &section->image->heaps_end, number - 1,
                                               number - 1);
            if (error < 0)
                return error;
        }
        uint64_t seen = load_acquire(&image->word);
        /*
         * A number whose last heap was destroyed is free when the last of its spans was given up; that of a private
         * heap which was closed, when its children have ended: they are charged to it.
         */
        if (record_state_of(seen) != RECORD_FREE || load_relaxed(&image->bytes_charged) != 0 ||
            heap_has_children(section, number) ||
            !cas_acq_rel(&image->word, &seen, record_word(RECORD_PENDING, params->process, record_generation_of(seen))))
            continue;
        image->bytes_max = params->bytes_max;
        image->options = params->options;
        image->parent = params->parent;
        image->creator_generation = 0;
        if (params->process != 0)
            image->creator_generation =
                record_generation_of(load_relaxed(&section_process(section, params->process)->word));
        store_relaxed(&image->bytes_kept, 0);
        store_relaxed(&image->had_children, 0);
        if (params->parent != 0)
            store_relaxed(&section_heap(section, params->parent)->had_children, 1);
        store_relaxed(&image->bytes_peak, 0);
        store_relaxed(&image->orphans, 0);
        store_relaxed(&image->units_low, 0);
        store_relaxed(&image->units_high, 0);
        store_relaxed(&image->life, next_life((uint32_t)(load_relaxed(&image->life) & UNIT_LIFE_MASK)));
        store_release(&image->word, record_word(RECORD_LIVE, params->process, record_generation_of(seen)));
        store_relaxed(&section->image->heap_hint, number);
        *ret_number = number;
        return 0;
    }
    return -ENOSPC;
}

int heap_claim(struct section *section, const struct heap_params *params, uint32_t *ret_number)
{
    /* A child's number is above its parent's, so that a walk up the parents ends. */
    uint32_t hint = load_relaxed(&section->image->heap_hint);
    uint32_t lowest = params->parent + 1;
    int error = claim_heap_from(section, hint > lowest ? hint : lowest, params, ret_number);
    return error == -ENOSPC && hint > lowest ? claim_heap_from(section, lowest, params, ret_number) : error;
}

int heap_keep(struct core_owner *owner, struct core_heap *heap, uint64_t bytes_start)
{
    struct section *section = owner->section;
    if (bytes_start > section->units_bytes)
        return -ENOSPC;
    uint64_t units = (bytes_start + (UINT64_C(1) << section->unit_shift) - 1) >> section->unit_shift;
    if (units == 0)
        return 0;
    struct span_taken span;
    int error = span_take(owner, heap, load_relaxed(&heap->life_made), (uint32_t)units, 1, &span);
    if (error < 0)
        return error;
    uint64_t offset = section_offset(section, section_unit(section, span.unit));
    error = span_commit(section, owner->number, offset, units << section->unit_shift);
    if (error == 0)
        error = section_populate(section, offset, units << section->unit_shift);
    if (error < 0) {
        span_put_back(owner, heap, &span);
        return error;
    }
    span_set_aside(owner, heap, &span);
    refresh(heap);
    return 0;
}

void heap_view_init(struct core_heap *ret_heap, struct section *section, uint32_t number)
{
    struct heap_image *image = section_heap(section, number);
    ret_heap->life = &image->life;
    ret_heap->units = section->units;
    ret_heap->unit_words = section->unit_words;
    ret_heap->spans = section->spans;
    ret_heap->span_stride = section->span_stride;
    ret_heap->number = number;
    ret_heap->slab_max = (uint32_t)class_slab_max(section->unit_shift);
    ret_heap->section = section;
    ret_heap->image = image;
    store_relaxed(&ret_heap->life_made, (uint32_t)(load_relaxed(&image->life) & UNIT_LIFE_MASK));
    ret_heap->word_made = load_acquire(&image->word);
    ret_heap->exact = (image->options & HEAP_EXACT_SIZES) != 0;
    ret_heap->guard = (image->options & (HEAP_EXACT_SIZES | HEAP_LOCKABLE)) != 0 ? GUARDED : 0;
    refresh(ret_heap);
}

/*
 * Frees the span at a head, and returns how many units it had; one that its owner is giving back just now is left to
 * it.
 */
static uint32_t clear_span(struct section *section, uint32_t by, uint32_t unit, uint64_t word)
{
    enum unit_state state = unit_state_of(word);
    if (state == UNIT_KEPT)
        return cas_acq_rel(&section->unit_words[unit], &word, UNIT_FREE_USED) ? 1 : 0;
    if (state != UNIT_SLAB && state != UNIT_ORPHAN && state != UNIT_LARGE)
        return 0;
    uint64_t freeing = unit_word(UNIT_FREEING, by, unit_heap_of(word), unit_low_of(word));
    uint32_t units = load_relaxed(&section_span(section, unit)->span_units);
    if (!cas_acq_rel(&section->unit_words[unit], &word, freeing))
        return 0;
    span_free_units(section, unit, units);
    return units;
}

void heap_clear(struct core_owner *owner, struct core_heap *heap)
{
    struct section *section = heap->section;
    struct heap_image *image = heap->image;
    uint32_t life = next_life(load_relaxed(&heap->life_made));
    store_relaxed(&heap->life_made, life);
    if (load_relaxed(&image->life) != LIFE_LOCKED) /* else whoever gives its lock back lets it go on */
        store_release(&image->life, life);
    store_relaxed(&image->bytes_kept, 0);
    uint32_t low = ~load_relaxed(&image->units_low);
    uint32_t high = (uint32_t)min_u64(load_relaxed(&image->units_high), section_units_end(section));
    uint64_t freed = 0;
    uint32_t lowest = low;
    span_free_begin(section, owner->number, heap->number);
    for (uint32_t unit = low; unit < high; unit++) {
        uint64_t word = load_acquire(&section->unit_words[unit]);
        if (freed == 0)
            lowest = unit;
        if (unit_heap_of(word) != heap->number)
            continue;
        note_ended(owner, unit, word, heap->exact);
        freed += clear_span(section, owner->number, unit, word);
    }
    span_free_end(section, owner->number, heap->number, lowest, freed);
    store_relaxed(&image->units_low, 0);
    store_relaxed(&image->units_high, 0);
    store_relaxed(&image->orphans, 0);
    if (low < high)
        settle(owner, low, high);
}

static void free_record(struct section *section, uint32_t number)
{
    struct heap_image *image = section_heap(section, number);
    uint64_t word = load_acquire(&image->word);
    if (record_state_of(word) == RECORD_FREE ||
        !cas_acq_rel(&image->word, &word, record_word(RECORD_FREE, 0, record_generation_of(word) + 1)))
        return;
    if (number < load_relaxed(&section->image->heap_hint))
        store_relaxed(&section->image->heap_hint, number);
}

void heap_give_back(struct section *section, uint32_t number)
{
    free_record(section, number);
}

void heap_end(struct core_owner *owner, struct core_heap *heap)
{
    heap_clear(owner, heap);
    store_release(&heap->image->life, load_relaxed(&heap->life_made));
    free_record(heap->section, heap->number);
}

/* ---------------------------------------------------------------- parts of a heap */

/*
 * Which children a heap has is told by their records alone: a count beside them would be wrong after a kill between
 * their store and its own. Only a record that is LIVE tells its parent; one that is PENDING may still tell an earlier
 * heap's.
 */
static uint32_t live_parent_of(const struct section *section, uint32_t number)
{
    const struct heap_image *image = section_heap(section, number);
    uint64_t word = load_acquire(&image->word);
    uint32_t parent = load_relaxed(&image->parent);
    return record_state_of(word) == RECORD_LIVE && parent < number ? parent : 0;
}

static uint32_t heaps_end(const struct section *section)
{
    uint32_t end = load_acquire(&section->image->heaps_end);
    return end < section->heaps_max ? end : section->heaps_max;
}

const struct heap_image *heap_limited(const struct section *section, const struct heap_image *heap)
{
    while (load_relaxed(&heap->bytes_max) == 0) {
        uint32_t parent = load_relaxed(&heap->parent);
        if (parent == 0)
            return NULL;
        heap = section_heap(section, parent);
    }
    return heap;
}

bool heap_has_children(const struct section *section, uint32_t number)
{
    if (load_relaxed(&section_heap(section, number)->had_children) == 0)
        return false;
    uint32_t end = heaps_end(section);
    for (uint32_t child = number + 1; child <= end; child++) {
        if (live_parent_of(section, child) == number)
            return true;
    }
    return false;
}

/* Killed, and not swept yet, by or in the name of a process. */
static bool is_killed_by(const struct section *section, uint32_t number, uint32_t process)
{
    uint64_t word = load_acquire(&section_heap(section, number)->word);
    return record_state_of(word) == RECORD_PENDING && record_process_of(word) == process;
}

bool heap_kill_parts(struct section *section, uint32_t process)
{
    bool any = false;
    uint32_t end = heaps_end(section);
    for (uint32_t number = 1; number <= end; number++) {
        uint64_t word = load_acquire(&section_heap(section, number)->word);
        uint32_t parent = live_parent_of(section, number);
        if (parent != 0 && is_killed_by(section, parent, process) && heap_kill(section, process, number, word))
            any = true;
    }
    return any;
}

void heap_sweep_killed(struct section *section, uint32_t by, uint32_t process, uint32_t whole)
{
    for (uint32_t number = heaps_end(section); number != 0; number--) {
        if (is_killed_by(section, number, process) && heap_is_part_of(section, number, whole))
            heap_sweep(section, by, number);
    }
}

/* ---------------------------------------------------------------- heaps that others work in */

bool heap_kill(struct section *section, uint32_t process, uint32_t number, uint64_t record)
{
    struct heap_image *image = section_heap(section, number);
    uint64_t pending = record_word(RECORD_PENDING, process, record_generation_of(record));
    if (!cas_acq_rel(&image->word, &record, pending))
        return false; /* another was faster */
    /* A reset that stopped it finds its life changed, and gives up. */
    uint64_t life = load_relaxed(&image->life);
    while (!cas_acq_rel(&image->life, &life, next_life((uint32_t)(life & UNIT_LIFE_MASK))))
        ;
    return true;
}

/* The next heap of that number must not find them. */
static void drop_roots(struct section *section, uint32_t heap)
{
    uint32_t end = load_acquire(&section->image->roots_end);
    for (uint32_t i = 0; i < end && i < section->roots_max; i++) {
        uint64_t word = load_acquire(&section->roots[i].word);
        while ((word >> RECORD_STATE_SHIFT) != RECORD_FREE && (word >> ROOT_HEAP_SHIFT & UNIT_HEAP_MASK) == heap &&
               !cas_acq_rel(&section->roots[i].word, &word, (word + 1) & ROOT_COUNT_MASK))
            ; /* it became LIVE just now */
    }
}

void heap_sweep(struct section *section, uint32_t by, uint32_t number)
{
    if (record_state_of(load_acquire(&section_heap(section, number)->word)) == RECORD_PENDING) {
        drop_roots(section, number);
        free_record(section, number);
    }
    fetch_add_relaxed(&section->image->destroys, 1);
    uint32_t end = section_units_end(section);
    for (uint32_t unit = 0; unit < end; unit++) {
        uint64_t word = load_acquire(&section->unit_words[unit]);
        if (unit_heap_of(word) == number)
            sweep_unit(section, by, unit, word);
    }
}

void owner_sweep(struct core_owner *owner)
{
    struct section *section = owner->section;
    owner->destroys_seen = load_acquire(&section->image->destroys);
    uint32_t end = section_units_end(section);
    for (uint32_t unit = 0; unit < end; unit++)
        sweep_unit(section, owner->number, unit, load_acquire(&section->unit_words[unit]));
}

/* ---------------------------------------------------------------- resetting it */

/*
 *     life   L          L,me         L,me          L + 1    <- commits: every span of L is dead from here
 *     hand   reset,L    reset,L      reset,L       0
 *                       (barrier)    (others hold none)
 *
 * Killed while the heap is stopped in its name, recovery restores L from the hand.
 */
bool heap_reset_begin(struct core_owner *owner, struct core_heap *heap)
{
    uint64_t life = load_relaxed(&heap->life_made);
    set_hand(owner, HAND_RESET, 0, heap);
    if (cas_acq_rel(&heap->image->life, &life, life_stopped_by(owner->number, (uint32_t)life)))
        return true;
    clear_hand(owner);
    return false;
}

/* The hand is set before the heap is stopped, and cleared after it goes on. */
static bool is_resetting(const struct section *section, uint64_t number, uint32_t heap)
{
    if (number == 0 || number > section->owners_max || number > load_acquire(&section->image->owners_end))
        return false;
    const struct owner_image *owner = section_owner(section, (uint32_t)number);
    return owner_is_there(section, number, record_generation_of(load_acquire(&owner->word))) &&
           load_acquire(&owner->hand) >> HAND_OP_SHIFT == HAND_RESET && load_acquire(&owner->hand_life) >> 32 == heap;
}

bool heap_is_stopped_by_nobody(const struct section *section, uint32_t number)
{
    const struct heap_image *image = section_heap(section, number);
    uint64_t life = load_acquire(&image->life);
    uint64_t owner = (life & ~LIFE_STOPPED) >> UNIT_HEAP_SHIFT;
    if (!life_is_stopped(life))
        return false;
    return (life & LIFE_STOPPED) == 0 || (life & UNIT_LIFE_MASK) == 0 ||
           (!is_resetting(section, owner, number) && load_acquire(&image->life) == life &&
            !is_resetting(section, owner, number));
}

bool heap_reset_finish(struct core_owner *owner, struct core_heap *heap)
{
    struct section *section = owner->section;
    struct heap_image *image = heap->image;
    uint32_t life = load_relaxed(&heap->life_made);
    uint64_t stopped = life_stopped_by(owner->number, life);
    uint32_t end = section_units_end(section);
    for (uint32_t unit = 0; unit < end; unit++) {
        uint64_t word = load_acquire(&section->unit_words[unit]);
        enum unit_state state = unit_state_of(word);
        bool is_held = state == UNIT_SLAB || state == UNIT_LARGE || state == UNIT_TAKEN || state == UNIT_FREEING;
        uint32_t holder = unit_owner_of(word);
        if (is_held && unit_heap_of(word) == heap->number && holder != 0 && holder != owner->number) {
            (void)cas_acq_rel(&image->life, &stopped, life);
            clear_hand(owner);
            return false;
        }
    }
    bool done = cas_acq_rel(&image->life, &stopped, next_life(life));
    clear_hand(owner);
    if (!done)
        return false; /* destroyed meanwhile */
    store_relaxed(&heap->life_made, next_life(life));
    store_relaxed(&image->bytes_kept, 0);
    store_relaxed(&image->orphans, 0);
    heap_sweep(section, owner->number, heap->number);
    return true;
}
