/* SPDX-License-Identifier: MIT */
/* What the dead had allocated and nobody can find. */
#include <errno.h>
#include <limits.h>

#include "api/process.h"

/* Offers the blocks of one span; the callback runs outside of any call, so it may use the heap. */
static int offer(struct cairn_heap *heap, const struct core_reaped *reaped, cairn_keep_fn *keep, void *arg)
{
    int freed = 0;
    for (uint32_t k = 0; k < reaped->words; k++) {
        for (uint64_t live = reaped->live[k]; live != 0; live &= live - 1) {
            void *block = reaped->first + ((uint64_t)k * 64 + bit_lowest(live)) * reaped->block_bytes;
            if (keep(block, (size_t)reaped->block_bytes, arg))
                continue;
            cairn_free(heap, block);
            freed++;
        }
    }
    return freed;
}

CAIRN_API int cairn_reap(struct cairn_heap *heap, cairn_keep_fn *keep, void *arg)
{
    if (keep == NULL)
        return error_set(-EINVAL, "reap: nobody says what is to be kept");
    int error = cairn_recover(heap);
    uint32_t unit = 0;
    int freed = 0;
    for (bool found = true; error >= 0 && found && freed < INT_MAX / 2;) {
        struct bins *bins = call_begin(heap, "reap");
        if (bins == NULL)
            return cairn_last_errno();
        struct core_reaped reaped;
        found = core_reap_next(bins, &unit, &reaped);
        call_end(heap, bins);
        if (found)
            freed += offer(heap, &reaped, keep, arg);
    }
    return error < 0 ? error : freed;
}
