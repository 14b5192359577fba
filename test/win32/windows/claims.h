/* SPDX-License-Identifier: MIT */
/*
 * claims: the tests of the Win32 calls on Windows, or under Wine. The words are those that they use of Check. Each
 * claim runs in a process of its own; an assertion that does not hold is told as a difference, and the claim goes on,
 * except where a pointer is missing.
 */
#ifndef CAIRN_TEST_WIN32_CLAIMS_H
#define CAIRN_TEST_WIN32_CLAIMS_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define UNDER_TSAN 0
#define UNDER_SANITIZER 0

typedef struct Suite Suite;
typedef struct TCase TCase;

/* What headers of MinGW 10 do not have. */
#define HeapOptimizeResources ((HEAP_INFORMATION_CLASS)3)
typedef struct {
    DWORD Version, Flags;
} HEAP_OPTIMIZE_RESOURCES_INFORMATION;

#define START_TEST(claim) static void claim(void)
#define END_TEST

Suite *suite_create(const char *name);
TCase *suite_case(Suite *suite, const char *name, double seconds);
void tcase_add_checked_fixture(TCase *tests, void (*begin)(void), void (*end)(void));
int suite_run(Suite *suite);
void claim_add(const char *name, void (*run)(void));
void part_add(const char *name, int (*run)(void));
#define tcase_add_test(tests, claim) ((void)(tests), claim_add(#claim, claim))
#define tcase_add_part(tests, part) ((void)(tests), part_add(#part, part))

/* ---------------------------------------------------------------- assertions */

/* Tells of an assertion, with its words and what its values were; result: it holds. */
bool claim_check(int line, bool holds, const char *words, long long value, long long other);
void claim_last_error(int line, bool holds, const char *call, const char *failure, const char *error, long long value,
                      unsigned seen);
void claim_stop(void) __attribute__((noreturn));

#define ck_unsigned(a, how, b, words)                                                                                  \
    do {                                                                                                               \
        unsigned long long value_ = (unsigned long long)(a), other_ = (unsigned long long)(b);                         \
        claim_check(__LINE__, value_ how other_, words, (long long)value_, (long long)other_);                         \
    } while (0)
#define ck_signed(a, how, b, words)                                                                                    \
    do {                                                                                                               \
        long long value_ = (a), other_ = (b);                                                                          \
        claim_check(__LINE__, value_ how other_, words, value_, other_);                                               \
    } while (0)
#define ck_pointer(a, how, b, words)                                                                                   \
    do {                                                                                                               \
        const volatile void *value_ = (a), *other_ = (b);                                                              \
        claim_check(__LINE__, value_ how other_, words, (long long)value_, (long long)other_);                         \
    } while (0)

#define ck_assert(condition) claim_check(__LINE__, (condition) ? true : false, #condition, 0, 0)
#define ck_assert_int_eq(a, b) ck_signed(a, ==, b, #a " == " #b)
#define ck_assert_int_ne(a, b) ck_signed(a, !=, b, #a " != " #b)
#define ck_assert_int_gt(a, b) ck_signed(a, >, b, #a " > " #b)
#define ck_assert_int_ge(a, b) ck_signed(a, >=, b, #a " >= " #b)
#define ck_assert_uint_eq(a, b) ck_unsigned(a, ==, b, #a " == " #b)
#define ck_assert_uint_lt(a, b) ck_unsigned(a, <, b, #a " < " #b)
#define ck_assert_uint_gt(a, b) ck_unsigned(a, >, b, #a " > " #b)
#define ck_assert_uint_le(a, b) ck_unsigned(a, <=, b, #a " <= " #b)
#define ck_assert_uint_ge(a, b) ck_unsigned(a, >=, b, #a " >= " #b)
#define ck_assert_ptr_eq(a, b) ck_pointer(a, ==, b, #a " == " #b)
#define ck_assert_ptr_ne(a, b) ck_pointer(a, !=, b, #a " != " #b)
#define ck_assert_ptr_null(a) ck_pointer(a, ==, NULL, #a " == NULL")
#define ck_assert_ptr_nonnull(a)                                                                                       \
    do {                                                                                                               \
        const volatile void *value_ = (a);                                                                             \
        if (!claim_check(__LINE__, value_ != NULL, #a " != NULL", 0, GetLastError()))                                  \
            claim_stop();                                                                                              \
    } while (0)
#define ck_assert_str_eq(a, b)                                                                                         \
    do {                                                                                                               \
        const char *value_ = (a), *other_ = (b);                                                                       \
        if (!claim_check(__LINE__, strcmp(value_, other_) == 0, #a " == " #b, 0, 0))                                   \
            printf("NOTE\t\"%s\" and \"%s\"\n", value_, other_);                                                       \
    } while (0)

#define NOTHING 0x12345u /* a last error that no call sets */
#define ck_error(call, failure, error)                                                                                 \
    do {                                                                                                               \
        SetLastError(NOTHING);                                                                                         \
        __typeof__(call) result_ = (call);                                                                             \
        DWORD seen_ = GetLastError();                                                                                  \
        claim_last_error(__LINE__, result_ == (failure) && seen_ == (error), #call, #failure, #error,                  \
                         (long long)(intptr_t)result_, (unsigned)seen_);                                               \
    } while (0)

/* ---------------------------------------------------------------- processes, names and files */

int elsewhere_run(const char *part);
#define elsewhere(part) ck_assert_int_eq(elsewhere_run(#part), 0)

#define names_begin() 0
#define names_end(failed) (failed)

HANDLE file_open(bool writes);
int file_byte(long at);
void file_end(void);

/* Touching what is not committed always faults. */
static inline BOOL CairnFaultOnHoles(BOOL enable)
{
    static BOOL was;
    BOOL before = was;
    was = enable;
    return before;
}

#endif
