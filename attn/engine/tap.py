"""`attn.tap`: the engine for a torch model of one's own, without a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from threading import get_ident
from typing import Any, Literal, TypeVar

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attn.choices import Status
from attn.engine.attention import Attention
from attn.engine.heads import check_axes, count_heads, require_sink, share_keys, unfold, with_heads
from attn.engine.hooks import AttentionHooks
from attn.engine.plan import Keep
from attn.engine.refuse import refuse_unobservable
from attn.engine.tapping.calls import InnerCalls, count_rows, is_backward, weakly
from attn.engine.tapping.histories import History
from attn.engine.tapping.layout import Declared, Layout, declare
from attn.engine.tapping.modules import (
    choose_modules,
    find_encoder,
    find_ends,
    find_unseen,
    modules_around,
    say_absence,
    say_nothing,
    say_outside,
    say_threads,
    say_warnings,
)
from attn.engine.tapping.options import TapOptions, read_options, require_usable
from attn.engine.tapping.plans import TapPlan, make_tap_plan
from attn.engine.tapping.readings import Reading, Readings, padding_of, read_source
from attn.engine.tapping.recording import BLOCK, Tapped
from attn.engine.tapping.stretches import Side, fit, pieces_of
from attn.engine.tapping.texts import Tokens
from attn.engine.tapping.traces import make_trace
from attn.engine.tapping.value_norms import keep_norms
from attn.errors import CaptureError, UsageError
from attn.schema import Grid, Level
from attn.trace.trace import Trace

Result = TypeVar("Result")


def tap(  # noqa: PLR0913 - all but the first two by name
    model: nn.Module,
    layers: str | Sequence[str] | None = None,
    *,
    keep: Level = "maps",
    see: Callable[[str, Attention], None] | None = None,
    every: int = 1,
    axes: str | Mapping[str, str] | None = None,
    segments: Declared | None = None,
    padding: Any = None,
    grid: Grid | None = None,
    value_norm: bool | str = False,
    tokens: Tokens = None,
) -> Tap:
    """Record the attention of any torch model while it runs, without changing what it computes.

    Every forward of `model` becomes one step of an in-memory trace, every row of its batch one
    sample, every module in which an attention kernel runs one layer with the block `all.all`. A
    softmax counts as attention where its result multiplies values.

    Where the model reads token ids, each forward of `model.generate` is a step that knows which
    positions of the text it read; see `schema.Step.span`.

    Example:
        ```python
        with attn.tap(model, "blocks.*.attn", keep="factors") as tapped:
            model(x)
        tapped.trace.probs(layer=0, step=0)  # (head, query, key), exact
        ```

    Args:
        model: what will be called; it is hooked only inside the `with` block.
        layers: globs of module paths; None takes every module that runs a kernel itself.
        keep: level of detail, as in `attn capture --keep`; `means` only of a text. Memory grows
            with every forward by what is kept.
        see: also told (path, attention) at every kernel call, during the forward.
        every: keep only every so many forwards, from the first on.
        axes: letters of the axes of softmaxes in the open, such as `bqhk`, or of those in modules
            by globs of their paths; without it they are batch, head, query, key.
        segments: what the positions are, in order: lengths by name, or segments. Those called
            `generated` are written by the model, those called `image` are a picture.
        padding: (row, position) bool, True where a position only fills a row up; without it, the
            `attention_mask` of the call says so.
        grid: rows and columns of the picture; of a video frames, rows and columns.
        value_norm: keep also, per key, the norm of what it moves: its value times the output
            projection, which is searched, or is the module of that path inside of each layer.
        tokens: the tokenizer, or a text for each position; names positions and finds words.

    Returns:
        A context manager for one block, after which its `trace` is ready. A forward that raises is
        no step, and leaves a trace of status `partial`. What cannot be recorded does not stop the
        model: the error is raised at the end of the block.

    Raises:
        UsageError: `model` is none, or a glob matches no module.
        CaptureError: the model cannot be observed exactly, nothing was seen in the block, or
            several threads call the model at once.
    """
    require_usable(model, layers, keep, see)
    options = read_options(every, axes, padding, value_norm, tokens)
    declared = declare(segments, grid)
    choose_modules(model, list(options.axes), "axes")
    return Tap(model, choose_modules(model, layers), keep, see, Layout(declared, grid), options)


class Tap:
    """See `tap`."""

    def __init__(
        self,
        model: nn.Module,
        modules: dict[str, nn.Module],
        keep: Level,
        see: Callable[[str, Attention], None] | None,
        layout: Layout,
        options: TapOptions,
    ) -> None:
        self._handles: list[RemovableHandle] = []
        self._model = model
        self._modules = modules
        self._callback = see
        self._options = options
        self._tapped = Tapped(Keep(level=keep, keys="all", blocks=(BLOCK,)), layout)
        self._history = History(*find_ends(model), options.padding)
        self._encoder = find_encoder(model)
        self._calls = InnerCalls()
        # weak, so that a tap that is forgotten inside its block does not go on recording
        self._hooks = AttentionHooks(
            modules,
            weakly(self._see),
            wanted=weakly(self._wants),
            refuse=weakly(self._refuse),
            axes=weakly(self._axes),
            begun=weakly(self._calls.begin),
        )
        self._readings = Readings(modules_around(model, modules))
        self._batch: int | None = None
        self._forwards = 0
        self._thread: int | None = None  # of the forward that is running
        self._waiting: str | None = None  # a module that ran since the last forward
        self._main: Reading | None = None  # what the running forward reads
        self._status: Status | Literal["ready", "recording"] = "ready"
        self._failed = self._stopped = False
        self.error: Exception | None = None
        self.seen, self.left_out, self.pieces = set[str](), set[str](), set[str]()
        self.assumed, self.confirmed = set[str](), set[str]()
        self._trace: Trace | None = None

    @property
    def trace(self) -> Trace:
        """What was recorded.

        Raises:
            CaptureError: the block has not ended yet, or no forward in it ended.
        """
        if self._trace is None:
            raise CaptureError(say_absence(is_over=self._status in ("complete", "partial")))
        return self._trace

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return what a notebook shows: the trace, once there is one."""
        shown = self._trace._repr_mimebundle_() if self._trace else {}
        return shown | {"text/plain": repr(self)}

    def plan(self, input_ids: Tensor, new_tokens: int = 512) -> TapPlan:
        """Return what this tap will keep of `model.generate`, and how many bytes that is.

        Nothing is computed, so the model may be on the meta device.

        Args:
            input_ids: the prompts, (row, position).
            new_tokens: that will be written.

        Raises:
            UsageError: the modules do not say what they are.
        """
        keep, every = self._tapped.keep, self._options.every
        return make_tap_plan(self._modules, keep, every, input_ids, new_tokens)

    def __enter__(self) -> Tap:
        if self._status != "ready":
            raise UsageError("a tap records one `with` block; call attn.tap again for another")
        refuse_unobservable(self._model, type(self._model).__name__)
        self._status = "recording"
        self._readings.__enter__()
        self._handles = [
            self._model.register_forward_pre_hook(weakly(self._begin), with_kwargs=True),
            self._model.register_forward_hook(weakly(self._end), always_call=True),
        ]
        self._hooks.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._detach()
        if self._is_elsewhere:
            self._refuse(CaptureError(say_threads(self._model)))
        is_whole = kind is None and self.error is None and not self._failed
        self._status = "complete" if is_whole else "partial"
        if any(step.tensors for step in self._tapped.steps):
            self._guarded(self._finish)
        if kind is None:
            self._raise()

    def _finish(self) -> None:
        assumed = self.assumed - self.confirmed  # by another call
        warnings = say_warnings(
            assumed,
            self.left_out,
            self.pieces,
            find_unseen(self._model, self._modules, self.seen),
            is_sorted=self._history.is_sorted,
            is_guessed=self._tapped.layout.is_guessed,
            is_rewritten=self._history.is_rewritten,
        )
        about = {
            "status": "partial" if self._status == "partial" else "complete",
            "model": {"source": type(self._model).__name__},
            "identity": {"kernels": self._hooks.report, "axes_assumed": sorted(assumed)},
            "warnings": warnings,
        }
        self._trace = make_trace(self._tapped, self._history, self._options.tokens, about)
        self._tapped.layout.require_fit(self._options.width, self._history.length)

    def __del__(self) -> None:
        if self._handles:
            self._detach()

    def _raise(self) -> None:
        """Raise what went wrong in the block, now that it is over."""
        if self.error is not None:
            raise self.error
        if self._waiting is not None and self._trace is None:
            raise CaptureError(say_outside(self._waiting))
        if self._trace is None:
            raise CaptureError(say_nothing(self._model, self._modules, self._forwards))

    def _detach(self) -> None:
        self._hooks.__exit__()
        self._readings.__exit__()
        while self._handles:
            self._handles.pop().remove()

    def _refuse(self, error: Exception) -> None:
        """Take an error that must not stop the model; one of another thread does not stop us."""
        self.error = self.error or error
        self._stopped |= self._thread in (None, get_ident())

    def _wants(self) -> bool:
        if is_backward() or self._is_elsewhere:  # it computes again what was recorded
            return False
        return not self._stopped and self._forwards % self._options.every == 0

    @property
    def _is_elsewhere(self) -> bool:
        """Whether a forward of the model runs in another thread."""
        return self._thread not in (None, get_ident())

    def _axes(self, path: str) -> str | None:
        globs = self._options.axes
        return next((globs[glob] for glob in globs if fnmatchcase(path, glob)), None)

    def _begin(self, module: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        if is_backward():
            return
        if self._is_elsewhere:
            return self._refuse(CaptureError(say_threads(self._model)))
        if self._stopped:
            return
        self._thread = get_ident()
        self._batch = count_rows(args, named)
        self._guarded(self._options.require_rows, self._batch)
        if self._waiting is None:
            self._calls.counts.clear()
            self._tapped.begin(self._forwards)
        self._waiting, self._main = None, None
        reading = self._readings.current
        is_own = self._encoder is None or any(
            named.get(name) is not None for name in ("decoder_input_ids", "decoder_inputs_embeds")
        )
        if reading is not None and is_own:
            self._guarded(self._follow, reading)

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        """Keep the step of a forward that ended; torch hands over None for one that raised."""
        if is_backward():
            return
        if self._thread == get_ident():
            self._thread = None
            self._calls.counts.clear()
            if output is not None and not self._stopped:
                if self._wants():
                    self._tapped.end()
                if self._main is not None:
                    self._history.end(self._main.cache)
                self._forwards += 1
        self._failed |= output is None

    def _guarded(self, function: Callable[..., Result], *args: Any) -> Result | None:
        """Run what may refuse the model without stopping it."""
        try:
            return function(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, the user's generation goes on
            self._refuse(error)
            return None

    def _see(self, path: str, attention: Attention) -> None:
        if self._stopped or (seen := self._guarded(self._read, path, attention)) is None:
            return
        attention, sides = seen
        if self._callback is not None:
            self._callback(path, attention)  # its errors are the user's own
        self._guarded(self._keep, path, attention, sides)

    def _follow(self, reading: Reading) -> None:
        """Find out which positions of the text this forward reads."""
        self._main = reading
        stretch = self._history.follow(reading)
        self._tapped.layout.read(stretch, reading.whole)
        self._tapped.step.stretch = stretch

    def _read(self, path: str, attention: Attention) -> tuple[Attention, tuple[Side, Side]] | None:
        """Say what the axes of an attention are; None if it is left out."""
        if self._thread is None:
            if self._waiting is None:
                self._tapped.begin(self._forwards)
            self._waiting = self._waiting or path
        self.seen.add(path)
        reading = self._readings.current
        inner = None if reading is None else reading.rows
        told = self._batch if self._thread is not None else inner
        batch = told or 1
        heads, length = count_heads(self._modules[path]), self._calls.lengths.get(path)
        require_sink(path, self._modules[path], attention)
        attention = unfold(with_heads(attention, batch), heads, length)
        attention = share_keys(attention, getattr(self._modules[path], "num_key_value_groups", 1))
        is_assumed = check_axes(path, attention, heads, length, self._axes(path))
        (self.assumed if is_assumed else self.confirmed).add(path)
        if reading is not None and attention.shape[0] != batch:
            self.left_out.add(path)
            return None
        if reading is None and (pieces := pieces_of(attention, told)):
            self.pieces.add(path)
            return attention.joined(batch), pieces
        attention, sides = self._place(path, attention, reading)
        return self._without_padding(attention, sides, reading), sides

    def _keep(self, path: str, attention: Attention, sides: tuple[Side, Side]) -> None:
        wanted = self._options.value_norm
        more = keep_norms(self._model, path, attention.with_sink(), wanted) if wanted else {}
        self._tapped.add((path, self._calls.counts[path]), attention, sides, more)

    def _place(
        self, path: str, attention: Attention, reading: Reading | None
    ) -> tuple[Attention, tuple[Side, Side]]:
        """Say what queries and keys are, and give the attention all keys of its text."""
        _, _, queries, keys = attention.shape
        layout = self._tapped.layout
        if reading is None or reading.length != queries:
            return attention, (queries, keys)
        if self._encoder is not None and path.startswith(self._encoder):
            if keys == queries and reading.ids is not None:
                layout.source = keys
                self._tapped.source = read_source(reading)
                return attention, ("source", "source")
            return attention, (queries, keys)
        if self._main is None and reading.ids is not None:
            self._follow(reading)
        stretch = self._tapped.step.stretch
        if self._main is None or stretch is None or stretch.length != queries:
            return attention, (queries, keys)
        if path not in self._calls.crossing:
            whole = fit(attention, stretch, self._main.cache)
            if whole is not None:
                return whole, ("text", "text")
        return attention, ("text", "source" if keys == layout.source else keys)

    def _without_padding(
        self, attention: Attention, sides: tuple[Side, Side], reading: Reading | None
    ) -> Attention:
        """Leave out rows of padding."""
        stretch = self._tapped.step.stretch if sides[0] == "text" else None
        told, rows = self._options.padding, (attention.shape[0], attention.shape[2])
        if stretch is not None:
            padding = self._history.invalid(stretch)
        else:
            padding = told if told is not None and told.shape == rows else padding_of(reading, rows)
        if padding is None or padding.shape != rows or not bool(padding.any()):
            return attention
        return attention.without(padding)
