"""`python -m control_plane` and the `muster` script."""

from control_plane.cli.app import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
