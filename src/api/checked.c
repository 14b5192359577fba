/* SPDX-License-Identifier: MIT */
/*
 * A block of a checked heap lies inside a larger one of the core's, between two *red zones*: bytes that nobody has a
 * reason to write, filled with a pattern that follows from their address and a secret of the heap.
 *
 *     small     block                   user             user + size           end
 *                 | ... | red zone        | the caller's    | red zone           |
 *                       |<- 16 to 256 --->|                 |<- 16 or more ----->|
 *
 *     large     block                   user             user + size           end            end + page
 *                 | ... | red zone        | the caller's    | red zone           | no access      |
 *                       |<- 256 --------->|                 |<- less than the ->|
 *                                                               alignment
 *
 * A freed block becomes all red zone and stays in *quarantine*, a ring from which the oldest go to the core; a large
 * one loses access instead. Each call looks at some of the quarantine (the patrol), so that every part of it is looked
 * at every few hundred calls, and at what leaves.
 *
 * What is believed about a block stands in a table apart from all blocks, found by the address of the core's block. The
 * lock is held for the table and the ring alone: no callback and no other lock but the pool's is taken under it.
 */
#include "api/checked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RED_ZONE_MIN = CAIRN_ALIGNMENT, /* on either side, where no page without access is */
    RED_ZONE_MAX = 256,             /* before a block; alignment may leave much more room there */
    QUARANTINE_BLOCKS = 256,
    QUARANTINE_BYTES = 16 << 20, /* an eighth of the section where that is less */
    PATROL_BYTES = 4096,         /* looked at in each call, or else the quarantine's part that takes 256 calls */
    TABLE_START = 64,
};

struct checked_block {
    unsigned char *block; /* the core's; NULL: an empty place in the table */
    unsigned char *user;
    unsigned char *end; /* of the red zone behind */
    uint64_t size;
    bool freed;   /* in quarantine */
    bool guarded; /* the page at end is without access */
    bool sealed;  /* freed and guarded: so are the pages before it, but for those that another block may lie in */
    bool opened;  /* access was given back: the pattern is not in it, and it is about to go */
};

struct checked {
    struct mutex lock;
    uint64_t secret;
    size_t page;
    bool guards; /* the memory is ours to take access from */
    struct checked_block *table;
    uint64_t places; /* a power of two */
    uint64_t used;   /* places */
    uint64_t blocks_live;
    uint64_t bytes_live;

    unsigned char *ring[QUARANTINE_BLOCKS]; /* the core's blocks in the order of their frees; place: number modulo */
    uint64_t first;                         /* number of the oldest */
    uint64_t next;                          /* number of the next to come */
    uint64_t bytes;                         /* of the core's blocks in it */
    uint64_t bytes_max;
    uint64_t bytes_filled; /* with the pattern: what the patrol goes through */
    uint64_t patrol;       /* number of the block that it looks at next */
    uint64_t patrol_offset;
};

/* ---------------------------------------------------------------- the pattern */

/*
 * Eight bytes at an address that is a multiple of 8. No byte of it is 0, 0xff or a character of ASCII: those are what
 * stray writes mostly consist of, and they are seen for certain; another byte passes for the right one by a chance of
 * 1 to 64.
 */
static uint64_t pattern_at(const struct checked *checked, uintptr_t address)
{
    uint64_t mixed = (address ^ checked->secret) * UINT64_C(0x9e3779b97f4a7c15);
    mixed ^= mixed >> 32;
    return (mixed | UINT64_C(0x8080808080808080)) & ~UINT64_C(0x0101010101010101);
}

static unsigned char pattern_byte(const struct checked *checked, const unsigned char *at)
{
    uint64_t word = pattern_at(checked, align_down((uintptr_t)at, sizeof word));
    unsigned char bytes[sizeof word];
    memcpy(bytes, &word, sizeof word);
    return bytes[(uintptr_t)at % sizeof word];
}

