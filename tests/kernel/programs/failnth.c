// SPDX-License-Identifier: GPL-2.0
/*
 * failnth VERB ...: make something fail in the kernel, its first allocation or copy, its second, and
 * so on until it needs no more. Prints for each what came of it: "ok" or the name of an error.
 *
 *	failnth load FILE PARAMETERS    load a module, unload it again where that succeeded
 *	failnth start FLAGS             start the own trace through the device
 *	failnth stop FLAGS              end it
 *	failnth call NUMBER             start the own trace through the system call
 *	failnth fork FLAGS              fork while traced; the child exits at once
 *	failnth read FLAGS              in a traced process of its own: a first read
 *	failnth open FLAGS              in a traced process of its own: a first openat
 *
 * What fails must leave nothing behind: each verb checks it. The last is "ok", without a failure.
 */
#define _GNU_SOURCE
#include <err.h>
#include <libgen.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "trace_ways.h"

#define MOST 5000

static char **arguments;
static unsigned int flags;

/* Pages that are only fetched when they are touched would take chances of their own. */
static void fetch_pages(void)
{
	if (mlockall(MCL_CURRENT))
		err(EXIT_FAILURE, "mlockall");
}

/* Of a process, "self" for this one's only thread: let its nth chance to fail be taken; 0 for none. */
static void set_nth(int file, int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", nth);

	/* The write itself may be what fails. */
	if (pwrite(file, text, len, 0) != len && pwrite(file, text, len, 0) != len)
		err(EXIT_FAILURE, "fail-nth");
}

static int nth_file(const char *process)
{
	char path[64];
	int file;

	snprintf(path, sizeof(path), "/proc/%s/fail-nth", process);
	file = open(path, O_RDWR | O_CLOEXEC);
	if (file < 0)
		err(EXIT_FAILURE, "%s", path);
	return file;
}

/* Whether there was an nth chance. Reading may be what fails: then it was still to come. */
static int was_taken(int file)
{
	char left[16] = "";

	if (pread(file, left, sizeof(left) - 1, 0) < 0)
		return 0;
	return !atoi(left);
}

static void require(int error, int wanted, const char *what)
{
	if (error != wanted)
		errx(EXIT_FAILURE, "%s gave %s, not %s", what, strerror(error), strerror(wanted));
}

static int ask(int device, unsigned long command, pid_t pid, unsigned int wanted)
{
	struct os_ftrace_request request = { pid, wanted };

	return ioctl(device, command, &request) ? errno : 0;
}

/* What fails, and how that is checked and undone. The device is open for all. */

static int device;
static char *image;
static size_t size;
static char *name;

static int load(void)
{
	return syscall(SYS_init_module, image, size, arguments[1]) ? errno : 0;
}

static void unload(int error)
{
	if (!error && syscall(SYS_delete_module, name, O_NONBLOCK))
		err(EXIT_FAILURE, "%s", name);
}

static void read_module(void)
{
	int file = open(arguments[0], O_RDONLY);
	struct stat status;

	if (file < 0 || fstat(file, &status))
		err(EXIT_FAILURE, "%s", arguments[0]);
	size = status.st_size;
	image = malloc(size);
	if (read(file, image, size) != status.st_size)
		err(EXIT_FAILURE, "%s", arguments[0]);
	close(file);
	name = basename(arguments[0]);
	*strchr(name, '.') = '\0';
}

static int start(void)
{
	return ask(device, OS_FTRACE_START, 0, flags);
}

static int start_by_call(void)
{
	return ask_call(atol(arguments[0]), getpid());
}

static void check_start(int error)
{
	require(ask(device, OS_FTRACE_STOP, 0, 0), error ? ESRCH : 0, "the end of a trace");
}

static int stop(void)
{
	return ask(device, OS_FTRACE_STOP, 0, flags & OS_FTRACE_FOLLOW);
}

static void check_stop(int error)
{
	require(stop(), error ? 0 : ESRCH, "another end");
	require(start(), 0, "another start");
}

