/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SKIPPED = 77 };

/* ---------------------------------------------------------------- endings */

static void say(const char *kind, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));

static void say(const char *kind, const char *format, va_list arguments)
{
    static char text[10000];
    vsnprintf(text, sizeof text, format, arguments);
    fprintf(stderr, "%s%s\n", kind, text);
}

void broken(const char *file, int line, const char *format, ...)
{
    const char *base = strrchr(file, '/');
    fprintf(stderr, "%s:%d: ", base != NULL ? base + 1 : file, line);
    va_list arguments;
    va_start(arguments, format);
    say("", format, arguments);
    va_end(arguments);
    fflush(NULL);
    _exit(1);
}

void skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("SKIPPED: ", format, arguments);
    va_end(arguments);
    fflush(NULL);
    _exit(SKIPPED);
}

static void tell_finding(const char *finding, void *arg)
{
    (void)arg;
    fprintf(stderr, "    %s\n", finding);
}

void require_sound(const char *file, int line, cairn_heap *heap)
{
    int findings = cairn_check(heap, tell_finding, NULL);
    if (findings != 0)
        broken(file, line, "cairn_check reports %d findings", findings);
}

/* ---------------------------------------------------------------- the directory */

static char directory[128];

void workspace_enter(void)
{
    const char *other = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "/dev/shm/cairn-test-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        snprintf(directory, sizeof directory, "%s/cairn-test-XXXXXX", other != NULL ? other : "/tmp");
        if (mkdtemp(directory) == NULL)
            broken(__FILE__, __LINE__, "%s: %s", directory, strerror(errno));
    }
    setenv("CAIRN_DIR", directory, 1);
    if (UNDER_TSAN)
        setenv("CAIRN_ADDRESS", "0x550000000000", 1);
}

static void remove_all(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (stream != NULL) {
        struct dirent *entry;
        while ((entry = readdir(stream)) != NULL) {
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                unlinkat(dirfd(stream), entry->d_name, 0) < 0)
                remove_all(dirfd(stream), entry->d_name);
        }
        closedir(stream);
    }
    unlinkat(parent, name, AT_REMOVEDIR);
}

void workspace_leave(void)
{
    remove_all(AT_FDCWD, directory);
    if (access(directory, F_OK) == 0)
        broken(__FILE__, __LINE__, "%s: cannot be removed", directory);
}

const char *workspace_directory(void)
{
    return directory[0] != '\0' ? directory : getenv("CAIRN_DIR");
}

const char *workspace_path(const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % COUNT(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", workspace_directory(), name);
    return path;
}

int workspace_entries(void)
{
    DIR *stream = opendir(workspace_directory());
    REQUIRE(stream != NULL);
    int count = -2; /* . and .. */
    while (readdir(stream) != NULL)
        count++;
    closedir(stream);
    return count;
}

/* ---------------------------------------------------------------- heaps */

cairn_heap *create_shared(const char *name, uint64_t bytes_max)
{
    cairn_options options = {.size = sizeof options, .name = name, .bytes_max = bytes_max};
    cairn_heap *heap;
    if (cairn_heap_create(&heap, &options) < 0)
        broken(__FILE__, __LINE__, "create %s: %s", name, cairn_last_error());
    return heap;
}

cairn_heap *open_shared(const char *name, uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    cairn_heap *heap;
    if (cairn_heap_open(&heap, name, &options) < 0)
        broken(__FILE__, __LINE__, "open %s: %s", name, cairn_last_error());
    return heap;
}

int open_and_close(const char *name, const cairn_options *options)
{
    cairn_heap *heap = untouched;
    int error = cairn_heap_open(&heap, name, options);
    REQUIRE(error == 0 || heap == untouched);
    if (error == 0)
        cairn_heap_close(heap);
    return error;
}

void write_file_at(const char *name, uint64_t offset, const void *bytes, size_t count)
{
    int file = open(workspace_path(name), O_RDWR | O_CLOEXEC);
    REQUIRE(pwrite(file, bytes, count, (off_t)offset) == (ssize_t)count);
    close(file);
}

void read_file_at(const char *name, uint64_t offset, void *bytes, size_t count)
{
    int file = open(workspace_path(name), O_RDONLY | O_CLOEXEC);
    REQUIRE(pread(file, bytes, count, (off_t)offset) == (ssize_t)count);
    close(file);
}

cairn_heap *create_private(uint64_t bytes_max)
{
    cairn_options options = {.size = sizeof options, .bytes_max = bytes_max};
    cairn_heap *heap;
    if (cairn_heap_create(&heap, &options) < 0)
        broken(__FILE__, __LINE__, "create: %s", cairn_last_error());
    return heap;
}

cairn_heap *create_nameless(const char *name)
{
    workspace_enter();
    cairn_heap *heap = create_shared(name, 0);
    workspace_leave();
    return heap;
}

cairn_stats stats_of(cairn_heap *heap)
{
    cairn_stats stats = {.size = sizeof stats};
    if (cairn_stats_get(heap, &stats) < 0)
        broken(__FILE__, __LINE__, "stats: %s", cairn_last_error());
    return stats;
}

uint64_t blocks_live(cairn_heap *heap)
{
    return stats_of(heap).blocks_live;
}

/* ---------------------------------------------------------------- processes */

void *shared_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        broken(__FILE__, __LINE__, "mmap: %s", strerror(errno));
    return memory;
}

