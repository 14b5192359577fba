/* SPDX-License-Identifier: MIT */
/*
 * crew: processes that share a heap while some of them are killed, and an overseer that recovers, settles and counts.
 */
#include "crash.h"

#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WATCHDOG_SECONDS = 10 };

static void word_wait(_Atomic uint32_t *word, uint32_t seen)
{
    struct timespec second = {.tv_sec = 1}; /* then the caller looks again */
    syscall(SYS_futex, word, FUTEX_WAIT, seen, &second, NULL, 0);
}

static void word_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* ---------------------------------------------------------------- members */

struct member {
    struct crew *crew;
    uint32_t number;
};

/* Some blocks are freed by another than who allocated them. */
static void give(struct actor *actor)
{
    struct crew *crew = actor->world->crew;
    struct record *range = &actor->world->records[actor->number * BLOCKS_PER_SLOT];
    struct record *record = &range[random_below(&actor->slot->random, BLOCKS_PER_SLOT)];
    uint32_t to = (uint32_t)random_below(&actor->slot->random, crew->members) + 1;
    if (atomic_load(&record->holder) == actor->number + 1 && record->heap == 0)
        atomic_store(&record->holder, to);
}

static void park(struct world *world)
{
    atomic_fetch_add(&world->parked, 1);
    word_wake(&world->parked);
    while (atomic_load(&world->pause) != 0)
        word_wait(&world->pause, 1);
    atomic_fetch_sub(&world->parked, 1);
}

void crew_member(struct crew *crew, uint32_t number)
{
    struct world *world = crew->world;
    struct actor actor = {0};
    if (nice(10) < 0)
        fail("nice");
    actor_begin(&actor, world, number);
    for (uint32_t turn = 0; atomic_load(&world->stop) == 0; turn++) {
        if (atomic_load(&world->pause) != 0)
            park(world);
        actor_turn(&actor);
        if (turn % 4 == 0)
            give(&actor);
    }
    actor_end(&actor);
}

static void member_run(void *arg)
{
    const struct member *member = arg;
    crew_member(member->crew, member->number);
}

void crew_start(struct crew *crew, uint32_t number)
{
    struct member member = {.crew = crew, .number = number};
    crew->processes[number] = process_start(member_run, &member);
}

/* ---------------------------------------------------------------- the overseer */

enum order { ORDER_SETTLE, ORDER_COUNT, ORDER_REQUIRE_ALIVE, ORDER_EMPTY, ORDER_HOLDS_ROOTS, ORDER_FILL };

struct order_message {
    enum order order;
    uint32_t number;
    pid_t dead;
    bool has_namesake; /* the next slot's process has the same id, and a record */
};

/* Whether the heap has a record of the dead. The namesake's own does not count; while it closes and opens the heap, it
 * has none, or one too many. */
static bool is_left(cairn_heap *heap, const struct world *world, const struct order_message *message)
{
    if (!message->has_namesake)
        return heap_records_of(heap, message->dead) > 0;
    const struct slot *namesake = &world->slots[message->number + 1];
    uint64_t calls = atomic_load(&namesake->calls);
    uint32_t kind = atomic_load(&namesake->call.kind);
    bool left = heap_records_of(heap, message->dead) > 1;
    return left || kind == CALL_REOPEN || kind != atomic_load(&namesake->call.kind) ||
           calls != atomic_load(&namesake->calls);
}

/* Another may be recovering the same process: a call of cairn_recover then has nothing to do, and does not wait. */
static void recover(cairn_heap *heap, const struct world *world, const struct order_message *message)
{
    uint64_t began = now();
    do {
        if (cairn_recover(heap) < 0)
            fail("recover: %s", cairn_last_error());
        if (now() - began > WATCHDOG_SECONDS * UINT64_C(1000000000))
            fail("process %d stays dead and is not recovered", (int)message->dead);
    } while (message->order == ORDER_SETTLE && is_left(heap, world, message));
}

