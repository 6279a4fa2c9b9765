// SPDX-License-Identifier: GPL-2.0
/* Compiles where sched_process_exit tells a probe whether the thread is the last one (6.16). */
#include <trace/events/sched.h>

static void probe(void *data, struct task_struct *task, bool group_dead)
{
}

static inline void question(void)
{
	check_trace_callback_type_sched_process_exit(probe);
}
