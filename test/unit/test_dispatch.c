/* SPDX-License-Identifier: MIT */
/*
 * The server's dispatcher, without sockets: a million messages, times CAIRN_ROUNDS, of which most are nearly right, by
 * clients of two users who come and go; and what cannot be had.
 */
#include "support/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server/server.h"
#include "support/random.h"

#if defined(__SANITIZE_THREAD__) /* which finds nothing in one thread, and takes ten times as long */
enum { MESSAGES = 100000 };
#else
enum { MESSAGES = 1000000 };
#endif
enum { SECONDS = 100 };
enum { CLIENTS = 6, HANDLES = 16, CHECK_EVERY = 8, MESSAGES_OF_ONE = 2000 };

/* ---------------------------------------------------------------- what is not to be had */

/* How many calls still succeed before one fails; others follow it, which succeed. */
static uint64_t callocs_left = UINT64_MAX, reallocs_left = UINT64_MAX, reserves_left = UINT64_MAX,
                commits_left = UINT64_MAX, file_commits_left = UINT64_MAX, stats_left = UINT64_MAX;
static int file_error; /* 0, or what making a file fails with */

void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

void *__wrap_calloc(size_t count, size_t bytes)
{
    return callocs_left-- == 0 ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return reallocs_left-- == 0 ? NULL : __real_realloc(old, bytes);
}

int __real_memory_reserve_at(void *address, size_t bytes);
int __real_memory_commit(void *address, size_t bytes);
int __real_file_commit(int file, uint64_t offset, uint64_t bytes);
int __real_file_create_anonymous(int *ret_file, const char *label);
int __real_cairn_stats_get(cairn_heap *heap, cairn_stats *ret_stats);
int __wrap_cairn_stats_get(cairn_heap *heap, cairn_stats *ret_stats);
int __wrap_memory_reserve_at(void *address, size_t bytes);
int __wrap_memory_commit(void *address, size_t bytes);
int __wrap_file_commit(int file, uint64_t offset, uint64_t bytes);
int __wrap_file_create_anonymous(int *ret_file, const char *label);

int __wrap_memory_reserve_at(void *address, size_t bytes)
{
    return reserves_left-- == 0 ? -ENOMEM : __real_memory_reserve_at(address, bytes);
}

int __wrap_memory_commit(void *address, size_t bytes)
{
    return commits_left-- == 0 ? -ENOMEM : __real_memory_commit(address, bytes);
}

int __wrap_file_commit(int file, uint64_t offset, uint64_t bytes)
{
    return file_commits_left-- == 0 ? -ENOMEM : __real_file_commit(file, offset, bytes);
}

int __wrap_cairn_stats_get(cairn_heap *heap, cairn_stats *ret_stats)
{
    return stats_left-- == 0 ? -EUCLEAN : __real_cairn_stats_get(heap, ret_stats);
}

int __wrap_file_create_anonymous(int *ret_file, const char *label)
{
    return file_error != 0 ? file_error : __real_file_create_anonymous(ret_file, label);
}

/* As ck_assert, for what is asked a million times: Check sends a word to its parent for each that holds. */
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg("not true: %s", #condition);                                                                  \
    } while (0)

/* ---------------------------------------------------------------- a server without sockets */

static struct server server;
static struct wire_request request;
static struct wire_reply reply;
static const char *reason; /* of the last request */

static void begin(struct server_config *config)
{
    config->everyone = true;
    callocs_left = reallocs_left = reserves_left = commits_left = file_commits_left = UINT64_MAX;
    stats_left = UINT64_MAX;
    ck_assert_int_eq(server_init(&server, config), 0);
}

static struct server_config small_config(void)
{
    struct server_config config;
    config_defaults(&config);
    config.clients_max = CLIENTS;
    config.clients_per_user_max = 4;
    config.blocks_per_user_max = 100;
    config.bytes_per_user_max = UINT64_C(8) << 20;
    config.block_bytes_max = UINT64_C(1) << 20;
    config.requests_per_second_max = 1000000000;
    return config;
}

static void sweep(void)
{
    while (server_sweep(&server))
        continue;
}

static void end(void)
{
    server_end(&server);
    ck_assert_ptr_null(server.stores);
    ck_assert_ptr_null(server.users);
}

static struct client *admit(uint32_t user)
{
    int status = 1;
    struct socket_peer peer = {.user = process_user() + user};
    struct client *client = server_admit(&server, -1, &peer, &status);
    REQUIRE((client != NULL) == (status == 0));
    return client;
}

static struct wire_request *ask_for(enum wire_operation operation)
{
    request = (struct wire_request){.magic = SERVER_MAGIC, .version = SERVER_VERSION, .operation = operation};
    return &request;
}

/* The status; 1: a reason to drop the client. */
static int dispatch(struct client *client)
{
    int file = -1;
    reason = server_dispatch(&server, client, &request, &reply, &file);
    REQUIRE(reason == NULL || file < 0);
    if (reason == NULL) {
        REQUIRE(reply.status <= 0 && reply.count <= CAIRN_BATCH_MAX && (reply.status == 0 || file < 0));
        REQUIRE(reply.sequence == request.sequence && reply.operation == request.operation);
    }
    file_close(file);
    return reason != NULL ? 1 : reply.status;
}

static int open_heap(struct client *client, const char *name, uint64_t flags, uint64_t bytes)
{
    ask_for(WIRE_OPEN)->flags = flags;
    strcpy(request.name, name);
    request.value = bytes;
    return dispatch(client);
}

static int ask(struct client *client, enum wire_operation operation)
{
    ask_for(operation);
    return dispatch(client);
}

static int ask_word(struct client *client, enum wire_operation operation, uint64_t word, uint64_t value)
{
    ask_for(operation)->count = 1;
    request.words[0] = word;
    request.value = value;
    return dispatch(client);
}

static int ask_root(struct client *client, enum wire_operation operation, const char *name, uint64_t word)
{
    ask_for(operation)->count = operation == WIRE_ROOT_SET;
    strcpy(request.name, name);
    request.words[0] = word;
    return dispatch(client);
}

static struct client *writer(uint32_t user, const char *heap)
{
    struct client *client = admit(user);
    ck_assert_ptr_nonnull(client);
    ck_assert_int_eq(open_heap(client, heap, CAIRN_CLIENT_CREATE, 1 << 20), 0);
    ck_assert_int_eq(ask(client, WIRE_MAPPED), 0);
    return client;
}

static uint64_t alloc(struct client *client, uint64_t size)
{
    ck_assert_int_eq(ask_word(client, WIRE_ALLOC, size, 0), 0);
    return reply.blocks[0].handle;
}

/* ---------------------------------------------------------------- many messages */

static uint64_t handles[CLIENTS][HANDLES]; /* that were told to each, or to who had its place before */

static void make_open(struct random *random)
{
    static const char *const heaps[] = {"a", "b", "c"};
    strcpy(request.name, heaps[random_below(random, 3)]);
    request.flags = (random_below(random, 8) != 0 ? CAIRN_CLIENT_CREATE : 0) |
                    (random_below(random, 6) == 0 ? CAIRN_CLIENT_READ_ONLY : 0) |
                    (random_below(random, 2) != 0 ? CAIRN_CLIENT_EVERYONE : 0);
    request.value = (request.flags & CAIRN_CLIENT_READ_ONLY) != 0 ? 0 : UINT64_C(1) << (20 + random_below(random, 2));
    request.count = (uint32_t)random_below(random, 3);
    for (uint32_t i = 0; i < request.count; i++)
        request.words[i] = (process_user() + random_below(random, 2)) | random_below(random, 4) << 32;
}

