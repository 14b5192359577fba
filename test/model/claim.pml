/* SPDX-License-Identifier: MIT
 *
 * One word of one slab: its owner, the one that adopts it, two threads elsewhere that free blocks of it, and whoever recovers the
 * dead.
 *
 * Follows src/core/core.h (core_alloc_claimed, core_free_local), src/core/slab.[ch] (slab_find_free, slab_drain, slab_live_word,
 * slab_normalise, slab_make_orphan), src/core/core.c (claim_word, release_empty, adopt, orphan_slab, core_find, free_own,
 * free_elsewhere, core_free, core_free_other) and src/recovery/recovery.c (finish_hand for HAND_FREE, disown_spans).
 *
 * Each of them may be killed after any store it makes, the adopter too. A recoverer that is killed is followed by another that
 * begins again, as often as the search likes. Plain stores reach the others late, and in any order among different words: each
 * owner has a buffer for its word `live`, each freer one for its hand. An atomic operation that releases empties the buffers of
 * the one that does it, and so does a kill.
 *
 *   live                a bit for each block that is out; written by the slab's owner (or the recoverer of a dead one)
 *   elsewhere           the word into which the others free, by fetch_or
 *   claim               the owner's own, in its bin: it is lost with it
 *   hand[f]             the block that freer f is about to free, plus one; 0 when the hand is empty
 *   late_live, late_hand   what is in a buffer; late[] tells that something is
 *   mail                a block on its way from the owner to a freer, plus one (the program's affair, not the allocator's)
 *   out                 ghost: the blocks that the program holds; changed in the same step as the store that commits
 *
 *   alloc     claim loses its lowest bit;   live |= bit (commits)
 *   free      own: live &= ~bit (commits).   Elsewhere: hand = block;   elsewhere fetch_or bit (commits);   hand = 0
 *   refill    claim = ~live & ~elsewhere; when that is 0, drain. Who looks for empty slabs drains, too, and then gives up its claim
 *   drain     read elsewhere, then the hands, then elsewhere again;   live &= ~r;   elsewhere fetch_and ~r
 *   leave     drain;   elsewhere fetch_and live;   the slab becomes an orphan.   Adopt: one CAS, then the same fetch_and, and a
 *             drain
 *   recovery  of an owner: elsewhere fetch_and live, then the slab becomes an orphan.   Of a freer: the bit of the block in its
 *             hand is set, unless the block is free
 *
 * Proven: no block is handed out while the program holds it; no free is carried out twice, neither by a freer nor by the recovery
 * of a hand; no check accuses this program, which is a valid one; and when all is quiet a block is live, and not in elsewhere,
 * exactly when the program holds it. A block that a dead owner had allocated counts as held: that is the one block per killed
 * thread which a plain alloc may cost.
 *
 * Negative controls, each with the assertion it makes fail:
 *   IGNORE_HANDS      the drain takes blocks that a hand still names                    valid_program_accused
 *   HANDS_FIRST       the drain reads the hands before it reads elsewhere               valid_program_accused
 *   HAND_LATE         the freer sets the bit first and names the block afterwards       recovery_repeats_a_free
 *   HAND_IN_BUFFER    the fetch_or does not release: the bit is seen before the hand    recovery_repeats_a_free
 *   CLEAR_FIRST       the drain clears elsewhere before live                            block_lost
 *   UNFINISHED        claims do not look at elsewhere, and recovery and adopter leave it as it is
 *                                                                                       block_handed_out_twice
 */

#if defined HAND_LATE || defined HAND_IN_BUFFER
#define UNCHECKED       /* else the free is accused before it comes to that */
#endif
#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef OPS
#define OPS 4           /* what each owner does before it leaves: allocs, frees and refills */
#endif
#define FREERS 2
#define EVERY_BLOCK ((1 << BLOCKS) - 1)
#define BIT(block) (1 << (block))
#define BIT_IN_HAND(f) (hand[f] == 0 -> 0 : BIT(hand[f] - 1))

byte live, late_live;
byte elsewhere;
byte claim;
byte hand[FREERS], late_hand[FREERS];
bool late, hand_is_late[FREERS];
byte mail;
byte out;

