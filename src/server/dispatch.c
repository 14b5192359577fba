/* SPDX-License-Identifier: MIT */
/* dispatch: what a request does. Every field is checked before anything is changed; no system is asked that may wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/server.h"

enum {
    SWEEP_AT_ONCE = 4096, /* blocks: well below a millisecond */
};

enum name_use { NO_NAME, NAME, NAME_OR_NONE };

/* Which fields an operation uses; the others are zero. */
static const struct form {
    enum name_use name;
    bool value;
    uint32_t words_min;
    uint32_t words_max;
    uint64_t flags;
    bool writes;
} forms[WIRE_OPERATIONS] = {
    [WIRE_OPEN] = {NAME, true, 0, CAIRN_CLIENT_ACCESS_MAX,
                   CAIRN_CLIENT_CREATE | CAIRN_CLIENT_READ_ONLY | CAIRN_CLIENT_EVERYONE, false},
    [WIRE_MAPPED] = {.writes = true},
    [WIRE_ALLOC] = {.words_min = 1, .words_max = CAIRN_BATCH_MAX, .writes = true},
    [WIRE_FREE] = {.words_min = 1, .words_max = CAIRN_BATCH_MAX, .writes = true},
    [WIRE_EXPAND] = {.value = true, .words_min = 1, .words_max = 1, .writes = true},
    [WIRE_GIVE] = {.value = true, .words_min = 1, .words_max = 1, .writes = true},
    [WIRE_TAKE] = {.writes = true},
    [WIRE_TAKE_BACK] = {.words_min = 1, .words_max = 1, .writes = true},
    [WIRE_ROOT_SET] = {.name = NAME, .words_min = 1, .words_max = 1, .writes = true},
    [WIRE_ROOT_GET] = {.name = NAME},
    [WIRE_SECTION] = {.value = true},
    [WIRE_STATS] = {.name = NO_NAME},
    [WIRE_SHARED] = {NAME, true, 0, CAIRN_CLIENT_ACCESS_MAX,
                     CAIRN_CLIENT_CREATE | CAIRN_CLIENT_READ_ONLY | CAIRN_CLIENT_EVERYONE, false},
    [WIRE_DROP] = {.name = NAME},
    [WIRE_LOOK_CLIENTS] = {.value = true},
    [WIRE_LOOK_HEAPS] = {.name = NAME_OR_NONE},
    [WIRE_LOOK_SECTIONS] = {.name = NAME, .value = true},
    [WIRE_LOOK_ROOTS] = {.name = NAME, .value = true},
    [WIRE_LOOK_SPANS] = {.name = NAME, .value = true},
    [WIRE_LOOK_SERVER] = {.name = NO_NAME},
};

static const char *reason_against(const struct wire_request *request)
{
    if (request->magic != SERVER_MAGIC || request->version != SERVER_VERSION)
        return "speaks another protocol";
    if (request->operation < WIRE_OPEN || request->operation >= WIRE_OPERATIONS)
        return "asked for an operation that there is not";
    const struct form *form = &forms[request->operation];
    bool has_no_name = true;
    for (uint32_t i = 0; i < WIRE_NAME_BYTES; i++)
        has_no_name = has_no_name && request->name[i] == '\0';
    bool is_right = has_no_name ? form->name != NAME : form->name != NO_NAME && wire_name_is_good(request->name);
    is_right = is_right && request->reserved == 0 && (request->flags & ~form->flags) == 0 &&
               (form->value || request->value == 0) && request->count >= form->words_min &&
               request->count <= form->words_max;
    for (uint32_t i = is_right ? request->count : CAIRN_BATCH_MAX; i < CAIRN_BATCH_MAX; i++)
        is_right = is_right && request->words[i] == 0;
    return is_right ? NULL : "sent a malformed request";
}

/* ---------------------------------------------------------------- users */

/*
 * What a user is charged, made when it first comes. One that has nothing here, and whose second is over, so that it
 * gets no new requests by leaving, is as good as forgotten: its place serves the next, and there are no more of them
 * than clients and sections at once.
 */
static struct user *user_get(struct server *server, uint32_t id)
{
    struct user *idle = NULL;
    uint64_t now = time_passed();
    for (struct user *user = server->users; user != NULL; user = user->next) {
        if (user->id == id)
            return user;
        bool is_idle = user->clients == 0 && user->sections == 0 && now - user->second_began_at > 1000;
        idle = is_idle ? user : idle;
    }
    struct user *user = idle != NULL ? idle : calloc(1, sizeof *user);
    if (user == NULL)
        return NULL;
    if (idle == NULL) {
        user->next = server->users;
        server->users = user;
    }
    user->id = id;
    user->requests = 0;
    user->second_began_at = 0;
    return user;
}

