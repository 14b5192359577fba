/* SPDX-License-Identifier: MIT */
/* Heaps are reset and destroyed while threads and processes are busy in others, or, where they are shared, in them. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/random.h"
#include "support/workspace.h"

enum { SECONDS = 2, SECONDS_MOST = 20, ROUNDS = 100 };

/* Rounds until the time is over; CAIRN_ROUNDS=n makes them 100 n, however long they take. */
struct rounds {
    uint64_t done;
    uint64_t wanted; /* 0: by the clock */
    time_t until;
};

static time_t seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static struct rounds begin_rounds(void)
{
    const char *wanted = getenv("CAIRN_ROUNDS");
    struct rounds rounds = {.wanted = wanted != NULL && wanted[0] != '\0' ? random_rounds(ROUNDS) : 0};
    rounds.until = seconds_now() + SECONDS;
    return rounds;
}

static bool another_round(struct rounds *rounds)
{
    bool more = rounds->wanted != 0 ? rounds->done < rounds->wanted : seconds_now() < rounds->until;
    rounds->done += more;
    return more;
}

/* ---------------------------------------------------------------- private heaps under threads */

enum { BUSY = 8 };

struct bustle {
    cairn_heap *common; /* of the same section as those that come and go */
    _Atomic bool over;
    _Atomic uint64_t turns;
    _Atomic uint64_t own; /* heaps that the busy made and ended themselves */
    uint64_t seed;
};

static void use_a_little(cairn_heap *heap, struct random *random, int count, bool leaves)
{
    unsigned char *blocks[40] = {NULL};
    for (int i = 0; i < count; i++) {
        size_t slot = random_below(random, COUNT(blocks));
        if (blocks[slot] != NULL) {
            size_t size = cairn_size(heap, blocks[slot]);
            REQUIRE(blocks[slot][0] == (unsigned char)slot && blocks[slot][size - 1] == (unsigned char)slot);
            cairn_free(heap, blocks[slot]);
        }
        blocks[slot] = cairn_alloc(heap, 1 + random_size(random, random_below(random, 8) == 0 ? 200000 : 2000));
        REQUIRE_CALL(blocks[slot] != NULL);
        memset(blocks[slot], (int)slot, cairn_size(heap, blocks[slot]));
    }
    for (size_t slot = 0; slot < COUNT(blocks); slot++) {
        if (!leaves || random_below(random, 4) != 0)
            cairn_free(heap, blocks[slot]); /* the rest ends with the heap */
    }
}

/* In a heap that stays; and in heaps of its own, whose numbers and units those of others were before. */
static void *be_busy(void *arg)
{
    struct bustle *bustle = arg;
    struct random random = random_begin(atomic_fetch_add(&bustle->turns, 1) + bustle->seed);
    unsigned char *kept[30] = {NULL};
    cairn_heap *own = create_private(0);
    while (!atomic_load(&bustle->over)) {
        for (int i = 0; i < 30; i++) {
            size_t slot = random_below(&random, COUNT(kept));
            if (kept[slot] != NULL)
                REQUIRE(kept[slot][0] == 0x33);
            cairn_free(bustle->common, kept[slot]);
            REQUIRE_CALL((kept[slot] = cairn_alloc(bustle->common, 1 + random_below(&random, 3000))) != NULL);
            kept[slot][0] = 0x33;
        }
        use_a_little(own, &random, 20, true);
        uint64_t what = random_below(&random, 12);
        if (what < 4) {
            REQUIRE_CALL(cairn_heap_reset(own) == 0);
        } else if (what < 8) {
            if (what % 2 == 0)
                cairn_heap_close(own);
            else
                REQUIRE_CALL(cairn_heap_destroy(own) == 0);
            own = create_private(0);
            atomic_fetch_add(&bustle->own, 1);
        } else if (what == 8) {
            REQUIRE(cairn_trim(bustle->common) >= 0); /* looks at all slabs of this thread, in whichever heap */
        }
        atomic_fetch_add_explicit(&bustle->turns, 1, memory_order_relaxed);
    }
    for (size_t slot = 0; slot < COUNT(kept); slot++)
        cairn_free(bustle->common, kept[slot]);
    REQUIRE_CALL(cairn_heap_destroy(own) == 0);
    return NULL;
}

