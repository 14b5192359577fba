/* SPDX-License-Identifier: MIT */
/* Checked heaps: each stray write is named, at the first byte, and nothing else ever is. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/model.h"
#include "support/random.h"
#include "support/suite.h"
#include "support/workspace.h"

enum kind { PRIVATE, BOUNDED, LARGE_BOUNDED, LENT, CALLS, UNSERIALIZED, LOCKABLE, EXACT, CHILD, KINDS };

static void *lent;
static cairn_heap *parent;

static void *reserve(void *arg, size_t bytes)
{
    (void)arg;
    return lent = aligned_alloc(MIB, bytes);
}

static int commit(void *arg, void *address, size_t bytes)
{
    (void)arg;
    memset(address, 0, bytes);
    return 0;
}

static cairn_heap *make(enum kind kind)
{
    static const cairn_memory calls = {.reserve = reserve, .commit = commit};
    cairn_options options = {.size = sizeof options, .checked = true};
    if (kind == BOUNDED || kind == LENT || kind == CALLS)
        options.bytes_max = 8 * MIB;
    if (kind == LARGE_BOUNDED)
        options.bytes_max = 200 * MIB;
    if (kind == LENT) {
        options.memory = lent = aligned_alloc(MIB, options.bytes_max);
        memset(lent, 0xa5, options.bytes_max);
    }
    if (kind == CALLS)
        options.calls = &calls;
    if (kind == UNSERIALIZED)
        options.flags = CAIRN_UNSERIALIZED;
    if (kind == LOCKABLE)
        options.flags = CAIRN_LOCKABLE;
    if (kind == EXACT)
        options.flags = CAIRN_EXACT_SIZES;
    if (kind == CHILD)
        options.parent = parent = create_private(0);
    cairn_heap *heap;
    if (cairn_heap_create(&heap, &options) < 0)
        ck_abort_msg("create: %s", cairn_last_error());
    return heap;
}

static void end(cairn_heap *heap)
{
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    if (parent != NULL)
        ck_assert_int_eq(cairn_heap_destroy(parent), 0);
    parent = NULL;
    free(lent);
    lent = NULL;
}

/* So that the compiler neither sees what is done to a block nor warns of it. */
static unsigned char *hidden(void *block)
{
    __asm__ volatile("" : "+r"(block));
    return block;
}

static unsigned char *get(cairn_heap *heap, size_t size)
{
    unsigned char *block = hidden(cairn_alloc(heap, size));
    REQUIRE_CALL(block != NULL);
    return block;
}

/* ---------------------------------------------------------------- crimes */

/* What a child said before it ended, and how it ended. */
struct end_of_child {
    int status;
    char said[600];
};

typedef void crime_fn(cairn_heap *heap, long argument);

static struct end_of_child watch(crime_fn *commit_crime, cairn_heap *heap, long argument)
{
    struct end_of_child seen = {0};
    int line[2];
    ck_assert_int_eq(pipe2(line, O_CLOEXEC), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        dup2(line[1], 2);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        commit_crime(heap, argument);
        _exit(0);
    }
    close(line[1]);
    size_t length = 0;
    ssize_t count;
    while (length < sizeof seen.said - 1 &&
           (count = read(line[0], seen.said + length, sizeof seen.said - 1 - length)) > 0)
        length += (size_t)count;
    close(line[0]);
    ck_assert_int_eq(waitpid(child, &seen.status, 0), child);
    char *emulator = strstr(seen.said, "qemu: "); /* which has a line of its own for a signal */
    if (emulator != NULL)
        *emulator = '\0';
    return seen;
}

