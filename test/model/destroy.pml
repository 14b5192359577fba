/* SPDX-License-Identifier: MIT
 *
 * Destroy of a heap in a shared section, beside a thread that frees a block of it and may be killed with its hand full.
 *
 * Follows src/api/heap.c (destroy_child), src/core/core.c (core_free, core_free_other, free_elsewhere, heap_kill, heap_sweep,
 * is_dead, sweep_span, owner_sweep, is_in_a_hand) and src/recovery/recovery.c (find_block, is_life_of, finish_hand for
 * HAND_FREE).
 *
 * The heap has one slab in one unit, with one block that the program holds. A destroyer ends the heap; the unit goes back and
 * becomes a slab of a stranger's heap, in which a block is allocated at the same place. The freer's stores leave its processor
 * late (a store buffer, which a kill or any fetch_or empties too). Freer, destroyer and recoverer may be killed after any store;
 * a killed destroyer is followed by one that goes on, a killed recoverer by one that begins again, as often as the search likes.
 *
 *   life[heap]          the heap's life: 0 as created, 1 once it is destroyed
 *   fenced              the heap's record says that the life was changed and a barrier has run in every process since
 *   unit                whose slab it is: HEAP, NOBODY, STRANGER
 *   by_owner            the slab belongs to a living owner, who gives it up on its next slow path; otherwise the destroyer does
 *   hand                0, or 1 when it names the block; with it hand_heap and hand_life, stored before: whose block was meant
 *   buffered            the freer has stored its hand, but nobody else can see it yet
 *   held[heap]          ghost: the program holds the block at this place as a block of that heap
 *
 *   free                hand = {block, heap, life};   compare life;   fetch_or;   crime check;   hand = 0
 *   destroy             life changes;   barrier in every process;   fenced;   the unit goes back unless a hand names it
 *   owner, slow path    sees `fenced`;   the unit goes back unless a hand names it
 *   recovery of a hand  the unit's word names the hand's heap and its life, and the heap has that life still: finish the free;
 *                       then hand = 0
 *
 * Proven: no free meant for the heap lands in the stranger's slab, whoever was killed when; nobody looks at the slab's words once
 * the unit is the stranger's; and the unit always goes back in the end, whatever the dead had in hand.
 *
 * Negative controls, each with the assertion it makes fail:
 *   RECOVERY_FORGETS_LIFE   the recovery of a hand looks neither at the life nor the word  strangers_unit_touched
 *   HANDS_IGNORED           the unit goes back although a hand names it                    strangers_unit_touched
 *   LIFE_BEFORE_HAND        the freer compares the life before it fills its hand           strangers_unit_touched
 *   NO_BARRIER              destroy issues no barrier                                      strangers_unit_touched
 *   OWNER_TRUSTS_LIFE       the living owner acts on the changed life, before the barrier  strangers_unit_touched
 *   DEAD_NOT_RECOVERED      nobody recovers the dead freer, and the unit stays named       unit_never_goes_back
 *   WORD_ALONE              the recovery of a hand compares the unit's word alone: a freer that was held up as the
 *                           life changed is killed before it compares it; the recoverer finds the unit still the heap's; a
 *                           destroyer that had looked at the hands before gives the unit back   strangers_unit_touched
 */

#define HEAP 0
#define STRANGER 1
#define NOBODY 2

byte life[2];
byte unit = HEAP;
bool fenced, by_owner;
bool elsewhere;
bool held[2];
bool hand, hand_heap, hand_life, buffered, next_heap, next_life;

bool freer_dead, freer_done, unit_went_back;

/* The names of what must never happen. */
bool strangers_unit_touched, block_freed_twice, unit_never_goes_back, block_lost;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline freer_may_die() { if :: skip :: true -> empty_buffer(); freer_dead = true; goto killed fi }
inline destroyer_may_die() { if :: skip :: goto again fi }
inline recoverer_may_die() { if :: skip :: goto again fi }

inline empty_buffer() {
	if
	:: buffered -> hand_heap = next_heap; hand_life = next_life; hand = true; buffered = false; next_heap = 0; next_life = 0
	:: else
	fi
}
inline touch(heap) { forbid(strangers_unit_touched, unit != heap) }

