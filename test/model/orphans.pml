/* SPDX-License-Identifier: MIT
 *
 * How many orphans a heap has: a count by which those who need a slab know whether to look. It is a hint: a kill can leave it too
 * high or too low, and the last resort of an allocation looks without asking it.
 *
 * Follows src/core/slab.c (slab_make_orphan) and src/core/core.c (take_orphan, adopt, reset_orphans).
 *
 * Two owners leave, and each makes its slab an orphan; an adopter may take one of them; one that found none in a whole turn sets
 * the count right, and may be killed in that. When all is quiet another seeks an orphan, as its last resort. Plain stores reach
 * the others late (a buffer for each unit word), until a fence or an atomic operation empties the buffer. A killed leaver has
 * counted its orphan before, and whoever recovers it counts it again.
 *
 *   unit[i]             the word of slab i is ORPHAN;   late[i]: the store is on its way
 *   count               of orphans; 255 stands for 2^32 - 1
 *   was_reset, adopted  ghost: the count was set to 0; an orphan was adopted
 *   killed              ghost: a reset was killed behind its CAS
 *
 *   leave     count + 1;   ORPHAN;   fence;   count still 0?  count + 1
 *   reset     counted = count;   no ORPHAN seen anywhere;   CAS count from counted to 0;   fence;   each ORPHAN now seen: count + 1
 *   adopt     one CAS of the unit word;   count - 1 by CAS, unless it is 0
 *   seek      each unit, whatever the count
 *
 * Proven: the last resort finds an orphan if there is one; the count is not 0 then, unless it was reset and one was adopted as
 * well, or a reset was killed; and the count does not go below 0, which would send everybody looking for ever.
 *
 * Negative controls, each with the assertion it makes fail:
 *   COUNT_BELIEVED      the last resort does not look when the count is 0                     orphan_forgotten
 *   TAKEN_OFF_BLINDLY   the adopter takes 1 off the count, whatever it is                     count_wraps
 *   NO_FENCE            the leaver asks for the count before its store has reached others     count_too_low
 *   NOT_ASKED_AGAIN     the leaver does not ask for the count after its store                 count_too_low
 *   NOT_LOOKED_AGAIN    the reset does not look again after its CAS                           count_too_low
 *   SWAPPED             the reset looks again before its CAS                                  count_too_low
 */

#define SLABS 2
bool unit[SLABS], late[SLABS], left[SLABS];
byte count;
bool resetter_done, adopter_done;
bool was_reset, adopted, killed;

/* The names of what must never happen. */
bool orphan_forgotten, count_too_low, count_wraps;
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }
inline empty_buffer(i) { if :: late[i] -> unit[i] = true; late[i] = false :: else fi }

proctype Leaver(byte me) {
	bool none, recovered;
again:
	count++;
	if
	:: skip
	:: !recovered -> recovered = true; goto again
	fi;
	late[me] = true;
#ifndef NO_FENCE
	atomic { empty_buffer(me) }
#endif
#ifndef NOT_ASKED_AGAIN
	none = (count == 0);
	if
	:: none -> count++
	:: else
	fi;
#endif
	atomic { none = false; recovered = false }
	left[me] = true
}

proctype Resetter() {
	byte counted, turns;
	bool any;
	do
	:: turns == 2 -> break
	:: turns < 2 ->
		turns++;
		counted = count;
		any = unit[0];
		any = any || unit[1];
		if
		:: !any && counted != 0 ->
#ifdef SWAPPED
			if :: unit[0] -> count++ :: else fi;
			if :: unit[1] -> count++ :: else fi;
#endif
			atomic {
				if
				:: count == counted -> count = 0; was_reset = true
				:: else -> goto next
				fi }
#ifndef SWAPPED
#ifndef NOT_LOOKED_AGAIN
			if :: skip :: killed = true; goto over fi;
			if :: unit[0] -> count++ :: else fi;
			if :: skip :: killed = true; goto over fi;
			if :: unit[1] -> count++ :: else fi
#endif
#endif
		:: else
		fi;
next:
		atomic { counted = 0; any = false }
	od;
over:
	resetter_done = true
}

proctype Adopter() {
	byte seen, taken;
	if
	:: taken = 0
	:: taken = 1
	fi;
	if
	:: atomic { unit[taken] -> unit[taken] = false; adopted = true }
#ifdef TAKEN_OFF_BLINDLY
		count = (count + 255) % 256
#else
		seen = count;
		do
		:: seen == 0 -> break
		:: atomic { seen != 0 -> if :: count == seen -> count--; seen = 0 :: else -> seen = count fi }
		od
#endif
	:: true
	fi;
	atomic { seen = 0; taken = 0; adopter_done = true }
}

proctype Buffers() {
	do
	:: atomic { late[0] -> empty_buffer(0) }
	:: atomic { late[1] -> empty_buffer(1) }
	:: left[0] && left[1] && !late[0] && !late[1] -> break
	od
}

proctype Seeker() {
	bool found;
	atomic {
		left[0] && left[1] && !late[0] && !late[1] && resetter_done && adopter_done ->
#ifdef COUNT_BELIEVED
		found = count != 0 && (unit[0] || unit[1]);
#else
		found = unit[0] || unit[1];
#endif
		forbid(orphan_forgotten, !found && (unit[0] || unit[1]));
		forbid(count_too_low, !killed && !(was_reset && adopted) && count == 0 && (unit[0] || unit[1]));
		forbid(count_wraps, count > 6)
	}
}

init { atomic { run Leaver(0); run Leaver(1); run Resetter(); run Adopter(); run Buffers(); run Seeker() } }
