/* SPDX-License-Identifier: MIT */
/*
 * jump: control leaves one place for another, and may take its stack along or not. A place is where cairn_seh_mark
 * returned, with the registers that a function keeps for its caller; it is good as long as that function has not
 * returned. What a jump returns to a mark is 1.
 */
#ifndef WIN32_JUMP_H
#define WIN32_JUMP_H

#include "win32/win32.h"

#define JUMP_MARGIN 1024 /* what a function may have above its stack pointer for the arguments of its calls */

/* Goes to place, with its own stack pointer. */
void jump_back(struct cairn_seh_place *place) __attribute__((noreturn));

/* Goes to place with the stack pointer of another: both are in one function, and other came later. */
void jump_back_at(struct cairn_seh_place *place, const struct cairn_seh_place *other) __attribute__((noreturn));

/* Goes to place, whose function then runs on the stack below the caller: what it has there of its own stays, when that
 * is addressed by the frame pointer. */
void jump_below(struct cairn_seh_place *place) __attribute__((noreturn));

/* Calls function, which must not return, on the stack whose end is given. */
void jump_onto(void *end, void (*function)(void *arg), void *arg) __attribute__((noreturn));

#endif
