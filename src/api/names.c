/* SPDX-License-Identifier: MIT */
#include "api/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int name_check(const char *name)
{
    if (name == NULL || name[0] == '\0')
        return error_set(-EINVAL, "a heap's name must not be empty");
    if (strnlen(name, CAIRN_NAME_MAX + 1) > CAIRN_NAME_MAX)
        return error_set(-ENAMETOOLONG, "a heap's name may have %d bytes at most", CAIRN_NAME_MAX);
    if (name[0] == '.')
        return error_set(-EINVAL, "\"%s\": a heap's name must not begin with '.'", name);
    if (strchr(name, '/') != NULL)
        return error_set(-EINVAL, "\"%s\": a heap's name must not contain '/'", name);
    return 0;
}

int directory_get(const char *wanted, bool create, char ret_directory[DIRECTORY_BYTES], bool *ret_is_default)
{
    if (wanted == NULL && !process_is_privileged())
        wanted = getenv("CAIRN_DIR");
    if (ret_is_default != NULL)
        *ret_is_default = wanted == NULL || wanted[0] == '\0';
    if (wanted != NULL && wanted[0] != '\0') {
        int error = directory_absolute(wanted, ret_directory, DIRECTORY_BYTES);
        if (error == -ENAMETOOLONG)
            return error_set(error, "the directory's name may have %d bytes at most", DIRECTORY_BYTES - 1);
        return error < 0 ? error_set(error, "%s: cannot be found: %s", wanted, cairn_strerror(error)) : 0;
    }
    snprintf(ret_directory, DIRECTORY_BYTES, "/dev/shm/cairn-%u", process_user());
    if (!create)
        return 0;
    int error = directory_ensure_own(ret_directory);
    if (error < 0)
        return error_set(error, "%s: cannot be made, or is not this user's own: %s", ret_directory,
                         cairn_strerror(error));
    return 0;
}

/* ---------------------------------------------------------------- a system that went down */

static void this_boot(uint64_t ret_boot[2])
{
    uint8_t id[16];
    boot_id_get(id);
    memcpy(ret_boot, id, sizeof id);
}

static bool is_clean(const struct section_image *image)
{
    uint64_t clean = load_acquire(&image->clean);
    return clean != 0 && clean == load_relaxed(&image->attaches) + 1;
}

/* Memory does not outlive the system, so the question is for files on disks alone. */
static int check_boot(const char *name, int file, const struct section_image *header)
{
    uint64_t boot[2];
    if (header->heaps_max == 0 || is_clean(header) || !file_is_durable(file))
        return 0;
    this_boot(boot);
    if (boot[0] == 0 && boot[1] == 0)
        return error_set(-EOPNOTSUPP, "%s: without /proc nobody can tell whether the system went down meanwhile", name);
    if (load_relaxed(&header->boot_id[0]) != boot[0] || load_relaxed(&header->boot_id[1]) != boot[1])
        return error_set(-EUCLEAN, "%s: damaged: the system went down while it was open", name);
    return 0;
}

/* Two that come at once both sync: neither may rely on the other's having done so. */
void section_mark_open(struct section *section)
{
    struct section_image *image = section->image;
    /* Of a file in memory nobody asks; only a copy of it on a disk will be asked once, for what was noted first. */
    bool noted = (load_relaxed(&image->boot_id[0]) | load_relaxed(&image->boot_id[1])) != 0;
    if (noted && load_acquire(&image->clean) == 0 && !file_is_durable(section->file))
        return;
    uint64_t boot[2];
    this_boot(boot);
    atomic_thread_fence(memory_order_seq_cst); /* with the fence in section_mark_clean */
    uint64_t clean = load_acquire(&image->clean);
    bool same_boot = load_relaxed(&image->boot_id[0]) == boot[0] && load_relaxed(&image->boot_id[1]) == boot[1];
    if (clean == 0 && same_boot)
        return;
    store_relaxed(&image->boot_id[0], boot[0]);
    store_relaxed(&image->boot_id[1], boot[1]);
    if (file_is_durable(section->file))
        (void)file_sync(section->file);
    (void)cas_acq_rel(&image->clean, &clean, 0);
}

/* Whether none lives but one. The dead store nothing more; what they left is recovered by whoever comes next. */
static bool no_other_lives(const struct section *section, uint32_t process)
{
    uint32_t end = load_acquire(&section->image->processes_end);
    for (uint32_t number = 1; number <= end && number <= section->processes_max; number++) {
        if (number != process &&
            record_state_of(load_acquire(&section_process(section, number)->word)) != RECORD_FREE &&
            liveness_probe(section->file, LIVENESS_OFFSET + number) != 0)
            return false;
    }
    return true;
}

