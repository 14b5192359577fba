/* SPDX-License-Identifier: MIT */
/*
 * Blocks of great alignment. They are rare and large, so a list without order does; it takes no lock, so a fork copies
 * it right.
 *
 *     entry.block   0       PREPARED    address    PREPARED   0
 *                   free    base, ...   a block    unmapped   free
 */
#include "malloc/malloc.h"
#include "platform/platform.h"

#define PREPARED UINT64_C(1)

enum { WIDE_PER_LIST = 100 };

struct wide {
    atomic_u64 block;
    void *base; /* of the reservation that the block lies in */
    size_t bytes_reserved;
    size_t bytes;
};

struct wide_list {
    struct wide entry[WIDE_PER_LIST];
    _Atomic(struct wide_list *) next;
};

static struct wide_list first_list;

/* An entry whose block is `from`, which becomes `to`; NULL: there is none. */
static struct wide *change(uint64_t from, uint64_t to)
{
    for (struct wide_list *list = &first_list; list != NULL; list = load_acquire(&list->next)) {
        for (uint32_t i = 0; i < WIDE_PER_LIST; i++) {
            uint64_t expected = from;
            if (load_relaxed(&list->entry[i].block) == from && cas_acq_rel(&list->entry[i].block, &expected, to))
                return &list->entry[i];
        }
    }
    return NULL;
}

static bool grow(void)
{
    void *memory;
    if (memory_get(&memory, align_up(sizeof(struct wide_list), platform_page_size())) < 0)
        return false;
    struct wide_list *fresh = memory;
    struct wide_list *last = &first_list;
    for (;;) {
        struct wide_list *next = NULL;
        if (cas_acq_rel(&last->next, &next, fresh))
            return true;
        last = next;
    }
}

static bool map(struct wide *wide, size_t alignment, size_t size)
{
    size_t page = platform_page_size();
    if (size > PTRDIFF_MAX - page || alignment > PTRDIFF_MAX - page - size)
        return false;
    wide->bytes = align_up(size != 0 ? size : 1, page);
    wide->bytes_reserved = wide->bytes + (alignment > WIDE_ALIGNMENT ? alignment : 0);
    if (memory_reserve(&wide->base, wide->bytes_reserved) < 0)
        return false;
    unsigned char *base = wide->base;
    unsigned char *block = base + (align_up((uintptr_t)base, alignment) - (uintptr_t)base);
    if (memory_commit(block, wide->bytes) < 0) {
        memory_release(wide->base, wide->bytes_reserved);
        return false;
    }
    store_release(&wide->block, (uintptr_t)block);
    return true;
}

void *wide_alloc(size_t alignment, size_t size)
{
    struct wide *wide;
    while ((wide = change(0, PREPARED)) == NULL) {
        if (!grow())
            return NULL;
    }
    if (map(wide, alignment, size))
        return (void *)(uintptr_t)load_relaxed(&wide->block);
    store_release(&wide->block, 0);
    return NULL;
}

bool wide_free(void *block)
{
    struct wide *wide = change((uintptr_t)block, PREPARED);
    if (wide == NULL)
        return false;
    memory_release(wide->base, wide->bytes_reserved);
    store_release(&wide->block, 0);
    return true;
}

size_t wide_size(const void *block)
{
    for (struct wide_list *list = &first_list; list != NULL; list = load_acquire(&list->next)) {
        for (uint32_t i = 0; i < WIDE_PER_LIST; i++) {
            if (load_acquire(&list->entry[i].block) == (uintptr_t)block)
                return list->entry[i].bytes;
        }
    }
    return 0;
}
