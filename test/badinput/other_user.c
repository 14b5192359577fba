/* SPDX-License-Identifier: MIT */
/* Heaps of users that are not to be trusted. Needs root, to become others. */
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/workspace.h"

enum { OWNER = 1234, OPENER = 1001 };

static void require_root(void)
{
    if (geteuid() != 0)
        skip("needs root, to become other users");
}

static void become(uid_t user)
{
    REQUIRE(setgroups(0, NULL) == 0 && setgid(user) == 0 && setuid(user) == 0);
}

static int open_as(const char *name, uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    return open_and_close(name, &options);
}

static void make(mode_t mode, uid_t owner)
{
    cairn_heap_close(create_shared("heap", 0));
    REQUIRE(chown(workspace_path("heap"), owner, owner) == 0);
    REQUIRE(chmod(workspace_path("heap"), mode) == 0);
    REQUIRE(chmod(workspace_directory(), 0755) == 0);
}

static void refuse_both(void *arg)
{
    (void)arg;
    become(OPENER);
    REFUSED_EITHER(-EACCES, -EPERM, open_as("heap", 0));
    REFUSED_EITHER(-EACCES, -EPERM, open_as("heap", CAIRN_READ_ONLY));
    REFUSED_EITHER(-EACCES, -EPERM, cairn_heap_unlink("heap", NULL));
}

static void a_strangers_closed_heap_is_refused(void)
{
    require_root();
    make(0600, OWNER);
    finish(start(refuse_both, NULL));
}

/* Readable, but who knows what its owner writes into it. */
static void refuse_open_heap(void *arg)
{
    (void)arg;
    become(OPENER);
    REFUSED(-EPERM, open_as("heap", CAIRN_READ_ONLY));
    REFUSED(-EACCES, open_as("heap", 0));
}

static void a_strangers_readable_heap_is_refused(void)
{
    require_root();
    make(0644, OWNER);
    finish(start(refuse_open_heap, NULL));
    REFUSED(-EPERM, open_as("heap", 0));                 /* root may open every file, and trusts no more of them */
    REQUIRE_CALL(open_as("heap", CAIRN_ANY_OWNER) == 0); /* unless it says so */
}

static void read_roots_heap(void *arg)
{
    (void)arg;
    become(OPENER);
    REFUSED(-EACCES, open_as("heap", 0));
    REQUIRE_CALL(open_as("heap", CAIRN_READ_ONLY) == 0);
}

static void roots_heap_may_be_read_by_those_it_lets(void)
{
    require_root();
    make(0644, 0);
    finish(start(read_roots_heap, NULL));
}

static void refuse_directory(void *arg)
{
    (void)arg;
    become(OPENER);
    cairn_options options = {.size = sizeof options, .name = "mine"};
    cairn_heap *heap = untouched;
    REFUSED(-EACCES, cairn_heap_create(&heap, &options));
    REQUIRE(heap == untouched);
    REFUSED(-EACCES, cairn_heap_open(&heap, "mine", NULL));
    REFUSED(-EACCES, cairn_heap_unlink("mine", NULL));
    REFUSED(-EACCES, cairn_heap_names(NULL, NULL, NULL));
}

static void a_directory_that_refuses_is_told(void)
{
    require_root();
    REQUIRE(chmod(workspace_directory(), 0700) == 0);
    finish(start(refuse_directory, NULL));
}

/* /dev/shm is everybody's, so the default directory may be somebody else's first. */
static void refuse_default_directory(void *arg)
{
    (void)arg;
    become(OPENER);
    unsetenv("CAIRN_DIR");
    cairn_options options = {.size = sizeof options, .name = "mine"};
    cairn_heap *heap = untouched;
    int error = cairn_heap_create(&heap, &options);
    REQUIRE(heap == untouched);
    REQUIRE_EQUAL(error, -EPERM);
    REQUIRE_EQUAL(cairn_last_errno(), -EPERM);
}

static void the_default_directory_is_the_users_own(void)
{
    require_root();
    if (mkdir("/dev/shm/cairn-1001", 0777) < 0)
        skip("/dev/shm/cairn-1001 cannot be made, or is there already");
    int status;
    REQUIRE(waitpid(start(refuse_default_directory, NULL), &status, 0) > 0);
    REQUIRE(rmdir("/dev/shm/cairn-1001") == 0); /* still empty; and gone before anything is said */
    REQUIRE_EQUAL(status, 0);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_strangers_closed_heap_is_refused),      CLAIM(a_strangers_readable_heap_is_refused),
        CLAIM(roots_heap_may_be_read_by_those_it_lets), CLAIM(a_directory_that_refuses_is_told),
        CLAIM(the_default_directory_is_the_users_own),
    };
    return run_claims(claims, COUNT(claims), 10);
}