/* Of the names two are of heaps of clients as well. */
static void make_shared(struct random *random)
{
    static const char *const heaps[] = {"b", "c", "d", "e"};
    strcpy(request.name, heaps[random_below(random, 4)]);
    if (request.operation == WIRE_DROP)
        return;
    request.flags = (random_below(random, 4) != 0 ? CAIRN_CLIENT_CREATE : 0) |
                    (random_below(random, 3) == 0 ? CAIRN_CLIENT_READ_ONLY : 0) |
                    (random_below(random, 2) != 0 ? CAIRN_CLIENT_EVERYONE : 0);
    request.value = UINT64_C(1) << (20 + random_below(random, 2));
    request.count = (uint32_t)random_below(random, 3);
    for (uint32_t i = 0; i < request.count; i++)
        request.words[i] = (process_user() + random_below(random, 2)) | random_below(random, 4) << 32;
}

/* A handle that its owner may use, when there is one; else one that was told to somebody once. */
static uint64_t pick_handle(struct random *random, const struct client *client, const struct table *table)
{
    uint64_t begin = table->capacity != 0 ? random_below(random, table->capacity) : 0;
    for (uint64_t i = begin; i < table->capacity && random_below(random, 32) != 0; i++) {
        if (table->entries[i].place != NULL && !table->entries[i].is_given)
            return table_handle(table, &table->entries[i]);
    }
    uint64_t whose = random_below(random, 4) == 0 ? random_below(random, CLIENTS) : (uint64_t)(client - server.clients);
    return handles[whose][random_below(random, HANDLES)];
}

/* A request that its client may make, mostly. */
static void make_request(struct random *random, const struct client *client)
{
    static const char *const roots[] = {"x", "y", "z"};
    uint32_t operation = client->state == CLIENT_NEW && random_below(random, 2) == 0
                             ? WIRE_SHARED + (uint32_t)random_below(random, 8)
                         : client->state == CLIENT_NEW     ? WIRE_OPEN
                         : client->state == CLIENT_MAPPING ? WIRE_MAPPED
                                                           : WIRE_ALLOC + (uint32_t)random_below(random, 10);
    ask_for(operation)->sequence = random_next(random);
    if (operation == WIRE_OPEN)
        make_open(random);
    if (operation == WIRE_SHARED || operation == WIRE_DROP)
        make_shared(random);
    if (operation == WIRE_ROOT_SET || operation == WIRE_ROOT_GET)
        strcpy(request.name, roots[random_below(random, 3)]);
    if (operation >= WIRE_LOOK_HEAPS && operation != WIRE_LOOK_SERVER)
        strcpy(request.name, random_below(random, 2) != 0 ? "a" : "b");
    if (operation == WIRE_LOOK_SPANS && server.stores != NULL && server.stores->payloads != NULL) {
        memcpy(request.name, server.stores->name, sizeof request.name);
        request.value = (uintptr_t)server.stores->payloads->base + random_below(random, 1 << 20);
    }
    if (operation == WIRE_EXPAND)
        request.value = random_size(random, 1 << 21);
    if (operation == WIRE_GIVE)
        request.value = random_below(random, 3) == 0 ? 0 : server.clients[random_below(random, CLIENTS)].number;
    if (operation == WIRE_SECTION)
        request.value = random_below(random, 10);
    if (operation == WIRE_ALLOC || operation == WIRE_FREE)
        request.count = 1 + (uint32_t)random_below(random, random_below(random, 8) == 0 ? CAIRN_BATCH_MAX : 3);
    if (operation >= WIRE_EXPAND && operation <= WIRE_ROOT_SET && operation != WIRE_TAKE)
        request.count = 1;
    const struct table *table = operation == WIRE_TAKE_BACK ? &client->store->table : &client->table;
    for (uint32_t i = 0; i < request.count && operation != WIRE_OPEN && operation != WIRE_SHARED; i++)
        request.words[i] = operation == WIRE_ALLOC ? random_size(random, 1 << 14) : pick_handle(random, client, table);
}

static void spoil(struct random *random)
{
    for (uint64_t i = random_below(random, 4); i > 0; i--)
        ((unsigned char *)&request)[random_below(random, sizeof request)] ^= (unsigned char)random_next(random);
    if (random_below(random, 4) == 0)
        request.operation = (uint32_t)random_below(random, WIRE_OPERATIONS + 1);
    if (random_below(random, 4) == 0)
        request.count = (uint32_t)random_below(random, CAIRN_BATCH_MAX + 2);
}

static uint64_t sent, fulfilled[WIRE_OPERATIONS], dropped, refused;

static void tell(struct random *random, struct client **client)
{
    make_request(random, *client);
    if (random_below(random, 128) == 0)
        spoil(random);
    int status = dispatch(*client);
    sent++;
    refused += status < 0;
    dropped += status == 1;
    if (status == 0)
        fulfilled[request.operation]++;
    for (uint32_t k = 0; status == 0 && k < reply.count && request.operation < WIRE_STATS; k++)
        handles[*client - server.clients][random_below(random, HANDLES)] = reply.blocks[k].handle;
    if (status == 1 || random_below(random, 512) == 0) {
        server_part(&server, *client);
        *client = NULL;
        if (random_below(random, 2) == 0)
            sweep();
    }
}

/* A server's life; what was handed over to heaps, and nobody takes, fills it in the end. */
static void live(struct random *random)
{
    struct server_config config = small_config();
    struct client *clients[CLIENTS] = {NULL};
    begin(&config);
    for (uint64_t i = 0; i < MESSAGES_OF_ONE; i++) {
        struct client **client = &clients[random_below(random, CLIENTS)];
        if (*client == NULL)
            *client = admit((uint32_t)random_below(random, 2));
        if (*client != NULL)
            tell(random, client);
        if (i % CHECK_EVERY == 0)
            REQUIRE(server_valid(&server));
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        if (clients[i] != NULL)
            server_part(&server, clients[i]);
    }
    sweep();
    ck_assert(server_valid(&server));
    for (const struct store *store = server.stores; store != NULL; store = store->next)
        ck_assert(store->clients == 0 && (store->table.live != 0 || store->file >= 0)); /* what was handed over to it */
    end();
}

START_TEST(many_messages_leave_the_books_right)
{
    struct random random = random_begin(random_seed("messages", 1));
    uint64_t messages = random_rounds(MESSAGES);
    clock_t began_at = clock();
    while (sent < messages)
        live(&random);
    printf("%llu messages in %.1f s of the processor: %llu refused, %llu a reason to be dropped; fulfilled:",
           (unsigned long long)sent, (double)(clock() - began_at) / CLOCKS_PER_SEC, (unsigned long long)refused,
           (unsigned long long)dropped);
    for (uint32_t i = WIRE_OPEN; i < WIRE_OPERATIONS; i++)
        printf(" %llu", (unsigned long long)fulfilled[i]);
    printf("\n");
    fflush(stdout);
    for (uint32_t i = WIRE_OPEN; i < WIRE_OPERATIONS; i++)
        ck_assert_uint_gt(fulfilled[i], messages / 20000); /* else they are not nearly right */
    ck_assert_uint_gt(dropped, messages / 1000);
}
END_TEST

/* ---------------------------------------------------------------- who may come in */

START_TEST(who_comes_in_is_on_a_list)
{
    struct server_config config = small_config();
    int sockets[2], status;
    struct socket_peer own, stranger = {.user = 4242};
    begin(&config);
    server.config.everyone = false;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    ck_assert_int_eq(socket_peer_get(sockets[0], &own), 0);
    ck_assert_ptr_nonnull(server_admit(&server, sockets[0], &own, &status)); /* the server's own user */
    ck_assert_ptr_null(server_admit(&server, sockets[0], &stranger, &status));
    ck_assert_int_eq(status, -EACCES);
    server.config.users[0] = 1;
    server.config.users[1] = 4242;
    server.config.users_count = 2;
    ck_assert_ptr_nonnull(server_admit(&server, sockets[0], &stranger, &status));
    server.config.users_count = 1;
    server.config.groups[0] = own.group;
    server.config.groups_count = 1;
    ck_assert_ptr_nonnull(server_admit(&server, sockets[0], &stranger, &status)); /* by the group of the socket */
    server.config.groups[0] = own.group + 1000000;
    ck_assert_ptr_null(server_admit(&server, sockets[0], &stranger, &status));
    end();
    close(sockets[0]);
    close(sockets[1]);
}
END_TEST

