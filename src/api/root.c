/* SPDX-License-Identifier: MIT */
/*
 * Roots: a table of named refs. Setting takes the section's lock, so that a name stands once; reading takes none:
 *
 *     writer   PENDING, name, ref, LIVE <- commits a new root        ref <- commits a change        EMPTY <- a removal
 *     reader   word, name, ref, word again: equal counts mean that the ref belongs to the name
 *
 * The lock is a word {owner, its generation}; a holder that dies is found by its process's liveness, and since every
 * state of an entry is valid by itself, whoever takes the lock from the dead has nothing to mend but a PENDING entry.
 */
#include <errno.h>
#include <string.h>

#include "api/process.h"

static uint64_t root_word(enum record_state state, uint32_t heap, uint32_t owner, uint64_t count)
{
    return (uint64_t)state << RECORD_STATE_SHIFT | (uint64_t)heap << ROOT_HEAP_SHIFT |
           (uint64_t)owner << ROOT_OWNER_SHIFT | (count & ROOT_COUNT_MASK);
}

static uint32_t root_heap_of(uint64_t word)
{
    return (uint32_t)(word >> ROOT_HEAP_SHIFT & UNIT_HEAP_MASK);
}

/* ---------------------------------------------------------------- the lock */

static void lock_roots(struct attachment *attachment, const struct core_owner *owner)
{
    struct section *section = &attachment->section;
    uint64_t mine = (uint64_t)owner->number << 32 | record_generation_of(load_relaxed(&owner->image->word));
    for (uint32_t waited = 1;; waited++) {
        uint64_t seen = 0;
        if (cas_acq_rel(&section->image->lock, &seen, mine))
            return;
        /* Nobody's, as in a damaged file: no owner is that one again. */
        if (!owner_is_there(section, seen >> 32, seen & UINT32_MAX) && cas_acq_rel(&section->image->lock, &seen, mine))
            return;
        attachment_wait(attachment, owner->number, waited); /* opens the lock of a dead holder */
    }
}

static void unlock_roots(struct attachment *attachment)
{
    store_release(&attachment->section.image->lock, 0);
}

/* ---------------------------------------------------------------- reading */

static uint32_t roots_end(const struct section *section)
{
    uint32_t end = load_acquire(&section->image->roots_end);
    return end < section->roots_max ? end : section->roots_max;
}

/* Reads one entry as it was at one moment; false when there is no root of this heap in it. */
static bool read_root(const struct root_image *root, uint32_t heap, char ret_name[ROOT_NAME_BYTES], uint64_t *ret_ref)
{
    for (;;) {
        uint64_t word = load_acquire(&root->word);
        if ((word >> RECORD_STATE_SHIFT) != RECORD_LIVE || root_heap_of(word) != heap)
            return false;
        for (uint32_t i = 0; i < ROOT_NAME_BYTES; i++)
            ret_name[i] = (char)__atomic_load_n((const unsigned char *)&root->name[i], __ATOMIC_RELAXED);
        ret_name[ROOT_NAME_BYTES - 1] = '\0';
        *ret_ref = load_acquire(&root->ref);
        atomic_thread_fence(memory_order_acquire);
        if (load_relaxed(&root->word) == word)
            return true;
    }
}

/* Returns its index, end when there is none. */
static uint32_t index_of_root(const struct root_image *roots, uint32_t end, uint32_t heap, const char *name,
                              uint64_t *ret_ref)
{
    char found[ROOT_NAME_BYTES];
    for (uint32_t i = 0; i < end; i++) {
        if (read_root(&roots[i], heap, found, ret_ref) && strcmp(found, name) == 0)
            return i;
    }
    return end;
}

bool root_find_in(const struct root_image *roots, uint32_t end, uint32_t heap, const char *name, uint64_t *ret_ref)
{
    return index_of_root(roots, end, heap, name, ret_ref) != end;
}

static struct root_image *find_root(const struct section *section, uint32_t heap, const char *name, uint64_t *ret_ref)
{
    uint32_t end = roots_end(section);
    uint32_t index = index_of_root(section->roots, end, heap, name, ret_ref);
    return index != end ? &section->roots[index] : NULL;
}

/* ---------------------------------------------------------------- writing */

/* Whether the heap was destroyed; to be asked under the lock. */
static bool is_over(const struct core_heap *heap)
{
    atomic_thread_fence(memory_order_seq_cst);
    return load_relaxed(&heap->image->word) != heap->word_made;
}

/*
 * Whoever destroys the heap drops its roots when its record says so: either that finds this one PENDING, or this finds
 * the heap over. What was dropped does not become LIVE, for the heap's number may be another's by then.
 */
static int new_root(const struct core_heap *heap, uint32_t owner, const char *name, uint64_t ref)
{
    struct section *section = heap->section;
    for (uint32_t i = 0; i < section->roots_max; i++) {
        struct root_image *root = &section->roots[i];
        if (i >= load_acquire(&section->image->roots_end)) {
            int error = section_commit_records(section, root, sizeof *root, &section->image->roots_end, i, i);
            if (error < 0)
                return error;
        }
        uint64_t word = load_acquire(&root->word);
        uint64_t before = load_acquire(&root->ref);
        /* PENDING under the lock: left by one who died with it. A name of a child that is no more is nobody's. */
        bool is_name = (before & ROOT_IS_HEAP) != 0;
        if ((word >> RECORD_STATE_SHIFT) == RECORD_LIVE && !(is_name && !root_is_taken(section, before)))
            continue;
        uint64_t pending = root_word(RECORD_PENDING, heap->number, owner, word + 1);
        store_release(&root->word, pending);
        if (is_over(heap)) {
            store_release(&root->word, root_word(RECORD_FREE, 0, 0, word + 1));
            return -ESTALE;
        }
        char padded[ROOT_NAME_BYTES] = {0};
        memcpy(padded, name, strlen(name));
        for (uint32_t b = 0; b < ROOT_NAME_BYTES; b++)
            __atomic_store_n((unsigned char *)&root->name[b], (unsigned char)padded[b], __ATOMIC_RELAXED);
        store_release(&root->ref, ref);
        step();
        return cas_acq_rel(&root->word, &pending, root_word(RECORD_LIVE, heap->number, 0, word + 1)) ? 0 : -ESTALE;
    }
    return -ENOSPC;
}

