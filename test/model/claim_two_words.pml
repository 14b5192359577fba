/* SPDX-License-Identifier: MIT
 *
 * A slab of two words in one unit: the owner leaves or dies, a second owner adopts, the whole slab is given back, and a stranger
 * uses the unit; a freer elsewhere looks for a double free on its way. Every one of them may be killed after any store it makes,
 * and a killed recoverer is followed by another, as often as the search likes.
 *
 * The slab has three blocks: 0 and 1 are the bits of word 0, and 2 is the lowest bit of word 1. So a bit alone does not tell which
 * block it stands for, and whoever looks at the claim must know the word that it was taken from.
 *
 *   free_bits[w], elsewhere[w]  the two arrays of words
 *   claim                       the word that the owner allocates from
 *   claim_index                 the number of that word in the lowest bit; above it a count that grows with every claim
 *   hand                        the block the freer is about to free, plus one; 0 when the hand is empty
 *   mail                        a block on its way from an owner to the freer, plus one (the program's affair)
 *   unit                        the unit word: ORPHAN, 1 or 2 (the slab's owner), or STRANGER once the unit was given back
 *   live                        ghost: the blocks that the program holds
 *
 * An owner allocates, frees, gives blocks away, refills (drains one word and takes it), leaves in order (gives the claim back to
 * the free bits, then stores ORPHAN), or drains both words and, when every block is free, gives the unit back. The freer names the
 * block, sets its bit with fetch_or, then reads free, index, claim, index to see whether the block was free already, then clears
 * its hand, and does not touch the slab after that. Recovery of a dead owner: the claim goes back to the free bits, claim = 0, each
 * word of elsewhere loses the bits that are free, and last the unit word becomes ORPHAN.
 *
 * Proven: no block is handed out while the program holds it; no free is carried out twice; the crime check never accuses this
 * program, which is a valid one; neither the freer nor the recovery of its hand touches a unit that was given back; no unit with
 * a held block is given back; and when all is quiet every block is either free or held.
 *
 * Variant, without error:
 *   LAZY                     a refill takes a word that has free bits without draining it, and drains only when there is none.
 *                            Sound, because recovery finishes a drain that the dead owner began.
 *   FREES_TWICE              the program is in error: the freer frees its block a second time. It is accused unless the block
 *                            was handed out again first, and an accused free leaves no trace. That takes two things more: the
 *                            check reads index, free, claim, free, index and begins again when the index has changed (an
 *                            owner's leaving, or recovery, moves bits from the claim back to free); and the drain reads
 *                            elsewhere once more after the hands (the accused takes its bit back, then clears its hand, and
 *                            the drain may have read that bit before). No unit is given back in this variant, and the second
 *                            free is not killed.
 *
 * Negative controls, each with the assertion it makes fail:
 *   LAZY_UNFINISHED          LAZY, and recovery does not finish the drain: a block
 *                            that was handed out again still stands in elsewhere       block_live_and_free
 *   HAND_EARLY               the freer clears its hand, then looks at the slab         strangers_unit_touched
 *   NO_COUNT                 the index carries no count                                valid_program_accused
 *   INDEX_ONCE               the freer reads the index only before the claim           valid_program_accused
 *   ELSEWHERE_IS_FREE        a unit is given back when each block is free or stands in
 *                            elsewhere, drained or not                                 strangers_unit_touched
 *   FREE_READ_ONCE           FREES_TWICE, and the check reads free only before the claim  crime_missed
 *   NOT_READ_AGAIN           FREES_TWICE, and the drain reads elsewhere only once       block_handed_out_twice
 *   ORPHAN_FIRST             recovery stores ORPHAN before the rest                    block_lost
 */

#ifndef OPS
#define OPS 4           /* what each owner does before it leaves */
#endif
#ifdef LAZY_UNFINISHED
#define LAZY
#endif
#ifdef FREES_TWICE
#define READ_AGAIN
#endif
#ifdef FREE_READ_ONCE
#define FREES_TWICE
#define READ_AGAIN
#endif
#ifdef NOT_READ_AGAIN
#define FREES_TWICE
#endif
#define WORDS 2
#define BLOCKS 3
#define FULL(word) (3 >> (word))                /* the bits of all blocks of a word */
#define WORD_OF(block) ((block) >> 1)
#define BIT_OF(block) (1 << ((block) & 1))      /* within its word */
#define BIT(block) (1 << (block))               /* among all blocks, for the ghosts */
#define ORPHAN 0
#define STRANGER 3

byte free_bits[WORDS];
byte elsewhere[WORDS];
byte claim;
byte claim_index;
byte hand;
byte mail;
byte unit = 1;
byte live;

bool owner_dead[3], owner_done[3];
bool freer_dead, freer_done;
byte freed_once;        /* ghost of FREES_TWICE: the block that the freer freed last, plus one, until it is handed out again */
bool undefined;         /* ghost of FREES_TWICE: the program has freed a block of somebody else's; nothing holds after that */

