/* SPDX-License-Identifier: MIT
 *
 * Spans: runs of units taken, given back, lengthened and shortened in place by two owners, and swept after their death.
 *
 * Follows src/core/spans.c (take_all, span_publish, span_free, span_free_unit, span_free_tails, span_extend, span_shorten),
 * src/core/core.c (alloc_large, free_large, resize_in_place) and src/recovery/recovery.c (finish_freeing, disown_spans,
 * tail_is_covered, free_lost_tails, free_taken). A slab's units are taken and freed in the same way; units that are KEPT are
 * free to their heap, and left out.
 *
 * Each owner may be killed after any store it makes; the recoverer too, and it is followed by another that begins again, as often
 * as the search likes. A block may be freed or resized by either owner, whoever allocated it, also while a third party still
 * sweeps what its allocator left. An unfinished resize by a dead owner leaves the block to the program, which may go on with it
 * at once.
 *
 * An owner's plain stores leave its processor late, in their order (a store buffer), and must have done so before a CAS of its own.
 * The program has a block, or what a resize made of it, when the store that commits has arrived: before that its owner could only
 * wait, for each of the calls begins with a CAS or a fence. What one stores plainly in a row goes into its buffer in one step here,
 * as nobody sees it there; and a kill drops what has not arrived: it stands for one right behind the last store that has. (A real
 * one leaves the rest to arrive, which looks to the others like one that came later.)
 *
 *   unit[u]             the unit word {state, owner, head}: head is meaningful in a TAIL only
 *   length[u]           the span's length in the header of unit u; written before the word becomes LARGE, never cleared
 *   stores[o]           of owner o, on their way
 *   idle                ghost: the bit of each unit where a block begins that the program holds and no call is working on
 *   used[u]             ghost: unit u belongs to a block that the program holds
 *
 *   take n at h         CAS FREE -> TAKEN{me}, ascending; at the first that is not free, roll back descending
 *                       length[h] = n;   tails: TAIL{me, h};   head: LARGE{me}                          (this store commits)
 *   free                CAS LARGE -> FREEING{me} (this commits; again, if the allocator's name went from the word);   tails
 *                       FREE, descending; head FREE last
 *   lengthen            CAS FREE -> TAKEN{me} behind the block;   TAIL{me, h};   length[h] + 1          (this store commits)
 *   shorten             the last tail becomes TAIL{me, h}, whoever's it was;   length[h] - 1 (commits);   the tail FREE
 *   sweep of the dead   1. every FREEING{dead} head is completed: the tails within its length that name it, then the head
 *                       2. every LARGE{dead} loses its name
 *                       3. a TAIL{dead, h} is freed when h is no head (LARGE, FREEING), or when it lies outside the length of h
 *                       4. every TAKEN{dead} is freed
 *                       each by a CAS from the very word that was read
 *
 * Proven: no unit is given to two blocks; whoever frees or resizes a block finds it whole; and when all is quiet every unit is
 * either FREE or part of a whole block that the program holds. Blocks of a dead owner stay.
 *
 * Negative controls, each with the assertion it makes fail:
 *   HEAD_FIRST          free gives the head back before the tails                              unit_lost
 *   TAILS_BLINDLY       the sweep frees every TAIL{dead}, also those of whole blocks           block_not_whole
 *   LENGTH_LATE         the length is written after the word became LARGE                      block_not_whole
 *   LENGTH_IGNORED      the sweep asks only whether the head is one                            unit_lost
 *   HEADER_SHARED       the field of the length holds something else while a unit is
 *                       being taken (or is a slab): the sweep reads it in any state            unit_lost
 *   NAME_IS_NEEDED      a free fails where the word is not what it was, though only the name went  valid_program_accused
 *   NOT_RENAMED         shorten leaves the tail in the name of the block's allocator           unit_lost
 *   NOT_RELEASED        the head's store does not release: it overtakes the length and the tails   block_not_whole
 *
 * No two meet here who both store and then look at the other's word: who takes a unit, or a word from another, does it by CAS. So
 * the buffers need order alone. (A resize and a destroy do meet so, by hand, fence and life: destroy.pml shows it, with a free.)
 */

