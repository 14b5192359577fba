/* SPDX-License-Identifier: MIT
 *
 * A double free from two threads. The slab's owner hands a block to two threads elsewhere (a program in error), and each frees it
 * once; meanwhile the owner drains, claims, and hands the block out again.
 *
 * Follows src/core/core.c (core_find, core_free, core_free_other, free_elsewhere, claim_word), src/core/slab.[ch] (slab_live_word,
 * slab_find_free, slab_drain) and, for the owner's own free, core_free_local in src/core/core.h.
 *   live, elsewhere     the bits of the one block
 *   claim               the owner's own: the block is claimed, and about to be handed out
 *   hand[f]             freer f names the block; the store may be late, until the fetch_or
 *   out                 ghost: the program holds the block
 *   undefined           ghost: a second free came when the block had been handed out again, and freed a block of somebody
 *                       else's. No allocator can tell; nothing holds after that
 *
 *   look-up             elsewhere clear, then live set: else the free is accused and leaves no trace
 *   free                hand;   elsewhere fetch_or;   accused if the bit stood there, or if live is clear: then its own bit is
 *                       taken back;   hand = 0
 *
 * Proven: of the two frees one is carried out and one is accused; and the block is not handed out while the program holds it.
 *
 * Negative controls, each with the assertion it makes fail:
 *   LIVE_NOT_READ       a free does not read live after its fetch_or                    crime_missed
 *   NOT_READ_AGAIN      the drain does not read elsewhere again after the hands         block_handed_out_twice
 *   TAKEN_BACK_ALWAYS   the accused clears the bit also where it was the other's        block_lost
 *   HAND_IN_BUFFER      the fetch_or does not release: the bit is seen before the hand  block_handed_out_twice
 *
 * Three things are beyond what is promised for a program in error, and are searched to show that they are:
 *   ALSO_LOCAL          the owner frees the block itself while another frees it: each looks before the other has stored.
 *                       Neither need be accused; the block is free once all the same      crime_missed
 *   ACCUSED_KILLED      the accused is killed before it has taken its bit back, while the block was claimed already
 *                                                                                       block_handed_out_twice
 *   FREED_BESIDE        the owner frees the block that it was handed again, while the accused bit still stands
 *                                                                                       innocent_accused
 */

#ifndef ROUNDS
#define ROUNDS 9
#endif

bool live, elsewhere, claim, out;
bool hand[2], late[2], done[2];
bool mailed, undefined, handed_out_again, owner_done;
byte accused_count;

/* The names of what must never happen. */
bool crime_missed, block_handed_out_twice, innocent_accused, block_lost;
inline forbid(crime, condition) { crime = ((condition) && !undefined); assert(!crime) }

/* A free that nobody accused: of a block that is out. If it is out again, the program has freed somebody else's. */
inline carry_out() {
	forbid(crime_missed, !out);
	undefined = undefined || handed_out_again;
	out = false
}

proctype Owner() {
	byte rounds;
	bool gathered, named, freed;

	do
	:: rounds == ROUNDS -> break
	:: atomic { rounds < ROUNDS && !claim && !live && !elsewhere -> rounds++; claim = true }
	:: atomic { rounds < ROUNDS && claim ->
		rounds++;
		claim = false;
		forbid(block_handed_out_twice, out);
		live = true;
		out = true;
		handed_out_again = mailed;
		mailed = true }
	:: rounds < ROUNDS && elsewhere ->
		rounds++;
		gathered = elsewhere;
		named = hand[0];
		named = named || hand[1];
		gathered = gathered && !named;
#ifndef NOT_READ_AGAIN
		gathered = gathered && elsewhere;
#endif
		if
		:: gathered -> live = false; elsewhere = false
		:: else
		fi;
		atomic { gathered = false; named = false }
#ifdef ALSO_LOCAL
	:: atomic { mailed && !freed && live && !elsewhere -> freed = true }
		atomic { live = false; carry_out() }
#endif
#ifdef FREED_BESIDE
	:: atomic { handed_out_again && !freed ->
		freed = true;
		forbid(innocent_accused, elsewhere || !live);
		live = false;
		out = false;
		break }
#endif
	:: mailed -> break
	od;
	owner_done = true
}

proctype Freer(byte me) {
	bool before, accused;

#ifdef ALSO_LOCAL
	if :: me == 1 -> goto end :: else fi;
#endif
	mailed;
	accused = elsewhere;
	accused = accused || !live;
	if
	:: accused -> goto told
	:: else
	fi;
	late[me] = true;
#ifdef HAND_IN_BUFFER
	atomic { before = elsewhere; elsewhere = true }
#else
	atomic { hand[me] = true; late[me] = false; before = elsewhere; elsewhere = true }
#endif
	accused = before;
#ifdef LIVE_NOT_READ
	atomic { if :: !accused -> carry_out() :: else fi }
#else
	atomic { accused = accused || !live; if :: !accused -> carry_out() :: else fi }
#endif
	if
#ifdef ACCUSED_KILLED
	:: accused && !before -> hand[me] = false; goto told    /* recovery finds the block free, and clears the hand */
#endif
#ifdef TAKEN_BACK_ALWAYS
	:: accused -> elsewhere = false
#else
	:: accused && !before -> elsewhere = false
#endif
	:: else
	fi;
	atomic { late[me] = false; hand[me] = false }
told:
	atomic { accused_count = accused_count + (accused -> 1 : 0); before = false; accused = false }
end:
	done[me] = true
}

proctype Buffers() {
	do
	:: atomic { late[0] -> hand[0] = true; late[0] = false }
	:: atomic { late[1] -> hand[1] = true; late[1] = false }
	:: done[0] && done[1] -> break
	od
}

proctype Judge() {
	atomic {
		owner_done && done[0] && done[1] ->
		forbid(block_lost, !out && live && !elsewhere);
#ifndef ALSO_LOCAL
		forbid(crime_missed, accused_count != 1)
#endif
	}
}

init { atomic { run Owner(); run Freer(0); run Freer(1); run Buffers(); run Judge() } }
