"""Builds the demo's two models from nothing: `python -m engine.demo.build` (`--quick` for a tiny pair in a minute).

Both are trained side by side, one process and one thread each; the result depends on the seed alone. What they can do
is then measured and written to docs/benchmarks/demo-models.md.
"""

import argparse
import dataclasses
import logging
import multiprocessing
import shlex
import sys
import time
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from engine.demo import pretrain, report, tokenizer
from engine.demo.measure import Lab
from engine.demo.pretrain import ModelPlan

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "benchmarks" / "demo-models.md"
CHECKPOINT_STEPS = 500
LOG_FORMAT = "%(asctime)s %(message)s"

PLANS = (
    ModelPlan("base", steps=6000, compiled=True),
    ModelPlan("teacher", steps=4500, compiled=True),
)
"""Sized for 50 minutes on two idle cores at 4.4k tokens/s each. Eight layers ran at 2.2-2.6k beside other work."""
QUICK_STEPS = 60

log = logging.getLogger(__name__)


def quick(plan: ModelPlan) -> ModelPlan:
    """The plan of a tiny model that learns next to nothing."""
    return dataclasses.replace(plan, hidden=64, layers=2, heads=2, steps=QUICK_STEPS, warmup=10, compiled=False)


def build(out: Path, plans: tuple[ModelPlan, ...], seed: int) -> None:
    """Train every plan's model into OUT/MODEL, in parallel processes."""
    tokenizer.train(seed).save_pretrained(out / "tokenizer")
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(plans)) as pool:
        pool.starmap(_build_one, [(out, dataclasses.replace(plan, seed=seed)) for plan in plans], chunksize=1)


def _build_one(out: Path, plan: ModelPlan) -> None:
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    torch.set_num_threads(1)
    pretrain.train(plan, tokenizer.load(out / "tokenizer"), out / plan.model, CHECKPOINT_STEPS)


def load(directory: Path) -> Lab:
    """A built model, in float32."""
    model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return Lab(model, tokenizer.load(directory))


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.demo.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="where base/ and teacher/ are written")
    parser.add_argument("--document", type=Path, help="the report's path (none with --quick unless given)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tiny, useless pair, to test the build")
    parser.add_argument("--measure-only", metavar="ORIGIN", help="measure the pair that is there; says how it was made")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    torch.set_num_threads(1)
    plans = tuple(map(quick, PLANS)) if options.quick else PLANS
    start = time.monotonic()
    origin = options.measure_only
    if not origin:
        build(options.out, plans, options.seed)
        command = shlex.join(["python", "-m", "engine.demo.build", *arguments])
        origin = f"Built by `{command}` in {(time.monotonic() - start) / 60:.0f} minutes."
    document = options.document or (None if options.quick else DOCUMENT)
    if document:
        _measure(options.out, document, options.seed, origin)
    return 0


def _measure(out: Path, document: Path, seed: int, origin: str) -> None:
    directories = [out / plan.model for plan in PLANS]
    base, teacher = map(load, directories)
    report.write(document, report.measured(base, teacher, seed), directories, origin)
    log.info("wrote %s", document)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
