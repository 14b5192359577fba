/* SPDX-License-Identifier: MIT */
/* directory: where named heaps live. */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* /dev/shm is writable by all: anybody may have made our name first, as a link or as a directory of their own. */
int directory_ensure_own(const char *directory)
{
    if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        return -errno;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP || errno == ENOTDIR || errno == EACCES ? -EPERM : -errno;

    struct stat status;
    int error = fstat(fd, &status) < 0 ? -errno : 0;
    if (error == 0 && (status.st_uid != geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0))
        error = -EPERM;
    close(fd);
    return error;
}

int directory_absolute(const char *directory, char *ret_absolute, size_t bytes)
{
    size_t used = 0;
    if (directory[0] != '/') {
        if (getcwd(ret_absolute, bytes) == NULL)
            return errno == ERANGE ? -ENAMETOOLONG : -errno;
        used = strlen(ret_absolute);
        if (used + 1 < bytes)
            ret_absolute[used++] = '/';
    }
    size_t length = strlen(directory);
    if (length >= bytes - used)
        return -ENAMETOOLONG;
    memcpy(ret_absolute + used, directory, length + 1);
    return 0;
}

static bool is_of_kind(int directory, const char *name, mode_t kind)
{
    struct stat status;
    return fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && (status.st_mode & S_IFMT) == kind;
}

static int walk(const char *directory, mode_t kind, int (*visit)(const char *name, void *arg), void *arg)
{
    DIR *stream = opendir(directory);
    if (stream == NULL)
        return -errno;

    int result = 0;
    while (result == 0) {
        errno = 0;
        struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            result = -errno;
            break;
        }
        if (is_of_kind(dirfd(stream), entry->d_name, kind))
            result = visit(entry->d_name, arg);
    }
    closedir(stream);
    return result;
}

int directory_walk(const char *directory, int (*visit)(const char *name, void *arg), void *arg)
{
    return walk(directory, S_IFREG, visit, arg);
}

int directory_walk_sockets(const char *directory, int (*visit)(const char *name, void *arg), void *arg)
{
    return walk(directory, S_IFSOCK, visit, arg);
}

int directory_space(const char *directory, uint64_t *ret_bytes, uint64_t *ret_bytes_free)
{
    struct statvfs status;
    if (statvfs(directory, &status) < 0)
        return -errno;
    *ret_bytes = (uint64_t)status.f_blocks * status.f_frsize;
    *ret_bytes_free = (uint64_t)status.f_bavail * status.f_frsize;
    return 0;
}
