/* SPDX-License-Identifier: MIT */
/* The front: chooses checks, shares seeds out to workers, shows how far they are, and keeps the results. */
#include "crash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct check checks[] = {
    {"step", "distinct states", 50000, 1000000, true, step_trial},
    {"kill", "kills", 2000, 60000, false, kill_trial},
    {"pair", "pairs of kills", 2000, 100000, true, pair_trial},
    {"storm", "kills", 10000, 1000000, false, storm_trial},
    {"life", "rounds of each kind", 200, 10000, false, life_trial},
};
_Static_assert(COUNT(checks) <= CHECKS, "a tally for each");

struct ledger *ledger;
uintptr_t library_begin, library_end;
char *fail_text;
bool full_run = true;
uint64_t trial_seed;
_Atomic uint64_t *at_step;
_Atomic uint32_t *skips_told;

static const char *library_path;
static const char *folder = ".";
static char run_directory[64];
static unsigned jobs;
static uint64_t quick_goal;  /* 0: the check's own */
static uint64_t tour_rounds; /* each tour so often, and nothing else; 0: by the seeds */
static pid_t main_process;

void fail(const char *format, ...)
{
    if (fail_text[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(fail_text, FAIL_TEXT, format, arguments);
        va_end(arguments);
    }
    _exit(99);
}

/* ---------------------------------------------------------------- the ledger */

static int find_library(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    if (strstr(info->dlpi_name, "libcairn.so") == NULL)
        return 0;
    library_path = strdup(info->dlpi_name);
    library_begin = info->dlpi_addr;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0)
            library_end = info->dlpi_addr + segment->p_vaddr + segment->p_memsz;
    }
    return 1;
}

static uint64_t hash_of_library(void)
{
    struct stat status;
    int file = open(library_path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) < 0)
        return 0;
    const unsigned char *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (off_t i = 0; bytes != MAP_FAILED && i < status.st_size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    munmap((void *)(uintptr_t)bytes, (size_t)status.st_size); /* NOLINT(performance-no-int-to-ptr) */
    close(file);
    return hash;
}

/* The ledger's name is the library's hash: another library begins anew, and the old one's figures stay. */
static void ledger_open(void)
{
    char path[400];
    uint64_t hash = hash_of_library() ^ sizeof *ledger; /* and a harness that counts otherwise */
    snprintf(path, sizeof path, "%s/ledger-%016llx", folder, (unsigned long long)hash);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, sizeof *ledger) < 0) {
        fprintf(stderr, "crash: %s: %s\n", path, strerror(errno));
        exit(2);
    }
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (ledger == MAP_FAILED)
        exit(2);
    ledger->library = hash;
}

bool ledger_add_state(uint64_t hash)
{
    hash += hash == 0;
    for (uint64_t i = 0; i < PLACES; i++) {
        _Atomic uint64_t *place = &ledger->states[(hash + i) % PLACES];
        uint64_t found = 0;
        if (atomic_compare_exchange_strong(place, &found, hash))
            return true;
        if (found == hash)
            return false;
    }
    fail("the ledger is full");
}

void raise_to(_Atomic uint64_t *most, uint64_t value)
{
    uint64_t seen = atomic_load(most);
    while (seen < value && !atomic_compare_exchange_weak(most, &seen, value))
        ;
}

/* ---------------------------------------------------------------- one trial */

/* Ends all that this process has started, and what those have: orphans come to a subreaper. */
static void end_children(void)
{
    char line[4096];
    snprintf(line, sizeof line, "/proc/self/task/%d/children", (int)getpid());
    int file = open(line, O_RDONLY | O_CLOEXEC);
    for (ssize_t bytes; file >= 0 && (bytes = pread(file, line, sizeof line - 1, 0)) > 0;) {
        line[bytes] = '\0';
        for (char *at = line; *at != '\0'; at++)
            kill((pid_t)strtol(at, &at, 10), SIGKILL);
        while (waitpid(-1, NULL, __WALL | WNOHANG) > 0)
            ;
    }
    close(file);
}

static void remove_directory(const char *path, unsigned *entries)
{
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        ++*entries;
        char inner[400];
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (unlink(inner) < 0 && errno == EISDIR)
            remove_directory(inner, entries);
    }
    if (directory != NULL)
        closedir(directory);
    rmdir(path);
}

struct job {
    const struct check *check;
    struct tally *tally;
    uint64_t seed, only_step;
    char directory[96];
};

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory != NULL && readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static unsigned mappings_of(const char *path)
{
    char line[600];
    unsigned count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, path) != NULL;
    if (maps != NULL)
        fclose(maps);
    return count;
}

