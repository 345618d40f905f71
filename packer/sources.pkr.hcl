# The machines that an image is made on. The scripts are the same for both.

source "qemu" "caudal" {
  accelerator      = "tcg"
  machine_type     = "q35"
  cpus             = 2
  memory           = 2048
  headless         = true
  disk_image       = true
  iso_url          = var.base
  iso_checksum     = "none"
  skip_resize_disk = true
  format           = "qcow2"
  disk_interface   = "virtio"
  disk_discard     = "unmap"
  # Zeroed blocks take no place in the image.
  disk_detect_zeroes = "unmap"
  net_device         = "virtio-net"
  output_directory   = var.output
  vm_name            = "disk.qcow2"
  qemuargs = [
    ["-cpu", "max"],
    ["-serial", "file:${var.console}"],
  ]

  boot_wait            = "1s"
  communicator         = "ssh"
  ssh_username         = "root"
  ssh_private_key_file = var.base_key
  ssh_timeout          = "10m"
  shutdown_command     = "systemctl poweroff"
  shutdown_timeout     = "5m"
}

# Signs in with the Azure CLI (`az login`).
source "azure-arm" "caudal" {
  use_azure_cli_auth = true
  subscription_id    = var.subscription_id

  # Debian's own image for second-generation machines.
  os_type         = "Linux"
  image_publisher = "Debian"
  image_offer     = "debian-12"
  image_sku       = "12-gen2"

  location = var.location
  vm_size  = "Standard_D2s_v5"

  managed_image_name                = "caudal-${var.image_version}"
  managed_image_resource_group_name = var.resource_group

  shared_image_gallery_destination {
    subscription        = var.subscription_id
    resource_group      = var.resource_group
    gallery_name        = var.gallery
    image_name          = "caudal"
    image_version       = var.image_version
    replication_regions = [var.location]
  }

  ssh_username = "packer"
}
