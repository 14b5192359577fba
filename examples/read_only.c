/* SPDX-License-Identifier: MIT */
/*
 * A reader: any program that knows the name opens the heap read-only, asks for a root, and follows plain pointers. It
 * takes no lock and cannot damage anything: its writes are refused by the MMU.
 *
 *     read_only         makes a heap, and starts itself once more as the reader of it
 *     read_only NAME    is the reader of that heap
 */
#include <cairn.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct greeting {
    const char *text; /* a plain pointer into the same heap */
};

static int read_greeting(const char *name)
{
    cairn_heap *heap;
    cairn_options options = {.flags = CAIRN_READ_ONLY};
    if (cairn_heap_open(&heap, name, &options) < 0) {
        fprintf(stderr, "%s\n", cairn_last_error());
        return 1;
    }
    const struct greeting *greeting = cairn_root_get(heap, "greeting");
    if (greeting)
        printf("%s\n", greeting->text);
    cairn_heap_close(heap);
    return greeting ? 0 : 1;
}

static int write_greeting(cairn_heap *heap)
{
    struct greeting *greeting = cairn_alloc(heap, sizeof *greeting);
    char *text = cairn_alloc(heap, 100);
    if (!greeting || !text)
        return -1;
    snprintf(text, 100, "written by process %d, read by another", (int)getpid());
    greeting->text = text;
    return cairn_root_set(heap, "greeting", greeting); /* from here on readers see it, whole */
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return read_greeting(argv[1]);

    cairn_heap *heap;
    cairn_options options = {.name = "read_only", .flags = CAIRN_OPEN_OR_CREATE};
    if (cairn_heap_create(&heap, &options) < 0 || write_greeting(heap) < 0) {
        fprintf(stderr, "%s\n", cairn_last_error());
        return 1;
    }

    int status = 1;
    pid_t reader = fork();
    if (reader == 0) { /* a program of its own, laid out in memory in its own way */
        execl("/proc/self/exe", argv[0], options.name, (char *)NULL);
        _exit(1);
    }
    if (reader < 0 || waitpid(reader, &status, 0) < 0)
        status = 1;
    cairn_heap_close(heap);
    if (cairn_heap_unlink(options.name, NULL) < 0)
        fprintf(stderr, "%s\n", cairn_last_error());
    return status == 0 ? 0 : 1;
}
