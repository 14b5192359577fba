/* SPDX-License-Identifier: MIT */
/* A heap that is made for each claim, and is valid at its end. */
#ifndef CAIRN_TEST_WIN32_ONE_HEAP_H
#define CAIRN_TEST_WIN32_ONE_HEAP_H

#include "claims.h"

static HANDLE heap;

static void begin(void)
{
    heap = HeapCreate(0, 0, 0);
    ck_assert_ptr_nonnull(heap);
}

static void end(void)
{
    ck_assert(HeapValidate(heap, 0, NULL));
    ck_assert(HeapDestroy(heap));
}

#endif
