/* SPDX-License-Identifier: MIT */
/*
 * platform: what cairn needs of an operating system, as contracts; one folder per system implements them. This is the
 * only place with system calls. Calls return 0 or a negative errno value unless they say otherwise; a ret_ is untouched
 * on failure. All sizes and offsets are bytes and multiples of platform_page_size() unless said otherwise.
 */
#ifndef CAIRN_PLATFORM_PLATFORM_H
#define CAIRN_PLATFORM_PLATFORM_H

#include "base/base.h"

/* ---------------------------------------------------------------- memory */

/* The system's page size, asked, never assumed. */
size_t platform_page_size(void);

/*
 * Reserves address space that cannot be touched yet, at a multiple of 2 MiB: huge pages fit, and so does every
 * alignment that a heap gives. Costs no memory. -ENOMEM: no room, or a limit of the process.
 */
int memory_reserve(void **ret_address, size_t bytes);

/* The same at an address, replacing nothing. -EADDRINUSE: something else lies there. */
int memory_reserve_at(void *address, size_t bytes);

/* Sees to it that a view is not a forked child's. */
int memory_not_for_children(void *address, size_t bytes);

/* Makes a part of reserved memory usable and zero. -ENOMEM: the system refuses to promise it. */
int memory_commit(void *address, size_t bytes);

/* Gets the memory behind a committed part now, so that no first touch can fail for lack of it. */
int memory_populate(void *address, size_t bytes);

/* Hints that a committed part will soon be written: saves the faults, where the system can. */
void memory_prefault(void *address, size_t bytes);

/* Hints that a range, aligned to 2 MiB, is to have huge pages. */
void memory_advise_huge(void *address, size_t bytes);

/* Gives the memory of a committed part back; it stays usable and reads as zero. */
int memory_decommit(void *address, size_t bytes);

/*
 * Takes the access to a committed part away, so that a touch of it raises SIGSEGV, and gives it back; what it holds
 * stays. -ENOMEM: the process has as many mappings as it may.
 */
int memory_seal(void *address, size_t bytes);
int memory_unseal(void *address, size_t bytes);

/* Ends a reservation or a view, whole. */
void memory_release(void *address, size_t bytes);

/* Gets usable zeroed memory for this process's own bookkeeping. */
int memory_get(void **ret_address, size_t bytes);

/* Returns the smaller of `bytes` and what the process's address-space limit lets one reservation reasonably take. */
size_t memory_reservation_limit(size_t bytes);

/* ---------------------------------------------------------------- faults */

/* A touch of memory that could not be made. */
struct fault {
    void *address; /* NULL: not told */
    int signal;    /* SIGSEGV or SIGBUS */
    bool is_write; /* where the system tells */
};

/*
 * Calls function(arg). A fault in this thread meanwhile leaves it there, by a jump: false, and what was touched. Guards
 * nest; the innermost takes it. Faults of other threads, and signals that were sent, go on to the program's own
 * handler.
 */
bool fault_guarded(void (*function)(void *arg), void *arg, struct fault *ret_fault);

/* ---------------------------------------------------------------- files */

struct file_status {
    uint64_t device;
    uint64_t inode;
    uint64_t bytes;
    uint64_t bytes_taken; /* of the system's memory, or of the disk */
    uint64_t links;
    uint32_t user;
    uint32_t mode; /* permission bits */
    bool is_regular;
};

/* Makes an anonymous memory file that cannot shrink. */
int file_create_anonymous(int *ret_file, const char *label);

/* Makes a file without a name in a directory, for file_publish. -EOPNOTSUPP: not a file system that commits memory. */
int file_create_unnamed(int *ret_file, const char *directory, uint32_t mode);

/*
 * Sets the group of a new file, 0 for none, and its access list; mode tells what the list does not. -EOPNOTSUPP: the
 * file system has no access lists.
 */
enum { FILE_ACCESS_MAX = 65 }; /* what a caller may list, and one that is added for it */
struct file_access {
    uint32_t id;
    bool is_group;
    bool may_write;
};
int file_access_set(int file, uint32_t mode, uint32_t group, const struct file_access *list, uint32_t count);

/* Whether the file outlives the system: it is on a disk. */
bool file_is_durable(int file);