/*
 * clean only grows here: of two that leave late, the one that attached last is right. The record of the process that
 * leaves stays where heaps are bound to it, but it stores nothing more: what is synced now is all that will be found.
 */
void section_mark_clean(struct section *section, uint32_t leaving)
{
    struct section_image *image = section->image;
    atomic_thread_fence(memory_order_seq_cst); /* of two that leave at once the last sees that both records are FREE */
    uint64_t clean = load_acquire(&image->attaches) + 1;
    if (!section_file_is_ours(section) || !file_is_durable(section->file) || !no_other_lives(section, leaving) ||
        file_sync(section->file) < 0)
        return;
    uint64_t seen = load_acquire(&image->clean);
    while (seen < clean && !cas_acq_rel(&image->clean, &seen, clean))
        ;
    (void)file_sync(section->file);
}

/* ---------------------------------------------------------------- creating */

static int set_access(int file, const struct cairn_options *options)
{
    struct file_access list[FILE_ACCESS_MAX];
    if (options->access_count > COUNT_OF(list) || (options->access_count != 0 && options->access == NULL))
        return -EINVAL;
    for (uint32_t i = 0; i < options->access_count; i++)
        list[i] = (struct file_access){.id = options->access[i].id,
                                       .is_group = options->access[i].is_group,
                                       .may_write = options->access[i].may_write};
    uint32_t mode = options->mode != 0 ? options->mode : 0600;
    return file_access_set(file, mode, options->group, list, options->access_count);
}

int heap_file_create(const struct cairn_options *options, const char *directory, int *ret_file)
{
    int file;
    int error = file_create_unnamed(&file, directory, options->mode != 0 ? options->mode : 0600);
    if (error < 0)
        return error;
    if (options->group != 0 || options->access_count != 0)
        error = set_access(file, options);
    if (error < 0)
        file_close(file);
    else
        *ret_file = file;
    return error;
}

/* It is as long as it may ever get: then nobody who has it can make it take more than was asked for. */
int memory_file_create(const struct cairn_options *options, uint64_t bytes, int *ret_file)
{
    int file;
    int error = file_create_anonymous(&file, options->name);
    if (error < 0)
        return error;
    error = file_extend(file, bytes);
    if (error == 0)
        error = file_seal(file, options->mode != 0 ? options->mode : 0600,
                          FILE_SEAL_SHRINK | FILE_SEAL_GROW | FILE_SEAL_SEAL);
    if (error == 0 && (options->group != 0 || options->access_count != 0))
        error = set_access(file, options);
    if (error < 0)
        file_close(file);
    else
        *ret_file = file;
    return error;
}

int name_create(uint64_t flags, name_fn *open, name_fn *create, void *arg)
{
    if ((flags & CAIRN_OPEN_OR_CREATE) == 0)
        return create(arg);
    /* Somebody may create it or remove it between the two attempts; each round one of them makes progress. */
    int error = -EEXIST;
    for (uint32_t attempt = 0; error == -EEXIST && attempt < 1000; attempt++) {
        error = open(arg);
        if (error == -ENOENT)
            error = create(arg);
    }
    return error;
}

/* ---------------------------------------------------------------- opening */

/* Of a file that was opened by its name. */
static int check_links(const char *name, const struct file_status *status)
{
    if (status->is_regular && status->links == 0)
        return error_set(-ENOENT, "%s: was removed just now", name);
    if (status->is_regular && status->links != 1)
        return error_set(-EPERM, "%s: has %llu links instead of one", name, (unsigned long long)status->links);
    return 0;
}

static int check_file(const char *name, const struct file_status *status, bool any_owner)
{
    if (!status->is_regular)
        return error_set(-EPERM, "%s: not a regular file", name);
    if (status->user != process_user() && status->user != 0 && !any_owner)
        return error_set(-EPERM, "%s: belongs to user %u", name, status->user);
    if ((status->mode & 02) != 0)
        return error_set(-EPERM, "%s: may be written by everyone", name);
    return 0;
}

