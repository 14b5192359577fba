/* SPDX-License-Identifier: MIT */
/*
 * Every system call that the library makes is made to fail, and every piece of memory for its own bookkeeping: in each
 * public call, at each place, with each error that the call may answer, once and for ever. Then: the answer is a
 * documented error or success; every heap is sound; the same call succeeds when the system is well again; calls that
 * fail again and again leave no descriptor and no mapping.
 *
 * The library's calls of the C library are wrapped when this program is linked (test/CMakeLists.txt). Those that are
 * not made to fail stand in test/faults/others, each with its reason; test/faults.sh wants each call on one of the two
 * lists.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cairn_publish.h"
#include "support/workspace.h"

/* ---------------------------------------------------------------- faults */

enum { PLACES_MAX = 400 };

static struct {
    bool armed;
    bool for_ever;    /* from that place on */
    const char *name; /* the function that fails; NULL: none */
    long at;          /* how many calls of it go well before one fails */
    int error;
    long made;                     /* calls of it since it was armed */
    long count;                    /* calls of all of them */
    const char *names[PLACES_MAX]; /* which they were */
    size_t pool_most;              /* the largest piece that was asked for */
} fault;

/* The error with which a call of that function is to fail, 0 for none. */
static int due(const char *name)
{
    if (!fault.armed)
        return 0;
    if (fault.count < PLACES_MAX)
        fault.names[fault.count] = name;
    fault.count++;
    if (fault.name == NULL || strcmp(name, fault.name) != 0)
        return 0;
    long place = fault.made++;
    return place == fault.at || (place > fault.at && fault.for_ever) ? fault.error : 0;
}

#define WRAP(type, name, failure, parameters, arguments)                                                               \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        int error = due(#name);                                                                                        \
        if (error == 0)                                                                                                \
            return __real_##name arguments;                                                                            \
        errno = error;                                                                                                 \
        return failure;                                                                                                \
    }

WRAP(void *, mmap, MAP_FAILED, (void *a, size_t n, int p, int f, int fd, off_t o), (a, n, p, f, fd, o))
WRAP(int, mprotect, -1, (void *a, size_t n, int p), (a, n, p))
WRAP(int, madvise, -1, (void *a, size_t n, int advice), (a, n, advice))
WRAP(int, fstatat, -1, (int fd, const char *path, struct stat *s, int flags), (fd, path, s, flags))
WRAP(int, lstat, -1, (const char *path, struct stat *s), (path, s))
WRAP(int, ftruncate, -1, (int fd, off_t n), (fd, n))
WRAP(off_t, lseek, -1, (int fd, off_t o, int whence), (fd, o, whence))
WRAP(int, flock, -1, (int fd, int how), (fd, how))
WRAP(int, unlink, -1, (const char *path), (path))
WRAP(char *, getcwd, NULL, (char *to, size_t n), (to, n))
WRAP(int, pthread_atfork, error, (void (*before)(void), void (*parent)(void), void (*child)(void)),
     (before, parent, child))
WRAP(int, fstatfs, -1, (int fd, struct statfs *s), (fd, s))
WRAP(int, statvfs, -1, (const char *path, struct statvfs *s), (path, s))
WRAP(ssize_t, pread, -1, (int fd, void *to, size_t n, off_t o), (fd, to, n, o))
WRAP(ssize_t, pwrite, -1, (int fd, const void *from, size_t n, off_t o), (fd, from, n, o))
WRAP(ssize_t, read, -1, (int fd, void *to, size_t n), (fd, to, n))
WRAP(int, mkdir, -1, (const char *path, mode_t mode), (path, mode))
WRAP(int, memfd_create, -1, (const char *name, unsigned flags), (name, flags))
WRAP(int, linkat, -1, (int from, const char *old, int to, const char *path, int flags), (from, old, to, path, flags))
WRAP(int, unlinkat, -1, (int fd, const char *path, int flags), (fd, path, flags))
WRAP(int, fsync, -1, (int fd), (fd))
WRAP(int, fsetxattr, -1, (int fd, const char *name, const void *v, size_t n, int flags), (fd, name, v, n, flags))
WRAP(int, fchown, -1, (int fd, uid_t user, gid_t group), (fd, user, group))
WRAP(int, fchmod, -1, (int fd, mode_t mode), (fd, mode))
WRAP(DIR *, opendir, NULL, (const char *path), (path))
WRAP(ssize_t, getrandom, -1, (void *to, size_t n, unsigned flags), (to, n, flags))
WRAP(int, pthread_key_create, error, (pthread_key_t * key, void (*end)(void *)), (key, end))
WRAP(int, pthread_setspecific, error, (pthread_key_t key, const void *value), (key, value))

