"""Git hooks: `hooks.py large FILE...` refuses files above 1 MB, `hooks.py trim FILE...` strips trailing whitespace."""

import re
import sys
from pathlib import Path

MOST = 1_000_000  # bytes


def large(paths: list[Path]) -> int:
    found = [path for path in paths if path.is_file() and path.stat().st_size > MOST]
    for path in found:
        print(f"{path} has {path.stat().st_size:,} bytes: expected at most {MOST:,}, because git stores every version")
    return bool(found)


def trim(paths: list[Path]) -> int:
    changed = 0
    for path in paths:
        content = path.read_bytes()
        trimmed = re.sub(rb"[ \t]+(?=\r?$)", b"", content, flags=re.MULTILINE)
        if trimmed != content and b"\0" not in content:
            path.write_bytes(trimmed)
            print(f"trimmed {path}")
            changed = 1
    return changed


if __name__ == "__main__":
    sys.exit({"large": large, "trim": trim}[sys.argv[1]](list(map(Path, sys.argv[2:]))))
