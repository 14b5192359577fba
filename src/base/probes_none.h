/* SPDX-License-Identifier: MIT */
/* probes: none, for <sys/sdt.h> was not there when this was built. */
#ifndef CAIRN_BASE_PROBES_NONE_H
#define CAIRN_BASE_PROBES_NONE_H

ALWAYS_INLINE void probe_alloc(const void *heap, uint64_t bytes)
{
    (void)heap, (void)bytes;
}

ALWAYS_INLINE void probe_free(const void *heap, const void *block)
{
    (void)heap, (void)block;
}

ALWAYS_INLINE void probe_grow(const void *image, uint64_t bytes)
{
    (void)image, (void)bytes;
}

ALWAYS_INLINE void probe_recover(const void *image, uint32_t owner)
{
    (void)image, (void)owner;
}

#endif
