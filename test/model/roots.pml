/* SPDX-License-Identifier: MIT
 *
 * A root that is set while its heap is destroyed by another process, and the heap's number becomes the next heap's.
 *
 * Follows src/api/root.c (change_root, new_root, is_over, find_root, lock_roots), src/core/core.c (heap_kill, drop_roots,
 * heap_sweep, free_record, claim_heap_from) and src/recovery/recovery.c (destroy_bound, recovery_of_owner).
 *
 * One entry of the table, and two heaps of one number after each other, each with a thread that sets a root of the same name. The
 * destroyer and the first heap's thread may be killed after any store; a killed recoverer is followed by another that begins
 * again, as often as the search likes. The stores of PENDING are late (a store buffer), until a fence or an atomic operation of
 * the setter, or the destroyer's barrier, which runs in every process.
 *
 *   record, life        of the heap: LIVE, PENDING while it is being destroyed, FREE; and the heap that it was last, 1 or 2
 *   root, changes       of the entry: FREE, PENDING, LIVE; and how often it has changed, modulo 4
 *   ref                 of the entry: whose block it is, 1 or 2
 *   lock                the thread that holds the section's lock; 0
 *
 *   set       lock;   the record is not this heap's?  refused;   LIVE: ref is stored, else PENDING;   fence;   the record again:
 *             no?  FREE, refused;   ref;   CAS PENDING -> LIVE, refused when the entry changed;   unlock
 *   destroy   record PENDING;   barrier;   the entry is not FREE?  CAS to FREE, until it is;   record FREE
 *   claim     record FREE -> LIVE, of the next heap
 *   recovery  of a setter: its lock is opened.   Of the destroyer: once more
 *
 * Proven: nobody finds a root of the first heap in the second; and what the second's thread has set is there.
 *
 * Negative controls, each with the assertion it makes fail:
 *   NOT_ASKED_AGAIN     the setter does not look at the record behind PENDING                  strangers_root_found
 *   TAKEN_BACK          it looks when it is LIVE, and takes it back                            strangers_root_found
 *   STORED_LIVE         LIVE is stored, whatever the entry has become                          strangers_root_found
 *   NOT_TRIED_AGAIN     the destroyer does not look again when its CAS fails                   strangers_root_found
 *   DROPPED_LAST        the record is FREE before the roots are dropped                        strangers_root_found
 *   NO_FENCE and NO_BARRIER, both: the setter looks at the record, and the destroyer at the entry, before PENDING has
 *                       reached others                                                         strangers_root_found
 *
 * PENDING, then the record?  and  the record PENDING, then the entry?  is what meets. The fence alone is enough, and so is the
 * barrier, which is searched as well: NO_FENCE, NO_BARRIER, each by itself (nothing fails). The barrier is there for the hands
 * (destroy.pml).
 */

mtype = { FREE, PENDING, LIVE };

mtype record = LIVE;
byte life = 1;
mtype root = FREE;
byte changes, ref, lock;
bool late;
bool set, dead[3], done[3];
#define DESTROYER 0     /* 1 and 2: the threads of the two heaps */
#define RECOVERER 3
#define IS_OVER (record != LIVE || life != me)

/* The names of what must never happen. */
bool strangers_root_found, root_lost;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }
inline empty_buffer() { if :: late -> root = PENDING; changes = (changes + 1) % 4; late = false :: else fi }
inline change(state) { root = state; changes = (changes + 1) % 4 }
/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline may_die() {
	if
	:: skip
	:: me < 2 -> empty_buffer(); dead[me] = true; goto killed
	:: me == RECOVERER -> goto killed       /* the next one begins again */
	fi
}

proctype Setter(byte me) {
	byte seen;

	me == 1 || (record == LIVE && life == 2);
	atomic { lock == 0 -> lock = me; may_die() }
	if
	:: IS_OVER -> goto over
	:: else
	fi;
	if
	:: root == LIVE -> atomic { ref = me; set = (me == 2); may_die() }
	:: root != LIVE ->
		atomic { late = true; seen = (changes + 1) % 4; may_die() }
#ifndef NO_FENCE
		atomic { empty_buffer() }
#endif
#ifndef TAKEN_BACK
#ifndef NOT_ASKED_AGAIN
		if
		:: IS_OVER -> atomic { empty_buffer(); change(FREE); goto over }
		:: else
		fi;
#endif
#endif
		atomic { ref = me; may_die() }
		atomic {
			empty_buffer();                 /* a CAS */
#ifdef STORED_LIVE
			root = LIVE; set = (me == 2);
#else
			if
			:: root == PENDING && changes == seen -> root = LIVE; set = (me == 2)
			:: else
			fi;
#endif
			may_die() }
#ifdef TAKEN_BACK
		if
		:: IS_OVER -> atomic { change(FREE) }
		:: else
		fi
#endif
	fi;
over:
	atomic { lock = 0; seen = 0; done[me] = true }
killed:
	skip
}

proctype Buffer() { do :: atomic { late -> empty_buffer() } :: done[1] && done[2] -> break od }

inline drop_roots() {
	do
	:: root == FREE -> break
	:: root != FREE ->
		atomic { state = root; count = changes }
		if
		:: state == FREE
		:: state != FREE ->
			atomic { if :: root == state && changes == count -> change(FREE); may_die() :: else fi }
		fi;
		atomic { state = FREE; count = 0 }
#ifdef NOT_TRIED_AGAIN
		break
#endif
	od
}
inline free_record() {
	atomic { if :: record == PENDING && life == 1 -> record = FREE; may_die() :: else fi }
}
inline destroy() {
#ifdef DROPPED_LAST
	free_record();
	drop_roots()
#else
	drop_roots();
	free_record()
#endif
}

proctype Destroyer() {
	byte me = DESTROYER;
	mtype state = FREE;
	byte count;

	atomic { record = PENDING; may_die() }
#ifndef NO_BARRIER
	atomic { empty_buffer(); may_die() }
#endif
	destroy();
	done[DESTROYER] = true;
killed:
	skip
}

proctype Claimer() { atomic { record == FREE -> record = LIVE; life = 2 } }

proctype Reader() {
	mtype state = FREE;
	byte count, found;
	record == LIVE && life == 2;
	atomic { state = root; count = changes }
	found = ref;
	forbid(strangers_root_found, state == LIVE && root == LIVE && changes == count && found == 1)
}

proctype Recoverer() {
	byte me = RECOVERER;
	mtype state = FREE;
	byte count;
killed:
	atomic { state = FREE; count = 0 }
	do
	:: dead[1] ->
		atomic { if :: lock == 1 -> lock = 0; may_die() :: else fi }
		atomic { dead[1] = false; done[1] = true }
	:: dead[DESTROYER] ->
#ifndef NO_BARRIER
		atomic { empty_buffer() }
#endif
		if
		:: record == PENDING -> destroy()
		:: else
		fi;
		atomic { dead[DESTROYER] = false; done[DESTROYER] = true }
	:: done[DESTROYER] && done[1] && done[2] -> break
	od;
	atomic {
		forbid(strangers_root_found, root == LIVE && ref == 1);
		forbid(root_lost, set && root != LIVE)
	}
}

init {
	atomic {
		if :: root = LIVE; ref = 1 :: skip fi;
		run Setter(1); run Setter(2); run Buffer(); run Destroyer(); run Claimer(); run Reader(); run Recoverer()
	}
}
