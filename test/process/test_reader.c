/* SPDX-License-Identifier: MIT */
/* What readers of a published heap see while the publisher frees and uses again, and waits for nobody. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cairn_publish.h"
#include "support/workspace.h"

struct board {
    _Atomic uint32_t turn;
    _Atomic uint32_t heard;
    _Atomic uint32_t stop;
    _Atomic uint64_t reads[8]; /* of each reader: that ended with 0 */
    _Atomic uint64_t stale[8];
};
static struct board *board;

static cairn_publisher *publish(const cairn_publish_options *options)
{
    cairn_publisher *publisher;
    if (cairn_publish(&publisher, "data", options) < 0)
        broken(__FILE__, __LINE__, "publish: %s", cairn_last_error());
    return publisher;
}

static cairn_reader *open_reader(void)
{
    cairn_reader *reader;
    if (cairn_reader_open(&reader, "data", NULL) < 0)
        broken(__FILE__, __LINE__, "open: %s", cairn_last_error());
    return reader;
}

static cairn_publisher_stats publisher_stats(cairn_publisher *publisher)
{
    cairn_publisher_stats stats = {.size = sizeof stats};
    REQUIRE_CALL(cairn_publisher_stats_get(publisher, &stats) == 0);
    return stats;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Dispatches until as many readers are there; the claim's clock bounds it. */
static void dispatch_until_readers(cairn_publisher *publisher, uint64_t readers)
{
    while (publisher_stats(publisher).readers != readers) {
        struct pollfd events = {.fd = cairn_publisher_fd(publisher), .events = POLLIN};
        REQUIRE(poll(&events, 1, -1) == 1);
        REQUIRE_CALL(cairn_publisher_dispatch(publisher) >= 0);
    }
}

/* ---------------------------------------------------------------- nothing torn */

enum { RECORDS = 512, BYTES_MAX = 3000 };

struct record {
    uint32_t bytes;
    uint32_t number;
    uint64_t sum;
    unsigned char data[];
};

struct table {
    _Atomic(struct record *) records[RECORDS];
};

static uint64_t sum_of(const unsigned char *data, uint32_t bytes, uint32_t number)
{
    uint64_t sum = number;
    for (uint32_t i = 0; i < bytes; i++)
        sum = (sum ^ data[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *seed >> 33;
}

static struct record *new_record(cairn_heap *heap, uint32_t number, uint64_t *seed)
{
    uint32_t bytes = (uint32_t)(next_random(seed) % BYTES_MAX);
    struct record *record = cairn_alloc(heap, sizeof *record + bytes);
    REQUIRE_CALL(record != NULL);
    record->bytes = bytes;
    record->number = number;
    memset(record->data, (int)next_random(seed), bytes);
    record->sum = sum_of(record->data, bytes, number);
    return record;
}

static struct table *new_table(cairn_heap *heap, uint64_t *seed)
{
    struct table *table = cairn_zalloc(heap, sizeof *table);
    REQUIRE_CALL(table != NULL);
    for (uint32_t i = 0; i < RECORDS; i++)
        table->records[i] = new_record(heap, i, seed);
    REQUIRE_CALL(cairn_root_set(heap, "table", table) == 0);
    return table;
}

static uint64_t bytes_of(cairn_heap *heap, struct table *table)
{
    uint64_t bytes = cairn_size(heap, table);
    for (uint32_t i = 0; i < RECORDS; i++)
        bytes += cairn_size(heap, table->records[i]);
    return bytes;
}

/* Requires that what is held back is within its bound: a quarter of what is live, or 64 KiB. */
static void change_records(cairn_publisher *publisher, struct table *table, uint32_t changes, uint64_t *seed)
{
    cairn_heap *heap = cairn_publisher_heap(publisher);
    for (uint32_t i = 0; i < changes; i++) {
        uint32_t index = (uint32_t)(next_random(seed) % RECORDS);
        struct record *record = new_record(heap, index, seed);
        struct record *before = atomic_exchange_explicit(&table->records[index], record, memory_order_release);
        cairn_free(heap, before);
        if (i % 100 == 0) {
            uint64_t retired = publisher_stats(publisher).bytes_retired;
            REQUIRE(retired <= 64 * KIB || retired <= bytes_of(heap, table) / 4);
        }
    }
}

/* Reads some records; false: one is not whole. What is used as a length is looked at before. */
static bool read_records(cairn_reader *reader, uint64_t *seed, double linger)
{
    bool whole = true;
    const struct table *table = cairn_reader_root(reader, "table");
    if (table == NULL)
        return false;
    double until = linger > 0 ? seconds() + linger : 0;
    do {
        for (int i = 0; i < 8; i++) {
            uint32_t index = (uint32_t)(next_random(seed) % RECORDS);
            const struct record *record = atomic_load_explicit(&table->records[index], memory_order_acquire);
            uint32_t bytes = record->bytes;
            whole = whole && bytes < BYTES_MAX && record->number == index &&
                    sum_of(record->data, bytes, index) == record->sum;
        }
    } while (whole && linger > 0 && seconds() < until);
    return whole;
}

static void keep_reading(uint32_t self, double linger)
{
    uint64_t seed = self;
    wait_for(&board->turn, 1);
    cairn_reader *reader = open_reader();
    advance(&board->heard);
    while (atomic_load(&board->stop) == 0) {
        REQUIRE_CALL(cairn_read_begin(reader) == 0);
        bool whole = read_records(reader, &seed, linger);
        int result = cairn_read_end(reader);
        if (result == 0 && !whole)
            broken(__FILE__, __LINE__, "reader %u read a torn record, and was told nothing", self);
        if (result != 0)
            REQUIRE_EQUAL(result, -ESTALE);
        atomic_fetch_add(result == 0 ? &board->reads[self] : &board->stale[self], 1);
    }
    cairn_reader_close(reader);
}

static void read_quickly(void *arg)
{
    (void)arg;
    keep_reading(0, 0);
}

static void read_slowly(void *arg)
{
    (void)arg;
    keep_reading(1, 0.1);
}

static void read_and_be_stopped(void *arg)
{
    (void)arg;
    keep_reading(2, 0.001);
}

static void read_and_die(void *arg)
{
    (void)arg;
    wait_for(&board->turn, 1);
    cairn_reader *reader = open_reader();
    REQUIRE_EQUAL(cairn_read_begin(reader), 0);
    advance(&board->heard);
    raise(SIGKILL);
}

static void nothing_torn_is_read_and_nobody_holds_the_publisher_up(void)
{
    board = shared_memory(sizeof *board);
    pid_t quick = start(read_quickly, NULL);
    pid_t slow = start(read_slowly, NULL);
    pid_t stopped = start(read_and_be_stopped, NULL);
    pid_t dead = start(read_and_die, NULL);
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 20};

    /* The same without readers. */
    uint64_t seed = 7;
    cairn_publisher *publisher = publish(&options);
    struct table *table = new_table(cairn_publisher_heap(publisher), &seed);
    change_records(publisher, table, 50000, &seed);
    uint64_t bytes_alone = publisher_stats(publisher).bytes;
    cairn_publisher_close(publisher);

    seed = 7;
    publisher = publish(&options);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    table = new_table(cairn_publisher_heap(publisher), &seed);
    advance(&board->turn);
    wait_for(&board->heard, 4);
    finish_by(dead, SIGKILL);
    double longest = 0, until = seconds() + 4;
    for (uint32_t round = 0;
         seconds() < until || atomic_load(&board->stale[1]) < 3 || atomic_load(&board->reads[0]) < 1000; round++) {
        if (round % 8 == 0)
            kill(stopped, SIGSTOP);
        if (round % 8 == 4)
            kill(stopped, SIGCONT);
        double begin = seconds();
        change_records(publisher, table, 1000, &seed);
        longest = seconds() - begin > longest ? seconds() - begin : longest;
    }
    kill(stopped, SIGCONT);
    atomic_store(&board->stop, 1);
    finish(quick);
    finish(slow);
    finish(stopped);
    cairn_publisher_stats stats = publisher_stats(publisher);
    printf("        reads %llu %llu %llu, cut off %llu %llu %llu; %llu KiB, alone %llu KiB; 1000 changes in %.0f ms at "
           "most\n",
           (unsigned long long)board->reads[0], (unsigned long long)board->reads[1],
           (unsigned long long)board->reads[2], (unsigned long long)board->stale[0],
           (unsigned long long)board->stale[1], (unsigned long long)board->stale[2],
           (unsigned long long)(stats.bytes >> 10), (unsigned long long)(bytes_alone >> 10), longest * 1000);
    REQUIRE(board->reads[0] >= 1000);
    REQUIRE(board->stale[1] >= 3);
    REQUIRE(board->stale[1] + board->stale[2] <= stats.cut_off);
    /* A quarter more, and whole units. */
    REQUIRE(stats.bytes <= bytes_alone + bytes_alone / 4 + 256 * KIB);
    dispatch_until_readers(publisher, 0);
    REQUIRE_SOUND(cairn_publisher_heap(publisher));
    cairn_publisher_close(publisher);
}

/* ---------------------------------------------------------------- many readers, and how often */

/*
 * 8 readers of small records that the publisher changes all the time. CAIRN_READS says how many checksummed reads there
 * are to be in all; each was in a section that ended with 0.
 */
enum { CROWD = 8, SMALL = 4096, AT_ONCE = 64 };
#define READS_DEFAULT UINT64_C(100000000)

struct small {
    uint64_t number;
    uint64_t count;
    uint64_t data[14];
    uint64_t sum;
};

struct smalls {
    _Atomic(struct small *) of[SMALL];
};

static uint64_t reads_wanted(void)
{
    const char *wanted = getenv("CAIRN_READS");
    return wanted != NULL ? strtoull(wanted, NULL, 10) : READS_DEFAULT / (UNDER_SANITIZER ? 100 : 1);
}

static uint64_t sum_of_small(const struct small *small)
{
    uint64_t sum = small->number * 31 + small->count;
    for (size_t i = 0; i < COUNT(small->data); i++)
        sum = (sum ^ small->data[i]) * UINT64_C(0x9e3779b97f4a7c15);
    return sum;
}

static struct small *new_small(cairn_heap *heap, uint64_t number, uint64_t *seed)
{
    struct small *small = cairn_alloc(heap, sizeof *small);
    REQUIRE_CALL(small != NULL);
    small->number = number;
    small->count = next_random(seed);
    for (size_t i = 0; i < COUNT(small->data); i++)
        small->data[i] = small->count + i;
    small->sum = sum_of_small(small);
    return small;
}

static struct smalls *new_smalls(cairn_heap *heap, uint64_t *seed)
{
    struct smalls *smalls = cairn_alloc(heap, sizeof *smalls);
    REQUIRE_CALL(smalls != NULL);
    for (uint64_t i = 0; i < SMALL; i++)
        atomic_init(&smalls->of[i], new_small(heap, i, seed));
    REQUIRE_CALL(cairn_root_set(heap, "smalls", smalls) == 0);
    return smalls;
}

static void change_smalls(cairn_heap *heap, struct smalls *smalls, uint32_t changes, uint64_t *seed)
{
    for (uint32_t i = 0; i < changes; i++) {
        uint64_t index = next_random(seed) % SMALL;
        struct small *small = new_small(heap, index, seed);
        cairn_free(heap, atomic_exchange_explicit(&smalls->of[index], small, memory_order_release));
    }
}

static bool read_smalls(cairn_reader *reader, uint64_t *seed)
{
    bool whole = true;
    const struct smalls *smalls = cairn_reader_root(reader, "smalls");
    if (smalls == NULL)
        return false;
    for (int i = 0; i < AT_ONCE; i++) {
        uint64_t index = next_random(seed) % SMALL;
        const struct small *small = atomic_load_explicit(&smalls->of[index], memory_order_acquire);
        struct small copy = *small;
        whole = whole && copy.number == index && sum_of_small(&copy) == copy.sum;
    }
    return whole;
}

static void read_in_a_crowd(void *arg)
{
    uint32_t self = *(const uint32_t *)arg;
    uint64_t seed = self;
    wait_for(&board->turn, 1);
    cairn_reader *reader = open_reader();
    advance(&board->heard);
    while (atomic_load(&board->stop) == 0) {
        REQUIRE_CALL(cairn_read_begin(reader) == 0);
        bool whole = read_smalls(reader, &seed);
        int result = cairn_read_end(reader);
        if (result == 0 && !whole)
            broken(__FILE__, __LINE__, "reader %u read a torn record, and was told nothing", self);
        if (result != 0)
            REQUIRE_EQUAL(result, -ESTALE);
        atomic_fetch_add(result == 0 ? &board->reads[self] : &board->stale[self], AT_ONCE);
    }
    cairn_reader_close(reader);
}

static uint64_t sum_of_words(const _Atomic uint64_t words[CROWD])
{
    uint64_t sum = 0;
    for (size_t i = 0; i < CROWD; i++)
        sum += atomic_load(&words[i]);
    return sum;
}

static void a_crowd_reads_nothing_torn(void)
{
    pid_t readers[CROWD];
    board = shared_memory(sizeof *board);
    for (uint32_t i = 0; i < CROWD; i++)
        readers[i] = start(read_in_a_crowd, &i);
    uint64_t seed = 5, changes = 0;
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 20};
    cairn_publisher *publisher = publish(&options);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    struct smalls *smalls = new_smalls(heap, &seed);
    advance(&board->turn);
    wait_for(&board->heard, CROWD);
    double begin = seconds();
    uint64_t before = sum_of_words(board->reads); /* with nothing changing */
    for (; sum_of_words(board->reads) - before < reads_wanted(); changes += 100)
        change_smalls(heap, smalls, 100, &seed);
    double passed = seconds() - begin;
    atomic_store(&board->stop, 1);
    for (size_t i = 0; i < CROWD; i++)
        finish(readers[i]);
    printf("        %llu reads, %llu of which readers were told to discard them, beside %llu changes, in %.1f s\n",
           (unsigned long long)(sum_of_words(board->reads) - before), (unsigned long long)sum_of_words(board->stale),
           (unsigned long long)changes, passed);
    REQUIRE(changes >= 100);
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
}

/* ---------------------------------------------------------------- what readers who lag cost */

static void lag(void *arg)
{
    bool stops = *(const bool *)arg;
    wait_for(&board->turn, 1);
    cairn_reader *reader = open_reader();
    while (atomic_load(&board->stop) == 0) {
        REQUIRE_CALL(cairn_read_begin(reader) == 0);
        if (stops) { /* in the middle of a read, and for good */
            advance(&board->heard);
            wait_for(&board->stop, 1);
        }
        struct timespec moment = {.tv_nsec = 2000000}; /* it lags: that is all it does */
        nanosleep(&moment, NULL);
        int result = cairn_read_end(reader);
        REQUIRE(result == 0 || result == -ESTALE);
    }
    cairn_reader_close(reader);
}

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Two publishers by turns, one of them with readers that are in the way as much as they can be. Reported. */
static void the_rate_beside_readers_who_lag_is_told(void)
{
    board = shared_memory(sizeof *board);
    pid_t lagging = start(lag, &(bool){false}), stopped = start(lag, &(bool){true});
    cairn_publisher *alone, *publisher;
    REQUIRE_CALL(cairn_publish(&alone, "alone", NULL) == 0);
    publisher = publish(NULL);
    uint64_t seed = 3;
    cairn_publisher *both[2] = {alone, publisher};
    struct smalls *smalls[2];
    double passed[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        smalls[i] = new_smalls(cairn_publisher_heap(both[i]), &seed);
    advance(&board->turn);
    dispatch_until_readers(publisher, 2);
    wait_for(&board->heard, 1);
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 2; i++) {
            double begin = cpu_seconds();
            change_smalls(cairn_publisher_heap(both[i]), smalls[i], 5000, &seed);
            passed[i] += cpu_seconds() - begin;
            REQUIRE_CALL(cairn_publisher_dispatch(both[i]) >= 0);
        }
    }
    cairn_publisher_stats stats = publisher_stats(publisher);
    advance(&board->stop);
    finish(lagging);
    finish(stopped);
    printf("        %.2f M changes/s alone, %.2f M beside a lagging and a stopped reader, that is %.2f; cut off %llu\n",
           0.3 / passed[0], 0.3 / passed[1], passed[0] / passed[1], (unsigned long long)stats.cut_off);
    REQUIRE(stats.cut_off >= 1);
    cairn_publisher_close(alone);
    cairn_publisher_close(publisher);
}

