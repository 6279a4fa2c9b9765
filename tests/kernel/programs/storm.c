// SPDX-License-Identifier: GPL-2.0
/*
 * storm LIVES WORKERS: processes that start traces, work and end in every way, all at once.
 *
 * Each worker forks LIVES children, one after the other. A child traces itself, or is traced by its
 * parent at an unforeseen moment, has two threads, and ends its trace, only exits, or is killed. No
 * call's result matters: the modules may come and go meanwhile. Traces start and end by the number
 * 336, and where the kernel has another use for it through the device.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "way.h"

/* The device keeps its module from being unloaded, so it is closed at once. */
static void os_ftrace(pid_t pid)
{
	struct os_ftrace_request request = { pid ? pid : getpid(), 0 };
	int device;

	if (way_number) {
		syscall(way_number, pid);
		return;
	}
	device = syscall(SYS_open, OS_FTRACE_DEVICE, O_RDWR | O_CLOEXEC);
	ioctl(device, pid ? OS_FTRACE_START : OS_FTRACE_STOP, &request);
	close(device);
}

static void *work(void *unused)
{
	int fd = syscall(SYS_openat, AT_FDCWD, "/dev/zero", O_RDONLY);
	char byte;

	for (int i = 0; i < 20; i++)
		syscall(SYS_read, fd, &byte, 1);
	syscall(SYS_close, fd);
	return unused;
}

static void live(unsigned int fate)
{
	pthread_t thread;

	if (fate & 1)
		os_ftrace(getpid());
	pthread_create(&thread, NULL, work, NULL);
	work(NULL);
	if (fate & 2)
		raise(SIGKILL);
	if (fate & 4)
		pthread_join(thread, NULL);
	if (fate & 8)
		os_ftrace(0);
	_exit(0);
}

static void run_worker(int lives, unsigned int seed)
{
	while (lives--) {
		unsigned int fate = rand_r(&seed) >> 4;
		pid_t child = fork();

		if (!child)
			live(fate);
		usleep(fate >> 8 & 0x7ff);
		os_ftrace(child);
		waitpid(child, NULL, 0);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int lives = atoi(argv[1]), workers = atoi(argv[2]);

	/* The module may not be there yet. */
	way_number = number_is_uprobe() ? 0 : NR_OS_FTRACE;
	for (int i = 0; i < workers; i++)
		if (!fork())
			run_worker(lives, i + 1);
	while (wait(NULL) > 0)
		;
	return argc == 3 ? EXIT_SUCCESS : EXIT_FAILURE;
}
