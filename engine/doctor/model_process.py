"""The doctor's process that may load torch: checks the project's models and, when asked to, tries how fast they are.

``python -m engine.doctor.model_process CONFIG FOLDER [SIZES]`` prints a line of JSON: for each role what
``model_check.look`` found; with SIZES (``speed_probe.Sizes`` as JSON) then another line that has its speeds as well, or
why there are none.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from engine.config import schema as configs
from engine.config.schema import Config
from engine.models import locate
from engine.processes.hidden_packages import hidden

LIBRARIES = ("transformers.models.auto.modeling_auto", "transformers.generation.utils", "peft")
UNUSED = ("sklearn",)
"""What the libraries only import because it is installed: seconds."""


def time_roles(found: list[dict[str, Any]], config: Config, project: Path, sizes: dict[str, int]) -> None:
    """Put ``speeds``, or ``untimed`` (why not), beside what was found of each role."""
    from engine.doctor import speed_probe

    for one in found:
        role, name = one["role"], config.model.name if one["role"] == "model" else config.teacher.model
        folder = locate.on_disk(name, project)
        if one["error"] or folder is None:
            continue
        if config.train.method == "qlora" and role == "model":
            one["untimed"] = "weights in 4 bits are not tried"
            continue
        measure = speed_probe.speeds if role == "model" else speed_probe.teacher_speeds
        try:
            one["speeds"] = measure(folder, config, speed_probe.Sizes(**sizes))
        except Exception as error:  # noqa: BLE001 - a family's own needs have no bounds; it is said, and a run goes ahead
            lines = str(error).splitlines()
            one["untimed"] = f"{type(error).__name__}: {lines[0] if lines else ''}"


def main(argv: list[str]) -> int:
    """Entry of the process."""
    with hidden(*UNUSED):
        for name in LIBRARIES:
            importlib.import_module(name)
    from engine.backends import model_check

    project = Path(argv[1])
    config = configs.placed(configs.restore(argv[0]), project)
    found = model_check.look(config, project)
    print(json.dumps(found), flush=True)  # noqa: T201 - before a trial, which may be killed for memory
    if len(argv) > 2:
        time_roles(found, config, project, json.loads(argv[2]))
        print(json.dumps(found))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