/* ---------------------------------------------------------------- one reader, step by step */

static void hold(void *arg)
{
    (void)arg;
    wait_for(&board->turn, 1);
    cairn_reader *reader = open_reader();
    for (uint32_t turn = 2;; turn += 2) {
        REQUIRE_CALL(cairn_read_begin(reader) == 0);
        REQUIRE_EQUAL(cairn_read_begin(reader), 0);
        REQUIRE_EQUAL(cairn_read_end(reader), 0); /* an inner one */
        const _Atomic uint64_t *number = cairn_reader_root(reader, "number");
        uint64_t value = number != NULL ? *number : 0;
        advance(&board->heard);
        wait_for(&board->turn, turn);
        bool same = number == NULL || *number == value;
        int result = cairn_read_end(reader);
        if (result == 0)
            REQUIRE(same);
        atomic_fetch_add(result == 0 ? &board->reads[0] : &board->stale[0], 1);
        advance(&board->heard);
        if (atomic_load(&board->stop) != 0)
            break;
        wait_for(&board->turn, turn + 1);
    }
    REQUIRE_EQUAL(cairn_read_end(reader), -EINVAL);
    cairn_reader_close(reader);
}

static uint64_t *set_number(cairn_heap *heap, uint64_t value)
{
    uint64_t *number = cairn_alloc(heap, sizeof *number);
    REQUIRE_CALL(number != NULL);
    *number = value;
    REQUIRE_CALL(cairn_root_set(heap, "number", number) == 0);
    return number;
}

