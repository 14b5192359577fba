/* SPDX-License-Identifier: MIT */
/* commit NAME: commits the crime of that name, one of test/crime. */
#include <stdio.h>
#include <string.h>

#define CRIME(name) int crime_##name(void);
#include "crimes.list"
#undef CRIME

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*commit)(void);
    } crimes[] = {
#define CRIME(name) {#name, crime_##name},
#include "crimes.list"
#undef CRIME
    };
    for (size_t i = 0; argc == 2 && i < sizeof crimes / sizeof crimes[0]; i++) {
        if (strcmp(crimes[i].name, argv[1]) == 0)
            return crimes[i].commit();
    }
    fprintf(stderr, "usage: crime NAME\n");
    return 2;
}
