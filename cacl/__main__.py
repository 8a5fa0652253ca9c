"""``python -m cacl`` is ``cacl``."""

from cacl.cli import main

main()
