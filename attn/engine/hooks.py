"""Switch the kernel mode on exactly while chosen modules run, and off again whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import get_ident
from typing import Any, Generic, TypeVar

from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.hooks import RemovableHandle

from attn.engine.attention import Attention
from attn.engine.kernels import KernelMode, Report
from attn.errors import CaptureError

Key = TypeVar("Key")


class AttentionHooks(Generic[Key]):
    """Report the attention kernels that run inside modules, each to the innermost of them.

    Args:
        modules: what to watch, under the keys that `see` and `done` are told.
        see: takes each kernel call as it happens.
        done: called after a watched module ran without an error.
        wanted: asked before each watched module; while it says no, nothing is switched on.

    Raises:
        CaptureError: two keys stand for one module, so its attention could not be told apart.
    """

    def __init__(
        self,
        modules: Mapping[Key, nn.Module],
        see: Callable[[Key, Attention], None],
        done: Callable[[Key], None] = lambda key: None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        if len(set(map(id, modules.values()))) < len(modules):
            raise CaptureError(f"one module is listed twice among {', '.join(map(str, modules))}")
        self._modules = modules
        self._see = see
        self._done = done
        self._wanted = wanted
        self._running: list[Key] = []
        self._thread = get_ident()  # in which the watched modules run
        self._handles: list[RemovableHandle] = []
        self._mode = KernelMode(lambda attention: self._see(self._running[-1], attention))

    def __enter__(self) -> AttentionHooks[Key]:
        for key, module in self._modules.items():
            self._handles += [
                module.register_forward_pre_hook(self._before(key)),
                module.register_forward_hook(self._after(key), always_call=True),
            ]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._running.clear()
        # torch calls no hook when KeyboardInterrupt leaves a module
        while any(mode is self._mode for mode in _get_current_dispatch_mode_stack()):
            self._mode.__exit__(None, None, None)

    @property
    def report(self) -> list[Report]:
        """What was checked of each kind of kernel call."""
        return list(self._mode.report.values())

    def _before(self, key: Key) -> Callable[[nn.Module, Any], None]:
        def before(module: nn.Module, args: Any) -> None:
            if not self._wanted():
                return
            if self._running and self._thread != get_ident():
                raise CaptureError(
                    "two threads run the watched model at once, so its attention cannot be told "
                    "apart; let one wait for the other, or give each a copy of the model"
                )
            self._running.append(key)
            self._thread = get_ident()
            if len(self._running) == 1:
                self._mode.__enter__()

        return before

    def _after(self, key: Key) -> Callable[[nn.Module, Any, Any], None]:
        def after(module: nn.Module, args: Any, output: Any) -> None:
            is_running = self._running and self._thread == get_ident()
            if not is_running or self._running[-1] != key:
                return
            self._running.pop()
            if not self._running:
                self._mode.__exit__(None, None, None)
            if output is not None:
                self._done(key)

        return after
