"""What the light side loads: the app and the commands a person waits for must not pull in the heavy side."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    *("torch", "transformers", "trl", "peft", "vllm", "numpy"),
    *("datasets", "pandas", "pyarrow", "fsspec", "huggingface_hub", "httpx", "httpx2", "requests", "openai"),
)


def modules_after(code: str) -> set[str]:
    """Top-level names in ``sys.modules`` of a fresh interpreter that ran ``code``."""
    probe = f"{code}\nimport sys; sys.stdout.write('\\n' + ' '.join({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import middo_tui.app",
        "import middo_tui.cli.commands",
        "import middo_tui.screens.wizard.screen, engine.hub.fetch",
        "import engine.runtime.worker",
        "import middo_tui.text.status, middo_tui.cli.plain",
    ],
)
def test_loads_nothing_heavy(code: str) -> None:
    found = modules_after(code) & set(HEAVY)
    assert not found - ({"numpy", "pandas", "pyarrow"} if "worker" in code else set())


def probed(code: str) -> list[str]:
    """The words that ``code`` prints in a fresh interpreter in which the app was imported."""
    code = f"import sys, middo_tui.app\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_of_the_screens_the_app_loads_the_first() -> None:
    screens = "middo_tui.screens."
    loaded = {name.removeprefix(screens) for name in probed("print(*sys.modules)") if name.startswith(screens)}
    assert loaded == {"frame", "loop", "loop_charts", "loop_keys"}


def test_the_app_loads_no_command_line() -> None:
    assert not {"click", "argparse"} & set(probed("print(*sys.modules)"))


def test_the_app_has_no_class_compiled_when_it_starts() -> None:
    """A dataclass is source code that Python compiles in every process: 1.5 ms each, a struct takes a hundredth."""
    ours = "{name: module for name, module in sys.modules.items() if name.startswith(('engine', 'middo_tui'))}"
    found = probed(
        f"for name, module in {ours}.items():\n"
        "    for value in vars(module).values():\n"
        "        if '__dataclass_fields__' in getattr(value, '__dict__', {}) and value.__module__ == name:\n"
        "            print(f'{name}.{value.__name__}')"
    )
    assert found == []


def test_status_loads_nothing_heavy(tmp_path_factory: pytest.TempPathFactory) -> None:
    from engine.store.schema import migrate

    project = tmp_path_factory.mktemp("project")
    migrate(project, create=True)
    code = (
        "from middo_tui.cli.commands import main\n"
        f"try: main(['status', {str(project)!r}, '--json'])\n"
        "except SystemExit as end: assert end.code == 0, end.code"
    )
    found = modules_after(code)
    assert not found & set(HEAVY)
    assert "textual" not in found
