/* SPDX-License-Identifier: MIT */
/*
 * crash: a proof by trial that a kill at any instruction loses nothing. Public calls on the shared library as it is
 * installed, real processes, real files; src/section/layout.h serves to look at an image, never to change one.
 *
 *     world     what the processes of a trial know of the heap: a ledger outside it, which survives each of them
 *     slot      one role in a world: an actor that is killed and replaced; its records stay
 *     call      one public call, announced in the slot before it begins and struck out after its result is entered
 *     state     the bytes of the image between two instructions
 *     trial     what one seed does; the same seed does it again
 *     tally     the results of a check over all shards, in a file bound to the library's bytes
 */
#ifndef CAIRN_TEST_CRASH_H
#define CAIRN_TEST_CRASH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cairn.h"
#include "support/random.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---------------------------------------------------------------- the world */

enum {
    SLOTS = 17,            /* 16 at work in the storm, and one that looks after them */
    BLOCKS_PER_SLOT = 192, /* records; of each slot, for those that it allocates */
    LINKS = 8,             /* pointers in the heap that alloc_to fills */
    ROOTS = 2,
    CHILDREN = 2,
    ODDITIES = 4096, /* blocks whose fate only the heap knows */
    LATENCIES = 40,
};

enum call_kind {
    CALL_NONE,
    CALL_ALLOC,
    CALL_ZALLOC,
    CALL_ALIGNED,
    CALL_REALLOC,
    CALL_EXPAND,
    CALL_FREE,
    CALL_ALLOC_TO,
    CALL_FREE_FROM,
    CALL_ROOT_SET,
    CALL_CHILD_CREATE,
    CALL_CHILD_RESET,
    CALL_CHILD_DESTROY,
    CALL_CHILD_REOPEN, /* close and open_child */
    CALL_TRIM,
    CALL_RECOVER,
    CALL_LOCK,
    CALL_TRYLOCK,
    CALL_UNLOCK,
    CALL_REOPEN, /* close of the last handle, and open again */
    CALL_THREAD, /* a thread that allocates, frees, and ends */
    CALL_LOOK,   /* check, walk and statistics */
    CALL_REAP,
    CALL_ERRAND, /* another thread allocates and frees for the slot, and ends: calls of their own, not one */
    CALL_KINDS,
    /* Not chosen by chance. */
    CALL_OPEN,
    CALL_CREATE,
    CALL_DESTROY,
};

/* One live block. The holder's store makes the record true, and giving the block away is one store, too. */
struct record {
    _Atomic uint32_t holder; /* slot + 1; 0: none */
    uint32_t heap;           /* 0: the heap itself; i: child i - 1 of the slot */
    unsigned char *address;
    size_t size;
    uint64_t sign; /* what its bytes are made of */
};

struct call {
    _Atomic uint32_t kind;
    uint32_t index; /* of a link, root or child */
    uint32_t heap;
    uint32_t record;   /* gets the new block */
    uint32_t old;      /* record of the block that goes */
    uint64_t old_sign; /* it may have been used again since */
    size_t size;
    size_t alignment;
    void *value;    /* of a root */
    uint64_t flags; /* of a child: as those of its options */
    uint64_t bytes_max;
    uint64_t bytes_start;
    bool nested;
};

const char *call_name(uint32_t kind);
extern uint64_t calls_without; /* a bit for each kind that is not chosen */

enum child_state { CHILD_NONE, CHILD_LIVE, CHILD_BOUND };

/* In the heap, at root "anchor<slot>": what alloc_to and the lock need there. */
struct anchor {
    cairn_mutex mutex;
    void *links[LINKS];
};

struct link {
    void *block; /* NULL: none */
    size_t size;
    uint64_t sign;
};

struct slot {
    struct call call;
    struct anchor *anchor;
    struct link links[LINKS];
    void *roots[ROOTS];
    uint32_t children[CHILDREN]; /* enum child_state */
    bool exact[CHILDREN];        /* created with CAIRN_EXACT_SIZES */
    bool nested;                 /* the second is a child of the first */
    bool locked;
    _Atomic uint32_t awaits; /* not in a call: until others have recovered what it left */
    struct random random;
    _Atomic uint64_t calls;
    _Atomic uint64_t begun;        /* when the call in progress began, in nanoseconds; 0: none */
    _Atomic uint64_t slowest;      /* nanoseconds */
    uint64_t latencies[LATENCIES]; /* how many calls took less than 2^i nanoseconds, and not less than half of it */
};

