"""The command line. Scripts rely on it. Each command imports only what it needs, so ``status`` does not load
torch.
"""

from __future__ import annotations

import errno
import sqlite3
import sys
from pathlib import Path
from shlex import quote
from typing import Any

import click
from click.shell_completion import CompletionItem

from engine.errors import MiddoError, UsageError
from engine.loop import NAMES
from engine.store.controls import KINDS, Kind
from middo_tui.cli import exit_codes, version
from middo_tui.cli.arguments import FOLDER, one_of
from middo_tui.cli.compare import compare_command
from middo_tui.cli.completion import completion
from middo_tui.cli.config import config_command
from middo_tui.cli.control import cancel, pause, resume, undo
from middo_tui.cli.data import import_, init
from middo_tui.cli.doctor import doctor
from middo_tui.cli.export import export, export_model
from middo_tui.cli.flips import flips_command
from middo_tui.cli.fork import fork
from middo_tui.cli.join import join
from middo_tui.cli.keys import keys_command
from middo_tui.cli.label import label
from middo_tui.cli.lineage import lineage
from middo_tui.cli.log import log_command
from middo_tui.cli.opening import open_project, terminal
from middo_tui.cli.override import override
from middo_tui.cli.plot import plot_command
from middo_tui.cli.quarantine import quarantine
from middo_tui.cli.report import report
from middo_tui.cli.running import follow_run, start_run
from middo_tui.cli.samples import samples
from middo_tui.cli.upkeep import backup, check, prune, restore
from middo_tui.cli.wait import notify, wait
from middo_tui.terminal.console import clean, say, say_json

ALL_COMMANDS = "List all commands with `middo-tui --help`."