static void fill(const struct checked *checked, unsigned char *from, const unsigned char *to)
{
    for (; from < to && (uintptr_t)from % sizeof(uint64_t) != 0; from++)
        *from = pattern_byte(checked, from);
    for (; (size_t)(to - from) >= sizeof(uint64_t); from += sizeof(uint64_t)) {
        uint64_t word = pattern_at(checked, (uintptr_t)from);
        memcpy(from, &word, sizeof word);
    }
    for (; from < to; from++)
        *from = pattern_byte(checked, from);
}

/* The first byte that is not as it was filled; NULL: none. */
static const unsigned char *first_wrong(const struct checked *checked, const unsigned char *from,
                                        const unsigned char *to)
{
    while (from < to) {
        uint64_t word;
        if ((uintptr_t)from % sizeof word == 0 && (size_t)(to - from) >= sizeof word &&
            memcmp(from, (word = pattern_at(checked, (uintptr_t)from), &word), sizeof word) == 0) {
            from += sizeof word;
            continue;
        }
        if (*from != pattern_byte(checked, from))
            return from;
        from++;
    }
    return NULL;
}

/* ---------------------------------------------------------------- stray writes */

struct stray {
    const char *what; /* NULL: none */
    const unsigned char *user;
    const unsigned char *at;
    uint64_t size;
};

static const struct stray no_stray;

static unsigned char *zone_before(const struct checked_block *block)
{
    return block->user - block->block > RED_ZONE_MAX ? block->user - RED_ZONE_MAX : block->block;
}

/* Looks for a stray write from one offset behind the first byte of the red zone before the block to another. */
static struct stray look_at_freed(const struct checked *checked, const struct checked_block *block, uint64_t from,
                                  uint64_t to)
{
    if (block->sealed || block->opened)
        return no_stray;
    const unsigned char *wrong = first_wrong(checked, zone_before(block) + from, zone_before(block) + to);
    return wrong == NULL ? no_stray : (struct stray){.what = "write after free", block->user, wrong, block->size};
}

static struct stray look_at(const struct checked *checked, const struct checked_block *block)
{
    if (block->freed)
        return look_at_freed(checked, block, 0, (uint64_t)(block->end - zone_before(block)));
    const unsigned char *wrong = first_wrong(checked, zone_before(block), block->user);
    if (wrong != NULL) {
        /* What ran out of the block's beginning is nearest to it. */
        for (const unsigned char *at = wrong; at < block->user; at++)
            wrong = *at != pattern_byte(checked, at) ? at : wrong;
        return (struct stray){.what = "underrun", block->user, wrong, block->size};
    }
    wrong = first_wrong(checked, block->user + block->size, block->end);
    return wrong == NULL ? no_stray : (struct stray){.what = "overrun", block->user, wrong, block->size};
}

static void tell(const struct stray *stray, const char *call, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s of %p: byte %lld of a %sblock of %llu bytes was written, found by %s", stray->what,
             (const void *)stray->user, (long long)(stray->at - stray->user), stray->what[0] == 'w' ? "freed " : "",
             (unsigned long long)stray->size, call);
}

/* Ends the program when there is a stray write. The caller holds no lock: a handler of SIGABRT may use the heap. */
static void require_none(const struct cairn_heap *heap, const struct stray *stray, const char *call)
{
    if (LIKELY(stray->what == NULL))
        return;
    char label[LABEL_BYTES], text[300], line[600];
    tell(stray, call, text, sizeof text);
    snprintf(line, sizeof line, "cairn: %s: %s", heap_label(heap, label, sizeof label), text);
    crime_end(line);
}

/* ---------------------------------------------------------------- the table */

