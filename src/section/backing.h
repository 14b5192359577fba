/* SPDX-License-Identifier: MIT */
/* What the backings share with section.c; not for other floors. */
#ifndef CAIRN_SECTION_BACKING_H
#define CAIRN_SECTION_BACKING_H

#include "section/section.h"

/* Sets every member of the view that follows from the base address and the header. */
void section_view_init(struct section *section, void *base, const struct section_image *header);

/* Of a plan with public_last: where the page of the public image begins. */
uint64_t section_public_offset(const struct section_image *header);

/* Commits the first pages of a new section and writes its header; the caller has set the backing. */
int section_image_init(struct section *section, const struct section_image *header);

#endif