void wait_for(_Atomic uint32_t *word, uint32_t at_least)
{
    for (;;) {
        uint32_t seen = atomic_load(word);
        if (seen >= at_least)
            return;
        syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
    }
}

void advance(_Atomic uint32_t *word)
{
    atomic_fetch_add(word, 1);
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void die_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
}

/* Whether a thread of this process other than this one is not asleep. */
static bool others_run(void)
{
    bool any = false;
    DIR *threads = opendir("/proc/self/task");
    for (struct dirent *entry; threads != NULL && (entry = readdir(threads)) != NULL;) {
        char path[64], line[128];
        snprintf(path, sizeof path, "/proc/self/task/%.20s/stat", entry->d_name);
        int file = atoi(entry->d_name) != gettid() ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t length = file >= 0 ? read(file, line, sizeof line - 1) : 0;
        line[length > 0 ? length : 0] = '\0';
        const char *state = strrchr(line, ')');
        any |= state != NULL && strncmp(state, ") S", 3) != 0;
        if (file >= 0)
            close(file);
    }
    if (threads != NULL)
        closedir(threads);
    return any;
}

/*
 * No sanitizer of gcc 12 holds its allocator's locks over a fork: one that another thread held just then, because it
 * began or wanted memory, stays locked in the child, which hangs. So the others go to sleep first; those that never do
 * are not waited for any longer than this.
 */
static void let_others_rest(void)
{
    for (int i = 0; i < 20 && others_run(); i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* First, and so behind what the library does before a fork. */
__attribute__((constructor)) static void watch_forks(void)
{
    if (UNDER_SANITIZER)
        (void)pthread_atfork(let_others_rest, NULL, NULL);
}

pid_t start(void (*run)(void *arg), void *arg)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        broken(__FILE__, __LINE__, "fork: %s", strerror(errno));
    if (child > 0)
        return child;
    die_with(parent);
    run(arg);
    fflush(NULL);
    _exit(0);
}

static int wait_status(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            broken(__FILE__, __LINE__, "waitpid: %s", strerror(errno));
    }
    return status;
}

