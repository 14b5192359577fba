/* SPDX-License-Identifier: MIT */
/*
 * publisher: the process that writes. Its heap is one heap with one owner and a lock (api/heap.c); what is particular
 * to it comes in by the hooks of struct publication, and is done by retire.c. Here readers are let in and watched.
 *
 * Nothing here waits for a reader: sockets do not block, a reader that connects is answered at once by one message and
 * has nothing to say itself, and when its socket closes it is gone. What comes and goes passes the door, and holds the
 * heap's lock only for the stores that tell of it: readers who come in crowds are not in the way of who allocates.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "publish/publish.h"

enum {
    READERS_DEFAULT = 64,
    DEADLINE_DEFAULT = 1000,
    PUBLISHED_ROOTS = 1024,
    ACCEPTS_AT_ONCE = 64,
    LISTEN_AGAIN = 100, /* milliseconds */
    TAG_LISTENER = CAIRN_READERS_MAX,
    TAG_ALARM,
};

#define PUBLISHED_BYTES_DEFAULT (UINT64_C(1) << 30)
#define PUBLISHED_BYTES_MIN (UINT64_C(1) << 20)

struct cairn_publisher {
    struct publication publication; /* first: the hooks get this */
    struct cairn_publisher *next;
    struct cairn_heap *heap;
    struct retirement retirement;
    struct slot slots[CAIRN_READERS_MAX];
    struct cairn_publish_options options; /* users and groups are copies of our own */
    uint32_t forks;                       /* process_forks() when it was made */
    uint64_t instance;
    struct listener listener;
    int events;
    int alarm;
    int spare;
    bool alarm_is_set; /* and has not been heard yet */
    bool is_listening; /* the listener is among the events */
    struct mutex door; /* see publish.h */
    uintptr_t thread;
    bool has_thread;
    atomic_u32 is_stopping;
    uint64_t joined;
    uint64_t refused;
    uint64_t dropped;
    char name[CAIRN_NAME_MAX + 1];
    char directory[DIRECTORY_BYTES];
};

static struct mutex publishers_lock;
static struct cairn_publisher *publishers;

static int check_not_forked(const struct cairn_publisher *publisher)
{
    return publisher->forks == process_forks()
               ? 0
               : error_set(-EROFS, "%s: published by the process from which this one was forked", publisher->name);
}

static void lock(struct cairn_publisher *publisher)
{
    heap_lock_take(&publisher->heap->lock);
}

static void unlock(struct cairn_publisher *publisher)
{
    heap_lock_give(&publisher->heap->lock);
}

/* ---------------------------------------------------------------- the heap's hooks */

static struct cairn_publisher *publisher_of(struct publication *self)
{
    return (struct cairn_publisher *)(void *)self;
}

/* Sees to it that dispatch is called when so much time has passed; the heap's lock is held. */
static void wake_in(struct cairn_publisher *publisher, uint32_t milliseconds)
{
    alarm_set(publisher->alarm, milliseconds);
    publisher->alarm_is_set = true;
}

static enum core_crime hook_free(struct publication *self, struct bins *bins, void *block)
{
    struct cairn_publisher *publisher = publisher_of(self);
    struct retirement *retirement = &publisher->retirement;
    enum core_crime crime = retire(retirement, bins, block);
    if (retirement->first != retirement->end && !publisher->alarm_is_set)
        wake_in(publisher, retirement->deadline_ms); /* from now on there is a time to watch */
    return crime;
}

static void hook_grown(struct publication *self, struct bins *bins, uint64_t bytes)
{
    retired_note_live(&publisher_of(self)->retirement, bins, bytes);
}

static bool hook_is_retired(const struct publication *self, const void *block)
{
    return is_retired(&((const struct cairn_publisher *)(const void *)self)->retirement, block);
}

static bool hook_make_room(struct publication *self, struct bins *bins)
{
    struct retirement *retirement = &publisher_of(self)->retirement;
    bool is_there = retirement->first != retirement->end;
    retired_flush(retirement, bins);
    return is_there;
}

