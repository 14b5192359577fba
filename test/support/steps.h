/* SPDX-License-Identifier: MIT */
/*
 * steps: runs a call one machine instruction at a time and keeps every state of some memory that it goes through: what
 * others find when the caller is killed there. Needs a processor that can single-step itself (x86-64).
 */
#ifndef CAIRN_TEST_STEPS_H
#define CAIRN_TEST_STEPS_H

#include <stdbool.h>
#include <stddef.h>

struct steps {
    unsigned char *states; /* count + 1 of them: the first is from before the call */
    size_t bytes;          /* of a state */
    size_t count;
    size_t instructions;
    size_t mapped;
};

bool steps_are_possible(void);

/*
 * Calls call(arg), and each(n) behind its nth instruction, in a signal handler of the same thread. Returns how many
 * there were; where it cannot step, 0.
 */
size_t steps_call(void (*call)(void *arg), void *arg, void (*each)(size_t instruction));

/*
 * Calls call(arg). A state is all of the watched memory's `bytes`; a new one is kept when the first watched_bytes or
 * the word at watched_word (NULL: none) have changed.
 */
void steps_run(struct steps *ret_steps, void *watched_memory, size_t bytes, size_t watched_bytes,
               void *const *watched_word, void (*call)(void *arg), void *arg);

/* Puts state number `index` back. */
void steps_restore(const struct steps *s, size_t index, void *to);

void steps_end(struct steps *steps);

#endif
