/* expect: ^cairn: heap "crime": double free of 0x[0-9a-f]*: a block of [0-9]+ bytes that is free already$ */
/* SPDX-License-Identifier: MIT */
/* The child frees what was freed; the crime is its, and we end like it for the test to see. */
#include <signal.h>
#include <stdlib.h>

#include "support/workspace.h"

static cairn_heap *heap;
static void *block;

static void free_it(void *arg)
{
    (void)arg;
    cairn_free(heap, block);
}

int main(void)
{
    heap = create_nameless("crime");
    block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL && cairn_alloc(heap, 100) != NULL);
    cairn_free(heap, block);
    finish_by(start(free_it, NULL), SIGABRT);
    abort();
}
