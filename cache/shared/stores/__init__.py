"""Keep a shared cache in a directory, behind HTTP, in Redis, in S3, at other builders."""
