/* SPDX-License-Identifier: MIT */
/*
 * pair: a process is killed at step k of its calls, whoever recovers it at step j of the recovery, and a third finds
 * what both have left.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAIRS = 10, WARM_UP_MAX = 120, STEPS_MAX = 500, STEPS_MORE = 3000, STEPS_OF_ONE = 60 };

struct pair {
    struct world *world;
    struct tally *tally;
    uint64_t warm_up;
    bool exhausts, evenly;
    enum unfinished what; /* the victim is in the middle of when it dies, */
    uint64_t steps_more;  /* or has just done, so many steps after it began */
    bool attached;        /* the recoverer is there before the victim dies, and calls cairn_recover; else it opens */
};

static void victim_run(void *arg)
{
    const struct pair *pair = arg;
    struct actor actor = {0};
    actor_begin(&actor, pair->world, 0);
    for (uint64_t turns = pair->warm_up; turns > 0; turns--)
        actor_turn(&actor);
    if (pair->exhausts)
        actor_exhaust(&actor);
    actor.mode = TRACED;
    actor.evenly = pair->evenly;
    for (;;)
        actor_turn(&actor);
}

static void recoverer_run(void *arg)
{
    const struct pair *pair = arg;
    struct actor actor = {.world = pair->world, .slot = &pair->world->slots[1]};
    if (pair->attached) {
        actor_call(&actor, (struct call){.kind = CALL_OPEN});
        actor.mode = TRACED;
        actor_call(&actor, (struct call){.kind = CALL_RECOVER});
    } else {
        actor.mode = TRACED;
        actor_call(&actor, (struct call){.kind = CALL_OPEN});
    }
}

static void third_run(void *arg)
{
    const struct pair *pair = arg;
    atomic_fetch_add(&pair->tally->lost, world_verify(pair->world, pair->world->name));
}

/* Steps a process that stands before its first call, as often as is wanted, or to its end; returns how often. */
static uint64_t step(struct world *world, pid_t process, uint64_t wanted, bool *ret_ended)
{
    static const struct image none;
    uint64_t steps = 0;
    *ret_ended = false;
    while (steps < wanted) {
        while (atomic_load(&world->stepping) != 0 && steps < wanted) {
            steps++;
            if (!traced_step(process, world, &none))
                break;
        }
        if (steps < wanted && !traced_resume(&process)) {
            *ret_ended = true;
            break;
        }
    }
    return steps;
}

/* Returns whether the recoverer was killed before it was done. */
static bool run_pair(struct pair *pair, const char *path, uint64_t k, uint64_t j, uint64_t *length)
{
    bool ended, recovered;
    pid_t recoverer = 0;
    if (pair->attached) {
        recoverer = traced_start(recoverer_run, pair);
        (void)traced_resume(&recoverer);
        atomic_store(&pair->world->stepping, 0);
    }
    struct image image;
    if (!image_open(&image, path))
        fail("no image");
    pid_t victim = traced_start(victim_run, pair);
    (void)traced_resume(&victim);
    (void)step(pair->world, victim, k, &ended);
    if (pair->what != UNFINISHED_NOTHING) {
        for (uint64_t more = 0; !ended && more < STEPS_MORE && image_unfinished(&image, 0) != pair->what; more++)
            (void)step(pair->world, victim, 1, &ended);
        if (!ended)
            (void)step(pair->world, victim, pair->steps_more, &ended);
    }
    image_close(&image);
    if (ended)
        fail("the victim has ended");
    traced_kill(victim);
    atomic_store(&pair->world->stepping, 1);

    if (!pair->attached) {
        recoverer = traced_start(recoverer_run, pair);
        (void)traced_resume(&recoverer);
    }
    uint64_t steps = step(pair->world, recoverer, j, &recovered);
    if (recovered)
        *length = steps + 1;
    else
        traced_kill(recoverer);
    atomic_store(&pair->world->stepping, 0);
    require_end(process_end(process_start(third_run, pair), 10), "the third");
    return !recovered;
}

uint64_t pair_trial(uint64_t seed, uint64_t only_step, struct tally *tally)
{
    (void)only_step;
    static const uint64_t sizes[] = {256 << 10, 512 << 10, 1 << 20, 1 << 20, 4 << 20};
    struct random random = random_begin(seed);
    uint64_t lengths[2] = {3000, 3000}, done = 0;
    char path[300];
    snprintf(path, sizeof path, "%s/heap", getenv("CAIRN_DIR"));
    for (uint32_t i = 0; i < PAIRS; i++) {
        atomic_store(at_step, i);
        struct pair pair = {.world = world_new(), .tally = tally, .attached = random_below(&random, 2) == 0};
        pair.warm_up = random_below(&random, WARM_UP_MAX);
        pair.exhausts = random_below(&random, 4) == 0;
        pair.evenly = random_below(&random, 2) == 0;
        pair.what = (enum unfinished)random_below(&random, UNFINISHED_KINDS);
        pair.steps_more = random_below(&random, STEPS_OF_ONE);
        pair.world->flags = random_below(&random, 4) == 0 ? CAIRN_EXACT_SIZES : 0;
        pair.world->slots[0].random = random_begin(random_next(&random));
        world_begin(pair.world, "heap", sizes[random_below(&random, COUNT(sizes))]);
        uint64_t *length = &lengths[pair.attached];
        uint64_t k = 1 + random_below(&random, STEPS_MAX), j = 1 + random_below(&random, *length);
        done += run_pair(&pair, path, k, j, length);
        unlink(path);
        world_delete(pair.world);
    }
    return done;
}