/* The crime is named by its word, "overrun" or another, tells the place, "" for any, and who found it. */
static void require_crime(crime_fn *commit_crime, enum kind kind, long argument, const char *word, const char *place,
                          const char *found_by)
{
    cairn_heap *heap = make(kind);
    struct end_of_child seen = watch(commit_crime, heap, argument);
    char crime[100], tail[100];
    snprintf(crime, sizeof crime, ": %s of 0x", word);
    snprintf(tail, sizeof tail, "found by %s\n", found_by);
    size_t length = strlen(seen.said);
    if (!WIFSIGNALED(seen.status) || WTERMSIG(seen.status) != SIGABRT ||
        strncmp(seen.said, "cairn: private heap", 19) != 0 || strstr(seen.said, crime) == NULL ||
        strstr(seen.said, place) == NULL || length < strlen(tail) ||
        strcmp(seen.said + length - strlen(tail), tail) != 0)
        ck_abort_msg("%s at %ld, found by %s: status %#x, said: %s", word, argument, found_by, (unsigned)seen.status,
                     seen.said);
    end(heap);
}

static void require_fault(crime_fn *commit_crime, enum kind kind, long argument)
{
    cairn_heap *heap = make(kind);
    struct end_of_child seen = watch(commit_crime, heap, argument);
    if (!WIFSIGNALED(seen.status) || WTERMSIG(seen.status) != SIGSEGV)
        ck_abort_msg("at %ld: status %#x, said: %s", argument, (unsigned)seen.status, seen.said);
    end(heap);
}

/* The sizes whose edges are tried: none, the classes' edges, the slabs' largest, a large one that fills no page. */
static const size_t edge_sizes[] = {0, 1, 15, 16, 17, 56, 64, 1000, 32768, 32769, 100001};

static void spoil(cairn_heap *heap, size_t size, long offset)
{
    unsigned char *block = get(heap, size);
    memset(block, 0x5a, size);
    block[offset] ^= 0xff;
    cairn_free(heap, block);
}

static void write_behind(cairn_heap *heap, long index)
{
    spoil(heap, edge_sizes[index], (long)edge_sizes[index]);
}

static void write_before(cairn_heap *heap, long index)
{
    spoil(heap, edge_sizes[index], -1);
}

START_TEST(the_first_byte_behind_a_block_is_watched)
{
    for (long index = 0; index < (long)COUNT(edge_sizes); index++) {
        char what[100];
        snprintf(what, sizeof what, "byte %zu of a block of %zu bytes was written", edge_sizes[index],
                 edge_sizes[index]);
        require_crime(write_behind, (enum kind)_i, index, "overrun", what, "free");
    }
}
END_TEST

START_TEST(the_first_byte_before_a_block_is_watched)
{
    for (long index = 0; index < (long)COUNT(edge_sizes); index++) {
        char what[100];
        snprintf(what, sizeof what, "byte -1 of a block of %zu bytes was written", edge_sizes[index]);
        require_crime(write_before, (enum kind)_i, index, "underrun", what, "free");
    }
}
END_TEST

/* 0, 0xff and the characters of ASCII are no byte of the pattern, wherever it lies. */
START_TEST(a_byte_of_the_usual_kind_is_never_missed)
{
    cairn_heap *heap = make(PRIVATE);
    for (int i = 0; i < 2000; i++) {
        unsigned char *block = get(heap, 40);
        for (int at = 1; at <= 16; at++) {
            unsigned char before = block[-at], behind = block[39 + at];
            ck_assert(before >= 0x80 && before != 0xff && behind >= 0x80 && behind != 0xff);
        }
    }
    end(heap);
}
END_TEST

static unsigned char *spoilt(cairn_heap *heap)
{
    unsigned char *block = get(heap, 56);
    block[60] = 0; /* no byte of the pattern */
    return block;
}

static void overrun_then_realloc(cairn_heap *heap, long size)
{
    (void)!cairn_realloc(heap, spoilt(heap), (size_t)size);
}

static void overrun_then_expand(cairn_heap *heap, long size)
{
    (void)cairn_expand(heap, spoilt(heap), (size_t)size);
}

static void overrun_then_size(cairn_heap *heap, long nothing)
{
    (void)nothing;
    (void)cairn_size(heap, spoilt(heap));
}

static int pass_by(void *block, size_t bytes, void *arg)
{
    (void)block, (void)bytes, (void)arg;
    return 0;
}

