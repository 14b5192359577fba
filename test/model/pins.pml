/* SPDX-License-Identifier: MIT
 *
 * Pins: a publisher frees and uses again while a reader reads, and waits for nobody (src/publish/retire.c).
 *
 * The publisher has one root and two blocks. In each turn it fills the block that is free, stores the root, which unlinks the other
 * one, and retires that. Before it can use a retired block again it looks at the reader's pin; when that holds the block back it
 * looks again, or cuts the reader off at once (the deadline is a matter of time, and so is any moment here).
 *
 * The reader begins, reads the root, reads both halves of the block that it leads to, and ends. A block's halves are written one
 * after the other, so a reader who reads them in between sees two values: a torn read. It may stop for any time between two steps.
 *
 * Memory is as on x86 (TSO): each side has a buffer of its stores, in order, which reach the memory later, one by one; a side sees
 * its own buffer first; a fence waits until the buffer is empty. That is what the seq_cst fences are for. Weaker machines may reorder
 * more, and there each store that matters is a release and each load an acquire: these give the orders that TSO has by itself.
 *
 * This model is the only thing that shows what the reader's fence is for: processes on real processors have not been seen to read
 * torn when it was left out, since the window is that of one store in a buffer.
 *
 * Proven: no reader whose read_end returns 0 has read a torn block.
 *
 * Negative controls, each with the assertion that it makes fail:
 *   NO_READER_FENCE     the pin is stored, and the root is read before the pin can be seen             torn
 *   NO_PUBLISHER_FENCE  the pin is read before the unlinking and the new epoch can be seen             torn
 *   SAME_EPOCH          no new epoch after the unlinking, and a pin of the same one does not count     torn
 *   CUT_BEFORE_EPOCH    the cut is stored before the epoch grows: a pin of after it counts no more      torn
 *   REUSE_BEFORE_CUT    the block is used again before the cut is stored                               torn
 *   CUT_NOT_LOOKED_AT   read_end does not look at the cut                                              torn
 *   CUT_READ_LATE       read_begin reads the cut after the epoch: an old epoch, and a new cut           torn
 */

#ifndef TURNS
#define TURNS 4
#endif
#ifndef READS
#define READS 2
#endif

/* ---- the memory, by number */
#define ROOT 0          /* which block: 0 or 1 */
#define EPOCH 1
#define CUT 2
#define PIN 3
#define HALF(block, n) (4 + 2 * (block) + (n))
#define WORDS 8

byte memory[WORDS];

/* ---- buffers of stores: a queue of {word, value} for each side */
#define DEPTH 6
chan publisher_stores = [DEPTH] of { byte, byte };
chan reader_stores = [1] of { byte, byte };
bool publisher_done, reader_done;

bool torn;
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }

proctype Drain() {
	byte word, value;
	do
	:: atomic { publisher_stores ? word, value -> memory[word] = value; word = 0; value = 0 }
	:: atomic { reader_stores ? word, value -> memory[word] = value; word = 0; value = 0 }
	:: publisher_done && reader_done && empty(publisher_stores) && empty(reader_stores) -> break
	od
}

/* The publisher keeps its own copy of what it alone writes, so it loads nothing but the pin. */
proctype Publisher() {
	byte turns, live, epoch = 1, cut, stamp, pin, counts_from, value = 1;
	bool held;

	do
	:: turns == TURNS -> break
	:: turns < TURNS ->
		turns++;
		/* The other block is free: fill it, and lead to it. */
		value++;
		publisher_stores ! HALF(1 - live, 0), value;
		publisher_stores ! HALF(1 - live, 1), value;
		publisher_stores ! ROOT, 1 - live;
		/* Retire the one that was there. */
		stamp = epoch;
again:
#ifndef SAME_EPOCH
		epoch++;
		publisher_stores ! EPOCH, epoch;
#endif
#ifndef NO_PUBLISHER_FENCE
		empty(publisher_stores);
#endif
		atomic {
			pin = memory[PIN];
#ifdef SAME_EPOCH
			held = pin != 0 && pin >= counts_from && pin < stamp;
#else
			held = pin != 0 && pin >= counts_from && pin <= stamp;
#endif
			pin = 0
		}
		if
		:: !held -> skip
		:: held -> goto again_later
		:: held ->                                              /* cut off */
#ifdef CUT_BEFORE_EPOCH
			cut++;
			publisher_stores ! CUT, cut;
			epoch++;
			counts_from = epoch;
			publisher_stores ! EPOCH, epoch;
#else
			epoch++;
			counts_from = epoch;
			publisher_stores ! EPOCH, epoch;
			cut++;
#ifdef REUSE_BEFORE_CUT
			value++;
			publisher_stores ! HALF(live, 0), value;
#endif
			publisher_stores ! CUT, cut;
#endif
			empty(publisher_stores);
			held = false
		fi;
		live = 1 - live;
		goto next;
again_later:
		/* Only for as long as the reader reads: else nobody would ever move again. */
		if
		:: memory[PIN] == 0 || reader_done -> goto again
		fi;
next:
		skip
	od;
	publisher_done = true
}

proctype Reader() {
	byte reads, cut, epoch, seen, block, first, second;

	do
	:: reads == READS -> break
	:: reads < READS ->
		reads++;
begin:
#ifdef CUT_READ_LATE
		epoch = memory[EPOCH];
		cut = memory[CUT];
#else
		cut = memory[CUT];
		epoch = memory[EPOCH];
#endif
		reader_stores ! PIN, epoch;
#ifndef NO_READER_FENCE
		empty(reader_stores);
#endif
		seen = memory[CUT];
		if
		:: seen != cut -> goto begin
		:: else -> skip
		fi;
		block = memory[ROOT];
		first = memory[HALF(block, 0)];
		second = memory[HALF(block, 1)];
		seen = memory[CUT];
		atomic {
#ifdef CUT_NOT_LOOKED_AT
			forbid(torn, first != second);
#else
			forbid(torn, seen == cut && first != second);
#endif
			cut = 0; epoch = 0; seen = 0; block = 0; first = 0; second = 0
		}
		reader_stores ! PIN, 0
	od;
	reader_done = true
}

init {
	atomic {
		memory[EPOCH] = 1;
		memory[HALF(0, 0)] = 1;
		memory[HALF(0, 1)] = 1;
		run Drain(); run Publisher(); run Reader()
	}
}
