/* SPDX-License-Identifier: MIT */
/* server: cairnd, an honest client, and what can be done to them by messages and by one's own section. */
#include <errno.h>
#include <fcntl.h>
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
#include <unistd.h>

#include "cairn_client.h"
#include "hostile/hostile.h"
#include "section/layout.h"
#include "server/server.h"
#include "support/intruder.h"
#include "support/service.h"
#include "support/workspace.h"

enum { CLIENTS_OF_ONE_MAX = 12 };

static pid_t server_process, honest_process;

/* ---------------------------------------------------------------- the server */

/* cairnd makes itself not dumpable; this is what it is without that. */
static void serve_dumpable(void)
{
    static struct server server;
    struct server_config config;
    char reason[1200];
    int stop;
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* as without Yama */
    config_defaults(&config);
    REQUIRE(config_read(&config, workspace_path("cairnd.conf"), reason, sizeof reason) == 0);
    REQUIRE(server_init(&server, &config) == 0);
    REQUIRE(service_stop_create(&stop) == 0);
    REQUIRE(server_listen(&server, -1) == 0);
    REQUIRE(service_notify("READY=1") == 0);
    REQUIRE(server_run(&server, stop) == 0);
    server_close(&server);
}

static void serve(void *arg)
{
    (void)arg;
    int log = open(workspace_path("log"), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    become(SERVER_USER);
    REQUIRE(log >= 0 && dup2(log, 2) == 2);
    if (column->server_is_dumpable)
        serve_dumpable();
    else
        service_exec((char[]){CAIRND});
}

static void start_server(void)
{
    char text[200];
    snprintf(text, sizeof text,
             "clients_per_user_max = %d\nrequests_per_second_max = 1000000000\nbytes_per_user_max = 64M\n%s\n",
             CLIENTS_OF_ONE_MAX, column->lets_everyone ? "everyone = yes" : "users = 0 1002 1004");
    service_configure(text);
    server_process = service_start(serve, NULL);
    board->holder = server_process;
}

/* ---------------------------------------------------------------- the honest client */

static void count_what_is_left(cairn_client *client)
{
    cairn_client_stats stats = {.size = sizeof stats};
    do { /* all who came have gone, and their blocks with them */
        rest(1000);
        REQUIRE_CALL(cairn_client_stats_get(client, &stats) == 0);
    } while (stats.heap_clients != 1 || stats.heap_sections != 1 || stats.heap_blocks != 0);
    REQUIRE_EQUAL(stats.user_blocks, 1);
    REQUIRE_EQUAL(stats.own_blocks, 1);
}

static void use_honestly(void *arg)
{
    (void)arg;
    become(HONEST_USER);
    cairn_access access[] = {
        {.id = LISTED_USER, .may_write = true}, {.id = SERVER_USER, .may_write = true}, {.id = 0, .may_write = true}};
    cairn_client_options options = {.socket = workspace_path("cairnd.sock"),
                                    .flags = CAIRN_CLIENT_CREATE | (column->lets_everyone ? CAIRN_CLIENT_EVERYONE : 0),
                                    .bytes_max = 32 * MIB,
                                    .access = access,
                                    .access_count = COUNT(access)};
    cairn_client_options shared = options;
    shared.access = (cairn_access[]){{.id = LISTED_USER}};
    shared.access_count = 1;
    shared.bytes_max = 4 * MIB;
    cairn_heap *table;
    cairn_client *client;
    cairn_block block, other;
    REQUIRE_CALL(cairn_client_shared_open(&table, "table", &shared) == 0);
    unsigned char *row = cairn_alloc(table, BLOCK_BYTES);
    REQUIRE_CALL(row != NULL && cairn_root_set(table, "row", row) == 0);
    fill_block(row);
    REQUIRE_CALL(cairn_client_open(&client, "orders", &options) == 0);
    REQUIRE_CALL(cairn_client_alloc(client, BLOCK_BYTES, &block) == 0);
    fill_block(block.address);
    REQUIRE_CALL(cairn_client_root_set(client, "block", &block) == 0);
    board->block = block.address;
    board->handle = block.handle;
    advance(&board->honest_ready);
    while (atomic_load(&board->stop) == 0) {
        uint64_t began_at = nanoseconds();
        REQUIRE_CALL(cairn_client_alloc(client, 4096, &other) == 0);
        memset(other.address, 1, 4096);
        REQUIRE_CALL(cairn_client_free(client, &other) == 0);
        tell_honest_round(began_at);
        if (atomic_load(&board->asked) != atomic_load(&board->answered)) {
            board->changed = count_changed(block.address, BLOCK_BYTES) + count_changed(row, BLOCK_BYTES);
            advance(&board->answered);
        }
        rest(400);
    }
    REQUIRE_CALL(cairn_client_root_get(client, "block", &other) == 0);
    REQUIRE(other.address == block.address && other.handle == block.handle);
    count_what_is_left(client);
    cairn_client_close(client);
    REQUIRE(cairn_root_get(table, "row") == row);
    REQUIRE_SOUND(table);
    cairn_heap_close(table);
}

static void begin_server(const struct column *of)
{
    (void)of;
    make_room_for(SERVER_USER);
    atomic_store(&board->honest_ready, 0);
    atomic_store(&board->stop, 0);
    board->place_there = 0;
    start_server();
    honest_process = start(use_honestly, NULL);
    wait_for(&board->honest_ready, 1);
    look_at_holder();
}

static uint64_t changed_server(void)
{
    uint32_t asked = atomic_load(&board->asked) + 1;
    advance(&board->asked);
    wait_for(&board->answered, asked);
    return board->changed;
}

/* Of the reasons it tells, some: it writes so many lines in a second and no more. */
static void require_log_tells(const char *what)
{
    static char text[1 << 20];
    FILE *file = fopen(workspace_path("log"), "re");
    REQUIRE(file != NULL);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    if (strstr(text, what) == NULL && strstr(text, "(no more lines in this second)") == NULL)
        broken(__FILE__, __LINE__, "the log does not say \"%s\"; it is:\n%s", what, text);
}

static void end_server(void)
{
    atomic_store(&board->stop, 1);
    finish(honest_process);
    service_stop(server_process);
    REQUIRE_EQUAL(workspace_entries(), 2); /* the configuration, the log */
    require_log_tells(column->user == STRANGER ? "refused: not on the list" : "dropped: it ");
}

/* ---------------------------------------------------------------- a client that is none */

static struct wire_request request_of(enum wire_operation operation)
{
    return (struct wire_request){.magic = SERVER_MAGIC, .version = SERVER_VERSION, .operation = operation};
}

/* The reply's status, or DROPPED. */
static long hear_reply(int fd, struct wire_reply *reply, int *ret_file)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = reply, .iov_len = sizeof *reply};
    ssize_t received = -1;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    for (int i = 0; i < 2 && received < 0; i++) { /* the system says first that it was reset */
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        REQUIRE(received >= 0 || errno == ECONNRESET);
    }
    if (received <= 0)
        return DROPPED;
    REQUIRE(received == sizeof *reply && reply->magic == SERVER_MAGIC);
    if (CMSG_FIRSTHDR(&message) != NULL) {
        int file;
        memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof file);
        if (ret_file != NULL)
            *ret_file = file;
        else
            close(file);
    }
    return reply->status;
}

