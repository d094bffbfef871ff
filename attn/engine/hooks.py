"""Switch the kernel mode on exactly while chosen modules run, and off again whatever happens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from threading import Lock, get_ident
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _get_current_dispatch_mode_stack,
)
from torch.utils.hooks import RemovableHandle

from attn.engine.attention import Attention
from attn.engine.kernels import KernelMode, OperatorMode, Report, raise_it
from attn.engine.walks import walk_modules
from attn.errors import CaptureError

Key = TypeVar("Key")

_lock = Lock()
_holders = 0
_stance: Any = None


class Uncompiled:
    """While any of these is entered, nothing is compiled and no compiled code runs.

    Compiled code hides its attention, and torch compiles hooks along with what they are hooked to.
    What is compiled stays so: it runs again once the last of them is left.
    """

    def __init__(self) -> None:
        self._is_entered = False

    def __enter__(self) -> Uncompiled:
        global _holders, _stance  # noqa: PLW0603 - torch has one stance for the process
        with _lock:
            self._is_entered = True
            _holders += 1
            # the compiler takes seconds to load; without it, nothing was compiled
            if _stance is None and "torch._dynamo" in sys.modules:
                _stance = torch.compiler.set_stance("force_eager")
        return self

    def __exit__(self, *error: object) -> None:
        global _holders, _stance  # noqa: PLW0603
        with _lock:
            _holders -= self._is_entered
            self._is_entered = False
            if _stance is not None and not _holders:
                _stance.__exit__(None, None, None)
                _stance = None


def _ignore(key: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Take no note of a module that begins to run."""


class ModeHooks(Generic[Key]):
    """Switch a mode of torch on while chosen modules run.

    Meanwhile, nothing runs that `torch.compile` made: see `Uncompiled`.

    Args:
        modules: what to watch, under the keys that the functions are told.
        mode: is entered before the outermost of the modules runs, and left after it.
        done: called after a watched module ran without an error.
        wanted: asked before each watched module; while it says no, nothing is switched on.
        refuse: takes the error of what cannot be observed; if it returns, the model goes on.
        begun: told each watched module that begins to run, and its arguments.
        innermost: whether the mode lies inside of those of other hooks on the same modules.

    Raises:
        CaptureError: two keys stand for one module, so its attention could not be told apart.
    """

    def __init__(
        self,
        modules: Mapping[Key, nn.Module],
        mode: TorchDispatchMode,
        *,
        done: Callable[[Key], None] = lambda key: None,
        wanted: Callable[[], bool] = lambda: True,
        refuse: Callable[[Exception], None] = raise_it,
        begun: Callable[[Key, tuple[Any, ...], Mapping[str, Any]], None] = _ignore,
        innermost: bool = False,
    ) -> None:
        if len(set(map(id, modules.values()))) < len(modules):
            raise CaptureError(f"one module is listed twice among {', '.join(map(str, modules))}")
        self._modules = modules
        self._mode = mode
        self._done = done
        self._wanted = wanted
        self._refuse = refuse
        self._begun = begun
        self._innermost = innermost
        self._running: list[Key] = []
        self._claiming = Lock()
        self._thread: int | None = None  # in which the watched modules run
        self._is_over = False
        self._handles: list[RemovableHandle] = []
        self._uncompiled = Uncompiled()

    @property
    def running(self) -> Key:
        """The innermost watched module that runs."""
        return self._running[-1]

    def __enter__(self) -> ModeHooks[Key]:
        self._uncompiled.__enter__()
        for key, module in self._modules.items():
            self._handles += [
                module.register_forward_pre_hook(partial(self._before, key), with_kwargs=True),
                module.register_forward_hook(
                    partial(self._after, key), always_call=True, prepend=self._innermost
                ),
            ]
        return self

    def __exit__(self, *error: object) -> None:
        with self._claiming:
            self._is_over = True
            is_elsewhere = self._thread not in (None, get_ident())
        if not is_elsewhere:  # else that thread has the mode, and leaves it with its last module
            self._detach()

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._running.clear()
        self._thread = None
        self._uncompiled.__exit__()
        # torch calls no hook when KeyboardInterrupt leaves a module
        while any(mode is self._mode for mode in _get_current_dispatch_mode_stack()):
            self._mode.__exit__(None, None, None)

    def _leave(self) -> None:
        """End what the mode began with the outermost module."""

    def _require_order(self) -> None:
        """Refuse to look at calls that are changed only afterwards."""
        stack = _get_current_dispatch_mode_stack()
        if not self._innermost and any(getattr(mode, "changes_calls", False) for mode in stack):
            raise CaptureError(
                "the model is changed around what records it; enter attn.intervene inside of the "
                "block of attn.tap"
            )

    def _before(self, key: Key, module: nn.Module, args: Any, keywords: Mapping[str, Any]) -> None:
        if not self._wanted():
            return
        if not self._claim():
            return (
                None
                if self._is_over
                else self._refuse(
                    CaptureError(
                        "two threads run the watched model at once, so its attention cannot be "
                        "told apart; let one wait for the other, or give each a copy of the model"
                    )
                )
            )
        try:
            if not self._running:
                self._require_order()
            self._begun(key, args, keywords)
        except BaseException:
            self._thread = self._thread if self._running else None
            raise
        self._running.append(key)
        if len(self._running) == 1:
            self._mode.__enter__()

    def _claim(self) -> bool:
        """Take the modules for this thread, unless another runs them or nothing is watched now."""
        with self._claiming:
            is_free = not self._is_over and self._thread in (None, get_ident())
            self._thread = get_ident() if is_free else self._thread
            return is_free

    def _after(self, key: Key, module: nn.Module, args: Any, output: Any) -> None:
        is_running = self._running and self._thread == get_ident()
        if not is_running or self._running[-1] != key:
            return
        self._running.pop()
        if not self._running:
            self._leave()
            self._mode.__exit__(None, None, None)
            self._thread = None
        if self._is_over and not self._running:
            self._detach()
        elif output is not None:
            self._done(key)


