/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every difference between kernels, so that the other files read as if written for the newest.
 *
 * The macros HAS_... are set by Kbuild, which compiles a small file to find out.
 */
#ifndef COMPAT_H
#define COMPAT_H

#include <linux/compiler.h>
#include <linux/preempt.h>
#include <linux/sched/signal.h>
#include <linux/tracepoint.h>
#include <asm/unistd.h>

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

/* Since 6.13 the tracepoints of calls are preemptible. */
#ifdef DECLARE_TRACE_SYSCALL
#define call_probe_begins() preempt_disable_notrace()
#define call_probe_ends() preempt_enable_notrace()
#else
#define call_probe_begins() do { } while (0)
#define call_probe_ends() do { } while (0)
#endif

#ifndef data_race
/* Since 5.8; it only matters to a tool that looks for races. */
#define data_race(expression) (expression)
#endif

/* Calls younger than the oldest kernel; from 424 on a number is the same for every caller. */
#ifndef __NR_close_range
#define __NR_close_range 436
#endif
#ifndef __NR_openat2
#define __NR_openat2 437
#endif

/* Older kernels keep the numbers of x32 callers to themselves. */
#ifndef __NR_x32_readv
#define __NR_x32_readv 515
#define __NR_x32_writev 516
#define __NR_x32_execve 520
#define __NR_x32_vmsplice 532
#define __NR_x32_preadv 534
#define __NR_x32_pwritev 535
#define __NR_x32_execveat 545
#define __NR_x32_preadv2 546
#define __NR_x32_pwritev2 547
#endif

#endif /* COMPAT_H */
