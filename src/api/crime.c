/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "api/checked.h"

const char *heap_label(const struct cairn_heap *heap, char *buffer, size_t bytes)
{
    bool has_name = heap->attachment != NULL && (heap->attachment->is_shared || heap->attachment->is_published);
    if (has_name && heap->name[0] != '\0') /* a child's */
        snprintf(buffer, bytes, "heap \"%s\" in \"%s\"", heap->name, heap->attachment->name);
    else if (has_name)
        snprintf(buffer, bytes, "heap \"%s\"", heap->attachment->name);
    else
        snprintf(buffer, bytes, "private heap %u", heap->core.index);
    return buffer;
}

static struct mutex handler_lock;
static cairn_misuse_fn *handler;
static void *handler_arg;

CAIRN_API void cairn_misuse_set(cairn_misuse_fn *on_misuse, void *arg)
{
    mutex_lock(&handler_lock);
    handler = on_misuse;
    handler_arg = arg;
    mutex_unlock(&handler_lock);
}

void crime_end(const char *line)
{
    mutex_lock(&handler_lock);
    cairn_misuse_fn *asked = handler;
    void *arg = handler_arg;
    mutex_unlock(&handler_lock);
    if (asked != NULL)
        asked(line, arg);
    crime_abort(line);
}

/* Whether some other section of this process holds the address. Best effort: the program is about to end. */
static const struct attachment *attachment_of(const void *block)
{
    for (const struct attachment *a = process_attachments; a != NULL; a = a->next) {
        if (section_holds_units(&a->section, block))
            return a;
    }
    return NULL;
}

void crime_report(struct cairn_heap *heap, const char *call, const void *block, enum core_crime crime)
{
    char label[LABEL_BYTES];
    char line[600];
    struct core_place place = heap->checked != NULL ? checked_find(heap, block) : core_find(&heap->core, block);
    heap_label(heap, label, sizeof label);
    switch (crime) {
    case CRIME_FREED:
        if (place.bytes != 0)
            snprintf(line, sizeof line, "cairn: %s: %s of %p: a block of %llu bytes that is free already", label,
                     call[0] == 'f' ? "double free" : call, block, (unsigned long long)place.bytes);
        else
            snprintf(line, sizeof line, "cairn: %s: %s of %p: a block that is free already", label,
                     call[0] == 'f' ? "double free" : call, block);
        break;
    case CRIME_INTERIOR:
        snprintf(line, sizeof line, "cairn: %s: %s of %p: an interior pointer, %llu bytes into the block at %p", label,
                 call, block, (unsigned long long)((const unsigned char *)block - (const unsigned char *)place.block),
                 place.block);
        break;
    case CRIME_WRONG_HEAP:
        snprintf(line, sizeof line, "cairn: %s: %s of %p: wrong heap, the block belongs to heap %u of this section",
                 label, call, block, place.heap);
        break;
    case CRIME_STALE:
        snprintf(line, sizeof line, "cairn: %s: %s of %p: a block from before the heap was reset", label, call, block);
        break;
    case CRIME_UNALLOCATED:
        snprintf(line, sizeof line, "cairn: %s: %s of %p: a wild pointer, nothing was ever allocated there", label,
                 call, block);
        break;
    default: {
        const struct attachment *other = attachment_of(block);
        if (other != NULL && other != heap->attachment)
            snprintf(line, sizeof line, "cairn: %s: %s of %p: wrong heap, the block belongs to %s%s%s", label, call,
                     block, other->is_shared ? "heap \"" : "a private heap", other->name, other->is_shared ? "\"" : "");
        else
            snprintf(line, sizeof line, "cairn: %s: %s of %p: a foreign pointer, not memory of this heap", label, call,
                     block);
        break;
    }
    }
    crime_end(line);
}

void crime_closed(const struct cairn_heap *heap, const char *call)
{
    char line[200];
    snprintf(line, sizeof line, "cairn: %s with the handle %p of a closed heap", call, (const void *)heap);
    crime_end(line);
}
