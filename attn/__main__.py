"""The command `attn`, also as `python -m attn`. Whatever takes time is imported inside `main`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback from its first moment on."""
    try:
        from attn.cli import run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished stays usable\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
