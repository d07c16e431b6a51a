/*
 * The barest loop around KVM_RUN: a 32-bit guest makes argv[1] port writes, and
 * the loop prints how many nanoseconds they took. It is the yardstick of
 * BenchmarkPortIO.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

enum { base = 0x1000, size = 1 << 20, last = 0x11 };

static int call(int fd, unsigned long op, unsigned long arg)
{
	int r = ioctl(fd, op, arg);

	if (r < 0)
		err(1, "ioctl %#lx", op);
	return r;
}

static struct kvm_segment flat(int selector, int type)
{
	return (struct kvm_segment){ .limit = 0xffffffff, .selector = selector, .type = type,
		.present = 1, .s = 1, .g = 1, .db = 1 };
}

int main(int argc, char **argv)
{
	uint32_t n = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
	/* mov ecx, n; l: out 0x10, al; dec ecx; jnz l; out 0x11, al; hlt */
	unsigned char code[] = { 0xb9, 0, 0, 0, 0, 0xe6, 0x10, 0x49, 0x75, 0xfb, 0xe6, last, 0xf4 };
	int sys = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (sys < 0)
		err(1, "open /dev/kvm");
	memcpy(code + 1, &n, sizeof n);
	int vm = call(sys, KVM_CREATE_VM, 0);

	call(vm, KVM_CREATE_IRQCHIP, 0);
	char *ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = { .memory_size = size, .userspace_addr = (uintptr_t)ram };

	call(vm, KVM_SET_USER_MEMORY_REGION, (unsigned long)&slot);
	memcpy(ram + base, code, sizeof code);
	int cpu = call(vm, KVM_CREATE_VCPU, 0);
	struct kvm_run *run = mmap(NULL, call(sys, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	struct kvm_sregs s;
	struct kvm_regs r = { .rip = base, .rflags = 2 };

	call(cpu, KVM_GET_SREGS, (unsigned long)&s);
	s.cs = flat(0x10, 11);
	s.ds = s.es = s.fs = s.gs = s.ss = flat(0x18, 3);
	s.cr0 = 0x11;
	call(cpu, KVM_SET_SREGS, (unsigned long)&s);
	call(cpu, KVM_SET_REGS, (unsigned long)&r);
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	do {
		call(cpu, KVM_RUN, 0);
		if (run->exit_reason != KVM_EXIT_IO)
			errx(1, "exit %u", run->exit_reason);
	} while (run->io.port != last);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%lld\n", (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec);
	return 0;
}
