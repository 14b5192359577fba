/* SPDX-License-Identifier: MIT */
/*
 * file: files that are mapped as heaps. Committed means fallocated: fallocate and the first touch together cost what a
 * touch of a sparse file costs (574 and 614 us/MiB on tmpfs), and a full file system becomes an error, not a SIGBUS.
 */
#define _GNU_SOURCE
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "platform/linux/proc.h"

/* Since Linux 6.3; unknown to older C libraries. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* Since Linux 5.1. */
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/* From linux/magic.h, which not every C library comes with. ext2, ext3 and ext4 share one. */
#define FILESYSTEM_TMPFS 0x01021994U
#define FILESYSTEM_EXT4 0xEF53U
#define FILESYSTEM_XFS 0x58465342U

/* 4 ms on tmpfs: as long as a signal may have to wait. */
#define COMMIT_STEP_BYTES (UINT64_C(16) << 20)

/* ---------------------------------------------------------------- making and opening */

/* Elsewhere fallocate is missing, or is no promise that a later write finds room (copy-on-write, network, overlay). */
static int check_filesystem(int file)
{
    struct statfs status;
    if (fstatfs(file, &status) < 0)
        return -errno;
    uint32_t type = (uint32_t)status.f_type;
    bool commits = type == FILESYSTEM_TMPFS || type == FILESYSTEM_EXT4 || type == FILESYSTEM_XFS;
    return commits ? 0 : -EOPNOTSUPP;
}

bool file_has_usual_pages(int file)
{
    return check_filesystem(file) == 0;
}

static int open_directory(const char *directory)
{
    int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int file_create_anonymous(int *ret_file, const char *label)
{
    int file = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (file < 0 && errno == EINVAL)
        file = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0)
        return -errno;

    /*
     * Made with mode 0777 or 0666: whoever is handed a read-only descriptor could open the file again for writing
     * through /proc. No F_SEAL_SEAL: a published heap is sealed against writers later.
     */
    if (fchmod(file, 0600) < 0 || fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
        int error = errno == EINVAL ? -EOPNOTSUPP : -errno;
        close(file);
        return error;
    }
    *ret_file = file;
    return 0;
}

int file_create_unnamed(int *ret_file, const char *directory, uint32_t mode)
{
    int file = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); /* O_EXCL would forbid to name it later */
    if (file < 0)
        return errno == EISDIR ? -EOPNOTSUPP : -errno; /* EISDIR: a file system that has never heard of O_TMPFILE */

    int error = check_filesystem(file);
    if (error < 0)
        goto fail;
    if (fchmod(file, mode) < 0) { /* not by open: the umask must not decide */
        error = -errno;
        goto fail;
    }
    *ret_file = file;
    return 0;

fail:
    close(file);
    return error;
}

