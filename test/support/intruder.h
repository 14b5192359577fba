/* SPDX-License-Identifier: MIT */
/*
 * intruder: who comes to a published heap, or to a heap server, without the library, to get at the descriptors and the
 * messages themselves. Expects a workspace.
 */
#ifndef CAIRN_TEST_INTRUDER_H
#define CAIRN_TEST_INTRUDER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Becomes a user, in its own group only; root: stays. Whoever is not root stays who it is. */
void become(uint32_t user);

/* 0, or -errno of a system call that returned that. */
long result_of(long returned);

/* Connects to a socket of that name in the workspace. */
int connect_to(const char *name);

/* What a reader of the heap "target" gets. */
struct grip {
    int socket;
    int heap; /* -1: it was not let in */
    int pin;
    unsigned char *view;
    _Atomic uint64_t *pin_word;
    size_t bytes;
    const struct public_image *image; /* section/public.h */
    unsigned char message[64];
};

/* Returns the status of the publisher's message. */
int take_grip(struct grip *grip);
void let_go(struct grip *grip);

#endif
