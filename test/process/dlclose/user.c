/* SPDX-License-Identifier: MIT */
/* A library that makes heaps; test_dlclose loads it, built with libcairn.so and once more with libcairn.a in it. */
#include <pthread.h>

#include "cairn.h"

cairn_heap *user_create(const char *name);
void *user_alloc(cairn_heap *heap, size_t size);
void user_free(cairn_heap *heap, void *block);
void user_close(cairn_heap *heap);
int user_check(cairn_heap *heap);
int user_work_in_threads(cairn_heap *heap);

cairn_heap *user_create(const char *name)
{
    cairn_options options = {.size = sizeof options, .name = name, .flags = name != NULL ? CAIRN_OPEN_OR_CREATE : 0};
    cairn_heap *heap;
    return cairn_heap_create(&heap, &options) == 0 ? heap : NULL;
}

void *user_alloc(cairn_heap *heap, size_t size)
{
    return cairn_alloc(heap, size);
}

void user_free(cairn_heap *heap, void *block)
{
    cairn_free(heap, block);
}

void user_close(cairn_heap *heap)
{
    cairn_heap_close(heap);
}

int user_check(cairn_heap *heap)
{
    return cairn_check(heap, NULL, NULL);
}

static void *work(void *arg)
{
    cairn_heap *heap = arg;
    void *blocks[100];
    for (int i = 0; i < 100; i++)
        blocks[i] = cairn_alloc(heap, (size_t)i * 20);
    for (int i = 0; i < 100; i++)
        cairn_free(heap, blocks[i]);
    return NULL;
}

int user_work_in_threads(cairn_heap *heap)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        if (pthread_create(&threads[i], NULL, work, heap) != 0)
            return -1;
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
