/* SPDX-License-Identifier: MIT */
/* publish: a published heap, an honest reader, and what else can be done to a publisher than to its memory. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cairn_publish.h"
#include "hostile/hostile.h"
#include "section/public.h"
#include "support/intruder.h"
#include "support/workspace.h"

enum { DEADLINE = 100, READERS_MAX = 8, READERS_OF_ONE_MAX = 4, SUM_BYTES = 4096 };

static pid_t publisher_process, honest_process;
static struct grip grip;

/* ---------------------------------------------------------------- the scene */

static void be_publisher(void *arg)
{
    (void)arg;
    static const uint32_t users[] = {LISTED_USER, HONEST_USER, 0};
    cairn_publish_options options = {.size = sizeof options,
                                     .flags = column->lets_everyone ? CAIRN_PUBLISH_EVERYONE : 0,
                                     .users = users,
                                     .users_count = column->lets_everyone ? 0 : COUNT(users),
                                     .mode = 0666,
                                     .readers_max = READERS_MAX,
                                     .readers_per_user_max = READERS_OF_ONE_MAX,
                                     .deadline_ms = DEADLINE};
    become(SERVER_USER);
    REQUIRE(prctl(PR_SET_DUMPABLE, column->server_is_dumpable ? 1 : 0) == 0);
    if (column->server_is_dumpable)
        (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* as without Yama */
    cairn_publisher *publisher;
    REQUIRE_CALL(cairn_publish(&publisher, "target", &options) == 0);
    cairn_heap *heap = cairn_publisher_heap(publisher);
    unsigned char *block = cairn_alloc(heap, BLOCK_BYTES);
    REQUIRE_CALL(block != NULL);
    fill_block(block);
    REQUIRE_CALL(cairn_root_set(heap, "block", block) == 0);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    board->holder = getpid();
    board->block = block;
    board->place_there = (uintptr_t)block + PLACE_OF_X;
    board->byte_there = 'x';
    advance(&board->ready);
    while (atomic_load(&board->stop) == 0) {
        cairn_free(heap, cairn_alloc(heap, 1000)); /* so it looks at the pins */
        if (atomic_load(&board->asked) != atomic_load(&board->answered)) {
            board->changed = count_changed(block, BLOCK_BYTES);
            advance(&board->answered);
        }
        rest(50);
    }
    cairn_publisher_stats stats = {.size = sizeof stats};
    do
        REQUIRE_CALL(cairn_publisher_stats_get(publisher, &stats) == 0);
    while (stats.readers != 0); /* all who came have gone */
    unsigned char *more = cairn_alloc(heap, 3 * MIB);
    REQUIRE_CALL(more != NULL); /* it can still grow */
    memset(more, 1, 3 * MIB);
    REQUIRE_SOUND(heap);
    cairn_publisher_close(publisher);
}

static void read_honestly(void *arg)
{
    (void)arg;
    become(HONEST_USER);
    cairn_reader *reader;
    cairn_reader_options options = {.size = sizeof options, .flags = CAIRN_READER_ANY_OWNER};
    REQUIRE_CALL(cairn_reader_open(&reader, "target", &options) == 0);
    advance(&board->honest_ready);
    while (atomic_load(&board->stop) == 0) {
        uint64_t began_at = nanoseconds();
        REQUIRE_EQUAL(cairn_read_begin(reader), 0);
        const unsigned char *block = cairn_reader_root(reader, "block");
        REQUIRE(block == board->block);
        uint64_t changed = count_changed(block, SUM_BYTES);
        int end = cairn_read_end(reader);
        tell_honest_round(began_at);
        if (end != -ESTALE) /* it may have been kept from running for longer than the deadline */
            REQUIRE(end == 0 && changed == 0);
        rest(50);
    }
    cairn_reader_close(reader);
}

static void begin_publish(const struct column *of)
{
    (void)of;
    make_room_for(SERVER_USER);
    atomic_store(&board->ready, 0);
    atomic_store(&board->honest_ready, 0);
    atomic_store(&board->stop, 0);
    publisher_process = start(be_publisher, NULL);
    wait_for(&board->ready, 1);
    honest_process = start(read_honestly, NULL);
    wait_for(&board->honest_ready, 1);
    look_at_holder();
}

static void enter_publish(void)
{
    int status;
    while ((status = take_grip(&grip)) == -EAGAIN) /* who left is still before us in the row */
        let_go(&grip);
    target = (struct target){grip.heap, grip.view, grip.bytes};
    REQUIRE(status == 0 || (status == -EACCES && grip.heap < 0 && column->user == STRANGER));
}

static uint64_t changed_publish(void)
{
    uint32_t asked = atomic_load(&board->asked) + 1;
    advance(&board->asked);
    wait_for(&board->answered, asked);
    return board->changed;
}

static void end_publish(void)
{
    atomic_store(&board->stop, 1);
    finish(honest_process);
    finish(publisher_process);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

/* ---------------------------------------------------------------- attacks */

static long come_in(void)
{
    struct grip another;
    int status;
    while ((status = take_grip(&another)) == -EAGAIN)
        let_go(&another);
    let_go(&another);
    return status;
}

static long steal_socket(void)
{
    return rename_socket("target.sock");
}

static long resize_pin(void)
{
    if (grip.pin < 0)
        return NO_MEANS;
    long shorter = result_of(ftruncate(grip.pin, 0));
    REQUIRE_EQUAL(result_of(ftruncate(grip.pin, 1 << 20)), shorter);
    REQUIRE_EQUAL(result_of(fallocate(grip.pin, 0, 4096, 4096)), shorter);
    return shorter;
}

static long punch_pin(void)
{
    if (grip.pin < 0)
        return NO_MEANS;
    *grip.pin_word = 1;
    long result = result_of(fallocate(grip.pin, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    REQUIRE(result != 0 || *grip.pin_word == 0);
    return result;
}

static long never_end_to_read(void)
{
    if (grip.pin < 0)
        return NO_MEANS;
    cairn_reader *reader;
    cairn_reader_options options = {.size = sizeof options, .flags = CAIRN_READER_ANY_OWNER};
    REQUIRE_CALL(cairn_reader_open(&reader, "target", &options) == 0);
    REQUIRE_EQUAL(cairn_read_begin(reader), 0);
    cairn_reader_info info = {.size = sizeof info};
    REQUIRE_CALL(cairn_reader_info_get(reader, &info) == 0);
    uint64_t cut = atomic_load(&grip.image->cut[info.number]);
    while (atomic_load(&grip.image->cut[info.number]) == cut)
        rest(1000);
    int result = cairn_read_end(reader);
    cairn_reader_close(reader);
    return result;
}

static long pin_the_impossible(void)
{
    struct grip another;
    if (grip.pin < 0)
        return NO_MEANS;
    while (take_grip(&another) == -EAGAIN)
        let_go(&another);
    *another.pin_word = UINT64_MAX;
    bool is = is_hung_up(another.socket);
    let_go(&another);
    return is ? DROPPED : 0;
}

static long send_what(bool with_files)
{
    struct grip another;
    if (grip.pin < 0)
        return NO_MEANS;
    while (take_grip(&another) == -EAGAIN)
        let_go(&another);
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(100 * sizeof(int))];
    } control = {
        .header = {.cmsg_len = CMSG_LEN(100 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    int files[100];
    for (size_t i = 0; i < COUNT(files); i++)
        files[i] = another.pin;
    memcpy(CMSG_DATA(&control.header), files, sizeof files);
    struct iovec part = {.iov_base = (char[]){"hello"}, .iov_len = 5};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (with_files) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
    }
    REQUIRE(sendmsg(another.socket, &message, MSG_NOSIGNAL) == 5);
    bool is = is_hung_up(another.socket);
    let_go(&another);
    return is ? DROPPED : 0;
}

static long send_message(void)
{
    return send_what(false);
}

static long send_descriptors(void)
{
    return send_what(true);
}

static long come_too_often(void)
{
    struct grip many[READERS_MAX];
    int status = 0, count = 0;
    while (count < READERS_MAX && status == 0)
        status = take_grip(&many[count++]);
    while (count > 0)
        let_go(&many[--count]);
    return status;
}

static long come_and_go(void)
{
    for (int i = 0; i < 1000; i++)
        close(connect_to("target.sock"));
    return 0;
}

static const struct attack attacks[] = {
    MEMORY_ATTACKS,
    {"come in", come_in, false},
    {"rename the socket away", steal_socket, false},
    {"truncate the pin page, or make it longer", resize_pin, false},
    {"punch a hole into the pin page", punch_pin, false},
    {"begin to read and never end", never_end_to_read, true},
    {"pin an epoch that is not yet", pin_the_impossible, false},
    {"send a message", send_message, false},
    {"send a message with 100 descriptors", send_descriptors, false},
    {"come more often than one may", come_too_often, true},
    {"come and go, a thousand times", come_and_go, true},
};

const struct scene scene_publish = {
    .heading = "A published heap",
    .attacks = attacks,
    .attacks_count = COUNT(attacks),
    .honest = "an honest reader's section that sums 4 KiB",
    .begin = begin_publish,
    .enter = enter_publish,
    .changed = changed_publish,
    .end = end_publish,
};