/* What a process is in the middle of: as it stands itself, or as its owner's record and the units tell. */
enum moment {
    MOMENT_NEVER,
    MOMENT_NOW,
    MOMENT_STEP, /* instructions later */
    MOMENT_LOCK, /* before an instruction with a lock prefix: between what it has seen, and what it makes of that */
    MOMENT_HAND,
    MOMENT_FREED, /* the block in its hand is free, and its owner was not told */
    MOMENT_CHARGE,
    MOMENT_WIDENING,
    MOMENT_TAKEN,     /* units that are no span's yet */
    MOMENT_RETURNING, /* units whose memory it gives back */
    MOMENT_FREEING,
    MOMENT_STOPPED,   /* a heap, by it */
    MOMENT_KILLED,    /* a heap, and not swept yet */
    MOMENT_ORPHANING, /* an orphan is counted and is none yet */
    MOMENT_ADOPTED,   /* an orphan less than there were */
    MOMENT_HALF,      /* the header of a slab that is being made is written in part */
    MOMENT_BORN,      /* a slab is there, and none of its blocks is ready */
    MOMENT_END,       /* of the call */
};

struct actor;

/*
 * When the actor stands at that moment, for the nth time, its visitor makes a call, up to that moment of its own, and
 * stays there; or dies there. What it does is stepped, too.
 */
struct appointment {
    uint32_t when, until;    /* enum moment */
    uint32_t nth, until_nth; /* of MOMENT_STEP and MOMENT_LOCK; from 1 on */
    bool dies;
    void (*act)(struct actor *actor);       /* NULL: goes on with what it is at */
    void (*successor)(struct actor *actor); /* what another does then, to the end; NULL: nobody comes */
};

struct world {
    char name[32];
    uint64_t bytes_max, bytes_start, flags; /* options of the heap */
    size_t size_max;                        /* of a usual block */
    bool has_peers;                         /* others work in the heap: not everything can be told at once */
    bool is_limited;                        /* commits of the actor's process fail */
    bool is_wide;                           /* any size is as usual as another */
    bool is_visited;                        /* another goes on while the actor stands in a call */
    cairn_mutex *meeting;                   /* a lock that both of them want; NULL: none */
    struct appointment appointment;         /* not MOMENT_NEVER: to be kept; then nobody comes by chance */
    uint32_t appointments;                  /* so many were made; from the first on nobody comes by chance */
    uint32_t orders, done;                  /* calls that a visitor was asked for, and has made */
    void (*ordered)(struct actor *actor);   /* the last of them */
    void *shared[9];                        /* blocks and places that both know, in heaps without a ledger */
    _Atomic uint32_t stepping;              /* the tracer steps while it is not 0 */
    _Atomic uint32_t pause, parked, stop;   /* of a crew's members, between two calls */
    _Atomic uint32_t stopped;               /* one of them is, by SIGSTOP: what it is at, nobody else finishes */
    struct crew *crew;
    pid_t guest; /* a forked child that tells who it is */
    struct slot slots[SLOTS];
    struct record records[SLOTS * BLOCKS_PER_SLOT];
    /* Of the dead, until the next count: */
    _Atomic uint32_t lost_max;    /* killed in a plain allocation: so many blocks may be lost */
    _Atomic uint32_t maybe_count; /* killed in a free: these may live or not */
    void *maybe[ODDITIES];
};

/* This process's handles. */
struct actor {
    struct world *world;
    uint32_t number;
    struct slot *slot;
    cairn_heap *heap;
    cairn_heap *children[CHILDREN];
    enum { FREE_RUNNING, TRACED, TRAPPED } mode; /* how the next call runs */
    bool evenly;                                 /* each kind of call is as likely as another */
};

struct world *world_new(void);
void world_delete(struct world *world);

/* What the heap will be made with; flags and bytes_start can be set before. */
void world_name(struct world *world, const char *name, uint64_t bytes_max);
/* Creates it, in a process of its own. */
void world_begin(struct world *world, const char *name, uint64_t bytes_max);