/* Writes all of a durable file to its disk. */
int file_sync(int file);

/* Gives an unnamed file its name, in one step. -EEXIST: the name is taken. */
int file_publish(int file, const char *directory, const char *name);

/* Opens an existing file without following a link in the last component and without blocking. -ELOOP: it is a link. */
int file_open(int *ret_file, const char *directory, const char *name, bool read_only);

/* Opens a second, private description of an open file, for liveness. */
int file_reopen(int *ret_file, int file);

/* The same for reading only, whatever the descriptor allows. */
int file_reopen_read_only(int *ret_file, int file);
bool file_is_read_only(int file);

/*
 * A description of this process's own of a memory file whose descriptor somebody handed over, who keeps it. -EBADF: no
 * descriptor; -EACCES: it was not handed over, or not opened, for that; -EPERM: not sealed against getting shorter, so
 * that a touch of it may raise SIGBUS; -EOPNOTSUPP: no memory file of usual pages, or to write without /proc.
 */
int file_take(int *ret_file, int descriptor, bool read_only);

/*
 * Sets the permission bits of a memory file and seals it: what a seal forbids is forbidden to everybody, for ever.
 * FUTURE_WRITE: all writing but through views that exist now, and giving memory back. -EOPNOTSUPP: the system has no
 * such seal.
 */
enum file_seals {
    FILE_SEAL_SHRINK = 1,
    FILE_SEAL_GROW = 2,
    FILE_SEAL_FUTURE_WRITE = 4,
    FILE_SEAL_SEAL = 8, /* further seals */
};
int file_seal(int file, uint32_t mode, uint32_t seals);

/* Returns the seals of a file, 0 for one that cannot have any. */
uint32_t file_seals(int file);

/* Whether what it commits is there, and in pages of the usual size: not so of huge pages, a touch of which may fail. */
bool file_has_usual_pages(int file);

void file_close(int file);

/* The first offset from there on at which bytes of the file may be other than zero; UINT64_MAX: all are zero. */
uint64_t file_next_data(int file, uint64_t from);

int file_status_get(int file, struct file_status *ret_status);

/* Reads exactly `bytes` at an offset without mapping; any alignment. -ENODATA: the file is shorter. */
int file_read_at(int file, uint64_t offset, void *ret_bytes, size_t bytes);
int file_write_at(int file, uint64_t offset, const void *from, size_t bytes);

/*
 * Commits a range of a file: afterwards no touch of it can fail for lack of memory, in any process. Grows the file
 * where needed. -ENOMEM: the file system is full or a limit of the process forbids it; raises no signal. On failure
 * whole steps of up to 16 MiB may stay allocated; the next commit finds them.
 */
int file_commit(int file, uint64_t offset, uint64_t bytes);

/* Makes a file that long without committing anything; errors as file_commit. */
int file_extend(int file, uint64_t bytes);

/*
 * Gives a committed range back through a writable view of it: every process then reads zeros. -EOPNOTSUPP: the system
 * cannot, and every caller copes.
 */
int file_decommit(void *address, size_t bytes);

/*
 * Maps a view of a file. address 0: at any multiple of 2 MiB; else exactly there or -EADDRINUSE, replacing nothing. The
 * view may be larger than the file: what the file gains later is visible in it.
 */
int file_map(void **ret_address, int file, uint64_t address, size_t bytes, bool read_only);

/* Maps a part of a file anywhere. */
int file_map_part(void **ret_address, int file, uint64_t offset, size_t bytes, bool read_only);

/*
 * Replaces what lies at an address, which the caller has reserved, by a view of a part of a file. One step: nobody sees
 * the range unmapped.
 */
int file_map_over(void *address, int file, uint64_t offset, size_t bytes, bool read_only);

/* Makes a range that the caller has reserved untouchable again. */
int memory_reserve_again(void *address, size_t bytes);

int file_unlink(const char *directory, const char *name);

/* Makes a directory with mode 0700 unless it exists. -EPERM: what exists is not a directory of this user's own. */
int directory_ensure_own(const char *directory);

/* Makes a name of a directory one that stays right when the process goes elsewhere. -ENAMETOOLONG. */
int directory_absolute(const char *directory, char *ret_absolute, size_t bytes);

