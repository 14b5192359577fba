/* SPDX-License-Identifier: MIT */
/*
 * What one process knows: its handles, its attachments to sections, its threads.
 *
 * Lock order: process_lock, then pool_lock (inside pool.c). No lock is held while a caller's callback runs.
 */
#ifndef CAIRN_API_PROCESS_H
#define CAIRN_API_PROCESS_H

#include "cairn.h"
#include "core/core.h"
#include "platform/platform.h"
#include "recovery/recovery.h"

enum { DIRECTORY_BYTES = 256 };

/* A section that this process has a view of. */
struct attachment {
    struct section section;
    struct attachment *next;
    struct thread_owner *owners; /* of threads of this process */
    struct liveness liveness;
    uint32_t process; /* number of our record in the section; 0: none yet (or a fork made us another) */
    uint32_t handles;
    uint32_t forks; /* is_published: process_forks() when it was made */
    bool is_shared;
    bool is_process_section; /* where private heaps live that have no section of their own */
    bool is_anonymous;       /* private memory of the system's, not the caller's */
    bool is_published;       /* its units are no forked child's */
    bool is_of_client;       /* in a section of a heap server's: nothing of it is a forked child's */
    bool needs_recovery;     /* forked: the owners of the parent's other threads are dead here */
    char name[CAIRN_NAME_MAX + 1];
    char directory[DIRECTORY_BYTES]; /* empty: a memory file, which no name leads to */
};

/* A thread's owner in one section. */
struct thread_owner {
    struct core_owner core;
    _Atomic(struct attachment *) attachment; /* NULL: closed by another thread; only the memory is left to give back */
    struct thread_owner *next_of_thread;
    struct thread_owner *next_of_attachment;
};

struct thread {
    uint32_t mask; /* of table */
    struct bins **table;
    struct thread_owner *owners;
};

enum heap_state {
    HEAP_UNUSED = 0,
    HEAP_OPEN = 1,
    HEAP_CLOSED = 2,
};

/* Who allocates in a heap: each thread by its own owner record, or all by one. */
enum heap_mode {
    MODE_THREADS = 0,
    MODE_LOCKED = 1, /* one owner, and every call under the heap's lock: small heaps, where slabs that idle threads
                        hold would be most of it */
    MODE_UNSERIALIZED = 2, /* one owner, no lock: the caller sees to it */
};

/* Recursive; of this process. */
struct heap_lock {
    struct mutex mutex;
    atomic_u32 holder; /* thread id; 0: nobody */
    uint32_t depth;
};

/*
 * What a published heap does otherwise; the floor above makes it. All are called between call_begin and call_end, but
 * for is_retired, for which the heap's lock is enough.
 */
struct publication {
    /* Puts a block aside until no reader can be at it. Ends as core_free does. */
    enum core_crime (*free)(struct publication *self, struct bins *bins, void *block);
    bool (*is_retired)(const struct publication *self, const void *block);
    /* A block was allocated, or became larger, and so many bytes more are live. */
    void (*grown)(struct publication *self, struct bins *bins, uint64_t bytes);
    /* Frees what was put aside, whoever may be reading it; false: there was nothing. */
    bool (*make_room)(struct publication *self, struct bins *bins);
    /* A root was set or removed. */
    void (*root_changed)(struct publication *self);
    /* Every block is about to be freed: whoever reads now reads in vain. */
    void (*reset)(struct publication *self);
};

struct cairn_heap {
    _Alignas(64) struct core_heap core; /* first: the fast paths read it, and no more than its first line */
    struct attachment *attachment;
    struct cairn_heap *next_closed;
    uint8_t state; /* enum heap_state */
    uint8_t mode;  /* enum heap_mode */
    bool read_only;
    bool lockable;
    uint32_t opened;               /* how often this place was used: for people */
    struct heap_lock lock;         /* MODE_LOCKED, lockable */
    struct thread_owner *one;      /* MODE_LOCKED, MODE_UNSERIALIZED */
    struct checked *checked;       /* NULL: stray writes are not looked for */
    struct publication *published; /* NULL: it is not published */
    cairn_failure_fn *on_failure;
    void *on_failure_arg;
    char name[ROOT_NAME_BYTES]; /* of a child of a shared heap */
};

