/* SPDX-License-Identifier: MIT
 *
 * A slab of two words in one unit: the owner leaves or dies, a second owner adopts, the whole slab is given back, and a stranger
 * uses the unit, while a thread elsewhere frees. Every one of them may be killed after any store it makes, and a killed recoverer
 * is followed by another, as often as the search likes. Plain stores reach the others late: the freer's of its hand, and an owner's
 * of its words `live`. An atomic operation that releases empties the buffer of the one that does it, and who is dead has an empty
 * one; what is passed to the freer by mail is passed by such an operation. All else is changed by one, but for ORPHAN and a hand
 * that a recoverer clears, which are the last that they store.
 *
 * Follows src/core/core.c (notice_slab, release_empty, orphan_slab, adopt, is_in_a_hand, release_slab, core_find,
 * free_elsewhere, core_free, core_free_other), src/core/slab.c (slab_drain, slab_taken, slab_normalise, slab_make_orphan) and
 * src/recovery/recovery.c (finish_hand for HAND_FREE, disown_spans). How the units of the span become FREE is in spans.pml:
 * here they are the stranger's from the CAS on.
 *   live[w], elsewhere[w]  the two arrays; word w has the one block w here
 *   seen_live[w]           live as the others see it: another than live while the store is on its way
 *   claim                  the owner's own: a word that it hands out from, plus one (its block is free), or 0
 *   hand                   the block the freer is about to free, plus one; 0 when the hand is empty
 *   late_hand              the hand that is on its way, if one is (hand_is_late)
 *   mail                   a block on its way from an owner to the freer, plus one (the program's affair)
 *   unit                   the unit word: ORPHAN, 1 or 2 (the slab's owner), or STRANGER once the unit was given back
 *   out                    ghost: the blocks that the program holds
 *
 * An owner allocates, frees, gives blocks away, claims, leaves in order, or (having drained both words, or not, as after a
 * local free) gives the unit back, when no bit is live and no hand names a block of the slab. It reads the bits first, then the
 * hands. The freer looks the block up, names it, sets its bit with fetch_or, reads live to see whether the block was free
 * already, clears its hand, and does not touch the slab after that.
 *
 * Proven: no block is handed out while the program holds it; no free is carried out twice; no check accuses this program, which
 * is a valid one; neither the freer nor the recovery of its hand touches a unit that was given back, nor does an owner; no unit
 * with a held block is given back; and when all is quiet every block is live exactly when it is held.
 *
 * Negative controls, each with the assertion it makes fail:
 *   HAND_EARLY               the freer clears its hand, then looks at the slab         strangers_unit_touched
 *   ELSEWHERE_IS_FREE        a unit is given back when each block is free or stands in
 *                            elsewhere, drained or not, hands or not                   strangers_unit_touched
 *   CLAIM_KEPT               a unit is given back, and its owner goes on with its claim  strangers_unit_touched
 *   ORPHAN_FIRST             recovery stores ORPHAN before it brings the bits in order   block_lost
 *   HAND_IN_BUFFER           the freer's fetch_or does not release: its bit is seen
 *                            before its hand                                           strangers_unit_touched
 */

#ifdef HAND_IN_BUFFER
#define UNCHECKED       /* else the free is accused before it comes to that */
#endif

#ifndef OPS
#define OPS 4           /* what each owner does before it leaves */
#endif
#define WORDS 2
#define BIT(block) (1 << (block))
#define ORPHAN 0
#define STRANGER 3

bool live[WORDS], seen_live[WORDS];
bool elsewhere[WORDS];
byte claim;
byte hand, late_hand;
bool hand_is_late;
byte mail;
byte unit = 1;
byte out;

bool owner_dead[3], owner_done[3];
bool freer_dead, freer_done;

/* The names of what must never happen. */
bool block_handed_out_twice, block_freed_twice, valid_program_accused, strangers_unit_touched;
bool held_block_given_back, block_lost, block_live_and_free;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }
#define TOUCH forbid(strangers_unit_touched, unit == STRANGER)

