/* SPDX-License-Identifier: MIT */
/*
 * cairn_publish: published heaps. One process writes, others can only read, and the kernel enforces it.
 *
 * The *publisher* has a heap as any other (cairn.h): it allocates, writes, sets roots, frees. *Readers* in other
 * processes, of other users if it lets them, map the same memory at the same address, find roots and follow plain
 * pointers. They cannot change a byte, hold the publisher up, or see its bookkeeping.
 *
 *     publisher                                              reader
 *
 *     cairn_publish(&p, "prices", NULL);                     cairn_reader_open(&r, "prices", NULL);
 *     cairn_publisher_start_thread(p);                       do {
 *     cairn_heap *heap = cairn_publisher_heap(p);                cairn_read_begin(r);
 *     struct table *t = cairn_alloc(heap, sizeof *t);            const struct table *t = cairn_reader_root(r, "t");
 *     ...                                                        ... read, copy what is needed ...
 *     cairn_root_set(heap, "t", t);                          } while (cairn_read_end(r) == -ESTALE);
 *     cairn_free(heap, the_one_before);
 *
 * Freeing. A block that the publisher frees is *retired*: it is used again when no reader can be reading it. So unlink
 * first, then free, and never write to a block that readers can find, but for single words whose change they expect:
 * make a new block and change the pointer to it (cairn_root_set, or an atomic store of release order).
 *
 * Reading. What a reader finds between cairn_read_begin and cairn_read_end stays as it is meanwhile. The publisher
 * waits for nobody, though: a reader that stays in there too long (deadline_ms), or holds back more than a quarter of
 * what is live, is *cut off*: its cairn_read_end returns -ESTALE, and what it read must be discarded. What it read
 * was mapped memory of the heap all the time, but may have been of another block: so check a length or an index before
 * using it, and do not use pointers from one such read in another.
 *
 * Generations. When the publisher ends or is killed, what it published stays readable for the readers that have it, as
 * it was last. A publisher that is started anew is another *generation*: close the reader and open it again. So it is
 * for a reader whose descriptor the program has closed (closefrom(3)). A publisher does not outlive that, and must be
 * closed before it.
 *
 * Who may. Everybody who is let in may read every byte that lies in blocks, free ones too. What that lets them learn
 * is to be decided for a heap, not for a block. Seals of the memory file (F_SEAL_FUTURE_WRITE) keep everyone from
 * writing, root too; who may trace the publisher's process (ptrace: the same user, unless prctl(PR_SET_DUMPABLE, 0) or
 * a security module forbids it) may write what the publisher may.
 *
 * Errors, output values and options are as in cairn.h. Needs Linux 5.1 and /proc.
 */
#ifndef CAIRN_PUBLISH_H
#define CAIRN_PUBLISH_H

#include "cairn.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CAIRN_READERS_MAX 256 /* most readers of one publisher at once */

typedef struct cairn_publisher cairn_publisher;
typedef struct cairn_reader cairn_reader;

/* ---------------------------------------------------------------- publishing */

/* Flags of cairn_publish_options.flags. */
#define CAIRN_PUBLISH_EVERYONE UINT64_C(0x01)    /* users and groups do not matter: whoever can connect may read */
#define CAIRN_PUBLISH_EXACT_SIZES UINT64_C(0x02) /* as CAIRN_EXACT_SIZES; readers can see the sizes */
#define CAIRN_PUBLISH_LOCKABLE UINT64_C(0x04)    /* as CAIRN_LOCKABLE */

typedef enum cairn_publish_event_kind {
    CAIRN_READER_JOINED = 1,
    CAIRN_READER_LEFT = 2,
    CAIRN_READER_REFUSED = 3, /* not let in: reason says why */
    CAIRN_READER_DROPPED = 4  /* did what no reader does: reason says what */
} cairn_publish_event_kind;

typedef struct cairn_publish_event {
    size_t size;
    cairn_publish_event_kind kind;
    uint32_t reader; /* its number; of no meaning when it was refused */
    uint32_t user;   /* who it was when it connected */
    uint32_t group;
    uint32_t process; /* for people: its process may have handed the connection on */
    uint32_t reserved;
    const char *reason; /* a sentence, valid in the callback */
} cairn_publish_event;

/* Called by cairn_publisher_dispatch, or on the publisher's thread; no lock is held. Must not close the publisher. */
typedef void cairn_publish_event_fn(const cairn_publish_event *event, void *arg);

