// SPDX-License-Identifier: GPL-2.0
/*
 * What ftracehooking prints, byte for byte. Programs parse it.
 *
 *	OS Assignment2 ftrace [PID] Start
 *	[OWNER] COMM file[NAME] stats [x] read - BYTES / written - BYTES
 *	open[N] close[N] read[N] write[N] lseek[N]
 *	OS Assignment2 ftrace [PID] End
 *
 * With one of the options wide, detail and follow, there come before the End line
 *
 *	ftrace/1 [PID] trace wide[B] detail[B] follow[B] parent[PID] calls[N] files[N]
 *		lost_files[N] lost_children[N] untimed[N]
 *	ftrace/1 [PID] call[CALL] calls[N] errors[N] bytes[BYTES] ns[N]
 *	ftrace/1 [PID] fd[N] opens[N] closes[N] reads[N] writes[N] seeks[N] read[BYTES]
 *		written[BYTES] open[B] path[NAME]
 *
 * the first once, and on one line; as many of the others as it says in calls[] and files[]. What
 * the fields mean is in docs/format.md. A changed form gets another number than 1.
 *
 * All but the Start line are printed together: no other session's line comes between them. All are
 * KERN_INFO. A start that names no process prints, as KERN_ERR,
 *
 *	Failed to find task for pid: PID
 *
 * PID:   the process (thread group) in the initial pid namespace; in the KERN_ERR line, what was
 *        passed
 * OWNER: the module's parameter, 1 to 32 printable ASCII characters without blank, '[' and ']'
 * COMM:  the name of the process' first thread when the session ends
 * NAME:  in file[] the name passed to the last openat(); where that can't be read, the path of what
 *        it opened; nothing before the first. In path[] the path of an open file
 * BYTES, N: decimal; B: 0 or 1
 *
 * COMM and NAME are the traced program's to choose, so they are escaped: bytes below 0x20, 0x7f
 * and '\' become \xNN, two lower-case hexadecimal digits; in COMM also '[' and ']', so that the
 * first " file[" is the real one; of several "] stats [x] read - ", the last one is. Bytes from
 * 0x80 up pass. A NAME of more than 600 bytes, escaped, is cut before the escape or UTF-8
 * character that doesn't fit, and "\..." follows, which no escaped text contains.
 */
#include <linux/capability.h>
#include <linux/cpumask.h>
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "lines.h"
#include "session.h"

#define OWNER_MAX 32
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

/* What print_lock of the sessions guards, as it is too large for the stack. */
static char printed_name[NAME_PRINTED + sizeof(CUT_MARK)];
static char last_name[NAME_KEPT];

static const char *escape_name(const char *name, size_t len)
{
	escape(printed_name, NAME_PRINTED, name, len, "");
	return printed_name;
}

static const char *escape_last_name(struct session *session)
{
	unsigned long irq;
	size_t len;

	raw_spin_lock_irqsave(&session->name_lock, irq);
	len = session->name_len;
	memcpy(last_name, session->name, len);
	raw_spin_unlock_irqrestore(&session->name_lock, irq);
	return escape_name(last_name, len);
}

static const char *const call_names[CALLS] = {
	[CALL_OPENAT] = "openat",
	[CALL_CLOSE] = "close",
	[CALL_READ] = "read",
	[CALL_WRITE] = "write",
	[CALL_LSEEK] = "lseek",
	[CALL_OPEN] = "open",
	[CALL_CREAT] = "creat",
	[CALL_OPENAT2] = "openat2",
	[CALL_CLOSE_RANGE] = "close_range",
	[CALL_DUP] = "dup",
	[CALL_DUP2] = "dup2",
	[CALL_DUP3] = "dup3",
	[CALL_PREAD64] = "pread64",
	[CALL_READV] = "readv",
	[CALL_PREADV] = "preadv",
	[CALL_PREADV2] = "preadv2",
	[CALL_PWRITE64] = "pwrite64",
	[CALL_WRITEV] = "writev",
	[CALL_PWRITEV] = "pwritev",
	[CALL_PWRITEV2] = "pwritev2",
	[CALL_SENDFILE] = "sendfile",
	[CALL_SPLICE] = "splice",
	[CALL_TEE] = "tee",
	[CALL_VMSPLICE] = "vmsplice",
	[CALL_COPY_FILE_RANGE] = "copy_file_range",
	[CALL_MMAP] = "mmap",
	[CALL_FSYNC] = "fsync",
	[CALL_FDATASYNC] = "fdatasync",
	[CALL_SYNC_FILE_RANGE] = "sync_file_range",
	[CALL_TRUNCATE] = "truncate",
	[CALL_FTRUNCATE] = "ftruncate",
	[CALL_FALLOCATE] = "fallocate",
	[CALL_GETDENTS] = "getdents",
	[CALL_GETDENTS64] = "getdents64",
	[CALL_IO_URING_ENTER] = "io_uring_enter",
	[CALL_EXECVE] = "execve",
	[CALL_EXECVEAT] = "execveat",
};

