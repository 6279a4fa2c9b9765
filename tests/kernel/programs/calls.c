// SPDX-License-Identifier: GPL-2.0
/*
 * Make exactly the system calls that the arguments name, then print the result of each.
 *
 * An argument is VERB or VERB:TEXT. Every result is one line, "VERB RESULT", RESULT a number or the
 * name of an error. Nothing is printed, and no other traced call made, before the last argument is
 * done. Verbs that make a call several times give the result of the last.
 *
 * The verbs sys, x32 and ia32 make the call that their text says (by_name.h), as a program of that
 * kind; their line begins with the call's name instead.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "by_name.h"
#include "way.h"

#define PAGE 4096

static long fd = -1;
static unsigned int flags;

static long result(long value)
{
	return value < 0 ? -errno : value;
}

/* The options that the next traces have: any of the words wide, detail and follow. */
static long choose(char *words)
{
	flags = (strstr(words, "wide") ? OS_FTRACE_WIDE : 0) |
		(strstr(words, "detail") ? OS_FTRACE_DETAIL : 0) |
		(strstr(words, "follow") ? OS_FTRACE_FOLLOW : 0);
	return flags;
}

static long start(char *pid)
{
	return result(way_start(pid ? atoi(pid) : 0, flags));
}

/* Trace a child that has exited and is not waited for. */
static long start_zombie(char *unused)
{
	siginfo_t exited;
	pid_t child = fork();

	(void)unused;
	if (!child)
		_exit(0);
	waitid(P_PID, child, &exited, WEXITED | WNOWAIT);
	return result(way_start(child, 0));
}

static long end(char *pid)
{
	return result(way_end(pid ? atoi(pid) : 0, flags & OS_FTRACE_FOLLOW));
}

static long call_number(char *number)
{
	return result(syscall(atoi(number), getpid()));
}

static long open_flags(const char *name, int how)
{
	long opened = result(syscall(SYS_openat, AT_FDCWD, name, how, 0));

	if (opened >= 0)
		fd = opened;
	return opened;
}

static long open_name(char *name)
{
	return open_flags(name, O_RDWR);
}

/* Open a name whose NUL is the last byte before memory that is not there. */
static long open_at_edge(char *name)
{
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *edge = pages + PAGE - strlen(name) - 1;

	munmap(pages + PAGE, PAGE);
	strcpy(edge, name);
	return open_name(edge);
}

static long open_nowhere(char *unused)
{
	(void)unused;
	return open_name((char *)8);
}

static void *open_fifo(void *name)
{
	return (void *)open_flags(name, O_RDONLY);
}

/* Open a FIFO, and take the memory that its name is in away while the call waits for a writer. */
static long open_and_vanish(char *name)
{
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t opener;
	void *opened;

	strcpy(page, name);
	pthread_create(&opener, NULL, open_fifo, page);
	usleep(300000);
	munmap(page, PAGE);
	/* The old open() is not one of the lab's calls. */
	syscall(SYS_open, name, O_WRONLY);
	pthread_join(opener, &opened);
	return (long)opened;
}

static long use(char *number)
{
	return fd = atoi(number);
}

static long repeat(long nr, long count, long third)
{
	long done = 0;

	while (count--)
		done = result(syscall(nr, fd, nr == SYS_lseek ? 0 : (long)buffer, third));
	return done;
}

/* Two numbers, divided by one character. */
static void two(const char *text, long *first, long *second)
{
	char *rest;

	*first = strtol(text, &rest, 10);
	*second = *rest ? atol(rest + 1) : 0;
}

static long read_often(char *text)
{
	long count, bytes;

	two(text, &count, &bytes);
	return repeat(SYS_read, count, bytes);
}

static long write_often(char *text)
{
	long count, bytes;

	two(text, &count, &bytes);
	return repeat(SYS_write, count, bytes);
}

static long seek_often(char *count)
{
	return repeat(SYS_lseek, atoi(count), SEEK_SET);
}

static long close_it(char *unused)
{
	(void)unused;
	return result(syscall(SYS_close, fd));
}

static long thread_reads;

static void *read_in_thread(void *unused)
{
	repeat(SYS_read, thread_reads, 1);
	return unused;
}

