/* SPDX-License-Identifier: MIT */
/* handler: what a handler of faults does with a signal that is not its own. */
#ifndef CAIRN_BASE_HANDLER_H
#define CAIRN_BASE_HANDLER_H

#include <signal.h>

/* Hands it to the handler that stood there before, or does what the system would. */
static inline void handler_hand_on(const struct sigaction *before, int number, siginfo_t *info, void *context)
{
    if (before->sa_flags & SA_SIGINFO) {
        before->sa_sigaction(number, info, context);
    } else if (before->sa_handler == SIG_IGN && info->si_code <= 0) {
        return; /* sent, and ignored: faults cannot be */
    } else if (before->sa_handler == SIG_DFL || before->sa_handler == SIG_IGN) {
        (void)signal(number, SIG_DFL); /* the instruction is tried again, and ends the program */
        if (info->si_code <= 0)
            (void)raise(number);
    } else {
        before->sa_handler(number);
    }
}

#endif
