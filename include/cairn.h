/* SPDX-License-Identifier: MIT */
/*
 * cairn: heaps that are private to a process or shared by many.
 *
 * A heap is a set of blocks that is limited, measured, and destroyed as one. A private heap serves any thread of one
 * process. A shared heap has a name; every process that opens it sees it at the same address, so plain C pointers
 * inside it work everywhere, it grows while others are attached, and any attached process may allocate and free.
 * A process may also attach read-only: then the MMU refuses its writes, and it takes no lock.
 *
 *     #include <cairn.h>
 *     #include <stdio.h>
 *
 *     int main(void) {
 *         cairn_heap *heap;
 *         if (cairn_heap_create(&heap, NULL) < 0) {
 *             fprintf(stderr, "%s\n", cairn_last_error());
 *             return 1;
 *         }
 *         char *text = cairn_alloc(heap, 100);
 *         cairn_free(heap, text);
 *         cairn_heap_close(heap);
 *     }
 *
 * Conventions. Sizes are in bytes. A call that returns int returns 0 or a count, or a negative errno value; a call that
 * returns memory returns NULL on failure. Either way cairn_last_error() then tells the reason in one sentence. An
 * output named ret_... is untouched on failure. A zero-filled options structure means all defaults. Errors stand with
 * each call; beside them, a call that opens, creates, removes, lists or commits something named hands on what the
 * system refuses for a reason of its own: -EMFILE, -ENFILE, -EIO, -ENOLCK, -ENOSYS, -EOPNOTSUPP.
 *
 * Threads. Every call may be made by any thread at any time unless its text says otherwise. No call is
 * async-signal-safe. After fork(2) the child may use every heap at once, as itself.
 *
 * Death. A process may be killed (SIGKILL) at any instruction inside any call: a shared heap stays valid for the
 * others. What is lost at most stands with each call.
 *
 * Descriptors. A shared heap and a named section keep one. An application may close it (closefrom(3)) and open files of
 * its own under its number: those are not touched, what is committed can be used, others grow the heap as before, and a
 * call here that would have to grow it fails with -ENOMEM and a reason that names the descriptor (a section, a new root
 * or child: -EBADF). Such a process cannot ask the kernel any more who lives: it recovers nobody, waits for a lock
 * whose holder died until another process has recovered that one, and leaves a heap on a disk unmarked.
 *
 * Disks. On ext4 and xfs a heap outlives the system. There is no log: the last process that closes it syncs it and
 * marks it as clean, and after a loss of power one without that mark is -EUCLEAN, whatever state it is in; unlink it.
 * The mark is only as good as the disk's word that what was synced is there. Sections by themselves are not marked.
 *
 * Damage. What contradicts itself is refused with -EUCLEAN: by open, and by any call that meets it later. The heap is
 * marked then, nobody opens it any more but to look (CAIRN_DAMAGED_TOO), and its owner unlinks it.
 *
 * Misuse. A double free, a pointer that is no block, or a block of another heap ends the program with one line on
 * standard error that names the heap, the pointer and the crime, then abort(3). So do writes outside of a block and to
 * a freed one in a private heap that is checked. cairn_misuse_set gives the line to a callback first. Nothing else in
 * the library prints or ends the process.
 *
 * Trust. Any process that can write a shared heap can damage it. Open shared heaps only with those you trust to write;
 * let the others attach read-only.
 */
#ifndef CAIRN_H
#define CAIRN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define CAIRN_API __attribute__((visibility("default")))
/* Not attribute malloc: it would let the compiler believe that no other process writes to the block. */
#define CAIRN_ALLOCATES(size_position) __attribute__((alloc_size(size_position), warn_unused_result))
#define CAIRN_MUST_USE __attribute__((warn_unused_result))
#else
#define CAIRN_API
#define CAIRN_ALLOCATES(size_position)
#define CAIRN_MUST_USE
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define CAIRN_VERSION_MAJOR 0
#define CAIRN_VERSION_MINOR 1
#define CAIRN_VERSION_PATCH 0

/* ---------------------------------------------------------------- limits */

#define CAIRN_NAME_MAX 200             /* longest name of a shared heap, in bytes, without the terminator */
#define CAIRN_ROOT_NAME_MAX 47         /* longest name of a root, in bytes, without the terminator */
#define CAIRN_ROOTS_MAX 1024           /* most roots in one section */
#define CAIRN_ALIGNMENT 16             /* every block is aligned to at least this many bytes */
#define CAIRN_ALIGNMENT_MAX (1u << 20) /* the largest alignment that can be asked for */

/* ---------------------------------------------------------------- heaps */

typedef struct cairn_heap cairn_heap; /* this process's handle of a heap */

/* Flags of cairn_options.flags. */
#define CAIRN_OPEN_OR_CREATE UINT64_C(0x01) /* cairn_heap_create: open the named heap when it is there already */
#define CAIRN_READ_ONLY UINT64_C(0x02)      /* cairn_heap_open: attach without the right to write */
#define CAIRN_UNSERIALIZED UINT64_C(0x04)   /* private: the caller sees to it that one thread at a time is in a call */
#define CAIRN_LOCKABLE UINT64_C(0x08)       /* private: cairn_heap_lock can stop the heap */
#define CAIRN_EXACT_SIZES UINT64_C(0x10)    /* cairn_size returns exactly what was asked for */
#define CAIRN_BOUND                                                                                                    \
    UINT64_C(0x20)                     /* child of a shared heap: when the process that made it has died or closed     \
                                          the heap, the next recovery destroys it, and its own children with it */
