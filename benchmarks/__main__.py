"""All benches one after another, each in a process of its own; then docs/performance.md is drawn: `make bench`."""

import subprocess
import sys
from pathlib import Path


def done(name: str) -> bool:
    sys.stdout.write(f"\n{name}\n")
    sys.stdout.flush()
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode == 0


def main() -> None:
    """Run every benchmark. One that fails does not stop the others; it is named at the end."""
    benches = sorted(file.stem for file in Path(__file__).parent.glob("bench_*.py"))
    failed = [name for name in [*benches, "draw"] if not done(name)]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
