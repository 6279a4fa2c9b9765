/* SPDX-License-Identifier: GPL-2.0 */
#ifndef LINES_H
#define LINES_H

#include <linux/types.h>

struct session;

int lines_check_owner(void);
void lines_print_unknown(pid_t nr);
void lines_print_start(const struct session *session);
void lines_print_end(struct session *session);

#endif /* LINES_H */