static bool may_request(struct server *server, struct user *user)
{
    uint64_t now = time_passed();
    if (now - user->second_began_at >= 1000) {
        user->second_began_at = now;
        user->requests = server->config.requests_per_second_max;
    }
    if (user->requests == 0)
        return false;
    user->requests--;
    return true;
}

bool server_may_connect(const struct server *server, int socket, const struct socket_peer *peer)
{
    const struct server_config *config = &server->config;
    if (config->everyone || peer->user == server->user)
        return true;
    for (uint32_t i = 0; i < config->users_count; i++) {
        if (config->users[i] == peer->user)
            return true;
    }
    return socket_peer_is_in(socket, config->groups, config->groups_count);
}

static struct client *admit(struct server *server, int socket, const struct socket_peer *peer, int *ret_status)
{
    *ret_status = -EACCES;
    if (!server_may_connect(server, socket, peer))
        return NULL;
    *ret_status = -EDQUOT;
    struct user *user = user_get(server, peer->user);
    if (user == NULL || user->clients >= server->config.clients_per_user_max)
        return NULL;
    for (uint64_t i = 0; i < server->config.clients_max; i++) {
        struct client *client = &server->clients[i];
        if (client->state != CLIENT_NONE)
            continue;
        uint32_t number = client->number + SERVER_CLIENTS_LIMIT;
        *client = (struct client){.state = CLIENT_NEW, .number = number, .socket = socket, .peer = *peer, .user = user};
        user->clients++;
        *ret_status = 0;
        return client;
    }
    return NULL;
}

struct client *server_admit(struct server *server, int socket, const struct socket_peer *peer, int *ret_status)
{
    struct client *client = admit(server, socket, peer, ret_status);
    server->counts.connections++;
    server->counts.connections_refused += client == NULL;
    return client;
}

/* ---------------------------------------------------------------- stores */

struct store *store_find(const struct server *server, const char *name)
{
    struct store *store = server->stores;
    while (store != NULL && strcmp(store->name, name) != 0)
        store = store->next;
    return store;
}

static void payload_unlink(struct payload *payload)
{
    struct payload **link = &payload->store->payloads;
    while (*link != payload)
        link = &(*link)->next;
    *link = payload->next;
    payload->user->sections--;
    payload->user->bytes -= payload->reserved_bytes;
    payload_end(payload);
}

/* Ends what nobody can need any more: a payload without a writer and blocks; a store without clients and blocks. */
static void payload_settle(struct payload *payload)
{
    if (!payload->has_writer && payload->blocks == 0)
        payload_unlink(payload);
}

void store_settle(struct server *server, struct store *store)
{
    if (store->clients != 0 || store->table.live != 0)
        return;
    struct store **link = &server->stores;
    while (*link != store)
        link = &(*link)->next;
    *link = store->next;
    table_end(&store->table);
    free(store);
}

static void store_end_all(struct server *server, struct store *store)
{
    if (store->file >= 0) {
        shared_end(server, store);
        return;
    }
    while (store->payloads != NULL)
        payload_unlink(store->payloads);
    store->table.live = 0;
    store->clients = 0;
    store_settle(server, store);
}

/* What a client may do with a store: 0 nothing, 1 read, 2 write. */
static int rights(const struct client *client, const struct store *store)
{
    if (client->peer.user == store->user)
        return 2;
    int found = store->everyone ? 1 : 0;
    for (uint32_t i = 0; i < store->access_count; i++) {
        uint64_t entry = store->access[i];
        uint32_t id = (uint32_t)entry;
        bool fits = (entry & WIRE_IS_GROUP) != 0 ? socket_peer_is_in(client->socket, &id, 1) : id == client->peer.user;
        if (fits && found < 2)
            found = (entry & WIRE_MAY_WRITE) != 0 ? 2 : 1;
    }
    return found;
}

struct store *store_make(struct server *server, const struct client *client, const struct wire_request *request)
{
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return NULL;
    memcpy(store->name, request->name, sizeof store->name);
    store->table.is_stores = true;
    store->file = -1;
    store->user = client->peer.user;
    store->everyone = (request->flags & CAIRN_CLIENT_EVERYONE) != 0;
    memcpy(store->access, request->words, sizeof store->access);
    store->access_count = request->count;
    store->next = server->stores;
    server->stores = store;
    return store;
}

