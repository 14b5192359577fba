/* SPDX-License-Identifier: MIT */
/* All that is here of this header stands in windows.h. */
#include "windows.h"
