"""A trace as labelled arrays, and what needs more than one of its tensors."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.errors import TraceError
from attn.files.digests import read_output
from attn.schema import (
    SKETCH,
    Layer,
    Plane,
    Shard,
    Step,
    Token,
    Word,
    block_names,
    forming_names,
    image_names,
    video_names,
)
from attn.trace.copies import write_copy
from attn.trace.grids import resample
from attn.trace.means import find_layers, mean_maps
from attn.trace.measures.axes import LISTED, index_of
from attn.trace.measures.exact import read_probs
from attn.trace.measures.sources import MemoryFiles, TensorSource
from attn.trace.measures.totals import find_any
from attn.trace.measures.views import MeasureView
from attn.trace.remote import open_anywhere
from attn.trace.step_tokens import read_written
from attn.trace.words.concepts import concept_maps
from attn.trace.words.maps import word_maps
from attn.wording import list_some

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["MemoryFiles", "TensorSource", "Trace", "open_trace", "resample"]


class Trace:
    """One captured generation: its manifest, and its tensors as labelled arrays.

    Arrays have the axes `branch` and `sample`, and `step` unless only the mean over steps was kept.
    They are lazy: select first (`.sel(step=3)`), then only that is read, also by another process
    that they are sent to. What a step did not compute (a layer that it left out) is NaN.

    Attributes:
        manifest: the contents of `trace.json`.
        folder: where the trace lies; None in memory.
    """

    def __init__(self, source: TensorSource) -> None:
        self.manifest = source.manifest
        self.folder = source.folder
        self._source = source
        self._views: dict[Hashable, MeasureView] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Trace, (self._source,)

    def __repr__(self) -> str:
        layers = len(self.manifest.kept.layers)
        return f"<Trace of {self.manifest.backend}: {len(self.steps)} steps, {layers} layers kept>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return what a notebook shows: that of `attn.view`."""
        shown: dict[str, str] = import_module("attn").view(self)._repr_mimebundle_()
        return shown | {"text/plain": repr(self)}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The attention modules in execution order."""
        return self.manifest.layers

    @property
    def steps(self) -> tuple[Step, ...]:
        """The captured steps in generation order."""
        return self.manifest.steps

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of the prompt."""
        return self.manifest.words

    @property
    def branches(self) -> tuple[str, ...]:
        """The guidance rows that were kept."""
        return self.manifest.branches

    def tokens(self, branch: str = "cond", sample: int | None = None) -> tuple[Token, ...]:
        """Return the tokens that the model read for one branch.

        Where samples read different texts, `sample` names one of them; without it, positions at
        which they differ have their number for a text.
        """
        index_of("branch", branch, tuple(self.manifest.tokens))
        if sample is None or not self.manifest.texts:
            return self.manifest.tokens[branch]
        samples = range(self.manifest.samples)
        return self.manifest.texts[index_of("sample", sample, samples)].tokens

    def layer(self, which: int | str) -> Layer:
        """Return a layer by index, by path, or by `tower:path` where towers share paths.

        Raises:
            TraceError: there is no such layer, or more than one.
        """
        if not isinstance(which, str):
            return self.layers[index_of("layer", which, [layer.index for layer in self.layers])]
        paths = [layer.path for layer in self.layers]
        full = [f"{layer.tower}:{layer.path}" for layer in self.layers]
        if paths.count(which) > 1:
            same = [name for name, path in zip(full, paths, strict=True) if path == which]
            raise TraceError(
                f"there is more than one layer '{which}': say {list_some(same, LISTED)}"
            )
        return self.layers[index_of("layer", which, full if which in full else paths)]

    def image(self, sample: int = 0) -> Path:
        """Return the file of a generated picture.

        Raises:
            TraceError: the trace has no such picture.
            DamagedError: the file is another than the one that was written.
        """
        names = image_names(self.manifest.outputs)
        if self.folder is None or not names:
            raise TraceError(f"{self.folder or 'the trace'} has no picture")
        name = names[index_of("picture", sample, range(len(names)))]
        self.output(name)
        return self.folder / name

    def video(self, sample: int = 0) -> Path | None:
        """Return the file of a generated video, an animated PNG; None where there is none.

        Raises:
            DamagedError: the file is another than the one that was written.
        """
        return self._file(video_names(self.manifest.outputs), sample)

    def sketch(self) -> Path | None:
        """Return the drawing's file, white on black, as large as the picture; None without one."""
        return self._file([name for name in self.manifest.outputs if name == SKETCH], 0)

    def forming(self, sample: int = 0) -> Path | None:
        """Return the file that shows how a picture formed, or None where that is not known.

        It has a small frame for each step: what the sampler expected of the finished picture.

        Raises:
            DamagedError: the file is another than the one that was written.
        """
        return self._file(forming_names(self.manifest.outputs), sample)

    def _file(self, names: Sequence[str], sample: int) -> Path | None:
        """Return the file of a sample, held against its digest, if there is one."""
        if self.folder is None or sample >= len(names):
            return None
        self.output(names[sample])
        return self.folder / names[sample]

    def output(self, name: str) -> bytes:
        """Return the content of one of `manifest.outputs`, as it was written.

        Raises:
            TraceError: there is no such file, or it cannot be read.
            DamagedError: it is another than the one that was written.
        """
        index_of("output", name, self.manifest.outputs)
        return read_output(self.folder or Path("the trace"), name, self.manifest)

    def measure(self, name: str, layer: int | str, block: str | None = None) -> xr.DataArray:
        """Return one measure of one layer, lazily.

        Args:
            name: a name in `schema.MEASURES`.
            layer: index or path.
            block: `<query part>.<key part>`; of `total`, `gate` and concepts the first; else None.

        Returns:
            (step, branch, sample, *MEASURES[name]). Axis `step` has `timestep` and `noise`, axis
            `key` has `position` (-1 for a column of the rest), `segment`, `token` and `word` (-1
            for none; these two by (branch, key) where guidance rows read different tokens).
            Probabilities are 0 to 1, entropies in nats.

        Raises:
            TraceError: the trace does not hold it; the message says what it holds.
        """
        return self.pieces(name, layer, block).labelled()

    def pieces(self, name: str, layer: int | str, block: str | None, **places: bool) -> MeasureView:
        """Return one measure of one layer to be read piece by piece, without labels.

        `places` are `lay_out` and `by_frame` of `measures.lookup.find`.
        """
        key = name, layer, block, *sorted(places.items())
        if key not in self._views:
            selected = self.layer(layer)
            self._views[key] = find_any(self._source, name, selected, block, **places)
        return self._views[key]

    def maps(self, layer: int | str, block: str = "image.text") -> xr.DataArray:
        """Return a block's probs, mean over heads: (…, row, column, key), lazily.

        Of a video it is (…, frame, row, column, key). Where the queries are not one image the axis
        is `query`.
        """
        return self.pieces("map", layer, block, lay_out=True, by_frame=True).labelled()

    def headmaps(self, layer: int | str, block: str = "image.text") -> xr.DataArray:
        """Return a block's probs: (…, head, row, column, key), lazily; of a video by frame."""
        return self.pieces("headmap", layer, block, lay_out=True, by_frame=True).labelled()

    def mass(self, layer: int | str, block: str = "image.text") -> xr.DataArray:
        """Return the probs that each key receives, mean over queries: (…, head, key), lazily."""
        return self.measure("mass", layer, block)

    def share(self, layer: int | str) -> xr.DataArray:
        """Return each text key's part of the text's mass, mean over pixels: (…, key), lazily."""
        return self.measure("share", layer, "image.text")

    def total(self, layer: int | str, query: str = "image") -> xr.DataArray:
        """Return the mass that each key segment receives: (…, head, segment), sum 1, lazily."""
        return self.measure("total", layer, query)

    def entropy(self, layer: int | str, block: str = "image.text") -> xr.DataArray:
        """Return the entropy of whole rows (all keys), nats, mean over the queries: (…, head)."""
        return self.measure("entropy", layer, block)

    def gates(self, layer: int | str, part: str = "image") -> xr.DataArray:
        """Return `schema.GATE_STATISTICS` of the gate on a query part: (…, head, statistic)."""
        return self.measure("gate", layer, part)

    def written(self, name: str) -> xr.DataArray:
        """Return a measure of `schema.STEP_MEASURES`: (step, branch, sample, position), at once."""
        return read_written(self._source, name)

    def probs(
        self,
        layer: int | str,
        step: int,
        block: str = "all.all",
        branch: str = "cond",
        sample: int = 0,
    ) -> xr.DataArray:
        """Return every head's probs of one block, exactly: recomputed from factors, or stored.

        Returns:
            (head, query, key), float32, read at once; over all keys a row sums to 1. Of a text that
            grows, only the queries and keys that the step has, with their `position`s.

        Raises:
            TraceError: neither factors nor head maps with all keys were kept.
        """
        selected = self.layer(layer)
        index_of("block", block, block_names(selected))
        shard, cell = self._step_shard(step), self._cell(branch, sample)
        return read_probs(self._source, selected, block, shard, cell)

    def mean_maps(
        self,
        block: str = "image.text",
        *,
        layers: Iterable[int | str] | None = None,
        steps: Iterable[int] | None = None,
        branch: str = "cond",
        sample: int = 0,
        grid: Plane | None = None,
        tower: str | None = None,
    ) -> xr.DataArray:
        """Average maps over layers of one tower and steps, with one map in memory at a time.

        Args:
            block: whose queries are one image, or a video: the mean over its frames.
            layers: indices or paths; None is every layer of the tower that has such maps.
            steps: indices; None is every step.
            branch: guidance row.
            sample: picture.
            grid: rows and columns of the result; None is the finest grid of the layers.
            tower: the network, such as `denoiser`; needed where the layers are in more than one.

        Returns:
            (row, column, key), float32. Every step of every layer that ran counts the same; their
            indices are the attribute `layers`.

        Raises:
            TraceError: there are no such maps, or layers are in several towers or have other keys.
        """
        at_branch, at_sample = self._cell(branch, sample)
        selected = find_layers(self, block, layers, tower)
        cells = at_branch, slice(at_sample, at_sample + 1)
        return mean_maps(self, block, selected, steps, cells, grid)

    def word_maps(  # noqa: PLR0913 - all but the first two by name
        self,
        words: Sequence[str] | str | None = None,
        phrases: Sequence[str] | str = (),
        *,
        layers: Iterable[int | str] | None = None,
        steps: Iterable[int] | None = None,
        heads: Sequence[int] | None = None,
        tower: str | None = None,
        branch: str = "cond",
        frame: int | None = None,
    ) -> xr.DataArray:
        """Return the image's attention to words: one map per word and phrase.

        A word's map is the sum over its tokens of their maps' mean over steps, layers and heads;
        it is what `attn analyze` and `attn compare` measure.

        Args:
            words: as typed, every occurrence of each; None is all words of the prompt, `()` none.
            phrases: words in a row as typed, such as `red cat`; added behind the words.
            layers: indices or paths; None is every layer of the tower that has such maps.
            steps: indices; None is every step.
            heads: indices; None is every head. Some need a capture with `--keep heads`.
            tower: the network, such as `denoiser`; needed where the layers are in more than one.
            branch: guidance row; `uncond` reads the negative prompt.
            frame: of a video, in tokens; None is the mean over its frames.

        Returns:
            (sample, segment, word, row, column), float32, probability, 0 to 1, on the finest grid
            of the layers; NaN where a text segment has no token of the word, or not the whole
            phrase. `word` is the text, with its number where it is repeated (`cat (2)`); beside it
            are `kind` (`word` or `phrase`) and its first and last character, `start` and `stop`.

        Raises:
            AnalysisError: the prompt does not have a word or phrase.
            TraceError: there are no such maps, or the layers are in several towers.
        """
        typed = (words,) if isinstance(words, str) else words
        runs = (phrases,) if isinstance(phrases, str) else phrases
        return word_maps(self, typed, runs, layers, steps, heads, (tower, branch, frame))

    def concept_maps(
        self,
        measure: str = "concepts",
        *,
        among: str | Iterable[str] = (),
        layers: Iterable[int | str] | None = None,
        steps: Iterable[int] | None = None,
        branch: str = "cond",
    ) -> xr.DataArray:
        """Return which of the concepts each place of the picture is closest to.

        Args:
            measure: of `schema.CONCEPT_MEASURES`.
            among: which share out 1, exactly, from factors; `sky+cloud` as one. Empty is all.
            layers: indices or paths; None is every layer that has such maps.
            steps: indices; None is every step.
            branch: guidance row.

        Returns:
            (sample, concept, row, column), float32, 0 to 1, sum 1 over the concepts; mean over
            layers and steps, on the finest grid of the layers.

        Raises:
            AnalysisError: there are no such concepts.
            TraceError: there are none, or not the factors.
        """
        return concept_maps(self, measure, among, layers, steps, branch)

    def save(self, folder: str | Path) -> Trace:
        """Write the trace to a new folder and open it there; a partial trace stays partial.

        Raises:
            TraceError: the folder holds a trace already, or cannot be written.
        """
        target = Path(folder)
        write_copy(self._source, self.output, target)
        return open_trace(target)

    def _cell(self, branch: str, sample: int) -> tuple[int, int]:
        samples = range(self.manifest.samples)
        return index_of("branch", branch, self.branches), index_of("sample", sample, samples)

    def _step_shard(self, step: int) -> Shard:
        shards = {shard.step.index: shard for shard in self.manifest.shards if shard.step}
        index_of("step", step, tuple(shards))
        return shards[step]


def open_trace(path: str | Path) -> Trace:
    """Open a trace for reading; of its tensors nothing is read yet.

    Args:
        path: the folder of a trace, its `trace.json`, or a URL, of which a copy is made.

    Raises:
        TraceError: there is no trace, it is damaged, or a newer `attn` wrote it.
        UsageError: nothing that is installed reads such a URL.
    """
    return Trace(open_anywhere(path))