/* Calls visit for each entry that is a regular file until it returns other than 0, which is then returned. */
int directory_walk(const char *directory, int (*visit)(const char *name, void *arg), void *arg);
/* The same for sockets. */
int directory_walk_sockets(const char *directory, int (*visit)(const char *name, void *arg), void *arg);

/* Returns the filesystem's size and free bytes in a directory, for an error's sentence. */
int directory_space(const char *directory, uint64_t *ret_bytes, uint64_t *ret_bytes_free);

/* ---------------------------------------------------------------- liveness */

/*
 * A slot of a file is held by a process from liveness_take until it dies, ends, execs, or gives it back; not lost when
 * the process closes other descriptors of the file, not kept by a forked child. Never decided by a process id or a
 * clock.
 */
struct liveness {
    void *mapping; /* the small mapping that holds the lock; NULL: not held */
    size_t bytes;
};

/* -EBUSY: another process holds the slot. The slot is a byte offset far beyond the file's contents. */
int liveness_take(struct liveness *ret_liveness, int file, uint64_t slot);

/* The same by a description that nothing else refers to, which it closes. */
int liveness_take_by(struct liveness *ret_liveness, int description, uint64_t slot);

void liveness_give(struct liveness *liveness);

/* Returns 1 when some process holds the slot, 0 when none does. */
int liveness_probe(int file, uint64_t slot);

/* ---------------------------------------------------------------- processes and threads */

uint32_t process_id(void);
uint32_t thread_id(void); /* asks the system once; after a fork the child says so: */
void thread_is_another(void);
uint32_t process_user(void);

/* A set-uid or otherwise privileged start: the environment is not to be trusted. */
bool process_is_privileged(void);

/* Fills with random bytes; falls back to less random ones rather than fail. */
void random_fill(void *ret_bytes, size_t bytes);

/* Seconds since 1970. */
uint64_t time_now(void);

/* Identifies the running boot of the system; zeros where the system does not tell. */
void boot_id_get(uint8_t ret_id[16]);

/* Lets other threads run; for loops that wait for another's few instructions. */
void thread_yield(void);

/*
 * A barrier that passes through all running threads of this process: when it returns, each of them has done its earlier
 * stores and will see ours. barrier_process_ready is called once before; -EOPNOTSUPP: the system has no such thing.
 */
int barrier_process_ready(void);
void barrier_process(void);

/* The same through every process that has called barrier_system_ready. Without such a thing in the system: a long wait
 * is not needed where each call is short, so the caller must not depend on it alone. */
int barrier_system_ready(void);
void barrier_system(void);

/* Waits until the 32 bits at word are other than `seen`, a wake, or the milliseconds are over. Works across processes.
 */
void word_wait(const void *word, uint32_t seen, uint32_t milliseconds);
void word_wake(const void *word);
void word_wake_all(const void *word);

/* Milliseconds since some moment; never set back. */
uint64_t time_passed(void);

/* Starts a thread that gets no signals; thread_join waits until it has ended. */
int thread_start(uintptr_t *ret_thread, void *(*run)(void *arg), void *arg);
void thread_join(uintptr_t thread);

/* Sets what to call with `arg` when the calling thread ends; may be called again with another arg. */
int thread_on_exit(void (*leave)(void *arg), void *arg);

/* Calls these around each fork of this process: before and after in the parent, after in the child. */
int process_on_fork(void (*before)(void), void (*parent)(void), void (*child)(void));

/* A mutex of this process alone, for rare work on process-wide tables. */
struct mutex {
    atomic_u32 state; /* 0 free, 1 held, 2 held and waited for */
};
void mutex_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);

/* ---------------------------------------------------------------- sockets */

/*
 * Messages between processes of one system, over a socket with a name in a directory. Each message is whole or not
 * there. Nothing here waits but where a time is given.
 */
struct listener {
    int socket; /* -1: none */
    uint64_t device;
    uint64_t inode; /* of the name, so that only that is removed */
};

/*
 * Makes the name, with these permission bits, and begins to listen. A name whose listener is dead is taken over.
 * -EADDRINUSE: its listener lives; -EEXIST: it is no socket; -EPERM: another user made it; -ENAMETOOLONG: directory and
 * name together; -EAGAIN: somebody keeps the directory locked.
 */
