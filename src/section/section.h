/* SPDX-License-Identifier: MIT */
/*
 * section: a growable block of address space with refs, wherever its memory comes from.
 *
 * An image (layout.h) is the bytes; a struct section is one process's view of them. The view keeps its own copy of what
 * is constant in the header, validated once, so that no later change by another process can lead it outside its
 * mapping.
 *
 * Committing goes by pages and is idempotent: a bit per page, set after the memory is there, tells what is committed,
 * since no system call does. A process killed in between leaves memory that is taken but not marked: the next commit of
 * that page finds it again. Giving memory back is the other way round, see decommit_run.
 */
#ifndef CAIRN_SECTION_SECTION_H
#define CAIRN_SECTION_SECTION_H

#include "section/public.h"

struct section;

enum { COMMIT_STEP_GROWING = 255 };

/* Where a section's memory comes from. commit and decommit get page-aligned ranges inside the section. */
struct backing {
    int (*commit)(struct section *section, uint64_t offset, uint64_t bytes);
    /* May answer -EOPNOTSUPP: the memory stays committed. Afterwards the range must be committed again before use. */
    int (*decommit)(struct section *section, uint64_t offset, uint64_t bytes);
    void (*close)(struct section *section);
    void (*advise_huge)(struct section *section, uint64_t offset, uint64_t bytes); /* NULL: no huge pages to be had */
    int (*populate)(struct section *section, uint64_t offset, uint64_t bytes);     /* NULL: commit does it already */
    /* Committed memory stays so, reads as zero from now on and costs nothing until it is touched. NULL: it cannot. */
    void (*discard)(struct section *section, uint64_t offset, uint64_t bytes);
    bool starts_zero; /* memory reads as zero when it is first committed, and again after a decommit */
};

struct section {
    unsigned char *base;  /* first byte of the view */
    unsigned char *units; /* first byte of the units part */
    struct section_image *image;
    atomic_u64 *commit_bits; /* NULL: always committed, whole */
    struct process_image *processes;
    struct owner_image *owners;
    struct heap_image *heaps;
    struct root_image *roots;
    atomic_u64 *unit_words;
    unsigned char *spans;

    uint64_t bytes_max;
    uint64_t units_offset;
    uint64_t units_bytes;
    uint64_t address; /* as recorded in the header */
    uint32_t unit_shift;
    uint32_t page_shift;
    uint32_t units_max;
    uint32_t span_stride;
    uint32_t processes_max;
    uint32_t owners_max;
    uint32_t heaps_max;
    uint32_t roots_max;

    const struct backing *backing;
    bool read_only;
    uint32_t commit_step_shift; /* commits are widened to this many bytes (a power of two) within their part, or as
                                   the section grows */

    /* Of the backing over a caller's calls. */
    int (*call_commit)(void *arg, void *address, size_t bytes);
    int (*call_decommit)(void *arg, void *address, size_t bytes);
    void (*call_release)(void *arg, void *address, size_t bytes);
    void *call_arg;

    /* Of the file backing. */
    int file; /* -1: none */
    uint64_t device;
    uint64_t inode;

    /* Of a published section. */
    uint64_t public_offset;   /* what lies behind it is in the file, from the file's first byte on */
    uint64_t published_bytes; /* the file's end */
    struct public_image *public_image;
    bool public_is_parents; /* in a forked child: what readers see was not inherited */
};

/* What a section is to be; zero is a default everywhere but in bytes_max. */
struct section_params {
    uint64_t bytes_max;     /* whole section, bookkeeping included */
    uint64_t address;       /* to be recorded; 0: anywhere */
    uint32_t unit_shift;    /* 0: by size, see layout.h */
    uint32_t page_shift;    /* 0: 12 */
    uint32_t processes_max; /* 0: none */
    uint32_t owners_max;    /* 0: one for each unit, at most OWNERS_LIMIT */
    uint32_t heaps_max;     /* 0: 1 */
    uint32_t roots_max;     /* 0: ROOTS_LIMIT; UINT32_MAX: none */
    uint64_t instance;      /* recorded as they are, as are the next two */
    uint64_t created_at;
    bool packed;      /* tables follow each other by cache lines, not by pages: for small sections */
    bool raw;         /* bytes_max bytes for the user by themselves: commit bits, and no table of heaps or units */
    bool committed;   /* all is committed for ever: no commit bits */
    bool public_last; /* a page for the public image and the roots come last, just before the units */
};