static int grant_section(struct server *server, struct client *client, uint64_t bytes, struct wire_reply *reply,
                         int *ret_file)
{
    const struct server_config *config = &server->config;
    struct user *user = client->user;
    uint64_t page = platform_page_size();
    if (bytes < SECTION_BYTES_MIN || bytes > config->section_bytes_max || bytes % page != 0)
        return -EINVAL;
    if (user->sections >= config->sections_per_user_max || bytes > config->bytes_per_user_max - user->bytes)
        return -EDQUOT;
    struct payload *payload;
    int error = payload_create(&payload, server, bytes);
    if (error < 0)
        return error == -EMFILE || error == -ENFILE ? -EMFILE : -ENOMEM;
    int file;
    error = file_reopen(&file, payload->file);
    if (error < 0) {
        payload_end(payload);
        return -EMFILE;
    }
    struct store *store = client->store;
    struct payload **link = &store->payloads;
    while (*link != NULL)
        link = &(*link)->next;
    *link = payload;
    payload->store = store;
    payload->user = user;
    payload->has_writer = true;
    user->sections++;
    user->bytes += bytes;
    client->payload = payload;
    client->state = CLIENT_MAPPING;
    *ret_file = file;
    reply->count = 1;
    reply->blocks[0] =
        (struct wire_block){.address = (uintptr_t)payload->base + payload->units_offset, .size = payload->bytes};
    return 0;
}

/* From now on others get the section. It is numbered now, so that who has seen a number has seen all below it. */
static int seal_section(struct client *client)
{
    int error = payload_seal(client->payload);
    if (error < 0)
        return error;
    client->payload->serial = ++client->store->last_serial;
    client->state = CLIENT_READY;
    return 0;
}

bool access_is_good(const struct wire_request *request)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < request->count; i++)
        bits |= request->words[i];
    return (bits & ~(UINT32_MAX | WIRE_IS_GROUP | WIRE_MAY_WRITE)) == 0;
}

static int open_store(struct server *server, struct client *client, const struct wire_request *request,
                      struct wire_reply *reply, int *ret_file)
{
    bool is_read_only = (request->flags & CAIRN_CLIENT_READ_ONLY) != 0;
    struct store *store = store_find(server, request->name);
    if (!access_is_good(request))
        return -EINVAL;
    if (store != NULL && store->file >= 0)
        return -EEXIST;
    if (store == NULL && (request->flags & CAIRN_CLIENT_CREATE) == 0)
        return -ENOENT;
    if (store != NULL && rights(client, store) < (is_read_only ? 1 : 2))
        return -EACCES;
    if (store == NULL)
        store = store_make(server, client, request);
    if (store == NULL)
        return -ENOMEM;
    client->store = store;
    store->clients++;
    int error = is_read_only ? 0 : grant_section(server, client, request->value, reply, ret_file);
    if (error < 0) {
        client->store = NULL;
        store->clients--;
        store_settle(server, store);
        return error;
    }
    if (is_read_only)
        client->state = CLIENT_READY;
    reply->number = client->number;
    return 0;
}

/* ---------------------------------------------------------------- blocks */

static struct wire_block block_of(const struct entry *entry, uint64_t handle)
{
    return (struct wire_block){(uintptr_t)entry->place, entry->size, handle};
}

static struct entry *own(struct client *client, uint64_t handle)
{
    struct entry *entry = table_find(&client->table, handle);
    return entry != NULL && !entry->is_given ? entry : NULL;
}

static void free_entry(struct table *table, uint64_t handle)
{
    struct entry *entry = table_find(table, handle);
    struct payload *payload = entry->payload;
    payload_free(entry);
    table_remove(table, handle);
    payload_settle(payload);
}

static int alloc_one(struct server *server, struct client *client, uint64_t size, struct wire_block *ret_block)
{
    struct entry entry;
    uint64_t handle;
    if (client->user->blocks >= server->config.blocks_per_user_max)
        return -EDQUOT;
    if (size > server->config.block_bytes_max)
        return -ENOMEM;
    int error = payload_alloc(client->payload, size, &entry);
    if (error < 0)
        return error;
    error = table_put(&client->table, &entry, false, &handle);
    if (error < 0) {
        payload_free(&entry);
        return error;
    }
    *ret_block = block_of(&entry, handle);
    return 0;
}