#ifndef OPS
#define OPS 2           /* calls of the first owner, and of the second */
#endif
#ifndef OPS_SECOND
#define OPS_SECOND 2
#endif
#ifndef UNITS
#define UNITS 3
#endif
#define OWNERS 2
#define NOBODY 2        /* in the word of a block whose allocator was recovered */
#define BIT(u) (1 << (u))

mtype = { FREE, TAKEN, TAIL, LARGE, FREEING };

typedef unit_word { mtype state; byte owner; byte head };
unit_word unit[UNITS];
byte length[UNITS];
mtype = { STORE_LENGTH, STORE_TAIL, STORE_LARGE, STORE_FREE, STORE_LONGER, STORE_SHORTER };
chan stores[OWNERS] = [UNITS + 1] of { mtype, byte, byte };    /* at which unit; the length, or the head */
byte idle;
bool used[UNITS];

bool owner_dead[OWNERS], owner_done[OWNERS];

/* The names of what must never happen. */
bool unit_given_twice, block_not_whole, unit_lost, valid_program_accused;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline owner_may_die() { if :: skip :: goto killed fi }
inline owner_may_die_in_resize() { if :: skip :: idle = idle | BIT(head); goto killed fi }
inline recoverer_may_die() { if :: skip :: goto again fi }

inline store(u, new_state, new_owner, new_head) {
	unit[u].state = new_state; unit[u].owner = new_owner; unit[u].head = new_head
}

/* What stands before a CAS. */
#define ALL_ARRIVED empty(stores[me])
inline all_arrive_or_it_dies() { if :: ALL_ARRIVED :: goto killed fi }
inline all_arrive_or_it_dies_in_resize() {
	if
	:: ALL_ARRIVED
	:: atomic { nempty(stores[me]) -> drop_stores(); idle = idle | BIT(head); goto killed }
	fi
}
inline drop_stores() { do :: stores[me] ? _, _, _ :: empty(stores[me]) -> break od }

/* The store of LARGE that arrives, as the longer length of a block does, gives the program units. */
inline use(head, from, to) {
	do
	:: from < to -> forbid(unit_given_twice, used[head + from]); used[head + from] = true; from++
	:: else -> break
	od;
	idle = idle | BIT(head)
}

/* Some block that the program holds and that no call is working on. */
inline pick_block() { head = 0; do :: idle & BIT(head) -> break :: idle >> (head + 1) -> head++ od }

/* The program's own view of the block at `head`, compared with the words. */
inline expect_whole() {
	i = 1;
	forbid(block_not_whole, unit[head].state != LARGE || !used[head]);
	do
	:: i < UNITS - head && used[head + i] && unit[head + i].state == TAIL && unit[head + i].head == head &&
	   i < length[head] -> i++
	:: else -> break
	od;
	forbid(block_not_whole, i != length[head]);
	i = 0
}