bool owner_dead, orphan, owners_done;
bool freer_dead[FREERS], freer_done[FREERS];
bool committed[FREERS];                        /* ghost: the free that its hand names, or named last, has been carried out */
byte lives_left = 1;

/* The names of what must never happen. */
bool block_handed_out_twice, block_freed_twice, recovery_repeats_a_free, valid_program_accused, block_lost, block_live_and_free;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

inline empty_owners() { if :: late -> live = late_live; late = false; late_live = 0 :: else fi }
inline empty_freers(f) { if :: hand_is_late[f] -> hand[f] = late_hand[f]; hand_is_late[f] = false; late_hand[f] = 0 :: else fi }
#define OWN_LIVE (late * late_live | (1 - late) * live)          /* what the owner itself reads */
inline change_live(and_bits, or_bits) { late_live = (OWN_LIVE & (and_bits)) | (or_bits); late = true }
inline store_hand(f, value) { late_hand[f] = value; hand_is_late[f] = true }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. `true ->`: an
 * `else` that begins an option would never be taken beside `skip`. */
inline owner_may_die() { if :: skip :: true -> empty_owners(); owner_dead = true; goto killed fi }
inline freer_may_die() { if :: skip :: true -> empty_freers(me); freer_dead[me] = true; goto killed fi }
/* What is dead has empty buffers; what was only slow has not: so a kill may also come later than right after a store. */
inline freer_may_die_later() { atomic { if :: skip :: hand_is_late[me] -> empty_freers(me); freer_dead[me] = true; goto killed fi } }
inline recoverer_may_die() { if :: skip :: goto again fi }

inline lowest_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: else -> ret_block++ od }
inline any_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: bits >> (ret_block + 1) -> ret_block++ od }

#ifdef UNFINISHED
#define CLAIMABLE (EVERY_BLOCK & ~OWN_LIVE)
inline normalise_of_recoverer() { skip }
#else
#define CLAIMABLE (EVERY_BLOCK & ~OWN_LIVE & ~elsewhere)
inline normalise_of_recoverer() { atomic { elsewhere = elsewhere & live; recoverer_may_die() } }
#endif

inline commit_free(f, block) {
	forbid(recovery_repeats_a_free, committed[f]);
	committed[f] = true;
	forbid(block_freed_twice, elsewhere & BIT(block));
	elsewhere = elsewhere | BIT(block);
	out = out & ~BIT(block)
}

inline drain() {
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
	if
	:: drained != 0 ->
		drained = drained & elsewhere;
#ifdef CLEAR_FIRST
		atomic { empty_owners(); elsewhere = elsewhere & ~drained; owner_may_die() }
		atomic { change_live(~drained, 0); owner_may_die() }
#else
		atomic { change_live(~drained, 0); owner_may_die() }
		atomic { empty_owners(); elsewhere = elsewhere & ~drained; owner_may_die() }
#endif
		drained = 0
	:: else
	fi
}

