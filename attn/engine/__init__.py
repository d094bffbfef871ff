"""Exact capture: what any attention module really computed, without changing it by one bit.

    kernels          the fused kernel that runs inside a module
    open_softmax, heads   attention that a model computes itself, and its axes
    attention        any block of its probabilities, from the kernel's own log-sum-exp
    hooks            switch that on for chosen modules
    refuse, walks    models in which it cannot be seen, and their modules
    reduction/       reduce what was seen: measures, means, gates
    plan, layer_plans   what to keep, and how many bytes that is
    recorder, open_calls, cells   collect a step
    run              one generation, recorded
    shapes           of its tensors
    concepts/        what the picture would read of words that are not in the prompt
    interventions/   change what a model attends to while it runs
    tap, tapping/    all of it for a model of one's own, with what is found out of it

Data flows kernels -> attention -> reduction -> recorder; nothing flows back into the model, but
what is asked for in interventions.
"""