/* Attaches as that slot, and finds or makes its anchor. */
void actor_begin(struct actor *actor, struct world *world, uint32_t number);
/* After a fork: the child goes on with the parent's handle, in a slot of its own. */
void actor_inherit(struct actor *actor, const struct actor *parent, uint32_t number);
void actor_end(struct actor *actor);

/* Chooses a call and makes it. */
void actor_turn(struct actor *actor);
/* Allocates until the heap refuses. */
void actor_exhaust(struct actor *actor);
/* Allocates blocks that no ledger tells of, as one does who will be killed before it links them. */
void actor_litter(struct actor *actor);
void actor_call(struct actor *actor, struct call call);
/* From here to the same with false what the actor calls is stepped: for what is no call of the ledger's. */
void actor_step(struct actor *actor, bool on);
/* A call that gets a block, or changes one; NULL when there is no place for it, or the heap refuses. */
struct record *actor_make(struct actor *actor, uint32_t heap, enum call_kind kind, struct record *old, size_t size,
                          size_t alignment);
/* Makes an appointment with the visitor; it is kept in what is stepped next. */
void actor_meet(struct actor *actor, struct appointment appointment);
/* A visitor that does what it is asked for, and nothing else. */
void actor_serve(struct actor *actor);
/* Runs a thread to its end; what it steps begins where it says so, with actor_step, and ends with it. */
void actor_thread(struct actor *actor, void *(*run)(void *actor));
/* Gives a block away. */
void actor_give(struct actor *actor, uint32_t to);
/* Calls in the first child of another slot, and on the lock that both want: whatever that one makes of the child. */
void actor_guest(struct actor *actor, uint32_t host);
/* Closes all that it has open. */
void actor_leave(struct actor *actor);
/* From here on the file grows by no more than so many bytes, as where the file system is full. */
void world_limit_growth(struct world *world, uint64_t bytes);
/* From here on the system refuses all memory that this process wants for the heap, or for itself. */
void world_refuse_memory(struct world *world);
void world_refuse_own_memory(void);
/* A block that no ledger tells of: it may live or not. */
void world_add_maybe(struct world *world, void *block);

/* A dead slot's call in progress is entered as what the heap says became of it; the heap was recovered. */
void slot_settle(struct world *world, uint32_t number, cairn_heap *heap);

/* Counts the heap against all ledgers: exact, so nobody is at work. Blocks that only the dead knew are freed. Returns
 * how many those were. Broken promises end the process by fail(). */
uint32_t world_count(struct world *world, cairn_heap *heap);

/* The heap of a world whose processes are all dead: recovers, compares, recovers again, uses it, empties it, and looks
 * whether anything is left. Returns how many blocks were lost. */
uint32_t world_verify(struct world *world, const char *name);

/* How many records of processes with that id the heap has, dead or alive. */
uint32_t heap_records_of(cairn_heap *heap, pid_t process);

/* Whether a process with that id holds the lock of its roots. */
bool heap_roots_are_held_by(cairn_heap *heap, pid_t process);

/* Bytes that are committed; of the bookkeeping, which grows with the most that was ever in use and stays, all that it
 * can ever be. */
uint64_t heap_committed(cairn_heap *heap);

/* Takes all that there is, and gives it back: the bookkeeping is as large as it will ever be. */
void heap_fill_once(cairn_heap *heap);

/* Everything is freed, and given back if so wished; what is left in the image is a leak. */
void world_empty(struct world *world, cairn_heap *heap, bool trim);

/* ---------------------------------------------------------------- failing */

/* Ends this process: a promise is broken. The worker tells it with seed and step. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Where fail() writes to: memory that the worker shares with its processes. */
extern char *fail_text;
enum { FAIL_TEXT = 1000 };

/* ---------------------------------------------------------------- processes */

void *shared_memory(size_t bytes);
uint64_t now(void); /* nanoseconds */

/* Forks a process that dies with its parent. */
pid_t process_start(void (*run)(void *arg), void *arg);
/* Whether it has not ended after so many seconds. */
bool process_runs_on(pid_t process, unsigned seconds);
/* Waits for its end; seconds bound it. Returns the status of waitpid, or -1: it hangs, and was killed. */
int process_end(pid_t process, unsigned seconds);
/* SIGKILL, and until it is gone. */
void process_kill(pid_t process);