int file_publish(int file, const char *directory, const char *name)
{
    int parent = open_directory(directory);
    if (parent < 0)
        return parent;

    char path[PROC_PATH_BYTES];
    proc_path(path, file);
    int error = linkat(AT_FDCWD, path, parent, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
    /* The directory is open, so what was not found is /proc. Without it linking takes a capability or Linux 6.10. */
    if (error == -ENOENT)
        error = linkat(file, "", parent, name, AT_EMPTY_PATH) == 0 ? 0 : -errno;
    close(parent);
    return error == -ENOSPC ? -ENOMEM : error;
}

int file_open(int *ret_file, const char *directory, const char *name, bool read_only)
{
    int parent = open_directory(directory);
    if (parent < 0)
        return parent;
    int flags = O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    int file = openat(parent, name, flags | (read_only ? O_RDONLY : O_RDWR));
    int error = file < 0 ? -errno : 0;
    close(parent);
    if (error < 0)
        return error;

    error = check_filesystem(file);
    if (error < 0) {
        close(file);
        return error;
    }
    *ret_file = file;
    return 0;
}

/* No other way needs no privilege. The file is open, so what was not found is /proc: the system lacks it. */
static int reopen(int *ret_file, int file, int flags)
{
    char path[PROC_PATH_BYTES];
    proc_path(path, file);
    int reopened = open(path, flags | O_CLOEXEC | O_NOCTTY);
    if (reopened < 0)
        return errno == ENOENT ? -EOPNOTSUPP : -errno;
    *ret_file = reopened;
    return 0;
}

int file_reopen(int *ret_file, int file)
{
    return reopen(ret_file, file, O_RDWR);
}

int file_reopen_read_only(int *ret_file, int file)
{
    return reopen(ret_file, file, O_RDONLY);
}

bool file_is_read_only(int file)
{
    int flags = fcntl(file, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) == O_RDONLY;
}

static const struct {
    uint32_t seal;
    int of_system;
} seals_known[] = {
    {FILE_SEAL_SHRINK, F_SEAL_SHRINK},
    {FILE_SEAL_GROW, F_SEAL_GROW},
    {FILE_SEAL_FUTURE_WRITE, F_SEAL_FUTURE_WRITE},
    {FILE_SEAL_SEAL, F_SEAL_SEAL},
};

uint32_t file_seals(int file)
{
    int found = fcntl(file, F_GET_SEALS);
    uint32_t seals = 0;
    for (size_t i = 0; i < COUNT_OF(seals_known) && found >= 0; i++)
        seals |= (found & seals_known[i].of_system) != 0 ? seals_known[i].seal : 0;
    return seals;
}

/* What was asked for is looked at afterwards: a seal that is not there is a wall that is not there. */
int file_seal(int file, uint32_t mode, uint32_t seals)
{
    int wanted = 0;
    for (size_t i = 0; i < COUNT_OF(seals_known); i++)
        wanted |= (seals & seals_known[i].seal) != 0 ? seals_known[i].of_system : 0;
    if (fchmod(file, mode) < 0)
        return -errno;
    if (fcntl(file, F_ADD_SEALS, wanted) < 0)
        return errno == EINVAL ? -EOPNOTSUPP : -errno;
    return (file_seals(file) & seals) == seals ? 0 : -EOPNOTSUPP;
}

static bool is_same(int one, int other)
{
    struct stat a, b;
    return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* What has no way to be opened again can still be mapped by the description that it came with; to read, that is enough.
 */
int file_take(int *ret_file, int descriptor, bool read_only)
{
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || (flags & O_PATH) != 0)
        return -EBADF;
    if ((flags & O_ACCMODE) == O_WRONLY || (!read_only && (flags & O_ACCMODE) != O_RDWR))
        return -EACCES;
    int error = check_filesystem(descriptor); /* one of huge pages has other sizes */
    if (error < 0)
        return error;
    if ((file_seals(descriptor) & FILE_SEAL_SHRINK) == 0)
        return -EPERM;
    int file = -1;
    error = reopen(&file, descriptor, read_only ? O_RDONLY : O_RDWR);
    if (error == 0 && !is_same(file, descriptor)) { /* what is mounted at /proc is none */
        close(file);
        error = -EOPNOTSUPP;
    }
    if (error < 0 && read_only) {
        file = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
        error = file < 0 ? -errno : 0;
    }
    if (error == 0)
        *ret_file = file;
    return error;
}

/* Never repeated on EINTR: the number is free already and may be another thread's file. */
void file_close(int file)
{
    if (file >= 0)
        (void)close(file);
}

int file_unlink(const char *directory, const char *name)
{
    int parent = open_directory(directory);
    if (parent < 0)
        return parent;
    int error = unlinkat(parent, name, 0) == 0 ? 0 : -errno;
    close(parent);
    return error;
}

uint64_t file_next_data(int file, uint64_t from)
{
    off_t found = lseek(file, (off_t)from, SEEK_DATA);
    if (found >= 0)
        return (uint64_t)found;
    return errno == ENXIO ? UINT64_MAX : from; /* a file system that cannot tell: anything may be there */
}

int file_status_get(int file, struct file_status *ret_status)
{
    struct stat status;
    if (fstat(file, &status) < 0)
        return -errno;
    *ret_status = (struct file_status){
        .device = status.st_dev,
        .inode = status.st_ino,
        .bytes = (uint64_t)status.st_size,
        .bytes_taken = (uint64_t)status.st_blocks * 512,
        .links = status.st_nlink,
        .user = status.st_uid,
        .mode = status.st_mode & 07777,
        .is_regular = S_ISREG(status.st_mode),
    };
    return 0;
}

/* ---------------------------------------------------------------- committing */

/*
 * No signals while a file grows. SIGXFSZ, which RLIMIT_FSIZE sends to the growing thread beside EFBIG, would end the
 * program. Any other would interrupt fallocate on kernels that then roll back and answer EINTR: under a profiler's
 * timer it would begin again for ever. SIGKILL is never blocked.
 */
struct signals {
    sigset_t before;
    bool limit_was_pending; /* a SIGXFSZ that is not of our making, for the program to have */
};

static void signals_block(struct signals *ret_signals)
{
    sigset_t all, pending;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &ret_signals->before);
    sigpending(&pending);
    ret_signals->limit_was_pending = sigismember(&pending, SIGXFSZ) == 1;
}

