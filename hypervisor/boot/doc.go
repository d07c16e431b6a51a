// Package boot puts a kernel into guest RAM and says how a processor starts it.
//
// Open recognizes two kinds of image. A Linux bzImage is started by the 64-bit
// boot protocol (Documentation/arch/x86/boot.rst, version 2.12 or later): in
// long mode, 0x200 bytes into the kernel, with the zero page in RSI. An ELF file
// with a XEN_ELFNOTE_PHYS32_ENTRY note is started by PVH
// (xen/include/public/arch-x86/hvm/start_info.h): in flat protected mode, with
// the start info in RBX.
//
// Load reads the kernel and the initrd from their files straight into guest RAM
// and keeps nothing of them, so a reset loads again. What a boot protocol hands
// over lies in the first 640 KiB (see layout.go); nothing is put between there
// and 1 MiB, where the machine has its own tables.
//
// An Image does not change after Open: Load may be called from any goroutine,
// for one Memory by one at a time and while no processor of it runs. Image files
// are not trusted, every field is checked before use.
//
// It depends on hypervisor/mem.
package boot
