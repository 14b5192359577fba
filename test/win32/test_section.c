/* SPDX-License-Identifier: MIT */
/* Sections, views and virtual memory, each promise and each error of docs/win32.md; two processes on one name. What is
 * only so here is in test_section_cairn.c. */
#include <windows.h>

#include <string.h>

#include "claims.h"

static HANDLE make(DWORD protect, SIZE_T bytes, const char *name)
{
    return CreateFileMapping(INVALID_HANDLE_VALUE, NULL, protect, (DWORD)(bytes >> 32), (DWORD)bytes, name);
}

static unsigned char *view_of(HANDLE section, DWORD access)
{
    unsigned char *view = MapViewOfFile(section, access, 0, 0, 0);
    ck_assert_ptr_nonnull(view);
    ck_assert_uint_eq((uintptr_t)view % 65536, 0);
    return view;
}

static MEMORY_BASIC_INFORMATION query(const void *address)
{
    MEMORY_BASIC_INFORMATION info;
    ck_assert_uint_eq(VirtualQuery(address, &info, sizeof info), sizeof info);
    return info;
}

static void ck_pages(const void *address, DWORD state, DWORD protect, SIZE_T bytes)
{
    MEMORY_BASIC_INFORMATION info = query(address);
    ck_assert_uint_eq(info.State, state);
    ck_assert_uint_eq(info.Protect, protect);
    ck_assert_uint_eq(info.RegionSize, bytes);
    ck_assert_ptr_eq(info.BaseAddress, address);
}

/* ---------------------------------------------------------------- CreateFileMapping */

START_TEST(wrong_arguments_make_no_section)
{
    ck_error(make(PAGE_READWRITE, 0, NULL), NULL, ERROR_INVALID_PARAMETER);
    ck_error(make(0, MIB, NULL), NULL, ERROR_INVALID_PARAMETER);
    ck_error(make(PAGE_NOACCESS, MIB, NULL), NULL, ERROR_INVALID_PARAMETER);
    ck_error(make(PAGE_READWRITE | SEC_RESERVE | SEC_COMMIT, MIB, NULL), NULL, ERROR_INVALID_PARAMETER);
    ck_error(make(PAGE_READWRITE, MIB, "Local\\"), NULL, ERROR_INVALID_NAME);
    ck_error(make(PAGE_READWRITE, MIB, "a\\b"), NULL, ERROR_PATH_NOT_FOUND);
    char name[400];
    memset(name, 'n', sizeof name);
    name[399] = '\0';
    ck_error(make(PAGE_READWRITE, MIB, name), NULL, ERROR_FILENAME_EXCED_RANGE);
    ck_error(CreateFileMapping((HANDLE)0x404, NULL, PAGE_READWRITE, 0, 4096, NULL), NULL, ERROR_INVALID_HANDLE);
    ck_error(OpenFileMapping(FILE_MAP_READ, FALSE, "nobody"), NULL, ERROR_FILE_NOT_FOUND);
    ck_error(OpenFileMapping(FILE_MAP_READ, FALSE, NULL), NULL, ERROR_INVALID_PARAMETER);
}
END_TEST

START_TEST(memory_that_is_not_there_is_no_section)
{
    ck_error(make(PAGE_READWRITE, (SIZE_T)1 << 40, NULL), NULL, ERROR_COMMITMENT_LIMIT);
}
END_TEST

START_TEST(a_committed_section_is_there_and_zero)
{
    HANDLE section = make(PAGE_READWRITE, 3 * MIB, NULL);
    unsigned char *view = view_of(section, FILE_MAP_WRITE);
    ck_pages(view, MEM_COMMIT, PAGE_READWRITE, 3 * MIB);
    ck_assert_uint_eq(view[0] + view[3 * MIB - 1], 0);
    view[3 * MIB - 1] = 7;
    unsigned char *other = view_of(section, FILE_MAP_READ);
    ck_assert_ptr_ne(view, other);
    ck_assert_uint_eq(other[3 * MIB - 1], 7);
    ck_pages(other, MEM_COMMIT, PAGE_READONLY, 3 * MIB);
    ck_assert_uint_eq(query(other).Type, MEM_MAPPED);
    ck_assert(CloseHandle(section)); /* the views keep it */
    ck_assert_uint_eq(other[3 * MIB - 1], 7);
    ck_assert(UnmapViewOfFile(view) && UnmapViewOfFile(other));
    ck_assert_uint_eq(query(view).State, MEM_FREE);
    ck_error(UnmapViewOfFile(view), FALSE, ERROR_INVALID_ADDRESS);
    ck_error(CloseHandle(section), FALSE, ERROR_INVALID_HANDLE);
}
END_TEST

