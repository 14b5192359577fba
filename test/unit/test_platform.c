/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define SLOT (UINT64_C(1) << 62)
/* In the window that is free in every kind of program, sanitizers too. */
#define FREE_ADDRESS UINT64_C(0x551000000000)

/* ---------------------------------------------------------------- a directory for each test, and nothing left behind
 */

static char directory[128];
static int files_before, views_before;

static int count_entries(const char *path)
{
    DIR *stream = opendir(path);
    ck_assert_ptr_nonnull(stream);
    int count = 0;
    while (readdir(stream) != NULL)
        count++;
    closedir(stream);
    return count;
}

/* Shared mappings are all ours; private ones come and go with malloc. */
static int count_views(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    ck_assert_ptr_nonnull(maps);
    char line[4096], mode[8];
    int count = 0;
    while (fgets(line, sizeof line, maps) != NULL)
        count += sscanf(line, "%*s %7s", mode) == 1 && mode[3] == 's';
    fclose(maps);
    return count;
}

static void setup(void)
{
    const char *other = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "/dev/shm/cairn-test-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        snprintf(directory, sizeof directory, "%s/cairn-test-XXXXXX", other != NULL ? other : "/tmp");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        fprintf(stderr, "test_platform: no /dev/shm, using %s\n", directory);
    }
    views_before = count_views();
    files_before = count_entries("/proc/self/fd");
}

static void teardown(void)
{
    ck_assert_int_eq(rmdir(directory), 0); /* each test unlinks what it made */
    ck_assert_int_eq(count_entries("/proc/self/fd"), files_before);
    ck_assert_int_eq(count_views(), views_before);
}

static void skipped(const char *test, const char *why)
{
    fprintf(stderr, "test_platform: SKIPPED %s: %s\n", test, why);
}

static int unnamed_file(void)
{
    int file;
    int error = file_create_unnamed(&file, directory, 0600);
    ck_assert_msg(error == 0, "%s: %s", directory, strerror(-error));
    return file;
}

static int anonymous_file(void)
{
    int file;
    ck_assert_int_eq(file_create_anonymous(&file, "test"), 0);
    return file;
}

static uint64_t file_bytes(int file)
{
    struct file_status status;
    ck_assert_int_eq(file_status_get(file, &status), 0);
    return status.bytes;
}

