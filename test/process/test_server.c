/* SPDX-License-Identifier: MIT */
/* The heap server: real clients of a real cairnd. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cairn_client.h"
#include "server/wire.h"
#include "support/intruder.h"
#include "support/random.h"
#include "support/service.h"
#include "support/workspace.h"

/* What both sides of a claim see. */
struct board {
    _Atomic uint32_t turn;
    _Atomic uint32_t heard;
    _Atomic uint32_t is_over;
    cairn_block block;
    uint32_t number;
    uint64_t count;
};
static struct board *board;

/* ---------------------------------------------------------------- the server */

static pid_t start_server(const char *config)
{
    board = shared_memory(sizeof *board);
    service_configure(config);
    return service_start(service_exec, (char[]){CAIRND});
}

static int try_open(cairn_client **ret_client, const char *heap, uint64_t flags, uint64_t bytes_max)
{
    cairn_client_options options = {.socket = workspace_path("cairnd.sock"), .flags = flags, .bytes_max = bytes_max};
    return cairn_client_open(ret_client, heap, &options);
}

static cairn_client *open_client(uint64_t flags)
{
    cairn_client *client;
    if (try_open(&client, "orders", flags, 8 * MIB) < 0)
        broken(__FILE__, __LINE__, "open: %s", cairn_last_error());
    return client;
}

static cairn_client_stats stats_of_client(cairn_client *client)
{
    cairn_client_stats stats = {.size = sizeof stats};
    REQUIRE_CALL(cairn_client_stats_get(client, &stats) == 0);
    return stats;
}

/* The server hears of a death a moment later; asking is what gives it the moment. */
static void wait_for_blocks(cairn_client *client, uint64_t user_blocks)
{
    while (stats_of_client(client).user_blocks != user_blocks)
        continue;
}

static cairn_block alloc_text(cairn_client *client, const char *text)
{
    cairn_block block;
    REQUIRE_CALL(cairn_client_alloc(client, strlen(text) + 1, &block) == 0);
    strcpy(block.address, text);
    return block;
}

/* ---------------------------------------------------------------- one writes, others read */

static void read_greeting(void *arg)
{
    (void)arg;
    cairn_client *reader = open_client(CAIRN_CLIENT_READ_ONLY);
    cairn_block block;
    REQUIRE_CALL(cairn_client_root_get(reader, "greeting", &block) == 0);
    REQUIRE(block.address == board->block.address);
    REQUIRE_EQUAL(block.handle, 0);
    char *const *pointer = block.address;
    REQUIRE(strcmp(*pointer, "hello") == 0);
    REQUIRE_EQUAL(cairn_client_alloc(reader, 1, &block), -EROFS);
    REQUIRE_EQUAL(cairn_client_root_get(reader, "nothing", &block), -ENOENT);
    cairn_client_close(reader);
}

static void what_one_allocates_another_reads(void)
{
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE);
    cairn_block text = alloc_text(client, "hello");
    cairn_block block;
    REQUIRE_CALL(cairn_client_alloc(client, sizeof(char *), &block) == 0);
    memcpy(block.address, &text.address, sizeof(char *));
    REQUIRE_CALL(cairn_client_root_set(client, "greeting", &block) == 0);
    board->block = block;
    finish(start(read_greeting, NULL));

    REQUIRE_CALL(cairn_client_realloc(client, &text, 100000) == 0);
    REQUIRE(strcmp(text.address, "hello") == 0);
    memset(text.address, 1, text.size);
    REQUIRE_CALL(cairn_client_root_set(client, "greeting", NULL) == 0);
    REQUIRE_EQUAL(cairn_client_root_get(client, "greeting", &block), -ENOENT);
    REQUIRE_CALL(cairn_client_free(client, &text) == 0);
    REQUIRE_EQUAL(cairn_client_free(client, &text), -ESTALE);
    REQUIRE_EQUAL(cairn_client_realloc(client, &text, 5), -ESTALE);
    cairn_client_close(client);
    service_stop(server);
}

/* ---------------------------------------------------------------- death */

static void allocate_and_wait_to_be_killed(void *arg)
{
    (void)arg;
    cairn_client *client = open_client(0);
    for (int i = 0; i < 999; i++)
        (void)alloc_text(client, "lost");
    cairn_block kept = alloc_text(client, "kept");
    cairn_block given = alloc_text(client, "given");
    cairn_block lost = alloc_text(client, "lost");
    REQUIRE_CALL(cairn_client_root_set(client, "kept", &kept) == 0);
    REQUIRE_CALL(cairn_client_root_set(client, "lost", &lost) == 0);
    REQUIRE_CALL(cairn_client_give(client, &kept, CAIRN_TO_HEAP) == 0);
    REQUIRE_CALL(cairn_client_give(client, &given, board->number) == 0);
    REQUIRE_EQUAL(given.handle, 0);
    REQUIRE_EQUAL(cairn_client_give(client, &lost, 77), -ESRCH);
    REQUIRE_EQUAL(cairn_client_free(client, &kept), -ESTALE); /* the handle is the heap's by now */
    advance(&board->turn);
    for (;;)
        pause();
}

static void a_clients_blocks_die_with_it_but_for_those_handed_over(void)
{
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE);
    board->number = cairn_client_number(client);
    pid_t child = start(allocate_and_wait_to_be_killed, NULL);
    wait_for(&board->turn, 1);
    REQUIRE_EQUAL(stats_of_client(client).user_blocks, 1002);
    kill(child, SIGKILL);
    finish_by(child, SIGKILL);
    wait_for_blocks(client, 2);
    cairn_client_stats stats = stats_of_client(client);
    REQUIRE_EQUAL(stats.heap_blocks, 1);
    REQUIRE_EQUAL(stats.heap_sections, 2); /* the dead's stays for what lies in it */

    cairn_block kept, given, none;
    REQUIRE_CALL(cairn_client_root_get(client, "kept", &kept) == 0);
    REQUIRE(strcmp(kept.address, "kept") == 0);
    REQUIRE_EQUAL(cairn_client_root_get(client, "lost", &none), -ENOENT);
    REQUIRE_EQUAL(cairn_client_free(client, &kept), -ESTALE); /* not this client's */
    REQUIRE_CALL(cairn_client_take_from_heap(client, &kept) == 0);
    REQUIRE_CALL(cairn_client_free(client, &kept) == 0);
    REQUIRE_CALL(cairn_client_take(client, &given) == 0);
    REQUIRE(strcmp(given.address, "given") == 0);
    REQUIRE_EQUAL(cairn_client_take(client, &none), -ENODATA);
    REQUIRE_CALL(cairn_client_free(client, &given) == 0);
    stats = stats_of_client(client);
    REQUIRE_EQUAL(stats.user_blocks, 0);
    REQUIRE_EQUAL(stats.heap_sections, 1);
    REQUIRE_EQUAL(stats.user_bytes, 8 * MIB);
    cairn_client_close(client);
    service_stop(server);
}

static void a_killed_server_is_an_error_with_a_name(void)
{
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE);
    cairn_block block = alloc_text(client, "still here");
    kill(server, SIGKILL);
    REQUIRE(waitpid(server, NULL, 0) == server);
    struct pollfd end = {.fd = cairn_client_fd(client), .events = POLLRDHUP};
    REQUIRE(poll(&end, 1, 10000) == 1);
    cairn_block other;
    REQUIRE_EQUAL(cairn_client_alloc(client, 1, &other), -ECONNRESET);
    REQUIRE_EQUAL(cairn_client_free(client, &block), -ECONNRESET);
    REQUIRE(strcmp(block.address, "still here") == 0);
    REQUIRE_EQUAL(try_open(&client, "orders", 0, 0), -ECONNREFUSED);
    cairn_client_close(client);
    server = start_server(""); /* takes the name over, and begins anew */
    REQUIRE_EQUAL(try_open(&client, "orders", 0, 0), -ENOENT);
    service_stop(server);
    REQUIRE_EQUAL(try_open(&client, "orders", 0, 0), -ENOENT);
}

