"""
The figures that bpgen shows: `python -m benchmarks parity|host|lut|bound [--json] [--quick]`.

Each module measures one thing and returns plain dataclasses; `__main__` prints them. Everything but
wall times is the same on every run.
"""