/*
 * Computes the constant part of a header. -EINVAL: the params contradict each other; -ENOSPC: bytes_max is too small
 * for the bookkeeping and one unit.
 */
int section_plan(struct section_image *ret_header, const struct section_params *params);

/*
 * Checks a header that another process could have written. bytes is the size of what holds it. -EPROTO: not a section,
 * or of another version, byte order or build; -EUCLEAN: impossible. *ret_reason (may be NULL) gets the reason.
 */
int section_header_check(const struct section_image *header, uint64_t bytes, const char **ret_reason);

/* Creates a section over anonymous memory: reserved whole, committed as it is used. */
int section_create_anonymous(struct section *ret_section, const struct section_params *params);

/* Creates a section in the caller's memory, or opens the image that lies there already, at whatever address. */
int section_create_lent(struct section *ret_section, void *memory, const struct section_params *params);
int section_open_lent(struct section *ret_section, void *memory, uint64_t bytes);

/*
 * Creates a section over the caller's calls, which get the address to work on; base is what was reserved for
 * params->bytes_max, and is released at the end, or on failure. -EINVAL: it is not aligned to a page.
 */
int section_create_calls(struct section *ret_section, void *base, int (*commit)(void *arg, void *address, size_t bytes),
                         int (*decommit)(void *arg, void *address, size_t bytes),
                         void (*release)(void *arg, void *address, size_t bytes), void *arg,
                         const struct section_params *params);

/*
 * Creates a section in an empty file (named, unnamed or memfd), mapped at params->address. The section closes the file.
 * On failure the file stays the caller's, empty or not.
 */
int section_create_file(struct section *ret_section, int file, const struct section_params *params);

/* Maps the section in a file whose header the caller has read and checked. The section closes the file. */
int section_open_file(struct section *ret_section, int file, const struct section_image *header, bool read_only);

/*
 * Creates a section whose units and roots are in an empty memory file, sealed so that nobody else can ever write them,
 * and whose bookkeeping is private memory; at params->address. The section closes the file. -EOPNOTSUPP: the system
 * cannot seal. On failure the file stays the caller's, and may be sealed.
 */
int section_create_published(struct section *ret_section, int file, const struct section_params *params,
                             uint32_t readers_max);

/*
 * Whether the file reaches as far as what is marked as committed, and will when more is. What was cut off, or never
 * came to the disk, would be SIGBUS where it is touched.
 */
bool section_file_is_whole(const struct section *section);

/* Whether the section's descriptor is still its file: the application may have closed it and opened another. */
bool section_file_is_ours(const struct section *section);

/* Ends this process's view; the memory of a lent section and the file of a named one stay. */
void section_close(struct section *section);

/* ---------------------------------------------------------------- memory */

/*
 * Makes a range usable; any alignment; widened in the bookkeeping alone. -ENOMEM: the system refuses. Then a section by
 * itself has nothing of the range marked that was not before; in one with units a part of it may be.
 */
int section_commit(struct section *section, uint64_t offset, uint64_t bytes);

/*
 * The same in two halves, for a range in the units: the pages that its commit is widened to, false when it is committed
 * already; then their commit. In between the caller sees to it that nobody gives them back, see span_commit.
 */
bool section_widen(const struct section *section, uint64_t offset, uint64_t bytes, uint64_t *ret_first,
                   uint64_t *ret_end);
int section_commit_pages(struct section *section, uint64_t offset, uint64_t bytes, uint64_t first, uint64_t end);

/* Makes sure that a committed range has memory behind it now, not at its first touch. */
int section_populate(struct section *section, uint64_t offset, uint64_t bytes);