WRAP(int, socket, -1, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, bind, -1, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, listen, -1, (int fd, int n), (fd, n))
WRAP(int, connect, -1, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, accept4, -1, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))
WRAP(int, getsockopt, -1, (int fd, int level, int name, void *v, socklen_t *n), (fd, level, name, v, n))
WRAP(ssize_t, sendmsg, -1, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
WRAP(ssize_t, recvmsg, -1, (int fd, struct msghdr *m, int flags), (fd, m, flags))
WRAP(int, epoll_create1, -1, (int flags), (flags))
WRAP(int, epoll_ctl, -1, (int events, int what, int fd, struct epoll_event *e), (events, what, fd, e))
WRAP(int, epoll_wait, -1, (int events, struct epoll_event *e, int n, int patience), (events, e, n, patience))
WRAP(int, poll, -1, (struct pollfd * p, nfds_t n, int patience), (p, n, patience))
WRAP(int, setsockopt, -1, (int fd, int level, int name, const void *v, socklen_t n), (fd, level, name, v, n))
WRAP(struct dirent *, readdir, NULL, (DIR * stream), (stream))
WRAP(int, timerfd_create, -1, (int clock, int flags), (clock, flags))
WRAP(int, eventfd, -1, (unsigned n, int flags), (n, flags))
WRAP(int, chmod, -1, (const char *path, mode_t mode), (path, mode))
WRAP(int, pthread_create, error, (pthread_t * t, const pthread_attr_t *a, void *(*run)(void *), void *arg),
     (t, a, run, arg))

/* Not the system's, but the library's own, which asks for a megabyte at a time. */
void *__real_pool_get(size_t bytes);
void *__wrap_pool_get(size_t bytes);
void *__wrap_pool_get(size_t bytes)
{
    if (bytes > fault.pool_most)
        fault.pool_most = bytes;
    return due("pool_get") != 0 ? NULL : __real_pool_get(bytes);
}

/* Those with arguments that vary. */
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    errno = due("open");
    return errno != 0 ? -1 : __real_open(path, flags, mode);
}

int __real_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    errno = due("open");
    return errno != 0 ? -1 : __real_openat(fd, path, flags, mode);
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    errno = due("fcntl");
    return errno != 0 ? -1 : __real_fcntl(fd, command, argument);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long a[6];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    const char *name = number == SYS_fallocate    ? "fallocate"
                       : number == SYS_mmap       ? "mmap"
                       : number == SYS_membarrier ? "membarrier"
                                                  : NULL;
    int error = name != NULL ? due(name) : 0;
    if (error != 0) {
        errno = error;
        return -1;
    }
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* What a system answers. */
static const struct errors {
    const char *name;
    int errors[5];
} errors_of[] = {
    {"mmap", {ENOMEM}},
    {"mprotect", {ENOMEM}},
    {"madvise", {ENOMEM, EINVAL}},
    {"fstatat", {EIO, ENOENT}},
    {"lstat", {EACCES, EIO}},
    {"ftruncate", {ENOSPC, EFBIG, EIO}},
    {"lseek", {EINVAL, EIO}},
    {"flock", {ENOLCK, EINTR}},
    {"unlink", {EACCES, EROFS}},
    {"getcwd", {ENOENT, EACCES}},
    {"pthread_atfork", {ENOMEM}},
    {"fstatfs", {EIO, ENOSYS}},
    {"statvfs", {EIO}},
    {"pread", {EIO}},
    {"pwrite", {EIO, ENOSPC}},
    {"read", {EIO}},
    {"mkdir", {EACCES, ENOSPC}},
    {"memfd_create", {EMFILE, ENOSYS}},
    {"linkat", {ENOENT, ENOSPC, EACCES}},
    {"unlinkat", {EACCES, ENOENT}},
    {"fsync", {EIO}},
    {"fsetxattr", {EOPNOTSUPP, ENOSPC}},
    {"fchown", {EPERM}},
    {"fchmod", {EPERM}},
    {"opendir", {EMFILE, EACCES}},
    {"getrandom", {ENOSYS, EAGAIN}},
    {"pthread_key_create", {EAGAIN}},
    {"pthread_setspecific", {ENOMEM}},
    {"open", {EMFILE, ENFILE, EACCES, ENOENT, ENOMEM}},
    {"fcntl", {ENOLCK, EINVAL}},
    {"fallocate", {ENOSPC, EINTR, EIO, EOPNOTSUPP}},
    {"membarrier", {ENOSYS, EPERM}},
    {"socket", {EMFILE, ENFILE, ENOMEM}},
    {"bind", {EACCES, ENOSPC, ENOMEM}},
    {"listen", {ENOMEM}},
    {"connect", {ECONNREFUSED, ENOENT, EAGAIN, EINTR}},
    {"accept4", {EMFILE, ENFILE, ECONNABORTED, ENOMEM}},
    {"getsockopt", {ENOMEM}},
    {"sendmsg", {EPIPE, EAGAIN, ETOOMANYREFS, ENOMEM}},
    {"recvmsg", {ECONNRESET, EAGAIN, EINTR}},
    {"epoll_create1", {EMFILE, ENOMEM}},
    {"epoll_ctl", {ENOSPC, ENOMEM}},
    {"epoll_wait", {EINTR}},
    {"poll", {EINTR, ENOMEM}},
    {"setsockopt", {ENOMEM}},
    {"readdir", {EIO}},
    {"timerfd_create", {EMFILE, ENOMEM}},
    {"eventfd", {EMFILE, ENFILE, ENOMEM}},
    {"chmod", {EPERM}},
    {"pthread_create", {EAGAIN}},
    {"pool_get", {ENOMEM}},
};

