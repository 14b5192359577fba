/* SPDX-License-Identifier: MIT */
/* Published heaps: one process writes, others map, find roots and follow pointers. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cairn_publish.h"
#include "support/workspace.h"

/* What both sides of a claim see. */
struct board {
    _Atomic uint32_t turn;
    _Atomic uint32_t heard;
    uint64_t address;
    uint64_t generation;
};
static struct board *board;

struct line {
    struct line *next;
    char text[40];
};

static cairn_publisher *publish(const cairn_publish_options *options)
{
    cairn_publisher *publisher;
    if (cairn_publish(&publisher, "prices", options) < 0)
        broken(__FILE__, __LINE__, "publish: %s", cairn_last_error());
    return publisher;
}

static cairn_reader *open_reader(void)
{
    cairn_reader *reader;
    if (cairn_reader_open(&reader, "prices", NULL) < 0)
        broken(__FILE__, __LINE__, "open: %s", cairn_last_error());
    return reader;
}

static cairn_publisher_stats stats_of_publisher(cairn_publisher *publisher)
{
    cairn_publisher_stats stats = {.size = sizeof stats};
    REQUIRE_CALL(cairn_publisher_stats_get(publisher, &stats) == 0);
    return stats;
}

static void add_line(cairn_heap *heap, const char *text)
{
    struct line *line = cairn_alloc(heap, sizeof *line);
    REQUIRE_CALL(line != NULL);
    line->next = cairn_root_get(heap, "lines");
    snprintf(line->text, sizeof line->text, "%s", text);
    REQUIRE_CALL(cairn_root_set(heap, "lines", line) == 0);
}

/* Every descriptor and view of the published heap in this process. */
static int count_in(const char *path, const char *what)
{
    char line[1000];
    int count = 0;
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        count += strstr(line, what) != NULL;
    if (file != NULL)
        fclose(file);
    return count;
}

/* ---------------------------------------------------------------- reading */

static void read_lines(void *arg)
{
    (void)arg;
    wait_for(&board->turn, 1);
    cairn_reader *reader = open_reader();
    cairn_reader_info info = {.size = sizeof info};
    REQUIRE_EQUAL(cairn_reader_info_get(reader, &info), 0);
    REQUIRE_EQUAL(info.units_address, board->address);
    REQUIRE_EQUAL(info.generation, board->generation);
    REQUIRE(cairn_reader_root(reader, "lines") == NULL);
    REQUIRE_EQUAL(cairn_last_errno(), -EINVAL);

    REQUIRE_EQUAL(cairn_read_begin(reader), 0);
    int count = 0;
    for (const struct line *line = cairn_reader_root(reader, "lines"); line != NULL; line = line->next) {
        char expected[40];
        snprintf(expected, sizeof expected, "line %d", 9 - count);
        REQUIRE(strcmp(line->text, expected) == 0);
        count++;
    }
    REQUIRE_EQUAL(count, 10);
    REQUIRE(cairn_reader_root(reader, "another") == NULL);
    REQUIRE_EQUAL(cairn_read_end(reader), 0);

    /* It grows; nothing is to be done for it. */
    uint64_t bytes = info.bytes;
    advance(&board->heard);
    wait_for(&board->turn, 2);
    REQUIRE_EQUAL(cairn_read_begin(reader), 0);
    const unsigned char *large = cairn_reader_root(reader, "large");
    REQUIRE(large != NULL);
    for (size_t i = 0; i < 8 * MIB; i += 1000)
        REQUIRE(large[i] == 7);
    REQUIRE_EQUAL(cairn_read_end(reader), 0);
    REQUIRE_EQUAL(cairn_reader_info_get(reader, &info), 0);
    REQUIRE(info.bytes >= bytes + 8 * MIB);
    REQUIRE(cairn_reader_is_current(reader));
    cairn_reader_close(reader);
    REQUIRE_EQUAL(count_in("/proc/self/maps", "cairn-p"), 0);
}

