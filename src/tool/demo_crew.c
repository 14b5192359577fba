/* SPDX-License-Identifier: MIT */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Long enough for a directory of a million names on a slow file system; short enough for a person who waits. */
#define SILENCE_MAX_NS (UINT64_C(60) * 1000000000)

/* Descriptors of the stage begin here, so that none is in the way of those that a child is given. */
#define DESCRIPTORS_FROM 10

static int make_sockets(int ret_fds[2])
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        ret_fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, DESCRIPTORS_FROM);
        close(fds[i]);
    }
    if (ret_fds[0] >= 0 && ret_fds[1] >= 0)
        return 0;
    for (int i = 0; i < 2; i++)
        if (ret_fds[i] >= 0)
            close(ret_fds[i]);
    return -1;
}

/* Executes this program again; returns 0 or an errno. */
static int spawn(pid_t *ret_pid, const char *const *arguments, int control_fd, int list_fd)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults, mask;
    int error;

    /* The stage ignores SIGPIPE; find and its like need it to stop when nobody listens any more. */
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigemptyset(&mask);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setsigmask(&attributes, &mask);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, control_fd, DEMO_CONTROL_FD);
    if (list_fd >= 0)
        posix_spawn_file_actions_adddup2(&actions, list_fd, DEMO_LIST_FD);

    error = posix_spawn(ret_pid, "/proc/self/exe", &actions, &attributes, (char *const *)(uintptr_t)arguments, environ);

    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

static bool start_member(struct member *ret_member, const struct tool_args *args, const char *role, unsigned number,
                         const char *heap_name, const char *directory, int list_fd)
{
    char command[32];
    const char *arguments[8] = {"cairn", command};
    unsigned count = 2;
    int fds[2], error;

    snprintf(command, sizeof command, "demo-%s", role);
    if (args->dir) {
        arguments[count++] = "--dir";
        arguments[count++] = args->dir;
    }
    arguments[count++] = "--";
    arguments[count++] = heap_name;
    arguments[count++] = directory;

    if (make_sockets(fds) < 0)
        return false;
    *ret_member = (struct member){.role = role, .number = number, .control = fds[0]};
    error = spawn(&ret_member->pid, arguments, fds[1], list_fd);
    close(fds[1]);
    if (error) {
        close(fds[0]);
        ret_member->gone = true;
        errno = error;
        return false;
    }
    return true;
}

struct member *crew_start(struct crew *crew, const struct tool_args *args, const char *role, unsigned number,
                          const char *heap_name, const char *directory, int list_fd)
{
    struct member *member = &crew->members[crew->count];

    if (crew->count == CREW_MAX) {
        errno = EAGAIN;
        return NULL;
    }
    if (!start_member(member, args, role, number, heap_name, directory, list_fd))
        return NULL;
    crew->count++;
    return member;
}

void crew_order(struct member *member, enum demo_order order)
{
    unsigned char byte = (unsigned char)order;

    member->done = 0;
    if (order == ORDER_END)
        member->dismissed = true;
    /* Should it fail, the member is dead, and crew_listen will notice. */
    (void)!send(member->control, &byte, sizeof byte, MSG_NOSIGNAL);
}

static void reap(struct member *member)
{
    while (waitpid(member->pid, &member->status, 0) < 0 && errno == EINTR)
        ;
    close(member->control);
    member->gone = true;
}

void crew_kill(struct member *member)
{
    kill(member->pid, SIGKILL);
    reap(member);
}

bool crew_replace(struct member *member, const struct tool_args *args, const char *heap_name, const char *directory)
{
    return start_member(member, args, member->role, member->number, heap_name, directory, -1);
}

/* Takes in one report. A packet that is too short is none: it counts as the end of the member. */
static void receive(struct member *member)
{
    ssize_t bytes = recv(member->control, &member->report, sizeof member->report, MSG_DONTWAIT);

    if (bytes < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (bytes < (ssize_t)offsetof(struct report, reset_ns)) {
        kill(member->pid, SIGKILL); /* it may have closed its socket and go on */
        reap(member);
        return;
    }
    member->silent_ns = 0;
    if (member->report.kind == REPORT_DONE)
        member->done = member->report.order;
}

void crew_listen(struct crew *crew, int milliseconds)
{
    struct pollfd controls[CREW_MAX];
    struct member *owners[CREW_MAX];
    uint64_t began = demo_now_ns(), silent_ns;
    nfds_t count = 0;

    for (unsigned i = 0; i < crew->count; i++) {
        if (crew->members[i].gone)
            continue;
        controls[count] = (struct pollfd){.fd = crew->members[i].control, .events = POLLIN};
        owners[count++] = &crew->members[i];
    }
    if (poll(controls, count, milliseconds) > 0)
        for (nfds_t i = 0; i < count; i++)
            if (controls[i].revents)
                receive(owners[i]);

    /* A stage that was stopped for an hour (Ctrl-Z) must not blame the others for it, who were stopped as well. */
    silent_ns = demo_now_ns() - began;
    if (silent_ns > UINT64_C(1000000) * (unsigned)(milliseconds + 100))
        silent_ns = UINT64_C(1000000) * (unsigned)milliseconds;
    for (nfds_t i = 0; i < count; i++)
        owners[i]->silent_ns += silent_ns;
}

void crew_trouble(const struct crew *crew, char *ret_text, size_t room)
{
    *ret_text = '\0';
    for (unsigned i = 0; i < crew->count; i++) {
        const struct member *member = &crew->members[i];
        char who[32];

        if (member->number > 0)
            snprintf(who, sizeof who, "%s %u", member->role, member->number);
        else
            snprintf(who, sizeof who, "the %s", member->role);

        if (member->report.kind == REPORT_FAILED)
            snprintf(ret_text, room, "%s: %s", who, member->report.text);
        else if (member->gone && WIFSIGNALED(member->status))
            snprintf(ret_text, room, "%s was ended by signal %d (%s)", who, WTERMSIG(member->status),
                     strsignal(WTERMSIG(member->status)));
        else if (member->gone && (!member->dismissed || WEXITSTATUS(member->status) != 0))
            snprintf(ret_text, room, "%s has ended with exit code %d", who, WEXITSTATUS(member->status));
        else if (!member->gone && member->silent_ns > SILENCE_MAX_NS && member->report.kind != REPORT_DONE)
            snprintf(ret_text, room, "%s has not reported for a minute", who);
        if (*ret_text)
            return;
    }
}

void crew_end(struct crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++) {
        if (crew->members[i].gone)
            continue;
        kill(crew->members[i].pid, SIGKILL);
        reap(&crew->members[i]);
    }
}