static void close_all_and_go_on(void *arg)
{
    (void)arg;
    struct own_files own;
    cairn_client *client = open_client(0), *second = open_client(0);
    cairn_block block = alloc_text(client, "still here");
    close_all_and_open_own(&own);
    cairn_block other;
    REQUIRE_EQUAL(cairn_client_alloc(client, 1, &other), -ECONNRESET);
    REQUIRE(strstr(cairn_last_error(), "closed") != NULL);
    require_own_unharmed(&own);
    REQUIRE(strcmp(block.address, "still here") == 0);
    cairn_client_close(client);
    cairn_client_close(second);
    require_own_unharmed(&own);
    client = open_client(0);
    (void)alloc_text(client, "anew");
    cairn_client_close(client);
    require_own_unharmed(&own);
}

static void who_closes_the_connection_under_a_client_keeps_its_own_files(void)
{
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE);
    finish(start(close_all_and_go_on, NULL));
    wait_for_blocks(client, 0);
    cairn_client_close(client);
    service_stop(server);
}

static void require_reason(const char *part)
{
    if (strstr(cairn_last_error(), part) == NULL)
        broken(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", cairn_last_error(), part);
}

static void a_refusal_says_why(void)
{
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE), *none;
    uint64_t wrong[] = {1000, MIB + 1, MIB - 4096, UINT64_C(2) << 30};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        REQUIRE_EQUAL(try_open(&none, "orders", 0, wrong[i]), -EINVAL);
        require_reason("bytes_max");
    }
    cairn_block block;
    REQUIRE_EQUAL(cairn_client_take(client, &block), -ENODATA);
    require_reason("handed over");
    block = alloc_text(client, "block");
    REQUIRE_EQUAL(cairn_client_give(client, &block, cairn_client_number(client)), -ESRCH);
    require_reason("no such client");
    for (int i = 0; i < 256; i++) {
        char name[20];
        snprintf(name, sizeof name, "root-%d", i);
        REQUIRE_CALL(cairn_client_root_set(client, name, &block) == 0);
    }
    REQUIRE_EQUAL(cairn_client_root_set(client, "one more", &block), -EINVAL);
    REQUIRE_EQUAL(cairn_client_root_set(client, "one-more", &block), -ENOSPC);
    require_reason("roots");
    cairn_client_close(client);
    service_stop(server);
}

/* ---------------------------------------------------------------- quotas */

static void a_user_gets_no_more_than_its_quota(void)
{
    pid_t server = start_server("blocks_per_user_max = 100\nbytes_per_user_max = 16M\nsections_per_user_max = 2\n"
                                "clients_per_user_max = 3\nblock_bytes_max = 1M\n");
    cairn_client *first = open_client(CAIRN_CLIENT_CREATE), *second, *reader, *none;
    REQUIRE_EQUAL(try_open(&none, "orders", 0, 9 * MIB), -EDQUOT); /* bytes */
    REQUIRE_CALL(try_open(&second, "orders", 0, MIB) == 0);
    REQUIRE_EQUAL(try_open(&none, "orders", 0, MIB), -EDQUOT); /* sections */
    while (try_open(&reader, "orders", CAIRN_CLIENT_READ_ONLY, 0) == -EDQUOT)
        continue; /* those who were refused have just gone */
    REQUIRE_EQUAL(try_open(&none, "orders", CAIRN_CLIENT_READ_ONLY, 0), -EDQUOT); /* connections */

    size_t sizes[CAIRN_BATCH_MAX];
    cairn_block blocks[2 * CAIRN_BATCH_MAX];
    for (size_t i = 0; i < CAIRN_BATCH_MAX; i++)
        sizes[i] = 100;
    REQUIRE_CALL(cairn_client_alloc_batch(first, sizes, 64, blocks) == 0);
    REQUIRE_EQUAL(cairn_client_alloc_batch(second, sizes, 37, blocks + 64), -EDQUOT);
    REQUIRE_EQUAL(stats_of_client(second).user_blocks, 64); /* all or none */
    REQUIRE_CALL(cairn_client_alloc_batch(second, sizes, 36, blocks + 64) == 0);
    REQUIRE_EQUAL(cairn_client_alloc(first, 1, blocks), -EDQUOT);
    blocks[2] = blocks[1];
    REQUIRE_EQUAL(cairn_client_free_batch(first, blocks, 3), -ESTALE);
    REQUIRE_EQUAL(stats_of_client(second).user_blocks, 100);
    REQUIRE_CALL(cairn_client_free(first, blocks) == 0);
    REQUIRE_EQUAL(cairn_client_alloc(first, MIB + 1, blocks), -ENOMEM);
    REQUIRE_CALL(cairn_client_alloc(first, MIB, blocks) == 0);
    memset(blocks[0].address, 7, blocks[0].size);
    cairn_client_close(first);
    wait_for_blocks(second, 36);
    cairn_client_close(second);
    cairn_client_close(reader);
    service_stop(server);
}

static void who_asks_too_often_is_told(void)
{
    pid_t server = start_server("requests_per_second_max = 5\n"); /* so few that any machine asks oftener */
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE);
    cairn_client_stats stats = {.size = sizeof stats};
    int refused;
    do
        refused = cairn_client_stats_get(client, &stats);
    while (refused == 0);
    REQUIRE_EQUAL(refused, -EAGAIN);
    struct timespec pause_of_a_second = {.tv_sec = 1, .tv_nsec = 100000000};
    nanosleep(&pause_of_a_second, NULL); /* the second is what is tested */
    REQUIRE_CALL(cairn_client_stats_get(client, &stats) == 0);
    cairn_client_close(client);
    service_stop(server);
}

static void a_batch_of_64_is_one_round_trip(void)
{
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE);
    enum { BATCHES = 100 };
    static cairn_block blocks[BATCHES][CAIRN_BATCH_MAX];
    size_t sizes[CAIRN_BATCH_MAX];
    uint64_t before = stats_of_client(client).messages;
    for (size_t i = 0; i < BATCHES; i++) {
        for (size_t k = 0; k < CAIRN_BATCH_MAX; k++)
            sizes[k] = 1 + (i * 64 + k) % 1000;
        REQUIRE_CALL(cairn_client_alloc_batch(client, sizes, CAIRN_BATCH_MAX, blocks[i]) == 0);
        for (size_t k = 0; k < CAIRN_BATCH_MAX; k++)
            memset(blocks[i][k].address, (int)(i + k), sizes[k]);
    }
    uint64_t after = stats_of_client(client).messages - 1;
    REQUIRE((double)(after - before) <= 1.5 * BATCHES);
    for (size_t i = 0; i < BATCHES; i++) {
        for (size_t k = 0; k < CAIRN_BATCH_MAX; k++) {
            const unsigned char *bytes = blocks[i][k].address;
            size_t size = 1 + (i * 64 + k) % 1000;
            REQUIRE(bytes[0] == (unsigned char)(i + k) && bytes[size - 1] == (unsigned char)(i + k));
        }
        REQUIRE_CALL(cairn_client_free_batch(client, blocks[i], CAIRN_BATCH_MAX) == 0);
    }
    REQUIRE_EQUAL(cairn_client_alloc_batch(client, sizes, CAIRN_BATCH_MAX + 1, blocks[0]), -EINVAL);
    REQUIRE_EQUAL(stats_of_client(client).own_blocks, 0);
    cairn_client_close(client);
    service_stop(server);
}

/* ---------------------------------------------------------------- spans */

