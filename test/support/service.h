/* SPDX-License-Identifier: MIT */
/* service: cairnd in the workspace, as a service manager starts and ends it. */
#ifndef CAIRN_TEST_SERVICE_H
#define CAIRN_TEST_SERVICE_H

#include <sys/types.h>

/* Writes cairnd.conf: the socket is cairnd.sock in the workspace, the rest is the text. */
void service_configure(const char *text);

/* Starts a server, which dies with us, by a call that does not return before it ends; waits until it says that it is
 * ready. */
pid_t service_start(void (*run)(void *arg), void *arg);

/* Becomes the program, with that configuration. For service_start. */
void service_exec(void *program);

/* Ends it by SIGTERM; it must exit with 0 and leave no socket. */
void service_stop(pid_t server);

#endif
