/* SPDX-License-Identifier: MIT */
/*
 * look: what the server's keeper is told of it, for cairn(1). One thing in each reply, so that a server with many of
 * them is busy with none for long; what changes meanwhile is seen as it is when its turn comes.
 */
#include <errno.h>
#include <string.h>

#include "api/process.h"
#include "server/server.h"

bool server_is_keeper(const struct server *server, const struct client *client)
{
    return client->peer.user == server->user || client->peer.user == 0;
}

const struct entry *root_entry(const struct root *root)
{
    return root->table != NULL ? table_find(root->table, root->handle) : NULL;
}

static uint64_t address_of(const struct payload *payload)
{
    return (uintptr_t)payload->base + payload->units_offset;
}

/* ---------------------------------------------------------------- clients */

static int look_at_client(const struct server *server, const struct client *asks, uint64_t from,
                          struct wire_reply *reply)
{
    const struct server_config *config = &server->config;
    for (uint64_t i = from; i < config->clients_max; i++) {
        const struct client *client = &server->clients[i];
        if (client->state == CLIENT_NONE || client->state == CLIENT_LEAVING || client == asks)
            continue;
        const struct user *user = client->user;
        struct wire_seen_client *seen = &reply->client;
        *seen = (struct wire_seen_client){
            .number = client->number,
            .user = client->peer.user,
            .process = client->peer.process,
            .blocks = client->table.live,
            .has = {user->clients, user->sections, user->bytes, user->blocks},
            .most = {config->clients_per_user_max, config->sections_per_user_max, config->bytes_per_user_max,
                     config->blocks_per_user_max},
        };
        if (client->store != NULL)
            memcpy(seen->heap, client->store->name, sizeof seen->heap);
        if (client->payload != NULL) {
            seen->address = address_of(client->payload);
            seen->bytes = client->payload->bytes;
        }
        reply->number = (uint32_t)i + 1;
        return 0;
    }
    return -ENODATA;
}

/* ---------------------------------------------------------------- heaps */

static int look_at_heap(const struct server *server, const char *after, struct wire_reply *reply)
{
    const struct store *store = NULL;
    for (const struct store *s = server->stores; s != NULL; s = s->next) {
        if (strcmp(s->name, after) > 0 && (store == NULL || strcmp(s->name, store->name) < 0))
            store = s;
    }
    if (store == NULL)
        return -ENODATA;
    struct wire_seen_heap *seen = &reply->heap;
    *seen = (struct wire_seen_heap){
        .user = store->user,
        .access_count = store->access_count,
        .everyone = store->everyone,
        .clients = store->clients,
        .blocks_kept = store->table.live,
    };
    memcpy(seen->name, store->name, sizeof seen->name);
    for (const struct payload *payload = store->payloads; payload != NULL; payload = payload->next) {
        seen->sections++;
        seen->bytes += payload->bytes;
        seen->blocks += payload->blocks;
        seen->bytes_live += payload->bytes_live;
    }
    for (uint32_t i = 0; i < SERVER_ROOTS; i++)
        seen->roots += root_entry(&store->roots[i]) != NULL;
    struct file_status status = {0};
    if (store->file >= 0) {
        (void)file_status_get(store->file, &status);
        seen->shared_address = store->address;
        seen->shared_bytes = store->bytes;
        seen->shared_bytes_taken = status.bytes_taken;
    }
    return 0;
}

/* ---------------------------------------------------------------- what is in a heap */

static int look_at_section(const struct server *server, const struct store *store, uint64_t after,
                           struct wire_reply *reply)
{
    const struct payload *payload = NULL;
    for (const struct payload *p = store->payloads; p != NULL; p = p->next) {
        if (address_of(p) > after && (payload == NULL || address_of(p) < address_of(payload)))
            payload = p;
    }
    if (payload == NULL)
        return -ENODATA;
    struct wire_seen_section *seen = &reply->section;
    *seen = (struct wire_seen_section){
        .address = address_of(payload),
        .bytes = payload->bytes,
        .unit_bytes = UINT64_C(1) << payload->heap->core.section->unit_shift,
        .serial = payload->serial,
        .user = payload->user->id,
        .blocks = payload->blocks,
        .bytes_live = payload->bytes_live,
    };
    for (uint64_t i = 0; i < server->config.clients_max; i++) {
        if (server->clients[i].payload == payload)
            seen->client = server->clients[i].number;
    }
    return 0;
}

static int look_at_root(const struct server *server, const struct store *store, uint64_t from, struct wire_reply *reply)
{
    for (uint64_t i = from; i < SERVER_ROOTS; i++) {
        const struct root *root = &store->roots[i];
        const struct entry *entry = root_entry(root);
        if (entry == NULL)
            continue;
        struct wire_seen_root *seen = &reply->root;
        memcpy(seen->name, root->name, sizeof seen->name);
        seen->address = (uintptr_t)entry->place;
        seen->size = entry->size;
        for (uint64_t k = 0; k < server->config.clients_max; k++) {
            if (root->table == &server->clients[k].table)
                seen->client = server->clients[k].number;
        }
        reply->number = (uint32_t)i + 1;
        return 0;
    }
    return -ENODATA;
}

static int add_span(const cairn_span *span, void *arg)
{
    struct wire_reply *reply = arg;
    reply->spans[reply->number++] = (struct wire_seen_span){
        .address = (uintptr_t)span->address,
        .bytes = span->bytes,
        .block_bytes = span->block_bytes,
        .kind = span->kind,
        .blocks = span->blocks,
        .blocks_live = span->blocks_live,
    };
    return reply->number == WIRE_SPANS_MAX;
}

static int look_at_spans(const struct store *store, uint64_t from, struct wire_reply *reply)
{
    const struct payload *payload = store->payloads;
    while (payload != NULL && from - address_of(payload) >= payload->bytes)
        payload = payload->next;
    if (payload != NULL)
        (void)heap_spans_from(payload->heap, from - address_of(payload), add_span, reply);
    return reply->number != 0 ? 0 : -ENODATA;
}

int server_look(const struct server *server, const struct client *client, const struct wire_request *request,
                struct wire_reply *reply)
{
    if (!server_is_keeper(server, client))
        return -EACCES;
    if (request->operation == WIRE_LOOK_CLIENTS)
        return look_at_client(server, client, request->value, reply);
    if (request->operation == WIRE_LOOK_HEAPS)
        return look_at_heap(server, request->name, reply);
    if (request->operation == WIRE_LOOK_SERVER) {
        reply->server = server->counts;
        reply->server.milliseconds = time_passed() - server->began_at;
        return 0;
    }
    const struct store *store = store_find(server, request->name);
    if (store == NULL)
        return -ENOENT;
    if (request->operation == WIRE_LOOK_SECTIONS)
        return look_at_section(server, store, request->value, reply);
    if (request->operation == WIRE_LOOK_ROOTS)
        return look_at_root(server, store, request->value, reply);
    return look_at_spans(store, request->value, reply);
}