START_TEST(a_view_commits_the_section_for_all_views)
{
    HANDLE section = make(PAGE_READWRITE | SEC_RESERVE, 4 * MIB, NULL);
    unsigned char *one = view_of(section, FILE_MAP_WRITE), *two = view_of(section, FILE_MAP_WRITE);
    ck_pages(one, MEM_RESERVE, 0, 4 * MIB);
    ck_assert_uint_eq(query(one).AllocationProtect, PAGE_READWRITE);
    ck_assert_ptr_eq(VirtualAlloc(one + MIB, MIB, MEM_COMMIT, PAGE_READONLY), one + MIB);
    ck_pages(one + MIB, MEM_COMMIT, PAGE_READONLY, MIB);
    ck_pages(two, MEM_RESERVE, 0, MIB);
    ck_pages(two + MIB, MEM_COMMIT, PAGE_READWRITE, MIB); /* each view has its own protection */
    ck_pages(two + 2 * MIB, MEM_RESERVE, 0, 2 * MIB);
    two[MIB] = 9;
    ck_assert_uint_eq(one[MIB], 9);
    ck_assert_ptr_eq(VirtualAlloc(one + MIB, MIB, MEM_COMMIT, PAGE_READWRITE), one + MIB); /* again is allowed */
    ck_assert_uint_eq(one[MIB], 9);
    one[MIB] = 10;
    ck_error(VirtualAlloc(one + 3 * MIB, 2 * MIB, MEM_COMMIT, PAGE_READWRITE), NULL, ERROR_INVALID_ADDRESS);
    ck_error(VirtualFree(one + MIB, MIB, MEM_DECOMMIT), FALSE, ERROR_INVALID_PARAMETER);
    ck_error(VirtualFree(one, 0, MEM_RELEASE), FALSE, ERROR_INVALID_PARAMETER);
    ck_assert_ptr_eq(VirtualAlloc(one, 2 * MIB, MEM_RESET, PAGE_READWRITE), one); /* also what is not committed */
    ck_assert(one[MIB] == 10 || one[MIB] == 0);
    ck_error(VirtualAlloc(one, 5 * MIB, MEM_RESET, PAGE_READWRITE), NULL, ERROR_INVALID_ADDRESS);
    ck_error(VirtualAlloc(one, MIB, MEM_RESET | MEM_COMMIT, PAGE_READWRITE), NULL, ERROR_INVALID_PARAMETER);
    ck_assert(UnmapViewOfFile(one) && UnmapViewOfFile(two) && CloseHandle(section));
}
END_TEST

START_TEST(a_reader_may_grow_but_not_write)
{
    HANDLE section = make(PAGE_READWRITE | SEC_RESERVE, MIB, NULL);
    unsigned char *reader = view_of(section, FILE_MAP_READ), *writer = view_of(section, FILE_MAP_WRITE);
    ck_error(VirtualAlloc(reader, MIB, MEM_COMMIT, PAGE_READWRITE), NULL, ERROR_INVALID_PARAMETER);
    ck_pages(writer, MEM_RESERVE, 0, MIB);
    ck_assert_ptr_nonnull(VirtualAlloc(reader, MIB, MEM_COMMIT, PAGE_READONLY));
    ck_pages(writer, MEM_COMMIT, PAGE_READWRITE, MIB);
    writer[5] = 5;
    ck_assert_uint_eq(reader[5], 5);
    DWORD old;
    ck_error(VirtualProtect(reader, 4096, PAGE_READWRITE, &old), FALSE, ERROR_INVALID_PARAMETER);
    ck_assert(VirtualProtect(writer, 4096, PAGE_READONLY, &old));
    ck_assert_uint_eq(old, PAGE_READWRITE);
    ck_pages(writer, MEM_COMMIT, PAGE_READONLY, 4096);
    ck_assert(UnmapViewOfFile(reader) && UnmapViewOfFile(writer) && CloseHandle(section));
}
END_TEST

START_TEST(views_are_of_parts_and_at_places)
{
    HANDLE section = make(PAGE_READWRITE, MIB, NULL);
    unsigned char *whole = view_of(section, FILE_MAP_WRITE);
    ck_error(MapViewOfFile(section, FILE_MAP_READ, 0, 4096, 4096), NULL, ERROR_MAPPED_ALIGNMENT);
    ck_error(MapViewOfFile(section, FILE_MAP_READ, 0, 2 << 20, 0), NULL, ERROR_INVALID_PARAMETER);
    ck_error(MapViewOfFile(section, FILE_MAP_READ, 0, 65536, MIB), NULL, ERROR_ACCESS_DENIED);
    unsigned char *part = MapViewOfFile(section, FILE_MAP_WRITE, 0, 65536, 4096);
    ck_assert_ptr_nonnull(part);
    part[1] = 3;
    ck_assert_uint_eq(whole[65537], 3);
    ck_error(MapViewOfFileEx(section, FILE_MAP_READ, 0, 0, 0, whole), NULL, ERROR_INVALID_ADDRESS);
    ck_error(MapViewOfFileEx(section, FILE_MAP_READ, 0, 0, 0, whole + 4096), NULL, ERROR_MAPPED_ALIGNMENT);
    ck_assert(UnmapViewOfFile(part));
    /* Two sections side by side; one ends, and a larger one takes its place. */
    unsigned char *place = VirtualAlloc(NULL, 8 * MIB, MEM_RESERVE, PAGE_NOACCESS);
    ck_assert(VirtualFree(place, 0, MEM_RELEASE));
    HANDLE second = make(PAGE_READWRITE, 2 * MIB, NULL);
    ck_assert_ptr_eq(MapViewOfFileEx(section, FILE_MAP_WRITE, 0, 0, 0, place), place);
    ck_assert_ptr_eq(MapViewOfFileEx(second, FILE_MAP_WRITE, 0, 0, MIB, place + MIB), place + MIB);
    memset(place, 4, 2 * MIB);
    ck_assert(UnmapViewOfFile(place + MIB));
    ck_assert_ptr_eq(MapViewOfFileEx(second, FILE_MAP_WRITE, 0, 0, 0, place + MIB), place + MIB);
    ck_assert_uint_eq(place[2 * MIB - 1], 4);
    ck_assert_uint_eq(place[3 * MIB - 1], 0);
    ck_assert(UnmapViewOfFile(place) && UnmapViewOfFile(place + MIB) && UnmapViewOfFile(whole));
    ck_assert(CloseHandle(section) && CloseHandle(second));
}
END_TEST

