"""The one hook of the plugin interface."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from attn.backends.types import BackendSpec

GROUP = "attn"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """What a plugin can implement, marked with `attn.hookimpl`."""

    @hookspec
    def attn_backends(self) -> Iterable[BackendSpec]:
        """Return the backends of this package.

        Called once per command that needs backends, so it must be cheap: put the imports of torch
        and of the model library into `BackendSpec.load`.

        Example:
            ```python
            @attn.hookimpl
            def attn_backends():
                return [BackendSpec(name="toy", summary="a toy", load=lambda: import_toy())]
            ```
        """
        raise NotImplementedError