static uint64_t allocated_bytes(int file)
{
    struct stat status;
    ck_assert_int_eq(fstat(file, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

static void *view_of(int file, size_t bytes)
{
    void *view;
    ck_assert_int_eq(file_map(&view, file, 0, bytes, false), 0);
    return view;
}

/* Waits for a child to end by itself with status 0. */
static void child_succeeds(pid_t child)
{
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child ended with %#x", status);
}

/* ---------------------------------------------------------------- memory */

START_TEST(reserved_memory_can_be_committed_in_part_and_is_zero)
{
    size_t page = platform_page_size();
    void *address;
    ck_assert(is_power_of_two(page));
    ck_assert_int_eq(memory_reserve(&address, GIB), 0);
    unsigned char *middle = (unsigned char *)address + GIB / 2;
    ck_assert_int_eq(memory_commit(middle, 4 * page), 0);
    for (size_t i = 0; i < 4 * page; i++)
        ck_assert_uint_eq(middle[i], 0);
    memset(middle, 1, 4 * page);
    memory_release(address, GIB);
}
END_TEST

START_TEST(decommitted_memory_reads_as_zero_and_stays_usable)
{
    size_t page = platform_page_size();
    void *address;
    ck_assert_int_eq(memory_reserve(&address, 4 * page), 0);
    ck_assert_int_eq(memory_commit(address, 4 * page), 0);
    unsigned char *bytes = address;
    memset(bytes, 1, 4 * page);
    ck_assert_int_eq(memory_decommit(bytes + page, page), 0);
    ck_assert_uint_eq(bytes[0], 1);
    ck_assert_uint_eq(bytes[page], 0);
    ck_assert_uint_eq(bytes[2 * page], 1);
    bytes[page] = 2;
    memory_release(address, 4 * page);
}
END_TEST

START_TEST(locked_memory_can_be_decommitted_too)
{
    size_t page = platform_page_size();
    void *address;
    ck_assert_int_eq(memory_get(&address, page), 0);
    *(volatile char *)address = 1;
    if (mlock(address, page) == 0) {
        int error = memory_decommit(address, page);
        ck_assert(error == 0 || error == -EINVAL); /* Linux before 5.18 cannot */
        ck_assert_int_eq(*(volatile char *)address, error == 0 ? 0 : 1);
    }
    memory_release(address, page);
}
END_TEST

START_TEST(an_absurd_reservation_is_no_memory_and_touches_nothing)
{
    void *address = &address;
    ck_assert_int_eq(memory_reserve(&address, (size_t)1 << 60), -ENOMEM);
    ck_assert_ptr_eq(address, &address);
    memory_release(NULL, 0);
}
END_TEST

START_TEST(a_reservation_takes_at_most_an_eighth_of_the_address_space_limit)
{
    struct rlimit before, limit;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    limit = before;
    limit.rlim_cur = 8 * GIB + 12345;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    size_t large = memory_reservation_limit(64 * GIB), small = memory_reservation_limit(MIB);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_uint_eq(large, GIB);
    ck_assert_uint_eq(small, MIB);
    if (before.rlim_cur == RLIM_INFINITY)
        ck_assert_uint_eq(memory_reservation_limit(64 * GIB), 64 * GIB);
}
END_TEST

/* ---------------------------------------------------------------- making and opening files */

START_TEST(an_anonymous_file_is_private_and_cannot_shrink)
{
    int file = anonymous_file();
    struct file_status status;
    ck_assert_int_eq(file_status_get(file, &status), 0);
    ck_assert_uint_eq(status.mode, 0600);
    ck_assert(status.is_regular);
    ck_assert_uint_eq(status.user, process_user());
    ck_assert_int_eq(fcntl(file, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);

    ck_assert_int_eq(file_commit(file, 0, MIB), 0);
    ck_assert_int_eq(ftruncate(file, 0), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0); /* later seals are still possible */
    file_close(file);
}
END_TEST

START_TEST(a_memory_file_of_huge_pages_is_told_from_others)
{
    int usual = anonymous_file();
    ck_assert(file_has_usual_pages(usual));
    file_close(usual);
    int huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB); /* needs none to be there */
    if (huge >= 0) {
        ck_assert(!file_has_usual_pages(huge));
        file_close(huge);
    }
}
END_TEST

START_TEST(a_file_has_no_name_until_published_and_then_its_exact_mode)
{
    mode_t mask = umask(0077);
    int file;
    ck_assert_int_eq(file_create_unnamed(&file, directory, 0660), 0);
    umask(mask);
    int found;
    ck_assert_int_eq(file_open(&found, directory, "name", false), -ENOENT);
    ck_assert_int_eq(file_publish(file, directory, "name"), 0);

    struct file_status ours, theirs;
    ck_assert_int_eq(file_open(&found, directory, "name", false), 0);
    ck_assert_int_eq(file_status_get(file, &ours), 0);
    ck_assert_int_eq(file_status_get(found, &theirs), 0);
    ck_assert(ours.device == theirs.device && ours.inode == theirs.inode);
    ck_assert_uint_eq(theirs.mode, 0660);
    ck_assert_uint_eq(theirs.links, 1);
    ck_assert_int_eq(fcntl(found, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    file_close(found);
    file_close(file);
    ck_assert_int_eq(file_unlink(directory, "name"), 0);
    ck_assert_int_eq(file_unlink(directory, "name"), -ENOENT);
}
END_TEST

START_TEST(a_taken_name_is_not_replaced)
{
    int first = unnamed_file(), second = unnamed_file();
    ck_assert_int_eq(file_publish(first, directory, "name"), 0);
    ck_assert_int_eq(file_publish(second, directory, "name"), -EEXIST);
    ck_assert_int_eq(file_publish(second, "/nonexistent", "name"), -ENOENT);
    file_close(first);
    file_close(second);
    ck_assert_int_eq(file_unlink(directory, "name"), 0);
}
END_TEST

START_TEST(a_file_system_that_does_not_commit_memory_is_refused)
{
    int file = -2;
    int error = file_create_unnamed(&file, "/proc", 0600);
    ck_assert(error == -EOPNOTSUPP || error == -EACCES); /* EACCES: not root, and asked first */
    ck_assert_int_eq(file_open(&file, "/proc/self", "status", true), -EOPNOTSUPP);
    ck_assert_int_eq(file, -2);
}
END_TEST

START_TEST(a_link_is_not_followed)
{
    char link[256];
    snprintf(link, sizeof link, "%s/link", directory);
    ck_assert_int_eq(symlink("/etc/passwd", link), 0);
    int file;
    ck_assert_int_eq(file_open(&file, directory, "link", true), -ELOOP);
    ck_assert_int_eq(unlink(link), 0);
}
END_TEST

START_TEST(what_is_not_a_regular_file_neither_blocks_nor_passes_for_one)
{
    char path[256];
    struct file_status status;
    int file;
    snprintf(path, sizeof path, "%s/fifo", directory);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    for (int read_only = 0; read_only < 2; read_only++) {
        ck_assert_int_eq(file_open(&file, directory, "fifo", read_only), 0);
        ck_assert_int_eq(file_status_get(file, &status), 0);
        ck_assert(!status.is_regular);
        file_close(file);
    }
    ck_assert_int_eq(unlink(path), 0);

    snprintf(path, sizeof path, "%s/directory", directory);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(file_open(&file, directory, "directory", false), -EISDIR);
    ck_assert_int_eq(file_open(&file, directory, "directory", true), 0);
    ck_assert_int_eq(file_status_get(file, &status), 0);
    ck_assert(!status.is_regular);
    file_close(file);
    ck_assert_int_eq(rmdir(path), 0);

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.80s/socket", directory);
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(server, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(file_open(&file, directory, "socket", false), -ENXIO);
    close(server);
    ck_assert_int_eq(unlink(address.sun_path), 0);
}
END_TEST

/* What tells that the main thread has ended is the trap itself: its files are gone from /proc. */
static void *reopen_alone(void *arg)
{
    int file = *(int *)arg, reopened;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    while (access(path, F_OK) == 0)
        thread_yield();
    _exit(file_reopen(&reopened, file) == 0 ? 0 : 1);
}

START_TEST(a_file_can_be_reopened_after_the_main_thread_has_ended)
{
    static int file;
    file = anonymous_file();
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, reopen_alone, &file) != 0)
            _exit(2);
        pthread_exit(NULL);
    }
    child_succeeds(child);
    file_close(file);
}
END_TEST

START_TEST(reading_is_exact_or_no_data)
{
    int file = unnamed_file();
    char bytes[4] = "";
    ck_assert_int_eq(file_write_at(file, 3, "abcd", 4), 0);
    ck_assert_int_eq(file_read_at(file, 3, bytes, 4), 0);
    ck_assert_mem_eq(bytes, "abcd", 4);
    ck_assert_int_eq(file_read_at(file, 4, bytes, 4), -ENODATA);
    ck_assert_int_eq(file_read_at(-1, 0, bytes, 4), -EBADF);
    file_close(file);
}
END_TEST

/* ---------------------------------------------------------------- committing */

START_TEST(a_commit_grows_the_file_and_allocates_it)
{
    int files[] = {unnamed_file(), anonymous_file()};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        ck_assert_int_eq(file_commit(files[i], 0, 0), 0);
        ck_assert_int_eq(file_commit(files[i], MIB, 33 * MIB), 0); /* more than two steps */
        ck_assert_uint_eq(file_bytes(files[i]), 34 * MIB);
        ck_assert_uint_ge(allocated_bytes(files[i]), 33 * MIB);
        ck_assert_int_eq(file_commit(files[i], MIB, 33 * MIB), 0);
        ck_assert_uint_lt(allocated_bytes(files[i]), 34 * MIB);
        ck_assert_int_eq(file_commit(files[i], UINT64_MAX - 4095, 4096), -ENOMEM);
        file_close(files[i]);
    }
}
END_TEST

START_TEST(a_decommitted_range_reads_as_zero_for_all_and_is_given_back)
{
    int files[] = {unnamed_file(), anonymous_file()};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        ck_assert_int_eq(file_commit(files[i], 0, 4 * MIB), 0);
        unsigned char *view = view_of(files[i], 4 * MIB);
        const unsigned char *other = view_of(files[i], 4 * MIB);
        memset(view, 1, 4 * MIB);
        ck_assert_int_eq(file_decommit(view + MIB, MIB), 0);
        ck_assert_uint_le(allocated_bytes(files[i]), 3 * MIB);
        ck_assert_int_eq(file_commit(files[i], MIB, MIB), 0);
        ck_assert_uint_eq(other[MIB - 1], 1);
        ck_assert_uint_eq(other[MIB], 0);
        ck_assert_uint_eq(other[2 * MIB - 1], 0);
        ck_assert_uint_eq(other[2 * MIB], 1);
        memory_release(view, 4 * MIB);
        memory_release((void *)(uintptr_t)other, 4 * MIB);
        file_close(files[i]);
    }
}
END_TEST

START_TEST(a_range_sealed_against_writers_cannot_be_given_back)
{
    int file = anonymous_file();
    ck_assert_int_eq(file_commit(file, 0, MIB), 0);
    void *view = view_of(file, MIB);
    ck_assert_int_eq(fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    ck_assert_int_eq(file_decommit(view, MIB), -EOPNOTSUPP);
    memory_release(view, MIB);
    file_close(file);
}
END_TEST

/* Mounts a tmpfs of a few MiB over the test's directory, for this process alone. False: not allowed to. */
static bool mount_small(const char *options)
{
    if (unshare(CLONE_NEWNS) < 0)
        return false;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount("test", directory, "tmpfs", 0, options) == 0;
}

START_TEST(a_full_file_system_is_no_memory_and_no_signal)
{
    if (!mount_small("size=1m")) {
        skipped("a_full_file_system_is_no_memory_and_no_signal", "mounting takes privilege");
        return;
    }
    int file = unnamed_file();
    ck_assert_int_eq(file_commit(file, 0, MIB / 2), 0);
    ck_assert_int_eq(file_commit(file, MIB / 2, MIB), -ENOMEM);
    ck_assert_uint_eq(file_bytes(file), MIB / 2);
    ck_assert_uint_eq(allocated_bytes(file), MIB / 2);
    ck_assert_int_eq(file_commit(file, MIB / 2, MIB / 2), 0);

    /* Full to the last page: all that was promised can be written. */
    int other = unnamed_file();
    ck_assert_int_eq(file_commit(other, 0, platform_page_size()), -ENOMEM);
    unsigned char *view = view_of(file, MIB);
    memset(view, 1, MIB);
    memory_release(view, MIB);

    uint64_t bytes, bytes_free;
    ck_assert_int_eq(directory_space(directory, &bytes, &bytes_free), 0);
    ck_assert_uint_eq(bytes, MIB);
    ck_assert_uint_eq(bytes_free, 0);
    file_close(other);
    file_close(file);
    ck_assert_int_eq(umount2(directory, 0), 0);
}
END_TEST

START_TEST(a_failed_commit_takes_nothing_back_that_was_committed_before_but_never_touched)
{
    if (!mount_small("size=8m")) {
        skipped("a_failed_commit_takes_nothing_back...", "mounting takes privilege");
        return;
    }
    int ballast = unnamed_file(), file = unnamed_file();
    ck_assert_int_eq(file_commit(ballast, 0, 3 * MIB), 0);
    ck_assert_int_eq(file_commit(file, 0, 4 * MIB), 0);
    ck_assert_int_eq(file_commit(file, 0, 7 * MIB), -ENOMEM); /* gets as far as 5 MiB */
    ck_assert_uint_eq(allocated_bytes(file), 4 * MIB);
    file_close(file);
    file_close(ballast);
    ck_assert_int_eq(umount2(directory, 0), 0);
}
END_TEST

START_TEST(a_hopeless_commit_of_many_steps_leaves_the_file_system_as_it_was)
{
    if (!mount_small("size=64m")) {
        skipped("a_hopeless_commit_of_many_steps...", "mounting takes privilege");
        return;
    }
    int file = unnamed_file();
    ck_assert_int_eq(file_commit(file, 0, MIB), 0);
    ck_assert_int_eq(file_commit(file, 0, 72 * MIB), -ENOMEM);
    ck_assert_uint_eq(allocated_bytes(file), MIB);
    ck_assert_int_eq(file_commit(file, 0, 64 * MIB), 0);
    file_close(file);
    ck_assert_int_eq(umount2(directory, 0), 0);
}
END_TEST

static bool limit_signal_is_pending(void)
{
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGXFSZ) == 1;
}

START_TEST(a_file_size_limit_is_no_memory_and_no_signal)
{
    struct rlimit before, limit;
    sigset_t mask_before, mask_after;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    int file = anonymous_file();
    pthread_sigmask(SIG_BLOCK, NULL, &mask_before);
    limit = before;
    limit.rlim_cur = MIB;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int within = file_commit(file, 0, MIB), beyond = file_commit(file, MIB, MIB),
        write = file_write_at(file, MIB, "", 1);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_int_eq(within, 0);
    ck_assert_int_eq(beyond, -ENOMEM);
    ck_assert_int_eq(write, -ENOMEM);
    ck_assert(!limit_signal_is_pending());
    pthread_sigmask(SIG_BLOCK, NULL, &mask_after);
    for (int number = 1; number < 32; number++)
        ck_assert_int_eq(sigismember(&mask_before, number), sigismember(&mask_after, number));
    file_close(file);
}
END_TEST

START_TEST(the_programs_own_pending_signal_stays_pending)
{
    sigset_t set;
    struct rlimit before, limit;
    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_kill(pthread_self(), SIGXFSZ);
    int file = anonymous_file();
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = MIB;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int error = file_commit(file, MIB, MIB);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_int_eq(error, -ENOMEM);
    ck_assert(limit_signal_is_pending());
    ck_assert_int_eq(sigtimedwait(&set, NULL, &(struct timespec){0}), SIGXFSZ);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    file_close(file);
}
END_TEST

static void *commit_cancelled(void *arg)
{
    pthread_cancel(pthread_self());
    int error = file_commit(*(int *)arg, 0, MIB);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return (void *)(intptr_t)(error + 1);
}

START_TEST(a_cancelled_thread_finishes_its_commit)
{
    int file = anonymous_file();
    pthread_t thread;
    void *result;
    ck_assert_int_eq(pthread_create(&thread, NULL, commit_cancelled, &file), 0);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_int_eq((intptr_t)result, 1);
    file_close(file);
}
END_TEST

/* ---------------------------------------------------------------- views */

START_TEST(a_view_larger_than_its_file_sees_growth_made_elsewhere)
{
    int file = anonymous_file();
    unsigned char *view = view_of(file, GIB);
    pid_t child = fork();
    if (child == 0) {
        int own;
        void *mapped;
        if (file_reopen(&own, file) != 0 || file_commit(own, 0, MIB) != 0 || file_map(&mapped, own, 0, MIB, false) != 0)
            _exit(1);
        memset(mapped, 7, MIB);
        _exit(0);
    }
    child_succeeds(child);
    ck_assert_uint_eq(view[0], 7);
    ck_assert_uint_eq(view[MIB - 1], 7);
    memory_release(view, GIB);
    file_close(file);
}
END_TEST

START_TEST(a_view_is_at_the_wanted_address_or_nowhere)
{
    int file = anonymous_file();
    ck_assert_int_eq(file_commit(file, 0, MIB), 0);
    void *view, *second = NULL;
    ck_assert_int_eq(file_map(&view, file, FREE_ADDRESS, GIB, false), 0);
    ck_assert_uint_eq((uintptr_t)view, FREE_ADDRESS);
    *(volatile char *)view = 1;
    ck_assert_int_eq(file_map(&second, file, FREE_ADDRESS + GIB - platform_page_size(), MIB, false), -EADDRINUSE);
    ck_assert_ptr_null(second);
    ck_assert_int_eq(*(volatile char *)view, 1);
    memory_release(view, GIB);
    file_close(file);
}
END_TEST

START_TEST(a_read_only_file_gives_only_read_only_views)
{
    int file = unnamed_file(), reader;
    ck_assert_int_eq(file_commit(file, 0, MIB), 0);
    ck_assert_int_eq(file_publish(file, directory, "name"), 0);
    ck_assert_int_eq(file_open(&reader, directory, "name", true), 0);
    void *view;
    ck_assert_int_eq(file_map(&view, reader, 0, MIB, false), -EACCES);
    ck_assert_int_eq(file_map(&view, reader, 0, MIB, true), 0);
    ck_assert_int_eq(mprotect(view, MIB, PROT_READ | PROT_WRITE), -1);
    ck_assert_int_eq(*(volatile char *)view, 0);
    memory_release(view, MIB);
    file_close(reader);
    file_close(file);
    ck_assert_int_eq(file_unlink(directory, "name"), 0);
}
END_TEST

/* ---------------------------------------------------------------- directories */

START_TEST(a_directory_of_ones_own_is_made_once_and_found_again)
{
    char path[256];
    struct stat status;
    mode_t mask = umask(0);
    snprintf(path, sizeof path, "%s/own", directory);
    ck_assert_int_eq(directory_ensure_own(path), 0);
    ck_assert_int_eq(directory_ensure_own(path), 0);
    umask(mask);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0700);
    ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

START_TEST(a_directory_that_others_can_change_is_refused)
{
    char path[256], link[256];
    snprintf(path, sizeof path, "%s/own", directory);
    snprintf(link, sizeof link, "%s/link", directory);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(symlink("own", link), 0);
    ck_assert_int_eq(directory_ensure_own(link), -EPERM);
    ck_assert_int_eq(unlink(link), 0);
    ck_assert_int_eq(chmod(path, 0770), 0);
    ck_assert_int_eq(directory_ensure_own(path), -EPERM);
    ck_assert_int_eq(chmod(path, 0702), 0);
    ck_assert_int_eq(directory_ensure_own(path), -EPERM);
    ck_assert_int_eq(chmod(path, 0755), 0);
    ck_assert_int_eq(directory_ensure_own(path), 0);
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(path, 65534, 65534), 0);
        ck_assert_int_eq(directory_ensure_own(path), -EPERM);
    }
    ck_assert_int_eq(rmdir(path), 0);

    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    file_close(file);
    ck_assert_int_eq(directory_ensure_own(path), -EPERM);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(directory_ensure_own("/nonexistent/own"), -ENOENT);
}
END_TEST

