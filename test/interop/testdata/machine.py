"""Has qemu.machine launch a monitor. Arguments: the program and a folder."""
import sys

from qemu.machine import QEMUMachine
from qemu.machine.machine import VMLaunchFailure

program, folder = sys.argv[1:]


def machine(*args: str, timer: float = 200, **kwargs: object) -> QEMUMachine:
    """A machine whose files are in the folder."""
    return QEMUMachine(program, args, base_temp_dir=folder, sock_dir=folder, qmp_timer=timer, **kwargs)


# A guest that speaks on a console that the library has asked for.
with machine("-m", "64", "-cpu", "host", "-append", "print=from_the_guest; poweroff", "-S", "-no-reboot") as vm:
    vm.set_machine("q35")
    vm.set_console()
    vm.launch()
    assert vm.is_running() and vm.get_pid()
    assert vm.command("query-status")["status"] == "prelaunch"
    assert vm.qmp("query-block-nothing")["error"]["class"] == "CommandNotFound"
    console = vm.console_socket
    vm.command("cont")
    assert vm.event_wait("RESUME", timeout=200) is not None
    said = b""
    while b"from_the_guest" not in said:
        more = console.recv(4096)
        assert more, said
        said += more
    assert vm.event_wait("SHUTDOWN", timeout=200, match={"data": {"guest": True}}) is not None
    vm.wait(timeout=200)
    assert vm.exitcode() == 0, vm.exitcode()

# Orderly and forced ends, and the same machine again.
with machine("-nodefaults", "-m", "64", "-S", name="again") as vm:
    vm.launch()
    assert vm.command("query-kvm") == {"enabled": True, "present": True}
    vm.shutdown()
    assert vm.exitcode() == 0, (vm.exitcode(), vm.get_log())
    vm.launch()
    assert vm.command("query-status")["running"] is False
    vm.command("quit")
    vm.wait(timeout=200)
    assert vm.exitcode() == 0, vm.exitcode()
    vm.launch()
    vm.kill()
    assert vm.exitcode() == -9, vm.exitcode()

# What goes wrong at the start is told.
vm = machine("-device", "no-such-device", timer=1)  # nobody will connect
try:
    vm.launch()
except VMLaunchFailure as err:
    assert err.exitcode == 1 and "no-such-device" in err.output, (err.exitcode, err.output)
else:
    raise AssertionError("a device that there is not was accepted")
print("machine: all is well")
