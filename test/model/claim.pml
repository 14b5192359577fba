/* SPDX-License-Identifier: MIT
 *
 * One word of one slab: its owner, two threads elsewhere that free blocks of it, and whoever recovers the dead.
 *
 * Each of them may be killed after any store it makes. A recoverer that is killed is followed by another that begins again,
 * as often as the search likes. An owner that is killed is recovered, and the slab is adopted by the next owner.
 *
 *   free_bits, claim    the two words that only the slab's owner (or the recoverer of a dead owner) writes
 *   elsewhere           the word into which the others free, by fetch_or
 *   hand[f]             the block that freer f is about to free, plus one; 0 when the hand is empty
 *   mail                a block on its way from the owner to a freer, plus one (the program's affair, not the allocator's)
 *   live                ghost: the blocks that the program holds; changed in the same step as the store that commits
 *   lives_left          how many owners the slab will have after the present one
 *
 * A block is free when its bit stands in free_bits, claim or elsewhere. The owner allocates the lowest bit of claim, and frees by
 * setting a bit in free_bits. When claim is empty it drains (reads elsewhere, then the hands; adds to free_bits what no hand
 * names; then clears it in elsewhere) and takes the word (claim = free_bits; free_bits = 0). A freer names the block in its hand,
 * sets the bit, and clears the hand.
 *
 * Proven: no block is handed out while the program holds it; no free is carried out twice, neither by a freer nor by the recovery
 * of a hand; and when all is quiet every block is either free or held. A block that a dead owner had allocated counts as held:
 * that is the one block per killed thread which a plain alloc may cost.
 *
 * Negative controls, each with the assertion it makes fail:
 *   IGNORE_HANDS      the drain takes blocks that a hand still names                    recovery_repeats_a_free
 *   HANDS_FIRST       the drain reads the hands before it reads elsewhere               recovery_repeats_a_free
 *   CLEAR_FIRST       the drain clears elsewhere before it adds to free_bits            block_lost
 *   FREE_ZERO_FIRST   the owner empties free_bits before it has stored claim            block_lost
 *   HAND_LATE         the freer sets the bit first and names the block afterwards       recovery_repeats_a_free
 */

#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef OPS
#define OPS 4           /* what each owner does before it is content: allocs, frees and refills */
#endif
#define FREERS 2
#define EVERY_BLOCK ((1 << BLOCKS) - 1)
#define BIT(block) (1 << (block))
#define BIT_IN_HAND(f) (hand[f] == 0 -> 0 : BIT(hand[f] - 1))

byte free_bits = EVERY_BLOCK;
byte claim;
byte elsewhere;
byte hand[FREERS];
byte mail;
byte live;

bool owner_dead, owner_done;
bool freer_dead[FREERS], freer_done[FREERS];
byte lives_left = 1;

/* The names of what must never happen. */
bool block_handed_out_twice, block_freed_twice, recovery_repeats_a_free, block_lost, block_live_and_free;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline owner_may_die() { if :: skip :: owner_dead = true; goto killed fi }
inline freer_may_die() { if :: skip :: freer_dead[me] = true; goto killed fi }
inline recoverer_may_die() { if :: skip :: goto again fi }

inline lowest_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: else -> ret_block++ od }
inline any_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: bits >> (ret_block + 1) -> ret_block++ od }

/* The fetch_or of a free from elsewhere. The caller gives the block plus one, as the hand and the mail do. */
inline commit_free(block_plus_1) {
	forbid(block_freed_twice, elsewhere & BIT(block_plus_1 - 1));
	elsewhere = elsewhere | BIT(block_plus_1 - 1);
	live = live & ~BIT(block_plus_1 - 1)
}