static int alloc_all(struct server *server, struct client *client, const struct wire_request *request,
                     struct wire_reply *reply)
{
    for (uint32_t i = 0; i < request->count; i++) {
        int error = alloc_one(server, client, request->words[i], &reply->blocks[i]);
        if (error < 0) {
            while (i-- > 0)
                free_entry(&client->table, reply->blocks[i].handle);
            memset(reply->blocks, 0, sizeof reply->blocks);
            return error;
        }
    }
    reply->count = request->count;
    return 0;
}

static int free_all(struct client *client, const struct wire_request *request)
{
    for (uint32_t i = 0; i < request->count; i++) {
        if (own(client, request->words[i]) == NULL)
            return -ESTALE;
        for (uint32_t j = 0; j < i; j++) {
            if (request->words[j] == request->words[i])
                return -ESTALE;
        }
    }
    for (uint32_t i = 0; i < request->count; i++)
        free_entry(&client->table, request->words[i]);
    return 0;
}

static int expand(struct server *server, struct client *client, const struct wire_request *request,
                  struct wire_reply *reply)
{
    struct entry *entry = own(client, request->words[0]);
    if (entry == NULL)
        return -ESTALE;
    if (request->value > server->config.block_bytes_max)
        return -ENOMEM;
    bool is_large_enough = payload_expand(entry, request->value);
    reply->count = 1;
    reply->blocks[0] = block_of(entry, request->words[0]);
    return is_large_enough ? 0 : -ENOSPC;
}

/* Moves a block from one owner to another; a root that names it goes on to do so. */
static int hand_over(struct store *store, struct table *from, uint64_t handle, struct table *to, bool is_given,
                     uint64_t *ret_handle)
{
    int error = table_put(to, table_find(from, handle), is_given, ret_handle);
    if (error < 0)
        return error;
    table_remove(from, handle);
    for (uint32_t i = 0; i < SERVER_ROOTS; i++) {
        struct root *root = &store->roots[i];
        if (root->table == from && root->handle == handle) {
            root->table = to;
            root->handle = *ret_handle;
        }
    }
    return 0;
}

static int give(struct server *server, struct client *client, const struct wire_request *request,
                struct wire_reply *reply)
{
    uint64_t handle = 0;
    const struct entry *entry = own(client, request->words[0]);
    if (entry == NULL)
        return -ESTALE;
    struct client *other = NULL;
    if (request->value != CAIRN_TO_HEAP) {
        uint64_t index = (request->value - 1) % SERVER_CLIENTS_LIMIT;
        if (index >= server->config.clients_max)
            return -ESRCH;
        other = &server->clients[index];
        if (other->number != request->value || other->state != CLIENT_READY || other->store != client->store ||
            other->payload == NULL || other == client)
            return -ESRCH;
    }
    struct wire_block block = block_of(entry, 0);
    struct table *to = other != NULL ? &other->table : &client->store->table;
    int error = hand_over(client->store, &client->table, request->words[0], to, other != NULL, &handle);
    if (error < 0)
        return error;
    reply->count = 1;
    reply->blocks[0] = block;
    reply->blocks[0].handle = other != NULL ? 0 : handle;
    return 0;
}

static int take(struct client *client, struct wire_reply *reply)
{
    uint64_t handle = table_next_given(&client->table);
    if (handle == 0)
        return -ENODATA;
    reply->count = 1;
    reply->blocks[0] = block_of(table_find(&client->table, handle), handle);
    return 0;
}

static int take_back(struct client *client, const struct wire_request *request, struct wire_reply *reply)
{
    uint64_t handle;
    struct table *from = &client->store->table;
    const struct entry *entry = table_find(from, request->words[0]);
    if (entry == NULL)
        return -ESTALE;
    struct wire_block block = block_of(entry, 0);
    int error = hand_over(client->store, from, request->words[0], &client->table, false, &handle);
    if (error < 0)
        return error;
    reply->count = 1;
    reply->blocks[0] = block;
    reply->blocks[0].handle = handle;
    return 0;
}

/* ---------------------------------------------------------------- roots */

static struct root *root_find(struct store *store, const char *name)
{
    for (uint32_t i = 0; i < SERVER_ROOTS; i++) {
        if (strcmp(store->roots[i].name, name) == 0)
            return &store->roots[i];
    }
    return NULL;
}

static bool root_is_live(const struct root *root)
{
    return root_entry(root) != NULL;
}

