/* SPDX-License-Identifier: MIT */
/*
 * A system without /proc, as in some containers and at boot. Private heaps need none. A process that writes a shared
 * heap needs it, to hold a lock that tells others whether it lives; without it, it is refused, and those who only read
 * are not. Needs root, for a mount namespace in which /proc is empty.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "support/workspace.h"

/* The namespace ends with this process. */
static void hide_proc(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
        skip("needs root and a mount namespace, to be without /proc");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("none", "/proc", "tmpfs", 0, "size=4k") < 0)
        skip("/proc cannot be covered: %s", strerror(errno));
    REQUIRE(access("/proc/self", F_OK) < 0);
}

static void private_heaps_need_no_proc(void)
{
    hide_proc();
    static const cairn_options options[] = {
        {.bytes_max = 0},
        {.bytes_max = 64 * MIB, .bytes_start = MIB},
        {.flags = CAIRN_LOCKABLE},
    };
    for (size_t k = 0; k < COUNT(options); k++) {
        cairn_heap *heap;
        REQUIRE_CALL(cairn_heap_create(&heap, &options[k]) == 0);
        for (size_t i = 0; i < 2000; i++) {
            unsigned char *block = cairn_alloc(heap, i * 7);
            REQUIRE_CALL(block != NULL);
            memset(block, 1, i * 7);
            if (i % 2 == 0)
                cairn_free(heap, block);
        }
        REQUIRE_SOUND(heap);
        REQUIRE_EQUAL(blocks_live(heap), 1000);
        cairn_heap_close(heap);
    }
}

static void require_reason(void)
{
    if (strstr(cairn_last_error(), "not supported here") == NULL && strstr(cairn_last_error(), "/proc") == NULL)
        broken(__FILE__, __LINE__, "the sentence does not tell why: %s", cairn_last_error());
}

static void a_shared_heap_is_refused_and_leaves_nothing(void)
{
    hide_proc();
    cairn_options options = {.size = sizeof options, .name = "heap"};
    cairn_heap *heap = untouched;
    REFUSED(-EOPNOTSUPP, cairn_heap_create(&heap, &options));
    require_reason();
    options.flags = CAIRN_OPEN_OR_CREATE;
    REFUSED(-EOPNOTSUPP, cairn_heap_create(&heap, &options));
    require_reason();
    REQUIRE(heap == untouched);
    REQUIRE_EQUAL(workspace_entries(), 0);
}

static void an_existing_heap_can_be_used(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    char *text = cairn_alloc(heap, 100);
    REQUIRE_CALL(text != NULL);
    snprintf(text, 100, "%s", "read without /proc");
    REQUIRE_CALL(cairn_root_set(heap, "text", text) == 0);
    cairn_heap_close(heap);

    hide_proc();
    heap = open_shared("heap", 0); /* its name leads to a description of our own, to take the lock by */
    REQUIRE_CALL(cairn_alloc(heap, 1000) != NULL);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    heap = open_shared("heap", CAIRN_READ_ONLY);
    const char *read = cairn_root_get(heap, "text");
    REQUIRE(read != NULL && strcmp(read, "read without /proc") == 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
}

static void a_memory_file_can_be_read(void)
{
    int fd;
    cairn_options options = {.size = sizeof options, .bytes_max = 8 * MIB};
    cairn_heap *heap;
    REQUIRE_CALL(cairn_heap_create_fd(&heap, &fd, &options) == 0);
    REQUIRE_CALL(cairn_root_set(heap, "text", cairn_zalloc(heap, 100)) == 0);
    cairn_heap_close(heap);
    hide_proc();
    heap = untouched;
    REFUSED(-EOPNOTSUPP, cairn_heap_open_fd(&heap, fd, NULL));
    require_reason();
    options = (cairn_options){.size = sizeof options, .flags = CAIRN_READ_ONLY};
    REQUIRE_CALL(cairn_heap_open_fd(&heap, fd, &options) == 0);
    REQUIRE(cairn_root_get(heap, "text") != NULL);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    close(fd);
}

/* Attached before it went away. */
static void who_is_attached_goes_on(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    hide_proc();
    for (size_t i = 0; i < 2000; i++) {
        unsigned char *block = cairn_alloc(heap, i * 50);
        REQUIRE_CALL(block != NULL);
        memset(block, 1, i * 50);
        if (i % 2 == 0)
            cairn_free(heap, block);
    }
    REQUIRE_CALL(cairn_trim(heap) >= 0);
    REQUIRE_EQUAL(cairn_recover(heap), 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(private_heaps_need_no_proc),   CLAIM(a_shared_heap_is_refused_and_leaves_nothing),
        CLAIM(an_existing_heap_can_be_used), CLAIM(a_memory_file_can_be_read),
        CLAIM(who_is_attached_goes_on),
    };
    return run_claims(claims, COUNT(claims), 20);
}
