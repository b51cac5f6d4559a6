"""Read what COPY, ADD and bind mounts read: directories, layers, archives, URLs, repositories."""
