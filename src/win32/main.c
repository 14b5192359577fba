/* SPDX-License-Identifier: MIT */
/*
 * The entry of programs that begin with wmain, in C or in C++ (whose compilers give each of its forms a name). Its
 * wchar_t is the compiler's of this file: 32 bits. What is no text in the user's locale is passed as the bytes it has.
 */
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

typedef int entry(int argc, wchar_t **argv, wchar_t **envp);

/* All get all three: what a form does not take it does not see. */
entry wmain __attribute__((weak));
entry wmain_cpp __asm__("_Z5wmainiPPw") __attribute__((weak));
entry wmain_cpp_none __asm__("_Z5wmainv") __attribute__((weak));
entry wmain_cpp_all __asm__("_Z5wmainiPPwS0_") __attribute__((weak));
entry wmain_cpp_const __asm__("_Z5wmainiPPKw") __attribute__((weak));
entry wmain_cpp_all_const __asm__("_Z5wmainiPPKwS1_") __attribute__((weak));

static entry *the_entry(void)
{
    entry *const all[] = {wmain, wmain_cpp, wmain_cpp_none, wmain_cpp_all, wmain_cpp_const, wmain_cpp_all_const};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i] != NULL)
            return all[i];
    return NULL;
}

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

/* A list that ends with NULL. The program may change its list, so there are two: the second is for list_free. */
struct list {
    wchar_t **given, **all;
};

static void list_free(struct list list)
{
    for (size_t i = 0; list.all != NULL && list.all[i] != NULL; i++)
        free(list.all[i]);
    free(list.all);
    free(list.given);
}

static bool list_make(struct list *ret_list, char **texts)
{
    size_t count = 0;
    while (texts[count] != NULL)
        count++;
    struct list list = {calloc(count + 1, sizeof *list.given), calloc(count + 1, sizeof *list.all)};
    bool is_there = list.given != NULL && list.all != NULL;
    for (size_t i = 0; is_there && i < count; i++) {
        list.given[i] = list.all[i] = widen(texts[i]);
        is_there = list.all[i] != NULL;
    }
    *ret_list = list;
    return is_there;
}

int main(int argc, char **argv, char **envp)
{
    entry *program = the_entry();
    if (program == NULL) {
        (void)fputs("cairn-win32-main: the program has no wmain\n", stderr);
        return 127;
    }
    struct list arguments = {0}, environment = {0};
    (void)setlocale(LC_CTYPE, "");
    bool is_there = list_make(&arguments, argv) && list_make(&environment, envp);
    (void)setlocale(LC_CTYPE, "C"); /* as a program begins */
    int status = 127;
    if (is_there)
        status = program(argc, arguments.given, environment.given);
    else
        (void)fputs("cairn-win32-main: no memory for the arguments\n", stderr);
    list_free(environment);
    list_free(arguments);
    return status;
}
