/* SPDX-License-Identifier: MIT */
/* Sections as cairn has them: names that are files, processes that are killed, and what is not supported. */
#include <windows.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

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
    tcase_add_test(tests, a_name_of_something_else_is_no_section);
    tcase_add_test(tests, a_handle_of_a_file_is_of_an_open_one);
    tcase_add_test(tests, what_is_not_supported_is_told);
    tcase_add_test(tests, a_page_is_the_systems);
    return names_end(suite_run(suite));
}
