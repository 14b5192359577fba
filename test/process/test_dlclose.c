/* SPDX-License-Identifier: MIT */
/*
 * Heaps of a library that is loaded and unloaded. The program itself has cairn linked in statically, as its own; the
 * library that it loads has libcairn.so, or a cairn of its own inside. USER_SHARED and USER_STATIC are their paths.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/workspace.h"

/* The library's calls; of libcairn.so itself, which stays, those that go on when the library is gone. */
struct user {
    void *library;
    cairn_heap *(*create)(const char *name);
    void *(*alloc)(cairn_heap *heap, size_t size);
    void (*free)(cairn_heap *heap, void *block);
    void (*close)(cairn_heap *heap);
    int (*check)(cairn_heap *heap);
    int (*work_in_threads)(cairn_heap *heap);
};

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (found == NULL)
        broken(__FILE__, __LINE__, "%s: %s", name, dlerror());
    return found;
}

static void *load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        broken(__FILE__, __LINE__, "%s", dlerror());
    return library;
}

/* A pointer to a function is not one to an object, for the language. */
#define FETCH(place, library, name)                                                                                    \
    do {                                                                                                               \
        void *found_ = symbol(library, name);                                                                          \
        memcpy(&(place), &found_, sizeof found_);                                                                      \
    } while (0)

static struct user load_user(const char *path)
{
    struct user user = {.library = load(path)};
    FETCH(user.create, user.library, "user_create");
    FETCH(user.alloc, user.library, "user_alloc");
    FETCH(user.free, user.library, "user_free");
    FETCH(user.close, user.library, "user_close");
    FETCH(user.check, user.library, "user_check");
    FETCH(user.work_in_threads, user.library, "user_work_in_threads");
    return user;
}

static void use(const struct user *user, cairn_heap *heap)
{
    void *blocks[200];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = user->alloc(heap, i * 200);
        REQUIRE(blocks[i] != NULL);
        memset(blocks[i], 1, i * 200);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        user->free(heap, blocks[i]);
    REQUIRE_EQUAL(user->work_in_threads(heap), 0);
    REQUIRE_EQUAL(user->check(heap), 0);
}

/* The same calls of libcairn.so. */
struct cairn_calls {
    void *library;
    void *(*alloc)(cairn_heap *heap, size_t size);
    void (*free)(cairn_heap *heap, void *block);
    void (*close)(cairn_heap *heap);
    int (*check)(cairn_heap *heap, cairn_report_fn *report, void *arg);
};

static struct cairn_calls load_cairn(void)
{
    struct cairn_calls calls = {.library = load(CAIRN_SHARED)};
    FETCH(calls.alloc, calls.library, "cairn_alloc");
    FETCH(calls.free, calls.library, "cairn_free");
    FETCH(calls.close, calls.library, "cairn_heap_close");
    FETCH(calls.check, calls.library, "cairn_check");
    return calls;
}

static void use_and_close(const struct cairn_calls *calls, cairn_heap *heap, char *text)
{
    REQUIRE(strcmp(text, "from the library") == 0);
    for (int i = 0; i < 1000; i++) {
        void *block = calls->alloc(heap, (size_t)i * 20);
        REQUIRE(block != NULL);
        calls->free(heap, block);
    }
    calls->free(heap, text);
    REQUIRE_EQUAL(calls->check(heap, NULL, NULL), 0);
    calls->close(heap);
}

/* The one that uses libcairn.so goes; libcairn.so stays, for the program has it too, and the heap with it. */
static void survive(const char *name)
{
    struct cairn_calls calls = load_cairn();
    for (int round = 0; round < 5; round++) {
        struct user user = load_user(USER_SHARED);
        cairn_heap *heap = user.create(name);
        REQUIRE(heap != NULL);
        use(&user, heap);
        char *text = user.alloc(heap, 100);
        REQUIRE(text != NULL);
        strcpy(text, "from the library");
        REQUIRE_EQUAL(dlclose(user.library), 0);
        use_and_close(&calls, heap, text);
    }
}

static void a_private_heap_survives_the_library_that_made_it(void)
{
    survive(NULL);
}

static void a_shared_heap_survives_the_library_that_made_it(void)
{
    survive("heap");
    cairn_heap *heap = open_shared("heap", 0); /* and for others it is there as ever */
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_SOUND(heap);
    REQUIRE_CALL(cairn_heap_destroy(heap) == 0);
}

/* Even when nobody else has libcairn.so: a thread that used it still ends by its code. */
struct visitor {
    const struct user *user;
    cairn_heap *heap;
    _Atomic uint32_t used;
    _Atomic uint32_t unloaded;
};

static void *use_and_outlive(void *arg)
{
    struct visitor *visitor = arg;
    visitor->user->free(visitor->heap, visitor->user->alloc(visitor->heap, 100));
    advance(&visitor->used);
    wait_for(&visitor->unloaded, 1);
    return NULL;
}

static void outlive(const char *path)
{
    for (int round = 0; round < 5; round++) {
        struct user user = load_user(path);
        struct visitor visitor = {.user = &user, .heap = user.create(NULL)};
        REQUIRE(visitor.heap != NULL);
        use(&user, visitor.heap);
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, use_and_outlive, &visitor) == 0);
        wait_for(&visitor.used, 1);
        if (round % 2 == 0)
            user.close(visitor.heap);
        REQUIRE_EQUAL(dlclose(user.library), 0);
        advance(&visitor.unloaded);
        REQUIRE(pthread_join(thread, NULL) == 0);
        pid_t child = fork(); /* and so does a fork */
        REQUIRE(child >= 0);
        if (child == 0)
            _exit(0);
        finish(child);
    }
}

static void threads_outlive_a_library_with_the_shared_cairn(void)
{
    outlive(USER_SHARED);
}

static void threads_outlive_a_library_with_a_cairn_inside(void)
{
    outlive(USER_STATIC);
}

/* Two cairns in one process are strangers to each other; a shared heap serves both. */
static void two_cairns_live_side_by_side(void)
{
    struct user inside = load_user(USER_STATIC), outside = load_user(USER_SHARED);
    cairn_heap *mine = create_private(0), *private_inside = inside.create(NULL),
               *private_outside = outside.create(NULL);
    REQUIRE(private_inside != NULL && private_outside != NULL);
    use(&inside, private_inside);
    use(&outside, private_outside);
    void *block = cairn_alloc(mine, 100);
    REQUIRE_CALL(block != NULL);
    inside.close(private_inside);
    REQUIRE_EQUAL(dlclose(inside.library), 0);
    use(&outside, private_outside);
    outside.close(private_outside);
    REQUIRE_EQUAL(dlclose(outside.library), 0);
    cairn_free(mine, block);
    REQUIRE_SOUND(mine);
    cairn_heap_close(mine);
}

int main(void)
{
    if (UNDER_SANITIZER) {
        printf("SKIPPED: a sanitizer's own library is loaded with the program\n");
        return 77;
    }
    static const struct claim claims[] = {
        CLAIM(a_private_heap_survives_the_library_that_made_it),
        CLAIM(a_shared_heap_survives_the_library_that_made_it),
        CLAIM(threads_outlive_a_library_with_the_shared_cairn),
        CLAIM(threads_outlive_a_library_with_a_cairn_inside),
        CLAIM(two_cairns_live_side_by_side),
    };
    return run_claims(claims, COUNT(claims), 10);
}
