/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include "measure.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const char *scratch_directory(void)
{
    const char *directory = getenv("BENCH_DIRECTORY");
    if (!directory)
        fail("BENCH_DIRECTORY names no directory in /dev/shm; bench/run sets it");
    return directory;
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
