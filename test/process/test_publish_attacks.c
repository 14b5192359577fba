/* SPDX-License-Identifier: MIT */
/*
 * The table of docs/publish.md, against a real publisher: what readers of other users, of the publisher's and root can
 * do to who publishes. The numbers are those of the rows. What they can do to what they read: test/hostile.
 */
#include <dirent.h>
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
#include <unistd.h>

#include "cairn_publish.h"
#include "section/public.h"
#include "support/intruder.h"
#include "support/workspace.h"

enum { PUBLISHER_USER = 1000, OTHER_USER = 1001, BLOCK_BYTES = 1 << 20 };

struct board {
    _Atomic uint32_t ready;
    _Atomic uint32_t asked; /* to look at what is published and to grow it */
    _Atomic uint32_t answered;
    _Atomic uint32_t events[5]; /* by kind */
    _Atomic uint32_t stop;
    int publisher;
    cairn_publisher_stats stats;
    int descriptors; /* of the publisher */
    unsigned char *block;
};
static struct board *board;

/* ---------------------------------------------------------------- the publisher */

static void count_event(const cairn_publish_event *event, void *arg)
{
    (void)arg;
    REQUIRE(event->reason != NULL && strlen(event->reason) > 5);
    advance(&board->events[event->kind]);
}

static int count_descriptors(void)
{
    int count = 0;
    DIR *stream = opendir("/proc/self/fd");
    REQUIRE(stream != NULL);
    while (readdir(stream) != NULL)
        count++;
    closedir(stream);
    return count;
}

static void require_unharmed(cairn_heap *heap, const unsigned char *block)
{
    for (size_t i = 0; i < BLOCK_BYTES; i++) {
        if (block[i] != (unsigned char)(i * 7))
            broken(__FILE__, __LINE__, "byte %zu of what is published was changed", i);
    }
    unsigned char *more = cairn_alloc(heap, 3 * MIB); /* it can still grow */
    REQUIRE_CALL(more != NULL);
    memset(more, 1, 3 * MIB);
    REQUIRE_SOUND(heap);
    cairn_free(heap, more); /* it may be asked often */
}

static void be_publisher(void *arg)
{
    const cairn_publish_options *options = arg;
    become(PUBLISHER_USER);
    REQUIRE(prctl(PR_SET_DUMPABLE, 0) == 0);
    cairn_publisher *publisher;
    REQUIRE_CALL(cairn_publish(&publisher, "target", options) == 0);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    unsigned char *block = cairn_alloc(heap, BLOCK_BYTES);
    REQUIRE_CALL(block != NULL);
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        block[i] = (unsigned char)(i * 7);
    REQUIRE_CALL(cairn_root_set(heap, "block", block) == 0);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    board->block = block;
    board->publisher = getpid();
    board->descriptors = count_descriptors();
    advance(&board->ready);
    for (uint32_t asked = 1;; asked++) {
        wait_for(&board->asked, asked);
        require_unharmed(heap, block);
        board->stats = (cairn_publisher_stats){.size = sizeof board->stats};
        REQUIRE_CALL(cairn_publisher_stats_get(publisher, &board->stats) == 0);
        board->descriptors = count_descriptors();
        bool is_last = atomic_load(&board->stop) != 0;
        advance(&board->answered);
        if (is_last)
            break;
    }
    cairn_publisher_close(publisher);
}

static pid_t start_publisher(cairn_publish_options *options)
{
    board = shared_memory(sizeof *board);
    options->size = sizeof *options;
    options->on_event = count_event;
    if (geteuid() == 0)
        REQUIRE(chown(workspace_directory(), PUBLISHER_USER, PUBLISHER_USER) == 0);
    REQUIRE(chmod(workspace_directory(), 0755) == 0);
    pid_t publisher = start(be_publisher, options);
    wait_for(&board->ready, 1);
    return publisher;
}

