/* SPDX-License-Identifier: MIT
 *
 * A child of a shared heap, from its record to its name, beside one that destroys the parent and one that opens the child.
 *
 * Follows src/core/core.c (claim_heap_from, live_parent_of, heap_has_children, heap_kill, heap_kill_parts, heap_sweep,
 * heap_sweep_killed, free_record, drop_roots), src/api/heap.c (create_child, end_unnamed_child, destroy_child,
 * cairn_heap_destroy, child_of_ref), src/api/root.c (new_root) and src/recovery/recovery.c (destroy_bound, recover_process).
 *
 * Creator and destroyer, each a process, may be killed after any store; a killed recoverer is followed by another that begins
 * again, as often as the search likes.
 *
 *   state[h], by[h]     the record of parent and child: FREE, PENDING, LIVE, and the process in whose name it is so
 *   generation          of the child's record; grows as it becomes FREE
 *   is_part, bound      what stands in the child's record: its parent; that it ends with its creator
 *   root, ref           the parent's root for the child's name, and the generation that it names
 *   created             ghost: the creator's call has returned the child
 *
 *   create    record PENDING;   fields, bound;   LIVE;   root PENDING, ref, LIVE;   parent alive?  else kill and free the
 *             child;   not bound
 *   destroy   any child LIVE?  refuse;   parent PENDING;   children that are LIVE: PENDING, again until there are none;   those
 *             first, then the parent: its roots, and FREE
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
bool created, dead[3], done[3];

/* The names of what must never happen. */
bool half_a_heap_opened, heap_lost, part_outlives_whole, child_gone;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline may_die() {
	if
	:: skip
	:: me != 0 -> dead[me] = true; goto killed
	:: me == 0 -> goto again                /* a recoverer: the next one begins again */
	fi
}

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
	atomic { state[CHILD] = LIVE; may_die() }
#endif
#ifndef NOT_BOUND
	atomic { bound = true; may_die() }
#endif
	atomic { is_part = true; may_die() }
#ifndef LIVE_FIRST
	atomic { state[CHILD] = LIVE; may_die() }
#endif
#ifdef UNBOUND_FIRST
	atomic { bound = false; may_die() }
#endif
	atomic { root = PENDING; may_die() }
	atomic { ref = 1; may_die() }
	atomic { root = LIVE; may_die() }
#ifndef PARENT_NOT_ASKED
	if
	:: state[PARENT] != LIVE ->
		kill_heap(CHILD, me);
		free_heap(CHILD, me);
		goto over
	:: else
	fi;
#endif
	atomic { bound = false; may_die() }
	atomic { created = true; may_die() }
over:
	done[me] = true;
killed:
	skip
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
	done[me] = true;
killed:
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
		run Creator(); run Destroyer(); run Opener(); run Recoverer()
	}
}
