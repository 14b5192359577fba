/* SPDX-License-Identifier: MIT */
/*
 * Kills in a storm: of a heap server and its clients, of one and those who share a heap that it keeps, and of a
 * publisher and its readers, at random moments. Whoever is
 * killed is started anew at once, and everybody else has to go on: who makes no step in HANG_SECONDS hangs. When it is
 * over nothing is left at the server: no block, no section, no connection, no descriptor, no file.
 *
 * A round is 500 kills; CAIRN_ROUNDS multiplies them, CAIRN_SEED repeats which are killed and after how many steps.
 * "./dev storm" makes 15000.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cairn_client.h"
#include "cairn_publish.h"
#include "support/random.h"
#include "support/service.h"
#include "support/workspace.h"

enum {
    KILLS = UNDER_SANITIZER ? 100 : 500,
    CROWD = 6,
    ONLY_READ = 2,     /* the last ones of the crowd */
    STEPS_MAX = 4,     /* before a kill; waiting for more would be most of the time */
    SERVER_EVERY = 25, /* kills */
    HANG_SECONDS = UNDER_SANITIZER ? 40 : 10,
    BLOCKS = 20,
    WORDS_MAX = 300,
};

struct board {
    _Atomic uint32_t ready;
    _Atomic uint32_t stop;
    _Atomic uint32_t steps[CROWD]; /* that each of the crowd has made */
    _Atomic uint32_t numbers[CROWD];
    _Atomic uint64_t reads; /* whole ones */
    cairn_publisher_stats stats;
    int descriptors;
};
static struct board *board;
static uint64_t seed;

/* ---------------------------------------------------------------- the storm */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Whoever ends without being killed has told why, or died of a signal. */
static void require_none_ended(void)
{
    siginfo_t ended = {0};
    if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0)
        broken(__FILE__, __LINE__, "process %d ended by itself: %s %d", ended.si_pid,
               ended.si_code == CLD_EXITED ? "exit status" : "signal", ended.si_status);
}

static double longest_wait;

/* As wait_for, and a hang is told. */
static void wait_for_step(_Atomic uint32_t *word, uint32_t at_least, const char *who)
{
    double began_at = now();
    double end = began_at + HANG_SECONDS;
    struct timespec time = {.tv_sec = 1};
    for (uint32_t seen; (int32_t)((seen = atomic_load(word)) - at_least) < 0;) {
        if (now() > end)
            broken(__FILE__, __LINE__, "%s has made no step in %d seconds", who, HANG_SECONDS);
        require_none_ended();
        syscall(SYS_futex, word, FUTEX_WAIT, seen, &time, NULL, 0);
    }
    double waited = now() - began_at;
    longest_wait = waited > longest_wait ? waited : longest_wait;
}

static void kill_one(pid_t process)
{
    REQUIRE(kill(process, SIGKILL) == 0);
    finish_by(process, SIGKILL);
}

/* Leaves the machine to the others for a moment, which are many. */
static void rest(void)
{
    struct timespec time = {.tv_nsec = 50000};
    nanosleep(&time, NULL);
}

struct storm {
    void (*run)(void *arg); /* one of the crowd; the argument is its index */
    pid_t (*start_server)(void);
    pid_t server;
    pid_t crowd[CROWD];
    uint32_t indexes[CROWD];
    uint64_t kills;
    uint64_t server_kills;
};