static uint64_t place_of(const struct checked *checked, const unsigned char *block)
{
    return ((uintptr_t)block / CAIRN_ALIGNMENT * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (checked->places - 1);
}

static struct checked_block *find(const struct checked *checked, const void *block)
{
    for (uint64_t place = place_of(checked, block);; place = (place + 1) & (checked->places - 1)) {
        struct checked_block *found = &checked->table[place];
        if (found->block == block)
            return found;
        if (found->block == NULL)
            return NULL;
    }
}

static void put(struct checked *checked, const struct checked_block *block)
{
    uint64_t place = place_of(checked, block->block);
    while (checked->table[place].block != NULL)
        place = (place + 1) & (checked->places - 1);
    checked->table[place] = *block;
}

/* A quarter of the places stays empty. */
static bool add(struct checked *checked, const struct checked_block *block)
{
    if (checked->used + 1 > checked->places / 4 * 3) {
        struct checked_block *old = checked->table;
        uint64_t places = checked->places;
        struct checked_block *table = pool_get(places * 2 * sizeof *table);
        if (table == NULL)
            return false;
        checked->table = table;
        checked->places = places * 2;
        for (uint64_t place = 0; place < places; place++) {
            if (old[place].block != NULL)
                put(checked, &old[place]);
        }
        pool_give(old, places * sizeof *old);
    }
    put(checked, block);
    checked->used++;
    return true;
}

/* Those behind it move up, lest a search ends before it comes to them. */
static void drop(struct checked *checked, struct checked_block *block)
{
    uint64_t mask = checked->places - 1;
    uint64_t hole = (uint64_t)(block - checked->table);
    for (uint64_t place = (hole + 1) & mask; checked->table[place].block != NULL; place = (place + 1) & mask) {
        if (((place - place_of(checked, checked->table[place].block)) & mask) >= ((place - hole) & mask)) {
            checked->table[hole] = checked->table[place];
            hole = place;
        }
    }
    checked->table[hole] = (struct checked_block){0};
    checked->used--;
}

/* ---------------------------------------------------------------- pages without access */

/*
 * The block's first page keeps its access, and so does what follows the last one: no two sealed ranges meet, so to open
 * one never needs the system to cut a mapping in two, which it might refuse.
 */
static unsigned char *seal_begin(const struct checked *checked, const struct checked_block *block)
{
    return block->block + (align_up((uintptr_t)block->block + 1, checked->page) - (uintptr_t)block->block);
}

/* Where it cannot be (a process may have but so many mappings), the pattern serves. */
static void seal(const struct checked *checked, struct checked_block *block)
{
    unsigned char *begin = seal_begin(checked, block);
    block->sealed = block->guarded && memory_seal(begin, (size_t)(block->end - begin) + checked->page) == 0;
}

static int open_pages(const struct checked *checked, struct checked_block *block)
{
    if (!block->guarded)
        return 0;
    unsigned char *begin = block->sealed ? seal_begin(checked, block) : block->end;
    int error = memory_unseal(begin, (size_t)(block->end - begin) + checked->page);
    if (error < 0)
        return error;
    block->opened = block->sealed;
    block->guarded = block->sealed = false;
    return 0;
}

/* ---------------------------------------------------------------- quarantine */

/* Blocks that go back to the core, when the lock is no longer held. */
struct leaving {
    uint32_t count;
    void *blocks[QUARANTINE_BLOCKS];
};

static uint64_t bytes_of(const struct checked *checked, const struct checked_block *block)
{
    return (uint64_t)(block->end - block->block) + (block->guarded ? checked->page : 0);
}

static uint64_t bytes_filled_of(const struct checked_block *block)
{
    return block->sealed ? 0 : (uint64_t)(block->end - zone_before(block));
}

static void quarantine(struct checked *checked, struct checked_block *block)
{
    block->freed = true;
    checked->blocks_live--;
    checked->bytes_live -= block->size;
    seal(checked, block);
    if (!block->sealed)
        fill(checked, block->user, block->user + block->size);
    checked->ring[checked->next++ % QUARANTINE_BLOCKS] = block->block;
    checked->bytes += bytes_of(checked, block);
    checked->bytes_filled += bytes_filled_of(block);
}

/* Lets the oldest go until no more than so many blocks and bytes are left. */
static struct stray let_go(struct checked *checked, uint64_t blocks_max, uint64_t bytes_max, struct leaving *leaving)
{
    while (checked->next - checked->first > blocks_max || checked->bytes > bytes_max) {
        struct checked_block *block = find(checked, checked->ring[checked->first % QUARANTINE_BLOCKS]);
        struct stray stray = look_at(checked, block);
        if (stray.what != NULL)
            return stray;
        checked->first++;
        checked->bytes -= bytes_of(checked, block);
        checked->bytes_filled -= bytes_filled_of(block);
        if (checked->patrol < checked->first) {
            checked->patrol = checked->first;
            checked->patrol_offset = 0;
        }
        if (open_pages(checked, block) < 0)
            continue; /* nobody can have it: it stays out of use until the heap is reset or ends */
        leaving->blocks[leaving->count++] = block->block;
        drop(checked, block);
    }
    return no_stray;
}

/* Looks at the next part of the quarantine. */
static struct stray patrol(struct checked *checked)
{
    if (checked->first == checked->next)
        return no_stray;
    if (checked->patrol >= checked->next) {
        checked->patrol = checked->first;
        checked->patrol_offset = 0;
    }
    const struct checked_block *block = find(checked, checked->ring[checked->patrol % QUARANTINE_BLOCKS]);
    uint64_t bytes = bytes_filled_of(block);
    uint64_t from = checked->patrol_offset;
    uint64_t to = min_u64(bytes, from + max_u64(PATROL_BYTES, checked->bytes_filled / QUARANTINE_BLOCKS));
    checked->patrol_offset = to;
    if (to == bytes) {
        checked->patrol++;
        checked->patrol_offset = 0;
    }
    return look_at_freed(checked, block, from, to);
}

static void give_to_core(struct cairn_heap *heap, struct bins *bins, const struct leaving *leaving)
{
    for (uint32_t i = 0; i < leaving->count; i++) {
        enum core_crime crime = core_free(bins, &heap->core, leaving->blocks[i]);
        if (crime != CRIME_NONE)
            crime_report(heap, "free", leaving->blocks[i], crime);
    }
}

/* ---------------------------------------------------------------- blocks */

/* What to ask the core for; more than there is where no block can be so large. */
static uint64_t bytes_wanted(const struct checked *checked, size_t alignment, size_t size, bool guarded)
{
    if (size > SIZE_MAX / 4)
        return size;
    uint64_t aligning = alignment > CAIRN_ALIGNMENT ? alignment : 0;
    return size + aligning + (guarded ? 3 * checked->page : 2 * (uint64_t)RED_ZONE_MIN);
}

/* Finds the caller's place in a block of the core's. */
static struct checked_block lay_out(const struct checked *checked, unsigned char *block, uint64_t bytes,
                                    size_t alignment, size_t size, bool guarded)
{
    struct checked_block made = {.block = block, .size = size};
    alignment = alignment > CAIRN_ALIGNMENT ? alignment : CAIRN_ALIGNMENT;
    if (guarded) {
        /* As near to the last whole page as the alignment lets it be; a page or more is left before it. */
        unsigned char *guard = block + bytes - (uintptr_t)(block + bytes) % checked->page - checked->page;
        unsigned char *user = guard - size;
        made.user = user - (uintptr_t)user % alignment;
        made.end = guard;
        made.guarded = memory_seal(guard, checked->page) == 0;
        if (made.guarded)
            return made;
    } else {
        uintptr_t first = (uintptr_t)block + RED_ZONE_MIN;
        made.user = block + (align_up(first, alignment) - (uintptr_t)block);
    }
    made.end = block + bytes;
    return made;
}

/* The upkeep of each call: part of the quarantine is looked at, and what is too much goes. */
static void keep_up(struct cairn_heap *heap, struct bins *bins, const char *call)
{
    struct checked *checked = heap->checked;
    struct leaving leaving; /* its array is not worth clearing */
    leaving.count = 0;
    mutex_lock(&checked->lock);
    struct stray stray = patrol(checked);
    if (stray.what == NULL)
        stray = let_go(checked, QUARANTINE_BLOCKS, checked->bytes_max, &leaving);
    mutex_unlock(&checked->lock);
    require_none(heap, &stray, call);
    give_to_core(heap, bins, &leaving);
}

/* Before an allocation fails; false when there was nothing to give. */
static bool empty_quarantine(struct cairn_heap *heap, struct bins *bins, const char *call)
{
    struct checked *checked = heap->checked;
    struct leaving leaving; /* its array is not worth clearing */
    leaving.count = 0;
    mutex_lock(&checked->lock);
    struct stray stray = let_go(checked, 0, 0, &leaving);
    mutex_unlock(&checked->lock);
    require_none(heap, &stray, call);
    give_to_core(heap, bins, &leaving);
    return leaving.count != 0;
}

void *checked_alloc(struct cairn_heap *heap, struct bins *bins, size_t alignment, size_t size, bool zero,
                    int *ret_error)
{
    struct checked *checked = heap->checked;
    keep_up(heap, bins, "alloc");
    bool guarded = checked->guards && size > CLASS_BYTES_MAX;
    uint64_t wanted = bytes_wanted(checked, alignment, size, guarded);
    void *block;
    do {
        block = core_alloc(bins, &heap->core, wanted, ret_error);
    } while (block == NULL && empty_quarantine(heap, bins, "alloc"));
    if (block == NULL)
        return NULL;

    uint64_t bytes = core_find(&heap->core, block).bytes_granted;
    struct checked_block made = lay_out(checked, block, bytes, alignment, size, guarded);
    fill(checked, zone_before(&made), made.user);
    fill(checked, made.user + size, made.end);
    if (zero)
        memset(made.user, 0, size);
    mutex_lock(&checked->lock);
    bool added = add(checked, &made);
    if (added) {
        checked->blocks_live++;
        checked->bytes_live += size;
    }
    mutex_unlock(&checked->lock);
    if (added)
        return made.user;
    if (open_pages(checked, &made) == 0)
        (void)core_free(bins, &heap->core, block);
    *ret_error = -ENOMEM;
    return NULL;
}

/* The caller's block that an address lies in or before; the lock is held. */
static struct checked_block *find_place(struct cairn_heap *heap, const void *block, struct core_place *ret_place)
{
    struct core_place *place = ret_place;
    *place = core_find(&heap->core, block);
    if (place->block == NULL || place->heap != heap->core.number)
        return NULL;
    struct checked_block *found = find(heap->checked, place->block);
    bool is_of_this_life = unit_low_of(place->word) == load_relaxed(&heap->core.life_made);
    place->word = 0; /* it is not resized as the core's are */
    place->bytes = place->bytes_granted = 0;
    if (found == NULL) {
        place->crime = is_of_this_life ? CRIME_FREED : CRIME_STALE;
        return NULL;
    }
    uint64_t room = (uint64_t)(found->end - found->user);
    uint64_t inside = (uint64_t)((const unsigned char *)block - found->user);
    place->block = found->user;
    place->bytes = found->size;
    place->bytes_granted = max_u64(found->size, found->guarded ? room : room - min_u64(room, RED_ZONE_MIN));
    if (inside == 0)
        place->crime = found->freed ? CRIME_FREED : CRIME_NONE;
    else
        place->crime = inside < found->size ? CRIME_INTERIOR : CRIME_UNALLOCATED; /* a red zone is no block's */
    return place->crime == CRIME_NONE ? found : NULL;
}

struct core_place checked_find(struct cairn_heap *heap, const void *block)
{
    struct core_place place;
    mutex_lock(&heap->checked->lock);
    (void)find_place(heap, block, &place);
    mutex_unlock(&heap->checked->lock);
    return place;
}

struct core_place checked_look(struct cairn_heap *heap, const void *block, const char *call)
{
    struct checked *checked = heap->checked;
    struct core_place place;
    mutex_lock(&checked->lock);
    const struct checked_block *found = find_place(heap, block, &place);
    struct stray stray = found != NULL ? look_at(checked, found) : no_stray;
    if (stray.what == NULL)
        stray = patrol(checked);
    mutex_unlock(&checked->lock);
    require_none(heap, &stray, call);
    return place;
}

bool checked_is_sound(struct cairn_heap *heap, const void *block)
{
    struct checked *checked = heap->checked;
    struct core_place place;
    mutex_lock(&checked->lock);
    const struct checked_block *found = find_place(heap, block, &place);
    bool is_sound = found != NULL && look_at(checked, found).what == NULL;
    mutex_unlock(&checked->lock);
    return is_sound;
}

void checked_note_size(struct cairn_heap *heap, const void *block, size_t size)
{
    struct checked *checked = heap->checked;
    struct core_place place;
    mutex_lock(&checked->lock);
    struct checked_block *found = find_place(heap, block, &place);
    if (found != NULL) {
        checked->bytes_live += size - found->size;
        found->size = size;
        fill(checked, found->user + size, found->end);
    }
    mutex_unlock(&checked->lock);
}

enum core_crime checked_free(struct cairn_heap *heap, struct bins *bins, void *block, const char *call)
{
    struct checked *checked = heap->checked;
    struct leaving leaving; /* its array is not worth clearing */
    leaving.count = 0;
    struct core_place place;
    mutex_lock(&checked->lock);
    struct checked_block *found = find_place(heap, block, &place);
    struct stray stray = found != NULL ? look_at(checked, found) : no_stray;
    if (found != NULL && stray.what == NULL) {
        const unsigned char *cores = found->block; /* places in the table change when others leave it */
        /* The one that comes may be larger than all that is to stay: it waits for the next call. */
        stray = let_go(checked, QUARANTINE_BLOCKS - 1, checked->bytes_max, &leaving);
        if (stray.what == NULL)
            quarantine(checked, find(checked, cores));
    }
    if (stray.what == NULL)
        stray = patrol(checked);
    mutex_unlock(&checked->lock);
    require_none(heap, &stray, call);
    give_to_core(heap, bins, &leaving);
    return place.crime;
}

void *checked_alloc_to(struct cairn_heap *heap, struct bins *bins, size_t size, void **dest, int *ret_error)
{
    void *block = checked_alloc(heap, bins, CAIRN_ALIGNMENT, size, true, ret_error);
    if (block != NULL)
        *dest = block;
    return block;
}

enum core_crime checked_free_from(struct cairn_heap *heap, struct bins *bins, void **dest)
{
    void *block = *dest;
    *dest = NULL; /* first: it may lie in the block */
    return checked_free(heap, bins, block, "free_from");
}

void checked_trim(struct cairn_heap *heap, struct bins *bins)
{
    (void)empty_quarantine(heap, bins, "trim");
}

/* ---------------------------------------------------------------- heaps */

bool checked_is_wanted(const struct cairn_options *options)
{
    static bool is_read, is_set; /* process_lock is held */
    if (!is_read) {
        const char *value = process_is_privileged() ? NULL : getenv("CAIRN_CHECKED");
        is_set = value != NULL && strcmp(value, "1") == 0;
        is_read = true;
    }
    return options->checked != 0 || is_set;
}

bool checked_begin(struct cairn_heap *heap)
{
    struct checked *checked = pool_get(sizeof *checked);
    struct checked_block *table = pool_get(TABLE_START * sizeof *table);
    if (checked == NULL || table == NULL) {
        if (checked != NULL)
            pool_give(checked, sizeof *checked);
        if (table != NULL)
            pool_give(table, TABLE_START * sizeof *table);
        return false;
    }
    *checked = (struct checked){
        .page = platform_page_size(),
        .guards = heap->attachment->is_anonymous,
        .table = table,
        .places = TABLE_START,
        .bytes_max = min_u64(QUARANTINE_BYTES, heap->attachment->section.units_bytes / 8),
    };
    random_fill(&checked->secret, sizeof checked->secret);
    heap->core.guard = GUARDED;
    heap->checked = checked;
    return true;
}

/* Opening one may be refused until others around it are open. */
static int open_all(struct checked *checked)
{
    for (uint64_t left = UINT64_MAX, closed = 0;; left = closed, closed = 0) {
        for (uint64_t place = 0; place < checked->places; place++)
            closed += checked->table[place].block != NULL && open_pages(checked, &checked->table[place]) < 0;
        if (closed == 0)
            return 0;
        if (closed >= left)
            return -ENOMEM;
    }
}

int checked_clear(struct cairn_heap *heap, const char *call)
{
    struct checked *checked = heap->checked;
    mutex_lock(&checked->lock);
    struct stray stray = no_stray;
    for (uint64_t place = 0; place < checked->places && stray.what == NULL; place++) {
        if (checked->table[place].block != NULL)
            stray = look_at(checked, &checked->table[place]);
    }
    int error = stray.what == NULL ? open_all(checked) : 0;
    if (stray.what == NULL && error == 0) {
        memset(checked->table, 0, checked->places * sizeof *checked->table);
        checked->used = checked->blocks_live = checked->bytes_live = 0;
        checked->first = checked->next = checked->patrol = checked->patrol_offset = 0;
        checked->bytes = checked->bytes_filled = 0;
    }
    mutex_unlock(&checked->lock);
    require_none(heap, &stray, call);
    return error;
}

void checked_end(struct cairn_heap *heap)
{
    struct checked *checked = heap->checked;
    heap->checked = NULL;
    pool_give(checked->table, checked->places * sizeof *checked->table);
    pool_give(checked, sizeof *checked);
}

/* ---------------------------------------------------------------- inspection */

bool checked_show(struct cairn_heap *heap, void **block, uint64_t *bytes)
{
    struct checked *checked = heap->checked;
    mutex_lock(&checked->lock);
    const struct checked_block *found = find(checked, *block);
    bool is_live = found != NULL && !found->freed;
    struct stray stray = is_live ? look_at(checked, found) : no_stray;
    if (is_live) {
        *block = found->user;
        *bytes = found->size;
    }
    mutex_unlock(&checked->lock);
    require_none(heap, &stray, "walk");
    return is_live;
}

void checked_show_span(struct cairn_heap *heap, cairn_span *span)
{
    struct checked *checked = heap->checked;
    if (span->kind != CAIRN_SPAN_SLAB && span->kind != CAIRN_SPAN_ORPHAN && span->kind != CAIRN_SPAN_LARGE)
        return;
    mutex_lock(&checked->lock);
    const struct checked_block *large = span->kind == CAIRN_SPAN_LARGE ? find(checked, span->address) : NULL;
    if (large != NULL) {
        span->block_bytes = large->size;
        span->blocks_live = !large->freed;
    } else {
        for (uint64_t number = checked->first; number < checked->next; number++) {
            uintptr_t inside = (uintptr_t)checked->ring[number % QUARANTINE_BLOCKS] - (uintptr_t)span->address;
            span->blocks_live -= inside < span->bytes && span->blocks_live != 0;
        }
    }
    mutex_unlock(&checked->lock);
}

void checked_count(struct cairn_heap *heap, uint64_t *ret_blocks, uint64_t *ret_bytes)
{
    mutex_lock(&heap->checked->lock);
    *ret_blocks = heap->checked->blocks_live;
    *ret_bytes = heap->checked->bytes_live;
    mutex_unlock(&heap->checked->lock);
}

int checked_check(struct cairn_heap *heap, cairn_report_fn *report, void *arg)
{
    struct checked *checked = heap->checked;
    int found = 0;
    for (uint64_t place = 0;; place++) {
        struct stray stray = no_stray;
        mutex_lock(&checked->lock);
        bool is_over = place >= checked->places;
        if (!is_over && checked->table[place].block != NULL)
            stray = look_at(checked, &checked->table[place]);
        mutex_unlock(&checked->lock);
        if (is_over)
            return found;
        if (stray.what == NULL)
            continue;
        found++;
        char text[300];
        tell(&stray, "check", text, sizeof text);
        if (report != NULL)
            report(text, arg);
    }
}

/* ---------------------------------------------------------------- fork */

void checked_before_fork(struct cairn_heap *heap)
{
    mutex_lock(&heap->checked->lock);
}

void checked_after_fork(struct cairn_heap *heap)
{
    mutex_unlock(&heap->checked->lock);
}
