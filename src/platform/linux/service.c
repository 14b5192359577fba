/* SPDX-License-Identifier: MIT */
/* service: what systemd's documentation asks of a program that it starts, sd_listen_fds(3) and sd_notify(3). */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_FILE = 3 };

static int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t bytes = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0 ? value : -1;
}

int service_listener(int *ret_socket)
{
    const char *process = getenv("LISTEN_PID");
    const char *files = getenv("LISTEN_FDS");
    if (process == NULL || files == NULL || strtoul(process, NULL, 10) != (unsigned long)getpid())
        return 0;
    if (strcmp(files, "1") != 0 || socket_option(FIRST_FILE, SO_DOMAIN) != AF_UNIX ||
        socket_option(FIRST_FILE, SO_TYPE) != SOCK_SEQPACKET || socket_option(FIRST_FILE, SO_ACCEPTCONN) != 1)
        return -EINVAL;
    int flags = fcntl(FIRST_FILE, F_GETFL);
    if (flags < 0 || fcntl(FIRST_FILE, F_SETFD, FD_CLOEXEC) < 0 || fcntl(FIRST_FILE, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    *ret_socket = FIRST_FILE;
    return 1;
}

void service_log(const char *line)
{
    /* A pipe that can take something takes PIPE_BUF bytes, and a line is shorter. One that nobody reads is in error. */
    struct pollfd output = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&output, 1, 0) == 1 && (output.revents & POLLOUT) != 0) {
        ssize_t ignored = write(STDERR_FILENO, line, strlen(line));
        (void)ignored;
    }
}

int service_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL)
        return 0;
    size_t length = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || length >= sizeof address.sun_path)
        return -EINVAL;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, bytes);
    int error = sent < 0 ? -errno : 0;
    close(fd);
    return error;
}

static int signals_create(int *ret_file, int one, int other)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, one);
    sigaddset(&signals, other);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
        return -errno;
    int file = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (file < 0)
        return -errno;
    *ret_file = file;
    return 0;
}

int service_stop_create(int *ret_stop)
{
    (void)signal(SIGPIPE, SIG_IGN); /* the log's reader may go between our look and our write */
    return signals_create(ret_stop, SIGTERM, SIGINT);
}

int service_reload_create(int *ret_reload)
{
    return signals_create(ret_reload, SIGHUP, SIGHUP);
}

void service_reload_hear(int reload)
{
    struct signalfd_siginfo heard;
    ssize_t ignored = read(reload, &heard, sizeof heard);
    (void)ignored;
}

void process_not_traced(void)
{
    (void)prctl(PR_SET_DUMPABLE, 0);
}
