"""Run a command in a fresh network namespace that has nothing but loopback, or as it is where that is refused.

Usage: python tests/support/namespace.py COMMAND ARGUMENT...
Standard library only: it runs before anything else is known to work.
"""

import os
import shutil
import socket
import struct
import subprocess
import sys

_INSIDE = "--inside"
_OWN_SERVERS = ("EUROUTER_TEST_POSTGRES_URL", "EUROUTER_TEST_KAFKA")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def bring_loopback_up() -> None:
    """Set the interface `lo` up, as `ip link set lo up` would; `ip` is not installed everywhere."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name = struct.pack("16sH14x", b"lo", 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, name))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def into_namespace(unshare: str, command: list[str]) -> list[str]:
    """Wrap a command so that it runs in a namespace of its own."""
    return [unshare, "-rn", sys.executable, __file__, _INSIDE, *command]


def works(unshare: str) -> bool:
    """Whether this system lets us make a namespace; many containers don't."""
    probe = into_namespace(unshare, [sys.executable, "-c", ""])
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def main() -> None:
    """Replace this process by the command."""
    command = sys.argv[1:]
    if command[:1] == [_INSIDE]:
        bring_loopback_up()
        command = command[1:]
    # A server of the user's own is not to be reached from inside.
    elif not any(map(os.environ.get, _OWN_SERVERS)) and (unshare := shutil.which("unshare")) and works(unshare):
        command = into_namespace(unshare, command)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
