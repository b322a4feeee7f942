// Memory for one request: what the host hands over is laid end to end and forgotten when the next one begins.
// An instance serves one request at a time, so nothing outlives its owner.

#include "memory.h"

extern char __heap_base;
static uintptr_t next;

// The compiler calls this one by name; there is no libc here.
int memcmp(const void *a, const void *b, size_t length) {
    const unsigned char *left = a, *right = b;
    for (; length; length--, left++, right++)
        if (*left != *right) return *left - *right;
    return 0;
}

void memory_reset(void) { next = (uintptr_t)&__heap_base; }

// Called by the host for every string and list it passes in.
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    if (next == 0) memory_reset();
    uint64_t start = ((uint64_t)next + align - 1) & ~(uint64_t)(align - 1);
    uint64_t end = start + size, have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end > have && __builtin_wasm_memory_grow(0, (size_t)((end - have + 0xffff) >> 16)) == (size_t)-1)
        __builtin_trap();
    next = (uintptr_t)end;
    if (old_size) __builtin_memcpy((void *)(uintptr_t)start, old, old_size < size ? old_size : size);
    return (void *)(uintptr_t)start;
}
