/* expect: ^cairn: private heap [0-9]+: free of 0x8: a foreign pointer */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    cairn_free(heap, (void *)8);
    return 0;
}
