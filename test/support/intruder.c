/* SPDX-License-Identifier: MIT */
#include "support/intruder.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/workspace.h"

void become(uint32_t user)
{
    if (geteuid() == 0 && user != 0)
        REQUIRE(setgroups(0, NULL) == 0 && setgid(user) == 0 && setuid(user) == 0);
    REQUIRE(prctl(PR_SET_DUMPABLE, 1) == 0);        /* else its own /proc would be root's, and refuse for that */
    REQUIRE(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0); /* which a change of the user takes back */
}

long result_of(long returned)
{
    return returned < 0 ? -errno : 0;
}

int connect_to(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", workspace_directory(), name);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    while (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        REQUIRE(errno == EINTR);
    return fd;
}

int take_grip(struct grip *grip)
{
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    *grip = (struct grip){.socket = connect_to("target.sock"), .heap = -1, .pin = -1};
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

void let_go(struct grip *grip)
{
    close(grip->socket);
    if (grip->heap < 0)
        return;
    close(grip->heap);
    close(grip->pin);
    munmap(grip->view, grip->bytes);
    munmap(grip->pin_word, 4096);
}
