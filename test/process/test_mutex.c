/* SPDX-License-Identifier: MIT */
/* cairn_mutex: the application's lock in a shared heap, and what becomes of it when its holder dies. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/random.h"
#include "support/workspace.h"

/* What the lock guards: right is that both are equal, and that the text tells the same. */
struct shared {
    cairn_mutex mutex;
    cairn_mutex second;
    uint64_t left;
    uint64_t right;
    char text[40];
};

static struct shared *find(cairn_heap *heap)
{
    struct shared *shared = cairn_root_get(heap, "shared");
    REQUIRE(shared != NULL);
    return shared;
}

static cairn_heap *create(struct shared **ret_shared)
{
    cairn_heap *heap = create_shared("heap", 64 * MIB);
    struct shared *shared = cairn_zalloc(heap, sizeof *shared);
    REQUIRE_CALL(shared != NULL && cairn_root_set(heap, "shared", shared) == 0);
    *ret_shared = shared;
    return heap;
}

static void end(cairn_heap *heap)
{
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

static void count_one(struct shared *shared)
{
    shared->left++;
    snprintf(shared->text, sizeof shared->text, "%llu", (unsigned long long)shared->left);
    shared->right++;
}

static void require_whole(const struct shared *shared)
{
    char text[40];
    snprintf(text, sizeof text, "%llu", (unsigned long long)shared->left);
    REQUIRE(shared->left == shared->right && (shared->left == 0 || strcmp(text, shared->text) == 0));
}

/* ---------------------------------------------------------------- exclusion */

enum { PROCESSES = 4, THREADS = 2 };

static uint64_t turns;

static void *count_in_thread(void *arg)
{
    cairn_heap *heap = arg;
    struct shared *shared = find(heap);
    for (uint64_t i = 0; i < turns; i++) {
        int locked = i % 3 == 0 ? cairn_trylock(heap, &shared->mutex) : -EBUSY;
        if (locked == -EBUSY)
            locked = cairn_lock(heap, &shared->mutex);
        REQUIRE_EQUAL(locked, 0);
        require_whole(shared);
        count_one(shared);
        REQUIRE_CALL(cairn_unlock(heap, &shared->mutex) == 0);
        if (i % 16 == 0)
            cairn_free(heap, cairn_alloc(heap, 100)); /* it does not stop allocation */
    }
    return NULL;
}

static void count_in_process(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, count_in_thread, heap) == 0);
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    cairn_heap_close(heap);
}

static void one_of_four_processes_is_inside(void)
{
    turns = random_rounds(UNDER_SANITIZER ? 500 : 5000);
    struct shared *shared;
    cairn_heap *heap = create(&shared);
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++)
        children[i] = start(count_in_process, NULL);
    for (int i = 0; i < PROCESSES; i++)
        finish(children[i]);
    REQUIRE_EQUAL(shared->left, turns * PROCESSES * THREADS);
    require_whole(shared);
    REQUIRE_EQUAL(shared->mutex.word, 0);
    end(heap);
}

/* ---------------------------------------------------------------- rules */

static void *try_in_thread(void *arg)
{
    cairn_heap *heap = arg;
    struct shared *shared = find(heap);
    REQUIRE_EQUAL(cairn_trylock(heap, &shared->mutex), -EBUSY);
    REQUIRE_EQUAL(cairn_unlock(heap, &shared->mutex), -EPERM);
    REQUIRE_EQUAL(cairn_trylock(heap, &shared->second), 0); /* another is another */
    REQUIRE_EQUAL(cairn_unlock(heap, &shared->second), 0);
    return NULL;
}

static void try_in_process(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    (void)try_in_thread(heap);
    cairn_heap_close(heap);
}

static void try_with_inherited_heap(void *arg)
{
    (void)try_in_thread(arg);
}

