/* Text, memory and random numbers. */
#include "guest.h"

u32 failures;

void *memcpy(void *d, const void *s, u64 n)
{
	void *to = d;
	asm volatile("rep movsb" : "+D"(to), "+S"(s), "+c"(n)::"memory");
	return d;
}

void *memset(void *d, int c, u64 n)
{
	void *to = d;
	asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
	return d;
}

int memcmp(const void *a, const void *b, u64 n)
{
	const u8 *x = a, *y = b;
	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

int streq(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return *a == *b;
}

/* xorshift64* */
u64 next_random(u64 *s)
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * 0x2545f4914f6cdd1dul;
}

static void put_num(u64 v, u32 base, u32 width, char pad)
{
	char b[24];
	u32 n = 0;
	do
		b[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	for (; width > n; width--)
		serial_put(pad);
	while (n)
		serial_put(b[--n]);
}

static void put_mac(const u8 *m)
{
	for (u32 i = 0; i < 6; i++) {
		if (i)
			serial_put(':');
		put_num(m[i], 16, 2, '0');
	}
}

static void put_str(const char *s)
{
	while (*s)
		serial_put(*s++);
}

static void vput(const char *f, __builtin_va_list ap)
{
	for (; *f; f++) {
		if (*f != '%') {
			serial_put(*f);
			continue;
		}
		char pad = *++f == '0' ? '0' : ' ';
		u32 width = 0;
		for (; *f >= '0' && *f <= '9'; f++)
			width = width * 10 + *f - '0';
		int l = *f == 'l';
		f += l;
		if (*f == 's') {
			put_str(__builtin_va_arg(ap, char *));
		} else if (*f == 'm') {
			put_mac(__builtin_va_arg(ap, u8 *));
		} else if (*f == 'c') {
			serial_put(__builtin_va_arg(ap, int));
		} else {
			u64 v = l ? __builtin_va_arg(ap, u64) : __builtin_va_arg(ap, u32);
			if (*f == 'd' && (s64)(l ? v : (u64)(s64)(int)v) < 0) {
				serial_put('-');
				v = -(l ? v : (u64)(s64)(int)v);
			}
			put_num(v, *f == 'x' ? 16 : 10, width, pad);
		}
	}
}

void put(const char *fmt, ...)
{
	__builtin_va_list ap;
	__builtin_va_start(ap, fmt);
	vput(fmt, ap);
	__builtin_va_end(ap);
}

void say(const char *fmt, ...)
{
	__builtin_va_list ap;
	__builtin_va_start(ap, fmt);
	put_str("guest: ");
	vput(fmt, ap);
	put_str("\r\n");
	__builtin_va_end(ap);
}

int fail(const char *fmt, ...)
{
	__builtin_va_list ap;
	__builtin_va_start(ap, fmt);
	put_str("guest: error ");
	vput(fmt, ap);
	put_str("\r\n");
	__builtin_va_end(ap);
	failures++;
	return 1;
}

/* The heap: what stays grows up, what is temporary grows down. */
static u64 low, high, top;

void heap_init(u64 from, u64 to)
{
	low = align(from, 4096);
	high = top = to & ~0xffful;
}

u64 heap_free(void) { return high - low; }

static void out_of_memory(u64 size)
{
	fail("out of memory size=%lu free=%lu", size, heap_free());
	stop();
}

void *alloc(u64 size)
{
	size = align(size, 4096);
	if (size > heap_free())
		out_of_memory(size);
	low += size;
	return memset((void *)(low - size), 0, size);
}

void *temp(u64 size)
{
	size = align(size, 4096);
	if (size > heap_free())
		out_of_memory(size);
	high -= size;
	return memset((void *)high, 0, size);
}

void temp_release(void) { high = top; }
