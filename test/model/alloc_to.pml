/* SPDX-License-Identifier: MIT
 *
 * alloc_to and free_from: a block and the word that points to it change together, whoever is killed and when.
 *
 * A slab of one word; its owner, and another thread that frees from elsewhere; two places in shared memory that point to blocks.
 * Owner and other may be killed after any store; a killed recoverer is followed by another that begins again, as often as the
 * search likes; the slab of a dead owner is adopted by the next one, who checks that what he found can be used.
 *
 *   free_bits, claim, elsewhere   the bits of the slab, as in claim.pml
 *   dest[d]                       the block that place d points to, plus one; 0 when it points to none
 *   op[p], hand[p], hand_dest[p]  the hand of process p: what it does, to which block (plus one), and the place. The place is stored
 *                                 first; op and block are one word, and a hand whose op is NOTHING is empty
 *   zeroed                        the blocks whose bytes are zero, as far as alloc_to has got
 *   busy[d]                       ghost: the process, plus one, whose call works on place d, also while it is dead and not recovered
 *   live                          ghost: the blocks that were handed out
 *
 *   alloc_to    hand = {op, block, dest};   claim bit;   zero;   *dest = block;   hand = 0
 *   free_from   hand = {op, block, dest};   *dest = 0;   free bit (own slab: free_bits; other: elsewhere);   hand = 0
 *   recovery    asks the bits first, then *dest, for whichever op:
 *                   the block is free                     nothing to do: not begun (alloc_to) or complete (free_from)
 *                   taken, and *dest is the block         nothing to do: complete (alloc_to) or not begun (free_from)
 *                   taken, and *dest is something else    the block is freed
 *               then hand = 0. The hand of a dead owner comes before its slab, and the slab's last store makes it an orphan.
 *
 * Nobody changes a place while a call works on it, nor afterwards until the dead caller is recovered (see USED_BEFORE_RECOVERY).
 *
 * Proven: no block is handed out or freed twice; when all is quiet every block is either free or pointed to from exactly one place,
 * and no place points to a free block; and a place that points to a block points to one that was zeroed.
 *
 * Negative controls, each with the assertion it makes fail:
 *   USED_BEFORE_RECOVERY    the other unlinks and frees what the dead one linked, before recovery:
 *                           bits first, then *dest, takes that for a block never linked             block_freed_twice
 *   DEST_HANDS_BITS         the same, with a recovery that asks *dest, then all other hands, then the
 *                           bits: no cure, for the slab's owner may free what a dead one names
 *                           and hand it out again without asking any hand                           place_dangles
 *   HAND_LATE               alloc_to takes the bit before it fills its hand                         block_lost
 *   LINK_FIRST              alloc_to stores *dest before it takes the bit                           place_dangles
 *   ZERO_LAST               alloc_to links the block, then zeroes it                             place_not_zeroed
 *   BIT_FIRST               free_from frees the bit before it stores *dest = 0                      place_dangles
 *   HAND_CLEARED_FIRST      recovery empties the hand before it frees the block                     block_lost
 *   ORPHAN_FIRST            recovery gives the slab away before it looks at the hand                place_dangles
 */

#ifndef OPS
#define OPS 4           /* what each owner does, and the other */
#endif
#ifdef DEST_HANDS_BITS
#define USED_BEFORE_RECOVERY
#endif
#define BLOCKS 2
#define PLACES 2
#define EVERY_BLOCK ((1 << BLOCKS) - 1)
#define BIT(block) (1 << (block))
#define OWNER 0         /* the first owner */
#define OTHER 1
#define ADOPTER 2       /* the second */

mtype = { NOTHING, ALLOC_TO, FREE_FROM };

byte free_bits = EVERY_BLOCK;
byte claim, elsewhere;
byte dest[PLACES];
mtype op[3] = NOTHING;
byte hand[3], hand_dest[3];
byte zeroed;
byte busy[PLACES];
byte live;

bool dead[3], done[3];
bool orphan;