static void only_the_holder_may_unlock(void)
{
    struct shared *shared;
    cairn_heap *heap = create(&shared), *again = open_shared("heap", 0);
    REFUSED(-EPERM, cairn_unlock(heap, &shared->mutex));
    REQUIRE_EQUAL(cairn_lock(heap, &shared->mutex), 0);
    REFUSED(-EDEADLK, cairn_lock(heap, &shared->mutex));
    REFUSED(-EDEADLK, cairn_lock(again, &shared->mutex)); /* by another handle it is the same thread */
    int tried = cairn_trylock(heap, &shared->mutex);
    REQUIRE(tried == -EDEADLK || tried == -EBUSY);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, try_in_thread, heap) == 0 && pthread_join(thread, NULL) == 0);
    finish(start(try_in_process, NULL));
    finish(start(try_with_inherited_heap, heap)); /* a forked child is another process */
    REQUIRE_EQUAL(cairn_unlock(again, &shared->mutex), 0);
    REFUSED(-EPERM, cairn_unlock(heap, &shared->mutex));
    REQUIRE_EQUAL(cairn_trylock(heap, &shared->mutex), 0);
    REQUIRE_EQUAL(cairn_unlock(heap, &shared->mutex), 0);
    REQUIRE_EQUAL(shared->mutex.word, 0);
    cairn_heap_close(again);
    end(heap);
}

/* Threads that end with it have died with it. */
static void *lock_and_leave(void *arg)
{
    cairn_heap *heap = arg;
    struct shared *shared = find(heap);
    REQUIRE(cairn_lock(heap, &shared->mutex) >= 0);
    shared->left++;
    return NULL;
}

static void a_thread_that_ends_with_it_is_told(void)
{
    struct shared *shared;
    cairn_heap *heap = create(&shared);
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, lock_and_leave, heap) == 0 && pthread_join(thread, NULL) == 0);
        REQUIRE_EQUAL(i % 2 == 0 ? cairn_lock(heap, &shared->mutex) : cairn_trylock(heap, &shared->mutex), 1);
        shared->right++;
        REQUIRE_EQUAL(cairn_unlock(heap, &shared->mutex), 0);
        REQUIRE_EQUAL(cairn_lock(heap, &shared->mutex), 0); /* told once */
        REQUIRE_EQUAL(cairn_unlock(heap, &shared->mutex), 0);
    }
    end(heap);
}

/* ---------------------------------------------------------------- death */

static _Atomic uint32_t *step;

static void lock_and_wait(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    struct shared *shared = find(heap);
    REQUIRE(cairn_lock(heap, &shared->mutex) >= 0);
    shared->left++; /* half done */
    advance(step);
    wait_for(step, 1000000);
}

static void the_next_is_told_and_mends(void)
{
    struct shared *shared;
    cairn_heap *heap = create(&shared);
    step = shared_memory(sizeof *step);
    for (uint32_t round = 1; round <= 30; round++) {
        pid_t holder = start(lock_and_wait, NULL);
        wait_for(step, round);
        REQUIRE_EQUAL(cairn_trylock(heap, &shared->mutex), -EBUSY);
        kill(holder, SIGKILL);
        finish_by(holder, SIGKILL);
        REQUIRE_EQUAL(round % 2 == 0 ? cairn_lock(heap, &shared->mutex) : cairn_trylock(heap, &shared->mutex), 1);
        REQUIRE_EQUAL(shared->left, shared->right + 1);
        shared->right++;
        REQUIRE_EQUAL(cairn_unlock(heap, &shared->mutex), 0);
        REQUIRE_EQUAL(cairn_trylock(heap, &shared->mutex), 0);
        REQUIRE_EQUAL(cairn_unlock(heap, &shared->mutex), 0);
    }
    end(heap);
}

/* Those that are waiting already when it dies. */
static void wait_and_mend(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    struct shared *shared = find(heap);
    advance(step);
    int locked = cairn_lock(heap, &shared->mutex);
    REQUIRE(locked >= 0);
    REQUIRE(locked == 1 ? shared->left == shared->right + 1 : shared->left == shared->right);
    if (locked == 1)
        shared->right++;
    REQUIRE_CALL(cairn_unlock(heap, &shared->mutex) == 0);
    cairn_heap_close(heap);
}

