"""Talk to registries (distribution-spec)."""
