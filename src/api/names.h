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
 * A heap on a disk that was open when the system went down is not believed: its pages are of no one moment. Whoever has
 * joined it marks it as open, on the disk too, before any block changes; the last that leaves it marks it clean. Being
 * clean is a count of attaches, which a later attach makes void, so that a mark that comes late says nothing:
 *
 *     the last       own record FREE; n = attaches; no record is LIVE; sync;  clean = n + 1;  sync
 *     the next       own record LIVE; attaches = n + 1;                       clean != 0: sync;  clean = 0
 */
void section_mark_open(struct section *section);
void section_mark_clean(struct section *section, uint32_t leaving);

/* Removes the name that an attachment was opened by, if it still leads to the same file; 0 when it does not. */
int heap_file_unlink(const struct attachment *attachment);

/* Makes a file without a name, with the mode, the group and the access list of the options; sets no reason. */
int heap_file_create(const struct cairn_options *options, const char *directory, int *ret_file);

/*
 * Makes a memory file for a heap, with the mode, the group and the access list of the options: so long, and sealed
 * against another length and more seals. Sets no reason.
 */
int memory_file_create(const struct cairn_options *options, uint64_t bytes, int *ret_file);

/* Opens a heap's file and reads its header, both checked; sets the reason. */
int heap_file_open(const char *directory, const char *name, uint64_t flags, int *ret_file,
                   struct file_status *ret_status, struct section_image *ret_header);

/* The same for a memory file that was handed over; name is for sentences. */
int memory_file_take(int descriptor, const char *name, uint64_t flags, int *ret_file, struct file_status *ret_status,
                     struct section_image *ret_header);

/*
 * Creates what has a name by create, which tells -EEXIST when the name is taken; with CAIRN_OPEN_OR_CREATE opens it by
 * open first, which tells -ENOENT when there is nothing. Both set the reason. Others may take and remove the name
 * meanwhile.
 */
typedef int name_fn(void *arg);
int name_create(uint64_t flags, name_fn *open, name_fn *create, void *arg);

/*
 * Calls try with addresses for a new section of that size, until it returns other than -EADDRINUSE. The first is drawn
 * from the directory and the name; those that heaps in the directory, or the neighbours (may be NULL), have are passed
 * over.
 */
typedef int address_fn(uint64_t address, void *arg);
int address_choose(const char *directory, const char *name, uint64_t bytes, const struct heap_neighbours *neighbours,
                   address_fn *attempt, void *arg);

#endif
