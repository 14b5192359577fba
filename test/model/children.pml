/* SPDX-License-Identifier: MIT
 *
 * A child of a shared heap, from its record to its name, beside one that destroys the parent and one that opens the child.
 *
 * Follows src/core/core.c (claim_heap_from, live_parent_of, heap_has_children, heap_kill, heap_kill_parts, heap_sweep,
 * heap_sweep_killed, free_record, drop_roots), src/api/heap.c (create_child, end_unnamed_child, destroy_child,
 * cairn_heap_destroy, child_of_ref), src/api/root.c (new_root) and src/recovery/recovery.c (destroy_bound, recover_process).
 *
 * Creator and destroyer, each a process, may be killed after any store; a killed recoverer is followed by another that begins
 * again, as often as the search likes. The creator's plain stores leave its processor late, in their order (a store buffer), and
 * must have done so before an atomic operation or a fence of its own, before a barrier of the destroyer's or a recoverer's, which
 * runs in every process, and before it is dead. Destroyer and recoverer change what they share with it by CAS alone: nothing of
 * theirs is late.
 *
 *   state[h], by[h]     the record of parent and child: FREE, PENDING, LIVE, and the process in whose name it is so
 *   generation          of the child's record; grows as it becomes FREE
 *   is_part, bound      what stands in the child's record: its parent; that it ends with its creator
 *   root, ref           the parent's root for the child's name, and the generation that it names
 *   stores              the creator's, on their way
 *   created             ghost: the creator's call has returned the child
 *
 *   create    record PENDING (CAS);   fields, bound;   LIVE;   the roots' lock (CAS);   root PENDING;   fence;   ref;   root
 *             LIVE (CAS);   parent alive?  else kill and free the child;   not bound (fetch_and)
 *   destroy   any child LIVE?  refuse;   parent PENDING;   barrier;   children that are LIVE: PENDING, again until there are
 *             none;   those first, then the parent: its roots, and FREE
 *   recovery  what is PENDING in the dead one's name, or LIVE, bound and made by it: PENDING in its name;   their children;   FREE
 *   open      root LIVE?  its ref;   the record is LIVE, and of that generation
 *
 * Proven: who opens a child finds a whole one; when all is quiet no record is PENDING, each child that is LIVE has its name and
 * its parent; and a child that was returned is there as long as its parent is.
 *
 * Negative controls, each with the assertion it makes fail:
 *   NOT_BOUND           a child is not bound to its creator before it has its name           part_outlives_whole
 *   UNBOUND_FIRST       it is no more bound before its root is stored                        part_outlives_whole
 *   LIVE_FIRST          its record is LIVE before its fields are stored                      heap_lost
 *   PARENT_NOT_ASKED    its creator does not ask in the end whether the parent is alive      part_outlives_whole
 *   KILLED_BY_NOBODY    a heap is killed in nobody's name                                    heap_lost
 *   ENDS_ALL            recovery ends all that the dead one made, bound or not               child_gone
 *   NO_BARRIER and ROOT_IS_PLAIN, both: nobody empties the creator's buffer between its store of LIVE and its look
 *                       at the parent                                                        part_outlives_whole
 *
 * Child LIVE, then parent?  and  parent PENDING, then child?  is what meets. Two things are in between, and each alone is enough,
 * which is searched as well:
 *   NO_BARRIER          no barrier: the creator's own lock, fence and CAS, which the root is stored by, do it     (nothing fails)
 *   ROOT_IS_PLAIN       the root is stored plainly, and without its lock: the barrier does it                     (nothing fails)
 * Both stay in the code for what they are there for: the barrier for the hands (destroy.pml), the lock and the CAS for the table of
 * roots, the fence for the root itself (roots.pml).
 */

#define PARENT 0
#define CHILD 1
#define CREATOR 1
#define DESTROYER 2
mtype = { FREE, PENDING, LIVE };

mtype state[2] = FREE;
byte by[2];
byte generation = 1;
bool is_part, bound;
mtype root = FREE;
byte ref;
mtype = { STORE_PART, STORE_BOUND, STORE_LIVE, STORE_ROOT_PENDING, STORE_REF, STORE_ROOT_LIVE };
chan stores = [6] of { mtype };
bool created, dead[3], done[3];

/* The names of what must never happen. */
bool half_a_heap_opened, heap_lost, part_outlives_whole, child_gone;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline may_die() {
	if
	:: skip
	:: me != 0 -> goto killed
	:: me == 0 -> goto again                /* a recoverer: the next one begins again */
	fi
}

/* What stands before an atomic operation, a fence, or the news of a death. */
#define ALL_ARRIVED empty(stores)
#ifdef NO_BARRIER
#define BARRIER true
#else
#define BARRIER ALL_ARRIVED
#endif
#ifdef ROOT_IS_PLAIN
#define ROOTS_FENCE true
#else
#define ROOTS_FENCE ALL_ARRIVED
#endif

#ifdef KILLED_BY_NOBODY
#define NAME(process) 0
#else
#define NAME(process) process
#endif

