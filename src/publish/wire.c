/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>

#include "publish/publish.h"

void wire_socket_name(char ret_name[SOCKET_NAME_BYTES], const char *name)
{
    snprintf(ret_name, SOCKET_NAME_BYTES, "%s.sock", name);
}

/* The checksum is no proof of good will: what a number leads to is looked at as well. */
static bool is_possible(const struct public_image *image, uint64_t bytes)
{
    uint64_t page = platform_page_size();
    uint64_t last = UINT64_C(1) << 47;
    uint64_t units_offset = image->units_offset;
    return image->readers_max >= 1 && image->readers_max <= READERS_LIMIT && image->roots_max >= 1 &&
           image->roots_max <= ROOTS_LIMIT && image->roots_offset == page && units_offset % page == 0 &&
           units_offset >= page + image->roots_max * sizeof(struct root_image) && image->bytes_max > units_offset &&
           image->bytes_max % page == 0 && image->address % page == 0 && image->address != 0 && image->address < last &&
           image->bytes_max <= last - image->address && image->public_offset % page == 0 &&
           image->public_offset < last && bytes >= units_offset; /* who may grow it can only make it longer */
}

int public_image_check(const struct public_image *image, uint64_t bytes, const char **ret_reason)
{
    *ret_reason = "not a published heap";
    if (image->magic != PUBLIC_MAGIC || image->byte_order != IMAGE_BYTE_ORDER)
        return -EPROTO;
    *ret_reason = "published by another version or build of cairn";
    if (image->version != PUBLIC_VERSION || image->fingerprint != public_fingerprint())
        return -EPROTO;
    *ret_reason = "damaged: the header's checksum is wrong";
    if (image->checksum != public_checksum(image))
        return -EUCLEAN;
    *ret_reason = "damaged: the header contradicts itself";
    if (!is_possible(image, bytes))
        return -EUCLEAN;
    *ret_reason = "";
    return 0;
}
