/* SPDX-License-Identifier: MIT */
/*
 * server: what cairnd is made of. One thread, one loop, nothing that waits for a client.
 *
 * Dictionary. A *user* is charged for what its clients have. A *client* is one connection. A *store* is one heap of
 * clients: sections, roots, and the blocks that were handed over to it. A *table* is who owns which blocks: each client
 * has one, and each store. A *payload* is the section of one client. A store with a *file* is another kind: a shared
 * heap of its clients', which the server keeps, hands out, and knows nothing of.
 *
 *     user.blocks == live blocks in payloads of the user       payload.blocks == live blocks in it, whoever owns them
 *     payload.bytes_live == sum of the sizes of these
 *
 * A payload is a private heap (cairn.h) whose memory is got by calls of ours: its bookkeeping is private memory, and
 * what it believes to be blocks is address space that is reserved here and mapped nowhere in the server. The memory
 * file lies at the same addresses in the clients. So the server never reads or writes a byte that a client could write.
 */
#ifndef CAIRN_SERVER_SERVER_H
#define CAIRN_SERVER_SERVER_H

#include "platform/platform.h"
#include "server/wire.h"

enum {
    SERVER_CLIENTS_LIMIT = 4096,
    SERVER_ROOTS = 256,
    SERVER_IDS = 64, /* users, or groups, in the configuration */
    SERVER_PATH_BYTES = 108,
    SECTION_BYTES_MIN = 1 << 20,
};

struct server_config {
    char socket[SERVER_PATH_BYTES];
    uint64_t clients_max;
    uint64_t clients_per_user_max;
    uint64_t section_bytes_max;
    uint64_t sections_per_user_max;
    uint64_t bytes_per_user_max;
    uint64_t blocks_per_user_max;
    uint64_t block_bytes_max;
    uint64_t requests_per_second_max; /* of a user */
    uint32_t users[SERVER_IDS];       /* who may connect, beside the server's own user */
    uint32_t groups[SERVER_IDS];
    uint32_t users_count;
    uint32_t groups_count;
    bool everyone;
};

void config_defaults(struct server_config *ret_config);

/* Reads a file of lines "key = value". -EINVAL, -ENOENT, ...: the reason is in ret_reason. */
int config_read(struct server_config *config, const char *path, char *ret_reason, size_t bytes);

struct user {
    struct user *next;
    uint32_t id;
    uint64_t clients;
    uint64_t sections;
    uint64_t bytes;
    uint64_t blocks;
    uint64_t requests; /* that it may still make in the second that began at */
    uint64_t second_began_at;
};

struct payload {
    struct payload *next; /* of its store */
    struct store *store;
    struct user *user;
    cairn_heap *heap;
    unsigned char *base; /* of what is reserved: bookkeeping, then blocks */
    uint64_t reserved_bytes;
    uint64_t units_offset;  /* where blocks begin, and byte 0 of the file; UINT64_MAX: not known yet */
    uint64_t committed_end; /* while it is not known */
    uint64_t bytes;         /* of the file */
    int file;
    uint64_t serial; /* of those of its store that are sealed; 0: is not yet */
    uint64_t blocks;
    uint64_t bytes_live; /* in these */
    bool is_sealed;      /* others may see it */
    bool has_writer;
};

struct entry {
    unsigned char *place; /* NULL: free */
    uint64_t size;
    struct payload *payload;
    uint32_t generation;
    uint32_t next; /* + 1; free, or handed over and not taken yet: the next of these */
    bool is_given; /* handed over and not taken yet: its owner does not know its handle */
};

struct table {
    struct entry *entries;
    bool is_stores;
    uint32_t generation; /* of entries that are new: another for each table, so that strangers' handles do not fit */
    uint32_t capacity;
    uint32_t first_free; /* these three are an index + 1, so that an empty table is all zero */
    uint32_t first_given;
    uint32_t last_given;
    uint64_t live;
};

struct root {
    char name[WIRE_NAME_BYTES]; /* empty: free */
    struct table *table;
    uint64_t handle;
};

struct store {
    struct store *next;
    char name[WIRE_NAME_BYTES];
    uint32_t user; /* who made it */
    bool everyone;
    uint64_t access[CAIRN_CLIENT_ACCESS_MAX];
    uint32_t access_count;
    uint64_t clients;
    uint64_t last_serial;
    struct payload *payloads;
    struct table table;
    struct root roots[SERVER_ROOTS];
    int file; /* -1: not of a shared heap; of one there are no clients, blocks and roots here */
    uint64_t address;
    uint64_t bytes;       /* of the file */
    struct user *charged; /* for them */
};

enum client_state {
    CLIENT_NONE,
    CLIENT_NEW,     /* has not opened a heap */
    CLIENT_MAPPING, /* has got its section */
    CLIENT_READY,
    CLIENT_LEAVING, /* has gone; what it owns is being freed */
};

