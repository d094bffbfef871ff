"""The networks of diffusers, as tiny configurations."""
