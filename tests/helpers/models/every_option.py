"""A capture with every option at once, as each family has to take it."""

import attn

BLOCKS = ("image.text", "image.image")


def capture_everything(backend, lora, out, keep, guidance=None, blocks=BLOCKS, more=(), **settings):
    """Capture two prompts with two seeds, a LoRA, both branches, all blocks; hold what is kept.

    `more` are further options, for models that draw nothing without them.
    """
    result = attn.capture(
        *(backend, ["a red cat", "a dog"]),
        out=out,
        size=(64, 96),
        steps=2,
        negative="a dog",
        settings=settings,
        lora=f"{lora}:0.5",
        guidance=guidance,
        seed=(3, 7),
        images=2,
        batch=2,
        scheduler="euler-karras",
        keep=keep,
        keys="all",
        mass="full",
        branch="both",
        blocks=blocks,
        entropy=True,
        offload="none",
        device="cpu",
        **dict(more),
    )
    traces = [attn.open(result.path / entry.folder) for entry in result.entries]
    assert len(traces) == 4
    assert {tuple(trace.manifest.branches) for trace in traces} == {("cond", "uncond")}
    assert {trace.manifest.kept.level for trace in traces} == {keep}
    assert {len(trace.manifest.request.loras) for trace in traces} == {1}
