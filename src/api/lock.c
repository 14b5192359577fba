/* SPDX-License-Identifier: MIT */
/*
 * The application's robust lock: one word in a block of the heap, {owner record's generation, owner number, waiters}.
 *
 *     bits 63..36 generation of the record    31..16 owner    0 somebody waits
 *
 * The low half is the futex word. An owner record's generation changes when it is free again, after its owner left or
 * was recovered: so a word whose owner record has another generation names one who died (or left) with the lock.
 */
#include <errno.h>

#include "api/process.h"

enum {
    HOLDER_SHIFT = 16,
    GENERATION_SHIFT = 36,
    WAITERS = 1,
    WAIT_MILLISECONDS = 50, /* then look whether the holder lives; nothing is decided by the time */
};

static uint64_t held_by(const struct core_owner *owner)
{
    uint64_t generation = record_generation_of(load_relaxed(&owner->image->word));
    return generation << GENERATION_SHIFT | (uint64_t)owner->number << HOLDER_SHIFT;
}

static bool holder_is_gone(const struct section *section, uint64_t word)
{
    return !owner_is_there(section, word >> HOLDER_SHIFT & 0xffff, word >> GENERATION_SHIFT);
}

/* The calling thread's owner, and the mutex as what it is; sets the reason. */
static struct core_owner *begin(struct cairn_heap *heap, struct cairn_mutex *mutex, const char *call)
{
    struct bins *bins = call_begin(heap, call);
    if (bins == NULL)
        return NULL;
    struct core_owner *owner = bins->owner;
    call_end(heap, bins);
    if (!heap->attachment->is_shared || !section_holds_units(heap->core.section, mutex) ||
        (uintptr_t)mutex % sizeof(uint64_t) != 0) {
        error_set(-EINVAL, "the lock %p does not lie in this shared heap", (void *)mutex);
        return NULL;
    }
    return owner;
}

/* One attempt: 0 taken, 1 taken from the dead, -EBUSY; *seen is the word that stood in the way. */
static int attempt(const struct section *section, atomic_u64 *word, uint64_t mine, uint64_t *seen)
{
    *seen = 0;
    if (cas_acq_rel(word, seen, mine))
        return 0;
    uint64_t dead = *seen;
    if (holder_is_gone(section, dead) && cas_acq_rel(word, seen, mine | (dead & WAITERS)))
        return 1;
    return -EBUSY;
}

static int take(struct cairn_heap *heap, struct cairn_mutex *mutex, bool wait, const char *call)
{
    struct core_owner *owner = begin(heap, mutex, call);
    if (owner == NULL)
        return cairn_last_errno();
    atomic_u64 *word = (atomic_u64 *)&mutex->word;
    uint64_t mine = held_by(owner);
    for (;;) {
        uint64_t seen;
        int result = attempt(owner->section, word, mine, &seen);
        if (result >= 0)
            return result;
        if ((seen & ~(uint64_t)WAITERS) == mine)
            return error_set(-EDEADLK, "this thread holds the lock already");
        if (!wait) {
            mutex_lock(&process_lock);
            attachment_recover(heap->attachment, owner->number);
            mutex_unlock(&process_lock);
            result = attempt(owner->section, word, mine, &seen);
            return result >= 0 ? result : error_set(-EBUSY, "another thread holds the lock");
        }
        if ((seen & WAITERS) == 0 && !cas_acq_rel(word, &seen, seen | WAITERS))
            continue;
        word_wait(word, (uint32_t)(seen | WAITERS), WAIT_MILLISECONDS);
        mutex_lock(&process_lock);
        attachment_recover(heap->attachment, owner->number);
        mutex_unlock(&process_lock);
        mine |= WAITERS; /* there may be others who wait: whoever gives the lock back wakes one */
    }
}

CAIRN_API int cairn_lock(struct cairn_heap *heap, struct cairn_mutex *mutex)
{
    return take(heap, mutex, true, "lock");
}

CAIRN_API int cairn_trylock(struct cairn_heap *heap, struct cairn_mutex *mutex)
{
    return take(heap, mutex, false, "trylock");
}

CAIRN_API int cairn_unlock(struct cairn_heap *heap, struct cairn_mutex *mutex)
{
    struct core_owner *owner = begin(heap, mutex, "unlock");
    if (owner == NULL)
        return cairn_last_errno();
    atomic_u64 *word = (atomic_u64 *)&mutex->word;
    uint64_t seen = load_relaxed(word);
    do {
        if ((seen & ~(uint64_t)WAITERS) != held_by(owner))
            return error_set(-EPERM, "this thread does not hold the lock");
    } while (!cas_acq_rel(word, &seen, 0));
    if ((seen & WAITERS) != 0)
        word_wake(word);
    return 0;
}