START_TEST(a_copy_is_the_processs_own)
{
    HANDLE section = make(PAGE_READWRITE, MIB, NULL);
    unsigned char *view = view_of(section, FILE_MAP_WRITE);
    view[10] = 1;
    unsigned char *copy = view_of(section, FILE_MAP_COPY);
    ck_assert_uint_eq(query(copy).Protect, PAGE_WRITECOPY);
    copy[10]++;
    ck_assert_uint_eq(copy[10], 2);
    ck_assert_uint_eq(view[10], 1);
    ck_assert(UnmapViewOfFile(view) && UnmapViewOfFile(copy) && CloseHandle(section));
}
END_TEST

START_TEST(handles_are_counted_and_carry_their_access)
{
    HANDLE section = make(PAGE_READONLY, MIB, NULL), other;
    ck_error(MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0), NULL, ERROR_ACCESS_DENIED);
    ck_assert(DuplicateHandle(GetCurrentProcess(), section, GetCurrentProcess(), &other, 0, FALSE,
                              DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE));
    unsigned char *view = view_of(other, FILE_MAP_READ);
    ck_error(DuplicateHandle(GetCurrentProcess(), other, (HANDLE)8, &section, 0, FALSE, 2), FALSE,
             ERROR_INVALID_HANDLE);
    ck_error(DuplicateHandle(GetCurrentProcess(), other, GetCurrentProcess(), &section, 0, FALSE, 8), FALSE,
             ERROR_INVALID_PARAMETER);
    ck_error(DuplicateHandle(GetCurrentProcess(), other, GetCurrentProcess(), &section, FILE_MAP_WRITE, FALSE, 0),
             FALSE, ERROR_ACCESS_DENIED);
    ck_assert(UnmapViewOfFile(view) && CloseHandle(other));
    HANDLE heap = HeapCreate(0, 0, 0);
    ck_error(CloseHandle(heap), FALSE, ERROR_INVALID_HANDLE);
    ck_error(MapViewOfFile(heap, FILE_MAP_READ, 0, 0, 0), NULL, ERROR_INVALID_HANDLE);
    ck_assert(HeapDestroy(heap));
}
END_TEST

START_TEST(a_source_that_was_closed_is_no_handle)
{
    HANDLE section = make(PAGE_READONLY, MIB, NULL), other;
    ck_assert(DuplicateHandle(GetCurrentProcess(), section, GetCurrentProcess(), &other, 0, FALSE,
                              DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE));
    ck_error(CloseHandle(section), FALSE, ERROR_INVALID_HANDLE);
    /* It is closed also when it could not be duplicated. */
    ck_error(DuplicateHandle(GetCurrentProcess(), other, (HANDLE)8, &section, 0, FALSE,
                             DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE),
             FALSE, ERROR_INVALID_HANDLE);
    ck_error(CloseHandle(other), FALSE, ERROR_INVALID_HANDLE);
}
END_TEST

/* ---------------------------------------------------------------- names */

static int other_opens(void)
{
    HANDLE section = OpenFileMapping(FILE_MAP_READ, FALSE, "Local\\block");
    if (section == NULL)
        return 1;
    unsigned char *view = MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0);
    MEMORY_BASIC_INFORMATION info;
    if (view == NULL || VirtualQuery(view, &info, sizeof info) == 0)
        return 2;
    if (info.State != MEM_COMMIT || info.RegionSize != MIB || view[3] != 33)
        return 3;
    if (MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0) != NULL || GetLastError() != ERROR_ACCESS_DENIED)
        return 4;
    /* A reader makes it larger, for all. */
    return VirtualAlloc(view + MIB, MIB, MEM_COMMIT, PAGE_READONLY) != NULL ? 0 : 5;
}

START_TEST(two_processes_grow_one_named_section)
{
    static const WCHAR wide[] = {'b', 'l', 'o', 'c', 'k', 0};
    HANDLE section = make(PAGE_READWRITE | SEC_RESERVE, 4 * MIB, "block");
    ck_assert_uint_eq(GetLastError(), NO_ERROR);
    unsigned char *view = view_of(section, FILE_MAP_WRITE);
    ck_assert_ptr_nonnull(VirtualAlloc(view, MIB, MEM_COMMIT, PAGE_READWRITE));
    view[3] = 33;
    elsewhere(other_opens);
    ck_pages(view, MEM_COMMIT, PAGE_READWRITE, 2 * MIB);
    view[2 * MIB - 1] = 1;
    SetLastError(NOTHING);
    HANDLE again = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 4096, wide);
    ck_assert_ptr_nonnull(again);
    ck_assert_uint_eq(GetLastError(), ERROR_ALREADY_EXISTS);
    unsigned char *same = view_of(again, FILE_MAP_READ);
    ck_assert_uint_eq(same[3], 33);
    ck_assert_uint_eq(query(same + 2 * MIB).RegionSize, 2 * MIB); /* its size, not what was asked for */
    HANDLE global = make(PAGE_READWRITE, MIB, "Global\\block");
    ck_assert_uint_eq(GetLastError(), NO_ERROR); /* another object */
    ck_assert(CloseHandle(global));
    ck_assert(UnmapViewOfFile(same) && CloseHandle(again) && CloseHandle(section));
    ck_assert(UnmapViewOfFile(view)); /* the last that it has */
    ck_error(OpenFileMapping(FILE_MAP_READ, FALSE, "block"), NULL, ERROR_FILE_NOT_FOUND);
}
END_TEST

