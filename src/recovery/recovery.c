/* SPDX-License-Identifier: MIT */
/*
 * Order within one owner, and why:
 *
 *     1. the hand         while its slabs are as it left them: the bits decide what had happened
 *     2. FREEING heads    finished first: their TAILs go before them
 *     3. its spans        a slab's bits in order (slab_normalise), then the word becomes ORPHAN: last, an adopter
 *                         starts from there; a large block's word without its owner
 *     4. TAILs            whose head is still TAKEN by the dead, or which lie outside their head's span
 *     5. TAKEN units      now nothing points to them
 *     6. news, hand, and the record: FREE with the next generation
 */
#include "recovery/recovery.h"

#include "core/core.h"
#include "core/slab.h"
#include "core/spans.h"

static bool is_of(uint64_t word, enum unit_state state, uint32_t owner)
{
    return unit_state_of(word) == state && unit_owner_of(word) == owner;
}

/* Whether the head that a TAIL names is the head of a span that reaches it. */
static bool tail_is_covered(const struct section *section, uint32_t unit, uint32_t head)
{
    if (head >= unit)
        return false;
    enum unit_state state = unit_state_of(load_acquire(&section->unit_words[head]));
    bool is_head = state == UNIT_SLAB || state == UNIT_ORPHAN || state == UNIT_LARGE || state == UNIT_FREEING;
    return is_head && unit - head < load_acquire(&section_span(section, head)->span_units);
}

/* ---------------------------------------------------------------- the hand */

static bool unit_of_ref(const struct section *section, uint64_t ref, uint32_t *ret_unit)
{
    if (ref < section->units_offset || ref - section->units_offset >= section->units_bytes)
        return false;
    *ret_unit = (uint32_t)((ref - section->units_offset) >> section->unit_shift);
    return *ret_unit < section_units_end(section);
}

/*
 * Where the hand's block lies; word is 0 when there is no live span any more. A slab cannot go while a hand names a
 * block of it, because drains leave that block. A large block can: its span's serial tells it from the next that
 * begins there.
 */
struct hand_place {
    uint32_t unit;
    uint64_t word;
    struct span_image *span;
    uint32_t index;
};

static struct hand_place find_block(const struct section *section, uint64_t ref)
{
    struct hand_place place = {0};
    uint32_t unit;
    if (!unit_of_ref(section, ref, &unit))
        return place;
    uint64_t word = load_acquire(&section->unit_words[unit]);
    if (unit_state_of(word) == UNIT_TAIL) {
        unit = unit_low_of(word);
        if (unit >= section_units_end(section))
            return place;
        word = load_acquire(&section->unit_words[unit]);
    }
    enum unit_state state = unit_state_of(word);
    if (state != UNIT_SLAB && state != UNIT_ORPHAN && state != UNIT_LARGE)
        return place;
    place.unit = unit;
    place.span = section_span(section, unit);
    if (state != UNIT_LARGE) {
        if (!slab_is_sound(section, unit))
            return place; /* of a heap that ended meanwhile; or damaged, and found to be when its owner is recovered */
        uint64_t inside = ref - section_ref(section, section_unit(section, unit));
        place.index = (uint32_t)(inside * load_relaxed(&place.span->reciprocal) >> 32);
        if (place.index >= load_relaxed(&place.span->ready))
            return place;
    }
    place.word = word;
    return place;
}

static bool is_free(const struct hand_place *place)
{
    if (place->word == 0)
        return true;
    if (unit_state_of(place->word) == UNIT_LARGE)
        return false;
    return (slab_live_word(place->span, place->index / 64) >> place->index % 64 & 1) == 0;
}