static void hook_root_changed(struct publication *self)
{
    const struct section *section = publisher_of(self)->retirement.section;
    struct public_image *image = section->public_image;
    store_release(&image->roots_end, load_relaxed(&section->image->roots_end));
    fetch_add_acq_rel(&image->changes, 1);
    word_wake_all(&image->changes);
}

static void hook_reset(struct publication *self)
{
    retired_forget(&publisher_of(self)->retirement);
    hook_root_changed(self);
}

/* ---------------------------------------------------------------- readers come and go */

struct happening {
    struct cairn_publish_event event;
    bool is_one;
};

static void tell_of(const struct cairn_publisher *publisher, const struct happening *happening)
{
    if (happening->is_one && publisher->options.on_event != NULL)
        publisher->options.on_event(&happening->event, publisher->options.on_event_arg);
}

static struct happening happening_of(const struct cairn_publisher *publisher, cairn_publish_event_kind kind,
                                     const struct slot *slot, const char *reason)
{
    struct happening happening = {.is_one = true};
    happening.event = (struct cairn_publish_event){
        .size = sizeof happening.event,
        .kind = kind,
        .reader = (uint32_t)(slot - publisher->slots),
        .user = slot->user,
        .group = slot->group,
        .process = slot->process,
        .reason = reason,
    };
    return happening;
}

static void count(struct cairn_publisher *publisher, uint64_t *counter)
{
    lock(publisher);
    ++*counter;
    unlock(publisher);
}

static void empty_slot(struct cairn_publisher *publisher, struct slot *slot)
{
    int socket = slot->socket;
    struct pin_image *pin = slot->pin;
    lock(publisher);
    if (!slot->is_misbehaving)
        slot_resign(&publisher->retirement, slot);
    slot->is_misbehaving = false;
    slot->socket = -1;
    slot->pin = NULL;
    unlock(publisher);
    events_remove(publisher->events, socket); /* closing does not, as long as somebody has a copy */
    file_close(socket);
    memory_release(pin, platform_page_size());
}

/* Why a peer is not let in; NULL: it is. */
static const char *reason_against(const struct cairn_publisher *publisher, int socket, const struct socket_peer *peer)
{
    const struct cairn_publish_options *o = &publisher->options;
    if (peer->user == process_user() || (o->flags & CAIRN_PUBLISH_EVERYONE) != 0)
        return NULL;
    for (uint32_t i = 0; i < o->users_count; i++) {
        if (o->users[i] == peer->user)
            return NULL;
    }
    return socket_peer_is_in(socket, o->groups, o->groups_count) ? NULL : "the user is not on the access list";
}

/* A free number for a peer; NULL: there is none for this user. */
static struct slot *free_slot(struct cairn_publisher *publisher, uint32_t user)
{
    struct slot *found = NULL;
    uint32_t of_user = 0;
    for (uint32_t i = 0; i < publisher->options.readers_max; i++) {
        struct slot *slot = &publisher->slots[i];
        if (slot->socket < 0 && found == NULL)
            found = slot;
        of_user += slot->socket >= 0 && slot->user == user;
    }
    bool has_enough = user != process_user() && of_user >= publisher->options.readers_per_user_max;
    return has_enough ? NULL : found;
}

/*
 * A page that the reader may write and nothing else: it cannot be made shorter, which would kill who looks at it, nor
 * longer, which would cost the publisher memory.
 */
static int make_pin_page(int *ret_file, struct pin_image **ret_pin)
{
    size_t page = platform_page_size();
    void *pin = NULL;
    int file;
    int error = file_create_anonymous(&file, "cairn-pin");
    if (error < 0)
        return error;
    error = file_commit(file, 0, page);
    if (error == 0)
        error = file_seal(file, 0600, FILE_SEAL_SHRINK | FILE_SEAL_GROW | FILE_SEAL_SEAL);
    if (error == 0)
        error = file_map_part(&pin, file, 0, page, false);
    if (error == 0)
        error = memory_not_for_children(pin, page);
    if (error < 0) {
        memory_release(pin, page);
        file_close(file);
        return error;
    }
    *ret_file = file;
    *ret_pin = pin;
    return 0;
}