/* In a process of its own, that outlives whoever it starts. */
static void run_trial(void *arg)
{
    struct job *job = arg;
    trial_seed = job->seed;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    setenv("CAIRN_DIR", job->directory, 1);
    unsigned descriptors = open_descriptors();
    uint64_t done = job->check->trial(job->seed, job->only_step, job->tally);
    if (open_descriptors() != descriptors)
        fail("%u descriptors were open before, and %u after", descriptors, open_descriptors());
    if (mappings_of(job->directory) != 0)
        fail("%u mappings were left", mappings_of(job->directory));
    if (waitpid(-1, NULL, WNOHANG | __WALL) != -1 || errno != ECHILD)
        fail("a process was left");
    atomic_fetch_add(&job->tally->done, done);
    atomic_fetch_add(&job->tally->trials, 1);
}

/* Slow is no hang, and how slow depends on what else the machine has to do. */
static int end_of_trial(pid_t process)
{
    uint64_t seen;
    do
        seen = atomic_load(at_step);
    while (process_runs_on(process, 120) && atomic_load(at_step) != seen);
    return process_end(process, 1);
}

static bool trial(struct job *job)
{
    unsigned left = 0;
    mkdir(job->directory, 0700);
    fail_text[0] = '\0';
    atomic_store(at_step, 0);
    int status = end_of_trial(process_start(run_trial, job));
    end_children(); /* whoever was orphaned by a trial that failed */
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    remove_directory(job->directory, &left);
    if (good && left != 0) {
        snprintf(fail_text, FAIL_TEXT, "%u names were left", left);
        good = false;
    }
    if (good)
        return true;
    atomic_fetch_add(&job->tally->failed, 1);
    printf("\nFAILED %s: seed %llu, step %llu: %s\n       ./dev crash --replay %s:%llu:%llu\n", job->check->name,
           (unsigned long long)job->seed, (unsigned long long)atomic_load(at_step),
           fail_text[0] != '\0' ? fail_text
           : status == -1       ? "it hangs"
                                : "it ended by a signal",
           job->check->name, (unsigned long long)job->seed, (unsigned long long)atomic_load(at_step));
    fflush(stdout);
    return false;
}

/* ---------------------------------------------------------------- workers */

struct work {
    const struct check *check;
    struct tally *tally;
    uint64_t goal;                /* of tally->done */
    uint64_t failed;              /* before this run */
    _Atomic uint64_t *tours_left; /* still to be begun; NULL: seeds as they come */
    unsigned number;
};

static uint64_t failures_max = 20;

static bool take_one(_Atomic uint64_t *left)
{
    uint64_t seen = atomic_load(left);
    while (seen != 0 && !atomic_compare_exchange_weak(left, &seen, seen - 1))
        ;
    return seen != 0;
}

/* The next seed of a trial; those between two tours are passed over where only tours are made. */
static uint64_t next_seed(const struct work *work)
{
    uint64_t seed;
    do
        seed = atomic_fetch_add(&work->tally->next_seed, 1);
    while (work->tours_left != NULL && seed % TOUR_ONE_IN != 0);
    return seed;
}

static bool goes_on(const struct work *work)
{
    if (atomic_load(&work->tally->failed) >= work->failed + failures_max)
        return false;
    return work->tours_left != NULL ? take_one(work->tours_left) : atomic_load(&work->tally->done) < work->goal;
}

static void work(void *arg)
{
    struct work *work = arg;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    fail_text = shared_memory(FAIL_TEXT);
    at_step = shared_memory(sizeof *at_step);
    if (work->check->pinned) {
        cpu_set_t cpus, one;
        sched_getaffinity(0, sizeof cpus, &cpus);
        CPU_ZERO(&one);
        unsigned wanted = work->number % (unsigned)CPU_COUNT(&cpus);
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &cpus) && wanted-- == 0)
                CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
    }
    struct job job = {.check = work->check, .tally = work->tally, .only_step = UINT64_MAX};
    snprintf(job.directory, sizeof job.directory, "%s/%u", run_directory, work->number);
    while (goes_on(work)) {
        job.seed = next_seed(work);
        (void)trial(&job);
    }
}

