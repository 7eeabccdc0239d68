"""``python -m hubtune``, such as under torchrun."""

from hubtune.cli.main import main

main()