static void overseer_run(void *arg)
{
    struct crew *crew = arg;
    struct world *world = crew->world;
    struct order_message message;
    cairn_heap *heap;
    close(crew->order[1]);
    if (cairn_heap_open(&heap, world->name, NULL) < 0)
        fail("open: %s", cairn_last_error());
    while (read(crew->order[0], &message, sizeof message) == sizeof message) {
        uint64_t began = now();
        if (message.order == ORDER_HOLDS_ROOTS) {
            uint64_t holds = heap_roots_are_held_by(heap, message.dead);
            if (write(crew->answer[1], &holds, sizeof holds) < 0)
                break;
            continue;
        }
        recover(heap, world, &message);
        if (message.order == ORDER_SETTLE)
            slot_settle(world, message.number, heap);
        else if (message.order == ORDER_REQUIRE_ALIVE && heap_records_of(heap, message.dead) == 0)
            fail("process %d lives, and was recovered as if it were dead", (int)message.dead);
        else if (message.order == ORDER_FILL)
            heap_fill_once(heap);
        else if (message.order != ORDER_REQUIRE_ALIVE)
            atomic_fetch_add(&crew->tally->lost, world_count(world, heap));
        if (message.order == ORDER_EMPTY)
            world_empty(world, heap, true);
        raise_to(&crew->tally->longest_settle, now() - began);
        uint64_t committed = heap_committed(heap);
        if (write(crew->answer[1], &committed, sizeof committed) < 0)
            break;
    }
    cairn_heap_close(heap);
}

static uint64_t give_order(struct crew *crew, struct order_message message)
{
    struct pollfd ready = {.fd = crew->answer[0], .events = POLLIN};
    uint64_t committed;
    if (write(crew->order[1], &message, sizeof message) != sizeof message)
        fail("the overseer is gone");
    if (poll(&ready, 1, WATCHDOG_SECONDS * 1000) == 0)
        fail("the overseer hangs");
    if (read(crew->answer[0], &committed, sizeof committed) != sizeof committed)
        require_end(process_end(crew->overseer, 1), "the overseer");
    return committed;
}

/* ---------------------------------------------------------------- the whole */

void crew_begin(struct crew *crew, uint64_t seed, uint32_t members, uint64_t bytes_max, struct tally *tally)
{
    struct random random = random_begin(seed);
    *crew = (struct crew){.world = world_new(), .members = members, .tally = tally};
    crew->world->has_peers = true;
    crew->world->crew = crew;
    for (uint32_t s = 0; s < SLOTS; s++)
        crew->world->slots[s].random = random_begin(random_next(&random));
    world_begin(crew->world, "heap", bytes_max);
    crew->world->size_max = 8000;
    if (pipe(crew->order) < 0 || pipe(crew->answer) < 0)
        fail("no descriptors");
    crew->overseer = process_start(overseer_run, crew);
    close(crew->order[0]);
    close(crew->answer[1]);
}

void crew_await_total(struct crew *crew, uint32_t number, uint64_t calls)
{
    const struct slot *slot = &crew->world->slots[number];
    uint64_t began = now(), made = 0;
    for (uint64_t calls_now; (calls_now = atomic_load(&slot->calls)) < calls;) {
        if (atomic_load(&crew->world->stopped) != 0 && atomic_load(&slot->awaits) != 0)
            return;              /* perhaps for the one that is stopped */
        if (calls_now != made) { /* slow is no hang */
            made = calls_now;
            began = now();
        }
        siginfo_t ended = {0};
        pid_t process = crew->processes[number];
        if (process != 0 &&
            (waitid(P_PID, (id_t)process, &ended, WEXITED | WNOHANG | WNOWAIT) < 0 || ended.si_pid != 0))
            require_end(process_end(process, 1), "a member");
        if (fail_text[0] != '\0')
            fail("%s", fail_text);
        if (now() - began > WATCHDOG_SECONDS * UINT64_C(1000000000))
            fail("member %u hangs in %s", number, call_name(atomic_load(&slot->call.kind)));
        sched_yield();
    }
}

