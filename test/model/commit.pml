/* SPDX-License-Identifier: MIT
 *
 * Growth and decommit: the memory of one unit of a shared file, the bit that says that it is there, and those who take the
 * unit, use it, commit memory for a neighbour of it, and give its memory back to the system.
 *
 * Follows src/core/spans.c (span_take, span_free, span_commit, is_being_widened, give_back, span_decommit,
 * span_settle_memory), src/section/section.c (section_widen, section_commit_pages, section_next_pages,
 * section_decommit_pages, section_unmark_pages) and src/recovery/recovery.c (free_taken, recovery_of_owner).
 *
 * Each may be killed after any store; a killed recoverer is followed by another, as often as the search likes. The store of a
 * name leaves its processor late (a store buffer, which a fence, an atomic operation and a kill empty); its end is seen at once,
 * for a name that is seen too long only makes others leave alone what they could have taken.
 *
 *   unit                the unit word: FREE, or TAKEN by a committer (it uses the unit) or by one that decommits
 *   memory              the system has memory for it: without it a touch takes it then, and may find the file system full (SIGBUS)
 *   marked              the page's commit bit
 *   named[c], late[c]   `widening` of committer c: it commits pages, and this may be one of them; it is on its way there
 *
 *   commit    name;   fence;   if the bit is clear: memory, unless the system refuses it, then the bit;   no name
 *   use       CAS FREE -> TAKEN{me};   commit;   touch, if the bit is set;   FREE
 *   widened   the same commit, for a neighbour: the unit is not taken
 *   decommit  CAS FREE -> TAKEN{me};   if the bit is set: names?   if there are none: memory goes, then the bit;   FREE
 *   recovery  of one TAKEN to decommit: if the bit is set: names?   memory goes, if there are none;   then the bit;   FREE
 *             of a committer: FREE;   no name
 *
 * Proven: whoever touches a unit finds its memory there; and when all is quiet the bit is set only where there is memory.
 *
 * Negative controls, each with the assertion it makes fail:
 *   BIT_FIRST           a commit sets the bit before the memory is there                            memory_not_there
 *   NOT_TAKEN           a decommit does not take the unit                                         bit_without_memory
 *   FREED_AS_IT_IS      recovery frees a unit that was TAKEN to decommit as it is                 bit_without_memory
 *   NAMES_IGNORED       a decommit does not look at names                                           memory_not_there
 *   NO_FENCE            a commit looks at the bit before its name has reached others              bit_without_memory
 *   NAMED_LATE          a commit looks at the bit before it stores its name                         memory_not_there
 *   NAMES_FIRST         a decommit looks at names before it looks at the bit                      bit_without_memory
 *   RECOVERY_ALONE      recovery does not look at names                                             memory_not_there
 *   RECOMMITTED         recovery commits anew where it finds a name, and gives the memory back when
 *                       the system refuses that                                                     memory_not_there
 */

#ifndef TURNS
#define TURNS 2         /* of each committer */
#endif
#define FREE 0
#define DECOMMITTER 3   /* 1 and 2: committers */

byte unit;
bool memory, marked;
bool named[3], late[3];
bool dead[4], done[4];

/* The names of what must never happen. */
bool memory_not_there, bit_without_memory;

/* A bool keeps only the lowest bit of what is stored in it: hence the comparison. */
inline forbid(crime, condition) { crime = ((condition) != 0); assert(!crime) }
inline empty_buffer(c) { if :: late[c] -> named[c] = true; late[c] = false :: else fi }
inline may_die(me) { if :: skip :: dead[me] = true; late_name_arrives(me); goto killed fi }
inline late_name_arrives(me) { if :: me != DECOMMITTER -> empty_buffer(me) :: else fi }
inline recoverer_may_die() { if :: skip :: goto again fi }

#define SOMEBODY_COMMITS (named[1] || named[2])