/* The names of what must never happen. */
bool block_handed_out_twice, block_freed_twice, valid_program_accused, strangers_unit_touched;
bool crime_missed, held_block_given_back, block_lost, block_live_and_free;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) && !undefined); assert(!crime) }
#define TOUCH forbid(strangers_unit_touched, unit == STRANGER)

/* Where one of these stands at the end of an atomic step, the process may be killed right after the store before it. */
inline owner_may_die() { if :: skip :: owner_dead[me] = true; goto killed fi }
inline freer_may_die() { if :: skip :: freer_dead = true; goto killed fi }
inline recoverer_may_die() { if :: skip :: goto again fi }

#define INDEX_WORD(index) ((index) & 1)
#ifdef NO_COUNT
#define NEXT_INDEX(word) (word)
#else
#define NEXT_INDEX(word) (((claim_index >> 1) + 1) * 2 + (word))
#endif

#define NAMED(word) (hand != 0 && WORD_OF(hand - 1) == (word) -> BIT_OF(hand - 1) : 0)

inline lowest_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: else -> ret_block++ od }
inline any_of(bits, ret_block) { ret_block = 0; do :: bits & BIT(ret_block) -> break :: bits >> (ret_block + 1) -> ret_block++ od }

inline drain(word) {
	drained = elsewhere[word];
	drained = drained & ~NAMED(word);
#ifdef READ_AGAIN
	drained = drained & elsewhere[word];       /* without what an accused freer has taken back in between */
#endif
	if
	:: drained != 0 ->
		atomic { free_bits[word] = free_bits[word] | drained; owner_may_die() }
		atomic { elsewhere[word] = elsewhere[word] & ~drained; drained = 0; owner_may_die() }
	:: else
	fi
}

inline take(word) {
	atomic { claim_index = NEXT_INDEX(word); owner_may_die() }
	atomic { claim = free_bits[word]; owner_may_die() }
	atomic { free_bits[word] = 0; owner_may_die() }
}

#ifdef ELSEWHERE_IS_FREE
#define WHOLE(word) ((free_bits[word] | elsewhere[word]) == FULL(word))
#else
#define WHOLE(word) (free_bits[word] == FULL(word) && elsewhere[word] == 0)
#endif

proctype Owner(byte me) {
	byte ops, word, block, drained, held;      /* held: what this owner allocated and has neither freed nor given away */

	if
	:: unit == me
	:: atomic { unit == ORPHAN && owner_done[1] -> unit = me; owner_may_die() }     /* adoption: one CAS */
	:: unit == STRANGER -> goto done
	fi;
	do
	:: ops == OPS -> break

	:: atomic { ops < OPS && claim == 0 -> ops++; if :: word = 0 :: word = 1 fi }   /* refill */
#ifdef LAZY
		if
		:: free_bits[word] != 0
		:: free_bits[word] == 0 && free_bits[1 - word] != 0 -> word = 1 - word
		:: free_bits[0] == 0 && free_bits[1] == 0 -> drain(0); drain(1)
		fi;
#else
		drain(word);
#endif
		if
		:: free_bits[word] != 0 -> take(word)
		:: else
		fi;
		word = 0

	:: atomic { ops < OPS && claim != 0 ->                                          /* alloc: one store */
		ops++;
		lowest_of(claim, block);
		claim = claim & ~BIT(block);
		block = block + 2 * INDEX_WORD(claim_index);
		forbid(block_handed_out_twice, live & BIT(block));
		live = live | BIT(block);
		held = held | BIT(block);
		freed_once = (freed_once == block + 1 -> 0 : freed_once);
		block = 0;
		owner_may_die() }

	:: atomic { ops < OPS && held != 0 ->                                           /* local free: one store */
		ops++;
		any_of(held, block);
		free_bits[WORD_OF(block)] = free_bits[WORD_OF(block)] | BIT_OF(block);
		live = live & ~BIT(block);
		held = held & ~BIT(block);
		block = 0;
		owner_may_die() }

	:: atomic { ops < OPS && mail == 0 && !freer_done && held != 0 ->
		ops++;
		any_of(held, block);
		held = held & ~BIT(block);
		mail = block + 1;
		block = 0 }

#ifndef FREES_TWICE
	:: ops < OPS && claim == 0 ->                                                   /* give the unit back */
		ops++;
		drain(0);
		drain(1);
		if
		:: WHOLE(0) ->
			if
			:: WHOLE(1) -> atomic {
				forbid(held_block_given_back, live);
				free_bits[0] = 0; free_bits[1] = 0; elsewhere[0] = 0; elsewhere[1] = 0;
				unit = STRANGER;
				goto done }
			:: else
			fi
		:: else
		fi
#endif

	:: true -> break
	od;
	/* It leaves in order. */
	atomic { free_bits[INDEX_WORD(claim_index)] = free_bits[INDEX_WORD(claim_index)] | claim; owner_may_die() }
	atomic { claim = 0; owner_may_die() }
	atomic { unit = ORPHAN; held = 0 }
done:
	owner_done[me] = true;
killed:
	skip
}

