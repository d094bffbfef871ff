"""A studio with `plugin` in place of the built-in families: its server, its worker, the Space."""

import runpy
import sys
from importlib.metadata import EntryPoint

from attn.backends.hookspecs import GROUP
from attn.backends.plugins import entry_points, registry

BUILTIN = EntryPoint(name="attn", value="tests.helpers.studio.plugin", group=GROUP)


def main():
    """Run the worker, or a command line of attn, or a script, with such a worker."""
    entry_points.BUILTIN = registry.BUILTIN = BUILTIN
    if sys.argv[1:] == ["worker"]:
        from attn.studio.worker import work

        work.main()
        return
    from attn.cli import run
    from attn.studio import child

    child.COMMAND = (sys.executable, "-m", "tests.helpers.studio.held", "worker")
    if sys.argv[1:2] == ["script"]:
        runpy.run_path(sys.argv[2], run_name="__main__")
    else:
        run()


if __name__ == "__main__":
    main()
