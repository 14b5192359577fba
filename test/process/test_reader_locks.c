/* SPDX-License-Identifier: MIT */
/*
 * Locks that a reader takes on a heap's file, to be in the way. Who lives is told by locks on single bytes, and whoever
 * may read the file may lock any of them, for reading. So far as SECURITY.md says it is in the way, and no further.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "section/layout.h"
#include "support/workspace.h"

static int try_open(uint64_t flags)
{
    cairn_options options = {.size = sizeof options, .flags = flags};
    cairn_heap *heap = untouched;
    int error = cairn_heap_open(&heap, "heap", &options);
    if (error == 0)
        cairn_heap_close(heap);
    return error;
}

/* Returns the descriptor that holds it. count 0: to the end. */
static int lock_bytes(uint64_t first, uint64_t count)
{
    int file = open(workspace_path("heap"), O_RDONLY | O_CLOEXEC);
    struct flock lock = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = (off_t)(LIVENESS_OFFSET + first), .l_len = (off_t)count};
    REQUIRE(file >= 0);
    if (fcntl(file, F_OFD_SETLK, &lock) < 0)
        broken(__FILE__, __LINE__, "a read lock on %llu: %s", (unsigned long long)first, strerror(errno));
    return file;
}

static void some_locked_bytes_keep_nobody_out(void)
{
    cairn_heap_close(create_shared("heap", 0));
    int one = lock_bytes(1, 1), many = lock_bytes(2, 3000);
    cairn_heap *heap = open_shared("heap", 0); /* by a further record */
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_CALL(cairn_recover(heap) == 0);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
    close(one);
    close(many);
}

static int run_writer(void)
{
    cairn_heap *heap = open_shared("heap", 0);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    tell('o');
    REQUIRE(hear() == 'l');
    for (int i = 0; i < 1000; i++) /* who is attached goes on, and grows the heap */
        REQUIRE_CALL(cairn_alloc(heap, 10000) != NULL);
    REQUIRE_CALL(cairn_recover(heap) == 0);
    REQUIRE_SOUND(heap);
    tell('w');
    REQUIRE_EQUAL(hear(), -1);
    cairn_heap_close(heap);
    return 0;
}

static void all_locked_bytes_keep_writers_out_and_no_longer_than_they_are_locked(void)
{
    cairn_heap_close(create_shared("heap", 0));
    struct peer peer = peer_start("write", NULL);
    peer_hear(&peer, 'o');
    int below = lock_bytes(0, 1), above = lock_bytes(2, 0); /* the peer has byte 1, which cannot be locked */
    REFUSED(-EAGAIN, try_open(0));
    REQUIRE_EQUAL(try_open(CAIRN_READ_ONLY), 0);
    peer_tell(&peer, 'l');
    peer_hear(&peer, 'w');
    REFUSED(-EAGAIN, try_open(0));
    close(below);
    close(above);
    REQUIRE_EQUAL(try_open(0), 0);
    peer_finish(&peer);
}

/* A lock on a dead one's byte keeps it from being recovered, and from nothing else. */
static void a_lock_on_a_dead_ones_byte_delays_its_recovery(void)
{
    cairn_heap_close(create_shared("heap", 0));
    struct peer peer = peer_start("write", NULL);
    peer_hear(&peer, 'o');
    kill(peer.pid, SIGKILL);
    finish_by(peer.pid, SIGKILL);
    int lock = lock_bytes(1, 1);
    cairn_heap *heap = open_shared("heap", 0);
    REQUIRE_EQUAL(cairn_recover(heap), 0);
    REQUIRE_CALL(cairn_alloc(heap, 100) != NULL);
    REQUIRE_SOUND(heap);
    close(lock);
    REQUIRE_EQUAL(cairn_recover(heap), 1);
    REQUIRE_EQUAL(stats_of(heap).processes, 1);
    REQUIRE_EQUAL(blocks_live(heap), 2);
    REQUIRE_SOUND(heap);
    cairn_heap_close(heap);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "write") == 0)
        return run_writer();
    static const struct claim claims[] = {
        CLAIM(some_locked_bytes_keep_nobody_out),
        CLAIM(all_locked_bytes_keep_writers_out_and_no_longer_than_they_are_locked),
        CLAIM(a_lock_on_a_dead_ones_byte_delays_its_recovery),
    };
    return run_claims(claims, COUNT(claims), 20);
}
