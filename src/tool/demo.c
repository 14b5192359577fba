/* SPDX-License-Identifier: MIT */
/*
 * The stage of the demo. demo.h tells who plays; here is the play, and the table of what was measured. Nothing in the
 * table is taken for granted: each row says whether its claim held, and the exit code is 0 only if all did.
 */
#include "demo.h"

#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIRECTORY_DEFAULT "/usr"
#define SMALLEST_HEAP_MAX (256u << 10)

/* How long the readers search the finished index at least, so that a tiny directory gives figures, too. */
#define SEARCH_NS UINT64_C(500000000)

/* Below this, what an allocator takes before the first block is most of the weight of a copy. */
#define COPY_WORTH_COMPARING (1u << 20)

/* The longest that an act may take whose work is bounded. Indexing is bounded by its silence only (demo_crew.c). */
#define ACT_MAX_NS (UINT64_C(300) * 1000000000)

enum outcome {
    ALL_HELD,
    NOT_ALL_HELD,
    DIRECTORY_CHANGED /* while it was indexed and listed: nothing is known */
};

struct demo {
    const struct tool_args *args;
    char directory[PATH_MAX];
    char heap_name[64];
    cairn_heap *heap;
    struct crew crew;
    struct member *indexer, *copier, *walker;
    struct member *readers[CREW_MAX];
    struct screen screen;
    int heap_list_fd, walk_list_fd;
    uint64_t complete_ns; /* when the index was complete; 0: not yet */
    char trouble[512];    /* why the demo cannot go on; "": it can */

    /* what was measured */
    unsigned kills;
    uint64_t next_kill_names, kill_ns, random; /* kill_ns 0: there are not so many names yet */
    uint64_t *recovery_ns;                     /* of each kill */
    unsigned corruptions, hangs;
    uint64_t reaped;
    cairn_stats first, last;
    char heap_file[PATH_MAX];
    uint64_t pss_sum;
    unsigned pss_processes;
    struct digest heap_digest, walk_digest;
    unsigned walks;
    uint64_t changed;
    int findings;
    int files_left;
    unsigned claims, claims_held; /* rows of the table so far */
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    interrupted = signal_number;
}

static void arrange_signals(void)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action = {.sa_handler = on_interrupt}; /* without SA_RESTART: waits end at once */

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        sigaction(ends[i], &action, NULL);
    /* A reader of our output that leaves must not take us along: there is a heap to remove. */
    signal(SIGPIPE, SIG_IGN);
}

