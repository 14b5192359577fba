/* SPDX-License-Identifier: MIT */
/*
 * Slabs. Who may store where:
 *
 *     live[], ready    the owner (after its death: its one recoverer)
 *     elsewhere[]      anyone by fetch_or; the owner by fetch_and
 *
 * Draining word k, with r = the bits of elsewhere that no hand names:
 *
 *     live      ..r..     ..0..   <- the store that makes them free
 *     elsewhere ..r..     ..r..     ..0..
 *
 * The hands are read after elsewhere. Who frees from elsewhere stores its hand before its fetch_or, so whoever sees the
 * bit sees that hand, or that the free is over. Killed in the middle, a bit stands in elsewhere that is not live:
 * recovery clears it before anyone can adopt the slab, so that no adopter hands the block out and then drains it again.
 */
#include "core/slab.h"

#include <errno.h>

#include "core/spans.h"

void slab_clear(struct span_image *slab)
{
    store_relaxed(&slab->listed, SPAN_UNLISTED);
    slab->frees_left = 1;
    slab->word_cursor = 0;
    atomic_u64 *live = span_live(slab);
    atomic_u64 *elsewhere = span_elsewhere(slab);
    for (uint32_t k = slab_words_ready(slab); k-- > 0;) {
        store_relaxed(&live[k], 0);
        store_relaxed(&elsewhere[k], 0);
    }
}

void slab_init(const struct section *section, struct span_image *slab, uint32_t size_class,
               const struct slab_geometry *geometry)
{
    (void)span_begin(section, slab);
    store_relaxed(&slab->reciprocal, slab_reciprocal(geometry->block_bytes));
    store_relaxed(&slab->block_bytes, geometry->block_bytes);
    store_relaxed(&slab->blocks, geometry->blocks);
    store_relaxed(&slab->ready, 0);
    store_relaxed(&slab->span_units, geometry->span_units);
    store_relaxed(&slab->elsewhere_at, slab_words_max(section, geometry->span_units));
    store_relaxed(&slab->size_class, (uint8_t)size_class);
    store_relaxed(&slab->large_bytes, 0);
    slab_clear(slab); /* none is ready, so that no word is cleared there */
    /* What was here before may have ended with its heap, blocks and all. */
    words_clear(span_live(slab), slab_words(section, geometry));
    words_clear(span_elsewhere(slab), slab_words(section, geometry));
}

/* ---------------------------------------------------------------- draining */

/* Takes the blocks that some owner's hand names out of the gathered bits. */
static void leave_named(const struct section *section, uint32_t unit, const struct span_image *slab,
                        uint64_t gathered[SPAN_WORDS_MAX], uint32_t count)
{
    uint64_t first_ref = section_ref(section, section_unit(section, unit));
    uint64_t span_bytes = (uint64_t)load_relaxed(&slab->blocks) * load_relaxed(&slab->block_bytes);
    uint32_t owners_end = load_acquire(&section->image->owners_end);
    if (owners_end > section->owners_max)
        owners_end = section->owners_max;
    for (uint32_t number = 1; number <= owners_end; number++) {
        uint64_t hand = load_acquire(&section_owner(section, number)->hand);
        uint64_t inside = (hand & HAND_REF_MASK) - first_ref;
        if (hand == 0 || inside >= span_bytes)
            continue;
        uint32_t index = (uint32_t)(inside * load_relaxed(&slab->reciprocal) >> 32);
        if (index / 64 < count)
            gathered[index / 64] &= ~(UINT64_C(1) << index % 64);
    }
}

uint32_t slab_drain(const struct section *section, uint32_t unit, struct span_image *slab)
{
    atomic_u64 *live = span_live(slab);
    atomic_u64 *elsewhere = span_elsewhere(slab);
    uint32_t count = slab_words_ready(slab);
    uint64_t gathered[SPAN_WORDS_MAX];
    uint64_t any = 0;
    for (uint32_t k = 0; k < count; k++) {
        gathered[k] = load_acquire(&elsewhere[k]);
        any |= gathered[k];
    }
    if (any == 0)
        return 0;

    leave_named(section, unit, slab, gathered, count);
    uint32_t drained = 0;
    for (uint32_t k = 0; k < count; k++) {
        /* Again: one who was found out freeing twice takes its bit back before it clears its hand. */
        if (gathered[k] != 0)
            gathered[k] &= load_acquire(&elsewhere[k]);
        if (gathered[k] == 0)
            continue;
        uint64_t before = load_relaxed(&live[k]);
        store_relaxed(&live[k], before & ~gathered[k]);
        step();
        fetch_and_acq_rel(&elsewhere[k], ~gathered[k]);
        drained += bit_count(gathered[k] & before);
    }
    return drained;
}

/* ---------------------------------------------------------------- extending */

