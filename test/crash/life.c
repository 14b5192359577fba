/* SPDX-License-Identifier: MIT */
/*
 * life: who is alive, and who is not. A stopped process is; one that has called exec is not, though its process id
 * lives on; a process id that is used again means nothing, and neither does one of another namespace.
 */
#include "crash.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MEMBERS = 4,
    GUESTS = MEMBERS, /* the first slot of those who come for one round */
    ROUNDS = 10,
    CALLS = 20,
    LONG_STOPS_EVERY = 333, /* trials of a full run: three in it */
    LONG_STOP_SECONDS = 60,
};

struct round {
    struct crew *crew;
    struct random *random;
    int hold[2]; /* closed by us: the other end lives no longer than the trial */
};

static uint32_t some_calls(struct round *round)
{
    return 1 + (uint32_t)random_below(round->random, CALLS);
}

static void end_guest(struct crew *crew, uint32_t slot)
{
    process_kill(crew->processes[slot]);
    crew_settle(crew, slot, crew->processes[slot]);
    crew->processes[slot] = 0;
}

/* ---------------------------------------------------------------- stopped */

static bool stop(struct round *round)
{
    struct crew *crew = round->crew;
    uint32_t s = (uint32_t)random_below(round->random, MEMBERS);
    uint64_t seconds =
        full_run && trial_seed % LONG_STOPS_EVERY == 0 && atomic_load(at_step) == 0 ? LONG_STOP_SECONDS : 0;
    struct timespec pause = {.tv_sec = (time_t)seconds,
                             .tv_nsec = 1000000 + (long)random_below(round->random, 49000000)};
    kill(crew->processes[s], SIGSTOP);
    waitpid(crew->processes[s], NULL, WUNTRACED);
    nanosleep(&pause, NULL); /* the stop itself */
    /* Stopped in the middle of leaving and coming back, it may have no record. */
    bool attached = atomic_load(&crew->world->slots[s].call.kind) != CALL_REOPEN;
    /* Two things are not taken from one who lives: the lock under which roots are set, for the few instructions in
     * which it is held, and a dead process that it is recovering. Whoever waits for those goes on when it does. */
    bool holds_roots = crew_holds_roots(crew, crew->processes[s]);
    atomic_store(&crew->world->stopped, 1);
    if (attached)
        crew_require_alive(crew, crew->processes[s]);
    for (uint32_t other = 0; other < MEMBERS && !holds_roots; other++) {
        if (other != s)
            crew_await(crew, other, CALLS);
    }
    if (attached)
        crew_require_alive(crew, crew->processes[s]);
    kill(crew->processes[s], SIGCONT);
    atomic_store(&crew->world->stopped, 0);
    crew_progress(crew, 0, CALLS);
    return true;
}

/* ---------------------------------------------------------------- fork and exec */

static void parent_run(void *arg)
{
    struct round *round = arg;
    struct crew *crew = round->crew;
    struct actor actor = {0};
    actor_begin(&actor, crew->world, GUESTS);
    for (uint32_t i = 0; i < CALLS; i++)
        actor_turn(&actor);
    pid_t child = fork();
    if (child < 0)
        fail("fork: %s", strerror(errno));
    if (child == 0) { /* the trial is told who we are, and ends us */
        struct actor heir = {0};
        actor_inherit(&heir, &actor, GUESTS + 1);
        crew->world->guest = getpid();
        for (;;)
            actor_turn(&heir);
    }
    for (;;)
        actor_turn(&actor);
}

/* Parent and child both use the heap that the parent had opened; either dies first. */
static bool fork_round(struct round *round)
{
    struct crew *crew = round->crew;
    bool parent_first = random_below(round->random, 2) == 0;
    crew->processes[GUESTS] = process_start(parent_run, round);
    crew_await(crew, GUESTS, CALLS + some_calls(round));
    crew_await(crew, GUESTS + 1, some_calls(round));
    crew->processes[GUESTS + 1] = (pid_t)crew->world->guest;
    uint32_t first = parent_first ? GUESTS : GUESTS + 1, second = parent_first ? GUESTS + 1 : GUESTS;
    if (parent_first) {
        end_guest(crew, first);
        crew_await(crew, second, CALLS); /* an orphan by now, and ours: we are its subreaper */
        end_guest(crew, second);
    } else {
        pid_t child = crew->processes[first];
        kill(child, SIGKILL);
        crew_settle(crew, first, child); /* a zombie that nobody waits for is dead as well */
        crew_await(crew, second, CALLS);
        end_guest(crew, second);
        waitpid(child, NULL, 0);
    }
    crew->processes[GUESTS + 1] = 0;
    return true;
}

static void exec_run(void *arg)
{
    struct round *round = arg;
    struct actor actor = {0};
    actor_begin(&actor, round->crew->world, GUESTS);
    for (uint32_t i = 0; i < CALLS; i++)
        actor_turn(&actor);
    dup2(round->hold[0], STDIN_FILENO);
    execl("/bin/cat", "cat", (char *)NULL); /* lives until the pipe is closed */
    fail("exec: %s", strerror(errno));
}

/* The process lives, and the program that had attached does not. */
static bool exec_round(struct round *round)
{
    struct crew *crew = round->crew;
    if (pipe(round->hold) < 0)
        fail("no descriptors");
    fcntl(round->hold[1], F_SETFD, FD_CLOEXEC); /* else cat would hold its own pipe open */
    uint64_t calls_before = atomic_load(&crew->world->slots[GUESTS].calls);
    pid_t process = crew->processes[GUESTS] = process_start(exec_run, round);
    close(round->hold[0]);
    crew_await_total(crew, GUESTS, calls_before + CALLS);
    crew_settle(crew, GUESTS, process);
    if (waitpid(process, NULL, WNOHANG) != 0)
        fail("what was executed has ended");
    close(round->hold[1]);
    process_kill(process);
    crew->processes[GUESTS] = 0;
    return true;
}

