/* SPDX-License-Identifier: MIT */
/* valid: whether a server's books are right; for tests. */
#include "server/server.h"

/* The entries that are used are as many as the table says, and those that were given away and not taken are in the
 * list. */
static bool table_valid(const struct table *table)
{
    uint64_t live = 0, given = 0, listed = 0;
    for (uint32_t i = 0; i < table->capacity; i++) {
        const struct entry *entry = &table->entries[i];
        live += entry->place != NULL;
        given += entry->place != NULL && entry->is_given;
    }
    for (uint32_t link = table->first_given; link != 0 && listed <= given; link = table->entries[link - 1].next) {
        if (link > table->capacity || table->entries[link - 1].place == NULL || !table->entries[link - 1].is_given)
            return false;
        listed++;
    }
    return live == table->live && given == listed && (table->last_given == 0) == (given == 0);
}

/* A store is there for clients or blocks, a payload for its client or blocks. */
static bool store_valid(const struct store *store, uint64_t *blocks, uint64_t *bytes)
{
    bool is = table_valid(&store->table) && (store->clients != 0 || store->table.live != 0);
    for (const struct payload *payload = store->payloads; payload != NULL; payload = payload->next) {
        is = is && payload->store == store && (payload->has_writer || payload->blocks != 0) &&
             payload->is_sealed == (payload->serial != 0) && payload->serial <= store->last_serial;
        *blocks += payload->blocks;
        *bytes += payload->reserved_bytes;
    }
    return is;
}

bool server_valid(const struct server *server)
{
    uint64_t owned = 0, blocks = 0, bytes = 0, charged = 0, bytes_charged = 0;
    bool is = true;
    for (uint64_t i = 0; i < server->config.clients_max; i++) {
        const struct client *client = &server->clients[i];
        is = is && (client->state == CLIENT_LEAVING || table_valid(&client->table));
        owned += client->table.live;
    }
    for (const struct store *store = server->stores; store != NULL; store = store->next) {
        is = is && store_valid(store, &blocks, &bytes);
        owned += store->table.live;
    }
    for (const struct user *user = server->users; user != NULL; user = user->next) {
        is = is && user->blocks <= server->config.blocks_per_user_max &&
             user->bytes <= server->config.bytes_per_user_max;
        charged += user->blocks;
        bytes_charged += user->bytes;
    }
    return is && owned == blocks && owned == charged && bytes == bytes_charged;
}
