/* SPDX-License-Identifier: MIT */
/* Shared heaps that a heap server keeps: real processes that get them of a real cairnd. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cairn_client.h"
#include "server/wire.h"
#include "support/handover.h"
#include "support/intruder.h"
#include "support/keep.h"
#include "support/random.h"
#include "support/service.h"
#include "support/workspace.h"

struct board {
    _Atomic uint32_t turn;
    _Atomic uint32_t heard;
    void *address;
};
static struct board *board;

static pid_t start_server(const char *config)
{
    board = shared_memory(sizeof *board);
    service_configure(config);
    return service_start(service_exec, (char[]){CAIRND});
}

static int try_open(cairn_heap **ret_heap, const char *name, uint64_t flags, uint64_t bytes_max)
{
    cairn_client_options options = {.socket = workspace_path("cairnd.sock"), .flags = flags, .bytes_max = bytes_max};
    return cairn_client_shared_open(ret_heap, name, &options);
}

static cairn_heap *open_table(uint64_t flags)
{
    cairn_heap *heap;
    if (try_open(&heap, "table", flags, 0) < 0)
        broken(__FILE__, __LINE__, "open: %s", cairn_last_error());
    return heap;
}

static int drop(const char *name)
{
    cairn_client_options options = {.socket = workspace_path("cairnd.sock")};
    return cairn_client_shared_drop(name, &options);
}

/* ---------------------------------------------------------------- one heap for all */

static void take_the_list(void *arg)
{
    (void)arg;
    wait_for(&board->turn, 1);
    cairn_heap *heap = open_table(0);
    REQUIRE((void *)keeps_take(heap, 1000, 50 * MIB) == board->address);
    REQUIRE_EQUAL(stats_of(heap).processes, 2);
    cairn_heap_close(heap);
}

static void all_who_ask_get_one_heap(void)
{
    pid_t server = start_server("");
    pid_t other = start(take_the_list, NULL);
    cairn_heap *heap = untouched;
    REFUSED(-ENOENT, try_open(&heap, "table", 0, 0));
    heap = open_table(CAIRN_CLIENT_CREATE);
    board->address = keeps_put(heap, 1000);
    advance(&board->turn);
    finish(other);
    const unsigned char *large = cairn_root_get(heap, "large");
    REQUIRE(large != NULL && large[50 * MIB - 1] == 7);
    REQUIRE_EQUAL(blocks_live(heap), 1);
    REQUIRE_SOUND(heap);
    cairn_heap *reader = open_table(CAIRN_CLIENT_READ_ONLY);
    REQUIRE(cairn_alloc(reader, 1) == NULL && cairn_last_errno() == -EROFS);
    cairn_heap_close(reader);
    cairn_heap_close(heap); /* nobody has it but the server */
    heap = open_table(0);
    REQUIRE(cairn_root_get(heap, "large") == large);
    cairn_heap_close(heap);
    service_stop(server);
    REQUIRE_EQUAL(workspace_entries(), 1); /* the configuration */
}

/* Addresses are drawn by lot: one in twenty thousand is that of a heap which the server has dropped and we have not. */
static cairn_heap *open_fresh(void)
{
    cairn_heap *heap;
    int error;
    while ((error = try_open(&heap, "table", CAIRN_CLIENT_CREATE, MIB)) == -EADDRINUSE)
        REQUIRE_CALL(drop("table") == 0);
    REQUIRE_CALL(error == 0);
    return heap;
}

static void a_dropped_heap_is_for_those_who_have_it(void)
{
    pid_t server = start_server("");
    cairn_heap *heap = open_fresh(), *fresh;
    struct keep *keep = keep_put(heap, NULL, 1);
    REQUIRE_CALL(cairn_root_set(heap, "keep", keep) == 0);
    REQUIRE_CALL(drop("table") == 0);
    REFUSED(-ENOENT, drop("table"));
    fresh = untouched;
    REFUSED(-ENOENT, try_open(&fresh, "table", 0, 0));
    fresh = open_fresh();
    REQUIRE(cairn_root_get(fresh, "keep") == NULL);
    (void)keep_put(fresh, NULL, 2);
    REQUIRE(keep_put(heap, keep, 2) != NULL && cairn_root_get(heap, "keep") == keep);
    REQUIRE_SOUND(heap);
    REQUIRE_SOUND(fresh);
    cairn_heap_close(fresh);
    cairn_heap_close(heap);

    heap = open_fresh();
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0); /* by one who has it: the name stays, for the server does not look */
    heap = untouched;
    REFUSED(-ESTALE, try_open(&heap, "table", CAIRN_CLIENT_CREATE, MIB));
    REQUIRE_CALL(drop("table") == 0);
    cairn_heap_close(open_fresh());
    service_stop(server);
}