proctype Owner(byte me) {
	byte ops, head, n, i, seen;
	bool failed;

	ops = (me == 0 -> OPS : OPS_SECOND);
	do
	:: ops == 0 -> break

	:: ops > 0 ->                                                    /* take a span of n units at head */
		atomic {
			ops--;
			n = 1; do :: n < UNITS -> n++ :: break od;
			head = 0; do :: head < UNITS - n -> head++ :: break od
		}
		do
		:: i < n && !failed -> atomic {
			if
			:: unit[head + i].state == FREE -> store(head + i, TAKEN, me, 0); i++; owner_may_die()
			:: else -> failed = true
			fi }
		:: else -> break
		od;
		if
		:: failed ->
			atomic { do :: i > 0 -> i--; stores[me] ! STORE_FREE, head + i, 0 :: else -> break od }
		:: else ->
			atomic {
#ifdef HEADER_SHARED
				stores[me] ! STORE_LENGTH, head, UNITS + 1;
#endif
#ifndef LENGTH_LATE
				stores[me] ! STORE_LENGTH, head, n;
#endif
				i = 1;
				do
				:: i < n -> stores[me] ! STORE_TAIL, head + i, head; i++
				:: else -> break
				od;
#ifdef NOT_RELEASED
				store(head, LARGE, me, 0); i = 0; use(head, i, n)
#else
				stores[me] ! STORE_LARGE, head, n
#endif
#ifdef LENGTH_LATE
				; stores[me] ! STORE_LENGTH, head, n
#endif
			}
		fi;
		all_arrive_or_it_dies();
		atomic { head = 0; n = 0; i = 0; failed = false }

	:: atomic { ops > 0 && idle != 0 ->                               /* free */
		ops--;
		pick_block();
		idle = idle & ~BIT(head);
		seen = unit[head].owner }
		atomic {
			expect_whole();
#ifdef NAME_IS_NEEDED
			forbid(valid_program_accused, unit[head].owner != seen);
#else
			forbid(valid_program_accused, unit[head].owner != seen && unit[head].owner != NOBODY);
#endif
			seen = 0;
			n = length[head];
			store(head, FREEING, me, 0);
			i = 0;
			do :: i < n -> used[head + i] = false; i++ :: else -> break od;
			i = n - 1;
			owner_may_die()
		}
		atomic {
#ifdef HEAD_FIRST
			stores[me] ! STORE_FREE, head, 0;
#endif
			do :: i > 0 -> stores[me] ! STORE_FREE, head + i, 0; i-- :: else -> break od
#ifndef HEAD_FIRST
			; stores[me] ! STORE_FREE, head, 0
#endif
		}
		all_arrive_or_it_dies();
		atomic { head = 0; n = 0; i = 0 }

	:: atomic { ops > 0 && idle != 0 ->                               /* lengthen by one unit */
		ops--;
		pick_block();
		expect_whole();
		n = length[head];
		if
		:: head + n < UNITS && unit[head + n].state == FREE ->
			store(head + n, TAKEN, me, 0);
			idle = idle & ~BIT(head);
			owner_may_die_in_resize()
		:: else -> goto resized
		fi }
		atomic { stores[me] ! STORE_TAIL, head + n, head; stores[me] ! STORE_LONGER, head, n + 1 }
		all_arrive_or_it_dies_in_resize();
		goto resized

	:: atomic { ops > 0 && idle != 0 ->                               /* shorten by one unit */
		ops--;
		pick_block();
		expect_whole();
		n = length[head];
		if
		:: n > 1 -> idle = idle & ~BIT(head)
		:: else -> goto resized
		fi }
		atomic {
#ifndef NOT_RENAMED
			stores[me] ! STORE_TAIL, head + n - 1, head;
#endif
			stores[me] ! STORE_SHORTER, head, n - 1 }
		all_arrive_or_it_dies_in_resize();
		atomic {
			owner_may_die_in_resize();
			store(head + n - 1, FREE, 0, 0);
			idle = idle | BIT(head) }
resized:
		atomic { head = 0; n = 0; i = 0; owner_may_die() }
	od;
	atomic { owner_done[me] = true; goto end }
killed:
	atomic { drop_stores(); ops = 0; head = 0; n = 0; i = 0; failed = false; owner_dead[me] = true }
end:
	skip
}

proctype Buffer(byte me) {
	mtype what;
	byte at, value, i;
end:
	do
	:: atomic {
		stores[me] ? what, at, value ->
		if
		:: what == STORE_LENGTH -> length[at] = value
		:: what == STORE_TAIL -> store(at, TAIL, me, value)
		:: what == STORE_LARGE -> store(at, LARGE, me, 0); use(at, i, value)
		:: what == STORE_FREE -> store(at, FREE, 0, 0)
		:: what == STORE_LONGER -> length[at] = value; i = value - 1; use(at, i, value)
		:: what == STORE_SHORTER -> length[at] = value; used[at + value] = false
		fi;
		what = 0; at = 0; value = 0; i = 0 }
	od
}

