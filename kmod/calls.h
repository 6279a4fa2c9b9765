/* SPDX-License-Identifier: GPL-2.0 */
#ifndef CALLS_H
#define CALLS_H

#include "session.h"

#define NOT_TRACED TRACED_CALLS

enum traced_call traced_call(int nr);
unsigned int name_argument(int nr);

#endif /* CALLS_H */