/* ---------------------------------------------------------------- tracing */

struct image {
    int file;
    const unsigned char *view;
    size_t view_bytes;
    unsigned char *last; /* the bookkeeping as it was */
    size_t meta_bytes;
    uint64_t *page_hashes; /* of its pages; 0: not committed */
    uint64_t anchor_hash;
    uint64_t hash; /* of all */
};

bool image_open(struct image *image, const char *path);
void image_close(struct image *image);
/* Whether the bookkeeping or the anchor differ from what they were at the last call; if so, image->hash is new. */
bool image_changed(struct image *image, const struct anchor *anchor);
void image_copy(const struct image *image, int to);
/* What an owner is in the middle of: that of a thread, or with 0 any that has something, its hand before its charge. */
enum unfinished { UNFINISHED_NOTHING, UNFINISHED_HAND, UNFINISHED_CHARGE, UNFINISHED_KINDS };
enum unfinished image_unfinished(const struct image *image, pid_t thread);

/* Whether a thread is at that moment, as far as the image tells: not STEP, LOCK and END. */
bool image_is_moment(const struct image *image, pid_t thread, enum moment moment);
uint32_t image_orphans(const struct image *image);

/* Forks a process that is traced, and waits until it asks to be stepped. */
pid_t traced_start(void (*run)(void *arg), void *arg);
/* Lets it run until it asks to be stepped again; false when it has ended well. */
bool traced_resume(pid_t *process);
/* One instruction, or one call of the C library that does not write to the bookkeeping; false when the call is over. */
bool traced_step(pid_t process, const struct world *world, const struct image *image);
/* False when the last step was of an instruction that cannot have changed the image. */
extern bool traced_may_have_written;
void traced_kill(pid_t process);
/* Whether another process can be stepped meanwhile: this one has one thread, which stands in the library's code. */
bool traced_can_wait(pid_t process);
/* Whether it stands at an instruction with a lock prefix: between what it has seen, and what it makes of that. */
bool traced_is_at_lock(void);

/* How a tracer steps where it can: see stops.c. False: where the library's instructions begin is not known. */
bool stops_load(const char *library);
/*
 * One instruction of the library, and what it calls outside; or what is outside, until it comes to the library or to an
 * int3 of its own. *status is waitpid's. False when that is no way for this one: nothing has happened, and the code is
 * as it was. runs_in_one_go is asked of what is called outside.
 */
typedef bool runs_in_one_go_fn(pid_t thread, const struct image *image);
bool stops_step(pid_t process, pid_t thread, uintptr_t at, runs_in_one_go_fn *runs_in_one_go, const struct image *image,
                int *status);
/* The code of the process is as it was. */
void stops_clear(pid_t process);
/* The process is no more. */
void stops_end(void);

/* The other way: this process asks by a byte after each store into the bookkeeping or the anchor's page, and waits. */
void trap_install(int ask, int answer);
void trap_begin(void *meta, size_t meta_bytes, void *anchor);
void trap_end(void);

/* ---------------------------------------------------------------- a crew */

struct tally;

struct crew {
    struct world *world;
    struct tally *tally;
    uint32_t members;
    pid_t processes[SLOTS]; /* 0: dead */
    pid_t overseer;
    int order[2], answer[2];
};

