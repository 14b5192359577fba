/* SPDX-License-Identifier: MIT */
/*
 * From a thread to its bins: thread_last, if it is that heap's; or thread_self -> table[handle index & mask] -> bins.
 * The table is a cache: whatever stands there is used only when its check fits the heap, and the check is unique in the
 * process, so two heaps may share a place. A thread's bins are given back by that thread alone, because only it may
 * still look at them.
 */
#include <errno.h>

#include "api/process.h"

/* How often in a row a heap is to be found stopped by nobody until it is called damaged. */
#define STOPPED_BY_NOBODY_MAX 64

static struct bins nobody_bins = {.check = UINT64_MAX}; /* no heap: keys are below 2^64 - 2^24 */
static struct bins *nobody_table[1] = {&nobody_bins};
static struct thread nobody = {.mask = 0, .table = nobody_table};

_Thread_local struct thread *thread_self = &nobody;
_Thread_local struct last_heap thread_last = {.check = UINT64_MAX, .check_guarded = UINT64_MAX};

/* ---------------------------------------------------------------- the table */

static bool table_grow(struct thread *thread)
{
    uint32_t count = (thread->mask + 1) * 2;
    struct bins **table = pool_get(count * sizeof *table);
    if (table == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++)
        table[i] = &nobody_bins;
    for (uint32_t i = 0; i <= thread->mask; i++) {
        if (thread->table[i] != &nobody_bins)
            table[thread->table[i]->index & (count - 1)] = thread->table[i];
    }
    pool_give(thread->table, (thread->mask + 1) * sizeof *table);
    thread->table = table;
    thread->mask = count - 1;
    return true;
}

/* Takes bins out of the only place that leads to them: of those that one thread has alone there is no other. */
static void table_unset(struct thread *thread, struct bins *bins)
{
    struct bins **place = &thread->table[bins->index & thread->mask];
    if (*place == bins)
        *place = &nobody_bins;
}

/* For the handle of that index; another handle of the same heap has another place. */
static void table_set(struct thread *thread, struct bins *bins, uint32_t index)
{
    table_unset(thread, bins);
    /* Of an unserialized heap, the tables of threads that had it before lead here, too, and they may be reading this.
     */
    if (bins->index != index)
        bins->index = index;
    /* Room for another heap beside this one, as long as there is memory; without it they take turns. */
    while (thread->table[bins->index & thread->mask] != &nobody_bins &&
           thread->table[bins->index & thread->mask] != bins && bins->index > thread->mask && table_grow(thread))
        ;
    thread->table[bins->index & thread->mask] = bins;
}

static void table_clear(struct thread *thread, const struct core_owner *owner)
{
    for (uint32_t i = 0; i <= thread->mask; i++) {
        struct bins *bins = thread->table[i];
        if (bins != &nobody_bins && bins->owner == owner)
            thread->table[i] = &nobody_bins;
    }
    thread_forget_last();
}

/* ---------------------------------------------------------------- owners of a thread */

static void give_owner(struct thread *thread, struct thread_owner *owner)
{
    table_clear(thread, &owner->core);
    owner_forget(&owner->core);
    pool_give(owner, sizeof *owner);
}

static void unlink_from_attachment(struct thread_owner *owner)
{
    struct thread_owner **link = &load_relaxed(&owner->attachment)->owners;
    while (*link != owner)
        link = &(*link)->next_of_attachment;
    *link = owner->next_of_attachment;
}

static void thread_exit(void *arg)
{
    struct thread *thread = arg;
    mutex_lock(&process_lock);
    while (thread->owners != NULL) {
        struct thread_owner *owner = thread->owners;
        thread->owners = owner->next_of_thread;
        if (load_relaxed(&owner->attachment) != NULL) {
            owner_leave(&owner->core);
            unlink_from_attachment(owner);
        }
        give_owner(thread, owner);
    }
    mutex_unlock(&process_lock);
    thread_self = &nobody;
    pool_give(thread->table, (thread->mask + 1) * sizeof *thread->table);
    pool_give(thread, sizeof *thread);
}

