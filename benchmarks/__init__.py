"""What the pages in docs/benchmarks are measured with: run each from this folder's parent, `python -m benchmarks.…`."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
