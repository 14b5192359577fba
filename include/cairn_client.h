/* SPDX-License-Identifier: MIT */
/*
 * cairn_client: heaps that a server holds. The server (cairnd) allocates and frees for its clients, who need not trust
 * each other, and whom it does not trust.
 *
 *     cairn_client *client;
 *     cairn_client_options options = {.flags = CAIRN_CLIENT_CREATE};
 *     cairn_block block;
 *     cairn_client_open(&client, "orders", &options);
 *     cairn_client_alloc(client, 100, &block);              another process:
 *     strcpy(block.address, "hello");
 *     cairn_client_root_set(client, "greeting", &block);    cairn_client_root_get(other, "greeting", &found);
 *     cairn_client_give(client, &block, CAIRN_TO_HEAP);     puts(found.address);
 *     cairn_client_close(client);
 *
 * Who may write what. Each client that allocates has one *section* at the server: its own blocks lie there, it alone
 * has them mapped for writing, and no process can ever map them so again (F_SEAL_FUTURE_WRITE). The other clients of
 * the heap see all sections at the same addresses, read-only, so plain pointers lead from block to block. What is where
 * is known to the server alone, in its private memory; no client can damage it.
 *
 * A *block* is known by its handle, which is of use to its owner only: to the client that allocated it, or to whom it
 * was handed over by cairn_client_give. What a client owns is freed when its connection closes, however it ends. What
 * was handed over to the heap stays until a client takes it back and frees it. Who handed a block over can still write
 * to it as long as it lives. When it has died nobody can, if it used this library; one that did not may have shared its
 * view with other processes (fork) before the section was sealed: so what a user hands over stays that user's word.
 *
 * A block that is freed is used again at once, also where other clients still read it: no reader is waited for
 * (published heaps do that, cairn_publish.h).
 *
 * Threads. A client serves one thread at a time. Clients of one heap in one process share what is
 * mapped. Fork. A child does not have its parent's client: calls fail with -EINVAL, and cairn_client_close ends what
 * the child has of it; until then, or exec, the child keeps the connection from closing. The death of the server: calls
 * fail with -ECONNRESET; all memory stays mapped and as it is, until the client closes. So it is when the program
 * closes the connection's descriptor (closefrom(3)); what it opens under that number is not touched.
 *
 * Errors are as in cairn.h. Each call that asks the server may also fail with -ECONNRESET (the server has ended, or it
 * dropped this client), -ETIMEDOUT (no answer in time; the connection is of no use any more: from now on -ECONNRESET),
 * -EPROTO (no server of this version), -EAGAIN (the user's requests of this second are used up).
 */
#ifndef CAIRN_CLIENT_H
#define CAIRN_CLIENT_H

#include "cairn.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CAIRN_BATCH_MAX 64       /* blocks in one message */
#define CAIRN_CLIENT_NAME_MAX 63 /* bytes of the name of a heap, or of a root */
#define CAIRN_CLIENT_ACCESS_MAX 64
#define CAIRN_SPAN_BYTES_MIN 65536
#define CAIRN_TO_HEAP 0U /* cairn_client_give: to nobody, but for all */

typedef struct cairn_client cairn_client;

typedef struct cairn_block {
    void *address;   /* may be written by the client in whose section it lies; read by all of the heap */
    uint64_t size;   /* what may be used: at least what was asked for */
    uint64_t handle; /* for the owner; 0: the block is another's */
} cairn_block;

/* Flags of cairn_client_options.flags. */
#define CAIRN_CLIENT_CREATE UINT64_C(0x01)    /* make the heap if there is none of that name */
#define CAIRN_CLIENT_READ_ONLY UINT64_C(0x02) /* only read: needs no section */
#define CAIRN_CLIENT_EVERYONE UINT64_C(0x04)  /* when created: whoever may connect to the server may read */
#define CAIRN_CLIENT_ANY_OWNER UINT64_C(0x08) /* open the heap of any user: what is there is that user's */

typedef struct cairn_client_options {
    size_t size;        /* sizeof(cairn_client_options), or 0 for the members of version 0.1 */
    const char *socket; /* path of the server's socket; NULL: /run/cairnd/cairnd.sock */
    uint64_t flags;     /* CAIRN_CLIENT_... */
    uint64_t bytes_max; /* of this client's section; 0: 64 MiB. Whole pages, at least 1 MiB, and at most what the
                           server allows. Counts against the user's bytes whole */
    const cairn_access *access; /* when created: who may use the heap, beside this user, who may write. At most
                                   CAIRN_CLIENT_ACCESS_MAX; where several fit, the one that allows most counts */
    uint32_t access_count;
    uint32_t timeout_ms; /* how long a call waits for the server; 0: 5000 */
} cairn_client_options;

