// SPDX-License-Identifier: GPL-2.0
/*
 * Say how long calls take in loops.
 *
 *	loop ITERATIONS                 as things are
 *	loop ITERATIONS other FLAGS     while another process, which sleeps, is traced
 *	loop ITERATIONS self FLAGS      while this process is traced
 *
 * FLAGS are those of /dev/os_ftrace. A line a loop: its name, and the nanoseconds of an iteration in
 * the fastest of BATCHES and on average. The fastest is free of what else the machine does; the
 * average has what a tool does now and then. Opening takes ten times as long as the others and gets
 * a tenth of the iterations.
 */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "os_ftrace.h"

#define BATCHES 200

static int zero;
static char byte;

static void read_byte(void)
{
	if (read(zero, &byte, 1) != 1)
		err(EXIT_FAILURE, "read");
}

static void write_byte(void)
{
	if (write(zero, &byte, 1) != 1)
		err(EXIT_FAILURE, "write");
}

static void open_close(void)
{
	int fd = open("/dev/zero", O_RDONLY);

	if (fd < 0 || close(fd))
		err(EXIT_FAILURE, "open and close");
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void time_loop(const char *name, void (*work)(void), long iterations)
{
	const long batch = iterations / BATCHES;
	double fastest = 0, all = 0;

	for (int i = 0; i < BATCHES; i++) {
		double start = seconds(), taken;

		for (long n = 0; n < batch; n++)
			work();
		taken = seconds() - start;
		all += taken;
		if (!i || taken < fastest)
			fastest = taken;
	}
	printf("%s %.1f %.1f\n", name, fastest * 1e9 / batch, all * 1e9 / (batch * BATCHES));
}

static void trace(pid_t pid, const char *flags)
{
	struct os_ftrace_request request = { .pid = pid, .flags = atoi(flags) };
	int device = open(OS_FTRACE_DEVICE, O_RDWR);

	if (device < 0 || ioctl(device, OS_FTRACE_START, &request))
		err(EXIT_FAILURE, OS_FTRACE_DEVICE);
	close(device);
}

static pid_t start_sleeper(void)
{
	pid_t sleeper = fork();

	if (!sleeper)
		for (;;)
			pause();
	return sleeper;
}

int main(int argc, char *argv[])
{
	const char *state = argc == 4 ? argv[2] : "";
	pid_t sleeper = 0;
	long iterations;

	if (argc != 2 && argc != 4)
		errx(EXIT_FAILURE, "usage: loop ITERATIONS [other|self FLAGS]");
	iterations = atol(argv[1]);
	zero = open("/dev/zero", O_RDWR);
	if (zero < 0)
		err(EXIT_FAILURE, "/dev/zero");

	if (!strcmp(state, "other")) {
		sleeper = start_sleeper();
		trace(sleeper, argv[3]);
	} else if (!strcmp(state, "self")) {
		trace(getpid(), argv[3]);
	}
	time_loop("read", read_byte, iterations);
	time_loop("write", write_byte, iterations);
	time_loop("open-close", open_close, iterations / 10);
	if (sleeper) {
		kill(sleeper, SIGKILL);
		wait(NULL);
	}
	return EXIT_SUCCESS;
}
