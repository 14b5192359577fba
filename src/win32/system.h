/* SPDX-License-Identifier: MIT */
/* What the face asks of the system by itself, since cairn has no call for it. int: 0 or a negative errno value. */
#ifndef WIN32_SYSTEM_H
#define WIN32_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

size_t system_page_bytes(void);

/* Address space without access, aligned to 64 KiB, nowhere else than at `at` when that is not NULL; NULL on failure. */
void *system_reserve(void *at, size_t bytes);
void system_release(void *address, size_t bytes);

/* Gives pages a protection, a PAGE_... value. */
int system_protect(void *address, size_t bytes, uint32_t protection);

/* Gives private pages back; they are reserved again. */
int system_decommit(void *address, size_t bytes);

/* All memory and swap of the machine: more is never promised. */
uint64_t system_memory_bytes(void);

/* Drops the contents of private pages, which read as zero then. */
int system_discard(void *address, size_t bytes);

/* Maps bytes of a file over a range that is reserved; private_copy: writes stay in this process. */
int system_map_file(void *at, size_t bytes, int file, uint64_t offset, uint32_t protection, bool private_copy);
int system_flush(void *address, size_t bytes);

/* Files: a descriptor of our own; its size, and whether it may be read and written; making it longer. -EBADF: it is of
 * something that is no file. */
int system_file_keep(int file);
void system_file_close(int file);
int system_file_size(int file, uint64_t *ret_bytes, bool *ret_may_read, bool *ret_may_write);
int system_file_extend(int file, uint64_t bytes);

/* What lies at an address, from the system's own table: of the whole run of equal pages. */
struct system_region {
    uintptr_t first, end;
    bool is_free;
    bool is_private; /* no file */
    bool is_image;   /* of a program or a library */
    uint32_t protection;
};
int system_region_at(uintptr_t address, struct system_region *ret_region);

#endif