proctype Owner() {
	byte ops, block, drained, named, held;     /* held: what this owner allocated and has neither freed nor given away */

next_owner:
	do
	:: ops == OPS -> break

	:: atomic { ops < OPS && claim == 0 ->
		ops++;
		claim = CLAIMABLE;
		if
		:: claim != 0 -> goto refilled
		:: else
		fi }
		drain();
refilled:
		skip

	:: atomic { ops < OPS && claim != 0 && elsewhere != 0 -> ops++ }
		drain();
		claim = 0

	:: atomic { ops < OPS && claim != 0 ->     /* alloc: one store */
		ops++;
		lowest_of(claim, block);
		forbid(block_handed_out_twice, out & BIT(block));
		claim = claim & ~BIT(block);
		change_live(EVERY_BLOCK, BIT(block));
		out = out | BIT(block);
		held = held | BIT(block);
		block = 0;
		owner_may_die() }

	:: atomic { ops < OPS && held != 0 ->      /* local free: one store */
		ops++;
		any_of(held, block);
		forbid(valid_program_accused, (elsewhere & BIT(block)) || !(OWN_LIVE & BIT(block)));
		change_live(~BIT(block), 0);
		out = out & ~BIT(block);
		held = held & ~BIT(block);
		block = 0;
		owner_may_die() }

	:: atomic { ops < OPS && held != 0 && mail == 0 ->   /* what passes a pointer on releases, or the receiver sees nothing */
		ops++;
		any_of(held, block);
		held = held & ~BIT(block);
		empty_owners();
		mail = block + 1;
		block = 0 }

	:: atomic { late -> empty_owners(); owner_dead = true; goto killed }

	:: true -> break
	od;
	/* It leaves in order. */
	drain();
	atomic { empty_owners(); elsewhere = elsewhere & live; claim = 0; owner_may_die() }
	orphan = true;
killed:
	atomic {
		orphan ->
		ops = 0; block = 0; drained = 0; named = 0; held = 0; claim = 0;
		if
		:: lives_left > 0 -> lives_left--; orphan = false; owner_may_die()     /* adopted: one CAS */
		:: else -> owners_done = true; goto end
		fi
	}
#ifndef UNFINISHED
	atomic { elsewhere = elsewhere & live; owner_may_die() }
	drain();
#endif
	goto next_owner;
end:
	skip
}

proctype Freer(byte me) {
	byte block, frees;

	do
	:: frees == 2 -> break
	:: owners_done && mail == 0 -> break
	:: atomic { frees < 2 && mail != 0 -> block = mail; mail = 0; frees++; freer_may_die() }
		atomic { forbid(valid_program_accused, elsewhere & BIT(block - 1)) }
		atomic { forbid(valid_program_accused, !(live & BIT(block - 1))) }
#ifndef HAND_LATE
		atomic { store_hand(me, block); freer_may_die() }
#endif
		atomic {
#ifndef HAND_IN_BUFFER
			empty_freers(me);
#endif
			commit_free(me, block - 1);
			freer_may_die() }
		freer_may_die_later();
#ifndef UNCHECKED
		atomic { forbid(valid_program_accused, !(live & BIT(block - 1))) }
#endif
#ifdef HAND_LATE
		atomic { store_hand(me, block); freer_may_die() }
#endif
		atomic { empty_freers(me); store_hand(me, 0); committed[me] = false; block = 0; freer_may_die() }
	od;
	atomic { empty_freers(me); freer_done[me] = true }
killed:
	skip
}

/* Stores leave the buffers by themselves, sooner or later. */
proctype Buffers() {
	do
	:: atomic { late -> empty_owners() }
	:: atomic { hand_is_late[0] -> empty_freers(0) }
	:: atomic { hand_is_late[1] -> empty_freers(1) }
	:: owners_done && freer_done[0] && freer_done[1] && !late -> break
	od
}

proctype Recoverer() {
	byte f, block, seen;

again:
	atomic { f = 0; block = 0; seen = 0 }
	do
	:: owner_dead ->
		normalise_of_recoverer();
		atomic { owner_dead = false; orphan = true }
		goto again

	:: atomic { freer_dead[0] -> f = 0; break }
	:: atomic { freer_dead[1] -> f = 1; break }

	:: owners_done && freer_done[0] && freer_done[1] && !late -> goto quiet
	od;

	if
	:: hand[f] == 0 -> committed[f] = false
	:: hand[f] != 0 ->
		block = hand[f];
		seen = elsewhere & BIT(block - 1);
		if
		:: seen == 0 && (live & BIT(block - 1)) -> atomic {
			commit_free(f, block - 1);
			recoverer_may_die() }
		:: else
		fi;
		atomic { hand[f] = 0; committed[f] = false; recoverer_may_die() }
	fi;
	atomic { freer_dead[f] = false; freer_done[f] = true; goto again }

quiet:
	atomic {
		forbid(block_lost, live & ~elsewhere & ~out);
		forbid(block_live_and_free, out & ~(live & ~elsewhere))
	}
}

init { atomic { run Owner(); run Freer(0); run Freer(1); run Buffers(); run Recoverer() } }
