/* SPDX-License-Identifier: MIT */
/*
 * fuzz: what the targets share. Each is a libFuzzer program: it gets bytes, makes of them whatever it can, and ends the
 * process when a promise is broken. Sanitizers watch the library itself.
 */
#ifndef CAIRN_FUZZ_H
#define CAIRN_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "cairn.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not true: %s; the library said: %s\n", __FILE__, __LINE__, #condition,             \
                    cairn_last_error());                                                                               \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The input, read from front to back; behind its end there are zeros. */
struct input {
    const uint8_t *data;
    size_t left;
};

static inline bool input_is_over(const struct input *input)
{
    return input->left == 0;
}

static inline uint64_t input_take(struct input *input, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes && input->left > 0; i++, input->left--)
        value |= (uint64_t)*input->data++ << (8 * i);
    return value;
}

/* A directory of this process's own for names, gone when it exits. */
const char *fuzz_directory(void);

/* Makes heap "good" in that directory: children, roots, slabs of many classes, large blocks, and what a killed process
 * left in the middle of it. */
void fuzz_make_good(void);

/* Looks at a heap by every call that only looks. */
void fuzz_look(cairn_heap *heap);

#endif
