/* expect: ^cairn: free with the handle 0x[0-9a-f]* of a closed heap$ */
/* SPDX-License-Identifier: MIT */
/* Even when there is nothing to free. */
#include "support/workspace.h"

int main(void)
{
    cairn_heap *heap = create_private(0);
    cairn_heap_close(heap);
    cairn_free(heap, NULL);
    return 0;
}
