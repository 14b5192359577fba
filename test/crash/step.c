/* SPDX-License-Identifier: MIT */
/*
 * step: a process makes its calls one instruction at a time. Whenever an instruction has changed the image, a copy of
 * it, in which all are dead because nobody holds a lock of that file, is opened by another process, recovered, and held
 * against the ledger. In some trials another process goes on for a while between two instructions.
 */
#include "crash.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    STEPPED_CALLS = 40,
    AUDITED_ONE_IN = 8, /* eights of seeds, for one of eight is a tour */
    TRACED_ONE_IN = 8,  /* a trap for each store finds states sooner, a tracer finds all */
    VISITED_ONE_IN = 2, /* of those that are traced and have a peer */
    VISITED_CALLS = 20,
    VISIT_AT_LOCK_ONE_IN = 3,
    VISIT_ONE_IN = 150,
    VISIT_STEPS = 800,
    VISIT_STEPS_MAX = 20000, /* then it waits for who is visited */
    VISITOR_KILLED_ONE_IN = 300,
    APPOINTMENT_STEPS_MAX = 40000,
    PATIENCE = 6000, /* steps that a victim makes beside a visitor whom it may wait for */
};

/*
 * Of the states in which an owner is in the middle of something more are kept to be recovered step by step: there
 * recovery has most to do, and they are few.
 */
static const uint32_t kept_one_in[UNFINISHED_KINDS] = {300, 12, 12};

/* What a trial has in hand. */
struct trial {
    struct random random;
    struct world *world;
    struct tally *tally;
    uint64_t only_step;
    uint64_t distinct;
    char path[300];
    struct image image;
    bool has_image;
    bool audits; /* looks also after instructions that cannot have written, whether they have */
    /* The other process, and what it is told. */
    struct stage {
        struct world world;
        char name[32];
        uint32_t lost;
    } * stage;
    /* Another at work, which goes on now and then while the victim stands still; 0: none. */
    pid_t visitor;
    bool visitor_steps; /* it stands in a call */
    struct peer *visiting;
    uint32_t kept;    /* appointments that were kept or are being waited for */
    uint32_t orphans; /* when the last of them was made */
    uint64_t alone;   /* steps of the victim since the visitor made one */
    pid_t verifier;
    int order[2], answer[2];
    int copy;
    /* States that a recovery will be stepped from, with whoever died in them: one of each kind. */
    struct dead {
        struct world *world;
        char name[32];
        bool full;
    } dead[UNFINISHED_KINDS];
};

static const char *path_of(const char *name)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", getenv("CAIRN_DIR"), name);
    return path;
}

/* ---------------------------------------------------------------- the other process */

static void verify_for_ever(void *arg)
{
    struct trial *trial = arg;
    char byte;
    close(trial->order[1]);
    while (read(trial->order[0], &byte, 1) == 1) {
        trial->stage->lost = world_verify(&trial->stage->world, trial->stage->name);
        if (write(trial->answer[1], &byte, 1) != 1)
            return;
    }
}

