/* SPDX-License-Identifier: MIT */
/*
 * retire: when a freed block may be used again, without waiting for anybody and without trusting anybody.
 *
 * Epochs (Fraser, "Practical lock-freedom", 2004), with readers that can be cut off:
 *
 *     publisher                                       reader i
 *
 *     unlink the block                                begin   c = cut[i];  e = epoch;  pin = e
 *     retire: note {block, epoch}                             fence
 *     look:   epoch + 1                                       cut[i] == c?  else again
 *             fence                                   read    roots, blocks
 *             pins                                    end     fence
 *     free what was retired before every pin                  cut[i] == c?  else -ESTALE
 *                                                             pin = 0
 *     cut off: epoch + 1;  cut[i] + 1
 *              fence
 *              then free what the pin held, without a second look
 *
 * The two fences before the pins are read and after the pin is stored: either the publisher sees the pin, or the reader
 * sees that the block is unlinked. A pin of an epoch after the one in which a block was retired cannot see it: the new
 * epoch was stored after the unlinking. Cut off, what the reader reads may be used again under its eyes; but whoever
 * sees a byte of that sees the new cut as well, which was stored before, and read_end looks at it last. The epoch grows
 * before the cut: so who begins after a cut pins an epoch in which pins count again (counts_from), and no pin from
 * before it does. test/model/pins.pml has it searched, with variants that must fail.
 *
 * Reading all pins for each free would cost more than the free, and a new epoch each time would take the line of the
 * epoch away from all readers: so both are done for a batch of blocks.
 */
#include <errno.h>
#include <string.h>

#include "publish/publish.h"

enum {
    BATCH_BLOCKS = 64,
    BATCH_SHARE = 16, /* of the limit */
    RING_FIRST = 256,
};

#define RETIRED_ALWAYS (UINT64_C(64) << 10) /* so much may be held back in the smallest heap */

/* ---------------------------------------------------------------- the ring and the bits */

int retirement_begin(struct retirement *retirement, struct core_heap *heap, struct slot *slots, uint32_t slots_count,
                     uint32_t deadline_ms)
{
    struct section *section = heap->section;
    *retirement = (struct retirement){
        .section = section,
        .heap = heap,
        .image = section->public_image,
        .slots = slots,
        .slots_count = slots_count,
        .deadline_ms = deadline_ms,
        .epoch = 1,
        .ring_size = RING_FIRST,
        .bits_bytes = align_up(section->units_bytes / CAIRN_ALIGNMENT / 8, platform_page_size()),
    };
    void *ring, *bits;
    int error = memory_get(&ring, RING_FIRST * sizeof *retirement->ring);
    if (error < 0)
        return error;
    error = memory_get(&bits, retirement->bits_bytes);
    if (error < 0) {
        memory_release(ring, RING_FIRST * sizeof *retirement->ring);
        return error;
    }
    retirement->ring = ring;
    retirement->bits = bits;
    return 0;
}

void retirement_end(struct retirement *retirement)
{
    memory_release(retirement->ring, retirement->ring_size * sizeof *retirement->ring);
    memory_release(retirement->bits, retirement->bits_bytes);
    retirement->ring = NULL;
    retirement->bits = NULL;
}

static bool ring_grow(struct retirement *r)
{
    void *memory;
    if (memory_get(&memory, 2 * r->ring_size * sizeof *r->ring) < 0)
        return false;
    struct retired *ring = memory;
    for (uint64_t i = r->first; i < r->end; i++)
        ring[i & (2 * r->ring_size - 1)] = r->ring[i & (r->ring_size - 1)];
    memory_release(r->ring, r->ring_size * sizeof *r->ring);
    r->ring = ring;
    r->ring_size *= 2;
    return true;
}

static struct retired *ring_at(const struct retirement *r, uint64_t count)
{
    return &r->ring[count & (r->ring_size - 1)];
}

static uint64_t place_of(const struct retirement *r, const void *block)
{
    return (uint64_t)((const unsigned char *)block - r->section->units) / CAIRN_ALIGNMENT;
}

bool is_retired(const struct retirement *r, const void *block)
{
    uint64_t place = place_of(r, block);
    return section_holds_units(r->section, block) && (load_relaxed(&r->bits[place / 64]) >> place % 64 & 1) != 0;
}

