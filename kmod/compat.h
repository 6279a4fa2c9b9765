/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every difference between kernels, so that the other files read as if written for the newest.
 *
 * The macros HAS_... are set by Kbuild, which compiles a small file to find out.
 */
#ifndef COMPAT_H
#define COMPAT_H

#include <linux/sched/signal.h>

/*
 * Before 6.16 the tracepoint sched_process_exit doesn't say whether the thread is its process'
 * last one. Two last threads may then both be told so.
 */
#ifdef HAS_GROUP_DEAD
#define DEFINE_PROCESS_EXIT_PROBE(probe, function)					\
static void probe(void *data, struct task_struct *task, bool group_dead)		\
{											\
	function(task, group_dead);							\
}
#else
#define DEFINE_PROCESS_EXIT_PROBE(probe, function)					\
static void probe(void *data, struct task_struct *task)					\
{											\
	function(task, !atomic_read(&task->signal->live));				\
}
#endif

#endif /* COMPAT_H */
