/* SPDX-License-Identifier: GPL-2.0 */
#ifndef OPTIONS_H
#define OPTIONS_H

unsigned int options_default_flags(void);
unsigned int options_max_files(void);
int options_max_traces(void);

#endif /* OPTIONS_H */