static void use_after_fork(void *arg)
{
    cairn_heap *heap = *(cairn_heap *const *)arg;
    (void)keep_put(heap, NULL, 3);
    REQUIRE_EQUAL(stats_of(heap).processes, 2);
    cairn_heap_close(heap);
}

static void a_heap_outlives_its_server(void)
{
    pid_t server = start_server("");
    cairn_heap *heap = open_table(CAIRN_CLIENT_CREATE), *none = untouched;
    struct keep *keep = keep_put(heap, NULL, 1);
    kill(server, SIGKILL);
    finish_by(server, SIGKILL);
    REQUIRE_EQUAL(keep->sign, 1);
    void *large = cairn_alloc(heap, 20 * MIB);
    REQUIRE_CALL(large != NULL);
    memset(large, 1, 20 * MIB);
    finish(start(use_after_fork, &heap));
    REQUIRE_EQUAL(blocks_live(heap), 3);
    REQUIRE_SOUND(heap);
    REFUSED(-ECONNREFUSED, try_open(&none, "table", 0, 0));
    server = start_server("");
    REFUSED(-ENOENT, try_open(&none, "table", 0, 0)); /* which begins anew */
    cairn_heap_close(heap);
    service_stop(server);
}

/* ---------------------------------------------------------------- quotas */

static void a_user_gets_no_more_than_its_quota(void)
{
    pid_t server = start_server("bytes_per_user_max = 16M\nsections_per_user_max = 2\nsection_bytes_max = 12M\n");
    cairn_heap *first, *second = untouched;
    cairn_client *client;
    REFUSED(-EINVAL, try_open(&second, "table", CAIRN_CLIENT_CREATE, 0)); /* 1 GiB */
    REFUSED(-EINVAL, try_open(&second, "table", CAIRN_CLIENT_CREATE, 12 * MIB + 1));
    REQUIRE_CALL(try_open(&first, "table", CAIRN_CLIENT_CREATE, 12 * MIB) == 0);
    REFUSED(-EDQUOT, try_open(&second, "second", CAIRN_CLIENT_CREATE, 5 * MIB)); /* bytes */
    cairn_client_options options = {
        .socket = workspace_path("cairnd.sock"), .flags = CAIRN_CLIENT_CREATE, .bytes_max = 4 * MIB};
    REQUIRE_CALL(cairn_client_open(&client, "orders", &options) == 0);       /* of the same account */
    REFUSED(-EDQUOT, try_open(&second, "second", CAIRN_CLIENT_CREATE, MIB)); /* sections */
    REFUSED(-EEXIST, try_open(&second, "orders", CAIRN_CLIENT_CREATE, MIB)); /* of the other kind */
    REFUSED(-EEXIST, drop("orders"));
    cairn_client *none;
    REQUIRE_EQUAL(cairn_client_open(&none, "table", &options), -EEXIST);

    /* Nor does its file take more, whoever has it. */
    uint64_t blocks = 0;
    while (cairn_alloc(first, MIB / 2) != NULL)
        blocks++;
    REQUIRE(blocks > 16 && blocks < 24);
    cairn_heap_close(first);
    REQUIRE_CALL(drop("table") == 0);
    REQUIRE_CALL(try_open(&second, "second", CAIRN_CLIENT_CREATE, 12 * MIB) == 0);
    cairn_heap_close(second);
    cairn_client_close(client);
    service_stop(server);
}

/* ---------------------------------------------------------------- death */

static void hold_blocks_until_killed(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_table(0);
    for (uint64_t i = 0; i < 100; i++)
        (void)keep_put(heap, NULL, i);
    advance(&board->turn);
    for (;;)
        pause();
}

static void a_dead_clients_work_is_finished_by_the_others(void)
{
    pid_t server = start_server("");
    cairn_heap *heap = open_table(CAIRN_CLIENT_CREATE);
    pid_t others[3];
    for (int i = 0; i < 3; i++)
        others[i] = start(hold_blocks_until_killed, NULL);
    wait_for(&board->turn, 3);
    REQUIRE_EQUAL(stats_of(heap).processes, 4);
    for (int i = 0; i < 3; i++) {
        kill(others[i], SIGKILL);
        finish_by(others[i], SIGKILL);
        REQUIRE_EQUAL(stats_of(heap).processes, (uint64_t)(3 - i));
        REQUIRE_EQUAL(cairn_recover(heap), 1);
    }
    REQUIRE_EQUAL(blocks_live(heap), 300);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    service_stop(server);
}

/* ---------------------------------------------------------------- other users */

