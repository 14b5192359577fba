/* SPDX-License-Identifier: MIT */
/* Names of heaps and directories that are none. */
#include <sys/statvfs.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "support/workspace.h"

static int create(const char *name, const char *directory)
{
    cairn_options options = {.size = sizeof options, .name = name, .directory = directory};
    cairn_heap *heap = untouched;
    int error = cairn_heap_create(&heap, &options);
    REQUIRE(error == 0 || heap == untouched);
    if (error == 0)
        cairn_heap_close(heap);
    return error;
}

static int open_it(const char *name, const char *directory)
{
    cairn_options options = {.size = sizeof options, .directory = directory};
    return open_and_close(name, &options);
}

static void refused_everywhere(int error, const char *name)
{
    if (name != NULL) /* NULL means a private heap */
        REFUSED(error, create(name, NULL));
    REFUSED(error, open_it(name, NULL));
    REFUSED(error, cairn_heap_unlink(name, NULL));
}

static void a_name_is_one_path_component(void)
{
    static const char *const names[] = {
        NULL, "", ".", "..", "...", ".hidden", "/", "a/b", "../a", "/etc/passwd", "a/", "/a", "./a", "a/../b",
    };
    for (size_t i = 0; i < COUNT(names); i++)
        refused_everywhere(-EINVAL, names[i]);
}

static void a_name_has_200_bytes_at_most(void)
{
    char name[100 * 1000];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    refused_everywhere(-ENAMETOOLONG, name);
    name[CAIRN_NAME_MAX + 1] = '\0';
    refused_everywhere(-ENAMETOOLONG, name);
    name[CAIRN_NAME_MAX] = '\0';
    REQUIRE_CALL(create(name, NULL) == 0);
    REQUIRE_CALL(open_it(name, NULL) == 0);
    REQUIRE_CALL(cairn_heap_unlink(name, NULL) == 0);
}

static void any_other_bytes_are_a_name(void)
{
    static const char *const names[] = {"a",  "a.b",      "-",           " ",    "a b", "\n",
                                        "\\", "\xff\xfe", "caf\xc3\xa9", "%s%n", "a..b"};
    for (size_t i = 0; i < COUNT(names); i++) {
        REQUIRE_CALL(create(names[i], NULL) == 0);
        REQUIRE_EQUAL(workspace_entries(), 1);
        REQUIRE_CALL(open_it(names[i], NULL) == 0);
        REQUIRE_CALL(cairn_heap_unlink(names[i], NULL) == 0);
        REQUIRE_EQUAL(workspace_entries(), 0);
    }
}

static void a_taken_name_is_refused(void)
{
    cairn_heap *heap = create_shared("taken", 0);
    REFUSED(-EEXIST, create("taken", NULL));
    void *block = cairn_alloc(heap, 100);
    REQUIRE(block != NULL);
    cairn_free(heap, block);
    cairn_heap_close(heap);
    REFUSED(-EEXIST, create("taken", NULL));

    /* Whatever has the name. */
    REQUIRE(mkdir(workspace_path("directory"), 0700) == 0);
    REFUSED(-EEXIST, create("directory", NULL));
}

static void a_missing_name_is_refused(void)
{
    REFUSED(-ENOENT, open_it("missing", NULL));
    REFUSED(-ENOENT, cairn_heap_unlink("missing", NULL));
    cairn_heap *heap = create_shared("removed", 0);
    REQUIRE_CALL(cairn_heap_unlink("removed", NULL) == 0);
    REFUSED(-ENOENT, open_it("removed", NULL));
    REFUSED(-ENOENT, cairn_heap_unlink("removed", NULL));
    cairn_heap_close(heap);
}

static int never(const char *name, void *arg)
{
    (void)arg;
    broken(__FILE__, __LINE__, "told of \"%s\"", name);
}

static void a_directory_that_is_none_is_refused(void)
{
    const char *missing = workspace_path("missing");
    REFUSED(-ENOENT, create("a", missing));
    REFUSED(-ENOENT, open_it("a", missing));
    REFUSED(-ENOENT, cairn_heap_unlink("a", missing));
    REFUSED(-ENOENT, cairn_heap_names(missing, never, NULL));

    cairn_heap_close(create_shared("file", 0));
    const char *file = workspace_path("file");
    REFUSED(-ENOTDIR, create("a", file));
    REFUSED(-ENOTDIR, open_it("a", file));
    REFUSED(-ENOTDIR, cairn_heap_unlink("a", file));
    REFUSED(-ENOTDIR, cairn_heap_names(file, never, NULL));

    char too_long[9000];
    memset(too_long, 'd', sizeof too_long);
    too_long[0] = '/';
    too_long[sizeof too_long - 1] = '\0';
    REFUSED(-ENAMETOOLONG, create("a", too_long));
    REFUSED(-ENAMETOOLONG, open_it("a", too_long));
    REFUSED(-ENAMETOOLONG, cairn_heap_unlink("a", too_long));
    REFUSED(-ENAMETOOLONG, cairn_heap_names(too_long, never, NULL));
}

static void a_file_system_that_promises_nothing_is_refused(void)
{
    struct statvfs sys;
    if (statvfs("/sys", &sys) == 0 && (sys.f_flag & ST_RDONLY) != 0)
        REFUSED(-EROFS, create("a", "/sys"));
    else
        REFUSED_EITHER(-EOPNOTSUPP, -EACCES, create("a", "/sys"));
    REFUSED(-EOPNOTSUPP, open_it("status", "/proc/self"));
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_name_is_one_path_component),
        CLAIM(a_name_has_200_bytes_at_most),
        CLAIM(any_other_bytes_are_a_name),
        CLAIM(a_taken_name_is_refused),
        CLAIM(a_missing_name_is_refused),
        CLAIM(a_directory_that_is_none_is_refused),
        CLAIM(a_file_system_that_promises_nothing_is_refused),
    };
    return run_claims(claims, COUNT(claims), 10);
}