/* Lets the storm blow; afterwards the crowd is dead, and the server alive. */
static void blow(struct storm *storm)
{
    struct random random = random_begin(seed);
    uint64_t kills = random_rounds(KILLS);
    double began_at = now();
    storm->server = storm->start_server();
    for (uint32_t i = 0; i < CROWD; i++) {
        storm->indexes[i] = i;
        storm->crowd[i] = start(storm->run, &storm->indexes[i]);
    }
    while (storm->kills < kills) {
        if (random_below(&random, SERVER_EVERY) == 0) {
            kill_one(storm->server);
            storm->server = storm->start_server();
            storm->server_kills++;
        } else {
            size_t i = random_below(&random, CROWD);
            wait_for_step(&board->steps[i], atomic_load(&board->steps[i]) + (uint32_t)random_below(&random, STEPS_MAX),
                          "one of the crowd");
            kill_one(storm->crowd[i]);
            storm->crowd[i] = start(storm->run, &storm->indexes[i]);
        }
        storm->kills++;
    }
    double took = now() - began_at;
    for (size_t i = 0; i < CROWD; i++) /* they all still work */
        wait_for_step(&board->steps[i], atomic_load(&board->steps[i]) + 2, "one of the crowd");
    for (size_t i = 0; i < CROWD; i++)
        kill_one(storm->crowd[i]);
    printf("    %llu kills, %llu of them of the server, in %.1f s: %.0f in a second; the longest wait was %.0f ms\n",
           (unsigned long long)storm->kills, (unsigned long long)storm->server_kills, took, (double)storm->kills / took,
           longest_wait * 1000);
}

static int count_descriptors(pid_t process)
{
    char path[40];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", process);
    DIR *stream = opendir(path);
    while (stream != NULL && readdir(stream) != NULL)
        count++;
    if (stream != NULL)
        closedir(stream);
    return count; /* 0: may not be looked at */
}

/* ---------------------------------------------------------------- a heap server and its clients */

/* Opens the heap, which may have to be made anew, at a server that may be about to begin anew. */
static cairn_client *open_client(uint32_t index)
{
    cairn_client_options options = {.socket = workspace_path("cairnd.sock"),
                                    .flags = CAIRN_CLIENT_CREATE,
                                    .bytes_max = 2 * MIB,
                                    .timeout_ms = HANG_SECONDS * 1000};
    if (index >= CROWD - ONLY_READ)
        options.flags |= CAIRN_CLIENT_READ_ONLY;
    for (;;) {
        cairn_client *client;
        int error = cairn_client_open(&client, "storm", &options);
        if (error == 0)
            return client;
        if (error != -ENOENT && error != -ECONNREFUSED && error != -ECONNRESET)
            broken(__FILE__, __LINE__, "open: %d: %s", error, cairn_last_error());
    }
}

/* What comes of a call when the server may be killed, and others may be faster. */
static int expect(const char *call, int error, int other)
{
    if (error != 0 && error != other && error != -ECONNRESET)
        broken(__FILE__, __LINE__, "%s: %d: %s", call, error, cairn_last_error());
    return error;
}

static void write_to(const cairn_block *block, uint32_t index)
{
    memset(block->address, (int)index + 1, block->size);
}

static void require_own(const cairn_block *block, uint32_t index)
{
    const unsigned char *bytes = block->address;
    for (size_t i = 0; i < block->size; i++) {
        if (bytes[i] != index + 1)
            broken(__FILE__, __LINE__, "byte %zu of a block of client %u is %u", i, index, bytes[i]);
    }
}

/* The heap gets one block of each at most: a root leads to it, so that it can be taken back whoever dies when. */
static int replace_kept(cairn_client *client, uint32_t index)
{
    char name[20];
    cairn_block block;
    snprintf(name, sizeof name, "kept-%u", index);
    int error = expect("root_get", cairn_client_root_get(client, name, &block), -ENOENT);
    if (error == 0 && block.handle != 0) {
        require_own(&block, index);
        if (expect("take_from_heap", cairn_client_take_from_heap(client, &block), 0) < 0)
            return -ECONNRESET;
        error = expect("free", cairn_client_free(client, &block), 0);
    }
    if (error == 0 || error == -ENOENT)
        error = expect("alloc", cairn_client_alloc(client, 500, &block), 0);
    if (error < 0)
        return error;
    write_to(&block, index);
    if (expect("root_set", cairn_client_root_set(client, name, &block), 0) < 0)
        return -ECONNRESET;
    return expect("give", cairn_client_give(client, &block, CAIRN_TO_HEAP), 0);
}

