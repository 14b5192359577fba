/* SPDX-License-Identifier: MIT */
/*
 * FreeType on the calls of windows.h: Debian's library, with an FT_Memory that makes the calls which FreeType makes on
 * Windows (HeapAlloc, HeapReAlloc, HeapFree), and the font in a view of a file (CreateFileMapping, MapViewOfFile). What
 * it renders is what it renders on malloc and read(2), and at its end no block is left.
 */
#include <windows.h>

#include <fcntl.h>
#include <ft2build.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include FT_FREETYPE_H
#include FT_MODULE_H
#include FT_SYSTEM_H

#include "require.h"

static struct {
    unsigned long allocations, frees, reallocations, glyphs;
} calls;

/* ---------------------------------------------------------------- memory */

static void *ft_alloc(FT_Memory memory, long bytes)
{
    calls.allocations++;
    return HeapAlloc(memory->user, 0, (SIZE_T)bytes);
}

static void *ft_realloc(FT_Memory memory, long old_bytes, long bytes, void *block)
{
    calls.reallocations++;
    REQUIRE(HeapSize(memory->user, 0, block) == (SIZE_T)old_bytes);
    return HeapReAlloc(memory->user, 0, block, (SIZE_T)bytes);
}

static void ft_free(FT_Memory memory, void *block)
{
    calls.frees++;
    REQUIRE(HeapFree(memory->user, 0, block));
}

/* ---------------------------------------------------------------- the work */

static uint64_t render(FT_Face face)
{
    uint64_t hash = UINT64_C(1469598103934665603);
    for (FT_UInt size = 8; size <= 64; size += 8) {
        REQUIRE(FT_Set_Pixel_Sizes(face, 0, size) == 0);
        FT_UInt glyph;
        for (FT_ULong code = FT_Get_First_Char(face, &glyph); glyph != 0 && code < 0x600;
             code = FT_Get_Next_Char(face, code, &glyph)) {
            REQUIRE(FT_Load_Glyph(face, glyph, FT_LOAD_RENDER) == 0);
            const FT_Bitmap *bitmap = &face->glyph->bitmap;
            for (unsigned row = 0; row < bitmap->rows; row++)
                for (unsigned i = 0; i < bitmap->width; i++)
                    hash = (hash ^ bitmap->buffer[(int)row * bitmap->pitch + (int)i]) * UINT64_C(1099511628211);
            calls.glyphs++;
        }
    }
    return hash;
}

static uint64_t on_malloc(const char *font)
{
    FT_Library library;
    FT_Face face;
    REQUIRE(FT_Init_FreeType(&library) == 0);
    REQUIRE(FT_New_Face(library, font, 0, &face) == 0);
    uint64_t hash = render(face);
    REQUIRE(FT_Done_Face(face) == 0 && FT_Done_FreeType(library) == 0);
    return hash;
}

static int blocks_left(HANDLE heap)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    int count = 0;
    while (HeapWalk(heap, &entry))
        count += (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
    REQUIRE(GetLastError() == ERROR_NO_MORE_ITEMS);
    return count;
}

static uint64_t on_windows(const char *font)
{
    int descriptor = open(font, O_RDONLY | O_CLOEXEC);
    HANDLE file = CairnFileHandle(descriptor);
    HANDLE mapping = CreateFileMapping(file, NULL, PAGE_READONLY, 0, 0, NULL);
    REQUIRE(mapping != NULL);
    off_t bytes = lseek(descriptor, 0, SEEK_END);
    REQUIRE(CloseHandle(file) && close(descriptor) == 0); /* the mapping has what it needs */
    const FT_Byte *view = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    REQUIRE(view != NULL && CloseHandle(mapping));

    HANDLE heap = GetProcessHeap();
    struct FT_MemoryRec_ *memory = HeapAlloc(heap, 0, sizeof *memory);
    REQUIRE(memory != NULL);
    *memory = (struct FT_MemoryRec_){.user = heap, .alloc = ft_alloc, .free = ft_free, .realloc = ft_realloc};
    FT_Library library;
    FT_Face face;
    REQUIRE(FT_New_Library(memory, &library) == 0);
    FT_Add_Default_Modules(library);
    FT_Set_Default_Properties(library);
    REQUIRE(FT_New_Memory_Face(library, view, (FT_Long)bytes, 0, &face) == 0);
    uint64_t hash = render(face);
    REQUIRE(HeapValidate(heap, 0, NULL));
    REQUIRE(FT_Done_Face(face) == 0 && FT_Done_Library(library) == 0);
    REQUIRE(HeapFree(heap, 0, memory));
    REQUIRE(UnmapViewOfFile(view));
    REQUIRE(blocks_left(heap) == 0);
    return hash;
}

int main(int argc, char **argv)
{
    const char *font = argc > 1 ? argv[1] : "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";
    if (access(font, R_OK) < 0) {
        printf("SKIPPED: %s is not there (Debian package fonts-dejavu-core)\n", font);
        return 77;
    }
    uint64_t expected = on_malloc(font);
    calls.glyphs = 0;
    uint64_t seen = on_windows(font);
    printf("FreeType %d.%d.%d: %lu glyphs, %lu HeapAlloc, %lu HeapReAlloc, %lu HeapFree\n", FREETYPE_MAJOR,
           FREETYPE_MINOR, FREETYPE_PATCH, calls.glyphs, calls.allocations, calls.reallocations, calls.frees);
    REQUIRE(seen == expected);
    REQUIRE(calls.allocations == calls.frees && calls.allocations > 1000 && calls.reallocations > 10);
    REQUIRE(calls.glyphs > 1000);
    return 0;
}
