"""Execute steps: RUN in a sandbox, COPY, ADD and WORKDIR from tables alone."""
