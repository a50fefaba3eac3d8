"""config.toml: the template and the structs say the same, and every mistake is named with file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import defaults, schema
from engine.errors import ConfigError
from tests.support import ROOT


def test_the_template_holds_every_knob_with_its_default() -> None:
    text = defaults.TEMPLATE.read_text(encoding="utf-8")
    assert schema.parse(text, "template") == schema.Config()
    lines = text.splitlines()
    for section in schema.Config.__struct_fields__:
        for key in type(getattr(schema.Config(), section)).__struct_fields__:
            assert any(line.startswith((f"{key} = ", f"[{section}.{key}]")) for line in lines), (section, key)


def test_the_top_level_config_toml_is_the_template() -> None:
    root = ROOT / "config.toml"
    assert root.read_text(encoding="utf-8") == defaults.TEMPLATE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[train]\nepoch = 1", "[train] epoch: no such key"),
        ('[train]\nepochs = "many"', "[train] epochs: must be a number above 0."),
        ('[teacher]\nprices = {"gpt-4.1" = {input = -1}}', "[teacher] prices"),
        ("[teacher.price_per_million]\ninput = 1", "replaced by prices per model: [teacher] prices = {"),
        ('[teacher]\nmodel = "big"\nbudget_cost = 5', 'budget_cost needs a price: prices = {"big" = {input'),
        ("[teacher]\nbatch = true", 'batch = true needs backend = "openai", not "hf"'),
        ("[train]\nlora_r = 0", "[train] lora_r"),
        ('[launch]\nnodes = 2\nrendezvous = "0.0.0.0:29400"', "[launch]: rendezvous = 0.0.0.0 would listen on every"),
        ('[launch]\nrendezvous = "0:29400"', "rendezvous = 0 would listen on every interface"),
        ('[launch]\nrendezvous = "10.0.0.1"', "[launch] rendezvous: must be the IPv4 address or host name of this"),
        ('[launch]\nrendezvous = "[::]:29400"', "[launch] rendezvous: must be the IPv4 address"),
        ('[launch]\nrendezvous = "head:70000"', "rendezvous: 70000 is no port"),
        ('[launch]\nnodes = 2\ntoken_env = ""', "nodes above 1 needs token_env"),
        ('[launch]\ntoken_env = "my secret!"', "[launch] token_env: must be the NAME of an environment variable"),
        ("[trane]\nx = 1", "trane: no such section. Did you mean [train]?"),
        ("lora_r = 8", "lora_r: no such section. Did you mean [train] lora_r?"),
        ("[train]\nmin_gain = 1", "[train] min_gain: no such key. Did you mean [loop] min_gain?"),
        ("[train]\nbatchsize = 1", "[train] batchsize: no such key. Did you mean [train] batch_size?"),
        ("[train]\nbatch_size = 1.5", "[train] batch_size: must be an integer of at least 1."),
        ("[train]\npacking = 1", "[train] packing: must be true or false."),
        ('[train]\nmethod = "lore"', '[train] method: must be one of "lora", "qlora", "full".'),
        ('[train]\nreport_to = "wandb"', 'must be a list of "tensorboard", "wandb", "trackio".'),
        ('[train]\nreport_to = ["mlflow"]', 'must be a list of "tensorboard", "wandb", "trackio".'),
        (
            '[teacher]\nurl = "http://a/v1"\nmore_urls = ["http://b/v1", "ftp://c"]',
            "[teacher] more_urls[1]: must be a base URL such as http://127.0.0.1:8000/v1.",
        ),
        ("[train]\nlora_targets = 1", '[train] lora_targets: must be a list ["…"] or a string.'),
        ("[vllm]\ngpu_memory_utilization = 2", "must be a number above 0 and at most 1."),
        ("[data]\nheldout_share = -0.1", "[data] heldout_share: must be a number from 0 to 1."),
        ("[evaluate]\nnum_fewshot = 4", "[evaluate] num_fewshot: must be a table {NAME = …} with an integer"),
        ('[teacher]\nprices = {"a" = 2}', "[teacher] prices"),
        ("train = 3", "[train]: must be a table with init, method"),
        ("[project]\nseed = 4294967296", "[project] seed: must be an integer from 0 to 4294967295."),
        ("[project]\nseed = 99999999999999999999", "[project] seed: 99999999999999999999 is too large."),
        ("[select]\nm_quality = nan", "[select] m_quality: nan is not a valid number."),
        ("[train]\nlearning_rate = inf", "[train] learning_rate: inf is not a valid number."),
        ('[teacher]\nprices = {"a" = {input = inf}}', "[teacher] prices.a.input: inf is not a valid number"),
        ('[model]\ndevice = "gpu"', '[model] device: must be "auto", "cpu", "cuda" or "cuda:N"'),
        ('[teacher]\nkey_env = "sk-123"', "[teacher] key_env: must be the NAME of an environment variable"),
        ("epochs = [", "not valid TOML"),
        ('[merge]\nsize = "huge"', "[merge] size"),
        ("[evaluate]\nmodel_args = {trust_remote_code = true}", "model_args.trust_remote_code is set by middo-tui"),
        ('[evaluate]\ntasks = ["a"]\nnum_fewshot = {b = 4}', "'b' is not in tasks"),
    ],
)
def test_mistakes_name_file_and_key(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        schema.parse(text, "/p/config.toml")
    assert "/p/config.toml" in str(caught.value)
    assert says in str(caught.value)


def refusal(text: str) -> str:
    """Why a config is refused; empty: it is not."""
    try:
        schema.parse(text, "/p/config.toml")
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("section", schema.Config.__struct_fields__)
def test_whatever_is_wrong_with_a_key_is_said_with_its_name_and_in_no_jargon(section: str) -> None:
    values = ('"x"', '""', "7", "-1", "1.5", "nan", "true", '["a"]', "[1]", "{a = 1}", "2024-01-01")
    for key in type(getattr(schema.Config(), section)).__struct_fields__:
        said = [why for value in values if (why := refusal(f"[{section}]\n{key} = {value}"))]
        assert len(said) > 1
        for why in said:
            assert f"[{section}] {key}" in why or f"[{section}]: {key}" in why
            assert not any(word in why for word in ("`", "Expected", "regex", "enum"))


def test_a_mark_at_the_beginning_of_the_file_is_not_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[train]\nepochs = 2\n", encoding="utf-8-sig")
    assert schema.load(tmp_path).train.epochs == 2


def test_render_puts_settings_into_the_template_and_keeps_its_comments() -> None:
    text = defaults.render({"train": {"epochs": 2.5, "packing": True}, "model": {"name": 'a "quoted" \\ näme'}})
    read = schema.parse(text, "rendered")
    assert (read.train.epochs, read.train.packing, read.model.name) == (2.5, True, 'a "quoted" \\ näme')
    assert text.count("#") == defaults.TEMPLATE.read_text(encoding="utf-8").count("#")


def test_render_refuses_a_setting_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"\[train\] epoch"):
        defaults.render({"train": {"epoch": 1}})


@pytest.mark.parametrize("name", defaults.presets())
def test_presets_are_valid_settings(name: str) -> None:
    read = schema.parse(defaults.render(defaults.preset(name)), name)
    assert read.model.name
    assert read.train.batch_size * read.train.gradient_accumulation == 32


def test_the_papers_presets() -> None:
    llama = schema.parse(defaults.render(defaults.preset("llama-3.1-8b")), "llama")
    mistral = schema.parse(defaults.render(defaults.preset("mistral-7b-v0.3")), "mistral")
    assert (llama.train.learning_rate, mistral.train.learning_rate) == (2e-5, 1e-5)
    assert (llama.train.method, llama.train.epochs, llama.model.max_length) == ("full", 1.0, 4096)


def test_an_unknown_preset_lists_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"llama-3.1-8b"):
        defaults.preset("../../etc/passwd")


def test_a_snapshot_round_trips() -> None:
    read = schema.parse("[select]\nm_quality = 0.25", "x")
    assert schema.restore(schema.snapshot(read)) == read


def test_only_the_named_sections_count_for_a_stage() -> None:
    one, two = schema.parse("[train]\nepochs = 1", "x"), schema.parse("[train]\nepochs = 2", "x")
    assert schema.slice_hash(one, ("train",)) != schema.slice_hash(two, ("train",))
    assert schema.slice_hash(one, ("judge",)) == schema.slice_hash(two, ("judge",))


def test_a_stage_depends_on_how_many_processes_there_are_and_not_on_where_they_run() -> None:
    def key(launch: str) -> str:
        return schema.slice_hash(schema.parse(f"[launch]\n{launch}", "x"), ("train", "launch.processes"))

    assert key("processes = 4") == key("processes = 2\nnodes = 2") != key("processes = 2")


def test_a_stage_may_depend_on_a_single_key_of_a_section() -> None:
    one, two = schema.parse("[select]\nneighbours = 3", "x"), schema.parse("[select]\nm_quality = 2", "x")
    names = ("score", "select.neighbours")
    assert schema.slice_hash(one, names) != schema.slice_hash(two, names)
    assert schema.slice_hash(two, names) == schema.slice_hash(schema.Config(), names)


def test_the_reference_selects_by_its_own_rule() -> None:
    assert schema.parse('[select]\nparity = "reference"', "x").select.rule == "sigma"
    assert schema.parse("", "x").select.rule == "evidence"
