/* SPDX-License-Identifier: MIT */
/*
 * checked: private heaps that see writes outside of blocks and to freed ones. Each function is called between
 * call_begin and call_end where it gets bins, and holds no lock when it returns. A stray write that is found ends the
 * program by name, like every misuse.
 */
#ifndef CAIRN_API_CHECKED_H
#define CAIRN_API_CHECKED_H

#include "api/process.h"
#include "core/inspect.h"

/* Whether a new private heap is to be checked: by its options, or by the environment, which is read once. */
bool checked_is_wanted(const struct cairn_options *options);

/* Makes a heap checked, before its first block; false: no memory. */
bool checked_begin(struct cairn_heap *heap);

/*
 * Looks at every block for the last time and forgets them all, before the core frees them. Requires that no other call
 * on the heap is running. -ENOMEM: the system refuses to give access to a page back, and nothing may be freed.
 */
int checked_clear(struct cairn_heap *heap, const char *call);

/* Gives the bookkeeping back after checked_clear. */
void checked_end(struct cairn_heap *heap);

/* As core_alloc, core_alloc_aligned and core_alloc_zeroed. */
void *checked_alloc(struct cairn_heap *heap, struct bins *bins, size_t alignment, size_t size, bool zero,
                    int *ret_error);

/* As core_alloc_to, for a process that does not outlive its heap. */
void *checked_alloc_to(struct cairn_heap *heap, struct bins *bins, size_t size, void **dest, int *ret_error);

/* Looks at the block's red zones and puts it into quarantine. */
enum core_crime checked_free(struct cairn_heap *heap, struct bins *bins, void *block, const char *call);

enum core_crime checked_free_from(struct cairn_heap *heap, struct bins *bins, void **dest);

/* Lets the quarantine go. */
void checked_trim(struct cairn_heap *heap, struct bins *bins);

/* As core_find, for the caller's blocks: bytes is what was asked for, bytes_granted what fits. */
struct core_place checked_find(struct cairn_heap *heap, const void *block);

/* As checked_find, and looks at the block's red zones. */
struct core_place checked_look(struct cairn_heap *heap, const void *block, const char *call);

/* Whether an address is that of a live block with sound red zones. */
bool checked_is_sound(struct cairn_heap *heap, const void *block);

/* Records a new size, of bytes_granted at most, of a block that stays where it is. */
void checked_note_size(struct cairn_heap *heap, const void *block, size_t size);

/* ---------------------------------------------------------------- inspection */

/* From a block of the core's to the caller's; false when the caller has none there. */
bool checked_show(struct cairn_heap *heap, void **block, uint64_t *bytes);

/* Leaves of a span's numbers what is the caller's. */
void checked_show_span(struct cairn_heap *heap, cairn_span *span);

/* Counts the caller's blocks. */
void checked_count(struct cairn_heap *heap, uint64_t *ret_blocks, uint64_t *ret_bytes);

/* Looks at every block and reports stray writes; returns how many there are. */
int checked_check(struct cairn_heap *heap, cairn_report_fn *report, void *arg);

/* ---------------------------------------------------------------- fork */

/* The child finds no heap in the middle of a change. Taken after process_lock and before the pool's. */
void checked_before_fork(struct cairn_heap *heap);
void checked_after_fork(struct cairn_heap *heap);

#endif