def _linears(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yield the linear layers in modules, once each: those that are torch's own, unchanged."""
    parts = (part for module in modules for _, part in walk_modules(module))
    linears = {id(part): part for part in parts if type(part) is nn.Linear}
    yield from (part for part in linears.values() if "forward" not in vars(part))


class AttentionHooks(ModeHooks[Key]):
    """Report the attention kernels that run inside modules, each to the innermost of them.

    Args:
        modules: see `ModeHooks`, like `done`, `wanted`, `refuse` and `begun`.
        see: takes each kernel call as it happens.
        done: as there.
        wanted: as there.
        refuse: as there.
        axes: of softmaxes in a module, see `kernels.KernelMode`.
        begun: as there.
    """

    def __init__(
        self,
        modules: Mapping[Key, nn.Module],
        see: Callable[[Key, Attention], None],
        done: Callable[[Key], None] = lambda key: None,
        wanted: Callable[[], bool] = lambda: True,
        *,
        refuse: Callable[[Exception], None] = raise_it,
        axes: Callable[[Key], str | None] = lambda key: None,
        begun: Callable[[Key, tuple[Any, ...], Mapping[str, Any]], None] = _ignore,
    ) -> None:
        self._kernels = KernelMode(
            lambda attention: None if self._is_over else see(self.running, attention),
            refuse,
            lambda: axes(self.running),
        )
        self._paused: nn.Module | None = None
        self._off: list[TorchDispatchMode] = []
        super().__init__(
            modules, self._kernels, done=done, wanted=wanted, refuse=refuse, begun=begun
        )

    def __enter__(self) -> AttentionHooks[Key]:
        super().__enter__()
        for part in _linears(self._modules.values()):
            self._handles += [
                part.register_forward_pre_hook(self._pause),
                part.register_forward_hook(self._go_on, always_call=True),
            ]
        return self

    def _pause(self, module: nn.Module, args: Any) -> None:
        """Look away while a linear layer runs: of what a module of attention runs it is most."""
        stack = _get_current_dispatch_mode_stack()
        first = next((at for at, mode in enumerate(stack) if mode is self._kernels), len(stack))
        off = stack[first:]  # what changes the calls lies inside of what looks at them
        if not off or not all(isinstance(of, OperatorMode) and not of.is_waiting for of in off):
            return
        for mode in reversed(off):
            mode.__exit__(None, None, None)
        self._off, self._paused = off, module

    def _go_on(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._paused is module and self._thread == get_ident():
            self._paused = None
            for mode in self._off:
                mode.__enter__()

    @property
    def report(self) -> list[Report]:
        """What was checked of each kind of kernel call."""
        return list(self._kernels.report.values())

    def _leave(self) -> None:
        self._kernels.forget()