#define CAIRN_ANY_OWNER UINT64_C(0x40) /* open: also a file of another user, who is trusted as writers are */
#define CAIRN_RELOCATE                                                                                                 \
    UINT64_C(0x80) /* open: where the heap's address is taken, elsewhere; there only refs are                          \
                      valid, pointers that are stored in the heap are not, and cairn_alloc_to                          \
                      and _free_from refuse with -EINVAL */
#define CAIRN_DAMAGED_TOO                                                                                              \
    UINT64_C(0x100) /* open, with CAIRN_READ_ONLY: also what is marked as damaged, for cairn_check and cairn_walk */
#define CAIRN_STAYS_COMMITTED                                                                                          \
    UINT64_C(0x200) /* private, with bytes_max, memory or calls: what is committed is not given back before            \
                       cairn_trim or the heap's end */

/* Who else may use the file of a shared heap, besides its owner and what mode says; 64 at most, each once. */
typedef struct cairn_access {
    uint32_t id; /* of a user, or of a group */
    bool is_group;
    bool may_write; /* else only read */
} cairn_access;

/*
 * What a call that has no memory, or no record for its thread (-EAGAIN), asks before it gives up: 0 is "fail",
 * CAIRN_RETRY "I have made room, try again". size is what was asked for, error the negative errno value. No lock is
 * held: the callback may use the heap, and may leave by longjmp(3).
 */
#define CAIRN_RETRY 1
typedef int cairn_failure_fn(cairn_heap *heap, size_t size, int error, void *arg);

/*
 * Memory of the caller's for a private heap, by pages. reserve returns an address for at least bytes, aligned to a
 * page, or NULL; commit makes a range usable and zero and returns 0 or a negative errno value; decommit (may be NULL:
 * nothing is ever given back) may refuse with -EOPNOTSUPP; release (may be NULL) ends the reservation whole. reserve
 * and release are called without a lock, and may use other heaps: the memory may be a block of one. commit and decommit
 * are called with locks of the library's held, and must make no call of it. What reserve returns must not be memory
 * that another heap has, but for a block of it: that is -EINVAL, and is not released.
 */
typedef struct cairn_memory {
    void *(*reserve)(void *arg, size_t bytes);
    int (*commit)(void *arg, void *address, size_t bytes);
    int (*decommit)(void *arg, void *address, size_t bytes);
    void (*release)(void *arg, void *address, size_t bytes);
    void *arg;
} cairn_memory;

typedef struct cairn_options {
    size_t size;           /* sizeof(cairn_options), or 0 for the members of version 0.1: lets the structure grow */
    const char *name;      /* a name makes the heap shared; NULL: private. See "Names" below */
    const char *directory; /* where the name lives; NULL: CAIRN_DIR from the environment, else a directory of the user's
                              own (mode 0700) under /dev/shm */
    uint64_t bytes_max;   /* the most that the heap may ever take, exact to a page. A shared heap: bookkeeping included,
                             256 KiB at least; 0: 16 GiB, where the process may not have that much address space 4 or 1
                             GiB. A private heap: it is one contiguous range of this size, bookkeeping included, 8 KiB
                             at least; 0: no limit. A child: bytes in its spans, which are made of whole
                             units (64 KiB but in small sections); 0: its parent's */
    uint64_t flags;       /* CAIRN_... above */
    uint32_t mode;        /* shared, when created: permission bits of the file; 0: 0600 */
    uint32_t reserved;    /* 0 */
    uint64_t bytes_start; /* committed and populated at once, so that success means that this memory is there; at most
                             bytes_max */
    cairn_heap *parent;   /* the heap is a part of this one: charged to both, in the same section. Not of a private heap
                             that is lockable or unserialized, or has a bytes_max below some 66 MiB */
    void *memory; /* private: use these bytes_max bytes of the caller's, which outlive the heap; need not be zero */
    const cairn_memory *calls;  /* private: get memory by these calls; bytes_max (0: 1 GiB) is reserved at once */
    const cairn_access *access; /* shared, when created: an access list, in addition to mode */
    uint32_t access_count;
    uint32_t group;               /* shared, when created: the file's group; 0: the process's */
    cairn_failure_fn *on_failure; /* asked before a call fails for lack of memory; of this process, this handle */
    void *on_failure_arg;
    uint64_t checked; /* private: true or 1: stray writes are looked for. See "Checked heaps" below */
} cairn_options;

/*
 * Names. A shared heap's name is one path component: 1 to CAIRN_NAME_MAX bytes, no '/', not beginning with '.'.
 * Anything else is -EINVAL, too long is -ENAMETOOLONG. The environment variable CAIRN_DIR is ignored in set-uid
 * programs.
 */

