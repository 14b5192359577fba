/* expect: ^told: private heap [0-9]+: double free of 0x[0-9a-f]*: a block of [0-9]+ bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "support/workspace.h"

/* The callback has the line first; that it returns saves nobody. */
static void hear_of_it(const char *line, void *arg)
{
    REQUIRE(arg == (void *)1 && strncmp(line, "cairn: ", 7) == 0);
    fprintf(stderr, "told: %s\n", line + 7);
}

int main(void)
{
    cairn_heap *heap = create_private(0);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    cairn_misuse_set(hear_of_it, (void *)1);
    cairn_free(heap, block);
    cairn_free(heap, block);
    return 0;
}
