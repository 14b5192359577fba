/* SPDX-License-Identifier: MIT */
#include "support/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t random_seed(const char *test, uint64_t usual)
{
    const char *wanted = getenv("CAIRN_SEED");
    uint64_t seed = wanted != NULL && wanted[0] != '\0' ? strtoull(wanted, NULL, 0) : usual;
    printf("%s: CAIRN_SEED=%llu\n", test, (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

uint64_t random_rounds(uint64_t usual)
{
    const char *factor = getenv("CAIRN_ROUNDS");
    if (factor == NULL)
        return usual;
    if (strncmp(factor, "1/", 2) == 0) {
        uint64_t part = strtoull(factor + 2, NULL, 0);
        return part != 0 && usual > part ? usual / part : 1;
    }
    uint64_t times = strtoull(factor, NULL, 0);
    return usual * (times != 0 ? times : 1);
}

struct random random_begin(uint64_t seed)
{
    return (struct random){.state = seed};
}

/* Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014. */
uint64_t random_next(struct random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t random_below(struct random *random, uint64_t below)
{
    return random_next(random) % below;
}

size_t random_size(struct random *random, size_t max)
{
    static const uint16_t limits[] = {17, 65, 65, 257, 257, 1025, 1025, 4097, 33000};
    uint64_t choice = random_below(random, 10);
    uint64_t size = choice < 9 ? random_below(random, limits[choice]) : random_below(random, max + 1);
    return size <= max ? (size_t)size : random_below(random, max + 1);
}
