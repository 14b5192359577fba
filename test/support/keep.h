/* SPDX-License-Identifier: MIT */
/* keep: blocks that know their own address, so that processes can tell that it is the same for all. */
#ifndef CAIRN_TEST_KEEP_H
#define CAIRN_TEST_KEEP_H

#include <stdint.h>

#include "cairn.h"

struct keep {
    struct keep *next;
    uint64_t sign;
    struct keep *self;
};

struct keep *keep_put(cairn_heap *heap, struct keep *next, uint64_t sign);

/* A list at root "list", signed from 0 on. Returns its head, which was put last. */
struct keep *keeps_put(cairn_heap *heap, uint64_t count);

/*
 * Another process's half: requires that list, frees it, and leaves a large block of as many bytes, each a 7, at root
 * "large". Returns where the list began.
 */
struct keep *keeps_take(cairn_heap *heap, uint64_t count, size_t bytes_large);

#endif