static const char long_name[] =
    "Local\\"
    "a name that is longer than the name of a file may be ......................... "
    "a name that is longer than the name of a file may be ......................... "
    "a name that is longer than the name of a file may be ......................... 12345678";

static int other_opens_long(void)
{
    HANDLE section = OpenFileMapping(FILE_MAP_READ, FALSE, long_name);
    const unsigned char *view = section != NULL ? MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0) : NULL;
    MEMORY_BASIC_INFORMATION info;
    if (view == NULL || VirtualQuery(view, &info, sizeof info) == 0)
        return 1;
    return info.RegionSize == 3 * MIB && view[3] == 77 ? 0 : 2;
}

START_TEST(a_name_has_up_to_260_units)
{
    HANDLE section = make(PAGE_READWRITE, 3 * MIB, long_name);
    ck_assert_ptr_nonnull(section);
    unsigned char *view = view_of(section, FILE_MAP_WRITE);
    ck_pages(view, MEM_COMMIT, PAGE_READWRITE, 3 * MIB);
    ck_error(MapViewOfFile(section, FILE_MAP_READ, 0, 3 * MIB, 0), NULL, ERROR_INVALID_PARAMETER);
    view[3] = 77;
    elsewhere(other_opens_long);
    ck_assert(UnmapViewOfFile(view) && CloseHandle(section));
    ck_error(OpenFileMapping(FILE_MAP_READ, FALSE, long_name), NULL, ERROR_FILE_NOT_FOUND);

    char name[261];
    WCHAR wide[261];
    static const int lengths[] = {180, 193, 194, 195, 200, 201, 250, 259, 260};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        memset(name, 'q', sizeof name);
        for (int at = 0; at < lengths[i]; at++)
            wide[at] = 'q';
        name[lengths[i]] = wide[lengths[i]] = 0;
        HANDLE one = make(PAGE_READWRITE | SEC_RESERVE, MIB, name);
        ck_assert_ptr_nonnull(one);
        ck_assert_uint_eq(GetLastError(), NO_ERROR);
        HANDLE same = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 1, wide);
        ck_assert_uint_eq(GetLastError(), ERROR_ALREADY_EXISTS);
        wide[lengths[i] - 1] = 0x20ac;
        HANDLE other = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 1, wide);
        ck_assert_uint_eq(GetLastError(), NO_ERROR);
        ck_assert(CloseHandle(one) && CloseHandle(same) && CloseHandle(other));
    }
    for (int at = 0; at < 260; at++)
        wide[at] = 0x20ac; /* three bytes of UTF-8 */
    wide[260] = 0;
    HANDLE section_of_euros = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 1, wide);
    ck_assert_ptr_nonnull(section_of_euros);
    HANDLE same = OpenFileMappingW(FILE_MAP_READ, FALSE, wide);
    ck_assert_ptr_nonnull(same);
    ck_assert(CloseHandle(same) && CloseHandle(section_of_euros));
}
END_TEST

static int other_cannot_write(void)
{
    HANDLE section = OpenFileMapping(FILE_MAP_WRITE, FALSE, "readable");
    if (section == NULL)
        return 1;
    if (MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0) != NULL)
        return 2;
    section = OpenFileMapping(FILE_MAP_READ, FALSE, "readable");
    return section != NULL && MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0) != NULL ? 0 : 3;
}

START_TEST(what_was_made_to_be_read_is_not_written)
{
    HANDLE section = make(PAGE_READONLY, MIB, "readable");
    ck_assert_ptr_nonnull(section);
    HANDLE opened = OpenFileMapping(FILE_MAP_WRITE | FILE_MAP_READ, FALSE, "readable");
    ck_assert_ptr_nonnull(opened);
    ck_error(MapViewOfFile(opened, FILE_MAP_WRITE, 0, 0, 0), NULL, ERROR_ACCESS_DENIED);
    unsigned char *view = view_of(opened, FILE_MAP_READ);
    ck_pages(view, MEM_COMMIT, PAGE_READONLY, MIB);
    HANDLE again = make(PAGE_READWRITE, MIB, "readable");
    ck_assert_uint_eq(GetLastError(), ERROR_ALREADY_EXISTS);
    ck_error(MapViewOfFile(again, FILE_MAP_WRITE, 0, 0, 0), NULL, ERROR_ACCESS_DENIED);
    elsewhere(other_cannot_write);
    ck_assert(UnmapViewOfFile(view) && CloseHandle(again) && CloseHandle(opened) && CloseHandle(section));
    section = make(PAGE_READWRITE, MIB, "readable"); /* the name may be another's now */
    view = view_of(section, FILE_MAP_WRITE);
    view[0] = 1;
    ck_error(MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_EXECUTE, 0, 0, 0), NULL, ERROR_ACCESS_DENIED);
    ck_assert(UnmapViewOfFile(view) && CloseHandle(section));
}
END_TEST

START_TEST(a_section_without_a_name_is_told_to_be_new)
{
    SetLastError(NOTHING);
    HANDLE section = make(PAGE_READWRITE, MIB, NULL);
    ck_assert_uint_eq(GetLastError(), NO_ERROR);
    ck_assert(CloseHandle(section));
}
END_TEST

