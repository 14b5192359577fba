/* SPDX-License-Identifier: MIT
 *
 * A slab that is put to use bit by bit: its owner extends it, is killed, is recovered, and the adopter extends it again.
 *
 * A fresh slab has only its first block in the free bits. `ready` is the number of blocks that were ever put there. The owner
 * extends the slab when it finds no free block: it sets the free bits of the blocks from ready up to n, word by word, and then
 * stores ready = n, which commits. The owner may be killed after any store. The recoverer (itself killed and followed by another,
 * as often as the search likes) gives the claim back to the free bits, finishes the drain, clears the free bits at or beyond
 * ready, and only then makes the slab an orphan. The next owner adopts it and goes on.
 *
 *   free_bits           one set of bits for the whole slab; but every store changes the bits of one word only
 *   claim, claim_index  the word that the owner allocates from, and its number
 *   elsewhere           blocks freed by another thread, which is not killed here (claim.pml does that) and so needs no hand
 *   mail                a block on its way from the owner to that thread, plus one
 *   live                ghost: the blocks that the program holds
 *
 * Proven: no block is handed out while the program holds it; no block at or beyond ready is ever handed out; and when all is quiet
 * every block below ready is free or held, and none at or beyond it is free.
 *
 * Negative controls, each with the assertion it makes fail:
 *   READY_FIRST            ready is stored before the free bits are set                          block_lost
 *   RECOVERY_KEEPS         recovery leaves the free bits beyond ready where they are             block_not_ready_handed_out
 *   KEEPS_AND_ALLOWS       the same, with what names `ready` not asserted: the adopter extends over a block
 *                          that it has already handed out                                        block_handed_out_twice
 *   ORPHAN_FIRST           recovery makes the slab an orphan, then clears what is beyond ready    block_not_ready_handed_out
 */

#ifndef OPS
#define OPS 5           /* what each owner does before it is content */
#endif
#ifndef OWNERS
#define OWNERS 3        /* one after the other */
#endif
#ifdef KEEPS_AND_ALLOWS
#define RECOVERY_KEEPS
#endif
#define BLOCKS 4        /* two words of two */
#define WORD(k) (3 << (2 * (k)))
#define BIT(block) (1 << (block))
#define BELOW(n) ((1 << (n)) - 1)

byte free_bits = BELOW(1);
byte ready = 1;
byte claim, claim_index;
byte elsewhere;
byte mail;
byte live;

bool owner_dead, orphan, no_more_owners;
byte owners_left = OWNERS;

/* The names of what must never happen. */
bool block_handed_out_twice, block_not_ready_handed_out, block_lost, block_live_and_free, block_free_but_not_ready;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline owner_may_die() { if :: skip :: owner_dead = true; goto killed fi }
inline recoverer_may_die() { if :: skip :: goto again fi }

inline lowest_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: else -> ret_block++ od }
inline any_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: bits >> (ret_block + 1) -> ret_block++ od }

