/* SPDX-License-Identifier: MIT */
/* Who may use a heap: its mode, its group and its access list, tried by users and not by reading bits. Needs root. */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/workspace.h"

enum { OWNER = 2000, FIRST_WRITER, SECOND_WRITER, READER, MEMBER, STRANGER, TEAM = 3000 };

static void require_root(void)
{
    if (geteuid() != 0)
        skip("needs root, to become other users");
    REQUIRE(chown(workspace_directory(), OWNER, OWNER) == 0 && chmod(workspace_directory(), 0755) == 0);
}

/* A user has a group of the same number; the owner and the member are in the team besides. */
static void become(uid_t user)
{
    gid_t team = TEAM;
    bool in_team = user == OWNER || user == MEMBER;
    REQUIRE(setgroups(in_team ? 1 : 0, &team) == 0 && setresgid(user, user, user) == 0 &&
            setresuid(user, user, user) == 0);
    REQUIRE(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0); /* which a change of the user takes back */
}

struct number {
    struct number *next;
    uint32_t user;
};

static int open_as(cairn_heap **ret_heap, uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    return cairn_heap_open(ret_heap, "heap", &options);
}

static int try_open(uint64_t flags)
{
    cairn_heap *heap = untouched;
    int error = open_as(&heap, flags);
    if (error == 0)
        cairn_heap_close(heap);
    else
        REQUIRE(heap == untouched);
    return error;
}

/* ---------------------------------------------------------------- creating */

static void create_in_child(void *arg)
{
    become(OWNER);
    umask(077); /* plays no part */
    cairn_heap *heap;
    if (cairn_heap_create(&heap, arg) == -EOPNOTSUPP)
        skip("the file system of %s has no access lists", workspace_directory());
    REQUIRE_CALL(cairn_last_errno() == 0);
    struct number *first = cairn_zalloc(heap, sizeof *first);
    REQUIRE_CALL(first != NULL && cairn_root_set(heap, "numbers", first) == 0);
    first->user = OWNER;
    cairn_heap_close(heap);
}

static void create(cairn_options options)
{
    options.size = sizeof options;
    options.name = "heap";
    finish(start(create_in_child, &options));
}

static const cairn_access everybody[] = {
    {.id = SECOND_WRITER, .may_write = true}, /* in no order */
    {.id = FIRST_WRITER, .may_write = true},
    {.id = READER},
    {.id = TEAM, .is_group = true},
};

/* ---------------------------------------------------------------- what each may do */

struct visit {
    uid_t user;
};

