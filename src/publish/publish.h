/* SPDX-License-Identifier: MIT */
/*
 * publish: what publishers and readers are made of.
 *
 * Dictionary. A *publisher* is the one process that writes; a *generation* is one life of it. A *reader* has a number
 * at its publisher, and a page of its own in which it *pins* an epoch while it reads. A block is *retired* when it is
 * freed and a pin may still see it. A reader is *cut off* when its pins of before count no more, and it is told so.
 *
 * Lock order: publishers_lock, a publisher's door, its heap's lock, process_lock. Who has the door lets readers in and
 * out, with all the system calls of that, and changes what is known of them under the heap's lock too: so who has
 * either may read it, and nobody who allocates waits for a reader to come in.
 */
#ifndef CAIRN_PUBLISH_PUBLISH_H
#define CAIRN_PUBLISH_PUBLISH_H

#include "api/names.h"
#include "api/process.h"
#include "cairn_publish.h"

/* ---------------------------------------------------------------- retired blocks and pins */

/* A reader as its publisher sees it. */
struct slot {
    int socket;             /* -1: nobody has the number */
    bool is_misbehaving;    /* its number is nobody's already; dispatch closes its socket */
    const char *misconduct; /* what it did */
    uint32_t user;
    uint32_t group;
    uint32_t process;
    uint32_t assignment;   /* of the number: see public_image.cut */
    uint32_t cuts;         /* of this assignment */
    struct pin_image *pin; /* the reader's page: to be read once, and not to be trusted */
    uint64_t counts_from;  /* pins of epochs below count no more: the reader was cut off since */
    uint64_t pinned;       /* what its pin was when it was last looked at; 0: nothing */
    uint64_t pinned_since; /* time_passed() when it first was that */
};

struct retired {
    void *block;
    uint64_t bytes;
    uint64_t epoch; /* in which it was retired: a pin of this epoch or an earlier one may see it */
};

struct retirement {
    struct section *section;
    struct core_heap *heap;
    struct public_image *image;
    struct slot *slots;
    uint32_t slots_count;
    uint32_t deadline_ms;

    uint64_t epoch; /* what image->epoch is; never read back from there */
    struct retired *ring;
    uint64_t ring_size; /* a power of two */
    uint64_t first;     /* counts of entries that went out and came in */
    uint64_t end;
    uint64_t looked_at_end; /* end when the pins were last looked at */
    uint64_t looked_at_bytes;
    uint64_t calls;       /* that allocated since then */
    uint64_t bytes_live;  /* granted, in blocks that are not freed */
    uint64_t bytes;       /* granted, in those that are retired */
    uint64_t bytes_freed; /* so far */
    atomic_u64 *bits;     /* one for each place of a block: set when it is retired */
    uint64_t bits_bytes;
    uint64_t cut_off; /* how often */
};

int retirement_begin(struct retirement *retirement, struct core_heap *heap, struct slot *slots, uint32_t slots_count,
                     uint32_t deadline_ms);
void retirement_end(struct retirement *retirement);

/* Puts a block aside; CRIME_FREED: it is retired already. The heap's lock is held, as for all that follows. */
enum core_crime retire(struct retirement *retirement, struct bins *bins, void *block);
bool is_retired(const struct retirement *retirement, const void *block);

/* Notes that so many bytes more are live, and now and then frees what no pin sees any more. */
void retired_note_live(struct retirement *retirement, struct bins *bins, uint64_t bytes);

/* Frees what no pin sees, and cuts off those whose time is over or that hold back too much. */
void retired_collect(struct retirement *retirement, struct bins *bins);

/* Frees everything: who still sees some of it is cut off. */
void retired_flush(struct retirement *retirement, struct bins *bins);

/* Cuts every reader off and forgets what is retired, for all blocks are about to be freed. */
void retired_forget(struct retirement *retirement);

/* Gives a number to a new reader, or takes it back: whoever has it then reads in vain. */
void slot_assign(struct retirement *retirement, struct slot *slot);
void slot_resign(struct retirement *retirement, struct slot *slot);

/* The file that readers get. */
static inline int retirement_file(const struct retirement *retirement)
{
    return retirement->section->file;
}

/* Milliseconds until somebody's time may be over; -1: nobody holds anything back. */
int retired_patience(const struct retirement *retirement);

/* ---------------------------------------------------------------- wire */

#define WIRE_MAGIC UINT64_C(0x0a1a65726977638f)

/*
 * All that is ever sent: from the publisher to a reader that connected, once. A reader sends nothing, so there is
 * nothing of a stranger's to be understood; who sends something is dropped. With status 0 come two descriptors, the
 * heap and the reader's pin page.
 */
struct wire_welcome {
    uint64_t magic;
    uint32_t version;
    int32_t status; /* 0, or why there are no descriptors: -EACCES, -EAGAIN, -ENOMEM */
    uint64_t instance;
    uint32_t number;
    uint32_t assignment;
    uint32_t everyone; /* 1: whoever can connect may read; what is told of the list, for people */
    uint32_t users_count;
    uint32_t groups_count;
    uint32_t reserved;
    uint64_t reserved2[2];
};

_Static_assert(sizeof(struct wire_welcome) == 64, "one message of fixed length");

/* The socket's name of a publisher. */
enum { SOCKET_NAME_BYTES = CAIRN_NAME_MAX + sizeof ".sock" };
void wire_socket_name(char ret_name[SOCKET_NAME_BYTES], const char *name);

/* Checks a public image that somebody else wrote; bytes is the file's size. *ret_reason gets the reason. */
int public_image_check(const struct public_image *image, uint64_t bytes, const char **ret_reason);

#endif
