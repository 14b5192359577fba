/* SPDX-License-Identifier: MIT */
#include "win32/win32.h"

static _Thread_local DWORD last_error;

CAIRN_WIN32_API DWORD WINAPI GetLastError(void)
{
    return last_error;
}

CAIRN_WIN32_API void WINAPI SetLastError(DWORD dwErrCode)
{
    last_error = dwErrCode;
}

DWORD error_of(int error)
{
    switch (-error) {
    case 0:
        return NO_ERROR;
    case EINVAL:
        return ERROR_INVALID_PARAMETER;
    case ENOENT:
        return ERROR_FILE_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP:
        return ERROR_ACCESS_DENIED;
    case EEXIST:
        return ERROR_ALREADY_EXISTS;
    case EPROTO:
    case EUCLEAN:
    case ENXIO:                      /* a socket */
        return ERROR_INVALID_HANDLE; /* a name of something else */
    case ENAMETOOLONG:
        return ERROR_FILENAME_EXCED_RANGE;
    case EADDRINUSE:
        return ERROR_INVALID_ADDRESS;
    case EOPNOTSUPP:
    case ENOSYS:
        return ERROR_NOT_SUPPORTED;
    default:
        return ERROR_NOT_ENOUGH_MEMORY;
    }
}

BOOL fail(DWORD error)
{
    last_error = error;
    return FALSE;
}

void *fail_null(DWORD error)
{
    last_error = error;
    return NULL;
}
