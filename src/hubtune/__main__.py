"""``python -m hubtune``."""

from hubtune.cli.main import main

main()
