/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A session: the trace of one process, from its Start line to its End line.
 *
 * ftracehooking owns the sessions. iotracehooking, the counter, fills them.
 */
#ifndef SESSION_H
#define SESSION_H

#include <linux/hashtable.h>
#include <linux/limits.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/types.h>

enum traced_call {
	CALL_OPEN,
	CALL_CLOSE,
	CALL_READ,
	CALL_WRITE,
	CALL_LSEEK,
	TRACED_CALLS,
};

/**
 * struct session_counts - what one processor counted for a session, or the sum over all
 * @calls: calls that completed, by enum traced_call
 * @read_bytes: bytes that the reads returned
 * @written_bytes: bytes that the writes returned
 */
struct session_counts {
	u64 calls[TRACED_CALLS];
	u64 read_bytes;
	u64 written_bytes;
};

/**
 * struct session - the trace of one process
 * @node: place in the table of sessions
 * @rcu: frees the session when no probe can hold it any more
 * @process: the process, as its thread group's pid; held, so that it can't be reused
 * @counts: one set a processor; changed with preemption disabled
 * @file_lock: guards @file and @file_len
 * @file_len: bytes of @file in use
 * @file: name passed to the last openat(), without its NUL; any bytes
 */
struct session {
	struct hlist_node node;
	struct rcu_head rcu;
	struct pid *process;
	struct session_counts __percpu *counts;
	raw_spinlock_t file_lock;
	size_t file_len;
	char file[PATH_MAX];
};

/**
 * struct counter_ops - how sessions get their counts
 * @arm: begin to count; called before the first session begins; may sleep
 * @disarm: stop, and return when no probe runs any more; called after the last ended; may sleep
 */
struct counter_ops {
	int (*arm)(void);
	void (*disarm)(void);
};

/* For the counter. */
int ftracehooking_register_counter(const struct counter_ops *ops);
void ftracehooking_unregister_counter(void);
void ftracehooking_set_file(struct session *session, const char *file, size_t len);
bool ftracehooking_end(struct pid *process);

#define FTRACEHOOKING_TABLE_BITS 8
extern struct hlist_head ftracehooking_table[1 << FTRACEHOOKING_TABLE_BITS];

/**
 * session_find() - look up the session of a process
 * @process: the pid of the process' thread group
 *
 * The caller has preemption disabled or is in an RCU read-side section; the session stays until
 * its end. Inline, because every call of every process pays for it while a session is.
 *
 * Return: the session, or NULL
 */
static inline struct session *session_find(struct pid *process)
{
	struct session *session;

	hash_for_each_possible_rcu_notrace(ftracehooking_table, session, node,
					   (unsigned long)process)
		if (session->process == process)
			return session;
	return NULL;
}

/* Inside ftracehooking. */
long session_start(pid_t nr);
void session_sum(const struct session *session, struct session_counts *sum);
void session_exit(void);

#endif /* SESSION_H */
