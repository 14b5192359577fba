/* SPDX-License-Identifier: MIT */
/* A few threads or processes that do something at the same time. */
#ifndef BENCH_TEAM_H
#define BENCH_TEAM_H

#include <stdbool.h>

enum team_kind { TEAM_THREADS, TEAM_PROCESSES };

/*
 * Runs member(work, 0), member(work, 1), ... at the same time, and returns when all have returned. As threads, member 0
 * is the calling thread; as processes, all are children. Ends the program when a process fails.
 */
typedef void team_fn(void *work, int index);
void team_run(enum team_kind kind, int members, team_fn *member, void *work);

/* Waits until every member has come here as often as the caller. */
void team_meet(void);

/* Runs alone(work) in a child process, so that it starts from a clean state. Returns whether it succeeded. */
bool in_child(void (*alone)(void *work), void *work);

#endif