static long read_in_threads(char *text)
{
	long threads;

	two(text, &threads, &thread_reads);
	pthread_t thread[threads];

	for (long i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, read_in_thread, NULL);
	for (long i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	return threads;
}

static void *sleep_for_ever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static long start_threads(char *threads)
{
	pthread_t thread;

	for (int i = atoi(threads); i; i--)
		pthread_create(&thread, NULL, sleep_for_ever, NULL);
	return atoi(threads);
}

static long change_user(char *text)
{
	int id = atoi(text);
	int done = setresgid(id, id, id);

	return result(done ? done : setresuid(id, id, id));
}

static long change_name(char *name)
{
	return result(prctl(PR_SET_NAME, name));
}

/* What the kernel itself has counted: reads * 1000000 + writes. */
static long account(char *unused)
{
	long reads = 0, writes = 0;
	long file = syscall(SYS_open, "/proc/self/io", O_RDONLY);
	char text[512] = "";

	(void)unused;
	syscall(SYS_pread64, file, text, sizeof(text) - 1, 0);
	if (sscanf(strstr(text, "syscr"), "syscr: %ld syscw: %ld", &reads, &writes) != 2)
		return -EINVAL;
	return reads * 1000000 + writes;
}

/* A call that a 32-bit program makes with the number of os_ftrace. */
static long call_ia32(char *unused)
{
	long arguments[6] = { getpid() };

	(void)unused;
	return through_int80(NR_OS_FTRACE, arguments);
}

static long raise_stop(char *unused)
{
	(void)unused;
	return raise(SIGSTOP);
}

static long raise_kill(char *unused)
{
	(void)unused;
	return raise(SIGKILL);
}

static long sleep_ms(char *ms)
{
	return usleep(1000 * atoi(ms));
}

static long execute(char *command)
{
	return result(execl("/bin/sh", "sh", "-c", command, NULL));
}

static long call_64(char *text)
{
	return by_name(GATE_64, text);
}

static long call_x32(char *text)
{
	return by_name(GATE_X32, text);
}

static long call_32(char *text)
{
	return by_name(GATE_32, text);
}

static const struct verb {
	const char *name;
	long (*act)(char *text);
	bool named_by_text;
} verbs[] = {
	{ "with", choose, false },
	{ "start", start, false },
	{ "start-zombie", start_zombie, false },
	{ "end", end, false },
	{ "number", call_number, false },
	{ "open", open_name, false },
	{ "open-edge", open_at_edge, false },
	{ "open-nowhere", open_nowhere, false },
	{ "open-vanish", open_and_vanish, false },
	{ "use", use, false },
	{ "read", read_often, false },
	{ "write", write_often, false },
	{ "lseek", seek_often, false },
	{ "close", close_it, false },
	{ "threads", read_in_threads, false },
	{ "threads-start", start_threads, false },
	{ "user", change_user, false },
	{ "name", change_name, false },
	{ "io", account, false },
	{ "ia32-call", call_ia32, false },
	{ "stop", raise_stop, false },
	{ "kill", raise_kill, false },
	{ "sleep", sleep_ms, false },
	{ "exec", execute, false },
	{ "sys", call_64, true },
	{ "x32", call_x32, true },
	{ "ia32", call_32, true },
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	fprintf(stderr, "no verb %s\n", name);
	exit(2);
}

/* Only the device takes options, and ends what another process does. */
static bool needs_device(char **arguments)
{
	for (; *arguments; arguments++)
		if (!strncmp(*arguments, "with:", 5) || !strncmp(*arguments, "end:", 4))
			return true;
	return false;
}

/* A program that has the device open keeps the module. */
static bool needs_way(char **arguments)
{
	for (; *arguments; arguments++)
		if (!strncmp(*arguments, "start", 5) || !strncmp(*arguments, "end", 3))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const struct verb *verb;
	long results[argc];

	if (needs_way(argv) || needs_device(argv))
		way_find(needs_device(argv));
	by_name_init();
	for (int i = 1; i < argc; i++) {
		char *colon = strchr(argv[i], ':');
		char *text = colon ? colon + 1 : NULL;

		if (colon)
			*colon = '\0';
		verb = find_verb(argv[i]);
		if (verb->named_by_text)
			argv[i] = text;
		results[i] = verb->act(text);
	}
	for (int i = 1; i < argc; i++) {
		if (results[i] < 0)
			printf("%s %s\n", argv[i], strerrorname_np(-results[i]));
		else
			printf("%s %ld\n", argv[i], results[i]);
	}
	return 0;
}
