/* SPDX-License-Identifier: MIT */
/*
 * FreeType's own ftsystem.c for Windows, unchanged, in the place of the one for Unix: the program is linked with
 * FreeType's static library, which has this one file less. What it wants of Windows beside memory stands before it.
 */
#include <windows.h>

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define FT2_BUILD_LIBRARY /* as FreeType's own files are compiled */
#include "freetype.h"
#include "require.h"

#define _WIN32_WINNT 0x0600
#define GENERIC_READ 0x80000000u
#define FILE_SHARE_READ 1
#define OPEN_EXISTING 3
#define FILE_ATTRIBUTE_NORMAL 0x80

typedef union {
    struct {
        DWORD LowPart;
        LONG HighPart;
    };
    LONGLONG QuadPart;
} LARGE_INTEGER;

static LONGLONG bytes_of_last; /* of the file that was opened last: it asks before it opens another */

static HANDLE CreateFileA(LPCSTR name, DWORD access, DWORD share, void *attributes, DWORD how, DWORD flags, HANDLE like)
{
    (void)share, (void)attributes, (void)flags, (void)like;
    REQUIRE(access == GENERIC_READ && how == OPEN_EXISTING);
    int descriptor = open(name, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) < 0)
        return INVALID_HANDLE_VALUE;
    bytes_of_last = status.st_size;
    HANDLE file = CairnFileHandle(descriptor);
    close(descriptor);
    return file != NULL ? file : INVALID_HANDLE_VALUE;
}

static BOOL GetFileSizeEx(HANDLE file, LARGE_INTEGER *ret_bytes)
{
    (void)file;
    ret_bytes->QuadPart = bytes_of_last;
    return TRUE;
}

static BOOL ReadFile(HANDLE file, void *buffer, DWORD bytes, DWORD *ret_bytes, void *overlapped)
{
    (void)file, (void)buffer, (void)bytes, (void)ret_bytes, (void)overlapped;
    REQUIRE(!"a file that could not be mapped");
    return FALSE;
}

#include "ftsystem.c"

const char *const system_is = "builds/windows/ftsystem.c";

void font_open(const char *font, FT_Library *ret_library, FT_Face *ret_face)
{
    REQUIRE(FT_Init_FreeType(ret_library) == 0);
    REQUIRE(FT_New_Face(*ret_library, font, 0, ret_face) == 0);
}

void font_close(FT_Library library, FT_Face face)
{
    REQUIRE(FT_Done_Face(face) == 0 && FT_Done_FreeType(library) == 0);
}