/*
 * Checked heaps. A checked heap also sees writes outside of its blocks and to freed ones, as misuse: "overrun",
 * "underrun", "write after free", with the block and the offset of the byte. Bytes before and behind each block are
 * watched; they are looked at when the block is freed, resized, or asked for its size, by cairn_walk, and when the heap
 * is reset or closed; cairn_check reports them instead of ending the program. Freed blocks are kept for a while (256 of
 * them, 16 MiB or an eighth of a smaller section; none after cairn_trim or when memory runs short), and each call looks
 * at some of them. Behind a block above 32 KiB lies a page without access, and such a block loses access when it is
 * freed, so that also reading there raises SIGSEGV; not in memory of the caller's. cairn_size is exactly what was asked
 * for.
 *
 * It costs time and memory: every call takes a lock, and a block has 32 bytes more at least. Records of blocks lie
 * outside of the heap and of its bytes_max. The environment variable CAIRN_CHECKED, when it is 1 as the process makes
 * its first private heap, makes each private heap of the process checked, but not in set-uid programs. Shared heaps and
 * their children are never checked: the option is -EINVAL for them, and the variable has no effect.
 */

/*
 * Creates a heap: a private one, or a shared one when options->name is set. options may be NULL. A shared heap becomes
 * visible under its name in one step, when it is complete: nobody can open it half made, and a creator that is killed
 * before leaves nothing behind. With CAIRN_OPEN_OR_CREATE an existing heap is opened instead.
 *
 * Errors: -EINVAL (an option or a name is malformed), -ENAMETOOLONG, -EEXIST (the name is taken), -ENOMEM (no address
 * space, or the memory for the smallest heap is not to be had), -ENOSPC is reported as -ENOMEM, -EACCES (the directory
 * refuses), -ENOENT or -ENOTDIR (there is no such directory), -EPERM (a group that this user is not in), -EOPNOTSUPP
 * (the file system is not one of tmpfs, ext4, xfs, or has no access lists), -EMFILE, -EADDRINUSE (no free address was
 * found for a new shared heap); with CAIRN_OPEN_OR_CREATE also what cairn_heap_open returns.
 */
CAIRN_API int cairn_heap_create(cairn_heap **ret_heap, const cairn_options *options);

/*
 * Attaches to the shared heap of that name. options may be NULL; name in it is ignored. With CAIRN_READ_ONLY the view
 * is mapped without write permission through a descriptor opened read-only, no lock is taken and nothing in the heap
 * changes. Opening a name twice in one process gives two handles on one view; a handle opened read-only refuses to
 * allocate even where the view is writable. Where the view is relocated, every open needs CAIRN_RELOCATE.
 *
 * The file is examined before it is mapped. Errors: -EINVAL (the name), -ENAMETOOLONG, -ENOENT, -EACCES, -ELOOP (a
 * symbolic link), -EPERM (not a regular file with one link, owned by another than this user or root, or writable by
 * all), -EPROTO (made by another version, byte order or build, or no heap at all), -EUCLEAN (damaged: a header field is
 * impossible, the file is shorter than what is committed, the system went down while it was open, or a recovery met an
 * impossible header, now or earlier; CAIRN_DAMAGED_TOO opens the last two to look at them), -EADDRINUSE
 * (something else lies at the heap's address in this process), -EBUSY (already attached read-only in this process, now
 * asked for writing; close that first), -ESTALE (the heap was destroyed under another name of its file;
 * CAIRN_DAMAGED_TOO opens it to look), -ENOMEM, -EMFILE, -EAGAIN (too many processes are attached), -EOPNOTSUPP (the
 * file system, or no /proc where the name leads to another file by now or the heap lies on a disk).
 */
CAIRN_API int cairn_heap_open(cairn_heap **ret_heap, const char *name, const cairn_options *options);

/*
 * Creates a shared heap in a memory file (memfd_create(2)): it has no name and lies in no directory, so no file
 * system's size is its limit, and whoever is handed *ret_fd attaches to it by cairn_heap_open_fd. The descriptor is the
 * caller's, who hands it on (SCM_RIGHTS, or to a child) and closes it; the heap lasts as long as somebody has it, or
 * the heap open. ret_heap may be NULL: then this process does not attach. Of the options name is what sentences call
 * it, and in all else it is a shared heap: bytes_max, bytes_start, CAIRN_EXACT_SIZES, on_failure; mode, group and
 * access tell who may open the file again, which writing needs. The file is as long as bytes_max at once, of which only
 * what is committed takes memory, and is sealed (F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL): nobody who gets it can take
 * more, or raise SIGBUS in another. Killed before it returns, it leaves nothing. Errors: as cairn_heap_create.
 */
CAIRN_API int cairn_heap_create_fd(cairn_heap **ret_heap, int *ret_fd, const cairn_options *options);

