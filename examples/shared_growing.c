/* SPDX-License-Identifier: MIT */
/*
 * Two processes and one heap, which grows from a few KiB to more than 64 MiB while both are attached. What one of them
 * allocates, the other reaches by the same plain pointer: nothing is mapped again, converted or copied.
 */
#include <cairn.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct line {
    struct line *next;
    char text[65536];
};

int main(void)
{
    cairn_heap *heap;
    cairn_options options = {.name = "shared_growing", .flags = CAIRN_OPEN_OR_CREATE};
    if (cairn_heap_create(&heap, &options) < 0) {
        fprintf(stderr, "%s\n", cairn_last_error());
        return 1;
    }

    int pointers[2], status = 1;
    if (pipe(pointers) < 0)
        return 1;
    pid_t child = fork();
    if (child == 0) { /* attached before the heap grows; waits for the pointer to the first line */
        struct line *line;
        int count = 0;
        close(pointers[1]);
        if (read(pointers[0], &line, sizeof(struct line *)) <= 0)
            return 1;
        for (; line; line = line->next)
            count += strcmp(line->text, "written by the parent") == 0;
        printf("the child followed %d pointers of its parent\n", count);
        return count == 1000 ? 0 : 1;
    }

    struct line *first = NULL;
    for (int i = 0; i < 1000; i++) {
        struct line *line = cairn_alloc(heap, sizeof *line);
        if (!line) {
            fprintf(stderr, "%s\n", cairn_last_error());
            break;
        }
        line->next = first;
        memcpy(line->text, "written by the parent", sizeof "written by the parent");
        first = line;
    }
    if (write(pointers[1], &first, sizeof(struct line *)) <= 0 || waitpid(child, &status, 0) < 0)
        status = 1;
    cairn_heap_close(heap);
    if (cairn_heap_unlink(options.name, NULL) < 0)
        fprintf(stderr, "%s\n", cairn_last_error());
    return status == 0 ? 0 : 1;
}
