/* SPDX-License-Identifier: MIT */
/*
 * inspect: walking and checking a section without changing a byte of it, through a read-only view too. Everything read
 * here could have been written by another process, so every number is checked before it is used.
 */
#ifndef CAIRN_CORE_INSPECT_H
#define CAIRN_CORE_INSPECT_H

#include "core/core.h"

struct core_span {
    enum unit_state state; /* of the head; FREE spans are whole runs */
    uint32_t unit;
    uint32_t units;
    uint32_t heap;
    uint32_t owner;
    uint32_t blocks;
    uint32_t blocks_live;
    uint64_t block_bytes;
    uint64_t serial;                 /* of the header */
    const struct span_image *header; /* NULL unless SLAB, ORPHAN, LARGE */
};

/* Each is called until one returns other than 0, which is then returned. */
typedef int core_span_fn(const struct core_span *span, void *arg);
typedef int core_block_fn(void *block, uint64_t bytes, void *arg);

/* Walks all spans below units_end in address order, and (block not NULL) the live blocks of one heap. `from` is 0, or
 * the end of a span that was told before. */
int core_walk(const struct section *section, uint32_t heap, uint32_t from, core_span_fn *span, core_block_fn *block,
              void *arg);

typedef void core_report_fn(void *arg, const char *format, ...) PRINTF_LIKE(2, 3);

/*
 * Checks all structures against each other; returns the number of findings. exact: nobody is in a call on the section,
 * and no owner died unrecovered, so that what a change in progress would explain is a finding, too.
 */
uint32_t core_check(const struct section *section, bool exact, core_report_fn *report, void *arg);

#endif
