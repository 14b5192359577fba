/* SPDX-License-Identifier: MIT */
/*
 * recovery: what to do when an owner is dead. Whether it is, is the caller's to know: a question is given, not a clock
 * and not a process id.
 *
 * A dead process is recovered under the lock that it held itself, which the kernel has opened: so there is one
 * recoverer at a time, nobody can join in the dead one's place meanwhile, and a recoverer that is killed loses the lock
 * to the next.
 *
 * Every step is a store from a value that only the dead can have left, so doing it twice changes nothing, and the next
 * recoverer simply begins again.
 */
#ifndef CAIRN_RECOVERY_RECOVERY_H
#define CAIRN_RECOVERY_RECOVERY_H

#include "section/section.h"

struct recovery {
    struct section *section;
    uint32_t by; /* number of an owner of the caller's, to sweep heaps that die with their process; 0: leave those */
    /* Takes the lock of a process's slot if nobody holds it, so that the process is dead; let_go gives it back. */
    bool (*seize)(void *arg, uint32_t process);
    void (*let_go)(void *arg);
    /* Passes a barrier through all processes that are attached. */
    void (*barrier)(void *arg);
    void *arg;
};

/* Recovers one owner that is known to be dead; nobody else is at it. Its record can be claimed again afterwards. */
void recovery_of_owner(struct section *section, uint32_t number);

/* Looks for dead processes and recovers their owners; returns how many owners. */
uint32_t recovery_of_dead(const struct recovery *recovery);

#endif
