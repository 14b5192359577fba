/* SPDX-License-Identifier: MIT */
/*
 * malloc: the C library's allocator over one private heap of cairn, as libcairn-malloc.so for LD_PRELOAD. It sees
 * nothing of cairn but cairn.h, and of the platform what it says here.
 *
 * The library is called from the dynamic linker before any constructor has run, inside dlopen, by a thread's last
 * destructors and after them, by destructors of the process, and on both sides of a fork. Therefore: it has no
 * constructor and no destructor, the heap is made by the first call and never ends, and a thread's variables are of the
 * initial-exec model, which needs no allocation.
 *
 *     a thread is      its calls
 *     alone            attach it to the heap, and detach it again: before its end is registered, and after it was told
 *     at home          go straight to the heap; its end is registered, so that what it holds will be given up
 *
 * A thread begins alone. Registering its end may itself allocate (pthread_setspecific does from the 33rd key on), and
 * after the hook has run nobody tells the library again that a thread ends, though the C library still frees. Being
 * alone is slow, and right in both.
 */
#ifndef CAIRN_MALLOC_MALLOC_H
#define CAIRN_MALLOC_MALLOC_H

#include "base/base.h"
#include "cairn.h"

#define EXPORTED __attribute__((visibility("default")))

struct malloc_thread {
    cairn_heap *home; /* NULL: alone */
    bool starting;    /* this thread is making the heap: an allocation in that fails */
    uint32_t rounds;  /* how often the destructors' loop has passed by here */
    void (*leave)(void *arg);
    void *arg;
};

extern _Thread_local struct malloc_thread malloc_self;

/* The heap, made by the first call; NULL: no memory. The calling thread is at home afterwards, if that is possible. */
cairn_heap *malloc_come_home(void);

/* Detaches a thread that is alone. */
void malloc_leave(void);

/* A call that may change the heap stands between these two. */
ALWAYS_INLINE cairn_heap *malloc_call_begin(void)
{
    cairn_heap *heap = malloc_self.home;
    return LIKELY(heap != NULL) ? heap : malloc_come_home();
}

ALWAYS_INLINE void malloc_call_end(void)
{
    if (UNLIKELY(malloc_self.home == NULL))
        malloc_leave();
}

/* The heap once it has been made, for calls that do not change it. */
cairn_heap *malloc_heap_made(void);

/*
 * Blocks that are aligned to more than a heap can: each is a mapping of its own. All of them, and few others, are
 * aligned to WIDE_ALIGNMENT at least, so one test of an address tells mostly that it is no such block.
 */
#define WIDE_ALIGNMENT ((size_t)2 << 20)

ALWAYS_INLINE bool may_be_wide(const void *block) /* or NULL */
{
    return ((uintptr_t)block & (WIDE_ALIGNMENT - 1)) == 0;
}

void *wide_alloc(size_t alignment, size_t size);
bool wide_free(void *block);         /* false: it is none */
size_t wide_size(const void *block); /* 0: it is none */

#endif