inline commit_free(heap) {
	touch(heap);
	forbid(block_freed_twice, !held[heap]);
	elsewhere = true;
	held[heap] = false
}

#ifdef HANDS_IGNORED
#define UNIT_IS_NAMED false
#else
#define UNIT_IS_NAMED hand
#endif

/* One freer: a block of the heap, then (as a valid program may) the stranger's block, once it has been told of it. */
proctype Freer() {
	bool heap, known_life;

	do
	:: heap == STRANGER && unit != STRANGER -> break                   /* it never hears of the stranger */
	:: heap == HEAP || unit == STRANGER ->
#ifdef LIFE_BEFORE_HAND
		if
		:: life[heap] != known_life -> goto stale
		:: else
		fi;
#endif
		atomic { next_heap = heap; next_life = known_life; buffered = true; freer_may_die() }
#ifndef LIFE_BEFORE_HAND
		if
		:: life[heap] != known_life -> goto stale
		:: else
		fi;
#endif
		atomic { empty_buffer(); commit_free(heap); freer_may_die() }
		touch(heap);                                               /* the crime check reads the slab's words */
stale:
		atomic { empty_buffer(); hand = false; freer_may_die() }
		if
		:: heap == HEAP -> heap = STRANGER
		:: heap == STRANGER -> break
		fi
	od;
	freer_done = true;
killed:
	skip
}

/* Stores leave the buffer by themselves, sooner or later. */
proctype Buffer() {
	do
	:: atomic { buffered -> empty_buffer() }
	:: freer_done -> break
	od
}

/* The unit goes back, and the stranger formats it and allocates the block at the same place. */
inline give_back() {
	atomic { held[HEAP] = false; elsewhere = false; unit = NOBODY }
	atomic { unit = STRANGER; held[STRANGER] = true; unit_went_back = true }
}

proctype Destroyer() {
again:
	atomic { life[HEAP] = 1; destroyer_may_die() }
#ifndef NO_BARRIER
	atomic { empty_buffer() }
#endif
	atomic { fenced = true; destroyer_may_die() }
	if
	:: by_owner
	:: !by_owner && !UNIT_IS_NAMED -> give_back()
#ifdef DEAD_NOT_RECOVERED
	:: !by_owner && UNIT_IS_NAMED && freer_done
#endif
	fi
}

proctype Owner() {
	if
	:: !by_owner
#ifdef OWNER_TRUSTS_LIFE
	:: by_owner && life[HEAP] != 0 && !UNIT_IS_NAMED -> give_back()
#else
	:: by_owner && fenced && !UNIT_IS_NAMED -> give_back()
#endif
#ifdef DEAD_NOT_RECOVERED
	:: by_owner && fenced && UNIT_IS_NAMED && freer_done
#endif
	fi
}

proctype Recoverer() {
	bool valid;

again:
	valid = false;
	do
	:: freer_dead ->
#ifdef DEAD_NOT_RECOVERED
		atomic { freer_dead = false; freer_done = true };
		goto again;
#endif
		if
		:: hand ->
#ifdef RECOVERY_FORGETS_LIFE
			valid = true;
#else
			valid = (unit == hand_heap);
#ifndef WORD_ALONE
			valid = valid && life[hand_heap] == hand_life;
#endif
#endif
			valid = valid && !elsewhere;
			if
			:: valid -> atomic { commit_free(hand_heap); valid = false; recoverer_may_die() }
			:: else
			fi;
			atomic { hand = false; recoverer_may_die() }
		:: else
		fi;
		atomic { freer_dead = false; freer_done = true }
	:: freer_done -> break
	od
}

proctype Judge() {
	atomic {
		_nr_pr == 2 ->                                             /* all others have ended */
		forbid(unit_never_goes_back, !unit_went_back);
		forbid(block_lost, !held[STRANGER] && !elsewhere)
	}
}

init {
	atomic {
		if :: by_owner = true :: by_owner = false fi;
		held[HEAP] = true;
		run Judge(); run Freer(); run Buffer(); run Destroyer(); run Owner(); run Recoverer()
	}
}
