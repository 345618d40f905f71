# Each script ends with its own check: a step that did not do what it should ends the build.

build {
  sources = [
    "source.qemu.caudal",
    "source.azure-arm.caudal",
  ]

  provisioner "file" {
    source      = "${var.debs}/"
    destination = "/tmp"
  }

  provisioner "file" {
    source      = "packer/packages.txt"
    destination = "/tmp/packages.txt"
  }

  provisioner "shell" {
    # Root in the qemu source; Azure's user becomes it.
    execute_command = "chmod +x {{ .Path }}; if [ $(id -u) = 0 ]; then {{ .Vars }} {{ .Path }}; else sudo env {{ .Vars }} {{ .Path }}; fi"
    scripts = [
      "packer/scripts/10-packages.sh",
      "packer/scripts/20-caudal.sh",
      "packer/scripts/30-system.sh",
      "packer/scripts/90-seal.sh",
    ]
  }
}
