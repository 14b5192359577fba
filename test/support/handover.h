/* SPDX-License-Identifier: MIT */
/* handover: descriptors from one process to another, by a pair of sockets. */
#ifndef CAIRN_TEST_HANDOVER_H
#define CAIRN_TEST_HANDOVER_H

/* sockets[0] is one end, sockets[1] the other. */
void handover_pair(int sockets[2]);
void handover_send(int socket, int file);
/* Waits for it. The claim's clock bounds that. */
int handover_receive(int socket);

#endif
