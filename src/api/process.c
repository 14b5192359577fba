/* SPDX-License-Identifier: MIT */
#include "api/process.h"

#include <errno.h>

#include "api/checked.h"
#include "api/names.h"

struct mutex process_lock;
struct attachment *process_attachments;
static struct attachment *private_attachment;

enum {
    HANDLES_PER_CHUNK = 256,
    HANDLE_CHUNKS = 4096,
    CLOSED_KEPT = 128,
};

static struct cairn_heap *handle_chunks[HANDLE_CHUNKS];
static uint32_t handles_used;

static struct cairn_heap *handle_at(uint32_t index)
{
    return &handle_chunks[index / HANDLES_PER_CHUNK][index % HANDLES_PER_CHUNK];
}

/* ---------------------------------------------------------------- fork */

static uint32_t forking_thread;
static uint32_t forks; /* how many forks away this process is from the one that began */

static void before_fork(void)
{
    mutex_lock(&process_lock);
    for (uint32_t index = 0; index < handles_used; index++) {
        if (handle_at(index)->checked != NULL)
            checked_before_fork(handle_at(index));
    }
    pool_before_fork();
    forking_thread = thread_id();
}

static void tables_after_fork(void)
{
    pool_after_fork();
    for (uint32_t index = 0; index < handles_used; index++) {
        if (handle_at(index)->checked != NULL)
            checked_after_fork(handle_at(index));
    }
}

static void parent_after_fork(void)
{
    tables_after_fork();
    mutex_unlock(&process_lock);
}

/*
 * A heap's lock that the forking thread held is the child's one thread's now. One that another thread held was copied
 * in the middle of a call of a thread that is not here: its owner is recovered like any that died.
 */
static void lock_after_fork(struct cairn_heap *heap)
{
    if (heap->state != HEAP_OPEN || load_relaxed(&heap->lock.mutex.state) == 0)
        return;
    if (load_relaxed(&heap->lock.holder) == forking_thread) {
        store_relaxed(&heap->lock.holder, thread_id());
        return;
    }
    heap->lock = (struct heap_lock){0};
    if (heap->published != NULL)
        return; /* what its owner was at is the parent's */
    if (heap->one != NULL)
        one_owner_revive(heap->one);
    else if (load_relaxed(&heap->core.image->life) == 0)
        store_release(&heap->core.image->life, load_relaxed(&heap->core.life_made));
}

static void locks_after_fork(void)
{
    for (uint32_t index = 0; index < handles_used; index++)
        lock_after_fork(handle_at(index));
}

/* What lies in a heap server's memory is mapped in the parent alone: using such a heap in the child is misuse. */
static void close_what_is_the_parents(void)
{
    for (uint32_t index = 0; index < handles_used; index++) {
        struct cairn_heap *heap = handle_at(index);
        if (heap->state != HEAP_OPEN || !heap->attachment->is_of_client)
            continue;
        if (heap->checked != NULL)
            checked_end(heap);
        if (heap->one != NULL)
            one_owner_end(heap->one);
        handle_give(heap);
    }
    struct attachment **link = &process_attachments;
    while (*link != NULL) {
        struct attachment *attachment = *link;
        if (!attachment->is_of_client) {
            link = &attachment->next;
            continue;
        }
        *link = attachment->next;
        pool_give(attachment, sizeof *attachment);
    }
}

void heap_is_of_client(struct cairn_heap *heap)
{
    mutex_lock(&process_lock);
    heap->attachment->is_of_client = true;
    mutex_unlock(&process_lock);
}

/*
 * The child has the views, but none of the parent's locks and none of its threads. Shared sections see it as a process
 * of its own from its first call on.
 */
static void child_after_fork(void)
{
    thread_is_another();
    tables_after_fork();
    for (struct attachment *a = process_attachments; a != NULL; a = a->next) {
        a->liveness = (struct liveness){0}; /* the mapping was not inherited */
        if (a->is_shared)
            a->process = 0;
    }
    thread_after_fork();
    close_what_is_the_parents();
    locks_after_fork();
    for (struct attachment *a = process_attachments; a != NULL; a = a->next) {
        if (a->is_published) {
            a->needs_recovery = false;
            a->section.public_is_parents = true;
        }
    }
    forks++;
    mutex_unlock(&process_lock);
}

uint32_t process_forks(void)
{
    return forks;
}

static int watch_forks(void)
{
    static bool watching;
    if (watching)
        return 0;
    int error = process_on_fork(before_fork, parent_after_fork, child_after_fork);
    watching = error == 0;
    return error;
}

/* ---------------------------------------------------------------- the section of private heaps */

static uint32_t page_shift(void)
{
    return bit_highest(platform_page_size());
}

/* watch_forks for those who make sections of their own. */
int process_watch(void)
{
    return watch_forks();
}

