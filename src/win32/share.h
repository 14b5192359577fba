/* SPDX-License-Identifier: MIT */
/* Heaps that their creator publishes: HEAP_SHARED_READONLY. */
#ifndef WIN32_SHARE_H
#define WIN32_SHARE_H

#include "win32/win32.h"

struct sharing {
    const char *name;                  /* NULL: one is made */
    const CAIRN_HEAP_READERS *readers; /* NULL: this user's processes */
};

/* Makes the heap of a record; max 0: it grows. Sets the last error. */
BOOL share_create(struct heap *heap, size_t start, size_t max, const struct sharing *sharing);

/* Ends what a record of the creator's or of a reader's leads to. */
void share_end(struct heap *heap);

#endif