static void free_block(struct section *section, const struct hand_place *place, uint32_t dead)
{
    if (unit_state_of(place->word) != UNIT_LARGE) {
        fetch_or_acq_rel(&span_elsewhere(place->span)[place->index / 64], UINT64_C(1) << place->index % 64);
        return;
    }
    uint64_t expected = place->word;
    /* In the name of the dead, so that whoever comes after a killed recoverer finishes it as FREEING. */
    uint64_t freeing = unit_word(UNIT_FREEING, dead, unit_heap_of(expected), unit_low_of(expected));
    while (!cas_acq_rel(&section->unit_words[place->unit], &expected, freeing)) {
        if (expected != unit_disowned(place->word))
            break; /* freed; else the thread that got it has left in this moment */
    }
}

/* The pointer that alloc_to or free_from was about to store to; NULL when it is none of this section's. */
static void **dest_of(const struct section *section, uint64_t dest)
{
    uint32_t unit;
    if (dest % sizeof(void *) != 0 || !unit_of_ref(section, dest, &unit))
        return NULL;
    return (void **)(void *)section_at(section, dest);
}

/* What the dead one stored: a pointer at the section's own address, wherever this view lies. */
static const void *pointer_to(const struct section *section, uint64_t ref)
{
    uintptr_t base = section->address != 0 ? (uintptr_t)section->address : (uintptr_t)section->base;
    return (const void *)(base + ref);
}

/* Whether a heap is still in that life, or stopped in it. */
static bool is_life_of(const struct section *section, uint32_t heap, uint64_t life)
{
    uint64_t now = heap != 0 && heap <= section->heaps_max ? load_acquire(&section_heap(section, heap)->life) : 0;
    return heap != 0 && (now & UNIT_LIFE_MASK) == life;
}

static void finish_hand(struct section *section, struct owner_image *image, uint32_t dead)
{
    uint64_t hand = load_acquire(&image->hand);
    uint64_t ref = hand & HAND_REF_MASK;
    if (hand == 0)
        return;
    uint64_t hand_life = load_relaxed(&image->hand_life);
    uint32_t heap = (uint32_t)(hand_life >> 32);
    uint64_t life = hand_life & UNIT_LIFE_MASK;
    struct hand_place place = find_block(section, ref);
    /* If the heap was destroyed or reset after the hand was set, this is somebody else's block. The unit's word alone
     * does not tell: it may go back at any moment. But who sweeps changes the life before it looks at the hands. */
    bool is_its = unit_heap_of(place.word) == heap && unit_low_of(place.word) == life;
    if (place.word != 0 && !(is_its && is_life_of(section, heap, life)))
        place.word = 0;
    void **dest = dest_of(section, load_relaxed(&image->hand_dest));
    switch ((enum hand_op)(hand >> HAND_OP_SHIFT)) {
    case HAND_FREE:
        /* Whether its bit was set or not, setting it is right: while the hand named the block nobody drained it. */
        if (!is_free(&place))
            free_block(section, &place, dead);
        break;
    case HAND_ALLOC_TO:
        /* First the bits, then *dest: a block that was taken and not linked is given back. */
        if (unit_state_of(place.word) == UNIT_LARGE &&
            load_relaxed(&place.span->serial) != load_relaxed(&image->hand_count))
            break;
        if (!is_free(&place) && dest != NULL && __atomic_load_n(dest, __ATOMIC_ACQUIRE) != pointer_to(section, ref))
            free_block(section, &place, dead);
        break;
    case HAND_FREE_FROM:
        if (dest != NULL && __atomic_load_n(dest, __ATOMIC_ACQUIRE) == pointer_to(section, ref))
            __atomic_store_n(dest, NULL, __ATOMIC_RELEASE);
        if (!is_free(&place))
            free_block(section, &place, dead);
        break;
    case HAND_RESET: {
        uint64_t stopped = life_stopped_by(dead, (uint32_t)life);
        if (heap != 0 && heap <= section->heaps_max)
            (void)cas_acq_rel(&section_heap(section, heap)->life, &stopped, life);
        break;
    }
    case HAND_RESIZE: /* named for those who sweep a destroyed heap; TAILs tell how far it had come */
    case HAND_NOTHING:
        break;
    }
    step();
    store_release(&image->hand, 0);
}

