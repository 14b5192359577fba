/* SPDX-License-Identifier: MIT */
/* HEAP_SHARED_READONLY: its creator writes, others read, each in a process of its own. */
#include <windows.h>

#include <cairn_publish.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/workspace.h"
#include "win32/linux/last_error.h"

#define ck_assert REQUIRE
#define ck_assert_uint_eq REQUIRE_EQUAL

enum { CREATOR = 1234, LISTED = 1001, IN_GROUP = 1002, STRANGER = 1003, GROUP = 5678 };

struct line {
    struct line *next;
    char text[40];
};

/* What the processes of a claim see. */
static struct board {
    _Atomic uint32_t turn;
    _Atomic uint32_t heard;
    char name[80];
    struct line *lines;
    unsigned char *large;
} * board;

static void add_line(HANDLE heap, const char *text)
{
    struct line *line = HeapAlloc(heap, 0, sizeof *line);
    REQUIRE(line != NULL);
    line->next = board->lines;
    snprintf(line->text, sizeof line->text, "%s", text);
    board->lines = line;
}

static int lines_of(const struct line *line)
{
    int count = 0;
    for (; line != NULL; line = line->next)
        count += strncmp(line->text, "line ", 5) == 0;
    return count;
}

/* Every call that would change the heap, or look into its bookkeeping. */
static void require_denied(HANDLE heap, void *block)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    HEAP_SUMMARY summary = {.cb = sizeof summary};
    ULONG value = 2;
    ck_error(HeapAlloc(heap, 0, 1), NULL, ERROR_ACCESS_DENIED);
    ck_error(HeapReAlloc(heap, 0, block, 1), NULL, ERROR_ACCESS_DENIED);
    ck_error(HeapFree(heap, 0, block), FALSE, ERROR_ACCESS_DENIED);
    ck_error(HeapSize(heap, 0, block), (SIZE_T)-1, ERROR_ACCESS_DENIED);
    ck_error(HeapValidate(heap, 0, block), FALSE, NOTHING);
    ck_error(HeapCompact(heap, 0), 0, ERROR_ACCESS_DENIED);
    ck_error(HeapLock(heap), FALSE, ERROR_ACCESS_DENIED);
    ck_error(HeapUnlock(heap), FALSE, ERROR_ACCESS_DENIED);
    ck_error(HeapWalk(heap, &entry), FALSE, ERROR_ACCESS_DENIED);
    ck_error(HeapSummary(heap, 0, &summary), FALSE, ERROR_ACCESS_DENIED);
    ck_error(HeapSetInformation(heap, HeapCompatibilityInformation, &value, sizeof value), FALSE, ERROR_ACCESS_DENIED);
    ck_error(HeapQueryInformation(heap, HeapCompatibilityInformation, &value, sizeof value, NULL), FALSE,
             ERROR_ACCESS_DENIED);
    ck_error(cairn_win32_heap(heap), NULL, ERROR_ACCESS_DENIED);
    if (UNDER_TSAN) /* as below */
        return;
    volatile DWORD code = 0;
    __try {
        (void)HeapAlloc(heap, HEAP_GENERATE_EXCEPTIONS, 1);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        code = GetExceptionCode();
    }
    REQUIRE_EQUAL(code, STATUS_ACCESS_VIOLATION);
}

static void require_store_faults(void *address)
{
    if (UNDER_TSAN) /* which does not know handlers that are left by a jump */
        return;
    volatile DWORD code = 0;
    volatile ULONG_PTR is_write = 0, where = 0;
    __try {
        *(volatile char *)address = 'x';
    } __except (is_write = GetExceptionInformation()->ExceptionRecord->ExceptionInformation[0],
                where = GetExceptionInformation()->ExceptionRecord->ExceptionInformation[1],
                EXCEPTION_EXECUTE_HANDLER) {
        code = GetExceptionCode();
    }
    REQUIRE_EQUAL(code, EXCEPTION_ACCESS_VIOLATION);
    REQUIRE_EQUAL(is_write, 1);
    REQUIRE_EQUAL(where, (ULONG_PTR)address);
}

/* ---------------------------------------------------------------- reading */

static void store_to(void *address)
{
    (void)signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would exit */
    *(volatile char *)address = 'x';
}

