/* SPDX-License-Identifier: MIT */
#include "demo.h"

#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

bool name_list_add(struct name_list *list, char *name)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 1024;
        char **names = realloc(list->names, room * sizeof *names);

        if (!names)
            return false;
        list->names = names;
        list->room = room;
    }
    list->names[list->count++] = name;
    return true;
}

static int by_bytes(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

int name_list_write(struct name_list *list, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    FILE *file = copy < 0 ? NULL : fdopen(copy, "w");
    bool failed = false;

    if (!file) {
        int error = errno;

        if (copy >= 0)
            close(copy);
        return -error;
    }
    if (list->count > 0)
        qsort(list->names, list->count, sizeof *list->names, by_bytes);
    for (size_t i = 0; i < list->count && !failed; i++)
        failed = fwrite(list->names[i], strlen(list->names[i]) + 1, 1, file) != 1;
    if (fclose(file) != 0 || failed)
        return -(errno ? errno : EIO);
    return 0;
}

int names_file(void)
{
    int fd = memfd_create("cairn-demo-names", MFD_CLOEXEC), high;

    if (fd < 0)
        return -1;
    high = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    close(fd);
    return high;
}

int names_digest(int fd, struct digest *ret_digest)
{
    char *arguments[] = {(char[]){"sha256sum"}, NULL};
    posix_spawn_file_actions_t actions;
    struct digest digest = {0};
    int pipe_fds[2], error, status;
    size_t got = 0;
    ssize_t bytes;
    pid_t pid;

    if (lseek(fd, 0, SEEK_SET) < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0)
        return -errno;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
    error = posix_spawnp(&pid, "sha256sum", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fds[1]);
    if (error) {
        close(pipe_fds[0]);
        return -error;
    }

    while (got < sizeof digest.hex - 1) {
        bytes = read(pipe_fds[0], digest.hex + got, sizeof digest.hex - 1 - got);
        if (bytes < 0 && errno == EINTR)
            continue;
        if (bytes <= 0)
            break;
        got += (size_t)bytes;
    }
    close(pipe_fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (got != sizeof digest.hex - 1 || strspn(digest.hex, "0123456789abcdef") != got)
        return -EIO;
    *ret_digest = digest;
    return 0;
}

/* A list as it lies in its file. */
struct lines {
    const char *at, *end;
    size_t bytes;
};

static struct lines map_lines(int fd)
{
    struct stat st;
    struct lines lines = {0};
    void *start;

    if (fstat(fd, &st) < 0 || st.st_size == 0)
        return lines;
    start = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (start == MAP_FAILED)
        return lines;
    lines.bytes = (size_t)st.st_size;
    lines.at = start;
    lines.end = lines.at + lines.bytes;
    return lines;
}

void names_print_difference(int heap_fd, int walk_fd, const char *walked_by)
{
    const uint64_t shown_max = 5;
    struct lines heap = map_lines(heap_fd), walk = map_lines(walk_fd);
    const char *heap_start = heap.at, *walk_start = walk.at;
    uint64_t only_heap = 0, only_walk = 0;

    while (heap.at < heap.end || walk.at < walk.end) {
        int order = heap.at == heap.end ? 1 : walk.at == walk.end ? -1 : strcmp(heap.at, walk.at);

        if (order < 0 && only_heap++ < shown_max) {
            fputs("     only in the heap: ", stdout);
            text_name(stdout, heap.at);
            putchar('\n');
        }
        if (order > 0 && only_walk++ < shown_max) {
            printf("     only seen by %s: ", walked_by);
            text_name(stdout, walk.at);
            putchar('\n');
        }
        if (order <= 0)
            heap.at += strlen(heap.at) + 1;
        if (order >= 0)
            walk.at += strlen(walk.at) + 1;
    }
    printf("     %s name%s only in the heap, %s only seen by %s\n", text_count(only_heap).text, text_plural(only_heap),
           text_count(only_walk).text, walked_by);
    if (heap_start)
        munmap((void *)(uintptr_t)heap_start, heap.bytes);
    if (walk_start)
        munmap((void *)(uintptr_t)walk_start, walk.bytes);
}