static int fork_once(void)
{
	pid_t child = syscall(SYS_fork);

	if (!child)
		_exit(0);
	return child < 0 ? errno : 0;
}

static void await_child(int error)
{
	if (!error)
		wait(NULL);
}

/* The first calls of a traced process, which another one makes fail */

enum { SLEEPS, CALLS, HAS_CALLED };

static struct {
	atomic_int state;
	int error;
} *shared;

static void await(int state)
{
	int now;

	while ((now = atomic_load(&shared->state)) != state)
		syscall(SYS_futex, &shared->state, FUTEX_WAIT, now, NULL, NULL, 0);
}

static void go_to(int state)
{
	atomic_store(&shared->state, state);
	syscall(SYS_futex, &shared->state, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void make_call(const char *verb, int zero)
{
	char byte;
	long done;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fetch_pages();
	await(CALLS);
	if (!strcmp(verb, "read"))
		done = syscall(SYS_read, zero, &byte, 1);
	else
		done = syscall(SYS_openat, AT_FDCWD, "/dev/zero", O_RDONLY);
	shared->error = done < 0 ? errno : 0;
	go_to(HAS_CALLED);
	await(SLEEPS);
	_exit(0);
}

/* Whether the call had an nth chance to fail. */
static int try_in_process(const char *verb, int zero, int nth)
{
	char text[16];
	pid_t child;
	int file, taken;

	atomic_store(&shared->state, SLEEPS);
	child = fork();
	if (!child)
		make_call(verb, zero);
	snprintf(text, sizeof(text), "%d", child);
	file = nth_file(text);
	require(ask(device, OS_FTRACE_START, child, flags), 0, "a start");
	set_nth(file, nth);
	go_to(CALLS);
	await(HAS_CALLED);
	taken = was_taken(file);
	set_nth(file, 0);
	require(ask(device, OS_FTRACE_STOP, child, 0), 0, "an end");
	close(file);
	go_to(SLEEPS);
	waitpid(child, NULL, 0);
	return taken;
}

static void tell(int error)
{
	puts(error ? strerrorname_np(error) : "ok");
}

static void fail_in_process(const char *verb)
{
	int zero = open("/dev/zero", O_RDONLY), taken = 1;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		err(EXIT_FAILURE, "mmap");
	for (int nth = 1; taken && nth < MOST; nth++) {
		taken = try_in_process(verb, zero, nth);
		tell(shared->error);
	}
}

static void fail_here(int (*act)(void), void (*check)(int error))
{
	int file = nth_file("thread-self"), taken = 1;

	for (int nth = 1; taken && nth < MOST; nth++) {
		int error;

		set_nth(file, nth);
		error = act();
		taken = was_taken(file);
		set_nth(file, 0);
		check(error);
		tell(error);
	}
}

int main(int argc, char **argv)
{
	const char *verb = argv[1];

	if (argc < 3)
		return EXIT_FAILURE;
	arguments = argv + 2;
	flags = atoi(argv[2]);
	device = open(OS_FTRACE_DEVICE, O_RDWR | O_CLOEXEC);
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	fetch_pages();

	if (!strcmp(verb, "load")) {
		close(device);
		read_module();
		fail_here(load, unload);
	} else if (!strcmp(verb, "start")) {
		fail_here(start, check_start);
	} else if (!strcmp(verb, "call")) {
		fail_here(start_by_call, check_start);
	} else if (!strcmp(verb, "stop")) {
		require(start(), 0, "a start");
		fail_here(stop, check_stop);
		require(stop(), 0, "the last end");
	} else if (!strcmp(verb, "fork")) {
		require(start(), 0, "a start");
		fail_here(fork_once, await_child);
		require(ask(device, OS_FTRACE_STOP, 0, OS_FTRACE_FOLLOW), 0, "the end");
	} else {
		fail_in_process(verb);
	}
	return EXIT_SUCCESS;
}
