/* SPDX-License-Identifier: MIT */
/* Sections as cairn has them: names that are files, processes that are killed, and what is not supported. */
#include <windows.h>

#include <cairn.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "claims.h"

static HANDLE make(DWORD protect, SIZE_T bytes, const char *name)
{
    return CreateFileMapping(INVALID_HANDLE_VALUE, NULL, protect, (DWORD)(bytes >> 32), (DWORD)bytes, name);
}

static int files_left(void)
{
    struct stat status;
    char path[300];
    snprintf(path, sizeof path, "%s/win32.block", names_directory);
    return stat(path, &status) == 0;
}

static int make_and_die(void)
{
    if (make(PAGE_READWRITE, MIB, "block") == NULL)
        return 1;
    if (!files_left())
        return 2;
    return kill(getpid(), SIGKILL);
}

static int make_and_exit(void)
{
    exit(make(PAGE_READWRITE, MIB, "block") != NULL && files_left() ? 0 : 1);
}

START_TEST(a_name_ends_with_the_processes_that_had_it)
{
    elsewhere(make_and_exit);
    ck_assert_int_eq(files_left(), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(make_and_die());
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(files_left(), 1); /* left by the killed: it counts as not there */
    ck_error(OpenFileMapping(FILE_MAP_READ, FALSE, "block"), NULL, ERROR_FILE_NOT_FOUND);
    HANDLE section = make(PAGE_READWRITE, 2 * MIB, "block");
    ck_assert_uint_eq(GetLastError(), NO_ERROR);
    ck_assert(CloseHandle(section));
    ck_assert_int_eq(files_left(), 0);
}
END_TEST

/* A child has what its parent had from the first moment on, wherever the parent is when it comes to run. */
START_TEST(a_forked_child_keeps_the_name)
{
    for (int turn = 0; turn < 30; turn++) {
        HANDLE section = make(PAGE_READWRITE, 65536, "block");
        int closed[2];
        ck_assert_int_eq(pipe(closed), 0);
        pid_t child = fork();
        if (child == 0) {
            char byte;
            close(closed[1]);
            if (read(closed[0], &byte, 1) != 0)
                _exit(2);
            _exit(OpenFileMapping(FILE_MAP_READ, FALSE, "block") != NULL && CloseHandle(section) ? 0 : 1);
        }
        ck_assert(CloseHandle(section));
        close(closed[0]);
        close(closed[1]);
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
    }
    int left = files_left();
    ck_assert_int_le(left, 1); /* by a child that ended without its destructors: it counts as not there */
    HANDLE section = make(PAGE_READWRITE, 65536, "block");
    ck_assert_uint_eq(GetLastError(), NO_ERROR);
    ck_assert(CloseHandle(section));
    ck_assert_int_eq(files_left(), 0);
}
END_TEST

/* It has no descriptor to spare for that. */
START_TEST(a_child_that_holds_no_name_of_its_own_ends_none)
{
    HANDLE section = make(PAGE_READWRITE, MIB, "block");
    ck_assert_ptr_nonnull(section);
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit none = {0, limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(CloseHandle(section) ? 0 : 1);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int status = -1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert(files_left());
    ck_assert(CloseHandle(section));
    ck_assert(!files_left());
}
END_TEST

static atomic_bool is_over;

static void *names_come_and_go(void *arg)
{
    while (!is_over) {
        HANDLE section = make(PAGE_READWRITE | SEC_RESERVE, 65536, arg);
        if (section == NULL || !CloseHandle(section)) /* a child may have it, too */
            return arg;
    }
    return NULL;
}

/* Children that live on keep no lock that their parent's other thread had in that moment. */
START_TEST(forks_beside_names_stop_nobody)
{
    enum { CHILDREN = 40, THREADS = 3 };
    pthread_t threads[THREADS];
    char names[THREADS][8] = {"block", "clock", "flock"};
    pid_t children[CHILDREN];
    int end[2];
    char byte;
    ck_assert_int_eq(pipe(end), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, names_come_and_go, names[i]), 0);
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            close(end[1]);
            _exit(read(end[0], &byte, 1) == 0 ? 0 : 1);
        }
        HANDLE other = make(PAGE_READWRITE, 65536, "another");
        ck_assert_uint_eq(GetLastError(), NO_ERROR);
        ck_assert(CloseHandle(other));
    }
    is_over = true;
    for (int i = 0; i < THREADS; i++) {
        void *said;
        ck_assert_int_eq(pthread_join(threads[i], &said), 0);
        ck_assert_ptr_null(said);
    }
    close(end[0]);
    close(end[1]);
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
        ck_assert_int_eq(status, 0);
    }
    for (int i = 0; i < THREADS; i++) { /* the children ended without their destructors */
        HANDLE section = make(PAGE_READWRITE, 65536, names[i]);
        ck_assert_uint_eq(GetLastError(), NO_ERROR);
        ck_assert(CloseHandle(section));
    }
    ck_assert_int_eq(files_left(), 0);
}
END_TEST