static cairn_heap *create_span_with(cairn_client *client, size_t bytes, uint64_t flags, cairn_block *ret_span)
{
    cairn_options options = {.size = sizeof options, .bytes_max = bytes, .flags = flags};
    cairn_heap *heap;
    REQUIRE_CALL(cairn_client_heap_create(client, &heap, ret_span, &options) == 0);
    REQUIRE(ret_span->size >= bytes);
    return heap;
}

static cairn_heap *create_span(cairn_client *client, size_t bytes, cairn_block *ret_span)
{
    return create_span_with(client, bytes, 0, ret_span);
}

static bool is_in(const cairn_block *span, const void *block)
{
    return (uintptr_t)block - (uintptr_t)span->address < span->size;
}

/* A list of words in a heap; its head lies in a block of the server's, which root "list" names. */
struct word {
    struct word *next;
    char text[24];
};

static void make_list(cairn_client *client, cairn_heap *heap, int count)
{
    cairn_block head;
    struct word *first = NULL;
    for (int i = 0; i < count; i++) {
        struct word *word = cairn_alloc(heap, sizeof *word);
        REQUIRE_CALL(word != NULL);
        snprintf(word->text, sizeof word->text, "word %d", i);
        word->next = first;
        first = word;
    }
    REQUIRE_CALL(cairn_client_alloc(client, sizeof first, &head) == 0);
    memcpy(head.address, &first, sizeof first);
    REQUIRE_CALL(cairn_client_root_set(client, "list", &head) == 0);
}

static void read_list(void *arg)
{
    int count = *(const int *)arg;
    cairn_client *reader = open_client(CAIRN_CLIENT_READ_ONLY);
    cairn_block head;
    REQUIRE_CALL(cairn_client_root_get(reader, "list", &head) == 0);
    const struct word *word;
    memcpy(&word, head.address, sizeof word);
    for (; word != NULL; word = word->next) {
        char text[sizeof word->text];
        snprintf(text, sizeof text, "word %d", --count);
        REQUIRE(strcmp(word->text, text) == 0);
    }
    REQUIRE_EQUAL(count, 0);
    cairn_client_close(reader);
}

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

enum { PAIRS = 100000, PAIRS_AT_SERVER = 1000 };

/* Nanoseconds for an allocation and a free, the fastest of five rounds. */
static double time_pairs(cairn_heap *heap)
{
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        double began_at = seconds();
        for (int i = 0; i < PAIRS; i++) {
            void *block = cairn_alloc(heap, 64);
            *(volatile char *)block = 1;
            cairn_free(heap, block);
        }
        double took = (seconds() - began_at) / PAIRS * 1e9;
        best = took < best ? took : best;
    }
    return best;
}

/* In a span of its own, which a client of its own has for that. */
static double time_pairs_in_span(size_t bytes)
{
    cairn_client *client;
    cairn_block span;
    REQUIRE_CALL(try_open(&client, "times", CAIRN_CLIENT_CREATE, bytes + 4 * MIB) == 0);
    cairn_heap *heap = create_span_with(client, bytes, CAIRN_UNSERIALIZED, &span);
    REQUIRE_CALL(cairn_alloc(heap, 64) != NULL); /* so that no free empties a slab */
    uint64_t messages = stats_of_client(client).messages;
    double nanoseconds = time_pairs(heap);
    REQUIRE_EQUAL(stats_of_client(client).messages, messages + 1);
    cairn_heap_close(heap);
    cairn_client_close(client);
    return nanoseconds;
}

static double time_pairs_at_server(cairn_client *client)
{
    cairn_block block;
    double began_at = seconds();
    for (int i = 0; i < PAIRS_AT_SERVER; i++) {
        REQUIRE_CALL(cairn_client_alloc(client, 64, &block) == 0);
        REQUIRE_CALL(cairn_client_free(client, &block) == 0);
    }
    return (seconds() - began_at) / PAIRS_AT_SERVER * 1e9;
}

static void in_a_span_a_client_allocates_without_asking(void)
{
    int count = 1000;
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE);
    cairn_block span;
    cairn_heap *heap = create_span_with(client, 2 * MIB, CAIRN_UNSERIALIZED, &span);
    make_list(client, heap, count);
    finish(start(read_list, &count));
    cairn_heap *shared = create_shared("shared", 0);
    printf("    an allocation and its free: %.1f ns in a span of 2 MiB, %.1f ns in one of 32 MiB, %.1f ns in a shared "
           "heap, "
           "%.0f ns at the server\n",
           time_pairs_in_span(2 * MIB), time_pairs_in_span(32 * MIB), time_pairs(shared), time_pairs_at_server(client));
    cairn_heap_close(shared);
    REQUIRE_EQUAL(stats_of_client(client).own_blocks, 2); /* the span and the head */

    void *block = NULL;
    uint64_t blocks = 0;
    for (void *next; (next = cairn_alloc(heap, 10000)) != NULL; blocks++) {
        block = next;
        memset(block, 1, 10000);
        REQUIRE(is_in(&span, block) && is_in(&span, (char *)block + 9999));
    }
    REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
    REQUIRE(blocks > 150);
    cairn_free(heap, block);
    REQUIRE_SOUND(heap);
    finish(start(read_list, &count));
    cairn_heap_close(heap);

    REQUIRE_CALL(cairn_client_give(client, &span, CAIRN_TO_HEAP) == 0); /* with all that is in it */
    finish(start(read_list, &count));
    REQUIRE_CALL(cairn_client_take_from_heap(client, &span) == 0);
    REQUIRE_CALL(cairn_client_free(client, &span) == 0);
    REQUIRE_EQUAL(stats_of_client(client).own_blocks, 1);
    heap = create_span(client, 2 * MIB, &span); /* in what is full of others' bytes */
    memset(cairn_alloc(heap, 100000), 1, 100000);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    cairn_client_close(client);
    service_stop(server);
}

static void what_cannot_be_a_span_is_refused(void)
{
    pid_t server = start_server("blocks_per_user_max = 1\n");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE), *reader = open_client(CAIRN_CLIENT_READ_ONLY);
    cairn_heap *heap = untouched;
    cairn_block span = {.handle = 7};
    cairn_options good = {.size = sizeof good, .bytes_max = CAIRN_SPAN_BYTES_MIN}, small = good, named = good,
                  large = good, unknown = good;
    small.bytes_max--;
    named.name = "name";
    large.bytes_max = 9 * MIB;
    unknown.flags = UINT64_C(1) << 60;
    REQUIRE_EQUAL(cairn_client_heap_create(client, &heap, &span, NULL), -EINVAL);
    REQUIRE_EQUAL(cairn_client_heap_create(client, &heap, &span, &small), -EINVAL);
    REQUIRE_EQUAL(cairn_client_heap_create(client, &heap, &span, &named), -EINVAL);
    REQUIRE_EQUAL(cairn_client_heap_create(client, &heap, &span, &large), -ENOMEM);
    REQUIRE_EQUAL(cairn_client_heap_create(client, &heap, &span, &unknown), -EINVAL);
    REQUIRE_EQUAL(stats_of_client(client).own_blocks, 0); /* what was granted for that is taken back */
    REQUIRE_EQUAL(cairn_client_heap_create(reader, &heap, &span, &good), -EROFS);
    REQUIRE(heap == untouched && span.handle == 7);
    REQUIRE_CALL(cairn_client_heap_create(client, &heap, &span, &good) == 0);
    cairn_heap *second;
    REQUIRE_EQUAL(cairn_client_heap_create(client, &second, &span, &good), -EDQUOT);
    REQUIRE(cairn_alloc(heap, 1000) != NULL);
    cairn_heap_close(heap);
    cairn_client_close(reader);
    cairn_client_close(client);
    service_stop(server);
}

