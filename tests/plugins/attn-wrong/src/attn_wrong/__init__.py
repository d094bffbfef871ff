"""A plugin whose hook returns something else."""

from attn import hookimpl


@hookimpl
def attn_backends():
    return {"name": "wrong"}
