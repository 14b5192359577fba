/* SPDX-License-Identifier: MIT */
/*
 * These programs are linked with nothing of cairn's. CTest runs them under LD_PRELOAD with the argument "cairn", and
 * those that tell what C and POSIX want once more without, with the argument "system": a test that does not hold
 * there is wrong. "counted" is with counter.c in between.
 */
#ifndef TEST_MALLOC_PRELOADED_H
#define TEST_MALLOC_PRELOADED_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The address of `block` for the compiler: it must not know that it comes from malloc. */
static inline void *hidden(void *block)
{
    __asm__("" : "+r"(block));
    return block;
}

/* Ends the program unless its malloc is the one that the test is about. */
static inline void require_preload(int argc, char **argv)
{
    Dl_info info;
    const char *wanted = argc == 2 ? argv[1] : "";
    const char *file = strcmp(wanted, "cairn") == 0     ? "/libcairn-malloc.so"
                       : strcmp(wanted, "counted") == 0 ? "/libmalloc_counter.so"
                       : strcmp(wanted, "system") == 0  ? "/libc.so"
                                                        : "no such argument";
    if (dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) != 0 && strstr(info.dli_fname, file) != NULL)
        return;
    fprintf(stderr, "%s: malloc is not that of %s\n", argv[0], file);
    exit(2);
}

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
