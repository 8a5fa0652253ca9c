"""``finetune`` and ``classify`` on an index: classes from labels of its stretches, in seconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from cacl.cli.app import given, holds_something, say_replaced
from cacl.errors import UserError, printable, quoted
from cacl.files import check_parent, check_replaceable, write_whole

_HEEDED = {"labelled", "labels", "linear", "out", "as_json"}


def is_index(path: Path) -> bool:
    """Whether a folder was made by ``cacl index``."""
    return (path / "index.json").is_file()


def learn_classes(
    context: typer.Context, index: Path | None, *, labels: Path | None, out: Path | None, as_json: bool
) -> bool:
    """``cacl finetune INDEX --linear``. False where it is no index; then nothing is done."""
    if index is None or not is_index(index):
        if labels is not None:
            raise UserError("--labels is for an index (cacl finetune INDEX --labels FILE --linear): leave it out.")
        return False
    from cacl.exploring.labels import Labels, classes_of, labels_of
    from cacl.exploring.learn import learn
    from cacl.indexing.reader import Index

    if wrong := given(context, context.params.keys() - _HEEDED):
        raise UserError(f"{index} is an index, whose stored vectors are learnt from: leave out {', '.join(wrong)}.")
    if not context.params["linear"]:
        raise UserError(
            f"{index} is an index; its stored vectors take a linear layer: add --linear, or name labelled videos to "
            "fine-tune the encoder itself."
        )
    file, folder = labels or labels_of(index), out or classes_of(index)
    before = holds_something(folder)
    with Index(index) as opened:
        learnt = learn(opened, Labels(file).read(), name=printable(str(file)))
        learnt.classes.save(folder)
    for note in learnt.examples.notes:
        print(f"Note: {note}.", file=sys.stderr)
    say_replaced(folder, before)
    if as_json:
        print(json.dumps({"classes": list(learnt.classes.names), **learnt.classes.facts}, indent=2))
        return True
    each = learnt.classes.facts["labels of each"]
    print(printable(", ".join(f"{name} ({count})" for name, count in each.items())))
    print(printable(learnt.held_out.words()))
    name = quoted(index)
    if out is None:
        print(f"{folder}: cacl classify {name} writes what each stretch is; cacl serve {name} shows it.")
    else:
        print(f"{folder}: cacl classify {quoted(out)} {name} writes what each stretch is.")
    return True


def classify_index(folder: Path, index: Path, *, out: Path | None, top: int) -> None:
    """``cacl classify CLASSES INDEX``."""
    from cacl.exploring.classes import Classes
    from cacl.exploring.predictions import is_predictions, predictions_as_csv
    from cacl.indexing.reader import Index

    if top < 1:
        raise UserError(f"--top is {top}; it must be 1 or more.")
    if out is not None and out.suffix.lower() != ".csv":
        raise UserError(f"{out}: the table of an index ends in .csv.")
    if out is not None:
        check_parent(out)
        check_replaceable(out, is_predictions, by="cacl classify")
    before = out is not None and holds_something(out)
    with Index(index) as opened:
        table = predictions_as_csv(opened, Classes.load(folder), top=top)
        print(f"{len(opened)} stretches.", file=sys.stderr)
    if out is None:
        print(table, end="")
        return
    write_whole(out, table.encode("utf-8", "surrogateescape"))
    say_replaced(out, before)
    print(out)