static void sum_lab(const struct session *session, struct lab_counts *sum)
{
	int cpu, call;

	memset(sum, 0, sizeof(*sum));
	for_each_possible_cpu(cpu) {
		const struct lab_counts *counts = &session->lab[cpu];

		for (call = 0; call < LAB_CALLS; call++) {
			sum->calls[call] += READ_ONCE(counts->calls[call]);
			sum->results[call] += READ_ONCE(counts->results[call]);
		}
	}
}

static s64 calls_of(const struct session *session, int call)
{
	return session->wide ? atomic64_read(&session->wide->of[call].calls) : 0;
}

/* Which calls were made, in called; return how many. */
static int find_called(const struct session *session, bool *called)
{
	int call, count = 0;

	for (call = 0; call < CALLS; call++) {
		called[call] = calls_of(session, call);
		count += called[call];
	}
	return count;
}

static void print_call(pid_t pid, const char *name, struct call_counts *counts)
{
	pr_info("ftrace/1 [%d] call[%s] calls[%lld] errors[%lld] bytes[%lld] ns[%lld]\n", pid,
		name, (s64)atomic64_read(&counts->calls), (s64)atomic64_read(&counts->errors),
		(s64)atomic64_read(&counts->bytes), (s64)atomic64_read(&counts->ns));
}

/*
 * A thread may still be in a call that it entered before the session ended, and meet a file: what
 * comes after the first count files is left out.
 */
static void print_files(pid_t pid, struct session_files *files, unsigned int count)
{
	struct traced_file *file;

	list_for_each_entry(file, &files->in_order, order) {
		if (!count--)
			break;
		pr_info("ftrace/1 [%d] fd[%d] opens[%llu] closes[%llu] reads[%llu] writes[%llu] seeks[%llu] read[%llu] written[%llu] open[%d] path[%s]\n",
			pid, file->fd, file->opens, file->closes, file->reads, file->writes,
			file->seeks, file->read_bytes, file->written_bytes, file->open,
			escape_name(file->path, file->len));
		cond_resched();
	}
}

static void print_extra(pid_t pid, struct session *session)
{
	unsigned int files = READ_ONCE(session->files.known);
	bool called[CALLS];
	int call;

	pr_info("ftrace/1 [%d] trace wide[%d] detail[%d] follow[%d] parent[%d] calls[%d] files[%u] lost_files[%lld] lost_children[%lld] untimed[%lld]\n",
		pid, !!(session->flags & OS_FTRACE_WIDE), !!(session->flags & OS_FTRACE_DETAIL),
		!!(session->flags & OS_FTRACE_FOLLOW), session->parent,
		find_called(session, called), files, (s64)atomic64_read(&session->lost_files),
		(s64)atomic64_read(&session->lost_children),
		(s64)atomic64_read(&session->untimed));
	for (call = 0; call < CALLS; call++)
		if (called[call])
			print_call(pid, call_names[call], &session->wide->of[call]);
	print_files(pid, &session->files, files);
}

/**
 * lines_print_unknown() - say that a start named no process
 * @nr: the number passed
 */
void lines_print_unknown(pid_t nr)
{
	static DEFINE_RATELIMIT_STATE(strangers, 5 * HZ, 100);

	/* Errors reach the console: not everybody may fill it. */
	if (!ns_capable_noaudit(&init_user_ns, CAP_SYS_ADMIN) && !__ratelimit(&strangers))
		return;
	pr_err("Failed to find task for pid: %d\n", nr);
}

/**
 * lines_print_start() - print the line that begins a session
 * @session: the session; the caller holds the lock to print
 */
void lines_print_start(const struct session *session)
{
	pr_info("OS Assignment2 ftrace [%d] Start\n", pid_nr(session->process));
}

/**
 * lines_print_end() - print the lines that end a session
 * @session: a session that has ended; the caller holds the lock to print
 */
void lines_print_end(struct session *session)
{
	char comm[(TASK_COMM_LEN - 1) * ESCAPE_LEN + sizeof(CUT_MARK)];
	pid_t pid = pid_nr(session->process);
	struct lab_counts sum;

	sum_lab(session, &sum);
	escape(comm, sizeof(comm) - sizeof(CUT_MARK), session->comm, strlen(session->comm), "[]");

	pr_info("[%s] %s file[%s] stats [x] read - %llu / written - %llu\n", owner, comm,
		escape_last_name(session), sum.results[CALL_READ],
		sum.results[CALL_WRITE]);
	pr_info("open[%llu] close[%llu] read[%llu] write[%llu] lseek[%llu]\n",
		sum.calls[CALL_OPENAT], sum.calls[CALL_CLOSE], sum.calls[CALL_READ],
		sum.calls[CALL_WRITE], sum.calls[CALL_LSEEK]);
	if (session->flags)
		print_extra(pid, session);
	pr_info("OS Assignment2 ftrace [%d] End\n", pid);
}