static struct root *root_free(struct store *store)
{
    for (uint32_t i = 0; i < SERVER_ROOTS; i++) {
        if (!root_is_live(&store->roots[i]))
            return &store->roots[i];
    }
    return NULL;
}

static int root_set(struct client *client, const struct wire_request *request)
{
    struct store *store = client->store;
    struct root *root = root_find(store, request->name);
    if (request->words[0] == 0) {
        bool was_live = root != NULL && root_is_live(root);
        if (root != NULL)
            *root = (struct root){0};
        return was_live ? 0 : -ENOENT;
    }
    struct table *table = &client->table;
    const struct entry *entry = table_find(table, request->words[0]);
    if (entry == NULL) {
        table = &store->table;
        entry = table_find(table, request->words[0]);
    }
    if (entry == NULL || entry->is_given)
        return -ESTALE;
    root = root != NULL ? root : root_free(store);
    if (root == NULL)
        return -ENOSPC;
    memcpy(root->name, request->name, sizeof root->name);
    root->table = table;
    root->handle = request->words[0];
    return 0;
}

static int root_get(struct client *client, const struct wire_request *request, struct wire_reply *reply)
{
    struct store *store = client->store;
    const struct root *root = root_find(store, request->name);
    if (root == NULL || !root_is_live(root))
        return -ENOENT;
    const struct entry *entry = table_find(root->table, root->handle);
    bool is_known = root->table == &store->table || (root->table == &client->table && !entry->is_given);
    reply->count = 1;
    reply->blocks[0] = block_of(entry, is_known ? root->handle : 0);
    return 0;
}

static int next_section(struct client *client, const struct wire_request *request, struct wire_reply *reply,
                        int *ret_file)
{
    const struct payload *payload = NULL;
    for (const struct payload *p = client->store->payloads; p != NULL; p = p->next) {
        bool is_new = p->is_sealed && p->serial > request->value;
        payload = is_new && (payload == NULL || p->serial < payload->serial) ? p : payload;
    }
    if (payload == NULL)
        return -ENODATA;
    int error = file_reopen_read_only(ret_file, payload->file);
    if (error < 0)
        return -EMFILE;
    reply->count = 1;
    reply->blocks[0] =
        (struct wire_block){(uintptr_t)payload->base + payload->units_offset, payload->bytes, payload->serial};
    return 0;
}

static int tell_stats(const struct server *server, const struct client *client, struct wire_reply *reply)
{
    uint64_t sections = 0;
    for (const struct payload *payload = client->store->payloads; payload != NULL; payload = payload->next)
        sections++;
    const struct user *user = client->user;
    reply->count = 3;
    reply->blocks[0] = (struct wire_block){client->store->clients, sections, client->store->table.live};
    reply->blocks[1] = (struct wire_block){user->blocks, user->bytes, server->config.blocks_per_user_max};
    reply->blocks[2] = (struct wire_block){server->config.bytes_per_user_max, client->table.live, 0};
    return 0;
}

/* ---------------------------------------------------------------- requests */

static int fulfil(struct server *server, struct client *client, const struct wire_request *request,
                  struct wire_reply *reply, int *ret_file)
{
    switch (request->operation) {
    case WIRE_OPEN:
        return open_store(server, client, request, reply, ret_file);
    case WIRE_MAPPED:
        return seal_section(client);
    case WIRE_ALLOC:
        return alloc_all(server, client, request, reply);
    case WIRE_FREE:
        return free_all(client, request);
    case WIRE_EXPAND:
        return expand(server, client, request, reply);
    case WIRE_GIVE:
        return give(server, client, request, reply);
    case WIRE_TAKE:
        return take(client, reply);
    case WIRE_TAKE_BACK:
        return take_back(client, request, reply);
    case WIRE_ROOT_SET:
        return root_set(client, request);
    case WIRE_ROOT_GET:
        return root_get(client, request, reply);
    case WIRE_SECTION:
        return next_section(client, request, reply, ret_file);
    case WIRE_STATS:
        return tell_stats(server, client, reply);
    case WIRE_SHARED:
        return shared_open(server, client, request, ret_file);
    case WIRE_DROP:
        return shared_drop(server, client, request);
    default:
        return server_look(server, client, request, reply);
    }
}

