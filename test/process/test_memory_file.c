/* SPDX-License-Identifier: MIT */
/* Shared heaps in memory files, which processes get by descriptors: real ones, that have nothing else in common. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/handover.h"
#include "support/intruder.h"
#include "support/keep.h"
#include "support/random.h"
#include "support/workspace.h"

/* What both sides of a claim see. */
struct board {
    _Atomic uint32_t turn;
    _Atomic uint32_t heard;
};
static struct board *board;

static cairn_heap *make(size_t bytes_max, int *ret_fd)
{
    cairn_options options = {.size = sizeof options, .name = "orders", .bytes_max = bytes_max};
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_create_fd(&heap, ret_fd, &options) == 0);
    return heap;
}

/* Attaches by what the other side sends, and has nothing but the view afterwards. */
static cairn_heap *attach(int socket, uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    cairn_heap *heap;
    int fd = handover_receive(socket);
    REQUIRE_CALL(cairn_heap_open_fd(&heap, fd, &options) == 0);
    close(fd);
    return heap;
}

/* ---------------------------------------------------------------- as any shared heap */

static void take_the_list_and_give_a_large_block(void *arg)
{
    int socket = *(const int *)arg;
    cairn_heap *heap = attach(socket, 0);
    (void)keeps_take(heap, 1000, 100 * MIB);
    REQUIRE_EQUAL(stats_of(heap).processes, 2);
    cairn_heap_close(heap);
}

static void a_heap_in_a_memory_file_is_a_shared_heap(void)
{
    int sockets[2], fd;
    handover_pair(sockets);
    pid_t other = start(take_the_list_and_give_a_large_block, &sockets[1]); /* before there is a heap */
    cairn_heap *heap = make(0, &fd);
    (void)keeps_put(heap, 1000);
    handover_send(sockets[0], fd);
    finish(other);
    const unsigned char *large = cairn_root_get(heap, "large"); /* grown by another, seen without doing anything */
    REQUIRE(large != NULL && large[0] == 7 && large[100 * MIB - 1] == 7);
    REQUIRE_EQUAL(blocks_live(heap), 1);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_SOUND(heap);

    cairn_heap *child, *again, *reader;
    cairn_options part = {.size = sizeof part, .name = "part", .parent = heap};
    cairn_options reading = {.size = sizeof reading, .flags = CAIRN_READ_ONLY};
    REQUIRE_CALL(cairn_heap_create(&child, &part) == 0);
    REQUIRE_CALL(cairn_heap_open_fd(&again, fd, NULL) == 0);
    REQUIRE_CALL(cairn_heap_open_fd(&reader, fd, &reading) == 0);
    REQUIRE_EQUAL(stats_of(again).processes, 1); /* one view */
    REQUIRE(cairn_alloc(reader, 1) == NULL && cairn_last_errno() == -EROFS);
    cairn_heap_close(reader);
    cairn_heap_close(again);
    cairn_heap_close(child);
    cairn_heap_close(heap);
    REQUIRE_CALL(cairn_heap_open_fd(&heap, fd, NULL) == 0); /* nobody had it but the descriptor */
    REQUIRE(cairn_root_get(heap, "large") == large);
    cairn_heap_close(heap);
    close(fd);
    REQUIRE_EQUAL(workspace_entries(), 0); /* it never had a name */
}

static void read_only(void *arg)
{
    int socket = *(const int *)arg;
    cairn_heap *heap = attach(socket, CAIRN_READ_ONLY);
    struct keep *keep = cairn_root_get(heap, "list");
    REQUIRE(keep->self == keep);
    REQUIRE_EQUAL(keep->sign, 5);
    advance(&board->turn);
    wait_for(&board->heard, 1);
    const struct keep *later = cairn_root_get(heap, "later");
    REQUIRE(later != NULL && later->sign == 6);
    signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would exit */
    *(volatile uint64_t *)&keep->sign = 7;
}