/*
 * Attaches to the shared heap in a memory file, by a descriptor that stays the caller's and may be closed afterwards.
 * Of the options name is what sentences call it; the flags are those of cairn_heap_open, and so is all else: threads,
 * fork, death, CAIRN_READ_ONLY. Twice the same file gives two handles on one view. To write, the file is opened again,
 * by /proc/self/fd, for a lock of this process's own; so the user needs the right to. To read, the descriptor is
 * enough. Errors: as cairn_heap_open, and -EBADF (no descriptor), -EACCES (to write: it was opened for reading, or this
 * user may not write the file), -EPERM (also: no memory file that is sealed by F_SEAL_SHRINK, or sealed against
 * writing), -EUCLEAN (also: shorter than bytes_max, so that a touch might raise SIGBUS), -ESTALE (the heap was
 * destroyed), -EOPNOTSUPP (a memory file of huge pages; to write, there is no /proc).
 */
CAIRN_API int cairn_heap_open_fd(cairn_heap **ret_heap, int fd, const cairn_options *options);

/*
 * Ends this process's use of the heap. A private heap ends with every block in it; its children stay, under the same
 * limit, until they are closed. A shared heap stays, with its blocks, for the others and under its name. NULL is
 * allowed. Requires that no other thread is in a call with this handle; using the handle afterwards is named as misuse,
 * until 128 others were closed after it: then its place serves a new heap.
 */
CAIRN_API void cairn_heap_close(cairn_heap *heap);

/*
 * Removes the name of a shared heap; processes that are attached keep it. directory as in cairn_options, NULL for the
 * default. Only a file that is a cairn heap, or a section, is removed. Errors: -EINVAL, -ENAMETOOLONG, -ENOENT,
 * -EACCES, -ELOOP (a symbolic link), -EPERM (no regular file), -EPROTO, -ENOMEM.
 */
CAIRN_API int cairn_heap_unlink(const char *name, const char *directory);

/*
 * Calls visit once for each name in a directory of shared heaps (NULL: the default), in no order, until it returns
 * other than 0, which is then returned. Files that are no heaps are passed over. Errors: -EACCES, -ENOENT (no such
 * directory; the default directory counts as empty instead).
 */
typedef int cairn_name_fn(const char *name, void *arg);
CAIRN_API int cairn_heap_names(const char *directory, cairn_name_fn *visit, void *arg);

/*
 * Frees every block of the heap at once and keeps memory for reuse; roots and the handle stay. A private heap: requires
 * that no other thread is in a call with it. A shared heap: -EBUSY while another living thread, of whatever process,
 * has a slab or a large block of it: what a thread has got is its own until it is freed, or the thread ends. Errors:
 * -EBUSY, -EROFS, -ESTALE (destroyed), -ENOMEM, -EOPNOTSUPP (shared: no membarrier(2) in the system).
 */
CAIRN_API int cairn_heap_reset(cairn_heap *heap);

/*
 * Ends the heap for everyone and closes the handle. A private heap: as cairn_heap_close. A named heap: the name is
 * removed and calls of others fail with -ESTALE from now on; their views stay mapped, so that what they are reading
 * does not fault, and the memory goes with the last of them. A child in a shared heap: its memory is free for its
 * relatives at once, but for slabs that living threads of others hold, which follow when those make their next slow
 * call. Errors: -EBUSY (it has children), -EROFS, -EACCES or -EPERM (the directory does not let this user remove the
 * name), -ESTALE (destroyed already; the handle is closed nevertheless), -EOPNOTSUPP (a child in a shared heap, and the
 * system has no membarrier(2)). But for -ESTALE nothing has changed.
 */
CAIRN_API int cairn_heap_destroy(cairn_heap *heap);

/*
 * Attaches to the child of that name in a shared heap that is open; close it before its parent. Errors as
 * cairn_heap_open, of which -ENOENT is the likely one.
 */
CAIRN_API int cairn_heap_open_child(cairn_heap **ret_heap, cairn_heap *parent, const char *name);

/*
 * Stops a CAIRN_LOCKABLE heap: from now on other threads wait in their calls, and a walk, a check and the statistics
 * of its blocks are exact; a thread that ends meanwhile may still give empty slabs back. The thread that holds the lock
 * may use the heap, and lock it again; it unlocks as often, and before it ends: nobody unlocks for it. Looking waits
 * for nobody: cairn_size, walks, checks and statistics. Errors: -EINVAL (not lockable), -EPERM (unlock by another
 * thread, or without a lock).
 */
CAIRN_API int cairn_heap_lock(cairn_heap *heap);
CAIRN_API int cairn_heap_unlock(cairn_heap *heap);

/* ---------------------------------------------------------------- blocks */

/*
 * Allocates size bytes, aligned to CAIRN_ALIGNMENT; the contents are undefined. Size 0 gives a distinct block of the
 * smallest size. Returns NULL when there is no memory, the heap's limit is reached, no record is left for the thread
 * (-EAGAIN), or the heap is attached read-only or was destroyed (-ESTALE). In a shared heap the memory behind a
 * returned block is committed: touching it cannot raise SIGBUS.
 * Death: a block whose address the caller had not yet got is lost to the heap, at most one per killed thread.
 */
CAIRN_API void *cairn_alloc(cairn_heap *heap, size_t size) CAIRN_ALLOCATES(2);

/* As cairn_alloc, and every byte of the block is zero. */
CAIRN_API void *cairn_zalloc(cairn_heap *heap, size_t size) CAIRN_ALLOCATES(2);

