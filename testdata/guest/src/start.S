/*
 * The way from the PVH entry (32-bit protected mode, start info in EBX) to
 * main in ring 3 of long mode, and what must run in ring 0 afterwards: the
 * exception and interrupt stubs and the call gate.
 *
 * Some hosts interpret ring 0 code, slowly: there is as little of it as can be.
 * They also lose IOPL on the way to ring 3, so that the TSS grants all ports too.
 */
	.set	CODE0, 0x08
	.set	CODE3, 0x1b
	.set	DATA3, 0x23
	.set	TSS, 0x28
	.set	FLAGS3, 0x3002		/* IOPL 3, interrupts off */
	.set	LAPIC_EOI, 0xfee000b0

	.section .note.pvh, "a"
	.balign	4
	.long	4, 4, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	start

	.text
	.code32
	.globl	start
start:
	cld
	mov	$stack0, %esp
	mov	%ebx, start_info
	movl	$boot_pdpt + 7, boot_pml4
	movl	$boot_pd + 7, boot_pdpt
	movl	$0x000087, boot_pd
	movl	$0x200087, boot_pd + 8
	movl	$stack0, tss + 4
	movw	$104, tss + 102		/* I/O bitmap: all ports */
	movb	$0xff, tss + 104 + 8192
	mov	$tss, %eax
	mov	%ax, tss_desc + 2
	shr	$16, %eax
	mov	%al, tss_desc + 4
	lgdt	gdt_ptr
	mov	%cr4, %eax
	or	$0x20, %eax		/* PAE */
	mov	%eax, %cr4
	mov	$boot_pml4, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx	/* EFER.LME */
	rdmsr
	or	$0x100, %eax
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	ljmp	$CODE0, $long_mode

	.code64
long_mode:
	xor	%eax, %eax
	mov	%eax, %ss
	mov	$DATA3, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	$TSS, %eax
	ltr	%ax
	lidt	idt_ptr
	pushq	$DATA3
	pushq	$stack3
	pushq	$FLAGS3
	pushq	$CODE3
	pushq	$main
	iretq

/* Exceptions: note what happened, then go on in fault_main, in ring 3. */
	.globl	exception_stubs, irq_stubs
	.balign	16
exception_stubs:
	.set	i, 0
	.rept	32
	.balign	16
	.if	!(i == 8 || (i >= 10 && i <= 14) || i == 17 || i == 21 || i == 29 || i == 30)
	pushq	$0			/* the processor pushes no error code */
	.endif
	pushq	$i
	jmp	fault
	.set	i, i + 1
	.endr

fault:
	popq	fault_info
	popq	fault_info + 8
	popq	fault_info + 16		/* RIP */
	popq	fault_info + 24		/* CS */
	add	$8, %rsp
	popq	fault_info + 32		/* RSP */
	mov	%cr2, %rax
	mov	%rax, fault_info + 40
	mov	$stack0, %esp
	pushq	$DATA3
	pushq	$stack_fault
	pushq	$FLAGS3
	pushq	$CODE3
	pushq	$fault_main
	iretq

/* Interrupts are counted by vector. */
	.balign	16
irq_stubs:
	.set	i, 0
	.rept	256
	.balign	16
	pushq	$i
	jmp	irq
	.set	i, i + 1
	.endr

irq:
	push	%rax
	mov	8(%rsp), %eax
	incl	irq_count(, %rax, 4)
	mov	$LAPIC_EOI, %eax
	movl	$0, (%rax)
	pop	%rax
	add	$8, %rsp
	iretq

/* A non-maskable interrupt is counted and has no EOI. */
	.globl	nmi_stub
nmi_stub:
	incl	irq_count + 8
	iretq

/*
 * int3 calls the function RDI in ring 0, with the arguments RSI, RDX and RCX.
 * (No other software interrupt, nor syscall, gets to ring 0 on every host.)
 */
	.globl	call_gate
call_gate:
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	call	*%rax
	iretq

	.globl	ring0
ring0:
	int3
	ret

/* What ring0 is used for. */
	.globl	r0_wait, r0_stop, r0_set_cr3, r0_wrmsr, r0_rdmsr, r0_cpuid, r0_triple, r0_out
r0_wait:				/* until an interrupt came */
	sti
	hlt
	cli
	ret
r0_stop:				/* for good */
	cli
	hlt
	jmp	r0_stop
r0_set_cr3:
	mov	%rdi, %cr3
	ret
r0_wrmsr:				/* (msr, value) */
	mov	%edi, %ecx
	mov	%esi, %eax
	mov	%rsi, %rdx
	shr	$32, %rdx
	wrmsr
	ret
r0_rdmsr:				/* (msr) */
	mov	%edi, %ecx
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	ret
r0_cpuid:				/* (leaf, subleaf, u32 regs[4]) */
	push	%rbx
	mov	%rdx, %r8
	mov	%edi, %eax
	mov	%esi, %ecx
	cpuid
	mov	%eax, (%r8)
	mov	%ebx, 4(%r8)
	mov	%ecx, 8(%r8)
	mov	%edx, 12(%r8)
	pop	%rbx
	ret
r0_out:					/* (port, n): n writes of a byte */
	mov	%edi, %edx
1:	outb	%al, %dx
	dec	%rsi
	jnz	1b
	ret
r0_triple:
	lidt	no_idt
	ud2

	.data
	.balign	8
gdt:	.quad	0
	.quad	0x00af9b000000ffff	/* 0x08 code, ring 0 */
	.quad	0x00cf93000000ffff	/* 0x10 data, ring 0 */
	.quad	0x00affb000000ffff	/* 0x18 code, ring 3 */
	.quad	0x00cff3000000ffff	/* 0x20 data, ring 3 */
tss_desc:
	.quad	0x0000890000002068	/* 104 bytes, the bitmap and its last byte */
	.quad	0
gdt_ptr:
	.word	. - gdt - 1
	.quad	gdt
idt_ptr:
	.word	4095
	.quad	idt
no_idt:	.word	0
	.quad	0

	.bss
	.balign	4096
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_pd: .skip	4096
	.globl	idt, irq_count, fault_info, start_info
idt:	.skip	4096
irq_count: .skip 1024
fault_info: .skip 48
start_info: .skip 8
	.balign	16
tss:	.skip	104 + 8192 + 8
	.balign	16
	.skip	4096
stack0:	.skip	4096
stack_fault: .skip 32768
stack3:
