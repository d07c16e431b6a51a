"""Drives a monitor with qemu.qmp.legacy. Argument: the path of its socket."""
import os
import sys

from qemu.qmp import ExecuteError
from qemu.qmp.legacy import QEMUMonitorProtocol

with QEMUMonitorProtocol(sys.argv[1], nickname="interop") as qmp:
    greeting = qmp.connect()
    assert greeting["QMP"]["version"]["qemu"]["major"] == 7, greeting
    qmp.settimeout(200)
    assert qmp.command("query-name") == {"name": "interop"}
    assert qmp.cmd("query-name", cmd_id="a b") == {"return": {"name": "interop"}, "id": "a b"}
    assert qmp.cmd_obj({"execute": "query-name"})["return"] == {"name": "interop"}
    reply = qmp.cmd("no-such", {"x": [1, None, "\u20ac"]})
    assert reply["error"]["class"] == "CommandNotFound", reply
    try:
        qmp.command("query-status", nothing=True)
    except ExecuteError as err:
        assert err.error_class == "GenericError" and "unexpected" in str(err), err
    else:
        raise AssertionError("an unexpected argument was taken")

    assert qmp.get_events() == []
    qmp.command("cont")
    event = qmp.pull_event(wait=200.0)
    assert event["event"] == "RESUME" and event["timestamp"]["seconds"] > 1600000000, event
    qmp.clear_events()
    qmp.command("stop")
    events = qmp.get_events(wait=True)
    assert [e["event"] for e in events] == ["STOP"], events
    assert qmp.pull_event() is None
    names = [c["name"] for c in qmp.command("query-commands")]
    assert "qmp_capabilities" in names, names
    with open(os.devnull, "rb") as file:
        qmp.send_fd_scm(file.fileno())
    qmp.command("getfd", fdname="null")
    qmp.command("closefd", fdname="null")
print("legacy: all is well")