void roots_drop(struct attachment *attachment, const struct core_owner *owner, uint32_t heap)
{
    struct section *section = &attachment->section;
    if (roots_end(section) == 0)
        return;
    lock_roots(attachment, owner);
    for (uint32_t i = 0; i < roots_end(section); i++) {
        uint64_t word = load_acquire(&section->roots[i].word);
        if ((word >> RECORD_STATE_SHIFT) != RECORD_FREE && root_heap_of(word) == heap)
            store_release(&section->roots[i].word, root_word(RECORD_FREE, 0, 0, word + 1));
    }
    unlock_roots(attachment);
}

int root_name_check(const char *name)
{
    if (name == NULL || name[0] == '\0')
        return error_set(-EINVAL, "a root's name must not be empty");
    if (strnlen(name, CAIRN_ROOT_NAME_MAX + 1) > CAIRN_ROOT_NAME_MAX)
        return error_set(-ENAMETOOLONG, "a root's name may have %d bytes at most", CAIRN_ROOT_NAME_MAX);
    return 0;
}

/* ref 0 removes the root. Blocks and children share the names: neither takes one from the other. */
static int change_root(struct cairn_heap *heap, const char *name, uint64_t ref, bool is_child)
{
    struct attachment *attachment = heap->attachment;
    struct section *section = &attachment->section;
    struct thread_owner *owner = heap->one != NULL ? heap->one : thread_owner_get(attachment);
    if (owner == NULL)
        return cairn_last_errno();

    int error = 0;
    uint64_t before;
    lock_roots(attachment, &owner->core);
    struct root_image *root = find_root(section, heap->core.number, name, &before);
    bool names_child = root != NULL && (before & ROOT_IS_HEAP) != 0;
    if (is_over(&heap->core))
        error = -ESTALE;
    else if (root != NULL && (is_child || names_child) && root_is_taken(section, before))
        error = -EEXIST;
    else if (root != NULL && ref != 0)
        store_release(&root->ref, ref);
    else if (root != NULL)
        store_release(&root->word, root_word(RECORD_FREE, 0, 0, load_relaxed(&root->word) + 1));
    else if (ref != 0)
        error = new_root(&heap->core, owner->core.number, name, ref);
    unlock_roots(attachment);
    if (error < 0)
        return error_set(error, "root \"%s\": %s", name,
                         error == -ENOSPC   ? "all root entries are in use"
                         : error == -EEXIST ? "a child or a root has that name"
                         : error == -ESTALE ? "the heap was destroyed"
                                            : cairn_strerror(error));
    return 0;
}

bool root_find(const struct cairn_heap *heap, const char *name, uint64_t *ret_ref)
{
    return find_root(heap->core.section, heap->core.number, name, ret_ref) != NULL;
}

int root_store_new(struct cairn_heap *heap, const char *name, uint64_t ref)
{
    return change_root(heap, name, ref, true);
}

CAIRN_API int cairn_root_set(struct cairn_heap *heap, const char *name, void *block)
{
    int error = root_name_check(name);
    if (error < 0)
        return error;
    struct bins *bins = call_begin(heap, "root_set");
    if (bins == NULL)
        return cairn_last_errno();
    const struct section *section = heap->core.section;
    if (block != NULL && !section_holds_units(section, block))
        error = error_set(-EINVAL, "root \"%s\": %p is not memory of the heap", name, block);
    else
        error = change_root(heap, name, block != NULL ? section_ref(section, block) : 0, false);
    if (error == 0 && heap->published != NULL)
        heap->published->root_changed(heap->published);
    call_end(heap, bins);
    return error;
}

CAIRN_API void *cairn_root_get(struct cairn_heap *heap, const char *name)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "root_get");
    uint64_t ref;
    if (root_name_check(name) < 0 || heap_is_the_parents(heap) ||
        find_root(heap->core.section, heap->core.number, name, &ref) == NULL)
        return NULL;
    return cairn_at(heap, ref);
}

CAIRN_API int cairn_root_walk(struct cairn_heap *heap, cairn_root_fn *visit, void *arg)
{
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "root_walk");
    char name[ROOT_NAME_BYTES];
    uint64_t ref;
    if (heap_is_the_parents(heap))
        return cairn_last_errno();
    uint32_t end = roots_end(heap->core.section);
    for (uint32_t i = 0; i < end; i++) {
        if (!read_root(&heap->core.section->roots[i], heap->core.number, name, &ref) || (ref & ROOT_IS_HEAP) != 0)
            continue;
        int result = visit(name, cairn_at(heap, ref), arg);
        if (result != 0)
            return result;
    }
    return 0;
}

CAIRN_API cairn_ref cairn_ref_of(struct cairn_heap *heap, const void *address)
{
    const struct section *section = heap->core.section;
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "ref_of");
    return address != NULL && section_holds_units(section, address) ? section_ref(section, address) : 0;
}

CAIRN_API void *cairn_at(struct cairn_heap *heap, cairn_ref ref)
{
    const struct section *section = heap->core.section;
    if (heap->state != HEAP_OPEN)
        crime_closed(heap, "at");
    if (ref < section->units_offset || ref - section->units_offset >= section->units_bytes)
        return NULL;
    return section_at(section, ref);
}
