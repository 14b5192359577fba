/* SPDX-License-Identifier: MIT */
/* cairn_heap_lock: while one thread holds a heap, nothing in it changes but by that thread. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/random.h"
#include "support/steps.h"
#include "support/suite.h"
#include "support/workspace.h"

/* Each thread by itself; all under one lock; each by itself in a section of the heap's own. */
enum kind { GROWING, SMALL, LARGE, EXACT, KINDS };

static cairn_heap *make(enum kind kind)
{
    static const uint64_t bounds[] = {0, 4 * MIB, 200 * MIB, 0};
    cairn_options options = {
        .size = sizeof options,
        .flags = CAIRN_LOCKABLE | (kind == EXACT ? CAIRN_EXACT_SIZES : 0),
        .bytes_max = bounds[kind],
    };
    cairn_heap *heap;
    if (cairn_heap_create(&heap, &options) < 0)
        ck_abort_msg("create: %s", cairn_last_error());
    return heap;
}

static void end(cairn_heap *heap)
{
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static pthread_t start_thread(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, run, arg) == 0);
    return thread;
}

static void join(pthread_t thread)
{
    REQUIRE(pthread_join(thread, NULL) == 0);
}

/* ---------------------------------------------------------------- a picture of the heap */

struct picture {
    uint64_t hash;
    uint64_t blocks;
};

static void mix(uint64_t *hash, uint64_t value)
{
    *hash = (*hash ^ value) * UINT64_C(0x100000001b3);
}

static int see_span(const cairn_span *span, void *arg)
{
    struct picture *picture = arg;
    mix(&picture->hash, (uintptr_t)span->address);
    mix(&picture->hash, span->bytes);
    mix(&picture->hash, span->kind);
    mix(&picture->hash, span->blocks_live);
    return 0;
}

static int see_block(void *block, size_t bytes, void *arg)
{
    struct picture *picture = arg;
    mix(&picture->hash, (uintptr_t)block);
    mix(&picture->hash, bytes);
    picture->blocks++;
    return 0;
}

static struct picture look_at(cairn_heap *heap)
{
    struct picture picture = {0};
    REQUIRE_EQUAL(cairn_walk(heap, see_span, see_block, &picture), 0);
    return picture;
}

static void require_still(cairn_heap *heap)
{
    cairn_stats stats = stats_of(heap);
    struct picture picture = look_at(heap);
    sched_yield(); /* now the others could, if they were able to */
    struct picture again = look_at(heap);
    cairn_stats stats_again = stats_of(heap);
    REQUIRE(picture.hash == again.hash && picture.blocks == again.blocks);
    REQUIRE(memcmp(&stats, &stats_again, sizeof stats) == 0);
    REQUIRE_EQUAL(picture.blocks, stats.blocks_live);
}

/* ---------------------------------------------------------------- stopping those at work */

enum { WORKERS = 4, SLOTS = 200 };

struct crew {
    cairn_heap *heap;
    _Atomic bool over;
    _Atomic uint32_t at_work;
    _Atomic uint64_t turns;
    _Atomic(unsigned char *) slots[SLOTS];
};

/* Blocks go from thread to thread: each frees what another allocated. */
static void *work(void *arg)
{
    struct crew *crew = arg;
    cairn_free(crew->heap, cairn_alloc(crew->heap, 1)); /* one more owner is not what is looked for */
    advance(&crew->at_work);
    struct random random = random_begin(atomic_load(&crew->at_work));
    while (!atomic_load(&crew->over)) {
        size_t size = 1 + random_below(&random, random_below(&random, 30) == 0 ? 40000 : 500);
        unsigned char *block = cairn_alloc(crew->heap, size);
        if (block != NULL) {
            block[0] = block[size - 1] = (unsigned char)size;
            if (random_below(&random, 4) == 0) {
                unsigned char *moved = cairn_realloc(crew->heap, block, size * 2);
                block = moved != NULL ? moved : block;
            }
        }
        block = atomic_exchange(&crew->slots[random_below(&random, SLOTS)], block);
        cairn_free(crew->heap, block);
        if (random_below(&random, 500) == 0)
            cairn_trim(crew->heap);
        atomic_fetch_add_explicit(&crew->turns, 1, memory_order_relaxed);
    }
    return NULL;
}