static struct wire_welcome welcome_of(const struct cairn_publisher *publisher, int status)
{
    return (struct wire_welcome){
        .magic = WIRE_MAGIC,
        .version = PUBLIC_VERSION,
        .status = status,
        .instance = publisher->instance,
    };
}

static void tell_why_not(const struct cairn_publisher *publisher, int socket, int status)
{
    struct wire_welcome message = welcome_of(publisher, status);
    (void)socket_send(socket, &message, sizeof message, NULL, 0);
}

/* Makes a slot a reader's. Its pins count before it knows of them. */
static void fill_slot(struct cairn_publisher *publisher, struct slot *slot, const struct socket_peer *peer, int socket,
                      struct pin_image *pin)
{
    lock(publisher);
    slot->user = peer->user;
    slot->group = peer->group;
    slot->process = peer->process;
    slot->pin = pin;
    slot->socket = socket;
    slot_assign(&publisher->retirement, slot);
    unlock(publisher);
}

/* Everything that a reader gets; on failure it has got nothing but the reason, and its socket is closed. */
static int welcome(struct cairn_publisher *publisher, struct slot *slot, const struct socket_peer *peer, int socket)
{
    int files[2] = {-1, -1};
    struct pin_image *pin = NULL;
    int error = file_reopen_read_only(&files[0], retirement_file(&publisher->retirement));
    if (error == 0)
        error = make_pin_page(&files[1], &pin);
    if (error == 0)
        error = events_add(publisher->events, socket, (uint64_t)(slot - publisher->slots));
    if (error == 0) {
        struct wire_welcome message = welcome_of(publisher, 0);
        message.number = (uint32_t)(slot - publisher->slots);
        message.assignment = slot->assignment;
        message.everyone = (publisher->options.flags & CAIRN_PUBLISH_EVERYONE) != 0;
        message.users_count = publisher->options.users_count;
        message.groups_count = publisher->options.groups_count;
        fill_slot(publisher, slot, peer, socket, pin);
        error = socket_send(socket, &message, sizeof message, files, 2);
        if (error < 0) {
            tell_why_not(publisher, socket, -ENOMEM);
            empty_slot(publisher, slot);
        }
    } else {
        memory_release(pin, platform_page_size());
        tell_why_not(publisher, socket, -ENOMEM);
        file_close(socket);
    }
    file_close(files[0]);
    file_close(files[1]);
    return error;
}

/* Lets one in, or refuses; -EAGAIN: nobody waits. The door is held, as for all that follows. */
static int accept_one(struct cairn_publisher *publisher, struct happening *ret_happening)
{
    int socket;
    int error = socket_accept(&publisher->listener, &publisher->spare, &socket);
    if (error < 0)
        return error;
    struct socket_peer peer;
    error = socket_peer_get(socket, &peer);
    if (error < 0) {
        file_close(socket);
        return 0;
    }
    struct slot *slot = NULL;
    const char *reason = reason_against(publisher, socket, &peer);
    int status = reason != NULL ? -EACCES : 0;
    if (status == 0) {
        slot = free_slot(publisher, peer.user);
        status = slot == NULL ? -EAGAIN : 0;
        reason = "all readers that may be there are there";
    }
    if (status < 0) {
        tell_why_not(publisher, socket, status);
        file_close(socket);
    } else {
        status = welcome(publisher, slot, &peer, socket);
        reason = "no descriptor or no memory is left for it, or it left";
    }
    count(publisher, status < 0 ? &publisher->refused : &publisher->joined);
    if (status < 0) {
        *ret_happening = happening_of(publisher, CAIRN_READER_REFUSED, publisher->slots, reason);
        ret_happening->event.reader = 0;
        ret_happening->event.user = peer.user;
        ret_happening->event.group = peer.group;
        ret_happening->event.process = peer.process;
    } else {
        *ret_happening = happening_of(publisher, CAIRN_READER_JOINED, slot, "let in");
    }
    return 0;
}

