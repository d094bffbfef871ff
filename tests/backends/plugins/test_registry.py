"""All installed backends: listed, looked up, loaded."""

import pytest

from attn.backends.builtin import attn_backends
from attn.backends.plugins import registry
from attn.errors import PluginError, UsageError

BUILT_IN = [spec.name for spec in attn_backends()]
ALL_NAMES = ", ".join(
    sorted(name for spec in attn_backends() for name in (spec.name, *spec.aliases))
)


def names():
    return [spec.spec.name for spec in registry.installed().specs]


def test_builtins(install):
    """The families of `attn` are there without any plugin, sorted, each name theirs alone."""
    result = registry.installed()
    assert [spec.names for spec in result.specs] == [
        ("chroma", "chroma1"),
        ("flux", "flux1"),
        ("flux2", "flux2-klein"),
        ("gated", "gated-dit", "sd-scripts"),
        ("hf",),
        ("krea2", "krea-2"),
        ("mmada", "mmada-dllm", "llada"),
        ("pixart", "pixart-sigma"),
        ("qwen-image",),
        ("sana",),
        ("scribble", "scribble-controlnet"),
        ("sd15", "sd1"),
        ("sd2", "sd21"),
        ("sd35", "sd35-mmdit"),
        ("sdxl", "sdxl-lora"),
        ("sdxl-refiner",),
        ("wan", "wan21"),
        ("z-image", "z-image-turbo"),
    ]
    assert {spec.distribution for spec in result.specs} == {"attn"}
    assert result.failures == ()


def test_third_party(offer):
    """A well-behaved package is listed with the distribution it comes from."""
    offer("attn-toy")
    toy = registry.find("toy")
    assert (toy.distribution, toy.version, toy.plugin) == ("attn-toy", "1.0", "toy")
    assert names() == sorted([*BUILT_IN, "toy"])


def test_loaded_once(offer):
    """Plugins are imported once per process, however often a backend is looked up."""
    offer("attn-toy")
    assert registry.find("toy") is registry.find("toy")


@pytest.mark.parametrize("aliases", ["()", "('sdxl-lora',)"])
def test_builtin_wins(offer, aliases):
    """No package can take over the name of a built-in backend, and its other backends stay."""
    taken = "sdxl" if aliases == "()" else "mine"
    specs = f"BackendSpec('{taken}', 'Mine', load, {aliases}), BackendSpec('other', 'Other', load)"
    offer("attn-grab", f"[{specs}]")
    assert names() == sorted([*BUILT_IN, "other"])
    assert registry.find("sdxl-lora").distribution == "attn"
    (failure,) = registry.installed().failures
    assert f"of backend '{taken}' is also a name of backend 'sdxl' from attn " in failure.cause


def test_two_strangers_with_one_name(offer):
    """Which of two packages a name means is never a matter of chance: both sides are named."""
    offer("attn-one")
    offer("attn-two")
    assert "toy" not in names()
    shared = "'toy' of backend 'toy' is also a name of backend 'toy' from"
    assert [(failure.distribution, failure.cause) for failure in registry.installed().failures] == [
        ("attn-one", f"{shared} attn-two 1.0"),
        ("attn-two", f"{shared} attn-one 1.0"),
    ]


def test_loser_against_builtin_blocks_no_one(offer):
    """A backend that loses its name to a built-in does not take another package down with it."""
    offer("attn-one", "[BackendSpec('sdxl', 'Grab', load, ('toy',))]")
    offer("attn-two")
    assert registry.find("toy").distribution == "attn-two"


def test_plugin_that_offers_a_name_twice(offer):
    """One package with two backends of one name gets neither."""
    offer("attn-one", "[BackendSpec('toy', 'A toy', load)] * 2")
    assert "toy" not in names()
    assert len(registry.installed().failures) == 2


def test_unknown_name(install):
    """A mistyped backend gets a suggestion and the list of what there is."""
    with pytest.raises(UsageError) as error:
        registry.find("SDLX")
    assert str(error.value) == (f"no backend 'SDLX'. Did you mean 'sdxl'? Installed: {ALL_NAMES}.")


@pytest.mark.parametrize("name", ["bad", "attn-bad"])
def test_name_of_a_failed_plugin(install, name):
    """Asking for a backend whose package is broken says so, instead of that it does not exist."""
    install("attn-bad", "1 / 0")
    with pytest.raises(UsageError) as error:
        registry.find(name)
    assert str(error.value) == (
        f"backend '{name}' is installed but cannot be used: attn-bad (plugin 'bad'): import: "
        "ZeroDivisionError: division by zero; if it is yours, "
        'run python -c "import attn_bad; attn_bad.attn_backends()", '
        "else update or uninstall attn-bad, or set ATTN_DISABLE_PLUGINS=attn-bad"
    )


def test_backend_of_a_failed_plugin_of_another_name(install, offer):
    """What a package that failed would have offered is not known, so all of them are named."""
    install("attn-bad", "1 / 0")
    offer("attn-one", "[BackendSpec('sdxl', 'Mine', load)]")
    with pytest.raises(UsageError) as error:
        registry.find("cascade")
    assert str(error.value) == (
        f"no backend 'cascade'. Installed: {ALL_NAMES}. "
        "What these have is not known, because they cannot be used:\n"
        f"  {registry.installed().failures[0]}"
    )


def test_name_that_two_strangers_claim(offer):
    """Asking for a contested name tells of the conflict."""
    offer("attn-one")
    offer("attn-two")
    with pytest.raises(UsageError, match="from attn-two"):
        registry.find("toy")


def test_load_fails(offer):
    """What a third party's `load` raises is told with package, backend, cause and remedy."""
    offer("attn-toy")
    with pytest.raises(PluginError) as error:
        registry.load(registry.find("toy"))
    assert str(error.value) == (
        "backend 'toy' is from attn-toy 1.0: load(): ImportError: No module named 'flux'; "
        "if it is yours, see where with attn backends toy --debug, "
        "else update or uninstall attn-toy, or set ATTN_DISABLE_PLUGINS=attn-toy"
    )


@pytest.mark.parametrize(
    ("load", "cause"),
    [
        ("lambda: 3", r"load\(\): got 3, expected Backend; "),
        ("lambda: Backend", r"load\(\): got the class Backend, expected Backend; "),
        ("type('Toy', (Backend,), {'open': 0})", "Options: got None, expected a dataclass"),
        (
            "type('Toy', (Backend,), {'open': 0, 'Options': int})",
            "Options: got the class int, expected a dataclass",
        ),
        ("exit", "SystemExit: None"),
    ],
)
def test_load_gives_no_backend(offer, load, cause):
    """A third party's backend that is none, or that has no usable options, is refused."""
    offer("attn-toy", f"[BackendSpec('toy', 'A toy', {load})]")
    with pytest.raises(PluginError, match=cause):
        registry.load(registry.find("toy"))
