/* SPDX-License-Identifier: MIT */
/* Changes through a handle that may only read. */
#include <errno.h>
#include <string.h>

#include "support/workspace.h"

struct tree {
    struct tree *child;
    void *leaf;
    char text[48];
};

static void make_tree(void)
{
    cairn_heap *heap = create_shared("heap", 0);
    struct tree *tree = cairn_zalloc(heap, sizeof *tree);
    REQUIRE_CALL(tree != NULL);
    REQUIRE_CALL(cairn_alloc_to(heap, sizeof *tree, (void **)&tree->child) == 0);
    tree->leaf = cairn_alloc(heap, 300000);
    REQUIRE_CALL(tree->leaf != NULL);
    strcpy(tree->text, "as it was");
    REQUIRE_CALL(cairn_root_set(heap, "tree", tree) == 0);
    cairn_heap_close(heap);
}

static void every_change_is_refused(cairn_heap *heap)
{
    struct tree *tree = cairn_root_get(heap, "tree");
    REQUIRE(tree != NULL);
    uint64_t live = blocks_live(heap);
    REFUSED_NULL(-EROFS, cairn_alloc(heap, 0));
    REFUSED_NULL(-EROFS, cairn_alloc(heap, 100));
    REFUSED_NULL(-EROFS, cairn_alloc(heap, 500000));
    REFUSED_NULL(-EROFS, cairn_zalloc(heap, 100));
    REFUSED_NULL(-EROFS, cairn_aligned_alloc(heap, 16, 100));
    REFUSED_NULL(-EROFS, cairn_aligned_alloc(heap, 4096, 100));
    REFUSED_NULL(-EROFS, cairn_realloc(heap, NULL, 100));
    REFUSED_NULL(-EROFS, cairn_realloc(heap, tree, sizeof *tree));
    REFUSED_NULL(-EROFS, cairn_realloc(heap, tree, 1000));
    REFUSED_NULL(-EROFS, cairn_realloc(heap, tree->leaf, 400000));
    REFUSED_NULL(-EROFS, cairn_realloc(heap, tree->leaf, 200000));
    REFUSED_NULL(-EROFS, cairn_expand(heap, tree->leaf, 100 * MIB));
    REFUSED_VOID(-EROFS, cairn_free(heap, tree));
    REFUSED_VOID(-EROFS, cairn_free(heap, tree->leaf));
    REFUSED(-EROFS, cairn_alloc_to(heap, 100, (void **)&tree->child));
    REFUSED(-EROFS, cairn_free_from(heap, (void **)&tree->child));
    REFUSED(-EROFS, cairn_root_set(heap, "tree", NULL));
    REFUSED(-EROFS, cairn_root_set(heap, "other", tree));
    REFUSED(-EROFS, (int)cairn_trim(heap));
    REFUSED(-EROFS, cairn_recover(heap));
    REFUSED(-EROFS, cairn_heap_reset(heap));
    cairn_free(heap, NULL);

    REQUIRE(cairn_root_get(heap, "tree") == tree && strcmp(tree->text, "as it was") == 0);
    REQUIRE(cairn_size(heap, tree) >= sizeof *tree && cairn_size(heap, tree->leaf) >= 300000);
    REQUIRE_EQUAL(blocks_live(heap), live);
    REQUIRE_EQUAL(stats_of(heap).read_only, 1);
    REQUIRE_SOUND(heap);
}

static void a_read_only_view_refuses_every_change(void)
{
    make_tree();
    uint64_t hash = hash_of_file(workspace_path("heap"));
    cairn_heap *heap = open_shared("heap", CAIRN_READ_ONLY);
    every_change_is_refused(heap);
    cairn_heap_close(heap);
    REQUIRE(hash_of_file(workspace_path("heap")) == hash);
}

/* The view is writable, the handle is not. */
static void a_read_only_handle_refuses_beside_a_writing_one(void)
{
    make_tree();
    cairn_heap *writer = open_shared("heap", 0);
    cairn_heap *reader = open_shared("heap", CAIRN_READ_ONLY);
    void *block = cairn_alloc(writer, 100);
    every_change_is_refused(reader);
    cairn_free(writer, block);
    every_change_is_refused(reader);
    cairn_heap_close(writer);
    every_change_is_refused(reader);
    cairn_heap_close(reader);
}

static void a_read_only_view_does_not_become_a_writing_one(void)
{
    make_tree();
    cairn_heap *reader = open_shared("heap", CAIRN_READ_ONLY);
    REFUSED(-EBUSY, open_and_close("heap", NULL));
    cairn_heap *second = open_shared("heap", CAIRN_READ_ONLY);
    cairn_heap_close(reader);
    REFUSED(-EBUSY, open_and_close("heap", NULL));
    cairn_heap_close(second);
    REQUIRE_CALL(open_and_close("heap", NULL) == 0);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_read_only_view_refuses_every_change),
        CLAIM(a_read_only_handle_refuses_beside_a_writing_one),
        CLAIM(a_read_only_view_does_not_become_a_writing_one),
    };
    return run_claims(claims, COUNT(claims), 10);
}
