"""`python -m lapwing_collector.cli` is the `lapwing` command."""

from lapwing_collector.cli.main import main

main()