/* ---------------------------------------------------------------- units */

static void finish_freeing(struct section *section, uint32_t dead, uint32_t end)
{
    for (uint32_t unit = 0; unit < end; unit++) {
        uint64_t word = load_acquire(&section->unit_words[unit]);
        if (!is_of(word, UNIT_FREEING, dead))
            continue;
        /* Tails that are FREE already may be somebody else's by now: only what still names this head is freed. */
        uint32_t units = load_relaxed(&section_span(section, unit)->span_units);
        if (units <= end - unit)
            span_free_tails(section, dead, unit, unit + 1, unit + units);
        span_free_unit(section, dead, unit, word);
    }
}

static void disown_spans(struct section *section, uint32_t dead, uint32_t end)
{
    for (uint32_t unit = 0; unit < end; unit++) {
        uint64_t word = load_acquire(&section->unit_words[unit]);
        if (is_of(word, UNIT_SLAB, dead) && slab_is_sound(section, unit))
            slab_make_orphan(section, unit, word);
        else if (is_of(word, UNIT_SLAB, dead))
            store_release(&section->image->damaged, UINT64_C(1) + unit); /* nothing of it can be believed: it stays */
        else if (is_of(word, UNIT_LARGE, dead))
            (void)cas_acq_rel(&section->unit_words[unit], &word, unit_disowned(word)); /* or it is freed just now */
    }
}

static void free_lost_tails(struct section *section, uint32_t dead, uint32_t end)
{
    for (uint32_t unit = 0; unit < end; unit++) {
        uint64_t word = load_acquire(&section->unit_words[unit]);
        if (is_of(word, UNIT_TAIL, dead) && !tail_is_covered(section, unit, unit_low_of(word)))
            span_free_unit(section, dead, unit, word);
    }
}

static void free_taken(struct section *section, uint32_t dead, uint32_t end)
{
    for (uint32_t unit = 0; unit < end; unit++) {
        uint64_t word = load_acquire(&section->unit_words[unit]);
        if (!is_of(word, UNIT_TAKEN, dead))
            continue;
        uint32_t units = 1;
        /* Taken for no heap, to give its memory back: which may be gone, and still be marked. All units of it at once:
         * they can be smaller than a page. */
        if (unit_heap_of(word) == 0) {
            while (units < end - unit && load_acquire(&section->unit_words[unit + units]) == word)
                units++;
            span_settle_memory(section, unit, units);
        }
        for (uint32_t i = 0; i < units; i++)
            span_free_unit(section, dead, unit + i, word);
        unit += units - 1;
    }
}

/* ---------------------------------------------------------------- owners and processes */

/*
 * Notes what the dead one was charging, before its word for that is used, and cleared, in its name. A recoverer that is
 * killed leaves both: the heap noted, and one that it was charging itself.
 */
static void note_charging(struct owner_image *image)
{
    uint64_t charging = load_acquire(&image->charging);
    uint64_t noted = load_acquire(&image->recount);
    if (charging == 0)
        return;
    store_release(&image->recount, noted == 0 || noted == charging ? charging : RECOUNT_ALL);
    step();
    store_release(&image->charging, 0);
}

/* Counts once more what could not be counted because others worked. */
static void recount_again(struct section *section)
{
    uint64_t given_up = load_acquire(&section->image->recount);
    if (given_up != 0 && span_recount(section, RECOUNT_ALL))
        (void)cas_acq_rel(&section->image->recount, &given_up, 0);
}

