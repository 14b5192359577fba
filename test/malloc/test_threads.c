/* SPDX-License-Identifier: MIT */
/*
 * Threads that end: their last destructors free and allocate, before and after cairn's own hook has run, and what they
 * held is there for others. A heap has 65,534 records for threads: more threads than that have come and gone
 * here.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "malloc/preloaded.h"

enum { THREADS = 70000, AT_ONCE = 20, KEYS = 40, THREADS_WITH_KEYS = 2000, BLOCKS = 20000 };

static pthread_key_t keys[KEYS];
static atomic_ulong destructor_calls;

/* Sets itself again as long as the C library lets it, so that some call comes after every other hook. */
static void keeps_coming(void *value)
{
    char *text = value;
    REQUIRE(strcmp(text, "of a key") == 0);
    free(text);
    for (size_t key = 0; key < KEYS; key++) {
        if (pthread_getspecific(keys[key]) == NULL) {
            pthread_setspecific(keys[key], strdup("of a key"));
            break;
        }
    }
    atomic_fetch_add(&destructor_calls, 1);
}

static void *uses_keys(void *unused)
{
    for (size_t key = 0; key < KEYS; key++)
        REQUIRE(pthread_setspecific(keys[key], strdup("of a key")) == 0);
    return unused;
}

static void *allocates_little(void *arg)
{
    void *block = malloc(100);
    memset(block, 1, 100);
    free(arg); /* the one that began it gave it */
    return block;
}

static void run_many(void *(*body)(void *), int count)
{
    pthread_t thread[AT_ONCE];
    for (int begun = 0; begun < count; begun += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++)
            REQUIRE(pthread_create(&thread[i], NULL, body, body == allocates_little ? malloc(50) : NULL) == 0);
        for (int i = 0; i < AT_ONCE; i++) {
            void *result;
            REQUIRE(pthread_join(thread[i], &result) == 0);
            free(result);
        }
    }
}

static long resident_peak(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* ---------------------------------------------------------------- blocks that go from thread to thread */

static void *allocates_much(void *arg)
{
    void **block = arg;
    for (size_t i = 0; i < BLOCKS; i++) {
        block[i] = malloc(i % 500 + 1);
        memset(block[i], (int)(i % 251), i % 500 + 1);
    }
    return arg;
}

static void *frees_much(void *arg)
{
    void **block = arg;
    for (size_t i = 0; i < BLOCKS; i++) {
        unsigned char *bytes = block[i];
        REQUIRE(bytes[0] == i % 251 && bytes[i % 500] == i % 251);
        free(bytes);
    }
    return NULL;
}

static void hand_over(void)
{
    static void *block[2][BLOCKS];
    pthread_t thread[2];
    for (int turn = 0; turn < 20; turn++) {
        for (int i = 0; i < 2; i++)
            REQUIRE(pthread_create(&thread[i], NULL, allocates_much, block[i]) == 0);
        for (int i = 0; i < 2; i++)
            REQUIRE(pthread_join(thread[i], NULL) == 0);
        for (int i = 0; i < 2; i++)
            REQUIRE(pthread_create(&thread[i], NULL, frees_much, block[1 - i]) == 0);
        for (int i = 0; i < 2; i++)
            REQUIRE(pthread_join(thread[i], NULL) == 0);
    }
}

int main(int argc, char **argv)
{
    require_preload(argc, argv);
    hand_over();
    for (size_t key = 0; key < KEYS; key++)
        REQUIRE(pthread_key_create(&keys[key], keeps_coming) == 0);
    run_many(uses_keys, THREADS_WITH_KEYS);
    REQUIRE(atomic_load(&destructor_calls) > (unsigned long)KEYS * THREADS_WITH_KEYS); /* came again */
    long before = resident_peak();
    run_many(allocates_little, strcmp(argv[1], "cairn") == 0 ? THREADS : THREADS / 50);
    REQUIRE(resident_peak() - before < 20 << 10); /* KiB */
    return 0;
}