static pid_t start_holding(cairn_publisher **ret_publisher, const cairn_publish_options *options, uint64_t **ret_number)
{
    board = shared_memory(sizeof *board);
    pid_t child = start(hold, NULL);
    *ret_publisher = publish(options);
    *ret_number = set_number(cairn_publisher_heap(*ret_publisher), 1);
    advance(&board->turn);
    dispatch_until_readers(*ret_publisher, 1);
    wait_for(&board->heard, 1);
    return child;
}

/* Of blocks of its size, whether this one is among the next. */
static bool comes_back(cairn_heap *heap, const void *block, size_t attempts)
{
    static void *others[20000];
    bool found = false;
    size_t count = 0;
    for (; count < attempts && !found; count++) {
        others[count] = cairn_alloc(heap, sizeof(uint64_t));
        REQUIRE_CALL(others[count] != NULL);
        found = others[count] == block;
    }
    for (size_t i = 0; i < count; i++)
        cairn_free(heap, others[i]);
    return found;
}

static void a_block_that_is_being_read_is_not_used_again(void)
{
    cairn_publisher *publisher;
    uint64_t *before;
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 1000000};
    pid_t child = start_holding(&publisher, &options, &before);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    set_number(heap, 2);
    cairn_free(heap, before);
    REQUIRE_EQUAL(publisher_stats(publisher).reading, 1);
    REQUIRE(!comes_back(heap, before, 1000));
    REQUIRE_EQUAL(*before, 1);
    REQUIRE(publisher_stats(publisher).blocks_retired >= 1);
    atomic_store(&board->stop, 1);
    advance(&board->turn);
    finish(child);
    REQUIRE_EQUAL(board->reads[0], 1);
    REQUIRE_CALL(cairn_publisher_dispatch(publisher) >= 0);
    REQUIRE_EQUAL(publisher_stats(publisher).blocks_retired, 0);
    REQUIRE(comes_back(heap, before, 20000));
    cairn_publisher_close(publisher);
}

