/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/process.h"

static _Thread_local struct {
    int error;
    char text[300];
} last;

int error_set(int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last.text, sizeof last.text, format, arguments);
    va_end(arguments);
    last.error = error;
    return error;
}

size_t structure_size(const char *what, size_t told, size_t known)
{
    size_t size = told != 0 ? told : known;
    if (size >= sizeof size && size <= known && size % sizeof(uint64_t) == 0)
        return size;
    error_set(-EINVAL, "%s of %zu bytes: no version of the structure had that size", what, size);
    return 0;
}

CAIRN_API const char *cairn_last_error(void)
{
    return last.text;
}

CAIRN_API int cairn_last_errno(void)
{
    return last.error;
}

CAIRN_API const char *cairn_strerror(int error)
{
    switch (error < 0 ? 0u - (unsigned)error : (unsigned)error) {
    case 0:
        return "no error";
    case EACCES:
        return "permission denied";
    case EADDRINUSE:
        return "something else lies at the heap's address";
    case EAGAIN:
        return "too many threads or processes use the heap";
    case EBADF:
        return "the application closed the descriptor";
    case EBUSY:
        return "the heap is in use in a way that forbids this";
    case ECONNREFUSED:
        return "nobody publishes that any more";
    case EDEADLK:
        return "this thread would wait for itself";
    case EEXIST:
        return "the name is taken";
    case EINVAL:
        return "an argument is malformed";
    case ELOOP:
        return "the name is a symbolic link";
    case EMFILE:
        return "no descriptor is left";
    case ENAMETOOLONG:
        return "the name is too long";
    case ENOENT:
        return "no heap, or no directory, of that name";
    case ENOMEM:
        return "no memory: the system, a full file system, or a limit of this process (ulimit -v, -f) refuses it";
    case ENOSPC:
        return "no room";
    case ENOTCONN:
        return "the publisher does not have this reader any more";
    case EOPNOTSUPP:
        return "not supported here";
    case ENOTDIR:
        return "not a directory";
    case EPERM:
        return "not permitted: whose it is, or how it lies there, does not allow that";
    case EPROTO:
        return "not a cairn heap of this version and build";
    case EROFS:
        return "the heap is attached read-only";
    case ESTALE:
        return "the heap was destroyed or reset";
    case ETIMEDOUT:
        return "the time is over";
    case EUCLEAN:
        return "the heap is damaged";
    default:
        return "a system error";
    }
}

#define TEXT_OF(number) #number
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

CAIRN_API const char *cairn_version(void)
{
    return VERSION_TEXT(CAIRN_VERSION_MAJOR, CAIRN_VERSION_MINOR, CAIRN_VERSION_PATCH);
}
