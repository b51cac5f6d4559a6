"""Plain lines of progress, and how the logs of GitHub's and GitLab's jobs fold them."""