/* Who frees nothing any more gets its retired blocks back, too: nobody dispatches here, and no time passes. */
static void who_only_allocates_gets_back_what_is_read_no_more(void)
{
    cairn_publisher *publisher;
    uint64_t *before;
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 1000000};
    pid_t child = start_holding(&publisher, &options, &before);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    set_number(heap, 2);
    cairn_free(heap, before);
    for (int i = 0; i < 200; i++)
        REQUIRE_CALL(cairn_alloc(heap, sizeof(uint64_t)) != before);
    REQUIRE_EQUAL(publisher_stats(publisher).blocks_retired, 1);
    atomic_store(&board->stop, 1);
    advance(&board->turn);
    finish(child);
    bool found = false;
    for (int i = 0; i < 20000 && !found; i++)
        found = cairn_alloc(heap, sizeof(uint64_t)) == before;
    REQUIRE(found);
    REQUIRE_EQUAL(publisher_stats(publisher).blocks_retired, 0);
    REQUIRE_EQUAL(board->reads[0], 1);
    cairn_publisher_close(publisher);
}

/* Free memory in slabs is not live, and counts for nothing: the bound is of blocks. */
static void a_quarter_of_what_is_live_may_be_held_back(void)
{
    static void *blocks[4000];
    cairn_publisher *publisher;
    uint64_t *before;
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 1000000};
    pid_t child = start_holding(&publisher, &options, &before);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    uint64_t live = stats_of(heap).bytes_live;
    for (size_t i = 0; i < COUNT(blocks); i++)
        REQUIRE_CALL((blocks[i] = cairn_alloc(heap, 1000)) != NULL);
    live = stats_of(heap).bytes_live - live;
    uint64_t each = live / COUNT(blocks);
    size_t freed = 0;
    while (publisher_stats(publisher).cut_off == 0 && freed < COUNT(blocks)) {
        uint64_t retired = publisher_stats(publisher).bytes_retired;
        uint64_t rest = stats_of(heap).bytes_live - retired;
        REQUIRE(retired <= 64 * KIB || retired <= rest / 4);
        cairn_free(heap, blocks[freed++]);
    }
    /* x is held back of L: the next would be over a quarter of L - x when x is a fifth of L. */
    REQUIRE(freed >= COUNT(blocks) / 5 && freed <= COUNT(blocks) / 5 + 5);
    REQUIRE_EQUAL(publisher_stats(publisher).bytes_retired, 0);
    REQUIRE(each >= 1000);
    atomic_store(&board->stop, 1);
    advance(&board->turn);
    finish(child);
    REQUIRE_EQUAL(board->stale[0], 1);
    cairn_publisher_close(publisher);
}

