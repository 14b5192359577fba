/* SPDX-License-Identifier: MIT */
/* Files that are no heaps, or none that may be trusted, under a heap's name. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/workspace.h"

static int open_as(const char *name, uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    return open_and_close(name, &options);
}

static int open_or_create(const char *name)
{
    cairn_options options = {.size = sizeof options, .name = name, .flags = CAIRN_OPEN_OR_CREATE};
    cairn_heap *heap = untouched;
    int error = cairn_heap_create(&heap, &options);
    REQUIRE(error == 0 || heap == untouched);
    if (error == 0)
        cairn_heap_close(heap);
    return error;
}

static void refused_in_each_way(int error, const char *name)
{
    REFUSED(error, open_as(name, 0));
    REFUSED(error, open_as(name, CAIRN_READ_ONLY));
    REFUSED(error, open_or_create(name));
}

static int never(const char *name, void *arg)
{
    (void)arg;
    broken(__FILE__, __LINE__, "told of \"%s\"", name);
}

static void write_file(const char *name, const void *bytes, size_t count)
{
    int file = open(workspace_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(file >= 0);
    REQUIRE_EQUAL(write(file, bytes, count), count);
    close(file);
}

/* Makes a heap, closes it and shortens its file. */
static void make_short(const char *name, off_t bytes)
{
    cairn_heap *heap = create_shared(name, 0);
    REQUIRE_CALL(cairn_alloc(heap, 100000) != NULL);
    cairn_heap_close(heap);
    REQUIRE(truncate(workspace_path(name), bytes) == 0);
}

static void other_files_are_no_heaps(void)
{
    static const char text[] = "This is a text and no heap.\n";
    static const unsigned char executable[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    static unsigned char bytes[100000];
    write_file("text", text, sizeof text - 1);
    write_file("executable", executable, sizeof executable);
    write_file("zeros", bytes, sizeof bytes);
    memset(bytes, 0xff, sizeof bytes);
    write_file("ones", bytes, sizeof bytes);
    static const char *const names[] = {"text", "executable", "zeros", "ones"};
    for (size_t i = 0; i < COUNT(names); i++) {
        refused_in_each_way(-EPROTO, names[i]);
        REFUSED(-EPROTO, cairn_heap_unlink(names[i], NULL));
    }
    REQUIRE_EQUAL(cairn_heap_names(NULL, never, NULL), 0);
}

/* Too short to tell what it is: no heap. */
static void a_file_of_a_few_bytes_is_no_heap(void)
{
    make_short("empty", 0);
    make_short("seven", 7);
    refused_in_each_way(-EPROTO, "empty");
    refused_in_each_way(-EPROTO, "seven");
    REFUSED(-EPROTO, cairn_heap_unlink("empty", NULL));
    REFUSED(-EPROTO, cairn_heap_unlink("seven", NULL));
    REQUIRE_EQUAL(cairn_heap_names(NULL, never, NULL), 0);
}

static void a_shortened_heap_is_damaged(void)
{
    /* Ten bytes, half a header, one byte less than it, all of it and no tables, and into the tables. */
    static const off_t sizes[] = {10, 256, 511, 512, 4096, 8192, 65536};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        char name[32];
        snprintf(name, sizeof name, "heap-%lld", (long long)sizes[i]);
        make_short(name, sizes[i]);
        refused_in_each_way(-EUCLEAN, name);
        REQUIRE_CALL(cairn_heap_unlink(name, NULL) == 0); /* it is one of ours, so it may be removed */
    }
    REQUIRE_EQUAL(workspace_entries(), 0);
}

static void a_symbolic_link_is_refused(void)
{
    cairn_heap_close(create_shared("heap", 0));
    REQUIRE(symlink("heap", workspace_path("link")) == 0);
    REQUIRE(symlink("nowhere", workspace_path("dangling")) == 0);
    REQUIRE(symlink("/dev/zero", workspace_path("device")) == 0);
    refused_in_each_way(-ELOOP, "link");
    refused_in_each_way(-ELOOP, "dangling");
    refused_in_each_way(-ELOOP, "device");
    REFUSED_EITHER(-ELOOP, -EPROTO, cairn_heap_unlink("link", NULL));
    REFUSED_EITHER(-ELOOP, -EPROTO, cairn_heap_unlink("dangling", NULL));
}

static void what_is_no_regular_file_is_refused(void)
{
    REQUIRE(mkdir(workspace_path("directory"), 0700) == 0);
    REQUIRE(mkfifo(workspace_path("fifo"), 0600) == 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, workspace_path("socket"));
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1) == 0);

    static const char *const names[] = {"directory", "fifo", "socket"};
    for (size_t i = 0; i < COUNT(names); i++) {
        refused_in_each_way(-EPERM, names[i]);
        REFUSED(-EPERM, cairn_heap_unlink(names[i], NULL));
    }
    REQUIRE_EQUAL(cairn_heap_names(NULL, never, NULL), 0);
}

static void a_device_is_refused(void)
{
    if (mknod(workspace_path("zero"), S_IFCHR | 0600, makedev(1, 5)) < 0)
        skip("a device cannot be made: %s", strerror(errno));
    REFUSED_EITHER(-EPERM, -EACCES, open_as("zero", 0)); /* -EACCES: a file system without devices */
    REFUSED_EITHER(-EPERM, -EACCES, open_as("zero", CAIRN_READ_ONLY));
    REFUSED_EITHER(-EPERM, -EACCES, open_or_create("zero"));
    REQUIRE_EQUAL(cairn_heap_names(NULL, never, NULL), 0);
}

static void a_heap_with_two_names_is_refused(void)
{
    cairn_heap_close(create_shared("heap", 0));
    REQUIRE(link(workspace_path("heap"), workspace_path("second")) == 0);
    refused_in_each_way(-EPERM, "heap");
    refused_in_each_way(-EPERM, "second");
    REQUIRE(unlink(workspace_path("second")) == 0);
    REQUIRE_CALL(open_as("heap", 0) == 0);
}

static void a_heap_that_everyone_may_write_is_refused(void)
{
    cairn_heap_close(create_shared("heap", 0));
    REQUIRE(chmod(workspace_path("heap"), 0602) == 0);
    refused_in_each_way(-EPERM, "heap");
    REQUIRE(chmod(workspace_path("heap"), 0666) == 0);
    refused_in_each_way(-EPERM, "heap");
    REQUIRE(chmod(workspace_path("heap"), 0600) == 0);
    REQUIRE_CALL(open_as("heap", 0) == 0);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(other_files_are_no_heaps),           CLAIM(a_file_of_a_few_bytes_is_no_heap),
        CLAIM(a_shortened_heap_is_damaged),        CLAIM(a_symbolic_link_is_refused),
        CLAIM(what_is_no_regular_file_is_refused), CLAIM(a_device_is_refused),
        CLAIM(a_heap_with_two_names_is_refused),   CLAIM(a_heap_that_everyone_may_write_is_refused),
    };
    return run_claims(claims, COUNT(claims), 10);
}
