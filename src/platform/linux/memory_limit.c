/* SPDX-License-Identifier: MIT */
/* memory_limit: a limit on address space. By itself, because libcairn-malloc.so has another (src/malloc/limit.c). */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <sys/resource.h>

/* RLIMIT_AS counts whole reservations, so one that took what it may would leave the program nothing for its own malloc.
 */
size_t memory_reservation_limit(size_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return bytes;
    return min_u64(bytes, align_down(limit.rlim_cur / 8, platform_page_size()));
}
