/* SPDX-License-Identifier: MIT */
/*
 * lent: the whole world of a core test: a section in a plain array, a heap in it, and owners that one thread plays.
 */
#ifndef CAIRN_TEST_LENT_H
#define CAIRN_TEST_LENT_H

#include "core/core.h"
#include "support/model.h"

struct lent {
    unsigned char *array;
    uint64_t bytes;
    struct section section;
    struct core_heap heap;
};

/* What a thread is to the library. */
struct actor {
    struct core_owner core;
    struct bins *bins;
    struct core_heap *heap;
    int error; /* of the last call that failed */
};

/* Memory for bins, from malloc, so that a sanitizer sees what is not given back. */
extern const struct core_memory test_memory;

/* Makes a section of about `units` units with one heap that may take bytes_max; ends the program when it cannot. */
void lent_create(struct lent *ret_lent, uint32_t unit_shift, uint32_t units, uint64_t bytes_max);

/* Copies the bytes of a section to `shift` bytes behind a 64 KiB boundary and opens them there. */
void lent_copy(struct lent *ret_lent, const struct lent *lent, size_t shift);
void lent_end(struct lent *lent);

/* Another view of a heap: heap_claim and heap_view_init, with a key of its own. */
void lent_heap(struct core_heap *ret_heap, struct section *section, uint64_t bytes_max);
void lent_heap_view(struct core_heap *ret_heap, struct section *section, uint32_t number);

void actor_begin(struct actor *ret_actor, struct section *section, struct core_heap *heap);
void actor_leave(struct actor *actor);

/* Forgets without leaving: this owner is dead. */
void actor_die(struct actor *actor);

/* As the public calls do it, fast paths first. */
void *actor_alloc(struct actor *actor, size_t size);
enum core_crime actor_free(struct actor *actor, void *block);

/* Recovers a dead owner; false when its record is free. */
bool actor_recover(struct section *section, const struct actor *by, uint32_t number);

/* Prints every finding of an exact check and returns how many there are. */
uint32_t findings(const struct section *section);

/* Whether the live blocks of a heap are those of the model and no others. */
bool holds_exactly(const struct section *section, uint32_t heap, const struct model *model);

uint64_t bytes_in_spans(const struct section *section);

#endif
