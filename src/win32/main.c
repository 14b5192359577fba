/* SPDX-License-Identifier: MIT */
/*
 * The entry of programs that begin with wmain, in C or in C++ (whose compilers give it another name). Its wchar_t is
 * the compiler's of this file: 32 bits. What is no text in the user's locale is passed as the bytes it has.
 */
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

int wmain(int argc, wchar_t **argv) __attribute__((weak));
int wmain_cpp(int argc, wchar_t **argv) __asm__("_Z5wmainiPPw") __attribute__((weak));

static wchar_t *widen(const char *text)
{
    size_t room = 1;
    for (const char *at = text; *at != '\0'; at++)
        room++;
    wchar_t *wide = calloc(room, sizeof *wide);
    if (wide == NULL)
        return NULL;
    if (mbstowcs(wide, text, room) == (size_t)-1)
        for (size_t i = 0; i < room; i++)
            wide[i] = (unsigned char)text[i];
    return wide;
}

int main(int argc, char **argv)
{
    if (wmain == NULL && wmain_cpp == NULL) {
        (void)fputs("cairn-win32-main: the program has no wmain\n", stderr);
        return 127;
    }
    (void)setlocale(LC_CTYPE, "");
    wchar_t **wide = calloc((size_t)argc + 1, sizeof *wide);
    wchar_t **all = calloc((size_t)argc + 1, sizeof *all); /* the program may change its own list */
    bool is_there = wide != NULL && all != NULL;
    for (int i = 0; is_there && i < argc; i++) {
        wide[i] = all[i] = widen(argv[i]);
        is_there = wide[i] != NULL;
    }
    (void)setlocale(LC_CTYPE, "C"); /* as a program begins */
    int status = 127;
    if (is_there)
        status = wmain != NULL ? wmain(argc, wide) : wmain_cpp(argc, wide);
    else
        (void)fputs("cairn-win32-main: no memory for the arguments\n", stderr);
    for (int i = 0; all != NULL && i < argc; i++)
        free(all[i]);
    free(all);
    free(wide);
    return status;
}
