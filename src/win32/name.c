/* SPDX-License-Identifier: MIT */
/*
 * A name of Windows ends with the last handle of its object; a file does not end by itself. So each process that has a
 * named section holds a shared lock (flock) on its file. Who lets go and can have the lock alone was the last, and
 * removes the file; a file whose lock is to be had was left by the killed, and counts as not there. Looking and acting
 * are one step under a lock on the directory.
 */
#include "win32/name.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "win32." /* what is ours among the names of the directory */

DWORD name_directory(char ret_directory[PATH_BYTES])
{
    const char *wanted = secure_getenv("CAIRN_DIR");
    if (wanted != NULL && wanted[0] != '\0') {
        if (strlen(wanted) >= PATH_BYTES - CAIRN_NAME_MAX - 2)
            return ERROR_FILENAME_EXCED_RANGE;
        strcpy(ret_directory, wanted);
        return NO_ERROR;
    }
    snprintf(ret_directory, PATH_BYTES, "/dev/shm/cairn-%u", (unsigned)geteuid());
    if (mkdir(ret_directory, 0700) < 0 && errno != EEXIST)
        return error_of(-errno);
    return NO_ERROR;
}

DWORD name_of(const char *name, char ret_file[CAIRN_NAME_MAX + 1])
{
    static const char global[] = "Global\\", local[] = "Local\\";
    size_t length = strlen(PREFIX);
    strcpy(ret_file, PREFIX);
    if (name[0] == '\0')
        return ERROR_INVALID_HANDLE;
    if (strncmp(name, local, sizeof local - 1) == 0) {
        name += sizeof local - 1;
    } else if (strncmp(name, global, sizeof global - 1) == 0) {
        strcat(ret_file, "%G");
        length += 2;
        name += sizeof global - 1;
    }
    if (name[0] == '\0')
        return ERROR_INVALID_NAME;
    if (strlen(name) > MAX_PATH)
        return ERROR_FILENAME_EXCED_RANGE;
    for (; *name != '\0'; name++) {
        if (*name == '\\')
            return ERROR_PATH_NOT_FOUND;
        bool plain = *name != '/' && *name != '%';
        size_t bytes = plain ? 1 : 3;
        if (length + bytes > CAIRN_NAME_MAX)
            return ERROR_FILENAME_EXCED_RANGE;
        if (plain)
            ret_file[length] = *name;
        else
            snprintf(ret_file + length, 4, "%%%02X", (unsigned)*name);
        length += bytes;
        ret_file[length] = '\0';
    }
    return NO_ERROR;
}

DWORD name_of_wide(const WCHAR *name, char ret_file[CAIRN_NAME_MAX + 1])
{
    char text[4 * (MAX_PATH + 1) + 1] = ""; /* UTF-8 */
    size_t length = 0;
    for (size_t i = 0; name[i] != 0; i++) {
        uint32_t code = name[i];
        if (i >= MAX_PATH + 1)
            return ERROR_FILENAME_EXCED_RANGE;
        bool is_pair = code >= 0xd800 && code < 0xdc00 && name[i + 1] >= 0xdc00 && name[i + 1] < 0xe000;
        if (is_pair)
            code = 0x10000 + ((code - 0xd800) << 10) + (name[++i] - 0xdc00u);
        if (code < 0x80) {
            text[length++] = (char)code;
        } else if (code < 0x800) {
            text[length++] = (char)(0xc0 | code >> 6);
            text[length++] = (char)(0x80 | (code & 0x3f));
        } else if (code < 0x10000) {
            text[length++] = (char)(0xe0 | code >> 12);
            text[length++] = (char)(0x80 | (code >> 6 & 0x3f));
            text[length++] = (char)(0x80 | (code & 0x3f));
        } else {
            text[length++] = (char)(0xf0 | code >> 18);
            text[length++] = (char)(0x80 | (code >> 12 & 0x3f));
            text[length++] = (char)(0x80 | (code >> 6 & 0x3f));
            text[length++] = (char)(0x80 | (code & 0x3f));
        }
    }
    text[length] = '\0';
    return name_of(text, ret_file);
}

/* ---------------------------------------------------------------- holding */

static int lock_file(int file, int how)
{
    int done;
    do
        done = flock(file, how);
    while (done < 0 && errno == EINTR);
    return done;
}

int names_lock(const char *directory)
{
    int lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock >= 0 && lock_file(lock, LOCK_EX) < 0) {
        (void)close(lock);
        return -1;
    }
    return lock;
}

void names_unlock(int lock)
{
    (void)close(lock);
}

/* The name may have gone to another file meanwhile. */
static bool is_at(int file, const char *path)
{
    struct stat one, other;
    return fstat(file, &one) == 0 && lstat(path, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

int name_hold(const char *path)
{
    int holder = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (holder < 0)
        return -errno;
    if (lock_file(holder, LOCK_EX | LOCK_NB) == 0 && unlink(path) == 0) {
        (void)close(holder);
        return -ENOENT;
    }
    if (lock_file(holder, LOCK_SH | LOCK_NB) < 0) {
        int error = -errno;
        (void)close(holder);
        return error;
    }
    return holder;
}

int name_hold_new(const char *path)
{
    int holder = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (holder >= 0)
        (void)lock_file(holder, LOCK_SH | LOCK_NB);
    return holder < 0 ? -errno : holder;
}

void name_let_go(int holder, const char *path)
{
    if (lock_file(holder, LOCK_EX | LOCK_NB) == 0 && is_at(holder, path))
        (void)unlink(path);
    (void)close(holder);
}

void name_hold_again(int holder)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", holder);
    int own = open(path, O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return;
    (void)lock_file(own, LOCK_SH | LOCK_NB);
    (void)dup3(own, holder, O_CLOEXEC);
    (void)close(own);
}