static void allocate_in_a_span_and_wait(void *arg)
{
    (void)arg;
    cairn_client *client = open_client(0);
    cairn_block span;
    cairn_heap *heap = create_span(client, MIB, &span);
    for (int i = 0; i < 1000; i++)
        REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    advance(&board->turn);
    for (;;)
        pause();
}

static void a_span_ends_with_its_client(void)
{
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE), *other = open_client(0);
    pid_t child = start(allocate_in_a_span_and_wait, NULL);
    wait_for(&board->turn, 1);
    REQUIRE_EQUAL(stats_of_client(client).user_blocks, 1);
    kill(child, SIGKILL);
    finish_by(child, SIGKILL);
    wait_for_blocks(client, 0);

    cairn_block span;
    cairn_heap *heap = create_span(other, MIB, &span);
    char *text = cairn_alloc(heap, 100);
    strcpy(text, "still here");
    cairn_client_close(other); /* before its heap */
    wait_for_blocks(client, 0);
    REQUIRE(strcmp(text, "still here") == 0);
    cairn_free(heap, text);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    cairn_client_close(client);
    service_stop(server);
}

struct forked {
    cairn_client *client;
    cairn_heap *heap;
    void *block;
};

static void use_the_parents_heap(void *arg)
{
    const struct forked *forked = arg;
    freopen("/dev/null", "w", stderr); /* what is said of misuse is not this claim's */
    cairn_free(forked->heap, forked->block);
}

static void have_a_heap_of_its_own(void *arg)
{
    const struct forked *forked = arg;
    cairn_block span;
    cairn_client_close(forked->client);
    cairn_client *client = open_client(0);
    cairn_heap *heap = create_span(client, MIB, &span), *private = create_private(MIB);
    REQUIRE(cairn_alloc(heap, 100) != NULL && cairn_alloc(private, 100) != NULL);
    REQUIRE_SOUND(heap);
    cairn_heap_close(private);
    cairn_heap_close(heap);
    cairn_client_close(client);
}

static void a_child_has_none_of_its_parents_spans(void)
{
    pid_t server = start_server("block_bytes_max = 80M\n");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE);
    cairn_block spans[2];
    /* A small heap has one owner, a large one an owner for each thread. */
    cairn_heap *small = create_span(client, MIB, &spans[0]), *other;
    cairn_client_options options = {.socket = workspace_path("cairnd.sock"), .bytes_max = 80 * MIB};
    cairn_client *large_client;
    REQUIRE_CALL(cairn_client_open(&large_client, "orders", &options) == 0);
    other = create_span(large_client, 65 * MIB, &spans[1]);
    cairn_heap *heaps[] = {small, other};
    for (size_t i = 0; i < COUNT(heaps); i++) {
        struct forked forked = {client, heaps[i], cairn_alloc(heaps[i], 100)};
        REQUIRE(forked.block != NULL);
        finish_by(start(use_the_parents_heap, &forked), SIGABRT);
        finish(start(have_a_heap_of_its_own, &forked));
        cairn_free(heaps[i], forked.block);
        REQUIRE_SOUND(heaps[i]);
        cairn_heap_close(heaps[i]);
    }
    cairn_client_close(large_client);
    cairn_client_close(client);
    service_stop(server);
}

/* ---------------------------------------------------------------- sections */

static void ask_raw(int fd, const struct wire_request *request, struct wire_reply *ret_reply)
{
    REQUIRE(send(fd, request, sizeof *request, 0) == sizeof *request);
    REQUIRE(recv(fd, ret_reply, sizeof *ret_reply, 0) == sizeof *ret_reply);
    REQUIRE_EQUAL(ret_reply->status, 0);
}

/* Its section is older than that of others, and was sealed after the reader had seen theirs. */
static void a_section_that_is_sealed_late_is_found(void)
{
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE), *reader = open_client(CAIRN_CLIENT_READ_ONLY);
    struct wire_request request = {
        .magic = SERVER_MAGIC, .version = SERVER_VERSION, .operation = WIRE_OPEN, .value = 2 * MIB};
    struct wire_reply reply;
    int slow = connect_to("cairnd.sock");
    strcpy(request.name, "orders");
    ask_raw(slow, &request, &reply);
    cairn_client *fast = open_client(0);
    cairn_block block = alloc_text(fast, "fast");
    REQUIRE_CALL(cairn_client_root_set(fast, "block", &block) == 0);
    REQUIRE_CALL(cairn_client_root_get(reader, "block", &block) == 0);
    REQUIRE(strcmp(block.address, "fast") == 0);

    request = (struct wire_request){.magic = SERVER_MAGIC, .version = SERVER_VERSION, .operation = WIRE_MAPPED};
    ask_raw(slow, &request, &reply);
    request.operation = WIRE_ALLOC;
    request.count = 1;
    request.words[0] = 100;
    ask_raw(slow, &request, &reply);
    request.operation = WIRE_ROOT_SET;
    request.words[0] = reply.blocks[0].handle;
    strcpy(request.name, "block");
    ask_raw(slow, &request, &reply);
    REQUIRE_CALL(cairn_client_root_get(reader, "block", &block) == 0);
    REQUIRE_EQUAL(*(volatile const char *)block.address, 0); /* nobody has written there */
    cairn_client_close(fast);
    cairn_client_close(reader);
    cairn_client_close(client);
    close(slow);
    service_stop(server);
}

/* ---------------------------------------------------------------- servers that are none */

#define SECTION_OF_NONE UINT64_C(0x551000000000)

static int listen_as_the_server(int backlog)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", workspace_path("cairnd.sock"));
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    REQUIRE(listener >= 0 && bind(listener, (const struct sockaddr *)&address, sizeof address) == 0);
    REQUIRE(listen(listener, backlog) == 0);
    return listener;
}

static struct wire_reply reply_to(const struct wire_request *request)
{
    return (struct wire_reply){.magic = SERVER_MAGIC,
                               .version = SERVER_VERSION,
                               .operation = request->operation,
                               .sequence = request->sequence};
}

static void send_reply(int fd, const struct wire_reply *reply, int file)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &file, sizeof file);
    struct iovec part = {.iov_base = (void *)(uintptr_t)reply, .iov_len = sizeof *reply};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (file >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
    }
    REQUIRE(sendmsg(fd, &message, MSG_NOSIGNAL) == sizeof *reply);
}

/* A server as the race makes one: its root's block lies in a section that is not there any more when it is asked for.
 */
static void serve_a_root_of_nothing(void *arg)
{
    int fd = accept(*(const int *)arg, NULL, NULL);
    struct wire_request request;
    while (recv(fd, &request, sizeof request, 0) == sizeof request) {
        struct wire_reply reply = reply_to(&request);
        reply.serial = 1;
        if (request.operation == WIRE_ROOT_GET) {
            reply.count = 1;
            reply.blocks[0] = (struct wire_block){.address = SECTION_OF_NONE, .size = 100};
        } else if (request.operation == WIRE_SECTION) {
            reply.status = -ENODATA;
        }
        REQUIRE(send(fd, &reply, sizeof reply, 0) == sizeof reply);
    }
}

static void a_root_whose_section_has_gone_is_none(void)
{
    int listener = listen_as_the_server(1);
    pid_t server = start(serve_a_root_of_nothing, &listener);
    cairn_client *reader = open_client(CAIRN_CLIENT_READ_ONLY);
    cairn_block block = {.handle = 5};
    REQUIRE_EQUAL(cairn_client_root_get(reader, "block", &block), -ENOENT);
    REQUIRE(block.address == NULL && block.handle == 5);
    cairn_client_close(reader);
    finish(server);
}

