/* SPDX-License-Identifier: GPL-2.0 */
/* What iotracehooking does with a call of a session. Preemption is disabled for all of it. */
#ifndef COUNT_H
#define COUNT_H

#include <linux/smp.h>
#include <asm/ptrace.h>

#include "calls.h"
#include "session.h"

#define TIMED (OS_FTRACE_WIDE | OS_FTRACE_DETAIL)

struct file;
struct task_struct;
struct thread_call;

int count_init(void);
void count_exit(void);
void count_entry(struct session *session, struct pt_regs *regs, long nr);
void count_call(struct session *session, struct pt_regs *regs, long ret);
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

/**
 * count_plainly() - count a call of the current thread if no more is to be done than to count it
 * @session: the session of its process
 * @regs: its registers
 * @ret: the result of the call
 *
 * Those are the calls that programs make most. Inline, as a traced process pays for it with each.
 *
 * Return: false if count_call() or count_again() must see to it
 */
static __always_inline bool count_plainly(struct session *session, const struct pt_regs *regs,
					  long ret)
{
	enum traced_call traced = native_call(regs->orig_ax);
	unsigned int cpu = smp_processor_id();

	if (unlikely(traced < CALL_CLOSE || traced > CALL_LSEEK))
		return traced == CALL_NONE;
	if (unlikely(ret < 0 || session->flags & TIMED))
		return false;
	session->lab[cpu].calls[traced]++;
	session->lab[cpu].results[traced] += ret;
	return true;
}

#endif /* COUNT_H */