static void one_of_those_who_wait_is_told(void)
{
    struct shared *shared;
    cairn_heap *heap = create(&shared);
    step = shared_memory(sizeof *step);
    for (int round = 0; round < 10; round++) {
        atomic_store(step, 0);
        pid_t holder = start(lock_and_wait, NULL);
        wait_for(step, 1);
        pid_t waiting[3];
        for (size_t i = 0; i < COUNT(waiting); i++)
            waiting[i] = start(wait_and_mend, NULL);
        wait_for(step, 1 + COUNT(waiting));
        kill(holder, SIGKILL);
        finish_by(holder, SIGKILL);
        for (size_t i = 0; i < COUNT(waiting); i++)
            finish(waiting[i]);
        REQUIRE_EQUAL(shared->left, shared->right);
        REQUIRE_EQUAL(shared->mutex.word, 0);
    }
    end(heap);
}

/* A holder that is stopped is alive, for as long as it may be. */
static void a_stopped_holder_is_not_dead(void)
{
    struct shared *shared;
    cairn_heap *heap = create(&shared);
    step = shared_memory(sizeof *step);
    pid_t holder = start(lock_and_wait, NULL);
    wait_for(step, 1);
    kill(holder, SIGSTOP);
    int status;
    REQUIRE(waitpid(holder, &status, WUNTRACED) == holder && WIFSTOPPED(status));
    for (int i = 0; i < 2000; i++) {
        REQUIRE_EQUAL(cairn_trylock(heap, &shared->mutex), -EBUSY);
        if (i % 100 == 0)
            REQUIRE_EQUAL(cairn_recover(heap), 0);
    }
    finish(start(try_in_process, NULL));
    REQUIRE_EQUAL(shared->left, 1);
    kill(holder, SIGKILL);
    finish_by(holder, SIGKILL);
    REQUIRE_EQUAL(cairn_trylock(heap, &shared->mutex), 1);
    REQUIRE_EQUAL(cairn_unlock(heap, &shared->mutex), 0);
    end(heap);
}

/* Killed anywhere: at the lock, inside, at the unlock. Whoever finds it half done is told so. */
static void count_until_killed(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    struct shared *shared = find(heap);
    for (;;) {
        int locked = cairn_lock(heap, &shared->mutex);
        REQUIRE(locked >= 0);
        if (locked == 1) {
            shared->right = shared->left;
            snprintf(shared->text, sizeof shared->text, "%llu", (unsigned long long)shared->left);
        }
        require_whole(shared);
        count_one(shared);
        REQUIRE_CALL(cairn_unlock(heap, &shared->mutex) == 0);
        advance(step);
    }
}

static void two_hundred_are_killed_and_nothing_is_torn(void)
{
    struct shared *shared;
    cairn_heap *heap = create(&shared);
    step = shared_memory(sizeof *step);
    struct random random = random_begin(random_seed("mutex", 21));
    uint64_t kills = random_rounds(UNDER_SANITIZER ? 40 : 200);
    pid_t workers[3];
    for (size_t i = 0; i < COUNT(workers); i++)
        workers[i] = start(count_until_killed, NULL);
    for (uint64_t i = 0; i < kills; i++) {
        wait_for(step, atomic_load(step) + 1 + (uint32_t)random_below(&random, 40));
        pid_t *worker = &workers[random_below(&random, COUNT(workers))];
        kill(*worker, SIGKILL);
        finish_by(*worker, SIGKILL);
        *worker = start(count_until_killed, NULL);
    }
    for (size_t i = 0; i < COUNT(workers); i++) {
        kill(workers[i], SIGKILL);
        finish_by(workers[i], SIGKILL);
    }
    int locked = cairn_lock(heap, &shared->mutex);
    REQUIRE(locked >= 0);
    if (locked == 0)
        require_whole(shared);
    REQUIRE(shared->left >= kills);
    REQUIRE_CALL(cairn_unlock(heap, &shared->mutex) == 0);
    REQUIRE(cairn_recover(heap) >= 0);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_EQUAL(blocks_live(heap), 1);
    end(heap);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(one_of_four_processes_is_inside),
        CLAIM(only_the_holder_may_unlock),
        CLAIM(a_thread_that_ends_with_it_is_told),
        CLAIM(the_next_is_told_and_mends),
        CLAIM(one_of_those_who_wait_is_told),
        CLAIM(a_stopped_holder_is_not_dead),
        CLAIM(two_hundred_are_killed_and_nothing_is_torn),
    };
    return run_claims(claims, COUNT(claims), 20);
}
