"""Share a cache between builders."""