/* CAS from the very record that was read. */
inline kill_heap(h, process) {
	atomic {
		if
		:: state[h] == LIVE || (state[h] == PENDING && by[h] == process) -> state[h] = PENDING; by[h] = NAME(process)
		:: else
		fi;
		may_die() }
}
inline kill_parts(process) {
	BARRIER;
	found = (state[CHILD] == LIVE && is_part);
	found = found && state[PARENT] == PENDING && by[PARENT] == process;
	if
	:: found -> kill_heap(CHILD, process)
	:: else
	fi
}
inline free_heap(h, process) {
	if
	:: state[h] == PENDING && by[h] == process ->
		atomic {
			if
			:: h == PARENT -> root = FREE; may_die()
			:: else
			fi }
		atomic {
			if
			:: state[h] == PENDING ->
				state[h] = FREE;
				by[h] = 0;
				if :: h == CHILD -> generation++ :: else fi;
				may_die()
			:: else
			fi }
	:: else
	fi
}

proctype Creator() {
	byte me = CREATOR;

again:
	if
	:: state[PARENT] != LIVE -> goto over
	:: else
	fi;
	atomic { state[CHILD] = PENDING; by[CHILD] = me; may_die() }
#ifdef LIVE_FIRST
	atomic { stores ! STORE_LIVE; may_die() }
#endif
#ifndef NOT_BOUND
	atomic { stores ! STORE_BOUND; may_die() }
#endif
	atomic { stores ! STORE_PART; may_die() }
#ifndef LIVE_FIRST
	atomic { stores ! STORE_LIVE; may_die() }
#endif
#ifdef UNBOUND_FIRST
	atomic { ALL_ARRIVED -> bound = false; may_die() }
#endif
	ROOTS_FENCE;
	atomic { stores ! STORE_ROOT_PENDING; may_die() }
	ROOTS_FENCE;
	atomic { stores ! STORE_REF; may_die() }
	atomic { stores ! STORE_ROOT_LIVE; may_die() }
	ROOTS_FENCE;
#ifndef PARENT_NOT_ASKED
	if
	:: state[PARENT] != LIVE ->
		ALL_ARRIVED;
		kill_heap(CHILD, me);
		free_heap(CHILD, me);
		goto over
	:: else
	fi;
#endif
	atomic { ALL_ARRIVED -> bound = false; may_die() }
	atomic { created = true; may_die() }
over:
	atomic { done[me] = true; goto end }
killed:
	atomic { ALL_ARRIVED -> dead[me] = true }
end:
	skip
}

proctype Buffer() {
	mtype store;
end:
	do
	:: atomic {
		stores ? store ->
		if
		:: store == STORE_BOUND -> bound = true
		:: store == STORE_PART -> is_part = true
		:: store == STORE_LIVE -> state[CHILD] = LIVE
		:: store == STORE_ROOT_PENDING -> root = PENDING
		:: store == STORE_REF -> ref = 1
		:: store == STORE_ROOT_LIVE -> root = LIVE
		fi;
		store = 0 }
	od
}

proctype Destroyer() {
	byte me = DESTROYER;
	bool found;

again:
	if
	:: state[CHILD] == LIVE && is_part -> goto over
	:: else
	fi;
	kill_heap(PARENT, me);
	do
	:: kill_parts(me);
		if :: found :: else -> break fi
	od;
	free_heap(CHILD, me);
	free_heap(PARENT, me);
over:
	atomic { done[me] = true; goto end }
killed:
	dead[me] = true;
end:
	skip
}

proctype Opener() {
	byte named;
	if
	:: root == LIVE ->
		named = ref;
		atomic { forbid(half_a_heap_opened, state[CHILD] == LIVE && generation == named && !is_part) }
	:: true
	fi
}

#ifdef ENDS_ALL
#define IS_BOUND true
#else
#define IS_BOUND bound
#endif

inline recover(p) {
	if
	:: state[PARENT] == PENDING && by[PARENT] == p -> kill_heap(PARENT, p)
	:: else
	fi;
	if
	:: state[CHILD] == PENDING && by[CHILD] == p -> kill_heap(CHILD, p)
	:: p == CREATOR && state[CHILD] == LIVE && IS_BOUND -> kill_heap(CHILD, p)
	:: else
	fi;
	do
	:: kill_parts(p);
		if :: found :: else -> break fi
	od;
	free_heap(CHILD, p);
	free_heap(PARENT, p);
	atomic { found = false; dead[p] = false; done[p] = true }
}

proctype Recoverer() {
	byte me;
	bool found;
again:
	found = false;
	do
	:: dead[CREATOR] -> recover(CREATOR)
	:: dead[DESTROYER] -> recover(DESTROYER)
	:: done[CREATOR] && done[DESTROYER] -> break
	od;
killed:
	atomic {
		forbid(heap_lost, state[PARENT] == PENDING || state[CHILD] == PENDING);
		forbid(heap_lost, state[CHILD] == LIVE && !(root == LIVE && ref == generation));
		forbid(part_outlives_whole, state[CHILD] == LIVE && state[PARENT] != LIVE);
		forbid(child_gone, created && state[PARENT] == LIVE && state[CHILD] != LIVE)
	}
}

init {
	atomic {
		state[PARENT] = LIVE;
		run Creator(); run Buffer(); run Destroyer(); run Opener(); run Recoverer()
	}
}