inline commit_free(block) {
	forbid(block_freed_twice, !(live & BIT(block)));
	elsewhere[WORD_OF(block)] = elsewhere[WORD_OF(block)] | BIT_OF(block);
	live = live & ~BIT(block);
#ifdef FREES_TWICE
	freed_once = block + 1
#endif
}

/* The second free of a block, by a program in error: the same steps, but here the check ought to find something. */
inline free_again() {
	hand = block + 1;
	atomic {
		mine = !(elsewhere[WORD_OF(block)] & BIT_OF(block));
		elsewhere[WORD_OF(block)] = elsewhere[WORD_OF(block)] | BIT_OF(block);
		accused = !mine
	}
check_again:
	index = claim_index;
	accused = accused || (free_bits[WORD_OF(block)] & BIT_OF(block));
	seen = (INDEX_WORD(index) == WORD_OF(block) -> claim & BIT_OF(block) : 0);
#ifndef FREE_READ_ONCE
	accused = accused || (free_bits[WORD_OF(block)] & BIT_OF(block));
#endif
	if
	:: claim_index == index -> accused = accused || seen != 0
	:: claim_index != index -> goto check_again
	fi;
	/* It takes back its own bit, not the one of the first free. */
	if
	:: accused && mine -> atomic { elsewhere[WORD_OF(block)] = elsewhere[WORD_OF(block)] & ~BIT_OF(block) }
	:: else
	fi;
	atomic {
		forbid(crime_missed, !accused && freed_once == block + 1);
		undefined = !accused;
		hand = 0; index = 0; seen = 0; block = 0; accused = false; mine = false
	}
}

proctype Freer() {
	byte block, index, seen, frees;
	bool accused, mine;

	do
	:: frees == 2 -> break
	:: owner_done[1] && owner_done[2] && mail == 0 -> break
	:: atomic { frees < 2 && mail != 0 -> block = mail - 1; mail = 0; frees++; freer_may_die() }
		atomic { hand = block + 1; freer_may_die() }
		atomic { TOUCH; commit_free(block); freer_may_die() }

		/* The crime check follows the direction in which bits move. */
		atomic { TOUCH; forbid(valid_program_accused, free_bits[WORD_OF(block)] & BIT_OF(block)) }
		atomic { TOUCH; index = claim_index }
		atomic { TOUCH; seen = (INDEX_WORD(index) == WORD_OF(block) -> claim & BIT_OF(block) : 0) }
#ifdef INDEX_ONCE
		forbid(valid_program_accused, seen);
#else
		atomic { TOUCH; forbid(valid_program_accused, seen != 0 && claim_index == index) }
#endif
		atomic { hand = 0; index = 0; seen = 0; freer_may_die() }
#ifdef HAND_EARLY
		TOUCH;
#endif
#ifdef FREES_TWICE
		atomic { block = 0; break }
#endif
		block = 0
	od;
#ifdef FREES_TWICE
	if
	:: atomic { freed_once != 0 -> block = freed_once - 1 } free_again()
	:: freed_once == 0
	fi;
#endif
	freer_done = true;
killed:
	skip
}

inline recover_owner(dead) {
#ifdef ORPHAN_FIRST
	unit = ORPHAN; owner_dead[dead] = false; owner_done[dead] = true;
#endif
	atomic { free_bits[INDEX_WORD(claim_index)] = free_bits[INDEX_WORD(claim_index)] | claim; recoverer_may_die() }
	atomic { claim = 0; recoverer_may_die() }
#ifndef LAZY_UNFINISHED
	atomic { elsewhere[0] = elsewhere[0] & ~free_bits[0]; recoverer_may_die() }
	atomic { elsewhere[1] = elsewhere[1] & ~free_bits[1]; recoverer_may_die() }
#endif
#ifndef ORPHAN_FIRST
	atomic { unit = ORPHAN; owner_dead[dead] = false; owner_done[dead] = true; recoverer_may_die() }
#endif
}

proctype Recoverer() {
	byte block;

again:
	block = 0;
	do
	:: owner_dead[1] -> recover_owner(1)
	:: owner_dead[2] -> recover_owner(2)
	:: freer_dead ->
		if
		:: hand == 0
		:: hand != 0 ->
			block = hand - 1;
			TOUCH;
			if
			:: elsewhere[WORD_OF(block)] & BIT_OF(block)
			:: else -> atomic { TOUCH; commit_free(block); recoverer_may_die() }
			fi;
			atomic { hand = 0; block = 0; recoverer_may_die() }
		fi;
		atomic { freer_dead = false; freer_done = true }
	:: owner_done[1] && owner_done[2] && freer_done -> break
	od;
	atomic {
		if
		:: unit == STRANGER
		:: else ->
			block = free_bits[0] | elsewhere[0] | ((free_bits[1] | elsewhere[1]) << 2) | (claim << (2 * INDEX_WORD(claim_index)));
			forbid(block_lost, (live | block) != BIT(BLOCKS) - 1);
			forbid(block_live_and_free, live & block)
		fi
	}
}

init { atomic { free_bits[0] = FULL(0); free_bits[1] = FULL(1); run Owner(1); run Owner(2); run Freer(); run Recoverer() } }
