"""`python -m workers`: works on background responses until SIGTERM or Ctrl-C; the same as `eurouter work`."""

import sys

from service.cli import main

if __name__ == "__main__":
    sys.exit(main(["work", *sys.argv[1:]], program="python -m workers"))
