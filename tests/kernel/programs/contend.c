// SPDX-License-Identifier: GPL-2.0
/*
 * contend ROUNDS NUMBER [FILE]: several end the same trace at the same moment.
 *
 * In each round a process with two threads, that forks now and then, is traced. Then, all at once,
 * the program and another process end its trace through the device, it ends it itself in either
 * way, and it exits or is killed; in every third round the module of FILE is unloaded at the same
 * time, and loaded again. Prints how many traces were started, and how many ends were told to have
 * ended one: of each trace at most one, as the rest is told that there is no trace.
 */
#define _GNU_SOURCE
#include <err.h>
#include <libgen.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "trace_ways.h"

/* Processes at the gate: the victim, who stops it, and the program. */
#define PARTIES 3

static struct shared {
	atomic_int at_gate;
	atomic_int ended;
	atomic_int wrong;
} *shared;

static long number;
static char *module;
static void *image;
static size_t size;

/* Spins, so that all leave it at the same moment. */
static void pass_gate(void)
{
	atomic_fetch_add(&shared->at_gate, 1);
	while (atomic_load(&shared->at_gate) < PARTIES)
		sched_yield();
}

static void note(int error)
{
	if (!error)
		atomic_fetch_add(&shared->ended, 1);
	else if (error != ESRCH && error != ENOSYS)
		atomic_store(&shared->wrong, error);
}

static void *work(void *unused)
{
	int zero = open("/dev/zero", O_RDONLY);
	char byte;

	for (int i = 0; i < 20; i++)
		read(zero, &byte, 1);
	close(zero);
	return unused;
}

static void victim_lives(int round, int ready)
{
	pthread_t thread;

	read(ready, &round, sizeof(round));
	pthread_create(&thread, NULL, work, NULL);
	if (round % 4 == 0 && !fork()) {
		work(NULL);
		_exit(0);
	}
	pass_gate();
	work(NULL);
	switch (round % 5) {
	case 0:
		note(number ? ask_call(number, 0) : ask_device(OS_FTRACE_STOP, 0, 0));
		break;
	case 1:
		note(ask_device(OS_FTRACE_STOP, 0, OS_FTRACE_FOLLOW));
		break;
	case 2:
		raise(SIGKILL);
	}
	_exit(0);
}

static void unload_and_load(void)
{
	if (syscall(SYS_delete_module, module, O_NONBLOCK) ||
	    syscall(SYS_init_module, image, size, ""))
		err(EXIT_FAILURE, "%s", module);
}

static void play(int round)
{
	int ready[2], error;
	pid_t victim, other;

	atomic_store(&shared->at_gate, 0);
	if (pipe(ready))
		err(EXIT_FAILURE, "pipe");
	victim = fork();
	if (!victim)
		victim_lives(round, ready[0]);
	error = ask_device(OS_FTRACE_START, victim, round & ALL_FLAGS);
	if (error)
		errx(EXIT_FAILURE, "can't start: %s", strerror(error));
	other = fork();
	if (!other) {
		pass_gate();
		usleep(round * 37 % 500);
		note(ask_device(OS_FTRACE_STOP, victim, round % 2 ? OS_FTRACE_FOLLOW : 0));
		_exit(0);
	}
	if (write(ready[1], &round, sizeof(round)) != sizeof(round))
		err(EXIT_FAILURE, "write");
	pass_gate();
	usleep(round * 53 % 500);
	if (module && round % 3 == 0)
		unload_and_load();
	else if (round % 7 == 0)
		kill(victim, SIGKILL);
	else
		note(ask_device(OS_FTRACE_STOP, victim, 0));
	waitpid(victim, NULL, 0);
	waitpid(other, NULL, 0);
	close(ready[0]);
	close(ready[1]);
}

static void read_module(char *path)
{
	int fd = open(path, O_RDONLY);
	struct stat status;

	if (fd < 0 || fstat(fd, &status))
		err(EXIT_FAILURE, "%s", path);
	size = status.st_size;
	image = malloc(size);
	if (read(fd, image, size) != status.st_size)
		err(EXIT_FAILURE, "%s", path);
	close(fd);
	module = basename(path);
	*strchr(module, '.') = '\0';
}

int main(int argc, char **argv)
{
	int rounds = argc < 3 ? 0 : atoi(argv[1]);

	if (!rounds)
		return EXIT_FAILURE;
	number = atol(argv[2]);
	if (argc > 3)
		read_module(argv[3]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		err(EXIT_FAILURE, "mmap");
	for (int round = 0; round < rounds; round++)
		play(round);
	if (shared->wrong)
		errx(EXIT_FAILURE, "an end gave: %s", strerror(shared->wrong));
	printf("%d %d\n", rounds, shared->ended);
	return EXIT_SUCCESS;
}
