"""The commands of `bpgen-host`, one module each; they and bpgen_host.cli are all that prints."""
