/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Both ways in for programs that start traces while the modules come and go: nothing stays open, and
 * the number of the system call is told, 0 where the kernel uses it for something else.
 */
#ifndef TRACE_WAYS_H
#define TRACE_WAYS_H

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../../kmod/os_ftrace.h"

#define ALL_FLAGS (OS_FTRACE_WIDE | OS_FTRACE_DETAIL | OS_FTRACE_FOLLOW)

/* Make a request of the device; give 0 or the error. */
static inline int ask_device(unsigned long command, pid_t pid, unsigned int flags)
{
	struct os_ftrace_request request = { pid, flags };
	int device = open(OS_FTRACE_DEVICE, O_RDWR | O_CLOEXEC), error = 0;

	if (device < 0)
		return errno;
	if (ioctl(device, command, &request))
		error = errno;
	close(device);
	return error;
}

/* Make the system call; give 0 or the error. */
static inline int ask_call(long number, pid_t pid)
{
	return !number ? ENOSYS : syscall(number, pid) ? errno : 0;
}

#endif /* TRACE_WAYS_H */
