/* SPDX-License-Identifier: MIT */
/* Limits of the process: size of files, address space, descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/workspace.h"

static void caught(int signal)
{
    static const char text[] = "a limit became a signal\n";
    (void)!write(2, text, sizeof text - 1);
    (void)signal;
    _exit(1);
}

static void set_limit(int what, rlim_t value)
{
    struct rlimit limit;
    REQUIRE(getrlimit(what, &limit) == 0);
    limit.rlim_cur = value;
    REQUIRE(setrlimit(what, &limit) == 0);
    signal(SIGXFSZ, caught);
    signal(SIGBUS, caught);
    signal(SIGSEGV, caught);
}

static int create(cairn_heap **ret_heap, const char *name)
{
    cairn_options options = {.size = sizeof options, .name = name};
    return cairn_heap_create(ret_heap, &options);
}

static void fill_and_require_intact(cairn_heap *heap)
{
    enum { SIZE = 3000, MANY = 2000 };
    static unsigned char *blocks[MANY];
    int count = 0;
    while (count < MANY && (blocks[count] = cairn_alloc(heap, SIZE)) != NULL) {
        memset(blocks[count], count, SIZE);
        count++;
    }
    REQUIRE(count > 0 && count < MANY);
    REQUIRE_EQUAL(cairn_last_errno(), -ENOMEM);
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < SIZE; k++)
            REQUIRE(blocks[i][k] == (unsigned char)i);
        cairn_free(heap, blocks[i]);
    }
    REQUIRE_CALL((blocks[0] = cairn_alloc(heap, SIZE)) != NULL);
    cairn_free(heap, blocks[0]);
    REQUIRE_SOUND(heap);
}

static void a_limit_of_file_size_is_null_and_a_reason(void)
{
    cairn_heap *heap = create_shared("heap", 64 * MIB);
    uint64_t units = stats_of(heap).units_address - stats_of(heap).address;
    set_limit(RLIMIT_FSIZE, units + 2 * MIB);
    fill_and_require_intact(heap);
    REFUSED_NULL(-ENOMEM, cairn_alloc(heap, 8 * MIB));
    REFUSED_NULL(-ENOMEM, cairn_aligned_alloc(heap, MIB, 8 * MIB));
    cairn_heap_close(heap);
}

static void a_limit_of_file_size_refuses_creation(void)
{
    cairn_heap *heap = untouched;
    for (rlim_t bytes = 0; bytes < 64 * KIB; bytes += 4096) {
        set_limit(RLIMIT_FSIZE, bytes);
        REFUSED(-ENOMEM, create(&heap, "heap"));
        REQUIRE(heap == untouched);
    }
}

static void require_limited_address_space(rlim_t bytes)
{
    if (UNDER_SANITIZER)
        skip("a sanitizer needs all the address space");
    set_limit(RLIMIT_AS, bytes);
}

static void use_private(cairn_heap *heap)
{
    void *blocks[1000];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = cairn_alloc(heap, 1000);
        REQUIRE_CALL(blocks[i] != NULL);
        memset(blocks[i], 1, 1000);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        cairn_free(heap, blocks[i]);
    REQUIRE_SOUND(heap);
}

static void private_heaps_live_with_1_gib_of_address_space(void)
{
    require_limited_address_space(GIB);
    cairn_heap *heap = create_private(0);
    use_private(heap);
    REFUSED_NULL(-ENOMEM, cairn_alloc(heap, 2 * GIB));
    cairn_heap_close(heap);
}

static void private_heaps_live_or_are_refused_with_less(void)
{
    for (rlim_t bytes = 512 * MIB; bytes >= 4 * MIB; bytes /= 2) {
        /* Each limit in a fresh process: the address space is taken with the first heap. */
        pid_t child = fork();
        if (child == 0) {
            require_limited_address_space(bytes);
            cairn_heap *heap = untouched;
            int error = cairn_heap_create(&heap, NULL);
            if (error < 0) {
                REQUIRE_EQUAL(error, -ENOMEM);
                REQUIRE_EQUAL(cairn_last_errno(), error);
                REQUIRE(heap == untouched && strchr(cairn_last_error(), ' ') != NULL);
            } else {
                void *block = cairn_alloc(heap, 1000);
                REQUIRE(block != NULL || cairn_last_errno() == -ENOMEM);
                cairn_free(heap, block);
                cairn_heap_close(heap);
            }
            _exit(0);
        }
        finish(child);
    }
}