inline complete_freeing() {
	u = 0;
	do
	:: u < UNITS && unit[u].state == FREEING && unit[u].owner == dead ->
		i = length[u] - 1;
		do
		:: i > 0 -> atomic {
			if
			:: unit[u + i].state == TAIL && unit[u + i].head == u -> store(u + i, FREE, 0, 0); recoverer_may_die()
			:: else
			fi;
			i-- }
		:: else -> break
		od;
		atomic { store(u, FREE, 0, 0); u++; recoverer_may_die() }
	:: u < UNITS && !(unit[u].state == FREEING && unit[u].owner == dead) -> u++
	:: u == UNITS -> break
	od
}

inline disown() {
	u = 0;
	do
	:: u < UNITS -> atomic {
		if
		:: unit[u].state == LARGE && unit[u].owner == dead -> unit[u].owner = NOBODY; recoverer_may_die()
		:: else
		fi;
		u++ }
	:: else -> break
	od
}

/* Three reads of words that others may change, then the CAS. No living process writes TAIL{dead, ..}, so a word that is still
 * the same at the CAS was the same all along. */
inline sweep_tails() {
	u = 0;
	do
	:: atomic { u < UNITS && unit[u].state == TAIL && unit[u].owner == dead -> head = unit[u].head }
#ifdef TAILS_BLINDLY
		remove = true;
#else
		remove = (unit[head].state != LARGE && unit[head].state != FREEING);
#ifdef HEADER_SHARED
		remove = (unit[head].state == TAKEN && unit[head].owner == dead);
#endif
#ifndef LENGTH_IGNORED
		remove = remove || u - head >= length[head];
#endif
#endif
		atomic {
			if
			:: remove && unit[u].state == TAIL && unit[u].owner == dead && unit[u].head == head ->
				store(u, FREE, 0, 0);
				recoverer_may_die()
			:: else
			fi;
			u++; head = 0; remove = false }
	:: u < UNITS && !(unit[u].state == TAIL && unit[u].owner == dead) -> u++
	:: u == UNITS -> break
	od
}

inline sweep_taken() {
	u = 0;
	do
	:: u < UNITS -> atomic {
		if
		:: unit[u].state == TAKEN && unit[u].owner == dead -> store(u, FREE, 0, 0); recoverer_may_die()
		:: else
		fi;
		u++ }
	:: else -> break
	od
}

proctype Recoverer() {
	byte dead, u, i, head;
	bool remove;

again:
	atomic { dead = 0; u = 0; i = 0; head = 0; remove = false }
	do
	:: owner_done[0] && owner_done[1] -> break
	:: owner_dead[0] -> dead = 0; goto sweep
	:: owner_dead[1] -> dead = 1; goto sweep
	od;
	goto quiet;

sweep:
	complete_freeing();
	disown();
	sweep_tails();
	sweep_taken();
	atomic { owner_dead[dead] = false; owner_done[dead] = true; goto again }

quiet:
	atomic {
		head = 0;
		do
		:: head < UNITS && (idle & BIT(head)) ->
			expect_whole();
			head++
		:: head < UNITS && !(idle & BIT(head)) ->
			forbid(unit_lost, !used[head] && unit[head].state != FREE);
			forbid(block_not_whole, used[head] && unit[head].state != TAIL);
			head++
		:: else -> break
		od
	}
}

init {
	atomic {
		byte u;
		do :: u < UNITS -> unit[u].state = FREE; u++ :: else -> break od;
		run Owner(0); run Owner(1); run Buffer(0); run Buffer(1); run Recoverer()
	}
}