static void a_reader_follows_pointers_and_sees_growth(void)
{
    board = shared_memory(sizeof *board);
    pid_t child = start(read_lines, NULL);
    cairn_publisher *publisher = publish(NULL);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    for (int i = 0; i < 10; i++) {
        char text[40];
        snprintf(text, sizeof text, "line %d", i);
        add_line(heap, text);
    }
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    REQUIRE_EQUAL(cairn_publisher_start_thread(publisher), -EBUSY);
    cairn_stats stats = stats_of(heap);
    board->generation = stats_of_publisher(publisher).generation;
    board->address = stats.units_address;
    advance(&board->turn);
    wait_for(&board->heard, 1);
    unsigned char *large = cairn_alloc(heap, 8 * MIB);
    REQUIRE_CALL(large != NULL);
    memset(large, 7, 8 * MIB);
    REQUIRE_CALL(cairn_root_set(heap, "large", large) == 0);
    advance(&board->turn);
    finish(child);
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
    REQUIRE_EQUAL(workspace_entries(), 0);
    REQUIRE_EQUAL(count_in("/proc/self/maps", "cairn-p"), 0);
}

/* ---------------------------------------------------------------- the end of a publisher */

static void publish_and_wait(void *arg)
{
    const uint32_t *turn = arg;
    wait_for(&board->heard, *turn);
    cairn_publisher *publisher = publish(NULL);
    add_line(cairn_publisher_heap(publisher), "written before the end");
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    advance(&board->turn);
    for (;;)
        pause();
}

static void require_line(cairn_reader *reader, int begin, const char *text)
{
    REQUIRE_EQUAL(cairn_read_begin(reader), begin);
    const struct line *line = cairn_reader_root(reader, "lines");
    REQUIRE(line != NULL && strcmp(line->text, text) == 0);
    REQUIRE_EQUAL(cairn_read_end(reader), 0);
}

static uint64_t generation_of(cairn_reader *reader)
{
    cairn_reader_info info = {.size = sizeof info};
    REQUIRE_EQUAL(cairn_reader_info_get(reader, &info), 0);
    return info.generation;
}

static void a_killed_publisher_leaves_what_it_published_and_its_name(void)
{
    board = shared_memory(sizeof *board);
    /* Both are there before there is a view that they could inherit. */
    pid_t child = start(publish_and_wait, &(uint32_t){0});
    pid_t next = start(publish_and_wait, &(uint32_t){1});
    wait_for(&board->turn, 1);
    cairn_reader *reader = open_reader();
    require_line(reader, 0, "written before the end");
    REQUIRE(cairn_reader_is_current(reader));
    cairn_publisher *publisher;
    REFUSED(-EADDRINUSE, cairn_publish(&publisher, "prices", NULL));

    kill(child, SIGKILL);
    finish_by(child, SIGKILL);
    struct pollfd hup = {.fd = cairn_reader_fd(reader), .events = 0};
    REQUIRE(poll(&hup, 1, -1) == 1 && (hup.revents & POLLHUP) != 0);
    REQUIRE_EQUAL(cairn_reader_wait(reader, cairn_reader_version(reader), -1), -ENOTCONN);
    REQUIRE(!cairn_reader_is_current(reader));
    require_line(reader, 1, "written before the end");
    cairn_reader *another;
    REFUSED(-ECONNREFUSED, cairn_reader_open(&another, "prices", NULL));

    /* The next generation takes the name over; who reads both at once would need one address twice. */
    uint64_t generation = generation_of(reader);
    advance(&board->heard);
    wait_for(&board->turn, 2);
    REFUSED(-EADDRINUSE, cairn_reader_open(&another, "prices", NULL));
    (void)cairn_reader_open(&another, "prices", NULL);
    REQUIRE(strstr(cairn_last_error(), "another generation of \"prices\" lies there") != NULL);
    require_line(reader, 1, "written before the end");
    cairn_reader_close(reader);
    reader = open_reader();
    REQUIRE(generation_of(reader) != generation);
    require_line(reader, 0, "written before the end");
    cairn_reader_close(reader);
    kill(next, SIGKILL);
    finish_by(next, SIGKILL);
}

/* ---------------------------------------------------------------- two heaps at one address */

static void publish_a_name(void *arg)
{
    cairn_publisher *publisher;
    REQUIRE_CALL(cairn_publish(&publisher, arg, NULL) == 0);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    advance(&board->turn);
    for (;;)
        pause();
}

static uint64_t address_of(const char *name)
{
    cairn_publisher *publisher;
    REQUIRE_CALL(cairn_publish(&publisher, name, NULL) == 0);
    uint64_t address = stats_of(cairn_publisher_heap(publisher)).units_address;
    cairn_publisher_close(publisher);
    return address;
}

