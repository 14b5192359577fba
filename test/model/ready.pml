/* SPDX-License-Identifier: MIT
 *
 * A slab from its first word on: made in a unit that held something else before, extended bit by bit, killed, adopted, and extended
 * again by the adopter.
 *
 * Follows src/core/slab.[ch] (slab_init, slab_extend, slab_find_free, slab_make_orphan), src/core/core.c (create_slab, adopt),
 * src/core/spans.c (span_publish) and src/recovery/recovery.c (disown_spans, free_taken). The words for frees from elsewhere
 * are cleared as live is, just behind it: bits left there would only be drained.
 *
 *   live                a bit for each block; what was here before may have left bits
 *   ready               blocks from here on were never handed out: their memory may not be there
 *   memory              blocks whose memory is committed
 *   unit                the unit word: TAKEN (not published), SLAB, ORPHAN
 *   late_live           the clearing of live may reach others later than the unit word, unless that store releases
 *   out                 ghost: the blocks that the program holds
 *
 *   make      ready = 0;   live = 0;   the unit word, which publishes and releases
 *   extend    memory of the blocks [ready, n);   ready = n (commits)
 *   claim     ~live of the blocks below ready
 *   recovery  of a unit that is not published: it is FREE, and made into a slab anew;   of a slab: it is an orphan, as it stands
 *
 * Proven: no block is handed out while the program holds it, and none whose memory is not there; when all is quiet every live block
 * is held.
 *
 * Negative controls, each with the assertion it makes fail:
 *   READY_FIRST         ready is stored before the memory is there              memory_not_there
 *   READY_IGNORED       a claim takes blocks beyond ready                       memory_not_there
 *   PUBLISHED_FIRST     the unit word is stored before ready and live are       block_lost
 *   NOT_RELEASED        the unit word's store does not release: an adopter may
 *                       find the bits of what was here before, and clear later  block_handed_out_twice
 */

#ifndef OPS
#define OPS 6
#endif
#define BLOCKS 3
#define BIT(block) (1 << (block))
#define BELOW(n) ((1 << (n)) - 1)
#define EVERY_BLOCK BELOW(BLOCKS)

mtype = { TAKEN, SLAB, ORPHAN };

byte live = 5;          /* of what was here before */
byte ready = 2;
byte memory;
mtype unit = TAKEN;
bool late_live;
byte out;

bool owner_dead, no_more_owners;
byte owners_left = 3;

/* The names of what must never happen. */
bool block_handed_out_twice, memory_not_there, block_lost, block_live_and_free;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }
inline empty_buffer() { live = (late_live -> 0 : live); late_live = false }

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. A kill does
 * not empty the buffer in NOT_RELEASED: there the store stands for one that this adopter sees too late. */
#ifdef NOT_RELEASED
#define RELEASE skip
#else
#define RELEASE empty_buffer()
#endif
inline owner_may_die() { if :: skip :: owner_dead = true; goto killed fi }
inline recoverer_may_die() { if :: skip :: goto again fi }
inline lowest_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: else -> ret_block++ od }

proctype Owner() {
	byte ops, block, claim, held, n;

next_owner:
	if
	:: unit == TAKEN ->
#ifdef PUBLISHED_FIRST
		atomic { unit = SLAB; owner_may_die() }
		atomic { ready = 0; owner_may_die() }
		atomic { live = 0; owner_may_die() }
#else
		atomic { ready = 0; owner_may_die() }
		atomic { late_live = true; owner_may_die() }
		atomic { RELEASE; unit = SLAB; owner_may_die() }
#endif
	:: unit == ORPHAN -> atomic { unit = SLAB; owner_may_die() }
	fi;
	do
	:: ops == OPS -> break

#ifdef READY_IGNORED
	:: atomic { ops < OPS && claim == 0 && (EVERY_BLOCK & ~live) != 0 -> ops++; claim = EVERY_BLOCK & ~live }
#else
	:: atomic { ops < OPS && claim == 0 && (BELOW(ready) & ~live) != 0 -> ops++; claim = BELOW(ready) & ~live }
#endif

	:: ops < OPS && claim == 0 && ready < BLOCKS ->
		ops++;
		n = ready + 1;
		do :: n < BLOCKS -> n++ :: break od;
#ifdef READY_FIRST
		atomic { ready = n; owner_may_die() }
		atomic { memory = memory | BELOW(n); owner_may_die() }
#else
		atomic { memory = memory | BELOW(n); owner_may_die() }
		atomic { ready = n; owner_may_die() }
#endif
		n = 0

	:: atomic { ops < OPS && claim != 0 ->
		ops++;
		lowest_of(claim, block);
		claim = claim & ~BIT(block);
		forbid(block_handed_out_twice, out & BIT(block));
		live = live | BIT(block);
		out = out | BIT(block);
		held = held | BIT(block);
		forbid(memory_not_there, !(memory & BIT(block)));
		block = 0;
		owner_may_die() }

	:: atomic { ops < OPS && held != 0 ->
		ops++;
		lowest_of(held, block);
		live = live & ~BIT(block);
		out = out & ~BIT(block);
		held = held & ~BIT(block);
		block = 0;
		owner_may_die() }

	:: true -> break
	od;
	unit = ORPHAN;
killed:
	atomic {
		!owner_dead ->
		ops = 0; block = 0; claim = 0; held = 0; n = 0;
		owners_left--;
		if
		:: owners_left > 0 -> goto next_owner
		:: else -> no_more_owners = true
		fi
	}
}

proctype Recoverer() {
again:
	do
	:: atomic { owner_dead && unit == TAKEN -> owner_dead = false }
	:: owner_dead && unit == SLAB ->
		atomic { unit = ORPHAN; recoverer_may_die() }
	:: atomic { owner_dead && unit == ORPHAN -> owner_dead = false }
	:: no_more_owners && !owner_dead -> break
	od;
	atomic {
		if
		:: unit == TAKEN
		:: else ->
			forbid(block_lost, live & ~out);
			forbid(block_live_and_free, out & ~live)
		fi
	}
}

proctype Buffer() { do :: atomic { late_live -> empty_buffer() } :: no_more_owners -> break od }

init { atomic { run Owner(); run Recoverer(); run Buffer() } }