/* A reader's socket can be read: it has gone, or it has sent something, which no reader does. */
static void look_at_reader(struct cairn_publisher *publisher, struct slot *slot, struct happening *ret_happening)
{
    if (slot->socket < 0)
        return;
    bool has_gone = socket_is_hung_up(slot->socket);
    if (!has_gone && !socket_has_message(slot->socket))
        return; /* the number is another reader's since */
    *ret_happening = happening_of(publisher, has_gone ? CAIRN_READER_LEFT : CAIRN_READER_DROPPED, slot,
                                  has_gone ? "its connection is closed" : "sent a message, which no reader does");
    if (!has_gone)
        count(publisher, &publisher->dropped);
    empty_slot(publisher, slot);
}

/* Drops one that shows a pin which no reader shows. */
static void drop_misbehaving(struct cairn_publisher *publisher, struct happening *ret_happening)
{
    for (uint32_t i = 0; i < publisher->options.readers_max && !ret_happening->is_one; i++) {
        struct slot *slot = &publisher->slots[i];
        lock(publisher);
        bool is_one = slot->socket >= 0 && slot->is_misbehaving;
        unlock(publisher);
        if (!is_one)
            continue;
        *ret_happening = happening_of(publisher, CAIRN_READER_DROPPED, slot, slot->misconduct);
        count(publisher, &publisher->dropped);
        empty_slot(publisher, slot);
    }
}

/*
 * Nobody could be sent away, for the spare descriptor is lost, too: who waits goes on waiting, and so do we, for the
 * listener would stay readable and have us turn in circles.
 */
static void stop_listening(struct cairn_publisher *publisher)
{
    events_remove(publisher->events, publisher->listener.socket);
    publisher->is_listening = false;
    lock(publisher);
    wake_in(publisher, LISTEN_AGAIN);
    unlock(publisher);
}

static void hear_alarm(struct cairn_publisher *publisher)
{
    mutex_lock(&publisher->door);
    lock(publisher);
    alarm_still(publisher->alarm);
    publisher->alarm_is_set = false;
    unlock(publisher);
    if (!publisher->is_listening && events_add(publisher->events, publisher->listener.socket, TAG_LISTENER) == 0)
        publisher->is_listening = true;
    mutex_unlock(&publisher->door);
}

static int accept_some(struct cairn_publisher *publisher, uint32_t *done)
{
    for (uint32_t i = 0; i < ACCEPTS_AT_ONCE; i++) {
        struct happening happening = {0};
        mutex_lock(&publisher->door);
        int error = accept_one(publisher, &happening);
        if (error == -EMFILE && publisher->spare < 0)
            stop_listening(publisher);
        mutex_unlock(&publisher->door);
        tell_of(publisher, &happening);
        if (error == -EMFILE)
            return error_set(-EMFILE, "%s: no descriptor is left for a reader, who was sent away", publisher->name);
        if (error < 0)
            return 0;
        ++*done;
    }
    return 0;
}

static void collect(struct cairn_publisher *publisher)
{
    struct bins *bins = call_begin(publisher->heap, "dispatch");
    if (bins == NULL)
        return;
    retired_collect(&publisher->retirement, bins);
    int patience = retired_patience(&publisher->retirement);
    if (patience >= 0)
        wake_in(publisher, (uint32_t)patience + 1);
    call_end(publisher->heap, bins);
}

static int dispatch(struct cairn_publisher *publisher, int milliseconds)
{
    uint64_t tags[32];
    uint32_t done = 0;
    int result = 0;
    int found = events_wait(publisher->events, tags, COUNT_OF(tags), milliseconds);
    for (int i = 0; i < found; i++) {
        struct happening happening = {0};
        if (tags[i] == TAG_LISTENER) {
            result = accept_some(publisher, &done);
        } else if (tags[i] == TAG_ALARM) {
            hear_alarm(publisher);
        } else {
            mutex_lock(&publisher->door);
            look_at_reader(publisher, &publisher->slots[tags[i]], &happening);
            mutex_unlock(&publisher->door);
            tell_of(publisher, &happening);
            done++;
        }
    }
    collect(publisher);
    struct happening happening;
    do {
        happening = (struct happening){0};
        mutex_lock(&publisher->door);
        drop_misbehaving(publisher, &happening);
        mutex_unlock(&publisher->door);
        tell_of(publisher, &happening);
        done += happening.is_one;
    } while (happening.is_one);
    return found < 0    ? error_set(found, "%s: cannot wait for readers: %s", publisher->name, cairn_strerror(found))
           : result < 0 ? result
                        : (int)done;
}