/* Has the publisher look whether all is as it was. */
static cairn_publisher_stats ask(void)
{
    advance(&board->asked);
    wait_for(&board->answered, atomic_load(&board->asked));
    return board->stats;
}

static void stop_publisher(pid_t publisher)
{
    atomic_store(&board->stop, 1);
    ask();
    finish(publisher);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

/* ---------------------------------------------------------------- attacks on the publisher */

/* Waits until an event of a kind was told as often. */
static void wait_for_event(cairn_publish_event_kind kind, uint32_t count)
{
    wait_for(&board->events[kind], count);
}

static bool is_hung_up(int socket)
{
    struct pollfd hup = {.fd = socket, .events = POLLRDHUP};
    return poll(&hup, 1, -1) == 1 && (hup.revents & (POLLHUP | POLLRDHUP)) != 0;
}

static void pin_pages_are_of_no_use_to_an_attacker(void)
{
    cairn_publish_options options = {.deadline_ms = 20};
    pid_t publisher = start_publisher(&options);
    become(PUBLISHER_USER);
    struct grip grip;
    REQUIRE_EQUAL(take_grip(&grip), 0);
    REQUIRE_EQUAL(result_of(ftruncate(grip.pin, 0)), -EPERM);             /* 22 */
    REQUIRE_EQUAL(result_of(ftruncate(grip.pin, 1 << 20)), -EPERM);       /* 22 */
    REQUIRE_EQUAL(result_of(fallocate(grip.pin, 0, 4096, 4096)), -EPERM); /* 22 */
    *grip.pin_word = 1;
    REQUIRE_EQUAL(result_of(fallocate(grip.pin, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096)), 0); /* 23 */
    REQUIRE_EQUAL(*grip.pin_word, 0);
    ask();
    let_go(&grip);
    wait_for_event(CAIRN_READER_LEFT, 1);
    stop_publisher(publisher);
}

/* So many have it look at the pins, and are far from what a reader may hold back. */
enum { FREES = 8 };

/* Frees as often as it is asked to. */
static void be_publisher_that_frees(void *arg)
{
    const cairn_publish_options *options = arg;
    cairn_publisher *publisher;
    REQUIRE_CALL(cairn_publish(&publisher, "target", options) == 0);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    advance(&board->ready);
    bool is_last = false;
    for (uint32_t asked = 1; !is_last; asked++) {
        wait_for(&board->asked, asked);
        is_last = atomic_load(&board->stop) != 0; /* which is said before it is asked for the last time */
        for (int i = 0; i < FREES; i++)
            cairn_free(heap, cairn_alloc(heap, 1000));
        board->stats = (cairn_publisher_stats){.size = sizeof board->stats};
        REQUIRE_CALL(cairn_publisher_stats_get(publisher, &board->stats) == 0);
        advance(&board->answered);
    }
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
}

static void wrong_pins_are_noticed(void)
{
    board = shared_memory(sizeof *board);
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 200, .on_event = count_event};
    pid_t publisher = start(be_publisher_that_frees, &options);
    wait_for(&board->ready, 1);

    struct grip grip;
    REQUIRE_EQUAL(take_grip(&grip), 0);
    *grip.pin_word = UINT64_MAX; /* 25 */
    ask();
    wait_for_event(CAIRN_READER_DROPPED, 1);
    REQUIRE(is_hung_up(grip.socket));
    let_go(&grip);

    REQUIRE_EQUAL(take_grip(&grip), 0);
    while (atomic_load(&board->events[CAIRN_READER_DROPPED]) == 1) { /* 25: to and fro, until it is dropped */
        uint64_t epoch = atomic_load(&grip.image->epoch);
        *grip.pin_word = epoch;
        ask();
        *grip.pin_word = epoch > 2 ? epoch - 2 : 1;
        ask();
    }
    REQUIRE(is_hung_up(grip.socket));
    let_go(&grip);

    REQUIRE_EQUAL(take_grip(&grip), 0);
    uint32_t number;
    memcpy(&number, grip.message + 24, sizeof number);
    uint64_t cut = atomic_load(&grip.image->cut[number]), cuts = board->stats.cut_off;
    *grip.pin_word = atomic_load(&grip.image->epoch); /* 24 */
    while (atomic_load(&grip.image->cut[number]) == cut)
        ask();
    REQUIRE(ask().cut_off > cuts);
    let_go(&grip);
    atomic_store(&board->stop, 1);
    ask();
    finish(publisher);
}