static int visit_name(const char *name, void *arg)
{
    ck_assert_str_eq(name, "file");
    (*(int *)arg)++;
    return 5;
}

static int visit_all(const char *name, void *arg)
{
    (void)name;
    (*(int *)arg)++;
    return 0;
}

START_TEST(a_walk_meets_regular_files_only_and_stops_when_told)
{
    char link[256], sub[256];
    int visits = 0;
    snprintf(link, sizeof link, "%s/link", directory);
    snprintf(sub, sizeof sub, "%s/sub", directory);
    int file = unnamed_file();
    ck_assert_int_eq(file_publish(file, directory, "file"), 0);
    ck_assert_int_eq(symlink("file", link), 0);
    ck_assert_int_eq(mkdir(sub, 0700), 0);
    ck_assert_int_eq(directory_walk(directory, visit_name, &visits), 5);
    ck_assert_int_eq(directory_walk(directory, visit_all, &visits), 0);
    ck_assert_int_eq(visits, 2);
    ck_assert_int_eq(directory_walk("/nonexistent", visit_all, &visits), -ENOENT);
    file_close(file);
    ck_assert_int_eq(rmdir(sub), 0);
    ck_assert_int_eq(unlink(link), 0);
    ck_assert_int_eq(file_unlink(directory, "file"), 0);
}
END_TEST

