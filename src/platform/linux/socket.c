/* SPDX-License-Identifier: MIT */
/* socket: Unix sockets that keep messages apart (SOCK_SEQPACKET), and waiting for several descriptors. */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* since Linux 4.13 */
#endif

enum {
    BACKLOG = 16,
    FILES_MAX = 8, /* in a message */
    LOCK_ATTEMPTS = 200,
    LOCK_PAUSE = 10, /* milliseconds */
    EVENTS_AT_ONCE = 32,
};

static int path_set(struct sockaddr_un *ret_address, const char *directory, const char *name)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(ret_address->sun_path, sizeof ret_address->sun_path, "%s/%s", directory, name);
    return length < 0 || (size_t)length >= sizeof ret_address->sun_path ? -ENAMETOOLONG : 0;
}

static const struct sockaddr *address_of(const struct sockaddr_un *address)
{
    return (const struct sockaddr *)address;
}

/* ---------------------------------------------------------------- names */

/*
 * Who looks whether a name's listener is dead, and takes the name over, does so alone: two of them would remove each
 * other's. The lock is the directory's own, so that nothing is left behind. Who else may read the directory can hold
 * it, so nobody waits for it for ever.
 */
static int directory_lock(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (int attempt = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; attempt++) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || attempt == LOCK_ATTEMPTS) {
            int error = errno == EWOULDBLOCK || errno == EINTR ? -EAGAIN : -errno;
            close(fd);
            return error;
        }
        (void)poll(NULL, 0, LOCK_PAUSE);
    }
    return fd;
}

/* A listener that lives may be busy or stopped: only a refusal says that there is none. */
static bool somebody_listens(const struct sockaddr_un *address)
{
    int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return true;
    bool refused = connect(probe, address_of(address), sizeof *address) < 0 && errno == ECONNREFUSED;
    close(probe);
    return !refused;
}

/* Makes way for a new name; the directory is locked. */
static int take_over(const struct sockaddr_un *address)
{
    struct stat status;
    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode))
        return -EEXIST;
    if (status.st_uid != geteuid())
        return -EPERM;
    if (somebody_listens(address))
        return -EADDRINUSE;
    return unlink(address->sun_path) == 0 ? 0 : -errno;
}

/*
 * Sets the mode of a socket's name. chmod would follow a link that somebody who may write the directory put there in
 * the meantime, to any file of ours.
 */
static int set_mode(const struct sockaddr_un *address, uint32_t mode, struct stat *ret_status)
{
    char path[64];
    int file = open(address->sun_path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0)
        return -errno;
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int error = fstat(file, ret_status) < 0 ? -errno : 0;
    if (error == 0 && (!S_ISSOCK(ret_status->st_mode) || ret_status->st_uid != geteuid()))
        error = -EEXIST;
    if (error == 0 && chmod(path, mode) < 0)
        error = -errno;
    close(file);
    return error;
}

static int bind_and_listen(struct listener *ret_listener, const struct sockaddr_un *address, uint32_t mode)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, address_of(address), sizeof *address) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    /* Until it listens nobody can connect, so it does not matter what mode the umask left. */
    struct stat status;
    int error = set_mode(address, mode, &status);
    if (error == 0 && listen(fd, BACKLOG) < 0)
        error = -errno;
    if (error < 0) {
        (void)unlink(address->sun_path);
        close(fd);
        return error;
    }
    *ret_listener = (struct listener){.socket = fd, .device = status.st_dev, .inode = status.st_ino};
    return 0;
}

int socket_listen(struct listener *ret_listener, const char *directory, const char *name, uint32_t mode)
{
    struct sockaddr_un address;
    int error = path_set(&address, directory, name);
    if (error < 0)
        return error;
    int lock = directory_lock(directory);
    if (lock < 0)
        return lock;
    error = take_over(&address);
    if (error == 0)
        error = bind_and_listen(ret_listener, &address, mode);
    close(lock);
    return error;
}

int listener_set_mode(const struct listener *listener, const char *directory, const char *name, uint32_t mode)
{
    struct sockaddr_un address;
    struct stat status;
    int error = path_set(&address, directory, name);
    if (error == 0 && lstat(address.sun_path, &status) < 0)
        error = -errno;
    if (error == 0 && (status.st_dev != listener->device || status.st_ino != listener->inode))
        error = -ESTALE;
    return error < 0 ? error : set_mode(&address, mode, &status);
}

