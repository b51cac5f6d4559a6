"""The language of bake files: HCL's native syntax and its JSON, expressions, types."""
