/* SPDX-License-Identifier: MIT */
/* Guards: faults of memory as errors, for the thread that is guarded, and for nobody else. */
#include "support/workspace.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 4 };
static size_t page;
static unsigned char *there;  /* PAGES pages that can be written */
static unsigned char *sealed; /* one that cannot be touched */

static unsigned char *map(int protection, int file)
{
    void *got = mmap(NULL, PAGES * page, protection, file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, file, 0);
    REQUIRE(got != MAP_FAILED);
    return got;
}

static void prepare(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    there = map(PROT_READ | PROT_WRITE, -1);
    sealed = map(PROT_NONE, -1);
}

static void store(void *address)
{
    *(volatile unsigned char *)address = 1;
}

static void load(void *address)
{
    (void)*(volatile unsigned char *)address;
}

static void what_is_there_is_copied(void)
{
    prepare();
    memset(there, 7, page);
    REQUIRE_EQUAL(cairn_guard_copy(there + page, there, page), 0);
    REQUIRE_EQUAL(there[2 * page - 1], 7);
    REQUIRE_EQUAL(cairn_guard_copy(NULL, NULL, 0), 0);
}

static void what_is_not_there_is_an_error_every_time(void)
{
    prepare();
    for (int i = 0; i < 1000; i++) { /* no signal is left blocked */
        REQUIRE_EQUAL(cairn_guard_copy(there, sealed, 16), -EFAULT);
        REQUIRE_EQUAL(cairn_guard_copy(sealed, there, 16), -EFAULT);
    }
    REQUIRE_EQUAL(mprotect(sealed, page, PROT_READ), 0);
    REQUIRE_EQUAL(cairn_guard_copy(there, sealed, page), 0);
    REQUIRE_EQUAL(cairn_guard_copy(there, sealed, page + 1), -EFAULT); /* the last byte */
    REQUIRE_EQUAL(cairn_guard_copy(sealed, there, 1), -EFAULT);
}

static void a_file_that_became_shorter_is_an_error(void)
{
    prepare();
    int file = memfd_create("shorter", MFD_CLOEXEC);
    REQUIRE(file >= 0 && ftruncate(file, (off_t)(PAGES * page)) == 0);
    unsigned char *view = map(PROT_READ | PROT_WRITE, file);
    REQUIRE_EQUAL(cairn_guard_copy(there, view, PAGES * page), 0);
    REQUIRE_EQUAL(ftruncate(file, (off_t)page), 0);
    REQUIRE_EQUAL(cairn_guard_copy(there, view, page), 0);
    REQUIRE_EQUAL(cairn_guard_copy(there, view, PAGES * page), -EFAULT);
    cairn_fault fault;
    REQUIRE_EQUAL(cairn_guard_call(load, view + page + 5, &fault), -EFAULT);
    REQUIRE_EQUAL(fault.signal, SIGBUS);
    REQUIRE(fault.address == view + page + 5);
    close(file);
}

static void a_call_tells_what_was_touched(void)
{
    prepare();
    cairn_fault fault = {.signal = 99};
    REQUIRE_EQUAL(cairn_guard_call(load, there, &fault), 0);
    REQUIRE_EQUAL(fault.signal, 99);
    REQUIRE_EQUAL(cairn_guard_call(store, sealed + 3, &fault), -EFAULT);
    REQUIRE_EQUAL(fault.signal, SIGSEGV);
    REQUIRE(fault.address == sealed + 3);
#if defined(__x86_64__)
    REQUIRE(fault.is_write);
#endif
    REQUIRE_EQUAL(cairn_guard_call(load, sealed, &fault), -EFAULT);
    REQUIRE(!fault.is_write);
    REQUIRE_EQUAL(cairn_guard_call(load, sealed, NULL), -EFAULT);
    REQUIRE_EQUAL(cairn_guard_call(NULL, NULL, &fault), -EINVAL);
}

static volatile int steps; /* a store may leave the function that sets it */

static void fault_behind_an_inner_guard(void *arg)
{
    (void)arg;
    if (cairn_guard_call(store, sealed, NULL) == -EFAULT)
        steps = 1;
    if (cairn_guard_copy(there, there + page, page) == 0)
        steps = 2;
    store(sealed + 1);
    steps = 3;
}

static void guards_nest(void)
{
    prepare();
    cairn_fault fault;
    REQUIRE_EQUAL(cairn_guard_call(fault_behind_an_inner_guard, NULL, &fault), -EFAULT);
    REQUIRE_EQUAL(steps, 2);
    REQUIRE(fault.address == sealed + 1);
}

/* ---------------------------------------------------------------- what is not guarded */

static void own_handler(int number)
{
    _exit(number == SIGSEGV ? 0 : 1);
}

static void fault_with_a_handler(void *arg)
{
    (void)arg;
    REQUIRE(signal(SIGSEGV, own_handler) != SIG_ERR);
    REQUIRE_EQUAL(cairn_guard_copy(there, sealed, 1), -EFAULT);
    store(sealed);
    _exit(2);
}

