/* SPDX-License-Identifier: MIT */
/* valid: whether a server's books are right; for tests. */
#include "server/server.h"

/* What is in the books, by owners, by payloads and by users: three ways to count the same. */
struct count {
    uint64_t owned;
    uint64_t owned_bytes;
    uint64_t blocks;
    uint64_t bytes_live;
    uint64_t bytes;
    uint64_t blocks_charged;
    uint64_t bytes_charged;
};

/* Those that were given away and not taken, and no others, are in the list. */
static bool list_valid(const struct table *table, uint64_t given)
{
    uint64_t listed = 0;
    for (uint32_t link = table->first_given; link != 0; link = table->entries[link - 1].next) {
        if (listed++ == given || link > table->capacity)
            return false;
        const struct entry *entry = &table->entries[link - 1];
        if (entry->place == NULL || !entry->is_given)
            return false;
    }
    return listed == given && (table->last_given == 0) == (given == 0);
}

/* is_leaving: the list is the sweep's place in the table. */
static bool table_valid(const struct table *table, bool is_leaving, struct count *count)
{
    uint64_t live = 0, given = 0;
    for (uint32_t i = 0; i < table->capacity; i++) {
        const struct entry *entry = &table->entries[i];
        if (entry->place == NULL)
            continue;
        live++;
        given += entry->is_given;
        count->owned_bytes += entry->size;
    }
    count->owned += live;
    return live == table->live && (is_leaving || list_valid(table, given));
}

/* It is there for its client, or for blocks. */
static bool payload_valid(const struct payload *payload, const struct store *store)
{
    if (payload->store != store || (!payload->has_writer && payload->blocks == 0))
        return false;
    return payload->is_sealed == (payload->serial != 0) && payload->serial <= store->last_serial;
}

/* It is there for clients, or for blocks, or it is a shared heap, which has neither. */
static bool store_valid(const struct store *store, struct count *count)
{
    if (store->file >= 0) {
        count->bytes += store->bytes;
        return store->clients == 0 && store->table.live == 0 && store->payloads == NULL;
    }
    if ((store->clients == 0 && store->table.live == 0) || !table_valid(&store->table, false, count))
        return false;
    for (const struct payload *payload = store->payloads; payload != NULL; payload = payload->next) {
        if (!payload_valid(payload, store))
            return false;
        count->blocks += payload->blocks;
        count->bytes_live += payload->bytes_live;
        count->bytes += payload->reserved_bytes;
    }
    return true;
}

bool server_valid(const struct server *server)
{
    struct count count = {0};
    for (uint64_t i = 0; i < server->config.clients_max; i++) {
        const struct client *client = &server->clients[i];
        if (!table_valid(&client->table, client->state == CLIENT_LEAVING, &count))
            return false;
    }
    for (const struct store *store = server->stores; store != NULL; store = store->next) {
        if (!store_valid(store, &count))
            return false;
    }
    for (const struct user *user = server->users; user != NULL; user = user->next) {
        if (user->blocks > server->config.blocks_per_user_max || user->bytes > server->config.bytes_per_user_max)
            return false;
        count.blocks_charged += user->blocks;
        count.bytes_charged += user->bytes;
    }
    return count.owned == count.blocks && count.owned == count.blocks_charged && count.bytes == count.bytes_charged &&
           count.owned_bytes == count.bytes_live;
}
