"""`python -m attn` is the command `attn`."""

from attn.cli import main

if __name__ == "__main__":
    main()
