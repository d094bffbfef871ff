"""Hooks are on exactly while chosen modules run."""

import contextlib

import pytest
import torch
from diffusers.models.attention_processor import Attention as DiffusersAttention
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from attn.engine.hooks import AttentionHooks
from attn.errors import CaptureError
from tests.helpers.toy_attention import (
    BATCH,
    HEADS,
    KEYS,
    QUERIES,
    Attend,
    count_hooks,
    states,
    whole,
)


class Outer(nn.Module):
    """Attends itself before and after its part does."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.own = Attend(heads=5)

    def forward(self):
        """Run own, inner, own."""
        self.own.forward()
        self.inner()
        return self.own.forward()


def watch(modules, **kwargs):
    """Return hooks, and the list of what they report."""
    log = []
    hooks = AttentionHooks(
        modules,
        lambda key, attention: log.append((key, attention.shape[1])),
        lambda key: log.append((key, "done")),
        **kwargs,
    )
    return hooks, log


def test_kernels_are_told_to_the_innermost_module():
    """Of nested watched modules the inner gets its own kernel, the outer those around it."""
    model = Outer(Attend(heads=3))
    hooks, log = watch({"outer": model, "inner": model.inner})
    with hooks:
        model()
    assert log == [("outer", 5), ("inner", 3), ("inner", "done"), ("outer", 5), ("outer", "done")]


def test_unwatched_modules_are_not_seen():
    """Kernels outside of the watched modules are not reported."""
    model = Outer(Attend(heads=3))
    hooks, log = watch({"inner": model.inner})
    with hooks:
        model()
    assert log == [("inner", 3), ("inner", "done")]


def test_model_may_run_twice():
    """Each run of a module is reported, with its own end."""
    model = Attend()
    hooks, log = watch({"only": model})
    with hooks:
        model()
        model()
    assert log == [("only", 3), ("only", "done")] * 2


def test_nothing_is_on_while_not_wanted():
    """While nobody wants to know, no mode is pushed and no end is told."""
    modes = []
    model = Attend()
    model.register_forward_hook(lambda *_: modes.append(_get_current_dispatch_mode_stack()))
    hooks, log = watch({"only": model}, wanted=lambda: False)
    with hooks:
        model()
    assert (modes, log) == ([[]], [])


def test_mode_is_on_only_inside():
    """Between watched modules the model runs without any mode."""
    model = Attend()
    hooks, _ = watch({"only": model})
    with hooks:
        model()
        assert not _get_current_dispatch_mode_stack()


class Projecting(nn.Module):
    """Projects, whatever comes of it, and attends."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(3, 5)
        self.attend = Attend()

    def forward(self, width):
        """Project numbers of some width, which may be the wrong one."""
        with contextlib.suppress(RuntimeError):
            self.project(torch.ones(2, width))
        return self.attend.forward()


@pytest.mark.parametrize("width", [3, 7], ids=["projects", "fails"])
def test_mode_is_off_in_linear_layers(width):
    """What cannot attend runs without the mode, which is on again after it, also if that failed."""
    modes = []
    model = Projecting()
    model.project.register_forward_hook(
        lambda *_: modes.append(_get_current_dispatch_mode_stack()), always_call=True
    )
    hooks, log = watch({"only": model})
    with hooks:
        model(width)
        assert not _get_current_dispatch_mode_stack()
    assert (modes, log) == ([[]], [("only", 3), ("only", "done")])
    assert count_hooks(model) == 1


@pytest.mark.parametrize("error", [RuntimeError, CaptureError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("nested", [False, True])
def test_errors_leave_nothing_behind(error, nested):
    """An error inside a kernel removes every hook and mode, and is not swallowed."""
    model = Outer(Attend(heads=3))
    modules = {"outer": model, "inner": model.inner} if nested else {"inner": model.inner}

    def fail(key, attention):
        if key == "inner":
            raise error

    with pytest.raises(error), AttentionHooks(modules, fail):
        model()
    assert count_hooks(model) == 0
    assert not _get_current_dispatch_mode_stack()
    hooks, log = watch({"inner": model.inner})
    with hooks:
        model()
    assert log == [("inner", 3), ("inner", "done")]


def test_failed_module_is_not_done():
    """A module that raised did not end, so nothing is concluded from what was seen of it."""
    model = Outer(nn.Linear(3, 5))
    hooks, log = watch({"outer": model})
    with pytest.raises(TypeError), hooks:
        model()
    assert log == [("outer", 5)]


def test_survived_errors_do_not_confuse():
    """A model that catches its part's error goes on being observed rightly."""

    class Careful(Outer):
        def forward(self):
            with pytest.raises(TypeError):
                self.inner()
            return self.own()

    model = Careful(nn.Linear(3, 5))
    hooks, log = watch({"outer": model, "inner": model.inner})
    with hooks:
        model()
    assert log == [("outer", 5), ("outer", "done")]


def test_one_module_under_two_names_is_refused():
    """Two layers that are one module could not be told apart."""
    model = Attend()
    with pytest.raises(CaptureError, match="one module is listed twice among first, second"):
        AttentionHooks({"first": model, "second": model}, lambda *_: None)


def test_report_covers_all_modules():
    """What was checked of the kernels is collected over the modules."""
    model = Outer(Attend(heads=3))
    hooks, _ = watch({"outer": model, "inner": model.inner})
    with hooks:
        model()
    assert [entry["query"] for entry in hooks.report] == [[2, 5, 11, 7], [2, 3, 11, 7]]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_legacy_processors_are_seen(context):
    """A processor of diffusers with an open softmax gives the probabilities of the fused one."""
    torch.manual_seed(0)
    module = DiffusersAttention(23, 29, heads=HEADS, dim_head=7, processor=AttnProcessor2_0())
    image, text = states(BATCH, QUERIES, 23, seed=1), states(BATCH, KEYS, 29, seed=2)
    result = []
    for processor in (AttnProcessor2_0(), AttnProcessor()):
        module.set_processor(processor)
        with (
            context(),
            AttentionHooks({"only": module}, lambda _, attention: result.append(attention)),
        ):
            module(image, text)
    fused, legacy = (whole(attention) for attention in result)
    assert legacy.shape == (1, BATCH * HEADS, QUERIES, KEYS)
    assert abs(legacy.reshape(fused.shape) - fused).max() <= 1e-5