/* Speaks the protocol to get the descriptor itself, as the library does not give it. */
static int file_of_table(uint64_t flags)
{
    struct wire_request request = {
        .magic = SERVER_MAGIC, .version = SERVER_VERSION, .operation = WIRE_SHARED, .flags = flags};
    strcpy(request.name, "table");
    int socket = connect_to("cairnd.sock");
    REQUIRE(send(socket, &request, sizeof request, 0) == sizeof request);
    int file = handover_receive(socket);
    close(socket);
    return file;
}

struct visitor {
    uint32_t user;
    int to_write; /* what comes of it */
    int to_read;
    bool is_roots; /* the heap, which therefore needs not be asked for as another's */
};

static void visit(void *arg)
{
    const struct visitor *visitor = arg;
    cairn_heap *heap = untouched;
    become(visitor->user);
    if (visitor->to_write == 0) {
        REFUSED(-EPERM, try_open(&heap, "table", 0, 0)); /* another has made it: that is to be asked for */
        REFUSED(-EPERM, try_open(&heap, "table", CAIRN_CLIENT_CREATE, MIB));
        heap = open_table(CAIRN_CLIENT_ANY_OWNER);
        (void)keep_put(heap, NULL, 1);
        finish(start(use_after_fork, &heap)); /* the child has a right of its own */
        REQUIRE_SOUND(heap);
        cairn_heap_close(heap);
    } else {
        REFUSED(visitor->to_write, try_open(&heap, "table", 0, 0));
        REFUSED(visitor->to_write, try_open(&heap, "table", CAIRN_CLIENT_CREATE, MIB));
    }
    REFUSED(-EACCES, drop("table"));
    if (visitor->to_read != 0) {
        heap = untouched;
        REFUSED(visitor->to_read, try_open(&heap, "table", CAIRN_CLIENT_READ_ONLY, 0));
        return;
    }
    heap = untouched;
    if (!visitor->is_roots)
        REFUSED(-EPERM, try_open(&heap, "table", CAIRN_CLIENT_READ_ONLY, 0));
    heap = open_table(CAIRN_CLIENT_READ_ONLY | (visitor->is_roots ? 0 : CAIRN_CLIENT_ANY_OWNER));
    const struct keep *keep = cairn_root_get(heap, "keep");
    REQUIRE(keep != NULL && keep->sign == 1);
    REQUIRE_SOUND(heap);
    int file = file_of_table(CAIRN_CLIENT_READ_ONLY);
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    REQUIRE(pwrite(file, "x", 1, 0) < 0 && errno == EBADF);
    REQUIRE(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) == MAP_FAILED && errno == EACCES);
    REQUIRE(fchmod(file, 0666) < 0 && errno == EPERM);
    if (visitor->to_write != 0)
        REQUIRE(open(path, O_RDWR | O_CLOEXEC) < 0 && errno == EACCES); /* the list is the file's, too */
    cairn_heap_close(heap);
}

static void make_as_another(void *arg)
{
    become(*(const uint32_t *)arg);
    cairn_access access[] = {{.id = 54322, .may_write = true}, {.id = 54323}};
    cairn_client_options options = {.socket = workspace_path("cairnd.sock"),
                                    .flags = CAIRN_CLIENT_CREATE,
                                    .bytes_max = 8 * MIB,
                                    .access = access,
                                    .access_count = COUNT(access)};
    cairn_heap *heap;
    REQUIRE_CALL(cairn_client_shared_open(&heap, "table", &options) == 0); /* of the server's file, to write */
    REQUIRE_CALL(cairn_root_set(heap, "keep", keep_put(heap, NULL, 1)) == 0);
    cairn_heap_close(heap);
}

static void drop_as_another(void *arg)
{
    become(*(const uint32_t *)arg);
    REQUIRE_CALL(drop("table") == 0);
}

static void serve_as(void *arg)
{
    become(*(const uint32_t *)arg);
    service_exec((char[]){CAIRND});
}

static void another_user_gets_what_the_list_lets_it(void)
{
    if (geteuid() != 0)
        skip("only root can be another user");
    uint32_t maker = 54321, own = 54320;
    board = shared_memory(sizeof *board);
    service_configure("everyone = yes\n");
    REQUIRE(chmod(workspace_directory(), 0711) == 0 && chown(workspace_directory(), own, own) == 0);
    REQUIRE(chown(workspace_path("cairnd.conf"), own, own) == 0);
    pid_t server = service_start(serve_as, &own);
    finish(start(make_as_another, &maker));
    struct visitor visitors[] = {{54322, 0, 0, false}, {54323, -EACCES, 0, false}, {54324, -EACCES, -EACCES, false}};
    for (size_t i = 0; i < COUNT(visitors); i++)
        finish(start(visit, &visitors[i]));
    cairn_heap *heap = untouched;
    REFUSED(-EACCES, try_open(&heap, "table", 0, 0)); /* its keeper may look */
    REFUSED(-EPERM, try_open(&heap, "table", CAIRN_CLIENT_READ_ONLY, 0));
    cairn_heap_close(open_table(CAIRN_CLIENT_READ_ONLY | CAIRN_CLIENT_ANY_OWNER));
    finish(start(drop_as_another, &maker));
    heap = open_table(CAIRN_CLIENT_CREATE | CAIRN_CLIENT_EVERYONE);
    REQUIRE_CALL(cairn_root_set(heap, "keep", keep_put(heap, NULL, 1)) == 0);
    cairn_heap_close(heap);
    struct visitor everyone = {54324, -EACCES, 0, true};
    finish(start(visit, &everyone));
    service_stop(server);
}

