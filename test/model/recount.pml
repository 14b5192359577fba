/* SPDX-License-Identifier: MIT
 *
 * What a heap is charged: a counter beside the units that it counts, and how it is made right after a kill between the two.
 *
 * Follows src/core/spans.c (begin_charging, end_charging, span_take, span_put_back, span_free, span_free_unit, recount_one,
 * recount, span_recount) and src/recovery/recovery.c (note_charging, free_taken, recovery_of_owner, recount_again).
 *
 * An owner that may be killed after any store, another that works beside, and a recoverer that is followed by another that begins
 * again, as often as the search likes. What is left to be counted when all is quiet, the next recovery counts. An owner's plain
 * stores leave its processor late, in their order (a store buffer): what it charges, and a unit that it frees. The counters and the
 * taking of a unit are atomic operations, which wait until they have left; so does a kill. What a recoverer stores plainly
 * (charging, noted) only the next one reads, behind its death: nothing of it is late.
 *
 *   taken[o]            owner o has a unit (its word is not FREE)
 *   counter             units charged
 *   charging[o]         owner o says that its counter and its units may differ. Killed so, it goes on saying it
 *   charges             how often somebody ended a change
 *   noted               in the dead one's record: its heap is to be counted again
 *   given_up            in the section: a recount was given up because others worked
 *   stores[o]           of owner o, on their way
 *
 *   take      charging;   fence;   counter + 1;   the unit;   charges + 1;   charging off
 *   free      charging;   fence;   the unit;   counter - 1;   charges + 1;   charging off
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
 *   NO_FENCE            the counter's fetch_add, which is relaxed, overtakes the store of charging: what
 *                       the release fence is for on a weakly ordered processor    count_wrong
 *
 * No two meet here who both store and then look at the other's word: an owner looks at nothing, and a recount stores nothing before
 * it has looked. So what is needed is order: of the owner's stores, and of the recount's loads, each of which is an acquire; its
 * fences are more than that. On x86 no fence has to wait for anything.
 */

#define KILLED 0
#define OTHER 1

bool taken[2], charging[2];
byte counter, charges, given_up;
bool noted, dead, recovered, other_done;
mtype = { STORE_CHARGING, STORE_FREE, STORE_CHARGING_OFF };
chan stores[2] = [3] of { mtype };

/* The name of what must never happen. */
bool count_wrong;
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline may_die(me) { if :: skip :: me == KILLED -> goto killed :: else fi }
inline recoverer_may_die() { if :: skip :: goto again fi }

/* What stands before an atomic operation that releases, and before the news of a death. */
#define ALL_ARRIVED empty(stores[me])
#ifdef NO_FENCE
#define FENCED true
#else
#define FENCED ALL_ARRIVED
#endif

proctype Owner(byte me) {
	byte turns;
	do
	:: turns == 2 -> break
	:: turns < 2 && !taken[me] ->
		turns++;
		atomic { stores[me] ! STORE_CHARGING; may_die(me) }
		atomic { FENCED -> counter++; may_die(me) }
		atomic { ALL_ARRIVED -> taken[me] = true; may_die(me) }
		atomic { charges++; may_die(me) }
		atomic { stores[me] ! STORE_CHARGING_OFF; may_die(me) }
	:: turns < 2 && taken[me] ->
		turns++;
		atomic { stores[me] ! STORE_CHARGING; may_die(me) }
		atomic { stores[me] ! STORE_FREE; may_die(me) }
		atomic { ALL_ARRIVED -> counter--; may_die(me) }
		atomic { charges++; may_die(me) }
		atomic { stores[me] ! STORE_CHARGING_OFF; may_die(me) }
	:: true -> break
	od;
	if
	:: me == KILLED                                 /* or it is killed in the end */
	:: else -> atomic { ALL_ARRIVED -> turns = 0; other_done = true; goto end }
	fi;
killed:
	atomic { ALL_ARRIVED -> turns = 0; dead = true }
end:
	skip
}

proctype Buffer(byte me) {
	mtype store;
end:
	do
	:: atomic {
		stores[me] ? store ->
		if
		:: store == STORE_CHARGING -> charging[me] = true
		:: store == STORE_FREE -> taken[me] = false
		:: store == STORE_CHARGING_OFF -> charging[me] = false
		fi;
		store = 0 }
	od
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

init { atomic { run Owner(KILLED); run Owner(OTHER); run Buffer(KILLED); run Buffer(OTHER); run Recoverer() } }