/* ---------------------------------------------------------------- threads */

extern _Thread_local struct thread *thread_self;

/*
 * The heap that this thread used last: what the fast paths need of it, in one place. Its check is unique in the
 * process, so an entry whose heap was closed or reset fits nothing any more; those whose bins go are forgotten.
 */
struct last_heap {
    atomic_u64 check; /* of the heap, when the bins were current; UINT64_MAX: none, or a guarded heap */
    uint64_t word;    /* unit word of a slab that is this thread's and of this heap */
    struct bins *bins;
    atomic_u64 check_guarded; /* as check, of a guarded heap */
    struct core_owner *owner; /* of the bins; set where check_guarded is */
};

extern _Thread_local struct last_heap thread_last;

ALWAYS_INLINE void thread_forget_last(void)
{
    store_relaxed(&thread_last.check, UINT64_MAX);
    store_relaxed(&thread_last.check_guarded, UINT64_MAX);
}

/* The calling thread's bins for a heap, or some others whose check does not fit. */
ALWAYS_INLINE struct bins *thread_bins(const struct cairn_heap *heap)
{
    struct thread *self = thread_self;
    return self->table[heap->core.index & self->mask];
}

/*
 * Makes the calling thread an owner in the heap's section and gets its bins for the heap. NULL with the reason set:
 * read-only, no memory, too many owners. Names a closed handle as misuse.
 */
struct bins *thread_attach(struct cairn_heap *heap, const char *call);

/*
 * Begins a call that changes the heap: checks the handle, waits for the heap's lock or a reset, and returns the bins to
 * work with; NULL with the reason set. Ends by call_end, before which no callback of the user's may run.
 */
struct bins *call_begin(struct cairn_heap *heap, const char *call);
void call_end(struct cairn_heap *heap, struct bins *bins);

/* The one owner of a heap that has one. */
struct thread_owner *one_owner_new(struct attachment *attachment);
void one_owner_end(struct thread_owner *one);

/* In a forked child: the owner died in the middle of a call; recovers it and makes it anew. */
void one_owner_revive(struct thread_owner *one);

void heap_lock_take(struct heap_lock *lock);
void heap_lock_give(struct heap_lock *lock);
bool heap_lock_is_mine(const struct heap_lock *lock);

/* The calling thread's owner in a section, claimed when it has none. The caller holds no lock. */
struct thread_owner *thread_owner_get(struct attachment *attachment);

/* Takes what the calling thread holds for a heap that ends out of its tables. */
void thread_drop_heap(struct attachment *attachment, const struct cairn_heap *heap);

/* Leaves every owner that this process has in a section that is about to be closed; process_lock is held. */
void threads_leave(struct attachment *attachment);

/* After fork, in the child: drops what was the parent's. */
void thread_after_fork(void);

/* ---------------------------------------------------------------- the process */

extern struct mutex process_lock;
extern struct attachment *process_attachments;

/* The section of private heaps, made when first needed; process_lock is held. */
int process_section(struct attachment **ret_attachment);

/* Changes in a forked child: what was noted with another number is the parent's. */
uint32_t process_forks(void);

/* Says of a heap that its memory is a heap server's, which no forked child has. */
void heap_is_of_client(struct cairn_heap *heap);

/* Prepares this process for forks; before it makes its first section. */
int process_watch(void);

/* A new handle, its state HEAP_OPEN and its key set; process_lock is held. NULL: no memory. */
struct cairn_heap *handle_take(void);

/* Marks a handle closed for ever and queues its place for reuse; process_lock is held. */
void handle_give(struct cairn_heap *heap);

/* Takes a process record and its liveness lock in a shared section, unless it is held already; process_lock is held. */
int attachment_join(struct attachment *attachment);

/* Recovers what the dead left in a section; by is the calling thread's owner there. */
uint32_t attachment_recover(struct attachment *attachment, uint32_t by);

/*
 * Gives a turn up, the waited-th, counted from 1, to another process that is to finish a few instructions, and looks
 * now and then whether it is dead. The caller holds no lock.
 */
void attachment_wait(struct attachment *attachment, uint32_t by, uint32_t waited);

