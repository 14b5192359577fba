/* SPDX-License-Identifier: MIT */
/*
 * operations: whatever order the calls come in, each block keeps what was written to it, and the numbers agree.
 *
 *     byte 0    the kind of heap
 *     then      operations: what (1 byte), which slot (1), size (2 or 3)
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

enum { SLOTS = 64, MEMORY = 256 << 10 };

static struct slot {
    unsigned char *block;
    size_t size;
    uint8_t sign;
} slots[SLOTS];

static _Alignas(4096) unsigned char memory[MEMORY];

static cairn_heap *make(uint64_t kind)
{
    cairn_options options = {.size = sizeof options};
    switch (kind % 8) {
    case 0:
        break;
    case 1:
        options.bytes_max = 8 << 10;
        break;
    case 2:
        options.bytes_max = 1 << 20;
        options.flags = CAIRN_EXACT_SIZES;
        break;
    case 3:
        options.flags = CAIRN_LOCKABLE;
        break;
    case 4:
        options.flags = CAIRN_UNSERIALIZED;
        options.bytes_max = 100000;
        break;
    case 5:
        options.memory = memory;
        options.bytes_max = MEMORY;
        break;
    case 6:
        options.checked = 1;
        break;
    case 7:
        options.bytes_max = 64 << 20;
        break;
    }
    cairn_heap *heap;
    REQUIRE(cairn_heap_create(&heap, &options) == 0);
    return heap;
}

static void write_block(struct slot *slot, size_t size)
{
    slot->size = size;
    slot->sign++;
    memset(slot->block, slot->sign, size);
}

static void read_block(const struct slot *slot, size_t size)
{
    for (size_t i = 0; i < size; i++)
        REQUIRE(slot->block[i] == slot->sign);
}

static void enter(struct slot *slot, unsigned char *block, size_t size, bool is_zero)
{
    slot->block = block;
    if (block == NULL) {
        REQUIRE(cairn_last_errno() == -ENOMEM);
        return;
    }
    for (size_t i = 0; is_zero && i < size; i++)
        REQUIRE(block[i] == 0);
    write_block(slot, size);
}

static void free_slot(cairn_heap *heap, struct slot *slot)
{
    if (slot->block != NULL) {
        read_block(slot, slot->size);
        REQUIRE(cairn_size(heap, slot->block) >= slot->size);
    }
    cairn_free(heap, slot->block);
    slot->block = NULL;
}

static void reallocate(cairn_heap *heap, struct slot *slot, size_t size)
{
    unsigned char *moved = cairn_realloc(heap, slot->block, size);
    if (moved == NULL) {
        REQUIRE(cairn_last_errno() == -ENOMEM);
        return;
    }
    size_t kept = slot->block == NULL ? 0 : slot->size < size ? slot->size : size;
    slot->block = moved;
    read_block(slot, kept);
    write_block(slot, size);
}

static void operate(cairn_heap *heap, struct input *input)
{
    uint64_t what = input_take(input, 1);
    struct slot *slot = &slots[input_take(input, 1) % SLOTS];
    size_t size = (size_t)input_take(input, what % 16 == 15 ? 3 : 2) % (what % 3 != 0 ? 1200 : 1 << 22);
    switch (what % 16) {
    case 0:
    case 1:
    case 2:
        free_slot(heap, slot);
        enter(slot, cairn_alloc(heap, size), size, false);
        break;
    case 3:
        free_slot(heap, slot);
        enter(slot, cairn_zalloc(heap, size), size, true);
        break;
    case 4: {
        size_t alignment = (size_t)16 << (what >> 4);
        free_slot(heap, slot);
        unsigned char *block = cairn_aligned_alloc(heap, alignment, size);
        if (block == NULL && cairn_last_errno() == -EINVAL) /* lent memory is aligned to a page alone */
            break;
        REQUIRE((uintptr_t)block % alignment == 0);
        enter(slot, block, size, false);
        break;
    }
    case 5:
    case 6:
        reallocate(heap, slot, size);
        break;
    case 7:
        if (slot->block != NULL && cairn_expand(heap, slot->block, size)) {
            read_block(slot, slot->size);
            write_block(slot, size > slot->size ? size : slot->size);
        }
        break;
    case 8: {
        void *place = NULL;
        free_slot(heap, slot);
        int error = cairn_alloc_to(heap, size, &place);
        REQUIRE(error == 0 || error == -ENOMEM);
        REQUIRE((error == 0) == (place != NULL));
        if (place != NULL)
            enter(slot, place, size, true);
        break;
    }
    case 9: {
        void *place = slot->block;
        REQUIRE(cairn_free_from(heap, &place) == 0 && place == NULL);
        slot->block = NULL;
        break;
    }
    case 10:
        if (what >> 4 == 0) {
            REQUIRE(cairn_heap_reset(heap) == 0);
            memset(slots, 0, sizeof slots);
        }
        break;
    case 11:
        REQUIRE(cairn_trim(heap) >= 0);
        break;
    case 12:
        REQUIRE(cairn_check(heap, NULL, NULL) == 0);
        break;
    default:
        free_slot(heap, slot);
        break;
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {data, bytes};
    cairn_heap *heap = make(input_take(&input, 1));
    memset(slots, 0, sizeof slots);
    while (!input_is_over(&input))
        operate(heap, &input);

    cairn_stats stats = {.size = sizeof stats};
    uint64_t live = 0, live_bytes = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        live += slots[i].block != NULL;
        live_bytes += slots[i].block != NULL ? slots[i].size : 0;
        if (slots[i].block != NULL)
            read_block(&slots[i], slots[i].size);
    }
    REQUIRE(cairn_stats_get(heap, &stats) == 0 && cairn_check(heap, NULL, NULL) == 0);
    REQUIRE(stats.blocks_live == live && stats.bytes_live >= live_bytes);
    cairn_heap_close(heap);
    return 0;
}
