/* SPDX-License-Identifier: MIT */
/* The name of an open file under /proc, for what takes only names. Not for other floors. */
#ifndef CAIRN_PLATFORM_LINUX_PROC_H
#define CAIRN_PLATFORM_LINUX_PROC_H

#include <string.h>

#define PROC_FILES "/proc/thread-self/fd/"
#define PROC_PATH_BYTES sizeof(PROC_FILES "4294967295")

/* thread-self and not self: that is the main thread, and when it has ended before the others it has no files any more.
 */
static inline void proc_path(char ret_path[PROC_PATH_BYTES], int file)
{
    /* By hand: snprintf lies in pages of the C library that a process may not have touched yet, and each takes long. */
    char digits[sizeof "4294967295"];
    char *first = digits + sizeof digits - 1;
    *first = 0;
    unsigned rest = (unsigned)file; /* of what is no file a number that none has */
    do
        *--first = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    memcpy(ret_path, PROC_FILES, sizeof PROC_FILES - 1);
    strcpy(ret_path + sizeof PROC_FILES - 1, first);
}

#endif
