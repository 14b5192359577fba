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

#define PREFIX "win32."         /* what is ours among the names of the directory */
#define LONG_PREFIX PREFIX "%L" /* which no escaped name begins with */

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

/* Two different ones, of 64 bits; that it is the right name the label tells. */
static uint64_t hash_of(const char *text, uint64_t seed)
{
    uint64_t hash = seed;
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return hash;
}

/* How many UTF-16 units a byte of UTF-8 stands for. */
static size_t units_of(char byte)
{
    unsigned char value = (unsigned char)byte;
    return value >= 0xf0 ? 2 : value >= 0x80 && value < 0xc0 ? 0 : 1;
}

DWORD name_of(const char *name, struct name *ret_name)
{
    static const char global[] = "Global\\", local[] = "Local\\";
    char *whole = ret_name->whole;
    size_t length = strlen(PREFIX);
    strcpy(whole, PREFIX);
    if (name[0] == '\0')
        return ERROR_INVALID_HANDLE;
    if (strncmp(name, local, sizeof local - 1) == 0) {
        name += sizeof local - 1;
    } else if (strncmp(name, global, sizeof global - 1) == 0) {
        strcat(whole, "%G");
        length += 2;
        name += sizeof global - 1;
    }
    if (name[0] == '\0')
        return ERROR_INVALID_NAME;
    for (size_t units = 0; *name != '\0'; name++) {
        units += units_of(*name);
        if (units > MAX_PATH || length + 4 > WHOLE_BYTES)
            return ERROR_FILENAME_EXCED_RANGE;
        if (*name == '\\')
            return ERROR_PATH_NOT_FOUND;
        bool plain = *name != '/' && *name != '%';
        if (plain)
            whole[length] = *name;
        else
            snprintf(whole + length, 4, "%%%02X", (unsigned)*name);
        length += plain ? 1 : 3;
        whole[length] = '\0';
    }
    ret_name->has_label = length > CAIRN_NAME_MAX;
    if (ret_name->has_label)
        snprintf(ret_name->file, sizeof ret_name->file, "%s%016llx%016llx", LONG_PREFIX,
                 (unsigned long long)hash_of(whole, 1), (unsigned long long)hash_of(whole, 2));
    else
        memcpy(ret_name->file, whole, length + 1);
    return NO_ERROR;
}

static size_t put_utf8(char *text, uint32_t code)
{
    if (code < 0x80) {
        text[0] = (char)code;
        return 1;
    }
    size_t bytes = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = bytes - 1; i > 0; i--, code >>= 6)
        text[i] = (char)(0x80 | (code & 0x3f));
    text[0] = (char)((0xf00 >> bytes & 0xff) | code);
    return bytes;
}

DWORD name_of_wide(const WCHAR *name, struct name *ret_name)
{
    enum { UNITS_MAX = MAX_PATH + sizeof "Global\\" };
    char text[3 * UNITS_MAX + 2] = ""; /* UTF-8 */
    size_t length = 0;
    for (size_t i = 0; name[i] != 0; i++) {
        uint32_t code = name[i];
        if (i >= UNITS_MAX)
            return ERROR_FILENAME_EXCED_RANGE;
        bool is_pair = code >= 0xd800 && code < 0xdc00 && name[i + 1] >= 0xdc00 && name[i + 1] < 0xe000;
        if (is_pair)
            code = 0x10000 + ((code - 0xd800) << 10) + (name[++i] - 0xdc00u);
        length += put_utf8(text + length, code);
    }
    text[length] = '\0';
    return name_of(text, ret_name);
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

/* Also what a process that is being spawned has of it at this moment. */
static void unlock_and_close(int file)
{
    (void)lock_file(file, LOCK_UN);
    (void)close(file);
}

void names_unlock(int lock)
{
    unlock_and_close(lock);
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
    (void)close(holder); /* a child that was forked beside this call may share it, and have the name by it */
}

int name_hold_for_child(int holder, const char *path)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", holder);
    int heir = open(link, O_RDONLY | O_CLOEXEC);
    if (heir < 0 && is_at(holder, path)) /* there may be no /proc */
        heir = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (heir >= 0)
        (void)lock_file(heir, LOCK_SH | LOCK_NB);
    return heir;
}

void name_give_up(int heir)
{
    if (heir >= 0)
        (void)close(heir); /* the child has it still */
}

int name_inherit(int holder, int heir)
{
    if (heir < 0)
        return -1;
    (void)dup3(heir, holder, O_CLOEXEC);
    (void)close(heir);
    return holder;
}

/* ---------------------------------------------------------------- protections */

uint32_t name_mode_of(DWORD protection)
{
    bool writes = protection == PAGE_READWRITE || protection == PAGE_EXECUTE_READWRITE;
    return S_IRUSR | (writes ? S_IWUSR : 0u) | (protection >= PAGE_EXECUTE ? S_IXUSR : 0u);
}

DWORD name_protection(int holder)
{
    struct stat status;
    if (fstat(holder, &status) < 0)
        return PAGE_READONLY;
    bool writes = (status.st_mode & S_IWUSR) != 0;
    if (status.st_mode & S_IXUSR)
        return writes ? PAGE_EXECUTE_READWRITE : PAGE_EXECUTE_READ;
    return writes ? PAGE_READWRITE : PAGE_READONLY;
}
