/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which system call the modules answer.
 *
 * 336, unless the module was loaded with another number (its parameter nr). From Linux
 * 6.18 on 336 is uprobe, which kills a process that calls it out of place.
 */
#ifndef NUMBER_H
#define NUMBER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NR_OS_FTRACE 336

static int number_is_uprobe(void)
{
	static const char wanted[] = " __x64_sys_uprobe\n";
	char line[1024];
	int found = 0;
	FILE *symbols = fopen("/proc/kallsyms", "r");

	if (!symbols)
		return 0;
	while (!found && fgets(line, sizeof(line), symbols))
		found = !!strstr(line, wanted);
	fclose(symbols);
	return found;
}

/*
 * The number in force for a module: 0 if the module answers none. Where the module isn't
 * loaded, the kernel itself may have the call.
 */
static long number_in_force(const char *module)
{
	char path[128];
	long number = NR_OS_FTRACE;
	FILE *parameter;

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/nr", module);
	parameter = fopen(path, "r");
	if (parameter) {
		if (fscanf(parameter, "%ld", &number) != 1)
			number = 0;
		fclose(parameter);
	} else if (number_is_uprobe()) {
		fprintf(stderr, "%d is uprobe in this kernel, and %s is not loaded\n",
			NR_OS_FTRACE, module);
		exit(EXIT_FAILURE);
	}
	return number;
}

#endif /* NUMBER_H */
