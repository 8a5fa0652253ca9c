"""House rules: 350 lines a file, 60 a function, 20 files a room; one method's task is named in few files.

Exit status 1 and a list where one is broken.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
problems = []
for file in sorted([*ROOT.glob("cacl/**/*.py"), *ROOT.glob("tests/**/*.py")]):
    text = file.read_text()
    if (lines := text.count("\n")) > 350:
        problems.append(f"{file}: {lines} lines")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            start = node.body[0].lineno
            if ast.get_docstring(node) is not None and len(node.body) > 1:
                start = node.body[1].lineno  # the docstring does not count
            if node.end_lineno - start + 1 > 60:
                problems.append(f"{file}:{node.lineno}: {node.name} has {node.end_lineno - start + 1} lines")
for folder in sorted({file.parent for file in ROOT.glob("cacl/**/*.*") if file.suffix != ".pyc"}):
    if (files := sum(file.is_file() for file in folder.iterdir())) > 20:
        problems.append(f"{folder}: {files} files")
named = [file for file in ROOT.glob("cacl/**/*.*") if file.suffix in (".py", ".html") and "degree" in file.read_text()]
if len(named) > 12:
    problems.append(f"{len(named)} files name the shuffle degree: its task (cacl/methods/degree.py) says what it is")
print("\n".join(problems) or "all files, functions and rooms are small enough")
sys.exit(bool(problems))