/* ---------------------------------------------------------------- liveness */

/* A loop test runs with 0: a memory file without a name, 1: a named file system. */
static int liveness_file(int kind)
{
    return kind == 0 ? anonymous_file() : unnamed_file();
}

/* Waits until a slot is free; the kernel lets go a moment after the process is gone. */
static bool released_soon(int file, uint64_t slot)
{
    for (int i = 0; i < 10000; i++) {
        if (liveness_probe(file, slot) == 0)
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

/* Waits to be killed, but not for ever: the test may have failed. */
static _Noreturn void wait_for_kill(void)
{
    alarm(60);
    for (;;)
        pause();
}

/* Forks a process that takes the slot, says so and waits to be killed. */
static pid_t fork_holder(int file, bool with_child, pid_t *ret_child)
{
    int ready[2];
    ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
    pid_t holder = fork();
    if (holder == 0) {
        struct liveness liveness;
        pid_t child = 0;
        if (liveness_take(&liveness, file, SLOT) != 0)
            _exit(1);
        if (with_child)
            child = fork();
        if (child == 0 && with_child)
            wait_for_kill();
        if (write(ready[1], &child, sizeof child) != sizeof child)
            _exit(2);
        wait_for_kill();
    }
    ck_assert_int_eq(read(ready[0], ret_child, sizeof *ret_child), sizeof *ret_child);
    close(ready[0]);
    close(ready[1]);
    return holder;
}

START_TEST(a_slot_is_held_from_take_to_give)
{
    int file = liveness_file(_i);
    struct liveness liveness, second;
    ck_assert_int_eq(liveness_probe(file, SLOT), 0);
    ck_assert_int_eq(liveness_take(&liveness, file, SLOT), 0);
    ck_assert_int_eq(liveness_probe(file, SLOT), 1);
    ck_assert_int_eq(liveness_probe(file, SLOT + 1), 0);
    ck_assert_int_eq(liveness_take(&second, file, SLOT), -EBUSY);
    ck_assert_int_eq(liveness_take(&second, file, SLOT + 1), 0);
    liveness_give(&liveness);
    ck_assert_ptr_null(liveness.mapping);
    ck_assert_int_eq(liveness_probe(file, SLOT), 0);
    ck_assert_int_eq(liveness_probe(file, SLOT + 1), 1);
    liveness_give(&second);
    liveness_give(&second);
    file_close(file);
}
END_TEST

START_TEST(a_slot_is_not_lost_by_closing_other_descriptors_of_the_file)
{
    int file = liveness_file(_i), other;
    struct liveness liveness;
    ck_assert_int_eq(file_reopen(&other, file), 0);
    int duplicate = fcntl(file, F_DUPFD_CLOEXEC, 0);
    ck_assert_int_eq(liveness_take(&liveness, file, SLOT), 0);
    file_close(duplicate);
    file_close(file);
    ck_assert_int_eq(liveness_probe(other, SLOT), 1);
    liveness_give(&liveness);
    ck_assert_int_eq(liveness_probe(other, SLOT), 0);
    file_close(other);
}
END_TEST

START_TEST(a_slot_is_released_by_kill)
{
    int file = liveness_file(_i);
    pid_t none, holder = fork_holder(file, false, &none);
    struct liveness liveness;
    ck_assert_int_eq(liveness_probe(file, SLOT), 1);
    ck_assert_int_eq(liveness_take(&liveness, file, SLOT), -EBUSY);
    kill(holder, SIGKILL);
    ck_assert(released_soon(file, SLOT)); /* of a zombie: it is reaped only afterwards */
    ck_assert_int_eq(waitpid(holder, NULL, 0), holder);
    ck_assert_int_eq(liveness_take(&liveness, file, SLOT), 0);
    liveness_give(&liveness);
    file_close(file);
}
END_TEST

START_TEST(a_slot_is_not_kept_by_a_forked_child_of_the_dead)
{
    int file = liveness_file(_i);
    pid_t child, holder = fork_holder(file, true, &child);
    ck_assert_int_eq(liveness_probe(file, SLOT), 1);
    kill(holder, SIGKILL);
    ck_assert_int_eq(waitpid(holder, NULL, 0), holder);
    ck_assert(released_soon(file, SLOT));
    ck_assert_int_eq(kill(child, 0), 0); /* alive all the while */
    kill(child, SIGKILL);
    file_close(file);
}
END_TEST

START_TEST(a_slot_is_released_by_exec)
{
    int file = liveness_file(_i);
    int end[2];
    ck_assert_int_eq(pipe(end), 0);
    pid_t holder = fork();
    if (holder == 0) {
        struct liveness liveness;
        if (liveness_take(&liveness, file, SLOT) != 0 || dup2(end[0], STDIN_FILENO) < 0)
            _exit(1);
        close(end[1]);
        execlp("cat", "cat", (char *)NULL); /* lives until we close our end */
        _exit(2);
    }
    close(end[0]);
    ck_assert(released_soon(file, SLOT));
    ck_assert_int_eq(kill(holder, 0), 0);
    close(end[1]);
    child_succeeds(holder);
    file_close(file);
}
END_TEST

/* ---------------------------------------------------------------- processes and threads */

START_TEST(the_boot_has_a_name_that_stays)
{
    uint8_t first[16], second[16], zeros[16] = {0};
    boot_id_get(first);
    boot_id_get(second);
    ck_assert_mem_eq(first, second, 16);
    ck_assert_mem_ne(first, zeros, 16);
}
END_TEST

START_TEST(random_bytes_differ_and_no_more_than_asked_for_are_written)
{
    uint8_t first[33] = {0}, second[33] = {0};
    random_fill(first, 32);
    random_fill(second, 32);
    ck_assert_mem_ne(first, second, 32);
    ck_assert_uint_eq(first[32], 0);
    random_fill(NULL, 0);
}
END_TEST

static void *other_thread_id(void *arg)
{
    *(uint32_t *)arg = thread_id();
    thread_yield();
    return NULL;
}

START_TEST(identities_are_those_of_the_system)
{
    uint32_t other = 0;
    pthread_t thread;
    ck_assert_uint_eq(process_id(), (uint32_t)getpid());
    ck_assert_uint_eq(thread_id(), process_id());
    ck_assert_uint_eq(process_user(), geteuid());
    ck_assert(!process_is_privileged());
    uint64_t before = (uint64_t)time(NULL), now = time_now();
    ck_assert(before <= now && now <= (uint64_t)time(NULL) + 1); /* whose clock is a coarser one */
    ck_assert_int_eq(pthread_create(&thread, NULL, other_thread_id, &other), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_ne(other, 0);
    ck_assert_uint_ne(other, thread_id());
}
END_TEST

static int leaves;
static void *left;

static void leave(void *arg)
{
    leaves++;
    left = arg;
}

static void *set_twice(void *arg)
{
    int ignored;
    if (thread_on_exit(leave, &ignored) < 0 || thread_on_exit(leave, arg) < 0)
        return arg;
    return NULL;
}

START_TEST(the_end_of_a_thread_is_told_once_with_the_last_arg)
{
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        void *failed;
        ck_assert_int_eq(pthread_create(&thread, NULL, set_twice, &leaves), 0);
        ck_assert_int_eq(pthread_join(thread, &failed), 0);
        ck_assert_ptr_null(failed);
        ck_assert_int_eq(leaves, i + 1);
        ck_assert_ptr_eq(left, &leaves);
    }
}
END_TEST

static int forks_before, forks_parent, forks_child;

static void fork_before(void)
{
    forks_before++;
}

static void fork_parent(void)
{
    forks_parent++;
}

static void fork_child(void)
{
    forks_child++;
}

START_TEST(a_fork_is_told_on_both_sides)
{
    ck_assert_int_eq(process_on_fork(fork_before, fork_parent, fork_child), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(forks_before == 1 && forks_parent == 0 && forks_child == 1 ? 0 : 1);
    child_succeeds(child);
    ck_assert(forks_before == 1 && forks_parent == 1 && forks_child == 0);
}
END_TEST

#define MUTEX_ROUNDS 50000

static struct mutex mutex;
static uint64_t mutex_counter;

static void *count_under_mutex(void *arg)
{
    for (int i = 0; i < MUTEX_ROUNDS; i++) {
        mutex_lock(&mutex);
        mutex_counter++;
        if (i % 1024 == 0)
            thread_yield(); /* so that others come to wait; each may be long on a busy machine */
        mutex_unlock(&mutex);
    }
    return arg;
}

START_TEST(a_mutex_admits_one_thread_at_a_time_and_wakes_all_who_wait)
{
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count_under_mutex, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(mutex_counter, COUNT_OF(threads) * MUTEX_ROUNDS);
    ck_assert_uint_eq(load_relaxed(&mutex.state), 0);
}
END_TEST

START_TEST(a_crime_is_one_line_and_an_abort)
{
    int ends[2], status;
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        signal(SIGABRT, SIG_DFL); /* a sanitizer would have its say too */
        dup2(ends[1], STDERR_FILENO);
        crime_abort("cairn: double free of 0x1234");
    }
    close(ends[1]);
    char text[128] = "";
    ck_assert_int_gt(read(ends[0], text, sizeof text - 1), 0);
    ck_assert_str_eq(text, "cairn: double free of 0x1234\n");
    ck_assert_int_eq(read(ends[0], text, sizeof text), 0);
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
    TCase *tests = tcase_create(name);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 30);
    suite_add_tcase(suite, tests);
    return tests;
}

static void add_memory(TCase *tests)
{
    tcase_add_test(tests, reserved_memory_can_be_committed_in_part_and_is_zero);
    tcase_add_test(tests, decommitted_memory_reads_as_zero_and_stays_usable);
    tcase_add_test(tests, an_absurd_reservation_is_no_memory_and_touches_nothing);
}

static void add_files(TCase *tests)
{
    tcase_add_test(tests, an_anonymous_file_is_private_and_cannot_shrink);
    tcase_add_test(tests, a_memory_file_of_huge_pages_is_told_from_others);
    tcase_add_test(tests, a_file_has_no_name_until_published_and_then_its_exact_mode);
    tcase_add_test(tests, a_taken_name_is_not_replaced);
    tcase_add_test(tests, a_file_system_that_does_not_commit_memory_is_refused);
    tcase_add_test(tests, a_link_is_not_followed);
    tcase_add_test(tests, what_is_not_a_regular_file_neither_blocks_nor_passes_for_one);
    tcase_add_test(tests, a_file_can_be_reopened_after_the_main_thread_has_ended);
    tcase_add_test(tests, reading_is_exact_or_no_data);
    tcase_add_test(tests, a_view_larger_than_its_file_sees_growth_made_elsewhere);
    tcase_add_test(tests, a_view_is_at_the_wanted_address_or_nowhere);
    tcase_add_test(tests, a_read_only_file_gives_only_read_only_views);
}

static void add_commit(TCase *tests)
{
    tcase_add_test(tests, a_commit_grows_the_file_and_allocates_it);
    tcase_add_test(tests, a_full_file_system_is_no_memory_and_no_signal);
    tcase_add_test(tests, a_failed_commit_takes_nothing_back_that_was_committed_before_but_never_touched);
    tcase_add_test(tests, a_hopeless_commit_of_many_steps_leaves_the_file_system_as_it_was);
    tcase_add_test(tests, a_file_size_limit_is_no_memory_and_no_signal);
    tcase_add_test(tests, the_programs_own_pending_signal_stays_pending);
    tcase_add_test(tests, a_cancelled_thread_finishes_its_commit);
}

static void add_directories(TCase *tests)
{
    tcase_add_test(tests, a_directory_of_ones_own_is_made_once_and_found_again);
    tcase_add_test(tests, a_directory_that_others_can_change_is_refused);
    tcase_add_test(tests, a_walk_meets_regular_files_only_and_stops_when_told);
}

static void add_liveness(TCase *tests)
{
    tcase_add_loop_test(tests, a_slot_is_held_from_take_to_give, 0, 2);
    tcase_add_loop_test(tests, a_slot_is_not_lost_by_closing_other_descriptors_of_the_file, 0, 2);
    tcase_add_loop_test(tests, a_slot_is_released_by_kill, 0, 2);
    tcase_add_loop_test(tests, a_slot_is_released_by_exec, 0, 2);
}

static void add_processes(TCase *tests)
{
    tcase_add_test(tests, the_boot_has_a_name_that_stays);
    tcase_add_test(tests, random_bytes_differ_and_no_more_than_asked_for_are_written);
    tcase_add_test(tests, identities_are_those_of_the_system);
    tcase_add_test(tests, the_end_of_a_thread_is_told_once_with_the_last_arg);
    tcase_add_test(tests, a_fork_is_told_on_both_sides);
    tcase_add_test(tests, a_mutex_admits_one_thread_at_a_time_and_wakes_all_who_wait);
}

int main(void)
{
    Suite *suite = suite_create("platform");
    add_memory(add_case(suite, "memory"));
    add_files(add_case(suite, "files"));
    add_commit(add_case(suite, "commit"));
    add_directories(add_case(suite, "directories"));
    add_liveness(add_case(suite, "liveness"));
    add_processes(add_case(suite, "processes and threads"));
    TCase *ends = add_case(suite, "how processes end");
    tcase_set_tags(ends, "kernel");
    tcase_add_loop_test(ends, a_slot_is_not_kept_by_a_forked_child_of_the_dead, 0, 2);
    tcase_add_test(ends, a_crime_is_one_line_and_an_abort);

    TCase *kernel = add_case(suite, "what the kernel does with memory");
    tcase_set_tags(kernel, "kernel");
    tcase_add_test(kernel, locked_memory_can_be_decommitted_too);
    tcase_add_test(kernel, a_reservation_takes_at_most_an_eighth_of_the_address_space_limit);
    tcase_add_test(kernel, a_decommitted_range_reads_as_zero_for_all_and_is_given_back);
    tcase_add_test(kernel, a_range_sealed_against_writers_cannot_be_given_back);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