static void overrun_then_walk(cairn_heap *heap, long nothing)
{
    (void)nothing;
    (void)spoilt(heap);
    (void)cairn_walk(heap, NULL, pass_by, NULL);
}

static void overrun_then_close(cairn_heap *heap, long nothing)
{
    (void)nothing;
    (void)spoilt(heap);
    cairn_heap_close(heap);
}

static void overrun_then_reset(cairn_heap *heap, long nothing)
{
    (void)nothing;
    (void)spoilt(heap);
    (void)cairn_heap_reset(heap);
}

static void overrun_then_free_from(cairn_heap *heap, long nothing)
{
    (void)nothing;
    void *block = spoilt(heap);
    (void)cairn_free_from(heap, &block);
}

START_TEST(each_call_with_a_spoilt_block_sees_it)
{
    for (long size = 0; size < 300; size += 37) {
        require_crime(overrun_then_realloc, (enum kind)_i, size, "overrun", "byte 60 of a block of 56 bytes",
                      "realloc");
        require_crime(overrun_then_expand, (enum kind)_i, size, "overrun", "byte 60 of a block of 56 bytes", "expand");
    }
    require_crime(overrun_then_size, (enum kind)_i, 0, "overrun", "byte 60 of a block of 56 bytes", "size");
    require_crime(overrun_then_walk, (enum kind)_i, 0, "overrun", "byte 60 of a block of 56 bytes", "walk");
    require_crime(overrun_then_close, (enum kind)_i, 0, "overrun", "byte 60 of a block of 56 bytes", "close");
    require_crime(overrun_then_reset, (enum kind)_i, 0, "overrun", "byte 60 of a block of 56 bytes", "reset");
    require_crime(overrun_then_free_from, (enum kind)_i, 0, "overrun", "byte 60 of a block of 56 bytes", "free_from");
}
END_TEST

/* After a block became smaller or larger in its place, its end is watched where it is now. */
static void overrun_after_realloc(cairn_heap *heap, long size)
{
    unsigned char *block = cairn_realloc(heap, get(heap, 60), (size_t)size);
    REQUIRE_CALL(block != NULL);
    block[size] ^= 0xff;
    cairn_free(heap, block);
}

START_TEST(the_end_is_watched_where_it_moved_to)
{
    for (long size = 1; size < 200; size += 3)
        require_crime(overrun_after_realloc, PRIVATE, size, "overrun", "", "free");
}
END_TEST

static void aligned_underrun(cairn_heap *heap, long alignment)
{
    unsigned char *block = hidden(cairn_aligned_alloc(heap, (size_t)alignment, 100));
    REQUIRE_CALL(block != NULL);
    block[-1] = 0;
    cairn_free(heap, block);
}

START_TEST(aligned_blocks_are_watched_too)
{
    for (long alignment = 1; alignment <= (long)CAIRN_ALIGNMENT_MAX; alignment *= 2)
        require_crime(aligned_underrun, PRIVATE, alignment, "underrun", "", "free");
}
END_TEST

/* The program goes on for a few hundred calls, of which none lets a block leave the quarantine. */
enum { CALLS_AT_MOST = 600 };

static void live_on(cairn_heap *heap)
{
    void *block = get(heap, 24);
    for (int i = 0; i < CALLS_AT_MOST; i++)
        REQUIRE_EQUAL(cairn_size(heap, block), 24);
}

static void write_after_free(cairn_heap *heap, long offset)
{
    unsigned char *block = get(heap, 64), *others[200];
    for (size_t i = 0; i < COUNT(others); i++)
        others[i] = get(heap, 30 * i);
    for (size_t i = 0; i < COUNT(others) / 2; i++)
        cairn_free(heap, others[i]);
    cairn_free(heap, block);
    for (size_t i = COUNT(others) / 2; i < COUNT(others); i++)
        cairn_free(heap, others[i]);
    block[offset] ^= 0xff;
    live_on(heap);
}

