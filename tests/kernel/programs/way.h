/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The way in that is in force: the system call where it has a number and no options are wanted,
 * the device otherwise.
 *
 * To find it opens files, so a program does it before it starts a trace.
 */
#ifndef WAY_H
#define WAY_H

#include <fcntl.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../../kmod/exercise/number.h"
#include "../../../kmod/os_ftrace.h"

/* Above the descriptors that the programs get, so that those are the same for both ways. */
#define WAY_DEVICE 100

static long way_number;

/* Find the way; the device stays open where a trace may need it. */
static inline void way_find(bool device)
{
	int opened;

	/* Without the module a caller may want to see that nothing answers. */
	if (access("/sys/module/ftracehooking", F_OK))
		way_number = number_is_uprobe() ? 0 : NR_OS_FTRACE;
	else
		way_number = number_in_force("ftracehooking");
	if (way_number && !device)
		return;
	opened = open(OS_FTRACE_DEVICE, O_RDWR);
	if (opened < 0)
		return;
	fcntl(opened, F_DUPFD_CLOEXEC, WAY_DEVICE);
	close(opened);
}

/* Start the trace of a process, 0 for the own. */
static inline long way_start(pid_t pid, unsigned int flags)
{
	struct os_ftrace_request request = { pid, flags };

	if (way_number && !flags)
		return syscall(way_number, pid ? pid : getpid());
	return ioctl(WAY_DEVICE, OS_FTRACE_START, &request);
}

static inline long way_end(pid_t pid, unsigned int flags)
{
	struct os_ftrace_request request = { pid, flags };

	if (way_number && !flags && !pid)
		return syscall(way_number, 0);
	return ioctl(WAY_DEVICE, OS_FTRACE_STOP, &request);
}

#endif /* WAY_H */
