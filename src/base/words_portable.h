/* SPDX-License-Identifier: MIT */
/* words: what the shortest paths do to single words. All accesses are relaxed. */
#ifndef CAIRN_BASE_WORDS_PORTABLE_H
#define CAIRN_BASE_WORDS_PORTABLE_H

/* Whether a word has this value. */
ALWAYS_INLINE bool word_is(const atomic_u64 *word, uint64_t value)
{
    return load_relaxed(word) == value;
}

/* Whether a value is below a word's. */
ALWAYS_INLINE bool word_is_above(const atomic_u64 *word, uint64_t value)
{
    return load_relaxed(word) > value;
}

/* Sets bits of a word that only this thread stores to. */
ALWAYS_INLINE void word_set_own(atomic_u64 *word, uint64_t bits)
{
    store_relaxed(word, load_relaxed(word) | bits);
}

/* Clears words that nobody else stores to. */
ALWAYS_INLINE void words_clear(atomic_u64 *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        store_relaxed(&words[i], 0);
}

/* A full fence behind a read-modify-write of this thread's, and before its next load. */
ALWAYS_INLINE void fence_behind_change(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

/* Clears bit `index` modulo 64 of *bits; whether it was set. */
ALWAYS_INLINE bool bit_take(uint64_t *bits, uint64_t index)
{
    uint64_t before = *bits;
    *bits &= ~(UINT64_C(1) << index % 64);
    return *bits != before;
}

/* The number of the lowest bit, for bits other than 0. */
ALWAYS_INLINE uint64_t bit_lowest_wide(uint64_t bits)
{
    return (uint64_t)__builtin_ctzll(bits);
}

#endif
