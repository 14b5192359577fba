/* SPDX-License-Identifier: MIT */
/*
 * After fork the child uses every heap at once, as itself, whatever the parent's threads were doing. What is made by
 * vfork or posix_spawn has no handler of ours run in it, and is no process of the heap at any moment.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/workspace.h"

enum { THREADS = 3, FORKS = 100, HELD = 32 };

static cairn_heap *private_heap;
static cairn_heap *shared_heap;
static _Atomic uint32_t stop;
static _Atomic uint32_t turns; /* of all threads */

struct signed_block {
    uint64_t bytes;
    uint64_t sign;
    unsigned char filled[];
};

static struct signed_block *make_block(cairn_heap *heap, uint64_t seed)
{
    uint64_t bytes = sizeof(struct signed_block) + (seed >> 40) % ((seed >> 8) % 512 == 0 ? 100000 : 700);
    struct signed_block *block = cairn_alloc(heap, bytes);
    REQUIRE_CALL(block != NULL);
    *block = (struct signed_block){.bytes = bytes, .sign = seed};
    memset(block->filled, (int)(seed & 0xff), bytes - sizeof *block);
    return block;
}

static void require_whole(const struct signed_block *block)
{
    for (uint64_t i = 0; i < block->bytes - sizeof *block; i += 97)
        REQUIRE(block->filled[i] == (block->sign & 0xff));
}

static void work(cairn_heap *heap, uint64_t *seed, int count)
{
    struct signed_block *held[HELD] = {0};
    for (int i = 0; i < count; i++) {
        *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        struct signed_block **place = &held[(*seed >> 20) % HELD];
        if (*place != NULL) {
            require_whole(*place);
            cairn_free(heap, *place);
        }
        *place = make_block(heap, *seed);
    }
    for (int i = 0; i < HELD; i++) {
        if (held[i] != NULL)
            require_whole(held[i]);
        cairn_free(heap, held[i]);
    }
}

static void *be_busy(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    while (atomic_load(&stop) == 0) {
        work(private_heap, &seed, 200);
        work(shared_heap, &seed, 200);
        advance(&turns);
    }
    return NULL;
}

/* What the child got from its parent: it may read and free it in the private heap, which is its own copy. */
struct inheritance {
    struct signed_block *private_block;
    struct signed_block *shared_block;
    uint64_t seed;
};

static void be_a_child(void *arg)
{
    struct inheritance *from = arg;
    require_whole(from->private_block);
    require_whole(from->shared_block);
    uint64_t seed = from->seed;
    work(private_heap, &seed, 100);
    work(shared_heap, &seed, 100);
    cairn_free(private_heap, from->private_block);
    REQUIRE_SOUND(private_heap);
    cairn_heap *own = create_private(0);
    work(own, &seed, 100);
    cairn_heap_close(own);
    cairn_heap_close(private_heap);
    cairn_heap_close(shared_heap);
}

static void fork_many_times(bool with_threads)
{
    private_heap = create_private(0);
    shared_heap = create_shared("heap", 0);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; with_threads && i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, be_busy, (void *)(i + 1)) == 0);

    uint64_t seed = 99;
    for (uint32_t round = 0; round < FORKS; round++) {
        if (with_threads)
            wait_for(&turns, atomic_load(&turns) + round % 3);
        struct inheritance inheritance = {
            .private_block = make_block(private_heap, seed + round),
            .shared_block = make_block(shared_heap, seed + round),
            .seed = round,
        };
        pid_t child = start(be_a_child, &inheritance);
        work(private_heap, &seed, 100); /* the parent goes on */
        work(shared_heap, &seed, 100);
        finish(child);
        require_whole(inheritance.private_block);
        cairn_free(private_heap, inheritance.private_block);
        cairn_free(shared_heap, inheritance.shared_block);
    }
    atomic_store(&stop, 1);
    for (int i = 0; with_threads && i < THREADS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    REQUIRE_EQUAL(blocks_live(private_heap), 0);
    REQUIRE_EQUAL(blocks_live(shared_heap), 0);
    REQUIRE_EQUAL(stats_of(shared_heap).owners, 1);
    REQUIRE_EQUAL(stats_of(shared_heap).processes, 1);
    REQUIRE_EQUAL(stats_of(private_heap).owners, 1);
    REQUIRE_SOUND(private_heap);
    REQUIRE_SOUND(shared_heap);
    cairn_heap_close(private_heap);
    cairn_heap_close(shared_heap);
}

static void a_child_allocates_at_once_in_every_heap(void)
{
    fork_many_times(false);
}

static void a_child_allocates_whatever_the_other_threads_were_doing(void)
{
    fork_many_times(true);
}

/* ---------------------------------------------------------------- as itself */