static void a_reader_past_its_deadline_is_cut_off_and_told(void)
{
    cairn_publisher *publisher;
    uint64_t *before;
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 30};
    pid_t child = start_holding(&publisher, &options, &before);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    set_number(heap, 2);
    double begin = seconds();
    cairn_free(heap, before);
    /* Nobody frees any more: the time is watched by the descriptor alone. */
    while (publisher_stats(publisher).cut_off == 0) {
        struct pollfd events = {.fd = cairn_publisher_fd(publisher), .events = POLLIN};
        REQUIRE(poll(&events, 1, -1) == 1);
        REQUIRE_CALL(cairn_publisher_dispatch(publisher) >= 0);
    }
    REQUIRE(seconds() - begin >= 0.03);
    REQUIRE_EQUAL(publisher_stats(publisher).blocks_retired, 0);
    REQUIRE(comes_back(heap, before, 20000));
    advance(&board->turn);
    wait_for(&board->heard, 2);
    REQUIRE_EQUAL(board->stale[0], 1);
    /* And can read on. */
    advance(&board->turn);
    wait_for(&board->heard, 3);
    atomic_store(&board->stop, 1);
    advance(&board->turn);
    finish(child);
    REQUIRE_EQUAL(board->reads[0], 1);
    cairn_publisher_close(publisher);
}