static int write_by_the_mode(void)
{
    HANDLE section = make(PAGE_READONLY, MIB, "block");
    char path[300];
    struct stat status;
    snprintf(path, sizeof path, "%s/win32.block", names_directory);
    if (section == NULL || stat(path, &status) < 0 || (status.st_mode & 0777) != 0400)
        return 1;
    return CloseHandle(section) ? 0 : 2;
}

START_TEST(what_may_only_be_read_the_system_keeps_from_being_written)
{
    elsewhere(write_by_the_mode);
}
END_TEST

/* Two names of one hash: a label of another name is not taken for this one. */
START_TEST(a_long_name_is_known_by_all_of_it)
{
    char name[240], path[400] = "";
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    HANDLE section = make(PAGE_READWRITE, MIB, name);
    ck_assert_ptr_nonnull(section);
    DIR *directory = opendir(names_directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (strncmp(entry->d_name, "win32.%L", 8) == 0)
            snprintf(path, sizeof path, "%s/%s", names_directory, entry->d_name);
    closedir(directory);
    cairn_section *same;
    ck_assert_int_eq(cairn_section_open(&same, strrchr(path, '/') + 1, NULL), 0);
    char *label = memmem(cairn_section_address(same), 4096, name, sizeof name);
    ck_assert_ptr_nonnull(label);
    label[200] = 'm';
    ck_error(OpenFileMapping(FILE_MAP_READ, FALSE, name), NULL, ERROR_INVALID_HANDLE);
    ck_error(make(PAGE_READWRITE, MIB, name), NULL, ERROR_INVALID_HANDLE);
    label[200] = 'n';
    HANDLE again = OpenFileMapping(FILE_MAP_READ, FALSE, name);
    ck_assert_ptr_nonnull(again);
    cairn_section_close(same);
    ck_assert(CloseHandle(again) && CloseHandle(section));
}
END_TEST

/* ---------------------------------------------------------------- buffers */

/* What a caller gives may have no memory behind it. Guarded, that is no reason for anybody to wait for ever. */
static int fills(int which, void *buffer, HANDLE heap)
{
    volatile int seen = -1;
    __try {
        if (which == 0)
            seen = VirtualQuery(buffer, buffer, sizeof(MEMORY_BASIC_INFORMATION)) != 0;
        if (which == 1)
            seen = GetProcessHeaps(8, buffer) != 0;
        if (which == 2)
            seen = HeapWalk(heap, buffer);
        if (which == 3)
            seen = VirtualProtect(buffer, 1, PAGE_READONLY, buffer);
        if (which == 4)
            seen = HeapQueryInformation(heap, HeapCompatibilityInformation, buffer, 4, NULL);
    } __except (GetExceptionCode() == EXCEPTION_ACCESS_VIOLATION) {
        seen = -2;
    }
    return seen;
}

static void *use_everything(void *arg)
{
    HANDLE heap = arg;
    void *range = VirtualAlloc(NULL, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    void *block = HeapAlloc(heap, 0, 100);
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    bool works = range != NULL && VirtualFree(range, 0, MEM_RELEASE) && block != NULL && HeapWalk(heap, &entry) &&
                 HeapFree(heap, 0, block);
    return works ? NULL : arg;
}

START_TEST(a_buffer_that_faults_leaves_no_lock_behind)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    unsigned char *readable = VirtualAlloc(NULL, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READONLY);
    for (int which = 0; which < 5; which++) {
        ck_assert_int_eq(fills(which, readable, heap), -2);
        pthread_t thread;
        void *said;
        ck_assert_int_eq(pthread_create(&thread, NULL, use_everything, heap), 0);
        ck_assert_int_eq(pthread_join(thread, &said), 0);
        ck_assert_ptr_null(said);
        ck_assert_ptr_null(use_everything(heap));
    }
    ck_assert(VirtualFree(readable, 0, MEM_RELEASE) && HeapDestroy(heap));
}
END_TEST

START_TEST(a_buffer_may_lie_in_a_view_that_watches_holes)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    ck_assert(!CairnFaultOnHoles(TRUE));
    HANDLE section = make(PAGE_READWRITE | SEC_RESERVE, 4 * 65536, NULL);
    unsigned char *watched = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0);
    unsigned char *other = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0);
    ck_assert_ptr_nonnull(VirtualAlloc(other, 3 * 65536, MEM_COMMIT, PAGE_READWRITE));
    for (int which = 0; which < 3; which++)
        ck_assert_int_eq(fills(which, watched + (size_t)which * 65536, heap), 1);
    ck_assert_int_eq(fills(0, watched + (size_t)3 * 65536, heap), -2);
    ck_assert_ptr_null(use_everything(heap));
    ck_assert(CairnFaultOnHoles(FALSE));
    ck_assert(UnmapViewOfFile(watched) && UnmapViewOfFile(other) && CloseHandle(section) && HeapDestroy(heap));
}
END_TEST

