/* SPDX-License-Identifier: MIT */
/*
 * Older kernels and sandboxes: each claim takes one system call or one flag away, as the kernel itself would say it,
 * and then works with private and shared heaps. The library goes without, or refuses by name and leaves nothing behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/platform.h"
#include "support/workspace.h"

/* Newer than the C library's headers. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* ---------------------------------------------------------------- denying */

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define ARCHITECTURE 0
#endif

enum when {
    ALWAYS,
    IS,  /* the low half of the argument is the value */
    HAS, /* all bits of the value are set in it */
};

struct denial {
    uint32_t call; /* SYS_... */
    enum when when;
    uint32_t argument;
    uint32_t value;
    uint32_t error; /* errno */
};

/* The kernel's answer, so that nobody on the way can tell it from that of a kernel that lacks the thing. For good. */
static void deny(const struct denial *denials, size_t count)
{
    struct sock_filter program[64];
    size_t n = 0;
    const uint32_t at_architecture = offsetof(struct seccomp_data, arch), at_call = offsetof(struct seccomp_data, nr);
    if (ARCHITECTURE == 0)
        skip("the numbers of this architecture's system calls are not known here");
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at_architecture);
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < count; i++) {
        const struct denial *denial = &denials[i];
        uint8_t rest = denial->when == ALWAYS ? 1 : denial->when == IS ? 3 : 4;
        /* seccomp_data.args are of 64 bits; the low half comes first on the machines above. */
        uint32_t at_argument = (uint32_t)offsetof(struct seccomp_data, args) + denial->argument * 8;
        program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at_call);
        program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denial->call, 0, rest);
        if (denial->when != ALWAYS)
            program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at_argument);
        if (denial->when == HAS)
            program[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, denial->value);
        if (denial->when != ALWAYS)
            program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denial->value, 0, 1);
        program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | denial->error);
    }
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    REQUIRE(n <= COUNT(program));

    struct sock_fprog filter = {.len = (unsigned short)n, .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        skip("the system has no seccomp filters: %s", strerror(errno));
}

#define DENY(...)                                                                                                      \
    do {                                                                                                               \
        static const struct denial denials_[] = {__VA_ARGS__};                                                         \
        deny(denials_, COUNT(denials_));                                                                               \
    } while (0)

/* ---------------------------------------------------------------- work */

static void work_in(cairn_heap *heap)
{
    enum { BLOCKS = UNDER_SANITIZER ? 100 : 600 };
    unsigned char *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = 1 + i * i * 37 % 40000;
        blocks[i] = i % 3 == 0 ? cairn_zalloc(heap, size) : cairn_alloc(heap, size);
        REQUIRE_CALL(blocks[i] != NULL);
        memset(blocks[i], (int)(i & 0xff), size);
    }
    for (size_t i = 0; i < BLOCKS; i += 2) {
        blocks[i] = cairn_realloc(heap, blocks[i], 50 + i * 400);
        REQUIRE_CALL(blocks[i] != NULL);
        REQUIRE_EQUAL(blocks[i][0], i & 0xff);
    }
    void *large = cairn_alloc(heap, 3 * MIB);
    REQUIRE_CALL(large != NULL);
    memset(large, 1, 3 * MIB);
    REQUIRE_SOUND(heap);
    cairn_free(heap, large);
    for (size_t i = 0; i < BLOCKS; i++)
        cairn_free(heap, blocks[i]);
}

static void *work_beside(void *heap)
{
    work_in(heap);
    return NULL;
}

static void work_with_private_heaps(void)
{
    cairn_heap *heap = create_private(0);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, work_beside, heap) == 0);
    work_in(heap);
    REQUIRE(pthread_join(thread, NULL) == 0);
    REQUIRE_EQUAL(blocks_live(heap), 0);
    REQUIRE_CALL(cairn_trim(heap) >= 0);
    work_in(heap);
    REQUIRE_CALL(cairn_heap_reset(heap) == 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);

    /* With a limit, and memory that is there from the beginning. */
    cairn_options options = {.size = sizeof options, .bytes_max = 128 * MIB, .bytes_start = 4 * MIB};
    REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
    work_in(heap);
    REQUIRE_CALL(cairn_trim(heap) >= 0);
    work_in(heap);
    cairn_heap_close(heap);

    /* That can be stopped. */
    options = (cairn_options){.size = sizeof options, .flags = CAIRN_LOCKABLE};
    REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0);
    work_in(heap);
    REQUIRE_CALL(cairn_heap_lock(heap) == 0);
    work_in(heap);
    REQUIRE_CALL(cairn_heap_unlock(heap) == 0);
    cairn_heap_close(heap);
}

