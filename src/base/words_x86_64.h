/* SPDX-License-Identifier: MIT */
/*
 * words, for x86-64: as words_portable.h, in the instructions that compilers do not make of atomic accesses.
 * An aligned load or store of 8 bytes is one access on this machine, also where it is part of a longer instruction.
 */
#ifndef CAIRN_BASE_WORDS_X86_64_H
#define CAIRN_BASE_WORDS_X86_64_H

/* Whether a word has this value. */
ALWAYS_INLINE bool word_is(const atomic_u64 *word, uint64_t value)
{
    bool is;
    __asm__("cmpq %2, %1" : "=@cce"(is) : "m"(*word), "re"(value));
    return is;
}

/* Whether a value is below a word's. */
ALWAYS_INLINE bool word_is_above(const atomic_u64 *word, uint64_t value)
{
    bool is;
    __asm__("cmpq %1, %2" : "=@ccb"(is) : "m"(*word), "r"(value));
    return is;
}

/* Sets bits of a word that only this thread stores to. */
ALWAYS_INLINE void word_set_own(atomic_u64 *word, uint64_t bits)
{
    __asm__("orq %1, %0" : "+m"(*word) : "r"(bits));
}

/* Clears words that nobody else stores to. */
ALWAYS_INLINE void words_clear(atomic_u64 *words, uint32_t count)
{
    __builtin_memset((void *)(uintptr_t)words, 0, count * sizeof *words);
}

/* A full fence behind a read-modify-write of this thread's, which is one itself: only the compiler must not reorder. */
ALWAYS_INLINE void fence_behind_change(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

/* Clears bit `index` modulo 64 of *bits; whether it was set. */
ALWAYS_INLINE bool bit_take(uint64_t *bits, uint64_t index)
{
    bool was;
    __asm__("btrq %2, %0" : "+r"(*bits), "=@ccc"(was) : "r"(index));
    return was;
}

/* The number of the lowest bit, for bits other than 0. */
ALWAYS_INLINE uint64_t bit_lowest_wide(uint64_t bits)
{
    uint64_t index;
    __asm__("rep bsfq %1, %0" : "=r"(index) : "r"(bits)); /* tzcnt where there is one: the same for bits other than 0 */
    return index;
}

#endif