class Program(click.Group):
    """The command group. A first word that is not a command is a project folder to open; errors print on one line."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; ``open`` for a folder."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            if not Path(args[0]).exists():
                raise click.UsageError(clean(self._meant(args[0])).text, ctx)
            return "open", self.commands["open"], args
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, and folders: a project is opened by its folder alone. Folders first, as bash's script expects."""
        return [
            *FOLDER.shell_complete(ctx, ctx.command.params[0], incomplete),
            *super().shell_complete(ctx, incomplete),
        ]

    def _meant(self, word: str) -> str:
        """The error message for ``word``, which is neither a command nor a folder."""
        said = f"{word}: neither a command nor a project folder."
        new = f"To create a project there: mkdir {quote(word)} && middo-tui {quote(word)}"
        return f"{said} {self.nearest(word) or f'{ALL_COMMANDS} {new}'}"

    def nearest(self, word: str) -> str:
        """Asks whether a command with a similar name is meant; empty where none has one."""
        from difflib import get_close_matches

        names = [name for name, one in self.commands.items() if not one.hidden]
        near = get_close_matches(word.lower(), names, n=1)
        return f"Did you mean `middo-tui {near[0]}`?" if near else ""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; an error of ours is a line and an exit code."""
        try:
            return super().invoke(ctx)
        except MiddoError as error:
            say(f"middo-tui: {error}", err=True, wrap=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno in (None, errno.EPIPE):  # click ends quietly when nobody reads on
                raise
            say(f"middo-tui: {f'{error.filename}: ' if error.filename else ''}{error.strerror}.", err=True, wrap=True)
            ctx.exit(1)
        except sqlite3.Error as error:
            from engine.store.connect import FILE, translated

            say(f"middo-tui: {translated(error, Path(FILE))}", err=True, wrap=True)
            ctx.exit(1)


@click.group(
    cls=Program,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=exit_codes.EPILOG,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=version.show,
    help="Show the versions of middo-tui and of the libraries it uses, then exit.",
)
@click.option("--no-mouse", is_flag=True, help="Do not capture the mouse.")
@click.pass_context
def main(ctx: click.Context, no_mouse: bool) -> None:
    """Improve an instruction dataset for the model you fine-tune on it.

    middo-tui [DIR] opens a project in the app. The commands below do the same work from scripts.
    """
    ctx.obj = not no_mouse
    if ctx.invoked_subcommand is None:
        folder, fresh = _nearest()
        ctx.exit(_open(folder, afresh=fresh))


@main.command("open", hidden=True)
@click.argument("folder", type=FOLDER)
def open_(folder: Path) -> None:
    """Open a project in the app, or the wizard if the folder is empty."""
    new = terminal() and folder.is_dir() and not any(folder.iterdir())
    sys.exit(_open(_create_in_wizard(folder), afresh=True) if new else _open(folder))


@main.command("help", hidden=True)
@click.argument("name", required=False)
@click.pass_context
def help_(ctx: click.Context, name: str | None) -> None:
    """Show help for one command, or list all commands."""
    root = ctx.find_root()
    if name is None:
        say(root.get_help())
        return
    if (command := main.commands.get(name)) is None:
        raise UsageError(f"{name}: no such command. {main.nearest(name) or ALL_COMMANDS}")
    with click.Context(command, info_name=name, parent=root) as inner:
        say(command.get_help(inner))


@main.command()
@click.argument("folder", type=FOLDER, default="middo-demo")
@click.option(
    "--rounds",
    type=click.IntRange(1, 20),
    default=2,
    show_default=True,
    help="Number of rounds.",
)
@click.option(
    "--plain",
    is_flag=True,
    help="Print progress as plain lines instead of opening the app (default if stdout is not a terminal).",
)
def demo(folder: Path, rounds: int, plain: bool) -> None:
    """Run the whole loop on the built-in demo: two small models, on the CPU."""
    from middo_tui.text.status import standing

    if not (folder / "middo.db").exists():
        from engine.demo.project import create_demo

        for line in create_demo(folder):
            say(line)
    elif standing(folder).state != "running":
        say(f"{folder}: resuming the demo in this folder (delete the folder to start over)")
    start_run(folder, rounds, None, auto=True)
    if plain or not terminal():
        sys.exit(follow_run(folder))
    code = _open(folder, leave_when_done=True)
    _table(folder)
    sys.exit(code)


@main.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=None,
    help="Maximum number of rounds in total (default: [loop] rounds).",
)
@click.option("--until", type=click.Choice(NAMES), default=None, help="Stop after this stage.")
@click.option(
    "--redo",
    default=None,
    metavar="STAGE",
    shell_complete=one_of(lambda: NAMES),
    help="First discard this round's results of STAGE and of all later stages.",
)
@click.option("--yes", is_flag=True, help="Do not ask before --redo discards decisions or paid calls.")
@click.option("--auto", is_flag=True, help="Skip manual review: accept rewrites that improved.")
@click.option(
    "--control",
    type=click.Choice(KINDS),
    default=None,
    help="Measure what a finished round gained over another selection: as many random samples handled alike (random),"
    " the selected samples left out (drop), or the unchanged dataset (none).",
)
@click.option(
    "--round",
    "round_",
    type=click.IntRange(0),
    default=None,
    help="With --control: the round (default: the newest whose result is measured).",
)
@click.option("--plain", is_flag=True, help="Print progress as plain lines instead of opening the app.")
@click.option(
    "--wait", is_flag=True, help="Wait until the run ends. Exit code 0: done, 1: failed, 4: waiting for a decision."
)
def run(
    folder: Path,
    rounds: int | None,
    until: str | None,
    redo: str | None,
    yes: bool,
    auto: bool,
    control: Kind | None,
    round_: int | None,
    plain: bool,
    wait: bool,
) -> None:
    """Start or resume the loop in a background worker that keeps running if the terminal closes."""
    if round_ is not None and control is None:
        raise UsageError("--round belongs to --control. The loop continues with its newest round.")
    if control is not None:
        from middo_tui.cli.measure_control import measure

        if rounds or until or redo:
            raise UsageError("--control trains one finished round again: leave out --rounds, --until and --redo.")
        sys.exit(measure(folder, control, round_, None if plain or wait or not terminal() else _open, wait or plain))
    if redo:
        from middo_tui.cli.redo import forget

        forget(folder, redo, ask=not yes)
    over = start_run(folder, rounds, until, auto)
    if plain or wait:
        sys.exit(follow_run(folder))
    if terminal():
        sys.exit(_open(folder))
    if over:
        say(over, wrap=True)
        return
    say(f"{folder}: running. Watch it: middo-tui {quote(str(folder))} · middo-tui status {quote(str(folder))}")


@main.command()
@click.argument("folder", type=FOLDER, default=".")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(folder: Path, as_json: bool) -> None:
    """Show the worker, stages, counts and scores. Exit code 0: done, 3: running, 4: waiting for you, 5: failed."""
    from middo_tui.text.status import exit_code, gather

    facts = gather(folder)
    if as_json:
        say_json(facts)
    else:
        from middo_tui.cli.plain import describe, what_now

        say(describe(facts))
        say(f"\n{what_now(folder)}")
    sys.exit(exit_code(facts))


@main.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--accept",
    required=True,
    type=click.Choice(["improved", "all", "none"]),
    help="Which undecided rewrites to accept; the others are rejected.",
)
def review(folder: Path, accept: str) -> None:
    """Decide all undecided rewrites of the newest round. `undo` reverts the decision."""
    from engine.store import commands
    from middo_tui.text.status import standing

    jobs = standing(folder).jobs
    if not jobs:
        raise UsageError(
            f"{folder}: nothing to review, no round has run yet. Start with `middo-tui run {quote(str(folder))}`."
        )
    counts = commands.decide_open(folder, jobs[-1].round, accept, source="command line")
    at = quote(str(folder))
    if not any(counts.values()):
        say(f"{folder}: round {jobs[-1].round} has no undecided rewrites.")
        return
    said = f"{counts['accepted']} accepted, {counts['rejected']} rejected."
    say(f"{said} Resume: middo-tui run {at} · Undo: middo-tui undo {at}")


for command in (
    *(init, import_, pause, resume, cancel, undo, export, export_model, fork, label, lineage, override),
    *(quarantine, report, samples, completion, config_command, keys_command, doctor, wait, notify),
    *(backup, check, prune, restore, flips_command, compare_command, log_command, plot_command, join),
):
    main.add_command(command)


def _nearest() -> tuple[Path, bool]:
    """The project in the current folder or its nearest parent; otherwise the one chosen from a list, or a new one.

    Second: whether it is new.
    """
    from middo_tui.feed.home import known, project_around, projects

    around = project_around(Path.cwd())
    if around is not None:
        return around, False
    if terminal():
        from middo_tui.cli.new import chosen
        from middo_tui.feed import recent

        found = known(Path.cwd(), recent.folders())
        known_one = chosen(found, _mouse()) if found else None
        return (_create_in_wizard(None), True) if known_one is None else (known_one, False)
    found = projects(Path.cwd())
    if found:
        names = ", ".join(one.folder.name for one in found[:5]) + (", …" if len(found) > 5 else "")
        raise UsageError(
            f"no project here, but in subfolders: {names}. Open one with `middo-tui {quote(found[0].folder.name)}`."
        )
    raise UsageError(
        "no project here. Try `middo-tui demo`, or create a project with "
        "`middo-tui init DIR --data FILE --model MODEL`."
    )


def _open(folder: Path, leave_when_done: bool = False, afresh: bool = False) -> int:
    return open_project(folder, _mouse(), leave_when_done, afresh)


def _create_in_wizard(folder: Path | None) -> Path:
    """Create a project with the wizard; exits if the person quits it."""
    from middo_tui.cli.new import create_in_wizard

    return create_in_wizard(folder, _mouse())


def _mouse() -> bool:
    return bool(click.get_current_context().find_root().obj)


def _table(folder: Path) -> None:
    from middo_tui.cli.plain import rounds_table
    from middo_tui.text.status import gather

    say(rounds_table(gather(folder)))
