// SPDX-License-Identifier: GPL-2.0
/*
 * What ftracehooking prints, byte for byte. Programs parse it.
 *
 *	OS Assignment2 ftrace [PID] Start
 *	[OWNER] COMM file[FILE] stats [x] read - BYTES / written - BYTES
 *	open[N] close[N] read[N] write[N] lseek[N]
 *	OS Assignment2 ftrace [PID] End
 *
 * The last three are printed together: no other session's line comes between them. All are
 * KERN_INFO. A start that names no process prints, as KERN_ERR,
 *
 *	Failed to find task for pid: PID
 *
 * PID:   the process (thread group) in the initial pid namespace; in the KERN_ERR line, what was
 *        passed
 * OWNER: the module's parameter, 1 to 32 printable ASCII characters without blank, '[' and ']'
 * COMM:  the name of the process' first thread when the session ends
 * FILE:  the name passed to the last openat(); where that can't be read, the path of what it
 *        opened; nothing before the first
 * BYTES, N: decimal
 *
 * COMM and FILE are the traced program's to choose, so they are escaped: bytes below 0x20, 0x7f
 * and '\' become \xNN, two lower-case hexadecimal digits; in COMM also '[' and ']', so that the
 * first " file[" is the real one; of several "] stats [x] read - ", the last one is. Bytes from
 * 0x80 up pass. A FILE of more than 600 bytes, escaped, is cut before the escape or UTF-8
 * character that doesn't fit, and "\..." follows, which no escaped text contains.
 */
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "lines.h"
#include "session.h"

#define OWNER_MAX 32
#define FILE_MAX 600
#define CUT_MARK "\\..."
#define ESCAPE_LEN 4

static char *owner = "2021202045";
module_param(owner, charp, 0444);
MODULE_PARM_DESC(owner, "id that begins the line of a session's bytes (default 2021202045)");

/**
 * lines_check_owner() - refuse an owner that would make the lines ambiguous
 *
 * Return: 0 or -EINVAL
 */
int lines_check_owner(void)
{
	const char *c;

	for (c = owner; *c; c++)
		if (!isascii(*c) || !isgraph(*c) || *c == '[' || *c == ']')
			break;
	if (!*c && c > owner && c - owner <= OWNER_MAX)
		return 0;

	pr_err("ftracehooking: owner= takes 1 to %d printable ASCII characters without blank, '[' and ']'\n",
	       OWNER_MAX);
	return -EINVAL;
}

/* Number of bytes of the UTF-8 character that text begins with; 1 for whatever is none. */
static size_t character_len(const char *text, size_t len)
{
	unsigned char lead = *text;
	size_t want, i;

	if (lead >= 0xc2 && lead <= 0xdf)
		want = 2;
	else if (lead >= 0xe0 && lead <= 0xef)
		want = 3;
	else if (lead >= 0xf0 && lead <= 0xf4)
		want = 4;
	else
		return 1;

	if (want > len)
		return 1;
	for (i = 1; i < want; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 1;
	return want;
}

static bool must_escape(unsigned char c, const char *also)
{
	return c < 0x20 || c == 0x7f || c == '\\' || (c < 0x80 && strchr(also, c));
}

/*
 * Write text to out, escaped, as at most max bytes, a cut mark if it is longer, and a NUL. The
 * bytes of also are escaped besides those that always are.
 */
static void escape(char *out, size_t max, const char *text, size_t len, const char *also)
{
	const char *end = text + len;

	while (text < end) {
		bool escaped = must_escape(*text, also);
		size_t step = character_len(text, end - text);
		size_t room = escaped ? ESCAPE_LEN : step;

		if (room > max) {
			strcpy(out, CUT_MARK);
			return;
		}
		if (escaped)
			sprintf(out, "\\x%02x", (unsigned char)*text);
		else
			memcpy(out, text, step);
		text += step;
		out += room;
		max -= room;
	}
	*out = '\0';
}

static void escape_comm(char *out, size_t max, struct pid *process)
{
	char comm[TASK_COMM_LEN] = "?";
	struct task_struct *task;

	rcu_read_lock();
	task = pid_task(process, PIDTYPE_TGID);
	if (task)
		strscpy(comm, task->comm, sizeof(comm));
	rcu_read_unlock();
	escape(out, max, comm, strlen(comm), "[]");
}

static void escape_file(char *out, size_t max, struct session *session)
{
	raw_spin_lock(&session->file_lock);
	escape(out, max, session->file, session->file_len, "");
	raw_spin_unlock(&session->file_lock);
}

/**
 * lines_print_unknown() - say that a start named no process
 * @nr: the number passed
 */
void lines_print_unknown(pid_t nr)
{
	pr_err("Failed to find task for pid: %d\n", nr);
}

/**
 * lines_print_start() - print the line that begins a session
 * @session: the session; the caller holds the lock of the table
 */
void lines_print_start(const struct session *session)
{
	pr_info("OS Assignment2 ftrace [%d] Start\n", pid_nr(session->process));
}

/**
 * lines_print_end() - print the lines that end a session
 * @session: the session; the caller holds the lock of the table
 */
void lines_print_end(struct session *session)
{
	/* Too large for the stack, and guarded by the lock of the table. */
	static char file[FILE_MAX + sizeof(CUT_MARK)];
	char comm[(TASK_COMM_LEN - 1) * ESCAPE_LEN + sizeof(CUT_MARK)];
	struct session_counts sum;

	session_sum(session, &sum);
	escape_comm(comm, sizeof(comm) - sizeof(CUT_MARK), session->process);
	escape_file(file, FILE_MAX, session);

	pr_info("[%s] %s file[%s] stats [x] read - %llu / written - %llu\n", owner, comm, file,
		sum.read_bytes, sum.written_bytes);
	pr_info("open[%llu] close[%llu] read[%llu] write[%llu] lseek[%llu]\n", sum.calls[CALL_OPEN],
		sum.calls[CALL_CLOSE], sum.calls[CALL_READ], sum.calls[CALL_WRITE],
		sum.calls[CALL_LSEEK]);
	pr_info("OS Assignment2 ftrace [%d] End\n", pid_nr(session->process));
}