/* In a window of 320 slots: of so many names two have one slot. */
static void who_wants_two_heaps_of_one_address_is_told_which(void)
{
    enum { NAMES = 321 };
    static char names[NAMES][32];
    static uint64_t addresses[NAMES];
    int one = 0, other = 0;
    board = shared_memory(sizeof *board);
    REQUIRE(setenv("CAIRN_ADDRESS", "0x550000000000", 1) == 0);
    for (int i = 0; i < NAMES && one == other; i++) {
        snprintf(names[i], sizeof names[i], "name %d", i);
        addresses[i] = address_of(names[i]);
        for (int j = 0; j < i && one == other; j++) {
            if (addresses[j] == addresses[i])
                one = j, other = i;
        }
    }
    REQUIRE(one != other);
    pid_t first = start(publish_a_name, names[one]), second = start(publish_a_name, names[other]);
    wait_for(&board->turn, 2);
    cairn_reader *reader, *another;
    REQUIRE_CALL(cairn_reader_open(&reader, names[one], NULL) == 0);
    REFUSED(-EADDRINUSE, cairn_reader_open(&another, names[other], NULL));
    REQUIRE_EQUAL(cairn_reader_open(&another, names[other], NULL), -EADDRINUSE);
    char expected[64];
    snprintf(expected, sizeof expected, "the published heap \"%s\" lies there", names[one]);
    REQUIRE(strstr(cairn_last_error(), expected) != NULL);
    cairn_reader_close(reader);
    REQUIRE_CALL(cairn_reader_open(&reader, names[other], NULL) == 0);
    cairn_reader_close(reader);
    kill(first, SIGKILL);
    finish_by(first, SIGKILL);
    kill(second, SIGKILL);
    finish_by(second, SIGKILL);
}

/* The name that a publisher removes when it closes is its own, and not that of the next. */
static void a_publisher_removes_its_own_name_alone(void)
{
    cairn_publisher *publisher = publish(NULL);
    REQUIRE(access(workspace_path("prices.sock"), F_OK) == 0);
    REQUIRE(rename(workspace_path("prices.sock"), workspace_path("moved")) == 0);
    cairn_publisher *next = publish(NULL);
    cairn_publisher_close(publisher);
    REQUIRE(access(workspace_path("prices.sock"), F_OK) == 0);
    cairn_publisher_close(next);
    REQUIRE(access(workspace_path("prices.sock"), F_OK) < 0);
    unlink(workspace_path("moved"));
    REQUIRE_EQUAL(workspace_entries(), 0);
}

/* ---------------------------------------------------------------- fork */

struct inheritance {
    cairn_publisher *publisher;
    void *block;
};

static void store_to(void *address)
{
    signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would exit */
    *(volatile char *)address = 1;
}

static void use_in_a_child(void *arg)
{
    const struct inheritance *from = arg;
    cairn_publisher *publisher = from->publisher;
    void *block = from->block;
    cairn_heap *heap = cairn_publisher_heap(publisher);
    REFUSED_NULL(-EROFS, cairn_alloc(heap, 100));
    REFUSED_VOID(-EROFS, cairn_free(heap, block));
    REFUSED(-EROFS, cairn_root_set(heap, "lines", block));
    REFUSED_NULL(-EROFS, cairn_root_get(heap, "lines"));
    REFUSED(-EROFS, cairn_heap_reset(heap));
    REFUSED(-EROFS, cairn_trim(heap));
    REFUSED_NULL(-EROFS, cairn_realloc(heap, block, 40));
    REFUSED_NULL(-EROFS, cairn_size(heap, block) != 0);
    REFUSED(-EROFS, cairn_check(heap, NULL, NULL));
    REFUSED(-EROFS, cairn_publisher_dispatch(publisher));
    REFUSED(-EROFS, cairn_publisher_start_thread(publisher));
    cairn_publisher_stats stats = {.size = sizeof stats};
    REFUSED(-EROFS, cairn_publisher_stats_get(publisher, &stats));
    /* The memory is not there: a store raises a signal, and changes nothing. */
    finish_by(start(store_to, block), SIGSEGV);
    /* It may read as anybody. */
    cairn_reader *reader = open_reader();
    require_line(reader, 0, "the parent's");
    cairn_publisher_close(publisher); /* what it inherited; the view that it has now lies where the parent's did */
    require_line(reader, 0, "the parent's");
    cairn_reader_close(reader);
}

