"""What the prefix cache saves when vLLM rates: the same requests with it and without, each in a fresh process.

`make .venv-vllm/.installed && .venv-vllm/bin/python -m benchmarks.engine.vllm_ratings --out docs/benchmarks/vllm.md`
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.measured import machine, module_of, table
from engine.backends import vllm
from engine.chat import prompts
from engine.config.schema import VLLM
from engine.demo import seed
from engine.signals import ratings
from engine.store.rows import SUBJECTS, Message

BASE = Path(seed.__file__).parent / "base"
ENV = {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
BLOCK = 32


def run_piece(rows: int, alpaca: Path | None, cached: bool) -> dict[str, float]:
    """Rate ``rows`` samples; vLLM's own counters say how many prompt tokens came from the cache."""
    if alpaca is None:
        pairs = [(row.prompt, row.output) for row in seed.seed_rows(rows, 0)]
    else:
        read = json.loads(alpaca.read_text(encoding="utf-8"))[:rows]
        pairs = [(f"{row['instruction']}\n{row['input']}".strip(), row["output"]) for row in read]
    settings = VLLM(enforce_eager=True, block_size=BLOCK, kv_cache_gib=0.5, prefix_caching=cached)
    engine = vllm.load(BASE, settings=settings)
    templates = {subject: prompts.load(f"judge_{subject}") for subject in SUBJECTS}
    chats = [(Message("user", prompt), Message("assistant", response)) for prompt, response in pairs]
    asked = [six for chat in chats if all(six := ratings.judge_prompts(templates, engine, chat))]
    engine.rate(asked[0][:1])
    engine.prompt_tokens = engine.cached_tokens = 0
    rated = engine.rate([ids for six in asked for ids in six])
    assert all(rating.error is None for rating in rated)
    total = float(sum(rating.value or 0.0 for rating in rated))
    figures = {"rows": len(asked), "tokens": engine.prompt_tokens, "cached": engine.cached_tokens}
    engine.close()
    return figures | {"mean": total / len(rated)}


def measure(rows: int, alpaca: Path | None, cached: bool) -> dict[str, float]:
    """``run_piece`` in a process of its own."""
    command = [
        sys.executable,
        "-m",
        module_of(__file__),
        "--rows",
        str(rows),
        "--piece",
        "cached" if cached else "plain",
    ]
    command += ["--data", str(alpaca)] if alpaca else []
    done = subprocess.run(command, env=os.environ | ENV, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def line(name: str, plain: dict[str, float], cached: dict[str, float]) -> list[object]:
    """One row of the table."""
    computed = cached["tokens"] - cached["cached"]
    return [
        name,
        f"{plain['rows']:.0f}",
        f"{cached['tokens']:,.0f}",
        f"{cached['cached'] / cached['tokens']:.0%}",
        f"{plain['tokens'] / computed:.1f}",
        f"{abs(plain['mean'] - cached['mean']):.0e}",
    ]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--piece", choices=["cached", "plain"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.piece:
        print(json.dumps(run_piece(args.rows, args.data, args.piece == "cached")), flush=True)
        return
    sources = [("the demo's rows", None), *([("Alpaca rows", args.data)] if args.data else [])]
    lines = [
        line(name, measure(args.rows, data, False), measure(args.rows, data, True)) for name, data in sources
    ]  # fmt: skip
    head = ("data", "rows", "prompt tokens", "from the cache", "times fewer computed", "means apart")
    options = " --data alpaca_1k.json" if args.data else ""
    text = f"""# Ratings through vLLM: what the prefix cache saves

`.venv-vllm/bin/python -m benchmarks.engine.vllm_ratings --rows {args.rows}{options}`

{machine()}. Tokens, not times: they are exact whatever else the machine does.

Six rating requests for each row, as the judge asks them (what they share first, the dimension last), under the demo's
base model in vLLM's offline engine (eager, float32, blocks of {BLOCK} tokens); `[vllm] prefix_caching` off and on, each
in a fresh process. Tokens from the cache are those that vLLM reports.

{table(head, lines)}
"""
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
