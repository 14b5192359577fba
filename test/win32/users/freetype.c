/* SPDX-License-Identifier: MIT */
/*
 * FreeType on the calls of windows.h: Debian's library, with memory by HeapAlloc, HeapReAlloc and HeapFree, and the
 * font in a view of a file (CreateFileMapping, MapViewOfFile), as it has them on Windows. What it renders is what it
 * renders with malloc and a font in plain memory, and at its end no block is left.
 */
#include "freetype.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include FT_MODULE_H
#include FT_SYSTEM_H

#include "calls.h"
#include "require.h"

static unsigned long glyphs;

static uint64_t render(FT_Face face)
{
    uint64_t hash = UINT64_C(1469598103934665603);
    glyphs = 0;
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
            glyphs++;
        }
    }
    return hash;
}

/* ---------------------------------------------------------------- on malloc */

static void *plain_alloc(FT_Memory memory, long bytes)
{
    (void)memory;
    return malloc((size_t)bytes);
}

static void *plain_realloc(FT_Memory memory, long old_bytes, long bytes, void *block)
{
    (void)memory, (void)old_bytes;
    return realloc(block, (size_t)bytes);
}

static void plain_free(FT_Memory memory, void *block)
{
    (void)memory;
    free(block);
}

static unsigned char *contents(const char *path, FT_Long *ret_bytes)
{
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL && fseek(file, 0, SEEK_END) == 0);
    *ret_bytes = ftell(file);
    unsigned char *bytes = malloc((size_t)*ret_bytes);
    REQUIRE(bytes != NULL && fseek(file, 0, SEEK_SET) == 0);
    REQUIRE(fread(bytes, 1, (size_t)*ret_bytes, file) == (size_t)*ret_bytes && fclose(file) == 0);
    return bytes;
}

static uint64_t on_malloc(const char *path)
{
    static struct FT_MemoryRec_ memory = {.alloc = plain_alloc, .free = plain_free, .realloc = plain_realloc};
    FT_Library library;
    FT_Face face;
    FT_Long bytes;
    unsigned char *font = contents(path, &bytes);
    REQUIRE(FT_New_Library(&memory, &library) == 0);
    FT_Add_Default_Modules(library);
    FT_Set_Default_Properties(library);
    REQUIRE(FT_New_Memory_Face(library, font, bytes, 0, &face) == 0);
    uint64_t hash = render(face);
    REQUIRE(FT_Done_Face(face) == 0 && FT_Done_Library(library) == 0);
    free(font);
    return hash;
}

/* ---------------------------------------------------------------- on the calls */

static int blocks_left(void)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};
    int count = 0;
    while (HeapWalk(GetProcessHeap(), &entry))
        count += (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
    REQUIRE(GetLastError() == ERROR_NO_MORE_ITEMS);
    return count;
}

static uint64_t on_the_calls(const char *font)
{
    FT_Library library;
    FT_Face face;
    font_open(font, &library, &face);
    uint64_t hash = render(face);
    REQUIRE(HeapValidate(GetProcessHeap(), 0, NULL));
    font_close(library, face);
    REQUIRE(blocks_left() == 0);
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
    REQUIRE(calls.HeapAlloc == 0);
    calls_reset();
    uint64_t seen = on_the_calls(font);
    char who[100];
    snprintf(who, sizeof who, "FreeType %d.%d.%d, %s, %lu glyphs", FREETYPE_MAJOR, FREETYPE_MINOR, FREETYPE_PATCH,
             system_is, glyphs);
    calls_print(who);
    REQUIRE(seen == expected);
    REQUIRE(calls.failed == 0 && glyphs > 1000);
    REQUIRE(calls.HeapAlloc == calls.HeapFree && calls.HeapAlloc > 1000 && calls.HeapReAlloc > 10);
    REQUIRE(calls.CreateFileMappingA == 1 && calls.MapViewOfFile == 1 && calls.UnmapViewOfFile == 1);
    return 0;
}