/* As cairn_alloc, aligned to a power of two not above CAIRN_ALIGNMENT_MAX; else NULL with -EINVAL as the reason. */
CAIRN_API void *cairn_aligned_alloc(cairn_heap *heap, size_t alignment, size_t size) CAIRN_ALLOCATES(3);

/*
 * Changes a block's size, moving it where needed; the contents up to the smaller size stay. A NULL block is allocated;
 * size 0 gives the smallest block, never a free. On failure NULL is returned and the block is as it was.
 */
CAIRN_API void *cairn_realloc(cairn_heap *heap, void *block, size_t size) CAIRN_MUST_USE;

/*
 * Makes cairn_size(block) at least size without moving the block, or changes nothing and returns false. NULL is allowed
 * and gives false. Never makes a block smaller.
 */
CAIRN_API bool cairn_expand(cairn_heap *heap, void *block, size_t size);

/*
 * Makes cairn_size(block) size without moving the block, or changes nothing and returns false. NULL is allowed and
 * gives false, as does a size above the block's. Of heaps with CAIRN_EXACT_SIZES blocks from 2 KiB on get any smaller
 * size, those above 32 KiB give memory back, and smaller blocks get up to 255 bytes smaller than they are made; of
 * checked heaps a block gets at most half smaller; all others, and published ones, do not shrink.
 */
CAIRN_API bool cairn_shrink(cairn_heap *heap, void *block, size_t size);

/*
 * Frees a block of this heap; NULL is allowed. Any thread of any process that is attached for writing may free any
 * block. Death: either the block is free or it is not; nothing is lost.
 */
CAIRN_API void cairn_free(cairn_heap *heap, void *block);

/* Returns how many bytes of a block may be used: at least what was asked for. NULL gives 0. */
CAIRN_API size_t cairn_size(cairn_heap *heap, const void *block);

/*
 * Tells whether an address, whatever it is, is that of a live block of this heap; in a checked heap also that what is
 * watched before and behind the block is as it was. It is no misuse when not, and takes no longer than cairn_size.
 */
CAIRN_API bool cairn_is_block(cairn_heap *heap, const void *address);

/*
 * Allocates, zeroes, and stores the block's address in *dest, as one step: a process that is killed anywhere in the
 * call leaves either a linked block or no block. Requires that dest lies in a live block of the same heap (or, in a
 * private heap, anywhere) and that nobody else changes it meanwhile, which lasts, when the caller is killed, until that
 * is recovered: a cairn_lock sees to it, its next holder gets it after that. Errors: -ENOMEM, -EAGAIN, -EINVAL (dest
 * is not in this shared heap), -EROFS (attached read-only), -ESTALE (destroyed).
 */
CAIRN_API int cairn_alloc_to(cairn_heap *heap, size_t size, void **dest);

/*
 * Stores NULL in *dest and frees the block it named, as one step, with the requirements of cairn_alloc_to. A *dest
 * that is NULL already is allowed. Errors: -EINVAL, -EROFS, -ESTALE, -EAGAIN and -ENOMEM (no record for the thread).
 */
CAIRN_API int cairn_free_from(cairn_heap *heap, void **dest);

/* ---------------------------------------------------------------- finding blocks again */

/*
 * A ref is a block's place in its section: an integer that is equal in every process, 0 for none. In a shared heap
 * plain pointers do as well; refs serve files that outlive an address and views that lie elsewhere.
 */
typedef uint64_t cairn_ref;

/* Returns the ref of an address in the heap's section, 0 for NULL or an address outside. */
CAIRN_API cairn_ref cairn_ref_of(cairn_heap *heap, const void *address);

/* Returns the address of a ref, NULL for 0 or a ref outside the section. */
CAIRN_API void *cairn_at(cairn_heap *heap, cairn_ref ref);

/*
 * Names a block so that other processes find it: sets root `name` (1 to CAIRN_ROOT_NAME_MAX bytes) to the block, or
 * removes the root when block is NULL. The change is one atomic store; who reads it sees what was written before. One
 * sets roots at a time: the call waits for another, also for one that was stopped in it, but for none that died.
 * Errors: -EINVAL (the name, or a block outside the heap), -ENAMETOOLONG, -ENOSPC (CAIRN_ROOTS_MAX roots are in use;
 * fewer in a section below 64 MiB, and in a private heap), -EEXIST (a child has that name), -EROFS (attached
 * read-only), -ESTALE (another process destroyed the heap), -ENOMEM (no memory for bookkeeping).
 */
CAIRN_API int cairn_root_set(cairn_heap *heap, const char *name, void *block);

/* Returns the block that the root names, NULL when there is no such root. Takes no lock. */
CAIRN_API void *cairn_root_get(cairn_heap *heap, const char *name);

/* Calls visit for each root of the heap until it returns other than 0, which is then returned. */
typedef int cairn_root_fn(const char *name, void *block, void *arg);
CAIRN_API int cairn_root_walk(cairn_heap *heap, cairn_root_fn *visit, void *arg);

/* ---------------------------------------------------------------- a lock for the application */

/*
 * A lock in a block of a shared heap (zero is unlocked), for the application's own data. It does not stop allocation.
 * When its holder dies, the next one is told, and may mend what the dead left half done.
 */