START_TEST(a_locked_heap_stands_still)
{
    static struct crew crew;
    crew = (struct crew){.heap = make((enum kind)_i)};
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        threads[i] = start_thread(work, &crew);
    uint64_t locks = random_rounds(UNDER_SANITIZER ? 1000 : _i == GROWING || _i == SMALL ? 10000 : 2000);
    uint64_t first = 0;
    while (atomic_load(&crew.at_work) < WORKERS || atomic_load(&crew.turns) < 1000)
        sched_yield(); /* a thread's first call makes it an owner, which the statistics tell */
    for (uint64_t i = 0; i < locks; i++) {
        REQUIRE_CALL(cairn_heap_lock(crew.heap) == 0);
        first = i == 0 ? atomic_load(&crew.turns) : first;
        cairn_stats stats = stats_of(crew.heap);
        if (i % 3 == 0) {
            /* The holder may use it like any other. */
            void *block = cairn_alloc(crew.heap, 300);
            REQUIRE(block != NULL || cairn_last_errno() == -ENOMEM);
            REQUIRE_EQUAL(blocks_live(crew.heap), stats.blocks_live + (block != NULL));
            cairn_free(crew.heap, block);
            REQUIRE_EQUAL(blocks_live(crew.heap), stats.blocks_live);
        } else {
            cairn_stats again = stats_of(crew.heap);
            REQUIRE(memcmp(&stats, &again, sizeof stats) == 0);
        }
        if (i % 50 == 0) {
            require_still(crew.heap);
            REQUIRE_SOUND(crew.heap);
        }
        REQUIRE_CALL(cairn_heap_unlock(crew.heap) == 0);
        if (i % 100 == 0) { /* let them: each round of it finds another state */
            uint64_t turns = atomic_load(&crew.turns);
            while (atomic_load(&crew.turns) < turns + 10)
                sched_yield();
        }
    }
    REQUIRE(atomic_load(&crew.turns) > first);
    atomic_store(&crew.over, true);
    for (int i = 0; i < WORKERS; i++)
        join(threads[i]);
    for (size_t i = 0; i < SLOTS; i++)
        cairn_free(crew.heap, atomic_load(&crew.slots[i]));
    ck_assert_uint_eq(blocks_live(crew.heap), 0);
    end(crew.heap);
}
END_TEST

/*
 * A thread is stopped behind each instruction of an allocation and a free, and another locks the heap there. Either
 * that has to wait until the call is over, or the call waits: while the lock is held the heap does not change.
 */
enum { PATIENCE_US = 5000 };

static struct stopped {
    cairn_heap *heap;
    size_t at;
    _Atomic bool is_there, is_locked, is_over;
    _Atomic size_t behind;
} stopped;

static int64_t microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* A moment for the other thread: one that has to wait is not waited for. */
static bool is_patient(int64_t since)
{
    sched_yield();
    return microseconds() - since < PATIENCE_US;
}

static void stop_there(size_t instruction)
{
    if (instruction > stopped.at)
        atomic_store(&stopped.behind, instruction - stopped.at);
    if (instruction != stopped.at)
        return;
    atomic_store(&stopped.is_there, true);
    int64_t since = microseconds();
    while (!atomic_load(&stopped.is_locked) && is_patient(since))
        ;
}

static void alloc_and_free(void *arg)
{
    unsigned char *block = cairn_alloc(stopped.heap, 40);
    cairn_free(stopped.heap, block);
    (void)arg;
}

static void *lock_there(void *arg)
{
    (void)arg;
    while (!atomic_load(&stopped.is_there) && !atomic_load(&stopped.is_over))
        sched_yield();
    REQUIRE_CALL(cairn_heap_lock(stopped.heap) == 0);
    uint64_t blocks = blocks_live(stopped.heap);
    atomic_store(&stopped.is_locked, true);
    int64_t since = microseconds();
    while (atomic_load(&stopped.behind) < 2000 && !atomic_load(&stopped.is_over) && is_patient(since))
        ; /* now it could go on, if it were able to */
    REQUIRE_EQUAL(blocks_live(stopped.heap), blocks);
    REQUIRE_CALL(cairn_heap_unlock(stopped.heap) == 0);
    return NULL;
}