CAIRN_API int cairn_publisher_dispatch(struct cairn_publisher *publisher)
{
    int error = check_not_forked(publisher);
    return error < 0 ? error : dispatch(publisher, 0);
}

static void *run(void *arg)
{
    struct cairn_publisher *publisher = arg;
    int result = 0;
    /* Ends, too, when the program has closed the descriptors under it: there is nothing left to wait for. */
    while (load_acquire(&publisher->is_stopping) == 0 && result != -EBADF && result != -EINVAL)
        result = dispatch(publisher, -1);
    return NULL;
}

CAIRN_API int cairn_publisher_start_thread(struct cairn_publisher *publisher)
{
    int error = check_not_forked(publisher);
    if (error < 0)
        return error;
    mutex_lock(&publisher->door);
    if (publisher->has_thread)
        error = error_set(-EBUSY, "%s: the publisher has its thread already", publisher->name);
    else if ((error = thread_start(&publisher->thread, run, publisher)) < 0)
        error = error_set(error, "%s: no thread can be started", publisher->name);
    else
        publisher->has_thread = true;
    mutex_unlock(&publisher->door);
    return error;
}

CAIRN_API struct cairn_heap *cairn_publisher_heap(struct cairn_publisher *publisher)
{
    return publisher->heap;
}

CAIRN_API int cairn_publisher_fd(const struct cairn_publisher *publisher)
{
    return publisher->events;
}

CAIRN_API int cairn_publisher_stats_get(struct cairn_publisher *publisher, struct cairn_publisher_stats *ret_stats)
{
    int error = check_not_forked(publisher);
    if (error < 0)
        return error;
    size_t size = structure_size("statistics", ret_stats->size, sizeof *ret_stats);
    if (size == 0)
        return -EINVAL;
    lock(publisher);
    const struct retirement *retirement = &publisher->retirement;
    struct cairn_publisher_stats stats = {
        .size = ret_stats->size,
        .bytes = load_relaxed(&retirement->image->bytes),
        .bytes_retired = retirement->bytes,
        .blocks_retired = retirement->end - retirement->first,
        .joined = publisher->joined,
        .refused = publisher->refused,
        .dropped = publisher->dropped,
        .cut_off = retirement->cut_off,
        .generation = publisher->instance,
    };
    for (uint32_t i = 0; i < publisher->options.readers_max; i++) {
        const struct slot *slot = &publisher->slots[i];
        stats.readers += slot->socket >= 0;
        stats.reading += slot->socket >= 0 && load_relaxed(&slot->pin->epoch) != 0;
    }
    unlock(publisher);
    memcpy(ret_stats, &stats, size);
    return 0;
}

/* ---------------------------------------------------------------- fork */

/*
 * The child has none of it. What would keep readers and the next publisher from noticing that this one has ended, a
 * connection or the listening socket, is closed there.
 */
static void before_fork(void)
{
    mutex_lock(&publishers_lock);
    for (struct cairn_publisher *p = publishers; p != NULL; p = p->next) {
        mutex_lock(&p->door);
        lock(p);
    }
}

static void parent_after_fork(void)
{
    for (struct cairn_publisher *p = publishers; p != NULL; p = p->next) {
        unlock(p);
        mutex_unlock(&p->door);
    }
    mutex_unlock(&publishers_lock);
}

static void close_descriptors(struct cairn_publisher *publisher)
{
    for (uint32_t i = 0; i < CAIRN_READERS_MAX; i++) {
        file_close(publisher->slots[i].socket);
        publisher->slots[i].socket = -1;
    }
    file_close(publisher->events);
    file_close(publisher->alarm);
    file_close(publisher->spare);
    publisher->events = publisher->alarm = publisher->spare = -1;
}

