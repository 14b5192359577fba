/* expect: ^cairn: heap "crime": free of 0x[0-9a-f]*: an interior pointer, 16 bytes into the block at 0x[0-9a-f]*$ */
/* SPDX-License-Identifier: MIT */
#include "cairn_publish.h"
#include "support/workspace.h"

int main(void)
{
    cairn_publisher *publisher;
    workspace_enter();
    int result = cairn_publish(&publisher, "crime", NULL);
    workspace_leave();
    REQUIRE_CALL(result == 0);
    char *block = cairn_alloc(cairn_publisher_heap(publisher), 100);
    REQUIRE_CALL(block != NULL);
    cairn_free(cairn_publisher_heap(publisher), block + 16);
    return 0;
}
