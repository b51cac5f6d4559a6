"""What commands of buildx do that are not a build: builders by name, images and indexes in registries."""
