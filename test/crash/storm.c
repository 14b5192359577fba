/* SPDX-License-Identifier: MIT */
/*
 * storm: sixteen processes at work; every 0 to 5 ms one of them is killed wherever it is, and replaced. All blocks are
 * full of what their ledger says, and now and then everything is counted.
 */
#include "crash.h"

#include <time.h>

enum { MEMBERS = 16, KILLS = 1000, KILLS_PER_COUNT = 100, PAUSE_MAX = 5000000 };

uint64_t storm_trial(uint64_t seed, uint64_t only_step, struct tally *tally)
{
    (void)only_step;
    struct random random = random_begin(seed);
    struct crew crew;
    crew_begin(&crew, random_next(&random), MEMBERS, 32 << 20, tally);
    for (uint32_t s = 0; s < MEMBERS; s++)
        crew_start(&crew, s);
    crew_progress(&crew, 0, 1); /* each has its anchor */
    uint64_t settled = 0, committed = 0;
    for (uint32_t kills = 0; kills < KILLS; kills++) {
        struct timespec pause = {.tv_nsec = (long)random_below(&random, PAUSE_MAX)};
        uint32_t victim = (uint32_t)random_below(&random, MEMBERS);
        nanosleep(&pause, NULL); /* what is tried, not what is waited for */
        atomic_store(at_step, kills);
        process_kill(crew.processes[victim]);
        crew_settle(&crew, victim, crew.processes[victim]);
        crew_start(&crew, victim);
        if ((kills + 1) % KILLS_PER_COUNT != 0)
            continue;
        committed = crew_count(&crew);
        if (kills + 1 == KILLS / 10)
            settled = committed;
    }
    raise_to(&tally->drift, committed > settled ? (committed - settled) * 10000 / settled : 0);
    crew_end(&crew);
    return KILLS;
}