struct toucher {
    unsigned char *view;
    size_t pages;
    pthread_barrier_t *start;
    size_t refused;
};

static int reads(const volatile unsigned char *address)
{
    volatile int seen = -1;
    __try {
        seen = *address;
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        seen = -2;
    }
    return seen;
}

static void *touch_all(void *arg)
{
    struct toucher *toucher = arg;
    (void)pthread_barrier_wait(toucher->start);
    for (size_t i = 0; i < toucher->pages; i++)
        toucher->refused += reads(toucher->view + i * 4096) != 0;
    return NULL;
}

START_TEST(two_threads_may_touch_a_page_first_at_once)
{
    enum { PAGES = 2048, ROUNDS = 20 };
    ck_assert(!CairnFaultOnHoles(TRUE));
    HANDLE section = make(PAGE_READWRITE | SEC_RESERVE, (SIZE_T)PAGES * 4096, NULL);
    unsigned char *other = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0);
    pthread_barrier_t start;
    ck_assert_int_eq(pthread_barrier_init(&start, NULL, 2), 0);
    unsigned char *watched[ROUNDS]; /* mapped before anything is committed, so that each page is opened by a touch */
    for (int i = 0; i < ROUNDS; i++)
        watched[i] = MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0);
    ck_assert_ptr_nonnull(VirtualAlloc(other, (SIZE_T)PAGES * 4096, MEM_COMMIT, PAGE_READWRITE));
    for (int i = 0; i < ROUNDS; i++) {
        struct toucher touchers[] = {{watched[i], PAGES, &start, 0}, {watched[i], PAGES, &start, 0}};
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, touch_all, &touchers[0]), 0);
        (void)touch_all(&touchers[1]);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_uint_eq(touchers[0].refused, 0);
        ck_assert_uint_eq(touchers[1].refused, 0);
    }
    ck_assert_int_eq(pthread_barrier_destroy(&start), 0);
    DWORD old;
    ck_assert(VirtualProtect(watched[0], 4096, PAGE_NOACCESS, &old)); /* open, and yet it faults: each time */
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(reads(watched[0]), -2);
    ck_assert(CairnFaultOnHoles(FALSE));
    for (int i = 0; i < ROUNDS; i++)
        ck_assert(UnmapViewOfFile(watched[i]));
    ck_assert(UnmapViewOfFile(other) && CloseHandle(section));
}
END_TEST

static volatile sig_atomic_t faults_in_signals;