START_TEST(a_call_that_was_stopped_anywhere_leaves_a_locked_heap_alone)
{
    if (!steps_are_possible())
        return;
    stopped.heap = make((enum kind)_i);
    for (int i = 0; i < 3; i++) /* so that the short paths are taken */
        alloc_and_free(NULL);
    size_t count = steps_call(alloc_and_free, NULL, stop_there);
    ck_assert_uint_ge(count, 100);
    for (stopped.at = 1; stopped.at < count; stopped.at += 1 + count / 100) { /* each, where the call is short */
        atomic_store(&stopped.is_there, false);
        atomic_store(&stopped.is_locked, false);
        atomic_store(&stopped.is_over, false);
        atomic_store(&stopped.behind, 0);
        pthread_t thread = start_thread(lock_there, NULL);
        steps_call(alloc_and_free, NULL, stop_there);
        atomic_store(&stopped.is_over, true);
        join(thread);
    }
    end(stopped.heap);
}
END_TEST

/* Two that lock take turns. */
struct lockers {
    cairn_heap *heap;
    int inside; /* by the lock alone */
    uint64_t count;
};

static void *lock_often(void *arg)
{
    struct lockers *lockers = arg;
    for (int i = 0; i < 2000; i++) {
        REQUIRE_CALL(cairn_heap_lock(lockers->heap) == 0);
        REQUIRE_EQUAL(lockers->inside++, 0);
        lockers->count++;
        cairn_free(lockers->heap, cairn_alloc(lockers->heap, 100));
        REQUIRE_EQUAL(--lockers->inside, 0);
        REQUIRE_CALL(cairn_heap_unlock(lockers->heap) == 0);
        cairn_free(lockers->heap, cairn_alloc(lockers->heap, 100));
    }
    return NULL;
}

START_TEST(one_thread_at_a_time_holds_the_lock)
{
    struct lockers lockers = {.heap = make((enum kind)_i)};
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        threads[i] = start_thread(lock_often, &lockers);
    for (int i = 0; i < WORKERS; i++)
        join(threads[i]);
    ck_assert_uint_eq(lockers.count, WORKERS * 2000);
    ck_assert_uint_eq(blocks_live(lockers.heap), 0);
    end(lockers.heap);
}
END_TEST

/* ---------------------------------------------------------------- who may unlock */

struct waiter {
    cairn_heap *heap;
    void *block;
    _Atomic uint32_t ready;
    _Atomic bool done;
};

static void *use_once(void *arg)
{
    struct waiter *waiter = arg;
    advance(&waiter->ready);
    cairn_free(waiter->heap, waiter->block);
    waiter->block = cairn_alloc(waiter->heap, 1000);
    atomic_store(&waiter->done, true);
    return NULL;
}

/* For a thousand turns given up; for fewer where each is long, because many wait for processors. */
static void require_waiting(const struct waiter *waiter)
{
    int64_t began_at = microseconds();
    for (int i = 0; i < 1000 && (i < 20 || microseconds() - began_at < 100000); i++) {
        REQUIRE(!atomic_load(&waiter->done));
        sched_yield();
    }
    REQUIRE(!atomic_load(&waiter->done));
}

START_TEST(the_lock_is_given_back_as_often_as_it_was_taken)
{
    struct waiter waiter = {.heap = make((enum kind)_i)};
    REQUIRE_CALL((waiter.block = cairn_alloc(waiter.heap, 500)) != NULL);
    for (int i = 0; i < 3; i++)
        REQUIRE_CALL(cairn_heap_lock(waiter.heap) == 0);
    pthread_t thread = start_thread(use_once, &waiter);
    wait_for(&waiter.ready, 1);
    for (int i = 0; i < 3; i++) {
        require_waiting(&waiter);
        REQUIRE_CALL(cairn_heap_unlock(waiter.heap) == 0);
    }
    join(thread);
    ck_assert(atomic_load(&waiter.done));
    ck_assert_int_eq(cairn_heap_unlock(waiter.heap), -EPERM);
    end(waiter.heap);
}
END_TEST

