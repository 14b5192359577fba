/* SPDX-License-Identifier: MIT */
/*
 * recovery: what to do when an owner is dead. Whether it is, is the caller's to know: a question is given, not a clock and
 * not a process id.
 *
 * Every step is a store from a value that only the dead can have left, so doing it twice changes nothing, and a recoverer
 * that is killed is followed by another that begins again.
 */
#ifndef CAIRN_RECOVERY_RECOVERY_H
#define CAIRN_RECOVERY_RECOVERY_H

#include "section/section.h"

struct recovery {
    struct section *section;
    uint32_t by; /* number of the owner that recovers */
    /* Whether the process of that number is attached and alive; the caller's own is. */
    bool (*process_is_alive)(void *arg, uint32_t process);
    void *arg;
};

/* Recovers one owner that is known to be dead. False when another owner that is alive is at it already. */
bool recovery_of_owner(const struct recovery *recovery, uint32_t number);

/* Looks for dead processes and recovers their owners; returns how many owners. */
uint32_t recovery_of_dead(const struct recovery *recovery);

#endif