/* The names of what must never happen. */
bool block_handed_out_twice, block_freed_twice, block_lost, place_dangles, two_places_share, place_not_zeroed;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline leave_places(p) {
	busy[0] = (busy[0] == p + 1 -> 0 : busy[0]);
	busy[1] = (busy[1] == p + 1 -> 0 : busy[1])
}
inline may_die(me) {
	if
	:: skip
	:: dead[me] = true;
#ifdef USED_BEFORE_RECOVERY
		leave_places(me);
#endif
		goto killed
	fi
}
#ifdef ORPHAN_FIRST
inline recoverer_may_die() { skip }             /* bad enough without */
#else
inline recoverer_may_die() { if :: skip :: goto again fi }
#endif

inline lowest_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: else -> ret_block++ od }

inline fill_hand(me, what, block, place) {
	atomic { hand_dest[me] = place; may_die(me) }
	atomic { op[me] = what; hand[me] = block + 1; may_die(me) }
}
inline clear_hand(me) { op[me] = NOTHING; hand[me] = 0; hand_dest[me] = 0 }

inline commit_free(bits, block) {
	forbid(block_freed_twice, !(live & BIT(block)));
	bits = bits | BIT(block);
	live = live & ~BIT(block);
	zeroed = zeroed & ~BIT(block)
}

inline commit_alloc(block) {
	forbid(block_handed_out_twice, live & BIT(block));
	claim = claim & ~BIT(block);
	live = live | BIT(block)
}

/* A place that is not busy and (linked) points to a block, or (!linked) to none. */
#define CAN(linked) ((!busy[0] && (dest[0] != 0) == linked) || (!busy[1] && (dest[1] != 0) == linked))
inline pick_place(me, linked) {
	if
	:: !busy[0] && (dest[0] != 0) == linked -> d = 0
	:: !busy[1] && (dest[1] != 0) == linked -> d = 1
	fi;
	busy[d] = me + 1
}

#define BIT_IN_HAND(p) (hand[p] == 0 -> 0 : BIT(hand[p] - 1))

proctype Owner() {
	byte me = OWNER;
	byte ops, block, d, drained;

next_owner:
	do
	:: ops == OPS -> break

	:: ops < OPS && claim == 0 && (free_bits | elsewhere) != 0 ->       /* refill */
		ops++;
		drained = elsewhere;
		drained = drained & ~BIT_IN_HAND(OWNER);
		drained = drained & ~BIT_IN_HAND(OTHER);
		atomic { free_bits = free_bits | drained; may_die(me) }
		atomic { elsewhere = elsewhere & ~drained; drained = 0; may_die(me) }
		atomic { claim = free_bits; may_die(me) }
		atomic { free_bits = 0; may_die(me) }

	:: atomic { ops < OPS && claim != 0 && CAN(false) -> ops++; pick_place(me, false); lowest_of(claim, block) }
#ifdef HAND_LATE
		atomic { commit_alloc(block); may_die(me) }
#endif
		fill_hand(me, ALLOC_TO, block, d);
#ifdef LINK_FIRST
		atomic { zeroed = zeroed | BIT(block); may_die(me) }
		atomic { dest[d] = block + 1; may_die(me) }
#endif
#ifndef HAND_LATE
		atomic { commit_alloc(block); may_die(me) }
#endif
#ifdef ZERO_LAST
		atomic { dest[d] = block + 1; may_die(me) }
		atomic { zeroed = zeroed | BIT(block); may_die(me) }
#else
#ifndef LINK_FIRST
		atomic { zeroed = zeroed | BIT(block); may_die(me) }
		atomic { dest[d] = block + 1; may_die(me) }
#endif
#endif
		atomic { clear_hand(me); leave_places(me); block = 0; d = 0; may_die(me) }

	:: atomic { ops < OPS && CAN(true) -> ops++; pick_place(me, true); block = dest[d] - 1 }
		fill_hand(me, FREE_FROM, block, d);
#ifdef BIT_FIRST
		atomic { commit_free(free_bits, block); may_die(me) }
		atomic { dest[d] = 0; may_die(me) }
#else
		atomic { dest[d] = 0; may_die(me) }
		atomic { commit_free(free_bits, block); may_die(me) }
#endif
		atomic { clear_hand(me); leave_places(me); block = 0; d = 0; may_die(me) }

	:: ops < OPS -> ops++                                               /* an idle turn, so that nobody waits for another */
	od;
	atomic { done[me] = true; done[ADOPTER] = true; goto end }
killed:
	atomic {
		orphan ->
		orphan = false;
		ops = 0; block = 0; d = 0; drained = 0;
		if
		:: me == OWNER -> me = ADOPTER; goto next_owner
		:: else
		fi
	}
end:
	skip
}