static int open_it(void)
{
    cairn_heap *heap = untouched;
    int error = cairn_heap_open(&heap, "before", NULL);
    REQUIRE(error == 0 || heap == untouched);
    if (error == 0)
        cairn_heap_close(heap);
    return error;
}

static void shared_heaps_are_refused_with_1_gib_of_address_space(void)
{
    cairn_heap_close(create_shared("before", 0));
    require_limited_address_space(GIB);
    cairn_heap *heap = untouched;
    REFUSED(-ENOMEM, create(&heap, "heap"));
    REFUSED(-ENOMEM, open_it());
    REQUIRE(heap == untouched);

    cairn_options options = {.size = sizeof options, .name = "small", .bytes_max = 64 * MIB};
    REQUIRE_CALL(cairn_heap_create(&heap, &options) == 0); /* a small one fits */
    REQUIRE_CALL(cairn_alloc(heap, MIB) != NULL);
    cairn_heap_close(heap);
}

static int use_all_descriptors(int leave)
{
    set_limit(RLIMIT_NOFILE, 64);
    int last = -1;
    for (int fd = 0; fd >= 0;) {
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        last = fd >= 0 ? fd : last;
    }
    for (int i = 0; i < leave; i++)
        close(last - i);
    return last;
}

/* Looks at the directory and the views when a descriptor is free again. */
static void refused_without_descriptors(int result, int last, char *before, const char *what)
{
    if (result != -EMFILE || cairn_last_errno() != -EMFILE || strchr(cairn_last_error(), ' ') == NULL)
        broken(__FILE__, __LINE__, "%s without descriptors: %d (%s)", what, result, cairn_last_error());
    for (int fd = 3; fd <= last; fd++)
        close(fd);
    require_unchanged(__FILE__, __LINE__, what, before);
}

struct attempt {
    int descriptors; /* how many are left */
    bool is_open;
};

static void try_with_few(void *arg)
{
    const struct attempt *attempt = arg;
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    char *before = look_around();
    int last = use_all_descriptors(attempt->descriptors);
    cairn_heap *heap = untouched;
    int error = attempt->is_open ? cairn_heap_open(&heap, "before", NULL) : create(&heap, "heap");
    if (error < 0) {
        REQUIRE(heap == untouched);
        refused_without_descriptors(error, last, before, attempt->is_open ? "open" : "create");
        return;
    }
    free(before);
    /* One for the file is all that it keeps. */
    REQUIRE(attempt->descriptors >= 1);
    REQUIRE_CALL(cairn_alloc(heap, MIB) != NULL);
    cairn_heap_close(heap);
    if (!attempt->is_open)
        (void)cairn_heap_unlink("heap", NULL);
    _exit(55); /* it was enough */
}

static void without_descriptors_nothing_is_opened_and_nothing_left(void)
{
    cairn_heap_close(create_shared("before", 64 * MIB));
    for (int is_open = 0; is_open <= 1; is_open++) {
        for (int descriptors = 0; descriptors < 8; descriptors++) {
            struct attempt attempt = {.descriptors = descriptors, .is_open = is_open};
            pid_t child = start(try_with_few, &attempt);
            int status;
            REQUIRE(waitpid(child, &status, 0) == child);
            REQUIRE(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 55));
            if (WEXITSTATUS(status) == 55)
                break;
            REQUIRE(descriptors < 7);
        }
        REQUIRE_EQUAL(workspace_entries(), 1);
    }
}

static void private_heaps_need_no_descriptors(void)
{
    use_all_descriptors(0);
    cairn_heap *heap = create_private(0);
    use_private(heap);
    cairn_heap_close(heap);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_limit_of_file_size_is_null_and_a_reason),
        CLAIM(a_limit_of_file_size_refuses_creation),
        CLAIM(private_heaps_live_with_1_gib_of_address_space),
        CLAIM(private_heaps_live_or_are_refused_with_less),
        CLAIM(shared_heaps_are_refused_with_1_gib_of_address_space),
        CLAIM(without_descriptors_nothing_is_opened_and_nothing_left),
        CLAIM(private_heaps_need_no_descriptors),
    };
    return run_claims(claims, COUNT(claims), 15);
}
