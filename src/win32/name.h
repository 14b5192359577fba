/* SPDX-License-Identifier: MIT */
/* Names of sections, which end with the last process that has them. */
#ifndef WIN32_NAME_H
#define WIN32_NAME_H

#include "win32/win32.h"

#define PATH_BYTES 4352

/* Where names are, as cairn has it by default; made when it is not there. */
DWORD name_directory(char ret_directory[PATH_BYTES]);

/*
 * The file of a Windows name. Where the name is too long for one its file is called by a hash, and begins with a label
 * that tells the whole name.
 */
#define WHOLE_BYTES 3200 /* each byte of the longest name escaped, and a prefix */
struct name {
    char whole[WHOLE_BYTES];
    char file[CAIRN_NAME_MAX + 1];
    bool has_label;
};
DWORD name_of(const char *name, struct name *ret_name);
DWORD name_of_wide(const WCHAR *name, struct name *ret_name);

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

/* Before a fork: a hold for the child, which the parent gives up after it; -1 on failure. */
int name_hold_for_child(int holder, const char *path);
void name_give_up(int heir);

/* In the child: takes it in place of the hold that is shared with the parent, and returns what the child holds. Without
 * an heir -1: the shared one stays open, but to let it go would end the parent's name. */
int name_inherit(int holder, int heir);

/* What a section's protection makes of its file, and the reverse; of a protection who may write and execute is kept. */
uint32_t name_mode_of(DWORD protection);
DWORD name_protection(int holder);

#endif