struct client {
    enum client_state state;
    uint32_t number; /* another one each time that the place is used; its place: (number - 1) % SERVER_CLIENTS_LIMIT */
    int socket;
    struct socket_peer peer;
    struct user *user;
    struct store *store;
    struct payload *payload; /* NULL: read-only */
    struct table table;
};

struct server {
    struct server_config config;
    uint32_t user; /* its own */
    struct user *users;
    struct store *stores;
    struct client *clients; /* clients_max */
    uint64_t next_address;
    struct listener listener;
    char directory[SERVER_PATH_BYTES];
    char name[SERVER_PATH_BYTES];
    bool is_activated; /* the socket is the system's */
    bool is_listening;
    int events;
    int spare;
    int stop;                /* can be read when the server is to end */
    int reload;              /* can be read when its access lists are to be read again; -1: never */
    const char *config_path; /* NULL: there is none */
    uint64_t began_at;
    struct wire_seen_server counts; /* but for the milliseconds */
    uint64_t log_second;
    uint64_t log_lines;
};

/* ---------------------------------------------------------------- payload.c */

int payload_create(struct payload **ret_payload, struct server *server, uint64_t bytes);
int payload_seal(struct payload *payload);
void payload_end(struct payload *payload);
int payload_alloc(struct payload *payload, uint64_t size, struct entry *ret_entry);
bool payload_expand(struct entry *entry, uint64_t size);
void payload_free(struct entry *entry);

/* ---------------------------------------------------------------- table.c */

struct entry *table_find(const struct table *table, uint64_t handle);
/* Puts a block in, and gets its handle; -ENOMEM. */
int table_put(struct table *table, const struct entry *entry, bool is_given, uint64_t *ret_handle);
/* Takes a block out; is its owner's no more. */
void table_remove(struct table *table, uint64_t handle);
/* The next that was handed over and not taken; 0: none. */
uint64_t table_next_given(struct table *table);
uint64_t table_handle(const struct table *table, const struct entry *entry);
void table_end(struct table *table);

/* ---------------------------------------------------------------- dispatch.c */

int server_init(struct server *server, const struct server_config *config);
/* Ends all that is left, without a word to anybody. */
void server_end(struct server *server);

/* NULL: there is none of that name. */
struct store *store_find(const struct server *server, const char *name);

/* A new store, for which its client's user is not charged yet; NULL: no memory. */
struct store *store_make(struct server *server, const struct client *client, const struct wire_request *request);
/* Ends one that nobody can need any more. */
void store_settle(struct server *server, struct store *store);

/* Whether the words of a request are entries of an access list. */
bool access_is_good(const struct wire_request *request);

/* Whether who is at the other end of the socket may use the server. */
bool server_may_connect(const struct server *server, int socket, const struct socket_peer *peer);

/* Takes a new connection in. *ret_status is 0, or why not: -EACCES, -EDQUOT. NULL: it is not let in. */
struct client *server_admit(struct server *server, int socket, const struct socket_peer *peer, int *ret_status);

/*
 * Fulfils a request. NULL: *ret_reply is to be sent, with *ret_file unless that is -1, which the caller closes. Else
 * why the client is to be dropped.
 */
const char *server_dispatch(struct server *server, struct client *client, const struct wire_request *request,
                            struct wire_reply *ret_reply, int *ret_file);

/* The client has gone; its blocks go by server_sweep, some at each call. Returns whether more is to be done. */
void server_part(struct server *server, struct client *client);
bool server_sweep(struct server *server);

/* ---------------------------------------------------------------- shared.c */

int shared_open(struct server *server, const struct client *client, const struct wire_request *request, int *ret_file);
int shared_drop(struct server *server, const struct client *client, const struct wire_request *request);
/* The server has it no more; whoever has it open keeps it. */
void shared_end(struct server *server, struct store *store);

/* ---------------------------------------------------------------- look.c */

/* Whether the client is of who runs the server, or of root. */
bool server_is_keeper(const struct server *server, const struct client *client);

/* Tells the server's keeper what there is: WIRE_LOOK_... */
int server_look(const struct server *server, const struct client *client, const struct wire_request *request,
                struct wire_reply *reply);
/* A root's block; NULL: it was freed, or the root is free. */
const struct entry *root_entry(const struct root *root);

/* ---------------------------------------------------------------- valid.c */

/* Each block is in one table, and charged to one user; nothing is there that nobody needs. */
bool server_valid(const struct server *server);

/* ---------------------------------------------------------------- loop.c */

enum { LOG_ERROR = 3, LOG_WARNING = 4, LOG_NOTICE = 5, LOG_INFO = 6 };
void server_log(struct server *server, int priority, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Listens (activated: on that socket, else -1), serves until `stop` can be read, and drains. */
int server_listen(struct server *server, int activated);
int server_run(struct server *server, int stop);
void server_close(struct server *server);

#endif
