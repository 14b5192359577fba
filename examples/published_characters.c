/* SPDX-License-Identifier: MIT */
/*
 * A table that is built once and read by eight workers, as servers have them: the names of all characters. Every worker
 * follows plain pointers into the one copy that there is, and cannot change it. Prints how much memory all of them take
 * together, and how long it is from opening to the first answer.
 *
 *     published_characters [--claim] [FILE]      FILE is UnicodeData.txt; --claim: fail when it is more than it should
 * be
 */
#include <cairn_publish.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 8 };

struct character {
    unsigned long code;
    const char *name;
};

struct table {
    size_t count;
    struct character *characters; /* by code */
};

/* ---------------------------------------------------------------- who builds it */

/* A line is CODE;NAME;...; the first line of a range has a name in angle brackets. */
static struct table *build(cairn_heap *heap, FILE *file)
{
    char line[1024];
    size_t room = 40000;
    struct table *table = cairn_alloc(heap, sizeof *table);
    *table = (struct table){.characters = cairn_alloc(heap, room * sizeof *table->characters)};
    while (table->characters != NULL && table->count < room && fgets(line, sizeof line, file) != NULL) {
        char *name, *end;
        unsigned long code = strtoul(line, &name, 16);
        if (*name++ != ';' || (end = strchr(name, ';')) == NULL)
            return NULL;
        *end = '\0';
        char *copy = cairn_alloc(heap, strlen(name) + 1);
        if (copy == NULL)
            return NULL;
        strcpy(copy, name);
        table->characters[table->count++] = (struct character){code, copy};
    }
    return table->count != 0 ? table : NULL;
}

/* ---------------------------------------------------------------- who reads it */

static const char *name_of(const struct table *table, unsigned long code)
{
    size_t begin = 0, end = table->count;
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        if (table->characters[middle].code < code)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin < table->count && table->characters[begin].code == code ? table->characters[begin].name : NULL;
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* This process's share of the memory that it uses: what four processes use counts a quarter in each. */
static long own_pss_kib(void)
{
    char line[200];
    long kib = -1;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL && sscanf(line, "Pss: %ld", &kib) != 1)
        ;
    if (file != NULL)
        fclose(file);
    return kib;
}

struct answer {
    double ms;  /* from opening to the first answer */
    size_t sum; /* of the lengths of all names */
    long pss_kib;
};

static int read_it(struct answer *answer, cairn_reader **ret_reader)
{
    double begin = now_ms();
    if (cairn_reader_open(ret_reader, "published_characters", NULL) < 0 || cairn_read_begin(*ret_reader) < 0)
        return -1;
    const struct table *table = cairn_reader_root(*ret_reader, "characters");
    const char *name = table != NULL ? name_of(table, 0xe9) : NULL;
    answer->ms = now_ms() - begin;
    if (name == NULL || strcmp(name, "LATIN SMALL LETTER E WITH ACUTE") != 0)
        return -1;
    for (size_t i = 0; i < table->count; i++)
        answer->sum += strlen(table->characters[i].name);
    return cairn_read_end(*ret_reader);
}

/* Does what it is told by a byte each: read; tell how much it takes, when the others have read, too. */
static int work(int link)
{
    struct answer answer = {0};
    cairn_reader *reader = NULL;
    char order;
    while (read(link, &order, 1) == 1) {
        if (order == 'r' && read_it(&answer, &reader) < 0) {
            fprintf(stderr, "%s\n", cairn_last_error());
            return 1;
        }
        if (order == 'm')
            answer.pss_kib = own_pss_kib();
        if (write(link, &answer, sizeof answer) != sizeof answer)
            return 1;
    }
    cairn_reader_close(reader);
    return 0;
}

/* ---------------------------------------------------------------- both */

struct crew {
    int links[WORKERS];
    struct answer answers[WORKERS];
};

/* Before there is anything to publish, as a server starts them. */
static int start(struct crew *crew)
{
    for (int i = 0; i < WORKERS; i++) {
        int link[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, link) < 0)
            return -1;
        pid_t worker = fork();
        if (worker == 0) {
            for (int k = 0; k < i; k++)
                close(crew->links[k]); /* or the others would not see the end */
            close(link[0]);
            _exit(work(link[1]));
        }
        close(link[1]);
        crew->links[i] = link[0];
        if (worker < 0)
            return -1;
    }
    return 0;
}

static int tell(struct crew *crew, char order)
{
    for (int i = 0; i < WORKERS; i++) {
        struct answer *answer = &crew->answers[i];
        if (write(crew->links[i], &order, 1) != 1 || read(crew->links[i], answer, sizeof *answer) != sizeof *answer)
            return -1;
    }
    return 0;
}

static int by_time(const void *a, const void *b)
{
    double x = ((const struct answer *)a)->ms, y = ((const struct answer *)b)->ms;
    return (x > y) - (x < y);
}

/* Returns whether they take no more than one copy and 1 MB each. */
static int report(struct crew *crew, const struct table *table, size_t sum, long heap_kib)
{
    long pss_kib = 0, enough = heap_kib + heap_kib / 20 + WORKERS * 1000000L / 1024;
    int right = 1;
    for (int i = 0; i < WORKERS; i++) {
        pss_kib += crew->answers[i].pss_kib;
        right &= crew->answers[i].sum == sum && crew->answers[i].pss_kib > 0;
    }
    qsort(crew->answers, WORKERS, sizeof crew->answers[0], by_time);
    printf("%zu characters in a heap of %ld KiB; %d workers read all of it and take %ld KiB together (enough: %ld)\n",
           table->count, heap_kib, WORKERS, pss_kib, enough);
    printf("from opening to the first answer: median %.2f ms, maximum %.2f ms\n", crew->answers[WORKERS / 2].ms,
           crew->answers[WORKERS - 1].ms);
    if (!right)
        fprintf(stderr, "a worker read something else\n");
    return right && pss_kib <= enough;
}

int main(int argc, char **argv)
{
    int claim = argc > 1 && strcmp(argv[1], "--claim") == 0;
    const char *path = argc > 1 + claim ? argv[1 + claim] : "/usr/share/unicode/UnicodeData.txt";
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        printf("skipped: there is no %s\n", path);
        return 77;
    }
    struct crew crew = {0};
    cairn_publisher *publisher;
    if (start(&crew) < 0 || cairn_publish(&publisher, "published_characters", NULL) < 0 ||
        cairn_publisher_start_thread(publisher) < 0) {
        fprintf(stderr, "%s\n", cairn_last_error());
        return 1;
    }
    cairn_heap *heap = cairn_publisher_heap(publisher);
    struct table *table = build(heap, file);
    fclose(file);
    int status = 1, ended;
    if (table != NULL && cairn_root_set(heap, "characters", table) == 0 && tell(&crew, 'r') == 0 &&
        tell(&crew, 'm') == 0) {
        size_t sum = 0;
        for (size_t i = 0; i < table->count; i++)
            sum += strlen(table->characters[i].name);
        cairn_publisher_stats stats = {.size = sizeof stats};
        cairn_publisher_stats_get(publisher, &stats);
        int holds = report(&crew, table, sum, (long)(stats.bytes / 1024));
        status = holds || !claim ? 0 : 1;
    }
    for (int i = 0; i < WORKERS; i++)
        close(crew.links[i]);
    while (wait(&ended) > 0)
        status |= ended != 0;
    cairn_publisher_close(publisher);
    return status;
}