static void fault_without(void *arg)
{
    (void)arg;
    REQUIRE(signal(SIGSEGV, SIG_DFL) != SIG_ERR); /* a sanitizer has one */
    REQUIRE_EQUAL(cairn_guard_copy(there, sealed, 1), -EFAULT);
    store(sealed);
}

static void send_to_oneself(void *arg)
{
    (void)arg;
    (void)raise(SIGSEGV);
}

static void be_sent_the_signal(void *arg)
{
    (void)arg;
    REQUIRE(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    (void)cairn_guard_call(send_to_oneself, NULL, NULL); /* no fault of memory */
}

static void ignore_what_is_sent(void *arg)
{
    (void)arg;
    REQUIRE(signal(SIGSEGV, SIG_IGN) != SIG_ERR);
    REQUIRE_EQUAL(cairn_guard_copy(there, sealed, 1), -EFAULT);
    REQUIRE_EQUAL(raise(SIGSEGV), 0);
    REQUIRE_EQUAL(cairn_guard_call(send_to_oneself, NULL, NULL), 0);
    REQUIRE_EQUAL(cairn_guard_copy(there, sealed, 1), -EFAULT);
}

static pthread_barrier_t both;

static void *fault_in_a_thread(void *arg)
{
    (void)pthread_barrier_wait(&both);
    store(sealed);
    return arg;
}

static void wait_while_guarded(void *arg)
{
    (void)arg;
    (void)pthread_barrier_wait(&both);
    for (;;)
        (void)pause();
}

static void another_thread_faults(void *arg)
{
    (void)arg;
    pthread_t thread;
    REQUIRE(signal(SIGSEGV, own_handler) != SIG_ERR);
    REQUIRE_EQUAL(pthread_barrier_init(&both, NULL, 2), 0);
    REQUIRE_EQUAL(pthread_create(&thread, NULL, fault_in_a_thread, NULL), 0);
    (void)cairn_guard_call(wait_while_guarded, NULL, NULL);
    _exit(2);
}

static void what_is_not_guarded_is_the_programs(void)
{
    prepare();
    finish(start(fault_with_a_handler, NULL));
    finish_by(start(fault_without, NULL), SIGSEGV);
    finish_by(start(be_sent_the_signal, NULL), SIGSEGV);
    finish(start(ignore_what_is_sent, NULL));
    finish(start(another_thread_faults, NULL));
}

/* ---------------------------------------------------------------- threads and stacks */

static void *fault_often(void *arg)
{
    unsigned char *mine = (unsigned char *)arg;
    for (int i = 0; i < 2000; i++) {
        cairn_fault fault;
        if (cairn_guard_call(store, mine + i, &fault) != -EFAULT || fault.address != mine + i)
            return arg;
    }
    return NULL;
}

static void each_thread_has_its_own(void)
{
    prepare();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        REQUIRE_EQUAL(pthread_create(&threads[i], NULL, fault_often, sealed + i * 2000), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        REQUIRE_EQUAL(pthread_join(threads[i], &failed), 0);
        REQUIRE(failed == NULL);
    }
}

/* A stack for signals that disarms itself is armed again, although its handler is left by a jump. */
static void the_stack_for_signals_stays(void)
{
    prepare();
    const unsigned autodisarm = 1U << 31;
    stack_t mine = {.ss_sp = map(PROT_READ | PROT_WRITE, -1), .ss_size = PAGES * page, .ss_flags = (int)autodisarm};
    stack_t now;
    REQUIRE_EQUAL(sigaltstack(&mine, NULL), 0);
    for (int i = 0; i < 3; i++) {
        REQUIRE_EQUAL(cairn_guard_copy(there, sealed, 1), -EFAULT);
        REQUIRE_EQUAL(sigaltstack(NULL, &now), 0);
        REQUIRE(now.ss_sp == mine.ss_sp && (unsigned)now.ss_flags == autodisarm);
    }
    mine.ss_flags = 0;
    REQUIRE_EQUAL(sigaltstack(&mine, NULL), 0);
    for (int i = 0; i < 3; i++)
        REQUIRE_EQUAL(cairn_guard_copy(there, sealed, 1), -EFAULT);
    REQUIRE_EQUAL(sigaltstack(NULL, &now), 0);
    REQUIRE(now.ss_sp == mine.ss_sp && now.ss_flags == 0);
    mine.ss_flags = SS_DISABLE;
    REQUIRE_EQUAL(sigaltstack(&mine, NULL), 0);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(what_is_there_is_copied),
        CLAIM(what_is_not_there_is_an_error_every_time),
        CLAIM(a_file_that_became_shorter_is_an_error),
        CLAIM(a_call_tells_what_was_touched),
        CLAIM(guards_nest),
        CLAIM(what_is_not_guarded_is_the_programs),
        CLAIM(each_thread_has_its_own),
        CLAIM(the_stack_for_signals_stays),
    };
    if (UNDER_TSAN) {
        puts("ThreadSanitizer does not know handlers that are left by a jump: no guards under it");
        return 77;
    }
    return run_claims(claims, COUNT(claims), 60);
}