START_TEST(a_number_that_is_no_handle_is_refused)
{
    static const uintptr_t numbers[] = {0x4004, 0x10000, 0x12345678, 0x7fff12340000, 0x7ffffffc};
    const HANDLE here = GetCurrentProcess();
    HANDLE target = NULL;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        HANDLE wild = (HANDLE)numbers[i];
        ck_error(CloseHandle(wild), FALSE, ERROR_INVALID_HANDLE);
        ck_error(MapViewOfFile(wild, FILE_MAP_READ, 0, 0, 0), NULL, ERROR_INVALID_HANDLE);
        ck_error(CreateFileMapping(wild, NULL, PAGE_READWRITE, 0, 4096, NULL), NULL, ERROR_INVALID_HANDLE);
        ck_error(DuplicateHandle(here, wild, here, &target, 0, FALSE, 2), FALSE, ERROR_INVALID_HANDLE);
        ck_error(DuplicateHandle(wild, here, here, &target, 0, FALSE, 2), FALSE, ERROR_INVALID_HANDLE);
    }
    ck_assert_ptr_null(target);
}
END_TEST

/* ---------------------------------------------------------------- files */

START_TEST(a_file_is_mapped_and_made_longer)
{
    HANDLE file = file_open(true);
    ck_error(CreateFileMapping(file, NULL, PAGE_READWRITE, 0, 0, NULL), NULL, ERROR_FILE_INVALID);
    ck_error(CreateFileMapping(file, NULL, PAGE_READONLY, 0, 4096, NULL), NULL, ERROR_NOT_ENOUGH_MEMORY);
    HANDLE section = CreateFileMapping(file, NULL, PAGE_READWRITE, 0, 70000, NULL);
    ck_assert_ptr_nonnull(section);
    ck_assert(CloseHandle(file));
    unsigned char *view = view_of(section, FILE_MAP_WRITE), *copy = view_of(section, FILE_MAP_COPY);
    view[69999] = 'x';
    copy[0] = 'c';
    ck_assert(FlushViewOfFile(view, 0));
    ck_error(FlushViewOfFile(&file, 0), FALSE, ERROR_INVALID_ADDRESS);
    ck_assert_int_eq(file_byte(69999), 'x');
    ck_assert_int_eq(file_byte(0), 0);
    ck_error(VirtualAlloc(view, 4096, MEM_RESET, PAGE_READWRITE), NULL, ERROR_INVALID_PARAMETER);
    ck_assert(UnmapViewOfFile(view) && UnmapViewOfFile(copy) && CloseHandle(section));
    file_end();
}
END_TEST

/* ---------------------------------------------------------------- virtual memory */

START_TEST(memory_is_reserved_committed_and_given_back)
{
    unsigned char *base = VirtualAlloc(NULL, MIB + 5, MEM_RESERVE | MEM_TOP_DOWN, PAGE_READWRITE);
    ck_assert_uint_eq((uintptr_t)base % 65536, 0);
    ck_pages(base, MEM_RESERVE, 0, MIB + 4096);
    ck_assert_uint_eq(query(base).Type, MEM_PRIVATE);
    DWORD old = 77;
    ck_error(VirtualProtect(base, 4096, PAGE_READONLY, &old), FALSE, ERROR_INVALID_ADDRESS);
    ck_assert_uint_eq(old, 77);
    ck_assert_ptr_eq(VirtualAlloc(base + 5000, 4096, MEM_COMMIT, PAGE_READWRITE), base + 4096); /* two pages */
    ck_pages(base, MEM_RESERVE, 0, 4096);
    ck_pages(base + 4096, MEM_COMMIT, PAGE_READWRITE, 8192);
    base[4096] = 1;
    ck_assert(VirtualProtect(base + 4096, 1, PAGE_READONLY, &old));
    ck_assert_uint_eq(old, PAGE_READWRITE);
    ck_pages(base + 4096, MEM_COMMIT, PAGE_READONLY, 4096);
    ck_error(VirtualProtect(base + 4096, 4096, PAGE_READONLY, NULL), FALSE, ERROR_NOACCESS);
    ck_error(VirtualProtect(base + 4096, 4096, 3, &old), FALSE, ERROR_INVALID_PARAMETER);
    ck_assert_ptr_eq(VirtualAlloc(base + 4096, 8192, MEM_COMMIT, PAGE_READWRITE), base + 4096);
    ck_assert_uint_eq(base[4096], 1);
    ck_assert_ptr_eq(VirtualAlloc(base + 4096, 8192, MEM_RESET, PAGE_NOACCESS), base + 4096);
    ck_assert_uint_le(base[4096], 1);
    base[4096] = 2;
    ck_assert(VirtualFree(base + 4096, 4096, MEM_DECOMMIT));
    ck_pages(base, MEM_RESERVE, 0, 8192);
    ck_assert_ptr_nonnull(VirtualAlloc(base + 4096, 1, MEM_COMMIT, PAGE_READWRITE));
    ck_assert_uint_eq(base[4096], 0);
    ck_error(VirtualFree(base, 4096, MEM_RELEASE), FALSE, ERROR_INVALID_PARAMETER);
    ck_error(VirtualFree(base + 4096, 0, MEM_RELEASE), FALSE, ERROR_INVALID_ADDRESS);
    ck_error(VirtualFree(base + 4096, 0, MEM_DECOMMIT), FALSE, ERROR_INVALID_ADDRESS);
    ck_error(VirtualFree(base, 0, 0), FALSE, ERROR_INVALID_PARAMETER);
    ck_error(VirtualFree(base, 0, MEM_FREE), FALSE, ERROR_INVALID_PARAMETER);
    ck_assert(VirtualFree(base, 0, MEM_DECOMMIT));
    ck_pages(base, MEM_RESERVE, 0, MIB + 4096);
    ck_assert(VirtualFree(base, 0, MEM_RELEASE));
    ck_error(VirtualFree(base, 0, MEM_RELEASE), FALSE, ERROR_INVALID_ADDRESS);
    ck_error(VirtualAlloc(base, 4096, MEM_COMMIT, PAGE_READWRITE), NULL, ERROR_INVALID_ADDRESS);
    ck_assert_ptr_eq(VirtualAlloc(base + 10, 4096, MEM_RESERVE | MEM_COMMIT, PAGE_READONLY), base);
    ck_pages(base, MEM_COMMIT, PAGE_READONLY, 8192);
    ck_error(VirtualAlloc(base, 4096, MEM_RESERVE, PAGE_READONLY), NULL, ERROR_INVALID_ADDRESS);
    ck_assert(VirtualFree(base, 0, MEM_RELEASE));
}
END_TEST

