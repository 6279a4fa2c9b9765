// SPDX-License-Identifier: GPL-2.0
/*
 * rounds ROUNDS SLEEPERS NUMBER FILE...: load modules in this order, trace sleeping processes,
 * unload the modules in the reverse order while all are traced; over and over.
 *
 * The processes sleep in calls of several kinds. In every round some of them are woken with a word
 * and must answer with it; in the end all. Prints how many traces were started and how many words
 * were answered. What should not happen ends the program with an error.
 */
#define _GNU_SOURCE
#include <err.h>
#include <linux/futex.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "trace_ways.h"

#define PATIENCE_US 200000000L
#define NAP_US 1000
#define AWAKE 4

enum kind { READS, POLLS, FUTEX, READS_IN_THREAD, IS_INTERRUPTED, KINDS };

struct module {
	char *name;
	char *image;
	size_t size;
};

/* What a sleeper shares with the program. */
struct sleeper {
	pid_t pid;
	int words[2];
	atomic_uint sent;
	atomic_uint answered;
};

static struct sleeper *sleepers;
static int count;

static void require(bool holds, const char *what)
{
	if (!holds)
		err(EXIT_FAILURE, "%s", what);
}

/* The sleepers */

static unsigned int read_word(struct sleeper *own)
{
	unsigned int word;

	require(read(own->words[0], &word, sizeof(word)) == sizeof(word), "read");
	return word;
}

static void *read_in_thread(void *own)
{
	return (void *)(long)read_word(own);
}

static void ignore(int number)
{
	(void)number;
}

static unsigned int sleep_until_told(struct sleeper *own, enum kind kind, unsigned int last)
{
	struct pollfd readable = { .fd = own->words[0], .events = POLLIN };
	pthread_t thread;
	void *word;

	switch (kind) {
	case POLLS:
		require(poll(&readable, 1, -1) == 1, "poll");
		return read_word(own);
	case FUTEX:
		while (atomic_load(&own->sent) == last)
			syscall(SYS_futex, &own->sent, FUTEX_WAIT, last, NULL, NULL, 0);
		return last + 1;
	case READS_IN_THREAD:
		require(!pthread_create(&thread, NULL, read_in_thread, own), "pthread_create");
		pthread_join(thread, &word);
		return (long)word;
	default:
		return read_word(own);
	}
}

static void sleeper_lives(struct sleeper *own, enum kind kind)
{
	struct sigaction restart = { .sa_handler = ignore, .sa_flags = SA_RESTART };
	unsigned int word = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR1, &restart, NULL);
	for (;;) {
		unsigned int next = sleep_until_told(own, kind, word);

		if (next != word + 1)
			_exit(EXIT_FAILURE);
		word = next;
		atomic_store(&own->answered, word);
	}
}

static void put_to_sleep(struct sleeper *sleeper, enum kind kind)
{
	pid_t pid;

	require(!pipe(sleeper->words), "pipe");
	pid = fork();
	require(pid >= 0, "fork");
	if (!pid)
		sleeper_lives(sleeper, kind);
	sleeper->pid = pid;
}

static void wake(struct sleeper *sleeper, enum kind kind)
{
	unsigned int word = atomic_load(&sleeper->sent) + 1;

	atomic_store(&sleeper->sent, word);
	if (kind == FUTEX)
		syscall(SYS_futex, &sleeper->sent, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	else
		require(write(sleeper->words[1], &word, sizeof(word)) == sizeof(word), "write");
}

static void disturb(int round)
{
	for (int i = round % AWAKE; i < count; i += AWAKE)
		wake(&sleepers[i], i % KINDS);
	for (int i = 0; i < count; i++)
		if (i % KINDS == IS_INTERRUPTED)
			kill(sleepers[i].pid, SIGUSR1);
}

static long answers(void)
{
	long sum = 0;

	for (int i = 0; i < count; i++) {
		struct sleeper *sleeper = &sleepers[i];

		for (long us = 0; us < PATIENCE_US; us += NAP_US) {
			if (atomic_load(&sleeper->answered) == atomic_load(&sleeper->sent))
				break;
			usleep(NAP_US);
		}
		if (atomic_load(&sleeper->answered) != atomic_load(&sleeper->sent))
			errx(EXIT_FAILURE, "process %d does not answer", i);
		sum += atomic_load(&sleeper->answered);
	}
	if (waitpid(-1, NULL, WNOHANG))
		errx(EXIT_FAILURE, "a process has died");
	return sum;
}

/* The modules */

static struct module read_module(char *path)
{
	int fd = open(path, O_RDONLY);
	struct module module;
	struct stat status;

	require(fd >= 0 && !fstat(fd, &status), path);
	module.size = status.st_size;
	module.image = malloc(module.size);
	require(read(fd, module.image, module.size) == status.st_size, path);
	close(fd);
	module.name = basename(path);
	*strchr(module.name, '.') = '\0';
	return module;
}

static void load(const struct module *module)
{
	require(!syscall(SYS_init_module, module->image, module->size, ""), module->name);
}

/* Others have the device open for a moment now and then. */
static void unload(const struct module *module)
{
	int error;

	do {
		error = syscall(SYS_delete_module, module->name, O_NONBLOCK);
	} while (error && errno == EWOULDBLOCK);
	require(!error, module->name);
}

static long start_traces(int round, long number)
{
	long started = 0;

	for (int i = 0; i < count; i++) {
		unsigned int flags = (round + i) & ALL_FLAGS;
		int error = !flags && number ? ask_call(number, sleepers[i].pid) :
					       ask_device(OS_FTRACE_START, sleepers[i].pid, flags);

		if (error)
			errx(EXIT_FAILURE, "can't trace process %d: %s", i, strerror(error));
		started++;
	}
	return started;
}

int main(int argc, char **argv)
{
	const int files = argc - 4, last = argc < 5 ? 0 : atoi(argv[1]);
	struct module modules[argc];
	long started = 0;

	if (files < 1)
		return EXIT_FAILURE;
	count = atoi(argv[2]);
	sleepers = mmap(NULL, count * sizeof(*sleepers), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	require(sleepers != MAP_FAILED, "mmap");
	for (int i = 0; i < files; i++)
		modules[i] = read_module(argv[4 + i]);
	for (int i = 0; i < count; i++)
		put_to_sleep(&sleepers[i], i % KINDS);

	for (int round = 0; round < last; round++) {
		for (int i = 0; i < files; i++)
			load(&modules[i]);
		started += start_traces(round, atol(argv[3]));
		disturb(round);
		for (int i = files; i--;)
			unload(&modules[i]);
	}
	printf("%ld %ld\n", started, answers());
	for (int i = 0; i < count; i++)
		kill(sleepers[i].pid, SIGKILL);
	return EXIT_SUCCESS;
}
