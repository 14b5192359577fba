/* SPDX-License-Identifier: MIT */
/*
 * on_failure: a program that is asked for room before a call fails, and answers by making some, by no, or by a jump.
 * cairn_misuse_set: one that is told of its misuse, and jumps.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "support/random.h"
#include "support/suite.h"
#include "support/workspace.h"

enum kind { LIMITED_CHILD, BOUNDED, LARGE_BOUNDED, UNSERIALIZED, LOCKABLE, SHARED, KINDS };

static cairn_heap *parent;

/* Each with room for 4 MiB or so. */
static cairn_heap *make(enum kind kind, cairn_failure_fn *on_failure, void *arg)
{
    cairn_options options = {
        .size = sizeof options, .bytes_max = 4 * MIB, .on_failure = on_failure, .on_failure_arg = arg};
    if (kind == LIMITED_CHILD)
        options.parent = parent = create_private(0);
    if (kind == LARGE_BOUNDED)
        options.bytes_max = 80 * MIB;
    if (kind == UNSERIALIZED)
        options.flags = CAIRN_UNSERIALIZED;
    if (kind == LOCKABLE)
        options.flags = CAIRN_LOCKABLE;
    if (kind == SHARED)
        options.name = "heap";
    cairn_heap *heap;
    if (cairn_heap_create(&heap, &options) < 0)
        ck_abort_msg("create: %s", cairn_last_error());
    return heap;
}

static void end(cairn_heap *heap)
{
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
    REQUIRE_CALL(parent == NULL || cairn_heap_destroy(parent) == 0);
    parent = NULL;
}

/* Large enough to fill a heap by a few. */
static size_t large_size(cairn_heap *heap)
{
    return stats_of(heap).bytes_max / 16;
}

/* ---------------------------------------------------------------- asking */

struct answer {
    cairn_heap *heap;
    void *hoard; /* freed when asked */
    size_t size; /* what is asked for */
    int error;
    int asked;
    int retries; /* how often to say it without having made room */
    jmp_buf *jump;
};

static int answer(cairn_heap *heap, size_t size, int error, void *arg)
{
    struct answer *me = arg;
    me->asked++;
    me->size = size;
    me->error = error;
    REQUIRE(heap == me->heap);
    if (me->hoard != NULL) {
        cairn_free(heap, me->hoard); /* no lock is held: the heap may be used */
        me->hoard = NULL;
        REQUIRE(stats_of(heap).bytes_max != 0);
        return CAIRN_RETRY;
    }
    if (me->retries-- > 0)
        return CAIRN_RETRY;
    if (me->jump != NULL)
        longjmp(*me->jump, 1);
    return 0;
}

enum { MOST = 4096 };

struct full {
    void *blocks[MOST];
    size_t count;
};

/* Allocates until a block of the size is refused. */
static void fill(cairn_heap *heap, struct full *full, size_t size)
{
    full->count = 0;
    void *block;
    while ((block = cairn_alloc(heap, size)) != NULL) {
        REQUIRE(full->count < MOST);
        full->blocks[full->count++] = block;
    }
    REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
}

static void empty(cairn_heap *heap, struct full *full)
{
    while (full->count > 0)
        cairn_free(heap, full->blocks[--full->count]);
    REQUIRE_EQUAL(blocks_live(heap), 0);
}

START_TEST(a_program_that_makes_room_gets_its_block)
{
    static struct full full;
    struct answer me = {0};
    cairn_heap *heap = me.heap = make((enum kind)_i, answer, &me);
    size_t size = large_size(heap);
    fill(heap, &full, size);
    ck_assert_int_eq(me.asked, 1);
    ck_assert_uint_eq(me.size, size);
    ck_assert_int_eq(me.error, -ENOMEM);
    void **dest = cairn_zalloc(heap, sizeof *dest);
    for (int way = 0; way < 5; way++) {
        me.asked = 0;
        me.hoard = full.blocks[--full.count];
        void *block = NULL;
        if (way == 0)
            block = cairn_alloc(heap, size);
        else if (way == 1)
            block = cairn_zalloc(heap, size);
        else if (way == 2)
            block = cairn_aligned_alloc(heap, 64, size);
        else if (way == 3)
            block = cairn_realloc(heap, NULL, size);
        else if (dest != NULL && cairn_alloc_to(heap, size, dest) == 0)
            block = *dest;
        else if (dest == NULL)
            block = cairn_alloc(heap, size);
        REQUIRE_CALL(block != NULL);
        ck_assert_int_eq(me.asked, 1);
        ck_assert_ptr_null(me.hoard);
        full.blocks[full.count++] = block;
        REQUIRE_SOUND(heap);
    }
    cairn_free(heap, dest);
    empty(heap, &full);
    end(heap);
}
END_TEST

