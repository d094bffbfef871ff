"""Walks over a model go where torch's own go."""

from torch import nn

from attn.engine.walks import walk_modules, walk_parameters


def tied():
    """Return a model with a module in two places, a weight in two modules, and an absent part."""
    shared = nn.Linear(3, 5)
    model = nn.Sequential(nn.Sequential(shared, nn.ReLU()), shared, nn.Linear(3, 5, bias=False))
    model[2].weight = shared.weight
    model.register_module("absent", None)
    return model


def test_modules_come_as_torch_has_them():
    """Paths, order, and that each module comes once are those of `named_modules`."""
    model = tied()
    assert list(walk_modules(model)) == list(model.named_modules())


def test_parameters_come_as_torch_has_them():
    """Each weight comes once, in the order of `parameters`."""
    model = tied()
    assert list(map(id, walk_parameters(model))) == list(map(id, model.parameters()))
