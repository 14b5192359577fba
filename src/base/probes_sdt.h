/* SPDX-License-Identifier: MIT */
/*
 * probes: places where a tracer can look, by name and with two values: perf, bpftrace and SystemTap know them as
 * cairn:NAME. One that nobody looks at is an instruction that does nothing.
 */
#ifndef CAIRN_BASE_PROBES_SDT_H
#define CAIRN_BASE_PROBES_SDT_H

#pragma GCC system_header /* the macros of <sys/sdt.h> are not of the C that we have checked elsewhere */

#include <sys/sdt.h>

ALWAYS_INLINE void probe_alloc(const void *heap, uint64_t bytes)
{
    DTRACE_PROBE2(cairn, alloc, heap, bytes);
}

ALWAYS_INLINE void probe_free(const void *heap, const void *block)
{
    DTRACE_PROBE2(cairn, free, heap, block);
}

ALWAYS_INLINE void probe_grow(const void *image, uint64_t bytes)
{
    DTRACE_PROBE2(cairn, grow, image, bytes);
}

ALWAYS_INLINE void probe_recover(const void *image, uint32_t owner)
{
    DTRACE_PROBE2(cairn, recover, image, owner);
}

#endif