proctype Owner() {
	byte ops, block, drained, named, held;     /* held: what this owner allocated and has neither freed nor given away */

next_owner:
	do
	:: ops == OPS -> break

	:: ops < OPS && claim == 0 ->              /* refill: drain, then take the word */
		ops++;
#ifdef HANDS_FIRST
		named = BIT_IN_HAND(0);
		named = named | BIT_IN_HAND(1);
		drained = elsewhere;
#else
		drained = elsewhere;
		named = BIT_IN_HAND(0);
		named = named | BIT_IN_HAND(1);
#endif
#ifndef IGNORE_HANDS
		drained = drained & ~named;
#endif
		named = 0;
#ifdef CLEAR_FIRST
		atomic { elsewhere = elsewhere & ~drained; owner_may_die() }
		atomic { free_bits = free_bits | drained; owner_may_die() }
#else
		atomic { free_bits = free_bits | drained; owner_may_die() }
		atomic { elsewhere = elsewhere & ~drained; owner_may_die() }
#endif
#ifdef FREE_ZERO_FIRST
		atomic { drained = free_bits; free_bits = 0; owner_may_die() }
		atomic { claim = drained; owner_may_die() }
#else
		atomic { claim = free_bits; owner_may_die() }
		atomic { free_bits = 0; owner_may_die() }
#endif
		drained = 0

	:: atomic { ops < OPS && claim != 0 ->     /* alloc: one store */
		ops++;
		lowest_of(claim, block);
		forbid(block_handed_out_twice, live & BIT(block));
		claim = claim & ~BIT(block);
		live = live | BIT(block);
		held = held | BIT(block);
		block = 0;
		owner_may_die() }

	:: atomic { ops < OPS && held != 0 ->      /* local free: one store */
		ops++;
		any_of(held, block);
		free_bits = free_bits | BIT(block);
		live = live & ~BIT(block);
		held = held & ~BIT(block);
		block = 0;
		owner_may_die() }

	:: atomic { ops < OPS && held != 0 && mail == 0 ->
		ops++;
		any_of(held, block);
		held = held & ~BIT(block);
		mail = block + 1;
		block = 0 }
	od;
	owner_done = true;
	goto end;
killed:
	atomic {
		!owner_dead ->                     /* recovered: the slab is an orphan, and the next owner adopts it */
		ops = 0; block = 0; drained = 0; named = 0; held = 0;
		if
		:: lives_left > 0 -> lives_left--; goto next_owner
		:: else -> owner_done = true
		fi
	}
end:
	skip
}

proctype Freer(byte me) {
	byte block, frees;

	do
	:: frees == 2 -> break
	:: owner_done && mail == 0 -> break
	:: atomic { frees < 2 && mail != 0 -> block = mail; mail = 0; frees++; freer_may_die() }
#ifdef HAND_LATE
		atomic { commit_free(block); freer_may_die() }
		atomic { hand[me] = block; freer_may_die() }
#else
		atomic { hand[me] = block; freer_may_die() }
		atomic { commit_free(block); freer_may_die() }
#endif
		atomic { hand[me] = 0; block = 0; freer_may_die() }
	od;
	freer_done[me] = true;
killed:
	skip
}

proctype Recoverer() {
	byte f, block;

again:
	f = 0; block = 0;
	do
	:: owner_dead ->                           /* the slab of a dead owner, in this order; the last store makes it an orphan */
		atomic { free_bits = free_bits | claim; recoverer_may_die() }
		atomic { claim = 0; recoverer_may_die() }
		atomic { elsewhere = elsewhere & ~free_bits; recoverer_may_die() }
		atomic { owner_dead = false; recoverer_may_die() }

	:: atomic { freer_dead[0] -> f = 0 } -> goto hand_of_the_dead
	:: atomic { freer_dead[1] -> f = 1 } -> goto hand_of_the_dead

	:: owner_done && freer_done[0] && freer_done[1] -> break
	od;
	goto quiet;

hand_of_the_dead:
	if
	:: hand[f] == 0
	:: hand[f] != 0 ->
		block = hand[f];
		if
		:: elsewhere & BIT(block - 1)
		:: else -> atomic {
			forbid(recovery_repeats_a_free, !(live & BIT(block - 1)));
			commit_free(block);
			recoverer_may_die() }
		fi;
		atomic { hand[f] = 0; recoverer_may_die() }
	fi;
	atomic { freer_dead[f] = false; freer_done[f] = true; goto again }

quiet:
	atomic {
		forbid(block_lost, (live | free_bits | claim | elsewhere) != EVERY_BLOCK);
		forbid(block_live_and_free, live & (free_bits | claim | elsewhere))
	}
}

init { atomic { run Owner(); run Freer(0); run Freer(1); run Recoverer() } }
