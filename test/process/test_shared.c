/* SPDX-License-Identifier: MIT */
/* A shared heap in processes that have nothing in common but its name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/workspace.h"

struct node {
    struct node *next;
    struct node *down;
    uint64_t number;
    char text[40];
};

static struct node *add_node(cairn_heap *heap, struct node *next, uint64_t number)
{
    struct node *node = cairn_alloc(heap, sizeof *node + number % 5 * 1000);
    REQUIRE_CALL(node != NULL);
    *node = (struct node){.next = next, .number = number};
    snprintf(node->text, sizeof node->text, "node %llu", (unsigned long long)number);
    return node;
}

static uint64_t follow(const struct node *node)
{
    uint64_t count = 0;
    for (; node != NULL; node = node->next, count++) {
        char text[40];
        snprintf(text, sizeof text, "node %llu", (unsigned long long)node->number);
        REQUIRE(strcmp(text, node->text) == 0);
    }
    return count;
}

/* ---------------------------------------------------------------- pointers */

static void pointers_mean_the_same_in_every_process(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    struct node *list = NULL;
    for (uint64_t i = 0; i < 1000; i++)
        list = add_node(heap, list, i);
    REQUIRE_CALL(cairn_root_set(heap, "list", list) == 0);

    struct peer peers[4];
    for (size_t i = 0; i < COUNT(peers); i++) {
        peers[i] = peer_start(i == 3 ? "read" : "append", NULL);
        peer_hear(&peers[i], 'r'); /* ready: it is attached and has followed the list */
    }
    /* One after the other puts a node in front. */
    for (size_t i = 0; i < 3; i++) {
        peer_tell(&peers[i], 'a');
        peer_hear(&peers[i], 'k');
    }
    REQUIRE_EQUAL(follow(cairn_root_get(heap, "list")), 1003);
    peer_tell(&peers[3], 'f');
    peer_hear(&peers[3], 'k');
    REQUIRE_EQUAL(stats_of(heap).processes, 4); /* the reader is no member */
    for (size_t i = 0; i < COUNT(peers); i++)
        peer_finish(&peers[i]);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_EQUAL(blocks_live(heap), 1003);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void append(void)
{
    cairn_heap *heap = open_shared("heap", 0);
    REQUIRE(follow(cairn_root_get(heap, "list")) >= 1000);
    tell('r');
    REQUIRE(hear() == 'a');
    REQUIRE_CALL(cairn_root_set(heap, "list", add_node(heap, cairn_root_get(heap, "list"), 7)) == 0);
    tell('k');
    REQUIRE(hear() == -1);
    cairn_heap_close(heap);
}

static void read_list(void)
{
    cairn_heap *heap = open_shared("heap", CAIRN_READ_ONLY);
    REQUIRE_EQUAL(follow(cairn_root_get(heap, "list")), 1000);
    tell('r');
    REQUIRE(hear() == 'f');
    REQUIRE_EQUAL(follow(cairn_root_get(heap, "list")), 1003);
    REQUIRE_SOUND(heap);
    tell('k');
    REQUIRE(hear() == -1);
    cairn_heap_close(heap);
}

/* ---------------------------------------------------------------- freeing for others */

enum { MANY = 20000 };

struct table {
    void *blocks[MANY];
};

/* What another process frees is the owner's to use again: the heap does not grow. */
static void a_block_freed_by_another_process_is_used_again(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    struct table *table = cairn_zalloc(heap, sizeof *table);
    REQUIRE_CALL(table != NULL && cairn_root_set(heap, "table", table) == 0);
    struct peer peer = peer_start("free", NULL);
    peer_hear(&peer, 'r');
    uint64_t committed = 0;
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < MANY; i++) {
            table->blocks[i] = cairn_alloc(heap, i % 100 == 0 ? 70000 : i % 10 == 0 ? 30000 : i % 500);
            REQUIRE_CALL(table->blocks[i] != NULL);
        }
        REQUIRE_EQUAL(blocks_live(heap), MANY + 1);
        uint64_t now = stats_of(heap).bytes_committed;
        if (round == 1)
            committed = now;
        if (round > 1 && now > committed + committed / 10)
            broken(__FILE__, __LINE__, "round %d: %llu bytes committed instead of %llu", round, (unsigned long long)now,
                   (unsigned long long)committed);
        peer_tell(&peer, 'f');
        peer_hear(&peer, 'k');
        REQUIRE_EQUAL(blocks_live(heap), 1);
    }
    peer_finish(&peer);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void free_for_others(void)
{
    cairn_heap *heap = open_shared("heap", 0);
    struct table *table = cairn_root_get(heap, "table");
    tell('r');
    while (hear() == 'f') {
        for (size_t i = 0; i < MANY; i++)
            cairn_free(heap, table->blocks[i]);
        tell('k');
    }
    cairn_heap_close(heap);
}

/* ---------------------------------------------------------------- all at once */

enum { WORKERS = 4, SLOTS = 2000, TURNS = 60000 };

struct exchange {
    _Atomic uint64_t slots[SLOTS]; /* addresses of signed blocks */
};

/* Each takes what is in a slot, looks whether it is whole, frees it, and puts a block of its own there. */
static void several_processes_allocate_and_free_at_once(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    struct exchange *exchange = cairn_zalloc(heap, sizeof *exchange);
    REQUIRE_CALL(exchange != NULL && cairn_root_set(heap, "exchange", exchange) == 0);
    struct peer peers[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        char seed[12];
        snprintf(seed, sizeof seed, "%d", i);
        peers[i] = peer_start("trade", seed);
    }
    for (int i = 0; i < WORKERS; i++)
        peer_hear(&peers[i], 'r');
    for (int i = 0; i < WORKERS; i++)
        peer_tell(&peers[i], 'g');
    for (int i = 0; i < WORKERS; i++) {
        peer_hear(&peers[i], 'k');
        peer_finish(&peers[i]);
    }
    uint64_t left = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        void *block = (void *)(uintptr_t)atomic_load(&exchange->slots[i]);
        left += block != NULL;
        cairn_free(heap, block);
    }
    REQUIRE(left > SLOTS / 2);
    REQUIRE_EQUAL(blocks_live(heap), 1);
    REQUIRE_EQUAL(stats_of(heap).owners, 1);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

