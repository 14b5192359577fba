/* SPDX-License-Identifier: MIT */
/*
 * server: whatever three clients of two users send, in whatever order, the server answers or drops who sent it; its
 * books are right after each request, and nothing is left when all have gone.
 *
 *     a step    byte: 0..7 which client; bits 3..7 the operation, 31: the client leaves
 *               byte: bit 0: the name's first byte, 1: flags, 2: value, 3: words follow; 4: words are handles that were
 *               told before; 5: a byte of the message is changed
 *               what follows is taken as it is
 */
#include "fuzz.h"

#include <string.h>

#include "server/server.h"

enum { CLIENTS = 3, HANDLES = 64, STEPS = 400 };

static uint64_t handles[HANDLES];
static uint64_t messages; /* of all inputs */

/* For fuzz/run, which an input tells nothing of how many messages it was. */
static void tell_messages(void)
{
    fprintf(stderr, "stat::messages: %llu\n", (unsigned long long)messages);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return -atexit(tell_messages);
}

static struct client *admit(struct server *server, uint32_t user)
{
    int status;
    struct socket_peer peer = {.user = process_user() + user};
    struct client *client = server_admit(server, -1, &peer, &status);
    REQUIRE(client != NULL || status < 0);
    return client;
}

static void make_request(struct input *input, struct wire_request *request)
{
    unsigned what = (unsigned)input_take(input, 1);
    if ((what & 1) != 0)
        request->name[0] = (char)input_take(input, 1);
    if ((what & 2) != 0)
        request->flags = input_take(input, 1);
    if ((what & 4) != 0)
        request->value = input_take(input, 1) << input_take(input, 1) % 64;
    if ((what & 8) != 0) {
        request->count = (uint32_t)input_take(input, 1);
        for (uint32_t i = 0; i < request->count && i < CAIRN_BATCH_MAX; i++) {
            uint64_t word = input_take(input, 2);
            request->words[i] = (what & 16) != 0 ? handles[word % HANDLES] : word << word % 20;
        }
    }
    if ((what & 32) != 0) {
        uint64_t offset = input_take(input, 2) % sizeof *request;
        ((unsigned char *)request)[offset] ^= (unsigned char)input_take(input, 1);
    }
}

static void leave(struct server *server, struct client **client)
{
    server_part(server, *client);
    *client = NULL;
    while (server_sweep(server))
        continue;
}

static void take_step(struct server *server, struct client **clients, struct input *input)
{
    static struct wire_reply reply;
    unsigned head = (unsigned)input_take(input, 1);
    struct client **client = &clients[head % 8 % CLIENTS];
    if (*client == NULL)
        *client = admit(server, (uint32_t)(client - clients) / 2);
    if (*client == NULL)
        return;
    if (head >> 3 == 31) {
        leave(server, client);
        return;
    }
    struct wire_request request = {.magic = SERVER_MAGIC, .version = SERVER_VERSION, .operation = head >> 3};
    make_request(input, &request);
    int file = -1;
    messages++;
    const char *reason = server_dispatch(server, *client, &request, &reply, &file);
    REQUIRE(reason == NULL || file < 0);
    if (reason != NULL) {
        leave(server, client);
    } else {
        REQUIRE(reply.status <= 0 && reply.count <= CAIRN_BATCH_MAX && (reply.status == 0 || file < 0));
        for (uint32_t i = 0; i < reply.count; i++)
            handles[(reply.blocks[i].handle ^ i) % HANDLES] = reply.blocks[i].handle;
        handles[0] = (*client)->number;
    }
    file_close(file);
    REQUIRE(server_valid(server));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {data, bytes};
    static struct server server;
    struct server_config config;
    config_defaults(&config);
    config.everyone = true;
    config.clients_max = CLIENTS + 1;
    config.clients_per_user_max = 2;
    config.blocks_per_user_max = 100;
    config.bytes_per_user_max = UINT64_C(16) << 20;
    config.block_bytes_max = UINT64_C(1) << 20;
    REQUIRE(server_init(&server, &config) == 0);
    memset(handles, 0, sizeof handles);
    struct client *clients[CLIENTS] = {NULL};
    for (int i = 0; i < STEPS && !input_is_over(&input); i++)
        take_step(&server, clients, &input);
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i] != NULL)
            leave(&server, &clients[i]);
    }
    REQUIRE(server_valid(&server));
    for (const struct store *store = server.stores; store != NULL; store = store->next)
        REQUIRE(store->clients == 0 && (store->table.live != 0 || store->file >= 0)); /* what was handed over to it */
    server_end(&server);
    return 0;
}