static int look_at_kept(cairn_client *client, uint32_t whose)
{
    char name[20];
    cairn_block block;
    snprintf(name, sizeof name, "kept-%u", whose);
    int error = expect("root_get", cairn_client_root_get(client, name, &block), -ENOENT);
    if (error == 0) /* it may be freed and used again by now, but it is memory */
        (void)*(volatile const unsigned char *)block.address;
    return error == -ENOENT ? 0 : error;
}

/* Some blocks by one message, of which one is handed over to somebody, and the rest freed. */
static int trade(cairn_client *client, uint32_t index, struct random *random)
{
    size_t sizes[BLOCKS];
    cairn_block blocks[BLOCKS], taken;
    uint32_t count = 1 + (uint32_t)random_below(random, BLOCKS);
    for (uint32_t i = 0; i < count; i++)
        sizes[i] = random_size(random, 10000);
    int error = expect("alloc_batch", cairn_client_alloc_batch(client, sizes, count, blocks), 0);
    if (error < 0)
        return error;
    for (uint32_t i = 0; i < count; i++)
        write_to(&blocks[i], index);
    error = expect("realloc", cairn_client_realloc(client, &blocks[0], 3000), 0);
    if (error < 0)
        return error;
    require_own(&(cairn_block){.address = blocks[0].address, .size = sizes[0]}, index);
    write_to(&blocks[0], index);
    for (uint32_t i = 0; i < count; i++)
        require_own(&blocks[i], index);
    uint32_t other = (uint32_t)random_below(random, CROWD - ONLY_READ);
    if (other != index) {
        uint32_t number = atomic_load(&board->numbers[other]);
        error = number != 0 ? expect("give", cairn_client_give(client, &blocks[count - 1], number), -ESRCH) : -ESRCH;
        if (error == 0)
            count--;
        else if (error != -ESRCH)
            return error;
    }
    if (count > 0 && expect("free_batch", cairn_client_free_batch(client, blocks, count), 0) < 0)
        return -ECONNRESET;
    while ((error = expect("take", cairn_client_take(client, &taken), -ENODATA)) == 0) {
        error = expect("free", cairn_client_free(client, &taken), 0);
        if (error < 0)
            return error;
    }
    return error == -ENODATA ? 0 : error;
}

static void be_client(void *arg)
{
    uint32_t index = *(const uint32_t *)arg;
    struct random random = random_begin(seed + (uint64_t)getpid());
    for (;;) {
        cairn_client *client = open_client(index);
        int error = 0;
        atomic_store(&board->numbers[index], cairn_client_number(client));
        while (error == 0) {
            if (index >= CROWD - ONLY_READ || random_below(&random, 3) == 0)
                error = look_at_kept(client, (uint32_t)random_below(&random, CROWD - ONLY_READ));
            else if (random_below(&random, 2) == 0)
                error = replace_kept(client, index);
            else
                error = trade(client, index, &random);
            advance(&board->steps[index]);
            rest();
        }
        REQUIRE_EQUAL(error, -ECONNRESET);
        cairn_client_close(client);
    }
}

static pid_t start_cairnd(void)
{
    return service_start(service_exec, (char[]){CAIRND});
}

static cairn_client_stats stats_of_client(cairn_client *client)
{
    cairn_client_stats stats = {.size = sizeof stats};
    REQUIRE_CALL(cairn_client_stats_get(client, &stats) == 0);
    return stats;
}