struct goods {
    uint64_t size;
    uint64_t sign;
    unsigned char bytes[];
};

static void trade(const char *argument)
{
    cairn_heap *heap = open_shared("heap", 0);
    struct exchange *exchange = cairn_root_get(heap, "exchange");
    uint64_t seed = (uint64_t)atoi(argument) + 1;
    tell('r');
    REQUIRE(hear() == 'g');
    for (int turn = 0; turn < TURNS; turn++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint64_t size = sizeof(struct goods) + (seed >> 40) % (turn % 64 == 0 ? 100000 : 600);
        struct goods *goods = cairn_alloc(heap, size);
        REQUIRE_CALL(goods != NULL);
        *goods = (struct goods){.size = size, .sign = seed};
        memset(goods->bytes, (int)(seed & 0xff), size - sizeof *goods);
        goods = (struct goods *)(uintptr_t)atomic_exchange(&exchange->slots[(seed >> 20) % SLOTS],
                                                           (uint64_t)(uintptr_t)goods);
        if (goods == NULL)
            continue;
        for (uint64_t i = 0; i < goods->size - sizeof *goods; i += 61)
            REQUIRE(goods->bytes[i] == (goods->sign & 0xff));
        cairn_free(heap, goods);
    }
    tell('k');
    REQUIRE(hear() == -1);
    cairn_heap_close(heap);
}

/* ---------------------------------------------------------------- names and lives */

static void a_heap_outlives_its_processes(void)
{
    for (int i = 0; i < 20; i++) {
        cairn_heap *heap = i == 0 ? create_shared("heap", 0) : open_shared("heap", 0);
        REQUIRE_EQUAL(follow(cairn_root_get(heap, "list")), i);
        REQUIRE_EQUAL(stats_of(heap).attaches, i + 1);
        REQUIRE_CALL(cairn_root_set(heap, "list", add_node(heap, cairn_root_get(heap, "list"), (uint64_t)i)) == 0);
        cairn_heap_close(heap);
    }
}

static void unlink_leaves_the_heap_to_those_attached(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    REQUIRE_CALL(cairn_root_set(heap, "list", add_node(heap, NULL, 1)) == 0);
    struct peer peer = peer_start("grow", NULL);
    peer_hear(&peer, 'r');
    REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
    cairn_heap *other = create_shared("heap", 0); /* the name is free for another */
    REQUIRE(cairn_root_get(other, "list") == NULL);
    REQUIRE(stats_of(other).address != stats_of(heap).address);
    peer_tell(&peer, 'g');
    peer_hear(&peer, 'k');
    REQUIRE_EQUAL(follow(cairn_root_get(heap, "list")), 2001);
    REQUIRE_EQUAL(blocks_live(other), 0);
    peer_finish(&peer);
    REQUIRE_SOUND(heap);
    REQUIRE_SOUND(other);
    cairn_heap_close(heap);
    cairn_heap_close(other);
}

static void grow_list(void)
{
    cairn_heap *heap = open_shared("heap", 0);
    tell('r');
    REQUIRE(hear() == 'g');
    struct node *list = cairn_root_get(heap, "list");
    for (uint64_t i = 0; i < 2000; i++)
        list = add_node(heap, list, i);
    REQUIRE_CALL(cairn_root_set(heap, "list", list) == 0);
    tell('k');
    REQUIRE(hear() == -1);
    cairn_heap_close(heap);
}

/* The address may be somebody else's in this process; then it is said, and nothing is mapped over. */
static void a_taken_address_is_told(void)
{
    cairn_heap *first = create_shared("first", 0);
    uint64_t address = stats_of(first).address;
    cairn_heap_close(first);
    REQUIRE(rename(workspace_path("first"), workspace_path("hidden")) == 0);
    (void)address;
    cairn_heap *heap = open_shared("hidden", 0);
    /* A copy of the file lies at the same address. */
    char command[1200];
    snprintf(command, sizeof command, "cp %s %s", workspace_path("hidden"), workspace_path("copy"));
    REQUIRE(system(command) == 0);
    cairn_heap *copy = untouched;
    REFUSED(-EADDRINUSE, cairn_heap_open(&copy, "copy", NULL));
    REQUIRE(copy == untouched);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    REQUIRE_CALL(cairn_heap_open(&copy, "copy", NULL) == 0);
    cairn_heap_close(copy);
}

int main(int count, char **arguments)
{
    const char *role = count > 1 ? arguments[1] : "";
    if (strcmp(role, "append") == 0)
        append();
    else if (strcmp(role, "read") == 0)
        read_list();
    else if (strcmp(role, "free") == 0)
        free_for_others();
    else if (strcmp(role, "trade") == 0)
        trade(arguments[2]);
    else if (strcmp(role, "grow") == 0)
        grow_list();
    else {
        static const struct claim claims[] = {
            CLAIM(pointers_mean_the_same_in_every_process),     CLAIM(a_block_freed_by_another_process_is_used_again),
            CLAIM(several_processes_allocate_and_free_at_once), CLAIM(a_heap_outlives_its_processes),
            CLAIM(unlink_leaves_the_heap_to_those_attached),    CLAIM(a_taken_address_is_told),
        };
        return run_claims(claims, COUNT(claims), 20);
    }
    return 0;
}
