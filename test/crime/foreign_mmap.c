/* expect: ^cairn: private heap [0-9]+: free of 0x[0-9a-f]*: a foreign pointer, not memory of this heap$ */
/* SPDX-License-Identifier: MIT */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    cairn_free(heap, shared_memory(100000));
    return 0;
}
