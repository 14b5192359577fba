/* SPDX-License-Identifier: MIT
 *
 * News: how an owner hears that others have freed blocks of its slabs, without looking at all of them.
 *
 * Follows src/core/core.c (free_elsewhere, take_news, look_at_news, look_at_unit).
 *
 * Two freers free a block each of two slabs, of two heaps of one owner, whose units share a word of news. News is a hint: where
 * one is lost the owner finds the slab later, as it looks at some units in rotation. This model shows that none is lost while
 * nobody is killed, on processors on which an atomic operation is complete before a later load (x86-64; on others a load of
 * news may overtake the fetch_or, and the rotation has to find it). has_news is a plain store, and may be late.
 *
 *   elsewhere[s]        others have freed a block of slab s, which is of heap s
 *   news                a bit for each slab;   has_news: news is not 0;   late: the store of has_news is on its way
 *   listed[s]           the owner has listed the slab, for it saw elsewhere
 *
 *   free      elsewhere fetch_or;   news, unless set: fetch_or;   has_news, unless set
 *   owner     has_news?  exchange with 0;   exchange news with 0;   look at the slab of the heap that it allocates from now;
 *             news of its other heap goes back into news, and has_news is set
 *
 * Proven: when all is quiet, a slab of which others have freed a block is listed, or there is news of it.
 *
 * Negative controls, each with the assertion it makes fail:
 *   NEWS_FIRST          the freer sends the news, then sets the bit                     news_lost
 *   HAS_FIRST           the freer stores has_news before the news                       news_lost
 *   CLEARED_LAST        the owner clears has_news after it looked at the words          news_lost
 *   LOOKED_FIRST        the owner looks at its slabs, then exchanges the news           news_lost
 *   KEPT_UNSAID         the owner puts news of its other heap back, and leaves has_news news_lost
 *   NEWS_IN_BUFFER      the freer's fetch_or of the news is not complete when it loads
 *                       has_news                                                        news_lost
 */

#define SLABS 2
#define BIT(s) (1 << (s))
bool elsewhere[SLABS], listed[SLABS], freed[SLABS], late[3];
byte news;
bool has_news, owner_done;
bool news_late[SLABS];          /* NEWS_IN_BUFFER: so are the news themselves */

/* The name of what must never happen. */
bool news_lost;
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }
inline empty_buffer(who) { if :: late[who] -> has_news = true; late[who] = false :: else fi }
#define OWNER 2
inline empty_news(who) { atomic { news_late[who] -> news = news | BIT(who); news_late[who] = false } }

inline send_news() {
	seen = (news & BIT(me)) != 0;
	if
#ifdef NEWS_IN_BUFFER
	:: !seen -> news_late[me] = true
#else
	:: !seen -> atomic { news = news | BIT(me); empty_buffer(me) }
#endif
	:: else
	fi
}
inline say_so() {
	seen = has_news;
	if
	:: !seen -> late[me] = true
	:: else
	fi
}

proctype Freer(byte me) {
	bool seen;
#ifdef NEWS_FIRST
	send_news();
	say_so();
	elsewhere[me] = true;
#else
	elsewhere[me] = true;
#ifdef HAS_FIRST
	say_so();
	send_news();
#else
	send_news();
	say_so();
#endif
#endif
	seen = false;
	freed[me] = true
}

inline look() { listed[heap] = listed[heap] || ((bits & BIT(heap)) && elsewhere[heap]) }

proctype Owner() {
	byte turns, bits, heap;
	do
	:: turns == 4 -> break
	:: turns < 4 && !has_news && !late[OWNER] -> turns++
	:: turns < 4 && (has_news || late[OWNER]) ->
		turns++;
		if :: heap = 0 :: heap = 1 fi;
#ifndef CLEARED_LAST
		atomic { empty_buffer(OWNER); has_news = false }
#endif
#ifdef LOOKED_FIRST
		bits = news;
		look();
		atomic { bits = news; news = 0 }
#else
		atomic { bits = news; news = 0 }
		look();
#endif
		bits = bits & ~BIT(heap);
		if
		:: bits != 0 ->
			news = news | bits;
#ifndef KEPT_UNSAID
			late[OWNER] = true
#endif
		:: else
		fi;
#ifdef CLEARED_LAST
		atomic { empty_buffer(OWNER); has_news = false };
#endif
		atomic { bits = 0; heap = 0 }
	od;
	owner_done = true
}

proctype Buffers() {
	do
	:: empty_news(0)
	:: empty_news(1)
	:: atomic { late[0] && !news_late[0] -> empty_buffer(0) }
	:: atomic { late[1] && !news_late[1] -> empty_buffer(1) }
	:: atomic { late[OWNER] -> empty_buffer(OWNER) }
	:: freed[0] && freed[1] && owner_done && !late[0] && !late[1] && !late[OWNER] && !news_late[0] && !news_late[1] -> break
	od
}

#define FORGOTTEN(s) (elsewhere[s] && !listed[s] && (!has_news || (news & BIT(s)) == 0))
proctype Judge() {
	atomic {
		freed[0] && freed[1] && owner_done && !late[0] && !late[1] && !late[OWNER] && !news_late[0] && !news_late[1] ->
		forbid(news_lost, FORGOTTEN(0) || FORGOTTEN(1))
	}
}

init { atomic { run Freer(0); run Freer(1); run Owner(); run Buffers(); run Judge() } }