START_TEST(connections_are_counted)
{
    struct server_config config = small_config();
    int status;
    begin(&config);
    for (int i = 0; i < 4; i++)
        ck_assert_ptr_nonnull(admit(0));
    ck_assert_ptr_null(admit(0)); /* of one user */
    struct client *last = admit(1);
    ck_assert_ptr_nonnull(last);
    struct socket_peer peer = {.user = process_user() + 2};
    callocs_left = 0;
    ck_assert_ptr_null(server_admit(&server, -1, &peer, &status));
    ck_assert_int_eq(status, -EDQUOT); /* no memory for a user */
    callocs_left = UINT64_MAX;
    ck_assert_ptr_nonnull(admit(1));
    ck_assert_ptr_null(server_admit(&server, -1, &peer, &status)); /* of all */
    ck_assert_int_eq(status, -EDQUOT);
    uint32_t number = last->number;
    server_part(&server, last);
    ck_assert(!server_sweep(&server));
    last = admit(2);
    ck_assert_ptr_nonnull(last);
    ck_assert_uint_ne(last->number, number); /* the place is the same */
    ck_assert(server_valid(&server));
    end();
}
END_TEST

/* A user who has nothing any more makes room for another, but not before its second of requests is over. */
START_TEST(who_has_gone_is_forgotten)
{
    struct server_config config = small_config();
    begin(&config);
    struct client *client = writer(0, "a");
    server_part(&server, client);
    sweep();
    (void)admit(1);
    ck_assert(server.users->next != NULL);
    server.users->next->second_began_at -= 2000;
    (void)admit(2);
    ck_assert(server.users->next->next == NULL);
    end();
}
END_TEST

START_TEST(requests_of_a_second_are_counted)
{
    struct server_config config = small_config();
    config.requests_per_second_max = 3;
    begin(&config);
    struct client *client = admit(0);
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, 1 << 20), 0);
    client->user->requests = 0;
    ck_assert_int_eq(ask(client, WIRE_MAPPED), -EAGAIN); /* and may be asked again */
    client->user->second_began_at -= 1000;
    ck_assert_int_eq(ask(client, WIRE_MAPPED), 0);
    end();
}
END_TEST

/* ---------------------------------------------------------------- what is no request */

START_TEST(each_wrong_field_is_a_reason)
{
    struct server_config config = small_config();
    begin(&config);
    struct client *client = admit(0);
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE | CAIRN_CLIENT_READ_ONLY, 0), 0);
    for (int i = 0; i < 14; i++) {
        ask_for(WIRE_STATS);
        switch (i) {
        case 0:
            request.magic++;
            break;
        case 1:
            request.version++;
            break;
        case 2:
            request.operation = 0;
            break;
        case 3:
            request.operation = WIRE_OPERATIONS;
            break;
        case 4:
            request.name[0] = 'x';
            break;
        case 5:
            request.operation = WIRE_ROOT_GET; /* without a name */
            break;
        case 6:
            request.reserved = 1;
            break;
        case 7:
            request.flags = 1;
            break;
        case 8:
            request.value = 1;
            break;
        case 9:
            request.count = 1;
            break;
        case 10:
            request.operation = WIRE_ALLOC; /* of nothing */
            break;
        case 11:
            request.words[CAIRN_BATCH_MAX - 1] = 1;
            break;
        case 12:
            request.operation = WIRE_MAPPED; /* out of turn */
            break;
        default:
            break; /* as it should be */
        }
        ck_assert_int_eq(dispatch(client), i == 13 ? 0 : 1);
        ck_assert(i == 13 || strlen(reason) > 5);
    }
    end();
}
END_TEST

START_TEST(names_are_of_printable_bytes)
{
    struct server_config config = small_config();
    begin(&config);
    struct client *client = writer(0, "a");
    static const char *const wrong[] = {"", " ", "a b", "a/", "\x7f", "\x80", "\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        ck_assert_int_eq(ask_root(client, WIRE_ROOT_GET, wrong[i], 0), 1);
    ask_for(WIRE_ROOT_GET);
    memset(request.name, 'a', sizeof request.name);
    ck_assert_int_eq(dispatch(client), 1); /* has no end */
    request.name[WIRE_NAME_BYTES - 1] = '\0';
    ck_assert_int_eq(dispatch(client), -ENOENT);
    request.name[5] = '\0';
    ck_assert_int_eq(dispatch(client), 1); /* goes on behind its end */
    end();
}
END_TEST

/* ---------------------------------------------------------------- heaps and sections */

START_TEST(a_heap_is_opened_by_who_may)
{
    struct server_config config = small_config();
    int sockets[2], status;
    struct socket_peer own;
    begin(&config);
    struct client *client = admit(0);
    ck_assert_int_eq(open_heap(client, "a", 0, 1 << 20), -ENOENT);
    ask_for(WIRE_OPEN)->count = 1;
    strcpy(request.name, "a");
    request.words[0] = UINT64_C(1) << 40;
    ck_assert_int_eq(dispatch(client), -EINVAL);
    request.flags = CAIRN_CLIENT_CREATE;
    request.value = 1 << 20;
    request.count = 4;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    ck_assert_int_eq(socket_peer_get(sockets[0], &own), 0);
    request.words[0] = process_user() + 1; /* may read */
    request.words[1] = (process_user() + 2) | WIRE_MAY_WRITE;
    request.words[2] = process_user() + 2; /* what allows most counts */
    request.words[3] = own.group | WIRE_IS_GROUP;
    callocs_left = 0;
    ck_assert_int_eq(dispatch(client), -ENOMEM);
    ck_assert_int_eq(dispatch(client), 0);
    struct client *reader = admit(1);
    ck_assert_int_eq(open_heap(reader, "a", 0, 1 << 20), -EACCES);
    ck_assert_int_eq(open_heap(reader, "a", CAIRN_CLIENT_READ_ONLY, 0), 0);
    ck_assert_int_eq(ask(reader, WIRE_SECTION), -ENODATA); /* not sealed */
    ck_assert_int_eq(ask_word(reader, WIRE_ALLOC, 1, 0), -EROFS);
    ck_assert_int_eq(open_heap(admit(2), "a", 0, 1 << 20), 0);
    struct socket_peer stranger = {.user = process_user() + 3};
    struct client *member = server_admit(&server, sockets[0], &stranger, &status);
    ck_assert_int_eq(open_heap(member, "a", CAIRN_CLIENT_READ_ONLY, 0), 0); /* by its group */
    ck_assert_int_eq(open_heap(admit(4), "a", CAIRN_CLIENT_READ_ONLY, 0), -EACCES);
    ck_assert_int_eq(ask(client, WIRE_MAPPED), 0);
    ck_assert_int_eq(ask(reader, WIRE_SECTION), 0);
    end();
    close(sockets[0]);
    close(sockets[1]);
}
END_TEST

/* Lets so many more descriptors be opened. */
static void limit_descriptors(int more)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int next = dup(0);
    ck_assert_int_ge(next, 0);
    close(next);
    if (more >= 0)
        limit.rlim_cur = (rlim_t)(next + more);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Lets each step of making a section fail in turn. Returns how many there are. */
static uint64_t fail_each(struct client *client, uint64_t *left)
{
    uint64_t steps = 0;
    for (; steps < 100; steps++) {
        *left = steps;
        int error = open_heap(client, "a", CAIRN_CLIENT_CREATE, 1 << 20);
        *left = UINT64_MAX;
        if (error == 0)
            break;
        ck_assert_int_eq(error, -ENOMEM);
        ck_assert_ptr_null(server.stores); /* nothing is left of all that */
        ck_assert(server_valid(&server));
    }
    client->state = CLIENT_READY;
    server_part(&server, client);
    sweep();
    ck_assert_ptr_eq(admit(0), client); /* the same place */
    return steps;
}

START_TEST(a_section_that_cannot_be_had_is_an_error)
{
    struct server_config config = small_config();
    config.sections_per_user_max = 3;
    begin(&config);
    struct client *client = admit(0);
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, (1 << 20) - 4096), -EINVAL);
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, (1 << 20) + 1), -EINVAL);
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, UINT64_C(1) << 50), -EINVAL);
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, 9 << 20), -EDQUOT);
    callocs_left = 1;
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, 1 << 20), -ENOMEM);
    callocs_left = UINT64_MAX;
    limit_descriptors(0);
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, 1 << 20), -EMFILE);
    limit_descriptors(1); /* for the file, and not for the client's own of it */
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, 1 << 20), -EMFILE);
    limit_descriptors(-1);
    file_error = -ENFILE;
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, 1 << 20), -EMFILE);
    file_error = 0;
    reserves_left = 0;
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, 1 << 20), -ENOMEM);
    ck_assert_uint_gt(fail_each(client, &commits_left), 0);
    ck_assert_uint_gt(fail_each(client, &file_commits_left), 0);
    ck_assert_uint_gt(fail_each(client, &stats_left), 0);
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, 1 << 20), 0);
    ck_assert_int_eq(ftruncate(client->payload->file, 16 << 20), 0);
    ck_assert_int_eq(ask(client, WIRE_MAPPED), 1); /* made longer before it was sealed */
    server_part(&server, client);
    client = admit(0);
    ck_assert_int_eq(open_heap(client, "a", CAIRN_CLIENT_CREATE, 1 << 20), 0);
    ck_assert_int_eq(fcntl(client->payload->file, F_ADD_SEALS, F_SEAL_SEAL), 0);
    ck_assert_int_eq(ask(client, WIRE_MAPPED), 1); /* sealed by another before */
    server_part(&server, client);
    sweep();

    client = writer(0, "a");
    ck_assert_uint_eq(reply.serial, 1);
    limit_descriptors(0);
    ck_assert_int_eq(ask(client, WIRE_SECTION), -EMFILE);
    limit_descriptors(-1);
    struct client *early = admit(0), *late = admit(0);
    ck_assert_int_eq(open_heap(early, "a", 0, 1 << 20), 0);
    ck_assert_int_eq(open_heap(late, "b", CAIRN_CLIENT_CREATE, 1 << 20), 0);
    ck_assert_int_eq(open_heap(admit(0), "b", 0, 1 << 20), -EDQUOT); /* the fourth section */
    server_part(&server, late);
    sweep();
    (void)writer(0, "a");
    ck_assert_uint_eq(reply.serial, 2);
    ck_assert_int_eq(ask(early, WIRE_MAPPED), 0);
    ck_assert_uint_eq(reply.serial, 3);
    for (uint64_t seen = 0; seen < 3; seen++) { /* in the order in which they were sealed */
        ask_for(WIRE_SECTION)->value = seen;
        ck_assert_int_eq(dispatch(client), 0);
        ck_assert_uint_eq(reply.blocks[0].handle, seen + 1);
    }
    ck_assert(server_valid(&server));
    end();
}
END_TEST

