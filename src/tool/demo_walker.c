/* SPDX-License-Identifier: MIT */
/*
 * The witness: lists the same directory with code that is not ours, find(1). Where there is none, nftw(3) of the C
 * library does it, which shares no line with the indexer either.
 */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static struct player player;
static struct name_list list; /* static, for nftw has no argument of its own */

static bool add_copy(const char *path)
{
    char *copy = strdup(path);

    if (!copy || !name_list_add(&list, copy))
        return false;
    player.report.names++;
    if (player.report.names % 1024 == 0)
        player_progress(&player);
    return true;
}

/* Starts find with its complaints about unreadable directories left out. Returns its output, NULL with *ret_error. */
static FILE *start_find(pid_t *ret_pid, int *ret_error)
{
    char *arguments[] = {(char[]){"find"},      (char *)(uintptr_t)player.directory,
                         (char[]){"-mindepth"}, (char[]){"1"},
                         (char[]){"-print0"},   NULL};
    posix_spawn_file_actions_t actions;
    int pipe_fds[2];
    FILE *output;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        *ret_error = errno;
        return NULL;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    *ret_error = posix_spawnp(ret_pid, "find", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fds[1]);
    output = *ret_error == 0 ? fdopen(pipe_fds[0], "r") : NULL;
    if (!output)
        close(pipe_fds[0]);
    return output;
}

/* Returns 0, -ENOENT when there is no find, or another negative errno. */
static int walk_by_find(void)
{
    char *path = NULL;
    size_t room = 0;
    int error, status;
    bool enough = true;
    pid_t pid;
    FILE *output = start_find(&pid, &error);

    if (!output)
        return -(error ? error : ENOMEM);
    while (enough && getdelim(&path, &room, '\0', output) > 0)
        enough = add_copy(path);
    free(path);
    fclose(output);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    /* Its exit code is 1 as soon as one directory is unreadable; only an end by a signal means a cut list. */
    return !enough ? -ENOMEM : WIFSIGNALED(status) ? -EIO : 0;
}

static int add_visited(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    if (ftw->level == 0)
        return 0;
    return add_copy(path) ? 0 : ENOMEM;
}

int command_demo_walker(const struct tool_args *args)
{
    int r;

    /* It has no use for the heap, but enters like the others: what it is called with is the same. */
    if (!player_enter(&player, args, CAIRN_READ_ONLY))
        return TOOL_FAILED;

    snprintf(player.report.text, sizeof player.report.text, "find");
    r = walk_by_find();
    if (r == -ENOENT) {
        snprintf(player.report.text, sizeof player.report.text, "nftw");
        r = -nftw(player.directory, add_visited, 64, FTW_PHYS);
        if (r > 0)
            r = -errno;
    }
    if (r == 0)
        r = name_list_write(&list, DEMO_LIST_FD);
    if (r < 0)
        return player_fail(&player, "the independent walk failed: %s", strerror(-r));
    player_report(&player, REPORT_DONE, ORDER_LIST);
    while (player_order(-1) != ORDER_END)
        ;
    cairn_heap_close(player.heap);
    player_report(&player, REPORT_DONE, ORDER_END);
    return TOOL_FINE;
}
