/* SPDX-License-Identifier: MIT */
/* Numbers and names as they are printed: for people, for terminals, and as JSON. */
#ifndef CAIRN_TOOL_TEXT_H
#define CAIRN_TOOL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A short text that is returned by value, to be used at once: printf("%s", text_bytes(n).text). */
struct text {
    char text[32];
};

struct text text_bytes(uint64_t bytes);             /* "640 B", "64 KiB", "16.9 MiB" */
struct text text_count(uint64_t count);             /* "196,507" */
struct text text_rate(double count);                /* "12.3 M", "940 k", "17": a count in few digits */
struct text text_nanoseconds(uint64_t nanoseconds); /* "410 ns", "1.2 us" */

/* "s" when the noun needs it. */
const char *text_plural(uint64_t count);

/*
 * A name may hold any byte. Prints it so that it cannot steer the terminal: bytes that are no printable character
 * become \xNN. Returns how many columns it took, or would take when file is NULL.
 */
int text_name(FILE *file, const char *name);

/* Prints a JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD, for JSON has no way to hold them. */
void text_json(FILE *file, const char *text);

/* Prints text with the characters escaped that mean something in XML. */
void text_xml(FILE *file, const char *text);

/* ---- what the terminal can do */

bool text_is_terminal(void); /* standard output is one, and can move the cursor */
bool text_has_colour(void);  /* it is one that shows colours, and NO_COLOR is not set */
bool text_has_blocks(void);  /* the character set has block elements */

void text_terminal_size(int *ret_columns, int *ret_lines);

#endif