static _Atomic uint32_t *steps;

static int find_owner(const cairn_span *span, void *arg)
{
    const uintptr_t *wanted = arg;
    uintptr_t begin = (uintptr_t)span->address;
    return *wanted - begin < span->bytes ? (int)span->owner : 0;
}

static int owner_of(cairn_heap *heap, void *block)
{
    uintptr_t wanted = (uintptr_t)block;
    return cairn_walk(heap, find_owner, NULL, &wanted);
}

static void be_another_owner(void *arg)
{
    void *of_parent = arg;
    void *mine = cairn_alloc(shared_heap, 100);
    REQUIRE_CALL(mine != NULL);
    REQUIRE(owner_of(shared_heap, mine) != owner_of(shared_heap, of_parent));
    REQUIRE_EQUAL(stats_of(shared_heap).processes, 2);
    REQUIRE_EQUAL(stats_of(shared_heap).owners, 2);
    REQUIRE_EQUAL(stats_of(shared_heap).attaches, 2);
    cairn_free(shared_heap, of_parent); /* a free from elsewhere, for the parent to find */
    advance(&steps[0]);
    wait_for(&steps[1], 1);
    REQUIRE_EQUAL(cairn_size(shared_heap, mine), 112);
    cairn_free(shared_heap, mine);
    cairn_heap_close(shared_heap);
}

static void a_child_is_a_process_and_an_owner_of_its_own(void)
{
    steps = shared_memory(4096);
    shared_heap = create_shared("heap", 0);
    void *block = cairn_alloc(shared_heap, 100);
    REQUIRE_CALL(block != NULL);
    REQUIRE_EQUAL(stats_of(shared_heap).processes, 1);
    pid_t child = start(be_another_owner, block);
    wait_for(&steps[0], 1);
    REQUIRE_EQUAL(stats_of(shared_heap).processes, 2);
    REQUIRE_EQUAL(cairn_recover(shared_heap), 0); /* nobody is dead */
    void *other = cairn_alloc(shared_heap, 100);
    REQUIRE_CALL(other != NULL);
    advance(&steps[1]);
    finish(child);
    REQUIRE_EQUAL(stats_of(shared_heap).processes, 1);
    REQUIRE_EQUAL(stats_of(shared_heap).owners, 1);
    REQUIRE_EQUAL(blocks_live(shared_heap), 1);
    cairn_heap_close(shared_heap);
}

static void outlive(void *arg)
{
    (void)arg;
    advance(&steps[0]);
    wait_for(&steps[1], 1);
    for (int i = 0; i < 1000; i++)
        REQUIRE_CALL(cairn_alloc(shared_heap, 1000) != NULL);
    REQUIRE_EQUAL(stats_of(shared_heap).processes, 1);
    REQUIRE_EQUAL(blocks_live(shared_heap), 1001);
    REQUIRE_SOUND(shared_heap);
    advance(&steps[2]);
}

static void open_fork_and_leave(void *arg)
{
    (void)arg;
    shared_heap = create_shared("heap", 0);
    REQUIRE_CALL(cairn_alloc(shared_heap, 100) != NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(120); /* should the claim fail */
        outlive(NULL);
        _exit(0);
    }
    wait_for(&steps[0], 1);
    cairn_heap_close(shared_heap);
}

/* The parent has closed and gone; the child, which had not called yet, is a member by itself. */
static void a_child_outlives_its_parent(void)
{
    steps = shared_memory(4096);
    finish(start(open_fork_and_leave, NULL));
    advance(&steps[1]);
    wait_for(&steps[2], 1);
    cairn_heap *heap = open_shared("heap", 0);
    REQUIRE_SOUND(heap);
    REQUIRE_EQUAL(blocks_live(heap), 1001);
    cairn_heap_close(heap);
}

static void close_only(void *arg)
{
    (void)arg;
    cairn_heap_close(shared_heap); /* without a single call before */
    cairn_heap_close(private_heap);
}

static void a_child_may_close_what_it_never_used(void)
{
    private_heap = create_private(0);
    shared_heap = create_shared("heap", 0);
    void *kept = cairn_alloc(shared_heap, 100);
    REQUIRE_CALL(kept != NULL && cairn_alloc(private_heap, 100) != NULL);
    for (int i = 0; i < 20; i++)
        finish(start(close_only, NULL));
    REQUIRE_EQUAL(cairn_recover(shared_heap), 0); /* it did not end our membership */
    REQUIRE_EQUAL(stats_of(shared_heap).processes, 1);
    REQUIRE_EQUAL(stats_of(shared_heap).owners, 1);
    cairn_free(shared_heap, kept);
    REQUIRE_SOUND(shared_heap);
    cairn_heap_close(shared_heap);
    cairn_heap_close(private_heap);
}

