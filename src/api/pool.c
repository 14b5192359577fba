/* SPDX-License-Identifier: MIT */
/*
 * Memory for this process's own bookkeeping: bins, rings, handles. Multiples of 64 bytes up to 4096, then powers of
 * two, with a list of freed pieces for each size. Never given back to the system, for a late call may still look at it;
 * but for pieces of 1 to 4 KiB. Those are the bins and rings of a thread, at which that thread alone looks, and which
 * come and go with the heaps: they lie in boxes, each of pieces of one size, and a box without any is given back.
 */
#include <string.h>

#include "api/process.h"

enum {
    STEP = 64,
    STEPS_MAX = 64, /* 4096 bytes: above, powers of two */
    SHIFT_MAX = 40,
    LISTS = STEPS_MAX + SHIFT_MAX + 1,
    CHUNK_BYTES = 1 << 20,
    BOXED_ABOVE = 1024, /* up to STEPS_MAX steps */
    BOX_BYTES = 64 << 10,
    EMPTY_BOXES_KEPT = 4,
};

struct piece {
    struct piece *next;
};

static struct mutex pool_lock;
static struct piece *freed[LISTS];
static unsigned char *chunk;
static size_t chunk_left;

/* Begins a range of BOX_BYTES that is as much aligned; the pieces follow. */
struct box {
    _Alignas(STEP) struct box *next; /* of those of its size that have room */
    struct box **link;               /* what leads to this one there; NULL: it is full */
    struct piece *freed;
    uint32_t used; /* pieces that are out */
    uint32_t cut;  /* bytes from the beginning on that were cut already */
};

static struct box *with_room[STEPS_MAX + 1];
static uint32_t empty_boxes;

/* The list for a size, and the size of its pieces; LISTS when there is none so large. */
static uint32_t list_of(size_t bytes, size_t *ret_bytes)
{
    size_t steps = bytes <= STEP ? 1 : (bytes - 1) / STEP + 1;
    *ret_bytes = steps * STEP;
    if (steps <= STEPS_MAX)
        return (uint32_t)steps;
    uint32_t shift = bit_highest(bytes - 1) + 1;
    *ret_bytes = (size_t)1 << (shift & 63);
    return shift <= SHIFT_MAX ? STEPS_MAX + shift : LISTS;
}

static bool new_chunk(size_t bytes)
{
    void *memory;
    if (memory_get(&memory, bytes) < 0)
        return false;
    chunk = memory;
    chunk_left = bytes;
    return true;
}

static void *cut(size_t bytes)
{
    void *memory;
    if (bytes >= CHUNK_BYTES)
        return memory_get(&memory, align_up(bytes, platform_page_size())) == 0 ? memory : NULL;
    if (bytes > chunk_left && !new_chunk(CHUNK_BYTES))
        return NULL;
    void *piece = chunk;
    chunk += bytes;
    chunk_left -= bytes;
    return piece;
}

/* ---------------------------------------------------------------- boxes */

static void link_box(struct box *box, uint32_t list)
{
    box->next = with_room[list];
    box->link = &with_room[list];
    if (box->next != NULL)
        box->next->link = &box->next;
    with_room[list] = box;
}

static void unlink_box(struct box *box)
{
    *box->link = box->next;
    if (box->next != NULL)
        box->next->link = box->link;
    box->link = NULL;
}

/* From a chunk's end: what is behind the box, for it is aligned, is never touched, and is address space alone. */
static struct box *new_box(void)
{
    uintptr_t end = (uintptr_t)chunk + chunk_left;
    if (chunk_left < BOX_BYTES || align_down(end, BOX_BYTES) - (uintptr_t)chunk < BOX_BYTES) {
        if (!new_chunk(CHUNK_BYTES))
            return NULL;
        end = (uintptr_t)chunk + chunk_left;
    }
    chunk_left = align_down(end, BOX_BYTES) - BOX_BYTES - (uintptr_t)chunk;
    struct box *box = (struct box *)(void *)(chunk + chunk_left);
    box->cut = sizeof *box;
    empty_boxes++;
    return box;
}