static long ask_for_file(int fd, const struct wire_request *request, struct wire_reply *reply, int *ret_file)
{
    (void)!send(fd, request, sizeof *request, MSG_NOSIGNAL); /* who was refused still has a reply to read */
    return hear_reply(fd, reply, ret_file);
}

static long ask(int fd, const struct wire_request *request, struct wire_reply *reply)
{
    return ask_for_file(fd, request, reply, NULL);
}

/* Asks with one word. */
static long ask_word(int fd, enum wire_operation operation, uint64_t word, uint64_t value, struct wire_reply *reply)
{
    struct wire_request request = request_of(operation);
    request.count = 1;
    request.words[0] = word;
    request.value = value;
    return ask(fd, &request, reply);
}

struct line {
    int fd;
    int file; /* of its own section, as it came: for writing */
    uint32_t number;
    struct wire_reply reply;
};

static void hang_up(struct line *line)
{
    close(line->fd);
    if (line->file >= 0)
        close(line->file);
}

/* Connects and opens a heap; the status, or DROPPED. Who has just gone may still be counted: it tries again. */
static long open_line(struct line *line, const char *heap, uint64_t flags, uint64_t bytes)
{
    for (;;) {
        *line = (struct line){.fd = connect_to("cairnd.sock"), .file = -1};
        struct wire_request request = request_of(WIRE_OPEN);
        strcpy(request.name, heap);
        request.flags = flags;
        request.value = bytes;
        long status = ask_for_file(line->fd, &request, &line->reply, &line->file);
        line->number = line->reply.number;
        if (status == 0)
            return 0;
        hang_up(line);
        if (status != -EDQUOT)
            return status;
    }
}

