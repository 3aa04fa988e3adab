"""`python -m armature` is the `armature` command."""

import sys

from armature.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
