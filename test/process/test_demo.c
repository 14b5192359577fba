/* SPDX-License-Identifier: MIT */
/*
 * The demo of the tool, on a small tree that is made here: it must hold all that it claims, and must leave nothing
 * behind, neither when it ends nor when it is interrupted or loses a process.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/workspace.h"

#define FOLDERS 12
#define FILES 25

static char tool[PATH_MAX];
static char tree[PATH_MAX]; /* what is indexed: the only entry of the workspace, before and after */
static char output[1 << 16];

/* As REQUIRE, and what the tool has said is told. */
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            broken(__FILE__, __LINE__, "not true: %s; the tool said:\n%s", #condition, output);                        \
    } while (0)

/* The tool stands in the environment, else where the build puts it: ../../cairn from this program. */
static bool find_tool(void)
{
    const char *given = getenv("CAIRN_TOOL");
    char build[PATH_MAX - 8];
    ssize_t length;

    if (given) {
        snprintf(tool, sizeof tool, "%s", given);
        return access(tool, X_OK) == 0;
    }
    length = readlink("/proc/self/exe", build, sizeof build - 1);
    if (length < 0)
        return false;
    build[length] = '\0';
    for (int i = 0; i < 3; i++)
        *strrchr(build, '/') = '\0';
    snprintf(tool, sizeof tool, "%s/cairn", build);
    return access(tool, X_OK) == 0;
}

