/* SPDX-License-Identifier: MIT */
/*
 * base: what every floor uses and that needs nothing but the compiler: alignment, bits, atomics, assertions.
 *
 * Atomics carry their memory order in the name. Fields that another thread or process may read or write are declared
 * atomic_u32 or atomic_u64; `relaxed` on them is a plain load or store for the machine, and for the compiler it is one
 * access that is neither torn nor repeated. Crash safety needs more from the compiler: the stores of one thread must
 * leave it in program order, because SIGKILL falls between two instructions. step() marks such a place. It costs
 * nothing at run time.
 */
#ifndef CAIRN_BASE_BASE_H
#define CAIRN_BASE_BASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define COLD __attribute__((noinline, cold))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define PRINTF_LIKE(format_position, first) __attribute__((format(printf, format_position, first)))

typedef _Atomic uint64_t atomic_u64;
typedef _Atomic uint32_t atomic_u32;
typedef _Atomic uint8_t atomic_u8;

#define load_relaxed(object) atomic_load_explicit((object), memory_order_relaxed)
#define load_acquire(object) atomic_load_explicit((object), memory_order_acquire)
#define store_relaxed(object, value) atomic_store_explicit((object), (value), memory_order_relaxed)
#define store_release(object, value) atomic_store_explicit((object), (value), memory_order_release)
#define fetch_or_acq_rel(object, bits) atomic_fetch_or_explicit((object), (bits), memory_order_acq_rel)
#define fetch_and_acq_rel(object, bits) atomic_fetch_and_explicit((object), (bits), memory_order_acq_rel)
#define fetch_add_acq_rel(object, amount) atomic_fetch_add_explicit((object), (amount), memory_order_acq_rel)
#define fetch_add_relaxed(object, amount) atomic_fetch_add_explicit((object), (amount), memory_order_relaxed)
#define fetch_sub_relaxed(object, amount) atomic_fetch_sub_explicit((object), (amount), memory_order_relaxed)
#define exchange_relaxed(object, value) atomic_exchange_explicit((object), (value), memory_order_relaxed)
/* Compare and exchange; on failure *expected holds what was there. */
#define cas_acq_rel(object, expected, desired)                                                                         \
    atomic_compare_exchange_strong_explicit((object), (expected), (desired), memory_order_acq_rel, memory_order_acquire)

/* A place where this thread may die: the stores before it have left the compiler, those after it have not begun. */
#define step() atomic_signal_fence(memory_order_seq_cst)

ALWAYS_INLINE bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* Rounds up to a multiple of a power of two; wraps to a smaller value near the maximum, so check sizes first. */
ALWAYS_INLINE uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

ALWAYS_INLINE uint64_t align_down(uint64_t value, uint64_t alignment)
{
    return value & ~(alignment - 1);
}

ALWAYS_INLINE uint32_t bit_lowest(uint64_t bits)
{
    return (uint32_t)__builtin_ctzll(bits);
}

ALWAYS_INLINE uint32_t bit_highest(uint64_t bits)
{
    return 63 - (uint32_t)__builtin_clzll(bits);
}

ALWAYS_INLINE uint32_t bit_count(uint64_t bits)
{
    /* In words that need no instruction which some processors lack; compilers use it where they may. */
    bits -= bits >> 1 & UINT64_C(0x5555555555555555);
    bits = (bits & UINT64_C(0x3333333333333333)) + (bits >> 2 & UINT64_C(0x3333333333333333));
    bits = (bits + (bits >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (uint32_t)(bits * UINT64_C(0x0101010101010101) >> 56);
}

/* The lowest `count` bits; count is 0 to 64. */
ALWAYS_INLINE uint64_t bits_below(uint32_t count)
{
    return count >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1;
}

/* Sanitizers see through the portable form alone. */
#if defined __x86_64__ && !defined __SANITIZE_THREAD__ && !defined __SANITIZE_ADDRESS__
#include "base/words_x86_64.h"
#else
#include "base/words_portable.h"
#endif

#if __has_include(<sys/sdt.h>) && !defined __SANITIZE_THREAD__ && !defined __SANITIZE_ADDRESS__
#include "base/probes_sdt.h"
#else
#include "base/probes_none.h"
#endif

ALWAYS_INLINE uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

ALWAYS_INLINE uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/*
 * Asserts what this process alone wrote. A broken invariant of our own ends the program; bytes that another process
 * could have written are checked and answered with an error instead. Compiled in unless NDEBUG is set.
 */
#ifdef NDEBUG
#define ASSERT(condition) ((void)sizeof(condition))
#else
#define ASSERT(condition) ((condition) ? (void)0 : __builtin_trap())
#endif

#endif