void recovery_of_owner(struct section *section, uint32_t number)
{
    struct owner_image *image = section_owner(section, number);
    uint32_t end = section_units_end(section);
    probe_recover(section->image, number);
    note_charging(image);
    finish_hand(section, image, number);
    finish_freeing(section, number, end);
    disown_spans(section, number, end);
    free_lost_tails(section, number, end);
    free_taken(section, number, end);
    uint64_t uncounted = load_acquire(&image->recount);
    if (uncounted != 0 && !span_recount(section, uncounted))
        fetch_add_relaxed(&section->image->recount, 1); /* others are at work: whoever recovers next tries again */
    step();
    store_release(&image->recount, 0);
    store_release(&image->widening, 0);

    /* The lock of the roots: each entry's states are valid by themselves, and whoever finds a PENDING one under the
     * lock uses it anew. */
    uint64_t lock = load_acquire(&section->image->lock);
    if (lock >> 32 == number)
        (void)cas_acq_rel(&section->image->lock, &lock, 0);

    for (uint32_t w = 0; w < NEWS_WORDS; w++)
        store_relaxed(&image->news[w], 0);
    uint64_t generation = record_generation_of(load_relaxed(&image->word)) + 1;
    store_release(&image->word, record_word(RECORD_FREE, 0, generation));
}

/*
 * Destroys the heaps that were to live no longer than the process that made them, and with each all that is a part of
 * it. They are killed in the name of the dead: whoever comes after a recoverer that is killed here finds them by that.
 * False when there are some and the caller has no owner to sweep them with.
 */
static bool destroy_bound(const struct recovery *recovery, uint32_t process, uint64_t generation)
{
    struct section *section = recovery->section;
    bool any = false;
    uint32_t end = load_acquire(&section->image->heaps_end);
    for (uint32_t number = 1; number <= end && number <= section->heaps_max; number++) {
        struct heap_image *heap = section_heap(section, number);
        uint64_t word = load_acquire(&heap->word);
        /* PENDING: the dead was making or destroying it. */
        bool pending = record_state_of(word) == RECORD_PENDING;
        bool bound = record_state_of(word) == RECORD_LIVE && (heap->options & HEAP_BOUND) != 0 &&
                     heap->creator_generation == generation;
        if (record_process_of(word) != process || !(pending || bound))
            continue;
        if (recovery->by == 0)
            return false;
        any = heap_kill(section, process, number, word) || any;
    }
    if (!any)
        return true;
    do {
        recovery->barrier(recovery->arg);
    } while (heap_kill_parts(section, process));
    heap_sweep_killed(section, recovery->by, process, 0);
    return true;
}

/* All that a dead process left; its kernel lock is ours, so nobody else is at it and nobody can join in its place. */
static uint32_t recover_process(const struct recovery *recovery, uint32_t process, uint64_t word)
{
    struct section *section = recovery->section;
    uint32_t recovered = 0;
    uint32_t end = load_acquire(&section->image->owners_end);
    for (uint32_t number = 1; number <= end && number <= section->owners_max; number++) {
        uint64_t owner_word = load_acquire(&section_owner(section, number)->word);
        if (record_state_of(owner_word) == RECORD_FREE || record_process_of(owner_word) != process)
            continue;
        recovery_of_owner(section, number);
        recovered++;
    }
    /* It may have died sweeping a heap that it had destroyed: what is left is for everybody to look at again. */
    fetch_add_relaxed(&section->image->destroys, 1);
    if (destroy_bound(recovery, process, record_generation_of(word)))
        store_release(&section_process(section, process)->word,
                      record_word(RECORD_FREE, 0, record_generation_of(word) + 1));
    return recovered;
}

uint32_t recovery_of_dead(const struct recovery *recovery)
{
    struct section *section = recovery->section;
    uint32_t recovered = 0;
    uint32_t end = load_acquire(&section->image->processes_end);
    for (uint32_t process = 1; process <= end && process <= section->processes_max; process++) {
        const struct process_image *image = section_process(section, process);
        if (record_state_of(load_acquire(&image->word)) != RECORD_LIVE || !recovery->seize(recovery->arg, process))
            continue;
        uint64_t word = load_acquire(&image->word); /* again: now nobody else can change it */
        if (record_state_of(word) == RECORD_LIVE)
            recovered += recover_process(recovery, process, word);
        recovery->let_go(recovery->arg);
    }
    recount_again(section);
    return recovered;
}
