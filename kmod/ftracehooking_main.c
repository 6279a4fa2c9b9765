// SPDX-License-Identifier: GPL-2.0
/*
 * ftracehooking: os_ftrace(pid) starts the trace of a process, os_ftrace(0) ends the caller's own.
 *
 * This module owns the ways in, the sessions and what is printed; iotracehooking counts.
 */
#include <linux/module.h>

#include "device.h"
#include "lines.h"
#include "redirect.h"
#include "session.h"

static long my_ftrace(pid_t pid)
{
	return pid ? session_start(pid, 0) : session_stop(0, 0);
}

/* A kernel that has its own use for the number still has the device. */
static int install_call(void)
{
	int err;

	if (!nr)
		return 0;
	err = redirect_install(my_ftrace);
	if (err != -EBUSY)
		return err;

	pr_notice(KBUILD_MODNAME ": system call %u is the kernel's uprobe(): only /dev/os_ftrace answers\n",
		  nr);
	nr = 0;
	return 0;
}

static int __init ftracehooking_init(void)
{
	int err;

	err = lines_check_owner();
	if (err)
		return err;
	err = session_init();
	if (err)
		return err;
	err = install_call();
	if (err)
		goto exit_session;
	/* Last, as it can be opened at once: a module that is open must not fail to load. */
	err = os_ftrace_device_add();
	if (err)
		goto remove_call;
	return 0;

remove_call:
	redirect_remove();
exit_session:
	session_exit();
	return err;
}

static void __exit ftracehooking_exit(void)
{
	os_ftrace_device_remove();
	redirect_remove();
	session_exit();
}

module_init(ftracehooking_init);
module_exit(ftracehooking_exit);

MODULE_AUTHOR("The logtrace developers");
MODULE_DESCRIPTION("Trace a process' use of files through the system call os_ftrace");
MODULE_VERSION(LOGTRACE_VERSION);
MODULE_LICENSE("GPL");