static void who_holds_back_too_much_is_cut_off_at_once(void)
{
    cairn_publisher *publisher;
    uint64_t *before;
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 1000000};
    pid_t child = start_holding(&publisher, &options, &before);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    cairn_free(heap, cairn_alloc(heap, 60 * KIB));
    REQUIRE_EQUAL(publisher_stats(publisher).cut_off, 0);
    cairn_free(heap, cairn_alloc(heap, 8 * KIB));
    REQUIRE_EQUAL(publisher_stats(publisher).cut_off, 1);
    REQUIRE_EQUAL(publisher_stats(publisher).bytes_retired, 0);
    atomic_store(&board->stop, 1);
    advance(&board->turn);
    finish(child);
    REQUIRE_EQUAL(board->stale[0], 1);
    cairn_publisher_close(publisher);
}

static void readers_are_cut_off_before_memory_is_short(void)
{
    cairn_publisher *publisher;
    uint64_t *before;
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 1000000, .bytes_max = 4 * MIB};
    pid_t child = start_holding(&publisher, &options, &before);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    void *blocks[8192];
    size_t count = 0;
    while (count < COUNT(blocks) && (blocks[count] = cairn_alloc(heap, 4000)) != NULL)
        count++;
    REQUIRE(count > 300 && count < COUNT(blocks));
    REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
    cairn_free(heap, blocks[count / 2]);
    REQUIRE_EQUAL(publisher_stats(publisher).cut_off, 0);
    REQUIRE(cairn_alloc(heap, 4000) == blocks[count / 2]);
    REQUIRE_EQUAL(publisher_stats(publisher).cut_off, 1);
    REQUIRE_SOUND(heap);
    atomic_store(&board->stop, 1);
    advance(&board->turn);
    finish(child);
    REQUIRE_EQUAL(board->stale[0], 1);
    cairn_publisher_close(publisher);
}

