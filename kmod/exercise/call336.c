// SPDX-License-Identifier: GPL-2.0
/*
 * Call os_ftrace once, with the own pid, and say whether it worked.
 *
 * Three runs on the patched kernel leave three lines "ORIGINAL ftrace() called!" in its log.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "number.h"

int main(void)
{
	if (syscall(number_in_force("os_ftracehooking"), getpid())) {
		perror("sys_os_ftrace failed");
		return EXIT_FAILURE;
	}
	printf("sys_os_ftrace success! PID: %d\n", getpid());
	return EXIT_SUCCESS;
}
