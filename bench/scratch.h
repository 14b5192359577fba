/* SPDX-License-Identifier: MIT */
/* A directory in shared memory for this program's heaps. It goes away at the process's exit, with all that is in it. */
#ifndef BENCH_SCRATCH_H
#define BENCH_SCRATCH_H

/* Makes it when first asked for. Processes that are to share it are forked after that. */
const char *scratch_directory(void);

/* Bytes of memory that a file takes. */
double scratch_footprint(const char *directory, const char *name);

#endif
