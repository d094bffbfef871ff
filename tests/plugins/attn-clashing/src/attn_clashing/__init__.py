"""A plugin whose options are called as attn's own."""

from dataclasses import dataclass, field

from attn import hookimpl
from attn.backends import BackendSpec


@dataclass(frozen=True)
class Options:
    """Names of attn's own options, with another meaning."""

    weights_seed: int = field(default=0, metadata={"help": "needed by the model"})
    second_order: bool = field(default=False, metadata={"help": "needed by the model"})
    skip_block: int | None = field(default=None, metadata={"help": "needed by the model"})
    skip_scale: float = field(default=0.5, metadata={"help": "needed by the model"})
    steps: str = field(default="many", metadata={"help": "not the sampler's"})
    prompt: str = field(default="", metadata={"help": "not what is drawn"})


@hookimpl
def attn_backends():
    return [BackendSpec("clashing", "options called as attn's own", load)]


def load():
    from attn.backends.testing import FakeBackend

    class Clashing(FakeBackend):
        pass

    Clashing.Options = Options
    return Clashing()
