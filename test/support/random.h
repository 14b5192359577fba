/* SPDX-License-Identifier: MIT */
/*
 * random: numbers that can be had again. Every random test prints its seed, and CAIRN_SEED=<seed> replays it;
 * CAIRN_ROUNDS multiplies how much it does, CAIRN_ROUNDS=1/n divides it.
 */
#ifndef CAIRN_TEST_RANDOM_H
#define CAIRN_TEST_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

/* The seed from the environment, or else the test's own; printed either way. */
uint64_t random_seed(const char *test, uint64_t usual);

/* How many rounds to do where `usual` is the default. */
uint64_t random_rounds(uint64_t usual);

struct random random_begin(uint64_t seed);
uint64_t random_next(struct random *random);

/* 0 to below - 1; below is not 0. */
uint64_t random_below(struct random *random, uint64_t below);

/* A size of a block: mostly small, sometimes large, never above max. */
size_t random_size(struct random *random, size_t max);

#endif
