/* SPDX-License-Identifier: MIT */
/* Roots without a name or without a block, and places to link to that are no places. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/workspace.h"

static void names_of_roots_have_limits(void)
{
    cairn_heap *heaps[] = {create_private(0), create_shared("heap", 0)};
    char too_long[1000];
    memset(too_long, 'r', sizeof too_long);
    too_long[sizeof too_long - 1] = '\0';
    for (size_t h = 0; h < COUNT(heaps); h++) {
        cairn_heap *heap = heaps[h];
        void *block = cairn_alloc(heap, 100);
        REQUIRE_CALL(block != NULL);
        REFUSED(-EINVAL, cairn_root_set(heap, NULL, block));
        REFUSED(-EINVAL, cairn_root_set(heap, "", block));
        REFUSED(-ENAMETOOLONG, cairn_root_set(heap, too_long, block));
        REQUIRE(cairn_root_get(heap, NULL) == NULL);
        REQUIRE(cairn_root_get(heap, "") == NULL);
        REQUIRE(cairn_root_get(heap, too_long) == NULL);
        REQUIRE(cairn_root_get(heap, "missing") == NULL);

        char longest[CAIRN_ROOT_NAME_MAX + 2];
        memset(longest, 'r', sizeof longest);
        longest[CAIRN_ROOT_NAME_MAX + 1] = '\0';
        REFUSED(-ENAMETOOLONG, cairn_root_set(heap, longest, block));
        longest[CAIRN_ROOT_NAME_MAX] = '\0';
        REQUIRE_CALL(cairn_root_set(heap, longest, block) == 0);
        REQUIRE(cairn_root_get(heap, longest) == block);
        REQUIRE_CALL(cairn_root_set(heap, longest, NULL) == 0);
        REQUIRE_CALL(cairn_root_set(heap, "missing", NULL) == 0); /* to remove what is not there is no error */
        cairn_heap_close(heap);
    }
}

static void a_root_outside_the_heap_is_refused(void)
{
    cairn_heap *private_heap = create_private(0);
    cairn_heap *shared_heap = create_shared("heap", 0);
    int local = 0;
    void *private_block = cairn_alloc(private_heap, 100);
    void *shared_block = cairn_alloc(shared_heap, 100);
    REQUIRE_CALL(private_block != NULL && shared_block != NULL);
    REFUSED(-EINVAL, cairn_root_set(shared_heap, "root", &local));
    REFUSED(-EINVAL, cairn_root_set(shared_heap, "root", private_block));
    REFUSED(-EINVAL, cairn_root_set(private_heap, "root", &local));
    REFUSED(-EINVAL, cairn_root_set(private_heap, "root", shared_block));
    REFUSED(-EINVAL, cairn_root_set(private_heap, "root", (void *)1));
    REFUSED(-EINVAL, cairn_root_set(shared_heap, "root", (void *)UINTPTR_MAX));
    REQUIRE(cairn_root_get(shared_heap, "root") == NULL && cairn_root_get(private_heap, "root") == NULL);

    REQUIRE(cairn_ref_of(shared_heap, &local) == 0);
    REQUIRE(cairn_ref_of(shared_heap, NULL) == 0);
    REQUIRE(cairn_ref_of(shared_heap, private_block) == 0);
    REQUIRE(cairn_at(shared_heap, 0) == NULL);
    REQUIRE(cairn_at(shared_heap, 1) == NULL);
    REQUIRE(cairn_at(shared_heap, UINT64_MAX) == NULL);
    REQUIRE(cairn_at(shared_heap, stats_of(shared_heap).bytes_reserved) == NULL);
    cairn_heap_close(private_heap);
    cairn_heap_close(shared_heap);
}

static void the_table_of_roots_has_an_end(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    void *block = cairn_alloc(heap, 100);
    REQUIRE_CALL(block != NULL);
    char root[32];
    for (int i = 0; i < CAIRN_ROOTS_MAX; i++) {
        snprintf(root, sizeof root, "root-%d", i);
        REQUIRE_CALL(cairn_root_set(heap, root, block) == 0);
    }
    REFUSED(-ENOSPC, cairn_root_set(heap, "one more", block));
    REQUIRE_CALL(cairn_root_set(heap, root, block) == 0); /* a change needs no entry */
    REQUIRE_CALL(cairn_root_set(heap, "root-500", NULL) == 0);
    REQUIRE_CALL(cairn_root_set(heap, "one more", block) == 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

static void a_place_outside_the_heap_is_refused(void)
{
    cairn_heap *shared_heap = create_shared("heap", 0);
    cairn_heap *private_heap = create_private(0);
    void *local = NULL;
    unsigned char **outside = cairn_zalloc(private_heap, 100);
    unsigned char *inside = cairn_zalloc(shared_heap, 100);
    REQUIRE_CALL(outside != NULL && inside != NULL);

    REFUSED(-EINVAL, cairn_alloc_to(shared_heap, 100, NULL));
    REFUSED(-EINVAL, cairn_alloc_to(shared_heap, 100, &local));
    REFUSED(-EINVAL, cairn_alloc_to(shared_heap, 100, (void **)outside));
    REFUSED(-EINVAL, cairn_alloc_to(shared_heap, 100, (void **)(void *)(inside + 1)));
    REFUSED(-EINVAL, cairn_alloc_to(shared_heap, 100, (void **)(void *)(inside + 4)));
    REFUSED(-EINVAL, cairn_free_from(shared_heap, NULL));
    REFUSED(-EINVAL, cairn_free_from(shared_heap, &local));
    REFUSED(-EINVAL, cairn_free_from(shared_heap, (void **)(void *)(inside + 1)));
    REFUSED(-EINVAL, cairn_alloc_to(private_heap, 100, NULL));
    REFUSED(-EINVAL, cairn_free_from(private_heap, NULL));
    REQUIRE(local == NULL);
    REQUIRE_EQUAL(blocks_live(shared_heap), 1);

    REQUIRE_CALL(cairn_free_from(shared_heap, (void **)(void *)inside) == 0); /* NULL already: nothing to do */
    REQUIRE_CALL(cairn_alloc_to(private_heap, 100, &local) == 0 && local != NULL);
    REQUIRE_CALL(cairn_free_from(private_heap, &local) == 0 && local == NULL);
    cairn_heap_close(private_heap);
    REQUIRE_SOUND(shared_heap);
    cairn_heap_close(shared_heap);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(names_of_roots_have_limits),
        CLAIM(a_root_outside_the_heap_is_refused),
        CLAIM(the_table_of_roots_has_an_end),
        CLAIM(a_place_outside_the_heap_is_refused),
    };
    return run_claims(claims, COUNT(claims), 10);
}