/*
 * Connects to a server and opens a heap there. The server knows the user by the credentials of the socket. The heap
 * lasts as long as it has clients, or blocks that were handed over to it. Its name is for who comes first, with
 * CAIRN_CLIENT_CREATE too: so a heap that another user has made, other than root and who runs the server, is opened
 * with CAIRN_CLIENT_ANY_OWNER only. Who runs the server is trusted, and so is the directory where its socket lies.
 *
 * Errors: -EINVAL, -ENAMETOOLONG, -ENOENT (no server, or no heap of that name), -ECONNREFUSED (the server has ended),
 * -EACCES (the user may not use the server, or not this heap in this way), -EPERM (another user has made it, see
 * CAIRN_CLIENT_ANY_OWNER), -EDQUOT (the user has all the connections, sections or bytes that it may), -ENOMEM,
 * -EADDRINUSE (something else lies at an address of the heap), -EMFILE.
 */
CAIRN_API int cairn_client_open(cairn_client **ret_client, const char *heap, const cairn_client_options *options);

/*
 * Ends the connection: the server frees what the client owns. All the heap's memory is unmapped here. NULL is allowed.
 */
CAIRN_API void cairn_client_close(cairn_client *client);

/* Returns the client's number at its server, to be told to those who are to hand something over to it. */
CAIRN_API uint32_t cairn_client_number(const cairn_client *client);

/* Returns a descriptor that hangs up (POLLHUP) when the server ends. Nothing is to be read from it. */
CAIRN_API int cairn_client_fd(const cairn_client *client);

/*
 * Allocates a block in the client's section; its contents are undefined, its memory is there: touching it cannot raise
 * SIGBUS. Errors: -ENOMEM (the section is full), -EDQUOT (the user has all the blocks it may), -EROFS (read-only).
 * Death of the client: the server frees it, whether or not the client had got its address.
 */
CAIRN_API int cairn_client_alloc(cairn_client *client, size_t size, cairn_block *ret_block);

/*
 * Allocates several blocks by one message, all or none. count is at most CAIRN_BATCH_MAX, else -EINVAL; other errors as
 * cairn_client_alloc.
 */
CAIRN_API int cairn_client_alloc_batch(cairn_client *client, const size_t *sizes, uint32_t count,
                                       cairn_block *ret_blocks);

/*
 * Makes a heap of this client's own in one block, so that it allocates without asking: the server grants a *span* and
 * takes it back whole, and knows nothing of what lies in it. *ret_heap is a private heap (cairn.h) of
 * options->bytes_max bytes, bookkeeping included, at least CAIRN_SPAN_BYTES_MIN, rounded up to a page. What it
 * allocates is read by the others at the same addresses, like any block; to them and to the server it has no handle.
 * *ret_span has one: a root may name it, and cairn_client_give hands over all that is in it. Of the options size,
 * bytes_max, flags, on_failure and checked are used. As a client serves one thread at a time, CAIRN_UNSERIALIZED suits
 * it; with that, and from 32 MiB on, an allocation costs what it costs in a shared heap, and in a smaller span less
 * than twice as much.
 *
 * Close the heap before the span is freed; the span, with what lies in it, may also outlive the heap. When the client
 * closes first, the memory stays this process's until the heap is closed, and the server has taken the span back. After
 * fork(2) the child has no such heap: to use it there is misuse. Errors: as cairn_client_alloc and cairn_heap_create,
 * -EINVAL also for options that are not used.
 */
CAIRN_API int cairn_client_heap_create(cairn_client *client, cairn_heap **ret_heap, cairn_block *ret_span,
                                       const cairn_options *options);

/*
 * Changes a block's size; where it cannot grow in place the contents move to a new block of the client's section.
 * *block is untouched on failure. Errors: as cairn_client_alloc, and -ESTALE (no block of this client's).
 */
CAIRN_API int cairn_client_realloc(cairn_client *client, cairn_block *block, size_t size);

/* Frees a block that this client owns. A root that names it names nothing from now on. Errors: -ESTALE (no block of
 * this client's: it was freed, handed over, or is another's). */
CAIRN_API int cairn_client_free(cairn_client *client, const cairn_block *block);

/* Frees several blocks by one message, all or none: one that is not this client's, or stands twice, is -ESTALE. */
CAIRN_API int cairn_client_free_batch(cairn_client *client, const cairn_block *blocks, uint32_t count);