/* Used by threads which then do something else, or end at the moment of its end. */
struct guest {
    cairn_heap *heap;
    struct bustle *bustle;
    _Atomic uint32_t *arrived;
    _Atomic uint32_t *go;
    uint64_t seed;
    bool stays;
};

static void *visit(void *arg)
{
    struct guest *guest = arg;
    struct random random = random_begin(guest->seed);
    use_a_little(guest->heap, &random, 30, true);
    cairn_heap *common = guest->bustle->common;
    void *mine = cairn_alloc(common, 100);
    advance(guest->arrived);
    wait_for(guest->go, 1);
    cairn_free(common, mine);
    /* Some leave blocks behind, which a reset at the end frees; did all, counting them would be all that is done. */
    if (guest->stays)
        use_a_little(common, &random, 20, random_below(&random, 64) == 0);
    if (guest->stays && random_below(&random, 2) == 0)
        REQUIRE(cairn_trim(common) >= 0);
    return NULL;
}

static void heaps_end_under_busy_threads(bool by_reset)
{
    struct bustle bustle = {.common = create_private(0), .seed = random_seed("destroy", 31)};
    pthread_t busy[BUSY - 2], guests[2];
    for (size_t i = 0; i < COUNT(busy); i++)
        REQUIRE(pthread_create(&busy[i], NULL, be_busy, &bustle) == 0);
    struct random random = random_begin(bustle.seed + 1000);
    struct rounds rounds = begin_rounds();
    cairn_heap *heap = NULL;
    while (another_round(&rounds)) {
        if (heap == NULL)
            heap = create_private(0);
        _Atomic uint32_t arrived = 0, go = 0;
        struct guest guest[2];
        for (size_t i = 0; i < COUNT(guests); i++) {
            guest[i] = (struct guest){
                .heap = heap,
                .bustle = &bustle,
                .arrived = &arrived,
                .go = &go,
                .seed = random_next(&random),
                .stays = i == 0,
            };
            REQUIRE(pthread_create(&guests[i], NULL, visit, &guest[i]) == 0);
        }
        wait_for(&arrived, COUNT(guests)); /* now they are in no call with it any more */
        use_a_little(heap, &random, 10, true);
        advance(&go); /* one goes on elsewhere, and one ends */
        if (by_reset) {
            REQUIRE_CALL(cairn_heap_reset(heap) == 0);
            REQUIRE_EQUAL(blocks_live(heap), 0);
        } else {
            if (rounds.done % 2 == 0)
                cairn_heap_close(heap);
            else
                REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
            heap = NULL;
        }
        for (size_t i = 0; i < COUNT(guests); i++)
            REQUIRE(pthread_join(guests[i], NULL) == 0);
    }
    atomic_store(&bustle.over, true);
    for (size_t i = 0; i < COUNT(busy); i++)
        REQUIRE(pthread_join(busy[i], NULL) == 0);
    printf("%llu rounds, %llu heaps of the busy\n", (unsigned long long)rounds.done,
           (unsigned long long)atomic_load(&bustle.own));
    REQUIRE_SOUND(bustle.common);
    REQUIRE_CALL(heap == NULL || cairn_heap_destroy(heap) == 0);
    REQUIRE_CALL(cairn_heap_reset(bustle.common) == 0);
    REQUIRE_EQUAL(blocks_live(bustle.common), 0);
    cairn_stats stats = stats_of(bustle.common);
    REQUIRE_EQUAL(stats.bytes_committed, 0); /* nothing is charged to it */
    REQUIRE_SOUND(bustle.common);
    cairn_heap_close(bustle.common);
}