/* Each section goes behind the last one, from the end of the window to its beginning, and past what lies there. */
START_TEST(sections_lie_where_there_is_place)
{
    struct server_config config = small_config();
    const uint64_t window_begin = UINT64_C(0x551000000000), window_end = UINT64_C(0x555000000000), step = 64 << 20;
    begin(&config);
    server.next_address = window_end - step;
    struct client *last = writer(0, "a");
    ck_assert_uint_eq((uintptr_t)last->payload->base, window_end - step);
    struct client *first = writer(0, "a");
    ck_assert_uint_eq((uintptr_t)first->payload->base, window_begin);
    ask_for(WIRE_LOOK_SECTIONS);
    strcpy(request.name, "a");
    ck_assert_int_eq(dispatch(admit(0)), 0);
    ck_assert_uint_eq(reply.section.client, first->number); /* by address */
    void *taken = mmap((void *)(uintptr_t)(window_begin + step), 4096, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ck_assert_uint_eq((uintptr_t)taken, window_begin + step);
    struct client *next = writer(0, "a");
    ck_assert_uint_eq((uintptr_t)next->payload->base, window_begin + 2 * step);
    server.next_address = 0;
    server_part(&server, first);
    sweep();
    first = writer(0, "a");
    ck_assert_uint_eq((uintptr_t)first->payload->base, window_begin);
    munmap(taken, 4096);
    end();
}
END_TEST

/* ---------------------------------------------------------------- blocks */

START_TEST(handles_are_used_up)
{
    struct server_config config = small_config();
    begin(&config);
    struct client *client = writer(0, "a");
    uint64_t handle = alloc(client, 10);
    struct entry *entry = table_find(&client->table, handle);
    entry->generation = 0x7fffffff;
    ck_assert_int_eq(ask_word(client, WIRE_FREE, table_handle(&client->table, entry), 0), 0);
    ck_assert_uint_eq(alloc(client, 10) >> 32, 1); /* never 0 */
    struct table *table = &client->table;
    uint32_t first_free = table->first_free, capacity = table->capacity;
    table->first_free = 0;
    table->capacity = UINT32_MAX / 2;
    ck_assert_int_eq(ask_word(client, WIRE_ALLOC, 10, 0), -ENOMEM);
    table->first_free = first_free;
    table->capacity = capacity;
    ck_assert(server_valid(&server));
    end();
}
END_TEST

START_TEST(blocks_that_cannot_be_had_are_errors)
{
    struct server_config config = small_config();
    config.block_bytes_max = 1 << 30;
    begin(&config);
    struct client *client = writer(0, "a");
    ck_assert_int_eq(ask_word(client, WIRE_ALLOC, (1 << 30) + 1, 0), -ENOMEM);
    ck_assert_int_eq(ask_word(client, WIRE_ALLOC, 4 << 20, 0), -ENOMEM); /* the section is full */
    reallocs_left = 0;
    ck_assert_int_eq(ask_word(client, WIRE_ALLOC, 10, 0), -ENOMEM);
    ck_assert_uint_eq(client->user->blocks, 0);
    ask_for(WIRE_ALLOC)->count = 3;
    request.words[2] = 4 << 20;
    ck_assert_int_eq(dispatch(client), -ENOMEM); /* all or none */
    ck_assert_uint_eq(client->user->blocks, 0);
    uint64_t handle = alloc(client, 100);
    ck_assert_int_eq(ask_word(client, WIRE_EXPAND, handle, UINT64_C(1) << 31), -ENOMEM);
    ck_assert_int_eq(ask_word(client, WIRE_EXPAND, handle, 4 << 20), -ENOSPC);
    ck_assert_int_eq(ask_word(client, WIRE_EXPAND, handle, 10), 0);
    ck_assert_int_eq(ask_word(client, WIRE_EXPAND, handle + 1, 10), -ESTALE);
    for (int i = 1; i < 100; i++)
        (void)alloc(client, 10);
    ck_assert_int_eq(ask_word(client, WIRE_ALLOC, 10, 0), -EDQUOT);
    ask_for(WIRE_FREE)->count = 2;
    request.words[0] = request.words[1] = handle;
    ck_assert_int_eq(dispatch(client), -ESTALE);
    request.words[1] = handle + 1000;
    ck_assert_int_eq(dispatch(client), -ESTALE);
    ck_assert(server_valid(&server));
    end();
}
END_TEST

/* The section's heap asks for less when it cannot have much, so only the sum tells. */
START_TEST(bookkeeping_that_cannot_be_had_does_no_harm)
{
    struct server_config config = small_config();
    config.blocks_per_user_max = 1000;
    begin(&config);
    struct client *client = writer(0, "a");
    int status = 0;
    uint64_t failures = 0;
    while (status == 0) {
        commits_left = 0;
        status = ask_word(client, WIRE_ALLOC, 4096, 0);
        failures += commits_left != 0;
        ck_assert(server_valid(&server));
    }
    ck_assert_int_eq(status, -ENOMEM);
    ck_assert_uint_gt(failures, 0);
    end();
}
END_TEST

START_TEST(blocks_go_from_hand_to_hand)
{
    struct server_config config = small_config();
    begin(&config);
    struct client *from = writer(0, "a"), *to = writer(0, "a"), *elsewhere = writer(0, "b"), *reader = admit(0);
    ck_assert_int_eq(open_heap(reader, "a", CAIRN_CLIENT_READ_ONLY, 0), 0);
    struct client *opening = admit(1);
    uint64_t handle = alloc(from, 10);
    ck_assert_int_eq(ask_word(from, WIRE_GIVE, handle + 1, 0), -ESTALE);
    ck_assert_int_eq(ask_word(from, WIRE_GIVE, handle, CLIENTS + 1), -ESRCH);
    ck_assert_int_eq(ask_word(from, WIRE_GIVE, handle, to->number + SERVER_CLIENTS_LIMIT), -ESRCH);
    ck_assert_int_eq(ask_word(from, WIRE_GIVE, handle, opening->number), -ESRCH);
    ck_assert_int_eq(ask_word(from, WIRE_GIVE, handle, elsewhere->number), -ESRCH);
    ck_assert_int_eq(ask_word(from, WIRE_GIVE, handle, reader->number), -ESRCH);
    ck_assert_int_eq(ask_word(from, WIRE_GIVE, handle, from->number), -ESRCH);
    reallocs_left = 0;
    ck_assert_int_eq(ask_word(from, WIRE_GIVE, handle, to->number), -ENOMEM);
    reallocs_left = UINT64_MAX;
    ck_assert_int_eq(ask_root(from, WIRE_ROOT_SET, "x", handle), 0);
    ck_assert_int_eq(ask_word(from, WIRE_GIVE, handle, to->number), 0);
    ck_assert_uint_eq(reply.blocks[0].handle, 0);
    ck_assert_int_eq(ask_root(to, WIRE_ROOT_GET, "x", 0), 0);
    ck_assert_uint_eq(reply.blocks[0].handle, 0); /* not before it is taken */
    uint64_t given = table_handle(&to->table, &to->table.entries[0]);
    ck_assert_int_eq(ask_word(to, WIRE_FREE, given, 0), -ESTALE);
    ck_assert_int_eq(ask_root(to, WIRE_ROOT_SET, "y", given), -ESTALE);
    ck_assert_int_eq(ask(to, WIRE_TAKE), 0);
    ck_assert_uint_eq(reply.blocks[0].handle, given);
    ck_assert_int_eq(ask(to, WIRE_TAKE), -ENODATA);
    ck_assert_int_eq(ask_root(to, WIRE_ROOT_GET, "x", 0), 0);
    ck_assert_uint_eq(reply.blocks[0].handle, given);
    ck_assert_int_eq(ask_root(from, WIRE_ROOT_GET, "x", 0), 0);
    ck_assert_uint_eq(reply.blocks[0].handle, 0);
    ck_assert_int_eq(ask_word(to, WIRE_GIVE, given, CAIRN_TO_HEAP), 0);
    uint64_t heaps = reply.blocks[0].handle;
    ck_assert_int_eq(ask_root(from, WIRE_ROOT_GET, "x", 0), 0);
    ck_assert_uint_eq(reply.blocks[0].handle, heaps);
    ck_assert_int_eq(ask_root(from, WIRE_ROOT_SET, "y", heaps), 0);
    ck_assert_int_eq(ask_word(elsewhere, WIRE_TAKE_BACK, heaps, 0), -ESTALE);
    reallocs_left = 0;
    ck_assert_int_eq(ask_word(elsewhere, WIRE_TAKE_BACK, heaps, 0), -ESTALE);
    struct table *table = &from->table;
    uint32_t free_entries = table->first_free;
    table->first_free = 0; /* as if it were full */
    ck_assert_int_eq(ask_word(from, WIRE_TAKE_BACK, heaps, 0), -ENOMEM);
    table->first_free = free_entries;
    ck_assert_int_eq(ask_word(from, WIRE_TAKE_BACK, heaps, 0), 0);
    ck_assert(server_valid(&server));
    end();
}
END_TEST

START_TEST(roots_are_as_many_as_there_is_place)
{
    struct server_config config = small_config();
    begin(&config);
    struct client *client = writer(0, "a"), *other = writer(0, "a");
    uint64_t handle = alloc(client, 10), second = alloc(client, 10);
    char name[20];
    ck_assert_int_eq(ask_root(client, WIRE_ROOT_GET, "x", 0), -ENOENT);
    ck_assert_int_eq(ask_root(client, WIRE_ROOT_SET, "x", 0), -ENOENT);
    ck_assert_int_eq(ask_root(client, WIRE_ROOT_SET, "x", handle + 77), -ESTALE);
    for (int i = 0; i < SERVER_ROOTS; i++) {
        snprintf(name, sizeof name, "%d", i);
        ck_assert_int_eq(ask_root(client, WIRE_ROOT_SET, name, i == 7 ? second : handle), 0);
    }
    ck_assert_int_eq(ask_root(client, WIRE_ROOT_SET, "x", handle), -ENOSPC);
    ck_assert_int_eq(ask_word(client, WIRE_FREE, second, 0), 0);
    ck_assert_int_eq(ask_root(client, WIRE_ROOT_GET, "7", 0), -ENOENT); /* its block is freed */
    ck_assert_int_eq(ask_root(client, WIRE_ROOT_SET, "7", 0), -ENOENT);
    ck_assert_int_eq(ask_root(client, WIRE_ROOT_SET, "x", handle), 0);
    ck_assert_int_eq(ask_root(other, WIRE_ROOT_SET, "3", 0), 0); /* who may write may remove it */
    server_part(&server, client);
    sweep();
    ck_assert_int_eq(ask_root(other, WIRE_ROOT_GET, "x", 0), -ENOENT); /* with its owner */
    ck_assert(server_valid(&server));
    end();
}
END_TEST

/* Freeing takes its time, but the others do not wait for it. */
START_TEST(what_many_blocks_leave_is_swept_bit_by_bit)
{
    enum { MANY = 10000 };
    struct server_config config = small_config();
    config.blocks_per_user_max = MANY;
    begin(&config);
    struct client *client = writer(0, "a");
    for (int i = 0; i < MANY; i++)
        (void)alloc(client, 8);
    server_part(&server, client);
    ck_assert(server_sweep(&server));
    ck_assert(server_sweep(&server));
    ck_assert_uint_ne(server.users->blocks, 0);
    sweep();
    ck_assert_uint_eq(server.users->blocks, 0);
    ck_assert_ptr_null(server.stores);
    callocs_left = 0;
    struct server other;
    ck_assert_int_eq(server_init(&other, &config), -ENOMEM);
    client = writer(0, "a");
    for (int i = 0; i < MANY; i++)
        (void)alloc(client, 8);
    server_part(&server, client);
    ck_assert(server_sweep(&server));
    end(); /* in the middle of it */
}
END_TEST

/* ---------------------------------------------------------------- looking */

static int look(struct client *client, enum wire_operation operation, const char *heap, uint64_t value)
{
    ask_for(operation)->value = value;
    strcpy(request.name, heap);
    return dispatch(client);
}

static void look_at_each_client(struct client *looker, struct client *writer_, struct client *reader)
{
    uint64_t from = 0, seen = 0;
    while (look(looker, WIRE_LOOK_CLIENTS, "", from) == 0) {
        const struct client *client = &server.clients[reply.number - 1];
        ck_assert_uint_gt(reply.number, from);
        ck_assert_uint_eq(reply.client.number, client->number);
        ck_assert_uint_eq(reply.client.user, process_user() + (client == reader));
        ck_assert_str_eq(reply.client.heap, client == writer_ ? "b" : client == reader ? "b" : "");
        ck_assert_uint_eq(reply.client.address != 0, client == writer_);
        ck_assert_uint_eq(reply.client.blocks, client == writer_ ? 3 : 0);
        ck_assert_uint_eq(reply.client.has.blocks, client == reader ? 0 : 4);
        ck_assert_uint_eq(reply.client.most.blocks, server.config.blocks_per_user_max);
        from = reply.number;
        seen++;
    }
    ck_assert_int_eq(reply.status, -ENODATA);
    ck_assert_uint_eq(seen, 3); /* not who asks, nor who has left */
}

static void look_at_each_section(struct client *looker, const struct client *writer_)
{
    ck_assert_int_eq(look(looker, WIRE_LOOK_SECTIONS, "b", 0), 0);
    struct wire_seen_section section = reply.section;
    ck_assert_uint_eq(section.client, writer_->number);
    ck_assert_uint_eq(section.blocks, 4);
    ck_assert_uint_eq(section.bytes_live, writer_->payload->bytes_live);
    ck_assert_int_eq(look(looker, WIRE_LOOK_SECTIONS, "b", section.address), -ENODATA);
    ck_assert_int_eq(look(looker, WIRE_LOOK_SECTIONS, "d", 0), -ENOENT);
    uint64_t at = section.address, live = 0, messages = 0;
    for (; look(looker, WIRE_LOOK_SPANS, "b", at) == 0; messages++) {
        for (uint32_t i = 0; i < reply.number; i++) {
            ck_assert_uint_eq(reply.spans[i].address, at);
            ck_assert_uint_eq(reply.spans[i].bytes % section.unit_bytes, 0);
            at += reply.spans[i].bytes;
            live += reply.spans[i].blocks_live;
        }
    }
    ck_assert_int_eq(reply.status, -ENODATA);
    ck_assert_uint_le(at, section.address + section.bytes);
    ck_assert_uint_eq(live, 4);
    ck_assert_int_eq(look(looker, WIRE_LOOK_SPANS, "b", section.address - 1), -ENODATA);
    ck_assert_int_eq(look(looker, WIRE_LOOK_SPANS, "b", UINT64_MAX), -ENODATA);
}

START_TEST(the_keeper_sees_what_there_is)
{
    struct server_config config = small_config();
    begin(&config);
    struct client *leaving = writer(0, "c"), *looker = admit(0), *writer_ = writer(0, "b");
    server_part(&server, leaving);
    struct client *reader = admit(1), *new = admit(0);
    ck_assert_ptr_nonnull(new);
    ask_for(WIRE_OPEN);
    ck_assert_int_eq(open_heap(reader, "b", CAIRN_CLIENT_READ_ONLY, 0), -EACCES);
    server.stores->everyone = true;
    ck_assert_int_eq(open_heap(reader, "b", CAIRN_CLIENT_READ_ONLY, 0), 0);
    uint64_t first = alloc(writer_, 100), large = alloc(writer_, 300000);
    (void)alloc(writer_, 1000);
    (void)alloc(writer_, 100);
    ck_assert_int_eq(ask_root(writer_, WIRE_ROOT_SET, "own", first), 0);
    ck_assert_int_eq(ask_root(writer_, WIRE_ROOT_SET, "kept", large), 0);
    ck_assert_int_eq(ask_word(writer_, WIRE_GIVE, large, CAIRN_TO_HEAP), 0);

    look_at_each_client(looker, writer_, reader);
    look_at_each_section(looker, writer_);
    ck_assert_int_eq(look(looker, WIRE_LOOK_HEAPS, "", 0), 0);
    ck_assert_str_eq(reply.heap.name, "b");
    ck_assert_uint_eq(reply.heap.clients, 2);
    ck_assert_uint_eq(reply.heap.roots, 2);
    ck_assert_uint_eq(reply.heap.blocks, 4);
    ck_assert_uint_eq(reply.heap.blocks_kept, 1);
    ck_assert_int_eq(look(looker, WIRE_LOOK_HEAPS, "b", 0), 0);
    ck_assert_str_eq(reply.heap.name, "c"); /* which is being left */
    ck_assert_int_eq(look(looker, WIRE_LOOK_HEAPS, "c", 0), -ENODATA);
    ck_assert_int_eq(look(looker, WIRE_LOOK_ROOTS, "b", 0), 0);
    ck_assert_str_eq(reply.root.name, "own");
    ck_assert_uint_eq(reply.root.client, writer_->number);
    ck_assert_int_eq(look(looker, WIRE_LOOK_ROOTS, "b", reply.number), 0);
    ck_assert_str_eq(reply.root.name, "kept");
    ck_assert_uint_eq(reply.root.client, 0);
    ck_assert_uint_ge(reply.root.size, 300000);
    ck_assert_int_eq(look(looker, WIRE_LOOK_ROOTS, "b", reply.number), -ENODATA);
    ck_assert_int_eq(look(looker, WIRE_LOOK_ROOTS, "b", UINT64_MAX), -ENODATA);
    ck_assert_int_eq(look(looker, WIRE_LOOK_CLIENTS, "", UINT64_MAX), -ENODATA);

    ask_for(WIRE_SHARED)->flags = CAIRN_CLIENT_CREATE;
    strcpy(request.name, "d");
    request.value = 2 << 20;
    ck_assert_int_eq(dispatch(looker), 0);
    ck_assert_int_eq(look(looker, WIRE_LOOK_HEAPS, "c", 0), 0);
    ck_assert_uint_eq(reply.heap.shared_address, server.stores->address);
    ck_assert_uint_eq(reply.heap.shared_bytes, 2 << 20);
    ck_assert(reply.heap.shared_bytes_taken > 4096 && reply.heap.shared_bytes_taken < 2 << 20);
    ck_assert_int_eq(look(looker, WIRE_LOOK_SECTIONS, "d", 0), -ENODATA);

    uint64_t requests = server.counts.requests, wrong = server.counts.requests_refused;
    ck_assert_int_eq(look(looker, WIRE_LOOK_SERVER, "", 0), 0);
    ck_assert_uint_eq(reply.server.connections, 5);
    ck_assert_uint_eq(reply.server.connections_refused, 0);
    ck_assert_uint_eq(reply.server.requests, requests);
    ck_assert_int_eq(look(looker, WIRE_LOOK_HEAPS, "x", 0), -ENODATA);
    ck_assert_int_eq(look(looker, WIRE_LOOK_SERVER, "", 0), 0);
    ck_assert_uint_eq(reply.server.requests, requests + 2);
    ck_assert_uint_eq(reply.server.requests_refused, wrong + 1);
    for (int i = 0; i < 9; i++)
        (void)admit(7);
    ck_assert_int_eq(look(looker, WIRE_LOOK_SERVER, "", 0), 0);
    ck_assert_uint_eq(reply.server.connections, 14);
    ck_assert_uint_gt(reply.server.connections_refused, 4);
    end();
}
END_TEST

/* Its user and root; and nobody who has opened a heap. */
START_TEST(nobody_else_may_look)
{
    struct server_config config = small_config();
    begin(&config);
    struct client *client = writer(0, "a"), *other = admit(1);
    struct socket_peer root = {.user = 0};
    int status;
    server.user = 77;
    struct client *keeper = server_admit(&server, -1, &root, &status);
    for (uint32_t operation = WIRE_LOOK_CLIENTS; operation <= WIRE_LOOK_SPANS; operation++) {
        const char *heap = operation == WIRE_LOOK_CLIENTS ? "" : "a";
        ck_assert_int_eq(look(other, operation, heap, 0), -EACCES);
        ck_assert_int_ne(look(keeper, operation, heap, 0), -EACCES);
        ck_assert_int_eq(look(client, operation, heap, 0), 1); /* out of turn */
    }
    ck_assert_int_eq(look(keeper, WIRE_LOOK_HEAPS, "a/", 0), 1);
    end();
}
END_TEST

/* ---------------------------------------------------------------- shared heaps */

static int open_shared(struct client *client, const char *name, uint64_t flags, uint64_t bytes)
{
    ask_for(WIRE_SHARED)->flags = flags;
    strcpy(request.name, name);
    request.value = bytes;
    return dispatch(client);
}

static int drop(struct client *client, const char *name)
{
    strcpy(ask_for(WIRE_DROP)->name, name);
    return dispatch(client);
}

START_TEST(a_shared_heap_is_for_those_on_its_list)
{
    struct server_config config = small_config();
    int sockets[2], status;
    struct socket_peer own;
    config.clients_max = 8;
    begin(&config);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    ck_assert_int_eq(socket_peer_get(sockets[0], &own), 0);
    struct client *keeper = admit(0), *maker = admit(1), *both = admit(2), *reader = admit(3), *stranger = admit(4);
    struct socket_peer group = {.user = process_user() + 5}, listed = {.user = process_user() + 3};
    struct client *member = server_admit(&server, sockets[0], &group, &status);
    struct client *reading_member = server_admit(&server, sockets[0], &listed, &status);
    ck_assert(member != NULL && reading_member != NULL);

    ck_assert_int_eq(open_shared(maker, "a", 0, 1 << 20), -ENOENT);
    request.words[0] = UINT64_C(1) << 40;
    request.count = 1;
    ck_assert_int_eq(dispatch(maker), -EINVAL);
    ask_for(WIRE_SHARED)->flags = CAIRN_CLIENT_CREATE;
    strcpy(request.name, "a");
    request.value = 1 << 20;
    request.count = 6;
    request.words[0] = process_user() + 1;
    request.words[1] = (process_user() + 2) | WIRE_MAY_WRITE;
    request.words[2] = process_user() + 2;
    request.words[3] = process_user() + 3;
    request.words[4] = own.group | WIRE_IS_GROUP | WIRE_MAY_WRITE;
    request.words[5] = (own.group + 1) | WIRE_IS_GROUP;
    ck_assert_int_eq(dispatch(maker), 0);
    ck_assert_uint_eq(server.stores->access_count, 5);        /* each once */
    ck_assert_int_eq(open_shared(maker, "a", 0, 1 << 20), 0); /* whatever its list says */
    ck_assert_int_eq(open_shared(both, "a", 0, 1 << 20), 0);
    ck_assert_int_eq(open_shared(reader, "a", 0, 1 << 20), -EACCES);
    ck_assert_int_eq(open_shared(reader, "a", CAIRN_CLIENT_READ_ONLY, 1 << 20), 0);
    ck_assert_int_eq(open_shared(member, "a", 0, 1 << 20), 0);
    ck_assert_int_eq(open_shared(reading_member, "a", 0, 1 << 20), -EACCES); /* an entry of its own counts first */
    ck_assert_int_eq(open_shared(stranger, "a", CAIRN_CLIENT_READ_ONLY, 1 << 20), -EACCES);
    ck_assert_int_eq(open_shared(keeper, "a", CAIRN_CLIENT_READ_ONLY, 1 << 20), 0);
    ck_assert_int_eq(open_shared(keeper, "a", 0, 1 << 20), -EACCES);
    ck_assert_int_eq(open_shared(maker, "b", CAIRN_CLIENT_CREATE | CAIRN_CLIENT_EVERYONE, 1 << 20), 0);
    ck_assert_int_eq(open_shared(stranger, "b", CAIRN_CLIENT_READ_ONLY, 1 << 20), 0);
    ck_assert_int_eq(open_shared(stranger, "b", 0, 1 << 20), -EACCES);
    ck_assert_int_eq(drop(both, "a"), -EACCES); /* who may write may not end it */
    ck_assert_int_eq(drop(maker, "a"), 0);
    ck_assert_int_eq(drop(maker, "a"), -ENOENT);
    ck_assert_int_eq(drop(keeper, "b"), 0);
    ck_assert_int_eq(open_shared(maker, "b", CAIRN_CLIENT_READ_ONLY, 1 << 20), -ENOENT);
    ck_assert_ptr_null(server.stores);
    ck_assert(server_valid(&server));
    end();
    close(sockets[0]);
    close(sockets[1]);
}
END_TEST

START_TEST(a_name_is_of_one_kind_of_heap)
{
    struct server_config config = small_config();
    begin(&config);
    struct client *client = writer(1, "a"), *other = admit(1);
    ck_assert_int_eq(open_shared(other, "a", CAIRN_CLIENT_CREATE, 1 << 20), -EEXIST);
    ck_assert_int_eq(drop(other, "a"), -EEXIST);
    ck_assert_int_eq(open_shared(other, "b", CAIRN_CLIENT_CREATE, 1 << 20), 0);
    ck_assert_int_eq(open_heap(other, "b", CAIRN_CLIENT_CREATE, 1 << 20), -EEXIST);
    ck_assert_int_eq(open_shared(client, "b", 0, 1 << 20), 1); /* out of turn */
    ck_assert(server_valid(&server));
    end();
}
END_TEST

static int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1000; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

START_TEST(a_shared_heap_is_charged_to_its_maker)
{
    struct server_config config = small_config();
    int descriptors = count_descriptors();
    config.sections_per_user_max = 3;
    begin(&config);
    struct client *maker = admit(1);
    ck_assert_int_eq(open_shared(maker, "a", CAIRN_CLIENT_CREATE, (1 << 20) - 4096), -EINVAL);
    ck_assert_int_eq(open_shared(maker, "a", CAIRN_CLIENT_CREATE, (1 << 20) + 1), -EINVAL);
    ck_assert_int_eq(open_shared(maker, "a", CAIRN_CLIENT_CREATE, UINT64_C(1) << 50), -EINVAL);
    ck_assert_int_eq(open_shared(maker, "a", CAIRN_CLIENT_CREATE, 9 << 20), -EDQUOT);
    ck_assert_int_eq(open_shared(maker, "a", CAIRN_CLIENT_CREATE, 6 << 20), 0);
    ck_assert_uint_eq(maker->user->bytes, 6 << 20);
    ck_assert_int_eq(open_shared(maker, "b", CAIRN_CLIENT_CREATE, 3 << 20), -EDQUOT);
    ck_assert_int_eq(open_shared(maker, "b", CAIRN_CLIENT_CREATE, 1 << 20), 0);
    ck_assert_int_eq(open_shared(admit(2), "c", CAIRN_CLIENT_CREATE, 6 << 20), 0); /* of another user */
    ck_assert_int_eq(open_heap(admit(1), "d", CAIRN_CLIENT_CREATE, 1 << 20), 0);
    ck_assert_int_eq(open_shared(maker, "e", CAIRN_CLIENT_CREATE, 1 << 20), -EDQUOT); /* sections */
    ck_assert_int_eq(drop(maker, "a"), 0);
    ck_assert_int_eq(open_shared(maker, "e", CAIRN_CLIENT_CREATE, 6 << 20), 0);
    server_part(&server, maker);
    sweep();
    ck_assert_int_eq(open_shared(admit(1), "e", 0, 0), 0); /* it does not go with its maker */
    ck_assert(server_valid(&server));
    end();
    ck_assert_int_eq(count_descriptors(), descriptors);
}
END_TEST

START_TEST(a_shared_heap_that_cannot_be_had_is_an_error)
{
    struct server_config config = small_config();
    begin(&config);
    struct client *maker = admit(1);
    callocs_left = 0;
    ck_assert_int_eq(open_shared(maker, "a", CAIRN_CLIENT_CREATE, 1 << 20), -ENOMEM);
    callocs_left = UINT64_MAX;
    file_error = -ENFILE;
    ck_assert_int_eq(open_shared(maker, "a", CAIRN_CLIENT_CREATE, 1 << 20), -EMFILE);
    file_error = 0;
    uint64_t steps = 0;
    for (; steps < 100; steps++) {
        file_commits_left = steps;
        int error = open_shared(maker, "a", CAIRN_CLIENT_CREATE, 1 << 20);
        file_commits_left = UINT64_MAX;
        if (error == 0)
            break;
        ck_assert_int_eq(error, -ENOMEM);
        ck_assert_ptr_null(server.stores); /* nothing is left of all that */
        ck_assert_uint_eq(maker->user->bytes, 0);
        ck_assert(server_valid(&server));
    }
    ck_assert_uint_gt(steps, 1);
    limit_descriptors(0);
    ck_assert_int_eq(open_shared(maker, "a", 0, 1 << 20), -EMFILE);
    ck_assert_int_eq(open_shared(maker, "a", CAIRN_CLIENT_READ_ONLY, 1 << 20), -EMFILE);
    for (int more = 0; more < 10; more++) {
        limit_descriptors(more);
        int error = open_shared(maker, "b", CAIRN_CLIENT_CREATE, 1 << 20);
        limit_descriptors(-1);
        if (error == 0)
            break;
        ck_assert_int_eq(error, -EMFILE);
        ck_assert(server_valid(&server));
        ck_assert_int_lt(more, 9);
    }
    end();
}
END_TEST

/* In a window that is nearly full: 320 places of a GiB. */
START_TEST(shared_heaps_of_a_server_do_not_lie_in_each_others_way)
{
    struct server_config config = small_config();
    config.bytes_per_user_max = UINT64_C(1) << 40;
    config.section_bytes_max = UINT64_C(1) << 36;
    if (getenv("CAIRN_ADDRESS") == NULL)
        setenv("CAIRN_ADDRESS", "0x500000000000", 1);
    begin(&config);
    struct client *maker = admit(1);
    for (int i = 0; i < 60; i++) {
        char name[20];
        snprintf(name, sizeof name, "heap-%d", i);
        int error = open_shared(maker, name, CAIRN_CLIENT_CREATE, i < 2 ? UINT64_C(1) << 36 : 1 << 20);
        ck_assert_int_eq(error, 0);
    }
    for (const struct store *a = server.stores; a != NULL; a = a->next) {
        for (const struct store *b = a->next; b != NULL; b = b->next)
            ck_assert(a->address + a->bytes <= b->address || b->address + b->bytes <= a->address);
    }
    end();
}
END_TEST

/* ---------------------------------------------------------------- the books */

#define WRONG(member, wrong)                                                                                           \
    do {                                                                                                               \
        __typeof__(member) was = (member);                                                                             \
        (member) = (wrong);                                                                                            \
        ck_assert_msg(!server_valid(&server), "%s", #member " = " #wrong);                                             \
        (member) = was;                                                                                                \
        ck_assert_msg(server_valid(&server), "%s", #member);                                                           \
    } while (0)

/* What all the claims here ask at their end, and every few messages: it is not always true. */
START_TEST(wrong_books_are_seen)
{
    struct server_config config = small_config();
    begin(&config);
    struct client *client = writer(0, "a"), *other = writer(0, "a"), *empty = writer(0, "a");
    (void)alloc(client, 10);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ask_word(client, WIRE_GIVE, alloc(client, 10), other->number), 0);
        ck_assert_int_eq(ask_word(client, WIRE_GIVE, alloc(client, 10), CAIRN_TO_HEAP), 0);
    }
    struct store *store = server.stores;
    struct table *table = &other->table;
    struct entry *given = &table->entries[table->first_given - 1];
    ck_assert(server_valid(&server));
    WRONG(table->live, table->live + 1);
    WRONG(given->is_given, false);
    WRONG(given->next, 0);
    WRONG(given->next, table->capacity + 1);
    WRONG(given->next, table->first_given);
    WRONG(table->first_given, table->capacity); /* leads to a free entry */
    WRONG(table->last_given, 0);
    WRONG(empty->table.last_given, 1);
    table->entries[table->capacity - 1].place = given->place; /* or to one that was not given */
    table->live++;
    server.users->blocks++;
    client->payload->blocks++;
    ck_assert(server_valid(&server));
    WRONG(table->first_given, table->capacity);
    table->entries[table->capacity - 1].place = NULL;
    table->live--;
    server.users->blocks--;
    client->payload->blocks--;
    WRONG(client->payload->store, NULL);
    WRONG(client->payload->blocks, client->payload->blocks + 1);
    WRONG(empty->payload->has_writer, false);
    WRONG(client->payload->is_sealed, false);
    WRONG(client->payload->serial, store->last_serial + 1);
    WRONG(client->payload->reserved_bytes, 0);
    WRONG(client->payload->bytes_live, 0);
    WRONG(store->table.live, 0);
    WRONG(server.users->blocks, config.blocks_per_user_max + 1);
    WRONG(server.users->blocks, 0);
    WRONG(server.users->bytes, config.bytes_per_user_max + 1);
    WRONG(server.users->bytes, 0);
    store->clients = 0;
    ck_assert(server_valid(&server)); /* it has blocks */
    WRONG(store->table.live, 0);
    store->clients = 3;
    ck_assert_int_eq(open_shared(admit(0), "shared", CAIRN_CLIENT_CREATE, 1 << 20), 0);
    store = store_find(&server, "shared");
    WRONG(store->clients, 1);
    WRONG(store->table.live, 1);
    WRONG(store->payloads, client->payload);
    WRONG(store->bytes, 0);
    end();
}
END_TEST

int main(void)
{
#if defined(__SANITIZE_THREAD__) /* which leaves shared heaps one window */
    setenv("CAIRN_ADDRESS", "0x550000000000", 1);
#endif
    Suite *suite = suite_create("dispatch");
    TCase *many = suite_case(suite, "many", SECONDS * (double)random_rounds(1));
    tcase_add_test(many, many_messages_leave_the_books_right);
    TCase *each = suite_case(suite, "each", 10);
    tcase_add_test(each, who_comes_in_is_on_a_list);
    tcase_add_test(each, connections_are_counted);
    tcase_add_test(each, who_has_gone_is_forgotten);
    tcase_add_test(each, requests_of_a_second_are_counted);
    tcase_add_test(each, each_wrong_field_is_a_reason);
    tcase_add_test(each, names_are_of_printable_bytes);
    tcase_add_test(each, a_heap_is_opened_by_who_may);
    tcase_add_test(each, a_section_that_cannot_be_had_is_an_error);
    tcase_add_test(each, sections_lie_where_there_is_place);
    tcase_add_test(each, handles_are_used_up);
    tcase_add_test(each, blocks_that_cannot_be_had_are_errors);
    tcase_add_test(each, bookkeeping_that_cannot_be_had_does_no_harm);
    tcase_add_test(each, blocks_go_from_hand_to_hand);
    tcase_add_test(each, roots_are_as_many_as_there_is_place);
    tcase_add_test(each, what_many_blocks_leave_is_swept_bit_by_bit);
    tcase_add_test(each, the_keeper_sees_what_there_is);
    tcase_add_test(each, nobody_else_may_look);
    tcase_add_test(each, a_shared_heap_is_for_those_on_its_list);
    tcase_add_test(each, a_name_is_of_one_kind_of_heap);
    tcase_add_test(each, a_shared_heap_is_charged_to_its_maker);
    tcase_add_test(each, a_shared_heap_that_cannot_be_had_is_an_error);
    tcase_add_test(each, shared_heaps_of_a_server_do_not_lie_in_each_others_way);
    tcase_add_test(each, wrong_books_are_seen);
    return suite_run(suite);
}