static void child_after_fork(void)
{
    for (struct cairn_publisher *p = publishers; p != NULL; p = p->next) {
        file_close(p->listener.socket);
        p->listener.socket = -1;
        close_descriptors(p);
        for (uint32_t i = 0; i < CAIRN_READERS_MAX; i++)
            p->slots[i].pin = NULL; /* not inherited: something else may lie there by now */
        unlock(p);
        mutex_unlock(&p->door);
    }
    mutex_unlock(&publishers_lock);
}

static int watch_forks(void)
{
    static bool watching;
    int error = 0;
    mutex_lock(&publishers_lock);
    if (!watching) {
        mutex_lock(&process_lock);
        error = process_watch(); /* first: its handlers are the inner ones */
        mutex_unlock(&process_lock);
        if (error == 0)
            error = process_on_fork(before_fork, parent_after_fork, child_after_fork);
        watching = error == 0;
    }
    mutex_unlock(&publishers_lock);
    return error;
}

static void link_publisher(struct cairn_publisher *publisher)
{
    mutex_lock(&publishers_lock);
    publisher->next = publishers;
    publishers = publisher;
    mutex_unlock(&publishers_lock);
}

static void unlink_publisher(struct cairn_publisher *publisher)
{
    mutex_lock(&publishers_lock);
    struct cairn_publisher **link = &publishers;
    while (*link != NULL && *link != publisher)
        link = &(*link)->next;
    if (*link != NULL)
        *link = publisher->next;
    mutex_unlock(&publishers_lock);
}

/* ---------------------------------------------------------------- making one */

static int options_take(struct cairn_publish_options *ret_options, const struct cairn_publish_options *options)
{
    struct cairn_publish_options o = {0};
    size_t size = options != NULL ? structure_size("options", options->size, sizeof o) : 0;
    if (options != NULL && size == 0)
        return -EINVAL;
    if (options != NULL)
        memcpy(&o, options, size);
    if ((o.flags & ~(CAIRN_PUBLISH_EVERYONE | CAIRN_PUBLISH_EXACT_SIZES | CAIRN_PUBLISH_LOCKABLE)) != 0)
        return error_set(-EINVAL, "unknown flags in options");
    if (o.readers_max > CAIRN_READERS_MAX)
        return error_set(-EINVAL, "readers_max is %d at most", CAIRN_READERS_MAX);
    if (o.bytes_max != 0 && o.bytes_max < PUBLISHED_BYTES_MIN)
        return error_set(-EINVAL, "a published heap's limit is %llu KiB at least",
                         (unsigned long long)(PUBLISHED_BYTES_MIN >> 10));
    if ((o.mode & ~0777u) != 0)
        return error_set(-EINVAL, "mode %o: only permission bits", o.mode);
    if ((o.users == NULL && o.users_count != 0) || (o.groups == NULL && o.groups_count != 0) || o.users_count > 65536 ||
        o.groups_count > 65536)
        return error_set(-EINVAL, "an access list of nothing, or of more than 65536");
    bool others = (o.flags & CAIRN_PUBLISH_EVERYONE) != 0 || o.users_count != 0 || o.groups_count != 0;
    o.readers_max = o.readers_max != 0 ? o.readers_max : READERS_DEFAULT;
    o.readers_per_user_max = o.readers_per_user_max != 0 ? o.readers_per_user_max : (o.readers_max + 1) / 2;
    o.deadline_ms = o.deadline_ms != 0 ? o.deadline_ms : DEADLINE_DEFAULT;
    o.bytes_max = align_down(o.bytes_max != 0 ? o.bytes_max : PUBLISHED_BYTES_DEFAULT, platform_page_size());
    o.mode = o.mode != 0 ? o.mode : others ? 0666 : 0600;
    *ret_options = o;
    return 0;
}

static int copy_ids(const uint32_t **ids, uint32_t count)
{
    uint32_t *copy = count != 0 ? pool_get(count * sizeof **ids) : NULL;
    if (copy != NULL)
        memcpy(copy, *ids, count * sizeof **ids);
    *ids = copy;
    return copy == NULL && count != 0 ? -ENOMEM : 0;
}

static void give_ids(const uint32_t *ids, uint32_t count)
{
    if (ids != NULL)
        pool_give((void *)(uintptr_t)ids, count * sizeof *ids);
}

