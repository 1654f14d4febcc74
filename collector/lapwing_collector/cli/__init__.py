"""The `lapwing` command."""


def main() -> None:
    """Run the command line; never returns."""
    # Here, so that what `lapwing up` becomes can do without.
    from lapwing_collector.cli.main import main as run

    run()


__all__ = ["main"]