START_TEST(a_write_to_any_byte_of_a_freed_block_is_seen_within_few_calls)
{
    for (long offset = -16; offset < 80; offset += _i == PRIVATE ? 1 : 37) {
        char what[100];
        snprintf(what, sizeof what, "byte %ld of a freed block of 64 bytes was written", offset);
        cairn_heap *heap = make((enum kind)_i);
        struct end_of_child seen = watch(write_after_free, heap, offset);
        if (!WIFSIGNALED(seen.status) || WTERMSIG(seen.status) != SIGABRT || strstr(seen.said, what) == NULL)
            ck_abort_msg("byte %ld: status %#x, said: %s", offset, (unsigned)seen.status, seen.said);
        end(heap);
    }
}
END_TEST

static void free_then_write_then_close(cairn_heap *heap, long size)
{
    unsigned char *block = get(heap, (size_t)size);
    cairn_free(heap, block);
    block[size / 2] ^= 0xff;
    cairn_heap_close(heap);
}

START_TEST(a_write_after_free_is_seen_at_the_end)
{
    static const long sizes[] = {1, 64, 5000, 30000};
    for (size_t i = 0; i < COUNT(sizes); i++)
        require_crime(free_then_write_then_close, (enum kind)_i, sizes[i], "write after free", "", "close");
    if (_i == LENT || _i == CALLS)
        require_crime(free_then_write_then_close, (enum kind)_i, 3 * (long)MIB, "write after free", "", "close");
}
END_TEST

static void touch_behind(cairn_heap *heap, long size)
{
    unsigned char *block = get(heap, (size_t)size);
    (void)*(volatile unsigned char *)(block + (size + 15) / 16 * 16);
}

static void touch_freed(cairn_heap *heap, long size)
{
    unsigned char *block = get(heap, (size_t)size);
    memset(block, 1, (size_t)size);
    cairn_free(heap, block);
    (void)*(volatile unsigned char *)(block + size / 2);
}

START_TEST(a_large_block_faults_behind_its_end_and_when_it_is_freed)
{
    if (_i == LENT || _i == CALLS)
        return; /* memory of the caller's keeps its access */
    static const long sizes[] = {32769, 100000, 100001, 1 << 20, 3000000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        require_fault(touch_behind, (enum kind)_i, sizes[i]);
        require_fault(touch_freed, (enum kind)_i, sizes[i]);
    }
}
END_TEST

/* What is no stray write is named as in any heap. */
static void misuse(cairn_heap *heap, long which)
{
    unsigned char *block = get(heap, which < 10 ? 100 : 100000);
    switch (which % 10) {
    case 0:
        cairn_free(heap, block);
        cairn_free(heap, block);
        break;
    case 1:
        cairn_free(heap, block);
        (void)!cairn_realloc(heap, block, 200);
        break;
    case 2:
        cairn_free(heap, block);
        (void)cairn_size(heap, block);
        break;
    case 3:
        cairn_free(heap, block + 20);
        break;
    case 4:
        cairn_free(heap, block - 16);
        break;
    case 5: /* after it left the quarantine */
        cairn_free(heap, block);
        for (int i = 0; i < 300; i++)
            cairn_free(heap, get(heap, 1000));
        cairn_free(heap, block);
        break;
    default:
        if (cairn_heap_reset(heap) == 0)
            cairn_free(heap, block);
    }
}

START_TEST(wrong_pointers_are_named_as_ever)
{
    static const char *const said[] = {
        "double free of 0x", "realloc of 0x",     "size of 0x", "an interior pointer, 20 bytes",
        "a wild pointer",    "double free of 0x", "of 0x"};
    for (long which = 0; which < (long)(2 * COUNT(said)); which++) {
        long crime = which < (long)COUNT(said) ? which : which - (long)COUNT(said) + 10;
        cairn_heap *heap = make((enum kind)_i);
        struct end_of_child seen = watch(misuse, heap, crime);
        if (!WIFSIGNALED(seen.status) || WTERMSIG(seen.status) != SIGABRT ||
            strstr(seen.said, said[which % (long)COUNT(said)]) == NULL)
            ck_abort_msg("crime %ld: status %#x, said: %s", crime, (unsigned)seen.status, seen.said);
        end(heap);
    }
}
END_TEST

