/* SPDX-License-Identifier: MIT */
/*
 * The tables of docs/publish.md, against a real publisher: what readers of other users, of the publisher's and root can
 * do to what they read, and to who publishes it. The numbers are those of the rows.
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
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "cairn_publish.h"
#include "section/public.h"
#include "support/workspace.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

enum { PUBLISHER_USER = 1000, OTHER_USER = 1001, BLOCK_BYTES = 1 << 20, PLACE_OF_X = 200 };

_Static_assert((unsigned char)(PLACE_OF_X * 7) == 'x', "byte i of the block is 7 i");

struct board {
    _Atomic uint32_t ready;
    _Atomic uint32_t asked; /* to look at what is published and to grow it */
    _Atomic uint32_t answered;
    _Atomic uint32_t events[5]; /* by kind */
    _Atomic uint32_t stop;
    int publisher;
    int file; /* the number of its descriptor there */
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

static int find_file(void)
{
    char target[200];
    DIR *stream = opendir("/proc/self/fd");
    struct dirent *entry;
    int found = -1;
    REQUIRE(stream != NULL);
    while ((entry = readdir(stream)) != NULL) {
        ssize_t length = readlinkat(dirfd(stream), entry->d_name, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        if (strstr(target, "cairn-published") != NULL)
            found = atoi(entry->d_name);
    }
    closedir(stream);
    return found;
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
}

static void become(uint32_t user)
{
    if (geteuid() == 0 && user != 0)
        REQUIRE(setgroups(0, NULL) == 0 && setgid(user) == 0 && setuid(user) == 0);
    REQUIRE(prctl(PR_SET_DUMPABLE, 1) == 0);        /* else its own /proc would be root's, and refuse for that */
    REQUIRE(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0); /* which a change of the user takes back */
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
    board->file = find_file();
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

/* ---------------------------------------------------------------- a reader that is none */

struct grip {
    int socket;
    int heap;
    int pin;
    unsigned char *view;
    _Atomic uint64_t *pin_word;
    size_t bytes;
    const struct public_image *image;
    unsigned char message[64];
};

static int raw_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/target.sock", workspace_directory());
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    while (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        REQUIRE(errno == EINTR);
    return fd;
}

/* Takes what a reader gets. Returns the status of the publisher's message. */
static int take_grip(struct grip *grip)
{
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    *grip = (struct grip){.socket = raw_connect(), .heap = -1, .pin = -1};
    struct iovec part = {.iov_base = grip->message, .iov_len = sizeof grip->message};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    REQUIRE_EQUAL(recvmsg(grip->socket, &header, 0), 64);
    int32_t status;
    memcpy(&status, grip->message + 12, sizeof status);
    struct cmsghdr *files = CMSG_FIRSTHDR(&header);
    if (files == NULL)
        return status;
    memcpy(&grip->heap, CMSG_DATA(files), sizeof(int));
    memcpy(&grip->pin, CMSG_DATA(files) + sizeof(int), sizeof(int));
    struct stat bytes;
    REQUIRE(fstat(grip->heap, &bytes) == 0);
    grip->bytes = (size_t)bytes.st_size;
    grip->view = mmap(NULL, grip->bytes, PROT_READ, MAP_SHARED, grip->heap, 0);
    REQUIRE(grip->view != MAP_FAILED);
    grip->image = (const struct public_image *)(const void *)grip->view;
    void *pin = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, grip->pin, 0);
    REQUIRE(pin != MAP_FAILED);
    grip->pin_word = pin;
    return status;
}

static void let_go(struct grip *grip)
{
    close(grip->socket);
    close(grip->heap);
    close(grip->pin);
    munmap(grip->view, grip->bytes);
    munmap(grip->pin_word, 4096);
}

/* ---------------------------------------------------------------- attacks on the memory */

enum who { OTHER, SAME, ROOT };
static enum who who;

static const char *const who_names[] = {"another user", "the same user", "root"};

/* result: 0 or a negative errno value; expected: the errno value for each of the three, 0 for allowed. */
static void require_result(int line, int row, long result, int other, int same, int root)
{
    int expected = who == OTHER ? other : who == SAME ? same : root;
    if (result != -expected)
        broken(__FILE__, line, "row %d by %s: gives %ld (%s) instead of %d (%s)", row, who_names[who], result,
               strerror((int)-result), -expected, strerror(expected));
}
#define ROW(row, call, other, same, root) require_result(__LINE__, row, (call), other, same, root)

static int result_of(long returned)
{
    return returned < 0 ? -errno : 0;
}

static int map_for_writing(int file)
{
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return mapped == MAP_FAILED ? -errno : 0;
}

static int write_to_memory_file(const char *path, const void *address)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return -errno;
    int result = result_of(pwrite(file, "x", 1, (off_t)(uintptr_t)address));
    close(file);
    return result;
}