/* Grants a section, and a block at its beginning, which it says has become larger than all of it, or has moved. */
static void serve_a_block_without_end(void *arg)
{
    int fd = accept(*(const int *)arg, NULL, NULL);
    struct wire_request request;
    while (recv(fd, &request, sizeof request, 0) == sizeof request) {
        struct wire_reply reply = reply_to(&request);
        int file = -1;
        reply.count = request.operation == WIRE_MAPPED ? 0 : 1;
        reply.serial = 1;
        reply.blocks[0] = (struct wire_block){.address = SECTION_OF_NONE, .size = 4096, .handle = 1};
        if (request.operation == WIRE_OPEN) {
            file = memfd_create("section", MFD_CLOEXEC | MFD_ALLOW_SEALING);
            REQUIRE(file >= 0 && ftruncate(file, MIB) == 0 && fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
            reply.blocks[0].size = MIB;
        } else if (request.operation == WIRE_EXPAND) {
            reply.blocks[0].size = board->count != 0 ? request.value : MIB + 1;
            reply.blocks[0].address += board->count;
        }
        send_reply(fd, &reply, file);
        close(file);
    }
}

static void a_block_grows_no_further_than_its_section_whatever_the_server_says(void)
{
    board = shared_memory(sizeof *board);
    int listener = listen_as_the_server(1);
    for (board->count = 0; board->count <= 4096; board->count += 4096) {
        pid_t server = start(serve_a_block_without_end, &listener);
        cairn_client *client = open_client(0);
        cairn_block block;
        REQUIRE_CALL(cairn_client_alloc(client, 100, &block) == 0);
        REQUIRE_EQUAL(block.size, 4096);
        REQUIRE_EQUAL(cairn_client_realloc(client, &block, 8192), -EPROTO);
        REQUIRE(block.size == 4096 && (uintptr_t)block.address == SECTION_OF_NONE);
        cairn_client_close(client);
        finish(server);
    }
    close(listener);
}

static void count_signal(int signal)
{
    (void)signal;
    int saved_errno = errno;
    advance(&board->heard);
    errno = saved_errno;
}

/* Sends the client signals one after the other, each when it has handled the last. */
static void disturb(uint32_t times)
{
    for (uint32_t i = 0; i < times; i++) {
        uint32_t heard = board->heard;
        REQUIRE(kill(getppid(), SIGUSR1) == 0);
        wait_for(&board->heard, heard + 1);
    }
}

enum { ANSWERS = 50 };

static void serve_while_signals_come(void *arg)
{
    int listener = *(const int *)arg;
    struct wire_request request;
    wait_for(&board->turn, 1);
    disturb(20); /* while it waits to be let in: there is one before it */
    close(accept(listener, NULL, NULL));
    int fd = accept(listener, NULL, NULL);
    for (int i = 0; i < ANSWERS; i++) {
        REQUIRE(recv(fd, &request, sizeof request, 0) == sizeof request);
        disturb(5);
        struct wire_reply reply = reply_to(&request);
        reply.count = request.operation == WIRE_STATS ? 3 : 0;
        send_reply(fd, &reply, -1);
    }
    while (board->is_over == 0) /* no more answers, and no end of signals */
        disturb(1);
    advance(&board->turn);
}

/* A server that disturbs its client, which has begun to. */
struct disturber {
    int listener, before;
    pid_t server;
};

static struct disturber disturber_begin(void)
{
    if (UNDER_TSAN)
        skip("ThreadSanitizer keeps a signal back until the next call has ended, which here waits for its handler");
    board = shared_memory(sizeof *board);
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    struct disturber disturber = {.listener = listen_as_the_server(0)};
    disturber.before = connect_to("cairnd.sock"); /* all that may wait at once */
    disturber.server = start(serve_while_signals_come, &disturber.listener);
    advance(&board->turn);
    return disturber;
}

static void disturber_end(const struct disturber *disturber)
{
    close(disturber->before);
    board->is_over = 1;
    finish(disturber->server);
    close(disturber->listener);
}

static void a_signal_is_no_reason_to_give_up(void)
{
    struct disturber disturber = disturber_begin();
    cairn_client *client = open_client(CAIRN_CLIENT_READ_ONLY);
    for (int i = 1; i < ANSWERS; i++)
        (void)stats_of_client(client);
    cairn_client_close(client);
    disturber_end(&disturber);
}

static void who_is_not_answered_gives_up_in_time_whatever_signals_come(void)
{
    struct disturber disturber = disturber_begin();
    cairn_client *client;
    cairn_client_options options = {
        .socket = workspace_path("cairnd.sock"), .flags = CAIRN_CLIENT_READ_ONLY, .timeout_ms = 2000};
    REQUIRE_CALL(cairn_client_open(&client, "orders", &options) == 0);
    for (int i = 1; i < ANSWERS; i++)
        (void)stats_of_client(client);
    cairn_client_stats stats = {.size = sizeof stats};
    REQUIRE_EQUAL(cairn_client_stats_get(client, &stats), -ETIMEDOUT);
    REQUIRE_EQUAL(cairn_client_stats_get(client, &stats), -ECONNRESET); /* of no use any more */
    cairn_client_close(client);
    disturber_end(&disturber);
}

/* ---------------------------------------------------------------- enemies */

/* Speaks the protocol to get the descriptor itself, as the library does not give it. */
static int file_of_first_section(int fd)
{
    struct wire_request request = {
        .magic = SERVER_MAGIC, .version = SERVER_VERSION, .operation = WIRE_OPEN, .flags = CAIRN_CLIENT_READ_ONLY};
    struct wire_reply reply;
    strcpy(request.name, "orders");
    REQUIRE(send(fd, &request, sizeof request, 0) == sizeof request);
    REQUIRE(recv(fd, &reply, sizeof reply, 0) == sizeof reply && reply.status == 0);
    memset(request.name, 0, sizeof request.name);
    request.flags = 0;
    request.operation = WIRE_SECTION;
    REQUIRE(send(fd, &request, sizeof request, 0) == sizeof request);
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = &reply, .iov_len = sizeof reply};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    REQUIRE(recvmsg(fd, &message, MSG_CMSG_CLOEXEC) == sizeof reply && reply.status == 0);
    REQUIRE(CMSG_FIRSTHDR(&message) != NULL);
    int file;
    memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof file);
    return file;
}

static void try_to_write(void *arg)
{
    (void)arg;
    cairn_client *reader = open_client(0);
    cairn_block block;
    REQUIRE_CALL(cairn_client_root_get(reader, "greeting", &block) == 0);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *around = (void *)((uintptr_t)block.address & ~(page - 1));
    REQUIRE(mprotect(around, page, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
    REQUIRE_EQUAL(cairn_client_free(reader, &block), -ESTALE);
    REQUIRE_EQUAL(cairn_client_free(reader, &board->block), -ESTALE); /* the owner's handle is of no use here */

    int file = file_of_first_section(connect_to("cairnd.sock"));
    char path[64];
    REQUIRE(pwrite(file, "x", 1, 0) < 0 && errno == EBADF);
    REQUIRE(mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) == MAP_FAILED);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    (void)fchmod(file, 0666);
    int writable = open(path, O_RDWR | O_CLOEXEC);
    REQUIRE(writable >= 0); /* the same user may; the seals are the wall */
    REQUIRE(pwrite(writable, "x", 1, 0) < 0 && errno == EPERM);
    REQUIRE(mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, writable, 0) == MAP_FAILED && errno == EPERM);
    REQUIRE(ftruncate(writable, 0) < 0 && errno == EPERM);
    REQUIRE(ftruncate(writable, 1 << 30) < 0 && errno == EPERM);
    REQUIRE(fallocate(writable, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page) < 0 && errno == EPERM);
    REQUIRE(fcntl(writable, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM);
    signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would exit */
    *(volatile char *)block.address = 'x';
}

static void another_client_cannot_write(void)
{
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE);
    cairn_block block = alloc_text(client, "hello");
    REQUIRE_CALL(cairn_client_root_set(client, "greeting", &block) == 0);
    board->block = block;
    finish_by(start(try_to_write, NULL), SIGSEGV);
    REQUIRE(strcmp(block.address, "hello") == 0);
    strcpy(block.address, "world"); /* and its owner can, as before */
    cairn_client_close(client);
    service_stop(server);
}