void crew_begin(struct crew *crew, uint64_t seed, uint32_t members, uint64_t bytes_max, struct tally *tally);
void crew_start(struct crew *crew, uint32_t number);
/* All from first on, who begin to work when each has its anchor: a heap may be full when one comes late. */
void crew_start_from(struct crew *crew, uint32_t first);
void crew_member(struct crew *crew, uint32_t number); /* what it runs */
/* Waits until each member from `first` on has made so many calls more. */
void crew_progress(struct crew *crew, uint32_t first, uint64_t calls);
void crew_await(struct crew *crew, uint32_t number, uint64_t calls);       /* one of them: so many more */
void crew_await_total(struct crew *crew, uint32_t number, uint64_t calls); /* so many since it began */
/* Recovers until no record of the dead process is left, and settles its slot. */
void crew_settle(struct crew *crew, uint32_t number, pid_t dead);
/* The same where the next slot's process lives, and its record has the same process id: until there is one less. */
void crew_settle_one(struct crew *crew, uint32_t number, pid_t dead);
/* Recovers, and requires that the heap still knows the process. */
void crew_require_alive(struct crew *crew, pid_t process);
/* Whether it holds the lock under which roots are set: who wants it waits for a process that is stopped, too. */
bool crew_holds_roots(struct crew *crew, pid_t process);
/* The heap is filled once, and empty again; returns the bytes that are committed then. */
uint64_t crew_fill_once(struct crew *crew);
/* Stops all between two calls and counts; returns the bytes that the heap has committed. */
uint64_t crew_count(struct crew *crew);
/* All end; the heap is counted, emptied and trimmed. Returns the bytes that it has committed then. */
uint64_t crew_rest(struct crew *crew);
/* The same for the last time. */
uint64_t crew_end(struct crew *crew);

/* ---------------------------------------------------------------- results */

enum { CHECKS = 5, PLACES = 4 << 20, REACHED_MAX = 1 << 20 };

struct tally {
    _Atomic uint64_t next_seed;
    _Atomic uint64_t done; /* what the goals are counted in */
    _Atomic uint64_t trials, failed, lost;
    _Atomic uint64_t steps, stores, changed; /* step: instructions, and where only stores were stopped at, those */
    _Atomic uint64_t longest;                /* nanoseconds that somebody waited */
    _Atomic uint64_t longest_settle;         /* recovery, and what the harness asks after it */
    _Atomic uint64_t
        drift; /* by what an empty heap has grown, in hundredths of a percent of the most that was committed at work */
    _Atomic uint64_t latencies[LATENCIES];
    _Atomic uint64_t skipped;
};

/* The file in the build directory: shared by all workers, true whenever it is interrupted. */
struct ledger {
    uint64_t library;
    struct tally tallies[CHECKS];
    _Atomic uint64_t life_done[8];
    _Atomic uint64_t life_skipped[8];
    _Atomic uint64_t states[PLACES];      /* hashes of distinct states */
    _Atomic uint8_t reached[REACHED_MAX]; /* instructions of the library, by address */
};

extern struct ledger *ledger;
extern uintptr_t library_begin, library_end;

bool ledger_add_state(uint64_t hash); /* whether it is new */
void raise_to(_Atomic uint64_t *most, uint64_t value);

struct check {
    const char *name;
    const char *what; /* is counted */
    uint64_t quick, full;
    bool pinned; /* one processor per worker: tracer and traced take turns */
    /* Runs a seed; only_step UINT64_MAX: all. Returns how much was done towards the goal. */
    uint64_t (*trial)(uint64_t seed, uint64_t only_step, struct tally *tally);
};

extern bool full_run;
extern uint64_t trial_seed;

/* A bit for each kind of round of which this run has said that it is skipped. */
extern _Atomic uint32_t *skips_told;

/* The step at which a trial stands, for the report of a failure. */
extern _Atomic uint64_t *at_step;

/* Ends the trial when the child's status is not a good end. */
void require_end(int status, const char *who);

/* ---------------------------------------------------------------- tours */

/* Calls in an order in which chance seldom makes them, each for what it is named after. */
struct tour {
    const char *name;
    uint64_t bytes_max, flags;
    void (*peer)(struct actor *actor); /* another process does this before, and gives the actor its blocks; or NULL */
    void (*run)(struct actor *actor);  /* what is traced */
    void (*visitor)(
        struct actor *actor); /* another process does this again and again, while the actor stands; or NULL */
};

enum { TOUR_ONE_IN = 8 }; /* of the seeds of step */

extern const struct tour tours[];
extern const size_t tours_count;

uint64_t step_trial(uint64_t seed, uint64_t only_step, struct tally *tally);
uint64_t kill_trial(uint64_t seed, uint64_t only_step, struct tally *tally);
uint64_t pair_trial(uint64_t seed, uint64_t only_step, struct tally *tally);
uint64_t storm_trial(uint64_t seed, uint64_t only_step, struct tally *tally);
uint64_t life_trial(uint64_t seed, uint64_t only_step, struct tally *tally);

#endif
