// SPDX-License-Identifier: GPL-2.0
/*
 * storm LIVES WORKERS: processes that start traces, work and end in every way, all at once.
 *
 * Each worker forks LIVES children, one after the other. A child traces itself, or is traced by its
 * parent at an unforeseen moment, has two threads, and ends its trace, only exits, or is killed. No
 * call's result matters: the modules may come and go meanwhile.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NR_OS_FTRACE 336

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
		syscall(NR_OS_FTRACE, getpid());
	pthread_create(&thread, NULL, work, NULL);
	work(NULL);
	if (fate & 2)
		raise(SIGKILL);
	if (fate & 4)
		pthread_join(thread, NULL);
	if (fate & 8)
		syscall(NR_OS_FTRACE, 0);
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
		syscall(NR_OS_FTRACE, child);
		waitpid(child, NULL, 0);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int lives = atoi(argv[1]), workers = atoi(argv[2]);

	for (int i = 0; i < workers; i++)
		if (!fork())
			run_worker(lives, i + 1);
	while (wait(NULL) > 0)
		;
	return argc == 3 ? EXIT_SUCCESS : EXIT_FAILURE;
}
