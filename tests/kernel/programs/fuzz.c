// SPDX-License-Identifier: GPL-2.0
/*
 * fuzz CALLS NUMBER: make requests of the device and system calls at random, good and bad ones, from
 * several threads of several users, CALLS in each thread.
 *
 * Prints how many gave each result; one that the documentation doesn't allow there ends the program
 * with an error.
 */
#define _GNU_SOURCE
#include <err.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "trace_ways.h"

#define THREADS 3
#define USERS 3
#define TARGETS 6
#define ORDINARY 1234
#define ERRORS 256

static struct shared {
	pid_t targets[TARGETS];
	atomic_uint results[ERRORS];
} *shared;

static int calls, device;
static long number;
static char *edge;

static bool one_of(int error, const int *allowed)
{
	while (*allowed >= 0 && *allowed != error)
		allowed++;
	return *allowed == error;
}

static pid_t any_pid(unsigned int *seed)
{
	switch (rand_r(seed) % 10) {
	case 0:
		return rand_r(seed) - RAND_MAX / 2;
	case 1:
		return rand_r(seed) % 4;
	case 2:
		return getppid();
	case 3:
		return 0;
	default:
		return shared->targets[rand_r(seed) % TARGETS];
	}
}

static void *any_bad_address(unsigned int *seed)
{
	switch (rand_r(seed) % 4) {
	case 0:
		return NULL;
	case 1:
		return (void *)0xffffffff81000000;
	case 2:
		return (void *)0x8000000000000000;
	default:
		/* The request's end is where no memory is. */
		return edge - sizeof(struct os_ftrace_request) / 2;
	}
}

static void check(int error, const int *allowed, const char *what, long first, long second)
{
	if (!one_of(error, allowed))
		errx(EXIT_FAILURE, "%s(%#lx, %#lx) gave %s", what, first, second, strerror(error));
	atomic_fetch_add(&shared->results[error], 1);
}

static void make_request(unsigned int *seed)
{
	static const int no_command[] = { ENOTTY, -1 }, no_memory[] = { EFAULT, -1 },
			 no_flags[] = { EINVAL, -1 },
			 started[] = { 0, ESRCH, EPERM, EBUSY, EAGAIN, ENOMEM, -1 },
			 stopped[] = { 0, ESRCH, EPERM, -1 };
	unsigned long command = rand_r(seed) % 2 ? OS_FTRACE_START : OS_FTRACE_STOP;
	unsigned int known = command == OS_FTRACE_START ? ALL_FLAGS : OS_FTRACE_FOLLOW;
	struct os_ftrace_request request = { any_pid(seed), rand_r(seed) & known };
	const int *allowed = command == OS_FTRACE_START ? started : stopped;
	void *address = &request;

	switch (rand_r(seed) % 16) {
	case 0:
		/* Another size, direction, type or number; or none of them. */
		command ^= 1UL << (rand_r(seed) % 32);
		if (command == OS_FTRACE_START || command == OS_FTRACE_STOP)
			return;
		allowed = no_command;
		break;
	case 1:
		address = any_bad_address(seed);
		allowed = no_memory;
		break;
	case 2:
		request.flags |= 1U << (3 + rand_r(seed) % 29);
		allowed = no_flags;
	}
	check(ioctl(device, command, address) ? errno : 0, allowed, "ioctl", command, request.pid);
}

static void make_call(unsigned int *seed)
{
	static const int allowed[] = { 0, ESRCH, EPERM, EBUSY, EAGAIN, ENOMEM, -1 };
	long pid = any_pid(seed);

	/* What is above its 32 bits is no part of a pid. */
	if (rand_r(seed) % 4 == 0)
		pid = (pid & UINT_MAX) | (long)rand_r(seed) << 32;
	check(ask_call(number, pid), allowed, "os_ftrace", pid, 0);
}

static void *fuzz(void *seed_value)
{
	unsigned int seed = (long)seed_value;

	for (int i = 0; i < calls; i++) {
		if (number && rand_r(&seed) % 4 == 0)
			make_call(&seed);
		else
			make_request(&seed);
	}
	return NULL;
}

static void become(int user)
{
	/* The last one: all powers, but in namespaces of its own. */
	if (user && (setresgid(ORDINARY, ORDINARY, ORDINARY) ||
		     setresuid(ORDINARY, ORDINARY, ORDINARY)))
		err(EXIT_FAILURE, "can't become another user");
	if (user == 2)
		unshare(CLONE_NEWUSER);
}

static void fuzz_as(int user)
{
	pthread_t thread[THREADS];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	device = open(OS_FTRACE_DEVICE, O_RDWR);
	if (device < 0)
		err(EXIT_FAILURE, OS_FTRACE_DEVICE);
	become(user);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, fuzz, (void *)(1 + i + user * THREADS));
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	_exit(EXIT_SUCCESS);
}

/* Somebody to be traced, every second one an ordinary user's. */
static void be_target(int i)
{
	int zero = open("/dev/zero", O_RDONLY);
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	become(i % 2);
	for (;;) {
		pid_t child;

		usleep(5000);
		read(zero, &byte, 1);
		child = fork();
		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	pid_t users[USERS];
	int status, failed = 0;

	if (argc != 3)
		return EXIT_FAILURE;
	calls = atoi(argv[1]);
	number = atol(argv[2]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || edge == MAP_FAILED)
		err(EXIT_FAILURE, "mmap");
	edge += 4096;
	munmap(edge, 4096);

	for (int i = 0; i < TARGETS; i++) {
		pid_t target = fork();

		if (!target)
			be_target(i);
		shared->targets[i] = target;
	}
	for (int user = 0; user < USERS; user++) {
		users[user] = fork();
		if (!users[user])
			fuzz_as(user);
	}
	for (int user = 0; user < USERS; user++) {
		waitpid(users[user], &status, 0);
		failed |= status;
	}
	for (int i = 0; i < TARGETS; i++)
		kill(shared->targets[i], SIGKILL);
	for (int error = 0; error < ERRORS; error++)
		if (shared->results[error])
			printf("%s %u\n", error ? strerrorname_np(error) : "ok",
			       shared->results[error]);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
