/* SPDX-License-Identifier: MIT */
#include "support/lent.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/inspect.h"
#include "recovery/recovery.h"

enum { ARRAY_ALIGNMENT = 1 << 16 };

static void *get(size_t bytes)
{
    return calloc(1, bytes);
}

static void give(void *memory, size_t bytes)
{
    (void)bytes;
    free(memory);
}

const struct core_memory test_memory = {.get = get, .give = give};

static _Noreturn void give_up(const char *what, int error)
{
    fprintf(stderr, "%s: %s\n", what, strerror(-error));
    abort();
}

static void *get_array(uint64_t bytes)
{
    unsigned char *array = aligned_alloc(ARRAY_ALIGNMENT, align_up(bytes, ARRAY_ALIGNMENT));
    if (array == NULL)
        abort();
    return array;
}

/* ---------------------------------------------------------------- sections */

void lent_create(struct lent *ret_lent, uint32_t unit_shift, uint32_t units, uint64_t bytes_max)
{
    struct section_params params = {
        .bytes_max = ((uint64_t)units << unit_shift) + units * UINT64_C(1100) + (UINT64_C(2) << unit_shift) + 16384,
        .unit_shift = unit_shift,
        .owners_max = 8,
        .heaps_max = 4,
        .roots_max = UINT32_MAX,
    };
    *ret_lent = (struct lent){.bytes = params.bytes_max, .array = get_array(params.bytes_max)};
    /* Whatever lay there before, a section must not mind it. */
    memset(ret_lent->array, 0xa5, ret_lent->bytes);
    int error = section_create_lent(&ret_lent->section, ret_lent->array, &params);
    if (error < 0)
        give_up("section_create_lent", error);
    lent_heap(&ret_lent->heap, &ret_lent->section, bytes_max);
}

void lent_copy(struct lent *ret_lent, const struct lent *lent, size_t shift)
{
    *ret_lent = (struct lent){.bytes = lent->bytes, .array = get_array(lent->bytes + shift)};
    unsigned char *place = ret_lent->array + shift;
    memcpy(place, lent->section.base, lent->bytes);
    int error = section_open_lent(&ret_lent->section, place, lent->bytes);
    if (error < 0)
        give_up("section_open_lent", error);
    lent_heap_view(&ret_lent->heap, &ret_lent->section, lent->heap.number);
}

void lent_end(struct lent *lent)
{
    section_close(&lent->section);
    free(lent->array);
    *lent = (struct lent){0};
}

void lent_heap_view(struct core_heap *ret_heap, struct section *section, uint32_t number)
{
    static uint64_t keys;
    *ret_heap = (struct core_heap){0};
    heap_view_init(ret_heap, section, number);
    ret_heap->key = ++keys << 24;
}

void lent_heap(struct core_heap *ret_heap, struct section *section, uint64_t bytes_max)
{
    uint32_t number;
    struct heap_params params = {.bytes_max = bytes_max};
    int error = heap_claim(section, &params, &number);
    if (error < 0)
        give_up("heap_claim", error);
    lent_heap_view(ret_heap, section, number);
}

/* ---------------------------------------------------------------- actors */

void actor_begin(struct actor *ret_actor, struct section *section, struct core_heap *heap)
{
    *ret_actor = (struct actor){.heap = heap};
    int error = owner_claim(&ret_actor->core, section, &test_memory, 0, 1);
    if (error < 0)
        give_up("owner_claim", error);
    ret_actor->bins = owner_bins(&ret_actor->core, heap);
}

void actor_leave(struct actor *actor)
{
    owner_leave(&actor->core);
    owner_forget(&actor->core);
}

void actor_die(struct actor *actor)
{
    owner_forget(&actor->core);
    actor->bins = NULL;
}

void *actor_alloc(struct actor *actor, size_t size)
{
    if (size <= CLASS_TABLE_MAX && bins_are_current(actor->bins, actor->heap)) {
        struct bin *bin = bins_bin(actor->bins, class_table[(size + 15) / 16]);
        if (bin->claim != 0)
            return core_alloc_claimed(bin);
    }
    return core_alloc(actor->bins, actor->heap, size, &actor->error);
}

enum core_crime actor_free(struct actor *actor, void *block)
{
    bool noticed;
    if (!bins_are_current(actor->bins, actor->heap) ||
        !core_free_local(actor->heap, actor->bins->word, block, &noticed))
        return core_free(actor->bins, actor->heap, block);
    if (noticed)
        core_slab_noticed(actor->bins, block);
    return CRIME_NONE;
}

bool actor_recover(struct section *section, const struct actor *by, uint32_t number)
{
    (void)by;
    if (record_state_of(load_relaxed(&section_owner(section, number)->word)) == RECORD_FREE)
        return false;
    recovery_of_owner(section, number);
    return true;
}

/* ---------------------------------------------------------------- what a section holds */

static void print_finding(void *arg, const char *format, ...) PRINTF_LIKE(2, 3);

static void print_finding(void *arg, const char *format, ...)
{
    (void)arg;
    va_list arguments;
    va_start(arguments, format);
    fputs("finding: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

uint32_t findings(const struct section *section)
{
    return core_check(section, true, print_finding, NULL);
}

struct comparison {
    const struct model *model;
    size_t count;
    bool equal;
};

static int compare_block(void *block, uint64_t bytes, void *arg)
{
    struct comparison *comparison = arg;
    size_t index = model_find(comparison->model, block);
    if (index == comparison->model->count) {
        fprintf(stderr, "%p of %llu bytes is live and nobody has it\n", block, (unsigned long long)bytes);
        comparison->equal = false;
    } else if (comparison->model->blocks[index].size > bytes) {
        fprintf(stderr, "%p has %llu bytes and should have %zu\n", block, (unsigned long long)bytes,
                comparison->model->blocks[index].size);
        comparison->equal = false;
    }
    comparison->count++;
    return 0;
}

bool holds_exactly(const struct section *section, uint32_t heap, const struct model *model)
{
    struct comparison comparison = {.model = model, .equal = true};
    (void)core_walk(section, heap, 0, NULL, compare_block, &comparison);
    if (comparison.count != model->count) {
        fprintf(stderr, "%zu blocks are live and %zu should be\n", comparison.count, model->count);
        return false;
    }
    return comparison.equal;
}

uint64_t bytes_in_spans(const struct section *section)
{
    return load_relaxed(&section->image->bytes_in_spans);
}