static void private_heaps_are_destroyed_under_busy_threads(void)
{
    heaps_end_under_busy_threads(false);
}

static void private_heaps_are_reset_under_busy_threads(void)
{
    heaps_end_under_busy_threads(true);
}

/* ---------------------------------------------------------------- shared heaps under processes */

enum { PROCESSES = 4 };

struct stage {
    _Atomic uint32_t round;
    _Atomic uint32_t arrived;
    _Atomic uint32_t turns;
    _Atomic uint32_t over;
};

static struct stage *stage;

/* Works until the heap is gone; returns how many blocks it got. */
static uint64_t use_until_stale(cairn_heap *heap, struct random *random)
{
    unsigned char *blocks[40] = {NULL};
    uint64_t count = 0;
    for (;;) {
        size_t slot = random_below(random, COUNT(blocks));
        cairn_free(heap, blocks[slot]); /* perhaps of a heap that is gone: no crime */
        blocks[slot] = cairn_alloc(heap, 1 + random_size(random, 60000));
        if (blocks[slot] == NULL)
            break;
        blocks[slot][0] = 1; /* no harm, whenever */
        count++;
        if (random_below(random, 16) == 0)
            advance(&stage->turns);
    }
    int error = cairn_last_errno();
    if (error != -ESTALE)
        broken(__FILE__, __LINE__, "%d instead of ESTALE: %s", error, cairn_last_error());
    for (size_t slot = 0; slot < COUNT(blocks); slot++)
        cairn_free(heap, blocks[slot]);
    return count;
}

static void open_and_use_heaps(void *arg)
{
    (void)arg;
    struct random random = random_begin((uint64_t)getpid());
    for (uint32_t round = 1;; round++) {
        wait_for(&stage->round, round);
        if (atomic_load(&stage->over) != 0)
            return;
        char name[20];
        snprintf(name, sizeof name, "heap%u", round % 2);
        cairn_heap *heap = open_shared(name, 0);
        advance(&stage->arrived);
        use_until_stale(heap, &random);
        if (random_below(&random, 2) == 0)
            cairn_heap_close(heap);
        else
            REQUIRE_EQUAL(cairn_heap_destroy(heap), -ESTALE);
    }
}

static void open_and_use_children(void *arg)
{
    (void)arg;
    struct random random = random_begin((uint64_t)getpid());
    cairn_heap *heap = open_shared("heap", 0);
    void *mine[10] = {NULL};
    for (uint32_t round = 1;; round++) {
        wait_for(&stage->round, round);
        if (atomic_load(&stage->over) != 0)
            break;
        cairn_heap *child;
        REQUIRE_CALL(cairn_heap_open_child(&child, heap, "child") == 0);
        advance(&stage->arrived);
        use_until_stale(child, &random);
        cairn_heap_close(child);
        size_t slot = random_below(&random, COUNT(mine));
        cairn_free(heap, mine[slot]);
        mine[slot] = cairn_alloc(heap, random_below(&random, 3000));
        REQUIRE_CALL(mine[slot] != NULL);
    }
    for (size_t slot = 0; slot < COUNT(mine); slot++)
        cairn_free(heap, mine[slot]);
    cairn_heap_close(heap);
}

static void start_all(pid_t children[PROCESSES], void (*run)(void *arg))
{
    stage = shared_memory(sizeof *stage);
    for (int i = 0; i < PROCESSES; i++)
        children[i] = start(run, NULL);
}

static void end_all(pid_t children[PROCESSES])
{
    atomic_store(&stage->over, 1);
    advance(&stage->round);
    for (int i = 0; i < PROCESSES; i++)
        finish(children[i]);
}

/* All are in it, at work. */
static void wait_for_work(uint64_t round)
{
    wait_for(&stage->arrived, (uint32_t)(round * PROCESSES));
    wait_for(&stage->turns, atomic_load(&stage->turns) + 1 + (uint32_t)(round % 8));
}

