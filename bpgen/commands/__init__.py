"""The commands of `bpgen`, one module each; they and bpgen.cli are all that prints."""