/* ---------------------------------------------------------------- other users */

static void read_as_the_one_on_the_list(void *arg)
{
    become(*(const uint32_t *)arg);
    cairn_client *client;
    cairn_block block;
    REQUIRE_EQUAL(try_open(&client, "orders", 0, MIB), -EACCES); /* may only read */
    REQUIRE_EQUAL(try_open(&client, "secret", CAIRN_CLIENT_READ_ONLY, 0), -EACCES);
    client = open_client(CAIRN_CLIENT_READ_ONLY);
    REQUIRE_CALL(cairn_client_root_get(client, "greeting", &block) == 0);
    REQUIRE(strcmp(block.address, "hello") == 0);
    int fd = connect_to("cairnd.sock");
    int file = file_of_first_section(fd);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    REQUIRE(open(path, O_RDWR | O_CLOEXEC) < 0 && errno == EACCES);
    REQUIRE(fchmod(file, 0666) < 0 && errno == EPERM);
    cairn_client_close(client);
}

static void be_refused(void *arg)
{
    become(*(const uint32_t *)arg);
    cairn_client *client;
    REQUIRE_EQUAL(try_open(&client, "orders", CAIRN_CLIENT_READ_ONLY, 0), -EACCES);
    REQUIRE_EQUAL(try_open(&client, "orders", CAIRN_CLIENT_CREATE, MIB), -EACCES);
}

static void another_user_gets_what_the_lists_let_it(void)
{
    if (geteuid() != 0)
        skip("only root can be another user");
    uint32_t listed = 54321, stranger = 54322;
    REQUIRE(chmod(workspace_directory(), 0711) == 0);
    pid_t server = start_server("users = 54321\n");
    cairn_client *client, *secret;
    cairn_access access = {.id = listed};
    cairn_client_options options = {
        .socket = workspace_path("cairnd.sock"), .flags = CAIRN_CLIENT_CREATE, .access = &access, .access_count = 1};
    REQUIRE_CALL(cairn_client_open(&client, "orders", &options) == 0);
    REQUIRE_CALL(try_open(&secret, "secret", CAIRN_CLIENT_CREATE, MIB) == 0);
    cairn_block block = alloc_text(client, "hello");
    REQUIRE_CALL(cairn_client_root_set(client, "greeting", &block) == 0);
    finish(start(read_as_the_one_on_the_list, &listed));
    finish(start(be_refused, &stranger));
    cairn_client_close(client);
    cairn_client_close(secret);
    service_stop(server);
}

static void come_first(void *arg)
{
    become(*(const uint32_t *)arg);
    cairn_access access = {.id = 54321, .may_write = true};
    cairn_client *client;
    cairn_client_options options = {
        .socket = workspace_path("cairnd.sock"), .flags = CAIRN_CLIENT_CREATE, .access = &access, .access_count = 1};
    REQUIRE_CALL(cairn_client_open(&client, "orders", &options) == 0);
    advance(&board->turn);
    wait_for(&board->heard, 1);
    cairn_client_stats stats = stats_of_client(client);
    while (stats.heap_clients != 1) /* who was refused by itself goes */
        stats = stats_of_client(client);
    REQUIRE_EQUAL(stats.heap_sections, 1);
    cairn_client_close(client);
}

static void come_second(void *arg)
{
    become(*(const uint32_t *)arg);
    cairn_client *client = NULL;
    wait_for(&board->turn, 1);
    REQUIRE_EQUAL(try_open(&client, "orders", CAIRN_CLIENT_CREATE, MIB), -EPERM);
    REQUIRE_EQUAL(try_open(&client, "orders", 0, MIB), -EPERM);
    REQUIRE_EQUAL(try_open(&client, "orders", CAIRN_CLIENT_READ_ONLY, 0), -EPERM);
    REQUIRE(client == NULL);
    REQUIRE_CALL(try_open(&client, "orders", CAIRN_CLIENT_ANY_OWNER, MIB) == 0);
    cairn_client_close(client);
    advance(&board->heard);
}

/* A name is for who comes first; who comes second is not to write its secrets there. */
static void the_heap_of_another_user_is_opened_by_who_asks_for_that(void)
{
    if (geteuid() != 0)
        skip("only root can be another user");
    uint32_t first = 54322, second = 54321;
    REQUIRE(chmod(workspace_directory(), 0711) == 0);
    pid_t server = start_server("users = 54321 54322\n");
    pid_t one = start(come_first, &first), other = start(come_second, &second);
    finish(other);
    finish(one);
    service_stop(server);
}

