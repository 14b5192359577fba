/* SPDX-License-Identifier: MIT */
/* config: a file of lines "key = value"; '#' begins a comment. What is not understood is an error with its line. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/server.h"

static const struct key {
    const char *name;
    size_t offset;
    uint64_t least;
    uint64_t most;
    uint64_t normal;
} keys[] = {
    {"clients_max", offsetof(struct server_config, clients_max), 1, SERVER_CLIENTS_LIMIT, 256},
    {"clients_per_user_max", offsetof(struct server_config, clients_per_user_max), 1, SERVER_CLIENTS_LIMIT, 128},
    {"section_bytes_max", offsetof(struct server_config, section_bytes_max), 1 << 20, UINT64_C(1) << 36,
     UINT64_C(1) << 30},
    {"sections_per_user_max", offsetof(struct server_config, sections_per_user_max), 1, SERVER_CLIENTS_LIMIT, 64},
    {"bytes_per_user_max", offsetof(struct server_config, bytes_per_user_max), 1 << 20, UINT64_C(1) << 38,
     UINT64_C(4) << 30},
    {"blocks_per_user_max", offsetof(struct server_config, blocks_per_user_max), 1, 1 << 28, 1 << 20},
    {"block_bytes_max", offsetof(struct server_config, block_bytes_max), 4096, UINT64_C(1) << 32, 64 << 20},
    {"requests_per_second_max", offsetof(struct server_config, requests_per_second_max), 1, 1000000000, 200000},
};

void config_defaults(struct server_config *ret_config)
{
    *ret_config = (struct server_config){.socket = SERVER_SOCKET};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        *(uint64_t *)(void *)((unsigned char *)ret_config + keys[i].offset) = keys[i].normal;
}

/* A number with K, M or G behind it; false: it is none. */
static bool number_read(const char *text, uint64_t *ret_number)
{
    char *end;
    errno = 0;
    if (text[0] < '0' || text[0] > '9')
        return false;
    unsigned long long number = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (errno != 0 || end[shift != 0] != '\0' || number > UINT64_MAX >> shift)
        return false;
    *ret_number = (uint64_t)number << shift;
    return true;
}

/* What is wrong with a line: a sentence without its subject, the key. Empty: nothing. */
struct wrong {
    char text[200];
};

static struct wrong right(void)
{
    return (struct wrong){0};
}

static struct wrong wrong(const char *what)
{
    struct wrong wrong;
    snprintf(wrong.text, sizeof wrong.text, "%s", what);
    return wrong;
}

static struct wrong wrong_word(const char *what, const char *word)
{
    struct wrong wrong;
    snprintf(wrong.text, sizeof wrong.text, "%s: %.100s", what, word);
    return wrong;
}

static struct wrong id_read(const char *word, bool is_group, uint32_t *ids, uint32_t *count)
{
    uint64_t id;
    if (number_read(word, &id)) {
        if (id >= UINT32_MAX || word[strspn(word, "0123456789")] != '\0')
            return wrong_word("is no id", word);
    } else if (is_group) {
        const struct group *group = getgrnam(word);
        if (group == NULL)
            return wrong_word("names a group that there is not", word);
        id = group->gr_gid;
    } else {
        const struct passwd *user = getpwnam(word);
        if (user == NULL)
            return wrong_word("names a user that there is not", word);
        id = user->pw_uid;
    }
    if (*count == SERVER_IDS)
        return wrong("has more than 64 of them");
    ids[(*count)++] = (uint32_t)id;
    return right();
}

static struct wrong ids_read(char *value, bool is_group, uint32_t *ids, uint32_t *count)
{
    struct wrong wrong = right();
    char *rest = NULL;
    for (char *word = strtok_r(value, " \t", &rest); word != NULL && wrong.text[0] == '\0';
         word = strtok_r(NULL, " \t", &rest))
        wrong = id_read(word, is_group, ids, count);
    return wrong;
}

static struct wrong number_set(struct server_config *config, const struct key *key, const char *value)
{
    uint64_t number;
    if (!number_read(value, &number))
        return wrong("is no number, with K, M or G behind it or nothing");
    if (number < key->least || number > key->most) {
        struct wrong wrong;
        snprintf(wrong.text, sizeof wrong.text, "is out of range: %llu to %llu", (unsigned long long)key->least,
                 (unsigned long long)key->most);
        return wrong;
    }
    *(uint64_t *)(void *)((unsigned char *)config + key->offset) = number;
    return right();
}

static struct wrong key_set(struct server_config *config, const char *key, char *value)
{
    if (strcmp(key, "socket") == 0) {
        if (value[0] != '/' || strlen(value) >= sizeof config->socket || value[strlen(value) - 1] == '/')
            return wrong("is no absolute path of less than 108 bytes");
        memcpy(config->socket, value, strlen(value) + 1);
        return right();
    }
    if (strcmp(key, "users") == 0)
        return ids_read(value, false, config->users, &config->users_count);
    if (strcmp(key, "groups") == 0)
        return ids_read(value, true, config->groups, &config->groups_count);
    if (strcmp(key, "everyone") == 0) {
        config->everyone = strcmp(value, "yes") == 0;
        return config->everyone || strcmp(value, "no") == 0 ? right() : wrong("is neither yes nor no");
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(key, keys[i].name) == 0)
            return number_set(config, &keys[i], value);
    }
    return wrong("is no key");
}

static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
        text[--length] = '\0';
    return text;
}

int config_read(struct server_config *config, const char *path, char *ret_reason, size_t bytes)
{
    char line[1024];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        int error = -errno;
        snprintf(ret_reason, bytes, "%s: cannot be opened: %s", path,
                 error == -ENOENT ? "there is no such file" : cairn_strerror(error));
        return error;
    }
    struct wrong found = right();
    for (unsigned number = 1; found.text[0] == '\0' && fgets(line, sizeof line, file) != NULL; number++) {
        bool is_whole = strchr(line, '\n') != NULL || feof(file);
        line[strcspn(line, "#")] = '\0';
        char *key = trim(line);
        char *equals = strchr(key, '=');
        if (key[0] == '\0' && is_whole)
            continue;
        if (equals == NULL || equals == key || !is_whole) {
            found = wrong(is_whole ? "is not of the form \"key = value\"" : "is too long, or holds a zero byte");
            snprintf(ret_reason, bytes, "%s:%u: %s", path, number, found.text);
            break;
        }
        *equals = '\0';
        char *value = trim(equals + 1);
        key = trim(key);
        found = value[0] == '\0' ? wrong("has no value") : key_set(config, key, value);
        if (found.text[0] != '\0')
            snprintf(ret_reason, bytes, "%s:%u: %s %s", path, number, key, found.text);
    }
    bool has_failed = ferror(file) != 0;
    fclose(file);
    if (has_failed && found.text[0] == '\0') {
        snprintf(ret_reason, bytes, "%s: cannot be read", path);
        return -EIO;
    }
    return found.text[0] == '\0' ? 0 : -EINVAL;
}
