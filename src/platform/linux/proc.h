/* SPDX-License-Identifier: MIT */
/* The name of an open file under /proc, for what takes only names. Not for other floors. */
#ifndef CAIRN_PLATFORM_LINUX_PROC_H
#define CAIRN_PLATFORM_LINUX_PROC_H

#include <stdio.h>

#define PROC_PATH_BYTES sizeof("/proc/thread-self/fd/-2147483648")

/* thread-self and not self: that is the main thread, and when it has ended before the others it has no files any more.
 */
static inline void proc_path(char ret_path[PROC_PATH_BYTES], int file)
{
    snprintf(ret_path, PROC_PATH_BYTES, "/proc/thread-self/fd/%d", file);
}

#endif