/* What somebody can do who has the memory file open for writing. */
static void attack_writable(int file)
{
    struct stat before, after;
    REQUIRE(fstat(file, &before) == 0);
    ROW(11, map_for_writing(file), EPERM, EPERM, EPERM);
    ROW(12, result_of(pwrite(file, "x", 1, 0)), EPERM, EPERM, EPERM);
    ROW(13, result_of(ftruncate(file, 0)), EPERM, EPERM, EPERM);
    ROW(14, result_of(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20)), EPERM, EPERM, EPERM);
    ROW(15, result_of(fcntl(file, F_ADD_SEALS, F_SEAL_GROW)), EPERM, EPERM, EPERM);
    ROW(16, result_of(fallocate(file, 0, before.st_size, 1 << 20)), 0, 0, 0);
    REQUIRE(fstat(file, &after) == 0 && after.st_size == before.st_size + (1 << 20));
}

static int open_again(int file, const char *of)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/fd/%d", of, file);
    int opened = open(path, O_RDWR | O_CLOEXEC);
    return opened < 0 ? -errno : opened;
}

static int take_descriptor(void)
{
    int pidfd = (int)syscall(SYS_pidfd_open, board->publisher, 0);
    if (pidfd < 0)
        return -errno;
    int taken = (int)syscall(SYS_pidfd_getfd, pidfd, board->file, 0);
    int error = errno;
    close(pidfd);
    return taken < 0 ? -error : taken;
}

static void row_with_file(int row, int file, int other, int same, int root)
{
    require_result(__LINE__, row, file < 0 ? file : 0, other, same, root);
    if (file < 0)
        return;
    attack_writable(file);
    close(file);
}

static void attack_memory(void *arg)
{
    who = *(enum who *)arg;
    become(who == OTHER ? OTHER_USER : who == SAME ? PUBLISHER_USER : 0);
    struct grip grip;
    REQUIRE_EQUAL(take_grip(&grip), 0);
    ROW(1, result_of(mprotect(grip.view, 4096, PROT_READ | PROT_WRITE)), EACCES, EACCES, EACCES);
    ROW(2, map_for_writing(grip.heap), EACCES, EACCES, EACCES);
    ROW(3, result_of(pwrite(grip.heap, "x", 1, 0)), EBADF, EBADF, EBADF);
    ROW(4, result_of(ftruncate(grip.heap, 0)), EINVAL, EINVAL, EINVAL);
    ROW(4, result_of(ftruncate(grip.heap, (off_t)grip.bytes * 2)), EINVAL, EINVAL, EINVAL);
    ROW(5, result_of(fallocate(grip.heap, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20)), EBADF, EBADF,
        EBADF);
    ROW(6, result_of(madvise(grip.view, grip.bytes, MADV_REMOVE)), EACCES, EACCES, EACCES);
    ROW(7, write_to_memory_file("/proc/self/mem", grip.view), EIO, EIO, EIO);
    row_with_file(8, open_again(grip.heap, "self"), EACCES, EACCES, 0);
    ROW(9, result_of(fchmod(grip.heap, 0600)), EPERM, 0, 0);
    row_with_file(10, open_again(grip.heap, "self"), EACCES, 0, 0);
    char of[16], path[32];
    snprintf(of, sizeof of, "%d", board->publisher);
    snprintf(path, sizeof path, "/proc/%d/mem", board->publisher);
    row_with_file(17, open_again(board->file, of), EACCES, EACCES, 0);
    row_with_file(18, take_descriptor(), EPERM, EPERM, 0);
    /* Root can; so it writes where an 'x' is, which changes nothing. */
    unsigned char *there = board->block + (who == ROOT ? PLACE_OF_X : 0);
    ROW(19, write_to_memory_file(path, there), EACCES, EACCES, 0);
    struct iovec from = {.iov_base = &(char){'x'}, .iov_len = 1};
    struct iovec to = {.iov_base = there, .iov_len = 1};
    ROW(20, result_of(process_vm_writev(board->publisher, &from, 1, &to, 1, 0)), EPERM, EPERM, 0);
    struct stat status;
    REQUIRE(fstat(grip.heap, &status) == 0);
    REQUIRE(status.st_blocks * 512 >= status.st_size); /* 21 */
    let_go(&grip);

    /* A reader in order still can open it. */
    cairn_reader *reader;
    cairn_reader_options options = {.size = sizeof options, .flags = CAIRN_READER_ANY_OWNER};
    REQUIRE_CALL(cairn_reader_open(&reader, "target", &options) == 0);
    REQUIRE_EQUAL(cairn_read_begin(reader), 0);
    const unsigned char *block = cairn_reader_root(reader, "block");
    REQUIRE(block == board->block && block[1] == 7);
    REQUIRE_EQUAL(cairn_read_end(reader), 0);
    cairn_reader_close(reader);
}