/* ---------------------------------------------------------------- threads */

enum { HANDED = 64 };

struct handing {
    cairn_heap *heap;
    _Atomic uintptr_t blocks[HANDED];
};

static void *hand_over(void *arg)
{
    struct handing *handing = arg;
    for (uint32_t i = 0; i < HANDED; i++)
        atomic_store(&handing->blocks[i], (uintptr_t)cairn_alloc(handing->heap, 48));
    return NULL;
}

static void threads_run(void *arg)
{
    struct round *round = arg;
    struct actor actor = {0};
    actor_begin(&actor, round->crew->world, GUESTS);
    struct handing handing = {.heap = actor.heap};
    pthread_t thread;
    if (pthread_create(&thread, NULL, hand_over, &handing) != 0)
        fail("no thread");
    for (uint32_t i = 0; i < HANDED; i++) {
        uintptr_t block;
        while ((block = atomic_load(&handing.blocks[i])) == 0)
            sched_yield();
        cairn_free(actor.heap, (void *)block); /* NOLINT(performance-no-int-to-ptr) */
    }
    pthread_join(thread, NULL);
    actor_end(&actor);
}

/* A thread ends while its blocks are freed elsewhere. */
static bool thread_round(struct round *round)
{
    require_end(process_end(process_start(threads_run, round), 10), "the process with threads");
    return true;
}

/* ---------------------------------------------------------------- process ids */

static void run_as_member(struct crew *crew, uint32_t slot)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    crew_member(crew, slot);
    _exit(0);
}

/* A process is killed, and another gets its process id before anybody has recovered it. Needs a capability. */
static bool recycle_round(struct round *round)
{
    struct crew *crew = round->crew;
    crew_start(crew, GUESTS);
    crew_await(crew, GUESTS, some_calls(round));
    pid_t id = crew->processes[GUESTS];
    process_kill(id);
    struct clone_args arguments = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&id, .set_tid_size = 1};
    fflush(NULL);
    pid_t again = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    if (again == 0)
        run_as_member(crew, GUESTS + 1);
    if (again < 0) {
        crew_settle(crew, GUESTS, id);
        crew->processes[GUESTS] = 0;
        return false;
    }
    crew->processes[GUESTS + 1] = again;
    crew_await(crew, GUESTS + 1, some_calls(round));
    crew_settle_one(crew, GUESTS, id); /* by now another process has that number */
    crew_await(crew, GUESTS + 1, CALLS);
    end_guest(crew, GUESTS + 1);
    crew->processes[GUESTS] = 0;
    return true;
}

/* Two processes, both with id 1 in namespaces of their own. Needs a capability. */
static pid_t start_in_namespace(struct crew *crew, uint32_t slot)
{
    struct clone_args arguments = {.flags = CLONE_NEWPID, .exit_signal = SIGCHLD};
    fflush(NULL);
    pid_t process = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    if (process == 0)
        run_as_member(crew, slot);
    return process;
}

static bool namespace_round(struct round *round)
{
    struct crew *crew = round->crew;
    crew->processes[GUESTS] = start_in_namespace(crew, GUESTS);
    if (crew->processes[GUESTS] < 0) {
        crew->processes[GUESTS] = 0;
        return false;
    }
    crew->processes[GUESTS + 1] = start_in_namespace(crew, GUESTS + 1);
    crew_await(crew, GUESTS, some_calls(round));
    crew_await(crew, GUESTS + 1, some_calls(round));
    process_kill(crew->processes[GUESTS]);
    crew_settle_one(crew, GUESTS, 1); /* both records say 1: one of them goes */
    crew_await(crew, GUESTS + 1, CALLS);
    process_kill(crew->processes[GUESTS + 1]);
    crew_settle(crew, GUESTS + 1, 1);
    crew->processes[GUESTS] = crew->processes[GUESTS + 1] = 0;
    return true;
}

/* ---------------------------------------------------------------- all */

static const struct {
    const char *needs; /* said where it is skipped */
    bool (*run)(struct round *round);
} rounds[] = {
    {NULL, stop},
    {NULL, fork_round},
    {NULL, exec_round},
    {NULL, thread_round},
    {"clone3 with set_tid", recycle_round},
    {"a PID namespace", namespace_round},
};

uint64_t life_trial(uint64_t seed, uint64_t only_step, struct tally *tally)
{
    (void)only_step;
    struct random random = random_begin(seed);
    struct crew crew;
    struct round round = {.crew = &crew, .random = &random};
    crew_begin(&crew, random_next(&random), MEMBERS, 32 << 20, tally);
    crew_start_from(&crew, 0);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        atomic_store(at_step, i);
        for (size_t kind = 0; kind < COUNT(rounds); kind++) {
            if (rounds[kind].run(&round))
                continue;
            atomic_fetch_add(&tally->skipped, 1);
            if ((atomic_fetch_or(skips_told, UINT32_C(1) << kind) >> kind & 1) == 0)
                printf("life: SKIPPED what needs %s: no permission\n", rounds[kind].needs);
        }
    }
    (void)crew_count(&crew);
    (void)crew_end(&crew);
    return ROUNDS;
}
