// SPDX-License-Identifier: GPL-2.0
/*
 * ftracehooking: os_ftrace(pid) starts the trace of a process, os_ftrace(0) ends the caller's own.
 *
 * This module owns the system call, the sessions and what is printed; iotracehooking counts.
 */
#include <linux/module.h>
#include <linux/sched/signal.h>

#include "lines.h"
#include "redirect.h"
#include "session.h"

static long my_ftrace(pid_t pid)
{
	if (pid)
		return session_start(pid);
	return ftracehooking_end(task_tgid(current)) ? 0 : -ESRCH;
}

static int __init ftracehooking_init(void)
{
	int err = lines_check_owner();

	return err ? err : redirect_install(my_ftrace);
}

static void __exit ftracehooking_exit(void)
{
	redirect_remove();
	session_exit();
}

module_init(ftracehooking_init);
module_exit(ftracehooking_exit);

MODULE_DESCRIPTION("Trace a process' use of files through the system call os_ftrace");
MODULE_LICENSE("GPL");
