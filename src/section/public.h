/* SPDX-License-Identifier: MIT */
/*
 * public: what the readers of a published heap map first. The publisher alone writes it; readers see it through views
 * that the kernel lets nobody write through.
 *
 *     section of the publisher     meta (private memory) | public image | roots | units
 *     file, and readers' view                              public image | roots | units
 *
 * Refs count from the section's first byte, as everywhere: a ref's place in the file is ref - public_offset.
 */
#ifndef CAIRN_SECTION_PUBLIC_H
#define CAIRN_SECTION_PUBLIC_H

#include "section/layout.h"

#define PUBLIC_VERSION 1u
/* Bytes 8f 'c' 'a' 'p' 'u' 'b' 1a 0a. */
#define PUBLIC_MAGIC UINT64_C(0x0a1a62757061638f)

enum { READERS_LIMIT = 256 };

/* What stands above the checksum is constant and covered by it; a reader reads it with pread before it maps. */
struct public_image {
    uint64_t magic;
    uint32_t byte_order;
    uint32_t version;
    uint64_t fingerprint;
    uint64_t instance;      /* of this life of the publisher */
    uint64_t address;       /* where every view of the file begins */
    uint64_t bytes_max;     /* of the view */
    uint64_t public_offset; /* ref of this image's first byte */
    uint64_t roots_offset;  /* in the file, as is the next */
    uint64_t units_offset;
    uint32_t roots_max;
    uint32_t readers_max;
    uint64_t created_at; /* seconds since 1970, for people */
    uint64_t reserved[4];
    uint64_t checksum;

    atomic_u64 bytes;     /* the file's end: memory is there below it; grows only */
    atomic_u32 roots_end; /* entries below have been used */
    atomic_u32 closed;    /* not 0: the publisher has ended in order, nothing changes any more */
    uint64_t reserved2[6];
    atomic_u32 changes; /* futex word: grows with every change of a root, and when the publisher closes */
    uint32_t reserved3[15];
    atomic_u64 epoch; /* see publish/retire.c */
    uint64_t reserved4[7];
    /*
     * One word for each reader's number: assignment << 32 | cuts. The assignment changes when the number is another
     * reader's or nobody's; the cuts when its reader is cut off.
     */
    atomic_u64 cut[READERS_LIMIT];
};

/* A reader's own page; the only one that it can write. */
struct pin_image {
    atomic_u64 epoch; /* 0: not reading; else nothing that was retired in this epoch or later is used again */
};

_Static_assert(offsetof(struct public_image, bytes) == 128, "what changes has lines of its own");
_Static_assert(offsetof(struct public_image, changes) == 192, "the word that readers wait on");
_Static_assert(offsetof(struct public_image, epoch) == 256, "the word that every pin reads");
_Static_assert(offsetof(struct public_image, cut) == 320, "and those that hardly ever change");
_Static_assert(sizeof(struct public_image) <= 4096, "one page");

ALWAYS_INLINE uint64_t public_fingerprint(void)
{
    uint64_t hash = image_fingerprint();
    hash = FINGERPRINT_MIX(hash, PUBLIC_VERSION);
    hash = FINGERPRINT_MIX(hash, sizeof(struct public_image));
    hash = FINGERPRINT_MIX(hash, offsetof(struct public_image, cut));
    return hash;
}

ALWAYS_INLINE uint64_t public_checksum(const struct public_image *image)
{
    const unsigned char *bytes = (const unsigned char *)image;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < offsetof(struct public_image, checksum); i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
