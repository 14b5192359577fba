/* SPDX-License-Identifier: MIT */
/* Forks while threads are in the middle of calls: the child has a heap that works, and the parent's blocks. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "malloc/preloaded.h"

int early_forks(void); /* of early/early.c, whose handlers allocate as well */

enum { THREADS = 3, FORKS = 60, KEPT = 500 };

static atomic_bool over;
static void *kept[KEPT];

static size_t size_of(unsigned number)
{
    return number % 37 == 0 ? 200000 : number % 700 + 1;
}

static void *churns(void *unused)
{
    void *mine[100] = {0};
    for (unsigned i = 0; !atomic_load(&over); i++) {
        unsigned place = i * 17 % 100;
        free(mine[place]);
        mine[place] = malloc(size_of(i));
        memset(mine[place], 5, size_of(i));
    }
    for (int i = 0; i < 100; i++)
        free(mine[i]);
    return unused;
}

static void *lives_shortly(void *unused)
{
    free(hidden(malloc(10)));
    return unused;
}

/* Goes with empty slabs of many sizes, which it gives up under a lock of the process. */
static void *has_much(void *unused)
{
    void *block[200];
    for (unsigned i = 0; i < 200; i++)
        block[i] = malloc(i * 150 + 1);
    for (unsigned i = 0; i < 200; i++)
        free(block[i]);
    return unused;
}

static void *creates_threads(void *unused)
{
    while (!atomic_load(&over)) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, has_much, NULL) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
    }
    return unused;
}

static void keep_new(void)
{
    for (unsigned i = 0; i < KEPT; i++) {
        kept[i] = malloc(size_of(i));
        memset(kept[i], (int)(i % 256), size_of(i));
    }
}

static void free_kept(void)
{
    for (unsigned i = 0; i < KEPT; i++) {
        unsigned char *bytes = kept[i];
        REQUIRE(bytes[0] == i % 256 && bytes[size_of(i) - 1] == i % 256);
        free(bytes);
    }
}

static _Noreturn void child(bool forks)
{
    free_kept();
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, lives_shortly, NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    keep_new();
    pid_t grandchild = forks ? fork() : 0;
    REQUIRE(grandchild >= 0);
    free_kept();
    if (grandchild != 0) {
        int status;
        REQUIRE(waitpid(grandchild, &status, 0) == grandchild && status == 0);
    }
    exit(0); /* with the handlers and destructors of a program */
}

/* Forks as the first thing that it does. */
static void *forks_once(void *unused)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(30);
        _exit(early_forks() > 0 ? 0 : 3);
    }
    int status;
    REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    return unused;
}

/* A handler of the program's own, which runs before cairn's when the fork begins and after it when it ends. */
static void allocates(void)
{
    free(hidden(malloc(1000)));
}

int main(int argc, char **argv)
{
    require_preload(argc, argv);
    alarm(100); /* a child that waits for a lock of a thread that it has not */
    pthread_t thread[THREADS];
    for (int i = 0; i < FORKS / 5; i++) {
        REQUIRE(pthread_create(&thread[0], NULL, forks_once, NULL) == 0);
        REQUIRE(pthread_join(thread[0], NULL) == 0);
    }
    REQUIRE(early_forks() == 2 * FORKS / 5);
    REQUIRE(pthread_atfork(allocates, allocates, allocates) == 0);
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&thread[i], NULL, i == 0 ? churns : creates_threads, NULL) == 0);
    for (int i = 0; i < FORKS; i++) {
        keep_new();
        pid_t pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
            alarm(30);
            child(i % 10 == 0);
        }
        int status;
        REQUIRE(waitpid(pid, &status, 0) == pid);
        REQUIRE(status == 0);
        free_kept();
    }
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
    return 0;
}