void crew_progress(struct crew *crew, uint32_t first, uint64_t calls)
{
    uint64_t wanted[SLOTS];
    for (uint32_t s = first; s < crew->members; s++)
        wanted[s] = atomic_load(&crew->world->slots[s].calls) + calls;
    for (uint32_t s = first; s < crew->members; s++)
        crew_await_total(crew, s, wanted[s]);
}

void crew_await(struct crew *crew, uint32_t number, uint64_t calls)
{
    crew_await_total(crew, number, atomic_load(&crew->world->slots[number].calls) + calls);
}

void crew_settle(struct crew *crew, uint32_t number, pid_t dead)
{
    (void)give_order(crew, (struct order_message){.order = ORDER_SETTLE, .number = number, .dead = dead});
}

void crew_settle_one(struct crew *crew, uint32_t number, pid_t dead)
{
    (void)give_order(
        crew, (struct order_message){.order = ORDER_SETTLE, .number = number, .dead = dead, .has_namesake = true});
}

void crew_require_alive(struct crew *crew, pid_t process)
{
    (void)give_order(crew, (struct order_message){.order = ORDER_REQUIRE_ALIVE, .dead = process});
}

bool crew_holds_roots(struct crew *crew, pid_t process)
{
    return give_order(crew, (struct order_message){.order = ORDER_HOLDS_ROOTS, .dead = process}) != 0;
}

uint64_t crew_fill_once(struct crew *crew)
{
    return give_order(crew, (struct order_message){.order = ORDER_FILL});
}

/* Until all that live have parked; pause is set. */
static void await_parked(const struct crew *crew)
{
    struct world *world = crew->world;
    uint32_t living = 0;
    for (uint32_t s = 0; s < crew->members; s++)
        living += crew->processes[s] > 0;
    uint64_t began = now();
    for (uint32_t parked; (parked = atomic_load(&world->parked)) < living;) {
        word_wait(&world->parked, parked);
        if (now() - began > WATCHDOG_SECONDS * UINT64_C(1000000000))
            fail("%u of %u members hang", living - parked, living);
        if (fail_text[0] != '\0')
            fail("%s", fail_text);
    }
}

static void go_on(struct world *world)
{
    atomic_store(&world->pause, 0);
    word_wake(&world->pause);
    for (uint32_t parked; (parked = atomic_load(&world->parked)) > 0;)
        sched_yield();
}

void crew_start_from(struct crew *crew, uint32_t first)
{
    atomic_store(&crew->world->pause, 1);
    for (uint32_t s = first; s < crew->members; s++)
        crew_start(crew, s);
    await_parked(crew);
    go_on(crew->world);
}

uint64_t crew_count(struct crew *crew)
{
    atomic_store(&crew->world->pause, 1);
    await_parked(crew);
    uint64_t committed = give_order(crew, (struct order_message){.order = ORDER_COUNT});
    go_on(crew->world);
    return committed;
}

uint64_t crew_rest(struct crew *crew)
{
    atomic_store(&crew->world->stop, 1);
    for (uint32_t s = 0; s < crew->members; s++) {
        if (crew->processes[s] > 0)
            require_end(process_end(crew->processes[s], WATCHDOG_SECONDS), "a member");
        crew->processes[s] = 0;
    }
    atomic_store(&crew->world->stop, 0);
    return give_order(crew, (struct order_message){.order = ORDER_EMPTY});
}

uint64_t crew_end(struct crew *crew)
{
    uint64_t committed = crew_rest(crew);
    for (uint32_t s = 0; s < crew->members; s++) {
        raise_to(&crew->tally->longest, atomic_load(&crew->world->slots[s].slowest));
        for (uint32_t i = 0; i < LATENCIES; i++)
            atomic_fetch_add(&crew->tally->latencies[i], crew->world->slots[s].latencies[i]);
    }
    close(crew->order[1]);
    close(crew->answer[0]);
    require_end(process_end(crew->overseer, WATCHDOG_SECONDS), "the overseer");
    char path[300];
    snprintf(path, sizeof path, "%s/%s", getenv("CAIRN_DIR"), crew->world->name);
    unlink(path);
    world_delete(crew->world);
    return committed;
}
