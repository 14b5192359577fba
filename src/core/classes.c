/* SPDX-License-Identifier: MIT */
#include "core/classes.h"

#define FOUR(first) (first), (first) + 1, (first) + 2, (first) + 3
#define TWICE(c) (c), (c)
#define FOUR_TIMES(c) (c), (c), (c), (c)

/* 0 and 16 bytes; each 16 to 256; two steps of 16 to a class up to 512; four up to 1024. */
const uint8_t class_table[CLASS_TABLE_MAX / 16 + 1] = {
    0,
    FOUR(0),
    FOUR(4),
    FOUR(8),
    FOUR(12),
    TWICE(16),
    TWICE(17),
    TWICE(18),
    TWICE(19),
    TWICE(20),
    TWICE(21),
    TWICE(22),
    TWICE(23),
    FOUR_TIMES(24),
    FOUR_TIMES(25),
    FOUR_TIMES(26),
    FOUR_TIMES(27),
    FOUR_TIMES(28),
    FOUR_TIMES(29),
    FOUR_TIMES(30),
    FOUR_TIMES(31),
};