/* A connection that may read the honest client's heap. */
static bool open_reader(struct line *line)
{
    long status = open_line(line, "orders", CAIRN_CLIENT_READ_ONLY, 0);
    REQUIRE(status == 0 || (status == -EACCES && column->user == STRANGER));
    return status == 0;
}

/* A connection with a section, in the honest client's heap or else in one of its own; not yet told to be mapped. */
static bool open_section(struct line *line)
{
    long status = open_line(line, "orders", 0, 2 * MIB);
    if (status == -EACCES)
        status = open_line(line, "own", CAIRN_CLIENT_CREATE, 2 * MIB);
    REQUIRE(status == 0 || (status == -EACCES && column->user == STRANGER));
    return status == 0;
}

static bool open_writer(struct line *line)
{
    if (!open_section(line))
        return false;
    struct wire_request request = request_of(WIRE_MAPPED);
    REQUIRE_EQUAL(ask(line->fd, &request, &line->reply), 0);
    return true;
}

static uint64_t alloc(struct line *line, uint64_t size)
{
    REQUIRE_EQUAL(ask_word(line->fd, WIRE_ALLOC, size, 0, &line->reply), 0);
    return line->reply.blocks[0].handle;
}

static void enter_server(void)
{
    struct line line;
    target = (struct target){.file = -1};
    if (!open_reader(&line))
        return;
    struct wire_request request = request_of(WIRE_SECTION);
    REQUIRE_EQUAL(ask_for_file(line.fd, &request, &line.reply, &target.file), 0);
    REQUIRE(target.file >= 0);
    target.bytes = line.reply.blocks[0].size;
    target.view = mmap(NULL, target.bytes, PROT_READ, MAP_SHARED, target.file, 0);
    REQUIRE(target.view != MAP_FAILED);
    close(line.fd);
}

/* ---------------------------------------------------------------- coming in */

static long open_for_reading(void)
{
    struct line line;
    long status = open_line(&line, "orders", CAIRN_CLIENT_READ_ONLY, 0);
    if (status == 0)
        hang_up(&line);
    return status;
}

static long open_for_writing(void)
{
    struct line line;
    long status = open_line(&line, "orders", 0, 2 * MIB);
    if (status == 0)
        hang_up(&line);
    return status;
}

static long steal_socket(void)
{
    return rename_socket("cairnd.sock");
}

static long come_too_often(void)
{
    int fds[CLIENTS_OF_ONE_MAX + 1];
    int count = 0;
    long status = 0;
    struct wire_reply reply;
    struct wire_request request = request_of(WIRE_OPEN);
    strcpy(request.name, "orders");
    request.flags = CAIRN_CLIENT_READ_ONLY;
    while (count <= CLIENTS_OF_ONE_MAX && status == 0) {
        fds[count] = connect_to("cairnd.sock");
        status = ask(fds[count++], &request, &reply);
    }
    while (count > 0)
        close(fds[--count]);
    return status;
}

static long come_and_go(void)
{
    for (int i = 0; i < 1000; i++)
        close(connect_to("cairnd.sock"));
    return 0;
}

