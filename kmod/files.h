/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FILES_H
#define FILES_H

struct file;
struct session;
struct task_struct;

void session_files_init(struct session *session);
void session_files_end(struct session *session, struct task_struct *leader);
void session_files_free(struct session *session);

#endif /* FILES_H */
