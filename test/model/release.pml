/* SPDX-License-Identifier: MIT
 *
 * A slab of two words in one unit: the owner leaves or dies, a second owner adopts, the whole slab is given back, and a stranger
 * uses the unit, while a thread elsewhere frees. Every one of them may be killed after any store it makes, and a killed recoverer
 * is followed by another, as often as the search likes.
 *
 * Follows src/core/core.c (notice_slab, release_empty, orphan_slab, adopt, is_in_a_hand, release_slab, core_find,
 * free_elsewhere, core_free, core_free_other), src/core/slab.c (slab_drain, slab_taken, slab_normalise, slab_make_orphan) and
 * src/recovery/recovery.c (finish_hand for HAND_FREE, disown_spans). How the units of the span become FREE is in spans.pml:
 * here they are the stranger's from the CAS on.
 *   live[w], elsewhere[w]  the two arrays; word w has the one block w here
 *   claim                  the owner's own: a word that it hands out from, plus one (its block is free), or 0
 *   hand                   the block the freer is about to free, plus one; 0 when the hand is empty
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
 */

#ifndef OPS
#define OPS 4           /* what each owner does before it leaves */
#endif
#define WORDS 2
#define BIT(block) (1 << (block))
#define ORPHAN 0
#define STRANGER 3

bool live[WORDS];
bool elsewhere[WORDS];
byte claim;
byte hand;
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

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline owner_may_die() { if :: skip :: owner_dead[me] = true; claim = 0; goto killed fi }
inline freer_may_die() { if :: skip :: freer_dead = true; goto killed fi }
inline recoverer_may_die() { if :: skip :: goto again fi }

inline any_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: bits >> (ret_block + 1) -> ret_block++ od }

inline drain(word) {
	gathered = elsewhere[word];
	gathered = gathered && hand != word + 1;
	gathered = gathered && elsewhere[word];
	if
	:: gathered ->
		atomic { live[word] = false; owner_may_die() }
		atomic { elsewhere[word] = false; gathered = false; owner_may_die() }
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
		atomic { elsewhere[0] = NORMALISED(0); owner_may_die() }
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
	atomic { elsewhere[0] = NORMALISED(0); owner_may_die() }
	atomic { elsewhere[1] = NORMALISED(1); owner_may_die() }
	atomic { unit = ORPHAN; held = 0 }
done:
	owner_done[me] = true;
killed:
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
		atomic { TOUCH; forbid(valid_program_accused, !live[block]) }
		atomic { hand = block + 1; freer_may_die() }
		atomic { TOUCH; commit_free(block); freer_may_die() }
#ifdef HAND_EARLY
		atomic { hand = 0; freer_may_die() }
		atomic { TOUCH; block = 0 }
#else
		atomic { TOUCH; forbid(valid_program_accused, !live[block]) }
		atomic { hand = 0; block = 0; freer_may_die() }
#endif
	od;
	freer_done = true;
killed:
	skip
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
			:: !seen && live[block] -> atomic { TOUCH; commit_free(block); recoverer_may_die() }
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

init { atomic { run Owner(1); run Owner(2); run Freer(); run Recoverer() } }
