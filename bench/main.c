/* SPDX-License-Identifier: MIT */
/*
 * One allocator's program, called by run:
 *
 *     bench_NAME about               the allocator's version
 *     bench_NAME list                the cases that it can run, one "family case" a line
 *     bench_NAME CASE [SHOTS [CHUNKS]]   run a case and print its samples, one "metric unit value" a line
 *     bench_NAME CASE count N        run its measured loop N times and print nothing: to be counted by callgrind
 */
#include "cases.h"
#include "heap.h"
#include "team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CASE_SECONDS 120 /* more than any case takes; then something hangs */

struct bench_case {
    const char *family, *name;
    void (*run)(void);
    unsigned needs, excludes; /* HEAP_... */
    bool once;                /* takes one sample a run: is run several times */
};

#define LIGHT (HEAP_SEARCHES | HEAP_PRETENDS) /* cannot be asked to hold very many blocks */

static const struct bench_case cases[] = {
    {"machine", "machine", case_machine, HEAP_PRETENDS, 0, false},
    {"pair", "pair", case_pair, HEAP_FREES, 0, false},
    {"pair", "batch", case_batch, HEAP_FREES, 0, false},
    {"random", "random", case_random, HEAP_FREES, LIGHT, false},
    {"random", "random_small", case_random_small, HEAP_FREES | HEAP_SHARED, 0, false},
    {"rotate", "rotate_1", case_rotate_1, HEAP_HANDLES | HEAP_FREES, 0, false},
    {"rotate", "rotate_2", case_rotate_2, HEAP_HANDLES | HEAP_FREES, 0, false},
    {"rotate", "rotate_16", case_rotate_16, HEAP_HANDLES | HEAP_FREES, 0, false},
    {"rotate", "rotate_256", case_rotate_256, HEAP_HANDLES | HEAP_FREES, 0, false},
    {"life", "life_10", case_life_10, 0, HEAP_SHARED | LIGHT, false},
    {"life", "life_1000", case_life_1000, 0, HEAP_SHARED | LIGHT, false},
    {"life", "life_100000", case_life_100000, 0, HEAP_SHARED | LIGHT, false},
    {"many", "many", case_many, HEAP_HANDLES | HEAP_DESTROYS, 0, true},
    {"fresh", "fresh", case_fresh, 0, LIGHT, true},
    {"grow", "double", case_double, HEAP_REALLOCATES, LIGHT, true},
    {"grow", "tenth", case_tenth, HEAP_REALLOCATES, LIGHT, true},
    {"large", "large_1", case_large_1, HEAP_FREES | HEAP_LARGE, 0, false},
    {"large", "large_4", case_large_4, HEAP_FREES | HEAP_LARGE, 0, false},
    {"large", "large_64", case_large_64, HEAP_FREES | HEAP_LARGE, 0, false},
    {"together", "relay_threads", case_relay_threads, HEAP_FREES_ANYWHERE, LIGHT, true},
    {"together", "relay_processes", case_relay_processes, HEAP_NAMED | HEAP_SAME_ADDRESS, LIGHT, true},
    {"together", "churn_threads", case_churn_threads, HEAP_ALLOCATES_ANYWHERE, LIGHT, true},
    {"together", "churn_processes", case_churn_processes, HEAP_NAMED | HEAP_SAME_ADDRESS, LIGHT, true},
    {"shared", "regrow", case_regrow, HEAP_NAMED | HEAP_SAME_ADDRESS | HEAP_MEASURES, LIGHT, true},
    {"shared", "fill", case_fill, HEAP_SHARED | HEAP_GROWS, 0, true},
    {"shared", "attach", case_attach, HEAP_NAMED | HEAP_GROWS, 0, false},
    {"shared", "smallest", case_smallest, HEAP_SHARED | HEAP_MEASURES | HEAP_FREES, 0, true},
};

#define CASE_COUNT (sizeof cases / sizeof *cases)

static bool possible(const struct bench_case *wanted)
{
    return HEAP_HAS(wanted->needs) && (HEAP_CAN & wanted->excludes) == 0 &&
           (!HEAP_HAS(HEAP_VARIANT) || strcmp(wanted->family, "pair") == 0);
}

static int list(void)
{
    for (size_t i = 0; i < CASE_COUNT; i++)
        if (possible(&cases[i]))
            printf("%s %s\n", cases[i].family, cases[i].name);
    return 0;
}

static const struct bench_case *find(const char *name)
{
    for (size_t i = 0; i < CASE_COUNT; i++)
        if (strcmp(cases[i].name, name) == 0 && possible(&cases[i]))
            return &cases[i];
    fail("%s: no such case", name);
}

static void run_shot(void *work)
{
    const struct bench_case *wanted = work;
    alarm(CASE_SECONDS);
    wanted->run();
}

/* Each shot in a process of its own: what it leaves behind must not help or hinder the next, nor must its failure. */
static int run_case(const struct bench_case *wanted, int shots)
{
    struct bench_case copy = *wanted;
    int failures = 0;
    for (int i = 0; i < (wanted->once ? shots : 1); i++) {
        failures += !in_child(run_shot, &copy);
        heap_unlink_named();
    }
    return failures != 0;
}

static int count_case(const struct bench_case *wanted, long count)
{
    effort.count = count;
    wanted->run();
    heap_unlink_named();
    return 0;
}

int main(int argc, char **argv)
{
    fill_sizes();
    if (argc == 2 && strcmp(argv[1], "about") == 0)
        return printf("%s\n", heap_version()) < 0;
    if (argc == 2 && strcmp(argv[1], "list") == 0)
        return list();
    if (argc == 4 && strcmp(argv[2], "count") == 0)
        return count_case(find(argv[1]), atol(argv[3]));
    if (argc < 2 || argc > 4)
        fail("usage: %s about | list | CASE [SHOTS [CHUNKS]] | CASE count N", argv[0]);
    if (argc > 3)
        effort.chunks = atoi(argv[3]);
    return run_case(find(argv[1]), argc > 2 ? atoi(argv[2]) : 1);
}