/* ---------------------------------------------------------------- the size of /dev/shm */

static void fill(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_table(0);
    for (int i = 0; i < 10; i++) {
        unsigned char *block = cairn_alloc(heap, 4 * MIB);
        REQUIRE_CALL(block != NULL);
        memset(block, i, 4 * MIB);
    }
    cairn_heap_close(heap);
}

/* The workspace lies there, too, with the server's socket. */
static void a_small_dev_shm_is_no_limit(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
        skip("needs root and a mount namespace, for a small /dev/shm");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("none", "/dev/shm", "tmpfs", 0, "size=4m") < 0)
        skip("no small /dev/shm can be mounted: %s", strerror(errno));
    (void)mkdir(workspace_directory(), 0700);
    pid_t server = start_server("");
    cairn_heap *named = create_shared("named", 512 * MIB);
    REQUIRE(cairn_alloc(named, 5 * MIB) == NULL); /* there it is one */
    REQUIRE_CALL(cairn_heap_destroy(named) == 0);
    cairn_heap *heap = open_table(CAIRN_CLIENT_CREATE);
    finish(start(fill, NULL));
    finish(start(fill, NULL));
    REQUIRE(stats_of(heap).bytes_live >= 80 * MIB);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    service_stop(server);
}

/* ---------------------------------------------------------------- a wrong server */

/* Answers with a file that is no heap, or may get shorter. */
static void serve_a_wrong_file(void *arg)
{
    int listener = *(const int *)arg;
    for (int i = 0; i < 3; i++) {
        int fd = accept(listener, NULL, NULL);
        struct wire_request request;
        REQUIRE(recv(fd, &request, sizeof request, 0) == sizeof request);
        struct wire_reply reply = {.magic = SERVER_MAGIC,
                                   .version = SERVER_VERSION,
                                   .operation = request.operation,
                                   .sequence = request.sequence};
        int file = memfd_create("wrong", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        REQUIRE(file >= 0 && fchmod(file, 0600) == 0 && ftruncate(file, 1 << 20) == 0);
        if (i == 1)
            REQUIRE(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
        union {
            struct cmsghdr header;
            unsigned char bytes[CMSG_SPACE(sizeof(int))];
        } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
        memcpy(CMSG_DATA(&control.header), &file, sizeof file);
        struct iovec part = {.iov_base = &reply, .iov_len = sizeof reply};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
        if (i == 2)
            message.msg_controllen = 0;
        REQUIRE(sendmsg(fd, &message, 0) == sizeof reply);
        close(file);
        close(fd);
    }
}

static void what_a_wrong_server_hands_out_is_refused(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", workspace_path("cairnd.sock"));
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    REQUIRE(listener >= 0 && bind(listener, (const struct sockaddr *)&address, sizeof address) == 0);
    REQUIRE(listen(listener, 3) == 0);
    pid_t server = start(serve_a_wrong_file, &listener);
    cairn_heap *heap = untouched;
    REFUSED(-EPERM, try_open(&heap, "table", 0, 0));
    REFUSED(-EPROTO, try_open(&heap, "table", 0, 0));
    REFUSED(-EPROTO, try_open(&heap, "table", 0, 0)); /* nothing */
    finish(server);
    REFUSED(-EINVAL, try_open(&heap, "a/b", 0, 0));
    REFUSED(-EINVAL, try_open(NULL, "table", 0, 0));
    REFUSED(-EINVAL, try_open(&heap, "table", UINT64_C(1) << 60, 0));
    REFUSED(-EINVAL, drop(""));
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(all_who_ask_get_one_heap),
        CLAIM(a_dropped_heap_is_for_those_who_have_it),
        CLAIM(a_heap_outlives_its_server),
        CLAIM(a_user_gets_no_more_than_its_quota),
        CLAIM(a_dead_clients_work_is_finished_by_the_others),
        CLAIM(another_user_gets_what_the_list_lets_it),
        CLAIM(a_small_dev_shm_is_no_limit),
        CLAIM(what_a_wrong_server_hands_out_is_refused),
    };
    return run_claims(claims, COUNT(claims), 60);
}
