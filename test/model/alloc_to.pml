/* SPDX-License-Identifier: MIT
 *
 * alloc_to and free_from: a block and the word that points to it change together, whoever is killed and when.
 *
 * Follows src/core/core.c (core_alloc_to, core_free_from, free_own, free_elsewhere, adopt), src/core/slab.c (slab_drain,
 * slab_normalise, slab_make_orphan) and src/recovery/recovery.c (finish_hand, disown_spans; in this order, as recovery_of_owner
 * has them). Blocks of slabs only; the hand is visible before the change, as claim.pml shows.
 *
 * A slab of one word; its owner, and another thread that frees from elsewhere; two places in shared memory that point to blocks.
 * Owner and other may be killed after any store; a killed recoverer is followed by another that begins again, as often as the
 * search likes; the slab of a dead owner is adopted by the next one, who checks that what he found can be used. Their plain stores
 * leave their processors late, in their order (a store buffer), and must have done so before an atomic operation and before the
 * program gives the place on, which releases. What one stores plainly in a row goes into its buffer in one step here, as nobody
 * sees it there; and a kill drops what has not arrived: it stands for one right behind the last store that has. (A real one leaves
 * the rest to arrive, which looks to the others like one that came later.) A hand that is cleared is seen so at once: seen too
 * long, it only keeps a drain from what it could have taken. A recoverer's plain stores end in the kernel's lock, which waits for
 * them.
 *
 *   live, elsewhere               the bits of the slab, as in claim.pml
 *   claim                         the owner's own: what it allocates from; it is lost with it
 *   dest[d]                       the block that place d points to, plus one; 0 when it points to none
 *   op[p], hand[p], hand_dest[p]  the hand of process p: what it does, to which block (plus one), and the place. The place is
 *                                 stored first; op and block are one word, and a hand whose op is NOTHING is empty
 *   zeroed                        the blocks whose bytes are zero, as far as alloc_to has got
 *   stores[p]                     of process p, on their way
 *   busy[d]                       ghost: the process, plus one, whose call works on place d, also while it is dead and not
 *                                 recovered
 *   out                           ghost: the blocks that were handed out
 *
 *   alloc_to    hand = {op, block, dest};   live bit;   zero;   *dest = block;   hand = 0
 *   free_from   hand = {op, block, dest};   *dest = 0;   free (own slab: live without the bit; other: elsewhere with it);
 *               hand = 0
 *   recovery    of alloc_to    asks the bits first, then *dest: taken, and *dest is something else: the block is freed
 *               of free_from   *dest = 0, if *dest is the block; then, unless the bits say that it is free, it is freed
 *               always by elsewhere;   then hand = 0. The hand of a dead owner comes before its slab, and the slab's last
 *               store makes it an orphan.
 *
 * Nobody changes a place while a call works on it, nor afterwards until the dead caller is recovered: what cairn.h requires,
 * and what cairn_lock sees to, which hands a dead holder's lock on after its recovery. USED_BEFORE_RECOVERY shows what it is
 * needed for.
 *
 * Proven: no block is handed out or freed twice; when all is quiet every block is either free or pointed to from exactly one place,
 * and no place points to a free block; and whoever looks at a place that points to a block, at any time, finds one that was
 * allocated and zeroed.
 *
 * Negative controls, each with the assertion it makes fail:
 *   USED_BEFORE_RECOVERY    the other unlinks and frees what the dead one linked, before recovery:
 *                           bits first, then *dest, takes that for a block never linked             block_freed_twice
 *   HAND_LATE               alloc_to takes the bit before it fills its hand                         block_lost
 *   LINK_FIRST              alloc_to stores *dest before it takes the bit                           place_dangles
 *   ZERO_LAST               alloc_to links the block, then zeroes it                             place_not_zeroed
 *   BIT_FIRST               free_from frees the bit before it stores *dest = 0                      place_dangles
 *   HAND_CLEARED_FIRST      recovery empties the hand before it frees the block                     block_lost
 *   ORPHAN_FIRST            recovery gives the slab away before it looks at the hand                place_dangles
 *   NOT_RELEASED            the fetch_or of a free elsewhere does not release: it is seen before *dest = 0
 *                           and the hand                                                            place_dangles
 */

#ifndef OPS
#define OPS 4           /* what each owner does, and the other */
#endif
#define BLOCKS 2
#define PLACES 2
#define EVERY_BLOCK ((1 << BLOCKS) - 1)
#define BIT(block) (1 << (block))
#define OWNER 0         /* the first owner */
#define OTHER 1
#define ADOPTER 2       /* the second */

mtype = { NOTHING, ALLOC_TO, FREE_FROM };