static struct thread *thread_get(void)
{
    if (thread_self != &nobody)
        return thread_self;
    struct thread *thread = pool_get(sizeof *thread);
    struct bins **table = pool_get(sizeof *table);
    if (thread != NULL && table != NULL && thread_on_exit(thread_exit, thread) == 0) {
        table[0] = &nobody_bins;
        thread->table = table;
        thread_self = thread;
        return thread;
    }
    if (thread != NULL)
        pool_give(thread, sizeof *thread);
    if (table != NULL)
        pool_give(table, sizeof *table);
    return NULL;
}

/* Gives back what another thread has closed in the meantime. */
static void sweep_closed(struct thread *thread)
{
    struct thread_owner **link = &thread->owners;
    while (*link != NULL) {
        struct thread_owner *owner = *link;
        if (load_relaxed(&owner->attachment) != NULL) {
            link = &owner->next_of_thread;
            continue;
        }
        *link = owner->next_of_thread;
        give_owner(thread, owner);
    }
}

static struct thread_owner *find_owner(const struct thread *thread, const struct attachment *attachment)
{
    struct thread_owner *owner = thread->owners;
    while (owner != NULL && load_relaxed(&owner->attachment) != attachment)
        owner = owner->next_of_thread;
    return owner;
}

static void no_record(const struct attachment *attachment, int error)
{
    uint64_t bytes, bytes_free;
    if (error == -ENOMEM && attachment->is_shared && directory_space(attachment->directory, &bytes, &bytes_free) == 0)
        error_set(error, "%s: no memory for this thread's record: %s has %llu KiB free of %llu KiB", attachment->name,
                  attachment->directory, (unsigned long long)(bytes_free >> 10), (unsigned long long)(bytes >> 10));
    else
        error_set(error, "%s: no record for this thread: %s", attachment->is_shared ? attachment->name : "private heap",
                  cairn_strerror(error));
}

static struct thread_owner *claim_owner(struct thread *thread, struct attachment *attachment)
{
    struct thread_owner *owner = pool_get(sizeof *owner);
    if (owner == NULL) {
        error_set(-ENOMEM, "no memory for a thread's bookkeeping");
        return NULL;
    }
    int error = attachment_join(attachment);
    if (error == 0)
        error = owner_claim(&owner->core, &attachment->section, &pool, attachment->process, thread_id());
    if (error == -EAGAIN && attachment_recover(attachment, 0) != 0)
        error = owner_claim(&owner->core, &attachment->section, &pool, attachment->process, thread_id());
    if (error < 0) {
        pool_give(owner, sizeof *owner);
        no_record(attachment, error);
        return NULL;
    }
    store_relaxed(&owner->attachment, attachment);
    owner->next_of_thread = thread->owners;
    thread->owners = owner;
    owner->next_of_attachment = attachment->owners;
    attachment->owners = owner;
    return owner;
}

struct thread_owner *thread_owner_get(struct attachment *attachment)
{
    struct thread *thread = thread_get();
    if (thread == NULL) {
        error_set(-ENOMEM, "no memory for a thread's bookkeeping");
        return NULL;
    }
    struct thread_owner *owner = find_owner(thread, attachment);
    if (owner != NULL && !attachment->needs_recovery)
        return owner;

    mutex_lock(&process_lock);
    sweep_closed(thread);
    if (owner == NULL)
        owner = claim_owner(thread, attachment);
    if (owner != NULL && attachment->needs_recovery)
        attachment_recover(attachment, owner->core.number);
    mutex_unlock(&process_lock);
    return owner;
}

/*
 * A handle is for one life of its heap. 0: that is the heap's life now; 1: the heap is stopped for a moment; negative:
 * it was destroyed. A reset by another process moves the handle on.
 */
static int check_life(struct cairn_heap *heap)
{
    uint64_t life = load_acquire(heap->core.life);
    if (life == load_relaxed(&heap->core.life_made) && !life_is_stopped(life))
        return 0;
    if (load_acquire(&heap->core.image->word) != heap->core.word_made) {
        char label[LABEL_BYTES];
        return error_set(-ESTALE, "%s: was destroyed", heap_label(heap, label, sizeof label));
    }
    if (life_is_stopped(life))
        return 1;
    store_relaxed(&heap->core.life_made, (uint32_t)life);
    return 0;
}

