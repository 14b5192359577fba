/* SPDX-License-Identifier: MIT
 *
 * Growth and decommit: the memory of one unit of a shared file, the bit that says that it is there, and those who take the
 * unit, use it, give it back, and give its memory back to the system.
 *
 * Follows src/section/section.c (section_commit, commit_pages, widen, section_decommit, decommit_run), src/core/spans.c
 * (span_take, span_free, span_decommit) and src/recovery/recovery.c (free_taken).
 *
 * Each may be killed after any store; a killed recoverer is followed by another, as often as the search likes.
 *
 *   unit                the unit word: FREE, or TAKEN by a user (it uses the unit) or by one that decommits
 *   memory              the system has memory for it: without it a touch takes it then, and may find the file system full (SIGBUS)
 *   marked              the page's commit bit
 *
 *   use       CAS FREE -> TAKEN{me};   if the bit is clear: memory, then the bit;   touch;   FREE
 *   decommit  CAS FREE -> TAKEN{me};   if the bit is set: memory goes, then the bit;   FREE
 *   recovery  of one TAKEN to decommit: once more, then FREE.   Of a user: FREE
 *
 * Proven: whoever touches a unit finds its memory there; and when all is quiet the bit is set only where there is memory.
 *
 * Negative controls, each with the assertion it makes fail:
 *   BIT_FIRST           a commit sets the bit before the memory is there                memory_not_there
 *   NOT_TAKEN           a decommit does not take the unit                               memory_not_there
 *   FREED_AS_IT_IS      recovery frees a unit that was TAKEN to decommit as it is       memory_not_there
 *
 * One thing is not as it should be, and is searched to show it:
 *   WIDENED             a commit for a neighbour is widened to the commit step, over this unit, which it has not taken: it asks for
 *                       the memory, is held up, and sets the bit when others have used the unit and given its memory back
 *                                                                                       memory_not_there
 */

#ifndef TURNS
#define TURNS 3
#endif
#define FREE 0
#define DECOMMITTER 3   /* 1 and 2: users */

byte unit;
bool memory, marked;
bool dead[4], done[4];

/* The names of what must never happen. */
bool memory_not_there, bit_without_memory;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }
inline may_die(me) { if :: skip :: dead[me] = true; goto killed fi }
inline recoverer_may_die() { if :: skip :: goto again fi }

inline commit(me) {
	if
	:: marked
	:: !marked ->
#ifdef BIT_FIRST
		atomic { marked = true; may_die(me) }
		atomic { memory = true; may_die(me) }
#else
		atomic { memory = true; may_die(me) }
		atomic { marked = true; may_die(me) }
#endif
	fi
}

proctype User(byte me) {
	byte turns;
	do
	:: turns == TURNS -> break
	:: atomic { turns < TURNS && unit == FREE -> turns++; unit = me; may_die(me) }
		commit(me);
		forbid(memory_not_there, !memory);
		atomic { unit = FREE; may_die(me) }
	:: true -> break
#ifdef WIDENED
	:: turns < TURNS -> turns++; commit(me)
#endif
	od;
	done[me] = true;
killed:
	skip
}

proctype Decommitter() {
	byte turns;
	do
	:: turns == TURNS -> break
#ifdef NOT_TAKEN
	:: turns < TURNS && unit == FREE -> turns++;
#else
	:: atomic { turns < TURNS && unit == FREE -> turns++; unit = DECOMMITTER; may_die(DECOMMITTER) }
#endif
		if
		:: marked ->
			atomic { memory = false; may_die(DECOMMITTER) }
			atomic { marked = false; may_die(DECOMMITTER) }
		:: else
		fi;
#ifndef NOT_TAKEN
		atomic { unit = FREE; may_die(DECOMMITTER) }
#endif
	:: true -> break
	od;
	done[DECOMMITTER] = true;
killed:
	skip
}

inline recover(who) {
	if
	:: unit == who ->
#ifndef FREED_AS_IT_IS
		if
		:: who == DECOMMITTER && marked ->
			atomic { memory = false; recoverer_may_die() }
			atomic { marked = false; recoverer_may_die() }
		:: else
		fi;
#endif
		atomic { unit = FREE; recoverer_may_die() }
	:: else
	fi;
	atomic { dead[who] = false; done[who] = true }
}

proctype Recoverer() {
again:
	do
	:: dead[1] -> recover(1)
	:: dead[2] -> recover(2)
	:: dead[DECOMMITTER] -> recover(DECOMMITTER)
	:: done[1] && done[2] && done[DECOMMITTER] -> break
	od;
	forbid(bit_without_memory, marked && !memory)
}

init { atomic { run User(1); run User(2); run Decommitter(); run Recoverer() } }