void listener_close(struct listener *listener, const char *directory, const char *name)
{
    struct sockaddr_un address;
    struct stat status;
    if (listener->socket < 0)
        return;
    close(listener->socket);
    listener->socket = -1;
    int lock = path_set(&address, directory, name) < 0 ? -1 : directory_lock(directory);
    if (lock < 0)
        return; /* the name stays, and whoever comes next takes it over */
    if (lstat(address.sun_path, &status) == 0 && status.st_dev == listener->device && status.st_ino == listener->inode)
        (void)unlink(address.sun_path);
    close(lock);
}

/* ---------------------------------------------------------------- connections */

int socket_spare(int *ret_spare)
{
    int spare = eventfd(0, EFD_CLOEXEC);
    if (spare < 0)
        return -errno;
    *ret_spare = spare;
    return 0;
}

/* Without descriptors the listener would stay readable and its owner turn in circles: so the first is sent away. */
int socket_accept(const struct listener *listener, int *spare, int *ret_socket)
{
    int fd = accept4(listener->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        *ret_socket = fd;
        return 0;
    }
    if (errno != EMFILE && errno != ENFILE)
        return errno == ECONNABORTED || errno == EINTR ? -EAGAIN : -errno;
    if (*spare >= 0) {
        close(*spare);
        fd = accept4(listener->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            close(fd);
    }
    *spare = eventfd(0, EFD_CLOEXEC); /* another thread may have been quicker */
    return -EMFILE;
}

static struct timeval timeval_of(uint32_t milliseconds)
{
    return (struct timeval){.tv_sec = milliseconds / 1000, .tv_usec = (suseconds_t)(milliseconds % 1000) * 1000};
}

int socket_create(int *ret_socket)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    *ret_socket = fd;
    return 0;
}

struct socket_identity socket_identify(int fd)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return (struct socket_identity){0};
    return (struct socket_identity){.device = status.st_dev, .inode = status.st_ino};
}

bool socket_is(int fd, const struct socket_identity *identity)
{
    struct socket_identity now = socket_identify(fd);
    return now.inode != 0 && now.device == identity->device && now.inode == identity->inode;
}

/*
 * What has a timeout is interrupted by every handler of the program's, with SA_RESTART as well. A timer or the end of a
 * child is no reason to give up: so it is done again until the time has passed, which for the last attempt begins anew.
 */
static bool is_to_be_repeated(int fd, int timeout, uint64_t began_at)
{
    struct timeval patience = {0};
    socklen_t bytes = sizeof patience;
    if (errno != EINTR || getsockopt(fd, SOL_SOCKET, timeout, &patience, &bytes) < 0)
        return false;
    uint64_t milliseconds = (uint64_t)patience.tv_sec * 1000 + (uint64_t)patience.tv_usec / 1000;
    return milliseconds == 0 || time_passed() - began_at < milliseconds;
}

int socket_connect(int fd, const char *directory, const char *name, uint32_t milliseconds)
{
    struct sockaddr_un address;
    int error = path_set(&address, directory, name);
    if (error < 0)
        return error;
    struct timeval patience = timeval_of(milliseconds != 0 ? milliseconds : 1);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    uint64_t began_at = time_passed();
    int result;
    do { /* interrupted, it was still waiting for a place among those who wait: nothing has begun */
        result = connect(fd, address_of(&address), sizeof address);
        error = result < 0 ? -errno : 0;
    } while (result < 0 && is_to_be_repeated(fd, SO_SNDTIMEO, began_at));
    return error == -EAGAIN || error == -EINTR ? -ETIMEDOUT : error;
}

int socket_peer_get(int fd, struct socket_peer *ret_peer)
{
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0)
        return -errno;
    *ret_peer = (struct socket_peer){.user = peer.uid, .group = peer.gid, .process = (uint32_t)peer.pid};
    return 0;
}

