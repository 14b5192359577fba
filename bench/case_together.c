/* SPDX-License-Identifier: MIT */
/* Two threads, or two processes, that work on one heap at the same time. */
#include "cases.h"
#include "heap.h"
#include "team.h"

#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>

#define BLOCK 64

/* As threads the two use one handle; as processes each opens the heap by its name. */
static void *join_heap(enum team_kind kind, void *heap)
{
    if (kind == TEAM_THREADS)
        return heap;
    heap = heap_open_named(false);
    if (!heap)
        fail("the heap cannot be opened: %s", HEAP_ERROR);
    return heap;
}

static void leave_heap(enum team_kind kind, void *heap)
{
    if (kind == TEAM_PROCESSES)
        heap_close_named(heap);
}

static void *prepare_heap(enum team_kind kind)
{
    if (kind == TEAM_THREADS)
        return new_heap();
    void *heap = heap_create_named();
    if (!heap)
        fail("no named heap is to be had: %s", HEAP_ERROR);
    heap_close_named(heap);
    return NULL;
}

static void end_heap(enum team_kind kind, void *heap)
{
    if (kind == TEAM_THREADS)
        heap_destroy(heap);
    else
        heap_unlink_named();
}

/* ---- relay: one allocates, the other frees */

#define RELAYED 2000000
#define SLOTS 4096
#define PUBLISHED 64 /* so many at once: the ring itself should cost little */

struct relay {
    enum team_kind kind;
    void *heap;
    double cpu[2], idle[2], wall[2];
    alignas(128) atomic_ulong head; /* written by the producer */
    alignas(128) atomic_ulong tail; /* written by the consumer */
    alignas(128) void *slots[SLOTS];
};

/* Waits until *index is other than known and returns it; adds the CPU time of waiting to *idle. */
static unsigned long await(atomic_ulong *index, unsigned long known, double *idle)
{
    unsigned long now = atomic_load_explicit(index, memory_order_acquire);
    if (now != known)
        return now;
    struct watch watch = start();
    while ((now = atomic_load_explicit(index, memory_order_acquire)) == known)
        sched_yield();
    *idle += stop(watch).cpu;
    return now;
}

static double produce(struct relay *relay, void *heap)
{
    double idle = 0;
    unsigned long tail = 0;
    for (unsigned long head = 0; head < RELAYED;) {
        while (head - tail == SLOTS)
            tail = await(&relay->tail, tail, &idle);
        unsigned long *block = new_block(heap, BLOCK);
        *block = head;
        relay->slots[head++ % SLOTS] = block;
        if (head % PUBLISHED == 0)
            atomic_store_explicit(&relay->head, head, memory_order_release);
    }
    return idle;
}

static double consume(struct relay *relay, void *heap)
{
    double idle = 0;
    unsigned long head = 0;
    for (unsigned long tail = 0; tail < RELAYED;) {
        while (tail == head)
            head = await(&relay->head, head, &idle);
        unsigned long *block = relay->slots[tail % SLOTS];
        if (*block != tail)
            fail("block %lu has the contents of another", tail);
        heap_free(heap, block);
        if (++tail % PUBLISHED == 0)
            atomic_store_explicit(&relay->tail, tail, memory_order_release);
    }
    return idle;
}

static void relay_member(void *work, int index)
{
    struct relay *relay = work;
    void *heap = join_heap(relay->kind, relay->heap);
    team_meet();
    struct watch watch = start();
    relay->idle[index] = index == 0 ? produce(relay, heap) : consume(relay, heap);
    watch = stop(watch);
    relay->cpu[index] = watch.cpu;
    relay->wall[index] = watch.wall;
    leave_heap(relay->kind, heap);
}

static void relay(enum team_kind kind)
{
    struct relay *relay = pages(sizeof *relay);
    relay->kind = kind;
    relay->heap = prepare_heap(kind);
    team_run(kind, 2, relay_member, relay);
    double cpu = relay->cpu[0] + relay->cpu[1];
    emit("cpu", "ns", cpu / RELAYED);
    emit("work", "ns", (cpu - relay->idle[0] - relay->idle[1]) / RELAYED);
    emit("rate", "M/s", RELAYED / relay->wall[1] * 1e3);
    end_heap(kind, relay->heap);
}