static void a_reader_has_enough_in_a_descriptor_to_read(void)
{
    int sockets[2], fd;
    char path[40];
    board = shared_memory(sizeof *board);
    handover_pair(sockets);
    pid_t reader = start(read_only, &sockets[1]);
    cairn_heap *heap = make(64 * MIB, &fd);
    REQUIRE_CALL(cairn_root_set(heap, "list", keep_put(heap, NULL, 5)) == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int to_read = open(path, O_RDONLY | O_CLOEXEC);
    cairn_heap *none = untouched;
    REFUSED(-EACCES, cairn_heap_open_fd(&none, to_read, NULL)); /* whatever this user may open by itself */
    handover_send(sockets[0], to_read);
    wait_for(&board->turn, 1);
    REQUIRE_EQUAL(stats_of(heap).processes, 1); /* it takes no record */
    REQUIRE_CALL(cairn_root_set(heap, "later", keep_put(heap, NULL, 6)) == 0);
    advance(&board->heard);
    finish_by(reader, SIGSEGV);
    REQUIRE_EQUAL(((struct keep *)cairn_root_get(heap, "list"))->sign, 5);
    cairn_heap_close(heap);
}

/* ---------------------------------------------------------------- death */

static void hold_blocks_until_killed(void *arg)
{
    int socket = *(const int *)arg;
    cairn_heap *heap = attach(socket, 0);
    for (uint64_t i = 0; i < 100; i++)
        (void)keep_put(heap, NULL, i);
    advance(&board->turn);
    for (;;)
        pause();
}

/* Both got the same open file description; so does whoever gets a descriptor from another, or inherits it. */
static void each_process_is_alive_by_itself(void)
{
    int sockets[2], fd;
    pid_t others[2];
    board = shared_memory(sizeof *board);
    handover_pair(sockets);
    for (int i = 0; i < 2; i++)
        others[i] = start(hold_blocks_until_killed, &sockets[1]);
    cairn_heap *heap = make(64 * MIB, &fd);
    for (int i = 0; i < 2; i++)
        handover_send(sockets[0], fd);
    wait_for(&board->turn, 2);
    REQUIRE_EQUAL(stats_of(heap).processes, 3);
    REQUIRE_EQUAL(cairn_recover(heap), 0);
    for (int i = 0; i < 2; i++) {
        kill(others[i], SIGKILL);
        finish_by(others[i], SIGKILL);
        REQUIRE_EQUAL(stats_of(heap).processes, (uint64_t)(2 - i));
        REQUIRE_EQUAL(cairn_recover(heap), 1); /* of one that is dead, and of no other */
    }
    REQUIRE_EQUAL(blocks_live(heap), 200);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    close(fd);
}

static void use_after_fork(void *arg)
{
    cairn_heap *heap = *(cairn_heap *const *)arg;
    (void)keep_put(heap, NULL, 1); /* joins, though no descriptor but the heap's own is left */
    REQUIRE_EQUAL(stats_of(heap).processes, 2);
    kill(getpid(), SIGKILL);
}

static void a_forked_child_is_a_process_of_its_own(void)
{
    int fd;
    cairn_heap *heap = make(64 * MIB, &fd);
    close(fd);
    (void)keep_put(heap, NULL, 1);
    finish_by(start(use_after_fork, &heap), SIGKILL);
    REQUIRE_EQUAL(cairn_recover(heap), 1);
    REQUIRE_EQUAL(blocks_live(heap), 2);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

enum { WORKERS = 4, KILLS = 100, SLOTS = 64 };

struct table {
    struct keep *slots[WORKERS][SLOTS];
};

/* Allocates, links, unlinks, frees and grows without end; what it leaves is in its slots. */
static void work_until_killed(void *arg)
{
    const int *numbers = arg;
    cairn_heap *heap = attach(numbers[0], 0);
    struct table *table = cairn_root_get(heap, "table");
    struct keep **slots = table->slots[numbers[1]];
    struct random random = random_begin((uint64_t)getpid());
    for (int i = 0; i < SLOTS; i++)
        REQUIRE(slots[i] == NULL || slots[i]->self == slots[i] ||
                slots[i]->self == NULL); /* killed before it wrote that */
    advance(&board->turn);
    for (;;) {
        struct keep **slot = &slots[random_below(&random, SLOTS)];
        void *large = cairn_alloc(heap, 40000 + random_below(&random, MIB));
        if (*slot != NULL) {
            REQUIRE_CALL(cairn_free_from(heap, (void **)slot) == 0);
        } else {
            REQUIRE_CALL(cairn_alloc_to(heap, sizeof **slot, (void **)slot) == 0);
            (*slot)->self = *slot;
        }
        cairn_free(heap, large);
    }
}

static void killed_in_the_midst_others_go_on(void)
{
    int sockets[WORKERS][2], numbers[WORKERS][2], fd;
    pid_t workers[WORKERS];
    uint64_t kills = random_rounds(KILLS);
    struct random random = random_begin(random_seed("kills", 1));
    board = shared_memory(sizeof *board);
    cairn_heap *heap = make(256 * MIB, &fd);
    struct table *table = cairn_zalloc(heap, sizeof *table);
    REQUIRE_CALL(table != NULL && cairn_root_set(heap, "table", table) == 0);
    cairn_heap_close(heap); /* so that what the workers have is what they got */
    for (int i = 0; i < WORKERS; i++) {
        handover_pair(sockets[i]);
        numbers[i][0] = sockets[i][1];
        numbers[i][1] = i;
        workers[i] = start(work_until_killed, numbers[i]);
        handover_send(sockets[i][0], fd);
    }
    for (uint64_t killed = 0; killed < kills; killed++) {
        size_t i = random_below(&random, WORKERS);
        wait_for(&board->turn, WORKERS + (uint32_t)killed); /* the last one that came works by now */
        kill(workers[i], SIGKILL);
        finish_by(workers[i], SIGKILL);
        workers[i] = start(work_until_killed, numbers[i]);
        handover_send(sockets[i][0], fd);
    }
    wait_for(&board->turn, WORKERS + (uint32_t)kills);
    for (int i = 0; i < WORKERS; i++) {
        kill(workers[i], SIGKILL);
        finish_by(workers[i], SIGKILL);
    }
    REQUIRE_CALL(cairn_heap_open_fd(&heap, fd, NULL) == 0);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_SOUND(heap);
    uint64_t linked = 1;
    table = cairn_root_get(heap, "table");
    for (int i = 0; i < WORKERS * SLOTS; i++) {
        struct keep *keep = table->slots[i / SLOTS][i % SLOTS];
        linked += keep != NULL;
        REQUIRE(keep == NULL || keep->self == keep || keep->self == NULL);
    }
    REQUIRE(blocks_live(heap) >= linked &&
            blocks_live(heap) <= linked + kills + WORKERS); /* a large one each at most */
    cairn_heap_close(heap);
    close(fd);
}

/* ---------------------------------------------------------------- what cannot be done with it */

static void punch(int fd)
{
    REQUIRE(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8 * (off_t)MIB) == 0);
}

static void write_after_somebody_has_punched_holes(void *arg)
{
    int socket = *(const int *)arg;
    cairn_heap *heap = attach(socket, 0);
    volatile unsigned char *block = cairn_alloc(heap, 4 * MIB);
    REQUIRE_CALL(block != NULL);
    advance(&board->turn);
    wait_for(&board->heard, 1);
    for (size_t i = 0; i < 4 * MIB; i += 4096) {
        REQUIRE_EQUAL(block[i], 0);
        block[i] = 1;
    }
}

static void nobody_makes_it_raise_sigbus_or_take_more(void)
{
    int sockets[2], fd;
    struct stat status;
    board = shared_memory(sizeof *board);
    handover_pair(sockets);
    pid_t other = start(write_after_somebody_has_punched_holes, &sockets[1]);
    cairn_heap *heap = make(8 * MIB, &fd);
    handover_send(sockets[0], fd);
    wait_for(&board->turn, 1);
    REQUIRE(fstat(fd, &status) == 0 && status.st_size == 8 * (off_t)MIB);
    REQUIRE(status.st_blocks * 512 < 5 * (off_t)MIB); /* what is committed, and no more */
    REQUIRE(ftruncate(fd, 0) < 0 && errno == EPERM);
    REQUIRE(ftruncate(fd, 9 * (off_t)MIB) < 0 && errno == EPERM);
    REQUIRE(fallocate(fd, 0, 8 * (off_t)MIB, 4096) < 0 && errno == EPERM);
    REQUIRE(pwrite(fd, "x", 1, 8 * (off_t)MIB) < 0 && errno == EPERM);
    REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM); /* nor keeps others out */
    cairn_heap_close(heap);
    punch(fd); /* who may write may destroy it */
    advance(&board->heard);
    finish(other);
    heap = untouched;
    REFUSED(-EPROTO, cairn_heap_open_fd(&heap, fd, NULL));
    close(fd);
}

