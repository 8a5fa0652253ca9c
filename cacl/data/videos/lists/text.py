"""The text of a list file, whatever program wrote it: UTF-8 or UTF-16, any line end, commas, semicolons or tabs."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cacl.errors import UserError

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LARGEST_JSON = 2**28  # bytes; the largest known list has 30 million
_DELIMITERS = ",;\t"


def read_text(path: Path) -> str:
    """A list file as text; bytes that are no UTF-8 stay as file names have them. Raises OSError."""
    return decoded(path.read_bytes())


def decoded(data: bytes) -> str:
    """Bytes as text: UTF-16 with a mark of order, or with a zero in every other byte; else UTF-8, a mark left out."""
    if data.startswith(_UTF16):
        return data.decode("utf-16", "replace")
    if order := _order(data[:64]):
        return data.decode(order, "replace")
    return data.decode("utf-8-sig", "surrogateescape")


def _order(head: bytes) -> str:
    """The order of UTF-16 without a mark: its ASCII has a zero in every other byte."""
    pairs = head[: len(head) // 2 * 2]
    low, high = pairs[::2], pairs[1::2]
    if len(pairs) >= 4 and not any(high) and all(low):
        return "utf-16-le"
    return "utf-16-be" if len(pairs) >= 4 and not any(low) and all(high) else ""


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of every line that holds something, blanks around it left out; ``# `` begins a remark."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip() and not line.startswith("# "):  # HMDB51 has names such as #20_Rhythm_clap_u_nm_np1_fr_goo_0
            yield number, line.strip()


def header(path: Path) -> tuple[str, ...]:
    """The first line's fields as names of columns, in small letters; empty where it cannot be read."""
    with path.open("rb") as file:
        text = decoded(file.read(8192))
    first = next(iter(text.splitlines()), "")
    try:
        fields = next(csv.reader([first], delimiter=delimiter_of(first), skipinitialspace=True), [])
    except csv.Error:
        return ()
    return tuple(field.strip().lower() for field in fields)


def delimiter_of(line: str, among: str = _DELIMITERS) -> str:
    """What stands between the fields of a header: the most frequent of comma, semicolon and tab."""
    return max(among, key=line.count)


def rows(path: Path, *, needs: str, delimiter: str = "") -> Iterator[tuple[int, Mapping[str, str]]]:
    """Number and cells of every row under a header; names of columns in small letters, blanks around cells left out.

    Args:
        needs: a column that must be there; rows in which it is empty are passed over.
        delimiter: between fields; by default the one of the header.

    Raises:
        UserError: no such column, a row with more cells than the header, or no table.
    """
    text = read_text(path)
    delimiter = delimiter or delimiter_of(next(iter(text.splitlines()), ""))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        if needs not in columns:
            found = ", ".join(columns) or "nothing"
            raise UserError(f"{path}: the first line must name the columns, '{needs}' among them; it says {found}.")
        if doubled := sorted({name for name in columns if name and columns.count(name) > 1}):
            raise UserError(f"{path}: two columns are called '{doubled[0]}'; leave one.")
        for cells in reader:
            if any(cell.strip() for cell in cells[len(columns) :]):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(cells)} fields where the first line names {len(columns)}; "
                    'put a field with a comma in it into quotation marks ("Hello, world.mp4").'
                )
            row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
            if row.get(needs):
                yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: cannot be read as a table ({error}).") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file; ``None`` where it is none, or larger than any list."""
    if path.stat().st_size > _LARGEST_JSON:
        return None
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError):
        return None


def one_label(text: str | None) -> tuple[str, ...]:
    """A cell as the labels of a video: none or one."""
    label = (text or "").strip()
    return (label,) if label else ()


def seconds(path: Path, number: int, row: Mapping[str, str], column: str) -> float:
    """A cell as seconds. Raises UserError with file, line and column."""
    try:
        value = float(row[column].replace(",", "."))
    except (KeyError, ValueError):
        value = -1.0
    if not 0 <= value < 1e9:
        raise UserError(f"{path}, line {number}: '{row.get(column)}' in column {column} is not a number of seconds.")
    return value