START_TEST(wrong_arguments_get_no_memory)
{
    ck_error(VirtualAlloc(NULL, 0, MEM_COMMIT, PAGE_READWRITE), NULL, ERROR_INVALID_PARAMETER);
    ck_error(VirtualAlloc(NULL, 4096, MEM_COMMIT, 0), NULL, ERROR_INVALID_PARAMETER);
    ck_error(VirtualAlloc(NULL, 4096, MEM_COMMIT, 6), NULL, ERROR_INVALID_PARAMETER);
    ck_error(VirtualAlloc(NULL, 4096, MEM_COMMIT, PAGE_WRITECOPY), NULL, ERROR_INVALID_PARAMETER);
    ck_error(VirtualAlloc(NULL, 4096, 0, PAGE_READWRITE), NULL, ERROR_INVALID_PARAMETER);
    ck_error(VirtualAlloc(NULL, 4096, 0x10, PAGE_READWRITE), NULL, ERROR_INVALID_PARAMETER);
    ck_error(VirtualAlloc(NULL, (SIZE_T)-1, MEM_RESERVE, PAGE_READWRITE), NULL, ERROR_INVALID_PARAMETER);
    ck_error(VirtualAlloc(NULL, (SIZE_T)1 << 50, MEM_RESERVE, PAGE_READWRITE), NULL, ERROR_INVALID_PARAMETER);
    ck_error(VirtualAlloc(NULL, (SIZE_T)0x7ff000000000, MEM_RESERVE, PAGE_READWRITE), NULL, ERROR_NOT_ENOUGH_MEMORY);
}
END_TEST

START_TEST(any_address_can_be_asked_about)
{
    static const char constant[] = "text";
    int local = 0;
    ck_assert_uint_eq(query(constant).State, MEM_COMMIT);
    ck_assert_uint_eq(query(constant).Protect, PAGE_READONLY);
    MEMORY_BASIC_INFORMATION info = query(&local);
    ck_assert_uint_eq(info.Protect, PAGE_READWRITE);
    ck_assert_uint_eq(info.Type, MEM_PRIVATE);
    void *gone = VirtualAlloc(NULL, 65536, MEM_RESERVE, PAGE_READWRITE);
    ck_assert(VirtualFree(gone, 0, MEM_RELEASE));
    ck_assert_uint_eq(query(gone).State, MEM_FREE);
    ck_error(VirtualQuery((void *)((uintptr_t)1 << 62), &info, sizeof info), 0, ERROR_INVALID_PARAMETER);
    ck_error(VirtualQuery(&local, &info, 8), 0, ERROR_BAD_LENGTH);
    SYSTEM_INFO system;
    GetSystemInfo(&system);
    const unsigned char *at = NULL; /* one region after the other, to the end of all */
    for (int regions = 0; VirtualQuery(at, &info, sizeof info) != 0 && regions < 100000; regions++) {
        if (info.BaseAddress != at || info.RegionSize == 0)
            break;
        at += info.RegionSize;
    }
    ck_assert_ptr_eq(at, (unsigned char *)system.lpMaximumApplicationAddress + 1);
    ck_assert_uint_eq(system.dwAllocationGranularity, 65536);
    ck_assert_uint_eq(system.dwPageSize, 4096);
    ck_assert_uint_gt(system.dwNumberOfProcessors, 0);
}
END_TEST

/* ---------------------------------------------------------------- holes */

static int touch(unsigned char *address)
{
    volatile int seen = -1;
    __try {
        seen = *address;
    } __except (GetExceptionCode() == EXCEPTION_ACCESS_VIOLATION ? EXCEPTION_EXECUTE_HANDLER
                                                                 : EXCEPTION_CONTINUE_SEARCH) {
        seen = -2;
    }
    return seen;
}

static int commit_elsewhere(void)
{
    HANDLE section = OpenFileMapping(FILE_MAP_WRITE, FALSE, "block");
    unsigned char *view = section != NULL ? MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0) : NULL;
    if (view == NULL || touch(view + MIB) != -2)
        return 1;
    if (VirtualAlloc(view + MIB, MIB, MEM_COMMIT, PAGE_READWRITE) == NULL)
        return 2;
    view[MIB] = 42;
    return 0;
}