/* ---------------------------------------------------------------- looking at it */

static void keep_last(const char *finding, void *arg)
{
    snprintf(arg, 300, "%s", finding);
}

START_TEST(check_reports_and_goes_on)
{
    cairn_heap *heap = make((enum kind)_i);
    char finding[300] = "";
    unsigned char *live = get(heap, 56), *freed = get(heap, 56);
    unsigned char before = live[56];
    live[56] ^= 0xff;
    ck_assert_int_eq(cairn_check(heap, keep_last, finding), 1);
    ck_assert_ptr_nonnull(strstr(finding, "overrun of 0x"));
    ck_assert_int_eq(cairn_check(heap, NULL, NULL), 1);
    live[56] = before;
    ck_assert_int_eq(cairn_check(heap, keep_last, finding), 0);
    cairn_free(heap, freed);
    before = freed[7];
    freed[7] ^= 0xff;
    ck_assert_int_eq(cairn_check(heap, keep_last, finding), 1);
    ck_assert_ptr_nonnull(strstr(finding, "byte 7 of a freed block of 56 bytes"));
    freed[7] = before;
    cairn_free(heap, live);
    end(heap);
}
END_TEST

struct census {
    uint64_t blocks, bytes, span_blocks;
    void *sought;
    size_t sought_bytes;
};

static int count_span(const cairn_span *span, void *arg)
{
    struct census *census = arg;
    if (span->kind != CAIRN_SPAN_OTHER)
        census->span_blocks += span->blocks_live;
    return 0;
}

static int count_block(void *block, size_t bytes, void *arg)
{
    struct census *census = arg;
    census->blocks++;
    census->bytes += bytes;
    if (block == census->sought)
        census->sought_bytes = bytes;
    return 0;
}

START_TEST(statistics_and_a_walk_show_what_was_asked_for)
{
    static const size_t sizes[] = {0, 1, 56, 5000, 32768, 40000, 1000000};
    cairn_heap *heap = make((enum kind)_i);
    void *blocks[COUNT(sizes)];
    uint64_t bytes = 0;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        blocks[i] = get(heap, sizes[i]);
        cairn_free(heap, get(heap, sizes[i])); /* the quarantine is nobody's */
        bytes += sizes[i];
        ck_assert_uint_eq(cairn_size(heap, blocks[i]), sizes[i]);
    }
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct census census = {.sought = blocks[i], .sought_bytes = SIZE_MAX};
        ck_assert_int_eq(cairn_walk(heap, count_span, count_block, &census), 0);
        ck_assert_uint_eq(census.blocks, COUNT(sizes));
        ck_assert_uint_eq(census.span_blocks, COUNT(sizes));
        ck_assert_uint_eq(census.bytes, bytes);
        ck_assert_uint_eq(census.sought_bytes, sizes[i]);
    }
    ck_assert_uint_eq(stats_of(heap).blocks_live, COUNT(sizes));
    ck_assert_uint_eq(stats_of(heap).bytes_live, bytes);
    REQUIRE_CALL(cairn_heap_reset(heap) == 0);
    ck_assert_uint_eq(stats_of(heap).blocks_live, 0);
    end(heap);
}
END_TEST

START_TEST(a_spoilt_block_is_told_to_be_none)
{
    static const size_t sizes[] = {0, 24, 5000};
    cairn_heap *heap = make((enum kind)_i);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        unsigned char *volatile block = get(heap, sizes[i]); /* writes behind it are meant */
        ck_assert(cairn_is_block(heap, block));
        ck_assert(!cairn_is_block(heap, block + 1));
        unsigned char kept = block[sizes[i]];
        block[sizes[i]] = (unsigned char)(kept ^ 0x55);
        ck_assert(!cairn_is_block(heap, block));
        block[sizes[i]] = kept;
        kept = block[-1];
        block[-1] = (unsigned char)(kept ^ 0x55);
        ck_assert(!cairn_is_block(heap, block));
        block[-1] = kept;
        ck_assert(cairn_is_block(heap, block));
        cairn_free(heap, block);
        ck_assert(!cairn_is_block(heap, block));
    }
    end(heap);
}
END_TEST

