/* SPDX-License-Identifier: MIT
 *
 * A dead owner's number is used again: two recoverers meet at one dead process, and a living thread waits for the number.
 *
 * Follows src/recovery/recovery.c (recovery_of_dead, recover_process, recovery_of_owner), src/core/core.c (owner_claim) and
 * src/api/process.c (seize, let_go).
 *
 * The dead process had one owner, number 1, with a slab and a full hand. A recoverer may be killed after any store; its
 * kernel lock goes with it. The thread claims the record as soon as it is FREE, and makes the slab of the same unit its own.
 * A recoverer's stores leave its processor late, in their order (a store buffer), and must have done so before it unlocks, which is
 * the kernel's affair as its death is, and before the slab is an orphan for it (a fence). The thread takes record and slab by CAS;
 * its hand nobody reads here while it lives.
 *
 *   lock                the kernel's lock on the dead process: free (0), or held by recoverer 1 or 2
 *   process             the dead one's process record: LIVE until all it left was recovered
 *   record              owner record 1: FREE, or LIVE for process DEAD or NEW
 *   unit                SLAB of owner 1, or ORPHAN
 *   hand                owner 1's hand is full
 *   stores[r]           of recoverer r, on their way
 *   holder              ghost: whose the slab is in truth
 *
 *   recovery  lock, or leave;   process record still LIVE, read under the lock, or leave;   for an owner record of that
 *             process: the hand, the slab, fence, the record;   then the process record;   unlock
 *
 * Proven: a recoverer never touches a slab or a hand of the living; and when all is quiet nothing is left of the dead.
 *
 * Negative controls, each with the assertion it makes fail:
 *   NO_LOCK             recoverers do not lock                                          living_robbed
 *   LOOKED_BEFORE       the owner record is read before the lock, and not again         living_robbed
 *   RECORD_FIRST        the record is made FREE before what it names                    living_robbed
 *   PROCESS_FIRST       the process record is made FREE before its owners are recovered  dead_left_something
 *   UNLOCKED_EARLY      the unlocking does not wait for the stores before it: the next recoverer
 *                       finds the records as they were                              living_robbed
 *   NOT_RELEASED        the record's store does not release: it overtakes the hand's, which the
 *                       thread has filled when that arrives                         living_robbed
 *
 * The fence is that of slab_make_orphan, whose reader is in orphans.pml; without it nothing fails here, and NOT_RELEASED goes
 * without it.
 */

#define FREE 0
#define DEAD 1
#define NEW 2
mtype = { SLAB, ORPHAN };

byte lock;
bool process = true, hand = true;
byte record = DEAD;
mtype unit = SLAB;
byte holder = DEAD;
byte running = 3;
byte kills = 2;
mtype = { STORE_HAND, STORE_UNIT, STORE_RECORD, STORE_PROCESS };
chan stores[3] = [4] of { mtype };

/* The names of what must never happen. */
bool living_robbed, dead_left_something;
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

/* What stands before a fence, an unlocking, and a death. */
#define ALL_ARRIVED empty(stores[me])
#ifdef UNLOCKED_EARLY
#define UNLOCKABLE true
#else
#define UNLOCKABLE ALL_ARRIVED
#endif

inline may_die() {
	if
	:: skip
	:: kills > 0 -> kills--; goto killed
	fi
}
inline clear_hand_of_1() { atomic { stores[me] ! STORE_HAND; may_die() } }
inline orphan_slab_of_1() {
	seen = (unit == SLAB);
	if
	:: seen ->
		atomic { stores[me] ! STORE_UNIT; may_die() }
#ifndef NOT_RELEASED
		ALL_ARRIVED
#endif
	:: else
	fi
}
#ifdef NOT_RELEASED
inline free_record_1() { atomic { forbid(living_robbed, record == NEW); record = FREE; may_die() } }
#else
inline free_record_1() { atomic { stores[me] ! STORE_RECORD; may_die() } }
#endif

proctype Recoverer(byte me) {
	bool seen, its;

again:
	atomic { seen = false; its = false }
	if
	:: !process -> goto end
	:: process
	fi;
#ifdef LOOKED_BEFORE
	its = (record == DEAD);
#endif
#ifndef NO_LOCK
	atomic { lock == 0 -> lock = me }
#endif
	if
	:: !process -> goto unlock
	:: process
	fi;
#ifdef PROCESS_FIRST
	atomic { stores[me] ! STORE_PROCESS; may_die() }
#endif
#ifndef LOOKED_BEFORE
	its = (record == DEAD);
#endif
	if
	:: its ->
#ifdef RECORD_FIRST
		free_record_1();
#endif
		if
		:: hand -> clear_hand_of_1()
		:: else
		fi;
		orphan_slab_of_1();
#ifndef RECORD_FIRST
		free_record_1()
#endif
	:: else
	fi;
#ifndef PROCESS_FIRST
	atomic { stores[me] ! STORE_PROCESS; may_die() }
#endif
unlock:
	atomic { UNLOCKABLE -> lock = (lock == me -> 0 : lock); goto end }
killed:
	atomic { ALL_ARRIVED -> lock = (lock == me -> 0 : lock); goto again }
end:
	running--
}

proctype Buffer(byte me) {
	mtype store;
end:
	do
	:: atomic {
		stores[me] ? store ->
		if
		:: store == STORE_HAND -> forbid(living_robbed, record == NEW); hand = false
		:: store == STORE_UNIT -> forbid(living_robbed, holder == NEW); unit = ORPHAN; holder = FREE
		:: store == STORE_RECORD -> forbid(living_robbed, record == NEW); record = FREE
		:: store == STORE_PROCESS -> process = false
		fi;
		store = 0 }
	od
}

proctype Thread() {
	if
	:: atomic { record == FREE -> record = NEW }
		hand = true;
		if
		:: atomic { unit == ORPHAN -> unit = SLAB; holder = NEW }
		:: unit == SLAB
		fi;
		hand = false
	:: timeout
	fi;
	running--
}

proctype Judge() {
	atomic {
		running == 0 && empty(stores[1]) && empty(stores[2]) ->
		forbid(dead_left_something, process || record == DEAD || holder == DEAD)
	}
}

init { atomic { run Recoverer(1); run Recoverer(2); run Buffer(1); run Buffer(2); run Thread(); run Judge() } }