static void a_destroyed_heap_is_named(void)
{
    int fd;
    cairn_heap *heap = make(8 * MIB, &fd), *none = untouched;
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    REFUSED(-ESTALE, cairn_heap_open_fd(&none, fd, NULL));
    close(fd);
}

/* ---------------------------------------------------------------- other users */

struct visit {
    int socket;
    uint32_t user;
    uint64_t flags;
    int error;
};

static void visit(void *arg)
{
    const struct visit *visit = arg;
    cairn_options options = {.size = sizeof options, .flags = visit->flags};
    become(visit->user);
    int fd = handover_receive(visit->socket);
    cairn_heap *heap = untouched;
    if (visit->error != 0) {
        REFUSED(visit->error, cairn_heap_open_fd(&heap, fd, &options));
        return;
    }
    REQUIRE_CALL(cairn_heap_open_fd(&heap, fd, &options) == 0);
    if ((visit->flags & CAIRN_READ_ONLY) == 0)
        REQUIRE(keep_put(heap, NULL, 1) != NULL);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void another_user_writes_where_the_list_says_so(void)
{
    int sockets[2], fd;
    if (geteuid() != 0)
        skip("only root can be another user");
    cairn_access access = {.id = 54321, .may_write = true};
    cairn_options options = {.size = sizeof options, .bytes_max = 8 * MIB, .access = &access, .access_count = 1};
    REQUIRE_CALL(cairn_heap_create_fd(NULL, &fd, &options) == 0);
    handover_pair(sockets);
    struct visit visits[] = {
        {sockets[1], 54321, 0, 0}, /* root's file is believed */
        {sockets[1], 54321, CAIRN_READ_ONLY, 0},
        {sockets[1], 54322, 0, -EACCES}, /* by the descriptor it could, but has no lock of its own */
        {sockets[1], 54322, CAIRN_READ_ONLY, 0},
    };
    for (size_t i = 0; i < COUNT(visits); i++) {
        handover_send(sockets[0], fd);
        finish(start(visit, &visits[i]));
    }
    REQUIRE(fchown(fd, 54322, 0) == 0);
    struct visit strange[] = {
        {sockets[1], 54321, CAIRN_READ_ONLY, -EPERM},
        {sockets[1], 54321, CAIRN_READ_ONLY | CAIRN_ANY_OWNER, 0},
        {sockets[1], 54321, CAIRN_ANY_OWNER, 0},
        {sockets[1], 54322, 0, 0},
    };
    for (size_t i = 0; i < COUNT(strange); i++) {
        handover_send(sockets[0], fd);
        finish(start(visit, &strange[i]));
    }
    close(fd);
}

/* ---------------------------------------------------------------- the size of /dev/shm */

static void fill(void *arg)
{
    int socket = *(const int *)arg;
    cairn_heap *heap = attach(socket, 0);
    for (int i = 0; i < 10; i++) {
        unsigned char *block = cairn_alloc(heap, 4 * MIB);
        REQUIRE_CALL(block != NULL);
        memset(block, i, 4 * MIB);
    }
    cairn_heap_close(heap);
}

static void a_small_dev_shm_is_no_limit(void)
{
    int sockets[2], fd;
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
        skip("needs root and a mount namespace, for a small /dev/shm");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("none", "/dev/shm", "tmpfs", 0, "size=4m") < 0)
        skip("no small /dev/shm can be mounted: %s", strerror(errno));
    unsetenv("CAIRN_DIR");
    cairn_heap *named = create_shared("named", 512 * MIB);
    REQUIRE(cairn_alloc(named, 5 * MIB) == NULL); /* there it is one */
    REQUIRE_CALL(cairn_heap_destroy(named) == 0);

    handover_pair(sockets);
    cairn_heap *heap = make(512 * MIB, &fd);
    for (int i = 0; i < 2; i++) {
        handover_send(sockets[0], fd);
        finish(start(fill, &sockets[1]));
    }
    REQUIRE(stats_of(heap).bytes_live >= 80 * MIB);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    close(fd);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_heap_in_a_memory_file_is_a_shared_heap),
        CLAIM(a_reader_has_enough_in_a_descriptor_to_read),
        CLAIM(each_process_is_alive_by_itself),
        CLAIM(a_forked_child_is_a_process_of_its_own),
        CLAIM(killed_in_the_midst_others_go_on),
        CLAIM(nobody_makes_it_raise_sigbus_or_take_more),
        CLAIM(a_destroyed_heap_is_named),
        CLAIM(another_user_writes_where_the_list_says_so),
        CLAIM(a_small_dev_shm_is_no_limit),
    };
    return run_claims(claims, COUNT(claims), 60);
}
