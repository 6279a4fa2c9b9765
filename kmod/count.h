/* SPDX-License-Identifier: GPL-2.0 */
/* What iotracehooking does with a call of a session. Preemption is disabled for all of it. */
#ifndef COUNT_H
#define COUNT_H

#include <linux/smp.h>
#include <asm/syscall.h>

#include "calls.h"
#include "session.h"

#define TIMED (OS_FTRACE_WIDE | OS_FTRACE_DETAIL)

struct file;
struct pt_regs;
struct session;
struct task_struct;
struct thread_call;

int count_init(void);
void count_exit(void);
void count_entry(struct session *session, struct pt_regs *regs, long nr);
void count_name(struct session *session, struct pt_regs *regs, long ret);
void count_extra(struct session *session, enum traced_call traced, struct pt_regs *regs, long ret);
void count_again(struct session *session, struct pt_regs *regs);
void count_thread_exit(struct session *session, const struct task_struct *thread);

/* The calls that threads are in. */
struct thread_call *thread_call_find(struct session *session);
struct thread_call *thread_call_get(struct session *session);
void thread_call_remove(struct session *session, const struct task_struct *thread);

/* What becomes of files. */
int file_use_init(void);
void file_use_exit(void);
void file_use_entry(struct session *session, struct thread_call *call, enum traced_call traced,
		    const unsigned long *arguments);
void file_use_count(struct session *session, const struct thread_call *call,
		    enum traced_call traced, const unsigned long *arguments, long ret);
char *path_buffer(void);
long descriptor_path(int fd, const char **path, const struct file **file);

static inline bool executes(enum traced_call traced)
{
	return call_shapes[traced].role == ROLE_EXECUTE;
}

/* Without one of the lab's calls that opens, which needs more. */
static inline void count_lab(struct lab_counts *counts, enum traced_call traced, long ret)
{
	if (traced == CALL_CLOSE && ret)
		return;
	counts->calls[traced]++;
	if (ret <= 0)
		return;
	if (traced == CALL_READ)
		counts->read_bytes += ret;
	else if (traced == CALL_WRITE)
		counts->written_bytes += ret;
}

/**
 * count_call() - count a call of the current thread that has completed
 * @session: the session of its process
 * @regs: its registers
 * @ret: the result of the call
 *
 * With a result of -EINTR also callable with interrupts off and the lock of signals held. Inline,
 * and without a stack frame, as every traced call pays for it.
 */
static __always_inline void count_call(struct session *session, struct pt_regs *regs, long ret)
{
	enum traced_call traced = traced_call(regs->orig_ax);

	if (traced == CALL_NONE)
		return;
	if (traced < LAB_CALLS)
		count_lab(&session->lab[smp_processor_id()], traced, ret);
	if (traced == CALL_OPENAT)
		count_name(session, regs, ret);
	if (unlikely(session->flags & TIMED))
		count_extra(session, traced, regs, ret);
	if (unlikely(traced >= LAB_CALLS && executes(traced) && !ret))
		ftracehooking_executes(session);
}

#endif /* COUNT_H */