proctype Owner() {
	byte ops, block, word, drained, n, held;

next_owner:
	do
	:: ops == OPS -> break

	:: ops < OPS && claim == 0 && elsewhere != 0 ->             /* drain both words */
		ops++;
		word = 0;
		do
		:: word < 2 ->
			drained = elsewhere & WORD(word);
			atomic { free_bits = free_bits | drained; owner_may_die() }
			atomic { elsewhere = elsewhere & ~drained; owner_may_die() }
			word++
		:: else -> break
		od;
		word = 0; drained = 0

	:: atomic { ops < OPS && claim == 0 && elsewhere == 0 && free_bits != 0 ->      /* take a word that has free bits */
		ops++;
		if
		:: free_bits & WORD(0) -> word = 0
		:: free_bits & WORD(1) -> word = 1
		fi }
		atomic { claim_index = word; owner_may_die() }
		atomic { claim = free_bits & WORD(word); owner_may_die() }
		atomic { free_bits = free_bits & ~WORD(word); owner_may_die() }
		word = 0

	:: ops < OPS && claim == 0 && elsewhere == 0 && free_bits == 0 && ready < BLOCKS ->     /* extend */
		ops++;
		n = ready + 1;
		do :: n < BLOCKS -> n++ :: break od;
#ifdef READY_FIRST
		atomic { block = ready; ready = n; owner_may_die() }
		atomic { free_bits = free_bits | (BELOW(n) & ~BELOW(block) & WORD(0)); owner_may_die() }
		atomic { free_bits = free_bits | (BELOW(n) & ~BELOW(block) & WORD(1)); owner_may_die() }
		block = 0;
#else
		atomic { free_bits = free_bits | (BELOW(n) & ~BELOW(ready) & WORD(0)); owner_may_die() }
		atomic { free_bits = free_bits | (BELOW(n) & ~BELOW(ready) & WORD(1)); owner_may_die() }
		atomic { ready = n; owner_may_die() }
#endif
		n = 0

	:: ops < OPS && claim == 0 && elsewhere == 0 && free_bits == 0 && ready == BLOCKS ->    /* no memory in this slab */
		ops++

	:: atomic { ops < OPS && claim != 0 ->                      /* alloc: one store */
		ops++;
		lowest_of(claim, block);
		forbid(block_handed_out_twice, live & BIT(block));
#ifndef KEEPS_AND_ALLOWS
		forbid(block_not_ready_handed_out, block >= ready);
#endif
		claim = claim & ~BIT(block);
		live = live | BIT(block);
		held = held | BIT(block);
		block = 0;
		owner_may_die() }

	:: atomic { ops < OPS && held != 0 ->                       /* local free: one store */
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
	/* It leaves in order. */
	free_bits = free_bits | claim;
	claim = 0;
	orphan = true;
killed:
	atomic {
		orphan ->
		ops = 0; block = 0; word = 0; drained = 0; n = 0; held = 0;
		owners_left--;
		if
		:: owners_left > 0 -> orphan = false; goto next_owner
		:: else -> no_more_owners = true
		fi
	}
}

proctype Freer() {
	do
	:: atomic { mail != 0 ->
		elsewhere = elsewhere | BIT(mail - 1);
		live = live & ~BIT(mail - 1);
		mail = 0 }
	:: no_more_owners && mail == 0 -> break
	od
}

proctype Recoverer() {
again:
	do
	:: owner_dead ->
#ifdef ORPHAN_FIRST
		atomic { free_bits = free_bits | claim; recoverer_may_die() }
		atomic { claim = 0; recoverer_may_die() }
		atomic { elsewhere = elsewhere & ~free_bits; recoverer_may_die() }
		atomic { owner_dead = false; orphan = true }
		atomic { free_bits = free_bits & (BELOW(ready) | WORD(1)) }
		atomic { free_bits = free_bits & (BELOW(ready) | WORD(0)) }
#else
		atomic { free_bits = free_bits | claim; recoverer_may_die() }
		atomic { claim = 0; recoverer_may_die() }
		atomic { elsewhere = elsewhere & ~free_bits; recoverer_may_die() }
#ifndef RECOVERY_KEEPS
		atomic { free_bits = free_bits & (BELOW(ready) | WORD(1)); recoverer_may_die() }
		atomic { free_bits = free_bits & (BELOW(ready) | WORD(0)); recoverer_may_die() }
#endif
		atomic { owner_dead = false; orphan = true; recoverer_may_die() }
#endif
	:: no_more_owners && mail == 0 && !owner_dead -> break
	od;
	atomic {
		forbid(block_lost, BELOW(ready) & ~(live | free_bits | claim | elsewhere));
		forbid(block_live_and_free, live & (free_bits | claim | elsewhere));
#ifndef KEEPS_AND_ALLOWS
		forbid(block_free_but_not_ready, (free_bits | claim | elsewhere) >> ready)
#endif
	}
}

init { atomic { run Owner(); run Freer(); run Recoverer() } }
