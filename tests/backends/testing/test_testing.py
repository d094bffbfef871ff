"""Each check of the shipped kit can fail, and says what to do."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from attn.backends import testing
from attn.backends.testing import (
    CHECKS,
    ConformanceError,
    FakeBackend,
    FakeOptions,
    FakeSession,
    check_backend,
)
from attn.backends.types import Output
from attn.schema import Request

REQUEST = Request("a red cat on a wooden-chair", negative="blurry", steps=2, width=88, height=56)


def open_as(kind=FakeSession):
    """Open the fake model as a session of another kind."""
    plain = FakeBackend().open("demo", FakeOptions())
    return kind(plain.model, plain.info, plain.options, torch.float32)


class Tampered(FakeSession):
    """Announces calls otherwise than they run."""

    def tamper(self, call):
        """Return the calls to announce in place of one."""
        return [call]

    def generate(self, requests, on_call):
        """Generate, and announce what `tamper` says."""

        def tell(call):
            for told in self.tamper(call):
                on_call(told)

        return super().generate(requests, on_call and tell)


class Unseeded(FakeSession):
    def generate(self, requests, on_call):
        seeds = [int(torch.randint(99999, ())) for _ in requests]
        changed = [replace(item, seed=seed) for item, seed in zip(requests, seeds, strict=True)]
        return super().generate(changed, on_call)


class Observed(FakeSession):
    def generate(self, requests, on_call):
        changed = (
            [replace(request, seed=request.seed + 1) for request in requests]
            if on_call
            else requests
        )
        return super().generate(changed, on_call)


class Turned(FakeSession):
    def layers(self, request):
        return super().layers(replace(request, width=request.height, height=request.width))


class Fixed(FakeSession):
    def layers(self, request):
        return super().layers(replace(request, width=104, height=40))


class WrongPicture(FakeSession):
    def generate(self, requests, on_call):
        super().generate(requests, on_call)
        return [Output((Image.new("RGB", (8, 16)),))] * len(requests)


class Swapped(Tampered):
    """Says `cond` of the negative prompt's rows and the other way round."""

    def tamper(self, call):
        names = {"cond": "uncond", "uncond": "cond"}
        return [replace(call, rows=tuple((names.get(row[0], row[0]), row[1]) for row in call.rows))]