static void a_reset_cuts_everybody_off_and_leaves_no_root(void)
{
    cairn_publisher *publisher;
    uint64_t *before;
    pid_t child = start_holding(&publisher, NULL, &before);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    REQUIRE_CALL(cairn_heap_reset(heap) == 0);
    REQUIRE(cairn_root_get(heap, "number") == NULL);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    advance(&board->turn);
    wait_for(&board->heard, 2);
    REQUIRE_EQUAL(board->stale[0], 1);
    uint64_t *number = set_number(heap, 5);
    REQUIRE(number != NULL);
    advance(&board->turn);
    wait_for(&board->heard, 3);
    atomic_store(&board->stop, 1);
    advance(&board->turn);
    finish(child);
    REQUIRE_EQUAL(board->reads[0], 1);
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
}

/* A large block that becomes smaller moves: somebody may be reading its end. */
static void nothing_becomes_smaller_under_a_reader(void)
{
    cairn_publisher *publisher;
    uint64_t *before;
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 1000000};
    pid_t child = start_holding(&publisher, &options, &before);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    unsigned char *filler = cairn_alloc(heap, 16 * MIB); /* so that a quarter of what is live is not reached */
    unsigned char *large = cairn_alloc(heap, 2 * MIB);
    REQUIRE_CALL(large != NULL && filler != NULL);
    memset(large, 3, 2 * MIB);
    unsigned char *smaller = cairn_realloc(heap, large, 512 * KIB);
    REQUIRE_CALL(smaller != NULL && smaller != large);
    REQUIRE_EQUAL(publisher_stats(publisher).bytes_retired, 2 * MIB);
    REQUIRE(smaller[512 * KIB - 1] == 3 && large[2 * MIB - 1] == 3);
    /* One that becomes larger may stay. */
    REQUIRE_CALL(cairn_realloc(heap, smaller, 600 * KIB) != NULL);
    atomic_store(&board->stop, 1);
    advance(&board->turn);
    finish(child);
    REQUIRE_EQUAL(board->stale[0], 0);
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
}

/* cairn_alloc_to and cairn_free_from: the pointer that readers follow is changed first, or last. */
static void linking_and_unlinking_in_one_step_is_published(void)
{
    cairn_publisher *publisher;
    uint64_t *before;
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 1000000};
    pid_t child = start_holding(&publisher, &options, &before);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    void **place = cairn_zalloc(heap, sizeof *place);
    REQUIRE_CALL(place != NULL);
    REQUIRE_CALL(cairn_alloc_to(heap, 100, place) == 0);
    REQUIRE(*place != NULL);
    REQUIRE_CALL(cairn_free_from(heap, place) == 0);
    REQUIRE(*place == NULL);
    REQUIRE_EQUAL(publisher_stats(publisher).blocks_retired, 1);
    atomic_store(&board->stop, 1);
    advance(&board->turn);
    finish(child);
    cairn_publisher_close(publisher);
}

/* ---------------------------------------------------------------- waiting */

static void wait_for_roots(void *arg)
{
    (void)arg;
    wait_for(&board->turn, 1);
    cairn_reader *reader = open_reader();
    uint32_t seen = cairn_reader_version(reader);
    REQUIRE_EQUAL(cairn_reader_wait(reader, seen, 10), -ETIMEDOUT);
    REQUIRE_EQUAL(cairn_reader_wait(reader, seen - 1, -1), 0);
    for (uint64_t value = 1; value <= 100; value++) {
        advance(&board->heard);
        REQUIRE_CALL(cairn_reader_wait(reader, seen, -1) == 0);
        seen = cairn_reader_version(reader);
        int result;
        uint64_t read = 0;
        do {
            REQUIRE_EQUAL(cairn_read_begin(reader), 0);
            const uint64_t *number = cairn_reader_root(reader, "number");
            read = number != NULL ? *number : 0;
            result = cairn_read_end(reader);
        } while (result == -ESTALE);
        REQUIRE_EQUAL(result, 0);
        REQUIRE_EQUAL(read, value);
    }
    advance(&board->heard);
    REQUIRE_EQUAL(cairn_reader_wait(reader, seen, -1), -ENOTCONN); /* until the publisher closes */
    REQUIRE(!cairn_reader_is_current(reader));
    struct pollfd hup = {.fd = cairn_reader_fd(reader), .events = 0};
    REQUIRE(poll(&hup, 1, -1) == 1 && (hup.revents & POLLHUP) != 0);
    REQUIRE_EQUAL(cairn_read_begin(reader), 1);
    const uint64_t *number = cairn_reader_root(reader, "number");
    REQUIRE(number != NULL && *number == 100);
    REQUIRE_EQUAL(cairn_read_end(reader), 0);
    cairn_reader_close(reader);
}