byte live, elsewhere;
byte claim;
byte dest[PLACES];
mtype op[3] = NOTHING;
byte hand[3], hand_dest[3];
byte zeroed;
mtype = { STORE_HAND_DEST, STORE_HAND_ALLOC_TO, STORE_HAND_FREE_FROM, STORE_DEST, STORE_ZERO };
mtype = { STORE_LIVE, STORE_FREE, STORE_DRAINED };
chan stores[3] = [5] of { mtype, byte, byte };  /* the block, or blocks, and the place */
byte busy[PLACES];
byte out;

bool dead[3], done[3];
bool orphan;

/* The names of what must never happen. */
bool block_handed_out_twice, block_freed_twice, block_lost, place_dangles, two_places_share, place_not_zeroed;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline may_die() { if :: skip :: goto killed fi }
#ifdef ORPHAN_FIRST
inline recoverer_may_die() { skip }             /* bad enough without */
#else
inline recoverer_may_die() { if :: skip :: goto again fi }
#endif

/* What stands before an atomic operation that releases. */
#define ALL_ARRIVED(p) empty(stores[p])

inline leave_places(p) {
	busy[0] = (busy[0] == p + 1 -> 0 : busy[0]);
	busy[1] = (busy[1] == p + 1 -> 0 : busy[1])
}
inline all_arrive_or_it_dies(p) { if :: ALL_ARRIVED(p) :: goto killed fi }
inline be_dead(p) {
	do :: stores[p] ? _, _, _ :: empty(stores[p]) -> break od;
#ifdef USED_BEFORE_RECOVERY
	leave_places(p);
#endif
	dead[p] = true
}

inline lowest_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: else -> ret_block++ od }

inline fill_hand(me, what, block, place) {
	stores[me] ! STORE_HAND_DEST, 0, place;
	stores[me] ! what, block, 0
}
inline clear_hand(me) { op[me] = NOTHING; hand[me] = 0; hand_dest[me] = 0 }

inline commit_free(block) {
	forbid(block_freed_twice, !(out & BIT(block)));
	forbid(place_dangles, dest[0] == block + 1 || dest[1] == block + 1);
	out = out & ~BIT(block);
	zeroed = zeroed & ~BIT(block)
}
inline free_own(block) { commit_free(block); live = live & ~BIT(block) }
inline free_elsewhere(block) { commit_free(block); elsewhere = elsewhere | BIT(block) }

inline commit_alloc(block) {
	forbid(block_handed_out_twice, out & BIT(block));
	live = live | BIT(block);
	out = out | BIT(block)
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

	:: atomic { ops < OPS && claim == 0 && (EVERY_BLOCK & ~live & ~elsewhere) != 0 ->      /* claim */
		ops++;
		claim = EVERY_BLOCK & ~live & ~elsewhere }

	:: ops < OPS && claim == 0 && elsewhere != 0 ->                     /* drain */
		ops++;
		drained = elsewhere;
		drained = drained & ~BIT_IN_HAND(OWNER);
		drained = drained & ~BIT_IN_HAND(OTHER);
		drained = drained & ~BIT_IN_HAND(ADOPTER);
		stores[me] ! STORE_DRAINED, drained, 0;
		all_arrive_or_it_dies(me);
		atomic { elsewhere = elsewhere & ~drained; drained = 0; may_die() }

	:: atomic { ops < OPS && claim != 0 && CAN(false) -> ops++; pick_place(me, false); lowest_of(claim, block) }
		atomic {
			claim = claim & ~BIT(block);
#ifdef HAND_LATE
			stores[me] ! STORE_LIVE, block, 0;
#endif
			fill_hand(me, STORE_HAND_ALLOC_TO, block, d);
#ifdef LINK_FIRST
			stores[me] ! STORE_ZERO, block, 0;
			stores[me] ! STORE_DEST, block + 1, d;
#endif
#ifndef HAND_LATE
			stores[me] ! STORE_LIVE, block, 0;
#endif
#ifdef ZERO_LAST
			stores[me] ! STORE_DEST, block + 1, d;
			stores[me] ! STORE_ZERO, block, 0
#else
#ifndef LINK_FIRST
			stores[me] ! STORE_ZERO, block, 0;
			stores[me] ! STORE_DEST, block + 1, d
#endif
#endif
		}
		all_arrive_or_it_dies(me);
		atomic { clear_hand(me); leave_places(me); block = 0; d = 0; may_die() }

	:: atomic { ops < OPS && CAN(true) -> ops++; pick_place(me, true); block = dest[d] - 1 }
		atomic {
			fill_hand(me, STORE_HAND_FREE_FROM, block, d);
#ifdef BIT_FIRST
			stores[me] ! STORE_FREE, block, 0;
			stores[me] ! STORE_DEST, 0, d
#else
			stores[me] ! STORE_DEST, 0, d;
			stores[me] ! STORE_FREE, block, 0
#endif
		}
		all_arrive_or_it_dies(me);
		atomic { clear_hand(me); leave_places(me); block = 0; d = 0; may_die() }

	:: ops < OPS -> ops++                                               /* an idle turn, so that nobody waits for another */
	od;
	atomic { done[me] = true; done[ADOPTER] = true; goto end }
killed:
	atomic { be_dead(me); claim = 0; ops = 0; block = 0; d = 0; drained = 0 }
	atomic {
		orphan ->
		orphan = false;
		if
		:: me == OWNER -> me = ADOPTER
		:: else -> goto end
		fi
	}
	atomic { elsewhere = elsewhere & live; may_die() }
	goto next_owner;
end:
	skip
}

