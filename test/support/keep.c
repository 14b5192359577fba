/* SPDX-License-Identifier: MIT */
#include "support/keep.h"

#include <string.h>

#include "support/workspace.h"

struct keep *keep_put(cairn_heap *heap, struct keep *next, uint64_t sign)
{
    struct keep *keep = cairn_alloc(heap, sizeof *keep);
    REQUIRE_CALL(keep != NULL);
    *keep = (struct keep){.next = next, .sign = sign, .self = keep};
    return keep;
}

struct keep *keeps_put(cairn_heap *heap, uint64_t count)
{
    struct keep *list = NULL;
    for (uint64_t i = 0; i < count; i++)
        list = keep_put(heap, list, i);
    REQUIRE_CALL(cairn_root_set(heap, "list", list) == 0);
    return list;
}

struct keep *keeps_take(cairn_heap *heap, uint64_t count, size_t bytes_large)
{
    struct keep *first = cairn_root_get(heap, "list"), *list = first;
    for (uint64_t i = count; i-- > 0;) {
        struct keep *next = list->next;
        REQUIRE(list->self == list); /* the same address in both */
        REQUIRE_EQUAL(list->sign, i);
        cairn_free(heap, list); /* what another process has allocated */
        list = next;
    }
    REQUIRE(list == NULL);
    unsigned char *large = cairn_alloc(heap, bytes_large);
    REQUIRE_CALL(large != NULL);
    memset(large, 7, bytes_large);
    REQUIRE_CALL(cairn_root_set(heap, "large", large) == 0);
    return first;
}