static void a_forked_child_publishes_nothing(void)
{
    cairn_publisher *publisher = publish(NULL);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    add_line(heap, "the parent's");
    struct line *line = cairn_root_get(heap, "lines");
    struct inheritance inheritance = {publisher, line};
    finish(start(use_in_a_child, &inheritance));
    REQUIRE(strcmp(line->text, "the parent's") == 0);
    add_line(heap, "and goes on");
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

/* A child that lives on keeps neither the name nor the readers of a publisher that has died. */
static void publish_and_leave_a_child(void *arg)
{
    (void)arg;
    cairn_publisher *publisher = publish(NULL);
    add_line(cairn_publisher_heap(publisher), "first");
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    advance(&board->turn);
    wait_for(&board->heard, 1);
    fflush(NULL);
    if (fork() == 0) {
        alarm(120); /* should the claim fail */
        advance(&board->turn);
        wait_for(&board->heard, 2);
        _exit(0);
    }
    wait_for(&board->turn, 2);
    raise(SIGKILL);
}

static void a_child_that_outlives_the_publisher_is_not_in_the_way(void)
{
    board = shared_memory(sizeof *board);
    pid_t child = start(publish_and_leave_a_child, NULL);
    wait_for(&board->turn, 1);
    cairn_reader *reader = open_reader();
    advance(&board->heard);
    finish_by(child, SIGKILL);
    struct pollfd hup = {.fd = cairn_reader_fd(reader), .events = 0};
    REQUIRE(poll(&hup, 1, -1) == 1 && (hup.revents & POLLHUP) != 0);
    cairn_reader_close(reader);
    cairn_publisher *publisher = publish(NULL);
    cairn_publisher_close(publisher);
    advance(&board->heard);
}

/*
 * Forks at any moment of publishing, letting in and opening: no child gets a descriptor that would keep a connection, a
 * name, or the directory's lock when its parent has let go of it.
 */
enum { CHILDREN = 60 };
static int gate[2]; /* children live until its other end is closed */

static void *publish_and_open(void *arg)
{
    const _Atomic bool *stop = arg;
    cairn_reader *reader;
    while (!atomic_load(stop)) {
        cairn_publisher *publisher;
        REQUIRE_CALL(cairn_publish(&publisher, "short-lived", NULL) == 0);
        /* Lets itself in, which ends at its own address. */
        REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
        REQUIRE_EQUAL(cairn_reader_open(&reader, "short-lived", NULL), -EADDRINUSE);
        cairn_publisher_close(publisher);
    }
    return NULL;
}

static int sockets_of(pid_t process)
{
    char directory[40], target[80];
    snprintf(directory, sizeof directory, "/proc/%d/fd", process);
    DIR *stream = opendir(directory);
    REQUIRE(stream != NULL);
    int count = 0;
    struct dirent *entry;
    while ((entry = readdir(stream)) != NULL) {
        ssize_t length = readlinkat(dirfd(stream), entry->d_name, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        count += strncmp(target, "socket:", 7) == 0;
    }
    closedir(stream);
    return count;
}

static void a_fork_at_any_moment_keeps_nothing(void)
{
    pid_t children[CHILDREN];
    _Atomic bool stop = false;
    pthread_t thread;
    board = shared_memory(sizeof *board);
    REQUIRE(pipe2(gate, O_CLOEXEC) == 0);
    /* Once before: forks are watched from the first call on, and one that has begun by then is not. */
    cairn_reader *nobodys;
    cairn_publisher_close(publish(NULL));
    REQUIRE_EQUAL(cairn_reader_open(&nobodys, "nobody", NULL), -ENOENT);
    int before = sockets_of(getpid());
    REQUIRE(pthread_create(&thread, NULL, publish_and_open, &stop) == 0);
    fflush(NULL);
    for (int i = 0; i < CHILDREN; i++) {
        struct timespec moment = {.tv_nsec =
                                      i * 37 % 100 * 10000}; /* of the other thread's doings, not to wait for it */
        nanosleep(&moment, NULL);
        children[i] = fork();
        REQUIRE(children[i] >= 0);
        if (children[i] == 0) {
            char byte;
            close(gate[1]);
            advance(&board->heard);
            _exit(read(gate[0], &byte, 1) == 0 ? 0 : 1);
        }
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    wait_for(&board->heard, CHILDREN);
    for (int i = 0; i < CHILDREN; i++)
        REQUIRE_EQUAL(sockets_of(children[i]), before);
    cairn_publisher *publisher = publish(NULL); /* the directory is not locked */
    cairn_publisher_close(publisher);
    close(gate[1]);
    for (int i = 0; i < CHILDREN; i++)
        finish(children[i]);
    close(gate[0]);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

/* A forked reader's child has none of it, and opens its own. */
static void read_and_fork(void *arg)
{
    (void)arg;
    wait_for(&board->turn, 1);
    cairn_reader *reader = open_reader();
    REQUIRE_EQUAL(cairn_read_begin(reader), 0);
    fflush(NULL);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        alarm(20);
        REFUSED(-EINVAL, cairn_read_begin(reader));
        REFUSED(-EINVAL, cairn_read_end(reader));
        REFUSED_NULL(-EINVAL, cairn_reader_root(reader, "lines"));
        REQUIRE(!cairn_reader_is_current(reader));
        cairn_reader *own = open_reader();
        cairn_reader_close(reader);
        require_line(own, 0, "to be read");
        cairn_reader_close(own);
        _exit(0);
    }
    finish(child);
    const struct line *line = cairn_reader_root(reader, "lines");
    REQUIRE(line != NULL && strcmp(line->text, "to be read") == 0);
    REQUIRE_EQUAL(cairn_read_end(reader), 0);
    cairn_reader_close(reader);
}

static void a_readers_child_has_none_of_it(void)
{
    board = shared_memory(sizeof *board);
    pid_t child = start(read_and_fork, NULL);
    cairn_publisher *publisher = publish(NULL);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    add_line(cairn_publisher_heap(publisher), "to be read");
    advance(&board->turn);
    finish(child);
    cairn_publisher_close(publisher);
}

/* ---------------------------------------------------------------- what the heap of a publisher is not */

static void require_unharmed(void *arg)
{
    require_own_unharmed(arg); /* what a fork closes is not theirs, either */
}

static void close_all_and_read_on(void *arg)
{
    (void)arg;
    struct own_files own;
    cairn_reader *reader = open_reader();
    close_all_and_open_own(&own);
    REQUIRE(!cairn_reader_is_current(reader));
    require_own_unharmed(&own);
    finish(start(require_unharmed, &own));
    cairn_reader_close(reader);
    require_own_unharmed(&own);
    reader = open_reader();
    REQUIRE(cairn_reader_is_current(reader));
    cairn_reader_close(reader);
    require_own_unharmed(&own);
}

static void who_closes_the_connection_under_a_reader_keeps_its_own_files(void)
{
    cairn_publisher *publisher = publish(NULL);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    finish(start(close_all_and_read_on, NULL));
    cairn_publisher_close(publisher);
}

static void a_published_heap_ends_with_its_publisher(void)
{
    cairn_publisher *publisher = publish(NULL);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    REFUSED_VOID(-EINVAL, cairn_heap_close(heap));
    REFUSED(-EINVAL, cairn_heap_destroy(heap));
    cairn_heap *child = untouched;
    cairn_options options = {.size = sizeof options, .parent = heap};
    REFUSED(-EINVAL, cairn_heap_create(&child, &options));
    cairn_mutex *mutex = cairn_zalloc(heap, sizeof *mutex);
    REFUSED(-EINVAL, cairn_lock(heap, mutex));
    REQUIRE_EQUAL(cairn_trim(heap), 0);
    cairn_reader *reader;
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    REQUIRE_EQUAL(cairn_reader_open(&reader, "prices", NULL), -EADDRINUSE); /* of this process's own */
    cairn_publisher_close(publisher);
    cairn_publisher_close(NULL);
    cairn_reader_close(NULL);
}

/* Without a thread: the program's own loop calls dispatch when the descriptor says so. */
static void read_in_turns(void *arg)
{
    (void)arg;
    wait_for(&board->turn, 1);
    for (int i = 0; i < 20; i++) {
        cairn_reader *reader = open_reader();
        require_line(reader, 0, "by an event loop");
        cairn_reader_close(reader);
    }
    advance(&board->heard);
}

static void an_event_loop_does_what_the_thread_does(void)
{
    board = shared_memory(sizeof *board);
    pid_t child = start(read_in_turns, NULL);
    cairn_publisher *publisher = publish(NULL);
    add_line(cairn_publisher_heap(publisher), "by an event loop");
    REQUIRE_EQUAL(cairn_publisher_dispatch(publisher), 0);
    advance(&board->turn);
    while (stats_of_publisher(publisher).joined < 20 || stats_of_publisher(publisher).readers != 0) {
        struct pollfd events = {.fd = cairn_publisher_fd(publisher), .events = POLLIN};
        REQUIRE(poll(&events, 1, -1) == 1);
        REQUIRE_CALL(cairn_publisher_dispatch(publisher) >= 0);
    }
    finish(child);
    struct pollfd events = {.fd = cairn_publisher_fd(publisher), .events = POLLIN};
    REQUIRE_EQUAL(poll(&events, 1, 0), 0); /* and then there is nothing to do */
    cairn_publisher_close(publisher);
    REQUIRE_EQUAL(count_in("/proc/self/maps", "cairn-p"), 0);
}

/* Random calls: the heap stays sound, and with nobody reading everything comes back. */
static void a_published_heap_is_a_heap(void)
{
    cairn_publisher *publisher = publish(NULL);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    static void *blocks[1000];
    static size_t sizes[1000];
    uint64_t seed = 11;
    for (int i = 0; i < 100000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        size_t index = (seed >> 33) % COUNT(blocks);
        size_t size = (seed >> 50) % (i % 100 == 0 ? 200000 : 2000);
        if (blocks[index] != NULL && (seed >> 20) % 3 == 0) {
            blocks[index] = cairn_realloc(heap, blocks[index], size);
        } else {
            cairn_free(heap, blocks[index]);
            blocks[index] = cairn_alloc(heap, size);
        }
        REQUIRE_CALL(blocks[index] != NULL && cairn_size(heap, blocks[index]) >= size);
        if (size >= sizeof(size_t))
            memcpy(blocks[index], &index, sizeof index);
        sizes[index] = size;
    }
    for (size_t i = 0; i < COUNT(blocks); i++) {
        REQUIRE(blocks[i] == NULL || sizes[i] < sizeof(size_t) || memcmp(blocks[i], &i, sizeof i) == 0);
        cairn_free(heap, blocks[i]);
    }
    REQUIRE_CALL(cairn_publisher_dispatch(publisher) >= 0);
    REQUIRE_EQUAL(stats_of_publisher(publisher).blocks_retired, 0);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
}

static int note_if_seen(void *block, size_t bytes, void *arg)
{
    (void)bytes;
    void **searched = arg;
    if (block == *searched)
        *searched = NULL;
    return 0;
}

static bool walk_shows(cairn_heap *heap, void *block)
{
    void *searched = block;
    REQUIRE_EQUAL(cairn_walk(heap, NULL, note_if_seen, &searched), 0);
    return searched == NULL;
}

static void sizes_are_exact_where_that_was_asked_for(void)
{
    cairn_publisher *publisher = publish(&(cairn_publish_options){.flags = CAIRN_PUBLISH_EXACT_SIZES});
    cairn_heap *heap = cairn_publisher_heap(publisher);
    for (size_t size = 0; size < 200000; size += 1 + size / 7) {
        void *block = cairn_alloc(heap, size);
        REQUIRE_CALL(block != NULL);
        REQUIRE_EQUAL(cairn_size(heap, block), size);
        block = cairn_realloc(heap, block, size + 3);
        REQUIRE_EQUAL(cairn_size(heap, block), size + 3);
        cairn_free(heap, block);
    }
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
}

static void a_walk_shows_no_block_that_was_freed(void)
{
    cairn_publisher *publisher = publish(NULL);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    void *kept = cairn_alloc(heap, 100), *freed = cairn_alloc(heap, 100);
    REQUIRE(walk_shows(heap, kept) && walk_shows(heap, freed));
    cairn_free(heap, freed);
    REQUIRE_EQUAL(stats_of_publisher(publisher).blocks_retired, 1);
    REQUIRE(walk_shows(heap, kept) && !walk_shows(heap, freed));
    cairn_publisher_close(publisher);
}

static void *allocate_once(void *arg)
{
    cairn_heap *heap = arg;
    void *block = cairn_alloc(heap, 100);
    board->heard = 1;
    return block;
}

static void a_published_heap_can_be_stopped(void)
{
    board = shared_memory(sizeof *board);
    cairn_publisher *publisher = publish(NULL);
    REQUIRE_EQUAL(cairn_heap_lock(cairn_publisher_heap(publisher)), -EINVAL);
    cairn_publisher_close(publisher);
    publisher = publish(&(cairn_publish_options){.flags = CAIRN_PUBLISH_LOCKABLE});
    cairn_heap *heap = cairn_publisher_heap(publisher);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    REQUIRE_EQUAL(cairn_heap_lock(heap), 0);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, allocate_once, heap) == 0);
    time_t end = time(NULL) + 2; /* a turn that is given up is long where many wait for processors */
    for (int i = 0; i < 1000 && (i < 20 || time(NULL) < end); i++) { /* the holder goes on, and nobody else */
        void *block = cairn_alloc(heap, 1000);
        REQUIRE_CALL(block != NULL);
        cairn_free(heap, block);
        sched_yield();
        REQUIRE_EQUAL(board->heard, 0);
    }
    REQUIRE_EQUAL(cairn_heap_unlock(heap), 0);
    REQUIRE_EQUAL(cairn_heap_unlock(heap), -EPERM);
    void *block;
    REQUIRE(pthread_join(thread, &block) == 0 && block != NULL);
    REQUIRE_EQUAL(board->heard, 1);
    cairn_reader *reader = NULL; /* it lies where the publisher's view is, and so was let in */
    REQUIRE_EQUAL(cairn_reader_open(&reader, "prices", NULL), -EADDRINUSE);
    cairn_publisher_close(publisher);
}

/* ---------------------------------------------------------------- names */

struct names {
    char text[200];
    int result; /* of each visit */
};

static int add_name(const char *name, void *arg)
{
    struct names *names = arg;
    size_t length = strlen(names->text);
    snprintf(names->text + length, sizeof names->text - length, "%s ", name);
    return names->result;
}

static void names_are_those_of_sockets(void)
{
    struct names names = {.text = ""};
    cairn_publisher *publisher = publish(NULL);
    cairn_heap_close(create_shared("heap", MIB));
    FILE *file = fopen(workspace_path("file.sock"), "we");
    REQUIRE(file != NULL && fclose(file) == 0);
    static const char *const others[] = {".sock", "a-longer-name"};
    for (size_t i = 0; i < COUNT(others); i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof address.sun_path, "%s", workspace_path(others[i]));
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        REQUIRE(fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0);
        close(fd);
    }
    REQUIRE_CALL(cairn_publish_names(NULL, add_name, &names) == 0);
    REQUIRE(strcmp(names.text, "prices ") == 0);
    names.result = -7;
    REQUIRE_EQUAL(cairn_publish_names(workspace_directory(), add_name, &names), -7); /* the visitor's own */
    REQUIRE(cairn_last_errno() != -7);
    REFUSED(-ENOENT, cairn_publish_names("/nonexistent", add_name, &names));
    cairn_publisher_close(publisher);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_reader_follows_pointers_and_sees_growth),
        CLAIM(a_killed_publisher_leaves_what_it_published_and_its_name),
        CLAIM(who_wants_two_heaps_of_one_address_is_told_which),
        CLAIM(a_publisher_removes_its_own_name_alone),
        CLAIM(a_forked_child_publishes_nothing),
        CLAIM(a_child_that_outlives_the_publisher_is_not_in_the_way),
        CLAIM(a_fork_at_any_moment_keeps_nothing),
        CLAIM(a_readers_child_has_none_of_it),
        CLAIM(who_closes_the_connection_under_a_reader_keeps_its_own_files),
        CLAIM(a_published_heap_ends_with_its_publisher),
        CLAIM(an_event_loop_does_what_the_thread_does),
        CLAIM(a_published_heap_is_a_heap),
        CLAIM(sizes_are_exact_where_that_was_asked_for),
        CLAIM(a_walk_shows_no_block_that_was_freed),
        CLAIM(a_published_heap_can_be_stopped),
        CLAIM(names_are_those_of_sockets),
    };
    return run_claims(claims, COUNT(claims), 30);
}