struct making {
    struct section section;
    struct section_params params;
    uint32_t readers_max;
};

/* A file for each attempt: the seals are for ever, and a sealed one cannot be mapped elsewhere. */
static int make_at(uint64_t address, void *arg)
{
    struct making *making = arg;
    int file;
    int error = file_create_anonymous(&file, "cairn-published");
    if (error < 0)
        return error;
    making->params.address = address;
    error = section_create_published(&making->section, file, &making->params, making->readers_max);
    if (error < 0)
        file_close(file);
    return error;
}

static int make_heap(struct cairn_publisher *publisher)
{
    const struct cairn_publish_options *o = &publisher->options;
    struct making making = {
        .params =
            {
                .bytes_max = o->bytes_max,
                .page_shift = bit_highest(platform_page_size()),
                .owners_max = 1,
                .heaps_max = 1,
                .roots_max = PUBLISHED_ROOTS,
                .created_at = time_now(),
                .instance = publisher->instance,
            },
        .readers_max = o->readers_max,
    };
    int error = address_choose(publisher->directory, publisher->name, o->bytes_max, NULL, make_at, &making);
    if (error < 0)
        return error_set(error == -ENOSPC ? -EINVAL : error, "%s: cannot be made: %s", publisher->name,
                         error == -ENOSPC       ? "its limit is too small"
                         : error == -EADDRINUSE ? "no free address was found"
                         : error == -EOPNOTSUPP ? "the system cannot seal files against writing"
                                                : cairn_strerror(error));
    uint64_t flags = ((o->flags & CAIRN_PUBLISH_EXACT_SIZES) != 0 ? CAIRN_EXACT_SIZES : 0) |
                     ((o->flags & CAIRN_PUBLISH_LOCKABLE) != 0 ? CAIRN_LOCKABLE : 0);
    error = published_heap_new(&publisher->heap, &making.section, publisher->name, flags, &publisher->publication);
    if (error < 0) {
        section_close(&making.section);
        return error_set(error, "%s: no memory for its bookkeeping", publisher->name);
    }
    error = retirement_begin(&publisher->retirement, &publisher->heap->core, publisher->slots, o->readers_max,
                             o->deadline_ms);
    if (error < 0)
        error_set(error, "%s: no memory for its bookkeeping", publisher->name);
    return error;
}

/* Without /proc no descriptor can be opened for reading only: known now, and not when the first reader comes. */
static int check_proc(const struct cairn_publisher *publisher)
{
    int file;
    int error = file_reopen_read_only(&file, retirement_file(&publisher->retirement));
    if (error < 0)
        return error_set(error, "%s: without /proc nothing can be handed out for reading only", publisher->name);
    file_close(file);
    return 0;
}

static int make_events(struct cairn_publisher *publisher)
{
    int error = events_create(&publisher->events);
    if (error == 0)
        error = alarm_create(&publisher->alarm);
    if (error == 0)
        error = events_add(publisher->events, publisher->alarm, TAG_ALARM);
    if (error == 0)
        error = socket_spare(&publisher->spare);
    return error < 0 ? error_set(error, "%s: no descriptor is left", publisher->name) : 0;
}

static int listen_for_readers(struct cairn_publisher *publisher)
{
    char name[SOCKET_NAME_BYTES];
    wire_socket_name(name, publisher->name);
    int error = socket_listen(&publisher->listener, publisher->directory, name, publisher->options.mode);
    if (error == 0)
        error = events_add(publisher->events, publisher->listener.socket, TAG_LISTENER);
    if (error == 0)
        return 0;
    return error_set(error, "%s: cannot be published in %s: %s", publisher->name, publisher->directory,
                     error == -EADDRINUSE     ? "its publisher lives"
                     : error == -EEXIST       ? "what lies there is no socket"
                     : error == -EPERM        ? "the socket there belongs to another user"
                     : error == -ENAMETOOLONG ? "directory and name together are too long for a socket"
                     : error == -EAGAIN       ? "the directory is kept locked"
                                              : cairn_strerror(error));
}