static long open_with(uint64_t bytes)
{
    struct line line = {.fd = connect_to("cairnd.sock"), .file = -1};
    struct wire_request request = request_of(WIRE_OPEN);
    strcpy(request.name, "own");
    request.flags = CAIRN_CLIENT_CREATE;
    request.value = bytes;
    long status = ask(line.fd, &request, &line.reply);
    hang_up(&line);
    return status;
}

static long ask_for_half_of_all(void)
{
    return open_with(UINT64_C(1) << 63);
}

static long ask_for_more_than_the_quota(void)
{
    return open_with(128 * MIB);
}

/* ---------------------------------------------------------------- messages */

/* Sends what no library sends; it must be a reason to be dropped. */
static long send_wrong(const void *message, size_t bytes, bool with_files)
{
    struct line line;
    if (!open_reader(&line))
        return NO_MEANS;
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(100 * sizeof(int))];
    } control = {
        .header = {.cmsg_len = CMSG_LEN(100 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    int files[100];
    for (size_t i = 0; i < COUNT(files); i++)
        files[i] = line.fd;
    memcpy(CMSG_DATA(&control.header), files, sizeof files);
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (with_files) {
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
    }
    REQUIRE(sendmsg(line.fd, &header, MSG_NOSIGNAL) == (ssize_t)bytes);
    long result = hear_reply(line.fd, &line.reply, NULL);
    hang_up(&line);
    return result;
}

static long send_half(void)
{
    struct wire_request request = request_of(WIRE_STATS);
    return send_wrong(&request, sizeof request / 2, false);
}

static long send_two_in_one(void)
{
    struct wire_request requests[2] = {request_of(WIRE_STATS), request_of(WIRE_STATS)};
    return send_wrong(requests, sizeof requests, false);
}

static long send_descriptors(void)
{
    struct wire_request request = request_of(WIRE_STATS);
    return send_wrong(&request, sizeof request, true);
}

static long send_unknown_operation(void)
{
    struct wire_request request = request_of(WIRE_OPERATIONS);
    return send_wrong(&request, sizeof request, false);
}

static long send_huge_count(void)
{
    struct wire_request request = request_of(WIRE_FREE);
    request.count = UINT32_MAX;
    return send_wrong(&request, sizeof request, false);
}

static long send_unused_field(void)
{
    struct wire_request request = request_of(WIRE_STATS);
    request.words[CAIRN_BATCH_MAX - 1] = 1;
    return send_wrong(&request, sizeof request, false);
}

static long send_bad_name(void)
{
    struct wire_request request = request_of(WIRE_ROOT_GET);
    strcpy(request.name, "../orders");
    return send_wrong(&request, sizeof request, false);
}

static long open_twice(void)
{
    struct wire_request request = request_of(WIRE_OPEN);
    strcpy(request.name, "orders");
    return send_wrong(&request, sizeof request, false);
}

static long never_read_replies(void)
{
    struct line line;
    if (!open_reader(&line))
        return NO_MEANS;
    struct wire_request request = request_of(WIRE_STATS);
    ssize_t sent = 0;
    for (int i = 0; i < 100000 && sent >= 0; i++)
        sent = send(line.fd, &request, sizeof request, MSG_NOSIGNAL);
    hang_up(&line);
    return sent < 0 ? DROPPED : 0;
}

/* ---------------------------------------------------------------- blocks */

static long alloc_all_there_is(void)
{
    struct line line;
    if (!open_writer(&line))
        return NO_MEANS;
    long status = ask_word(line.fd, WIRE_ALLOC, UINT64_MAX, 0, &line.reply);
    hang_up(&line);
    return status;
}

static long expand_to_all_there_is(void)
{
    struct line line;
    if (!open_writer(&line))
        return NO_MEANS;
    uint64_t handle = alloc(&line, 100);
    long status = ask_word(line.fd, WIRE_EXPAND, handle, UINT64_MAX, &line.reply);
    hang_up(&line);
    return status;
}

static long free_what_is_anothers(void)
{
    struct line line;
    if (!open_writer(&line))
        return NO_MEANS;
    (void)alloc(&line, 100);
    long status = ask_word(line.fd, WIRE_FREE, board->handle, 0, &line.reply);
    REQUIRE_EQUAL(ask_word(line.fd, WIRE_TAKE_BACK, board->handle, 0, &line.reply), status);
    REQUIRE_EQUAL(ask_word(line.fd, WIRE_GIVE, board->handle, 0, &line.reply), status);
    hang_up(&line);
    return status;
}

static long free_twice(void)
{
    struct line line;
    if (!open_writer(&line))
        return NO_MEANS;
    uint64_t handle = alloc(&line, 100);
    REQUIRE_EQUAL(ask_word(line.fd, WIRE_FREE, handle, 0, &line.reply), 0);
    (void)alloc(&line, 100); /* lies where that one lay */
    long status = ask_word(line.fd, WIRE_FREE, handle, 0, &line.reply);
    hang_up(&line);
    return status;
}

static long free_what_was_not_taken(void)
{
    struct line from, to;
    if (!open_writer(&from))
        return NO_MEANS;
    REQUIRE(open_writer(&to));
    uint64_t number = to.number;
    uint64_t guess = alloc(&to, 100) + 1;
    uint64_t handle = alloc(&from, 100);
    REQUIRE_EQUAL(ask_word(from.fd, WIRE_GIVE, handle, number, &from.reply), 0);
    long status = ask_word(to.fd, WIRE_FREE, guess, 0, &to.reply);
    struct wire_request request = request_of(WIRE_TAKE);
    REQUIRE_EQUAL(ask(to.fd, &request, &to.reply), 0);
    REQUIRE_EQUAL(to.reply.blocks[0].handle, guess); /* so it was right */
    hang_up(&from);
    hang_up(&to);
    return status;
}

static long give_to_nobody(void)
{
    struct line line;
    if (!open_writer(&line))
        return NO_MEANS;
    uint64_t handle = alloc(&line, 100);
    long status = ask_word(line.fd, WIRE_GIVE, handle, UINT64_MAX, &line.reply);
    hang_up(&line);
    return status;
}

static long alloc_without_section(void)
{
    struct line line;
    if (!open_reader(&line))
        return NO_MEANS;
    long status = ask_word(line.fd, WIRE_ALLOC, 100, 0, &line.reply);
    hang_up(&line);
    return status;
}

static long ask_who_is_there(void)
{
    struct wire_reply reply;
    struct wire_request request = request_of(WIRE_LOOK_CLIENTS);
    int fd = connect_to("cairnd.sock");
    long status = ask(fd, &request, &reply);
    close(fd);
    return status;
}

static long ask_what_is_in_a_heap(void)
{
    struct wire_reply reply;
    struct wire_request request = request_of(WIRE_LOOK_SPANS);
    int fd = connect_to("cairnd.sock");
    strcpy(request.name, "orders");
    request.value = (uintptr_t)board->block;
    long status = ask(fd, &request, &reply);
    close(fd);
    return status;
}

static long look_with_a_heap_open(void)
{
    struct wire_request request = request_of(WIRE_LOOK_CLIENTS);
    return send_wrong(&request, sizeof request, false);
}

static long set_root_without_right(void)
{
    struct line line;
    if (!open_reader(&line))
        return NO_MEANS;
    struct wire_request request = request_of(WIRE_ROOT_SET);
    strcpy(request.name, "block");
    request.count = 1;
    long status = ask(line.fd, &request, &line.reply);
    hang_up(&line);
    return status;
}

/* ---------------------------------------------------------------- its own section */

/* Opens and maps it; NULL: it was not let in. */
static unsigned char *map_own(struct line *line, uint64_t *ret_bytes)
{
    if (!open_section(line))
        return NULL;
    *ret_bytes = line->reply.blocks[0].size;
    unsigned char *view = mmap(NULL, *ret_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, line->file, 0);
    REQUIRE(view != MAP_FAILED);
    struct wire_request request = request_of(WIRE_MAPPED);
    REQUIRE_EQUAL(ask(line->fd, &request, &line->reply), 0);
    return view;
}

static long write_all_over(void)
{
    struct line line;
    uint64_t bytes;
    unsigned char *view = map_own(&line, &bytes);
    if (view == NULL)
        return NO_MEANS;
    uint64_t handles[3];
    for (size_t i = 0; i < 3; i++)
        handles[i] = alloc(&line, 1000);
    memset(view, 0xff, bytes);
    long status = 0;
    for (size_t i = 0; i < 3 && status == 0; i++)
        status = ask_word(line.fd, WIRE_FREE, handles[i], 0, &line.reply);
    munmap(view, bytes);
    hang_up(&line);
    return status;
}

/* As cairn_client_heap_create makes one, with its bookkeeping overwritten. */
static long hand_over_nonsense(void)
{
    struct line line;
    uint64_t bytes;
    unsigned char *view = map_own(&line, &bytes);
    if (view == NULL)
        return NO_MEANS;
    uint64_t handle = alloc(&line, MIB);
    memset(view, 0xff, bytes);
    REQUIRE_EQUAL(ask_word(line.fd, WIRE_GIVE, handle, CAIRN_TO_HEAP, &line.reply), 0);
    REQUIRE_EQUAL(ask_word(line.fd, WIRE_TAKE_BACK, line.reply.blocks[0].handle, 0, &line.reply), 0);
    long status = ask_word(line.fd, WIRE_FREE, line.reply.blocks[0].handle, 0, &line.reply);
    (void)alloc(&line, MIB);
    munmap(view, bytes);
    hang_up(&line);
    return status;
}

static long resize_before_sealed(off_t by)
{
    struct line line;
    if (!open_section(&line))
        return NO_MEANS;
    long status = result_of(ftruncate(line.file, (off_t)line.reply.blocks[0].size + by));
    struct wire_request request = request_of(WIRE_MAPPED);
    if (status == 0)
        status = ask(line.fd, &request, &line.reply);
    hang_up(&line);
    return status;
}

static long shorten_before_sealed(void)
{
    return resize_before_sealed(-4096);
}

static long lengthen_before_sealed(void)
{
    return resize_before_sealed(4096);
}

static long seal_before_it_is_sealed(void)
{
    struct line line;
    if (!open_section(&line))
        return NO_MEANS;
    REQUIRE(fcntl(line.file, F_ADD_SEALS, F_SEAL_SEAL) == 0);
    struct wire_request request = request_of(WIRE_MAPPED);
    long status = ask(line.fd, &request, &line.reply);
    hang_up(&line);
    return status;
}

static long with_own_file(long (*run)(int file))
{
    struct line line;
    if (!open_writer(&line))
        return NO_MEANS;
    long result = run(line.file);
    hang_up(&line);
    return result;
}

static long punch(int file)
{
    return result_of(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
}

static long map_again(int file)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) == MAP_FAILED ? -errno : 0;
}

static long cut(int file)
{
    return result_of(ftruncate(file, 0));
}

static long punch_own(void)
{
    return with_own_file(punch);
}

static long map_own_again(void)
{
    return with_own_file(map_again);
}

static long cut_own(void)
{
    return with_own_file(cut);
}

/* ---------------------------------------------------------------- shared heaps */

/* Asks for one; the status, or DROPPED. Who has just gone may still be counted as connected: it tries again. */
static long ask_for_shared(const char *name, uint64_t flags, uint64_t bytes, int *ret_file)
{
    for (;;) {
        struct wire_reply reply = {.operation = WIRE_OPEN};
        struct wire_request request = request_of(WIRE_SHARED);
        strcpy(request.name, name);
        request.flags = flags;
        request.value = bytes;
        int fd = connect_to("cairnd.sock");
        long status = ask_for_file(fd, &request, &reply, ret_file);
        close(fd);
        if (status != -EDQUOT || reply.operation == WIRE_SHARED)
            return status;
    }
}

static long open_shared_with(uint64_t flags)
{
    int file = -1;
    long status = ask_for_shared("table", flags, MIB, &file);
    close(file);
    return status;
}

static long open_shared_for_reading(void)
{
    return open_shared_with(CAIRN_CLIENT_READ_ONLY);
}

static long open_shared_for_writing(void)
{
    return open_shared_with(0);
}

static long make_shared_that_is_there(void)
{
    return open_shared_with(CAIRN_CLIENT_CREATE);
}

/* Tries something with the file of the honest client's heap, or of one of its own. */
static long with_shared_file(const char *name, uint64_t flags, long (*attempt)(int file))
{
    int file = -1;
    if (ask_for_shared(name, flags, MIB, &file) != 0)
        return NO_MEANS;
    long status = attempt(file);
    close(file);
    return status;
}

static long with_anothers(long (*attempt)(int file))
{
    return with_shared_file("table", CAIRN_CLIENT_READ_ONLY, attempt);
}

static long with_ones_own(long (*attempt)(int file))
{
    char name[20];
    snprintf(name, sizeof name, "own-%u", column->user);
    return with_shared_file(name, CAIRN_CLIENT_CREATE, attempt);
}

static long open_again(int file)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int again = open(path, O_RDWR | O_CLOEXEC);
    long status = result_of(again);
    if (again >= 0)
        close(again);
    return status;
}

