// SPDX-License-Identifier: MIT
/*
 * Perl's vmem.h for Windows: the memory of one interpreter, many of which may live in a process. Its options are lines
 * of the file, so the test that compiles this makes three of it: as it is, on the C library's malloc, which on Windows
 * is HeapAlloc on the process heap; Knuth's boundary tags in blocks of a heap of its own (HeapCreate, HeapAlloc,
 * HeapReAlloc in place) and VirtualAlloc; and buddies on VirtualAlloc. Random blocks are allocated, resized, freed and
 * compared with what malloc holds for the same steps.
 */
#include <windows.h>

#include <pthread.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "calls.h"
#include "require.h"

// ---- what it wants of Windows and of Perl beside memory

typedef pthread_mutex_t CRITICAL_SECTION;

static inline void InitializeCriticalSection(CRITICAL_SECTION *section)
{
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    REQUIRE(pthread_mutex_init(section, &recursive) == 0);
    pthread_mutexattr_destroy(&recursive);
}

static inline void DeleteCriticalSection(CRITICAL_SECTION *section)
{
    REQUIRE(pthread_mutex_destroy(section) == 0);
}

static inline void EnterCriticalSection(CRITICAL_SECTION *section)
{
    REQUIRE(pthread_mutex_lock(section) == 0);
}

static inline void LeaveCriticalSection(CRITICAL_SECTION *section)
{
    REQUIRE(pthread_mutex_unlock(section) == 0);
}

static inline long InterlockedIncrement(long *number)
{
    return __atomic_add_fetch(number, 1, __ATOMIC_SEQ_CST);
}

static inline long InterlockedDecrement(long *number)
{
    return __atomic_sub_fetch(number, 1, __ATOMIC_SEQ_CST);
}

static inline void Perl_warn_nocontext(const char *format, const void *pool, const void *other)
{
    (void)format;
    fprintf(stderr, "freed to %p, of %p\n", pool, other);
    exit(1);
}

// The C library of Windows has its blocks from the process heap.
static inline void *crt_malloc(size_t bytes)
{
    return HeapAlloc(GetProcessHeap(), 0, bytes);
}

static inline void *crt_realloc(void *block, size_t bytes)
{
    return HeapReAlloc(GetProcessHeap(), 0, block, bytes);
}

static inline void crt_free(void *block)
{
    REQUIRE(HeapFree(GetProcessHeap(), 0, block));
}

#define malloc crt_malloc
#define realloc crt_realloc
#define free crt_free
#include VMEM_H
#undef malloc
#undef realloc
#undef free

// ---- the work

static const size_t INTERPRETERS = 8, BLOCKS = 3000, STEPS = 60000;

struct memory_of_malloc {
    void *Malloc(size_t bytes)
    {
        return malloc(bytes);
    }
    void *Realloc(void *block, size_t bytes)
    {
        return realloc(block, bytes);
    }
    void Free(void *block)
    {
        free(block);
    }
};

struct block {
    unsigned char *bytes;
    size_t size;
};

static uint64_t fold(uint64_t hash, const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

// Random steps on one interpreter's memory: what all blocks held when they were resized, freed, or left.
template <class Memory> static uint64_t work(Memory &memory, uint64_t seed, std::vector<block> &blocks)
{
    uint64_t hash = UINT64_C(1469598103934665603);
    for (size_t step = 0; step < STEPS; step++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        block &one = blocks[(seed >> 33) % BLOCKS];
        size_t size = 1 + (size_t)(seed >> 40) % 200;
        if ((seed >> 20) % 64 == 0)
            size *= 50;
        if ((seed >> 20) % 4096 == 0)
            size *= 20;
        size_t kept = 0;
        if (one.bytes == nullptr) {
            one.bytes = static_cast<unsigned char *>(memory.Malloc(size));
        } else if ((seed >> 60) < 5) {
            kept = one.size < size ? one.size : size;
            hash = fold(hash, one.bytes, one.size);
            one.bytes = static_cast<unsigned char *>(memory.Realloc(one.bytes, size));
        } else {
            hash = fold(hash, one.bytes, one.size);
            memory.Free(one.bytes);
            one.bytes = nullptr;
            continue;
        }
        REQUIRE(one.bytes != nullptr);
        if (size > kept) // what was kept is looked at the next time
            memset(one.bytes + kept, (int)(seed >> 50), size - kept);
        one.size = size;
    }
    return hash;
}

struct interpreter {
    VMem *memory;
    uint64_t seed, expected, seen;
    std::vector<block> blocks;
    pthread_t thread;
};

static void *run(void *arg)
{
    interpreter *one = static_cast<interpreter *>(arg);
    one->seen = work(*one->memory, one->seed, one->blocks);
    return nullptr;
}

int main()
{
    std::vector<interpreter> all(INTERPRETERS);
    for (size_t i = 0; i < INTERPRETERS; i++) {
        memory_of_malloc plain;
        all[i].seed = i + 1;
        all[i].blocks.assign(BLOCKS, block{});
        all[i].expected = work(plain, all[i].seed, all[i].blocks);
        for (block &one : all[i].blocks)
            free(one.bytes);
        all[i].blocks.assign(BLOCKS, block{});
    }
    REQUIRE(calls.HeapAlloc == 0 && calls.VirtualAlloc == 0);

    for (interpreter &one : all) {
        one.memory = new VMem;
        REQUIRE(one.memory->CreateOk());
        REQUIRE(one.memory->AddRef() == 2 && one.memory->Release() == 1);
        REQUIRE(pthread_create(&one.thread, nullptr, run, &one) == 0);
    }
    for (interpreter &one : all) {
        REQUIRE(pthread_join(one.thread, nullptr) == 0);
        REQUIRE(one.seen == one.expected);
    }
    REQUIRE(HeapValidate(GetProcessHeap(), 0, NULL));
    for (interpreter &one : all) { // every second block is left to the end of the memory
        for (size_t i = 0; i < BLOCKS; i += 2)
            one.memory->Free(one.blocks[i].bytes);
        REQUIRE(one.memory->Release() == 0);
    }
    char who[100];
    snprintf(who, sizeof who, "Perl's vmem.h, %s, %zu interpreters", KIND, INTERPRETERS);
    calls_print(who);
    REQUIRE(calls.failed == 0);
    REQUIRE(calls.HeapAlloc + calls.VirtualAlloc >= INTERPRETERS);
    REQUIRE(calls.HeapCreate == calls.HeapDestroy && calls.VirtualAlloc == calls.VirtualFree);
    HANDLE heaps[4];
    REQUIRE(GetProcessHeaps(4, heaps) == 1); // the process heap
    return 0;
}