static void set_retired(struct retirement *r, const void *block, bool retired)
{
    uint64_t place = place_of(r, block);
    uint64_t bit = UINT64_C(1) << place % 64;
    uint64_t word = load_relaxed(&r->bits[place / 64]);
    store_relaxed(&r->bits[place / 64], retired ? word | bit : word & ~bit);
}

/* How much may be held back: a quarter of what is live, as the blocks were granted. */
static uint64_t bytes_limit(const struct retirement *r)
{
    return max_u64(RETIRED_ALWAYS, r->bytes_live / 4);
}

/* ---------------------------------------------------------------- pins */

static void new_epoch(struct retirement *r)
{
    r->epoch++;
    store_release(&r->image->epoch, r->epoch); /* pairs with load_acquire in cairn_read_begin */
}

static void store_cut(struct retirement *r, const struct slot *slot)
{
    uint64_t word = (uint64_t)slot->assignment << 32 | slot->cuts;
    store_release(&r->image->cut[slot - r->slots], word); /* pairs with the loads in cairn_read_begin and _end */
}

static void cut_off(struct retirement *r, struct slot *slot)
{
    new_epoch(r);
    slot->counts_from = r->epoch;
    slot->cuts++;
    slot->pinned = 0;
    store_cut(r, slot);
    r->cut_off++;
}

void slot_assign(struct retirement *r, struct slot *slot)
{
    slot->is_misbehaving = false;
    slot->counts_from = 0;
    slot->pinned = 0;
    store_cut(r, slot);
}

void slot_resign(struct retirement *r, struct slot *slot)
{
    new_epoch(r);
    slot->assignment++;
    slot->cuts = 0;
    slot->pinned = 0;
    store_cut(r, slot);
}

static void misbehave(struct retirement *r, struct slot *slot, const char *misconduct)
{
    slot->is_misbehaving = true;
    slot->misconduct = misconduct;
    slot_resign(r, slot);
}

/*
 * Reads a reader's pin, once, and notes the epoch that it pins, 0 for none. The page is the reader's to write as it
 * likes: it may pin for too long, which has its deadline, and it may show what no reader shows, and then is none.
 */
static void look_at_pin(struct retirement *r, struct slot *slot, uint64_t now)
{
    if (slot->socket < 0 || slot->is_misbehaving)
        return;
    uint64_t pin = load_acquire(&slot->pin->epoch);
    if (pin == 0 || pin < slot->counts_from) {
        slot->pinned = 0;
    } else if (pin > r->epoch || pin < slot->pinned) {
        misbehave(r, slot, pin > r->epoch ? "pinned an epoch that is not yet" : "pinned an epoch after a later one");
    } else if (pin != slot->pinned) {
        slot->pinned = pin;
        slot->pinned_since = now;
    }
}

/* Begins an epoch, so that who begins to read now pins nothing of before, and looks at every pin. */
static void look_at_pins(struct retirement *r)
{
    uint64_t now = time_passed();
    new_epoch(r);
    atomic_thread_fence(memory_order_seq_cst); /* with the one in cairn_read_begin */
    for (uint32_t i = 0; i < r->slots_count; i++)
        look_at_pin(r, &r->slots[i], now);
    r->looked_at_end = r->end;
    r->looked_at_bytes = r->bytes + r->bytes_freed;
    r->calls = 0;
}

/* Of those that the last look saw, and that were not cut off since: who pins the earliest epoch; NULL: nobody does. */
static struct slot *earliest_pin(const struct retirement *r)
{
    struct slot *earliest = NULL;
    for (uint32_t i = 0; i < r->slots_count; i++) {
        struct slot *slot = &r->slots[i];
        if (slot->pinned != 0 && (earliest == NULL || slot->pinned < earliest->pinned))
            earliest = slot;
    }
    return earliest;
}

/* ---------------------------------------------------------------- freeing */

/*
 * Frees what the last look saw nobody at. Who has pinned since then began after it, and cannot see what was retired
 * before it: so there is no second look, which a reader who shows its pin by turns could spoil again and again.
 */