static void signals_restore(const struct signals *signals, int error)
{
    if (error == -EFBIG && !signals->limit_was_pending) {
        sigset_t limit;
        sigemptyset(&limit);
        sigaddset(&limit, SIGXFSZ);
        while (sigtimedwait(&limit, NULL, &(struct timespec){0}) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, &signals->before, NULL);
}

static int growth_error(int error)
{
    return error == -ENOSPC || error == -EFBIG || error == -EDQUOT ? -ENOMEM : error;
}

/* By syscall: the C library's fallocate is a place where a cancelled thread ends, and ours may be inside malloc. */
static int commit_step(int file, uint64_t offset, uint64_t bytes)
{
    struct signals signals;
    signals_block(&signals);
    int error;
    do {
        error = syscall(SYS_fallocate, file, 0L, (long)offset, (long)bytes) == 0 ? 0 : -errno;
    } while (error == -EINTR);
    signals_restore(&signals, error);
    return growth_error(error);
}

/* Is there room for a range, if all that the file has already were inside it? Spares a hopeless commit its steps. */
static bool may_fit(int file, uint64_t bytes)
{
    struct statfs system;
    struct stat status;
    if (fstatfs(file, &system) < 0 || fstat(file, &status) < 0 || system.f_blocks == 0) /* 0: without a limit */
        return true;
    uint64_t has = (uint64_t)status.st_blocks * 512;
    uint64_t free_blocks = system.f_bfree;
    return bytes <= has || (bytes - has) / (uint64_t)system.f_bsize <= free_blocks;
}

/*
 * One call of fallocate is all or nothing: failed or killed, it rolls back what it added itself and nothing older. But
 * signals wait for it, and 1 GiB takes a quarter of a second. So it is done in steps. When a later step fails, the
 * earlier ones stay: nobody can tell them from what another process committed a moment ago, so punching them could
 * take memory away from under its feet. The caller does not mark them, and the next commit of the range finds them.
 */
int file_commit(int file, uint64_t offset, uint64_t bytes)
{
    if (bytes == 0)
        return 0;
    if (offset > INT64_MAX || bytes > INT64_MAX - offset)
        return -ENOMEM;
    if (bytes > COMMIT_STEP_BYTES && !may_fit(file, bytes))
        return -ENOMEM;
    for (uint64_t done = 0; done < bytes; done += COMMIT_STEP_BYTES) {
        int error = commit_step(file, offset + done, min_u64(bytes - done, COMMIT_STEP_BYTES));
        if (error < 0)
            return error;
    }
    return 0;
}

int file_extend(int file, uint64_t bytes)
{
    struct signals signals;
    if (bytes > INT64_MAX)
        return -ENOMEM;
    signals_block(&signals);
    int error = ftruncate(file, (off_t)bytes) == 0 ? 0 : -errno;
    signals_restore(&signals, error);
    return growth_error(error);
}

/* Through the view and not by fallocate: the descriptor's number may be the application's file by now (closefrom). */
int file_decommit(void *address, size_t bytes)
{
    if (madvise(address, bytes, MADV_REMOVE) == 0)
        return 0;
    /* EINVAL: locked memory (mlockall) or a file system that cannot; EPERM: sealed against writers. */
    return errno == EINVAL || errno == EPERM ? -EOPNOTSUPP : -errno;
}

/* ---------------------------------------------------------------- reading, writing, mapping */

int file_read_at(int file, uint64_t offset, void *ret_bytes, size_t bytes)
{
    unsigned char *to = ret_bytes;
    while (bytes > 0) {
        ssize_t count = pread(file, to, bytes, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (count == 0)
            return -ENODATA;
        to += count;
        offset += (uint64_t)count;
        bytes -= (size_t)count;
    }
    return 0;
}

static int write_all(int file, uint64_t offset, const unsigned char *from, size_t bytes)
{
    while (bytes > 0) {
        ssize_t count = pwrite(file, from, bytes, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (count == 0)
            return -EIO;
        from += count;
        offset += (uint64_t)count;
        bytes -= (size_t)count;
    }
    return 0;
}

int file_write_at(int file, uint64_t offset, const void *from, size_t bytes)
{
    struct signals signals;
    signals_block(&signals);
    int error = write_all(file, offset, from, bytes);
    signals_restore(&signals, error);
    return growth_error(error);
}

/*
 * By syscall: ThreadSanitizer's mmap ends the program at an address it does not like, and MemorySanitizer's gives
 * another one. Where the flag is unknown the address is a wish, so the result is compared.
 */
static int map_at(void **ret_address, int file, uint64_t address, size_t bytes, int protection, int flags)
{
    long result =
        syscall(SYS_mmap, (long)address, bytes, (long)protection, (long)(flags | MAP_FIXED_NOREPLACE), (long)file, 0L);
    if (result == -1)
        return errno == EEXIST ? -EADDRINUSE : -errno;
    void *mapped = (void *)(uintptr_t)result;
    if ((uintptr_t)mapped != address) {
        munmap(mapped, bytes);
        return -EADDRINUSE;
    }
    *ret_address = mapped;
    return 0;
}

int file_map(void **ret_address, int file, uint64_t address, size_t bytes, bool read_only)
{
    int protection = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    int flags = MAP_SHARED | MAP_NORESERVE;
    if (address != 0)
        return map_at(ret_address, file, address, bytes, protection, flags);
    /* Anywhere that aligned blocks are aligned. */
    void *place;
    int error = memory_reserve(&place, bytes);
    if (error < 0)
        return error;
    if (mmap(place, bytes, protection, flags | MAP_FIXED, file, 0) == MAP_FAILED) {
        error = -errno;
        munmap(place, bytes);
        return error;
    }
    *ret_address = place;
    return 0;
}

int file_map_part(void **ret_address, int file, uint64_t offset, size_t bytes, bool read_only)
{
    int protection = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    void *mapped = mmap(NULL, bytes, protection, MAP_SHARED | MAP_NORESERVE, file, (off_t)offset);
    if (mapped == MAP_FAILED)
        return -errno;
    *ret_address = mapped;
    return 0;
}

int file_map_over(void *address, int file, uint64_t offset, size_t bytes, bool read_only)
{
    int protection = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    void *mapped = mmap(address, bytes, protection, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, file, (off_t)offset);
    return mapped == MAP_FAILED ? -errno : 0;
}
