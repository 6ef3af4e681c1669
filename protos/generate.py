"""Generate the Python code of the protos, beside them; with --check, say what is not up to date instead.

Run with the Python of `.venv-protos` (requirements-protos.txt): its grpcio-tools is the oldest that we support,
because generated code refuses a runtime older than the tools that made it.
"""

import argparse
import importlib.resources
import os
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
PACKAGE = Path("eurouter", "v1")
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def compile_protos(out: Path) -> None:
    """Run protoc over every proto of the package; gRPC stubs only where a service is declared."""
    # protoc finds the mypy plugins on the PATH.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    protos = sorted(PROTOS.glob(f"{PACKAGE}/*.proto"))
    services = [proto for proto in protos if "\nservice " in proto.read_text(encoding="utf-8")]
    run(protos, f"--python_out={out}", f"--mypy_out=quiet:{out}")
    run(services, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}")
    for package in (PACKAGE, PACKAGE.parent):
        marker = out / package / "__init__.py"
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    (out / PACKAGE.parent / "py.typed").touch()


def run(protos: list[Path], *outputs: str) -> None:
    """Call protoc; its own messages go to standard error. Ends the program when it fails."""
    if not protos:
        return
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    names = [str(proto.relative_to(PROTOS)) for proto in protos]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *outputs, *names]) != 0:
        sys.exit(1)


def generated(root: Path) -> dict[Path, bytes]:
    """Map the relative path of every generated file below a folder to its content."""
    found = {path for pattern in GENERATED for path in (root / PACKAGE).glob(pattern)}
    return {path.relative_to(root): path.read_bytes() for path in sorted(found)}


def main() -> int:
    """Write what changed, remove what nothing generates any more; or only report it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something would change")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        compile_protos(Path(folder))
        fresh, present = generated(Path(folder)), generated(PROTOS)
        stale = [path for path in fresh.keys() | present.keys() if fresh.get(path) != present.get(path)]
        if check:
            for path in sorted(stale):
                sys.stderr.write(f"{path} is not what its proto generates: run `make protos`\n")
            return 1 if stale else 0
        for path in stale:
            if path in fresh:
                (PROTOS / path).write_bytes(fresh[path])
            else:
                (PROTOS / path).unlink()
        for marker in (PACKAGE / "__init__.py", PACKAGE.parent / "__init__.py", PACKAGE.parent / "py.typed"):
            (PROTOS / marker).touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