static void free_unseen(struct retirement *r, struct bins *bins)
{
    const struct slot *slot = earliest_pin(r);
    uint64_t earliest = slot != NULL ? slot->pinned : UINT64_MAX;
    /* What was cut off is told before a byte changes: the blocks are another's as soon as they are free. */
    atomic_thread_fence(memory_order_seq_cst);
    while (r->first < r->end && ring_at(r, r->first)->epoch < earliest) {
        const struct retired *retired = ring_at(r, r->first);
        set_retired(r, retired->block, false);
        r->bytes -= retired->bytes;
        r->bytes_freed += retired->bytes;
        r->first++;
        enum core_crime crime = core_free(bins, r->heap, retired->block);
        ASSERT(crime == CRIME_NONE);
        (void)crime;
    }
}

static bool holds_back(const struct retirement *r, const struct slot *slot)
{
    return slot->pinned != 0 && r->first < r->end && slot->pinned <= ring_at(r, r->first)->epoch;
}

void retired_collect(struct retirement *r, struct bins *bins)
{
    if (r->first == r->end)
        return;
    look_at_pins(r);
    uint64_t now = time_passed();
    for (uint32_t i = 0; i < r->slots_count; i++) {
        struct slot *slot = &r->slots[i];
        if (holds_back(r, slot) && now - slot->pinned_since >= r->deadline_ms)
            cut_off(r, slot);
    }
    free_unseen(r, bins);
    /* What is left is held back by the earliest pin at least. */
    while (r->bytes > bytes_limit(r)) {
        cut_off(r, earliest_pin(r));
        free_unseen(r, bins);
    }
}

void retired_flush(struct retirement *r, struct bins *bins)
{
    if (r->first == r->end)
        return;
    look_at_pins(r);
    while (r->first < r->end) {
        struct slot *earliest = earliest_pin(r);
        if (earliest != NULL && holds_back(r, earliest))
            cut_off(r, earliest);
        free_unseen(r, bins);
    }
}

void retired_forget(struct retirement *r)
{
    for (uint32_t i = 0; i < r->slots_count; i++) {
        if (r->slots[i].socket >= 0 && !r->slots[i].is_misbehaving)
            cut_off(r, &r->slots[i]);
    }
    for (; r->first < r->end; r->first++)
        set_retired(r, ring_at(r, r->first)->block, false);
    r->bytes_freed += r->bytes;
    r->bytes = r->bytes_live = 0;
    atomic_thread_fence(memory_order_seq_cst);
}

enum core_crime retire(struct retirement *r, struct bins *bins, void *block)
{
    struct core_place place = core_find(r->heap, block);
    if (place.crime != CRIME_NONE)
        return place.crime;
    if (is_retired(r, block))
        return CRIME_FREED;
    if (r->end - r->first == r->ring_size && !ring_grow(r))
        retired_flush(r, bins); /* no memory to remember it by: somebody has to read again */
    *ring_at(r, r->end) = (struct retired){.block = block, .bytes = place.bytes_granted, .epoch = r->epoch};
    r->end++;
    r->bytes += place.bytes_granted;
    r->bytes_live -= place.bytes_granted;
    set_retired(r, block, true);

    uint64_t limit = bytes_limit(r);
    if (r->end - r->looked_at_end >= BATCH_BLOCKS ||
        r->bytes + r->bytes_freed - r->looked_at_bytes >= limit / BATCH_SHARE || r->bytes > limit)
        retired_collect(r, bins);
    return CRIME_NONE;
}

void retired_note_live(struct retirement *r, struct bins *bins, uint64_t bytes)
{
    r->bytes_live += bytes;
    if (++r->calls >= BATCH_BLOCKS)
        retired_collect(r, bins);
}

int retired_patience(const struct retirement *r)
{
    if (r->first == r->end)
        return -1;
    uint64_t least = r->deadline_ms;
    uint64_t now = time_passed();
    for (uint32_t i = 0; i < r->slots_count; i++) {
        const struct slot *slot = &r->slots[i];
        if (holds_back(r, slot))
            least = min_u64(least, r->deadline_ms - min_u64(now - slot->pinned_since, r->deadline_ms));
    }
    return (int)min_u64(least, INT32_MAX);
}
