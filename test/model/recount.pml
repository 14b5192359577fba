/* SPDX-License-Identifier: MIT
 *
 * What a heap is charged: a counter beside the units that it counts, and how it is made right after a kill between the two.
 *
 * Follows src/core/spans.c (begin_charging, end_charging, span_take, span_put_back, span_free, span_free_unit, recount_one,
 * recount, span_recount) and src/recovery/recovery.c (note_charging, free_taken, recovery_of_owner, recount_again).
 *
 * An owner that may be killed after any store, another that works beside, and a recoverer that is followed by another that begins
 * again, as often as the search likes. What is left to be counted when all is quiet, the next recovery counts.
 *
 *   taken[o]            owner o has a unit (its word is not FREE)
 *   counter             units charged
 *   charging[o]         owner o says that its counter and its units may differ. Killed so, it goes on saying it
 *   charges             how often somebody ended a change
 *   noted               in the dead one's record: its heap is to be counted again
 *   given_up            in the section: a recount was given up because others worked
 *
 *   take      charging;   counter + 1;   the unit;   charges + 1;   charging off
 *   free      charging;   the unit;   counter - 1;   charges + 1;   charging off
 *   recovery  noted, then charging off;   frees the dead one's unit (in its name, as above);   recount, or given_up + 1;
 *             noted off; given_up?  recount, and back to 0
 *   recount   charges, counter;   anybody charging?  give up;   count the units, one by one;   anybody charging, or other
 *             charges?  give up; CAS of the counter
 *
 * Proven: when all is quiet, the counter is right, or it is known that it has to be counted again.
 *
 * Negative controls, each with the assertion it makes fail:
 *   NOTED_LAST          charging goes off before the heap is noted              count_wrong
 *   NOTE_FIRST_OFF      the note goes off before the recount                    count_wrong
 *   NOT_GIVEN_UP        a recount that was given up is not told the next        count_wrong
 *   CHARGES_IGNORED     the recount does not compare charges                    count_wrong
 *   CHARGING_IGNORED    the recount does not look whether anybody is charging   count_wrong
 */

#define KILLED 0
#define OTHER 1

bool taken[2], charging[2];
byte counter, charges, given_up;
bool noted, dead, recovered, other_done;

/* The name of what must never happen. */
bool count_wrong;
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline may_die(me) { if :: skip :: me == KILLED -> dead = true; goto killed :: else fi }
inline recoverer_may_die() { if :: skip :: goto again fi }

proctype Owner(byte me) {
	byte turns;
	do
	:: turns == 2 -> break
	:: turns < 2 && !taken[me] ->
		turns++;
		atomic { charging[me] = true; may_die(me) }
		atomic { counter++; may_die(me) }
		atomic { taken[me] = true; may_die(me) }
		atomic { charges++; may_die(me) }
		atomic { charging[me] = false; may_die(me) }
	:: turns < 2 && taken[me] ->
		turns++;
		atomic { charging[me] = true; may_die(me) }
		atomic { taken[me] = false; may_die(me) }
		atomic { counter--; may_die(me) }
		atomic { charges++; may_die(me) }
		atomic { charging[me] = false; may_die(me) }
	:: true -> break
	od;
	atomic {
		turns = 0;
		if
		:: me == KILLED -> dead = true          /* or it is killed in the end */
		:: else -> other_done = true
		fi
	}
killed:
	skip
}

#ifdef CHARGING_IGNORED
#define ANYBODY_CHARGING false
#else
#define ANYBODY_CHARGING (charging[KILLED] || charging[OTHER])
#endif

/* One attempt: more of them give the same states. */
inline recount() {
	done = false;
	before = charges;
	counted = counter;
	if
	:: ANYBODY_CHARGING
	:: else ->
		units = taken[0];
		units = units + taken[1];
		if
		:: ANYBODY_CHARGING
		:: else ->
#ifdef CHARGES_IGNORED
			if
			:: true ->
#else
			if
			:: charges != before
			:: charges == before ->
#endif
				atomic { if :: counter == counted -> counter = units; done = true :: else fi; recoverer_may_die() }
			fi
		fi
	fi;
	atomic { before = 0; counted = 0; units = 0 }
}

proctype Recoverer() {
	byte before, counted, units;
	bool done;

	dead;
again:
	atomic { before = 0; counted = 0; units = 0; done = false }
	if
	:: recovered -> goto section
	:: else
	fi;
	if
	:: charging[KILLED] ->
#ifdef NOTED_LAST
		atomic { charging[KILLED] = false; recoverer_may_die() }
		atomic { noted = true; recoverer_may_die() }
#else
		atomic { noted = true; recoverer_may_die() }
		atomic { charging[KILLED] = false; recoverer_may_die() }
#endif
	:: else
	fi;
	if
	:: taken[KILLED] ->
		atomic { charging[KILLED] = true; recoverer_may_die() }
		atomic { taken[KILLED] = false; recoverer_may_die() }
		atomic { counter--; recoverer_may_die() }
		atomic { charges++; recoverer_may_die() }
		atomic { charging[KILLED] = false; recoverer_may_die() }
	:: else
	fi;
	if
	:: noted ->
#ifdef NOTE_FIRST_OFF
		atomic { noted = false; recoverer_may_die() }
#endif
		recount();
#ifndef NOT_GIVEN_UP
		if
		:: !done -> atomic { given_up = (given_up < 2 -> given_up + 1 : 2); recoverer_may_die() }
		:: else
		fi;
#endif
		atomic { noted = false; recoverer_may_die() }
	:: else
	fi;
	atomic { recovered = true; recoverer_may_die() }
section:
	if
	:: given_up != 0 ->
		recount();
		if
		:: done -> atomic { given_up = 0; recoverer_may_die() }
		:: else
		fi
	:: else
	fi;
	atomic { done = false; other_done -> forbid(count_wrong, given_up == 0 && counter != taken[0] + taken[1]) }
}

init { atomic { run Owner(KILLED); run Owner(OTHER); run Recoverer() } }
