/* SPDX-License-Identifier: MIT */
/*
 * kill: SIGKILL at step k of a process, while three others go on. What the step check shows for a heap at rest, this
 * shows for one at work: nobody is stopped for long, and no ledger is wrong.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    BYSTANDERS = 3,
    KILLS = 40,
    KILLS_PER_COUNT = 20,
    STEPS_MAX = 700,
    STEPS_TO_HAND_MAX = 3000,
    STEPS_OF_HAND = 60,
    CALLS_BETWEEN_MAX = 300
};

static void victim_run(void *arg)
{
    struct crew *crew = arg;
    struct actor actor = {0};
    actor_begin(&actor, crew->world, 0);
    for (uint64_t turns = random_below(&actor.slot->random, 30); turns > 0; turns--)
        actor_turn(&actor);
    actor.mode = TRACED;
    actor.evenly = random_below(&actor.slot->random, 2) == 0;
    /* What its predecessors linked lies in slabs that others have adopted: it begins by freeing some of that. */
    for (uint32_t i = 0; i < LINKS && random_below(&actor.slot->random, 4) != 0; i++)
        if (actor.slot->links[i].block != NULL)
            actor_call(&actor, (struct call){.kind = CALL_FREE_FROM, .index = i});
    for (;;)
        actor_turn(&actor);
}

/* How far a victim is from its death. */
struct way {
    uint64_t steps;       /* these first, */
    uint64_t to_hand_max; /* then until its hand is full, but no more than so many, */
    uint64_t steps_more;  /* and then these */
};

/* Takes one step off it; false: there is none. */
static bool go(struct way *way, const struct image *image, pid_t process)
{
    if (way->steps == 0 && image_unfinished(image, process) == UNFINISHED_HAND)
        way->to_hand_max = 0;
    uint64_t *left = way->steps > 0 ? &way->steps : way->to_hand_max > 0 ? &way->to_hand_max : &way->steps_more;
    if (*left == 0)
        return false;
    --*left;
    return true;
}

/* Steps over as many calls as it takes, and kills. */
static pid_t kill_at(struct crew *crew, const struct image *image, struct way way)
{
    static const struct image none;
    pid_t process = traced_start(victim_run, crew);
    bool is_there = false;
    while (!is_there) {
        if (!traced_resume(&process))
            fail("the victim has ended");
        while (atomic_load(&crew->world->stepping) != 0 && !(is_there = !go(&way, image, process)) &&
               traced_step(process, crew->world, &none))
            ;
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
    crew_start_from(&crew, 1);
    for (uint32_t kills = 0; kills < KILLS; kills++) {
        struct way way = {.steps = random_below(&random, STEPS_MAX)};
        if (random_below(&random, 2) == 0) {
            way.to_hand_max = STEPS_TO_HAND_MAX;
            way.steps_more = random_below(&random, STEPS_OF_HAND);
        }
        atomic_store(at_step, kills);
        pid_t dead = kill_at(&crew, &image, way);
        crew_progress(&crew, 1, 1 + random_below(&random, CALLS_BETWEEN_MAX)); /* before one recovers by order */
        crew_settle(&crew, 0, dead);
        if ((kills + 1) % KILLS_PER_COUNT == 0)
            (void)crew_count(&crew);
    }
    image_close(&image);
    (void)crew_end(&crew);
    return KILLS;
}
