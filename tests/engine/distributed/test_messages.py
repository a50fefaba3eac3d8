"""Nothing that another rank says is unpickled before its signature was found right."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from engine.config import named_templates
from engine.config.schema import Config, Model
from engine.distributed import messages, shared_paths
from engine.distributed import world as worlds
from engine.distributed.world import World
from engine.errors import ModelError, StageError
from engine.models.locate import ModelRef
from engine.signals import round_models
from tests.engine.distributed.test_ranks import together

# Rank 0 orders what would be seen if it were unpickled. Rank 1 is told apart by what it knows of the signature.
STRANGE = """
import os, sys
from functools import partial
from engine.distributed import shared_paths, ranks, world
from engine.errors import StageError

class Seen:
    def __reduce__(self):
        return print, ("unpickled",)

ranks.END_S = 0.0
here = world.read(int(sys.argv[1]))
shared_paths.settle(here)
ranks.join(here)
right = vars(ranks._messages).copy()
if ranks.rank() == 0:
    for order in (Seen(), Seen(), Seen()):
        ranks._tell(order)
    try:
        ranks._collect(None)
    except StageError as error:
        print(error)
    os._exit(0)
for wrong in ({"_key": b"another launch's"}, {"_count": 7}, {}):
    vars(ranks._messages).update(right | {"_count": right["_count"]} | wrong)
    try:
        ranks._hear()
    except StageError as error:
        print(error)
        from torch import distributed
        import torch
        # what the head would have been followed by
        distributed.broadcast(torch.empty(int(sys.argv[2]), dtype=torch.uint8), 0, group=ranks._messages._group)
    right["_count"] += 1
ranks._messages._key = b"another launch's"
ranks._give(None)
"""


@pytest.mark.slow
def test_an_order_or_answer_of_a_stranger_is_refused_unread() -> None:
    strange = STRANGE.replace("int(sys.argv[2])", str(len(messages.encode(_Seen())) + messages.MAC))
    first, other = (said.splitlines() for said in together(strange, 2))
    refused = "a message of rank {} does not bear this launch's signature, so somebody else writes to 127.0.0.1."
    assert [line.startswith(refused.format(1)) for line in first] == [True]
    assert [line.startswith(refused.format(0)) for line in other] == [True, True, False]
    assert other[2] == "unpickled", "with the right key and number it is what it was"


class _Seen:
    """As long as the program's."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("unpickled",)


def world(project: Path) -> World:
    made, listener = worlds.begin(1, "cpu", str(project), nodes=2)
    listener.close()
    return made


def test_a_head_is_no_body_and_an_answer_is_one_ranks(tmp_path: Path) -> None:
    known = messages.Messages(world(tmp_path), 1, None)
    head, body = known._signed(1, b"8 bytes.")
    assert bytes(known._opened(1, b"body", body)) == b"8 bytes."
    for sender, said in ((1, head), (2, body)):
        with pytest.raises(StageError, match=f"a message of rank {sender} does not bear this launch's signature"):
            known._opened(sender, b"body", said)


def test_a_path_becomes_what_it_is_on_the_machine_where_it_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, scratch, given = (tmp_path / name for name in ("project", "scratch", "model"))
    here, gone = tmp_path / "here", tmp_path / "gone"
    here.mkdir()
    (here / "config.json").touch()
    sent = {
        "project": project / "artifacts" / "round-0",
        "package": shared_paths.PACKAGE / "demo" / "base",
        "same": here,
        "given": gone,
    }
    monkeypatch.setattr(shared_paths, "_project", None)  # and put back
    monkeypatch.setattr(shared_paths, "_elsewhere", None)
    first = world(project)
    shared_paths.settle(first)
    text = messages.encode(sent)
    assert messages.decode(text) == sent, "on the first machine nothing changes"
    shared_paths.settle(first.on(1, "10.0.0.2"), scratch, given)
    found = messages.decode(text)
    assert found == sent | {"project": scratch / "artifacts" / "round-0", "given": given}
    with pytest.raises(ModelError, match=r"model: the model of the run is not on this machine, 10\.0\.0\.2\."):
        shared_paths.local(found["given"])
    assert shared_paths.local(found["same"]) == here
    (here / "config.json").unlink()
    assert messages.decode(text)["same"] == given, "a folder where nothing is mounted"


def test_a_chat_template_of_ones_own_travels_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_paths, "_elsewhere", None)
    own = tmp_path / "own.jinja"
    own.write_text("{{ messages }}\n", encoding="utf-8")
    sent = Config(model=Model(name="m", chat_template=str(own))), Model(chat_template="chatml"), Model()
    text = messages.encode(sent)
    assert messages.decode(text) == sent, "on the first machine nothing changes"
    own.unlink()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    shared_paths.settle(world(tmp_path / "P").on(1, "10.0.0.2"), scratch)
    config, *others = messages.decode(text)
    assert named_templates.template_text(config.model.chat_template) == "{{ messages }}"
    assert config.model.name == "m"
    assert tuple(others) == sent[1:]


def test_a_model_that_is_another_one_where_an_order_arrives_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder may have changed since the machine joined, and so may [model] name in config.toml."""
    monkeypatch.setattr(shared_paths, "_elsewhere", None)
    folders = [tmp_path / name for name in ("model", "given")]
    for folder, weights in zip(folders, (b"those of the first", b"other ones"), strict=True):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(weights)
    sent = messages.encode([ModelRef(folders[0]), ModelRef(tmp_path / "model", folders[1])])
    shared_paths.settle(world(tmp_path / "P").on(1, "10.0.0.2"), tmp_path / "scratch", folders[1])
    for model in messages.decode(sent):
        assert round_models.on_this_machine(model) == model
    (folders[0] / "model.safetensors").write_bytes(b"downloaded again")
    for model in messages.decode(sent):
        with pytest.raises(ModelError, match=r"model: not the model that the first machine has there\. Copy it from"):
            round_models.on_this_machine(model)
    (folders[0] / "model.safetensors").unlink()
    folders[0].rmdir()
    with pytest.raises(ModelError, match=r"given: not the model"):  # what --model named stands in for what is gone
        round_models.on_this_machine(messages.decode(sent)[0])


def test_other_kinds_of_paths_are_paths_there_too() -> None:
    assert messages.decode(messages.encode(PurePosixPath("a/b"))) == Path("a/b")