static void read_and_try_to_write(void *arg)
{
    (void)arg;
    wait_for(&board->turn, 1);
    HANDLE heap = CairnSharedHeapOpen(board->name, NULL, 0);
    REQUIRE(heap != NULL);
    REQUIRE_EQUAL(lines_of(board->lines), 10);
    require_denied(heap, board->lines);
    require_store_faults(board->lines);
    finish_by(start(store_to, board->lines), SIGSEGV); /* and so without a guard */
    void *page = (void *)((uintptr_t)board->lines & ~(uintptr_t)4095);
    REQUIRE(mprotect(page, 4096, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
    advance(&board->heard);

    wait_for(&board->turn, 2); /* it has grown */
    REQUIRE_EQUAL(lines_of(board->lines), 11);
    REQUIRE_EQUAL(board->large[0], 7);
    REQUIRE_EQUAL(board->large[8 * MIB - 1], 7);
    require_store_faults(board->large + 5 * MIB);

    cairn_reader *reader = cairn_win32_reader(heap); /* the other interface on the same view */
    REQUIRE(reader != NULL && cairn_read_begin(reader) == 0);
    REQUIRE(cairn_reader_root(reader, "lines") == board->lines);
    REQUIRE_EQUAL(cairn_read_end(reader), 0);
    char name[80];
    REQUIRE_EQUAL(CairnSharedHeapName(heap, name, sizeof name), strlen(board->name));
    REQUIRE(strcmp(name, board->name) == 0);
    ck_error(cairn_win32_publisher(heap), NULL, ERROR_ACCESS_DENIED);
    REQUIRE(HeapDestroy(heap));
    ck_error(HeapDestroy(heap), FALSE, ERROR_INVALID_HANDLE);
    finish_by(start(store_to, board->lines), SIGSEGV);
}

static void others_read_at_the_same_addresses_and_cannot_write(void)
{
    board = shared_memory(sizeof *board);
    pid_t child = start(read_and_try_to_write, NULL);
    HANDLE heap = HeapCreate(HEAP_SHARED_READONLY, 0, 0);
    REQUIRE(heap != NULL);
    REQUIRE(CairnSharedHeapName(heap, board->name, sizeof board->name) > 0);
    for (int i = 0; i < 10; i++)
        add_line(heap, "line of the creator");
    advance(&board->turn);
    wait_for(&board->heard, 1);
    board->large = HeapAlloc(heap, 0, 8 * MIB);
    REQUIRE(board->large != NULL);
    memset(board->large, 7, 8 * MIB);
    add_line(heap, "line that came later");
    REQUIRE_EQUAL(cairn_root_set(cairn_win32_heap(heap), "lines", board->lines), 0);
    advance(&board->turn);
    finish(child);
    REQUIRE_EQUAL(lines_of(board->lines), 11);
    REQUIRE(HeapValidate(heap, 0, NULL));
    REQUIRE(HeapDestroy(heap));
    REQUIRE_EQUAL(workspace_entries(), 0);
}

/* ---------------------------------------------------------------- the creator's heap */

static int busy_entries(HANDLE heap, const void *block)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    int count = 0;
    while (HeapWalk(heap, &entry))
        count += (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0 && entry.lpData == block;
    REQUIRE_EQUAL(GetLastError(), ERROR_NO_MORE_ITEMS);
    return count;
}

static void to_its_creator_it_is_a_heap_as_any_other(void)
{
    HANDLE heap = HeapCreate(HEAP_SHARED_READONLY | HEAP_NO_SERIALIZE, 2 * MIB, 8 * MIB);
    cairn_stats stats = stats_of(cairn_win32_heap(heap));
    REQUIRE(stats.bytes_committed >= 2 * MIB && stats.bytes_committed < 4 * MIB);
    REQUIRE_EQUAL(stats.blocks_live, 0);
    REQUIRE(stats.bytes_reserved <= 8 * MIB);
    for (SIZE_T size = 0; size < 500000; size += 1 + size / 3) {
        unsigned char *block = HeapAlloc(heap, HEAP_ZERO_MEMORY, size);
        REQUIRE(block != NULL && HeapSize(heap, 0, block) == size && (size == 0 || block[size - 1] == 0));
        block = HeapReAlloc(heap, 0, block, size + 5);
        REQUIRE(block != NULL && HeapSize(heap, 0, block) == size + 5);
        REQUIRE(HeapFree(heap, 0, block));
    }
    void *kept = HeapAlloc(heap, 0, 100), *freed = HeapAlloc(heap, 0, 100);
    REQUIRE(HeapFree(heap, 0, freed)); /* it waits for readers, and is no block any more */
    REQUIRE(HeapValidate(heap, 0, kept) && !HeapValidate(heap, 0, freed));
    REQUIRE(HeapLock(heap) && HeapLock(heap));
    REQUIRE_EQUAL(busy_entries(heap, kept), 1);
    REQUIRE_EQUAL(busy_entries(heap, freed), 0);
    REQUIRE(HeapUnlock(heap) && HeapUnlock(heap));
    ck_error(HeapUnlock(heap), FALSE, ERROR_NOT_LOCKED);
    ck_error(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, kept, 10), NULL, ERROR_NOT_ENOUGH_MEMORY);
    REQUIRE_EQUAL(HeapSize(heap, 0, kept), 100);
    HANDLE heaps[4];
    REQUIRE_EQUAL(GetProcessHeaps(4, heaps), 2);
    REQUIRE(heaps[1] == heap);

    ck_error(HeapAlloc(heap, 0, 0xff000), NULL, ERROR_NOT_ENOUGH_MEMORY); /* above the largest block of a fixed heap */
    size_t got = 0;
    while (HeapAlloc(heap, 0, 8000) != NULL)
        got += 8000;
    REQUIRE_EQUAL(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
    REQUIRE(got > 6 * MIB && got < 8 * MIB);
    HANDLE whole = HeapCreate(HEAP_SHARED_READONLY, 4 * MIB, 4 * MIB);
    REQUIRE(whole != NULL && HeapAlloc(whole, 0, 0xfe000) != NULL);
    REQUIRE(HeapDestroy(whole));
    REQUIRE(HeapLock(heap));
    REQUIRE(HeapDestroy(heap)); /* locked as it is */
    REQUIRE_EQUAL(workspace_entries(), 0);
    REQUIRE_EQUAL(GetProcessHeaps(4, heaps), 1);
}

/* A block from either interface is one of the other. */
static void both_interfaces_work_on_it(void)
{
    HANDLE heap = CairnSharedHeapCreate("mixed", 0, 0, 0, NULL);
    cairn_heap *native = cairn_win32_heap(heap);
    cairn_publisher *publisher = cairn_win32_publisher(heap);
    REQUIRE(native != NULL && publisher != NULL && cairn_publisher_heap(publisher) == native);
    void *one = HeapAlloc(heap, 0, 77), *other = cairn_alloc(native, 78);
    REQUIRE_EQUAL(cairn_size(native, one), 77);
    REQUIRE_EQUAL(HeapSize(heap, 0, other), 78);
    cairn_free(native, one);
    REQUIRE(HeapFree(heap, 0, other));
    REQUIRE_SOUND(native);
    ck_error(cairn_win32_reader(heap), NULL, ERROR_INVALID_HANDLE);
    REQUIRE(HeapDestroy(heap));
}

static void be_the_creators_child(void *arg)
{
    HANDLE heap = arg;
    require_denied(heap, board->lines);
    ck_error(cairn_win32_publisher(heap), NULL, ERROR_ACCESS_DENIED);
    REQUIRE(HeapDestroy(heap)); /* what it inherited, and nothing of the parent's */
    HANDLE view = CairnSharedHeapOpen("inherited", NULL, 0);
    REQUIRE(view != NULL);
    REQUIRE_EQUAL(lines_of(board->lines), 1);
    require_store_faults(board->lines);
    REQUIRE(HeapDestroy(view));
}

static void the_creators_child_is_one_of_the_others(void)
{
    board = shared_memory(sizeof *board);
    HANDLE heap = CairnSharedHeapCreate("inherited", 0, 0, 0, NULL);
    add_line(heap, "line of the parent");
    finish(start(be_the_creators_child, heap));
    REQUIRE_EQUAL(workspace_entries(), 1);
    REQUIRE(HeapFree(heap, 0, board->lines));
    REQUIRE(HeapDestroy(heap));
    REQUIRE_EQUAL(workspace_entries(), 0);
}

/* ---------------------------------------------------------------- who may read */

struct visitor {
    uid_t user;
    gid_t group;
    DWORD flags;
    bool is_refused;
};

static void become(uid_t user, gid_t group)
{
    REQUIRE(setgroups(1, &group) == 0 && setgid(user) == 0 && setuid(user) == 0);
    REQUIRE(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0); /* which a change of the user takes back */
}

static void visit(void *arg)
{
    const struct visitor *visitor = arg;
    become(visitor->user, visitor->group);
    if (visitor->is_refused) {
        ck_error(CairnSharedHeapOpen("guarded", NULL, visitor->flags), NULL, ERROR_ACCESS_DENIED);
        return;
    }
    HANDLE heap = CairnSharedHeapOpen("guarded", NULL, visitor->flags);
    REQUIRE(heap != NULL);
    REQUIRE_EQUAL(lines_of(board->lines), 1);
    require_denied(heap, board->lines);
    require_store_faults(board->lines);
    REQUIRE(HeapDestroy(heap));
}

static void create_with(void *arg)
{
    become(CREATOR, CREATOR);
    HANDLE heap = CairnSharedHeapCreate("guarded", 0, 0, 0, arg);
    REQUIRE(heap != NULL);
    add_line(heap, "line for some");
    advance(&board->turn);
    wait_for(&board->heard, 1);
    REQUIRE(HeapDestroy(heap));
}

static void require_visits(const CAIRN_HEAP_READERS *readers, struct visitor *visitors, size_t count)
{
    if (geteuid() != 0)
        skip("needs root, to become other users");
    board = shared_memory(sizeof *board);
    REQUIRE(chmod(workspace_directory(), 0777) == 0);
    pid_t creator = start(create_with, (void *)(uintptr_t)readers);
    wait_for(&board->turn, 1);
    for (size_t i = 0; i < count; i++)
        finish(start(visit, &visitors[i]));
    advance(&board->heard);
    finish(creator);
}

static void only_those_on_the_access_list_read(void)
{
    struct visitor visitors[] = {
        {CREATOR, CREATOR, 0, false},
        {LISTED, LISTED, CAIRN_ANY_CREATOR, false},
        {LISTED, LISTED, 0, true}, /* it did not say that it believes another user */
        {IN_GROUP, GROUP, CAIRN_ANY_CREATOR, false},
        {STRANGER, STRANGER, CAIRN_ANY_CREATOR, true},
        {STRANGER, LISTED, CAIRN_ANY_CREATOR, true},
    };
    const DWORD users[] = {LISTED}, groups[] = {GROUP};
    CAIRN_HEAP_READERS readers = {
        .cb = sizeof readers, .lpUsers = users, .nUsers = 1, .lpGroups = groups, .nGroups = 1};
    require_visits(&readers, visitors, COUNT(visitors));
}

static void without_a_list_only_its_user_reads(void)
{
    struct visitor visitors[] = {
        {CREATOR, CREATOR, 0, false},
        {STRANGER, STRANGER, CAIRN_ANY_CREATOR, true},
    };
    require_visits(NULL, visitors, COUNT(visitors));
}

static void everyone_reads_where_that_was_said(void)
{
    struct visitor visitors[] = {{STRANGER, STRANGER, CAIRN_ANY_CREATOR, false}};
    CAIRN_HEAP_READERS readers = {.cb = sizeof readers, .dwFlags = CAIRN_EVERYONE};
    require_visits(&readers, visitors, COUNT(visitors));
}

/* ---------------------------------------------------------------- names and ends */

static void create_and_wait(void *arg)
{
    HANDLE heap = CairnSharedHeapCreate("prices", 0, 0, 0, NULL);
    REQUIRE(heap != NULL);
    add_line(heap, "line to stay");
    advance(&board->turn);
    wait_for(&board->heard, 1);
    if (arg != NULL)
        raise(SIGKILL);
    exit(0); /* without HeapDestroy */
}

static void a_name_ends_with_its_creator_and_readers_keep_what_was_there(void)
{
    board = shared_memory(sizeof *board);
    for (int is_killed = 0; is_killed < 2; is_killed++) {
        board->turn = board->heard = 0;
        board->lines = NULL;
        pid_t creator = start(create_and_wait, is_killed ? board : NULL);
        wait_for(&board->turn, 1);
        ck_error(CairnSharedHeapCreate("prices", 0, 0, 0, NULL), NULL, ERROR_ALREADY_EXISTS);
        HANDLE view = CairnSharedHeapOpen("prices", NULL, 0);
        REQUIRE(view != NULL);
        advance(&board->heard);
        if (is_killed)
            finish_by(creator, SIGKILL);
        else
            finish(creator);
        REQUIRE_EQUAL(workspace_entries(), is_killed);
        ck_error(CairnSharedHeapOpen("prices", NULL, 0), NULL, ERROR_FILE_NOT_FOUND);
        REQUIRE_EQUAL(lines_of(board->lines), 1);
        REQUIRE(HeapDestroy(view));
        HANDLE next = CairnSharedHeapCreate("prices", 0, 0, 0, NULL);
        REQUIRE(next != NULL);
        REQUIRE(HeapDestroy(next));
        REQUIRE_EQUAL(workspace_entries(), 0);
    }
}

static void wrong_arguments_are_refused(void)
{
    ck_error(CairnSharedHeapCreate("", 0, 0, 0, NULL), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CairnSharedHeapCreate("a/b", 0, 0, 0, NULL), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CairnSharedHeapCreate("one", 0, 2 * MIB, MIB, NULL), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CairnSharedHeapCreate("one", HEAP_CREATE_ENABLE_EXECUTE, 0, 0, NULL), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CairnSharedHeapCreate("one", HEAP_FREE_CHECKING_ENABLED, 0, 0, NULL), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CairnHeapCreate(CAIRN_ERTOS, HEAP_SHARED_READONLY, 0, 0), NULL, ERROR_INVALID_PARAMETER);
    char long_name[300];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    ck_error(CairnSharedHeapCreate(long_name, 0, 0, 0, NULL), NULL, ERROR_FILENAME_EXCED_RANGE);
    ck_error(CairnSharedHeapOpen(long_name, NULL, 0), NULL, ERROR_FILENAME_EXCED_RANGE);
    CAIRN_HEAP_READERS readers = {.cb = 3};
    ck_error(CairnSharedHeapCreate("one", 0, 0, 0, &readers), NULL, ERROR_INVALID_PARAMETER);
    readers = (CAIRN_HEAP_READERS){.cb = sizeof readers, .nUsers = 1};
    ck_error(CairnSharedHeapCreate("one", 0, 0, 0, &readers), NULL, ERROR_INVALID_PARAMETER);
    readers = (CAIRN_HEAP_READERS){.cb = sizeof readers, .lpDirectory = "/dev/shm/there-is-no-such-directory"};
    ck_error(CairnSharedHeapCreate("one", 0, 0, 0, &readers), NULL, ERROR_FILE_NOT_FOUND);
    ck_error(CairnSharedHeapOpen(NULL, NULL, 0), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CairnSharedHeapOpen("one", NULL, 0x80), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CairnSharedHeapOpen("one", NULL, 0), NULL, ERROR_FILE_NOT_FOUND);
    FILE *other = fopen(workspace_path("one.sock"), "we");
    REQUIRE(other != NULL && fclose(other) == 0);
    ck_error(CairnSharedHeapCreate("one", 0, 0, 0, NULL), NULL, ERROR_INVALID_HANDLE);
    REQUIRE(unlink(workspace_path("one.sock")) == 0);

    HANDLE heap = CairnSharedHeapCreate("one", 0, 0, 0, NULL);
    char name[4];
    ck_error(CairnSharedHeapName(heap, name, 3), 0, ERROR_INSUFFICIENT_BUFFER);
    REQUIRE_EQUAL(CairnSharedHeapName(heap, name, 4), 3);
    ck_error(CairnSharedHeapName(GetProcessHeap(), name, 4), 0, ERROR_INVALID_HANDLE);
    ck_error(cairn_win32_publisher(GetProcessHeap()), NULL, ERROR_INVALID_HANDLE);
    ck_error(CairnSharedHeapOpen("one", NULL, 0), NULL, ERROR_INVALID_ADDRESS); /* it lies here already */
    REQUIRE(HeapDestroy(heap));
    REQUIRE_EQUAL(workspace_entries(), 0);
}

static void open_until_it_is_full(void *arg)
{
    (void)arg;
    enum { READERS = 64 };
    HANDLE views[READERS];
    for (int i = 0; i < READERS; i++) {
        views[i] = CairnSharedHeapOpen("prices", NULL, 0);
        REQUIRE(views[i] != NULL);
    }
    ck_error(CairnSharedHeapOpen("prices", NULL, 0), NULL, ERROR_BUSY);
    for (int i = 0; i < READERS; i++)
        REQUIRE(HeapDestroy(views[i]));
}

static void it_has_so_many_readers_and_no_more(void)
{
    board = shared_memory(sizeof *board);
    pid_t creator = start(create_and_wait, NULL);
    wait_for(&board->turn, 1);
    finish(start(open_until_it_is_full, NULL));
    advance(&board->heard);
    finish(creator);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(others_read_at_the_same_addresses_and_cannot_write),
        CLAIM(to_its_creator_it_is_a_heap_as_any_other),
        CLAIM(both_interfaces_work_on_it),
        CLAIM(the_creators_child_is_one_of_the_others),
        CLAIM(only_those_on_the_access_list_read),
        CLAIM(without_a_list_only_its_user_reads),
        CLAIM(everyone_reads_where_that_was_said),
        CLAIM(a_name_ends_with_its_creator_and_readers_keep_what_was_there),
        CLAIM(wrong_arguments_are_refused),
        CLAIM(it_has_so_many_readers_and_no_more),
    };
    return run_claims(claims, COUNT(claims), 30);
}