/*
 * Hands a block over: to CAIRN_TO_HEAP, or to another client of the heap by its number. Its address stays;
 * block->handle is what the heap knows it by, or 0 for another client's, which gets it by cairn_client_take. A root
 * that names it goes on to do so. Errors: -ESTALE (no block of this client's), -ESRCH (no such client in this heap),
 * -EROFS.
 */
CAIRN_API int cairn_client_give(cairn_client *client, cairn_block *block, uint32_t to);

/* Gets the next block that was handed over to this client. Errors: -ENODATA (there is none), -EROFS. */
CAIRN_API int cairn_client_take(cairn_client *client, cairn_block *ret_block);

/*
 * Takes a block over from the heap, for instance to free it; block->handle is the heap's, from cairn_client_give or
 * cairn_client_root_get, and then this client's own. Errors: -ESTALE (the heap has no such block), -EROFS.
 */
CAIRN_API int cairn_client_take_from_heap(cairn_client *client, cairn_block *block);

/*
 * Sets a root of the heap to a block that this client or the heap owns; NULL removes the root. Each client that may
 * write may set each root. Errors: -EINVAL (the name), -ESTALE, -ENOSPC (256 roots are there), -ENOENT (nothing to be
 * removed), -EROFS.
 */
CAIRN_API int cairn_client_root_set(cairn_client *client, const char *name, const cairn_block *block);

/*
 * Gets the block that a root names. All sections that the heap has at that moment are mapped by then, so pointers in it
 * can be followed. handle is 0 when another client owns it. Errors: -EINVAL, -ENOENT (no such root), -EADDRINUSE,
 * -ENOMEM, -EMFILE.
 */
CAIRN_API int cairn_client_root_get(cairn_client *client, const char *name, cairn_block *ret_block);

/* ---------------------------------------------------------------- shared heaps that a server keeps */

/*
 * Asks a server for the shared heap of that name and attaches to it. *ret_heap is a shared heap as any other (cairn.h):
 * all who have it allocate and free there, at the same address, it grows, and when one dies the others repair what it
 * left. It lies in a memory file, so the size of /dev/shm is no limit. The server makes it (CAIRN_CLIENT_CREATE),
 * keeps it, and hands it to whom its list names; it neither looks into it nor takes part. Who may write there is
 * trusted with it by all who use it, so whose it is matters as in cairn_client_open; who may only read cannot write,
 * which the kernel enforces against other users than the server's own. Ended by cairn_heap_close, in any thread; no
 * connection is kept, so the death of the server changes nothing for who has it open. It lasts until it is dropped or
 * the server ends, and after that as long as somebody has it open.
 *
 * Of the options socket, timeout_ms and flags are used, and when the heap is made bytes_max (0: 1 GiB), which counts
 * against the user's bytes whole, as a section, and access: an entry of a user counts before those of its groups.
 * Errors: -EINVAL, -ENAMETOOLONG, -ENOENT, -ECONNREFUSED, -EACCES, -EPERM, -EDQUOT, -EMFILE, -EEXIST (the name is that
 * of a heap of clients), -EOPNOTSUPP (the system has no access lists for memory files, or here is no /proc to write
 * without), and those of cairn_heap_open_fd: -EADDRINUSE, -EBUSY, -EPROTO, -EUCLEAN, -ENOMEM, -EAGAIN (also: too many
 * processes are attached), -ESTALE (somebody has destroyed it; drop it).
 */
CAIRN_API int cairn_client_shared_open(cairn_heap **ret_heap, const char *heap, const cairn_client_options *options);

/*
 * Tells the server to keep a shared heap no more; the name is free. Whoever has it open keeps it. Errors: -EACCES
 * (neither the user who made it nor the server's own nor root), -ENOENT, -EEXIST (a heap of clients: it ends by
 * itself), -EINVAL, -ENAMETOOLONG, -ECONNREFUSED, -ENOMEM, -EMFILE.
 */
CAIRN_API int cairn_client_shared_drop(const char *heap, const cairn_client_options *options);

typedef struct cairn_client_stats {
    size_t size;           /* as in cairn_stats */
    uint64_t heap_clients; /* of this heap */
    uint64_t heap_sections;
    uint64_t heap_blocks; /* handed over to the heap */
    uint64_t user_blocks; /* of this user at the server, in all heaps */
    uint64_t user_bytes;  /* of its sections */
    uint64_t user_blocks_max;
    uint64_t user_bytes_max;
    uint64_t own_blocks; /* of this client */
    uint64_t messages;   /* that this client has sent */
} cairn_client_stats;

/* Fills *ret_stats. Errors: -EINVAL (size). */
CAIRN_API int cairn_client_stats_get(cairn_client *client, cairn_client_stats *ret_stats);

