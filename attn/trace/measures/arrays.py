"""Views as arrays that xarray reads when their values are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attn.trace.measures.views import MeasureView


def lazy_array(view: MeasureView) -> Any:
    """Wrap a view as an array of which only what is looked at is read."""
    from xarray.core.indexing import LazilyIndexedArray

    return LazilyIndexedArray(_backend_array(view))


def _backend_array(view: MeasureView) -> Any:
    """Return a view in the form that xarray reads.

    Sent to another process, what it reads is opened there again; a copy shares it.
    """
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class Array(BackendArray):
        shape = tuple(view.sizes.values())
        dtype = view.dtype

        def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
            if not isinstance(key, indexing.VectorizedIndexer):
                return view.read(key.tuple)  # the adapter stumbles over empty slices
            outer = indexing.IndexingSupport.OUTER
            return indexing.explicit_indexing_adapter(key, self.shape, outer, view.read)

        def __reduce__(self) -> tuple[Any, ...]:
            return _backend_array, (view,)

        def __deepcopy__(self, _: object) -> Array:
            return self

    return Array()
