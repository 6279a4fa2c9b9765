// SPDX-License-Identifier: GPL-2.0
/* The files of a session: how they begin and end. The counter fills them. */
#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/fdtable.h>
#include <linux/kernel.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "files.h"
#include "open_file.h"
#include "options.h"
#include "session.h"

/**
 * session_files_init() - begin with no files
 * @session: a new session
 */
void session_files_init(struct session *session)
{
	struct session_files *files = &session->files;

	raw_spin_lock_init(&files->lock);
	INIT_LIST_HEAD(&files->in_order);
	files->max = options_max_files();
}

atomic_t ftracehooking_files = ATOMIC_INIT(0);
EXPORT_SYMBOL_GPL(ftracehooking_files);

/* The table of descriptors of a process, of whose threads the first may have exited. */
static bool find_open(struct session_files *files, struct task_struct *thread)
{
	struct traced_file *file;
	unsigned long irq;
	bool found;

	/* Keeps the thread from letting go of its table. */
	task_lock(thread);
	found = thread->files;
	if (found) {
		raw_spin_lock_irqsave(&files->lock, irq);
		list_for_each_entry(file, &files->in_order, order)
			file->open = file->file && file->file == open_file(thread->files, file->fd);
		raw_spin_unlock_irqrestore(&files->lock, irq);
	}
	task_unlock(thread);
	return found;
}

/**
 * session_files_end() - note which files are open at the end of a session
 * @session: a session that ends
 * @leader: the first thread of its process; the caller is in an RCU read-side section
 */
void session_files_end(struct session *session, struct task_struct *leader)
{
	struct task_struct *thread;

	if (list_empty(&session->files.in_order))
		return;
	if (same_thread_group(leader, current) && find_open(&session->files, current))
		return;
	for_each_thread(leader, thread)
		if (find_open(&session->files, thread))
			return;
}

/**
 * session_files_free() - free the files and threads of a session
 * @session: a session that nothing refers to
 */
void session_files_free(struct session *session)
{
	struct traced_file *file, *next_file;
	struct thread_call *call;
	struct hlist_node *next;
	int i;

	atomic_sub(session->files.known, &ftracehooking_files);
	list_for_each_entry_safe(file, next_file, &session->files.in_order, order)
		kfree(file);
	for (i = 0; i < THREAD_BUCKETS; i++)
		hlist_for_each_entry_safe(call, next, &session->threads.by_task[i], node)
			kfree(call);
}
