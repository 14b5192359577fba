/* SPDX-License-Identifier: MIT */
/* sqlite: memory methods for SQLite that make the calls of windows.h; one file of the program has them. */
#ifndef CAIRN_TEST_WIN32_USERS_SQLITE_H
#define CAIRN_TEST_WIN32_USERS_SQLITE_H

#include <windows.h>

#include <sqlite3.h>

#define VALIDATE_EACH 1000 /* calls: a validation is a walk over the whole heap */

extern DWORD heap_flags; /* of each call: HEAP_NO_SERIALIZE where SQLite has one thread */

extern const char *const methods_are; /* whose they are */
const sqlite3_mem_methods *sqlite3MemGetWin32(void);

/* Between use and use: destroys the heap, which is empty, and makes another. */
int sqlite3_win32_reset_heap(void);

/* The heap, while there is one. */
HANDLE methods_heap(void);

#endif
