/* SPDX-License-Identifier: MIT */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define REPORT_EVERY_NS UINT64_C(100000000)

uint64_t demo_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t demo_text_address(void)
{
    return (uint64_t)(uintptr_t)demo_text_address;
}

/* Counts the call: the demo claims that there is one in each process, however much the heap grows. */
static int open_heap(struct player *player, const struct tool_args *args, uint64_t open_flags)
{
    cairn_options options = {.directory = args->dir, .flags = open_flags};

    player->report.heap_opens++;
    return cairn_heap_open(&player->heap, args->operands[0], &options);
}

bool player_enter(struct player *player, const struct tool_args *args, uint64_t open_flags)
{
    cairn_stats stats = {.size = sizeof stats};
    int type;

    *player = (struct player){.directory = args->operands[1]};
    player->report.write_status = -1;
    player->report.text_address = demo_text_address();

    if (getsockopt(DEMO_CONTROL_FD, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof type}) < 0 ||
        type != SOCK_SEQPACKET) {
        tool_fail("this command is started by 'cairn demo' only");
        return false;
    }
    /* What this process starts in turn must not hold the socket open: its end is how the stage learns of a death. */
    fcntl(DEMO_CONTROL_FD, F_SETFD, FD_CLOEXEC);
    fcntl(DEMO_LIST_FD, F_SETFD, FD_CLOEXEC);

    if (open_heap(player, args, open_flags) < 0 || cairn_stats_get(player->heap, &stats) < 0) {
        player_fail(player, "%s", cairn_last_error());
        return false;
    }
    player->report.heap_address = stats.address;
    player_report(player, REPORT_HELLO, 0);
    return true;
}

void player_report(struct player *player, enum demo_report_kind kind, enum demo_order order)
{
    size_t bytes = offsetof(struct report, reset_ns);
    ssize_t sent;

    player->report.kind = kind;
    player->report.order = order;
    if (kind == REPORT_DONE && order == ORDER_END)
        bytes += player->report.reset_count * sizeof player->report.reset_ns[0];
    player->reported_ns = demo_now_ns();
    do
        sent = send(DEMO_CONTROL_FD, &player->report, bytes, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        exit(TOOL_FAILED); /* the stage is gone: nobody is there to work for */
}

void player_progress(struct player *player)
{
    if (demo_now_ns() - player->reported_ns >= REPORT_EVERY_NS)
        player_report(player, REPORT_PROGRESS, 0);
}

int player_fail(struct player *player, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(player->report.text, sizeof player->report.text, format, args);
    va_end(args);
    player_report(player, REPORT_FAILED, 0);
    return TOOL_FAILED;
}

enum demo_order player_order(int milliseconds)
{
    struct pollfd control = {.fd = DEMO_CONTROL_FD, .events = POLLIN};
    unsigned char order;
    ssize_t received;

    if (poll(&control, 1, milliseconds) <= 0)
        return 0;
    do
        received = recv(DEMO_CONTROL_FD, &order, sizeof order, 0);
    while (received < 0 && errno == EINTR);
    return received == sizeof order ? (enum demo_order)order : ORDER_END;
}