/* Resetting needs that nobody is in a call: the lock sees to it, and goes on holding. */
START_TEST(a_locked_heap_can_be_reset_and_stays_locked)
{
    struct waiter waiter = {.heap = make((enum kind)_i)};
    for (int i = 0; i < 100; i++)
        REQUIRE_CALL(cairn_alloc(waiter.heap, (size_t)i * 100) != NULL);
    REQUIRE_CALL(cairn_heap_lock(waiter.heap) == 0);
    pthread_t thread = start_thread(use_once, &waiter);
    wait_for(&waiter.ready, 1);
    require_waiting(&waiter);
    REQUIRE_CALL(cairn_heap_reset(waiter.heap) == 0);
    REQUIRE_EQUAL(blocks_live(waiter.heap), 0);
    require_waiting(&waiter);
    require_still(waiter.heap);
    REQUIRE_CALL(cairn_heap_unlock(waiter.heap) == 0);
    join(thread);
    REQUIRE_CALL(waiter.block != NULL);
    REQUIRE_EQUAL(blocks_live(waiter.heap), 1);
    end(waiter.heap);
}
END_TEST

static void *only_allocate(void *arg)
{
    struct crew *crew = arg;
    while (!atomic_load(&crew->over)) {
        (void)!cairn_alloc(crew->heap, 40); /* NULL where the last reset is long ago */
        atomic_fetch_add_explicit(&crew->turns, 1, memory_order_relaxed);
    }
    return NULL;
}

/* Also while the reset is at it no call of another gets by: its block would be in a slab that is freed just then. */
START_TEST(a_reset_under_the_lock_lets_nobody_in)
{
    static struct crew crew;
    crew = (struct crew){.heap = make((enum kind)_i)};
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        threads[i] = start_thread(only_allocate, &crew);
    uint64_t resets = random_rounds(_i == GROWING && !UNDER_SANITIZER ? 300 : 20);
    for (uint64_t i = 0; i < resets; i++) {
        uint64_t turns = atomic_load(&crew.turns);
        while (atomic_load(&crew.turns) < turns + 2)
            sched_yield();
        REQUIRE_CALL(cairn_heap_lock(crew.heap) == 0);
        for (int large = 0; large < 20; large++)
            (void)!cairn_alloc(crew.heap, 70000); /* so that the reset takes a moment */
        REQUIRE_CALL(cairn_heap_reset(crew.heap) == 0);
        REQUIRE_EQUAL(blocks_live(crew.heap), 0);
        REQUIRE_CALL(cairn_heap_unlock(crew.heap) == 0);
    }
    atomic_store(&crew.over, true);
    for (int i = 0; i < WORKERS; i++)
        join(threads[i]);
    end(crew.heap);
}
END_TEST

static void *resize_in_place(void *arg)
{
    struct waiter *waiter = arg;
    advance(&waiter->ready);
    REQUIRE_CALL(cairn_realloc(waiter->heap, waiter->block, 490) == waiter->block);
    atomic_store(&waiter->done, true);
    return NULL;
}

static void *expand_in_place(void *arg)
{
    struct waiter *waiter = arg;
    advance(&waiter->ready);
    REQUIRE_CALL(cairn_expand(waiter->heap, waiter->block, 505));
    atomic_store(&waiter->done, true);
    return NULL;
}