class Interleaved(Tampered):
    """Says that the pictures of two requests take turns; they come request by request."""

    def tamper(self, call):
        half = len(call.rows) // 2
        order = [half * (index % 2) + index // 2 for index in range(len(call.rows))]
        return [replace(call, rows=tuple((row[0], order[row[1]]) for row in call.rows))]


class Undeclared(Tampered):
    def tamper(self, call):
        names = {"skip": "perturbed"}
        return [replace(call, rows=tuple((names.get(row[0], row[0]), row[1]) for row in call.rows))]


class MissingSample(Tampered):
    def tamper(self, call):
        return [replace(call, rows=tuple((branch, 0) for branch, _ in call.rows))]


class LateStart(Tampered):
    def tamper(self, call):
        return [replace(call, step=call.step + 1)]


class Rising(Tampered):
    def tamper(self, call):
        return [replace(call, noise=1 - call.noise)]


class Percent(Tampered):
    def tamper(self, call):
        return [replace(call, noise=100 * call.noise)]


class Silent(Tampered):
    def tamper(self, call):
        return [] if call.tower == "controlnet" else [call]


class Unskipped(Tampered):
    def tamper(self, call):
        return [replace(call, skipped_layers=())]


class Reordered(FakeSession):
    def layers(self, request):
        first, second, *rest = super().layers(request)
        return (replace(second, index=0), replace(first, index=1), *rest)


class Unnumbered(FakeSession):
    def layers(self, request):
        return tuple(replace(layer, index=0) for layer in super().layers(request))


class Incomplete(FakeSession):
    def layers(self, request):
        return super().layers(request)[:-1]


class Excused(Incomplete):
    def left_out(self, request):
        last = FakeSession.layers(self, request)[-1]
        return ((last.tower, last.path),)


class Misplaced(FakeSession):
    def layers(self, request):
        return tuple(replace(layer, path=f"x.{layer.path}") for layer in super().layers(request))


class WrongHeads(FakeSession):
    def layers(self, request):
        return tuple(
            replace(layer, num_heads=layer.num_heads + 1) for layer in super().layers(request)
        )


class ControlFirst(FakeSession):
    def towers(self):
        return dict(reversed(super().towers().items()))


class Training(FakeSession):
    def towers(self):
        self.model.train()
        return super().towers()


class Tokens(FakeSession):
    """Has tokens that `change` gave back."""

    def sequence(self, request, branch):
        """Return the changed sequence."""
        sequence = super().sequence(request, branch)
        return replace(sequence, tokens=tuple(map(self.change, sequence.tokens)))


class Shifted(Tokens):
    def change(self, token):
        return replace(token, start=token.start // 2, stop=token.stop // 2)


class Wordless(Tokens):
    def change(self, token):
        return replace(token, word=None)


class Displaced(Tokens):
    def change(self, token):
        return replace(token, position=token.position + 1)


class Gapped(Tokens):
    def change(self, token):
        return replace(token, padding=token.padding or token.position == 1)


class PictureFirst(FakeSession):
    """Says, everywhere alike, that the picture comes first; the text does."""

    def layers(self, request):
        return tuple(
            replace(layer, queries=exchange(layer.queries), keys=exchange(layer.keys))
            for layer in super().layers(request)
        )

    def sequence(self, request, branch):
        sequence = super().sequence(request, branch)
        segments = exchange(sequence.segments)
        start = segments[-1].start
        tokens = tuple(replace(token, position=token.position + start) for token in sequence.tokens)
        return replace(sequence, segments=segments, tokens=tokens)


def exchange(segments):
    """Put the last segment first."""
    placed, start = [], 0
    for segment in reversed(segments):
        placed.append(replace(segment, start=start, stop=start + segment.length))
        start += segment.length
    return tuple(placed)


class Uncut(FakeSession):
    def sequence(self, request, branch):
        return replace(super().sequence(request, branch), truncated={})


class Nothing(FakeSession):
    def layers(self, request):
        return None


class Hooked(FakeSession):
    def generate(self, requests, on_call):
        self.model.denoiser.register_forward_hook(lambda *_: None)
        return super().generate(requests, on_call)


class Drifting(FakeSession):
    def generate(self, requests, on_call):
        with torch.no_grad():
            self.model.denoiser.unembed.bias += 1e-6
        return super().generate(requests, on_call)


class Swallowing(FakeSession):
    def generate(self, requests, on_call):
        try:
            return super().generate(requests, on_call)
        except RuntimeError:
            return super().generate(requests, None)


class Fickle(FakeSession):
    def complete(self, request):
        return replace(super().complete(request), guidance=3.0 + request.seed)


BROKEN = [
    ("towers_exist", Fickle, r"complete\(\): with another seed it gave another request; draw by"),
    ("outputs_identical", Unseeded, r"generate\(\).*two outputs; draw noise from request\.seed"),
    ("outputs_identical", Observed, r"generate\(\).*batch of 1 changed the output"),
    ("attention_exact", Unseeded, r"generate\(\).*is not what its definition says"),
    ("attention_exact", WrongHeads, r"layers\(\)|expected 4 heads"),
    ("size_not_square", Turned, r"layers\(\).*\(rows, columns\)"),
    ("size_not_square", Fixed, r"layers\(\).*with sides exchanged it has"),
    ("size_not_square", WrongPicture, r"generate\(\): the picture is \(8, 16\)"),
    ("tokens_spanned", Shifted, r"sequence\(\).*use schema\.word_at"),
    ("tokens_spanned", Wordless, r"sequence\(\).*has word None.*use schema\.word_at"),
    ("tokens_spanned", Displaced, r"sequence\(\).*one token per position"),
    ("tokens_spanned", Gapped, r"sequence\(\).*the padding of segment '\w+' has gaps"),
    ("tokens_spanned", Uncut, r"sequence\(\): branch cond: no token covers.*`truncated`"),
    ("text_placed", PictureFirst, r"layers\(\): blocks\.0\.attend: the keys of text segment 'prom"),
    ("model_restored", Hooked, r"generate\(\).*changed the hooks of denoiser.*in `finally`"),
    ("model_restored", Drifting, r"generate\(\).*changed the weights of denoiser\.unembed\.bias"),
    ("model_restored", Swallowing, r"generate\(\): it swallowed RuntimeError"),
    ("rows_labelled", Swapped, r"generate\(\): the '.*' rows .*announce the rows that read the"),
    ("rows_labelled", Interleaved, r"generate\(\).*all pictures of a request together"),
    (
        "rows_labelled",
        Undeclared,
        r"generate\(\), on_call\(call\)\.rows: got .*perturbed.*expected cond, uncond, skip of",
    ),
    ("rows_labelled", MissingSample, r"generate\(\).*announce every row once"),
    (
        "calls_ordered",
        LateStart,
        r"on_call\(call\)\.step: got 1, expected 0; announce steps 0 to 1",
    ),
    ("rows_labelled", LateStart, r"on_call\(call\)\.step: got 1, expected 0; announce steps"),
    ("calls_ordered", Rising, r"generate\(\): noise rises"),
    ("calls_ordered", Percent, r"on_call\(call\)\.noise: .*share of noise that is left"),
    ("calls_ordered", Silent, r"generate\(\): forward 1 of the controlnet.*after 0 announcements"),
    ("towers_exist", Silent, r"ran unannounced"),
    ("towers_exist", Unskipped, r"generate\(\).*did not run.*skipped_layers"),
    ("towers_exist", Reordered, r"layers\(\): the denoiser ran in the order.*list layers in that"),
    (
        "towers_exist",
        Nothing,
        r"layers\(\): got None, expected tuple\[Layer, \.\.\.\]; return what",
    ),
    (
        "attention_declared",
        Incomplete,
        r"layers\(\): attention runs in 'think\.attend' of the controlnet, which is in no layer; "
        r"declare every attention module",
    ),
    ("attention_declared", Excused, r"layers\(\): attention runs in .*which is in no layer"),
    ("towers_exist", Unnumbered, r"layers\(\): indices are \[0, 0, 0, 0, 0\]"),
    ("towers_exist", Misplaced, r"layers\(\): denoiser has no module 'x\.blocks\.0\.attend'"),
    ("towers_exist", ControlFirst, r"towers\(\).*'denoiser' and put it first"),
    ("towers_exist", Training, r"towers\(\).*call \.eval\(\)"),
]


@pytest.mark.parametrize(("check", "kind", "message"), BROKEN)
def test_check_finds_what_it_guards(check, kind, message):
    """Each check fails on a session with its defect, names the method, and says what to do."""
    with pytest.raises(ConformanceError, match=f"^session\\..*({message})"):
        getattr(testing, check)(open_as(kind), REQUEST)


def test_every_check_can_fail():
    """There is a broken session for each check."""
    assert {check.__name__ for check in CHECKS} == {name for name, *_ in BROKEN}


def test_failures_are_assertions():
    """Test runners show a failed check as a failed assertion."""
    assert issubclass(ConformanceError, AssertionError)


def test_square_requests_prove_nothing():
    """The kit asks for a size that is not square."""
    with pytest.raises(ConformanceError, match="the size is 64x64; ask for one that is not square"):
        check_backend(open_as(), replace(REQUEST, width=64, height=64))
