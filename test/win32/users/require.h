/* SPDX-License-Identifier: MIT */
#ifndef CAIRN_TEST_WIN32_USERS_REQUIRE_H
#define CAIRN_TEST_WIN32_USERS_REQUIRE_H

#include <windows.h>

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not true: %s (last error %u)\n", __FILE__, __LINE__, #condition, GetLastError());  \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