/* ---------------------------------------------------------------- options */

START_TEST(shared_heaps_refuse_it)
{
    cairn_options options = {.size = sizeof options, .name = "heap", .checked = true};
    cairn_heap *heap = untouched;
    ck_assert_int_eq(cairn_heap_create(&heap, &options), -EINVAL);
    ck_assert_int_eq(cairn_heap_open(&heap, "heap", &options), -EINVAL);
    cairn_heap *shared = create_shared("heap", 0);
    options = (cairn_options){.size = sizeof options, .name = "child", .parent = shared, .checked = true};
    ck_assert_int_eq(cairn_heap_create(&heap, &options), -EINVAL);
    options = (cairn_options){.size = sizeof options, .checked = 2};
    ck_assert_int_eq(cairn_heap_create(&heap, &options), -EINVAL);
    ck_assert_ptr_eq(heap, untouched);
    cairn_heap_close(shared);
    ck_assert_int_eq(cairn_heap_unlink("heap", NULL), 0);
}
END_TEST

/* An older program's structure ends before the member: not checked. */
START_TEST(an_options_structure_without_the_member_is_not_checked)
{
    cairn_options options = {.size = offsetof(cairn_options, checked), .checked = true};
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
    unsigned char *block = get(heap, 56);
    ck_assert_uint_ge(cairn_size(heap, block), 64);
    cairn_free(heap, block);
    end(heap);
}
END_TEST

/* Where memory runs short, the quarantine gives way: every byte can be had again. */
START_TEST(the_quarantine_gives_way)
{
    cairn_heap *heap = make((enum kind)_i);
    enum { BLOCKS = 50 };
    unsigned char *blocks[BLOCKS];
    size_t first = 0;
    for (int round = 0; round < 5; round++) {
        size_t count = 0;
        while (count < BLOCKS && (blocks[count] = cairn_alloc(heap, 200 * KIB)) != NULL)
            count++;
        first = round == 0 ? count : first;
        ck_assert_uint_ge(count, 20);
        ck_assert_uint_eq(count, first);
        for (size_t i = 0; i < count; i++)
            cairn_free(heap, blocks[i]);
    }
    end(heap);
}
END_TEST

/* ---------------------------------------------------------------- no false alarm */

enum { RIGHT_CALLS = 120000, WORKERS = 4, LIVE_MAX = 400 };

struct worker {
    cairn_heap *heap;
    uint64_t seed;
    uint64_t calls;
    bool resets;    /* nobody else is in the heap */
    bool unchecked; /* sizes are not exact */
};

static size_t a_size(struct random *random)
{
    return random_below(random, 300) == 0 ? random_below(random, 300000) : random_size(random, 3000);
}

static void drop(struct worker *me, struct model *model, size_t index)
{
    struct model_block block;
    REQUIRE(model_take(model, index, &block));
    cairn_free(me->heap, block.address);
}

static void resize(struct worker *me, struct model *model, struct random *random)
{
    struct model_block block;
    REQUIRE(model_take(model, random_below(random, model->count), &block));
    size_t size = random_below(random, 2) == 0 ? block.size + random_below(random, 20) : a_size(random);
    REQUIRE(me->unchecked || cairn_size(me->heap, block.address) == block.size);
    if (random_below(random, 3) == 0) {
        if (!cairn_expand(me->heap, block.address, size) || size < block.size)
            size = block.size;
    } else {
        block.address = cairn_realloc(me->heap, block.address, size);
        REQUIRE_CALL(block.address != NULL);
    }
    REQUIRE(pattern_holds_part(block.address, block.size, size < block.size ? size : block.size, block.seed));
    REQUIRE(me->unchecked || cairn_size(me->heap, block.address) == size);
    REQUIRE(model_add(model, block.address, size));
}

