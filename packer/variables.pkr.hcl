# What a build may be told. Values without a default belong to one source only.

variable "debs" {
  type        = string
  description = "Directory with the packages that `make debs` leaves."
  default     = "dist/debs"
}

variable "base" {
  type        = string
  description = "qemu: bootable disk that packer/base made."
  default     = ""
}

variable "base_key" {
  type        = string
  description = "qemu: private key for root of that disk."
  default     = ""
}

variable "output" {
  type        = string
  description = "qemu: directory for the disk; must not exist."
  default     = "dist/packer"
}

variable "console" {
  type        = string
  description = "qemu: file for what the serial console says."
  default     = "/dev/null"
}

variable "subscription_id" {
  type    = string
  default = ""
}

variable "resource_group" {
  type        = string
  description = "azure-arm: resource group of the managed image and the gallery; it must exist."
  default     = "caudal-images"
}

variable "location" {
  type    = string
  default = "westeurope"
}

variable "gallery" {
  type        = string
  description = "azure-arm: Compute Gallery that gets the version."
  default     = "caudal"
}

variable "image_version" {
  type    = string
  default = "0.1.0"
}
