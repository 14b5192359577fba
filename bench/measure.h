/* SPDX-License-Identifier: MIT */
/* Clocks, memory and the lines that a program prints: nothing here knows an allocator. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NOINLINE __attribute__((noinline))

/* Makes the compiler believe that the block is used, so that it cannot leave out a pair of malloc and free. */
#define KEEP(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

#define MIB (1024.0 * 1024.0)

/* How long to measure; set once by main. */
struct effort {
    int chunks; /* samples that repeat() takes */
    long count; /* not 0: run the measured loop once, this many times, and measure nothing (for callgrind) */
};
extern struct effort effort;

/* Prints one sample: "metric unit value". */
void emit(const char *metric, const char *unit, double value);

/* Time that has passed since start(): of the calling thread's CPU, and on the wall, in ns. */
struct watch {
    double cpu, wall;
};
struct watch start(void);
struct watch stop(struct watch started);

/*
 * Times work(state, count), which does count * operations operations, in chunks of some milliseconds, and emits the
 * time of one operation for each chunk: "METRIC ns" is CPU time, "METRIC.wall ns" is the other. A sample is short, so
 * that some fall between what else the machine does.
 */
typedef void repeated_fn(void *state, long count);
void repeat(const char *metric, repeated_fn *work, void *state, double operations);

/* Memory of this process that is resident, and address space that it has taken, in bytes. */
double resident(void);
double address_space(void);

/* A page-aligned zeroed array that no allocator sees and whose pages are there already; shared with children. */
void *pages(size_t bytes);

/* xorshift64: enough for choosing slots, and cheap beside what is measured. */
static inline uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Sizes from 16 to 1024 bytes whose logarithm is evenly spread; every program draws the same ones. */
#define SIZES 4096
extern uint16_t sizes[SIZES];
void fill_sizes(void);

static inline size_t random_size(uint64_t random)
{
    return sizes[random >> 52];
}

/* Ends the program with a sentence. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

#endif
