"""Weights are read once, to where they are used: never a whole second copy in this process's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engine.backends.model_loading import _straight, read_model
from tests.support import tiny

READ = """
import resource, sys
from pathlib import Path
import torch, transformers.models.llama.modeling_llama
from engine.backends.model_loading import read_model
torch.set_num_threads(1)
data = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (data + int(sys.argv[2]),) * 2)
model = read_model(Path(sys.argv[1]), torch.bfloat16, torch.device("cpu"), "auto")
print(sum(p.nbytes for p in model.parameters()), len(list(model.parameters())))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of 143 MB in float32."""
    out = tmp_path_factory.mktemp("wide")
    sizes = {"hidden_size": 768, "intermediate_size": 2048, "num_attention_heads": 8, "num_hidden_layers": 5}
    LlamaForCausalLM(LlamaConfig(vocab_size=340, **sizes)).save_pretrained(out)
    tiny.make_tokenizer().save_pretrained(out)
    return out


def test_a_model_is_in_memory_once_while_it_is_read(folder: Path) -> None:
    """Its 71 MB in 16 bits are allowed once, with some room, and its files of 143 MB as they are mapped: no copy."""
    allowed = 71_000_000 + 143_700_000 + 48_000_000
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder), str(allowed)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    size, count = map(int, done.stdout.split())
    assert (size, count) == (71_840_256, 48)


def test_a_device_that_has_its_own_memory_is_read_to_directly(folder: Path) -> None:
    assert _straight(torch.device("cuda:1")) == {"device_map": {"": torch.device("cuda:1")}}
    assert _straight(torch.device("cpu")) == {}
    meta = read_model(folder, torch.float32, torch.device("meta"), "auto")
    assert {p.device.type for p in meta.parameters()} == {"meta"}