typedef struct cairn_mutex {
    uint64_t word;
} cairn_mutex;

/*
 * Takes the lock, waiting for it. Returns 0, or 1 when the last holder died with it. Not recursive. Errors: -EINVAL
 * (not in this shared heap), -EROFS, -ESTALE (destroyed), -EDEADLK (this thread holds it), -EAGAIN and -ENOMEM (no
 * record for the thread).
 */
CAIRN_API int cairn_lock(cairn_heap *heap, cairn_mutex *mutex);

/* As cairn_lock without waiting: -EBUSY when a living thread holds it. */
CAIRN_API int cairn_trylock(cairn_heap *heap, cairn_mutex *mutex);

/* Gives the lock back. Errors: -EINVAL, -EROFS, -ESTALE, -EPERM (this thread does not hold it). */
CAIRN_API int cairn_unlock(cairn_heap *heap, cairn_mutex *mutex);

/* ---------------------------------------------------------------- sections */

/*
 * A section is a growable block of memory without an allocator: a maximum is reserved, and committed piece by piece, by
 * any of the processes that have it open; what one commits all can use at once, through the views they have. Committed
 * is a guarantee: touching it cannot fail. Touching what is not committed is an error of the program: private memory
 * faults, and in a named section it may take memory behind the section's back, or raise SIGBUS.
 */
typedef struct cairn_section cairn_section;

/*
 * Creates a section: anonymous memory of this process, or with options->name a named one, visible in one step when it
 * is complete. Of the options only size, name, directory, bytes_max (required: the user's bytes, rounded up to a page,
 * above 64 GiB to 64 KiB; 1 TiB at most), bytes_start (committed at once), flags (CAIRN_OPEN_OR_CREATE), mode, group
 * and access are used; those of a name are -EINVAL without one. Errors as cairn_heap_create.
 */
CAIRN_API int cairn_section_create(cairn_section **ret_section, const cairn_options *options);

/*
 * Opens a named section; options: size, directory, flags (CAIRN_READ_ONLY, CAIRN_ANY_OWNER). Handles of one process
 * share one view; one that was opened read-only refuses changes beside another that writes. Errors as cairn_heap_open.
 */
CAIRN_API int cairn_section_open(cairn_section **ret_section, const char *name, const cairn_options *options);

/* Ends this process's use, and its full view; views made by cairn_section_map stay. NULL is allowed. A name stays. */
CAIRN_API void cairn_section_close(cairn_section *section);

/* Removes a section's name. Errors as cairn_heap_unlink. */
CAIRN_API int cairn_section_unlink(const char *name, const char *directory);

/* As cairn_heap_names, for the sections without a heap in a directory. */
CAIRN_API int cairn_section_names(const char *directory, cairn_name_fn *visit, void *arg);

/* The first of the user's bytes in the full view, at the same address in every process; page-aligned. */
CAIRN_API void *cairn_section_address(const cairn_section *section);

/* How many bytes the section may have at most. */
CAIRN_API uint64_t cairn_section_bytes_max(const cairn_section *section);

/*
 * Makes bytes usable from an offset on, widened to pages; what is committed already stays as it is, what is new is
 * zero. All or nothing is promised for the result of the call, not for memory taken on the way. Errors: -ENOMEM (the
 * system refuses; nothing more is marked as committed), -EINVAL (outside the section), -EROFS, -EBADF (the application
 * closed the section's descriptor).
 */
CAIRN_API int cairn_section_commit(cairn_section *section, uint64_t offset, uint64_t bytes);

/*
 * Gives the pages that lie wholly in the range back; committed again they are zero. Requires that nobody commits or
 * touches them meanwhile. Errors: -EINVAL, -EROFS, -EOPNOTSUPP (the memory cannot be given back, and is not).
 */
CAIRN_API int cairn_section_decommit(cairn_section *section, uint64_t offset, uint64_t bytes);

/*
 * Says that the contents of the range are not wanted any more, while its memory stays committed: afterwards the whole
 * pages in it read as zero or as before. Errors: -EINVAL (outside, or not all committed), -EROFS.
 */
CAIRN_API int cairn_section_reset(cairn_section *section, uint64_t offset, uint64_t bytes);

/*
 * Returns 1 when the page at an offset is committed, 0 when not; *ret_run (may be NULL) gets the number of bytes from
 * the offset on that are in the same state. Errors: -EINVAL (outside).
 */
CAIRN_API int cairn_section_query(const cairn_section *section, uint64_t offset, uint64_t *ret_run);

/*
 * Maps a part of a named section by itself, besides the full view: bytes from offset on, both multiples of the page
 * size. at NULL: anywhere; else a place in a range that cairn_range_reserve gave: so views of several sections can lie
 * side by side, and grow and shrink. What lies there already is replaced, in one step; that it is such a place is not
 * checked. Errors: -EINVAL, -ENOMEM, -EOPNOTSUPP (a section without a name), -EBADF (as commit).
 */
CAIRN_API int cairn_section_map(cairn_section *section, uint64_t offset, uint64_t bytes, void *at, void **ret_view);