/* With the door held, so that a child which is forked meanwhile gets no descriptor that it does not know of. */
static int open_door(struct cairn_publisher *publisher)
{
    link_publisher(publisher);
    mutex_lock(&publisher->door);
    int error = make_events(publisher);
    if (error == 0)
        error = listen_for_readers(publisher);
    publisher->is_listening = error == 0;
    mutex_unlock(&publisher->door);
    return error;
}

/* All that a child must not have is gone before forks forget of it. */
static void close_door(struct cairn_publisher *publisher)
{
    char name[SOCKET_NAME_BYTES];
    wire_socket_name(name, publisher->name);
    mutex_lock(&publisher->door);
    listener_close(&publisher->listener, publisher->directory, name);
    close_descriptors(publisher);
    mutex_unlock(&publisher->door);
    unlink_publisher(publisher);
}

static void end(struct cairn_publisher *publisher)
{
    close_door(publisher);
    for (uint32_t i = 0; i < CAIRN_READERS_MAX; i++)
        memory_release(publisher->slots[i].pin, platform_page_size());
    if (publisher->heap != NULL)
        published_heap_end(publisher->heap);
    if (publisher->retirement.ring != NULL)
        retirement_end(&publisher->retirement);
    give_ids(publisher->options.users, publisher->options.users_count);
    give_ids(publisher->options.groups, publisher->options.groups_count);
    memory_release(publisher, align_up(sizeof *publisher, platform_page_size()));
}

CAIRN_API int cairn_publish(struct cairn_publisher **ret_publisher, const char *name,
                            const struct cairn_publish_options *options)
{
    struct cairn_publish_options o = {0};
    char directory[DIRECTORY_BYTES];
    void *memory = NULL;
    int error = name_check(name);
    if (error == 0)
        error = options_take(&o, options);
    if (error == 0 && ret_publisher == NULL)
        error = error_set(-EINVAL, "%s: a publisher needs a variable to be stored to", name);
    if (error == 0)
        error = directory_get(o.directory, true, directory, NULL);
    if (error < 0)
        return error;
    error = watch_forks();
    if (error == 0)
        error = memory_get(&memory, align_up(sizeof(struct cairn_publisher), platform_page_size()));
    if (memory == NULL)
        return error_set(error, "%s: no memory for its bookkeeping", name);

    struct cairn_publisher *publisher = memory;
    publisher->publication = (struct publication){
        .free = hook_free,
        .is_retired = hook_is_retired,
        .grown = hook_grown,
        .make_room = hook_make_room,
        .root_changed = hook_root_changed,
        .reset = hook_reset,
    };
    publisher->options = o;
    publisher->forks = process_forks();
    publisher->listener.socket = publisher->events = publisher->alarm = publisher->spare = -1;
    for (uint32_t i = 0; i < CAIRN_READERS_MAX; i++)
        publisher->slots[i].socket = -1;
    random_fill(&publisher->instance, sizeof publisher->instance);
    memcpy(publisher->name, name, strlen(name) + 1);
    memcpy(publisher->directory, directory, strlen(directory) + 1);
    error = copy_ids(&publisher->options.users, o.users_count);
    if (copy_ids(&publisher->options.groups, o.groups_count) < 0 || error < 0)
        error = error_set(-ENOMEM, "%s: no memory for its bookkeeping", name);
    if (error == 0)
        error = make_heap(publisher);
    if (error == 0)
        error = check_proc(publisher);
    if (error == 0)
        error = open_door(publisher);
    if (error < 0) {
        end(publisher);
        return error;
    }
    *ret_publisher = publisher;
    return 0;
}

CAIRN_API void cairn_publisher_close(struct cairn_publisher *publisher)
{
    if (publisher == NULL)
        return;
    if (publisher->has_thread && publisher->forks == process_forks()) {
        store_release(&publisher->is_stopping, 1);
        alarm_set(publisher->alarm, 0);
        thread_join(publisher->thread);
    }
    if (publisher->forks == process_forks()) {
        struct public_image *image = publisher->retirement.image;
        store_release(&image->closed, 1);
        fetch_add_acq_rel(&image->changes, 1);
        word_wake_all(&image->changes);
    }
    end(publisher);
}
