/* SPDX-License-Identifier: GPL-2.0 */
/* What iotracehooking does with a call of a session. Preemption is disabled for all of it. */
#ifndef COUNT_H
#define COUNT_H

#include "calls.h"

struct file;
struct pt_regs;
struct session;
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

#endif /* COUNT_H */