/* Where sizes are exact, a block that stays in its place changes as well. */
START_TEST(sizes_stand_still_under_the_lock)
{
    static void *(*const calls[])(void *) = {resize_in_place, expand_in_place};
    static const size_t sizes[] = {490, 505};
    cairn_options options = {.size = sizeof options,
                             .flags = CAIRN_LOCKABLE | CAIRN_EXACT_SIZES,
                             .checked = _i & 1,
                             .bytes_max = (_i & 2) != 0 ? 4 * MIB : 0};
    for (size_t i = 0; i < COUNT(calls); i++) {
        struct waiter waiter = {0};
        REQUIRE_CALL(cairn_heap_create(&waiter.heap, &options) == 0);
        REQUIRE_CALL((waiter.block = cairn_alloc(waiter.heap, 500)) != NULL);
        REQUIRE_CALL(cairn_heap_lock(waiter.heap) == 0);
        pthread_t thread = start_thread(calls[i], &waiter);
        wait_for(&waiter.ready, 1);
        require_waiting(&waiter);
        ck_assert_uint_eq(cairn_size(waiter.heap, waiter.block), 500);
        REQUIRE_CALL(cairn_heap_unlock(waiter.heap) == 0);
        join(thread);
        ck_assert_uint_eq(cairn_size(waiter.heap, waiter.block), sizes[i]);
        end(waiter.heap);
    }
}
END_TEST

static void *reset_once(void *arg)
{
    struct waiter *waiter = arg;
    advance(&waiter->ready);
    REQUIRE_CALL(cairn_heap_reset(waiter->heap) == 0);
    atomic_store(&waiter->done, true);
    return NULL;
}

START_TEST(a_reset_waits_for_the_lock)
{
    struct waiter waiter = {.heap = make((enum kind)_i)};
    REQUIRE_CALL(cairn_alloc(waiter.heap, 500) != NULL);
    REQUIRE_CALL(cairn_heap_lock(waiter.heap) == 0);
    pthread_t thread = start_thread(reset_once, &waiter);
    wait_for(&waiter.ready, 1);
    require_waiting(&waiter);
    REQUIRE_EQUAL(blocks_live(waiter.heap), 1);
    REQUIRE_CALL(cairn_heap_unlock(waiter.heap) == 0);
    join(thread);
    REQUIRE_EQUAL(blocks_live(waiter.heap), 0);
    REQUIRE_CALL(cairn_alloc(waiter.heap, 500) != NULL);
    end(waiter.heap);
}
END_TEST

static void *try_to_unlock(void *arg)
{
    REQUIRE_EQUAL(cairn_heap_unlock(arg), -EPERM);
    REQUIRE_EQUAL(cairn_last_errno(), -EPERM);
    return NULL;
}

START_TEST(nobody_else_can_unlock)
{
    cairn_heap *heap = make((enum kind)_i);
    REFUSED(-EPERM, cairn_heap_unlock(heap));
    REQUIRE_CALL(cairn_heap_lock(heap) == 0);
    join(start_thread(try_to_unlock, heap));
    REQUIRE_CALL(cairn_heap_unlock(heap) == 0);
    join(start_thread(try_to_unlock, heap));
    end(heap);
}
END_TEST

/* ---------------------------------------------------------------- threads that come and go */

struct leavers {
    cairn_heap *heap;
    _Atomic uint32_t ready;
    _Atomic uint32_t go;
};

static void *allocate_and_leave(void *arg)
{
    struct leavers *leavers = arg;
    for (size_t i = 1; i <= 100; i++)
        REQUIRE_CALL(cairn_alloc(leavers->heap, i * 10) != NULL);
    advance(&leavers->ready);
    wait_for(&leavers->go, 1);
    return NULL;
}

/* A thread's end is no call, so it does not wait; but it takes no block along. */
START_TEST(threads_end_while_the_heap_is_locked)
{
    for (int round = 0; round < 20; round++) {
        struct leavers leavers = {.heap = make((enum kind)_i)};
        pthread_t threads[WORKERS];
        for (int i = 0; i < WORKERS; i++)
            threads[i] = start_thread(allocate_and_leave, &leavers);
        wait_for(&leavers.ready, WORKERS);
        REQUIRE_CALL(cairn_heap_lock(leavers.heap) == 0);
        advance(&leavers.go);
        for (int i = 0; i < WORKERS; i++) {
            REQUIRE_EQUAL(look_at(leavers.heap).blocks, WORKERS * 100);
            REQUIRE_EQUAL(blocks_live(leavers.heap), WORKERS * 100);
            REQUIRE_SOUND(leavers.heap);
            join(threads[i]);
        }
        require_still(leavers.heap);
        REQUIRE_CALL(cairn_heap_unlock(leavers.heap) == 0);
        end(leavers.heap);
    }
}
END_TEST