inline empty_owners() { seen_live[0] = live[0]; seen_live[1] = live[1] }
inline empty_freers() { hand = (hand_is_late -> late_hand : hand); hand_is_late = false; late_hand = 0 }
#define LIVE_IS_LATE (live[0] != seen_live[0] || live[1] != seen_live[1])
inline store_hand(value) { late_hand = value; hand_is_late = true }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline owner_may_die() { if :: skip :: claim = 0; goto killed fi }
inline freer_may_die() { if :: skip :: goto killed fi }
inline recoverer_may_die() { if :: skip :: goto again fi }

inline any_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: bits >> (ret_block + 1) -> ret_block++ od }

inline drain(word) {
	gathered = elsewhere[word];
	gathered = gathered && hand != word + 1;
	gathered = gathered && elsewhere[word];
	if
	:: gathered ->
		atomic { live[word] = false; owner_may_die() }
		atomic { empty_owners(); elsewhere[word] = false; gathered = false; owner_may_die() }
	:: else
	fi
}
#define NORMALISED(word) (elsewhere[word] && live[word])

#ifdef ELSEWHERE_IS_FREE
#define TAKEN(word) (live[word] && !elsewhere[word])
#define NAMED false
#else
#define TAKEN(word) live[word]
#define NAMED (hand != 0)
#endif

proctype Owner(byte me) {
	byte ops, block, held;                     /* held: what this owner allocated and has neither freed nor given away */
	bool gathered;

	if
	:: unit == me
	:: atomic { unit == ORPHAN && owner_done[1] -> unit = me; owner_may_die() }     /* adoption: one CAS */
		atomic { empty_owners(); elsewhere[0] = NORMALISED(0); owner_may_die() }
		atomic { elsewhere[1] = NORMALISED(1); owner_may_die() }
		drain(0);
		drain(1)
	:: unit == STRANGER -> goto done
	fi;
	do
	:: ops == OPS -> break

	:: atomic { ops < OPS && claim == 0 ->                                          /* claim, or drain */
		ops++;
		if
		:: !live[0] && !elsewhere[0] -> claim = 1; goto refilled
		:: !live[1] && !elsewhere[1] -> claim = 2; goto refilled
		:: else
		fi }
		drain(0);
		drain(1);
refilled:
		skip

	:: atomic { ops < OPS && claim != 0 ->                                          /* alloc: one store */
		ops++;
		TOUCH;
		block = claim - 1;
		claim = 0;
		forbid(block_handed_out_twice, out & BIT(block));
		live[block] = true;
		out = out | BIT(block);
		held = held | BIT(block);
		block = 0;
		owner_may_die() }

	:: atomic { ops < OPS && held != 0 ->                                           /* local free: one store */
		ops++;
		TOUCH;
		any_of(held, block);
		live[block] = false;
		out = out & ~BIT(block);
		held = held & ~BIT(block);
		block = 0;
		owner_may_die() }

	:: atomic { ops < OPS && mail == 0 && !freer_done && held != 0 ->
		ops++;
		any_of(held, block);
		held = held & ~BIT(block);
		empty_owners();
		mail = block + 1;
		block = 0 }

	:: ops < OPS && unit == me ->                                                   /* give the unit back */
		ops++;
		if
		:: drain(0); drain(1)
		:: skip
		fi;
		if
		:: !TAKEN(0) && !TAKEN(1) ->
			if
			:: !NAMED -> atomic {
				forbid(held_block_given_back, out);
				live[0] = false; live[1] = false; elsewhere[0] = false; elsewhere[1] = false;
				empty_owners();
				unit = STRANGER;
#ifdef CLAIM_KEPT
				if :: claim != 0 -> TOUCH :: else fi;
#endif
				claim = 0;
				goto done }
			:: else
			fi
		:: else
		fi

	:: true -> break
	od;
	/* It leaves in order. */
	claim = 0;
	drain(0);
	drain(1);
	atomic { empty_owners(); elsewhere[0] = NORMALISED(0); owner_may_die() }
	atomic { elsewhere[1] = NORMALISED(1); owner_may_die() }
	atomic { unit = ORPHAN; held = 0 }
done:
	atomic { ops = 0; block = 0; held = 0; gathered = false; owner_done[me] = true; goto end }
killed:
	atomic { !LIVE_IS_LATE -> ops = 0; block = 0; held = 0; gathered = false; owner_dead[me] = true }
end:
	skip
}

