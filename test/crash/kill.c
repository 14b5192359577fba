/* SPDX-License-Identifier: MIT */
/*
 * kill: SIGKILL at step k of a process, while three others go on. What the step check shows for a heap at rest, this
 * shows for one at work: nobody is stopped for long, and no ledger is wrong.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>

enum { BYSTANDERS = 3, KILLS = 40, KILLS_PER_COUNT = 20, STEPS_MAX = 700, STEPS_MORE = 3000, CALLS_BETWEEN = 20 };

static void victim_run(void *arg)
{
    struct crew *crew = arg;
    struct actor actor = {0};
    actor_begin(&actor, crew->world, 0);
    for (uint64_t turns = random_below(&actor.slot->random, 30); turns > 0; turns--)
        actor_turn(&actor);
    actor.mode = TRACED;
    actor.evenly = random_below(&actor.slot->random, 2) == 0;
    for (;;)
        actor_turn(&actor);
}

/* Steps over as many calls as it takes, and kills: with_hand, where the next hand is full. */
static pid_t kill_at(struct crew *crew, const struct image *image, uint64_t step, bool with_hand)
{
    static const struct image none;
    pid_t process = traced_start(victim_run, crew);
    uint64_t more = with_hand ? STEPS_MORE : 0;
    bool is_there = false;
    while (!is_there) {
        if (!traced_resume(&process))
            fail("the victim has ended");
        while (!is_there && atomic_load(&crew->world->stepping) != 0 && traced_step(process, crew->world, &none)) {
            uint64_t *left = step > 0 ? &step : &more;
            *left -= *left > 0;
            is_there = step == 0 && (more == 0 || image_unfinished(image, process) == UNFINISHED_HAND);
        }
    }
    traced_kill(process);
    atomic_store(&crew->world->stepping, 0);
    return process;
}

uint64_t kill_trial(uint64_t seed, uint64_t only_step, struct tally *tally)
{
    (void)only_step;
    struct random random = random_begin(seed);
    struct crew crew;
    crew_begin(&crew, random_next(&random), BYSTANDERS + 1, 16 << 20, tally);
    struct image image;
    char path[300];
    snprintf(path, sizeof path, "%s/%s", getenv("CAIRN_DIR"), crew.world->name);
    if (!image_open(&image, path))
        fail("no image");
    for (uint32_t s = 1; s <= BYSTANDERS; s++)
        crew_start(&crew, s);
    crew_progress(&crew, 1, 1);
    for (uint32_t kills = 0; kills < KILLS; kills++) {
        uint64_t step = random_below(&random, STEPS_MAX);
        atomic_store(at_step, kills);
        pid_t dead = kill_at(&crew, &image, step, random_below(&random, 2) == 0);
        crew_progress(&crew, 1, CALLS_BETWEEN); /* before anybody has recovered by order */
        crew_settle(&crew, 0, dead);
        if ((kills + 1) % KILLS_PER_COUNT == 0)
            (void)crew_count(&crew);
    }
    image_close(&image);
    (void)crew_end(&crew);
    return KILLS;
}
