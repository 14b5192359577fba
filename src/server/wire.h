/* SPDX-License-Identifier: MIT */
/*
 * wire: what a client and its server say to each other. Each request is one message of fixed length, and gets one reply
 * of fixed length, in order. A message that no client library sends ends the connection; a request that cannot be
 * fulfilled gets a reply with the reason. Fields that an operation does not use are zero.
 *
 *     operation   request                                      reply
 *     OPEN        name; flags; value: bytes of a section;      number; blocks[0]: the section {address, bytes}, which
 *                 words[count]: access list                    comes as a descriptor unless READ_ONLY
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
 */
#ifndef CAIRN_SERVER_WIRE_H
#define CAIRN_SERVER_WIRE_H

#include "base/base.h"
#include "cairn_client.h"

#define SERVER_MAGIC UINT64_C(0x0a1d6e7269616396)
#define SERVER_SOCKET "/run/cairnd/cairnd.sock"

enum {
    SERVER_VERSION = 1,
    WIRE_NAME_BYTES = CAIRN_CLIENT_NAME_MAX + 1,
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

struct wire_reply {
    uint64_t magic;
    uint32_t version;
    uint32_t operation;
    uint64_t sequence;
    int32_t status;
    uint32_t count;  /* of blocks */
    uint32_t number; /* OPEN: of the client */
    uint32_t reserved;
    uint64_t serial; /* of the heap's latest section */
    struct wire_block blocks[CAIRN_BATCH_MAX];
};

_Static_assert(sizeof(struct wire_request) == 48 + WIRE_NAME_BYTES + 8 * CAIRN_BATCH_MAX, "no padding is sent");
_Static_assert(sizeof(struct wire_reply) == 48 + 24 * CAIRN_BATCH_MAX, "no padding is sent");

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
