/* SPDX-License-Identifier: MIT */
/*
 * shared: shared heaps in memory files. The server makes one, keeps its descriptor, and hands it to those whom the
 * heap's list names; what they do with each other in it is their own affair. The server has no view of it: what is
 * written there it never sees. That nobody takes more memory than was granted is the kernel's work (F_SEAL_GROW), and
 * so is the list: it is the file's, too, by which a client opens the file again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/process.h"
#include "server/server.h"

/*
 * What a client may do: 0 nothing, 1 read, 2 write. As the kernel does: an entry of the user counts before groups. It
 * has to be the kernel's answer, for a client that writes opens the file again, by the file's list, and a right that
 * this function gave and the file does not would end there as an error without a name. The server's keepers may look:
 * they get a descriptor for reading, which asks no list.
 */
static int rights(const struct server *server, const struct client *client, const struct store *store)
{
    if (client->peer.user == store->user)
        return 2;
    int found = store->everyone || server_is_keeper(server, client) ? 1 : 0;
    for (uint32_t i = 0; i < store->access_count; i++) {
        uint32_t id = (uint32_t)store->access[i];
        int right = (store->access[i] & WIRE_MAY_WRITE) != 0 ? 2 : 1;
        if ((store->access[i] & WIRE_IS_GROUP) == 0 && id == client->peer.user)
            return right;
        if (right > found && (store->access[i] & WIRE_IS_GROUP) != 0 && socket_peer_is_in(client->socket, &id, 1))
            found = right;
    }
    return found;
}

/* Each user and group once, with the most that the list allows it; then there is no question of their order. */
static void merge(struct store *store)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < store->access_count; i++) {
        uint32_t k = 0;
        while (k < count && ((store->access[k] ^ store->access[i]) & ~WIRE_MAY_WRITE) != 0)
            k++;
        store->access[k] = k < count ? store->access[k] | store->access[i] : store->access[i];
        count += k == count;
    }
    store->access_count = count;
}

/* The store's list, and its maker, to whom the file does not belong. */
static uint32_t list_for_file(const struct server *server, const struct store *store, cairn_access *ret_list)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < store->access_count; i++) {
        uint32_t id = (uint32_t)store->access[i];
        bool is_group = (store->access[i] & WIRE_IS_GROUP) != 0;
        if (is_group || id != store->user)
            ret_list[count++] = (cairn_access){id, is_group, (store->access[i] & WIRE_MAY_WRITE) != 0};
    }
    if (store->user != server->user)
        ret_list[count++] = (cairn_access){.id = store->user, .may_write = true};
    return count;
}

/* Two heaps of one server never lie in each other's way. */
static uint64_t pass_others(void *arg, uint64_t begin, uint64_t end)
{
    const struct server *server = arg;
    uint64_t pass_to = 0;
    for (const struct store *store = server->stores; store != NULL; store = store->next) {
        if (store->file >= 0 && begin < store->address + store->bytes && store->address < end)
            pass_to = max_u64(pass_to, store->address + store->bytes);
    }
    return pass_to;
}

static int make_file(struct server *server, struct store *store, uint64_t bytes)
{
    cairn_access list[CAIRN_CLIENT_ACCESS_MAX + 1];
    cairn_options options = {
        .size = sizeof options,
        .name = store->name,
        .bytes_max = bytes,
        .mode = 0600, /* who only reads needs no more than a descriptor */
        .access = list,
        .access_count = list_for_file(server, store, list),
    };
    struct heap_neighbours neighbours = {pass_others, server};
    return heap_make_memory(NULL, &store->file, &store->address, &options, &neighbours);
}

static int make(struct server *server, const struct client *client, const struct wire_request *request,
                struct store **ret_store)
{
    const struct server_config *config = &server->config;
    struct user *user = client->user;
    uint64_t bytes = request->value;
    if (bytes < SECTION_BYTES_MIN || bytes > config->section_bytes_max || bytes % platform_page_size() != 0)
        return -EINVAL;
    if (user->sections >= config->sections_per_user_max || bytes > config->bytes_per_user_max - user->bytes)
        return -EDQUOT;
    struct store *store = store_make(server, client, request);
    if (store == NULL)
        return -ENOMEM;
    merge(store);
    int error = make_file(server, store, bytes);
    if (error < 0) {
        store_settle(server, store);
        return error == -ENFILE ? -EMFILE : error;
    }
    store->charged = user;
    store->bytes = bytes;
    user->sections++;
    user->bytes += bytes;
    *ret_store = store;
    return 0;
}

void shared_end(struct server *server, struct store *store)
{
    file_close(store->file);
    store->file = -1;
    store->charged->sections--;
    store->charged->bytes -= store->bytes;
    store_settle(server, store);
}

int shared_open(struct server *server, const struct client *client, const struct wire_request *request, int *ret_file)
{
    bool is_read_only = (request->flags & CAIRN_CLIENT_READ_ONLY) != 0;
    struct store *store = store_find(server, request->name);
    if (!access_is_good(request))
        return -EINVAL;
    if (store != NULL && store->file < 0)
        return -EEXIST;
    if (store == NULL && (request->flags & CAIRN_CLIENT_CREATE) == 0)
        return -ENOENT;
    if (store != NULL && rights(server, client, store) < (is_read_only ? 1 : 2))
        return -EACCES;
    int error = store == NULL ? make(server, client, request, &store) : 0;
    if (error < 0)
        return error;
    /* A description of each client's own. */
    error = is_read_only ? file_reopen_read_only(ret_file, store->file) : file_reopen(ret_file, store->file);
    return error < 0 ? -EMFILE : 0;
}

int shared_drop(struct server *server, const struct client *client, const struct wire_request *request)
{
    struct store *store = store_find(server, request->name);
    if (store == NULL)
        return -ENOENT;
    if (store->file < 0)
        return -EEXIST;
    if (client->peer.user != store->user && !server_is_keeper(server, client))
        return -EACCES;
    shared_end(server, store);
    return 0;
}