START_TEST(a_hole_faults_until_somebody_commits_it)
{
    ck_assert(!CairnFaultOnHoles(TRUE));
    HANDLE section = make(PAGE_READWRITE | SEC_RESERVE, 4 * MIB, "block");
    unsigned char *view = view_of(section, FILE_MAP_WRITE);
    ck_assert_ptr_nonnull(VirtualAlloc(view + 3 * MIB, MIB, MEM_COMMIT, PAGE_READWRITE));
    ck_assert_int_eq(touch(view + 3 * MIB), 0);
    ck_assert_int_eq(touch(view + MIB), -2);
    elsewhere(commit_elsewhere);
    ck_assert_int_eq(touch(view + MIB), 42);
    ck_assert_int_eq(touch(view + MIB + 5000), 0);
    ck_assert_int_eq(touch(view), -2);
    ck_assert(CairnFaultOnHoles(FALSE));
    ck_assert(UnmapViewOfFile(view) && CloseHandle(section));
}
END_TEST

START_TEST(each_name_that_is_none_has_its_error)
{
    static const WCHAR backslash[] = {'a', '\\', 'b', 0}, nobody[] = {'n', 'o', 'b', 'o', 'd', 'y', 0}, empty[] = {0};
    static const WCHAR local[] = {'L', 'o', 'c', 'a', 'l', '\\', 0};
    WCHAR longer[400];
    for (size_t i = 0; i < COUNT(longer); i++)
        longer[i] = i < COUNT(longer) - 1 ? 'x' : 0;
    const HANDLE memory = INVALID_HANDLE_VALUE;
    HANDLE unnamed = CreateFileMappingW(memory, NULL, PAGE_READWRITE, 0, 1, empty);
    ck_assert_ptr_nonnull(unnamed);
    ck_assert(CloseHandle(unnamed));
    ck_error(CreateFileMappingW(memory, NULL, PAGE_READWRITE, 0, 1, backslash), NULL, ERROR_PATH_NOT_FOUND);
    ck_error(CreateFileMappingW(memory, NULL, PAGE_READWRITE, 0, 1, longer), NULL, ERROR_FILENAME_EXCED_RANGE);
    ck_error(CreateFileMappingW(memory, NULL, PAGE_READWRITE, 0, 0, nobody), NULL, ERROR_INVALID_PARAMETER);
    ck_error(CreateFileMappingW(NULL, NULL, PAGE_READWRITE, 0, 1, NULL), NULL, ERROR_INVALID_HANDLE);
    ck_error(OpenFileMappingW(FILE_MAP_READ, FALSE, empty), NULL, ERROR_INVALID_HANDLE);
    ck_error(OpenFileMappingW(FILE_MAP_READ, FALSE, local), NULL, ERROR_INVALID_NAME);
    ck_error(CreateFileMappingW(memory, NULL, PAGE_READWRITE, 0, 1, local), NULL, ERROR_INVALID_NAME);
    ck_error(OpenFileMappingW(FILE_MAP_READ, FALSE, backslash), NULL, ERROR_PATH_NOT_FOUND);
    ck_error(OpenFileMappingW(FILE_MAP_READ, FALSE, longer), NULL, ERROR_FILENAME_EXCED_RANGE);
    ck_error(OpenFileMappingW(FILE_MAP_READ, FALSE, nobody), NULL, ERROR_FILE_NOT_FOUND);
    ck_error(OpenFileMappingW(FILE_MAP_READ, FALSE, NULL), NULL, ERROR_INVALID_PARAMETER);
    ck_error(OpenFileMapping(FILE_MAP_READ, FALSE, ""), NULL, ERROR_INVALID_HANDLE);
    ck_error(OpenFileMapping(FILE_MAP_READ, FALSE, "Local\\"), NULL, ERROR_INVALID_NAME);
    ck_error(OpenFileMapping(FILE_MAP_READ, FALSE, "a\\b"), NULL, ERROR_PATH_NOT_FOUND);
}
END_TEST

START_TEST(a_name_that_is_there_is_told)
{
    HANDLE section = make(PAGE_READWRITE, MIB, "twice");
    ck_assert_ptr_nonnull(section);
    SetLastError(NOTHING);
    HANDLE again = make(PAGE_READWRITE, 5 * MIB, "twice");
    ck_assert_ptr_nonnull(again);
    ck_assert_uint_eq(GetLastError(), ERROR_ALREADY_EXISTS);
    ck_error(MapViewOfFile(again, FILE_MAP_READ, 0, 0, 2 * MIB), NULL, ERROR_ACCESS_DENIED); /* the size of the first */
    ck_assert(CloseHandle(section) && CloseHandle(again));
}
END_TEST

