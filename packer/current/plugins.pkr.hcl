# For current Packer, which fetches its plugins: copy this file beside the others and run `packer init packer`. Packer 1.6,
# which has them built in, does not know this block.

packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = "~> 1"
    }
    azure = {
      source  = "github.com/hashicorp/azure"
      version = "~> 2"
    }
  }
}
