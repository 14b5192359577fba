/* expect: ^cairn: private heap [0-9]+: size of 0x[0-9a-f]*: a foreign pointer */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    int local = 0;
    if (cairn_size(heap, &local) != 0)
        return 1;
    return 0;
}