typedef struct cairn_publish_options {
    size_t size;           /* sizeof(cairn_publish_options), or 0 for the members of version 0.1 */
    const char *directory; /* where the socket lies; NULL: as of shared heaps. Readers of other users must be able to
                              reach it; where others may write, they can take the name first */
    uint64_t bytes_max;    /* address space of the heap, here and at each reader; 0: 1 GiB. At least 1 MiB */
    uint64_t flags;        /* CAIRN_PUBLISH_... */
    uint32_t readers_max;  /* 0: 64; at most CAIRN_READERS_MAX */
    uint32_t readers_per_user_max; /* of each other user than this process's; 0: half of readers_max */
    uint32_t deadline_ms;          /* how long a reader may hold back what was freed; 0: 1000 */
    uint32_t mode;                 /* of the socket; 0: 0600, or 0666 when others are let in */
    const uint32_t *users;         /* who may read, beside this process's user: each of these users, */
    const uint32_t *groups;        /* and each who was in one of these groups when it connected */
    uint32_t users_count;
    uint32_t groups_count;
    cairn_publish_event_fn *on_event;
    void *on_event_arg;
} cairn_publish_options;

/*
 * Publishes a new heap under a name (as in cairn.h): makes a socket NAME.sock in the directory, by which readers come.
 * Nobody is let in before the publisher dispatches. The heap is empty and can be filled first.
 *
 * Threads. The heap's calls and those of the publisher may be made by any thread; they take turns. Fork. A child of the
 * publisher's process has none of it: calls with the heap fail with -EROFS, blocks of it are not mapped, and the child
 * may only close the publisher. Death. What readers have stays readable; the next publisher takes the name over.
 *
 * Errors: -EINVAL, -ENAMETOOLONG (the name; or directory and name together: 100 bytes or so), -EADDRINUSE (a publisher
 * of that name lives; or no free address was found), -EEXIST (something else lies where the socket has to), -EPERM
 * (somebody else's socket; or the default directory is not this user's own), -ENOENT, -EACCES, -ENOSPC (the directory),
 * -ENOMEM, -EMFILE, -EOPNOTSUPP (no /proc, or a system without F_SEAL_FUTURE_WRITE), -EAGAIN (the directory is kept
 * locked).
 */
CAIRN_API int cairn_publish(cairn_publisher **ret_publisher, const char *name, const cairn_publish_options *options);

/*
 * Returns the heap, for every call of cairn.h but: cairn_heap_close and cairn_heap_destroy refuse with -EINVAL, it has
 * no children, cairn_lock is not for it. cairn_heap_reset removes its roots and cuts all readers off. cairn_trim gives
 * nothing back: what is published cannot be unpublished, and free memory is used again. Retired blocks count as live
 * in cairn_stats_get and in the spans of cairn_walk, which does not show them. Where memory is short readers are cut
 * off before a call fails. Who has stopped it (CAIRN_PUBLISH_LOCKABLE) keeps readers out as well, and must go on before
 * it dispatches or closes the publisher.
 */
CAIRN_API cairn_heap *cairn_publisher_heap(cairn_publisher *publisher);

/* Returns a descriptor for poll(2): when it can be read, cairn_publisher_dispatch has something to do. */
CAIRN_API int cairn_publisher_fd(const cairn_publisher *publisher);

/*
 * Lets readers in, sees who left, cuts off whose time is over; waits for nothing. To be called when cairn_publisher_fd
 * can be read. Returns how many things it did, or an error: -EROFS (in a forked child), -EMFILE (a reader was sent
 * away, for no descriptor is left).
 */
CAIRN_API int cairn_publisher_dispatch(cairn_publisher *publisher);

/* Starts a thread that dispatches until the publisher is closed. Errors: -EBUSY (there is one), -EROFS, -EAGAIN. */
CAIRN_API int cairn_publisher_start_thread(cairn_publisher *publisher);

typedef struct cairn_publisher_stats {
    size_t size;             /* as in cairn_stats */
    uint64_t bytes;          /* memory that is published */
    uint64_t bytes_retired;  /* in blocks that are freed and not used again yet */
    uint64_t blocks_retired; /* how many these are */
    uint64_t readers;        /* that are connected */
    uint64_t reading;        /* that are between read_begin and read_end */
    uint64_t joined;         /* so far, as are the next */
    uint64_t refused;
    uint64_t dropped;
    uint64_t cut_off;    /* how often a reader was cut off */
    uint64_t generation; /* a number that is this publisher's alone */
} cairn_publisher_stats;

/* Fills *ret_stats. Errors: -EINVAL (size), -EROFS (in a forked child). */
CAIRN_API int cairn_publisher_stats_get(cairn_publisher *publisher, cairn_publisher_stats *ret_stats);

/*
 * Ends the publisher and its heap; readers keep what they have, and are told. NULL is allowed. Requires that no other
 * thread is in a call with it or its heap. In a forked child it closes what the child inherited, and nothing else.
 */
CAIRN_API void cairn_publisher_close(cairn_publisher *publisher);

/* ---------------------------------------------------------------- reading */

/* Flags of cairn_reader_options.flags. */
#define CAIRN_READER_ANY_OWNER UINT64_C(0x01) /* read what another user publishes: what is read then is that user's */

