"""What is known to be wrong with software: advisories as files, matched against what is in an image."""