static void fault_in_signal(int number)
{
    (void)number;
    static volatile char *volatile nowhere = (char *)64;
    faults_in_signals += reads((const volatile unsigned char *)nowhere) == -2;
}

START_TEST(a_fault_in_a_signal_handler_waits_for_no_call)
{
    enum { FAULTS = 100 };
    ck_assert(!CairnFaultOnHoles(TRUE));
    unsigned char *range = VirtualAlloc(NULL, 64 * MIB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ck_assert_ptr_nonnull(range);
    struct sigaction action = {.sa_handler = fault_in_signal};
    const struct itimerval soon = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    ck_assert_int_eq(sigaction(SIGPROF, &action, NULL), 0);
    ck_assert_int_eq(setitimer(ITIMER_PROF, &soon, NULL), 0);
    while (faults_in_signals < FAULTS) { /* most of them come in the midst of it */
        DWORD old;
        ck_assert(VirtualProtect(range, 64 * MIB, PAGE_READONLY, &old));
        ck_assert(VirtualProtect(range, 64 * MIB, PAGE_READWRITE, &old));
    }
    ck_assert_int_eq(setitimer(ITIMER_PROF, &never, NULL), 0);
    ck_assert(CairnFaultOnHoles(FALSE));
    ck_assert(VirtualFree(range, 0, MEM_RELEASE));
}
END_TEST

START_TEST(more_than_the_machine_has_is_not_committed)
{
    SIZE_T bytes = (SIZE_T)sysconf(_SC_PHYS_PAGES) * 4096 * 4;
    ck_error(VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE), NULL, ERROR_COMMITMENT_LIMIT);
    unsigned char *range = VirtualAlloc(NULL, bytes, MEM_RESERVE, PAGE_READWRITE);
    ck_assert_ptr_nonnull(range);
    ck_error(VirtualAlloc(range, bytes, MEM_COMMIT, PAGE_READWRITE), NULL, ERROR_COMMITMENT_LIMIT);
    ck_assert(VirtualFree(range, 0, MEM_RELEASE));
}
END_TEST

START_TEST(a_name_of_something_else_is_no_section)
{
    char path[200];
    snprintf(path, sizeof path, "%s/win32.other", names_directory);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(ftruncate(file, 65536), 0);
    ck_assert_int_eq(flock(file, LOCK_SH), 0); /* not one that was left by the killed */
    ck_error(OpenFileMapping(FILE_MAP_READ, FALSE, "other"), NULL, ERROR_INVALID_HANDLE);
    ck_error(make(PAGE_READWRITE, MIB, "other"), NULL, ERROR_INVALID_HANDLE);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(close(file), 0);
}
END_TEST

START_TEST(a_handle_of_a_file_is_of_an_open_one)
{
    int file = memfd_create("file", MFD_CLOEXEC);
    HANDLE handle = CairnFileHandle(file);
    ck_assert_ptr_nonnull(handle);
    ck_error(CreateFileMapping(handle, NULL, PAGE_READWRITE, 0, 4096, "name"), NULL, ERROR_NOT_SUPPORTED);
    ck_assert(CloseHandle(handle));
    close(file);
    ck_error(CairnFileHandle(file), NULL, ERROR_INVALID_HANDLE);
}
END_TEST

