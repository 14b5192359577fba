/* SPDX-License-Identifier: MIT */
/* Names of sections, which end with the last process that has them. */
#ifndef WIN32_NAME_H
#define WIN32_NAME_H

#include "win32/win32.h"

#define PATH_BYTES 4352

/* Where names are, as cairn has it by default; made when it is not there. */
DWORD name_directory(char ret_directory[PATH_BYTES]);

/* The file's name of a Windows name. */
DWORD name_of(const char *name, char ret_file[CAIRN_NAME_MAX + 1]);
DWORD name_of_wide(const WCHAR *name, char ret_file[CAIRN_NAME_MAX + 1]);

/* Nobody else creates, opens or ends names in the directory until names_unlock of the result; -1: no directory. */
int names_lock(const char *directory);
void names_unlock(int lock);

/*
 * Under the lock. Holds the file at path: nobody removes the name while the result is open. A file that nobody holds
 * was left by processes that were killed; it is removed. -ENOENT: there is none (any more).
 */
int name_hold(const char *path);

/* Under the lock. Holds the file that was just made. */
int name_hold_new(const char *path);

/* Under the lock. Lets it go, and removes the name when nobody else holds it. */
void name_let_go(int holder, const char *path);

/* In a forked child: a hold of its own in place of the one that it shares with its parent. */
void name_hold_again(int holder);

#endif