/* Milliseconds that so large a part of all calls did not take; a power of two of nanoseconds. */
static double latency_below(const struct tally *tally, double part)
{
    uint64_t all = 0, sum = 0;
    for (size_t i = 0; i < LATENCIES; i++)
        all += atomic_load(&tally->latencies[i]);
    size_t i = 0;
    while (i + 1 < LATENCIES && (double)(sum += atomic_load(&tally->latencies[i])) < part * (double)all)
        i++;
    return (double)(UINT64_C(1) << i) / 1e6;
}

static void show(const struct check *check, const struct tally *tally, uint64_t begin, uint64_t goal, uint64_t started,
                 bool last)
{
    static uint64_t shown;
    bool terminal = isatty(STDOUT_FILENO);
    if (!last && !terminal && now() - shown < UINT64_C(15000000000))
        return;
    shown = now();
    printf("%s%-6s %llu of %llu %s", terminal ? "\r\033[K" : "", check->name,
           (unsigned long long)(atomic_load(&tally->done) - begin), (unsigned long long)(goal - begin), check->what);
    if (tally->steps != 0)
        printf(", %llu steps, %llu stores, %llu changed", (unsigned long long)tally->steps,
               (unsigned long long)tally->stores, (unsigned long long)tally->changed);
    if (tally->longest != 0)
        printf(", longest call %.1f ms, 99.99 %% below %.3f ms, longest recovery and settling %.1f ms",
               (double)tally->longest / 1e6, latency_below(tally, 0.9999), (double)tally->longest_settle / 1e6);
    if (check->trial == storm_trial)
        printf(", an empty heap has grown by at most %.2f %% of that at work", (double)tally->drift / 100);
    printf(", %llu lost in the call, %llu failed, %.0f s%s", (unsigned long long)tally->lost,
           (unsigned long long)tally->failed, (double)(now() - started) / 1e9, terminal && !last ? "" : "\n");
    fflush(stdout);
}

static void run_check(const struct check *check, bool quick)
{
    struct tally *tally = &ledger->tallies[check - checks];
    uint64_t begin = quick ? atomic_load(&tally->done) : 0;
    uint64_t goal = begin + (!quick ? check->full : quick_goal != 0 ? quick_goal : check->quick);
    uint64_t started = now(), failed = atomic_load(&tally->failed);
    _Atomic uint64_t *left = NULL;
    if (check->trial == step_trial && tour_rounds != 0) {
        left = shared_memory(sizeof *left);
        atomic_store(left, tour_rounds * tours_count);
    }
    struct work each[64];
    for (unsigned i = 0; i < jobs; i++) {
        each[i] = (struct work){
            .check = check, .tally = tally, .goal = goal, .number = i, .failed = failed, .tours_left = left};
        (void)process_start(work, &each[i]);
    }
    for (unsigned running = jobs; running > 0;) {
        int status;
        pid_t ended = waitpid(-1, &status, WNOHANG);
        if (ended > 0) {
            running--;
            continue;
        }
        show(check, tally, begin, goal, started, false);
        struct timespec second = {.tv_nsec = 500000000};
        nanosleep(&second, NULL);
    }
    show(check, tally, begin, goal, started, true);
}

/* ---------------------------------------------------------------- the command */

static void interrupted(int number)
{
    (void)number;
    exit(130);
}

static void end_all(void)
{
    if (getpid() != main_process)
        return;
    end_children();
    unsigned entries = 0;
    remove_directory(run_directory, &entries);
}

static void status_of_all(void)
{
    printf("library %016llx\n", (unsigned long long)ledger->library);
    for (size_t i = 0; i < COUNT(checks); i++) {
        const struct tally *tally = &ledger->tallies[i];
        printf("%-6s %10llu of %10llu %-16s %3.0f %%  %llu trials, %llu steps, %llu changed, %llu lost, %llu failed\n",
               checks[i].name, (unsigned long long)tally->done, (unsigned long long)checks[i].full, checks[i].what,
               100.0 * (double)tally->done / (double)checks[i].full, (unsigned long long)tally->trials,
               (unsigned long long)tally->steps, (unsigned long long)tally->changed, (unsigned long long)tally->lost,
               (unsigned long long)tally->failed);
    }
}

/* For test/crash/coverage: offsets in the library. */
static void print_reached(void)
{
    for (size_t at = 0; at < REACHED_MAX; at++) {
        if (atomic_load(&ledger->reached[at]) != 0)
            printf("%zu\n", at);
    }
}

static void leave_out(const char *name)
{
    for (uint32_t kind = 1; kind < CALL_KINDS; kind++) {
        if (strcmp(call_name(kind), name) == 0) {
            calls_without |= UINT64_C(1) << kind;
            return;
        }
    }
    fprintf(stderr, "crash: no call \"%s\"\n", name);
    exit(2);
}