static void verifier_start(struct trial *trial)
{
    trial->stage = shared_memory(sizeof *trial->stage);
    snprintf(trial->stage->name, sizeof trial->stage->name, "copy");
    trial->copy = open(path_of("copy"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (trial->copy < 0 || pipe(trial->order) < 0 || pipe(trial->answer) < 0)
        fail("no descriptors");
    trial->verifier = process_start(verify_for_ever, trial);
    close(trial->order[0]);
    close(trial->answer[1]);
}

static void verifier_end(struct trial *trial)
{
    close(trial->order[1]);
    close(trial->answer[0]);
    require_end(process_end(trial->verifier, 10), "the verifier");
    close(trial->copy);
    unlink(path_of("copy"));
}

static void verify(struct trial *trial)
{
    char byte = 0;
    image_copy(&trial->image, trial->copy);
    memcpy(&trial->stage->world, trial->world, sizeof *trial->world);
    if (write(trial->order[1], &byte, 1) != 1)
        fail("the verifier is gone");
    struct pollfd ready = {.fd = trial->answer[0], .events = POLLIN};
    if (poll(&ready, 1, 10000) == 0) {
        kill(trial->verifier, SIGKILL);
        fail("the verifier hangs");
    }
    if (read(trial->answer[0], &byte, 1) != 1) {
        const struct call *call = &trial->world->slots[0].call;
        char why[FAIL_TEXT];
        snprintf(why, sizeof why, "%s", fail_text[0] != '\0' ? fail_text : "the verifier died");
        fail_text[0] = '\0';
        fail("in %s (%zu bytes): %s", call_name(atomic_load(&call->kind)), call->size, why);
    }
    atomic_fetch_add(&trial->tally->lost, trial->stage->lost);
}

/* ---------------------------------------------------------------- stepping */

struct victim {
    struct world *world;
    bool trapped;
    int ask, answer;
    uint32_t warm_up;
    bool exhausts;              /* what is stepped is a heap that refuses */
    const struct tour *tour;    /* is all it does; NULL: calls by chance */
    enum call_kind first, last; /* CALL_NONE: as the others */
};

static void keep_dead(struct trial *trial, struct dead *dead)
{
    if (dead->world == NULL)
        dead->world = world_new();
    memcpy(dead->world, trial->world, sizeof *dead->world);
    dead->world->appointment.when = MOMENT_NEVER; /* nobody visits who goes on from there */
    dead->world->appointments = 0;
    snprintf(dead->name, sizeof dead->name, "dead%u", (unsigned)(dead - trial->dead));
    snprintf(dead->world->name, sizeof dead->world->name, "%s", dead->name);
    int file = open(path_of(dead->name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        fail("no descriptor");
    image_copy(&trial->image, file);
    close(file);
    dead->full = true;
}

/* Looks at the image after one instruction. */
static void look(struct trial *trial, bool keep)
{
    if (!trial->has_image)
        trial->has_image = image_open(&trial->image, trial->path); /* being created */
    if (!trial->has_image || !image_changed(&trial->image, trial->world->slots[0].anchor))
        return;
    atomic_fetch_add(&trial->tally->changed, 1);
    struct stat status;
    if (fstat(trial->image.file, &status) == 0 && status.st_nlink == 0)
        return; /* destroyed: nobody can come to see it */
    /* What is kept follows from the seed alone, so that a replay finds it. */
    enum unfinished what = keep ? image_unfinished(&trial->image, 0) : UNFINISHED_NOTHING;
    if (keep && random_below(&trial->random, kept_one_in[what]) == 0)
        keep_dead(trial, &trial->dead[what]);
    if (trial->only_step != UINT64_MAX && trial->only_step != atomic_load(at_step))
        return;
    verify(trial);
    trial->distinct += ledger_add_state(trial->image.hash);
}

/* The visitor goes on, for some instructions or to the end of a call; and is killed at last. */
static void visit(struct trial *trial, pid_t victim)
{
    static const struct image none;
    struct world *world = trial->world;
    bool whole = random_below(&trial->random, 4) == 0;
    uint64_t steps = whole ? VISIT_STEPS_MAX : random_below(&trial->random, VISIT_STEPS);
    stops_clear(victim);
    atomic_store(&world->stepping, trial->visitor_steps);
    if (!trial->visitor_steps)
        trial->visitor_steps = traced_resume(&trial->visitor);
    while (trial->visitor_steps && (steps > 0 || !traced_can_wait(trial->visitor))) {
        steps -= steps > 0;
        trial->visitor_steps = traced_step(trial->visitor, world, &none);
    }
    stops_clear(trial->visitor);
    atomic_store(&world->stepping, 1);
    if (random_below(&trial->random, VISITOR_KILLED_ONE_IN) == 0) {
        traced_kill(trial->visitor);
        trial->visitor = 0;
    }
}

static bool is_moment(struct trial *trial, pid_t process, enum moment moment, uint32_t *nth)
{
    struct world *world = trial->world;
    switch (moment) {
    case MOMENT_NEVER:
        return false;
    case MOMENT_NOW:
        return true;
    case MOMENT_STEP:
        return (*nth)-- <= 1;
    case MOMENT_LOCK:
        return traced_is_at_lock() && (*nth)-- <= 1;
    case MOMENT_ADOPTED:
        return image_orphans(&trial->image) < trial->orphans;
    case MOMENT_END:
        return world->done == world->orders;
    default:
        return image_is_moment(&trial->image, process, moment);
    }
}

static bool has_appointment(struct trial *trial, pid_t victim)
{
    struct world *world = trial->world;
    if (world->appointment.when == MOMENT_NEVER || !traced_can_wait(victim))
        return false;
    if (trial->kept != world->appointments)
        trial->orphans = image_orphans(&trial->image);
    trial->kept = world->appointments;
    return is_moment(trial, victim, world->appointment.when, &world->appointment.nth);
}

/* One step of the visitor's, or on to its next call. */
static void visitor_step(struct trial *trial)
{
    static const struct image none;
    struct world *world = trial->world;
    atomic_store(&world->stepping, trial->visitor_steps);
    trial->visitor_steps =
        trial->visitor_steps ? traced_step(trial->visitor, world, &none) : traced_resume(&trial->visitor);
}

static void visitor_start(struct trial *trial);

/* The visitor goes on to that moment, or until it has done what it was asked for. */
static void advance(struct trial *trial, pid_t victim, enum moment until, uint32_t nth)
{
    struct world *world = trial->world;
    bool stands = false, rests = false;
    stops_clear(victim);
    for (uint32_t steps = 0; steps < APPOINTMENT_STEPS_MAX && !rests && !stands; steps++) {
        visitor_step(trial);
        bool is_inside = trial->visitor_steps && traced_can_wait(trial->visitor);
        stands = is_inside && is_moment(trial, trial->visitor, until, &nth);
        rests = trial->visitor_steps && !is_inside && world->done == world->orders;
    }
    while (!rests && trial->visitor_steps && !traced_can_wait(trial->visitor))
        visitor_step(trial);
    stops_clear(trial->visitor);
    atomic_store(&world->stepping, 1);
}

static void keep_appointment(struct trial *trial, pid_t victim)
{
    struct world *world = trial->world;
    struct appointment appointment = world->appointment;
    world->appointment = (struct appointment){.when = MOMENT_NEVER};
    stops_clear(victim);
    if (trial->visitor == 0)
        visitor_start(trial);
    advance(trial, victim, appointment.until, appointment.until_nth);
    trial->alone = 0;
    if (!appointment.dies)
        return;
    traced_kill(trial->visitor);
    trial->visitor = 0;
    if (appointment.successor == NULL)
        return;
    world->ordered = appointment.successor;
    world->orders++;
    visitor_start(trial);
    advance(trial, victim, MOMENT_END, 0);
}

/* With appointments nobody comes by chance; but a victim that makes so many steps may wait for who stands there. */
static bool seems_to_wait(struct trial *trial, pid_t victim)
{
    return trial->world->appointments != 0 && trial->visitor != 0 && ++trial->alone % PATIENCE == 0 &&
           traced_can_wait(victim);
}

/* Oftener between what the victim has seen and what it makes of that. */
static bool is_time_for_a_visit(struct trial *trial, pid_t victim)
{
    return trial->world->appointments == 0 && trial->visitor != 0 && traced_can_wait(victim) &&
           random_below(&trial->random, traced_is_at_lock() ? VISIT_AT_LOCK_ONE_IN : VISIT_ONE_IN) == 0;
}

/* With a tracer, after each instruction. */
static void step_traced(struct trial *trial, void (*run)(void *arg), void *arg, bool keep)
{
    pid_t process = traced_start(run, arg);
    while (traced_resume(&process)) {
        bool stepping = atomic_load(&trial->world->stepping) != 0;
        if (stepping)
            look(trial, false); /* what happened between the calls */
        while (stepping) {
            bool visited = has_appointment(trial, process);
            if (visited) {
                keep_appointment(trial, process);
            } else if (seems_to_wait(trial, process)) {
                advance(trial, process, MOMENT_END, 0);
                visited = true;
            } else if (is_time_for_a_visit(trial, process)) {
                visit(trial, process);
                visited = true;
            }
            stepping = traced_step(process, trial->world, &trial->image);
            atomic_fetch_add(at_step, 1);
            atomic_fetch_add(&trial->tally->steps, 1);
            if (visited || traced_may_have_written)
                look(trial, keep);
            else if (trial->audits && trial->has_image && traced_can_wait(process) &&
                     image_changed(&trial->image, trial->world->slots[0].anchor))
                fail("an instruction that only reads has changed the image: see only_reads");
        }
    }
}

/* Without one, after each store. */
static void step_trapped(struct trial *trial, void (*run)(void *arg), struct victim *victim, bool keep)
{
    int ask[2], answer[2];
    if (pipe(ask) < 0 || pipe(answer) < 0)
        fail("no descriptors");
    victim->ask = ask[1];
    victim->answer = answer[0];
    pid_t process = process_start(run, victim);
    close(ask[1]);
    close(answer[0]);
    char byte;
    struct pollfd asked = {.fd = ask[0], .events = POLLIN};
    while (poll(&asked, 1, 10000) == 1 && read(ask[0], &byte, 1) == 1) {
        atomic_fetch_add(at_step, 1);
        atomic_fetch_add(&trial->tally->stores, 1);
        look(trial, keep);
        if (write(answer[1], &byte, 1) != 1)
            break;
    }
    close(ask[0]);
    close(answer[1]);
    require_end(process_end(process, 10), "the process whose stores are trapped");
}

/* ---------------------------------------------------------------- who is stepped */

void world_limit_growth(struct world *world, uint64_t bytes)
{
    world->is_limited = true;
    struct stat status;
    if (stat(path_of(world->name), &status) < 0)
        fail("no heap");
    rlim_t most = (rlim_t)status.st_size + bytes;
    struct rlimit limit = {.rlim_cur = most, .rlim_max = most};
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
        fail("no limit");
}

static void refuse(long call, int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT(filter), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        fail("system calls cannot be refused: %s", strerror(errno));
}

void world_refuse_memory(struct world *world)
{
    world->is_limited = true;
    refuse(SYS_fallocate, ENOSPC);
}

void world_refuse_own_memory(void)
{
    refuse(SYS_mmap, ENOMEM);
}

/* What has threads, or waits outside its calls. */
static const uint64_t not_beside_a_visitor =
    UINT64_C(1) << CALL_THREAD | UINT64_C(1) << CALL_ERRAND | UINT64_C(1) << CALL_REOPEN;

static void victim_run(void *arg)
{
    struct victim *victim = arg;
    /* Whoever opens the heap of the dead has a slot of its own: theirs says in which call they died. */
    struct actor actor = {.world = victim->world, .slot = &victim->world->slots[victim->first == CALL_OPEN ? 2 : 0]};
    if (victim->trapped)
        trap_install(victim->ask, victim->answer);
    if (victim->first != CALL_NONE) {
        actor.mode = TRACED;
        actor_call(&actor, (struct call){.kind = victim->first});
        if (victim->first == CALL_OPEN)
            return; /* the world is a dead one's: it goes on only when it is settled */
        cairn_heap_close(actor.heap);
    }
    actor_begin(&actor, victim->world, 0);
    for (uint32_t i = 0; i < victim->warm_up; i++)
        actor_turn(&actor);
    if (victim->world->is_limited)
        world_limit_growth(victim->world, random_below(&actor.slot->random, victim->world->bytes_max / 8));
    if (victim->exhausts)
        actor_exhaust(&actor);
    if (victim->world->is_visited)
        calls_without |= not_beside_a_visitor;
    if (victim->tour != NULL) {
        victim->tour->run(&actor);
        return;
    }
    for (uint32_t i = 0; i < (victim->world->is_visited ? VISITED_CALLS : STEPPED_CALLS); i++) {
        actor.mode = FREE_RUNNING;
        for (uint64_t more = victim->world->is_visited ? 0 : random_below(&actor.slot->random, 4); more > 0; more--)
            actor_turn(&actor);
        actor.mode = victim->trapped ? TRAPPED : TRACED;
        actor.evenly = i % 2 == 0;
        actor_turn(&actor);
        actor.evenly = false;
        if (victim->world->is_visited && i % 4 == 0)
            actor_guest(&actor, 1);
        if (victim->world->is_visited && i % 4 == 2)
            actor_call(&actor, (struct call){.kind = CALL_LOOK});
        if (victim->world->is_visited)
            actor_give(&actor, 1);
    }
    if (victim->world->is_visited) {
        actor_leave(&actor);
        return;
    }
    if (victim->last == CALL_DESTROY && !victim->trapped) {
        for (uint32_t i = CHILDREN; i-- > 0;) { /* a nested one before its parent */
            if (actor.slot->children[i] != CHILD_NONE)
                actor_call(&actor, (struct call){.kind = CALL_CHILD_DESTROY, .index = i});
        }
        if (actor.slot->locked)
            actor_call(&actor, (struct call){.kind = CALL_UNLOCK});
        actor_call(&actor, (struct call){.kind = CALL_DESTROY});
    }
}

/* In less the roots that two use do not fit. */
#define PEER_BYTES_MIN (UINT64_C(512) << 10)

enum peer_end { PEER_LIVES, PEER_DIES, PEER_LEAVES, PEER_ENDS };

struct peer {
    struct world *world;
    const struct tour *tour; /* NULL: turns by chance */
    uint32_t number;         /* of a visitor's slot: one that has died gets a successor */
    uint32_t turns;
    enum peer_end end;
    int ready, stay;
};

/* One of so many blocks becomes the victim's, who will free it elsewhere. */
static void give_part(struct actor *actor, uint64_t one_in)
{
    struct record *records = actor->world->records;
    for (uint32_t i = 0; i < COUNT(actor->world->records); i++) {
        if (atomic_load(&records[i].holder) == actor->number + 1 && records[i].heap == 0 &&
            random_below(&actor->slot->random, one_in) == 0)
            atomic_store(&records[i].holder, 1);
    }
}

/* Has slabs, and gives half of its blocks to the victim. */
static void peer_run(void *arg)
{
    struct peer *peer = arg;
    struct actor actor = {0};
    char byte = 0;
    actor_begin(&actor, peer->world, 1);
    if (peer->tour != NULL)
        peer->tour->peer(&actor);
    for (uint32_t i = 0; i < peer->turns; i++)
        actor_turn(&actor);
    give_part(&actor, peer->tour != NULL ? 1 : 2);
    if (peer->end == PEER_DIES)
        actor_litter(&actor);
    if (peer->end == PEER_LEAVES)
        actor_end(&actor);
    if (write(peer->ready, &byte, 1) != 1)
        return;
    if (read(peer->stay, &byte, 1) < 0)
        return;
}

/* Stops in its calls, and makes one more whenever it is let on: most of its own, some of what the victim wants, too. */
static void visitor_run(void *arg)
{
    struct peer *peer = arg;
    struct actor actor = {0};
    calls_without |= not_beside_a_visitor;
    actor_begin(&actor, peer->world, peer->number);
    if (peer->tour != NULL && peer->tour->visitor == actor_serve)
        actor_serve(&actor);
    struct random *random = &actor.slot->random;
    for (uint32_t i = 0; i < peer->turns; i++)
        actor_turn(&actor);
    give_part(&actor, 2);
    peer->world->meeting = cairn_zalloc(actor.heap, sizeof *peer->world->meeting);
    if (peer->world->meeting != NULL)
        world_add_maybe(peer->world, peer->world->meeting);
    actor.mode = TRACED;
    while (peer->tour != NULL)
        peer->tour->visitor(&actor);
    for (;;) {
        bool has_child = actor.slot->children[0] != CHILD_NONE;
        actor.evenly = random_below(random, 2) == 0;
        switch (random_below(random, 7)) {
        case 0:
        case 1:
            actor_call(&actor, (struct call){.kind = !has_child                     ? CALL_CHILD_CREATE
                                                     : random_below(random, 4) == 0 ? CALL_CHILD_DESTROY
                                                                                    : CALL_CHILD_RESET});
            break;
        case 2: { /* so long that it mostly stands in the middle of it */
            struct record *large =
                actor_make(&actor, 0, CALL_ALLOC, NULL, peer->world->bytes_max / (8 << random_below(random, 4)), 0);
            if (large != NULL)
                (void)actor_make(&actor, 0, CALL_FREE, large, 0, 0);
            break;
        }
        case 3:
            if (peer->world->meeting == NULL)
                break;
            actor_step(&actor, true);
            if (cairn_lock(actor.heap, peer->world->meeting) >= 0)
                (void)cairn_unlock(actor.heap, peer->world->meeting);
            actor_step(&actor, false);
            break;
        default:
            actor_turn(&actor);
            actor_give(&actor, 0);
        }
    }
}

static void visitor_start(struct trial *trial)
{
    trial->visiting->number++;
    trial->visitor = traced_start(visitor_run, trial->visiting);
    trial->visitor_steps = traced_resume(&trial->visitor);
    stops_clear(trial->visitor);
    atomic_store(&trial->world->stepping, 0);
}

static struct trial trial_begin(uint64_t seed, uint64_t only_step, struct tally *tally)
{
    struct trial trial = {.random = random_begin(seed), .world = world_new(), .tally = tally, .only_step = only_step};
    trial.audits = seed / 8 % AUDITED_ONE_IN == 0;
    snprintf(trial.path, sizeof trial.path, "%s", path_of("heap"));
    return trial;
}

static void step_dead(struct trial *trial, struct dead *dead)
{
    struct world *before = trial->world;
    trial->world = dead->world;
    snprintf(trial->path, sizeof trial->path, "%s", path_of(dead->name));
    struct victim successor = {.world = dead->world, .first = CALL_OPEN};
    trial->has_image = image_open(&trial->image, trial->path);
    step_traced(trial, victim_run, &successor, false);
    image_close(&trial->image);
    unlink(trial->path);
    world_delete(dead->world);
    trial->world = before;
}

uint64_t step_trial(uint64_t seed, uint64_t only_step, struct tally *tally)
{
    static const uint64_t sizes[] = {256 << 10, 512 << 10, 1 << 20,  1 << 20, 1 << 20,
                                     4 << 20,   4 << 20,   24 << 20, 32 << 20};
    struct trial trial = trial_begin(seed, only_step, tally);
    struct world *world = trial.world;
    const struct tour *tour = seed % TOUR_ONE_IN == 0 ? &tours[seed / TOUR_ONE_IN % tours_count] : NULL;
    uint64_t bytes_max = tour != NULL ? tour->bytes_max : sizes[random_below(&trial.random, COUNT(sizes))];
    for (uint32_t s = 0; s < SLOTS; s++)
        world->slots[s].random = random_begin(random_next(&trial.random));
    verifier_start(&trial);

    struct victim victim = {.world = world, .tour = tour};
    victim.warm_up = tour != NULL ? 0 : (uint32_t)random_below(&trial.random, 200);
    victim.exhausts = tour == NULL && random_below(&trial.random, 4) == 0;
    world->is_wide = random_below(&trial.random, 3) == 0;
    if (random_below(&trial.random, 4) == 0)
        world->flags = CAIRN_EXACT_SIZES;
    if (tour != NULL)
        world->flags = tour->flags;
    if (tour == NULL && random_below(&trial.random, 8) == 0)
        world->bytes_start = random_below(&trial.random, bytes_max);
    if (tour == NULL && random_below(&trial.random, 8) == 0) {
        world_name(world, "heap", bytes_max);
        victim.first = CALL_CREATE;
        victim.warm_up = 0;
    } else {
        world_begin(world, "heap", bytes_max);
    }
    bool by_chance = victim.first == CALL_NONE && tour == NULL;
    bool has_peer = tour != NULL ? tour->peer != NULL : by_chance && bytes_max >= PEER_BYTES_MIN;
    victim.trapped = by_chance && random_below(&trial.random, TRACED_ONE_IN) != 0;
    world->is_visited =
        tour != NULL ? tour->visitor != NULL
                     : by_chance && has_peer && !victim.trapped && random_below(&trial.random, VISITED_ONE_IN) == 0;
    world->is_limited = by_chance && !world->is_visited && random_below(&trial.random, 4) == 0;
    victim.last = victim.first == CALL_CREATE ? CALL_DESTROY : CALL_NONE; /* nobody else has children there */

    pid_t other = 0;
    int ready[2] = {-1, -1}, stay[2] = {-1, -1};
    struct peer peer = {.world = world, .tour = tour};
    peer.turns = tour != NULL ? 0 : (uint32_t)random_below(&trial.random, 200);
    peer.end = tour != NULL ? PEER_LIVES : (enum peer_end)random_below(&trial.random, PEER_ENDS);
    if (world->is_visited) {
        trial.visiting = &peer;
        visitor_start(&trial);
    } else if (has_peer) {
        if (pipe(ready) < 0 || pipe(stay) < 0)
            fail("no descriptors");
        peer.ready = ready[1];
        peer.stay = stay[0];
        other = process_start(peer_run, &peer);
        struct pollfd done = {.fd = ready[0], .events = POLLIN};
        char byte;
        close(ready[1]);
        if (poll(&done, 1, 10000) != 1 || read(ready[0], &byte, 1) != 1)
            require_end(process_end(other, 1), "the peer");
        if (peer.end == PEER_DIES) {
            process_kill(other);
            other = 0;
        }
    }
    trial.has_image = victim.first == CALL_NONE && image_open(&trial.image, trial.path);
    if (victim.trapped)
        step_trapped(&trial, victim_run, &victim, true);
    else
        step_traced(&trial, victim_run, &victim, true);
    image_close(&trial.image);
    if (trial.visitor != 0)
        traced_kill(trial.visitor);
    trial.visitor = 0;
    if (other != 0)
        process_kill(other);
    close(ready[0]);
    close(stay[0]);
    close(stay[1]);
    unlink(path_of("heap"));
    for (uint32_t i = 0; i < UNFINISHED_KINDS; i++) {
        if (trial.dead[i].full)
            step_dead(&trial, &trial.dead[i]);
    }
    verifier_end(&trial);
    world_delete(world);
    munmap(trial.stage, sizeof *trial.stage);
    return trial.distinct;
}
