"""Exact capture: what any attention module really computed, without changing it by one bit.

`kernels` sees the fused kernel that runs inside a module, `attention` recomputes any block of its
probabilities from the kernel's own log-sum-exp, `hooks` switches the two on for chosen modules,
`measures` reduces what was seen, `plan` says what to keep and how many bytes that is, `recorder`
collects a step, and `tap` offers all of it for a model of one's own, with what `tapping` finds out
of it. `open_softmax` and `heads` tell attention, and its axes, where a model computes it itself.
"""