static void *work(void *arg)
{
    struct worker *me = arg;
    struct random random = random_begin(me->seed);
    struct model model = {0};
    for (uint64_t call = 0; call < me->calls; call++) {
        uint64_t action = random_below(&random, 100);
        size_t size = a_size(&random);
        size_t alignment = (size_t)16 << random_below(&random, 8);
        void *block = NULL;
        if (model.count >= LIVE_MAX || (action < 45 && model.count != 0)) {
            drop(me, &model, random_below(&random, model.count));
            continue;
        }
        if (action < 60 && model.count != 0) {
            resize(me, &model, &random);
            continue;
        }
        if (action < 62 && model.count != 0) {
            size_t index = random_below(&random, model.count);
            struct model_block taken;
            REQUIRE(model_take(&model, index, &taken));
            block = taken.address;
            REQUIRE_CALL(cairn_free_from(me->heap, &block) == 0);
            REQUIRE(block == NULL);
            continue;
        }
        if (action == 62 && me->resets && random_below(&random, 20) == 0) {
            REQUIRE(model_holds(&model));
            REQUIRE_CALL(cairn_heap_reset(me->heap) == 0);
            model_end(&model);
            model = (struct model){0};
            continue;
        }
        if (action < 70)
            block = cairn_aligned_alloc(me->heap, alignment, size);
        else if (action < 80)
            block = cairn_zalloc(me->heap, size);
        else if (action < 85)
            REQUIRE_CALL(cairn_alloc_to(me->heap, size, &block) == 0);
        else
            block = cairn_alloc(me->heap, size);
        REQUIRE_CALL(block != NULL);
        REQUIRE(action >= 70 || (uintptr_t)block % alignment == 0);
        REQUIRE(action < 70 || action >= 85 || bytes_are_zero(block, size));
        REQUIRE(model_add(&model, block, size));
        if (call % 20000 == 0)
            REQUIRE_SOUND(me->heap);
    }
    REQUIRE(model_holds(&model));
    while (model.count != 0)
        drop(me, &model, model.count - 1);
    model_end(&model);
    return NULL;
}

START_TEST(a_million_right_calls_raise_no_alarm)
{
    cairn_heap *heap = make((enum kind)_i);
    struct worker alone = {.heap = heap,
                           .seed = random_seed("checked", 1 + (uint64_t)_i),
                           .calls = random_rounds(RIGHT_CALLS),
                           .resets = true};
    work(&alone);
    ck_assert_uint_eq(blocks_live(heap), 0);
    end(heap);
}
END_TEST

START_TEST(threads_raise_no_alarm)
{
    if (_i == UNSERIALIZED)
        return; /* one thread at a time is in it */
    cairn_heap *heap = make((enum kind)_i);
    pthread_t threads[WORKERS];
    struct worker workers[WORKERS];
    for (uint64_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.heap = heap, .seed = 100 + i, .calls = random_rounds(RIGHT_CALLS / 10)};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        struct census census = {0};
        (void)cairn_walk(heap, count_span, count_block, &census);
        (void)stats_of(heap);
    }
    for (uint64_t i = 0; i < WORKERS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(blocks_live(heap), 0);
    end(heap);
}
END_TEST

/* Children beside their parent and each other, and what they leave for those who come after them. */
START_TEST(heaps_come_and_go_without_an_alarm)
{
    cairn_heap *top = make(PRIVATE);
    for (uint64_t round = 0; round < 60; round++) {
        cairn_options options = {
            .size = sizeof options, .parent = top, .checked = round % 3 != 0, .bytes_max = round % 2 ? 64 * MIB : 0};
        cairn_heap *children[2];
        for (size_t i = 0; i < COUNT(children); i++)
            REQUIRE_CALL(cairn_heap_create(&children[i], &options) == 0);
        for (uint64_t i = 0; i < 2 * COUNT(children); i++) {
            cairn_heap *heap = i % 2 == 0 ? top : children[i / 2];
            work(&(struct worker){
                .heap = heap, .seed = round * 10 + i, .calls = 1000, .unchecked = heap != top && round % 3 == 0});
            (void)get(heap, 1 + round * 1000); /* goes with its heap */
        }
        for (size_t i = 0; i < COUNT(children); i++)
            REQUIRE_CALL(cairn_heap_destroy(children[i]) == 0);
    }
    end(top);
}
END_TEST