int process_section(struct attachment **ret_attachment)
{
    if (private_attachment != NULL) {
        *ret_attachment = private_attachment;
        return 0;
    }
    int error = watch_forks();
    if (error < 0)
        return error;
    struct attachment *attachment = pool_get(sizeof *attachment);
    if (attachment == NULL)
        return -ENOMEM;

    /* A quarter of a TiB costs nothing but address space. Where that is limited, take what is to be had. */
    uint64_t bytes = memory_reservation_limit(UINT64_C(256) << 30);
    do {
        struct section_params params = {
            .bytes_max = bytes,
            .page_shift = page_shift(),
            .heaps_max = (uint32_t)max_u64(64, min_u64(HEAPS_LIMIT, bytes >> 17)),
        };
        error = section_create_anonymous(&attachment->section, &params);
        bytes /= 4;
    } while (error == -ENOMEM && bytes >= UINT64_C(1) << 20);
    if (error < 0) {
        pool_give(attachment, sizeof *attachment);
        return error;
    }
    attachment->is_process_section = true;
    attachment->is_anonymous = true;
    attachment->next = process_attachments;
    process_attachments = attachment;
    private_attachment = attachment;
    *ret_attachment = attachment;
    return 0;
}

/* ---------------------------------------------------------------- being a process of a shared section */

/*
 * The heap's name leads to a description of our own in a tenth of the time that /proc takes; when it leads to another
 * file by now, or nowhere, that is left.
 */
static int take_liveness(const struct attachment *attachment, uint32_t number, struct liveness *ret_liveness)
{
    const struct section *section = &attachment->section;
    struct file_status status;
    int own;
    if (attachment->directory[0] != '\0' && file_open(&own, attachment->directory, attachment->name, false) == 0) {
        if (file_status_get(own, &status) == 0 && status.device == section->device && status.inode == section->inode)
            return liveness_take_by(ret_liveness, own, LIVENESS_OFFSET + number);
        file_close(own);
    }
    return liveness_take(ret_liveness, section->file, LIVENESS_OFFSET + number);
}

/*
 * First the lock, then the record: killed in between there is nothing to recover, and whoever only locks bytes makes
 * the table no longer.
 */
static int join_as(struct attachment *attachment, uint32_t number)
{
    struct section *section = &attachment->section;
    struct process_image *image = section_process(section, number);
    bool is_there = number <= load_acquire(&section->image->processes_end);
    if (is_there && record_state_of(load_acquire(&image->word)) != RECORD_FREE)
        return -EBUSY;
    struct liveness liveness;
    int error = take_liveness(attachment, number, &liveness);
    if (error < 0)
        return error;
    if (!is_there) /* with all before it, of which strangers may have kept us */
        error = section_commit(section, section_offset(section, section->processes), number * sizeof *image);
    if (!is_there && error == 0)
        error = section_commit_records(section, image, sizeof *image, &section->image->processes_end, number - 1,
                                       number - 1);
    if (error < 0) {
        liveness_give(&liveness);
        return error;
    }
    uint64_t word = load_acquire(&image->word);
    if (record_state_of(word) != RECORD_FREE) {
        liveness_give(&liveness);
        return -EBUSY;
    }
    image->process_id = process_id();
    store_release(&image->word, record_word(RECORD_LIVE, 0, record_generation_of(word)));
    attachment->liveness = liveness;
    attachment->process = number;
    fetch_add_acq_rel(&section->image->attaches, 1); /* after the word: see section_mark_clean */
    return 0;
}

int attachment_join(struct attachment *attachment)
{
    struct section *section = &attachment->section;
    if (!attachment->is_shared || attachment->process != 0)
        return 0;
    int error = watch_forks();
    if (error == 0 && !section_file_is_ours(section))
        error = -EBADF;
    if (error < 0)
        return error;
    (void)barrier_system_ready(); /* a destroy asks for a barrier; where there is none it waits for the hands alone */

    bool recovered = false;
    for (uint32_t number = 1;; number++) {
        if (number > section->processes_max) {
            if (recovered)
                return -EAGAIN;
            attachment_recover(attachment, 0); /* the dead may hold all the records */
            recovered = true;
            number = 1;
        }
        error = join_as(attachment, number);
        if (error == 0)
            section_mark_open(section);
        if (error != -EBUSY)
            return error;
    }
}

/* ---------------------------------------------------------------- recovering the dead */

static void pass_barrier(void *arg)
{
    (void)arg;
    barrier_system();
}

struct seizing {
    struct attachment *attachment;
    struct liveness liveness;
};

static bool seize(void *arg, uint32_t process)
{
    struct seizing *seizing = arg;
    const struct attachment *attachment = seizing->attachment;
    return process != attachment->process && liveness_probe(attachment->section.file, LIVENESS_OFFSET + process) == 0 &&
           take_liveness(attachment, process, &seizing->liveness) == 0;
}