static void a_reader_waits_for_roots_and_for_the_end(void)
{
    board = shared_memory(sizeof *board);
    pid_t child = start(wait_for_roots, NULL);
    cairn_publisher *publisher = publish(NULL);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    advance(&board->turn);
    uint64_t *before = NULL;
    for (uint32_t value = 1; value <= 100; value++) {
        wait_for(&board->heard, value);
        uint64_t *number = set_number(heap, value);
        cairn_free(heap, before);
        before = number;
    }
    wait_for(&board->heard, 101);
    cairn_publisher_close(publisher);
    finish(child);
}

/* ---------------------------------------------------------------- several readers in one process */

static void *read_in_a_thread(void *arg)
{
    (void)arg;
    uint64_t seed = (uintptr_t)&seed;
    cairn_reader *reader = open_reader();
    for (int i = 0; i < 2000; i++) {
        REQUIRE_EQUAL(cairn_read_begin(reader), 0);
        bool whole = read_records(reader, &seed, 0);
        if (cairn_read_end(reader) == 0)
            REQUIRE(whole);
    }
    cairn_reader_close(reader);
    return NULL;
}

static void read_in_threads(void *arg)
{
    (void)arg;
    pthread_t threads[3];
    wait_for(&board->turn, 1);
    cairn_reader *first = open_reader();
    for (size_t i = 0; i < COUNT(threads); i++)
        REQUIRE(pthread_create(&threads[i], NULL, read_in_a_thread, NULL) == 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    /* The view is there until the last of them is closed. */
    int result;
    do { /* it may be cut off meanwhile */
        REQUIRE_EQUAL(cairn_read_begin(first), 0);
        REQUIRE(cairn_reader_root(first, "table") != NULL);
        result = cairn_read_end(first);
    } while (result == -ESTALE);
    REQUIRE_EQUAL(result, 0);
    cairn_reader_close(first);
    atomic_store(&board->stop, 1);
}

static void threads_have_readers_of_their_own_and_one_view(void)
{
    board = shared_memory(sizeof *board);
    pid_t child = start(read_in_threads, NULL);
    uint64_t seed = 3;
    cairn_publisher *publisher = publish(NULL);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    struct table *table = new_table(cairn_publisher_heap(publisher), &seed);
    advance(&board->turn);
    while (atomic_load(&board->stop) == 0)
        change_records(publisher, table, 100, &seed);
    finish(child);
    cairn_publisher_close(publisher);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(nothing_torn_is_read_and_nobody_holds_the_publisher_up),
        CLAIM(a_crowd_reads_nothing_torn),
        CLAIM(the_rate_beside_readers_who_lag_is_told),
        CLAIM(a_block_that_is_being_read_is_not_used_again),
        CLAIM(who_only_allocates_gets_back_what_is_read_no_more),
        CLAIM(a_quarter_of_what_is_live_may_be_held_back),
        CLAIM(a_reader_past_its_deadline_is_cut_off_and_told),
        CLAIM(who_holds_back_too_much_is_cut_off_at_once),
        CLAIM(readers_are_cut_off_before_memory_is_short),
        CLAIM(a_reset_cuts_everybody_off_and_leaves_no_root),
        CLAIM(nothing_becomes_smaller_under_a_reader),
        CLAIM(linking_and_unlinking_in_one_step_is_published),
        CLAIM(a_reader_waits_for_roots_and_for_the_end),
        CLAIM(threads_have_readers_of_their_own_and_one_view),
    };
    return run_claims(claims, COUNT(claims), getenv("CAIRN_READS") != NULL ? 3600 : 60);
}
