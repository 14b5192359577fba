/* SPDX-License-Identifier: MIT */
/*
 * How a call that changes a heap begins and ends, by the heap's mode.
 *
 * A lockable heap that each thread allocates in by itself is stopped without a lock in its calls:
 *
 *     call     busy = 1;  compiler fence;   life as made?  then work;   busy = 0
 *     lock     life = 0;  barrier in every running thread;              wait until every busy is 0
 *
 * Either the call sees that life is 0 and waits, or the locker sees that it is busy: the barrier makes it impossible
 * that both look before the other has stored. (Dice, Huang, Yang: Asymmetric Dekker Synchronization, 2001.)
 */
#include <errno.h>

#include "api/process.h"

/* ---------------------------------------------------------------- the lock of one heap */

bool heap_lock_is_mine(const struct heap_lock *lock)
{
    return load_relaxed(&lock->holder) == thread_id();
}

void heap_lock_take(struct heap_lock *lock)
{
    uint32_t self = thread_id();
    if (load_relaxed(&lock->holder) != self) {
        mutex_lock(&lock->mutex);
        store_relaxed(&lock->holder, self);
    }
    lock->depth++;
}

void heap_lock_give(struct heap_lock *lock)
{
    if (--lock->depth != 0)
        return;
    store_relaxed(&lock->holder, 0);
    mutex_unlock(&lock->mutex);
}

/* ---------------------------------------------------------------- calls */

static struct bins *begin_lockable(struct cairn_heap *heap, const char *call)
{
    for (;;) {
        struct bins *bins = thread_bins(heap);
        bool mine = load_relaxed(&heap->lock.holder) != 0 && heap_lock_is_mine(&heap->lock);
        if (!bins_are_guarded(bins, &heap->core)) {
            bins = thread_attach(heap, call);
            if (bins == NULL || mine)
                return bins;
        }
        store_relaxed(&bins->owner->busy, 1);
        atomic_signal_fence(memory_order_seq_cst); /* pairs with the barrier in cairn_heap_lock */
        /* The bins, too, are of the life that is now: the heap may have been reset since they were found. */
        if ((load_acquire(heap->core.life) ^ heap->core.key ^ GUARDED) == load_relaxed(&bins->check))
            return bins;
        store_release(&bins->owner->busy, 0);
        heap_lock_take(&heap->lock); /* waits for whoever stopped it */
        heap_lock_give(&heap->lock);
    }
}

struct bins *call_begin(struct cairn_heap *heap, const char *call)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, call);
    if (heap->mode == MODE_LOCKED) {
        heap_lock_take(&heap->lock);
        struct bins *bins = thread_attach(heap, call);
        if (bins == NULL)
            heap_lock_give(&heap->lock);
        return bins;
    }
    if (heap->lockable && heap->mode == MODE_THREADS)
        return begin_lockable(heap, call);
    struct bins *bins = thread_bins(heap);
    if (bins_are_current(bins, &heap->core) || (heap->core.guard != 0 && bins_are_guarded(bins, &heap->core)))
        return bins;
    return thread_attach(heap, call);
}

void call_end(struct cairn_heap *heap, struct bins *bins)
{
    if (heap->mode == MODE_LOCKED)
        heap_lock_give(&heap->lock);
    else if (heap->lockable)
        store_release(&bins->owner->busy, 0); /* pairs with the load_acquire in any_is_busy */
}

/* ---------------------------------------------------------------- stopping a heap */

/* Whether some thread is in a call on a lockable heap: on this one, or on another, which will be over soon. */
static bool any_is_busy(const struct cairn_heap *heap)
{
    bool busy = false;
    mutex_lock(&process_lock);
    for (const struct thread_owner *o = heap->attachment->owners; o != NULL && !busy; o = o->next_of_attachment)
        busy = load_acquire(&o->core.busy) != 0;
    mutex_unlock(&process_lock);
    return busy;
}

CAIRN_API int cairn_heap_lock(struct cairn_heap *heap)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "lock");
    if (!heap->lockable)
        return error_set(-EINVAL, "the heap was not created with CAIRN_LOCKABLE");
    heap_lock_take(&heap->lock);
    if (heap->lock.depth != 1 || heap->mode != MODE_THREADS)
        return 0;
    store_release(&heap->core.image->life, 0);
    barrier_process();
    while (any_is_busy(heap))
        thread_yield();
    return 0;
}

CAIRN_API int cairn_heap_unlock(struct cairn_heap *heap)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "unlock");
    if (!heap->lockable)
        return error_set(-EINVAL, "the heap was not created with CAIRN_LOCKABLE");
    if (!heap_lock_is_mine(&heap->lock))
        return error_set(-EPERM, "this thread does not hold the heap's lock");
    if (heap->lock.depth == 1 && heap->mode == MODE_THREADS)
        store_release(&heap->core.image->life, load_relaxed(&heap->core.life_made));
    heap_lock_give(&heap->lock);
    return 0;
}