static void write_as(void *arg)
{
    const struct visit *visit = arg;
    become(visit->user);
    if (visit->user != OWNER)
        REFUSED(-EPERM, try_open(0)); /* whoever opens it has to say that it trusts the owner */
    cairn_heap *heap;
    REQUIRE_CALL(open_as(&heap, CAIRN_ANY_OWNER) == 0);
    struct number *number = cairn_zalloc(heap, sizeof *number);
    REQUIRE_CALL(number != NULL);
    number->user = visit->user;
    number->next = cairn_root_get(heap, "numbers");
    REQUIRE_CALL(number->next != NULL && cairn_root_set(heap, "numbers", number) == 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void write_a_byte(void *arg)
{
    signal(SIGSEGV, SIG_DFL);
    *(volatile unsigned char *)arg = 1;
}

static void read_as(void *arg)
{
    const struct visit *visit = arg;
    become(visit->user);
    REFUSED(-EACCES, try_open(CAIRN_ANY_OWNER));
    REFUSED(-EPERM, try_open(CAIRN_READ_ONLY));
    cairn_heap *heap;
    REQUIRE_CALL(open_as(&heap, CAIRN_READ_ONLY | CAIRN_ANY_OWNER) == 0);
    struct number *number = cairn_root_get(heap, "numbers");
    REQUIRE_CALL(number != NULL);
    while (number->next != NULL)
        number = number->next;
    REQUIRE_EQUAL(number->user, OWNER);
    finish_by(start(write_a_byte, number), SIGSEGV);
    REFUSED_NULL(-EROFS, cairn_alloc(heap, 1));
    cairn_heap_close(heap);
}

static void be_refused(void *arg)
{
    const struct visit *visit = arg;
    become(visit->user);
    REFUSED(-EACCES, try_open(0));
    REFUSED(-EACCES, try_open(CAIRN_READ_ONLY));
    REFUSED(-EACCES, try_open(CAIRN_ANY_OWNER));
    REFUSED(-EACCES, try_open(CAIRN_READ_ONLY | CAIRN_ANY_OWNER));
    REFUSED(-EACCES, cairn_heap_unlink("heap", NULL));
}

static void each(void (*run)(void *arg), uid_t user)
{
    struct visit visit = {.user = user};
    finish(start(run, &visit));
}

static void count_numbers(uint32_t expected)
{
    cairn_heap *heap;
    REQUIRE_CALL(open_as(&heap, CAIRN_ANY_OWNER) == 0);
    uint32_t count = 0;
    for (struct number *number = cairn_root_get(heap, "numbers"); number != NULL; number = number->next)
        count++;
    REQUIRE_EQUAL(count, expected);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void an_access_list_says_who_writes_and_who_reads(void)
{
    require_root();
    create((cairn_options){.access = everybody, .access_count = COUNT(everybody)});
    each(write_as, FIRST_WRITER);
    each(write_as, SECOND_WRITER);
    each(write_as, OWNER);
    each(read_as, READER);
    each(read_as, MEMBER);
    each(be_refused, STRANGER);
    count_numbers(4);
}

static void a_group_on_the_list_may_write(void)
{
    require_root();
    static const cairn_access team[] = {{.id = TEAM, .is_group = true, .may_write = true}};
    create((cairn_options){.access = team, .access_count = COUNT(team), .bytes_max = MIB});
    each(write_as, MEMBER);
    each(be_refused, FIRST_WRITER);
    count_numbers(2);
}

static void mode_and_group_say_what_the_members_may_do(void)
{
    require_root();
    create((cairn_options){.mode = 0640, .group = TEAM});
    struct stat status;
    REQUIRE(stat(workspace_path("heap"), &status) == 0);
    REQUIRE_EQUAL(status.st_mode & 07777, 0640);
    REQUIRE_EQUAL(status.st_gid, TEAM);
    REQUIRE_EQUAL(status.st_uid, OWNER);
    each(read_as, MEMBER);
    each(be_refused, STRANGER);
    REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);

    create((cairn_options){.mode = 0664, .group = TEAM});
    each(write_as, MEMBER);
    each(read_as, STRANGER);
    count_numbers(2);
    REQUIRE_CALL(cairn_heap_unlink("heap", NULL) == 0);

    create((cairn_options){0}); /* without a word only the owner's, and root's */
    each(write_as, OWNER);
    each(be_refused, MEMBER);
}

/* ---------------------------------------------------------------- together */

struct crowd {
    _Atomic uint32_t attached;
    _Atomic uint32_t go;
};

struct crowd_member {
    struct crowd *crowd;
    uid_t user;
};

static void hold_and_be_killed(void *arg)
{
    const struct crowd_member *member = arg;
    become(member->user);
    cairn_heap *heap;
    REQUIRE_CALL(open_as(&heap, CAIRN_ANY_OWNER) == 0);
    for (int i = 0; i < 1000; i++)
        REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    advance(&member->crowd->attached);
    wait_for(&member->crowd->go, 1);
    for (;;)
        cairn_free(heap, cairn_alloc(heap, 300));
}

static void recover_as(void *arg)
{
    const struct visit *visit = arg;
    become(visit->user);
    cairn_heap *heap;
    REQUIRE_CALL(open_as(&heap, CAIRN_ANY_OWNER) == 0);
    REQUIRE_CALL(cairn_recover(heap) >= 0);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_EQUAL(stats_of(heap).owners, 1);
    REQUIRE(stats_of(heap).blocks_live >= 2001 && stats_of(heap).blocks_live <= 2003);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

/* Who is alive is told across users, too, and one user repairs what another left. */
static void one_user_recovers_what_another_left(void)
{
    require_root();
    create((cairn_options){.access = everybody, .access_count = COUNT(everybody)});
    struct crowd *crowd = shared_memory(sizeof *crowd);
    struct crowd_member first = {crowd, FIRST_WRITER}, second = {crowd, SECOND_WRITER};
    pid_t children[] = {start(hold_and_be_killed, &first), start(hold_and_be_killed, &second)};
    wait_for(&crowd->attached, 2);
    advance(&crowd->go);
    for (size_t i = 0; i < COUNT(children); i++) {
        kill(children[i], SIGKILL);
        finish_by(children[i], SIGKILL);
    }
    each(recover_as, OWNER);
}

/* ---------------------------------------------------------------- refusals */

static void refuse_a_foreign_group(void *arg)
{
    (void)arg;
    become(STRANGER);
    cairn_options options = {.size = sizeof options, .name = "heap", .mode = 0640, .group = TEAM};
    cairn_heap *heap = untouched;
    REFUSED(-EPERM, cairn_heap_create(&heap, &options));
    REQUIRE(heap == untouched);
}

static void a_group_that_one_is_not_in_is_refused(void)
{
    require_root();
    REQUIRE(chown(workspace_directory(), STRANGER, STRANGER) == 0);
    finish(start(refuse_a_foreign_group, NULL));
    REQUIRE_EQUAL(workspace_entries(), 0);
}

static void a_list_that_is_wrong_is_refused(void)
{
    static cairn_access many[65];
    for (uint32_t i = 0; i < COUNT(many); i++)
        many[i] = (cairn_access){.id = i};
    static const cairn_access twice[] = {{.id = 5}, {.id = 7}, {.id = 5, .may_write = true}};
    cairn_heap *heap = untouched;
    cairn_options options = {.size = sizeof options, .name = "heap", .access = many, .access_count = COUNT(many)};
    REFUSED(-EINVAL, cairn_heap_create(&heap, &options));
    options.access = NULL;
    options.access_count = 1;
    REFUSED(-EINVAL, cairn_heap_create(&heap, &options));
    options.access = twice;
    options.access_count = COUNT(twice);
    REFUSED_EITHER(-EINVAL, -EOPNOTSUPP, cairn_heap_create(&heap, &options));
    REQUIRE(heap == untouched);
}

static void a_list_as_long_as_it_may_be_is_kept(void)
{
    require_root();
    static cairn_access many[64];
    for (uint32_t i = 0; i < COUNT(many); i++)
        many[i] = (cairn_access){.id = 63 + READER - i}; /* the last is the reader */
    create((cairn_options){.access = many, .access_count = COUNT(many)});
    each(read_as, READER);
    each(be_refused, SECOND_WRITER);
}

/* ---------------------------------------------------------------- sections by themselves */

static void read_section(void *arg)
{
    (void)arg;
    become(READER);
    cairn_options options = {.size = sizeof options, .flags = CAIRN_ANY_OWNER};
    cairn_section *section;
    REFUSED(-EACCES, cairn_section_open(&section, "section", &options));
    options.flags = CAIRN_READ_ONLY | CAIRN_ANY_OWNER;
    REQUIRE_CALL(cairn_section_open(&section, "section", &options) == 0);
    unsigned char *bytes = cairn_section_address(section);
    REQUIRE_EQUAL(bytes[0], 3);
    finish_by(start(write_a_byte, bytes), SIGSEGV);
    cairn_section_close(section);
}

static void a_section_has_an_access_list_too(void)
{
    require_root();
    static const cairn_access reader[] = {{.id = READER}};
    cairn_options options = {.size = sizeof options,
                             .name = "section",
                             .bytes_max = MIB,
                             .bytes_start = 1,
                             .access = reader,
                             .access_count = 1};
    cairn_section *section;
    int error = cairn_section_create(&section, &options);
    if (error == -EOPNOTSUPP)
        skip("the file system of %s has no access lists", workspace_directory());
    REQUIRE_CALL(error == 0);
    *(unsigned char *)cairn_section_address(section) = 3;
    REQUIRE(chown(workspace_path("section"), OWNER, OWNER) == 0);
    cairn_section_close(section);
    finish(start(read_section, NULL));
}

static void destroy_as_writer(void *arg)
{
    (void)arg;
    become(FIRST_WRITER);
    cairn_heap *heap;
    REQUIRE_CALL(open_as(&heap, CAIRN_ANY_OWNER) == 0);
    REFUSED(-EACCES, cairn_heap_destroy(heap));
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void who_may_not_remove_the_name_destroys_nothing(void)
{
    require_root();
    create((cairn_options){.access = everybody, .access_count = COUNT(everybody)});
    finish(start(destroy_as_writer, NULL));
    struct visit visit = {SECOND_WRITER};
    finish(start(write_as, &visit));
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(an_access_list_says_who_writes_and_who_reads), CLAIM(a_group_on_the_list_may_write),
        CLAIM(mode_and_group_say_what_the_members_may_do),   CLAIM(one_user_recovers_what_another_left),
        CLAIM(a_group_that_one_is_not_in_is_refused),        CLAIM(a_list_that_is_wrong_is_refused),
        CLAIM(a_list_as_long_as_it_may_be_is_kept),          CLAIM(a_section_has_an_access_list_too),
        CLAIM(who_may_not_remove_the_name_destroys_nothing),
    };
    return run_claims(claims, COUNT(claims), 20);
}