/* The part of the header that changes: counts that must not lead beyond their tables. */
static bool counts_are_possible(const struct section_image *header)
{
    if (header->heaps_max == 0)
        return true; /* a section by itself has no tables */
    return load_relaxed(&header->units_end) <= header->units_max &&
           load_relaxed(&header->owners_end) <= header->owners_max &&
           load_relaxed(&header->processes_end) <= header->processes_max &&
           load_relaxed(&header->heaps_end) <= header->heaps_max && load_relaxed(&header->heaps_end) >= 1 &&
           load_relaxed(&header->roots_end) <= header->roots_max;
}

static int check_header(const char *name, int file, const struct file_status *status, bool damaged_too,
                        struct section_image *ret_header)
{
    memset(ret_header, 0, sizeof *ret_header);
    uint64_t readable = min_u64(status->bytes, sizeof *ret_header);
    int error = readable == 0 ? 0 : file_read_at(file, 0, ret_header, readable);
    if (error < 0)
        return error_set(error, "%s: cannot be read: %s", name, cairn_strerror(error));
    const char *reason;
    if (readable < sizeof *ret_header && ret_header->magic == IMAGE_MAGIC)
        return error_set(-EUCLEAN, "%s: damaged: the file is shorter than a header", name);
    error = section_header_check(ret_header, status->bytes, &reason);
    if (error < 0)
        return error_set(error, "%s: %s", name, reason);
    if (load_relaxed(&ret_header->damaged) != 0 && !damaged_too)
        return error_set(-EUCLEAN, "%s: marked as damaged", name);
    error = damaged_too ? 0 : check_boot(name, file, ret_header);
    if (error < 0)
        return error;
    if (!counts_are_possible(ret_header) || ret_header->address == 0 || ret_header->commit_offset == 0 ||
        (ret_header->heaps_max != 0 && ret_header->processes_max == 0))
        return error_set(-EUCLEAN, "%s: damaged: the header counts more than there can be", name);
    uint64_t units_end = load_relaxed(&ret_header->units_end);
    if (ret_header->heaps_max == 0)
        return 0;
    /* Its length as it is after the header was read: the file may be growing. */
    struct file_status grown;
    if (file_status_get(file, &grown) == 0)
        status = &grown;
    if (status->bytes < ret_header->heaps_offset + sizeof(struct heap_image) ||
        (units_end != 0 && status->bytes < ret_header->unit_words_offset + units_end * sizeof(uint64_t)))
        return error_set(-EUCLEAN, "%s: damaged: the file is too short", name);
    return 0;
}

/* Checks an open file and its header; the file is closed unless all is well. */
static int check_opened(const char *name, int file, bool by_name, uint64_t flags, int *ret_file,
                        struct file_status *ret_status, struct section_image *ret_header)
{
    struct file_status status;
    int error = file_status_get(file, &status);
    if (error < 0)
        error_set(error, "%s: cannot be examined: %s", name, cairn_strerror(error));
    if (error == 0 && by_name)
        error = check_links(name, &status);
    if (error == 0)
        error = check_file(name, &status, (flags & CAIRN_ANY_OWNER) != 0);
    if (error == 0)
        error = check_header(name, file, &status, (flags & CAIRN_DAMAGED_TOO) != 0, ret_header);
    if (error < 0) {
        file_close(file);
        return error;
    }
    *ret_file = file;
    *ret_status = status;
    return 0;
}

bool is_no_file(int error)
{
    return error == -EISDIR || error == -ENXIO || error == -ENODEV;
}

int heap_file_open(const char *directory, const char *name, uint64_t flags, int *ret_file,
                   struct file_status *ret_status, struct section_image *ret_header)
{
    int file;
    int error = file_open(&file, directory, name, (flags & CAIRN_READ_ONLY) != 0);
    if (is_no_file(error))
        return error_set(-EPERM, "%s: not a regular file", name);
    if (error < 0)
        return error_set(error, "%s: cannot be opened in %s: %s", name, directory, cairn_strerror(error));
    return check_opened(name, file, true, flags, ret_file, ret_status, ret_header);
}

int memory_file_take(int descriptor, const char *name, uint64_t flags, int *ret_file, struct file_status *ret_status,
                     struct section_image *ret_header)
{
    int file;
    int error = file_take(&file, descriptor, (flags & CAIRN_READ_ONLY) != 0);
    if (error == -EPERM)
        return error_set(error, "%s: may get shorter while it is used: no memory file with F_SEAL_SHRINK", name);
    if (error == -EOPNOTSUPP)
        return error_set(error, "%s: no memory file of usual pages, or there is no /proc to open it again by", name);
    if (error < 0)
        return error_set(error, "%s: cannot be attached by descriptor %d: %s", name, descriptor, cairn_strerror(error));
    error = check_opened(name, file, false, flags, ret_file, ret_status, ret_header);
    if (error < 0 || ret_status->bytes >= ret_header->bytes_max)
        return error;
    file_close(file); /* whoever can write there could say that more of it is committed than there is */
    return error_set(-EUCLEAN, "%s: damaged: the file is shorter than its heap may get", name);
}

