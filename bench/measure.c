/* SPDX-License-Identifier: MIT */
#include "measure.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_NS 4e6

struct effort effort = {.chunks = 15};
uint16_t sizes[SIZES];

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

void emit(const char *metric, const char *unit, double value)
{
    printf("%s %s %.6g\n", metric, unit, value);
    fflush(stdout);
}

static double clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

struct watch start(void)
{
    return (struct watch){clock_ns(CLOCK_THREAD_CPUTIME_ID), clock_ns(CLOCK_MONOTONIC)};
}

struct watch stop(struct watch started)
{
    return (struct watch){clock_ns(CLOCK_THREAD_CPUTIME_ID) - started.cpu, clock_ns(CLOCK_MONOTONIC) - started.wall};
}

/* The function whose instructions callgrind collects: run finds it by its name. */
NOINLINE void counted_loop(repeated_fn *work, void *state, long count);
NOINLINE void counted_loop(repeated_fn *work, void *state, long count)
{
    work(state, count);
    KEEP(state);
}

/* Three times, because the first calls meet cold caches and fresh pages, and those after them pages that went away. */
static long count_per_chunk(repeated_fn *work, void *state)
{
    long count = 1;
    for (int trial = 0; trial < 3; trial++)
        for (;; count *= 4) {
            struct watch watch = start();
            work(state, count);
            double ns = stop(watch).cpu;
            if (ns > CHUNK_NS / 4) {
                count = count * CHUNK_NS / ns < 1 ? 1 : (long)(count * CHUNK_NS / ns);
                break;
            }
        }
    return count;
}

void repeat(const char *metric, repeated_fn *work, void *state, double operations)
{
    if (effort.count) {
        work(state, effort.count);
        counted_loop(work, state, effort.count);
        return;
    }
    char wall[64];
    snprintf(wall, sizeof wall, "%s.wall", metric);
    long count = count_per_chunk(work, state);
    for (int i = 0; i < effort.chunks; i++) {
        struct watch watch = start();
        work(state, count);
        watch = stop(watch);
        emit(metric, "ns", watch.cpu / (count * operations));
        emit(wall, "ns", watch.wall / (count * operations));
    }
}

double resident(void)
{
    char line[256];
    long kib = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r"); /* exact, unlike statm */
    if (!file)
        fail("/proc/self/smaps_rollup: cannot be read");
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Rss: %ld", &kib) == 1)
            break;
    fclose(file);
    return kib * 1024.0;
}

double address_space(void)
{
    long page_count = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld", &page_count) != 1)
        fail("/proc/self/statm: cannot be read");
    fclose(file);
    return (double)page_count * sysconf(_SC_PAGESIZE);
}

void *pages(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        fail("no memory for an array of %zu bytes", bytes);
    return memory;
}

void fill_sizes(void)
{
    uint64_t seed = 88172645463325252;
    for (int i = 0; i < SIZES; i++) {
        double fraction = (next_random(&seed) >> 11) / 9007199254740992.0;
        sizes[i] = (uint16_t)(16 * pow(64, fraction));
    }
}