void finish(pid_t child)
{
    int status = wait_status(child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        _exit(SKIPPED);
    if (WIFSIGNALED(status))
        broken(__FILE__, __LINE__, "a child died by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status) != 0)
        broken(__FILE__, __LINE__, "a child exited with %d", WEXITSTATUS(status));
}

void finish_by(pid_t child, int signal)
{
    int status = wait_status(child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != signal)
        broken(__FILE__, __LINE__, "a child ended with status %#x instead of signal %d", (unsigned)status, signal);
}

struct peer peer_start(const char *role, const char *argument)
{
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
        broken(__FILE__, __LINE__, "pipe: %s", strerror(errno));
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        broken(__FILE__, __LINE__, "fork: %s", strerror(errno));
    if (pid == 0) {
        die_with(parent);
        dup2(to[0], 0);
        dup2(from[1], 1);
        char *arguments[] = {(char[]){"peer"}, strdup(role), argument != NULL ? strdup(argument) : NULL, NULL};
        execv("/proc/self/exe", arguments);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    return (struct peer){.pid = pid, .to = to[1], .from = from[0]};
}

void peer_tell(const struct peer *peer, char word)
{
    if (write(peer->to, &word, 1) != 1)
        broken(__FILE__, __LINE__, "a peer does not listen any more");
}

void peer_hear(const struct peer *peer, char word)
{
    char heard;
    if (read(peer->from, &heard, 1) != 1)
        broken(__FILE__, __LINE__, "a peer ended instead of saying '%c'", word);
    if (heard != word)
        broken(__FILE__, __LINE__, "a peer said '%c' instead of '%c'", heard, word);
}

void peer_finish(struct peer *peer)
{
    close(peer->to);
    finish(peer->pid);
    close(peer->from);
}

int hear(void)
{
    unsigned char word;
    return read(0, &word, 1) == 1 ? word : -1;
}

void tell(char word)
{
    if (write(1, &word, 1) != 1)
        _exit(1);
}

/* ---------------------------------------------------------------- refusals */

cairn_heap *const untouched = (cairn_heap *)0x10;

uint64_t hash_of_file(const char *path)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    static unsigned char bytes[1 << 16];
    ssize_t count;
    while (file >= 0 && (count = read(file, bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < count; i++)
            hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    if (file >= 0)
        close(file);
    return hash;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A file that we have a writable view of changes with everything we do, refused or not. */
static bool has_writable_view(ino_t inode)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    static char line[PATH_MAX + 200];
    bool found = false;
    while (maps != NULL && !found && fgets(line, sizeof line, maps) != NULL) {
        char mode[8];
        unsigned long long mapped;
        found =
            sscanf(line, "%*s %7s %*s %*s %llu", mode, &mapped) == 2 && strcmp(mode, "rw-s") == 0 && mapped == inode;
    }
    if (maps != NULL)
        fclose(maps);
    return found;
}

static void look_at_directory(FILE *text)
{
    char *names[1024];
    size_t count = 0;
    DIR *stream = opendir(workspace_directory());
    struct dirent *entry;
    while (stream != NULL && (entry = readdir(stream)) != NULL && count < COUNT(names)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            names[count++] = strdup(entry->d_name);
    }
    qsort(names, count, sizeof names[0], compare_names);
    for (size_t i = 0; i < count; i++) {
        struct stat status;
        if (fstatat(dirfd(stream), names[i], &status, AT_SYMLINK_NOFOLLOW) == 0) {
            bool is_still = !S_ISDIR(status.st_mode) && !has_writable_view(status.st_ino);
            bool is_small = S_ISREG(status.st_mode) && status.st_size <= (off_t)MIB;
            fprintf(text, "entry %s mode %o links %lu user %u inode %llu bytes %lld blocks %lld hash %llx\n", names[i],
                    status.st_mode, (unsigned long)status.st_nlink, status.st_uid, (unsigned long long)status.st_ino,
                    is_still ? (long long)status.st_size : 0LL, is_still ? (long long)status.st_blocks : 0LL,
                    is_still && is_small ? (unsigned long long)hash_of_file(workspace_path(names[i])) : 0ULL);
        }
        free(names[i]);
    }
    if (stream != NULL)
        closedir(stream);
}

static void look_at_descriptors(FILE *text)
{
    DIR *stream = opendir("/proc/self/fd");
    struct dirent *entry;
    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        char target[PATH_MAX];
        ssize_t length = readlinkat(dirfd(stream), entry->d_name, target, sizeof target - 1);
        if (length < 0 || atoi(entry->d_name) == dirfd(stream))
            continue;
        target[length] = '\0';
        fprintf(text, "descriptor %s %s\n", entry->d_name, target);
    }
    if (stream != NULL)
        closedir(stream);
}

static void look_at_views(FILE *text)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    static char line[PATH_MAX + 200];
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (strstr(line, workspace_directory()) != NULL)
            fprintf(text, "view %s", line);
    }
    if (maps != NULL)
        fclose(maps);
}

/* Without a descriptor when there is none left: then only what can be seen is told, before and after alike. */
char *look_around(void)
{
    char *text = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    if (stream == NULL)
        broken(__FILE__, __LINE__, "no memory for a look around");
    look_at_descriptors(stream);
    look_at_views(stream);
    look_at_directory(stream);
    fclose(stream);
    return text;
}

void require_unchanged(const char *file, int line, const char *what, char *before)
{
    char *after = look_around();
    if (strcmp(before, after) != 0)
        broken(file, line, "%s: it left something behind\nbefore:\n%safter:\n%s", what, before, after);
    free(before);
    free(after);
}

static char *before_refusal;

/* So that the reason which is there afterwards is known to be a new one. */
static const char stale_name[] = "stale/reason";

void refusal_begin(void)
{
    before_refusal = look_around();
    if (cairn_heap_unlink(stale_name, NULL) != -EINVAL || strstr(cairn_last_error(), stale_name) == NULL)
        broken(__FILE__, __LINE__, "a '/' in a name was not refused");
}

void refusal_end(const char *file, int line, const char *call, long result, int error, int other)
{
    const char *reason = cairn_last_error();
    if (result != error && (other == 0 || result != other))
        broken(file, line, "%s: gives %ld (%s) instead of %d (%s); reason: %s", call, result,
               strerror((int)(result < 0 ? -result : result)), error, strerror(-error), reason);
    if (strstr(reason, stale_name) != NULL)
        broken(file, line, "%s: gives %ld and no reason", call, result);
    if (strlen(reason) < 12 || strchr(reason, ' ') == NULL || strchr(reason, '\n') != NULL)
        broken(file, line, "%s: \"%s\" is no sentence", call, reason);
    if (cairn_last_errno() != result)
        broken(file, line, "%s: gives %ld, but cairn_last_errno() %d (%s)", call, result, cairn_last_errno(), reason);
    require_unchanged(file, line, call, before_refusal);
}

/* ---------------------------------------------------------------- running */

/* Where each thread of the claim and of the processes that it started stands; calls by name where there is gdb. */
static void tell_where(pid_t claim)
{
    static const char script[] =
        "where() {\n"
        "    for thread in /proc/$1/task/*; do\n"
        "        echo \"$1 $(cat $thread/stat | cut -c-60) $(cat $thread/wchan $thread/syscall)\"\n"
        "    done\n"
        "    if command -v gdb >/dev/null; then\n"
        "        timeout -s KILL 20 gdb -p $1 -batch -ex 'thread apply all bt 20' | grep -E '^(#|Thr)'\n"
        "    fi\n"
        "    for child in $(cat /proc/$1/task/*/children); do (where $child); done\n"
        "}\n"
        "where $1 >&2 2>/dev/null\n";
    char number[24];
    snprintf(number, sizeof number, "%ld", (long)claim);
    fflush(NULL);
    pid_t shell = fork();
    if (shell == 0) {
        execlp("sh", "sh", "-c", script, "sh", number, (char *)NULL);
        _exit(1);
    }
    if (shell > 0)
        (void)wait_status(shell);
}

/* The claim's status; when its time is over, that is told, and it is ended. */
static int wait_claim(pid_t claim, unsigned seconds)
{
    int process = (int)syscall(SYS_pidfd_open, claim, 0);
    struct pollfd end = {.fd = process, .events = POLLIN};
    int found;
    do
        found = process >= 0 ? poll(&end, 1, (int)seconds * 1000) : 1;
    while (found < 0 && errno == EINTR);
    if (found == 0) {
        fprintf(stderr, "its time of %u s is over\n", seconds);
        tell_where(claim);
        kill(claim, SIGKILL);
    }
    if (process >= 0)
        close(process);
    return wait_status(claim);
}

int run_claims(const struct claim *claims, size_t count, unsigned seconds)
{
    const char *wanted = getenv("CAIRN_CLAIM");
    unsigned most = UNDER_SANITIZER ? seconds * 4 : seconds;
    int status = 0;
    bool any = false;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN); /* whoever stops listening, the directory is removed */
    for (size_t i = 0; i < count; i++) {
        if (wanted != NULL && strstr(claims[i].name, wanted) == NULL)
            continue;
        any = true;
        workspace_enter();
        pid_t parent = getpid();
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            die_with(parent);
            signal(SIGPIPE, SIG_DFL);
            alarm(most + 60); /* should its parent not do it */
            claims[i].run();
            fflush(NULL);
            _exit(0);
        }
        int ended = child > 0 ? wait_claim(child, most) : 1;
        workspace_leave();
        bool was_skipped = WIFEXITED(ended) && WEXITSTATUS(ended) == SKIPPED;
        if (was_skipped && status == 0)
            status = SKIPPED;
        if (ended != 0 && !was_skipped)
            status = 1;
        if (WIFSIGNALED(ended))
            fprintf(stderr, "ended by signal %d (%s)\n", WTERMSIG(ended), strsignal(WTERMSIG(ended)));
        printf("%s %s\n", ended == 0 ? "ok     " : was_skipped ? "skipped" : "FAILED ", claims[i].name);
    }
    if (!any)
        fprintf(stderr, "no claim has \"%s\" in its name\n", wanted);
    return any ? status : 1;
}

/* ---------------------------------------------------------------- descriptors that the program closes */

void close_all_and_open_own(struct own_files *ret_own)
{
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    for (int i = 0; i < OWN_FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "own-%d", i);
        ret_own->files[i] = open(workspace_path(name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        REQUIRE_EQUAL(ret_own->files[i], 3 + i);
        REQUIRE_EQUAL(write(ret_own->files[i], name, sizeof name), sizeof name);
    }
}

void require_own_unharmed(const struct own_files *own)
{
    for (int i = 0; i < OWN_FILES; i++) {
        char name[32], read[32];
        snprintf(name, sizeof name, "own-%d", i);
        struct stat status;
        REQUIRE(fstat(own->files[i], &status) == 0); /* still open */
        REQUIRE_EQUAL(status.st_size, sizeof name);
        REQUIRE(status.st_blocks * 512 <= 65536);
        REQUIRE_EQUAL(pread(own->files[i], read, sizeof read, 0), sizeof read);
        REQUIRE(strcmp(read, name) == 0);
    }
}
