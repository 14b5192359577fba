/* SPDX-License-Identifier: MIT */
/*
 * Memory for this process's own bookkeeping: bins, rings, handles. Multiples of 64 bytes up to 4096, then powers of
 * two, cut from chunks, with a list of freed pieces for each size. Never given back to the system: a late call may
 * still look at it.
 */
#include <string.h>

#include "api/process.h"

enum {
    STEP = 64,
    STEPS_MAX = 64, /* 4096 bytes: above, powers of two */
    SHIFT_MAX = 40,
    LISTS = STEPS_MAX + SHIFT_MAX + 1,
    CHUNK_BYTES = 1 << 20,
};

struct piece {
    struct piece *next;
};

static struct mutex pool_lock;
static struct piece *freed[LISTS];
static unsigned char *chunk;
static size_t chunk_left;

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

static void *cut(size_t bytes)
{
    if (bytes > chunk_left) {
        void *memory;
        size_t wanted = bytes > CHUNK_BYTES ? align_up(bytes, platform_page_size()) : CHUNK_BYTES;
        if (memory_get(&memory, wanted) < 0)
            return NULL;
        if (bytes >= CHUNK_BYTES)
            return memory;
        chunk = memory;
        chunk_left = wanted;
    }
    void *piece = chunk;
    chunk += bytes;
    chunk_left -= bytes;
    return piece;
}

void *pool_get(size_t bytes)
{
    size_t piece_bytes;
    uint32_t list = list_of(bytes, &piece_bytes);
    if (list == LISTS)
        return NULL;
    mutex_lock(&pool_lock);
    struct piece *piece = freed[list];
    if (piece != NULL)
        freed[list] = piece->next;
    void *fresh = piece == NULL ? cut(piece_bytes) : NULL; /* fresh memory is zero */
    mutex_unlock(&pool_lock);
    return piece != NULL ? memset(piece, 0, bytes) : fresh;
}

void pool_give(void *memory, size_t bytes)
{
    size_t piece_bytes;
    uint32_t list = list_of(bytes, &piece_bytes);
    struct piece *piece = memory;
    mutex_lock(&pool_lock);
    piece->next = freed[list];
    freed[list] = piece;
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
