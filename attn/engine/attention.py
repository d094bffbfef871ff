"""The exact probabilities of one attention kernel call, any block at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from attn.engine.shapes import Logits, Norms, Probs, RowMask
from attn.errors import CaptureError
from attn.schema import ABSENT, Call, Layer, RowLayout, place
from attn.trace.measures.exact import UNIFORM_BELOW

Index = slice | Tensor
"""Positions along one axis: a slice where they are contiguous, else a vector of integers."""

LEAST = torch.finfo(torch.float32).min
"""In place of the logarithm of 0, so that times 0 it is 0."""

MOST = 1e30
"""In place of an infinite log-sum-exp: `LEAST` less it is still a number."""

HIDDEN = -5e3
"""A key with a mask, or a logit, of less than this is hidden: the least that models use is -1e4."""


def placements(layer: Layer, call: Call, row: int) -> tuple[RowLayout, RowLayout]:
    """Return where the queries and keys of a layer are in a row of a batch."""
    return (
        place(layer.queries, call.lengths, row),
        place(layer.keys, call.lengths, row),
    )


def _pick(values: Tensor, row: int, heads: slice, positions: Index) -> Tensor:
    """Return some positions of some heads of one row of the batch; of slices, a view."""
    if isinstance(positions, slice):
        return values[row, heads, positions]
    return values[row, heads][:, positions]


def _part(mask: RowMask, heads: slice, queries: Index, keys: Index) -> Tensor:
    """Return a block of a mask, an axis that repeats left at size 1."""
    mask = mask[heads] if mask.shape[0] > 1 else mask
    mask = mask[:, queries] if mask.shape[1] > 1 else mask
    return mask[..., keys] if mask.shape[2] > 1 else mask


def _count(side: RowLayout) -> int:
    return len(side.positions) - side.positions.count(ABSENT)


@dataclass(frozen=True)
class Attention:
    """One call of an attention kernel, as the model made it.

    Attributes:
        query: (batch, head, query, channel), after everything the model does to it.
        key: (batch, key head, key, channel); fewer heads than `query` with grouped queries.
        lse: (batch, head, query) float32, natural log of the sum of exp(logits) over all keys.
        mask: additive, broadcastable to (batch, head, query, key), or None.
        scale: factor on query · key.
        causal: keys after the query are hidden.
        open_probs: (batch, head, query, key), the probabilities themselves where the model computed
            its softmax in the open; then `query`, `key` and `lse` are None.
        kernel: name of the operator that ran.
        value: (batch, key head, key, channel), what the probabilities weigh; None where the model
            computed its softmax in the open and laid its values out in another way.
        valid: (batch, 1 or head, query) bool: which rows are rows. Those without an allowed key
            are not, nor are those of padding; None where all are.
        sink: (batch, head, query), what a learned logit beside the keys receives, which moves no
            value; a row sums to 1 with it. None where the model has none.
        output: (batch, head, query, channel), what a fused kernel returned.
    """

    query: Tensor | None
    key: Tensor | None
    lse: Tensor | None
    mask: Tensor | None
    scale: float
    causal: bool
    open_probs: Tensor | None
    kernel: str
    value: Tensor | None = None
    valid: Tensor | None = None
    sink: Tensor | None = None
    output: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(batch, heads, queries, keys)."""
        if self.open_probs is not None:
            batch, heads, queries, keys = self.open_probs.shape
            return batch, heads, queries, keys
        query, key, _ = self.factors()
        return query.shape[0], query.shape[1], query.shape[2], key.shape[2]

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.open_probs.device if self.open_probs is not None else self.factors()[0].device

    def factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and log-sum-exp.

        Raises:
            CaptureError: the model computed its softmax in the open, so there are none.
        """
        if self.query is None or self.key is None or self.lse is None:
            raise CaptureError(
                f"the model computes its softmax in the open ({self.kernel}), so there is no "
                "query, key and log-sum-exp to keep; keep heads instead of factors"
            )
        return self.query, self.key, self.lse

    def probs(
        self, row: int, heads: slice, queries: Index, keys: Index, out: Probs | None = None
    ) -> Probs:
        """Compute a block of the attention matrix of one batch row, exactly, in float32.

        probs = exp(scale · query · keyᵀ + mask - lse), so a block costs only its own size.

        Args:
            row: which row of the batch.
            heads: which heads.
            queries: which query positions.
            keys: which key positions.
            out: float32 (heads, queries, keys) to write into.

        Returns:
            (heads, queries, keys); a row over all keys sums to 1, or to 0 if every key is hidden.
        """
        if self.open_probs is not None:
            return self.open_probs[row, heads][:, queries][:, :, keys].float()
        norm = _pick(self.factors()[2], row, heads, queries).unsqueeze(-1)
        probs = self._logits(row, heads, queries, keys, minus=norm, out=out).exp_()
        mask = self.row_mask(row)
        if mask is not None and bool((uniform := norm < UNIFORM_BELOW).any()):
            shown = ~_part(mask, heads, queries, keys).isneginf()
            count = self._num_shown(mask)[heads][:, queries]
            torch.where(uniform, shown / count, probs, out=probs)
        return probs

    def alone(self, row: int, padding: int) -> Attention:
        """Return one row of the batch, without the positions that only fill it up.

        Args:
            row: which row.
            padding: how many positions it begins with, as queries and keys, are none of its own; a
                mask hides them as keys, so nothing is lost of the other rows of the matrix.

        Raises:
            CaptureError: nothing hides them.
        """
        if padding and self.mask is None and self.open_probs is None:
            raise CaptureError(
                f"row {row} was announced with {padding} positions of padding, but no mask hides "
                "them; pass the model an attention mask, or announce no padding"
            )
        single, rest = slice(row, row + 1), slice(padding, None)
        mask = None if self.mask is None else self._row_mask(row, rest)
        open_probs = None if self.open_probs is None else self.open_probs[single, :, rest, rest]
        valid = None if self.valid is None else self.valid[single, :, rest]
        if self.query is None or self.key is None or self.lse is None:
            return replace(self, open_probs=open_probs, mask=mask, valid=valid)
        return replace(
            self,
            query=self.query[single, :, rest],
            key=self.key[single, :, rest],
            lse=self.lse[single, :, rest],
            value=None if self.value is None else self.value[single, :, rest],
            mask=mask,
            open_probs=open_probs,
            valid=valid,
        )

    def of_row(self, row: int, layer: Layer, call: Call) -> Attention:
        """Return one row of the batch, as a layer lays it out: without what fills it up.

        Raises:
            CaptureError: nothing hides that.
        """
        if call.lengths:
            return self.picked(row, *placements(layer, call, row))
        return self.alone(row, call.padding[row] if call.padding else 0)

    def picked(self, row: int, queries: RowLayout, keys: RowLayout) -> Attention:
        """Return one row of a batch of sequences of differing length, as a layer lays it out.

        Queries that the row does not have are no rows, and keys that it does not have are hidden.

        Raises:
            CaptureError: nothing hides what fills the row up.
        """
        if self.mask is None and self.open_probs is None and keys.length > _count(keys):
            raise CaptureError(
                f"row {row} was announced with {_count(keys)} of {keys.length} keys, but no mask "
                "hides the others; pass the model an attention mask, or announce full lengths"
            )
        rows, columns = (
            torch.tensor(side.positions, device=self.device) for side in (queries, keys)
        )
        is_row, is_key = (rows >= 0)[None, None], (columns >= 0)[None, None, None]
        rows, columns, single = rows.clamp(min=0), columns.clamp(min=0), slice(row, row + 1)
        valid = self.valid[single, :, rows] & is_row if self.valid is not None else is_row
        if self.query is None or self.key is None or self.lse is None:
            probs = self.open_probs if self.open_probs is None else self.open_probs[single]
            shown = None if probs is None else probs[:, :, rows][..., columns] * is_key
            return replace(self, open_probs=shown, mask=None, valid=valid)
        hidden = torch.zeros(is_key.shape, device=self.device).masked_fill(~is_key, -torch.inf)
        mask = self.row_mask(row)
        if mask is not None:
            mask = mask[:, rows] if mask.shape[1] > 1 else mask
            hidden = hidden + (mask[..., columns] if mask.shape[2] > 1 else mask)
        return replace(
            self,
            query=self.query[single, :, rows],
            key=self.key[single, :, columns],
            value=None if self.value is None else self.value[single, :, columns],
            lse=self.lse[single, :, rows].masked_fill(~valid, torch.inf),
            mask=hidden if bool(hidden.any()) else None,
            valid=None if bool(valid.all()) else valid,
        )

    def unfolded(self, groups: int) -> Attention:
        """Return the attention of a kernel that was given the heads of a group as queries.

        Libraries do that in steps of a single query, so that grouped queries need no copies of
        keys: (batch, key head, group · query) stands for (batch, key head · group, query).

        Args:
            groups: how many heads share a key head.
        """
        query, _, lse = self.factors()
        batch, key_heads, rows, _ = self.shape
        lead = (batch, key_heads * groups, rows // groups)
        mask, valid = self.mask, self.valid
        if mask is not None and max(mask.shape[-3:-1]) > 1:
            mask = mask.expand(self.shape).reshape(*lead, -1)
        if valid is not None:
            valid = valid.expand(batch, key_heads, rows).reshape(lead)
        return replace(
            self,
            query=query.reshape(*lead, -1),
            lse=lse.reshape(lead),
            mask=mask,
            valid=valid,
        )

    def without(self, padding: Tensor) -> Attention:
        """Return the attention without the rows of padding, (batch, query) bool."""
        valid = ~padding.to(self.device)[:, None]
        return replace(self, valid=valid if self.valid is None else valid & self.valid)

    def with_sink(self) -> Attention:
        """Return the attention whose first key is its learned sink, if it has one."""
        if self.sink is None or self.open_probs is None:
            return self
        return replace(
            self,
            open_probs=torch.cat([self.sink[..., None], self.open_probs], -1),
            value=None if self.value is None else pad(self.value, (0, 0, 1, 0)),
            sink=None,
        )

    def joined(self, rows: int) -> Attention:
        """Return the attention of rows that attend in pieces, such as the windows of a picture.

        The queries of a row are those of its pieces, one piece after the other; its keys are the
        positions inside a piece, whichever that is. So there are probabilities only.

        Args:
            rows: of the batch; each has as many pieces, which follow each other.
        """
        every = slice(None)
        batch = self.shape[0]
        probs = self.open_probs
        if probs is None:
            probs = torch.stack([self.probs(row, every, every, every) for row in range(batch)])

        def join(values: Tensor) -> Tensor:
            pieces: Tensor = values.unflatten(0, (rows, -1))
            return pieces.transpose(1, 2).flatten(2, 3)

        return Attention(
            query=None,
            key=None,
            lse=None,
            mask=None,
            scale=1.0,
            causal=False,
            open_probs=join(probs),
            kernel=f"{self.kernel}, in {batch // rows} pieces of each row",
            valid=None if self.valid is None else join(self.valid),
            sink=None if self.sink is None else join(self.sink),
        )

    def row_valid(self, row: int) -> Tensor | None:
        """Return which rows of one row of the batch are rows, (1 or head, query); None if all."""
        return None if self.valid is None else self.valid[row]

    def has_logs(self, row: int) -> bool:
        """Whether `log_probs` are the logarithms of the probabilities of a row of the batch.

        They are not where the model computed its softmax in the open, nor where a mask hides every
        key of a query by the same finite number, so that it reads all of them alike.
        """
        if self.lse is None:
            return False
        return self.mask is None or not bool((self.lse[row] < UNIFORM_BELOW).any())

    def log_probs(self, row: int, heads: slice, queries: Index, keys: Index, out: Logits) -> Logits:
        """Compute the natural logarithm of `probs` (`has_logs`), finite also where those are 0."""
        norm = _pick(self.factors()[2], row, heads, queries).unsqueeze(-1)
        norm = norm.clamp(max=MOST)  # infinite where a query is no row
        return self._logits(row, heads, queries, keys, minus=norm, out=out, hidden=LEAST)

    def log_sum_exp(self, slab: int = 256) -> Norms:
        """Compute every row's log-sum-exp from query and key, a slab of queries at a time.

        For kernels whose own cannot be had or trusted; costs two to three times the attention.

        Returns:
            (batch, head, query) float32.
        """
        batch, heads, queries, keys = self.shape
        lse = torch.empty(batch, heads, queries, device=self.device)
        for row in range(batch):
            for start in range(0, queries, slab):
                rows = slice(start, min(start + slab, queries))
                for head in range(heads):
                    single = slice(head, head + 1)
                    logits = self._logits(
                        row, single, rows, slice(0, keys), torch.zeros(1, 1, 1).to(lse)
                    )
                    lse[row, head, rows] = logits.logsumexp(-1)[0]
        return lse.masked_fill_(lse.isneginf(), 0.0)

    def row_mask(self, row: int) -> RowMask | None:
        """Return one row's additive mask, (head, query, key), with size 1 where it repeats."""
        if self.mask is None:
            return None
        mask = self.mask.reshape((1,) * (4 - self.mask.ndim) + tuple(self.mask.shape))
        mask = mask[row if mask.shape[0] > 1 else 0]
        repeats = [
            stride == 0 and size > 1 for stride, size in zip(mask.stride(), mask.shape, strict=True)
        ]
        return mask[tuple(slice(0, 1) if repeat else slice(None) for repeat in repeats)]

    def _row_mask(self, row: int, rest: slice) -> Tensor | None:
        """Return the mask of one row without its padding, or None if it hides nothing."""
        mask = self.row_mask(row)
        if mask is None:
            return None
        for axis in (1, 2):
            mask = mask[(slice(None),) * axis + (rest,)] if mask.shape[axis] > 1 else mask
        return mask[None] if bool(mask.any()) else None

    def _logits(
        self,
        row: int,
        heads: slice,
        queries: Index,
        keys: Index,
        minus: Tensor,
        out: Logits | None = None,
        hidden: float = -torch.inf,
    ) -> Logits:
        """Compute logits minus a number for each query, no less than `hidden`."""
        query, key, _ = self.factors()
        left = _pick(query, row, heads, queries).float()
        ratio = query.shape[1] // key.shape[1]
        if ratio > 1:
            key_heads = torch.arange(heads.start, heads.stop, device=key.device) // ratio
            right = key[row, key_heads][:, keys].float()
        else:
            right = _pick(key, row, heads, keys).float()
        added = -minus
        mask = self.row_mask(row)
        if mask is not None:  # before the product, which is then added in the same pass
            mask = _part(mask, heads, queries, keys).float()
            mask = mask.clamp(min=hidden) if hidden > -torch.inf else mask
            shape = (left.shape[0], left.shape[1], right.shape[1])
            added = torch.sub(mask.expand(shape), minus, out=out)
        logits = torch.baddbmm(added, left, right.mT, alpha=self.scale, out=out)
        if self.causal:
            logits.masked_fill_(self._hidden(queries, keys), hidden)
        return logits

    def _num_shown(self, mask: RowMask) -> Tensor:
        """Return how many keys are not hidden by -inf, (head, query, 1) float32."""
        shown = (~mask.isneginf()).sum(-1, keepdim=True, dtype=torch.float32)
        return (shown * (self.shape[3] // mask.shape[-1])).expand(*self.shape[1:3], 1)

    def _hidden(self, queries: Index, keys: Index) -> Tensor:
        _, _, num_queries, num_keys = self.shape
        query = torch.arange(num_queries, device=self.device)[queries]
        return torch.arange(num_keys, device=self.device)[keys] > query.unsqueeze(-1)