static void let_go(void *arg)
{
    struct seizing *seizing = arg;
    liveness_give(&seizing->liveness);
}

/* Whether an owner is the one of a heap: those belong to the handle, not to a thread. */
static bool is_of_a_handle(const struct attachment *attachment, uint32_t number)
{
    for (uint32_t index = 0; index < handles_used; index++) {
        const struct cairn_heap *heap = handle_at(index);
        if (heap->state == HEAP_OPEN && heap->attachment == attachment && heap->one != NULL &&
            heap->one->core.number == number)
            return true;
    }
    return false;
}

/* In a forked child every owner of a private section that is not this process's is dead by definition. */
static uint32_t recover_after_fork(struct attachment *attachment)
{
    struct section *section = &attachment->section;
    uint32_t recovered = 0;
    uint32_t end = load_acquire(&section->image->owners_end);
    attachment->needs_recovery = false;
    for (uint32_t number = 1; number <= end && number <= section->owners_max; number++) {
        bool mine = is_of_a_handle(attachment, number);
        for (struct thread_owner *owner = attachment->owners; owner != NULL; owner = owner->next_of_attachment)
            mine = mine || owner->core.number == number;
        if (mine || record_state_of(load_acquire(&section_owner(section, number)->word)) == RECORD_FREE)
            continue;
        recovery_of_owner(section, number);
        recovered++;
    }
    return recovered;
}

uint32_t attachment_recover(struct attachment *attachment, uint32_t by)
{
    if (attachment->needs_recovery)
        return recover_after_fork(attachment);
    /* A descriptor that the application closed may be another file by now: there, nobody's locks are to be found. */
    if (!attachment->is_shared || !section_file_is_ours(&attachment->section))
        return 0;
    struct seizing seizing = {.attachment = attachment};
    struct recovery recovery = {
        .section = &attachment->section,
        .by = by,
        .seize = seize,
        .let_go = let_go,
        .barrier = pass_barrier,
        .arg = &seizing,
    };
    return recovery_of_dead(&recovery);
}

/*
 * Looks after 1, 2, 4, ... turns, and then after each 64th. Looking costs a system call for each process; a turn that
 * is given up is short as a rule, but a tenth of a second where many wait for processors, so that what comes after a
 * thousand of them comes after a minute.
 */
void attachment_wait(struct attachment *attachment, uint32_t by, uint32_t waited)
{
    thread_yield();
    if (waited % 64 != 0 && !is_power_of_two(waited))
        return;
    mutex_lock(&process_lock);
    attachment_recover(attachment, by);
    mutex_unlock(&process_lock);
}

/* ---------------------------------------------------------------- handles */

/*
 * Handles lie in chunks that are never unmapped: a late call with a closed handle finds it marked closed. Places are
 * reused first-in first-out, and not before a good many others were closed after them.
 */
static struct cairn_heap *closed_first;
static struct cairn_heap *closed_last;
static uint32_t closed_count;
static uint64_t next_key = UINT64_C(1) << 24;
static const atomic_u64 no_life;

static struct cairn_heap *new_handle(void)
{
    uint32_t index = handles_used;
    if (index / HANDLES_PER_CHUNK >= HANDLE_CHUNKS)
        return NULL;
    struct cairn_heap **chunk = &handle_chunks[index / HANDLES_PER_CHUNK];
    if (*chunk == NULL)
        *chunk = pool_get(HANDLES_PER_CHUNK * sizeof **chunk);
    if (*chunk == NULL)
        return NULL;
    handles_used++;
    struct cairn_heap *heap = &(*chunk)[index % HANDLES_PER_CHUNK];
    heap->core.index = index;
    return heap;
}

struct cairn_heap *handle_take(void)
{
    struct cairn_heap *heap = NULL;
    if (closed_count <= CLOSED_KEPT)
        heap = new_handle();
    if (heap == NULL && closed_first != NULL) {
        heap = closed_first;
        closed_first = heap->next_closed;
        closed_count--;
    }
    if (heap == NULL)
        return NULL;
    heap->next_closed = NULL;
    heap->core.key = next_key;
    next_key += UINT64_C(1) << 24;
    heap->state = HEAP_OPEN;
    heap->mode = MODE_THREADS;
    heap->lock = (struct heap_lock){0};
    heap->one = NULL;
    heap->checked = NULL;
    heap->published = NULL;
    heap->read_only = heap->lockable = false;
    heap->on_failure = NULL;
    heap->name[0] = '\0';
    heap->opened++;
    return heap;
}

void handle_give(struct cairn_heap *heap)
{
    heap->state = HEAP_CLOSED;
    heap->core.key = 0;
    heap->core.life = &no_life;
    store_relaxed(&heap->core.local_end, 0);
    heap->attachment = NULL;
    if (closed_first == NULL)
        closed_first = heap;
    else
        closed_last->next_closed = heap;
    closed_last = heap;
    closed_count++;
}