int socket_listen(struct listener *ret_listener, const char *directory, const char *name, uint32_t mode);

/* Gives the name other permission bits. -ESTALE: it is another's by now. */
int listener_set_mode(const struct listener *listener, const char *directory, const char *name, uint32_t mode);

/* Stops listening and removes the name, unless it is another's by now. */
void listener_close(struct listener *listener, const char *directory, const char *name);

/* Takes who waits first. -EAGAIN: nobody waits; -EMFILE: no descriptor is left, and who waits was sent away. */
int socket_accept(const struct listener *listener, int *spare, int *ret_socket);

/* Gets a descriptor for socket_accept to give up when there is no other. */
int socket_spare(int *ret_spare);

/*
 * Connects a new socket, and waits at most the given time, here and in socket_receive; when the program handles signals
 * meanwhile, at most twice that. -ENOENT, -ECONNREFUSED: nobody listens; -ETIMEDOUT.
 */
int socket_create(int *ret_socket);

/* What tells a socket from what may have its number later, when the program has closed it (closefrom). */
struct socket_identity {
    uint64_t device;
    uint64_t inode;
};
struct socket_identity socket_identify(int fd);
bool socket_is(int fd, const struct socket_identity *identity);
int socket_connect(int fd, const char *directory, const char *name, uint32_t milliseconds);

/* Who is at the other end: as it was when it connected, or began to listen. */
struct socket_peer {
    uint32_t user;
    uint32_t group;
    uint32_t process; /* for people */
};
int socket_peer_get(int fd, struct socket_peer *ret_peer);

/* Whether the peer was a member of one of these groups. */
bool socket_peer_is_in(int fd, const uint32_t *groups, uint32_t count);

/* Sends a message with descriptors, or nothing. */
int socket_send(int fd, const void *message, size_t bytes, const int *files, uint32_t count);

/*
 * Gets one message of exactly that length with exactly so many descriptors. -EPROTO: it was another; -ETIMEDOUT;
 * -ECONNRESET: the peer has gone.
 */
int socket_receive(int fd, void *ret_message, size_t bytes, int *ret_files, uint32_t count);

/* Whether the other end is closed; whether a message waits here. */
bool socket_is_hung_up(int fd);
bool socket_has_message(int fd);

/* A set of descriptors, each with a tag of the caller's; itself a descriptor that can be read when one of them can. */
int events_create(int *ret_events);
int events_add(int events, int file, uint64_t tag);
void events_remove(int events, int file);

/* Waits until one of the set can be read, or hangs up, and gets the tags. Returns how many; 0 when the time is over. */
int events_wait(int events, uint64_t *ret_tags, uint32_t count, int milliseconds);

/* A descriptor that can be read once the time that was set last is over, until it is stilled. */
int alarm_create(int *ret_alarm);
void alarm_set(int alarm_fd, uint32_t milliseconds);
void alarm_still(int alarm_fd);

/* ---------------------------------------------------------------- services */

/* Gets the listening socket that the system's service manager has opened for this process. Returns how many: 0 or 1.
 * -EINVAL: more than one, or not a listening Unix socket that keeps messages apart. */
int service_listener(int *ret_socket);

/*
 * Writes a line of the log to standard error, unless that takes none at once: who reads it may be slow, or have gone,
 * and is no more to be waited for than anybody else. Such lines are lost.
 */
void service_log(const char *line);

/* Tells the service manager, if there is one, how the process is: "READY=1". */
int service_notify(const char *state);

/*
 * Gets a descriptor that can be read when the process is asked to end (SIGTERM, SIGINT), and is not ended. Nor is it
 * from now on by SIGPIPE.
 */
int service_stop_create(int *ret_stop);

/* Gets a descriptor that can be read when the process is asked to read its configuration again (SIGHUP), until heard.
 */
int service_reload_create(int *ret_reload);
void service_reload_hear(int reload);

/* Nobody but root may trace this process or look into its descriptors. */
void process_not_traced(void);

/* Writes one line to standard error and ends the process by abort. */
_Noreturn void crime_abort(const char *line);

#endif
