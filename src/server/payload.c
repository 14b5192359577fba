/* SPDX-License-Identifier: MIT */
/* payload: the section of one client; see server.h for what it is made of. */
#include <errno.h>
#include <stdlib.h>

#include "server/server.h"

/*
 * Where payloads lie: a window that is free also under sanitizers, and not where shared heaps look for an address. Each
 * new one goes behind the last, so that an address comes again late: a client may have a view of what is gone.
 */
#define WINDOW_BEGIN UINT64_C(0x551000000000)
#define WINDOW_END UINT64_C(0x555000000000)
#define WINDOW_STEP (UINT64_C(64) << 20)

static void *reserve(void *arg, size_t bytes)
{
    struct payload *payload = arg;
    return bytes == payload->reserved_bytes ? payload->base : NULL;
}

/* The file is made as long as it will ever be, by its last page: it cannot grow once it is sealed. */
static int commit_file(struct payload *payload, uint64_t from, uint64_t end)
{
    if (from < payload->units_offset)
        from = payload->units_offset;
    return from < end ? file_commit(payload->file, from - payload->units_offset, end - from) : 0;
}

static int commit(void *arg, void *address, size_t bytes)
{
    struct payload *payload = arg;
    uint64_t from = (uint64_t)((unsigned char *)address - payload->base);
    uint64_t end = from + bytes;
    if (payload->units_offset == UINT64_MAX) {
        payload->committed_end = end > payload->committed_end ? end : payload->committed_end;
        return memory_commit(address, bytes);
    }
    if (from < payload->units_offset) {
        int error = memory_commit(address, min_u64(end, payload->units_offset) - from);
        if (error < 0)
            return error;
    }
    return commit_file(payload, from, end);
}

static int place(struct payload *payload, struct server *server)
{
    uint64_t attempts = (WINDOW_END - WINDOW_BEGIN) / WINDOW_STEP;
    for (uint64_t i = 0; i < attempts; i++) {
        uint64_t address = server->next_address;
        uint64_t steps = (payload->reserved_bytes + WINDOW_STEP - 1) / WINDOW_STEP;
        if (address < WINDOW_BEGIN || address + steps * WINDOW_STEP > WINDOW_END)
            address = WINDOW_BEGIN;
        server->next_address = address + steps * WINDOW_STEP;
        int error = memory_reserve_at((void *)(uintptr_t)address, payload->reserved_bytes);
        if (error == 0)
            payload->base = (unsigned char *)(uintptr_t)address;
        if (error != -EADDRINUSE)
            return error;
    }
    return -EADDRINUSE;
}

/* From here on the bookkeeping is private memory and the rest is the file's. */
static int divide(struct payload *payload)
{
    cairn_stats stats = {.size = sizeof stats};
    int error = cairn_stats_get(payload->heap, &stats);
    if (error < 0)
        return error;
    uint64_t page = platform_page_size();
    payload->units_offset = stats.units_address - (uintptr_t)payload->base;
    payload->bytes = payload->reserved_bytes - payload->units_offset;
    if (payload->units_offset % page != 0 || payload->bytes % page != 0)
        return -EINVAL;
    error = file_commit(payload->file, payload->bytes - page, page);
    return error < 0 ? error : commit_file(payload, 0, payload->committed_end);
}

int payload_create(struct payload **ret_payload, struct server *server, uint64_t bytes)
{
    struct payload *payload = calloc(1, sizeof *payload);
    if (payload == NULL)
        return -ENOMEM;
    payload->reserved_bytes = bytes;
    payload->units_offset = UINT64_MAX;
    payload->file = -1;
    int error = place(payload, server);
    if (error == 0)
        error = file_create_anonymous(&payload->file, "cairnd");
    if (error == 0) {
        cairn_memory memory = {.reserve = reserve, .commit = commit, .arg = payload};
        cairn_options options = {
            .size = sizeof options, .bytes_max = bytes, .calls = &memory, .flags = CAIRN_UNSERIALIZED};
        error = cairn_heap_create(&payload->heap, &options);
    }
    if (error == 0)
        error = divide(payload);
    if (error < 0) {
        payload_end(payload);
        return error;
    }
    *ret_payload = payload;
    return 0;
}

/* The client's view exists by now, and is the last that can write. The file gets no shorter and no longer, either. */
int payload_seal(struct payload *payload)
{
    int error =
        file_seal(payload->file, 0400, FILE_SEAL_SHRINK | FILE_SEAL_GROW | FILE_SEAL_FUTURE_WRITE | FILE_SEAL_SEAL);
    struct file_status status;
    if (error == 0)
        error = file_status_get(payload->file, &status);
    if (error == 0 && status.bytes != payload->bytes)
        error = -EPROTO; /* it was made longer before the seal */
    payload->is_sealed = error == 0;
    return error;
}

void payload_end(struct payload *payload)
{
    cairn_heap_close(payload->heap);
    if (payload->base != NULL)
        memory_release(payload->base, payload->reserved_bytes);
    file_close(payload->file);
    free(payload);
}

int payload_alloc(struct payload *payload, uint64_t size, struct entry *ret_entry)
{
    unsigned char *block = cairn_alloc(payload->heap, size);
    if (block == NULL)
        return -ENOMEM;
    *ret_entry = (struct entry){.place = block, .size = cairn_size(payload->heap, block), .payload = payload};
    payload->blocks++;
    payload->bytes_live += ret_entry->size;
    payload->user->blocks++;
    return 0;
}

bool payload_expand(struct entry *entry, uint64_t size)
{
    bool is_large_enough = size <= entry->size || cairn_expand(entry->payload->heap, entry->place, size);
    entry->payload->bytes_live -= entry->size;
    entry->size = cairn_size(entry->payload->heap, entry->place);
    entry->payload->bytes_live += entry->size;
    return is_large_enough;
}

void payload_free(struct entry *entry)
{
    cairn_free(entry->payload->heap, entry->place);
    entry->payload->blocks--;
    entry->payload->bytes_live -= entry->size;
    entry->payload->user->blocks--;
}