static pid_t start_logged(const char *config)
{
    board = shared_memory(sizeof *board);
    service_configure(config);
    int log = open(workspace_path("log"), O_CREAT | O_WRONLY | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    int own = dup(2);
    REQUIRE(log >= 0 && own >= 0 && dup2(log, 2) == 2);
    pid_t server = service_start(service_exec, (char[]){CAIRND});
    REQUIRE(dup2(own, 2) == 2);
    close(own);
    close(log);
    return server;
}

/* The claim's clock bounds it. */
static void wait_for_log(const char *what)
{
    static char text[1 << 16];
    do {
        FILE *file = fopen(workspace_path("log"), "re");
        REQUIRE(file != NULL);
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        fclose(file);
    } while (strstr(text, what) == NULL);
}

static void stay_until_dropped(void *arg)
{
    become(*(const uint32_t *)arg);
    cairn_client *client = open_client(CAIRN_CLIENT_READ_ONLY);
    advance(&board->turn);
    struct pollfd end = {.fd = cairn_client_fd(client), .events = POLLRDHUP};
    REQUIRE(poll(&end, 1, 20000) == 1);
    cairn_client_close(client);
    REQUIRE_EQUAL(try_open(&client, "orders", CAIRN_CLIENT_READ_ONLY, 0), -EACCES);
}

static void stay(void *arg)
{
    become(*(const uint32_t *)arg);
    cairn_client *client = open_client(CAIRN_CLIENT_READ_ONLY);
    advance(&board->turn);
    wait_for(&board->heard, 1);
    (void)stats_of_client(client);
    cairn_client_close(client);
}

static void who_is_on_no_list_any_more_is_dropped(void)
{
    if (geteuid() != 0)
        skip("only root can be another user");
    uint32_t listed = 54321, other = 54322;
    REQUIRE(chmod(workspace_directory(), 0711) == 0);
    pid_t server = start_logged("users = 54321 54322\n");
    cairn_client *client, *second;
    cairn_client_options options = {.socket = workspace_path("cairnd.sock"),
                                    .flags = CAIRN_CLIENT_CREATE | CAIRN_CLIENT_EVERYONE};
    REQUIRE_CALL(cairn_client_open(&client, "orders", &options) == 0);
    pid_t dropped = start(stay_until_dropped, &listed), kept = start(stay, &other);
    wait_for(&board->turn, 2);

    service_configure("users = nobody-xyz\n");
    REQUIRE(kill(server, SIGHUP) == 0);
    wait_for_log("users names a user that there is not");
    REQUIRE_EQUAL(stats_of_client(client).heap_clients, 3);
    service_configure("users = 54322\nbytes_per_user_max = 1M\n");
    REQUIRE(kill(server, SIGHUP) == 0);
    wait_for_log("is on no list any more");
    wait_for_log("has read its access lists again");
    finish(dropped);
    advance(&board->heard);
    finish(kept);
    REQUIRE_CALL(try_open(&second, "orders", 0, 2 * MIB) == 0); /* the other keys are as they were */
    cairn_client_close(second);

    struct stat status;
    service_configure("");
    REQUIRE(kill(server, SIGHUP) == 0);
    do /* nobody but its own user is let in, and the door is shut as well */
        REQUIRE(stat(workspace_path("cairnd.sock"), &status) == 0);
    while ((status.st_mode & 0777) != 0600);
    cairn_client_close(client);
    service_stop(server);
}

/* A server whose standard error is a pipe, of which we have the other end. */
static pid_t start_piped(int ret_pipe[2])
{
    board = shared_memory(sizeof *board);
    service_configure("");
    int own = dup(2);
    REQUIRE(own >= 0 && pipe2(ret_pipe, O_CLOEXEC) == 0 && dup2(ret_pipe[1], 2) == 2);
    pid_t server = service_start(service_exec, (char[]){CAIRND});
    REQUIRE(dup2(own, 2) == 2);
    close(own);
    return server;
}

static void fill(int file)
{
    REQUIRE(fcntl(file, F_SETFL, O_NONBLOCK) == 0);
    while (write(file, "x", 1) == 1)
        continue;
    REQUIRE(errno == EAGAIN && fcntl(file, F_SETFL, 0) == 0); /* the server has it, too, as it was */
}

/* Does what a line is written for. */
static void be_dropped(void)
{
    int fd = connect_to("cairnd.sock");
    REQUIRE(send(fd, "garbage", 7, MSG_NOSIGNAL) == 7);
    struct pollfd end = {.fd = fd, .events = POLLRDHUP};
    REQUIRE(poll(&end, 1, 20000) == 1);
    close(fd);
}

static void nobody_waits_for_who_reads_the_log(void)
{
    int log[2];
    pid_t server = start_piped(log);
    fill(log[1]);
    be_dropped();
    cairn_client_close(open_client(CAIRN_CLIENT_CREATE));
    close(log[1]);
    char read_at_last[4096];
    REQUIRE(fcntl(log[0], F_SETFL, O_NONBLOCK) == 0);
    while (read(log[0], read_at_last, sizeof read_at_last) > 0)
        continue;
    close(log[0]); /* there is room again, and nobody: who writes is told by SIGPIPE */
    be_dropped();
    cairn_client_close(open_client(CAIRN_CLIENT_CREATE));
    service_stop(server);
}

/* Handles that are guessed, and blocks of others', by one client that speaks well. */
static void guessed_handles_lead_nowhere(void)
{
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE), *other = open_client(0);
    cairn_block block = alloc_text(client, "mine"), guess;
    struct random random = random_begin(random_seed("guesses", 1));
    for (int i = 0; i < 10000; i++) {
        guess = (cairn_block){.handle = block.handle ^ (random_next(&random) | 1)};
        REQUIRE_EQUAL(cairn_client_free(other, &guess), -ESTALE);
        REQUIRE(cairn_client_take_from_heap(other, &guess) == -ESTALE);
        if (guess.handle != block.handle)
            REQUIRE_EQUAL(cairn_client_free(client, &guess), -ESTALE);
    }
    /* What was handed over is its new owner's only once it has taken it. */
    REQUIRE_CALL(cairn_client_give(client, &block, cairn_client_number(other)) == 0);
    REQUIRE_EQUAL(stats_of_client(other).own_blocks, 1);
    REQUIRE_CALL(cairn_client_take(other, &guess) == 0);
    REQUIRE_CALL(cairn_client_free(other, &guess) == 0);
    cairn_client_close(client);
    cairn_client_close(other);
    service_stop(server);
}

/* A client's handles follow each other, so it can guess what it was given; yet nothing is its own before it takes it.
 */
static void what_is_handed_over_is_nobodys_until_it_is_taken(void)
{
    pid_t server = start_server("");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE), *other = open_client(0);
    cairn_block first = alloc_text(other, "first"), taken;
    cairn_block given[2] = {alloc_text(client, "given"), alloc_text(client, "after")};
    REQUIRE_CALL(cairn_client_give(client, &given[0], cairn_client_number(other)) == 0);
    REQUIRE_CALL(cairn_client_give(client, &given[1], cairn_client_number(other)) == 0);
    cairn_block guess = {.address = given[0].address, .size = given[0].size, .handle = first.handle + 1};
    REQUIRE_EQUAL(cairn_client_free(other, &guess), -ESTALE);
    REQUIRE_EQUAL(cairn_client_free_batch(other, (cairn_block[]){first, guess}, 2), -ESTALE);
    REQUIRE_EQUAL(cairn_client_realloc(other, &guess, 4096), -ESTALE);
    REQUIRE_EQUAL(cairn_client_give(other, &guess, CAIRN_TO_HEAP), -ESTALE);
    REQUIRE_EQUAL(cairn_client_root_set(other, "guess", &guess), -ESTALE);
    REQUIRE_EQUAL(stats_of_client(other).own_blocks, 3);
    for (int i = 0; i < 2; i++) {
        REQUIRE_CALL(cairn_client_take(other, &taken) == 0);
        REQUIRE(taken.address == given[i].address);
        REQUIRE_EQUAL(taken.handle, first.handle + 1 + (uint64_t)i); /* so the guess was right */
        REQUIRE_CALL(cairn_client_free(other, &taken) == 0);
    }
    REQUIRE_EQUAL(cairn_client_take(other, &taken), -ENODATA);
    REQUIRE_EQUAL(stats_of_client(client).user_blocks, 1);
    cairn_client_close(client);
    cairn_client_close(other);
    service_stop(server);
}

/* Requests of every kind, nearly right. */
static void make_request(struct random *random, struct wire_request *ret_request, size_t *ret_bytes)
{
    static const char *const names[] = {"orders", "greeting", "x", "a/b", ""};
    struct wire_request request = {.magic = SERVER_MAGIC,
                                   .version = SERVER_VERSION,
                                   .operation = (uint32_t)random_below(random, WIRE_OPERATIONS + 1),
                                   .sequence = random_next(random)};
    if (request.operation == WIRE_OPEN || request.operation == WIRE_ROOT_SET || request.operation == WIRE_ROOT_GET)
        strcpy(request.name, names[random_below(random, COUNT(names))]);
    if (random_below(random, 2) == 0)
        request.flags = random_below(random, 9);
    if (random_below(random, 2) == 0)
        request.value = random_below(random, 3) == 0 ? random_next(random) : (uint64_t)MIB << random_below(random, 40);
    request.count = (uint32_t)random_below(random, random_below(random, 8) == 0 ? 70 : 3);
    for (uint32_t i = 0; i < request.count && i < CAIRN_BATCH_MAX; i++)
        request.words[i] = random_next(random) >> random_below(random, 64);
    size_t changes = random_below(random, 4) == 0 ? random_below(random, 8) : 0;
    for (size_t i = 0; i < changes; i++)
        ((unsigned char *)&request)[random_below(random, sizeof request)] ^= (unsigned char)random_next(random);
    *ret_request = request;
    *ret_bytes = random_below(random, 16) == 0 ? random_below(random, sizeof request) : sizeof request;
}

