#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>
#include <stdint.h>

void memory_reset(void);
void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size);

#endif