static const struct check *check_of(const char *name)
{
    for (size_t i = 0; i < COUNT(checks); i++)
        if (strncmp(checks[i].name, name, strlen(checks[i].name)) == 0)
            return &checks[i];
    fprintf(stderr, "crash: no check \"%s\"\n", name);
    exit(2);
}

static int replay(const char *what)
{
    const struct check *check = check_of(what);
    struct tally *scratch = shared_memory(sizeof *scratch);
    struct job job = {.check = check, .tally = scratch, .only_step = UINT64_MAX};
    unsigned long long seed = 0, step = 0;
    int read = sscanf(what + strlen(check->name), ":%llu:%llu", &seed, &step);
    if (read < 1)
        exit(2);
    job.seed = seed;
    if (read == 2)
        job.only_step = step;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    fail_text = shared_memory(FAIL_TEXT);
    at_step = shared_memory(sizeof *at_step);
    snprintf(job.directory, sizeof job.directory, "%s/replay", run_directory);
    bool good = trial(&job);
    printf("%s: seed %llu: %s, %llu steps, %llu changed\n", check->name, seed, good ? "good" : "failed",
           (unsigned long long)(scratch->steps + scratch->stores), (unsigned long long)scratch->changed);
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    bool quick = false, status = false, reached = false;
    const char *again = NULL;
    const struct check *chosen[CHECKS];
    size_t count = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0)
            quick = true, full_run = false;
        else if (strcmp(argv[i], "--status") == 0)
            status = true;
        else if (strcmp(argv[i], "--replay") == 0 && i + 1 < argc)
            again = argv[++i];
        else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc)
            jobs = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--goal") == 0 && i + 1 < argc)
            quick_goal = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--tours") == 0 && i + 1 < argc)
            tour_rounds = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--until-failure") == 0)
            failures_max = 1;
        else if (strcmp(argv[i], "--reached") == 0)
            reached = true;
        else if (strcmp(argv[i], "--without") == 0 && i + 1 < argc)
            leave_out(argv[++i]);
        else if (strcmp(argv[i], "--folder") == 0 && i + 1 < argc)
            folder = argv[++i];
        else if (count < CHECKS)
            chosen[count++] = check_of(argv[i]);
    }
    jobs = jobs < 1 ? 1 : jobs > 64 ? 64 : jobs;
    if (count == 0)
        for (; count < COUNT(checks); count++)
            chosen[count] = &checks[count];

    if (getenv("LD_BIND_NOW") == NULL) { /* no step goes through the dynamic linker */
        setenv("LD_BIND_NOW", "1", 1);
        execv("/proc/self/exe", argv);
    }
    dl_iterate_phdr(find_library, NULL);
    if (library_path == NULL) {
        fputs("crash: libcairn.so is not loaded\n", stderr);
        return 2;
    }
    ledger_open();
    if (status) {
        status_of_all();
        return 0;
    }
    if (reached) {
        print_reached();
        return 0;
    }
    snprintf(run_directory, sizeof run_directory, "/dev/shm/cairn-crash-XXXXXX");
    if (mkdtemp(run_directory) == NULL) {
        perror("crash: /dev/shm");
        return 2;
    }
    if (!stops_load(library_path))
        fputs("crash: no objdump: steps take five times as long\n", stderr);
    skips_told = shared_memory(sizeof *skips_told);
    main_process = getpid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    atexit(end_all);
    signal(SIGINT, interrupted);
    signal(SIGTERM, interrupted);
    signal(SIGHUP, interrupted);
    signal(SIGPIPE, interrupted); /* whoever read our lines has seen enough */
    if (again != NULL)
        return replay(again);
    unsigned failed = 0;
    unsigned long long skipped = 0;
    for (size_t i = 0; i < count; i++) {
        struct tally *tally = &ledger->tallies[chosen[i] - checks];
        uint64_t failures = atomic_load(&tally->failed), skips = atomic_load(&tally->skipped);
        run_check(chosen[i], quick);
        failed += atomic_load(&tally->failed) != (quick ? failures : 0); /* a full run is all of its shards */
        skipped += atomic_load(&tally->skipped) - skips;
    }
    printf("crash: %zu checks passed, %u failed; %llu rounds skipped; nothing left behind by those that passed\n",
           count - failed, failed, skipped);
    return failed == 0 ? 0 : 1;
}
