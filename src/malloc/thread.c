/* SPDX-License-Identifier: MIT */
/*
 * From a thread to the heap, and the end of a thread.
 *
 * A destructor of a thread may free, and so may the destructors of other keys that run after ours. So ours asks to be
 * called again until the C library calls for the last time, and the thread gives up what it holds only then. Whoever
 * frees still later does it alone.
 */
#include <limits.h>
#include <pthread.h>

#include "malloc/malloc.h"
#include "platform/platform.h"

_Thread_local struct malloc_thread malloc_self;

static struct mutex start_mutex; /* no thread can be created before the first call, so no fork finds it locked */
static _Atomic(cairn_heap *) heap_made;
static pthread_key_t exit_key;
static bool has_exit_key;

cairn_heap *malloc_heap_made(void)
{
    return load_acquire(&heap_made);
}

/* ---------------------------------------------------------------- the end of a thread */

/*
 * platform's contract, kept without an allocation; libcairn.so has it from src/platform/linux/thread_exit.c. Here the
 * end is registered before a thread comes home, and a thread that is alone detaches itself.
 */
int thread_on_exit(void (*leave)(void *arg), void *arg)
{
    malloc_self.leave = leave;
    malloc_self.arg = arg;
    return 0;
}

static void detach(struct malloc_thread *self)
{
    void (*leave)(void *arg) = self->leave;
    self->leave = NULL;
    if (leave != NULL)
        leave(self->arg);
}

static void thread_ends(void *arg)
{
    struct malloc_thread *self = arg;
    if (++self->rounds < PTHREAD_DESTRUCTOR_ITERATIONS && pthread_setspecific(exit_key, self) == 0)
        return;
    self->home = NULL;
    detach(self);
}

void malloc_leave(void)
{
    detach(&malloc_self);
}

/* ---------------------------------------------------------------- the heap */

static cairn_heap *make_heap(struct malloc_thread *self)
{
    if (self->starting)
        return NULL;
    self->starting = true;
    mutex_lock(&start_mutex);
    cairn_heap *heap = load_relaxed(&heap_made);
    if (heap == NULL && cairn_heap_create(&heap, NULL) == 0) {
        has_exit_key = pthread_key_create(&exit_key, thread_ends) == 0;
        store_release(&heap_made, heap); /* pairs with the load_acquire in malloc_come_home */
    }
    mutex_unlock(&start_mutex);
    self->starting = false;
    return heap;
}

cairn_heap *malloc_come_home(void)
{
    struct malloc_thread *self = &malloc_self;
    cairn_heap *heap = load_acquire(&heap_made);
    if (heap == NULL)
        heap = make_heap(self);
    if (heap == NULL)
        return NULL;
    bool has_ended = self->rounds != 0;
    if (!has_ended && has_exit_key && pthread_setspecific(exit_key, self) == 0)
        self->home = heap;
    return heap;
}