void case_relay_threads(void)
{
    relay(TEAM_THREADS);
}

void case_relay_processes(void)
{
    relay(TEAM_PROCESSES);
}

/* ---- churn: each exchanges blocks of its own, all in one heap */

#define CHURNED 1000000
#define CHURN_SLOTS 1000

struct churn {
    enum team_kind kind;
    void *heaps[2]; /* of each member */
    double cpu[2];
};

static void exchange(void *heap, void **blocks, uint64_t seed)
{
    for (long i = 0; i < CHURNED; i++) {
        uint64_t random = next_random(&seed);
        uint32_t slot = (uint32_t)random % CHURN_SLOTS;
        heap_free(heap, blocks[slot]);
        blocks[slot] = new_block(heap, random_size(random));
        *(uint64_t *)blocks[slot] = random;
    }
}

static void churn_member(void *work, int index)
{
    struct churn *churn = work;
    void *blocks[CHURN_SLOTS];
    void *heap = join_heap(churn->kind, churn->heaps[index]);
    for (int i = 0; i < CHURN_SLOTS; i++)
        blocks[i] = new_block(heap, sizes[i]);
    exchange(heap, blocks, 1 + (uint64_t)index);
    team_meet();
    struct watch watch = start();
    exchange(heap, blocks, 3 + (uint64_t)index);
    churn->cpu[index] = stop(watch).cpu;
    team_meet(); /* nobody's blocks end while another is measured */
    for (int i = 0; i < CHURN_SLOTS; i++)
        heap_free(heap, blocks[i]);
    leave_heap(churn->kind, heap);
}

static void churn_with(struct churn *churn, int members, const char *metric)
{
    churn->cpu[1] = 0;
    team_run(churn->kind, members, churn_member, churn);
    emit(metric, "ns", (churn->cpu[0] + churn->cpu[1]) / members / CHURNED);
}

static void churn(enum team_kind kind)
{
    struct churn *churn = pages(sizeof *churn);
    churn->kind = kind;
    churn->heaps[0] = churn->heaps[1] = prepare_heap(kind);
    churn_with(churn, 1, "one");
    churn_with(churn, 2, "two");
    /* What two cost that do not meet: more than one where the machine's cores share something. */
    if (kind == TEAM_THREADS && HEAP_HAS(HEAP_HANDLES)) {
        churn->heaps[1] = new_heap();
        churn_with(churn, 2, "apart");
        heap_destroy(churn->heaps[1]);
    }
    end_heap(kind, churn->heaps[0]);
}

void case_churn_threads(void)
{
    churn(TEAM_THREADS);
}

void case_churn_processes(void)
{
    churn(TEAM_PROCESSES);
}

/* ---- regrow: one allocates, the other frees nine of ten, the first allocates as many again */

#define REGROWN 1000000

struct regrow {
    void *blocks[REGROWN];
};

static void allocate_twice(struct regrow *regrow, void *heap)
{
    for (int i = 0; i < REGROWN; i++)
        *(char *)(regrow->blocks[i] = new_block(heap, BLOCK)) = 1;
    double before = heap_footprint(heap);
    team_meet();
    team_meet();
    for (int i = 0; i < REGROWN / 10 * 9; i++)
        *(char *)new_block(heap, BLOCK) = 1;
    emit("growth", "%", (heap_footprint(heap) / before - 1) * 100);
}

static void free_most(struct regrow *regrow, void *heap)
{
    team_meet();
    for (int i = 0; i < REGROWN; i++)
        if (i % 10 != 0)
            heap_free(heap, regrow->blocks[i]);
    team_meet();
}

static void regrow_member(void *work, int index)
{
    void *heap = join_heap(TEAM_PROCESSES, NULL);
    if (index == 0)
        allocate_twice(work, heap);
    else
        free_most(work, heap);
    team_meet();
    leave_heap(TEAM_PROCESSES, heap);
}

void case_regrow(void)
{
    prepare_heap(TEAM_PROCESSES);
    team_run(TEAM_PROCESSES, 2, regrow_member, pages(sizeof(struct regrow)));
    end_heap(TEAM_PROCESSES, NULL);
}
