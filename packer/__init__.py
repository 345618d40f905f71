"""Builds the image: Packer templates, the scripts that they run, and what Packer does not do."""
