/* SPDX-License-Identifier: MIT */
/* Reads a record of a file that another may make shorter at any time, without being ended by it. */
#include <cairn.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct record {
    int number;
};

static void sum(void *arg)
{
    const struct record *records = arg;
    int total = 0;
    for (size_t i = 0; i < 65536 / sizeof *records; i++)
        total += records[i].number;
    printf("the sum is %d\n", total);
}

int main(void)
{
    FILE *stream = tmpfile();
    if (stream == NULL || ftruncate(fileno(stream), 65536) < 0)
        return EXIT_FAILURE;
    struct record *records = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(stream), 0);
    if (records == MAP_FAILED)
        return EXIT_FAILURE;
    records[0].number = 7;

    struct record copy;
    printf("%s\n", cairn_guard_copy(&copy, records, sizeof copy) == 0 ? "copied" : "gone");
    cairn_guard_call(sum, records, NULL);

    if (ftruncate(fileno(stream), 0) < 0) /* somebody makes it shorter */
        return EXIT_FAILURE;
    cairn_fault fault;
    printf("%s\n", cairn_guard_copy(&copy, records, sizeof copy) == 0 ? "copied" : "gone");
    if (cairn_guard_call(sum, records, &fault) < 0)
        printf("no sum: the file ends before byte %td\n", (const char *)fault.address - (const char *)records);
    return EXIT_SUCCESS;
}