/* ---------------------------------------------------------------- looking at a server */

/*
 * What a server has, for its keeper: who runs it, and root. Each call connects to the server and calls visit for one
 * thing after the other until it returns other than 0, which is then returned. A walk is no snapshot: what changes
 * meanwhile is told as it is when its turn comes. Of the options socket and timeout_ms are used. What visit is given
 * lasts until it returns. Errors: -EACCES (another user), -ENOENT (no server, or no heap of that name), -EINVAL,
 * -ENAMETOOLONG (the heap's name), -ECONNREFUSED, -EDQUOT, -ENOMEM, -EMFILE.
 */

/* What a user has at the server, and what it may have. */
typedef struct cairn_server_quota {
    uint64_t clients;
    uint64_t sections;
    uint64_t bytes;  /* of its sections */
    uint64_t blocks; /* in its sections, whoever owns them */
} cairn_server_quota;

typedef struct cairn_server_info {
    size_t size;           /* as in cairn_stats */
    uint64_t milliseconds; /* that it has been there; the following are counts since then */
    uint64_t connections;
    uint64_t connections_refused;
    uint64_t clients_dropped; /* who sent what no client sends, did not read, or is on no list any more */
    uint64_t requests;
    uint64_t requests_refused; /* that were answered by an error */
} cairn_server_info;

/* Fills *ret_info. Errors also: -EINVAL (size). */
CAIRN_API int cairn_server_info_get(const cairn_client_options *options, cairn_server_info *ret_info);

typedef struct cairn_server_client {
    uint32_t number;
    uint32_t user;
    uint32_t process;       /* that connected */
    const char *heap;       /* NULL: it has opened none yet */
    void *section;          /* NULL: it only reads */
    uint64_t section_bytes; /* for blocks */
    uint64_t blocks;        /* that it owns */
    cairn_server_quota user_has;
    cairn_server_quota user_max;
} cairn_server_client;

/* Walks the clients, but for the one that asks. */
typedef int cairn_server_client_fn(const cairn_server_client *client, void *arg);
CAIRN_API int cairn_server_client_walk(const cairn_client_options *options, cairn_server_client_fn *visit, void *arg);

typedef struct cairn_server_heap {
    const char *name;
    uint32_t user;         /* who made it */
    uint32_t access_count; /* entries of its access list */
    bool everyone;         /* may read */
    uint64_t clients;
    uint64_t sections;
    uint64_t section_bytes; /* in all of them */
    uint64_t roots;
    uint64_t blocks;
    uint64_t bytes_live;  /* in these */
    uint64_t blocks_kept; /* of them, those that were handed over to the heap */
    bool shared;          /* a shared heap that the server only keeps: then the numbers above are 0 */
    void *shared_address; /* where it lies in those who have it open */
    uint64_t shared_bytes;
    uint64_t shared_bytes_taken; /* of the system's memory */
} cairn_server_heap;

/* Walks the heaps in the order of their names. */
typedef int cairn_server_heap_fn(const cairn_server_heap *heap, void *arg);
CAIRN_API int cairn_server_heap_walk(const cairn_client_options *options, cairn_server_heap_fn *visit, void *arg);

typedef struct cairn_server_section {
    void *address; /* of the first block that can be */
    uint64_t bytes;
    uint64_t unit_bytes; /* of what spans are made of */
    uint32_t user;       /* who is charged for it */
    uint32_t client;     /* who may write there; 0: nobody any more */
    uint64_t blocks;
    uint64_t bytes_live; /* in these */
} cairn_server_section;

/* Walks the sections of a heap in the order of their addresses. */
typedef int cairn_server_section_fn(const cairn_server_section *section, void *arg);
CAIRN_API int cairn_server_section_walk(const cairn_client_options *options, const char *heap,
                                        cairn_server_section_fn *visit, void *arg);

/* Walks the spans of the section of a heap that begins at that address; of none when there is no such section. */
CAIRN_API int cairn_server_span_walk(const cairn_client_options *options, const char *heap, const void *section,
                                     cairn_span_fn *visit, void *arg);

typedef struct cairn_server_root {
    const char *name;
    void *block;
    uint64_t size;
    uint32_t client; /* that owns the block; 0: the heap does */
} cairn_server_root;

/* Walks the roots of a heap. */
typedef int cairn_server_root_fn(const cairn_server_root *root, void *arg);
CAIRN_API int cairn_server_root_walk(const cairn_client_options *options, const char *heap, cairn_server_root_fn *visit,
                                     void *arg);

#ifdef __cplusplus
}
#endif

#endif