static const int *errors_for(const char *name)
{
    for (size_t i = 0; i < COUNT(errors_of); i++)
        if (strcmp(errors_of[i].name, name) == 0)
            return errors_of[i].errors;
    fprintf(stderr, "no errors for %s\n", name);
    abort();
}

/* ---------------------------------------------------------------- the calls */

static struct {
    _Atomic uint32_t ready;
} * seen_publisher;

static cairn_heap *heap, *other;
static cairn_section *section;
static void *block;

static void *blocks[64];

static int made(int error)
{
    return error;
}

static int got(void *pointer)
{
    block = pointer;
    return pointer != NULL ? 0 : cairn_last_errno();
}

static void close_heap(void)
{
    cairn_heap_close(heap);
    heap = NULL;
}

static void close_other(void)
{
    cairn_heap_close(other);
    other = NULL;
}

static void free_block(void)
{
    cairn_free(heap, block);
    block = NULL;
}

static void nothing(void)
{
}

static void remove_name(void)
{
    close_heap();
    REQUIRE(cairn_heap_unlink("heap", NULL) == 0);
}

/* Private heaps. */
static int create_private_heap(void)
{
    return made(cairn_heap_create(&heap, NULL));
}

static int create_bounded(void)
{
    return made(cairn_heap_create(&heap, &(cairn_options){.bytes_max = 4 * MIB, .bytes_start = MIB}));
}

static int create_checked(void)
{
    return made(cairn_heap_create(&heap, &(cairn_options){.checked = 1}));
}

static int create_lockable(void)
{
    return made(cairn_heap_create(&heap, &(cairn_options){.flags = CAIRN_LOCKABLE}));
}

static void have_private(void)
{
    REQUIRE_CALL(create_private_heap() == 0);
}

static void have_private_in_use(void)
{
    have_private();
    for (size_t i = 0; i < COUNT(blocks); i++)
        REQUIRE_CALL((blocks[i] = cairn_alloc(heap, i * 1000)) != NULL);
}

static int alloc_small(void)
{
    return got(cairn_alloc(heap, 100));
}

static int alloc_large(void)
{
    return got(cairn_zalloc(heap, 5 * MIB));
}

static int alloc_aligned(void)
{
    return got(cairn_aligned_alloc(heap, 65536, 300000));
}

static int grow_block(void)
{
    void *grown = cairn_alloc(heap, 50000);
    if (grown == NULL)
        return cairn_last_errno();
    memset(grown, 0x5a, 50000);
    void *moved = cairn_realloc(heap, grown, 9 * MIB);
    int error = moved == NULL ? cairn_last_errno() : 0;
    const unsigned char *bytes = moved != NULL ? moved : grown;
    for (size_t i = 0; i < 50000; i++)
        REQUIRE(bytes[i] == 0x5a);
    cairn_free(heap, moved != NULL ? moved : grown);
    return error;
}

static int fill_and_empty(void)
{
    static void *many[3000];
    int error = 0;
    size_t count = 0;
    for (; count < COUNT(many) && error == 0; count++) {
        many[count] = cairn_alloc(heap, 8 + count * 7 % 9000);
        error = many[count] == NULL ? cairn_last_errno() : 0;
    }
    while (count > 0)
        cairn_free(heap, many[--count]);
    return error;
}

static int trim(void)
{
    int64_t bytes = cairn_trim(heap);
    return bytes < 0 ? (int)bytes : 0;
}

static int reset(void)
{
    return cairn_heap_reset(heap);
}

static int create_child(void)
{
    return cairn_heap_create(&other, &(cairn_options){.parent = heap, .bytes_start = 100000});
}

static void *thread_allocates(void *arg)
{
    int *error = arg;
    void *mine = cairn_alloc(heap, 100);
    *error = mine == NULL ? cairn_last_errno() : 0;
    cairn_free(heap, mine);
    return NULL;
}

