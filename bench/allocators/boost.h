/* SPDX-License-Identifier: MIT */
/* Boost.Interprocess. It is C++: boost.cpp has the calls, so that one more lies between the loops and the allocator. */
#define HEAP_CAN                                                                                                       \
    (HEAP_FREES | HEAP_FREES_ANYWHERE | HEAP_ALLOCATES_ANYWHERE | HEAP_SHARED | HEAP_NAMED | HEAP_GROWS | HEAP_MEASURES)

const char *heap_version(void);
void *heap_create(void);
void heap_destroy(void *heap);
void *heap_alloc(void *heap, size_t size);
void heap_free(void *heap, void *block);
void *heap_create_named(void);
void *heap_open_named(bool read_only);
void heap_close_named(void *heap);
void heap_unlink_named(void);
void heap_publish(void *heap, void *block);
void *heap_find(void *heap);
double heap_footprint(void *heap);