static void nothing_is_left_of_clients_and_servers(void)
{
    board = shared_memory(sizeof *board);
    seed = random_seed("storm of clients", 1);
    service_configure(
        "requests_per_second_max = 1000000000\nclients_per_user_max = 100\nsections_per_user_max = 100\n");
    struct storm storm = {.run = be_client, .start_server = start_cairnd};
    blow(&storm);

    cairn_client *client = open_client(0);
    double end = now() + HANG_SECONDS;
    while (stats_of_client(client).heap_clients != 1)
        REQUIRE(now() < end);
    for (uint32_t i = 0; i < CROWD; i++) {
        char name[20];
        cairn_block block;
        snprintf(name, sizeof name, "kept-%u", i);
        if (cairn_client_root_get(client, name, &block) == 0) {
            require_own(&block, i);
            REQUIRE_CALL(cairn_client_take_from_heap(client, &block) == 0);
            REQUIRE_CALL(cairn_client_free(client, &block) == 0);
        }
    }
    cairn_client_stats stats = stats_of_client(client);
    REQUIRE_EQUAL(stats.heap_blocks, 0);
    REQUIRE_EQUAL(stats.user_blocks, 0);
    REQUIRE_EQUAL(stats.own_blocks, 0);
    REQUIRE_EQUAL(stats.heap_sections, 1);
    REQUIRE_EQUAL(stats.user_bytes, 2 * MIB); /* of the section of who asks */
    int descriptors = count_descriptors(storm.server);
    cairn_client_close(client);
    service_stop(storm.server);
    pid_t fresh = start_cairnd();
    client = open_client(0);
    REQUIRE_EQUAL(descriptors, count_descriptors(fresh));
    cairn_client_close(client);
    service_stop(fresh);
    REQUIRE_EQUAL(workspace_entries(), 1); /* the configuration */
}

/* ---------------------------------------------------------------- a heap server and who shares a heap of its */

enum { SLOTS = 16, TURNS = 40 };

struct slots {
    uint32_t *blocks[SLOTS]; /* the first word is how many bytes there are, the last one of whom they are */
};

/* At a server that may be about to begin anew. */
static cairn_heap *open_shared_heap(void)
{
    cairn_client_options options = {.socket = workspace_path("cairnd.sock"),
                                    .flags = CAIRN_CLIENT_CREATE,
                                    .bytes_max = 32 * MIB,
                                    .timeout_ms = HANG_SECONDS * 1000};
    for (;;) {
        cairn_heap *heap;
        int error = cairn_client_shared_open(&heap, "storm", &options);
        if (error == 0)
            return heap;
        if (error != -ENOENT && error != -ECONNREFUSED && error != -ECONNRESET)
            broken(__FILE__, __LINE__, "open: %d: %s", error, cairn_last_error());
    }
}

/* What the one before had, who was of this number and is dead; it may not have come to write into the last. */
static struct slots *slots_of(cairn_heap *heap, uint32_t index, bool create)
{
    char name[20];
    snprintf(name, sizeof name, "slots-%u", index);
    struct slots *slots = cairn_root_get(heap, name);
    if (slots == NULL && create) {
        slots = cairn_zalloc(heap, sizeof *slots);
        REQUIRE_CALL(slots != NULL && cairn_root_set(heap, name, slots) == 0);
    }
    for (uint32_t i = 0; slots != NULL && i < SLOTS; i++) {
        const uint32_t *block = slots->blocks[i];
        REQUIRE(block == NULL || block[0] == 0 || block[block[0] / sizeof *block - 1] == index + 1);
    }
    return slots;
}

static void use_shared_heap(cairn_heap *heap, uint32_t index, struct random *random)
{
    struct slots *slots = slots_of(heap, index, true);
    for (uint32_t turn = 0; turn < TURNS; turn++) {
        uint32_t **slot = &slots->blocks[random_below(random, SLOTS)];
        if (*slot != NULL) { /* which may be a dead one's */
            REQUIRE_CALL(cairn_free_from(heap, (void **)slot) == 0);
        } else {
            uint32_t bytes = (uint32_t)(8 + random_size(random, 100000)) & ~3u;
            REQUIRE_CALL(cairn_alloc_to(heap, bytes, (void **)slot) == 0); /* zeros */
            (*slot)[bytes / sizeof **slot - 1] = index + 1;
            (*slot)[0] = bytes;
        }
    }
}