/* A child of a fork goes on with what it has, whatever the parent's other threads were at. */
struct forking {
    cairn_heap *heap;
    _Atomic uint32_t stop;
};

static void *churn(void *arg)
{
    struct forking *forking = arg;
    for (size_t i = 0; forking->stop == 0; i++)
        cairn_free(forking->heap, get(forking->heap, i % 50000));
    return NULL;
}

static void go_on(void *arg)
{
    struct forking *forking = arg;
    work(&(struct worker){.heap = forking->heap, .seed = 5, .calls = 1000});
    REQUIRE_SOUND(forking->heap);
}

START_TEST(a_forked_child_goes_on)
{
    if (UNDER_TSAN || _i == UNSERIALIZED)
        return; /* the one cannot follow such a child, the other has one thread */
    struct forking forking = {.heap = make((enum kind)_i)};
    pthread_t threads[2];
    for (size_t i = 0; i < COUNT(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, &forking), 0);
    for (int i = 0; i < 15; i++)
        finish(start(go_on, &forking));
    forking.stop = 1;
    for (size_t i = 0; i < COUNT(threads); i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    end(forking.heap);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("checked");
    double patience = UNDER_SANITIZER ? 120 : 40;
    TCase *crimes = suite_case(suite, "crimes", patience);
    if (!UNDER_SANITIZER) { /* a sanitizer has signal handlers of its own */
        tcase_add_loop_test(crimes, the_first_byte_behind_a_block_is_watched, 0, KINDS);
        tcase_add_loop_test(crimes, the_first_byte_before_a_block_is_watched, 0, KINDS);
        tcase_add_loop_test(crimes, each_call_with_a_spoilt_block_sees_it, 0, KINDS);
        tcase_add_test(crimes, the_end_is_watched_where_it_moved_to);
        tcase_add_test(crimes, aligned_blocks_are_watched_too);
        tcase_add_loop_test(crimes, a_write_to_any_byte_of_a_freed_block_is_seen_within_few_calls, 0, KINDS);
        tcase_add_loop_test(crimes, a_write_after_free_is_seen_at_the_end, 0, KINDS);
        tcase_add_loop_test(crimes, a_large_block_faults_behind_its_end_and_when_it_is_freed, 0, KINDS);
        tcase_add_loop_test(crimes, wrong_pointers_are_named_as_ever, 0, KINDS);
    }
    tcase_add_test(crimes, a_byte_of_the_usual_kind_is_never_missed);

    TCase *looking = suite_case(suite, "looking", patience);
    tcase_add_loop_test(looking, check_reports_and_goes_on, 0, KINDS);
    tcase_add_loop_test(looking, statistics_and_a_walk_show_what_was_asked_for, 0, KINDS);
    tcase_add_loop_test(looking, a_spoilt_block_is_told_to_be_none, 0, KINDS);

    TCase *options = suite_case(suite, "options", patience);
    tcase_add_unchecked_fixture(options, workspace_enter, workspace_leave);
    tcase_add_test(options, shared_heaps_refuse_it);
    tcase_add_test(options, an_options_structure_without_the_member_is_not_checked);
    tcase_add_loop_test(options, the_quarantine_gives_way, BOUNDED, BOUNDED + 1);
    tcase_add_loop_test(options, the_quarantine_gives_way, LENT, CALLS + 1);

    TCase *right = suite_case(suite, "right", patience);
    tcase_add_loop_test(right, a_million_right_calls_raise_no_alarm, 0, KINDS);
    tcase_add_loop_test(right, threads_raise_no_alarm, 0, KINDS);
    tcase_add_test(right, heaps_come_and_go_without_an_alarm);
    tcase_add_loop_test(right, a_forked_child_goes_on, 0, KINDS);
    return suite_run(suite);
}