proctype Other() {
	byte ops, block, d;

	do
	:: ops == OPS -> break
	:: atomic { ops < OPS && CAN(true) -> ops++; pick_place(OTHER, true); block = dest[d] - 1 }
		atomic { fill_hand(OTHER, STORE_HAND_FREE_FROM, block, d); stores[OTHER] ! STORE_DEST, 0, d }
#ifndef NOT_RELEASED
		all_arrive_or_it_dies(OTHER);
#endif
		atomic { free_elsewhere(block); may_die() }
		atomic { clear_hand(OTHER); leave_places(OTHER); block = 0; d = 0; may_die() }
	:: done[OWNER] && done[ADOPTER] && !CAN(true) -> break
	:: true -> break
	od;
	atomic { done[OTHER] = true; goto end }
killed:
	atomic { be_dead(OTHER); ops = 0; block = 0; d = 0 }
end:
	skip
}

/* The blocks are taken and freed, for all but the owner itself, as the store arrives. */
proctype Buffer(byte me) {
	mtype store;
	byte block, place;
end:
	do
	:: atomic {
		stores[me] ? store, block, place ->
		if
		:: store == STORE_HAND_DEST -> hand_dest[me] = place
		:: store == STORE_HAND_ALLOC_TO -> op[me] = ALLOC_TO; hand[me] = block + 1
		:: store == STORE_HAND_FREE_FROM -> op[me] = FREE_FROM; hand[me] = block + 1
		:: store == STORE_LIVE -> commit_alloc(block)
		:: store == STORE_FREE -> free_own(block)
		:: store == STORE_DRAINED -> live = live & ~block
		:: store == STORE_ZERO -> zeroed = zeroed | BIT(block)
		:: store == STORE_DEST && block == 0 -> dest[place] = 0
		:: store == STORE_DEST && block != 0 ->
			dest[place] = block;
			forbid(place_dangles, !(live & BIT(block - 1)));
			forbid(place_not_zeroed, !(zeroed & BIT(block - 1)))
		fi;
		store = 0; block = 0; place = 0 }
	od
}

/* The block in the hand of dead process p. */
inline recover_hand(p) {
	block = hand[p] - 1;
	place = hand_dest[p];
	if
	:: op[p] == FREE_FROM && dest[place] == hand[p] -> atomic { dest[place] = 0; recoverer_may_die() }
	:: else
	fi;
	undo = !(elsewhere & BIT(block));
	undo = undo && (live & BIT(block)) != 0;
	undo = undo && (op[p] == FREE_FROM || dest[place] != hand[p]);
#ifdef HAND_CLEARED_FIRST
	atomic { clear_hand(p); recoverer_may_die() }
#endif
	if
	:: undo -> atomic { if :: elsewhere & BIT(block) :: else -> free_elsewhere(block) fi; recoverer_may_die() }
	:: else
	fi;
	atomic { clear_hand(p); block = 0; place = 0; undo = false; recoverer_may_die() }
}

inline recover_owner(p) {
#ifdef ORPHAN_FIRST
	elsewhere = elsewhere & live;
	atomic { orphan = true; dead[p] = false }
	if :: op[p] != NOTHING -> recover_hand(p) :: else fi;
	atomic { done[p] = true; leave_places(p) }
#else
	if :: op[p] != NOTHING -> recover_hand(p) :: else fi;
	atomic { elsewhere = elsewhere & live; recoverer_may_die() }
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
		if :: op[OTHER] != NOTHING -> recover_hand(OTHER) :: else fi;
		atomic { dead[OTHER] = false; done[OTHER] = true; leave_places(OTHER); recoverer_may_die() }
	:: done[OWNER] && done[OTHER] && done[ADOPTER] -> break
	od;
	atomic {
		undo = false;
		place = EVERY_BLOCK & ~(live & ~elsewhere);
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

init { atomic { run Owner(); run Other(); run Buffer(OWNER); run Buffer(OTHER); run Buffer(ADOPTER); run Recoverer() } }