static long write_at_start(int file)
{
    return result_of(pwrite(file, "xxxxxxxx", 8, 0));
}

/* The lock that tells whether the first process is alive. */
static long lock_as_a_writer(int file)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)(LIVENESS_OFFSET + 1), .l_len = 1};
    return result_of(fcntl(file, F_OFD_SETLK, &lock));
}

static long lengthen(int file)
{
    return result_of(ftruncate(file, 1 << 30));
}

static long seal_against_writers(int file)
{
    return result_of(fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
}

/* And the server hands it out as before. */
static long write_nonsense(int file)
{
    static unsigned char nonsense[MIB];
    memset(nonsense, 0xa5, sizeof nonsense);
    long status = result_of(pwrite(file, nonsense, sizeof nonsense, 0));
    return status == 0 ? with_ones_own(open_again) : status;
}

static long open_shared_again(void)
{
    return with_anothers(open_again);
}

static long map_shared(void)
{
    return with_anothers(map_again);
}

static long write_shared(void)
{
    return with_anothers(write_at_start);
}

static long cut_shared(void)
{
    return with_anothers(cut);
}

static long punch_shared(void)
{
    return with_anothers(punch);
}

static long lock_shared(void)
{
    return with_anothers(lock_as_a_writer);
}

static long cut_own_shared(void)
{
    return with_ones_own(cut);
}

static long lengthen_own_shared(void)
{
    return with_ones_own(lengthen);
}

static long seal_own_shared(void)
{
    return with_ones_own(seal_against_writers);
}

static long write_nonsense_to_own_shared(void)
{
    return with_ones_own(write_nonsense);
}

static long make_shared_of_half_of_all(void)
{
    int file = -1;
    return ask_for_shared("large", CAIRN_CLIENT_CREATE, UINT64_C(1) << 63, &file);
}

static long make_shared_above_the_quota(void)
{
    int file = -1;
    return ask_for_shared("large", CAIRN_CLIENT_CREATE, 65 * MIB, &file);
}

static long make_shared_of_clients(void)
{
    int file = -1;
    return ask_for_shared("orders", CAIRN_CLIENT_CREATE, MIB, &file);
}

static long drop(const char *name)
{
    struct wire_reply reply = {.operation = WIRE_OPEN};
    struct wire_request request = request_of(WIRE_DROP);
    long status;
    strcpy(request.name, name);
    do {
        int fd = connect_to("cairnd.sock");
        status = ask(fd, &request, &reply);
        close(fd);
    } while (status == -EDQUOT);
    return status;
}

static long drop_shared(void)
{
    return drop("table");
}

static long make_and_drop_shared(void)
{
    char name[20];
    int file = -1;
    snprintf(name, sizeof name, "short-%u", column->user);
    long status = ask_for_shared(name, CAIRN_CLIENT_CREATE, 16 * MIB, &file);
    close(file);
    return status == 0 ? drop(name) : status;
}

static const struct attack attacks[] = {
    MEMORY_ATTACKS,
    {"open the heap for reading", open_for_reading, false},
    {"open the heap for writing", open_for_writing, false},
    {"rename the socket away", steal_socket, false},
    {"connect more often than one may", come_too_often, true},
    {"connect and leave, a thousand times", come_and_go, true},
    {"ask for a section of 2^63 bytes", ask_for_half_of_all, false},
    {"ask for a section larger than the quota", ask_for_more_than_the_quota, false},
    {"send half a message", send_half, false},
    {"send two messages in one", send_two_in_one, false},
    {"send a message with 100 descriptors", send_descriptors, false},
    {"send an unknown operation", send_unknown_operation, false},
    {"send a count of 2^32-1", send_huge_count, false},
    {"send a field that is not used", send_unused_field, false},
    {"send \"../orders\" as a name", send_bad_name, false},
    {"open a second heap by one connection", open_twice, false},
    {"ask and never read a reply", never_read_replies, true},
    {"allocate 2^64-1 bytes", alloc_all_there_is, false},
    {"expand a block to 2^64-1 bytes", expand_to_all_there_is, false},
    {"free, take or hand over by another's handle", free_what_is_anothers, false},
    {"free twice, the place being used again", free_twice, false},
    {"free what was handed over, before taking it", free_what_was_not_taken, false},
    {"hand over to a client that is not", give_to_nobody, false},
    {"allocate without a section", alloc_without_section, false},
    {"remove a root, having opened for reading", set_root_without_right, false},
    {"ask who the other clients are", ask_who_is_there, false},
    {"ask where the blocks of a heap lie", ask_what_is_in_a_heap, false},
    {"ask so with a heap open", look_with_a_heap_open, false},
    {"write all over its own section", write_all_over, false},
    {"hand over a span full of nonsense, and free it", hand_over_nonsense, false},
    {"shorten its section before the server seals it", shorten_before_sealed, false},
    {"lengthen its section before the server seals it", lengthen_before_sealed, false},
    {"seal its section before the server does", seal_before_it_is_sealed, false},
    {"punch a hole into its section afterwards", punch_own, false},
    {"shorten its section afterwards", cut_own, false},
    {"map its section again for writing afterwards", map_own_again, false},
    {"open a shared heap for reading", open_shared_for_reading, false},
    {"open a shared heap for writing", open_shared_for_writing, false},
    {"make a shared heap that is there", make_shared_that_is_there, false},
    {"map its file, shared and writable", map_shared, false},
    {"pwrite to its file", write_shared, false},
    {"ftruncate(0) of its file", cut_shared, false},
    {"punch a hole into its file", punch_shared, false},
    {"take a writer's lock in its file", lock_shared, false},
    {"open its file again, for writing", open_shared_again, false},
    {"ftruncate(0) of its own shared heap", cut_own_shared, false},
    {"lengthen its own shared heap", lengthen_own_shared, false},
    {"seal its own shared heap against writers", seal_own_shared, false},
    {"write all over its own shared heap", write_nonsense_to_own_shared, false},
    {"ask for a shared heap of 2^63 bytes", make_shared_of_half_of_all, false},
    {"ask for a shared heap larger than the quota", make_shared_above_the_quota, false},
    {"ask for one under the name of the heap", make_shared_of_clients, false},
    {"make a shared heap and drop it, again and again", make_and_drop_shared, false},
    {"drop another's shared heap", drop_shared, true},
};

const struct scene scene_server = {
    .heading = "The heap server",
    .attacks = attacks,
    .attacks_count = COUNT(attacks),
    .honest = "an honest client's allocation, write and free",
    .begin = begin_server,
    .enter = enter_server,
    .changed = changed_server,
    .end = end_server,
};