START_TEST(what_cannot_be_read_is_not_mapped)
{
    char path[300];
    int ends[2];
    snprintf(path, sizeof path, "%s/file", names_directory);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(ftruncate(file, 65536), 0);
    int directory = open(names_directory, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pipe(ends), 0);
    HANDLE handles[] = {CairnFileHandle(file), CairnFileHandle(directory), CairnFileHandle(ends[0])};
    ck_error(CreateFileMapping(handles[0], NULL, PAGE_READONLY, 0, 0, NULL), NULL, ERROR_ACCESS_DENIED);
    ck_error(CreateFileMapping(handles[0], NULL, PAGE_READWRITE, 0, 0, NULL), NULL, ERROR_ACCESS_DENIED);
    ck_error(CreateFileMapping(handles[1], NULL, PAGE_READONLY, 0, 0, NULL), NULL, ERROR_INVALID_HANDLE);
    ck_error(CreateFileMapping(handles[2], NULL, PAGE_READONLY, 0, 4096, NULL), NULL, ERROR_INVALID_HANDLE);
    for (size_t i = 0; i < COUNT(handles); i++)
        ck_assert(CloseHandle(handles[i]));
    close(ends[0]);
    close(ends[1]);
    close(directory);
    close(file);
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(what_is_not_supported_is_told)
{
    int descriptor = 0;
    const HANDLE memory = INVALID_HANDLE_VALUE;
    SECURITY_ATTRIBUTES attributes = {sizeof attributes, &descriptor, FALSE};
    ck_error(make(PAGE_READWRITE | SEC_LARGE_PAGES, MIB, NULL), NULL, ERROR_NOT_SUPPORTED);
    ck_error(make(PAGE_READWRITE | SEC_IMAGE, MIB, NULL), NULL, ERROR_NOT_SUPPORTED);
    ck_error(CreateFileMapping(memory, &attributes, PAGE_READWRITE, 0, 4096, NULL), NULL, ERROR_NOT_SUPPORTED);
    ck_error(CreateFileMappingW(memory, NULL, PAGE_READWRITE | SEC_IMAGE, 0, 1, NULL), NULL, ERROR_NOT_SUPPORTED);
    ck_error(VirtualAlloc(NULL, 4096, MEM_COMMIT | MEM_LARGE_PAGES, PAGE_READWRITE), NULL, ERROR_NOT_SUPPORTED);
    ck_error(VirtualAlloc(NULL, 4096, MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD), NULL, ERROR_NOT_SUPPORTED);
    DWORD old;
    BYTE *base = VirtualAlloc(NULL, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ck_assert_ptr_nonnull(base);
    ck_error(VirtualProtect(base, 4096, PAGE_READONLY | PAGE_GUARD, &old), FALSE, ERROR_NOT_SUPPORTED);
    ck_error(VirtualAlloc(base, 4096, MEM_RESET_UNDO, PAGE_READWRITE), NULL, ERROR_NOT_SUPPORTED);
    ck_assert(VirtualFree(base, 0, MEM_RELEASE));
}
END_TEST

START_TEST(a_page_is_the_systems)
{
    SYSTEM_INFO system;
    GetSystemInfo(&system);
    ck_assert_uint_eq(system.dwPageSize, (DWORD)sysconf(_SC_PAGESIZE));
}
END_TEST

int main(void)
{
    if (names_begin() != 0)
        return EXIT_FAILURE;
    Suite *suite = suite_create("win32 sections of cairn");
    TCase *tests = suite_case(suite, "sections", 60);
    tcase_add_test(tests, a_name_ends_with_the_processes_that_had_it);
    tcase_add_test(tests, a_forked_child_keeps_the_name);
    tcase_add_test(tests, a_child_that_holds_no_name_of_its_own_ends_none);
    tcase_add_test(tests, forks_beside_names_stop_nobody);
    tcase_add_test(tests, what_may_only_be_read_the_system_keeps_from_being_written);
    tcase_add_test(tests, a_long_name_is_known_by_all_of_it);
    tcase_add_test(tests, more_than_the_machine_has_is_not_committed);
    tcase_add_test(tests, a_name_of_something_else_is_no_section);
    tcase_add_test(tests, a_handle_of_a_file_is_of_an_open_one);
    tcase_add_test(tests, what_cannot_be_read_is_not_mapped);
    tcase_add_test(tests, what_is_not_supported_is_told);
    tcase_add_test(tests, a_page_is_the_systems);
    if (UNDER_TSAN) {
        puts("ThreadSanitizer does not know handlers that are left by a jump: no buffers that fault under it");
    } else {
        tcase_add_test(tests, a_buffer_that_faults_leaves_no_lock_behind);
        tcase_add_test(tests, a_buffer_may_lie_in_a_view_that_watches_holes);
        tcase_add_test(tests, two_threads_may_touch_a_page_first_at_once);
        tcase_add_test(tests, a_fault_in_a_signal_handler_waits_for_no_call);
    }
    return names_end(suite_run(suite));
}
