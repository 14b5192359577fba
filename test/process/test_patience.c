/* SPDX-License-Identifier: MIT */
/*
 * What a call waits for in another process takes a few instructions there, unless that has died: it is to be found out
 * soon. Counted in turns given up, for one can take a tenth of a second where many wait for processors.
 */
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/process.h"
#include "support/workspace.h"

enum { TURNS_MAX = 4 };

static uint64_t turns;

/* In place of the C library's. */
int sched_yield(void)
{
    turns++;
    return (int)syscall(SYS_sched_yield);
}

static void die_with_the_lock_of_the_roots(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    struct thread_owner *owner = thread_owner_get(heap->attachment);
    store_release(&heap->attachment->section.image->lock,
                  (uint64_t)owner->core.number << 32 | record_generation_of(load_relaxed(&owner->core.image->word)));
    kill(getpid(), SIGKILL);
}

static void a_dead_ones_lock_of_the_roots_is_opened_soon(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    REQUIRE_CALL(cairn_root_set(heap, "mine", cairn_alloc(heap, 16)) == 0);
    finish_by(start(die_with_the_lock_of_the_roots, NULL), SIGKILL);
    turns = 0;
    REQUIRE_CALL(cairn_root_set(heap, "mine", NULL) == 0);
    REQUIRE(turns <= TURNS_MAX);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

static void die_in_a_reset(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    struct thread_owner *owner = thread_owner_get(heap->attachment);
    REQUIRE(heap_reset_begin(&owner->core, &heap->core));
    kill(getpid(), SIGKILL);
}

static void what_a_dead_one_stopped_goes_on_soon(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    void *block = cairn_alloc(heap, 16);
    finish_by(start(die_in_a_reset, NULL), SIGKILL);
    turns = 0;
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    REQUIRE(turns <= TURNS_MAX);
    REQUIRE_EQUAL(blocks_live(heap), 2);
    cairn_free(heap, block);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_dead_ones_lock_of_the_roots_is_opened_soon),
        CLAIM(what_a_dead_one_stopped_goes_on_soon),
    };
    return run_claims(claims, COUNT(claims), 20);
}