static void be_sharer(void *arg)
{
    uint32_t index = *(const uint32_t *)arg;
    struct random random = random_begin(seed + (uint64_t)getpid());
    for (;;) {
        cairn_heap *heap = open_shared_heap();
        for (int i = 0; i < 3; i++) {
            use_shared_heap(heap, index, &random);
            advance(&board->steps[index]);
            rest();
        }
        cairn_heap_close(heap); /* the server may be another by now, and its heap too */
    }
}

struct seen {
    uint32_t clients;
    uint64_t bytes; /* of the user's sections and shared heaps */
};

static int note_client(const cairn_server_client *client, void *arg)
{
    struct seen *seen = arg;
    seen->clients++;
    seen->bytes = client->user_has.bytes;
    return 0;
}

/* How many descriptors a server has when one client is all that it has. */
static int descriptors_with_one_client(pid_t server)
{
    cairn_client_options options = {.socket = workspace_path("cairnd.sock")};
    cairn_client *client = open_client(0);
    struct seen seen;
    double end = now() + HANG_SECONDS;
    do {
        seen = (struct seen){0};
        REQUIRE_CALL(cairn_server_client_walk(&options, note_client, &seen) == 0);
        REQUIRE(now() < end);
    } while (seen.clients != 1);
    REQUIRE_EQUAL(seen.bytes, 2 * MIB); /* of the section of who asks */
    for (int i = 0; i < 2; i++)         /* who has looked has gone by the second */
        (void)stats_of_client(client);
    int descriptors = count_descriptors(server);
    cairn_client_close(client);
    return descriptors;
}

static void nothing_is_left_of_sharers_and_servers(void)
{
    board = shared_memory(sizeof *board);
    seed = random_seed("storm of sharers", 1);
    service_configure("requests_per_second_max = 1000000000\n");
    struct storm storm = {.run = be_sharer, .start_server = start_cairnd};
    blow(&storm);

    cairn_heap *heap = open_shared_heap();
    uint64_t linked = 0, tables = 0;
    for (uint32_t i = 0; i < CROWD; i++) {
        const struct slots *slots = slots_of(heap, i, false);
        tables += slots != NULL;
        for (uint32_t k = 0; slots != NULL && k < SLOTS; k++)
            linked += slots->blocks[k] != NULL;
    }
    REQUIRE_SOUND(heap);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE(tables > 0 && blocks_live(heap) >= linked + tables);
    REQUIRE(blocks_live(heap) <= linked + tables + CROWD); /* of tables that were not linked yet */
    cairn_heap_close(heap);

    cairn_client_options options = {.socket = workspace_path("cairnd.sock")};
    REQUIRE_CALL(cairn_client_shared_drop("storm", &options) == 0);
    int descriptors = descriptors_with_one_client(storm.server);
    service_stop(storm.server);
    pid_t fresh = start_cairnd();
    REQUIRE_EQUAL(descriptors, descriptors_with_one_client(fresh));
    service_stop(fresh);
    REQUIRE_EQUAL(workspace_entries(), 1); /* the configuration */
}

/* ---------------------------------------------------------------- a publisher and its readers */

/* Words that belong together: the first says how many there are, and what all others are. */
static uint64_t *publish_words(cairn_heap *heap, struct random *random, uint64_t *old)
{
    uint64_t count = 2 + random_below(random, WORDS_MAX);
    uint64_t *words = cairn_alloc(heap, count * sizeof *words);
    REQUIRE_CALL(words != NULL);
    words[0] = count;
    for (uint64_t i = 1; i < count; i++)
        words[i] = ~count;
    REQUIRE_CALL(cairn_root_set(heap, "words", words) == 0);
    cairn_free(heap, old);
    return words;
}

