/* SPDX-License-Identifier: MIT */
/*
 * wire: what a client and its server say to each other. Each request is one message of fixed length, and gets one reply
 * of fixed length, in order. A message that no client library sends ends the connection; a request that cannot be
 * fulfilled gets a reply with the reason. Fields that an operation does not use are zero.
 *
 *     operation   request                                      reply
 *     OPEN        name; flags; value: bytes of a section;      number; user; blocks[0]: the section {address, bytes},
 *                 words[count]: access list                    which comes as a descriptor unless READ_ONLY
 *     MAPPED      (the section is mapped for writing)          (nobody else will ever write it; serial: its number)
 *     ALLOC       words[count]: sizes                          blocks[count]
 *     FREE        words[count]: handles
 *     EXPAND      words[1]: handle; value: size                blocks[1]; -ENOSPC: not in place
 *     GIVE        words[1]: handle; value: number, or 0        blocks[1]
 *     TAKE                                                     blocks[1]
 *     TAKE_BACK   words[1]: handle of the heap's               blocks[1]
 *     ROOT_SET    name; words[1]: handle; 0: remove it
 *     ROOT_GET    name                                         blocks[1]
 *     SECTION     value: serial                                blocks[0]: the next section after that one, with a
 *                                                              descriptor for reading; -ENODATA: there is none
 *     STATS                                                    words in blocks
 *
 * Who opens no heap may ask for shared heaps, each of which comes as a descriptor for writing or reading:
 *
 *     SHARED      name; flags; value: bytes of the file;       user
 *                 words[count]: access list
 *     DROP        name                                         (the server has it no more)
 *
 * Who opens no heap may look, if the server is its own user's, or it is root; -ENODATA: there is no more.
 *
 *     LOOK_CLIENTS   value: 0, or the last reply's number       client, of another connection; number
 *     LOOK_HEAPS     name: none, or of the last reply           heap, the next by name
 *     LOOK_SECTIONS  name; value: 0, or the last address        section, the next by address
 *     LOOK_ROOTS     name; value: 0, or the last number         root; number
 *     LOOK_SPANS     name; value: a section's address, or the   spans; number: how many
 *                    end of the last span
 *     LOOK_SERVER                                               server
 */
#ifndef CAIRN_SERVER_WIRE_H
#define CAIRN_SERVER_WIRE_H

#include "base/base.h"
#include "cairn_client.h"

#define SERVER_MAGIC UINT64_C(0x0a1d6e7269616396)
#define SERVER_SOCKET "/run/cairnd/cairnd.sock"

enum {
    SERVER_VERSION = 3,
    WIRE_NAME_BYTES = CAIRN_CLIENT_NAME_MAX + 1,
    WIRE_SPANS_MAX = 32, /* in a reply */
};

enum wire_operation {
    WIRE_OPEN = 1,
    WIRE_MAPPED,
    WIRE_ALLOC,
    WIRE_FREE,
    WIRE_EXPAND,
    WIRE_GIVE,
    WIRE_TAKE,
    WIRE_TAKE_BACK,
    WIRE_ROOT_SET,
    WIRE_ROOT_GET,
    WIRE_SECTION,
    WIRE_STATS,
    WIRE_SHARED, /* from here on: without a heap of clients */
    WIRE_DROP,
    WIRE_LOOK_CLIENTS,
    WIRE_LOOK_HEAPS,
    WIRE_LOOK_SECTIONS,
    WIRE_LOOK_ROOTS,
    WIRE_LOOK_SPANS,
    WIRE_LOOK_SERVER,
    WIRE_OPERATIONS,
};

/* An entry of an access list. */
#define WIRE_IS_GROUP (UINT64_C(1) << 32)
#define WIRE_MAY_WRITE (UINT64_C(1) << 33)

struct wire_request {
    uint64_t magic;
    uint32_t version;
    uint32_t operation;
    uint64_t sequence; /* comes back in the reply */
    uint64_t flags;
    uint64_t value;
    uint32_t count; /* of words */
    uint32_t reserved;
    char name[WIRE_NAME_BYTES]; /* filled up with zeros */
    uint64_t words[CAIRN_BATCH_MAX];
};

struct wire_block {
    uint64_t address;
    uint64_t size;
    uint64_t handle;
};