/* It is asked anew each time, and can give up. */
START_TEST(a_program_may_say_retry_for_nothing)
{
    static struct full full;
    struct answer me = {0};
    cairn_heap *heap = me.heap = make((enum kind)_i, answer, &me);
    size_t size = large_size(heap);
    fill(heap, &full, size);
    for (int retries = 0; retries < 50; retries++) {
        me.retries = retries;
        me.asked = 0;
        REFUSED_NULL(-ENOMEM, cairn_alloc(heap, size));
        ck_assert_int_eq(me.asked, retries + 1);
    }
    me.asked = 0;
    void *block = full.blocks[0];
    memset(block, 0x5a, size);
    REFUSED_NULL(-ENOMEM, cairn_realloc(heap, block, size * 8));
    ck_assert_int_ge(me.asked, 1);
    for (size_t i = 0; i < size; i++)
        REQUIRE(((unsigned char *)block)[i] == 0x5a); /* the block is as it was */
    me.asked = 0;
    ck_assert(!cairn_expand(heap, block, size * 8));
    ck_assert_int_eq(me.asked, 0); /* it does not fail for lack of memory: it stays in place or not at all */
    empty(heap, &full);
    end(heap);
}
END_TEST

enum { TIMES = 100000 };

static uint64_t times(enum kind kind)
{
    return random_rounds(UNDER_SANITIZER || kind == SHARED ? TIMES / 50 : TIMES);
}

/* A full heap goes on for ever by what the program gives up, 10^5 times; nothing is lost. */
START_TEST(room_that_is_made_again_and_again_is_found)
{
    static struct full full;
    struct answer me = {0};
    cairn_heap *heap = me.heap = make((enum kind)_i, answer, &me);
    size_t size = 256 * KIB;
    fill(heap, &full, size);
    cairn_stats before = stats_of(heap);
    uint64_t rounds = times((enum kind)_i);
    me.asked = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        void **oldest = &full.blocks[i % full.count];
        me.hoard = *oldest;
        switch (i % 4) {
        case 0:
            *oldest = cairn_alloc(heap, size);
            break;
        case 1:
            *oldest = cairn_zalloc(heap, size);
            break;
        case 2:
            *oldest = cairn_aligned_alloc(heap, 4096, size);
            break;
        case 3:
            *oldest = cairn_realloc(heap, NULL, size);
            break;
        }
        REQUIRE_CALL(*oldest != NULL);
        REQUIRE(me.hoard == NULL);
    }
    ck_assert_uint_eq((uint64_t)me.asked, rounds);
    cairn_stats after = stats_of(heap);
    ck_assert_uint_eq(after.blocks_live, before.blocks_live);
    ck_assert_uint_eq(after.bytes_live, before.bytes_live);
    ck_assert_uint_le(after.bytes_committed, before.bytes_committed);
    empty(heap, &full);
    end(heap);
}
END_TEST

START_TEST(what_is_no_lack_of_memory_is_not_asked)
{
    struct answer me = {.retries = 1 << 30};
    cairn_heap *heap = me.heap = make((enum kind)_i, answer, &me);
    REFUSED_NULL(-EINVAL, cairn_aligned_alloc(heap, 3, 100));
    REFUSED_NULL(-EINVAL, cairn_aligned_alloc(heap, 2 * CAIRN_ALIGNMENT_MAX, 100));
    REFUSED(-EINVAL, cairn_alloc_to(heap, 100, NULL));
    ck_assert_int_eq(me.asked, 0);
    end(heap);
}
END_TEST

