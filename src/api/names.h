/* SPDX-License-Identifier: MIT */
/* names: where shared heaps live, and what is checked before one is believed. */
#ifndef CAIRN_API_NAMES_H
#define CAIRN_API_NAMES_H

#include "api/process.h"

/* Checks a heap's name; sets the reason. */
int name_check(const char *name);

/*
 * Resolves the directory: the caller's, CAIRN_DIR, or the user's own under /dev/shm, which is made when create is set.
 * *ret_is_default (may be NULL) tells the last.
 */
int directory_get(const char *wanted, bool create, char ret_directory[DIRECTORY_BYTES], bool *ret_is_default);

/* Whether an error of file_open says that the name is a directory, a socket, or a device without a driver. */
bool is_no_file(int error);

/*
 * A section on a disk that was open when the system went down is not believed: its pages are of no one moment. Whoever
 * opens one for writing marks it as open, on the disk too, before anything changes; the last to close it marks it
 * clean.
 */
void section_mark_open(struct section *section);
void section_mark_clean(struct section *section);

/* Removes the name that an attachment was opened by, if it still leads to the same file. */
void heap_file_unlink(const struct attachment *attachment);

/* Opens a heap's file and reads its header, both checked; sets the reason. */
int heap_file_open(const char *directory, const char *name, uint64_t flags, int *ret_file,
                   struct section_image *ret_header);

/*
 * Calls try with addresses for a new section of that size, until it returns other than -EADDRINUSE. The first is drawn
 * from the name; those that heaps in the directory have are passed over.
 */
typedef int address_fn(uint64_t address, void *arg);
int address_choose(const char *directory, const char *name, uint64_t bytes, address_fn *attempt, void *arg);

#endif
