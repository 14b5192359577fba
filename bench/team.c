/* SPDX-License-Identifier: MIT */
#include "team.h"

#include "measure.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMBERS_MAX 8

struct team {
    team_fn *member;
    void *work;
    int members;
    atomic_long arrivals;
};

static struct team *team; /* in memory that children share */

struct place {
    int index;
};

void team_meet(void)
{
    long arrival = atomic_fetch_add(&team->arrivals, 1);
    long all = (arrival / team->members + 1) * team->members;
    while (atomic_load(&team->arrivals) < all)
        sched_yield();
}

static pid_t start_child(void)
{
    pid_t child = fork();
    if (child < 0)
        fail("no process is to be had");
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

/*
 * Each member has a CPU of its own, if there are as many: two that share one take turns, and pass on what they have in
 * its cache, which is another figure. Which of the two it is the system decides differently for threads and processes.
 */
static void run_member(int index)
{
    cpu_set_t all, own;
    CPU_ZERO(&own);
    if (sched_getaffinity(0, sizeof all, &all) < 0)
        fail("nobody tells which CPUs there are");
    bool enough = team->members > 1 && CPU_COUNT(&all) >= team->members;
    for (int cpu = 0, i = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && i++ == index)
            CPU_SET(cpu, &own);
    if (enough && sched_setaffinity(0, sizeof own, &own) < 0)
        fail("no CPU is to be had");
    team->member(team->work, index);
    if (enough)
        sched_setaffinity(0, sizeof all, &all);
}

static void *run_thread(void *argument)
{
    struct place *place = argument;
    run_member(place->index);
    return NULL;
}

static void run_threads(void)
{
    pthread_t threads[MEMBERS_MAX];
    struct place places[MEMBERS_MAX];
    for (int i = 1; i < team->members; i++) {
        places[i].index = i;
        if (pthread_create(&threads[i], NULL, run_thread, &places[i]) != 0)
            fail("no thread is to be had");
    }
    run_member(0);
    for (int i = 1; i < team->members; i++)
        pthread_join(threads[i], NULL);
}

static void run_processes(void)
{
    for (int i = 0; i < team->members; i++)
        if (start_child() == 0) {
            run_member(i);
            _exit(0);
        }
    /* A member that fails leaves the others waiting for it: they end with this process. */
    for (int i = 0; i < team->members; i++) {
        int status;
        if (wait(&status) < 0 || status != 0)
            fail("a process of the team has failed, status %#x", (unsigned)status);
    }
}

void team_run(enum team_kind kind, int members, team_fn *member, void *work)
{
    if (!team)
        team = pages(sizeof *team);
    team->member = member;
    team->work = work;
    team->members = members;
    atomic_store(&team->arrivals, 0);
    if (kind == TEAM_THREADS)
        run_threads();
    else
        run_processes();
}

bool in_child(void (*alone)(void *work), void *work)
{
    int status;
    pid_t child = start_child();
    if (child == 0) {
        alone(work);
        _exit(0);
    }
    return waitpid(child, &status, 0) == child && status == 0;
}
