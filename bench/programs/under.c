/* SPDX-License-Identifier: MIT */
/*
 * under PRELOAD RESULT OUTPUT COMMAND ARGUMENT...: runs a command with LD_PRELOAD, if PRELOAD is not empty, its output
 * in a file, and tells what it took: "seconds CPU-seconds KiB status" of the command and all its descendants that were
 * waited for. KiB is the largest resident set of one of them. Small itself: a child begins as a copy of it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static _Noreturn void become(const char *preload, const char *output, char **command)
{
    int null = open("/dev/null", O_RDONLY);
    int file = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (null < 0 || file < 0 || dup2(null, 0) < 0 || dup2(file, 1) < 0 || dup2(file, 2) < 0 ||
        (preload[0] != '\0' && setenv("LD_PRELOAD", preload, 1) < 0)) {
        perror(output);
        _exit(126);
    }
    execvp(command[0], command);
    perror(command[0]);
    _exit(127);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    double begun = seconds_now();
    pid_t pid = fork();
    if (pid == 0)
        become(argv[1], argv[3], &argv[4]);
    int status;
    struct rusage usage;
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid)
        return 1;
    double wall = seconds_now() - begun;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    FILE *result = fopen(argv[2], "w");
    if (result == NULL)
        return 1;
    fprintf(result, "%.4f %.4f %ld %d\n", wall, seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime),
            usage.ru_maxrss, code);
    return fclose(result) != 0;
}
