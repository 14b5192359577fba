/* SPDX-License-Identifier: MIT */
/*
 * A floor for shared memory: a file in tmpfs that is mapped once and grown by fallocate, and a pointer that is moved
 * through it. Memory that must be there before it is promised cannot be had for less; nor attached to: the file is
 * opened, mapped, and one number is read in it.
 */
#include "scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAP_CAN (HEAP_SHARED | HEAP_GROWS | HEAP_MEASURES | HEAP_NAMED)

#define FILE_NAME "file"
#define FILE_MAX ((size_t)2 << 30)
#define STEP ((size_t)16 << 20)

struct file {
    int descriptor;
    char *memory;
    size_t used, size;
};

static inline const char *heap_version(void)
{
    return "floor";
}

static inline void *file_open(int flags, int protection)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch_directory(), FILE_NAME);
    struct file *file = calloc(1, sizeof *file);
    if (!file || (file->descriptor = open(path, flags | O_CLOEXEC, 0600)) < 0)
        fail("%s: cannot be opened", path);
    file->memory = mmap(NULL, FILE_MAX, protection, MAP_SHARED | MAP_NORESERVE, file->descriptor, 0);
    if (file->memory == MAP_FAILED)
        fail("%s: cannot be mapped", path);
    return file;
}

static inline void *heap_create(void)
{
    return file_open(O_RDWR | O_CREAT | O_TRUNC, PROT_READ | PROT_WRITE);
}

static inline void heap_destroy(void *heap)
{
    struct file *file = heap;
    munmap(file->memory, FILE_MAX);
    close(file->descriptor);
    free(file);
}

static inline void *heap_alloc(void *heap, size_t size)
{
    struct file *file = heap;
    size = (size + 15) & ~(size_t)15;
    if (file->size - file->used < size) {
        if (fallocate(file->descriptor, 0, (off_t)file->size, (off_t)STEP) < 0)
            return NULL;
        file->size += STEP;
    }
    void *block = file->memory + file->used;
    file->used += size;
    return block;
}

static inline void heap_free(void *heap, void *block)
{
    (void)heap, (void)block;
}

static inline double heap_footprint(void *heap)
{
    (void)heap;
    return scratch_footprint(scratch_directory(), FILE_NAME);
}

/* The first block of a named one holds where the published block is. */
static inline void *heap_create_named(void)
{
    struct file *file = heap_create();
    return heap_alloc(file, sizeof(size_t)) != NULL ? file : NULL;
}

static inline void *heap_open_named(bool read_only)
{
    struct file *file = read_only ? file_open(O_RDONLY, PROT_READ) : file_open(O_RDWR, PROT_READ | PROT_WRITE);
    file->used = *(const volatile size_t *)(void *)file->memory;
    return file;
}

static inline void heap_close_named(void *heap)
{
    heap_destroy(heap);
}

static inline void heap_unlink_named(void)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch_directory(), FILE_NAME);
    unlink(path);
}

static inline void heap_publish(void *heap, void *block)
{
    struct file *file = heap;
    *(size_t *)(void *)file->memory = (size_t)((char *)block - file->memory);
}

static inline void *heap_find(void *heap)
{
    struct file *file = heap;
    return file->memory + file->used;
}
