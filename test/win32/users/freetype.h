/* SPDX-License-Identifier: MIT */
/* freetype: FreeType with its memory, and its font, from the calls of windows.h; one file of the program has it. */
#ifndef CAIRN_TEST_WIN32_USERS_FREETYPE_H
#define CAIRN_TEST_WIN32_USERS_FREETYPE_H

#include <ft2build.h>
#include FT_FREETYPE_H

extern const char *const system_is; /* whose it is */

void font_open(const char *font, FT_Library *ret_library, FT_Face *ret_face);
void font_close(FT_Library library, FT_Face face);

#endif
