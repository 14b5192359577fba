/* SPDX-License-Identifier: MIT */
/* last_error: a call's result, and what it left for GetLastError. */
#ifndef CAIRN_TEST_WIN32_LAST_ERROR_H
#define CAIRN_TEST_WIN32_LAST_ERROR_H

#define NOTHING 0x12345u /* a last error that no call sets */
#define ck_error(call, failure, error)                                                                                 \
    do {                                                                                                               \
        SetLastError(NOTHING);                                                                                         \
        ck_assert((call) == (failure));                                                                                \
        ck_assert_uint_eq(GetLastError(), (error));                                                                    \
    } while (0)

#endif