static void *alloc_in_thread(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    work(private_heap, &seed, 500);
    work(shared_heap, &seed, 500);
    return NULL;
}

static void have_threads(void *arg)
{
    (void)arg;
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, alloc_in_thread, (void *)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    REQUIRE_SOUND(private_heap);
    cairn_heap_close(private_heap);
    cairn_heap_close(shared_heap);
}

static void a_child_may_have_threads_of_its_own(void)
{
    private_heap = create_private(0);
    shared_heap = create_shared("heap", 0);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, alloc_in_thread, (void *)9) == 0 && pthread_join(thread, NULL) == 0);
    if (UNDER_TSAN)
        skip("ThreadSanitizer cannot start threads in the child of a process that had some");
    for (int i = 0; i < 10; i++)
        finish(start(have_threads, NULL));
    REQUIRE_EQUAL(blocks_live(shared_heap), 0);
    REQUIRE_SOUND(shared_heap);
    cairn_heap_close(private_heap);
    cairn_heap_close(shared_heap);
}

static void fork_again(void *arg)
{
    const int *depth = arg;
    int deeper = *depth - 1;
    uint64_t seed = (uint64_t)deeper + 7;
    work(private_heap, &seed, 100);
    work(shared_heap, &seed, 100);
    if (deeper > 0)
        finish(start(fork_again, &deeper));
    work(private_heap, &seed, 100);
    work(shared_heap, &seed, 100);
    cairn_heap_close(private_heap);
    cairn_heap_close(shared_heap);
}

static void a_childs_child_allocates_too(void)
{
    private_heap = create_private(0);
    shared_heap = create_shared("heap", 0);
    int depth = 10;
    finish(start(fork_again, &depth));
    REQUIRE_EQUAL(blocks_live(shared_heap), 0);
    REQUIRE_EQUAL(stats_of(shared_heap).processes, 1);
    REQUIRE_SOUND(shared_heap);
    cairn_heap_close(private_heap);
    cairn_heap_close(shared_heap);
}

/* ---------------------------------------------------------------- programs */

/* "cat" behind a pipe: it ends when the other end is closed. */
struct program {
    pid_t process;
    int to;
};

enum start_by { BY_SPAWN, BY_VFORK, BY_FORK, WAYS };

static char *const cat[] = {(char[]){"cat"}, NULL};

/* What vfork makes runs in our memory, and in our thread's stead, until it is the program. */
__attribute__((noinline)) static pid_t vfork_and_exec(int from)
{
    pid_t process = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork): it is what is tried */
    if (process != 0)
        return process;
    if (dup2(from, STDIN_FILENO) < 0) /* NOLINT(clang-analyzer-unix.Vfork): as posix_spawn does it */
        _exit(126);
    execve("/bin/cat", cat, NULL);
    _exit(127);
}

static struct program program_start(enum start_by way, const int ends[2])
{
    struct program program = {.to = ends[1]};
    if (way == BY_SPAWN) {
        posix_spawn_file_actions_t actions;
        REQUIRE(posix_spawn_file_actions_init(&actions) == 0);
        REQUIRE(posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO) == 0);
        REQUIRE(posix_spawn(&program.process, "/bin/cat", &actions, NULL, cat, NULL) == 0);
        posix_spawn_file_actions_destroy(&actions);
    } else if (way == BY_VFORK) {
        program.process = vfork_and_exec(ends[0]);
    } else if ((program.process = fork()) == 0) {
        if (dup2(ends[0], STDIN_FILENO) >= 0)
            execve("/bin/cat", cat, NULL);
        _exit(127);
    }
    REQUIRE(program.process > 0);
    close(ends[0]);
    return program;
}

static void program_end(const struct program *program)
{
    close(program->to);
    finish(program->process);
}

/* Starts one beside threads that are in the middle of calls, and finds itself as it was. */
static void start_programs_by(enum start_by way)
{
    uint64_t seed = way;
    for (int round = 0; round < FORKS / 2; round++) {
        struct signed_block *block = make_block(shared_heap, seed + (uint64_t)round);
        int ends[2];
        REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
        struct program program = program_start(way, ends);
        work(private_heap, &seed, 50); /* while it runs */
        work(shared_heap, &seed, 50);
        if (way != BY_FORK)
            REQUIRE_EQUAL(stats_of(shared_heap).processes, 1);
        program_end(&program);
        require_whole(block);
        cairn_free(shared_heap, block);
    }
    REQUIRE(cairn_recover(shared_heap) >= 0);
    REQUIRE_EQUAL(stats_of(shared_heap).processes, 1);
}