static void be_publisher(void *arg)
{
    (void)arg;
    struct random random = random_begin(seed + (uint64_t)getpid());
    cairn_publisher *publisher;
    cairn_publish_options options = {.size = sizeof options, .readers_max = 32, .readers_per_user_max = 32};
    REQUIRE_CALL(cairn_publish(&publisher, "storm", &options) == 0);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    uint64_t *words = publish_words(heap, &random, NULL); /* before anybody is let in */
    int descriptors = count_descriptors(getpid());
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0); /* which lets readers in at once */
    advance(&board->ready);
    cairn_publisher_stats stats = {.size = sizeof stats};
    for (uint32_t i = 0; atomic_load(&board->stop) == 0; i++) {
        words = publish_words(heap, &random, words);
        if (i % 64 == 0) /* leaves the heap's lock to its thread, which lets the readers in */
            rest();
    }
    double end = now() + HANG_SECONDS;
    do { /* all who were killed are gone, and with them what they held back */
        words = publish_words(heap, &random, words);
        REQUIRE_CALL(cairn_publisher_stats_get(publisher, &stats) == 0);
        REQUIRE(now() < end);
    } while (stats.readers != 0 || stats.reading != 0);
    REQUIRE_EQUAL(stats.dropped, 0);
    while (count_descriptors(getpid()) != descriptors) /* who is not counted any more is closed next, by the thread */
        REQUIRE(now() < end);
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
}

static void read_words(cairn_reader *reader, uint32_t index)
{
    for (;;) {
        int began = cairn_read_begin(reader);
        if (began != 0) { /* the publisher was killed, or does not count us any more */
            if (began == 1)
                (void)!cairn_read_end(reader);
            REQUIRE(began == 1 || began == -ENOTCONN);
            return;
        }
        const uint64_t *words = cairn_reader_root(reader, "words");
        REQUIRE_CALL(words != NULL);
        uint64_t count = words[0], wrong = 0;
        if (count < 2 || count > WORDS_MAX + 2)
            wrong = 1;
        for (uint64_t i = 1; i < count && wrong == 0; i++)
            wrong += words[i] != ~count;
        int ended = cairn_read_end(reader);
        REQUIRE(ended == 0 || ended == -ESTALE);
        if (ended == 0) {
            REQUIRE_EQUAL(wrong, 0);
            atomic_fetch_add(&board->reads, 1);
        }
        advance(&board->steps[index]);
        rest();
    }
}

static void be_reader(void *arg)
{
    uint32_t index = *(const uint32_t *)arg;
    cairn_reader_options options = {.size = sizeof options, .timeout_ms = HANG_SECONDS * 1000};
    for (;;) {
        cairn_reader *reader;
        int error = cairn_reader_open(&reader, "storm", &options);
        if (error == 0) {
            read_words(reader, index);
            cairn_reader_close(reader);
        } else if (error != -ENOENT && error != -ECONNREFUSED && error != -ECONNRESET) {
            broken(__FILE__, __LINE__, "open: %d: %s", error, cairn_last_error());
        }
    }
}

static pid_t start_publisher(void)
{
    uint32_t ready = atomic_load(&board->ready);
    pid_t publisher = start(be_publisher, NULL);
    wait_for_step(&board->ready, ready + 1, "the publisher");
    return publisher;
}

static void nothing_is_left_of_readers_and_publishers(void)
{
    board = shared_memory(sizeof *board);
    seed = random_seed("storm of readers", 1);
    struct storm storm = {.run = be_reader, .start_server = start_publisher};
    blow(&storm);
    atomic_store(&board->stop, 1);
    finish(storm.server);
    printf("    %llu reads were whole\n", (unsigned long long)atomic_load(&board->reads));
    REQUIRE(atomic_load(&board->reads) > 0);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(nothing_is_left_of_clients_and_servers),
        CLAIM(nothing_is_left_of_sharers_and_servers),
        CLAIM(nothing_is_left_of_readers_and_publishers),
    };
    return run_claims(claims, COUNT(claims), (unsigned)(60 * random_rounds(1)));
}
