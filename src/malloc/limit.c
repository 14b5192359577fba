/* SPDX-License-Identifier: MIT */
/*
 * platform's contract where malloc is ours: libcairn.so leaves most of an address-space limit to the program's own
 * malloc (src/platform/linux/memory_limit.c), and here there is no other. The rest is for what the program maps: its
 * libraries, its files, and the stacks of its threads.
 */
#include <sys/resource.h>

#include "malloc/malloc.h"
#include "platform/platform.h"

size_t memory_reservation_limit(size_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return bytes;
    return min_u64(bytes, align_down(limit.rlim_cur / 2, platform_page_size()));
}