/* Ends a view that was mapped anywhere. In a reserved range: makes it reserved again. Errors: -EINVAL, -ENOMEM. */
CAIRN_API int cairn_section_unmap(void *view, uint64_t bytes, bool in_range);

/* Reserves address space for views, and gives it back with all views in it. Errors: -ENOMEM, -EINVAL. */
CAIRN_API int cairn_range_reserve(uint64_t bytes, void **ret_range);
CAIRN_API int cairn_range_release(void *range, uint64_t bytes);

/* ---------------------------------------------------------------- guards */

/*
 * Memory that was there can be gone: a file was made shorter, a view ended, a pointer came from a damaged heap.
 * Touching it raises SIGSEGV or SIGBUS; under a guard that is an error instead. From the first guard on the library has
 * the process's handlers of these two signals. What is not guarded it hands to those that stood there before, and
 * signals that somebody sent, too; who installs others later hands on what is not theirs.
 */
typedef struct cairn_fault {
    const void *address; /* what was touched; NULL: the machine did not tell */
    int signal;          /* SIGSEGV, or SIGBUS: behind the end of a file, or its storage failed */
    bool is_write;       /* on x86-64; elsewhere false */
} cairn_fault;

/* Copies bytes, neither of which need be there. -EFAULT: one could not be read or written; a part may be copied. */
CAIRN_API int cairn_guard_copy(void *to, const void *from, size_t bytes);

/*
 * Calls function(arg). When it touches memory that cannot be touched, itself or in what it calls, it is left at once,
 * by a jump: no destructor and no cleanup handler runs, locks that it took stay taken, what it wrote stays written. So
 * it should read and write memory, and make no call that changes a heap or holds a lock. Guards nest, and belong to the
 * thread; a guard and a __try block of windows.h do not nest in each other. ret_fault may be NULL. Errors:
 * -EFAULT (*ret_fault tells of it), -EINVAL (no function).
 */
CAIRN_API int cairn_guard_call(void (*function)(void *arg), void *arg, cairn_fault *ret_fault);

/* ---------------------------------------------------------------- looking at a heap */

typedef struct cairn_stats {
    size_t size;         /* set to sizeof(cairn_stats) before the call, or 0 for the members of version 0.1 */
    uint64_t bytes_live; /* in blocks that are allocated, by their usable size; with exact sizes by what they take */
    uint64_t blocks_live;
    uint64_t bytes_committed; /* memory really taken, of a heap with memory of its own (shared, with bytes_max, lent, by
                                 calls) with all bookkeeping; of others, and of children, what their spans take */
    uint64_t bytes_committed_peak;
    uint64_t bytes_reserved; /* address space of the section */
    uint64_t bytes_max;      /* the limit; 0: none */
    uint64_t bytes_free;     /* in spans of the section that belong to no heap, below the highest used */
    uint64_t bytes_free_run; /* the longest such run: external fragmentation is 1 - bytes_free_run / bytes_free */
    uint64_t growths;        /* how often the section has committed more memory */
    uint64_t slabs;          /* spans cut into blocks */
    uint64_t large;          /* blocks that are a span by themselves */
    uint64_t orphans;        /* slabs whose owner has left or died, waiting to be adopted */
    uint64_t owners;         /* threads that allocate from the section now */
    uint64_t processes;      /* processes attached for writing now; 1 for a private heap */
    uint64_t attaches;       /* how often a process has attached for writing since the section was made */
    uint64_t unit_bytes;     /* the smallest span */
    uint64_t address;        /* where the section lies: in every process, unless it is relocated here */
    uint64_t units_address;  /* where its blocks begin */
    uint32_t read_only;      /* 1: this handle may only read */
    uint32_t shared;         /* 1: a shared heap */
} cairn_stats;

/*
 * Fills *ret_stats. Counts are taken from the heap itself while others may be working: each is exact for some moment,
 * their sum is a view that may be a moment old. Works on a read-only attachment.
 */
CAIRN_API int cairn_stats_get(cairn_heap *heap, cairn_stats *ret_stats);

/* Blocks of one size; large blocks, each a span by itself, stand together at the end, with block_bytes 0. */
typedef struct cairn_class {
    uint64_t block_bytes; /* usable bytes of each block */
    uint64_t bytes_live;  /* in blocks that are allocated, by their usable size */
    uint64_t blocks_live;
    uint64_t blocks;     /* that its spans have room for */
    uint64_t spans;      /* slabs; large blocks */
    uint64_t span_bytes; /* of these spans, whole units */
} cairn_class;

/*
 * Calls visit for each size of which the heap has a span, from the smallest on, until it returns other than 0, which
 * is then returned. The counts are made as those of cairn_stats_get, before the first call of visit, which may use the
 * heap; in a checked heap they count what its spans hold, quarantine and all.
 */
typedef int cairn_class_fn(const cairn_class *blocks, void *arg);
CAIRN_API int cairn_class_walk(cairn_heap *heap, cairn_class_fn *visit, void *arg);

typedef enum cairn_span_kind {
    CAIRN_SPAN_FREE = 0,   /* units that belong to no heap */
    CAIRN_SPAN_SLAB = 1,   /* cut into equal blocks, and owned by a thread */
    CAIRN_SPAN_ORPHAN = 2, /* such a slab without an owner */
    CAIRN_SPAN_LARGE = 3,  /* one block */
    CAIRN_SPAN_BUSY = 4,   /* being taken or given back just now */
    CAIRN_SPAN_OTHER = 5   /* of another heap in the same section */
} cairn_span_kind;