static bool fail(struct demo *demo, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Keeps the first reason why the demo cannot go on; returns false. */
static bool fail(struct demo *demo, const char *format, ...)
{
    va_list args;

    if (*demo->trouble)
        return false;
    va_start(args, format);
    vsnprintf(demo->trouble, sizeof demo->trouble, format, args);
    va_end(args);
    return false;
}

/* ---------------------------------------------------------------- waiting */

static bool everybody_has_entered(const struct demo *demo)
{
    for (unsigned i = 0; i < demo->crew.count; i++)
        if (demo->crew.members[i].report.kind == 0)
            return false;
    return true;
}

static bool index_is_complete(const struct demo *demo)
{
    return demo->indexer->done == ORDER_INDEX;
}

static bool readers_have_searched_it(const struct demo *demo)
{
    for (unsigned i = 0; i < demo->args->readers; i++)
        /* One that met an error may never come to a complete query; the table will tell. */
        if (demo->readers[i]->report.queries_complete == 0 && demo->readers[i]->report.read_errors == 0)
            return false;
    return demo_now_ns() - demo->complete_ns >= SEARCH_NS && demo->readers[0]->report.write_status != -1;
}

static bool changes_are_counted(const struct demo *demo)
{
    return demo->indexer->done == ORDER_CHANGED;
}

static bool walk_is_listed(const struct demo *demo)
{
    return demo->walker->done == ORDER_LIST;
}

static bool names_are_listed(const struct demo *demo)
{
    return demo->readers[0]->done == ORDER_LIST && walk_is_listed(demo);
}

static bool copy_is_weighed(const struct demo *demo)
{
    return demo->copier->done == ORDER_COPY;
}

static bool everybody_has_left(const struct demo *demo)
{
    for (unsigned i = 0; i < demo->crew.count; i++)
        if (!demo->crew.members[i].gone)
            return false;
    return true;
}

/* ---------------------------------------------------------------- killing */

#define HANG_NS (UINT64_C(10) * 1000000000)
#define KILL_LATER_NS 5000000

static uint64_t names_now(const struct demo *demo)
{
    const struct index *index = cairn_root_get(demo->heap, DEMO_ROOT);

    return index ? atomic_load_explicit(&index->names, memory_order_relaxed) : 0;
}

/* The next kill comes a few names on, and more of them the more there are: so that a small directory has its kills,
 * too, and a large one has them all over. */
static void plan_kill(struct demo *demo, uint64_t names)
{
    demo->random = demo->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    demo->next_kill_names = names + 1 + (demo->random >> 33) % (10 + names / 6);
    demo->kill_ns = 0;
}

static void count_finding(const char *finding, void *arg)
{
    unsigned *count = arg;

    (void)finding;
    (*count)++;
}

/* Recovers what the killed one left; the time of the call that did it is kept. */
static bool recover(struct demo *demo)
{
    uint64_t since_ns = demo_now_ns(), began_ns, took_ns;
    unsigned findings = 0;
    int recovered;

    do {
        began_ns = demo_now_ns();
        recovered = cairn_recover(demo->heap);
        took_ns = demo_now_ns() - began_ns;
        if (recovered < 0)
            return fail(demo, "%s", cairn_last_error());
    } while (recovered == 0 && demo_now_ns() - since_ns < HANG_NS);
    demo->hangs += recovered == 0 || took_ns >= HANG_NS;
    demo->recovery_ns[demo->kills++] = took_ns;
    cairn_check(demo->heap, count_finding, &findings);
    demo->corruptions += findings != 0;
    return true;
}

/* Kills the indexer when it has come far enough, and has another go on. */
static bool kill_when_due(struct demo *demo)
{
    uint64_t names = names_now(demo);

    if (demo->kills == demo->args->kills || names < demo->next_kill_names)
        return true;
    if (demo->kill_ns == 0) /* names are counted when a directory is linked: then soon, in the middle of another */
        demo->kill_ns = demo_now_ns() + demo->random % KILL_LATER_NS;
    if (demo_now_ns() < demo->kill_ns)
        return true;
    demo->reaped += demo->indexer->report.reaped;
    crew_kill(demo->indexer);
    if (!recover(demo))
        return false;
    plan_kill(demo, names_now(demo)); /* not those of before: the next one must have added some, or nobody has died */
    return crew_replace(demo->indexer, demo->args, demo->heap_name, demo->directory) ||
           fail(demo, "the indexer cannot be started again: %s", strerror(errno));
}

/* Listens and draws until it is so. Returns false when it cannot become so any more: then trouble says why. */
static bool await(struct demo *demo, bool (*is_so)(const struct demo *), const char *now)
{
    char trouble[sizeof demo->trouble];
    uint64_t began_ns = demo_now_ns();

    demo->screen.now = now;
    screen_draw(&demo->screen, true);
    for (;;) {
        if (interrupted) /* asked first: Ctrl-C also ends the others */
            return fail(demo, "interrupted");
        crew_trouble(&demo->crew, trouble, sizeof trouble);
        if (*trouble)
            return fail(demo, "%s", trouble);
        if (is_so(demo))
            return true;
        if (is_so != index_is_complete && demo_now_ns() - began_ns > ACT_MAX_NS)
            return fail(demo, "%s: this takes too long", now);
        if (is_so == index_is_complete && !kill_when_due(demo))
            return false;
        crew_listen(&demo->crew, is_so == index_is_complete && demo->kills < demo->args->kills ? 1 : 50);
        screen_draw(&demo->screen, false);
    }
}

static struct member *start(struct demo *demo, const char *role, unsigned number, int list_fd)
{
    struct member *member =
        crew_start(&demo->crew, demo->args, role, number, demo->heap_name, demo->directory, list_fd);

    if (!member)
        fail(demo, "the %s cannot be started: %s", role, strerror(errno));
    return member;
}

/* ---------------------------------------------------------------- the acts */

static bool make_heap(struct demo *demo)
{
    cairn_options options = {.name = demo->heap_name, .directory = demo->args->dir};

    demo->first.size = demo->last.size = sizeof demo->first;
    if (cairn_heap_create(&demo->heap, &options) < 0 || cairn_stats_get(demo->heap, &demo->first) < 0)
        return fail(demo, "%s", cairn_last_error());
    if (!kernel_mapped_file(demo->first.address, demo->heap_file, sizeof demo->heap_file))
        *demo->heap_file = '\0';
    demo->heap_list_fd = names_file();
    demo->walk_list_fd = names_file();
    if (demo->heap_list_fd < 0 || demo->walk_list_fd < 0)
        return fail(demo, "no file for the lists of names: %s", strerror(errno));

    demo->screen = (struct screen){.heap_name = demo->heap_name,
                                   .directory = demo->directory,
                                   .heap = demo->heap,
                                   .crew = &demo->crew,
                                   .first = demo->first};
    screen_begin(&demo->screen);
    return true;
}

static bool index_and_search(struct demo *demo)
{
    for (unsigned i = 0; i < demo->args->readers; i++) {
        demo->readers[i] = start(demo, "reader", i + 1, i == 0 ? demo->heap_list_fd : -1);
        if (!demo->readers[i])
            return false;
    }
    if (!await(demo, everybody_has_entered, "readers attach to an empty heap"))
        return false;

    demo->screen.indexer = demo->indexer = start(demo, "indexer", 0, -1);
    if (!demo->indexer)
        return false;
    demo->random = demo_now_ns();
    plan_kill(demo, 0);
    crew_order(demo->readers[0], ORDER_WRITE); /* carried out as soon as there is something to damage */
    if (!await(demo, index_is_complete, "indexing, while the readers search"))
        return false;
    demo->complete_ns = demo_now_ns();
    return await(demo, readers_have_searched_it, "searching the whole index");
}

/* Sums the heap's share of memory over everybody who has it mapped: this process, the indexer, the readers. */
static bool weigh_heap(struct demo *demo)
{
    uint64_t bytes;

    demo->pss_sum = 0;
    demo->pss_processes = 0;
    for (unsigned i = 0; i <= demo->crew.count; i++) {
        pid_t pid = i < demo->crew.count ? demo->crew.members[i].pid : getpid();

        if (!kernel_range_pss(pid, demo->first.address, demo->first.bytes_reserved, &bytes))
            return fail(demo, "/proc/%ld/smaps does not tell how much memory the heap takes", (long)pid);
        demo->pss_sum += bytes;
        demo->pss_processes++;
    }
    return true;
}

static bool weigh_copy(struct demo *demo)
{
    demo->copier = start(demo, "copier", 0, -1);
    return demo->copier && await(demo, copy_is_weighed, "building one private copy, to weigh it");
}

static bool start_walk(struct demo *demo)
{
    if (ftruncate(demo->walk_list_fd, 0) < 0 || lseek(demo->walk_list_fd, 0, SEEK_SET) < 0)
        return fail(demo, "the list of names: %s", strerror(errno));
    demo->walks++;
    demo->walker = start(demo, "walker", 0, demo->walk_list_fd);
    return demo->walker != NULL;
}

static bool digest(struct demo *demo, int fd, struct digest *ret_digest)
{
    int r = names_digest(fd, ret_digest);

    if (interrupted)
        return fail(demo, "interrupted");
    return r == 0 || fail(demo, "sha256sum cannot be run: %s", strerror(-r));
}

static bool names_are_equal(const struct demo *demo)
{
    return strcmp(demo->heap_digest.hex, demo->walk_digest.hex) == 0;
}

/*
 * Lets a reader list the names from the heap, and the walker those of the file system. When they differ, the indexer
 * tells how many directories are not as they were when it read them, and the walk is done once more: something may have
 * come and gone between the two.
 */
static bool compare_names(struct demo *demo)
{
    crew_order(demo->readers[0], ORDER_LIST);
    if (!start_walk(demo) || !await(demo, names_are_listed, "comparing with an independent walk") ||
        !digest(demo, demo->heap_list_fd, &demo->heap_digest) || !digest(demo, demo->walk_list_fd, &demo->walk_digest))
        return false;
    if (names_are_equal(demo))
        return true;

    crew_order(demo->walker, ORDER_END);
    crew_order(demo->indexer, ORDER_CHANGED);
    if (!await(demo, changes_are_counted, "the walks differ: which directories have changed?"))
        return false;
    demo->changed = demo->indexer->report.folders_changed;
    return start_walk(demo) && await(demo, walk_is_listed, "the walks differ: walking once more") &&
           digest(demo, demo->walk_list_fd, &demo->walk_digest);
}

static bool dismiss(struct demo *demo)
{
    for (unsigned i = 0; i < demo->crew.count; i++)
        if (!demo->crew.members[i].gone && !demo->crew.members[i].dismissed)
            crew_order(&demo->crew.members[i], ORDER_END);
    return await(demo, everybody_has_left, "everybody leaves");
}

static void print_finding(const char *finding, void *arg)
{
    (void)arg;
    fputs("     ", stdout);
    text_name(stdout, finding);
    putchar('\n');
}

static bool check_heap(struct demo *demo)
{
    if (cairn_stats_get(demo->heap, &demo->last) < 0)
        return fail(demo, "%s", cairn_last_error());
    demo->findings = cairn_check(demo->heap, print_finding, NULL);
    return demo->findings >= 0 || fail(demo, "%s", cairn_last_error());
}

/* ---------------------------------------------------------------- the end, also of a demo that failed */

static int count_name(const char *name, void *arg)
{
    const struct demo *demo = arg;

    return strcmp(name, demo->heap_name) == 0;
}

/* Counts the files that bear the heap's name, whole or in part, where the heap was. */
static int count_files(struct demo *demo)
{
    char *slash = strrchr(demo->heap_file, '/');
    struct dirent *entry;
    int count = 0;
    DIR *dir;

    if (!slash)
        return cairn_heap_names(demo->args->dir, count_name, demo);
    *slash = '\0';
    dir = opendir(*demo->heap_file ? demo->heap_file : "/");
    *slash = '/';
    if (!dir)
        return -1;
    while ((entry = readdir(dir)))
        count += strstr(entry->d_name, demo->heap_name) != NULL;
    closedir(dir);
    return count;
}

static void clean_up(struct demo *demo, bool keep_heap)
{
    crew_end(&demo->crew);
    free(demo->recovery_ns);
    demo->recovery_ns = NULL;
    if (demo->heap) {
        cairn_heap_close(demo->heap);
        if (!keep_heap) {
            if (cairn_heap_unlink(demo->heap_name, demo->args->dir) < 0)
                fail(demo, "%s", cairn_last_error());
            demo->files_left = count_files(demo);
        }
    }
    if (demo->heap_list_fd >= 0)
        close(demo->heap_list_fd);
    if (demo->walk_list_fd >= 0)
        close(demo->walk_list_fd);
}

/* ---------------------------------------------------------------- the table */

static void row(struct demo *demo, bool holds, const char *subject, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Prints one claim of the table, and counts it. */
static void row(struct demo *demo, bool holds, const char *subject, const char *format, ...)
{
    bool colour = text_has_colour();
    va_list args;

    printf("%s%s%s %-9s ", colour ? (holds ? "\033[32m" : "\033[1;31m") : "", holds ? "ok  " : "FAIL",
           colour ? "\033[0m" : "", subject);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    demo->claims++;
    demo->claims_held += holds;
}

static const char *yes(bool holds)
{
    return holds ? "yes" : "no";
}

static bool addresses_are_equal(const struct demo *demo)
{
    for (unsigned i = 0; i < demo->crew.count; i++)
        if (demo->crew.members[i].report.heap_address != demo->first.address)
            return false;
    return true;
}

static bool texts_differ(const struct demo *demo)
{
    for (unsigned i = 0; i < demo->crew.count; i++) {
        if (demo->crew.members[i].report.text_address == demo_text_address())
            return false;
        for (unsigned j = 0; j < i; j++)
            if (demo->crew.members[i].report.text_address == demo->crew.members[j].report.text_address)
                return false;
    }
    return true;
}

static int by_value(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    return a < b ? -1 : a > b;
}

/* The median over the resets that the readers have kept the times of; 0 when there are none. */
static uint32_t reset_median(const struct demo *demo)
{
    size_t count = 0, at = 0;
    uint32_t *times, median;

    for (unsigned i = 0; i < demo->args->readers; i++)
        count += demo->readers[i]->report.reset_count;
    times = calloc(count + 1, sizeof *times);
    if (!times || count == 0) {
        free(times);
        return 0;
    }
    for (unsigned i = 0; i < demo->args->readers; i++) {
        const struct report *report = &demo->readers[i]->report;

        memcpy(times + at, report->reset_ns, report->reset_count * sizeof *times);
        at += report->reset_count;
    }
    qsort(times, count, sizeof *times, by_value);
    median = times[count / 2];
    free(times);
    return median;
}

static void print_readers(struct demo *demo)
{
    uint64_t pointers = 0, errors = 0, queries = 0, temporaries = 0, resets = 0, opens = 0;
    unsigned readers = demo->args->readers;
    int written = demo->readers[0]->report.write_status;
    bool refused = WIFSIGNALED(written) && WTERMSIG(written) == SIGSEGV;

    for (unsigned i = 0; i < readers; i++) {
        const struct report *report = &demo->readers[i]->report;

        pointers += report->pointers;
        errors += report->read_errors;
        queries += report->queries;
        temporaries += report->temporaries;
        resets += report->resets;
        opens += report->heap_opens;
        if (report->read_errors > 0)
            printf("     reader %u: %s\n", i + 1, report->text);
    }
    row(demo, opens == readers, "attached", "re-attachments %" PRId64 ", while the heap grew under %u reader%s",
        (int64_t)opens - (int64_t)readers, readers, text_plural(readers));
    row(demo, addresses_are_equal(demo) && texts_differ(demo), "address",
        "same heap address in all %u processes: %s; text addresses differ: %s", demo->crew.count + 1,
        yes(addresses_are_equal(demo)), yes(texts_differ(demo)));
    row(demo, errors == 0 && pointers > 0, "pointers", "%s followed, read errors %s", text_count(pointers).text,
        text_count(errors).text);
    row(demo, refused, "write", "%s",
        refused ? "refused by the MMU: the reader's child ended by SIGSEGV" : "NOT refused");
    row(demo, resets == queries + 1, "private", "%s queries left %s temporaries; %s heap resets, median %s",
        text_count(queries).text, text_count(temporaries).text, text_count(resets).text,
        text_nanoseconds(reset_median(demo)).text);
}

static void print_names(struct demo *demo)
{
    const char *walked_by = demo->walker->report.text;
    bool equal = names_are_equal(demo);

    row(demo, equal, "names", "%s, equal to %s: %s%s (sha256 %.16s%s%.16s)",
        text_count(demo->indexer->report.names).text, walked_by, yes(equal),
        demo->walks > 1 && equal ? ", at the second walk" : "", demo->heap_digest.hex, equal ? "" : ", not ",
        equal ? "" : demo->walk_digest.hex);
    if (demo->walks > 1)
        printf("     the %s differed; %s director%s had changed after being indexed\n",
               equal ? "first walk" : "walk was done twice and", text_count(demo->changed).text,
               demo->changed == 1 ? "y" : "ies");
    if (!equal)
        names_print_difference(demo->heap_list_fd, demo->walk_list_fd, walked_by);
    if (demo->indexer->report.unreadable > 0)
        printf("     %s director%s could not be read: only the name is there\n",
               text_count(demo->indexer->report.unreadable).text, demo->indexer->report.unreadable == 1 ? "y" : "ies");
}

static int by_time(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return a < b ? -1 : a > b;
}

static void print_kills(struct demo *demo)
{
    unsigned count = demo->kills;
    uint64_t leaked = demo->indexer->report.lost_bytes;
    bool held = demo->hangs == 0 && demo->corruptions == 0 && leaked == 0;

    if (demo->args->kills == 0)
        return;
    if (count == 0) {
        row(demo, false, "kills", "none: there was nothing to index any more when the first was due");
        return;
    }
    qsort(demo->recovery_ns, count, sizeof *demo->recovery_ns, by_time);
    row(demo, held, "kills",
        "%u by SIGKILL while it indexed: hangs %u, corruptions %u, blocks reaped %s, bytes leaked %s; recovery median "
        "%s, at most %s",
        count, demo->hangs, demo->corruptions, text_count(demo->reaped + demo->indexer->report.reaped).text,
        text_count(leaked).text, text_nanoseconds(demo->recovery_ns[count / 2]).text,
        text_nanoseconds(demo->recovery_ns[count - 1]).text);
    if (count < demo->args->kills)
        printf("     %u of %u kills: then the index was complete\n", count, demo->args->kills);
}

static void print_table(struct demo *demo)
{
    uint64_t copy = demo->copier->report.private_bytes, copies = copy * demo->args->readers;
    bool worth_comparing = copy >= COPY_WORTH_COMPARING && demo->args->readers > 1;

    print_names(demo);
    row(demo, demo->first.bytes_committed <= SMALLEST_HEAP_MAX, "heap", "%s -> %s in %s growth step%s, at most %s",
        text_bytes(demo->first.bytes_committed).text, text_bytes(demo->last.bytes_committed).text,
        text_count(demo->last.growths - demo->first.growths).text,
        text_plural(demo->last.growths - demo->first.growths), text_bytes(demo->last.bytes_max).text);
    print_readers(demo);
    print_kills(demo);
    row(demo, !worth_comparing || demo->pss_sum < copies, "memory",
        "sum of PSS in %u processes %s; one private copy %s, times %u reader%s %s", demo->pss_processes,
        text_bytes(demo->pss_sum).text, text_bytes(copy).text, demo->args->readers, text_plural(demo->args->readers),
        text_bytes(copies).text);
    row(demo, demo->findings == 0, "check", "findings %d", demo->findings);
}

/* ---------------------------------------------------------------- one performance */

static enum outcome perform(struct demo *demo)
{
    enum outcome outcome = NOT_ALL_HELD;
    bool played, keep;

    snprintf(demo->heap_name, sizeof demo->heap_name, "demo-%ld", (long)getpid());
    demo->heap_list_fd = demo->walk_list_fd = -1;
    demo->recovery_ns = calloc(demo->args->kills + 1, sizeof *demo->recovery_ns);
    if (!demo->recovery_ns)
        fail(demo, "no memory");
    played = demo->recovery_ns && make_heap(demo) && index_and_search(demo) && weigh_heap(demo) &&
             compare_names(demo) && weigh_copy(demo) && dismiss(demo);
    if (demo->heap && demo->screen.heap)
        screen_end(&demo->screen);
    if (played && !names_are_equal(demo) && demo->changed > 0)
        outcome = DIRECTORY_CHANGED;
    if (played)
        played = check_heap(demo);
    if (played)
        print_table(demo);

    keep = demo->args->keep && !*demo->trouble && outcome != DIRECTORY_CHANGED;
    clean_up(demo, keep);
    if (*demo->trouble) {
        tool_fail("demo: %s%s", demo->trouble,
                  !demo->heap             ? ""
                  : demo->files_left == 0 ? "; the heap is removed"
                                          : "; the heap could not be removed");
        return NOT_ALL_HELD;
    }
    if (keep)
        printf("     the heap is kept: try 'cairn map %s', then 'cairn rm %s'\n", demo->heap_name, demo->heap_name);
    else
        row(demo, demo->files_left == 0, "files", "left %d after unlink", demo->files_left);
    if (outcome == DIRECTORY_CHANGED)
        return outcome;
    if (demo->claims_held < demo->claims) {
        printf("%u of %u claims did not hold\n", demo->claims - demo->claims_held, demo->claims);
        return NOT_ALL_HELD;
    }
    printf("all %u claims held, in %.1f seconds\n", demo->claims,
           (double)(demo_now_ns() - demo->screen.began_ns) / 1e9);
    return ALL_HELD;
}

/* Forgets one performance before the next. */
static void forget(struct demo *demo)
{
    struct demo fresh = {.args = demo->args};

    memcpy(fresh.directory, demo->directory, sizeof fresh.directory);
    *demo = fresh;
}

int command_demo(const struct tool_args *args)
{
    const char *directory = args->operand_count > 0 ? args->operands[0] : DIRECTORY_DEFAULT;
    struct demo *demo = calloc(1, sizeof *demo); /* too large for a stack: a report of each process */
    enum outcome outcome;
    struct stat st;
    int layout;

    if (!demo)
        return tool_fail("no memory");
    demo->args = args;
    if (!realpath(directory, demo->directory) || stat(demo->directory, &st) < 0 ||
        (!S_ISDIR(st.st_mode) && (errno = ENOTDIR, true)) || access(demo->directory, R_OK | X_OK) < 0) {
        tool_fail("demo: %s: %s", directory, strerror(errno));
        free(demo);
        return TOOL_USAGE;
    }

    /* The claim is that pointers work although every process is laid out anew; see that it is, where a debugger or
     * setarch(8) has switched that off. */
    layout = personality(0xffffffff);
    if (layout >= 0 && layout & ADDR_NO_RANDOMIZE)
        personality((unsigned long)layout & ~(unsigned long)ADDR_NO_RANDOMIZE);

    arrange_signals();
    outcome = perform(demo);
    if (outcome == DIRECTORY_CHANGED && !interrupted) {
        puts("\nThe directory was changed meanwhile, so that nothing is known. Once more, from the beginning:\n");
        forget(demo);
        outcome = perform(demo);
    }
    free(demo);
    return outcome == ALL_HELD ? TOOL_FINE : TOOL_FAILED;
}
