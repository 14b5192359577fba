/* SPDX-License-Identifier: MIT */
/* The tables of docs/hostile.md; ./dev hostile prints them. */
#include "hostile/hostile.h"
#include "support/workspace.h"

static void a_published_heap_is_as_its_table_says(void)
{
    try_scene(&scene_publish);
}

static void the_heap_server_is_as_its_table_says(void)
{
    try_scene(&scene_server);
}

int main(void)
{
    static const struct claim claims[] = {
        CLAIM(a_published_heap_is_as_its_table_says),
        CLAIM(the_heap_server_is_as_its_table_says),
    };
    return run_claims(claims, COUNT(claims), 120);
}