proctype Other() {
	byte ops, block, d;

	do
	:: ops == OPS -> break
	:: atomic { ops < OPS && CAN(true) -> ops++; pick_place(OTHER, true); block = dest[d] - 1 }
		fill_hand(OTHER, FREE_FROM, block, d);
		atomic { dest[d] = 0; may_die(OTHER) }
		atomic { commit_free(elsewhere, block); may_die(OTHER) }
		atomic { clear_hand(OTHER); leave_places(OTHER); block = 0; d = 0; may_die(OTHER) }
	:: done[OWNER] && done[ADOPTER] && !CAN(true) -> break
	:: true -> break
	od;
	done[OTHER] = true;
killed:
	skip
}

/* The block in the hand of dead process p, freed if it was taken and not linked. */
inline recover_hand(p, bits) {
	block = hand[p] - 1;
	place = hand_dest[p];
#ifdef DEST_HANDS_BITS
	undo = (dest[place] != hand[p]);
	undo = undo && (p == OWNER || hand[OWNER] != hand[p]);
	undo = undo && (p == OTHER || hand[OTHER] != hand[p]);
	undo = undo && (p == ADOPTER || hand[ADOPTER] != hand[p]);
	undo = undo && !(elsewhere & BIT(block));
	undo = undo && !((free_bits | claim) & BIT(block));
#else
	undo = !(elsewhere & BIT(block));
	undo = undo && !((free_bits | claim) & BIT(block));
	undo = undo && dest[place] != hand[p];
#endif
#ifdef HAND_CLEARED_FIRST
	atomic { clear_hand(p); recoverer_may_die() }
#endif
	if
	:: undo -> atomic { commit_free(bits, block); recoverer_may_die() }
	:: else
	fi;
	atomic { clear_hand(p); block = 0; place = 0; undo = false; recoverer_may_die() }
}

inline recover_slab() {
	atomic { free_bits = free_bits | claim; recoverer_may_die() }
	atomic { claim = 0; recoverer_may_die() }
	atomic { elsewhere = elsewhere & ~free_bits; recoverer_may_die() }
}

inline recover_owner(p) {
#ifdef ORPHAN_FIRST
	recover_slab();
	atomic { orphan = true; dead[p] = false }
	if :: op[p] != NOTHING -> recover_hand(p, elsewhere) :: else fi;
	atomic { done[p] = true; leave_places(p) }
#else
	if :: op[p] != NOTHING -> recover_hand(p, free_bits) :: else fi;
	recover_slab();
	atomic { orphan = true; dead[p] = false; done[p] = true; leave_places(p); recoverer_may_die() }
#endif
}

proctype Recoverer() {
	byte block, place;
	bool undo;

again:
	atomic { block = 0; place = 0; undo = false }
	do
	:: dead[OWNER] -> recover_owner(OWNER)
	:: dead[ADOPTER] -> recover_owner(ADOPTER)
	:: dead[OTHER] ->
		if :: op[OTHER] != NOTHING -> recover_hand(OTHER, elsewhere) :: else fi;
		atomic { dead[OTHER] = false; done[OTHER] = true; leave_places(OTHER); recoverer_may_die() }
	:: done[OWNER] && done[OTHER] && done[ADOPTER] -> break
	od;
	atomic {
		undo = false;
		place = free_bits | claim | elsewhere;
		forbid(two_places_share, dest[0] != 0 && dest[0] == dest[1]);
		forbid(place_dangles, (dest[0] != 0 && (place & BIT(dest[0] - 1))) || (dest[1] != 0 && (place & BIT(dest[1] - 1))));
		forbid(place_not_zeroed, (dest[0] != 0 && !(zeroed & BIT(dest[0] - 1))) || (dest[1] != 0 && !(zeroed & BIT(dest[1] - 1))));
		block = 0;
		do
		:: block < BLOCKS ->
			forbid(block_lost, !(place & BIT(block)) && dest[0] != block + 1 && dest[1] != block + 1);
			block++
		:: else -> break
		od
	}
}

init { atomic { run Owner(); run Other(); run Recoverer() } }
