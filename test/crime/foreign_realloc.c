/* expect: ^cairn: private heap [0-9]+: realloc of 0x[0-9a-f]*: a foreign pointer */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    int local = 0;
    if (cairn_realloc(heap, &local, 100) != NULL)
        return 1;
    return 0;
}
