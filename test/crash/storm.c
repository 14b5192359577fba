/* SPDX-License-Identifier: MIT */
/*
 * storm: sixteen processes at work; every 0 to 5 ms one of them is killed wherever it is, and replaced. All blocks are
 * full of what their ledger says, and now and then everything is counted; between, all of it is freed, and nothing may
 * stay committed.
 */
#include "crash.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

enum { MEMBERS = 16, KILLS = 1000, KILLS_PER_COUNT = 100, KILLS_PER_REST = 200, PAUSE_MAX = 5000000, DRIFT_MAX = 100 };

struct storm {
    struct crew crew;
    bool dying[MEMBERS];
    uint32_t dying_count;
};

/* Whoever is dead by now is settled and replaced; with `all`, whoever was killed is waited for. */
static void replace(struct storm *storm, bool all)
{
    int status;
    while (storm->dying_count > 0) {
        pid_t dead = waitpid(-1, &status, all ? 0 : WNOHANG);
        if (dead <= 0)
            return;
        uint32_t s = 0;
        while (s < MEMBERS && storm->crew.processes[s] != dead)
            s++;
        if (s == MEMBERS || !storm->dying[s]) {
            require_end(status, s == MEMBERS ? "the overseer" : "a member");
            fail("a process has ended that should not");
        }
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            require_end(status, "a member"); /* it failed before it was killed */
        crew_settle(&storm->crew, s, dead);
        storm->dying[s] = false;
        storm->dying_count--;
        crew_start(&storm->crew, s);
    }
}

/*
 * All is freed and given back: what kills had made of memory that nobody can have would stay, and add up.
 */
static void require_no_drift(struct tally *tally, uint64_t before, uint64_t at_work, uint64_t after)
{
    uint64_t drift = after > before ? (after - before) * 10000 / at_work : 0;
    raise_to(&tally->drift, drift);
    if (drift > DRIFT_MAX)
        fail("an empty heap has %llu bytes committed, and had %llu; at work it was %llu", (unsigned long long)after,
             (unsigned long long)before, (unsigned long long)at_work);
}

uint64_t storm_trial(uint64_t seed, uint64_t only_step, struct tally *tally)
{
    (void)only_step;
    struct random random = random_begin(seed);
    struct storm storm = {0};
    crew_begin(&storm.crew, random_next(&random), MEMBERS, 32 << 20, tally);
    uint64_t at_work = 0, before = crew_fill_once(&storm.crew);
    crew_start_from(&storm.crew, 0);
    for (uint32_t kills = 1; kills <= KILLS; kills++) {
        struct timespec pause = {.tv_nsec = (long)random_below(&random, PAUSE_MAX)};
        nanosleep(&pause, NULL); /* what is tried, not what is waited for */
        replace(&storm, storm.dying_count == MEMBERS);
        uint32_t victim = (uint32_t)random_below(&random, MEMBERS);
        while (storm.dying[victim])
            victim = (victim + 1) % MEMBERS;
        atomic_store(at_step, kills);
        kill(storm.crew.processes[victim], SIGKILL);
        storm.dying[victim] = true;
        storm.dying_count++;
        if (kills % KILLS_PER_COUNT != 0 || kills == KILLS)
            continue;
        replace(&storm, true);
        uint64_t counted = crew_count(&storm.crew);
        at_work = at_work > counted ? at_work : counted;
        if (kills % KILLS_PER_REST != 0)
            continue;
        require_no_drift(tally, before, at_work, crew_rest(&storm.crew));
        crew_start_from(&storm.crew, 0);
    }
    replace(&storm, true);
    require_no_drift(tally, before, at_work, crew_end(&storm.crew));
    return KILLS;
}
