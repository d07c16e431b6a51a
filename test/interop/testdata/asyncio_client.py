"""Drives a monitor with qemu.qmp.QMPClient. Argument: the path of its socket."""
import asyncio
import sys

from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, Runstate


async def main(path: str) -> None:
    """Commands one at a time, many at once, out of band, and events."""
    qmp = QMPClient("interop")
    await qmp.connect(path)
    assert qmp.greeting is not None and qmp.greeting.QMP.version["qemu"]["minor"] == 2
    # The library itself enables out-of-band execution where it is offered.
    assert "oob" in qmp.greeting.QMP.capabilities
    assert await qmp.execute("query-name") == {"name": "interop"}

    many = [qmp.execute("query-status") for _ in range(200)]
    many += [qmp.execute("query-commands") for _ in range(20)]
    replies = await asyncio.gather(*many)
    assert all(r["status"] in ("prelaunch", "paused") for r in replies[:200])
    assert all(r == replies[-1] for r in replies[200:])

    try:
        await qmp.execute("query-status", oob=True)
    except ExecuteError as err:
        assert "does not support OOB" in str(err), err
    else:
        raise AssertionError("query-status ran out of band")
    listener = EventListener(names=("STOP", "RESUME"))
    with qmp.listen(listener):
        for _ in range(10):
            await qmp.execute("cont")
            await qmp.execute("stop")
        seen = [await asyncio.wait_for(listener.get(), 200) for _ in range(20)]
    assert [m["event"] for m in seen] == ["RESUME", "STOP"] * 10, seen
    assert all(m["timestamp"]["microseconds"] < 1000000 for m in seen)

    await qmp.disconnect()
    assert qmp.runstate == Runstate.IDLE
    await qmp.connect(path)
    assert await qmp.execute("query-name") == {"name": "interop"}
    await qmp.disconnect()


asyncio.run(main(sys.argv[1]))
print("asyncio: all is well")