/* Waits while another process resets the heap; one that died at it is recovered; where there is none it is damaged. */
static int wait_for_life(struct cairn_heap *heap, const struct thread_owner *owner)
{
    struct section *section = &heap->attachment->section;
    uint32_t by_nobody = 0;
    int stopped;
    for (uint32_t waited = 1; (stopped = check_life(heap)) > 0; waited++) {
        by_nobody = heap_is_stopped_by_nobody(section, heap->core.number) ? by_nobody + 1 : 0;
        if (by_nobody == STOPPED_BY_NOBODY_MAX) {
            store_release(&section->image->damaged, DAMAGED_LIFE | heap->core.number);
            return error_set(-EUCLEAN, "%s: damaged: it says that it is being reset, and nobody is at it",
                             heap->attachment->name);
        }
        attachment_wait(heap->attachment, owner->core.number, waited);
    }
    return stopped;
}

struct bins *thread_attach(struct cairn_heap *heap, const char *call)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, call);
    if (heap_is_the_parents(heap))
        return NULL;
    if (heap->read_only) {
        error_set(-EROFS, "%s: attached read-only", heap->attachment->name);
        return NULL;
    }
    struct thread_owner *owner = heap->one != NULL ? heap->one : thread_owner_get(heap->attachment);
    if (owner == NULL || (heap->attachment->is_shared && wait_for_life(heap, owner) < 0))
        return NULL;
    struct bins *bins = owner_bins(&owner->core, &heap->core);
    if (bins == NULL) {
        error_set(-ENOMEM, "no memory for a thread's bookkeeping");
        return NULL;
    }
    if (heap->mode != MODE_LOCKED && thread_get() != NULL)
        table_set(thread_self, bins, heap->core.index);
    return bins;
}

void thread_drop_heap(struct attachment *attachment, const struct cairn_heap *heap)
{
    struct thread_owner *owner = find_owner(thread_self, attachment);
    struct bins *bins = owner != NULL ? owner_find_bins(&owner->core, heap->core.number) : NULL;
    if (bins == NULL)
        return;
    table_unset(thread_self, bins);
    thread_forget_last();
    owner_bins_drop(&owner->core, heap->core.number);
}

struct thread_owner *one_owner_new(struct attachment *attachment)
{
    struct thread_owner *one = pool_get(sizeof *one);
    if (one == NULL)
        return NULL;
    if (owner_claim(&one->core, &attachment->section, &pool_of_ones, attachment->process, thread_id()) < 0) {
        pool_give(one, sizeof *one);
        return NULL;
    }
    store_relaxed(&one->attachment, attachment);
    return one;
}

void one_owner_end(struct thread_owner *one)
{
    owner_forget(&one->core);
    pool_give(one, sizeof *one);
}

void one_owner_revive(struct thread_owner *one)
{
    struct section *section = one->core.section;
    recovery_of_owner(section, one->core.number);
    owner_forget(&one->core);
    (void)owner_claim(&one->core, section, &pool_of_ones, 0, thread_id()); /* its own record was freed just now */
}

void threads_leave(struct attachment *attachment)
{
    while (attachment->owners != NULL) {
        struct thread_owner *owner = attachment->owners;
        attachment->owners = owner->next_of_attachment;
        owner_leave(&owner->core);
        store_relaxed(&owner->attachment, NULL);
    }
}

void thread_after_fork(void)
{
    struct thread *thread = thread_self;
    thread_forget_last();
    for (struct attachment *a = process_attachments; a != NULL; a = a->next) {
        struct thread_owner *mine = find_owner(thread, a);
        a->owners = NULL;
        if (mine != NULL && !a->is_shared && !a->is_of_client) {
            /* The private section was copied, this thread's owner with it. */
            mine->next_of_attachment = NULL;
            a->owners = mine;
        } else if (mine != NULL) {
            store_relaxed(&mine->attachment, NULL); /* the parent's: it goes on with it */
        }
        a->needs_recovery = !a->is_shared;
    }
    sweep_closed(thread);
}
