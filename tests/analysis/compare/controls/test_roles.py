"""Which variants are controls of others."""

import pytest

from attn.analysis.compare.controls.roles import Role, find_roles
from attn.schema import Lora

A, B = Lora("x/a.safetensors", 0.8, "aa"), Lora("b.safetensors", 0.5, "bb")


def stacked(name):
    """Return what a stack without one of its LoRAs is to it."""
    return Role("without", 2, name, is_stack=True)


def of(lora, **changes):
    """Return a LoRA with other facts."""
    facts = {"path": lora.path, "scale": lora.scale, "sha256": lora.sha256} | changes
    return Lora(**facts)


@pytest.mark.parametrize(
    ("stacks", "roles"),
    [
        ([(A,), (B,), (A, B)], [stacked("b"), stacked("a"), None]),
        ([(A,), (of(A, null=3),)], [None, Role("null", 0)]),
        ([(A, B), (of(B, null=3), of(A, null=3))], [None, Role("null", 0)]),
        ([(A,), (of(A, modules=("mid", "te")),)], [None, Role("alone", 0, "mid,te")]),
        ([(of(A, modules=("!mid",)), ), (A,)], [Role("without", 1, "mid"), None]),
        ([(of(A, path="elsewhere.safetensors", null=1),), (A,)], [Role("null", 1), None]),
        ([(of(A, scale=1.0, null=1),), (A,)], [None, None]),
        ([(of(A, modules=("mid", "!mid.attn.0")),), (A,)], [None, None]),
        ([(of(A, modules=("mid",)),), (B,)], [None, None]),
        ([(), (A,)], [None, None]),
    ],
)  # fmt: skip
def test_roles(stacks, roles):
    """A control differs from its variant in nothing but being random, in part, or without one."""
    assert find_roles(stacks) == roles