static bool is_one_of(uint32_t id, const uint32_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

/* A process may be in 65,536 groups; asked with too little room the system tells how much it needs. */
bool socket_peer_is_in(int fd, const uint32_t *groups, uint32_t count)
{
    struct socket_peer peer = {0};
    if (count == 0 || socket_peer_get(fd, &peer) < 0)
        return false;
    if (is_one_of(peer.group, groups, count))
        return true;
    gid_t few[64];
    gid_t *others = few;
    socklen_t bytes = sizeof few;
    void *more = NULL;
    int result = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, others, &bytes);
    size_t room = bytes;
    if (result < 0 && errno == ERANGE && memory_get(&more, room) == 0) {
        others = more;
        result = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, others, &bytes);
    }
    bool is = false;
    for (size_t i = 0; result == 0 && i < bytes / sizeof *others && !is; i++)
        is = is_one_of(others[i], groups, count);
    memory_release(more, room);
    return is;
}

/* ---------------------------------------------------------------- messages */

union control {
    struct cmsghdr header;
    unsigned char bytes[CMSG_SPACE(FILES_MAX * sizeof(int))];
};

int socket_send(int fd, const void *message, size_t bytes, const int *files, uint32_t count)
{
    union control control;
    memset(&control, 0, sizeof control);
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > FILES_MAX)
        return -EINVAL;
    if (count != 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(count * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), files, count * sizeof(int));
    }
    ssize_t sent = sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? -errno : (size_t)sent == bytes ? 0 : -EPROTO;
}

/* Gets the descriptors out of a message, and closes what is too many. Returns how many came. */
static uint32_t take_files(struct msghdr *header, int ret_files[FILES_MAX])
{
    uint32_t came = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t files = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < files; i++) {
            int file;
            memcpy(&file, CMSG_DATA(c) + i * sizeof file, sizeof file);
            if (came < FILES_MAX)
                ret_files[came] = file;
            else
                close(file);
            came++;
        }
    }
    return came;
}

int socket_receive(int fd, void *ret_message, size_t bytes, int *ret_files, uint32_t count)
{
    union control control;
    struct iovec part = {.iov_base = ret_message, .iov_len = bytes};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    uint64_t began_at = time_passed();
    ssize_t received;
    int error;
    do {
        received = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
        error = received < 0 ? -errno : 0;
    } while (received < 0 && is_to_be_repeated(fd, SO_RCVTIMEO, began_at));
    if (error < 0)
        return error == -EAGAIN || error == -EINTR ? -ETIMEDOUT : error;
    int files[FILES_MAX] = {0};
    uint32_t came = take_files(&header, files);
    if (received == 0 && came == 0)
        return -ECONNRESET;
    if ((size_t)received == bytes && came == count && count <= FILES_MAX &&
        (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0) {
        memcpy(ret_files, files, count * sizeof *ret_files);
        return 0;
    }
    for (uint32_t i = 0; i < came && i < FILES_MAX; i++)
        close(files[i]);
    return -EPROTO;
}

bool socket_is_hung_up(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};
    return poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

bool socket_has_message(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & POLLIN) != 0;
}

/* ---------------------------------------------------------------- several at once */

int events_create(int *ret_events)
{
    int events = epoll_create1(EPOLL_CLOEXEC);
    if (events < 0)
        return -errno;
    *ret_events = events;
    return 0;
}

int events_add(int events, int file, uint64_t tag)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = tag};
    return epoll_ctl(events, EPOLL_CTL_ADD, file, &event) == 0 ? 0 : -errno;
}

void events_remove(int events, int file)
{
    (void)epoll_ctl(events, EPOLL_CTL_DEL, file, NULL);
}

int events_wait(int events, uint64_t *ret_tags, uint32_t count, int milliseconds)
{
    struct epoll_event found[EVENTS_AT_ONCE];
    int number = epoll_wait(events, found, (int)min_u64(count, EVENTS_AT_ONCE), milliseconds);
    if (number < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < number; i++)
        ret_tags[i] = found[i].data.u64;
    return number;
}

int alarm_create(int *ret_alarm)
{
    int alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (alarm_fd < 0)
        return -errno;
    *ret_alarm = alarm_fd;
    return 0;
}

/* Nothing at all would be no alarm, so at once is a nanosecond. */
void alarm_set(int alarm_fd, uint32_t milliseconds)
{
    struct itimerspec when = {.it_value = {.tv_sec = milliseconds / 1000,
                                           .tv_nsec = (long)(milliseconds % 1000) * 1000000 + (milliseconds == 0)}};
    (void)timerfd_settime(alarm_fd, 0, &when, NULL);
}

void alarm_still(int alarm_fd)
{
    uint64_t count;
    ssize_t ignored = read(alarm_fd, &count, sizeof count);
    (void)ignored;
}
