/* SPDX-License-Identifier: MIT */
/*
 * hostile: the tables of docs/hostile.md, tried. Each row is an attack, each column who tries it, each cell what has to
 * come of it. The document is the data: what it does not say, or says of no attack that is here, is a failure.
 *
 * A *scene* is what is attacked, with somebody honest who uses it meanwhile; it is set up anew for each column. Each
 * cell is a process of its own, which is the attacker; afterwards the honest look whether a byte was changed.
 */
#ifndef CAIRN_TEST_HOSTILE_H
#define CAIRN_TEST_HOSTILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    SERVER_USER = 1000,
    OTHER_USER = 1001,
    LISTED_USER = 1002,
    STRANGER = 1003,
    HONEST_USER = 1004,
    ROWS_MAX = 96,
    MICROSECONDS_MAX = 100000,
    BLOCK_BYTES = 1 << 20, /* what must not change: byte i is 7 i */
    PLACE_OF_X = 200,
};

/* Who attacks. */
struct column {
    const char *name;
    uint32_t user;
    bool server_is_dumpable;
    bool lets_everyone; /* in; else the lists name LISTED_USER, HONEST_USER and root */
};

/* What comes of an attack, beside 0, which is "allowed", and a negative errno value. */
enum {
    DROPPED = 1, /* the server ended the connection */
    NO_MEANS,    /* the attacker did not get what it would need */
    SEALED,      /* it got the memory file, and can do nothing with it */
    NO_HOLE,     /* all memory is there */
};

struct attack {
    const char *name; /* as in the document */
    long (*run)(void);
    bool is_once; /* else it is repeated for some milliseconds, so that honest ones feel it */
};

/* What the attacks on memory are tried on: what an attacker may only read. Set in its process. */
struct target {
    int file; /* -1: it was not let in */
    unsigned char *view;
    size_t bytes;
};
extern struct target target;

struct scene {
    const char *heading; /* in the document */
    const struct attack *attacks;
    size_t attacks_count;
    const char *honest; /* what is timed */
    void (*begin)(const struct column *column);
    void (*enter)(void);       /* in the attacker's process: sets the target */
    uint64_t (*changed)(void); /* how many bytes were, of all that should not */
    void (*end)(void);
};
extern const struct scene scene_publish;
extern const struct scene scene_server;

/* What all processes of a scene see. */
struct board {
    _Atomic uint32_t ready;
    _Atomic uint32_t asked; /* to count what was changed */
    _Atomic uint32_t answered;
    _Atomic uint32_t stop;
    _Atomic uint32_t honest_ready;
    _Atomic uint32_t row; /* whose attack is tried now; 0: none */
    pid_t holder;         /* who writes the memory, or serves it */
    int file_there;       /* its descriptor of the memory file */
    /* A byte of its memory, and what it is: to be written over by the same. */
    uintptr_t place_there;
    unsigned char byte_there;
    unsigned char *block;
    uint64_t handle; /* of the honest client's block */
    uint64_t changed;
    long result;
    uint32_t honest[ROWS_MAX][MICROSECONDS_MAX]; /* how often an honest round took so long; of one process alone */
};
extern struct board *board;
extern const struct column *column;

/* memory.c: the attacks that both scenes have, as first rows. */
#define MEMORY_ATTACKS                                                                                                 \
    {"mprotect(view, writable)", memory_mprotect, false}, {"mmap(descriptor, shared, writable)", memory_mmap, false},  \
        {"pwrite(descriptor)", memory_pwrite, false}, {"ftruncate(descriptor)", memory_truncate, false},               \
        {"fallocate(descriptor, punch a hole)", memory_punch, false},                                                  \
        {"madvise(view, MADV_REMOVE)", memory_remove, false},                                                          \
        {"write to /proc/self/mem at the view", memory_self, false},                                                   \
        {"open(/proc/self/fd/N, for writing)", memory_reopen, false},                                                  \
        {"fchmod(descriptor, 0600)", memory_chmod, false},                                                             \
        {"open(/proc/self/fd/N, for writing) after 9", memory_chmod_reopen, false},                                    \
        {"mmap, shared and writable, of what 10 gave", memory_writable_mmap, false},                                   \
        {"pwrite to it", memory_writable_pwrite, false}, {"ftruncate(0) of it", memory_writable_truncate, false},      \
        {"punch a hole into it", memory_writable_punch, false},                                                        \
        {"F_ADD_SEALS of F_SEAL_GROW to it", memory_writable_seal, false},                                             \
        {"fallocate behind its end", memory_writable_grow, true},                                                      \
        {"open(/proc/SERVER/fd/N, for writing) after 9", memory_open_theirs, false},                                   \
        {"pidfd_getfd of the server's own descriptor", memory_take_theirs, false},                                     \
        {"write to /proc/SERVER/mem", memory_their_memory, false},                                                     \
        {"process_vm_writev to the server", memory_their_vm, false},                                                   \
        {"ptrace(PTRACE_SEIZE) of the server", memory_trace, true},                                                    \
        {"read where nothing is, to make it take memory", memory_read_holes, true},                                    \
    {                                                                                                                  \
        "may send the server a signal", memory_signal, false                                                           \
    }
long memory_mprotect(void);
long memory_mmap(void);
long memory_pwrite(void);
long memory_truncate(void);
long memory_punch(void);
long memory_remove(void);
long memory_self(void);
long memory_reopen(void);
long memory_chmod(void);
long memory_chmod_reopen(void);
long memory_writable_mmap(void);
long memory_writable_pwrite(void);
long memory_writable_truncate(void);
long memory_writable_punch(void);
long memory_writable_seal(void);
long memory_writable_grow(void);
long memory_open_theirs(void);
long memory_take_theirs(void);
long memory_their_memory(void);
long memory_their_vm(void);
long memory_trace(void);
long memory_read_holes(void);
long memory_signal(void);

/* Renames a socket of the workspace, and back. */
long rename_socket(const char *name);

/* table.c */
bool is_hung_up(int socket);
void fill_block(unsigned char *block);
uint64_t count_changed(const unsigned char *block, size_t bytes);
/* The honest side's clock. */
uint64_t nanoseconds(void);
void tell_honest_round(uint64_t began_at);
/* Sleeps for so long, in order to leave the others the machine. */
void rest(unsigned microseconds);
/* Finds, as root, the holder's descriptor of its memory file, and the place. */
void look_at_holder(void);
void make_room_for(uint32_t user);
void try_scene(const struct scene *scene);

#endif