/* What a user has at the server, or may have. */
struct wire_quota {
    uint64_t clients;
    uint64_t sections;
    uint64_t bytes;
    uint64_t blocks;
};

struct wire_seen_client {
    uint32_t number;
    uint32_t user;
    uint32_t process;
    uint32_t reserved;
    char heap[WIRE_NAME_BYTES]; /* all zero: none is open */
    uint64_t address;           /* of its section; 0: it has none */
    uint64_t bytes;
    uint64_t blocks; /* that it owns */
    struct wire_quota has;
    struct wire_quota most;
};

struct wire_seen_heap {
    char name[WIRE_NAME_BYTES];
    uint32_t user; /* who made it */
    uint32_t access_count;
    uint64_t everyone;
    uint64_t clients;
    uint64_t sections;
    uint64_t roots;
    uint64_t bytes; /* of its sections */
    uint64_t blocks;
    uint64_t bytes_live;     /* in blocks */
    uint64_t blocks_kept;    /* that were handed over to the heap */
    uint64_t shared_address; /* of a shared heap, which has nothing of the above; 0: it is none */
    uint64_t shared_bytes;
    uint64_t shared_bytes_taken; /* of the system's memory */
};

struct wire_seen_section {
    uint64_t address;
    uint64_t bytes;
    uint64_t unit_bytes;
    uint64_t serial;
    uint32_t user;
    uint32_t client; /* who may write there; 0: nobody any more */
    uint64_t blocks;
    uint64_t bytes_live;
};

struct wire_seen_root {
    char name[WIRE_NAME_BYTES];
    uint64_t address;
    uint64_t size;
    uint32_t client; /* that owns the block; 0: the heap does */
    uint32_t reserved;
};

struct wire_seen_span {
    uint64_t address;
    uint64_t bytes;
    uint64_t block_bytes;
    uint32_t kind; /* enum cairn_span_kind */
    uint32_t blocks;
    uint32_t blocks_live;
    uint32_t reserved;
};

/* Counts since it began. */
struct wire_seen_server {
    uint64_t milliseconds;
    uint64_t connections;
    uint64_t connections_refused;
    uint64_t dropped;
    uint64_t requests;
    uint64_t requests_refused;
};

struct wire_reply {
    uint64_t magic;
    uint32_t version;
    uint32_t operation;
    uint64_t sequence;
    int32_t status;
    uint32_t count;  /* of blocks; 0 when something else was seen */
    uint32_t number; /* OPEN: of the client */
    uint32_t user;   /* OPEN, SHARED: who made the heap */
    uint64_t serial; /* of the heap's latest section */
    union {
        struct wire_block blocks[CAIRN_BATCH_MAX];
        struct wire_seen_client client;
        struct wire_seen_heap heap;
        struct wire_seen_section section;
        struct wire_seen_root root;
        struct wire_seen_span spans[WIRE_SPANS_MAX];
        struct wire_seen_server server;
    };
};

_Static_assert(sizeof(struct wire_request) == 48 + WIRE_NAME_BYTES + 8 * CAIRN_BATCH_MAX, "no padding is sent");
_Static_assert(sizeof(struct wire_reply) == 48 + 24 * CAIRN_BATCH_MAX, "no padding is sent");
_Static_assert(sizeof(struct wire_seen_client) == 16 + WIRE_NAME_BYTES + 11 * 8 &&
                   sizeof(struct wire_seen_heap) == WIRE_NAME_BYTES + 12 * 8 &&
                   sizeof(struct wire_seen_section) == 56 && sizeof(struct wire_seen_root) == WIRE_NAME_BYTES + 24 &&
                   sizeof(struct wire_seen_span) == 40,
               "no padding is sent");

/* Whether a name ends, has no byte behind its end, and is of printable ASCII without '/'. */
static inline bool wire_name_is_good(const char name[WIRE_NAME_BYTES])
{
    uint32_t length = 0;
    while (length < WIRE_NAME_BYTES && name[length] > ' ' && name[length] < 0x7f && name[length] != '/')
        length++;
    bool is_good = length > 0;
    for (uint32_t i = length; i < WIRE_NAME_BYTES; i++)
        is_good = is_good && name[i] == '\0';
    return is_good && length < WIRE_NAME_BYTES;
}

#endif
