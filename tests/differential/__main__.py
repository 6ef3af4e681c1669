"""`make differential`: our requests beside LiteLLM's; writes the page, fails for what nobody explained."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.differential.asked import all_asked, ask, left_out
from tests.differential.page import page
from tests.differential.reasons import explain, reasons
from tests.support.parts import ROOT


def main() -> int:
    """The exit code: 0 when each difference has its reason and each reason its difference."""
    try:
        version, compared = ask(list(all_asked()))
    except subprocess.CalledProcessError as error:
        print(error.stderr[-4000:], file=sys.stderr)
        return 2
    explained = explain(compared, reasons())
    for each, found in explained.unexplained:
        pair = (json.dumps(value, ensure_ascii=False)[:200] for value in (found.ours, found.theirs))
        print(f"no reason: {each.asked.key}: {found.path or 'the request'}: {found.how}:", *pair, sep="\n    ")
    for reason in explained.idle:
        print(f"covers nothing: {', '.join(reason.dialects)}: {', '.join(reason.places)}: {reason.why}")
    if explained.unexplained or explained.idle:
        return 1
    text = page(version, compared, left_out(), explained)
    (ROOT / "docs" / "differential.md").write_text(text, encoding="utf-8")
    equal = sum(not each.found for each in compared)
    print(f"{len(compared)} requests, {equal} equal, each difference explained: docs/differential.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