inline commit(me) {
#ifdef NAMED_LATE
	missing = !marked;
#endif
	atomic { late[me] = true; may_die(me) }
#ifndef NO_FENCE
	atomic { empty_buffer(me) }
#endif
#ifndef NAMED_LATE
	missing = !marked;
#endif
	if
	:: !missing
	:: missing ->
#ifdef BIT_FIRST
		atomic { empty_buffer(me); marked = true; may_die(me) }
		atomic { memory = true; may_die(me) }
#else
		if
		:: atomic { memory = true; may_die(me) }
			atomic { empty_buffer(me); marked = true; may_die(me) }
		:: skip                                 /* refused */
		fi
#endif
	fi;
	atomic { late[me] = false; named[me] = false; missing = false; may_die(me) }
}

proctype Committer(byte me) {
	byte turns;
	bool missing;
	do
	:: turns == TURNS -> break
	:: atomic { turns < TURNS && unit == FREE -> turns++; unit = me; may_die(me) }
		commit(me);
		if
		:: marked -> forbid(memory_not_there, !memory)
		:: else
		fi;
		atomic { unit = FREE; may_die(me) }
	:: turns < TURNS -> turns++; commit(me)
	:: true -> break
	od;
	done[me] = true;
killed:
	skip
}

proctype Buffers() {
	do
	:: atomic { late[1] -> empty_buffer(1) }
	:: atomic { late[2] -> empty_buffer(2) }
	:: (dead[1] || done[1]) && (dead[2] || done[2]) -> break
	od
}

proctype Decommitter() {
	bool stays;
	do
#ifdef NOT_TAKEN
	:: unit == FREE ->
#else
	:: atomic { unit == FREE -> unit = DECOMMITTER; may_die(DECOMMITTER) }
#endif
#ifdef NAMES_FIRST
		stays = SOMEBODY_COMMITS;
#endif
		if
		:: marked ->
#ifndef NAMES_FIRST
#ifndef NAMES_IGNORED
			stays = named[1];
			stays = stays || named[2];
#endif
#endif
			if
			:: !stays ->
				atomic { memory = false; may_die(DECOMMITTER) }
				atomic { marked = false; may_die(DECOMMITTER) }
			:: else
			fi
		:: else
		fi;
		atomic {
			stays = false;
#ifndef NOT_TAKEN
			unit = FREE;
#endif
			may_die(DECOMMITTER) }
	:: true -> break
	od;
	done[DECOMMITTER] = true;
killed:
	skip
}

inline settle_memory() {
	if
	:: marked ->
#ifndef RECOVERY_ALONE
		stays = named[1];
		stays = stays || named[2];
#endif
#ifdef RECOMMITTED
		if
		:: stays -> if :: memory = true; goto settled :: stays = false /* refused */ fi
		:: else
		fi;
#endif
		if
		:: !stays -> atomic { memory = false; recoverer_may_die() }
		:: else
		fi;
		atomic { marked = false; recoverer_may_die() }
	:: else
	fi
}

inline recover_committer(who) {
	if
	:: unit == who -> atomic { unit = FREE; recoverer_may_die() }
	:: else
	fi;
	atomic { named[who] = false; recoverer_may_die() }
	atomic { dead[who] = false; done[who] = true }
}

proctype Recoverer() {
	bool stays;
again:
	stays = false;
	do
	:: dead[1] -> recover_committer(1)
	:: dead[2] -> recover_committer(2)
	:: dead[DECOMMITTER] ->
		if
		:: unit == DECOMMITTER ->
#ifndef FREED_AS_IT_IS
			settle_memory();
#endif
settled:
			atomic { unit = FREE; stays = false; recoverer_may_die() }
		:: else
		fi;
		atomic { dead[DECOMMITTER] = false; done[DECOMMITTER] = true }
	:: done[1] && done[2] && done[DECOMMITTER] -> break
	od;
	forbid(bit_without_memory, marked && !memory)
}

init {
	atomic {
		if :: memory = true; marked = true :: memory = true :: skip fi;
		run Committer(1); run Committer(2); run Buffers(); run Decommitter(); run Recoverer()
	}
}
