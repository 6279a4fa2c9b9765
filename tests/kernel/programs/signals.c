// SPDX-License-Identifier: GPL-2.0
/*
 * signals KIND FIRST SECOND STEPS: be interrupted in a read, in every way.
 *
 * The program traces itself with the option wide and reads from a pipe, with KIND sys or ia32 as a
 * 64-bit or a 32-bit program. FIRST and SECOND say what SIGUSR1 and SIGUSR2 do: "plain" and
 * "restart" have a handler, without and with SA_RESTART; the one of "jump" leaves the read for
 * good, and the next one reads on; "ignore" and "default" have none.
 *
 * A helper, which is not traced, does one of STEPS after the other:
 *
 *	r	wait until the program sleeps in the read
 *	h	wait 100 ms
 *	s, c	stop it and wait until it is, continue it
 *	1, 2, k	send SIGUSR1, SIGUSR2, SIGKILL
 *	w	write 5 bytes to the pipe
 *
 * Prints the result of the read, as a number or the name of an error, how often each handler ran,
 * and how many nanoseconds the reads took at most.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "by_name.h"
#include "way.h"

#define HOLD 100000

static volatile sig_atomic_t handled[2];
static sigjmp_buf before_read;

static void handle(int number)
{
	handled[number == SIGUSR2]++;
}

static void handle_and_jump(int number)
{
	handle(number);
	siglongjmp(before_read, 1);
}

static void act_on(int number, const char *action)
{
	struct sigaction act = { .sa_handler = handle };

	if (!strcmp(action, "restart"))
		act.sa_flags = SA_RESTART;
	else if (!strcmp(action, "jump"))
		act = (struct sigaction){ .sa_handler = handle_and_jump, .sa_flags = SA_RESTART };
	else if (!strcmp(action, "ignore"))
		act.sa_handler = SIG_IGN;
	else if (!strcmp(action, "default"))
		act.sa_handler = SIG_DFL;
	sigaction(number, &act, NULL);
}

static void read_proc(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	file = fopen(path, "r");
	if (!file || !fgets(text, size, file))
		exit(EXIT_FAILURE);
	fclose(file);
}

static bool has_state(pid_t pid, char state)
{
	char text[256];

	read_proc(pid, "stat", text, sizeof(text));
	return strrchr(text, ')')[2] == state;
}

static bool sleeps_in(pid_t pid, int number)
{
	char text[256];

	read_proc(pid, "syscall", text, sizeof(text));
	return *text != 'r' && atoi(text) == number && has_state(pid, 'S');
}

static void help(pid_t pid, const char *steps, int number, int pipe)
{
	for (; *steps; steps++) {
		switch (*steps) {
		case 'r':
			while (!sleeps_in(pid, number))
				usleep(1000);
			break;
		case 'h':
			usleep(HOLD);
			break;
		case 's':
			kill(pid, SIGSTOP);
			while (!has_state(pid, 'T'))
				usleep(1000);
			break;
		case 'c':
			kill(pid, SIGCONT);
			break;
		case '1':
			kill(pid, SIGUSR1);
			break;
		case '2':
			kill(pid, SIGUSR2);
			break;
		case 'k':
			kill(pid, SIGKILL);
			break;
		case 'w':
			if (write(pipe, "hello", 5) != 5)
				exit(EXIT_FAILURE);
		}
	}
}

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000 + now.tv_nsec;
}

int main(int argc, char **argv)
{
	enum gate gate = !strcmp(argv[1], "ia32") ? GATE_32 : GATE_64;
	pid_t traced = getpid();
	volatile long inside = 0;
	char text[32];
	int ends[2];
	long done;

	if (argc != 5 || pipe(ends))
		return EXIT_FAILURE;
	way_find(true);
	by_name_init();
	act_on(SIGUSR1, argv[2]);
	act_on(SIGUSR2, argv[3]);
	if (!fork()) {
		help(traced, argv[4], gate == GATE_32 ? 3 : SYS_read, ends[1]);
		_exit(0);
	}
	alarm(20);
	if (way_start(0, OS_FTRACE_WIDE))
		return EXIT_FAILURE;
	inside -= now_ns();
	if (sigsetjmp(before_read, 1)) {
		inside += now_ns();
		usleep(HOLD);
		inside -= now_ns();
	}
	sprintf(text, "read %d @ 5", ends[0]);
	done = by_name(gate, text);
	inside += now_ns();
	if (way_end(0, 0))
		return EXIT_FAILURE;
	if (done < 0)
		printf("%s", strerrorname_np(-done));
	else
		printf("%ld", done);
	printf(" %d %d %ld\n", handled[0], handled[1], inside);
	return EXIT_SUCCESS;
}
