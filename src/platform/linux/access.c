/* SPDX-License-Identifier: MIT */
/* access: who may use a file, beyond its mode: its group, and a POSIX access list written as the kernel keeps it. */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* From linux/posix_acl_xattr.h and linux/posix_acl.h: little endian, sorted by tag, then by id. */
#define ACL_VERSION 2
#define ACL_NO_ID UINT32_MAX
enum { TAG_USER_OBJ = 1, TAG_USER = 2, TAG_GROUP_OBJ = 4, TAG_GROUP = 8, TAG_MASK = 16, TAG_OTHER = 32 };
enum { MAY_READ = 4, MAY_WRITE = 2 };
enum { ENTRIES_MAX = FILE_ACCESS_MAX };

#define FILESYSTEM_TMPFS 0x01021994U

struct acl_entry {
    uint16_t tag;
    uint16_t permissions;
    uint32_t id;
};

struct acl {
    uint32_t version;
    struct acl_entry entries[ENTRIES_MAX + 4];
    uint32_t count;
};

static void add(struct acl *acl, uint16_t tag, uint32_t permissions, uint32_t id)
{
    acl->entries[acl->count++] = (struct acl_entry){.tag = tag, .permissions = (uint16_t)permissions, .id = id};
}

/* Adds the users, or the groups, of a list in ascending order of their ids; false when one stands twice. */
static bool add_sorted(struct acl *acl, const struct file_access *list, uint32_t count, bool groups)
{
    uint64_t last = 0;
    for (;;) {
        const struct file_access *next = NULL;
        uint32_t same = 0;
        for (uint32_t i = 0; i < count; i++) {
            if (list[i].is_group != groups || list[i].id + UINT64_C(1) <= last)
                continue;
            same += next != NULL && list[i].id == next->id;
            if (next == NULL || list[i].id < next->id) {
                next = &list[i];
                same = 0;
            }
        }
        if (next == NULL)
            return true;
        if (same != 0)
            return false;
        add(acl, groups ? TAG_GROUP : TAG_USER, MAY_READ | (next->may_write ? MAY_WRITE : 0), next->id);
        last = next->id + UINT64_C(1);
    }
}

int file_access_set(int file, uint32_t mode, uint32_t group, const struct file_access *list, uint32_t count)
{
    if (group == (uint32_t)-1)
        return -EINVAL; /* to the system it is "leave it", and no group */
    if (group != 0 && fchown(file, (uid_t)-1, group) < 0)
        return -errno;
    if (count == 0)
        return 0;
    if (count > ENTRIES_MAX)
        return -EINVAL;
    struct acl acl = {.version = ACL_VERSION};
    add(&acl, TAG_USER_OBJ, mode >> 6 & 7, ACL_NO_ID);
    bool once = add_sorted(&acl, list, count, false);
    add(&acl, TAG_GROUP_OBJ, mode >> 3 & 7, ACL_NO_ID);
    once = add_sorted(&acl, list, count, true) && once;
    add(&acl, TAG_MASK, MAY_READ | MAY_WRITE, ACL_NO_ID);
    add(&acl, TAG_OTHER, mode & 7, ACL_NO_ID);
    if (!once)
        return -EINVAL;
    size_t bytes = sizeof acl.version + acl.count * sizeof acl.entries[0];
    int error = fsetxattr(file, "system.posix_acl_access", &acl, bytes, 0) == 0 ? 0 : -errno;
    return error == -ENOSPC ? -ENOMEM : error;
}

bool file_is_durable(int file)
{
    struct statfs status;
    return fstatfs(file, &status) == 0 && (uint32_t)status.f_type != FILESYSTEM_TMPFS;
}

int file_sync(int file)
{
    return fsync(file) == 0 ? 0 : -errno;
}