typedef struct cairn_reader_options {
    size_t size;           /* sizeof(cairn_reader_options), or 0 for the members of version 0.1 */
    const char *directory; /* as the publisher's */
    uint64_t flags;        /* CAIRN_READER_... */
    uint32_t timeout_ms;   /* how long to wait for the publisher's answer; 0: 5000 */
    uint32_t reserved;     /* 0 */
} cairn_reader_options;

/*
 * Connects to the publisher of that name and maps its heap, at the heap's address. Nothing is believed that was not
 * checked before it is mapped: the publisher's user, the seals of the file, its header.
 *
 * Threads. A reader serves one thread at a time; each thread that reads has a reader of its own, all of them share one
 * view. Fork. A child does not have its parent's readers: cairn_read_begin refuses, and cairn_reader_close is allowed.
 *
 * Errors: -EINVAL, -ENAMETOOLONG, -ENOENT and -ECONNREFUSED (nobody publishes that), -EACCES (the publisher does not
 * let this user in), -EPERM (another user publishes it, see CAIRN_READER_ANY_OWNER), -EAGAIN (it has all the readers
 * that it lets in), -ETIMEDOUT (no answer), -EPROTO (no publisher of this version and build), -EUCLEAN (an impossible
 * header), -EADDRINUSE (something else lies at the heap's address: the publisher itself, another generation that is
 * still open here, or another published heap, which cairn_last_error names), -ENOMEM, -EMFILE.
 */
CAIRN_API int cairn_reader_open(cairn_reader **ret_reader, const char *name, const cairn_reader_options *options);

/* Ends the reader; the view goes with the last reader of it in this process. NULL is allowed. */
CAIRN_API void cairn_reader_close(cairn_reader *reader);

/*
 * Begins to read. Returns 0; or 1 when it is known that the publisher has ended: what is read then is what was there
 * last, if need be in the middle of a change. Nests: the outermost counts. Errors: -ENOTCONN (the publisher does not
 * count this reader any more: open it again), -EINVAL (of the process that this one was forked from). Costs two loads
 * and a store with a fence.
 */
CAIRN_API int cairn_read_begin(cairn_reader *reader);

/*
 * Ends to read. Returns 0: all that was read since cairn_read_begin was as the publisher wrote it; of an inner one 0
 * says nothing. -ESTALE: the reader was cut off, discard what was read. -EINVAL: without a begin.
 */
CAIRN_API int cairn_read_end(cairn_reader *reader) CAIRN_MUST_USE;

/*
 * Returns the block that the root names; NULL: there is none, or -EINVAL (the name; or outside of a read, where nothing
 * would stay as it is). Takes no lock.
 */
CAIRN_API const void *cairn_reader_root(cairn_reader *reader, const char *name);

/* Returns a number that changes with every root that is set or removed. */
CAIRN_API uint32_t cairn_reader_version(const cairn_reader *reader);

/*
 * Waits until the version is other than `seen`, at most the given time (negative: for ever). Returns 0. Errors:
 * -ETIMEDOUT, -ENOTCONN (the publisher has ended), -EINVAL.
 */
CAIRN_API int cairn_reader_wait(cairn_reader *reader, uint32_t seen, int timeout_ms);

/* Returns a descriptor for poll(2) that hangs up (POLLHUP) when the publisher ends. Nothing can be read from it. */
CAIRN_API int cairn_reader_fd(const cairn_reader *reader);

/* Returns whether the publisher lives and has this reader. Asks the system. */
CAIRN_API bool cairn_reader_is_current(cairn_reader *reader);

typedef struct cairn_reader_info {
    size_t size;         /* as in cairn_stats */
    uint64_t generation; /* of the publisher: cairn_publisher_stats.generation */
    uint64_t address;    /* where the view begins; its units_address is where blocks begin */
    uint64_t units_address;
    uint64_t bytes;      /* how much of the view is there */
    uint64_t bytes_max;  /* of the view */
    uint64_t created_at; /* seconds since 1970 */
    uint32_t version;
    uint32_t number; /* of this reader at its publisher */
    uint32_t user;   /* of the publisher */
    uint32_t process;
    uint32_t everyone;    /* 1: CAIRN_PUBLISH_EVERYONE. This and the next two are what the publisher says */
    uint32_t users_count; /* whom it lets in beside its own user; who they are, it does not tell */
    uint32_t groups_count;
    uint32_t readers_max;
} cairn_reader_info;

/* Fills *ret_info. Errors: -EINVAL (size). */
CAIRN_API int cairn_reader_info_get(cairn_reader *reader, cairn_reader_info *ret_info);

/*
 * As cairn_heap_names, for the names under which heaps may be published: of the sockets NAME.sock in a directory. Who
 * listens there, if anybody does, cairn_reader_open tells.
 */
CAIRN_API int cairn_publish_names(const char *directory, cairn_name_fn *visit, void *arg);

#ifdef __cplusplus
}
#endif

#endif