typedef struct cairn_span {
    cairn_span_kind kind;
    uint32_t owner;       /* number of the owning thread's record; 0: none */
    void *address;        /* first byte of the span */
    uint64_t bytes;       /* whole units */
    uint64_t block_bytes; /* slab: of one block; large: usable */
    uint32_t blocks;      /* how many blocks the slab has room for; large: 1 */
    uint32_t blocks_live; /* how many of them are allocated */
} cairn_span;

/*
 * Walks the heap's section in address order: span is called for each span up to the highest ever used, and block (may
 * be NULL) for each live block in it, until one of them returns other than 0, which is then returned. Runs beside
 * allocation: what it tells may be a moment old, but every address it tells is mapped memory of the section. Neither
 * callback may allocate from or free to this heap.
 */
typedef int cairn_span_fn(const cairn_span *span, void *arg);
typedef int cairn_block_fn(void *block, size_t bytes, void *arg);
CAIRN_API int cairn_walk(cairn_heap *heap, cairn_span_fn *span, cairn_block_fn *block, void *arg);

/*
 * Returns 1 when the page at an address of the heap's section is committed, 0 when not; *ret_run (may be NULL) gets the
 * number of bytes from the address on that are in the same state. It may be a moment old. Errors: -EINVAL (outside).
 */
CAIRN_API int cairn_committed(cairn_heap *heap, const void *address, uint64_t *ret_run);

/*
 * Checks every structure of the heap's section against every other and calls report (may be NULL) with a sentence for
 * each thing that is wrong. Returns the number of findings: 0 is a sound heap. Exact when nobody else is in a call on
 * the heap; beside running allocation it only reports what cannot be explained by a change in progress.
 */
typedef void cairn_report_fn(const char *finding, void *arg);
CAIRN_API int cairn_check(cairn_heap *heap, cairn_report_fn *report, void *arg);

/*
 * Gives memory that holds no block back to the system: this thread's empty slabs, orphans that are empty, and free
 * spans. Returns the number of bytes given back, or -EROFS, -ESTALE, -EAGAIN, -ENOMEM (no record for the thread).
 */
CAIRN_API int64_t cairn_trim(cairn_heap *heap);

/*
 * Looks for processes and threads that died while attached, and repairs what they left. Happens by itself at attach
 * and before a call fails for lack of memory. Returns the number of dead owners that were recovered, -EROFS, -ESTALE,
 * or -EUCLEAN (a header of the dead is impossible: it stays as it is, and who opens the heap from now on is refused).
 */
CAIRN_API int cairn_recover(cairn_heap *heap);

/*
 * Frees blocks that the dead had allocated and that nothing leads to: those which a killed process had got from
 * cairn_alloc and not linked yet. Recovers the dead, and then offers every live block that no living thread holds the
 * slab of to keep(block, bytes, arg), bytes being its usable size; what keep refuses is freed. keep may use the heap,
 * but not free what it was not offered. It must say true for all that is still in use, also for what a thread allocated
 * that has ended; a block that another frees meanwhile is freed twice. What is kept belongs to the calling thread from
 * then on, and is not offered again while that lives; nor are blocks whose slab another thread has taken over meanwhile
 * to allocate from, so it is called first, by who succeeds the dead. keep must return: it may not leave by longjmp.
 * Returns how many blocks were freed. Errors: -EINVAL (no keep), -EROFS, -ESTALE, -ENOMEM (no memory for bookkeeping).
 * Death: some are freed, and the next call goes on.
 */
typedef bool cairn_keep_fn(void *block, size_t bytes, void *arg);
CAIRN_API int cairn_reap(cairn_heap *heap, cairn_keep_fn *keep, void *arg);

/* ---------------------------------------------------------------- errors */

/* Returns what the calling thread's last failed call had to say, in one sentence; "" when none has failed. The text is
 * valid until this thread's next call that fails. */
CAIRN_API const char *cairn_last_error(void);

/*
 * From now on, misuse in this process calls on_misuse (NULL: nobody) with the line that would be printed, which is
 * valid during that call, and with arg. It runs in the thread whose call it was; no lock is held and that call has
 * changed nothing, so it may use any heap and may leave by longjmp(3): but not where a checked heap tells of a stray
 * write, nor out of a call that another callback of the library's made. When it returns, the line is printed and the
 * process aborted.
 */
typedef void cairn_misuse_fn(const char *line, void *arg);
CAIRN_API void cairn_misuse_set(cairn_misuse_fn *on_misuse, void *arg);

/* Returns the negative errno value that belongs to cairn_last_error(), 0 when none. */
CAIRN_API int cairn_last_errno(void);

/* Returns a short text for an error of this library, negative or positive; never NULL. */
CAIRN_API const char *cairn_strerror(int error);

/* Returns the library's version, "0.1.0". */
CAIRN_API const char *cairn_version(void);

#ifdef __cplusplus
}
#endif

#endif