/* ---------------------------------------------------------------- fork */

static void use_and_exit(cairn_heap *heap, bool is_holder)
{
    if (is_holder)
        REQUIRE_CALL(cairn_heap_unlock(heap) == 0);
    REQUIRE_EQUAL(cairn_heap_unlock(heap), -EPERM);
    for (int i = 0; i < 200; i++) {
        void *block = cairn_alloc(heap, (size_t)i * 50);
        REQUIRE(block != NULL || cairn_last_errno() == -ENOMEM);
        cairn_free(heap, block);
    }
    REQUIRE_CALL(cairn_heap_lock(heap) == 0);
    require_still(heap);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_unlock(heap) == 0);
    cairn_heap_close(heap);
}

static void fork_and_use(cairn_heap *heap, bool is_holder)
{
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        use_and_exit(heap, is_holder);
        _exit(0);
    }
    finish(child);
}

START_TEST(the_holder_forks_and_both_hold_their_own)
{
    cairn_heap *heap = make((enum kind)_i);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    REQUIRE_CALL(cairn_heap_lock(heap) == 0);
    fork_and_use(heap, true);
    REQUIRE_CALL(cairn_heap_unlock(heap) == 0);
    end(heap);
}
END_TEST

/* Others are in the middle of calls, and one of them may hold the lock. */
static void *lock_and_work(void *arg)
{
    struct crew *crew = arg;
    while (!atomic_load(&crew->over)) {
        REQUIRE_CALL(cairn_heap_lock(crew->heap) == 0);
        cairn_free(crew->heap, cairn_alloc(crew->heap, 100));
        REQUIRE_CALL(cairn_heap_unlock(crew->heap) == 0);
    }
    return NULL;
}

START_TEST(a_fork_beside_the_holder_leaves_the_child_a_heap_to_use)
{
    if (UNDER_TSAN)
        return; /* which does not follow a fork beside threads */
    static struct crew crew;
    crew = (struct crew){.heap = make((enum kind)_i)};
    pthread_t threads[2] = {start_thread(lock_and_work, &crew), start_thread(work, &crew)};
    wait_for(&crew.at_work, 1);
    for (uint64_t i = 0; i < random_rounds(20); i++)
        fork_and_use(crew.heap, false);
    atomic_store(&crew.over, true);
    join(threads[0]);
    join(threads[1]);
    end(crew.heap);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("lock");
    tcase_add_loop_test(tests, a_locked_heap_stands_still, 0, KINDS);
    tcase_add_loop_test(tests, a_call_that_was_stopped_anywhere_leaves_a_locked_heap_alone, 0, KINDS);
    tcase_add_loop_test(tests, one_thread_at_a_time_holds_the_lock, 0, KINDS);
    tcase_add_loop_test(tests, the_lock_is_given_back_as_often_as_it_was_taken, 0, KINDS);
    tcase_add_loop_test(tests, a_locked_heap_can_be_reset_and_stays_locked, 0, KINDS);
    tcase_add_loop_test(tests, a_reset_under_the_lock_lets_nobody_in, 0, KINDS);
    tcase_add_loop_test(tests, sizes_stand_still_under_the_lock, 0, 4);
    tcase_add_loop_test(tests, a_reset_waits_for_the_lock, 0, KINDS);
    tcase_add_loop_test(tests, nobody_else_can_unlock, 0, KINDS);
    tcase_add_loop_test(tests, threads_end_while_the_heap_is_locked, 0, KINDS);
    TCase *forks = tcase_create("fork");
    tcase_add_loop_test(forks, the_holder_forks_and_both_hold_their_own, 0, KINDS);
    tcase_add_loop_test(forks, a_fork_beside_the_holder_leaves_the_child_a_heap_to_use, 0, KINDS);
    TCase *cases[] = {tests, forks};
    Suite *suite = suite_create("lockable");
    for (size_t i = 0; i < COUNT(cases); i++) {
        tcase_add_unchecked_fixture(cases[i], workspace_enter, workspace_leave);
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(suite, cases[i]);
    }
    return suite_run(suite);
}
