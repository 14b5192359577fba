/* SPDX-License-Identifier: MIT
 *
 * Reset of a shared heap beside a thread of another process that allocates from it, and beside another reset.
 *
 * Follows src/core/core.c (heap_reset_begin, heap_reset_finish, take_orphan), src/core/spans.c (span_take, span_is_late),
 * src/section/layout.h (life_stopped_by), src/api/heap.c (reset_shared), src/api/thread.c (check_life, wait_for_life) and
 * src/recovery/recovery.c (finish_hand for HAND_RESET).
 *
 *   life                of the heap: 1 at first, one more after each reset; while it is stopped, it says by whom
 *   made                the life as the other process's handle knows it; each of that process's threads moves it on
 *   unit, unit_life     FREE, or TAKEN or SLAB of the other thread, which finds no slab of its own, and the life it was taken for
 *   hand[r]             of resetter r: it is at a reset, and the life to put back (0: empty). The first may be killed after any
 *                       store; it is recovered, by one who is killed and followed by another as often as the search likes
 *   holds               ghost: the other thread's call has returned a block, which nobody has freed
 *   reached             ghost: the latest life that a reset went on to
 *
 *   other     life as made?  else wait, and move it on;   bins of that life;   unit FREE -> TAKEN by CAS, or ORPHAN -> SLAB;
 *             life again: another than the bins'?  the unit goes back;   SLAB of the bins' life
 *   reset     wait until it is not stopped;   recover the dead;   hand;   CAS life L -> stopped by me;   barrier;   any unit of
 *             another's?  CAS life stopped by me -> L, and -EBUSY;   else CAS it -> L + 1;   hand = 0
 *   recovery  of a hand with L:   CAS life stopped by the dead -> L;   hand = 0
 *
 * Proven: no block of a living thread is freed by the reset of another; a heap does not stay stopped; no life comes back that a
 * reset has ended.
 *
 * Negative controls, each with the assertion it makes fail:
 *   NO_BARRIER          the unit word is stored plainly, and the reset has no barrier           block_of_the_living_freed
 *   RESET_IS_NOT_NAMED  the resetter stops the heap without a hand                              heap_stays_stopped
 *   HELD_IS_IGNORED     the reset does not look for units of others                             block_of_the_living_freed
 *   LIFE_NOT_READ_AGAIN the other does not look at the life again when it has taken the unit: a call that
 *                       is held up, between its look at the life and its CAS, for as long as a whole
 *                       reset takes, returns a block of a life that is over                     block_of_the_living_freed
 *   LIFE_OF_THE_HANDLE  the same, but it compares the life with the handle's, which another thread of
 *                       its process has moved on meanwhile                                      block_of_the_living_freed
 *   STOPPED_BY_ANYBODY  a stopped heap does not say who stopped it: a resetter that is killed behind
 *                       its reset, before its hand is empty, and recovered while the next one is at
 *                       it, gets back the life that it ended itself                             ended_life_comes_back
 */

#define FREE 0
#define TAKEN 1
#define SLAB 2
/* The life of a heap that resetter r has stopped. */
#ifdef STOPPED_BY_ANYBODY
#define STOPPED(r) 0
#else
#define STOPPED(r) (10 + r)
#endif
#define IS_STOPPED (life == STOPPED(0) || life == STOPPED(1))

byte life = 1, made = 1;
byte unit, unit_life;
byte hand[2];
byte reached = 1;
bool late, holds, dead, done[2], other_done;

/* The names of what must never happen. */
bool block_of_the_living_freed, heap_stays_stopped, ended_life_comes_back;
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }
inline may_die() { if :: skip :: me == 0 -> dead = true; goto killed :: else fi }
inline empty_buffer() { if :: late -> unit = TAKEN; late = false :: else fi }
inline go_on_with(l) { forbid(ended_life_comes_back, l < reached); life = l; reached = l }

#ifdef LIFE_OF_THE_HANDLE
#define LIFE_OF_THE_CALL made
#else
#define LIFE_OF_THE_CALL seen
#endif
proctype Other() {
	byte seen;
again:
	atomic { !IS_STOPPED -> made = life }
	atomic { seen = made }                  /* owner_bins; a slab's word has this life */
#ifdef NO_BARRIER
	atomic { late = true; unit_life = seen }
#else
	atomic { unit = TAKEN; unit_life = seen }
#endif
#ifndef LIFE_NOT_READ_AGAIN
	if
	:: life == LIFE_OF_THE_CALL
	:: life != LIFE_OF_THE_CALL -> atomic { empty_buffer(); unit = FREE; goto again }
	fi;
#endif
	atomic { empty_buffer(); unit = SLAB; holds = true; other_done = true }
}

/* Another thread of that process, in calls of its own. */
proctype Sibling() { do :: atomic { !IS_STOPPED && made != life -> made = life } :: other_done -> break od }

proctype Buffer() { do :: atomic { late -> empty_buffer() } :: other_done -> break od }

proctype Resetter(byte me) {
	byte seen;

	atomic { !IS_STOPPED -> seen = life }
	!dead;                                  /* it recovers the dead; but one may die after that */
#ifndef RESET_IS_NOT_NAMED
	atomic { hand[me] = seen; may_die() }
#endif
	atomic {
		if
		:: life == seen -> life = STOPPED(me); may_die()
		:: else -> goto over
		fi }
#ifndef NO_BARRIER
	atomic { empty_buffer() }
#endif
#ifdef HELD_IS_IGNORED
	if
	:: true ->
#else
	if
	:: unit != FREE -> atomic { if :: life == STOPPED(me) -> go_on_with(seen) :: else fi; may_die() }
	:: unit == FREE ->
#endif
		atomic { if :: life == STOPPED(me) -> go_on_with(seen + 1) :: else fi; may_die() }
	fi;
	atomic { may_die() }                    /* or a while later */
over:
	atomic { hand[me] = 0; seen = 0; done[me] = true }
killed:
	skip
}

inline recoverer_may_die() { if :: skip :: goto again fi }
proctype Recoverer() {
again:
	do
	:: dead ->
		if
		:: hand[0] != 0 -> atomic { if :: life == STOPPED(0) -> go_on_with(hand[0]); recoverer_may_die() :: else fi }
		:: else
		fi;
		atomic { hand[0] = 0; recoverer_may_die() }
		atomic { dead = false; done[0] = true }
	:: done[0] -> break
	od
}

proctype Judge() {
	do
	:: atomic { other_done && done[0] && done[1] && !IS_STOPPED -> forbid(block_of_the_living_freed, holds && unit_life != life); break }
	:: atomic { timeout -> forbid(heap_stays_stopped, IS_STOPPED); break }
	od
}

init { atomic { run Other(); run Sibling(); run Buffer(); run Resetter(0); run Resetter(1); run Recoverer(); run Judge() } }
