/* SPDX-License-Identifier: MIT */
/*
 * claims: what the tests of the Win32 calls need beside these calls; on Linux it is Check. The file of the same name in
 * windows/ has it for Windows, where the tests that include this one file alone run, too ("./dev win32 --wine").
 */
#ifndef CAIRN_TEST_WIN32_CLAIMS_H
#define CAIRN_TEST_WIN32_CLAIMS_H

#include <windows.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/suite.h"
#include "support/workspace.h"
#include "win32/linux/last_error.h"

/* ---------------------------------------------------------------- processes */

/* Makes part known, for elsewhere. */
#define tcase_add_part(tests, part) ((void)(tests), (void)(part))

/* Runs part in another process, which must say 0. */
static inline void elsewhere(int (*part)(void))
{
    pid_t child = fork();
    if (child == 0)
        _exit(part());
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

/* ---------------------------------------------------------------- names and files */

static char names_directory[] = "/dev/shm/cairn-win32-XXXXXX";

/* Before and after a suite: names of sections are the suite's own. Leaves nothing behind: failed, or EXIT_FAILURE. */
static inline int names_begin(void)
{
    return mkdtemp(names_directory) != NULL && setenv("CAIRN_DIR", names_directory, 1) == 0 ? 0 : EXIT_FAILURE;
}

static inline int names_end(int failed)
{
    if (rmdir(names_directory) == 0)
        return failed;
    perror(names_directory);
    return EXIT_FAILURE;
}

/* A file, empty at first; file_end removes it. */
static int file_descriptor = -1;

static inline const char *file_path(void)
{
    static char path[100];
    snprintf(path, sizeof path, "%s/file", names_directory);
    return path;
}

static inline HANDLE file_open(bool writes)
{
    int descriptor = open(file_path(), (writes ? O_RDWR : O_RDONLY) | O_CREAT | O_CLOEXEC, 0600);
    HANDLE handle = CairnFileHandle(descriptor);
    if (file_descriptor < 0)
        file_descriptor = descriptor;
    else
        close(descriptor);
    return handle;
}

static inline int file_byte(long at)
{
    unsigned char byte;
    return pread(file_descriptor, &byte, 1, at) == 1 ? byte : -1;
}

static inline void file_end(void)
{
    ck_assert_int_eq(close(file_descriptor), 0);
    ck_assert_int_eq(unlink(file_path()), 0);
    file_descriptor = -1;
}

#endif