/* A piece from a box, and whether it was in use before. */
static void *boxed_get(uint32_t list, size_t bytes, bool *ret_used)
{
    struct box *box = with_room[list];
    if (box == NULL) {
        box = new_box();
        if (box == NULL)
            return NULL;
        link_box(box, list);
    }
    struct piece *piece = box->freed;
    *ret_used = piece != NULL;
    if (piece != NULL) {
        box->freed = piece->next;
    } else {
        piece = (struct piece *)(void *)((unsigned char *)box + box->cut);
        box->cut += (uint32_t)bytes;
    }
    if (box->used++ == 0)
        empty_boxes--;
    if (box->freed == NULL && box->cut + bytes > BOX_BYTES)
        unlink_box(box);
    return piece;
}

static void boxed_give(void *memory, uint32_t list)
{
    struct box *box = (struct box *)(void *)((unsigned char *)memory - (uintptr_t)memory % BOX_BYTES);
    struct piece *piece = memory;
    piece->next = box->freed;
    box->freed = piece;
    if (box->link == NULL)
        link_box(box, list);
    if (--box->used != 0)
        return;
    if (empty_boxes < EMPTY_BOXES_KEPT) {
        empty_boxes++;
        return;
    }
    unlink_box(box);
    memory_release(box, BOX_BYTES);
}

/* ---------------------------------------------------------------- getting and giving */

static bool is_boxed(uint32_t list)
{
    return list > BOXED_ABOVE / STEP && list <= STEPS_MAX;
}

void *pool_get(size_t bytes)
{
    size_t piece_bytes;
    uint32_t list = list_of(bytes, &piece_bytes);
    if (list == LISTS)
        return NULL;
    bool used = false; /* fresh memory is zero */
    void *memory;
    mutex_lock(&pool_lock);
    if (is_boxed(list)) {
        memory = boxed_get(list, piece_bytes, &used);
    } else if (freed[list] != NULL) {
        memory = freed[list];
        freed[list] = freed[list]->next;
        used = true;
    } else {
        memory = cut(piece_bytes);
    }
    mutex_unlock(&pool_lock);
    return used ? memset(memory, 0, bytes) : memory;
}

void pool_give(void *memory, size_t bytes)
{
    size_t piece_bytes;
    uint32_t list = list_of(bytes, &piece_bytes);
    mutex_lock(&pool_lock);
    if (is_boxed(list)) {
        boxed_give(memory, list);
    } else {
        struct piece *piece = memory;
        piece->next = freed[list];
        freed[list] = piece;
    }
    mutex_unlock(&pool_lock);
}

/*
 * Bins of an owner that a heap has for itself stand in the tables of all threads that used the heap, and those are not
 * told when it ends. So such memory is used again only as such bins: a table that still leads there finds bins, of no
 * heap or of another one, and those of another one are right for whoever asks for that heap.
 */
static struct bins *freed_bins;

static void *one_get(size_t bytes)
{
    if (bytes != sizeof(struct bins))
        return pool_get(bytes);
    mutex_lock(&pool_lock);
    struct bins *bins = freed_bins;
    if (bins != NULL)
        freed_bins = bins->next;
    mutex_unlock(&pool_lock);
    if (bins == NULL)
        return pool_get(bytes);
    bins->next = NULL;
    bins->rings = NULL;
    memset(bins->bin, 0, sizeof bins->bin);
    return bins; /* owner_bins sets the rest, and the check last */
}

static void one_give(void *memory, size_t bytes)
{
    if (bytes != sizeof(struct bins)) {
        pool_give(memory, bytes);
        return;
    }
    struct bins *bins = memory;
    mutex_lock(&pool_lock);
    bins->next = freed_bins;
    freed_bins = bins;
    mutex_unlock(&pool_lock);
}

const struct core_memory pool_of_ones = {.get = one_get, .give = one_give};

void pool_before_fork(void)
{
    mutex_lock(&pool_lock);
}

void pool_after_fork(void)
{
    mutex_unlock(&pool_lock);
}

const struct core_memory pool = {.get = pool_get, .give = pool_give};
