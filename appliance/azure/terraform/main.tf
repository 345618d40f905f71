# The same deployment by Terraform: it hands azuredeploy.json to Azure, so that there is one description of it.
#   terraform init && terraform apply -var image_id=… -var subnet_id=… -var ssh_public_key="$(cat ~/.ssh/id_ed25519.pub)"
# `terraform destroy` fails as long as the locks are there: ../teardown says how machine and data go.

terraform {
  required_version = ">= 1.5"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 3.80, < 5.0"
    }
  }
}

provider "azurerm" {
  features {}
}

variable "resource_group" {
  type        = string
  description = "An existing resource group."
}

variable "name" {
  type    = string
  default = "caudal"
}

variable "image_id" {
  type        = string
  description = "Resource id of the image, or of its version in a Compute Gallery."
}

variable "subnet_id" {
  type        = string
  description = "Resource id of an existing subnet, near the clients."
}

variable "ssh_public_key" {
  type = string
}

variable "clients" {
  type    = string
  default = "10.0.0.0/8"
}

variable "more" {
  type        = map(any)
  description = "Further parameters of azuredeploy.json, as { size = \"Standard_L16as_v3\" }."
  default     = {}
}

resource "azurerm_resource_group_template_deployment" "caudal" {
  name                = var.name
  resource_group_name = var.resource_group
  deployment_mode     = "Incremental"
  template_content    = file("${path.module}/../azuredeploy.json")
  parameters_content = jsonencode(merge(
    { for key, value in var.more : key => { value = value } },
    {
      name         = { value = var.name }
      imageId      = { value = var.image_id }
      subnetId     = { value = var.subnet_id }
      sshPublicKey = { value = var.ssh_public_key }
      clients      = { value = var.clients }
    },
  ))
}

output "address" {
  value = jsondecode(azurerm_resource_group_template_deployment.caudal.output_content).address.value
}