/* Starts the tool with its output, both kinds, in a pipe. */
static pid_t start_tool(const char *const *arguments, int *ret_output)
{
    int fds[2];
    pid_t pid;

    EXPECT(pipe(fds) == 0);
    pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        execv(tool, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    close(fds[1]);
    *ret_output = fds[0];
    return pid;
}

/* Reads until a text has appeared, or until the end when it is NULL. */
static bool read_until(int fd, const char *text)
{
    size_t got = 0;

    output[0] = '\0';
    while (got + 1 < sizeof output) {
        ssize_t bytes = read(fd, output + got, sizeof output - 1 - got);

        if (bytes < 0 && errno == EINTR)
            continue;
        if (bytes <= 0)
            break;
        got += (size_t)bytes;
        output[got] = '\0';
        if (text && strstr(output, text))
            return true;
    }
    return !text;
}

static int finish_tool(pid_t pid, int fd)
{
    int status;

    close(fd);
    EXPECT(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int run(const char *const *arguments)
{
    int fd;
    pid_t pid = start_tool(arguments, &fd);

    read_until(fd, NULL);
    return finish_tool(pid, fd);
}

static bool nothing_is_left(void)
{
    return workspace_entries() == 1;
}

static void make_file(const char *folder, const char *name)
{
    char path[2 * PATH_MAX];
    int fd;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    EXPECT(fd >= 0);
    close(fd);
}

/* Names of every kind: sorted unlike their bytes are signed, with newlines, spaces and bytes that are no UTF-8. */
static void make_tree(void)
{
    static const char *const strange[] = {"\xff\xfe", "a\nb", "-", " ", "\x01", "caf\xc3\xa9", "z\x80", "A", "a"};
    char folder[PATH_MAX + 300], name[300], link_path[2 * PATH_MAX];

    snprintf(tree, sizeof tree, "%s", workspace_path("tree"));
    EXPECT(mkdir(tree, 0700) == 0);
    for (int i = 0; i < FOLDERS; i++) {
        snprintf(folder, sizeof folder, "%s/folder %d", tree, i);
        EXPECT(mkdir(folder, 0700) == 0);
        for (int j = 0; j < FILES; j++) {
            snprintf(name, sizeof name, "lib%d.so", j);
            make_file(folder, name);
        }
    }
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++)
        make_file(tree, strange[i]);
    memset(name, 'x', 255);
    name[255] = '\0';
    make_file(tree, name);
    snprintf(folder, sizeof folder, "%s/empty", tree);
    EXPECT(mkdir(folder, 0700) == 0);
    snprintf(link_path, sizeof link_path, "%s/circle", tree);
    EXPECT(symlink("..", link_path) == 0); /* must not be followed */
}

static void a_demo_holds_what_it_claims(void)
{
    const char *arguments[] = {"cairn", "demo", "--readers", "3", tree, NULL};
    char names[64];
    int code;

    make_tree();
    code = run(arguments);

    /* folders, files, strange names, the long one, the empty folder, the link */
    snprintf(names, sizeof names, "ok   names     %d, equal to ", FOLDERS + FOLDERS * FILES + 9 + 1 + 1 + 1);
    EXPECT(code == 0);
    EXPECT(strstr(output, names));
    EXPECT(strstr(output, "ok   heap "));
    EXPECT(strstr(output, "re-attachments 0, while the heap grew under 3 readers"));
    EXPECT(strstr(output, "same heap address in all 7 processes: yes; text addresses differ: yes"));
    EXPECT(strstr(output, "read errors 0"));
    EXPECT(strstr(output, "ok   write     refused by the MMU"));
    EXPECT(strstr(output, "ok   private "));
    EXPECT(strstr(output, "ok   memory    sum of PSS in 5 processes "));
    EXPECT(strstr(output, "ok   check     findings 0"));
    EXPECT(strstr(output, "ok   files     left 0"));
    EXPECT(!strstr(output, "FAIL"));
    EXPECT(nothing_is_left());
}

/* Large enough that an indexer can be killed while it reads it. */
static void make_large_tree(void)
{
    char folder[PATH_MAX + 300], name[300];

    snprintf(tree, sizeof tree, "%s", workspace_path("tree"));
    EXPECT(mkdir(tree, 0700) == 0);
    for (int i = 0; i < 200; i++) {
        snprintf(folder, sizeof folder, "%s/folder %d", tree, i);
        EXPECT(mkdir(folder, 0700) == 0);
        for (int j = 0; j < 100; j++) {
            snprintf(name, sizeof name, "lib%d.so", j);
            make_file(folder, name);
        }
    }
}

static void a_demo_whose_indexer_is_killed_loses_nothing(void)
{
    const char *arguments[] = {"cairn", "demo", "--readers", "1", "--kills", "3", tree, NULL};
    const char *kills;
    int code;
    unsigned count;

    make_large_tree();
    code = run(arguments);
    EXPECT(code == 0);
    kills = strstr(output, "ok   kills ");
    EXPECT(kills && sscanf(kills, "ok   kills     %u by SIGKILL", &count) == 1 && count >= 1);
    EXPECT(strstr(output, "hangs 0, corruptions 0, blocks reaped "));
    EXPECT(strstr(output, "bytes leaked 0;"));
    EXPECT(strstr(output, "equal to ") && !strstr(output, "FAIL"));
    EXPECT(nothing_is_left());
}

static void an_empty_directory_does_as_well(void)
{
    char empty[PATH_MAX + 8];
    const char *arguments[] = {"cairn", "demo", "-r", "1", empty, NULL};
    int code;

    make_tree();
    snprintf(empty, sizeof empty, "%s/empty", tree);
    code = run(arguments);
    EXPECT(code == 0);
    EXPECT(strstr(output, "ok   names     0, equal to "));
    EXPECT(nothing_is_left());
}

static void a_missing_directory_is_wrong_usage(void)
{
    const char *arguments[] = {"cairn", "demo", "/no/such/directory", NULL};
    int code = run(arguments);

    EXPECT(code == 2);
    EXPECT(strstr(output, "/no/such/directory: No such file or directory"));
    EXPECT(workspace_entries() == 0);
}

static void a_heap_that_is_kept_is_sound_and_can_be_removed(void)
{
    const char *demo[] = {"cairn", "demo", "--keep", "-r", "1", tree, NULL};
    char name[64] = "";
    const char *check[] = {"cairn", "check", name, NULL}, *rm[] = {"cairn", "rm", name, NULL};
    const char *kept;
    int code;

    make_tree();
    code = run(demo);
    EXPECT(code == 0);
    kept = strstr(output, "cairn map demo-");
    EXPECT(kept && sscanf(kept, "cairn map %60[^']", name) == 1);
    EXPECT(workspace_entries() == 2);
    EXPECT(run(check) == 0);
    EXPECT(strstr(output, ": sound"));
    EXPECT(run(rm) == 0);
    EXPECT(nothing_is_left());
}

/* The pids of the processes that a process has started; needs no more than /proc. */
static int children_of(pid_t parent, pid_t *ret_children, int room)
{
    struct dirent *entry;
    int count = 0;
    DIR *dir = opendir("/proc");

    EXPECT(dir);
    while ((entry = readdir(dir)) && count < room) {
        char path[300], line[512];
        int pid = atoi(entry->d_name), its_parent;
        FILE *file;

        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        file = pid > 0 ? fopen(path, "r") : NULL;
        if (!file)
            continue;
        if (fgets(line, sizeof line, file) && strrchr(line, ')') &&
            sscanf(strrchr(line, ')'), ") %*c %d", &its_parent) == 1 && its_parent == parent)
            ret_children[count++] = pid;
        fclose(file);
    }
    closedir(dir);
    return count;
}

/* Waits until none of them is there any more, also not as somebody else's zombie for long. */
static bool are_gone(const pid_t *pids, int count)
{
    for (int tries = 0; tries < 100; tries++) {
        int left = 0;

        for (int i = 0; i < count; i++)
            left += kill(pids[i], 0) == 0;
        if (left == 0)
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return false;
}

/* Ends a demo or one of its readers in the middle, and looks whether everything goes away. */
static void end_in_the_middle(bool by_a_readers_death)
{
    const char *arguments[] = {"cairn", "demo", "--readers", "2", "/", NULL};
    pid_t pid, children[16];
    int fd, code, count;

    pid = start_tool(arguments, &fd);
    EXPECT(read_until(fd, "indexing, while the readers search"));
    count = children_of(pid, children, 16);
    EXPECT(count == 3);
    kill(by_a_readers_death ? children[0] : pid, by_a_readers_death ? SIGKILL : SIGINT);
    read_until(fd, NULL);
    code = finish_tool(pid, fd);
    EXPECT(code == 1);
    EXPECT(strstr(output, by_a_readers_death ? "was ended by signal 9" : "interrupted"));
    EXPECT(strstr(output, "the heap is removed"));
    EXPECT(workspace_entries() == 0);
    EXPECT(are_gone(children, count));
}

static void an_interrupted_demo_leaves_nothing(void)
{
    end_in_the_middle(false);
}

static void a_demo_that_loses_a_process_leaves_nothing(void)
{
    end_in_the_middle(true);
}

static const struct claim claims[] = {
    CLAIM(a_demo_holds_what_it_claims),
    CLAIM(a_demo_whose_indexer_is_killed_loses_nothing),
    CLAIM(an_empty_directory_does_as_well),
    CLAIM(a_missing_directory_is_wrong_usage),
    CLAIM(a_heap_that_is_kept_is_sound_and_can_be_removed),
    CLAIM(an_interrupted_demo_leaves_nothing),
    CLAIM(a_demo_that_loses_a_process_leaves_nothing),
};

int main(void)
{
    if (!find_tool()) {
        printf("SKIPPED: the tool is not built (%s)\n", tool);
        return 77;
    }
    return run_claims(claims, COUNT(claims), 60);
}
