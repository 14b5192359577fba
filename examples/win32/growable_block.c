/* SPDX-License-Identifier: MIT */
/*
 * A block of shared memory that grows, as a program for Windows does it, in four steps: all committed; only reserved;
 * some of it committed; more committed. After each step the file that holds the block is asked, from outside, how much
 * memory it has. Where /dev/shm is small, everything is 64 times smaller.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <wchar.h>
#include <windows.h>

#define NAME "growable_block_example"

static SIZE_T view_size = (SIZE_T)512 << 20;
static SIZE_T block_size = (SIZE_T)100 << 20;

/* Bookkeeping is a few pages: within 2 % of the smallest block here. */
static int committed_outside(SIZE_T wanted)
{
    char path[4096];
    struct stat status;
    const char *directory = getenv("CAIRN_DIR");
    if (directory != NULL)
        snprintf(path, sizeof path, "%s/win32." NAME, directory);
    else
        snprintf(path, sizeof path, "/dev/shm/cairn-%u/win32." NAME, (unsigned)getuid());
    if (stat(path, &status) < 0) {
        perror(path);
        return 0;
    }
    SIZE_T bytes = (SIZE_T)status.st_blocks * 512;
    printf("  its file has %zu KiB, for %zu KiB committed\n", bytes >> 10, wanted >> 10);
    return bytes >= wanted && bytes <= wanted + block_size / 50;
}

static int is_committed(const void *address, int wanted)
{
    MEMORY_BASIC_INFORMATION info;
    VirtualQuery(address, &info, sizeof info);
    int committed = (info.State & MEM_COMMIT) != 0;
    printf("  memory at %p is %s\n", address, committed ? "committed" : "not committed");
    return committed == wanted;
}

static HANDLE create(DWORD kind)
{
    return CreateFileMapping(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE | kind, 0, (DWORD)view_size, NAME);
}

int wmain(int argc, wchar_t **argv);
int wmain(int argc, wchar_t **argv)
{
    (void)argc;
    (void)argv;
    struct statvfs space;
    if (statvfs("/dev/shm", &space) < 0 || (SIZE_T)space.f_bavail * space.f_frsize < (SIZE_T)1 << 30) {
        view_size /= 64;
        block_size /= 64;
        block_size &= ~(SIZE_T)65535;
    }
    int right = 1;

    puts("created with no flags:");
    HANDLE section = create(0);
    if (section == NULL) {
        fprintf(stderr, "CreateFileMapping: error %u\n", GetLastError());
        return 1;
    }
    BYTE *view = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, view_size);
    right &= view != NULL && is_committed(view, 1) && is_committed(view + view_size - 1, 1);
    right &= committed_outside(view_size);
    UnmapViewOfFile(view);
    CloseHandle(section);

    puts("created with SEC_RESERVE:");
    section = create(SEC_RESERVE);
    view = section != NULL ? MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, view_size) : NULL;
    if (view == NULL)
        return 1;
    right &= is_committed(view, 0) && is_committed(view + view_size - 1, 0) && committed_outside(0);

    for (int step = 0; step < 2; step++) {
        puts(step == 0 ? "some of it committed:" : "more committed:");
        BYTE *from = view + (SIZE_T)step * block_size;
        if (VirtualAlloc(from, block_size, MEM_COMMIT, PAGE_READWRITE) == NULL)
            return 1;
        right &= is_committed(view, 1) && is_committed(from + block_size - 1, 1) && is_committed(from + block_size, 0);
        right &= is_committed(view + view_size - 1, 0) && committed_outside((SIZE_T)(step + 1) * block_size);
    }
    UnmapViewOfFile(view);
    CloseHandle(section);
    puts(right ? "all as it should be" : "NOT as it should be");
    return !right;
}