static void shared_heaps_are_destroyed_under_four_processes(void)
{
    pid_t children[PROCESSES];
    start_all(children, open_and_use_heaps);
    struct rounds rounds = begin_rounds();
    while (another_round(&rounds)) {
        char name[20];
        snprintf(name, sizeof name, "heap%u", (unsigned)(rounds.done % 2));
        cairn_heap *heap = create_shared(name, 32 * MIB);
        advance(&stage->round);
        wait_for_work(rounds.done);
        REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
        REQUIRE(access(workspace_path(name), F_OK) != 0);
    }
    end_all(children);
    printf("%llu rounds\n", (unsigned long long)rounds.done);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

static void children_are_destroyed_under_four_processes(void)
{
    cairn_heap *heap = create_shared("heap", 32 * MIB);
    pid_t children[PROCESSES];
    start_all(children, open_and_use_children);
    struct rounds rounds = begin_rounds();
    while (another_round(&rounds)) {
        cairn_options options = {.size = sizeof options, .name = "child", .parent = heap};
        cairn_heap *child;
        REQUIRE_CALL(cairn_heap_create(&child, &options) == 0);
        advance(&stage->round);
        wait_for_work(rounds.done);
        REQUIRE_CALL(cairn_heap_destroy(child) == 0);
    }
    end_all(children);
    printf("%llu rounds\n", (unsigned long long)rounds.done);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE(cairn_trim(heap) >= 0);
    cairn_stats stats = stats_of(heap);
    void *all = cairn_alloc(heap, 26 * MIB); /* no unit was lost */
    if (all == NULL)
        broken(__FILE__, __LINE__, "%llu bytes free, run %llu, %llu slabs, %llu orphans, %llu owners: %s",
               (unsigned long long)stats.bytes_free, (unsigned long long)stats.bytes_free_run,
               (unsigned long long)stats.slabs, (unsigned long long)stats.orphans, (unsigned long long)stats.owners,
               cairn_last_error());
    cairn_free(heap, all);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

/* A shared heap is reset by who alone holds it; while others hold any of it, they are not disturbed. */
static void hold_and_let_go(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    struct random random = random_begin((uint64_t)getpid());
    for (uint32_t round = 1;; round++) {
        wait_for(&stage->round, round);
        if (atomic_load(&stage->over) != 0)
            break;
        unsigned char *block = cairn_alloc(heap, 1 + random_size(&random, 3000));
        REQUIRE_CALL(block != NULL);
        block[0] = 0x5c;
        advance(&stage->arrived);
        wait_for(&stage->turns, round); /* a reset was refused meanwhile */
        REQUIRE(block[0] == 0x5c && cairn_size(heap, block) >= 1);
        cairn_free(heap, block);
        REQUIRE(cairn_trim(heap) >= 0);
        advance(&stage->arrived);
    }
    cairn_heap_close(heap);
}

static void shared_heaps_are_reset_by_who_alone_holds_them(void)
{
    cairn_heap *heap = create_shared("heap", 32 * MIB);
    pid_t children[PROCESSES];
    start_all(children, hold_and_let_go);
    struct rounds rounds = begin_rounds();
    uint64_t refused = 0, done = 0, ours = 0; /* blocks since the last reset */
    while (another_round(&rounds)) {
        advance(&stage->round);
        wait_for(&stage->arrived, (uint32_t)((rounds.done * 2 - 1) * PROCESSES));
        REQUIRE_EQUAL(cairn_heap_reset(heap), -EBUSY);
        refused++;
        REQUIRE_EQUAL(blocks_live(heap), PROCESSES + ours);
        REQUIRE_CALL(cairn_alloc(heap, 100) != NULL && cairn_alloc(heap, 100000) != NULL); /* ours ends by the reset */
        ours += 2;
        advance(&stage->turns);
        wait_for(&stage->arrived, (uint32_t)(rounds.done * 2 * PROCESSES));
        int error = cairn_heap_reset(heap);
        REQUIRE(error == 0 || error == -EBUSY); /* a trim may leave a slab with its owner */
        if (error < 0)
            continue;
        done++;
        ours = 0;
        REQUIRE_EQUAL(blocks_live(heap), 0);
    }
    end_all(children);
    printf("%llu refused, %llu done\n", (unsigned long long)refused, (unsigned long long)done);
    REQUIRE_CALL(cairn_heap_reset(heap) == 0); /* now nobody is there */
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

/* A large block is its thread's like a slab, and only as long as that lives. */
static void hold_a_large_block(void *arg)
{
    const bool *dies = arg;
    cairn_heap *heap = open_shared("heap", 0);
    unsigned char *block = cairn_alloc(heap, 300000);
    REQUIRE_CALL(block != NULL);
    memset(block, 0x5c, 300000);
    advance(&stage->arrived);
    wait_for(&stage->turns, 1); /* a reset was refused meanwhile */
    for (size_t i = 0; i < 300000; i++)
        REQUIRE(block[i] == 0x5c);
    if (*dies) {
        advance(&stage->arrived);
        wait_for(&stage->turns, 3); /* to be killed */
    }
    cairn_free(heap, block);
    advance(&stage->arrived);
    wait_for(&stage->turns, 2);
    REQUIRE_CALL(cairn_alloc(heap, 300000) != NULL); /* stays behind */
    cairn_heap_close(heap);
}

static void a_large_block_of_another_process_stops_a_reset(void)
{
    for (int dies = 0; dies < 2; dies++) {
        cairn_heap *heap = create_shared("heap", 32 * MIB);
        stage = shared_memory(sizeof *stage);
        bool way = dies != 0;
        pid_t other = start(hold_a_large_block, &way);
        wait_for(&stage->arrived, 1);
        REQUIRE_CALL(cairn_alloc(heap, 400000) != NULL); /* ours ends by the reset */
        REFUSED(-EBUSY, cairn_heap_reset(heap));
        REQUIRE_EQUAL(blocks_live(heap), 2);
        advance(&stage->turns);
        wait_for(&stage->arrived, 2);
        if (dies != 0) {
            kill(other, SIGKILL);
            finish_by(other, SIGKILL);
            REQUIRE_CALL(cairn_heap_reset(heap) == 0);
            REQUIRE_EQUAL(blocks_live(heap), 0);
        } else {
            REQUIRE_CALL(cairn_heap_reset(heap) == 0);
            advance(&stage->turns);
            finish(other);
            REQUIRE_EQUAL(blocks_live(heap), 1); /* of a process that has closed it */
            REQUIRE_CALL(cairn_heap_reset(heap) == 0);
        }
        REQUIRE_EQUAL(blocks_live(heap), 0);
        REQUIRE_SOUND(heap);
        REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    }
}

/* A block that is freed in the moment in which the thread that got it leaves, and its word loses its owner, is freed
 * once. */
struct legacy {
    cairn_heap *heap;
    void *blocks[60];
    _Atomic bool left;
};

static void *leave_large_blocks(void *arg)
{
    struct legacy *legacy = arg;
    for (size_t i = 0; i < COUNT(legacy->blocks); i++)
        REQUIRE_CALL((legacy->blocks[i] = cairn_alloc(legacy->heap, 70000)) != NULL);
    atomic_store(&legacy->left, true);
    return NULL;
}

static void large_blocks_are_freed_while_their_threads_leave(void)
{
    cairn_heap *heaps[] = {create_private(0), create_shared("heap", 32 * MIB)};
    struct rounds rounds = begin_rounds();
    while (another_round(&rounds)) {
        struct legacy legacy = {.heap = heaps[rounds.done % 2]};
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, leave_large_blocks, &legacy) == 0);
        while (!atomic_load(&legacy.left))
            ;
        for (uint64_t spin = rounds.done * 31 % 10000; spin-- > 0;)
            atomic_load(&legacy.left);
        for (size_t i = 0; i < COUNT(legacy.blocks); i++)
            cairn_free(legacy.heap, legacy.blocks[rounds.done % 4 < 2 ? i : COUNT(legacy.blocks) - 1 - i]);
        REQUIRE(pthread_join(thread, NULL) == 0);
    }
    printf("%llu rounds\n", (unsigned long long)rounds.done);
    for (size_t i = 0; i < COUNT(heaps); i++) {
        REQUIRE_EQUAL(blocks_live(heaps[i]), 0);
        REQUIRE_SOUND(heaps[i]);
        REQUIRE_CALL(cairn_heap_destroy(heaps[i]) == 0);
    }
}

/* Killed in the middle of a destroy or a reset: the heap is whole, before or after. */
static void end_children_for_ever(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    struct random random = random_begin((uint64_t)getpid());
    for (;;) {
        cairn_options options = {.size = sizeof options, .name = "mortal", .parent = heap, .flags = CAIRN_BOUND};
        cairn_heap *child;
        int error = cairn_heap_create(&child, &options);
        REQUIRE(error == 0 || error == -EEXIST); /* of one that was killed, until somebody looks */
        if (error < 0) {
            REQUIRE(cairn_recover(heap) >= 0);
            continue;
        }
        for (int i = 0; i < 30; i++)
            REQUIRE_CALL(cairn_alloc(child, 1 + random_size(&random, 30000)) != NULL);
        if (random_below(&random, 2) == 0)
            REQUIRE_CALL(cairn_heap_reset(child) == 0);
        else
            REQUIRE_CALL(cairn_heap_destroy(child) == 0);
        if (cairn_heap_open_child(&child, heap, "mortal") == 0)
            REQUIRE_CALL(cairn_heap_destroy(child) == 0);
        advance(&stage->turns);
    }
}

static void a_kill_in_a_destroy_leaves_the_heap_whole(void)
{
    cairn_heap *heap = create_shared("heap", 32 * MIB);
    stage = shared_memory(sizeof *stage);
    struct random random = random_begin(random_seed("kill", 41));
    void *mine = cairn_alloc(heap, 1000);
    REQUIRE_CALL(mine != NULL);
    struct rounds rounds = begin_rounds();
    while (another_round(&rounds)) {
        pid_t worker = start(end_children_for_ever, NULL);
        wait_for(&stage->turns, atomic_load(&stage->turns) + 1 + (uint32_t)random_below(&random, 5));
        for (uint64_t spin = random_below(&random, 3000); spin-- > 0;)
            atomic_load(&stage->turns);
        kill(worker, SIGKILL);
        finish_by(worker, SIGKILL);
        REQUIRE(cairn_recover(heap) >= 0);
        REQUIRE_SOUND(heap);
        cairn_heap *child = untouched;
        REQUIRE_EQUAL(cairn_heap_open_child(&child, heap, "mortal"), -ENOENT); /* it was bound */
        void *large = cairn_alloc(heap, 26 * MIB);
        REQUIRE_CALL(large != NULL); /* all that it had is back */
        cairn_free(heap, large);
    }
    printf("%llu kills\n", (unsigned long long)rounds.done);
    REQUIRE_EQUAL(blocks_live(heap), 1);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(private_heaps_are_destroyed_under_busy_threads),  CLAIM(private_heaps_are_reset_under_busy_threads),
        CLAIM(shared_heaps_are_destroyed_under_four_processes), CLAIM(children_are_destroyed_under_four_processes),
        CLAIM(shared_heaps_are_reset_by_who_alone_holds_them),  CLAIM(a_kill_in_a_destroy_leaves_the_heap_whole),
        CLAIM(a_large_block_of_another_process_stops_a_reset),  CLAIM(large_blocks_are_freed_while_their_threads_leave),
    };
    return run_claims(claims, COUNT(claims), getenv("CAIRN_ROUNDS") != NULL ? 3600 : SECONDS_MOST);
}