static int another_thread(void)
{
    pthread_t thread;
    int error;
    REQUIRE(__real_pthread_create(&thread, NULL, thread_allocates, &error) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    return error;
}

/* Shared heaps. */
static int create_named(void)
{
    return cairn_heap_create(&heap, &(cairn_options){.name = "heap", .bytes_max = 64 * MIB, .bytes_start = MIB});
}

static int create_with_access(void)
{
    static const struct cairn_access readers[] = {{.id = 1, .may_write = 0}};
    return cairn_heap_create(
        &heap, &(cairn_options){.name = "heap", .bytes_max = 64 * MIB, .access = readers, .access_count = 1});
}

static void have_name(void)
{
    REQUIRE_CALL(create_named() == 0);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    close_heap();
}

static int open_named(void)
{
    return cairn_heap_open(&heap, "heap", NULL);
}

static int open_or_create(void)
{
    return cairn_heap_create(&heap, &(cairn_options){.name = "heap", .flags = CAIRN_OPEN_OR_CREATE});
}

static int open_read_only(void)
{
    return cairn_heap_open(&heap, "heap", &(cairn_options){.flags = CAIRN_READ_ONLY});
}

/* Something of the program's lies where the heap was. */
static void have_name_and_no_place(void)
{
    have_name();
    REQUIRE_CALL(open_named() == 0);
    cairn_stats stats = stats_of(heap);
    close_heap();
    void *place = (void *)(uintptr_t)stats.address;
    REQUIRE(__real_mmap(place, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == place);
}

static int open_anywhere(void)
{
    return cairn_heap_open(&heap, "heap", &(cairn_options){.flags = CAIRN_RELOCATE});
}

static int open_again(void)
{
    return cairn_heap_open(&other, "heap", NULL);
}

static void have_shared(void)
{
    REQUIRE_CALL(create_named() == 0);
}

static void have_shared_in_use(void)
{
    have_shared();
    for (size_t i = 0; i < COUNT(blocks); i++)
        REQUIRE_CALL((blocks[i] = cairn_alloc(heap, i * 1000)) != NULL);
}

static void die_in_it(void *arg)
{
    (void)arg;
    cairn_heap *mine, *bound;
    REQUIRE_CALL(cairn_heap_open(&mine, "heap", NULL) == 0);
    REQUIRE_CALL(cairn_heap_create(&bound, &(cairn_options){.parent = mine, .name = "bound", .flags = CAIRN_BOUND}) ==
                 0);
    REQUIRE_CALL(cairn_alloc(mine, 100) != NULL && cairn_alloc(bound, 100000) != NULL);
    raise(SIGKILL);
}

static void have_dead(void)
{
    have_shared();
    finish_by(start(die_in_it, NULL), SIGKILL);
}

static void have_name_and_dead(void)
{
    have_dead();
    close_heap();
}

static bool keep_all(void *block_seen, size_t bytes, void *arg)
{
    (void)block_seen, (void)bytes, (void)arg;
    return true;
}

static int recover(void)
{
    int recovered = cairn_recover(heap);
    return recovered < 0 ? recovered : 0;
}

static int create_named_child(void)
{
    return cairn_heap_create(&other, &(cairn_options){.parent = heap, .name = "child", .bytes_start = 200000});
}

static void destroy_other(void)
{
    REQUIRE_CALL(cairn_heap_destroy(other) == 0);
    other = NULL;
}

static void have_child(void)
{
    have_shared();
    REQUIRE_CALL(create_named_child() == 0);
    close_other();
}

static int open_child(void)
{
    return cairn_heap_open_child(&other, heap, "child");
}

/* Handles come in chunks: the next one needs another. */
static cairn_heap *handles[1000];
static uint32_t *handles_wanted;

static void count_handles(void *arg)
{
    (void)arg;
    for (;; ++*handles_wanted) {
        fault.pool_most = 0;
        REQUIRE(cairn_heap_open(&handles[*handles_wanted], "heap", NULL) == 0);
        if (fault.pool_most >= 32 * KIB)
            break;
    }
}

static void use_up_handles(void)
{
    handles_wanted = shared_memory(sizeof *handles_wanted);
    finish(start(count_handles, NULL));
    REQUIRE(*handles_wanted > 0);
    for (uint32_t i = 0; i < *handles_wanted; i++)
        REQUIRE_CALL(cairn_heap_open(&handles[i], "heap", NULL) == 0);
}

static void close_handles(void)
{
    for (uint32_t i = 0; i < *handles_wanted; i++)
        cairn_heap_close(handles[i]);
}

static void have_no_handle(void)
{
    have_shared();
    use_up_handles();
}

static void remove_name_and_handles(void)
{
    close_handles();
    remove_name();
}

/* By another process: a handle that was closed would be taken again. */
static void make_others(void *arg)
{
    (void)arg;
    REQUIRE_CALL(open_named() == 0 && create_named_child() == 0);
    close_other();
    REQUIRE_CALL(cairn_heap_create(&other, &(cairn_options){.name = "second", .bytes_max = 64 * MIB}) == 0);
    close_other();
    close_heap();
}

static void have_others_and_no_handle(void)
{
    have_shared();
    finish(start(make_others, NULL));
    use_up_handles();
}

static int open_second(void)
{
    return cairn_heap_open(&other, "second", NULL);
}

static void remove_both_and_handles(void)
{
    remove_name_and_handles();
    REQUIRE(cairn_heap_unlink("second", NULL) == 0);
}

static void have_open_child(void)
{
    have_shared();
    REQUIRE_CALL(create_named_child() == 0);
}

static int destroy_child(void)
{
    return cairn_heap_destroy(other);
}

static void make_child_again(void)
{
    REQUIRE_CALL(create_named_child() == 0);
}

static void end_child(void)
{
    destroy_other();
    remove_name();
}

static int set_root(void)
{
    return cairn_root_set(heap, "root", blocks[1]);
}

static int alloc_to(void)
{
    void **place = blocks[2];
    *place = NULL;
    int error = cairn_alloc_to(heap, 3 * MIB, place);
    REQUIRE((error == 0) == (*place != NULL));
    REQUIRE_CALL(cairn_free_from(heap, place) == 0);
    return error;
}

static int names_seen(const char *name, void *arg)
{
    (void)name, (void)arg;
    return 0;
}

static int list_names(void)
{
    return cairn_heap_names(NULL, names_seen, NULL);
}

static int unlink_name(void)
{
    return cairn_heap_unlink("heap", NULL);
}

static void unlink_heap(void)
{
    REQUIRE(unlink_name() == 0);
}

static int destroy_whole(void)
{
    return cairn_heap_destroy(heap);
}

/* Where its directory was said not to be there, the name stays. */
static void make_whole_again(void)
{
    (void)cairn_heap_unlink("heap", NULL);
    have_shared();
}

static int reap(void)
{
    int reaped = cairn_reap(heap, keep_all, NULL);
    return reaped < 0 ? reaped : 0;
}

/* A name in a directory that is told from where we are. */
static int create_relative(void)
{
    REQUIRE(chdir(workspace_directory()) == 0);
    return cairn_heap_create(&heap, &(cairn_options){.name = "heap", .directory = ".", .bytes_max = 64 * MIB});
}

/* Heaps in memory files. */
static int memory_file = -1;

static int create_memory_file(void)
{
    int error = cairn_heap_create_fd(&heap, &memory_file,
                                     &(cairn_options){.name = "heap", .bytes_max = 64 * MIB, .bytes_start = MIB});
    struct stat status;
    REQUIRE(error < 0 || (fstat(memory_file, &status) == 0 && (size_t)status.st_size == 64 * MIB));
    return error;
}

static void close_memory_file(void)
{
    close_heap();
    close(memory_file);
}

static void have_memory_file(void)
{
    REQUIRE_CALL(create_memory_file() == 0);
    close_heap();
}

static int open_memory_file(void)
{
    return cairn_heap_open_fd(&heap, memory_file, NULL);
}

static int read_memory_file(void)
{
    return cairn_heap_open_fd(&heap, memory_file, &(cairn_options){.flags = CAIRN_READ_ONLY});
}

static void have_memory_heap(void)
{
    REQUIRE_CALL(create_memory_file() == 0);
}

static void end_memory_file(void)
{
    close(memory_file);
}

/* Sections. */
static int create_section(void)
{
    return cairn_section_create(&section, &(cairn_options){.name = "section", .bytes_max = 16 * MIB});
}

static void remove_section(void)
{
    cairn_section_close(section);
    REQUIRE(cairn_section_unlink("section", NULL) == 0);
}

static int create_private_section(void)
{
    return cairn_section_create(&section, &(cairn_options){.bytes_max = 16 * MIB, .bytes_start = MIB});
}

static void close_section(void)
{
    cairn_section_close(section);
}

static void have_section(void)
{
    REQUIRE_CALL(create_section() == 0);
}

static int commit_section(void)
{
    return cairn_section_commit(section, 5 * MIB, 2 * MIB);
}

static void decommit_section(void)
{
    REQUIRE_CALL(cairn_section_decommit(section, 5 * MIB, 2 * MIB) == 0);
}

static void have_section_name(void)
{
    have_section();
    close_section();
}

static int open_section(void)
{
    return cairn_section_open(&section, "section", NULL);
}

static void unlink_section(void)
{
    REQUIRE(cairn_section_unlink("section", NULL) == 0);
}

/* Published heaps. */
static cairn_publisher *publisher;
static cairn_reader *reader;

static int publish(void)
{
    int error = cairn_publish(&publisher, "published", &(cairn_publish_options){.bytes_max = 64 * MIB});
    heap = error == 0 ? cairn_publisher_heap(publisher) : NULL;
    return error;
}

static void close_publisher(void)
{
    cairn_publisher_close(publisher);
    publisher = NULL;
    heap = NULL;
}

static void have_published(void)
{
    REQUIRE_CALL(publish() == 0);
    for (size_t i = 0; i < COUNT(blocks); i++)
        REQUIRE_CALL((blocks[i] = cairn_alloc(heap, i * 1000)) != NULL);
}

static int publish_on_a_thread(void)
{
    int error = publish();
    if (error == 0 && (error = cairn_publisher_start_thread(publisher)) < 0)
        close_publisher();
    return error;
}

/* Somebody waits at the door, is let in or not, and goes. */
static int let_in(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/published.sock", workspace_directory());
    int guest = __real_socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    REQUIRE(guest >= 0 && __real_connect(guest, (struct sockaddr *)&address, sizeof address) == 0);
    int first = cairn_publisher_dispatch(publisher);
    close(guest);
    int second = cairn_publisher_dispatch(publisher);
    return first < 0 ? first : second < 0 ? second : 0;
}

/* What failed before is as if it had not been: the next one is let in, and when it has gone nobody is there. */
static void nobody_is_in(void)
{
    cairn_publisher_stats stats = {.size = sizeof stats};
    REQUIRE_CALL(let_in() == 0 && cairn_publisher_dispatch(publisher) >= 0);
    REQUIRE_CALL(cairn_publisher_stats_get(publisher, &stats) == 0);
    REQUIRE(stats.readers == 0 && stats.joined != 0);
}

static int gate[2];

static void be_publisher(void *arg)
{
    (void)arg;
    char byte;
    close(gate[1]);
    have_published();
    REQUIRE_CALL(cairn_root_set(heap, "root", blocks[1]) == 0);
    REQUIRE_CALL(cairn_publisher_start_thread(publisher) == 0);
    advance(&seen_publisher->ready);
    REQUIRE(read(gate[0], &byte, 1) == 0);
    close_publisher();
}

static pid_t publishing;

static void have_a_publisher(void)
{
    REQUIRE(pipe2(gate, O_CLOEXEC) == 0);
    seen_publisher = shared_memory(sizeof *seen_publisher);
    publishing = start(be_publisher, NULL);
    close(gate[0]);
    wait_for(&seen_publisher->ready, 1);
}

static void end_the_publisher(void)
{
    close(gate[1]);
    finish(publishing);
}

static int open_reader(void)
{
    return cairn_reader_open(&reader, "published", NULL);
}

static void read_and_close(void)
{
    REQUIRE_CALL(cairn_read_begin(reader) == 0 && cairn_reader_root(reader, "root") != NULL);
    REQUIRE_CALL(cairn_read_end(reader) == 0);
    cairn_reader_close(reader);
}

static const struct scenario {
    const char *call;
    void (*prepare)(void);
    int (*run)(void);
    void (*undo)(void);   /* after a success, so that it can be called again */
    void (*finish)(void); /* gives back what was prepared */
    int errors[6];        /* that cairn.h tells of that call, beside those of the system */
} scenarios[] = {
    {"create of a private heap", nothing, create_private_heap, close_heap, nothing, {ENOMEM}},
    {"create of a bounded heap", nothing, create_bounded, close_heap, nothing, {ENOMEM}},
    {"create of a checked heap", nothing, create_checked, close_heap, nothing, {ENOMEM}},
    {"create of a lockable heap", nothing, create_lockable, close_heap, nothing, {ENOMEM}},
    {"alloc", have_private, alloc_small, free_block, close_heap, {ENOMEM}},
    {"zalloc of 5 MiB", have_private, alloc_large, free_block, close_heap, {ENOMEM}},
    {"aligned_alloc", have_private, alloc_aligned, free_block, close_heap, {ENOMEM}},
    {"realloc to 9 MiB", have_private, grow_block, nothing, close_heap, {ENOMEM}},
    {"3,000 blocks", have_private, fill_and_empty, nothing, close_heap, {ENOMEM}},
    {"trim", have_private_in_use, trim, nothing, close_heap, {ENOMEM}},
    {"reset", have_private_in_use, reset, nothing, close_heap, {ENOMEM}},
    {"create of a child", have_private, create_child, close_other, close_heap, {ENOMEM}},
    {"another thread", have_private, another_thread, nothing, close_heap, {ENOMEM}},
    {"create of a shared heap", nothing, create_named, remove_name, nothing, {ENOMEM, EACCES, ENOENT, EPERM}},
    {"create with an access list", nothing, create_with_access, remove_name, nothing, {ENOMEM, EACCES, ENOENT, EPERM}},
    {"open", have_name, open_named, close_heap, unlink_heap, {ENOENT, EACCES, ENOMEM}},
    {"open or create", have_name, open_or_create, close_heap, unlink_heap, {ENOENT, EACCES, ENOMEM}},
    {"open read-only", have_name, open_read_only, close_heap, unlink_heap, {ENOENT, EACCES, ENOMEM}},
    {"open at another address",
     have_name_and_no_place,
     open_anywhere,
     close_heap,
     unlink_heap,
     {ENOENT, EACCES, ENOMEM}},
    {"open without a handle",
     have_others_and_no_handle,
     open_second,
     close_other,
     remove_both_and_handles,
     {ENOENT, EACCES, ENOMEM}},
    {"open a second time without a handle",
     have_no_handle,
     open_again,
     close_other,
     remove_name_and_handles,
     {ENOENT, EACCES, ENOMEM}},
    {"shared: open of a child without a handle",
     have_others_and_no_handle,
     open_child,
     close_other,
     remove_both_and_handles,
     {ENOMEM}},
    {"open a second time", have_shared, open_again, close_other, remove_name, {ENOENT, EACCES, ENOMEM}},
    {"open beside the dead", have_name_and_dead, open_named, close_heap, unlink_heap, {ENOENT, EACCES, ENOMEM}},
    {"recover", have_dead, recover, nothing, remove_name, {ENOMEM}},
    {"reap beside the dead", have_dead, reap, nothing, remove_name, {ENOMEM}},
    {"shared: create in a relative directory",
     nothing,
     create_relative,
     remove_name,
     nothing,
     {ENOMEM, EACCES, ENOENT, EPERM}},
    {"shared: destroy", have_shared_in_use, destroy_whole, make_whole_again, remove_name, {ENOMEM, EACCES, ENOENT}},
    {"memory file: create", nothing, create_memory_file, close_memory_file, nothing, {ENOMEM, EACCES, ENOENT, EPERM}},
    {"memory file: open",
     have_memory_file,
     open_memory_file,
     close_heap,
     end_memory_file,
     {ENOMEM, EACCES, ENOENT, EPERM, EBADF}},
    {"memory file: open read-only",
     have_memory_file,
     read_memory_file,
     close_heap,
     end_memory_file,
     {ENOMEM, EACCES, ENOENT, EPERM, EBADF}},
    {"memory file: realloc to 9 MiB", have_memory_heap, grow_block, nothing, close_memory_file, {ENOMEM}},
    {"shared: alloc", have_shared, alloc_small, free_block, remove_name, {ENOMEM}},
    {"shared: zalloc of 5 MiB", have_shared, alloc_large, free_block, remove_name, {ENOMEM}},
    {"shared: realloc to 9 MiB", have_shared, grow_block, nothing, remove_name, {ENOMEM}},
    {"shared: 3,000 blocks", have_shared, fill_and_empty, nothing, remove_name, {ENOMEM}},
    {"shared: alloc_to of 3 MiB", have_shared_in_use, alloc_to, nothing, remove_name, {ENOMEM}},
    {"shared: trim", have_shared_in_use, trim, nothing, remove_name, {ENOMEM}},
    {"shared: reset", have_shared_in_use, reset, nothing, remove_name, {ENOMEM}},
    {"shared: root_set", have_shared_in_use, set_root, nothing, remove_name, {ENOMEM}},
    {"shared: another thread", have_shared, another_thread, nothing, remove_name, {ENOMEM}},
    {"shared: create of a child", have_shared, create_named_child, destroy_other, remove_name, {ENOMEM}},
    {"shared: open of a child", have_child, open_child, close_other, remove_name, {ENOMEM}},
    {"shared: destroy of a child", have_open_child, destroy_child, make_child_again, end_child, {ENOMEM}},
    {"names", have_name, list_names, nothing, unlink_heap, {EACCES, ENOENT}},
    {"unlink", have_name, unlink_name, have_name, unlink_heap, {EACCES, ENOENT, ENOMEM}},
    {"create of a section", nothing, create_section, remove_section, nothing, {ENOMEM, EACCES, ENOENT, EPERM}},
    {"create of a private section", nothing, create_private_section, close_section, nothing, {ENOMEM}},
    {"commit of a section", have_section, commit_section, decommit_section, remove_section, {ENOMEM}},
    {"publish", nothing, publish, close_publisher, nothing, {ENOMEM, EACCES, ENOENT, EPERM, ENOSPC, EEXIST}},
    {"publish on a thread",
     nothing,
     publish_on_a_thread,
     close_publisher,
     nothing,
     {ENOMEM, EAGAIN, EACCES, ENOENT, EPERM, ENOSPC}},
    {"published: alloc", have_published, alloc_small, free_block, close_publisher, {ENOMEM}},
    {"published: realloc to 9 MiB", have_published, grow_block, nothing, close_publisher, {ENOMEM}},
    {"published: 3,000 blocks", have_published, fill_and_empty, nothing, close_publisher, {ENOMEM}},
    {"published: alloc_to of 3 MiB", have_published, alloc_to, nothing, close_publisher, {ENOMEM}},
    {"published: root_set", have_published, set_root, nothing, close_publisher, {ENOMEM}},
    {"published: a reader is let in", have_published, let_in, nobody_is_in, close_publisher, {EMFILE}},
    {"open of a published heap",
     have_a_publisher,
     open_reader,
     read_and_close,
     end_the_publisher,
     {ENOENT, ECONNREFUSED, ETIMEDOUT, EACCES, ENOMEM, EPROTO}},
    {"open of a section", have_section_name, open_section, close_section, unlink_section, {ENOENT, EACCES, ENOMEM}},
};

/* ---------------------------------------------------------------- one case */

static int count_entries(const char *directory)
{
    int count = 0;
    DIR *stream = opendir(directory);
    REQUIRE(stream != NULL);
    while (readdir(stream) != NULL)
        count++;
    closedir(stream);
    return count;
}

static int count_mappings(void)
{
    int count = 0, c;
    FILE *file = fopen("/proc/self/maps", "r");
    REQUIRE(file != NULL);
    while ((c = getc(file)) != EOF)
        count += c == '\n';
    fclose(file);
    return count;
}

enum { AGAIN_MAX = 60, AGAIN_SAME = 4 };

struct plan {
    const struct scenario *scenario;
    const char *name;
    long at;
    int error;
    bool for_ever;
    int *ret_result; /* of the first call */
};

static bool is_documented(const struct scenario *scenario, int error)
{
    static const int of_the_system[] = {EMFILE, ENFILE, EIO, ENOLCK, ENOSYS, EOPNOTSUPP};
    bool is = false, has_name = scenario->errors[1] != 0 || strncmp(scenario->call, "shared", 6) == 0 ||
                                strstr(scenario->call, "section") != NULL;
    for (size_t i = 0; i < COUNT(scenario->errors); i++)
        is = is || (scenario->errors[i] != 0 && scenario->errors[i] == -error);
    for (size_t i = 0; i < COUNT(of_the_system) && has_name; i++)
        is = is || of_the_system[i] == -error;
    return is;
}

static int run_faulty(const struct plan *plan)
{
    fault.name = plan->name;
    fault.at = plan->at;
    fault.made = 0;
    fault.error = plan->error;
    fault.for_ever = plan->for_ever;
    fault.count = 0;
    fault.armed = true;
    int result = plan->scenario->run();
    fault.armed = false;
    if (plan->ret_result != NULL && plan->at >= 0)
        *plan->ret_result = result; /* told also of a case that fails here */
    REQUIRE(result == 0 || is_documented(plan->scenario, result));
    return result;
}

static void look(void)
{
    if (heap != NULL)
        REQUIRE_SOUND(heap);
}

static void play(void *arg)
{
    const struct plan *plan = arg;
    const struct scenario *scenario = plan->scenario;
    int descriptors = count_entries("/proc/self/fd");
    scenario->prepare();
    if (run_faulty(plan) == 0)
        scenario->undo();
    look();

    /* Again and again: what is left behind would grow without end. What was done before the place stays done. */
    int same = 0, mappings = 0, open = 0;
    for (int times = 0; times < AGAIN_MAX && same < AGAIN_SAME; times++) {
        if (run_faulty(plan) == 0)
            scenario->undo();
        int mappings_now = count_mappings(), open_now = count_entries("/proc/self/fd");
        if (getenv("CAIRN_SHOW") != NULL)
            printf("  %d mappings, %d entries\n", mappings_now, open_now);
        same = mappings_now <= mappings && open_now <= open ? same + 1 : 0;
        mappings = mappings_now;
        open = open_now;
    }
    REQUIRE(same == AGAIN_SAME);
    look();

    REQUIRE_CALL(scenario->run() == 0);
    scenario->undo();
    look();
    scenario->finish();
    REQUIRE_EQUAL(count_entries("/proc/self/fd"), descriptors);
}

/* ---------------------------------------------------------------- all of them */

static long failed;

struct seen {
    long count;
    const char *names[PLACES_MAX];
    int result;
};

static struct seen *seen;

static void count_calls(void *arg)
{
    struct plan plan = {.scenario = arg, .at = -1};
    plan.scenario->prepare();
    REQUIRE_CALL(run_faulty(&plan) == 0);
    seen->count = fault.count;
    memcpy(seen->names, fault.names, sizeof fault.names);
    plan.scenario->undo();
    plan.scenario->finish();
}

static long play_all_of(const struct scenario *scenario)
{
    long cases = 0;
    finish(start(count_calls, (void *)(uintptr_t)scenario));
    long count = seen->count < PLACES_MAX ? seen->count : PLACES_MAX;
    for (long at = 0; at < count; at++) {
        const int *errors = errors_for(seen->names[at]);
        long before = 0; /* calls of the same function */
        for (long i = 0; i < at; i++)
            before += strcmp(seen->names[i], seen->names[at]) == 0;
        for (int e = 0; e < 5 && errors[e] != 0; e++) {
            int ways = errors[e] == EINTR ? 1 : 2; /* no call is interrupted for ever */
            for (int for_ever = 0; for_ever < ways; for_ever++) {
                struct plan plan = {scenario, seen->names[at], before, errors[e], for_ever != 0, &seen->result};
                int status;
                pid_t child = start(play, &plan);
                REQUIRE(waitpid(child, &status, 0) == child);
                cases++;
                if (status == 0 && getenv("CAIRN_SHOW") == NULL)
                    continue;
                printf("%s: %s, call %ld, fails with %s %s: %s, status %#x\n", scenario->call, seen->names[at], at,
                       strerrorname_np(errors[e]), for_ever ? "for ever" : "once",
                       seen->result == 0 ? "0" : strerrorname_np(-seen->result), (unsigned)status);
                failed += status != 0;
                if (status != 0) { /* what it left is not in the way of the others */
                    (void)cairn_heap_unlink("heap", NULL);
                    (void)cairn_section_unlink("section", NULL);
                }
            }
        }
    }
    printf("%-40s %3ld places, %4ld cases\n", scenario->call, count, cases);
    return cases;
}

static const char *only; /* the calls to look at have this in their names; NULL: all */

static void every_system_call_may_fail(void)
{
    long cases = 0;
    int entries = workspace_entries();
    seen = shared_memory(sizeof *seen);
    for (size_t i = 0; i < COUNT(scenarios); i++) {
        if (only != NULL && strstr(scenarios[i].call, only) == NULL)
            continue;
        cases += play_all_of(&scenarios[i]);
        REQUIRE_EQUAL(workspace_entries(), entries);
    }
    printf("%ld cases, %ld failed\n", cases, failed);
    REQUIRE(failed == 0 && cases > 0);
}

int main(int argc, char **argv)
{
    if (UNDER_SANITIZER) {
        puts("SKIPPED: a sanitizer makes system calls of its own, by the same functions");
        return 77;
    }
    only = argc > 1 ? argv[1] : NULL;
    static const struct claim claims[] = {CLAIM(every_system_call_may_fail)};
    return run_claims(claims, COUNT(claims), 300);
}