static void a_program_that_is_started_is_no_process_of_the_heap(void)
{
    private_heap = create_private(0);
    shared_heap = create_shared("heap", 0);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, be_busy, (void *)(i + 1)) == 0);
    wait_for(&turns, THREADS);
    for (enum start_by way = BY_SPAWN; way < WAYS; way++)
        start_programs_by(way);
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    REQUIRE_EQUAL(blocks_live(private_heap), 0);
    REQUIRE_EQUAL(blocks_live(shared_heap), 0);
    REQUIRE_EQUAL(stats_of(shared_heap).owners, 1);
    REQUIRE_SOUND(private_heap);
    REQUIRE_SOUND(shared_heap);
    cairn_heap_close(private_heap);
    cairn_heap_close(shared_heap);
}

struct starter {
    _Atomic uint32_t started;
    enum start_by way;
    int ends[2]; /* what it starts lives until we have closed ours */
    pid_t program;
};

static void start_and_be_killed(void *arg)
{
    struct starter *starter = arg;
    cairn_heap *heap = open_shared("heap", 0);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    starter->program = program_start(starter->way, starter->ends).process;
    advance(&starter->started);
    pause();
}

/* A program that outlives who started it has nothing of it that would make it seem alive: no descriptor, no mapping. */
static void who_is_killed_is_dead_whatever_it_has_started(void)
{
    struct starter *starter = shared_memory(sizeof *starter);
    cairn_heap *heap = create_shared("heap", 0);
    for (enum start_by way = BY_SPAWN; way < WAYS; way++) {
        *starter = (struct starter){.way = way};
        REQUIRE(pipe2(starter->ends, O_CLOEXEC) == 0);
        pid_t child = start(start_and_be_killed, starter);
        wait_for(&starter->started, 1);
        REQUIRE_EQUAL(stats_of(heap).processes, 2);
        REQUIRE_EQUAL(cairn_recover(heap), 0);
        kill(child, SIGKILL);
        finish_by(child, SIGKILL);
        REQUIRE_EQUAL(cairn_recover(heap), 1);
        REQUIRE_EQUAL(stats_of(heap).processes, 1);
        REQUIRE(kill(starter->program, 0) == 0); /* that one lives */
        close(starter->ends[0]);
        close(starter->ends[1]);
    }
    REQUIRE_EQUAL(blocks_live(heap), WAYS);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

struct gate {
    _Atomic uint32_t inside;
    int wait[2];
};

/* Between vfork and exec: it has our memory and with it the mapping that holds the lock. */
static void vfork_and_wait(void *arg)
{
    struct gate *gate = arg;
    cairn_heap *heap = open_shared("heap", 0);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    pid_t child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork): it is what is tried */
    if (child == 0) {
        char byte;
        /* So that it ends with the claim, whatever becomes of that. NOLINTNEXTLINE(clang-analyzer-unix.Vfork) */
        close(gate->wait[1]);
        advance(&gate->inside); /* NOLINT(clang-analyzer-unix.Vfork): memory that we share anyway */
        (void)!read(gate->wait[0], &byte, 1);
        _exit(0);
    }
}

/* Our memory is still in use, and so we are not dead; when it is not any more, we are. Never is it the other way round.
 */
static void who_is_killed_inside_a_vfork_is_recovered_after_it(void)
{
    if (UNDER_TSAN)
        skip("ThreadSanitizer makes a fork of a vfork");
    struct gate *gate = shared_memory(sizeof *gate);
    REQUIRE(pipe2(gate->wait, O_CLOEXEC) == 0);
    cairn_heap *heap = create_shared("heap", 0);
    pid_t child = start(vfork_and_wait, gate);
    wait_for(&gate->inside, 1);
    kill(child, SIGKILL);
    finish_by(child, SIGKILL);
    REQUIRE_EQUAL(cairn_recover(heap), 0);
    REQUIRE_EQUAL(stats_of(heap).processes, 2);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    REQUIRE(write(gate->wait[1], "", 1) == 1);
    while (cairn_recover(heap) == 0) /* the claim's clock bounds it */
        sched_yield();
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_EQUAL(blocks_live(heap), 2);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_child_allocates_at_once_in_every_heap),
        CLAIM(a_child_allocates_whatever_the_other_threads_were_doing),
        CLAIM(a_child_is_a_process_and_an_owner_of_its_own),
        CLAIM(a_child_outlives_its_parent),
        CLAIM(a_child_may_close_what_it_never_used),
        CLAIM(a_child_may_have_threads_of_its_own),
        CLAIM(a_childs_child_allocates_too),
        CLAIM(a_program_that_is_started_is_no_process_of_the_heap),
        CLAIM(who_is_killed_is_dead_whatever_it_has_started),
        CLAIM(who_is_killed_inside_a_vfork_is_recovered_after_it),
    };
    return run_claims(claims, COUNT(claims), 30);
}