/* Sends one message, perhaps with descriptors; false: the server has ended the connection. */
static bool send_garbage(int fd, struct random *random)
{
    struct wire_request request;
    size_t bytes;
    make_request(random, &request, &bytes);
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(3 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    int files[3] = {0, 1, 2};
    memcpy(CMSG_DATA(&control.header), files, sizeof files);
    struct iovec part = {.iov_base = &request, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (random_below(random, 64) == 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL) >= 0;
}

static void send_much_garbage(void *arg)
{
    struct random random = random_begin(*(const uint64_t *)arg);
    struct wire_reply reply;
    int fd = -1;
    while (board->count < 100000 * (UNDER_SANITIZER ? 1 : 2)) {
        if (fd < 0)
            fd = connect_to("cairnd.sock");
        bool is_open = send_garbage(fd, &random);
        board->count++; /* of one process alone */
        /* Most replies are read; who reads none is dropped as well. */
        if (is_open && random_below(&random, 4) != 0)
            while (recv(fd, &reply, sizeof reply, MSG_DONTWAIT) > 0)
                continue;
        if (!is_open || random_below(&random, 100) == 0) {
            close(fd);
            fd = -1;
        }
    }
    board->is_over = 1;
}

static void garbage_is_in_nobodys_way(void)
{
    pid_t server = start_server("requests_per_second_max = 1000000000\n");
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE);
    uint64_t seed = random_seed("garbage", 1);
    pid_t child = start(send_much_garbage, &seed);
    uint64_t rounds = 0;
    while (board->is_over == 0 || rounds < 100) {
        cairn_block block = alloc_text(client, "honest");
        REQUIRE_CALL(cairn_client_root_set(client, "honest", &block) == 0);
        REQUIRE(strcmp(block.address, "honest") == 0);
        REQUIRE_CALL(cairn_client_free(client, &block) == 0);
        rounds++;
    }
    finish(child);
    REQUIRE(board->count >= 100000);
    printf("    %llu messages of garbage, %llu rounds of an honest client\n", (unsigned long long)board->count,
           (unsigned long long)rounds);
    wait_for_blocks(client, 0);
    while (stats_of_client(client).heap_clients != 1)
        continue;
    cairn_client_close(client);
    service_stop(server);
}

/* ---------------------------------------------------------------- the program */

static int run_cairnd(const char *option)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        execl(CAIRND, CAIRND, "--config", workspace_path("cairnd.conf"), option, (char *)NULL);
        _exit(127);
    }
    REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* It ends with 1, and what it says to standard error is that. */
static void require_said(const char *option, const char *what)
{
    char said[2000] = {0};
    int log = open(workspace_path("log"), O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600), own = dup(2);
    REQUIRE(log >= 0 && own >= 0 && dup2(log, 2) == 2);
    int status = run_cairnd(option);
    REQUIRE(dup2(own, 2) == 2);
    REQUIRE(pread(log, said, sizeof said - 1, 0) > 0);
    close(log);
    close(own);
    if (status != 1 || strstr(said, what) == NULL)
        broken(__FILE__, __LINE__, "exit status %d, and it says: %s instead of: %s", status, said, what);
}

static void a_wrong_configuration_is_refused(void)
{
    static const char *const wrong[][2] = {
        {"clients_max = 0\n", ":3: clients_max is out of range: 1 to 4096\n"},
        {"clients_max = 5000\n", ":3: clients_max is out of range: 1 to 4096\n"},
        {"clients_max\n", ":3: is not of the form \"key = value\"\n"},
        {"= 5\n", ":3: is not of the form \"key = value\"\n"},
        {"clients = 5\n", ":3: clients is no key\n"},
        {"clients_max =\n", ":3: clients_max has no value\n"},
        {"clients_max = 5x\n", ":3: clients_max is no number"},
        {"users = root nobody-xyz\n", ":3: users names a user that there is not: nobody-xyz\n"},
        {"groups = nobody-xyz root\n", ":3: groups names a group that there is not: nobody-xyz\n"},
        {"groups = 1K\n", ":3: groups is no id: 1K\n"},
        {"users = 4294967295\n", ":3: users is no id: 4294967295\n"},
        {"everyone = perhaps\n", ":3: everyone is neither yes nor no\n"},
        {"socket = relative\n", ":3: socket is no absolute path"},
        {"bytes_per_user_max = 99999999999999999999\n", ":3: bytes_per_user_max is no number"},
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        service_configure(wrong[i][0]);
        require_said("--check-config", wrong[i][1]);
    }
    REQUIRE(unlink(workspace_path("cairnd.conf")) == 0);
    require_said("--check-config", "cairnd.conf: cannot be opened: there is no such file\n");
    service_configure("everyone = yes\nusers = root 5\ngroups = root\nsection_bytes_max = 64M # enough\n");
    REQUIRE_EQUAL(run_cairnd("--check-config"), 0);
    REQUIRE_EQUAL(run_cairnd("--nonsense"), 2);
}

static void what_keeps_it_from_listening_is_told(void)
{
    pid_t server = start_server("");
    require_said(NULL, "cairnd.sock: cannot listen: another server listens there\n");
    service_stop(server);
    int file = open(workspace_path("cairnd.sock"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(file >= 0);
    close(file);
    require_said(NULL, "cairnd.sock: cannot listen: what lies there is no socket\n");
    REQUIRE(unlink(workspace_path("cairnd.sock")) == 0);
    service_configure("socket = /nowhere/cairnd.sock\n");
    require_said(NULL, "/nowhere/cairnd.sock: cannot listen: there is no such directory\n");
}

/* The service manager makes the socket: it is descriptor 3. */
static void an_activated_server_listens_where_it_is_told(void)
{
    board = shared_memory(sizeof *board);
    service_configure("");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", workspace_path("cairnd.sock"));
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    REQUIRE(listener >= 0 && bind(listener, (const struct sockaddr *)&address, sizeof address) == 0);
    REQUIRE(listen(listener, 5) == 0);
    pid_t server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        char pid[20];
        snprintf(pid, sizeof pid, "%d", getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        if (listener == 3)
            fcntl(3, F_SETFD, 0);
        else
            dup2(listener, 3);
        execl(CAIRND, CAIRND, "--config", workspace_path("cairnd.conf"), (char *)NULL);
        _exit(127);
    }
    close(listener);
    cairn_client *client = open_client(CAIRN_CLIENT_CREATE);
    (void)alloc_text(client, "activated");
    cairn_client_close(client);
    int status;
    REQUIRE(kill(server, SIGTERM) == 0 && waitpid(server, &status, 0) == server && status == 0);
    REQUIRE(access(address.sun_path, F_OK) == 0); /* the name is not the server's to remove */
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(what_one_allocates_another_reads),
        CLAIM(a_clients_blocks_die_with_it_but_for_those_handed_over),
        CLAIM(a_killed_server_is_an_error_with_a_name),
        CLAIM(who_closes_the_connection_under_a_client_keeps_its_own_files),
        CLAIM(a_refusal_says_why),
        CLAIM(a_user_gets_no_more_than_its_quota),
        CLAIM(who_asks_too_often_is_told),
        CLAIM(a_batch_of_64_is_one_round_trip),
        CLAIM(in_a_span_a_client_allocates_without_asking),
        CLAIM(what_cannot_be_a_span_is_refused),
        CLAIM(a_span_ends_with_its_client),
        CLAIM(a_child_has_none_of_its_parents_spans),
        CLAIM(a_section_that_is_sealed_late_is_found),
        CLAIM(a_root_whose_section_has_gone_is_none),
        CLAIM(a_block_grows_no_further_than_its_section_whatever_the_server_says),
        CLAIM(a_signal_is_no_reason_to_give_up),
        CLAIM(who_is_not_answered_gives_up_in_time_whatever_signals_come),
        CLAIM(another_client_cannot_write),
        CLAIM(another_user_gets_what_the_lists_let_it),
        CLAIM(the_heap_of_another_user_is_opened_by_who_asks_for_that),
        CLAIM(who_is_on_no_list_any_more_is_dropped),
        CLAIM(nobody_waits_for_who_reads_the_log),
        CLAIM(guessed_handles_lead_nowhere),
        CLAIM(what_is_handed_over_is_nobodys_until_it_is_taken),
        CLAIM(garbage_is_in_nobodys_way),
        CLAIM(a_wrong_configuration_is_refused),
        CLAIM(what_keeps_it_from_listening_is_told),
        CLAIM(an_activated_server_listens_where_it_is_told),
    };
    return run_claims(claims, COUNT(claims), 40);
}
