/* SPDX-License-Identifier: MIT */
#ifndef WIN32_SECTION_H
#define WIN32_SECTION_H

#include "win32/win32.h"

enum object_kind { OBJECT_FILE, OBJECT_MEMORY, OBJECT_MAPPED_FILE };

/* What handles and views stand for. It ends with the last of them. */
struct object {
    enum object_kind kind;
    uint32_t uses;          /* handles and views; face_lock */
    cairn_section *section; /* memory */
    int file;               /* a file; -1 */
    uint64_t bytes;
    uint64_t begins; /* in the section: behind a label, 0 without one */
    DWORD protection;
    int holder; /* named memory: a description of its file with a lock that says that this process has it; -1 */
    int heir;   /* during a fork: the hold that the child will have */
    char *path; /* and the path; NULL */
    struct object *next; /* those with a path */
};

struct object *object_use(struct object *object); /* under face_lock */
void object_drop(struct object *object);          /* without it */

/* A fork waits until no name is coming or going, and each process has its own hold on the names then. */
void sections_before_fork(void);
void sections_after_fork(bool is_child);

/* memory.c: ranges of this process, by address. All under face_lock. */
struct region {
    unsigned char *first;
    size_t bytes;
    DWORD protection;      /* when it was made */
    uint8_t *pages;        /* a code of the protection for each page; 0: private: reserved, view: as when it was made */
    struct object *object; /* a view; NULL: private */
    uint64_t offset;       /* of the view in the section or file */
    bool is_copy;          /* a view whose pages are this process's */
    bool watches_holes;    /* pages that are not committed have no access */
};

/* Enters a range, which copies what is given; its pages are made here. Returns it, NULL without memory. */
struct region *region_enter(const struct region *given);
struct region *region_at(const void *address);
void region_leave(struct region *region);
bool protection_is_valid(DWORD protection);

/* Do views that are made now give no access to what is not committed? */
bool memory_watches_holes(void);

#endif
