/* SPDX-License-Identifier: MIT
 *
 * How many orphans a heap has: a count by which those who need a slab know whether to look, and which a kill can leave too high.
 *
 * Follows src/core/slab.c (slab_make_orphan) and src/core/core.c (adopt, reset_orphans).
 *
 * Two owners leave, and each makes its slab an orphan; one that found none in a whole turn sets the count right. Plain stores
 * reach the others late (a buffer for each unit word), until a fence or an atomic operation empties the buffer. A killed leaver has
 * counted its orphan before, and whoever recovers it counts it again.
 *
 *   unit[i]             the word of slab i is ORPHAN;   late[i]: the store is on its way
 *   count               of orphans; 255 stands for 2^32 - 1
 *
 *   leave     count + 1;   ORPHAN;   fence;   count still 0?  count + 1
 *   reset     counted = count;   no ORPHAN seen anywhere;   CAS count from counted to 0;   fence;   each ORPHAN now seen: count + 1
 *   adopt     one CAS of the unit word;   count - 1
 *
 * Proven: when all is quiet, and there is an orphan, the count is not 0, as long as nobody adopts beside a reset.
 *
 * Negative controls, each with the assertion it makes fail:
 *   NO_FENCE            the leaver asks for the count before its store has reached others     orphan_forgotten
 *   NOT_ASKED_AGAIN     the leaver does not ask for the count after its store                 orphan_forgotten
 *   NOT_LOOKED_AGAIN    the reset does not look again after its CAS                           orphan_forgotten
 *   SWAPPED             the reset looks again before its CAS                                  orphan_forgotten
 *
 * Two things the count does not survive, searched to show them. It is a hint; but an orphan that it forgets waits until another
 * comes and is counted:
 *   ADOPTED_BESIDE      an adopter has its slab before the reset looks again, and takes 1 off what the reset has counted
 *                                                                                             orphan_forgotten
 *   KILLED_IN_RESET     the reset is killed between its CAS and its second look               orphan_forgotten
 */

#define SLABS 2
bool unit[SLABS], late[SLABS], left[SLABS];
byte count;
bool resetter_done, adopter_done;

/* The name of what must never happen. */
bool orphan_forgotten;
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }
inline empty_buffer(i) { if :: late[i] -> unit[i] = true; late[i] = false :: else fi }

proctype Leaver(byte me) {
	bool none, killed;
again:
	count++;
	if
	:: skip
	:: !killed -> killed = true; goto again
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
	atomic { none = false; killed = false }
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
			atomic { if :: count == counted -> count = 0 :: else -> goto next fi }
#ifdef KILLED_IN_RESET
			if :: goto end :: skip fi;
#endif
#ifndef SWAPPED
#ifndef NOT_LOOKED_AGAIN
			if :: unit[0] -> count++ :: else fi;
			if :: unit[1] -> count++ :: else fi
#endif
#endif
		:: else
		fi;
next:
		atomic { counted = 0; any = false }
	od;
end:
	resetter_done = true
}

proctype Adopter() {
#ifdef ADOPTED_BESIDE
	if
	:: atomic { unit[0] -> unit[0] = false }
		atomic { count = (count + 255) % 256 }
	:: true
	fi;
#endif
	adopter_done = true
}

proctype Buffers() {
	do
	:: atomic { late[0] -> empty_buffer(0) }
	:: atomic { late[1] -> empty_buffer(1) }
	:: left[0] && left[1] && !late[0] && !late[1] -> break
	od
}

proctype Judge() {
	atomic {
		left[0] && left[1] && !late[0] && !late[1] && resetter_done && adopter_done ->
		forbid(orphan_forgotten, count == 0 && (unit[0] || unit[1]))
	}
}

init { atomic { run Leaver(0); run Leaver(1); run Resetter(); run Adopter(); run Buffers(); run Judge() } }