START_TEST(files_have_their_errors)
{
    HANDLE writes = file_open(true), reads = file_open(false);
    HANDLE longer = CreateFileMapping(writes, NULL, PAGE_READWRITE, 0, 65536, NULL);
    ck_assert_ptr_nonnull(longer);
    ck_assert(CloseHandle(longer));
    ck_error(CreateFileMapping(reads, NULL, PAGE_READWRITE, 0, 0, NULL), NULL, ERROR_ACCESS_DENIED);
    ck_error(CreateFileMapping(writes, NULL, PAGE_READWRITE, 0x80000000, 0, NULL), NULL, ERROR_DISK_FULL);
    ck_error(MapViewOfFile(writes, FILE_MAP_READ, 0, 0, 0), NULL, ERROR_INVALID_HANDLE); /* the file, no mapping */
    HANDLE mapping = CreateFileMapping(reads, NULL, PAGE_READONLY, 0, 0, NULL);
    ck_assert_ptr_nonnull(mapping);
    ck_error(MapViewOfFile(mapping, FILE_MAP_WRITE, 0, 0, 0), NULL, ERROR_ACCESS_DENIED);
    BYTE *view = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    ck_assert_ptr_nonnull(view);
    ck_error(FlushViewOfFile(view, 65537), FALSE, ERROR_INVALID_ADDRESS);
    ck_error(VirtualFree(view, 0, MEM_RELEASE), FALSE, ERROR_INVALID_PARAMETER);
    ck_error(UnmapViewOfFile(view + 65536), FALSE, ERROR_INVALID_ADDRESS);
    ck_assert(UnmapViewOfFile(view) && CloseHandle(mapping) && CloseHandle(reads) && CloseHandle(writes));
    file_end();
}
END_TEST

START_TEST(ranges_have_their_errors)
{
    DWORD old;
    HANDLE target;
    const HANDLE here = GetCurrentProcess();
    BYTE *base = VirtualAlloc(NULL, 2 * 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ck_assert_ptr_nonnull(base);
    ck_error(VirtualFree(NULL, 0, MEM_RELEASE), FALSE, ERROR_INVALID_ADDRESS);
    ck_error(VirtualFree(base + 65536, 2 * 65536, MEM_DECOMMIT), FALSE, ERROR_INVALID_PARAMETER);
    ck_error(VirtualProtect(base + 65536, 2 * 65536, PAGE_READONLY, &old), FALSE, ERROR_INVALID_ADDRESS);
    ck_error(VirtualProtect(base, 0, PAGE_READONLY, &old), FALSE, ERROR_INVALID_PARAMETER);
    ck_error(VirtualProtect(base, 4096, PAGE_WRITECOPY, &old), FALSE, ERROR_INVALID_PARAMETER);
    ck_error(UnmapViewOfFile(base), FALSE, ERROR_INVALID_ADDRESS); /* no view */
    ck_error(FlushViewOfFile(base, 0), FALSE, ERROR_INVALID_ADDRESS);
    ck_error(MapViewOfFile(NULL, FILE_MAP_READ, 0, 0, 0), NULL, ERROR_INVALID_HANDLE);
    ck_error(MapViewOfFileEx(NULL, FILE_MAP_READ, 0, 0, 0, NULL), NULL, ERROR_INVALID_HANDLE);
    ck_error(DuplicateHandle(here, NULL, here, &target, 0, FALSE, 2), FALSE, ERROR_INVALID_HANDLE);
    ck_error(CloseHandle(NULL), FALSE, ERROR_INVALID_HANDLE);
    ck_error(VirtualQuery(base, NULL, sizeof(MEMORY_BASIC_INFORMATION)), 0, ERROR_NOACCESS);
    ck_assert(VirtualFree(base, 0, MEM_RELEASE));
}
END_TEST

int main(void)
{
    if (names_begin() != 0)
        return EXIT_FAILURE;
    Suite *suite = suite_create("win32 sections");
    TCase *tests = suite_case(suite, "sections", 60);
    tcase_add_test(tests, wrong_arguments_make_no_section);
    tcase_add_test(tests, memory_that_is_not_there_is_no_section);
    tcase_add_test(tests, a_committed_section_is_there_and_zero);
    tcase_add_test(tests, a_view_commits_the_section_for_all_views);
    tcase_add_test(tests, a_reader_may_grow_but_not_write);
    tcase_add_test(tests, views_are_of_parts_and_at_places);
    tcase_add_test(tests, a_copy_is_the_processs_own);
    tcase_add_test(tests, handles_are_counted_and_carry_their_access);
    tcase_add_test(tests, a_source_that_was_closed_is_no_handle);
    tcase_add_test(tests, two_processes_grow_one_named_section);
    tcase_add_test(tests, a_name_has_up_to_260_units);
    tcase_add_test(tests, what_was_made_to_be_read_is_not_written);
    tcase_add_test(tests, a_section_without_a_name_is_told_to_be_new);
    tcase_add_test(tests, a_number_that_is_no_handle_is_refused);
    tcase_add_test(tests, a_file_is_mapped_and_made_longer);
    tcase_add_test(tests, memory_is_reserved_committed_and_given_back);
    tcase_add_test(tests, wrong_arguments_get_no_memory);
    tcase_add_test(tests, any_address_can_be_asked_about);
    tcase_add_test(tests, each_name_that_is_none_has_its_error);
    tcase_add_test(tests, a_name_that_is_there_is_told);
    tcase_add_test(tests, files_have_their_errors);
    tcase_add_test(tests, ranges_have_their_errors);
    if (UNDER_TSAN)
        puts("ThreadSanitizer does not know handlers that are left by a jump: no holes under it");
    else
        tcase_add_test(tests, a_hole_faults_until_somebody_commits_it);
    tcase_add_part(tests, other_opens);
    tcase_add_part(tests, other_opens_long);
    tcase_add_part(tests, other_cannot_write);
    tcase_add_part(tests, commit_elsewhere);
    return names_end(suite_run(suite));
}