static void whoever_speaks_is_dropped(void)
{
    cairn_publish_options options = {0};
    pid_t publisher = start_publisher(&options);
    become(PUBLISHER_USER);
    int descriptors = board->descriptors;
    for (uint32_t i = 1; i <= 50; i++) { /* 26 */
        struct grip grip;
        REQUIRE_EQUAL(take_grip(&grip), 0);
        if (i % 2 == 0) {
            REQUIRE(send(grip.socket, "hello", 5, MSG_NOSIGNAL) == 5);
        } else {
            union {
                struct cmsghdr header;
                unsigned char bytes[CMSG_SPACE(100 * sizeof(int))];
            } control;
            memset(&control, 0, sizeof control);
            struct iovec part = {.iov_base = &(char){'x'}, .iov_len = 1};
            struct msghdr header = {.msg_iov = &part,
                                    .msg_iovlen = 1,
                                    .msg_control = control.bytes,
                                    .msg_controllen = sizeof control.bytes};
            control.header = (struct cmsghdr){
                .cmsg_len = CMSG_LEN(100 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
            int files[100];
            for (size_t f = 0; f < COUNT(files); f++)
                files[f] = grip.pin;
            memcpy(CMSG_DATA(&control.header), files, sizeof files);
            REQUIRE(sendmsg(grip.socket, &header, MSG_NOSIGNAL) == 1);
        }
        REQUIRE(is_hung_up(grip.socket));
        wait_for_event(CAIRN_READER_DROPPED, i);
        let_go(&grip);
    }
    cairn_publisher_stats stats = ask();
    REQUIRE_EQUAL(stats.dropped, 50);
    REQUIRE_EQUAL(stats.readers, 0);
    REQUIRE_EQUAL(board->descriptors, descriptors);
    stop_publisher(publisher);
}

static void connections_are_counted(void)
{
    static const uint32_t users[] = {OTHER_USER};
    if (geteuid() != 0)
        skip("needs root, to become another user");
    cairn_publish_options options = {.users = users, .users_count = 1, .readers_max = 8, .readers_per_user_max = 3};
    pid_t publisher = start_publisher(&options);
    int descriptors = board->descriptors;
    pid_t flood = fork();
    REQUIRE(flood >= 0);
    if (flood == 0) {
        become(OTHER_USER);
        struct grip grips[5];
        for (int i = 0; i < 5; i++) /* 27 */
            REQUIRE_EQUAL(take_grip(&grips[i]), i < 3 ? 0 : -EAGAIN);
        _exit(0);
    }
    finish(flood);
    wait_for_event(CAIRN_READER_LEFT, 3);
    become(PUBLISHER_USER);
    struct grip grips[9];
    for (int i = 0; i < 9; i++)
        REQUIRE_EQUAL(take_grip(&grips[i]), i < 8 ? 0 : -EAGAIN);
    for (int i = 0; i < 8; i++)
        let_go(&grips[i]);
    wait_for_event(CAIRN_READER_LEFT, 11);
    for (int i = 0; i < 1000; i++) /* 29 */
        close(connect_to("target.sock"));
    struct grip grip;
    while (take_grip(&grip) == -EAGAIN) /* those who left are still before us in the row */
        close(grip.socket);
    let_go(&grip);
    while (ask().readers != 0 || board->descriptors != descriptors) /* who is not counted any more is closed next */
        continue;
    stop_publisher(publisher);
}

static void go_away(void *arg)
{
    (void)arg;
    become(OTHER_USER);
    struct grip grip;
    REQUIRE_EQUAL(take_grip(&grip), -EACCES);
    cairn_reader_options options = {.size = sizeof options, .flags = CAIRN_READER_ANY_OWNER};
    cairn_reader *reader = (cairn_reader *)0x10;
    REQUIRE_EQUAL(cairn_reader_open(&reader, "target", &options), -EACCES);
    REQUIRE(reader == (cairn_reader *)0x10);
}

static void come_in(void *arg)
{
    REQUIRE(setgroups(1, (gid_t[]){*(gid_t *)arg}) == 0 && setgid(OTHER_USER) == 0 && setuid(OTHER_USER) == 0);
    cairn_reader *reader;
    REQUIRE_EQUAL(cairn_reader_open(&reader, "target", NULL), -EPERM); /* 38 */
    cairn_reader_options options = {.size = sizeof options, .flags = CAIRN_READER_ANY_OWNER};
    REQUIRE_CALL(cairn_reader_open(&reader, "target", &options) == 0);
    cairn_reader_close(reader);
}

static void the_access_list_decides(void)
{
    if (geteuid() != 0)
        skip("needs root, to become other users");
    static const uint32_t groups[] = {7777};
    static const uint32_t others[] = {4242};
    cairn_publish_options options = {
        .users = others, .users_count = 1, .groups = groups, .groups_count = 1, .mode = 0666};
    pid_t publisher = start_publisher(&options);
    finish(start(go_away, NULL)); /* 28 */
    wait_for_event(CAIRN_READER_REFUSED, 2);
    REQUIRE_EQUAL(ask().refused, 2);
    gid_t group = 7777;
    finish(start(come_in, &group));
    wait_for_event(CAIRN_READER_JOINED, 1);
    stop_publisher(publisher);

    cairn_publish_options everyone = {.flags = CAIRN_PUBLISH_EVERYONE};
    publisher = start_publisher(&everyone);
    group = 1;
    finish(start(come_in, &group));
    stop_publisher(publisher);
}

/* 32: what a program does that closes all its descriptors. */
static void a_reader_that_is_not_counted_any_more_is_told(void)
{
    cairn_publish_options options = {0};
    pid_t publisher = start_publisher(&options);
    become(PUBLISHER_USER);
    cairn_reader *reader;
    REQUIRE_CALL(cairn_reader_open(&reader, "target", NULL) == 0);
    REQUIRE_EQUAL(cairn_read_begin(reader), 0);
    close(cairn_reader_fd(reader));
    wait_for_event(CAIRN_READER_LEFT, 1);
    REQUIRE_EQUAL(cairn_read_end(reader), -ESTALE);
    REQUIRE_EQUAL(cairn_read_begin(reader), -ENOTCONN);
    REQUIRE_EQUAL(cairn_read_end(reader), -EINVAL);
    REQUIRE(!cairn_reader_is_current(reader));
    /* Its number is another's by now, and it does not take that for itself. */
    cairn_reader *next;
    REQUIRE_CALL(cairn_reader_open(&next, "target", NULL) == 0);
    REQUIRE_EQUAL(cairn_read_begin(reader), -ENOTCONN);
    REQUIRE_EQUAL(cairn_read_begin(next), 0);
    REQUIRE_EQUAL(cairn_read_end(next), 0);
    cairn_reader_close(next);
    stop_publisher(publisher);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(pin_pages_are_of_no_use_to_an_attacker),
        CLAIM(wrong_pins_are_noticed),
        CLAIM(whoever_speaks_is_dropped),
        CLAIM(connections_are_counted),
        CLAIM(the_access_list_decides),
        CLAIM(a_reader_that_is_not_counted_any_more_is_told),
    };
    return run_claims(claims, COUNT(claims), 30);
}
