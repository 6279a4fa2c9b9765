// SPDX-License-Identifier: GPL-2.0
/*
 * The calls that the threads of a session are in: when they began, and on which files.
 *
 * Only a thread itself looks up or changes its entry; the lock is for those of the same bucket.
 */
#include <linux/gfp.h>
#include <linux/hash.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "count.h"
#include "session.h"

static struct hlist_head *bucket_of(struct session *session, const struct task_struct *thread)
{
	return &session->threads.by_task[hash_ptr(thread, ilog2(THREAD_BUCKETS))];
}

static struct thread_call *find(struct session *session, const struct task_struct *thread)
{
	struct thread_call *call;

	hlist_for_each_entry_rcu_notrace(call, bucket_of(session, thread), node)
		if (call->thread == thread)
			return call;
	return NULL;
}

/**
 * thread_call_find() - look up the current thread
 * @session: the session of its process
 *
 * Return: its entry, or NULL
 */
struct thread_call *thread_call_find(struct session *session)
{
	return find(session, current);
}

/**
 * thread_call_get() - look up the current thread, and remember it if it is new
 * @session: the session of its process
 *
 * Return: its entry, or NULL if there is no memory
 */
struct thread_call *thread_call_get(struct session *session)
{
	struct thread_call *call = find(session, current);

	if (call)
		return call;
	call = kzalloc(sizeof(*call), GFP_ATOMIC | __GFP_ACCOUNT | __GFP_NOWARN);
	if (!call)
		return NULL;
	call->thread = current;
	raw_spin_lock(&session->threads.lock);
	hlist_add_head_rcu(&call->node, bucket_of(session, current));
	raw_spin_unlock(&session->threads.lock);
	return call;
}

/**
 * thread_call_remove() - forget a thread
 * @session: the session of its process
 * @thread: the thread, running
 */
void thread_call_remove(struct session *session, const struct task_struct *thread)
{
	struct thread_call *call = find(session, thread);

	if (!call)
		return;
	raw_spin_lock(&session->threads.lock);
	hlist_del_rcu(&call->node);
	raw_spin_unlock(&session->threads.lock);
	kfree_rcu(call, rcu);
}