inline commit_free(block) {
	forbid(block_freed_twice, !(out & BIT(block)));
	elsewhere[block] = true;
	out = out & ~BIT(block)
}

proctype Freer() {
	byte block, frees;

	do
	:: frees == 2 -> break
	:: owner_done[1] && owner_done[2] && mail == 0 -> break
	:: atomic { frees < 2 && mail != 0 -> block = mail - 1; mail = 0; frees++; freer_may_die() }
		atomic { TOUCH; forbid(valid_program_accused, elsewhere[block]) }
		atomic { TOUCH; forbid(valid_program_accused, !seen_live[block]) }
		atomic { store_hand(block + 1); freer_may_die() }
		atomic {
			TOUCH;
#ifndef HAND_IN_BUFFER
			empty_freers();
#endif
			commit_free(block);
			freer_may_die() }
#ifdef HAND_EARLY
		atomic { store_hand(0); freer_may_die() }
		atomic { TOUCH; block = 0 }
#else
#ifdef UNCHECKED
		TOUCH;
#else
		atomic { TOUCH; forbid(valid_program_accused, !seen_live[block]) }
#endif
		atomic { empty_freers(); store_hand(0); block = 0; freer_may_die() }
#endif
	od;
	atomic { empty_freers(); freer_done = true; goto end }
killed:
	atomic { !hand_is_late -> block = 0; frees = 0; freer_dead = true }
end:
	skip
}

/* Stores leave the buffers by themselves, sooner or later. */
proctype Buffers() {
end:
	do
	:: live[0] != seen_live[0] -> seen_live[0] = live[0]
	:: live[1] != seen_live[1] -> seen_live[1] = live[1]
	:: atomic { hand_is_late -> empty_freers() }
	od
}

inline recover_owner(dead) {
#ifdef ORPHAN_FIRST
	unit = ORPHAN; owner_dead[dead] = false; owner_done[dead] = true;
	/* Elsewhere loses what is not live, as live was read: two steps. */
	seen = live[0];
	elsewhere[0] = elsewhere[0] && seen;
	seen = live[1];
	elsewhere[1] = elsewhere[1] && seen;
	seen = false;
#else
	atomic { elsewhere[0] = NORMALISED(0); recoverer_may_die() }
	atomic { elsewhere[1] = NORMALISED(1); recoverer_may_die() }
	atomic { unit = ORPHAN; owner_dead[dead] = false; owner_done[dead] = true; recoverer_may_die() }
#endif
}

proctype Recoverer() {
	byte block;
	bool seen;

again:
	atomic { block = 0; seen = false }
	do
	:: owner_dead[1] -> recover_owner(1)
	:: owner_dead[2] -> recover_owner(2)
	:: freer_dead ->
		if
		:: hand == 0
		:: hand != 0 ->
			block = hand - 1;
			atomic { TOUCH; seen = elsewhere[block] }
			if
			:: !seen && seen_live[block] -> atomic { TOUCH; commit_free(block); recoverer_may_die() }
			:: else
			fi;
			atomic { hand = 0; block = 0; seen = false; recoverer_may_die() }
		fi;
		atomic { freer_dead = false; freer_done = true }
	:: owner_done[1] && owner_done[2] && freer_done -> break
	od;
	atomic {
		if
		:: unit == STRANGER
		:: else ->
			block = (live[0] && !elsewhere[0] -> 1 : 0) | (live[1] && !elsewhere[1] -> 2 : 0);
			forbid(block_lost, block & ~out);
			forbid(block_live_and_free, out & ~block)
		fi
	}
}

init { atomic { run Owner(1); run Owner(2); run Freer(); run Buffers(); run Recoverer() } }