/* Whether any of a range is committed, in a section that has marks of that. */
bool section_any_committed(const struct section *section, uint64_t offset, uint64_t bytes);

/* Whether all of a range is committed. */
bool section_range_committed(const struct section *section, uint64_t offset, uint64_t bytes);

/*
 * Gives the pages that lie wholly in the range back. -EOPNOTSUPP: the memory cannot be given back, and is not. What was
 * not committed before need not read as zero when it is again: somebody may have been killed giving it back.
 */
int section_decommit(struct section *section, uint64_t offset, uint64_t bytes);

/*
 * The same in two halves: the next pages of [*first, end) that are committed, in a row; false when there are none. Then
 * their memory and marks go, or the marks alone. In between the caller sees who commits beside it, see span_decommit.
 */
bool section_next_pages(const struct section *section, uint64_t *first, uint64_t end, uint64_t *ret_end);
int section_decommit_pages(struct section *section, uint64_t first, uint64_t end);
void section_unmark_pages(struct section *section, uint64_t first, uint64_t end);

/*
 * Tells whether the page at an offset is committed; *ret_run (may be NULL) gets the bytes from the offset to the end of
 * the run in that same state.
 */
bool section_committed(const struct section *section, uint64_t offset, uint64_t *ret_run);

/*
 * Finds the last committed page and returns where it ends; reads no bits that lie at or behind `bytes`, but returns
 * where they end when they are marked as committed themselves.
 */
uint64_t section_committed_end(const struct section *section, uint64_t bytes);

/*
 * Marks that the file holds in memory which is itself not marked would come into force when that is committed. Asks
 * next_data(file, offset) for the next place where the file has bytes, so that holes are not read.
 */
bool section_marks_are_sound(const struct section *section, uint64_t bytes, uint64_t (*next_data)(int, uint64_t));

/* Counts the committed bytes from the bits. */
uint64_t section_count_committed(const struct section *section);

/*
 * Commits a table's records from first to last and raises *end to last + 1 or more. -EIO: what the caller of a heap
 * gave for them is not zero.
 */
int section_commit_records(struct section *section, const void *records, size_t bytes, atomic_u32 *end, uint32_t first,
                           uint32_t last);

/* ---------------------------------------------------------------- places */

ALWAYS_INLINE uint64_t section_offset(const struct section *section, const void *address)
{
    return (uint64_t)((const unsigned char *)address - section->base);
}

ALWAYS_INLINE bool section_holds_units(const struct section *section, const void *address)
{
    return (uintptr_t)address - (uintptr_t)section->units < section->units_bytes;
}

/* Ref of an address inside the section. */
ALWAYS_INLINE uint64_t section_ref(const struct section *section, const void *address)
{
    return section_offset(section, address);
}

ALWAYS_INLINE unsigned char *section_at(const struct section *section, uint64_t ref)
{
    return section->base + ref;
}

ALWAYS_INLINE struct span_image *section_span(const struct section *section, uint32_t unit)
{
    return (struct span_image *)(void *)(section->spans + (size_t)unit * section->span_stride);
}

ALWAYS_INLINE unsigned char *section_unit(const struct section *section, uint32_t unit)
{
    return section->units + ((size_t)unit << section->unit_shift);
}

/* Records are numbered from 1; 0 is nobody. */
ALWAYS_INLINE struct owner_image *section_owner(const struct section *section, uint32_t number)
{
    return &section->owners[number - 1];
}

ALWAYS_INLINE struct heap_image *section_heap(const struct section *section, uint32_t number)
{
    return &section->heaps[number - 1];
}

ALWAYS_INLINE struct process_image *section_process(const struct section *section, uint32_t number)
{
    return &section->processes[number - 1];
}

/* How many unit words may be read: never more than the view has, whatever another process wrote. */
ALWAYS_INLINE uint32_t section_units_end(const struct section *section)
{
    uint32_t end = load_acquire(&section->image->units_end);
    return end < section->units_max ? end : section->units_max;
}

#endif