struct crowd {
    cairn_heap *heap;
    pthread_barrier_t all;
    atomic_uint refused;
};

static void *crowd_allocates(void *arg)
{
    struct crowd *crowd = arg;
    void *block = cairn_alloc(crowd->heap, 100);
    if (block == NULL) {
        REQUIRE_EQUAL(cairn_last_errno(), -EAGAIN);
        (void)atomic_fetch_add(&crowd->refused, 1);
    }
    (void)pthread_barrier_wait(&crowd->all);
    cairn_free(crowd->heap, block);
    return NULL;
}

static int count_asked(cairn_heap *heap, size_t size, int error, void *arg)
{
    (void)heap, (void)size;
    REQUIRE_EQUAL(error, -EAGAIN);
    (void)atomic_fetch_add((atomic_uint *)arg, 1);
    return 0;
}

START_TEST(a_program_is_asked_when_no_record_is_left_for_a_thread)
{
    enum { THREADS = 270 }; /* of a heap of this size 256 have a record */
    pthread_t threads[THREADS];
    atomic_uint asked = 0;
    struct crowd crowd = {.heap = make(LARGE_BOUNDED, count_asked, &asked)};
    ck_assert_int_eq(pthread_barrier_init(&crowd.all, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, crowd_allocates, &crowd), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_ge(crowd.refused, THREADS - 256);
    ck_assert_uint_eq(asked, crowd.refused);
    ck_assert_int_eq(pthread_barrier_destroy(&crowd.all), 0);
    end(crowd.heap);
}
END_TEST

START_TEST(a_handle_has_its_own_callback)
{
    struct answer me = {0};
    cairn_heap *heap = me.heap = make(SHARED, answer, &me), *other = open_shared("heap", 0);
    ck_assert_ptr_null(cairn_alloc(other, 64 * MIB));
    ck_assert_int_eq(me.asked, 0);
    cairn_heap_close(other);
    struct answer another = {0};
    cairn_options options = {.size = sizeof options, .on_failure = answer, .on_failure_arg = &another};
    REQUIRE_CALL(cairn_heap_open(&another.heap, "heap", &options) == 0);
    ck_assert_ptr_null(cairn_alloc(another.heap, 64 * MIB));
    ck_assert_int_eq(me.asked, 0);
    ck_assert_int_eq(another.asked, 1);
    cairn_heap_close(another.heap);
    ck_assert_ptr_null(cairn_alloc(heap, 64 * MIB));
    ck_assert_int_eq(me.asked, 1);
    ck_assert_int_eq(me.error, -ENOMEM);

    /* A heap that reuses the place of one that had a callback has none itself. */
    cairn_heap_close(heap);
    for (int i = 0; i < 600; i++) {
        heap = create_private(8 * KIB);
        ck_assert_ptr_null(cairn_alloc(heap, MIB));
        cairn_heap_close(heap);
    }
    ck_assert_int_eq(me.asked, 1);
    ck_assert_int_eq(cairn_heap_unlink("heap", NULL), 0);
}
END_TEST

/* ---------------------------------------------------------------- leaving by a jump */

/* Out of each call that can fail, 10^5 times; nothing is lost and nothing stays locked. */
START_TEST(a_jump_out_of_a_failing_call_loses_nothing)
{
    static struct full full;
    jmp_buf jump;
    struct answer me = {0};
    cairn_heap *heap = me.heap = make((enum kind)_i, answer, &me);
    size_t size = large_size(heap);
    fill(heap, &full, size);
    void **volatile dest = cairn_zalloc(heap, sizeof *dest);
    me.jump = &jump;
    me.asked = 0;
    cairn_stats before = stats_of(heap);
    volatile uint64_t rounds = times((enum kind)_i);
    volatile uint64_t jumped = 0;
    for (volatile uint64_t i = 0; i < rounds; i++) {
        if (setjmp(jump) != 0) {
            jumped++;
            continue;
        }
        void *block = NULL;
        switch (i % 5) {
        case 0:
            block = cairn_alloc(heap, size);
            break;
        case 1:
            block = cairn_zalloc(heap, size);
            break;
        case 2:
            block = cairn_aligned_alloc(heap, 4096, size);
            break;
        case 3:
            block = cairn_realloc(heap, full.blocks[0], size * 4);
            break;
        case 4:
            if (dest == NULL || cairn_alloc_to(heap, size, dest) < 0)
                block = cairn_alloc(heap, size);
            break;
        }
        ck_abort_msg("%p: no jump in round %llu", block, (unsigned long long)i);
    }
    ck_assert_uint_eq(jumped, rounds);
    ck_assert_uint_eq((uint64_t)me.asked, rounds);
    ck_assert(dest == NULL || *dest == NULL);
    cairn_stats after = stats_of(heap);
    ck_assert_uint_eq(after.blocks_live, before.blocks_live);
    ck_assert_uint_eq(after.bytes_live, before.bytes_live);
    ck_assert_uint_eq(after.large, before.large);
    ck_assert_uint_le(after.slabs, before.slabs);
    ck_assert_uint_le(after.bytes_committed, before.bytes_committed);
    ck_assert_uint_eq(after.owners, before.owners);
    REQUIRE_SOUND(heap);
    me.jump = NULL;
    cairn_free(heap, dest);
    empty(heap, &full);
    void *block = cairn_alloc(heap, size * 8); /* all of it can be had again */
    REQUIRE_CALL(block != NULL);
    cairn_free(heap, block);
    end(heap);
}
END_TEST

/* Small blocks fill their last slab to the last one, jump by jump. */
START_TEST(a_jump_out_of_a_small_allocation_loses_nothing)
{
    jmp_buf jump;
    struct answer me = {0};
    cairn_heap *heap = me.heap = make((enum kind)_i, answer, &me);
    me.jump = &jump;
    volatile uint64_t count = 0;
    if (setjmp(jump) == 0) {
        for (;;) {
            void **block = cairn_alloc(heap, 2000);
            REQUIRE(block != NULL);
            *block = me.hoard;
            count++;
        }
    }
    ck_assert_uint_eq(blocks_live(heap), count);
    for (volatile int i = 0; i < 2000; i++) {
        if (setjmp(jump) == 0)
            ck_abort_msg("%p: there is room", cairn_alloc(heap, 2000));
    }
    ck_assert_uint_eq(blocks_live(heap), count);
    ck_assert_uint_eq((uint64_t)me.asked, 2001);
    end(heap);
}
END_TEST

/* While one thread jumps, others work: a lock that was left behind would stop them. */
static void *work_beside(void *arg)
{
    struct answer *me = arg;
    for (int i = 0; i < 3000; i++) {
        void *block = cairn_alloc(me->heap, 100);
        cairn_free(me->heap, block);
    }
    return NULL;
}

static int jump_if_mine(cairn_heap *heap, size_t size, int error, void *arg)
{
    struct answer *me = arg;
    (void)heap, (void)error;
    if (size < 1000)
        return 0; /* of one of the others */
    me->asked++;
    longjmp(*me->jump, 1);
}

START_TEST(a_jump_leaves_no_lock_behind)
{
    if (_i == UNSERIALIZED)
        return;
    static struct full full;
    jmp_buf jump;
    struct answer me = {0};
    cairn_heap *heap = me.heap = make((enum kind)_i, jump_if_mine, &me);
    size_t size = large_size(heap);
    me.jump = &jump;
    full.count = 0;
    if (setjmp(jump) == 0) {
        for (;;) {
            full.blocks[full.count] = cairn_alloc(heap, size);
            full.count++;
        }
    }
    pthread_t threads[3];
    for (size_t i = 0; i < COUNT(threads); i++)
        REQUIRE(pthread_create(&threads[i], NULL, work_beside, &me) == 0);
    for (volatile int i = 0; i < 1000; i++) {
        if (setjmp(jump) == 0)
            ck_abort_msg("%p: there is room", cairn_alloc(heap, size));
        if (_i == LOCKABLE) {
            REQUIRE_CALL(cairn_heap_lock(heap) == 0);
            REQUIRE_CALL(cairn_heap_unlock(heap) == 0);
            REQUIRE_EQUAL(cairn_heap_unlock(heap), -EPERM);
        }
    }
    for (size_t i = 0; i < COUNT(threads); i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    ck_assert_int_eq(me.asked, 1001);
    empty(heap, &full);
    end(heap);
}
END_TEST

/* ---------------------------------------------------------------- misuse that a callback gets */

static jmp_buf back;
static int told;

static void leave(const char *line, void *arg)
{
    ck_assert_ptr_eq(arg, &told);
    ck_assert(strncmp(line, "cairn: ", 7) == 0);
    told++;
    REQUIRE_SOUND(parent); /* nothing is locked */
    longjmp(back, 1);
}

static void *free_it(void *block)
{
    cairn_free(parent, block);
    return NULL;
}

static void commit_crime(int which, char *freed, char *block, cairn_heap *closed)
{
    switch (which) {
    case 0:
        cairn_free(parent, freed);
        break;
    case 1:
        cairn_free(parent, block + 16);
        break;
    case 2:
        cairn_free(parent, &told);
        break;
    case 3:
        (void)cairn_size(parent, freed);
        break;
    case 4:
        (void)!cairn_realloc(parent, freed, 1000);
        break;
    case 5:
        (void)cairn_free_from(parent, (void **)(void *)block);
        break;
    default:
        (void)!cairn_alloc(closed, 10);
        break;
    }
}

/* Freed here, by another thread, and large ones; in each kind of heap, again and again. */
START_TEST(a_callback_may_leave_a_crime_by_a_jump)
{
    enum { ROUNDS = 300, CRIMES = 7 };
    cairn_heap *heap = make(_i, NULL, NULL), *top = parent, *closed = create_private(0);
    parent = heap;
    cairn_heap_close(closed);
    cairn_misuse_set(leave, &told);
    told = 0;
    for (volatile int round = 0; round < ROUNDS; round++) {
        size_t size = round % 3 == 2 ? 70000 : 100;
        char *freed = cairn_alloc(heap, size);
        void **block = cairn_zalloc(heap, 100);
        REQUIRE_CALL(freed != NULL && block != NULL);
        if (round % 3 == 1 && _i != UNSERIALIZED) {
            pthread_t thread;
            ck_assert_int_eq(pthread_create(&thread, NULL, free_it, freed), 0);
            pthread_join(thread, NULL);
        } else {
            cairn_free(heap, freed);
        }
        block[0] = freed;
        if (setjmp(back) == 0)
            commit_crime(round % CRIMES, freed, (char *)block, closed);
        ck_assert_int_eq(told, round + 1);
        ck_assert_ptr_eq(block[0], freed);
        block[0] = NULL;
        cairn_free(heap, block);
    }
    cairn_misuse_set(NULL, NULL);
    ck_assert_uint_eq(stats_of(heap).blocks_live, 0);
    parent = top;
    end(heap);
}
END_TEST

int main(void)
{
    TCase *asking = tcase_create("asking");
    tcase_add_loop_test(asking, a_program_that_makes_room_gets_its_block, 0, KINDS);
    tcase_add_loop_test(asking, a_program_may_say_retry_for_nothing, 0, KINDS);
    tcase_add_loop_test(asking, room_that_is_made_again_and_again_is_found, 0, KINDS);
    tcase_add_loop_test(asking, what_is_no_lack_of_memory_is_not_asked, 0, KINDS);
    tcase_add_test(asking, a_program_is_asked_when_no_record_is_left_for_a_thread);
    tcase_add_test(asking, a_handle_has_its_own_callback);
    TCase *jumping = tcase_create("jumping");
    tcase_add_loop_test(jumping, a_jump_out_of_a_failing_call_loses_nothing, 0, KINDS);
    tcase_add_loop_test(jumping, a_jump_out_of_a_small_allocation_loses_nothing, 0, KINDS);
    tcase_add_loop_test(jumping, a_jump_leaves_no_lock_behind, 0, KINDS);
    tcase_add_loop_test(jumping, a_callback_may_leave_a_crime_by_a_jump, 0, KINDS);

    TCase *cases[] = {asking, jumping};
    Suite *suite = suite_create("failure");
    for (size_t i = 0; i < COUNT(cases); i++) {
        tcase_add_unchecked_fixture(cases[i], workspace_enter, workspace_leave);
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(suite, cases[i]);
    }
    return suite_run(suite);
}
