"""The command line: parse, call, print. Results go to stdout, progress and notes to stderr; UserError exits with 2."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import cast

import typer

from cacl.cli import videos, training, evaluation, recognition, embed, index, serve, analysis, report, weights, fuse  # isort: skip  (the order of the help)
from cacl.cli import push, compare, reproduce, plan, doctor  # isort: skip
from cacl.cli.app import app
from cacl.distributed import launch as processes
from cacl.errors import UserError, did_you_mean, printable, quoted
from cacl.extras import pip_install
from cacl.files import CLOSED, FULL

__all__ = ["analysis", "app", "compare", "doctor", "embed", "evaluation", "fuse", "index", "main", "plan", "push",
           "recognition", "report", "reproduce", "serve", "training", "videos", "weights"]  # fmt: skip

# Some versions of typer use click, others carry a copy of it, whose errors are other classes.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

_CALLED = {"PIL": "pillow"}  # what is imported by another name


def main() -> None:
    """Entry point: UserError is a sentence and status 2; a stop asked for is saved and says how to go on."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    command = typer.main.get_command(app)
    try:
        if "" in sys.argv[1:]:  # as a path it would be this folder
            raise UserError("One of the words given is empty: is a variable of the shell not set?")
        status = command(prog_name="cacl", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except UserError as error:
        print("\n".join(printable(line) for line in str(error).split("\n")), file=sys.stderr)
        sys.exit(2)
    except _UsageError as error:
        _show_usage_error(cast(typer.BadParameter, error), list(getattr(command, "commands", [])))
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except ModuleNotFoundError as error:
        if (package := (error.name or "cacl").partition(".")[0]) == "cacl":
            raise
        package = _CALLED.get(package, package)
        print(f"cacl is not installed whole, {package} is missing: {pip_install(package)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in FULL | CLOSED:
            raise
        place = printable(str(error.filename or "Something"))
        what = "could not be written" if error.errno in FULL else "cannot be read or written"
        mend = "make room, then go on" if error.errno in FULL else "mend that, or name another place"
        print(f"{place} {what} ({error.strerror}): {mend}.", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        from cacl.training.stop import Stopped

        if not isinstance(error, Stopped):
            if (sentence := _of_the_device(error)) is None:
                raise
            print(sentence, file=sys.stderr)
            sys.exit(2)
        command_line = f"cacl pretrain --resume {quoted(error.run or 'RUN')}{processes.as_many()}"
        print(f"Stopped, everything is saved. Go on: {command_line}", file=sys.stderr)
        sys.exit(error.code)


def _of_the_device(error: Exception) -> str | None:
    """What to do where a GPU could not go on; PyTorch is not imported for it."""
    if "torch" not in sys.modules:
        return None
    from cacl.machine.device_errors import explained

    return explained(error)


_KINDS = {"integer": "a whole number", "number": "a number", "float": "a number", "boolean": "yes or no"}


def _found(message: str, words: list[str]) -> str:
    """What was found in place of a number, and what is wanted, in place of how it was parsed."""
    wrong = re.match(r"Invalid value for '(--?[\w-]+)[^']*'[^:]*: (?:Input should be|.* is not) a valid (\w+)", message)
    if wrong is None or wrong[2] not in _KINDS:
        return message
    option, kind = wrong[1], _KINDS[wrong[2]]
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == option:
            return f"{option} is {value if equals else following}: wanted {kind}"
    return f"{option}: wanted {kind}"


def _show_usage_error(error: typer.BadParameter, verbs: list[str]) -> None:
    """What is wrong with the command line, with the nearest right word and where to read on."""
    message = error.format_message().strip()
    if not message or "\n" in message:  # no word at all was given: this is the help
        print(message, end="\n" * bool(message), file=sys.stderr)
        return
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    hint = "" if verb in verbs or "Did you mean" in message else did_you_mean(verb, verbs)
    if verb and verb not in verbs and Path(verb).exists():
        check, info = f"cacl check {quoted(verb)}", f"cacl info {quoted(verb)}"
        hint = printable(f" It is the name of something here: {check} if it holds videos, else {info}.")
    path = "cacl" if error.ctx is None else error.ctx.command_path
    message = printable(_found(message, sys.argv[1:])).rstrip(".")
    stop = "" if message.endswith(("?", "!")) else "."
    print(f"{message}{stop}{hint} See: {path} --help", file=sys.stderr)
