/* SPDX-License-Identifier: MIT */
/* A directory in shared memory for heaps. run makes it and removes it with all that is left in it. */
#ifndef BENCH_SCRATCH_H
#define BENCH_SCRATCH_H

const char *scratch_directory(void);

/* Bytes of memory that a file takes. */
double scratch_footprint(const char *directory, const char *name);

#endif
