/* SPDX-License-Identifier: MIT */
/* An FT_Memory of our own, with the calls that FreeType makes on Windows; freetype_windows.c has FreeType's. */
#include <windows.h>

#include "freetype.h"

#include <fcntl.h>
#include <unistd.h>
#include FT_MODULE_H
#include FT_SYSTEM_H

#include "require.h"

const char *const system_is = "memory of ours";
static struct FT_MemoryRec_ *memory;
static const FT_Byte *view;

static void *ft_alloc(FT_Memory self, long bytes)
{
    return HeapAlloc(self->user, 0, (SIZE_T)bytes);
}

static void *ft_realloc(FT_Memory self, long old_bytes, long bytes, void *block)
{
    REQUIRE(HeapSize(self->user, 0, block) == (SIZE_T)old_bytes);
    return HeapReAlloc(self->user, 0, block, (SIZE_T)bytes);
}

static void ft_free(FT_Memory self, void *block)
{
    REQUIRE(HeapFree(self->user, 0, block));
}

void font_open(const char *font, FT_Library *ret_library, FT_Face *ret_face)
{
    int descriptor = open(font, O_RDONLY | O_CLOEXEC);
    HANDLE file = CairnFileHandle(descriptor);
    HANDLE mapping = CreateFileMapping(file, NULL, PAGE_READONLY, 0, 0, NULL);
    REQUIRE(mapping != NULL);
    off_t bytes = lseek(descriptor, 0, SEEK_END);
    REQUIRE(CloseHandle(file) && close(descriptor) == 0); /* the mapping has what it needs */
    view = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    REQUIRE(view != NULL && CloseHandle(mapping));

    memory = HeapAlloc(GetProcessHeap(), 0, sizeof *memory);
    REQUIRE(memory != NULL);
    *memory =
        (struct FT_MemoryRec_){.user = GetProcessHeap(), .alloc = ft_alloc, .free = ft_free, .realloc = ft_realloc};
    REQUIRE(FT_New_Library(memory, ret_library) == 0);
    FT_Add_Default_Modules(*ret_library);
    FT_Set_Default_Properties(*ret_library);
    REQUIRE(FT_New_Memory_Face(*ret_library, view, (FT_Long)bytes, 0, ret_face) == 0);
}

void font_close(FT_Library library, FT_Face face)
{
    REQUIRE(FT_Done_Face(face) == 0 && FT_Done_Library(library) == 0);
    REQUIRE(HeapFree(GetProcessHeap(), 0, memory));
    REQUIRE(UnmapViewOfFile(view));
}
