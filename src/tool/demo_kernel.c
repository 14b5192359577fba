/* SPDX-License-Identifier: MIT */
/* What /proc tells about mappings: the figures of the demo come from the kernel, not from the library. */
#include "demo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Sums one field of smaps ("Pss:", in KiB) over the mappings of a process that touch a range. A line that begins with
 * two hexadecimal numbers opens a mapping; the lines after it are its fields.
 */
static bool sum_field(const char *path, const char *field, uint64_t low, uint64_t high, uint64_t *ret_bytes)
{
    FILE *file = fopen(path, "re");
    bool inside = false, seen = false;
    size_t field_bytes = strlen(field), room = 0;
    uint64_t sum = 0;
    char *line = NULL;

    if (!file)
        return false;
    while (getline(&line, &room, file) > 0) {
        uint64_t start, end, kib;

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
            inside = start < high && end > low;
        } else if (inside && strncmp(line, field, field_bytes) == 0 &&
                   sscanf(line + field_bytes, "%" SCNu64, &kib) == 1) {
            sum += kib * 1024;
            seen = true;
        }
    }
    free(line);
    fclose(file);
    if (seen)
        *ret_bytes = sum;
    return seen;
}

bool kernel_range_pss(pid_t pid, uint64_t address, uint64_t bytes, uint64_t *ret_bytes)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%ld/smaps", (long)pid);
    return sum_field(path, "Pss:", address, address + bytes, ret_bytes);
}

bool kernel_anonymous(uint64_t *ret_bytes)
{
    return sum_field("/proc/self/smaps", "Anonymous:", 0, UINT64_MAX, ret_bytes);
}

bool kernel_mapped_file(uint64_t address, char *ret_path, size_t room)
{
    FILE *file = fopen("/proc/self/maps", "re");
    size_t line_room = 0;
    char *line = NULL;
    bool found = false;

    if (!file)
        return false;
    while (!found && getline(&line, &line_room, file) > 0) {
        uint64_t start, end;
        const char *path = strchr(line, '/');

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) != 2 || address < start || address >= end || !path)
            continue;
        found = snprintf(ret_path, room, "%.*s", (int)strcspn(path, "\n"), path) < (int)room;
    }
    free(line);
    fclose(file);
    return found;
}
