/* SPDX-License-Identifier: MIT */
/*
 * A heap manager on a named file that is mapped: a diary that outlives the program. It is a list of entries, linked by
 * plain pointers, in a file on a disk. Each run finds what the runs before it wrote; two processes that write at once
 * have the same list. Nothing is read, parsed or saved: the structure is the file.
 *
 *     mapped_file_heap                 shows it in a directory of its own: two writers at once, then a reader
 *     mapped_file_heap DIRECTORY TEXT  adds an entry to the diary in that directory
 *     mapped_file_heap DIRECTORY       tells the entries, from the newest on
 */
#include <cairn.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

struct entry {
    struct entry *next; /* older; a plain pointer: the file lies at one address in every process and every run */
    char text[];
};

struct diary {
    cairn_mutex lock; /* for the list; allocating needs none. Zero is unlocked */
    struct entry *newest;
};

static int fail(void)
{
    fprintf(stderr, "%s\n", cairn_last_error());
    return 1;
}

/*
 * Opens the diary, or begins it: whoever is first allocates its head, zeroed, and makes it a root, by which the others
 * find it. The system's lock on the directory decides who that is.
 */
static cairn_heap *open_diary(const char *directory, struct diary **ret_diary)
{
    cairn_heap *heap;
    int first = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (first < 0 || flock(first, LOCK_EX) < 0)
        return NULL;
    cairn_options options = {
        .name = "diary",
        .directory = directory,         /* any place on ext4, xfs or tmpfs; the file begins small and grows by itself */
        .bytes_max = (uint64_t)1 << 30, /* address space, not memory or disk */
        .flags = CAIRN_OPEN_OR_CREATE,
    };
    if (cairn_heap_create(&heap, &options) < 0)
        heap = NULL;
    struct diary *diary = heap ? cairn_root_get(heap, "diary") : NULL;
    if (heap && !diary) {
        diary = cairn_zalloc(heap, sizeof *diary);
        if (diary && cairn_root_set(heap, "diary", diary) < 0)
            diary = NULL;
    }
    close(first);
    *ret_diary = diary;
    return heap;
}

static int add_entry(const char *directory, const char *text)
{
    struct diary *diary = NULL;
    cairn_heap *heap = open_diary(directory, &diary);
    if (!heap || !diary)
        return fail();
    struct entry *entry = cairn_alloc(heap, sizeof *entry + strlen(text) + 1);
    if (!entry || cairn_lock(heap, &diary->lock) < 0)
        return fail();
    /* A result of 1 would say that the last holder died with the lock: the list is whole even then, for it changes by
     * the one store below, after the entry is complete. */
    memcpy(entry->text, text, strlen(text) + 1);
    entry->next = diary->newest;
    __atomic_store_n(&diary->newest, entry, __ATOMIC_RELEASE);
    cairn_unlock(heap, &diary->lock);
    cairn_heap_close(heap); /* the last to close has the system write everything to the disk, and marks it as whole */
    return 0;
}

/* Needs no lock: the newest entry is complete when it can be seen, and what it links to does not change. */
static int tell_entries(const char *directory)
{
    cairn_heap *heap;
    cairn_options options = {.directory = directory, .flags = CAIRN_READ_ONLY};
    if (cairn_heap_open(&heap, "diary", &options) < 0)
        return fail();
    const struct diary *diary = cairn_root_get(heap, "diary");
    int count = 0;
    const struct entry *entry = diary ? __atomic_load_n(&diary->newest, __ATOMIC_ACQUIRE) : NULL;
    for (; entry; entry = entry->next, count++)
        printf("%s\n", entry->text);
    cairn_heap_close(heap);
    return count == 0;
}

static pid_t start(char *program, char *directory, const char *text)
{
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", program, directory, text, (char *)NULL);
        _exit(1);
    }
    return child;
}

static int wait_for(pid_t child)
{
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return argc > 2 ? add_entry(argv[1], argv[2]) : tell_entries(argv[1]);

    /* On a disk; or, where /var/tmp lies on a file system that will not do, which is told, in memory. */
    char on_disk[] = "/var/tmp/diary_XXXXXX", in_memory[] = "/dev/shm/diary_XXXXXX";
    char *directory = mkdtemp(on_disk);
    const char *first = "the first process has ended; this stays";
    int failed = directory ? wait_for(start(argv[0], directory, first)) : 1;
    if (failed && directory)
        rmdir(directory);
    if (failed) {
        directory = mkdtemp(in_memory);
        failed = directory ? wait_for(start(argv[0], directory, first)) : 1;
    }
    if (!directory)
        return 1;
    pid_t one = start(argv[0], directory, "written by one of two at once");
    pid_t other = start(argv[0], directory, "written by the other");
    failed += wait_for(one) + wait_for(other);
    failed += wait_for(start(argv[0], directory, NULL)); /* a run of its own, which finds all three */
    if (cairn_heap_unlink("diary", directory) < 0)
        failed += fail();
    rmdir(directory);
    return failed;
}