static void attack_memory_as(enum who attacker)
{
    static const uint32_t users[] = {OTHER_USER, 0};
    cairn_publish_options options = {.users = users, .users_count = COUNT(users)};
    pid_t publisher = start_publisher(&options);
    finish(start(attack_memory, &attacker));
    ask();
    stop_publisher(publisher);
}

static void another_user_changes_nothing(void)
{
    if (geteuid() != 0)
        skip("needs root, to become another user");
    attack_memory_as(OTHER);
}

static void the_same_user_changes_nothing(void)
{
    attack_memory_as(SAME);
}

static void root_changes_nothing_of_the_memory_file(void)
{
    if (geteuid() != 0)
        skip("needs root");
    attack_memory_as(ROOT);
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
    who = SAME;
    ROW(22, result_of(ftruncate(grip.pin, 0)), EPERM, EPERM, EPERM);
    ROW(22, result_of(ftruncate(grip.pin, 1 << 20)), EPERM, EPERM, EPERM);
    ROW(22, result_of(fallocate(grip.pin, 0, 4096, 4096)), EPERM, EPERM, EPERM);
    *grip.pin_word = 1;
    ROW(23, result_of(fallocate(grip.pin, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096)), 0, 0, 0);
    REQUIRE_EQUAL(*grip.pin_word, 0);
    ask();
    let_go(&grip);
    wait_for_event(CAIRN_READER_LEFT, 1);
    stop_publisher(publisher);
}

/* The publisher frees something, again and again, until it has looked at the pins. */
static void be_publisher_that_frees(void *arg)
{
    const cairn_publish_options *options = arg;
    cairn_publisher *publisher;
    REQUIRE_CALL(cairn_publish(&publisher, "target", options) == 0);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    advance(&board->ready);
    while (atomic_load(&board->stop) == 0) {
        cairn_free(heap, cairn_alloc(heap, 1000));
        board->stats = (cairn_publisher_stats){.size = sizeof board->stats};
        REQUIRE_CALL(cairn_publisher_stats_get(publisher, &board->stats) == 0);
    }
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
}

static void wrong_pins_are_noticed(void)
{
    board = shared_memory(sizeof *board);
    cairn_publish_options options = {.size = sizeof options, .deadline_ms = 20, .on_event = count_event};
    pid_t publisher = start(be_publisher_that_frees, &options);
    wait_for(&board->ready, 1);

    struct grip grip;
    REQUIRE_EQUAL(take_grip(&grip), 0);
    *grip.pin_word = UINT64_MAX; /* 25 */
    wait_for_event(CAIRN_READER_DROPPED, 1);
    REQUIRE(is_hung_up(grip.socket));
    let_go(&grip);

    REQUIRE_EQUAL(take_grip(&grip), 0);
    while (atomic_load(&board->events[CAIRN_READER_DROPPED]) == 1) { /* 25: to and fro, until it is seen */
        uint64_t epoch = atomic_load(&grip.image->epoch);
        *grip.pin_word = epoch;
        for (int i = 0; i < 1000; i++)
            atomic_load(grip.pin_word);
        *grip.pin_word = epoch > 2 ? epoch - 2 : 1;
    }
    REQUIRE(is_hung_up(grip.socket));
    let_go(&grip);

    REQUIRE_EQUAL(take_grip(&grip), 0);
    uint32_t number;
    memcpy(&number, grip.message + 24, sizeof number);
    uint64_t cut = atomic_load(&grip.image->cut[number]);
    *grip.pin_word = atomic_load(&grip.image->epoch); /* 24 */
    while (atomic_load(&grip.image->cut[number]) == cut)
        ;
    let_go(&grip);
    atomic_store(&board->stop, 1);
    finish(publisher);
    REQUIRE(board->stats.cut_off >= 1);
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
        close(raw_connect());
    struct grip grip;
    while (take_grip(&grip) == -EAGAIN) /* those who left are still before us in the row */
        close(grip.socket);
    let_go(&grip);
    cairn_publisher_stats stats;
    do
        stats = ask();
    while (stats.readers != 0);
    REQUIRE_EQUAL(board->descriptors, descriptors);
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
        CLAIM(another_user_changes_nothing),
        CLAIM(the_same_user_changes_nothing),
        CLAIM(root_changes_nothing_of_the_memory_file),
        CLAIM(pin_pages_are_of_no_use_to_an_attacker),
        CLAIM(wrong_pins_are_noticed),
        CLAIM(whoever_speaks_is_dropped),
        CLAIM(connections_are_counted),
        CLAIM(the_access_list_decides),
        CLAIM(a_reader_that_is_not_counted_any_more_is_told),
    };
    return run_claims(claims, COUNT(claims), 30);
}
