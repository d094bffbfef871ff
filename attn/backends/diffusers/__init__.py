"""The base of every family that is a pipeline of diffusers.

    session              opening, announcing calls, generating
    adapters             LoRAs, put in for one batch and taken out without a trace
    samplers, schedules  samplers by name; their steps, timesteps, noise
    tokens, prompts      what a text encoder reads, with offsets and words
    encoders             what it is really given, compared with that
    prompt_syntax        syntax of other programs in a prompt, which is plain text here
    components           what of a loaded pipeline changes the picture
    finite               pictures that are not numbers are refused, with the first place
    sharing              one pipeline, one thread

A family subclasses `DiffusersSession` and `DiffusersBackend` and declares its parts.
"""