static void open_work_and_die(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", 0);
    work_in(heap);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    raise(SIGKILL);
}

static void open_and_look(void *arg)
{
    (void)arg;
    cairn_heap *heap = open_shared("heap", CAIRN_READ_ONLY);
    const char *text = cairn_root_get(heap, "text");
    REQUIRE(text != NULL && strcmp(text, "plain pointers work everywhere") == 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void work_with_a_shared_heap(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    work_in(heap);
    char *text = cairn_alloc(heap, 100);
    REQUIRE_CALL(text != NULL);
    snprintf(text, 100, "%s", "plain pointers work everywhere");
    REQUIRE_CALL(cairn_root_set(heap, "text", text) == 0);
    finish_by(start(open_work_and_die, NULL), SIGKILL);
    REQUIRE_EQUAL(cairn_recover(heap), 1);
    REQUIRE_EQUAL(blocks_live(heap), 2); /* ours, and the one that the dead had */
    REQUIRE_CALL(cairn_trim(heap) >= 0);
    work_in(heap);
    finish(start(open_and_look, NULL));
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

static void work(void)
{
    work_with_private_heaps();
    work_with_a_shared_heap();
}

/* ---------------------------------------------------------------- it goes without */

static void the_work_can_be_done_at_all(void)
{
    work();
}

/* Since Linux 5.14: memory is touched instead. */
static void without_populate_write(void)
{
    DENY({SYS_madvise, IS, 2, MADV_POPULATE_WRITE, EINVAL});
    REQUIRE(madvise(NULL, 0, MADV_POPULATE_WRITE) < 0 && errno == EINVAL);
    work();
}

/* Memory that is promised from the start is there, or the heap is not: that its pages cannot be had is told. */
static void without_memory_to_populate(void)
{
    DENY({SYS_madvise, IS, 2, MADV_POPULATE_WRITE, ENOMEM});
    cairn_heap *parent = create_private(0), *none = untouched;
    cairn_options all[] = {
        {.size = sizeof all[0], .bytes_start = MIB},
        {.size = sizeof all[0], .bytes_start = MIB, .bytes_max = 4 * MIB},
        {.size = sizeof all[0], .bytes_start = MIB, .parent = parent},
    };
    for (size_t i = 0; i < COUNT(all); i++)
        REFUSED(-ENOMEM, cairn_heap_create(&none, &all[i]));
    REQUIRE(none == untouched);
    work_in(parent);
    REQUIRE_SOUND(parent);
    REQUIRE_CALL(cairn_heap_destroy(parent) == 0); /* it has no children */
}

/* Since Linux 5.18. Locked memory then stays taken, and nothing else happens. */
static void without_dontneed_for_locked_memory(void)
{
    DENY({SYS_madvise, IS, 2, MADV_DONTNEED_LOCKED, EINVAL});
    REQUIRE(madvise(NULL, 0, MADV_DONTNEED_LOCKED) < 0 && errno == EINVAL);
    work();
    if (UNDER_SANITIZER)
        return; /* all of a sanitizer's memory would be locked */
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
        skip("memory cannot be locked, which is half of this claim");
    cairn_heap *heap = create_private(0);
    work_in(heap);
    (void)cairn_trim(heap);
    work_in(heap);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    work_with_a_shared_heap();
}

/* A kernel that refuses to give memory back: it stays, and reads as what the library says it does. */
static void without_giving_memory_back(void)
{
    DENY({SYS_madvise, IS, 2, MADV_REMOVE, EOPNOTSUPP}, {SYS_madvise, IS, 2, MADV_DONTNEED, EINVAL},
         {SYS_madvise, IS, 2, MADV_DONTNEED_LOCKED, EINVAL});
    work();
}

/* Since Linux 6.3. */
static void without_files_that_are_never_programs(void)
{
    DENY({SYS_memfd_create, HAS, 1, MFD_NOEXEC_SEAL, EINVAL});
    int file;
    REQUIRE_EQUAL(file_create_anonymous(&file, "test"), 0);
    struct file_status status;
    REQUIRE_EQUAL(file_status_get(file, &status), 0);
    REQUIRE_EQUAL(status.mode, 0600);
    file_close(file);
    work();
}

/* Old kernels, and the sandboxes of containers. */
static void without_getrandom(void)
{
    DENY({SYS_getrandom, ALWAYS, 0, 0, ENOSYS});
    char bytes[8];
    REQUIRE(getrandom(bytes, sizeof bytes, 0) < 0 && errno == ENOSYS);
    work();
}

static void without_statx(void)
{
    DENY({SYS_statx, ALWAYS, 0, 0, ENOSYS});
    work();
}

/*
 * Since Linux 4.16. What needs a barrier in other processes is refused; all else does without, private heaps that can
 * be stopped by a lock.
 */
static void without_membarrier(void)
{
    DENY({SYS_membarrier, ALWAYS, 0, 0, ENOSYS});
    work();
    cairn_heap *heap = create_shared("heap", 0);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    REQUIRE_EQUAL(cairn_heap_reset(heap), -EOPNOTSUPP);
    REQUIRE(strstr(cairn_last_error(), "membarrier") != NULL);
    REQUIRE_EQUAL(blocks_live(heap), 1);

    cairn_options options = {.size = sizeof options, .name = "child", .parent = heap};
    cairn_heap *child;
    REQUIRE_CALL(cairn_heap_create(&child, &options) == 0);
    REQUIRE_CALL(cairn_alloc(child, 100) != NULL);
    REQUIRE_EQUAL(cairn_heap_destroy(child), -EOPNOTSUPP);
    REQUIRE(strstr(cairn_last_error(), "membarrier") != NULL);
    REQUIRE_EQUAL(blocks_live(child), 1);
    cairn_heap_close(child);
    REQUIRE_EQUAL(cairn_heap_destroy(heap), -EBUSY); /* nor can a heap end whose child cannot */
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

/* ---------------------------------------------------------------- it refuses */

static int create(const char *name)
{
    cairn_options options = {.size = sizeof options, .name = name};
    cairn_heap *heap = untouched;
    int error = cairn_heap_create(&heap, &options);
    REQUIRE(error == 0 || heap == untouched);
    return error;
}

/* A file system that does not know O_TMPFILE says EOPNOTSUPP, a kernel before 3.11 EISDIR. */
static void without_unnamed_files(void)
{
    DENY({SYS_openat, HAS, 2, O_TMPFILE, EOPNOTSUPP});
    work_with_private_heaps();
    REFUSED(-EOPNOTSUPP, create("heap"));
}

static void without_knowing_of_unnamed_files(void)
{
    DENY({SYS_openat, HAS, 2, O_TMPFILE, EISDIR});
    work_with_private_heaps();
    REFUSED(-EOPNOTSUPP, create("heap"));
}

static void without_fallocate(void)
{
    DENY({SYS_fallocate, ALWAYS, 0, 0, EOPNOTSUPP});
    work_with_private_heaps();
    REFUSED(-EOPNOTSUPP, create("heap"));
}

/* The heap was made by another program; here it cannot grow. What is there can be used. */
static void a_heap_that_cannot_grow(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    unsigned char *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    DENY({SYS_fallocate, ALWAYS, 0, 0, EOPNOTSUPP});
    void *again = NULL;
    for (int i = 0; i < 1000; i++) {
        again = cairn_alloc(heap, 100);
        cairn_free(heap, again);
    }
    REFUSED_NULL(-ENOMEM, cairn_alloc(heap, 10 * MIB));
    memset(block, 1, 100);
    cairn_free(heap, block);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(the_work_can_be_done_at_all),
        CLAIM(without_populate_write),
        CLAIM(without_memory_to_populate),
        CLAIM(without_dontneed_for_locked_memory),
        CLAIM(without_giving_memory_back),
        CLAIM(without_files_that_are_never_programs),
        CLAIM(without_getrandom),
        CLAIM(without_statx),
        CLAIM(without_membarrier),
        CLAIM(without_unnamed_files),
        CLAIM(without_knowing_of_unnamed_files),
        CLAIM(without_fallocate),
        CLAIM(a_heap_that_cannot_grow),
    };
    return run_claims(claims, COUNT(claims), 20);
}
