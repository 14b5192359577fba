/* SPDX-License-Identifier: MIT */
/*
 * table: who owns which blocks. A handle is an index and a generation, and is of use in its own table only: what was
 * freed or handed over is not found any more, and what is guessed leads to the guesser's own blocks.
 *
 *     handle:  bits 0..31 index; 32..62 generation, never 0, so that no handle is; 63 whether it is a store's
 */
#include <errno.h>
#include <stdlib.h>

#include "server/server.h"

enum { CAPACITY_FIRST = 64 };
#define GENERATIONS UINT32_C(0x7fffffff)

struct entry *table_find(const struct table *table, uint64_t handle)
{
    uint32_t index = (uint32_t)handle;
    if (index >= table->capacity)
        return NULL;
    struct entry *entry = &table->entries[index];
    return entry->place != NULL && entry->generation == handle >> 32 ? entry : NULL;
}

uint64_t table_handle(const struct table *table, const struct entry *entry)
{
    return (uint64_t)entry->generation << 32 | (uint32_t)(entry - table->entries);
}

static uint32_t generation_of(const struct table *table, uint32_t number)
{
    number &= GENERATIONS;
    return (number != 0 ? number : 1) | (table->is_stores ? ~GENERATIONS : 0);
}

static int grow(struct table *table)
{
    uint32_t capacity = table->capacity != 0 ? table->capacity * 2 : CAPACITY_FIRST;
    struct entry *entries = capacity < UINT32_MAX / 2 ? realloc(table->entries, capacity * sizeof *entries) : NULL;
    if (entries == NULL)
        return -ENOMEM;
    if (table->capacity == 0)
        random_fill(&table->generation, sizeof table->generation);
    for (uint32_t i = table->capacity; i < capacity; i++)
        entries[i] =
            (struct entry){.generation = generation_of(table, table->generation), .next = i + 1 < capacity ? i + 2 : 0};
    table->first_free = table->capacity + 1;
    table->entries = entries;
    table->capacity = capacity;
    return 0;
}

int table_put(struct table *table, const struct entry *entry, bool is_given, uint64_t *ret_handle)
{
    int error = table->first_free == 0 ? grow(table) : 0;
    if (error < 0)
        return error;
    uint32_t link = table->first_free;
    struct entry *new = &table->entries[link - 1];
    uint32_t generation = new->generation;
    table->first_free = new->next;
    *new = *entry;
    new->generation = generation;
    new->next = 0;
    new->is_given = is_given;
    if (is_given) {
        *(table->last_given != 0 ? &table->entries[table->last_given - 1].next : &table->first_given) = link;
        table->last_given = link;
    }
    table->live++;
    *ret_handle = table_handle(table, new);
    return 0;
}

/* Not for what was handed over and not taken: that is in a list. Who asks by a guessed handle is refused before. */
void table_remove(struct table *table, uint64_t handle)
{
    struct entry *entry = &table->entries[(uint32_t)handle];
    entry->place = NULL;
    entry->generation = generation_of(table, entry->generation + 1);
    entry->next = table->first_free;
    table->first_free = (uint32_t)handle + 1;
    table->live--;
}

uint64_t table_next_given(struct table *table)
{
    if (table->first_given == 0)
        return 0;
    struct entry *entry = &table->entries[table->first_given - 1];
    table->first_given = entry->next;
    if (table->first_given == 0)
        table->last_given = 0;
    entry->next = 0;
    entry->is_given = false;
    return table_handle(table, entry);
}

void table_end(struct table *table)
{
    free(table->entries);
    *table = (struct table){0};
}