/* Heaps in memory files that a process knows of, and whose addresses a new one is not to have. */
struct heap_neighbours {
    uint64_t (*pass_to)(void *arg, uint64_t begin, uint64_t end); /* the end of the last that lies there; 0: none */
    void *arg;
};

/*
 * Makes a shared heap in a memory file; the options were checked. ret_heap may be NULL: then this process does not
 * attach to it. *ret_file is the caller's. ret_address may be NULL. Sets the reason.
 */
int heap_make_memory(struct cairn_heap **ret_heap, int *ret_file, uint64_t *ret_address,
                     const struct cairn_options *options, const struct heap_neighbours *neighbours);

/*
 * A heap over a section that the floor above has made, with one owner and a lock; flags are CAIRN_EXACT_SIZES and
 * CAIRN_LOCKABLE. On failure the section is the caller's again; sets no reason.
 */
int published_heap_new(struct cairn_heap **ret_heap, const struct section *section, const char *name, uint64_t flags,
                       struct publication *published);

/* Ends it, its section too, as it is: who still reads it finds what was there. */
void published_heap_end(struct cairn_heap *heap);

/* As cairn_walk, without blocks, from an offset behind the first unit on: 0, or the end of a span that was told before.
 */
int heap_spans_from(struct cairn_heap *heap, uint64_t offset, cairn_span_fn *span, void *arg);

/* Whether the handle is of a heap that the process published from which this one was forked; sets the reason. */
bool heap_is_the_parents(const struct cairn_heap *heap);

/* Whether a live block of a published heap was freed, and only waits for its readers. */
bool heap_is_retired(struct cairn_heap *heap, const void *block);

/* Finds a root in a table of which only the first `end` entries are looked at. Only loads. */
bool root_find_in(const struct root_image *roots, uint32_t end, uint32_t heap, const char *name, uint64_t *ret_ref);

/* Checks a root's name; sets the reason. */
int root_name_check(const char *name);

/* Finds a root of the heap, whatever its ref stands for. */
bool root_find(const struct cairn_heap *heap, const char *name, uint64_t *ret_ref);

/* Sets a root that is not there, or names a child that is no more; -EEXIST otherwise. Sets the reason. */
int root_store_new(struct cairn_heap *heap, const char *name, uint64_t ref);

/* Whether a root's ref stands for something: a block, or a child that lives. */
bool root_is_taken(const struct section *section, uint64_t ref);

/* Removes all roots of a private heap that ends, lest the next heap of that number finds them. */
void roots_drop(struct attachment *attachment, const struct core_owner *owner, uint32_t heap);

/* ---------------------------------------------------------------- memory of this process */

void *pool_get(size_t bytes);
void pool_give(void *memory, size_t bytes);
extern const struct core_memory pool;
extern const struct core_memory pool_of_ones; /* for owners that a heap has for itself */
void pool_before_fork(void);
void pool_after_fork(void);

/* ---------------------------------------------------------------- options */

#define MAIN_HEAP 1 /* number of the heap that a shared or published section is made for */
#define SHARED_BYTES_DEFAULT (UINT64_C(16) << 30)

/* Copies what the caller's version of the structure has; the rest is zero, the default. Sets the reason. */
int options_get(struct cairn_options *ret_options, const struct cairn_options *options);

/* ---------------------------------------------------------------- errors and misuse */

/* Sets the calling thread's last error and returns it. */
int error_set(int error, const char *format, ...) PRINTF_LIKE(2, 3);

/*
 * The size of the caller's version of a structure that tells it, 0 for what is known here; 0, with the reason set, when
 * no version had that size. what is what a sentence calls it.
 */
size_t structure_size(const char *what, size_t told, size_t known);

/* What people call a heap: its name, or "private heap 7". */
enum { LABEL_BYTES = CAIRN_NAME_MAX + ROOT_NAME_BYTES + 40 };
const char *heap_label(const struct cairn_heap *heap, char *buffer, size_t bytes);

/* Ends the program with the name of the crime. call is what the caller did: "free", "size", "realloc". */
_Noreturn void crime_report(struct cairn_heap *heap, const char *call, const void *block, enum core_crime crime);
_Noreturn void crime_end(const char *line); /* after the program's own callback had its say */
_Noreturn void crime_closed(const struct cairn_heap *heap, const char *call);

#endif