int heap_file_unlink(const struct attachment *attachment)
{
    int file;
    struct file_status status;
    if (attachment->directory[0] == '\0')
        return 0; /* a memory file */
    int error = file_open(&file, attachment->directory, attachment->name, true);
    if (error < 0)
        return error == -ENOENT || error == -ENOTDIR ? 0 : error;
    bool same = file_status_get(file, &status) == 0 && status.device == attachment->section.device &&
                status.inode == attachment->section.inode;
    file_close(file);
    return same ? file_unlink(attachment->directory, attachment->name) : 0;
}

/* ---------------------------------------------------------------- addresses */

/*
 * Slots of 1 GiB from 0x4000_0000_0000 to 0x5500_0000_0000: free in every kind of program but those under TSan and
 * MSan, for which CAIRN_ADDRESS=0x550000000000 gives the one window that is free there too.
 */
#define WINDOW_BEGIN UINT64_C(0x400000000000)
#define WINDOW_END UINT64_C(0x550000000000)
#define WINDOW_NARROW_BYTES UINT64_C(0x5000000000)
#define SLOT_BYTES (UINT64_C(1) << 30)
#define ATTEMPTS 64

struct taken_ranges {
    const char *directory;
    uint64_t begin; /* of the candidate */
    uint64_t end;
    uint64_t pass_to; /* 0: nothing is in the way */
};

static int look_at_neighbour(const char *name, void *arg)
{
    struct taken_ranges *taken = arg;
    struct section_image header;
    int file;
    if (file_open(&file, taken->directory, name, true) < 0)
        return 0;
    if (file_read_at(file, 0, &header, sizeof header) == 0 && section_header_check(&header, ~UINT64_C(0), NULL) == 0 &&
        header.address < taken->end && taken->begin < header.address + header.bytes_max)
        taken->pass_to = max_u64(taken->pass_to, header.address + header.bytes_max);
    file_close(file);
    return 0;
}

static uint64_t hash_on(uint64_t hash, const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    return hash;
}

int address_choose(const char *directory, const char *name, uint64_t bytes, const struct heap_neighbours *neighbours,
                   address_fn *attempt, void *arg)
{
    uint64_t begin = WINDOW_BEGIN;
    uint64_t end = WINDOW_END;
    const char *wanted = process_is_privileged() ? NULL : getenv("CAIRN_ADDRESS");
    if (wanted != NULL && wanted[0] != '\0') {
        begin = strtoull(wanted, NULL, 16) & ~(SLOT_BYTES - 1);
        end = begin + WINDOW_NARROW_BYTES;
    }
    uint64_t needed = align_up(bytes, SLOT_BYTES);
    if (begin == 0 || needed > end - begin)
        return -EADDRINUSE;
    uint64_t slots = (end - begin - needed) / SLOT_BYTES + 1;

    /* Of the directory, too: one process may well have the heaps of one name of several directories. */
    uint64_t slot = hash_on(hash_on(UINT64_C(0xcbf29ce484222325), directory), name) % slots;

    for (uint32_t i = 0; i < ATTEMPTS; i++) {
        uint64_t candidate = begin + slot * SLOT_BYTES;
        struct taken_ranges taken = {.directory = directory, .begin = candidate, .end = candidate + needed};
        (void)directory_walk(directory, look_at_neighbour, &taken);
        if (neighbours != NULL)
            taken.pass_to = max_u64(taken.pass_to, neighbours->pass_to(neighbours->arg, taken.begin, taken.end));
        uint64_t next = candidate + needed;
        if (taken.pass_to == 0) {
            int error = attempt(candidate, arg);
            if (error != -EADDRINUSE)
                return error;
        } else {
            next = align_up(taken.pass_to, SLOT_BYTES);
        }
        slot = next > begin && next - begin <= (slots - 1) * SLOT_BYTES ? (next - begin) / SLOT_BYTES : 0;
    }
    return -EADDRINUSE;
}
