/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include "measure.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory_name[] = "/dev/shm/cairn-bench-XXXXXX";

static pid_t owner;

/* At exit, because whatever goes wrong must leave nothing behind; but not when it goes wrong in a child. */
static void remove_directory(void)
{
    DIR *directory = getpid() == owner ? opendir(directory_name) : NULL;
    if (!directory)
        return;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    rmdir(directory_name);
}

const char *scratch_directory(void)
{
    if (owner == 0) {
        if (!mkdtemp(directory_name))
            fail("no directory can be made in /dev/shm");
        owner = getpid();
        atexit(remove_directory);
    }
    return directory_name;
}

double scratch_footprint(const char *directory, const char *name)
{
    struct stat status;
    int parent = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0 || fstatat(parent, name, &status, 0) < 0)
        fail("%s/%s: cannot be examined", directory, name);
    close(parent);
    return status.st_blocks * 512.0;
}