int slab_extend(struct section *section, uint32_t by, uint32_t unit, struct span_image *slab)
{
    uint32_t ready = load_relaxed(&slab->ready);
    uint32_t blocks = load_relaxed(&slab->blocks);
    uint32_t block_bytes = load_relaxed(&slab->block_bytes);
    if (ready >= blocks)
        return 0;

    /* One word's worth, and no more than the pages it needs anyway while little is committed. */
    uint32_t end = (ready | 63) + 1 < blocks ? (ready | 63) + 1 : blocks;
    uint64_t span_offset = section_offset(section, section_unit(section, unit));
    uint64_t from = span_offset + (uint64_t)ready * block_bytes;
    uint64_t last = span_offset + (uint64_t)end * block_bytes - 1;
    if (section->commit_bits != NULL && !section_committed(section, last, NULL)) {
        uint64_t page_end = align_up(from + block_bytes, UINT64_C(1) << section->page_shift);
        uint32_t fitting = (uint32_t)((page_end - span_offset) / block_bytes);
        if (fitting < end)
            end = fitting;
    }
    int error = span_commit(section, by, from, (uint64_t)(end - ready) * block_bytes);
    if (error < 0)
        return error;
    step();
    store_release(&slab->ready, end);
    return 1;
}

/* The heap does not tell which of the two it is: its number may be another heap's by now. */
static bool is_geometry(const struct section *section, const struct span_image *slab, bool exact)
{
    struct slab_geometry geometry = slab_geometry_of(load_relaxed(&slab->size_class), section->unit_shift, exact);
    return load_relaxed(&slab->block_bytes) == geometry.block_bytes && load_relaxed(&slab->blocks) == geometry.blocks &&
           load_relaxed(&slab->span_units) == geometry.span_units &&
           load_relaxed(&slab->elsewhere_at) == slab_words_max(section, geometry.span_units);
}

bool slab_is_sound(const struct section *section, uint32_t unit)
{
    const struct span_image *slab = section_span(section, unit);
    if (!section_range_committed(section, section_offset(section, slab), sizeof *slab))
        return false;
    uint32_t ready = load_acquire(&slab->ready); /* before the marks: what is ready is committed */
    return section_range_committed(section, section_offset(section, section_unit(section, unit)),
                                   (uint64_t)ready * load_relaxed(&slab->block_bytes)) &&
           load_relaxed(&slab->size_class) < CLASS_COUNT &&
           (is_geometry(section, slab, false) || is_geometry(section, slab, true)) &&
           load_relaxed(&slab->span_units) <= section_units_end(section) - unit &&
           ready <= load_relaxed(&slab->blocks) &&
           load_relaxed(&slab->reciprocal) == slab_reciprocal(load_relaxed(&slab->block_bytes));
}

bool slab_fits(const struct section *section, uint32_t unit, bool exact)
{
    const struct span_image *slab = section_span(section, unit);
    if (!is_geometry(section, slab, exact))
        return false;
    uint64_t slack_offset = section_offset(section, slab_slack(section_unit(section, unit), slab, 0));
    uint32_t width = slack_width(load_relaxed(&slab->block_bytes));
    return !exact || section_range_committed(section, slack_offset, (uint64_t)load_relaxed(&slab->blocks) * width);
}

void slab_normalise(struct span_image *slab)
{
    uint32_t count = slab_words_ready(slab);
    for (uint32_t k = 0; k < count; k++)
        fetch_and_acq_rel(&span_elsewhere(slab)[k], load_relaxed(&span_live(slab)[k]));
    store_relaxed(&slab->listed, SPAN_UNLISTED);
    slab->frees_left = 1;
    slab->word_cursor = 0;
}

void slab_make_orphan(struct section *section, uint32_t unit, uint64_t word)
{
    slab_normalise(section_span(section, unit));
    uint32_t number = unit_heap_of(word);
    atomic_u32 none = 0;
    bool counted = number != 0 && number <= section->heaps_max;
    atomic_u32 *orphans = counted ? &section_heap(section, number)->orphans : &none;
    fetch_add_relaxed(orphans, 1); /* rather too many than too few */
    step();
    store_release(&section->unit_words[unit], unit_word(UNIT_ORPHAN, 0, number, unit_low_of(word)));
    atomic_thread_fence(memory_order_seq_cst); /* with the fence in reset_orphans */
    if (load_relaxed(orphans) == 0)
        fetch_add_relaxed(orphans, 1);
}

/* ---------------------------------------------------------------- counting */

uint32_t slab_taken(struct span_image *slab)
{
    uint32_t count = slab_words_ready(slab);
    uint32_t taken = 0;
    for (uint32_t k = 0; k < count; k++)
        taken += bit_count(load_relaxed(&span_live(slab)[k]));
    return taken;
}

uint32_t slab_live(const struct span_image *slab)
{
    uint32_t count = slab_words_ready(slab);
    uint32_t live = 0;
    for (uint32_t k = 0; k < count; k++)
        live += bit_count(slab_live_word(slab, k));
    return live;
}