const char *server_dispatch(struct server *server, struct client *client, const struct wire_request *request,
                            struct wire_reply *ret_reply, int *ret_file)
{
    *ret_file = -1;
    const char *reason = reason_against(request);
    if (reason != NULL)
        return reason;
    bool needs_no_heap = request->operation >= WIRE_SHARED;
    enum client_state wanted = request->operation == WIRE_OPEN || needs_no_heap ? CLIENT_NEW
                               : request->operation == WIRE_MAPPED              ? CLIENT_MAPPING
                                                                                : CLIENT_READY;
    if (client->state != wanted)
        return "sent a request out of turn";
    memset(ret_reply, 0, sizeof *ret_reply);
    int status = 0;
    if (!may_request(server, client->user))
        status = -EAGAIN;
    else if (forms[request->operation].writes && client->payload == NULL)
        status = -EROFS;
    else
        status = fulfil(server, client, request, ret_reply, ret_file);
    if (request->operation == WIRE_MAPPED && status != 0 && status != -EAGAIN)
        return "left its section in a state that cannot be sealed";
    if (status == 0 && (request->operation == WIRE_OPEN || request->operation == WIRE_SHARED))
        ret_reply->user = store_find(server, request->name)->user;
    server->counts.requests++;
    server->counts.requests_refused += status < 0;
    ret_reply->magic = SERVER_MAGIC;
    ret_reply->version = SERVER_VERSION;
    ret_reply->operation = request->operation;
    ret_reply->sequence = request->sequence;
    ret_reply->status = status;
    ret_reply->serial = client->store != NULL ? client->store->last_serial : 0;
    return NULL;
}

/* ---------------------------------------------------------------- leaving */

void server_part(struct server *server, struct client *client)
{
    (void)server;
    client->state = CLIENT_LEAVING;
    client->socket = -1;
    client->table.first_given = 0; /* from here on the list is the sweep's place in the table */
}

/* Returns how many entries were looked at; less than most: the client is gone. */
static uint32_t sweep_client(struct server *server, struct client *client, uint32_t most)
{
    struct table *table = &client->table;
    uint32_t done = 0;
    for (; done < most && table->first_given < table->capacity; done++) {
        uint32_t index = table->first_given++;
        if (table->entries[index].place != NULL)
            free_entry(table, table_handle(table, &table->entries[index]));
    }
    if (done == most)
        return done;
    struct store *store = client->store;
    if (store != NULL) {
        for (uint32_t i = 0; i < SERVER_ROOTS; i++) {
            if (store->roots[i].table == table)
                store->roots[i] = (struct root){0};
        }
        if (client->payload != NULL) {
            client->payload->has_writer = false;
            payload_settle(client->payload);
        }
        store->clients--;
        store_settle(server, store);
    }
    table_end(table);
    client->user->clients--;
    *client = (struct client){.number = client->number, .socket = -1};
    return done;
}

bool server_sweep(struct server *server)
{
    uint32_t left = SWEEP_AT_ONCE;
    for (uint64_t i = 0; i < server->config.clients_max && left > 0; i++) {
        if (server->clients[i].state == CLIENT_LEAVING)
            left -= sweep_client(server, &server->clients[i], left);
    }
    return left == 0;
}

int server_init(struct server *server, const struct server_config *config)
{
    *server = (struct server){.config = *config,
                              .user = process_user(),
                              .began_at = time_passed(),
                              .events = -1,
                              .spare = -1,
                              .stop = -1,
                              .reload = -1,
                              .listener = {.socket = -1}};
    server->clients = calloc(config->clients_max, sizeof *server->clients);
    if (server->clients == NULL)
        return -ENOMEM;
    for (uint64_t i = 0; i < config->clients_max; i++)
        server->clients[i] = (struct client){.number = (uint32_t)i + 1, .socket = -1};
    random_fill(&server->next_address, sizeof server->next_address);
    server->next_address =
        (UINT64_C(0x551000000000) + server->next_address % (UINT64_C(1) << 38)) & ~UINT64_C(0x3ffffff);
    return 0;
}

void server_end(struct server *server)
{
    for (uint64_t i = 0; i < server->config.clients_max; i++) {
        if (server->clients[i].state != CLIENT_NONE && server->clients[i].state != CLIENT_LEAVING)
            server_part(server, &server->clients[i]);
    }
    while (server_sweep(server))
        continue;
    while (server->stores != NULL)
        store_end_all(server, server->stores);
    while (server->users != NULL) {
        struct user *next = server->users->next;
        free(server->users);
        server->users = next;
    }
    free(server->clients);
    server->clients = NULL;
}
